"""Names the style of a picture by its colours and edges, to judge drawings without a person.

It learns from targets that were blurred, tinted and made noisy: taught on clean ones it would judge sharpness.
"""

import cv2
import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

import data
import render
import styles

SIDE = 160
COPIES = 3


class Classifier:
    def __init__(self, examples: list[data.Example]):
        rng = np.random.default_rng(17)
        rows, names = [], []
        for example in examples:
            for style, drawn in zip(styles.NAMES, example.drawn):
                for _ in range(COPIES):
                    rows.append(features(degrade(np.asarray(drawn), rng)))
                    names.append(style)
        self.forest = ExtraTreesClassifier(300, random_state=0, min_samples_leaf=2).fit(rows, names)

    def name(self, picture: np.ndarray) -> str:
        return self.forest.predict([features(picture)])[0]

    def share_right_on_targets(self, held_out: dict[str, np.ndarray]) -> float:
        """The trust one may have in `name`: its success on drawings by rule of pictures it has not seen."""
        rights = []
        for picture in held_out.values():
            for style in styles.NAMES:
                target = styles.make_target(style, picture, render.noise_of(3, picture))
                rights.append(self.name(target) == style)
        return float(np.mean(rights))


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        scale = rng.uniform(0.35, 1)
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        height, width = (int(side * rng.uniform(0.5, 1)) for side in picture.shape[:2])
        picture = picture[:height, -width:]
    soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 2.2)).astype(np.float32)
    tinted = soft * rng.uniform(0.9, 1.1, 3) + rng.uniform(-6, 6, 3)
    return np.clip(tinted + rng.normal(0, rng.uniform(0, 8), tinted.shape), 0, 255).astype(np.uint8)


def features(picture: np.ndarray) -> np.ndarray:
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    hue, colour, value = (plane.astype(np.float32) for plane in cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2HSV)))
    light = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    pixels = small.reshape(-1, 3).astype(np.float32) / 255
    weight = colour * value
    hues = np.histogram(hue, 12, (0, 180), weights=weight)[0]
    lights = np.histogram(light, 8, (0, 1))[0] / light.size
    slope = np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
    fine = light - cv2.GaussianBlur(light, (0, 0), 2)
    middle = cv2.GaussianBlur(light, (0, 0), 2) - cv2.GaussianBlur(light, (0, 0), 5)
    return np.concatenate([
        pixels.mean(0), pixels.std(0), np.corrcoef(pixels.T + 1e-6 * np.arange(len(pixels)))[np.triu_indices(3, 1)],
        hues / (hues.sum() + 1), lights, np.percentile(colour, (10, 50, 90)) / 255, np.percentile(light, (5, 50, 95)),
        np.percentile(slope, (25, 50, 90)), [colour.mean() / 255, fine.std(), middle.std(), fine.min(), fine.max()],
    ])  # fmt: skip
