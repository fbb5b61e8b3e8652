"""The contract that every registered kind keeps, checked against plain transformers."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import BASELINES, RECORDS, TRAINABLE, Plain, make_record, plain_copy
from tiny import ARCHITECTURES, TEMPLATE
from transformers import AutoModelForCausalLM

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Record
from rewardgap.errors import UserError
from rewardgap.models import language_model as module
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import pack
from rewardgap.testing import check_kind

Folders = Callable[..., Path]
PADS = ("<|pad|>", "<|end|>", None)
FORMS = {"own": TEMPLATE, "paper": None}
LLAMA, *OTHERS = ARCHITECTURES
WRITTEN = [
    *((LLAMA, pad, form) for pad in PADS for form in FORMS),
    *(
        (architecture, pad, form)
        for architecture in OTHERS
        for pad, form in (("<|end|>", "own"), (None, "paper"))
    ),
]
"""Every pad token with every form; every architecture with both forms and without a pad token."""
PAIRED = [(name, PADS[i % 2], list(FORMS)[i % 2]) for i, name in enumerate(ARCHITECTURES)]
GRADIENT_CASES = [(kind, KindConfig()) for kind in TRAINABLE]
GRADIENT_CASES += [("generative", KindConfig(likelihood_weight=0.3))]
CASES = [*GRADIENT_CASES, *((kind, KindConfig()) for kind in BASELINES)]


def make(
    folders: Folders,
    kind: str,
    model: tuple[str, str | None, str | None] = ("llama", "<|pad|>", TEMPLATE),
    options: KindConfig | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[RewardModel, Plain]:
    """A reward model to be trained and its plain twin; the reference is another random model."""
    folder = folders(*model)
    template = ChatTemplate.load(folder)
    ours = find_kind(kind).initialise(folder, template, options or KindConfig(), dtype, seed)
    reference = None
    if ours.needs_reference:
        reference = plain_copy(LanguageModel.load(folders(*model, 1), template).model, dtype)
    return ours, Plain(kind, ours, reference)


def packed(ours: RewardModel, plain: Plain, records: Iterable[Record], training: bool = False):
    records = list(records)
    encode = ours.encode_for_training if training else ours.encode
    references = [plain.references(record) for record in records]
    return pack(encode(records), references if ours.needs_reference else None)


@torch.no_grad()
def score(ours: RewardModel, plain: Plain, records: Iterable[Record]) -> list[float]:
    return ours.rewards(ours.read(packed(ours, plain, records))).tolist()


def close(values: Iterable[float], tolerance: float):
    """Approximately `values`: absolutely up to 1, relatively beyond."""
    return pytest.approx(list(values), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("architecture", "pad", "form"), WRITTEN)
@pytest.mark.parametrize("kind", KINDS)
def test_rewards_equal_plain_transformers(kind, architecture, pad, form, folders):
    ours, plain = make(folders, kind, (architecture, pad, FORMS[form]))
    expected = [plain.rewards(record) for record in RECORDS]
    for record, rewards in zip(RECORDS, expected, strict=True):
        assert score(ours, plain, [record]) == close(rewards, 1e-5)
    many = np.random.default_rng(0).integers(len(RECORDS), size=64)
    assert score(ours, plain, [RECORDS[i] for i in many]) == close(
        [reward for i in many for reward in expected[i]], 1e-5
    )


@pytest.mark.parametrize(("architecture", "pad", "form"), PAIRED)
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_the_contract(kind, options, architecture, pad, form, folders):
    check_kind(kind, folders(architecture, pad, FORMS[form]), options)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_prefix_rewards_are_rewards_of_partial_responses(kind, architecture, folders):
    ours, plain = make(folders, kind, (architecture, "<|pad|>", TEMPLATE))
    for record in (RECORDS[1], RECORDS[3]):
        (tree,) = ours.encode([record])
        prefixes = ours.prefix_rewards(tree, plain.references(record))
        written = [plain.write(record, response) for response in record.responses]
        for values, text in zip(prefixes, written, strict=True):
            expected = [float(plain.reward(text, k + 1)) for k in range(len(text.response))]
            assert values.tolist() == close(expected, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_prefix_rewards_of_truncated_responses_end_in_the_reward(kind, folders):
    ours, _ = make(folders, kind)
    record = make_record("Is it so?", ["yes, certainly it is, I like to help people"], ["no"])
    limit = max(len(tree.sequence(leaf)) for tree in ours.encode([record]) for leaf in tree.leaves)
    least = int(_error_of(lambda: ours.encode([record], 1)).rpartition(" ")[2])
    (tree,) = ours.encode([record], max(least, limit // 2))
    if kind != "generative":  # whose question leaves so little room that only its prompt gives way
        assert len(tree.nodes[1]) < tree.lengths[0]
    references = [np.zeros(sum(map(len, tree.nodes[1:])), np.float32)]
    rewards = ours(pack([tree], references)).rewards
    prefixes = ours.prefix_rewards(tree, references[0])
    assert [float(values[-1]) for values in prefixes] == close(rewards.tolist(), 1e-5)


def _error_of(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("kind", "options"), GRADIENT_CASES)
def test_losses_and_gradients_equal_plain_float64(kind, options, architecture, folders):
    model = (architecture, "<|end|>", TEMPLATE)
    ours, plain = make(folders, kind, model, options, torch.float64)
    losses = ours(packed(ours, plain, RECORDS, training=True)).losses
    expected = torch.stack([loss for record in RECORDS for loss in plain.losses(record)])
    assert losses.tolist() == close(expected.tolist(), 1e-6)
    losses.mean().backward()
    expected.mean().backward()
    for name, parameter in plain.model.named_parameters():
        got, wanted = ours.model.get_parameter(name).grad, parameter.grad
        if name.endswith("final_layer_norm.bias") and ours.auto_class is not AutoModelForCausalLM:
            assert got.norm() < 1e-9 and wanted.norm() < 1e-9  # cancels from every r⁺ − r⁻
            continue
        assert got.isfinite().all() and got.norm() > 0, name
        assert torch.cosine_similarity(got.flatten(), wanted.flatten(), dim=0) > 0.99999, name
        # Norms and softmax run in float32 inside transformers, whatever the model's precision.
        assert (got - wanted).norm() < 1e-5 * wanted.norm(), name


@pytest.mark.parametrize("kind", BASELINES)
def test_baselines_have_losses_and_nothing_to_train(kind, folders):
    ours, plain = make(folders, kind)
    losses = ours(packed(ours, plain, RECORDS)).losses
    expected = [float(loss) for record in RECORDS for loss in plain.losses(record)]
    assert losses.tolist() == close(expected, 1e-5)
    assert not losses.requires_grad and not list(ours.parameters())


def gradients(ours: RewardModel, plain: Plain) -> dict[str, torch.Tensor]:
    ours.zero_grad()
    ours(packed(ours, plain, RECORDS, training=True)).losses.mean().backward()
    return {name: value.grad.clone() for name, value in ours.named_parameters()}


@pytest.mark.parametrize(("kind", "options"), GRADIENT_CASES)
def test_chunks_of_log_probabilities_change_nothing(kind, options, folders, monkeypatch):
    ours, plain = make(folders, kind, ("gemma2", "<|pad|>", TEMPLATE), options)
    whole = gradients(ours, plain)
    losses = ours(packed(ours, plain, RECORDS, training=True)).losses.tolist()
    monkeypatch.setattr(module, "CHUNK_VALUES", 320 * 7)
    assert ours(packed(ours, plain, RECORDS, training=True)).losses.tolist() == close(losses, 1e-5)
    for name, gradient in gradients(ours, plain).items():
        assert (gradient - whole[name]).norm() <= 1e-5 * whole[name].norm(), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", TRAINABLE)
def test_gradient_checkpointing_changes_no_gradient(kind, architecture, folders):
    ours, plain = make(folders, kind, (architecture, "<|pad|>", TEMPLATE))
    stored = gradients(ours, plain)
    layers: list[int] = []
    ours.model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: layers.append(1))
    ours.language_model.checkpoint_activations()
    ours.train()
    computed = gradients(ours, plain)
    assert len(layers) == 2, "the layer was not computed again"
    for name, gradient in computed.items():
        assert (gradient - stored[name]).norm() <= 1e-5 * stored[name].norm(), name


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles C++")
def test_compiled_layers_change_no_gradient(folders):
    ours, plain = make(folders, "explicit", ("gpt-neox", "<|pad|>", TEMPLATE))
    written = gradients(ours, plain)
    before = compiled_graphs()
    ours.language_model.compile(torch.float32)
    both = (written, gradients(ours, plain))
    assert compiled_graphs() > before
    first, second = (torch.cat([each.flatten() for each in some.values()]) for some in both)
    assert (first - second).norm() <= 1e-5 * first.norm()


def compiled_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_a_machine_that_cannot_compile_is_told_so(folders, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("no working C++ compiler found")

    ours, _ = make(folders, "explicit")
    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(UserError, match="compile: this machine cannot: no working C"):
        ours.language_model.compile(torch.float32)


@pytest.mark.parametrize(("kind", "options"), GRADIENT_CASES)
def test_training_learns_a_separable_set(kind, options, folders):
    prompts = ["Is it so?", "two plus two?", "hi", "Is the answer correct?", "the lazy dog", "fox"]
    records = [make_record(p, [f"yes, {p}"], [f"no, {p}"]) for p in prompts[:3]]
    records += [make_record(p, ["yes, sure"], ["no, never"]) for p in prompts[3:]]
    ours, plain = make(folders, kind, options=options)
    batch = packed(ours, plain, records, training=True)
    first = float(ours(batch).losses.mean().detach())
    optimizer = torch.optim.Adam(ours.parameters(), lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        ours(batch).losses.mean().backward()
        optimizer.step()
    assert float(ours(batch).losses.mean().detach()) < 0.7 * first
    rewards = np.array(score(ours, plain, records)).reshape(-1, 2)
    assert (rewards[:, 0] > rewards[:, 1]).all()


def test_the_seed_draws_the_head(folders):
    heads = [make(folders, "explicit", seed=seed)[0].model.score.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert heads[0].std().item() == pytest.approx(1 / 33, rel=0.4)  # hidden size 32


def test_beta_scales_implicit_rewards(folders):
    small, plain = make(folders, "implicit")
    large, _ = make(folders, "implicit", options=KindConfig(beta=0.5))
    expected = [50 * reward for reward in score(small, plain, RECORDS)]
    assert score(large, plain, RECORDS) == close(expected, 1e-5)


def test_a_verification_prompt_of_ones_own(folders):
    question = "Someone asked: {prompt} Someone said: {response}"
    ours, plain = make(folders, "generative", options=KindConfig(verification_prompt=question))
    record = RECORDS[1]
    texts = (
        f"<|begin|><|user|>{question.format(prompt=record.id, response=y[0].content)}"
        "<|end|><|assistant|>"
        for y in record.responses
    )
    with torch.no_grad():
        expected = [float(plain.probability("Yes", plain.tokenize(text), [])) for text in texts]
    assert score(ours, plain, [record]) == close(expected, 1e-5)


@pytest.mark.parametrize("question", ["{prompt}?", "{response} to {prompt}?", "{prompt}" * 2])
def test_a_verification_prompt_asks_about_the_prompt_and_then_the_response(question, folders):
    with pytest.raises(UserError, match=r"must contain \{prompt\} and"):
        make(folders, "generative", options=KindConfig(verification_prompt=question))


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(UserError, match=r"unknown kind 'best'.*explicit, .*constant"):
        find_kind("best")


@pytest.mark.parametrize("form", [TEMPLATE, None], ids=["own", "paper"])
def test_truncated_questions_keep_their_beginning_and_their_end(form, folders):
    ours, _ = make(folders, "generative", ("llama", "<|pad|>", form))
    record = make_record("Is it so? " * 9, ["yes, certainly it is", "sure"], ["no"])
    (whole,) = ours.encode([record])
    decode = ours.template.tokenizer.decode
    asked = "\nVerification: Is the answer correct (Yes/No)?"
    end = asked + ("<|end|><|assistant|>" if form else "[ASSISTANT]")
    least = int(_error_of(lambda: ours.encode([record], 1)).rpartition(" ")[2])
    for limit in range(least, max(len(whole.sequence(leaf)) for leaf in whole.leaves)):
        (tree,) = ours.encode([record], limit)
        assert tree.truncated and tree.lengths == whole.lengths
        assert decode(tree.nodes[0]).startswith("<|begin|>" if form else "")
        assert decode(tree.nodes[0]).endswith("\nAnswer:")
        assert all(decode(tree.nodes[leaf]).endswith(end) for leaf in tree.leaves)
        assert max(len(tree.sequence(leaf)) for leaf in tree.leaves) == limit
    assert ours.encode([record], limit + 1) == [whole]


def test_the_likelihood_term_reads_the_chosen_responses_as_plain_text(folders):
    ours, _ = make(folders, "generative", options=KindConfig(likelihood_weight=0.5))
    (tree,) = ours.encode_for_training([RECORDS[3]])
    texts = [ours.template.tokenizer.decode(tree.sequence(leaf)) for leaf in tree.leaves]
    answers = [response[0].content for response in RECORDS[3].responses]
    asked = RECORDS[3].id
    closed = "\nVerification: Is the answer correct (Yes/No)?<|end|><|assistant|>"
    opened = f"<|begin|><|user|>Question: {asked}\nAnswer: "
    assert texts[:4] == [opened + answer + closed for answer in answers]
    plain = f"<|begin|><|user|>{asked}<|end|><|assistant|>"
    assert texts[4:] == [plain + answer + "<|end|>" for answer in answers[:2]]
    assert pack([tree]).rewarded.tolist() == [True] * 4 + [False] * 2
    limit = len(tree.sequence(tree.leaves[4])) - 1
    (cut,) = ours.encode_for_training([RECORDS[3]], limit)
    assert cut.truncated and max(len(cut.sequence(leaf)) for leaf in cut.leaves) == limit


@torch.no_grad()
def test_a_response_that_merges_with_the_question_still_has_a_token(folders):
    """Tokenizers in the manner of GPT-4 join a full stop and the newline after it."""
    ours, _ = make(folders, "generative")
    tokenizer = ours.template.tokenizer.backend_tokenizer
    tokenizer.add_tokens([" .\n"])
    ours.language_model.fit_embeddings(321)
    (tree,) = ours.encode([make_record("hi", ["."], ["yes"])])
    assert tree.lengths[0] == 1 and len(tree.nodes[1]) > tree.closing
    prefixes = ours.prefix_rewards(tree, None)
    rewards = ours.rewards(ours.read(pack([tree])))
    assert [float(values[-1]) for values in prefixes] == close(rewards.tolist(), 1e-6)
