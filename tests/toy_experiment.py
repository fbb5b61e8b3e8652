"""What a toy experiment is made of."""

from pathlib import Path
from typing import Any

import yaml

GRAPHS = "hamiltonian:{part}?vertices=5&train=6&test=4"


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "device": "cpu",
        "cache": str(folder / "cache"),
        **changes,
    }


def hamiltonian(**changes: Any) -> dict[str, Any]:
    sets = {
        part: {"category": "in-distribution", "data": GRAPHS.format(part=part)}
        for part in ("train", "test")
    }
    train = {"name": "graphs", "data": GRAPHS.format(part="train")}
    return {"train": train, "eval": sets, "generate": ["test"], "seeds": [0], **changes}


def cells(folder: Path) -> list[Path]:
    written = yaml.safe_load((folder / "experiment.yaml").read_text())
    return [folder / cell["folder"] for cell in written["cells"]]
