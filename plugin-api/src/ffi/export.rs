//! The plugin's side: C functions around a Rust [`Plugin`], and the macro that exports them.

use super::frames::{read_frame, read_frame_mut};
use super::host_calls::{read_host, write_text};
use super::read::{bytes_of, read_text, read_versioned};
use super::tensors::{self, read_tensors};
use crate::abi::*;
use crate::{
    Error, ErrorCode, Feature, FrameFormat, MAX_SIDE, Outcome, Params, Pipeline, PlanRequest,
    Plugin, Stream,
};
use serde_json::{Map, Value};
use std::any::Any;
use std::cell::RefCell;
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Makes the library that this crate is built into a plugin.
///
/// The manifest is a constant text, usually `include_str!("../manifest.json")`. One library exports one plugin, which may
/// have pipelines, and things that pipelines open by name: `image_processors = MyProcessors`,
/// `residual_conditioners = MyControlNets`, `token_conditioners = MyAdapters`. Without a type it offers nothing to call and
/// only contributes to the schemas of others:
///
/// ```
/// plugin_api::export_plugin!(
///     manifest = r#"{
///         "id": "tints", "vendor": "example", "version": "1.0.0", "abi": ">=0.1, <0.2",
///         "features": ["image-processor/0"], "license": "MIT", "description": "Tints pictures.",
///         "contributes": [{ "slot": "image-processor", "items": [{ "value": "tint" }] }]
///     }"#
/// );
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_plugin {
    (manifest = $manifest:expr $(,)?) => {
        $crate::export_plugin!(@export [], $manifest);
    };
    ($name:ident = $plugin:ty, $($rest:tt)*) => {
        $crate::export_plugin!(@list [$crate::export_plugin!(@entry $name $plugin)], $($rest)*);
    };
    ($pipelines:ty, $($rest:tt)*) => {
        $crate::export_plugin!(@list [$crate::export_plugin!(@entry pipelines $pipelines)], $($rest)*);
    };
    (@list [$($entry:expr),*], manifest = $manifest:expr $(,)?) => {
        $crate::export_plugin!(@export [$($entry),*], $manifest);
    };
    (@list [$($entry:expr),*], $name:ident = $plugin:ty, $($rest:tt)*) => {
        $crate::export_plugin!(
            @list [$($entry,)* $crate::export_plugin!(@entry $name $plugin)], $($rest)*
        );
    };
    (@entry pipelines $plugin:ty) => {
        ($crate::Feature::Pipeline, $crate::ffi::pipeline_table::<$plugin>())
    };
    (@entry image_processors $plugin:ty) => {
        ($crate::Feature::ImageProcessor, $crate::ffi::pipeline_table::<$plugin>())
    };
    (@entry residual_conditioners $plugin:ty) => {
        ($crate::Feature::ResidualConditioner, $crate::ffi::conditioner_table::<$plugin>())
    };
    (@entry token_conditioners $plugin:ty) => {
        ($crate::Feature::TokenConditioner, $crate::ffi::conditioner_table::<$plugin>())
    };
    (@export [$($entry:expr),*], $manifest:expr) => {
        const _: () = {
        use $crate::ffi;
        const MANIFEST: &str = $manifest;
        static TABLES: &[($crate::Feature, ffi::abi::SdhPipelineTable)] = &[$($entry),*];

        #[used]
        #[unsafe(link_section = ".sdh_manifest")]
        static SECTION: [u8; MANIFEST.len()] = ffi::copy_manifest(MANIFEST);
        static PLUGIN: ffi::SharedTable = ffi::plugin_table(&SECTION, get_feature);

        unsafe extern "C" fn get_feature(id: ffi::abi::SdhBytes) -> *const ::std::ffi::c_void {
            // SAFETY: the host gives a text that is valid during the call.
            unsafe { ffi::find_feature(id, TABLES) }
        }

        #[unsafe(no_mangle)]
        extern "C" fn sdh_plugin_entry_0() -> *const ffi::abi::SdhPlugin {
            PLUGIN.get()
        }
        };
    };
}

/// A plugin table in a static.
pub struct SharedTable(SdhPlugin);

// SAFETY: the table is never written, and what it points to are functions and static bytes.
unsafe impl Sync for SharedTable {}

