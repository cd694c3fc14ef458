"""How do the four errors of Theorem A behave along the roll-out?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.cases import LEVELS, VIDEOS
from analysis.study import Config, Study, sweep
from arvdm_theory.decomposition import decompose
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "run"]


def _case(
    video: str, schedule: dict[str, Any], frames: int = 36, **generator: Any
) -> dict[str, Any]:
    return {
        "video": video,
        "schedule": {**LEVELS, **schedule},
        "generator": generator,
        "frames": frames,
    }


_FIFO = {"method": "fifo", "window": 6, "substeps": 8}
_OUTPAINTING = {"method": "outpainting", "window": 3, "stride": 2, "substeps": 24, "t_max": 1.5}
_CHUNK = {"method": "chunk", "window": 4, "substeps": 24}
_NEXT_FRAME = {"method": "next_frame", "substeps": 24}

CONFIG: dict[str, Any] = {
    "videos": VIDEOS,
    "cases": {
        "AR(2) outpainting, exact": _case("AR(2)", _OUTPAINTING),
        "ARFIMA FIFO, exact": _case("ARFIMA", _FIFO),
        "panorama next frame, 3 references": _case("panorama", _NEXT_FRAME, reference=3),
        "seasonal chunk, scaled 1.05": _case(
            "seasonal", _CHUNK, reference=4, denoiser={"kind": "scaled", "factor": 1.05}
        ),
        "AR(2) chunk, random 0.1": _case(
            "AR(2)", _CHUNK, reference=2, denoiser={"kind": "random", "scale": 0.1, "seed": 0}
        ),
        "static latent FIFO, from 60 videos": _case(
            "static latent", _FIFO, denoiser={"kind": "estimated", "videos": 60, "seed": 0}
        ),
        "AR(2) outpainting, exponential integrator": _case(
            "AR(2)", _OUTPAINTING, sampler="exponential_integrator"
        ),
        "AR(2) outpainting, Euler–Maruyama": _case("AR(2)", _OUTPAINTING, sampler="euler_maruyama"),
    },
}

TERMS = ("nie", "see", "de", "see_plus_de", "mb")
"""Columns of Theorem A's terms; `see` and `de` are empty where only their sum exists (2.2)."""


def _rows(job: tuple[str, Config, Config]) -> pandas.DataFrame:
    name, video, case = job
    result = decompose(
        GaussianVideo.from_json(video),
        Schedule.from_json(case["schedule"]),
        Generator.from_json(case["generator"]),
        frames=case["frames"],
    )
    table = result.to_frame()
    stride = result.schedule.stride
    columns = ["step", *TERMS, "output", "clip", "theorem_b"]
    table = table.reindex(columns=columns)
    table.insert(0, "case", name)
    table.insert(2, "finished_frames", table["step"] * stride)
    table["chain"] = table["nie"] + table["see_plus_de"] + table["mb"]
    table["cumulative_chain"] = result.ie + np.cumsum(table["chain"])
    table["cumulative_output"] = np.cumsum(table["output"])
    table["ie"] = result.ie
    table["given_frames"] = result.schedule.window - stride
    for term in ("chain", "output"):
        table[f"{term}_error_bound"] = result.error_bound[term]
    return table


def compute(config: Config) -> pandas.DataFrame:
    """One row per case and AR step; nats, of that step alone unless `cumulative`.

    `*_error_bound` bounds the floating-point error of the case's total.
    """
    jobs = [(name, config["videos"][case["video"]], case) for name, case in config["cases"].items()]
    return pandas.concat(sweep(STUDY.name, _rows, jobs), ignore_index=True)


STUDY = Study(
    name="decomposition_along_k",
    question="How do the four errors of Theorem A behave along the roll-out?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
