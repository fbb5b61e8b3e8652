"""Likelihood displacement: which training pairs make the chosen response itself less likely.

Training an implicit reward model raises ln π(y⁺) − ln π(y⁻), which leaves it open whether ln π(y⁺)
rises. The centred hidden embedding similarity (CHES) of Razin et al., "Unintentional Unalignment:
Likelihood Displacement in Direct Preference Optimization" (2025), tells from the initial model
alone for which pairs it tends to fall: those whose two responses have similar hidden states.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardgap.configs.forecasting import ChesConfig
from rewardgap.data.bag_of_words import response_text
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.dropped import encode_usable, new_list, usable_records, write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import load as load_records
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.evaluation.text import counted
from rewardgap.io.files import refuse_existing, write_text
from rewardgap.io.notebook import NotebookResult
from rewardgap.models.devices import choose_device, choose_dtype
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import Pack, map_trees


@dataclass(frozen=True)
class Ches:
    """Centred hidden embedding similarity of one pair, s± = Σ_k h_{x, y±<k}, by its record's id.

    `chosen` and `rejected` number the record's responses, from 0. The higher the score
    ⟨s⁺, s⁻⟩ − ‖s⁺‖², the more the chosen response is displaced; the normalised one has means in
    place of sums, which does not favour pairs whose rejected response is the longer one.
    """

    id: str
    chosen: int
    rejected: int
    score: float
    length_normalised: float
    data_row: int | None = None


@dataclass(frozen=True, repr=False)
class ChesResult(NotebookResult):
    """The scores of all pairs, in order, and the records that they are of by their ids."""

    scores: tuple[Ches, ...]
    records: Mapping[str, Record]

    @property
    def worst(self) -> list[Ches]:
        """The scores of the most displaced pairs first, whatever their lengths."""
        return sorted(self.scores, key=lambda score: -score.length_normalised)

    def texts(self, score: Ches) -> tuple[str, str]:
        """Return the chosen and the rejected response of a pair."""
        record = self.records[score.id]
        pair = record.chosen[score.chosen], record.rejected[score.rejected]
        chosen, rejected = map(response_text, pair)
        return chosen, rejected

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each pair, with its texts."""
        texts = map(self.texts, self.scores)
        return [
            {**asdict(score), "chosen_text": chosen, "rejected_text": rejected}
            for score, (chosen, rejected) in zip(self.scores, texts, strict=True)
        ]

    def __repr__(self) -> str:
        mean = sum(score.length_normalised for score in self.scores) / len(self.scores)
        return f"ChesResult({counted(len(self.scores), 'pair')}, normalised score {mean:.3g})"


def similarity(chosen: Tensor, rejected: Tensor) -> tuple[float, float]:
    """Return the CHES of two responses to one prompt, and its length-normalised variant.

    Args:
        chosen: (T⁺, D) hidden states h_{x, y⁺<k} that predict the chosen response's tokens.
        rejected: (T⁻, D) those of the rejected response.

    Returns:
        (⟨s⁺, s⁻⟩ − ‖s⁺‖², ⟨s⁺, s⁻⟩ / (T⁺ T⁻) − ‖s⁺‖² / T⁺²), computed in float64.
    """
    plus, minus = chosen.double(), rejected.double()
    pairs = (plus.sum(0), minus.sum(0)), (plus.mean(0), minus.mean(0))
    score, normalised = (float(s @ t - s @ s) for s, t in pairs)
    return score, normalised


@by_keywords(ChesConfig)
def ches(config: ChesConfig) -> ChesResult:
    """Score every pair of a data set and write the scores, one JSON object a line.

    Raises:
        UserError: If the data or the model cannot be read, or the file cannot be written.
    """
    refuse_existing(Path(config.out), config.overwrite)
    dropped = new_list(config.bad_records)
    records = load_records(config.data, config.identical_pairs, dropped)
    folder = locate_model(config.model)
    template = ChatTemplate.load(folder, config.template)
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    model = LanguageModel.load(folder, template, dtype=dtype).to(device)
    trees = encode_usable(template.encode, records, config.max_length, dropped)
    by_id = {record.id: record for record in usable_records(records, trees)}
    model.check_readable(trees)

    def of_pack(batch: Pack, trees: Sequence[Tree]) -> list[list[Ches]]:
        batch = model.prepare(batch)
        with torch.no_grad():
            states = ResponseStates(model.hidden_states(batch), batch)
        responses = iter(states.split(states.predicting_states))
        by_tree = [[next(responses) for _ in tree.leaves] for tree in trees]
        return [
            [
                Ches(
                    *(tree.record, i, j - tree.chosen, *similarity(states[i], states[j])),
                    by_id[tree.record].row,
                )
                for i, j in tree.pairs
            ]
            for tree, states in zip(trees, by_tree, strict=True)
        ]

    by_record = map_trees(trees, of_pack, config.token_budget, device, "CHES scores")
    scores = tuple(chain.from_iterable(by_record))
    write_dropped(Path(f"{config.out}.dropped.jsonl"), {str(config.data): dropped})
    write_text(Path(config.out), "".join(json.dumps(asdict(score)) + "\n" for score in scores))
    return ChesResult(scores, by_id)
