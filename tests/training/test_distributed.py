"""Several processes give the losses and rewards that one gives, whether or not they share weights.

Their budget is so small that they have different numbers of micro-batches. What is trained in two
processes is trained in the same two, for their start costs more than a run.
"""

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make_config
from processes import ends, start_two
from safetensors.torch import load_file
from tiny import tiny_tokenizer
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy
from toy import configure, flags, read_rows, several_rows, write_rows
from transformers import AutoModelForCausalLM, LlamaConfig

from rewardgap import cli
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.models.adapters import ADAPTER_WEIGHTS
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.training import loop, parallel
from rewardgap.training.loop import peak_memory
from rewardgap.training.parallel import TrainingProcesses, is_divided, whole_tensor
from rewardgap.training.train import train

MMAP_THRESHOLD = -3
"""The number of this setting in malloc.h."""
KINDS = ("explicit", "implicit")


def train_all(configs: Sequence[TrainConfig], paused: Sequence[TrainConfig]) -> int:
    """Train in one of several processes, and then say how many have taken part.

    What is `paused` ends after its checkpoint of two steps.
    """
    for config in paused:
        with interrupted_after(2):
            train(config)
    for config in configs:
        train(config)
    print("processes:", torch.distributed.get_world_size(), torch.distributed.get_backend())
    torch.distributed.destroy_process_group()
    return 0


def train_offloaded(config: TrainConfig) -> int:
    """Train as with offload on GPUs, in one of several processes on processors.

    Memory that is pinned for a GPU is all that is left out, and the refusal of processors.
    """
    open_usually, fully_shard = parallel.TrainingProcesses.open, parallel.fully_shard
    policies: list[bool] = []

    def opened(config: TrainConfig) -> TrainingProcesses:
        return replace(open_usually(replace(config, offload=False)), offload=config.offload)

    def divided(*arguments: Any, offload_policy: OffloadPolicy, **keywords: Any) -> Any:
        policies.append(isinstance(offload_policy, CPUOffloadPolicy))
        return fully_shard(*arguments, offload_policy=offload_policy, **keywords)

    parallel.TrainingProcesses.open = staticmethod(opened)
    parallel.fully_shard = divided
    parallel.CPUOffloadPolicy = partial(CPUOffloadPolicy, pin_memory=False)
    train(config)
    assert len(policies) == 9 and all(policies), policies  # two layers and the rest, thrice
    torch.distributed.destroy_process_group()
    return 0


def initialised(folder: Path, kind: str = "implicit") -> RewardModel:
    """A reward model before its training, with a head drawn from seed 3 where it has one."""
    template = ChatTemplate.load(folder)
    return find_kind(kind).initialise(folder, template, KindConfig(), torch.float32, 3)


def build_together(config: TrainConfig, large: Path, small: Sequence[Path]) -> int:
    """Build models in one of several processes; its parts are those of models that are whole."""
    processes = TrainingProcesses.open(config)
    makes: list[Callable[[], nn.Module]] = [partial(nn.Linear, 3, 2)]  # no language model: whole
    makes += [partial(initialised, folder, kind) for folder in small for kind in KINDS]
    for make in makes:
        torch.manual_seed(processes.rank)  # what only one process draws is all the same
        model = processes.build(make)
        torch.manual_seed(0)
        whole = make()
        assert model.state_dict().keys() == whole.state_dict().keys()
        pairs = zip(model.named_parameters(), whole.named_parameters(), strict=True)  # or untied
        for (name, part), (same, weight) in pairs:
            assert name == same and torch.equal(whole_tensor(part.detach()), weight), name
            assert part.numel() == weight.numel() and part.dtype == weight.dtype, name
            assert is_divided([part]) == isinstance(model, RewardModel), name
        for buffer, expected in zip(model.buffers(), whole.buffers(), strict=True):
            assert torch.equal(buffer, expected)
        if isinstance(model, RewardModel):
            assert model.language_model.reading == whole.language_model.reading
            assert model.model.config.to_dict() == whole.model.config.to_dict()
    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 2**16)  # what is freed is not kept for later
    before = peak_memory(processes.device)  # after all imports
    processes.build(partial(initialised, large))
    print("grown by", peak_memory(processes.device) - before)
    torch.distributed.destroy_process_group()
    return 0


