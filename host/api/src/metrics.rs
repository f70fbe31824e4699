//! `GET /metrics`: the figures in Prometheus' text format. docs/metrics.md lists them; names and labels are a promise.

use crate::App;
use crate::gpu::GpuFigures;
use crate::ledger::{drops, latencies};
use crate::traffic::Kind;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use host_ports::{LATENCY_BOUNDS_MS, LatencyFigures};
use host_runtime::{Phase, PluginFigures, StreamStatus};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Read the metrics
///
/// Prometheus' text format. Asks for a token of scope `view` where there is one.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub async fn read(State(app): State<App>) -> Response {
    let mut page = Page::default();
    page.family("sdh_build_info", "gauge", "Always 1; the version is in the label.");
    page.sample("sdh_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let statuses = app.runtime.statuses();
    page.family("sdh_streams", "gauge", "Streams that exist.");
    page.sample("sdh_streams", &[], statuses.len());
    streams(&mut page, &statuses);
    plugins(&mut page, &app.runtime.plugin_figures());
    requests(&mut page, &app.traffic.snapshot());
    if let Some(figures) = &*app.config.gpu.borrow() {
        gpu(&mut page, figures);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.text).into_response()
}

/// One figure of each stream: name, kind, help, value.
type OfStream = (&'static str, &'static str, &'static str, fn(&StreamStatus) -> f64);

const OF_STREAM: &[OfStream] = &[
    ("sdh_stream_running", "gauge", "1 while the pipeline takes frames, else 0.", |status| {
        f64::from(u8::from(status.view.phase == Phase::Running))
    }),
    ("sdh_stream_input_frames_per_second", "gauge", "Decoded frames, last 5 s.", |status| {
        status.frames.input_fps
    }),
    ("sdh_stream_output_frames_per_second", "gauge", "Processed frames, last 5 s.", |status| {
        status.frames.output_fps
    }),
    ("sdh_stream_restarts_total", "counter", "Restarts after a failure.", |status| {
        status.restarts as f64
    }),
    ("sdh_stream_received_bytes_total", "counter", "From publishers.", |status| {
        status.ingress.bytes_received as f64
    }),
    ("sdh_stream_sent_bytes_total", "counter", "To viewers.", |status| {
        status.egress.bytes_sent as f64
    }),
    ("sdh_stream_received_packets_total", "counter", "From publishers.", |status| {
        status.ingress.packets_received as f64
    }),
    ("sdh_stream_lost_packets_total", "counter", "On the way from publishers.", |status| {
        status.ingress.packets_lost as f64
    }),
    ("sdh_stream_audio_packets_total", "counter", "Of audio, from publishers.", |status| {
        status.ingress.audio_packets as f64
    }),
    (
        "sdh_stream_dropped_audio_packets_total",
        "counter",
        "Of audio: no packets of their codec, or too many at once.",
        |status| status.ingress.audio_dropped as f64,
    ),
    (
        "sdh_stream_audio_delay_seconds",
        "gauge",
        "How much later than it came audio is heard, in step with the pictures.",
        |status| status.egress.audio_delay.unwrap_or_default().as_secs_f64(),
    ),
    ("sdh_stream_viewers", "gauge", "Sessions that watch.", |status| status.egress.readers as f64),
    ("sdh_stream_event_readers", "gauge", "Connections that follow the events.", |status| {
        status.event_readers as f64
    }),
];

fn streams(page: &mut Page, statuses: &[StreamStatus]) {
    for (name, kind, help, value) in OF_STREAM {
        page.family(name, kind, help);
        for status in statuses {
            page.sample(name, &[("stream", &status.view.id)], value(status));
        }
    }
    page.family("sdh_stream_frames_total", "counter", "Frames that came to a stage.");
    page.family_samples("sdh_stream_frames_total", statuses, |status| {
        let (frames, egress) = (&status.frames, &status.egress);
        vec![
            ("received", frames.received),
            ("processed", frames.processed),
            ("skipped", frames.skipped),
            ("set_aside", frames.set_aside),
            ("encoded", egress.frames_encoded),
        ]
    });
    page.family("sdh_stream_dropped_frames_total", "counter", "Frames that ended at a stage.");
    page.family_samples("sdh_stream_dropped_frames_total", statuses, drops);
    let name = "sdh_stream_latency_seconds";
    page.family(name, "histogram", "How long frames took at a stage.");
    for status in statuses {
        for (stage, figures) in latencies(status) {
            page.histogram(name, [("stream", &status.view.id), ("stage", stage)], figures);
        }
    }
}

/// One figure of each plugin: name, help, value.
type OfPlugin = (&'static str, &'static str, fn(&PluginFigures) -> u64);

const OF_PLUGIN: &[OfPlugin] = &[
    ("sdh_plugin_loads_total", "Pipelines loaded.", |figures| figures.loads),
    ("sdh_plugin_failures_total", "Loads and calls answered with an error.", |figures| {
        figures.failures
    }),
    ("sdh_plugin_crashes_total", "Workers that died, hung or broke the protocol.", |figures| {
        figures.crashes
    }),
];

fn plugins(page: &mut Page, plugins: &BTreeMap<String, PluginFigures>) {
    for (name, help, value) in OF_PLUGIN {
        page.family(name, "counter", help);
        for (plugin, figures) in plugins {
            page.sample(name, &[("plugin", plugin)], value(figures));
        }
    }
}

fn gpu(page: &mut Page, figures: &GpuFigures) {
    let labels = [("name", figures.name.as_str())];
    page.family("sdh_gpu_memory_bytes", "gauge", "Memory of the whole card.");
    page.sample("sdh_gpu_memory_bytes", &labels, figures.memory_total);
    page.family("sdh_gpu_memory_used_bytes", "gauge", "Memory in use, whoever uses it.");
    page.sample("sdh_gpu_memory_used_bytes", &labels, figures.memory_used);
    if let Some(percent) = figures.utilization_percent {
        page.family("sdh_gpu_utilization_ratio", "gauge", "Share of the time it computes, 0 to 1.");
        page.sample("sdh_gpu_utilization_ratio", &labels, f64::from(percent) / 100.0);
    }
}

fn requests(page: &mut Page, counts: &BTreeMap<Kind, u64>) {
    let name = "sdh_http_requests_total";
    page.family(name, "counter", "Requests by method, declared path and status.");
    for (Kind { method, route, status }, count) in counts {
        let status = status.to_string();
        page.sample(name, &[("method", method), ("route", route), ("status", &status)], count);
    }
}

/// Text under construction.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn family_samples(
        &mut self,
        name: &str,
        statuses: &[StreamStatus],
        by_stage: impl Fn(&StreamStatus) -> Vec<(&'static str, u64)>,
    ) {
        for status in statuses {
            for (stage, count) in by_stage(status) {
                self.sample(name, &[("stream", &status.view.id), ("stage", stage)], count);
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: [(&str, &str); 2], figures: &LatencyFigures) {
        let [stream, stage] = labels;
        let bounds = LATENCY_BOUNDS_MS.iter();
        let bounds = bounds.map(|bound| Duration::from_millis(*bound).as_secs_f64().to_string());
        let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
        let mut count = 0;
        for (bound, frames) in bounds.zip(figures.histogram.buckets) {
            count += frames;
            self.sample(&format!("{name}_bucket"), &[stream, stage, ("le", &bound)], count);
        }
        let sum = figures.histogram.sum.as_secs_f64();
        self.sample(&format!("{name}_sum"), &[stream, stage], sum);
        self.sample(&format!("{name}_count"), &[stream, stage], count);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A plugin's id is its author's choice.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_histograms_add_up() {
        let mut page = Page::default();
        page.sample("name", &[("plugin", "a\"b\\c\nd")], 1.5);
        assert_eq!(page.text, "name{plugin=\"a\\\"b\\\\c\\nd\"} 1.5\n");
        let mut figures = LatencyFigures::default();
        figures.histogram.buckets[1] = 2;
        figures.histogram.buckets[12] = 1;
        figures.histogram.sum = Duration::from_millis(2504);
        let mut page = Page::default();
        page.histogram("l", [("stream", "s"), ("stage", "e")], &figures);
        let lines: Vec<_> = page.text.lines().collect();
        assert_eq!(lines[0], "l_bucket{stream=\"s\",stage=\"e\",le=\"0.001\"} 0");
        assert_eq!(lines[1], "l_bucket{stream=\"s\",stage=\"e\",le=\"0.002\"} 2");
        assert_eq!(lines[12], "l_bucket{stream=\"s\",stage=\"e\",le=\"+Inf\"} 3");
        assert_eq!(lines[13], "l_sum{stream=\"s\",stage=\"e\"} 2.504");
        assert_eq!(lines[14], "l_count{stream=\"s\",stage=\"e\"} 3");
    }
}
