"""An experiment: its YAML file, with a profile and flags merged in, read and checked."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from rewardgap.configs.experiments import RunConfig
from rewardgap.configs.flags import explain_mismatch, similar
from rewardgap.configs.training import TrainConfig
from rewardgap.data.spec import parse_spec
from rewardgap.errors import UserError
from rewardgap.io.files import read_yaml
from rewardgap.io.grid_folder import CHANCE, ClaimedLead, refuse_old_keys
from rewardgap.models.kinds import KINDS

Category = Literal["in-distribution", "token-level", "domain"]
Values = Mapping[str, Any]

NESTED = frozenset({"train", "eval", "settings", "variations", "predicts"})
"""Keys whose values are mappings, or lists of mappings."""
SET_BY_CELL = frozenset({"model", "kind", "train", "out", "eval", "seed", "resume"})
"""Keys of `rewardgap train` that the cell determines, so that settings cannot."""


@dataclass(frozen=True, kw_only=True)
class TrainingSource:
    """Where training data come from.

    Attributes:
        name: Their name, such as "rewardmath".
        data: Specifications that `load` reads; None where no source has the data.
        local: Specifications used instead if the files exist that they name as `$data_dir/FILE`.
    """

    name: str
    data: str | list[str] | None = None
    local: str | list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationSource:
    """Where evaluation data come from, as in `TrainingSource`, and what shifts.

    Attributes:
        category: The kind of shift.
        data: A specification; None where no source has the data.
        local: A specification that is used instead.
        shift_of: The set of the originals whose responses this one perturbs, row by row.
    """

    category: Category
    data: str | None = None
    local: str | None = None
    shift_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Settings that differ from the experiment's; they add runs to those without.

    Attributes:
        settings: Keys of `rewardgap train`.
        kinds: The kinds that are trained with them; None for all.
    """

    settings: Values = field(default_factory=dict)
    kinds: list[str] | None = None

    @property
    def name(self) -> str:
        """The settings as "learning_rate=5e-7"; empty where nothing varies."""
        return ",".join(f"{key}={_short(value)}" for key, value in self.settings.items())


@dataclass(frozen=True, kw_only=True)
class PredictedOrder:
    """What the claim predicts of kinds: that all `ahead` are more accurate than all `behind`.

    Attributes:
        ahead: A kind or several; "chance" is an accuracy of one half.
        behind: Likewise.
        sets: Evaluation sets, or categories, of which all sets are meant.
    """

    ahead: str | list[str]
    behind: str | list[str]
    sets: str | list[str]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One claim: what is trained on what, and how it is evaluated.

    Attributes:
        name: Its name.
        claim: What it is to show, in one sentence.
        predicts: The claim in a form that tests can decide; empty where it has none.
        models: Initial language models, directories or hub ids.
        kinds: Kinds of reward model.
        seeds: Seeds of training; the data are the same for all.
        train: The training data.
        eval: The evaluation sets by name.
        settings: Keys of `rewardgap train` for all runs.
        variations: Settings that differ in further runs.
        generate: Evaluation sets to whose prompts the kinds that generate respond.
        forecast: Whether the accuracies are forecast before training.
        train_rows: Number of rows taken of each file or source of training data; None for all.
        eval_rows: Number of rows taken of each evaluation set; None for all.
        profile: The profile that is merged in; None for none.
    """

    name: str
    claim: str
    models: list[str]
    kinds: list[str]
    seeds: list[int]
    train: TrainingSource
    eval: Mapping[str, EvaluationSource]
    settings: Values = field(default_factory=dict)
    predicts: tuple[PredictedOrder, ...] = ()
    variations: tuple[Variation, ...] = ()
    generate: list[str] = field(default_factory=list)
    forecast: bool = False
    train_rows: int | None = None
    eval_rows: int | None = None
    profile: str | None = None

    @property
    def predictions(self) -> tuple[ClaimedLead, ...]:
        """What is predicted, one by one: of two kinds on a set."""
        return tuple(
            ClaimedLead(ahead, behind, name)
            for order in self.predicts
            for place in _names(order.sets)
            for name, source in self.eval.items()
            if place in (name, source.category)
            for ahead, behind in product(_names(order.ahead), _names(order.behind))
        )


def _names(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def read_experiment(config: RunConfig) -> Experiment:
    """Read an experiment's file, with the profile and the flags of `config` merged in.

    A mapping is merged key by key, anything else replaced; null takes a key out.

    Raises:
        UserError: A key, kind, category, set or profile is unknown, or a value has another type.
    """
    where = config.experiment
    values = _read_yaml(Path(where))
    profiles = values.pop("profiles", None) or {}
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise UserError(f"{where}: profiles must be keys and values under each profile's name")
    if config.profile is not None:
        if config.profile not in profiles:
            known = ", ".join(profiles) or "none"
            raise UserError(f"{where}: unknown profile {config.profile!r}; the profiles: {known}")
        values = _merge(values, profiles[config.profile])
    overrides = _overrides(config)
    unknown = [name for name, keys in overrides["eval"].items() if "category" not in keys]
    _refuse_unknown(unknown, values.get("eval") or {}, "evaluation set", where)
    if config.claim is not None:
        values.pop("predicts", None)  # as where a file is based on another
    named = _name_training(_merge(values, overrides), values, config)
    experiment = _check_form(named, where)
    _check_names(experiment, where)
    return replace(experiment, profile=config.profile)


def _read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the values of a file, merged over those of its `base`; `above` are based on it."""
    if path.resolve() in above:
        raise UserError(f"{path}: is its own base; name another, or leave `base` out")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no experiment: write keys and values")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise UserError(f"{path}: base must name a file, not {base!r}")
    below = _read_yaml(path.parent / base, (*above, path.resolve()))
    if "claim" in values:
        below.pop("predicts", None)  # it is the form of another claim
    return _merge(below, values)


