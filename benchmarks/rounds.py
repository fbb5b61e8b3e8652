"""Running both sides of a case in turn: A B A B, each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cases import Case
from benchmarks.models import Workshop
from benchmarks.worker import Job, Measurement
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError

Rounds = Mapping[str, list[Measurement]]
"""For each side, "rewardgap" or the name of a peer, a measurement a round."""

OURS = "rewardgap"


@dataclass(frozen=True)
class Plan:
    """How a case is measured.

    Attributes:
        rows: rows after the warm-up, for a case that takes its full share.
        batch_size: pairs of an optimiser step, unless the case says otherwise.
        repeats: rounds.
        device: "cpu" or "cuda".
        peer_python: interpreter of the peers' environment.
        compile: whether our side compiles the model's layers.
        token_budget: tokens that our side's training computes at once; None for its default.
    """

    rows: int
    batch_size: int
    repeats: int
    device: str
    peer_python: Path
    compile: bool
    token_budget: int | None


def make_job(case: Case, workshop: Workshop, plan: Plan, dtype: str) -> Job:
    """Return the job of a case, with the model and the rows that it names."""
    batch_size = case.batch_size or plan.batch_size
    ours = {"compile": plan.compile, "token_budget": plan.token_budget}
    job = Job(case.ours, "", "", dtype, plan.device, batch_size, 0, "", **ours)
    if case.model is None or case.rows is None:
        return job
    folder = case.model(workshop.make(case.size))
    warm_up = max(1, round(case.share * batch_size))
    count = warm_up + max(1, round(case.share * plan.rows))
    rows = case.rows(workshop, ChatTemplate.load(folder), count)
    path = workshop.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return replace(job, model=str(folder), rows=str(path), warm_up=warm_up)


def measure(case: Case, job: Job, plan: Plan) -> Rounds:
    """Every side once a round, in the same order in every round."""
    sides = {OURS: (sys.executable, case.ours)}
    sides |= {name: (str(plan.peer_python), task) for name, task in case.peers.items()}
    rounds: dict[str, list[Measurement]] = {name: [] for name in sides}
    for _ in range(plan.repeats):
        for name, (python, task) in sides.items():
            rounds[name].append(run(python, replace(job, task=task)))
    return rounds


def run(python: str, job: Job) -> Measurement:
    """One measurement, in a new process without network and with empty caches.

    Raises:
        UserError: the process failed; its last words are shown.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        described, result = folder / "job.json", folder / "result.json"
        described.write_text(json.dumps(asdict(replace(job, scratch=scratch))), "utf-8")
        words = [python, "-m", "benchmarks.worker", str(described), str(result)]
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": scratch, "TQDM_DISABLE": "1"}
        ended = subprocess.run(words, env=os.environ | offline, capture_output=True, text=True)
        if ended.returncode:
            print(ended.stderr, file=sys.stderr)
            raise UserError(f"{job.task} failed with status {ended.returncode}; see above")
        return Measurement(**json.loads(result.read_text("utf-8")))
