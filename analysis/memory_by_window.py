"""How much does a generator forget that sees only the last r frames?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.cases import LEVELS, VIDEOS, back_and_forth
from analysis.study import Config, Study, sweep
from arvdm_theory.decomposition import decompose
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "run"]

CONFIG: dict[str, Any] = {
    "videos": {
        **{name: VIDEOS[name] for name in ("AR(2)", "seasonal", "ARFIMA", "static latent")},
        "panorama": {**VIDEOS["panorama"], "positions": back_and_forth(24, 97)},
    },
    "schedule": {"method": "next_frame", "substeps": 8, **LEVELS},
    "references": [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 47, 48, 56, 64, 80],
    "step": 97,
}


def _row(job: tuple[str, int, Config]) -> dict[str, Any]:
    name, reference, config = job
    video = GaussianVideo.from_json(config["videos"][name])
    result = decompose(
        video,
        Schedule.from_json(config["schedule"]),
        Generator(reference=reference),
        steps=config["step"],
    )
    nats = float(result.mb_per_step[-1])
    return {
        "video": name,
        "dim": video.dim,
        "step": config["step"],
        "reference": reference,
        "mb_nats": nats,
        "mb_bits": nats / np.log(2.0),
        "nie_nats": float(result.nie_per_step[-1]),
        "error_bound_nats": result.error_bound["mb"],
    }


def compute(config: Config) -> pandas.DataFrame:
    """One row per video and window length r: MB of the AR step `step` of next-frame generation.

    `error_bound_nats` bounds the floating-point error of the sum over all steps, and so of each.
    `share_kept`: 1 - MB_r / MB_0, the share of what the past tells that the window holds.
    By M4, I(X_k; past | last r frames) lies in [mb_nats, mb_nats + nie_nats].
    """
    jobs = [
        (name, reference, config) for name in config["videos"] for reference in config["references"]
    ]
    table = pandas.DataFrame(sweep(STUDY.name, _row, jobs))
    without = table[table["reference"] == 0].set_index("video")["mb_nats"]
    table["share_kept"] = 1.0 - table["mb_nats"] / table["video"].map(without)
    return table


STUDY = Study(
    name="memory_by_window",
    question="How much does a generator forget that sees only the last r frames?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
