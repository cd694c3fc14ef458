"""What limits a memory: how many numbers it has, or how much information they hold?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas

from analysis.cases import LEVELS, VIDEOS, back_and_forth
from analysis.study import Config, Study, sweep
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    best_recursive_memory,
    canonical_correlations_of,
    linear_memory_floor,
    memory_bottleneck_of,
    recursive_memory_floor,
)
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "run"]


def _cycles(*cycles: tuple[float, float, float]) -> dict[str, Any]:
    """Sum of stochastic cycles (period, persistence, variance) seen through noise, as one video."""
    size = 2 * len(cycles)
    move, noise = np.zeros((size, size)), np.zeros((size, size))
    for i, (period, persistence, variance) in enumerate(cycles):
        angle, block = 2.0 * math.pi / period, slice(2 * i, 2 * i + 2)
        cos, sin = math.cos(angle), math.sin(angle)
        move[block, block] = persistence * np.array([[cos, -sin], [sin, cos]])
        noise[block, block] = variance * (1.0 - persistence**2) * np.eye(2)
    return {
        "family": "state_space",
        "transition": move.tolist(),
        "emission": [[1.0, 0.0] * len(cycles)],
        "state_noise": noise.tolist(),
        "emission_noise": 0.2,
    }


CONFIG: dict[str, Any] = {
    "level": LEVELS["t_min"],
    "rate": {
        "video": {**VIDEOS["panorama"], "positions": back_and_forth(12, 72)},
        "block": 8,
        "horizon": 48,
        "numbers": [1, 2, 4, 6],
        "precisions": [2, 4],
        "largest": 16.0,
        "budgets": 81,
    },
    "recursion": {
        "videos": {
            "three cycles": _cycles((3.0, 0.97, 0.5), (7.0, 0.98, 1.0), (20.0, 0.99, 2.0)),
            "AR(2)": VIDEOS["AR(2)"],
        },
        "starts": 2,
    },
}


def _row(part: str, series: str, video: str, value: Enclosure, **more: Any) -> dict[str, Any]:
    ends = {
        "mb_nats": value.value,
        "lower_nats": value.lower,
        "upper_nats": value.upper,
        "mb_bits": value.value * UNITS["bits"],
    }
    return {"part": part, "series": series, "video": video, **more, **ends}


def _rate_rows(config: Config) -> list[dict[str, Any]]:
    rate, rows = config["rate"], []
    video = GaussianVideo.from_json(rate["video"])
    source = canonical_correlations_of(
        video, block=rate["block"], horizon=rate["horizon"], level=config["level"]
    )
    budgets = np.linspace(0.0, rate["largest"], rate["budgets"])

    def add(series: str, value: Enclosure, size: float, information: float) -> None:
        more = {"numbers": size, "information_nats": information}
        rows.append(_row("rate", series, "panorama", value, **more))

    for c in budgets:
        add("R2", MemoryBudget(source).floor(c), math.nan, c)
    directions = int(np.sum(source.losses > source.error_bound))
    for size in range(directions + 1):
        left = linear_memory_floor(source, size).floor
        add("R1", left, size, math.inf)
        for bits in rate["precisions"]:
            nats = bits / UNITS["bits"]
            held = _held(source, size, math.exp(2.0 * nats))
            add(f"{bits} bits each", _plus(held, left), size, size * nats)
        if size in rate["numbers"]:
            first = MemoryBudget(_part(source, size))
            for c in budgets:
                add(f"b = {size}", _plus(first.floor(c), left), size, c)
    return rows


def _part(source: CanonicalCorrelations, size: int) -> CanonicalCorrelations:
    """The `size` strongest directions."""
    return CanonicalCorrelations(
        source.ratios[:size], source.error_bound[:size], source.total_error, source.truncation
    )


def _held(source: CanonicalCorrelations, size: int, power: float) -> Enclosure:
    """What `size` numbers with noise of variance 1/(power - 1) leave of their own directions."""
    left = np.log1p(source.ratios[:size] / power)
    error = 0.5 * float(np.sum(source.error_bound[:size]))
    return Enclosure.around(0.5 * float(np.sum(left)), error, least=0.0, theorems=("M1",))


def _plus(one: Enclosure, other: Enclosure) -> Enclosure:
    return Enclosure(one.value + other.value, one.lower + other.lower, one.upper + other.upper)


def _recursion_rows(job: tuple[str, Config]) -> list[dict[str, Any]]:
    name, config = job
    video = GaussianVideo.from_json(config["recursion"]["videos"][name])
    level, rows, size, order = config["level"], [], 0, 1
    while size <= order:
        floor = recursive_memory_floor(video, size, level=level)
        order = floor.order or 0
        more = {"numbers": size, "order": order}
        rows.append(_row("recursion", "floor", name, floor.floor, **more, horizon=floor.horizon))
        if size:
            best = best_recursive_memory(
                video, size, level=level, starts=config["recursion"]["starts"]
            ).best
            rows.append(_row("recursion", "best", name, best, **more))
        if size % video.dim == 0:
            window = memory_bottleneck_of(video, reference=size // video.dim, level=level)
            rows.append(_row("recursion", "window", name, window, **more))
        size += 1
    return rows


def compute(config: Config) -> pandas.DataFrame:
    """One row per memory: the least it forgets (`mb_nats`), by what it is limited to.

    `part` "rate", of one block given its past: series "R2" (any memory of `information_nats`), "R1"
    (`numbers` b, exact), "b = 4" (b numbers, the strongest directions at the best precision for
    each), "4 bits each" (b numbers at that precision). `part` "recursion", of each frame: "floor"
    (R6), "best" (the best recursion of b numbers found), "window" (the last b / d frames).
    """
    videos = config["recursion"]["videos"]
    parts = sweep(STUDY.name, _recursion_rows, [(name, config) for name in videos])
    return pandas.DataFrame(_rate_rows(config) + [row for rows in parts for row in rows])


STUDY = Study(
    name="dimension_against_rate",
    question="What limits a memory: how many numbers it has, or how much they hold?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
