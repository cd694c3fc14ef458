r"""What does PSNR lose along a roll-out, with its own memory and with a true one?

The same networks under three conditions (`paper_repro.controls`):

- *own memory*: roll-outs to and fro over 7 given frames, as every row is measured: what was
  generated is remembered with its errors, and views are up to 12 frames old;
- *true memory*: the same clips, but true frames stand in the memory for all finished ones. The
  spans show the same views at the same ages, so nothing but a memory that is not full yet in the
  first span tells them apart;
- *wandering*: paths like those of training clips, after 17 given frames. Some views are new, so
  that no memory can know them, others return at any age: `new` and `old` say how many.

What own memory loses beyond true memory is what an imperfect memory costs. That is two things:
errors that are handed on from frame to frame, and views that a short or compressed memory loses
once and then lacks for good (`lost_for_good`: of a network that copies what is in its memory
without any error). Rows whose memory holds all 12 frames of the path to and fro without compression
can only do the first. A trend is the change from the smallest to the largest size along the
least-squares line in its logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas

from analysis.inference import mean_over, trend
from analysis.measured_rows import FOLDER, Measured, inputs, read
from analysis.study import Config, Study
from arvdm_theory.errors import RefusedError
from paper_repro.worlds.walk import CLIPS_A_MAP
from paper_repro.worlds.world import look_away

__all__ = ["CONDITIONS", "STUDY", "TREND", "lost_for_good", "run"]

CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "controls": "paper_repro/results/controls",
    "worlds": ["maze", "blocks"],
    "families": {
        "joint, by budget": {f"prepend-12-joint-{budget}": budget for budget in (2, 4, 8, 12)},
        "prepend, by length": {f"prepend-{length}": length for length in (4, 12, 28)},
    },
    "first": [0, 4],
    "last": [[12, 16], [60, 64]],
    "confidence": 0.95,
}
CONDITIONS = ("own memory", "true memory", "wandering")
COST = "own minus true memory"
TREND = "trend"
PATH = ("new", "old")
REMEMBERED = 12
"""Frames: the path to and fro shows no older view."""
COLUMNS = (
    *("world", "family", "row", "size", "condition", "quantity", "first", "end"),
    *("value", "low", "high", "unit", "seeds", "clips", "maps", "over", "networks"),
)
_UNITS = {"psnr": "dB", "psnr_decay": "dB", "mse_growth": "of the squared peak"}

Errors = Mapping[str, np.ndarray]
"""Condition → squared errors `(seeds, clips, frames)`; `new`, `old`: 1 for such a view, or 0."""


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, family, network, condition and quantity; empty if nothing is measured.

    `quantity`: `psnr` of the frames `first` to `end`; `psnr_decay` and `mse_growth`, from the first
    span to that one; `chance`, PSNR of the true frames of another map on wandering paths; `new` and
    `old`, shares of their views that were never seen, and not in the last 12 frames. `row` is
    `trend` for that over the family, there if all of it is; `networks` names what a value is of;
    the condition `own minus true memory` is of paired differences. Intervals are over training
    seeds and clips (`over`), of which those of one map count as one.

    Raises `RefusedError` if the controls are of other weights than their row: what they have in
    common, the first window of the roll-outs, then differs.
    """
    rows, controls = (read(config[folder]).found for folder in ("results", "controls"))
    out: list[dict[str, Any]] = []
    for world in config["worlds"]:
        for family, sizes in config["families"].items():
            networks = {
                row: _errors(rows.get((world, row), {}), controls.get((world, row), {}))
                for row in sizes
            }
            there = {row: errors for row, errors in networks.items() if errors}
            for row, errors in there.items():
                named = {"world": world, "family": family, "row": row, "size": sizes[row]}
                named["networks"] = row
                seeds = sorted(errors)
                stacked = _stacked(errors, seeds)
                out += [named | one for one in _numbers([stacked], [1.0], config)]
            common = set.intersection(*map(set, networks.values()))
            if common:
                stacks = [_stacked(networks[row], sorted(common)) for row in sizes]
                weights = trend(list(sizes.values()))
                named = {"world": world, "family": family, "row": TREND, "size": np.nan}
                named["networks"] = ", ".join(sizes)
                out += [named | one for one in _numbers(stacks, weights, config)]
    return pandas.DataFrame(out, columns=list(COLUMNS))


def _errors(rows: Mapping[int, Measured], controls: Mapping[int, Measured]) -> dict[int, Errors]:
    """Seed → errors of the seeds whose network has both."""
    out: dict[int, Errors] = {}
    for seed in rows.keys() & controls.keys():
        control = controls[seed].arrays
        true = control["control_true_memory"]
        own = rows[seed].arrays["accumulation_error"][: len(true)]
        window = rows[seed].manifest["experiment"]["network"]["window"]
        if not np.allclose(own[:, :window], true[:, :window], rtol=1e-3, atol=1e-6):
            name = controls[seed].path.name
            raise RefusedError(f"controls of other weights than their row: {name}; remove them")
        age = control["control_wandering_age"]
        out[seed] = {
            "own memory": own,
            "true memory": true,
            "wandering": control["control_wandering"],
            "chance": control["control_wandering_chance"],
            "new": (age < 0).astype(np.float64),
            "old": ((age < 0) | (age > REMEMBERED)).astype(np.float64),
        }
    return out


