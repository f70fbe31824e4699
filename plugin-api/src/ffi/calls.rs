//! Calling the table of a pipeline or an image processor, whoever has it: a library, or the host for other plugins.

use super::read::{bytes_of, read_bytes, read_versioned};
use super::tensors::{LentTensors, Views};
use crate::abi::*;
use crate::{
    Error, ErrorCode, Feature, Formats, Frame, FrameFormat, FrameMut, MAX_SIDE, Outcome, Tensor,
};
use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::Arc;

/// Bytes that every table has.
const TABLE_SIZE: usize = offset_of!(SdhPipelineTable, condition);
/// Greatest text that may be written with `write_text`, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// Greatest error text that is taken, in bytes.
const MAX_ERROR: usize = 4000;

/// The host as those that are called see it.
pub trait HostTable: Send + Sync + 'static {
    /// The table; its texts live as long as `self`, and it writes texts with `write_text` of this module.
    fn table(&self) -> SdhHost;
}

/// What [`write_text`] writes to.
#[derive(Default)]
struct TextBuffer {
    bytes: Vec<u8>,
}

/// The `write_text` of the tables that [`Callee`] gives to those that it calls.
pub(super) unsafe extern "C" fn write_text(text: *mut SdhText, bytes: SdhBytes) -> i32 {
    // SAFETY: the plugin's promise (abi.rs).
    let Ok(bytes) = (unsafe { read_bytes(bytes) }) else { return SDH_INVALID };
    if text.is_null() {
        return SDH_INVALID;
    }
    // SAFETY: by its promise the one who is called hands back the handle that the current call gave it, made in `Callee::plan`.
    let buffer = unsafe { &mut *text.cast::<TextBuffer>() };
    if buffer.bytes.len().saturating_add(bytes.len()) > MAX_TEXT {
        return SDH_INVALID;
    }
    buffer.bytes.extend_from_slice(bytes);
    SDH_OK
}

/// What of a plugin is asked for, and its params: a JSON object.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// What kind of thing it is.
    pub feature: Feature,
    /// The `pipeline` of a claim, or a value contributed to a slot.
    pub name: &'a str,
    /// A JSON object.
    pub values: &'a str,
    /// The size of the pictures that it is given; none for a pipeline.
    pub input: Option<FrameFormat>,
    /// The size of output that a pipeline planned; none for all else.
    pub output: Option<FrameFormat>,
}

impl<'a> Wanted<'a> {
    /// A pipeline.
    pub const fn pipeline(name: &'a str, values: &'a str) -> Self {
        Self { feature: Feature::Pipeline, name, values, input: None, output: None }
    }

    /// What pipelines open by name, for pictures of this size.
    pub const fn lent(
        feature: Feature,
        name: &'a str,
        values: &'a str,
        input: FrameFormat,
    ) -> Self {
        Self { feature, name, values, input: Some(input), output: None }
    }
}

type FormatsFunction = unsafe extern "C" fn(*mut SdhStream, *mut SdhFormats) -> i32;
type ProcessFunction =
    unsafe extern "C" fn(*mut SdhStream, *const SdhFrame, *mut SdhFrameMut) -> i32;
type ConditionFunction =
    unsafe extern "C" fn(*mut SdhStream, *const SdhTensors, *mut SdhTensors) -> i32;

/// `SdhPipelineTable` with all functions present that its feature needs.
#[derive(Clone, Copy)]
struct PipelineFunctions {
    plan: unsafe extern "C" fn(*const SdhHost, *const SdhPlanRequest, *mut SdhText) -> i32,
    open: unsafe extern "C" fn(*const SdhHost, *const SdhParams, *mut *mut SdhPipeline) -> i32,
    close: unsafe extern "C" fn(*mut SdhPipeline),
    open_stream: unsafe extern "C" fn(
        *mut SdhPipeline,
        *const SdhHost,
        *const SdhParams,
        *mut *mut SdhStream,
    ) -> i32,
    close_stream: unsafe extern "C" fn(*mut SdhStream),
    update: unsafe extern "C" fn(*mut SdhStream, *const SdhParams) -> i32,
    work: Work,
}

/// What a stream is for.
#[derive(Clone, Copy)]
enum Work {
    Frames { formats: FormatsFunction, process: ProcessFunction },
    Tensors { condition: ConditionFunction },
}

impl PipelineFunctions {
    /// The functions of a table, or the name of one that is missing.
    fn complete(table: SdhPipelineTable, feature: Feature) -> Result<Self, &'static str> {
        let work = if feature.is_conditioner() {
            Work::Tensors { condition: table.condition.ok_or("condition")? }
        } else {
            Work::Frames {
                formats: table.formats.ok_or("formats")?,
                process: table.process.ok_or("process")?,
            }
        };
        Ok(Self {
            plan: table.plan.ok_or("plan")?,
            open: table.open.ok_or("open")?,
            close: table.close.ok_or("close")?,
            open_stream: table.open_stream.ok_or("open_stream")?,
            close_stream: table.close_stream.ok_or("close_stream")?,
            update: table.update.ok_or("update")?,
            work,
        })
    }
}

