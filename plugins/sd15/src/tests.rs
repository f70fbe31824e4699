//! The manifest, the plan, and streams from params to picture.

use std::path::{Path, PathBuf};

use plugin_api::{
    Artefact, Claim, Environment, Frame, FrameMut, Host, Manifest, Params, Pipeline, Plan,
    PlanRequest, Plugin, Stream,
};
use plugin_testkit::defaults;
use plugins_diffusion::pipeline::Running;
use serde_json::{Map, Value, json};

use crate::Sd15;

mod hot;
mod loras;
mod sharing;

const TINY: &str = "streamdiffusion-sd15";

fn manifest() -> Manifest {
    Manifest::parse(include_bytes!(concat!(env!("OUT_DIR"), "/manifest.json"))).unwrap()
}

/// The defaults of a claim's schema with some params set.
fn values(pipeline: &str, given: Value) -> Map<String, Value> {
    let model = given.get("model_id").and_then(Value::as_str).unwrap_or("stabilityai/sd-turbo");
    let mut values = defaults(&claim(pipeline, model).params);
    values.insert("model_id".into(), model.into());
    values.extend(given.as_object().unwrap().clone());
    values
}

fn claim(pipeline: &str, model: &str) -> Claim {
    let is_for = |claim: &Claim| {
        claim.models.as_ref().is_none_or(|models| models.iter().any(|m| m == model))
    };
    let found =
        manifest().claims.into_iter().find(|claim| claim.pipeline == pipeline && is_for(claim));
    found.unwrap()
}

fn tiny(given: Value) -> Map<String, Value> {
    let mut values = values(TINY, given);
    for (name, value) in [
        ("model_id", json!("test/sd15-tiny")),
        ("vae_id", json!("test/taesd-tiny")),
        ("width", json!(64)),
        ("height", json!(128)),
    ] {
        values.insert(name.into(), value);
    }
    values
}

fn environment() -> Environment {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Environment {
        models_dir: root.join("models"),
        engines_dir: root.join("engines"),
        cache_dir: PathBuf::new(),
        threads: 2,
    }
}

fn plan_of(values: &Map<String, Value>) -> Plan {
    let host = Host::detached(environment());
    let params = Params::of(TINY, values);
    Sd15::plan(&PlanRequest { params, previous: None, host: &host }).unwrap()
}

fn pointers(given: Value) -> Vec<String> {
    plan_of(&values("streamdiffusion", given))
        .errors
        .into_iter()
        .map(|error| error.pointer)
        .collect()
}

fn unsupported(given: Value) -> Vec<String> {
    plan_of(&values("streamdiffusion", given))
        .unsupported
        .into_iter()
        .map(|one| one.field)
        .collect()
}

#[test]
fn each_family_takes_what_its_daydream_schema_has() {
    let turbo = claim("streamdiffusion", "stabilityai/sd-turbo").params["properties"].clone();
    let sd15 = claim("streamdiffusion", "Lykon/dreamshaper-8").params["properties"].clone();
    for name in ["ip_adapter_style_image_url", "cached_attention"] {
        assert!(turbo.get(name).is_none() && sd15.get(name).is_some(), "{name}");
    }
    assert_eq!(turbo["ip_adapter"]["properties"]["enabled"]["enum"], json!([false]));
    // Streams with and without it share no pipeline.
    assert_eq!(sd15["cached_attention"]["properties"]["enabled"]["x-apply"], "reload");
    let slot = |params: &Value, pointer: &str| params.pointer(pointer).unwrap()["x-slot"].clone();
    let controlnet = "/controlnets/items/properties/model_id";
    assert_eq!(slot(&turbo, controlnet), "controlnet-sd21");
    assert_eq!(slot(&sd15, controlnet), "controlnet-sd15");
    assert_eq!(slot(&sd15, "/ip_adapter/properties/type"), "ip-adapter-sd15");
    for claim in manifest().claims.iter().filter(|claim| claim.models.is_some()) {
        assert_eq!(claim.params["properties"]["model_id"]["enum"], json!(claim.models));
    }
}

