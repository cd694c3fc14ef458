"""Error accumulation: every bound on random worlds, every closed form by a second way."""

from __future__ import annotations

import json
import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import testing
from arvdm_theory._gaussian import gaussian_kl, half_excess
from arvdm_theory.accumulation import (
    clip_accumulation,
    dobrushin_coefficient,
    drift_bound,
    drifting_chain,
    eigenvector_drift,
    geometric_sum,
    memory_trade_off,
    saturation,
    sequence_kl,
    smoothed_kl,
    total_variation_saturation,
)
from arvdm_theory.decomposition import decompose
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, RefusedError
from arvdm_theory.generator import (
    Biased,
    Generator,
    LinearMemory,
    RecursiveMemory,
    Scaled,
    generated_law,
    resolve,
    sample,
)
from arvdm_theory.memory import window_memory_bottleneck
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import Autoregressive, Seasonal, StaticLatent

NEXT = Schedule.next_frame(t_max=4.0, t_min=0.05, substeps=12)


def joint_kl(p: tuple[Any, Any], q: tuple[Any, Any]) -> float:
    """Dense KL of two Gaussian laws, the textbook way."""
    inverse = np.linalg.inv(q[1])
    shift = np.asarray(p[0]) - np.asarray(q[0])
    _, log_p = np.linalg.slogdet(p[1])
    _, log_q = np.linalg.slogdet(q[1])
    ratio = np.trace(inverse @ p[1]) - len(shift)
    return float(0.5 * (ratio + shift @ inverse @ shift + log_q - log_p))


