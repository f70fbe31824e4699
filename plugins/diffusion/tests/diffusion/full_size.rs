//! SDXL in its real size, with weights of zeros: sparse files that take no room on the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plugins_diffusion::blend::Blend;
use plugins_diffusion::config::Config;
use plugins_diffusion::engine::{Backend, Engine};
use plugins_diffusion::folder::{Checkpoint, Parts};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::nets::{ClipText, ControlNet, Network, Reading, Unet};
use plugins_diffusion::onnx::{Dialect, Provider, write};
use plugins_diffusion::stream::hooks::Hooks;
use plugins_diffusion::stream::{Settings, Shape, Stream};
use plugins_diffusion::weights::Weights;
use prost::Message;
use serde_json::{Value, json};

use crate::names::Names;
use crate::streams::show;
use crate::support::provider;

const SIDE: usize = 512;
const GIB: f64 = (1u64 << 30) as f64;

/// As stabilityai/sdxl-turbo has it, and all others.
fn unet() -> Value {
    json!({
        "in_channels": 4, "out_channels": 4, "cross_attention_dim": 2048,
        "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
        "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "use_linear_projection": true, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    })
}

fn text_encoders() -> [(&'static str, Value, Reading); 2] {
    let shape = |width: usize, layers: usize, heads: usize, activation: &str| {
        json!({
            "vocab_size": 49408, "hidden_size": width, "intermediate_size": 4 * width,
            "num_hidden_layers": layers, "num_attention_heads": heads, "hidden_act": activation,
            "projection_dim": width, "eos_token_id": 2,
        })
    };
    [
        ("text_encoder", shape(768, 12, 12, "quick_gelu"), Reading::BeforeLast),
        ("text_encoder_2", shape(1280, 32, 20, "gelu"), Reading::BeforeLastAndPooled),
    ]
}

fn config(folder: &Path, values: &Value) -> Config {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("config.json");
    std::fs::write(&path, values.to_string()).unwrap();
    Config::read(&path).unwrap()
}

/// As stable-diffusion-v1-5 has it, and all of its kin.
fn unet_of_sd15() -> Value {
    let down = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"];
    let up = ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"];
    json!({
        "in_channels": 4, "out_channels": 4, "cross_attention_dim": 768,
        "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
        "attention_head_dim": 8,
        "down_block_types": [down[0], down[1], down[2], "DownBlock2D"],
        "up_block_types": ["UpBlock2D", up[0], up[1], up[2]],
    })
}

fn count(shapes: &[(String, Vec<usize>)]) -> usize {
    shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// Writes half-precision zeros for all of a network's weights, and gives their number.
fn write_zeros(network: &impl Network, path: &Path) -> usize {
    let (mut end, mut header) = (0, BTreeMap::new());
    for (name, shape) in Names::of(network) {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    end / 2
}

#[test]
fn the_networks_of_sdxl_have_as_many_weights_as_the_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    let unet = Unet::from_config(&config(folder.path(), &unet())).unwrap();
    assert_eq!(count(&Names::of(&unet)), 2_567_463_684);
    let counts = text_encoders().map(|(_, values, _)| {
        let config = config(folder.path(), &values);
        let whole =
            if values["hidden_size"] == 768 { Reading::Last } else { Reading::BeforeLastAndPooled };
        count(&Names::of(&ClipText::from_config(&config, whole).unwrap()))
    });
    assert_eq!(counts, [123_060_480, 694_659_840]);
}

#[test]
fn controlnets_have_as_many_weights_as_the_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    for (unet, residuals, published) in
        [(unet_of_sd15(), 13, 361_279_120), (unet(), 10, 1_251_014_160)]
    {
        let net = ControlNet::from_config(&config(folder.path(), &unet)).unwrap();
        assert_eq!(net.outputs().len(), residuals);
        assert_eq!(count(&Names::of(&net)), published);
    }
    let mut temporal = unet_of_sd15();
    temporal["conditioning_channels"] = 6.into();
    let net = ControlNet::from_config(&config(folder.path(), &temporal)).unwrap();
    let first = ("controlnet_cond_embedding.conv_in.weight".to_owned(), vec![16, 6, 3, 3]);
    assert!(Names::of(&net).contains(&first), "two pictures at once");
    temporal["controlnet_conditioning_channel_order"] = "bgr".into();
    let error = ControlNet::from_config(&config(folder.path(), &temporal)).unwrap_err();
    assert!(error.to_string().ends_with(r#"is "bgr"; supported: "rgb""#), "{error}");
}

#[test]
fn ip_adapters_have_as_many_layers_and_weights_as_the_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    // Of the published files these are the bytes in half precision, without header and projection.
    for (unet, layers, bytes) in [(unet_of_sd15(), 16, 38_338_560), (unet(), 70, 681_574_400)] {
        let unet = Unet::from_config(&config(folder.path(), &unet)).unwrap();
        assert_eq!(unet.cross_attentions(), layers);
        let adapted = Names::of(&unet.clone().with_image_tokens(4));
        assert_eq!(2 * (count(&adapted) - count(&Names::of(&unet))), bytes);
        let last = format!("ip_adapter.{}.to_k_ip.weight", 2 * layers - 1);
        let middle = vec![1280, unet.context()];
        assert!(adapted.contains(&(last, middle)), "the middle is last");
    }
}

#[test]
fn the_graph_of_sdxl_is_small_and_quickly_written() {
    let folder = tempfile::tempdir().unwrap();
    let unet = Unet::from_config(&config(folder.path(), &unet())).unwrap();
    let path = folder.path().join("unet.safetensors");
    write_zeros(&unet, &path);
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let weights = Weights::open(&path).unwrap();
        let graph = write(&unet, &weights, Dialect::CUDA).unwrap().encode_to_vec();
        times.push(start.elapsed());
        assert!(graph.len() < 2_000_000, "{} bytes", graph.len());
        println!("{} bytes in {:?}", graph.len(), start.elapsed());
    }
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        println!(
            "skipped: how long it takes, which a busy machine decides; RUN_SLOW_TESTS is not set"
        );
        return;
    }
    // The machine may be busy with something else at one of the tries.
    assert!(times.iter().any(|&time| time < Duration::from_millis(200)), "{times:?}");
}

#[test]
fn only_cuda_has_the_fused_group_norm_and_only_with_weights_for_all_rows() {
    let folder = tempfile::tempdir().unwrap();
    let norms = |changes: &Value, dialect| {
        let mut values = unet_of_sd15();
        values.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let unet = Unet::from_config(&config(folder.path(), &values)).unwrap();
        let path = folder.path().join("unet.safetensors");
        write_zeros(&unet, &path);
        let graph = write(&unet, &Weights::open(&path).unwrap(), dialect).unwrap().graph.unwrap();
        let count = |op: &str| graph.node.iter().filter(|node| node.op_type == op).count();
        (count("GroupNorm"), count("InstanceNormalization"))
    };
    let all = 2 * 22 + 16 + 1;
    assert_eq!(norms(&json!({}), Dialect::CUDA), (all, 0));
    let no_halves = Dialect { has_half: false, ..Dialect::CUDA };
    assert_eq!([norms(&json!({}), no_halves), norms(&json!({}), Dialect::PLAIN)], [(0, all); 2]);
    let by_rows = json!({"resnet_time_scale_shift": "scale_shift"});
    assert_eq!(norms(&by_rows, Dialect::CUDA), (all - 22, 22), "the second norm of each block");
    assert_eq!(norms(&json!({"norm_num_groups": 16}), Dialect::CUDA), (0, all));
}

/// Everything but the networks' weights comes from the tiny models.
fn write_checkpoint(folder: &Path) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test");
    let link = |from: &str, to: &str| {
        std::os::unix::fs::symlink(models.canonicalize().unwrap().join(from), folder.join(to))
            .unwrap();
    };
    link("sdxl-tiny/scheduler", "scheduler");
    link("tokenizer-clip-full", "tokenizer");
    link("tokenizer-clip-full", "tokenizer_2");
    for (name, values, reading) in text_encoders() {
        let own = folder.join(name);
        let network = ClipText::from_config(&config(&own, &values), reading).unwrap();
        write_zeros(&network, &own.join("model.safetensors"));
    }
    let own = folder.join("unet");
    let network = Unet::from_config(&config(&own, &unet())).unwrap();
    write_zeros(&network, &own.join("diffusion_pytorch_model.safetensors"));
}

#[test]
fn sdxl_in_full_size_fits_into_24_gib() {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        println!("skipped: it takes minutes and 16 GB of memory; RUN_SLOW_TESTS is not set");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path());
    let vae = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/test/taesdxl-tiny");
    // On the CPU, ONNX Runtime holds the weights in both precisions, and more than once, while it loads them.
    let backend = if provider() == Provider::Cpu { Backend::Candle } else { Backend::Onnx };
    let engine = Engine::start(&crate::support::options(backend)).unwrap();
    let start = Instant::now();
    let checkpoint =
        Checkpoint::load(&engine, Parts::new(folder.path(), &vae), &mut |_, _| true).unwrap();
    println!("loaded in {:?}", start.elapsed());
    let settings = Settings {
        shape: Shape::new(SIDE, SIDE),
        prompt: Blend::one("a red cat".into()),
        negative_prompt: String::new(),
        guidance: Guidance { cfg_type: CfgType::None, scale: 1.0, delta: 1.0 },
        seed: Blend::one(2),
        t_index_list: vec![32],
        num_inference_steps: 50,
        hooks: Hooks::default(),
        controls: Vec::new(),
        adapter: None,
        cached_attention: None,
    };
    let start = Instant::now();
    let mut stream = Stream::new(Arc::new(checkpoint), settings).unwrap();
    println!("prompt in {:?}", start.elapsed());
    let start = Instant::now();
    let picture = show(&mut stream, &vec![127; 3 * SIDE * SIDE], 1).picture.rgb;
    let peak = peak_bytes() / GIB;
    println!("a frame in {:?}, {peak:.1} GiB at most", start.elapsed());
    assert_eq!(picture.len(), 3 * SIDE * SIDE);
    assert!(peak < 24.0, "{peak:.1} GiB");
}

fn peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
