"""Runs one stage of the training so that it can be killed at any moment.

All randomness of a step comes from the stage's name and the step's number, and the state is written every minute to a
new file that then replaces the old one: a run that was killed goes on as if nothing had happened.
"""

import math
import os
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

SAVE_EVERY_SECONDS = 60
LOG_EVERY_STEPS = 200
# Where the learning rate starts to fall.
COOLING = 0.6


@dataclass
class Group:
    """A network that a stage trains, with its learning rate."""

    network: torch.nn.Module
    rate: float


class Stage:
    """What a stage must say of itself; `run` does the rest."""

    name: str
    steps: int

    def networks(self) -> dict[str, Group]:
        raise NotImplementedError

    def loss(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of one step and figures for the log; `rng` and torch are seeded for the step."""
        raise NotImplementedError

    def after_step(self, step: int):
        """For what must hold after each change of the weights."""


def run(stage: Stage, work: Path):
    """Trains `stage` to its end, or does nothing if it is there already."""
    groups = stage.networks()
    optimiser = make_optimiser(groups)
    averages = {name: Average(group.network) for name, group in groups.items()}
    path = work / "state" / f"{stage.name}.pt"
    step = resume(path, groups, optimiser, averages)
    figures, saved, started, first = defaultdict(list), time.monotonic(), time.monotonic(), step
    while step < stage.steps:
        set_rates(optimiser, step, stage.steps)
        rng = seed(stage.name, step)
        loss, values = stage.loss(step, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
        optimiser.step()
        step += 1
        stage.after_step(step)
        for name, average in averages.items():
            average.follow(groups[name].network, step)
        for name, value in values.items():
            figures[name].append(value)
        if step % LOG_EVERY_STEPS == 0 or step == stage.steps:
            log(stage, step, figures, (time.monotonic() - started) / (step - first))
            figures.clear()
        if time.monotonic() - saved > SAVE_EVERY_SECONDS or step == stage.steps:
            save(path, step, groups, optimiser, averages)
            saved = time.monotonic()


def make_optimiser(groups: dict[str, Group]) -> torch.optim.Optimizer:
    parts = [
        {"params": [p for p in group.network.parameters() if p.requires_grad], "peak": group.rate}
        for group in groups.values()
    ]
    return torch.optim.AdamW(parts, lr=1e-3, weight_decay=1e-4, betas=(0.9, 0.98), fused=True)


def set_rates(optimiser, step: int, steps: int):
    part = step / steps
    cooling = 1 if part < COOLING else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (part - COOLING) / (1 - COOLING)))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * min(1, (step + 1) / 100) * cooling


def seed(name: str, step: int) -> np.random.Generator:
    number = zlib.crc32(name.encode())
    torch.manual_seed(number * 1_000_003 + step)
    return np.random.default_rng([number, step])


class Average:
    """A running mean of the weights: better than the weights of any one step, so pictures can be drawn at any time."""

    def __init__(self, network):
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def follow(self, network, step: int):
        share = 1 - min(0.998, step / (step + 20))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)


def resume(path: Path, groups, optimiser, averages) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, group in groups.items():
        group.network.load_state_dict(state["networks"][name])
        averages[name].weights = state["averages"][name]
    optimiser.load_state_dict(state["optimiser"])
    return state["step"]


def save(path: Path, step: int, groups, optimiser, averages):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    state = {
        "step": step,
        "networks": {name: group.network.state_dict() for name, group in groups.items()},
        "averages": {name: average.weights for name, average in averages.items()},
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, part)
    os.replace(part, path)


def log(stage: Stage, step: int, figures, seconds: float):
    left = (stage.steps - step) * seconds / 60
    means = " ".join(f"{name} {np.mean(values):.4f}" for name, values in figures.items())
    clock = time.strftime("%H:%M:%S")
    print(f"{clock} {stage.name} {step}/{stage.steps} {seconds * 1e3:.0f} ms/step, {left:.0f} min left: {means}", flush=True)


def load_averages(work: Path, stage_name: str, name: str) -> dict | None:
    """The averaged weights that a stage has reached so far."""
    path = work / "state" / f"{stage_name}.pt"
    return torch.load(path, weights_only=True)["averages"][name] if path.exists() else None
