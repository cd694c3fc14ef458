"""M1–M7, R3 and R5: memory laws against closed forms, dense oracles and both their sides."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import Generator, LinearMemory, RecursiveMemory, Schedule, decompose, memory
from arvdm_theory import testing as worlds
from arvdm_theory._gaussian import gaussian_kl
from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, RefusedError
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    Proportion,
    binary_kl,
    canonical_correlations_of,
    forgetful_video,
    impossibility_floor,
    linear_memory_floor,
    memory_bottleneck_of,
    memory_budget,
    metric_blindness,
    needle_bound,
    needle_information,
    needle_success,
    output_kl_of_chunks,
    pair_law_floor,
    renoising_cost,
    roll_out_floor,
    window_memory_bottleneck,
)
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


# --- M1: any window, any linear memory ------------------------------------------------------------

SEEDS = st.integers(0, 2**32 - 1)
LEVELS = st.sampled_from([0.02, 0.1, 0.5])


def dense_bottleneck(
    video: GaussianVideo,
    reference: int,
    weights: np.ndarray | None,
    block: int,
    horizon: int,
    level: float,
) -> float:
    """I(X_B; Past | R, m), from the log-determinants of two conditional covariances."""
    dim = video.dim
    covariance = video.covariance(horizon + block)
    noise = -np.expm1(-2.0 * level)
    covariance = np.exp(-2.0 * level) * covariance + noise * np.eye(covariance.shape[0])
    past = horizon * dim
    rows = [np.eye(past)[past - min(reference, horizon) * dim :]]
    if weights is not None:
        held = np.zeros((weights.shape[1], past))
        for lag in range(min(weights.shape[0], horizon)):
            frame = slice(past - (lag + 1) * dim, past - lag * dim)
            held[:, frame] = weights[lag]
        rows.append(held)
    seen = np.concatenate(rows)

    def left(rows: np.ndarray) -> float:
        own = rows @ covariance[:past, :past] @ rows.T
        cross = covariance[past:, :past] @ rows.T
        rest = covariance[past:, past:] - cross @ np.linalg.pinv(own, hermitian=True) @ cross.T
        return float(np.linalg.slogdet(rest)[1])

    return 0.5 * (left(seen) - left(np.eye(past)))


@settings(max_examples=20, deadline=None)
@given(
    video=worlds.videos(8),
    reference=st.integers(0, 3),
    block=st.integers(1, 3),
    slots=st.integers(0, 2),
    level=LEVELS,
    seed=SEEDS,
)
def test_m1_is_the_dense_formula_and_nested_memories_forget_less(
    video: GaussianVideo, reference: int, block: int, slots: int, level: float, seed: int
) -> None:
    weights = np.random.default_rng(seed).standard_normal((3, slots, video.dim))
    held = LinearMemory(weights) if slots else None
    common = {"block": block, "horizon": 5, "level": level}
    found = memory_bottleneck_of(video, reference=reference, memory=held, **common)
    expected = dense_bottleneck(video, reference, weights if slots else None, block, 5, level)
    # the oracle's pseudo-inverse: condition at most 1e3 / noise of 0.04
    assert float(found) == pytest.approx(expected, abs=1e-8)
    assert found.theorems == ("M1",) and found.reason is None
    less = memory_bottleneck_of(video, reference=reference, **common)
    longer = memory_bottleneck_of(video, reference=reference + 1, memory=held, **common)
    assert found.lower <= less.upper
    assert longer.lower <= found.upper


@settings(max_examples=15, deadline=None)
@given(video=worlds.videos(7), reference=st.integers(0, 4), level=LEVELS)
def test_m1_of_one_frame_is_r5(video: GaussianVideo, reference: int, level: float) -> None:
    ours = memory_bottleneck_of(video, reference=reference, horizon=6, level=level)
    theirs = window_memory_bottleneck(video, reference, horizon=6, level=level)
    error = theirs.error_bound[0] + ours.upper - ours.lower
    assert float(ours) == pytest.approx(theirs.values[0], abs=error + 1e-15)


def test_m1_a_memory_changes_nothing_iff_it_tells_nothing_new_of_the_block() -> None:
    video = VIDEOS["AR(2)"]
    older = LinearMemory(np.array([[[0.0]], [[0.0]], [[1.0]]]))  # the frame 3 back
    second = LinearMemory(np.array([[[0.0]], [[1.0]]]))
    alone = memory_bottleneck_of(video, reference=1, horizon=6)
    both = memory_bottleneck_of(video, reference=2, memory=older, horizon=6)
    assert both.value <= both.upper - both.value  # two frames are all: older ones tell nothing
    some = memory_bottleneck_of(video, reference=1, memory=older, horizon=6)
    assert some.upper < alone.lower  # given one frame only, they do
    complete = memory_bottleneck_of(video, reference=1, memory=second, horizon=6)
    assert complete.value < 1e-12


def test_m1_a_memory_that_nearly_repeats_a_reference_keeps_its_digits() -> None:
    """m = 10^9 X_k + X_{k-1} beside X_k is X_{k-1}: the large share is the reference's own."""
    video = VIDEOS["AR(2)"]
    common = {"reference": 1, "horizon": 6, "level": 0.05}
    plain = memory_bottleneck_of(video, memory=LinearMemory([[[0.0]], [[1.0]]]), **common)
    mixed = memory_bottleneck_of(video, memory=LinearMemory([[[1e9]], [[1.0]]]), **common)
    assert float(mixed) == pytest.approx(float(plain), abs=plain.upper - plain.lower)
    assert plain.upper < memory_bottleneck_of(video, **common).lower


