//! `GET /v1/streams/{id}/status`: one object for two kinds of clients, flat figures beside Daydream's nested ones.

use crate::App;
use crate::errors::ApiError;
use crate::gpu::{GpuFigures, in_mib};
use crate::ledger::{drops, latencies};
use crate::path::Parameters;
use crate::recordings::Recording;
use crate::timestamp::{milliseconds, rfc3339};
use crate::urls::Base;
use crate::wire::{ErrorBody, status_word};
use axum::Json;
use axum::extract::State;
use host_ports::{LatencyFigures, RestreamStats};
use host_runtime::{ChangeError, Phase, PictureReport, PictureState, StreamStatus};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Get a stream's status
///
/// The flat keys at the top and Daydream's under `data`. `gpu_memory_used_mb` (MiB) and `gpu_utilization_percent` are of the
/// whole card, whoever uses it; null without one. Times under `data` are milliseconds since 1970.
/// `warnings` is what was accepted and has no effect, and what the pipeline, or a part of it, tells of its work now.
/// `data.host_status` says where frames were dropped (`drops`), how long each stage of their way takes (`latency`: over the
/// last 5 seconds, `encode` and `end_to_end` while somebody watches), what the last error was and when, and whether viewers
/// have a picture yet. While a model is fetched from the hub, `fetching` says how far that is. `parts_ms` says how long the
/// parts of the pipeline take of a frame, image processors by their names; `switched_off` names those that failed, which the
/// pipeline goes on without, with the reason. `memory_bytes` is what the pipeline takes by its plugin's plan, null where that
/// does not say, and `parts_bytes` how much of it ControlNets and image processors take.
/// `recording` is the recording that goes on, or the last one. `egress.readers` counts WHEP sessions, a recording as one
/// and all players of HLS together as one.
/// `pictures` has an entry for each param that points to a picture: `fetching`, `ready`, or `failed` with `error`, when the
/// pipeline goes on with the one before or none.
/// `restream` says how it stands with `output_rtmp_url`: `connecting`, `live` or `waiting` (for a first frame, or for the next
/// attempt), since when, with the last `error` until the server takes the stream again; null without one.
#[utoipa::path(
    get, path = "/v1/streams/{id}/status", tag = "streams", params(("id" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody))
)]
pub async fn read(
    State(app): State<App>,
    base: Base,
    Parameters(id): Parameters<String>,
) -> Result<Json<Value>, ApiError> {
    let status = app.runtime.status(&id).ok_or_else(|| ChangeError::not_found(&id))?;
    let gpu = app.config.gpu.borrow().clone();
    Ok(Json(to_wire(&status, gpu.as_ref(), &base, SystemTime::now())))
}

fn to_wire(status: &StreamStatus, gpu: Option<&GpuFigures>, base: &Base, now: SystemTime) -> Value {
    let view = &status.view;
    let uptime = status.started_at.map(|start| now.duration_since(start).unwrap_or_default());
    let error = status.last_error.as_ref().filter(|_| view.phase == Phase::Error);
    let error = error.map(|error| &error.message);
    json!({
        "success": true,
        "error": error,
        "id": view.id,
        "status": status_word(view.phase),
        "created_at": view.created_at,
        "started_at": status.started_at.map(rfc3339),
        "uptime_seconds": uptime.map(|uptime| uptime.as_secs_f64()),
        "fps": status.frames.output_fps,
        "frames_processed": status.frames.processed,
        "latency_ms": status.frames.frame_age.map(in_ms),
        "gpu_memory_used_mb": gpu.map(|gpu| in_mib(gpu.memory_used)),
        "gpu_utilization_percent": gpu.and_then(|gpu| gpu.utilization_percent),
        "error_message": status.last_error.as_ref().map(|error| &error.message),
        "warnings": view.warnings,
        "revision": view.revision,
        "data": {
            "stream_id": view.id,
            "request_id": null,
            "pipeline_id": view.pipeline,
            "pipeline": view.pipeline,
            "type": "live-video-to-video",
            "state": status.condition(now).name(),
            "orchestrator_info": { "address": "local", "url": base.join("") },
            "inference_status": inference_status(status),
            "gateway_status": gateway_status(status, base),
            "host_status": host_status(status, base),
        },
    })
}

fn inference_status(status: &StreamStatus) -> Value {
    let (view, frames) = (&status.view, &status.frames);
    json!({
        "pipeline": view.pipeline,
        "stream_id": view.id,
        "start_time": status.started_at.map(milliseconds),
        "last_params": view.params,
        "last_params_hash": view.revision.to_string(),
        "last_params_update_time": status.last_params_update_at.map(milliseconds),
        "input_fps": frames.input_fps,
        "output_fps": frames.output_fps,
        "last_input_time": frames.last_input_at.map(milliseconds),
        "last_output_time": frames.last_output_at.map(milliseconds),
        "restart_count": status.restarts,
        "last_restart_time": status.last_restart_at.map(milliseconds),
        "last_restart_logs": [],
        "last_error": status.last_error.as_ref().map(|error| &error.message),
    })
}

