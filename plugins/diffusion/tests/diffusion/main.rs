//! The library's tests through its public face. `golden` compares with recorded reference data, by way of `cases`.

// Only functions marked as tests are let off by the lint's own setting; all of this is test.
#![allow(clippy::unwrap_used)]

mod autoencoders;
mod back_ends;
mod cached_attention;
mod cases;
mod controlnet_cases;
mod controlnets;
mod demo;
mod denoising;
mod face_plus;
mod full_size;
mod golden;
mod hostile;
mod ip_adapter_cases;
mod ip_adapters;
mod lora;
mod names;
mod original_layout;
mod single_file;
mod stream_cases;
mod stream_extras;
mod streams;
mod support;
mod torch_files;
