//! How a stream behaves from frame to frame, beside its arithmetic, which the golden cases check.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugins_diffusion::blend::{Blend, Interpolation};
use plugins_diffusion::engine::{Backend, Engine};
use plugins_diffusion::folder::{Checkpoint, Parts, TEXT_ENCODERS_KEPT_FOR};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::stream::hooks::{Hooks, ImageStep};
use plugins_diffusion::stream::{
    Output, Settings, Shape, Similarity, Source, Start, Stream, StreamError,
};

const SIDE: usize = 64;

type Change = fn(&mut Settings);

fn checkpoint() -> Arc<Checkpoint> {
    load("sd15-tiny", "taesd-tiny")
}

fn sdxl() -> Arc<Checkpoint> {
    load("sdxl-tiny", "taesdxl-tiny")
}

fn load(model: &str, vae: &str) -> Arc<Checkpoint> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test");
    let engine = Engine::start(&crate::support::options(Backend::Onnx))
        .unwrap_or_else(|error| panic!("{error}"));
    let (model, vae) = (models.join(model), models.join(vae));
    Arc::new(Checkpoint::load(&engine, Parts::new(&model, &vae), &mut |_, _| true).unwrap())
}

pub fn settings(t_index_list: &[usize]) -> Settings {
    Settings {
        shape: Shape::new(SIDE, SIDE),
        prompt: Blend::one("a red cat".into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::Own, scale: 1.0, delta: 0.7 },
        seed: Blend::one(2),
        t_index_list: t_index_list.into(),
        num_inference_steps: 50,
        hooks: Hooks::default(),
        controls: Vec::new(),
        adapter: None,
        cached_attention: None,
    }
}

/// Gives a frame and expects a picture.
pub fn show(stream: &mut Stream, rgb: &[u8], id: u64) -> Output {
    stream.process(rgb, Source { id, captured_ns: 0 }).unwrap().unwrap()
}

fn frame(shade: u8) -> Vec<u8> {
    (0..3 * SIDE * SIDE).map(|index| (index as u8).wrapping_mul(shade)).collect()
}

#[test]
fn an_output_belongs_to_the_frame_given_one_call_less_than_there_are_steps_ago() {
    let mut stream = Stream::new(checkpoint(), settings(&[10, 20, 30])).unwrap();
    let ids: Vec<u64> =
        (1..=5).map(|id| show(&mut stream, &frame(id as u8), id).frame.id).collect();
    // The first frame fills all steps, so that no picture comes from nothing.
    assert_eq!(ids, [1, 1, 1, 2, 3]);
}

#[test]
fn the_first_picture_shows_the_first_frame() {
    let checkpoint = checkpoint();
    let mut stream = Stream::new(checkpoint.clone(), settings(&[32, 45])).unwrap();
    let first = show(&mut stream, &frame(3), 1).picture.rgb;
    let mut by_hand = Stream::new(checkpoint, settings(&[32, 45])).unwrap();
    let image = plugins_diffusion::image::to_tensor(&frame(3), SIDE, SIDE);
    by_hand.advance(&image).unwrap();
    let output = by_hand.advance(&image).unwrap().output;
    let wanted = plugins_diffusion::image::to_rgb(&by_hand.decode(&output).unwrap());
    assert_eq!(first, wanted);
}

#[test]
fn a_changed_number_of_steps_starts_anew_without_a_meaningless_picture() {
    let checkpoint = checkpoint();
    let mut stream = Stream::new(checkpoint.clone(), settings(&[32])).unwrap();
    show(&mut stream, &frame(1), 1);
    stream.update(settings(&[20, 32, 45])).unwrap();
    let output = show(&mut stream, &frame(2), 2);
    let fresh = show(&mut Stream::new(checkpoint, settings(&[20, 32, 45])).unwrap(), &frame(2), 2);
    assert_eq!(output.frame.id, 2);
    assert_eq!(output.picture.rgb, fresh.picture.rgb);
}

