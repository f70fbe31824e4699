//! The checks.

use crate::Report;
use crate::host::{Notices, cancelling_context, context, stream_context};
use crate::pictures::process;
use object::{Object, ObjectSection};
use plugin_api::loader::{Library, LoadedPipeline, LoadedStream, Wanted};
use plugin_api::{
    Error, ErrorCode, Feature, Formats, FrameFormat, MANIFEST_SECTION, Outcome, Plan,
};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Bytes that rows are longer than they need be, tried one after the other.
const PADDINGS: [usize; 4] = [0, 1, 4, 61];
/// How often a stream is opened and closed.
const REPEATS: usize = 20;

/// A pipeline or image processor of a library and the params to try it with.
pub(crate) struct Subject<'a> {
    pub(crate) library: &'a Arc<Library>,
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Value,
    pub(crate) params: Map<String, Value>,
    /// Of an image processor.
    pub(crate) input: Option<FrameFormat>,
    pub(crate) notices: Arc<Notices>,
}

impl Subject<'_> {
    /// All checks; with a `refusal` those that need no pipeline, and that loading is refused with it.
    pub(crate) fn check(&self, refusal: Option<&str>, report: &mut Report) {
        let mut add =
            |check: &str, outcome| report.add(&format!("{}: {check}", self.name), outcome);
        if self.input.is_none() {
            add("every param says how it applies", self.params_say_how_they_apply());
        }
        add("plan refuses what is no JSON object, with a reason", self.plan_refuses_nonsense());
        let plan = match self.plan(None) {
            Ok(plan) => plan,
            Err(problem) => return add("plan accepts the params", Err(problem)),
        };
        if let Some(input) = self.input {
            add("it takes pictures of the size it is told", takes(input, plan.formats));
        }
        add("plan gives the same answer again, from any thread", self.plan_is_pure(&plan));
        add("unchanged params need no reload", self.unchanged_needs_no_reload());
        if let Some(reason) = refusal {
            return add("loading is refused with a reason", self.loading_is_refused(reason));
        }
        add("loading can be cancelled", self.loading_can_be_cancelled());
        let pipeline = match self.open() {
            Ok(pipeline) => pipeline,
            Err(error) => return add("the pipeline opens", Err(error.message)),
        };
        add(
            "a stream has the planned formats, again and again",
            self.formats_are_as_planned(&pipeline, &plan),
        );
        add(
            "frames of any stride pass, and only the picture is written",
            self.frames_pass(&pipeline, &plan),
        );
        add(
            "frames of a wrong size are refused with a reason",
            self.wrong_sizes_are_refused(&pipeline, &plan),
        );
        add("a refused update changes nothing", self.bad_updates_are_refused(&pipeline, &plan));
        add(
            "streams of one pipeline run at the same time",
            self.streams_run_together(&pipeline, &plan),
        );
        add("what streams tell their users is short text, in one line", self.notices.check());
        drop(pipeline);
        add(
            "the pipeline opens again after it was closed",
            self.open().map(drop).map_err(|error| error.message),
        );
    }

    fn values(&self) -> String {
        Value::Object(self.params.clone()).to_string()
    }

    fn wanted<'b>(&'b self, values: &'b str) -> Wanted<'b> {
        match self.input {
            None => Wanted::pipeline(self.name, values),
            Some(input) => Wanted::lent(Feature::ImageProcessor, self.name, values, input),
        }
    }

    fn plan(&self, previous: Option<&str>) -> Result<Plan, String> {
        let text = self
            .library
            .plan(&context(), self.wanted(&self.values()), previous)
            .map_err(|error| error.message)?;
        let plan: Plan =
            serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))?;
        match plan.errors.is_empty() {
            true => Ok(plan),
            false => Err(format!("the params are refused: {:?}", plan.errors)),
        }
    }

    fn open(&self) -> Result<Arc<LoadedPipeline>, Error> {
        self.library.load(context(), self.wanted(&self.values()))
    }

    fn open_stream(&self, pipeline: &Arc<LoadedPipeline>) -> Result<LoadedStream, String> {
        pipeline
            .open_stream(stream_context(&self.notices), self.wanted(&self.values()))
            .map_err(|error| format!("the stream does not open: {}", error.message))
    }

    fn params_say_how_they_apply(&self) -> Result<(), String> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let apply = property.get("x-apply").and_then(Value::as_str);
            if !matches!(apply, Some("hot" | "reload")) {
                return Err(format!(
                    "`{name}` has the `x-apply` {apply:?}; it must be \"hot\" or \"reload\""
                ));
            }
        }
        Ok(())
    }

    fn plan_refuses_nonsense(&self) -> Result<(), String> {
        for nonsense in ["", "nonsense", "[1]"] {
            let answer = self.library.plan(&context(), self.wanted(nonsense), None);
            refused_with_reason(answer.map(drop), nonsense)?;
        }
        Ok(())
    }

    fn plan_is_pure(&self, first: &Plan) -> Result<(), String> {
        let plans: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| self.plan(None))).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for plan in plans {
            let plan = plan.map_err(|_| "a planning thread panicked")??;
            if plan != *first {
                return Err(format!("first {first:?}, then {plan:?}"));
            }
        }
        Ok(())
    }

    fn unchanged_needs_no_reload(&self) -> Result<(), String> {
        let plan = self.plan(Some(&self.values()))?;
        match plan.reload.is_empty() {
            true => Ok(()),
            false => Err(format!("it wants a reload for {:?}", plan.reload)),
        }
    }

    fn loading_is_refused(&self, reason: &str) -> Result<(), String> {
        match self.open() {
            Ok(_) => Err("the pipeline opens".into()),
            Err(error) if error.message.contains(reason) => Ok(()),
            Err(error) => Err(format!("without {reason:?} in the text: {}", error.message)),
        }
    }

    fn loading_can_be_cancelled(&self) -> Result<(), String> {
        match self.library.load(cancelling_context(), self.wanted(&self.values())) {
            // Too quick to look at the flag.
            Ok(_) => Ok(()),
            Err(error) if error.code == ErrorCode::Cancelled => Ok(()),
            Err(error) => Err(format!("instead of SDH_CANCELLED it says {error:?}")),
        }
    }

    fn formats_are_as_planned(
        &self,
        pipeline: &Arc<LoadedPipeline>,
        plan: &Plan,
    ) -> Result<(), String> {
        for _ in 0..REPEATS {
            let formats = self.open_stream(pipeline)?.formats().map_err(|error| error.message)?;
            if formats != plan.formats {
                return Err(format!("planned {:?}, opened {formats:?}", plan.formats));
            }
        }
        Ok(())
    }

    fn frames_pass(&self, pipeline: &Arc<LoadedPipeline>, plan: &Plan) -> Result<(), String> {
        let mut stream = self.open_stream(pipeline)?;
        for (padding, id) in PADDINGS.into_iter().zip(1..) {
            let made = process(&mut stream, plan.formats, padding, (id, id * 1000))
                .map_err(|error| format!("with {padding} bytes between rows: {}", error.message))?;
            let (shown, captured_ns) = made.source;
            let is_known = (1..=id).contains(&shown) && captured_ns == shown * 1000;
            if made.outcome == Outcome::Produced && !is_known {
                return Err(format!(
                    "frame {id} made a picture of the unknown frame {shown} at {captured_ns} ns"
                ));
            }
        }
        Ok(())
    }

    fn wrong_sizes_are_refused(
        &self,
        pipeline: &Arc<LoadedPipeline>,
        plan: &Plan,
    ) -> Result<(), String> {
        let mut stream = self.open_stream(pipeline)?;
        let Formats { input, output } = plan.formats;
        let smaller = |format: FrameFormat| FrameFormat::new(format.width - 1, format.height);
        for formats in
            [Formats { input: smaller(input), output }, Formats { input, output: smaller(output) }]
        {
            let made = process(&mut stream, formats, 0, (1, 1));
            refused_with_reason(made.map(drop), &format!("{formats:?}"))?;
        }
        process(&mut stream, plan.formats, 0, (1, 1))
            .map(drop)
            .map_err(|error| format!("after a refused frame a good one fails: {}", error.message))
    }

    fn bad_updates_are_refused(
        &self,
        pipeline: &Arc<LoadedPipeline>,
        plan: &Plan,
    ) -> Result<(), String> {
        let mut stream = self.open_stream(pipeline)?;
        for nonsense in ["nonsense", "[1]"] {
            refused_with_reason(stream.update(self.wanted(nonsense)), nonsense)?;
        }
        stream.update(self.wanted(&self.values())).map_err(|error| {
            format!("the params it was opened with are refused: {}", error.message)
        })?;
        process(&mut stream, plan.formats, 0, (1, 1)).map(drop).map_err(|error| error.message)
    }

    fn streams_run_together(
        &self,
        pipeline: &Arc<LoadedPipeline>,
        plan: &Plan,
    ) -> Result<(), String> {
        let run = || {
            let mut stream = self.open_stream(pipeline)?;
            for id in 1..=5 {
                process(&mut stream, plan.formats, 0, (id, id)).map_err(|error| error.message)?;
            }
            Ok::<(), String>(())
        };
        thread::scope(|scope| {
            let threads = [scope.spawn(run), scope.spawn(run)];
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
        })
    }
}