#[test]
fn defaults_go_by_the_pipelines_name() {
    let daydream = values("streamdiffusion", json!({}));
    let seed = values(TINY, json!({}));
    for (name, daydreams, seeds) in [
        ("prompt", json!("flowers"), json!("")),
        ("negative_prompt", json!("blurry, low quality, flat, 2d"), json!("")),
        ("prompt_interpolation_method", json!("slerp"), json!("linear")),
        ("delta", json!(0.7), json!(1.0)),
        ("t_index_list", json!([12, 20, 32]), json!([11])),
        ("seed", json!(789), json!(42)),
        ("width", json!(512), json!(768)),
        ("height", json!(512), json!(448)),
        ("use_safety_checker", json!(true), json!(false)),
        ("num_inference_steps", json!(50), json!(50)),
    ] {
        assert_eq!((&daydream[name], &seed[name]), (&daydreams, &seeds), "{name}");
    }
    assert_eq!(seed["ip_adapter"]["scale"], 0.5);
}

#[test]
fn every_param_but_the_model_has_a_default_and_a_description() {
    for claim in manifest().claims {
        for (name, property) in claim.params["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name}");
            assert!(property.get("default").is_some() != (name == "model_id"), "{name}");
        }
    }
}

#[test]
fn the_defaults_are_accepted_and_what_has_no_effect_is_named() {
    let plan = plan_of(&values("streamdiffusion", json!({})));
    assert_eq!(plan.errors, []);
    assert_eq!(
        (plan.formats.input.width, plan.formats.output.height, plan.latency_frames),
        (512, 512, 2)
    );
    assert!(plan.warnings[0].contains("stabilityai/sd-turbo"), "{:?}", plan.warnings);
    assert_eq!(plan_of(&values(TINY, json!({}))).errors, []);
    let fields = unsupported(json!({"acceleration": "none"}));
    assert_eq!(fields, ["use_safety_checker"]);
    let fields = unsupported(json!({"acceleration": "none", "model_id": "Lykon/dreamshaper-8"}));
    assert_eq!(fields, ["use_lcm_lora", "use_safety_checker"]);
}

#[test]
fn a_step_out_of_range_or_order_is_pointed_at() {
    assert_eq!(pointers(json!({"t_index_list": [10, 51]})), ["/t_index_list/1"]);
    assert_eq!(pointers(json!({"t_index_list": [30, 20, 20]})), ["/t_index_list/1"]);
    assert_eq!(pointers(json!({"t_index_list": [50, 50], "num_inference_steps": 50})), [""; 0]);
    assert_eq!(
        pointers(json!({"t_index_list": [4], "num_inference_steps": 3})),
        ["/t_index_list/0"]
    );
}

#[test]
fn weights_that_cannot_be_scaled_are_pointed_at() {
    assert_eq!(pointers(json!({"prompt": [["a", 0], ["b", 0]]})), ["/prompt"]);
    assert_eq!(pointers(json!({"seed": [[1, 0]]})), ["/seed"]);
    assert_eq!(pointers(json!({"seed": [[1, 0]], "normalize_seed_weights": false})), [""; 0]);
}

#[test]
fn controlnets_must_be_unique() {
    let canny = json!({"model_id": "thibaud/controlnet-sd21-canny-diffusers", "enabled": false});
    let depth = json!({"model_id": "thibaud/controlnet-sd21-depth-diffusers", "enabled": false});
    assert_eq!(pointers(json!({"controlnets": [canny, depth]})), [""; 0]);
    assert_eq!(pointers(json!({"controlnets": [canny, canny]})), ["/controlnets/1/model_id"]);
}

