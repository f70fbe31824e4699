//! Pipelines that die, fail or cannot load, and what viewers see meanwhile.

use crate::support::{Load, Turn, World};
use host_ports::PipelineError;
use host_runtime::{Phase, Settings};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

fn death() -> PipelineError {
    PipelineError::Died { plugin: "fake".into(), how: "killed by signal 9".into() }
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_keeps_dying_is_restarted_after_ever_longer_pauses() {
    let second = Duration::from_secs(1);
    let settings = Settings {
        restart_backoff_first: second,
        restart_backoff_max: 4 * second,
        ..Settings::default()
    };
    let world = World::with(settings);
    let script = world.catalog.script("fake");
    (0..4).for_each(|_| script.load(Load::Fails(death())));
    let start = Instant::now();
    let stream = world.create(json!({ "prompt": "a cat" })).await;
    for (loads, seconds) in [(1, 0), (2, 1), (3, 3), (4, 7), (5, 11)] {
        script.logged("load a cat", loads).await;
        assert_eq!(start.elapsed().as_secs_f64().round() as u64, seconds, "load {loads}");
    }
    stream.reach(Phase::Running).await;
    let status = stream.status();
    assert_eq!((status.restarts, script.count("open")), (4, 1));
    assert_eq!(
        status.last_error.unwrap().message,
        "plugin fake ended its worker: killed by signal 9"
    );
    assert!(status.last_restart_at.is_some() && status.started_at.is_some());
}

#[tokio::test]
async fn viewers_see_the_input_while_a_dead_pipeline_waits_for_its_restart() {
    let hour = Duration::from_secs(3600);
    let world = World::with(Settings {
        restart_backoff_first: hour,
        restart_backoff_max: hour,
        ..Settings::default()
    });
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    stream.see(1).await;
    assert_eq!(stream.status().worker_pid, Some(4711));
    stream.script.turn(Turn::Fails(death()));
    assert!(stream.path.publish_frame(2));
    stream.reach(Phase::Error).await;
    assert_eq!(stream.status().worker_pid, None);
    stream.see(3).await;
    let shown: Vec<_> = stream.path.shown().iter().map(|shown| (shown.id, shown.by)).collect();
    assert_eq!(shown, [(1, "pipeline"), (3, "publisher")]);
}

#[tokio::test]
async fn a_restarted_pipeline_has_the_newest_params() {
    let world =
        World::with(Settings { restart_backoff_first: Duration::ZERO, ..Settings::default() });
    let stream = world.create(json!({ "prompt": "one" })).await;
    stream.reach(Phase::Running).await;
    stream.change(json!({ "prompt": "two" })).await;
    stream.script.turn(Turn::Fails(death()));
    assert!(stream.path.publish_frame(1));
    stream.script.logged("load two", 1).await;
    stream.reach(Phase::Running).await;
    stream.see(2).await;
    assert_eq!(stream.script.log().last().unwrap(), "process 2 two");
}

#[tokio::test]
async fn a_failed_frame_is_shown_as_it_came_and_the_pipeline_goes_on() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    stream.script.turn(Turn::Fails(PipelineError::Failed { message: "out of paint".into() }));
    stream.see(1).await;
    stream.see(2).await;
    let shown: Vec<_> = stream.path.shown().iter().map(|shown| (shown.id, shown.by)).collect();
    assert_eq!(shown, [(1, "publisher"), (2, "pipeline")]);
    let status = stream.status();
    assert_eq!((status.view.phase, status.restarts), (Phase::Running, 0));
    assert_eq!(status.last_error.unwrap().message, "out of paint");
}

#[tokio::test]
async fn a_panic_in_the_pipelines_thread_costs_a_restart_and_not_the_stream() {
    let world =
        World::with(Settings { restart_backoff_first: Duration::ZERO, ..Settings::default() });
    let stream = world.create(json!({})).await;
    stream.reach(Phase::Running).await;
    stream.script.turn(Turn::Panics);
    assert!(stream.path.publish_frame(1));
    stream.script.logged("load", 2).await;
    stream.reach(Phase::Running).await;
    stream.see(2).await;
    assert_eq!(stream.path.last_shown().unwrap().by, "pipeline");
}

#[tokio::test]
async fn another_stream_does_not_notice() {
    let world = World::new();
    let dying = world.create(json!({})).await;
    let steady = world.create_of("steady", json!({})).await;
    dying.reach(Phase::Running).await;
    steady.reach(Phase::Running).await;
    dying.script.hold();
    assert!(dying.path.publish_frame(1));
    dying.script.logged("process", 1).await;
    for frame in 1..=20 {
        steady.see(frame).await;
    }
    dying.script.load(Load::Fails(death()));
    dying.script.turn(Turn::Fails(death()));
    dying.script.release_all();
    assert!(dying.path.publish_frame(2));
    dying.reach(Phase::Error).await;
    steady.see(21).await;
    assert!(steady.path.shown().iter().all(|shown| shown.by == "pipeline"));
    assert_eq!(steady.status().restarts, 0);
}
