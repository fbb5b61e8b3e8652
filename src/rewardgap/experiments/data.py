"""From the sets that an experiment names to specifications that `rewardgap.sources` loads."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rewardgap.data.records import Record
from rewardgap.errors import UserError
from rewardgap.experiments.experiment import EvaluationSource, Experiment, TrainingSource

LOCAL_FILE = re.compile(r"\$data_dir/([^?&]+)")


def find_training_data(experiment: Experiment, data_dir: str | None) -> str | list[str]:
    """Specifications of the training data.

    Raises:
        UserError: they have no source, and no local file that exists.
    """
    found = _find(experiment.train.name, experiment.train, data_dir)
    specs = [_limit(spec, experiment.train_rows) for spec in found]
    return specs[0] if len(specs) == 1 else specs


def find_evaluation_data(experiment: Experiment, data_dir: str | None) -> dict[str, str]:
    """One specification for each evaluation set.

    Raises:
        UserError: one has no source, and no local file that exists.
    """
    return {
        name: _limit(_find(name, each, data_dir)[0], experiment.eval_rows)
        for name, each in experiment.eval.items()
    }


def check_shifts(
    experiment: Experiment, held_out: Mapping[str, str], read: Callable[[str], Sequence[Record]]
) -> None:
    """Refuse shifted sets whose rows do not reword those of the original set.

    Args:
        experiment: The experiment; `shift_of` of a set names its original.
        held_out: A specification for each evaluation set.
        read: Returns the records of a specification.

    Raises:
        UserError: The rows of a set have other prompts than their counterparts, or another number
            of responses.
    """
    for name, source in experiment.eval.items():
        original = source.shift_of
        if original is None:
            continue
        shifted_rows, original_rows = (
            [(record.prompt, len(record.chosen), len(record.rejected)) for record in read(spec)]
            for spec in (held_out[name], held_out[original])
        )
        if shifted_rows != original_rows:
            pairs = zip(shifted_rows, original_rows, strict=False)
            differing = [
                number
                for number, (row, counterpart) in enumerate(pairs, start=1)
                if row != counterpart
            ]
            end = min(len(shifted_rows), len(original_rows)) + 1
            row = next(iter(differing), end)
            raise UserError(
                f"{name}: its rows do not reword those of {original}: row {row} has another prompt "
                f"or number of responses in {held_out[name]} than in {held_out[original]}; give "
                f"both with --eval.{original} and --eval.{name}, or --eval.{name}.shift_of null"
            )


def _find(name: str, data: TrainingSource | EvaluationSource, data_dir: str | None) -> list[str]:
    """The local specifications if all of their files exist, else those of the source."""
    local = _listed(data.local)
    files = [file for spec in local for file in LOCAL_FILE.findall(spec)]
    folder = None if data_dir is None else Path(data_dir).expanduser().resolve()
    if local and folder is not None and all((folder / file).exists() for file in files):
        return [spec.replace("$data_dir", str(folder)) for spec in local]
    if data.data is not None:
        return _listed(data.data)
    raise UserError(
        f"{name}: no source has these data: put {' and '.join(files) or 'them'} into a folder and "
        "name it with --data-dir"
        + ("" if folder is None else f"; {folder} does not hold what is needed")
    )


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _limit(spec: str, rows: int | None) -> str:
    if rows is None:
        return spec
    return f"{spec}{'&' if '?' in spec else '?'}limit={rows}"
