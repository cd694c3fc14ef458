"""Linear-time recursions: against the dense path, 30 digits, mpmath, spectra, and themselves."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import flint
import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import arvdm_theory._innovations as innovations
import arvdm_theory._window_law as window_law
import arvdm_theory.decomposition as decomposition
from arvdm_theory import _certified_world, certified, testing
from arvdm_theory._gaussian import EPS, total_excess
from arvdm_theory.decomposition import decompose, step_terms
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.generator import (
    Biased,
    Estimated,
    Exact,
    Generator,
    LinearMemory,
    Misspecified,
    RecursiveMemory,
    Scaled,
)
from arvdm_theory.rates import rates, spectral_rate
from arvdm_theory.schedule import Schedule
from arvdm_theory.specification import Specification
from arvdm_theory.video import Arfima, Autoregressive, Panorama, Seasonal, StateSpace, StaticLatent
from tests import oracle

COMMON = {"t_max": 3.0, "t_min": 0.05}
TOTALS = ("ie", "nie", "see", "de", "see_plus_de", "mb", "chain", "path", "output", "clip")
CHECKED = (*TOTALS, "theorem_b", "bound")
few = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def has_finite_state(world: testing.World) -> bool:
    """Whether both the video and what the denoiser believes in have a state-space form."""
    believed = world.generator.denoiser
    videos = [world.video, believed.video if isinstance(believed, Misspecified) else world.video]
    return not isinstance(believed, Estimated) and all(
        video.family not in ("arfima", "covariance") for video in videos
    )


def assert_within_bounds(one, other) -> None:
    """All numbers of two results agree within the sum of their error bounds."""
    for name in CHECKED:
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            slack = one.error_bound[name] + other.error_bound[name] + 64 * EPS * abs(ours)
            assert abs(ours - theirs) <= slack, (name, ours, theirs, slack)


# --- against the dense path -----------------------------------------------------------------------


@settings(few, max_examples=25)
@given(testing.worlds(max_window=4, max_steps=4))
def test_linear_path_is_the_dense_path(world: testing.World) -> None:
    assume(world.video.family not in ("arfima", "covariance"))
    dense, linear = world.decompose(law="dense"), world.decompose(law="kalman")
    assert_within_bounds(dense, linear)
    if dense.output_per_step is not None:
        slack = dense.error_bound["output"] + linear.error_bound["output"] + 64 * EPS * dense.output
        np.testing.assert_allclose(
            linear.output_per_step, dense.output_per_step, rtol=0.0, atol=slack
        )


@settings(few, max_examples=8)
@given(testing.worlds(max_window=3, max_steps=6), st.integers(1, 3))
def test_totals_in_blocks_are_the_sums_of_the_steps(world: testing.World, block: int) -> None:
    assume(has_finite_state(world))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decomposition, "_BLOCK_STEPS", block)
        patch.setattr(decomposition, "_SETTLING_STEPS", block)
        steps = world.decompose(law="kalman")
        totals = world.decompose(law="kalman", per_step=False)
    assert_within_bounds(steps, world.decompose(law="kalman"))
    assert_within_bounds(totals, steps)
    assert totals.refused == steps.refused


@pytest.mark.heavy
@settings(few, max_examples=600)
@given(testing.worlds(max_window=5, max_steps=6))
def test_linear_path_is_the_dense_path_on_many_worlds(world: testing.World) -> None:
    assume(world.video.family not in ("arfima", "covariance"))
    assert_within_bounds(world.decompose(law="dense"), world.decompose(law="kalman"))


def test_per_step_totals_of_a_video_without_a_finite_state() -> None:
    schedule = Schedule.fifo(3, substeps=3, **COMMON)
    totals = decompose(Arfima(0.3), schedule, steps=5, per_step=False)
    steps = decompose(Arfima(0.3), schedule, steps=5)
    assert totals.settled is None
    assert [getattr(totals, name) for name in CHECKED] == [getattr(steps, name) for name in CHECKED]
    json.dumps(totals.to_json("bits"), allow_nan=False)


# --- the steady state -----------------------------------------------------------------------------

WIDE = Autoregressive([[[0.5, 0.2], [-0.1, 0.4]], [[0.2, 0.0], [0.1, 0.3]]], 0.3, mean=[0.4, -1.0])
SLOW = StateSpace([[0.97, 0.1], [0.0, 0.9]], [[1.0, 0.5]], 0.1, 0.05)
STARTED = Autoregressive(
    [0.6, 0.3], 0.3, mean=1.0, initial={"mean": [3.0, -2.0], "covariance": [[2.0, 0.1], [0.1, 1.0]]}
)
SETTLING = {
    "fifo, references": (
        WIDE,
        Schedule.fifo(4, substeps=3, **COMMON),
        Generator(Scaled(0.95), "ancestral", 2),
    ),
    "outpainting, recursive memory": (
        SLOW,
        Schedule.outpainting(4, 2, substeps=2, **COMMON),
        Generator(Biased(0.1), "optimal_variance", 1, RecursiveMemory([[0.9]], [[1.0]])),
    ),
    "chunk, linear memory": (
        WIDE,
        Schedule.chunk(2, substeps=2, **COMMON),
        Generator(Exact(), "ancestral", 1, LinearMemory([[[1.0, 0.0]], [[0.5, 1.0]]])),
    ),
    "given start, initialisation": (
        STARTED,
        Schedule.fifo(3, substeps=2, **COMMON),
        Generator(Scaled(1.02), "optimal_variance_diagonal", 1, None, 3),
    ),
    "misspecified, re-noised": (
        Autoregressive([0.6], 0.5),
        Schedule.fifo(3, substeps=2, context_noise="noise", context_level=0.3, **COMMON),
        Generator(Misspecified(Autoregressive([0.8], 0.5)), "ancestral", 3),
    ),
    "labelled, ddim": (
        Seasonal(7.0, 0.9, 1.3, 0.05),
        Schedule.fifo(3, substeps=3, context_noise="label", context_level=0.3, **COMMON),
        Generator(Scaled(0.9), "ddim", 2),
    ),
}


@pytest.mark.parametrize("name", SETTLING)
def test_settled_totals_are_the_sums_of_all_steps(name: str) -> None:
    video, schedule, generator = SETTLING[name]
    for frames in (900, 901):
        every = decompose(video, schedule, generator, frames=frames, law="kalman")
        settled = decompose(video, schedule, generator, frames=frames, per_step=False)
        assert settled.settled is not None and settled.settled < every.roll_out.steps
        for number in CHECKED:
            ours, theirs = getattr(settled, number), getattr(every, number)
            if theirs is not None:
                # what stopping early changed, and a few roundings of either sum
                slack = settled.switching_error.get(number, 0.0) + 1e-11 * abs(theirs)
                assert abs(ours - theirs) <= slack, (number, ours, theirs)


@pytest.mark.heavy
def test_frozen_samplers_settle_with_their_path_kl() -> None:
    schedule, generator = Schedule.fifo(2, substeps=2, **COMMON), Generator(reference=1)
    for sampler in ("exponential_integrator", "euler_maruyama"):
        model = Generator(Scaled(1.05), sampler, 1)
        every = decompose(WIDE, schedule, model, steps=400, law="kalman")
        settled = decompose(WIDE, schedule, model, steps=400, per_step=False)
        assert_within_bounds(settled, every)
        assert settled.settled is not None and settled.path >= settled.chain
    assert decompose(WIDE, schedule, generator, steps=400, per_step=False).path is None


@pytest.mark.parametrize("name", SETTLING)
def test_rates_are_slopes_and_spectra(name: str) -> None:
    video, schedule, generator = SETTLING[name]
    found = rates(video, schedule, generator)
    short, long = (
        decompose(video, schedule, generator, steps=steps, per_step=False)
        for steps in (10_000, 30_000)
    )
    frames = 20_000 * schedule.stride
    for number in ("nie", "see", "de", "see_plus_de", "mb", "chain", "path", "output"):
        value, ends = getattr(found, number), [getattr(x, number) for x in (short, long)]
        assert (value is None) == (ends[0] is None)
        if value is not None:
            assert value == pytest.approx((ends[1] - ends[0]) / frames, rel=1e-9, abs=1e-15)
    if found.clip is not None:
        assert found.clip == pytest.approx(long.clip, rel=1e-9)
    spectral = spectral_rate(video, schedule, generator)
    assert spectral.value == pytest.approx(found.output, rel=1e-9, abs=1e-15)
    assert spectral.lower <= spectral.upper
    json.dumps(found.to_json("bits"), allow_nan=False)


def test_loose_switching_is_covered_by_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch far too early: the reported switching error still contains what it changed."""
    video, schedule, generator = SETTLING["fifo, references"]
    exact = decompose(video, schedule, generator, steps=2000, law="kalman")
    for tolerance in (1e-3, 1e-5, 1e-7):
        for module in (window_law, innovations):
            monkeypatch.setattr(module, "settled_to", lambda reach, to=tolerance: to)
        monkeypatch.setattr(decomposition, "_SETTLING_STEPS", 2)
        monkeypatch.setattr(decomposition, "_LAST_STEPS", 2)
        early = decompose(video, schedule, generator, steps=2000, per_step=False)
        assert early.settled is not None and early.settled < 60
        changed = 0.0
        for name in ("nie", "mb", "see", "de", "chain", "output"):
            gap = abs(getattr(early, name) - getattr(exact, name))
            changed = max(changed, gap / getattr(exact, name))
            assert gap <= early.switching_error[name] + 1e-12 * getattr(exact, name), name
            assert early.switching_error[name] <= early.error_bound[name]
        assert changed > 1e-3 * tolerance  # it did change something