def test_m1_a_kalman_state_forgets_nothing() -> None:
    """The steady-state filter of a seen AR(1) + noise chain, as a recursive memory."""
    video, level = Autoregressive([0.9], 0.19), 0.1
    signal, noise = np.exp(-2.0 * level), -np.expm1(-2.0 * level)
    error = scipy.linalg.solve_discrete_are(
        np.array([[0.9]]), np.array([[1.0]]), np.array([[0.19 * signal]]), np.array([[noise]])
    )[0, 0]
    gain = error / (error + noise)
    state = RecursiveMemory([[0.9 * (1.0 - gain)]], [[gain]])
    held = memory_bottleneck_of(video, memory=state, horizon=60, level=level)
    assert held.value < 1e-9  # the filter's own start is forgotten by then: 0.46^120
    worse = RecursiveMemory([[0.3]], [[gain]])
    assert memory_bottleneck_of(video, memory=worse, horizon=60, level=level).lower > 1e-4
    window = memory_bottleneck_of(video, reference=1, horizon=60, level=level)
    assert window.lower > 1e-3


@pytest.mark.parametrize("level", [0.0, 0.05])
@pytest.mark.parametrize("name", ["AR(2)", "seasonal", "ARFIMA", "static latent"])
def test_m1_the_default_past_bounds_what_older_frames_add(
    name: str, level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a past of at most 48 numbers, as the default has to choose one for long memories."""
    monkeypatch.setattr(memory, "LARGEST_COVARIANCE", 48)
    video = VIDEOS[name]
    default = memory_bottleneck_of(video, reference=1, block=2, level=level)
    longer = memory_bottleneck_of(video, reference=1, block=2, level=level, horizon=200)
    assert default.lower <= longer.upper
    assert longer.lower <= default.upper
    cut = memory_bottleneck_of(video, reference=1, block=2, level=level, horizon=4)
    if name != "AR(2)" or level > 0.0:
        assert cut.upper < default.lower  # the control: a stated past adds nothing above


def test_m1_of_a_finite_moving_video_takes_all_frames_before_the_last_block() -> None:
    video = VIDEOS["panorama"]
    default = memory_bottleneck_of(video, reference=1, block=2)
    stated = memory_bottleneck_of(video, reference=1, block=2, horizon=4)
    assert float(default) == float(stated)
    perfect = memory_bottleneck_of(Panorama([0, 10, 20, 0], dim=2), reference=1)
    assert perfect.value == np.inf and "determines 2 direction(s)" in str(perfect.reason)
    assert memory_bottleneck_of(Panorama([0, 10, 20, 0], dim=2), reference=3).value < 1e-12
    with pytest.raises(ParameterError, match="block must be smaller than the video"):
        memory_bottleneck_of(video, block=6)
    with pytest.raises(ParameterError, match="horizon must be given for an unlimited video"):
        memory_bottleneck_of(VIDEOS["unstable start"])
    with pytest.raises(ParameterError, match="memory must be of frames of dimension 3, got"):
        memory_bottleneck_of(video, memory=LinearMemory(np.ones((1, 1, 2))))
    with pytest.raises(ParameterError, match="unit must be one of nats, bits"):
        memory_bottleneck_of(video, unit="bytes")


# --- M2, M3 ---------------------------------------------------------------------------------------


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(gaussian_kl(p, q, p - q, np.zeros(p.shape[0])))


@settings(max_examples=30, deadline=None)
@given(joint=worlds.covariances(6, 100.0), seed=SEEDS, seen=st.integers(0, 2))
def test_m2_no_law_with_that_input_is_closer_and_one_attains_it(
    joint: np.ndarray, seed: int, seen: int
) -> None:
    x, z, y = [0, 1], list(range(2 + seen, 6)), list(range(2, 2 + seen))
    result = impossibility_floor(joint, x, z, y)
    assert kl(joint, result.covariance) == pytest.approx(float(result.floor), abs=1e-10)
    # any other Q: (X, Y) and Z | Y arbitrary, X out of reach of Z
    rng = np.random.default_rng(seed)
    ahead = x + y
    other = np.zeros((6, 6))
    root = np.linalg.cholesky(joint[np.ix_(ahead, ahead)]) @ (
        np.eye(len(ahead)) + 0.2 * rng.standard_normal((len(ahead), len(ahead)))
    )
    other[np.ix_(ahead, ahead)] = root @ root.T
    through = rng.standard_normal((len(z), seen))
    own = 0.3 * rng.standard_normal((len(z), len(z)))
    other[np.ix_(z, ahead)] = through @ other[np.ix_(y, ahead)]
    other[np.ix_(ahead, z)] = other[np.ix_(z, ahead)].T
    given_y = through @ other[np.ix_(y, z)]
    other[np.ix_(z, z)] = given_y + joint[np.ix_(z, z)] + own @ own.T
    assert kl(joint, other) >= result.floor.lower - 1e-10
    # the control: a law whose output sees X goes below
    mixed = 0.5 * joint + 0.5 * result.covariance
    if float(result.floor) > 1e-6:
        assert kl(joint, mixed) < result.floor.lower


def test_m2_takes_every_coordinate() -> None:
    with pytest.raises(ParameterError, match="x, z, given must be all 3 coordinates"):
        impossibility_floor(np.eye(3), [0], [1])


def permutations(n: int) -> list[np.ndarray]:
    """P_π of every permutation: mass 1/n on each (x, π(x))."""
    from itertools import permutations as every

    laws = []
    for order in every(range(n)):
        law = np.zeros((n, n))
        law[np.arange(n), list(order)] = 1.0 / n
        laws.append(law.ravel())
    return laws


@pytest.mark.parametrize("n", [2, 3])
def test_m3_total_variation_is_the_value_of_a_linear_program(n: int) -> None:
    """min t over Q: ½ Σ |P_π - Q| ≤ t for all π, by linear programming."""
    laws = permutations(n)
    value = least_total_variation(laws)
    assert value == pytest.approx(pair_law_floor(n).total_variation, abs=1e-9)
    # the control: a learner that is told the permutation loses nothing
    assert least_total_variation(laws[:1]) == pytest.approx(0.0, abs=1e-9)


def least_total_variation(laws: list[np.ndarray]) -> float:
    cells, count = laws[0].size, len(laws)
    size = cells + count * cells + 1
    cost = np.zeros(size)
    cost[-1] = 1.0
    rows, limits = [], []
    for index, law in enumerate(laws):
        gaps = slice(cells + index * cells, cells + (index + 1) * cells)
        for sign in (1.0, -1.0):
            block = np.zeros((cells, size))
            block[:, :cells], block[:, gaps] = -sign * np.eye(cells), -np.eye(cells)
            rows.append(block)
            limits.append(-sign * law)
        total = np.zeros((1, size))
        total[0, gaps], total[0, -1] = 0.5, -1.0
        rows.append(total)
        limits.append(np.zeros(1))
    whole = np.zeros((1, size))
    whole[0, :cells] = 1.0
    solution = scipy.optimize.linprog(
        cost, np.concatenate(rows), np.concatenate(limits), whole, [1.0], method="highs"
    )
    return float(solution.fun)


@pytest.mark.parametrize("n", [2, 3])
def test_m3_kl_is_the_value_of_a_convex_minimax(n: int) -> None:
    """min t over Q: KL(P_π ‖ Q) ≤ t for all π, from random starts."""
    laws = np.array(permutations(n))
    expected = float(pair_law_floor(n).kl)
    assert expected == np.log(n)
    assert least_kl(laws, seed=1) == pytest.approx(expected, abs=1e-6)
    assert least_kl(laws[:1], seed=1) == pytest.approx(0.0, abs=1e-6)


def least_kl(laws: np.ndarray, seed: int) -> float:
    cells, n = laws.shape[1], int(np.sqrt(laws.shape[1]))

    def divergences(q: np.ndarray) -> np.ndarray:
        return -np.log(n) - laws @ np.log(q)

    start = np.random.default_rng(seed).dirichlet(np.ones(cells))
    solution = scipy.optimize.minimize(
        lambda v: v[-1],
        np.append(start, divergences(start).max()),
        jac=lambda v: np.eye(cells + 1)[-1],
        method="SLSQP",
        bounds=[(1e-9, 1.0)] * cells + [(None, None)],
        constraints=[
            {"type": "ineq", "fun": lambda v: v[-1] - divergences(v[:-1])},
            {"type": "eq", "fun": lambda v: v[:-1].sum() - 1.0},
        ],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return float(divergences(solution.x[:-1] / solution.x[:-1].sum()).max())


# --- M4 -------------------------------------------------------------------------------------------


@st.composite
def chunks(draw: st.DrawFn) -> tuple[GaussianVideo, Schedule, Generator, int]:
    window, steps = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    context = draw(st.sampled_from([{}, {"context_noise": "label", "context_level": 0.3}]))
    schedule = Schedule.chunk(
        window,
        t_max=draw(st.sampled_from([1.0, 3.0])),
        t_min=draw(st.sampled_from([0.02, 0.1])),
        substeps=draw(st.integers(1, 6)),
        **context,
    )
    video = draw(worlds.videos(window * steps))
    return video, schedule, draw(worlds.generators(video.dim, window * steps)), steps


@settings(max_examples=20, deadline=None)
@given(world=chunks())
def test_m4_both_sides(world: tuple[GaussianVideo, Schedule, Generator, int]) -> None:
    """Any denoiser, sampler, memory: conditional laws on one side, joint laws on the other."""
    video, schedule, generator, steps = world
    result = output_kl_of_chunks(video, schedule, generator, steps=steps)
    error = result.error_bound
    if error > 1e-6 * (1.0 + result.output):
        return
    assert abs(result.memory + result.network - result.output) <= error
    np.testing.assert_allclose(
        result.memory_per_step + result.network_per_step, result.output_per_step, atol=error
    )
    # the memory part, a third way; and Theorem A's terms on both sides of it
    for k in range(1, steps):
        seen = memory_bottleneck_of(
            video,
            reference=generator.reference,
            memory=generator.memory,
            block=schedule.window,
            horizon=k * schedule.window,
            level=schedule.t_min,
        )
        slack = error + seen.upper - seen.lower
        assert result.memory_per_step[k] == pytest.approx(float(seen), abs=slack)
    assert np.all(result.mb_per_step <= result.memory_per_step + error)
    assert np.all(result.memory_per_step <= result.mb_per_step + result.nie_per_step + error)
    # the control: without the network's part the sides differ
    if result.network > 10.0 * error:
        assert abs(result.memory - result.output) > error


def test_m4_is_false_beyond_chunks() -> None:
    """FIFO: an output KL below Σ MB_k, so that M2's floor is none for it; and so is refused."""
    video = VIDEOS["AR(2)"]
    fifo = Schedule.fifo(4, t_max=2.0, t_min=0.02, substeps=30)
    result = decompose(video, fifo, steps=8)
    assert result.output is not None and result.output < 0.8 * result.mb
    with pytest.raises(ParameterError, match=r"schedule.window must be equal to its stride \(1\)"):
        output_kl_of_chunks(video, fifo, steps=8)


def test_m4_refuses_a_draw_that_is_integrated_out() -> None:
    """With re-noised references the output KL is below memory + network (R4's caution)."""
    video = Autoregressive([0.9], 0.19)
    common = {"t_max": 8.0, "t_min": 0.02, "substeps": 400}
    noisy = Schedule.chunk(1, context_noise="noise", context_level=0.3, **common)
    with pytest.raises(RefusedError, match="integrates out"):
        output_kl_of_chunks(video, noisy, steps=4)
    result = decompose(video, noisy, Generator(reference=1), steps=2)
    cost = renoising_cost(video, reference=1, context_level=0.3, level=0.02, horizon=1)
    assert result.output_per_step is not None
    assert result.output_per_step[1] < 0.9 * float(cost.renoised)


def test_m4_result_is_shown_and_saved() -> None:
    video, schedule = VIDEOS["AR(2)"], Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=5)
    nats = output_kl_of_chunks(video, schedule, steps=3)
    bits = output_kl_of_chunks(video, schedule, steps=3, unit="bits")
    assert bits.output == pytest.approx(nats.output / np.log(2.0), rel=1e-14)
    assert "memory" in repr(bits) and bits.to_json()["unit"] == "bits"