def _merge(values: Values, changes: Any) -> dict[str, Any]:
    """Return `values` with `changes` in their place, inner mappings merged likewise."""
    merged = dict(values)
    for key, change in (changes or {}).items():
        nested = isinstance(change, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], change) if nested else change
    return {key: value for key, value in merged.items() if value is not None}


def _overrides(config: RunConfig) -> dict[str, Any]:
    """Return the values that flags give, in the shape of the file."""
    keys = ("name", "claim", "models", "kinds", "seeds", "train_rows", "eval_rows", "variations")
    flags = {key: getattr(config, key) for key in (*keys, "generate", "forecast")}
    overrides: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    if config.train is not None:
        overrides["train"] = {"data": config.train, "local": None}
    sets: dict[str, dict[str, Any]] = {}
    for path, value in config.eval.items():
        name, _, inner = path.partition("/")
        form = value if isinstance(value, dict) else {"data": value}
        changed = {inner: value} if inner else form
        replaced = {"local": None} if "data" in changed else {}
        sets[name] = sets.get(name, {}) | replaced | changed
    return overrides | {"eval": sets, "settings": config.settings}


def _name_training(values: Values, file: Values, config: RunConfig) -> dict[str, Any]:
    """Return the values, under another name if the training data are not the file's.

    Under the name of the file a report would show the paper's numbers beside them.
    """
    if config.train_name is None and config.train is None:
        return dict(values)
    specs = [config.train] if isinstance(config.train, str) else config.train or []
    source = " + ".join(Path(parse_spec(spec).name).name for spec in specs)
    name = config.train_name or source
    name_in_file = isinstance(file.get("train"), dict) and file["train"].get("name")
    named = _merge(values, {"train": {"name": name}})
    if config.name is None and name != name_in_file:
        named["name"] = f"{values.get('name')} on {name}"
    return named


def _check_form(values: dict[str, Any], where: str) -> Experiment:
    """Return the experiment, if every key is known and every value of its type."""
    keys = [known.name for known in fields(Experiment) if known.name != "profile"]
    _refuse_unknown(values, [*keys, "profiles", "base"], "key", where)
    plain = {key: value for key, value in values.items() if key not in NESTED}
    form = fill(Experiment, plain, where, skip=NESTED | {"profile"})
    if "train" not in values or not isinstance(values.get("eval"), dict):
        raise UserError(f"{where}: `train` and `eval` must name training and evaluation data")
    train = fill(TrainingSource, values["train"], f"{where}: train")
    sets = {}
    for name, entry in values["eval"].items():
        if isinstance(entry, dict):
            refuse_old_keys(entry, f"{where}: eval.{name}")
        sets[name] = EvaluationSource(**fill(EvaluationSource, entry, f"{where}: eval.{name}"))
    settings = check_settings(values.get("settings", {}), f"{where}: settings")
    varied = _listed(values, "variations", "settings", where)
    variations = (_read_variation(entry, f"{where}: variations") for entry in varied)
    return Experiment(
        **form,
        train=TrainingSource(**train),
        eval=sets,
        settings=settings,
        predicts=tuple(
            PredictedOrder(**fill(PredictedOrder, entry, f"{where}: predicts"))
            for entry in _listed(values, "predicts", "ahead, behind and sets", where)
        ),
        variations=tuple(variations),
    )


