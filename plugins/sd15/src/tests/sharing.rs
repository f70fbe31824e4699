//! What pipelines have in common.

use super::*;

#[test]
fn pipelines_that_differ_in_size_or_guidance_alone_share_the_model_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy(&environment().models_dir.join("test/sd15-tiny"), &model);
    let host = Host::detached(Environment { models_dir: folder.path().into(), ..environment() });
    let open = |given: Value| {
        let mut values = tiny(given);
        values.insert("model_id".into(), "model".into());
        values.insert("vae_id".into(), Value::Null);
        values.insert("use_lcm_lora".into(), false.into());
        Sd15::open(&host, &Params::of(TINY, &values))
    };
    let first = open(json!({})).unwrap();
    // From now on the file does not serve to load it again.
    let weights = std::fs::File::options()
        .write(true)
        .open(model.join("unet/diffusion_pytorch_model.safetensors"));
    weights.unwrap().set_len(100).unwrap();
    let second = open(json!({"cfg_type": "full", "mode": "txt2img"})).unwrap();
    assert!(open(json!({"acceleration": "none"})).is_err(), "another back end loads anew");
    drop((first, second));
    assert!(open(json!({})).is_err(), "nobody holds it any more");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { std::fs::copy(&from, &to).map(drop).unwrap() }
    }
}
