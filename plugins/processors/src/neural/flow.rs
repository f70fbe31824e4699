//! How things move from one picture to the next: in colours, as TemporalNet's ControlNet takes it beside the last frame,
//! or the last picture moved to where its parts are now.

use super::Neural;
use super::colours::colours;
use super::error::NeuralError;
use super::loading::{Loader, Network};
use super::planes::{Between, Plane};
use super::ports::{PictureInput, planes};
use super::sources::{RAFT, Source};
use crate::params::{Checked, Params, Range};
use crate::picture::Picture;
use crate::resize::{Filter, resize};
use plugins_diffusion::onnx::Declared;
use plugins_diffusion::tensor::Tensor;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemporalNetParams {
    /// How far the last picture follows the movement, 1 all the way; or what colours are multiplied by.
    pub flow_strength: f64,
    pub output_format: OutputFormat,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// The movement in colours. Who takes six channels puts the last frame before it.
    Concat,
    /// The last picture, moved.
    WarpedOnly,
}

impl OutputFormat {
    pub const ALL: [Self; 2] = [Self::Concat, Self::WarpedOnly];
}

impl Default for TemporalNetParams {
    fn default() -> Self {
        Self { flow_strength: 1.0, output_format: OutputFormat::Concat }
    }
}

impl Params for TemporalNetParams {
    const RANGES: &'static [Range<Self>] =
        &[Range { name: "flow_strength", from: 0.0, to: 2.0, get: |params| params.flow_strength }];
}

/// Both sides, where the file leaves them open.
const SIDE: usize = 512;

pub struct TemporalNet {
    network: Network,
    input: PictureInput,
    size: (usize, usize),
    /// Whether levels are from -1 to 1, as torchvision's RAFT takes them, instead of from 0 to 255.
    is_normal: bool,
    last: Option<Picture>,
}

/// How far from each pixel its like is in another picture, in pixels.
#[derive(Clone, Debug)]
pub struct Flow {
    pub across: Plane,
    pub down: Plane,
}

impl Neural for TemporalNet {
    type Params = TemporalNetParams;

    fn sources(_: &TemporalNetParams) -> Vec<&'static Source> {
        vec![&RAFT]
    }

    fn load(loader: &Loader<'_>, _: &Checked<TemporalNetParams>) -> Result<Self, NeuralError> {
        let ((input, size, is_normal), network) = loader.load(&RAFT, |declared| {
            let [input, other] = [PictureInput::of(declared, 0)?, PictureInput::of(declared, 1)?];
            if input != other {
                return Err(declared.unfit("its two pictures are not of one size"));
            }
            let size = input.size((SIDE, SIDE));
            let shape = input.shape(size);
            Ok(((input, size, is_torchvision(declared)), vec![shape.clone(), shape]))
        })?;
        Ok(Self { network, input, size, is_normal, last: None })
    }

    /// The first picture stays as it is, or nothing moves in it.
    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<TemporalNetParams>,
    ) -> Result<Picture, NeuralError> {
        let last = self.last.replace(picture.clone());
        let strength = params.flow_strength as f32;
        match (params.output_format, last) {
            (OutputFormat::WarpedOnly, None) => Ok(picture.clone()),
            (OutputFormat::WarpedOnly, Some(last)) => {
                Ok(warp(&last, &self.flow(picture, &last)?, strength))
            }
            (OutputFormat::Concat, None) => {
                Ok(colours(picture, &Flow::none(picture.width(), picture.height()), strength))
            }
            (OutputFormat::Concat, Some(last)) => {
                Ok(colours(picture, &self.flow(&last, picture)?, strength))
            }
        }
    }
}

/// The export in which StreamDiffusion's descendants have it names its inputs so.
fn is_torchvision(declared: &Declared) -> bool {
    declared.inputs[0].name == "frame1"
}

