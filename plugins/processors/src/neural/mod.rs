//! Processors that are neural networks, each in a file of others that the models folder or the hub's cache has.
//!
//! `sources` says which file, `loading` finds, loads and shares it, `ports` checks what it takes and gives, `planes` are
//! its numbers; each processor is a file with its params and what is done before and behind its network. `named` offers
//! them by name.

pub mod colours;
pub mod depth;
pub mod error;
pub mod flow;
pub mod hed;
pub mod lineart;
pub mod loading;
pub mod named;
pub mod planes;
pub mod ports;
pub mod pose;
pub mod safety;
pub mod segmentation;
pub mod sources;
pub mod upscaler;

use crate::params::{Checked, Params};
use crate::picture::Picture;
use error::NeuralError;
use loading::Loader;
use plugin_api::FrameFormat;
use sources::Source;

/// One of them: its networks and what it keeps from picture to picture.
pub trait Neural: Sized + Send + 'static {
    type Params: Params + Clone + Send;

    /// The files it needs.
    fn sources(params: &Self::Params) -> Vec<&'static Source>;

    /// Names of params whose change, to the second ones, needs other networks.
    fn reloads(_: &Self::Params, _: &Self::Params) -> Vec<&'static str> {
        vec![]
    }

    /// The size of what it makes of a picture.
    fn output(_params: &Self::Params, input: FrameFormat) -> FrameFormat {
        input
    }

    fn load(loader: &Loader<'_>, params: &Checked<Self::Params>) -> Result<Self, NeuralError>;

    fn apply(
        &mut self,
        picture: &Picture,
        params: &Checked<Self::Params>,
    ) -> Result<Picture, NeuralError>;
}
