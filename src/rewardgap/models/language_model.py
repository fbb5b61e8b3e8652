"""The language model in a reward model: loading, hidden states of packs, log-probabilities.

The (tokens x vocabulary) logits are never held: log-probabilities are computed in chunks of
positions, and a chunk's logits are computed again for its gradient.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel

from rewardgap.configs.adapters import AdapterConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError, first_line, reported
from rewardgap.io.files import remove_unfinished, whole_folder
from rewardgap.models.adapters import Adapter
from rewardgap.models.attention import in_one_kernel
from rewardgap.models.loading import load_model, quiet, read_config, refuse_missing
from rewardgap.models.packing import Pack
from rewardgap.models.quantisation import quantise
from rewardgap.models.reading import Reading, TreeReading, body_of, layers_of, matrices_of_blocks
from rewardgap.models.self_check import SelfCheck, check_model, distance, embedding_rows, tolerance

# Logits of one chunk: 2**24 float32 values are 64 MiB. A GPU would read the output layer for every
# chunk without being busy.
CHUNK_VALUES, GPU_CHUNK_VALUES = 2**24, 2**27
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


class LanguageModel:
    """A transformers model, `model`, that reads packed trees, with its output layer `vocabulary`.

    It is no module itself: what holds it registers `model` as a submodule, so that parameters keep
    the names that transformers gives them.
    """

    adapter: Adapter | None = None
    """The adapter that is trained in the model's place."""

    def __init__(
        self, model: PreTrainedModel, reading: Reading | None = None, check: SelfCheck | None = None
    ):
        self.model = model
        self.reading = TreeReading() if reading is None else reading
        self.check = check
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
            UserError: Weights are missing or cannot be read, or are of no causal language model.
        """
        model, missing = load_model(folder, auto_class, dtype)
        refuse_missing(missing, model, folder)
        check = check_model(model, str(folder))
        loaded = cls(model, check.reading, check)
        if auto_class is AutoModelForCausalLM:
            if not check.is_causal:
                raise UserError(
                    f"{folder}: in a {type(model).__name__}, tokens see those after them; it gives "
                    "no probabilities of texts"
                )
            loaded.vocabulary.check(check.states, check.logits, folder)
        loaded.fit_tokenizer(template)
        return loaded

    def fit_tokenizer(self, template: ChatTemplate) -> None:
        """Give the model embeddings of the tokens that its template added."""
        if template.added_tokens:
            self.fit_embeddings(len(template.tokenizer))

    @classmethod
    def on_meta(cls, folder: Path) -> Self:
        """Return the causal language model in a directory with shapes and no weights."""
        config = read_config(folder)
        with (
            torch.device("meta"),
            quiet(),
            reported(Exception, f"cannot make a model of {folder / 'config.json'}: "),
        ):
            return cls(AutoModelForCausalLM.from_config(config, trust_remote_code=False))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device

    def to(self, device: torch.device) -> Self:
        """Move the weights and return the model itself."""
        nn.Module.to(self.model, device)
        return self

    def prepare(self, pack: Pack) -> Pack:
        """Return the pack to read instead, where a prompt has to be read for every response."""
        return self.reading.prepare(pack)

    def hidden_states(self, pack: Pack, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, D) final hidden states (after the final norm) of the tokens of a pack.

        With (M,) different `positions` of the row, states elsewhere may be wrong.
        """
        return self.reading.states(self.model, pack, positions)

    def base_log_probs(self, pack: Pack) -> torch.Tensor:
        """Return (R,) log-probabilities of a pack's response tokens; an adapter is switched off."""
        pack = self.prepare(pack)
        with self.without_adapter():
            states = self.hidden_states(pack)[pack.predicting_positions]
            return self.vocabulary.log_probs(states, pack.response_tokens)

    def train(self) -> None:
        """Prepare for training: rewards stay a function of the text, without noise.

        The model stays in evaluation mode, but for the blocks that compute their activations again,
        which do so in training mode alone.
        """
        self.model.eval()
        for module in self.model.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = True

    @property
    def longest(self) -> int:
        """Number of tokens of the longest sequence that the model can read."""
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None) or sys.maxsize

    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Raise a UserError for sequences longer, or of more tokens, than the model can read."""
        limit, rows = self.longest, embedding_rows(self.model)
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

    def fit_embeddings(self, tokens: int) -> None:
        """Give the model at least `tokens` embedding rows, new ones from a fixed seed."""
        if embedding_rows(self.model) < tokens:
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
        body_of(model).requires_grad_(False)

    def adapt(
        self,
        config: AdapterConfig,
        base: str,
        seed: int,
        device: torch.device,
        compute_dtype: torch.dtype,
    ) -> None:
        """Train an adapter and a head alone; see `Adapter.add`. Blocks in 4 bits are on `device`.

        Raises:
            UserError: The model cannot be quantised, or has no such layers.
        """
        if config.quantise is not None and self.device.type != "meta":
            quantise(self.model, device, compute_dtype)
        self.adapter = Adapter.add(self.model, config, base, seed)
        self.keep_matrices_in(compute_dtype)

    def keep_matrices_in(self, compute_dtype: torch.dtype, trained: bool = False) -> None:
        """Keep the matrices of the blocks in the precision of products, where that changes no bit.

        They are rounded to it in every product anyway; DoRA alone reads them elsewhere, too. Those
        that are trained, if `trained`: in a model that is only scored.
        """
        if self.adapter is None or not self.adapter.reads_matrices:
            for matrix in matrices_of_blocks(self.model) if trained else self.frozen_matrices():
                matrix.data = matrix.data.to(compute_dtype)

    def frozen_matrices(self) -> list[nn.Parameter]:
        """Return the weights of the linear layers of the blocks that are not trained."""
        return [weight for weight in matrices_of_blocks(self.model) if not weight.requires_grad]

    def without_adapter(self) -> AbstractContextManager[None]:
        """Return a context in which the model is the one that training begins with."""
        return nullcontext() if self.adapter is None else self.adapter.switched_off()

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass, to save memory."""
        self.model.activation_checkpointing_enable()

    def compile(self, compute_dtype: torch.dtype) -> None:
        """Compile the layers, for rows of any length, where the model is now.

        Where attention is one kernel, a layer is compiled whole, but for the last, whose
        feed-forward network reads other positions in some passes than in others. Elsewhere its
        norms and feed-forward network are: attention follows a layout that changes with every pack.

        Raises:
            UserError: There is no working compiler, or the layers have another form.
        """
        layers = layers_of(self.model)
        whole = layers[:-1] if self._attends_at_once(compute_dtype) else []
        parts = [
            part
            for layer in layers[len(whole) :]
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
        for part in (*whole, *parts):
            part.forward = torch.compile(part.forward, dynamic=True)

    def _attends_at_once(self, compute_dtype: torch.dtype) -> bool:
        config = self.model.config.get_text_config()
        head_size = getattr(config, "head_dim", None)
        if head_size is None:
            head_size = config.hidden_size // config.num_attention_heads
        capped = getattr(config, "attn_logit_softcapping", None) is not None
        on_gpu = self.device.type == "cuda"
        return on_gpu and not capped and in_one_kernel(compute_dtype, head_size)

    def save(self, folder: Path, template: ChatTemplate) -> None:
        """Write model, tokenizer and chat template for plain transformers, an adapter for PEFT."""
        with quiet():
            if self.adapter is None:
                self.model.save_pretrained(folder)
            else:
                self.adapter.save(folder)
        template.tokenizer.save_pretrained(folder)


def chunk_values(device: torch.device) -> int:
    """Return how many logits are computed at once."""
    return CHUNK_VALUES if device.type == "cpu" else GPU_CHUNK_VALUES


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


class Vocabulary:
    """The output layer of a causal language model: from hidden states to log-probabilities.

    It holds no parameters; it reads those of the model's output embedding at each call.
    """

    def __init__(self, model: PreTrainedModel):
        self._model = model
        config = model.config.get_text_config()
        caps = (getattr(config, name, None) for name in SOFT_CAPS)
        self._softcap: float | None = next(filter(None, caps), None)
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        scale *= float(getattr(config, "lm_head_multiplier", None) or 1.0)
        self._scale = scale / float(getattr(config, "logits_scaling", None) or 1.0)

    @property
    def layer(self) -> nn.Linear:
        """The output embedding U, with a bias where the model has one."""
        return cast(nn.Linear, self._model.get_output_embeddings())

    def check(self, states: torch.Tensor, logits: torch.Tensor, folder: Path) -> None:
        """Refuse a model whose (B, T, V) logits are not what is made of its (B, T, D) states."""
        problem = f"{folder}: {type(self._model).__name__} has an unknown output layer"
        with torch.no_grad(), reported(Exception, f"{problem}: "):
            computed = self.logits(states)
            apart = distance(computed, logits.float())
        if not apart <= tolerance(states.dtype):
            raise UserError(problem)

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
        rows = max(1, chunk_values(states.device) // self.layer.out_features)
        chunks = zip(states.split(rows), tokens.split(rows), strict=True)
        run: Callable[..., torch.Tensor] = self._chunk
        if torch.is_grad_enabled() and (states.requires_grad or self.layer.weight.requires_grad):
            run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([run(hidden, ids) for hidden, ids in chunks])

    def _chunk(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return -cross_entropy(self.logits(states), tokens, reduction="none")