#[test]
fn prompt_seed_steps_and_guidance_change_the_picture_between_two_frames() {
    let checkpoint = checkpoint();
    let changes: [(&str, Change); 6] = [
        ("nothing", |_| {}),
        ("prompt", |settings| settings.prompt = Blend::one("oil painting of a stormy sea".into())),
        ("seed", |settings| settings.seed = Blend::one(3)),
        ("t_index_list", |settings| settings.t_index_list = vec![30, 40]),
        ("num_inference_steps", |settings| settings.num_inference_steps = 100),
        ("guidance", |settings| {
            settings.guidance = Guidance { cfg_type: CfgType::Full, scale: 3.0, delta: 0.0 };
        }),
    ];
    let mut pictures: Vec<(&str, Vec<u8>)> = Vec::new();
    for (name, change) in changes {
        let mut stream = Stream::new(checkpoint.clone(), settings(&[20, 40])).unwrap();
        show(&mut stream, &frame(1), 1);
        let mut changed = settings(&[20, 40]);
        change(&mut changed);
        stream.update(changed).unwrap();
        // The frame under way keeps its noise, so a new seed shows one frame later.
        show(&mut stream, &frame(2), 2);
        let rgb = show(&mut stream, &frame(3), 3).picture.rgb;
        let alike = pictures.iter().find(|(_, picture)| *picture == rgb);
        assert!(
            alike.is_none(),
            "{name} gives the same picture as {:?}",
            alike.map(|(name, _)| name)
        );
        pictures.push((name, rgb));
    }
}

#[test]
fn a_new_prompt_replaces_the_embedding_of_the_whole_text_too() {
    let checkpoint = sdxl();
    let guided = |prompt: Blend<String>, negative: &str| Settings {
        guidance: Guidance { cfg_type: CfgType::Full, scale: 2.0, delta: 1.0 },
        negative_prompt: negative.into(),
        prompt,
        ..settings(&[20, 40])
    };
    let whole =
        |text: &str| checkpoint.texts.embed(text).unwrap().pooled().unwrap().data().to_vec();
    let rows = |stream: &Stream| -> Vec<Vec<f32>> {
        let pooled = stream.conditioning().pooled().unwrap();
        (0..pooled.shape()[0]).map(|row| pooled.row(row).to_vec()).collect()
    };
    let cat = || Blend::one("a red cat".into());
    let mut stream = Stream::new(checkpoint.clone(), guided(cat(), "blurry")).unwrap();
    let (negative, positive) = (whole("blurry"), whole("a red cat"));
    assert_eq!(rows(&stream), [&negative, &negative, &positive, &positive].map(Clone::clone));

    let entries = vec![("a red cat".into(), 1.0), ("a stormy sea".into(), 3.0)];
    let blend = Blend { entries, interpolation: Interpolation::Linear, normalize: true };
    stream.update(guided(blend, "blurry")).unwrap();
    let sea = whole("a stormy sea");
    let mixed: Vec<f32> =
        positive.iter().zip(&sea).map(|(cat, sea)| 0.25 * cat + 0.75 * sea).collect();
    for (row, wanted) in rows(&stream).iter().zip([&negative, &negative, &mixed, &mixed]) {
        for (ours, wanted) in row.iter().zip(wanted) {
            assert!((ours - wanted).abs() < 1e-5, "{ours} {wanted}");
        }
    }
    stream.update(guided(Blend::one("a stormy sea".into()), "")).unwrap();
    let empty = whole("");
    assert_eq!(rows(&stream), [&empty, &empty, &sea, &sea].map(Clone::clone));
}

#[test]
fn the_size_reaches_the_unet_of_sdxl_height_first() {
    let wide = Settings { shape: Shape::new(2 * SIDE, SIDE), ..settings(&[20, 40]) };
    let stream = Stream::new(sdxl(), wide).unwrap();
    let sizes = stream.conditioning().tensors().last().unwrap();
    assert_eq!(sizes.shape(), [2, 6]);
    assert_eq!(sizes.row(1), [64.0, 128.0, 0.0, 0.0, 64.0, 128.0]);
}

#[test]
fn large_text_encoders_are_let_go_and_come_back_for_a_new_text() {
    let checkpoint = sdxl();
    let mut stream = Stream::new(checkpoint.clone(), settings(&[32])).unwrap();
    let later = Instant::now() + TEXT_ENCODERS_KEPT_FOR;
    checkpoint.texts.rest(later - Duration::from_secs(1));
    assert!(checkpoint.texts.are_loaded(), "used just now");
    checkpoint.texts.rest(later + Duration::from_secs(1));
    assert!(!checkpoint.texts.are_loaded());
    stream.update(Settings { seed: Blend::one(3), ..settings(&[32]) }).unwrap();
    show(&mut stream, &frame(1), 1);
    Stream::new(checkpoint.clone(), settings(&[32])).unwrap();
    assert!(!checkpoint.texts.are_loaded(), "the text is known");

    let sea = Settings { prompt: Blend::one("a stormy sea".into()), ..settings(&[32]) };
    stream.update(sea.clone()).unwrap();
    assert!(checkpoint.texts.are_loaded());
    let fresh = Stream::new(sdxl(), sea).unwrap();
    assert_eq!(stream.conditioning().tensors(), fresh.conditioning().tensors());
}

