"""The second stage: sentences to embeddings that say nothing but the style.

From the end of the sentence on, every position shall hold the code of the style, or a mixture of two codes. Mixing two
prompts then mixes their codes, which is what the image network learns to follow.
"""

import numpy as np
import torch

import networks
import prompts
import styles
from stage import Group, Stage

BATCH = 24
END = 49407
# Style words are few, the vocabulary is large: strange tokens must not look like a style.
STRANGE_SHARE = 0.3


class TextStage(Stage):
    name = "text"
    steps = 1500

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.codes = make_codes()
        torch.manual_seed(2)
        self.encoder = networks.make_text_encoder()
        # Tokens that no sentence of the training holds keep these small values and so change little.
        torch.nn.init.normal_(self.encoder.text_model.embeddings.token_embedding.weight, 0, 0.02)

    def networks(self):
        return {"text_encoder": Group(self.encoder, 1e-3)}

    def loss(self, step, rng):
        wanted, sentences = zip(*(draw_sentence(rng) for _ in range(BATCH)))
        tokens = tokenize(self.tokenizer, list(sentences))
        add_strange_tokens(tokens, rng)
        embeddings = self.encoder(tokens)[0]
        codes = torch.stack([mix_codes(self.codes, names) for names in wanted])
        is_late = after_end(tokens)
        error = ((embeddings - codes[:, None]) ** 2).mean(-1)
        error = (error * is_late).sum() / is_late.sum()
        return error, {"error": error.item(), "right": self.share_right(embeddings, tokens, wanted)}

    def share_right(self, embeddings, tokens, wanted) -> float:
        ends = embeddings[torch.arange(len(tokens)), end_of(tokens)]
        nearest = torch.cdist(ends, self.codes).argmin(-1).tolist()
        return float(np.mean([styles.NAMES[index] in names for index, names in zip(nearest, wanted)]))


def make_codes() -> torch.Tensor:
    """One direction for each style, all at right angles, as long as a normalised vector is."""
    generator = torch.Generator().manual_seed(3)
    square = torch.randn(networks.EMBEDDING, networks.EMBEDDING, generator=generator)
    return torch.linalg.qr(square)[0][: len(styles.NAMES)] * networks.EMBEDDING**0.5


def mix_codes(codes, names):
    # A normalised vector has one length only, so a mixture is brought back to it.
    mixture = sum(codes[styles.NAMES.index(name)] for name in names)
    return mixture / mixture.norm() * networks.EMBEDDING**0.5


def draw_sentence(rng) -> tuple[list[str], str]:
    chance = rng.random()
    if chance < 0.25:
        wanted = ["none"]
    else:
        wanted = [styles.NAMES[1 + int(index)] for index in rng.choice(len(styles.NAMES) - 1, 2, replace=False)]
        wanted = wanted if chance < 0.4 else wanted[:1]
    return wanted, prompts.write(wanted, rng)


def tokenize(tokenizer, sentences: list[str]) -> torch.Tensor:
    return tokenizer(sentences, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


def end_of(tokens) -> torch.Tensor:
    """Where the first end token stands; the tokenizer fills the rest with more of them."""
    return (tokens == END).int().argmax(-1)


def after_end(tokens) -> torch.Tensor:
    return (torch.arange(tokens.shape[1]) >= end_of(tokens)[:, None]).float()


def add_strange_tokens(tokens: torch.Tensor, rng: np.random.Generator):
    """Puts random tokens before or behind some of the sentences, in place."""
    for row, end in zip(tokens, end_of(tokens).tolist()):
        if rng.random() > STRANGE_SHARE or end > 55:
            continue
        strange = torch.from_numpy(rng.integers(0, END - 1, int(rng.integers(1, 12))))
        at = 1 if rng.random() < 0.5 else end
        row[:] = torch.cat([row[:at], strange, row[at:]])[: len(row)]
