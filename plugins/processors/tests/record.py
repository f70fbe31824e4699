"""Writes what the tests compare with, into this folder: golden.safetensors, taken from a set of golden data (outputs of
StreamDiffusion's descendants), and recorded.safetensors, from OpenCV and PIL. Each tensor but the pictures is named
PROCESSOR|PICTURE|PARAMS.

    pip install numpy==2.2.6 opencv-python-headless==4.12.0.88 pillow==12.0.0 safetensors==0.8.0
    record.py GOLDEN_FOLDER
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent


def main():
    golden = Path(sys.argv[1])
    image, extras = load_file(golden / "image.safetensors"), load_file(golden / "fork_extras.safetensors")
    save_file(from_golden(image, extras), HERE / "golden.safetensors")
    save_file(recorded(extras["image_u8"]), HERE / "recorded.safetensors")


def name(processor, picture, **params):
    return f"{processor}|{picture}|{json.dumps(params)}"


def to_u8(values):
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def from_golden(image, extras):
    lineart = lambda sigma: np.ascontiguousarray(extras[f"standard_lineart_res128_sigma{sigma}_u8"][:, :, 0])
    planes = lambda values: np.ascontiguousarray(to_u8(values[0]).transpose(1, 2, 0))
    return {
        "gray": image["gray_u8"],
        "picture": extras["image_u8"],
        "previous": planes(extras["feedback_prev_output"] / 2 + 0.5),
        name("canny_gray", "gray", low_threshold=100, high_threshold=200): image["canny_100_200"],
        name("canny_gray", "gray", low_threshold=50, high_threshold=120): image["canny_50_120"],
        name("canny", "picture", low_threshold=100, high_threshold=200): to_u8(extras["canny_tensor_path"][0]),
        name("soft_edge", "picture"): extras["soft_edge"][0],
        name("standard_lineart", "picture", gaussian_sigma=2, detect_resolution=128): lineart(2),
        name("standard_lineart", "picture", gaussian_sigma=6, detect_resolution=128): lineart(6),
        name("feedback", "picture", feedback_strength=0.3): planes(extras["feedback_second_s0.3"]),
    }


def recorded(picture):
    # Odd sizes, and both smooth and noisy.
    picture = picture[30:71, 60:115].copy()
    noise = np.random.default_rng(7).normal(0, 25, picture[:, 30:].shape)
    picture[:, 30:] = np.clip(picture[:, 30:] + noise, 0, 255).astype(np.uint8)
    pictures = {"picture": picture}
    for height, width in [(1, 1), (1, 7), (7, 1), (2, 3), (5, 4)]:
        pictures[f"{width}x{height}"] = picture[10 : 10 + height, 30 : 30 + width].copy()
    tensors = dict(pictures)
    for which, one in pictures.items():
        tensors |= canny(which, one) | blurred(which, one) | sharpened(which, one) | upscaled(which, one)
    return tensors | resized(picture) | lineart(picture)


def canny(which, picture):
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    thresholds = [(100, 200), (20.7, 60.2), (90, 30), (0, 0), (50, 50)]
    tensors = {f"gray {which}": gray}
    for low, high in thresholds:
        key = name("canny_gray", f"gray {which}", low_threshold=low, high_threshold=high)
        tensors[key] = cv2.Canny(gray, low, high)
    return tensors


def blurred(which, picture):
    cases = [(15, 2), (15, 10), (15, 0.1), (1, 2), (3, 0.8), (31, 3.3)]
    key = lambda side, sigma: name("blur", which, kernel_size=side, blur_intensity=sigma)
    return {key(side, sigma): cv2.GaussianBlur(picture, (side, side), sigma) for side, sigma in cases}


DEFAULTS = {
    "sharpen_intensity": 1.5,
    "unsharp_radius": 1.0,
    "edge_enhancement": 0.5,
    "detail_boost": 0.3,
    "noise_reduction": 0.1,
    "multi_scale": True,
}
NOTHING = {"sharpen_intensity": 0, "edge_enhancement": 0, "detail_boost": 0, "noise_reduction": 0}


def sharpened(which, picture):
    cases = [{}, {"multi_scale": False}, {"unsharp_radius": 4}, {"noise_reduction": 1, "sharpen_intensity": 5}, NOTHING]
    cases += [NOTHING | {key: 1} for key in NOTHING]
    return {name("sharpen", which, **params): sharpen(picture, **(DEFAULTS | params)) for params in cases}


def sharpen(
    picture, sharpen_intensity, unsharp_radius, edge_enhancement, detail_boost, noise_reduction, multi_scale
):
    # In fixed point, as halves would be rounded by chance otherwise, and all that follows multiplies the difference.
    fine, noise = cv2.GaussianBlur(picture, (3, 3), 0.8).astype(np.int32), picture.astype(np.int32)
    clean = ((noise * 65536 + round(noise_reduction * 65536) * (fine - noise) + 32768) >> 16).astype(np.uint8)
    total = clean.astype(np.float64)
    radii = [unsharp_radius / 2, unsharp_radius, unsharp_radius * 2] if multi_scale else [unsharp_radius]
    for radius in radii:
        side = 2 * int(np.ceil(3 * radius)) + 1
        blurred = cv2.GaussianBlur(clean, (side, side), radius)
        total += sharpen_intensity / len(radii) * (clean - blurred.astype(np.float64))
    total -= edge_enhancement / 4 * cv2.Laplacian(clean, cv2.CV_64F, ksize=1)
    total += detail_boost * (clean - cv2.GaussianBlur(clean, (3, 3), 0.8).astype(np.float64))
    return np.clip(np.floor(total + 0.5), 0, 255).astype(np.uint8)


FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def upscaled(which, picture):
    tensors = {}
    for algorithm, resample in FILTERS.items():
        for factor in [1, 1.3, 2]:
            height, width = (int(side * factor + 0.5) for side in picture.shape[:2])
            key = name("upscale", which, scale_factor=factor, algorithm=algorithm)
            tensors[key] = np.array(Image.fromarray(picture).resize((width, height), resample))
    return tensors


def resized(picture):
    tensors = {}
    for kind, width, height in [("cubic", 80, 91), ("area", 40, 31), ("area", 55, 20)]:
        flag = {"cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}[kind]
        tensors[name(kind, "picture", width=width, height=height)] = cv2.resize(picture, (width, height), interpolation=flag)
    small = Image.fromarray(picture).resize((40, 31), FILTERS["lanczos"])
    return tensors | {name("lanczos", "picture", width=40, height=31): np.array(small)}


def lineart(picture):
    cases = [{"detect_resolution": 70}, {"detect_resolution": 30, "gaussian_sigma": 1.5, "intensity_threshold": 20}]
    defaults = {"gaussian_sigma": 6, "intensity_threshold": 8}
    return {name("standard_lineart", "picture", **params): lines(picture, **(defaults | params)) for params in cases}


def lines(picture, gaussian_sigma, intensity_threshold, detect_resolution):
    height, width = picture.shape[:2]
    scale = detect_resolution / min(height, width)
    size = (round(width * scale), round(height * scale))
    large = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    right, below = -size[0] % 64, -size[1] % 64
    padded = np.pad(large, ((0, below), (0, right), (0, 0)), mode="edge").astype(np.float64)
    radius = int(np.ceil(3 * gaussian_sigma))
    weights = np.exp(-np.linspace(-1, 1, 2 * radius + 1) ** 2 / (2 * gaussian_sigma**2))
    weights /= weights.sum()
    blur = cv2.sepFilter2D(padded, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_REFLECT_101)
    ink = np.clip((blur - padded).min(axis=2), 0, 255)
    lines = ink[ink > intensity_threshold]
    ink *= 127 / max(16, np.median(lines) if lines.size else 0)
    drawn = np.clip(ink, 0, 255).astype(np.uint8)[: size[1], : size[0]]
    return np.array(Image.fromarray(drawn).resize((width, height), FILTERS["lanczos"]))


main()
