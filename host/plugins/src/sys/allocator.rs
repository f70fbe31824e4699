//! How much memory the C library keeps for later.

/// Pools of memory that threads take turns at: enough that threads which run at the same time rarely wait.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FEWEST_POOLS: usize = 4;

/// Bounds the pools of the C library's allocator by what the machine can run at a time. By itself it makes one for each new
/// thread, eight times as many, and keeps some MiB in each for good: streams that come and go would make the process grow.
/// What an operator says of it by glibc's own variables stands. Call it before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn bound_allocator() {
    if ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"].iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let pools = std::thread::available_parallelism().map_or(0, usize::from).max(FEWEST_POOLS);
    let pools = libc::c_int::try_from(pools).unwrap_or(libc::c_int::MAX);
    // SAFETY: sets one number of the allocator under the allocator's own lock. Where it cannot, all stays as it was.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, pools) };
}

/// Other C libraries have no such pools.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn bound_allocator() {}