# E1


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_e1_the_terms_add_up_to_the_joint_kl(data: st.DataObject) -> None:
    dim, frames = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    size = dim * frames
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    p, q = (
        (rng.standard_normal(size), data.draw(testing.covariances(size, 100.0))) for _ in range(2)
    )
    result = sequence_kl(p, q, dim=dim)
    assert result.per_frame.size == frames and np.all(result.per_frame >= 0.0)
    assert abs(result.total - joint_kl(p, q)) <= 1e-9 * (1.0 + result.total)
    # the law of the first frames is the sum of their terms
    first = (frames + 1) // 2 * dim
    start = joint_kl((p[0][:first], p[1][:first, :first]), (q[0][:first], q[1][:first, :first]))
    assert math.isclose(result.per_frame[: first // dim].sum(), start, rel_tol=1e-8, abs_tol=1e-9)


def test_e1_is_the_output_kl_of_a_generator() -> None:
    video, generator = Autoregressive([0.6, 0.3], 0.4), Generator(Biased(0.1), reference=1)
    world = resolve(video, NEXT, generator, 7)
    mean, covariance = generated_law(world)
    alpha, variance = math.exp(-0.05), -math.expm1(-0.1)
    truth = alpha**2 * video.covariance(7) + variance * np.eye(7)
    result = sequence_kl((np.zeros(7), truth), (mean, covariance))
    expected = decompose(video, NEXT, generator, steps=7).output_per_step
    np.testing.assert_allclose(result.per_frame, expected, rtol=1e-9)


def test_e1_keeps_the_digits_of_a_small_kl() -> None:
    walk = np.minimum.outer(np.arange(1.0, 7.0), np.arange(1.0, 7.0))
    for change in (1e-3, 1e-6):
        result = sequence_kl((np.zeros(6), (1.0 + change) * walk), (np.zeros(6), walk))
        exact = 6 * float(half_excess(np.asarray(change)))
        assert math.isclose(result.total, exact, rel_tol=1e-6 if change < 1e-5 else 1e-9)
        assert abs(result.total - exact) <= result.error_bound
    assert "SequenceDivergence" in repr(result) and json.dumps(result.to_json())


def test_e1_refuses_what_is_not_a_law() -> None:
    eye = np.eye(2)
    with pytest.raises(ParameterError, match="pair"):
        sequence_kl(3, (np.zeros(2), eye))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="model must be a law of 2 numbers"):
        sequence_kl((np.zeros(2), eye), (np.zeros(1), np.eye(1)))
    with pytest.raises(ParameterError, match="N dim"):
        sequence_kl((np.zeros(2), eye), (np.zeros(2), eye), dim=3)
    with pytest.raises(NotPositiveDefiniteError):
        sequence_kl((np.zeros(2), eye), (np.zeros(2), -eye))


# E2


def test_e2_numbers() -> None:
    chain = drifting_chain(0.01, [1, 5000])
    assert chain.clip[1] == pytest.approx(49.596, abs=5e-4)
    assert chain.theorem_b[1] == pytest.approx(50.251, abs=5e-4)
    assert "0.987" in repr(chain) and json.dumps(chain.to_json())


@pytest.mark.parametrize("eta", [1e-6, 0.01, 0.3, 0.99])
def test_e2_is_the_kl_of_the_two_variances(eta: float) -> None:
    """Against the variance recursion, in 60 digits."""
    steps = [1, 2, 7, 60]
    result = drifting_chain(eta, steps)
    with mpmath.workdps(60):
        a, b = 1 - mpmath.mpf(eta), 1 + mpmath.mpf(eta)
        start = 1 / (1 - a * a)
        p = q = start
        for k in range(1, 61):
            p, q = a * a * p + 1, b * b * q + 1
            if k in steps:
                exact = (p / q - 1 - mpmath.log(p / q)) / 2
                i = steps.index(k)
                assert abs(result.clip[i] - exact) <= result.error_bound[i]
                assert abs(result.clip[i] / exact - 1) < 1e-11


def test_e2_asymptote_and_ratio() -> None:
    for eta in (1e-4, 0.1, 0.5):
        chain = drifting_chain(eta, [10**6])
        assert chain.clip[0] == pytest.approx(chain.asymptote[0], rel=1e-12)
        assert chain.ratio[0] == pytest.approx(chain.limit_ratio, rel=1e-2)
        assert chain.limit_ratio < 1.0
    # O(1) → ½ (log 2 − 1) as η → 0, Kη → ∞, and the ratio → 1
    chain = drifting_chain(1e-5, [10**7])
    rest = chain.clip[0] - 1e7 * math.log1p(1e-5)
    assert rest == pytest.approx(0.5 * (math.log(2.0) - 1.0), abs=1e-5)
    assert 0.99 < chain.ratio[0] < 1.0


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-8, 0.999), st.integers(1, 10**6))
def test_e2_obeys_theorem_b(eta: float, steps: int) -> None:
    chain = drifting_chain(eta, [steps, steps + 1])
    assert np.all(chain.clip > 0.0) and np.all(np.isfinite(chain.clip))
    assert np.all(chain.clip <= chain.theorem_b + chain.error_bound)
    assert chain.clip[1] >= chain.clip[0] - chain.error_bound.sum()


def test_e2_refusals() -> None:
    for eta in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ParameterError, match=r"eta must be in \(0, 1\)"):
            drifting_chain(eta, 3)
    with pytest.raises(ParameterError, match="at least one"):
        drifting_chain(0.1, [])


# E3


@settings(max_examples=60, deadline=None)
@given(st.floats(-1.4, 1.4), st.integers(0, 60))
def test_geometric_sums(ratio: float, steps: int) -> None:
    direct = math.fsum(ratio**k for k in range(steps))
    scale = math.fsum(abs(ratio) ** k for k in range(steps))
    assert abs(geometric_sum(ratio, steps) - direct) <= 1e-12 * (1.0 + scale)


def test_geometric_sum_near_one_and_far() -> None:
    for gap in (1e-17, 1e-15, -1e-13, 1e-9):
        exact = mpmath.fsum((1 + mpmath.mpf(gap)) ** k for k in range(1000))
        assert geometric_sum(1.0 + gap, 1000) == pytest.approx(float(exact), rel=1e-12)
    assert geometric_sum(1.1, 10**6) == math.inf
    assert saturation(0.0, 1.1, 10**6) == 0.0


