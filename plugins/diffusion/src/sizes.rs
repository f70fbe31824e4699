//! The sizes of inputs: what a provider that compiles a network for them must know before the first one comes.

use crate::guidance::CfgType;
use crate::nets::{Dim, Port};
use crate::stream::Settings;

/// Most entries of a `t_index_list`, which may change while a stream runs.
pub const MOST_STEPS: usize = 4;

/// What a checkpoint's networks will be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pictures {
    pub width: usize,
    pub height: usize,
    /// How many at once.
    pub frames: usize,
    /// Of the UNet's batches.
    pub rows: Rows,
}

/// How many rows a batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub usual: usize,
    pub most: usize,
}

impl Rows {
    pub const ONE: Self = Self { usual: 1, most: 1 };
}

/// What one network will be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub rows: Rows,
    /// In the network's own pixels, which are latents for a UNet.
    pub height: usize,
    pub width: usize,
    /// Of the text.
    pub tokens: usize,
}

impl Pictures {
    /// Single ones, made in up to [`MOST_STEPS`] steps without guidance.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, frames: 1, rows: Rows { usual: 1, most: MOST_STEPS } }
    }

    pub fn of(settings: &Settings) -> Self {
        let shape = &settings.shape;
        let rows = |steps: usize| {
            let rows = shape.frames * if shape.is_batched { steps } else { 1 };
            // Guidance may begin or end while the stream runs.
            rows + match settings.guidance.cfg_type {
                CfgType::Full => rows,
                CfgType::Initialize => shape.frames,
                CfgType::None | CfgType::Own => 0,
            }
        };
        let steps = settings.t_index_list.len();
        Self {
            width: shape.width,
            height: shape.height,
            frames: shape.frames,
            rows: Rows { usual: rows(steps), most: rows(MOST_STEPS.max(steps)) },
        }
    }

    /// Of a network that works on `downsampling` pixels as one, and takes all frames at once.
    pub fn sizes(&self, downsampling: usize) -> Sizes {
        Sizes {
            rows: Rows { usual: self.frames, most: self.frames },
            height: self.height / downsampling,
            width: self.width / downsampling,
            tokens: 0,
        }
    }
}

/// The least, usual and largest size of every dimension of an input.
pub type Range = [Vec<usize>; 3];

impl Sizes {
    /// Those of an input; none where a dimension may have any size.
    pub fn range(&self, port: &Port) -> Option<Range> {
        let of = |rows| -> Option<Vec<usize>> {
            port.dims.iter().map(|&dim| self.size(dim, rows)).collect()
        };
        Some([of(1)?, of(self.rows.usual)?, of(self.rows.most)?])
    }

    fn size(&self, dim: Dim, rows: usize) -> Option<usize> {
        Some(match dim {
            Dim::Any => return None,
            Dim::Fixed(size) => size,
            Dim::Free(name) | Dim::AtLeast(name, _) | Dim::MultipleOf(name, _) => {
                self.named(name, rows)
            }
            Dim::Halved(name, times) => {
                (0..times).fold(self.named(name, rows), |size, _| size.div_ceil(2))
            }
            Dim::Times(name, factor) => factor * self.named(name, rows),
        })
    }

    fn named(&self, name: &str, rows: usize) -> usize {
        match name {
            "height" => self.height,
            "width" => self.width,
            "tokens" => self.tokens,
            _ => rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blend::Blend;
    use crate::guidance::Guidance;
    use crate::stream::Shape;
    use crate::stream::hooks::Hooks;

    fn settings(cfg_type: CfgType, steps: usize) -> Settings {
        Settings {
            shape: Shape::new(768, 512),
            prompt: Blend::one(String::new()),
            negative_prompt: String::new(),
            guidance: Guidance { cfg_type, scale: 1.0, delta: 1.0 },
            seed: Blend::one(1),
            t_index_list: vec![0; steps],
            num_inference_steps: 50,
            hooks: Hooks::default(),
            controls: Vec::new(),
            adapter: None,
            cached_attention: None,
        }
    }

    fn rows(settings: &Settings) -> (usize, usize) {
        let Rows { usual, most } = Pictures::of(settings).rows;
        (usual, most)
    }

    #[test]
    fn there_is_room_for_what_may_change_while_a_stream_runs() {
        assert_eq!(rows(&settings(CfgType::Own, 2)), (2, 4));
        // Guidance that does not act now still may.
        assert_eq!(rows(&settings(CfgType::Full, 2)), (4, 8));
        assert_eq!(rows(&settings(CfgType::Initialize, 1)), (2, 5));
        let mut sequential = settings(CfgType::Full, 3);
        sequential.shape.is_batched = false;
        assert_eq!(rows(&sequential), (2, 2));
        sequential.shape.frames = 2;
        assert_eq!(rows(&sequential), (4, 4));
    }

    #[test]
    fn an_input_has_a_range_where_the_network_leaves_it_open() {
        let pictures = Pictures::of(&settings(CfgType::Own, 1));
        let sizes = Sizes { rows: pictures.rows, tokens: 77, ..pictures.sizes(8) };
        let dims = ["rows", "height", "width", "tokens"].map(Dim::Free);
        let port = Port { name: "any".into(), dims: [&dims[..], &[Dim::Fixed(4)]].concat() };
        let range = sizes.range(&port).unwrap();
        assert_eq!(range, [[1, 64, 96, 77, 4], [1, 64, 96, 77, 4], [4, 64, 96, 77, 4]]);
        assert_eq!(sizes.range(&Port { name: "any".into(), dims: vec![Dim::Any] }), None);
        let odd = Sizes { height: 9, ..sizes };
        let dims = vec![Dim::Halved("height", 2), Dim::Times("width", 8)];
        let range = odd.range(&Port { name: "any".into(), dims }).unwrap();
        assert_eq!(range, [[3, 768], [3, 768], [3, 768]]);
    }
}
