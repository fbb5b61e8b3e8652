"""Which chat template is used: the model's own, one of a few by name, or a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardgap.errors import UserError, reported


@dataclass(frozen=True)
class Template:
    """A chat template and what a tokenizer needs for it.

    Attributes:
        text: The Jinja template.
        tokens: Special tokens that it writes and that a tokenizer without them gets.
        end: The one of these that ends a response, which then becomes `eos_token`.
    """

    text: str
    tokens: tuple[str, ...] = ()
    end: str | None = None


PAPER = Template(
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[USER]' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '[ASSISTANT]' + message['content'] + '[EOS]' }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '[ASSISTANT]' }}{% endif %}",
    ("[USER]", "[ASSISTANT]", "[EOS]"),
    "[EOS]",
)
"""The paper's format for models without a chat template, with three new special tokens."""

TEMPLATES: Mapping[str, Template] = {
    "paper": PAPER,
    "chatml": Template(
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        ("<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
    ),
    "llama-3": Template(
        "{{ bos_token }}{% for message in messages %}"
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
        "{{ message['content'] | trim + '<|eot_id|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
    ),
    "zephyr": Template(
        "{% for message in messages %}"
        "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
    "alpaca": Template(
        "{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}"
        "{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}"
        "{% elif message['role'] == 'user' %}"
        "{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
        "{% else %}{{ message['content'] + '\n\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
    ),
}


def find_template(name: str | None, of_model: str | Mapping[str, str] | None) -> Template:
    """Return the template that a configuration names; by default that of the model.

    Args:
        name: One of the model's templates if it has several, a name of `TEMPLATES`, or a file of
            Jinja text; None for the model's, and for the paper's if it has none.
        of_model: What the model's tokenizer has: no template, one, or several by name.

    Raises:
        UserError: There is no such template, or no file of text.
    """
    choices = of_model if isinstance(of_model, Mapping) else {}
    if name is None:
        if isinstance(of_model, str):
            return Template(of_model)
        if choices and "default" not in choices:
            names = ", ".join(sorted(choices))
            raise UserError(f"the model has several chat templates: name one as template: {names}")
        return Template(choices["default"]) if choices else PAPER
    if name in choices:
        return Template(choices[name])
    path = Path(name).expanduser()
    if name in TEMPLATES and not path.exists():
        return TEMPLATES[name]
    if not path.is_file():
        names = ", ".join([*sorted(choices), *TEMPLATES])
        raise UserError(f"template: {name} is no file, and no name of a template: {names}")
    with reported((OSError, UnicodeDecodeError), f"template: {name} cannot be read: "):
        return Template(path.read_text(encoding="utf-8"))