def scalar_chain(data: st.DataObject) -> dict[str, Any]:
    """A scalar truth and model, equal starts, and their exact laws and one-step errors."""
    draw = data.draw
    a_p, a_q = draw(st.floats(-0.95, 1.05)), draw(st.floats(-1.1, 1.1))
    b_p, b_q = draw(st.floats(-1.0, 1.0)), draw(st.floats(-1.0, 1.0))
    v_p, v_q = draw(st.floats(0.05, 2.0)), draw(st.floats(0.05, 2.0))
    steps = draw(st.integers(1, 25))
    start = draw(st.sampled_from([0.0, 0.5]))
    p, q = [(0.3, start)], [(0.3, start)]
    for _ in range(steps):
        p.append((a_p * p[-1][0] + b_p, a_p**2 * p[-1][1] + v_p))
        q.append((a_q * q[-1][0] + b_q, a_q**2 * q[-1][1] + v_q))
    errors, local = [], []
    for mean, variance in p[:-1]:
        moved = (a_p - a_q) ** 2 * variance + ((a_p - a_q) * mean + b_p - b_q) ** 2
        errors.append(math.sqrt(moved + (math.sqrt(v_p) - math.sqrt(v_q)) ** 2))
        local.append(0.5 * moved / v_q)
    spread = float(half_excess(np.asarray(v_p / v_q - 1.0)))
    return {"p": p, "q": q, "errors": errors, "local": local, "spread": spread, "a": a_q, "v": v_q}


def scalar_w2(p: tuple[float, float], q: tuple[float, float]) -> float:
    return math.hypot(p[0] - q[0], math.sqrt(p[1]) - math.sqrt(q[1]))


def scalar_kl(p: tuple[float, float], q: tuple[float, float]) -> float:
    return float(half_excess(np.asarray(p[1] / q[1] - 1.0))) + 0.5 * (p[0] - q[0]) ** 2 / q[1]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_e3_bounds_the_distance_and_the_kl(data: st.DataObject) -> None:
    chain = scalar_chain(data)
    steps, lipschitz = len(chain["errors"]), abs(chain["a"])
    error = max(chain["errors"])
    bound = saturation(error, lipschitz, steps)
    assert scalar_w2(chain["p"][-1], chain["q"][-1]) <= bound * (1.0 + 1e-9) + 1e-12
    before = saturation(error, lipschitz, steps - 1)
    upper = smoothed_kl(
        before,
        chain["v"],
        lipschitz=lipschitz,
        local_mean=chain["local"][-1],
        local_spread=chain["spread"],
    )
    assert scalar_kl(chain["p"][-1], chain["q"][-1]) <= upper * (1.0 + 1e-9) + 1e-12


