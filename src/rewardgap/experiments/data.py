"""The data of an experiment: from the sets that it names to specifications that `load` reads."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rewardgap.data.load import named_source
from rewardgap.data.records import Record, prompt_key
from rewardgap.data.sources import SOURCES
from rewardgap.data.spec import parse_spec
from rewardgap.errors import UserError
from rewardgap.evaluation.robustness import are_known_by_ids
from rewardgap.experiments.experiment import EvaluationSource, Experiment, TrainingSource

logger = logging.getLogger(__name__)

LOCAL_FILE = re.compile(r"\$data_dir/([^?&]+)")


def find_training_data(experiment: Experiment, data_dir: str | None) -> str | list[str]:
    """Return specifications of the training data.

    Raises:
        UserError: They have no source, and no local file that exists.
    """
    source = experiment.train
    specs = _find(source.name, source, data_dir, experiment.train_rows)
    return specs[0] if len(specs) == 1 else specs


def find_evaluation_data(experiment: Experiment, data_dir: str | None) -> dict[str, str]:
    """Return one specification for each evaluation set.

    Raises:
        UserError: A set has no source, and no local file that exists.
    """
    return {
        name: _find(name, source, data_dir, experiment.eval_rows)[0]
        for name, source in experiment.eval.items()
    }


def find_check(spec: str) -> Callable[[str, str], bool]:
    """Return the function of (prompt, response) that says whether a response is correct.

    Raises:
        UserError: The source of the data has none.
    """
    source = named_source(parse_spec(spec))
    if source is None or source.is_correct is None:
        names = ", ".join(name for name, known in SOURCES.items() if known.is_correct)
        raise UserError(
            f"generate: answers to {spec} cannot be checked; those of the sources {names} can"
        )
    return source.is_correct


def check_shifts(
    experiment: Experiment,
    held_out: Mapping[str, str],
    read: Callable[[str], Sequence[Record]],
    drops: bool = False,
) -> None:
    """Refuse shifted sets whose rows do not reword those of the set that `shift_of` names.

    Args:
        experiment: The experiment.
        held_out: A specification for each evaluation set.
        read: Returns the records of a specification.
        drops: Whether it leaves out records that cannot be used; they need no counterpart. Where
            ids tell which records correspond, none does.

    Raises:
        UserError: The rows of a set have other prompts than their counterparts, or another number
            of responses.
    """
    shifts = {name: source.shift_of for name, source in experiment.eval.items() if source.shift_of}
    for name, original in shifts.items():
        records = [read(held_out[name]), read(held_out[original])]
        by_id = are_known_by_ids(*({record.id for record in side} for side in records))
        shifted, originals = (
            {
                (record.id if by_id else record.row): (
                    prompt_key(record),
                    len(record.chosen),
                    len(record.rejected),
                )
                for record in side
            }
            for side in records
        )
        shared, single = shifted.keys() & originals.keys(), shifted.keys() ^ originals.keys()
        differing = {key for key in shared if shifted[key] != originals[key]}
        if differing or not shared or (single and not (drops or by_id)):
            key = next(key for key in (*originals, *shifted) if key in (differing or single))
            place = f"row {key + 1}" if isinstance(key, int) else f"record {key}"
            raise UserError(
                f"{name}: its rows do not reword those of {original}: {place} has another "
                f"prompt or number of responses in {held_out[name]} than in {held_out[original]}; "
                f"give both with --eval.{original} and --eval.{name}, or "
                f"--eval.{name}.shift_of null"
            )
        if single:
            logger.warning(
                "%d of %d records are in only one of %s and %s: their comparison leaves them out",
                *(len(single), len(single) + len(shared), original, name),
            )


def _find(
    name: str, source: TrainingSource | EvaluationSource, data_dir: str | None, rows: int | None
) -> list[str]:
    """Return the local specifications if all of their files exist, else those of the source."""
    local = [source.local] if isinstance(source.local, str) else source.local or []
    files = [file for spec in local for file in LOCAL_FILE.findall(spec)]
    folder = None if data_dir is None else Path(data_dir).expanduser().resolve()
    if local and folder is not None and all((folder / file).exists() for file in files):
        specs = [spec.replace("$data_dir", str(folder)) for spec in local]
    elif source.data is not None:
        specs = [source.data] if isinstance(source.data, str) else list(source.data)
    else:
        raise UserError(
            f"{name}: no source has these data: put {' and '.join(files) or 'them'} into a folder "
            "and name it with --data-dir"
            + ("" if folder is None else f"; {folder} does not hold what is needed")
        )
    return specs if rows is None else [_limited(spec, rows) for spec in specs]


def _limited(text: str, rows: int) -> str:
    """Return a specification of at most so many rows, of fewer where it says so itself."""
    limit = parse_spec(text).options.get("limit", "")
    if not limit:
        return f"{text}{'&' if '?' in text else '?'}limit={rows}"
    if not limit.isdecimal() or float(limit) <= rows:
        return text  # a limit that is no number is refused where the data are read
    return re.sub(r"(?<=[?&])limit=[^&]*", f"limit={rows}", text)
