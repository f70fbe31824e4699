//! Models that a stream needs and this machine has not: fetched before the pipeline is loaded, for as long as the stream
//! needs them.

use crate::support::{Load, Stream, World, change, wish};
use host_ports::{FetchError, PipelineError, Size};
use host_runtime::{ChangeError, Mode, Phase, Settings, StreamChange};
use serde_json::{Value, json};
use std::time::Duration;

const MODEL: &str = "org/large";
const PROMISE: &str =
    "`org/large` is not on this machine; it is fetched from the hub before the pipeline is loaded";

fn failure(may_pass: bool) -> Result<(), FetchError> {
    Err(FetchError { message: "no such host".to_owned(), may_pass })
}

/// Where the model `large` of `fake` is not here.
fn lacking(settings: Settings) -> World {
    let world = World::with(settings);
    world.catalog.script("fake").lack(MODEL, false);
    world
}

fn large() -> Value {
    json!({ "model_id": "large" })
}

/// The fetch ends well, and the plugin finds the model.
fn arrive(world: &World) {
    world.catalog.script("fake").find(MODEL);
    world.hub.end(MODEL, Ok(()));
}

async fn running_small(world: &World) -> Stream {
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    stream.see(1).await;
    stream
}

#[tokio::test]
async fn a_model_is_fetched_before_the_pipeline_loads_and_its_progress_is_told() {
    let world = lacking(Settings::default());
    let stream = world.create(large()).await;
    let mut events = stream.events();
    assert_eq!(stream.status().view.warnings, [PROMISE]);
    world.hub.logged("fetch org/large", 1).await;
    stream.see(1).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "publisher");
    world.hub.tell(MODEL, "unet", 30, 100);
    stream.wait_for(|status| status.fetching.is_some()).await;
    let status = stream.status();
    let fetching = status.fetching.unwrap();
    assert_eq!((fetching.model.as_str(), fetching.what.as_str()), (MODEL, "unet"));
    assert_eq!((fetching.bytes_done, fetching.bytes_total), (30, 100));
    assert_eq!((status.view.phase, stream.script.count("open")), (Phase::Starting, 0));
    arrive(&world);
    stream.reach(Phase::Running).await;
    assert_eq!(
        events.until("running").await,
        ["created", "fetching", "fetched", "loading", "running"]
    );
    stream.see(2).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "pipeline");
    let status = stream.status();
    assert!(status.fetching.is_none() && status.view.warnings.is_empty(), "{status:?}");
    assert_eq!(world.hub.log(), ["fetch org/large", "leave org/large"]);
}

#[tokio::test]
async fn a_fetch_that_fails_for_now_is_tried_again() {
    let world = lacking(Settings { restart_backoff_first: Duration::ZERO, ..Settings::default() });
    let stream = world.create(large()).await;
    let mut events = stream.events();
    world.hub.logged("fetch org/large", 1).await;
    world.hub.end(MODEL, failure(true));
    let error = events.until("error").await;
    assert_eq!(error, ["created", "error"]);
    world.hub.logged("fetch org/large", 2).await;
    let message = stream.status().last_error.unwrap().message;
    assert_eq!(
        message,
        "`org/large` is not on this machine and was not fetched: no such host. org/large is not here"
    );
    arrive(&world);
    stream.reach(Phase::Running).await;
}

#[tokio::test]
async fn a_model_that_cannot_be_had_waits_for_other_params() {
    let world = lacking(Settings::default());
    let stream = world.create(large()).await;
    world.hub.logged("fetch org/large", 1).await;
    world.hub.end(MODEL, failure(false));
    stream.reach(Phase::Error).await;
    assert!(stream.status().view.warnings.contains(&PROMISE.to_owned()));
    stream.change(json!({ "model_id": "small" })).await;
    stream.reach(Phase::Running).await;
    assert_eq!(world.hub.log(), ["fetch org/large", "leave org/large"]);
}

#[tokio::test]
async fn what_nobody_needs_any_more_is_not_fetched() {
    let world = lacking(Settings::default());
    let (deleted, changed) = (world.create(large()).await, world.create(large()).await);
    world.hub.logged("fetch org/large", 2).await;
    world.runtime.delete(&deleted.id).await.unwrap();
    world.hub.logged("leave org/large", 1).await;
    changed.change(json!({ "model_id": "small" })).await;
    world.hub.logged("leave org/large", 2).await;
    changed.reach(Phase::Running).await;
    assert_eq!(changed.status().last_error, None);
}

