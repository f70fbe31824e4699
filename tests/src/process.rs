//! What a process holds, as the kernel counts it.

use std::fs;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Holdings {
    /// Resident.
    pub memory_kib: u64,
    /// Files, sockets and shared memory that are open.
    pub descriptors: usize,
    pub threads: usize,
}

pub fn holdings(pid: u64) -> Holdings {
    let count =
        |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, Iterator::count);
    Holdings {
        memory_kib: of_status(pid, "VmRSS:"),
        descriptors: count("fd"),
        threads: count("task"),
    }
}

/// Processor time that a process has used, its children left out.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name before may have blanks in it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks =
        fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok());
    // A tick is a hundredth of a second on every Linux that this runs on.
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Pieces of shared memory that a process has mapped.
pub fn shared_memory(pid: u64) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

/// How many processes a process has started that have not ended.
pub fn children(pid: u64) -> usize {
    numbers_of_children(pid).len()
}

/// One of them, by how the name of its program begins.
pub fn child_named(pid: u64, beginning: &str) -> Option<u64> {
    numbers_of_children(pid).into_iter().find(|child| {
        let name = fs::read_to_string(format!("/proc/{child}/comm"));
        name.is_ok_and(|name| name.starts_with(beginning))
    })
}

fn numbers_of_children(pid: u64) -> Vec<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

/// The most that a process ever had resident, in KiB.
pub fn peak_memory(pid: u64) -> u64 {
    of_status(pid, "VmHWM:")
}

fn of_status(pid: u64, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {key} in {status}"))
}