def test_what_never_settles() -> None:
    positions = np.cumsum(np.random.default_rng(0).integers(-1, 2, 300))
    panorama = Panorama(positions, 2, 3.0, 1.0, 0.05, 8)
    walk = Autoregressive([1.0], 1.0, initial={"covariance": [[1.0]]})
    schedule = Schedule.fifo(2, substeps=2, **COMMON)
    for video in (panorama, walk, StaticLatent(0.5)):
        totals = decompose(video, schedule, Generator(reference=2), steps=290, per_step=False)
        assert totals.settled is None and totals.switching_error == {}
        assert_within_bounds(totals, decompose(video, schedule, Generator(reference=2), steps=290))
    with pytest.raises(RefusedError, match="no rate"):
        small = Schedule.next_frame(substeps=1, **COMMON)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("arvdm_theory.rates._PATIENCE", 200)
            rates(StaticLatent(0.5), small)
    with pytest.raises(ParameterError, match="law must be dense"):
        rates(Arfima(0.2), schedule)
    with pytest.raises(RefusedError, match="estimated"):
        rates(WIDE, schedule, Generator(Estimated(50)))
    with pytest.raises(ParameterError, match="per_step must be True or False, got 0"):
        decompose(WIDE, schedule, steps=1, per_step=0)  # type: ignore[call-overload]


