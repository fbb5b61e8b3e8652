"""How kinds look in every chart: one colour and one shape each, on pages and in figures alike."""

from dataclasses import dataclass
from zlib import crc32

from rewardgap.models.kinds import KINDS

# Okabe and Ito's colours, which the colour-blind tell apart too, in the order of the registry.
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#8F6B00", "#5C5C5C")
SHAPES = ("circle", "triangle-up", "square", "triangle-down", "diamond", "cross", "wedge", "arrow")
GREY = "#7A828C"
"""For baselines, chance and the paper; legible on light and on dark."""
COLUMN, PAGE = 3.25, 5.5
"""Widths in inches of a paper's column, and of its page."""


@dataclass(frozen=True)
class Style:
    """How the marks of a kind look: a colour as #RRGGBB, and one of Vega's shapes or a path."""

    colour: str
    shape: str

    @property
    def ink(self) -> str:
        """Black or white, whichever can be read better on the colour (WCAG's contrast)."""
        parts = [int(self.colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def style_of_kind(kind: str) -> Style:
    """Return a kind's style by its place in the registry; that of an unknown kind by its name."""
    place = list(KINDS).index(kind) if kind in KINDS else crc32(kind.encode())
    return Style(COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)])
