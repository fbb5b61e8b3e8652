"""Rewards and gradients on a GPU, against plain transformers on the CPU."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from plain import RECORDS, TRAINABLE, Plain, make_record, plain_copy
from tiny import TEMPLATE, TEXT, randomise, tiny_config, tiny_tokenizer
from transformers import AutoModelForCausalLM

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.models import language_model
from rewardgap.models.attention import TREE_ATTENTION
from rewardgap.models.devices import autocast
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.implicit import ImplicitWithoutReference
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.language_model import CHUNK_VALUES, LanguageModel
from rewardgap.models.packing import pack

pytestmark = pytest.mark.gpu

ARCHITECTURES = ("llama", "gpt-neox", "qwen2", "qwen3", "gemma2", "gemma3")
MANY = make_record(
    "The quick brown fox?", ["yes", "yes, sure, it jumps", "certainly " * 9], ["no", *TEXT[:3]]
)
UNEVEN = (*RECORDS, MANY)
"""Prompts of one to seven responses of one to eighty tokens."""

ROUNDING = 1e-4
"""Float32 has 24 bits; different orders of summation cost a few of them."""
HALF_UNIT = 2.0**-8
"""A number in bfloat16, which has 8 bits, is off by at most this, relatively."""
AS_PLAIN = 4
"""Bfloat16 may cost at most as many times what it costs plain transformers on the CPU, which rounds
weights and sums too. On the CPU ours cost 0.3 to 1.9 times as much; two bits more are a fault."""


def make(kind: str, folder: Path, other: Path, **options: float) -> tuple[RewardModel, Plain]:
    """A reward model to be trained and its plain twin on the CPU; `other` is the reference."""
    template = ChatTemplate.load(folder)
    ours = find_kind(kind).initialise(folder, template, KindConfig(**options), torch.float32)
    reference = None
    if ours.needs_reference:
        reference = plain_copy(LanguageModel.load(other, template).model)
    return ours.eval(), Plain(kind, ours, reference)


def score(
    ours: RewardModel,
    plain: Plain,
    records: Sequence[Record],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> list[float]:
    """Rewards of records in one pack on a device, with references of the plain twin."""
    references = [plain.references(record) for record in records]
    batch = pack(ours.encode(records), references if ours.needs_reference else None)
    batch = batch.to(device)
    with torch.no_grad(), autocast(device, torch.float32, dtype):
        return ours.rewards(ours.read(batch, ours.positions(batch))).tolist()


def halved(plain: Plain, ours: RewardModel) -> Plain:
    """The same twin with all weights and sums in bfloat16, and the float32 reference."""
    copied = Plain(plain.kind, ours, plain.reference)
    if copied.model is not None:
        copied.model = copied.model.to(torch.bfloat16)
    return copied


def test_products_of_float32_are_products_of_float32(device):
    assert torch.get_float32_matmul_precision() == "highest"
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    product = (left.to(device) @ right.to(device)).cpu().double()
    exact = left.double() @ right.double()
    # TF32, which has 11 bits, errs by about 3e-4.
    assert (product - exact).norm() < 1e-5 * exact.norm()


@pytest.fixture
def pair(folders: Callable[..., Path]) -> Callable[..., tuple[RewardModel, Plain]]:
    """Makes a reward model of a tiny architecture and its twin."""

    def build(kind: str, architecture: str, **options: float) -> tuple[RewardModel, Plain]:
        models = [folders(architecture, "<|pad|>", TEMPLATE, seed) for seed in (0, 1)]
        return make(kind, *models, **options)

    return build


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_rewards(kind, architecture, pair, device, apart, tell):
    ours, plain = pair(kind, architecture)
    expected = [reward for record in UNEVEN for reward in plain.rewards(record)]
    ours.to(device)
    together = score(ours, plain, UNEVEN, device)
    alone = [reward for record in UNEVEN for reward in score(ours, plain, [record], device)]
    assert apart(together, expected) <= ROUNDING
    assert apart(alone, together) <= ROUNDING
    half = apart(score(ours, plain, UNEVEN, device, torch.bfloat16), expected)
    rough = halved(plain, ours)
    cost = apart((reward for record in UNEVEN for reward in rough.rewards(record)), expected)
    tell(f"float32 {apart(together, expected):.1e}, bfloat16 {half:.1e}, plain bfloat16 {cost:.1e}")
    assert half <= max(HALF_UNIT, AS_PLAIN * cost)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes a Llama with heads of a width, of which two have one key."""

    @cache
    def make_wide(head: int, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("wide")
        torch.manual_seed(seed)
        config = tiny_config("llama")
        config.update(
            {
                **{"hidden_size": 4 * head, "head_dim": head, "num_attention_heads": 4},
                **{"intermediate_size": 256, "max_position_embeddings": 4096},
            }
        )
        model = AutoModelForCausalLM.from_config(config)
        randomise(model, std=(4 * head) ** -0.5).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder

    return make_wide


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
@pytest.mark.parametrize("head", [64, 128])
def test_rewards_of_long_texts_with_wide_heads(head, kind, wide, device, apart, tell):
    """These take other kernels: flash attention, and the tensor cores at full size."""
    ours, plain = make(kind, wide(head), wide(head, 1))
    text = " ".join(TEXT)
    records = [
        make_record(text * 3, [text * 2, text], ["no", text[:200]]),
        make_record("Is it so? " + text, [text[:100]], [text]),
    ]
    longest = max(tree.size for tree in ours.encode(records))
    assert longest > 700
    expected = [reward for record in records for reward in plain.rewards(record)]
    rough = halved(plain, ours)
    cost = apart((reward for record in records for reward in rough.rewards(record)), expected)
    ours.to(device)
    single = apart(score(ours, plain, records, device), expected)
    half = score(ours, plain, records, device, torch.bfloat16)
    alone = [r for record in records for r in score(ours, plain, [record], device, torch.bfloat16)]
    tell(
        f"float32 {single:.1e}, bfloat16 {apart(half, expected):.1e} (alone "
        f"{apart(alone, half):.1e} from together), plain bfloat16 {cost:.1e}"
    )
    assert single <= ROUNDING
    assert apart(half, expected) <= max(HALF_UNIT, AS_PLAIN * cost)
    assert apart(alone, half) <= max(HALF_UNIT, AS_PLAIN * cost)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2"])
@pytest.mark.parametrize(
    ("kind", "weight"), [*((kind, 0.0) for kind in TRAINABLE), ("generative", 0.3)]
)
def test_gradients(kind, weight, architecture, pair, device, tell):
    """Float64 by plain transformers; every weight's own norm counts, and a little of the whole."""
    ours, plain = pair(kind, architecture, likelihood_weight=weight)
    references = [plain.references(record) for record in RECORDS]
    trees = ours.encode_for_training(RECORDS)
    batch = pack(trees, references if ours.needs_reference else None).to(device)
    ours.to(device).train()
    ours(batch).losses.mean().backward()
    plain.model = plain.model.double()
    losses = [loss for record in RECORDS for loss in plain.losses(record)]
    torch.stack(losses).mean().backward()
    expected = {name: parameter.grad for name, parameter in plain.model.named_parameters()}
    whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    computed = {name: ours.model.get_parameter(name).grad for name in expected}
    errors = {
        name: float(
            (computed[name].cpu().double() - gradient).norm() / (gradient.norm() + 0.01 * whole)
        )
        for name, gradient in expected.items()
    }
    worst = max(errors, key=errors.__getitem__)
    tell(f"{errors[worst]:.1e} at {worst}")
    assert whole > 0 and errors[worst] <= ROUNDING


def test_logits_of_all_tokens_are_never_held(device, tell, monkeypatch):
    if device.type != "cuda":
        pytest.skip("only a GPU tells the peak of its memory")
    monkeypatch.setattr(language_model, "GPU_CHUNK_VALUES", CHUNK_VALUES)  # far from all logits
    tokens, vocabulary = 8192, 2**16
    torch.manual_seed(0)
    config = tiny_config("llama")
    config.update({"vocab_size": vocabulary, "max_position_embeddings": 2 * tokens})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=TREE_ATTENTION)
    ours = ImplicitWithoutReference(
        LanguageModel(model), ChatTemplate(tiny_tokenizer()), KindConfig()
    ).to(device)
    ids = torch.randint(0, vocabulary, (2, tokens // 2)).tolist()
    tree = Tree("long", ((5, 6), *map(tuple, ids)), (-1, 0, 0), 1, 1, (tokens // 2,) * 2)
    batch = pack([tree]).to(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    ours(batch).losses.mean().backward()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    # Of one chunk: logits and log-probabilities, twice in the backward pass, and their gradients.
    chunks = 8 * CHUNK_VALUES * 4
    gradients = 4 * sum(parameter.numel() for parameter in ours.parameters())
    activations = 4 * tokens * 64 * config.hidden_size * config.num_hidden_layers
    logits = 4 * tokens * vocabulary
    bound = chunks + gradients + activations
    tell(f"{peak / 2**20:.0f} MiB, bound {bound / 2**20:.0f}, logits {logits / 2**20:.0f}")
    assert bound < logits / 2, "the bound would not tell"
    assert peak <= bound
