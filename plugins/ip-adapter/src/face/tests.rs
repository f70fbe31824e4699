//! Compared with what InsightFace makes with the same small networks; `tests/faces.py` recorded it.

use super::detector::{Detector, Landmarks};
use super::*;
use crate::networks;
use crate::params::Wishes;
use crate::picture::prepare;
use plugin_api::{FrameFormat, Params};
use plugins_diffusion::config::Config;
use plugins_diffusion::nets::{ClipVision, ImageProjection};
use plugins_diffusion::resolve::ModelRoots;
use plugins_diffusion::weights::Weights;
use safetensors::SafeTensors;
use std::sync::LazyLock;

static RECORDED: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read(folder().join("faces.safetensors")).unwrap());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn host() -> Host {
    Host::detached(Environment {
        models_dir: folder().join("models"),
        engines_dir: folder().join("../../../engines"),
        cache_dir: std::env::temp_dir(),
        threads: 2,
    })
}

fn files() -> FaceFiles {
    let roots = ModelRoots { models: folder().join("models"), hub: None };
    FaceFiles::find(None, &roots).unwrap()
}

fn recorded<T>(name: &str, read: impl Fn(&[usize], &[u8]) -> T) -> T {
    let file = SafeTensors::deserialize(&RECORDED).unwrap();
    let tensor = file.tensor(name).unwrap();
    read(tensor.shape(), tensor.data())
}

fn numbers(name: &str) -> Vec<f32> {
    recorded(name, |_, data| {
        data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    })
}

fn picture(name: &str) -> RgbImage {
    recorded(name, |shape, data| {
        RgbImage::from_raw(shape[1] as u32, shape[0] as u32, data.to_vec()).unwrap()
    })
}

fn detector() -> Detector {
    let engine = start(host().environment()).unwrap();
    Detector::load(engine, &files().detector, &mut || true).unwrap()
}

fn points(name: &str) -> Landmarks {
    let numbers = numbers(&format!("{name}_points"));
    let mut points = [[0.0; 2]; 5];
    for (point, pair) in points.iter_mut().zip(numbers.as_chunks::<2>().0) {
        *point = pair.map(f64::from);
    }
    points
}

/// The surest of several, at the first size, and in a smaller picture only where it is large.
#[test]
fn the_surest_face_is_found_where_insightface_finds_it() {
    let detector = detector();
    for name in ["wide", "tall", "near"] {
        let picture = picture(name);
        let found = detector.find(&picture).unwrap().unwrap();
        let apart = found.iter().flatten().zip(points(name).into_iter().flatten());
        let worst = apart.fold(0.0, |worst: f64, (ours, theirs)| worst.max((ours - theirs).abs()));
        println!("{name}: points at most {worst} pixels apart");
        assert!(worst < 0.05, "{name}: {worst}");
    }
    assert_eq!(detector.find(&picture("nobody")).unwrap(), None);
    for (width, height) in [(1, 1), (1, 3000), (3000, 1)] {
        assert_eq!(detector.find(&RgbImage::new(width, height)).unwrap(), None);
    }
}

#[test]
fn faces_are_turned_upright_as_by_insightface() {
    for name in ["wide", "tall", "near"] {
        let crop = Alignment::of(&points(name)).unwrap().cut_out(&picture(name), 112);
        let theirs = picture(&format!("{name}_crop"));
        let apart = crop.as_raw().iter().zip(theirs.as_raw()).map(|(a, b)| a.abs_diff(*b));
        let worst = apart.max().unwrap();
        println!("{name}: at most {worst} levels apart");
        // OpenCV samples at 32nds of a pixel.
        assert!(worst <= 4, "{name}: {worst}");
    }
}

#[test]
fn embeddings_are_those_of_insightface() {
    let faces = Faces::load(&host(), &files()).unwrap();
    for name in ["wide", "tall", "near"] {
        let picture = picture(name);
        let face = faces.find(&picture).unwrap().unwrap();
        let made = faces.embed(&picture, &face).unwrap();
        let theirs = numbers(&format!("{name}_embedding"));
        assert_eq!(made.shape(), [1, theirs.len()]);
        let alike: f32 = made.data().iter().zip(&theirs).map(|(ours, theirs)| ours * theirs).sum();
        println!("{name}: cosine {alike}");
        assert!(alike > 0.9999, "{name}: {alike}");
    }
    assert!(faces.find(&picture("nobody")).unwrap().is_none());
}

