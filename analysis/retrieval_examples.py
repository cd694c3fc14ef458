"""What do the networks draw where a view returns? Examples that a rule picks, not the eye.

The first two of the test clips that every network is scored on, as training seed 0 of each row drew
them: the frames themselves, what each scores, and how often the row scores so over all clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.measured_rows import FOLDER, Measured, Rows, inputs, read
from analysis.study import Config, Outcome, Study
from arvdm_theory.errors import RefusedError
from paper_repro.worlds.sheet import png_bytes

__all__ = ["STUDY", "TRUTH", "run", "strip_file"]

CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "worlds": ["maze", "blocks"],
    "clips": [0, 1],
    "seed": 0,
    "oldest": 32,
    "confidence": 0.95,
}
"""`oldest`: age in frames up to which retrieval is counted, all that the roll-outs show."""
TRUTH = "truth"
"""Stands for a row in the names of files."""
COLUMNS = (
    *("world", "row", "memory", "seed", "clip", "frame", "age", "in_memory", "rule", "score"),
    *("retrieved", "share", "share_low", "share_high", "clips"),
)


def strip_file(world: str, row: str) -> str:
    """Name of the picture that holds the frames of a row, one line a clip."""
    return f"{world}-{row}.png"


def compute(config: Config) -> Outcome:
    """One row per world, network, clip and generated frame; empty if nothing is measured.

    `age` of the view in frames; `in_memory`: the frame that showed it was among the `memory` frames
    before the window in which it returns, or in that window; `score` by `rule`, `retrieved` or not;
    `share` of all returning frames of all `clips` that count as retrieved, with its interval over
    clips. Files: the frames of each row and the true ones (`strip_file`), clips below one another.
    """
    rows = read(config["results"])
    table: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for (world, row), networks in rows.found.items():
        if world not in config["worlds"] or config["seed"] not in networks:
            continue
        one = networks[config["seed"]]
        with np.load(one.path, allow_pickle=False) as stored:
            shown = {name: stored[name] for name in stored.files if name.startswith("pictures_")}
        if "pictures_generated" not in shown:
            continue
        files[strip_file(world, row)] = _strip(shown["pictures_generated"], config)
        if "pictures_truth" in shown:
            files[strip_file(world, TRUTH)] = _strip(shown["pictures_truth"], config)
        table += _frames(rows, one, config)
    return Outcome(pandas.DataFrame(table, columns=list(COLUMNS)), files)


def _strip(videos: np.ndarray, config: Config) -> bytes:
    """Videos `(n, T, H, W, 3)` in bytes as one picture `(n H, T W, 3)`."""
    if len(videos) <= max(config["clips"]):
        raise RefusedError(f"the results hold {len(videos)} pictured clips, not {config['clips']}")
    lines = [np.concatenate(list(videos[clip]), axis=1) for clip in config["clips"]]
    return png_bytes(np.ascontiguousarray(np.concatenate(lines, axis=0)))


def _frames(rows: Rows, one: Measured, config: Config) -> list[dict[str, Any]]:
    network = one.manifest["experiment"]["network"]
    quantity = f"retrieval:0:{config['oldest']}"
    whole = rows.combined(one.world, [(one.row, quantity, 1.0)], only=[one.seed])
    low, high = whole.interval(config["confidence"])
    ages, scores = one.arrays["return_age"], one.arrays["return_score"]
    out = []
    for clip in config["clips"]:
        for frame, (age, score) in enumerate(zip(ages[clip], scores[clip], strict=True)):
            out.append(
                {
                    "world": one.world,
                    "row": one.row,
                    "memory": network["memory"],
                    "seed": one.seed,
                    "clip": clip,
                    "frame": frame,
                    "age": int(age),
                    "in_memory": bool(age <= network["memory"] + frame % network["window"]),
                    "rule": one.statement,
                    "score": float(score),
                    "retrieved": bool(one.retrieved[clip, frame]),
                    "share": float(whole.value),
                    "share_low": float(low),
                    "share_high": float(high),
                    "clips": whole.clips,
                }
            )
    return out


STUDY = Study(
    name="retrieval_examples",
    question="What do the networks draw where a view returns, and does it count as retrieved?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: inputs(config["results"]),
)
run = STUDY.run
