"""Names the style of a picture, to judge drawings without a person.

It learns from targets that were blurred, tinted and made noisy: taught on clean ones it would judge sharpness. Half of
them are blends of two styles, so that what it says of a blend is a share and not only the stronger of the two.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

import data
import networks
import render
import stage
import styles

# It looks at pictures at half their size, where a drawing's own softness no longer shows.
CROP, SEEN = 256, 128


class Classifier:
    def __init__(self, work: Path, examples: list[data.Example]):
        stage.run(ClassifierStage(examples), work)
        self.network = make_network()
        networks.load_trained(self.network, work, "classifier", "classifier")
        self.network.eval()
        self.temperature = self.fit_temperature(ClassifierStage(examples))

    def export(self, path: Path):
        """Writes the weights, with the norms folded into the convolutions, for tests that have no PyTorch."""
        tensors = {}
        layers = list(self.network)
        for number, (convolution, norm) in enumerate(zip(layers[0:12:3], layers[1:12:3])):
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            tensors[f"{number}.weight"] = convolution.weight * factor.view(-1, 1, 1, 1)
            tensors[f"{number}.bias"] = norm.bias - norm.running_mean * factor
        tensors["last.weight"], tensors["last.bias"] = layers[-1].weight, layers[-1].bias
        tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(tensors, path, {"styles": " ".join(styles.NAMES)})

    @torch.no_grad()
    def name(self, picture: np.ndarray) -> str:
        return styles.NAMES[int(self.network(self.see(picture)).argmax())]

    @torch.no_grad()
    def share(self, picture: np.ndarray, first: str, last: str) -> float:
        """How much of `last` it sees in a blend of two styles, 0 to 1."""
        lean = self.lean(self.see(picture), styles.NAMES.index(first), styles.NAMES.index(last))
        return float((lean / self.temperature).sigmoid())

    def lean(self, seen: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """By how much it would sooner name the second style than the first."""
        scores = self.network(seen)[0]
        return scores[last] - scores[first]

    @torch.no_grad()
    def fit_temperature(self, lessons: "ClassifierStage") -> float:
        """Networks are surer than they are right: of a blend by rule, three parts to one, this one sees one style alone.
        The temperature at which it comes closest to the true shares of blends by rule, of pictures it was taught with."""
        rng, leans, shares = np.random.default_rng(29), [], []
        for share in np.linspace(0.05, 0.95, 260):
            first, last = rng.choice(len(styles.NAMES), 2, replace=False)
            seen = data.to_floats([lessons.draw(first, last, share, rng)])
            leans.append(self.lean(seen, first, last))
            shares.append(share)
        leans, shares = torch.stack(leans), torch.tensor(shares)
        errors = {t: float(((leans / t).sigmoid() - shares).square().mean()) for t in np.linspace(1, 10, 91)}
        return float(min(errors, key=errors.get))

    @staticmethod
    def see(picture: np.ndarray) -> torch.Tensor:
        small = cv2.resize(picture, None, fx=SEEN / CROP, fy=SEEN / CROP, interpolation=cv2.INTER_AREA)
        return data.to_floats([small])

    def share_right_on_targets(self, held_out: dict[str, np.ndarray]) -> float:
        """The trust one may have in `name`: its success on drawings by rule of pictures it has not seen."""
        rights = []
        for picture in held_out.values():
            for style in styles.NAMES:
                target = styles.make_target(style, picture, render.noise_of(3, picture))
                rights.append(self.name(target) == style)
        return float(np.mean(rights))


class ClassifierStage(stage.Stage):
    name = "classifier"
    steps = 9000

    def __init__(self, examples):
        self.examples = examples
        torch.manual_seed(5)
        self.network = make_network()

    def networks(self):
        return {"classifier": stage.Group(self.network, 2e-3)}

    def loss(self, step, rng):
        styles_once = np.arange(len(styles.NAMES))
        plain, blended = styles_once, rng.permutation(styles_once)
        first = np.concatenate([plain, styles_once])
        last = np.concatenate([plain, blended])
        shares = rng.random(len(first)).astype(np.float32)
        pictures = [self.draw(*lesson, rng) for lesson in zip(first, last, shares)]
        wanted = torch.zeros(len(first), len(styles.NAMES))
        for row, (one, other, share) in zip(wanted, zip(first, last, shares)):
            row[one] += 1 - float(share)
            row[other] += float(share)
        guesses = self.network(data.to_floats(pictures))
        right = (guesses.argmax(1)[: len(plain)] == torch.from_numpy(plain)).float().mean().item()
        loss = nn.functional.cross_entropy(guesses, wanted, label_smoothing=0.03)
        return loss, {"loss": loss.item(), "right": right}

    def draw(self, first: int, last: int, share: float, rng) -> np.ndarray:
        crop = data.choose_crop(self.examples, CROP // data.STRIDE, rng)
        pixels = [crop.pixels(self.examples[crop.example].drawn[style]).astype(np.float32) for style in (first, last)]
        return degrade((pixels[0] * (1 - share) + pixels[1] * share).astype(np.uint8), rng)


def make_network() -> nn.Module:
    widths = (3, 24, 48, 64, 96)
    layers = []
    for inner, outer in zip(widths, widths[1:]):
        layers += [nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], len(styles.NAMES)))


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a drawing may suffer without being another style."""
    side = int(SEEN * rng.uniform(0.6, 1))
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    small = cv2.resize(small, (SEEN, SEEN), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.2, 0.9)).astype(np.float32)
    tinted = soft * rng.uniform(0.93, 1.07, 3) + rng.uniform(-4, 4, 3)
    return np.clip(tinted + rng.normal(0, rng.uniform(0, 5), tinted.shape), 0, 255).astype(np.uint8)