# --- M5 -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(p=st.floats(0.0, 1.0), q=st.floats(1e-12, 1.0, exclude_max=True))
def test_m5_binary_kl_keeps_its_digits(p: float, q: float) -> None:
    with mpmath.workdps(60):
        a, b = mpmath.mpf(p), mpmath.mpf(q)
        exact = mpmath.mpf(0)
        if a > 0:
            exact += a * mpmath.log(a / b)
        if a < 1:
            exact += (1 - a) * mpmath.log((1 - a) / (1 - b))
    # 1 - p of a double rounds by eps / 2 once
    assert binary_kl(p, q) == pytest.approx(float(exact), rel=1e-12, abs=1e-15 * abs(p - q))


def test_m5_point_and_trials_are_one_function() -> None:
    assert needle_bound(1.0, 0.05).value == pytest.approx(np.log(20.0))
    assert needle_bound(0.3, 0.3).value == 0.0
    assert needle_bound(0.2, 0.9).value == pytest.approx(binary_kl(0.2, 0.9))
    assert needle_bound(0.2, 0.0).value == np.inf
    known = needle_bound(Proportion(50, 50), 0.1)
    both = needle_bound(Proportion(50, 50), Proportion(100, 1000))
    assert both.value < known.value < needle_bound(1.0, 0.1).value
    with pytest.raises(ParameterError, match="generated must be a Proportion, or a rate"):
        needle_bound(0.5, 1.5)
    with pytest.raises(ParameterError, match="truth must be a Proportion, or a rate"):
        needle_bound(float("nan"), 0.5)


