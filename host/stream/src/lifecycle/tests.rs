//! Stories of streams, in seconds, and random walks through the states.

// An `Instant` has no other origin; which one it is does not show in any result.
#![allow(clippy::disallowed_methods)]

use super::Event::*;
use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(8) };
const ONE: LoadId = LoadId(1);
const TWO: LoadId = LoadId(2);
const THREE: LoadId = LoadId(3);
/// Changes of params: of hot ones only; of others, without and with memory for a second pipeline.
const HOT: Event = changed(false, false, false);
const COLD: Event = changed(true, false, false);
const COLD_WITH_ROOM: Event = changed(true, false, true);
/// While a pipeline loads beside: back to what the running one has.
const BACK: Event = changed(true, true, true);

const fn changed(needs_reload: bool, suits_running: bool, has_room: bool) -> Event {
    ParamsChanged(Change { needs_reload, suits_running, has_room })
}

fn check(story: &[(u64, Event)], expected: Expect) {
    let start = Instant::now();
    let (mut stream, effects) = Lifecycle::start(BACKOFF);
    let mut told = format!("start -> {effects:?} {:?}\n", stream.phase());
    for (seconds, event) in story {
        let effects = stream.on(start + Duration::from_secs(*seconds), *event);
        let wake = match stream.deadline() {
            Some(until) => format!(" until {}s", (until - start).as_secs()),
            None => String::new(),
        };
        let event = match *event {
            HOT => "hot params".to_owned(),
            COLD => "cold params".to_owned(),
            COLD_WITH_ROOM => "cold params, with room".to_owned(),
            BACK => "the running params again".to_owned(),
            event => format!("{event:?}"),
        };
        told += &format!("{seconds}s {event} -> {effects:?} {:?}{wake}\n", stream.phase());
    }
    expected.assert_eq(&told);
}

#[test]
fn viewers_see_the_fallback_until_the_pipeline_is_loaded() {
    check(
        &[(0, FrameArrived), (9, Loaded(ONE)), (10, FrameArrived)],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            9s Loaded(LoadId(1)) -> [ShowPipeline] Running
            10s FrameArrived -> [] Running
        "#]],
    );
}

#[test]
fn nothing_is_shown_before_the_first_published_frame() {
    check(
        &[(1, Loaded(ONE)), (2, PublisherGone), (3, PipelineFailed(ONE)), (9, FrameArrived)],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            1s Loaded(LoadId(1)) -> [] Running
            2s PublisherGone -> [] Running
            3s PipelineFailed(LoadId(1)) -> [] Error until 4s
            9s FrameArrived -> [ShowFallback] Error until 4s
        "#]],
    );
}

#[test]
fn viewers_see_the_fallback_while_the_publisher_is_gone() {
    check(
        &[(0, Loaded(ONE)), (1, FrameArrived), (5, PublisherGone), (8, FrameArrived)],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s Loaded(LoadId(1)) -> [] Running
            1s FrameArrived -> [ShowPipeline] Running
            5s PublisherGone -> [ShowFallback] Running
            8s FrameArrived -> [ShowPipeline] Running
        "#]],
    );
}

#[test]
fn a_pipeline_that_keeps_dying_is_restarted_after_ever_longer_pauses() {
    check(
        &[
            (0, FrameArrived),
            (0, Loaded(ONE)),
            (1, PipelineFailed(ONE)),
            (2, DeadlineReached),
            (2, LoadFailed(TWO)),
            (4, DeadlineReached),
            (4, Loaded(THREE)),
            (5, PipelineFailed(THREE)),
            (8, DeadlineReached),
            (9, DeadlineReached),
            (9, LoadFailed(LoadId(4))),
            (17, DeadlineReached),
            (17, LoadFailed(LoadId(5))),
            (25, DeadlineReached),
        ],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            0s Loaded(LoadId(1)) -> [ShowPipeline] Running
            1s PipelineFailed(LoadId(1)) -> [ShowFallback] Error until 2s
            2s DeadlineReached -> [Restart(LoadId(2))] Reloading
            2s LoadFailed(LoadId(2)) -> [] Error until 4s
            4s DeadlineReached -> [Restart(LoadId(3))] Reloading
            4s Loaded(LoadId(3)) -> [ShowPipeline] Running
            5s PipelineFailed(LoadId(3)) -> [ShowFallback] Error until 9s
            8s DeadlineReached -> [] Error until 9s
            9s DeadlineReached -> [Restart(LoadId(4))] Reloading
            9s LoadFailed(LoadId(4)) -> [] Error until 17s
            17s DeadlineReached -> [Restart(LoadId(5))] Reloading
            17s LoadFailed(LoadId(5)) -> [] Error until 25s
            25s DeadlineReached -> [Restart(LoadId(6))] Reloading
        "#]],
    );
}

