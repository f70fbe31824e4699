//! Pipelines use image processors of other plugins by name; one that fails harms nobody but itself.

use crate::support::{Host, Stream, compiled};
use host_plugins::{Config, Limits};
use host_ports::{PipelineCatalog, PipelineError, SwitchedOff};
use serde_json::{Value, json};
use std::time::Duration;

fn impatient(config: &mut Config) {
    let limit = Duration::from_secs(5);
    config.limits = Limits { frame: limit, load: limit, update: limit, ..config.limits };
    config.limits.close = Duration::from_millis(500);
}

pub(crate) fn host() -> Host {
    Host::configured(&["plugin_faulty", "plugin_processors"], impatient)
}

pub(crate) fn wish(name: &str, params: Value) -> Value {
    json!({ "type": name, "params": params })
}

/// A stream whose pictures go through the processor `faulty`, which paints them.
pub(crate) fn painted(host: &Host, mut params: Value) -> Stream {
    params["mark"] = json!(0x0a_0a_0a);
    host.loaded("faulty", json!({ "processor": wish("faulty", params) }))
}

pub(crate) fn off(stream: &Stream) -> Vec<(&str, &str)> {
    let off = stream.pipeline.switched_off().iter();
    off.map(|SwitchedOff { name, reason, .. }| (name.as_str(), reason.as_str())).collect()
}

#[test]
fn a_pipeline_uses_the_processors_that_its_params_name() {
    let host = host();
    let mut stream = painted(&host, json!({}));
    stream.expect(200, 10);
    let times = stream.pipeline.metrics().iter().map(|metric| metric.name.as_str());
    assert!(times.into_iter().any(|name| name == "faulty_ms"), "{:?}", stream.pipeline.metrics());
    stream.update("processor", wish("faulty", json!({ "mark": 0x14_14_14 }))).unwrap();
    stream.expect(200, 20);
    // Of a library that the worker has not opened yet. What is even stays so when it is blurred.
    stream.update("processor", wish("blur", json!({ "blur_intensity": 3 }))).unwrap();
    stream.expect(200, 200);
    assert!(stream.pipeline.metrics().iter().any(|metric| metric.name == "blur_ms"));
    stream.update("processor", Value::Null).unwrap();
    stream.expect(90, 90);
    assert!(stream.pipeline.metrics().is_empty());
    assert_eq!(off(&stream), []);
}

#[test]
fn a_processor_tells_the_plan_its_sizes_and_what_it_does_not_know() {
    let host = host();
    let claim = host.claim("faulty").id;
    let plan = |processor: Value| {
        let params = json!({ "width": 64, "height": 48, "processor": processor });
        host.catalog.plan(&claim, None, params.as_object().unwrap())
    };
    let larger = plan(wish("upscale", json!({ "scale_factor": 2.0 }))).unwrap();
    assert_eq!((larger.formats.input.width, larger.formats.output.width), (64, 128));
    let warnings = plan(wish("blur", json!({ "radius": 3 }))).unwrap().warnings;
    assert_eq!(
        warnings,
        ["The image processor blur has no param radius; it has blur_intensity, kernel_size."]
    );
    let refused = plan(wish("blur", json!({ "blur_intensity": 99 }))).unwrap_err().to_string();
    assert!(refused.contains("blur_intensity"), "{refused}");
    let missing = plan(wish("hed", json!({}))).unwrap();
    let told = format!("{:?}", missing.unsupported);
    assert!(told.contains("models pull lllyasviel/Annotators --file ControlNetHED.pth"), "{told}");
    let none = plan(wish("feedback", json!({}))).unwrap_err().to_string();
    assert!(none.contains("`feedback` is not offered here"), "{none}");
    let unknown = plan(wish("nobodys", json!({}))).unwrap_err().to_string();
    assert!(unknown.contains("no `nobodys` of an installed plugin"), "{unknown}");
}

#[test]
fn one_that_errs_or_panics_is_switched_off_and_the_stream_goes_on() {
    let host = host();
    for (fault, reason) in [("error", "told to fail"), ("panic", "panicked: told to panic")] {
        for (phase, frames) in [("process", 1), ("open", 0)] {
            let params = json!({ "fault": fault, "phase": phase, "at_frame": 2 });
            let mut stream = painted(&host, params);
            (0..frames).for_each(|_| stream.expect(200, 10));
            stream.expect(200, 200);
            assert_eq!(off(&stream), [("faulty", reason)], "{fault} in {phase}");
            stream.expect(90, 90);
            // Named anew, it gets another chance.
            stream.update("processor", Value::Null).unwrap();
            assert_eq!(off(&stream), []);
            stream.update("processor", wish("faulty", json!({ "mark": 0x1e_1e_1e }))).unwrap();
            stream.expect(90, 30);
        }
    }
}

