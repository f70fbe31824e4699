//! Adapters for faces, from a picture to tokens, as a pipeline asks for them.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

use plugin_api::{
    Conditions, Environment, FrameFormat, Host, Params, Pipeline, Plan, PlanRequest, Plugin,
    Stream, Tensor,
};
use plugin_ip_adapter::{IpAdapters, Prompt};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const ADAPTER: &str = "h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15-tiny.safetensors";
const REGULAR: &str = "test/ip-adapter-sd15-tiny/ip-adapter.safetensors";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn host_of(models: &Path) -> Host {
    Host::detached(Environment {
        models_dir: models.to_owned(),
        engines_dir: folder().join("../../../engines"),
        cache_dir: std::env::temp_dir(),
        threads: 2,
    })
}

fn host() -> Host {
    host_of(&folder().join("models"))
}

fn object(values: Value) -> Map<String, Value> {
    values.as_object().unwrap().clone()
}

fn plan(host: &Host, kind: &str, values: Value) -> Plan {
    let values = object(values);
    let params = Params::of_lent(kind, &values, FrameFormat::new(64, 64));
    IpAdapters::plan(&PlanRequest { params, previous: None, host }).unwrap()
}

fn recorded(name: &str) -> (Vec<usize>, Vec<u8>) {
    let bytes = std::fs::read(folder().join("faces.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().to_vec())
}

fn numbers(name: &str) -> Vec<f32> {
    recorded(name).1.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// A recorded picture as a PNG.
fn picture(scratch: &Path, name: &str) -> PathBuf {
    let (shape, levels) = recorded(name);
    let path = scratch.join(format!("{name}.png"));
    let size = (shape[1] as u32, shape[0] as u32);
    image::RgbImage::from_raw(size.0, size.1, levels).unwrap().save(&path).unwrap();
    path
}

fn params(image: Option<&Path>) -> Map<String, Value> {
    let mut params = object(json!({
        "family": "sd15", "layers": 16, "scale": 0.7, "ipadapter_model_path": ADAPTER, "acceleration": "none",
    }));
    params.extend(image.map(|image| ("image".to_owned(), json!(image))));
    params
}

fn made(prompt: &mut Prompt, name: &str) -> Vec<f32> {
    let Conditions::Made(made) = prompt.condition(&[]).unwrap() else { panic!("it makes its own") };
    Tensor::find(&made, name).unwrap().values().to_vec()
}

fn apart(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).fold(0.0, |apart, (a, b)| apart.max((a - b).abs()))
}

#[test]
fn the_face_in_a_picture_becomes_tokens_and_without_one_nothing_is_added() {
    let scratch = tempfile::tempdir().unwrap();
    let picture = |name: &str| picture(scratch.path(), name);
    let host = host();
    let values = params(Some(&picture("wide")));
    let wanted = Params::of_lent("faceid", &values, FrameFormat::new(64, 64));
    let mut prompt = IpAdapters::open(&host, &wanted).unwrap().open_stream(&host, &wanted).unwrap();
    let update = |prompt: &mut Prompt, image: Option<&Path>| {
        let values = params(image);
        prompt.update(&Params::of_lent("faceid", &values, FrameFormat::new(64, 64))).unwrap();
    };
    for name in ["wide", "tall", "near"] {
        update(&mut prompt, Some(&picture(name)));
        let apart = apart(&made(&mut prompt, "image_tokens"), &numbers(&format!("{name}_tokens")));
        println!("{name}: tokens at most {apart} apart");
        assert!(apart < 0.01, "{name}: {apart}");
    }
    assert!(apart(&numbers("wide_tokens"), &numbers("tall_tokens")) > 0.1, "they are others");
    assert!(apart(&made(&mut prompt, "empty_tokens"), &numbers("nothing_tokens")) < 1e-4);
    for image in [Some(picture("nobody")), None] {
        update(&mut prompt, image.as_deref());
        for name in ["image_tokens", "empty_tokens"] {
            assert!(made(&mut prompt, name).iter().all(|value| *value == 0.0), "{image:?}");
        }
    }
    update(&mut prompt, Some(&picture("wide")));
    assert!(apart(&made(&mut prompt, "image_tokens"), &numbers("wide_tokens")) < 0.01);
    assert_eq!(made(&mut prompt, "image_scales"), [0.7; 16]);
}

#[test]
fn the_plan_has_what_is_grafted_and_the_memory_of_all_networks() {
    let said = plan(&host(), "faceid", Value::Object(params(None)));
    let graft = said.graft.clone().unwrap();
    assert_eq!((graft.tokens, graft.weights), (4, folder().join("models").join(ADAPTER)));
    let models = folder().join("models/immich-app/buffalo_l");
    let bytes = |path: &Path| path.metadata().unwrap().len();
    let all =
        ["detection/model.onnx", "recognition/model.onnx"].map(|file| bytes(&models.join(file)));
    let own = bytes(&folder().join("models").join(ADAPTER));
    assert_eq!(said.memory_bytes, own + all.iter().sum::<u64>());
    assert!(said.warnings.is_empty() && said.unsupported.is_empty(), "{said:?}");
    let mut values = params(None);
    values.insert("image_encoder_path".into(), json!("test/image-encoder-tiny"));
    let said = plan(&host(), "faceid", Value::Object(values));
    assert!(said.warnings[0].contains("`image_encoder_path` has no effect"), "{said:?}");
    assert!(said.graft.is_some());
}

#[test]
fn what_is_missing_is_told_with_where_to_get_it() {
    let nothing = tempfile::tempdir().unwrap();
    let host = host_of(nothing.path());
    for (family, file) in
        [("sd15", "ip-adapter-faceid_sd15.bin"), ("sdxl", "ip-adapter-faceid_sdxl.bin")]
    {
        let said = plan(&host, "faceid", json!({ "family": family }));
        let told = said.warnings.join("\n");
        for pull in [
            format!("models pull h94/IP-Adapter-FaceID --file {file}"),
            "models pull immich-app/buffalo_l --file detection/model.onnx".into(),
            "models pull immich-app/buffalo_l --file recognition/model.onnx".into(),
            "not commercial".into(),
        ] {
            assert!(told.contains(&pull), "{told}");
        }
        let files: Vec<_> = said.artefacts.iter().flat_map(|it| &it.files).collect();
        assert_eq!(files, [file, "detection/model.onnx", "recognition/model.onnx"]);
        assert!(said.graft.is_none() && said.artefacts.iter().all(|it| it.is_optional));
    }
    let other = json!({ "family": "sd15", "insightface_model_name": "antelopev2" });
    let told = plan(&host, "faceid", other).warnings.join("\n");
    assert!(told.contains("models pull immich-app/antelopev2 --file detection"), "{told}");
    let outside = json!({ "family": "sd15", "insightface_model_name": "../secret" });
    let errors = plan(&host, "faceid", outside).errors;
    assert!(errors.iter().all(|error| error.pointer == "/insightface_model_name"), "{errors:?}");
    assert!(!errors.is_empty());
}

#[test]
fn a_file_of_another_kind_than_the_type_says_is_named() {
    let face = plan(&host(), "regular", Value::Object(params(None)));
    let told = format!("{:?}", face.unsupported);
    assert!(told.contains("`type` has to be faceid"), "{told}");
    let models = folder().join("../../../models");
    let regular = json!({ "family": "sd15", "ipadapter_model_path": REGULAR });
    let told = format!("{:?}", plan(&host_of(&models), "faceid", regular).unsupported);
    assert!(told.contains("`type` has to be regular"), "{told}");
}
