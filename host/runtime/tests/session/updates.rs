//! Changes with care: for one revision only, only planned, or answered once a frame shows them.

use crate::support::{Load, Stream, World, change, object, wish};
use host_ports::{PipelineError, StateStore, Unsupported};
use host_runtime::{Applied, Apply, ChangeError, Changed, Mode, Phase, StreamChange};
use serde_json::{Value, json};
use std::time::Duration;

/// Long enough for whatever a test lets come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn running() -> (World, Stream) {
    let world = World::new();
    let stream = world.create(json!({ "prompt": "a cat" })).await;
    stream.reach(Phase::Running).await;
    (world, stream)
}

async fn change_for(
    stream: &Stream,
    revisions: &[u64],
    params: Value,
) -> Result<Changed, ChangeError> {
    let change = StreamChange { revisions: Some(revisions.to_vec()), ..change(params) };
    stream.runtime.change(&stream.id, change).await
}

async fn change_in(stream: &Stream, mode: Mode, params: Value) -> Changed {
    let change = StreamChange { mode, ..change(params) };
    stream.runtime.change(&stream.id, change).await.unwrap()
}

fn fields(changed: &Changed) -> Vec<(&str, &Apply)> {
    changed.fields.iter().map(|field| (field.name.as_str(), &field.apply)).collect()
}

#[tokio::test]
async fn a_change_for_another_revision_is_refused_and_changes_nothing() {
    let (world, stream) = running().await;
    assert_eq!(stream.change(json!({ "prompt": "a dog" })).await.revision, 2);
    for stale in [&[1][..], &[], &[3, 4]] {
        let refused = change_for(&stream, stale, json!({ "prompt": "late" })).await.unwrap_err();
        assert!(
            matches!(&refused, ChangeError::Stale { revision: 2, wanted } if wanted == stale),
            "{refused}"
        );
    }
    assert_eq!(world.runtime.get(&stream.id).unwrap().params["prompt"], "a dog");
    let fitting = change_for(&stream, &[1, 2], json!({ "prompt": "a fox" })).await.unwrap();
    assert_eq!(fitting.view.revision, 3);
}

#[tokio::test]
async fn of_changes_for_one_revision_that_come_together_one_is_made() {
    let (world, stream) = running().await;
    let prompts = ["one", "two", "three", "four"];
    let [a, b, c, d] = prompts.map(|prompt| change_for(&stream, &[1], json!({ "prompt": prompt })));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let made = [a, b, c, d].into_iter().filter(Result::is_ok).count();
    assert_eq!((made, world.runtime.get(&stream.id).unwrap().revision), (1, 2));
}

#[tokio::test]
async fn a_deletion_for_another_revision_is_refused() {
    let (world, stream) = running().await;
    stream.change(json!({ "prompt": "a dog" })).await;
    let stale = world.runtime.delete_at(&stream.id, Some(vec![1])).await.unwrap_err();
    assert!(matches!(stale, ChangeError::Stale { revision: 2, .. }), "{stale}");
    assert_eq!((world.stored(), stream.status().view.phase), (1, Phase::Running));
    world.runtime.delete_at(&stream.id, Some(vec![2])).await.unwrap();
    assert_eq!((world.stored(), world.runtime.get(&stream.id)), (0, None));
    let again = world.runtime.delete_at(&stream.id, Some(vec![2])).await.unwrap_err();
    assert!(matches!(again, ChangeError::NotFound { .. }), "{again}");
}

