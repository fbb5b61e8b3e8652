"""Help of a command: an example, the keys that it needs, and all others in groups."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin

from docstring_parser import parse_from_object

from rewardgap.configs.flags import alternatives, shown_flag

OWN = "options"
GROUPS: Mapping[str, tuple[str, ...]] = {
    OWN: (),
    "data": (
        *("train", "train_name", "eval", "data_dir", "train_rows", "eval_rows", "template"),
        *("max_length", "max_pairs", "identical_pairs", "bad_records"),
    ),
    "model": (
        *("model", "models", "kind", "kinds", "reference", "beta", "likelihood_weight"),
        *("verification_prompt", "label", "margin_column", "label_smoothing"),
    ),
    "optimiser": (
        *("epochs", "max_steps", "batch_size", "learning_rate", "schedule", "warmup_steps"),
        *("moment_batch_size", "optimiser", "max_grad_norm", "weight_decay", "batch_tokens"),
        *("frozen_backbone", "seed", "seeds"),
    ),
    "adapter": ("adapter", "lora_rank", "lora_alpha", "lora_targets", "quantise"),
    "output": (
        *("eval_steps", "keep_best", "checkpoint_steps", "report_to", "resume", "overwrite"),
        *("json", "dry_run"),
    ),
    "compute": (
        *("device", "dtype", "token_budget", "memory", "gradient_checkpointing", "compile"),
        *("shard", "offload", "cache", "executor", "address", "cpus_per_cell", "gpus_per_cell"),
        *("retries", "cpus_per_worker", "gpus_per_worker"),
    ),
}
"""Optional keys by what they are about; those of none are the command's own."""

EVERY_COMMAND = (
    ("--config FILE.yaml", "read keys from a YAML file, with underscores; flags win"),
    ("--print-config", "print all keys as YAML, and do nothing"),
    ("--quiet", "say nothing but warnings and results"),
    ("--verbose", "also say what is of interest where something goes wrong"),
    (
        "--log-every SECONDS",
        "time between lines of progress where there is no terminal (default: 30)",
    ),
)
WORDS = {"train": "DATA", "data": "DATA", "out": "PATH", "text": "FILE", "scores": "FILE"}
"""What stands for the value of a key, where its own name would not say it."""
FIELDS = ("settings", "request")
"""Mappings whose values are no data."""
TYPES = {int: "N", float: "NUMBER"}
COLUMN, WIDEST = 28, 100


@dataclass(frozen=True)
class Help:
    """What a command's help shows beside its configuration `form`, a dataclass."""

    command: str
    form: type
    positional: str | None
    example: str

    def __str__(self) -> str:
        """Return the text of the help."""
        keys = {key.name: key for key in fields(self.form)}
        required = [key for key in keys.values() if is_required(key)]
        required.sort(key=lambda key: key.name not in self._positional)
        words = [self._usage(key) for key in required]
        for name in self._positional:
            if not is_required(keys[name]):
                words.append(f"[{self._usage(keys[name])}]")
        usage = ["usage: rewardgap", self.command, *words, "[--KEY VALUE ...]"]
        example = wrap(self.example, WIDEST - COLUMN, break_on_hyphens=False)
        described = parse_from_object(self.form)
        parts = [described.short_description or "", described.long_description or ""]
        blocks = [" ".join(usage), *filter(None, parts), "example:\n  " + " \\\n    ".join(example)]
        if required:
            blocks.append(_block("required", map(self._line, required)))
        for group, names in GROUPS.items():
            members = [keys[name] for name in names if name in keys]
            if group == OWN:
                grouped = {name for names in GROUPS.values() for name in names}
                members = [key for key in keys.values() if key.name not in grouped]
            optional = [key for key in members if not is_required(key)]
            if optional:
                blocks.append(_block(group, map(self._line, optional)))
        blocks.append(_block("every command", EVERY_COMMAND))
        return "\n\n".join(blocks) + "\n"

    @property
    def _positional(self) -> list[str]:
        return (self.positional or "").split()

    def _usage(self, key: Field[Any]) -> str:
        typed = _typed(key)
        return typed.partition(" ")[2] if key.name in self._positional else typed

    def _line(self, key: Field[Any]) -> tuple[str, str]:
        """Return what is typed for a key, and what it says of itself, with its default."""
        typed, text = _typed(key), " ".join(field_texts(self.form)[key.name].split())
        if key.name in self._positional:
            typed = f"{self._usage(key)}, {typed}"
        value = key.default
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text += f" (default: {value})"
        return typed, text


def is_required(key: Field[Any]) -> bool:
    """Return whether a key has no default."""
    return key.default is MISSING and key.default_factory is MISSING


@cache
def field_texts(form: type) -> dict[str, str]:
    """Return what the fields of a dataclass and of those that it extends say of themselves."""
    return {
        parameter.arg_name: parameter.description or ""
        for parent in reversed(form.__mro__[:-1])
        for parameter in parse_from_object(parent).params
    }


def _typed(key: Field[Any]) -> str:
    """Return the flag of a key and a word for its value, such as "--epochs N"."""
    flag = shown_flag(key.name)
    types = [type_ for type_ in alternatives(key.type) if type_ is not type(None)]
    kind, origin = types[0], get_origin(types[0])
    word = WORDS.get(key.name, key.name.rpartition("_")[2].upper())
    if kind is bool:
        return flag
    if origin is dict:
        return f"{flag}.{'KEY VALUE' if key.name in FIELDS else 'NAME DATA'}"
    if origin is list:
        (item,) = get_args(kind)
        return f"{flag} {_value(item, WORDS.get(key.name, word.removesuffix('S')))} ..."
    return f"{flag} {_value(kind, word)}"


def _value(type_: Any, word: str) -> str:
    if get_origin(type_) is Literal:
        return "|".join(map(str, get_args(type_)))
    return TYPES.get(type_, word)


def _block(title: str, lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join([f"{title}:", *(text for line in lines for text in _columns(*line))])


def _columns(typed: str, text: str) -> Iterator[str]:
    """Yield a line of help, wrapped in two columns; a long first one has a line of its own."""
    width = min(shutil.get_terminal_size().columns, WIDEST) - COLUMN
    first, *further = wrap(text, max(width, COLUMN)) or [""]
    start = f"  {typed}"
    if len(start) > COLUMN - 2:
        yield start
        start = ""
    yield f"{start:<{COLUMN}}{first}".rstrip()
    yield from (" " * COLUMN + line for line in further)
