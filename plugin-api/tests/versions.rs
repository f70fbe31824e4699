//! Structs of other versions are read by their size: longer ones are cut, shorter ones refused.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.
#![allow(unsafe_code)]

use plugin_api::abi::{SdhFormats, SdhFrameFormat};
use plugin_api::ffi::read_versioned;

const FORMAT: SdhFrameFormat = SdhFrameFormat { width: 640, height: 360 };

/// What a later version might have made of `SdhFormats`.
#[repr(C)]
struct LaterFormats {
    now: SdhFormats,
    later: u64,
}

fn formats(size: usize) -> SdhFormats {
    SdhFormats { size: size as u32, reserved: 0, input: FORMAT, output: FORMAT }
}

#[test]
fn a_longer_struct_is_read_as_far_as_it_is_known() {
    let longer = LaterFormats { now: formats(size_of::<LaterFormats>()), later: 7 };
    // SAFETY: as long as it says, and alive.
    let read = unsafe { read_versioned(&longer.now, size_of::<SdhFormats>()) }.unwrap();
    assert_eq!((read.input, read.output, longer.later), (FORMAT, FORMAT, 7));
}

#[test]
fn of_a_shorter_struct_only_what_its_size_covers_is_read() {
    let shorter = formats(16);
    // SAFETY: at least as long as it says, and alive.
    let read = unsafe { read_versioned(&shorter, 16) }.unwrap();
    assert_eq!((read.input, read.output), (FORMAT, SdhFrameFormat::default()));
    // SAFETY: as above.
    let refused = unsafe { read_versioned(&shorter, size_of::<SdhFormats>()) }.unwrap_err();
    assert_eq!(refused.message, "SdhFormats has 16 bytes, need 24");
}

#[test]
fn null_is_refused() {
    // SAFETY: null is allowed.
    assert!(unsafe { read_versioned(std::ptr::null::<SdhFormats>(), 8) }.is_err());
}
