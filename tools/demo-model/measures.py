"""What the evaluation measures on pictures, each as one number."""

import cv2
import numpy as np

BORDER = 6


def edge_f1(drawn: np.ndarray, picture: np.ndarray, reach: int = 2) -> float:
    """How well the edges of two pictures agree within `reach` pixels: 1 is everywhere."""
    ours, theirs = edges(drawn), edges(picture)
    kernel = np.ones((2 * reach + 1,) * 2, np.uint8)
    precision = (ours & (cv2.dilate(theirs.astype(np.uint8), kernel) > 0)).sum() / max(1, ours.sum())
    recall = (theirs & (cv2.dilate(ours.astype(np.uint8), kernel) > 0)).sum() / max(1, theirs.sum())
    return float(2 * precision * recall / max(1e-9, precision + recall))


def edges(picture: np.ndarray) -> np.ndarray:
    light = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 1.4)
    slope = np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
    high = max(float(np.percentile(slope, 92)), 20)
    return cv2.Canny(light, 0.4 * high, high) > 0


def mean_change(frames: list[np.ndarray]) -> float:
    changes = [np.abs(after.astype(np.float32) - before).mean() for before, after in zip(frames, frames[1:])]
    return float(np.mean(changes))


def fringe(drawn: np.ndarray, target: np.ndarray) -> float:
    """By how many levels of 255 the colour at the border is further off than inside."""
    error = cv2.GaussianBlur(drawn.astype(np.float32) - target, (0, 0), 1.5)
    colour = np.abs(error - error.mean(-1, keepdims=True)).mean(-1)
    inside = colour[BORDER:-BORDER, BORDER:-BORDER]
    border = (colour.sum() - inside.sum()) / (colour.size - inside.size)
    return float(border - inside.mean())


def positions(series: list[np.ndarray]) -> list[float]:
    """Where each picture of a blend lies on the way from the first (0) to the last (1)."""
    first, last = series[0].astype(np.float32), series[-1].astype(np.float32)
    way = last - first
    return [float(((picture - first) * way).sum() / (way**2).sum()) for picture in series]


def psnr(drawn: np.ndarray, target: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((drawn.astype(np.float32) - target) ** 2))))
