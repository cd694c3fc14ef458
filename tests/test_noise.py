"""Levels, clocks, the OU kernel and its bridge."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from arvdm_theory import noise
from arvdm_theory.errors import ParameterError

TIMES = st.floats(1e-6, 30.0)


@given(TIMES, st.sampled_from(noise.CLOCKS))
def test_every_clock_inverts(t: float, clock: str) -> None:
    value = noise.to_clock(t, clock)
    if clock in ("alpha_bar", "flow_time"):
        # 1 - value carries the level there: its rounding is what an inverse can lose
        lost = 4.0 * np.spacing(1.0) / min(abs(1.0 - float(value)), float(value))
    else:
        lost = 0.0
    if 0.0 < float(value) < 1.0 or clock not in ("alpha_bar", "flow_time"):
        back = float(noise.level(value, clock))
        assert back == pytest.approx(t, rel=1e-12 + lost, abs=1e-300)


@given(TIMES)
def test_gamma_and_log_snr_agree_with_fifty_digits(t: float) -> None:
    with mpmath.workdps(50):
        exact = 1 / mpmath.expm1(2 * mpmath.mpf(t))
        assert abs(float(noise.gamma(t)) / exact - 1) < 1e-14
        assert abs(float(noise.log_snr(t)) - mpmath.log(exact)) < 1e-14 * (1 + 2 * t + 15)


@given(st.floats(1e-4, 5.0), st.floats(1e-4, 5.0))
def test_bridge_is_bayes_rule(first: float, second: float) -> None:
    s, t = sorted((first, second))
    a, b, v = (float(value) for value in noise.bridge(t, s))
    # condition N(X^s | X^0 = 1) on X^t: precision adds
    scale, variance = (float(value) for value in noise.kernel(s, t))
    prior = float(noise.sigma(s)) ** 2
    if variance > 0.0:
        posterior = 1.0 / (1.0 / prior + scale**2 / variance)
        assert v == pytest.approx(posterior, rel=1e-9)
        assert a == pytest.approx(posterior * scale / variance, rel=1e-9)
        assert b == pytest.approx(posterior * float(noise.alpha(s)) / prior, rel=1e-7)
    # the truth's mean path is carried along exactly
    assert a * np.exp(-t) + b == pytest.approx(np.exp(-s), rel=1e-12)


def test_bridge_weight_is_the_gain_in_signal_to_noise() -> None:
    t, s = np.array([3.0, 1.0, 0.2]), np.array([1.0, 0.2, 0.05])
    _, b, v = noise.bridge(t, s)
    np.testing.assert_allclose(b**2 / v, noise.gamma(s) - noise.gamma(t), rtol=1e-12)


@example(1.0, 0.9999999999999999, 9)  # levels closer than rounding
@given(TIMES, st.floats(1e-3, 1.0), st.integers(1, 40))
def test_sub_steps_are_linear_in_log_snr(t: float, fraction: float, steps: int) -> None:
    end = t * fraction
    grid = noise.sub_step_levels(np.array([t]), np.array([end]), steps)[:, 0]
    assert grid[0] == t and grid[-1] == end
    assert np.all(np.diff(grid) <= 0.0)
    increments = np.diff(noise.log_snr(grid))
    np.testing.assert_allclose(increments, increments.mean(), rtol=1e-6, atol=1e-9)


def test_torch_in_torch_out_with_gradients() -> None:
    t = torch.tensor([0.3, 1.0], dtype=torch.float64, requires_grad=True)
    for function in (noise.gamma, noise.log_snr, noise.alpha, noise.sigma):
        assert torch.autograd.gradcheck(function, (t,))


@pytest.mark.parametrize(
    ("value", "clock", "text"),
    [
        (-1.0, "t", "t must be positive and finite"),
        (float("nan"), "log_snr", "log_snr must be finite"),
        (0.0, "gamma", "gamma must be positive"),
        (1.0, "flow_time", r"flow_time must be in \(0, 1\)"),
        (1.0, "hours", "clock must be one of"),
    ],
)
def test_values_outside_a_clock_are_refused(value: float, clock: str, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        noise.level(value, clock)


def test_kernel_and_bridge_refuse_the_wrong_direction() -> None:
    with pytest.raises(ParameterError, match="t_to must be at least t_from"):
        noise.kernel(1.0, 0.5)
    with pytest.raises(ParameterError, match="t_to must be positive and at most t_from"):
        noise.bridge(0.5, 1.0)