def test_m5_certified_bounds_hold_as_often_as_they_say() -> None:
    """3,000 pairs of experiments at 90 %: the bound exceeds the true KL in at most 10 % of them."""
    rng = np.random.default_rng(0)
    p, q, n, trials = 0.8, 0.5, 40, 3000
    true = binary_kl(p, q)
    cache: dict[tuple[int, int], tuple[float, float]] = {}
    wrong = naive = 0
    for a, b in zip(rng.binomial(n, p, trials), rng.binomial(n, q, trials), strict=True):
        key = (int(a), int(b))
        if key not in cache:
            bound = needle_bound(Proportion(key[0], n), Proportion(key[1], n), 0.9)
            cache[key] = (bound.value, bound.plug_in)
        wrong += cache[key][0] > true
        naive += cache[key][1] > true
    assert wrong <= 0.1 * trials
    assert naive > 0.3 * trials  # the control: measured rates alone certify nothing


@settings(max_examples=40, deadline=None)
@given(needles=st.integers(2, 6), slots=st.integers(1, 6), seed=SEEDS, sharp=st.floats(0.1, 8.0))
def test_m5_bounds_every_memory_of_needles(
    needles: int, slots: int, seed: int, sharp: float
) -> None:
    """Random channels needle → m, guessed optimally: exact success against exact information."""
    rng = np.random.default_rng(seed)
    channel = rng.dirichlet(np.ones(slots), needles) ** sharp
    channel /= channel.sum(axis=1, keepdims=True)
    marginal = channel.mean(axis=0)
    kept = channel > 0.0
    ratio = np.where(kept, channel, 1.0) / np.where(kept, marginal, 1.0)
    information = float(np.sum(channel * np.log(ratio))) / needles
    success = float(channel.max(axis=0).sum()) / needles
    success = min(success, 1.0)
    tight, fano = (needle_information(success, needles, form=form) for form in ("tight", "fano"))
    assert tight.lower <= information + 1e-12
    assert fano.lower <= tight.upper
    allowed = needle_success(max(information, 0.0), needles)
    assert success <= allowed.upper + 1e-7  # I is known to 1e-15, success to its square root


