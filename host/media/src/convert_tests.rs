//! Where pixels land: crop, letterbox, stretch, odd sizes, and the way back.

use super::*;
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
    Importer::default().import(&picture, &info, fit, slot(target)).unwrap()
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

#[test]
fn a_frame_comes_back_from_the_encoders_format() {
    gst::init().unwrap();
    let size = FrameSize::new(33, 17);
    let mut source = slot(size);
    source.pixels_mut().fill(200);
    let stamp = FrameStamp { id: 1, captured_at: Instant::now() };
    let mut exporter = Exporter::new(size, VideoFormat::I420).unwrap();
    exporter.load(Frame::new(stamp, source)).unwrap();
    let info = VideoInfo::from_caps(&exporter.caps().unwrap()).unwrap();
    assert_eq!((info.width(), info.height()), (32, 16));
    let picture = exporter.picture(gst::ClockTime::ZERO);
    let back = Importer::default()
        .import(&picture, &info, Fit::Stretch, slot(FrameSize::new(32, 16)))
        .unwrap();
    // GStreamer's fast conversions between RGB and YUV are a little off, both ways.
    assert!(red(&*back, 16, 8).abs_diff(200) <= 5, "{}", red(&*back, 16, 8));
}
