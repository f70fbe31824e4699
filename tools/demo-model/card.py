"""The model card and the contact sheet."""

from pathlib import Path

import cv2
import numpy as np

import prompts
import styles

TILE = 176
# Pictures in the public domain, so that the sheet carries no conditions.
SHOWN = ("astronaut", "chelsea", "coffee", "rocket")
BLEND = ("pencil", "neon")

# What a person sees on the contact sheet of the weights that are there; to be written anew with them.
SEEN = """Every style is drawn as it is meant to be: halftone dots, grout, hatching, brush strokes, cuts and the lines of neon and
blueprint are there. What is weak: neon's and blueprint's lines are thinner and paler than they should be, and fine ones are
missing; flat light areas of comic, pencil and mosaic have some false colour along edges; mosaic hides small things by design;
textures hang on the screen and not on what moves. A plain picture is a little soft, and warm ones are now and then taken for
sepia or thermal by the judge, as they are when nothing was done to them."""

TEXT = """# Demo model

A very small image-to-image model in the layout of Stable Diffusion: one step at `t_index_list: [32]` draws the picture
in the style that the prompt names. It is made for trying the server on a laptop without a GPU, and knows nothing but
these styles; a prompt that names none gives the picture back.

![styles](styles.jpg)

Each row: {columns}. The last row goes from {first} to {last} by weighted prompts.

## Prompts

Any sentence with one of the words works, and two of them mix; so do weighted prompts.

{phrases}

## Measured on held-out pictures

| style | {headings} |
| --- | {rules} |
{rows}

{whole}

{verdict}

{seen}

## How it was made

`tools/demo-model` trains it from scratch on a CPU: photographs from packages with free licences (below), procedural
scenes, and targets drawn by classical image processing. No other model's weights or outputs were used. The tokenizer
files are CLIP's (MIT). Latents are a quarter of the picture's size and `scaling_factor` is 20. The last latent channel
of an encoded picture is empty: the noise of that channel is where dots, tiles and strokes come from, so a seed fixes
them on the screen.

{licences}
"""


def write(path: Path, report, licences: str):
    headings = list(next(iter(report.by_style.values())))
    rows = [
        f"| {style} | " + " | ".join(f"{figures[heading]:.2f}" for heading in headings) + " |"
        for style, figures in report.by_style.items()
    ]
    path.write_text(
        TEXT.format(
            columns=", ".join(styles.NAMES),
            first=BLEND[0],
            last=BLEND[1],
            phrases="\n".join(f"- **{style}**: {', '.join(words)}" for style, words in prompts.PHRASES.items()),
            headings=" | ".join(headings),
            rules=" | ".join("---" for _ in headings),
            rows="\n".join(rows),
            whole="\n".join(f"- {name}: {value:.3f}" for name, value in report.whole.items()),
            verdict="Missed: " + "; ".join(report.missed) if report.missed else "All bars are met.",
            seen=SEEN,
            licences=licences,
        )
    )


def write_sheet(path: Path, renderer, held_out, drawings):
    rows = [[drawings[style][name] for style in styles.NAMES] for name in SHOWN]
    first, last = (renderer.embed(prompts.canonical(style)) for style in BLEND)
    shares = np.linspace(0, 1, len(styles.NAMES))
    rows.append([renderer.draw(held_out[SHOWN[0]], first * (1 - s) + last * s) for s in shares.tolist()])
    sheet = np.concatenate([np.concatenate([shrink(picture) for picture in row], 1) for row in rows])
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


def shrink(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)
