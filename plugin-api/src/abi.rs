//! The C contract between host and plugin: ABI major 0. `include/plugin.h` is generated from this file.
//!
//! A plugin is one dynamic library. It exports the function `sdh_plugin_entry_0`, which returns a static table, and
//! carries its manifest (JSON) in the section `.sdh_manifest`, where the host reads it without running any code.
//!
//! Rules for all tables and structs:
//! - Each begins with its size in bytes. A field exists only if the size covers it: newer versions append fields, and
//!   both sides must read the size before a field that their first version did not have.
//! - Texts are UTF-8 with a length and no terminating zero. A text given to a function is valid during the call only.
//! - Whoever allocates frees: the plugin never frees what the host gave it, nor the other way round.
//! - No function may let a C++ exception or a Rust panic out.
//! - Functions return a status (`SDH_OK` and so on). After a negative one, `last_error` tells why.

use std::ffi::c_void;

/// The ABI's major version; it is part of the entry symbol's name.
pub const SDH_ABI_MAJOR: u32 = 0;
/// The ABI's minor version. Before 1.0 a plugin names the minors it works with in its manifest (`"abi": ">=0.1, <0.2"`).
pub const SDH_ABI_MINOR: u32 = 1;

/// The call succeeded.
pub const SDH_OK: i32 = 0;
/// `process` has no new picture for this frame; the previous output still stands.
pub const SDH_SKIPPED: i32 = 1;
/// The call failed; the object it was made on goes on working.
pub const SDH_FAILED: i32 = -1;
/// An argument or a parameter is not acceptable; the same call will fail again.
pub const SDH_INVALID: i32 = -2;
/// The call was given up because the host asked for it.
pub const SDH_CANCELLED: i32 = -3;
/// The plugin panicked, and the panic was caught.
pub const SDH_PANICKED: i32 = -4;

/// Log level: someone must act.
pub const SDH_LOG_ERROR: u32 = 1;
/// Log level: degraded, still working.
pub const SDH_LOG_WARN: u32 = 2;
/// Log level: a few lines in a stream's whole life.
pub const SDH_LOG_INFO: u32 = 3;
/// Log level: decisions.
pub const SDH_LOG_DEBUG: u32 = 4;

/// Pixel format: packed red, green, blue, 8 bits each, rows from top to bottom. The only one of ABI 0.1.
pub const SDH_RGB8: u32 = 0;

/// Where a tensor lies: host memory. Numbers of devices are those of DLPack; this is the only one of ABI 0.1.
pub const SDH_DEVICE_HOST: u32 = 1;

/// Kind of numbers: floating point. Numbers of kinds are those of DLPack; this one with 32 bits is the only one of ABI 0.1.
pub const SDH_DATA_FLOAT: u8 = 2;

/// Bytes or UTF-8 text: a pointer and a length. `data` may be null when `size` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhBytes {
    /// First byte.
    pub data: *const u8,
    /// Number of bytes.
    pub size: u64,
}

/// Where a function writes a text of any length: opaque, made by the host, filled through `SdhHost::write_text`.
#[repr(C)]
pub struct SdhText {
    _private: [u8; 0],
}

/// Weights and everything else that streams share: opaque, made by the plugin in `open`.
#[repr(C)]
pub struct SdhPipeline {
    _private: [u8; 0],
}

/// What one stream keeps from frame to frame: opaque, made by the plugin in `open_stream`.
#[repr(C)]
pub struct SdhStream {
    _private: [u8; 0],
}

