//! How each kind of case is computed here.

use std::path::Path;
use std::sync::Arc;

use plugins_diffusion::blend::{Blend, Interpolation};
use plugins_diffusion::config::Config;
use plugins_diffusion::engine::{Engine, Model, Source};
use plugins_diffusion::folder::{Checkpoint, Parts, weights_file};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::image;
use plugins_diffusion::lora::{Lora, Loras, Part};
use plugins_diffusion::nets::Unet;
use plugins_diffusion::noise::Generator;
use plugins_diffusion::schedule::NoiseLevels;
use plugins_diffusion::stream::{Settings, Stream};
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::tokenizer::Tokenizer;
use plugins_diffusion::vae::Autoencoder;
use plugins_diffusion::weights::Weights;

use crate::support::{Case, Golden, Outcome};

const CLIP_TOKENS: usize = 77;

pub fn run(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    match name {
        "tokenizer" => tokenizer(golden),
        "rng" => rng(golden),
        "scheduler" => scheduler(golden),
        "text_sd15" | "text_sdturbo" => text(golden, name, engine),
        "unet_sd15" | "unet_sd15_odd" | "unet_sdturbo" | "unet_sdturbo_odd" => {
            unet(golden, name, engine)
        }
        "lora_kohya" | "lora_peft" => lora(golden, name, engine),
        "vae" => vae(golden, engine),
        "image" => image_case(golden),
        "frames" => frames(golden),
        "blend" => blend(golden, engine),
        name if name.starts_with("stream_") => stream(golden, name, engine),
        _ => Err("not supported yet".into()),
    }
}

