//! ControlNets beyond what is recorded.

use std::collections::HashMap;
use std::sync::Arc;

use plugins_diffusion::engine::{Engine, Model};
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::guidance::CfgType;
use plugins_diffusion::image::{to_planes, to_rgb, to_tensor};
use plugins_diffusion::nets::{ControlNet, Dim, Network};
use plugins_diffusion::noise::Generator;
use plugins_diffusion::stream::adapters::{ImagePrompt, ImagePrompts};
use plugins_diffusion::stream::controls::{Control, ControlNets, Steered, add_weighted};
use plugins_diffusion::stream::pictures::{ImageProcessors, Picture, Place};
use plugins_diffusion::stream::{Settings, Source, Stream};
use plugins_diffusion::tensor::Tensor;

use crate::cases::unet_inputs;
use crate::controlnet_cases::{load, load_unet, run};
use crate::streams::settings;
use crate::support::{Golden, engines};

const SIDES: [usize; 2] = [9, 11];
/// Of the frames of streams.
const SIDE: usize = 64;
const STEPS: [usize; 3] = [10, 20, 30];
const SCALE: f32 = 4.0;
/// What rounding may make of the same picture.
const ROUNDING: u8 = 2;

#[test]
fn residuals_fit_where_sides_do_not_halve_and_those_of_no_scale_change_nothing() {
    let golden = Golden::checked_in();
    for engine in engines() {
        let mut case = golden.case("unet_sd15_odd");
        let net = load(&golden, "cn_a", &engine);
        let usual = unet_inputs(&case);
        let [height, width] = SIDES.map(|side| side * net.network().downsampling());
        let picture = Tensor::new([1, 3, height, width], vec![0.5; 3 * height * width]);
        let inputs: Vec<&Tensor> = usual.iter().chain([&picture]).collect();
        let residuals = |scale| run(&net, &inputs, scale);
        for (port, residual) in net.network().outputs().iter().zip(residuals(1.0)) {
            let halved = |(dim, side): (&Dim, usize)| match *dim {
                Dim::Halved(_, times) => (0..times).fold(side, |side, _| side.div_ceil(2)),
                other => panic!("{}: {other:?}", port.name),
            };
            let wanted: Vec<usize> = port.dims[2..].iter().zip(SIDES).map(halved).collect();
            assert_eq!(residual.shape()[2..], wanted, "{}", port.name);
        }
        let unet = load_unet(&golden, "sd15-tiny", &engine);
        let with = |scale| {
            let residuals = residuals(scale);
            unet.run(&usual.iter().chain(&residuals).collect::<Vec<_>>()).unwrap()
        };
        case.compare("out", with(0.0).data());
        assert_ne!(with(1.0).data(), with(0.0).data());
    }
}

/// One ControlNet, and the pictures of all frames.
struct Steering {
    net: Model<ControlNet>,
    pictures: HashMap<u64, Tensor>,
    newest: u64,
    /// The frames of rows, call by call.
    asked: Vec<Vec<u64>>,
}

impl ControlNets for Steering {
    fn look(&mut self, picture: Picture, frame: Source, _: usize) {
        self.newest = frame.id;
        let planes = to_planes(&picture.rgb, picture.width, picture.height);
        self.pictures.insert(frame.id, planes);
    }

    fn add(&mut self, _: usize, rows: &Steered<'_>, sum: &mut [Tensor]) {
        let count = rows.given[0].shape()[0];
        let mut frames: Vec<u64> = rows.frames.iter().map(|frame| frame.id).collect();
        if frames.is_empty() {
            frames = vec![self.newest; count];
        }
        let pictures: Vec<&Tensor> = frames.iter().map(|id| &self.pictures[id]).collect();
        let picture = Tensor::stack(&pictures);
        self.asked.push(frames);
        let inputs: Vec<&Tensor> = rows.given.iter().copied().chain([&picture]).collect();
        for (sum, residual) in sum.iter_mut().zip(run(&self.net, &inputs, 1.0)) {
            add_weighted(sum, residual.data(), rows.weights);
        }
    }
}

impl ImageProcessors for Steering {
    fn process(&mut self, _: Place, _: usize, _: &Picture, _: Source) -> Option<Picture> {
        None
    }
}

impl ImagePrompts for Steering {
    fn image_prompt(&self) -> Option<&ImagePrompt> {
        None
    }
}

fn steered(is_per_frame: bool) -> Settings {
    let (name, params) = ("net".to_owned(), serde_json::Map::new());
    let span = [0.0, 1.0];
    let control =
        Control { name, scale: SCALE, span, preprocessor: None, params, is_per_frame, index: 0 };
    let mut settings = settings(&STEPS);
    settings.guidance.cfg_type = CfgType::None;
    settings.controls = vec![control];
    settings
}

