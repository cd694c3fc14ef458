"""Which videos does no window suit: forgetting by a power law, or geometrically?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.study import Config, Study, sweep
from arvdm_theory.memory import scalar_window_memory
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "run"]

AR5 = {
    "family": "autoregressive",
    "coefficients": [0.5, 0.2, 0.1, 0.1, 0.05],
    "noise_variance": 0.3,
}
CONFIG: dict[str, Any] = {
    "videos": {
        "ARFIMA, D = 0.4": {"family": "arfima", "memory": 0.4},
        "ARFIMA, D = −0.3": {"family": "arfima", "memory": -0.3},
        "AR(5)": AR5,
    },
    "levels": [0.0, 0.05],
    "largest": 2048,
    "windows": 45,
}


def _rows(job: tuple[str, float, Config]) -> pandas.DataFrame:
    name, level, config = job
    specification = config["videos"][name]
    if specification["family"] == "arfima":
        specification = {"noise_variance": 1.0, "dim": 1, **specification}
    video = GaussianVideo.from_json(specification)
    even = np.geomspace(1.0, config["largest"], config["windows"])
    windows = np.unique(np.round(even).astype(int))
    found = scalar_window_memory(video, windows.tolist(), level=level)
    memory = float(specification.get("memory", np.nan))
    columns = {
        "window": windows,
        "mb_nats": found.values,
        "error_nats": found.error_bound,
        "leading_nats": memory**2 / (2.0 * windows),
        "closer_nats": np.full(windows.size, np.nan) if found.closer is None else found.closer,
    }
    return pandas.DataFrame(columns).assign(video=name, level=level, memory=memory)


def compute(config: Config) -> pandas.DataFrame:
    """One row per video, level and window r: MB_r of the infinite past (R5), nats a frame.

    `leading_nats` D²/(2r) and, for clean frames, `closer_nats` D²/(2(r + ½ - D)), where D is given.
    """
    jobs = [(name, level, config) for name in config["videos"] for level in config["levels"]]
    return pandas.concat(sweep(STUDY.name, _rows, jobs), ignore_index=True)


STUDY = Study(
    name="power_law_forgetting",
    question="Does what a window forgets fall by a power law of its length, or geometrically?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
