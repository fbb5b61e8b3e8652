"""Score files of data in the words of every shift, of which only what is not there is computed."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.robustness import RobustnessConfig
from rewardgap.data.dropped import Dropped, DroppedRecord, new_list, write_dropped
from rewardgap.data.records import Record, prompt_key, responses_id
from rewardgap.data.shifting import COLUMN, Shifting
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import ScoreRow, read_scores, score_row, write_scores
from rewardgap.io.files import differing_keys, read_yaml, write_text
from rewardgap.perturbing.causes import WordsById
from rewardgap.perturbing.words import response_words
from rewardgap.scoring.rater import Prefixes, Rater
from rewardgap.scoring.scorer import Scorer
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
        changed: The ids of those that the shift changed; of the others the rewards are known.
    """

    records: Sequence[Record]
    changed: frozenset[str]

    @classmethod
    def of(cls, records: Sequence[Record], plan: Shifting) -> "Shifted":
        """Return records in the words of a shift."""
        shifted = [plan.record(record) for record in records]
        changed = (record.id for record in shifted if record.metadata[COLUMN]["changed"])
        return cls(shifted, frozenset(changed))

    @classmethod
    def original(cls, records: Sequence[Record]) -> "Shifted":
        """Return records as they are, all of which need rating."""
        return cls(records, frozenset(record.id for record in records))


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
        score_files = [*out.glob("*/*.jsonl"), *out.glob("*/*.flips.json")]
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
        prefixes: Rewards of the beginnings of responses, of the original records and of those that
            were rated last, by wording and id in one key; None if the model gives none.
    """

    config: RobustnessConfig
    name: str
    folder: Path
    rater: Rater | None = None
    prefixes: dict[str, Prefixes] | None = field(default_factory=dict)

    def read(
        self, records: Sequence[Record], shifts: Mapping[str, Shifted]
    ) -> dict[str, list[ScoreRow]]:
        """Return the rows of records as they are, under `ORIGINAL`, and in other words by shift.

        Records that a shift did not change have their original rewards. What is on no file yet is
        rated together, so that a prompt is computed once for all wordings.
        """
        wordings = {ORIGINAL: Shifted.original(records), **shifts}
        if self.prefixes:
            kept = {key: part for key, part in self.prefixes.items() if key.startswith(ORIGINAL)}
            self.prefixes = kept
        paths = {name: self.folder / f"{name}.jsonl" for name in wordings}
        rated = self._rate({n: wordings[n] for n, path in paths.items() if not path.exists()})
        if ORIGINAL in rated:
            write_scores(paths[ORIGINAL], rated.pop(ORIGINAL).values())
        originals = _read(paths[ORIGINAL], records)
        for name, rows in rated.items():
            changed = wordings[name].changed
            both = (rows.get(row.id) if row.id in changed else row for row in originals)
            write_scores(paths[name], filter(None, both))
        return {name: _read(paths[name], wording.records) for name, wording in wordings.items()}

    def words(
        self, name: str, before: Sequence[Record], after: Sequence[Record], ids: Collection[str]
    ) -> tuple[WordsById, WordsById] | None:
        """Return the words of the records of some ids as they are and in those of a shift.

        They were read with the rewards; only those of rewards on file are computed again. None for
        a model that gives words no rewards.
        """
        wordings = {
            wording: [record for record in records if record.id in ids]
            for wording, records in ((ORIGINAL, before), (name, after))
        }
        scorer = self._open()
        if not isinstance(scorer, Scorer) or self.prefixes is None:
            return None
        missing = {
            f"{wording}/{record.id}": record
            for wording, records in wordings.items()
            for record in records
            if f"{wording}/{record.id}" not in self.prefixes
        }
        self._rate_together(missing, None)
        if self.prefixes is None:
            return None
        old, new = (
            {
                record.id: response_words(scorer, record, self.prefixes[f"{wording}/{record.id}"])
                for record in records
            }
            for wording, records in wordings.items()
        )
        return old, new

    def _open(self) -> Rater:
        """Return the model, loaded when it is first needed."""
        if self.rater is None:
            logger.info("loading %s", self.name)
            self.rater = _open(self.config, self.name)
        return self.rater

    def _rate(self, wordings: Mapping[str, Shifted]) -> dict[str, dict[str, ScoreRow]]:
        """Return the rows of the changed records by wording and id.

        Those that the model cannot read are listed beside the score files.
        """
        records = {
            f"{name}/{record.id}": record
            for name, wording in wordings.items()
            for record in wording.records
            if record.id in wording.changed
        }
        dropped = new_list(self.config.bad_records)
        rows: dict[str, dict[str, ScoreRow]] = {name: {} for name in wordings}
        for key, row in self._rate_together(records, dropped).items():
            rows[key.partition("/")[0]][row.id] = row
        for name in wordings:
            unread = [
                DroppedRecord(records[key].id, reason)
                for key, reason in dropped or ()
                if key.startswith(f"{name}/")
            ]
            write_dropped(self.folder / f"{name}.dropped.jsonl", {self.config.data: unread})
        return rows

    def _rate_together(
        self, records: Mapping[str, Record], dropped: Dropped | None
    ) -> dict[str, ScoreRow]:
        """Return the rows of records by wording and id in one key, and remember their prefixes."""
        if not records:
            return {}
        texts = [replace(record, id=key) for key, record in records.items()]
        rated = self._open().rate(texts, dropped, prefixes=True)
        keys = [text.id for text in rated.records]
        if self.prefixes is None or rated.prefixes is None:
            self.prefixes = None
        else:
            self.prefixes |= dict(zip(keys, rated.prefixes, strict=True))
        return {
            key: score_row(records[key], tree, rewards, None)
            for key, tree, rewards in zip(keys, rated.trees, rated.rewards, strict=True)
        }


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
    """Return the rows of a score file; refuse one of other texts, as if a shift has changed."""
    rows = read_scores(path)
    texts = {record.id: (prompt_key(record), responses_id(record)) for record in records}
    for row in rows:
        if texts.get(row.id) != (row.prompt, row.responses):
            raise UserError(
                f"{path} rates other texts, the first of record {row.id}: the file or the shift "
                "has changed; choose another out, or pass `overwrite: true`"
            )
    return rows