impl SharedTable {
    /// The table.
    pub const fn get(&'static self) -> *const SdhPlugin {
        &self.0
    }
}

/// The bytes of a text as an array, which a section needs.
pub const fn copy_manifest<const N: usize>(manifest: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(manifest.as_bytes());
    bytes
}

/// The table behind the entry symbol.
pub const fn plugin_table(
    manifest: &'static [u8],
    get_feature: unsafe extern "C" fn(SdhBytes) -> *const std::ffi::c_void,
) -> SharedTable {
    SharedTable(SdhPlugin {
        size: size_of::<SdhPlugin>() as u32,
        abi_major: SDH_ABI_MAJOR,
        abi_minor: SDH_ABI_MINOR,
        reserved: 0,
        manifest: bytes_of(manifest),
        last_error: Some(last_error),
        get_feature: Some(get_feature),
    })
}

/// The table of pipelines or image processors for a plugin.
pub const fn pipeline_table<P: Plugin>() -> SdhPipelineTable {
    SdhPipelineTable {
        size: size_of::<SdhPipelineTable>() as u32,
        abi_minor: SDH_ABI_MINOR,
        plan: Some(plan::<P>),
        open: Some(open::<P>),
        close: Some(close::<P>),
        open_stream: Some(open_stream::<P>),
        close_stream: Some(close_stream::<P>),
        formats: Some(formats::<P>),
        update: Some(update::<P>),
        process: Some(process::<P>),
        condition: None,
    }
}

/// The table of conditioners for a plugin.
pub const fn conditioner_table<P: Plugin>() -> SdhPipelineTable {
    SdhPipelineTable {
        formats: None,
        process: None,
        condition: Some(condition::<P>),
        ..pipeline_table::<P>()
    }
}

/// Looks a feature up.
///
/// # Safety
/// `id` is a text that is valid during the call.
pub unsafe fn find_feature(
    id: SdhBytes,
    tables: &'static [(Feature, SdhPipelineTable)],
) -> *const std::ffi::c_void {
    // SAFETY: the caller's promise.
    let Ok(wanted) = (unsafe { read_text(id) }) else { return std::ptr::null() };
    #[cfg(feature = "layout")]
    if wanted == crate::layout::FEATURE {
        return crate::layout::table().cast();
    }
    let found = tables.iter().find(|(feature, _)| feature.id() == wanted);
    found.map_or(std::ptr::null(), |(_, table)| std::ptr::from_ref(table).cast())
}

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Why the last call on this thread failed.
pub extern "C" fn last_error() -> SdhBytes {
    let text = LAST_ERROR.try_with(|last| bytes_of(last.borrow().as_bytes()));
    text.unwrap_or(bytes_of(b""))
}

/// Runs the body of a C function: keeps panics in, turns errors into a status and remembers their text.
fn guard(body: impl FnOnce() -> Result<i32, Error>) -> i32 {
    let result =
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panic_error(panic)));
    match result {
        Ok(status) => status,
        Err(error) => {
            // A thread that is being torn down has no last error any more; the status still tells the kind.
            let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = error.message);
            error.code.status()
        }
    }
}

fn panic_error(panic: Box<dyn Any + Send>) -> Error {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "no message".to_owned(),
    };
    // Dropping a payload of the plugin's own type could panic again.
    std::mem::forget(panic);
    Error { code: ErrorCode::Panicked, message: format!("panicked: {text}") }
}

fn parse_values(text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(|error| Error::invalid(format!("params: {error}")))
}

