"""The page of an explanation: what it says, that it is safe, and that a real browser shows it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from accessibility import find_faults
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.data.records import Message
from rewardgap.explaining.explanation import (
    Explanation,
    HeatMap,
    Influence,
    PairInfluence,
    Part,
    RecordReward,
    ResponseInfluence,
    ResponseReward,
)
from rewardgap.explaining.page import (
    ExplanationResult,
    beside,
    by_character,
    colour,
    drop_shares,
    render,
    write_page,
)
from rewardgap.explaining.sentences import caution, describe, doubt, number, quote

SCRIPT = "<script>document.title = 'taken over'</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BROWSER = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--dump-dom"),
)

CHOSEN = ResponseReward("chosen", ("My", " view", SCRIPT), (0.25, 0.5, -0.5))
REJECTED = ResponseReward("rejected", ("No\n", " way\x07", ""), (0.5, 0.25, 0.75))
RECORD = RecordReward("r<1>", (Message("user", "a & b?"),), (CHOSEN, REJECTED), False)


def influence() -> Influence:
    heat = HeatMap((0, 2), (1,), ((2.0,), (-1e-9,)))
    own = ("x", SCRIPT)
    parts = (
        Part("chosen", own, (0.0, 3.0), (2.0, 0.0, 1.0), heat),
        Part("rejected", own, (-1.0, 0.0), (-1.0, 0.0, 0.0), HeatMap((0,), (0,), ((0.5,),))),
    )
    pair = PairInfluence("t1", "asked?", 2.0, 0.5, 0.4, parts)
    chosen = ResponseInfluence(
        CHOSEN.tokens, 0.0, (2.0, -1.0, -2.0), -4.0, (0.5, 0.0, -1.0), (pair,), ()
    )
    rejected = ResponseInfluence(
        REJECTED.tokens, 0.0, (1.0, 1.0, 1.0), 3.0, (0.25, 0.0, 0.5), (), (pair,)
    )
    return Influence("eq. 5", "ρ", ("t1", "t2", "t3"), 9, (chosen, rejected))


EXPLANATION = Explanation(
    "runs/a", "implicit", RECORD, influence(), counterpart=replace(RECORD, id="w")
)
STATES = {
    "whole": EXPLANATION,
    "no influence": replace(
        EXPLANATION, influence=None, obstacle="For a reason.", counterpart=None
    ),
    "several responses": replace(
        EXPLANATION,
        record=replace(RECORD, responses=(CHOSEN,) * 3),
        counterpart=None,
        influence=None,
    ),
}


class Reading(HTMLParser):
    """What a page loads, runs and shows; and whether every element is closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("href", "src", "action") or k[:2] == "on"]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("state", STATES)
def test_the_page_runs_and_loads_nothing(state):
    page = render(STATES[state])
    reading = Reading(page)
    assert not reading.open
    assert not {"script", "iframe", "img", "object", "form"} & set(reading.tags)
    assert reading.links == ["data:,"]
    assert "default-src 'none'" in page
    assert "url(" not in page and "@import" not in page
    assert SCRIPT in reading.text


def test_the_page_shows_every_number_and_name():
    text = Reading(render(EXPLANATION)).text
    for shown in ("r<1>", "a & b?", "runs/a", "eq. 5", "t1", "asked?", "−0.500", "+0.750", "+1.00"):
        assert shown in text
    assert "a random sample of 3 of 9 training pairs" in text
    assert "No↵\n way␇·" in text
    assert "+2.00" in text and "40.0 %" in text
    assert "the 2 × 1 that count most" in text
    assert "Only “x” of this" not in text and "Only “My” of this" in text
    assert "“x” of the rejected training response count" in text
    assert "For a reason." in Reading(render(STATES["no influence"])).text


def test_the_first_step_is_compared_with_all_of_training():
    text = Reading(render(EXPLANATION)).text
    assert "−4.00 per unit of learning rate. Whole training: from 0 to −0.500, the same" in text
    assert "+3.00 per unit of learning rate. Whole training: from 0 to +0.750, the same" in text
    turned = replace(EXPLANATION.influence.responses[0], initial_reward=-1.0)
    both = replace(influence(), responses=(turned, replace(turned, initial_reward=0.75)))
    text = Reading(render(replace(EXPLANATION, influence=both))).text
    assert "from −1.00 to −0.500, the other direction" in text
    assert "from +0.750 to +0.750, no change" in text


