"""Settings of the commands train, pretrain and demo."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rewardgap.configs.adapters import AdapterConfig
from rewardgap.configs.compute import CachedComputeConfig, Device, Dtype, at_least, positive
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.paths import HomePaths
from rewardgap.errors import UserError

Schedule = Literal["constant", "linear", "cosine"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
EightBits = Literal["adam-8bit", "paged-adam-8bit"]


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig(AdapterConfig):
    """The optimiser's steps, as training takes them and as a forecast rehearses them."""

    epochs: int = 5
    """passes over the training data"""
    max_steps: int | None = None
    """stop after this many optimiser steps, even in the middle of an epoch; the schedule ends there
    too"""
    batch_size: int = 32
    """pairs per optimiser step; the token budget does not change it"""
    learning_rate: float = 1e-6
    """peak learning rate of Adam (no weight decay)"""
    schedule: Schedule = "constant"
    """schedule of the learning rate after the warm-up"""
    warmup_steps: int = 0
    """steps over which the learning rate rises from zero to its peak"""
    optimiser: EightBits | None = None
    """Adam with its moments in 8 bits, paged to the memory of the processor where a GPU's runs out;
    needs bitsandbytes; by default they are in float32"""
    max_grad_norm: float | None = None
    """clip gradients to this norm; by default not at all"""
    frozen_backbone: bool = False
    """train only the last layer (the head or the output embedding), as the theory assumes"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass, to save memory"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "epochs", "batch_size", "max_steps")
        at_least(self, 0, "warmup_steps")
        positive(self, "learning_rate", "max_grad_norm")
        if self.frozen_backbone and self.adapter is not None:
            raise UserError(
                "frozen_backbone trains the last layer alone and adapter all others: leave one out"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(OptimiserConfig, KindConfig, CachedComputeConfig):
    """Train a reward model, then score and measure it on every evaluation set."""

    model: str
    """initial language model: a directory or a hub id"""
    kind: str
    """kind of reward model; `rewardgap --help` lists them"""
    train: str | list[str]
    """training data: a file, a saved data set, a hub id, or source:part; or a list of these"""
    out: str
    """the run's folder, which must be new"""
    eval: dict[str, str] = field(default_factory=dict)
    """evaluation data by name, as --eval.NAME DATA"""
    compile: bool = False
    """compile norms and feed-forward networks, which takes about a minute at the start; measure
    whether training is faster"""
    moment_batch_size: int | None = None
    """pairs per step whose noise Adam's second moments have, if more than `batch_size`: a rehearsal
    then moves as far as the training with these batches"""
    shard: bool = False
    """divide weights, gradients and Adam's moments among the processes (FSDP2), for models that do
    not fit on one GPU; by default every process holds all of them; alone, nothing is divided"""
    offload: bool = False
    """with shard on GPUs: keep what is divided in the computer's memory and take steps there, which
    is slower; not yet tried on a GPU"""
    seed: int = 0
    """seed of the head and of the order of the data"""
    eval_steps: int = 0
    """evaluate every N steps; 0: only at the end"""
    keep_best: str | None = None
    """name of an evaluation set: keep the weights of the evaluated step that ranks it best, of
    equal ones the last; by default those of the last step"""
    checkpoint_steps: int = 100
    """write a checkpoint every N steps; 0: never"""
    report_to: list[Tracker] = field(default_factory=list)
    """experiment trackers that also get the log, under the names of TRL's trainers"""
    resume: bool = False
    """continue the run in `out` from its last checkpoint"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "token_budget", "moment_batch_size")
        at_least(self, 0, "eval_steps", "checkpoint_steps", "seed")
        for name in self.eval:
            if not name or "/" in name or name.startswith("."):
                raise UserError(f"eval has the name {name!r}, which cannot name a score file")
        if self.keep_best is not None and self.keep_best not in self.eval:
            raise UserError(
                f"keep_best is {self.keep_best!r}, which is no evaluation set; the sets are "
                f"{', '.join(self.eval) or 'none: give one with --eval.NAME DATA'}"
            )
        if self.offload and not self.shard:
            raise UserError("offload keeps in the computer's memory what shard divides: set shard")
        for key in ("quantise", "optimiser"):
            if self.shard and getattr(self, key) is not None:
                raise UserError(
                    f"shard divides weights and moments that are numbers of their own, and {key} "
                    f"is {getattr(self, key)}: leave one of them out"
                )
        if self.keep_best is not None and not self.eval_steps:
            raise UserError("keep_best needs eval_steps: give the steps between evaluations")

    def settings(self) -> dict[str, Any]:
        """Return everything that determines the run, as its config.yaml holds it."""
        free = ("resume", "cache", "shard", "offload")
        return {key: value for key, value in asdict(self).items() if key not in free}


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(HomePaths):
    """Make a small causal language model and its tokenizer from text."""

    text: str | list[str]
    """a .txt file of documents separated by blank lines, a .jsonl file with `text` or `messages`,
    or conversations of a source (agreement:dialogues, hamiltonian:walks); or a list of these"""
    out: str
    """the model's folder, which must be new"""
    vocabulary: int = 4096
    """size of the tokenizer's vocabulary; smaller if the text is too short for it"""
    layers: int = 4
    """transformer blocks"""
    width: int = 192
    """size of the hidden state"""
    heads: int = 3
    """attention heads"""
    feed_forward: int = 512
    """hidden size of the feed-forward layers"""
    context: int = 512
    """tokens of the longest sequence; longer documents are split"""
    epochs: int = 1
    """passes over the text"""
    batch_tokens: int = 8192
    """tokens per optimiser step"""
    learning_rate: float = 3e-3
    """peak learning rate of AdamW, followed by a cosine decay to zero"""
    warmup_steps: int = 50
    """steps over which the learning rate rises from zero to its peak"""
    weight_decay: float = 0.1
    """weight decay of the matrices"""
    held_out: float = 0.01
    """share of the documents that are held out to measure the loss, at least one document"""
    seed: int = 0
    """seed of the initial weights, of the held-out documents and of the order of the rest"""
    dtype: Dtype = "auto"
    """precision of matrix products, weights stay float32; auto is bfloat16 on GPUs that support it
    and float32 elsewhere"""
    device: Device = "auto"
    """auto uses a GPU if there is one; CUDA_VISIBLE_DEVICES selects which"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "layers", "heads", "feed_forward", "epochs")
        at_least(self, 0, "warmup_steps", "seed")
        at_least(self, 2, "context")
        at_least(self, self.context, "batch_tokens")
        if not self.text:
            raise UserError("text names no file: give at least one")
        if self.width < 2 * self.heads or self.width % (2 * self.heads):
            raise UserError(
                f"width must be a multiple of twice heads; got {self.width} and {self.heads} heads"
            )
        positive(self, "learning_rate")
        if not self.weight_decay >= 0 or not 0 < self.held_out < 1:
            raise UserError("weight_decay must not be negative, and held_out between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class DemoConfig(HomePaths):
    """Make a language model, train reward models of several kinds from it, and compare them.

    The experiment is the package's demo.yaml; smaller numbers show that everything works.
    """

    out: str
    """folder of the language model, the runs, the report and report.txt"""
    kinds: list[str] | None = None
    """kinds of reward model to compare, instead of the experiment's"""
    seeds: list[int] | None = None
    """seeds of the training runs, instead of the experiment's; the data are the same for all"""
    dialogues: int = 10_000
    """number of dialogues that the language model learns from"""
    epochs: int | None = None
    """passes over the training pairs, instead of the experiment's"""
    learning_rate: float | None = None
    """learning rate of every kind, instead of the experiment's"""
    batch_size: int | None = None
    """pairs per optimiser step, instead of the experiment's"""
    device: Device = "auto"
    """auto uses a GPU if there is one; CUDA_VISIBLE_DEVICES selects which"""
    cache: str | None = None
    """folder that caches the language model; by default $REWARDGAP_CACHE or ~/.cache/rewardgap"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 2, "dialogues")
