"""Ten thousand worlds in one call of a bound, beside the same calculator in a Python loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from arvdm_theory.accumulation import memory_trade_off
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    conditional_information,
    needle_information,
)

WORLDS = 10_000


def _needles(draw: np.random.Generator) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    arguments = draw.uniform(0.1, 1.0, WORLDS), draw.integers(10, 1000, WORLDS)
    return lambda success, needles: needle_information(success, needles).value, arguments


def _information(draw: np.random.Generator) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    """Of the last frame and the first of three, AR(1) at a level of noise, given the second."""
    lags = np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    law = draw.uniform(0.1, 0.9, WORLDS)[:, None, None] ** lags + 0.1 * np.eye(3)
    return lambda covariance: conditional_information(covariance, [0], [2], [1]).value, (law,)


def _budget(draw: np.random.Generator) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    def floor(correlation: Any, nats: Any) -> Any:
        return MemoryBudget(CanonicalCorrelations.of(correlation)).floor(nats).value

    return floor, (draw.uniform(0.1, 0.9, (WORLDS, 1)), draw.uniform(0.0, 2.0, WORLDS))


def _trade_off(draw: np.random.Generator) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    def drift(noise_variance: Any, bias: Any) -> Any:
        return memory_trade_off([4], noise_variance, bias, frame=20).drift[..., 0]

    return drift, (draw.uniform(0.1, 1.0, WORLDS), draw.uniform(-0.1, 0.1, WORLDS))


CALCULATORS = {
    "`needle_information`": (_needles, "success rates and numbers of needles, numbers"),
    "`conditional_information`": (
        _information,
        "joint covariances of three frames of one number: what the first says of the last, given "
        "the second",
    ),
    "`MemoryBudget.floor`": (_budget, "one canonical correlation and one budget"),
    "`memory_trade_off`": (_trade_off, "static latents, drift of frame 20 with a window of 4"),
}


@pytest.mark.parametrize("name", CALCULATORS)
def test_many_worlds(name: str, beside: Any) -> None:
    make, described = CALCULATORS[name]
    call, arguments = make(np.random.default_rng(0))

    def loop() -> np.ndarray:
        return np.array([call(*world) for world in zip(*arguments, strict=True)])

    def batched() -> Any:
        return call(*arguments)

    np.testing.assert_allclose(np.ravel(batched()), np.ravel(loop()), rtol=1e-10, atol=1e-14)
    beside(
        f"{name}, {WORLDS:,} worlds: one call",
        batched,
        {"a Python loop over the same calculator": loop},
        unit="call",
        settings=f"{name} of {WORLDS:,} worlds: {described}",
        rounds=5,
    )