#[test]
fn every_wish_without_effect_is_named() {
    let processors = json!({"enabled": true, "processors": [{"type": "canny"}]});
    let model = "Lykon/dreamshaper-8";
    for (field, value) in [
        ("controlnets", json!([{"model_id": "lllyasviel/control_v11p_sd15_canny"}])),
        ("ip_adapter", json!({"type": "regular", "enabled": true})),
        ("image_preprocessing", processors.clone()),
        ("image_postprocessing", processors),
        ("acceleration", json!("xformers")),
        ("negative_prompt", json!("rain")),
    ] {
        let fields = unsupported(json!({ "model_id": model, field: value }));
        assert!(fields.iter().any(|name| name == field), "{field} is not among {fields:?}");
    }
    assert!(
        unsupported(json!({"cfg_type": "none", "guidance_scale": 2}))
            .contains(&"guidance_scale".into())
    );
    assert!(
        !unsupported(json!({"use_safety_checker": false})).contains(&"use_safety_checker".into())
    );
}

#[test]
fn modes_take_effect_and_the_plan_knows_their_latency() {
    let steps = json!([20, 32]);
    for (given, latency) in [
        (json!({"t_index_list": steps}), 1),
        (json!({"t_index_list": steps, "use_denoising_batch": false}), 0),
        (json!({"t_index_list": steps, "frame_buffer_size": 2}), 3),
        (json!({"t_index_list": steps, "skip_diffusion": true}), 0),
        (json!({"t_index_list": steps, "mode": "txt2img"}), 1),
        (json!({"t_index_list": steps, "enable_similar_image_filter": true}), 1),
    ] {
        let plan = plan_of(&values("streamdiffusion", given.clone()));
        let fields: Vec<String> = plan.unsupported.into_iter().map(|one| one.field).collect();
        assert_eq!(plan.latency_frames, latency, "{given}");
        for field in given.as_object().unwrap().keys() {
            assert!(!fields.contains(field), "{field} is said to have no effect");
        }
    }
    let fields = unsupported(json!({
        "model_id": "stabilityai/sd-turbo",
        "mode": "txt2img",
        "t_index_list": [0],
        "guidance_scale": 1.5,
        "enable_similar_image_filter": true,
    }));
    for field in ["guidance_scale", "enable_similar_image_filter"] {
        assert!(fields.iter().any(|name| name == field), "{field} is not among {fields:?}");
    }
}

#[test]
fn feedback_runs_and_its_strength_is_checked() {
    let block = |kind: &str, strength: Value| {
        let params = json!({"feedback_strength": strength});
        json!({"processors": [{"type": "passthrough"}, {"type": kind, "params": params}]})
    };
    let given = |image: Value, latent: Value| {
        json!({
            "image_preprocessing": block("feedback", image),
            "latent_postprocessing": block("latent_feedback", latent),
        })
    };
    let right = given(json!(1), json!(0.4));
    assert_eq!(pointers(right.clone()), [""; 0]);
    let fields = unsupported(right);
    assert!(!fields.iter().any(|field| field.ends_with("processing")), "{fields:?}");
    assert_eq!(
        pointers(given(json!(1.1), json!("much"))),
        [
            "/image_preprocessing/processors/1/params/feedback_strength",
            "/latent_postprocessing/processors/1/params/feedback_strength",
        ]
    );
}

