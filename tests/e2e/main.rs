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
mod hostile;
mod in_step;
mod ip_adapters;
mod main_job;
mod media_peers;
mod pictures;
mod plugins;
mod processors;
mod restart;
mod schemas;
mod secrets;
mod steered_job;
