//! The batch of all frames' steps compared with a plain model that takes one frame through its steps after another.

use std::convert::Infallible;

use plugins_diffusion::blend::Blend;
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::noise::Generator;
use plugins_diffusion::schedule::{NoiseLevels, Step};
use plugins_diffusion::stream::denoiser::Denoiser;
use plugins_diffusion::stream::hooks::Hooks;
use plugins_diffusion::stream::{Settings, Shape};
use plugins_diffusion::tensor::Tensor;
use proptest::prelude::*;

/// Values of one latent.
const WIDTH: usize = 4;
const LATENT: [usize; 4] = [1, WIDTH, 1, 1];
const FRAMES: usize = 12;
const CLOSE: f32 = 1e-4;

/// Something that is not linear and depends on everything a UNet depends on.
fn predict(row: &[f32], timestep: f32, is_negative: bool) -> Vec<f32> {
    let mean = row.iter().sum::<f32>() / row.len() as f32;
    let shift = if is_negative { 0.3 } else { 0.0 };
    row.iter().map(|value| (0.7 * value + mean + timestep / 1000.0 + shift).sin()).collect()
}

/// One frame's way through all steps, as the paper's figures draw it.
struct Plain<'a> {
    settings: &'a Settings,
    steps: &'a [Step],
    noise: &'a Tensor,
    /// With one step the estimate of the negative prediction goes on from frame to frame.
    carried: Vec<Vec<f32>>,
}

impl Plain<'_> {
    /// `place` is the frame's among those taken together.
    fn run(&mut self, latent: &[f32], place: usize) -> Vec<f32> {
        let Settings { shape, guidance, .. } = self.settings;
        let mut noisy = add_noise(&self.steps[0], latent, self.noise.row(0));
        let mut stock = match self.steps {
            [_] => self.carried[place].clone(),
            _ => self.noise.row(0).to_vec(),
        };
        for (index, step) in self.steps.iter().enumerate() {
            let guided = self.guide(&noisy, index, guidance, &mut stock);
            let clean = denoise(step, &noisy, &guided);
            let estimate: Vec<f32> = stock.iter().map(|value| step.beta * value).collect();
            let ahead = denoise(step, &estimate, &guided);
            let rows = self.steps.len() * shape.frames;
            let row = index * shape.frames + place + shape.frames;
            let (alpha, beta) =
                self.steps.get(index + 1).map_or((1.0, 1.0), |next| (next.alpha, next.beta));
            let fresh = self.noise.row(row % rows);
            stock = fresh.iter().zip(&ahead).map(|(noise, x)| noise + alpha * x / beta).collect();
            let Some(next) = self.steps.get(index + 1) else {
                self.carried[place] = stock;
                return clean;
            };
            let strength = if shape.do_add_noise { 1.0 } else { 0.0 };
            let noise: Vec<f32> = fresh.iter().map(|value| strength * value).collect();
            noisy = add_noise(next, &clean, &noise);
        }
        unreachable!("there is a last step")
    }

    fn guide(
        &self,
        noisy: &[f32],
        index: usize,
        guidance: &Guidance,
        stock: &mut Vec<f32>,
    ) -> Vec<f32> {
        let timestep = self.steps[index].timestep as f32;
        let positive = predict(noisy, timestep, false);
        if guidance.scale <= 1.0 || guidance.cfg_type == CfgType::None {
            return positive;
        }
        let negative = match guidance.cfg_type {
            CfgType::Full => predict(noisy, timestep, true),
            _ => {
                if guidance.cfg_type == CfgType::Initialize && index == 0 {
                    *stock = predict(noisy, timestep, true);
                }
                stock.iter().map(|value| guidance.delta * value).collect()
            }
        };
        negative.iter().zip(&positive).map(|(n, p)| n + guidance.scale * (p - n)).collect()
    }
}

fn add_noise(step: &Step, latent: &[f32], noise: &[f32]) -> Vec<f32> {
    latent.iter().zip(noise).map(|(&latent, &noise)| step.add_noise(latent, noise)).collect()
}

