"""A few preference records on which models are checked where the user names no data."""

from rewardgap.data.records import Message, Record

_PAIRS = (
    ("What is the capital of France?", "The capital of France is Paris.", "France is a fruit."),
    ("How many days are there in a week?", "A week has seven days.", "A week has nine days."),
    ("Is ice colder than steam?", "Yes, ice is much colder than steam.", "No, steam is colder."),
    (
        "How do I boil an egg?",
        "Put it into boiling water, wait for eight minutes, then cool it under cold water.",
        "Put it on a shelf and wait until it is evening.",
    ),
    ("What is two plus three?", "Two plus three is five.", "Two plus three is twenty."),
    (
        "Why is the sky blue?",
        "Air scatters the short waves of blue light more than the long waves of red light.",
        "Because somebody painted it in the spring.",
    ),
    ("Name a large animal of the sea.", "The blue whale.", "The house mouse."),
    (
        "Can you write a line of Python that prints a greeting?",
        "Yes: print('Good morning') does it.",
        "Yes: the snake says nothing at all.",
    ),
    (
        "I cannot sleep. What may help?",
        "A dark and quiet room, no screens before bed, and a regular time to get up.",
        "Loud music and a pot of coffee at midnight.",
    ),
    ("Translate into German: thank you.", "Danke.", "Au revoir."),
    ("Which is longer, a mile or a metre?", "A mile is longer than a metre.", "A metre is longer."),
    (
        "What should I say to a friend who lost a job?",
        "Say that you are sorry, ask how they are, and offer to help with what comes next.",
        "Say that it is surely their own fault.",
    ),
)

EXAMPLE_RECORDS = tuple(
    Record(
        f"example-{number}",
        (Message("user", prompt),),
        ((Message("assistant", chosen),),),
        ((Message("assistant", rejected),),),
        {},
    )
    for number, (prompt, chosen, rejected) in enumerate(_PAIRS, start=1)
)
