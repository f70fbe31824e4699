"""What the image network is shown in one step: crops, noise, times, and prompts with what they ask for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import data
import networks
import prompts
import styles
import text

# Half the lessons blend two styles, or a blend would be a switch from one to the other.
BLEND_SHARE = 0.5
# Some blends are asked for by one sentence that names both styles.
SENTENCE_SHARE = 0.2
# The time of t_index 32 matters; the others keep neighbouring strengths usable.
USUAL_TIME_SHARE = 0.85
# Quiet styles sink into the plain picture and tiles take longest to learn, so they are shown more often.
SHARES = {"none": 1.5, "oil": 1.3, "watercolour": 1.3, "mosaic": 1.7, "comic": 1.3, "pastel": 1.1}


@dataclass(frozen=True)
class Lesson:
    crops: list[data.Crop]
    wanted: list[tuple[str, str]]
    share: torch.Tensor
    embeddings: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor

    def mix(self, draw) -> torch.Tensor:
        """Blends what `draw(crop, style)` gives for the two styles of each item."""
        first, second = (
            torch.stack([draw(crop, names[side]) for crop, names in zip(self.crops, self.wanted)]) for side in (0, 1)
        )
        share = self.share.view(-1, 1, 1, 1)
        return (1 - share) * first + share * second


class Teacher:
    """Draws lessons; holds what earlier stages learned, and the latents of all examples."""

    def __init__(self, work: Path, examples: list[data.Example], tokenizer):
        self.examples = examples
        self.tokenizer = tokenizer
        self.text_encoder = load_frozen_text_encoder(work)
        self.autoencoder = networks.make_autoencoder()
        networks.load_trained(self.autoencoder, work, "autoencoder", "autoencoder")
        self.latents = encode_all(work, examples, self.autoencoder)
        weights = np.array([SHARES.get(name, 1.0) for name in styles.NAMES])
        self.weights = weights / weights.sum()

    def draw(self, count: int, side: int, rng: np.random.Generator, corner_share: float = 0) -> Lesson:
        crops = [data.choose_crop(self.examples, side, rng, corner_share) for _ in range(count)]
        wanted = [self.choose_pair(rng) for _ in range(count)]
        is_sentence = rng.random(count) < SENTENCE_SHARE
        share = torch.from_numpy(rng.random(count).astype(np.float32))
        share = torch.where(torch.from_numpy(is_sentence & np.array(["none" not in pair for pair in wanted])), 0.5, share)
        embeddings = self.embed_blends(wanted, share, is_sentence, rng)
        return Lesson(crops, wanted, share, embeddings, self.draw_noise(crops), draw_times(count, rng))

    def choose_pair(self, rng) -> tuple[str, str]:
        first, second = (styles.NAMES[int(rng.choice(len(styles.NAMES), p=self.weights))] for _ in range(2))
        return (first, second) if rng.random() < BLEND_SHARE else (first, first)

    def embed_blends(self, wanted, share, is_sentence, rng) -> torch.Tensor:
        pairs = [self.ask(names, bool(sentence), rng) for names, sentence in zip(wanted, is_sentence)]
        sentences = sorted({sentence for pair in pairs for sentence in pair})
        embeddings = self.embed(sentences)
        first, second = (embeddings[[sentences.index(pair[side]) for pair in pairs]] for side in (0, 1))
        share = share.view(-1, 1, 1)
        return (1 - share) * first + share * second

    def ask(self, names: tuple[str, str], is_sentence: bool, rng) -> tuple[str, str]:
        """The sentences that ask for the two styles; the same one twice where one says it all."""
        if names[0] == names[1]:
            return (prompts.write([names[0]], rng),) * 2
        if is_sentence and "none" not in names:
            return (prompts.write(list(names), rng),) * 2
        return prompts.write([names[0]], rng), prompts.write([names[1]], rng)

    @torch.no_grad()
    def embed(self, sentences: list[str]) -> torch.Tensor:
        return self.text_encoder(text.tokenize(self.tokenizer, sentences))[0]

    def draw_noise(self, crops) -> torch.Tensor:
        noise = torch.randn(len(crops), 4, crops[0].side, crops[0].side)
        for number, crop in enumerate(crops):
            noise[number, networks.EMPTY] = torch.from_numpy(crop.latents(self.examples[crop.example].noise))
        return noise

    def denoise(self, unet, lesson: Lesson) -> torch.Tensor:
        """The latents that the image network in training makes of a lesson."""
        guess = networks.at_unit_size(unet)
        return networks.denoise(guess, self.inputs(lesson), lesson.noise, lesson.times, lesson.embeddings)

    def inputs(self, lesson: Lesson) -> torch.Tensor:
        latents = torch.stack([self.target_latents(crop, "none") for crop in lesson.crops])
        return latents * networks.channel_mask(latents)

    def target_latents(self, crop: data.Crop, style: str) -> torch.Tensor:
        return crop.latents(self.latents[crop.example][styles.NAMES.index(style)]).float()

    def target_pixels(self, crop: data.Crop, style: str) -> torch.Tensor:
        drawn = self.examples[crop.example].drawn[styles.NAMES.index(style)]
        return data.to_floats([crop.pixels(drawn)])[0]


def draw_times(count: int, rng) -> torch.Tensor:
    usual = np.full(count, networks.STEP)
    others = 999 - 20 * rng.integers(20, 49, count)
    return torch.from_numpy(np.where(rng.random(count) < USUAL_TIME_SHARE, usual, others))


def load_frozen_text_encoder(work: Path):
    encoder = networks.make_text_encoder()
    networks.load_trained(encoder, work, "text", "text_encoder")
    return encoder.requires_grad_(False).eval()


@torch.no_grad()
def encode_all(work: Path, examples: list[data.Example], autoencoder) -> list[torch.Tensor]:
    """The latents of every target, kept on disk for the next start."""
    folder = work / f"latents-{networks.fingerprint(autoencoder.encoder)}"
    folder.mkdir(exist_ok=True)
    latents = []
    for number, example in enumerate(examples):
        path = folder / f"{number:03}.npy"
        if not path.exists():
            encoded = [autoencoder.encoder(data.to_floats([drawn]))[0].half().numpy() for drawn in example.drawn]
            data.save(path, np.stack(encoded))
        latents.append(torch.from_numpy(np.load(path)))
    return latents
