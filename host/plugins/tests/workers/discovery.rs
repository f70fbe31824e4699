//! Plugins come and go while the host runs.

use crate::support::{Host, built, compiled, install};
use host_ports::{PipelineCatalog, PlanError, ResolveError};
use serde_json::json;

#[test]
fn a_library_dropped_into_the_folder_is_offered_and_one_removed_is_not() {
    let host = Host::with(&["plugin_faulty"]);
    assert!(matches!(
        host.catalog.resolve("passthrough", None),
        Err(ResolveError::UnknownPipeline { on_offer, .. }) if on_offer == ["faulty"]
    ));
    let file = host.plugins.join("libnew.so");
    install(&built("plugin_passthrough"), &file);
    host.wait_until("the new plugin", |catalog| catalog.resolve("passthrough", None).is_ok());
    let mut stream = host.loaded("passthrough", json!({}));
    let claim = host.claim("passthrough").id;

    std::fs::remove_file(&file).unwrap();
    host.wait_until("its removal", |catalog| catalog.resolve("passthrough", None).is_err());
    stream.expect(1, 1);
    stream.load().unwrap();
    stream.expect(2, 2);
    assert_eq!(
        host.catalog.plan(&claim, None, &stream.params),
        Err(PlanError::Gone { plugin: claim.plugin.clone() })
    );
}

#[test]
fn a_folder_that_is_missing_is_made_and_watched() {
    let place = tempfile::tempdir().unwrap();
    let plugins = place.path().join("not/there/yet");
    let host = Host::over(&plugins, |_| {});
    install(&built("plugin_passthrough"), &plugins.join("libnew.so"));
    host.wait_until("the new plugin", |catalog| catalog.resolve("passthrough", None).is_ok());
}

#[test]
fn a_file_counts_when_it_is_complete() {
    let host = Host::with(&[]);
    let whole = std::fs::read(built("plugin_passthrough")).unwrap();
    let (first, second) = whole.split_at(whole.len() / 2);
    let path = host.plugins.join("libslow.so");
    let mut file = std::fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, first).unwrap();
    // Something else happens meanwhile: the unfinished file is not looked at.
    install(&built("plugin_faulty"), &host.plugins.join("libother.so"));
    host.wait_until("the other plugin", |catalog| catalog.resolve("faulty", None).is_ok());
    assert!(host.report("libslow.so").is_none());
    std::io::Write::write_all(&mut file, second).unwrap();
    drop(file);
    host.wait_until("the slow plugin", |catalog| catalog.resolve("passthrough", None).is_ok());
}

#[test]
fn a_replaced_library_serves_new_streams_and_leaves_running_ones_alone() {
    let host = Host::with(&[]);
    let file = host.plugins.join("libinvert.so");
    compiled("invert.c", &["VERSION=\"1.0.0\""], &file);
    host.wait_until("version 1", |catalog| catalog.resolve("c-invert", None).is_ok());
    let mut old = host.loaded("c-invert", json!({}));
    old.expect(0, 255);

    compiled("invert.c", &["VERSION=\"1.1.0\""], &file);
    host.wait_until("version 1.1", |catalog| {
        catalog.plugins().iter().any(|report| report.version.as_deref() == Some("1.1.0"))
    });
    let mut new = host.loaded("c-invert", json!({ "strength": 0 }));
    assert_ne!(old.pipeline.worker_pid(), new.pipeline.worker_pid());
    old.expect(5, 250);
    new.expect(5, 5);
}

#[test]
fn the_higher_version_of_one_id_is_used() {
    let host = Host::with(&[]);
    compiled("invert.c", &["VERSION=\"1.9.0\""], &host.plugins.join("liba.so"));
    host.wait_until("1.9.0", |catalog| catalog.plugins().len() == 1);
    compiled("invert.c", &["VERSION=\"1.10.0\""], &host.plugins.join("libb.so"));
    host.wait_until("1.10.0", |catalog| catalog.plugins().len() == 2);
    assert_eq!(host.reason("liba.so"), "version 1.10.0 of c-invert in libb.so is used instead");
    std::fs::remove_file(host.plugins.join("libb.so")).unwrap();
    host.wait_until("1.9.0 again", |catalog| catalog.resolve("c-invert", None).is_ok());
}
