//! How each kind of case is computed here.

use std::path::Path;
use std::sync::Arc;

use plugins_diffusion::blend::{Blend, Interpolation};
use plugins_diffusion::config::Config;
use plugins_diffusion::engine::{Engine, Model, Source};
use plugins_diffusion::family::Family;
use plugins_diffusion::files::{Stored, weights_file};
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::image;
use plugins_diffusion::lora::{Lora, Loras, Part};
use plugins_diffusion::nets::Unet;
use plugins_diffusion::noise::Generator;
use plugins_diffusion::schedule::NoiseLevels;
use plugins_diffusion::sizes::Pictures;
use plugins_diffusion::stream::Similarity;
use plugins_diffusion::stream::hooks::feed_back_picture;
use plugins_diffusion::stream::similar::SimilarImageFilter;
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::tokenizer::Tokenizer;
use plugins_diffusion::vae::Autoencoder;
use plugins_diffusion::weights::Weights;

use crate::support::{Case, Golden, Outcome};
use crate::{controlnet_cases, ip_adapter_cases, stream_cases};

const CLIP_TOKENS: usize = 77;

pub fn run(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    match name {
        "tokenizer" => tokenizer(golden),
        "rng" => rng(golden),
        "scheduler" => scheduler(golden),
        "text_sd15" | "text_sdturbo" | "text_sdxl" => text(golden, name, engine),
        name if name.starts_with("unet_") => unet(golden, name, engine),
        name if name.starts_with("controlnet_") => {
            controlnet_cases::controlnets(golden, name, engine)
        }
        "ip_weight_types" => ip_adapter_cases::weight_types(golden),
        name if name.starts_with("ipadapter_") => {
            ip_adapter_cases::ip_adapter(golden, name, engine)
        }
        "lora_kohya" | "lora_peft" => lora(golden, name, engine),
        "vae" => vae(golden, engine),
        "image" => image_case(golden),
        "frames" => frames(golden),
        "blend" => blend(golden, engine),
        "filter" => filter(golden),
        "fork_extras" => feedback(golden),
        name if name.starts_with("stream_") => stream_cases::img2img(golden, name, engine),
        name if name.starts_with("txt2img_") => stream_cases::txt2img(golden, name, engine),
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

pub fn checkpoint(
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
        for (encoder, ids) in checkpoint.texts.tokens(prompt).into_iter().enumerate() {
            let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
            case.compare_ints(&format!("p{index}_te{}_ids", encoder + 1), &ids);
        }
        let embedding = checkpoint.texts.embed(prompt).unwrap();
        case.compare(&format!("p{index}_prompt_embeds"), embedding.hidden().data());
        match checkpoint.family {
            Family::Sd => case.compare(&format!("p{index}_te1_last"), embedding.hidden().data()),
            Family::Sdxl => {
                case.compare(&format!("p{index}_pooled"), embedding.pooled().unwrap().data());
            }
        }
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
    unet.run(&unet_inputs(case).iter().collect::<Vec<_>>()).unwrap()
}

/// What a recorded UNet was given, in the order of its inputs.
pub fn unet_inputs(case: &Case) -> Vec<Tensor> {
    let timesteps = case.int("timestep").iter().map(|&timestep| timestep as f32).collect();
    let timesteps = Tensor::new(case.int_shape("timestep"), timesteps);
    let float = |name: &str| case.float(name).clone();
    let mut inputs = vec![float("sample"), timesteps, float("encoder_hidden_states")];
    if case.has("text_embeds") {
        inputs.extend([float("text_embeds"), float("time_ids")]);
    }
    inputs
}

fn lora(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let mut case = golden.case(name);
    let path = golden.checkpoints.join(case.about["file_in_checkpoint"].as_str().unwrap());
    let scale = case.about["lora_scale"].as_f64().unwrap() as f32;
    let folder = golden.checkpoints.join("sd15-tiny/unet");
    let network = Unet::from_config(&Config::read(&folder.join("config.json")).unwrap()).unwrap();
    let weights = &weights_file(&folder, "diffusion_pytorch_model").unwrap();
    let mut loras = Loras::open(&[Lora { path, scale }]).unwrap();
    let patches = &loras.patches(Part::Unet, &network, &Stored::file(weights)).unwrap();
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
    let source = Source { weights: Stored::file(weights), patches, sizes: None };
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
        let vae = Autoencoder::load(
            engine,
            &golden.checkpoints.join(folder),
            &Pictures::new(512, 512),
            &mut || true,
        )
        .unwrap();
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
    let vae = Autoencoder::load(engine, folder, &Pictures::new(512, 512), &mut || true).unwrap();
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

pub fn frame_tensors(frames: &Case) -> Vec<Tensor> {
    let [_, height, width, channels] = *frames.int_shape("frames_u8") else {
        panic!("frames_u8 holds no pictures")
    };
    let bytes = frames.bytes("frames_u8");
    bytes
        .chunks_exact(height * width * channels)
        .map(|frame| image::to_tensor(frame, width, height))
        .collect()
}

fn filter(golden: &Golden) -> Outcome {
    let mut case = golden.case("filter");
    let similarity = Similarity {
        threshold: case.about["threshold"].as_f64().unwrap() as f32,
        max_skip_frame: case.about["max_skip_frame"].as_u64().unwrap(),
    };
    let mut filter = SimilarImageFilter::new(similarity);
    let (frames, chances) = (case.float("frames"), case.float("uniform"));
    let skip = |index| {
        let frame = Tensor::new(frames.shape()[1..].to_vec(), frames.row(index).to_vec());
        i64::from(filter.skips_by(&frame, chances.data()[index]))
    };
    let skipped: Vec<i64> = (0..frames.shape()[0]).map(skip).collect();
    case.compare_ints("skipped", &skipped);
    Ok(case.report())
}

/// Recorded with pictures in [0, 1].
fn feedback(golden: &Golden) -> Outcome {
    let mut case = golden.case("fork_extras");
    let shape = case.float("feedback_prev_output").shape().to_vec();
    let centred = case.float("image").data().iter().map(|value| 2.0 * value - 1.0).collect();
    let mut pictures = Tensor::new(shape, centred);
    let last = case.float("feedback_prev_output").clone();
    feed_back_picture(0.3, &mut pictures, Some(&last));
    let mixed: Vec<f32> = pictures.data().iter().map(|value| value / 2.0 + 0.5).collect();
    case.compare("feedback_second_s0.3", &mixed);
    Ok(case.report())
}

fn blend(golden: &Golden, engine: &Engine) -> Outcome {
    let mut case = golden.case("blend");
    let checkpoint = checkpoint(golden, "sd15-tiny", "taesd-tiny", engine)?;
    let mut embeddings = Vec::new();
    for (index, prompt) in golden.prompts().iter().take(3).enumerate() {
        embeddings.push(checkpoint.texts.embed(prompt).unwrap().hidden().clone());
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