#[test]
fn a_pipeline_that_ran_well_starts_again_after_the_first_pause() {
    check(
        &[
            (0, LoadFailed(ONE)),
            (1, DeadlineReached),
            (1, Loaded(TWO)),
            (9, PipelineFailed(TWO)),
            (10, DeadlineReached),
        ],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s LoadFailed(LoadId(1)) -> [] Error until 1s
            1s DeadlineReached -> [Restart(LoadId(2))] Starting
            1s Loaded(LoadId(2)) -> [] Running
            9s PipelineFailed(LoadId(2)) -> [] Error until 10s
            10s DeadlineReached -> [Restart(LoadId(3))] Reloading
        "#]],
    );
}

#[test]
fn params_that_cannot_be_loaded_are_not_tried_again_until_they_change() {
    check(
        &[
            (0, FrameArrived),
            (1, LoadRefused(ONE)),
            (99, DeadlineReached),
            (100, HOT),
            (101, Loaded(TWO)),
        ],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            1s LoadRefused(LoadId(1)) -> [] Error
            99s DeadlineReached -> [] Error
            100s hot params -> [Load(LoadId(2))] Starting
            101s Loaded(LoadId(2)) -> [ShowPipeline] Running
        "#]],
    );
}

#[test]
fn cold_params_reload_and_hot_params_do_not() {
    check(
        &[(0, FrameArrived), (1, Loaded(ONE)), (2, HOT), (3, COLD), (4, HOT), (5, Loaded(TWO))],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            1s Loaded(LoadId(1)) -> [ShowPipeline] Running
            2s hot params -> [ApplyParams] Running
            3s cold params -> [ShowFallback, Load(LoadId(2))] Reloading
            4s hot params -> [ApplyParams] Reloading
            5s Loaded(LoadId(2)) -> [ShowPipeline] Running
        "#]],
    );
}

#[test]
fn a_pipeline_is_loaded_beside_the_running_one_where_there_is_room() {
    check(
        &[
            (0, FrameArrived),
            (1, Loaded(ONE)),
            (2, COLD_WITH_ROOM),
            (3, HOT),
            (4, COLD_WITH_ROOM),
            (5, Loaded(TWO)),
            (6, Loaded(THREE)),
            (7, PipelineFailed(ONE)),
            (8, PipelineFailed(THREE)),
        ],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            1s Loaded(LoadId(1)) -> [ShowPipeline] Running
            2s cold params, with room -> [LoadBeside(LoadId(2))] Running
            3s hot params -> [ApplyParams] Running
            4s cold params, with room -> [LoadBeside(LoadId(3))] Running
            5s Loaded(LoadId(2)) -> [] Running
            6s Loaded(LoadId(3)) -> [] Running
            7s PipelineFailed(LoadId(1)) -> [] Running
            8s PipelineFailed(LoadId(3)) -> [ShowFallback] Error until 9s
        "#]],
    );
}

#[test]
fn a_load_beside_that_fails_takes_the_params_back() {
    check(
        &[
            (0, FrameArrived),
            (1, Loaded(ONE)),
            (2, COLD_WITH_ROOM),
            (3, LoadRefused(TWO)),
            (4, HOT),
            (5, PipelineFailed(ONE)),
        ],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            1s Loaded(LoadId(1)) -> [ShowPipeline] Running
            2s cold params, with room -> [LoadBeside(LoadId(2))] Running
            3s LoadRefused(LoadId(2)) -> [TakeBack] Running
            4s hot params -> [ApplyParams] Running
            5s PipelineFailed(LoadId(1)) -> [ShowFallback] Error until 6s
        "#]],
    );
}

#[test]
fn a_load_beside_ends_when_nobody_wants_it_any_more() {
    check(
        &[
            (0, FrameArrived),
            (1, Loaded(ONE)),
            (2, COLD_WITH_ROOM),
            (3, BACK),
            (4, Loaded(TWO)),
            (5, COLD_WITH_ROOM),
            (6, COLD),
        ],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            1s Loaded(LoadId(1)) -> [ShowPipeline] Running
            2s cold params, with room -> [LoadBeside(LoadId(2))] Running
            3s the running params again -> [EndBeside, ApplyParams] Running
            4s Loaded(LoadId(2)) -> [] Running
            5s cold params, with room -> [LoadBeside(LoadId(3))] Running
            6s cold params -> [ShowFallback, EndBeside, Load(LoadId(4))] Reloading
        "#]],
    );
    check(
        &[(0, Loaded(ONE)), (1, COLD_WITH_ROOM), (2, PipelineFailed(ONE)), (3, DeadlineReached)],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s Loaded(LoadId(1)) -> [] Running
            1s cold params, with room -> [LoadBeside(LoadId(2))] Running
            2s PipelineFailed(LoadId(1)) -> [EndBeside] Error until 3s
            3s DeadlineReached -> [Restart(LoadId(3))] Reloading
        "#]],
    );
}

