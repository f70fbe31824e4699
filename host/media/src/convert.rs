//! Pictures between the codecs' raw formats and the host's packed RGB, placed by `Fit`.

use crate::color;
use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::{VideoFormat, VideoFrameRef, VideoInfo};
use host_ports::{Fit, Frame, FrameSize, FrameSlot};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("GStreamer cannot convert the picture")]
    Unsupported(#[from] gst::glib::BoolError),
    #[error("the picture's planes do not fit its size")]
    Planes(#[from] yuv::YuvError),
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

/// The part of the picture that is shown, and where in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placement {
    from: Area,
    to: Area,
}

/// Places a picture whose pixels are `par.0` wide for `par.1` high.
fn place(picture: FrameSize, par: (u32, u32), frame: FrameSize, fit: Fit) -> Placement {
    let whole = |size: FrameSize| Area { x: 0, y: 0, width: size.width, height: size.height };
    let (from, to) = (whole(picture), whole(frame));
    // Heights that the widths ask for, in products that cannot overflow: picture's shape against the frame's.
    let picture_wide = u128::from(picture.width) * u128::from(par.0) * u128::from(frame.height);
    let frame_wide = u128::from(frame.width) * u128::from(picture.height) * u128::from(par.1);
    let shrunk = |length: u32, by: u128, of: u128| {
        u32::try_from(u128::from(length) * by / of).unwrap_or(length).clamp(1, length)
    };
    match (fit, picture_wide.cmp(&frame_wide)) {
        (Fit::Stretch, _) | (_, std::cmp::Ordering::Equal) => Placement { from, to },
        (Fit::Crop, std::cmp::Ordering::Greater) => {
            Placement { from: across(from, shrunk(from.width, frame_wide, picture_wide)), to }
        }
        (Fit::Crop, std::cmp::Ordering::Less) => {
            Placement { from: down(from, shrunk(from.height, picture_wide, frame_wide)), to }
        }
        (Fit::Letterbox, std::cmp::Ordering::Greater) => {
            Placement { from, to: down(to, shrunk(to.height, frame_wide, picture_wide)) }
        }
        (Fit::Letterbox, std::cmp::Ordering::Less) => {
            Placement { from, to: across(to, shrunk(to.width, picture_wide, frame_wide)) }
        }
    }
}

/// The middle of an area, `width` wide. Starts are even, as halved chroma planes need it.
fn across(area: Area, width: u32) -> Area {
    Area { x: ((area.width - width) / 2) & !1, width, ..area }
}

fn down(area: Area, height: u32) -> Area {
    Area { y: ((area.height - height) / 2) & !1, height, ..area }
}

/// Brings decoded pictures into frame slots. Keeps its scaler while shapes stay the same.
#[derive(Default)]
pub(crate) struct Importer {
    scaler: Option<Scaler>,
}

impl Importer {
    /// Scales and places a picture, and converts it directly into a slot.
    pub fn import(
        &mut self,
        picture: &gst::BufferRef,
        info: &VideoInfo,
        fit: Fit,
        slot: &mut dyn FrameSlot,
    ) -> Result<(), ConvertError> {
        let size = slot.size();
        let is_square = info.par().numer() == info.par().denom();
        let is_placed = is_square && (info.width(), info.height()) == (size.width, size.height);
        if is_placed && info.format() == VideoFormat::I420 {
            let picture = VideoFrameRef::from_buffer_ref_readable(picture, info)?;
            return Ok(color::to_rgb(&picture, slot.pixels_mut())?);
        }
        let current = self.scaler.take().filter(|scaler| scaler.suits(info, size, fit));
        let scaler = match current {
            Some(scaler) => scaler,
            None => Scaler::new(info, size, fit)?,
        };
        let scaler = self.scaler.insert(scaler);
        Ok(color::to_rgb(&scaler.scale(picture)?, slot.pixels_mut())?)
    }
}

/// Brings finished frames into the raw format of an encoder, in a buffer that it uses again and again.
pub(crate) struct Exporter {
    info: VideoInfo,
    picture: gst::Buffer,
}

impl Exporter {
    pub fn new(size: FrameSize, format: VideoFormat) -> Result<Self, ConvertError> {
        let to = encoded_size(size);
        // x264enc holds a frame back while it does not know the rate. Frames may come at any.
        let info = VideoInfo::builder(format, to.width, to.height)
            .fps(gst::Fraction::new(30, 1))
            .colorimetry(&color::encoded())
            .build()?;
        let picture = gst::Buffer::with_size(info.size())?;
        Ok(Self { info, picture })
    }

    /// Capabilities of the pictures.
    pub fn caps(&self) -> Result<gst::Caps, ConvertError> {
        Ok(self.info.to_caps()?)
    }

    pub fn load(&mut self, frame: &Frame) -> Result<(), ConvertError> {
        let picture = self.picture.make_mut();
        let mut picture = VideoFrameRef::from_buffer_ref_writable(picture, &self.info)?;
        Ok(color::from_rgb(frame.pixels(), frame.size(), &mut picture)?)
    }

    /// The picture loaded last, to be encoded as of `time`.
    pub fn picture(&mut self, time: gst::ClockTime) -> gst::Buffer {
        let picture = self.picture.make_mut();
        picture.set_pts(time);
        picture.set_dts(gst::ClockTime::NONE);
        self.picture.clone()
    }
}

/// Chroma planes are halved: an odd last column or row is cut off.
fn encoded_size(size: FrameSize) -> FrameSize {
    FrameSize::new((size.width & !1).max(2), (size.height & !1).max(2))
}

/// Scales pictures of one shape and places them in another, without touching their colours.
struct Scaler {
    from: VideoInfo,
    to: VideoInfo,
    fit: Fit,
    converter: gst_video::VideoConverter,
    scaled: gst::Buffer,
}

impl Scaler {
    fn new(from: &VideoInfo, size: FrameSize, fit: Fit) -> Result<Self, ConvertError> {
        let picture = FrameSize::new(from.width(), from.height());
        let par = (from.par().numer().unsigned_abs(), from.par().denom().unsigned_abs());
        let placement = place(picture, (par.0.max(1), par.1.max(1)), size, fit);
        let colorimetry =
            if from.format_info().is_yuv() { from.colorimetry() } else { color::encoded() };
        let to = VideoInfo::builder(VideoFormat::I420, size.width, size.height)
            .fps(from.fps())
            .interlace_mode(from.interlace_mode())
            .chroma_site(from.chroma_site())
            .colorimetry(&colorimetry)
            .build()?;
        let converter = gst_video::VideoConverter::new(from, &to, Some(config(placement)))?;
        let scaled = gst::Buffer::with_size(to.size())?;
        Ok(Self { from: from.clone(), to, fit, converter, scaled })
    }

    fn suits(&self, from: &VideoInfo, size: FrameSize, fit: Fit) -> bool {
        let to = (self.to.width(), self.to.height());
        self.from == *from && to == (size.width, size.height) && self.fit == fit
    }

    fn scale(
        &mut self,
        picture: &gst::BufferRef,
    ) -> Result<VideoFrameRef<&gst::BufferRef>, ConvertError> {
        let source = VideoFrameRef::from_buffer_ref_readable(picture, &self.from)?;
        let mut target = VideoFrameRef::from_buffer_ref_writable(self.scaled.make_mut(), &self.to)?;
        self.converter.frame_ref(&source, &mut target);
        drop(target);
        Ok(VideoFrameRef::from_buffer_ref_readable(&self.scaled, &self.to)?)
    }
}

fn config(place: Placement) -> gst_video::VideoConverterConfig {
    let mut config = gst_video::VideoConverterConfig::new();
    config.set_src_x(place.from.x as i32);
    config.set_src_y(place.from.y as i32);
    config.set_src_width(Some(place.from.width as i32));
    config.set_src_height(Some(place.from.height as i32));
    config.set_dest_x(place.to.x as i32);
    config.set_dest_y(place.to.y as i32);
    config.set_dest_width(Some(place.to.width as i32));
    config.set_dest_height(Some(place.to.height as i32));
    config.set_fill_border(true);
    config.set_border_argb(0xff00_0000);
    config.set_dither_method(gst_video::VideoDitherMethod::None);
    config.set_resampler_method(gst_video::VideoResamplerMethod::Linear);
    config.set_threads(1);
    config
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
