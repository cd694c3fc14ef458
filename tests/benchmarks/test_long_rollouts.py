"""Totals of long roll-outs, linear in K, beside the dense path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.long_rollouts import CONFIG, NUMBERS, world_of
from arvdm_theory import decompose


@pytest.mark.parametrize("video", CONFIG["videos"])
@pytest.mark.parametrize("steps", [100, 400, 800])
def test_totals(video: str, steps: int, beside: Any) -> None:
    world = world_of(CONFIG, video, steps)

    def totals(law: Any) -> Any:
        return decompose(*world, steps=steps, law=law, per_step=False)

    linear, dense = totals("kalman"), totals("dense")
    for name in NUMBERS:
        allowed = linear.error_bound[name] + dense.error_bound[name]
        difference = abs(getattr(linear, name) - getattr(dense, name))
        assert difference <= allowed, name
        assert difference <= 1e-9 * getattr(dense, name), name
    beside(
        f"{video}, K = {steps}: totals in linear time",
        lambda: totals("kalman"),
        {"dense path": lambda: totals("dense")},
        unit="roll-out",
        settings="the worlds of the study `long_rollouts`: frames of 4 numbers, FIFO with window "
        "8, 8 sub-steps, 4 references; an AR(2) video, which settles, so that its time does not "
        "depend on K, and a panorama seen by a wandering camera, which never does",
        rounds=3 if steps > 100 else 9,
    )


@pytest.mark.parametrize("steps", [1_000, 1_000_000])
def test_settled(steps: int, beside: Any) -> None:
    world = world_of(CONFIG, "AR(2)", steps)

    def per_step() -> Any:
        return decompose(*world, steps=1_000, law="kalman")

    def totals() -> Any:
        return decompose(*world, steps=steps, per_step=False)

    np.testing.assert_allclose(
        decompose(*world, steps=1_000, per_step=False).chain, per_step().chain, rtol=1e-9
    )
    beside(
        f"AR(2), K = {steps:,}: totals".replace(",", " "),
        totals,
        {"every one of 1 000 steps, linear in K": per_step},
        unit="roll-out",
        settings="the same AR(2) video with and without an entry for every AR step",
        rounds=5,
    )