def command_all(commands: Sequence[Sequence[str]]) -> int:
    """Run commands in one of several processes, and then say how many have taken part."""
    codes = [cli.main(list(words)) for words in commands]
    print("processes:", torch.distributed.get_world_size())
    torch.distributed.destroy_process_group()
    return max(codes)


def train_together(
    forks: ForkServerContext,
    folder: Path,
    *configs: TrainConfig,
    paused: Sequence[TrainConfig] = (),
) -> None:
    """Train in two processes, as `train_all` does; fail if there was one."""
    processes = start_two(forks, folder, train_all, configs, paused)
    codes = ends(processes)
    assert codes == [0, 0], processes[0].stderr + processes[1].stderr
    assert [started.stdout.count("processes: 2 gloo") for started in processes] == [1, 1]


def train_until_killed(words: list[str], step: int) -> int:
    """Run a command whose second process is killed once the checkpoint of a step is written."""
    save = loop.save_checkpoint

    def save_and_die(folder: Path, written: int, *arguments: Any) -> None:
        save(folder, written, *arguments)
        if written == step and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    loop.save_checkpoint = save_and_die
    return cli.main(words)


@contextmanager
def interrupted_after(step: int) -> Iterator[None]:
    """Interrupt a training in this process after the checkpoint of a step."""
    save = loop.save_checkpoint

    def save_and_stop(folder: Path, written: int, *arguments: Any) -> None:
        save(folder, written, *arguments)
        if written == step:
            raise KeyboardInterrupt

    loop.save_checkpoint = save_and_stop
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        loop.save_checkpoint = save


def check_same(one: TrainConfig, two: TrainConfig) -> None:
    """Compare losses within 1e-5 of their size, rewards within 1e-4."""
    runs = [Run(Path(config.out)) for config in (one, two)]
    logs = [read_rows(run.log) if run.log.exists() else [] for run in runs]
    assert len(logs[0]) == (0 if one.kind == "length" else 4)
    for expected, row in zip(*logs, strict=True):
        assert row.keys() == expected.keys()
        for key in ("loss", "grad_norm"):
            assert row[key] == pytest.approx(expected[key], rel=1e-5), (row["step"], key)
        for key in ("step", "epoch", "learning_rate", "accuracy", "eval_accuracy/test"):
            assert row.get(key) == expected.get(key), (row["step"], key)
    scores = [read_rows(run.scores("test")) for run in runs]
    assert len(scores[0]) == 6
    for expected, row in zip(*scores, strict=True):
        assert row["id"] == expected["id"]
        for side in ("scores_chosen", "scores_rejected"):
            assert row[side] == pytest.approx(expected[side], abs=1e-4), row["id"]


@pytest.fixture
def setting(folders: Callable[..., Path], tmp_path: Path) -> Callable[..., TrainConfig]:
    """Runs of four steps on seven records of two to five responses; `out` is a folder's name."""
    data = write_rows(tmp_path / "several.jsonl", several_rows(7))

    def configuration(out: str, architecture: str, **changes: Any) -> TrainConfig:
        settings = {
            "train": data,
            "out": str(tmp_path / out),
            "epochs": 1,
            "batch_size": 6,
            "learning_rate": 1e-3,
            "max_grad_norm": 0.5,
            "eval_steps": 2,
            "checkpoint_steps": 2,
            "token_budget": 110,
        }
        return configure(tmp_path, folders(architecture), **settings | changes)

    return configuration


