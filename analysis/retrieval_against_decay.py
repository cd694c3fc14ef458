r"""What memory costs in the rows measured here: retrieval against the decay of PSNR (Figure 9).

Every network with its two-dimensional interval, its start value, and the decay in squared error,
because who starts low has little left to lose. Within a family of networks: how likely each is not
to be dominated, how far retrieval and decay go together, and the hypervolume, all by a bootstrap
that draws training seeds, and clips within them, the same for every network.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas

from analysis.measured_rows import FOLDER, Rows, inputs, published_rows, read
from analysis.study import Config, Study

__all__ = ["STUDY", "hypervolume", "not_dominated", "run"]

CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "worlds": ["maze", "blocks"],
    "retrieval": "retrieval:4:12",
    "first": [0, 4],
    "last": [12, 16],
    "families": {
        "joint, by budget": [f"prepend-12-joint-{budget}" for budget in (2, 4, 8, 12)],
        "state space, by budget": [f"prepend-12-state_space-{b}" for b in (2, 4, 8, 12)],
        "modulated, by budget": [f"channel_concat-12-modulated-{b}" for b in (2, 4, 8, 12)],
        "prepend, by length": [f"prepend-{length}" for length in (4, 12, 28)],
        "channel concat, by length": [f"channel_concat-{length}" for length in (4, 12, 28)],
        "cross attention": ["cross_attention-28"],
        "without memory": ["none"],
    },
    "worst_decay_db": 12.0,
    "confidence": 0.95,
    "draws": 2000,
    "seed": 1,
}
"""`worst_decay_db`: where the hypervolume ends; it ends at retrieval 0 too."""


def not_dominated(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Which points no other one beats, `(..., points)`: as much gain, as little cost, one better.

    >>> not_dominated(np.array([0.1, 0.5, 0.4]), np.array([1.0, 2.0, 3.0])).tolist()
    [True, True, False]
    """
    more = gain[..., None, :] >= gain[..., :, None]
    less = cost[..., None, :] <= cost[..., :, None]
    strictly = (gain[..., None, :] > gain[..., :, None]) | (cost[..., None, :] < cost[..., :, None])
    return np.asarray(~(more & less & strictly).any(axis=-1))


