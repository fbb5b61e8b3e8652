"""Read-outs of the log-probabilities of a response's tokens."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rewardgap.dynamics.equations import token_gradients
from rewardgap.dynamics.projection import GradientProjector
from rewardgap.dynamics.readouts.readout import VocabularyReadout
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.language_model import CHUNK_VALUES
from rewardgap.models.packing import Pack


class TokensReadout(VocabularyReadout):
    """r = β ln π(y | x): the gradient in U is β Σ_k (e_{y_k} − π) h_{x,y<k}ᵀ (eq. 5).

    A probe is the gradient of √β Σ_k ± (z_v − z_v') / √2, with the logits z of two tokens drawn
    from π at every place k but the first: if training changes the logits by δ, the square of what
    it adds to that sum is on average β Σ_k Var δ. At their first place the responses to a prompt
    have the same state, so that what they lose there cancels in every margin.

    Attributes:
        most_places: of a response that are looked at; None for all. Sums are then over places at
            even distances from a random start, each of which stands for as many others.
        seed: of what is drawn.
    """

    drifts = True
    most_places: ClassVar[int | None] = None
    seed = 0

    def positions(self, pack: Pack) -> Tensor | None:
        """All places of responses, or those that stand for them."""
        return torch.cat([some.places for some in self._responses(pack)])

    def scores(self, leaves: ResponseStates) -> Tensor:
        """(L,) sums over each leaf's tokens."""
        log_probs = self.vocabulary.log_probs(leaves.predicting_states, leaves.pack.response_tokens)
        return self.model.beta * leaves.total(log_probs)

    def fluctuations(self, leaves: ResponseStates, probed: Sequence[int]) -> Tensor:
        """Sums over the places of some leaves."""
        responses = self._responses(leaves.pack)
        sums = []
        for some in (responses[leaf] for leaf in probed):
            with torch.no_grad():
                draws = [chunk.draw() for chunk in self._chunks(leaves, some)]
                drawn, signs = map(torch.cat, zip(*draws, strict=True))
            logits = self.vocabulary.logits_of(leaves.hidden[some.places], drawn)
            sums.append(self._scale(some) * (signs * logits).sum())
        return torch.stack(sums)

    def last_layer(
        self,
        leaves: ResponseStates,
        keeper: GradientProjector,
        values: Tensor,
        probes: Mapping[int, Tensor],
    ) -> Tensor:
        """Add the gradient, response by response, so that no softmax of a whole pack is held."""
        scores = values.new_zeros(len(values))
        for leaf, some in enumerate(self._responses(leaves.pack)):
            weight = self.model.beta * some.share
            for chunk in self._chunks(leaves, some):
                keeper.outer(values[leaf], self._residuals(chunk), weight * chunk.states)
                if leaf in probes:
                    keeper.rows(probes[leaf], *self._probe(chunk, self._scale(some)))
                scores[leaf] += self._score(chunk)
        return scores

    def _score(self, chunk: "_Chunk") -> Tensor | float:
        """What the score takes from some places."""
        return self.model.beta * chunk.log_probs.sum()

    def _residuals(self, chunk: "_Chunk") -> Tensor:
        """(T, V) gradients of ln π(token) by the products U h."""
        found = token_gradients(chunk.tokens, chunk.probabilities, chunk.states)
        return self.vocabulary.by_product(found.residuals, chunk.logits)

    def _probe(self, chunk: "_Chunk", scale: float) -> tuple[Tensor, Tensor]:
        """The rows of the probe's gradient, (2 T,), and what is added to them, (2 T, D)."""
        drawn, signs = chunk.draw()
        logits = chunk.logits.gather(1, drawn)
        weights = self.vocabulary.by_product(scale * signs, logits)
        values = weights[:, :, None] * chunk.states.float()[:, None]
        return drawn.flatten(), values.flatten(0, 1)

    def _scale(self, some: "_Places") -> float:
        """What a probe's sum of logits is multiplied with."""
        return float((some.share * self.model.beta / 2) ** 0.5)

    def _responses(self, pack: Pack) -> list["_Places"]:
        """The places of every response that are looked at."""
        lengths = pack.response_lengths.tolist()
        both = zip(
            pack.predicting_positions.split(lengths),
            pack.response_tokens.split(lengths),
            strict=True,
        )
        return [_Places.of(*each, self.most_places, self.seed) for each in both]

    def _chunks(self, leaves: ResponseStates, some: "_Places") -> Iterator["_Chunk"]:
        """As many places at once as their logits can be held."""
        size = max(1, CHUNK_VALUES // len(self.head))
        parts = zip(some.places.split(size), some.tokens.split(size), strict=True)
        for number, (places, tokens) in enumerate(parts):
            states = leaves.hidden[places]
            logits = self.vocabulary.logits(states)
            is_first = some.begins and number == 0
            yield _Chunk(states, tokens, logits, logits.softmax(-1), is_first, some.random)


@dataclass(frozen=True)
class _Places:
    """Places of a response.

    Attributes:
        places: (T,) in the row, that predict the tokens.
        tokens: (T,) that follow.
        share: for how many places of the response each stands.
        begins: whether the response's first place is the first of these.
        random: of the response.
    """

    places: Tensor
    tokens: Tensor
    share: float
    begins: bool
    random: np.random.Generator

    @classmethod
    def of(cls, places: Tensor, tokens: Tensor, most: int | None, seed: int) -> "_Places":
        """All places of a response, or `most` at even distances."""
        # What is drawn depends on the response alone, not on its neighbours or the device.
        random = np.random.default_rng([seed, zlib.crc32(repr(tokens.tolist()).encode())])
        if most is None or len(tokens) <= most:
            return cls(places, tokens, 1.0, True, random)
        share = len(tokens) / most
        numbers = ((np.arange(most) + random.random()) * share).astype(int)
        picked = torch.from_numpy(numbers).to(tokens.device)
        return cls(places[picked], tokens[picked], share, bool(numbers[0] == 0), random)


@dataclass(frozen=True)
class _Chunk:
    """Some places of a response.

    Attributes:
        states: (T, D) that predict the tokens.
        tokens: (T,) that follow.
        logits: (T, V) there.
        probabilities: (T, V) their softmax.
        is_first: whether the response's first place is the first of these.
        random: of the response.
    """

    states: Tensor
    tokens: Tensor
    logits: Tensor
    probabilities: Tensor
    is_first: bool
    random: np.random.Generator

    def draw(self) -> tuple[Tensor, Tensor]:
        """(T, 2) tokens drawn from π at every place, and for their logits ±1 and its opposite.

        The signs at a response's first place are 0.
        """
        places, vocabulary = self.logits.shape
        uniform = torch.from_numpy(self.random.random((places, 2), dtype=np.float32))
        drawn = torch.searchsorted(self.probabilities.cumsum(-1), uniform.to(self.logits.device))
        signs = torch.from_numpy(self.random.choice([-1.0, 1.0], size=(places, 1)))
        signs[: self.is_first] = 0
        opposed = torch.cat([signs, -signs], dim=1).to(self.logits)
        return drawn.clamp(max=vocabulary - 1), opposed

    @property
    def log_probs(self) -> Tensor:
        """(T,) ln π of the tokens."""
        chosen = self.logits.gather(1, self.tokens[:, None])[:, 0]
        return chosen - self.logits.logsumexp(-1)


class RatioReadout(TokensReadout):
    """r = β [ln π(y | x) − ln π_ref(y | x)]: 0 before training, with the gradient of β ln π.

    At more places it was measured to forecast no better (docs/forecast.md).
    """

    most_places = 64

    def scores(self, leaves: ResponseStates) -> Tensor:
        """(L,) zeros, with their gradient."""
        scores = super().scores(leaves)
        return scores - scores.detach()

    def _score(self, chunk: "_Chunk") -> float:
        """Nothing: the reference is subtracted."""
        return 0.0
