//! What TensorRT is told, and what its engines depend on.
//!
//! TensorRT compiles a network for minutes, for sizes that it must know, and what comes of it depends on the card and on
//! its own version. CUDA graphs are not asked for here: ONNX Runtime's TensorRT provider keeps one for a session and
//! replays it whatever is run, while an engine is for batches of several sizes, which change while a stream runs.

use std::path::Path;

use ort::ep::{ExecutionProviderDispatch, TensorRT};

use crate::engines::{Digester, Key};
use crate::nets::{Dim, Port};
use crate::sizes::{Range, Sizes};

/// How TensorRT's own library is called where the process has it in memory, with its version.
const OWN_LIBRARY: &str = "libnvinfer.so";
/// Where the driver lists its cards.
const CARDS: &str = "/proc/driver/nvidia/gpus";
/// How fast each kind of layer is on this machine, which all engines share.
const TIMING: &str = "timing";

/// How a network is compiled.
pub struct Build {
    has_half: bool,
    /// The least, usual and largest sizes of all inputs. Without them they are those of the first run, or fixed.
    profile: Option<[String; 3]>,
    is_kept: bool,
}

impl Build {
    /// Nothing where an input may have any size: that cannot be told to TensorRT.
    pub fn new(inputs: &[Port], sizes: Option<Sizes>, has_half: bool) -> Option<Self> {
        if inputs.iter().any(|port| port.dims.contains(&Dim::Any)) {
            return None;
        }
        let profile = sizes.map(|sizes| {
            let range = |port: &Port| Some((port.name.to_string(), sizes.range(port)?));
            let ranges: Vec<(String, Range)> = inputs.iter().filter_map(range).collect();
            [0, 1, 2].map(|bound| text(&ranges, bound))
        });
        // An engine without a profile is not built before the first run.
        Some(Self { has_half, is_kept: profile.is_some(), profile })
    }

    /// For inputs of one size each; those named here are the ones whose size the file leaves open.
    pub fn exact(open: &[(String, Vec<usize>)], has_half: bool) -> Self {
        let ranges: Vec<(String, Range)> = open
            .iter()
            .map(|(name, size)| (name.clone(), [size.clone(), size.clone(), size.clone()]))
            .collect();
        let profile = (!ranges.is_empty()).then(|| [0, 1, 2].map(|bound| text(&ranges, bound)));
        Self { has_half, profile, is_kept: true }
    }

    /// Whether the engine can be kept.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// What to register. The engine is kept in `entry`, if anywhere, and `engines` has what all builds share.
    pub fn dispatch(&self, engines: &Path, entry: Option<&Path>) -> ExecutionProviderDispatch {
        let mut options = TensorRT::default()
            .with_fp16(self.has_half)
            .with_timing_cache(true)
            .with_timing_cache_path(engines.join(TIMING).display());
        if let Some([least, usual, most]) = &self.profile {
            options = options
                .with_profile_min_shapes(least)
                .with_profile_opt_shapes(usual)
                .with_profile_max_shapes(most);
        }
        if let Some(entry) = entry {
            options = options.with_engine_cache(true).with_engine_cache_path(entry.display());
        }
        options.build().error_on_failure()
    }

    /// The key of the engine for a graph with weights from files and, by their digest, changes made to them.
    pub fn key(
        &self,
        graph: &[u8],
        weights: &[&Path],
        changes: u64,
        library: &Path,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> std::io::Result<Key> {
        let digests = weights.iter().map(|path| Ok(Digester::of_file(path, goes_on)?.1));
        let digests = digests.collect::<std::io::Result<Vec<_>>>()?.join(" ");
        let names: Vec<_> = weights.iter().map(|path| path.display().to_string()).collect();
        let shapes = self.profile.as_ref().map(|profile| profile.join(" to ")).unwrap_or_default();
        let library = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fields = [
            ("provider", "tensorrt".to_owned()),
            ("library", library),
            ("tensorrt", version()),
            ("cards", cards()),
            ("precision", if self.has_half { "fp16" } else { "fp32" }.to_owned()),
            ("shapes", shapes),
            ("graph", Digester::of(graph)),
            ("weights", digests),
            ("loras", format!("{changes:016x}")),
        ];
        Ok(Key::new(names.join(", "), fields))
    }
}

fn text(ranges: &[(String, Range)], bound: usize) -> String {
    let input = |(name, range): &(String, Range)| {
        let sizes: Vec<_> = range[bound].iter().map(usize::to_string).collect();
        format!("{name}:{}", sizes.join("x"))
    };
    ranges.iter().map(input).collect::<Vec<_>>().join(",")
}

/// TensorRT's library as it was loaded with the provider: what one version compiled another does not take.
fn version() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let own = paths.map(Path::new).filter_map(|path| path.file_name()?.to_str());
    own.filter(|name| name.starts_with(OWN_LIBRARY)).max().unwrap_or_default().to_owned()
}

/// The cards' names; an engine for one does not serve another.
fn cards() -> String {
    let folders = std::fs::read_dir(CARDS).into_iter().flatten().flatten();
    let mut names: Vec<_> = folders
        .filter_map(|folder| std::fs::read_to_string(folder.path().join("information")).ok())
        .filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("Model:")?.trim().to_owned().into())
        })
        .collect();
    names.sort();
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").map(|cards| format!(" ({cards})"));
    format!("{}{}", names.join(", "), visible.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::Rows;

    fn build(most: usize) -> Build {
        let ports = [
            Port { name: "sample".into(), dims: ["rows", "height", "width"].map(Dim::Free).into() },
            Port {
                name: "text".into(),
                dims: [Dim::Free("rows"), Dim::Free("tokens"), Dim::Fixed(768)].into(),
            },
        ];
        let rows = Rows { usual: 2, most };
        Build::new(&ports, Some(Sizes { rows, height: 64, width: 96, tokens: 77 }), true).unwrap()
    }

    #[test]
    fn the_profile_names_all_inputs_with_their_sizes() {
        assert_eq!(
            build(4).profile.unwrap(),
            [
                "sample:1x64x96,text:1x77x768",
                "sample:2x64x96,text:2x77x768",
                "sample:4x64x96,text:4x77x768"
            ]
        );
    }

    #[test]
    fn a_network_that_takes_any_size_is_not_compiled() {
        let port = Port { name: "cache".into(), dims: vec![Dim::Free("rows"), Dim::Any] };
        assert!(Build::new(&[port], None, true).is_none());
    }

    #[test]
    fn every_thing_an_engine_depends_on_is_in_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let weights = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (file, same, other) =
            (weights("a", "weights"), weights("b", "weights"), weights("c", "others"));
        let key = |build: &Build, graph: &str, weights: &Path, loras, library: &str| {
            build
                .key(graph.as_bytes(), &[weights], loras, Path::new(library), &mut || true)
                .unwrap()
                .id()
                .to_owned()
        };
        let library = "/any/libonnxruntime.so.1.31.1";
        let whole = key(&build(4), "unet", &file, 0, library);
        assert_eq!(whole, key(&build(4), "unet", &same, 0, "/else/libonnxruntime.so.1.31.1"));
        let full = Build { has_half: false, ..build(4) };
        for changed in [
            key(&build(5), "unet", &file, 0, library),
            key(&full, "unet", &file, 0, library),
            key(&build(4), "decoder", &file, 0, library),
            key(&build(4), "unet", &other, 0, library),
            key(&build(4), "unet", &file, 1, library),
            key(&build(4), "unet", &file, 0, "/any/libonnxruntime.so.1.32.0"),
        ] {
            assert_ne!(whole, changed);
        }
    }
}
