//! How a stream behaves from frame to frame, beside its arithmetic, which the golden cases check.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugins_diffusion::blend::{Blend, Interpolation};
use plugins_diffusion::engine::{Backend, Engine};
use plugins_diffusion::folder::{Checkpoint, TEXT_ENCODERS_KEPT_FOR};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::stream::{Settings, Stream, StreamError};

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
    Arc::new(Checkpoint::load(&engine, &model, &vae, &mut |_, _| true).unwrap())
}

fn settings(t_index_list: &[usize]) -> Settings {
    Settings {
        width: SIDE,
        height: SIDE,
        prompt: Blend::one("a red cat".into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::Own, scale: 1.0, delta: 0.7 },
        seed: Blend::one(2),
        t_index_list: t_index_list.into(),
        num_inference_steps: 50,
        do_add_noise: true,
    }
}

fn frame(shade: u8) -> Vec<u8> {
    (0..3 * SIDE * SIDE).map(|index| (index as u8).wrapping_mul(shade)).collect()
}

#[test]
fn an_output_belongs_to_the_frame_given_one_call_less_than_there_are_steps_ago() {
    let mut stream = Stream::new(checkpoint(), settings(&[10, 20, 30])).unwrap();
    let ids: Vec<u64> =
        (1..=5).map(|id| stream.process(&frame(id as u8), id).unwrap().frame).collect();
    // The first frame fills all steps, so that no picture comes from nothing.
    assert_eq!(ids, [1, 1, 1, 2, 3]);
}

#[test]
fn the_first_picture_shows_the_first_frame() {
    let checkpoint = checkpoint();
    let mut stream = Stream::new(checkpoint.clone(), settings(&[32, 45])).unwrap();
    let first = stream.process(&frame(3), 1).unwrap().rgb;
    let mut by_hand = Stream::new(checkpoint, settings(&[32, 45])).unwrap();
    let image = plugins_diffusion::image::to_tensor(&frame(3), SIDE, SIDE);
    by_hand.advance(&image).unwrap();
    let (pass, _) = by_hand.advance(&image).unwrap();
    let wanted = plugins_diffusion::image::to_rgb(&by_hand.decode(&pass.output()).unwrap());
    assert_eq!(first, wanted);
}

#[test]
fn a_changed_number_of_steps_starts_anew_without_a_meaningless_picture() {
    let checkpoint = checkpoint();
    let mut stream = Stream::new(checkpoint.clone(), settings(&[32])).unwrap();
    stream.process(&frame(1), 1).unwrap();
    stream.update(settings(&[20, 32, 45])).unwrap();
    let output = stream.process(&frame(2), 2).unwrap();
    let fresh =
        Stream::new(checkpoint, settings(&[20, 32, 45])).unwrap().process(&frame(2), 2).unwrap();
    assert_eq!(output.frame, 2);
    assert_eq!(output.rgb, fresh.rgb);
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
        stream.process(&frame(1), 1).unwrap();
        let mut changed = settings(&[20, 40]);
        change(&mut changed);
        stream.update(changed).unwrap();
        // The frame under way keeps its noise, so a new seed shows one frame later.
        stream.process(&frame(2), 2).unwrap();
        let rgb = stream.process(&frame(3), 3).unwrap().rgb;
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
    let wide = Settings { width: 2 * SIDE, ..settings(&[20, 40]) };
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
    stream.process(&frame(1), 1).unwrap();
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
    let before = stream.process(&frame(1), 1).unwrap().rgb;
    let refused: [(Change, &str); 7] = [
        (|settings| settings.t_index_list = vec![], "t_index_list"),
        (|settings| settings.t_index_list = vec![40, 30], "t_index_list"),
        (|settings| settings.t_index_list = vec![51], "t_index_list"),
        (|settings| settings.num_inference_steps = 101, "num_inference_steps"),
        (|settings| settings.width = 60, "width"),
        (|settings| settings.width = 128, "width"),
        (|settings| settings.guidance.scale = f32::NAN, "guidance_scale"),
    ];
    for (change, name) in refused {
        let mut changed = settings(&[32]);
        change(&mut changed);
        let error = stream.update(changed).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let error = stream.process(&frame(1)[1..], 2).unwrap_err();
    assert!(matches!(error, StreamError::Frame { expected: 12288, got: 12287 }));
    assert_eq!(stream.process(&frame(1), 2).unwrap().rgb, before);
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
    let loaded = Checkpoint::load(&engine, &model, &vae, &mut progress);
    assert!(loaded.map(drop).unwrap_err().is_cancelled());
    assert_eq!(calls, 100);
}
