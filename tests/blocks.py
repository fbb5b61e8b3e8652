"""Code blocks of the documentation, and how they are run.

`bash` is commands, `console` commands after `$ ` with what they print,
`python` is run in one namespace for each page, `yaml`, `toml` and `json` are parsed. A block with
a title is written to the file of that name. What cannot be run has the reason before it,
`<!-- not run: REASON -->`; the flags of its commands are checked all the same.
"""

import ast
import contextlib
import importlib.util
import io
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewardgap.cli import main

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
FENCE = re.compile(r'^( *)```(\w*)(?: +title="([^"]+)")?\s*$')
REASON = re.compile(r"^ *<!-- not run: (.+) -->$")
PARSERS = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads}
LANGUAGES = {"bash", "console", "python", "text", "jinja", "jsonl", "bibtex", *PARSERS}
FINDINGS = (0, 3, 4)
"""Exit statuses of `rewardgap check`, for what it finds."""
SMALLER = {
    "train": {"--max-steps": "4"},
    "forecast": {"--max-steps": "4"},
    "explain": {"--max-pairs": "2"},
    "run": {"--train-rows": "4", "--eval-rows": "4", "--epochs": "1", "--seeds": "0"}
    | {"--kinds": "explicit"},
    "pretrain": {"--layers": "1"},
    "check model": {"--records": "2"},
}
"""Flags that are put behind the words of a command that has not got them, so that it is quick."""
FEWER = {"count": "count=60", "sample": "sample=4"}
"""Options of data specifications, with few rows."""
SHELL = {"cd", "curl", "git", "source"}
"""Programs beside ours, which are not run here."""
READ_ONLY = {"demo", "push", "rewrite", "serve"}
"""Commands of which only the flags are read: they take minutes, ask, send, or wait for requests."""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, what it holds, and why it is not run, if it is not."""

    page: str
    line: int
    title: str
    text: str
    language: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    opening, lines, reason = None, [], ""
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if opening is None and fence:
            opening, lines, indent = (number, fence[3] or ""), [], len(fence[1])
            language = fence[2]
        elif fence and not fence[2]:
            text = "\n".join(lines) + "\n"
            yield Block(page, *opening, text, language or _language(text), reason)
            opening, reason = None, ""
        elif opening:
            lines.append(line[indent:])
        elif line.strip():
            reason = match[1] if (match := REASON.match(line)) else ""
    assert opening is None, f"{page}:{opening}: never closed"


def indented(page: str) -> str:
    """Return a page without its fenced blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"^ *```.*\n(?:.*\n)*? *```$", "", text, flags=re.MULTILINE)


def _language(text: str) -> str:
    """Return the language of a block that names none."""
    program = re.match(r"(\$ )?(rewardgap|accelerate|make|python|pip) ", text)
    return "text" if program is None else "console" if program[1] else "bash"


def run_page(page: str) -> dict[str, Any]:
    """Run all blocks of a page in the working directory; return the names of its Python."""
    names: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(page):
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        try:
            run_block(block, names)
        except (Exception, pytest.fail.Exception) as error:
            raise AssertionError(f"{block}: {error}") from error
    return names


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Run a block, or parse it where its language is no program or it cannot be run."""
    if block.language in PARSERS:
        PARSERS[block.language](block.text)
    elif block.language == "python" and block.reason:
        ast.parse(block.text)
    elif block.language == "python":
        exec(compile(block.text, str(block), "exec"), names)
    elif block.language in ("bash", "console"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            for command in commands(block):
                run_command(command, block, names)
        shown = re.findall(r"^ {8,}(accuracy .*)$", block.text, re.MULTILINE)
        titles = [line.split() for line in printed.getvalue().splitlines()]
        assert all(title.split() in titles for title in shown), f"other titles than {shown}"


def commands(block: Block) -> list[str]:
    """Return the commands of a block, each with its continuation lines and its document."""
    text = block.text
    if block.language == "console":
        typed = re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)", text, re.MULTILINE)
        return [command.replace("\\\n", " ") for command in typed]
    text = text.replace("\\\n", " ")
    return re.findall(r"^(?!#).*<<'END'\n(?:.*\n)*?END$|^(?!#).*\S.*$", text, re.MULTILINE)


def run_command(command: str, block: Block, names: dict[str, Any]) -> None:
    """Run one command, or check that there is what it names."""
    line, _, document = command.partition("\n")
    words = shlex.split(line, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    words = words[:-1] if words[-1] == "&" else words
    program, *rest = words
    if program in ("accelerate", "torchrun"):
        program, rest = "rewardgap", rest[rest.index("rewardgap.cli") + 1 :]
    if program in ("rewardgap", ".venv/bin/rewardgap"):
        run_rewardgap(rest, bool(block.reason))
    elif program == "python" and document and not block.reason:
        exec(compile(document.removesuffix("END"), str(block), "exec"), names)
    elif program == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]), f"no module {rest[1]}"
    elif program == "make":
        made = [word for word in rest if "=" not in word]
        targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(made) <= set(targets), command
    elif "pip" in program:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        named = re.findall(r"\[([\w,]+)\]", line)
        assert set(",".join(named).split(",")) - {""} <= set(extras["optional-dependencies"]), line
    else:
        assert program in SHELL or block.reason, f"cannot run {program}"


def run_rewardgap(words: list[str], parsed_only: bool) -> None:
    """Run `rewardgap` with these words, at a small size, or only read its flags."""
    words = words[: words.index(">")] if ">" in words else words
    words = [re.sub(r"(count|sample)=\d+", lambda key: FEWER[key[1]], word) for word in words]
    if "--help" in words or words[0] in ("help", "--version"):
        assert main(words) == 0
        return
    if parsed_only or words[0] in READ_ONLY:
        with pytest.raises(SystemExit):  # the parser's, after it has printed the keys
            assert main([*words, "--print-config"]) == 0, f"refused: {shlex.join(words)}"
        return
    name = next((n for n in SMALLER if " ".join(words[:2]).startswith(n)), "")
    smaller = {flag: value for flag, value in SMALLER.get(name, {}).items() if flag not in words}
    if words[0] == "train" and "--resume" not in words:
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    status = main([*words, *(word for pair in smaller.items() for word in pair), "--quiet"])
    allowed = FINDINGS if words[0] == "check" else (0,)
    assert status in allowed, f"status {status}: {shlex.join(words)}"
