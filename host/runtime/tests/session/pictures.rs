//! Pictures that params point to: they come beside the stream, and it goes on whether they do or not.

use crate::support::{Load, Stream, World, change, wish};
use host_ports::PipelineError;
use host_runtime::{Applied, ChangeError, EventKind, Mode, Phase, PictureState, StreamChange};
use serde_json::{Value, json};
use std::time::Duration;

async fn running(params: Value) -> (World, Stream) {
    let world = World::new();
    let stream = world.create(params).await;
    stream.reach(Phase::Running).await;
    (world, stream)
}

/// A change that waits for its frame, under way.
fn waiting(stream: &Stream, params: Value) -> tokio::task::JoinHandle<Option<Applied>> {
    let mode = Mode::ApplyAndWait(Duration::from_secs(20));
    let change = StreamChange { mode, ..change(params) };
    let (runtime, id) = (stream.runtime.clone(), stream.id.clone());
    tokio::spawn(async move { runtime.change(&id, change).await.unwrap().applied })
}

fn states(stream: &Stream) -> Vec<(String, PictureState)> {
    stream.status().pictures.into_iter().map(|picture| (picture.field, picture.state)).collect()
}

fn failed(reason: &str) -> Vec<(String, PictureState)> {
    vec![("picture".to_owned(), PictureState::Failed { reason: reason.to_owned() })]
}

#[tokio::test]
async fn a_stream_runs_before_its_picture_is_there_and_then_gets_it() {
    let (world, stream) = running(json!({ "prompt": "a cat", "picture": "https://a/" })).await;
    assert_eq!(states(&stream), [("picture".to_owned(), PictureState::Fetching)]);
    stream.see(1).await;
    world.album.deliver("https://a/", "/a.png").await;
    stream.script.logged("update a cat with /a.png", 1).await;
    stream.wait_for(|status| status.pictures[0].state == PictureState::Ready).await;
    stream.see(2).await;
    assert_eq!(stream.script.count("load a cat"), 1);
    assert_eq!(stream.script.count("process 2 a cat with /a.png"), 1);
    assert_eq!(stream.status().view.params["picture"], "https://a/");
    let events = stream.events().until("picture_fetched").await;
    assert_eq!(events, ["created", "loading", "running", "first_frame", "picture_fetched"]);
}

#[tokio::test]
async fn other_params_apply_at_once_and_the_picture_before_stays_until_the_new_one_is_there() {
    let (world, stream) = running(json!({ "prompt": "a cat", "picture": "https://a/" })).await;
    world.album.deliver("https://a/", "/a.png").await;
    stream.script.logged("update a cat with /a.png", 1).await;
    let view = stream.change(json!({ "prompt": "a dog", "picture": "https://b/" })).await;
    assert_eq!((view.revision, &view.params["picture"]), (2, &json!("https://b/")));
    stream.script.logged("update a dog with /a.png", 1).await;
    world.album.deliver("https://b/", "/b.png").await;
    stream.script.logged("update a dog with /b.png", 1).await;
    // None is wished any more.
    stream.change(json!({ "picture": null })).await;
    stream.script.logged("update a dog", 3).await;
    assert_eq!(stream.script.log().last().unwrap(), "update a dog");
    assert!(states(&stream).is_empty());
    assert_eq!(world.album.log(), ["fetch https://a/", "fetch https://b/"]);
}