#[test]
fn what_is_not_here_is_named_for_the_hub_with_what_holds_without_it() {
    let artefacts = |values| {
        let plan = plan_of(&values);
        let told: Vec<_> = plan
            .warnings
            .into_iter()
            .chain(plan.unsupported.into_iter().map(|u| u.reason))
            .collect();
        let is_told = |artefact: &Artefact| told.contains(&artefact.without);
        let short = |artefact: Artefact| {
            let told = is_told(&artefact);
            (artefact.model, artefact.files.join(" "), artefact.is_optional, told)
        };
        plan.artefacts.into_iter().map(short).collect::<Vec<_>>()
    };
    let of = |model: &str, files: &str, optional, told| {
        (model.to_owned(), files.to_owned(), optional, told)
    };
    assert_eq!(artefacts(tiny(json!({}))), []);
    let local = json!({"lora_dict": {"missing.safetensors": 1, "loras/no.safetensors": 1}});
    assert_eq!(artefacts(tiny(local)), [], "names of files here");
    let loras = json!({"lora_dict": {"no/such/a.safetensors": 1}, "lcm_lora_id": "no/lcm"});
    assert_eq!(
        artefacts(tiny(loras)),
        [of("no/such", "a.safetensors", false, true), of("no/lcm", "", true, true)]
    );
    let mut own = tiny(json!({"lcm_lora_id": "no/lcm", "use_lcm_lora": false}));
    own.insert("vae_id".into(), Value::Null);
    assert_eq!(artefacts(own), [of("madebyollin/taesd", "", true, true)]);
    let given = json!({"model_id": "org/absent", "vae_id": "no/vae", "lcm_lora_id": "no/lcm"});
    let absent = values(TINY, given);
    assert_eq!(
        artefacts(absent),
        [
            of("org/absent", "", false, true),
            of("no/vae", "", false, false),
            of("no/lcm", "", true, true)
        ]
    );
}

fn cached(enabled: bool, max_frames: u32, interval: u32) -> Value {
    json!({"enabled": enabled, "max_frames": max_frames, "interval": interval})
}

#[test]
fn cached_attention_is_planned_with_the_memory_it_takes() {
    let plan = |cached: Value, scale: f64| {
        let given =
            json!({"cached_attention": cached, "guidance_scale": scale, "cfg_type": "full"});
        plan_of(&tiny(given))
    };
    let without = plan(cached(false, 4, 1), 1.0);
    // Latents are 8 wide and 16 high: five layers at each of three levels, one below; all are 32 wide.
    let row = 2 * 32 * (5 * (128 + 32 + 8) + 2) * 4;
    for (frames, scale, rows) in [(1, 1.0, 1), (4, 1.0, 1), (4, 2.0, 2)] {
        let plan = plan(cached(true, frames, 1), scale);
        let kept = plan.memory_bytes - without.memory_bytes;
        assert_eq!(kept, u64::from(frames + 1) * rows * row, "{frames} frames, {rows} rows");
        assert_eq!((plan.errors, plan.unsupported), (vec![], without.unsupported.clone()));
    }
}

#[test]
fn cached_attention_changes_the_picture_and_its_figures_are_hot() {
    let host = Host::detached(environment());
    let open = |cached: Value| {
        let values = tiny(json!({ "cached_attention": cached, "t_index_list": [32] }));
        let params = Params::of(TINY, &values);
        let loaded = Sd15::open(&host, &params).unwrap();
        loaded.open_stream(&host, &params).unwrap()
    };
    let [mut without, mut one, mut more, mut rarer] =
        [cached(false, 1, 1), cached(true, 1, 1), cached(true, 1, 1), cached(true, 1, 1)].map(open);
    let change = |stream: &mut Running, cached: Value| {
        let values = tiny(json!({ "cached_attention": cached, "t_index_list": [32] }));
        stream.update(&Params::of(TINY, &values))
    };
    let plain = shown(&mut without, 1).0;
    let [first, _, _] = [&mut one, &mut more, &mut rarer].map(|stream| shown(stream, 1).0);
    assert!(plain != first, "an empty slot takes part");
    change(&mut more, cached(true, 4, 1)).unwrap();
    change(&mut rarer, cached(true, 1, 1440)).unwrap();
    let seconds = [&mut one, &mut more, &mut rarer].map(|stream| shown(stream, 2).0);
    assert!(seconds[0] != first && seconds[0] != plain, "the first frame is attended to");
    assert!(seconds[1] != seconds[0], "three more slots");
    assert!(seconds[2] == seconds[0], "what is kept is the same");
    assert!(shown(&mut one, 3).0 != shown(&mut rarer, 3).0, "the second frame is not kept");
    let error = change(&mut one, cached(false, 1, 1)).unwrap_err();
    assert!(error.message.contains("`cached_attention`"), "{error}");
}

