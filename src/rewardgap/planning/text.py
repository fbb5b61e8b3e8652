"""The requirements of trainings in tables and sentences, and as JSON."""

from dataclasses import asdict
from typing import Any

from rewardgap.evaluation.text import align_columns, counted
from rewardgap.io.progress import duration
from rewardgap.planning.requirements import Need, PlannedTraining, Requirements

GIB = 2**30
WORK = (
    *("training", "runs", "pairs", "tokens", "unshared", "steps", "forward", "backward"),
    *("output", "reference", "evaluation"),
)
MEMORY = (
    *("training", "way", "weights", "gradients", "moments", "activations", "logits", "program"),
    *("GiB in all", "fits", "a run", "cost"),
)
PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))


def format_requirements(plan: Requirements) -> str:
    """Return a table of the work, one of memory and time, and a sentence for what does not fit."""
    work: list[tuple[str, ...]] = [WORK]
    memory: list[tuple[str, ...]] = [MEMORY]
    sentences = []
    for training in plan.trainings:
        name = _name(training)
        work.append((name, *_work(training)))
        for need in training.needs:
            memory.append((name, need.way, *_need(need)))
            if need.memory.offloaded:
                size = f"{need.memory.offloaded / GIB:.2f} GiB of the computer's memory"
                sentences.append(f"{name}, {need.way}: also {size} for each device (offload)")
            if not need.fits:
                sentences.append(_remedy(name, need, plan.memory))
    where = counted(plan.devices, "device") if plan.devices > 1 else "one device"
    parts = [
        "One run; tokens of an epoch, in FLOP what all of its steps need:",
        align_columns(work, right=range(1, len(WORK))),
        "",
        f"On {where} ({plan.device}, {plan.memory / GIB:.1f} GiB each), in GiB:",
        align_columns(memory, right=range(2, len(MEMORY))),
        *sentences,
        *_total(plan),
    ]
    return "\n".join(parts) + "\n"


def as_json(plan: Requirements) -> Any:
    """Return the same as plain values; memory in bytes, time in seconds."""
    values = asdict(plan)
    for training, shown in zip(plan.trainings, values["trainings"], strict=True):
        for need, row in zip(training.needs, shown["needs"], strict=True):
            row["total"] = need.total
    return values


def _name(training: PlannedTraining) -> str:
    return " ".join(filter(None, (training.model, training.kind, training.variation)))


def _work(training: PlannedTraining) -> tuple[str, ...]:
    work = training.work
    counts = (work.pairs, work.tokens, work.tokens_unshared, work.steps)
    operations = (
        *(work.forward, work.backward, work.output_layer, work.reference),
        work.evaluation,
    )
    return (str(training.runs), *(f"{n:,}" for n in counts), *map(_scaled, operations))


def _need(need: Need) -> tuple[str, ...]:
    memory = need.memory
    sizes = (
        *(memory.weights, memory.gradients, memory.moments, memory.activations),
        *(memory.logits, need.program, need.total),
    )
    time = "?" if need.seconds is None else duration(need.seconds)
    cost = "?" if need.cost is None else f"{need.cost:,.2f}"
    return (*(f"{size / GIB:.2f}" for size in sizes), "yes" if need.fits else "NO", time, cost)


def _remedy(name: str, need: Need, memory: int) -> str:
    """Return that a training does not fit, and what would make it fit."""
    remedy = (
        f"fits with {' or with '.join(need.remedies)}" if need.remedies else "no remedy was found"
    )
    return (
        f"{name}, {need.way}: will not fit, it needs {need.total / GIB:.1f} GiB and there are "
        f"{memory / GIB:.1f}; {remedy}"
    )


def _total(plan: Requirements) -> list[str]:
    """Return the time and cost of all runs as the file has them, where they are known."""
    firsts = [(training.runs, training.needs[0]) for training in plan.trainings]
    runs = sum(count for count, _ in firsts)
    if any(need.seconds is None for _, need in firsts):
        return []
    seconds = sum(count * (need.seconds or 0.0) for count, need in firsts)
    costs = [count * need.cost for count, need in firsts if need.cost is not None]
    cost = f", cost {sum(costs):,.2f}" if costs else ""
    return [f"all {counted(runs, 'run')}: {duration(seconds)}{cost}"]


def _scaled(operations: float) -> str:
    for prefix, size in PREFIXES:
        if operations >= size:
            return f"{operations / size:.3g} {prefix}"
    return f"{operations:.0f}"
