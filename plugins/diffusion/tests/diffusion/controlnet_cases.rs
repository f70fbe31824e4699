//! ControlNets, and UNets with what they add.

use plugins_diffusion::config::Config;
use plugins_diffusion::engine::{Engine, Model};
use plugins_diffusion::files::weights_file;
use plugins_diffusion::nets::{ControlNet, Network, Unet};
use plugins_diffusion::tensor::Tensor;

use crate::cases::unet_inputs;
use crate::support::{Case, Golden, Outcome};

pub fn controlnets(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let mut case = golden.case(name);
    let scales = case.about["scales"].as_array().unwrap().clone();
    let mut sum: Vec<Tensor> = Vec::new();
    for (index, (which, scale)) in names(&case).iter().zip(scales).enumerate() {
        let net = load(golden, which, engine);
        let picture = case.float(&format!("cond_{index}")).clone();
        let usual = unet_inputs(&case);
        let inputs: Vec<&Tensor> = usual.iter().chain([&picture]).collect();
        let residuals = run(&net, &inputs, scale.as_f64().unwrap() as f32);
        let (middle, down) = residuals.split_last().unwrap();
        case.compare(&format!("cn{index}_mid"), middle.data());
        for (place, residual) in down.iter().enumerate() {
            let tensor = format!("cn{index}_down_{place:02}");
            assert_eq!(residual.shape(), case.float(&tensor).shape(), "{tensor}");
            case.compare(&tensor, residual.data());
        }
        add(&mut sum, residuals);
    }
    let unet = load_unet(golden, base(name), engine);
    let usual = unet_inputs(&case);
    let inputs: Vec<&Tensor> = usual.iter().chain(&sum).collect();
    case.compare("out", unet.run(&inputs).unwrap().data());
    Ok(case.report())
}

/// A ControlNet by its short name in the recorded cases.
pub fn load(golden: &Golden, which: &str, engine: &Engine) -> Model<ControlNet> {
    let folder = golden.checkpoints.join(match which {
        "cn_a" => "controlnet-sd15-a-tiny",
        "cn_b" => "controlnet-sd15-b-tiny",
        "cn_turbo" => "controlnet-sdturbo-tiny",
        "cn_xl" => "controlnet-sdxl-tiny",
        other => panic!("no ControlNet {other}"),
    });
    let config = Config::read(&folder.join("config.json")).unwrap();
    let network = ControlNet::from_config(&config).unwrap();
    let weights = weights_file(&folder, "diffusion_pytorch_model").unwrap();
    engine.load(network, &weights, &mut || true).unwrap()
}

/// The UNet of a checkpoint, with inputs for residuals.
pub fn load_unet(golden: &Golden, checkpoint: &str, engine: &Engine) -> Model<Unet> {
    let folder = golden.checkpoints.join(checkpoint).join("unet");
    let network = Unet::from_config(&Config::read(&folder.join("config.json")).unwrap()).unwrap();
    let weights = weights_file(&folder, "diffusion_pytorch_model").unwrap();
    engine.load(network.with_residuals(), &weights, &mut || true).unwrap()
}

/// The residuals of a ControlNet, in the order in which the UNet takes them.
pub fn run(net: &Model<ControlNet>, inputs: &[&Tensor], scale: f32) -> Vec<Tensor> {
    let mut residuals = net.run_all(inputs).unwrap();
    assert_eq!(residuals.len(), net.network().outputs().len());
    let values = residuals.iter_mut().flat_map(|residual| residual.data_mut());
    values.for_each(|value| *value *= scale);
    residuals
}

pub fn add(sum: &mut Vec<Tensor>, residuals: Vec<Tensor>) {
    if sum.is_empty() {
        *sum = residuals;
        return;
    }
    for (sum, residual) in sum.iter_mut().zip(&residuals) {
        let pairs = sum.data_mut().iter_mut().zip(residual.data());
        pairs.for_each(|(sum, value)| *sum += value);
    }
}

fn names(case: &Case) -> Vec<String> {
    let names = case.about["controlnets"].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn base(case: &str) -> &str {
    match case {
        "controlnet_sdxl" => "sdxl-tiny",
        "controlnet_sdturbo" => "sdturbo-tiny",
        _ => "sd15-tiny",
    }
}
