"""Trains the demo model: `train.py --work FOLDER` goes on where the last run was until all stages are done."""

import argparse
from pathlib import Path

import torch

import data
import stage
from autoencoder import AutoencoderStage
from latents import LatentStage
from networks import load_tokenizer
from pixels import PixelStage
from text import TextStage

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENIZER = REPOSITORY / "models/test/tokenizer-clip-full"
# Each stage builds on the finished ones before it.
STAGES = {
    "autoencoder": lambda work, examples: AutoencoderStage(examples),
    "text": lambda work, examples: TextStage(load_tokenizer(TOKENIZER)),
    "latents": lambda work, examples: LatentStage(work, examples, load_tokenizer(TOKENIZER)),
    "pixels": lambda work, examples: PixelStage(work, examples, load_tokenizer(TOKENIZER)),
}


def main():
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    data.prepare(arguments.work)
    examples = data.load_training(arguments.work)
    for name in STAGES:
        step = STAGES[name](arguments.work, examples)
        step.steps = arguments.steps.get(name, step.steps)
        stage.run(step, arguments.work)
        if name == arguments.until:
            break


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures and state, outside the repository")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--until", choices=STAGES, help="stop after this stage")
    parser.add_argument("--steps", type=read_steps, default={}, help="for example latents=40000,pixels=20000")
    arguments = parser.parse_args()
    if arguments.work.resolve().is_relative_to(REPOSITORY):
        parser.error(f"--work must lie outside of {REPOSITORY}")
    return arguments


def read_steps(text: str) -> dict[str, int]:
    steps = {name: int(count) for name, count in (part.split("=") for part in text.split(","))}
    if unknown := steps.keys() - STAGES.keys():
        raise argparse.ArgumentTypeError(f"no such stage: {', '.join(sorted(unknown))}")
    return steps


if __name__ == "__main__":
    main()