/// A table and where it says why a call failed.
#[derive(Clone, Copy)]
pub(crate) struct Callee {
    functions: PipelineFunctions,
    last_error: Option<unsafe extern "C" fn() -> SdhBytes>,
}

/// Finds the table of a feature.
pub(super) type GetFeature = unsafe extern "C" fn(SdhBytes) -> *const c_void;

impl Callee {
    /// Of a feature; none where there is no table. A table that lacks something is an error.
    pub(super) fn find(
        get_feature: Option<GetFeature>,
        last_error: Option<unsafe extern "C" fn() -> SdhBytes>,
        feature: Feature,
    ) -> Result<Option<Self>, String> {
        let id = feature.id();
        let table = get_feature.map_or(std::ptr::null(), |get_feature| {
            // SAFETY: the text is valid during the call, and the function may be called from any thread.
            unsafe { get_feature(bytes_of(id.as_bytes())) }
        });
        if table.is_null() {
            return Ok(None);
        }
        // SAFETY: by the feature's id it is a static table of this type.
        let table = unsafe { read_versioned(table.cast(), TABLE_SIZE) };
        let table = table.map_err(|error| format!("{id}: {}", error.message))?;
        let functions = PipelineFunctions::complete(table, feature)
            .map_err(|name| format!("{id}: `{name}` is null"))?;
        Ok(Some(Self { functions, last_error }))
    }

    /// Asks for a plan; gives the JSON text. `previous` is a JSON object.
    pub(crate) fn plan(
        self,
        host: &dyn HostTable,
        wanted: Wanted<'_>,
        previous: Option<&str>,
    ) -> Result<String, Error> {
        let request = SdhPlanRequest {
            size: size_of::<SdhPlanRequest>() as u32,
            reserved: 0,
            pipeline: bytes_of(wanted.name.as_bytes()),
            values: bytes_of(wanted.values.as_bytes()),
            previous: bytes_of(previous.unwrap_or_default().as_bytes()),
            input: to_c(wanted.input),
        };
        let mut answer = TextBuffer::default();
        let handle = std::ptr::from_mut(&mut answer).cast();
        // SAFETY: all three live during the call.
        let status = unsafe { (self.functions.plan)(&host.table(), &request, handle) };
        self.expect_ok(status)?;
        String::from_utf8(answer.bytes).map_err(|_| Error::new("the plan is not UTF-8"))
    }

    /// Loads a pipeline or an image processor. It keeps `host`, so that callbacks work as long as it lives.
    pub(crate) fn load(
        self,
        host: Box<dyn HostTable>,
        wanted: Wanted<'_>,
    ) -> Result<Arc<LoadedPipeline>, Error> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: all three live during the call.
        let status = unsafe { (self.functions.open)(&host.table(), &params(wanted), &mut handle) };
        self.expect_ok(status)?;
        if handle.is_null() {
            return Err(Error::new("open succeeded without a pipeline"));
        }
        Ok(Arc::new(LoadedPipeline { handle, callee: self, _host: host }))
    }

    fn expect_ok(self, status: i32) -> Result<(), Error> {
        match status {
            SDH_OK => Ok(()),
            status if status < 0 => Err(self.error(status)),
            status => Err(Error::new(format!("the plugin returned the unknown status {status}"))),
        }
    }

    /// The reason for a negative status, on the thread that got it.
    fn error(self, status: i32) -> Error {
        let code = ErrorCode::from_status(status);
        let text = self.last_error.map_or(bytes_of(b""), |last_error| {
            // SAFETY: it takes nothing and may be called from any thread.
            unsafe { last_error() }
        });
        // SAFETY: valid until this thread's next call.
        let text = unsafe { read_bytes(text) }.unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_ERROR)]);
        let message = match text.is_empty() {
            true => format!("the plugin returned the status {status} without a reason"),
            false => text.into_owned(),
        };
        Error { code, message }
    }
}

fn params(wanted: Wanted<'_>) -> SdhParams {
    SdhParams {
        size: size_of::<SdhParams>() as u32,
        reserved: 0,
        pipeline: bytes_of(wanted.name.as_bytes()),
        values: bytes_of(wanted.values.as_bytes()),
        input: to_c(wanted.input),
        output: to_c(wanted.output),
    }
}

fn to_c(format: Option<FrameFormat>) -> SdhFrameFormat {
    let FrameFormat { width, height } = format.unwrap_or_default();
    SdhFrameFormat { width, height }
}

/// An open pipeline or image processor; closed when the last stream and the last owner let go.
pub struct LoadedPipeline {
    handle: *mut SdhPipeline,
    callee: Callee,
    _host: Box<dyn HostTable>,
}

// SAFETY: the ABI lets a pipeline's functions be called from any thread, also at the same time.
unsafe impl Send for LoadedPipeline {}
// SAFETY: as above.
unsafe impl Sync for LoadedPipeline {}