#[test]
fn cold_params_end_the_load_that_is_under_way() {
    check(
        &[
            (1, COLD),
            (2, LoadFailed(ONE)),
            (3, Loaded(ONE)),
            (4, Loaded(TWO)),
            (5, PipelineFailed(ONE)),
        ],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            1s cold params -> [CancelLoad, Load(LoadId(2))] Starting
            2s LoadFailed(LoadId(1)) -> [] Starting
            3s Loaded(LoadId(1)) -> [] Starting
            4s Loaded(LoadId(2)) -> [] Running
            5s PipelineFailed(LoadId(1)) -> [] Running
        "#]],
    );
}

#[test]
fn new_params_end_the_pause_after_a_failure_if_they_need_a_reload() {
    check(
        &[(0, LoadFailed(ONE)), (0, HOT), (0, COLD)],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s LoadFailed(LoadId(1)) -> [] Error until 1s
            0s hot params -> [] Error until 1s
            0s cold params -> [Load(LoadId(2))] Starting
        "#]],
    );
}

#[test]
fn a_deleted_stream_does_nothing_more() {
    check(
        &[(0, FrameArrived), (1, Deleted), (2, Loaded(ONE)), (3, Deleted), (4, FrameArrived)],
        expect![[r#"
            start -> [Load(LoadId(1))] Starting
            0s FrameArrived -> [ShowFallback] Starting
            1s Deleted -> [Stop] Stopping
            2s Loaded(LoadId(1)) -> [] Stopping
            3s Deleted -> [] Stopping
            4s FrameArrived -> [] Stopping
        "#]],
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let load = (1u64..6).prop_map(LoadId);
    prop_oneof![
        4 => Just(FrameArrived),
        2 => Just(PublisherGone),
        4 => load.clone().prop_map(Loaded),
        2 => load.clone().prop_map(LoadFailed),
        1 => load.clone().prop_map(LoadRefused),
        2 => load.prop_map(PipelineFailed),
        3 => any::<[bool; 3]>().prop_map(|[reload, suits, room]| changed(reload, suits, room)),
        4 => Just(DeadlineReached),
        1 => Just(Deleted),
    ]
}

proptest! {
    #[test]
    fn no_walk_breaks_the_promises(walk in prop::collection::vec((0u64..20, any_event()), 0..60)) {
        let mut now = Instant::now();
        let (mut stream, _) = Lifecycle::start(BACKOFF);
        let (mut had_frame, mut last_load, mut shown) = (false, ONE, None);
        let mut is_beside = false;
        for (pause, event) in walk {
            now += Duration::from_secs(pause);
            let was_stopping = stream.phase() == Phase::Stopping;
            had_frame |= event == FrameArrived;
            is_beside &= event != Loaded(last_load);
            for effect in stream.on(now, event) {
                prop_assert!(!was_stopping, "{effect:?} after the end");
                match effect {
                    Effect::ShowPipeline | Effect::ShowFallback => {
                        prop_assert!(had_frame, "shown before the first frame");
                        prop_assert_ne!(shown, Some(effect), "told twice");
                        shown = Some(effect);
                    }
                    Effect::Load(load) | Effect::Restart(load) => {
                        prop_assert!(load > last_load);
                        prop_assert!(!is_beside, "two pipelines where one is ordered");
                        last_load = load;
                    }
                    Effect::LoadBeside(load) => {
                        prop_assert!(load > last_load);
                        prop_assert_eq!(stream.phase(), Phase::Running);
                        (last_load, is_beside) = (load, true);
                    }
                    Effect::EndBeside | Effect::TakeBack => {
                        prop_assert!(is_beside, "{effect:?} without a pipeline beside");
                        is_beside = false;
                    }
                    _ => {}
                }
            }
            let is_running = stream.phase() == Phase::Running;
            prop_assert!(shown != Some(Effect::ShowPipeline) || is_running || stream.phase() == Phase::Stopping);
            prop_assert!(stream.deadline().is_none() || stream.phase() == Phase::Error);
        }
    }
}
