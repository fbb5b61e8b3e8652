"""The paper's theorems as experiments: each is built, measured, judged and drawn."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from rewardgap.configs.forecasting import TheoryConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.dynamics.theorems.theorem1 import Corollary1, Theorem1, corollary1, theorem1
from rewardgap.dynamics.theorems.theorem2 import Theorem2, theorem2
from rewardgap.io.files import whole_file, write_text

logger = logging.getLogger(__name__)

FOR_A_PAPER: Any = {
    **{"font.size": 8, "axes.titlesize": 8, "figure.titlesize": 8, "lines.linewidth": 1.2},
    **{"lines.markersize": 3, "axes.spines.top": False, "axes.spines.right": False},
    **{"legend.fontsize": 7, "legend.frameon": False, "pdf.fonttype": 42},
    "svg.hashsalt": "rewardgap",  # ids of an SVG change from run to run otherwise
}
"""Type of 8 points."""
DATES: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""What holds the time in files of a format, and is left out."""


@by_keywords(TheoryConfig)
def theory(config: TheoryConfig) -> dict[str, Any]:
    """Check theorem 1, corollary 1 and theorem 2; write `theory.json` and a picture of each.

    `config.out` receives `theory.json` and `{theorem1,corollary1,theorem2}.{png,svg,pdf}`; the same
    seed writes the same `theory.json`.

    Returns:
        What `theory.json` holds: `seed`, and for each of the three its figures, with `holds` and,
        in words, what was `checked`.

    Raises:
        UserError: `out` cannot be written.
    """
    out, seed = Path(config.out), config.seed
    checks: dict[str, Callable[[], Theorem1 | Corollary1 | Theorem2]] = {
        "theorem1": partial(theorem1, seed),
        "corollary1": corollary1,
        "theorem2": partial(theorem2, seed),
    }
    results = {}
    for name, check in checks.items():
        logger.info("checking %s (a few seconds)", name)
        results[name] = check()
    report = {"seed": seed, **{name: result.summary() for name, result in results.items()}}
    logger.info("drawing %d pictures", len(results))
    with rc_context(FOR_A_PAPER):
        for name, result in results.items():
            _save(result.figure(), out, name)
    write_text(out / "theory.json", json.dumps(report, indent=1) + "\n")
    return report


def _save(figure: Figure, out: Path, name: str) -> None:
    for ending, metadata in DATES.items():
        with whole_file(out / f"{name}.{ending}") as path:
            figure.savefig(path, format=ending, dpi=300, metadata=metadata)
