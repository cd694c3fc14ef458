"""Calculators beside the straightforward way, and beside other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from arvdm_theory import Generator, Schedule, Seasonal, StateSpace, decompose
from arvdm_theory._gaussian import gaussian_kl
from arvdm_theory.fit import _Innovations, _log_density

torch.set_num_threads(1)


@pytest.mark.parametrize(("steps", "dim"), [(10, 1), (100, 1), (300, 1), (100, 4)])
def test_decomposition(steps: int, dim: int, beside: Any) -> None:
    video = Seasonal(6, 0.97, noise_variance=0.2, dim=dim)
    schedule = Schedule.outpainting(4, 2, t_max=3.0, t_min=0.05, substeps=10)
    generator = Generator(reference=1)

    def chain(law: Any) -> Any:
        return decompose(video, schedule, generator, steps=steps, law=law)

    fast, slow = chain("kalman"), chain("dense")
    for term in ("nie", "de", "mb", "chain", "output"):
        np.testing.assert_allclose(getattr(fast, term), getattr(slow, term), rtol=1e-6, atol=1e-9)
    beside(
        f"`decompose`, K = {steps}, d = {dim}: Kalman",
        lambda: chain("kalman"),
        {"dense window laws": lambda: chain("dense")},
        unit="call",
        settings="seasonal video (2 d states and white noise), outpainting with window 4, stride "
        "2, 10 sub-steps, reference 1; all terms, output and clip KL",
        rounds=9 if steps < 100 else 5,
    )


@pytest.mark.parametrize("frames", [10, 100])
def test_kl(frames: int, beside: Any) -> None:
    dim, size = 4, 4 * frames
    video = Seasonal(6, 0.97, noise_variance=0.2, dim=dim)
    other = Seasonal(6, 0.95, noise_variance=0.25, dim=dim)
    truth, model = (
        (np.full(size, mean), law.covariance(frames)) for law, mean in ((video, 0.0), (other, 0.1))
    )

    def theirs() -> float:
        p, q = (
            torch.distributions.MultivariateNormal(
                torch.from_numpy(mean), torch.from_numpy(covariance)
            )
            for mean, covariance in (truth, model)
        )
        return float(torch.distributions.kl_divergence(p, q))

    def ours() -> float:
        (mean_p, p), (mean_q, q) = truth, model
        return float(gaussian_kl(p, q, p - q, mean_p - mean_q))

    np.testing.assert_allclose(ours(), theirs(), rtol=1e-9)
    beside(
        f"Gaussian KL, {size} numbers",
        ours,
        {"`torch.distributions.kl_divergence`": theirs},
        unit="call",
        settings="KL of two joint Gaussian laws of frames of 4 numbers, from means and "
        "covariances in double precision; ours goes through eigenvalues, so that the KL of nearly "
        "equal laws keeps its digits",
        rounds=9,
        calls=3,
    )


def test_log_likelihood(beside: Any) -> None:
    kalman_filter = pytest.importorskip(
        "statsmodels.tsa.statespace.kalman_filter", reason="needs the extra `bench`"
    )
    frames, states, dim = 1000, 6, 4
    draw = np.random.default_rng(0)
    transition = 0.9 * np.linalg.qr(draw.standard_normal((states, states)))[0]
    emission = draw.standard_normal((dim, states))
    gain = 0.1 * draw.standard_normal((states, dim))
    root = np.eye(dim) + 0.2 * draw.standard_normal((dim, dim))
    law = _Innovations(transition, gain, emission, root @ root.T, 1.0, None)
    described = law.video()
    assert isinstance(described, StateSpace)
    series = described.sample(1, frames=frames, seed=0)[0]
    # from state 0, so that both condition on the same past
    both = np.zeros((states + dim, states + dim))
    both[:states] = np.hstack([transition, gain])
    start = np.zeros_like(both)
    start[states:, states:] = law.covariance
    theirs = kalman_filter.KalmanFilter(dim, states + dim)
    theirs.bind(series)
    theirs["design"] = np.hstack([emission, np.eye(dim)])
    theirs["transition"] = both
    theirs["selection"] = np.eye(states + dim)
    theirs["state_cov"] = start
    theirs.initialize_known(np.zeros(states + dim), start)
    np.testing.assert_allclose(_log_density(law, series).sum(), theirs.loglike(), rtol=1e-6)
    beside(
        "log-likelihood of a clip, innovations form",
        lambda: _log_density(law, series).sum(),
        {"`statsmodels` Kalman filter": theirs.loglike},
        unit="call",
        settings=f"{frames} frames of {dim} numbers, {states} states; ours keeps the steady gain "
        "that fitting has found, the filter in C computes it",
        rounds=25,
        calls=2,
    )
