//! What steers a MediaMTX, against a stand-in of it: its API, and its program.

mod attached;
mod calls;
mod spawned;
mod support;
