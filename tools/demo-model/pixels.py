"""The last stage: image network and decoder together, judged by the pictures that come out."""

import torch

import networks
from autoencoder import picture_loss
from latents import figures_by_style
from lessons import Teacher
from stage import Group, Stage

BATCH, SIDE = 5, 36
# Whole pictures: the statistics of the norms and the borders are then those of a stream.
LARGE_EVERY, LARGE_SIDE = 3, 128
# At the edge of a crop the networks see zeros where the picture goes on, so nothing there is theirs to get right: taught
# with it, they give whole pictures coloured borders. In pixels.
MARGIN = 16
# Without this share of plain decoding the decoder forgets what latents of pictures look like.
DECODING_SHARE = 0.3


class PixelStage(Stage):
    name = "pixels"
    steps = 7700

    def __init__(self, work, examples, tokenizer):
        self.teacher = Teacher(work, examples, tokenizer)
        self.decoder = self.teacher.autoencoder.decoder
        self.unet = networks.make_unet()
        networks.load_trained(self.unet, work, "latents", "unet")

    def networks(self):
        return {"unet": Group(self.unet, 1e-3), "decoder": Group(self.decoder, 1e-3)}

    def loss(self, step, rng):
        is_large = step % LARGE_EVERY == 0
        lesson = self.teacher.draw(1 if is_large else BATCH, LARGE_SIDE if is_large else SIDE, rng)
        margin = 0 if is_large else MARGIN
        latents = self.teacher.denoise(self.unet, lesson)
        losses = self.decoded_loss(latents, lesson.mix(self.teacher.target_pixels), margin)
        decoding = self.decoding_loss(lesson, margin).mean()
        figures = figures_by_style(lesson, losses) | {"decoding": decoding.item()}
        return losses.mean() + DECODING_SHARE * decoding, figures

    def decoded_loss(self, latents, wanted, margin: int):
        drawn = self.decoder(latents)
        inside = (..., slice(margin, drawn.shape[-2] - margin), slice(margin, drawn.shape[-1] - margin))
        return picture_loss(drawn[inside], wanted[inside], has_edges=True)

    def decoding_loss(self, lesson, margin: int):
        pairs = [(crop, names[0]) for crop, names in zip(lesson.crops, lesson.wanted)]
        latents = torch.stack([self.teacher.target_latents(*pair) for pair in pairs])
        wanted = torch.stack([self.teacher.target_pixels(*pair) for pair in pairs])
        return self.decoded_loss(latents + 0.02 * torch.randn_like(latents), wanted, margin)
