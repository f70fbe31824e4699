//! Changes that need another pipeline: it loads beside the running one where there is memory for both, and takes over
//! between two frames.

use crate::support::{Load, Stream, World, change, wish};
use host_ports::PipelineError;
use host_runtime::{ChangeError, Mode, Phase, Settings, StreamChange};
use serde_json::json;

async fn running(world: &World) -> Stream {
    let stream = world.create(json!({ "prompt": "one" })).await;
    stream.reach(Phase::Running).await;
    stream.see(1).await;
    stream
}

fn cannot(message: &str) -> PipelineError {
    PipelineError::CannotLoad { message: message.to_owned() }
}

fn shown(stream: &Stream) -> Vec<(u64, &'static str, u32)> {
    stream.path.shown().iter().map(|shown| (shown.id, shown.by, shown.size.width)).collect()
}

#[tokio::test]
async fn the_running_pipeline_is_seen_until_its_successor_is_loaded_and_warm() {
    let world = World::new();
    let stream = running(&world).await;
    stream.script.load(Load::Held(None));
    let view = stream.change(json!({ "width": 16, "prompt": "two" })).await;
    assert_eq!((view.phase, view.revision), (Phase::Running, 2));
    stream.script.logged("load two", 1).await;
    stream.see(2).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 2 one", "one change, not two halves");
    stream.script.release_loads();
    // Frames that the running pipeline works on warm the other, two for a latency of one.
    let mut frame = 2;
    while stream.script.count("drop") == 0 {
        frame += 1;
        stream.path.publish_frame(frame);
        tokio::task::yield_now().await;
    }
    stream.see(1000).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 1000 two");
    let shown = shown(&stream);
    assert!(shown.iter().all(|(_, by, _)| *by == "pipeline"), "{shown:?}");
    assert_eq!((shown[0].2, shown.last().unwrap().2), (16, 32));
    let warming = stream.script.log();
    let warming =
        warming.iter().filter(|entry| entry.starts_with("process") && entry.ends_with("two"));
    assert!(warming.count() >= 3, "{:?}", stream.script.log());
    assert_eq!(stream.script.count("drop"), 1);
    let status = stream.status();
    assert_eq!((status.view.phase, status.restarts), (Phase::Running, 0));
}

#[tokio::test]
async fn hot_params_reach_both_pipelines_while_one_loads() {
    let world = World::new();
    let stream = running(&world).await;
    stream.path.publisher_leaves();
    stream.script.load(Load::Held(None));
    stream.change(json!({ "width": 16 })).await;
    stream.script.logged("load", 2).await;
    stream.change(json!({ "prompt": "new" })).await;
    stream.path.publisher_comes();
    stream.see(2).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 2 new");
    stream.path.publisher_leaves();
    stream.script.release_loads();
    stream.script.logged("drop", 1).await;
    stream.path.publisher_comes();
    stream.see(3).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 3 new");
    assert_eq!(stream.path.last_shown().unwrap().size.width, 32);
}

#[tokio::test]
async fn a_load_that_nobody_wants_any_more_is_given_up() {
    let world = World::new();
    let stream = running(&world).await;
    stream.script.load(Load::Never);
    stream.change(json!({ "width": 16 })).await;
    stream.script.logged("load", 2).await;
    // Back to what runs, with another prompt.
    stream.change(json!({ "width": 8, "prompt": "two" })).await;
    stream.script.logged("cancelled", 1).await;
    stream.see(2).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 2 two");
    stream.script.load(Load::Never);
    stream.change(json!({ "width": 16 })).await;
    stream.script.logged("load", 3).await;
    stream.path.publisher_leaves();
    stream.change(json!({ "width": 32 })).await;
    stream.script.logged("cancelled", 2).await;
    stream.script.logged("drop", 3).await;
    stream.path.publisher_comes();
    stream.see(3).await;
    assert_eq!(stream.path.last_shown().unwrap().size.width, 64);
    assert_eq!(world.runtime.get(&stream.id).unwrap().revision, 5);
}

#[tokio::test]
async fn a_load_beside_that_fails_leaves_the_pipeline_and_its_params() {
    let world = World::new();
    let stream = running(&world).await;
    stream.path.publisher_leaves();
    stream.script.load(Load::Fails(cannot("no weights for large")));
    stream.change(json!({ "model_id": "large", "prompt": "two" })).await;
    stream.wait_for(|status| status.view.revision == 3).await;
    let status = stream.status();
    assert_eq!(status.view.phase, Phase::Running);
    assert_eq!(status.view.params["model_id"], "small");
    assert_eq!(status.view.params["prompt"], "one");
    assert_eq!(status.last_error.unwrap().message, "no weights for large");
    assert_eq!(
        status.view.warnings,
        [
            "the change of `model_id` was taken back, as no pipeline could be loaded for it: no weights for large"
        ]
    );
    let stored = host_ports::StateStore::get(&*world.store, &stream.id).unwrap().unwrap();
    assert_eq!((stored.revision, &stored.params), (3, &status.view.params));
    stream.change(json!({ "prompt": "three" })).await;
    stream.path.publisher_comes();
    stream.see(2).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 2 three");
}

