"""The documentation: every code block runs, and the site is built without a network.

Blocks run in one process, with a tiny random model and a few rows under the names that the pages
use (`MODEL`, `pairs.jsonl`, `runs/explicit`, …). That a command runs, and that its keys exist, is
what is tested; the numbers that a page prints are those of the models that it names.
"""

import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from accessibility import find_faults
from blocks import LANGUAGES, PAGES, ROOT, blocks, commands, indented, run_page
from tiny import TEMPLATE
from toy import configure, pair_rows, write_rows

import rewardgap
from docs import make_site
from rewardgap.checks.data import DATA_CHECKS
from rewardgap.checks.model import MODEL_CHECKS
from rewardgap.commands import COMMANDS
from rewardgap.evaluation.measures import MEASURES
from rewardgap.models.kinds import KINDS
from rewardgap.reporting.paper import saving
from rewardgap.training.train import train

TRAINING = ("pairs.jsonl", "PAIRS.jsonl", "data.jsonl", "all.jsonl", "rewardmath_train.jsonl")
EVALUATION = (
    *("test.jsonl", "TEST.jsonl", "more.jsonl", "reworded.jsonl", "REWORDED.jsonl"),
    *("rewardmath_test.jsonl", "rewardbench_math_test.jsonl", "uf_test.jsonl"),
)
NOT_RUN = 13
"""Blocks that are read and not run; each has its reason in the page."""


