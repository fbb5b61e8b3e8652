"""An explanation in a few plain sentences, every one derived from its numbers."""

from statistics import fmean

from rewardgap.explaining.explanation import Explanation, Influence, RecordReward

SHOWN = 60  # characters of a response in a sentence


def describe(explanation: Explanation) -> str:
    """Return what the model prefers, which token counts most, and where training pairs pull."""
    sentences = [_preference(explanation.record), _decisive_token(explanation.record)]
    if explanation.influence is not None:
        sentences.append(_pull(explanation.record, explanation.influence))
    if explanation.counterpart is not None and explanation.drop is not None:
        sentences.append(_drop(explanation.drop, explanation.record, explanation.counterpart))
    return " ".join(sentences)


def number(value: float) -> str:
    """Return three digits with a sign, such as +0.0123 or −4.56; plain 0 for nothing."""
    text = f"{value:+#.3g}".removesuffix(".")
    return "0" if float(text) == 0 else text.replace("-", "−")


def quote(token: str) -> str:
    """Return a token in quotes; one of spaces or line breaks alone by its escapes."""
    return f"“{token.strip() or repr(token)[1:-1]}”"


def _preference(record: RecordReward) -> str:
    highest, second = sorted(record.responses, key=lambda response: -response.reward)[:2]
    best, next_best = number(highest.reward), number(second.reward)
    if highest.reward == second.reward:
        return f"The {highest.label} and the {second.label} response get the same reward, {best}."
    if record.margin is None:
        return (
            f"Of {len(record.responses)} responses the {highest.label} one gets the highest "
            f"reward, {best}; next is the {second.label} one with {next_best}."
        )
    return (
        f"The model prefers the {highest.label} response: its reward is {best}, that of the "
        f"{second.label} one {next_best} (margin {number(record.margin)})."
    )


def _decisive_token(record: RecordReward) -> str:
    """Return the token with the largest step.

    The first step of a response also has what the prompt alone gives, which is the same for all
    responses: it is compared with the mean of their first steps.
    """
    first = fmean(response.steps[0] for response in record.responses)
    steps = [
        (step if k else step - first, k, response.tokens[k], response.label)
        for response in record.responses
        for k, step in enumerate(response.steps)
    ]
    if len({step for response in record.responses for step in response.steps}) == 1:
        return "Every token counts the same."
    step, k, token, label = max(steps, key=lambda candidate: abs(candidate[0]))
    if k:
        return f"The largest step is at {quote(token)} in the {label} response ({number(step)})."
    return (
        f"The largest step is at the first token {quote(token)} of the {label} response "
        f"({number(step)} beside the mean of all responses)."
    )


def doubt(explanation: Explanation) -> str:
    """Return what of the explanation should not be believed, and why; empty where nothing is known.

    Where all pairs together pull in the last layer against what training did, the order of the
    pairs by their pulls is no better than chance or worse (`docs/explain.md`); that by their
    effects, which comes from all weights, does not suffer there.
    """
    influence = explanation.influence
    if influence is None or not _against(explanation.record, influence, _pulled(influence)):
        return ""
    return (
        "Do not believe the pulls of pairs and tokens here: in the last layer all pairs together "
        "pull the other way than training went, so that it was by other weights that it went."
    )


def _pull(record: RecordReward, influence: Influence) -> str:
    """Return what training pairs do to the margin of a pair, or else to the first response."""
    values = influence.margin_effects or influence.responses[0].effects
    target = "margin" if influence.margin_effects else "reward of the first response"
    up, down, pairs = sum(v > 0 for v in values), sum(v < 0 for v in values), len(values)
    together = "up" if _changed(influence) > 0 else "down"
    turned = (
        " Training as a whole went the other way."
        if _against(record, influence, _changed(influence))
        else ""
    )
    return (
        f"The first step of training pushes the {target} {together}; more weight on {up} of "
        f"{pairs} training pairs would raise it there, on {down} lower it."
        f"{turned}{_strongest(influence)}"
    )


def _changed(influence: Influence) -> float:
    """Return what the first step does to the margin, or else to the first reward."""
    first, *rest = (response.change for response in influence.responses)
    return first - rest[0] if influence.margin_effects else first


def _pulled(influence: Influence) -> float:
    """Return what all pairs together pull, in the last layer, at the same."""
    return fmean(influence.margins or influence.responses[0].contributions)


def _against(record: RecordReward, influence: Influence, predicted: float) -> bool:
    """Return whether all of training moved the margin (or first reward) the other way."""
    moved = [
        after.reward - before.initial_reward
        for after, before in zip(record.responses, influence.responses, strict=True)
    ]
    actual = moved[0] - moved[1] if influence.margins else moved[0]
    return actual * predicted < 0


def _strongest(influence: Influence) -> str:
    described = [pair for y in influence.responses for pair in (*y.raising[:1], *y.lowering[:1])]
    if not described:
        return ""
    pair = max(described, key=lambda pair: abs(pair.effect))
    part = max(pair.parts, key=lambda part: max(map(abs, part.contributions)))
    token = max(range(len(part.tokens)), key=lambda k: abs(part.contributions[k]))
    text = " ".join("".join(part.tokens).split())
    beginning = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}…"
    return (
        f" The pair with the largest effect on one response is {pair.id}; it pulls mostly by "
        f"{quote(part.tokens[token])} in its {part.label} response “{beginning}”."
    )


def _drop(drop: float, record: RecordReward, counterpart: RecordReward) -> str:
    before, after = number(record.margin or 0), number(counterpart.margin or 0)
    if drop == 0:
        return f"The counterpart keeps the margin, {after} in both."
    turn, size = "lowers" if drop > 0 else "raises", number(abs(drop)).lstrip("+")
    return f"The counterpart {turn} the margin by {size}, from {before} to {after}."
