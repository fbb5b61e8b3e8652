"""Figures of a paper as SVG, PDF and PNG, without a browser.

A chart is made 1 / SCALE times as wide as the canvas and shrunk, so that its type of 13 pixels is
printed at 8 points.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rewardgap.io.files import whole_file
from rewardgap.reporting.drawing import STYLE, TYPE, Chart

SCALE = 8 / TYPE
COLUMN, PAGE = 3.25, 5.5
"""Widths in inches of a paper's column, and of its page."""
LIGHT: Mapping[str, Any] = {**STYLE, "background": "white"}
FORMATS = ("svg", "pdf", "png")
PPI = 300
RESOURCES = re.compile(rb"(?: +/\w+ \d+ 0 R\n)+")
"""Names of objects in a PDF, written in an order that changes from call to call."""


def save(chart: Chart, folder: Path, name: str, inches: float) -> None:
    """Write a figure in every format, with type of 8 points.

    Args:
        chart: The chart.
        folder: Where to.
        name: File name without ending.
        inches: Width of the canvas.

    Raises:
        UserError: A file cannot be written.
    """
    from vl_convert import svg_to_pdf, svg_to_png

    svg = shrunk_svg(chart, inches)
    points = svg.replace('pt"', '"', 2)  # a point is a pixel of a PDF, and of 72 to an inch
    content: dict[str, Callable[[], bytes]] = {
        "svg": svg.encode,
        "pdf": lambda: RESOURCES.sub(_sorted_lines, svg_to_pdf(points)),
        "png": partial(svg_to_png, points, ppi=PPI),
    }
    for ending in FORMATS:
        with whole_file(folder / f"{name}.{ending}") as unfinished:
            unfinished.write_bytes(content[ending]())


def _sorted_lines(block: re.Match[bytes]) -> bytes:
    return b"".join(sorted(block[0].splitlines(keepends=True)))


def shrunk_svg(chart: Chart, inches: float) -> str:
    """Return the chart as SVG at a width in inches; panels share what their labels leave."""
    wide = inches * 72 / SCALE
    spec = chart.to_dict(validate=False) | {"config": dict(LIGHT)}
    if "concat" not in spec:
        spec |= {"width": wide, "autosize": {"type": "fit-x", "contains": "padding"}}
        return _shrink(spec)[0]
    columns = min(spec["columns"], len(spec["concat"]))
    width = 0.7 * wide / columns
    for _ in range(2):  # labels and legends that wrap may change what is left
        width += (wide - _shrink(_with_width(spec, width))[1]) / columns
    return _shrink(_with_width(spec, width))[0]


def _with_width(spec: Mapping[str, Any], width: float) -> dict[str, Any]:
    return {**spec, "concat": [{**panel, "width": width} for panel in spec["concat"]]}


def _shrink(spec: dict[str, Any]) -> tuple[str, float]:
    """The SVG of a specification at SCALE, and its width before."""
    from vl_convert import vegalite_to_svg

    svg = vegalite_to_svg(spec)
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    assert size is not None
    width, height = map(float, size.groups())
    small = f'width="{width * SCALE:.2f}pt" height="{height * SCALE:.2f}pt"'
    return svg.replace(size[0], small, 1), width
