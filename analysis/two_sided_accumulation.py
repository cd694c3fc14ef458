"""How far does a stable, marginal or unstable generator drift, from below and from above?"""

from __future__ import annotations

from typing import Any

import pandas

from analysis.cases import LEVELS
from analysis.study import Config, Study, sweep
from arvdm_theory.accumulation import clip_accumulation
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "run"]

CONFIG: dict[str, Any] = {
    "video": {
        "family": "autoregressive",
        "coefficients": [[[0.95, 0.05], [0.0, 0.8]]],
        "noise_variance": 0.2,
        "dim": 2,
        "mean": [0.5, 0.0],
    },
    "schedule": {"method": "next_frame", "substeps": 32, **LEVELS, "t_max": 4.0},
    "generator": {"reference": 2, "sampler": "optimal_variance"},
    # x̂ = factor · m: the second makes the spectral radius of the generator 1 to 8 digits
    "factors": {"stable": 1.01, "marginal": 1.03033660996, "unstable": 1.05},
    "steps": 200,
}


def _rows(job: tuple[str, float, Config]) -> pandas.DataFrame:
    name, factor, config = job
    denoiser = {"kind": "scaled", "factor": factor}
    result = clip_accumulation(
        GaussianVideo.from_json(config["video"]),
        Schedule.from_json(config["schedule"]),
        Generator.from_json({**config["generator"], "denoiser": denoiser}),
        steps=config["steps"],
    )
    rows = result.to_frame()
    rows.insert(0, "case", name)
    rows["factor"] = factor
    rows["spectral_radius"] = result.spectral_radius
    rows["growth"] = result.growth
    rows["limit"] = None if result.limit is None else result.limit.value
    rows["saturated_limit"] = result.saturated_limit
    rows["horizon"] = result.horizon
    rows["theorem_b_error"] = result.theorem_b_error
    return rows


def compute(config: Config) -> pandas.DataFrame:
    """One row per case and AR step K, nats of the clip finished at step K.

    `lower` (the larger of `drift`, E4, and `marginal`) ≤ `clip`, exact, ≤ `upper` (the smaller of
    `theorem_b` and `saturated`, E3); `limit` of the clip, `saturated_limit` and `horizon` (K) where
    they exist.
    """
    jobs = [(name, factor, config) for name, factor in config["factors"].items()]
    tables = [
        table.astype({"limit": float, "saturated_limit": float, "horizon": float})
        for table in sweep(STUDY.name, _rows, jobs)
    ]
    return pandas.concat(tables, ignore_index=True)


STUDY = Study(
    name="two_sided_accumulation",
    question="How far does a generator drift, from below and from above, if it is stable, "
    "marginal or unstable?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
