"""The reference of an implicit reward model: there, of the same tokens, and another model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rewardgap.checks.checkpoints import Checkpoint
from rewardgap.checks.findings import CheckFinding
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError
from rewardgap.evaluation.text import share
from rewardgap.models.hub import locate_model
from rewardgap.scoring.scorer import Scorer


def find_reference(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield what is wrong with the reference, where the kind needs one or the user names one."""
    named = checkpoint.settings.reference
    if named is not None:
        try:
            folder = locate_model(named)
            template = ChatTemplate.load(folder)
        except UserError as error:
            yield CheckFinding(
                "error",
                "reference",
                f"the reference cannot be read: {error}",
                "no rewards: they are relative to it",
                "name the model that training started from",
            )
            return
        yield from _compare(checkpoint, folder, template)
    yield from _equal_to_policy(checkpoint)


def _compare(
    checkpoint: Checkpoint, folder: Path, template: ChatTemplate
) -> Iterator[CheckFinding]:
    """Yield differences of tokenizer and template."""
    texts = [response.text for response in checkpoint.written]
    theirs = template.tokenize(texts)
    odd = sum(a != b.tokens for a, b in zip(theirs, checkpoint.written, strict=True))
    if odd:
        yield CheckFinding(
            "error",
            "reference tokenizer",
            f"the reference {folder} has another tokenizer",
            f"{share(odd, len(texts), 'text')} have other tokens: log-probabilities of different "
            "events would be subtracted",
            "name the model that training started from",
        )
    own = checkpoint.tokenizer.chat_template
    if not template.added_tokens and own is not None:
        rendered = [
            template.render(r.prompt + r.chosen[0], arguments=r.template_arguments)
            for r in checkpoint.records
        ]
        odd = sum(a != b for a, b in zip(rendered, texts[::2], strict=True))
        if odd:
            yield CheckFinding(
                "warning",
                "reference template",
                f"the reference {folder} has another chat template",
                f"{share(odd, len(rendered), 'text')} are written differently: the reference is "
                "asked for texts that it was not trained on",
                "name the model that training started from, or see which template training used",
            )


def _equal_to_policy(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield a reference that is the model itself, so that all rewards are 0."""
    scorer = checkpoint.scorer
    if not isinstance(scorer, Scorer) or scorer.reference is None:
        return
    rewards = checkpoint.own  # None: other tokens, a finding of its own
    if rewards is not None and np.abs(rewards).max() < 1e-7:
        yield CheckFinding(
            "error",
            "reference equals model",
            "the reference is the reward model itself: all implicit rewards are 0",
            "chosen and rejected response are tied in every pair",
            "name the model that training started from",
        )
