//! How an IP-Adapter's scale is spread over the layers it adds to: `weight_type`.
//!
//! Some types are curves over all layers. Others pick layers by what these were found to carry: the composition of a
//! picture, its style, or neither. Which ones that are is known for Stable Diffusion 1.5, which has 16 layers, and for
//! SDXL, whose 11 groups of layers are 70 layers in all; StreamDiffusion picks none of the 70. A network with another
//! number of layers is taken for one like Stable Diffusion 1.5: of its layers each counts as that of the 16 which is
//! nearest at the same relative position, from the first layer to the last.

/// A `weight_type` by its name in StreamDiffusion's configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    Linear,
    EaseIn,
    EaseOut,
    EaseInOut,
    ReverseInOut,
    WeakInput,
    WeakOutput,
    WeakMiddle,
    StrongMiddle,
    StyleTransfer,
    Composition,
    StrongStyleTransfer,
    StyleAndComposition,
    StrongStyleAndComposition,
    StyleTransferPrecise,
    CompositionPrecise,
}

/// Of what the curves leave where they are lowest, over layers and over steps.
const LEAST_OF_LAYERS: f32 = 0.05;
const LEAST_OF_STEPS: f32 = 0.2;

impl WeightType {
    pub const ALL: [(&str, Self); 16] = [
        ("linear", Self::Linear),
        ("ease in", Self::EaseIn),
        ("ease out", Self::EaseOut),
        ("ease in-out", Self::EaseInOut),
        ("reverse in-out", Self::ReverseInOut),
        ("weak input", Self::WeakInput),
        ("weak output", Self::WeakOutput),
        ("weak middle", Self::WeakMiddle),
        ("strong middle", Self::StrongMiddle),
        ("style transfer", Self::StyleTransfer),
        ("composition", Self::Composition),
        ("strong style transfer", Self::StrongStyleTransfer),
        ("style and composition", Self::StyleAndComposition),
        ("strong style and composition", Self::StrongStyleAndComposition),
        ("style transfer precise", Self::StyleTransferPrecise),
        ("composition precise", Self::CompositionPrecise),
    ];

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The scale of each of `layers` layers.
    pub fn scales(self, base: f32, layers: usize) -> Vec<f32> {
        (0..layers).map(|layer| base * self.factor(layer, layers)).collect()
    }

    fn factor(self, layer: usize, layers: usize) -> f32 {
        let last = layers.saturating_sub(1).max(1) as f32;
        let position = layer as f32 / last;
        // 0 in the middle, 1 at both ends.
        let outward = (2.0 * position - 1.0).abs();
        let carries = Carries::of(layer, layers);
        let between = |position: f32| LEAST_OF_LAYERS + (1.0 - LEAST_OF_LAYERS) * position;
        match self {
            Self::EaseIn => between(1.0 - position),
            Self::EaseOut => between(position),
            Self::EaseInOut => between(1.0 - outward),
            Self::ReverseInOut => between(outward),
            Self::StyleTransfer | Self::StyleTransferPrecise => carries.style(),
            Self::Composition | Self::CompositionPrecise => carries.composition(),
            Self::StrongStyleTransfer => match carries {
                Carries::Composition(_) => 0.0,
                Carries::Style | Carries::Neither => 1.0,
            },
            Self::StyleAndComposition => carries.style() + carries.composition(),
            Self::StrongStyleAndComposition
            | Self::Linear
            | Self::WeakInput
            | Self::WeakOutput
            | Self::WeakMiddle
            | Self::StrongMiddle => 1.0,
        }
    }

    /// What all layers' scales are multiplied by at one of several steps, where steps are taken one after another. In a
    /// batch of all steps there is no such step, and this is left out.
    pub fn at_step(self, step: usize, steps: usize) -> f32 {
        let position = step as f32 / steps.saturating_sub(1).max(1) as f32;
        let outward = (2.0 * position - 1.0).abs();
        let between = |position: f32| LEAST_OF_STEPS + (1.0 - LEAST_OF_STEPS) * position;
        match self {
            Self::WeakInput => between(position),
            Self::WeakOutput => between(1.0 - position),
            Self::WeakMiddle => between(outward),
            Self::StrongMiddle => between(1.0 - outward),
            _ => 1.0,
        }
    }
}

/// What a layer was found to carry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Carries {
    Style,
    /// How much of it.
    Composition(f32),
    Neither,
}

impl Carries {
    /// Layers are numbered as by an adapter: the way down, the way up, the middle.
    fn of(layer: usize, layers: usize) -> Self {
        match (layers, layer) {
            (11, 3) => Self::Composition(1.0),
            (11, 6) => Self::Style,
            // `down_blocks.2.attentions.1` and `up_blocks.0.attentions.1`, of ten layers each.
            (70, 14..=23) => Self::Composition(1.0),
            (70, 34..=43) => Self::Style,
            (11 | 70, _) => Self::Neither,
            _ => match nearest(layer, layers) {
                4 => Self::Composition(0.25),
                5 => Self::Composition(1.0),
                0..=3 | 9..=15 => Self::Style,
                _ => Self::Neither,
            },
        }
    }

    fn style(self) -> f32 {
        if self == Self::Style { 1.0 } else { 0.0 }
    }

    fn composition(self) -> f32 {
        if let Self::Composition(share) = self { share } else { 0.0 }
    }
}

/// Of 16 layers the one at the same relative position.
fn nearest(layer: usize, layers: usize) -> usize {
    let last = layers.saturating_sub(1).max(1);
    (2 * 15 * layer + last) / (2 * last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(kind: WeightType, layers: usize) -> Vec<usize> {
        let scales = kind.scales(1.0, layers);
        (0..layers).filter(|&layer| scales[layer] > 0.0).collect()
    }

    #[test]
    fn sdxls_layers_are_picked_by_the_blocks_that_carry_style_and_composition() {
        let composition: Vec<usize> = (14..24).collect();
        assert_eq!(picked(WeightType::Composition, 70), composition);
        assert_eq!(picked(WeightType::StyleTransfer, 70), (34..44).collect::<Vec<_>>());
        let strong = picked(WeightType::StrongStyleTransfer, 70);
        assert_eq!(strong, (0..70).filter(|at| !composition.contains(at)).collect::<Vec<_>>());
    }

    #[test]
    fn other_numbers_of_layers_are_picked_by_relative_position() {
        assert_eq!(picked(WeightType::Composition, 16), [4, 5]);
        assert_eq!(picked(WeightType::Composition, 31), [7, 8, 9, 10]);
        assert_eq!(picked(WeightType::StyleTransfer, 6), [0, 1, 3, 4, 5]);
        assert_eq!(picked(WeightType::StyleTransfer, 1), [0]);
        assert_eq!(picked(WeightType::Linear, 0), [0; 0]);
    }
}
