//! What the diffusion plugins share: networks, the back ends that run them, and the stream engine around them.
//!
//! From the ground up: [`weights`] reads files of weights and [`config`] the files that describe architectures; [`ops`]
//! is the vocabulary in which [`nets`] are written once; [`onnx`] and [`candle`] run them, chosen by [`engine`], which
//! can leave [`resident`] tensors there, and `kernels` are loops that they leave to us; what is compiled for [`sizes`] is
//! kept as [`engines`]. A model is found by [`resolve`], in a diffusers folder or in one file ([`files`], [`original`]),
//! told apart by [`family`] and loaded by [`folder`], with its [`tokenizer`], [`text_encoders`] and [`vae`], and
//! [`lora`]s in its weights; texts become [`conditioning`]. [`stream`] turns frames into pictures, by the [`schedule`],
//! with [`guidance`], [`noise`] as in torch, [`blend`]ed prompts and seeds, and [`image`]s in and out; [`ip_weights`]
//! spread an IP-Adapter over layers. [`params`] are those of the plugins' schemas, and [`pipeline`] what the plugins do
//! with all of it.

pub mod blend;
pub mod candle;
pub mod conditioning;
pub mod config;
pub mod engine;
pub mod engines;
pub mod family;
pub mod files;
pub mod folder;
pub mod guidance;
pub mod image;
pub mod ip_weights;
mod kernels;
pub mod lora;
pub mod nets;
pub mod noise;
pub mod onnx;
pub mod ops;
pub mod original;
pub mod params;
pub mod pipeline;
pub mod resident;
pub mod resolve;
pub mod schedule;
pub mod shared;
pub mod sizes;
pub mod stream;
pub mod tensor;
pub mod text_encoders;
pub mod tokenizer;
pub mod vae;
pub mod weights;
