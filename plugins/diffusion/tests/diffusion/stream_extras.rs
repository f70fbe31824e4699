//! UNets of streams that are given more than latents and a prompt.

use plugins_diffusion::engine::{Engine, Model, RunError};
use plugins_diffusion::nets::{ControlNet, Unet};
use plugins_diffusion::tensor::Tensor;

use crate::support::{Case, Golden};
use crate::{controlnet_cases, ip_adapter_cases};

/// What a case's UNet is given beside its usual inputs.
pub enum Extras {
    /// ControlNets and their scales; the second one is given the negative of the frame.
    Control(Vec<(Model<ControlNet>, f32)>),
    /// Tokens of a picture, and the scales of layers.
    Picture(Tensor, Tensor),
}

impl Extras {
    /// Those of a case that has some, with the UNet that takes them.
    pub fn of(golden: &Golden, case: &Case, engine: &Engine) -> Option<(Self, Model<Unet>)> {
        let (adapter, shown, scale) = match case.name.as_str() {
            "stream_n2_none_controlnet" => {
                return Some(control(golden, case, engine, &[("cn_a", 0.8)]));
            }
            "stream_n2_self_controlnet2" => {
                return Some(control(golden, case, engine, &[("cn_a", 0.8), ("cn_b", 0.45)]));
            }
            "stream_sdxl_n1_controlnet" => {
                return Some(control(golden, case, engine, &[("cn_xl", 0.7)]));
            }
            "stream_n2_none_ipadapter" => ("ip-adapter-sd15-tiny", "ipadapter_sd15", 0.6),
            "stream_n1_none_ipadapter_plus" => {
                ("ip-adapter-plus-sd15-tiny", "ipadapter_plus_sd15", 0.5)
            }
            _ => return None,
        };
        // The pixels of the picture that these cases show, too, are recorded there.
        let tokens = ip_adapter_cases::tokens(golden, &golden.case(shown), adapter, engine);
        let (base, count) = (base(case), tokens.shape()[1]);
        let unet = ip_adapter_cases::load_unet(golden, base, adapter, count, engine);
        let scales = ip_adapter_cases::scales(&unet, scale);
        Some((Self::Picture(tokens, scales), unet))
    }

    /// Runs the UNet for a batch, while `frame` is the newest one.
    pub fn run(
        &self,
        unet: &Model<Unet>,
        frame: &Tensor,
        usual: &[&Tensor],
    ) -> Result<Tensor, RunError> {
        let rows = usual[0].shape()[0];
        let more = match self {
            Self::Control(nets) => residuals(nets, frame, usual),
            Self::Picture(tokens, scales) => vec![tokens.repeat_rows(rows), scales.clone()],
        };
        unet.run(&usual.iter().copied().chain(&more).collect::<Vec<_>>())
    }
}

fn control(
    golden: &Golden,
    case: &Case,
    engine: &Engine,
    nets: &[(&str, f32)],
) -> (Extras, Model<Unet>) {
    let load = |&(name, scale): &(&str, f32)| (controlnet_cases::load(golden, name, engine), scale);
    let unet = controlnet_cases::load_unet(golden, base(case), engine);
    (Extras::Control(nets.iter().map(load).collect()), unet)
}

fn base(case: &Case) -> &str {
    case.about["checkpoint"].as_str().unwrap()
}

fn residuals(nets: &[(Model<ControlNet>, f32)], frame: &Tensor, usual: &[&Tensor]) -> Vec<Tensor> {
    let rows = usual[0].shape()[0];
    let mut sum = Vec::new();
    for (index, (net, scale)) in nets.iter().enumerate() {
        let mut picture = frame.repeat_rows(rows);
        for value in picture.data_mut() {
            let unit = *value / 2.0 + 0.5;
            *value = if index == 0 { unit } else { 1.0 - unit };
        }
        let inputs: Vec<&Tensor> = usual.iter().copied().chain([&picture]).collect();
        controlnet_cases::add(&mut sum, controlnet_cases::run(net, &inputs, *scale));
    }
    sum
}
