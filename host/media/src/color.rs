//! Colours between packed RGB and the YUV of video, exact to the rounding.
//!
//! GStreamer's converter is quick by cutting fractions off: a grey of 200 comes back from it as 196. It only scales here.

use crate::codecs::Codec;
use gstreamer as gst;
use gstreamer_video::prelude::*;
use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoFormat,
    VideoFrameRef, VideoInfo, VideoTransferFunction,
};
use host_ports::FrameSize;
use yuv::{
    BufferStoreMut, YuvBiPlanarImageMut, YuvConversionMode, YuvError, YuvPlanarImage,
    YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
};

/// How colours are encoded, whatever the size: readers take VP8 for BT.601, and pictures of the web
/// have the primaries of BT.709.
pub(crate) fn encoded() -> VideoColorimetry {
    VideoColorimetry::new(
        VideoColorRange::Range16_235,
        VideoColorMatrix::Bt601,
        VideoTransferFunction::Bt709,
        VideoColorPrimaries::Bt709,
    )
}

/// What decoded pictures are. GStreamer guesses the colours of untagged ones by their height; WebRTC's own conversions
/// use BT.601 at every height, and VP8 has nothing else.
pub(crate) fn decoded(
    codec: Codec,
    caps: &gst::CapsRef,
) -> Result<VideoInfo, gst::glib::BoolError> {
    let info = VideoInfo::from_caps(caps)?;
    let told = caps.structure(0).and_then(|fields| fields.get::<&str>("colorimetry").ok());
    let is_told = told
        .and_then(|told| told.parse::<VideoColorimetry>().ok())
        .is_some_and(|told| told.matrix() != VideoColorMatrix::Unknown);
    if (is_told && codec != Codec::Vp8) || !info.format_info().is_yuv() {
        return Ok(info);
    }
    VideoInfo::builder_from_info(&info).colorimetry(&encoded()).build()
}

/// Writes an I420 picture into packed RGB of its size.
pub(crate) fn to_rgb(
    picture: &VideoFrameRef<&gst::BufferRef>,
    rgb: &mut [u8],
) -> Result<(), YuvError> {
    let info = picture.info();
    let plane = |index: u32| picture.plane_data(index).unwrap_or_default();
    let stride = |index: usize| picture.plane_stride()[index].unsigned_abs();
    let planes = YuvPlanarImage {
        y_plane: plane(0),
        y_stride: stride(0),
        u_plane: plane(1),
        u_stride: stride(1),
        v_plane: plane(2),
        v_stride: stride(2),
        width: info.width(),
        height: info.height(),
    };
    let rgb_stride = FrameSize::new(info.width(), info.height()).stride() as u32;
    let colorimetry = info.colorimetry();
    yuv::yuv420_to_rgb(&planes, rgb, rgb_stride, range(&colorimetry), matrix(&colorimetry))
}

/// Writes packed RGB of `size` into an I420 or NV12 picture, which may be a row and a column smaller.
pub(crate) fn from_rgb(
    rgb: &[u8],
    size: FrameSize,
    picture: &mut VideoFrameRef<&mut gst::BufferRef>,
) -> Result<(), YuvError> {
    let info = picture.info();
    let (width, height, colorimetry) = (info.width(), info.height(), info.colorimetry());
    let (format, range, matrix) = (info.format(), range(&colorimetry), matrix(&colorimetry));
    let strides: Vec<u32> =
        picture.plane_stride().iter().map(|stride| stride.unsigned_abs()).collect();
    let [first, second, third, _] = picture.planes_data_mut().map(BufferStoreMut::Borrowed);
    let (rgb_stride, mode) = (size.stride() as u32, YuvConversionMode::Balanced);
    if format == VideoFormat::Nv12 {
        let (y_stride, uv_stride) = (strides[0], strides[1]);
        let mut planes = YuvBiPlanarImageMut {
            y_plane: first,
            y_stride,
            uv_plane: second,
            uv_stride,
            width,
            height,
        };
        return yuv::rgb_to_yuv_nv12(&mut planes, rgb, rgb_stride, range, matrix, mode);
    }
    let mut planes = YuvPlanarImageMut {
        y_plane: first,
        y_stride: strides[0],
        u_plane: second,
        u_stride: strides[1],
        v_plane: third,
        v_stride: strides[2],
        width,
        height,
    };
    yuv::rgb_to_yuv420(&mut planes, rgb, rgb_stride, range, matrix, mode)
}

fn range(colorimetry: &VideoColorimetry) -> YuvRange {
    match colorimetry.range() {
        VideoColorRange::Range0_255 => YuvRange::Full,
        _ => YuvRange::Limited,
    }
}

fn matrix(colorimetry: &VideoColorimetry) -> YuvStandardMatrix {
    match colorimetry.matrix() {
        VideoColorMatrix::Bt709 => YuvStandardMatrix::Bt709,
        VideoColorMatrix::Bt2020 => YuvStandardMatrix::Bt2020,
        VideoColorMatrix::Smpte240m => YuvStandardMatrix::Smpte240,
        VideoColorMatrix::Fcc => YuvStandardMatrix::Fcc,
        _ => YuvStandardMatrix::Bt601,
    }
}
