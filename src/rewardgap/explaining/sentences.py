"""An explanation in a few plain sentences, every one derived from its numbers."""

from statistics import fmean

from rewardgap.explaining.explanation import (
    Explanation,
    Influence,
    RecordReward,
    ResponseReward,
    characters,
)

SHOWN = 60  # characters of a response in a sentence
SMALL = 0.05  # share of the largest effect or change that hardly moves a margin
TOKEN = 0.25  # share of the margin above which a single token is no small step


def describe(explanation: Explanation) -> str:
    """Return what the model prefers, whether length or which token makes it, and the pull."""
    record = explanation.record
    if explanation.before_training and explanation.new_head:
        sentences = [
            "Before training the head is random: its rewards say nothing of the responses."
        ]
    else:
        length = _length(record) if explanation.sums_tokens else ""
        sentences = [_preference(record), length or _decisive_token(explanation)]
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


def _length(record: RecordReward) -> str:
    """Return that length makes the margin, where it does and no single token stands out.

    With n tokens that add m on average, n⁺m⁺ − n⁻m⁻ is (n⁺ − n⁻)(m⁺ + m⁻)/2, the part of length,
    and (m⁺ − m⁻)(n⁺ + n⁻)/2, that of the tokens.
    """
    if not record.margin:
        return ""
    chosen, rejected = record.responses
    counts = len(chosen.tokens), len(rejected.tokens)
    mean = (chosen.reward / counts[0] + rejected.reward / counts[1]) / 2
    part = (counts[0] - counts[1]) * mean
    largest = max(abs(step) for response in record.responses for step in response.steps)
    if part / record.margin <= 0.5 or largest > TOKEN * abs(record.margin):
        return ""
    return (
        f"Length makes most of it: the chosen response has {counts[0]} tokens and the rejected one "
        f"{counts[1]}, which add {number(mean)} on average; the difference in length alone gives "
        f"{number(part)} of the margin, and no token more than {number(largest).lstrip('+')}."
    )


def caution(explanation: Explanation) -> str:
    """Return why the rewards of beginnings are to be read with care; empty where they are sums."""
    if explanation.sums_tokens:
        return ""
    return (
        "Training compared whole responses alone: the rewards of their beginnings, and with them "
        "the steps, are what the model makes of texts that it was never trained on."
    )


def _steps(response: ResponseReward) -> list[tuple[float, str]]:
    """Return what every whole character or longer token adds, with its text."""
    return [
        (
            sum(response.steps[token] for token in tokens),
            "".join(response.tokens[k] for k in tokens),
        )
        for tokens in characters(response.tokens)
    ]


def _decisive_token(explanation: Explanation) -> str:
    """Return the token with the largest step.

    The first step of a response also has what the prompt alone gives, which is the same for all
    responses: it is compared with the mean of their first steps.
    """
    record = explanation.record
    by_response = {response.label: _steps(response) for response in record.responses}
    first = fmean(steps[0][0] for steps in by_response.values())
    steps = [
        (step if k else step - first, k, text, label)
        for label, of_response in by_response.items()
        for k, (step, text) in enumerate(of_response)
    ]
    if len({step for response in record.responses for step in response.steps}) == 1:
        return "Every token counts the same."
    step, k, token, label = max(steps, key=lambda candidate: abs(candidate[0]))
    care = "" if explanation.sums_tokens else "; beginnings were never trained on, so take care"
    if k:
        place = f"at {quote(token)} in the {label} response"
        return f"The largest step is {place} ({number(step)}{care})."
    return (
        f"The largest step is at the first token {quote(token)} of the {label} response "
        f"({number(step)} beside the mean of all responses{care})."
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
    changed = _changed(influence)
    sizes = [abs(value) for value in values]
    if influence.margin_effects:
        sizes += [abs(response.change) for response in influence.responses]
    push = f"pushes the {target} {'up' if changed > 0 else 'down'}"
    if abs(changed) < SMALL * max(sizes):
        push = f"hardly moves the {target}"
    turned = (
        " Training as a whole went the other way." if _against(record, influence, changed) else ""
    )
    return (
        f"The first step of training {push} ({number(changed)}); more weight on {up} of "
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
    token = max(
        characters(part.tokens), key=lambda tokens: abs(sum(part.contributions[k] for k in tokens))
    )
    pulling = "".join(part.tokens[k] for k in token)
    text = " ".join("".join(part.tokens).split())
    beginning = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}…"
    return (
        f" The pair with the largest effect on one response is {pair.id}; it pulls mostly by "
        f"{quote(pulling)} in its {part.label} response “{beginning}”."
    )


def _drop(drop: float, record: RecordReward, counterpart: RecordReward) -> str:
    before, after = number(record.margin or 0), number(counterpart.margin or 0)
    if drop == 0:
        return f"The counterpart keeps the margin, {after} in both."
    turn, size = "lowers" if drop > 0 else "raises", number(abs(drop)).lstrip("+")
    return f"The counterpart {turn} the margin by {size}, from {before} to {after}."
