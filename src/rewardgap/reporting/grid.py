"""What folders hold: experiments of planned cells, and the runs that there are of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run

RUN_KEYS = {"model", "kind", "seed", "train", "eval"}
"""What the configuration of a run has, and that of no other folder."""

DEPTH = 4
"""How far below a given folder runs are looked for."""


@dataclass(frozen=True)
class EvaluationSet:
    """An evaluation set of an experiment.

    Attributes:
        name: Its name, as in the runs' score files.
        category: What has shifted since training, such as "token-level"; None where nobody says.
        shift_of: The set whose responses this one rewords, record by record; None where it is none.
    """

    name: str
    category: str | None = None
    shift_of: str | None = None


@dataclass(frozen=True)
class Cell:
    """One planned run of an experiment.

    Attributes:
        model: Name of the initial language model.
        kind: Kind of reward model.
        seed: Seed of the training run.
        variation: What differs from the experiment's own settings; empty for none.
        run: Its folder, which may hold nothing yet.
    """

    model: str
    kind: str
    seed: int
    variation: str
    run: Run

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What no other cell of the experiment has."""
        return self.model, self.kind, self.seed, self.variation

    @property
    def subject(self) -> str:
        """What kinds are compared within: the initial model, and the variation if there is one."""
        return f"{self.model}, {self.variation}" if self.variation else self.model

    def __str__(self) -> str:
        return f"{self.subject}, {self.kind}, seed {self.seed}"


@dataclass(frozen=True)
class Experiment:
    """One claim: sets to be judged on, and cells, done or not.

    `generate` names the sets to whose prompts models are to respond; `forecast` says whether
    initial models are to be forecast.
    """

    name: str
    claim: str
    profile: str | None
    train: str
    sets: tuple[EvaluationSet, ...]
    cells: tuple[Cell, ...]
    folders: tuple[Path, ...]
    generate: tuple[str, ...] = ()
    forecast: bool = False


def read_grids(folders: Sequence[str]) -> tuple[Experiment, ...]:
    """Read grids, run folders, and folders of either; experiments of one name become one.

    Raises:
        UserError: A folder holds no run, a file is not what it should be, or two runs have the
            same experiment, model, kind, seed and variation.
    """
    found: dict[str, Experiment] = {}
    runs: dict[Path, Mapping[str, Any]] = {}
    for folder in folders:
        grids, outside = _read_folder(Path(folder))
        runs |= outside
        for experiment in grids:
            known = found.get(experiment.name)
            found[experiment.name] = _merge(known, experiment) if known else experiment
    return (*found.values(), *_read_runs(runs))


def _read_folder(folder: Path) -> tuple[list[Experiment], dict[Path, Mapping[str, Any]]]:
    """The grids in a folder, and the configurations of the runs outside them."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    found: list[Experiment] = []
    runs: dict[Path, Mapping[str, Any]] = {}
    for path in _walk(folder, DEPTH):
        if (path / "experiment.yaml").exists():
            found.append(_read_experiment(path))
        elif (config := Run(path).read_config()).keys() >= RUN_KEYS:
            runs[path] = config
    if not found and not runs:
        raise UserError(f"{folder} is no run and holds none: name what `run` or `train` wrote")
    return found, runs


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """The grids in a folder, and the configured folders outside them."""
    if (folder / "experiment.yaml").exists():
        yield folder
        return
    if Run(folder).config.exists():
        yield folder
    if depth and not Run(folder).log.exists():  # a run holds no further run
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _walk(path, depth - 1)


def _read_experiment(folder: Path) -> Experiment:
    path = folder / "experiment.yaml"
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Experiment(
            name=str(fields["name"]),
            claim=str(fields.get("claim") or ""),
            profile=fields.get("profile"),
            train=str(fields["train"]["name"]),
            sets=tuple(
                EvaluationSet(str(name), each.get("category"), each.get("shift_of"))
                for name, each in fields["eval"].items()
            ),
            cells=_distinct([_read_cell(folder, each) for each in fields["cells"]]),
            folders=(folder,),
            generate=tuple(fields.get("generate") or ()),
            forecast=bool(fields.get("forecast")),
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {_first_line(error)}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no grid's experiment: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """The first line of an error's message, with the word that a bare key would lack."""
    missing = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
    return missing.splitlines()[0]