fn takes(input: FrameFormat, formats: Formats) -> Result<(), String> {
    match formats.input == input {
        true => Ok(()),
        false => Err(format!("it is told {input} and takes {}", formats.input)),
    }
}

fn refused_with_reason(outcome: Result<(), Error>, what: &str) -> Result<(), String> {
    match outcome {
        Ok(()) => Err(format!("{what:?} was accepted")),
        Err(error) if error.message.contains("without a reason") => Err(error.message),
        Err(_) => Ok(()),
    }
}

/// The manifest in a library file, found without running its code.
pub(crate) fn manifest_section(library: &Path) -> Result<Vec<u8>, String> {
    let bytes =
        std::fs::read(library).map_err(|error| format!("{}: {error}", library.display()))?;
    let file = object::File::parse(bytes.as_slice()).map_err(|error| error.to_string())?;
    let section =
        file.section_by_name(MANIFEST_SECTION).ok_or("there is no section `.sdh_manifest`")?;
    section.data().map(<[u8]>::to_vec).map_err(|error| error.to_string())
}

/// Zero bytes at the end do not count: C adds one to a text, linkers add some.
pub(crate) fn same_manifest(section: &[u8], table: &[u8]) -> Result<(), String> {
    let trim = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match section[..trim(section)] == table[..trim(table)] {
        true => Ok(()),
        false => Err(format!("the section has {} bytes, the table {}", section.len(), table.len())),
    }
}
