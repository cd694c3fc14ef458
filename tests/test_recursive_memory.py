"""R5 in closed form and R6: against dense conditioning, decompositions and random recursions."""

from __future__ import annotations

import builtins
import json
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory._prediction import innovation_log_det, spectral_log_det
from arvdm_theory._recursive_memory import (
    _innovations,
    _Problem,
    _Program,
    best_recursive_memory,
    rate_limited_memory,
    recursive_memory_bottleneck,
    recursive_memory_floor,
    sequential_distortion,
)
from arvdm_theory._window_power_law import partial_autocorrelations, scalar_window_memory
from arvdm_theory.decomposition import decompose
from arvdm_theory.errors import ParameterError, RefusedError, UnstableError
from arvdm_theory.generator import Exact, Generator, RecursiveMemory
from arvdm_theory.memory import memory_bottleneck_of, window_memory_bottleneck
from arvdm_theory.schedule import Schedule
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


def state_space(states: int, dim: int, seed: int, radius: float = 0.9) -> StateSpace:
    rng = np.random.default_rng(seed)
    move = rng.standard_normal((states, states))
    move *= radius / np.abs(np.linalg.eigvals(move)).max()
    noise = np.diag(rng.uniform(0.1, 1.0, states))
    return StateSpace(move, rng.standard_normal((dim, states)), noise, 0.1)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[StateSpace, int, int, float]:
    """(video, b, r, level): minimal almost surely, decaying fast enough for a short dense past."""
    states, dim = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    radius = draw(st.sampled_from([0.5, 0.8]))
    video = state_space(states, dim, draw(st.integers(0, 2**32 - 1)), radius)
    size, reference = draw(st.integers(1, states)), draw(st.integers(0, 2))
    return video, size, reference, draw(st.sampled_from([0.0, 0.05, 0.4]))


VIDEOS = {
    "AR(3)": Autoregressive([0.5, -0.3, 0.2], 1.0),
    "VAR(1)": Autoregressive([[[0.8, 0.3], [-0.2, 0.6]]], np.diag([0.3, 0.5])),
    "state space": state_space(4, 2, 3, 0.85),
    "seasonal": Seasonal(period=6, persistence=0.9, noise_variance=0.1),
}


def noisy_covariance(video: GaussianVideo, frames: int, level: float) -> np.ndarray:
    covariance = video.covariance(frames)
    noise = -np.expm1(-2.0 * level)
    return np.exp(-2.0 * level) * covariance + noise * np.eye(covariance.shape[0])


