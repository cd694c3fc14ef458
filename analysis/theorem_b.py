"""How does the error of a short clip grow along the roll-out, and how tight is Theorem B?"""

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


def _drift(coefficient: float) -> dict[str, Any]:
    """AR(1) with unit innovations that starts at the law of one innovation (E2)."""
    return {
        "family": "autoregressive",
        "coefficients": [coefficient],
        "noise_variance": 1.0,
        "initial": {"mean": [0.0], "covariance": [[1.0]]},
    }


_FIFO = {"method": "fifo", "window": 6, "substeps": 16}
_CHUNK = {"method": "chunk", "window": 4, "substeps": 32}
_OUTPAINTING = {"method": "outpainting", "window": 6, "stride": 2, "substeps": 32}
_NEXT_FRAME = {"method": "next_frame", "substeps": 32}

CONFIG: dict[str, Any] = {
    "videos": {**VIDEOS, "AR(1) 0.98, from rest": _drift(0.98)},
    "levels": LEVELS,
    "cases": {
        "believes 1.02, truth 0.98": {
            "video": "AR(1) 0.98, from rest",
            "schedule": {**_NEXT_FRAME, "t_max": 5.0},  # its variance grows to 25
            "generator": {
                "reference": 1,
                "sampler": "optimal_variance",
                "denoiser": {"kind": "misspecified", "video": _drift(1.02)},
            },
            "steps": 200,
        },
        "AR(2), next frame, bias 0.05": {
            "video": "AR(2)",
            "schedule": _NEXT_FRAME,
            "generator": {
                "reference": 2,
                "sampler": "optimal_variance",
                "denoiser": {"kind": "biased", "bias": 0.05},
            },
            "steps": 60,
        },
        "panorama, FIFO": {
            "video": "panorama",
            "schedule": _FIFO,
            "generator": {},
            "steps": 60,
        },
        "seasonal, outpainting, scaled 1.05": {
            "video": "seasonal",
            "schedule": _OUTPAINTING,
            "generator": {"denoiser": {"kind": "scaled", "factor": 1.05}},
            "steps": 40,
        },
        "ARFIMA, chunk, recursive memory": {
            "video": "ARFIMA",
            "schedule": _CHUNK,
            "generator": {"memory": {"kind": "recursive", "transition": [[0.9]], "input": [[0.1]]}},
            "steps": 30,
        },
        "seasonal, next frame, re-noised context": {
            "video": "seasonal",
            "schedule": {**_NEXT_FRAME, "context_noise": "noise", "context_level": 0.2},
            "generator": {"reference": 6},
            "steps": 60,
        },
    },
}


def _rows(job: tuple[str, Config, Config, Config]) -> pandas.DataFrame:
    name, video, case, levels = job
    result = decompose(
        GaussianVideo.from_json(video),
        Schedule.from_json({**levels, **case["schedule"]}),
        Generator.from_json(case["generator"]),
        steps=case["steps"],
    )
    assert result.see_plus_de_per_step is not None
    terms = result.nie_per_step + result.see_plus_de_per_step
    renoising = result.renoising_per_step
    steps = np.arange(1, case["steps"] + 1)
    return pandas.DataFrame(
        {
            "case": name,
            "step": steps,
            "clip_frames": result.schedule.stride,
            "finished_frames": steps * result.schedule.stride,
            "clip": result.clip_per_step,
            "theorem_b": result.theorem_b_per_step,
            "chain": result.ie + np.cumsum(terms + result.mb_per_step),
            "nie": result.nie_per_step,
            "see_plus_de": result.see_plus_de_per_step,
            "mb": result.mb_per_step,
            "renoising": np.zeros(steps.size) if renoising is None else renoising,
            "clip_error_bound": result.error_bound["clip"],
            "chain_error_bound": result.error_bound["chain"],
        }
    )


def compute(config: Config) -> pandas.DataFrame:
    """One row per case and AR step K: nats of the clip finished at step K, and of steps 1..K.

    `clip`: exact clip KL; `theorem_b`: its bound, without memory bottleneck; `chain`: chain KL of
    steps 1..K, with it. `renoising`: the M6 term that re-noised context adds to Theorem B.
    """
    jobs = [
        (name, config["videos"][case["video"]], case, config["levels"])
        for name, case in config["cases"].items()
    ]
    return pandas.concat(sweep(STUDY.name, _rows, jobs), ignore_index=True)


STUDY = Study(
    name="theorem_b",
    question="How does the error of a short clip grow along the roll-out, and how tight is "
    "Theorem B?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