/// What the host offers. A plugin may copy the table; functions and `context` may be used from any thread until the
/// process ends, also after the object they were given for is closed (they do nothing then). The texts in it are valid
/// only during the call that the table is given to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SdhHost {
    /// Size of this table in bytes.
    pub size: u32,
    /// Minor version of the host's ABI.
    pub abi_minor: u32,
    /// To be handed to each function as it is; not a pointer to anything.
    pub context: u64,
    /// Writes a line to the host's log. `level` is `SDH_LOG_ERROR` to `SDH_LOG_DEBUG`.
    pub log: Option<unsafe extern "C" fn(context: u64, level: u32, text: SdhBytes)>,
    /// Tells how far loading is (0 to 1) and what is being done. It is also the sign of life: `open` and `open_stream`
    /// are ended by the host when no call comes for a minute (configurable).
    pub progress: Option<unsafe extern "C" fn(context: u64, fraction: f64, what: SdhBytes)>,
    /// 1 when the host wants the current work given up; return `SDH_CANCELLED` soon.
    pub is_cancelled: Option<unsafe extern "C" fn(context: u64) -> u32>,
    /// Reports a measured value. The name should carry its unit, as in `encode_ms`.
    pub metric: Option<unsafe extern "C" fn(context: u64, name: SdhBytes, value: f64)>,
    /// Appends to a text that the host gave to the current call. `SDH_INVALID` when it grows beyond 64 KiB.
    pub write_text: Option<unsafe extern "C" fn(text: *mut SdhText, bytes: SdhBytes) -> i32>,
    /// Folder of weights (standard hub cache layout or plain folders); read only.
    pub models_dir: SdhBytes,
    /// Folder for what is built from weights and kept between runs.
    pub engines_dir: SdhBytes,
    /// Folder for anything that may be deleted at any time.
    pub cache_dir: SdhBytes,
    /// Threads that the plugin may keep busy, at least 1.
    pub threads: u32,
    /// 0.
    pub reserved: u32,
    /// The table of a feature that other plugins offer to this one, null where there is none. `image-processor/0`,
    /// `residual-conditioner/0` and `token-conditioner/0` give an `SdhPipelineTable` whose `plan`, `open` and `open_stream`
    /// take this host table, and as `SdhParams.pipeline` any name that the stream's params have at a property of the
    /// pipeline's schema with a slot of that feature; the host finds the plugin that has it. Params that its schema does not name are left out.
    /// Their texts are written by the caller's own `write_text`, which it puts into the table that it gives to `plan`.
    /// Whatever is opened has to be closed before the pipeline or stream whose call opened it is. One that fails is
    /// switched off for the stream and refuses all later calls; the host tells the user, and the caller goes on without it.
    pub get_feature: Option<unsafe extern "C" fn(id: SdhBytes) -> *const c_void>,
    /// Why the last call of such a table on this thread returned a negative status. Valid until the thread's next one.
    pub last_error: Option<unsafe extern "C" fn() -> SdhBytes>,
    /// Tells the user of a stream that it works, but not as asked for, and why: a sentence that stands in the `warnings` of the
    /// stream's status with the name of whoever says it, until the same `topic` is given another text, or an empty one as
    /// it does not hold any more, or until what the table was given to is closed. For the table that `open_stream` is given;
    /// with those of `plan` and `open` it is a line in the log. One stream's topics are at most 24, each of up to 256 bytes,
    /// with texts of up to 500; what goes beyond is cut or left out, and control characters become spaces.
    pub notice: Option<unsafe extern "C" fn(context: u64, topic: SdhBytes, text: SdhBytes)>,
}

/// Params of a stream.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SdhParams {
    /// Size of this struct in bytes.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// What is in use: one of the `pipeline` names of the manifest, or a value that it contributes to a slot.
    pub pipeline: SdhBytes,
    /// A JSON object: the effective params, valid by the claim's schema, defaults filled in.
    pub values: SdhBytes,
    /// For what a pipeline opens by name the size of the pictures that it is given. Zeros for a pipeline, which tells it itself.
    pub input: SdhFrameFormat,
    /// For a pipeline the size of output that its `plan` told for these params, which it has to keep to although an image
    /// processor that it counted on is switched off. Zeros for all else, and where no plan was asked.
    pub output: SdhFrameFormat,
}

/// What `plan` is asked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SdhPlanRequest {
    /// Size of this struct in bytes.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// What is in use, as in `SdhParams`.
    pub pipeline: SdhBytes,
    /// A JSON object: the wanted params.
    pub values: SdhBytes,
    /// A JSON object: the params in effect until now. Empty (size 0) for a new stream.
    pub previous: SdhBytes,
    /// As in `SdhParams`.
    pub input: SdhFrameFormat,
}