fn checkpoint(engine: &Engine) -> Arc<Checkpoint> {
    let golden = Golden::checked_in();
    let [model, vae] = ["sd15-tiny", "taesd-tiny"].map(|name| golden.checkpoints.join(name));
    let parts = Parts { has_residuals: true, ..Parts::new(&model, &vae) };
    Arc::new(Checkpoint::load(engine, parts, &mut |_, _| true).unwrap())
}

fn frame(id: u64) -> Vec<u8> {
    (0..3 * SIDE * SIDE).map(|index| (index as u8).wrapping_mul(7 * id as u8 + 3)).collect()
}

fn source(id: u64) -> Source {
    Source { id, captured_ns: 0 }
}

/// The picture of a frame whose steps are run one after another in rows of their own, all steered by that frame.
fn by_single_rows(
    stream: &Stream,
    checkpoint: &Checkpoint,
    net: &Model<ControlNet>,
    id: u64,
) -> Vec<u8> {
    let rgb = frame(id);
    let picture = to_planes(&rgb, SIDE, SIDE);
    let image = to_tensor(&rgb, SIDE, SIDE);
    let mut latent = checkpoint.vae.encode(&image, &mut Generator::new(0)).unwrap();
    let denoiser = stream.denoiser();
    let text = stream.conditioning().hidden().head(1);
    for (row, step) in denoiser.steps().iter().enumerate() {
        let noise = denoiser.noise().row(row);
        let pairs = latent.data_mut().iter_mut().zip(noise);
        pairs.for_each(|(value, &noise)| *value = step.add_noise(*value, noise));
        let timestep = Tensor::new([1], vec![step.timestep as f32]);
        let usual = [&latent, &timestep, &text];
        let residuals = run(net, &[&usual[..], &[&picture]].concat(), SCALE);
        let predicted =
            checkpoint.unet.run(&usual.into_iter().chain(&residuals).collect::<Vec<_>>()).unwrap();
        let pairs = latent.data_mut().iter_mut().zip(predicted.data());
        pairs.for_each(|(value, &predicted)| *value = step.denoise(*value, predicted));
    }
    to_rgb(&stream.decode(&latent).unwrap())
}

#[test]
fn with_a_picture_per_frame_a_batch_is_what_its_rows_would_be_alone() {
    let golden = Golden::checked_in();
    for engine in engines() {
        let checkpoint = checkpoint(&engine);
        let is_as_alone = |is_per_frame: bool, id: u64| {
            let mut stream = Stream::new(checkpoint.clone(), steered(is_per_frame)).unwrap();
            let net = load(&golden, "cn_a", &engine);
            let mut steering =
                Steering { net, pictures: HashMap::new(), newest: 0, asked: Vec::new() };
            let mut shown = None;
            for given in 1.. {
                let output = stream.process_with(frame(given), source(given), &mut steering);
                let output = output.unwrap().unwrap();
                if output.frame.id == id {
                    shown = Some(output.picture.rgb);
                } else if output.frame.id > id {
                    break;
                }
            }
            let alone = by_single_rows(&stream, &checkpoint, &steering.net, id);
            let pairs = shown.unwrap().into_iter().zip(alone);
            pairs.into_iter().all(|(shown, alone)| shown.abs_diff(alone) <= ROUNDING)
        };
        for id in [1, 2, 4] {
            assert!(is_as_alone(true, id), "frame {id}");
        }
        assert!(!is_as_alone(false, 4), "the newest frame's picture is another");
    }
}

#[test]
fn rows_are_asked_for_by_their_frames_however_a_batch_is_made() {
    let golden = Golden::checked_in();
    let engine = engines().remove(0);
    let checkpoint = checkpoint(&engine);
    let asked = |change: fn(&mut Settings)| {
        let mut settings = steered(true);
        change(&mut settings);
        let mut stream = Stream::new(checkpoint.clone(), settings).unwrap();
        let net = load(&golden, "cn_a", &engine);
        let mut steering = Steering { net, pictures: HashMap::new(), newest: 0, asked: Vec::new() };
        for id in 1..=8 {
            stream.process_with(frame(id), source(id), &mut steering).unwrap();
        }
        (steering.asked.first().unwrap().clone(), steering.asked.last().unwrap().clone())
    };
    assert_eq!(asked(|_| {}), (vec![1, 1, 1], vec![8, 7, 6]));
    let full = asked(|settings| {
        settings.guidance.cfg_type = CfgType::Full;
        settings.guidance.scale = 2.0;
    });
    assert_eq!(full.1, [8, 7, 6, 8, 7, 6]);
    let initialize = asked(|settings| {
        settings.guidance.cfg_type = CfgType::Initialize;
        settings.guidance.scale = 2.0;
    });
    assert_eq!(initialize.1, [8, 8, 7, 6]);
    assert_eq!(asked(|settings| settings.shape.frames = 2).1, [7, 8, 5, 6, 3, 4]);
    assert_eq!(asked(|settings| settings.shape.is_batched = false).1, [8]);
}