def given_rows(covariance: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Covariance of everything given linear maps of it, densely."""
    cross = covariance @ rows.T
    inner = np.linalg.pinv(rows @ cross, rcond=1e-13, hermitian=True)
    return np.asarray(covariance - cross @ inner @ cross.T)


def information(covariance: np.ndarray, dim: int, frame: int, rows: np.ndarray) -> float:
    """I(X_frame; all older | rows of the older), from two conditional covariances."""
    past = frame * dim
    now = slice(past, past + dim)
    covariance = covariance[: past + dim, : past + dim]
    seen = np.hstack([rows, np.zeros((rows.shape[0], dim))])
    log_det = np.linalg.slogdet(given_rows(covariance, seen)[now, now])[1]
    cross = covariance[now, :past]
    innovation = covariance[now, now] - cross @ np.linalg.solve(covariance[:past, :past], cross.T)
    return float(0.5 * (log_det - np.linalg.slogdet(innovation)[1]))


def memory_rows(move: np.ndarray, put: np.ndarray, frames: int) -> np.ndarray:
    """m after `frames` frames as a map of them, oldest first."""
    rows = np.zeros((move.shape[0], 0))
    for _ in range(frames):
        rows = np.hstack([move @ rows, put])
    return rows


def reference_rows(dim: int, frames: int, reference: int) -> np.ndarray:
    return np.eye(frames * dim)[(frames - reference) * dim :]


# --- R6: the floor --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.1])
@pytest.mark.parametrize("reference", [0, 1, 2])
@pytest.mark.parametrize("name", VIDEOS)
def test_floor_is_that_of_dense_canonical_correlations(
    name: str, reference: int, level: float
) -> None:
    """The textbook: eigenvalues of S_xx^-1 S_xz S_zz^-1 S_zx given R, past of 50 frames."""
    video, past, ahead = VIDEOS[name], 50, 4
    dim = video.dim
    covariance = noisy_covariance(video, past + ahead, level)
    rows = np.hstack(
        [reference_rows(dim, past, reference), np.zeros((reference * dim, ahead * dim))]
    )
    covariance = given_rows(covariance, rows)
    older = (past - reference) * dim
    floors = [
        recursive_memory_floor(video, b, reference=reference, level=level, horizon=ahead)
        for b in range(3)
    ]
    x = slice(0, older)
    for h in range(1, ahead + 1):
        z = slice(past * dim, (past + h) * dim)
        z_part = np.linalg.solve(covariance[z, z], covariance[z, x])
        x_part = np.linalg.solve(covariance[x, x], covariance[x, z])
        squared = np.sort(np.linalg.eigvals(z_part @ x_part).real)[::-1]
        for b, exact in enumerate(floors):
            dense = -0.5 / h * np.sum(np.log1p(-np.maximum(squared, 0.0))[b:])
            # .9^(2 past) is missing; the oracle's inverses lose cond(S) ~ 1e3 roundings
            assert exact.per_horizon[h - 1] == pytest.approx(dense, abs=2e-5, rel=1e-5)


@pytest.mark.parametrize("name", VIDEOS)
def test_finite_past_brackets_the_whole_past(name: str) -> None:
    video = VIDEOS[name]
    for b, reference, level in [(0, 0, 0.0), (1, 0, 0.1), (1, 1, 0.1), (2, 0, 0.0)]:
        whole = recursive_memory_floor(video, b, reference=reference, level=level, horizon=5)
        short = recursive_memory_floor(
            video, b, reference=reference, level=level, horizon=5, past=4
        )
        long = recursive_memory_floor(
            video, b, reference=reference, level=level, horizon=5, past=80
        )
        assert short.floor.lower <= whole.floor.upper
        assert whole.floor.lower <= short.floor.upper
        assert whole.per_horizon == pytest.approx(long.per_horizon, abs=1e-7)
        assert long.truncation < 1e-6
        assert whole.truncation == 0.0


@pytest.mark.parametrize("name", VIDEOS)
def test_floor_of_no_memory_is_the_window_bottleneck(name: str) -> None:
    video = VIDEOS[name]
    for reference in range(4):
        for level in (0.0, 0.05):
            window = window_memory_bottleneck(video, reference, level=level)
            assert window.truncation is not None
            floor = recursive_memory_floor(
                video, 0, reference=reference, level=level, horizon=1
            ).floor
            expected = window.values[0] + window.truncation
            error = floor.upper - floor.lower + window.error_bound[0] + 1e-14
            assert floor.value == pytest.approx(expected, abs=error)


def test_no_larger_horizon_gives_more_when_the_search_says_it_is_complete() -> None:
    for name, video in VIDEOS.items():
        for b in (1, 2):
            stopped = recursive_memory_floor(video, b)
            assert stopped.complete, name
            far = recursive_memory_floor(video, b, horizon=60)
            assert far.floor.value == stopped.floor.value
    # negative control: one frame ahead is not enough here
    short = recursive_memory_floor(VIDEOS["AR(3)"], 2, horizon=1)
    assert not short.complete
    assert short.floor.value == 0.0 < recursive_memory_floor(VIDEOS["AR(3)"], 2).floor.value


@settings(max_examples=50, deadline=None)
@given(world=worlds(), seed=st.integers(0, 2**32 - 1))
def test_average_over_h_frames_of_any_linear_recursion_is_at_least_the_floor(
    world: tuple[StateSpace, int, int, float], seed: int
) -> None:
    """R6 as stated: the recursion may change with time, and only the h-average is bounded."""
    video, b, reference, level = world
    rng = np.random.default_rng(seed)
    start, ahead, dim = 12, 5, video.dim
    covariance = noisy_covariance(video, start + ahead, level)
    rows = np.zeros((b, 0))
    losses = []
    for frame in range(start + ahead):
        if frame >= start:
            both = np.vstack([rows, reference_rows(dim, frame, reference)])
            losses.append(information(covariance, dim, frame, both))
        move = rng.standard_normal((b, b)) / np.sqrt(b)
        rows = np.hstack([move @ rows, rng.standard_normal((b, dim))])
    floor = recursive_memory_floor(
        video, b, reference=reference, level=level, horizon=ahead, past=start
    )
    average = np.cumsum(losses) / np.arange(1, ahead + 1)
    assert np.all(average >= floor.per_horizon - 1e-8)


# --- R6: one recursion and the best one -----------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.1])
@pytest.mark.parametrize("reference", [0, 1, 2])
@pytest.mark.parametrize("name", VIDEOS)
def test_stationary_bottleneck_is_dense_conditioning_at_large_k(
    name: str, reference: int, level: float
) -> None:
    video, frames = VIDEOS[name], 70
    dim = video.dim
    covariance = noisy_covariance(video, frames + 1, level)
    rng = np.random.default_rng(5)
    regular = rng.standard_normal((2, 2))
    regular *= 0.7 / np.abs(np.linalg.eigvals(regular)).max()
    put = rng.standard_normal((2, dim))
    for move in (regular, np.array([[0.6, 0.3], [0.0, 0.0]]), np.zeros((2, 2))):
        exact = recursive_memory_bottleneck(video, move, put, reference=reference, level=level)
        rows = np.vstack([memory_rows(move, put, frames), reference_rows(dim, frames, reference)])
        dense = information(covariance, dim, frames, rows)
        # .9^140 of the past is missing; the oracle subtracts log-determinants of order 1
        assert float(exact) == pytest.approx(dense, abs=1e-6 if name == "seasonal" else 1e-8)


def test_a_memory_that_repeats_itself_or_is_scaled_forgets_the_same() -> None:
    video = VIDEOS["state space"]
    move, put = np.array([[0.6]]), np.array([[1.0, -0.4]])
    for reference in (0, 1):
        once = recursive_memory_bottleneck(video, move, put, reference=reference)
        twice = recursive_memory_bottleneck(
            video, 0.6 * np.eye(2), np.vstack([put, 2 * put]), reference=reference
        )
        tiny = recursive_memory_bottleneck(video, move, 1e-9 * put, reference=reference)
        assert float(twice) == pytest.approx(float(once), rel=1e-9)
        assert float(tiny) == pytest.approx(float(once), rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(world=worlds())
def test_floor_is_at_most_the_best_recursion_found(
    world: tuple[StateSpace, int, int, float],
) -> None:
    video, b, reference, level = world
    result = best_recursive_memory(video, b, reference=reference, level=level, starts=1)
    assert result.floor.floor.lower <= result.best.upper
    assert result.best.lower <= result.without_memory.upper
    # what it reports is what its (F, H) does
    again = recursive_memory_bottleneck(
        video, result.transition, result.input, reference=reference, level=level
    )
    assert again.lower <= result.best.upper and result.best.lower <= again.upper
    if b == result.order:
        assert result.floor.floor.value == 0.0
        assert result.best.value <= 1e-12


@settings(max_examples=50, deadline=None)
@given(world=worlds(), seed=st.integers(0, 2**32 - 1))
def test_no_random_stable_recursion_undercuts_the_floor(
    world: tuple[StateSpace, int, int, float], seed: int
) -> None:
    video, b, reference, level = world
    rng = np.random.default_rng(seed)
    move = rng.standard_normal((b, b))
    move *= rng.uniform(0.0, 0.99) / np.abs(np.linalg.eigvals(move)).max()
    value = recursive_memory_bottleneck(
        video, move, rng.standard_normal((b, video.dim)), reference=reference, level=level
    )
    floor = recursive_memory_floor(video, b, reference=reference, level=level).floor
    assert value.upper >= floor.lower


@pytest.mark.parametrize("level", [0.0, 0.05])
@pytest.mark.parametrize("name", VIDEOS)
def test_both_vanish_at_the_order_of_a_minimal_realisation(name: str, level: float) -> None:
    video = VIDEOS[name]
    order = {"AR(3)": 3, "VAR(1)": 2, "state space": 4, "seasonal": 2}[name]
    result = best_recursive_memory(video, order, level=level)
    assert result.order == order
    assert result.floor.floor.value == 0.0
    assert 0.0 <= result.best.value < 1e-20
    larger = best_recursive_memory(video, order + 1, level=level)
    assert larger.best.value < 1e-12
    # negative control: one number less is not enough
    smaller = best_recursive_memory(video, order - 1, level=level, starts=1)
    assert smaller.floor.floor.lower > 1e-6
    if name == "VAR(1)" and level == 0.0:  # the last frame is the state: one look (F = 0) is best
        assert abs(smaller.gap) <= smaller.best.upper - smaller.best.lower
    else:
        assert smaller.gap > 0.0


def test_an_unobservable_or_repeated_state_does_not_count() -> None:
    kept = state_space(2, 1, 1)
    move = scipy.linalg.block_diag(kept.transition, 0.5 * np.eye(2))
    noise = scipy.linalg.block_diag(kept.state_noise, np.eye(2))
    emission = np.hstack([kept.emission, np.zeros((1, 2))])
    padded = StateSpace(move, emission, noise, kept.emission_noise)
    assert best_recursive_memory(padded, 2).order == 2
    small, large = recursive_memory_floor(kept, 1), recursive_memory_floor(padded, 1)
    assert large.floor.value == pytest.approx(small.floor.value, rel=1e-9)


def test_a_wrong_floor_is_refuted() -> None:
    """Negative control: leaving out one canonical correlation too few, i > b - 1."""
    refuted = 0
    for video in VIDEOS.values():
        result = best_recursive_memory(video, 1, starts=1)
        wrong = recursive_memory_floor(video, 0).floor
        refuted += wrong.lower > result.best.upper
        # and so is taking one horizon's total for its average
        floor = result.floor
        total = floor.per_horizon[-1] * floor.horizons[-1]
        refuted += total > result.best.upper and floor.horizons[-1] > 1
    assert refuted >= 6


def test_gradient_of_the_search() -> None:
    rng = np.random.default_rng(2)
    form = _innovations(VIDEOS["state space"], 0.05)
    assert form is not None
    for reference in (0, 2):
        problem = _Problem(form, reference, 2)
        for _ in range(3):
            point = 0.7 * rng.standard_normal(8)
            value, slope = problem.value(point)
            numeric = [
                (problem.value(point + 1e-5 * e)[0] - problem.value(point - 1e-5 * e)[0]) / 2e-5
                for e in np.eye(8)
            ]
            # central differences: 1e-10 of the third derivative and 1e-16 / 1e-5
            np.testing.assert_allclose(slope, numeric, atol=1e-8 + 1e-7 * np.abs(slope).max())
            move, put, _ = problem.recursion(point)
            direct = recursive_memory_bottleneck(
                VIDEOS["state space"], move, put, reference=reference, level=0.05
            )
            # the same memory in the video's own frames
            assert value == pytest.approx(float(direct), rel=1e-9)


def test_one_number_optimum_agrees_with_a_grid() -> None:
    """b = 1 of a scalar video has one free number, F (H only scales): search it exhaustively."""
    video = Autoregressive([0.5, 0.4], 0.3)
    result = best_recursive_memory(video, 1)

    def value(coefficient: float) -> float:
        return float(recursive_memory_bottleneck(video, [[coefficient]], [[1.0]]))

    grid = np.linspace(-0.95, 0.95, 20)
    best = grid[np.argmin([value(f) for f in grid])]
    found = scipy.optimize.minimize_scalar(value, bounds=(best - 0.1, best + 0.1), method="bounded")
    assert result.best.value == pytest.approx(found.fun, rel=1e-6)
    assert result.best.value <= found.fun + 1e-12


@pytest.mark.parametrize("reference", [0, 1])
def test_decomposition_of_the_best_recursion(reference: int) -> None:
    """M4: MB_k ≤ I(X_k; Past | m, R) ≤ MB_k + NIE_k at every late step, next-frame."""
    level = 0.05
    video = VIDEOS["state space"]
    for t_max in (0.6, 4.0):
        for b in (1, 2):
            result = best_recursive_memory(video, b, reference=reference, level=level, starts=1)
            schedule = Schedule.next_frame(t_max=t_max, t_min=level, substeps=2)
            generator = Generator(Exact(), reference=reference, memory=result.memory)
            rolled = decompose(video, schedule, generator, steps=80)
            late = rolled.mb_per_step[-5:]
            both = late + rolled.nie_per_step[-5:]
            slack = rolled.error_bound["mb"] + 1e-9
            assert np.all(late <= result.best.upper + slack)
            assert np.all(both >= result.best.lower - slack)
            assert np.all(both >= result.floor.floor.lower - slack)
        # negative control: without NIE the statement is false when t_max is small
        if t_max == 0.6:
            assert np.any(late < result.best.lower - slack)


def test_long_memory_and_returning_views_have_floors_too() -> None:
    floor = recursive_memory_floor(Arfima(0.4), 1, past=60)
    assert 0.0 < floor.floor.lower < floor.floor.upper
    assert floor.floor.upper - floor.floor.value >= floor.truncation > 0.0
    assert floor.order is None and not floor.complete
    more = recursive_memory_floor(Arfima(0.4), 1, past=240, horizon=floor.horizon)
    assert floor.floor.value <= more.floor.value <= floor.floor.upper
    panorama = Panorama([0, 2, 5, 2.5, 0, 1], dim=3, noise_variance=0.1)
    values = [recursive_memory_floor(panorama, b).floor.value for b in range(5)]
    assert values == sorted(values, reverse=True) and values[3] > 0.1
    assert recursive_memory_floor(panorama, 1).truncation == 0.0
    # the latent of a static video is one number
    assert recursive_memory_floor(StaticLatent(0.5), 0).floor.value > 0.5
    assert recursive_memory_floor(StaticLatent(0.5), 1).floor.value == 0.0


# --- the stated error bounds ----------------------------------------------------------------------


def in_fifty_digits(
    video: StateSpace, level: float, coefficient: float, horizon: int
) -> tuple[Any, list[Any]]:
    """(floor of b = 1 at this horizon, MB of m <- f m + x for r = 0, 1); 2 states, 1 pixel."""
    mp = pytest.importorskip("mpmath")
    with mp.workdps(50):
        move, process = mp.matrix(video.transition.tolist()), mp.matrix(video.state_noise.tolist())
        scale = mp.exp(-2 * mp.mpf(level))
        emission = mp.matrix(video.emission.tolist()) * mp.sqrt(scale)
        own = scale * mp.mpf(float(video.emission_noise[0, 0])) + 1 - scale

        def doubled(move: Any, total: Any) -> Any:
            for _ in range(40):
                total, move = total + move * total * move.T, move * move
            return total

        prior = doubled(move, process)
        change = mp.mpf(1)
        while change > mp.mpf(10) ** -40:
            innovation = (emission * prior * emission.T)[0] + own
            gain = move * prior * emission.T / innovation
            before = prior
            prior = move * prior * move.T + process - gain * gain.T * innovation
            change = mp.norm(prior - before)
        state = doubled(move, gain * gain.T * innovation)
        closed, power = move - gain * emission, mp.eye(2)
        seen = mp.zeros(2)
        for _ in range(horizon):
            row = emission * power
            seen, power = seen + row.T * row / innovation, closed * power
        product = state * seen
        half, det = (product[0, 0] + product[1, 1]) / 2, mp.det(product)
        floor = mp.log1p(half - mp.sqrt(half**2 - det)) / (2 * horizon)
        both = mp.matrix(3, 3)
        both[0:2, 0:2], both[2, 0:2] = move, emission
        both[2, 2] = mp.mpf(coefficient)
        source = mp.matrix([gain[0], gain[1], 1])
        total = doubled(both, source * source.T * innovation)
        cross = total[0:2, 2]
        left = total[0:2, 0:2] - cross * cross.T / total[2, 2]
        windowed = mp.inverse(mp.inverse(left) + emission.T * emission / innovation)
        windowed = closed * windowed * closed.T
        return floor, [
            mp.log1p((emission * spread * emission.T)[0] / innovation) / 2
            for spread in (left, windowed)
        ]


@pytest.mark.parametrize("radius", [0.5, 0.9, 0.99, 0.999])
def test_error_bounds_contain_the_truth(radius: float) -> None:
    for seed in range(2):
        video = state_space(2, 1, seed, radius)
        for level in (0.0, 0.05):
            horizon = recursive_memory_floor(video, 1, level=level).horizon
            floor = recursive_memory_floor(video, 1, level=level, horizon=horizon)
            exact_floor, exact_values = in_fifty_digits(video, level, 0.7, horizon)
            at_horizon = floor.floor
            assert at_horizon.lower <= exact_floor <= at_horizon.upper
            # and they are of use: the chain's memory is 1 / (1 - radius) frames
            assert at_horizon.upper - at_horizon.lower < 1e-10 / (1.0 - radius)
            for reference, exact in enumerate(exact_values):
                value = recursive_memory_bottleneck(
                    video, [[0.7]], [[1.0]], reference=reference, level=level
                )
                assert value.lower <= exact <= value.upper
                assert value.upper - value.lower < 1e-10 / (1.0 - radius) ** 1.5


# --- R6: rate-limited recursion -------------------------------------------------------------------


def test_one_state_program_is_the_closed_form() -> None:
    pytest.importorskip("cvxpy")
    for coefficient, rate in [(0.9, 0.3), (0.9, 2.0), (0.3, 0.7), (1.2, 0.5)]:
        closed = sequential_distortion([[coefficient]], [[0.19]], rate)
        program = _Program(np.array([[coefficient]]), np.array([[np.sqrt(0.19)]]), rate)
        solved = program.solve(np.eye(1))
        assert solved.distortion == pytest.approx(closed.distortion, rel=solved.tolerance)
        assert closed.distortion == pytest.approx(0.19 / (np.exp(2 * rate) - coefficient**2))


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_closed_form_of_the_scalar_bottleneck(level: float) -> None:
    """Least MB over (precision of a noisy look at the Kalman state), at the rate it costs."""
    video = Autoregressive([0.9], 0.19)
    form = _innovations(video, level)
    assert form is not None
    a, source = form.transition[0, 0], float((form.gain @ form.covariance @ form.gain.T)[0, 0])
    weight = float((form.seen.T @ form.seen)[0, 0])
    for rate in (0.1, 0.5, 2.0):
        result = rate_limited_memory(video, rate, level=level)

        def surplus(log_precision: float, rate: float = rate) -> float:
            prior = 1.0
            for _ in range(2000):
                posterior = 1.0 / (1.0 / prior + np.exp(log_precision))
                prior = a**2 * posterior + source
            return 0.5 * float(np.log(prior / posterior)) - rate

        precision = np.exp(scipy.optimize.brentq(surplus, -12.0, 12.0, xtol=1e-13))
        prior = 1.0
        for _ in range(2000):
            posterior = 1.0 / (1.0 / prior + precision)
            prior = a**2 * posterior + source
        assert result.bottleneck.value == pytest.approx(
            0.5 * np.log1p(weight * posterior), rel=1e-9
        )
        if level == 0.0:
            expected = -0.5 * np.log1p(-0.81 * np.exp(-2.0 * rate))
            assert result.bottleneck.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("levels", [2, 4])
def test_a_nonlinear_memory_obeys_the_scalar_closed_form(levels: int) -> None:
    """m_k = which of n cells (x_k + m_{k-1}'s offset) falls in: n values, so at most log n a frame.

    Its bottleneck h(x_{k+1} | m_k) - h(w) from densities on a grid, at the rate H(m_k | m_{k-1}).
    """
    grid = np.linspace(-6.0, 6.0, 601)
    step = grid[1] - grid[0]
    for coefficient in (0.5, 0.9):
        video = Autoregressive([coefficient], 1.0 - coefficient**2)
        kernel = np.exp(-0.5 * (grid[:, None] - coefficient * grid) ** 2 / video.noise_variance)
        kernel /= kernel.sum(axis=0)
        edges = np.linspace(-1.0, 1.0, levels + 1)[1:-1]
        cells = [np.digitize(grid - 0.2 * (m - 0.5 * (levels - 1)), edges) for m in range(levels)]
        joint = np.tile(np.exp(-0.5 * grid**2), (levels, 1))
        for _ in range(120):
            joint /= joint.sum()
            ahead = joint @ kernel.T  # (x_{k+1}, m_k)
            moves = np.array(
                [[ahead[i, cells[i] == j].sum() for j in range(levels)] for i in range(levels)]
            )
            joint = np.array(
                [
                    sum(np.where(cells[i] == j, ahead[i], 0.0) for i in range(levels))
                    for j in range(levels)
                ]
            )
        share = ahead.sum(axis=1)
        density = ahead / share[:, None] / step
        inside = np.where(density > 0.0, density * np.log(np.where(density > 0.0, density, 1.0)), 0)
        entropy = -step * float(share @ inside.sum(axis=1))
        noise = 0.5 * np.log(2.0 * np.pi * np.e * float(video.noise_variance[0, 0]))
        transitions = moves / moves.sum(axis=1, keepdims=True)
        logs = np.log(np.where(transitions > 0.0, transitions, 1.0))
        rate = -float(np.sum(moves * logs))
        assert rate <= np.log(levels) + 1e-12
        bottleneck = entropy - noise
        # the grid's cells blur the densities by about step² of the innovation's variance
        floor = rate_limited_memory(video, rate).bottleneck.lower
        assert bottleneck >= floor - step**2
        # negative control: at .3 of the rate the closed form is no floor
        assert bottleneck < rate_limited_memory(video, 0.3 * rate).bottleneck.lower


def test_no_rate_is_no_memory_and_much_rate_is_all_memory() -> None:
    video = VIDEOS["VAR(1)"]
    nothing = rate_limited_memory(video, 0.0)
    expected = recursive_memory_floor(video, 0, horizon=1).floor.value
    assert nothing.bottleneck.value == pytest.approx(expected, rel=1e-12)
    assert nothing.without_memory == pytest.approx(expected, rel=1e-12)
    assert rate_limited_memory(Autoregressive([0.9], 0.19), 20.0).bottleneck.value < 1e-16
    bits = rate_limited_memory(Autoregressive([0.9], 0.19), 1.0, unit="bits")
    nats = rate_limited_memory(Autoregressive([0.9], 0.19), np.log(2.0))
    assert bits.bottleneck.value == pytest.approx(nats.bottleneck.value / np.log(2.0))


def test_no_random_sensor_beats_the_program() -> None:
    """Any stationary noisy linear look y = E z + v is a memory; its rate cannot buy a lower error.

    Also encloses the bottleneck: lower end ≤ MB of every sensor at its rate.
    """
    pytest.importorskip("cvxpy")
    rng = np.random.default_rng(7)
    video = VIDEOS["VAR(1)"]
    form = _innovations(video, 0.0)
    assert form is not None
    source = form.gain @ form.covariance @ form.gain.T
    weight = form.seen.T @ form.seen
    for rows in (1, 2, 2):
        look = rng.standard_normal((rows, 2)) * rng.uniform(0.3, 2.0)
        prior = np.eye(2)
        for _ in range(3000):
            posterior = np.linalg.inv(np.linalg.inv(prior) + look.T @ look)
            prior = form.transition @ posterior @ form.transition.T + source
        rate = 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(posterior)[1])
        best = sequential_distortion(form.transition, source, rate, weight=weight)
        assert best.rate == pytest.approx(rate, abs=1e-6)
        achieved = np.trace(weight @ posterior)
        assert best.distortion <= achieved * (1.0 + best.tolerance)
        memory = rate_limited_memory(video, rate)
        bottleneck = 0.5 * np.log(np.linalg.det(np.eye(2) + form.seen @ posterior @ form.seen.T))
        assert memory.bottleneck.lower <= bottleneck + 1e-9
        floor = 0.5 * np.log1p(best.distortion)
        assert memory.bottleneck.lower == pytest.approx(floor, rel=1e-4)
        assert memory.bottleneck.lower < memory.bottleneck.value <= bottleneck + 1e-9
        assert memory.excess == pytest.approx(best.distortion, rel=1e-4)


def water_filling(move: np.ndarray, source: np.ndarray, distortion: float) -> tuple[Any, float]:
    """The refuted formula: at every frame fill water over the prior's eigenvalues."""
    posterior = np.eye(move.shape[0]) * distortion / move.shape[0]
    for _ in range(400):
        values, basis = np.linalg.eigh(move @ posterior @ move.T + source)

        def surplus(water: float, values: np.ndarray = values) -> float:
            return float(np.minimum(water, values).sum() - distortion)

        water = scipy.optimize.brentq(surplus, 0.0, values.max(), xtol=1e-14)
        posterior = (basis * np.minimum(water, values)) @ basis.T
    prior = move @ posterior @ move.T + source
    rate = 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(posterior)[1])
    return posterior, float(rate)


def test_water_filling_over_the_prior_is_not_optimal_for_vectors() -> None:
    """Same error, more nats; for a scalar the two agree (the control)."""
    pytest.importorskip("cvxpy")
    move, source = np.diag([0.9, 0.2]), np.eye(2)
    best = sequential_distortion(move, source, 0.8)
    posterior, rate = water_filling(move, source, best.distortion)
    assert np.trace(posterior) == pytest.approx(best.distortion, rel=1e-9)
    assert rate > best.rate + 0.01  # .8104 against .8000, solver accuracy 1e-6
    scalar = sequential_distortion([[0.9]], [[1.0]], 0.8)
    _, same = water_filling(np.array([[0.9]]), np.eye(1), scalar.distortion)
    assert same == pytest.approx(0.8, abs=1e-9)


def test_both_forms_of_the_program_agree() -> None:
    pytest.importorskip("cvxpy")
    source = np.diag([1.0, 0.1])
    singular = sequential_distortion([[0.9, 0.8], [0.0, 0.0]], source, 0.8)
    close = sequential_distortion([[0.9, 0.8], [0.0, 1e-3]], source, 0.8)
    assert close.distortion == pytest.approx(singular.distortion, rel=1e-3)
    move = np.array([[0.9, 0.3], [-0.1, 0.5]])
    thin = sequential_distortion(move, np.diag([1.0, 0.0]), 0.8)  # only the first form exists
    thick = sequential_distortion(move, np.diag([1.0, 1e-5]), 0.8)
    assert thick.distortion == pytest.approx(thin.distortion, rel=1e-3)
    with pytest.raises(ParameterError, match="invertible"):
        sequential_distortion([[0.9, 0.8], [0.0, 0.0]], np.diag([1.0, 0.0]), 0.8)
    with pytest.raises(RefusedError, match="unstable"):
        sequential_distortion(np.diag([2.0, 0.5]), np.eye(2), 0.5)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "cvxpy":
            raise ModuleNotFoundError("No module named 'cvxpy'")
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ParameterError, match=r"arvdm-theory\[sdp\]"):
        sequential_distortion(np.eye(2) * 0.5, np.eye(2), 0.5)
    assert rate_limited_memory(Autoregressive([0.9], 0.19), 0.5).method == "closed form"


