//! Streams of an earlier run: they come back as they were, whatever has become of their plugins.

use crate::support::{Load, World, change, wish};
use host_ports::{PlanError, StateStore};
use host_runtime::{ChangeError, NewStream, Phase, Settings, StreamChange};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn streams_come_back_as_they_were_in_their_order_and_run() {
    let world = World::new();
    for name in ["one", "two", "three"] {
        let wish = NewStream { name: Some(name.into()), ..wish("fake", json!({ "prompt": name })) };
        world.runtime.create(wish).await.unwrap();
    }
    let ids: Vec<_> = world.runtime.list().into_iter().map(|view| view.id).collect();
    world.runtime.change(&ids[0], change(json!({ "prompt": "more" }))).await.unwrap();
    world.runtime.delete(&ids[1]).await.unwrap();
    let before = world.runtime.list();
    let world = world.restart(Settings::default(), |_| {}).await;
    let mut after = world.runtime.list();
    for (after, before) in after.iter_mut().zip(&before) {
        assert_eq!(after.phase, Phase::Starting);
        after.phase = before.phase;
    }
    assert_eq!(after, before);
    for view in after {
        let (key, playback_id) = (view.stream_key.clone(), view.playback_id.clone());
        let stream = world.stream(view);
        stream.reach(Phase::Running).await;
        assert!(world.runtime.publish(&key, "offer").is_ok());
        stream.see(1).await;
        assert_eq!(stream.path.last_shown().unwrap().by, "pipeline");
        assert!(world.runtime.play(&playback_id, "offer").is_ok());
    }
    assert_eq!(world.catalog.script("fake").count("load more"), 1);
    world.create(json!({})).await;
    assert_eq!(world.runtime.list()[2].name, world.store.list().unwrap()[2].name);
}

#[tokio::test]
async fn a_stream_goes_on_to_another_server_after_a_restart_too() {
    let world = World::new();
    let url = "rtmp://example.org/live/key".to_owned();
    let wish = NewStream { output_rtmp_url: Some(url.clone()), ..wish("fake", json!({})) };
    world.runtime.create(wish).await.unwrap();
    assert_eq!(world.only_stream().path.restreams(), [Some(url.clone())]);
    let world = world.restart(Settings::default(), |_| {}).await;
    assert_eq!(world.only_stream().path.restreams(), [Some(url)]);
}

#[tokio::test]
async fn no_stream_is_lost_to_the_limit() {
    let world = World::new();
    for _ in 0..3 {
        world.create(json!({})).await;
    }
    let world = world.restart(Settings { max_streams: 2, ..Settings::default() }, |_| {}).await;
    assert_eq!(world.runtime.active_streams(), 3);
    let error = world.runtime.create(wish("fake", json!({}))).await.unwrap_err();
    assert!(matches!(error, ChangeError::TooManyStreams { limit: 2 }));
}

#[tokio::test]
async fn a_stream_without_its_plugin_waits_in_error_with_the_fallback_and_then_runs() {
    let world = World::new();
    let id = world.create(json!({ "prompt": "a cat", "width": 16 })).await.id;
    let before = world.runtime.get(&id).unwrap();
    let world = world.restart(Settings::default(), |catalog| catalog.install(false)).await;
    let stream = world.only_stream();
    stream.reach(Phase::Error).await;
    let status = stream.status();
    let reason = "no plugin offers the pipeline `fake`; on offer: steady";
    assert_eq!((status.last_error.unwrap().message.as_str(), status.plugin), (reason, None));
    assert_eq!(status.view.params, before.params);
    stream.see(1).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "publisher");
    assert_eq!(stream.script.count("open"), 0);
    world.catalog.install(true);
    stream.reach(Phase::Running).await;
    stream.see(2).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "pipeline");
    assert_eq!(stream.path.last_shown().unwrap().size.width, 32);
    let after = stream.status();
    assert_eq!((after.plugin.as_deref(), after.view.revision), (Some("fake"), before.revision));
    assert_eq!((after.view.params, after.view.warnings), (before.params, before.warnings));
}

