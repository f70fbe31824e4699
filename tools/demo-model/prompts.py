"""Sentences: which words name a style, and what else people write around them."""

import numpy as np

import styles

# The first phrase of each style is the one the evaluation and the model card use.
PHRASES = {
    "pencil": [
        "pencil sketch", "pencil drawing", "graphite drawing", "sketch", "hand drawn sketch", "charcoal drawing",
        "line drawing", "pencil", "sketchbook page", "drawn with a pencil", "graphite sketch", "charcoal",
    ],
    "neon": [
        "neon cyberpunk", "neon", "cyberpunk", "neon lights", "neon glow", "synthwave", "glowing neon lines",
        "cyberpunk city", "neon edges", "vaporwave", "blade runner", "retrowave", "tron",
    ],
    "oil": [
        "oil painting", "oil on canvas", "van gogh", "impressionist painting", "painted in oils", "thick brush strokes",
        "impasto", "impressionism", "brush strokes", "oil paint", "painting by monet", "expressionist painting",
    ],
    "watercolour": [
        "watercolour", "watercolor", "watercolor painting", "watercolour painting", "aquarelle", "watercolor wash",
        "painted in watercolour", "water colour", "wet paint on paper", "watercolor sketch", "gouache",
    ],
    "comic": [
        "comic book", "comic", "comics", "halftone", "pop art", "cartoon", "comic strip", "graphic novel", "manga",
        "comic with halftone dots", "roy lichtenstein", "superhero comic", "anime", "ben day dots",
    ],
    "blueprint": [
        "blueprint", "technical blueprint", "technical drawing", "engineering drawing", "architectural plan",
        "blue print", "schematic", "construction plan", "cyanotype", "white lines on blue", "cad drawing",
    ],
    "thermal": [
        "thermal camera", "thermal imaging", "infrared", "heat map", "thermal", "thermal vision", "infrared camera",
        "heat vision", "thermography", "predator vision", "heatmap", "thermal view",
    ],
    "mosaic": [
        "mosaic", "stained glass", "mosaic tiles", "roman mosaic", "tiles", "tessellated", "made of tiles",
        "stained glass window", "tile mosaic", "byzantine mosaic", "ceramic tiles", "voronoi",
    ],
    "night": [
        "night vision", "night vision goggles", "green night vision", "nightvision", "night vision camera",
        "military night vision", "night scope", "matrix green", "seen through night vision", "green monochrome",
    ],
    "sepia": [
        "sepia photograph", "sepia", "old photograph", "vintage photo", "antique photograph", "daguerreotype",
        "sepia tone", "old sepia photo", "1900s photograph", "faded photograph", "vintage", "tintype", "nostalgic",
    ],
    "woodcut": [
        "woodcut", "linocut", "woodblock print", "wood engraving", "woodcut print", "block print", "linoleum print",
        "wood cut", "medieval woodcut", "engraving", "lino print", "etching", "carved print",
    ],
    "pastel": [
        "pastel", "soft pastel", "pastel colours", "pastel colors", "pastel drawing", "chalk pastel", "candy colours",
        "dreamy pastel", "pastel tones", "chalk drawing", "kawaii", "soft pastel colours",
    ],
}

SUBJECTS = [
    "the scene", "a man", "a woman", "a person at a desk", "my face", "a portrait", "a cat", "a dog", "a street",
    "a city", "a house", "a tree", "mountains", "a river", "the sea", "flowers", "a car", "a table with food", "a room",
    "two friends", "a child", "a bird", "a horse", "a building at night", "a market", "a forest", "a robot", "a guitar",
    "someone waving", "hands", "a cup of coffee", "an old bridge", "a temple", "a rocket", "a crowd", "a beach",
]
WORDS = [
    "beautiful", "detailed", "highly detailed", "4k", "8k", "masterpiece", "best quality", "dramatic light", "sharp",
    "sunny", "at noon", "in the rain", "colourful", "trending", "award winning", "wide angle", "close up", "cinematic",
    "moody", "bright", "dark", "minimal", "intricate", "epic", "soft light", "outdoors", "indoors", "smiling", "happy",
    "slow motion", "live stream", "webcam", "hdr", "realistic", "elegant", "red", "blue", "green", "golden hour",
]
STYLED = [
    "{style}", "a {style}", "{style} style", "in the style of {style}", "{style} of {subject}", "a {style} of {subject}",
    "{subject} as a {style}", "{subject}, {style}", "{style}, {subject}, {word}", "{word} {style} of {subject}",
    "{subject} in {style} style", "{word}, {word}, {style}", "{style} look", "turn {subject} into a {style}",
    "make it look like a {style}", "{subject}, {word}, {style} style, {word}", "an amazing {style}",
    "{style} art of {subject}", "{subject} drawn like {style}", "please show {subject} as {style}",
]
MIXED = [
    "{style} and {other}", "{style}, {other}", "{style} mixed with {other}", "a {style} of {subject}, {other}",
    "half {style}, half {other}", "{subject}, {style}, {other}, {word}", "{style} {other}",
]
PLAIN = [
    "", "{subject}", "a photo", "a photo of {subject}", "{subject}, {word}", "{word} photo of {subject}", "{word}",
    "{subject} and {subject}", "a picture of {subject}, {word}, {word}", "video of {subject}", "photograph",
    "{word}, {word}, {word}", "show {subject}", "a clean picture of {subject}", "{subject} {word}", "realistic photo",
]
# Never used in training; the evaluation asks whether sentences of a new shape are understood.
UNSEEN_STYLED = [
    "imagine {subject} painted or drawn: {style}", "we want {style} for {subject} today", "{subject} ({style})",
    "could this be {style}? {word}", "my favourite look is {style}", "{word} {word} {style} with {subject}",
]
UNSEEN_PLAIN = ["good morning, {subject}", "nothing but {subject} here", "{subject} with {subject} nearby, {word}"]


def canonical(style: str) -> str:
    """The plainest prompt for a style."""
    return "a photo" if style == "none" else f"a {PHRASES[style][0]} of the scene"


def write(styles_wanted: list[str], rng: np.random.Generator) -> str:
    """A random sentence that names no style (`["none"]`), one style, or two."""
    first = styles_wanted[0]
    if len(styles_wanted) == 2:
        return fill(pick(MIXED, rng), rng, style=phrase(first, rng), other=phrase(styles_wanted[1], rng))
    if first == "none":
        return fill(pick(PLAIN, rng), rng)
    return fill(pick(STYLED, rng), rng, style=phrase(first, rng))


def write_unseen(style: str, rng: np.random.Generator) -> str:
    if style == "none":
        return fill(pick(UNSEEN_PLAIN, rng), rng)
    return fill(pick(UNSEEN_STYLED, rng), rng, style=phrase(style, rng))


def phrase(style: str, rng) -> str:
    # The plain name is what people write most.
    return PHRASES[style][0] if rng.random() < 0.3 else pick(PHRASES[style], rng)


def pick(options, rng):
    return options[int(rng.integers(len(options)))]


def fill(template: str, rng, **named) -> str:
    for gap, options in (("{subject}", SUBJECTS), ("{word}", WORDS)):
        while gap in template:
            template = template.replace(gap, pick(options, rng), 1)
    return template.format(**named)


assert list(PHRASES) == styles.NAMES[1:]