# --- R5 in closed form ----------------------------------------------------------------------------

SCALAR = {
    "AR(1)": Autoregressive([0.9], 0.19),
    "AR(3)": VIDEOS["AR(3)"],
    "seasonal": VIDEOS["seasonal"],
    "state space": state_space(3, 1, 0, 0.85),
    "static latent": StaticLatent(0.5),
    "long memory": Arfima(0.3),
    "antipersistent": Arfima(-0.4),
}


@pytest.mark.parametrize("level", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("name", SCALAR)
def test_infinite_past_is_dense_conditioning_and_its_truncation(name: str, level: float) -> None:
    video, windows = SCALAR[name], [0, 1, 2, 5, 12]
    closed = scalar_window_memory(video, windows, level=level)
    dense = window_memory_bottleneck(video, windows, level=level, horizon=200)
    assert dense.truncation is not None
    error = closed.error_bound + dense.error_bound + 1e-12  # the dense truncation's quadrature
    assert np.all(np.abs(closed.values - dense.values - dense.truncation) <= error)
    assert np.all(closed.error_bound < 1e-10)


def test_stated_value_of_a_noisy_chain() -> None:
    result = scalar_window_memory(Autoregressive([0.9], 0.19), [1], level=0.05)
    assert round(float(result.values[0]), 4) == 0.0235


def test_partial_autocorrelations_of_long_memory() -> None:
    """Hosking's D/(j-D), returned in closed form, is what Durbin–Levinson gives."""
    for memory in (0.3, -0.4, 0.45):
        covariance = Arfima(memory).covariance(31)
        closed = partial_autocorrelations(Arfima(memory), 30)
        noisy = partial_autocorrelations(Shown(memory), 30)
        np.testing.assert_allclose(closed, memory / (np.arange(1, 31) - memory), rtol=1e-15)
        np.testing.assert_allclose(closed, noisy, atol=1e-13 * np.linalg.cond(covariance))


class Shown(GaussianVideo):
    """ARFIMA shown only by its autocovariance."""

    family, dim = "shown", 1

    def __init__(self, memory: float) -> None:
        self.hidden = Arfima(memory)

    def means(self, frames: int) -> np.ndarray:
        return np.zeros((frames, 1))

    def autocovariance(self, lags: int) -> np.ndarray:
        return self.hidden.autocovariance(lags)


def test_gamma_form_is_the_sum_over_partial_autocorrelations() -> None:
    for memory in (0.45, 0.1, -0.3):
        result = scalar_window_memory(Arfima(memory), range(60))
        lag = np.arange(1, 200_001)
        terms = -0.5 * np.log1p(-((memory / (lag - memory)) ** 2))
        beyond = memory**2 / (2 * (lag[-1] + 0.5 - memory))  # next order: relative 1/r²
        sums = np.cumsum(terms[::-1])[::-1][:60] + beyond
        np.testing.assert_allclose(result.values, sums, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    "memory, level, slope",
    [(0.3, 0.0, -1.0), (0.3, 0.2, -1.0), (-0.4, 0.0, -1.0), (-0.4, 0.2, -2.6)],
)
def test_power_law(memory: float, level: float, slope: float) -> None:
    """Log-log slope: -1 for clean frames; at a level, still -1 for D > 0, -1-4|D| for D < 0."""
    windows = np.array([200, 400, 800])
    result = scalar_window_memory(Arfima(memory), windows, level=level)
    measured = np.diff(np.log(result.values)) / np.diff(np.log(windows))
    # clean: MB = D²/(2(r + ½ - D)), slope -1 + (½ - D)/r; corrections r^{-2|D|} at a level
    tolerance = 0.05 if level else 1.0 / windows.min()
    np.testing.assert_allclose(measured, slope, atol=tolerance)
    if level == 0.0:
        assert result.leading is not None and result.closer is not None
        exact = result.values
        assert np.all(np.abs(result.closer - exact) < 1e-2 * np.abs(result.leading - exact))
        np.testing.assert_allclose(result.leading, exact, rtol=1.0 / windows.min())
    else:
        assert result.leading is None and result.closer is None


@settings(max_examples=50, deadline=None)
@given(world=worlds())
def test_spectrum_and_riccati_give_the_same_innovation(
    world: tuple[StateSpace, int, int, float],
) -> None:
    """Kolmogorov–Szegő (Wiener–Masani for vectors) against the Kalman filter."""
    video, _, _, level = world
    found = innovation_log_det(video, level=level)
    spectral, error = spectral_log_det(video, level)
    assert found.lower - error <= spectral <= found.upper + error
    assert error < 1e-9 and found.upper - found.lower < 1e-9


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-6, 1e-8])
def test_innovation_near_a_unit_root(distance: float) -> None:
    """V of a noisy AR(1) solves V + q a²/V = b, its spectral factorisation, in 40 digits."""
    video, level = Autoregressive([1.0 - distance], 2.0 * distance - distance**2), 0.05
    found = innovation_log_det(video, level=level)
    with mpmath.workdps(40):
        a = mpmath.mpf(1.0 - distance)
        shrink = mpmath.exp(-2 * mpmath.mpf(level))
        noise, own = 1 - shrink, shrink * mpmath.mpf(float(video.noise_variance[0, 0]))
        zeroth = own + noise * (1 + a * a)
        truth = mpmath.log((zeroth + mpmath.sqrt(zeroth**2 - 4 * (a * noise) ** 2)) / 2)
        miss = max(found.lower - truth, truth - found.upper)
        total = (mpmath.log(noise + own / (1 - a * a)) - truth) / 2
        window = scalar_window_memory(video, 0, level=level)
        assert abs(window.values[0] - total) <= window.error_bound[0]
    assert miss <= 0.0
    assert found.upper - found.lower < 1e-9 / np.sqrt(distance)
    if distance == 1e-8:  # where trapezoids on 2^16 frequencies do not reach
        assert abs(spectral_log_det(video, level)[0] - float(truth)) > 1e-9