#[tokio::test]
async fn a_change_that_is_agreed_on_while_a_load_fails_holds_for_what_stays() {
    let world = World::new();
    let stream = running(&world).await;
    stream.path.publisher_leaves();
    stream.script.load(Load::Held(Some(cannot("no weights for large"))));
    stream.change(json!({ "model_id": "large" })).await;
    stream.script.logged("load", 2).await;
    stream.script.hold();
    let (runtime, id) = (world.runtime.clone(), stream.id.clone());
    let slow =
        tokio::spawn(
            async move { runtime.change(&id, change(json!({ "prompt": "slow plan" }))).await },
        );
    stream.script.logged("plan", 3).await;
    stream.script.release_loads();
    stream.wait_for(|status| status.last_error.is_some()).await;
    stream.script.release_all();
    slow.await.unwrap().unwrap();
    let is_back = |params: &serde_json::Map<_, _>| {
        params["model_id"] == "small" && params["prompt"] == "slow plan"
    };
    stream.wait_for(|status| is_back(&status.view.params)).await;
    stream.path.publisher_comes();
    stream.see(2).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 2 slow plan");
}

#[tokio::test]
async fn both_pipelines_end_with_their_stream() {
    let world = World::new();
    let stream = running(&world).await;
    stream.script.load(Load::Never);
    stream.change(json!({ "model_id": "large" })).await;
    stream.script.logged("load", 2).await;
    world.runtime.delete(&stream.id).await.unwrap();
    assert_eq!((stream.script.count("cancelled"), stream.script.count("drop")), (1, 2));
}

#[tokio::test]
async fn without_memory_for_both_viewers_see_the_input_while_the_next_one_loads() {
    let world = World::tight();
    let stream = running(&world).await;
    stream.script.load(Load::Never);
    let view = stream.change(json!({ "width": 16 })).await;
    assert_eq!(view.phase, Phase::Reloading);
    stream.script.logged("load", 2).await;
    stream.see(2).await;
    stream.change(json!({ "width": 32, "prompt": "more" })).await;
    stream.reach(Phase::Running).await;
    stream.see(3).await;
    assert_eq!(shown(&stream), [(1, "pipeline", 16), (2, "publisher", 16), (3, "pipeline", 64)]);
    assert_eq!(stream.script.count("cancelled"), 1);
    assert_eq!(world.runtime.get(&stream.id).unwrap().revision, 3);
}

#[tokio::test]
async fn without_memory_for_both_a_failed_reload_leaves_the_stream_in_error_with_its_media_up() {
    let world = World::tight();
    let stream = running(&world).await;
    stream.script.load(Load::Fails(cannot("no weights for large")));
    stream.change(json!({ "model_id": "large" })).await;
    stream.reach(Phase::Error).await;
    stream.see(2).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "publisher");
    assert!(!stream.path.is_closed());
    assert_eq!(stream.status().last_error.unwrap().message, "no weights for large");
    // Any change of params is a reason to try again.
    stream.change(json!({ "prompt": "please" })).await;
    stream.reach(Phase::Running).await;
    stream.see(3).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "pipeline");
}

#[tokio::test]
async fn a_frame_from_before_a_reload_does_not_reach_the_new_pipeline() {
    let world = World::tight();
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    let captured_at = std::time::Instant::now();
    let slot = stream.path.ingress.lease().unwrap();
    stream.change(json!({ "model_id": "large" })).await;
    stream.reach(Phase::Running).await;
    let stamp = host_ports::FrameStamp { id: 1, captured_at };
    stream.path.ingress.put(host_ports::Frame::new(stamp, slot));
    stream.see(2).await;
    assert_eq!((stream.script.count("process 1"), stream.script.count("process 2")), (0, 1));
    assert_eq!(stream.status().frames.set_aside, 1);
}

#[tokio::test]
async fn a_stream_that_does_not_fit_into_memory_is_refused_with_the_arithmetic() {
    let world = World::tight();
    let first = running(&world).await;
    // The same pipeline is shared, and its memory with it.
    let sharing = world.create(json!({ "prompt": "another" })).await;
    let wish = || wish("fake", json!({ "width": 16 }));
    let error = world.runtime.create(wish()).await.unwrap_err();
    assert!(matches!(&error, ChangeError::NoMemory(_)));
    assert_eq!(
        error.to_string(),
        "the pipeline needs 1 MiB by its plugin's plan, other streams hold 1 of 1 MiB; delete one, take a smaller \
         model or size, or raise `streams.memory_mb`"
    );
    let refused = world.runtime.change(&sharing.id, change(json!({ "width": 16 }))).await;
    assert!(matches!(refused, Err(ChangeError::NoMemory(_))), "its pipeline is the other's too");
    for stream in [first, sharing] {
        world.runtime.delete(&stream.id).await.unwrap();
    }
    world.runtime.create(wish()).await.unwrap();
}

#[tokio::test]
async fn memory_of_a_hot_change_that_was_only_planned_or_taken_back_is_free_again() {
    const MIB: u64 = 1 << 20;
    let world = World::with(Settings { memory_limit: 2 * MIB, ..Settings::default() });
    let script = world.catalog.script("fake");
    let plan_takes = |bytes: u64| *script.memory_bytes.lock().unwrap() = bytes;
    plan_takes(MIB);
    let stream = running(&world).await;
    let fits_beside = async || {
        plan_takes(MIB);
        let view = world.runtime.create(wish("fake", json!({ "width": 16 }))).await;
        world.runtime.delete(&view.unwrap().id).await.unwrap();
    };
    plan_takes(2 * MIB);
    let planned = StreamChange { mode: Mode::Plan, ..change(json!({ "prompt": "more" })) };
    world.runtime.change(&stream.id, planned).await.unwrap();
    fits_beside().await;

    plan_takes(2 * MIB);
    stream.change(json!({ "prompt": "more" })).await;
    let refused = world.runtime.create(wish("fake", json!({ "width": 16 }))).await;
    assert!(matches!(refused, Err(ChangeError::NoMemory(_))));
    plan_takes(MIB);
    stream.change(json!({ "prompt": "less" })).await;
    fits_beside().await;
}