# --- long unstable chains -------------------------------------------------------------------------


def scalar_output_kl(coefficient: float, factor: float, t_max: float, delta: float, steps: int):
    """Output KL of next-frame generation, one sub-step, one reference, in mpmath.

    P: X_k = a X_{k-1} + N(0, 1), X_1 ~ N(0, 1). Q: X^δ_k = φ_k X^δ_{k-1} + N(0, s_k) with a scaled
    exact denoiser. Everything is scalar, so both sides are written out.
    """
    with mpmath.workdps(60):
        a, c, big, d = (mpmath.mpf(x) for x in (coefficient, factor, t_max, delta))
        alpha, noise = mpmath.exp(-d), 1 - mpmath.exp(-2 * d)
        alpha_t, noise_t = mpmath.exp(-big), 1 - mpmath.exp(-2 * big)
        gamma = 1 / (mpmath.exp(2 * big) - 1)
        between = 1 - mpmath.exp(-2 * (big - d))
        bridge_a = mpmath.exp(-(big - d)) * noise / noise_t
        bridge_b, bridge_v = alpha * between / noise_t, noise * between / noise_t
        variance, before = mpmath.mpf(1), None  # of X_k, X_{k-1}
        predicted = mpmath.mpf(1)  # P's filter: variance of X_k given the past frames
        # second moments of (P's prediction of X_k, X^δ_{k-1}) under P
        zz = zx = xx = mpmath.mpf(0)
        total = mpmath.mpf(0)
        for k in range(steps):
            gain = mpmath.mpf(0) if k == 0 else alpha * a * before / (alpha**2 * before + noise)
            left = variance if k == 0 else variance - gain * alpha * a * before
            weight = left * gamma / (1 + left * gamma) / alpha_t
            phi = bridge_b * c * (1 - weight * alpha_t) * gain
            s = (bridge_a + bridge_b * c * weight) ** 2 + bridge_v
            p = alpha**2 * predicted + noise
            difference = alpha**2 * zz - 2 * alpha * phi * zx + phi**2 * xx
            total += (p / s - 1 - mpmath.log(p / s) + difference / s) / 2
            kalman = alpha * predicted / p
            # X^δ_k = α ẑ + √p e; ẑ' = a (ẑ + kalman √p e)
            zz, zx, xx = (
                a**2 * (zz + kalman**2 * p),
                a * (alpha * zz + kalman * p),
                (alpha**2 * zz + p),
            )
            predicted = a**2 * (predicted - kalman * alpha * predicted) + 1
            before, variance = variance, a**2 * variance + 1
        return total