@pytest.fixture(scope="module")
def prepared(folders, tmp_path_factory) -> Path:
    """A folder with what the pages name."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("MODEL", "LM", "models/small", "runs/demo/language_model"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folders("llama"))
    for kind in ("explicit", "implicit"):
        out = folder / "runs" / kind
        train(configure(folder, folders("llama"), kind=kind, out=str(out), device="cpu"))
    for name in TRAINING:
        write_rows(folder / name, pair_rows(8))
    for name in EVALUATION:
        write_rows(folder / name, pair_rows(4, start=8))
    for name, kind in {"OTHER": "explicit", "rm-padded": "explicit", "DPO": "implicit"}.items():
        (folder / name).symlink_to(folder / "runs" / kind / "reward_model")
    for name in ("seed-0", "seed-1"):
        (folder / "runs" / name).symlink_to(folder / "runs" / "explicit")
    (folder / "mine.jinja").write_text(TEMPLATE, encoding="utf-8")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    return folder


@pytest.fixture
def desk(prepared, tmp_path, monkeypatch) -> Path:
    """A copy of that folder as the working directory; registries are as they were afterwards."""
    folder = tmp_path / "desk"
    shutil.copytree(prepared, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REWARDGAP_CACHE", str(folder / "cache"))
    monkeypatch.setattr(saving, "FORMATS", ("svg",))  # the other two take most of the time
    kept = [
        (registry, registry.copy()) for registry in (DATA_CHECKS, MODEL_CHECKS, MEASURES, KINDS)
    ]
    yield folder
    for registry, before in kept:
        registry.clear()
        (registry.update if isinstance(registry, dict) else registry.extend)(before)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page, desk):
    names = run_page(page)
    if page == "docs/python.md":
        assert len(names["metrics"].to_frame()) == 2 and len(names["expected"].to_frame()) == 2


def test_blocks_are_run_or_say_why_not():
    found = [block for page in PAGES for block in blocks(page)]
    assert {block.language for block in found} <= LANGUAGES
    assert len([block for block in found if block.reason]) == NOT_RUN
    for block in found:
        if block.language in ("bash", "console"):
            unquoted = re.sub(r"\"[^\"]*\"|'[^']*'", "", "\n".join(commands(block)))
            assert "?" not in unquoted.partition("#")[0], f"{block}: zsh reads ? as a pattern"
    for page in PAGES:  # what is indented is not run
        assert not re.search(r"^    (rewardgap|python|make) ", indented(page), re.MULTILINE), page


@pytest.mark.parametrize(
    "wrong",
    [
        "```bash\nrewardgap trian --model MODEL\n```",
        "```bash\nrewardgap metrics runs/explicit --no-such-key\n```",
        "```bash\nrewardgap metrics runs/none\n```",
        "<!-- not run: a reason -->\n```bash\nrewardgap metrics runs/none --no-such-key\n```",
        "```bash\nmake nothing\n```",
        "```bash\npip install 'rewardgap[nothing]'\n```",
        "```console\n$ rewardgap metrics runs/explicit\n          accuracy of another column\n```",
        "```python\nimport rewardgap\n\nrewardgap.no_such_name\n```",
        "```yaml\na: [\n```",
    ],
)
def test_a_wrong_block_is_noticed(wrong, desk, monkeypatch):
    (desk / "page.md").write_text(f"Text.\n\n{wrong}\n")
    monkeypatch.setattr("blocks.ROOT", desk)
    (desk / "Makefile").write_text((ROOT / "Makefile").read_text())
    (desk / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    with pytest.raises(AssertionError, match=r"page.md:\d"):
        run_page("page.md")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of the documentation."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_site, "BUILD", folder)
        patch.setattr(make_site, "SITE", folder / "html")
        assert make_site.build_site() == 0
    return folder / "html"


def test_the_site_has_every_page_and_loads_nothing(site):
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert {"index.html", "tutorial.html", "api.html", "commands/train.html"} <= pages
    assert len([page for page in pages if page.startswith("commands/")]) == len(COMMANDS)
    for page in pages:
        text = (site / page).read_text(encoding="utf-8")
        assert not re.findall(r"(?:<script|<img|<link)[^>]*(?:src|href)=\"?(?:https?:)?//", text), (
            page
        )
    train = (site / "commands" / "train.html").read_text(encoding="utf-8")
    assert "--learning-rate NUMBER" in train and "peak learning rate" in train
    names = (site / "api.html").read_text(encoding="utf-8")
    public = {name for name in rewardgap.__all__ if not name.startswith("_")}
    assert {path.rpartition(".")[2] for path in make_site.public_names()} == public
    assert all(f'id="{path}"' in names for path in make_site.public_names())


def test_nothing_keeps_people_from_reading_the_site(site, browser):
    handler = partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for page in ("index.html", "forecast.html"):
            address = f"http://127.0.0.1:{server.server_port}/{page}"
            assert find_faults(browser, address, "article") == [], page
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def small_site(tmp_path, monkeypatch) -> Path:
    """A project of two pages, which `make_site` builds."""
    for name, value in {"BUILD": tmp_path / "build", "SITE": tmp_path / "html"}.items():
        monkeypatch.setattr(make_site, name, value)
    monkeypatch.setattr(make_site, "ROOT", tmp_path)
    monkeypatch.setattr(make_site, "COMMANDS", {})
    monkeypatch.setattr(make_site, "PAGES", {"docs/data.md": "data.md", "README.md": "index.md"})
    monkeypatch.setattr(make_site, "api_page", lambda: "# API\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "data.md").write_text("# Data\n")
    (tmp_path / "README.md").write_text("# Start\n")
    (tmp_path / "mkdocs.yml").write_text(
        "site_name: a\nnav: [index.md, data.md, api.md, {Commands: []}]\n"
    )
    return tmp_path


def test_broken_links_fail(small_site, capfd):
    links = "[page](docs/nowhere.md) [anchor](docs/data.md#nowhere) [right](docs/data.md#data)"
    (small_site / "README.md").write_text(f"# Start\n\n{links}\n")
    assert make_site.build_site() == 1
    said = capfd.readouterr().err
    assert "page does not exist" in said and "anchor does not exist" in said
    assert "2 issues found" in said and not (small_site / "html").exists()


def test_a_page_without_a_place_fails(small_site, capsys):
    text = (small_site / "mkdocs.yml").read_text()
    (small_site / "mkdocs.yml").write_text(text.replace("data.md", "other.md"))
    assert make_site.build_site() == 1
    assert "data.md, other.md" in capsys.readouterr().err
