"""Rows of any known layout as rows of our own, or a refusal that names what to type."""

import logging
import re
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

from rewardgap.data.columns import listed
from rewardgap.data.layouts import LAYOUTS, RECOGNISED
from rewardgap.data.parsing import unlabelled_column
from rewardgap.data.records import RefusedRow, Row, Rows
from rewardgap.errors import UserError

logger = logging.getLogger(__name__)

MEDIA = ("images", "image", "videos", "video", "audios", "audio")
STEP = re.compile(r"\s*(?:step\s*\d|\d+\s*[.):])", re.IGNORECASE)
ECHO_WORDS = 3
"""Words of a prompt with which two responses hardly begin by themselves."""


def in_one_layout(rows: Rows, name: str | None = None) -> Rows:
    """Yield rows `prompt`, `chosen`, `rejected` from rows of any known layout.

    A layout is recognised row by row, by columns and values, unless its name is given. Rows of no
    known layout stay as they are.

    Raises:
        UserError: There is no layout of this name; a row may be read in two ways; it has images.
    """
    if name is not None and name not in LAYOUTS:
        raise UserError(f"`layout` must be one of {', '.join(LAYOUTS)}, not {name!r}")
    checked = _without_media(rows)

    def kind(placed: tuple[str, Row]) -> tuple[str, str | None]:
        if isinstance(placed[1], RefusedRow):
            return _file(placed[0]), None
        return _file(placed[0]), _typed(*placed, name) if name else _recognise(*placed)

    for (file, layout), group in groupby(checked, kind):
        read = partial(LAYOUTS[layout].convert, file=file) if layout else _named_once
        yield from read(group)


def labelled(rows: Rows) -> Rows:
    """Yield rows; refuse one whose responses are not labelled as chosen or rejected."""
    for location, row in rows:
        if key := unlabelled_column(row):
            raise UserError(
                f"{location}: `{key}` without labels: only `rewardgap score` and `rewardgap rank` "
                "read that; to train or to measure, name them `chosen` and `rejected`"
            )
        yield location, row


def _without_media(rows: Rows) -> Rows:
    """Refuse rows with images, and say which column is used only where it is named."""
    margins = False
    for location, row in rows:
        if key := next(filter(row.get, MEDIA), None):
            reason = f"`{key}` cannot be read, for rewards are of text only"
            remedy = "remove the row, or the column if the text says all"
            row = RefusedRow(f"{reason}: {remedy}")
        if row.get("margin") is not None and not margins:
            margins = True
            logger.warning(
                "%s: `margin` has an effect only in train --margin-column margin", _file(location)
            )
        yield location, row


def _typed(location: str, row: Row, name: str) -> str:
    """Return the layout that was typed, if the row has its columns."""
    if missing := sorted(key for key in LAYOUTS[name].columns if row.get(key) is None):
        columns = f"(columns: {listed(row)})"
        raise UserError(f"{location}: `{missing[0]}` is missing for the layout {name} {columns}")
    return name


def _recognise(location: str, row: Row) -> str | None:
    columns = frozenset(key for key, value in row.items() if value is not None)
    names = [name for name in _possible(columns) if RECOGNISED[name].matches(row, columns)]
    if len(names) > 1:
        raise UserError(f"{location}: its layout is not clear: {_choice(location, names)}")
    if not names:
        _refuse_two_readings(location, row)
    return names[0] if names else None


@lru_cache(maxsize=4096)
def _possible(columns: frozenset[str]) -> tuple[str, ...]:
    """Return the layouts whose columns are there."""
    return tuple(name for name, layout in RECOGNISED.items() if layout.columns <= columns)


def _refuse_two_readings(location: str, row: Row) -> None:
    match row:
        case {"responses": list(), "scores": list()} if row.get("chosen") is None:
            parts = ("best-worst", "all-pairs")
            names = [f"scored:{part}?path={_file(location)}" for part in parts]
            remedy = f"name the data as {' or '.join(names)}, or {_file(location)}?layout=plain "
            remedy += "to score or rank responses without labels"
            raise UserError(f"{location}: scores can be compared in two ways: {remedy}")
        case {"chosen": list(chosen), "rejected": list(rejected)}:
            if _are_lists(chosen, rejected) and any(map(STEP.match, (*chosen, *rejected))):
                meaning = "a list may be the steps of one response, or several responses"
                choice = _choice(location, ["steps", "responses"])
                raise UserError(f"{location}: {meaning}: {choice}")
        case {"prompt": str(prompt), "chosen": str(chosen), "rejected": str(rejected)}:
            begin = chosen.startswith(prompt) and rejected.startswith(prompt)
            if begin and len(prompt.split()) >= ECHO_WORDS:
                meaning = "both responses begin with `prompt`, repeated or as part of them"
                choice = _choice(location, ["repeated-prompt", "plain"])
                raise UserError(f"{location}: {meaning}: {choice}")


def _named_once(rows: Rows) -> Rows:
    """Say once that lists are read as several responses."""
    named = False
    for location, row in rows:
        if not named and _are_lists(row.get("chosen"), row.get("rejected")):
            named = True
            reading = "lists are read as several responses, every chosen one beats every rejected"
            logger.warning("%s: %s; for steps add ?layout=steps", _file(location), reading)
        yield location, row


def _are_lists(*sides: Any) -> bool:
    """Tell whether both sides are lists of at least two texts."""
    return all(
        isinstance(side, list) and len(side) > 1 and all(isinstance(text, str) for text in side)
        for side in sides
    )


def _choice(location: str, names: list[str]) -> str:
    """Return what to type for each reading."""
    return "name the data as " + " or ".join(f"{_file(location)}?layout={name}" for name in names)


def _file(location: str) -> str:
    return location.rpartition(", ")[0]
