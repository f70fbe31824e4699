"""Writes what was trained so far as a diffusers folder in half precision."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline

import networks
import stage
from train import TOKENIZER

SIZE_LIMIT = 12_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write(arguments.work, arguments.out)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.2f} MB")
    if size > SIZE_LIMIT:
        raise SystemExit(f"that is more than {SIZE_LIMIT / 1e6:.0f} MB")


def write(work: Path, out: Path):
    """The newest averages of each network; what the last stage has not reached comes from the one before."""
    autoencoder, unet, text_encoder = networks.make_autoencoder(), networks.make_unet(), networks.make_text_encoder()
    networks.load_trained(autoencoder, work, "autoencoder", "autoencoder")
    networks.load_trained(text_encoder, work, "text", "text_encoder")
    if (decoder := stage.load_averages(work, "pixels", "decoder")) is not None:
        autoencoder.decoder.load_state_dict(decoder)
        networks.load_trained(unet, work, "pixels", "unet")
    else:
        networks.load_trained(unet, work, "latents", "unet")
    networks.fold_sizes(unet)
    empty_last_channel(autoencoder.encoder)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=networks.load_tokenizer(TOKENIZER),
        unet=unet,
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False, **networks.BETAS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(out)
    replace_tokenizer(out / "tokenizer")
    forget_origins(out)


@torch.no_grad()
def empty_last_channel(encoder):
    """During training the channel is masked; the exported encoder does it by itself."""
    encoder.layers[-1].weight[networks.EMPTY] = 0
    encoder.layers[-1].bias[networks.EMPTY] = 0


def replace_tokenizer(folder: Path):
    """CLIP's own files byte by byte, without the larger file that libraries derive from them."""
    shutil.rmtree(folder)
    shutil.copytree(TOKENIZER, folder)


def forget_origins(out: Path):
    """Drops the paths of this machine that the libraries note in the configs."""
    for path in out.rglob("*.json"):
        config = json.loads(path.read_text())
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
