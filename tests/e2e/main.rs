//! The product from outside: its program, its API, its media, its files; one module per chapter.

mod api;
mod browsers;
mod checkpoints;
mod clients;
mod contract;
mod controlnets;
mod events;
mod faults;
mod fetching;
mod frame_age;
mod hls;
mod hostile;
mod ip_adapters;
mod main_job;
mod media_peers;
mod mediamtx;
mod pictures;
mod plugins;
mod processors;
mod recordings;
mod restart;
mod rtmp;
mod rtsp;
mod schemas;
mod secrets;
mod steered_job;
