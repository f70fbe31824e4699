"""Textures that a picture's noise decides: halftone dots, tiles, hatching, grain.

A convolutional network cannot know where on the screen it is, so it cannot learn a pattern that hangs on fixed
coordinates. The pictures' latents leave their last channel empty, though, and after noise was added that channel is
pure noise: it stands still while a stream runs and the network sees it exactly. Each texture here is a filter of it.
"""

import cv2
import numpy as np

LATENT_STRIDE = 4
# Beyond the picture there is no noise, as in the network's own convolutions: what it cannot see it cannot draw.
BORDER = cv2.BORDER_CONSTANT


def make_noise(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """The noise of the empty channel for a picture of this size."""
    return rng.standard_normal((height // LATENT_STRIDE, width // LATENT_STRIDE)).astype(np.float32)


def dots(noise: np.ndarray) -> np.ndarray:
    """Round blobs some 14 pixels apart, about -1 to 1."""
    return enlarge(band(noise, 0.85, 1.25))


def grain(noise: np.ndarray) -> np.ndarray:
    """Fine film grain."""
    return enlarge(noise / 1.6)


def paper(noise: np.ndarray) -> np.ndarray:
    """Soft uneven paper."""
    return enlarge(band(noise, 1.2, 4.0))


def strokes(noise: np.ndarray) -> np.ndarray:
    """Falling strokes, of a pencil or of a brush."""
    return enlarge(stroke(noise, length=4.0, width=0.7, degrees=55))


def wood(noise: np.ndarray) -> np.ndarray:
    """Nearly level cuts along the grain."""
    return enlarge(stroke(noise, length=6.0, width=0.75, degrees=4))


def grout(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Waves across and waves along the picture; on the crests of either run the gaps between stones of uneven size."""
    return tuple(enlarge(stroke(noise, length=4.5, width=1.1, degrees=degrees)) for degrees in (0, 90))


def band(noise: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """What lies between two blurs, scaled to unit deviation."""
    return unit(lambda field: blur(field, inner) - blur(field, outer), noise)


def stroke(noise: np.ndarray, length: float, width: float, degrees: float) -> np.ndarray:
    kernel = stroke_kernel(length, width, degrees) - stroke_kernel(length, width * 2.2, degrees)
    return unit(lambda field: cv2.filter2D(field, -1, kernel, borderType=BORDER), noise)


def stroke_kernel(length: float, width: float, degrees: float) -> np.ndarray:
    radius = int(np.ceil(2.2 * max(length, width)))
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    angle = np.deg2rad(degrees)
    along = right * np.cos(angle) + down * np.sin(angle)
    across = -right * np.sin(angle) + down * np.cos(angle)
    kernel = np.exp(-0.5 * ((along / length) ** 2 + (across / width) ** 2))
    return kernel / kernel.sum()


def unit(linear_filter, noise: np.ndarray) -> np.ndarray:
    # The scale is that of the filter, not of this noise: a crop must look like its part of the whole.
    reference = linear_filter(np.random.default_rng(0).standard_normal((192, 192)).astype(np.float32))
    return linear_filter(noise) / reference.std()


def blur(field: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(field, (0, 0), sigma, borderType=BORDER)


def enlarge(field: np.ndarray) -> np.ndarray:
    return cv2.resize(field, None, fx=LATENT_STRIDE, fy=LATENT_STRIDE, interpolation=cv2.INTER_CUBIC)
