//! A few GStreamer elements driven directly by the calling thread: no queue, no clock, no other thread on the way.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use std::sync::Mutex;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("GStreamer cannot build `{description}`: {reason}")]
    Build { description: String, reason: String },
    #[error("`{description}` does not start")]
    Start { description: String },
    #[error("`{element}` failed: {reason}")]
    Failed { element: String, reason: String },
    #[error("the elements take no more data: {0}")]
    Refused(#[from] gst::FlowError),
}

/// What comes out of a graph, with its capabilities and its time since the graph's start.
pub(crate) struct Output<'a> {
    pub buffer: gst::Buffer,
    pub caps: &'a gst::CapsRef,
    pub time: gst::ClockTime,
}

pub(crate) struct Graph {
    elements: gst::Bin,
    messages: gst::Bus,
    input: gst::Pad,
    output: gst::Pad,
}

impl Graph {
    /// Builds the elements and readies them for buffers of `caps`. `on_output` is called with all that comes out,
    /// usually by the thread that pushes.
    pub fn start(
        description: &str,
        caps: &gst::Caps,
        on_output: impl FnMut(Output<'_>) + Send + 'static,
    ) -> Result<Self, GraphError> {
        let elements = gst::parse::bin_from_description(description, true).map_err(|error| {
            GraphError::Build { description: description.to_owned(), reason: error.to_string() }
        })?;
        let messages = gst::Bus::new();
        elements.set_bus(Some(&messages));
        let input = gst::Pad::builder(gst::PadDirection::Src).name("input").build();
        // Without a template that takes anything, a pad refuses all but its first capabilities: a picture of another
        // size would break the graph.
        let (sink, always) = (gst::PadDirection::Sink, gst::PadPresence::Always);
        let template = gst::PadTemplate::new("output", sink, always, &gst::Caps::new_any())
            .map_err(|error| GraphError::Build {
                description: description.to_owned(),
                reason: error.to_string(),
            })?;
        let output = output_pad(&template, on_output);
        let graph = Self { elements, messages, input, output };
        graph
            .connect(caps)
            .ok_or_else(|| GraphError::Start { description: description.to_owned() })?;
        Ok(graph)
    }

    fn connect(&self, caps: &gst::Caps) -> Option<()> {
        self.input.link(&self.elements.static_pad("sink")?).ok()?;
        self.elements.static_pad("src")?.link(&self.output).ok()?;
        self.output.set_active(true).ok()?;
        self.input.set_active(true).ok()?;
        self.elements.set_state(gst::State::Playing).ok()?;
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let events = [
            gst::event::StreamStart::new("media"),
            gst::event::Caps::new(caps),
            gst::event::Segment::new(&segment),
        ];
        events.into_iter().all(|event| self.input.push_event(event)).then_some(())
    }

    /// Puts one buffer through the elements.
    pub fn push(&self, buffer: gst::Buffer) -> Result<(), GraphError> {
        let pushed = self.input.push(buffer);
        // An element's own words say more than a flow error does.
        while let Some(message) = self.messages.pop_filtered(&[gst::MessageType::Error]) {
            if let gst::MessageView::Error(error) = message.view() {
                let element =
                    message.src().map(|source| source.name().to_string()).unwrap_or_default();
                return Err(GraphError::Failed { element, reason: error.error().to_string() });
            }
        }
        pushed?;
        Ok(())
    }

    /// Makes the next frame that an encoder is given a key frame.
    pub fn force_key_frame(&self) {
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        self.output.push_event(event);
    }

    pub fn element(&self, name: &str) -> Option<gst::Element> {
        self.elements.by_name(name)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // What lies on the bus names its elements, and they hold the bus: none of them would ever go.
        self.messages.set_flushing(true);
        // Going down cannot fail in a way that anyone could act on.
        let _ = self.input.set_active(false);
        let _ = self.elements.set_state(gst::State::Null);
        let _ = self.output.set_active(false);
    }
}

fn output_pad(
    template: &gst::PadTemplate,
    on_output: impl FnMut(Output<'_>) + Send + 'static,
) -> gst::Pad {
    let on_output = Mutex::new(on_output);
    let take = move |pad: &gst::Pad, _: Option<&gst::Object>, buffer: gst::Buffer| {
        let caps = pad.current_caps().ok_or(gst::FlowError::NotNegotiated)?;
        let time = running_time(pad, &buffer).unwrap_or_default();
        let mut on_output = on_output.lock().map_err(|_| gst::FlowError::Error)?;
        on_output(Output { buffer, caps: &caps, time });
        Ok(gst::FlowSuccess::Ok)
    };
    // Saying that padded planes are understood spares decoders a copy of every frame.
    let answer =
        |pad: &gst::Pad, parent: Option<&gst::Object>, query: &mut gst::QueryRef| match query
            .view_mut()
        {
            gst::QueryViewMut::Allocation(allocation) => {
                allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
                true
            }
            _ => gst::Pad::query_default(pad, parent, query),
        };
    gst::Pad::builder_from_template(template)
        .name("output")
        .chain_function(take)
        .query_function(answer)
        .build()
}

/// x264enc shifts its time stamps by 1000 hours and says so in the segment: only the running time can be used.
fn running_time(pad: &gst::Pad, buffer: &gst::Buffer) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    event.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts())
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
