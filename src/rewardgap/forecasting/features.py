"""One forward pass over the data, which gives every response a vector for each kind: its feature.

Inner products of features are those of the gradients in the last layer. Kinds that write records
alike share the pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardgap.data.trees import Tree
from rewardgap.dynamics.last_layer import linear_features, project_features, sample_responses
from rewardgap.dynamics.projection import GradientProjector, RandomProjection
from rewardgap.io.progress import progress
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.packing import Pack, micro_batches, pack

# Responses whose features are multiplied with those of the training data together.
AT_ONCE = 128
# The log-partition correction is a mean over a data set, for which this many responses are enough.
MOST_TEST_VECTORS = 256
# The time that kernels take grows with the projection; products are right to 1 % at this size.
LARGEST_PROJECTION = 2**14
# Of a longer response this many positions are read where only its gradient is asked for. More were
# measured to forecast no better (docs/forecast.md).
MOST_POSITIONS = 64


@dataclass(frozen=True)
class Features:
    """What is read of R responses.

    Attributes:
        values: (R, W) float32 gradients of the scores, or projections of them.
        scores: (R,) the scores before training.
        test_vectors: (M, W) gradients of random sums of logits for M of the responses, or
            projections of them: with w the weights, ⟨w, ψ⟩² is on average twice what the
            log-partition takes from the score. (0, W) where the score is linear in the last layer.
    """

    values: Tensor
    scores: Tensor
    test_vectors: Tensor

    @classmethod
    def join(cls, parts: Sequence["Features"]) -> "Features":
        """Return the features of several packs, one after the other, in main memory."""
        columns = zip(*((p.values, p.scores, p.test_vectors) for p in parts), strict=True)
        return cls(*(torch.cat([tensor.cpu() for tensor in column]) for column in columns))


def tested_responses(responses: int) -> range:
    """Return at most `MOST_TEST_VECTORS` of the responses of a data set, evenly spread."""
    return range(0, responses, -(-responses // MOST_TEST_VECTORS))


@dataclass(frozen=True)
class FeatureReader:
    """Reads the features of kinds that write records alike, on one model before training.

    The kinds that read log-probabilities are `projected`, by the projector if there are any; the
    gradients of others are kept whole. The token budget None is for what suits the device.
    """

    models: Mapping[str, TrainedRewardModel]
    projections: Mapping[str, RandomProjection]
    projected: Sequence[str]
    projector: GradientProjector | None
    token_budget: int | None

    @classmethod
    def of(
        cls,
        models: Mapping[str, TrainedRewardModel],
        training: Sequence[Tree],
        memory: int,
        seed: int,
        token_budget: int | None,
    ) -> "FeatureReader":
        """Choose the projection by which the training records' features fit into bytes of memory.

        Raises:
            UserError: If the memory is too small.
        """
        example = pack(training[:1])
        terms = {kind: model.score_terms(example) for kind, model in models.items()}
        projected = [kind for kind in models if terms[kind].targets is not None]
        width = next(iter(models.values())).model.config.get_text_config().hidden_size
        projections = {
            kind: RandomProjection.whole(width * len(terms[kind].logits or (1,))) for kind in models
        }
        if not projected:
            return cls(models, projections, projected, None, token_budget)
        pairs = sum(tree.pair_count for tree in training)
        responses = sum(tree.chosen + tree.rejected for tree in training)
        # Some are read while the last ones are there, which are joined from parts: three copies.
        at_once = len(tested_responses(responses)) + 3 * AT_ONCE * 2
        rows = sum(pairs * (1 + models[kind].pointwise) + at_once for kind in projected)
        weight = models[projected[0]].vocabulary.layer.weight
        projection = RandomProjection.fitting(
            weight.numel(), memory, rows * torch.float32.itemsize, LARGEST_PROJECTION, seed
        )
        projections |= dict.fromkeys(projected, projection)
        projector = projection.projector(weight.shape, weight.device)
        return cls(models, projections, projected, projector, token_budget)

    @property
    def name(self) -> str:
        """What is computed; a part of the name of cached kernels."""
        return repr((sorted(self.projections.items()), MOST_TEST_VECTORS, MOST_POSITIONS))

    @property
    def model(self) -> TrainedRewardModel:
        """One of the reward models, to write records and to read packs by."""
        return next(iter(self.models.values()))

    def batches(self, trees: Sequence[Tree]) -> Iterator[tuple[list[int], dict[str, Features]]]:
        """Yield the indices of some responses and every kind's features, until all are read.

        Few of them fit into a forward pass, and kernels with many cost little more than with few.
        """
        indices: list[int] = []
        parts: list[dict[str, Features]] = []

        def joined() -> tuple[list[int], dict[str, Features]]:
            return indices, {k: Features.join([part[k] for part in parts]) for k in self.models}

        for of_pack, features in self._packs(trees):
            if indices and len(indices) + len(of_pack) > AT_ONCE:
                yield joined()
                indices, parts = [], []
            indices += of_pack
            parts.append(features)
        yield joined()

    def _packs(self, trees: Sequence[Tree]) -> Iterator[tuple[list[int], dict[str, Features]]]:
        """Yield the same pack by pack, of at most `AT_ONCE` responses but at least one tree."""
        ends = torch.tensor([len(tree.leaves) for tree in trees]).cumsum(0).tolist()
        tested = set(tested_responses(ends[-1]))
        groups: list[list[int]] = []
        for batch in micro_batches(trees, self.token_budget, self.model.device):
            room = 0
            for i in batch:
                if i == batch[0] or len(trees[i].leaves) > room:
                    groups.append([])
                    room = AT_ONCE
                groups[-1].append(i)
                room -= len(trees[i].leaves)
        for group in progress(groups, "reading features"):
            indices = [n for i in group for n in range(ends[i] - len(trees[i].leaves), ends[i])]
            in_pack = [place for place, index in enumerate(indices) if index in tested]
            batch_pack = pack([trees[i] for i in group]).to(self.model.device)
            yield indices, self.read(batch_pack, in_pack)

    @torch.no_grad()
    def read(self, batch: Pack, tested: Sequence[int]) -> dict[str, Features]:
        """Return every kind's features of the responses of a pack, from one forward pass.

        The `tested` responses get a test vector.
        """
        batch = self.model.language_model.prepare(batch)
        lengths = batch.response_lengths.tolist()
        terms = {kind: model.score_terms(batch) for kind, model in self.models.items()}
        sampled = {
            # A score is read in the same pass and needs all positions, unless it is 0.
            kind: sample_responses(
                terms[kind], lengths, MOST_POSITIONS if self.models[kind].needs_reference else None
            )
            for kind in self.projected
        }
        positions = [terms[kind].positions for kind in self.models if kind not in sampled]
        positions += [part.terms.positions for parts in sampled.values() for part in parts]
        states = self.model.read(batch, torch.cat(positions).unique())
        features = {}
        for kind, model in self.models.items():
            if kind in sampled:
                size, device = self.projections[kind].size, states.hidden.device
                values = torch.zeros(len(lengths), size, device=device)
                vectors = torch.zeros(len(tested), size, device=device)
                by_response = dict(zip(tested, vectors, strict=True))
                assert self.projector is not None
                scores = project_features(
                    model, sampled[kind], states, self.projector, values, by_response
                )
                if model.needs_reference:  # before training a model is its own reference
                    scores = torch.zeros_like(scores)
                features[kind] = Features(values, scores, vectors)
            else:
                values = linear_features(model, terms[kind], states)
                features[kind] = Features(values, model.scores(states), values[:0])
        return features