@pytest.mark.parametrize(
    ("coefficient", "factor", "steps", "digits"),
    [
        (1.02, 1.0, 800, 9),
        (0.9, 1.5, 800, 9),
        (1.3, 0.98, 60, 9),
        (3.0, 1.0, 15, 9),
        (1.3, 0.98, 400, None),  # grows to 1e45: what a reference adds is lost, and is said to be
    ],
)
def test_long_unstable_chains_in_sixty_digits(
    coefficient: float, factor: float, steps: int, digits: int | None
) -> None:
    """Neither an unstable video nor an unstable generator spoils the output KL."""
    start = {"covariance": [[1.0]]}
    video = Autoregressive([coefficient], 1.0, initial=start)
    schedule = Schedule.next_frame(substeps=1, **COMMON)
    result = decompose(video, schedule, Generator(Scaled(factor), reference=1), steps=steps)
    exact = scalar_output_kl(coefficient, factor, 3.0, 0.05, steps)
    gap = float(abs(mpmath.mpf(result.output) - exact))
    assert gap <= result.error_bound["output"]
    if digits is not None:
        assert gap <= 10.0**-digits * float(exact)
    else:
        assert "output" in result.unreliable


def test_unstable_generator_on_a_stable_video_settles() -> None:
    """E1 grows linearly also where Q's own roll-out explodes; only its clip law leaves doubles."""
    schedule = Schedule.next_frame(substeps=2, **COMMON)
    generator = Generator(Scaled(1.5), reference=1)
    video = Autoregressive([0.9], 0.19)
    result = decompose(video, schedule, generator, steps=1_000_000, per_step=False)
    assert result.settled is not None and result.clip is None and "clip" in result.refused
    found = rates(video, schedule, generator)
    assert result.output == pytest.approx(1e6 * found.output, rel=1e-3) and found.clip is None
    with pytest.raises(RefusedError, match="no spectrum"):
        spectral_rate(video, schedule, generator)


# --- small values ---------------------------------------------------------------------------------


def covariance_of_condition(condition: float, size: int, seed: int) -> np.ndarray:
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    matrix = (basis * np.geomspace(1.0, 1.0 / condition, size)) @ basis.T
    return 0.5 * (matrix + matrix.T)


def small_worlds(condition: float, seed: int) -> list[testing.World]:
    """Worlds whose output KL is tiny: nothing but the entering noise or a faint scale is wrong."""
    one, other = (covariance_of_condition(condition, 2, seed + i) for i in range(2))
    still, memory = StaticLatent(one, other, 2), RecursiveMemory(np.eye(2), np.eye(2))
    moving = Autoregressive([[[0.5, 0.1], [0.0, 0.4]]], one, 2)
    sampler = "optimal_variance"
    levels = {"t_min": 0.02, "substeps": 2}
    chunk = Schedule.chunk(2, t_max=8.0, **levels)
    fifo = Schedule.fifo(2, t_max=9.0, **levels)
    return [
        testing.World(still, chunk, Generator(Exact(), sampler, 0, memory), 6),
        testing.World(still, fifo, Generator(Scaled(1.0 + 1e-7), sampler, 0, memory), 4),
        testing.World(moving, fifo, Generator(Scaled(1.0 - 1e-7), sampler, 3), 3),
    ]