def test_e3_without_the_cross_term_is_false() -> None:
    """Negative control: two points apart by W = 1, a bias of 1 in the same direction, noise 1."""
    exact = scalar_kl((0.0, 1.0), (2.0, 1.0))
    plain_sum = 0.5 * 1.0**2 + 0.5 * 1.0**2
    assert exact == 2.0 > plain_sum
    assert smoothed_kl(1.0, 1.0, local_mean=0.5) == exact


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 30))
def test_e3_in_total_variation_for_finite_kernels(seed: int, size: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    truth, model = (rng.dirichlet(np.full(size, 0.5), size) for _ in range(2))
    model = 0.7 * truth + 0.3 * model
    p = q = rng.dirichlet(np.ones(size))
    error = 0.0
    for _ in range(steps):
        error = max(error, float(p @ (0.5 * np.abs(truth - model).sum(axis=1))))
        p, q = p @ truth, q @ model
    distance = 0.5 * np.abs(p - q).sum()
    assert distance <= total_variation_saturation(error, model, steps) + 1e-12
    # the coefficient contracts every pair of laws
    one, other = rng.dirichlet(np.ones(size), 2)
    shrunk = 0.5 * np.abs((one - other) @ model).sum()
    assert shrunk <= dobrushin_coefficient(model) * 0.5 * np.abs(one - other).sum() + 1e-12


def test_e3_refuses_total_variation_of_gaussian_kernels() -> None:
    for kernel in (Autoregressive([0.5], 1.0), Generator()):
        with pytest.raises(RefusedError, match="vacuous"):
            total_variation_saturation(0.1, kernel, 5)
    with pytest.raises(ParameterError, match="rows that sum to 1"):
        dobrushin_coefficient([[0.5, 0.4], [0.5, 0.5]])
    with pytest.raises(ParameterError, match="non-negative"):
        dobrushin_coefficient([[1.5, -0.5], [0.5, 0.5]])
    with pytest.raises(ParameterError, match="square"):
        dobrushin_coefficient([[0.5, 0.5]])
    with pytest.raises(ParameterError, match="at most 1"):
        total_variation_saturation(1.1, [[1.0]], 5)
    with pytest.raises(ParameterError, match="error must be a finite number of at least 0"):
        saturation(-1.0, 0.5, 3)
    with pytest.raises(ParameterError, match="smoothing"):
        smoothed_kl(1.0, 0.0)


# E4


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_e4_is_below_the_exact_kl(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    p, q = (data.draw(testing.covariances(size, 100.0)) for _ in range(2))
    mean_p, mean_q = rng.standard_normal((2, size))
    exact = float(gaussian_kl(p, q, p - q, mean_p - mean_q))
    best = drift_bound(mean_p, mean_q, q)
    assert best.value <= exact * (1.0 + 1e-12)
    # no other functional is better
    u = rng.standard_normal(size)
    assert 0.5 * (u @ (mean_p - mean_q)) ** 2 / (u @ q @ u) <= best.upper * (1.0 + 1e-12)
    # equality where only the mean drifts
    same = float(gaussian_kl(q, q, 0.0 * q, mean_p - mean_q))
    assert best.lower * (1.0 - 1e-12) <= same <= best.upper * (1.0 + 1e-12)


def drifted(transition: np.ndarray, bias: np.ndarray, noise: np.ndarray, steps: int) -> Any:
    """Mean and covariance of the model after `steps` steps from the truth's start at zero."""
    mean, covariance = np.zeros(len(bias)), np.zeros_like(noise)
    for _ in range(steps):
        mean = transition @ mean + bias
        covariance = transition @ covariance @ transition.T + noise
    return mean, covariance


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_e4_along_left_eigenvectors(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size, steps = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 30))
    values = rng.uniform(-1.0, 1.05, size)
    values[0] = data.draw(st.sampled_from([1.0, 0.9, -0.5, 1.0 + 1e-9]))
    basis = rng.standard_normal((size, size)) + 2.0 * np.eye(size)
    transition = basis @ np.diag(values) @ np.linalg.inv(basis)
    left = np.linalg.inv(basis)
    noise, bias = data.draw(testing.covariances(size, 30.0)), rng.standard_normal(size)
    mean, covariance = drifted(transition, bias, noise, steps)
    exact = 0.5 * float(mean @ np.linalg.solve(covariance, mean))  # the truth has no bias
    for value, u in zip(values, left, strict=True):
        bound = eigenvector_drift(float(u @ bias), float(value), steps, float(u @ covariance @ u))
        assert bound.value <= exact * (1.0 + 1e-7) + 1e-12
        direct = 0.5 * float(u @ mean) ** 2 / float(u @ covariance @ u)
        assert bound.value == pytest.approx(direct, rel=1e-5, abs=1e-9)


def test_e4_with_a_right_eigenvector_is_false() -> None:
    """Negative control: a bias that the left eigenvector hardly sees, and the right one does."""
    transition = np.array([[0.9, 1.0], [0.0, 0.0]])
    bias, noise, steps = np.array([-1.0, 1.0]), np.eye(2), 20
    mean, covariance = drifted(transition, bias, noise, steps)
    exact = 0.5 * float(mean @ np.linalg.solve(covariance, mean))

    def bound(u: np.ndarray) -> float:
        return eigenvector_drift(float(u @ bias), 0.9, steps, float(u @ covariance @ u)).value

    left, right = np.array([0.9, 1.0]), np.array([1.0, 0.0])
    np.testing.assert_allclose(left @ transition, 0.9 * left)
    np.testing.assert_allclose(transition @ right, 0.9 * right)
    assert bound(left) <= exact < bound(right)


def test_e4_on_samples() -> None:
    """Monte Carlo: the sampled drift over its sampled variance, within 5 standard errors."""
    video, generator = Autoregressive([0.9], 0.19), Generator(Biased(0.1), reference=1)
    drawn = sample(video, NEXT, generator, 20000, steps=10, seed=3)[:, :, 0]
    result = clip_accumulation(video, NEXT, generator, steps=10)
    estimate = drawn.mean(axis=0) ** 2 / (2.0 * drawn.var(axis=0))
    error = np.abs(drawn.mean(axis=0)) / drawn.std(axis=0) / math.sqrt(20000.0)
    assert np.all(np.abs(estimate - result.drift) <= 5.0 * error + 25.0 / 20000)


def test_e4_refusals() -> None:
    with pytest.raises(ParameterError, match="variance"):
        eigenvector_drift(0.1, 0.9, 3, 0.0)
    with pytest.raises(ParameterError, match="truth mean"):
        drift_bound([0.0], [0.0, 1.0], np.eye(2))
    assert eigenvector_drift(0.1, 2.0, 10**6, 1.0).reason is not None
    assert eigenvector_drift(0.0, 2.0, 10**6, 1.0).value == 0.0


# E5


def test_e5_memory_bottleneck_equals_dense_conditioning() -> None:
    lengths = [0, 1, 3, 8]
    for level in (0.0, 0.3):
        result = memory_trade_off(lengths, 0.5, 0.1, frame=12, latent_variance=2.0, level=level)
        video = StaticLatent(0.5, latent_variance=2.0)
        dense = window_memory_bottleneck(video, lengths, level=level, horizon=11)
        np.testing.assert_allclose(result.memory_bottleneck, dense.values, rtol=1e-10)


def test_e5_against_the_decomposition() -> None:
    """M4: I(X; past | R) is MB and a share of NIE."""
    s, delta, steps = 0.5, 0.02, 9
    schedule = Schedule.next_frame(t_max=9.0, t_min=delta, substeps=24)
    for r in (0, 1, 3):
        generator = Generator(Biased(0.05), reference=r)
        terms = decompose(StaticLatent(s), schedule, generator, steps=steps)
        for k in range(r + 1, steps + 1):
            floor = memory_trade_off(r, s, 0.0, frame=k, level=delta)
            mb = terms.mb_per_step[k - 1]
            assert mb - 1e-12 <= floor.memory_bottleneck[0]
            assert floor.memory_bottleneck[0] <= mb + terms.nie_per_step[k - 1] + 1e-12


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 5.0), st.floats(-1.0, 1.0), st.integers(2, 25), st.sampled_from([0.0, 0.2]))
def test_e5_bias_and_drift_by_dense_conditioning(
    s: float, mu: float, frame: int, level: float
) -> None:
    video = StaticLatent(s, latent_variance=1.5)
    scale = math.exp(-2.0 * level)
    truth = scale * video.covariance(frame) - math.expm1(-2.0 * level) * np.eye(frame)
    lengths = [0, 1, 3, frame]
    result = memory_trade_off(lengths, s, mu, frame=frame, latent_variance=1.5, level=level)
    for r, bias, drift in zip(lengths, result.bias, result.drift, strict=True):
        mean, covariance = np.zeros(frame), np.zeros((frame, frame))
        for k in range(frame):
            seen = np.arange(max(k - r, 0), k)
            gain = np.linalg.solve(truth[np.ix_(seen, seen)], truth[seen, k])
            mean[k] = gain @ mean[seen] + mu
            row = gain @ covariance[seen, :k]
            covariance[k, :k] = covariance[:k, k] = row
            covariance[k, k] = gain @ row[seen] + truth[k, k] - gain @ truth[seen, k]
        assert bias == pytest.approx(mean[-1], rel=1e-8, abs=1e-14)
        exact = scalar_kl((0.0, truth[-1, -1]), (mean[-1], covariance[-1, -1]))
        assert drift == pytest.approx(exact, rel=1e-8, abs=1e-14)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 5.0), st.floats(0.01, 1.0), st.integers(2, 40))
