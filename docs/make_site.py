"""Build the documentation's site into `site/`: `python docs/make_site.py`, which is `make docs`.

Pages are the Markdown files of `docs/`, README.md as the start page, and the pages beside the code
that they link to. Pages of commands are made from their help, and the page of the Python API from
the public names, so that neither can fall behind. A broken link or anchor, or a page without a
place in the navigation of mkdocs.yml, is an error. Nothing is loaded from a network, neither now
nor by a reader.
"""

import ast
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rewardgap.cli import main
from rewardgap.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
BUILD, SITE = ROOT / "build", ROOT / "site"
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
} | {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
"""Every page that somebody wrote, and its name in the site."""
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")
ENTRY = re.compile(r"^  (\S.*?)(?:  +(.*)|$)")
API_TITLES = ("Functions", "Configurations", "Classes")
API = """\
# Python API

`import rewardgap` is quick: a name is imported when it is first used. The verbs of the command line
are functions, which take the keys of their command as keywords ([how](python.md)) or, as shown
here, as a configuration whose fields are these keys.
"""


def build_site() -> int:
    """Write the pages and build the site; return the exit status of what builds it."""
    shutil.rmtree(BUILD / "docs", ignore_errors=True)
    written = write_pages(BUILD / "docs")
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    commands = [{name: place(name)} for name in sorted(COMMANDS)]
    for entry in settings["nav"]:
        if "Commands" in entry:
            entry["Commands"] += commands
    for name in settings.get("extra_css", ()):
        shutil.copyfile(ROOT / "docs" / name, BUILD / "docs" / name)
    if unplaced := written ^ set(places(settings["nav"])):
        text = "pages without an entry in nav, or entries without a page"
        print(f"mkdocs.yml: {text}: {', '.join(sorted(unplaced))}", file=sys.stderr)
        return 1
    configuration = BUILD / "mkdocs.yml"
    configuration.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    command = [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"]
    environment = os.environ | {"NO_COLOR": "1"}
    if subprocess.run([*command, "-f", configuration], env=environment, check=False).returncode:
        return 1
    shutil.rmtree(SITE, ignore_errors=True)
    (BUILD / "site").rename(SITE)
    return 0


def write_pages(folder: Path) -> set[str]:
    """Write all pages, and the files that they link to; return the names of the pages."""
    pages = {name: _read(source, folder) for source, name in PAGES.items()}
    pages |= {place(command): command_page(command) for command in COMMANDS}
    pages["api.md"] = api_page()
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return set(pages)


def _read(source: str, folder: Path) -> str:
    """Return a page with its links as the site has them; a file it links to is copied."""

    def target(link: re.Match[str]) -> str:
        path = os.path.normpath(Path(source).parent / link[1])
        if path in PAGES or not (ROOT / path).is_file():
            return PAGES.get(path, link[1])  # what is not there is told when the site is built
        copy = folder / path.removeprefix("docs/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy)
        return path.removeprefix("docs/")

    return LINK.sub(target, (ROOT / source).read_text(encoding="utf-8"))


def place(command: str) -> str:
    """Return the page of a command."""
    return f"commands/{command.replace(' ', '-')}.md"


def places(entries: list[Any]) -> Iterator[str]:
    """Yield the pages that a navigation names."""
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [value] if isinstance(value, str) else places(value)


def command_page(command: str) -> str:
    """Return the page of a command: its help, with a table for every group of keys."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main([*command.split(), "--help"])
    parts = [f"# rewardgap {command}"]
    for block in printed.getvalue().strip().split("\n\n"):
        title, _, lines = block.partition(":\n")
        if block.startswith("usage: "):
            parts.append(f"```text\n{block.removeprefix('usage: ')}\n```")
        elif title == "example":
            parts.append(f"```bash\n{re.sub('^  ', '', lines, flags=re.MULTILINE)}\n```")
        elif lines:
            parts += [f"## {title.capitalize()}", _table(lines)]
        else:
            parts.append(block)
    return "\n\n".join(parts) + "\n"


def _table(lines: str) -> str:
    """Return keys and their explanations as a table, from the two columns of the help."""
    rows: list[list[str]] = []
    for line in lines.splitlines():
        if entry := ENTRY.match(line):
            rows.append([entry[1], entry[2] or ""])
        else:
            rows[-1][1] += f" {line.strip()}"
    table = [f"| `{typed}` | {text.strip().replace('|', '&#124;')} |" for typed, text in rows]
    return "\n".join(["| key | meaning |", "|---|---|", *table])


def api_page() -> str:
    """Return the page of the public names, of which mkdocstrings writes the documentation."""
    groups: dict[str, list[str]] = {title: [] for title in API_TITLES}
    for path in public_names():
        name = path.rpartition(".")[2]
        title = API_TITLES[0 if name.islower() else 1 if name.endswith("Config") else 2]
        groups[title].append(path)
    parts = [API]
    for title, names in groups.items():
        parts += [f"## {title}\n", *(f"::: {name}\n" for name in names)]
    return "\n".join(parts)


def public_names() -> list[str]:
    """Return the public names with their homes, such as "rewardgap.training.train.train"."""
    stub = ast.parse((ROOT / "src" / "rewardgap" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return [f"rewardgap.{node.module}.{name.name}" for node in imports for name in node.names]


if __name__ == "__main__":
    sys.exit(build_site())
