"""At equal cost, which named schedule has the smallest chain KL, and does Theorem C tell?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.cases import LEVELS, METHODS, VIDEOS, generator_of, schedule_of
from analysis.study import Config, Study, sweep
from arvdm_theory.decomposition import compare_schedules, decompose
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "run"]

CONFIG: dict[str, Any] = {
    "videos": {name: VIDEOS[name] for name in ("AR(2)", "seasonal", "ARFIMA", "panorama")},
    "methods": METHODS,
    "generators": {
        "exact": {},
        "scaled 1.05": {"denoiser": {"kind": "scaled", "factor": 1.05}},
    },
    "levels": LEVELS,
    "cost": 480,
    "frames": [60, 120],
}

TERMS = ("nie", "see", "de", "mb")


def _row(job: tuple[str, str, str, Config]) -> dict[str, Any]:
    video_name, method, generator_name, config = job
    entry = config["methods"][method]
    video = GaussianVideo.from_json(config["videos"][video_name])
    generator = generator_of(config["generators"][generator_name], entry["reference"])
    schedule = schedule_of(entry, config["levels"], cost=config["cost"])
    early, late = config["frames"]
    result = decompose(video, schedule, generator, frames=late)
    before = schedule.roll_out(frames=early).steps
    counted = (result.roll_out.steps - before) * schedule.stride
    rates = {
        term: float(getattr(result, f"{term}_per_step")[before:].sum()) / counted for term in TERMS
    }
    start = compare_schedules(video, [schedule], generator, frames=early)[0]
    end = compare_schedules(video, [schedule], generator, frames=late)[0]
    chain_steps = result.nie_per_step + result.see_plus_de_per_step + result.mb_per_step
    return {
        "video": video_name,
        "method": method,
        "generator": generator_name,
        "window": schedule.window,
        "stride": schedule.stride,
        "reference": entry["reference"],
        "substeps": schedule.substeps,
        "cost": schedule.cost(entry["reference"]),
        "calls_per_frame": schedule.calls_per_frame(),
        "dim": video.dim,
        **{f"{term}_rate": rates[term] for term in TERMS},
        "chain_rate": float(chain_steps[before:].sum()) / counted,
        "loss_rate": (end.loss - start.loss) / counted,
        "noise_rate": (end.noise - start.noise) / counted,
        "information_rate": (end.information - start.information) / counted,
        "mb_rate_error_bound": result.error_bound["mb"] / counted,
        "chain_theorem_a": result.chain,
        "chain_theorem_c": end.chain,
        "information_total": end.information,
        "chain_error_bound": result.error_bound["chain"],
        "chain_rate_range": float(np.ptp(chain_steps[before:])) / schedule.stride,
    }


def compute(config: Config) -> pandas.DataFrame:
    """One row per video, generator and method, each with the sub-steps of the same `cost`.

    `*_rate`: nats per finished frame, mean over the AR steps between the two lengths `frames`, so
    that the truth handed over in the first window does not count; `chain_rate_range`: largest minus
    smallest AR step among them; `mb_rate_error_bound`: floating-point.
    `chain_theorem_*`: the whole roll-out, by two ways.
    """
    jobs = [
        (video, method, generator, config)
        for video in config["videos"]
        for method in config["methods"]
        for generator in config["generators"]
    ]
    return pandas.DataFrame(sweep(STUDY.name, _row, jobs))


STUDY = Study(
    name="schedules",
    question="At equal cost, which named schedule has the smallest chain KL, and does Theorem C "
    "tell?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
