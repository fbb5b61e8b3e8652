"""Score files of data in the words of every shift, of which only what is not there is computed."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.robustness import RobustnessConfig
from rewardgap.data.dropped import new_list, write_dropped
from rewardgap.data.records import Record, prompt_key, responses_id
from rewardgap.data.shifting import COLUMN, Shifting
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import ScoreRow, read_scores, score_row, write_scores
from rewardgap.io.files import differing_keys, read_yaml, write_text
from rewardgap.scoring.rater import Rater
from rewardgap.scoring.scorer import load as load_model

logger = logging.getLogger(__name__)

ORIGINAL = "original"
PLACE = {"out", "cache", "device", "token_budget", "model", "shifts"}
"""Keys that may differ where score files are used again: each model and shift has its own."""


@dataclass(frozen=True)
class Shifted:
    """Records in the words of a shift.

    Attributes:
        records: All of them, changed or not.
        changed: The ids of those that the shift changed.
    """

    records: Sequence[Record]
    changed: frozenset[str]

    @classmethod
    def of(cls, records: Sequence[Record], plan: Shifting) -> "Shifted":
        """Return records in the words of a shift."""
        shifted = [plan.record(record) for record in records]
        changed = (record.id for record in shifted if record.metadata[COLUMN]["changed"])
        return cls(shifted, frozenset(changed))


def open_folder(out: Path, config: RobustnessConfig) -> None:
    """Write the settings into a folder, whose score files were made with the same ones.

    With `overwrite` the score files of earlier settings are removed. Where there are none, because
    the command failed before, other settings take their place.

    Raises:
        UserError: The folder holds something else.
    """
    path, settings = out / "config.yaml", config.settings()
    if path.exists():
        before = read_yaml(path)
        if not isinstance(before, dict) or "shifts" not in before:
            raise UserError(f"{out} holds something else than robustness: choose another out")
        score_files = list(out.glob("*/*.jsonl"))
        differing = differing_keys(before, settings, PLACE)
        if differing and score_files and not config.overwrite:
            remedy = "choose another out, or pass `overwrite: true`"
            raise UserError(f"{out} was made with another {', '.join(differing)}; {remedy}")
        for path_of_scores in score_files if config.overwrite else ():
            path_of_scores.unlink()
    write_text(path, yaml.safe_dump(settings, sort_keys=False))


def folders_of(config: RobustnessConfig) -> dict[str, Path]:
    """Return where the score files of every model are, which depends on its name alone.

    Raises:
        UserError: Two models are called nearly the same.
    """
    folders: dict[str, Path] = {}
    for name in config.model:
        folder = Path(config.out, re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model")
        if folder in folders.values():
            first = next(other for other in folders if folders[other] == folder)
            raise UserError(f"{first} and {name} would share {folder}: rename one of them")
        folders[name] = folder
    return folders


@dataclass
class ShiftedScores:
    """The score files of a model, which is opened when the first of them is not there.

    Attributes:
        config: The command's settings.
        name: The model.
        folder: Where its score files are.
        rater: The model, once it is open.
    """

    config: RobustnessConfig
    name: str
    folder: Path
    rater: Rater | None = None

    def original(self, records: Sequence[Record]) -> list[ScoreRow]:
        """Return the rows of the records as they are."""
        path = self.folder / f"{ORIGINAL}.jsonl"
        if not path.exists():
            write_scores(path, self._rate(records, ORIGINAL))
        return _read(path, records)

    def shifted(
        self, plan: Shifting, shifted: Shifted, originals: Sequence[ScoreRow]
    ) -> list[ScoreRow]:
        """Return the rows of the records in the words of a shift.

        Those that the shift did not change have their original rewards.
        """
        path = self.folder / f"{plan.name}.jsonl"
        if not path.exists():
            known = {row.id: row for row in originals}
            usable = [record for record in shifted.records if record.id in known]
            changed = [record for record in usable if record.id in shifted.changed]
            rated = {row.id: row for row in self._rate(changed, plan.name)}
            rows = (
                rated.get(record.id) if record.id in shifted.changed else known[record.id]
                for record in usable
            )
            write_scores(path, filter(None, rows))
        return _read(path, shifted.records)

    def _rate(self, records: Sequence[Record], wording: str) -> list[ScoreRow]:
        """Return the rows of records; those that the model cannot read are listed beside them."""
        if not records:
            return []
        if self.rater is None:
            logger.info("loading %s", self.name)
            self.rater = _open(self.config, self.name)
        dropped = new_list(self.config.bad_records)
        rated = self.rater.rate(records, dropped)
        write_dropped(self.folder / f"{wording}.dropped.jsonl", {self.config.data: dropped})
        members = zip(rated.records, rated.trees, rated.rewards, strict=True)
        return [score_row(*member, None) for member in members]


def _open(config: RobustnessConfig, name: str) -> Rater:
    return load_model(
        name,
        kind=config.kind,
        reference=config.reference,
        options=KindConfig.of(config),
        **{
            key: getattr(config, key)
            for key in ("max_length", "template", "dtype", "device", "token_budget", "cache")
        },
    )


def _read(path: Path, records: Sequence[Record]) -> list[ScoreRow]:
    """Return the rows of a score file; refuse one of other texts, as if the data have changed."""
    rows = read_scores(path)
    texts = {record.id: (prompt_key(record), responses_id(record)) for record in records}
    for row in rows:
        if texts.get(row.id) != (row.prompt, row.responses):
            raise UserError(
                f"{path} rates other texts, the first of record {row.id}: the data have changed; "
                "choose another out, or pass `overwrite: true`"
            )
    return rows