impl LoadedPipeline {
    /// Opens a stream. The stream keeps `host`, so that its callbacks work as long as it lives.
    pub fn open_stream(
        self: &Arc<Self>,
        host: impl HostTable,
        wanted: Wanted<'_>,
    ) -> Result<LoadedStream, Error> {
        let table = host.table();
        let params = params(wanted);
        let mut handle = std::ptr::null_mut();
        let open_stream = self.callee.functions.open_stream;
        // SAFETY: the pipeline is open, and all three live during the call.
        let status = unsafe { open_stream(self.handle, &table, &params, &mut handle) };
        self.callee.expect_ok(status)?;
        if handle.is_null() {
            return Err(Error::new("open_stream succeeded without a stream"));
        }
        Ok(LoadedStream { handle, pipeline: self.clone(), _host: Box::new(host) })
    }
}

impl Drop for LoadedPipeline {
    fn drop(&mut self) {
        // SAFETY: open, closed once, and no stream is left: each holds an `Arc` of it.
        unsafe { (self.callee.functions.close)(self.handle) }
    }
}

/// An open stream.
pub struct LoadedStream {
    handle: *mut SdhStream,
    pipeline: Arc<LoadedPipeline>,
    _host: Box<dyn HostTable>,
}

// SAFETY: the ABI lets a stream move between threads; `&mut self` keeps calls from overlapping.
unsafe impl Send for LoadedStream {}

impl LoadedStream {
    /// What the stream takes and gives.
    pub fn formats(&mut self) -> Result<Formats, Error> {
        let mut formats =
            SdhFormats { size: size_of::<SdhFormats>() as u32, ..SdhFormats::default() };
        let Work::Frames { formats: ask, .. } = self.functions().work else {
            return Err(takes("tensors"));
        };
        // SAFETY: the stream is open, and `formats` lives during the call.
        let status = unsafe { ask(self.handle, &mut formats) };
        self.pipeline.callee.expect_ok(status)?;
        let formats = Formats { input: checked(formats.input)?, output: checked(formats.output)? };
        Ok(formats)
    }

    /// Applies hot params.
    pub fn update(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        // SAFETY: the stream is open, and the params live during the call.
        let status = unsafe { (self.functions().update)(self.handle, &params(wanted)) };
        self.pipeline.callee.expect_ok(status)
    }

    /// Makes one output picture from one input picture.
    pub fn process(
        &mut self,
        input: &Frame<'_>,
        output: &mut FrameMut<'_>,
    ) -> Result<Outcome, Error> {
        let Work::Frames { process, .. } = self.functions().work else {
            return Err(takes("tensors"));
        };
        let source = SdhFrame {
            size: size_of::<SdhFrame>() as u32,
            format: SDH_RGB8,
            width: input.width,
            height: input.height,
            stride: input.stride as u64,
            pixels: input.pixels.as_ptr(),
            length: input.pixels.len() as u64,
            id: input.id,
            captured_ns: input.captured_ns,
        };
        let mut target = SdhFrameMut {
            size: size_of::<SdhFrameMut>() as u32,
            format: SDH_RGB8,
            width: output.width,
            height: output.height,
            stride: output.stride as u64,
            pixels: output.pixels.as_mut_ptr(),
            length: output.pixels.len() as u64,
            id: input.id,
            captured_ns: input.captured_ns,
        };
        // SAFETY: the stream is open; both frames borrow their pixels during the call.
        let status = unsafe { process(self.handle, &source, &mut target) };
        (output.id, output.captured_ns) = (target.id, target.captured_ns);
        match status {
            SDH_SKIPPED => Ok(Outcome::Skipped),
            status => self.pipeline.callee.expect_ok(status).map(|()| Outcome::Produced),
        }
    }

    /// Asks a conditioner. What it made has to be dropped before the stream.
    pub fn condition(&mut self, given: &[Tensor<'_>]) -> Result<LentTensors, Error> {
        let Work::Tensors { condition } = self.functions().work else {
            return Err(takes("frames"));
        };
        let views = Views::of(given);
        let mut made = SdhTensors {
            size: size_of::<SdhTensors>() as u32,
            reserved: 0,
            items: std::ptr::null(),
            count: 0,
            owner: std::ptr::null_mut(),
            release: None,
        };
        // SAFETY: the stream is open, and both lists live during the call.
        let status = unsafe { condition(self.handle, &views.list(), &mut made) };
        self.pipeline.callee.expect_ok(status)?;
        // SAFETY: the call succeeded, so the callee has filled the list.
        unsafe { LentTensors::take(made) }
    }

    fn functions(&self) -> &PipelineFunctions {
        &self.pipeline.callee.functions
    }
}

impl Drop for LoadedStream {
    fn drop(&mut self) {
        // SAFETY: open, and closed once.
        unsafe { (self.functions().close_stream)(self.handle) }
    }
}

fn takes(what: &str) -> Error {
    Error::invalid(format!("it takes {what}, and was asked for something else"))
}

fn checked(format: SdhFrameFormat) -> Result<FrameFormat, Error> {
    let SdhFrameFormat { width, height } = format;
    let sides = 1..=MAX_SIDE;
    if sides.contains(&width) && sides.contains(&height) {
        return Ok(FrameFormat::new(width, height));
    }
    Err(Error::new(format!("the plugin's format is {width}x{height}; sides are 1 to {MAX_SIDE}")))
}
