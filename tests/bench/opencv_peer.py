"""The classical image processors in OpenCV, on one thread. Prints one object of JSON: milliseconds, the best of so many.

    opencv_peer.py PICTURE SIDE TIMES
"""

import json
import sys
import time

import cv2
import numpy as np


def main():
    path, side, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    cv2.setNumThreads(1)
    picture = np.fromfile(path, np.uint8).reshape(side, side, 3)
    print(json.dumps({process.__name__: best(process, picture, times) for process in [canny, blur, sharpen]}))


def best(process, picture, times):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        process(picture)
        taken.append(time.perf_counter() - start)
    return min(taken) * 1000


def canny(picture):
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.cvtColor(cv2.Canny(gray, 100, 200), cv2.COLOR_GRAY2RGB)


def blur(picture):
    return cv2.GaussianBlur(picture, (15, 15), 2)


def sharpen(picture):
    """The same formula with the same defaults, in the types that OpenCV is fastest with; it rounds more often."""
    clean = cv2.addWeighted(picture, 0.9, cv2.GaussianBlur(picture, (3, 3), 0.8), 0.1, 0)
    half, once = cv2.GaussianBlur(clean, (5, 5), 0.5), cv2.GaussianBlur(clean, (7, 7), 1)
    twice, fine = cv2.GaussianBlur(clean, (13, 13), 2), cv2.GaussianBlur(clean, (3, 3), 0.8)
    edge, center = -0.5 / 4, 1 + 1.5 + 0.5 + 0.3
    total = cv2.filter2D(clean, cv2.CV_16S, np.float32([[0, edge, 0], [edge, center, edge], [0, edge, 0]]))
    cv2.subtract(total, cv2.addWeighted(half, 0.5, once, 0.5, 0, dtype=cv2.CV_16S), dst=total)
    cv2.subtract(total, cv2.addWeighted(twice, 0.5, fine, 0.3, 0, dtype=cv2.CV_16S), dst=total)
    return cv2.convertScaleAbs(np.maximum(total, 0))


main()