impl TemporalNet {
    /// Where the parts of a picture are in the other one.
    fn flow(&self, picture: &Picture, last: &Picture) -> Result<Flow, NeuralError> {
        let inputs = [self.seen(picture)?, self.seen(last)?];
        let outputs = self.network.run(&[&inputs[0], &inputs[1]])?;
        let (width, height) = self.size;
        let fits = |output: &&Tensor| {
            let shape = output.shape();
            *shape == [1, 2, height, width] || *shape == [1, height, width, 2]
        };
        // The last one, as each is better than those before; files begin with a coarse one.
        let output = outputs.iter().rev().find(fits).and_then(|output| planes(output, 2));
        let wanted = "two numbers for each pixel";
        let wrong = |got: &str| NeuralError::output(self.network.path(), got, wanted);
        let [across, down] = <[Plane; 2]>::try_from(output.unwrap_or_default())
            .map_err(|_| wrong("no flow of the size of its pictures"))?;
        let is_known = |plane: &Plane| plane.values.iter().any(|value| value.is_finite());
        if !is_known(&across) || !is_known(&down) {
            return Err(wrong("numbers of which none is finite"));
        }
        Ok(Flow { across: settled(across, width), down: settled(down, height) }
            .resized(picture.width(), picture.height()))
    }

    fn seen(&self, picture: &Picture) -> Result<Tensor, NeuralError> {
        let (width, height) = self.size;
        let seen = resize(picture, width, height, Filter::Bilinear)?;
        let is_normal = self.is_normal;
        let number = |_, level: f32| if is_normal { level / 127.5 - 1.0 } else { level };
        Ok(self.input.tensor(&seen, number))
    }
}

/// What is not finite, as some files give for pixels of one colour, does not move; nothing moves farther than a side.
fn settled(plane: Plane, side: usize) -> Plane {
    let side = side as f32;
    let settle = |value: f32| if value.is_finite() { value.clamp(-side, side) } else { 0.0 };
    Plane { values: plane.values.into_iter().map(settle).collect(), ..plane }
}

impl Flow {
    fn none(width: usize, height: usize) -> Self {
        let plane = Plane { width, height, values: vec![0.0; width * height] };
        Self { across: plane.clone(), down: plane }
    }

    /// Of pictures of another size.
    fn resized(&self, width: usize, height: usize) -> Self {
        let scaled = |plane: &Plane, scale: f32| {
            let mut plane = plane.resized(width, height);
            plane.values.iter_mut().for_each(|value| *value *= scale);
            plane
        };
        Self {
            across: scaled(&self.across, width as f32 / self.across.width as f32),
            down: scaled(&self.down, height as f32 / self.down.height as f32),
        }
    }
}

/// The last picture as it is seen through a flow of its size, which counts `strength` times; between four pixels, beyond the
/// border the outermost, rounded.
pub fn warp(last: &Picture, flow: &Flow, strength: f32) -> Picture {
    let mut warped = last.black();
    let (width, height) = (last.width(), last.height());
    for y in 0..height {
        let row = warped.row_mut(y).as_chunks_mut::<3>().0.iter_mut().enumerate();
        for (x, pixel) in row {
            let place = y * width + x;
            let across = Between::at(x as f32 + strength * flow.across.values[place], width);
            let down = Between::at(y as f32 + strength * flow.down.values[place], height);
            *pixel = between(last, across, down);
        }
    }
    warped
}

fn between(picture: &Picture, across: Between, down: Between) -> [u8; 3] {
    let [upper, lower] = [down.lower, down.upper].map(|y| {
        let row = picture.row(y).as_chunks::<3>().0;
        [0, 1, 2].map(|channel| {
            let [left, right] = [across.lower, across.upper].map(|x| f32::from(row[x][channel]));
            left + (right - left) * across.share
        })
    });
    [0, 1, 2].map(|c| (upper[c] + (lower[c] - upper[c]) * down.share + 0.5) as u8)
}