def test_two_processes_train_every_kind_as_one(setting, forks, tmp_path):
    """With tied embeddings, soft caps, a plain text beside the question, frozen layers.

    Reference log-probabilities are computed by all of them, too.
    """
    generative = {"kind": "generative", "token_budget": 330, "likelihood_weight": 0.1}
    alone = [
        setting("explicit", "llama", keep_best="test"),
        setting("implicit", "qwen2", kind="implicit"),
        setting("generative", "gemma2", **generative),
        setting("length", "llama", kind="length"),
    ]
    frozen = setting("frozen", "qwen2", kind="implicit", frozen_backbone=True)
    for config in (*alone, frozen):
        train(config)
    whole, shared = (
        [
            replace(c, out=f"{c.out}-{name}", cache=str(tmp_path / name), device="auto")
            for c in configs
        ]
        for name, configs in (("whole", alone), ("shared", [*alone, frozen]))
    )
    shared = [replace(c, shard=True) for c in shared]
    if torch.cuda.is_available():  # of which each process would need one
        whole, shared = ([replace(c, device="cpu") for c in part] for part in (whole, shared))
    shared[1] = replace(shared[1], gradient_checkpointing=True)
    train_together(forks, tmp_path / "together", *whole, *shared)
    for one, two in zip((*alone, *alone, frozen), (*whole, *shared), strict=True):
        check_same(one, two)


def test_a_killed_process_ends_the_others_and_any_number_goes_on(setting, forks, tmp_path):
    """From two processes to one, and from one to two; divided as accelerate is configured."""
    expected = setting("expected", "llama")
    train(expected)
    killed = replace(expected, out=str(tmp_path / "killed"))
    processes = start_two(
        *(forks, tmp_path / "printed", train_until_killed, flags(killed), 2),
        ACCELERATE_USE_DEEPSPEED="true",
    )
    assert ends(processes) == [2, -signal.SIGKILL], processes[0].stderr
    said = [started.stderr.count("accelerate is configured for DeepSpeed") for started in processes]
    assert said == [1, 0]
    assert "process 0 of 2 has lost another one" in processes[0].stderr
    assert "Traceback" not in processes[0].stderr
    checkpoints = tmp_path / "killed" / "checkpoints"
    assert len(list(checkpoints.glob("step-00000002/*.safetensors"))) == 2, "each writes its part"
    incomplete = shutil.copytree(checkpoints / "step-00000002", checkpoints / "step-00000003")
    next(incomplete.glob("*.safetensors")).unlink()  # as after the loss of a file: passed over
    train(replace(killed, resume=True))
    check_same(expected, killed)
    interrupted = replace(expected, out=str(tmp_path / "interrupted"))
    with interrupted_after(2):
        train(interrupted)
    train_together(forks, tmp_path / "resumed", replace(interrupted, resume=True, shard=True))
    check_same(expected, interrupted)


@pytest.mark.parametrize(
    ("kind", "architecture", "adapter", "changes"),
    [
        ("explicit", "llama", "dora", {"gradient_checkpointing": True, "keep_best": "test"}),
        ("implicit", "qwen2", "lora", {"lora_targets": ["q_proj", "down_proj"]}),
    ],
)
def test_two_processes_train_an_adapter_as_one(
    kind, architecture, adapter, changes, setting, forks, tmp_path
):
    """The reference is the base in parts, too; any number goes on, with shard and without."""
    changes |= {"kind": kind, "adapter": adapter, "lora_rank": 4, "learning_rate": 1e-2}
    alone = setting("alone", architecture, **changes)
    train(alone)
    shared, whole, to_shared, to_whole, to_one = (
        replace(alone, out=str(tmp_path / name), cache=str(tmp_path / f"cache-{name}"), shard=shard)
        for name, shard in (
            ("shared", True),
            ("whole", False),
            ("to-shared", True),
            ("to-whole", True),
            ("to-one", True),
        )
    )
    with interrupted_after(2):
        train(to_shared)
    goes_on = (replace(to_shared, resume=True), replace(to_whole, resume=True, shard=False))
    paused = (to_whole, to_one)
    train_together(forks, tmp_path / "printed", shared, whole, *goes_on, paused=paused)
    train(replace(to_one, resume=True))
    expected = load_file(Run(Path(alone.out)).reward_model / ADAPTER_WEIGHTS)
    for config in (shared, whole, *goes_on, to_one):
        check_same(alone, config)
        saved = load_file(Run(Path(config.out)).reward_model / ADAPTER_WEIGHTS)
        torch.testing.assert_close(saved, expected, atol=1e-3, rtol=0)  # steps are 1e-2


