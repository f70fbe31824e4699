//! Every hot param acts on the next frame and loses none.

use super::*;

/// Of later versions: what they ask for is told to be unsupported.
const NOT_YET: [&str; 5] = [
    "use_safety_checker",
    "safety_checker_threshold",
    "controlnets",
    "ip_adapter",
    "ip_adapter_style_image_url",
];

/// A change of one param, and what it needs to matter.
fn change(name: &str) -> Option<(Value, Value)> {
    let two_prompts = json!([["a cat", 3], ["stormy sea at night", 1]]);
    let two_seeds = json!([[1, 3.0], [2, 1.0]]);
    let guided = |more: Value| {
        let mut base =
            json!({"cfg_type": "full", "guidance_scale": 3.0, "negative_prompt": "rain"});
        base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        base
    };
    let processors =
        |kind: &str, params: Value| json!({"processors": [{"type": kind, "params": params}]});
    Some(match name {
        "prompt" => (json!({"prompt": "a cat"}), json!("stormy sea at night")),
        "prompt_interpolation_method" => (
            json!({"prompt": two_prompts, "prompt_interpolation_method": "linear"}),
            json!("slerp"),
        ),
        "normalize_prompt_weights" => {
            (json!({"prompt": two_prompts, "prompt_interpolation_method": "linear"}), json!(false))
        }
        "negative_prompt" => (guided(json!({})), json!("a sunny day")),
        "guidance_scale" => (guided(json!({})), json!(1.5)),
        "delta" => (guided(json!({"cfg_type": "self", "delta": 1.0})), json!(0.2)),
        "num_inference_steps" => (json!({}), json!(80)),
        "t_index_list" => (json!({}), json!([10, 30])),
        "seed" => (json!({}), json!(4)),
        "seed_interpolation_method" => (json!({"seed": two_seeds}), json!("slerp")),
        "normalize_seed_weights" => (json!({"seed": two_seeds}), json!(false)),
        "image_preprocessing" | "image_postprocessing" => {
            (json!({}), processors("feedback", json!({"feedback_strength": 0.9})))
        }
        "latent_preprocessing" | "latent_postprocessing" => {
            (json!({}), processors("latent_feedback", json!({"feedback_strength": 0.4})))
        }
        "cached_attention" => {
            let frames = |count: u32| json!({"enabled": true, "max_frames": count, "interval": 1});
            (json!({"cached_attention": frames(1)}), frames(3))
        }
        _ => return None,
    })
}

/// Of a video in which no two frames are alike.
fn moving(stream: &mut impl Stream, id: u64) -> (Vec<u8>, u64) {
    shown_of(stream, id, |index| index / 5 + 20 * id as usize)
}

/// What the schema says is hot.
fn hot_params() -> Vec<String> {
    let schema = claim(TINY, "test/sd15-tiny").params;
    let properties = schema["properties"].as_object().unwrap();
    let hot = properties.iter().filter(|(_, param)| param["x-apply"] == "hot");
    hot.map(|(name, _)| name.clone()).filter(|name| !NOT_YET.contains(&name.as_str())).collect()
}

#[test]
fn every_hot_param_changes_the_next_frame_and_loses_none() {
    let host = Host::detached(environment());
    let names = hot_params();
    assert!(names.len() >= 16, "{names:?}");
    // All share its model, which is loaded once.
    let values = tiny(json!({}));
    let _first = Sd15::open(&host, &Params::of(TINY, &values)).unwrap();
    for name in names {
        let (base, new) = change(&name).unwrap_or_else(|| panic!("nothing tries `{name}`"));
        let mut values = tiny(json!({"t_index_list": [20, 40], "seed": 2}));
        values.extend(base.as_object().unwrap().clone());
        let params = Params::of(TINY, &values);
        let loaded = Sd15::open(&host, &params).unwrap();
        let mut steady = loaded.open_stream(&host, &params).unwrap();
        let mut changed = loaded.open_stream(&host, &params).unwrap();
        for id in 1..=8 {
            if id == 5 {
                values.insert(name.clone(), new.clone());
                changed.update(&Params::of(TINY, &values)).unwrap();
            }
            let (unchanged, with_change) = (moving(&mut steady, id), moving(&mut changed, id));
            assert_eq!(unchanged.1, with_change.1, "`{name}`, frame {id}: the frame that is shown");
            // What a frame is given before a step is seen when that step has run: noise, and what comes before the first.
            let is_before = name.ends_with("_preprocessing") || name.contains("seed");
            let is_due = if is_before { with_change.1 >= 5 } else { id >= 5 };
            let is_changed = unchanged.0 != with_change.0;
            assert_eq!(is_changed, is_due, "`{name}`, frame {id}: whether the change is seen");
        }
    }
}

#[test]
fn a_list_of_steps_may_grow_and_shrink_between_frames() {
    let host = Host::detached(environment());
    let with = |steps: Value| tiny(json!({"t_index_list": steps}));
    let mut values = with(json!([20, 40]));
    let loaded = Sd15::open(&host, &Params::of(TINY, &values)).unwrap();
    let mut stream = loaded.open_stream(&host, &Params::of(TINY, &values)).unwrap();
    let mut sources = Vec::new();
    for id in 1..=12 {
        if let Some(steps) =
            [(4, json!([40])), (7, json!([10, 20, 40]))].into_iter().find(|s| s.0 == id)
        {
            values = with(steps.1);
            stream.update(&Params::of(TINY, &values)).unwrap();
        }
        sources.push(shown(&mut stream, id).1);
    }
    // A shorter list overtakes what was under way; a longer one takes its frames from the beginning, and shows none twice
    // that a newer one was shown after.
    assert!(sources.is_sorted(), "{sources:?}");
    assert_eq!(sources[3..6], [4, 5, 6]);
    assert_eq!(sources[8..], [7, 8, 9, 10]);
}