def hypervolume(gain: np.ndarray, cost: np.ndarray, worst: float) -> np.ndarray:
    """Area between the points `(..., points)` and (gain 0, cost `worst`) that some point dominates.

    >>> float(hypervolume(np.array([0.5, 1.0]), np.array([1.0, 2.0]), 3.0))
    1.5
    """
    order = np.argsort(cost, axis=-1)
    height = np.take_along_axis(np.maximum(gain, 0.0), order, axis=-1)
    best = np.maximum.accumulate(height, axis=-1)
    at = np.minimum(np.take_along_axis(cost, order, axis=-1), worst)
    ends = np.concatenate([at[..., 1:], np.full(at.shape[:-1] + (1,), worst)], axis=-1)
    return np.asarray(((ends - at) * best).sum(axis=-1))


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, family and network of it that has been measured; empty if none has.

    `retrieval` (share), `psnr_decay_db`, `mse_growth`, `psnr_first_db`, `psnr_last_db`, each with
    `.._error` over seeds and clips and `.._low`, `.._high`: 95 % alone for the last three; for
    retrieval, decay and growth 97.5 %, so that the rectangle of two covers the pair with 95 %.
    `on_front`: not dominated in its family and world; `front_share`: in so many bootstrap draws. Of
    the family: `correlation` of retrieval and decay and `hypervolume` (share · dB), each `.._low`,
    `.._high`; NaN with fewer than 3 networks. `bootstrap`: over what.
    """
    rows = read(config["results"])
    out: list[dict[str, Any]] = []
    for world in config["worlds"]:
        for family, networks in config["families"].items():
            there = [row for row in networks if rows.seeds(world, [row])]
            if there:
                out += _family(rows, world, family, there, config)
    return pandas.DataFrame(out, columns=list(COLUMNS))


COLUMNS = (
    *("world", "family", "row", "structure", "compression", "memory", "budget", "seeds", "clips"),
    *(
        f"{name}{end}"
        for name in ("retrieval", "psnr_decay_db", "mse_growth", "psnr_first_db", "psnr_last_db")
        for end in ("", "_error", "_low", "_high")
    ),
    *("over", "on_front", "front_share", "bootstrap"),
    *(f"{name}{end}" for name in ("correlation", "hypervolume") for end in ("", "_low", "_high")),
)


def _family(
    rows: Rows, world: str, family: str, networks: list[str], config: Config
) -> list[dict[str, Any]]:
    ends = ":".join(str(end) for end in (*config["first"], *config["last"]))
    first, last = (":".join(map(str, config[name])) for name in ("first", "last"))
    quantities = {
        "retrieval": config["retrieval"],
        "psnr_decay_db": f"psnr_decay:{ends}",
        "mse_growth": f"mse_growth:{ends}",
        "psnr_first_db": f"psnr:{first}",
        "psnr_last_db": f"psnr:{last}",
    }
    known = {row["row"]: row for row in published_rows()}
    drawn = _bootstrap(rows, world, networks, quantities, config)
    out = []
    for place, name in enumerate(networks):
        row: dict[str, Any] = {"world": world, "family": family, "row": name}
        row |= {key: known[name][key] for key in ("structure", "compression")}
        row |= {key: known[name][key] // 4 for key in ("memory", "budget")}
        for label, quantity in quantities.items():
            mean = rows.combined(world, [(name, quantity, 1.0)])
            confidence = config["confidence"]
            if not label.startswith("psnr_") or label == "psnr_decay_db":
                confidence = 1.0 - 0.5 * (1.0 - confidence)
            low, high = mean.interval(confidence)
            row[label] = float(mean.value)
            row |= {f"{label}_error": float(mean.standard_error)}
            row |= {f"{label}_low": float(low), f"{label}_high": float(high)}
            row |= {"over": mean.over, "seeds": mean.seeds}
            if label == "retrieval":
                row["clips"] = mean.clips
        row["on_front"], row["front_share"] = bool(drawn["front"][place]), drawn["share"][place]
        out.append(row | drawn["family"])
    return out


def _bootstrap(
    rows: Rows, world: str, networks: list[str], quantities: dict[str, str], config: Config
) -> dict[str, Any]:
    """Over the training seeds that all networks of a family share; none if they share none."""
    seeds = rows.seeds(world, networks)
    nan = math.nan
    ends = {f"{n}{e}": nan for n in ("correlation", "hypervolume") for e in ("", "_low", "_high")}
    if not seeds:
        return {
            "front": np.zeros(len(networks), bool),
            "share": np.full(len(networks), nan),
            "family": {"bootstrap": "no training seed that all have", **ends},
        }
    generator = np.random.default_rng(config["seed"])
    draws = config["draws"]
    weights = generator.multinomial(len(seeds), np.full(len(seeds), 1.0 / len(seeds)), draws)
    means, drawn = [], []
    for name in ("retrieval", "psnr_decay_db"):
        each = [rows.values(world, row, quantities[name], seeds) for row in networks]
        whole = np.isfinite(np.stack(each)).all(axis=(0, 1))
        values = np.stack(each)[..., whole]
        clips = values.shape[-1]
        picked = generator.multinomial(clips, np.full(clips, 1.0 / clips), draws)
        by_seed = np.einsum("rsc,bc->brs", values, picked / clips, optimize=True)
        drawn.append(np.einsum("brs,bs->br", by_seed, weights / len(seeds)))
        means.append(values.mean(axis=(1, 2)))
    family: dict[str, Any] = {
        "bootstrap": f"{draws} draws of {'seeds and clips' if len(seeds) > 1 else 'clips only'}"
    }
    tails = [50.0 * (1.0 - config["confidence"]), 50.0 * (1.0 + config["confidence"])]
    worst = config["worst_decay_db"]
    enough = len(networks) > 2
    for label, function in (
        ("correlation", _correlation),
        ("hypervolume", lambda gain, cost: hypervolume(gain, cost, worst)),
    ):
        if enough:
            at = function(*drawn)
            at = at[np.isfinite(at)]
            low, high = np.percentile(at, tails) if at.size else (nan, nan)
            ends[label] = float(function(*means))
            ends |= {f"{label}_low": float(low), f"{label}_high": float(high)}
    return {
        "front": not_dominated(*means),
        "share": not_dominated(*drawn).mean(axis=0),
        "family": family | ends,
    }


def _correlation(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Of the points `(..., points)`; NaN where either does not vary."""
    x, y = (v - v.mean(axis=-1, keepdims=True) for v in (gain, cost))
    scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    nothing = np.full(scale.shape, np.nan)
    return np.asarray(np.divide((x * y).sum(axis=-1), scale, out=nothing, where=scale > 0.0))


STUDY = Study(
    name="retrieval_against_decay",
    question="What does memory cost in the rows measured here: retrieval against PSNR decay?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: inputs(config["results"]),
)
run = STUDY.run
