//! What those who follow a stream's events are told, and in which order.

use crate::support::{Load, Turn, World};
use host_ports::{Notice, PipelineError, RestreamState};
use host_runtime::{Condition, EventKind, EventsError, News, Settings, StreamChange};
use serde_json::json;
use std::time::{Duration, SystemTime};

fn death() -> PipelineError {
    PipelineError::Died { plugin: "fake".into(), how: "killed by signal 9".into() }
}

/// Whose dead pipelines start again at once.
fn quick() -> World {
    World::with(Settings { restart_backoff_first: Duration::ZERO, ..Settings::default() })
}

#[tokio::test]
async fn a_stream_s_whole_life_is_told_in_order() {
    let world = quick();
    let stream = world.create(json!({})).await;
    let mut events = stream.events();
    assert_eq!(events.until("running").await, ["created", "loading", "running"]);
    stream.see(1).await;
    assert_eq!(events.until("first_frame").await, ["first_frame"]);
    stream.path.publisher_leaves();
    assert_eq!(events.until("input_lost").await, ["input_lost"]);
    stream.path.publisher_comes();
    stream.see(2).await;
    assert_eq!(events.until("input_back").await, ["input_back"]);
    stream.change(json!({ "width": 16 })).await;
    assert_eq!(events.until("reloaded").await, ["reloading", "loading", "reloaded"]);
    stream.script.turn(Turn::Fails(PipelineError::Failed { message: "out of paint".into() }));
    assert!(stream.path.publish_frame(3));
    let error = events.next().await.unwrap();
    assert_eq!((error.kind, error.message.as_str()), (EventKind::Error, "out of paint"));
    stream.script.turn(Turn::Fails(death()));
    assert!(stream.path.publish_frame(4));
    let crash = events.next().await.unwrap();
    assert_eq!((crash.kind, crash.revision), (EventKind::PluginCrashed, 2));
    assert!(crash.message.contains("signal 9"), "{}", crash.message);
    assert_eq!(events.until("running").await, ["loading", "plugin_recovered", "running"]);
    world.runtime.delete(&stream.id).await.unwrap();
    assert_eq!(events.until("deleted").await, ["deleted"]);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn what_a_pipeline_tells_stands_in_the_status_as_long_as_it_holds() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let mut events = stream.events();
    events.until("running").await;
    stream.see(1).await;
    events.until("first_frame").await;
    let warnings = || stream.status().view.warnings;
    assert_eq!(warnings(), [""; 0]);
    let notice = Notice { part: "faceid".into(), text: "no face was found".into() };
    stream.script.notices.lock().unwrap().push(notice);
    stream.see(2).await;
    let told = events.next().await.unwrap();
    assert_eq!((told.kind, &*told.message), (EventKind::Notice, "faceid: no face was found"));
    assert_eq!(warnings(), ["faceid: no face was found"]);
    stream.script.notices.lock().unwrap().clear();
    stream.see(3).await;
    let over = events.next().await.unwrap();
    assert_eq!((over.kind, over.message), (EventKind::NoticeOver, told.message));
    assert_eq!(warnings(), [""; 0]);
}

#[tokio::test]
async fn a_restream_is_told_and_a_new_one_anew() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let mut events = stream.events();
    events.until("running").await;
    for url in ["rtmp://a/live/key", "rtmp://b/live/key"] {
        let output_rtmp_url = Some(url.to_owned());
        let change = StreamChange { output_rtmp_url, ..StreamChange::default() };
        world.runtime.change(&stream.id, change).await.unwrap();
        stream.path.restream_is(RestreamState::Live, None);
        assert_eq!(events.next().await.unwrap().kind, EventKind::RestreamLive);
        stream.path.restream_is(RestreamState::Waiting, Some("it is gone"));
        let failed = events.next().await.unwrap();
        assert_eq!(
            (failed.kind, failed.message.as_str()),
            (EventKind::RestreamFailed, "it is gone")
        );
    }
}

#[tokio::test]
async fn ids_grow_by_one_and_events_tell_the_revision_of_their_time() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let mut events = stream.events();
    let created = events.next().await.unwrap();
    events.until("running").await;
    stream.change(json!({ "width": 16 })).await;
    let reloading = events.next().await.unwrap();
    // Two steps of loading each, of which the reader skips one.
    assert_eq!((reloading.id - created.id, created.revision, reloading.revision), (4, 1, 2));
}

#[tokio::test]
async fn a_load_that_cannot_work_is_an_error_and_the_repaired_one_a_reload() {
    let world = World::new();
    let error = PipelineError::CannotLoad { message: "no such model".into() };
    world.catalog.script("fake").load(Load::Fails(error));
    let stream = world.create(json!({})).await;
    let mut events = stream.events();
    assert_eq!(events.until("error").await, ["created", "loading", "error"]);
    stream.change(json!({ "width": 16 })).await;
    assert_eq!(events.until("reloaded").await, ["reloading", "loading", "reloaded"]);
}

#[tokio::test(start_paused = true)]
async fn few_frames_degrade_a_stream_until_enough_come() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let mut events = stream.events();
    stream.path.publisher_comes();
    events.until("running").await;
    stream.see(1).await;
    // The paused clock runs ahead of the threads: the first frame may be told before or after.
    events.until("degraded").await;
    assert_eq!(stream.status().condition(SystemTime::now()), Condition::DegradedInput);
    for frame in 2..150 {
        stream.see(frame).await;
    }
    let well = events.until("running").await;
    assert!(!well.contains(&"error") && !well.contains(&"input_lost"), "{well:?}");
}

#[tokio::test]
async fn a_host_that_stops_ends_its_readers_without_a_word_of_deletion() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let mut events = stream.events();
    events.until("running").await;
    world.runtime.shutdown().await;
    drop(world);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn events_of_no_stream_and_of_too_many_readers_are_refused() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let refusal = world.runtime.events("str_none", None).err();
    assert!(matches!(refusal, Some(EventsError::NotFound { id }) if id == "str_none"));
    let readers: Vec<_> =
        (0..16).map(|_| world.runtime.events(&stream.id, None).unwrap()).collect();
    let refusal = world.runtime.events(&stream.id, None).err();
    assert!(matches!(refusal, Some(EventsError::TooManyReaders(_))));
    assert_eq!(stream.status().event_readers, 16);
    drop(readers);
    let mut events = world.runtime.events(&stream.id, None).unwrap();
    assert!(matches!(events.next().await, Some(News::Event(_))));
}
