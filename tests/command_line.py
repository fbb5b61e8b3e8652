"""Words of the command line, for the working directory of the fixture `desk`."""

GOOD = {"prompt": "hi", "chosen": "yes", "rejected": "no"}


def flags(command: str, **values: object) -> list[str]:
    """Words of the command line; two underscores stand for a dot, None leaves a default out."""
    settings: dict[str, object] = {"model": "model", "out": "out", "device": "cpu"}
    if command == "train":
        settings |= {"kind": "explicit", "train": "train.jsonl", "epochs": 1, "batch_size": 4}
    settings |= values
    given = {k.replace("__", "."): str(v) for k, v in settings.items() if v is not None}
    return [command, *(word for k, v in given.items() for word in (f"--{k}", v))]