def _read_cell(folder: Path, fields: Mapping[str, Any]) -> Cell:
    return Cell(
        model=str(fields["model"]),
        kind=str(fields["kind"]),
        seed=int(fields["seed"]),
        variation=str(fields.get("variation") or ""),
        run=Run(folder / fields["folder"]),
    )


def _read_runs(configs: Mapping[Path, Mapping[str, Any]]) -> Iterator[Experiment]:
    """Runs outside grids: an experiment for each training set, named by it."""
    by_training: dict[tuple[str, ...], dict[Path, Mapping[str, Any]]] = {}
    for folder, config in configs.items():
        given = config["train"]
        training = (given,) if isinstance(given, str) else tuple(map(str, given))
        by_training.setdefault(training, {})[folder] = config
    titles = _titles(list(by_training))
    for title, some in zip(titles, by_training.values(), strict=True):
        variations = _variations(list(some.values()))
        names = dict.fromkeys(name for config in some.values() for name in config["eval"] or {})
        yield Experiment(
            name=f"runs trained on {title}",
            claim="",
            profile=None,
            train=title,
            sets=tuple(map(EvaluationSet, names)),
            cells=_distinct(
                [
                    Cell(
                        _model_name(each["model"]), each["kind"], each["seed"], varied, Run(folder)
                    )
                    for (folder, each), varied in zip(some.items(), variations, strict=True)
                ]
            ),
            folders=tuple(some),
        )


def _titles(trainings: Sequence[tuple[str, ...]]) -> list[str]:
    """The files' last names, joined; whole specifications where others have the same names."""
    short = [", ".join(Path(each).name for each in training) for training in trainings]
    return [
        name if short.count(name) == 1 else ", ".join(training)
        for name, training in zip(short, trainings, strict=True)
    ]


def _model_name(model: str) -> str:
    """A hub id as it is, a folder by its last name."""
    return Path(model).name if Path(model).is_absolute() or model.startswith(".") else model


def _variations(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells runs of the same model, kind and seed apart, as "key=value"; empty if nothing."""
    keys = [key for key in configs[0] if key not in RUN_KEYS | {"out", "device", "token_budget"}]

    def rivals(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        same = ("model", "kind", "seed")
        return [each for each in configs if all(each.get(key) == config.get(key) for key in same)]

    return [
        ", ".join(
            f"{key}={config.get(key)}"
            for key in keys
            if len({str(each.get(key)) for each in rivals(config)}) > 1
        )
        for config in configs
    ]


def _merge(first: Experiment, second: Experiment) -> Experiment:
    """One experiment of two folders, such as a grid that two machines worked on."""
    sets = {each.name: each for each in first.sets}
    for each in second.sets:
        if sets.setdefault(each.name, each) != each:
            raise UserError(
                f"{second.folders[0]} and {first.folders[0]} disagree on the category or twin of "
                f"{each.name} in the experiment {first.name!r}: report them apart"
            )
    return replace(
        first,
        sets=tuple(sets.values()),
        cells=_distinct([*first.cells, *second.cells]),
        folders=first.folders + second.folders,
    )


def _distinct(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Cells by name; of a cell that was begun in one folder and only planned in another, the first.

    Raises:
        UserError: Two folders hold the same cell.
    """
    found: dict[tuple[str, str, int, str], Cell] = {}
    for cell in cells:
        known = found.setdefault(cell.key, cell)
        if known is cell:
            continue
        if known.run.folder.resolve() == cell.run.folder.resolve() or cell.run.config.exists():
            if known.run.config.exists():
                raise UserError(
                    f"two runs of one name ({cell}): {known.run.folder} and {cell.run.folder}; "
                    "give only one of them"
                )
            found[cell.key] = cell
    return tuple(found.values())
