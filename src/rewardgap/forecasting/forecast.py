"""Forecast how accurate every kind of reward model will be, before any is trained.

From the initial language model alone: features of the responses give a kernel, gradient descent in
the kernel gives the rewards all the way from the first step to convergence, and these are measured
like those of any reward model.

    features    what is read of responses, pack by pack (passes)
    readouts    how every kind's reward is read, and its gradient in the last layer
    last_layer  the level at which the last layer alone learns
    gradients   the level at which all parameters learn
    sketch      random projections that make gradients fit into memory
    basis       what is held of the training data; kernels with all that is read
    problem     these kernels, kept on disk
    curve       gradient descent in a kernel
    drift       how far each response drifts when all parameters learn
    outcome     accuracies along it (evaluation)
    verdict     what they mean, in a table and in words
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import yaml

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.bag_of_words import BagOfWords, response_text
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.prepared import PreparedData
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import Points
from rewardgap.dynamics.projection import GIB, Limits, Sketch
from rewardgap.dynamics.readouts import Readout, find_readout
from rewardgap.evaluation.scores import RecordRewards
from rewardgap.forecasting.drift import weigh_by_own_drift
from rewardgap.forecasting.gradients import gradient_passes
from rewardgap.forecasting.last_layer import last_layer_passes
from rewardgap.forecasting.outcome import EvaluationSet, Trained, predict, token_overlap
from rewardgap.forecasting.passes import Amount, Pass, Reader
from rewardgap.forecasting.problem import Cache, Data, Problem, pose
from rewardgap.forecasting.verdict import Outcomes, conclude, describe_sketches, format_table
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import write_text
from rewardgap.models.devices import choose_device, choose_dtype
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.trained import TrainedRewardModel
from rewardgap.models.language_model import LanguageModel

Passes = Callable[[Mapping[str, Readout], Limits, Amount], Iterable[Pass]]
Refinement = Callable[[Problem, Points, Readout, Reader, Data], Problem]


def _as_posed(problem: Problem, *_: object) -> Problem:
    return problem


@dataclass(frozen=True)
class Level:
    """What learns.

    Attributes:
        passes: over the data, which give features.
        refine: what else is measured of a problem at the point of the stated loss.
    """

    passes: Passes
    refine: Refinement = _as_posed


LEVELS: dict[str, Level] = {
    "last-layer": Level(last_layer_passes),
    "gradients": Level(gradient_passes, weigh_by_own_drift),
}


@dataclass(frozen=True)
class Forecast:
    """What was forecast.

    Attributes:
        outcomes: by evaluation set and kind.
        table: the accuracies, as text, and what is kept of the gradients.
        verdict: which kind to train, and where it is expected to fail, in words.
    """

    outcomes: Outcomes
    table: str
    verdict: str


def forecast(config: ForecastConfig, shared: PreparedData | None = None) -> Forecast:
    """Forecast every kind on every evaluation set.

    `shared` keeps records and trees for other work on the same data.

    Writes `config.yaml`, `forecast.json` ({set: {kind: figures}}) and `forecast.txt` into `out`.

    Raises:
        UserError: the data, the model or the configuration does not allow it.
    """
    for kind in config.kinds:
        find_readout(kind)
    shared = shared or PreparedData()
    data = _load(config, shared)
    blind = shared.bag_of_words(config)
    out = Path(config.out)
    write_text(out / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False))
    folder = locate_model(config.model)
    template = ChatTemplate.load(folder)
    readouts, reader, kernels = _open(config, folder, template)
    model = next(iter(readouts.values())).model
    known = list(data.training(model))
    level = LEVELS[config.level]
    limits = Limits(int(config.memory * GIB), config.seed, config.exact)
    problems = pose(level.passes(readouts, limits, Amount.of(known)), reader, kernels, data)
    trained = {
        kind: Trained.on(problem.training, problem.rows_per_pair, config.loss)
        for kind, problem in problems.items()
    }
    refined = {
        kind: level.refine(problem, trained[kind].at(config.loss), readouts[kind], reader, data)
        for kind, problem in problems.items()
    }
    # All kinds write the tokens of responses alike.
    sets = {
        name: _evaluation_set(records, data.held_out_trees(model, name), known, blind)
        for name, records in data.held_out.items()
    }
    outcomes = _predict(trained, refined, sets, config.loss)
    sketches = {kind: problem.sketch for kind, problem in problems.items()}
    table = f"{format_table(outcomes, config.loss)}\n\n{describe_sketches(sketches)}"
    found = Forecast(outcomes, table, conclude(outcomes, config.loss))
    _write(found, sketches, out)
    return found


def _write(found: Forecast, sketches: Mapping[str, Sketch], out: Path) -> None:
    report = {
        name: {
            kind: each.to_json() | {"sketch": sketches[kind].to_json()}
            for kind, each in kinds.items()
        }
        for name, kinds in found.outcomes.items()
    }
    write_text(out / "forecast.json", json.dumps(report, indent=1) + "\n")
    write_text(out / "forecast.txt", f"{found.table}\n\n{found.verdict}\n")


def _load(config: ForecastConfig, shared: PreparedData) -> Data:
    shared.check_training(config)
    held_out = {
        name: shared.records(spec, config.identical_pairs) for name, spec in config.eval.items()
    }
    training = partial(shared.training_trees, config=config)
    return Data(training, held_out, config.max_length, shared)


def _open(
    config: ForecastConfig, folder: Path, template: ChatTemplate
) -> tuple[dict[str, Readout], Reader, Cache]:
    """Every kind's read-out of one language model, how data are read, and what is cached."""
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    options = KindConfig.of(config)
    model = LanguageModel.load(folder, template, dtype=dtype).to(device)
    readouts = {}
    for kind in config.kinds:
        cls = find_kind(kind)
        assert issubclass(cls, TrainedRewardModel)
        untrained = cls(cls.adapt(model, config.seed), template, options)
        readouts[kind] = find_readout(kind)(untrained, config.exact)
    identity = f"{fingerprint(folder)} {dtype} {options} {config.seed} {config.exact}"
    cache = Cache(cache_folder(config.cache), identity)
    return readouts, Reader(device, config.token_budget), cache


def _evaluation_set(
    records: Sequence[Record], trees: Sequence[Tree], known: Sequence[Tree], blind: BagOfWords
) -> EvaluationSet:
    words = [_blind_rewards(blind, record) for record in records]
    return EvaluationSet(records, trees, words, token_overlap(known, trees))


def _blind_rewards(blind: BagOfWords, record: Record) -> RecordRewards:
    chosen, rejected = (
        tuple(blind.score(response_text(response)) for response in some)
        for some in (record.chosen, record.rejected)
    )
    return chosen, rejected


def _predict(
    trained: Mapping[str, Trained],
    problems: Mapping[str, Problem],
    sets: Mapping[str, EvaluationSet],
    loss: float,
) -> Outcomes:
    return {
        name: {
            kind: predict(trained[kind], problem.held_out[name], data, loss)
            for kind, problem in problems.items()
        }
        for name, data in sets.items()
    }