@pytest.mark.parametrize("success", [0.3, 0.7, 0.999])
def test_m5_is_attained_by_the_symmetric_channel_and_inverted(success: float) -> None:
    n = 4
    rest = (1.0 - success) / (n - 1)
    information = np.log(n) + success * np.log(success) + (1 - success) * np.log(rest)
    assert float(needle_information(success, n)) == pytest.approx(information, rel=1e-12)
    assert float(needle_success(information, n)) == pytest.approx(success, rel=1e-9)
    fano = float(needle_information(success, n, form="fano"))
    assert fano < information
    assert float(needle_information(success, n, unit="bits")) == pytest.approx(
        information / np.log(2.0)
    )


def test_m5_by_simulation() -> None:
    """A memory that holds one of n needles with probability h names it h + (1-h)/n of the time."""
    rng = np.random.default_rng(5)
    n, held, trials = 10, 0.4, 20000
    needle = rng.integers(n, size=trials)
    guess = np.where(rng.random(trials) < held, needle, rng.integers(n, size=trials))
    success = float(np.mean(guess == needle))
    noise = 4.0 * np.sqrt(0.25 / trials)
    expected = held + (1.0 - held) / n
    assert success == pytest.approx(expected, abs=noise)
    rest = (1.0 - held) / n
    information = np.log(n) + expected * np.log(expected) + (n - 1) * rest * np.log(rest)
    assert float(needle_information(success - noise, n)) <= information
    # the control: with that success, less information is impossible
    assert needle_success(0.5 * information, n).upper < success - noise


def test_m5_ends() -> None:
    assert float(needle_information(0.1, 10)) == 0.0
    assert float(needle_information(0.05, 10)) == 0.0  # below chance needs no memory
    assert float(needle_information(1.0, 10)) == pytest.approx(np.log(10.0))
    assert float(needle_success(0.0, 10)) == 0.1
    assert float(needle_success(99.0, 10)) == 1.0
    assert needle_success(np.log2(10.0) + 1e-9, 10, unit="bits").value == 1.0
    for call, message in (
        (lambda: needle_information(1.5, 10), "success must be a rate in"),
        (lambda: needle_information(0.5, 1), "needles must be an integer of at least 2"),
        (lambda: needle_information(0.5, 3, form="loose"), "form must be tight or fano"),
        (lambda: needle_success(-0.1, 3), "information must be a number of at least 0"),
        (lambda: needle_success(0.1, 3, unit="bytes"), "unit must be one of nats, bits"),
    ):
        with pytest.raises(ParameterError, match=message):
            call()


# --- M6 -------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    video=worlds.videos(7),
    reference=st.integers(1, 3),
    block=st.integers(1, 2),
    extra=st.floats(0.01, 2.0),
    level=LEVELS,
    arriving=st.sampled_from([None, 0.5, 1.5]),
)
def test_m6_both_sides(
    video: GaussianVideo,
    reference: int,
    block: int,
    extra: float,
    level: float,
    arriving: float | None,
) -> None:
    cost = renoising_cost(
        video,
        reference=reference,
        context_level=level + extra,
        block=block,
        horizon=5,
        level=level,
        input_level=None if arriving is None else level + arriving,
    )
    slack = sum(part.upper - part.lower for part in (cost.clean, cost.renoised, cost.lost))
    assert abs(float(cost.clean) + float(cost.lost) - float(cost.renoised)) <= slack + 1e-14
    assert cost.renoised.upper >= cost.clean.lower  # never lowers it
    if float(cost.lost) > 1e-6:
        assert float(cost.renoised) > cost.clean.upper  # the control: it does cost something
    if arriving is None:
        window = memory_bottleneck_of(
            video, reference=reference, block=block, horizon=5, level=level
        )
        assert float(cost.clean) == pytest.approx(float(window), abs=slack + 1e-14)


def test_m6_ends_and_agreement_with_the_decomposition() -> None:
    video = VIDEOS["AR(2)"]
    common = {"reference": 2, "horizon": 6, "level": 0.05}
    same = renoising_cost(video, context_level=0.05, **common)
    assert float(same.lost) == 0.0 and float(same.renoised) == float(same.clean)
    dropped = renoising_cost(video, context_level=40.0, **common)
    nothing = memory_bottleneck_of(video, reference=0, horizon=6, level=0.05)
    assert float(dropped.renoised) == pytest.approx(float(nothing), abs=1e-12)
    # Theorem B's extra term is this one, computed inside `decompose` from window laws
    schedule = Schedule.next_frame(
        t_max=3.0, t_min=0.05, substeps=8, context_noise="noise", context_level=0.4
    )
    result = decompose(video, schedule, Generator(reference=2), steps=6)
    assert result.renoising_per_step is not None
    for k in (2, 5):
        cost = renoising_cost(
            video, reference=2, context_level=0.4, level=0.05, horizon=k, input_level=3.0
        )
        assert float(cost.lost) == pytest.approx(result.renoising_per_step[k], abs=1e-10)
        assert float(cost.renoised) == pytest.approx(result.mb_per_step[k], abs=1e-10)
    for arguments, message in (
        ({"context_level": 0.01}, "context_level must be at least level"),
        ({"context_level": 0.1, "input_level": 0.01}, "input_level must be at least level"),
        ({"context_level": 0.1, "reference": 0}, "reference must be an integer of at least 1"),
    ):
        with pytest.raises(ParameterError, match=message):
            renoising_cost(video, **{**common, **arguments})


