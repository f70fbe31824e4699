//! WHIP and WHEP: answers, session URLs, and who may publish.

use crate::support::Host;
use axum::http::Uri;
use host_api::{ApiConfig, IceLogin, IceServer};
use host_runtime::Settings;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

fn path(url: &Value) -> String {
    url.as_str().unwrap().parse::<Uri>().unwrap().path().to_owned()
}

#[tokio::test]
async fn publishing_answers_201_with_session_and_playback_url() {
    let host = Host::new();
    let stream = host.stream().await;
    let answer = host.sdp(&path(&stream["whip_url"]), "fine").await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(
        (answer.header("content-type"), answer.text.as_str()),
        ("application/sdp", "v=0 answer")
    );
    let location = format!("{}/in1", stream["whip_url"].as_str().unwrap());
    assert_eq!(answer.header("location"), location);
    assert_eq!(
        answer.header("livepeer-playback-url"),
        stream["output_stream_url"].as_str().unwrap()
    );
    let exposed = answer.header("access-control-expose-headers");
    assert!(exposed.starts_with("Location, Livepeer-Playback-Url, Link, ETag"), "{exposed}");
}

#[tokio::test]
async fn watching_is_404_until_something_was_published() {
    let host = Host::new();
    let stream = host.stream().await;
    let whep = path(&stream["output_stream_url"]);
    let error = host.sdp(&whep, "fine").await.assert_error(404, "STREAMS/NOT_READY");
    assert!(error["error"].as_str().unwrap().contains("Stream not ready"));

    host.sdp(&path(&stream["whip_url"]), "fine").await;
    let answer = host.sdp(&whep, "fine").await;
    assert_eq!(answer.status, 201);
    let location = format!("{}/out1", stream["output_stream_url"].as_str().unwrap());
    assert_eq!(answer.header("location"), location);
}

#[tokio::test]
async fn sessions_end_by_delete_and_unknown_ones_are_404() {
    let host = Host::new();
    let stream = host.stream().await;
    host.sdp(&path(&stream["whip_url"]), "fine").await;
    host.sdp(&path(&stream["output_stream_url"]), "fine").await;
    for (endpoint, session) in [("whip_url", "in1"), ("output_stream_url", "out1")] {
        let endpoint = path(&stream[endpoint]);
        let ended = host.send("DELETE", &format!("{endpoint}/{session}"), &[], "").await;
        assert_eq!(ended.status, 200, "{}", ended.text);
        let gone = host.send("DELETE", &format!("{endpoint}/none"), &[], "").await;
        gone.assert_error(404, "SESSIONS/NOT_FOUND");
        let again = host.send("DELETE", &format!("{endpoint}/{session}"), &[], "").await;
        again.assert_error(404, "SESSIONS/NOT_FOUND");
    }
    let answer = host.send("DELETE", "/live/nobody/whip/in1", &[], "").await;
    answer.assert_error(404, "STREAMS/NOT_FOUND");
}

