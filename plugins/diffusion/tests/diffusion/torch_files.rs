//! Weights as torch saves them: read for what they hold, never run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::original::Component;
use plugins_diffusion::stream::Stream;
use plugins_diffusion::weights::Weights;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::streams::{settings, show};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Numbers of a pickle, as torch writes them.
fn int(value: usize) -> Vec<u8> {
    let value = i32::try_from(value).unwrap();
    [&b"J"[..], &value.to_le_bytes()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &values.concat()[..], b"t"].concat()
}

/// What a tensor's entry of a state dict says.
struct Described {
    name: String,
    storage: String,
    kind: &'static str,
    count: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Described {
    fn pickled(&self) -> Vec<u8> {
        let sizes =
            |sizes: &[usize]| tuple(&sizes.iter().map(|&size| int(size)).collect::<Vec<_>>());
        let kind = format!("ctorch\n{}\n", self.kind).into_bytes();
        let count = int(self.count);
        let storage = tuple(&[text("storage"), kind, text(&self.storage), text("cpu"), count]);
        let hooks = b"ccollections\nOrderedDict\n)R".to_vec();
        let arguments = [
            [&storage[..], b"Q"].concat(),
            int(self.offset),
            sizes(&self.shape),
            sizes(&self.strides),
            vec![0x89],
            hooks,
        ];
        let call = b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec();
        [text(&self.name), call, tuple(&arguments), b"R".to_vec()].concat()
    }
}

fn state_dict(tensors: &[Described]) -> Vec<u8> {
    let entries: Vec<u8> = tensors.iter().flat_map(Described::pickled).collect();
    [b"\x80\x02}(", &entries[..], b"u."].concat()
}

/// An archive whose members are stored by `method`, 0 for as they are.
fn zip(members: &[(String, Vec<u8>)], method: u8) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in members {
        let (size, length) = ((data.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        let start = (bytes.len() as u32).to_le_bytes();
        let common =
            [&[0, 0, 0, 0, method, 0][..], &[0; 8], &size, &size, &length, &[0; 2]].concat();
        bytes.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), data].concat());
        directory
            .extend([&b"PK\x01\x02\0\0"[..], &common, &[0; 10], &start, name.as_bytes()].concat());
    }
    let (start, size) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(directory);
    let count = (members.len() as u16).to_le_bytes();
    let end = [
        &b"PK\x05\x06\0\0\0\0"[..],
        &count,
        &count,
        &size.to_le_bytes(),
        &start.to_le_bytes(),
        &[0; 2],
    ];
    bytes.extend(end.concat());
    bytes
}

fn archive(pickle: Vec<u8>, storages: Vec<Vec<u8>>) -> Vec<u8> {
    let storages = storages.into_iter().enumerate();
    let storages = storages.map(|(index, data)| (format!("m/data/{index}"), data));
    let members: Vec<_> =
        std::iter::once(("m/data.pkl".to_owned(), pickle)).chain(storages).collect();
    zip(&members, 0)
}

