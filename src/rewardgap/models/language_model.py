"""The language model under every reward model: loading, hidden states of packs, log-probabilities.

The (tokens x vocabulary) logits are never held: log-probabilities are computed in chunks of
positions, and a chunk's logits are computed again for its gradient.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError, first_line
from rewardgap.models.attention import TREE_ATTENTION
from rewardgap.models.packing import Pack

# Logits of one chunk: 2**24 float32 values are 64 MiB.
CHUNK_VALUES = 2**24


def load_model(
    folder: Path,
    template: ChatTemplate,
    auto_class: Any = AutoModelForCausalLM,
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """Load a model from a directory, ready for packed trees.

    Embeddings are resized where the template added tokens; the new rows are drawn from a fixed
    seed, so that a model and its reference stay the same model. Dropout is switched off: a reward
    is a function of its text. Weights are read from safetensors alone, never from a pickle.

    Raises:
        UserError: weights that are missing or cannot be read, or an architecture without
            exchangeable attention.
    """
    try:
        with quiet():
            model, loading = auto_class.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation=TREE_ATTENTION,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot load a model from {folder}: {first_line(error)}") from error
    model = cast(PreTrainedModel, model)
    if not getattr(model, "_supports_attention_backend", False):
        raise UserError(
            f"{folder}: {type(model).__name__} does not let its attention be chosen, which "
            "trees need; use a decoder architecture such as Llama, Qwen2, Gemma or GPT-NeoX"
        )
    if loading["missing_keys"]:
        raise UserError(
            f"{folder} has no weights {min(loading['missing_keys'])} of a {type(model).__name__}: "
            "was it saved as a model of another kind?"
        )
    if template.added_tokens:
        fit_embeddings(model, len(template.tokenizer))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def fit_embeddings(model: PreTrainedModel, tokens: int) -> None:
    """Give `model` at least `tokens` embedding rows, new ones from a fixed seed."""
    if _rows(model) < tokens:
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(0)
            model.resize_token_embeddings(tokens)


def untie(model: PreTrainedModel) -> None:
    """Give an output embedding that shares the input embedding's weights weights of its own."""
    head = model.get_output_embeddings()
    if head is not None and head.weight is cast(nn.Embedding, model.get_input_embeddings()).weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False


class quiet:
    """Silence transformers' bars and remarks: what differs on purpose is no news."""

    def __enter__(self) -> None:
        self.level = transformers_logging.get_verbosity()
        self.bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers_logging.set_verbosity(self.level)
        if self.bars:
            transformers_logging.enable_progress_bar()


def _rows(model: PreTrainedModel) -> int:
    """Number of tokens that a model has embeddings for."""
    return len(cast(nn.Embedding, model.get_input_embeddings()).weight)