def test_a_zero_of_the_spectrum_is_left_to_the_integral() -> None:
    """x_k = e_k - e_{k-1}: V = 1, and no Kalman filter settles."""
    video = StateSpace([[0.0]], [[-1.0]], 1.0, 0.0)
    difference = StateSpace([[0.0, 0.0], [1.0, 0.0]], [[1.0, -1.0]], np.diag([1.0, 0.0]))
    assert innovation_log_det(video).value == 0.0
    found = innovation_log_det(difference)
    assert found.lower <= 0.0 <= found.upper
    assert found.upper - found.lower < 1e-3


def test_long_memory_integral_at_a_level() -> None:
    """Against the midpoint rule, whose error the cusp at 0 makes h^{1+2|D|}."""
    for memory in (0.3, -0.4):
        omega = (np.arange(400_000) + 0.5) * np.pi / 400_000
        spectrum = np.exp(-0.2) * (2 * np.sin(omega / 2)) ** (-2 * memory) - np.expm1(-0.2)
        grid = np.mean(np.log(spectrum))
        assert innovation_log_det(Arfima(memory), level=0.1).value == pytest.approx(grid, abs=2e-6)
    assert innovation_log_det(Arfima([0.3, -0.2], 2.0)).value == pytest.approx(2 * np.log(2.0))