# --- M7 -------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    video=worlds.videos(6),
    reference=st.integers(0, 3),
    shape=st.sampled_from([(1, 6), (2, 3), (3, 2)]),
    level=LEVELS,
)
def test_m7_clips_are_blind_and_the_whole_is_not(
    video: GaussianVideo, reference: int, shape: tuple[int, int], level: float
) -> None:
    block, steps = shape
    result = metric_blindness(video, reference=reference, block=block, steps=steps, level=level)
    for length in range(1, min(reference + 1, 6) + 1):
        assert np.all(result.clips[length - 1] <= result.error_bound[length - 1])
    assert np.all(result.aligned <= result.error_bound[-1])
    assert result.blind_length >= min(reference + 1, 6)
    memory = float(result.memory_per_step.sum())
    assert result.total == pytest.approx(memory, abs=result.error_bound[-1] + 1e-9)
    # longer clips never see less
    largest = [float(values.max()) for values in result.clips]
    assert np.all(np.diff(largest) >= -result.error_bound[1:] - 1e-12)


def test_m7_negative_control_unaligned_clips_see_it() -> None:
    """AR(2), r = 1, |B| = 2: every other 3-frame clip has .087 = -½ log(1 - φ_22²)."""
    result = metric_blindness(VIDEOS["AR(2)"], reference=1, block=2, steps=3)
    seen = -0.5 * np.log1p(-(0.4**2))
    np.testing.assert_allclose(result.clips[2], [seen, 0.0, seen, 0.0], atol=1e-12)
    assert round(seen, 3) == 0.087
    np.testing.assert_allclose(result.clips[1], 0.0, atol=1e-12)
    assert result.blind_length == 2
    assert result.total == pytest.approx(2.0 * seen, rel=1e-12)
    # with a window of two frames nothing is forgotten
    assert metric_blindness(VIDEOS["AR(2)"], reference=2, block=2, steps=3).total < 1e-12
    saved = metric_blindness(VIDEOS["AR(2)"], reference=1, block=2, steps=3, unit="bits").to_json()
    assert saved["total"] == pytest.approx(2.0 * seen / np.log(2.0)) and saved["blind_length"] == 2
    assert "clips of up to 2 frames see 0" in repr(result)


def test_m7_singular_laws_are_refused() -> None:
    with pytest.raises(NotPositiveDefiniteError):
        metric_blindness(Panorama([0, 10, 0], dim=2), reference=1, block=1, steps=3)
    finite = metric_blindness(Panorama([0, 10, 0], dim=2), reference=1, block=1, steps=3, level=0.1)
    assert finite.total > 1.0


@settings(max_examples=15, deadline=None)
@given(video=worlds.videos(6), slots=st.integers(1, 2), seed=SEEDS)
def test_the_forgetful_video_pays_exactly_what_its_memory_forgets(
    video: GaussianVideo, slots: int, seed: int
) -> None:
    """M4 attained, with a linear memory too: KL(P ‖ Q) = Σ I(X_B; Past | R, m)."""
    held = LinearMemory(np.random.default_rng(seed).standard_normal((3, slots, video.dim)))
    common = {"reference": 1, "memory": held, "level": 0.1, "block": 2}
    law = forgetful_video(video, steps=3, **common)
    truth = np.exp(-0.2) * video.covariance(6) - np.expm1(-0.2) * np.eye(6 * video.dim)
    expected = sum(float(memory_bottleneck_of(video, horizon=2 * k, **common)) for k in (1, 2))
    assert kl(truth, law.covariance(6)) == pytest.approx(expected, abs=1e-8)
    np.testing.assert_allclose(law.means(6), np.exp(-0.1) * video.means(6))


# --- R1, R2, R3 of a video ------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(video=worlds.videos(6), size=st.integers(1, 3), reference=st.integers(0, 2), seed=SEEDS)
def test_r1_of_a_video_is_attained_as_a_linear_memory(
    video: GaussianVideo, size: int, reference: int, seed: int
) -> None:
    common = {"reference": reference, "block": 2, "horizon": 4, "level": 0.1}
    source = canonical_correlations_of(video, **common)
    result = linear_memory_floor(source, size)
    assert result.matrix is not None
    # columns run from the oldest frame on, weights from the newest
    frames = result.matrix.reshape(-1, 4, video.dim)[:, ::-1].transpose(1, 0, 2)
    if frames.shape[1]:
        attained = memory_bottleneck_of(video, memory=LinearMemory(frames), **common)
        assert float(attained) == pytest.approx(float(result.floor), abs=1e-9)
    other = LinearMemory(np.random.default_rng(seed).standard_normal((4, size, video.dim)))
    assert memory_bottleneck_of(video, memory=other, **common).upper >= result.floor.lower


