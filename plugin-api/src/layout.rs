//! Layouts of the value structs as abi_stable describes them, for the host to compare with its own.
//!
//! It guards against a library built from a changed copy of this crate, or by a compiler that lays C structs out
//! differently; the tables are guarded by their size fields. abi_stable's own loader is not used: it refuses plugins that
//! are older than the host.

use crate::abi::{SdhBytes, SdhFormats, SdhFrame, SdhFrameMut, SdhTensor, SdhTensors};
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::type_layout::TypeLayout;

/// The feature's id. Layouts can only be compared between equal versions of abi_stable, so its version is in the name.
pub const FEATURE: &str = "abi-stable-layout-0.11/0";

/// The table behind [`FEATURE`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LayoutTable {
    /// Size of this table in bytes.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// `SdhBytes`.
    pub bytes: &'static TypeLayout,
    /// `SdhFormats`.
    pub formats: &'static TypeLayout,
    /// `SdhFrame`.
    pub frame: &'static TypeLayout,
    /// `SdhFrameMut`.
    pub frame_mut: &'static TypeLayout,
    /// `SdhTensor`.
    pub tensor: &'static TypeLayout,
    /// `SdhTensors`.
    pub tensors: &'static TypeLayout,
}

static TABLE: LayoutTable = LayoutTable {
    size: size_of::<LayoutTable>() as u32,
    reserved: 0,
    bytes: SdhBytes::LAYOUT,
    formats: SdhFormats::LAYOUT,
    frame: SdhFrame::LAYOUT,
    frame_mut: SdhFrameMut::LAYOUT,
    tensor: SdhTensor::LAYOUT,
    tensors: SdhTensors::LAYOUT,
};

/// The layouts of this build.
pub fn table() -> *const LayoutTable {
    &TABLE
}

/// Compares another build's layouts with this one's. Ours in theirs, else theirs in ours: either side may be the older
/// one with fewer fields.
pub fn check(theirs: &LayoutTable) -> Result<(), String> {
    let pairs = [
        ("SdhBytes", TABLE.bytes, theirs.bytes),
        ("SdhFormats", TABLE.formats, theirs.formats),
        ("SdhFrame", TABLE.frame, theirs.frame),
        ("SdhFrameMut", TABLE.frame_mut, theirs.frame_mut),
        ("SdhTensor", TABLE.tensor, theirs.tensor),
        ("SdhTensors", TABLE.tensors, theirs.tensors),
    ];
    for (name, ours, theirs) in pairs {
        if let Err(error) = check_layout_compatibility(ours, theirs)
            && check_layout_compatibility(theirs, ours).is_err()
        {
            return Err(format!("the layout of {name} differs: {error}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_agrees_with_itself() {
        assert_eq!(check(&TABLE), Ok(()));
    }

    #[test]
    fn another_layout_is_named() {
        let changed = LayoutTable { frame: SdhFormats::LAYOUT, ..TABLE };
        assert!(check(&changed).unwrap_err().starts_with("the layout of SdhFrame differs"));
    }
}
