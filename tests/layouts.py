"""Rows that say the same of two responses, in every layout that is recognised."""

import json

from rewardgap.data.layouts.recognition import in_one_layout
from rewardgap.data.parsing import parse_record


def turn(role, content):
    return {"role": role, "content": content}


def said(role, content):
    return {"from": role, "value": content}


def parts(text):
    return [{"type": "text", "text": text, "image": None}]


def human(*turns):
    names = ("\n\nHuman: ", "\n\nAssistant: ")
    return "".join(names[index % 2] + text for index, text in enumerate(turns))


ASKED = "Where is the owl?"
SYSTEM = "Speak softly."
TALK = [turn("user", "Hello."), turn("assistant", "Good evening."), turn("user", ASKED)]
UNIQUE = {"model_a": "m", "model_b": "n"}


def arena(good, bad):
    return {
        **UNIQUE,
        "winner": "model_b",
        "conversation_a": [turn("user", parts(ASKED)), turn("assistant", parts(bad))],
        "conversation_b": [turn("user", parts(ASKED)), turn("assistant", parts(good))],
    }


def arena_turns(good, bad):
    texts = {"prompt": ASKED, "response_a": bad, "response_b": good}
    cells = {key: json.dumps([text]) for key, text in texts.items()}
    return {**UNIQUE, **cells, "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}


def rated(good, bad):
    scores = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
    return [
        {"prompt": ASKED, "response": bad, "helpfulness": 1, **scores},
        {"prompt": ASKED, "response": good, "helpfulness": 3, **scores},
    ]


def completion(text, score, overall, system="Be kind."):
    scores = {"fine-grained_score": score, "overall_score": overall}
    return {"response": text, "custom_system_prompt": system, **scores}


def numbered(good, bad, **label):
    return {"prompt": ASKED, "response_1": bad, "response_2": good, **label}


def replies(good, bad):
    ranked = [
        {"text": bad, "role": "assistant", "rank": 1, "replies": []},
        {"text": "odd", "role": "assistant", "rank": None, "replies": []},
        {"text": good, "role": "assistant", "rank": 0},
    ]
    return {
        "message_tree_id": "t",
        "prompt": {"text": ASKED, "role": "prompter", "replies": ranked},
    }


def summaries(good, bad):
    info = {"id": "t3", "post": "Owls fly.", "title": "Owls", "subreddit": "birds"}
    return {
        "info": {**info, "article": None},
        "summaries": [{"text": bad, "policy": "p"}, {"text": good, "policy": "q"}],
        "choice": 1,
        "worker": "w",
    }


def conversations(good, bad, *before):
    start = [*before, turn("user", ASKED)]
    return {
        "chosen": [*start, turn("assistant", good)],
        "rejected": [*start, turn("assistant", bad)],
    }


def sides(good, bad):
    return {"chosen": good, "rejected": bad}


# By name: the rows that say that the first response beats the second, and the roles of the prompt.
WRITERS = {
    "strings": (lambda g, b: {"prompt": ASKED, **sides(g, b)}, "u"),
    "implicit": (conversations, "u"),
    "system column": (lambda g, b: {"system": SYSTEM, "prompt": ASKED, **sides(g, b)}, "su"),
    "system message": (
        lambda g, b: {"prompt": ASKED, **conversations(g, b, turn("system", SYSTEM))},
        "su",
    ),
    "last turn": (lambda g, b: {"prompt": ASKED, **conversations(g, b, *TALK[:2])}, "uau"),
    "first turn": (lambda g, b: {"prompt": "Hello.", **conversations(g, b, *TALK[:2])}, "uau"),
    "other roles": (
        lambda g, b: {
            "prompt": [turn("human", ASKED)],
            **sides([turn("gpt", g)], [turn("chatgpt", b)]),
        },
        "u",
    ),
    "parts": (
        lambda g, b: {
            "prompt": [turn("user", parts(ASKED))],
            **sides([turn("assistant", parts(g))], [turn("assistant", parts(b))]),
        },
        "u",
    ),
    "alpaca": (lambda g, b: {"instruction": ASKED, "input": "", **sides(g, b)}, "u"),
    "alpaca history": (
        lambda g, b: {
            "instruction": ASKED,
            "system": SYSTEM,
            "history": [["Hello.", "Good evening."]],
            **sides(g, b),
        },
        "suau",
    ),
    "argilla-math": (
        lambda g, b: {"instruction": ASKED, "chosen_response": g, "rejected_response": b},
        "u",
    ),
    "input": (lambda g, b: {"input": ASKED, **sides(g, b)}, "u"),
    "question": (lambda g, b: {"system": SYSTEM, "question": ASKED, **sides(g, b)}, "su"),
    "trajectory": (lambda g, b: {"trajectory": [said("user", ASKED)], **sides(g, b)}, "u"),
    "sharegpt": (
        lambda g, b: {
            "conversations": [said("human", ASKED)],
            "system": SYSTEM,
            **sides(said("gpt", g), said("gpt", b)),
        },
        "su",
    ),
    "swift": (
        lambda g, b: {"messages": [*TALK, turn("assistant", g)], "rejected_response": b},
        "uau",
    ),
    "swift-messages": (
        lambda g, b: {
            "messages": [*TALK, turn("assistant", g)],
            "rejected_messages": [*TALK, turn("assistant", b)],
        },
        "uau",
    ),
    "rmb": (
        lambda g, b: {
            "conversation_input": TALK,
            "chosen": {"answer": g, "llm_name": "m"},
            "reject": {"answer": b, "llm_name": "n"},
        },
        "uau",
    ),
    "rmb-best-of-n": (
        lambda g, b: {
            "conversation_input": TALK,
            "bon_best": {"answer": g, "llm_name": "m"},
            "loser_list": [{"answer": b, "llm_name": "n"}],
        },
        "uau",
    ),
    "arena": (arena, "u"),
    "arena-turns": (arena_turns, "u"),
    "winners": (
        lambda g, b: {"prompt": ASKED, "response_a": b, "response_b": g, "winner": "B"},
        "u",
    ),
    "ppe-human": (lambda g, b: numbered(g, b, winner="model_b"), "u"),
    "ppe-correctness": (lambda g, b: numbered(g, b, scores=[False, True]), "u"),
    "helpsteer2": (rated, "u"),
    "helpsteer2-preference": (lambda g, b: numbered(g, b, preference_strength=2), "u"),
    "helpsteer3": (
        lambda g, b: {"context": TALK, "response1": g, "response2": b, "overall_preference": -1},
        "uau",
    ),
    "judgebench": (
        lambda g, b: {"question": ASKED, "response_A": b, "response_B": g, "label": "B>A"},
        "u",
    ),
    "shp": (
        lambda g, b: {"history": ASKED, "human_ref_A": b, "human_ref_B": g, "labels": 0},
        "u",
    ),
    "webgpt": (
        lambda g, b: {
            "question": {"full_text": ASKED},
            "answer_0": b,
            "answer_1": g,
            "score_0": -0.5,
            "score_1": 0.5,
        },
        "u",
    ),
    "ultrafeedback": (
        lambda g, b: {
            "instruction": ASKED,
            "completions": [completion(b, 2.0, 9), completion(g, 4.5, 8)],
        },
        "su",
    ),
    "stack-exchange": (
        lambda g, b: {
            "question": ASKED,
            "answers": [{"text": b, "pm_score": 0}, {"text": g, "pm_score": 7}],
        },
        "u",
    ),
    "message-tree": (replies, "u"),
    "summaries": (summaries, "u"),
    "human-assistant": (
        lambda g, b: sides(
            human("Hello.", "Good evening.", ASKED, g), human("Hello.", "Good evening.", ASKED, b)
        ),
        "uau",
    ),
    "human-assistant prompt": (
        lambda g, b: {"prompt": human(ASKED) + "\n\nAssistant:", **sides(" " + g, " " + b)},
        "u",
    ),
    "human-assistant repeated": (
        lambda g, b: {
            "prompt": human(ASKED) + "\n\nAssistant:",
            **sides(human(ASKED, g), human(ASKED, b)),
        },
        "u",
    ),
    "prompter": (
        lambda g, b: {
            "lang": "en",
            "parent_id": "p",
            "prompt": f"prompter: Hello.\nassistant: Good evening.\nprompter: {ASKED}",
            **sides(g, b),
        },
        "uau",
    ),
    "tulu3": (
        lambda g, b: {
            **{"id": "same", "source": "s", "prompt": ASKED, **conversations(g, b)},
            **{"chosen_model": "m", "rejected_model": "n"},
        },
        "u",
    ),
    "rewardbench-2": (
        lambda g, b: (
            {"prompt": ASKED, "chosen": [g], "rejected": [b], "num_correct": 1}
            | {"subset": "Focus"}
        ),
        "u",
    ),
}


def place(rows):
    """Rows with their places in a file."""
    return [(f"f.jsonl, row {number}", row) for number, row in enumerate(rows, start=1)]


def read(rows):
    """The records of rows whose layout is to be recognised."""
    return [parse_record(row, place) for place, row in in_one_layout(iter(place(rows)))]
