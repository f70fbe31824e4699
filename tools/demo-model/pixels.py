"""The last stage: image network and decoder together, judged by the pictures that come out."""

import torch

import networks
from autoencoder import picture_loss
from latents import figures_by_style
from lessons import Teacher
from stage import Group, Stage

BATCH, SIDE = 5, 36
# Whole pictures: the statistics of the norms are then those of a stream.
LARGE_EVERY, LARGE_SIDE = 3, 128
# Where a crop was cut out, the networks see zeros although the picture goes on, so nothing there is theirs to get right:
# taught with it, they give whole pictures coloured borders. In pixels.
MARGIN = 16
# A true border is drawn worse than what lies inside, and is rare otherwise.
CORNER_SHARE = 0.6
# Without this share of plain decoding the decoder forgets what latents of pictures look like.
DECODING_SHARE = 0.3


class PixelStage(Stage):
    name = "pixels"
    steps = 13700

    def __init__(self, work, examples, tokenizer):
        self.teacher = Teacher(work, examples, tokenizer)
        self.decoder = self.teacher.autoencoder.decoder
        self.unet = networks.make_unet()
        networks.load_trained(self.unet, work, "latents", "unet")

    def networks(self):
        return {"unet": Group(self.unet, 1e-3), "decoder": Group(self.decoder, 1e-3)}

    def loss(self, step, rng):
        is_large = step % LARGE_EVERY == 0
        size = (1, LARGE_SIDE) if is_large else (BATCH, SIDE)
        lesson = self.teacher.draw(*size, rng, corner_share=CORNER_SHARE)
        latents = self.teacher.denoise(self.unet, lesson)
        losses = self.decoded_loss(lesson, latents, lesson.mix(self.teacher.target_pixels))
        decoding = self.decoding_loss(lesson).mean()
        figures = figures_by_style(lesson, losses) | {"decoding": decoding.item()}
        return losses.mean() + DECODING_SHARE * decoding, figures

    def decoded_loss(self, lesson, latents, wanted):
        drawn = self.decoder(latents)
        losses = []
        for number, crop in enumerate(lesson.crops):
            size = self.teacher.examples[crop.example].latent_size
            inner = (slice(number, number + 1), slice(None), *crop.inner(size, MARGIN))
            losses.append(picture_loss(drawn[inner], wanted[inner], has_edges=True))
        return torch.cat(losses)

    def decoding_loss(self, lesson):
        pairs = [(crop, names[0]) for crop, names in zip(lesson.crops, lesson.wanted)]
        latents = torch.stack([self.teacher.target_latents(*pair) for pair in pairs])
        wanted = torch.stack([self.teacher.target_pixels(*pair) for pair in pairs])
        return self.decoded_loss(lesson, latents + 0.02 * torch.randn_like(latents), wanted)
