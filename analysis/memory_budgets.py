"""How much must a memory of c nats forget, on each video?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.cases import LEVELS, VIDEOS, back_and_forth
from analysis.study import Config, Study, sweep
from arvdm_theory.enclosure import UNITS
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    canonical_correlations_of,
    stochastic_memory,
)
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "run"]

CONFIG: dict[str, Any] = {
    "videos": {
        **{name: VIDEOS[name] for name in ("AR(2)", "seasonal", "ARFIMA", "static latent")},
        "panorama": {**VIDEOS["panorama"], "positions": back_and_forth(12, 72)},
    },
    "block": 8,
    "horizon": 48,
    "level": LEVELS["t_min"],
    "largest": 8.0,
    "budgets": 81,
    "shares": [0.5, 0.1, 0.01],
    "correlation": 0.9,
}


def _curve(job: tuple[str, Config]) -> list[dict[str, Any]]:
    name, config = job
    video = GaussianVideo.from_json(config["videos"][name])
    keys = {key: config[key] for key in ("block", "horizon", "level")}
    budget = MemoryBudget(canonical_correlations_of(video, **keys))
    begins, _ = budget.break_points()
    even = np.linspace(0.0, config["largest"], config["budgets"])
    rows = []
    for part, budgets in (("curve", even), ("break point", begins[begins <= config["largest"]])):
        curve = budget.curve(budgets)
        for c, lower, value, upper in zip(
            curve.budgets, curve.lower, curve.value, curve.upper, strict=True
        ):
            rows.append(
                {
                    "part": part,
                    "video": name,
                    "dim": video.dim,
                    "budget_nats": c,
                    "floor_nats": value,
                    "lower_nats": lower,
                    "upper_nats": upper,
                    "remembered": int(np.sum(begins < c)),
                }
            )
    for share in config["shares"]:
        target = share * float(budget.total)
        c = float(budget.budget_for(target))
        rows.append(
            {
                "part": "target",
                "video": name,
                "dim": video.dim,
                "budget_nats": c,
                "floor_nats": target,
                "remembered": int(np.sum(begins < c)),
                "share": share,
            }
        )
    return rows


def _scalar(config: Config) -> list[dict[str, Any]]:
    source = CanonicalCorrelations.of([config["correlation"]])
    budget, rows = MemoryBudget(source), []
    enough = float(budget.total)  # R4 needs no more than what there is to know
    for c in np.append(np.linspace(0.0, 2.0, config["budgets"]), enough):
        kept, drawn = budget.floor(c), stochastic_memory(source, c)
        rows.append(
            {
                "part": "scalar",
                "video": f"ρ = {config['correlation']}",
                "dim": 1,
                "budget_nats": c,
                "floor_nats": kept.value,
                "lower_nats": kept.lower,
                "upper_nats": kept.upper,
                "remembered": int(c > 0.0),
                "drawn_nats": drawn.value,
            }
        )
    return sorted(rows, key=lambda row: float(row["budget_nats"]))


def compute(config: Config) -> pandas.DataFrame:
    """One row per video and budget c: the floor MB*(c) of R2, for a block given its past.

    `part`: "curve" at even budgets; "break point" where one more direction begins to be remembered;
    "target", the least budget at which a `share` of MB*(0) is possible; "scalar", one correlation,
    where `drawn_nats` is R4's KL, an upper bound on what a random memory that is integrated out can
    reach. `remembered`: directions that get nats.
    """
    parts = sweep(STUDY.name, _curve, [(name, config) for name in config["videos"]])
    table = pandas.DataFrame([row for rows in parts for row in rows] + _scalar(config))
    for quantity in ("budget", "floor", "drawn"):
        table[f"{quantity}_bits"] = table[f"{quantity}_nats"] * UNITS["bits"]
    return table


STUDY = Study(
    name="memory_budgets",
    question="How much must a memory of c nats forget?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
