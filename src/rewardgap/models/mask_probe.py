"""What a model's masks mean on sequences far longer than a check can compute.

The attention of trees ignores the masks that transformers makes and follows the arguments of its
layers. Here both are read, and compared up to a distance of a hundred thousand tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from rewardgap.models.attention import tree_attention
from rewardgap.models.reading import body_of

PROBE = "rewardgap_probe"
REACH = 100_000


def misread_mask(model: PreTrainedModel, tokens: torch.Tensor) -> str | None:
    """Return how a layer's mask differs from what the attention of trees makes of it, if it does.

    Args:
        model: Its attention is set to the probe, and stays so.
        tokens: (T,) ids of a short sequence, which is read once.
    """
    probe = _Probe()
    AttentionInterface.register(PROBE, probe.attend)
    AttentionMaskInterface.register(PROBE, probe.mask)
    model.set_attn_implementation(PROBE)
    body_of(model)(input_ids=tokens[None], use_cache=False)
    return probe.fault if probe.calls else "its attention cannot be chosen"


class _Probe:
    """Attention and masks of every layer that note where they disagree."""

    def __init__(self) -> None:
        self.masks: list[tuple[torch.Tensor, int]] = []
        self.calls = 0
        self.fault: str | None = None

    def mask(
        self, *_: Any, mask_function: Callable[..., torch.Tensor], q_length: int, **__: Any
    ) -> torch.Tensor:
        """Return an empty mask that is known by its identity."""
        windows = {_window(mask_function, REACH + shift) for shift in (0, 37)}
        if len(windows) > 1 or None in windows:
            self.fault = "its layers do not see all tokens before, or those within a window"
        mask = torch.zeros(1, 1, q_length, q_length)
        self.masks.append((mask, windows.pop() or 0))
        return mask

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        sliding_window: int | None = None,
        **arguments: Any,
    ) -> tuple[torch.Tensor, None]:
        """Compute attention over one sequence as trees do."""
        self.calls += 1
        window = min(sliding_window or REACH, REACH)
        meant = REACH
        if attention_mask is not None:
            known = (seen for mask, seen in self.masks if mask is attention_mask)
            meant = min(next(known, 0), REACH)
        if window != meant:
            self.fault = self.fault or "its attention has a mask that its layers do not tell"
        return tree_attention(
            module, query, key, value, None, sliding_window=sliding_window, **arguments
        )


def _window(mask_function: Callable[..., torch.Tensor], position: int) -> int | None:
    """Return how many tokens a position sees, itself included; None if not just the last ones."""
    zero, query = torch.tensor(0), torch.tensor(position)
    keys = torch.arange(position + 100)
    visible = mask_function(zero, zero, query, keys).broadcast_to(keys.shape)
    count = int(visible.sum())
    last = visible[position + 1 - count : position + 1]
    return REACH if count > position else count if count and bool(last.all()) else None
