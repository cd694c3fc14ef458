"""How far apart are output KL, chain KL and the explicit constants (Corollary A, 2.1)?"""

from __future__ import annotations

from typing import Any

import pandas

from analysis.cases import LEVELS, METHODS, VIDEOS, generator_of, schedule_of
from analysis.study import Config, Study, sweep
from arvdm_theory.decomposition import decompose
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
    "substeps": [16],
    "swept": {
        "methods": ["FIFO", "outpainting", "next frame", "forcing ladder"],
        "substeps": [4, 8, 16, 32, 64],
    },
    "frames": 60,
}


def _row(job: tuple[str, str, str, int, Config]) -> dict[str, Any]:
    video, method, generator, substeps, config = job
    entry = config["methods"][method]
    schedule = schedule_of(entry, config["levels"], substeps=substeps)
    result = decompose(
        GaussianVideo.from_json(config["videos"][video]),
        schedule,
        generator_of(config["generators"][generator], entry["reference"]),
        frames=config["frames"],
    )
    return {
        "video": video,
        "method": method,
        "generator": generator,
        "substeps": substeps,
        "window": schedule.window,
        "stride": schedule.stride,
        "reference": entry["reference"],
        "frames": result.roll_out.frames,
        "given_frames": schedule.window - schedule.stride,
        "dim": result.video.dim,
        "output": result.output,
        "chain": result.chain,
        "bound": result.bound,
        "ie": result.ie,
        "nie": result.nie,
        "see": result.see,
        "de": result.de,
        "mb": result.mb,
        "kappa": schedule.kappa,
        "mb_error_bound": result.error_bound["mb"],
        "output_error_bound": result.error_bound["output"],
        "chain_error_bound": result.error_bound["chain"],
    }


def compute(config: Config) -> pandas.DataFrame:
    """One row per video, method, generator and number of sub-steps; nats per `frames` frames.

    The first `given_frames` (w - Δ) frames are handed to the generator exactly, so that rows of
    different methods are not a comparison of methods (study `schedules` is). All methods have the
    sub-steps of `substeps`, those of `swept` its sub-steps too.
    """
    swept = config["swept"]
    jobs = [
        (video, method, generator, substeps, config)
        for video in config["videos"]
        for method in config["methods"]
        for generator in config["generators"]
        for substeps in sorted(
            {*config["substeps"], *(swept["substeps"] if method in swept["methods"] else ())}
        )
    ]
    return pandas.DataFrame(sweep(STUDY.name, _row, jobs))


STUDY = Study(
    name="ladder",
    question="How far apart are output KL, chain KL and the explicit constants?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
