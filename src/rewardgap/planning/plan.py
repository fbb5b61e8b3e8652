"""Plan a training or a grid: what it will need, told before anything is trained.

files         the file that is planned
devices       memory and speed of devices by name
calibration   the speed of this machine
requirements  what is told, as plain numbers
remedies      what makes a training fit
text          the requirements in tables and sentences
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.planning import PlanConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.data.tree_counts import TreeCounts
from rewardgap.experiments.run import open_grid
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.language_model import open_template
from rewardgap.models.shape import ModelShape
from rewardgap.planning.calibration import Speed, measure_speed
from rewardgap.planning.devices import NAMED_DEVICES
from rewardgap.planning.files import check_plan, grid_config, is_experiment, read_trainings
from rewardgap.planning.remedies import find_remedies
from rewardgap.planning.requirements import Need, PlannedTraining, Requirements, Work
from rewardgap.training.loop import peak_memory
from rewardgap.training.memory import LIBRARIES, Memory, Setup, estimate_memory
from rewardgap.training.operations import backward, forward
from rewardgap.training.train import restrict, steps_of

logger = logging.getLogger(__name__)

HOUR = 3600


@dataclass(frozen=True)
class _Subject:
    """What is planned together: runs of one configuration, but for their seeds."""

    model: str
    variation: str
    config: TrainConfig
    folder: Path
    tokens: tuple[str, ...] = ()


@by_keywords(PlanConfig)
def plan(config: PlanConfig) -> Requirements:
    """Say what a training or a grid will need.

    Data are read and tokenised, into the cache; models are made without weights, unless `calibrate`
    times them.

    Raises:
        UserError: The file, the data or a model does not allow a run.
    """
    check_plan(config)
    data = PreparedData()
    subjects: dict[tuple[str, str, str], list[_Subject]] = {}
    for subject in _subjects(config):
        key = subject.model, subject.config.kind, subject.variation
        subjects.setdefault(key, []).append(subject)
    referenced: set[tuple[str, int | None]] = set()
    trainings = []
    for (model, kind, variation), runs in subjects.items():
        first = runs[0]
        requires = _Planner(config, first, data)
        work = requires.work()
        key_of_reference = (model, first.config.max_length)
        if work.reference and key_of_reference in referenced:
            work = replace(work, reference=0.0)
        referenced |= {key_of_reference} if work.reference else set()
        needs = tuple(requires.needs(work))
        count = requires.shape.parameters if requires.shape else 0
        trainings.append(PlannedTraining(model, kind, variation, len(runs), count, work, needs))
    capacity = memory_of_device(config, first.config)
    where = config.device_name or Setup.here(first.config).device.type
    return Requirements(tuple(trainings), where, config.devices, capacity)


def _subjects(config: PlanConfig) -> Iterator[_Subject]:
    """Yield every run of the file."""
    weights = config.calibrate
    if is_experiment(config):
        runner = open_grid(grid_config(config))
        for cell in runner.grid.cells:
            settings = runner.config(cell)
            if weights and not runner.tokens:
                locate_model(runner.grid.models[cell.model])
            folder = runner.folders[cell.model]
            yield _Subject(cell.model, cell.variation, settings, folder, runner.tokens)
        return
    for settings in read_trainings(config):
        find_kind(settings.kind).refuse_options(KindConfig.of(settings))
        folder = locate_model(settings.model, weights)
        yield _Subject(Path(settings.model).name, "", settings, folder)


class _Planner:
    """What the runs of a subject need."""

    def __init__(self, config: PlanConfig, subject: _Subject, data: PreparedData):
        self.plan, self.subject, self.config = config, subject, subject.config
        self.kind, self.options = find_kind(self.config.kind), KindConfig.of(self.config)
        self.template = open_template(subject.folder, subject.tokens, self.config.template)
        self.model = self.kind.on_meta(subject.folder, self.template, self.options)
        self.data = RunData.open(self.config, self.model.encoder, data)
        self.setup = _setup(config, self.config)
        if self.model.language_model:
            restrict(self.model.language_model, self.config, *self.place)
        self.shape: ModelShape | None = None
        if isinstance(self.model, TrainedRewardModel):
            self.shape = ModelShape.of(self.model, self.data.training[0])
            if not self.shape.layers:
                logger.warning(
                    "%s: its blocks have an unknown form; their operations are not counted",
                    subject.model,
                )

    @property
    def place(self) -> tuple[torch.device, torch.dtype]:
        """The device of the plan, and the precision of products there."""
        return self.setup.device, self.setup.compute_dtype

    @cached_property
    def learnt(self) -> TreeCounts:
        """Counts of the trees of all steps together."""
        training = TreeCounts.of(self.data.training)
        if self.config.max_steps is None:
            return training.total().times(self.config.epochs)
        return training.sums(list(steps_of(self.config, self.data))).total()

    @cached_property
    def speed(self) -> Speed | None:
        """The speed of the device that is named, or of this machine where it is calibrated."""
        if self.plan.device_name:
            named = NAMED_DEVICES[self.plan.device_name]
            half = self.setup.compute_dtype == torch.bfloat16  # of which data sheets give the peak
            return Speed(self.plan.share_of_peak * named.peak) if half else None
        if not self.plan.calibrate or not isinstance(self.model, TrainedRewardModel):
            return None
        model = self.kind.initialise(
            self.subject.folder, self.template, self.options, torch.float32, self.config.seed
        )
        assert isinstance(model, TrainedRewardModel)
        restrict(model.language_model, self.config, *self.place)
        return measure_speed(model, self.config, self.data.training, self.setup)

    def work(self) -> Work:
        """Return tokens, steps and operations of a run."""
        training = TreeCounts.of(self.data.training)
        sets = [TreeCounts.of(trees) for trees in self.data.evaluation.values()]
        evaluated = sum(int(counts.tokens.sum()) for counts in sets)
        steps = steps_of(self.config, self.data)
        shape, learnt = self.shape, self.learnt
        work = Work(
            records=len(training),
            pairs=int(training.pairs.sum()),
            tokens=int(training.tokens.sum()),
            tokens_unshared=int(training.sequences.sum()),
            steps=len(steps) if shape else 0,
            tokens_trained=int(learnt.tokens.sum()) if shape else 0,
            evaluation_tokens=evaluated,
        )
        if shape is None:
            return work
        there, back = forward(shape, learnt), backward(shape, learnt, self.setup.lora_rank)
        evaluations = 1 + (len(steps) // self.config.eval_steps if self.config.eval_steps else 0)
        once = sum(forward(shape, counts).total for counts in sets)
        reference = forward(shape, training).total + once if self.model.needs_reference else 0.0
        return replace(
            work,
            forward=there.total,
            backward=back.total,
            output_layer=there.output + back.output,
            reference=reference,
            evaluation=evaluations * once,
        )

    def needs(self, work: Work) -> Iterator[Need]:
        """Yield what training as the file says needs, then with LoRA, then divided, then both."""
        as_given = "last layer" if self.config.frozen_backbone else "all weights"
        if self.config.adapter is not None:
            as_given = f"{self.config.adapter} of rank {self.config.rank}"
        devices = self.plan.devices
        divided = ", divided" if self.setup.sharded else ""
        if self.shape is None:
            yield self._need("nothing to train", self.setup, work)
            return
        ways = {as_given + divided: self.setup}
        if not self.config.frozen_backbone and self.config.adapter is None:
            rank = self.plan.lora_rank
            ways[f"LoRA of rank {rank}{divided}"] = replace(self.setup, lora_rank=rank)
        if devices > 1 and not self.config.shard:
            for way, setup in list(ways.items()):
                ways[f"{way}, divided"] = replace(setup, sharded=True)
        for way, setup in ways.items():
            yield self._need(way, setup, work)

    def _need(self, way: str, setup: Setup, work: Work) -> Need:
        trees = self.data.training
        on_cpu = setup.device.type == "cpu"
        program = peak_memory(setup.device) + LIBRARIES if on_cpu else 0
        capacity = memory_of_device(self.plan, self.config)

        def estimate(config: TrainConfig, setup: Setup) -> Memory:
            return estimate_memory(self.model, config, trees, setup)

        def fits(memory: Memory) -> bool:
            return memory.total + program <= capacity

        memory = estimate(self.config, setup)
        remedies: tuple[str, ...] = ()
        if not fits(memory):
            largest = int(trees.sizes.max())
            remedies = find_remedies(
                self.config, setup, largest, self.plan.lora_rank, fits, estimate
            )
        seconds = self._seconds(setup, work)
        cost = None
        if seconds is not None and self.plan.price is not None:
            cost = seconds / HOUR * self.plan.price * self.plan.devices
        return Need(way, memory, program, seconds, cost, fits(memory), remedies)

    def _seconds(self, setup: Setup, work: Work) -> float | None:
        """Return the time of a run; what gradient checkpoints compute again takes time, too."""
        if self.shape is None:
            return 0.0
        if self.speed is None:
            return None
        back = backward(self.shape, self.learnt, setup.lora_rank).total
        again = work.forward if self.config.gradient_checkpointing else 0.0
        operations = work.forward + again + back + work.reference + work.evaluation
        passes = operations / self.speed.operations / setup.devices
        return passes + work.steps * self.speed.seconds_per_step


def _setup(config: PlanConfig, training: TrainConfig) -> Setup:
    """Return where the file's training would run: on a named device, or here."""
    if config.device_name is None:
        return Setup.here(training, config.devices)
    dtype = torch.float32 if training.dtype == "float32" else torch.bfloat16
    return Setup.of(training, torch.device("cuda"), dtype, config.devices)


def memory_of_device(config: PlanConfig, training: TrainConfig) -> int:
    """Return the bytes of the device that is named, or of the one that is here."""
    if config.device_name is not None:
        return NAMED_DEVICES[config.device_name].memory
    device = Setup.here(training).device
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
