//! Fetches models from the hub into the hub's own cache layout, lists and removes them.
//!
//! A [`Hub`] is read from the environment once; [`Hub::pull`] blocks, can be cancelled and tells how far it is. A model
//! is seen by those who look into the cache only when all of it is there and checked. [`Fetches`] pulls for streams, each
//! model once for all that wait for it. Which folder serves a `model_id` is for the plugins to say, and when to pull for
//! whoever calls. [`pictures`] fetches what params point to, from anywhere, and trusts none of it.

mod cancel;
mod checksum;
mod choose;
mod client;
mod download;
mod error;
mod fetches;
mod folder;
pub mod fuzzing;
mod installed;
mod jobs;
mod names;
mod partial;
mod patience;
pub mod pictures;
mod pull;
mod remove;
mod repository;
mod settings;

pub use cancel::Cancel;
pub use choose::{Precision, Selection};
pub use error::{PullError, TransferError};
pub use fetches::Fetches;
pub use installed::{Installed, Place, State, installed};
pub use names::{FileName, ModelId, NameError, Revision};
pub use patience::Timing;
pub use pull::{Event, Pulled, Wish};
pub use remove::RemoveError;
pub use settings::{Hub, SettingsError};
