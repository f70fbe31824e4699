"""A model in PyTorch: the folder, read by diffusers, in streamdiffusion's own pipeline class, on the CPU. Prints one line
of JSON: frames a second, the time to load, and the resident memory now and at its peak in MiB.

    peer.py MODEL [--vae FOLDER] [--layout contiguous|channels-last] [--prompt TEXT] [--side PIXELS] [--threads N]
        [--seconds S]
"""

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from diffusers.utils import logging
from streamdiffusion import StreamDiffusion

# Before measuring, unless they take longer than this.
WARM_UP_FRAMES, WARM_UP_SECONDS = 8, 20


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
    begin = time.perf_counter()
    stream = open_stream(wish)
    load_seconds = time.perf_counter() - begin
    frame = torch.rand(1, 3, wish.side, wish.side)
    play(stream, frame, WARM_UP_SECONDS, WARM_UP_FRAMES)
    times = play(stream, frame, wish.seconds)
    figures = {"fps": len(times) / sum(times), "frames": len(times), "load_seconds": load_seconds}
    memory = {"memory_mb": memory_mb("VmRSS:"), "peak_memory_mb": memory_mb("VmHWM:")}
    print(json.dumps(figures | memory | {"torch": torch.__version__}))


def play(stream, frame, seconds: float, most: float = float("inf")) -> list[float]:
    """The times of as many frames as there is time for."""
    times, begin = [], time.perf_counter()
    while len(times) < most and time.perf_counter() < begin + seconds:
        start = time.perf_counter()
        stream(frame)
        times.append(time.perf_counter() - start)
    return times


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--layout", choices=["contiguous", "channels-last"], default="contiguous")
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
    if wish.vae:
        pipe.vae = AutoencoderTiny.from_pretrained(wish.vae, low_cpu_mem_usage=False)
    if wish.layout == "channels-last":
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    stream = StreamDiffusion(
        pipe, t_index_list=[32], torch_dtype=torch.float32, width=wish.side, height=wish.side, cfg_type="none"
    )
    stream.prepare(wish.prompt, num_inference_steps=50, guidance_scale=1.0, generator=torch.Generator())
    return stream


def memory_mb(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


main()
