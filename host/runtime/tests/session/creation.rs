//! Creating streams, and refusing to.

use crate::support::{Load, World, object, wish};
use host_ports::{PlanError, StateStore, Unsupported};
use host_runtime::{ChangeError, MediaError, NewStream, Phase, Settings};
use serde_json::{Value, json};

#[tokio::test]
async fn create_answers_before_anything_is_loaded() {
    let world = World::new();
    world.catalog.script("fake").load(Load::Never);
    let view = world.runtime.create(wish("fake", json!({ "prompt": "a cat" }))).await.unwrap();
    assert_eq!(view.phase, Phase::Starting);
    let expected = json!({
        "prompt": "a cat", "model_id": "small", "width": 8, "picture": null, "fallback": "input",
        "fit": "crop", "video_codec": "h264", "video_profile": "baseline",
        "video_preset": "ultrafast", "video_tune": "zerolatency", "gop_size": 60, "video_bframes": 0,
    });
    assert_eq!(Value::Object(view.params.clone()), expected);
    assert_eq!(world.runtime.get(&view.id), Some(view.clone()));
    assert_eq!(world.runtime.list(), std::slice::from_ref(&view));
    assert_eq!(world.store.get(&view.id).unwrap().unwrap().params, view.params);
    world.runtime.delete(&view.id).await.unwrap();
}

#[tokio::test]
async fn streams_are_listed_in_order_of_creation_under_names_of_their_own() {
    let world = World::new();
    let mut views = Vec::new();
    for name in [Some("one"), None, Some("three")] {
        let name = name.map(str::to_owned);
        let wish = NewStream { name, ..wish("fake", json!({})) };
        views.push(world.runtime.create(wish).await.unwrap());
    }
    assert_eq!(
        world.runtime.list().iter().map(|view| &view.id).collect::<Vec<_>>(),
        views.iter().map(|view| &view.id).collect::<Vec<_>>()
    );
    assert_eq!((views[0].name.as_str(), views[2].name.as_str()), ("one", "three"));
    assert!(views[1].name.starts_with("stream-"));
    assert_ne!(views[0].stream_key, views[1].stream_key);
    assert_eq!(world.runtime.active_streams(), 3);
}

#[tokio::test]
async fn an_unknown_pipeline_is_told_what_is_on_offer() {
    let world = World::new();
    let error = world.runtime.create(wish("dreams", json!({}))).await.unwrap_err();
    let text = "no plugin offers the pipeline `dreams`; on offer: fake, steady";
    assert_eq!(error.to_string(), text);
    let error =
        world.runtime.create(wish("fake", json!({ "model_id": "huge" }))).await.unwrap_err();
    assert_eq!(error.to_string(), "pipeline `fake` has no model `huge`; on offer: small, large");
}

#[tokio::test]
async fn refused_params_leave_nothing_behind() {
    let world = World::new();
    for (params, text) in [
        (json!({ "width": 65 }), "params/width: must be at most 64, got 65"),
        (json!({ "prompt": "forbidden" }), "params/prompt: must be another one"),
    ] {
        let error = world.runtime.create(wish("fake", params)).await.unwrap_err();
        assert!(matches!(&error, ChangeError::Params(errors) if errors.len() == 1));
        assert_eq!(error.to_string(), text);
    }
    assert_eq!((world.runtime.active_streams(), world.stored()), (0, 0));
    assert_eq!(world.catalog.script("fake").count("open"), 0);
}

#[tokio::test]
async fn a_plugin_that_cannot_plan_is_named() {
    let world = World::new();
    let crash = PlanError::Failed { plugin: "fake".into(), message: "it crashed".into() };
    world.catalog.script("fake").plans.lock().unwrap().push_back(crash);
    let error = world.runtime.create(wish("fake", json!({}))).await.unwrap_err();
    assert!(matches!(error, ChangeError::Internal(_)));
    assert_eq!(error.to_string(), "plugin fake could not plan: it crashed");
    assert_eq!((world.runtime.active_streams(), world.stored()), (0, 0));
}

#[tokio::test]
async fn what_has_no_effect_is_accepted_with_a_warning() {
    let world = World::new();
    let field = Unsupported { field: "width".into(), reason: "no GPU".into() };
    world.catalog.script("fake").unsupported.lock().unwrap().push(field);
    let wish = wish("fake", json!({ "colour": 1 }));
    let view = world.runtime.create(wish).await.unwrap();
    let expected = [
        "`colour` is not a parameter of this pipeline and was ignored",
        "`width` has no effect now: no GPU",
    ];
    assert_eq!(view.warnings, expected);
    assert!(!view.params.contains_key("colour"));
}

#[tokio::test]
async fn there_are_no_more_streams_than_the_limit() {
    let world = World::with(Settings { max_streams: 1, ..Settings::default() });
    let first = world.create(json!({})).await;
    let error = world.runtime.create(wish("fake", json!({}))).await.unwrap_err();
    assert!(matches!(error, ChangeError::TooManyStreams { limit: 1 }));
    world.runtime.delete(&first.id).await.unwrap();
    world.create(json!({})).await;
}

#[tokio::test]
async fn offers_find_their_stream_by_key_and_by_playback_id() {
    let world = World::new();
    let stream = world.create(json!({})).await;
    let view = world.runtime.get(&stream.id).unwrap();
    let (answer, published) = world.runtime.publish(&view.stream_key, "offer").unwrap();
    assert_eq!((answer.sdp.as_str(), published.id), ("answer to offer", view.id.clone()));
    let too_early = world.runtime.play(&view.playback_id, "offer").unwrap_err();
    assert!(matches!(too_early, MediaError::Offer(_)));
    stream.reach(Phase::Running).await;
    stream.see(1).await;
    assert!(world.runtime.play(&view.playback_id, "offer").is_ok());
    for wrong in [&view.id, &view.playback_id, "stk_"] {
        assert!(matches!(world.runtime.publish(wrong, ""), Err(MediaError::NoStream)));
    }
    assert!(matches!(world.runtime.play(&view.stream_key, ""), Err(MediaError::NoStream)));
    world.runtime.hang_up_publisher(&view.stream_key, "publisher").unwrap();
    let gone = world.runtime.hang_up_reader(&view.playback_id, "nobody").unwrap_err();
    assert!(matches!(gone, MediaError::NoSession));
}

#[tokio::test]
async fn keys_and_prompts_stay_out_of_logs() {
    let world = World::new();
    let stream = world.create(json!({ "prompt": "my secret wish" })).await;
    let view = world.runtime.get(&stream.id).unwrap();
    let wish =
        NewStream { params: object(json!({ "prompt": "my secret wish" })), ..NewStream::default() };
    let logged = format!("{view:?} {:?} {wish:?}", world.runtime.status(&stream.id));
    assert!(!logged.contains(&view.stream_key) && !logged.contains("secret"), "{logged}");
}
