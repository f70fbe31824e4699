//! HLS, snapshots and recordings over HTTP.

use crate::support::Host;
use serde_json::{Value, json};

async fn published(host: &Host) -> Value {
    let stream = host.stream().await;
    let whip = stream["whip_url"].as_str().unwrap().replace("http://host.test", "");
    assert_eq!(host.sdp(&whip, "fine").await.status, 201);
    stream
}

fn hls(stream: &Value, file: &str) -> String {
    format!("/{}_out/{file}", stream["id"].as_str().unwrap())
}

#[tokio::test]
async fn playlists_are_fresh_and_pieces_can_be_kept() {
    let host = Host::new();
    let stream = published(&host).await;
    let url = format!("http://host.test{}", hls(&stream, "index.m3u8"));
    assert_eq!(stream["output_hls_url"], url);
    let playlist = host.get(&hls(&stream, "index.m3u8?_HLS_msn=7&_HLS_part=2")).await;
    assert_eq!((playlist.status.as_u16(), playlist.text.as_str()), (200, "Some(7) Some(2)"));
    assert_eq!(playlist.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(playlist.header("cache-control"), "no-store");
    assert_eq!(playlist.header("access-control-allow-origin"), "*");
    let piece = host.get(&hls(&stream, "piece.mp4")).await;
    assert_eq!((piece.text.as_str(), piece.header("content-type")), ("boxes", "video/mp4"));
    assert_eq!(piece.header("cache-control"), "public, max-age=60, immutable");
}

#[tokio::test]
async fn what_cannot_be_watched_is_told_as_an_error() {
    let host = Host::new();
    let silent = host.stream().await;
    host.get(&hls(&silent, "index.m3u8")).await.assert_error(404, "STREAMS/NOT_READY");
    host.get("/str_nobody_out/index.m3u8").await.assert_error(404, "STREAMS/NOT_FOUND");
    let stream = published(&host).await;
    host.get(&hls(&stream, "other.mp4")).await.assert_error(404, "MEDIA/NOT_FOUND");
    host.get(&hls(&stream, "far.m3u8")).await.assert_error(400, "REQUEST/INVALID_QUERY");
    let odd = host.get(&hls(&stream, "index.m3u8?_HLS_msn=-1")).await;
    odd.assert_error(400, "REQUEST/INVALID_QUERY");
    // Neither with the suffix missing nor with another method.
    let id = stream["id"].as_str().unwrap();
    host.get(&format!("/{id}/index.m3u8")).await.assert_error(404, "REQUEST/NOT_FOUND");
    host.sdp("/some/path", "fine").await.assert_error(404, "REQUEST/NOT_FOUND");
}

#[tokio::test]
async fn a_snapshot_is_a_picture_that_nobody_keeps() {
    let host = Host::new();
    let path =
        |stream: &Value| format!("/v1/streams/{}/snapshot.jpg", stream["id"].as_str().unwrap());
    host.get(&path(&host.stream().await)).await.assert_error(404, "STREAMS/NOT_READY");
    let picture = host.get(&path(&published(&host).await)).await;
    assert_eq!((picture.text.as_str(), picture.header("content-type")), ("jpeg", "image/jpeg"));
    assert_eq!(picture.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_recording_is_started_seen_stopped_and_listed() {
    let host = Host::new();
    let stream = published(&host).await;
    let base = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let record = format!("{base}/record");
    host.send("DELETE", &record, &[], "").await.assert_error(404, "RECORDINGS/NOT_FOUND");
    let begun = host.json("POST", &record, json!({})).await;
    assert_eq!(begun.status, 201, "{}", begun.text);
    let url = format!("http://host.test{base}/recordings/now.mp4");
    assert_eq!(begun.header("location"), url);
    let wanted = json!({
        "name": "now", "status": "recording", "started_at": "1970-01-01T00:00:00.000Z",
        "duration_seconds": 1.5, "bytes": 5, "files": [], "error": null,
    });
    assert_eq!(begun.json(), json!({"success": true, "data": wanted}));
    let status = host.get(&format!("{base}/status")).await.json();
    assert_eq!(status["data"]["host_status"]["recording"], wanted);
    let ended = host.send("DELETE", &record, &[], "").await.json();
    assert_eq!(ended["data"]["status"], "recorded");
    assert_eq!(ended["data"]["files"], json!([{"name": "now.mp4", "url": url}]));
    let list = host.get(&format!("{base}/recordings")).await.json();
    let file = json!({
        "name": "now.mp4", "url": url, "bytes": 5, "finished_at": "1970-01-01T00:00:00.000Z",
    });
    assert_eq!(list, json!({"success": true, "data": [file]}));
    let missing = host.get(&format!("{base}/recordings/other.mp4")).await;
    missing.assert_error(404, "MEDIA/NOT_FOUND");
}

#[tokio::test]
async fn a_recorded_file_is_had_in_parts_and_deleted() {
    let host = Host::new();
    let stream = published(&host).await;
    let base = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    host.json("POST", &format!("{base}/record"), json!({})).await;
    let url = format!("{base}/recordings/now.mp4");
    host.get(&url).await.assert_error(404, "MEDIA/NOT_FOUND");
    host.send("DELETE", &url, &[], "").await.assert_error(404, "MEDIA/NOT_FOUND");
    host.send("DELETE", &format!("{base}/record"), &[], "").await;
    let whole = host.get(&url).await;
    assert_eq!((whole.status.as_u16(), whole.text.as_str()), (200, "boxes"));
    for (name, value) in
        [("content-type", "video/mp4"), ("content-length", "5"), ("accept-ranges", "bytes")]
    {
        assert_eq!(whole.header(name), value);
    }
    let ask =
        async |name: &'static str, value: &str| host.send("GET", &url, &[(name, value)], "").await;
    for (range, part, told) in [
        ("bytes=1-3", "oxe", "bytes 1-3/5"),
        ("bytes=2-", "xes", "bytes 2-4/5"),
        ("bytes=-1", "s", "bytes 4-4/5"),
        ("bytes=0-99", "boxes", "bytes 0-4/5"),
    ] {
        let answer = ask("range", range).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (206, part), "{range}");
        assert_eq!(answer.header("content-range"), told);
        assert_eq!(answer.header("content-length"), part.len().to_string());
    }
    for range in ["bytes=5-", "bytes=3-1", "bytes=x"] {
        let refused = ask("range", range).await;
        refused.assert_error(416, "MEDIA/NO_SUCH_RANGE");
        assert_eq!(refused.header("content-range"), "bytes */5", "{range}");
    }
    // Several parts at once and other units are not taken up.
    for range in ["bytes=0-0,2-3", "seconds=1-2"] {
        let answer = ask("range", range).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "boxes"), "{range}");
    }
    let head = host.send("HEAD", &url, &[("range", "bytes=1-3")], "").await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!((head.header("content-length"), head.header("accept-ranges")), ("5", "bytes"));
    let tag = whole.header("etag");
    assert_eq!(ask("if-none-match", tag).await.status, 304);
    assert_eq!(ask("if-match", tag).await.text, "boxes");
    ask("if-match", "\"other\"").await.assert_error(412, "MEDIA/CONFLICT");
    let deleted = host.send("DELETE", &url, &[], "").await;
    assert_eq!(deleted.json(), json!({ "success": true, "data": {} }));
    host.send("DELETE", &url, &[], "").await.assert_error(404, "MEDIA/NOT_FOUND");
    host.get(&url).await.assert_error(404, "MEDIA/NOT_FOUND");
}