#[test]
fn networks_that_are_not_the_wanted_ones_are_refused() {
    let FaceFiles { detector, embedder } = files();
    let refusal = |detector: &Path, embedder: &Path| {
        let files = FaceFiles { detector: detector.into(), embedder: embedder.into() };
        let picture = picture("wide");
        let made = Faces::load(&host(), &files).and_then(|faces| {
            let face = faces.find(&picture)?.unwrap();
            faces.embed(&picture, &face)
        });
        made.unwrap_err().to_string()
    };
    let size = refusal(&embedder, &embedder);
    assert!(size.contains("none of the sizes"), "{size}");
    let other = refusal(&detector, &detector);
    assert!(other.contains("an output of [392, 1]"), "{other}");
    let none = unit(Path::new("file"), Some(&Tensor::zeros([1, 4]))).unwrap_err().to_string();
    assert!(none.contains("one of length 0"), "{none}");
    let wild = unit(Path::new("file"), Some(&Tensor::new([1, 1], vec![f32::NAN]))).unwrap_err();
    assert!(wild.to_string().contains("one of length NaN"), "{wild}");
}

#[test]
fn a_pack_that_is_missing_is_told_with_how_to_get_it_and_its_licence() {
    let roots = ModelRoots { models: "/nowhere".into(), hub: None };
    for (name, model) in [
        (None, "immich-app/buffalo_l"),
        (Some("antelopev2"), "immich-app/antelopev2"),
        (Some("a/b"), "a/b"),
    ] {
        let errors = FaceFiles::find(name, &roots).err().unwrap();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for (told, file) in told.iter().zip(["detection/model.onnx", "recognition/model.onnx"]) {
            let pull = format!("models pull {model} --file {file}");
            assert!(told.contains(&pull) && told.contains("not commercial"), "{told}");
        }
        assert_eq!(told.len(), 2);
    }
    assert!(FaceFiles::find(Some("../x"), &roots).is_err());
}

/// Plus is given the embedding and, of the face alone, what the image encoder sees.
#[test]
fn plus_looks_at_the_face_with_the_image_encoder_too() {
    let models = tempfile::tempdir().unwrap();
    let test = folder().join("../../../models/test");
    std::os::unix::fs::symlink(&test, models.path().join("test")).unwrap();
    for owner in ["h94", "immich-app"] {
        let own = folder().join("models").join(owner);
        std::os::unix::fs::symlink(own, models.path().join(owner)).unwrap();
    }
    let environment =
        Environment { models_dir: models.path().into(), ..host().environment().clone() };
    let host = Host::detached(environment);
    let image = models.path().join("wide.png");
    picture("wide").save(&image).unwrap();
    let adapter = "h94/IP-Adapter-FaceID/ip-adapter-faceid-plusv2_sd15-tiny.safetensors";
    let values = serde_json::json!({
        "family": "sd15", "image": image, "ipadapter_model_path": adapter, "acceleration": "none",
        "image_encoder_path": "test/image-encoder-tiny",
    });
    let values = values.as_object().unwrap().clone();
    let params = Params::of_lent("faceid", &values, FrameFormat::new(64, 64));
    let networks = networks::load(&host, &params).unwrap();
    let made = networks.tokens(&Wishes::read(&params).unwrap(), &host).unwrap().unwrap();
    assert_eq!(networks.empty().unwrap().shape(), [1, 4, 32]);

    let engine = start(host.environment()).unwrap();
    let folder = test.join("image-encoder-tiny");
    let vision = ClipVision::from_config(&Config::read(&folder.join("config.json")).unwrap());
    let weights = folder.join("model.safetensors");
    let encoder = engine.load(vision.unwrap(), &weights, &mut || true).unwrap();
    let face = Alignment::of(&points("wide")).unwrap().cut_out(&picture("wide"), 32);
    let hidden = encoder.run_all(&[&prepare(&face, 32)]).unwrap().swap_remove(0);
    let path = models.path().join(adapter);
    let projection = ImageProjection::of(&Weights::open(&path).unwrap()).unwrap();
    let projection = engine.load(projection, &path, &mut || true).unwrap();
    let embedding = Tensor::new([1, 512], numbers("wide_embedding"));
    let wanted = projection.run(&[&embedding, &hidden]).unwrap();
    let apart = |one: &Tensor, other: &Tensor| {
        let pairs = one.data().iter().zip(other.data());
        pairs.fold(0.0_f32, |apart, (a, b)| apart.max((a - b).abs()))
    };
    println!("tokens of Plus at most {} apart", apart(&made, &wanted));
    assert!(apart(&made, &wanted) < 0.02);
    let whole = encoder.run_all(&[&prepare(&picture("wide"), 32)]).unwrap().swap_remove(0);
    let other = projection.run(&[&embedding, &whole]).unwrap();
    assert!(apart(&made, &other) > 0.1, "the whole picture is another");
}