fn denoise(step: &Step, noisy: &[f32], predicted: &[f32]) -> Vec<f32> {
    noisy.iter().zip(predicted).map(|(&noisy, &noise)| step.denoise(noisy, noise)).collect()
}

fn levels() -> NoiseLevels {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test");
    let path = folder.join("sd15-tiny/scheduler/scheduler_config.json");
    NoiseLevels::from_config(&plugins_diffusion::config::Config::read(&path).unwrap()).unwrap()
}

/// The outputs of the batch, one for each frame that left.
fn batch(
    settings: &Settings,
    noise: &Tensor,
    latents: &Tensor,
    denoiser: &mut Denoiser,
) -> Vec<Vec<f32>> {
    denoiser.configure(settings, &levels());
    denoiser.reseed(noise.clone());
    let frames = settings.shape.frames;
    let mut outputs = Vec::new();
    for first in (0..FRAMES / frames * frames).step_by(frames) {
        let group = latents.data()[first * WIDTH..(first + frames) * WIDTH].to_vec();
        let noisy = denoiser.add_noise(Tensor::new(denoiser.shape_of(frames), group));
        let negative = settings.negative_rows();
        let answer = |rows: &Tensor, timesteps: &Tensor| {
            let row = |row| predict(rows.row(row), timesteps.data()[row], row < negative);
            let data = (0..rows.shape()[0]).flat_map(row).collect();
            Ok::<_, Infallible>(Tensor::new(rows.shape(), data))
        };
        let passes = denoiser.run(noisy, &mut Generator::new(0), answer).unwrap();
        let leaving = passes[0].denoised.tail(frames);
        outputs.extend((0..frames).map(|row| leaving.row(row).to_vec()));
    }
    // What leaves first was never given: it is the empty batch.
    outputs.drain(..(denoiser.calls() - 1) * frames);
    outputs
}

fn settings() -> impl Strategy<Value = Settings> {
    let kinds = [CfgType::None, CfgType::Full, CfgType::Own, CfgType::Initialize];
    let guidance = (prop::sample::select(kinds.to_vec()), 0.5f32..2.5, 0.0f32..1.5)
        .prop_map(|(cfg_type, scale, delta)| Guidance { cfg_type, scale, delta });
    let indices = prop::collection::vec(5usize..48, 1..=4).prop_map(|mut list| {
        list.sort_unstable();
        list
    });
    (guidance, indices, 1usize..=3, any::<bool>()).prop_map(
        |(guidance, t_index_list, frames, do_add_noise)| Settings {
            shape: Shape { frames, do_add_noise, ..Shape::new(8, 8) },
            prompt: Blend::one(String::new()),
            negative_prompt: String::new(),
            guidance,
            seed: Blend::one(0),
            t_index_list,
            num_inference_steps: 50,
            hooks: Hooks::default(),
            controls: Vec::new(),
            adapter: None,
            cached_attention: None,
        },
    )
}

proptest! {
    #[test]
    fn the_batch_takes_every_frame_the_way_it_would_go_alone(settings in settings(), seed: u32) {
        let mut generator = Generator::new(seed.into());
        let mut denoiser = Denoiser::new(LATENT);
        denoiser.configure(&settings, &levels());
        let noise = generator.normal(denoiser.shape_of(denoiser.rows()));
        let latents = generator.normal([FRAMES, WIDTH, 1, 1]);
        let frames = settings.shape.frames;
        let outputs = batch(&settings, &noise, &latents, &mut denoiser);
        let steps = denoiser.steps().to_vec();
        let carried = vec![vec![0.0; WIDTH]; frames];
        let mut plain = Plain { settings: &settings, steps: &steps, noise: &noise, carried };
        prop_assert!(!outputs.is_empty());
        for (index, ours) in outputs.iter().enumerate() {
            let wanted = plain.run(latents.row(index), index % frames);
            let scale = wanted.iter().fold(1f32, |scale, value| scale.max(value.abs()));
            let apart = ours.iter().zip(&wanted).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            prop_assert!(apart <= CLOSE * scale, "frame {index}: {ours:?} is not {wanted:?}");
        }
    }
}
