//! What a plugin can offer to be called.

/// Each is a table of functions, found by the feature's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// What a stream runs: frame in, frame out.
    Pipeline,
    /// A step on pictures that pipelines open by name.
    ImageProcessor,
    /// What adds to a denoising network's activations, like a ControlNet.
    ResidualConditioner,
    /// What makes tokens of a picture that a denoising network attends to, like an IP-Adapter.
    TokenConditioner,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Pipeline, Self::ImageProcessor, Self::ResidualConditioner, Self::TokenConditioner];
    /// Those that pipelines open by name through the host.
    pub const LENT: [Self; 3] =
        [Self::ImageProcessor, Self::ResidualConditioner, Self::TokenConditioner];

    /// Its name in manifests, with the major version of its table.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline/0",
            Self::ImageProcessor => "image-processor/0",
            Self::ResidualConditioner => "residual-conditioner/0",
            Self::TokenConditioner => "token-conditioner/0",
        }
    }

    /// The feature of an id.
    pub fn of_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.id() == id)
    }

    /// What people call one that is opened by name.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::ImageProcessor => "image processor",
            Self::ResidualConditioner => "residual conditioner",
            Self::TokenConditioner => "token conditioner",
        }
    }

    /// Whether it is given tensors and not frames.
    pub const fn is_conditioner(self) -> bool {
        matches!(self, Self::ResidualConditioner | Self::TokenConditioner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_found_by_their_ids() {
        for feature in Feature::ALL {
            assert_eq!(Feature::of_id(feature.id()), Some(feature));
        }
        assert_eq!(Feature::of_id("pipeline/1"), None);
    }
}