/// Width and height of frames.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhFrameFormat {
    /// Pixels, 1 to 16384.
    pub width: u32,
    /// Pixels, 1 to 16384.
    pub height: u32,
}

/// What a stream takes and gives.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhFormats {
    /// Size of this struct in bytes, set by the caller.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Frames given to `process`.
    pub input: SdhFrameFormat,
    /// Frames that `process` writes.
    pub output: SdhFrameFormat,
}

/// A picture to read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhFrame {
    /// Size of this struct in bytes.
    pub size: u32,
    /// `SDH_RGB8`.
    pub format: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row to the next, at least `width * 3`. What lies between the rows is undefined.
    pub stride: u64,
    /// First pixel of the top row, in host memory. Valid during the call only.
    pub pixels: *const u8,
    /// Bytes that may be read at `pixels`, at least `stride * (height - 1) + width * 3`.
    pub length: u64,
    /// Counts the publisher's frames, from 1; some may be left out.
    pub id: u64,
    /// When the frame reached the host: nanoseconds of the monotonic clock.
    pub captured_ns: u64,
}

/// A picture to write. `id` and `captured_ns` are set to those of the input frame before the call; a plugin that gives
/// out the picture of an older input sets them to that one's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhFrameMut {
    /// Size of this struct in bytes.
    pub size: u32,
    /// `SDH_RGB8`.
    pub format: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row to the next, at least `width * 3`. What lies between the rows need not be written.
    pub stride: u64,
    /// First pixel of the top row, in host memory. Valid during the call only; its content before the call is undefined.
    pub pixels: *mut u8,
    /// Bytes that may be written at `pixels`, at least `stride * (height - 1) + width * 3`.
    pub length: u64,
    /// The input frame that this picture shows.
    pub id: u64,
    /// When that frame reached the host: nanoseconds of the monotonic clock.
    pub captured_ns: u64,
}

/// The kind of a tensor's numbers, as in DLPack.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhDataType {
    /// `SDH_DATA_FLOAT`.
    pub code: u8,
    /// Bits of one number: 32.
    pub bits: u8,
    /// Numbers that make one element: 1.
    pub lanes: u16,
}

/// A view of numbers that someone else owns, with the fields of DLPack's tensor.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhTensor {
    /// Size of this struct in bytes; in a list it is the distance to the next one.
    pub size: u32,
    /// `SDH_DEVICE_HOST`.
    pub device: u32,
    /// Which of the devices of its kind: 0.
    pub device_id: i32,
    /// Number of axes, at most 8.
    pub axes: u32,
    /// What it is in the call, as in `latents`.
    pub name: SdhBytes,
    /// Kind of its numbers.
    pub data_type: SdhDataType,
    /// 0.
    pub reserved: u32,
    /// Sizes of the axes, the outermost first. May be null without axes.
    pub shape: *const i64,
    /// From one element to the next along each axis, in elements, not negative; null where nothing lies between them.
    pub strides: *const i64,
    /// Memory in which they lie, aligned for its numbers at `byte_offset`.
    pub data: *mut c_void,
    /// From `data` to the first element.
    pub byte_offset: u64,
    /// Bytes that may be read at `data`.
    pub length: u64,
}

/// Tensors that are handed over together.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(abi_stable::StableAbi))]
pub struct SdhTensors {
    /// Size of this struct in bytes.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// The first of them; at most 64.
    pub items: *const SdhTensor,
    /// How many there are.
    pub count: u64,
    /// For whoever made the list.
    pub owner: *mut c_void,
    /// Frees the list and all that it shows, and sets itself, `items` and `owner` to null and `count` to 0. Called once,
    /// from any thread. Null where the list is valid during a call only.
    pub release: Option<unsafe extern "C" fn(tensors: *mut SdhTensors)>,
}