@pytest.mark.parametrize("condition", [10.0, 1e4, 1e9])
def test_small_values_in_thirty_digits(condition: float) -> None:
    """Down to 1e-14 nats six digits hold for conditions up to 1e4; the bound holds always."""
    smallest = np.inf
    for world in small_worlds(condition, seed=int(np.log10(condition))):
        truth = oracle.evaluate(json.loads(json.dumps(world.specification())), 30)
        for law in ("dense", "kalman"):
            result = world.decompose(law=law)
            for name in ("output", "clip"):
                exact = float(truth[name])
                with mpmath.workdps(30):
                    gap = float(abs(mpmath.mpf(getattr(result, name)) - truth[name]))
                assert gap <= result.error_bound[name], (law, name, exact, gap)
                if condition <= 1e4 and exact >= 1e-14:
                    assert gap <= 1e-6 * exact, (law, name, exact, gap)
                    smallest = min(smallest, exact)
    assert condition > 1e4 or smallest < 1e-12


@pytest.mark.parametrize("scale", [1e-14, 1e-7, 1e-2, 1.0, 1e6, 1e17])
def test_total_excess_keeps_its_digits_without_eigenvalues(scale: float) -> None:
    rng = np.random.default_rng(3)
    for rank in range(1, 6):
        factor = rng.standard_normal((5, rank)) * 10.0 ** rng.uniform(-3.0, 0.0, (5, 1))
        matrix = scale * factor @ factor.T
        with mpmath.workdps(60):
            exact = mpmath.matrix(matrix.tolist())
            whole = sum(exact[i, i] for i in range(5)) - mpmath.log(
                mpmath.det(mpmath.eye(5) + exact)
            )
        assert float(total_excess(matrix)) == pytest.approx(float(whole / 2), rel=1e-13)
        both = total_excess(np.stack([matrix, matrix]))
        assert both.shape == (2,) and both[0] == both[1]


# --- small values against certified balls ---------------------------------------------------------


@contextmanager
def certified_variance(factor: float) -> Iterator[None]:
    """Certified worlds with the optimal-variance kernel: b V b beside the ancestral variance.

    V = Cov(X⁰ | X_n, R, m) is read off the denoiser, whose map of the window is factor V γ/α.
    """
    ancestral = _certified_world._then

    def then(kernel: Any, denoiser: Any, before: Any, after: Any) -> Any:
        done = ancestral(kernel, denoiser, before, after)
        alpha, _ = _certified_world._alpha_sigma(before)
        _, into, _ = _certified_world._bridge(before, after)
        exact = flint.arb(factor)
        scale = [one / (gamma * exact) for one, gamma in zip(alpha, before, strict=True)]
        posterior = denoiser.window * _certified_world.diagonal_matrix(scale)
        passed = _certified_world.diagonal_matrix(into)
        return replace(done, covariance=done.covariance + passed * posterior * passed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_certified_world, "_then", then)
        yield