def lost_for_good(memory: int, window: int = 4, frames: int = 64, given: int = 7) -> np.ndarray:
    """Which frames to and fro are right if a network copies its memory perfectly, `(frames,)`.

    It is right about a view if one of the last `memory` frames before its window shows it rightly,
    and never otherwise; `given` frames are right.

    >>> lost_for_good(4)[[0, 1, 2, 3, 12, 60]].tolist(), bool(lost_for_good(12).all())
    ([True, True, True, False, False, False], True)
    """
    views = look_away(given, given + frames)
    right = np.arange(given + frames) < given
    for first in range(given, given + frames, window):
        start = max(0, first - memory)  # there is nothing before the first frame
        known = set(views[start:first][right[start:first]].tolist())
        for frame in range(first, min(first + window, given + frames)):
            right[frame] = int(views[frame]) in known
    return right[given:]


def _stacked(errors: Mapping[int, Errors], seeds: Sequence[int]) -> Errors:
    kinds = errors[seeds[0]]
    return {kind: np.stack([errors[seed][kind] for seed in seeds]) for kind in kinds}


def _numbers(networks: Sequence[Errors], weights: Any, config: Config) -> list[dict[str, Any]]:
    """Of the weighted sum of networks that share seeds and clips."""
    start = tuple(config["first"])
    out: list[dict[str, Any]] = []
    for end in (start, *map(tuple, config["last"])):
        for quantity in ("psnr", "psnr_decay", "mse_growth"):
            if quantity != "psnr" and end == start:
                continue
            sums = {
                kind: sum(
                    weight * _quantity(errors[kind], quantity, start, end)
                    for errors, weight in zip(networks, weights, strict=True)
                )
                for kind in CONDITIONS
            }
            values = {**sums, COST: sums["own memory"] - sums["true memory"]}
            if quantity == "psnr" and len(networks) == 1:
                (errors,) = networks
                values["chance"] = _quantity(errors["chance"], quantity, start, end)
                values |= {kind: errors[kind][..., slice(*end)].mean(-1) for kind in PATH}
            for kind, of_clips in values.items():
                of_path = kind in ("chance", *PATH)
                maps = np.arange(of_clips.shape[-1]) // CLIPS_A_MAP
                mean = mean_over(of_clips, clusters=maps)
                low, high = mean.interval(config["confidence"])
                out.append(
                    {
                        "condition": "wandering" if of_path else kind,
                        "quantity": kind if of_path else quantity,
                        "first": end[0],
                        "end": end[1],
                        "value": float(mean.value),
                        "low": float(low),
                        "high": float(high),
                        "unit": "share" if kind in PATH else _UNITS[quantity],
                        "seeds": mean.seeds,
                        "clips": mean.clips,
                        "maps": mean.independent,
                        "over": mean.over,
                    }
                )
    return out


def _quantity(
    error: np.ndarray, name: str, start: tuple[int, int], end: tuple[int, int]
) -> np.ndarray:
    """`(seeds, clips)` from squared errors `(seeds, clips, frames)`."""
    error = error.astype(np.float64)
    if name != "mse_growth":
        error = -10.0 * np.log10(np.maximum(error, 1e-10))
    last = error[..., slice(*end)].mean(axis=-1)
    if name == "psnr":
        return np.asarray(last)
    first = error[..., slice(*start)].mean(axis=-1)
    return np.asarray(last - first if name == "mse_growth" else first - last)


STUDY = Study(
    name="causes_of_decay",
    question="What does PSNR lose along a roll-out, with its own memory and with a true one?",
    revision=2,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: [*inputs(config["results"]), *inputs(config["controls"])],
)
run = STUDY.run


def text_of(table: pandas.DataFrame) -> str:
    """The decays and their trends as plain text."""
    lines = ["Decay of PSNR from the first span, dB"]
    shown = table[table["quantity"] == "psnr_decay"]
    for (world, family, end), part in shown.groupby(["world", "family", "end"], sort=False):
        lines.append(f"{world}, {family}, to frame {end}")
        for row in part.to_dict("records"):
            lines.append(
                f"  {row['row']:20s} {row['condition']:22s} {row['value']:+.2f} "
                f"[{row['low']:+.2f}, {row['high']:+.2f}] over {row['over']}, {row['seeds']} seeds"
            )
    return "\n".join(lines)


def main() -> None:
    print(text_of(run()))


if __name__ == "__main__":
    main()