def test_the_summary_follows_the_numbers():
    assert describe(EXPLANATION) == (
        "The model prefers the rejected response: its reward is +0.750, that of the chosen one "
        f"−0.500 (margin −1.25). The largest step is at {quote(SCRIPT)} in the chosen response "
        "(−1.00). The first step of training pushes the margin down (−7.00); more weight on 1 of "
        "3 training pairs would raise it there, on 1 lower it. The pair with the largest effect on "
        f"one response is t1; it pulls mostly by {quote(SCRIPT)} in its chosen response "
        f"“x{SCRIPT}”. "
        "The counterpart keeps the margin, −1.25 in both."
    )


def of_steps(label: str, *steps: float) -> ResponseReward:
    return ResponseReward(label, ("a",) * len(steps), tuple(np.cumsum(steps)))


def test_the_summary_says_length_where_length_is_the_story():
    record = replace(
        RECORD, responses=(of_steps("chosen", *[-0.25] * 40), of_steps("rejected", *[-0.25] * 8))
    )
    said = describe(Explanation("m", "implicit", record, None))
    assert (
        "Length makes most of it: the chosen response has 40 tokens and the rejected one 8" in said
    )
    assert "add −0.250 on average; the difference in length alone gives −8.00 of the margin" in said
    assert "no token more than 0.250." in said and "largest step" not in said
    # One token that makes a third of the margin is told instead, and so is what is no sum.
    steps = [-0.25] * 39 + [-4.0]
    one = replace(record, responses=(of_steps("chosen", *steps), record.responses[1]))
    assert "Length" not in describe(Explanation("m", "implicit", one, None))
    assert "Length" not in describe(Explanation("m", "explicit", record, None, sums_tokens=False))
    equal = replace(record, responses=(of_steps("chosen", *[0.5] * 8), record.responses[1]))
    assert "Length" not in describe(Explanation("m", "implicit", equal, None))


def test_an_untrained_head_prefers_nothing():
    before = replace(EXPLANATION, before_training=True, new_head=True)
    assert describe(before).startswith(
        "Before training the head is random: its rewards say nothing"
    )
    assert "prefers" not in describe(before) and "largest step" not in describe(before)
    assert "prefers" in describe(replace(before, new_head=False))
    assert "Whole training" not in Reading(render(before)).text


def test_beginnings_that_were_never_trained_on_are_to_be_read_with_care():
    said = "never trained on"
    assert not caution(EXPLANATION) and said not in Reading(render(EXPLANATION)).text
    explicit = replace(EXPLANATION, sums_tokens=False)
    assert said in caution(explicit) and said in Reading(render(explicit)).text
    assert said in describe(explicit)


def test_half_a_character_is_never_shown():
    pound = ResponseReward("chosen", ("a", "", "£", ""), (0.0, 2.0, 3.0, 3.5))
    record = replace(RECORD, responses=(pound, REJECTED))
    assert "at “£” in the chosen response (+3.00)" in describe(
        Explanation("m", "implicit", record, None)
    )
    assert by_character(pound.tokens, pound.steps) == [("a", 0, 0), ("£", 3, 3), ("", 0.5, 3.5)]
    page = render(Explanation("m", "implicit", record, None))
    assert ">£</span>" in page and ">·</span><span" not in page


def test_a_margin_that_hardly_moves_is_not_pushed():
    chosen, rejected = influence().responses
    even = replace(influence(), responses=(chosen, replace(rejected, change=-3.9)))
    said = describe(replace(EXPLANATION, influence=even))
    assert "The first step of training hardly moves the margin (−0.100)" in said


