"""What is printed on a chest: motifs and words."""

import numpy as np

from efiss.demo_catalogue.shapes import Part, Piece, Words, box, curve, ellipse, join, mirror

WORDS = ("NORTH", "WILD", "SURF", "HELLO", "76", "CITY", "LOVE", "TEAM", "1984", "BEACH", "ROCK")


def chest_print(rng, y: float = -0.2) -> list[Piece]:
    """A motif, a word, or both, in the middle of the chest."""
    kind = rng.choice(["word", "disc", "star", "bars", "hills", "heart", "box"])
    size = rng.uniform(0.17, 0.24)
    word = Words(str(rng.choice(WORDS)), (0, y), size * 0.8)
    flat = dict(edge=0.01, slope=0.0)
    if kind == "word":
        return [word, Part(box(-size, y + size * 0.55, size, y + size * 0.65, 0), "print", **flat)]
    if kind == "disc":
        return [
            Part(ellipse(0, y, size), "print", **flat),
            Part(ellipse(0, y, size * 0.72), "accent", **flat),
            Part(ellipse(0, y, size * 0.4), "print", **flat),
        ]
    if kind == "star":
        angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        radius = np.where(np.arange(10) % 2, 0.42, 1.0) * size * 1.15
        star = np.column_stack([radius * np.sin(angle), y - radius * np.cos(angle)])
        return [Part(star, "print", **flat)]
    if kind == "bars":
        tops = y + np.arange(3) * size * 0.55 - size * 0.7
        return [
            Part(
                box(-size * 1.3, top, size * 1.3, top + size * 0.32, 0.01),
                ("print", "accent", "print")[k],
                **flat,
            )
            for k, top in enumerate(tops)
        ]
    if kind == "hills":
        frame = box(-size, y - size, size, y + size, 0.02)
        near = join((-size, y + size), (-size * 0.2, y - size * 0.1), (size, y + size))
        far = join((-size * 0.4, y + size), (size * 0.4, y - size * 0.4), (size * 2, y + size))
        return [
            Part(frame, "print", **flat),
            Part(ellipse(size * 0.45, y - size * 0.5, size * 0.25), "accent", **flat),
            Part(far, "accent", shade=0.8, within=frame, **flat),
            Part(near, "accent", shade=0.6, within=frame, **flat),
        ]
    if kind == "heart":
        s = size * 1.1
        half = curve(
            (0, y - 0.35 * s),
            (0.45 * s, y - 0.8 * s),
            (0.95 * s, y - 0.3 * s),
            (0.5 * s, y + 0.4 * s),
            (0, y + 0.9 * s),
        )
        return [Part(mirror(half), "print", **flat)]
    frame = box(-size * 1.3, y - size * 0.6, size * 1.3, y + size * 0.6, 0.02)
    return [Part(frame, "print", **flat), Words(word.text, (0, y), size * 0.75, "plain")]
