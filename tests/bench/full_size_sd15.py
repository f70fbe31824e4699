"""Writes a checkpoint as large as Stable Diffusion 1.5, with a small autoencoder and with random weights: what a frame
costs does not depend on them.

    full_size_sd15.py TOKENIZER FOLDER
"""

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer


def main(tokenizer: Path, folder: Path):
    logging.disable_progress_bar()
    torch.manual_seed(0)
    pipe = StableDiffusionPipeline(
        vae=AutoencoderTiny(),
        text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)),
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    # A folder that is there is whole.
    part = folder.with_suffix(".part")
    pipe.save_pretrained(part)
    part.rename(folder)


main(Path(sys.argv[1]), Path(sys.argv[2]))
