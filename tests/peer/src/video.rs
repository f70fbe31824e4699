//! Encoded test pictures, and a look at what came back.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use std::sync::Arc;
use str0m::media::MediaData;

/// Codecs the client can send and receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    H264,
    Vp8,
    Vp9,
    H265,
}

/// Encoded frames, the first a key frame.
pub struct Clip {
    pub codec: Codec,
    pub frames: Vec<Arc<[u8]>>,
    /// Whether each frame has its moment in the second. Else it starts over when a key frame is asked for.
    pub keeps_time: bool,
}

impl Clip {
    /// A moving ball.
    pub fn ball(codec: Codec, width: u32, height: u32) -> Arc<Self> {
        Self::of("pattern=ball", codec, width, height)
    }

    /// Noise, whose frames take several packets each.
    pub fn noise(codec: Codec, width: u32, height: u32) -> Arc<Self> {
        Self::of("pattern=snow", codec, width, height)
    }

    /// One colour, as 0xRRGGBB.
    pub fn plain(colour: u32, codec: Codec, width: u32, height: u32) -> Arc<Self> {
        let pattern = format!("pattern=solid-color foreground-color=0xff{colour:06x}");
        Self::of(&pattern, codec, width, height)
    }

    /// White for the first tenth of a second, black for the rest of it.
    pub fn flash(codec: Codec, side: u32) -> Arc<Self> {
        let source = format!(
            "appsrc name=in format=time caps=video/x-raw,format=GRAY8,width={side},height={side},framerate=30/1 ! \
             videoconvert"
        );
        let picture = |frame| vec![if frame < 3 { 235 } else { 16 }; (side * side) as usize];
        let clip = Self::encode(&source, codec, (side, side), |graph| {
            let input = graph.by_name("in").unwrap().downcast::<AppSrc>().unwrap();
            for frame in 0..30 {
                let mut buffer = gst::Buffer::from_mut_slice(picture(frame));
                let time = gst::ClockTime::SECOND * frame / 30;
                buffer.get_mut().unwrap().set_pts(time);
                input.push_buffer(buffer).unwrap();
            }
            input.end_of_stream().unwrap();
        });
        Arc::new(Self { keeps_time: true, ..clip })
    }

    fn of(pattern: &str, codec: Codec, width: u32, height: u32) -> Arc<Self> {
        let source = format!("videotestsrc {pattern} num-buffers=30");
        Arc::new(Self::encode(&source, codec, (width, height), |_| {}))
    }

    fn encode(
        source: &str,
        codec: Codec,
        (width, height): (u32, u32),
        feed: impl FnOnce(&gst::Pipeline),
    ) -> Self {
        gst::init().unwrap();
        let encoder = match codec {
            Codec::H264 => {
                "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 byte-stream=true threads=1 ! \
                 video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au"
            }
            Codec::Vp8 => "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=30 lag-in-frames=0",
            Codec::Vp9 => "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30 lag-in-frames=0",
            Codec::H265 => {
                "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=30 option-string=pools=1:repeat-headers=1 ! \
                 video/x-h265,stream-format=byte-stream,alignment=au"
            }
        };
        let graph = format!(
            "{source} ! video/x-raw,format=I420,width={width},height={height},\
             framerate=30/1 ! {encoder} ! appsink name=out sync=false"
        );
        let (graph, out) = launch(&graph);
        graph.set_state(gst::State::Playing).unwrap();
        feed(&graph);
        let mut frames = Vec::new();
        while let Ok(sample) = out.pull_sample() {
            frames.push(Arc::from(sample.buffer().unwrap().map_readable().unwrap().as_slice()));
        }
        graph.set_state(gst::State::Null).unwrap();
        assert_eq!(frames.len(), 30);
        Self { codec, frames, keeps_time: false }
    }
}

/// A decoded picture's luma.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Which of the frames it was decoded from.
    pub frame: usize,
    pub width: u32,
    pub height: u32,
    pub luma: Vec<u8>,
}

impl Picture {
    pub fn middle(&self) -> u8 {
        self.luma[self.luma.len() / 2 + self.width as usize / 2]
    }
}

/// Decodes received frames, the first of which must be a key frame.
pub fn decode(codec: Codec, frames: &[MediaData]) -> Vec<Picture> {
    gst::init().unwrap();
    let (caps, decoder) = match codec {
        Codec::H264 => (
            "video/x-h264,stream-format=byte-stream,alignment=au",
            "h264parse ! avdec_h264 max-threads=1",
        ),
        Codec::Vp8 => ("video/x-vp8", "vp8dec"),
        Codec::Vp9 => ("video/x-vp9", "vp9dec"),
        Codec::H265 => (
            "video/x-h265,stream-format=byte-stream,alignment=au",
            "h265parse ! avdec_h265 max-threads=1",
        ),
    };
    let graph = format!(
        "appsrc name=in format=time caps={caps} ! {decoder} ! videoconvert ! video/x-raw,format=GRAY8 ! \
         appsink name=out sync=false"
    );
    let (graph, out) = launch(&graph);
    let input = graph.by_name("in").unwrap().downcast::<AppSrc>().unwrap();
    graph.set_state(gst::State::Playing).unwrap();
    for (frame, count) in frames.iter().zip(0..) {
        let mut buffer = gst::Buffer::from_slice(frame.data.clone());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::SECOND * count);
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let mut pictures = Vec::new();
    while let Ok(sample) = out.pull_sample() {
        let fields = sample.caps().unwrap().structure(0).unwrap();
        let side = |name| u32::try_from(fields.get::<i32>(name).unwrap()).unwrap();
        let (width, height) = (side("width"), side("height"));
        let stride = width.next_multiple_of(4) as usize;
        let frame = sample.buffer().unwrap().pts().unwrap().seconds() as usize;
        let bytes = sample.buffer().unwrap().map_readable().unwrap();
        let rows = bytes.chunks(stride).take(height as usize);
        pictures.push(Picture {
            frame,
            width,
            height,
            luma: rows.flat_map(|row| row[..width as usize].to_vec()).collect(),
        });
    }
    graph.set_state(gst::State::Null).unwrap();
    pictures
}

pub(crate) fn launch(description: &str) -> (gst::Pipeline, AppSink) {
    let graph = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let out = graph.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    (graph, out)
}
