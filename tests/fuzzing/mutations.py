"""Damage to files: of bytes, and of the values of JSON, JSON lines and YAML."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pyarrow
import pyarrow.parquet
import yaml

TEXTS = (
    "", " ", "\n", "\r\n", "\0", "\t", "a", "é", "e\u0301", "\u2028", "\ufeff", "\ud800", "🦊",
    "'", '"', "\\", "`", "<b>", "{{ x }}", "{%", "{prompt}", "{response}", "<|end|>", "<|user|>",
    "null", "true", "0", "-1", "1e9", "nan", "[]", "{}", "a: b", "- a", "!!int x", "&a", "*a",
    "--out", "~", "~nobody/x", "..", "/", "/dev/null", "a/b", "a.jsonl?limit=1",
    "user", "assistant", "system", "auto", "explicit", "x" * 3000, "9" * 5000, "[" * 3000,
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 255, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63), 2**64, 10**25, 10**350,
    0.0, -0.0, 0.5, 1e-320, 1e300, -1e300, 1e-9, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
BYTES = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\r", b"\n", b"\n\n", b"\x1a", b"\x85",
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\ud800", b"NaN", b"-Infinity", b"1e999",
    b"null", b"!!python/name:os.system", b"<<: ", b"---\n", b"- ", b"[" * 4000, b'{"a":' * 4000,
    b"9" * 5000,
)  # fmt: skip


def odd_value(random: Random) -> Any:
    """Return a value that nobody expects."""
    depth = random.choice((3, 30, 200))
    nested: Any = None
    for _ in range(depth):
        nested = [nested] if random.random() < 0.5 else {"a": nested}
    return random.choice(
        (
            None, True, False, [], {}, [None], [[]], {"": None}, ["a", 1, None], [["a"], ["b"]],
            {"role": "user", "content": "x"}, [{"role": "assistant", "content": None}], nested,
            random.choice(TEXTS), random.choice(TEXTS), random.choice(NUMBERS),
            random.choice(NUMBERS),
        )
    )  # fmt: skip


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to every value inside a value."""
    if not isinstance(value, dict | list):
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*above, key)
        yield from places(part, (*above, key))


def mutate_value(value: Any, random: Random) -> Any:
    """Return a copy with one to four parts replaced, taken out, repeated, renamed or spliced."""
    value = deepcopy(value)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        inside = list(places(value))
        if not inside or random.random() < 0.02:
            value = odd_value(random)
            continue
        *path, key = random.choice(inside)
        holder = value
        for step in path:
            holder = holder[step]
        _mutate_part(holder, key, random)
    return value


def _mutate_part(holder: Any, key: Any, random: Random) -> None:
    part, action = holder[key], random.random()
    if action < 0.15:
        del holder[key]
    elif action < 0.25 and isinstance(holder, dict):
        holder[random.choice((*TEXTS, *map(str, holder)))] = holder.pop(key)
    elif action < 0.3 and isinstance(holder, dict):
        holder[random.choice(TEXTS)] = odd_value(random)
    elif action < 0.38:
        holder[key] = [deepcopy(part)] * random.choice((1, 2, 30))
    elif action < 0.42:
        holder[key] = str(part)
    elif action < 0.6 and isinstance(part, str):
        start = random.randrange(len(part) + 1)
        end = start + random.choice((0, 0, 1, 20))
        holder[key] = part[:start] + random.choice(TEXTS) + part[end:]
    elif action < 0.6 and isinstance(part, int | float):
        broken = part / 3 if isinstance(part, float) else float(f"{part:d}.5")  # of any size
        holder[key] = random.choice((-part, part + 1, broken, [part], part * 10**6))
    elif action < 0.65 and isinstance(holder, dict):
        holder[key] = deepcopy(random.choice(list(holder.values())))
    else:
        holder[key] = odd_value(random)


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """Return content with one to six bits flipped, parts put in, taken out, repeated, or cut."""
    damaged = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 6))):
        place, action = random.randrange(len(damaged) + 1), random.random()
        if action < 0.25 and place < len(damaged):
            damaged[place] ^= 1 << random.randrange(8)
        elif action < 0.55:
            damaged[place:place] = random.choice(BYTES)
        elif action < 0.7:
            del damaged[place : place + random.choice((1, 3, 30, 300))]
        elif action < 0.8:
            damaged[place:place] = damaged[place : place + random.choice((2, 20, 200))]
        elif action < 0.9:
            del damaged[place:]
        else:
            damaged[place : place + 4] = random.randbytes(4)
    return bytes(damaged)


def change_digit(path: Path, random: Random) -> None:
    """Replace one digit of a text, or one byte of weights, so that it stays well formed."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".safetensors":
        content[-random.randint(1, 1000)] ^= 1 << random.randrange(8)
    elif digits := [place for place, byte in enumerate(content) if chr(byte).isdecimal()]:
        place = random.choice(digits)
        content[place] = random.choice([byte for byte in b"123456789" if byte != content[place]])
    path.write_bytes(content)


def mutate_file(path: Path, random: Random) -> None:
    """Damage a file: its values where its format is known, else its bytes; or empty it."""
    action, format_ = random.random(), FORMATS.get(path.suffix)
    content = path.read_bytes()
    if action < 0.65 and format_:
        content = format_(content.decode(), random).encode("utf-8", "surrogatepass")
    elif action < 0.97:
        content = mutate_bytes(content, random)
    else:
        content = b""
    path.write_bytes(content)


def _dump(value: Any, random: Random) -> str:
    return json.dumps(value, ensure_ascii=random.random() < 0.5)


def _mutate_json(text: str, random: Random) -> str:
    return _dump(mutate_value(json.loads(text), random), random)


def _mutate_lines(text: str, random: Random) -> str:
    rows = [json.loads(line) for line in text.splitlines()]
    place = random.randrange(len(rows))
    rows[place] = mutate_value(rows[place], random)
    return "".join(_dump(row, random) + "\n" for row in rows)


def _mutate_yaml(text: str, random: Random) -> str:
    value = mutate_value(yaml.safe_load(text), random)
    return str(yaml.safe_dump(value, allow_unicode=random.random() < 0.5))


FORMATS: dict[str, Callable[[str, Random], str]] = {
    ".json": _mutate_json,
    ".jsonl": _mutate_lines,
    ".yaml": _mutate_yaml,
}


def write_parquet(path: Path, rows: list[dict[str, Any]], random: Random) -> None:
    """Write rows as a table, of which the values or the bytes are damaged."""
    plain = [row for row in rows if "id" in row] or [{"prompt": "p", "chosen": "a"}]
    whole = random.random() < 0.5
    try:
        table = pyarrow.Table.from_pylist(plain if whole else mutate_value(plain, random))
        pyarrow.parquet.write_table(table, path)
    except Exception:  # values that no table can hold
        path.write_bytes(b"PAR1PAR1")
    if whole:
        path.write_bytes(mutate_bytes(path.read_bytes(), random))
