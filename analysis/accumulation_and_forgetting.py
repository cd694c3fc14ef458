"""How do our networks' roll-outs drift, and what do they forget?

Measured: squared error against the frame of a roll-out to and fro, retrieval score against the age
of the view in a roll-out back over the way out, means over test clips (and over training seeds
where there are several). The pictures are those of the first test clip, whatever they show.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas

from analysis import measured_rows
from analysis.measured_rows import Measured, Rows
from analysis.study import Config, Outcome, Study
from arvdm_theory.empirical import RULES

__all__ = ["CLIP", "PICTURES", "STUDY", "SUMMARY", "run"]

PICTURES, SUMMARY = "pictures.npz", "summary.json"
CLIP = 0
"""The test clip whose pictures are shown: the first."""

CONFIG: dict[str, Any] = {
    "folder": measured_rows.FOLDER,
    "worlds": ["maze", "blocks"],
    "rows": ["none", "prepend-4", "prepend-12", "prepend-28"],
    "confidence": 0.95,
}


def compute(config: Config) -> Outcome:
    """One row for each world, network, quantity and place (frame or age); the pictures beside it.

    `error` (share of the peak²) by `place` = frame from 0; `score` and `chance_score` (in the
    rule's unit; chance: against the truth of another clip) by `place` = age in frames.
    """
    rows = measured_rows.read(config["folder"])
    out: list[dict[str, Any]] = []
    pictures: dict[str, np.ndarray] = {}
    for world in config["worlds"]:
        for row in config["rows"]:
            networks = rows.found.get((world, row), {})
            if not networks:
                continue
            one = next(iter(networks.values()))
            frames = one.arrays["accumulation_error"].shape[1]
            ages = np.unique(one.arrays["return_age"])
            shown = [("error", f"mse:{i}:{i + 1}", i) for i in range(frames)]
            for kind in ("score", "chance_score"):
                shown += [(kind, f"{kind}:{a - 1}:{a}", int(a)) for a in ages if a > 0]
            for quantity, name, place in shown:
                out.append(
                    {
                        "world": world,
                        "row": row,
                        "memory": one.manifest["experiment"]["network"]["memory"],
                        "window": one.manifest["experiment"]["network"]["window"],
                        "quantity": quantity,
                        "place": place,
                        **_mean(rows, world, row, name, config["confidence"]),
                    }
                )
            pictures |= _pictures(networks, world, row)
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **pictures)
    summary = {
        world: {"statement": rows.rule(world), "unit": RULES[rule].unit, "threshold": threshold}
        for world in config["worlds"]
        for rule, threshold in _rules(rows, world)
    }
    files = {PICTURES: packed.getvalue(), SUMMARY: json.dumps(summary, indent=1).encode()}
    return Outcome(pandas.DataFrame(out), files)


def _rules(rows: Rows, world: str) -> list[tuple[str, float]]:
    """The one rule of a world; none if nothing is measured."""
    of_world = (seeds for (name, _), seeds in rows.found.items() if name == world)
    return [one.rule for seeds in of_world for one in seeds.values()][:1]


def _mean(rows: Rows, world: str, row: str, quantity: str, confidence: float) -> dict[str, Any]:
    mean = rows.combined(world, [(row, quantity, 1.0)])
    low, high = mean.interval(confidence)
    return {
        "value": float(mean.value),
        "low": float(low),
        "high": float(high),
        "seeds": mean.seeds,
        "clips": mean.clips,
    }


def _pictures(networks: Mapping[int, Measured], world: str, row: str) -> dict[str, np.ndarray]:
    """`<world>/<row>` and, of the network without memory, `<world>/truth`: `(T, H, W, 3)` bytes."""
    if 0 not in networks:
        return {}
    with np.load(networks[0].path, allow_pickle=False) as stored:
        names = {"pictures_generated": row, "pictures_truth": "truth"}
        found = {n: stored[n][CLIP] for n in names if n in stored.files}
        if found:
            found["age"] = stored["return_age"][CLIP]
    return {f"{world}/{names.get(name, f'{row}/age')}": value for name, value in found.items()}


STUDY = Study(
    name="accumulation_and_forgetting",
    question="How do our networks' roll-outs drift, and what do they forget?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: measured_rows.inputs(config["folder"]),
)
run = STUDY.run