def test_the_summary_says_where_training_went_the_other_way():
    said = "Training as a whole went the other way."
    assert said not in describe(EXPLANATION)  # the margin fell by 1.25, as its first step says
    before = replace(influence().responses[0], initial_reward=-2.0)  # now it rose by 0.75
    responses = (before, influence().responses[1])
    turned = replace(influence(), responses=responses)
    assert said in describe(replace(EXPLANATION, influence=turned))
    several = replace(turned, responses=(*responses, responses[1]))
    record = replace(RECORD, responses=(CHOSEN, REJECTED, REJECTED))
    assert said in describe(Explanation("m", "implicit", record, several))


def test_pulls_against_training_are_not_to_be_believed():
    said = "Do not believe the pulls"
    assert not doubt(EXPLANATION)  # all pairs pull the margin down, as training did
    assert said not in Reading(render(EXPLANATION)).text
    chosen, rejected = influence().responses
    pulled = replace(influence(), responses=(replace(chosen, contributions=(9.0,) * 3), rejected))
    turned = replace(EXPLANATION, influence=pulled)
    assert said in doubt(turned) and said in Reading(render(turned)).text
    assert not doubt(STATES["no influence"])


def test_the_summary_of_other_rewards():
    flat = ResponseReward("chosen", ("a", "b"), (0.0, 0.0))
    tie = replace(RECORD, responses=(flat, replace(flat, label="rejected")))
    said = describe(Explanation("m", "constant", tie, None))
    assert "The chosen and the rejected response get the same reward, 0." in said
    assert "Every token counts the same." in said
    # Both first tokens have the prompt's 5 in them; beside their mean they differ by 2.
    first = tuple(ResponseReward(str(i), ("a", "b"), (5.0 + i, 5.5 + i)) for i in (-1, 1))
    said = describe(Explanation("m", "explicit", replace(RECORD, responses=first), None))
    assert "at the first token “a” of the -1 response (−1.00 beside the mean" in said
    several = tuple(replace(flat, label=label) for label in ("chosen", "rejected 1"))
    several += (ResponseReward("rejected 2", ("a", "b"), (1.0, 3.0)),)
    said = describe(Explanation("m", "explicit", replace(RECORD, responses=several), None))
    assert "Of 3 responses the rejected 2 one gets the highest reward, +3.00; next" in said


@pytest.mark.parametrize(
    ("margin", "said"),
    [(0.25, "lowers the margin by 1.50, from −1.25 to"), (-3.0, "raises the margin by")],
)
def test_the_summary_of_a_paraphrase(margin, said):
    pair = (replace(CHOSEN, prefix_rewards=(margin,) * 3), replace(REJECTED, prefix_rewards=(0.0,)))
    counterpart = replace(RECORD, responses=pair)
    (turn,) = re.findall(
        r"The counterpart .*", describe(replace(EXPLANATION, counterpart=counterpart))
    )
    expected = -1.25 - margin
    assert ("lowers" in turn) == (expected > 0)
    assert f"to {number(margin)}." in turn


def test_shares_of_the_drop_sum_to_it():
    counterpart = replace(RECORD, responses=(REJECTED, CHOSEN))
    explanation = replace(EXPLANATION, counterpart=counterpart)
    shares = drop_shares(explanation)
    assert sum(value for share in shares for value in share["parts"]) == -explanation.drop == 2.5
    assert [share["title"] for share in shares][:2] == ["Original, chosen", "Original, rejected"]
    text = Reading(render(explanation)).text
    assert "What the counterpart gains" in text and "a gain of +2.50" in text
    assert "Original, rejected: reward +0.750" in text  # a reward stands there with its own sign
    reverse = replace(explanation, record=counterpart, counterpart=RECORD)
    assert sum(value for share in drop_shares(reverse) for value in share["parts"]) == 2.5
    assert "What the counterpart loses" in Reading(render(reverse)).text


def test_a_printed_page_keeps_its_colours():
    page = render(EXPLANATION)
    assert "@media print" in page and "print-color-adjust: exact" in page


