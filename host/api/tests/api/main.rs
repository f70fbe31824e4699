//! The HTTP contract, driven through the router over fake ports.

mod support;

mod errors;
mod lists_and_status;
mod media;
mod pages;
mod streams;
