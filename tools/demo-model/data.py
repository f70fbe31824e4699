"""Turns pictures into training data on disk and cuts crops from it.

Targets are made on whole pictures and cropped afterwards, so that no rule of a style sees the border of a crop.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

import pictures
import scenes
import styles
import textures

SIDE, SMALL_SIDE, SCENES = 512, 320, 60
STRIDE = textures.LATENT_STRIDE


@dataclass(frozen=True)
class Example:
    """One training picture: `drawn[style]` are its bytes in each style, the first being the picture itself."""

    drawn: np.ndarray
    noise: np.ndarray

    @property
    def latent_size(self) -> tuple[int, int]:
        return self.noise.shape


def prepare(work: Path):
    """Writes what is missing; an interrupted run goes on where it was."""
    found = pictures.find_all(work)
    (work / "training").mkdir(exist_ok=True)
    (work / "held-out").mkdir(exist_ok=True)
    (work / "licences.md").write_text(pictures.licence_table(found))
    for picture in found:
        if picture.is_held_out:
            cv2.imwrite(str(work / "held-out" / f"{picture.name}.png"), square(picture.read())[..., ::-1])
    for number, (name, make) in enumerate(training_pictures(found)):
        path = work / "training" / f"{number:03}-{name}.npy"
        if not path.exists():
            write_example(path, make(), number)


def training_pictures(found):
    """Pairs of a name and a function that makes the picture."""
    shown = [picture for picture in found if not picture.is_held_out]
    for number, picture in enumerate(shown):
        yield picture.name, lambda: fit(picture.read(), SIDE)
        # A smaller, mirrored copy in other colours.
        yield f"{picture.name}-small", lambda: recolour(fit(picture.read(), SMALL_SIDE)[:, ::-1], number)
    for number in range(SCENES):
        yield f"scene{number}", lambda: scenes.make_scene(number)


def write_example(path: Path, picture: np.ndarray, number: int):
    noise = textures.make_noise(*picture.shape[:2], np.random.default_rng([11, number]))
    drawn = np.stack([styles.make_target(style, picture, noise) for style in styles.NAMES])
    save(path.with_suffix(".noise"), noise)
    save(path, drawn)


def save(path: Path, array: np.ndarray):
    part = path.with_suffix(path.suffix + ".part")
    with open(part, "wb") as file:
        np.save(file, array)
    part.rename(path)


def load_training(work: Path) -> list[Example]:
    """The examples; their pixels stay on disk until they are cut out."""
    paths = sorted((work / "training").glob("*.npy"))
    return [Example(np.load(path, mmap_mode="r"), np.load(path.with_suffix(".noise"))) for path in paths]


def load_held_out(work: Path) -> dict[str, np.ndarray]:
    paths = sorted((work / "held-out").glob("*.png"))
    return {path.stem: np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]) for path in paths}


def fit(picture: np.ndarray, side: int) -> np.ndarray:
    """Scales the shorter side to `side` and cuts the longer one to at most 5/4 of it, divisible by 32."""
    scale = side / min(picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)
    height, width = (min(length, side * 5 // 4) // 32 * 32 for length in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def square(picture: np.ndarray) -> np.ndarray:
    picture = fit(picture, SIDE)
    top, left = (picture.shape[0] - SIDE) // 2, (picture.shape[1] - SIDE) // 2
    return picture[top : top + SIDE, left : left + SIDE]


def recolour(picture: np.ndarray, number: int) -> np.ndarray:
    rng = np.random.default_rng([13, number])
    hue, colour, value = cv2.split(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2HSV).astype(np.float32))
    hue = (hue + rng.uniform(-25, 25)) % 180
    colour = np.clip(colour * rng.uniform(0.5, 1.4), 0, 255)
    value = np.clip((value - 128) * rng.uniform(0.7, 1.2) + 128 + rng.uniform(-30, 30), 0, 255)
    return cv2.cvtColor(cv2.merge([hue, colour, value]).astype(np.uint8), cv2.COLOR_HSV2RGB)


@dataclass(frozen=True)
class Crop:
    """A square part of an example, in latent coordinates."""

    example: int
    top: int
    left: int
    side: int

    def pixels(self, array: np.ndarray) -> np.ndarray:
        top, left, side = self.top * STRIDE, self.left * STRIDE, self.side * STRIDE
        return array[top : top + side, left : left + side]

    def inner(self, size: tuple[int, int], margin: int) -> tuple[slice, slice]:
        """Of the crop's pixels those with `margin` to where it was cut out of an example of this latent size."""
        length = self.side * STRIDE
        return tuple(
            slice(margin if begin > 0 else 0, length - margin if begin + self.side < whole else length)
            for begin, whole in zip((self.top, self.left), size)
        )

    def latents(self, array):
        return array[..., self.top : self.top + self.side, self.left : self.left + self.side]


def choose_crop(examples: list[Example], side: int, rng: np.random.Generator, corner_share: float = 0) -> Crop:
    """`side` is in latent pixels; only examples that are large enough are chosen. A share of the crops are corners."""
    fitting = [number for number, example in enumerate(examples) if min(example.latent_size) >= side]
    example = fitting[int(rng.integers(len(fitting)))]
    height, width = examples[example].latent_size
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    if corner_share and rng.random() < corner_share:
        top, left = (int(rng.integers(2)) * room for room in (height - side, width - side))
    return Crop(example, top, left, side)


def to_floats(crops: list[np.ndarray]):
    """Bytes of pictures of one size as a batch from -1 to 1."""
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    return (batch.float() / 127.5 - 1).contiguous()
