"""Layouts that name the chosen and the rejected response, in columns of other tools."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rewardgap.data.columns import distinct_ids, text, texts, wrong_cell
from rewardgap.data.layouts.layout import RowLayout, columns, dialogue, inner, items, pair
from rewardgap.data.records import Row
from rewardgap.errors import UserError


def _instruction(row: Row) -> Iterator[Row]:
    """Read LLaMA-Factory's alpaca layout: `instruction` and `input` are joined by a line break."""
    asked = text(row, "instruction")
    if row.get("input"):
        asked = f"{asked}\n{text(row, 'input')}" if asked else text(row, "input")
    history = row.get("history") or []
    if not isinstance(history, list) or not all(
        isinstance(turn, Sequence) and len(turn) == 2 for turn in history
    ):
        raise wrong_cell(row, "history", "a list of pairs of a question and its answer")
    prompt = [*dialogue(history), {"role": "user", "content": asked}]
    yield pair(row, prompt, (row["chosen"], row["rejected"]), "instruction input history")


def _columns(prompt: str, chosen: str, rejected: str) -> Callable[[Row], Iterator[Row]]:
    """Return the reader of three columns with names of their own."""

    def read(row: Row) -> Iterator[Row]:
        sides = row[chosen], row[rejected]
        yield pair(row, row[prompt], sides, f"{prompt} {chosen} {rejected}")

    return read


def _conversations(row: Row) -> Iterator[Row]:
    """Read turns {from, value} before two responses, texts or turns {from, value}."""
    values = (row[key] for key in ("chosen", "rejected"))
    sides = [[value] if isinstance(value, Mapping) else value for value in values]
    yield pair(row, items(row, "conversations"), sides, "conversations")


def _last_message(row: Row) -> Iterator[Row]:
    """Read ms-swift's layout: the last of `messages` is chosen."""
    messages = items(row, "messages")
    if len(messages) < 2:
        raise wrong_cell(row, "messages", "a list of messages that ends with the chosen response")
    rejected = row.get("rejected_response")
    if rejected is None:
        yield pair(row, None, (messages, items(row, "rejected_messages")), "")
    else:
        yield pair(row, messages[:-1], (messages[-1:], rejected), "rejected_response")


def _answers(row: Row) -> Iterator[Row]:
    """Read RMB's pairs."""
    sides = [text(inner(row, key), "answer") for key in ("chosen", "reject")]
    yield pair(row, row["conversation_input"], sides, "")


def _best_of_n(row: Row) -> Iterator[Row]:
    """Read RMB's best response and those that lose to it."""
    best = text(inner(row, "bon_best"), "answer")
    losers = [text(item, "answer") for item in items(row, "loser_list")]
    yield pair(row, row["conversation_input"], (best, losers), "")


def _as_it_is(row: Row) -> Iterator[Row]:
    yield row


def _joined_steps(row: Row) -> Iterator[Row]:
    """Join the steps of each response by line breaks."""
    sides = ["\n".join(texts(row, key)) for key in ("chosen", "rejected")]
    yield {**row, "chosen": sides[0], "rejected": sides[1]}


def _without_prompt(row: Row) -> Iterator[Row]:
    """Remove the text of the prompt from the beginning of both responses."""
    prompt = text(row, "prompt")
    sides = [text(row, key) for key in ("chosen", "rejected")]
    if not all(side.startswith(prompt) for side in sides):
        raise UserError("a response does not begin with `prompt`: leave `layout` out")
    chosen, rejected = (side.removeprefix(prompt).lstrip() for side in sides)
    yield {**row, "chosen": chosen, "rejected": rejected}


def _is_style_grid(row: Row) -> bool:
    sides = row["chosen"], row["rejected"]
    return all(isinstance(side, list) and len(side) == 3 for side in sides)


def _has_messages(row: Row) -> bool:
    return isinstance(row["chosen"], list) and isinstance(row["rejected"], list)


NAMED = {
    "alpaca": RowLayout(
        columns("instruction chosen rejected"), _instruction, columns("prompt completions")
    ),
    "argilla-math": RowLayout(
        columns("instruction chosen_response rejected_response"),
        _columns("instruction", "chosen_response", "rejected_response"),
        columns("prompt chosen rejected"),
    ),
    "input": RowLayout(
        columns("input chosen rejected"),
        _columns("input", "chosen", "rejected"),
        columns("prompt instruction conversations question"),
    ),
    "question": RowLayout(
        columns("question chosen rejected"),
        _columns("question", "chosen", "rejected"),
        columns("prompt instruction conversations input"),
    ),
    "trajectory": RowLayout(
        columns("trajectory chosen rejected"),
        _columns("trajectory", "chosen", "rejected"),
        columns("prompt"),
        gather=distinct_ids,
    ),
    "sharegpt": RowLayout(
        columns("conversations chosen rejected"), _conversations, columns("prompt")
    ),
    "swift": RowLayout(columns("messages rejected_response"), _last_message, columns("chosen")),
    "swift-messages": RowLayout(
        columns("messages rejected_messages"), _last_message, columns("chosen rejected_response")
    ),
    "rmb": RowLayout(columns("conversation_input chosen reject"), _answers),
    "rmb-best-of-n": RowLayout(columns("conversation_input bon_best loser_list"), _best_of_n),
    "tulu3": RowLayout(
        columns("id source prompt chosen rejected chosen_model rejected_model"),
        _as_it_is,
        accepts=_has_messages,
        gather=distinct_ids,
    ),
    "rewardbench-2": RowLayout(columns("prompt chosen rejected num_correct subset"), _as_it_is),
    "rm-bench": RowLayout(
        columns("prompt chosen rejected domain"), _as_it_is, accepts=_is_style_grid
    ),
}
"""Layouts that are recognised by their columns."""

TYPED = {
    "plain": RowLayout(columns(""), _as_it_is),
    "responses": RowLayout(columns("chosen rejected"), _as_it_is),
    "steps": RowLayout(columns("chosen rejected"), _joined_steps),
    "repeated-prompt": RowLayout(columns("prompt chosen rejected"), _without_prompt),
}
"""Layouts that are read where the user names them: no column tells them from others."""
