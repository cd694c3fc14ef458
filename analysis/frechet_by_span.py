r"""Does a metric of short clips see how far along, or how forgetful, a video is? (Figure 1)

Squared Fréchet distances $\|\mu-\nu\|^2 + tr(P + Q - 2(P^{1/2}QP^{1/2})^{1/2})$ between clips of 4
generated frames and clips of real video that share none with what was shown, on the principal
components of the world's frames: not FVD, whose features are those of a network that nobody ships.
Interval: given the real clips; over test clips by the delete-a-group jackknife,
$(G-1)/G \sum_g (D_{-g} - \bar D)^2$, a group the clips of a map, and over training seeds by their
variance, as in `analysis.inference`. All rows leave out the same clips at the same time, so that
differences between rows, and between a row and true frames, are paired.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pandas

from analysis.inference import Mean
from analysis.measured_rows import FOLDER, Measured, Rows, inputs, read
from analysis.study import Config, Study
from arvdm_theory.errors import ParameterError, RefusedError

__all__ = ["STUDY", "jackknifed", "run"]

CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "worlds": ["maze", "blocks"],
    "kinds": ["accumulation", "return"],
    "against": "none",
    "confidence": 0.95,
}
"""`against`: the row that every other one is compared with."""

NUMBERS = ("distance", "floor", "excess", "change", "retrieval", "chance")
COLUMNS = (
    *("world", "row", "kind", "first", "end", "youngest", "oldest", "seeds", "clips", "groups"),
    *(f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")),
    *("change_seeds", "over", "features"),
)


def jackknifed(replicates: Any) -> Mean:
    r"""A statistic $D_s$ of training seeds s, from `(seeds, ..., 1 + groups)`.

    First in the last axis the value of all clips, then those without each group in turn. The value
    is the mean over seeds; its variance over clips that of the mean by the jackknife, where all
    seeds leave out the same group; over seeds that of the $D_s$ over their number.

    >>> groups = np.arange(20.0)  # of a mean, the jackknife is the usual variance
    >>> left_out = (groups.sum() - groups) / 19.0
    >>> mean = jackknifed([[9.5, *left_out]])
    >>> bool(np.isclose(mean.clip_variance, groups.var(ddof=1) / 20.0))
    True
    """
    values = np.asarray(replicates, dtype=np.float64)
    if values.ndim < 2 or values.shape[-1] < 3:
        raise ParameterError(
            "replicates", "(seeds, ..., 1 + groups), 2 groups or more", values.shape
        )
    seeds, groups = values.shape[0], values.shape[-1] - 1
    mean = values.mean(axis=0)
    spread = (mean[..., 1:] - mean[..., 1:].mean(axis=-1, keepdims=True)) ** 2
    between = (
        values[..., 0].var(axis=0, ddof=1) / seeds
        if seeds > 1
        else np.full(mean.shape[:-1], math.nan)
    )
    within = (groups - 1) / groups * spread.sum(axis=-1)
    return Mean(mean[..., 0], np.asarray(between), np.asarray(within), seeds, groups)


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, network, kind of roll-out and span of frames; empty if none has any.

    `first`, `end` of the span, frames of the roll-out; `distance` of generated clips to real ones
    and `floor`, of the true frames in their place to the same real ones (above 0 because clips are
    few); `excess`, the difference of the two; `change`, distance minus that of the row `against`,
    over the `change_seeds` that both have; where views return, their ages `youngest` to `oldest`,
    and `retrieval` and `chance`, shares of the same frames. Each with `.._low`, `.._high`: over
    what, `over` says. Distances in squared units of the features, frames in [-1, 1].
    """
    rows = read(config["results"])
    names = dict.fromkeys(row for _, row in rows.found)
    out: list[dict[str, Any]] = []
    for world, row, kind in product(config["worlds"], names, config["kinds"]):
        networks = rows.found.get((world, row), {})
        seeds = [seed for seed, one in networks.items() if _has(one, kind)]
        for place, span in enumerate(_spans(networks, seeds, kind)):
            out.append(_row(rows, world, row, kind, seeds, place, span, config))
    return pandas.DataFrame(out, columns=list(COLUMNS))


def _has(one: Measured, kind: str) -> bool:
    return one.frechet(kind) is not None


def _spans(networks: Any, seeds: list[int], kind: str) -> list[tuple[int, int]]:
    """The spans that all of these networks were measured on."""
    each = {
        tuple((int(a), int(b)) for a, b in networks[seed].manifest["frechet"][kind])
        for seed in seeds
    }
    if len(each) > 1:
        raise RefusedError(f"Fréchet distances of different spans are not one row: {sorted(each)}")
    return list(*each)


def _row(
    rows: Rows,
    world: str,
    row: str,
    kind: str,
    seeds: list[int],
    place: int,
    span: tuple[int, int],
    config: Config,
) -> dict[str, Any]:
    of = rows.found[world, row]
    made, real = (
        np.stack([of[seed].arrays[f"{kind}_{name}"][place] for seed in seeds])
        for name in ("frechet", "frechet_real")
    )
    described: dict[str, Any] = {"world": world, "row": row, "kind": kind}
    described |= {"first": span[0], "end": span[1], "seeds": len(seeds)}
    described |= {
        "groups": made.shape[-1] - 1,
        "features": of[seeds[0]].manifest["frechet"]["features"],
    }
    distance = jackknifed(made)
    described |= {"clips": len(of[seeds[0]].arrays[f"{kind}_age"]), "over": distance.over}
    numbers = {"distance": distance, "excess": jackknifed(made - real)}
    numbers["floor"] = jackknifed(real[:1])  # the same true frames, whichever network is beside
    other = rows.found.get((world, config["against"]), {})
    common = [seed for seed in seeds if seed in other and _has(other[seed], kind)]
    described["change_seeds"] = len(common)
    if common and row != config["against"]:
        beside = [other[seed].arrays[f"{kind}_frechet"][place] for seed in common]
        mine = [of[seed].arrays[f"{kind}_frechet"][place] for seed in common]
        numbers["change"] = jackknifed(np.stack(mine) - np.stack(beside))
    if kind == "return":
        youngest, oldest = _ages(of[seeds[0]].arrays["return_age"], span)
        described |= {"youngest": youngest, "oldest": oldest}
        for name in ("retrieval", "chance"):
            quantity = f"{name}:{youngest - 1}:{oldest}"
            numbers[name] = rows.combined(world, [(row, quantity, 1.0)], only=seeds)
    for name, mean in numbers.items():
        low, high = mean.interval(config["confidence"])
        described |= {name: float(mean.value), f"{name}_low": float(low)}
        described[f"{name}_high"] = float(high)
    return described


def _ages(age: np.ndarray, span: tuple[int, int]) -> tuple[int, int]:
    """Ages of the views in a span, refused unless only that span shows them."""
    inside = np.zeros(age.shape[1], dtype=bool)
    inside[slice(*span)] = True
    youngest, oldest = int(age[:, inside].min()), int(age[:, inside].max())
    outside = age[:, ~inside]
    if youngest < 0 or ((outside >= youngest) & (outside <= oldest)).any():
        raise RefusedError(f"views of frames {span[0]}–{span[1]} are as old as views of others")
    return youngest, oldest


STUDY = Study(
    name="frechet_by_span",
    question="Does a distance between distributions of short clips see what retrieval sees?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: inputs(config["results"]),
)
run = STUDY.run