@settings(max_examples=15, deadline=None)
@given(
    video=worlds.videos(8),
    reference=st.integers(0, 1),
    size=st.integers(1, 2),
    seed=SEEDS,
)
def test_r3_bounds_every_chunk_generator_with_that_many_numbers(
    video: GaussianVideo, reference: int, size: int, seed: int
) -> None:
    held = LinearMemory(np.random.default_rng(seed).standard_normal((6, size, video.dim)))
    schedule = Schedule.chunk(2, t_max=2.0, t_min=0.05, substeps=6)
    result = decompose(video, schedule, Generator(reference=reference, memory=held), steps=4)
    floor = roll_out_floor(video, block=2, steps=4, size=size, reference=reference, level=0.05)
    rows = floor.compare(result)
    slack = sum(result.error_bound[name] for name in ("mb", "nie", "output"))
    assert np.all(rows["mb_plus_nie"] >= floor.lower - slack)
    assert np.all(rows["output"] >= floor.lower - slack)
    assert result.output is not None and result.output >= floor.total.lower - slack
    # the control: a floor for fewer numbers is not one for these
    none = roll_out_floor(video, block=2, steps=4, size=0, reference=reference, level=0.05)
    assert none.total.upper >= floor.total.lower


@pytest.mark.parametrize("context_level", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("name", ["AR(2)", "VAR(1)", "seasonal"])
def test_r3_noise_on_the_context_is_a_memory_of_so_many_nats(
    name: str, context_level: float
) -> None:
    r"""Re-noised references hold c_k = I(R̃; R) nats: MB_k + NIE_k ≥ MB*_k(c_k), no window kept."""
    video, level, steps = VIDEOS[name], 0.05, 6
    schedule = Schedule.next_frame(
        t_max=2.0, t_min=level, substeps=20, context_noise="noise", context_level=context_level
    )
    result = decompose(video, schedule, Generator(reference=3), steps=steps)
    shrink = np.exp(-2.0 * (context_level - level))
    budgets = np.zeros(steps)
    for k in range(1, steps):
        frames = min(3, k)
        seen = np.exp(-2.0 * level) * video.covariance(frames)
        seen = seen - np.expm1(-2.0 * level) * np.eye(seen.shape[0])
        budgets[k] = (
            0.5 * np.linalg.slogdet(np.eye(seen.shape[0]) + shrink / (1 - shrink) * seen)[1]
        )
    floor = roll_out_floor(video, block=1, steps=steps, budgets=budgets, level=level)
    rows = floor.compare(result)
    assert np.all(rows["mb_plus_nie"] >= floor.lower - 1e-9)
    assert np.all(floor.lower[1:] > 0.0)
    # the control: with a tenth of the budget the floor exceeds what this generator pays somewhere
    tighter = roll_out_floor(video, block=1, steps=steps, budgets=0.0, level=level)
    assert np.all(tighter.value >= floor.value)
    assert np.any(tighter.lower > rows["mb_plus_nie"])


def test_r3_arguments_and_units() -> None:
    video = VIDEOS["AR(2)"]
    nats = roll_out_floor(video, block=1, steps=4, budgets=[0.0, 0.5, 1.0, np.inf], level=0.05)
    assert nats.value[3] == 0.0 and nats.value[0] == 0.0
    single = memory_budget(video, horizon=2, level=0.05).floor(1.0)
    assert nats.value[2] == pytest.approx(float(single), rel=1e-12)
    bits = roll_out_floor(
        video,
        block=1,
        steps=4,
        budgets=np.array([0.0, 0.5, 1.0, np.inf]) / np.log(2.0),
        level=0.05,
        unit="bits",
    )
    np.testing.assert_allclose(bits.value, nats.value / np.log(2.0), rtol=1e-12)
    assert "RollOutFloor(budgets, 4 steps" in repr(bits)
    schedule = Schedule.next_frame(t_max=2.0, t_min=0.05, substeps=4)
    other = decompose(video, schedule, steps=3)
    with pytest.raises(ParameterError, match=r"result.steps must be this floor's \(4\), got 3"):
        nats.compare(other)
    with pytest.raises(ParameterError, match="exactly one of them, got both"):
        roll_out_floor(video, block=1, steps=4, budgets=1.0, size=1)
    with pytest.raises(ParameterError, match="exactly one of them, got neither"):
        roll_out_floor(video, block=1, steps=4)


def test_r2_of_a_stationary_video_bounds_the_infinite_past() -> None:
    video = VIDEOS["seasonal"]
    short = memory_budget(video, level=0.05)
    long = memory_budget(video, level=0.05, horizon=120)
    for budget in (0.0, 0.5, 3.0):
        assert short.floor(budget).lower <= long.floor(budget).upper
        assert long.floor(budget).lower <= short.floor(budget).upper
    assert isinstance(short, MemoryBudget) and isinstance(short.source, CanonicalCorrelations)


# --- horizons, memories and refusals --------------------------------------------------------------


def test_a_default_horizon_never_cuts_the_memory() -> None:
    video = Autoregressive([0.9], 0.19)
    slow = RecursiveMemory([[0.99]], [[1.0]])
    exact = memory_bottleneck_of(video, memory=slow)
    long = memory_bottleneck_of(video, memory=slow, horizon=1000)
    assert float(exact) == pytest.approx(0.789651, abs=1e-6)
    assert float(exact) == pytest.approx(float(long), abs=1e-6)
    weights = np.zeros((64, 1, 1))
    weights[0] = weights[-1] = 1.0
    lags = LinearMemory(weights)
    cut = memory_bottleneck_of(video, memory=lags)
    assert float(cut) == pytest.approx(0.570323, abs=1e-6)
    assert float(cut) == pytest.approx(
        float(memory_bottleneck_of(video, memory=lags, horizon=100)), abs=1e-6
    )
    # where no exact stationary route exists the past must be said
    for call in (
        lambda: canonical_correlations_of(video, memory=slow),
        lambda: memory_bottleneck_of(video, memory=slow, block=2),
        lambda: memory_bottleneck_of(Arfima(0.3), memory=slow),
        lambda: memory_bottleneck_of(StaticLatent(noise_variance=0.5), memory=slow),
    ):
        with pytest.raises(ParameterError, match="horizon must be given with a recursive memory"):
            call()


def test_a_return_beyond_the_first_horizons_is_found() -> None:
    n = 41
    shift, source, emission = np.diag(np.ones(n - 1), -1), np.zeros((n, n)), np.zeros((2, n))
    source[0, 0] = emission[0, 0] = emission[1, 40] = 1.0
    found = window_memory_bottleneck(StateSpace(shift, emission, source, 0.0), [0, 1])
    assert np.all(np.isinf(found.values))
    assert found.reason is not None and found.truncation is None


def test_r3_is_compared_only_with_what_it_speaks_of() -> None:
    video, schedule = VIDEOS["AR(2)"], Schedule.next_frame(t_max=2.0, t_min=0.05, substeps=4)
    common = {"block": 1, "steps": 3, "level": 0.05}
    numbers, nats = (
        roll_out_floor(video, size=1, **common),
        roll_out_floor(video, budgets=0.5, **common),
    )

    def made(generator: Generator, video: GaussianVideo = video) -> object:
        return decompose(video, schedule, generator, steps=3)

    one, two = (LinearMemory(np.ones((1, b, 1))) for b in (1, 2))
    assert "output" in numbers.compare(made(Generator(memory=one)))
    assert "output" in nats.compare(made(Generator()))
    assert "output" in roll_out_floor(video, size=1, reference=1, **common).compare(
        made(Generator(reference=1, memory=one))
    )
    for floor, other, message in (
        (nats, made(Generator(), Autoregressive([0.5], 0.3)), "result.video"),
        (nats, made(Generator(reference=1)), "result.generator.reference"),
        (numbers, made(Generator(memory=two)), "result.generator.memory must be of at most 1"),
        (nats, made(Generator(memory=one)), "result.generator.memory must be absent"),
    ):
        with pytest.raises(ParameterError, match=message):
            floor.compare(other)
    free = roll_out_floor(video, budgets=[0.0, np.inf, np.inf], **common)
    assert "output" in free.compare(made(Generator(memory=two)))
    noisy = Schedule.next_frame(
        t_max=2.0, t_min=0.05, substeps=4, context_noise="noise", context_level=0.4
    )
    shown = decompose(video, noisy, Generator(reference=2), steps=3)
    with pytest.raises(ParameterError, match="at least what the re-noised references hold"):
        nats.compare(shown)
    assert "output" not in roll_out_floor(video, budgets=5.0, **common).compare(shown)


def test_r3_refuses_bad_arguments_at_every_number_of_steps() -> None:
    video = VIDEOS["AR(2)"]
    for arguments, message in (
        ({"size": 1.5, "steps": 1}, "size must be an integer of at least 0"),
        ({"size": 1, "reference": -1, "steps": 1}, "reference must be an integer"),
        ({"budgets": -1.0, "steps": 1}, "budgets must be one number of at least 0"),
        ({"budgets": [np.nan, 1.0], "steps": 2}, "budgets must be one number of at least 0"),
        ({"budgets": [1.0, 1.0], "steps": 3}, "or 3 of them"),
        ({"budgets": "x", "steps": 2}, "budgets must be one number of at least 0"),
    ):
        with pytest.raises(ParameterError, match=message):
            roll_out_floor(video, block=1, **arguments)


def test_numbers_that_are_none_are_refused_by_name() -> None:
    video = VIDEOS["AR(2)"]
    for call in (
        lambda: window_memory_bottleneck(video, 1, level="x"),
        lambda: memory_bottleneck_of(video, level="x"),
        lambda: renoising_cost(video, reference=1, context_level="x", horizon=3),
        lambda: needle_bound("a", 0.1),
        lambda: Proportion(0, 0).value,
    ):
        with pytest.raises(ParameterError):
            call()


def test_m5_at_any_confidence() -> None:
    """One rate known, the other sampled: all of α is one tail, of any size below 1."""
    for confidence in (0.1, 0.5, 0.95):
        found = needle_bound(1.0, Proportion(5, 50), confidence)
        expected = scipy.stats.beta.ppf(confidence, 6, 45)
        assert found.generated_upper == pytest.approx(float(expected), rel=1e-12)


def test_a_complete_window_is_found_despite_rounding() -> None:
    result = window_memory_bottleneck(Autoregressive([0.5, 0.4], 0.3), range(5))
    assert result.window_for(1.0) == 2


def test_what_theory_excludes_is_one_of_this_packages_errors() -> None:
    with pytest.raises(ValueError, match="cannot be at least"):
        Enclosure.around(-1.0, 0.1, least=0.0)