def test_e5_is_a_trade_off(s: float, mu: float, frame: int) -> None:
    result = memory_trade_off(range(frame), s, mu, frame=frame)
    assert np.all(np.diff(result.memory_bottleneck) < 0.0) and result.memory_bottleneck[-1] == 0.0
    assert np.all(np.diff(result.asymptotic_bias) > 0.0)
    assert np.all(result.bias <= result.asymptotic_bias * (1.0 + 1e-12))


def test_e5_the_bias_after_finitely_many_frames_is_not_monotone() -> None:
    """Negative control: only the asymptotic bias grows with r at every r."""
    bias = memory_trade_off([2, 3], 1.0, 1.0, frame=4).bias
    assert bias[1] < bias[0]


def test_e5_reaches_its_asymptote_and_reports() -> None:
    result = memory_trade_off([1, 4], 0.5, 0.1, frame=3000)
    np.testing.assert_allclose(result.bias, result.asymptotic_bias, rtol=1e-9)
    np.testing.assert_allclose(result.asymptotic_bias, [0.3, 0.9], rtol=1e-12)
    assert "r=4" in repr(result) and json.dumps(result.to_json())
    with pytest.raises(ParameterError, match="noise_variance"):
        memory_trade_off(1, 0.0, 0.1, frame=3)
    with pytest.raises(ParameterError, match="window_lengths"):
        memory_trade_off([], 1.0, 0.1, frame=3)


