"""Shapes of chat templates that models come with, in words of our own, and tokenizers for them.

A shape says what is written around each role's text; what a family does beside that (raises,
strips a thought, opens one, writes a date) is in its Jinja text.
"""

import json
from dataclasses import dataclass
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

Around = tuple[str, str]

ALTERNATE = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
)
PLAIN, TRIM, SPLIT = "m['content']", "m['content'] | trim", "m['content'].split('</think>')[-1]"
DATE = "{{ 'Today: ' + strftime_now('%d %b %Y') }}"


@dataclass(frozen=True)
class Shape:
    """A chat template.

    Attributes:
        text: The template.
        spaces: Whether its tokenizer writes spaces as ▁ (as SentencePiece does).
        ends: Whether it ends a response with a special token.
    """

    text: str
    spaces: bool = False
    ends: bool = True


def write(
    user: Around,
    assistant: Around,
    opening: str,
    system: Around | None = None,
    *,
    begin: str = "",
    content: str = PLAIN,
    answer: str | None = None,
    **options: bool,
) -> Shape:
    """A template of the usual form; without `system` its text is written like a user's."""
    parts = {"user": user, "assistant": assistant, "system": system or user}
    cases = [
        f"{{% {'elif' if i else 'if'} m['role'] == '{role}' %}}"
        f"{{{{ {quoted(before)} + ({(answer if role == 'assistant' else None) or content}) }}}}"
        f"{{{{ {quoted(after)} }}}}"
        for i, (role, (before, after)) in enumerate(parts.items())
    ]
    loop = "{% for m in messages %}" + "".join(cases) + "{% endif %}{% endfor %}"
    end = "{% if add_generation_prompt %}{{ " + quoted(opening) + " }}{% endif %}"
    return Shape(begin + loop + end, **options)


def quoted(text: str) -> str:
    """A Jinja expression of a text, in which BOS and EOS stand for the tokenizer's."""
    expression = json.dumps(text, ensure_ascii=False)
    return expression.replace("BOS", '" + bos_token + "').replace("EOS", '" + eos_token + "')


def chatml(opening: str = "", **options: object) -> Shape:
    assistant = options.pop("assistant", ("<|im_start|>assistant\n", "<|im_end|>\n"))
    return write(
        ("<|im_start|>user\n", "<|im_end|>\n"),
        assistant,
        "<|im_start|>assistant\n" + opening,
        ("<|im_start|>system\n", "<|im_end|>\n"),
        **options,
    )


DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a model.<|im_end|>\n' }}{% endif %}"
)
KEEPS_THOUGHT = (  # as Qwen3: a given thought is written anew, an empty one where there is none
    "(('<think>\n' + m['content'].split('</think>')[0].split('<think>')[-1].strip()"
    " + '\n</think>\n\n' + m['content'].split('</think>')[-1].lstrip('\n'))"
    " if '</think>' in m['content'] else '<think>\n\n</think>\n\n' + m['content'])"
    " if loop.last else m['content'].split('</think>')[-1].lstrip('\n')"
)
DEEPSEEK = ("<｜User｜>", ""), ("<｜Assistant｜>", "EOS")
INST = ("[INST] ", " [/INST]"), ("", "EOS")
LLAMA_3 = tuple(
    (f"<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>")
    for role in ("user", "assistant", "system")
)
GEMMA = ("<start_of_turn>user\n", "<end_of_turn>\n"), ("<start_of_turn>model\n", "<end_of_turn>\n")
COMMAND = tuple(
    (f"<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
    for role in ("USER", "CHATBOT", "SYSTEM")
)
ZEPHYR = ("<|user|>\n", "EOS\n"), ("<|assistant|>\n", "EOS\n")

SHAPES = {
    "chatml": chatml(),
    "yi": chatml(assistant=("<|im_start|>assistant\n", "<|im_end|>")),
    "qwen2.5": chatml(begin=DEFAULT_SYSTEM),
    "smollm": chatml(begin=DEFAULT_SYSTEM, content=TRIM),
    "qwen3": chatml(answer=KEEPS_THOUGHT),
    "qwen3.5": chatml("<think>\n", answer=KEEPS_THOUGHT),
    "qwen3.5 without thoughts": chatml("<think>\n\n</think>\n\n", answer=KEEPS_THOUGHT),
    "qwen3 instruct": chatml("<think>\n\n</think>\n\n"),
    "qwq": chatml("<think>\n", answer=SPLIT),
    "kimi": write(
        ("<|im_user|>user<|im_middle|>", "<|im_end|>"),
        ("<|im_assistant|>assistant<|im_middle|>", "<|im_end|>"),
        "<|im_assistant|>assistant<|im_middle|>",
    ),
    "kimi thinking": write(
        ("<|im_user|>user<|im_middle|>", "<|im_end|>"),
        ("<|im_assistant|>assistant<|im_middle|><think></think>", "<|im_end|>"),
        "<|im_assistant|>assistant<|im_middle|>",
    ),
    "llama-2": write(
        ("BOS[INST] ", " [/INST]"),
        (" ", " EOS"),
        "",
        begin=NO_SYSTEM + ALTERNATE,
        content=TRIM,
        spaces=True,
    ),
    "llama-3": write(
        *LLAMA_3[:2], LLAMA_3[1][0], LLAMA_3[2], begin="{{ bos_token }}", content=TRIM
    ),
    "llama-3.1": write(
        *LLAMA_3[:2], LLAMA_3[1][0], LLAMA_3[2], begin="{{ bos_token }}" + DATE, content=TRIM
    ),
    "mistral v0.1": write(*INST, "", begin="{{ bos_token }}" + NO_SYSTEM + ALTERNATE, spaces=True),
    "mistral of bytes": write(*INST, "", begin="{{ bos_token }}" + NO_SYSTEM),
    "mistral v0.3": Shape(  # writes a system message before the last turn, if that is the user's
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
        "{% if loop.last and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
        "{% endif %}{{ m['content'] + '[/INST]' }}{% elif m['role'] == 'assistant' %}"
        "{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}",
        spaces=True,
    ),
    "gemma 2": write(
        *GEMMA, GEMMA[1][0], begin="{{ bos_token }}" + NO_SYSTEM + ALTERNATE, content=TRIM
    ),
    "gemma 3": write(*GEMMA, GEMMA[1][0], begin="{{ bos_token }}", content=TRIM),
    "gemma 4": write(
        ("<|turn>user\n", "<turn|>\n"),
        ("<|turn>model\n", "<turn|>\n"),
        "<|turn>model\n<|channel>thought\n<channel|>",
        begin="{{ bos_token }}",
        content=TRIM,
    ),
    "phi-3": write(
        ("<|user|>\n", "<|end|>\n"),
        ("<|assistant|>\n", "<|end|>\n"),
        "<|assistant|>\n",
        spaces=True,
    ),
    "phi-4": write(
        ("<|im_start|>user<|im_sep|>", "<|im_end|>"),
        ("<|im_start|>assistant<|im_sep|>", "<|im_end|>"),
        "<|im_start|>assistant<|im_sep|>",
    ),
    "zephyr": write(*ZEPHYR, "<|assistant|>\n", spaces=True),
    "tulu": write(("<|user|>\n", "\n"), ("<|assistant|>\n", "EOS\n"), "<|assistant|>\n", ends=True),
    "olmo": write(
        ("<|user|>\n", "\n"), ("<|assistant|>\n", "EOS"), "<|assistant|>\n", begin="{{ bos_token }}"
    ),
    "starchat": write(
        ("<|user|>\n", "<|end|>\n"),
        ("<|assistant|>\n", "<|end|>\n"),
        "<|assistant|>",
        ("<|system|>\n", "<|end|>\n"),
    ),
    "vicuna": write(("USER: ", " "), ("ASSISTANT: ", "EOS"), "ASSISTANT:", ("", " "), spaces=True),
    "vicuna with a space": write(("USER: ", " "), ("ASSISTANT: ", "EOS"), "ASSISTANT: ", ("", " ")),
    "alpaca": write(
        ("### Instruction:\n", "\n\n"), ("### Response:\n", "\n\n"), "### Response:\n", ends=False
    ),
    "solar": write(
        ("### User:\n", "\n\n"),
        ("### Assistant:\n", "\n\n"),
        "### Assistant:\n",
        ends=False,
        spaces=True,
    ),
    "falcon": write(
        ("User: ", "\n\n"),
        ("Assistant: ", "\n\n"),
        "Assistant:",
        ("", "\n\n"),
        ends=False,
        content="m['content'].replace('\n\n', '\n') | trim",
    ),
    "command-r": write(*COMMAND[:2], COMMAND[1][0], COMMAND[2], begin="{{ bos_token }}"),
    "command-a": write(
        COMMAND[0],
        (COMMAND[1][0] + "<|START_RESPONSE|>", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
        COMMAND[1][0],
        COMMAND[2],
        begin="{{ bos_token }}",
    ),
    "deepseek v2": write(
        ("User: ", "\n\n"),
        ("Assistant: ", "EOS"),
        "Assistant:",
        ("", "\n\n"),
        begin="{{ bos_token }}",
    ),
    "deepseek v3": write(*DEEPSEEK, "<｜Assistant｜>", ("", ""), begin="{{ bos_token }}"),
    "deepseek v3.1": write(
        DEEPSEEK[0],
        ("<｜Assistant｜></think>", "EOS"),
        "<｜Assistant｜></think>",
        ("", ""),
        begin="{{ bos_token }}",
        answer=SPLIT,
    ),
    "deepseek r1": write(
        *DEEPSEEK, "<｜Assistant｜><think>\n", ("", ""), begin="{{ bos_token }}", answer=SPLIT
    ),
    "glm-4": write(
        ("<|user|>\n", ""),
        ("<|assistant|>\n", ""),
        "<|assistant|>\n",
        begin="{{ '[gMASK]<sop>' }}",
        ends=False,
    ),
    "glm-4.5": write(
        ("<|user|>\n", ""),
        ("<|assistant|>\n<think></think>\n", ""),
        "<|assistant|>",
        begin="{{ '[gMASK]<sop>' }}",
        content=TRIM,
        ends=False,
    ),
    "chatglm": write(
        ("<|user|>\n ", ""),
        ("<|assistant|>\n ", ""),
        "<|assistant|>",
        begin="{{ '[gMASK]<sop>' }}",
        ends=False,
        spaces=True,
    ),
    "nemotron": write(
        ("<extra_id_1>User\n", "\n"),
        ("<extra_id_1>Assistant\n", "\n"),
        "<extra_id_1>Assistant\n",
        ("<extra_id_0>System\n", "\n"),
        content=TRIM,
        ends=False,
    ),
    "nemotron 3": chatml(
        "<think>\n", assistant=("<|im_start|>assistant\n<think></think>", "<|im_end|>\n")
    ),
    "minimax m2": write(
        ("]~b]user\n", "[e~[\n"),
        ("]~b]ai\n", "[e~[\n"),
        "]~b]ai\n<think>\n",
        ("]~!b[]~b]system\n", "[e~[\n"),
        answer=SPLIT,
    ),
    "gpt-oss": write(
        ("<|start|>user<|message|>", "<|end|>"),
        ("<|start|>assistant<|channel|>final<|message|>", "<|return|>"),
        "<|start|>assistant",
        ("<|start|>developer<|message|># Instructions\n\n", "<|end|>"),
        begin=DATE,
    ),
    "granite": write(
        ("<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"),
        ("<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>\n"),
        "<|start_of_role|>assistant<|end_of_role|>",
    ),
    "internlm": write(
        ("<|User|>:", "\n"),
        ("<|Bot|>:", "<eoa>\n"),
        "<|Bot|>:",
        begin="{{ bos_token }}",
        spaces=True,
    ),
    "baichuan": write(("<reserved_106>", ""), ("<reserved_107>", ""), "<reserved_107>", ends=False),
    "openchat": write(
        ("GPT4 Correct User: ", "<|end_of_turn|>"),
        ("GPT4 Correct Assistant: ", "<|end_of_turn|>"),
        "GPT4 Correct Assistant:",
        begin="{{ bos_token }}",
        spaces=True,
    ),
    "jamba": write(
        ("<|bom|><|user|> ", "<|eom|>"),
        ("<|bom|><|assistant|> ", "<|eom|>"),
        "<|bom|><|assistant|> ",
        begin="{{ bos_token }}",
    ),
    "hunyuan": write(("BOS", "<|extra_0|>"), ("", "EOS"), ""),
    "exaone": write(
        ("[|user|]", "\n"),
        ("[|assistant|]", "[|endofturn|]\n"),
        "[|assistant|]",
        ("[|system|]", "[|endofturn|]\n"),
    ),
    "plain text": write(
        ("Q: ", "\n"), ("A: ", "\n"), "A:", begin="{{ bos_token }}", ends=False, spaces=True
    ),
    "without a system": Shape(
        chatml().text.replace("in messages", "in messages if m['role'] != 'system'")
    ),
    "last question alone": Shape(
        "{% for m in messages %}{% if m['role'] == 'assistant' and loop.last %}"
        "{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}{% elif m['role'] == 'user' and "
        "loop.revindex <= (1 if add_generation_prompt else 2) %}"
        "{{ '<|im_sep|>' + m['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
    ),
    "first date": chatml(begin=DATE),
    "strips lines": chatml(content="m['content'].strip('\n')"),
}

SPECIAL = [
    *(
        "<s>",
        "</s>",
        "<pad>",
        "[INST]",
        "[/INST]",
        "[gMASK]",
        "<sop>",
        "<|im_start|>",
        "<|im_end|>",
    ),
    *("<|im_sep|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<think>", "</think>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|user|>", "<|assistant|>", "<|system|>"),
    *("<|end|>", "<｜User｜>", "<｜Assistant｜>", "<extra_id_0>", "<extra_id_1>", "]~b]", "[e~["),
    *("<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|start_of_role|>", "<eoa>"),
    *("<|end_of_role|>", "<|end_of_text|>", "<reserved_106>", "<reserved_107>", "<|end_of_turn|>"),
    *("<|bom|>", "<|eom|>", "<|extra_0|>", "[|user|]", "[|assistant|]", "[|endofturn|]"),
    *("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    *("<|END_OF_TURN_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|User|>", "<|Bot|>"),
]
TEXT = [
    "Yes No What is two plus two?\nfour\n\nfive\n\n\nsix: Assistant: yes USER: (a) it",
    "user\nassistant\n\nsystem\n\nmodel\n### Response:\n\n[INST] see [this](url) [/INST]",
    '```python\nprint(1)\n```\n{"a": 1} Question: Answer: Verification: Is the answer correct?',
]


@cache
def _trained(spaces: bool) -> str:
    """A byte-level BPE that keeps runs of line breaks together, or one of pieces with ▁."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=spaces, unk_token=None))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if spaces:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
        alphabet = [chr(code) for code in range(32, 127)] + ["\n", "▁", "é", "✓", "🙂"]
    else:
        words = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        parts = [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
        tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=460, special_tokens=SPECIAL, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(TEXT * 9, trainer)
    return str(tokenizer.to_str())


def shape_tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    """A tokenizer of at most 460 tokens with the shape's template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(shape.spaces)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=shape.text,
    )
