r"""Public property-based testing: random worlds, and the laws that every calculator obeys.

Strategies (Hypothesis) draw Gaussian videos, schedules and generators that fit each other, joint
laws with their memories, canonical correlations, budgets, needle tests and pairs of chains. `LAWS`
(from `arvdm_theory.laws`) tries any bound calculator on the worlds of one theorem, against the
exact value from a dense joint law:

    from arvdm_theory import testing

    def test_my_floor():
        testing.LAWS["R1"].test(my_floor)  # my_floor(world) -> nats

The checks below are plain functions on results of `decompose`, which raise `AssertionError` with
the numbers when a law is broken, so they serve in any test runner and on results of other
implementations.

    from hypothesis import given

    @given(testing.worlds())
    def test_ladder(world):
        testing.check_ladder(world.decompose())

Needs the `test` extra (hypothesis).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from arvdm_theory import _law_worlds
from arvdm_theory._law_worlds import (
    JointLaw,
    NeedleMemory,
    NeedleTest,
    Point,
    ScalarChains,
    World,
)
from arvdm_theory.decomposition import Decomposition
from arvdm_theory.generator import (
    SAMPLERS,
    Biased,
    Denoiser,
    Estimated,
    Exact,
    Generator,
    LinearMemory,
    Memory,
    Misspecified,
    RandomPerturbation,
    RecursiveMemory,
    Scaled,
)
from arvdm_theory.laws import LAWS, Law
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

__all__ = [
    "LAWS",
    "Law",
    "World",
    "budgets",
    "check_ladder",
    "check_non_negative",
    "check_theorem_b",
    "correlations",
    "coverage",
    "covariances",
    "generators",
    "joint_laws",
    "needle_memories",
    "needle_tests",
    "scalar_chains",
    "schedules",
    "stable_chains",
    "stable_coefficients",
    "videos",
    "worlds",
]


# --- strategies -----------------------------------------------------------------------------------


@st.composite
def covariances(draw: st.DrawFn, size: int, condition: float = 1e3) -> np.ndarray:
    """Covariance matrices `(size, size)` of condition number at most `condition`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    eigenvalues = condition ** -rng.uniform(0.0, 1.0, size)
    scale = draw(st.sampled_from([0.5, 1.0, 3.0]))
    matrix = (basis * (scale * eigenvalues)) @ basis.T
    return np.asarray(0.5 * (matrix + matrix.T))


