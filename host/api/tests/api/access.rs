//! Tokens and scopes: who may call what, and what looking on does not show.

use crate::support::{Answer, Host};
use host_api::{ApiConfig, Gate, Scope, Scopes};
use host_runtime::Settings;
use serde_json::{Value, json};
use std::sync::Arc;

/// Tokens by name and scopes.
struct Tokens(&'static [(&'static str, &'static [Scope])]);

impl Gate for Tokens {
    fn scopes_of(&self, token: Option<&str>) -> Option<Scopes> {
        let (_, scopes) = self.0.iter().find(|(name, _)| Some(*name) == token)?;
        Some(scopes.iter().copied().collect())
    }
}

const TOKENS: Tokens = Tokens(&[
    ("admin", &[Scope::Create, Scope::Control, Scope::View]),
    ("maker", &[Scope::Create]),
    ("hand", &[Scope::Control]),
    ("eye", &[Scope::View]),
]);

pub fn guarded() -> Host {
    let config = ApiConfig { gate: Some(Arc::new(TOKENS)), ..Default::default() };
    Host::with(config, Settings::default())
}

async fn call(host: &Host, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("accept", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    host.send(method, path, &headers, body).await
}

fn small() -> Value {
    json!({"pipeline": "streamdiffusion", "params": {"model_id": "acme/small"}})
}

#[tokio::test]
async fn a_token_guards_v1_and_nothing_else() {
    let host = guarded();
    for authorization in
        [None, Some("Bearer wrong"), Some("admin"), Some("Bearer"), Some("Basic admin")]
    {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let answer = host.send("GET", "/v1/streams", &headers, "").await;
        answer.assert_error(401, "AUTH/UNAUTHORIZED");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let authorization = format!("{scheme} admin");
        let headers = [("authorization", authorization.as_str())];
        assert_eq!(host.send("GET", "/v1/streams", &headers, "").await.status, 200);
    }
    for path in ["/health", "/", "/openapi.json"] {
        assert_eq!(host.get(path).await.status, 200);
    }
    assert_eq!(host.send("OPTIONS", "/v1/streams", &[], "").await.status, 204);
    host.sdp("/live/nobody/whip", "fine").await.assert_error(404, "STREAMS/NOT_FOUND");
    host.sdp("/play/nobody/whep", "fine").await.assert_error(404, "STREAMS/NOT_FOUND");
}

#[tokio::test]
async fn a_scope_opens_its_calls_and_no_others() {
    let host = guarded();
    let id = call(&host, "admin", "POST", "/v1/streams", &small()).await.json()["id"].clone();
    let path = format!("/v1/streams/{}", id.as_str().unwrap());
    let (hot, status) = (format!("{path}/params"), format!("{path}/status"));
    let change = json!({"params": {"prompt": "a cat"}});
    let calls = [
        ("POST", "/v1/streams", small(), "create"),
        ("GET", "/v1/streams", Value::Null, "view"),
        ("GET", path.as_str(), Value::Null, "view"),
        ("GET", status.as_str(), Value::Null, "view"),
        ("GET", "/v1/plugins", Value::Null, "view"),
        ("PATCH", path.as_str(), change, "control"),
        ("PATCH", hot.as_str(), json!({"prompt": "a dog"}), "control"),
        ("DELETE", "/v1/streams?id=nobody", Value::Null, "create"),
        ("DELETE", path.as_str(), Value::Null, "create"),
    ];
    for (token, held) in
        [("maker", &["create"][..]), ("hand", &["control", "view"]), ("eye", &["view"])]
    {
        for (method, path, body, needed) in &calls {
            // Deleted by the first that may.
            let is_allowed = held.contains(needed);
            let answer = call(&host, token, method, path, body).await;
            if is_allowed {
                let fine = [200, 201, 204, 404].contains(&answer.status.as_u16());
                assert!(fine, "{token} {method} {path}: {}", answer.text);
                continue;
            }
            let error = answer.assert_error(403, "AUTH/FORBIDDEN");
            assert_eq!(error["details"]["needed"], *needed, "{token} {method} {path}");
            assert!(error["error"].as_str().unwrap().contains(needed), "{error}");
        }
    }
}

#[tokio::test]
async fn who_may_only_look_is_shown_no_key() {
    let host = guarded();
    let mut body = small();
    body["output_rtmp_url"] = json!("rtmp://tv.example/live/their-key");
    let made = call(&host, "maker", "POST", "/v1/streams", &body).await.json();
    let key = made["stream_key"].as_str().unwrap();
    assert!(made["whip_url"].as_str().unwrap().contains(key));
    let path = format!("/v1/streams/{}", made["id"].as_str().unwrap());
    let status = format!("{path}/status");

    let seen = call(&host, "eye", "GET", &path, &Value::Null).await.json();
    assert_eq!((&seen["stream_key"], &seen["whip_url"]), (&json!(""), &json!("")));
    assert_eq!(seen["output_stream_url"], made["output_stream_url"]);
    let keys = |stream: &Value| stream.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&seen), keys(&made), "every key is there for the clients");
    for path in [path.as_str(), "/v1/streams", status.as_str()] {
        let text = call(&host, "eye", "GET", path, &Value::Null).await.text;
        assert!(!text.contains(key) && !text.contains("their-key"), "{text}");
        let text = call(&host, "hand", "GET", path, &Value::Null).await.text;
        assert_eq!(text.contains(key), !path.ends_with("/status"), "{text}");
    }
}
