//! What end-to-end tests and benches share: a server of their own, HTTP, a browser, plugin files. Knows the product only
//! as a user does: by its program, its API and its files.

pub mod avsync;
pub mod browser;
pub mod clients;
pub mod crash;
pub mod ffmpeg;
pub mod host;
pub mod http;
pub mod libraries;
pub mod peers;
pub mod process;
pub mod style;
