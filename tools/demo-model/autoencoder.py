"""The first stage: pictures and targets to latents and back."""

import torch

import data
import networks
from stage import Group, Stage

BATCH, SIDE = 8, 32
# Until then squared error alone: an error of edges from the start teaches the network to draw none.
EDGES_FROM = 0.55


class AutoencoderStage(Stage):
    name = "autoencoder"
    steps = 7000

    def __init__(self, examples):
        self.examples = examples
        torch.manual_seed(1)
        self.autoencoder = networks.make_autoencoder()

    def networks(self):
        return {"autoencoder": Group(self.autoencoder, 3e-3)}

    def loss(self, step, rng):
        pictures = self.draw(rng)
        latents = self.autoencoder.encoder(pictures)
        # Half the pictures pass as inputs, which leave one channel empty, half as targets, which do not.
        keep = torch.ones(BATCH, 4, 1, 1)
        keep[: BATCH // 2, networks.EMPTY] = 0
        drawn = self.autoencoder.decoder(latents * keep + 0.02 * torch.randn_like(latents) * keep)
        spread, centre = latents.std((0, 2, 3)), latents.mean((0, 2, 3))
        unit = 0.1 * ((spread - 1) ** 2).mean() + 0.02 * (centre**2).mean()
        half = BATCH // 2
        figures = {
            "input": psnr(drawn[:half], pictures[:half]),
            "target": psnr(drawn[half:], pictures[half:]),
            "spread": spread.mean().item(),
        }
        return picture_loss(drawn, pictures, has_edges=step > EDGES_FROM * self.steps).mean() + unit, figures

    def draw(self, rng):
        crops = []
        for number in range(BATCH):
            crop = data.choose_crop(self.examples, SIDE, rng)
            drawn = self.examples[crop.example].drawn
            # Inputs are mostly pictures as they are, targets are of any style.
            style = 0 if number < BATCH // 2 and rng.random() < 0.7 else int(rng.integers(len(drawn)))
            pixels = crop.pixels(drawn[style])
            crops.append(pixels[:, ::-1] if rng.random() < 0.5 else pixels)
        return data.to_floats(crops)


def picture_loss(drawn, wanted, has_edges: bool):
    """One loss for each picture of the batch."""
    difference = drawn - wanted
    square, plain = (difference**2).mean((1, 2, 3)), difference.abs().mean((1, 2, 3))
    if not has_edges:
        return 3 * square + 0.3 * plain
    right = (difference[..., 1:] - difference[..., :-1]).abs().mean((1, 2, 3))
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean((1, 2, 3))
    return 2 * square + plain + 0.5 * (right + down)


def psnr(drawn, wanted) -> float:
    return (-10 * torch.log10(((drawn - wanted) ** 2).mean() / 4 + 1e-9)).item()
