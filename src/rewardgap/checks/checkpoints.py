"""A checkpoint as plain transformers opens it, and its rewards on rows: the base of all checks.

The reward of a classification model is its first output; of a language model it is ln π(y | x).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from rewardgap.configs.checks import CheckModelConfig
from rewardgap.configs.compute import CachedComputeConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.records import Record, Response
from rewardgap.errors import UserError, first_line
from rewardgap.io.progress import progress
from rewardgap.models.devices import choose_device
from rewardgap.models.heads import choose_label
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.loading import load_model
from rewardgap.models.saved import SavedRewardModel
from rewardgap.models.self_check import padding_is
from rewardgap.scoring.scorer import Scorer, open_scorer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Side = Literal["left", "right"]
Rewards = NDArray[np.float64]


@dataclass(frozen=True)
class WrittenResponse:
    """A prompt with a response as text and as token ids, of which the first are the prompt's."""

    text: str
    tokens: tuple[int, ...]
    prompt: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A model that was loaded, with the rows on which it is checked.

    Attributes:
        folder: Where it is.
        settings: What the user said of it.
        kind: The kind of reward model that it is; None if neither user nor folder tell.
        tokenizer: Its tokenizer, as plain transformers loads it.
        model: The model, as plain transformers loads it, in float32.
        missing: Names of weights that are not in the folder and were drawn at random.
        rows: Records, each with at least one chosen and one rejected response.
    """

    folder: Path
    settings: CheckModelConfig
    kind: type[RewardModel] | None
    tokenizer: "PreTrainedTokenizerBase"
    model: PreTrainedModel
    missing: tuple[str, ...]
    rows: tuple[Record, ...]

    @cached_property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """Ids of the records that the template cannot write, each with the reason."""
        refused = []
        for record in self.rows:
            try:
                for response in (record.chosen[0], record.rejected[0]):
                    self.write(record, response)
            except Exception as error:  # a template raises whatever it likes
                refused.append((record.id, first_line(error)))
        return tuple(refused)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """The records that the template can write."""
        refused = {name for name, _ in self.refused}
        return tuple(record for record in self.rows if record.id not in refused)

    @property
    def is_classifier(self) -> bool:
        """Whether a head gives the reward."""
        return type(self.model).__name__.endswith("ForSequenceClassification")

    @cached_property
    def output(self) -> int:
        """The output that is the reward; the first where several are there and none was chosen."""
        config, label = self.model.config, self.settings.label
        return 0 if label is None else choose_label(config, label)

    @property
    def pad(self) -> int | None:
        """The token that the model's configuration takes for padding."""
        token = self.model.config.get_text_config().pad_token_id
        return token if isinstance(token, int) and token >= 0 else None

    def render(self, record: Record, response: Response | None = None) -> str:
        """Return a prompt, opened for a response or with one, as the tokenizer's template does.

        Without a template, texts are joined by line breaks and end in the end-of-sequence token.
        """
        tokenizer, conversation = self.tokenizer, record.prompt + (response or ())
        if tokenizer.chat_template is None:
            end = "\n" if response is None else tokenizer.eos_token or ""
            return "\n".join(message.content for message in conversation) + end
        arguments: dict[str, Any] = {
            **record.template_arguments,
            "add_generation_prompt": response is None,
        }
        messages = [message.as_mapping() for message in conversation]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **arguments))

    def token_text(self, token: int) -> str:
        """Return a token as text, in quotes."""
        return repr(self.tokenizer.decode([token]))

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a rendered text, to which none are added."""
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def write(self, record: Record, response: Response) -> WrittenResponse:
        """Return a record's prompt with a response."""
        text, opened = self.render(record, response), self.render(record)
        return WrittenResponse(text, self.tokenize(text), self.tokenize(opened))

    @cached_property
    def written(self) -> tuple[WrittenResponse, ...]:
        """The first chosen and the first rejected response of every record, in turn."""
        return tuple(
            self.write(record, response)
            for record in self.records
            for response in (record.chosen[0], record.rejected[0])
        )

    @cached_property
    def alone(self) -> Rewards:
        """Rewards of all that is `written`, each sequence computed by itself."""
        return self.rewards(self.written)

    @torch.no_grad()
    def rewards(
        self,
        written: Sequence[WrittenResponse],
        size: int = 1,
        side: Side = "right",
        model: PreTrainedModel | None = None,
    ) -> Rewards:
        """Return rewards as plain transformers computes them, in padded batches of `size`."""
        model, values = model or self.model, []
        label = f"rewards in batches of {size}" if size > 1 else "rewards one by one"
        for start in progress(range(0, len(written), size), label, unit="batches"):
            batch = written[start : start + size]
            tokens, mask = self._padded(batch, side)
            logits = model(input_ids=tokens, attention_mask=mask).logits.float()
            if self.is_classifier:
                values += logits[:, self.output].tolist()
            else:
                values += [
                    _log_prob(row[keep.bool()], response)
                    for row, keep, response in zip(logits, mask, batch, strict=True)
                ]
        return np.array(values, np.float64)

    def _padded(
        self, batch: Sequence[WrittenResponse], side: Side
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids and mask, filled up with the tokenizer's pad token."""
        pad = self.tokenizer.pad_token_id
        filler = pad if pad is not None else self.pad or 0
        longest = max(len(response.tokens) for response in batch)
        tokens = torch.full((len(batch), longest), filler)
        mask = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, response in enumerate(batch):
            count = len(response.tokens)
            place = slice(0, count) if side == "right" else slice(longest - count, longest)
            tokens[row, place], mask[row, place] = torch.tensor(response.tokens), 1
        return tokens.to(self.model.device), mask.to(self.model.device)

    def reward_at_end(self, tokens: Sequence[int]) -> float:
        """Return the reward that a classification model reads at the last of these tokens."""
        with padding_is(self.model, None):
            response = WrittenResponse("", tuple(tokens), ())
            return float(self.rewards([response])[0])

    @cached_property
    def reads_by_pad(self) -> bool:
        """Whether the reward is read at the last token that is no padding, as decoders do."""
        response = self.written[0]
        last = self.reward_at_end(response.tokens)
        with padding_is(self.model, response.tokens[-1]):
            return self.is_classifier and not np.isclose(float(self.rewards([response])[0]), last)

    @cached_property
    def scorer(self) -> Scorer | str:
        """The model as rewardgap opens it, or the reason why it does not."""
        name, reference = self.settings.kind, self.settings.reference
        options = KindConfig(label=self.settings.label)
        compute = CachedComputeConfig(dtype="float32", template=self.settings.template)
        try:
            return open_scorer(self.settings.model, name, reference, options, compute)
        except UserError as error:
            return str(error)

    @cached_property
    def own(self) -> Rewards | None:
        """Rewards of all that is `written` as rewardgap gives them; None if it refuses."""
        firsts = [replace(r, chosen=r.chosen[:1], rejected=r.rejected[:1]) for r in self.records]
        rewards = self.scored(firsts)
        return None if rewards is None else rewards.ravel()

    def scored(self, records: Sequence[Record]) -> Rewards | None:
        """Return rewards as rewardgap gives them, of records with equally many responses.

        Returns:
            (records, responses), chosen ones first; None if it refuses the model or the records.
        """
        if isinstance(self.scorer, str):
            return None
        try:
            rows = self.scorer.score_records(records)
        except UserError:
            return None
        return np.array([(*row.scores_chosen, *row.scores_rejected) for row in rows])

    def in_bfloat16(self) -> PreTrainedModel:
        """Return a copy with all weights in bfloat16."""
        model = copy.deepcopy(self.model)
        nn.Module.to(model, torch.bfloat16)
        return model


def _log_prob(logits: torch.Tensor, response: WrittenResponse) -> float:
    """Return ln π(y | x) from the (N, V) logits of a sequence."""
    start, tokens = len(response.prompt), torch.tensor(response.tokens, device=logits.device)
    logits = logits[start - 1 : -1]
    chosen = logits.gather(-1, tokens[start:, None])[:, 0]
    return float((chosen - logits.logsumexp(-1)).double().sum())


def load_plain(folder: Path, classifier: bool) -> tuple[PreTrainedModel, set[str]]:
    """Load a model as its users do; return also the names of weights that were drawn at random."""
    auto_class: Any = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model, missing = load_model(folder, auto_class, torch.float32)
    nn.Module.to(model, choose_device("auto"))
    return model, missing


def find_kind_of(folder: Path, name: str | None) -> type[RewardModel] | None:
    """Return the kind that the user or the folder names, or None if it is not decided.

    Raises:
        UserError: The kind is unknown, or is not that of the folder.
    """
    try:
        return find_kind(SavedRewardModel.find(folder, name, KindConfig()).kind)
    except UserError:
        if name is not None:
            raise
        return None


def right_pairs(rewards: Rewards) -> int:
    """Return how many pairs are ranked right, of rewards of chosen and rejected in turn."""
    chosen, rejected = rewards.reshape(-1, 2).T
    return int(np.sum(chosen > rejected))


def ranked_right(rewards: Mapping[str, Rewards]) -> str:
    """Return how many pairs each of several ways to read rewards ranks right."""
    count = len(next(iter(rewards.values()))) // 2
    texts = [f"{right_pairs(values)} by {name}" for name, values in rewards.items()]
    return f"of {count} pairs are ranked right: {', '.join(texts)}"


def reordered(first: Rewards, second: Rewards) -> int:
    """Return how many pairs two lists of rewards rank differently."""
    orders = [np.sign(rewards[::2] - rewards[1::2]) for rewards in (first, second)]
    return int(np.sum(orders[0] != orders[1]))
