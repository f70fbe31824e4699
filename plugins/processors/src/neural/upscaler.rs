//! Larger pictures as Real-ESRGAN makes them, tile by tile.

use super::Neural;
use super::error::NeuralError;
use super::loading::{Loader, Network};
use super::ports::{PictureInput, only};
use super::sources::{REALESRGAN_X2, REALESRGAN_X4, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use plugin_api::FrameFormat;
use plugins_diffusion::tensor::Tensor;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealEsrganParams {
    /// How many times as wide and high the picture becomes: up to 2 by the network that doubles, above by the one that
    /// makes four times as much, and then resized.
    pub scale: f64,
}

impl Default for RealEsrganParams {
    fn default() -> Self {
        Self { scale: 2.0 }
    }
}

impl Params for RealEsrganParams {
    const RANGES: &'static [Range<Self>] =
        &[Range { name: "scale", from: 1.0, to: 4.0, get: |params| params.scale }];
}

impl RealEsrganParams {
    fn is_double(&self) -> bool {
        self.scale <= 2.0
    }

    fn scaled(&self, side: usize) -> usize {
        (side as f64 * self.scale).round() as usize
    }
}

/// Longest side of a tile, where the network takes any: larger ones would need much memory.
const TILE: usize = 512;
/// What tiles have in common with their neighbours on each side; what is beside the border of a tile is left out.
const MARGIN: usize = 16;
/// Sides of tiles are multiples of it: networks begin by making one pixel of some.
const MULTIPLE: usize = 4;

pub struct RealEsrgan {
    network: Network,
    input: PictureInput,
    tile: (usize, usize),
    scale: usize,
}

impl Neural for RealEsrgan {
    type Params = RealEsrganParams;

    fn sources(params: &RealEsrganParams) -> Vec<&'static Source> {
        vec![if params.is_double() { &REALESRGAN_X2 } else { &REALESRGAN_X4 }]
    }

    fn reloads(old: &RealEsrganParams, new: &RealEsrganParams) -> Vec<&'static str> {
        if old.scale == new.scale { vec![] } else { vec!["scale"] }
    }

    fn output(params: &RealEsrganParams, input: FrameFormat) -> FrameFormat {
        let side = |side: u32| params.scaled(side as usize) as u32;
        FrameFormat::new(side(input.width), side(input.height))
    }

    fn load(loader: &Loader<'_>, params: &Checked<RealEsrganParams>) -> Result<Self, NeuralError> {
        let (width, height) = loader.size();
        let side = |side: usize| side.next_multiple_of(MULTIPLE).min(TILE);
        let source = Self::sources(params)[0];
        let ((input, tile), network) = loader.load(source, |declared| {
            let input = PictureInput::of(declared, 0)?;
            let tile = input.size((side(width), side(height)));
            let fits = |tile: usize, side: usize| tile > 2 * MARGIN || tile >= side;
            if !fits(tile.0, width) || !fits(tile.1, height) {
                let why =
                    format!("it takes pictures of {}x{}, which are too small", tile.0, tile.1);
                return Err(declared.unfit(why));
            }
            Ok(((input, tile), vec![input.shape(tile)]))
        })?;
        let scale = if params.is_double() { 2 } else { 4 };
        Ok(Self { network, input, tile, scale })
    }

    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<RealEsrganParams>,
    ) -> Result<Picture, NeuralError> {
        let large = tiled(picture, self.tile, self.scale, |tile| self.enlarge(tile))?;
        let (width, height) = (params.scaled(picture.width()), params.scaled(picture.height()));
        if (large.width(), large.height()) == (width, height) {
            return Ok(large);
        }
        Ok(resize(&large, width, height, Filter::Lanczos)?)
    }
}

impl RealEsrgan {
    fn enlarge(&self, tile: &Picture) -> Result<Picture, NeuralError> {
        let outputs = self.network.run(&[&self.input.tensor(tile, |_, level| level / 255.0)])?;
        let output = only(&self.network, &outputs)?;
        let (width, height) = (self.scale * tile.width(), self.scale * tile.height());
        let rgb = levels(output, (width, height)).ok_or_else(|| {
            let got = format!("an output of {:?}", output.shape());
            let wanted = format!("finite numbers for a picture of {width}x{height}");
            NeuralError::output(self.network.path(), got, wanted)
        })?;
        Ok(Picture::new(width, height, rgb)?)
    }
}

