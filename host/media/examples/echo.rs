//! Development harness: WHIP in, the same picture out by WHEP.
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use host_media::{Media, MediaConfig};
use host_ports::*;
use std::sync::{Arc, Mutex, OnceLock};

struct Slot(FrameSize, Vec<u8>, Arc<Mutex<Vec<Vec<u8>>>>);
impl FrameSlot for Slot {
    fn size(&self) -> FrameSize {
        self.0
    }
    fn pixels(&self) -> &[u8] {
        &self.1
    }
    fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
impl Drop for Slot {
    fn drop(&mut self) {
        self.2.lock().unwrap().push(std::mem::take(&mut self.1));
    }
}
struct Echo {
    size: FrameSize,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    path: OnceLock<std::sync::Weak<dyn MediaPath>>,
    age: Mutex<Vec<u128>>,
}
impl IngressSink for Echo {
    fn lease(&self) -> Option<Box<dyn FrameSlot>> {
        let bytes = self.free.lock().unwrap().pop().unwrap_or_else(|| vec![0; self.size.bytes()]);
        Some(Box::new(Slot(self.size, bytes, self.free.clone())))
    }
    fn fit(&self) -> Fit {
        Fit::Crop
    }
    fn put(&self, frame: Frame) {
        self.age.lock().unwrap().push(frame.stamp.captured_at.elapsed().as_micros());
        if let Some(path) = self.path.get().and_then(|path| path.upgrade()) {
            path.show(frame)
        }
    }
    fn on(&self, event: IngressEvent) {
        eprintln!("{event:?}")
    }
}
type App = (Arc<dyn MediaPath>, Arc<Echo>);
fn answered(answer: Result<Answer, OfferError>) -> Response {
    let mut response = match answer {
        Ok(answer) => (
            StatusCode::CREATED,
            [
                (header::CONTENT_TYPE, "application/sdp".to_string()),
                (header::LOCATION, format!("/session/{}", answer.session.0)),
            ],
            answer.sdp,
        )
            .into_response(),
        Err(OfferError::NotReady) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            eprintln!("{error}");
            (StatusCode::BAD_REQUEST, error.to_string()).into_response()
        }
    };
    response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
    response
        .headers_mut()
        .insert("access-control-expose-headers", HeaderValue::from_static("Location"));
    response
}
async fn cors() -> impl IntoResponse {
    (
        [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "*"),
            ("access-control-allow-headers", "content-type"),
        ],
        StatusCode::NO_CONTENT,
    )
}
#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let media = Media::start(MediaConfig { rtc_port: 0, ..Default::default() }).unwrap();
    let side = std::env::var("SIDE").ok().and_then(|s| s.parse().ok()).unwrap_or(512);
    let echo = Arc::new(Echo {
        size: FrameSize::new(side, side),
        free: Arc::default(),
        path: OnceLock::new(),
        age: Mutex::default(),
    });
    let path = media.open("echo", echo.clone());
    let _ = echo.path.set(Arc::downgrade(&path));
    let app: App = (path, echo);
    let router =
        Router::new()
            .route("/", get(|| async { axum::response::Html("<!doctype html>") }))
            .route(
                "/whip",
                post(|State((path, _)): State<App>, body: String| async move {
                    answered(path.publish(&body))
                })
                .options(cors),
            )
            .route(
                "/whep",
                post(|State((path, _)): State<App>, body: String| async move {
                    answered(path.play(&body))
                })
                .options(cors),
            )
            .route(
                "/session/{id}",
                delete(|State((path, _)): State<App>, Path(id): Path<String>| async move {
                    if path.hang_up(&SessionId(id)) {
                        StatusCode::OK
                    } else {
                        StatusCode::NOT_FOUND
                    }
                })
                .options(cors),
            )
            .route(
                "/stats",
                get(|State((path, echo)): State<App>| async move {
                    let mut age = std::mem::take(&mut *echo.age.lock().unwrap());
                    age.sort_unstable();
                    format!(
                        "{:?}\n{:?}\ndecode+convert us p50 {:?} p95 {:?}\n",
                        path.ingress_stats(),
                        path.egress_stats(),
                        age.get(age.len() / 2),
                        age.get(age.len() * 95 / 100)
                    )
                }),
            )
            .with_state(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}
