"""Draws pictures with an exported model, as a stream with one step at t_index 32 does."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel

import data
import networks
import text


class Renderer:
    def __init__(self, model: Path):
        # Half precision is how the weights are stored; a processor computes faster with floats.
        self.autoencoder = AutoencoderTiny.from_pretrained(model / "vae", torch_dtype=torch.float32).eval()
        self.unet = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.float32).eval()
        self.text_encoder = CLIPTextModel.from_pretrained(model / "text_encoder", torch_dtype=torch.float32).eval()
        self.tokenizer = networks.load_tokenizer(model / "tokenizer")

    @torch.no_grad()
    def embed(self, prompt: str) -> torch.Tensor:
        return self.text_encoder(text.tokenize(self.tokenizer, [prompt]))[0]

    @torch.no_grad()
    def draw(self, picture: np.ndarray, embedding: torch.Tensor, seed: int = 2, time: int = networks.STEP) -> np.ndarray:
        """The bytes of `picture` as the prompt behind `embedding` wants it."""
        latents = self.autoencoder.encoder(data.to_floats([picture]))
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
        latents = networks.denoise(self.unet, latents, noise, torch.tensor([time]), embedding)
        return self.to_bytes(self.autoencoder.decoder(latents))

    @torch.no_grad()
    def reconstruct(self, picture: np.ndarray) -> np.ndarray:
        return self.to_bytes(self.autoencoder.decoder(self.autoencoder.encoder(data.to_floats([picture]))))

    @staticmethod
    def to_bytes(batch: torch.Tensor) -> np.ndarray:
        return ((batch[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def noise_of(seed: int, picture: np.ndarray) -> np.ndarray:
    """The noise of the empty channel that `Renderer.draw` uses, for making the matching target."""
    shape = (1, 4, picture.shape[0] // data.STRIDE, picture.shape[1] // data.STRIDE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))[0, networks.EMPTY].numpy()