#[test]
fn small_text_encoders_stay() {
    let checkpoint = checkpoint();
    checkpoint.texts.rest(Instant::now() + 100 * TEXT_ENCODERS_KEPT_FOR);
    assert!(checkpoint.texts.are_loaded());
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let mut stream = Stream::new(checkpoint(), settings(&[32])).unwrap();
    let before = show(&mut stream, &frame(1), 1).picture.rgb;
    let refused: [(Change, &str); 7] = [
        (|settings| settings.t_index_list = vec![], "t_index_list"),
        (|settings| settings.t_index_list = vec![40, 30], "t_index_list"),
        (|settings| settings.t_index_list = vec![51], "t_index_list"),
        (|settings| settings.num_inference_steps = 101, "num_inference_steps"),
        (|settings| settings.shape.width = 60, "width"),
        (|settings| settings.shape.width = 128, "needs a new stream"),
        (|settings| settings.guidance.scale = f32::NAN, "guidance_scale"),
    ];
    for (change, name) in refused {
        let mut changed = settings(&[32]);
        change(&mut changed);
        let error = stream.update(changed).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let error = stream.process(&frame(1)[1..], Source { id: 2, captured_ns: 0 }).unwrap_err();
    assert!(matches!(error, StreamError::Frame { expected: 12288, got: 12287 }));
    assert_eq!(show(&mut stream, &frame(1), 2).picture.rgb, before);
}

/// A stream of another shape than usual.
fn shaped(shape: Shape, t_index_list: &[usize]) -> Stream {
    Stream::new(checkpoint(), Settings { shape, ..settings(t_index_list) }).unwrap()
}

fn shown_ids(stream: &mut Stream, frames: &[Vec<u8>]) -> Vec<Option<u64>> {
    let mut show = |id: usize| {
        let source = Source { id: id as u64, captured_ns: 0 };
        stream.process(&frames[id], source).unwrap().map(|output| output.frame.id)
    };
    (0..frames.len()).map(&mut show).collect()
}

#[test]
fn steps_one_after_another_show_every_frame_at_once() {
    let shape = Shape { is_batched: false, ..Shape::new(SIDE, SIDE) };
    let mut stream = shaped(shape, &[10, 20, 30]);
    let frames: Vec<_> = (1..=3).map(frame).collect();
    assert_eq!(shown_ids(&mut stream, &frames), [0, 1, 2].map(Some));
    assert_eq!(stream.settings().latency(), 0);
}

#[test]
fn frames_taken_together_leave_one_by_one() {
    let shape = Shape { frames: 2, ..Shape::new(SIDE, SIDE) };
    let frames: Vec<_> = (1..=6).map(frame).collect();
    let mut one_step = shaped(shape, &[32]);
    let ids = shown_ids(&mut one_step, &frames);
    assert_eq!(ids, [None, Some(0), Some(1), Some(2), Some(3), Some(4)]);
    let mut two_steps = shaped(shape, &[20, 32]);
    // The first two fill both steps.
    let ids = shown_ids(&mut two_steps, &frames);
    assert_eq!(ids, [None, Some(0), Some(1), Some(0), Some(1), Some(2)]);
    assert_eq!((one_step.settings().latency(), two_steps.settings().latency()), (1, 3));
    let has_times = |id: u64| show(&mut one_step, &frame(7), id).times.is_some();
    assert_eq!([6, 7, 8].map(has_times), [false, true, false], "one call made two pictures");
}

#[test]
fn frames_like_the_last_one_are_passed_over_for_a_while() {
    let filter = Some(Similarity { threshold: 0.9, max_skip_frame: 2 });
    let shape = Shape { filter, ..Shape::new(SIDE, SIDE) };
    let mut frames = vec![frame(1); 6];
    frames.push(frame(1).into_iter().map(|value| 255 - value).collect());
    let ids = shown_ids(&mut shaped(shape, &[32]), &frames);
    assert_eq!(ids, [Some(0), None, None, None, Some(4), None, Some(6)]);
    let noise = Start::Noise { is_turbo: false };
    let ids = shown_ids(&mut shaped(Shape { start: noise, ..shape }, &[32]), &frames);
    assert!(ids.iter().all(Option::is_some), "pictures of noise do not wait for movement");
}

#[test]
fn pictures_of_noise_are_new_for_every_frame_and_the_same_for_a_seed() {
    let pictures = |is_turbo, seed| -> Vec<Vec<u8>> {
        let shape = Shape { start: Start::Noise { is_turbo }, ..Shape::new(SIDE, SIDE) };
        let mut stream = shaped(shape, &[0]);
        let settings = Settings { seed: Blend::one(seed), ..stream.settings().clone() };
        stream.update(settings).unwrap();
        (0..2).map(|id| show(&mut stream, &frame(1), id).picture.rgb).collect()
    };
    let first = pictures(true, 2);
    assert_ne!(first[0], first[1]);
    assert_eq!(first, pictures(true, 2));
    assert_ne!(first[0], pictures(true, 3)[0]);
    // At the noisiest step the boundary scalings are all but the identity; at a later one they are not.
    assert_eq!(first, pictures(false, 2));
}

#[test]
fn without_diffusion_frames_leave_as_they_came() {
    let shape = Shape { skips_diffusion: true, ..Shape::new(SIDE, SIDE) };
    let mut stream = shaped(shape, &[20, 32]);
    assert_eq!(show(&mut stream, &frame(3), 7).picture.rgb, frame(3));
    assert_eq!(stream.settings().latency(), 0);
}

#[test]
fn what_left_last_is_mixed_in_as_strongly_as_asked() {
    let shape = Shape { skips_diffusion: true, ..Shape::new(SIDE, SIDE) };
    let mut stream = shaped(shape, &[32]);
    let mut hooked = stream.settings().clone();
    hooked.hooks.image_preprocessing = vec![ImageStep::Feedback(0.5)];
    stream.update(hooked.clone()).unwrap();
    let gray = |shade: u8| vec![shade; 3 * SIDE * SIDE];
    assert_eq!(
        show(&mut stream, &gray(200), 0).picture.rgb,
        gray(200),
        "there is none before the first"
    );
    assert_eq!(show(&mut stream, &gray(100), 1).picture.rgb, gray(150));
    hooked.hooks.image_postprocessing = vec![ImageStep::Feedback(0.5)];
    stream.update(hooked).unwrap();
    // Halfway to 150, and from there again.
    assert_eq!(show(&mut stream, &gray(50), 2).picture.rgb, gray(125));
}

#[test]
fn latents_are_fed_back_before_and_after_denoising() {
    let checkpoint = checkpoint();
    let pictures = |hooks: Hooks| -> Vec<Vec<u8>> {
        let settings = Settings { hooks, ..settings(&[32]) };
        let mut stream = Stream::new(checkpoint.clone(), settings).unwrap();
        [1, 9].map(|shade| show(&mut stream, &frame(shade), shade.into()).picture.rgb).into()
    };
    let plain = pictures(Hooks::default());
    let before = pictures(Hooks { latent_preprocessing: vec![0.3], ..Hooks::default() });
    let after = pictures(Hooks { latent_postprocessing: vec![0.3], ..Hooks::default() });
    assert!(plain[0] == before[0] && plain[0] == after[0], "there is none before the first");
    assert!(plain[1] != before[1] && plain[1] != after[1] && before[1] != after[1]);
}

#[test]
fn loading_stops_when_it_is_cancelled() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test");
    let engine = Engine::start(&crate::support::options(Backend::Candle)).unwrap();
    let (model, vae) = (models.join("sd15-tiny"), models.join("taesd-tiny"));
    let mut calls = 0;
    // Far into the last and largest part.
    let mut progress = |_: f32, part: &str| {
        calls += u32::from(part == "unet");
        calls < 100
    };
    let loaded = Checkpoint::load(&engine, Parts::new(&model, &vae), &mut progress);
    assert!(loaded.map(drop).unwrap_err().is_cancelled());
    assert_eq!(calls, 100);
}