#[tokio::test]
async fn candidates_of_the_session_s_own_ice_are_taken_after_the_offer() {
    let host = Host::new();
    let stream = host.stream().await;
    host.sdp(&path(&stream["whip_url"]), "fine").await;
    let id = stream["id"].as_str().unwrap();
    let by_id = format!("/{id}_out/whep");
    for endpoint in [path(&stream["whip_url"]), path(&stream["output_stream_url"]), by_id] {
        let answer = host.sdp(&endpoint, "fine\r\na=ice-ufrag:abcd\r\na=ice-pwd:x\r\n").await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.header("accept-patch"), "application/trickle-ice-sdpfrag");
        assert_eq!(answer.header("content-type"), "application/sdp");
        let tag = answer.header("etag");
        let session = path(&answer.header("location").into());
        let patch = async |url: &str, tag: &str, ufrag: &str| {
            let kind = ("content-type", "application/trickle-ice-sdpfrag");
            let headers = [kind, ("if-match", tag)];
            let headers = if tag.is_empty() { &headers[..1] } else { &headers };
            let fragment =
                format!("a=ice-ufrag:{ufrag}\r\na=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n");
            host.send("PATCH", url, headers, fragment).await
        };
        let taken = patch(&session, tag, "abcd").await;
        assert_eq!((taken.status.as_u16(), taken.text.as_str()), (204, ""));
        patch(&session, tag, "efgh").await.assert_error(412, "SESSIONS/CONFLICT");
        patch(&session, "\"0\"", "abcd").await.assert_error(412, "SESSIONS/CONFLICT");
        for tag in [tag, "*", ""] {
            let unknown = patch(&format!("{session}x"), tag, "abcd").await;
            unknown.assert_error(404, "SESSIONS/NOT_FOUND");
        }
        patch(&session, "*", "efgh").await.assert_error(422, "SESSIONS/NO_RESTART");
        patch(&session, "", "abcd").await.assert_error(428, "SESSIONS/NO_ETAG");
        let other = [("content-type", "application/sdp"), ("if-match", tag)];
        let other = host.send("PATCH", &session, &other, "a=ice-ufrag:abcd").await;
        other.assert_error(415, "REQUEST/UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(host.send("DELETE", &session, &[], "").await.status, 200);
        patch(&session, tag, "abcd").await.assert_error(404, "SESSIONS/NOT_FOUND");
        let nobodys = patch("/live/nobody/whip/in1", tag, "abcd").await;
        nobodys.assert_error(404, "STREAMS/NOT_FOUND");
    }
    // Nothing can follow an offer that names no ICE session.
    let answer = host.sdp(&path(&stream["whip_url"]), "fine").await;
    assert_eq!((answer.header("etag"), answer.header("accept-patch")), ("", ""));
}

#[tokio::test]
async fn each_refusal_of_an_offer_has_its_status() {
    let host = Host::new();
    let stream = host.stream().await;
    let (whip, whep) = (path(&stream["whip_url"]), path(&stream["output_stream_url"]));
    host.sdp(&whip, "nonsense").await.assert_error(400, "MEDIA/INVALID_OFFER");
    host.sdp(&whip, "codec").await.assert_error(400, "MEDIA/NO_COMMON_CODEC");
    host.sdp(&whip, "down").await.assert_error(503, "MEDIA/UNAVAILABLE");
    host.sdp(&whip, "fine").await;
    let full = host.sdp(&whep, "full").await;
    full.assert_error(429, "STREAMS/LIMIT");
    assert_eq!(full.header("retry-after"), "5");
    host.sdp("/live/nobody/whip", "fine").await.assert_error(404, "STREAMS/NOT_FOUND");
    host.sdp("/play/nobody/whep", "fine").await.assert_error(404, "STREAMS/NOT_FOUND");
}

#[tokio::test]
async fn other_types_sizes_and_methods_are_refused() {
    let host = Host::new();
    let whip = path(&host.stream().await["whip_url"]);
    for headers in [&[][..], &[("content-type", "application/json")][..]] {
        let answer = host.send("POST", &whip, headers, "fine").await;
        answer.assert_error(415, "REQUEST/UNSUPPORTED_MEDIA_TYPE");
    }
    let parameters = [("content-type", "application/sdp; charset=utf-8")];
    assert_eq!(host.send("POST", &whip, &parameters, "fine").await.status, 201);
    let large = host.send("POST", &whip, &parameters, "x".repeat(70_000)).await;
    large.assert_error(413, "REQUEST/TOO_LARGE");
    let bytes = host.send("POST", &whip, &parameters, vec![0xff; 10]).await;
    bytes.assert_error(400, "REQUEST/UNREADABLE_BODY");
    for method in ["GET", "PUT", "DELETE"] {
        let answer = host.send(method, &whip, &[], "").await;
        answer.assert_error(405, "REQUEST/METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), "POST");
    }
}

#[tokio::test]
async fn an_authorization_header_does_no_harm() {
    let host = Host::new();
    let stream = host.stream().await;
    let headers = [("content-type", "application/sdp"), ("authorization", "Bearer anything")];
    for url in ["whip_url", "output_stream_url"] {
        let answer = host.send("POST", &path(&stream[url]), &headers, "fine").await;
        assert_eq!(answer.status, 201, "{url}: {}", answer.text);
    }
}

#[tokio::test]
async fn publishing_by_id_asks_for_the_stream_key() {
    let host = Host::new();
    let stream = host.stream().await;
    let id = stream["id"].as_str().unwrap();
    let whip = format!("/{id}/whip");
    host.sdp(&whip, "fine").await.assert_error(401, "AUTH/UNAUTHORIZED");
    host.sdp("/nobody/whip", "fine").await.assert_error(404, "STREAMS/NOT_FOUND");

    let key = format!("Bearer {}", stream["stream_key"].as_str().unwrap());
    let headers = [("content-type", "application/sdp"), ("authorization", key.as_str())];
    let answer = host.send("POST", &whip, &headers, "fine").await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.header("location"), format!("http://host.test/{id}/whip/in1"));
    assert_eq!(host.send("DELETE", &format!("{whip}/in1"), &[], "").await.status, 200);

    let watched = host.sdp(&format!("/{id}_out/whep"), "fine").await;
    assert_eq!(watched.header("location"), format!("http://host.test/{id}_out/whep/out1"));
    let ended = host.send("DELETE", &format!("/{id}_out/whep/out1"), &[], "").await;
    assert_eq!(ended.status, 200);
    host.sdp(&format!("/{id}/whep"), "fine").await.assert_error(404, "STREAMS/NOT_FOUND");
}