fn write_as_torch(from: &Path, to: &Path) {
    let bytes = std::fs::read(from).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<_> =
        file.tensors().into_iter().filter(|(_, view)| view.dtype() == Dtype::F32).collect();
    let numbers: Vec<String> = (0..tensors.len()).map(|index| index.to_string()).collect();
    let describe = |(index, (name, view)): (usize, &(String, TensorView<'_>))| {
        let shape = view.shape().to_vec();
        let after = |axis: usize| shape[axis + 1..].iter().product();
        let strides = (0..shape.len()).map(after).collect();
        let (count, storage) = (view.data().len() / 4, numbers[index].clone());
        let kind = "FloatStorage";
        Described { name: name.clone(), storage, kind, count, offset: 0, shape, strides }
    };
    let described: Vec<_> = tensors.iter().enumerate().map(describe).collect();
    let storages = tensors.iter().map(|(_, view)| view.data().to_vec()).collect();
    std::fs::write(to, archive(state_dict(&described), storages)).unwrap();
}

#[test]
fn a_folder_whose_weights_torch_saved_makes_the_pictures_of_the_safetensors_one() {
    let model = root().join("../../models/test/sd15-tiny");
    let place = tempfile::tempdir().unwrap();
    for part in [Component::Unet, Component::TextEncoder, Component::Autoencoder] {
        let (from, to) = (model.join(part.folder()), place.path().join(part.folder()));
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
        let stem = if part == Component::TextEncoder { "pytorch_model" } else { part.stem() };
        let from = from.join(format!("{}.safetensors", part.stem()));
        write_as_torch(&from, &to.join(format!("{stem}.bin")));
    }
    for part in ["tokenizer", "scheduler"] {
        std::os::unix::fs::symlink(
            model.canonicalize().unwrap().join(part),
            place.path().join(part),
        )
        .unwrap();
    }
    for engine in crate::support::engines() {
        let picture = |folder: &Path| {
            let vae = folder.join("vae");
            let loaded = Checkpoint::load(&engine, Parts::new(folder, &vae), &mut |_, _| true);
            let mut stream = Stream::new(Arc::new(loaded.unwrap()), settings(&[20, 40])).unwrap();
            let frame: Vec<u8> = (0..3 * 64 * 64).map(|index| (index / 7) as u8).collect();
            show(&mut stream, &frame, 1).picture.rgb
        };
        assert_eq!(picture(place.path()), picture(&model));
    }
}

#[test]
fn what_torch_wrote_is_read_with_shared_turned_and_short_storages() {
    let weights = Weights::open(&root().join("tests/golden/torch.bin")).unwrap();
    let values =
        |name: &str, shape: &[usize]| weights.read(weights.find(name, shape).unwrap()).unwrap();
    let whole: Vec<f32> = (0..24u8).map(f32::from).collect();
    assert_eq!(values("whole", &[4, 6]), whole);
    assert_eq!(values("tail", &[2, 6]), whole[12..]);
    assert_eq!(values("turned", &[3, 2]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(values("half", &[2]), [1.5, -2.0]);
    assert_eq!(values("brain", &[1, 1]), [3.0]);
    assert_eq!(values("scalar", &[]), [7.0]);
    assert!(weights.find("ids", &[3]).unwrap_err().to_string().contains("I64"));
}

/// What opening a file says.
fn refusal(bytes: &[u8]) -> String {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("weights.bin");
    std::fs::write(&path, bytes).unwrap();
    let message = Weights::open(&path).unwrap_err().to_string();
    assert!(message.contains("weights.bin") && message.len() < 1000, "{message}");
    message
}

#[test]
fn a_pickle_that_wants_more_than_tensors_is_refused_by_what_it_wants() {
    let begin = b"\x80\x02".to_vec();
    let with = |rest: &[u8]| [&begin, rest].concat();
    for (pickle, part) in [
        (with(b"cos\nsystem\nX\x02\0\0\0ls\x85R."), "`os.system`"),
        (with(b"c__builtin__\neval\n."), "`__builtin__.eval`"),
        (with(b"ctorch._utils\n_rebuild_parameter\n."), "`torch._utils._rebuild_parameter`"),
        (with(&[b"c", "x".repeat(100_000).as_bytes(), b"\ny\n."].concat()), "wants to use"),
        (with(b"X\xff\xff\xff\xff."), "names have at most 1024"),
        (with(b"X\xff\x03\0\0."), "ends too early"),
        (with(&[b"}", &b"r\0\0\0\0".repeat(500_000)[..], b"."].concat()), "more than"),
        (with(&[b")", &[0x85; 1_000_000][..], b"."].concat()), "more than"),
        (with(&[b"}q\0", &b"h\0".repeat(500_000)[..], b"."].concat()), "more than"),
        (with(b"}X\x01\0\0\0aK\x01s."), "entry `a` is no tensor"),
        (with(b"}q\0X\x01\0\0\0ah\0s."), "entry `a.a` is no tensor"),
        (with(b"]."), "opcode 0x5d"),
        (with(b"t."), "a mark that is not there"),
        (with(b"h\x05."), "did not keep"),
        (with(b"R."), "not there"),
        (with(b"}(K\x01u."), "no value"),
        (with(b"K\x01."), "no state dict"),
        (with(b"\x8a\xff."), "number of 255 bytes"),
        (with(b"}"), "ends too early"),
        (b"\x80\x04}.".to_vec(), "protocol 4"),
        (with(b"(X\x01\0\0\0aK\x01tQ."), "storage in an unknown way"),
    ] {
        let message = refusal(&archive(pickle, vec![]));
        assert!(message.contains(part), "{part}: {message}");
    }
}

fn eight_floats() -> Described {
    Described {
        name: "a".into(),
        storage: "0".into(),
        kind: "FloatStorage",
        count: 8,
        offset: 0,
        shape: vec![4, 2],
        strides: vec![2, 1],
    }
}

/// Adapters have one for each of their parts.
#[test]
fn dicts_within_a_state_dict_are_read_under_joined_names() {
    let inner = [b"}q\x01(", &eight_floats().pickled()[..], b"u"].concat();
    let outer = [b"\x80\x02}(", &text("part")[..], b"q\x02", &inner, b"u."].concat();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("weights.bin");
    std::fs::write(&path, archive(outer, vec![vec![0; 32]])).unwrap();
    let weights = Weights::open(&path).unwrap();
    assert_eq!(weights.tensors().map(|(name, _)| name).collect::<Vec<_>>(), ["part.a"]);

    let again = b"h\x02h\x01".repeat(20_000);
    let many = [b"\x80\x02}(", &text("part")[..], b"q\x02", &inner, &again, b"u."].concat();
    let message = refusal(&archive(many, vec![vec![0; 32]]));
    assert!(message.contains("more than 16384 tensors"), "{message}");
}

#[test]
fn tensors_that_do_not_lie_where_they_say_are_refused_by_name() {
    let tensor = eight_floats;
    let huge = i32::MAX as usize;
    let file = |tensor: Described| archive(state_dict(&[tensor]), vec![vec![0; 32]]);
    for (tensor, part) in [
        (Described { count: 9, ..tensor() }, "storage of 9 values in 32 bytes"),
        (Described { offset: 1, ..tensor() }, "goes beyond its 8 values"),
        (Described { shape: vec![huge; 8], strides: vec![1; 8], ..tensor() }, "goes beyond"),
        (Described { shape: vec![1; 9], strides: vec![1; 9], ..tensor() }, "up to 8 sizes"),
        (Described { shape: vec![8], ..tensor() }, "with strides"),
        (Described { shape: vec![2, 2], strides: vec![4, 1], ..tensor() }, "in one piece"),
        (Described { storage: "1".into(), ..tensor() }, "no member `m/data/1`"),
        (Described { kind: "StrangeStorage", ..tensor() }, "`torch.StrangeStorage`"),
    ] {
        let message = refusal(&file(tensor));
        assert!(message.contains(part), "{part}: {message}");
    }
    let nothing = Described { shape: vec![0, huge, huge, huge], strides: vec![1; 4], ..tensor() };
    assert!(refusal(&file(nothing)).contains("in one piece"));
}

#[test]
fn archives_that_torch_would_not_write_are_refused() {
    let pickle = state_dict(&[]);
    let whole = archive(pickle.clone(), vec![vec![0; 32]]);
    assert!(refusal(&zip(&[("m/data.pkl".into(), pickle.clone())], 8)).contains("is compressed"));
    assert!(refusal(&zip(&[("data".into(), vec![])], 0)).contains("one member `…/data.pkl`"));
    let twice = [("a/data.pkl".into(), pickle.clone()), ("b/data.pkl".into(), pickle.clone())];
    assert!(refusal(&zip(&twice, 0)).contains("one member"));
    let big = [("m/data.pkl".into(), pickle), ("m/byteorder".into(), b"big".to_vec())];
    assert!(refusal(&zip(&big, 0)).contains("little-endian"));
    assert!(refusal(&whole[..whole.len() - 1]).contains("cut off"));
    let at = whole.len() - 22;
    let end = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        refusal(&changed)
    };
    assert!(end(at + 12, &[0xff; 4]).contains("bytes, 16777216 are taken"));
    assert!(end(at + 16, &[0xff; 4]).contains("beyond the end"));
    assert!(refusal(b"\x80\x02\x8a\x0al\xfc\x9cF").contains("get the safetensors file"));
}

/// Damaged copies of a file of torch's do no harm, whether they are taken or not.
#[test]
fn damaged_files_of_torch_do_no_harm() {
    let whole = std::fs::read(root().join("tests/golden/torch.bin")).unwrap();
    let mut state = 1u64;
    let mut below = |limit: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let place = tempfile::tempdir().unwrap();
    let path: PathBuf = place.path().join("weights.bin");
    let mut taken = 0;
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = [0, 0xff, 0x80, b'.'][below(4)],
                2 => drop(bytes.drain(at..(at + below(16)).min(whole.len() / 2).max(at))),
                _ => bytes.insert(at, below(256) as u8),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let Ok(weights) = Weights::open(&path) else { continue };
        taken += 1;
        for (name, shape) in weights.tensors() {
            if let Ok(place) = weights.find(name, shape) {
                assert_eq!(weights.read(place).unwrap().len(), shape.iter().product::<usize>());
            }
        }
    }
    assert!((100..2900).contains(&taken), "{taken} of 3000 were taken");
}

/// The first bytes of a header's length can be those of a pickle.
#[test]
fn safetensors_files_are_none_of_torchs_whatever_their_length() {
    for length in [0x280usize, 0x380, 0x480, 0x580, 0x10280] {
        let mut header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_vec();
        header.resize(length, b' ');
        let bytes = [&length.to_le_bytes()[..], &header, &1f32.to_le_bytes()].concat();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.read(weights.find("a", &[1]).unwrap()).unwrap(), [1.0]);
    }
}