fn gateway_status(status: &StreamStatus, base: &Base) -> Value {
    let (ingress, egress) = (&status.ingress, &status.egress);
    let sent = ingress.packets_received + ingress.packets_lost;
    let loss = if sent == 0 { 0.0 } else { 100.0 * ingress.packets_lost as f64 / sent as f64 };
    let error = status.last_error.as_ref();
    json!({
        "whep_url": base.whep(&status.view.playback_id),
        "error": error.map(|error| json!({
            "error_message": error.message, "error_time": milliseconds(error.at),
        })),
        "ingest_metrics": { "stats": {
            "peer_conn_stats": {
                "ID": status.view.id,
                "BytesReceived": ingress.bytes_received,
                "BytesSent": egress.bytes_sent,
            },
            "conn_quality": if loss > 5.0 { "bad" } else { "good" },
            "track_stats": [{
                "type": "video",
                "jitter": null,
                "packets_lost": ingress.packets_lost,
                "packets_received": ingress.packets_received,
                "packet_loss_pct": loss,
                "rtt": null,
                "warnings": [],
            }],
        }},
    })
}

/// What only this server tells. Frames are counted where they end: before the pipeline (`ingress.frames_dropped`), at it
/// (`frames.dropped`, `skipped`, `set_aside`), and after it (`egress.frames_dropped`).
fn host_status(status: &StreamStatus, base: &Base) -> Value {
    let (frames, ingress, egress) = (&status.frames, &status.ingress, &status.egress);
    json!({
        "plugin": status.plugin,
        "has_picture": status.has_picture,
        "last_error": status.last_error.as_ref().map(|error| json!({
            "message": error.message, "time": milliseconds(error.at),
        })),
        "worker_pid": status.worker_pid,
        "loading": status.loading.as_ref().map(|progress| json!({
            "fraction": progress.fraction, "what": progress.what,
        })),
        "fetching": status.fetching.as_ref().map(|progress| json!({
            "model": progress.model,
            "what": progress.what,
            "bytes_done": progress.bytes_done,
            "bytes_total": Some(progress.bytes_total).filter(|total| *total > 0),
        })),
        "frames": {
            "received": frames.received,
            "dropped": frames.dropped,
            "processed": frames.processed,
            "skipped": frames.skipped,
            "set_aside": frames.set_aside,
            "process_time_ms": frames.process_time.map(in_ms),
            "latency_ms": frames.frame_age.map(in_ms),
            "latency_max_ms": frames.frame_age_max.map(in_ms),
        },
        "switched_off": status.switched_off.iter().map(|off| json!({
            "name": off.name, "plugin": off.plugin, "reason": off.reason,
        })).collect::<Vec<_>>(),
        "pictures": status.pictures.iter().map(picture).collect::<Vec<_>>(),
        "parts_ms": frames.parts_ms,
        "memory_bytes": Some(status.memory_bytes).filter(|bytes| *bytes > 0),
        "parts_bytes": status.parts_bytes,
        "drops": by_stage(drops(status), Value::from),
        "latency": by_stage(latencies(status), latency),
        "recording": status.recording.as_ref().map(|recording| {
            Recording::to_wire(recording, &status.view.id, base)
        }),
        "ingress": {
            "is_publishing": ingress.is_publishing,
            "codec": ingress.codec,
            "frames_decoded": ingress.frames_decoded,
            "frames_dropped": ingress.frames_dropped,
            "audio_codec": ingress.audio_codec,
            "audio_packets": ingress.audio_packets,
            "audio_dropped": ingress.audio_dropped,
        },
        "egress": {
            "readers": egress.readers,
            "codecs": egress.codecs,
            "bitrate_kbps": egress.bitrate_kbps,
            "frames_encoded": egress.frames_encoded,
            "frames_dropped": egress.frames_dropped,
            "key_frames": egress.key_frames,
            "audio_delay_ms": egress.audio_delay.map(in_ms),
            "audio_transcoded": egress.audio_transcoded,
        },
        "restream": status.restream.as_ref().map(restream),
    })
}

fn restream(stats: &RestreamStats) -> Value {
    json!({
        "state": stats.state.name(),
        "since": milliseconds(stats.since),
        "error": stats.error,
        "bytes_sent": stats.bytes_sent,
        "reconnects": stats.reconnects,
    })
}

fn picture(report: &PictureReport) -> Value {
    let (state, error) = match &report.state {
        PictureState::Fetching => ("fetching", None),
        PictureState::Ready => ("ready", None),
        PictureState::Failed { reason } => ("failed", Some(reason)),
    };
    json!({ "field": report.field, "state": state, "error": error })
}

/// By the names of the stages.
fn by_stage<T>(pairs: impl IntoIterator<Item = (&'static str, T)>, value: fn(T) -> Value) -> Value {
    let values = pairs.into_iter().map(|(stage, figure)| (stage.to_owned(), value(figure)));
    Value::Object(values.collect())
}

fn latency(figures: &LatencyFigures) -> Value {
    json!({
        "p50_ms": figures.p50.map(in_ms),
        "p95_ms": figures.p95.map(in_ms),
        "p99_ms": figures.p99.map(in_ms),
        "count": figures.count,
    })
}

fn in_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