@st.composite
def stable_coefficients(
    draw: st.DrawFn, order: int, dim: int, radius: float = 0.95
) -> list[np.ndarray]:
    """Autoregressive coefficient matrices whose companion matrix has at most this radius."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = order * dim
    blocks = rng.standard_normal((order, dim, dim)) / np.sqrt(dim)
    companion = np.zeros((size, size))
    companion[:dim] = np.hstack(list(blocks))
    companion[dim:, :-dim] = np.eye(size - dim)
    shrink = radius * rng.uniform(0.3, 1.0) / np.abs(np.linalg.eigvals(companion)).max()
    # scaling coefficient l by shrink^l scales every root by shrink
    return [blocks[lag] * shrink ** (lag + 1) for lag in range(order)]


def _means(dim: int) -> st.SearchStrategy[Any]:
    seeded = st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).normal(0.0, 1.5, dim)
    )
    return st.one_of(st.just(0.0), seeded)


@st.composite
def videos(draw: st.DrawFn, frames: int, dim: int | None = None) -> GaussianVideo:
    """Gaussian videos of every family that are defined for at least `frames` frames."""
    dim = draw(st.integers(1, 3)) if dim is None else dim
    mean = draw(_means(dim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    family = draw(
        st.sampled_from(
            [
                "autoregressive",
                "started",
                "state_space",
                "seasonal",
                "arfima",
                "static_latent",
                "panorama",
                "covariance",
            ]
        )
    )
    if family in ("autoregressive", "started"):
        order = draw(st.integers(1, 3))
        noise = draw(covariances(dim, 30.0))
        if family == "autoregressive":
            return Autoregressive(draw(stable_coefficients(order, dim)), noise, dim, mean)
        initial = {
            "mean": rng.standard_normal(order * dim),
            "covariance": draw(covariances(order * dim, 30.0)),
        }
        coefficients = draw(stable_coefficients(order, dim, 1.1))
        return Autoregressive(coefficients, noise, dim, mean, initial)
    if family == "state_space":
        states = draw(st.integers(1, 4))
        [transition] = draw(stable_coefficients(1, states))
        return StateSpace(
            transition,
            rng.standard_normal((dim, states)),
            draw(covariances(states, 30.0)),
            draw(st.sampled_from([0.0, 0.1])),
            mean,
        )
    if family == "seasonal":
        return Seasonal(rng.uniform(2.5, 12.0), rng.uniform(0.3, 0.98), 1.3, 0.05, dim, mean)
    if family == "arfima":
        return Arfima(rng.uniform(-0.4, 0.45, dim), rng.uniform(0.3, 1.5), dim, mean)
    if family == "static_latent":
        return StaticLatent(draw(covariances(dim, 30.0)), rng.uniform(0.2, 2.0), dim, mean)
    if family == "panorama":
        steps = rng.integers(-2, 3, frames)
        positions = np.cumsum(steps) * draw(st.sampled_from([1.0, 0.5]))
        circle = draw(st.sampled_from([None, dim + 4]))
        return Panorama(positions, dim, 2.0, 1.0, draw(st.sampled_from([0.0, 0.05])), circle, mean)
    full = rng.standard_normal(frames * dim) if draw(st.booleans()) else mean
    return ExplicitCovariance(draw(covariances(frames * dim)), dim, full)


@st.composite
def schedules(
    draw: st.DrawFn, max_window: int = 6, max_substeps: int = 4, context: bool = True
) -> Schedule:
    """Schedules that satisfy D1: every named method and arbitrary monotone ladders."""
    window = draw(st.integers(1, max_window))
    stride = draw(st.integers(1, window))
    levels: dict[str, Any] = {
        "t_max": draw(st.floats(0.8, 5.0)),
        "t_min": draw(st.one_of(st.floats(0.02, 0.15), st.just(1e-3))),
    }
    substeps = draw(st.integers(1, max_substeps))
    common = {**levels, "substeps": substeps}
    kind = draw(st.sampled_from(["none", "label", "noise"])) if context else "none"
    seen: dict[str, Any] = {}
    if kind != "none":
        level = levels["t_min"] + draw(st.sampled_from([0.1, 0.3, 0.7, 0.0]))
        seen = {"context_noise": kind, "context_level": level}
    method = draw(
        st.sampled_from(
            ["fifo", "rolling", "outpainting", "chunk", "next_frame", "staircase", "ladder"]
        )
    )
    if method in ("fifo", "rolling", "staircase"):
        blocks = window if method != "staircase" else window // stride
        if levels["t_max"] / max(blocks, 1) <= 1.05 * levels["t_min"]:
            method = "outpainting"
    if method == "fifo":
        return Schedule.fifo(window, **common, **seen)
    if method == "rolling":
        return Schedule.rolling(window, **common, **seen)
    if method == "chunk":
        return Schedule.chunk(window, **common, **seen)
    if method == "next_frame":
        return Schedule.next_frame(**common, **seen)
    if method == "staircase" and window % stride == 0:
        return Schedule.staircase(window, stride, **common, **seen)
    if method == "ladder":
        inner = draw(
            st.lists(
                st.floats(levels["t_min"], levels["t_max"]),
                min_size=window - stride,
                max_size=window - stride,
            )
        )
        ladder = np.sort(np.asarray(inner, dtype=np.float64))
        # a level a rounding away from an end is not meant to be another level
        ladder[ladder < 1.01 * levels["t_min"]] = levels["t_min"]
        ladder[ladder > 0.99 * levels["t_max"]] = levels["t_max"]
        start = np.concatenate([ladder, np.full(stride, levels["t_max"])])
        end = np.concatenate([np.full(stride, levels["t_min"]), start[: window - stride]])
        return Schedule(window, stride, start, end, substeps, **seen)
    return Schedule.outpainting(window, stride, **common, **seen)


@st.composite
def generators(
    draw: st.DrawFn,
    dim: int,
    frames: int,
    samplers: Iterable[str] = SAMPLERS,
    max_reference: int = 5,
) -> Generator:
    """Generators for videos of frame dimension `dim`: every denoiser, sampler and memory."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(
        st.sampled_from(["exact", "scaled", "biased", "random", "estimated", "misspecified"])
    )
    seed = draw(st.integers(0, 1000))
    denoiser: Denoiser = Exact()
    if kind == "scaled":
        denoiser = Scaled(draw(st.floats(0.7, 1.1)))
    elif kind == "biased":
        denoiser = Biased(rng.normal(0.0, 0.2, dim))
    elif kind == "random":
        denoiser = RandomPerturbation(draw(st.floats(0.0, 0.2)), seed)
    elif kind == "estimated":
        denoiser = Estimated(draw(st.sampled_from([5, 50, 500])), seed)
    elif kind == "misspecified":
        denoiser = Misspecified(draw(videos(frames, dim)))
    memory: Memory | None = None
    choice = draw(st.sampled_from(["none", "none", "linear", "recursive"]))
    size = draw(st.integers(1, 2))
    if choice == "linear":
        lags = draw(st.integers(1, 4))
        memory = LinearMemory(rng.standard_normal((lags, size, dim)))
    elif choice == "recursive":
        [transition] = draw(stable_coefficients(1, size))
        memory = RecursiveMemory(transition, rng.standard_normal((size, dim)))
    return Generator(
        denoiser,
        draw(st.sampled_from(list(samplers))),
        draw(st.sampled_from([1, 0, 2, max_reference])),
        memory,
        draw(st.sampled_from([None, None, 3])),
    )


