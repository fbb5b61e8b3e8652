"""What trainings need: tokens, operations, memory, time and cost, as plain numbers."""

from dataclasses import dataclass

from rewardgap.training.memory import Memory


@dataclass(frozen=True)
class Work:
    """Tokens, steps and floating-point operations of one run.

    Attributes:
        records: Training records.
        pairs: Pairs of one epoch.
        tokens: Tokens of one epoch, those of a shared prompt once.
        tokens_unshared: The same with the prompt of every response.
        steps: Optimiser steps.
        tokens_trained: Tokens of all steps.
        evaluation_tokens: Tokens of all evaluation sets, once.
        forward: Operations of all forward passes of training.
        backward: Those of its backward passes.
        output_layer: The part of these two that the output layer has.
        reference: Operations of the reference's log-probabilities, where they are not yet cached.
        evaluation: Operations of all evaluations.
    """

    records: int
    pairs: int
    tokens: int
    tokens_unshared: int
    steps: int
    tokens_trained: int
    evaluation_tokens: int
    forward: float = 0.0
    backward: float = 0.0
    output_layer: float = 0.0
    reference: float = 0.0
    evaluation: float = 0.0

    @property
    def operations(self) -> float:
        """All operations."""
        return self.forward + self.backward + self.reference + self.evaluation


@dataclass(frozen=True)
class Need:
    """What one way to train needs.

    Attributes:
        way: In words, such as "LoRA of rank 16".
        memory: Bytes on each device, what the program takes by itself left out.
        program: Bytes of Python and PyTorch on a processor, as this process has them; else 0.
        seconds: Time of a run; None where no speed is known.
        cost: Of a run, with the price given.
        fits: Whether the device has as much memory.
        remedies: What would make it fit, if it does not.
    """

    way: str
    memory: Memory
    program: int
    seconds: float | None
    cost: float | None
    fits: bool
    remedies: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes on each device at the highest point."""
        return self.memory.total + self.program


@dataclass(frozen=True)
class PlannedTraining:
    """The runs of one model, kind and variation, which differ by their seeds.

    Attributes:
        model: Name of the initial language model.
        kind: Kind of reward model.
        variation: What differs from the experiment's settings; empty if nothing does.
        runs: Number of seeds.
        parameters: Weights of the model.
        work: Of each run.
        needs: What each way to train needs; the first is the file's.
    """

    model: str
    kind: str
    variation: str
    runs: int
    parameters: int
    work: Work
    needs: tuple[Need, ...]


@dataclass(frozen=True)
class Requirements:
    """What a training or a grid will need.

    Attributes:
        trainings: For each model, kind and variation.
        device: Where it is trained, in words.
        devices: Number of devices of a run.
        memory: Bytes that each has.
    """

    trainings: tuple[PlannedTraining, ...]
    device: str
    devices: int
    memory: int
