//! One model in this host and in PyTorch, in turns, so that what else the machine does meets both.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::host::Host;
use tests::libraries::{library, root};

pub const PIPELINE: &str = "streamdiffusion-sd15";
/// How often each is measured; its best counts, as the one that was disturbed least.
const ROUNDS: usize = 2;
/// What both may keep busy.
const THREADS: &str = "2";
/// How PyTorch may lay out pictures in memory: which is faster depends on the model.
const LAYOUTS: [&str; 2] = ["contiguous", "channels-last"];

/// What is measured.
pub struct Subject<'a> {
    pub model: &'a Path,
    /// Instead of the model's own.
    pub vae: Option<&'a Path>,
    pub prompt: &'a str,
    /// Of the square pictures.
    pub side: u32,
    pub seconds: &'a str,
}

/// The best of all rounds; PyTorch's in the layout that is faster there.
pub struct Beside {
    pub own: Measured,
    pub pytorch: Measured,
}

#[derive(Clone, Copy)]
pub struct Measured {
    pub fps: f64,
    pub memory_mb: f64,
    pub peak_memory_mb: f64,
    pub load_seconds: f64,
}

impl Subject<'_> {
    pub fn measure(&self) -> Beside {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!(
            "load average {}; PyTorch suffers more from other programs than this host",
            load.trim()
        );
        let mut own: Option<Measured> = None;
        let mut layouts = LAYOUTS.map(|layout| (layout, None::<Measured>));
        for _ in 0..ROUNDS {
            own = Some(self.own("1").better(own));
            for (layout, best) in &mut layouts {
                *best = Some(self.peer(layout).better(*best));
            }
        }
        let pytorch = layouts.into_iter().filter_map(|(_, best)| best);
        Beside {
            own: own.expect("there are rounds"),
            pytorch: pytorch.reduce(Measured::faster).expect("there are layouts"),
        }
    }

    /// So many streams of the model in this host.
    pub fn own(&self, streams: &str) -> Measured {
        let settings = [("SDH_PLUGINS__THREADS", THREADS.into()), models(self.model)];
        let host = Host::start_with(&[library("sd15")], &settings);
        let params = self.params().to_string();
        let arguments = ["bench", "--pipeline", PIPELINE, "--params", &params, "--json"];
        let amount = ["--seconds", self.seconds, "--streams", streams];
        let text = host.run(&[&arguments[..], &amount].concat());
        Measured::read("this host", &text)
    }

    fn params(&self) -> Value {
        let id = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut params = json!({
            "model_id": id(self.model), "prompt": self.prompt, "t_index_list": [32], "width": self.side, "height": self.side,
            "cfg_type": "none", "use_lcm_lora": false, "acceleration": "none",
        });
        if let Some(vae) = self.vae {
            params["vae_id"] = id(vae).into();
        }
        params
    }

    fn peer(&self, layout: &str) -> Measured {
        let folder = root().join("tests/bench");
        let mut command = python();
        command.arg(folder.join("peer.py")).arg(self.model).args(["--prompt", self.prompt]);
        command.args([
            "--side",
            &self.side.to_string(),
            "--threads",
            THREADS,
            "--seconds",
            self.seconds,
        ]);
        command.args(["--layout", layout]);
        if let Some(vae) = self.vae {
            command.arg("--vae").arg(vae);
        }
        let output = command.stderr(Stdio::inherit()).output().expect("Python starts");
        assert!(output.status.success(), "the peer failed");
        Measured::read(&format!("PyTorch, {layout}"), &String::from_utf8_lossy(&output.stdout))
    }
}

/// The model's folder as the one where the host looks for models.
fn models(model: &Path) -> (&'static str, String) {
    let folder = model.parent().map(PathBuf::from).unwrap_or_default();
    ("SDH_PATHS__MODELS", folder.display().to_string())
}

pub fn python() -> Command {
    let python = root().join("tests/bench/.venv/bin/python");
    assert!(python.exists(), "its packages are not there; `./dev bench` installs them");
    let mut command = Command::new(python);
    command.args(["-W", "ignore"]);
    command
}

impl Measured {
    fn read(whose: &str, text: &str) -> Self {
        println!("{whose}: {}", text.trim_end());
        let figures: Value = serde_json::from_str(text).expect("a line of JSON");
        let figure = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("no {key}"));
        Self {
            fps: figure("fps"),
            memory_mb: figure("memory_mb"),
            peak_memory_mb: figure("peak_memory_mb"),
            load_seconds: figure("load_seconds"),
        }
    }

    fn better(self, than: Option<Self>) -> Self {
        let Some(than) = than else { return self };
        Self {
            fps: self.fps.max(than.fps),
            memory_mb: self.memory_mb.min(than.memory_mb),
            peak_memory_mb: self.peak_memory_mb.min(than.peak_memory_mb),
            load_seconds: self.load_seconds.min(than.load_seconds),
        }
    }

    fn faster(self, other: Self) -> Self {
        if self.fps < other.fps { other } else { self }
    }
}
