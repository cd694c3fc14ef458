"""A batch of worlds in one call, beside a loop over its worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from arvdm_theory import (
    Autoregressive,
    Generator,
    Schedule,
    autoregressive_covariance,
    decompose,
    decompose_batch,
)

torch.set_num_threads(1)

WORLDS = 10_000
LOOPED = 100  # of them one by one; the time of the rest is in proportion
SCHEDULE = Schedule.fifo(4, t_max=3.0, t_min=0.05, substeps=4)
STEPS = 4


def _processes() -> tuple[np.ndarray, np.ndarray]:
    """Stationary AR(2), from partial autocorrelations."""
    rng = np.random.default_rng(0)
    first, second = np.tanh(0.7 * rng.standard_normal((2, WORLDS)))
    return np.stack([first * (1.0 - second), second], axis=-1), rng.uniform(0.3, 2.0, WORLDS)


@pytest.mark.parametrize("library", ["NumPy", "torch"])
def test_batch(library: str, beside: Any) -> None:
    moves, noises = _processes()
    grid = np.array(SCHEDULE.grid)
    made: Callable[[Any], Any] = torch.as_tensor if library == "torch" else np.asarray
    arrays = made(moves), made(noises), made(grid)

    def worlds(where: Any) -> Any:
        clean = autoregressive_covariance(arrays[0][where], arrays[1][where], STEPS + 3)
        return decompose_batch(clean, arrays[2], steps=STEPS, stride=1, reference=1)

    def one_by_one() -> list[Any]:
        return [worlds(i).chain for i in range(LOOPED)]

    def described() -> list[float]:
        return [
            decompose(
                Autoregressive(list(moves[i]), noises[i]),
                SCHEDULE,
                Generator(reference=1),
                steps=STEPS,
            ).chain  # type: ignore[misc]
            for i in range(LOOPED)
        ]

    others: dict[str, Callable[[], Any]] = {
        "the same function, world by world": one_by_one,
        "`decompose`, world by world": described,
    }
    together = np.asarray(worlds(slice(None)).chain[:LOOPED])
    np.testing.assert_allclose(together, one_by_one(), rtol=1e-9)
    np.testing.assert_allclose(together, described(), rtol=1e-9)
    beside(
        f"{WORLDS:,} worlds in one call, {library}",
        lambda: worlds(slice(None)),
        others,
        unit="world",
        settings="AR(2) videos of one number a frame, FIFO with window 4, 4 sub-steps, "
        "reference 1, 4 AR steps: all terms, output and clip KL, covariances included; "
        f"world by world {LOOPED} of the worlds are timed",
        rounds=5,
        work=WORLDS,
        works=dict.fromkeys(others, LOOPED),
    )
