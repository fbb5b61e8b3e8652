"""Figures of a paper as SVG, PDF and PNG, without a browser.

A chart is made 1 / SCALE times as wide as the canvas and shrunk, so that its type of 13 pixels is
printed at 8 points.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardgap.io.files import whole_file
from rewardgap.reporting.drawing import STYLE, TYPE, Chart

SCALE = 8 / TYPE
LIGHT: Mapping[str, Any] = {**STYLE, "background": "white"}
FORMATS = ("svg", "pdf", "png")
PPI = 300
RESOURCES = re.compile(rb"(?: +/\w+ \d+ 0 R\n)+")
"""Names of objects in a PDF, written in an order that changes from call to call."""


def save(chart: Chart, folder: Path, name: str, inches: float) -> None:
    """Write a figure in every format, with type of 8 points, `inches` wide.

    Raises:
        UserError: A file cannot be written.
    """
    svg = shrunk_svg(chart, inches)
    for ending in FORMATS:
        with whole_file(folder / f"{name}.{ending}") as unfinished:
            unfinished.write_bytes(_content(svg, ending))


def _content(svg: str, ending: str) -> bytes:
    from vl_convert import svg_to_pdf, svg_to_png

    if ending == "svg":
        return svg.encode()
    points = svg.replace('pt"', '"', 2)  # a point is a pixel of a PDF, and of 72 to an inch
    if ending == "png":
        return svg_to_png(points, ppi=PPI)
    return RESOURCES.sub(
        lambda block: b"".join(sorted(block[0].splitlines(True))), svg_to_pdf(points)
    )


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
        width += (wide - _shrink(spec, width)[1]) / columns
    return _shrink(spec, width)[0]


def _shrink(spec: Mapping[str, Any], panel_width: float = 0.0) -> tuple[str, float]:
    """Return the SVG of a specification at SCALE, and its width before."""
    from vl_convert import vegalite_to_svg

    if "concat" in spec:
        spec = {**spec, "concat": [panel | {"width": panel_width} for panel in spec["concat"]]}
    svg = vegalite_to_svg(dict(spec))
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    assert size is not None
    width, height = map(float, size.groups())
    small = f'width="{width * SCALE:.2f}pt" height="{height * SCALE:.2f}pt"'
    return svg.replace(size[0], small, 1), width
