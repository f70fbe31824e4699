//! The contract between `streamdiffusion-host` and its pipeline plugins.
//!
//! A plugin is one dynamic library behind a small C ABI ([`abi`], `include/plugin.h`). Authors who write Rust implement
//! [`Plugin`], [`Pipeline`] and [`Stream`] and call [`export_plugin`]; the SDK deals with the C side, catches panics at
//! every entry and checks what comes in. `docs/plugin-authors.md` leads from an empty folder to a running plugin.
//!
//! The host uses the same crate for [`Manifest`] and [`abi`]; how libraries are found, loaded and kept apart is its own
//! affair.

pub mod abi;
mod error;
mod feature;
mod fetched;
#[allow(unsafe_code)]
pub mod ffi;
mod frame;
mod host;
#[cfg(feature = "layout")]
pub mod layout;
mod manifest;
mod plan;
mod sdk;
mod tensor;

/// Opening plugin libraries and calling them, as the host's workers and the testkit do.
#[cfg(feature = "loader")]
pub mod loader {
    pub use crate::ffi::{
        Callbacks, HostContext, HostTable, Lendable, Library, LoadError, LoadedPipeline,
        LoadedStream, Said, Wanted,
    };
}

pub use error::{Error, ErrorCode};
pub use feature::Feature;
pub use ffi::{Conditioner, Conditions, LentTensors, Processor};
pub use frame::{Formats, Frame, FrameFormat, FrameMut, MAX_SIDE, PIXEL_BYTES};
pub use host::{Host, LogLevel, MAX_NOTICE_TEXT, MAX_NOTICE_TOPIC, MAX_NOTICES};
pub use manifest::{
    ABI_VERSION, ANY_VALUE, Alias, Choice, Claim, Contribution, IMAGE_PROCESSOR_SLOT,
    MANIFEST_SECTION, Manifest, ManifestError,
};
pub use plan::{Artefact, FieldError, Graft, Plan, Unsupported};
pub use sdk::{Environment, Outcome, Params, Pipeline, PlanRequest, Plugin, Stream};
pub use tensor::{MAX_AXES, MAX_VALUES, Tensor};

// The guide's examples are compiled with the crate's own.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugin-authors.md")]
mod authors_guide {}
