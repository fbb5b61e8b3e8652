"""The page of robustness: a picture and a table of what shifts cost each model, and flips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from rewardgap.evaluation.text import counted, format_interval
from rewardgap.io.files import write_text
from rewardgap.io.pages import page_templates
from rewardgap.models.kinds.palette import GREY
from rewardgap.perturbing.causes import Causes, bare_words
from rewardgap.perturbing.conclusion import (
    HEAD,
    MOST_EXAMPLES,
    NOTES,
    WORDS,
    Measured,
    cells,
    conclude,
    describe_flips,
    describe_words,
    p_value,
    title,
)
from rewardgap.perturbing.effects import Effect
from rewardgap.perturbing.flips import Flip, Flips
from rewardgap.perturbing.words import Move
from rewardgap.reporting.drawing import as_svg, short

WIDTH, LINE = 360, 20
COLOURS = {"detected": "#D55E00", "not detected": GREY}


def write_page(path: Path, measured: Measured) -> None:
    """Write the page as HTML that runs no script and loads nothing; all text is escaped.

    Raises:
        UserError: The file cannot be written.
    """
    page = page_templates("rewardgap.perturbing").get_template("page.html")
    models = [
        {
            "title": title(measured, model),
            "name": model,
            "picture": as_svg(_chart(measured.of_model(model))),
            "rows": [
                [*cells(*item), p_value(item[1].cost.loss.bh_p)]
                for item in measured.of_model(model).items()
            ],
            "shifts": [
                _flips_of_shift(shift, effect, measured.flips[place], measured.causes[place])
                for shift, effect in measured.of_model(model).items()
                for place in [(model, shift)]
                if measured.flips[place].largest
            ],
        }
        for model in measured.models
    ]
    head = [*HEAD[:-1], "p (Holm)", "p (BH)"]
    text = page.render(
        sentences=conclude(measured), notes=(*NOTES, WORDS), head=head, models=models
    )
    write_text(path, text)


def _flips_of_shift(shift: str, effect: Effect, flips: Flips, causes: Causes) -> dict[str, Any]:
    """Return what the page shows of the flips of a shift, in the direction of its effect."""
    lost = effect.cost.loss.difference
    shown = (flips.to_wrong if lost.value >= 0 else flips.to_right) or flips.largest
    return {
        "heading": f"{shift}: accuracy lost {format_interval(lost)}, "
        + f"{counted(len(flips.largest), 'flip')}",
        "is_open": effect.is_detected,
        "sentences": describe_flips(flips, causes),
        "flips": [
            {
                "id": flip.id,
                "margins": "margin {:.3g}, then {:.3g}".format(*flip.margins),
                "moves": [
                    (move, describe_words(*bare_words(move)), f"{move.margin:+.3g}")
                    for move in _moves(causes, flip)
                ],
                "texts": [
                    (side, *words, words[0] == words[1]) for side, words in flip.texts.items()
                ],
            }
            for flip in shown[:MOST_EXAMPLES]
        ],
    }


def _moves(causes: Causes, flip: Flip) -> Sequence[Move]:
    cause = (causes.by_record or {}).get(flip.id)
    return cause.moves if cause else ()


def _chart(effects: Mapping[str, Effect]) -> alt.LayerChart:
    """Draw the accuracy that every shift costs a model, with its interval."""
    rows = [
        (
            shift,
            *(short(value) for value in vars(effect.cost.loss.difference).values()),
            "detected" if effect.is_detected else "not detected",
        )
        for shift, effect in effects.items()
    ]
    frame = pd.DataFrame(rows, columns=["shift", "value", "low", "high", "test"])
    scale = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    y = alt.Y("shift:N", sort=list(effects), title=None, axis=alt.Axis(labelLimit=160))
    base = alt.Chart(frame).encode(
        y, color=alt.Color("test:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
    )
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(strokeDash=[2, 3], color=GREY)
    axis = "accuracy lost"
    layers = [
        zero.encode(alt.X("at:Q", title=axis)),
        base.mark_rule(strokeWidth=1.6).encode(alt.X("low:Q", title=axis), x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(alt.X("value:Q", title=axis)),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=LINE * len(rows))
