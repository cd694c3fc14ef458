"""R5 and M1: the window memory bottleneck against closed forms and a dense oracle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import memory
from arvdm_theory.errors import ParameterError
from arvdm_theory.memory import window_memory_bottleneck
from arvdm_theory.video import (
    Arfima,
    Autoregressive,
    ExplicitCovariance,
    GaussianVideo,
    Panorama,
    Seasonal,
    StateSpace,
    StaticLatent,
)

ROTATION = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])

VIDEOS = {
    "AR(2)": Autoregressive([0.5, 0.4], 0.3),
    "VAR(1)": Autoregressive([ROTATION], np.array([[0.3, 0.1], [0.1, 0.2]])),
    "state space": StateSpace(ROTATION, [[1.0, 0.0], [0.5, 1.0], [0.2, 0.3]], 0.2, 0.1),
    "seasonal": Seasonal(period=5, persistence=0.9, noise_variance=0.2, dim=2),
    "ARFIMA": Arfima(memory=[0.3, -0.2], dim=2),
    "static latent": StaticLatent(noise_variance=0.5),
    "panorama": Panorama([0, 2, 5, 2.5, 0, 1], dim=3, noise_variance=0.1),
    "unstable start": Autoregressive([1.02], 1.0, initial={"covariance": [[1.0]]}),
}


def partial_autocorrelations(autocovariance: np.ndarray) -> np.ndarray:
    """Durbin–Levinson, straight from the textbook."""
    order = autocovariance.size - 1
    coefficients = np.zeros(order)
    variance = autocovariance[0]
    out = np.empty(order)
    for j in range(1, order + 1):
        reflected = autocovariance[j] - coefficients[: j - 1] @ autocovariance[1:j][::-1]
        out[j - 1] = reflected / variance
        coefficients[: j - 1] -= out[j - 1] * coefficients[: j - 1][::-1].copy()
        coefficients[j - 1] = out[j - 1]
        variance *= 1.0 - out[j - 1] ** 2
    return out


def oracle(video: GaussianVideo, window: int, level: float, horizon: int) -> float:
    """I(X_k; older | last r) from four log-determinants of the dense joint law."""
    dim = video.dim
    covariance = video.covariance(horizon + 1)
    noise = -np.expm1(-2.0 * level)
    covariance = np.exp(-2.0 * level) * covariance + noise * np.eye(covariance.shape[0])

    def log_det(frames: range) -> float:
        index = np.concatenate([np.arange(f * dim, (f + 1) * dim) for f in frames] or [[]])
        index = index.astype(int)
        sign, value = np.linalg.slogdet(covariance[np.ix_(index, index)])
        assert sign == 1.0
        return float(value)

    last = horizon - window
    given_window = log_det(range(last, horizon + 1)) - log_det(range(last, horizon))
    given_all = log_det(range(horizon + 1)) - log_det(range(horizon))
    return 0.5 * (given_window - given_all)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("name", VIDEOS)
def test_dense_oracle(name: str, level: float) -> None:
    video = VIDEOS[name]
    horizon = 5 if video.length else 12
    result = window_memory_bottleneck(video, range(horizon + 1), level=level, horizon=horizon)
    for window, value, bound in zip(
        result.window_lengths, result.values, result.error_bound, strict=True
    ):
        # each slogdet of the oracle has the same rounding as the calculator: twice the bound,
        # plus the addition of numbers of order 10
        tolerance = 2.0 * bound + 1e-14
        assert value == pytest.approx(oracle(video, int(window), level, horizon), abs=tolerance)
        assert bound < 1e-9
    assert result.values[0] == result.total
    assert result.values[-1] == 0.0
    assert result.truncation is not None


@pytest.mark.parametrize("level", [0.0, 0.05])
@pytest.mark.parametrize(
    "video",
    [
        Autoregressive([0.5, -0.3, 0.2], 1.0),
        Arfima(memory=0.35),
        Seasonal(period=7, persistence=0.95, noise_variance=0.1),
    ],
)
def test_scalar_form_is_a_sum_over_partial_autocorrelations(
    video: GaussianVideo, level: float
) -> None:
    autocovariance = np.exp(-2.0 * level) * video.autocovariance(40).ravel()
    autocovariance[0] += -np.expm1(-2.0 * level)
    partial = partial_autocorrelations(autocovariance)
    expected = [-0.5 * np.sum(np.log1p(-(partial[r:] ** 2))) for r in range(40)]
    result = window_memory_bottleneck(video, range(40), level=level, horizon=40)
    np.testing.assert_allclose(result.values, expected, rtol=0, atol=result.error_bound.max())


def test_arfima_partial_autocorrelations_and_asymptote() -> None:
    """R5: phi_jj = D/(j-D), MB_r close to D²/(2(r+½-D)) and, less so, to D²/(2r)."""
    memory_parameter = 0.3
    windows = np.array([8, 32, 128])
    result = window_memory_bottleneck(Arfima(memory_parameter), windows, horizon=1024)
    lag = np.arange(1, 1025)
    exact = -0.5 * np.log1p(-((memory_parameter / (lag - memory_parameter)) ** 2))
    expected = [exact[r:].sum() for r in windows]
    np.testing.assert_allclose(result.values, expected, rtol=0, atol=result.error_bound.max())
    # the infinite past, by Szegő–Kolmogorov, adds the tail of the same series
    assert result.truncation is not None
    tail = memory_parameter**2 / (2 * (1024 + 0.5 - memory_parameter))
    assert result.truncation == pytest.approx(tail, rel=1e-3)  # next order: (D/h)² relative
    infinite = result.values + result.truncation
    closer = memory_parameter**2 / (2 * (windows + 0.5 - memory_parameter))
    close = memory_parameter**2 / (2 * windows)
    # -½Σlog(1-x²) and Σ ≈ ∫ agree to relative order 1/r²
    np.testing.assert_allclose(infinite, closer, rtol=0.2 / windows.min() ** 2)
    assert np.all(np.abs(infinite - closer) < np.abs(infinite - close))


@pytest.mark.parametrize("dim", [1, 2])
def test_autoregressive_of_order_p_forgets_nothing_from_p_on_when_clean(dim: int) -> None:
    video = Autoregressive([0.4, 0.2, 0.2], 1.0, dim=dim)
    clean = window_memory_bottleneck(video, range(8))
    assert np.all(clean.values[3:] <= clean.error_bound[3:])
    assert np.all(clean.values[:3] > 0.01)
    # the negative control: at level 0.05 a frame is ARMA, and every window forgets
    noisy = window_memory_bottleneck(video, range(8), level=0.05)
    assert np.all(noisy.values[3:] > 1e3 * noisy.error_bound[3:])


def test_stated_value_of_a_noisy_chain() -> None:
    """R5: AR(1) with coefficient .9 at δ = .05 has MB_1 = .0235."""
    result = window_memory_bottleneck(Autoregressive([0.9], 0.19), [1], level=0.05)
    assert round(float(result.values[0]), 4) == 0.0235


@pytest.mark.parametrize("level", [0.0, 0.03])
@pytest.mark.parametrize("name", ["AR(2)", "VAR(1)", "state space", "seasonal"])
def test_default_horizon_converges(name: str, level: float) -> None:
    """The truncation from the Riccati equation is what a far longer past really adds."""
    short = window_memory_bottleneck(VIDEOS[name], [1], level=level, horizon=3)
    long = window_memory_bottleneck(VIDEOS[name], [1], level=level, horizon=200)
    default = window_memory_bottleneck(VIDEOS[name], [1], level=level)
    assert short.truncation is not None
    rounding = short.error_bound[0] + long.error_bound[0]
    assert long.values[0] - short.values[0] == pytest.approx(short.truncation, abs=2 * rounding)
    assert default.truncation is not None and default.truncation < 1e-6
    assert abs(default.values[0] - long.values[0]) < 1e-6 + rounding


@pytest.mark.parametrize("level", [0.0, 0.2])
def test_truncation_of_the_static_latent_is_its_closed_form(level: float) -> None:
    """Given h views, Cov(X_k | last h) = s + v/(1 + h v/s); given infinitely many, s."""
    h, v = 50, np.exp(-2.0 * level)
    s = 0.5 * v - np.expm1(-2.0 * level)
    result = window_memory_bottleneck(StaticLatent(0.5), [0], level=level, horizon=h)
    expected = 0.5 * np.log1p(v / (1.0 + h * v / s) / s)
    assert result.truncation == pytest.approx(expected, abs=result.error_bound[0])


def test_truncation_of_noisy_long_memory_is_the_spectral_integral() -> None:
    video = Arfima(memory=0.3, noise_variance=[[1.0, 0.5], [0.5, 1.0]])
    short = window_memory_bottleneck(video, [0], level=0.1, horizon=60)
    long = window_memory_bottleneck(video, [0], level=0.1, horizon=240)
    assert short.truncation is not None and long.truncation is not None
    tolerance = float(short.error_bound[0] + long.error_bound[0]) + 1e-10  # quadrature: 1e-11
    assert short.total + short.truncation == pytest.approx(
        long.total + long.truncation, abs=tolerance
    )
    assert long.truncation < short.truncation


@settings(max_examples=40, deadline=None)
@given(
    dim=st.integers(1, 3),
    order=st.integers(1, 3),
    radius=st.floats(0.05, 0.98),
    level=st.sampled_from([0.0, 0.01, 0.3, 2.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_longer_windows_never_forget_more(
    dim: int, order: int, radius: float, level: float, seed: int
) -> None:
    """M1: memories that contain each other have non-increasing bottlenecks."""
    generator = np.random.default_rng(seed)
    blocks = generator.standard_normal((order, dim, dim))
    companion = np.zeros((order * dim, order * dim))
    companion[:dim] = np.hstack(blocks)
    companion[dim:, :-dim] = np.eye((order - 1) * dim)
    shrink = radius / np.abs(np.linalg.eigvals(companion)).max()
    blocks = blocks * shrink ** np.arange(1, order + 1)[:, None, None]
    root = generator.standard_normal((dim, dim))
    video = Autoregressive(list(blocks), root @ root.T + 0.1 * np.eye(dim))
    result = window_memory_bottleneck(video, range(11), level=level, horizon=10)
    assert np.all(np.diff(result.values) <= 0.0)
    assert result.values[-1] == 0.0
    assert result.total == result.values[0]
    # data processing: noising both sides never adds information
    noisier = window_memory_bottleneck(video, [0], level=level + 0.2, horizon=10)
    assert noisier.total <= result.total + result.error_bound[0] + noisier.error_bound[0]


def test_elimination_agrees_with_cholesky_on_regular_laws() -> None:
    covariance = VIDEOS["panorama"].covariance(6)
    scale = np.sqrt(np.diag(covariance))
    correlation = (covariance / np.outer(scale, scale))[::-1, ::-1]
    regular = memory._by_cholesky(correlation, 3, 1e-12)
    assert regular is not None
    increments, reason = memory._by_elimination(correlation, 3, 1e-12)
    assert reason is None
    np.testing.assert_allclose(increments, regular[0], rtol=0, atol=2 * regular[1].max())


def test_a_perfect_return_is_infinite_with_its_reason_and_finite_once_noised() -> None:
    video = Panorama([0, 10, 20, 0], dim=2)
    clean = window_memory_bottleneck(video, range(4))
    assert clean.horizon == 3
    assert np.all(np.isinf(clean.values[:3])) and clean.values[3] == 0.0
    assert clean.reason is not None and "3 back" in clean.reason
    assert clean.to_json()["values"][0] is None
    assert clean.window_for(0.5) is None
    noisy = window_memory_bottleneck(video, range(4), level=0.01)
    assert np.all(np.isfinite(noisy.values)) and noisy.reason is None


def test_a_return_that_the_window_still_sees_is_not_infinite() -> None:
    """Frame 2 already shows frame 3's view: what is older adds nothing, though laws are singular.

    Reordering of the same frames (the return is older than the window) is the negative control.
    """
    seen = window_memory_bottleneck(Panorama([0, 0, 7, 7], dim=2), [1])
    assert seen.values[0] == pytest.approx(0.0, abs=1e-12)
    lost = window_memory_bottleneck(Panorama([7, 0, 0, 7], dim=2), [1])
    assert np.isinf(lost.values[0])


def test_constant_and_repeated_pixels_carry_nothing() -> None:
    """A frame covariance that is singular at level 0 is legitimate."""
    single = VIDEOS["AR(2)"].covariance(6)
    doubled = scipy.linalg.block_diag(*[np.zeros((3, 3))] * 6)
    index = np.arange(6) * 3
    for a in (0, 1):
        for b in (0, 1):
            doubled[np.ix_(index + a, index + b)] = single
    video = ExplicitCovariance(doubled, dim=3)
    expected = window_memory_bottleneck(ExplicitCovariance(single), range(6))
    result = window_memory_bottleneck(video, range(6))
    assert result.reason is None
    # elimination gives no bound of its own; the law is the scalar one, of condition below 100
    np.testing.assert_allclose(result.values, expected.values, rtol=0, atol=1e-12)


def test_unit_and_windows() -> None:
    video = VIDEOS["AR(2)"]
    nats = window_memory_bottleneck(video, [0, 1], level=0.1)
    bits = window_memory_bottleneck(video, [0, 1], level=0.1, unit="bits")
    np.testing.assert_allclose(bits.values, nats.values / np.log(2.0), rtol=4e-16)
    assert bits.unit == "bits"
    single = window_memory_bottleneck(video, 1, level=0.1)
    assert single.values.shape == (1,) and single.values[0] == nats.values[1]
    assert "r=1" in repr(single)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_lengths": [-1]}, "window_lengths must be an integer of at least 0, got -1"),
        ({"window_lengths": [1.5]}, "window_lengths must be an integer of at least 0, got 1.5"),
        ({"window_lengths": []}, "window_lengths must be at least one number of frames"),
        ({"window_lengths": [9], "horizon": 8}, "window_lengths must be in 0..horizon"),
        ({"window_lengths": [1], "horizon": 0}, "horizon must be an integer of at least 1"),
        ({"window_lengths": [1], "level": -0.1}, "level must be a finite OU time of at least 0"),
        ({"window_lengths": [1], "level": np.nan}, "level must be a finite OU time"),
        ({"window_lengths": [1], "unit": "bytes"}, "unit must be one of nats, bits, got bytes"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        window_memory_bottleneck(VIDEOS["AR(2)"], **arguments)
    assert message in str(error.value)


def test_an_unlimited_moving_law_needs_the_frame_it_is_asked_about() -> None:
    with pytest.raises(ParameterError, match="horizon must be given for a video that is not"):
        window_memory_bottleneck(VIDEOS["unstable start"], [1])
    with pytest.raises(ParameterError, match="frames must be at most the video's length"):
        window_memory_bottleneck(VIDEOS["panorama"], [1], horizon=6)
