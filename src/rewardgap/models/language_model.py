"""The language model in a reward model: loading, hidden states of packs, log-probabilities.

The (tokens x vocabulary) logits are never held: log-probabilities are computed in chunks of
positions, and a chunk's logits are computed again for its gradient.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError, first_line
from rewardgap.io.files import remove_unfinished, whole_folder
from rewardgap.models.attention import TREE_ATTENTION
from rewardgap.models.packing import Pack

# Logits of one chunk: 2**24 float32 values are 64 MiB.
CHUNK_VALUES = 2**24


class LanguageModel:
    """A transformers model, `model`, that reads packed trees, with its output layer `vocabulary`.

    It is no module itself: what holds it registers `model` as a submodule, so that parameters keep
    the names that transformers gives them.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.vocabulary = Vocabulary(model)

    @classmethod
    def load(
        cls,
        folder: Path,
        template: ChatTemplate,
        auto_class: Any = AutoModelForCausalLM,
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a model from a directory.

        Embeddings are resized where the template added tokens; the new rows are drawn from a fixed
        seed, so that a model and its reference stay the same model. Dropout is switched off: a
        reward is a function of its text. Weights are read from safetensors alone, never from a
        pickle.

        Raises:
            UserError: Weights are missing or cannot be read, or the attention is fixed.
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
        if not getattr(model, "_supports_attention_backend", False):
            raise UserError(
                f"{folder}: {type(model).__name__} does not let its attention be chosen, which "
                "trees need; use a decoder architecture such as Llama, Qwen2, Gemma or GPT-NeoX"
            )
        if loading["missing_keys"]:
            raise UserError(
                f"{folder} has no weights {min(loading['missing_keys'])} of a "
                f"{type(model).__name__}: was it saved as a model of another kind?"
            )
        loaded = cls(model)
        if template.added_tokens:
            loaded.fit_embeddings(len(template.tokenizer))
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return loaded

    @classmethod
    def on_meta(cls, folder: Path) -> Self:
        """Return the causal language model in a directory with shapes and no weights."""
        try:
            with torch.device("meta"), quiet():
                config = AutoConfig.from_pretrained(folder)
                return cls(AutoModelForCausalLM.from_config(config))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {folder / 'config.json'}: {first_line(error)}") from error

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device

    def to(self, device: torch.device) -> Self:
        """Move the weights and return the model itself."""
        nn.Module.to(self.model, device)
        return self

    def hidden_states(self, pack: Pack, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, D) final hidden states (after the final norm) of the tokens of a pack.

        With (M,) different `positions` of the row, states elsewhere may be wrong.
        """
        with self._last_mlp_at(positions):
            output = self.model.base_model(
                input_ids=pack.tokens[None],
                position_ids=pack.positions[None],
                use_cache=False,
                layout=pack.layout,
            )
        return cast(torch.Tensor, output.last_hidden_state[0])

    @contextmanager
    def _last_mlp_at(self, positions: torch.Tensor | None) -> Iterator[None]:
        """Run the last layer's feed-forward network at `positions` alone; nothing else is read.

        It is left out for models whose layers have another form, and for those that compute
        activations again in the backward pass.
        """
        layers = self._layers()
        mlp = getattr(layers[-1], "mlp", None) if layers else None
        if positions is None or mlp is None or self.model.is_activation_checkpointing:
            yield
            return
        tokens = 0

        def select(_: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
            nonlocal tokens
            tokens = inputs[0].shape[1]
            return inputs[0][:, positions]

        def scatter(_: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            row = output.new_zeros(1, tokens, output.shape[-1])
            return row.index_copy(1, positions, output)

        with mlp.register_forward_pre_hook(select), mlp.register_forward_hook(scatter):
            yield

    def _layers(self) -> list[nn.Module]:
        """Return the transformer blocks in order, or nothing for a model of another form."""
        return list(getattr(self.model.base_model, "layers", None) or [])

    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Raise a UserError for sequences longer, or of more tokens, than the model can read."""
        config = self.model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None) or sys.maxsize
        rows = self._embedding_rows()
        for tree in trees:
            longest = max(len(tree.sequence(leaf)) for leaf in tree.leaves)
            if longest > limit:
                raise UserError(
                    f"record {tree.record} has {longest} tokens and the model reads at most "
                    f"{limit}: set max_length to {limit} or less"
                )
            if max(map(max, tree.nodes)) >= rows:
                raise UserError(
                    f"record {tree.record} has a token that the model has no embedding for: "
                    "tokenizer and model do not belong together"
                )

    def _embedding_rows(self) -> int:
        return len(cast(nn.Embedding, self.model.get_input_embeddings()).weight)

    def fit_embeddings(self, tokens: int) -> None:
        """Give the model at least `tokens` embedding rows, new ones from a fixed seed."""
        if self._embedding_rows() < tokens:
            with torch.random.fork_rng(devices=[]), quiet():
                torch.manual_seed(0)
                self.model.resize_token_embeddings(tokens)

    def freeze(self) -> None:
        """Train the head u or the output embedding U alone (assumption 1); untie it if tied."""
        model, head = self.model, self.model.get_output_embeddings()
        embedding = cast(nn.Embedding, model.get_input_embeddings())
        if head is not None and head.weight is embedding.weight:
            head.weight = nn.Parameter(head.weight.detach().clone())
            for config in (model.config, model.config.get_text_config()):
                config.tie_word_embeddings = False
        model.base_model.requires_grad_(False)

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass, to save memory."""
        self.model.activation_checkpointing_enable()

    def compile(self) -> None:
        """Compile the norms and feed-forward networks of all layers, for rows of any length.

        Attention is left out: every pack has another layout of trees. Raise a UserError where
        there is no working compiler, or the layers have another form.
        """
        parts = [
            part
            for layer in self._layers()
            for name, part in layer.named_children()
            if name == "mlp" or type(part).__name__.endswith("Norm")
        ]
        if not parts:
            name = type(self.model).__name__
            raise UserError(f"compile: the layers of a {name} have an unknown form")
        try:
            torch.compile(torch.neg)(torch.zeros(1, device=self.device))
        except RuntimeError as error:
            raise UserError(f"compile: this machine cannot: {first_line(error)}") from error
        for part in parts:
            part.forward = torch.compile(part.forward, dynamic=True)

    def save(self, folder: Path, template: ChatTemplate) -> None:
        """Write model, tokenizer and chat template for plain transformers."""
        with quiet():
            self.model.save_pretrained(folder)
        template.tokenizer.save_pretrained(folder)


def open_template(folder: Path, tokens: tuple[str, ...], name: str | None = None) -> ChatTemplate:
    """Return the chat template of a model, or the one that is named, with further tokens."""
    template = ChatTemplate.load(folder, name)
    template.tokenizer.add_tokens(list(tokens))
    return template


def extend_model(folder: Path, tokens: tuple[str, ...], extended: Path) -> None:
    """Save a language model with further tokens as another one, unless that was done before.

    What is trained and what it is compared with then begin as the same model.
    """
    if extended.is_dir():
        return
    remove_unfinished(extended.parent)
    template = open_template(folder, tokens)
    model = LanguageModel.load(folder, template)
    model.fit_embeddings(len(template.tokenizer))
    with whole_folder(extended) as unfinished:
        model.save(unfinished, template)


class quiet:
    """Silence the progress bars and warnings of transformers."""

    def __enter__(self) -> None:
        self.level = transformers_logging.get_verbosity()
        self.bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers_logging.set_verbosity(self.level)
        if self.bars:
            transformers_logging.enable_progress_bar()


class Vocabulary:
    """The output layer of a causal language model: from hidden states to log-probabilities.

    It holds no parameters; it reads those of the model's output embedding at each call.
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
        """Return (N, V) float32 logits of (N, D) hidden states, as the model computes them."""
        return self._from_products(self.layer(states))

    def logits_of(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return (N, K) logits of K tokens per state, from (N, D) states and (N, K) ids."""
        products = (self.layer.weight[tokens].float() @ states.float()[:, :, None])[:, :, 0]
        bias = self.layer.bias
        return self._from_products(products if bias is None else products + bias[tokens])

    def by_product(self, gradients: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Turn (N, K) gradients by (N, K) logits into those by U h, as models scale and cap it."""
        if self._softcap is not None:
            gradients = gradients * (1 - (logits / self._softcap) ** 2)
        return gradients if self._scale == 1 else gradients * self._scale

    def _from_products(self, products: torch.Tensor) -> torch.Tensor:
        logits = products.float()
        if self._scale != 1:
            logits = logits * self._scale
        return logits if self._softcap is None else self._softcap * (logits / self._softcap).tanh()

    def log_probs(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return (N,) float32 ln π(token | state) of (N, D) predicting states and (N,) tokens."""
        rows = max(1, CHUNK_VALUES // self.layer.out_features)
        chunks = zip(states.split(rows), tokens.split(rows), strict=True)
        run: Callable[..., torch.Tensor] = self._chunk
        if torch.is_grad_enabled() and (states.requires_grad or self.layer.weight.requires_grad):
            run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([run(hidden, ids) for hidden, ids in chunks])

    def _chunk(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return -cross_entropy(self.logits(states), tokens, reduction="none")
