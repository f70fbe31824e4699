//! Requests that are wrong, and what the answers say.

use serde_json::{Value, json};
use tests::host::Host;
use tests::http::{Answer, request};
use tests::libraries::library;

/// Every error has this shape.
fn check(answer: &Answer, status: u16, code: &str) -> String {
    let body = answer.json();
    assert_eq!((answer.status, &body["code"]), (status, &json!(code)), "{}", answer.text);
    assert!(answer.header("content-type").starts_with("application/json"), "{:?}", answer.headers);
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{:?}", answer.headers);
    for key in ["success", "error", "code", "status", "details", "requestId", "traceId"] {
        assert!(body.get(key).is_some(), "no {key}: {body}");
    }
    body["error"].as_str().expect("the error is text").to_owned()
}

#[test]
fn bad_requests_are_answered_with_what_would_be_right() {
    let host = Host::start(&[library("passthrough"), library("sd15")]);
    let create = |body: Value| host.send("POST", "/v1/streams", &body);

    let error = check(
        &create(json!({"pipeline": "nonsense", "params": {}})),
        400,
        "STREAMS/UNKNOWN_PIPELINE",
    );
    assert!(error.contains("passthrough") && error.contains("streamdiffusion-sd15"), "{error}");
    let answer = create(json!({"pipeline": "passthrough", "params": {"width": 13}}));
    let error = check(&answer, 400, "STREAMS/INVALID_PARAMS");
    assert!(error.contains("width"), "{error}");
    assert_eq!(answer.json()["details"][0]["pointer"], "/width");

    check(&request("POST", &host.url("/v1/streams"), None, b"{"), 400, "REQUEST/INVALID_JSON");
    check(
        &request("POST", &host.url("/v1/streams"), Some("application/json"), b""),
        400,
        "REQUEST/INVALID_BODY",
    );
    check(&create(json!([])), 400, "REQUEST/INVALID_BODY");
    check(&host.get("/v1/streams/str_unknown"), 404, "STREAMS/NOT_FOUND");
    check(&host.get("/v1/streams/a%2Fb%20c%3F"), 404, "STREAMS/NOT_FOUND");
    check(&host.get("/nowhere"), 404, "REQUEST/NOT_FOUND");
    check(&request("PUT", &host.url("/v1/streams"), None, b""), 405, "REQUEST/METHOD_NOT_ALLOWED");
    check(&request("DELETE", &host.url("/v1/streams"), None, b""), 400, "REQUEST/MISSING_ID");
}

#[test]
fn prompts_are_limited_in_length_and_number_and_the_limit_is_told() {
    let host = Host::start(&[library("sd15")]);
    let prompt = |prompt: Value| {
        let params = json!({"model_id": "test/none", "prompt": prompt});
        host.send(
            "POST",
            "/v1/streams",
            &json!({"pipeline": "streamdiffusion-sd15", "params": params}),
        )
    };
    let (long, many) = ("x".repeat(8192), |count| json!(vec![json!(["a cat", 1]); count]));
    // The model is absent, which only loading finds out.
    for taken in [json!(long), many(16), json!([[long, 1]])] {
        assert_eq!(prompt(taken).status, 201);
    }
    for (refused, pointer, limit) in [
        (json!("x".repeat(10_000)), "/prompt", "must have 8192 or fewer characters"),
        (many(17), "/prompt", "must have 16 or fewer items"),
        (many(1000), "/prompt", "must have 16 or fewer items"),
        (json!([["a cat", 1], ["x".repeat(8193), 1]]), "/prompt/1/0", "must have 8192 or fewer"),
    ] {
        let answer = prompt(refused);
        let error = check(&answer, 400, "STREAMS/INVALID_PARAMS");
        assert!(error.contains(limit), "{error}");
        assert_eq!(answer.json()["details"][0]["pointer"], pointer);
    }
}

