//! Every part compared with what diffusers and StreamDiffusion compute, on both back ends.
//!
//! `GOLDEN_DIR` names a further folder of cases, with its checkpoints in `checkpoints`; its results are printed.

use crate::support::{Golden, engines};

/// Runs checked-in cases on both back ends.
fn check(names: &[&str]) {
    let golden = Golden::checked_in();
    for engine in engines() {
        for name in names {
            golden.expect(name, &engine);
        }
    }
}

#[test]
fn golden_tokenizer() {
    check(&["tokenizer"]);
}

#[test]
fn golden_noise() {
    check(&["rng"]);
}

#[test]
fn golden_schedule() {
    check(&["scheduler"]);
}

#[test]
fn golden_text_encoders() {
    check(&["text_sd15", "text_sdturbo", "text_sdxl"]);
}

#[test]
fn golden_unets() {
    check(&["unet_sd15", "unet_sd15_odd", "unet_sdturbo", "unet_sdturbo_odd"]);
    check(&["unet_sdxl", "unet_sdxl_odd"]);
}

#[test]
fn golden_loras() {
    check(&["lora_kohya", "lora_peft"]);
}

#[test]
fn golden_controlnets() {
    check(&["controlnet_sd15", "controlnet_sdxl"]);
}

#[test]
fn golden_ip_adapters() {
    check(&["ipadapter_sd15", "ipadapter_plus_sd15", "ipadapter_sdxl", "ip_weight_types"]);
}

#[test]
fn golden_streams_with_controlnet_or_ip_adapter() {
    check(&["stream_n2_none_controlnet", "stream_n2_none_ipadapter"]);
}

#[test]
fn golden_autoencoders() {
    check(&["vae"]);
}

#[test]
fn golden_images() {
    check(&["image", "frames"]);
}

#[test]
fn golden_streams() {
    check(&["stream_n1_none", "stream_n2_none", "stream_n4_none"]);
}

#[test]
fn golden_guided_streams() {
    check(&["stream_n1_self", "stream_n2_self", "stream_n4_full", "stream_n2_initialize"]);
}

#[test]
fn golden_stream_options() {
    check(&["stream_n2_self_g1", "stream_n2_self_noaddnoise", "stream_n2_self_steps25"]);
}

#[test]
fn golden_hot_updates_and_blending() {
    check(&["stream_n2_self_hot", "blend"]);
}

#[test]
fn golden_turbo_streams() {
    check(&["stream_n1_none_turbo", "stream_n2_none_turbo"]);
}

#[test]
fn golden_sdxl_streams() {
    check(&["stream_sdxl_n1_none", "stream_sdxl_n2_self"]);
    check(&["stream_sdxl_n1_full", "stream_sdxl_n2_initialize"]);
}

#[test]
fn golden_stream_with_kl_autoencoder() {
    check(&["stream_n2_none_kl"]);
}

#[test]
fn golden_folder_of_the_environment() {
    let Some(folder) = std::env::var_os("GOLDEN_DIR").map(std::path::PathBuf::from) else {
        println!("GOLDEN_DIR is not set");
        return;
    };
    let golden = Golden::open(folder.clone(), folder.join("checkpoints"));
    for engine in engines() {
        for name in golden.names() {
            let outcome =
                golden.run(&name, &engine).map_or_else(|why| why, |report| report.join(", "));
            println!("{name} on {}: {outcome}", engine.report().backend);
        }
    }
}

#[test]
fn golden_streams_of_several_frames_at_once() {
    check(&["stream_n1_none_fb2", "txt2img_turbo_fb2"]);
}

#[test]
fn golden_pictures_of_noise() {
    check(&["txt2img_turbo_n1", "txt2img_lcm_n4", "txt2img_lcm_n2_sequential"]);
    check(&["txt2img_sdxl_turbo_n1"]);
}

#[test]
fn golden_similar_images_and_feedback() {
    check(&["filter", "fork_extras"]);
}