#[tokio::test]
async fn publishing_by_id_can_be_opened() {
    let config = ApiConfig { is_whip_by_id_open: true, ..Default::default() };
    let host = Host::with(config, Settings::default());
    let stream = host.stream().await;
    let answer = host.sdp(&format!("/{}/whip", stream["id"].as_str().unwrap()), "fine").await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test]
async fn preflights_differ_between_rest_and_media() {
    let host = Host::new();
    let rest =
        host.send("OPTIONS", "/v1/streams/any", &[("origin", "http://app.example")], "").await;
    let media =
        host.send("OPTIONS", "/live/any/whip", &[("origin", "http://app.example")], "").await;
    for (answer, methods, headers) in [
        (
            &rest,
            "GET, POST, PATCH, DELETE, OPTIONS",
            "authorization, content-type, if-match, if-modified-since, if-none-match, if-unmodified-since, last-event-id, range",
        ),
        (&media, "POST, PATCH, DELETE, OPTIONS", "authorization, content-type, if-match"),
    ] {
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("access-control-allow-methods"), methods);
        assert_eq!(answer.header("access-control-allow-headers"), headers);
        assert_eq!(answer.header("access-control-max-age"), "86400");
        assert_eq!(answer.header("access-control-allow-private-network"), "true");
    }
    let exposed = "ETag, Accept-Ranges, Content-Range, X-Request-Id, Retry-After";
    assert_eq!(rest.header("access-control-expose-headers"), exposed);
}

#[tokio::test]
async fn a_configured_origin_replaces_the_star() {
    let config = ApiConfig { cors_origin: Some("https://a.example".into()), ..Default::default() };
    let host = Host::with(config, Settings::default());
    for path in ["/v1/streams", "/nothing", "/health"] {
        let answer = host.get(path).await;
        assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
    }
}

#[tokio::test]
async fn clients_are_told_of_ice_servers_before_and_with_the_answer() {
    let login = IceLogin { username: "ann".into(), credential: "secret".into() };
    let servers: Arc<[_]> = Arc::new([
        IceServer { url: "stun:s.example".into(), login: None },
        IceServer { url: "turn:t.example".into(), login: Some(login) },
    ]);
    let ice_servers = watch::channel(servers).1;
    let config = ApiConfig { ice_servers, ..ApiConfig::default() };
    let host = Host::with(config, Settings::default());
    let stream = host.stream().await;
    let whip = path(&stream["whip_url"]);
    let links = [
        "<stun:s.example>; rel=\"ice-server\"",
        "<turn:t.example>; rel=\"ice-server\"; username=\"ann\"; credential=\"secret\"; credential-type=\"password\"",
    ];
    let asked = host.send("OPTIONS", &whip, &[], "").await;
    assert_eq!(asked.status, 204);
    assert_eq!(asked.all("link"), links);
    assert_eq!(asked.header("accept-post"), "application/sdp");
    let answer = host.sdp(&whip, "fine").await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.all("link"), links);
    let rest = host.send("OPTIONS", "/v1/streams", &[], "").await;
    assert_eq!(rest.all("link"), Vec::<&str>::new());
}
