"""What changes when a reader turns a knob: schedule, memory length or persistence, all exact."""

from __future__ import annotations

from typing import Any

import pandas

from analysis.cases import LEVELS, METHODS, VIDEOS, back_and_forth, generator_of, schedule_of
from analysis.study import Config, Study, sweep
from arvdm_theory.decomposition import decompose
from arvdm_theory.memory import needle_success, window_memory_bottleneck
from arvdm_theory.rates import rates
from arvdm_theory.video import Autoregressive, GaussianVideo

__all__ = ["STUDY", "persistent", "run"]

CONFIG: dict[str, Any] = {
    "schedule": {
        "videos": {name: VIDEOS[name] for name in ("AR(2)", "seasonal", "panorama")},
        "methods": METHODS,
        "denoisers": {"exact": {}, "scaled 1.05": {"denoiser": {"kind": "scaled", "factor": 1.05}}},
        "substeps": [2, 4, 8, 16],
        "levels": LEVELS,
        "frames": 24,
    },
    "memory": {
        "videos": {
            **{name: VIDEOS[name] for name in ("AR(2)", "seasonal", "ARFIMA", "static latent")},
            "panorama": {**VIDEOS["panorama"], "positions": back_and_forth(24, 97)},
        },
        "longest": 64,
        "horizon": 96,
        "level": LEVELS["t_min"],
        "needles": [2, 4, 16, 64],
    },
    "persistence": {
        "coefficients": [0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995],
        "levels": [0.02, 0.2],
        "t_max": LEVELS["t_max"],
        "methods": {name: METHODS[name] for name in ("FIFO", "chunk", "next frame", "staircase")},
        "substeps": 16,
        "references": [0, 1, 2, 4, 8],
        "longest": 64,
        "share": 0.99,
    },
}

TERMS = ("nie", "see", "de", "mb")
RUNGS = ("output", "chain", "bound")


def persistent(coefficient: float) -> Autoregressive:
    """AR(1) of variance 1: each frame is ρ times the one before, and as much noise as that leaves.

    >>> persistent(0.6).autocovariance(2).ravel().round(3).tolist()
    [1.0, 0.6, 0.36]
    """
    return Autoregressive([coefficient], 1.0 - coefficient**2)


def _roll_out(job: tuple[str, str, str, int, Config]) -> list[dict[str, Any]]:
    video, method, denoiser, substeps, config = job
    entry = config["methods"][method]
    schedule = schedule_of(entry, config["levels"], substeps=substeps)
    result = decompose(
        GaussianVideo.from_json(config["videos"][video]),
        schedule,
        generator_of(config["denoisers"][denoiser], entry["reference"]),
        frames=config["frames"],
    )
    setting = {"video": video, "method": method, "denoiser": denoiser, "substeps": substeps}
    names = (*TERMS, *RUNGS)
    total = {
        "part": "roll-out",
        **setting,
        "window": schedule.window,
        "stride": schedule.stride,
        "reference": entry["reference"],
        "given_frames": schedule.window - schedule.stride,
        "step": result.roll_out.steps,
        "calls_per_frame": schedule.calls_per_frame(),
        "cost": schedule.cost(entry["reference"]),
        **{name: getattr(result, name) for name in names},
        **{f"{name}_error_bound": result.error_bound[name] for name in names},
    }
    steps = result.to_frame()[["step", *TERMS, "output"]].to_dict("records")
    return [total, *({"part": "step", **setting, **step} for step in steps)]


def _windows(job: tuple[str, Config]) -> list[dict[str, Any]]:
    video, config = job
    lengths = range(config["longest"] + 1)
    found = window_memory_bottleneck(
        GaussianVideo.from_json(config["videos"][video]),
        lengths,
        level=config["level"],
        horizon=config["horizon"],
    )
    rows = []
    for length, mb, error in zip(lengths, found.values, found.error_bound, strict=True):
        kept, kept_error = found.total - mb, error + found.error_bound[0]
        row = {"part": "window", "video": video, "reference": length, "mb": mb}
        row |= {"mb_error_bound": error, "kept": kept, "kept_error_bound": kept_error}
        for needles in config["needles"]:
            rate = needle_success(kept, needles)
            above = needle_success(kept + kept_error, needles)
            row[f"success_{needles}"] = rate.value
            row[f"success_{needles}_error_bound"] = above.upper - rate.value
        rows.append(row)
    return rows


def _persistence(job: tuple[float, float, Config]) -> list[dict[str, Any]]:
    coefficient, level, config = job
    video = persistent(coefficient)
    found = window_memory_bottleneck(video, range(config["longest"] + 1), level=level)
    setting = {"rho": coefficient, "level": level}
    row = {"part": "persistence", **setting, "window_needed": found.window_for(config["share"])}
    for length in config["references"]:
        row[f"mb_{length}"] = found.values[length]
        row[f"mb_{length}_error_bound"] = found.error_bound[length]
    rows = [row]
    for method, entry in config["methods"].items():
        levels = {"t_max": config["t_max"], "t_min": level}
        schedule = schedule_of(entry, levels, substeps=config["substeps"])
        rate = rates(video, schedule, generator_of({}, entry["reference"]))
        names = (*TERMS, "chain", "output")
        rows.append(
            {
                "part": "rate",
                **setting,
                "method": method,
                "substeps": config["substeps"],
                "window": schedule.window,
                "stride": schedule.stride,
                "reference": entry["reference"],
                **{name: getattr(rate, name) for name in names},
                **{f"{name}_error_bound": rate.error_bound[name] for name in names},
            }
        )
    return rows


def compute(config: Config) -> pandas.DataFrame:
    r"""One row per setting of a knob; `part` says of which. Nats; `*_error_bound`: floating point.

    "roll-out": totals over the first `frames` frames, ladder and cost of every video, method,
    denoiser and number of sub-steps; "step": the terms and the output KL of each of its AR steps.
    "window": MB of the last `reference` frames (R5), what they keep of what the past tells, and the
    largest success that this allows on one of n equally likely needles in the next frame (M5:
    $kl_{bin}(s\|1/n) \le I(X_k; \text{last } r)$), for each n.
    "persistence": MB of windows, and the window that holds a `share` of the past, of an AR(1);
    "rate": Theorem A's terms per frame in its steady state, nats a frame.
    """
    schedule, memory, persistence = (config[key] for key in ("schedule", "memory", "persistence"))
    roll_outs = [
        (video, method, denoiser, substeps, schedule)
        for video in schedule["videos"]
        for method in schedule["methods"]
        for denoiser in schedule["denoisers"]
        for substeps in schedule["substeps"]
    ]
    points = [
        (coefficient, level, persistence)
        for level in persistence["levels"]
        for coefficient in persistence["coefficients"]
    ]
    parts = sweep(STUDY.name, _roll_out, roll_outs)
    parts += sweep(STUDY.name, _windows, [(video, memory) for video in memory["videos"]])
    parts += sweep(STUDY.name, _persistence, points)
    return pandas.DataFrame([row for rows in parts for row in rows])


STUDY = Study(
    name="knobs",
    question="What changes with the schedule, with the length of the memory, with persistence?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
