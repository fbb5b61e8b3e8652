"""What a kind of reward model is: the interface that everything else works with."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.encoding import ChatEncoding
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.models.kinds.gradients import Pull, Terms
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.losses import bradley_terry
from rewardgap.models.packing import Pack, pack


@dataclass(frozen=True)
class ResponseStates:
    """The (N, D) hidden states of a pack, by response and by response token."""

    hidden: torch.Tensor
    pack: Pack

    @cached_property
    def states(self) -> torch.Tensor:
        """(R, D) states h_{x,y≤k}, after each response token was read."""
        return self.hidden[self.pack.response_positions]

    @cached_property
    def predicting_states(self) -> torch.Tensor:
        """(R, D) states h_{x,y<k}, which predict each response token."""
        return self.hidden[self.pack.predicting_positions]

    @property
    def last(self) -> torch.Tensor:
        """(L, D) states h_{x,y} of the responses' last tokens."""
        return self.hidden[self.pack.last_positions]

    @property
    def reference(self) -> torch.Tensor:
        """(R,) the reference model's log-probability of each response token."""
        if self.pack.reference is None:
            raise ValueError("the pack was made without reference log-probabilities")
        return self.pack.reference

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Split (R,) values of response tokens into one tensor per response."""
        return list(values.split(self.pack.response_lengths.tolist()))

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum values of response tokens by response, (R,) to (L,), accumulated in float64."""
        lengths = self.pack.response_lengths
        # `unsafe`, for checks would have the host wait for a GPU.
        totals = torch.segment_reduce(values.double(), "sum", lengths=lengths, unsafe=True)
        return totals.to(values.dtype)


class Outcome(NamedTuple):
    """The (L,) rewards and (P,) losses of a forward pass; of some kinds also (L,) ln π(y | x).

    A tuple, in which PyTorch looks for tensors where it wraps or shards a model.
    """

    rewards: torch.Tensor
    losses: torch.Tensor
    log_probs: torch.Tensor | None


