"""Shapes of chat templates x kinds x records: every reward is that of plain transformers, or the
record is dropped with a reason. Text, borders and positions are found anew from renderings."""

import copy
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from plain import make_record, plain_copy
from shapes import SHAPES, Shape, shape_tokenizer
from tiny import randomise
from transformers import AutoModelForCausalLM, LlamaConfig

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.dropped import encode_usable
from rewardgap.data.records import Message, Record
from rewardgap.models.attention import TREE_ATTENTION
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.scoring.tree_rewards import score_trees
from rewardgap.testing import RECORDS as RECORDS_OF_CONTRACT
from rewardgap.testing import check_kind

KINDS = ("explicit", "implicit-no-reference", "generative")
ASK = "What is two plus two?"
PIRATE = Message("system", "Speak like a pirate.")
ASSISTANT = "assistant"


def several_turns(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("user" if i % 2 else ASSISTANT, text) for i, text in enumerate(texts))


RESPONSES = {
    "plain": ["four", "five"],
    "line break": ["\nfour", "five"],
    "line breaks": ["\n\nfour", "\n five"],
    "parenthesis": ["(a) four", ") five"],
    "fence": ["```python\nprint(4)\n```", "`5`"],
    "spaces at the end": ["four  ", "five \n"],
    "space at the start": [" four", "  five"],
    "unicode": ["é vier", "✗ fünf"],
    "emoji": ["🙂", "🙂🙂 no"],
    "short": ["4", "."],
    "thought": ["<think>two and two</think>four", "<think>\nhm\n</think>\n\nfive"],
    "thought beside none": ["<think>\nso\n</think>\n\nfour", "five"],
    "empty thought": ["<think>\n\n</think>\n\nfour", "</think>five"],
    "special text": ["four<|im_end|>", "<s>five</s>"],
    "tag and brace": ["<b>4</b>", '{"a": 4}'],
    "colon": [": four", "]( five"],
    "many": ["four", "\nfour", "4 (four)", " four"],
    "long": ["yes, four. " * 6, "no\n\nno\n" * 5],
}
RECORDS = [
    *(
        Record(name, (Message("user", ASK),), ys[: len(ys) // 2], ys[len(ys) // 2 :], {})
        for name, texts in RESPONSES.items()
        for ys in [tuple((Message(ASSISTANT, text),) for text in texts)]
    ),
    make_record((PIRATE, Message("user", "With a system message?")), ["four"], ["\nfive"]),
    make_record(
        (
            *(Message("user", "hi\n"), Message(ASSISTANT, "<think>a</think>hello")),
            Message("user", "With earlier turns?"),
        ),
        ["four"],
        [" five"],
    ),
    make_record((Message("user", "Once?"), Message("user", "Twice?")), ["four"], ["five"]),
    Record(
        "turns of a response",
        (Message("user", ASK),),
        (several_turns("three", "sure?", "four"),),
        (several_turns("four", "sure?", "<think>no</think>five"),),
        {},
    ),
]


@pytest.fixture(scope="module")
def language_model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=460,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=TREE_ATTENTION).eval()
    return randomise(model)


class Independent:
    """Rewards by plain transformers, from the template as it came and from whole renderings."""

    def __init__(self, shape: Shape):
        self.shape, self.tokenizer = shape, shape_tokenizer(shape)
        self.tokens = cache(self.written)

    def read_by(self, model: TrainedRewardModel) -> None:
        self.plain = plain_copy(model.model)
        self.plain.config.pad_token_id = None

    def written(self, messages: Sequence[Message], opened: bool = False) -> list[int]:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        options = {"tokenize": True, "return_dict": False, "add_generation_prompt": opened}
        ids = list(self.tokenizer.apply_chat_template(turns, **options))
        return ids if self.shape.ends or opened else [*ids, self.tokenizer.eos_token_id]

    @torch.no_grad()
    def logits(self, tokens: list[int]) -> torch.Tensor:
        return self.plain(input_ids=torch.tensor([tokens])).logits[0]

    def explicit(self, record: Record, response: tuple[Message, ...]) -> float:
        return float(self.logits(self.tokens(record.prompt + response))[0])

    def implicit(self, record: Record, response: tuple[Message, ...]) -> float:
        prompt = self.tokens(record.prompt, opened=True)
        whole = self.tokens(record.prompt + response)
        border = common(prompt, whole)
        log_probs = self.logits(whole).log_softmax(-1)
        return sum(float(log_probs[i - 1, whole[i]]) for i in range(border, len(whole)))

    def generative(self, record: Record, response: tuple[Message, ...]) -> float:
        *before, last = record.prompt
        answer = "\n".join(message.content for message in response)
        question = (
            f"Question: {last.content}\nAnswer: {answer}\n"
            "Verification: Is the answer correct (Yes/No)?"
        )
        turns = (*before, Message("user", question))
        yes, no = (self.tokens((*turns, Message(ASSISTANT, word))) for word in ("Yes", "No"))
        border = common(yes, no)
        asked = yes[:border]
        if self.drops_system(turns):  # once there is an answer, but not before
            asked = self.tokens(turns, opened=True)
        return float(self.logits(asked)[-1].softmax(-1)[yes[border]])

    def drops_system(self, turns: Sequence[Message]) -> bool:
        if turns[0] != PIRATE:
            return False
        answered = self.tokens((*turns, Message(ASSISTANT, "Yes")))
        return "pirate" not in self.tokenizer.decode(answered)

    def is_usable(self, record: Record, kind: str) -> bool:
        """Whether the template writes all of the conversations, without an error."""
        for response in record.responses:
            whole = (*record.prompt, *(() if kind == "generative" else response))
            contents = [m.content for m in whole if "think" not in m.content]
            try:
                self.tokens(record.prompt, opened=True)
                turns = [{"role": m.role, "content": m.content} for m in whole]
                opened = {"add_generation_prompt": kind == "generative"}
                text = self.tokenizer.apply_chat_template(turns, tokenize=False, **opened)
            except Exception:
                return False
            if not all(words(content) in words(text) for content in contents):
                return False
        return True

    def rewards(self, record: Record, kind: str) -> list[float]:
        of_kind = {"explicit": self.explicit, "generative": self.generative}
        return [of_kind.get(kind, self.implicit)(record, y) for y in record.responses]


def words(text: str) -> str:
    return "".join(text.split())


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """The number of tokens that two sequences begin with alike."""
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    return same


@pytest.mark.parametrize("name", SHAPES)
def test_every_reward_is_right_or_the_record_is_dropped(name, language_model):
    shape = SHAPES[name]
    independent = Independent(shape)
    for kind in KINDS:
        cls = find_kind(kind)
        body = LanguageModel(
            copy.deepcopy(language_model) if kind == "explicit" else language_model
        )
        template = ChatTemplate(shape_tokenizer(shape))
        model = cls(cls.adapt(body, seed=0), template, KindConfig()).eval()
        independent.read_by(model)
        dropped = []
        trees = encode_usable(model.encode, RECORDS, None, dropped)
        usable = [record for record in RECORDS if independent.is_usable(record, kind)]
        assert [tree.record for tree in trees] == [record.id for record in usable]
        assert {entry.record for entry in dropped} == {r.id for r in RECORDS if r not in usable}
        assert all(entry.reason.startswith("the chat template ") for entry in dropped)
        for record, rewards in zip(usable, score_trees(model, trees, None, None), strict=True):
            expected = independent.rewards(record, kind)
            for ours, plain in zip(rewards, expected, strict=True):
                assert ours == pytest.approx(plain, rel=1e-5, abs=1e-5), (kind, record.id)


def test_the_table_has_what_it_is_for():
    """Records that merge, that lack a thought, and that are dropped, by shapes of every kind."""
    moved: set[str] = set()
    for name, shape in SHAPES.items():
        template = ChatTemplate(shape_tokenizer(shape))
        trees = encode_usable(template.encode, RECORDS, None, dropped := [])
        moved |= {name for tree in trees if tree.moved and tree.record != "special text"}
        assert (len(trees) + len(dropped), len(trees) > 9) == (len(RECORDS), True), name
    assert len(SHAPES) >= 50 and len(RECORDS) >= 21 and len(moved) >= 20, sorted(moved)


@pytest.mark.parametrize(
    ("kind", "weight"), [("implicit", 0), ("explicit-mean", 0), ("generative", 1)]
)
def test_a_kind_keeps_its_contract_where_prompts_are_divided(kind, weight, folders):
    merging = SHAPES["vicuna with a space"].text
    folder = folders("llama", "<|pad|>", merging)
    trees = ChatTemplate.load(folder).encode(RECORDS_OF_CONTRACT)
    assert any(max(tree.parents) > 0 for tree in trees), "one response merges and another does not"
    check_kind(kind, folder, KindConfig(likelihood_weight=weight))