#[test]
fn params_of_another_type_are_an_error_and_no_panic() {
    assert_eq!(plan_of(&values(TINY, json!({"t_index_list": "all"}))).errors.len(), 1);
    assert_eq!(plan_of(&Map::new()).errors.len(), 1);
    let host = Host::detached(environment());
    let empty = Map::new();
    assert!(Sd15::open(&host, &Params::of(TINY, &empty)).is_err());
}

#[test]
fn whole_numbers_may_be_written_with_a_point() {
    let values = values(
        TINY,
        json!({"width": 512.0, "seed": [[5.0, 1]], "t_index_list": [20.0], "num_inference_steps": 5e1}),
    );
    assert_eq!(plan_of(&values).errors, []);
}

#[test]
fn a_missing_model_says_where_it_was_looked_for() {
    let host = Host::detached(environment());
    let values = values(TINY, json!({"model_id": "test/no-such"}));
    let error = Sd15::open(&host, &Params::of(TINY, &values)).map(drop).unwrap_err();
    assert!(
        error.message.contains("models/test/no-such")
            && error.message.contains("streamdiffusion-host models pull"),
        "{error}"
    );
}

#[test]
fn a_model_of_another_family_names_its_own_plugin() {
    let host = Host::detached(environment());
    let mut values = tiny(json!({}));
    values.insert("model_id".into(), "test/sdxl-tiny".into());
    let error = Sd15::open(&host, &Params::of(TINY, &values)).map(drop);
    let message = error.unwrap_err().message;
    assert!(message.contains("Stable Diffusion XL") && message.ends_with("streamdiffusion-sdxl"));
    assert!(plan_of(&values).warnings[0].contains(&message));
}

#[test]
fn a_stream_makes_pictures_and_takes_new_prompts_between_them() {
    let host = Host::detached(environment());
    let first = tiny(
        json!({"t_index_list": [20, 40], "prompt": [["a cat", 2], ["a dog", 1]], "seed": [[1, 1], [2, 1]]}),
    );
    let plan = plan_of(&first);
    assert!(
        plan.errors.is_empty() && plan.warnings.is_empty() && plan.memory_bytes > 4_000_000,
        "{plan:?}"
    );
    let loaded = Sd15::open(&host, &Params::of(TINY, &first)).unwrap();
    let mut stream = loaded.open_stream(&host, &Params::of(TINY, &first)).unwrap();
    assert_eq!(stream.formats(), plan.formats);
    let (picture, source) = shown(&mut stream, 7);
    assert_eq!(source, 7);
    assert_eq!(shown(&mut stream, 8).1, 7);
    let second = tiny(
        json!({"t_index_list": [40], "prompt": "stormy sea", "cfg_type": "self", "guidance_scale": 1.5}),
    );
    stream.update(&Params::of(TINY, &second)).unwrap();
    let (changed, source) = shown(&mut stream, 9);
    assert_eq!(source, 9);
    assert_ne!(picture, changed);
    let wrong = tiny(json!({"t_index_list": [60]}));
    assert!(stream.update(&Params::of(TINY, &wrong)).is_err());
}

/// The picture a stream makes of a frame, and the id of the frame it says it shows.
fn shown(stream: &mut impl Stream, id: u64) -> (Vec<u8>, u64) {
    shown_of(stream, id, |index| index / 5)
}

/// The same of a frame with these bytes.
fn shown_of(stream: &mut impl Stream, id: u64, byte: impl Fn(usize) -> usize) -> (Vec<u8>, u64) {
    let (width, height, stride) = (64, 128, 64 * 3);
    let pixels: Vec<u8> = (0..stride * 128).map(|index| byte(index) as u8).collect();
    let mut made = vec![0; pixels.len()];
    let input = Frame { id, captured_ns: id * 10, width, height, stride, pixels: &pixels };
    let mut output =
        FrameMut { id, captured_ns: id * 10, width, height, stride, pixels: &mut made };
    stream.process(&input, &mut output).unwrap();
    assert_eq!(output.captured_ns, output.id * 10);
    let source = output.id;
    (made, source)
}
