"""Writes what StreamDiffusion 0.1.1 makes of a few frames with an exported model: the tests compare the server with it.

StreamDiffusion pins heavy packages that are not needed here: install it with `pip install --no-deps streamdiffusion==0.1.1`.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

import scenes


class Clock:
    """Stands in for CUDA's events, with which the pipeline times itself."""

    def __init__(self, **_):
        pass

    def record(self):
        pass

    def elapsed_time(self, _):
        return 0.0


torch.cuda.Event, torch.cuda.synchronize = Clock, lambda: None
from streamdiffusion import StreamDiffusion  # noqa: E402  (it may look for CUDA as it is loaded)

WIDTH, HEIGHT = 96, 64
SEED, T_INDEX = 2, 32
# What is recorded: one style, another with a texture from the noise, two of them, and none.
CASES = {
    "neon": "neon cyberpunk",
    "mosaic": "a mosaic",
    "both": "a pencil sketch and an oil painting",
    "none": "",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the exported diffusers folder")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    arguments = parser.parse_args()
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.model, torch_dtype=torch.float32)
    frame = cv2.resize(scenes.make_scene(3), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    tensors = {"frame": torch.from_numpy(frame)}
    for name, prompt in CASES.items():
        tensors[name] = draw(pipeline, frame, prompt)
    save_file(tensors, arguments.out, CASES)


@torch.no_grad()
def draw(pipeline, frame: np.ndarray, prompt: str) -> torch.Tensor:
    """The picture as it leaves the decoder, about -1 to 1, not clamped."""
    stream = StreamDiffusion(
        pipeline, t_index_list=[T_INDEX], torch_dtype=torch.float32, width=WIDTH, height=HEIGHT, cfg_type="none"
    )
    stream.prepare(prompt, num_inference_steps=50, guidance_scale=1.0, generator=torch.Generator(), seed=SEED)
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    return stream(picture)[0].contiguous()


if __name__ == "__main__":
    main()
