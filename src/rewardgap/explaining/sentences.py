"""An explanation in a few plain sentences, every one derived from its numbers."""

from collections.abc import Sequence
from statistics import fmean

from rewardgap.explaining.explanation import Explanation, Influence, PairInfluence, RecordReward

SHOWN = 60  # characters of a response in a sentence


def summarise(explanation: Explanation) -> str:
    """What the model prefers, which token counts most, and where the training pairs pull."""
    sentences = [_preference(explanation.record), _decisive_token(explanation.record)]
    if explanation.influence is not None:
        sentences.append(_pull(explanation.record, explanation.influence))
    if explanation.counterpart is not None and explanation.drop is not None:
        sentences.append(_drop(explanation.drop, explanation.record, explanation.counterpart))
    return " ".join(sentence for sentence in sentences if sentence)


def number(value: float) -> str:
    """Three digits with a sign, such as +0.0123 or −4.56; plain 0 where nothing is left."""
    text = f"{value:+#.3g}".removesuffix(".")
    return "0" if float(text) == 0 else text.replace("-", "−")


def quote(token: str) -> str:
    """A token as words in a sentence: its spaces and line breaks would not be seen there."""
    return f"“{token.strip() or repr(token)[1:-1]}”"


def _preference(record: RecordReward) -> str:
    highest, other = sorted(record.responses, key=lambda each: -each.reward)[:2]
    if highest.reward == other.reward:
        return (
            f"The {highest.label} and the {other.label} response get the same reward, "
            f"{number(highest.reward)}."
        )
    if record.margin is None:
        return (
            f"Of {len(record.responses)} responses the {highest.label} one gets the highest "
            f"reward, {number(highest.reward)}; next is the {other.label} one with "
            f"{number(other.reward)}."
        )
    return (
        f"The model prefers the {highest.label} response: its reward is {number(highest.reward)}, "
        f"that of the {other.label} one {number(other.reward)} (margin {number(record.margin)})."
    )


def _decisive_token(record: RecordReward) -> str:
    """The token with the largest step; a first one counts beside the other responses' first ones.

    The first step has in it what the prompt alone gives, which is the same for all responses.
    """
    first = fmean(each.steps[0] for each in record.responses)
    steps = [
        (step if k else step - first, k, each.tokens[k], each.label)
        for each in record.responses
        for k, step in enumerate(each.steps)
    ]
    if len({step for each in record.responses for step in each.steps}) == 1:
        return "Every token counts the same."
    step, k, token, label = max(steps, key=lambda each: abs(each[0]))
    if k:
        return f"The largest step is at {quote(token)} in the {label} response ({number(step)})."
    return (
        f"The largest step is at the first token {quote(token)} of the {label} response "
        f"({number(step)} beside the mean of all responses)."
    )


def _pull(record: RecordReward, influence: Influence) -> str:
    """How the training pairs pull at the margin of a pair, or else at the first response."""
    values = influence.margins or influence.responses[0].contributions
    what = "margin" if influence.margins else "reward of the first response"
    up, down, pairs = sum(v > 0 for v in values), sum(v < 0 for v in values), len(values)
    if pairs in (up, down):
        turn = "raised" if up else "lowered"
        counted = f"every one of the {pairs} training pairs {turn} the {what}"
    else:
        together = "up" if sum(values) > 0 else "down"
        counted = (
            f"{up} of {pairs} training pairs raised the {what} and {down} lowered it; "
            f"together they pushed it {together}"
        )
    turned = " Training as a whole went the other way." if _turned(record, influence) else ""
    return f"At the first step of training {counted}.{turned}{_strongest(influence)}"


def _turned(record: RecordReward, influence: Influence) -> bool:
    """Whether training moved the margin, or else the first reward, against its first step."""
    moved = [
        after.reward - before.initial_reward
        for after, before in zip(record.responses, influence.responses, strict=True)
    ]
    if influence.margins:
        return (moved[0] - moved[1]) * sum(influence.margins) < 0
    return moved[0] * influence.responses[0].predicted < 0


def _strongest(influence: Influence) -> str:
    described: Sequence[tuple[int, PairInfluence]] = [
        (i, pair)
        for i, response in enumerate(influence.responses)
        for pair in (*response.raising[:1], *response.lowering[:1])
    ]
    if not described:
        return ""
    _, pair = max(described, key=lambda each: abs(each[1].contribution))
    part = max(pair.parts, key=lambda each: max(map(abs, each.contributions)))
    token = max(range(len(part.tokens)), key=lambda k: abs(part.contributions[k]))
    text = _shorten("".join(part.tokens))
    return (
        f" The pair with the strongest pull on one response is {pair.id}, mostly by "
        f"{quote(part.tokens[token])} in its {part.label} response {text}."
    )


def _shorten(text: str) -> str:
    """The beginning of a text, in quotes."""
    words = " ".join(text.split())
    return f"“{words}”" if len(words) <= SHOWN else f"“{words[:SHOWN].rstrip()}…”"


def _drop(drop: float, record: RecordReward, counterpart: RecordReward) -> str:
    margins = f"from {number(record.margin or 0)} to {number(counterpart.margin or 0)}"
    if drop == 0:
        return f"The counterpart keeps the margin, {number(counterpart.margin or 0)} in both."
    turn = "lowers" if drop > 0 else "raises"
    return f"The counterpart {turn} the margin by {number(abs(drop)).lstrip('+')}, {margins}."
