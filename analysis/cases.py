"""The worlds and the methods that the studies share, as specifications (plain JSON).

A specification here is what `arvdm decompose` reads, so any row of any study can be asked again
from its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arvdm_theory.errors import ParameterError
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import RELEASED_SYSTEMS, Schedule

__all__ = ["LEVELS", "METHODS", "VIDEOS", "back_and_forth", "generator_of", "schedule_of"]

LEVELS = {"t_max": 3.0, "t_min": 0.02}
"""T and δ of every study unless it says otherwise (OU times)."""


def back_and_forth(turn: int, frames: int) -> list[int]:
    """Camera path 0, 1, .., turn, .., 1, 0, 1, ..: period 2 turn frames.

    >>> back_and_forth(2, 7)
    [0, 1, 2, 1, 0, 1, 2]
    """
    return [turn - abs(turn - step % (2 * turn)) for step in range(frames)]


VIDEOS: dict[str, dict[str, Any]] = {
    "AR(2)": {
        "family": "autoregressive",
        "coefficients": [[[0.5, 0.2], [-0.1, 0.5]], [[0.3, 0.0], [0.1, 0.2]]],
        "noise_variance": 0.3,
        "dim": 2,
    },
    "seasonal": {
        "family": "seasonal",
        "period": 12,
        "persistence": 0.97,
        "noise_variance": 0.2,
        "dim": 1,
    },
    "ARFIMA": {"family": "arfima", "memory": 0.4, "noise_variance": 0.5, "dim": 1},
    "static latent": {"family": "static_latent", "noise_variance": 0.5, "dim": 1},
    "panorama": {
        "family": "panorama",
        "positions": back_and_forth(6, 180),
        "dim": 2,
        "correlation_length": 4.0,
        "noise_variance": 0.05,
    },
}
"""Name → video. The panorama's camera pans over 6 pixels and back: every view returns."""


def _released(name: str) -> dict[str, Any]:
    method, keys = RELEASED_SYSTEMS[name]
    plain = {key: list(value) if key == "levels" else value for key, value in keys.items()}
    return {"method": method, **plain}


METHODS: dict[str, dict[str, Any]] = {
    "FIFO": {"schedule": {"method": "fifo", "window": 8}, "reference": 0},
    "rolling": {"schedule": {"method": "rolling", "window": 8}, "reference": 4},
    "outpainting": {
        "schedule": {"method": "outpainting", "window": 8, "stride": 4},
        "reference": 0,
    },
    "chunk": {"schedule": {"method": "chunk", "window": 4}, "reference": 4},
    "next frame": {"schedule": {"method": "next_frame"}, "reference": 7},
    "staircase": {"schedule": {"method": "staircase", "window": 8, "stride": 2}, "reference": 0},
    "forcing ladder": {
        "schedule": {
            "method": "diffusion_forcing",
            "window": 8,
            "stride": 2,
            "levels": [0.1, 0.3, 0.6, 1.0],
        },
        "reference": 0,
    },
    "Diffusion Forcing": {"schedule": _released("diffusion_forcing"), "reference": 0},
    "FAR": {"schedule": _released("far"), "reference": 0},
    "Oasis": {"schedule": _released("oasis"), "reference": 0},
    "WorldMem": {"schedule": _released("worldmem"), "reference": 0},
    "PA-VDM": {"schedule": _released("pa_vdm"), "reference": 0},
    "MAGI-1": {"schedule": _released("magi_1"), "reference": 0},
    "Rolling Forcing": {"schedule": _released("rolling_forcing"), "reference": 0},
}
"""Name → schedule (without T, δ and sub-steps) and number of reference frames: every named method
of D3 at a small size, then the released systems at their own (WorldMem without its retrieved
frames). "forcing ladder" is Diffusion Forcing on a ladder of our choosing."""


def schedule_of(
    method: Mapping[str, Any],
    levels: Mapping[str, float],
    *,
    substeps: int | None = None,
    cost: int | None = None,
) -> Schedule:
    """The schedule of an entry of `METHODS`, with `substeps` M or with the M of a given cost.

    Cost is in frame-evaluations per output frame, (w + r) M / Δ (THEORY, Conventions).

    Raises `ParameterError` if no whole number of sub-steps has that cost.

    >>> schedule_of(METHODS["FIFO"], LEVELS, cost=480).substeps
    60
    """
    specification = {**method["schedule"], **levels}
    if cost is not None:
        one = Schedule.from_json({**specification, "substeps": 1})
        seen = one.window + method["reference"]
        if cost * one.stride % seen:
            raise ParameterError("cost", f"such that {seen} divides cost * {one.stride}", cost)
        substeps = cost * one.stride // seen
    return Schedule.from_json({**specification, "substeps": substeps})


def generator_of(specification: Mapping[str, Any], reference: int) -> Generator:
    """The generator of a specification that leaves the number of reference frames open."""
    return Generator.from_json({**specification, "reference": reference})