#[test]
fn bad_offers_are_refused_and_the_server_goes_on() {
    let host = Host::start(&[library("passthrough")]);
    let stream = host.create("passthrough", json!({}));
    let (whip, whep) = (stream.text("whip_url"), stream.text("output_stream_url"));
    let post = |url: &str, body: &[u8]| request("POST", url, Some("application/sdp"), body);

    check(&post(&whip, b"this is no SDP"), 400, "MEDIA/INVALID_OFFER");
    check(&post(&whip, b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\0\r\n"), 400, "MEDIA/INVALID_OFFER");
    check(&post(&whip, &[0xff; 64]), 400, "REQUEST/UNREADABLE_BODY");
    check(&post(&whip, many_sections(300).as_bytes()), 400, "MEDIA/INVALID_OFFER");
    check(&post(&whip, &vec![b'v'; 80 << 10]), 413, "REQUEST/TOO_LARGE");
    check(
        &request("POST", &whip, Some("text/plain"), b"v=0"),
        415,
        "REQUEST/UNSUPPORTED_MEDIA_TYPE",
    );
    check(&request("GET", &whip, None, b""), 405, "REQUEST/METHOD_NOT_ALLOWED");
    check(&post(&host.url("/live/stk_unknown/whip"), b"v=0"), 404, "STREAMS/NOT_FOUND");
    let error = check(&post(&whep, many_sections(1).as_bytes()), 404, "STREAMS/NOT_READY");
    assert!(error.contains("publish"), "{error}");
    assert_eq!(host.get("/health").json()["active_streams"], 1);
}

/// An offer with so many video sections.
fn many_sections(count: usize) -> String {
    let section = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 VP8/90000\r\na=recvonly\r\n\
                   a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=rtcp-mux\r\n";
    let fingerprint = ["00"; 32].join(":");
    let head = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 {fingerprint}\r\n"
    );
    let sections = (0..count).map(|index| format!("{section}a=mid:{index}\r\n"));
    head + &sections.collect::<String>()
}

#[test]
fn a_model_that_is_not_there_leaves_the_stream_in_error_with_its_media_up() {
    let host = Host::start(&[library("sd15")]);
    let stream = host.create("streamdiffusion", json!({"model_id": "stabilityai/sd-turbo"}));
    let status = stream.wait_until("the stream fails", |status| status["status"] == "error");
    let error = status["error_message"].as_str().expect("an error is told");
    assert!(error.contains("stabilityai/sd-turbo"), "{error}");
    assert!(error.contains("models/stabilityai/sd-turbo"), "no path looked at: {error}");
    let offer = request("POST", &stream.text("whip_url"), Some("application/sdp"), b"no SDP");
    assert_eq!(offer.status, 400, "media is up and looks at the offer: {}", offer.text);
}

#[test]
fn both_deletes_work_and_the_list_forgets() {
    let host = Host::start(&[library("passthrough")]);
    let (first, second) =
        (host.create("passthrough", json!({})), host.create("passthrough", json!({})));
    let answer =
        request("DELETE", &host.url(&format!("/v1/streams?id={}", first.text("id"))), None, b"");
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true, "data": {}})));
    assert_eq!(request("DELETE", &host.url(&second.path()), None, b"").status, 204);
    check(&request("DELETE", &host.url(&second.path()), None, b""), 404, "STREAMS/NOT_FOUND");
    assert_eq!(host.get("/v1/streams").json(), json!({"success": true, "data": []}));
}

#[test]
fn hot_params_apply_at_once_and_others_are_refused_there() {
    let host = Host::start(&[library("passthrough")]);
    let stream = host.create("passthrough", json!({}));
    let path = format!("{}/params", stream.path());
    let answer = host.send("PATCH", &path, &json!({"invert": true}));
    assert_eq!(
        (answer.status, &answer.json()["params"]["invert"]),
        (200, &json!(true)),
        "{}",
        answer.text
    );
    check(&host.send("PATCH", &path, &json!({"width": 640})), 400, "STREAMS/RELOAD_REQUIRED");
    assert_eq!(stream.patch(json!({"width": 640})).json()["params"]["width"], 640);
}