@st.composite
def worlds(
    draw: st.DrawFn,
    max_window: int = 6,
    max_steps: int = 4,
    samplers: Iterable[str] = SAMPLERS,
    max_dim: int = 3,
) -> World:
    """Random worlds in which every description fits the others."""
    schedule = draw(schedules(max_window))
    steps = draw(st.sampled_from([*range(2, max_steps + 1), 1]))
    last = draw(st.integers(1, schedule.stride))  # frames kept of the last block
    frames = (steps - 1) * schedule.stride + last
    needed = schedule.roll_out(frames=frames).needed
    video = draw(videos(needed, draw(st.integers(1, max_dim))))
    return World(video, schedule, draw(generators(video.dim, needed, samplers)), frames)


def _read(build: Callable[[Point], Any], size: int) -> st.SearchStrategy[Any]:
    """Worlds read off points of the unit cube: small and simple where coordinates are 0."""
    numbers = st.floats(0.0, 1.0, allow_nan=False, width=32)
    points = st.lists(numbers, min_size=size, max_size=size)
    return points.map(lambda coordinates: build(Point(coordinates)))


def joint_laws(largest: int = 3) -> st.SearchStrategy[JointLaw]:
    """Joint laws of X (1..`largest` numbers), Z and Y, of condition number at most 100."""
    size = (largest + 3) ** 2 + largest + 6
    return _read(lambda point: _law_worlds.joint_law(point, largest), size)


def stable_chains(dim: int | None = None) -> st.SearchStrategy[GaussianVideo]:
    """Stationary videos: AR(1), AR(2), vector AR(1), seasonal, long memory, static latent.

    Of 1 or 2 pixels; `dim=1`: of 1 only.
    """
    return _read(lambda point: _law_worlds.video(point, dim), 12)


def scalar_chains() -> st.SearchStrategy[ScalarChains]:
    """Pairs of scalar AR(1) chains with equal starts: truth, and a model near or far from it."""
    return _read(_law_worlds.scalar_chains, 10)


def needle_tests() -> st.SearchStrategy[NeedleTest]:
    """Two laws of one finite outcome and an event, with its rates and their divergence."""
    return _read(_law_worlds.needle_test, 12)


def needle_memories() -> st.SearchStrategy[NeedleMemory]:
    """What a memory says of n equiprobable needles, with its best success rate and information."""
    return _read(_law_worlds.needle_memory, 28)


def correlations(size: int) -> st.SearchStrategy[np.ndarray]:
    """Canonical correlations `(size,)`, strongest first: 0, faint, ordinary and close to 1."""
    ordinary = st.floats(0.0, 0.999)
    edge = st.one_of(st.just(0.0), st.floats(1e-8, 1e-3), st.floats(0.999, 1.0 - 1e-12))
    drawn = st.lists(st.one_of(ordinary, edge), min_size=size, max_size=size)
    return drawn.map(lambda values: np.sort(np.array(values))[::-1])


def budgets(largest: float = 10.0) -> st.SearchStrategy[float]:
    """Budgets in nats: 0, ordinary ones up to `largest`, and infinity."""
    return st.one_of(st.floats(0.0, largest), st.sampled_from([0.0, float("inf")]))


def coverage(drawn: Iterable[World]) -> dict[str, int]:
    """How many worlds exercise each feature, most frequent first."""
    counts: dict[str, int] = {}
    for world in drawn:
        for name, present in world.features().items():
            counts[name] = counts.get(name, 0) + present
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# --- laws -----------------------------------------------------------------------------------------


def _bound(result: Decomposition, name: str) -> float:
    return result.error_bound.get(name, result.error_bound.get("chain", 0.0))


def check_non_negative(result: Decomposition) -> None:
    """Theorem A: every term of every step is at least zero, up to its own error bound."""
    for name in ("nie", "see", "de", "see_plus_de", "mb"):
        values = getattr(result, f"{name}_per_step")
        if values is not None:
            slack = _bound(result, name)
            assert values.min() >= -slack, f"{name} = {values.min():.3g} < 0 by over {slack:.3g}"
    for name in ("ie", "output", "clip"):
        value = getattr(result, name)
        if value is not None:
            assert value >= -_bound(result, name), f"{name} = {value:.3g} is negative"


def check_ladder(result: Decomposition) -> None:
    """Corollary A: output KL ≤ chain KL (≤ path KL) ≤ explicit constants."""
    if result.chain is None:
        return
    slack = _bound(result, "chain") + _bound(result, "output")
    if result.output is not None:
        assert result.output <= result.chain + slack, (
            f"output {result.output} > chain {result.chain}"
        )
    if result.path is not None:
        slack_path = _bound(result, "chain") + _bound(result, "path")
        assert result.chain <= result.path + slack_path, (
            f"chain {result.chain} > path {result.path}"
        )
    if result.bound is not None:
        assert result.chain <= result.bound + slack, f"chain {result.chain} > {result.bound}"


def check_theorem_b(result: Decomposition) -> None:
    """Theorem B: the clip KL after every step ≤ IE + Σ (NIE + SEE + DE), without MB."""
    limits = result.theorem_b_per_step
    if limits is None or result.clip_per_step is None:
        return
    slack = _bound(result, "theorem_b") + _bound(result, "clip")
    worst = int(np.argmax(result.clip_per_step - limits))
    assert np.all(result.clip_per_step <= limits + slack), (
        f"clip {result.clip_per_step[worst]} > {limits[worst]} at step {worst + 1}"
    )
