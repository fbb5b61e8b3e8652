"""Take the pictures of the report and of an explanation: `make pictures`, after `make demo`.

Both pages are made anew from the demo's runs and opened in Chromium, without a network.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import rewardgap

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path("runs/demo/runs")
RUN = RUNS / "language_model" / "implicit" / "seed-0"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"report.png": (860, 780), "explanation.png": (860, 780)}
"""Width and height of each picture in pixels of a page; a picture has three for every two."""


def take_pictures() -> None:
    """Write the pages, photograph them, and keep the pictures in `docs/`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rewardgap.report(rewardgap.ReportConfig(folders=[str(RUNS)], out=str(folder / "report")))
        scores = (RUN / "scores" / "paraphrased-test.jsonl").read_text(encoding="utf-8")
        explained = rewardgap.ExplainConfig(
            model=str(RUN),
            data="agreement:paraphrased-test",
            id=json.loads(scores.partition("\n")[0])["id"],
            out=str(folder / "explanation.html"),
        )
        rewardgap.explain(explained)
        photograph(folder / "report" / "index.html", ROOT / "docs" / "report.png")
        photograph(folder / "explanation.html", ROOT / "docs" / "explanation.png")


def photograph(page: Path, picture: Path) -> None:
    """Write a picture of the top of a page, in as many colours as need little space."""
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    width, height = SIZES[picture.name]
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with tempfile.TemporaryDirectory() as profile:
        size = ["--hide-scrollbars", "--force-device-scale-factor=1.5"]
        time = ["--virtual-time-budget=10000", f"--window-size={width},{height}"]
        where = [f"--user-data-dir={profile}", f"--screenshot={picture}", page.as_uri()]
        subprocess.run([browser, *flags, *size, *time, *where], check=True, capture_output=True)
    image = Image.open(picture).convert("RGB").quantize(128)
    image.save(picture, optimize=True)


if __name__ == "__main__":
    os.chdir(ROOT)  # pages show the paths of runs
    if not RUNS.exists():
        sys.exit(f"{RUNS} is not there: make demo comes first")
    take_pictures()