/// Reads params and lends them to `body`.
///
/// # Safety
/// `params` is null or points to valid params.
unsafe fn with_params<T>(
    params: *const SdhParams,
    body: impl FnOnce(&Params<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    // SAFETY: the caller's promise.
    let params = unsafe { read_versioned(params, offset_of!(SdhParams, input)) }?;
    // SAFETY: the caller's promise.
    let pipeline = unsafe { read_text(params.pipeline) }?;
    // SAFETY: the caller's promise.
    let values = parse_values(unsafe { read_text(params.values) }?)?;
    let [input, output] = [read_format(params.input)?, read_format(params.output)?];
    body(&Params { pipeline, values: &values, input, output })
}

/// A size that is told; none where both sides are 0.
fn read_format(format: SdhFrameFormat) -> Result<Option<FrameFormat>, Error> {
    let SdhFrameFormat { width, height } = format;
    let sides = 1..=MAX_SIDE;
    match (width, height) {
        (0, 0) => Ok(None),
        _ if sides.contains(&width) && sides.contains(&height) => {
            Ok(Some(FrameFormat::new(width, height)))
        }
        _ => Err(Error::invalid(format!(
            "pictures of {width}x{height} are told; sides are 1 to {MAX_SIDE}"
        ))),
    }
}

/// Gives an object to the caller, who gives it back to a close function.
///
/// # Safety
/// `out` is valid for writing.
unsafe fn hand_out<T, Handle>(object: T, out: *mut *mut Handle) {
    // SAFETY: the caller's promise.
    unsafe { out.write(Box::into_raw(Box::new(object)).cast()) }
}

fn not_null<T>(pointer: *mut T, name: &str) -> Result<*mut T, Error> {
    if pointer.is_null() { Err(Error::invalid(format!("{name} is null"))) } else { Ok(pointer) }
}

unsafe extern "C" fn plan<P: Plugin>(
    host: *const SdhHost,
    request: *const SdhPlanRequest,
    answer: *mut SdhText,
) -> i32 {
    guard(|| {
        // SAFETY: the host's promise (abi.rs).
        let lent = unsafe { read_host(host) }?;
        // SAFETY: the host's promise.
        let request = unsafe { read_versioned(request, offset_of!(SdhPlanRequest, input)) }?;
        // SAFETY: the host's promise.
        let pipeline = unsafe { read_text(request.pipeline) }?;
        // SAFETY: the host's promise.
        let values = parse_values(unsafe { read_text(request.values) }?)?;
        // SAFETY: the host's promise.
        let previous = match unsafe { read_text(request.previous) }? {
            "" => None,
            text => Some(parse_values(text)?),
        };
        let plan = P::plan(&PlanRequest {
            params: Params {
                pipeline,
                values: &values,
                input: read_format(request.input)?,
                output: None,
            },
            previous: previous.as_ref(),
            host: &lent,
        })?;
        // SAFETY: both belong to this call.
        unsafe { write_text(host, answer, &serde_json::to_string(&plan)?) }?;
        Ok(SDH_OK)
    })
}

unsafe extern "C" fn open<P: Plugin>(
    host: *const SdhHost,
    params: *const SdhParams,
    pipeline: *mut *mut SdhPipeline,
) -> i32 {
    guard(|| {
        let out = not_null(pipeline, "pipeline")?;
        // SAFETY: the host's promise (abi.rs).
        let host = unsafe { read_host(host) }?;
        // SAFETY: the host's promise.
        let pipeline = unsafe { with_params(params, |params| P::open(&host, params)) }?;
        // SAFETY: not null, and the host's promise.
        unsafe { hand_out(pipeline, out) };
        Ok(SDH_OK)
    })
}

unsafe extern "C" fn close<P: Plugin>(pipeline: *mut SdhPipeline) {
    guard(|| {
        let pipeline = not_null(pipeline, "pipeline")?.cast::<P::Pipeline>();
        // SAFETY: made by `hand_out` in `open`, and closed once.
        drop(unsafe { Box::from_raw(pipeline) });
        Ok(SDH_OK)
    });
}

unsafe extern "C" fn open_stream<P: Plugin>(
    pipeline: *mut SdhPipeline,
    host: *const SdhHost,
    params: *const SdhParams,
    stream: *mut *mut SdhStream,
) -> i32 {
    guard(|| {
        let out = not_null(stream, "stream")?;
        let pipeline = not_null(pipeline, "pipeline")?.cast::<P::Pipeline>();
        // SAFETY: made by `hand_out` in `open` and not closed; pipelines are `Sync`, so many may be lent at once.
        let pipeline = unsafe { &*pipeline };
        // SAFETY: the host's promise (abi.rs).
        let host = unsafe { read_host(host) }?;
        // SAFETY: the host's promise.
        let stream = unsafe { with_params(params, |params| pipeline.open_stream(&host, params)) }?;
        // SAFETY: not null, and the host's promise.
        unsafe { hand_out(stream, out) };
        Ok(SDH_OK)
    })
}

unsafe extern "C" fn close_stream<P: Plugin>(stream: *mut SdhStream) {
    guard(|| {
        let stream = not_null(stream, "stream")?.cast::<StreamOf<P>>();
        // SAFETY: made by `hand_out` in `open_stream`, and closed once.
        drop(unsafe { Box::from_raw(stream) });
        Ok(SDH_OK)
    });
}

type StreamOf<P> = <<P as Plugin>::Pipeline as Pipeline>::Stream;

/// Borrows a stream.
///
/// # Safety
/// `stream` is null or was made by `open_stream::<P>`, is not closed, and nobody else uses it during the call.
unsafe fn borrow_stream<'a, P: Plugin>(
    stream: *mut SdhStream,
) -> Result<&'a mut StreamOf<P>, Error> {
    let stream = not_null(stream, "stream")?.cast::<StreamOf<P>>();
    // SAFETY: the caller's promise.
    Ok(unsafe { &mut *stream })
}

