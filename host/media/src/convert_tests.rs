//! Where pixels land: crop, letterbox, stretch, odd sizes, and the way back.

use super::*;
use crate::codecs::Codec;
use host_ports::FrameStamp;
use std::time::Instant;

struct Slot(FrameSize, Vec<u8>);

impl FrameSlot for Slot {
    fn size(&self) -> FrameSize {
        self.0
    }
    fn pixels(&self) -> &[u8] {
        &self.1
    }
    fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn slot(size: FrameSize) -> Box<dyn FrameSlot> {
    Box::new(Slot(size, vec![0x55; size.bytes()]))
}

/// Brightness of a picture at a point: I420 with only the luma plane in use, so that chroma blurs nothing.
fn picture(size: FrameSize, luma: impl Fn(u32, u32) -> u8) -> (gst::Buffer, VideoInfo) {
    gst::init().unwrap();
    let info = VideoInfo::builder(VideoFormat::I420, size.width, size.height).build().unwrap();
    let mut bytes = vec![128; info.size()];
    for y in 0..size.height {
        for x in 0..size.width {
            bytes[y as usize * info.stride()[0] as usize + x as usize] = luma(x, y);
        }
    }
    (gst::Buffer::from_slice(bytes), info)
}

fn import(
    size: FrameSize,
    fit: Fit,
    target: FrameSize,
    luma: impl Fn(u32, u32) -> u8,
) -> Box<dyn FrameSlot> {
    let (picture, info) = picture(size, luma);
    let mut slot = slot(target);
    Importer::default().import(&picture, &info, fit, &mut *slot).unwrap();
    slot
}

fn red(slot: &dyn FrameSlot, x: usize, y: usize) -> u8 {
    slot.pixels()[y * slot.size().stride() + x * 3]
}

/// Full white in the middle third of the width, black left and right.
fn middle_third(x: u32, _: u32) -> u8 {
    if (32..64).contains(&x) { 235 } else { 16 }
}

#[test]
fn cropping_fills_the_frame_from_the_middle() {
    let slot = import(FrameSize::new(96, 32), Fit::Crop, FrameSize::new(64, 64), middle_third);
    for (x, y) in [(2, 2), (61, 2), (32, 32), (2, 61), (61, 61)] {
        assert!(red(&*slot, x, y) > 245, "{x},{y}: {}", red(&*slot, x, y));
    }
}

#[test]
fn letterboxing_shows_all_between_black_bars() {
    let slot = import(FrameSize::new(96, 32), Fit::Letterbox, FrameSize::new(96, 96), middle_third);
    assert!(red(&*slot, 48, 48) > 245, "the picture is in the middle");
    assert!(red(&*slot, 10, 48) < 10, "with its own black at the left");
    for y in [0, 20, 76, 95] {
        assert!(red(&*slot, 48, y) < 10, "and bars above and below");
    }
}

#[test]
fn stretching_bends_the_whole_picture_into_the_frame() {
    let slot = import(FrameSize::new(96, 32), Fit::Stretch, FrameSize::new(48, 96), middle_third);
    assert!(red(&*slot, 24, 2) > 245 && red(&*slot, 24, 93) > 245);
    assert!(red(&*slot, 4, 48) < 10 && red(&*slot, 44, 48) < 10);
}

#[test]
fn odd_sizes_keep_every_row_in_its_place() {
    let rows = |_, y: u32| if y.is_multiple_of(2) { 235 } else { 16 };
    let slot = import(FrameSize::new(35, 23), Fit::Crop, FrameSize::new(35, 23), rows);
    for y in 0..23 {
        assert_eq!(red(&*slot, 34, y) > 128, y % 2 == 0, "row {y}");
    }
}

#[test]
fn places_follow_the_shapes() {
    let size = FrameSize::new;
    let crop = place(size(1280, 720), (1, 1), size(512, 512), Fit::Crop);
    assert_eq!(crop.from, Area { x: 280, y: 0, width: 720, height: 720 });
    let upright = place(size(720, 1280), (1, 1), size(512, 512), Fit::Letterbox);
    assert_eq!(upright.to, Area { x: 112, y: 0, width: 288, height: 512 });
    let wide_pixels = place(size(256, 512), (2, 1), size(512, 512), Fit::Crop);
    assert_eq!(wide_pixels.from, Area { x: 0, y: 0, width: 256, height: 512 });
    let sliver = place(size(4096, 1), (1, 1), size(512, 512), Fit::Letterbox);
    assert_eq!(sliver.to.height, 1);
}

/// A flat picture's way into an encoder's format and back, both ways through this module.
fn there_and_back(format: VideoFormat, size: FrameSize, colour: [u8; 3]) -> [u8; 3] {
    gst::init().unwrap();
    let mut source = slot(size);
    for row in source.pixels_mut().chunks_exact_mut(size.stride()) {
        row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
    }
    let stamp = FrameStamp { id: 1, captured_at: Instant::now() };
    let mut exporter = Exporter::new(size, format).unwrap();
    exporter.load(&Frame::new(stamp, source)).unwrap();
    let info = color::decoded(Codec::H264, &exporter.caps().unwrap()).unwrap();
    let picture = exporter.picture(gst::ClockTime::ZERO);
    let mut back = slot(FrameSize::new(info.width(), info.height()));
    Importer::default().import(&picture, &info, Fit::Stretch, &mut *back).unwrap();
    let at = info.height() as usize / 2 * back.size().stride() + info.width() as usize / 2 * 3;
    back.pixels()[at..at + 3].try_into().unwrap()
}

#[test]
fn flat_colours_survive_the_way_through_an_encoders_format() {
    let sizes = [FrameSize::new(33, 17), FrameSize::new(64, 64), FrameSize::new(1280, 720)];
    let colours = [[200, 200, 200], [255, 0, 0], [0, 255, 0], [0, 0, 255], [30, 120, 200]];
    for format in [VideoFormat::I420, VideoFormat::Nv12] {
        for (size, colour) in sizes.into_iter().flat_map(|size| colours.map(|it| (size, it))) {
            let back = there_and_back(format, size, colour);
            let is_near = colour.iter().zip(back).all(|(one, other)| one.abs_diff(other) <= 2);
            assert!(is_near, "{format:?} {size}: {colour:?} came back as {back:?}");
        }
    }
}

#[test]
fn untagged_pictures_have_the_colours_that_browsers_send() {
    gst::init().unwrap();
    let matrix = |codec, colorimetry: Option<&str>| {
        let caps = gst_video::VideoCapsBuilder::new().format(VideoFormat::I420);
        let caps = caps.width(1280).height(720).framerate((30, 1).into());
        let caps = caps.field_if_some("colorimetry", colorimetry).build();
        color::decoded(codec, &caps).unwrap().colorimetry().matrix()
    };
    let (bt601, bt709) = (gst_video::VideoColorMatrix::Bt601, gst_video::VideoColorMatrix::Bt709);
    assert_eq!(matrix(Codec::H264, None), bt601);
    assert_eq!(matrix(Codec::H264, Some("2:0:0:0")), bt601);
    assert_eq!(matrix(Codec::H264, Some("bt709")), bt709);
    assert_eq!(matrix(Codec::Vp8, Some("bt709")), bt601, "VP8 knows one matrix only");
}
