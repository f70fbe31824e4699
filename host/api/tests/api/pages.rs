//! What browsers get: the page, the API's documents, and that none of it reaches out to a foreign host.

use crate::support::Host;
use host_api::ApiConfig;
use host_runtime::Settings;
use serde_json::Value;

const BROWSER: &[(&str, &str)] = &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];

#[tokio::test]
async fn the_root_is_facts_for_programs_and_a_page_for_browsers() {
    let host = Host::new();
    for accept in ["application/json", "*/*"] {
        let facts = host.send("GET", "/", &[("accept", accept)], "").await.json();
        assert!(facts["name"].is_string() && facts["version"].is_string());
        assert_eq!(facts["docs_url"], "/docs");
    }
    let page = host.send("GET", "/", BROWSER, "").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("vary"), "accept");
    assert!(page.text.starts_with("<!doctype html>"));
}

#[tokio::test]
async fn the_page_may_load_and_call_only_this_server() {
    let page = Host::new().send("GET", "/", BROWSER, "").await;
    let policy = page.header("content-security-policy").to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
        "{policy}"
    );
    assert!(policy.contains("connect-src 'self' ;"), "{policy}");

    let config = ApiConfig { public_url: Some("https://a.example/x".into()), ..Default::default() };
    let page = Host::with(config, Settings::default()).send("GET", "/", BROWSER, "").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("connect-src 'self' https://a.example;"), "{policy}");
}

#[tokio::test]
async fn everything_the_page_loads_is_in_the_binary() {
    let host = Host::new();
    let page = host.send("GET", "/", BROWSER, "").await.text;
    let mut wanted = quoted(&page, "page/");
    assert!(wanted.len() >= 3, "{wanted:?}");
    let mut seen = Vec::new();
    while let Some(name) = wanted.pop() {
        if seen.contains(&name) {
            continue;
        }
        let file = host.get(&format!("/page/{name}")).await;
        assert_eq!(file.status, 200, "{name}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let foreign = file.text.replace("http://www.w3.org/", "");
        assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{name}");
        wanted.extend(quoted(&file.text, "./"));
        seen.push(name);
    }
    assert!(!page.contains("://"));
    assert!(seen.len() >= 8, "{seen:?}");
}

/// What stands in double quotes and starts with `prefix`, without it.
fn quoted(text: &str, prefix: &str) -> Vec<String> {
    let quoted = text.split('"').skip(1).step_by(2).filter_map(|text| text.strip_prefix(prefix));
    quoted.map(str::to_owned).collect()
}

#[tokio::test]
async fn openapi_joins_the_plugins_params_by_discriminator() {
    let document = Host::new().get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let schemas = &document["components"]["schemas"];
    let create = &schemas["CreateStream"];
    assert_eq!(create["discriminator"]["propertyName"], "pipeline");
    let body = follow(&document, &create["discriminator"]["mapping"]["streamdiffusion"]);
    assert_eq!(body["properties"]["pipeline"]["const"], "streamdiffusion");
    let params = &body["properties"]["params"];
    assert_eq!(params["discriminator"]["propertyName"], "model_id");
    let small = follow(&document, &params["discriminator"]["mapping"]["acme/small"]);
    assert_eq!(small["properties"]["prompt"]["default"], "flowers");
    let width = follow(&document, &small["properties"]["width"]["$ref"]);
    assert_eq!(width["maximum"], 512);
    // What the host adds to every pipeline's params.
    assert_eq!(small["properties"]["fit"]["default"], "crop");
}

#[tokio::test]
async fn every_reference_in_openapi_leads_somewhere_and_every_call_is_there() {
    let document = Host::new().get("/openapi.json").await.json();
    let mut pending = vec![&document];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(object) => {
                if let Some(target) = object.get("$ref") {
                    assert!(!follow(&document, target).is_null(), "{target}");
                }
                pending.extend(object.values());
            }
            Value::Array(items) => pending.extend(items),
            _ => {}
        }
    }
    for (path, methods) in [
        ("/v1/streams", &["get", "post", "delete"][..]),
        ("/v1/streams/{id}", &["get", "patch", "delete"]),
        ("/v1/streams/{id}/params", &["patch"]),
        ("/v1/streams/{id}/status", &["get"]),
        ("/v1/plugins", &["get"]),
        ("/v1/streams/{id}/recordings/{name}", &["get", "delete"]),
        ("/live/{stream_key}/whip", &["post"]),
        ("/play/{playback_id}/whep", &["post"]),
        ("/live/{stream_key}/whip/{session}", &["patch", "delete"]),
        ("/play/{playback_id}/whep/{session}", &["patch", "delete"]),
        ("/{id}/whip/{session}", &["patch", "delete"]),
        ("/{id}/whep/{session}", &["patch", "delete"]),
        ("/health", &["get"]),
    ] {
        for method in methods {
            assert!(document["paths"][path][method].is_object(), "{method} {path}");
        }
        if path.ends_with("{session}") {
            let patch = &document["paths"][path]["patch"];
            let body = &patch["requestBody"]["content"]["application/trickle-ice-sdpfrag"];
            assert!(body.is_object(), "{path}: {patch}");
            for status in ["204", "400", "404", "412", "413", "415", "422", "428"] {
                assert!(patch["responses"][status].is_object(), "{status} {path}");
            }
            let asks = |one: &Value| one["name"] == "If-Match" && one["required"] == true;
            assert!(patch["parameters"].as_array().unwrap().iter().any(asks), "{path}");
        }
    }
}

fn follow<'a>(document: &'a Value, reference: &Value) -> &'a Value {
    let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn the_documents_are_served_whole_and_link_relatively() {
    let host = Host::new();
    let redirect = host.send("GET", "/docs", BROWSER, "").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (307, "docs/"));
    let index = host.send("GET", "/docs/", BROWSER, "").await;
    assert_eq!(index.header("content-type"), "text/html");
    assert!(index.header("content-security-policy").starts_with("default-src 'self'"));
    for name in quoted(&index.text, "./") {
        assert_eq!(host.get(&format!("/docs/{name}")).await.status, 200, "{name}");
    }
    let start = host.get("/docs/swagger-initializer.js").await.text;
    assert!(
        start.contains("../openapi.json") && start.contains("\"validatorUrl\": \"none\""),
        "{start}"
    );
}

#[tokio::test]
async fn openapi_says_what_asks_for_a_token() {
    let document = Host::new().get("/openapi.json").await.json();
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let call = |path: &str, method: &str| document["paths"][path][method].clone();
    for (path, method) in
        [("/v1/streams", "post"), ("/v1/streams/{id}", "patch"), ("/v1/plugins", "get")]
    {
        for status in ["401", "403"] {
            assert!(call(path, method)["responses"].get(status).is_some(), "{method} {path}");
        }
    }
    assert!(call("/health", "get").get("security").is_none());
}