def nearly_exact_world(seed: int, sampler: str, orders: float) -> dict[str, Any]:
    """Everything but x̂ = (1 + ε) m or m + ε, and the entering noise, is right.

    The optimal-variance sampler adds no error of its own, so that δ can be as small as the
    condition number of the frames, up to 10^`orders`; the ancestral one adds little where frames
    are faint beside the noise at δ.
    """
    rng = np.random.default_rng(seed)
    condition = 10.0 ** (orders - rng.uniform(0.0, 1.5))
    faint = 1.0 if sampler == "optimal_variance" else 10.0 ** rng.uniform(-8.0, -1.0)
    noise = (faint * covariance_of_condition(condition, 2, seed)).tolist()
    family = str(rng.choice(["static_latent", "autoregressive", "seasonal"]))
    video: dict[str, Any] = {"family": family, "dim": 2, "noise_variance": noise}
    if family == "autoregressive":
        video |= {"coefficients": [[[0.5, 0.1], [0.0, 0.4]]]}
    elif family == "static_latent":
        latent = covariance_of_condition(10.0 ** rng.uniform(0.0, 2.0), 2, seed + 1)
        video |= {"latent_variance": (faint * latent).tolist()}
    else:
        video |= {"dim": 1, "noise_variance": faint / condition, "variance": 1.25 * faint}
        video |= {"period": rng.uniform(2.5, 9.0), "persistence": rng.uniform(0.3, 0.95)}
    schedule: dict[str, Any] = {
        "method": str(rng.choice(["chunk", "fifo", "next_frame"])),
        "t_max": rng.uniform(7.0, 10.0),
        "t_min": 10.0 ** -(np.log10(condition) + rng.uniform(0.0, 1.0)),
        "substeps": int(rng.integers(2, 4)),
    }
    if sampler == "ancestral":
        schedule["t_min"] = rng.uniform(0.3, 1.5)
    if schedule["method"] != "next_frame":
        schedule["window"] = 2
    size = 10.0 ** rng.uniform(-10.0, -1.0)
    denoiser = {"kind": "scaled", "factor": 1.0 + size}
    if rng.uniform() < 0.5:
        denoiser = {"kind": "biased", "bias": size}
    generator: dict[str, Any] = {"denoiser": denoiser, "reference": int(rng.integers(0, 3))}
    if family == "static_latent":
        memory = {"kind": "recursive", "transition": np.eye(2).tolist()}
        generator |= {"reference": 0, "memory": memory | {"input": np.eye(2).tolist()}}
    elif family == "autoregressive":
        generator["reference"] = 3
    return {"video": video, "schedule": schedule, "generator": generator, "steps": 3}


def check_small_values(
    seed: int, sampler: str, orders: float, spoil: float = 1.0
) -> list[tuple[float, float]]:
    """(value, relative error) of every KL whose laws have condition numbers up to 1e4.

    The error bounds must hold for all of them, and six digits from 1e-14 nats on.
    """
    world = nearly_exact_world(seed, sampler, orders)
    if sampler == "ancestral":
        truth = certified.decompose(world, tolerance=1e-40)
        names: tuple[str, ...] = ("nie", "see", "de", "mb", "chain", "output", "clip")
    else:
        with certified_variance(world["generator"]["denoiser"].get("factor", 1.0)):
            truth = certified.decompose(world, tolerance=1e-40)
        names = ("output", "clip")
    world["generator"]["sampler"] = sampler
    spec = Specification.from_json(world)
    clean = spec.video.covariance(spec.schedule.roll_out(steps=3).needed)
    left = np.exp(-2.0 * spec.schedule.t_min)
    condition = np.linalg.cond(left * clean + (1.0 - left) * np.eye(clean.shape[0]))
    seen = []
    for law in ("dense", "kalman"):
        result = decompose(spec.video, spec.schedule, spec.generator, steps=3, law=law)
        for name in names:
            ball, number = getattr(truth, name), spoil * getattr(result, name)
            bound = result.error_bound[name]
            where = (seed, law, name, ball, number, bound)
            assert ball.lower - bound <= number <= ball.upper + bound, where
            if condition <= 1e4 and name in ("chain", "output", "clip") and ball.value >= 1e-14:
                assert number == pytest.approx(ball.value, rel=1e-6, abs=0.0), where
                seen.append((ball.value, abs(number - ball.value) / ball.value))
    return seen


