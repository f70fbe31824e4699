"""Procedural scenes: shapes, lettering and gradients in colours that the photographs lack."""

import cv2
import numpy as np

SIDE = 512


def make_scene(number: int) -> np.ndarray:
    """The bytes of scene `number`; the same number is always the same scene."""
    rng = np.random.default_rng([7, number])
    scene = make_background(rng)
    for _ in range(int(rng.integers(6, 40))):
        layer = scene.copy()
        draw_shape(layer, rng)
        opacity = rng.uniform(0.5, 1)
        scene = cv2.addWeighted(layer, opacity, scene, 1 - opacity, 0)
    speckle = rng.normal(0, rng.uniform(0, 5), scene.shape)
    return np.clip(scene + speckle, 0, 255).astype(np.uint8)


def make_background(rng) -> np.ndarray:
    down, right = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * right + np.sin(angle) * down
    slope = ((slope - slope.min()) / (slope.max() - slope.min()))[..., None]
    clouds = rng.normal(0, 1, (int(rng.integers(4, 64)),) * 2).astype(np.float32)
    clouds = cv2.resize(clouds, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[..., None]
    ground = rng.uniform(0, 255, 3) * (1 - slope) + rng.uniform(0, 255, 3) * slope + clouds * rng.uniform(0, 30)
    return np.clip(ground, 0, 255).astype(np.uint8)


def draw_shape(layer: np.ndarray, rng):
    paint = tuple(int(value) for value in rng.integers(0, 256, 3))
    here, there = (tuple(int(value) for value in rng.integers(0, SIDE, 2)) for _ in range(2))
    size = int(abs(rng.normal(0, 60))) + 4
    kind = int(rng.integers(0, 6))
    if kind == 0:
        cv2.circle(layer, here, size, paint, -1, cv2.LINE_AA)
    elif kind == 1:
        corners = np.array(here) + (rng.normal(0, 1, (int(rng.integers(3, 7)), 2)) * size).astype(np.int32)
        cv2.fillPoly(layer, [corners.astype(np.int32)], paint, cv2.LINE_AA)
    elif kind == 2:
        cv2.line(layer, here, there, paint, int(rng.integers(1, 9)), cv2.LINE_AA)
    elif kind == 3:
        axes = (size, max(2, size // 3))
        cv2.ellipse(layer, here, axes, float(rng.uniform(0, 180)), 0, 360, paint, -1, cv2.LINE_AA)
    elif kind == 4:
        draw_head(layer, here, size, rng)
    else:
        text = "".join(rng.choice(list("abcdeXYZ0189"), 4))
        cv2.putText(layer, text, here, cv2.FONT_HERSHEY_SIMPLEX, size / 40, paint, int(rng.integers(1, 5)), cv2.LINE_AA)


def draw_head(layer: np.ndarray, centre, size: int, rng):
    """A rough face and shoulders: what a camera on a laptop sees most."""
    skin = tuple(int(value) for value in np.array([224, 172, 138]) * rng.uniform(0.35, 1.1) + rng.uniform(0, 12, 3))
    hair, shirt = (tuple(int(value) for value in rng.integers(0, 200, 3)) for _ in range(2))
    size = size + 30
    right, down = centre
    cv2.ellipse(layer, (right, down + 2 * size), (int(1.6 * size), size), 0, 0, 360, shirt, -1, cv2.LINE_AA)
    cv2.ellipse(layer, (right, down - size // 5), (int(0.85 * size), int(1.1 * size)), 0, 0, 360, hair, -1, cv2.LINE_AA)
    cv2.ellipse(layer, centre, (int(0.7 * size), size), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for side in (-1, 1):
        eye = (right + side * size // 4, down - size // 8)
        cv2.ellipse(layer, eye, (size // 8, size // 14), 0, 0, 360, (240, 240, 240), -1, cv2.LINE_AA)
        cv2.circle(layer, eye, max(1, size // 16), hair, -1, cv2.LINE_AA)
    cv2.ellipse(layer, (right, down + size // 2), (size // 4, size // 12), 0, 0, 180, (150, 50, 60), -1, cv2.LINE_AA)
