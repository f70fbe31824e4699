//! Descriptors that a worker inherits by accident.

use std::io;

/// Closes all descriptors but the standard ones. Only for the start of a worker, before it has opened anything.
pub(crate) fn close_inherited() -> io::Result<()> {
    let numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    // One of the numbers is that of the listing itself, closed already.
    let is_open =
        |number: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    for number in numbers.into_iter().filter(is_open) {
        // SAFETY: whatever is open was opened by libraries of our parent that forgot to mark it; nothing in this young
        // process owns it.
        unsafe { rustix::io::close(number) }
    }
    Ok(())
}
