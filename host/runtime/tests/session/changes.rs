//! Changing streams while they run, load or fail.

use crate::support::{Load, World, change};
use host_ports::{FrameSize, PipelineError, StateStore};
use host_runtime::{ChangeError, Phase, StreamChange};
use serde_json::json;

#[tokio::test]
async fn a_hot_prompt_reaches_the_pipeline_before_the_next_frame() {
    let world = World::new();
    let stream = world.create(json!({ "prompt": "a cat" })).await;
    stream.reach(Phase::Running).await;
    stream.see(1).await;
    let view = stream.change(json!({ "prompt": "a dog" })).await;
    assert_eq!(
        (view.phase, view.revision, &view.params["prompt"]),
        (Phase::Running, 2, &json!("a dog"))
    );
    stream.see(2).await;
    let expected = [
        "plan",
        "open 8x8",
        "load a cat",
        "process 1 a cat",
        "plan",
        "update a dog",
        "process 2 a dog",
    ];
    assert_eq!(stream.script.log(), expected);
    assert!(stream.status().last_params_update_at.is_some());
}

#[tokio::test]
async fn the_same_values_again_change_nothing() {
    let world = World::new();
    let stream = world.create(json!({ "prompt": "a cat" })).await;
    stream.reach(Phase::Running).await;
    let view = stream.change(json!({ "prompt": "a cat", "model_id": "small", "width": 8.0 })).await;
    assert_eq!(view.revision, 1);
    assert_eq!(stream.script.log(), ["plan", "open 8x8", "load a cat"]);
}

#[tokio::test]
async fn params_changed_while_loading_are_applied_once_loaded() {
    let world = World::new();
    world.catalog.script("fake").load(Load::Never);
    let stream = world.create(json!({ "prompt": "one" })).await;
    stream.script.logged("load one", 1).await;
    stream.change(json!({ "prompt": "two" })).await;
    stream.change(json!({ "model_id": "large", "prompt": "three" })).await;
    stream.reach(Phase::Running).await;
    stream.see(1).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 1 three");
    assert_eq!(stream.script.count("update"), 0);
}

#[tokio::test]
async fn a_hot_change_refuses_what_needs_a_reload() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let hot = |params| StreamChange { is_hot_only: true, ..change(params) };
    let error = world.runtime.change(&stream.id, hot(json!({ "width": 16, "prompt": "x" }))).await;
    assert!(matches!(error, Err(ChangeError::ReloadRequired { fields }) if fields == ["width"]));
    let changed = world.runtime.change(&stream.id, hot(json!({ "width": 8, "prompt": "x" }))).await;
    assert_eq!(changed.unwrap().view.revision, 2);
}

#[tokio::test]
async fn a_refused_change_leaves_the_stream_as_it_was() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    let before = world.runtime.get(&stream.id).unwrap();
    for params in [json!({ "width": 100 }), json!({ "prompt": "forbidden", "width": 16 })] {
        let error = world.runtime.change(&stream.id, change(params)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Params(_)));
    }
    let other = StreamChange { pipeline: Some("steady".into()), ..change(json!({})) };
    let error = world.runtime.change(&stream.id, other).await.unwrap_err();
    assert!(matches!(error, ChangeError::PipelineMismatch { .. }));
    assert_eq!(world.runtime.get(&stream.id), Some(before));
    assert_eq!(stream.script.count("load"), 1);
}

#[tokio::test]
async fn an_update_that_fails_is_reported_and_the_stream_goes_on() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    let error = PipelineError::Failed { message: "no such word".into() };
    stream.script.updates.lock().unwrap().push_back(error);
    stream.change(json!({ "prompt": "xyzzy" })).await;
    stream.see(1).await;
    let status = stream.status();
    assert_eq!((status.view.phase, status.restarts), (Phase::Running, 0));
    assert_eq!(status.last_error.unwrap().message, "no such word");
}

#[tokio::test]
async fn the_fallback_is_changed_at_once_without_asking_the_pipeline() {
    let world = World::new();
    world.catalog.script("fake").load(Load::Never);
    let stream = world.create(json!({})).await;
    stream.script.logged("load", 1).await;
    stream.see(1).await;
    stream.change(json!({ "fallback": "black" })).await;
    let black = stream.path.black().await;
    assert_eq!(black.size, FrameSize::new(16, 16));
    assert!(stream.path.publish_frame(2));
    stream.change(json!({ "fallback": "input", "fit": "stretch" })).await;
    stream.see(3).await;
    assert_eq!(stream.path.shown().iter().map(|shown| shown.id).collect::<Vec<_>>(), [1, 0, 3]);
    assert_eq!(stream.path.ingress.fit(), host_ports::Fit::Stretch);
    assert_eq!(stream.script.count("update"), 0);
    world.runtime.delete(&stream.id).await.unwrap();
}

#[tokio::test]
async fn restreaming_is_begun_moved_and_stopped_by_empty_text() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let (here, there) = ("rtmp://example.org/live/a", "rtmp://example.org/live/b");
    for (sent, kept) in [(here, Some(here.to_owned())), (there, Some(there.to_owned())), ("", None)]
    {
        let change = StreamChange { output_rtmp_url: Some(sent.into()), ..StreamChange::default() };
        let view = world.runtime.change(&stream.id, change).await.unwrap().view;
        assert_eq!((&view.output_rtmp_url, view.warnings.len()), (&kept, 0));
        assert_eq!(stream.path.restreams().last(), Some(&kept));
        assert_eq!(world.store.get(&stream.id).unwrap().unwrap().output_rtmp_url, kept);
    }
}

#[tokio::test]
async fn changes_that_a_session_cannot_queue_are_answered_busy() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    stream.script.hold();
    let mut first =
        Box::pin(world.runtime.change(&stream.id, change(json!({ "prompt": "slow plan" }))));
    tokio::select! {
        _ = &mut first => panic!("the plan is held"),
        () = stream.script.logged("plan", 2) => {}
    }
    let mut queued = Vec::new();
    for n in 0..32 {
        let (runtime, id) = (world.runtime.clone(), stream.id.clone());
        queued.push(tokio::spawn(async move {
            runtime.change(&id, change(json!({ "prompt": format!("{n}") }))).await
        }));
        tokio::task::yield_now().await;
    }
    let error = world.runtime.change(&stream.id, change(json!({ "prompt": "late" }))).await;
    assert!(matches!(error, Err(ChangeError::Busy { .. })));
    stream.script.release_all();
    first.await.unwrap();
    for change in queued {
        change.await.unwrap().unwrap();
    }
    assert_eq!(world.runtime.get(&stream.id).unwrap().params["prompt"], "31");
}

#[tokio::test]
async fn what_the_encoder_cannot_do_is_told_until_it_is_taken_back() {
    let world = World::new();
    let stream = world.create(json!({ "prompt": "a cat" })).await;
    let view = stream.change(json!({ "video_codec": "h265", "video_bframes": 2 })).await;
    let told = [
        "`video_codec` has no effect now: this server encodes h264",
        "`video_bframes` has no effect now: frames that wait for later ones delay viewers",
    ];
    assert_eq!(view.warnings.len(), 2, "{:?}", view.warnings);
    assert!(view.warnings.iter().zip(told).all(|(warning, told)| warning.starts_with(told)));
    let view = stream.change(json!({ "video_codec": "h264", "video_bframes": 0 })).await;
    assert_eq!(view.warnings, Vec::<String>::new());
}