# --- refusals and descriptions --------------------------------------------------------------------


def test_refusals() -> None:
    video = Autoregressive([0.5, 0.4], 0.3)
    with pytest.raises(ParameterError, match="size must be an integer of at least 0"):
        recursive_memory_floor(video, -1)
    with pytest.raises(ParameterError, match="unit must be one of nats, bits"):
        recursive_memory_floor(video, 1, unit="hartleys")
    with pytest.raises(ParameterError, match="level must be a finite OU time"):
        recursive_memory_floor(video, 1, level=-0.1)
    with pytest.raises(ParameterError, match="reference must be at most past"):
        recursive_memory_floor(video, 1, reference=5, past=3)
    started = Autoregressive([1.02], 1.0, initial={"covariance": [[1.0]]})
    with pytest.raises(ParameterError, match="past must be given"):
        recursive_memory_floor(started, 1)
    assert recursive_memory_floor(started, 1, past=8, horizon=3).floor.value < 1e-9
    with pytest.raises(RefusedError, match="level above 0"):
        recursive_memory_floor(ExplicitCovariance(np.ones((6, 6))), 1)
    degenerate = StateSpace([[0.9]], [[1.0], [0.5]], 0.19)
    with pytest.raises(RefusedError, match="no variance"):
        recursive_memory_floor(degenerate, 1)
    assert recursive_memory_floor(degenerate, 1, level=0.05).floor.value == 0.0
    with pytest.raises(UnstableError, match="spectral radius"):
        recursive_memory_bottleneck(video, [[1.0]], [[1.0]])
    with pytest.raises(ParameterError, match="input must be of shape"):
        recursive_memory_bottleneck(video, [[0.5]], [[1.0, 2.0]])
    with pytest.raises(RefusedError, match="static latent"):
        best_recursive_memory(StaticLatent(0.5), 1)
    with pytest.raises(ParameterError, match="finite state"):
        best_recursive_memory(Arfima(0.3), 1)
    with pytest.raises(ParameterError, match="rate must be"):
        rate_limited_memory(video, -1.0)
    with pytest.raises(RefusedError, match="unstable"):
        sequential_distortion([[2.0]], [[1.0]], 0.5)
    with pytest.raises(ParameterError, match=r"video.dim must be 1"):
        scalar_window_memory(VIDEOS["VAR(1)"], 1)
    with pytest.raises(ParameterError, match="stationary"):
        partial_autocorrelations(started, 3)
    with pytest.raises(RefusedError, match="determined"):
        partial_autocorrelations(StaticLatent(0.0), 3)
    with pytest.raises(RefusedError, match="no variance"):
        innovation_log_det(degenerate)


