"""Chat templates: which text, and which tokens, a model reads."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import RECORDS, make_record
from shapes import NO_SYSTEM
from tiny import SPECIAL, TEMPLATE, tiny_tokenizer
from tokenizers import processors

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Message, Record
from rewardgap.data.templates import PAPER, TEMPLATES
from rewardgap.data.trees import Tree
from rewardgap.errors import BadRecordError, UserError

NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}"
    "{{ '<|begin|>' + m['role'] + '\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|begin|>assistant\n' }}{% endif %}"
)
ASK = make_record("hello", ["yes"], ["no, never"])


def texts(template: ChatTemplate, tree: Tree) -> list[str]:
    """Every sequence of a tree as text."""
    return [
        template.tokenizer.decode(tree.sequence(leaf), clean_up_tokenization_spaces=False)
        for leaf in tree.leaves
    ]


def test_a_tree_of_tokens():
    template = ChatTemplate(tiny_tokenizer())
    (tree,) = template.encode([ASK])

    def ids(text: str) -> tuple[int, ...]:
        return tuple(template.tokenizer.convert_tokens_to_ids(text.split()))

    assert tree == Tree(
        record="hello",
        nodes=(
            ids("<|begin|> <|user|> he l l o <|end|> <|assistant|>"),
            ids("y es <|end|>"),
            ids("n o , Ġn e ver <|end|>"),
        ),
        parents=(-1, 0, 0),
        chosen=1,
        rejected=1,
        lengths=(3, 7),
        head=1,
        opening=2,
        closing=1,
    )


@pytest.mark.parametrize("pad", ["<|pad|>", "<|end|>", None])
def test_conversations_end_with_the_end_of_the_last_turn(pad):
    template = ChatTemplate(tiny_tokenizer(pad))
    (tree,) = template.encode([RECORDS[4]])
    opened = (
        "<|begin|><|system|>I like to help people.<|end|><|user|>Would you say so?<|end|>"
        "<|assistant|>Absolutely.<|end|><|user|>Really?<|end|><|assistant|>"
    )
    assert template.tokenizer.decode(tree.nodes[0]) == opened
    assert texts(template, tree) == [
        opened + "Certainly!<|end|>",
        opened + "My judgement: never.<|end|>",
    ]


def test_a_response_of_several_turns():
    template = ChatTemplate(tiny_tokenizer())
    turns = (Message("assistant", "yes"), Message("user", "sure?"), Message("assistant", "no"))
    record = Record("r", (Message("user", "hi"),), (turns,), (), {})
    (text,) = texts(template, template.encode([record])[0])
    assert text.endswith("<|assistant|>yes<|end|><|user|>sure?<|end|><|assistant|>no<|end|>")


def test_a_tokenizer_that_adds_bos_adds_no_second_one():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    assert tokenizer("hello")["input_ids"][0] == 0
    for tree in ChatTemplate(tokenizer).encode(RECORDS):
        assert tree.nodes[0][0] == 0
        assert sum(node.count(0) for node in tree.nodes) == 1


def test_no_template_means_the_papers(tmp_path):
    template = ChatTemplate(tiny_tokenizer(template=None))
    assert template.added_tokens
    trees = template.encode([ASK, RECORDS[4]])
    assert texts(template, trees[0]) == [
        "[USER]hello[ASSISTANT]yes[EOS]",
        "[USER]hello[ASSISTANT]no, never[EOS]",
    ]
    assert texts(template, trees[1])[0] == (
        "I like to help people.[USER]Would you say so?[ASSISTANT]Absolutely.[EOS]"
        "[USER]Really?[ASSISTANT]Certainly![EOS]"
    )
    assert template.tokenizer.convert_tokens_to_ids(PAPER.tokens) == [320, 321, 322]
    assert trees[0].nodes[0][0] == 320 and trees[0].nodes[1][-1] == 322
    template.tokenizer.save_pretrained(tmp_path)
    again = ChatTemplate.load(tmp_path)
    assert not again.added_tokens and again.encode([ASK]) == template.encode([ASK])


def test_a_template_without_end_of_turn_gets_the_end_of_sequence(tmp_path):
    template = ChatTemplate(tiny_tokenizer(template=NO_END))
    (tree,) = template.encode([ASK])
    assert texts(template, tree)[0] == "user: hello\nassistant: yes\n<|end|>"
    assert template.tokenizer.decode(tree.nodes[0]) == "user: hello\nassistant:"
    template.tokenizer.save_pretrained(tmp_path)
    assert ChatTemplate.load(tmp_path).encode([ASK]) == [tree]
    tokenizer = tiny_tokenizer(pad=None, template=NO_END)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no eos_token"):
        ChatTemplate(tokenizer)


@pytest.mark.parametrize(
    ("template", "opening", "closing"),
    [
        (TEMPLATE, "<|end|><|assistant|>", "<|end|>"),
        (CHATML, "<|end|>\n<|begin|>assistant\n", "<|end|>\n"),
        (NO_END, "\nassistant:", "\n<|end|>"),
        (None, "[ASSISTANT]", "[EOS]"),
    ],
)
def test_truncation_keeps_what_stands_around_a_response(template, opening, closing):
    template = ChatTemplate(tiny_tokenizer(template=template))
    record = make_record("Is it so? " * 9, ["yes, certainly, sure"], ["no, never"])
    (whole,) = template.encode([record])
    (tree,) = template.encode([record], whole.head + whole.opening + whole.closing + 1)
    assert tree.truncated and not whole.truncated
    bos = "<|begin|>" if whole.head else ""
    assert template.tokenizer.decode(tree.nodes[0]) == bos + opening
    for leaf, full in zip(tree.nodes[1:], whole.nodes[1:], strict=True):
        assert leaf[0] == full[0] and template.tokenizer.decode(leaf[1:]) == closing
    (tree,) = template.encode([record], whole.size)
    assert tree == whole


def test_a_response_begins_where_the_generation_prompt_is_not_written():
    """A generation prompt that says more than what precedes a given response."""
    thinking = TEMPLATE.replace("'<|assistant|>' }}", "'<|assistant|>thinks: ' }}")
    (tree,) = ChatTemplate(tiny_tokenizer(template=thinking)).encode([ASK])
    (plain,) = ChatTemplate(tiny_tokenizer()).encode([ASK])
    assert tree == replace(plain, moved=True)
    thought = make_record("hello", ["thinks: yes"], ["thinks: no"])
    (tree,) = ChatTemplate(tiny_tokenizer(template=thinking)).encode([thought])
    assert texts(ChatTemplate(tiny_tokenizer()), tree) == [
        f"<|begin|><|user|>hello<|end|><|assistant|>thinks: {word}<|end|>" for word in ("yes", "no")
    ]


MERGING = NO_END.replace("assistant:", "assistant: ")  # its last space becomes part of " yes"


def test_every_response_begins_at_its_own_border():
    """Independent of the other responses to the prompt, by the definition, token by token."""
    template = ChatTemplate(tiny_tokenizer(template=MERGING))
    record = make_record("hello", ["yes", " really"], ["7", "no"])
    (tree,) = template.encode([record])
    prompt = template.tokenizer("user: hello\nassistant: ")["input_ids"]
    borders = []
    for leaf, (message,) in zip(tree.leaves, record.responses, strict=True):
        text = f"user: hello\nassistant: {message.content}\n<|end|>"
        whole = template.tokenizer(text)["input_ids"]
        pairs = [*zip(prompt, whole, strict=False), (0, 1)]
        border = next(i for i, (a, b) in enumerate(pairs) if a != b)
        assert tree.sequence(leaf) == tuple(whole)
        assert tree.nodes[leaf] == tuple(whole[border:])
        (alone,) = template.encode([make_record("hello", [message.content], [])])
        assert alone.nodes == (tuple(whole[:border]), tuple(whole[border:]))
        assert alone.moved == (border < len(prompt))
        borders.append(border)
    assert len(set(borders)) == 2, "some merge and some do not"
    assert tree.moved and tree.nodes[0] == tuple(prompt[: min(borders)])


@pytest.mark.parametrize("length", [13, 15, 18, 99])
def test_a_divided_prompt_is_truncated_like_any(length):
    template = ChatTemplate(tiny_tokenizer(template=MERGING))
    record = make_record("hello, is it so?", ["yes, sure, certainly"], ["7"])
    (whole,), (cut,) = template.encode([record]), template.encode([record], length)
    assert len(whole.nodes) == 4 and len(whole.leaves) == 2
    longest = max(len(whole.sequence(leaf)) for leaf in whole.leaves)
    assert max(len(cut.sequence(leaf)) for leaf in cut.leaves) == min(length, longest)
    assert cut.truncated == (length < longest) and cut.parents == whole.parents
    for leaf in cut.leaves:
        before, after = cut.sequence(leaf), whole.sequence(leaf)
        assert cut.nodes[leaf][-cut.closing :] == whole.nodes[leaf][-cut.closing :]
        assert cut.nodes[1] == whole.nodes[1] and len(before) <= len(after)
        root = len(cut.nodes[0])
        assert root >= cut.opening and cut.nodes[0] == whole.nodes[0][-root:]
    with pytest.raises(UserError, match="leaves no room for a response; it must be at least 13"):
        template.encode([record], 12)


def dropping(role: str) -> str:
    return TEMPLATE.replace("in messages", f"in messages if m['role'] != '{role}'")


def test_messages_that_a_template_leaves_out_are_refused():
    with pytest.raises(BadRecordError, match=r"^record hello: .* leaves out .* role 'assistant'"):
        ChatTemplate(tiny_tokenizer(template=dropping("assistant"))).encode([ASK])
    template = ChatTemplate(tiny_tokenizer(template=dropping("system")))
    with pytest.raises(BadRecordError, match=r"^record Really.* leaves out .* role 'system'"):
        template.encode([ASK, RECORDS[4]])
    assert len(template.encode([ASK])) == 1
    asked = TEMPLATE.replace("in messages", "in messages if m['role'] != 'system' or brief")
    template = ChatTemplate(tiny_tokenizer(template=asked))
    written = replace(RECORDS[4], template_arguments={"brief": True})
    assert len(template.encode([written])) == 1
    with pytest.raises(BadRecordError, match=r"leaves out .* role 'system'"):
        template.encode([RECORDS[4]])


def test_errors_of_a_template_name_the_record():
    template = ChatTemplate(tiny_tokenizer(template=NO_SYSTEM + TEMPLATE))
    with pytest.raises(BadRecordError, match=r"^record Really\?: the chat template fails: no sys"):
        template.encode([ASK, RECORDS[4]])
    half = "{{ '\\ud800' }}"
    for broken in (
        "{{ absent.field }}",
        "{{ 1 + '' }}",
        "{% if %}",
        "{{ ''.__class__.mro() }}",
        half,
    ):
        with pytest.raises(UserError, match=r"^the chat template fails: "):
            ChatTemplate(tiny_tokenizer(template=broken + TEMPLATE))


def test_a_template_that_writes_nothing_of_or_before_a_response():
    """One that writes a response without its end, and one that writes nothing else."""
    strips = TEMPLATE.replace("m['content']", "m['content'].strip('yes')") + "<|end|>"
    strips = strips.replace("'<|' + m['role'] + '|>' + ", "").replace(" + '<|end|>'", "")
    template = ChatTemplate(tiny_tokenizer(template=strips.replace("<|assistant|>", "")))
    with pytest.raises(BadRecordError, match=r"record hello: .* writes nothing of a response"):
        template.encode([ASK])
    late = "{% if add_generation_prompt %}{{ 'x' }}{% endif %}" + NO_END
    with pytest.raises(BadRecordError, match=r"record hello: .* writes nothing before a response"):
        ChatTemplate(tiny_tokenizer(template=late)).encode([ASK])


@pytest.mark.parametrize("name", TEMPLATES)
def test_named_templates(name, tmp_path):
    template = ChatTemplate(tiny_tokenizer(), name)
    (tree,) = template.encode([ASK])
    assert template.added_tokens == bool(TEMPLATES[name].tokens) and not tree.moved
    assert template.end_of_turn is not None and template.end_of_turn in tree.nodes[1]
    template.tokenizer.save_pretrained(tmp_path)
    again = ChatTemplate.load(tmp_path)
    assert not again.added_tokens and again.encode([ASK]) == [tree]
    assert ChatTemplate.load(tmp_path, name).encode([ASK]) == [tree]


def test_a_template_from_a_file_and_one_of_several(tmp_path):
    (tmp_path / "my.jinja").write_text(CHATML)
    expected = ChatTemplate(tiny_tokenizer(template=CHATML)).encode([ASK])
    chosen = ChatTemplate(tiny_tokenizer(), str(tmp_path / "my.jinja"))
    assert chosen.encode([ASK]) == expected and not chosen.added_tokens
    several = {"default": TEMPLATE, "other": CHATML}
    assert ChatTemplate(tiny_tokenizer(template=several), "other").encode([ASK]) == expected
    default = ChatTemplate(tiny_tokenizer(template=several)).encode([ASK])
    assert default == ChatTemplate(tiny_tokenizer()).encode([ASK])
    with pytest.raises(UserError, match=r"template: absent is no file, .*: default, other, paper,"):
        ChatTemplate(tiny_tokenizer(template=several), "absent")
    with pytest.raises(UserError, match="name one as template: other"):
        ChatTemplate(tiny_tokenizer(template={"other": CHATML}))
    (tmp_path / "bytes.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes.jinja cannot be read"):
        ChatTemplate(tiny_tokenizer(), str(tmp_path / "bytes.jinja"))


def test_folders_without_a_tokenizer_are_named(tmp_path):
    with pytest.raises(UserError, match=r"has no tokenizer \(tokenizer.json\)"):
        ChatTemplate.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot load a tokenizer"):
        ChatTemplate.load(tmp_path)


def test_no_records_are_no_trees():
    assert ChatTemplate(tiny_tokenizer()).encode([]) == []


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: not any(token in text for token in [*SPECIAL, *PAPER.tokens])
)


@settings(max_examples=60, deadline=None)
@given(words, st.lists(words, min_size=1, max_size=4), st.sampled_from([TEMPLATE, None]))
def test_any_text_is_read_as_it_is_written(prompt, responses, form):
    template = ChatTemplate(tiny_tokenizer(template=form))
    (tree,) = template.encode([make_record(prompt, responses, [])])
    written = "[USER]{}[ASSISTANT]{}[EOS]"
    if form:
        written = "<|begin|><|user|>{}<|end|><|assistant|>{}<|end|>"
    assert texts(template, tree) == [written.format(prompt, y) for y in responses]
    assert all(node[-1] == template.closing_tokens()[-1] for node in tree.nodes[1:])


def test_the_fingerprint_is_of_all_that_is_written():
    """Special tokens that the template writes, and words that it takes from elsewhere."""
    written = "{{ bos_token }}" + TEMPLATE
    dated = "{{ strftime_now('%d') }}" + TEMPLATE
    first, again = (ChatTemplate(tiny_tokenizer(template=written)).fingerprint for _ in range(2))
    assert first == again
    other = tiny_tokenizer(template=written)
    other.bos_token = "<|end|>"
    assert ChatTemplate(other).fingerprint != first
    assert ChatTemplate(tiny_tokenizer(template=dated)).fingerprint != first