#[tokio::test]
async fn of_a_change_and_a_deletion_for_one_revision_one_is_made() {
    let (world, stream) = running().await;
    let (deleted, changed) = tokio::join!(
        world.runtime.delete_at(&stream.id, Some(vec![1])),
        world.runtime.change(&stream.id, change(json!({ "prompt": "a dog" }))),
    );
    match (deleted, changed) {
        (Ok(()), Err(ChangeError::NotFound { .. })) => assert_eq!(world.stored(), 0),
        (Err(ChangeError::Stale { revision: 2, .. }), Ok(_)) => assert_eq!(world.stored(), 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_field_that_was_named_is_told_what_it_costs() {
    let (_world, stream) = running().await;
    let reason = "there is no large one".to_owned();
    let no_large = Unsupported { field: "model_id".into(), reason: reason.clone() };
    stream.script.unsupported.lock().unwrap().push(no_large);
    let params = json!({
        "prompt": "a dog", "width": 16, "model_id": "small", "fit": "stretch", "fallback": null, "unheard": 1,
    });
    let changed = change_in(&stream, Mode::Apply, params).await;
    let unheard = "this pipeline has no such parameter".to_owned();
    assert_eq!(
        fields(&changed),
        [
            ("prompt", &Apply::Hot),
            ("width", &Apply::Reload),
            ("model_id", &Apply::Unsupported { reason }),
            ("fit", &Apply::Hot),
            ("fallback", &Apply::Unchanged),
            ("unheard", &Apply::Unsupported { reason: unheard }),
        ]
    );
    assert!(changed.forecast.needs_reload);
    stream.script.logged("load", 2).await;
    assert_eq!((stream.script.count("load"), stream.script.count("update")), (2, 0));
}

#[tokio::test]
async fn names_that_nothing_has_are_not_all_repeated() {
    let (_world, stream) = running().await;
    let mut params = object(json!({ "prompt": "a dog", "x".repeat(5000): 1 }));
    params.extend((0..1000).map(|n| (format!("unheard{n}"), n.into())));
    let changed = change_in(&stream, Mode::Apply, params.into()).await;
    assert_eq!((changed.fields.len(), changed.view.warnings.len()), (17, 16));
}

#[tokio::test]
async fn a_plan_says_what_a_change_would_do_and_does_nothing() {
    let (world, stream) = running().await;
    let before = (world.runtime.get(&stream.id), world.store.list().unwrap());
    let params = json!({ "prompt": "a dog", "width": 16, "fallback": "black", "unheard": 1 });
    let planned = change_in(&stream, Mode::Plan, params.clone()).await;
    assert_eq!((planned.view.revision, &planned.view.params["width"]), (1, &json!(16)));
    assert!(planned.forecast.needs_reload && planned.view.warnings[0].contains("unheard"));
    let refused = StreamChange { mode: Mode::Plan, ..change(json!({ "width": 100 })) };
    let refused = world.runtime.change(&stream.id, refused).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Params(_)), "{refused}");
    assert_eq!((world.runtime.get(&stream.id), world.store.list().unwrap()), before);
    assert_eq!(stream.script.log(), ["plan", "open 8x8", "load a cat", "plan"]);

    let made = change_in(&stream, Mode::Apply, params).await;
    assert_eq!(fields(&made), fields(&planned));
}

#[tokio::test]
async fn a_planned_stream_is_not_created() {
    let world = World::new();
    let planned = world.runtime.plan(wish("fake", json!({ "width": 16 }))).await.unwrap();
    assert_eq!(
        (&planned.params["width"], &planned.params["prompt"]),
        (&json!(16), &json!("flowers"))
    );
    let refused = world.runtime.plan(wish("fake", json!({ "width": 100 }))).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Params(_)), "{refused}");
    assert_eq!((world.stored(), world.runtime.active_streams()), (0, 0));
}

