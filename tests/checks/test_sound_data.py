"""`check data`: sound data are left in peace."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prose import ENGLISH, FRENCH, Rows, pairs, sentences


def conversation(row: dict[str, Any]) -> dict[str, Any]:
    opened = [{"role": "user", "content": row["prompt"]}]
    return {
        key: [*opened, {"role": "assistant", "content": row[key]}] for key in ("chosen", "rejected")
    }


def several() -> Rows:
    rows, more = pairs(60, 20), pairs(60, 21)
    return [
        row | {"chosen": [row["chosen"], other["chosen"]], "rejected": [row["rejected"]]}
        for row, other in zip(rows, more, strict=True)
    ]


def lognormal() -> Rows:
    """Lengths over two orders of magnitude, as those of real responses."""
    generator = np.random.default_rng(1)

    def text() -> str:
        return " ".join(generator.choice(ENGLISH, int(np.exp(generator.normal(3.5, 1)))))

    return [{"prompt": x, "chosen": text(), "rejected": text()} for x in sentences(2, 300)]


SOUND: dict[str, Callable[[], Rows]] = {
    "pairs": pairs,
    "french": lambda: pairs(60, 7, FRENCH),
    "conversations": lambda: [conversation(row) for row in pairs(60, 10)],
    "several responses": several,
    "scores": lambda: [row | {"score_chosen": 5, "score_rejected": 2.5} for row in pairs(60, 11)],
    "ids": lambda: [row | {"id": i} for i, row in enumerate(pairs(60, 12))],
    "lengths of all sizes": lognormal,
    "one prompt": lambda: [row | {"prompt": "What did you see there?"} for row in pairs(60, 13)],
    "words": lambda: [
        row | {"chosen": ("yes", "no")[i % 2], "rejected": ("no", "yes")[i % 2]}
        for i, row in enumerate(pairs(60, 14))
    ],
    "rewritten": lambda: [
        row | {"orig_chosen": other["chosen"], "orig_rejected": other["rejected"]}
        for row, other in zip(pairs(60, 15), pairs(60, 16), strict=True)
    ],
    "code": lambda: [
        row
        | {
            k: f"```python\ndef f{i}(x):\n    return x {sign} {i}\n```"
            for k, sign in (("chosen", "+-"[i % 2]), ("rejected", "-+"[i % 2]))
        }
        for i, row in enumerate(pairs(60, 17))
    ],
    "three": lambda: pairs(3, 18),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_data_are_left_in_peace(name, check):
    report = check(SOUND[name](), {"test": pairs(40, 40)})
    assert [f for f in report.findings if f.severity != "note"] == []
    assert report.status == 0
