"""What each command can be told. Every field is a YAML key, a flag and a keyword of the function.

This module imports nothing heavy, so that `--help` is quick.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rewardgap.errors import UserError
from rewardgap.records import Identical

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class KindConfig:
    """Settings that some kinds of reward model read."""

    beta: float | None = None
    """factor of an implicit reward; by default 0.01, or 1 without a reference"""
    likelihood_weight: float = 0.0
    """λ of a generative model's loss: weight of −ln π(chosen | prompt)"""
    verification_prompt: str | None = None
    """a generative model's question, with {prompt} and {response}; by default the paper's"""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where and how to compute."""

    max_length: int | None = None
    """cut prompt and response to so many tokens, the start of the prompt first; by default nothing
    is cut, and a run is scored as it was trained"""
    identical_pairs: Identical = "refuse"
    """what to do with records whose chosen and rejected responses coincide"""
    dtype: Dtype = "auto"
    """precision of matrix products, weights stay float32; auto is bfloat16 on GPUs that have it and
    float32 elsewhere"""
    device: Device = "auto"
    """auto takes a GPU where there is one; CUDA_VISIBLE_DEVICES says which"""
    token_budget: int = 16_384
    """tokens computed at once; less needs less memory, and changes no result"""
    cache: str | None = None
    """folder of reference log-probabilities; by default $REWARDGAP_CACHE or ~/.cache/rewardgap"""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(KindConfig, ComputeConfig):
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
    epochs: int = 5
    """passes over the training data"""
    batch_size: int = 32
    """pairs an optimiser step, whatever the token budget"""
    learning_rate: float = 1e-6
    """peak learning rate of Adam (no weight decay)"""
    schedule: Schedule = "constant"
    """course of the learning rate after the warm-up"""
    warmup_steps: int = 0
    """steps over which the learning rate rises from zero"""
    max_grad_norm: float | None = None
    """clip the gradient to this norm"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass, to save memory"""
    seed: int = 0
    """seed of the head and of the order of the data"""
    eval_steps: int = 0
    """measure accuracy on the evaluation sets every so many steps; 0 measures at the end alone"""
    checkpoint_steps: int = 100
    """write a checkpoint every so many steps; 0 writes none"""
    report_to: list[Literal["tensorboard", "wandb"]] = field(default_factory=list)
    """trackers that the log is also sent to"""
    resume: bool = False
    """continue the run in `out` where it stopped"""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        _at_least(self, 1, "epochs", "batch_size", "token_budget")
        _at_least(self, 0, "warmup_steps", "eval_steps", "checkpoint_steps", "seed")
        for key in ("learning_rate", "max_grad_norm"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise UserError(f"{key} must be positive; it is {value}")
        for name in self.eval:
            if not name or "/" in name or name.startswith("."):
                raise UserError(f"eval has the name {name!r}, which cannot name a score file")

    def settings(self) -> dict[str, Any]:
        """All that determines the run, as written to its config.yaml."""
        return {key: value for key, value in asdict(self).items() if key not in ("resume", "cache")}


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(KindConfig, ComputeConfig):
    """Write the rewards that a run, or a model trained elsewhere, gives to a data set."""

    model: str
    """a run's folder, a saved reward model, or a hub id"""
    data: str
    """what to score: a file, a saved data set, a hub id, or source:part"""
    out: str
    """the score file to write"""
    kind: str | None = None
    """kind of a model trained elsewhere; a classification model is explicit by default"""
    reference: str | None = None
    """initial model of an implicit model trained elsewhere"""
    train: str | None = None
    """training data for the bag-of-words baseline; a run knows its own"""


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise UserError(f"{name} must be at least {least}; it is {getattr(config, name)}")


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """Measure score files, and compare those of the same records pair by pair."""

    scores: list[str]
    """score files"""
    json: bool = False
    """print JSON instead of a table"""

    def __post_init__(self) -> None:
        """Refuse an empty list."""
        if not self.scores:
            raise UserError("name at least one score file")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Make a small causal language model and its tokenizer from text."""

    text: str | list[str]
    """a .txt file of documents separated by blank lines, a .jsonl file of `text` or `messages`; or
    a list of these"""
    out: str
    """the model's folder, which must be new"""
    vocabulary: int = 4096
    """tokens of the tokenizer; fewer where the text has no more to give"""
    layers: int = 4
    """transformer blocks"""
    width: int = 192
    """size of the hidden state"""
    heads: int = 3
    """attention heads"""
    feed_forward: int = 512
    """size of the feed-forward layers"""
    context: int = 512
    """longest sequence in tokens; longer documents are cut into pieces"""
    epochs: int = 1
    """passes over the text"""
    batch_tokens: int = 8192
    """tokens an optimiser step"""
    learning_rate: float = 3e-3
    """peak learning rate of AdamW, followed by a cosine to zero"""
    warmup_steps: int = 50
    """steps over which the learning rate rises from zero"""
    weight_decay: float = 0.1
    """weight decay of the matrices"""
    held_out: float = 0.01
    """share of the documents kept to measure the loss on, at least one document"""
    seed: int = 0
    """decides the first weights, the held-out documents and the order of the others"""
    dtype: Dtype = "auto"
    """precision of matrix products, weights stay float32; auto is bfloat16 on GPUs that have it and
    float32 elsewhere"""
    device: Device = "auto"
    """auto takes a GPU where there is one; CUDA_VISIBLE_DEVICES says which"""

    def __post_init__(self) -> None:
        """Refuse values that no model can have."""
        _at_least(self, 1, "layers", "heads", "feed_forward", "epochs")
        _at_least(self, 0, "warmup_steps", "seed")
        _at_least(self, 2, "context")
        _at_least(self, self.context, "batch_tokens")
        if not self.text:
            raise UserError("text names no file: give at least one")
        if self.width < 2 * self.heads or self.width % (2 * self.heads):
            raise UserError(
                f"width must be a multiple of twice heads; {self.width} is none of {2 * self.heads}"
            )
        if self.learning_rate <= 0 or self.weight_decay < 0 or not 0 < self.held_out < 1:
            raise UserError(
                "learning_rate must be positive, weight_decay not negative, and held_out "
                "between 0 and 1"
            )


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Make a language model, train reward models of several kinds from it, and compare them.

    The defaults are the experiment; smaller numbers serve to try the machinery.
    """

    out: str
    """folder of the run folders, the table, the picture and summary.json"""
    kinds: list[str] = field(default_factory=lambda: ["explicit", "implicit", "generative"])
    """kinds of reward model to compare"""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """seeds of the training runs; the data are the same for all"""
    dialogues: int = 10_000
    """dialogues that the language model learns from"""
    epochs: int = 20
    """passes over the training pairs"""
    learning_rate: float = 5e-5
    """learning rate of every kind"""
    batch_size: int = 16
    """pairs an optimiser step"""
    device: Device = "auto"
    """auto takes a GPU where there is one; CUDA_VISIBLE_DEVICES says which"""
    cache: str | None = None
    """folder that keeps the language model; by default $REWARDGAP_CACHE or ~/.cache/rewardgap"""

    def __post_init__(self) -> None:
        """Refuse values that leave nothing to compare."""
        _at_least(self, 1, "epochs", "batch_size")
        _at_least(self, 2, "dialogues")
        if not self.kinds or not self.seeds:
            raise UserError("kinds and seeds must each name at least one")


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(KindConfig, ComputeConfig):
    """Say why a record's responses got their rewards: their tokens, and the training pairs."""

    model: str
    """a run's folder, a saved reward model, or a hub id"""
    data: str
    """where the record is: a file, a saved data set, a hub id, or source:part"""
    id: str
    """id of the record"""
    out: str
    """the .html page to write; all numbers go beside it as .json"""
    twin: str | None = None
    """id of a paraphrase of the record, whose loss of margin is split into tokens"""
    twin_data: str | None = None
    """where the paraphrase is, by default in the same data; alone: the same id there"""
    top: int = 3
    """training pairs to show that raise, and as many that lower, each reward"""
    max_pairs: int | None = None
    """look at a sample of so many training pairs; by default at all"""
    seed: int = 0
    """of the sample"""
    train: str | None = None
    """training data; a run knows its own"""
    reference: str | None = None
    """initial language model, where it has moved or the model was trained elsewhere"""
    kind: str | None = None
    """kind of a model trained elsewhere; a classification model is explicit by default"""

    def __post_init__(self) -> None:
        """Refuse values that show nothing, and a page that would be its own JSON file."""
        _at_least(self, 1, "top", "token_budget")
        _at_least(self, 0, "seed")
        if self.max_pairs is not None:
            _at_least(self, 1, "max_pairs")
        if not self.out.endswith((".html", ".htm")):
            raise UserError(f"out must end in .html; it is {self.out}")


Level = Literal["last-layer", "gradients"]


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(ComputeConfig):
    """Forecast the accuracy of reward models that are not trained yet."""

    model: str
    """initial language model: a directory or a hub id"""
    train: str | list[str]
    """training data: a file, a saved data set, a hub id, or source:part; or a list of these"""
    out: str
    """folder for forecast.json, the table and the verdict"""
    eval: dict[str, str] = field(default_factory=dict)
    """evaluation data by name, as --eval.NAME DATA"""
    kinds: list[str] = field(default_factory=lambda: ["explicit", "implicit"])
    """kinds of reward model to forecast"""
    beta: float | None = None
    """factor of an implicit reward; by default 0.01, or 1 without a reference"""
    verification_prompt: str | None = None
    """a generative model's question, with {prompt} and {response}; by default the paper's"""
    level: Level = "last-layer"
    """what learns: the last layer alone (one forward pass), or all parameters (a backward pass)"""
    loss: float = 0.3
    """training loss of a pair at which training is expected to stop"""
    sketch: int = 4096
    """numbers that are kept of a gradient; 0 keeps all, for small data"""
    seed: int = 0
    """seed of the sketches and of a new head"""

    def __post_init__(self) -> None:
        """Refuse values that leave nothing to forecast."""
        _at_least(self, 1, "token_budget")
        _at_least(self, 0, "sketch", "seed")
        if not self.eval:
            raise UserError("name at least one evaluation set, as --eval.NAME DATA")
        if not self.kinds:
            raise UserError("kinds must name at least one kind of reward model")
        if self.loss <= 0:
            raise UserError(f"loss must be positive; it is {self.loss}")


@dataclass(frozen=True, kw_only=True)
class ChesConfig(ComputeConfig):
    """Score how far each training pair displaces its own chosen response."""

    model: str
    """initial language model: a directory or a hub id"""
    data: str | list[str]
    """training data: a file, a saved data set, a hub id, or source:part; or a list of these"""
    out: str
    """the file of scores to write"""