#[tokio::test]
async fn a_stream_without_its_plugin_can_be_changed_and_deleted() {
    let world = World::new();
    world.create(json!({ "prompt": "a cat" })).await;
    let world = world.restart(Settings::default(), |catalog| catalog.install(false)).await;
    let stream = world.only_stream();
    stream.reach(Phase::Error).await;
    stream.see(1).await;
    let hot = StreamChange { is_hot_only: true, ..change(json!({ "fallback": "black" })) };
    let view = world.runtime.change(&stream.id, hot).await.unwrap().view;
    assert_eq!((view.revision, view.warnings.len()), (2, 0));
    stream.path.black().await;
    let view = stream.change(json!({ "prompt": "a dog", "colour": 1 })).await;
    let expected = [
        "`colour` is not a parameter of this pipeline and was ignored",
        "no plugin offers the pipeline `fake` now; params are checked when one does",
    ];
    assert_eq!(view.warnings, expected);
    assert_eq!(world.store.get(&stream.id).unwrap().unwrap().params, view.params);
    world.catalog.install(true);
    stream.reach(Phase::Running).await;
    assert_eq!(stream.script.count("load a dog"), 1);

    let world = world.restart(Settings::default(), |catalog| catalog.install(false)).await;
    let stream = world.only_stream();
    stream.reach(Phase::Error).await;
    world.runtime.delete(&stream.id).await.unwrap();
    assert_eq!((world.runtime.active_streams(), world.stored()), (0, 0));
}

#[tokio::test]
async fn params_that_are_refused_by_now_wait_for_better_ones() {
    let world = World::new();
    let id = world.create(json!({ "prompt": "a cat" })).await.id;
    // As an older plugin allowed it.
    let mut record = world.store.get(&id).unwrap().unwrap();
    record.params.insert("width".into(), json!(100));
    world.store.update(1, record).unwrap();
    let world = world.restart(Settings::default(), |_| {}).await;
    let stream = world.only_stream();
    stream.reach(Phase::Error).await;
    let status = stream.status();
    assert_eq!(status.last_error.unwrap().message, "params/width: must be at most 64, got 100");
    assert_eq!(status.view.params["width"], 100);
    world.catalog.install(true);
    stream.reach(Phase::Error).await;
    let error = world.runtime.change(&id, change(json!({ "prompt": "a dog" }))).await.unwrap_err();
    assert!(matches!(error, ChangeError::Params(_)));
    let hot = StreamChange { is_hot_only: true, ..change(json!({ "width": 32 })) };
    world.runtime.change(&id, hot).await.unwrap();
    stream.reach(Phase::Running).await;
    assert_eq!(stream.script.count("open 32x32"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_cannot_plan_at_the_start_is_asked_again() {
    let world = World::new();
    world.create(json!({ "prompt": "a cat" })).await;
    let crash = PlanError::Failed { plugin: "fake".into(), message: "it crashed".into() };
    let world = world
        .restart(Settings::default(), |catalog| {
            catalog.script("fake").plans.lock().unwrap().extend([crash.clone(), crash]);
        })
        .await;
    let stream = world.only_stream();
    stream.script.logged("load a cat", 1).await;
    stream.reach(Phase::Running).await;
    assert_eq!((stream.script.count("plan"), stream.status().restarts), (3, 0));
    assert_eq!(
        stream.status().last_error.unwrap().message,
        "plugin fake could not plan: it crashed"
    );
}

#[tokio::test]
async fn a_plugin_that_hangs_in_plan_holds_up_neither_the_start_nor_a_deletion() {
    let world = World::new();
    let id = world.create(json!({})).await.id;
    let steady = world.create_of("steady", json!({})).await.id;
    world.runtime.change(&id, change(json!({ "prompt": "slow plan" }))).await.unwrap();
    let world = world.restart(Settings::default(), |catalog| catalog.script("fake").hold()).await;
    world.stream(world.runtime.get(&steady).unwrap()).reach(Phase::Running).await;
    let stream = world.stream(world.runtime.get(&id).unwrap());
    stream.script.logged("plan", 1).await;
    assert_eq!(stream.status().view.phase, Phase::Starting);
    // Told while it is asked already: it is asked again, for it may be another by then.
    world.catalog.install(true);
    world.runtime.delete(&id).await.unwrap();
    assert_eq!(world.runtime.active_streams(), 1);
    stream.script.release_all();
}

#[tokio::test]
async fn a_restored_stream_that_cannot_load_is_in_error_as_any_other() {
    let world = World::new();
    world.create(json!({})).await;
    let settings = Settings { restart_backoff_first: Duration::ZERO, ..Settings::default() };
    let missing = host_ports::PipelineError::CannotLoad { message: "no weights".into() };
    let world =
        world.restart(settings, |catalog| catalog.script("fake").load(Load::Fails(missing))).await;
    let stream = world.only_stream();
    stream.reach(Phase::Error).await;
    assert_eq!(stream.status().last_error.unwrap().message, "no weights");
    stream.change(json!({ "prompt": "again" })).await;
    stream.reach(Phase::Running).await;
}