class RewardModel(nn.Module, ABC):
    """How records are written as trees, which states become rewards, and which loss is minimised.

    Kinds on a language model derive from `TrainedRewardModel`.
    """

    encoding: ClassVar[type[ChatEncoding]] = ChatEncoding
    """How records are written as trees; kinds of one encoding and equal options share trees."""
    needs_reference: ClassVar[bool] = False
    """Whether rewards compare with the initial model's log-probabilities."""
    generates: ClassVar[bool] = False
    """Whether the trained model also writes responses, as a language model does."""
    reads_as_written: ClassVar[bool] = False
    """Whether a model trained elsewhere reads texts without an end that its template omits."""
    sums_tokens: ClassVar[bool] = False
    """Whether a reward is the sum of what its tokens add; else beginnings are rated by analogy."""
    new_head: ClassVar[bool] = False
    """Whether training begins with a random head, whose rewards say nothing."""
    reads_end_alone: ClassVar[bool] = False
    """Whether the reward is read at the end of a sequence, wherever its response begins."""
    default_beta: ClassVar[float] = 1.0
    """β where the user gives none."""
    language_model: LanguageModel | None = None
    """The language model that is trained; None where nothing is."""
    computes_on: torch.device | None = None
    """The device to which weights are brought to compute; None: they stay where they are."""

    def __init__(self, template: ChatTemplate, options: KindConfig):
        super().__init__()
        self.template = template
        self.options = options
        self.encoder = self.encoding(template, options)
        self.beta = float(self.default_beta if options.beta is None else options.beta)

    @classmethod
    @abstractmethod
    def load(
        cls, folder: Path, template: ChatTemplate, options: KindConfig, dtype: torch.dtype
    ) -> Self:
        """Return a reward model of this kind that was saved, by us or by any other tool."""

    @classmethod
    def initialise(
        cls,
        folder: Path,
        template: ChatTemplate,
        options: KindConfig,
        dtype: torch.dtype,
        seed: int = 0,
    ) -> Self:
        """Return a reward model to be trained from the causal language model in `folder`.

        Raises:
            UserError: The folder holds no language model that the kind can start from.
        """
        return cls.load(folder, template, options, dtype)

    @classmethod
    def on_meta(cls, folder: Path, template: ChatTemplate, options: KindConfig) -> Self:
        """Return the model that `initialise` gives, with shapes and no weights."""
        return cls.initialise(folder, template, options, torch.float32)

    @classmethod
    def recognises(cls, architectures: Sequence[str]) -> bool:
        """Return whether a model of these classes, saved by another tool, must be of this kind."""
        return False

    @classmethod
    def refuse_options(cls, options: KindConfig) -> None:
        """Refuse settings of the Bradley–Terry loss where the kind has another loss.

        Raises:
            UserError: Names the setting.
        """
        for key in ("margin_column", "label_smoothing"):
            if getattr(options, key) and cls.losses is not RewardModel.losses:
                raise UserError(
                    f"{key} is of the Bradley–Terry loss (eq. 3), and the kind {cls.__name__} has "
                    "another one: leave it out"
                )

    def read_as_transformers(self) -> None:
        """Compute rewards as plain transformers does, of a model that was trained elsewhere."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write model, tokenizer and chat template for plain transformers."""

    def encode(self, records: Sequence[Record], max_length: int | None = None) -> list[Tree]:
        """Return records as the token trees that are scored."""
        return self.encoder.encode(records, max_length)

    def encode_for_training(
        self, records: Sequence[Record], max_length: int | None = None
    ) -> list[Tree]:
        """Return records as the token trees that the loss reads."""
        return self.encoder.trees_for_training(records, max_length)

    @abstractmethod
    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Raise a UserError for a tree that is too long or has tokens unknown to the model."""

    @abstractmethod
    def read(self, pack: Pack, positions: torch.Tensor | None = None) -> ResponseStates:
        """Run one forward pass; states are right at `positions` of the row, or at all (None)."""

    def positions(self, pack: Pack) -> torch.Tensor | None:
        """Return the different positions whose states rewards and losses read; None for all."""
        return None

    def forward(self, pack: Pack) -> Outcome:
        """Return rewards of all responses and losses of all pairs of a pack."""
        states = self.read(pack, self.positions(pack))
        rewards = self.rewards(states)
        return Outcome(rewards, self.losses(states, rewards), self.log_probs(states, rewards))

    def score(
        self, pack: Pack, prefixes: bool = False
    ) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Return (L,) rewards of all branches and, if asked for, `prefixes`, by one pass."""
        states = self.read(pack, None if prefixes else self.positions(pack))
        return self.rewards(states), self.prefixes(states) if prefixes else None

    @abstractmethod
    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) float32 rewards of all branches; only those that are responses count."""

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses of all pairs; Bradley–Terry (eq. 3) unless a kind says otherwise."""
        pack = states.pack
        chosen, rejected = rewards[pack.chosen], rewards[pack.rejected]
        return bradley_terry(chosen, rejected, pack.margins, self.options.label_smoothing or 0.0)

    def log_probs(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor | None:
        """Return (L,) ln π(y | x) of all branches, for kinds whose (L,) rewards give them."""
        return None

    def prefixes(self, states: ResponseStates) -> list[torch.Tensor] | None:
        """Return for each response a (T,) tensor: the rewards of y≤k for k = 1 … T.

        The last one is the reward of the response; differences of neighbours are the rewards of
        the steps. None, if one forward pass does not give them.
        """
        return None

    def prefix_rewards(self, tree: Tree, reference: np.ndarray | None) -> list[torch.Tensor]:
        """Return `prefixes` of the responses of a record, in as many passes as it takes.

        `reference` are the record's log-probabilities, where `needs_reference`.
        """
        references = None if reference is None else [reference]
        rewards = self.prefixes(self.read(pack([tree], references).to(self.device)))
        if rewards is None:
            raise NotImplementedError(f"{type(self).__name__} needs `prefixes` or `prefix_rewards`")
        return rewards

    def steps(self, states: ResponseStates) -> torch.Tensor:
        """Return (R,) rewards of the response tokens one by one, which sum to the rewards.

        Raises:
            UserError: Rewards of this kind are no sums over tokens.
        """
        raise UserError(
            f"a reward model of the class {type(self).__name__} gives no reward to single tokens, "
            "as implicit kinds do"
        )

    @property
    def adapted(self) -> "TrainedRewardModel | None":
        """The model itself if its language model is the initial one with an adapter."""
        if isinstance(self, TrainedRewardModel) and self.language_model.adapter is not None:
            return self
        return None

    @property
    def device(self) -> torch.device:
        """The device on which the model computes."""
        return self.computes_on or next(self.parameters(), torch.empty(0)).device

    equation: ClassVar[str | None] = None
    """Which equation says how a step on a pair moves rewards; None: they have no gradient."""
    coefficient: ClassVar[str] = ""
    """The coefficient of ⟨h̄, h⟩ in that equation."""
    pointwise: ClassVar[bool] = False
    """Whether the loss judges each response by itself (eq. 7) instead of a pair's two (eq. 3)."""

    def gradient_terms(self, pack: Pack) -> Terms:
        """Return what rewards read from the last layer: the rewards, or what they depend on."""
        raise NotImplementedError

    def reward_slopes(self, rewards: torch.Tensor) -> torch.Tensor:
        """Return (L,) derivatives of rewards by the values of `gradient_terms`; 1 by default."""
        return torch.ones_like(rewards)

    def loss_terms(self, pack: Pack) -> Terms:
        """Return what the loss reads of the responses that `pulls` names."""
        return self.gradient_terms(pack)

    def pulls(self, pack: Pack) -> tuple[Pull, ...]:
        """Return how a descent step on a pair's loss moves the values of `loss_terms`."""
        return (Pull("chosen", pack.chosen, 1.0), Pull("rejected", pack.rejected, -1.0))

    def score_terms(self, pack: Pack) -> Terms:
        """Return what is forecast: the rewards, or scores that rank responses as they do."""
        return self.gradient_terms(pack)

    def scores(self, states: ResponseStates) -> torch.Tensor:
        """Return the (L,) values of `score_terms` before training, unless log-probabilities."""
        return self.rewards(states)


class TrainedRewardModel(RewardModel):
    """A kind whose rewards are read from the hidden states of a language model.

    Its transformers model is registered as `model`, so that parameters are named as in saved files.
    """

    auto_class: ClassVar[Any] = AutoModelForCausalLM
    """The transformers class that a saved model of the kind loads as."""
    language_model: LanguageModel  # pyrefly: ignore[bad-override-mutable-attribute]

    def __init__(self, language_model: LanguageModel, template: ChatTemplate, options: KindConfig):
        super().__init__(template, options)
        self.language_model = language_model
        self.model = language_model.model
        self.vocabulary = language_model.vocabulary

    @classmethod
    def initialise(
        cls,
        folder: Path,
        template: ChatTemplate,
        options: KindConfig,
        dtype: torch.dtype,
        seed: int = 0,
    ) -> Self:
        """Return a reward model to be trained from the causal language model in `folder`."""
        language_model = LanguageModel.load(folder, template, AutoModelForCausalLM, dtype)
        return cls(cls.adapt(language_model, seed), template, options)

    @classmethod
    def on_meta(cls, folder: Path, template: ChatTemplate, options: KindConfig) -> Self:
        """Return the model that `initialise` gives, with shapes and no weights."""
        with torch.device("meta"):
            return cls(cls.adapt(LanguageModel.on_meta(folder), seed=0), template, options)

    @classmethod
    def adapt(cls, language_model: LanguageModel, seed: int) -> LanguageModel:
        """Return the language model as this kind trains it; by default unchanged."""
        return language_model

    @classmethod
    def load(
        cls, folder: Path, template: ChatTemplate, options: KindConfig, dtype: torch.dtype
    ) -> Self:
        """Return a reward model that was saved as `auto_class`, by us or by any other tool."""
        return cls(LanguageModel.load(folder, template, cls.auto_class, dtype), template, options)

    def train(self, mode: bool = True) -> Self:
        """Prepare for training or for evaluation; in both, rewards are a function of the text."""
        super().train(mode)
        if mode:
            self.language_model.train()
        return self

    def save(self, folder: Path) -> None:
        """Write model, tokenizer and chat template for plain transformers."""
        self.language_model.save(folder, self.template)

    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Refuse trees that are too long for the model, or of tokens it does not have."""
        self.language_model.check_readable(trees)

    def base_log_probs(self, pack: Pack) -> torch.Tensor:
        """Return (R,) log-probabilities of response tokens, with any adapter switched off."""
        return self.language_model.base_log_probs(pack)

    def read(self, pack: Pack, positions: torch.Tensor | None = None) -> ResponseStates:
        """Run one forward pass, which ends early at positions that are not read."""
        prepared = self.language_model.prepare(pack)
        read = positions if prepared is pack else None
        return ResponseStates(self.language_model.hidden_states(prepared, read), prepared)
