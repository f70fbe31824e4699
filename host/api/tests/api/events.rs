//! A stream's events on the wire: what `EventSource` makes of them, and who may read.

use crate::support::{Answer, Host};
use futures_util::StreamExt;
use serde_json::Value;

/// A running stream's path.
async fn running(host: &Host) -> String {
    let id = host.stream().await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/streams/{id}");
    while host.get(&path).await.json()["status"] != "running" {
        tokio::task::yield_now().await;
    }
    path
}

/// All that is told until the stream is gone: id, name and data of each.
async fn told_until_deleted(
    host: &Host,
    path: &str,
    headers: &[(&str, &str)],
) -> Vec<(String, String, Value)> {
    let reading = host.begin("GET", &format!("{path}/events"), headers, "").await;
    assert_eq!(host.send("DELETE", path, &[], "").await.status, 204);
    let answer = Answer::read(reading).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    let blocks = answer.text.split_terminator("\n\n");
    blocks.filter(|block| !block.starts_with(':')).map(event).collect()
}

fn event(block: &str) -> (String, String, Value) {
    let lines: Vec<_> = block.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let [("id", id), ("event", name), ("data", data)] = lines[..] else { panic!("{block}") };
    (id.to_owned(), name.to_owned(), serde_json::from_str(data).unwrap())
}

#[tokio::test]
async fn events_are_named_numbered_and_end_with_the_stream() {
    let host = Host::new();
    let path = running(&host).await;
    let told = told_until_deleted(&host, &path, &[]).await;
    let names: Vec<_> = told.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(names, ["created", "loading", "running", "deleted"]);
    for (_, name, data) in &told {
        assert_eq!(&data["event"], name);
        assert!(path.ends_with(data["stream_id"].as_str().unwrap()));
        assert!(data["time"].as_str().unwrap().ends_with('Z') && data["message"].is_string());
        assert_eq!((&data["revision"], &data["state"]), (&1.into(), &Value::Null));
        assert_eq!(data["progress"].is_number(), name == "loading");
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_gets_what_it_lacks() {
    let host = Host::new();
    let path = running(&host).await;
    let mut first = host.begin("GET", &format!("{path}/events"), &[], "").await;
    let mut chunks = std::mem::take(first.body_mut()).into_data_stream();
    let mut running = None;
    while running.is_none() {
        let text = String::from_utf8(chunks.next().await.unwrap().unwrap().to_vec()).unwrap();
        running = text.split_terminator("\n\n").map(event).find(|(_, name, _)| name == "running");
    }
    drop(chunks);
    let (last, ..) = running.unwrap();
    let told = told_until_deleted(&host, &path, &[("last-event-id", &last)]).await;
    let names: Vec<_> = told.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(names, ["deleted"]);
    let ids = [&told[0].0, &last].map(|id| id.parse::<u64>().unwrap());
    assert_eq!(ids[0], ids[1] + 1);
}

#[tokio::test]
async fn what_is_no_id_of_ours_asks_for_everything() {
    for last in ["", "abc", "-1", "99999999999999999999999", "18446744073709551615"] {
        let host = Host::new();
        let path = running(&host).await;
        let told = told_until_deleted(&host, &path, &[("last-event-id", last)]).await;
        assert_eq!(told.len(), 4, "{last}");
    }
}

#[tokio::test]
async fn readers_are_limited_and_strangers_are_refused() {
    let host = Host::new();
    host.get("/v1/streams/str_none/events").await.assert_error(404, "STREAMS/NOT_FOUND");
    let path = format!("{}/events", running(&host).await);
    let mut readers = Vec::new();
    for _ in 0..16 {
        readers.push(host.begin("GET", &path, &[], "").await);
    }
    let refusal = host.get(&path).await;
    assert_eq!(refusal.assert_error(429, "STREAMS/LIMIT")["details"]["limit"], 16);
    assert!(!refusal.header("retry-after").is_empty());
    readers.pop();
    assert_eq!(host.begin("GET", &path, &[], "").await.status(), 200);

    let locked = crate::access::guarded();
    locked.get("/v1/streams/str_none/events").await.assert_error(401, "AUTH/UNAUTHORIZED");
}

#[tokio::test(start_paused = true)]
async fn a_comment_keeps_a_silent_connection_alive() {
    let host = Host::new();
    let path = running(&host).await;
    let reading = host.begin("GET", &format!("{path}/events"), &[], "").await;
    let mut chunks = reading.into_body().into_data_stream();
    loop {
        let chunk = chunks.next().await.unwrap().unwrap();
        if chunk.starts_with(b":") {
            break assert_eq!(&chunk[..], b": still here\n\n");
        }
    }
}
