//! The host's side: a plugin library opened, checked and called.

use super::host_context::{HostContext, TextBuffer};
use super::read::{bytes_of, read_bytes, read_versioned};
use crate::abi::*;
use crate::{
    Error, ErrorCode, Formats, Frame, FrameFormat, FrameMut, IMAGE_PROCESSOR_FEATURE, MAX_SIDE,
    Manifest, Outcome, PIPELINE_FEATURE,
};
use std::path::Path;
use std::sync::Arc;

/// The entry symbol of this ABI major.
const ENTRY: &str = "sdh_plugin_entry_0";
/// Greatest error text taken from a plugin, in bytes.
const MAX_ERROR: usize = 4000;

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic linker refused it.
    #[error("the library cannot be opened: {reason}")]
    Open {
        /// What the linker says.
        reason: String,
    },
    /// It is no plugin, or one for another ABI major.
    #[error("the library has no symbol `{ENTRY}`; it is no plugin, or one for another ABI major")]
    NoEntry,
    /// A table is missing, too small or incomplete.
    #[error("the library's tables are not those of ABI 0.1: {what}")]
    Table {
        /// What is wrong.
        what: String,
    },
    /// abi_stable layouts are carried and differ.
    #[error("{what}; rebuild the plugin with this host's plugin-api")]
    Layout {
        /// Which and how.
        what: String,
    },
}

/// An open plugin library. It is never unloaded: threads of its own, thread-local destructors and exit handlers may run
/// its code at any later time.
pub struct Library {
    plugin: SdhPlugin,
    /// None where the plugin has no pipelines.
    pipelines: Option<PipelineFunctions>,
    /// None where it has no image processors, or only names of some.
    processors: Option<PipelineFunctions>,
}

/// A pipeline or an image processor of a plugin, and its params: a JSON object.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The `pipeline` of a claim, or a value contributed as an image processor.
    pub name: &'a str,
    /// A JSON object.
    pub values: &'a str,
    /// The size of the pictures that an image processor is given; none for a pipeline.
    pub input: Option<FrameFormat>,
}

impl<'a> Wanted<'a> {
    /// A pipeline.
    pub const fn pipeline(name: &'a str, values: &'a str) -> Self {
        Self { name, values, input: None }
    }
}

// SAFETY: the tables hold functions that the ABI lets be called from any thread, and pointers to constant bytes.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// `SdhPipelineTable` with all functions present.
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
    formats: unsafe extern "C" fn(*mut SdhStream, *mut SdhFormats) -> i32,
    update: unsafe extern "C" fn(*mut SdhStream, *const SdhParams) -> i32,
    process: unsafe extern "C" fn(*mut SdhStream, *const SdhFrame, *mut SdhFrameMut) -> i32,
}