def test_a_long_record_makes_few_nodes():
    tokens = 405
    response = ResponseReward("chosen", (" word",) * tokens, tuple(np.linspace(1, 2, tokens)))
    heat = HeatMap(tuple(range(12)), tuple(range(12)), ((1.0,) * 12,) * 12)
    part = Part("chosen", response.tokens, response.steps, response.steps, heat)
    pair = PairInfluence("t", "p", 1.0, 1.0, 0.1, (part, part))
    pulled = ResponseInfluence(response.tokens, 0.0, (1.0,), 1.0, (1.0,), (pair,) * 3, (pair,) * 3)
    whole = Influence("eq. 5", "ρ", ("t",), 1, (pulled, pulled))
    record = replace(RECORD, responses=(response, replace(response, label="rejected")))
    assert len(Reading(render(Explanation("m", "implicit", record, whole))).tags) < 10_000


def test_a_notebook_shows_the_page(tmp_path):
    page = write_page(tmp_path / "a.html", EXPLANATION)
    result = ExplanationResult(page, EXPLANATION)
    assert repr(result) == f"ExplanationResult({str(page)!r}: record r<1>, margin −1.25)"
    assert str(result) == describe(EXPLANATION) and Path(result) == page
    assert (
        result._repr_html_().startswith('<iframe srcdoc="') and SCRIPT not in result._repr_html_()
    )
    frame = result.to_frame()
    assert list(frame["adds"]) == [0.25, 0.25, -1.0, 0.5, -0.25, 0.5]


def test_the_json_file_has_the_numbers(tmp_path):
    page = write_page(tmp_path / "a.html", EXPLANATION)
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert found["record"]["margin"] == -1.25
    assert found["record"]["responses"][0]["steps"] == [0.25, 0.25, -1.0]
    assert found["influence"]["margins"] == [1.0, -2.0, -3.0]
    assert found["influence"]["margin_effects"] == [0.25, 0.0, -1.5]
    assert found["influence"]["responses"][0]["predicted"] == pytest.approx(-1 / 3)
    assert found["drop"] == 0


@given(st.floats(-1e300, 1e300))
def test_numbers_keep_three_digits_and_their_sign(value):
    text = number(value).replace("−", "-")
    assert float(text) == pytest.approx(value, rel=5e-3)
    assert (text == "0") == (value == 0) and text[0] in "+-0"


def test_noise_beside_large_values_is_zero():
    assert beside(-1e-7, 587.0) == "0"
    assert beside(-0.046, 1.0) == "−0.05"
    assert beside(0.0, 0.0) == "0"
    assert beside(123456.0, 123456.0) == "+123456"


def test_colours_say_sign_and_size():
    assert colour(0.01, 1.0) == colour(0.0, 0.0) == ""
    assert "--raise" in colour(1.0, 1.0) and "--lower" in colour(-1.0, 1.0)
    opacities = [float(colour(v, 1.0).rpartition("/")[2][:-1]) for v in (0.1, 0.5, 1.0)]
    assert opacities == sorted(opacities) and opacities[-1] < 0.7


def test_nothing_keeps_people_from_reading_it(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(render(EXPLANATION), encoding="utf-8")
    assert find_faults(browser, page) == []
    faint = render(EXPLANATION).replace("--muted: #5b636d", "--muted: #8b939d")
    page.write_text(faint.replace("</h1>", "</h1><button></button>"), encoding="utf-8")
    told = " ".join(find_faults(browser, page))
    assert "1400 light: contrast 3." in told and "without a name: <button>" in told


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_opens_the_page_without_complaint(tmp_path):
    page = write_page(tmp_path / "page.html", EXPLANATION)
    command = [CHROMIUM, *BROWSER, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in result.stderr
    assert "<title>Why this reward? r&lt;1&gt;</title>" in result.stdout
    assert "taken over</title>" not in result.stdout
    assert Reading(result.stdout).text.count(SCRIPT) >= 3


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_that_complains_is_noticed(tmp_path: Path):
    page = tmp_path / "page.html"
    whole = render(EXPLANATION).replace("</body>", SCRIPT + "</body>")
    page.write_text(whole, encoding="utf-8")
    command = [CHROMIUM, *BROWSER, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" in result.stderr  # the page's policy forbids scripts
    assert "<title>taken over</title>" not in result.stdout