# The two-sided answer


@settings(max_examples=30, deadline=None)
@given(testing.worlds(max_window=4))
def test_two_sided_answer_on_random_worlds(world: testing.World) -> None:
    steps = world.schedule.roll_out(frames=world.frames).steps
    result = clip_accumulation(world.video, world.schedule, world.generator, steps=steps)
    terms = decompose(world.video, world.schedule, world.generator, steps=steps)
    if terms.clip_per_step is not None:
        allowed = result.error_bound + terms.error_bound["clip"]
        assert np.all(np.abs(result.clip - terms.clip_per_step) <= allowed)
    known = ~np.isnan(result.clip)
    clip, slack = result.clip[known], result.error_bound[known]
    assert np.all(result.drift[known] <= clip + slack)
    assert np.all(result.marginal[known] <= clip + slack)
    if result.theorem_b is None:
        assert result.refused["theorem_b"]
    else:
        assert np.all(clip <= result.theorem_b[known] + slack + result.theorem_b_error)
    if result.saturated is None:
        assert result.refused["saturated"]
    else:
        assert np.all(clip <= result.saturated[known] * (1.0 + 1e-9) + slack)
    json.dumps(result.to_json("bits"), allow_nan=False)


LONG = {
    "window of references": (
        Seasonal(6.0, 0.9, 1.0, 0.1, 1),
        NEXT,
        Generator(Biased(0.05), reference=3),
    ),
    "recursive memory": (
        Autoregressive([0.5, 0.3], 0.3),
        Schedule.chunk(2, t_max=4.0, t_min=0.05, substeps=8),
        Generator(Scaled(0.97), reference=1, memory=RecursiveMemory([[0.5]], [[0.4]])),
    ),
    "partly denoised window": (
        Autoregressive([0.8], 0.36),
        Schedule.fifo(3, t_max=3.0, t_min=0.05, substeps=6),
        Generator(Scaled(1.02), initialisation=4),
    ),
    "re-noised context": (
        Autoregressive([0.5, 0.3], 0.3),
        Schedule.next_frame(
            t_max=4.0, t_min=0.05, substeps=8, context_noise="noise", context_level=0.2
        ),
        Generator(Biased(0.05), reference=3),
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_long_roll_outs_reach_their_limit(name: str) -> None:
    video, schedule, generator = LONG[name]
    result = clip_accumulation(video, schedule, generator, steps=90)
    expected = decompose(video, schedule, generator, steps=90).clip_per_step
    np.testing.assert_allclose(result.clip, expected, rtol=1e-9)
    assert result.growth == "stable"
    assert result.limit is not None and result.saturated_limit is not None
    assert result.clip[-1] == pytest.approx(result.limit.value, rel=1e-6)
    slack = result.error_bound
    assert np.all(result.lower <= result.clip + slack)
    assert np.all(result.clip <= result.upper + slack)
    assert result.limit.value <= result.saturated_limit
    assert np.all(result.saturated[np.isfinite(result.saturated)] <= result.saturated_limit)
    # the horizon is where the line crosses the level, also if it lies farther ahead
    assert result.horizon is not None and result.theorem_b is not None
    shorter = clip_accumulation(video, schedule, generator, steps=60)
    line = decompose(video, schedule, generator, steps=max(result.horizon, 2)).theorem_b_per_step
    assert line is not None and line[result.horizon - 1] > result.saturated_limit
    assert result.horizon == 1 or line[result.horizon - 2] <= result.saturated_limit
    assert shorter.horizon == result.horizon


def drifting_world(truth: float, belief: float) -> tuple[Any, Any, Any]:
    from arvdm_theory.generator import Misspecified

    start = {"mean": [0.0], "covariance": [[1.0]]}
    video = Autoregressive([truth], 1.0, initial=start)
    denoiser = Misspecified(Autoregressive([belief], 1.0, initial=start))
    schedule = Schedule.next_frame(t_max=5.0, t_min=0.02, substeps=16)
    return video, schedule, Generator(denoiser, "optimal_variance", reference=1)


def test_an_unstable_chain_grows_by_the_logarithm_of_its_radius() -> None:
    """E2 through a sampler: each step adds log(radius), far beyond the range of dense laws."""
    result = clip_accumulation(*drifting_world(0.98, 1.05), steps=500)
    assert result.growth == "unstable" and "limit" in result.refused
    assert "clip" not in result.refused and result.horizon is None
    added = np.diff(result.clip)[-50:]
    np.testing.assert_allclose(added, math.log(result.spectral_radius), rtol=1e-6)
    assert np.all(result.error_bound < 0.05)
    assert result.theorem_b is not None
    assert np.all(result.clip <= result.theorem_b + result.error_bound)


def test_a_marginal_chain_is_called_so() -> None:
    result = clip_accumulation(*drifting_world(0.98, 1.0), steps=120, tolerance=1e-2)
    assert result.growth == "marginal" and result.saturated_limit is None
    strict = clip_accumulation(*drifting_world(0.98, 1.0), steps=120, tolerance=0.0)
    assert strict.growth == "stable" and "not stationary" in strict.refused["limit"]


def test_what_leaves_double_precision_is_refused() -> None:
    with pytest.raises(ParameterError, match="double precision"):
        clip_accumulation(*drifting_world(0.98, 3.0), steps=400)


def test_a_fixed_map_of_the_past_breaks_theorem_b_and_is_refused() -> None:
    """Negative control: the sum without MB would fall below the exact clip KL."""
    video = Autoregressive([0.0, 0.0, 0.95], 0.0975)
    generator = Generator(memory=LinearMemory([[[0.0]], [[0.0]], [[1.0]]]))
    schedule = Schedule.next_frame(t_max=4.0, t_min=0.02, substeps=256)
    result = clip_accumulation(video, schedule, generator, steps=30)
    assert result.theorem_b is None and "memory reaches farther back" in result.refused["theorem_b"]
    assert result.saturated is not None  # the chain closes on its last three frames
    assert np.all(result.clip <= result.saturated * (1.0 + 1e-9) + result.error_bound)


def test_ddim_has_no_line_but_may_saturate() -> None:
    generator = Generator(Scaled(1.01), "ddim", reference=1)
    result = clip_accumulation(Autoregressive([0.9], 0.19), NEXT, generator, steps=20)
    assert result.theorem_b is None and "deterministic" in result.refused["theorem_b"]
    assert result.saturated is not None and np.all(result.clip <= result.saturated * (1 + 1e-9))


def test_units_and_tables() -> None:
    video, generator = Autoregressive([0.9], 0.19), Generator(Biased(0.02), reference=1)
    result = clip_accumulation(video, NEXT, generator, steps=8)
    bits = result.to("bits")
    np.testing.assert_allclose(bits.clip * math.log(2.0), result.clip, rtol=1e-14)
    assert bits.limit is not None and bits.limit.unit == "bits"
    frame = result.to_frame()
    assert frame["step"].tolist() == list(range(1, 9)) and "upper" in frame
    assert "stable" in repr(result)
    with pytest.raises(ParameterError, match="unit"):
        result.to("hartleys")


# --- an unstable generator, whose noise dwarfs the truth's ----------------------------------------


@pytest.mark.parametrize(
    ("coefficient", "innovation", "factor", "reference"),
    [(0.9, 0.3, 5.0, 1), (0.99, 0.3, 1.6, 2), (0.9, 0.19, 1.5, 1)],
)
def test_the_saturation_bound_survives_a_model_far_wider_than_the_truth(
    coefficient: float, innovation: float, factor: float, reference: int
) -> None:
    """The truth's noise over s steps is added up by itself: as model + difference it was lost."""
    schedule = Schedule.next_frame(t_max=1.5, t_min=0.05, substeps=6)
    generator = Generator(Scaled(factor), reference=reference)
    video = Autoregressive([coefficient], innovation)
    result = clip_accumulation(video, schedule, generator, steps=32)
    assert result.growth == "unstable"
    assert np.all(result.clip <= result.upper)
    assert result.upper[-1] == pytest.approx(result.clip[-1], rel=1e-9)


def test_geometric_sums_beyond_double_precision_are_infinite() -> None:
    assert geometric_sum(-1.5, 5000) == -math.inf
    assert geometric_sum(-1.5, 5001) == math.inf
    assert geometric_sum(1.5, 5000) == math.inf
    drift = eigenvector_drift(0.1, -1.5, 5000, 1.0)
    assert math.isinf(drift.value)
    assert drift.reason is not None


def test_a_geometric_sum_near_minus_one_keeps_its_digits() -> None:
    """1 - a^K cancels there; the lower end is below the truth."""
    eigenvalue = -1.0 + 1e-12
    found = eigenvector_drift(1.0, eigenvalue, 1000, 1.0)
    with mpmath.workdps(60):
        a = mpmath.mpf(eigenvalue)
        truth = ((1 - a**1000) / (1 - a)) ** 2 / 2
    assert found.lower <= truth <= found.upper
    assert found.value == pytest.approx(float(truth), rel=1e-12)
