"""Loading models, and log-probabilities without logits."""

import json
import shutil
from dataclasses import replace
from math import prod

import pytest
import torch
from plain import RECORDS, make_record, plain_copy
from tiny import ARCHITECTURES, TEMPLATE, tiny_config
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
)
from transformers.utils import logging as transformers_logging

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError
from rewardgap.models import language_model as module
from rewardgap.models.kinds import find_kind
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import pack
from rewardgap.models.reading import PlainReading


class Shapes(TorchDispatchMode):
    """Record the shape of every tensor that any operation makes, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        outputs = output if isinstance(output, tuple | list) else [output]
        self.seen |= {tuple(x.shape) for x in outputs if isinstance(x, torch.Tensor)}
        return output


@pytest.fixture
def llama(folders, tmp_path):
    """A copy of the tiny Llama to damage."""
    return shutil.copytree(folders("llama", "<|pad|>", TEMPLATE), tmp_path / "model")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_and_log_probs_of_a_pack(architecture, folders):
    template = ChatTemplate.load(folders(architecture, "<|pad|>", TEMPLATE))
    model = LanguageModel.load(folders(architecture, "<|pad|>", TEMPLATE), template)
    plain = plain_copy(model.model)
    trees = template.encode(RECORDS)
    packed = pack(trees)
    with torch.no_grad():
        states = model.hidden_states(packed)
        log_probs = model.vocabulary.log_probs(
            states[packed.predicting_positions], packed.response_tokens
        )
        assert states.shape == (len(packed.tokens), 32) and log_probs.dtype == torch.float32
        for tree in trees:
            for leaf in tree.leaves:
                ids = torch.tensor([tree.sequence(leaf)])
                size = len(tree.nodes[leaf])
                expected = plain(input_ids=ids).logits[0, -size - 1 : -1].log_softmax(-1)
                expected = expected.gather(-1, ids[0, -size:, None])[:, 0]
                torch.testing.assert_close(log_probs[:size], expected, atol=1e-5, rtol=1e-5)
                log_probs = log_probs[size:]
    assert len(log_probs) == 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [("implicit", KindConfig()), ("generative", KindConfig(likelihood_weight=1.0))],
)
def test_logits_of_all_positions_are_never_made(kind, options, folders, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_VALUES", 320 * 7 + 1)
    folder = folders("gemma2", "<|pad|>", TEMPLATE)
    ours = find_kind(kind).initialise(folder, ChatTemplate.load(folder), options, torch.float32)
    trees = ours.encode_for_training(RECORDS)
    packed = pack(trees)
    packed = replace(packed, reference=torch.zeros(len(packed.response_positions)))
    with Shapes() as shapes:
        ours(packed).losses.mean().backward()
    rows = {prod(shape[:-1]) for shape in shapes.seen if shape and shape[-1] == 320}
    assert max(rows - {32}) == 7 < len(packed.response_positions), (
        "32 rows: a view of the (320, 32) weights"
    )


def test_new_embeddings_come_from_a_fixed_seed_and_leave_the_generator_alone(folders):
    folder = folders("llama", "<|pad|>", None)
    state = torch.manual_seed(3).get_state()
    first = LanguageModel.load(folder, ChatTemplate.load(folder))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    second = LanguageModel.load(folder, ChatTemplate.load(folder))
    rows = [model.model.get_input_embeddings().weight for model in (first, second)]
    assert rows[0].shape == (323, 32) and torch.equal(*rows)
    assert torch.equal(*[model.model.get_output_embeddings().weight for model in (first, second)])


def test_dropout_is_off_even_in_training(folders, tmp_path):
    config = tiny_config("gpt-neox")
    config.hidden_dropout = config.attention_dropout = 0.5
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    template = ChatTemplate.load(folders("llama", "<|pad|>", TEMPLATE))
    model = LanguageModel.load(tmp_path, template)
    model.model.train()
    packed = pack(template.encode(RECORDS))
    assert torch.equal(model.hidden_states(packed), model.hidden_states(packed))


def test_trees_that_a_model_cannot_read_are_named(folders):
    template = ChatTemplate.load(folders("llama", "<|pad|>", TEMPLATE))
    model = LanguageModel.load(folders("llama", "<|pad|>", TEMPLATE), template)
    (tree,) = template.encode([make_record("a", ["b"], ["c"])])
    model.check_readable([tree])
    fits = replace(tree, nodes=((0,) * 511, (1,), (2,)))
    model.check_readable([fits])
    with pytest.raises(UserError, match="record a has 513 tokens and the model reads at most 512"):
        model.check_readable([tree, replace(fits, nodes=((0,) * 511, (1, 1), (2,)))])
    with pytest.raises(UserError, match="record a has a token that the model has no embedding"):
        model.check_readable([replace(fits, nodes=((0,), (320,), (2,)))])


def test_missing_weights_are_never_drawn_at_random(llama):
    config = json.loads((llama / "config.json").read_text())
    config["id2label"] = {"0": "LABEL_0"}
    (llama / "config.json").write_text(json.dumps(config))
    template = ChatTemplate.load(llama)
    with pytest.raises(UserError, match=r"has no weights score\.weight"):
        find_kind("explicit").load(llama, template, KindConfig(), torch.float32)


def test_a_classifier_is_no_language_model(folders, tmp_path):
    folder = folders("llama", "<|pad|>", TEMPLATE)
    kind = find_kind("explicit")
    kind.initialise(folder, ChatTemplate.load(folder), KindConfig(), torch.float32).save(tmp_path)
    with pytest.raises(UserError, match=r"has no weights lm_head\.weight"):
        LanguageModel.load(tmp_path, ChatTemplate.load(folder))


def test_a_language_model_is_no_classifier(folders):
    folder = folders("llama", "<|pad|>", TEMPLATE)
    with pytest.raises(UserError):
        find_kind("explicit").load(folder, ChatTemplate.load(folder), KindConfig(), torch.float32)


def test_weights_that_do_not_fit_the_configuration(llama):
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(UserError, match="cannot load a model from"):
        LanguageModel.load(llama, ChatTemplate.load(llama))


def test_damaged_weights(llama):
    (llama / "model.safetensors").write_bytes(b"\x10" * 100)
    with pytest.raises(UserError, match="cannot load a model from"):
        LanguageModel.load(llama, ChatTemplate.load(llama))


def test_pickled_weights_are_never_opened(llama):
    (llama / "model.safetensors").unlink()
    (llama / "pytorch_model.bin").write_bytes(b"not to be opened")
    with pytest.raises(UserError, match=r"cannot load a model from .*safetensors"):
        LanguageModel.load(llama, ChatTemplate.load(llama))


def test_a_model_whose_attention_cannot_be_chosen_is_read_sequence_by_sequence(
    folders, tmp_path, caplog
):
    config = BloomConfig(vocab_size=320, hidden_size=32, n_layer=1, n_head=4)
    BloomForCausalLM(config).save_pretrained(tmp_path)
    template = ChatTemplate.load(folders("llama", "<|pad|>", TEMPLATE))
    model = LanguageModel.load(tmp_path, template)
    assert isinstance(model.reading, PlainReading)
    assert caplog.text.count("is computed sequence by sequence, which is slower") == 1


@pytest.mark.parametrize("bars", [True, False])
def test_loading_leaves_the_logging_of_transformers_as_it_was(bars, folders, monkeypatch):
    monkeypatch.setattr(transformers_logging, "_tqdm_active", bars)
    level = transformers_logging.get_verbosity()
    folder = folders("llama", "<|pad|>", TEMPLATE)
    LanguageModel.load(folder, ChatTemplate.load(folder))
    assert transformers_logging.get_verbosity() == level
    assert transformers_logging.is_progress_bar_enabled() == bars


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_last_feed_forward_network_computes_the_positions_read_alone(
    architecture, checkpointing, folders
):
    folder = folders(architecture, "<|pad|>", TEMPLATE)
    template = ChatTemplate.load(folder)
    model = LanguageModel.load(folder, template)
    if checkpointing:
        model.checkpoint_activations()
    packed = pack(template.encode(RECORDS))
    rows = []
    model.model.base_model.layers[-1].mlp.register_forward_hook(
        lambda _, inputs, output: rows.append(inputs[0].shape[1])
    )
    whole = model.hidden_states(packed)
    some = model.hidden_states(packed, packed.last_positions)
    assert rows == [
        len(packed.tokens),
        len(packed.tokens if checkpointing else packed.last_positions),
    ]
    torch.testing.assert_close(some[packed.last_positions], whole[packed.last_positions])