@pytest.mark.parametrize("orders", [4.0, 10.0])
@pytest.mark.parametrize("sampler", ["optimal_variance", "ancestral"])
@settings(few, max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_small_values_lie_within_their_bounds_of_certified_ones(
    sampler: str, orders: float, seed: int
) -> None:
    check_small_values(seed, sampler, orders)


@pytest.mark.heavy
@pytest.mark.parametrize("orders", [4.0, 7.0, 10.5])
@pytest.mark.parametrize("sampler", ["optimal_variance", "ancestral"])
def test_a_thousand_small_values_lie_within_their_bounds(sampler: str, orders: float) -> None:
    seen = [pair for seed in range(400) for pair in check_small_values(seed, sampler, orders)]
    if orders == 4.0:  # it does reach down
        assert min(value for value, _ in seen) < 1e-13 and max(value for value, _ in seen) > 1e-4


@pytest.mark.parametrize("sampler", ["optimal_variance", "ancestral"])
def test_a_relative_error_of_a_hundred_thousandth_is_seen(sampler: str) -> None:
    seeds = [seed for seed in range(6) if check_small_values(seed, sampler, 4.0)]
    assert seeds
    for seed in seeds:
        with pytest.raises(AssertionError):
            check_small_values(seed, sampler, 4.0, spoil=1.0 + 1e-5)


# --- time and memory ------------------------------------------------------------------------------


def peak(video, schedule, generator, steps: int) -> int:
    tracemalloc.start()
    decompose(video, schedule, generator, steps=steps, per_step=False)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_roll_out() -> None:
    schedule, generator = Schedule.fifo(3, substeps=2, **COMMON), Generator(Scaled(0.95))
    peak(WIDE, schedule, generator, 100)  # imports and caches
    assert peak(WIDE, schedule, generator, 10**6) <= 1.1 * peak(WIDE, schedule, generator, 500)
    walk = Autoregressive([1.0], 1.0, initial={"covariance": [[1.0]]})  # never settles
    assert peak(walk, schedule, generator, 400) <= 1.1 * peak(walk, schedule, generator, 200)


def test_work_is_linear_and_stops_where_it_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    filtered = window_law.KalmanLaws._frame

    def counted(*arguments):
        nonlocal count
        count += 1
        return filtered(*arguments)

    monkeypatch.setattr(window_law.KalmanLaws, "_frame", counted)
    schedule = Schedule.next_frame(substeps=1, **COMMON)
    work = {}
    for name, video in (("still", StaticLatent(0.5)), ("settling", WIDE)):
        for steps in (100, 200, 4000 if name == "settling" else 400):
            count = 0
            decompose(video, schedule, Generator(reference=1), steps=steps, per_step=False)
            work[name, steps] = count
    assert [work["still", steps] for steps in (100, 200, 400)] == [100, 200, 400]
    assert work["settling", 200] == work["settling", 4000] < 200


@pytest.mark.parametrize("length", [None, 5, 7])
def test_views_are_made_when_asked_for(length: int | None) -> None:
    positions = np.random.default_rng(1).normal(0.0, 4.0, 40)
    positions[::5] = np.round(positions[::5])
    emission = Panorama(positions, 4, 2.0, landscape_length=length).markov(40).emission
    lowest = int(np.floor(positions.min())) if length is None else 0
    written = np.zeros(emission.shape)
    for i, position in enumerate(positions):
        for pixel in range(4):
            left = int(np.floor(position))
            for site, weight in ((left, 1.0 - (position - left)), (left + 1, position - left)):
                if weight > 0.0:
                    written[i, pixel, (site + pixel - lowest) % emission.shape[2]] += weight
    np.testing.assert_allclose(emission[np.arange(40)], written, rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(emission[17], written[17], rtol=0.0, atol=1e-15)
    long = Panorama(np.zeros(10**6), 4, 2.0, landscape_length=64).markov(10**6).emission
    assert long.left.nbytes + long.weight.nbytes == 16 * 10**6  # 2 GB as matrices


# --- what would not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [{"steps": 10**15}, {"frames": 10**15}])
def test_too_many_steps_are_refused_at_once_and_say_what_to_do(length: dict[str, int]) -> None:
    schedule = Schedule.next_frame(substeps=1, **COMMON)
    with pytest.raises(ParameterError, match=r"10000000 .*per_step=False .*step_terms .*GiB"):
        decompose(WIDE, schedule, **length)
    for law, video in (("dense", WIDE), ("auto", Arfima(0.3))):
        with pytest.raises(ParameterError, match=r"steps must be few enough .* GiB"):
            decompose(video, schedule, law=law, per_step=False, **length)
    with pytest.raises(ParameterError, match="few enough"):
        decompose(WIDE, schedule, Generator(Estimated(50)), per_step=False, **length)
    assert decompose(WIDE, schedule, per_step=False, **length).settled < 1000


def test_a_dense_law_larger_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule.next_frame(substeps=1, **COMMON)
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 2**12}.get(name, 2**4))
    assert decompose(Arfima(0.3), schedule, steps=30).output > 0.0
    with pytest.raises(ParameterError, match="few enough"):
        decompose(Arfima(0.3), schedule, steps=40)