/// The features `pipeline/0`, `image-processor/0`, `residual-conditioner/0` and `token-conditioner/0`. All have this table:
/// the first two take and give frames, by `formats` and `process`; conditioners take and give tensors, by `condition`, and
/// have null for those.
///
/// A pipeline is what a stream runs; it chooses the size of its input. An image processor is a step before or after
/// diffusion, or what makes a ControlNet's picture; it is told the size of its input, which `plan` may refuse, and `process`
/// gives the same `id` and `captured_ns` that it got. A conditioner adds something to a denoising network; what it is given
/// and what it has to answer with is said at the feature in docs/plugin-authors.md.
///
/// Threads: `plan`, `open` and functions on different objects may be called at the same time from any thread; calls on
/// one stream never overlap, and no call on a pipeline or stream comes during or after its close.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SdhPipelineTable {
    /// Size of this table in bytes.
    pub size: u32,
    /// Minor version of the ABI that the plugin was built for.
    pub abi_minor: u32,
    /// Answers what would happen with these params. Pure: the same request gets the same answer, nothing is loaded and
    /// nothing is kept. It writes a JSON object (see `Plan` in docs/plugin-authors.md) to `answer` with
    /// `host->write_text`, and takes milliseconds; the host ends it after 5 s.
    pub plan: Option<
        unsafe extern "C" fn(
            host: *const SdhHost,
            request: *const SdhPlanRequest,
            answer: *mut SdhText,
        ) -> i32,
    >,
    /// Loads weights. May take long, with `host->progress` as the sign of life. Streams whose params differ in hot ones
    /// only share a pipeline, so what depends on hot params belongs to `open_stream`.
    pub open: Option<
        unsafe extern "C" fn(
            host: *const SdhHost,
            params: *const SdhParams,
            pipeline: *mut *mut SdhPipeline,
        ) -> i32,
    >,
    /// Frees a pipeline. All its streams are closed before.
    pub close: Option<unsafe extern "C" fn(pipeline: *mut SdhPipeline)>,
    /// Makes a stream's own state.
    pub open_stream: Option<
        unsafe extern "C" fn(
            pipeline: *mut SdhPipeline,
            host: *const SdhHost,
            params: *const SdhParams,
            stream: *mut *mut SdhStream,
        ) -> i32,
    >,
    /// Frees a stream.
    pub close_stream: Option<unsafe extern "C" fn(stream: *mut SdhStream)>,
    /// Tells what the stream takes and gives. Constant for the stream's life.
    pub formats:
        Option<unsafe extern "C" fn(stream: *mut SdhStream, formats: *mut SdhFormats) -> i32>,
    /// Applies params of which only hot ones changed. The next `process` uses them. On failure the old ones stay.
    pub update:
        Option<unsafe extern "C" fn(stream: *mut SdhStream, params: *const SdhParams) -> i32>,
    /// Makes one output picture from one input picture. `SDH_OK` or `SDH_SKIPPED`, or a negative status.
    pub process: Option<
        unsafe extern "C" fn(
            stream: *mut SdhStream,
            input: *const SdhFrame,
            output: *mut SdhFrameMut,
        ) -> i32,
    >,
    /// For conditioners: answers tensors with tensors. `given` is valid during the call only. `made` comes empty, with its
    /// size set, and is filled where the call succeeds; the caller releases it before the stream is closed.
    pub condition: Option<
        unsafe extern "C" fn(
            stream: *mut SdhStream,
            given: *const SdhTensors,
            made: *mut SdhTensors,
        ) -> i32,
    >,
}

/// What `sdh_plugin_entry_0` returns: a static table.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SdhPlugin {
    /// Size of this table in bytes.
    pub size: u32,
    /// 0.
    pub abi_major: u32,
    /// Minor version of the ABI that the plugin was built for.
    pub abi_minor: u32,
    /// 0.
    pub reserved: u32,
    /// The same bytes as in the section `.sdh_manifest`.
    pub manifest: SdhBytes,
    /// Why the last call on this thread returned a negative status. Valid until this thread's next call into the plugin.
    pub last_error: Option<unsafe extern "C" fn() -> SdhBytes>,
    /// The `SdhPipelineTable` of a feature, null for an unknown one and where what the plugin contributes are mere names.
    pub get_feature: Option<unsafe extern "C" fn(id: SdhBytes) -> *const c_void>,
}

/// The type of the entry symbol `sdh_plugin_entry_0`.
pub type SdhPluginEntry = unsafe extern "C" fn() -> *const SdhPlugin;
