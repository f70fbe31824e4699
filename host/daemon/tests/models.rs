//! `streamdiffusion-host models` against a stand-in of the hub: pulled, listed, removed.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::settings;
use tempfile::TempDir;
use test_hub::{COMMIT, End, Repo, StandIn};

fn models(folder: &TempDir, hub: &StandIn, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_streamdiffusion-host"))
        .arg("models")
        .args(arguments)
        .envs(settings(folder))
        .env("HOME", folder.path())
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_HUB_CACHE", folder.path().join("hub"))
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("SSL_CERT_FILE")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn pipeline() -> Repo {
    let files = [
        ("model_index.json", r#"{"unet": ["diffusers", "UNet2DConditionModel"]}"#),
        ("unet/config.json", "{}"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "half of the weights"),
        ("unet/diffusion_pytorch_model.safetensors", "all of the weights"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into();
    Repo { id: "org/name".into(), files }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_model_is_pulled_listed_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub =
        StandIn::start(pipeline(), |seen, right| match seen.is_transfer() && seen.earlier == 0 {
            true => right.ending(End::Cut(7)),
            false => right,
        });
    let pulled = models(&folder, &hub, &["pull", "org/name"]);
    let told = text(&pulled.stderr);
    assert!(pulled.status.success(), "{told}");
    assert!(told.contains("next try in") && told.contains("org/name: 3 files, 68 B"), "{told}");
    let cached = folder.path().join("hub/models--org--name");
    let snapshot = cached.join("snapshots").join(COMMIT);
    assert_eq!(text(&pulled.stdout), format!("{}\n", snapshot.display()));
    assert_eq!(hub.transfers(), [None, Some(7)]);
    assert_eq!(fs::read_to_string(cached.join("refs/main")).expect("a ref"), COMMIT);
    let weights = snapshot.join("unet/diffusion_pytorch_model.fp16.safetensors");
    assert_eq!(fs::read_to_string(weights).expect("a link"), "half of the weights");
    assert!(!snapshot.join("unet/diffusion_pytorch_model.safetensors").exists());

    fs::create_dir_all(folder.path().join("models/own")).expect("a folder");
    fs::write(folder.path().join("models/own/config.json"), "{}").expect("a file");
    let listed = text(&models(&folder, &hub, &["list"]).stdout);
    let lines: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..], ["org/name", "108", "B", "cache", "complete"]);
    assert_eq!(lines[1][..], ["own", "2", "B", "models", "incomplete:", "no", ".safetensors"]);

    let asked = models(&folder, &hub, &["rm", "org/name"]);
    assert!(!asked.status.success() && text(&asked.stderr).contains("--yes"), "{asked:?}");
    assert!(Path::new(&cached).exists());
    let removed = models(&folder, &hub, &["rm", "org/name", "--yes"]);
    assert!(
        removed.status.success() && text(&removed.stdout).starts_with("deleted org/name, 108 B")
    );
    assert!(!cached.exists());
    let own = models(&folder, &hub, &["rm", "own", "--yes"]);
    assert!(text(&own.stderr).contains("deleted by hand"), "{own:?}");
    assert!(folder.path().join("models/own/config.json").exists());
}

#[test]
fn full_precision_is_asked_for_and_failures_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = StandIn::start(pipeline(), |_, right| right);
    let pulled = models(&folder, &hub, &["pull", "org/name", "--full", "--revision", "v1"]);
    let told = text(&pulled.stderr);
    assert!(pulled.status.success() && told.contains("its model_id is the folder"), "{told}");
    let snapshot = folder.path().join("hub/models--org--name/snapshots").join(COMMIT);
    let weights = snapshot.join("unet/diffusion_pytorch_model.safetensors");
    assert_eq!(fs::read_to_string(weights).expect("a link"), "all of the weights");
    let refs = folder.path().join("hub/models--org--name/refs");
    assert!(refs.join("v1").exists() && !refs.join("main").exists());

    let absent = models(&folder, &hub, &["pull", "org/other"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("no model `org/other`"), "{absent:?}");
    let bad = models(&folder, &hub, &["pull", "../name"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("is not a model id"), "{bad:?}");
}