def test_what_never_settles_is_refused_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule.next_frame(substeps=1, **COMMON)
    monkeypatch.setattr(decomposition, "_PATIENCE", 128)
    with pytest.raises(ParameterError, match="no steady state after 128 AR steps"):
        decompose(StaticLatent(0.5), schedule, steps=10**12, per_step=False)
    assert decompose(StaticLatent(0.5), schedule, steps=200, per_step=False).settled is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3.5, 1j, "3", True, 0, -1, 2**53 + 1])
def test_counts_that_are_none_are_refused(bad: Any) -> None:
    schedule = Schedule.next_frame(substeps=1, **COMMON)
    for name in ("steps", "frames"):
        for call in (decompose, step_terms):
            with pytest.raises(ParameterError, match=f"{name} must be an integer"):
                call(WIDE, schedule, **{name: bad})
    with pytest.raises(ParameterError, match="block must be"):
        step_terms(WIDE, schedule, steps=4, block=bad if bad != 2**53 + 1 else 0)


# --- per-step terms in blocks ---------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTLING)
@pytest.mark.parametrize("block", [1, 7, 100])
def test_step_terms_are_those_of_the_decomposition(name: str, block: int) -> None:
    video, schedule, generator = SETTLING[name]
    frames = 20 * schedule.stride - 1
    every = decompose(video, schedule, generator, frames=frames, law="kalman")
    parts = list(step_terms(video, schedule, generator, frames=frames, block=block))
    assert [part.first for part in parts] == list(range(1, every.roll_out.steps + 1, block))
    for term in ("nie", "see", "de", "see_plus_de", "mb", "output", "clip"):
        ours, theirs = [getattr(part, term) for part in parts], getattr(every, f"{term}_per_step")
        assert (theirs is None) == any(item is None for item in ours)
        if theirs is not None:
            np.testing.assert_allclose(np.concatenate(ours), theirs, rtol=1e-11, atol=1e-15)


def test_step_terms_stream() -> None:
    schedule = Schedule.next_frame(substeps=1, **COMMON)
    stream = step_terms(StaticLatent(0.5), schedule, Generator(reference=1), steps=10**15, block=4)
    assert [next(stream).first for _ in range(3)] == [1, 5, 9]
    with pytest.raises(ParameterError, match="law must be dense"):
        step_terms(Arfima(0.3), schedule, steps=3)
    with pytest.raises(ParameterError, match="one with a finite state"):
        step_terms(WIDE, schedule, Generator(Estimated(50)), steps=3)


# --- negative controls ----------------------------------------------------------------------------


@pytest.mark.parametrize("planted", ["gain", "forgotten", "carried", "doubling"])
def test_a_planted_error_is_seen(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparisons above must see an error in each part of the recursion."""
    video, schedule, generator = SETTLING["fifo, references"]
    exact = decompose(video, schedule, generator, steps=40, law="dense").output
    settled = decompose(video, schedule, generator, steps=2000, per_step=False).output
    reduced, maps, then = innovations._reduced, innovations.Composition.maps, innovations.Run.then
    onward = innovations.onward
    if planted == "gain":
        monkeypatch.setattr(innovations, "_reduced", lambda gap, gain: reduced(gap, 0.9 * gain))
    elif planted == "forgotten":

        def remembering(self):
            found = maps(self)
            object.__setattr__(found, "forgotten", 0.5 * found.forgotten)
            return found

        monkeypatch.setattr(innovations.Composition, "maps", remembering)
    elif planted == "carried":
        monkeypatch.setattr(innovations, "onward", lambda *given: 0.99 * onward(*given))
        clip = decompose(video, schedule, generator, steps=40, law="dense").clip
        broken = decompose(video, schedule, generator, steps=40, law="kalman")
        assert abs(broken.clip - clip) > 1e3 * broken.error_bound["clip"]
        return
    else:

        def forgetful(self, other):
            run = then(self, other)
            object.__setattr__(run, "seen", other.seen @ self.move)
            return run

        monkeypatch.setattr(innovations.Run, "then", forgetful)
        broken = decompose(video, schedule, generator, steps=2000, per_step=False)
        assert abs(broken.output - settled) > 1e-3 * settled
        return
    broken = decompose(video, schedule, generator, steps=40, law="kalman")
    assert abs(broken.output - exact) > 1e3 * broken.error_bound["output"]
