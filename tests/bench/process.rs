//! What a process holds, as the kernel counts it.

use std::fs;

/// Resident memory in KiB, open descriptors, threads.
#[derive(Clone, Copy, Debug)]
pub struct Holdings {
    pub memory_kib: u64,
    pub descriptors: usize,
    pub threads: usize,
}

pub fn holdings(pid: u64) -> Holdings {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let count =
        |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, Iterator::count);
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|rest| rest.split_whitespace().next());
    Holdings {
        memory_kib: memory.and_then(|text| text.parse().ok()).unwrap_or(0),
        descriptors: count("fd"),
        threads: count("task"),
    }
}
