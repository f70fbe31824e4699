"""The demo model in PyTorch: the folder, read by diffusers, in streamdiffusion's own pipeline class, on the CPU. Prints one
line of JSON: frames a second, and the resident memory in MiB.

    demo_peer.py MODEL [--prompt TEXT] [--side PIXELS] [--threads N] [--seconds S]
"""

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging
from streamdiffusion import StreamDiffusion

WARM_UP_FRAMES = 8


class Stopwatch:
    """What the pipeline class takes the time of its frames with, where there is no CUDA."""

    def __init__(self, enable_timing: bool):
        assert enable_timing

    def record(self):
        self.time = time.perf_counter()

    def elapsed_time(self, later: "Stopwatch") -> float:
        return (later.time - self.time) * 1000


def main():
    wish = arguments()
    torch.set_num_threads(wish.threads)
    torch.cuda.Event, torch.cuda.synchronize = Stopwatch, lambda: None
    stream = open_stream(wish)
    frame = torch.rand(1, 3, wish.side, wish.side)
    for _ in range(WARM_UP_FRAMES):
        stream(frame)
    frames, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + wish.seconds:
        stream(frame)
        frames += 1
    fps = frames / (time.perf_counter() - begin)
    print(json.dumps({"fps": fps, "frames": frames, "memory_mb": resident_mb(), "torch": torch.__version__}))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompt", default="pencil sketch")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    return parser.parse_args()


def open_stream(wish) -> StreamDiffusion:
    # They say that the autoencoder is a small one, as it is meant to be.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    pipe = StableDiffusionPipeline.from_pretrained(wish.model, low_cpu_mem_usage=False)
    stream = StreamDiffusion(
        pipe, t_index_list=[32], torch_dtype=torch.float32, width=wish.side, height=wish.side, cfg_type="none"
    )
    stream.prepare(wish.prompt, num_inference_steps=50, guidance_scale=1.0, generator=torch.Generator())
    return stream


def resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


main()