impl Library {
    /// Opens a library and checks its tables. Its constructors run, so it may do anything to this process.
    pub fn open(path: &Path) -> Result<Arc<Self>, LoadError> {
        // SAFETY: loading runs the library's constructors, which nobody can check. Callers do it in processes that may
        // end; the handle is leaked below, so no code of the library is unmapped while in use.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
            let reason = error_chain(&error);
            LoadError::Open { reason }
        })?;
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        // SAFETY: the symbol's name carries the ABI major, which fixes its type.
        let entry =
            unsafe { library.get::<SdhPluginEntry>(ENTRY) }.map_err(|_| LoadError::NoEntry)?;
        // SAFETY: the entry takes nothing and may be called from any thread.
        let plugin = unsafe { entry() };
        // SAFETY: by the ABI it is null or a static table.
        let plugin = unsafe { read_versioned(plugin.cast_mut(), size_of::<SdhPlugin>()) }
            .map_err(|error| LoadError::Table { what: error.message })?;
        let mut library = Self { plugin, pipelines: None, processors: None };
        library.check()?;
        if library.offers_pipelines() {
            library.pipelines = Some(PipelineFunctions::find(&plugin, PIPELINE_FEATURE)?);
        }
        if !feature(&plugin, IMAGE_PROCESSOR_FEATURE).is_null() {
            library.processors = Some(PipelineFunctions::find(&plugin, IMAGE_PROCESSOR_FEATURE)?);
        }
        Ok(Arc::new(library))
    }

    /// The manifest in the library's table, which has to be the one of its section.
    pub fn manifest(&self) -> &[u8] {
        // SAFETY: by the ABI the bytes are static.
        unsafe { read_bytes(self.plugin.manifest) }.unwrap_or_default()
    }

    /// Whether the image processors that the manifest contributes can be opened.
    pub fn has_processors(&self) -> bool {
        self.processors.is_some()
    }

    /// Asks for a plan; gives the JSON text. `previous` is a JSON object.
    pub fn plan(
        &self,
        host: &HostContext,
        wanted: Wanted<'_>,
        previous: Option<&str>,
    ) -> Result<String, Error> {
        let plan = self.functions(wanted)?.plan;
        let table = host.table();
        let request = SdhPlanRequest {
            size: size_of::<SdhPlanRequest>() as u32,
            reserved: 0,
            pipeline: bytes_of(wanted.name.as_bytes()),
            values: bytes_of(wanted.values.as_bytes()),
            previous: bytes_of(previous.unwrap_or_default().as_bytes()),
            input: to_c(wanted.input),
        };
        let mut answer = TextBuffer::default();
        // SAFETY: all three live during the call.
        let status = unsafe { plan(&table, &request, answer.handle()) };
        self.expect_ok(status)?;
        String::from_utf8(answer.into_bytes()).map_err(|_| Error::new("the plan is not UTF-8"))
    }

    /// Loads a pipeline or an image processor. It keeps `host`, so that its callbacks work as long as it lives.
    pub fn load(
        self: &Arc<Self>,
        host: HostContext,
        wanted: Wanted<'_>,
    ) -> Result<Arc<LoadedPipeline>, Error> {
        let functions = self.functions(wanted)?;
        let table = host.table();
        let mut handle = std::ptr::null_mut();
        // SAFETY: all three live during the call.
        let status = unsafe { (functions.open)(&table, &params(wanted), &mut handle) };
        self.expect_ok(status)?;
        if handle.is_null() {
            return Err(Error::new("open succeeded without a pipeline"));
        }
        Ok(Arc::new(LoadedPipeline { handle, functions, library: self.clone(), _host: host }))
    }

    fn functions(&self, wanted: Wanted<'_>) -> Result<PipelineFunctions, Error> {
        let missing = |what| Error::invalid(format!("this plugin offers no {what} to call"));
        match wanted.input {
            None => self.pipelines.ok_or_else(|| missing("pipelines")),
            Some(_) => self.processors.ok_or_else(|| missing("image processors")),
        }
    }

    /// A manifest that cannot be read is for others to refuse; most plugins have pipelines.
    fn offers_pipelines(&self) -> bool {
        let manifest = Manifest::parse(self.manifest());
        manifest.map_or(true, |manifest| manifest.has_feature(PIPELINE_FEATURE))
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.plugin.abi_major != SDH_ABI_MAJOR {
            let what = format!("the table is for ABI major {}", self.plugin.abi_major);
            return Err(LoadError::Table { what });
        }
        if self.manifest().is_empty() {
            return Err(LoadError::Table { what: "the manifest is empty".into() });
        }
        self.check_layouts()
    }

    #[cfg(feature = "layout")]
    fn check_layouts(&self) -> Result<(), LoadError> {
        let table =
            feature(&self.plugin, crate::layout::FEATURE).cast::<crate::layout::LayoutTable>();
        if table.is_null() {
            return Ok(());
        }
        // SAFETY: a feature's table begins with its size.
        if unsafe { table.cast::<u32>().read() } as usize != size_of::<crate::layout::LayoutTable>()
        {
            let what = "the table of its layouts has an unexpected size".into();
            return Err(LoadError::Layout { what });
        }
        // SAFETY: by the feature's id it is a static table of this type, made by the same version of abi_stable.
        crate::layout::check(unsafe { &*table }).map_err(|what| LoadError::Layout { what })
    }

    #[cfg(not(feature = "layout"))]
    fn check_layouts(&self) -> Result<(), LoadError> {
        Ok(())
    }

    fn expect_ok(&self, status: i32) -> Result<(), Error> {
        match status {
            SDH_OK => Ok(()),
            status if status < 0 => Err(self.error(status)),
            status => Err(Error::new(format!("the plugin returned the unknown status {status}"))),
        }
    }

    /// The plugin's reason for a negative status, on the thread that got it.
    fn error(&self, status: i32) -> Error {
        let code = ErrorCode::from_status(status);
        let text = self.plugin.last_error.map_or(bytes_of(b""), |last_error| {
            // SAFETY: it takes nothing and may be called from any thread.
            unsafe { last_error() }
        });
        // SAFETY: valid until this thread's next call into the plugin.
        let text = unsafe { read_bytes(text) }.unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_ERROR)]);
        let message = match text.is_empty() {
            true => format!("the plugin returned the status {status} without a reason"),
            false => text.into_owned(),
        };
        Error { code, message }
    }
}

impl PipelineFunctions {
    fn find(plugin: &SdhPlugin, id: &str) -> Result<Self, LoadError> {
        let table = feature(plugin, id).cast::<SdhPipelineTable>();
        // SAFETY: by the feature's id it is null or a static table of this type.
        let table = unsafe { read_versioned(table, size_of::<SdhPipelineTable>()) }
            .map_err(|error| LoadError::Table { what: format!("{id}: {}", error.message) })?;
        let missing = |name: &str| LoadError::Table { what: format!("{id}: `{name}` is null") };
        Ok(Self {
            plan: table.plan.ok_or_else(|| missing("plan"))?,
            open: table.open.ok_or_else(|| missing("open"))?,
            close: table.close.ok_or_else(|| missing("close"))?,
            open_stream: table.open_stream.ok_or_else(|| missing("open_stream"))?,
            close_stream: table.close_stream.ok_or_else(|| missing("close_stream"))?,
            formats: table.formats.ok_or_else(|| missing("formats"))?,
            update: table.update.ok_or_else(|| missing("update"))?,
            process: table.process.ok_or_else(|| missing("process"))?,
        })
    }
}