#[tokio::test]
async fn the_first_frame_made_with_a_change_is_told() {
    let (_world, stream) = running().await;
    stream.see(1).await;
    for (prompt, frame) in [("a dog", 2), ("a fox", 3)] {
        let update = format!("update {prompt}");
        let next_frame = async {
            stream.script.logged(&update, 1).await;
            stream.see(frame).await;
        };
        let wait = change_in(&stream, Mode::ApplyAndWait(PATIENCE), json!({ "prompt": prompt }));
        let (changed, ()) = tokio::join!(wait, next_frame);
        assert_eq!(changed.applied, Some(Applied::AtFrame(frame)));
    }
    // The values it has already are those of the next frame.
    let wait = change_in(&stream, Mode::ApplyAndWait(PATIENCE), json!({ "prompt": "a fox" }));
    let wait = async { tokio::join!(wait, stream.script.logged("process", 4)).0 };
    let publish = async {
        // The request is under way when the frame comes, or the frame is none of its.
        tokio::task::yield_now().await;
        for frame in 4.. {
            if !stream.path.publish_frame(frame) || stream.script.count("process") > 3 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let (changed, ()) = tokio::join!(wait, publish);
    assert!(matches!(changed.applied, Some(Applied::AtFrame(4..))), "{:?}", changed.applied);
}

#[tokio::test]
async fn a_reload_is_waited_for_too() {
    let (_world, stream) = running().await;
    stream.see(1).await;
    let params = json!({ "prompt": "a dog", "width": 16 });
    let mut wait = Box::pin(change_in(&stream, Mode::ApplyAndWait(PATIENCE), params));
    // The running pipeline goes on with the old params until the new one has taken over.
    let mut frame = 1;
    let changed = loop {
        frame += 1;
        tokio::select! {
            changed = &mut wait => break changed,
            () = tokio::task::yield_now() => drop(stream.path.publish_frame(frame)),
        }
    };
    let Some(Applied::AtFrame(applied)) = changed.applied else { panic!("{:?}", changed.applied) };
    let of_new = format!("process {applied} a dog");
    assert!(stream.script.log().contains(&of_new), "{of_new}: {:?}", stream.script.log());
    let made = stream.path.shown().into_iter().find(|shown| shown.id == applied);
    assert_eq!(made.map(|shown| shown.size.width), Some(32));
}

/// Why a change that was to wait did not see its frame.
async fn reason(stream: &Stream, limit: Duration, prompt: &str) -> String {
    match change_in(stream, Mode::ApplyAndWait(limit), json!({ "prompt": prompt })).await.applied {
        Some(Applied::NotYet { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_waited_for_while_nobody_publishes() {
    let (_world, stream) = running().await;
    assert!(reason(&stream, PATIENCE, "before").await.contains("no publisher"));
    stream.see(1).await;
    stream.path.publisher_leaves();
    assert!(reason(&stream, PATIENCE, "after").await.contains("no publisher"));
}

#[tokio::test]
async fn a_publisher_that_leaves_ends_the_waiting() {
    let (_world, stream) = running().await;
    stream.see(1).await;
    let leave = async {
        stream.script.logged("update", 1).await;
        stream.path.publisher_leaves();
    };
    let (reason, ()) = tokio::join!(reason(&stream, PATIENCE, "a dog"), leave);
    assert!(reason.contains("no publisher"), "{reason}");
}

#[tokio::test]
async fn waiting_ends_at_its_limit_and_the_change_holds() {
    let (world, stream) = running().await;
    stream.see(1).await;
    let reason = reason(&stream, Duration::ZERO, "a dog").await;
    assert!(reason.contains("within 0 s"), "{reason}");
    assert_eq!(world.runtime.get(&stream.id).unwrap().params["prompt"], "a dog");
}

#[tokio::test]
async fn what_a_pipeline_refuses_is_told_to_who_waits() {
    let (_world, stream) = running().await;
    stream.see(1).await;
    let error = PipelineError::Failed { message: "no such word".into() };
    stream.script.updates.lock().unwrap().push_back(error);
    assert_eq!(reason(&stream, PATIENCE, "xyzzy").await, "no such word");
    let message = "no weights".to_owned();
    stream.script.load(Load::Fails(PipelineError::CannotLoad { message }));
    let params = json!({ "model_id": "large" });
    let changed = change_in(&stream, Mode::ApplyAndWait(PATIENCE), params).await;
    let reason = "no weights".to_owned();
    assert_eq!(changed.applied, Some(Applied::NotYet { reason }));
}