def test_results_describe_themselves() -> None:
    video = Autoregressive([0.5, 0.4], 0.3)
    best = best_recursive_memory(video, 1, unit="bits")
    nats = best_recursive_memory(video, 1)
    assert best.best.value == pytest.approx(nats.best.value / np.log(2.0), rel=1e-9)
    assert best.floor.floor.value == pytest.approx(nats.floor.floor.value / np.log(2.0))
    for result in (
        best,
        best.floor,
        rate_limited_memory(Autoregressive([0.9], 0.19), 0.5),
        scalar_window_memory(Arfima(0.3), [0, 1, 5]),
    ):
        text = json.dumps(result.to_json(), allow_nan=False)
        assert "theorems" in text
        assert repr(result).startswith(type(result).__name__)
    white = StateSpace([[0.5]], [[0.0]], 1.0, 1.0)
    assert best_recursive_memory(white, 1).best.value == 0.0
    assert rate_limited_memory(white, 1.0).bottleneck.value == 0.0


# --- memories that forget altogether --------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-7])
@pytest.mark.parametrize(
    ("transition", "input"),
    [
        ([[0.0, 0.0], [1.0, 0.0]], [[1.0], [0.0]]),
        ([[0.0, 0.0], [1.0, 0.0]], [[1.0], [0.5]]),
        ([[0.0, 0.0, 0.0], [0.7, 0.0, 0.0], [0.2, 0.4, 0.0]], [[1.0], [0.3], [0.1]]),
        ([[0.5, 0.0], [0.5, 0.0]], [[1.0], [0.4]]),
    ],
)
def test_a_singular_recursion_beside_references_keeps_only_what_its_powers_keep(
    transition: list[list[float]], input: list[list[float]], scale: float
) -> None:
    """F^r = 0 holds nothing of the past beyond the references; in whitened coordinates it did."""
    video = Autoregressive([0.5, 0.2, 0.2], 1.0)
    units = np.diag(scale ** np.arange(len(transition)))
    move = units @ np.array(transition) @ np.linalg.inv(units)
    given = units @ np.array(input)
    for reference in (1, 2, 3):
        found = recursive_memory_bottleneck(video, move, given, reference=reference)
        held = RecursiveMemory(move, given)
        dense = memory_bottleneck_of(video, reference=reference, memory=held, horizon=90)
        assert float(found) == pytest.approx(float(dense), abs=1e-9)
        assert found.lower <= dense.upper and dense.lower <= found.upper
    nothing = recursive_memory_bottleneck(
        video, [[0.0, 0.0], [1.0, 0.0]], [[1.0], [0.0]], reference=2
    )
    assert float(nothing) == pytest.approx(0.020411, abs=1e-6)
