"""Robustness: what every shift of the wording costs every model."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

from rewardgap.configs.robustness import RobustnessConfig
from rewardgap.data.dropped import new_list, write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import load as load_records
from rewardgap.data.records import Record
from rewardgap.data.shifting import Shifting, shifting
from rewardgap.data.shifts import SHIFTS
from rewardgap.errors import UserError
from rewardgap.evaluation.text import join_names
from rewardgap.io.files import write_text
from rewardgap.io.notebook import NotebookResult
from rewardgap.perturbing.causes import Causes, find_causes
from rewardgap.perturbing.conclusion import (
    NOTES,
    Measured,
    conclude,
    figures,
    format_effects,
    write_card,
)
from rewardgap.perturbing.effects import Effect, Place, adjust_effects, measure_effect, shared_rows
from rewardgap.perturbing.flips import Flips, find_flips
from rewardgap.perturbing.inputs import check_scoring_inputs, scoring_inputs
from rewardgap.perturbing.page import write_page
from rewardgap.perturbing.shifted_scores import (
    ORIGINAL,
    Shifted,
    ShiftedScores,
    folders_of,
    open_folder,
)

logger = logging.getLogger(__name__)

WIDTH = 80
AT_ONCE = 8
"""Shifts that are rated together; a run that is killed loses no more."""


@dataclass(frozen=True, repr=False)
class RobustnessResult(NotebookResult):
    """What shifts cost: as numbers, as a table, and in words."""

    measured: Measured

    def __str__(self) -> str:
        said = (
            "\n".join(fill(text, WIDTH) for text in texts) for texts in (NOTES, self.conclusion)
        )
        return "\n\n".join((format_effects(self.measured), *said))

    def __repr__(self) -> str:
        detected = sum(effect.is_detected for effect in self.measured.effects.values())
        return f"RobustnessResult({detected} of {len(self.measured.effects)} effects detected)"

    @property
    def conclusion(self) -> list[str]:
        """What costs each model most, in sentences."""
        return conclude(self.measured)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model and shift, with every figure; those of an interval apart."""
        return [
            {"model": model, "shift": shift, **_flat(effect.to_json())}
            for model in self.measured.models
            for shift, effect in self.measured.of_model(model).items()
        ]


def _flat(figures: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            row |= {
                name: value["value"],
                f"{name}_low": value["low"],
                f"{name}_high": value["high"],
            }
        else:
            row[name] = value
    return row


@by_keywords(RobustnessConfig)
def robustness(config: RobustnessConfig) -> RobustnessResult:
    """Measure what every shift costs every model.

    Write into `out`: `config.yaml`, a score file for every model and shift and one of the original
    data, the words that turned verdicts, hashes of what the scores were made from,
    `robustness.json`, `robustness.html`, and `card.md` for a model card. Score files that are there
    are not computed again.

    Raises:
        UserError: There is no such shift, the data have no labels or cannot be changed, a model or
            the data cannot be read or have changed since, or the folder holds something else.
    """
    out, plans = Path(config.out), _plans(config)
    dropped = new_list(config.bad_records)
    records = load_records(config.data, config.identical_pairs, dropped)
    folders = folders_of(config)
    inputs = {model: scoring_inputs(config, model, records) for model in folders}
    open_folder(out, config)
    for model, folder in folders.items():
        check_scoring_inputs(folder, inputs[model])
    write_dropped(out / "dropped.jsonl", {config.data: dropped})
    effects: dict[Place, Effect] = {}
    flips: dict[Place, Flips] = {}
    causes: dict[Place, Causes] = {}
    for model, folder in folders.items():
        scores = ShiftedScores(config, model, folder)
        for shift, effect, flipped, words in _measure(scores, plans, records):
            place = model, shift
            effects[place], flips[place], causes[place] = effect, flipped, words
    if not effects:
        raise UserError(f"{config.data}: the shifts find nothing to change in it; choose others")
    known = {shift for _, shift in effects}
    unchanged = [plan.name for plan in plans if plan.name not in known]
    measured = Measured(config.data, adjust_effects(effects), unchanged, flips, causes)
    _write(out, measured)
    return RobustnessResult(measured)


def _plans(config: RobustnessConfig) -> list[Shifting]:
    """Return the shifts that are named, or all that keep the meaning or the ranking."""
    kept = [name for name, shift in SHIFTS.items() if shift.preserves]
    return [shifting(name, config.rate, config.seed) for name in config.shifts or kept]


def _measure(
    scores: ShiftedScores, plans: Sequence[Shifting], records: Sequence[Record]
) -> Iterator[tuple[str, Effect, Flips, Causes]]:
    """Yield what every shift that changes a record does to rewards, and by which words."""
    by_id = {record.id: record for record in records}
    for start in range(0, len(plans), AT_ONCE):
        named = plans[start : start + AT_ONCE]
        logger.info(
            "%s: shifts %d to %d of %d: %s",
            *(scores.name, start + 1, start + len(named), len(plans)),
            join_names([plan.name for plan in named]),
        )
        shifted = {plan.name: Shifted.of(records, plan) for plan in named}
        shifted = {name: wording for name, wording in shifted.items() if wording.changed}
        rows = scores.read(records, shifted)
        originals = rows[ORIGINAL]
        for name, wording in shifted.items():
            after = {record.id: record for record in wording.records}
            effect = measure_effect(originals, rows[name], wording.changed, scores.config.seed)
            flips = find_flips(shared_rows(originals, rows[name]), by_id, after)
            path = scores.folder / f"{name}.flips.json"
            read = partial(scores.words, name, records, wording.records)
            yield name, effect, flips, find_causes(path, flips, read)


def _write(out: Path, measured: Measured) -> None:
    """Write the figures, the page and the card."""
    write_text(out / "robustness.json", json.dumps(figures(measured), indent=1) + "\n")
    write_page(out / "robustness.html", measured)
    write_text(out / "card.md", write_card(measured))