def _listed(values: Values, key: str, of: str, where: str) -> list[Any]:
    """Return the list under a key, empty without one."""
    listed = values.get(key, [])
    if not isinstance(listed, list):
        raise UserError(f"{where}: {key} must be a list of {of}, not {listed!r}")
    return listed


def _read_variation(values: Any, where: str) -> Variation:
    if not isinstance(values, dict):
        raise UserError(f"{where}: each must be settings as `key: value`, not {values!r}")
    settings = dict(values)
    kinds = {"kinds": settings.pop("kinds")} if "kinds" in settings else {}
    form = fill(Variation, kinds, where, skip=frozenset({"settings"}))
    return Variation(settings=check_settings(settings, where), **form)


def check_settings(values: Values, where: str) -> dict[str, Any]:
    """Return settings as `rewardgap train` takes them, with its types."""
    return fill(TrainConfig, values, where, skip=SET_BY_CELL, defaults=False)


def fill(
    form: type[Any], values: Any, where: str, skip: Set[str] = frozenset(), defaults: bool = True
) -> dict[str, Any]:
    """Return the fields of a dataclass from values of YAML, converted to their types.

    Raises:
        UserError: A key is unknown, or a value has another type.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    if not isinstance(values, dict):
        raise UserError(f"{where}: must be keys and values, not {values!r}")
    keys = {known.name: known for known in fields(form) if known.name not in skip}
    _refuse_unknown(values, keys, "key", where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(form, skip=set(skip))
    try:
        return dict(parser.parse_object(values, defaults=defaults).as_dict())
    except ArgumentError as error:
        message = " ".join(str(error).split())
        raise UserError(f"{where}: {explain_mismatch(message, keys)}") from error


def _check_names(experiment: Experiment, where: str) -> None:
    """Refuse names that are unknown or given twice."""
    for key in ("models", "kinds", "seeds", "eval"):
        names = list(getattr(experiment, key))
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if not names or twice:
            complaint = f"names {twice[0]} twice" if twice else "must name at least one"
            raise UserError(f"{where}: {key} {complaint}")
    varied = [kind for variation in experiment.variations for kind in variation.kinds or ()]
    _refuse_unknown([*experiment.kinds, *varied], KINDS, "kind", where)
    originals = [source.shift_of for source in experiment.eval.values() if source.shift_of]
    _refuse_unknown([*originals, *experiment.generate], experiment.eval, "evaluation set", where)
    for order in experiment.predicts:
        kinds = [*_names(order.ahead), *_names(order.behind)]
        _refuse_unknown(kinds, [*KINDS, CHANCE], "kind", f"{where}: predicts")
        places = [*experiment.eval, *get_args(Category)]
        _refuse_unknown(_names(order.sets), places, "evaluation set", f"{where}: predicts")
    rows = (experiment.train_rows, experiment.eval_rows)
    if any(count is not None and count < 1 for count in rows):
        raise UserError(f"{where}: train_rows and eval_rows must be at least 1")


def _refuse_unknown(names: Any, known: Any, noun: str, where: str) -> None:
    for name in names:
        if name not in known:
            likely = " or ".join(similar(str(name), known))
            hint = f"; did you mean {likely}?" if likely else ""
            valid = f"the {noun}s are {', '.join(known)}"
            raise UserError(f"{where}: unknown {noun} {name!r}{hint}; {valid}")


def _short(value: object) -> str:
    """Return a value without superfluous zeros: 5e-07 as 5e-7."""
    if not isinstance(value, float) or abs(value) >= 1e-3:
        return f"{value:g}" if isinstance(value, float) else str(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"
