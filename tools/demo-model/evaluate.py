"""Judges an exported model on the held-out pictures and writes its card and contact sheet into its folder."""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import card
import data
import measures
import prompts
import render
import styles
import text
from classifier import Classifier

SEED = 2
# A style keeps structure if its drawing by rule agrees this far with the edges of the picture: dots, hatching, strokes and
# grain have edges of their own.
KEEPS_EDGES = 0.65
BLENDS = [("pencil", "neon"), ("none", "oil"), ("oil", "blueprint"), ("comic", "thermal"), ("woodcut", "pastel"),
          ("sepia", "night"), ("watercolour", "mosaic"), ("none", "neon")]  # fmt: skip
SHARES = (0, 0.25, 0.5, 0.75, 1)


@dataclass
class Report:
    """Figures by style, figures of the whole, and the bars that were missed."""

    by_style: dict[str, dict[str, float]] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def demand(self, name: str, value: float, is_met: bool, bar: str):
        self.whole[name] = value
        if not is_met:
            self.missed.append(f"{name} is {value:.3f}, wanted {bar}")


def main():
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    held_out = data.load_held_out(arguments.work)
    renderer = render.Renderer(arguments.model)
    report = Report()
    drawings = draw_all(renderer, held_out)
    classifier = Classifier(arguments.work, data.load_training(arguments.work))
    judge_styles(report, drawings, held_out, classifier)
    judge_pictures(report, drawings, held_out)
    judge_flicker(report, renderer, held_out["china"])
    judge_blends(report, renderer, held_out, classifier)
    judge_sentences(report, renderer)
    card.write_sheet(arguments.model / "styles.jpg", renderer, held_out, drawings)
    card.write(arguments.model / "README.md", report, (arguments.work / "licences.md").read_text())
    print(json.dumps({"by_style": report.by_style, "whole": report.whole, "missed": report.missed}, indent=1))
    if arguments.classifier:
        classifier.export(arguments.classifier)
    raise SystemExit(1 if report.missed else 0)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder of the training")
    parser.add_argument("--model", type=Path, required=True, help="the exported diffusers folder")
    parser.add_argument("--classifier", type=Path, help="where to write the classifier, for the tests of the server")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def draw_all(renderer, held_out) -> dict[str, dict[str, np.ndarray]]:
    """`drawings[style][picture]`, each by the plainest prompt for the style."""
    embeddings = {style: renderer.embed(prompts.canonical(style)) for style in styles.NAMES}
    return {
        style: {name: renderer.draw(picture, embeddings[style], SEED) for name, picture in held_out.items()}
        for style in styles.NAMES
    }


def judge_styles(report: Report, drawings, held_out, classifier):
    trust = classifier.share_right_on_targets(held_out)
    report.demand("classifier on targets", trust, trust >= 0.98, "at least 0.98")
    shares = {}
    for style, pictures in drawings.items():
        named = [classifier.name(picture) for picture in pictures.values()]
        shares[style] = float(np.mean([name == style for name in named]))
        report.by_style[style] = {"named right": shares[style]}
    total = float(np.mean(list(shares.values())))
    report.demand("style named right", total, total >= 0.95, "at least 0.95")


def judge_pictures(report: Report, drawings, held_out):
    kept, fringes = [], []
    for style, pictures in drawings.items():
        rows = []
        for name, drawn in pictures.items():
            target = styles.make_target(style, held_out[name], render.noise_of(SEED, held_out[name]))
            f1, by_rule = (measures.edge_f1(picture, held_out[name]) for picture in (drawn, target))
            rows.append((measures.psnr(drawn, target), f1, by_rule, measures.fringe(drawn, target)))
        psnr, f1, by_rule, fringe = np.mean(rows, 0).tolist()
        figures = {"psnr to target": psnr, "edge f1": f1, "edge f1 by rule": by_rule, "fringe": fringe}
        report.by_style[style] |= figures
        fringes.append(fringe)
        if by_rule >= KEEPS_EDGES:
            kept.append(f1)
    name = "edge f1 of styles that keep structure"
    report.demand(name, float(np.mean(kept)), np.mean(kept) >= 0.65, "at least 0.65")
    report.whole["edge f1 of all styles"] = float(np.mean([figures["edge f1"] for figures in report.by_style.values()]))
    report.demand("worst fringe", max(fringes), max(fringes) <= 6, "at most 6 levels")


def judge_flicker(report: Report, renderer, picture):
    frames = pan(picture)
    own = measures.mean_change(frames)
    worst = 0.0
    for style in styles.NAMES:
        embedding = renderer.embed(prompts.canonical(style))
        flicker = measures.mean_change([renderer.draw(frame, embedding, SEED) for frame in frames]) / own
        report.by_style[style]["flicker"] = flicker
        worst = max(worst, flicker)
    report.demand("worst flicker", worst, worst <= 1.2, "at most 1.2")


def pan(picture: np.ndarray) -> list[np.ndarray]:
    """A camera that turns to the right and sinks a little."""
    return [np.ascontiguousarray(picture[40 + i : 360 + i, 20 + 3 * i : 340 + 3 * i]) for i in range(10)]


def judge_blends(report: Report, renderer, held_out, classifier):
    """By the classifier, and by where the pixels lie between the two ends."""
    steps, is_monotone = [], True
    for first, last in BLENDS:
        ends = [renderer.embed(prompts.canonical(style)) for style in (first, last)]
        for name in ("astronaut", "coffee", "china"):
            series = [renderer.draw(held_out[name], ends[0] * (1 - s) + ends[1] * s, SEED) for s in SHARES]
            shares = [classifier.share(picture, first, last) for picture in series]
            for positions in (shares, measures.positions(series)):
                is_monotone &= bool((np.diff(positions) > 0).all())
                steps.append(float(np.diff(positions).max()))
    report.demand("blends are monotone", float(is_monotone), is_monotone, "all of them")
    report.demand("largest step of a blend", max(steps), max(steps) <= 0.5, "at most 0.5")


def judge_sentences(report: Report, renderer):
    """Whether sentences of unseen shapes land on the code of their style."""
    rng, codes, rights = np.random.default_rng(23), text.make_codes(), []
    for style in styles.NAMES:
        for _ in range(20):
            tokens = text.tokenize(renderer.tokenizer, [prompts.write_unseen(style, rng)])
            with torch.no_grad():
                end = renderer.text_encoder(tokens)[0][0, text.end_of(tokens)[0]]
            rights.append(styles.NAMES[int(torch.cdist(end[None], codes).argmin())] == style)
    share = float(np.mean(rights))
    report.demand("unseen sentences understood", share, share >= 0.95, "at least 0.95")


if __name__ == "__main__":
    main()