fn tokenizer(golden: &Golden) -> Outcome {
    let text = std::fs::read_to_string(golden.folder.join("tokenizer.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = rows.as_array().unwrap();
    for (key, folder) in [
        ("ids_full", "tokenizer-clip-full"),
        ("ids_small_pad_eos", "sd15-tiny/tokenizer"),
        ("ids_small_pad_bang", "sdturbo-tiny/tokenizer"),
    ] {
        let tokenizer = Tokenizer::load(&golden.checkpoints.join(folder)).unwrap();
        for row in rows {
            let text = row["text"].as_str().unwrap();
            let wanted: Vec<u64> =
                row[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            let ours: Vec<u64> =
                tokenizer.encode(text, CLIP_TOKENS).into_iter().map(u64::from).collect();
            assert_eq!(ours, wanted, "{key} of {text:?}");
        }
    }
    Ok(vec![format!("{} texts by 3 vocabularies equal", rows.len())])
}

fn rng(golden: &Golden) -> Outcome {
    let mut case = golden.case("rng");
    for name in case.tensors() {
        let Some(rest) = name.split_once("_seed").map(|(_, rest)| rest) else { continue };
        let (seed, what) = rest.split_once('_').unwrap();
        let mut generator = Generator::new(seed.parse().unwrap());
        if what.starts_with("then") {
            generator.normal([4, 4, 8, 16]);
        }
        let count = case.float(&name).data().len();
        let is_uniform = name.starts_with("rand_");
        let ours = if is_uniform {
            generator.uniform(count)
        } else {
            generator.normal([count]).into_data()
        };
        if is_uniform {
            assert_eq!(ours, case.float(&name).data(), "{name}: uniform values are exact");
        }
        case.compare(&name, &ours);
    }
    Ok(case.report())
}

fn scheduler(golden: &Golden) -> Outcome {
    let mut case = golden.case("scheduler");
    let config = golden.checkpoints.join("sd15-tiny/scheduler/scheduler_config.json");
    let levels = NoiseLevels::from_config(&Config::read(&config).unwrap()).unwrap();
    case.compare("alphas_cumprod", levels.alphas());
    for name in case.tensors() {
        let original = if name.starts_with("lcm_timesteps_") {
            50
        } else if name.starts_with("lcm100_timesteps_") {
            100
        } else {
            continue;
        };
        let count = name.rsplit_once('_').unwrap().1.parse().unwrap();
        let ours: Vec<i64> =
            levels.timesteps_of(original, count).into_iter().map(|t| t as i64).collect();
        case.compare_ints(&name, &ours);
    }
    let steps = levels.steps(&(0..50).collect::<Vec<_>>(), 50);
    case.compare("c_skip_50", &steps.iter().map(|step| step.skip).collect::<Vec<_>>());
    case.compare("c_out_50", &steps.iter().map(|step| step.out).collect::<Vec<_>>());
    lcm_steps(&mut case, &levels);
    Ok(case.report())
}

/// Four steps of the consistency sampler, each from the same sample and prediction.
fn lcm_steps(case: &mut Case, levels: &NoiseLevels) {
    let (sample, predicted) = (case.float("sample").clone(), case.float("model_output").clone());
    let steps = levels.steps(&[0, 1, 2, 3], 4);
    for (index, step) in steps.iter().enumerate() {
        let pairs = sample.data().iter().zip(predicted.data());
        let denoised: Vec<f32> =
            pairs.map(|(&noisy, &predicted)| step.denoise(noisy, predicted)).collect();
        case.compare(&format!("lcm4_step{index}_denoised"), &denoised);
        let noise = Generator::new(5 + index as u64).normal(sample.shape());
        case.compare(&format!("lcm4_step{index}_noise"), noise.data());
        let pairs = denoised.iter().zip(noise.data());
        let next = steps.get(index + 1);
        let previous: Vec<f32> =
            pairs.map(|(&x, &n)| next.map_or(x, |next| next.add_noise(x, n))).collect();
        case.compare(&format!("lcm4_step{index}_prev"), &previous);
    }
}

fn checkpoint(
    golden: &Golden,
    name: &str,
    vae: &str,
    engine: &Engine,
) -> Result<Arc<Checkpoint>, String> {
    let (folder, vae) = (golden.checkpoints.join(name), golden.checkpoints.join(vae));
    let loaded = Checkpoint::load(engine, Parts::new(&folder, &vae), &mut |_, _| true);
    loaded.map(Arc::new).map_err(|error| format!("not supported yet: {error}"))
}

fn text(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let mut case = golden.case(name);
    let folder = case.about["checkpoint"].as_str().unwrap().to_owned();
    let checkpoint = checkpoint(golden, &folder, "taesd-tiny", engine)?;
    for (index, prompt) in golden.prompts().iter().enumerate() {
        let ids: Vec<i64> = checkpoint.tokens(prompt).into_iter().map(i64::from).collect();
        case.compare_ints(&format!("p{index}_te1_ids"), &ids);
        let embeddings = checkpoint.embed(prompt).unwrap();
        case.compare(&format!("p{index}_te1_last"), embeddings.data());
        case.compare(&format!("p{index}_prompt_embeds"), embeddings.data());
    }
    Ok(case.report())
}

fn unet(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let mut case = golden.case(name);
    let folder = golden.checkpoints.join(case.about["checkpoint"].as_str().unwrap());
    let network = Unet::from_config(&Config::read(&folder.join("config.json")).unwrap()).unwrap();
    let weights = weights_file(&folder, "diffusion_pytorch_model").unwrap();
    let noise = run_unet(&case, &engine.load(network, &weights, &mut || true).unwrap());
    assert_eq!(noise.shape(), case.float("out").shape());
    case.compare("out", noise.data());
    Ok(case.report())
}

fn run_unet(case: &Case, unet: &Model<Unet>) -> Tensor {
    let timesteps = case.int("timestep").iter().map(|&timestep| timestep as f32).collect();
    let timesteps = Tensor::new(case.int_shape("timestep"), timesteps);
    let inputs = [case.float("sample"), &timesteps, case.float("encoder_hidden_states")];
    unet.run(&inputs).unwrap()
}

/// A UNet with a LoRA in its weights, and some of these weights.
fn lora(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let mut case = golden.case(name);
    let path = golden.checkpoints.join(case.about["file_in_checkpoint"].as_str().unwrap());
    let scale = case.about["lora_scale"].as_f64().unwrap() as f32;
    let folder = golden.checkpoints.join("sd15-tiny/unet");
    let network = Unet::from_config(&Config::read(&folder.join("config.json")).unwrap()).unwrap();
    let weights = &weights_file(&folder, "diffusion_pytorch_model").unwrap();
    let mut loras = Loras::open(&[Lora { path, scale }]).unwrap();
    let patches = &loras.patches(Part::Unet, &network, weights).unwrap();
    assert_eq!(loras.leftovers().unwrap(), [""; 0]);
    let query = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight";
    let file = Weights::open(weights).unwrap();
    for (tensor, param) in
        [("fused_to_q", query), ("fused_mid_conv1", "mid_block.resnets.0.conv1.weight")]
    {
        if case.has(tensor) {
            let place = file.find(param, case.float(tensor).shape()).unwrap();
            let fused = patches.fuse(param, &file, place).unwrap();
            case.compare(tensor, &fused.into_floats());
        }
    }
    let source = Source { weights, patches };
    let noise = run_unet(&case, &engine.load(network, source, &mut || true).unwrap());
    case.compare("out_fused", noise.data());
    Ok(case.report())
}

fn vae(golden: &Golden, engine: &Engine) -> Outcome {
    let mut case = golden.case("vae");
    for (prefix, folder) in [("taesd", "taesd-tiny"), ("taesdxl", "taesdxl-tiny")] {
        if !case.has(&format!("{prefix}_encoded")) {
            continue;
        }
        let vae =
            Autoencoder::load(engine, &golden.checkpoints.join(folder), &mut || true).unwrap();
        let latent = vae.encode(case.float("image"), &mut Generator::new(0)).unwrap();
        case.compare(&format!("{prefix}_encoded"), latent.data());
        let image = vae.decode(case.float("latent")).unwrap();
        case.compare(&format!("{prefix}_decoded"), image.data());
    }
    for (prefix, folder) in [("sd15_kl", "sd15-tiny/vae"), ("sdxl_kl", "sdxl-tiny/vae")] {
        if case.has(&format!("{prefix}_mean")) {
            kl(&mut case, prefix, &golden.checkpoints.join(folder), engine);
        }
    }
    Ok(case.report())
}

fn kl(case: &mut Case, prefix: &str, folder: &Path, engine: &Engine) {
    let vae = Autoencoder::load(engine, folder, &mut || true).unwrap();
    let Autoencoder::Kl { encoder, .. } = &vae else {
        panic!("{} is not a KL autoencoder", folder.display())
    };
    let moments = encoder.run(&[case.float("image")]).unwrap();
    let (means, log_variances) = moments.data().split_at(moments.data().len() / 2);
    case.compare(&format!("{prefix}_mean"), means);
    case.compare(&format!("{prefix}_logvar"), log_variances);
    let scaled = vae.encode(case.float("image"), &mut Generator::new(9)).unwrap();
    let sample: Vec<f32> = scaled.data().iter().map(|value| value / vae.scaling_factor()).collect();
    case.compare(&format!("{prefix}_sample_seed9"), &sample);
    let image = vae.decode(case.float("latent")).unwrap();
    case.compare(&format!("{prefix}_decoded"), image.data());
}

fn image_case(golden: &Golden) -> Outcome {
    let mut case = golden.case("image");
    let [height, width, _] = case.int_shape("src_u8") else { panic!("src_u8 is not a picture") };
    let input = image::to_tensor(&case.bytes("src_u8"), *width, *height);
    case.compare("pp_same", input.data());
    let output =
        image::to_rgb(case.float("post_in")).into_iter().map(i64::from).collect::<Vec<_>>();
    case.compare_ints("post_u8_round", &output);
    let unit: Vec<f32> =
        case.float("post_in").data().iter().map(|&value| image::to_unit(value)).collect();
    case.compare("post_pt", &unit);
    if case.has("big_u8") {
        case.note("resizing, canny and clip_pixels not supported yet".into());
    }
    Ok(case.report())
}

fn frames(golden: &Golden) -> Outcome {
    let mut case = golden.case("frames");
    let planes: Vec<f32> = frame_tensors(&case).into_iter().flat_map(Tensor::into_data).collect();
    case.compare("frames_pp", &planes);
    Ok(case.report())
}

fn frame_tensors(frames: &Case) -> Vec<Tensor> {
    let [_, height, width, channels] = *frames.int_shape("frames_u8") else {
        panic!("frames_u8 holds no pictures")
    };
    let bytes = frames.bytes("frames_u8");
    bytes
        .chunks_exact(height * width * channels)
        .map(|frame| image::to_tensor(frame, width, height))
        .collect()
}

fn stream(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let mut case = golden.case(name);
    let config = case.about["config"].clone();
    if name.contains("controlnet") || name.contains("ipadapter") {
        return Err("not supported yet".into());
    }
    if config["frame_buffer_size"] != 1 {
        return Err("not supported yet: frame_buffer_size above 1".into());
    }
    let folder = case.about["checkpoint"].as_str().unwrap();
    let vae = case.about["vae"].as_str().unwrap().split(' ').next().unwrap();
    let checkpoint = checkpoint(golden, folder, vae, engine)?;
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let settings = Settings {
        width: size("width"),
        height: size("height"),
        prompt: Blend::one(config["prompt"].as_str().unwrap().into()),
        negative_prompt: config["negative_prompt"].as_str().unwrap().into(),
        guidance: Guidance {
            cfg_type: match config["cfg_type"].as_str().unwrap() {
                "none" => CfgType::None,
                "full" => CfgType::Full,
                "self" => CfgType::Own,
                "initialize" => CfgType::Initialize,
                other => panic!("cfg_type {other}"),
            },
            scale: config["guidance_scale"].as_f64().unwrap() as f32,
            delta: config["delta"].as_f64().unwrap() as f32,
        },
        seed: Blend::one(config["seed"].as_u64().unwrap()),
        t_index_list: config["t_index_list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_u64().unwrap() as usize)
            .collect(),
        num_inference_steps: size("num_inference_steps"),
        do_add_noise: config["do_add_noise"].as_bool().unwrap_or(true),
    };
    let mut stream = Stream::new(checkpoint, settings).unwrap();
    compare_constants(&mut case, &stream);
    let frames = frame_tensors(&golden.case("frames"));
    for call in 0..case.int("frame_index").len() {
        if name == "stream_n2_self_hot" {
            update(&mut case, &mut stream, call, &golden.prompts());
        }
        compare_call(&mut case, &mut stream, call, &frames);
    }
    Ok(case.report())
}

/// What the hot case changes before a call.
fn update(case: &mut Case, stream: &mut Stream, call: usize, prompts: &[String]) {
    let mut settings = stream.settings().clone();
    match call {
        2 => {
            let entries = vec![(prompts[0].clone(), 0.7), (prompts[1].clone(), 0.3)];
            settings.prompt =
                Blend { entries, interpolation: Interpolation::Slerp, normalize: true };
        }
        3 => {
            let entries = vec![(123, 0.6), (456, 0.4)];
            settings.seed =
                Blend { entries, interpolation: Interpolation::Linear, normalize: true };
        }
        4 => (settings.guidance.scale, settings.guidance.delta) = (1.6, 0.9),
        5 => settings.t_index_list = vec![25, 40],
        _ => return,
    }
    stream.update(settings).unwrap();
    match call {
        2 => case.compare("event2_prompt_embeds", stream.embeddings().data()),
        3 => case.compare("event3_init_noise", stream.noise().data()),
        _ => {}
    }
}

fn compare_constants(case: &mut Case, stream: &Stream) {
    case.compare("prompt_embeds", stream.embeddings().data());
    case.compare("init_noise", stream.noise().data());
    let timesteps: Vec<i64> = stream.steps().iter().map(|step| step.timestep as i64).collect();
    case.compare_ints("sub_timesteps_tensor", &timesteps);
    let mut factor = |name: &str, of: &dyn Fn(&plugins_diffusion::schedule::Step) -> f32| {
        case.compare(name, &stream.steps().iter().map(of).collect::<Vec<_>>());
    };
    factor("alpha_prod_t_sqrt", &|step| step.alpha);
    factor("beta_prod_t_sqrt", &|step| step.beta);
    factor("c_skip", &|step| step.skip);
    factor("c_out", &|step| step.out);
}

fn compare_call(case: &mut Case, stream: &mut Stream, call: usize, frames: &[Tensor]) {
    let frame = case.int("frame_index")[call] as usize;
    let timesteps = case.int("unet_t").len() / case.int("frame_index").len();
    let (pass, _) = stream.advance(&frames[frame]).unwrap();
    assert_eq!(pass.batch.shape()[0], timesteps, "rows given to the UNet");
    let mut compare = |name: &str, ours: &[f32]| {
        if case.has(name) {
            let recorded = case.float(name).row(call).to_vec();
            case.compare_with(name, ours, &recorded);
        }
    };
    compare("x_t", pass.noisy.data());
    compare("unet_in", pass.batch.data());
    compare("unet_out", pass.predicted.data());
    compare("model_pred", pass.guided.data());
    compare("x0_batch", pass.denoised.data());
    compare("x0_out", pass.output().data());
    compare("buffer_after", stream.buffer());
    compare("stock_noise_after", stream.stock_noise().data());
    let with_image = case.int("image_frame").to_vec();
    if let Some(index) = with_image.iter().position(|&image| image == call as i64) {
        let image = stream.decode(&pass.output()).unwrap();
        let recorded = case.float("image_out").row(index).to_vec();
        case.compare_with("image_out", image.data(), &recorded);
    }
}

fn blend(golden: &Golden, engine: &Engine) -> Outcome {
    let mut case = golden.case("blend");
    let checkpoint = checkpoint(golden, "sd15-tiny", "taesd-tiny", engine)?;
    let mut embeddings = Vec::new();
    for (index, prompt) in golden.prompts().iter().take(3).enumerate() {
        embeddings.push(checkpoint.embed(prompt).unwrap());
        case.compare(&format!("e{index}"), embeddings[index].data());
    }
    let embeddings: Vec<&Tensor> = embeddings.iter().collect();
    let blend = |weights: &[f32], interpolation, normalize| {
        let entries = weights.iter().map(|&weight| ((), weight)).collect();
        Blend { entries, interpolation, normalize }
    };
    for share in ["0.0", "0.25", "0.5", "0.9", "1.0"] {
        let second: f32 = share.parse().unwrap();
        let mixed =
            blend(&[1.0 - second, second], Interpolation::Slerp, true).mix(&embeddings[..2]);
        case.compare(&format!("slerp_t{share}"), mixed.data());
    }
    let weights = case.float("weights").data().to_vec();
    for (name, normalize) in [("linear_norm", true), ("linear_raw", false)] {
        case.compare(
            name,
            blend(&weights, Interpolation::Linear, normalize).mix(&embeddings).data(),
        );
    }
    let noises = [123, 456].map(|seed| Generator::new(seed).normal([2, 4, 8, 16]));
    let noises: Vec<&Tensor> = noises.iter().collect();
    for (name, interpolation, normalize) in [
        ("seed_linear_magnitude", Interpolation::Linear, true),
        ("seed_linear_raw", Interpolation::Linear, false),
        ("seed_slerp", Interpolation::Slerp, true),
    ] {
        case.compare(name, blend(&[0.6, 0.4], interpolation, normalize).mix_noise(&noises).data());
    }
    Ok(case.report())
}
