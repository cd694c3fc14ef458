"""What do the worlds show that networks are trained on?

Rendered: clips that wander and clips that look away and return, drawn with a seed.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas

from analysis.study import Config, Outcome, Study
from arvdm_theory.errors import ArvdmError
from paper_repro.worlds import make_world
from paper_repro.worlds.sheet import contact_sheet, png_bytes

__all__ = ["GAUSSIAN", "STUDY", "run", "sheet_file"]

GAUSSIAN = {"family": "seasonal", "period": 12, "persistence": 0.98, "dim": 64}

CONFIG: dict[str, Any] = {
    "worlds": [
        ["gaussian", {"video": GAUSSIAN, "size": 8}],
        ["panorama", {"size": 32}],
        ["panorama", {"size": 32, "palette": "discrete"}],
        ["maze", {"size": 64}],
        ["blocks", {"size": 64}],
    ],
    "rows": 3,
    "columns": 16,
    "seed": 0,
}


def sheet_file(title: str) -> str:
    """Name of the picture of a world."""
    return f"{title.replace(' ', '_')}.png"


def compute(config: Config) -> Outcome:
    """One row a world: its options, its content key, the picture's hash; or why it is missing."""
    rows, files = [], {}
    for name, options in config["worlds"]:
        title = " ".join([name, *(str(v) for k, v in options.items() if k == "palette")])
        row: dict[str, Any] = {"world": title, "seed": config["seed"]}
        try:
            world = make_world(name, **options)
            sheet = contact_sheet(
                world, rows=config["rows"], columns=config["columns"], seed=config["seed"]
            )
        except (ArvdmError, ImportError) as error:  # an extra that is not installed
            rows.append(row | {"missing": " ".join(str(error).split())})
            continue
        content = png_bytes(np.ascontiguousarray(sheet))
        files[sheet_file(title)] = content
        digest = hashlib.sha256(content).hexdigest()
        rows.append(row | {"key": world.key, "sha256": digest, "missing": ""})
    return Outcome(pandas.DataFrame(rows), files)


STUDY = Study(
    name="world_sheets",
    question="What do the worlds show that networks are trained on?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
