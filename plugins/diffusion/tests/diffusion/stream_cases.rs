//! Whole streams, call by call.

use plugins_diffusion::blend::{Blend, Interpolation};
use plugins_diffusion::engine::Engine;
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::noise::Generator;
use plugins_diffusion::schedule::Step;
use plugins_diffusion::stream::denoiser::Pass;
use plugins_diffusion::stream::hooks::Hooks;
use plugins_diffusion::stream::{Advance, Settings, Shape, Start, Stream};
use plugins_diffusion::tensor::Tensor;
use serde_json::Value;

use crate::cases::{checkpoint, frame_tensors};
use crate::stream_extras::Extras;
use crate::support::{Case, Golden, Outcome};

/// Seeds what the reference draws for every picture of noise.
const FRESH_NOISE: u64 = 77;
const SIZE: [usize; 2] = [128, 64];

pub fn img2img(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let (mut case, mut stream) = open(golden, name, Start::Frames, engine)?;
    compare_constants(&mut case, &stream);
    let extras = Extras::of(golden, &case, engine);
    let frames = frame_tensors(&golden.case("frames"));
    let together = stream.settings().shape.frames;
    for (call, &first) in case.int("frame_index").to_vec().iter().enumerate() {
        if name == "stream_n2_self_hot" {
            update(&mut case, &mut stream, call, &golden.prompts());
        }
        let given: Vec<&Tensor> = frames[first as usize..].iter().take(together).collect();
        let images = Tensor::stack(&given);
        let advance = match &extras {
            Some((extras, unet)) => {
                stream.advance_with(&images, |usual| extras.run(unet, &images, usual))
            }
            None => stream.advance(&images),
        };
        compare_call(&mut case, &stream, call, advance.unwrap());
    }
    Ok(case.report())
}

pub fn txt2img(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let start = Start::Noise { is_turbo: name.contains("turbo") };
    let (mut case, mut stream) = open(golden, name, start, engine)?;
    compare_constants(&mut case, &stream);
    stream.set_generator(Generator::new(FRESH_NOISE));
    let calls = case.float("x0_out").shape()[0];
    for call in 0..calls {
        let advance = stream.advance(&Tensor::zeros([0])).unwrap();
        compare_call(&mut case, &stream, call, advance);
    }
    Ok(case.report())
}

fn open(
    golden: &Golden,
    name: &str,
    start: Start,
    engine: &Engine,
) -> Result<(Case, Stream), String> {
    let case = golden.case(name);
    let folder = case.about["checkpoint"].as_str().unwrap();
    let vae = case.about["vae"].as_str().unwrap().split(' ').next().unwrap();
    let checkpoint = checkpoint(golden, folder, vae, engine)?;
    let stream = Stream::new(checkpoint, settings(&case.about["config"], start)).unwrap();
    Ok((case, stream))
}

/// What a case leaves out is as the reference has it by default.
fn settings(config: &Value, start: Start) -> Settings {
    let size = |key: &str, usual: usize| config[key].as_u64().map_or(usual, |size| size as usize);
    let number = |key: &str| config[key].as_f64().unwrap_or(1.0) as f32;
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let indices = config["t_index_list"].as_array().unwrap().iter();
    Settings {
        shape: Shape {
            start,
            is_batched: config["use_denoising_batch"].as_bool().unwrap_or(true),
            frames: size("frame_buffer_size", 1),
            do_add_noise: config["do_add_noise"].as_bool().unwrap_or(true),
            ..Shape::new(size("width", SIZE[0]), size("height", SIZE[1]))
        },
        prompt: Blend::one(text("prompt")),
        negative_prompt: text("negative_prompt"),
        guidance: Guidance {
            cfg_type: match config["cfg_type"].as_str().unwrap() {
                "none" => CfgType::None,
                "full" => CfgType::Full,
                "self" => CfgType::Own,
                "initialize" => CfgType::Initialize,
                other => panic!("cfg_type {other}"),
            },
            scale: number("guidance_scale"),
            delta: number("delta"),
        },
        seed: Blend::one(config["seed"].as_u64().unwrap_or(2)),
        t_index_list: indices.map(|index| index.as_u64().unwrap() as usize).collect(),
        num_inference_steps: size("num_inference_steps", 50),
        hooks: Hooks::default(),
        controls: Vec::new(),
        adapter: None,
        cached_attention: None,
    }
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
        2 => case.compare("event2_prompt_embeds", stream.conditioning().hidden().data()),
        3 => case.compare("event3_init_noise", stream.denoiser().noise().data()),
        _ => {}
    }
}

