"""The example notebook: its cells run one after the other, and its results show themselves."""

import ast
import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


def run_cell(source: str, names: dict) -> object:
    """Return the value of a cell's last expression, as a notebook shows it; None without one."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDGAP_CACHE", str(tmp_path / "cache"))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells), "clear its outputs"
    names: dict = {}
    shown = [run_cell("".join(c["source"]), names) for c in cells if c["cell_type"] == "code"]
    values = [value for value in shown if value is not None]
    assert [type(value).__name__ for value in values] == [
        *("CheckReport", "DataFrame", "list", "DataFrame", "ExplanationResult", "ForecastResult"),
    ]
    for value in values:
        if not isinstance(value, list):
            assert len(value._repr_html_()) > 100
    assert len(names["metrics"].to_frame()) == 4
    frame = names["scores"].to_frame()
    assert len(frame) == 24 and set(frame["response"]) == {"chosen", "rejected"}
    config = (names["runs"]["explicit"] / "config.yaml").read_text()
    assert "48-rows-in-memory-" in config and "# used:" in config
    reprs = [repr(names[name]) for name in ("metrics", "scores", "why", "scorer")]
    reprs += [repr(values[0]), repr(values[-1])]
    assert all("\n" not in text and len(text) < 300 for text in reprs), reprs