#[tokio::test]
async fn what_runs_goes_on_while_a_model_is_fetched_and_takes_hot_params() {
    let world = lacking(Settings::default());
    let stream = running_small(&world).await;
    let mut events = stream.events();
    events.until("first_frame").await;
    stream.change(large()).await;
    world.hub.logged("fetch org/large", 1).await;
    world.hub.tell(MODEL, "unet", 1, 2);
    stream.wait_for(|status| status.fetching.is_some()).await;
    stream.change(json!({ "prompt": "new" })).await;
    stream.see(2).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 2 new");
    assert_eq!(stream.status().view.phase, Phase::Running);
    stream.path.publisher_leaves();
    arrive(&world);
    stream.script.logged("load new", 1).await;
    let mut names = events.until("reloaded").await;
    names.retain(|name| *name != "input_lost");
    assert_eq!(names, ["reloading", "fetching", "fetched", "loading", "reloaded"]);
    assert_eq!(stream.status().view.params["model_id"], "large");
}

#[tokio::test]
async fn a_reload_whose_model_cannot_be_fetched_takes_the_params_back() {
    let world = lacking(Settings::default());
    let stream = running_small(&world).await;
    for may_pass in [true, false] {
        let fetches = world.hub.log().len() / 2 + 1;
        stream.change(large()).await;
        world.hub.logged("fetch org/large", fetches).await;
        world.hub.end(MODEL, failure(may_pass));
        stream.wait_for(|status| status.view.params["model_id"] == "small").await;
        let [warning] = &stream.status().view.warnings[..] else { panic!("one warning") };
        assert!(warning.contains("`model_id` was taken back"), "{warning}");
        assert!(warning.contains("not fetched: no such host"), "{warning}");
    }
    stream.see(2).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "pipeline");
    assert_eq!((stream.script.count("open"), stream.script.count("drop")), (1, 0));
}

#[tokio::test]
async fn a_change_back_to_what_runs_gives_the_fetch_up_and_so_does_another() {
    let world = lacking(Settings::default());
    let stream = running_small(&world).await;
    // A pipeline that took over before must not be mistaken for this one.
    stream.change(json!({ "width": 16 })).await;
    stream.script.logged("drop", 1).await;
    stream.change(large()).await;
    world.hub.logged("fetch org/large", 1).await;
    stream.change(json!({ "model_id": "small" })).await;
    world.hub.logged("leave org/large", 1).await;
    stream.see(2).await;
    assert_eq!(stream.script.count("open"), 2);
    stream.change(large()).await;
    world.hub.logged("fetch org/large", 2).await;
    stream.change(json!({ "width": 8 })).await;
    world.hub.logged("fetch org/large", 3).await;
    arrive(&world);
    stream.script.logged("open 8x8", 2).await;
    stream.script.logged("drop", 2).await;
    assert_eq!(stream.status().view.params["model_id"], "large");
}

#[tokio::test]
async fn streams_that_wait_for_one_model_all_see_how_far_it_is() {
    let world = lacking(Settings::default());
    let streams = [world.create(large()).await, world.create(large()).await];
    world.hub.logged("fetch org/large", 2).await;
    world.hub.tell(MODEL, "unet", 1, 2);
    for stream in &streams {
        stream.wait_for(|status| status.fetching.is_some()).await;
    }
    arrive(&world);
    for stream in &streams {
        stream.reach(Phase::Running).await;
    }
}

#[tokio::test]
async fn memory_is_counted_once_the_model_is_here() {
    let world = World::tight();
    let script = world.catalog.script("fake");
    script.lack(MODEL, false);
    let stream = running_small(&world).await;
    stream.change(large()).await;
    world.hub.logged("fetch org/large", 1).await;
    assert_eq!(script.count("drop"), 0);
    // It turns out to have no room beside the running one, which ends before it is loaded.
    arrive(&world);
    script.logged("drop", 1).await;
    script.logged("load", 2).await;
    stream.reach(Phase::Running).await;
    let error = world.runtime.create(wish("fake", json!({}))).await.unwrap_err();
    assert!(matches!(error, ChangeError::NoMemory(_)), "{error}");
}

