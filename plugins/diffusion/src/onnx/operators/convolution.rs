//! A 3x3 convolution by steps of one, in fewer products than ONNX Runtime's, and in the layout that everything around it
//! has: its own convolutions have another, to which pictures are copied and back.

use ort::operator::{ComputeContext, Kernel, KernelContext};

use super::{Input, Registrable, attribute, mismatch, on_all_threads, output};
use crate::kernels::{Filters, Finish, Picture, lines_of_strip};

/// `x [rows, inputs, height, width]`; `weight [outputs, inputs * 9]`, constant; `bias [outputs]`; `summand`, which is
/// added, in the shape of the result. Then, with `relu` 1, what is negative becomes 0.
pub struct Convolution {
    filters: Filters,
    /// Top, left, bottom, right.
    padding: [usize; 4],
    has_relu: bool,
}

impl Registrable for Convolution {
    const NAME: &'static str = "Convolution";
    const INPUTS: usize = 3;
    const OPTIONAL: usize = 1;

    fn create(ctx: &KernelContext<'_>) -> ort::Result<Self> {
        let weight = ctx.constant_input::<ort::value::DynTensorValueType>(1)?;
        let (shape, weights) = weight.try_extract_tensor::<f32>()?;
        let (outputs, inputs) = match shape[..] {
            [outputs, places] if outputs > 0 && places > 0 && places % 9 == 0 => {
                (outputs as usize, places as usize / 9)
            }
            _ => return Err(ort::Error::new(format!("{shape:?} is no shape of 3x3 filters"))),
        };
        let pads = attribute::<Vec<i64>>(ctx, "pads")?;
        let padding = pads.iter().map(|&pad| usize::try_from(pad).ok()).collect::<Option<Vec<_>>>();
        let padding = padding.and_then(|padding| padding.try_into().ok());
        let padding =
            padding.ok_or_else(|| ort::Error::new(format!("{pads:?} are not four pads")))?;
        Ok(Self {
            filters: Filters::new(weights, outputs, inputs),
            padding,
            has_relu: attribute::<i64>(ctx, "relu")? == 1,
        })
    }
}

impl Kernel for Convolution {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        let (x, bias) = (Input::of(ctx, 0)?, Input::of(ctx, 2)?);
        let summand = ctx.input(3)?.map(Input);
        let ((shape, x), (biases, bias)) = (x.parts()?, bias.parts()?);
        let summand = summand.as_ref().map(Input::parts).transpose()?;
        let (inputs, outputs) = (self.filters.inputs(), self.filters.outputs());
        let wrong = || mismatch("Convolution", &[&shape, &biases]);
        let &[rows, channels, height, width] = &shape[..] else { return Err(wrong()) };
        let picture = |values| Picture { values, sides: [height, width], padding: self.padding };
        let sides = picture(&[]).result().ok_or_else(wrong)?;
        if x.is_empty() || channels != inputs || bias.len() != outputs {
            return Err(wrong());
        }
        let shape = [rows, outputs, sides[0], sides[1]];
        if let Some((summands, _)) = summand.as_ref().filter(|(summands, _)| summands[..] != shape)
        {
            return Err(mismatch("Convolution", &[&shape, summands]));
        }
        let (size, lines) = (outputs * sides[0] * sides[1], lines_of_strip(sides));
        let mut result = output(ctx, &shape)?;
        let (_, values) = result.try_extract_tensor_mut::<f32>()?;
        let strips: Vec<_> =
            values.chunks_mut(size).flat_map(|row| strips(row, sides, lines)).collect();
        let each = sides[0].div_ceil(lines);
        on_all_threads(ctx, strips, |number, planes| {
            let row = number / each;
            let summand = summand.as_ref().map(|parts| &parts.1[row * size..(row + 1) * size]);
            let finish = Finish { bias, summand, has_relu: self.has_relu };
            let area = inputs * height * width;
            let picture = picture(&x[row * area..(row + 1) * area]);
            self.filters.convolve(&picture, number % each * lines, planes, &finish);
        })
    }
}

/// So many lines of all planes, then the next.
fn strips(planes: &mut [f32], [height, width]: [usize; 2], lines: usize) -> Vec<Vec<&mut [f32]>> {
    let mut strips: Vec<Vec<&mut [f32]>> = Vec::new();
    strips.resize_with(height.div_ceil(lines), Vec::new);
    for plane in planes.chunks_mut(height * width) {
        for (strip, part) in strips.iter_mut().zip(plane.chunks_mut(lines * width)) {
            strip.push(part);
        }
    }
    strips
}
