//! The router over a runtime on small fake ports: a catalog of three claims, media that answers by the offer's text, and
//! a store in memory. Nothing here decodes, loads or listens.

mod ports;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use host_api::{ApiConfig, Door, mediamtx_router, router};
use host_runtime::{Ports, Runtime, Settings};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

pub use ports::{FakeMedia, FakeStore, Schemas};

/// A host to send requests to.
#[derive(Clone)]
pub struct Host {
    router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Host {
    pub fn new() -> Self {
        Self::with(ApiConfig::default(), Settings::default())
    }

    pub fn with(config: ApiConfig, settings: Settings) -> Self {
        Self { router: router(here(config), runtime(settings)) }
    }

    /// And what a MediaMTX beside it sees of the same streams.
    pub fn with_door(door: Door) -> (Self, Self) {
        let (config, runtime) = (here(ApiConfig::default()), runtime(Settings::default()));
        let inside = mediamtx_router(config.clone(), runtime.clone(), door);
        (Self { router: router(config, runtime) }, Self { router: inside })
    }

    /// Sends `Host: host.test` and the given headers.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        Answer::read(self.begin(method, path, headers, body).await).await
    }

    /// An answer whose body is still to be read.
    pub async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path).header("host", "host.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(body.into()).unwrap()).await
    }

    /// The same for a request as it stands.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[("accept", "application/json")], "").await
    }

    pub async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn sdp(&self, path: &str, offer: &'static str) -> Answer {
        self.send("POST", path, &[("content-type", "application/sdp")], offer).await
    }

    /// A new stream as its creator sees it.
    pub async fn stream(&self) -> Value {
        let body = json!({"pipeline": "streamdiffusion", "params": {"model_id": "acme/small"}});
        let answer = self.json("POST", "/v1/streams", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }
}

fn here(config: ApiConfig) -> ApiConfig {
    ApiConfig { local_authority: "127.0.0.1:8080".into(), ..config }
}

fn runtime(settings: Settings) -> Runtime {
    let (catalog, media, store) = (Arc::new(Schemas), Arc::new(FakeMedia), FakeStore::default());
    let ports = Ports { catalog, media, store: Arc::new(store), models: None, pictures: None };
    Runtime::new(settings, ports)
}

impl Answer {
    pub async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Self { status: parts.status, headers: parts.headers, text }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Each value of a header that may stand more than once.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// Checks everything an error must have, and that it is this one.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("access-control-allow-origin"), "*");
        let body = self.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        let wanted = [
            "success",
            "error",
            "code",
            "status",
            "details",
            "requestId",
            "traceId",
            "detail",
            "message",
        ];
        assert_eq!(keys, wanted);
        assert_eq!((&body["success"], &body["status"]), (&json!(false), &json!(status)));
        assert_eq!(body["code"], code);
        assert_eq!(body["requestId"], self.header("x-request-id"));
        assert!(!body["error"].as_str().unwrap().is_empty());
        assert_eq!((&body["detail"], &body["message"]), (&body["error"], &body["error"]));
        body
    }
}