def test_what_is_offloaded_is_trained_the_same(setting, forks, tmp_path):
    alone = setting("alone", "qwen2", kind="implicit", keep_best="test")
    train(alone)
    away = {"shard": True, "offload": True, "cache": str(tmp_path / "away")}
    offloaded = replace(alone, out=str(tmp_path / "offloaded"), **away)
    processes = start_two(forks, tmp_path / "printed", train_offloaded, offloaded)
    codes = ends(processes)
    assert codes == [0, 0], processes[0].stderr + processes[1].stderr
    check_same(alone, offloaded)
    with pytest.raises(UserError, match="several processes with a GPU each: leave it out"):
        train(replace(offloaded, out=str(tmp_path / "refused")))
    with pytest.raises(UserError, match="what shard divides: set shard"):
        replace(offloaded, shard=False)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's peak is not its own")
def test_one_process_reads_weights_for_all(setting, folders, forks, tmp_path):
    """Of tied weights in bfloat16, and of a model that is gathered as a whole, too."""
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8}
    large = LlamaConfig(**sizes, vocab_size=320, num_attention_heads=8, bos_token_id=0)
    halved = AutoModelForCausalLM.from_pretrained(folders("qwen2"), dtype=torch.bfloat16)
    models = {
        "large": AutoModelForCausalLM.from_config(large),
        "halved": halved,
        "plain": AutoModelForCausalLM.from_config(make_config("phi3 with longrope")),
    }
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    config = setting("none", "llama", shard=True)
    small = [folders("llama"), tmp_path / "halved", tmp_path / "plain"]
    arguments = (config, tmp_path / "large", small)
    processes = start_two(forks, tmp_path / "printed", build_together, *arguments)
    codes = ends(processes)
    assert codes == [0, 0], processes[0].stderr + processes[1].stderr
    weights = 4 * sum(parameter.numel() for parameter in models["large"].parameters())
    main, other = (int(started.stdout.partition("grown by")[2].split()[0]) for started in processes)
    assert main > weights  # or else this measures nothing
    assert weights / 2 < other < 0.7 * weights


def test_two_processes_score_and_rank_as_one(setting, forks, tmp_path):
    """Each an ensemble, or a model with a reference; labelled rows, and candidates without."""
    config = setting("run", "llama", kind="implicit")
    train(config)
    run, data = config.out, config.train
    candidates = write_rows(
        tmp_path / "candidates.jsonl",
        [
            {"prompt": f"is it {i}?", "responses": ["yes", "no", "it is"][: i % 3 + 1]}
            for i in range(5)
        ],
    )
    commands = {
        "scores.jsonl": ["score", run, "--data", data],
        "rewards.jsonl": ["score", f"mean({run},{run})", "--data", candidates],
        "ranked.jsonl": ["rank", run, "--data", candidates],
    }

    def writing(folder: str) -> list[list[str]]:
        (tmp_path / folder).mkdir()
        further = ["--device", "cpu", "--cache", str(tmp_path / folder / "cache"), "--token-budget"]
        return [
            [*words, "--out", str(tmp_path / folder / name), *further, "110"]
            for name, words in commands.items()
        ]

    assert [cli.main(words) for words in writing("one")] == [0, 0, 0]
    processes = start_two(forks, tmp_path / "printed", command_all, writing("two"))
    codes = ends(processes)
    assert codes == [0, 0], processes[0].stderr + processes[1].stderr
    assert [started.stdout.count("processes: 2") for started in processes] == [1, 1]
    assert "accuracy" in processes[0].stdout and "accuracy" not in processes[1].stdout
    for name in commands:
        one, two = (read_rows(tmp_path / folder / name) for folder in ("one", "two"))
        for expected, row in zip(one, two, strict=True):
            for key, value in expected.items():
                is_number = key.startswith(("scores", "rewards"))
                assert row[key] == (pytest.approx(value, abs=1e-5) if is_number else value)