#[tokio::test]
async fn a_model_that_turns_out_too_large_is_refused_with_the_arithmetic() {
    let world = World::tight();
    let script = world.catalog.script("fake");
    script.lack(MODEL, false);
    let _small = running_small(&world).await;
    let stream = world.create(large()).await;
    world.hub.logged("fetch org/large", 1).await;
    arrive(&world);
    stream.reach(Phase::Error).await;
    let message = stream.status().last_error.unwrap().message;
    assert!(message.contains("streams.memory_mb"), "{message}");
    assert_eq!(script.count("open"), 1);
}

#[tokio::test]
async fn a_restored_stream_has_its_model_fetched() {
    let world = World::new();
    let stream = world.create(large()).await;
    stream.reach(Phase::Running).await;
    let prepare = |catalog: &crate::support::FakeCatalog| catalog.script("fake").lack(MODEL, false);
    let world = world.restart(Settings::default(), prepare).await;
    let stream = world.only_stream();
    world.hub.logged("fetch org/large", 1).await;
    arrive(&world);
    stream.reach(Phase::Running).await;
}

#[tokio::test]
async fn what_a_pipeline_can_do_without_does_not_hold_it_up() {
    let world = World::new();
    let script = world.catalog.script("fake");
    script.lack("org/small-vae", true);
    let stream = world.create(large()).await;
    world.hub.logged("fetch org/small-vae", 1).await;
    world.hub.end("org/small-vae", failure(true));
    stream.reach(Phase::Running).await;
    let expected = ["org/small-vae is not here.", "`org/small-vae` was not fetched: no such host"];
    assert_eq!(stream.status().view.warnings, expected);
    // A hot change does not seek it again, another pipeline does.
    let view = stream.change(json!({ "prompt": "new" })).await;
    assert_eq!(view.warnings, expected);
    let view = stream.change(json!({ "width": 16 })).await;
    assert_eq!(view.warnings.len(), 1, "{:?}", view.warnings);
    world.hub.logged("fetch org/small-vae", 2).await;
    world.hub.end("org/small-vae", Ok(()));
    script.logged("load new", 1).await;
}

#[tokio::test]
async fn what_shows_only_when_the_model_is_here_is_fetched_after_it() {
    let world = lacking(Settings::default());
    let script = world.catalog.script("fake");
    let stream = world.create(large()).await;
    world.hub.logged("fetch org/large", 1).await;
    script.lack("org/more", false);
    arrive(&world);
    world.hub.logged("fetch org/more", 1).await;
    assert_eq!(script.count("open"), 0);
    script.find("org/more");
    world.hub.end("org/more", Ok(()));
    stream.reach(Phase::Running).await;
}

#[tokio::test]
async fn a_plugin_that_never_finds_what_was_fetched_says_so_itself() {
    let world = lacking(Settings::default());
    let script = world.catalog.script("fake");
    script.load(Load::Fails(PipelineError::CannotLoad { message: "not found".into() }));
    let stream = world.create(large()).await;
    world.hub.logged("fetch org/large", 1).await;
    world.hub.end(MODEL, Ok(()));
    stream.reach(Phase::Error).await;
    assert_eq!(stream.status().last_error.unwrap().message, "not found");
    assert_eq!(stream.status().view.warnings, ["org/large is not here."]);
}

#[tokio::test]
async fn a_plan_says_how_much_would_be_fetched() {
    let world = lacking(Settings::default());
    *world.hub.size.lock().unwrap() = Ok(Size { files: 14, bytes: Some(5_160_000_000) });
    let planned = world.runtime.plan(wish("fake", large())).await.unwrap();
    assert_eq!(planned.forecast.fetch_bytes, Some(5_160_000_000));
    assert_eq!(planned.warnings, [PROMISE, "`org/large` is 5.2 GB in 14 files"]);
    *world.hub.size.lock().unwrap() = Err(failure(false).unwrap_err());
    let planned = world.runtime.plan(wish("fake", large())).await.unwrap();
    assert_eq!(planned.forecast.fetch_bytes, None);
    assert_eq!(planned.warnings[1], "`org/large` cannot be fetched now: no such host");
    let here = world.runtime.plan(wish("fake", json!({}))).await.unwrap();
    assert_eq!((here.forecast.fetch_bytes, here.warnings.len()), (Some(0), 0));

    let stream = running_small(&world).await;
    let planned = StreamChange { mode: Mode::Plan, ..change(large()) };
    let changed = world.runtime.change(&stream.id, planned).await.unwrap();
    assert_eq!(changed.view.warnings.len(), 2, "{:?}", changed.view.warnings);
    assert_eq!(world.hub.log(), [""; 0]);
}
