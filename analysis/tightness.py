"""How tight is every inequality: the tightest and the loosest world that a hunt finds?"""

from __future__ import annotations

import json
from typing import Any

import pandas

from analysis.study import Config, Study, sweep
from arvdm_theory.laws import LAWS, Comparison, Extreme, hunt

__all__ = ["KINDS", "STUDY", "run"]

CONFIG: dict[str, Any] = {
    # of the cheapest laws; others get their share by cost
    "draws": 600,
    "refinements": 300,
    "seed": 2503,
    "labels": list(LAWS),
}
KINDS = {"at most": "lower bound", "at least": "upper bound", "equal to": "equality"}
"""What a relation of bound to exact value is called."""


def _rows(job: tuple[str, Config]) -> list[dict[str, Any]]:
    label, config = job
    law = LAWS[label]
    found = hunt(
        law,
        draws=max(config["draws"] // law.weight, 10),
        refinements=max(config["refinements"] // law.weight, 4),
        seed=config["seed"],
    )
    return [_row(item) for item in found]


def _row(item: Extreme) -> dict[str, Any]:
    return {
        "label": item.label,
        "inequality": item.name,
        "kind": KINDS[item.relation],
        "statement": LAWS[item.label].statement,
        **_side("tightest", item.tightest, item.tightest_world),
        **_side("loosest", item.loosest, item.loosest_world),
        "worlds": item.worlds,
        "scored": item.scored,
        "broken": item.broken,
    }


def _side(name: str, comparison: Comparison, world: Any) -> dict[str, Any]:
    return {
        f"{name}_ratio": comparison.ratio,
        f"{name}_bound": comparison.bound,
        f"{name}_exact": comparison.exact,
        f"{name}_world": json.dumps(world.to_json()),
    }


def compute(config: Config) -> pandas.DataFrame:
    """One row per inequality of every law in `arvdm_theory.laws`.

    `label` (THEORY), `inequality` (its name within the law), `kind` (lower bound: ratio at most 1;
    upper bound: at least 1; equality: the smallest and the largest ratio found), `statement`; for
    the tightest and the loosest world found the ratio bound / exact, both its parts (nats, or a
    frame's unit for W2, or a probability for total variation) and the world as JSON, which
    `LAWS[label].world.from_json` reads; `worlds` looked at, of which `scored` had an exact value of
    at least 0.001 so that a ratio means something, and `broken` broke the inequality (0).
    """
    tables = sweep(STUDY.name, _rows, [(label, config) for label in config["labels"]])
    return pandas.DataFrame([row for rows in tables for row in rows])


STUDY = Study(
    name="tightness",
    question="How tight is every inequality: which worlds attain it, and where is it loosest?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