fn compare_constants(case: &mut Case, stream: &Stream) {
    let denoiser = stream.denoiser();
    case.compare("prompt_embeds", stream.conditioning().hidden().data());
    compare_pooled(case, stream);
    case.compare("init_noise", denoiser.noise().data());
    let frames = stream.settings().shape.frames;
    let steps: Vec<Step> = denoiser.steps().iter().flat_map(|&step| vec![step; frames]).collect();
    let timesteps: Vec<i64> = steps.iter().map(|step| step.timestep as i64).collect();
    case.compare_ints("sub_timesteps_tensor", &timesteps);
    let mut factor = |name: &str, steps: &[Step], of: fn(&Step) -> f32| {
        case.compare(name, &steps.iter().map(of).collect::<Vec<_>>());
    };
    factor("alpha_prod_t_sqrt", &steps, |step| step.alpha);
    factor("beta_prod_t_sqrt", &steps, |step| step.beta);
    // A turbo model does without these, so the reference computes and then ignores them.
    if stream.settings().shape.start != (Start::Noise { is_turbo: true }) {
        factor("c_skip", denoiser.steps(), |step| step.skip);
        factor("c_out", denoiser.steps(), |step| step.out);
    }
}

/// The rows for the text as a whole: the negative ones, then one for each step.
fn compare_pooled(case: &mut Case, stream: &Stream) {
    // A case of pictures of noise has none recorded; there the UNet's output is compared alone.
    let Some(pooled) = stream.conditioning().pooled().filter(|_| case.has("pooled")) else {
        assert!(!case.has("pooled"), "{} has pooled embeddings", case.name);
        return;
    };
    let positive = case.float("pooled").repeat_rows(stream.settings().rows());
    let recorded = match stream.settings().negative_rows() {
        0 => positive,
        rows => Tensor::stack(&[&case.float("negative_pooled").repeat_rows(rows), &positive]),
    };
    case.compare_with("pooled", pooled.data(), recorded.data());
}

fn compare_call(case: &mut Case, stream: &Stream, call: usize, advance: Advance) {
    let Advance { noisy, passes, output, .. } = advance;
    compare(case, "x_t", call, &noisy);
    for (index, pass) in passes.iter().enumerate() {
        compare_pass(case, stream, call * passes.len() + index, pass);
    }
    compare(case, "x0_out", call, &output);
    if case.has("buffer_after") {
        let recorded = case.float("buffer_after").row(call).to_vec();
        case.compare_with("buffer_after", stream.denoiser().buffer(), &recorded);
    }
    let with_image = case.int("image_frame").to_vec();
    if let Some(index) = with_image.iter().position(|&image| image == call as i64) {
        compare(case, "image_out", index, &stream.decode(&output).unwrap());
    }
}

fn compare_pass(case: &mut Case, stream: &Stream, index: usize, pass: &Pass) {
    compare(case, "unet_in", index, &pass.batch);
    let timesteps: Vec<i64> = pass.timesteps.data().iter().map(|&step| step as i64).collect();
    let recorded = case.int("unet_t").chunks(timesteps.len()).nth(index).unwrap().to_vec();
    assert_eq!(timesteps, recorded, "timesteps given to the UNet");
    compare(case, "unet_out", index, &pass.predicted);
    compare(case, "model_pred", index, &pass.guided);
    compare(case, "x0_batch", index, &pass.denoised);
    compare(case, "stock_noise_after", index, stream.denoiser().stock_noise());
}

/// With one entry of what was recorded call after call, if it was.
fn compare(case: &mut Case, name: &str, index: usize, ours: &Tensor) {
    if case.has(name) {
        let recorded = case.float(name).row(index).to_vec();
        case.compare_with(name, ours.data(), &recorded);
    }
}
