//! Pictures between the codecs' raw formats and the host's packed RGB, placed by `Fit`.

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::{VideoFormat, VideoFrameRef, VideoInfo};
use host_ports::{Fit, Frame, FrameSize, FrameSlot};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("GStreamer cannot convert the picture")]
    Unsupported(#[from] gst::glib::BoolError),
    #[error("a frame's memory is still in use after its conversion")]
    InUse,
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

/// Brings decoded pictures into frame slots. Keeps its converter while shapes stay the same.
#[derive(Default)]
pub(crate) struct Importer {
    current: Option<(VideoInfo, FrameSize, Fit, Converter)>,
}

impl Importer {
    /// Converts, scales and places a picture directly into a slot.
    pub fn import(
        &mut self,
        picture: &gst::BufferRef,
        info: &VideoInfo,
        fit: Fit,
        slot: Box<dyn FrameSlot>,
    ) -> Result<Box<dyn FrameSlot>, ConvertError> {
        let size = slot.size();
        let is_current = self
            .current
            .as_ref()
            .is_some_and(|(of, to, by, _)| of == info && *to == size && *by == fit);
        if !is_current {
            self.current = Some((info.clone(), size, fit, Converter::importing(info, size, fit)?));
        }
        let (_, _, _, converter) = self.current.as_ref().ok_or(ConvertError::InUse)?;
        let mut target = gst::Buffer::from_mut_slice(SlotPixels(slot));
        converter.convert(picture, target.get_mut().ok_or(ConvertError::InUse)?)?;
        target
            .try_into_inner::<SlotPixels>()
            .map(|pixels| pixels.0)
            .map_err(|_| ConvertError::InUse)
    }
}

/// Brings finished frames into the raw format of an encoder, in a buffer that it uses again and again.
pub(crate) struct Exporter {
    converter: Converter,
    picture: gst::Buffer,
}

impl Exporter {
    pub fn new(size: FrameSize, format: VideoFormat) -> Result<Self, ConvertError> {
        // x264enc holds a frame back while it does not know the rate. Frames may come at any.
        let rate = gst::Fraction::new(30, 1);
        let from =
            VideoInfo::builder(VideoFormat::Rgb, size.width, size.height).fps(rate).build()?;
        let to = encoded_size(size);
        let to = VideoInfo::builder(format, to.width, to.height).fps(rate).build()?;
        let picture = gst::Buffer::with_size(to.size())?;
        let whole = Area { x: 0, y: 0, width: to.width(), height: to.height() };
        let converter = Converter::new(from, to, Placement { from: whole, to: whole })?;
        Ok(Self { converter, picture })
    }

    /// Capabilities of the pictures.
    pub fn caps(&self) -> Result<gst::Caps, ConvertError> {
        Ok(self.converter.to.to_caps()?)
    }

    pub fn load(&mut self, frame: Frame) -> Result<(), ConvertError> {
        let source = gst::Buffer::from_slice(FramePixels(frame));
        self.converter.convert(&source, self.picture.make_mut())
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

struct Converter {
    from: VideoInfo,
    to: VideoInfo,
    inner: gst_video::VideoConverter,
}

impl Converter {
    fn importing(info: &VideoInfo, size: FrameSize, fit: Fit) -> Result<Self, ConvertError> {
        let picture = FrameSize::new(info.width(), info.height());
        let par = info.par();
        let par = (par.numer().unsigned_abs().max(1), par.denom().unsigned_abs().max(1));
        let to = VideoInfo::builder(VideoFormat::Rgb, size.width, size.height)
            .fps(info.fps())
            .interlace_mode(info.interlace_mode())
            .build()?;
        Self::new(info.clone(), to, place(picture, par, size, fit))
    }

    fn new(from: VideoInfo, to: VideoInfo, place: Placement) -> Result<Self, ConvertError> {
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
        let inner = gst_video::VideoConverter::new(&from, &to, Some(config))?;
        Ok(Self { from, to, inner })
    }

    fn convert(
        &self,
        source: &gst::BufferRef,
        target: &mut gst::BufferRef,
    ) -> Result<(), ConvertError> {
        let source = VideoFrameRef::from_buffer_ref_readable(source, &self.from)?;
        let mut target = VideoFrameRef::from_buffer_ref_writable(target, &self.to)?;
        self.inner.frame_ref(&source, &mut target);
        Ok(())
    }
}

struct SlotPixels(Box<dyn FrameSlot>);

impl AsMut<[u8]> for SlotPixels {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.pixels_mut()
    }
}

struct FramePixels(Frame);

impl AsRef<[u8]> for FramePixels {
    fn as_ref(&self) -> &[u8] {
        self.0.pixels()
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
