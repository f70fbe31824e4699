//! Ending streams, one or all.

use crate::support::{Load, Turn, World, change, impatient, wish};
use host_runtime::{ChangeError, Phase};
use serde_json::json;

#[tokio::test]
async fn a_deleted_stream_is_gone_with_its_pipeline_and_its_media() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    stream.see(1).await;
    world.runtime.delete(&stream.id).await.unwrap();
    assert_eq!(stream.script.log().last().unwrap(), "drop");
    assert!(stream.path.is_closed() && !stream.path.publish_frame(2));
    assert_eq!(world.runtime.get(&stream.id), None);
    assert_eq!((world.runtime.active_streams(), world.stored()), (0, 0));
    let again = world.runtime.delete(&stream.id).await.unwrap_err();
    assert!(matches!(again, ChangeError::NotFound { .. }));
    let late = world.runtime.change(&stream.id, change(json!({}))).await.unwrap_err();
    assert_eq!(late.to_string(), format!("Stream not found: {}", stream.id));
}

#[tokio::test]
async fn deleting_cancels_a_load() {
    let world = World::new();
    world.catalog.script("fake").load(Load::Never);
    let stream = world.create(json!({})).await;
    stream.wait_for(|status| status.loading.as_ref().is_some_and(|it| it.what == "weights")).await;
    world.runtime.delete(&stream.id).await.unwrap();
    assert_eq!(stream.script.log()[3..], ["cancelled", "drop"]);
}

#[tokio::test]
async fn of_two_deletions_one_finds_the_stream() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let (one, two) =
        tokio::join!(world.runtime.delete(&stream.id), world.runtime.delete(&stream.id));
    assert!(one.is_ok() != two.is_ok());
}

#[tokio::test]
async fn a_pipeline_that_does_not_end_is_left_behind_at_the_deadline() {
    let world = World::with(impatient());
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    stream.script.hold();
    stream.script.turn(Turn::Hangs);
    assert!(stream.path.publish_frame(1));
    stream.script.logged("process", 1).await;
    world.runtime.delete(&stream.id).await.unwrap();
    assert_eq!(world.runtime.active_streams(), 0);
    assert!(stream.path.is_closed());
    stream.script.release_all();
    stream.script.logged("drop", 1).await;
}

#[tokio::test]
async fn shutting_down_ends_all_streams_keeps_them_in_the_store_and_takes_no_more() {
    let world = World::new();
    let one = world.create(json!({})).await;
    let two = world.create_of("steady", json!({})).await;
    world.runtime.shutdown().await;
    assert!(one.path.is_closed() && two.path.is_closed());
    assert_eq!((world.runtime.active_streams(), world.stored()), (0, 2));
    let error = world.runtime.create(wish("fake", json!({}))).await.unwrap_err();
    assert_eq!(error.to_string(), "the server is shutting down");
}
