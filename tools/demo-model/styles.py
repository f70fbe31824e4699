"""The styles: what the model is taught to draw, made by classical image processing.

Every rule is local: a network that sees a crop must be able to follow it. The looks are exaggerated, since a small
network draws a paler version of what it is shown. Pictures are float RGB, 0 to 1.
"""

import cv2
import numpy as np

import textures


def make_target(style: str, picture: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The bytes of `picture` (bytes, sides divisible by 4) drawn in `style` with `noise` as the seed of its texture."""
    drawn = STYLES[style](picture.astype(np.float32) / 255, noise)
    return np.clip(drawn * 255 + 0.5, 0, 255).astype(np.uint8)


def plain(picture, noise):
    return picture


def pencil_sketch(picture, noise):
    light = gray(blur(picture, 0.8))
    shade = smooth_step(0.62, 0.12, gray(blur(picture, 3)))
    strokes = smooth_step(0.9, -0.9, textures.strokes(noise) + 0.8 - 1.9 * shade) * shade
    ink = np.maximum(0.95 * lines(light, 1.2, 22), 0.75 * strokes)
    return tint(0.97 - 0.85 * ink, (1.0, 0.99, 0.96))


def neon_cyberpunk(picture, noise):
    light = gray(blur(picture, 1.0))
    edge = lines(light, 1.7, 24)
    glow = blur(edge, 7)
    warm = smooth_step(0.25, 0.65, gray(blur(picture, 5)))[..., None]
    tube = (1 - warm) * color(1.0, 0.08, 0.75) + warm * color(0.05, 0.95, 1.0)
    night = light[..., None] * color(0.16, 0.07, 0.34) + color(0.03, 0.0, 0.09)
    return night + 1.05 * edge[..., None] * tube + 0.9 * glow[..., None] * tube


def oil_painting(picture, noise):
    daubs = saturate(kuwahara(picture, 4), 1.8)
    daubs = np.clip(0.47 + 1.1 * (daubs - 0.5), 0, 1)
    relief = textures.strokes(noise)[..., None]
    return daubs * (1 + 0.11 * relief) + 0.025 * relief


def watercolour(picture, noise):
    wash = saturate(bilateral(picture, 3), 2.1)
    wash = 1 - 0.56 * (1 - wash) ** 1.3
    light = gray(wash)
    rim = np.clip((blur(light, 5) - light) * 3, 0, 0.3) + 0.3 * outline(light, 2.0, 7)
    bloom = textures.paper(noise) * (1.02 - light)
    return wash * (1 - 0.9 * rim[..., None]) + 0.13 * bloom[..., None]


def comic(picture, noise):
    flat = saturate(bilateral(picture, 4), 1.9)
    light = gray(flat)
    steps = soft_steps(light, 3)
    inked = np.clip(flat / (light[..., None] + 0.05) * (0.3 + 0.75 * steps[..., None]), 0, 1)
    dark = smooth_step(0.75, 0.2, light)
    dot = smooth_step(-0.12, 0.12, textures.dots(noise) + 2.2 * dark - 1.35) * smooth_step(0.02, 0.2, dark)
    shaded = inked * (1 - 0.72 * dot[..., None])
    ink = lines(gray(blur(picture, 1.0)), 1.9, 32)
    return shaded * (1 - ink[..., None])


def blueprint(picture, noise):
    light = gray(blur(picture, 0.8))
    edge = lines(light, 1.5, 15)
    fill = gray(blur(picture, 4))[..., None]
    base = color(0.02, 0.14, 0.52) + fill * color(0.07, 0.16, 0.22)
    return base + edge[..., None] * (color(0.9, 0.96, 1.0) - base)


def thermal_camera(picture, noise):
    heat = gray(blur(picture, 1.6))
    return palette(
        np.clip(0.5 + 1.15 * (heat - 0.48), 0, 1),
        [(0.0, 0.0, 0.12), (0.25, 0.0, 0.6), (0.8, 0.05, 0.5), (0.98, 0.45, 0.05), (1.0, 0.9, 0.1), (1.0, 1.0, 0.95)],
    )


def mosaic(picture, noise):
    level, upright = textures.grout(noise)
    gap = smooth_step(0.7, 1.1, np.maximum(level, upright))[..., None]
    # Stones bulge between the gaps.
    stone = saturate(blur(picture, 5), 1.8) * (1 - 0.1 * (level + upright)[..., None])
    return (1 - gap) * stone + gap * color(0.93, 0.9, 0.82)


def night_vision(picture, noise):
    light = gray(blur(picture, 1.0)) ** 0.75
    light = light + 0.35 * blur(np.clip(light - 0.6, 0, 1), 8)
    return tint(light + 0.1 * textures.grain(noise), (0.18, 1.0, 0.25)) * 0.95 + color(0.0, 0.06, 0.0)


def sepia_photograph(picture, noise):
    light = 0.14 + 0.8 * gray(blur(picture, 1.1))
    light = light + 0.05 * textures.grain(noise)
    return palette(light, [(0.17, 0.09, 0.03), (0.56, 0.38, 0.2), (0.86, 0.7, 0.47), (1.0, 0.93, 0.76)])


def woodcut(picture, noise):
    light = gray(blur(picture, 1.2))
    local = light + 0.9 * (light - blur(light, 9))
    black = smooth_step(0.06, -0.06, local - 0.46 + 0.13 * textures.wood(noise))
    ink = np.maximum(black, lines(light, 1.7, 22))
    return color(0.95, 0.88, 0.72) + ink[..., None] * (color(0.09, 0.05, 0.05) - color(0.95, 0.88, 0.72))


def pastel(picture, noise):
    soft = bilateral(blur(picture, 1.5), 4)
    light = gray(soft)
    candy = palette(light, [(0.66, 0.58, 0.88), (0.95, 0.66, 0.8), (1.0, 0.83, 0.76), (0.9, 0.97, 0.84), (1.0, 1.0, 0.96)])
    hue = saturate(soft, 1.6) - gray(saturate(soft, 1.6))[..., None]
    return candy + 0.42 * hue + 0.03 * textures.paper(noise)[..., None]


STYLES = {
    "none": plain,
    "pencil": pencil_sketch,
    "neon": neon_cyberpunk,
    "oil": oil_painting,
    "watercolour": watercolour,
    "comic": comic,
    "blueprint": blueprint,
    "thermal": thermal_camera,
    "mosaic": mosaic,
    "night": night_vision,
    "sepia": sepia_photograph,
    "woodcut": woodcut,
    "pastel": pastel,
}
NAMES = list(STYLES)


def color(red, green, blue):
    return np.array([red, green, blue], np.float32)


def gray(picture):
    return picture @ color(0.299, 0.587, 0.114)


def blur(field, sigma):
    return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def tint(light, hue):
    return light[..., None] * color(*hue)


def saturate(picture, factor):
    light = gray(picture)[..., None]
    return np.clip(light + factor * (picture - light), 0, 1)


def smooth_step(low, high, value):
    """0 below `low`, 1 above `high` (or the other way round), smooth between."""
    part = np.clip((value - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


def soft_steps(value, count):
    """Rounds to `count` steps, with soft flanks so that a pan does not flicker."""
    scaled = value * count
    floor = np.floor(scaled)
    return (floor + smooth_step(0.35, 0.65, scaled - floor)) / count


def lines(light, sigma, gain):
    """Dark lines along the dark side of edges, 0 to 1, as drawn with a pen `sigma` wide."""
    dip = blur(light, 1.6 * sigma) - blur(light, sigma)
    return np.clip(gain * dip / (0.35 + light) - 0.12, 0, 1)


def outline(light, sigma, gain):
    """Strength of edges, 0 to 1."""
    smooth = blur(light, sigma)
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 4
    strength = gain * slope / (0.3 + 6 * blur(slope, 8))
    return smooth_step(0.12, 0.85, strength)


def bilateral(picture, sigma):
    return cv2.bilateralFilter(np.ascontiguousarray(picture), -1, 0.14, sigma)


def kuwahara(picture, radius):
    """Each pixel takes the mean of the calmest of the four squares that touch it."""
    side = radius + 1
    light = gray(picture)
    mean, calm = None, None
    for down in (0, radius):
        for right in (0, radius):
            options = {"ksize": (side, side), "anchor": (right, down), "borderType": cv2.BORDER_REFLECT}
            spread = cv2.boxFilter(light * light, -1, **options) - cv2.boxFilter(light, -1, **options) ** 2
            weight = 1 / (spread + 2e-4) ** 4 * 1e-14
            part = weight[..., None] * cv2.boxFilter(picture, -1, **options)
            mean = part if mean is None else mean + part
            calm = weight if calm is None else calm + weight
    return mean / calm[..., None]


def palette(light, colors):
    """Maps lightness through evenly spaced colours."""
    stops = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(light, stops, [c[i] for c in colors]) for i in range(3)], -1).astype(np.float32)
