//! Requests to the API, over ports that keep streams and do nothing. An input is HTTP/1.1 as text, several requests
//! parted by a line `---`; `{id}`, `{key}` and `{play}` in a path are those of a stream that is there.

use crate::support::{Answer, Host};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde_json::Value;
use std::sync::OnceLock;
use tokio::runtime::Runtime;

pub const WORDS: &[&str] = &[
    "POST /v1/streams\n",
    "PATCH /v1/streams/{id}\n",
    "PATCH /v1/streams/{id}/params\n",
    "DELETE /v1/streams?id={id}\n",
    "DELETE /v1/streams/{id}\n",
    "GET /v1/streams/{id}/status\n",
    "POST /live/{key}/whip\n",
    "?plan=true",
    "?wait=applied",
    "\n---\n",
    "content-type: application/json\n",
    "content-type: application/sdp\n",
    "if-match: \"1\"\n",
    "if-match: W/\"1\", *\n",
    "accept: text/html\n",
    "last-event-id: 1\n",
    "authorization: Bearer a\n",
    "x-forwarded-host: a\n",
    "\"pipeline\":\"streamdiffusion\"",
    "\"pipeline\":\"plain\"",
    "\"pipeline_id\":\"a\"",
    "\"params\":{}",
    "\"pipeline_params\":{}",
    "\"model_id\":\"acme/small\"",
    "\"name\":\"a\"",
    "\"output_rtmp_url\":\"rtmp://a\"",
    "\"output_rtmp_url\":\"\"",
    "\"controlnets\":[{\"conditioning_scale\":1}]",
    "\"controlnet_scales\":{\"0\":1}",
    "\"controlnet_scales\":{\"18446744073709551615\":null}",
    "\"prompt\":\"a\"",
    "\"width\":64",
    "\"fallback\":\"black\"",
    "null",
    "1e400",
    "%00",
    "%FF",
    "\u{fffe}",
];

const MOST_REQUESTS: usize = 4;
const LONGEST_ERROR: usize = 40_000;
/// Of an answer to a change, which repeats the params: a short number may be written long.
const LONGEST_ANSWER: usize = 64 << 10;
const GROWTH: usize = 8;

pub fn wire(data: &[u8]) -> bool {
    static SERVED: OnceLock<(Runtime, Host)> = OnceLock::new();
    let text = String::from_utf8_lossy(data);
    let (runtime, host) = SERVED.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let host = runtime.block_on(async { Host::new() });
        (runtime, host)
    });
    runtime.block_on(async {
        let stream = Standing::new(host).await;
        let mut is_done = false;
        for text in text.split("\n---\n").take(MOST_REQUESTS) {
            if let Some(wish) = Wish::read(text, &stream) {
                is_done |= wish.send(host, &stream).await;
            }
        }
        delete_all(host).await;
        is_done
    })
}

/// The stream that requests can name.
struct Standing {
    id: String,
    key: String,
    play: String,
}

impl Standing {
    async fn new(host: &Host) -> Self {
        let stream = host.stream().await;
        let text = |name: &str| stream[name].as_str().expect("it has one").to_owned();
        Self { id: text("id"), key: text("stream_key"), play: text("output_playback_id") }
    }

    /// What changes show in; null when it is gone.
    async fn state(&self, host: &Host) -> Value {
        let answer = host.get(&format!("/v1/streams/{}", self.id)).await;
        if answer.status == 404 {
            return Value::Null;
        }
        let stream = answer.json();
        ["revision", "params", "output_rtmp_url", "name"]
            .iter()
            .map(|name| stream[*name].clone())
            .collect()
    }
}

/// A request that HTTP allows.
struct Wish {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
}

impl Wish {
    fn read(text: &str, stream: &Standing) -> Option<Self> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, path) = lines.next()?.split_once(' ')?;
        let path = path.replace("{id}", &stream.id).replace("{key}", &stream.key);
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("host.test"));
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = HeaderName::try_from(name).ok()?;
            headers.append(name, HeaderValue::try_from(value.trim()).ok()?);
        }
        let wish = Self {
            method: method.parse().ok()?,
            uri: path.replace("{play}", &stream.play).parse().ok()?,
            headers,
            body: body.to_owned(),
        };
        (!wish.names_the_broken_pipeline()).then_some(wish)
    }

    /// The catalog of the API's own tests panics at this name on purpose.
    fn names_the_broken_pipeline(&self) -> bool {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["pipeline"] == "broken"
    }

    /// Whether something was done.
    async fn send(&self, host: &Host, stream: &Standing) -> bool {
        let before = stream.state(host).await;
        let Some(answer) = self.answer(host).await else { return false };
        self.check(&answer);
        let after = stream.state(host).await;
        let told: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let is_planned = told["plan"].is_object();
        if answer.status.as_u16() >= 400 || self.method == Method::GET || is_planned {
            assert_eq!(after, before, "{} {} changed the stream", self.method, self.uri);
        } else if self.method == Method::PATCH {
            self.repeat(host, stream, &after).await;
        }
        answer.status.is_success() && self.method != Method::GET
    }

    /// What was done is done.
    async fn repeat(&self, host: &Host, stream: &Standing, after: &Value) {
        if self.headers.contains_key("if-match") {
            return;
        }
        let Some(answer) = self.answer(host).await else { return };
        assert_eq!(answer.status, 200, "the same change a second time: {}", answer.text);
        assert_eq!(&stream.state(host).await, after, "it changes nothing");
    }

    /// None for what never ends, and for what has no body to look at.
    async fn answer(&self, host: &Host) -> Option<Answer> {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let response = host.answer(request).await;
        let content_type = response.headers().get("content-type");
        let is_endless = content_type.is_some_and(|kind| kind == "text/event-stream");
        match is_endless || self.method == Method::HEAD {
            true => None,
            false => Some(Answer::read(response).await),
        }
    }

    fn check(&self, answer: &Answer) {
        let (status, length) = (answer.status.as_u16(), answer.text.len());
        // The media server of the API's own tests is down when an offer says so.
        let is_asked_for = self.body == "down" && status == 503;
        assert!(status < 500 || is_asked_for, "{status}: {}", answer.text);
        if status >= 400 {
            let code = answer.json()["code"].as_str().expect("an error has a code").to_owned();
            answer.assert_error(status, &code);
            assert!(length <= LONGEST_ERROR, "an error of {length} bytes");
        } else if self.method != Method::GET {
            let limit = LONGEST_ANSWER + GROWTH * self.body.len();
            assert!(length <= limit, "{length} bytes, at most {limit}");
        }
    }
}

async fn delete_all(host: &Host) {
    let list = host.get("/v1/streams").await.json();
    for stream in list["data"].as_array().into_iter().flatten() {
        let id = stream["id"].as_str().expect("a stream has an id");
        host.send("DELETE", &format!("/v1/streams/{id}"), &[], "").await;
    }
}
