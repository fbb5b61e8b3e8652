"""The paper's theorems as experiments: each is built, measured, judged and drawn."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from rewardgap.configs.forecasting import TheoryConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.dynamics.theorems.theorem1 import Corollary1, Theorem1, corollary1, theorem1
from rewardgap.dynamics.theorems.theorem2 import Theorem2, theorem2
from rewardgap.io.files import whole_file, write_text

logger = logging.getLogger(__name__)


@by_keywords(TheoryConfig)
def theory(config: TheoryConfig) -> dict[str, Any]:
    """Check theorem 1, corollary 1 and theorem 2; write `theory.json` and a picture of each.

    `config.out` receives `theory.json` and `{theorem1,corollary1,theorem2}.{png,svg}`; the same
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
    for name, result in results.items():
        figure = result.figure()
        with whole_file(out / f"{name}.png") as path:
            figure.savefig(path, format="png", dpi=150)
        # Ids and dates of an SVG change from run to run unless they are fixed.
        with rc_context({"svg.hashsalt": "rewardgap"}), whole_file(out / f"{name}.svg") as path:
            figure.savefig(path, format="svg", metadata={"Date": None})
    write_text(out / "theory.json", json.dumps(report, indent=1) + "\n")
    return report
