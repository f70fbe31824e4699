//! A frame's way by stages: where frames end and how long they take. Status and metrics tell both alike.

use host_ports::LatencyFigures;
use host_runtime::StreamStatus;

/// Frames dropped so far by stage, in the order of their way. Media counts those without memory among its own.
pub fn drops(status: &StreamStatus) -> Vec<(&'static str, u64)> {
    let drops = &status.frames.drops;
    vec![
        ("decode", status.ingress.frames_dropped.saturating_sub(drops.no_memory)),
        ("memory", drops.no_memory),
        ("late", drops.late),
        ("mailbox", drops.displaced),
        ("process", drops.failed),
        ("encode", status.egress.frames_dropped),
    ]
}

/// The stages of a frame's way, and the whole of it.
pub fn latencies(status: &StreamStatus) -> [(&'static str, &LatencyFigures); 5] {
    let (frames, egress) = (&status.frames, &status.egress);
    [
        ("decode", &frames.decode_latency),
        ("wait", &frames.wait_latency),
        ("process", &frames.process_latency),
        ("encode", &egress.encode_latency),
        ("end_to_end", &egress.end_to_end_latency),
    ]
}
