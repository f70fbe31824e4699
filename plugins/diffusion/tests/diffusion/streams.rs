//! How a stream behaves from frame to frame, beside its arithmetic, which the golden cases check.

use std::path::Path;
use std::sync::Arc;

use plugins_diffusion::blend::Blend;
use plugins_diffusion::engine::{Backend, Engine};
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::stream::{Settings, Stream, StreamError};

const SIDE: usize = 64;

type Change = fn(&mut Settings);

fn checkpoint() -> Arc<Checkpoint> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test");
    let engine = Engine::start(&crate::support::options(Backend::Onnx))
        .unwrap_or_else(|error| panic!("{error}"));
    let (model, vae) = (models.join("sd15-tiny"), models.join("taesd-tiny"));
    Arc::new(Checkpoint::load(&engine, Parts::new(&model, &vae), &mut |_, _| true).unwrap())
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
    let loaded = Checkpoint::load(&engine, Parts::new(&model, &vae), &mut progress);
    assert!(loaded.map(drop).unwrap_err().is_cancelled());
    assert_eq!(calls, 100);
}