/// Looks a feature's table up; null when there is none.
fn feature(plugin: &SdhPlugin, id: &str) -> *const std::ffi::c_void {
    plugin.get_feature.map_or(std::ptr::null(), |get_feature| {
        // SAFETY: the text is valid during the call, and the function may be called from any thread.
        unsafe { get_feature(bytes_of(id.as_bytes())) }
    })
}

fn params(wanted: Wanted<'_>) -> SdhParams {
    SdhParams {
        size: size_of::<SdhParams>() as u32,
        reserved: 0,
        pipeline: bytes_of(wanted.name.as_bytes()),
        values: bytes_of(wanted.values.as_bytes()),
        input: to_c(wanted.input),
    }
}

fn to_c(format: Option<FrameFormat>) -> SdhFrameFormat {
    let FrameFormat { width, height } = format.unwrap_or_default();
    SdhFrameFormat { width, height }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// An open pipeline or image processor; closed when the last stream and the last owner let go.
pub struct LoadedPipeline {
    handle: *mut SdhPipeline,
    functions: PipelineFunctions,
    library: Arc<Library>,
    _host: HostContext,
}

// SAFETY: the ABI lets a pipeline's functions be called from any thread, also at the same time.
unsafe impl Send for LoadedPipeline {}
// SAFETY: as above.
unsafe impl Sync for LoadedPipeline {}

impl LoadedPipeline {
    /// Opens a stream. The stream keeps `host`, so that its callbacks work as long as it lives.
    pub fn open_stream(
        self: &Arc<Self>,
        host: HostContext,
        wanted: Wanted<'_>,
    ) -> Result<LoadedStream, Error> {
        let table = host.table();
        let params = params(wanted);
        let mut handle = std::ptr::null_mut();
        let open_stream = self.functions.open_stream;
        // SAFETY: the pipeline is open, and all three live during the call.
        let status = unsafe { open_stream(self.handle, &table, &params, &mut handle) };
        self.library.expect_ok(status)?;
        if handle.is_null() {
            return Err(Error::new("open_stream succeeded without a stream"));
        }
        Ok(LoadedStream { handle, pipeline: self.clone(), _host: host })
    }
}

impl Drop for LoadedPipeline {
    fn drop(&mut self) {
        // SAFETY: open, closed once, and no stream is left: each holds an `Arc` of it.
        unsafe { (self.functions.close)(self.handle) }
    }
}

/// An open stream.
pub struct LoadedStream {
    handle: *mut SdhStream,
    pipeline: Arc<LoadedPipeline>,
    _host: HostContext,
}

// SAFETY: the ABI lets a stream move between threads; `&mut self` keeps calls from overlapping.
unsafe impl Send for LoadedStream {}

impl LoadedStream {
    /// What the stream takes and gives.
    pub fn formats(&mut self) -> Result<Formats, Error> {
        let mut formats =
            SdhFormats { size: size_of::<SdhFormats>() as u32, ..SdhFormats::default() };
        // SAFETY: the stream is open, and `formats` lives during the call.
        let status = unsafe { (self.functions().formats)(self.handle, &mut formats) };
        self.pipeline.library.expect_ok(status)?;
        let formats = Formats { input: checked(formats.input)?, output: checked(formats.output)? };
        Ok(formats)
    }

    /// Applies hot params.
    pub fn update(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        // SAFETY: the stream is open, and the params live during the call.
        let status = unsafe { (self.functions().update)(self.handle, &params(wanted)) };
        self.pipeline.library.expect_ok(status)
    }

    /// Makes one output picture from one input picture.
    pub fn process(
        &mut self,
        input: &Frame<'_>,
        output: &mut FrameMut<'_>,
    ) -> Result<Outcome, Error> {
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
        let status = unsafe { (self.functions().process)(self.handle, &source, &mut target) };
        (output.id, output.captured_ns) = (target.id, target.captured_ns);
        match status {
            SDH_SKIPPED => Ok(Outcome::Skipped),
            status => self.pipeline.library.expect_ok(status).map(|()| Outcome::Produced),
        }
    }

    fn functions(&self) -> &PipelineFunctions {
        &self.pipeline.functions
    }
}

impl Drop for LoadedStream {
    fn drop(&mut self) {
        // SAFETY: open, and closed once.
        unsafe { (self.functions().close_stream)(self.handle) }
    }
}

fn checked(format: SdhFrameFormat) -> Result<FrameFormat, Error> {
    let SdhFrameFormat { width, height } = format;
    let sides = 1..=MAX_SIDE;
    if sides.contains(&width) && sides.contains(&height) {
        return Ok(FrameFormat::new(width, height));
    }
    Err(Error::new(format!("the plugin's format is {width}x{height}; sides are 1 to {MAX_SIDE}")))
}
