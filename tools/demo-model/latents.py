"""The third stage: the image network learns the styles in latent space, which is cheap."""

import torch

import networks
from lessons import Teacher
from stage import Group, Stage

BATCH, SIDE = 8, 40
# Now and then fewer but larger crops, so that the norms also see what whole pictures look like.
LARGE_EVERY, LARGE_BATCH, LARGE_SIDE = 6, 2, 80


class LatentStage(Stage):
    name = "latents"
    steps = 7000

    def __init__(self, work, examples, tokenizer):
        self.teacher = Teacher(work, examples, tokenizer)
        torch.manual_seed(4)
        self.unet = networks.make_unet()

    def networks(self):
        return {"unet": Group(self.unet, 1.2e-3)}

    def loss(self, step, rng):
        is_large = step % LARGE_EVERY == 0
        lesson = self.teacher.draw(LARGE_BATCH if is_large else BATCH, LARGE_SIDE if is_large else SIDE, rng)
        drawn = self.teacher.denoise(self.unet, lesson)
        difference = drawn - lesson.mix(self.teacher.target_latents)
        plain, square = difference.abs().mean((1, 2, 3)), (difference**2).mean((1, 2, 3))
        return (plain + 0.5 * square).mean(), figures_by_style(lesson, plain)


def figures_by_style(lesson, values) -> dict[str, float]:
    """The mean over all, and each style that was shown alone."""
    figures = {"all": values.mean().item()}
    for (first, second), value in zip(lesson.wanted, values.tolist()):
        if first == second:
            figures[first] = value
    return figures