/// Of numbers from 0 to 1, cut to those and rounded.
fn levels(output: &Tensor, (width, height): (usize, usize)) -> Option<Vec<u8>> {
    let level = |share: f32| (share.clamp(0.0, 1.0) * 255.0).round() as u8;
    let numbers = output.data();
    match output.shape() {
        _ if !output.is_finite() => None,
        shape if *shape == [1, 3, height, width] => {
            let pixels = 0..width * height;
            let pixel =
                |pixel: usize| [0, 1, 2].map(|c| level(numbers[c * width * height + pixel]));
            Some(pixels.flat_map(pixel).collect())
        }
        shape if *shape == [1, height, width, 3] => {
            Some(numbers.iter().map(|&share| level(share)).collect())
        }
        _ => None,
    }
}

/// A picture `scale` times as large, put together from what `enlarge` makes of tiles of one size. A picture that is smaller
/// than a tile is continued by its outermost pixels.
pub fn tiled<E: From<crate::picture::PictureError>>(
    picture: &Picture,
    (tile_width, tile_height): (usize, usize),
    scale: usize,
    mut enlarge: impl FnMut(&Picture) -> Result<Picture, E>,
) -> Result<Picture, E> {
    let (width, height) = (picture.width(), picture.height());
    let mut rgb = vec![0; 3 * scale * width * scale * height];
    for down in Strip::all(height, tile_height) {
        for across in Strip::all(width, tile_width) {
            let tile = cut(picture, (across.start, down.start), (tile_width, tile_height))?;
            let large = enlarge(&tile)?;
            for y in scale * down.from..scale * down.to {
                let source = large.row(y - scale * down.start);
                let source = &source[3 * scale * (across.from - across.start)..];
                let target = &mut rgb[3 * (y * scale * width + scale * across.from)..];
                let length = 3 * scale * (across.to - across.from);
                target[..length].copy_from_slice(&source[..length]);
            }
        }
    }
    Ok(Picture::new(scale * width, scale * height, rgb)?)
}

/// Where a tile begins along one side, and which part of the picture is taken from it.
#[derive(Debug, PartialEq)]
struct Strip {
    start: usize,
    from: usize,
    to: usize,
}

impl Strip {
    fn all(length: usize, tile: usize) -> Vec<Self> {
        if tile >= length {
            return vec![Self { start: 0, from: 0, to: length }];
        }
        let step = tile - 2 * MARGIN;
        let mut strips: Vec<Self> = Vec::new();
        let mut from = 0;
        while from < length {
            let start = from.saturating_sub(MARGIN).min(length - tile);
            let to = if start + tile == length { length } else { start + MARGIN + step };
            strips.push(Self { start, from, to });
            from = to;
        }
        strips
    }
}

fn cut(
    picture: &Picture,
    (left, top): (usize, usize),
    (width, height): (usize, usize),
) -> Result<Picture, crate::picture::PictureError> {
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        let row = picture.row((top + y).min(picture.height() - 1)).as_chunks::<3>().0;
        rgb.extend((left..left + width).flat_map(|x| row[x.min(row.len() - 1)]));
    }
    Picture::new(width, height, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_and_keep_away_from_their_borders() {
        for tile in [33, 40, 64, 100] {
            for length in 1..300 {
                let strips = Strip::all(length, tile);
                let ends: Vec<_> = strips.iter().map(|strip| strip.to).collect();
                let begins: Vec<_> = strips.iter().map(|strip| strip.from).collect();
                assert_eq!(begins[0], 0);
                assert_eq!(begins[1..], ends[..ends.len() - 1]);
                assert_eq!(ends.last(), Some(&length));
                for Strip { start, from, to } in strips {
                    assert!(from < to && start <= from && to <= (start + tile).min(length));
                    assert!(start == 0 || from - start >= MARGIN, "{tile} {length}");
                    let end = start + tile;
                    assert!(end >= length || end - to >= MARGIN, "{tile} {length}");
                }
            }
        }
    }
}
