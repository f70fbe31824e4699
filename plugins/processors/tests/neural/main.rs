//! The neural processors with small networks in the places of the real ones; `models.py` made those and what they are
//! compared with.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

mod hed_weights;
mod hostile;
mod people;
mod pictures;
mod plans;
mod safety;
mod support;