#[test]
fn one_that_crashes_or_hangs_costs_a_restart_and_comes_back_switched_off() {
    let host = host();
    for fault in ["segfault", "abort", "hang"] {
        let mut stream = painted(&host, json!({ "fault": fault, "at_frame": 2 }));
        stream.expect(200, 10);
        let error = stream.process(200).unwrap_err();
        assert!(error.needs_restart(), "{fault}: {error}");
        assert_eq!(off(&stream), [("faulty", error.to_string().as_str())]);
        stream.load().unwrap();
        stream.expect(200, 200);
        assert_eq!(off(&stream).len(), 1, "{fault}");
    }
    let mut stream = host.stream("faulty", json!({}));
    let params = json!({ "mark": 1, "fault": "abort", "phase": "open" });
    stream.set("processor", wish("faulty", params));
    let died = stream.load().unwrap_err();
    assert!(matches!(&died, PipelineError::Died { .. }), "{died}");
    stream.load().unwrap();
    stream.expect(200, 200);
}

#[test]
fn a_change_that_is_refused_leaves_the_processors_that_were_there() {
    let host = host();
    let mut stream = painted(&host, json!({}));
    stream.set("processor", Value::Null);
    stream.set("phase", "update");
    assert!(stream.update("fault", "error").is_err());
    stream.expect(200, 10);
    assert_eq!(off(&stream), []);
}

#[test]
fn one_whose_plugin_is_gone_is_left_out_and_told_until_it_is_back() {
    let host = host();
    let file = host.plugins.join("swap.so");
    compiled("swap.c", &[], &file);
    host.wait_until("the stranger", |catalog| catalog.plugins().len() == 3);
    let mut stream = host.loaded("faulty", json!({ "processor": wish("swap", json!({})) }));
    stream.expect(200, 200);
    std::fs::remove_file(&file).unwrap();
    host.wait_until("the stranger is gone", |catalog| catalog.plugins().len() == 2);
    stream.expect(90, 90);
    assert_eq!(off(&stream), [], "it is loaded still");
    stream.load().unwrap();
    stream.expect(90, 90);
    assert_eq!(off(&stream), [("swap", "no installed plugin has it")]);
    compiled("swap.c", &[], &file);
    host.wait_until("the stranger is back", |catalog| catalog.plugins().len() == 3);
    stream.load().unwrap();
    assert_eq!(off(&stream), []);
}

#[test]
fn a_crash_outside_of_it_is_none_of_its_faults() {
    let host = host();
    let mut stream = painted(&host, json!({}));
    stream.expect(200, 10);
    stream.update("fault", "abort").unwrap();
    assert!(stream.process(200).unwrap_err().needs_restart());
    assert_eq!(off(&stream), []);
    stream.set("fault", "none");
    stream.load().unwrap();
    stream.expect(200, 10);
}

#[test]
fn streams_share_a_worker_unless_one_uses_a_stranger() {
    let host = host();
    compiled("swap.c", &[], &host.plugins.join("swap.so"));
    host.wait_until("the stranger", |catalog| catalog.plugins().len() == 3);
    let pid = |stream: &Stream| stream.pipeline.worker_pid();
    let plain = host.loaded("faulty", json!({}));
    let blurred = host.loaded("faulty", json!({ "processor": wish("blur", json!({})) }));
    assert_eq!(pid(&plain), pid(&blurred));
    let swapped = json!({ "processor": wish("swap", json!({})) });
    let [one, two] = [(); 2].map(|()| host.loaded("faulty", swapped.clone()));
    assert_eq!(pid(&one), pid(&two));
    assert_ne!(pid(&plain), pid(&one));
    // So a stream that comes to use it is loaded anew.
    let claim = host.claim("faulty").id;
    let reload = |previous: &Value, params: &Value| {
        let [previous, params] = [previous, params].map(|params| params.as_object().unwrap());
        host.catalog.plan(&claim, Some(previous), params).unwrap().reload
    };
    assert_eq!(reload(&json!({}), &swapped), ["processor"]);
    assert_eq!(reload(&swapped, &swapped), [""; 0]);
    assert_eq!(reload(&json!({}), &json!({ "processor": wish("blur", json!({})) })), [""; 0]);
}
