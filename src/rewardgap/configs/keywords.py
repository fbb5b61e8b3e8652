"""Commands as functions of keywords: their values are checked, and `help` describes them."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature, cleandoc
from textwrap import fill, indent
from types import UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from rewardgap.configs.flags import alternatives, in_words, similar
from rewardgap.configs.help import field_texts, is_required
from rewardgap.configs.printing import PrintConfig
from rewardgap.errors import UserError

Config = TypeVar("Config")

WIDTH = 96
ATTRIBUTES = "Attributes:"


def configure(form: type[Config], values: Mapping[str, Any], command: str) -> Config:
    """Return a command's configuration from keywords; a single value may stand for a list of one.

    Raises:
        UserError: A keyword is unknown, is missing, or has a value of another type.
    """
    keys = {key.name: key for key in fields(cast(Any, form))}
    for name in values:
        if name not in keys:
            likely = similar(name, keys)
            hint = f"did you mean {' or '.join(likely)}?" if likely else f"it has {', '.join(keys)}"
            raise UserError(f"rewardgap.{command} has no keyword {name!r}; {hint}")
    missing = [name for name, key in keys.items() if is_required(key) and name not in values]
    if missing:
        raise UserError(
            f"rewardgap.{command} also needs {', '.join(missing)}; see help(rewardgap.{command})"
        )
    return form(**{name: _typed(keys[name], value) for name, value in values.items()})


def _typed(key: Field[Any], value: Any) -> Any:
    """Return a value of the type that its key has; refuse any other."""
    if all(
        get_origin(type_) is list for type_ in alternatives(key.type) if type_ is not type(None)
    ):
        value = value if isinstance(value, list) or value is None else [value]
    if not accepts(key.type, value):
        text = f"{value!r:.60}".partition("\n")[0]
        raise UserError(f"{key.name} must be {in_words(key.type)}; it is {text}")
    return value


def accepts(annotation: Any, value: Any) -> bool:
    """Return whether a value is of an annotated type; whole numbers are numbers too."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, UnionType):
        return any(accepts(type_, value) for type_ in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(accepts(arguments[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            accepts(type_, item)
            for key_and_value in value.items()
            for type_, item in zip(arguments, key_and_value, strict=True)
        )
    if annotation is Any:
        return True
    if isinstance(value, bool):
        return annotation is bool
    return isinstance(value, int | float if annotation is float else annotation)


def signature(form: type) -> Signature:
    """Return the keywords of a configuration's class as the signature of a function."""
    positional = Parameter("config", Parameter.POSITIONAL_ONLY, default=None, annotation=form)
    keywords = [
        Parameter(key.name, Parameter.KEYWORD_ONLY, default=_default(key), annotation=key.type)
        for key in _shown(form)
    ]
    return Signature([positional, *keywords])


def _shown(form: Any) -> list[Field[Any]]:
    """Return the keys of a configuration's class that are of use in Python, required ones first."""
    printing = {key.name for key in fields(PrintConfig)}
    keys = [key for key in fields(form) if key.name not in printing]
    return sorted(keys, key=lambda key: not is_required(key))


def _default(key: Field[Any]) -> Any:
    if is_required(key):
        return Parameter.empty
    return key.default if key.default_factory is MISSING else key.default_factory()


def document(form: type) -> None:
    """Add what every key of a configuration's class means to its docstring, for `help`."""
    text = cleandoc(form.__doc__ or "")
    if ATTRIBUTES not in text:
        form.__doc__ = f"{text}\n\n{describe(form, ATTRIBUTES)}"


def describe(form: type, title: str) -> str:
    """Return what every key of a configuration's class means, as a section of a docstring."""
    texts = field_texts(form)
    lines = [
        fill(
            f"{key.name}: {' '.join(texts[key.name].split())}",
            WIDTH - 4,
            subsequent_indent=" " * 4,
            break_on_hyphens=False,
        )
        for key in _shown(form)
    ]
    return f"{title}\n" + indent("\n".join(lines), " " * 4)