#[tokio::test]
async fn a_newer_picture_ends_the_fetch_of_the_one_before() {
    let (world, stream) = running(json!({ "prompt": "a cat" })).await;
    let first = waiting(&stream, json!({ "picture": "https://a/" }));
    world.album.logged("fetch https://a/").await;
    let second = waiting(&stream, json!({ "picture": "https://b/" }));
    world.album.logged("give up https://a/").await;
    let reason = "no publisher sends frames; the params are kept, and used from the first frame on";
    assert_eq!(first.await.unwrap(), Some(Applied::NotYet { reason: reason.to_owned() }));
    assert_eq!(second.await.unwrap(), Some(Applied::NotYet { reason: reason.to_owned() }));
    world.album.deliver("https://b/", "/b.png").await;
    stream.script.logged("update a cat with /b.png", 1).await;
    assert_eq!(stream.script.count("update a cat with /a.png"), 0);
    // And none at all ends it too.
    stream.change(json!({ "picture": "https://c/" })).await;
    stream.change(json!({ "picture": "" })).await;
    world.album.logged("give up https://c/").await;
    stream.runtime.delete(&stream.id).await.unwrap();
}

#[tokio::test]
async fn a_change_that_waits_is_answered_with_the_first_frame_that_has_the_picture() {
    let (world, stream) = running(json!({ "prompt": "a cat" })).await;
    stream.see(1).await;
    let applied = waiting(&stream, json!({ "picture": "https://a/" }));
    stream.script.logged("update a cat", 1).await;
    stream.see(2).await;
    // What has nothing to do with the picture does not wait for it.
    let other = waiting(&stream, json!({ "prompt": "a dog" }));
    stream.script.logged("update a dog", 1).await;
    stream.see(3).await;
    assert_eq!(other.await.unwrap(), Some(Applied::AtFrame(3)));
    assert!(!applied.is_finished());
    world.album.deliver("https://a/", "/a.png").await;
    stream.script.logged("update a dog with /a.png", 1).await;
    stream.see(4).await;
    assert_eq!(applied.await.unwrap(), Some(Applied::AtFrame(4)));

    let first = waiting(&stream, json!({ "picture": "https://b/" }));
    world.album.logged("fetch https://b/").await;
    let second = waiting(&stream, json!({ "picture": "https://c/" }));
    let reason = "a newer change names another picture".to_owned();
    assert_eq!(first.await.unwrap(), Some(Applied::NotYet { reason }));
    world.album.refuse("https://c/", "no such thing").await;
    let reason = "the picture of `picture` was not fetched, the one before stays: no such thing";
    assert_eq!(second.await.unwrap(), Some(Applied::NotYet { reason: reason.to_owned() }));
}

#[tokio::test]
async fn without_its_picture_a_stream_goes_on_and_says_so_until_it_is_asked_for_again() {
    let (world, stream) = running(json!({ "prompt": "a cat", "picture": "https://a/" })).await;
    world.album.refuse("https://a/", "it is away").await;
    stream.wait_for(|status| !status.view.warnings.is_empty()).await;
    let told = "the picture of `picture` was not fetched, there is none: it is away";
    assert_eq!(stream.status().view.warnings, [told]);
    assert_eq!(states(&stream), failed("it is away"));
    let mut events = stream.events();
    let event = loop {
        let event = events.next().await.unwrap();
        if event.kind == EventKind::PictureFailed {
            break event;
        }
    };
    assert_eq!(event.message, told);
    stream.see(1).await;
    // Other params change nothing about it; the same once more has it fetched again.
    stream.change(json!({ "prompt": "a dog" })).await;
    assert_eq!((world.album.log().len(), states(&stream)), (1, failed("it is away")));
    let view = stream.change(json!({ "picture": "https://a/" })).await;
    assert_eq!((view.revision, view.warnings.len()), (2, 0));
    world.album.deliver("https://a/", "/a.png").await;
    stream.script.logged("update a dog with /a.png", 1).await;
    // Then it is not fetched once more.
    stream.change(json!({ "picture": "https://a/" })).await;
    assert_eq!(world.album.log(), ["fetch https://a/"; 2]);

    stream.change(json!({ "picture": "https://b/" })).await;
    world.album.refuse("https://b/", "it is away").await;
    stream.wait_for(|status| !status.view.warnings.is_empty()).await;
    let told = "the picture of `picture` was not fetched, the one before stays: it is away";
    assert_eq!(stream.status().view.warnings, [told]);
    stream.change(json!({ "prompt": "a fox" })).await;
    stream.script.logged("update a fox with /a.png", 1).await;
}

