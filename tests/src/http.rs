//! HTTP requests whose answers are values, whatever their status.

use serde_json::Value;
use std::time::Duration;

/// An answer, success or not.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// One request to a server that is there, with a content type or none.
pub fn request(method: &str, url: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
    let headers: Vec<_> = content_type.map(|value| ("content-type", value)).into_iter().collect();
    request_with(method, url, &headers, body)
}

/// The same with these headers.
pub fn request_with(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let answer = try_request(method, url, headers, body);
    answer.unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// What there is at a URL, whatever bytes it is made of.
pub fn download(url: &str) -> Vec<u8> {
    let mut answer = ureq::get(url).call().unwrap_or_else(|error| panic!("GET {url}: {error}"));
    let bytes = answer.body_mut().with_config().limit(1 << 30).read_to_vec();
    bytes.unwrap_or_else(|error| panic!("GET {url}: {error}"))
}

/// The same to a server that may end meanwhile: an error unless the whole answer came.
pub fn try_request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_vec()).expect("a well-formed request");
    let mut answer = agent.run(request)?;
    Ok(Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.body_mut().read_to_string()?,
    })
}