def check_readable(model: PreTrainedModel, trees: Iterable[Tree]) -> None:
    """Refuse trees that the model cannot read, before any of them costs time.

    Raises:
        UserError: a sequence is longer than the model's positions, or holds a token beyond its
            embeddings.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    rows = _rows(model)
    for tree in trees:
        longest = max(len(tree.sequence(leaf)) for leaf in tree.leaves)
        if longest > limit:
            raise UserError(
                f"record {tree.record} has {longest} tokens and the model reads at most {limit}: "
                f"set max_length to {limit} or less"
            )
        if max(map(max, tree.nodes)) >= rows:
            raise UserError(
                f"record {tree.record} has a token that the model has no embedding for: "
                "tokenizer and model do not belong together"
            )


def hidden_states(
    model: PreTrainedModel, pack: Pack, wanted: torch.Tensor | None = None
) -> torch.Tensor:
    """Final hidden states (after the final norm) of the tokens of a pack.

    Args:
        model: the language model.
        pack: N tokens.
        wanted: (M,) different places of the row whose states will be read; None for all. The
            others are not computed to the end.

    Returns:
        (N, D) states; only the wanted ones are right.
    """
    with _feed_forward_at(model, wanted):
        output = model.base_model(
            input_ids=pack.tokens[None],
            position_ids=pack.positions[None],
            use_cache=False,
            layout=pack.layout,
        )
    return cast(torch.Tensor, output.last_hidden_state[0])


def compile_layers(model: PreTrainedModel) -> None:
    """Compile the norms and feed-forward networks of all layers, for rows of any length.

    Attention is left out: every pack has another layout of trees.

    Raises:
        UserError: there is no working compiler, or the model's layers have another form.
    """
    layers = getattr(model.base_model, "layers", None) or []
    parts = [
        part
        for layer in layers
        for name, part in layer.named_children()
        if name == "mlp" or type(part).__name__.endswith("Norm")
    ]
    if not parts:
        raise UserError(f"compile: the layers of a {type(model).__name__} have an unknown form")
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=model.device))
    except RuntimeError as error:
        raise UserError(f"compile: this machine cannot: {first_line(error)}") from error
    for part in parts:
        part.forward = torch.compile(part.forward, dynamic=True)


@contextmanager
def _feed_forward_at(model: PreTrainedModel, wanted: torch.Tensor | None) -> Iterator[None]:
    """Let the last layer's feed-forward network compute the wanted places alone.

    No later layer looks at the others. Models whose layers have another form, and models that
    compute their layers again in the backward pass, compute all places.
    """
    layers = getattr(model.base_model, "layers", None)
    network = getattr(layers[-1], "mlp", None) if layers else None
    if wanted is None or network is None or model.is_activation_checkpointing:
        yield
        return
    places = []

    def take(_: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        places.append(inputs[0].shape[1])
        return inputs[0][:, wanted]

    def put(_: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        everywhere = output.new_zeros(1, places.pop(), output.shape[-1])
        return everywhere.index_copy(1, wanted, output)

    with network.register_forward_pre_hook(take), network.register_forward_hook(put):
        yield


class Vocabulary:
    """A causal language model's output layer: from hidden states to log-probabilities.

    Holds no parameters of its own; it reads those of the model's output embedding at each call.
    """

    def __init__(self, model: PreTrainedModel):
        self._model = model
        config = model.config.get_text_config()
        self._softcap: float | None = getattr(config, "final_logit_softcapping", None)
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        self._scale = scale / float(getattr(config, "logits_scaling", None) or 1.0)

    @property
    def layer(self) -> nn.Linear:
        """The output embedding U, with a bias where the model has one."""
        return cast(nn.Linear, self._model.get_output_embeddings())

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(N, V) float32 logits of (N, D) hidden states, as the model itself computes them."""
        return self._from_products(self.layer(states))

    def logits_of(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(N, K) logits of K tokens for each state, from (N, D) states and (N, K) ids."""
        products = (self.layer.weight[tokens].float() @ states.float()[:, :, None])[:, :, 0]
        bias = self.layer.bias
        return self._from_products(products if bias is None else products + bias[tokens])

    def by_product(self, gradients: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Gradients by logits as gradients by the products U h, which a model may scale and cap.

        Args:
            gradients: (N, K) by K logits.
            logits: (N, K) these logits.
        """
        if self._softcap is not None:
            gradients = gradients * (1 - (logits / self._softcap) ** 2)
        return gradients if self._scale == 1 else gradients * self._scale

    def _from_products(self, products: torch.Tensor) -> torch.Tensor:
        logits = products.float()
        if self._scale != 1:
            logits = logits * self._scale
        return logits if self._softcap is None else self._softcap * (logits / self._softcap).tanh()

    def log_probs(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Ln π(token | state) for each position.

        Args:
            states: (N, D) hidden states that predict the tokens.
            tokens: (N,) token ids.

        Returns:
            (N,) float32 log-probabilities.
        """
        rows = max(1, CHUNK_VALUES // self.layer.out_features)
        chunks = zip(states.split(rows), tokens.split(rows), strict=True)
        run: Callable[..., torch.Tensor] = self._chunk
        if torch.is_grad_enabled() and (states.requires_grad or self.layer.weight.requires_grad):
            return torch.cat(
                [
                    checkpoint(run, s, t, use_reentrant=False, preserve_rng_state=False)
                    for s, t in chunks
                ]
            )
        return torch.cat([run(s, t) for s, t in chunks])

    def _chunk(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return -cross_entropy(self.logits(states), tokens, reduction="none")