#[tokio::test]
async fn what_is_wrong_by_its_text_is_refused_with_its_place_unless_it_was_there_before() {
    let world = World::new();
    let refused =
        world.runtime.create(wish("fake", json!({ "picture": "bad" }))).await.unwrap_err();
    let ChangeError::Params(errors) = refused else { panic!("{refused}") };
    let at = |error: &host_ports::FieldError| (error.pointer.clone(), error.message.clone());
    let wanted = [("/picture".to_owned(), "must be better".to_owned())];
    assert_eq!(errors.iter().map(at).collect::<Vec<_>>(), wanted);
    let stream = world.create(json!({})).await;
    for mode in [Mode::Apply, Mode::Plan] {
        let change = StreamChange { mode, ..change(json!({ "picture": "bad" })) };
        let refused = stream.runtime.change(&stream.id, change).await.unwrap_err();
        assert!(matches!(refused, ChangeError::Params(errors) if errors[0].pointer == "/picture"));
    }
    // Only planned: nothing is fetched.
    let plan = StreamChange { mode: Mode::Plan, ..change(json!({ "picture": "https://a/" })) };
    stream.runtime.change(&stream.id, plan).await.unwrap();
    assert!(world.album.log().is_empty() && states(&stream).is_empty());
    assert_eq!(stream.status().view.revision, 1);
}

#[tokio::test]
async fn a_picture_that_comes_while_the_pipeline_loads_is_there_when_it_has() {
    let world = World::new();
    world.catalog.script("fake").load(Load::Held(None));
    let stream = world.create(json!({ "prompt": "a cat", "picture": "https://a/" })).await;
    stream.script.logged("load a cat", 1).await;
    world.album.deliver("https://a/", "/a.png").await;
    stream.wait_for(|status| status.pictures[0].state == PictureState::Ready).await;
    stream.script.release_loads();
    stream.script.logged("update a cat with /a.png", 1).await;
    stream.reach(Phase::Running).await;
    // A reload begins with it.
    stream.change(json!({ "width": 16 })).await;
    stream.script.logged("load a cat with /a.png", 1).await;
}

#[tokio::test]
async fn what_runs_while_another_pipeline_loads_gets_it_too_and_keeps_it_when_that_fails() {
    let (world, stream) = running(json!({ "prompt": "a cat", "picture": "https://a/" })).await;
    world.album.deliver("https://a/", "/a.png").await;
    stream.script.logged("update a cat with /a.png", 1).await;
    let message = "out of luck".to_owned();
    stream.script.load(Load::Held(Some(PipelineError::CannotLoad { message })));
    stream.change(json!({ "width": 16, "picture": "https://b/" })).await;
    stream.script.logged("load a cat with /a.png", 1).await;
    world.album.deliver("https://b/", "/b.png").await;
    stream.script.logged("update a cat with /b.png", 1).await;
    stream.script.release_loads();
    // The params go back, and so does the picture.
    world.album.logged("recall https://a/").await;
    world.album.deliver("https://a/", "/a.png").await;
    stream.script.logged("update a cat with /a.png", 2).await;
    assert_eq!(stream.status().view.params["picture"], "https://a/");
}

#[tokio::test]
async fn after_a_restart_what_was_fetched_before_will_do() {
    let (world, stream) = running(json!({ "prompt": "a cat", "picture": "https://a/" })).await;
    drop(stream);
    // Nor is it in the way of the stream that it would not be taken any more.
    let world = world.restart_where_pictures_are_bad().await;
    let stream = world.only_stream();
    world.album.logged("recall https://a/").await;
    world.album.deliver("https://a/", "/a.png").await;
    stream.script.logged("update a cat with /a.png", 1).await;
    stream.reach(Phase::Running).await;
    assert_eq!(stream.change(json!({ "prompt": "a dog" })).await.params["picture"], "https://a/");
}
