//! What cannot be used is listed with the reason, and harms nobody.

use crate::support::{Host, built, compiled};
use host_ports::{PipelineCatalog, PluginState};
use std::time::{Duration, Instant};

#[test]
fn every_unusable_file_is_listed_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let bad = |name: &str, macros: &[&str]| {
        let id = format!("ID=\"{name}\"");
        let macros: Vec<&str> = macros.iter().copied().chain([id.as_str()]).collect();
        compiled("bad.c", &macros, &plugins.join(format!("{name}.so")));
    };
    bad("crash", &["IN_CONSTRUCTOR=*(volatile int *)8 = 1"]);
    bad("abort", &["IN_CONSTRUCTOR=abort()"]);
    bad("exit", &["IN_CONSTRUCTOR=_exit(4)"]);
    bad("hang", &["IN_CONSTRUCTOR=for (;;) pause()"]);
    bad("other-abi", &["ABI=\">=7\""]);
    bad("no-manifest", &["NO_MANIFEST"]);
    bad("no-entry", &["NO_ENTRY"]);
    bad("small-table", &["SMALL_TABLE"]);
    bad("other-manifest", &["OTHER_MANIFEST"]);
    bad("no-feature", &[]);
    bad("Bad-Id", &[]);
    std::fs::write(plugins.join("text.so"), "not a library").unwrap();
    std::fs::write(plugins.join("empty.so"), "").unwrap();
    let whole = std::fs::read(built("plugin_passthrough")).unwrap();
    std::fs::write(plugins.join("truncated.so"), &whole[..whole.len() / 2]).unwrap();
    std::fs::copy(built("plugin_passthrough"), plugins.join("good.so")).unwrap();
    std::fs::write(plugins.join("README.md"), "no plugin").unwrap();

    let host = Host::over(&plugins, |config| config.limits.probe = Duration::from_secs(5));
    for (file, expected) in [
        ("crash.so", "the process that opened it ended with signal 11 (segmentation fault)"),
        ("abort.so", "the process that opened it ended with signal 6 (abort)"),
        ("exit.so", "the process that opened it exited with status 4"),
        ("hang.so", "was not open after 5 s"),
        ("other-abi.so", "works with plugin ABI >=7, this host speaks 0.1.0"),
        ("no-manifest.so", "it has no section .sdh_manifest"),
        ("no-entry.so", "no symbol `sdh_plugin_entry_0`"),
        ("small-table.so", "SdhPlugin has 8 bytes"),
        ("other-manifest.so", "the manifest in its table is not the one in its section"),
        ("no-feature.so", "pipeline/0: SdhPipelineTable is null"),
        ("Bad-Id.so", "the manifest's `id` must be"),
        ("text.so", "it is no shared library, or is damaged"),
        ("empty.so", "it is no shared library, or is damaged"),
        ("truncated.so", "damaged"),
    ] {
        assert!(host.reason(file).contains(expected), "{file}: {}", host.reason(file));
    }
    assert_eq!(host.report("good.so").map(|report| report.state), Some(PluginState::Accepted));
    assert_eq!(host.report("crash.so").and_then(|report| report.id).as_deref(), Some("crash"));
    assert_eq!(host.catalog.plugins().len(), 15);
    assert_eq!(host.catalog.claims().len(), 1);
}

#[test]
fn a_library_is_opened_once_to_try_it_and_the_verdict_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let marks = folder.path().join("marks");
    let mark = format!(
        "IN_CONSTRUCTOR=int f = open(\"{}\", O_CREAT | O_APPEND | O_WRONLY, 0600); _exit(write(f, \"x\", 1) + 3)",
        marks.display()
    );
    compiled("bad.c", &["ID=\"marking\"", &mark], &plugins.join("marking.so"));
    let reasons: Vec<String> =
        (0..2).map(|_| Host::over(&plugins, |_| {}).reason("marking.so")).collect();
    assert!(
        reasons[0].starts_with("the process that opened it exited with status 4"),
        "{}",
        reasons[0]
    );
    assert_eq!(reasons[0], reasons[1]);
    assert_eq!(
        std::fs::read(marks).unwrap(),
        b"x",
        "its constructor ran once, and not in the host"
    );
}

#[test]
fn a_plugin_that_takes_long_to_open_does_not_hold_up_the_start_for_longer_than_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    compiled(
        "bad.c",
        &["ID=\"hang\"", "IN_CONSTRUCTOR=for (;;) pause()"],
        &plugins.join("hang.so"),
    );
    let begun = Instant::now();
    let host = Host::over(&plugins, |config| config.limits.probe = Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(host.reason("hang.so").contains("was not open"));
}