unsafe extern "C" fn formats<P: Plugin>(stream: *mut SdhStream, formats: *mut SdhFormats) -> i32 {
    guard(|| {
        // SAFETY: the host's promise (abi.rs).
        let stream = unsafe { borrow_stream::<P>(stream) }?;
        // SAFETY: the host's promise.
        unsafe { read_versioned(formats.cast_const(), size_of::<SdhFormats>()) }?;
        let told = stream.formats();
        let to_c =
            |format: FrameFormat| SdhFrameFormat { width: format.width, height: format.height };
        let written = SdhFormats {
            size: size_of::<SdhFormats>() as u32,
            reserved: 0,
            input: to_c(told.input),
            output: to_c(told.output),
        };
        // SAFETY: not null and long enough, as just read.
        unsafe { formats.write(written) };
        Ok(SDH_OK)
    })
}

unsafe extern "C" fn update<P: Plugin>(stream: *mut SdhStream, params: *const SdhParams) -> i32 {
    guard(|| {
        // SAFETY: the host's promise (abi.rs).
        let stream = unsafe { borrow_stream::<P>(stream) }?;
        // SAFETY: the host's promise.
        unsafe { with_params(params, |params| stream.update(params)) }?;
        Ok(SDH_OK)
    })
}

unsafe extern "C" fn process<P: Plugin>(
    stream: *mut SdhStream,
    input: *const SdhFrame,
    output: *mut SdhFrameMut,
) -> i32 {
    guard(|| {
        // SAFETY: the host's promise (abi.rs).
        let stream = unsafe { borrow_stream::<P>(stream) }?;
        let formats = stream.formats();
        // SAFETY: the host's promise.
        let input = unsafe { read_frame(input, formats.input) }?;
        // SAFETY: the host's promise.
        let mut picture = unsafe { read_frame_mut(output, formats.output) }?;
        let outcome = stream.process(&input, &mut picture)?;
        let (id, captured_ns) = (picture.id, picture.captured_ns);
        // SAFETY: `read_frame_mut` found it long enough; the host's promise.
        let output = unsafe { &mut *output };
        (output.id, output.captured_ns) = (id, captured_ns);
        Ok(match outcome {
            Outcome::Produced => SDH_OK,
            Outcome::Skipped => SDH_SKIPPED,
        })
    })
}

unsafe extern "C" fn condition<P: Plugin>(
    stream: *mut SdhStream,
    given: *const SdhTensors,
    made: *mut SdhTensors,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise (abi.rs).
        let stream = unsafe { borrow_stream::<P>(stream) }?;
        // SAFETY: the caller's promise; the tensors are borrowed for this call only.
        let given = unsafe { read_tensors(given) }?;
        // SAFETY: the caller's promise.
        unsafe { read_versioned(made.cast_const(), size_of::<SdhTensors>()) }?;
        let conditions = stream.condition(&given)?;
        // SAFETY: not null and long enough, as just read.
        unsafe { made.write(tensors::hand_out(conditions)) };
        Ok(SDH_OK)
    })
}
