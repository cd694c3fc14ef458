"""Batches of worlds: the same numbers as one at a time, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from arvdm_theory import certified
from arvdm_theory.batched import (
    BatchDecomposition,
    autoregressive_covariance,
    decompose_batch,
    level_grid,
    state_space_covariance,
)
from arvdm_theory.decomposition import decompose
from arvdm_theory.errors import (
    BoundaryError,
    CircularityError,
    MonotonicityError,
    NotPositiveDefiniteError,
    ParameterError,
    RefusedError,
    UnstableError,
)
from arvdm_theory.generator import Biased, Generator, LinearMemory, RecursiveMemory, Scaled
from arvdm_theory.schedule import Schedule
from arvdm_theory.testing import schedules, videos
from arvdm_theory.video import Autoregressive, GaussianVideo, StateSpace, StaticLatent

torch.set_num_threads(1)

TERMS = ("nie", "see", "de", "mb", "output", "clip")
COMMON: dict[str, Any] = {"t_max": 3.0, "t_min": 0.05, "substeps": 4}


def tensor(value: Any, grad: bool = True) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=grad)


def stacked(result: BatchDecomposition, names: tuple[str, ...] = TERMS) -> Any:
    """All totals, `(..., terms)`."""
    values = [getattr(result, name) for name in names]
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values, dim=-1)
    return np.stack(values, axis=-1)


# --- against one world at a time ------------------------------------------------------------------


def batch_of_one(
    video: GaussianVideo, schedule: Schedule, generator: Generator, steps: int
) -> BatchDecomposition:
    kinds: dict[str, Any] = {}
    if isinstance(generator.denoiser, Scaled):
        kinds["scale"] = generator.denoiser.factor
    if isinstance(generator.denoiser, Biased):
        kinds["bias"] = generator.denoiser.bias
    if isinstance(generator.memory, LinearMemory):
        kinds["memory"] = generator.memory.weights
    if isinstance(generator.memory, RecursiveMemory) and steps > 1:
        move, put = generator.memory.transition, generator.memory.input
        powers = [np.linalg.matrix_power(move, n) for n in range((steps - 1) * schedule.stride)]
        kinds["memory"] = np.stack([power @ put for power in powers])
    if schedule.renoised and generator.reference:
        kinds["context_level"] = schedule.context_level
    frames = (steps - 1) * schedule.stride + schedule.window
    return decompose_batch(
        video.covariance(frames),
        schedule.grid,
        steps=steps,
        stride=schedule.stride,
        dim=video.dim,
        mean=video.means(frames),
        reference=generator.reference,
        **kinds,
    )


def same(video: GaussianVideo, schedule: Schedule, generator: Generator, steps: int) -> None:
    """The batch of one world is `decompose`, to what both state that they may be off."""
    batch = batch_of_one(video, schedule, generator, steps)
    one = decompose(video, schedule, generator, steps=steps)
    for name in (*TERMS, "chain"):
        value, expected = float(getattr(batch, name)), getattr(one, name)
        if expected is None:
            continue
        slack = float(batch.error_bound[name]) + one.error_bound[name]
        assert abs(value - expected) <= slack, (name, value, expected, slack)
        if name in TERMS:
            per_step = getattr(batch, f"{name}_per_step") - getattr(one, f"{name}_per_step")
            assert np.abs(per_step).max() <= slack, name


@st.composite
def worlds(draw: st.DrawFn) -> tuple[GaussianVideo, Schedule, Generator, int]:
    schedule = draw(schedules(4, 3))
    if schedule.context_noise == "label":
        schedule = replace(schedule, context_noise="none", context_level=None)
    steps = draw(st.integers(1, 4))
    frames = (steps - 1) * schedule.stride + schedule.window
    video = draw(videos(frames, draw(st.integers(1, 2))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    denoiser = draw(
        st.sampled_from([Generator().denoiser, Scaled(1.04), Biased(rng.normal(0, 0.2, video.dim))])
    )
    size = draw(st.integers(1, 2))
    weights = rng.standard_normal((draw(st.integers(1, 4)), size, video.dim))
    move = 0.8 * np.linalg.qr(rng.standard_normal((size, size)))[0]
    recursive = RecursiveMemory(move, rng.standard_normal((size, video.dim)))
    memory = draw(st.sampled_from([None, LinearMemory(weights), recursive]))
    reference = draw(st.sampled_from([0, 1, 2, 5]))
    return video, schedule, Generator(denoiser, reference=reference, memory=memory), steps


@settings(max_examples=25, deadline=None)
@given(worlds())
def test_one_world_is_decompose(world: Any) -> None:
    same(*world)


@pytest.mark.heavy
@settings(max_examples=400, deadline=None)
@given(worlds())
def test_many_worlds_are_decompose(world: Any) -> None:
    same(*world)


@pytest.mark.heavy
@settings(max_examples=40, deadline=None)
@given(worlds())
def test_bounds_hold_against_proved_numbers(world: Any) -> None:
    try:
        proved = certified.decompose(*world[:3], steps=world[3])
    except RefusedError:
        assume(False)
    batch = batch_of_one(*world)
    for name in (*TERMS, "chain"):
        ball, value = getattr(proved, name), float(getattr(batch, name))
        bound = float(batch.error_bound[name])
        assert ball.lower - bound <= value <= ball.upper + bound, (name, value, ball, bound)


VECTOR = Autoregressive(
    [[[0.5, 0.2], [-0.1, 0.4]], [[0.2, 0.0], [0.1, 0.2]]], [[0.3, 0.1], [0.1, 0.5]], dim=2, mean=0.3
)
LAGS = np.random.default_rng(1).standard_normal((3, 2, 2))


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.fifo(4, **COMMON),
        Schedule.outpainting(4, 2, **COMMON),
        Schedule.chunk(3, **COMMON),
        Schedule.staircase(4, 2, **COMMON, context_noise="noise", context_level=0.4),
        Schedule.next_frame(t_max=2.0, t_min=0.05, substeps=1),
    ],
    ids=["fifo", "outpainting", "chunk", "staircase, noised references", "next frame, one step"],
)
@pytest.mark.parametrize("denoiser", [Generator().denoiser, Scaled(0.97), Biased(0.1)])
def test_relative_agreement(schedule: Schedule, denoiser: Any) -> None:
    """To nine digits, in well-conditioned worlds (where the bounds are far below that)."""
    generator = Generator(denoiser, reference=1, memory=LinearMemory(LAGS))
    same(VECTOR, schedule, generator, 4)
    one = decompose(VECTOR, schedule, generator, steps=4)
    kinds: dict[str, Any] = {"scale": 0.97} if isinstance(denoiser, Scaled) else {}
    kinds |= {"bias": 0.1} if isinstance(denoiser, Biased) else {}
    batch = decompose_batch(
        autoregressive_covariance(VECTOR.coefficients, VECTOR.noise_variance, 12, dim=2),
        schedule.grid,
        steps=4,
        stride=schedule.stride,
        dim=2,
        mean=0.3,
        reference=1,
        memory=LAGS,
        context_level=schedule.context_level,
        **kinds,
    )
    for name in (*TERMS, "chain"):
        np.testing.assert_allclose(getattr(batch, name), getattr(one, name), rtol=1e-9, atol=1e-15)


def test_against_certified_balls() -> None:
    """Small terms keep their digits, and the stated bounds hold against proved numbers."""
    for phi, t_max in ((0.8, 3.0), (1e-4, 7.0)):
        video = Autoregressive([phi], 1.0)
        schedule = Schedule.fifo(2, t_max=t_max, t_min=0.05, substeps=3)
        proved = certified.decompose(
            video, schedule, Generator(reference=1), steps=3, tolerance=1e-30
        )
        batch = decompose_batch(video.covariance(4), schedule.grid, steps=3, stride=1, reference=1)
        for name in ("nie", "de", "mb", "chain", "output", "clip"):
            ball = getattr(proved, name)
            value, bound = float(getattr(batch, name)), float(batch.error_bound[name])
            assert ball.lower - bound <= value <= ball.upper + bound, (phi, name)
            assert value == pytest.approx(ball.value, rel=1e-6, abs=0.0), (phi, name)
    assert 0.0 < float(batch.nie) < 1e-12 and 0.0 < float(batch.mb) < 1e-12


def test_denoising_error_is_quadratic() -> None:
    """SEE of a scale 1 + h is h² times the same number down to h = 1e-9."""
    clean, grid = VECTOR.covariance(7), Schedule.fifo(4, **COMMON).grid
    h = np.array([1e-9, 1e-6, 1e-3])
    see = decompose_batch(clean, grid, steps=4, stride=1, dim=2, scale=1.0 + h, mean=0.3).see
    np.testing.assert_allclose(see / ((1.0 + h) - 1.0) ** 2, see[-1] / 1e-6, rtol=1e-12)


# --- batches --------------------------------------------------------------------------------------


def test_everything_broadcasts() -> None:
    """Leading axes of every argument, against the calls one by one."""
    rng = np.random.default_rng(0)
    process = rng.uniform(-0.4, 0.5, (3, 1, 2))  # worlds (3, 2)
    tops, deltas = np.array([2.5, 4.0]), np.array([0.05, 0.02])
    ladders = np.stack([0.3 * tops, 0.6 * tops, tops], axis=-1)
    weights = rng.standard_normal((2, 3, 1, 1))
    scales, biases = rng.uniform(0.9, 1.1, (3, 1)), rng.normal(0.0, 0.1, (2, 1))
    levels, means = np.array([0.3, 0.5]), rng.standard_normal((3, 1, 1, 1))
    common: dict[str, Any] = {"steps": 3, "stride": 1, "reference": 1}
    both = decompose_batch(
        autoregressive_covariance(process, 0.7, 5),
        level_grid(ladders, deltas, stride=1, substeps=2),
        memory=weights,
        scale=scales,
        bias=biases,
        context_level=levels,
        mean=means,
        **common,
    )
    assert both.chain.shape == (3, 2) and both.de_per_step.shape == (3, 2, 3)
    assert repr(both) == "BatchDecomposition(worlds=(3, 2), K=3)"
    for i in range(3):
        for j in range(2):
            one = decompose_batch(
                autoregressive_covariance(process[i, 0], 0.7, 5),
                level_grid(ladders[j], deltas[j], stride=1, substeps=2),
                memory=weights[j],
                scale=scales[i, 0],
                bias=biases[j],
                context_level=levels[j],
                mean=means[i, 0],
                **common,
            )
            np.testing.assert_allclose(stacked(both)[i, j], stacked(one), rtol=1e-11)
            for name, bound in one.error_bound.items():
                assert both.error_bound[name].shape == (3, 2)
                np.testing.assert_allclose(both.error_bound[name][i, j], bound, rtol=1e-6)


def test_tensors_are_the_same_numbers() -> None:
    covariance = np.stack([VECTOR.covariance(7), 2.0 * VECTOR.covariance(7)])
    options: dict[str, Any] = {"steps": 4, "stride": 1, "dim": 2, "reference": 1}
    grid = np.array(Schedule.fifo(4, **COMMON).grid)
    arrays = decompose_batch(covariance, grid, memory=LAGS, scale=1.02, **options)
    # one tensor among arrays and numbers is enough; single precision is converted
    for first in (tensor(covariance, False), tensor(covariance, False).to(torch.float32)):
        tensors = decompose_batch(first, grid, memory=LAGS, scale=1.02, **options)
        assert all(getattr(tensors, name).dtype == torch.float64 for name in TERMS)
        rtol = 1e-10 if first.dtype == torch.float64 else 1e-4
        np.testing.assert_allclose(stacked(tensors).numpy(), stacked(arrays), rtol=rtol)
        for name, bound in arrays.error_bound.items():
            np.testing.assert_allclose(tensors.error_bound[name].numpy(), bound, rtol=1e-2)


def test_processes_are_the_videos() -> None:
    np.testing.assert_allclose(
        autoregressive_covariance(VECTOR.coefficients, VECTOR.noise_variance, 5, dim=2),
        VECTOR.covariance(5),
        rtol=0.0,
        atol=1e-14,
    )
    rng = np.random.default_rng(3)
    move, emission = 0.4 * rng.standard_normal((3, 3)), rng.standard_normal((2, 3))
    own, seen = np.diag([0.3, 0.2, 0.5]), np.array([[0.2, 0.1], [0.1, 0.4]])
    parts = (move, emission, own, seen)
    np.testing.assert_allclose(
        state_space_covariance(*parts, 5), StateSpace(*parts).covariance(5), rtol=0.0, atol=1e-13
    )
    start = np.diag([2.0, 0.1, 1.0])
    begun = StateSpace(*parts, initial={"mean": np.zeros(3), "covariance": start})
    np.testing.assert_allclose(
        state_space_covariance(*parts, 5, initial=start), begun.covariance(5), rtol=0.0, atol=1e-13
    )
    # and batched, leading axes of each
    many = state_space_covariance(
        np.stack([move, 0.5 * move])[:, None], emission, own, np.stack([seen] * 3), 4
    )
    assert many.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(
        many[1, 2], StateSpace(0.5 * move, *parts[1:]).covariance(4), rtol=0.0, atol=1e-13
    )


def test_grids_are_those_of_schedules() -> None:
    for schedule in (Schedule.fifo(4, **COMMON), Schedule.outpainting(5, 2, **COMMON)):
        made = level_grid(schedule.input_levels, 0.05, stride=schedule.stride, substeps=4)
        np.testing.assert_array_equal(made, schedule.grid)
        made = level_grid(
            schedule.input_levels, 0.05, stride=schedule.stride, inner=schedule.grid[1:-1]
        )
        np.testing.assert_array_equal(made, schedule.grid)


# --- gradients ------------------------------------------------------------------------------------

PROCESS = {"coefficients": [[0.5, 0.3], [0.6, -0.2]], "noise": [0.3, 1.0]}
LADDER = {"ladder": [0.6, 1.2, 2.5], "delta": 0.05}
KNOWN: dict[str, Any] = PROCESS | LADDER


def totals(names: tuple[str, ...] = TERMS, **given: Any) -> Any:
    """Every term of two scalar worlds; what is not given is as in KNOWN."""
    given = KNOWN | given
    clean = given.get("covariance")
    if clean is None:
        clean = autoregressive_covariance(given["coefficients"], given["noise"], 5)
    inner = given.get("inner")
    grid = level_grid(
        given["ladder"],
        given["delta"],
        stride=1,
        substeps=2 if inner is None else None,
        inner=inner,
    )
    rest = {name: given[name] for name in ("memory", "scale", "bias", "mean") if name in given}
    result = decompose_batch(
        clean, grid, steps=3, stride=1, reference=1, context_level=given.get("level"), **rest
    )
    return stacked(result, names)


def differentiable(function: Callable[..., Any], **given: Any) -> None:
    names, values = list(given), [tensor(value) for value in given.values()]

    def call(*arrays: torch.Tensor) -> Any:
        return function(**dict(zip(names, arrays, strict=True)))

    # every term by itself: one row of the output each
    assert torch.autograd.gradcheck(call, values, eps=1e-6, atol=1e-7, rtol=1e-5)


MEMORY = [[[0.7]], [[0.2]]]


@pytest.mark.parametrize(
    "given",
    [
        {"coefficients": PROCESS["coefficients"], "noise": PROCESS["noise"]},
        LADDER,
        {"delta": 0.05, "inner": [[0.3, 0.9, 1.9]]},
        {"memory": MEMORY, "ladder": LADDER["ladder"]},
        {"scale": 1.05, "bias": 0.1, "mean": 0.3, "delta": 0.05},
        {"level": 0.4, "memory": MEMORY, "noise": PROCESS["noise"]},
    ],
    ids=["process", "ladder", "grid", "memory", "denoiser", "re-noised references"],
)
def test_every_term_has_its_gradient(given: dict[str, Any]) -> None:
    differentiable(totals, **given)
    fixed = {name: tensor(value) for name, value in given.items()}
    fixed.setdefault("scale", tensor(1.05))
    value = totals(**fixed)
    assert bool(torch.isfinite(value).all())
    for i, name in enumerate(TERMS):
        grads = torch.autograd.grad(value[..., i].sum(), list(fixed.values()), retain_graph=True)
        assert all(bool(torch.isfinite(grad).all()) for grad in grads), name


def test_vector_frames_have_gradients() -> None:
    move, noise = np.array(VECTOR.coefficients), np.array(VECTOR.noise_variance)
    grid = Schedule.outpainting(2, 1, t_max=2.5, t_min=0.05, substeps=2).grid

    def process(move: Any, noise: Any, memory: Any) -> Any:
        clean = autoregressive_covariance(move, noise, 4, dim=2)
        result = decompose_batch(clean, grid, steps=3, stride=1, dim=2, memory=memory)
        return stacked(result, ("nie", "de", "mb", "output", "clip"))

    differentiable(process, move=move, noise=noise, memory=LAGS[:2, :1])

    def states(move: Any, emission: Any, own: Any, seen: Any, initial: Any) -> Any:
        clean = state_space_covariance(move, emission, own, seen, 3, initial=initial)
        return stacked(decompose_batch(clean, grid, steps=2, stride=1), ("nie", "de", "mb"))

    differentiable(
        states,
        move=[[0.8, 0.3], [-0.3, 0.7]],
        emission=[[1.0, 0.4]],
        own=[[0.5, 0.1], [0.1, 0.2]],
        seen=[[0.1]],
        initial=[[1.0, 0.0], [0.0, 2.0]],
    )


def test_levels_that_are_one_are_one_number() -> None:
    """The derivative by a grid: by the level at which a frame enters, not that at which it left."""
    grid = torch.tensor(np.array(Schedule.fifo(3, **COMMON).grid), requires_grad=True)
    options: dict[str, Any] = {"steps": 3, "stride": 1, "reference": 1}
    clean = autoregressive_covariance([0.7], 0.5, 5)
    [by_grid] = torch.autograd.grad(decompose_batch(clean, grid, **options).chain, [grid])
    fixed = grid.detach()
    ladder, delta = fixed[0].clone().requires_grad_(True), fixed[-1, 0].clone().requires_grad_(True)
    made = level_grid(ladder, delta, stride=1, inner=fixed[1:-1])
    chain = decompose_batch(clean, made, **options).chain
    by_ladder, by_delta = torch.autograd.grad(chain, [ladder, delta])
    torch.testing.assert_close(by_grid[0], by_ladder)
    torch.testing.assert_close(by_grid[-1, 0], by_delta)
    assert by_grid[-1, 1:].tolist() == [0.0, 0.0]


def test_the_gradient_is_that_of_decompose() -> None:
    """Central differences of the NumPy calculator, along the coefficient and the ladder."""
    phi, top = tensor(0.7), tensor(1.4)
    ladder = torch.stack([tensor(0.6, False), top, tensor(2.5, False)])
    grid = level_grid(ladder, 0.05, stride=1, substeps=3)
    clean = autoregressive_covariance(phi[None], 0.5, 5)
    result = decompose_batch(clean, grid, steps=3, stride=1, reference=1, scale=1.1)

    def other(phi: float, top: float) -> np.ndarray:
        levels = [0.6, top, 2.5], [0.05, 0.6, top]
        one = decompose(
            Autoregressive([phi], 0.5),
            Schedule(3, 1, *levels, substeps=3),
            Generator(Scaled(1.1), reference=1),
            steps=3,
        )
        return np.array([getattr(one, name) for name in TERMS])

    h = 1e-5
    slopes = [
        (other(0.7 + h, 1.4) - other(0.7 - h, 1.4)) / (2 * h),
        (other(0.7, 1.4 + h) - other(0.7, 1.4 - h)) / (2 * h),
    ]
    for i in range(len(TERMS)):
        value = stacked(result)[i]
        found = torch.autograd.grad(value, [phi, top], retain_graph=True)
        for grad, slope in zip(found, slopes, strict=True):
            assert grad.item() == pytest.approx(slope[i], rel=1e-6, abs=1e-8)


def test_degenerate_points_have_finite_gradients() -> None:
    """MB exactly 0, singular covariances, levels that stand still, dependent and empty memories."""
    clean = tensor(StaticLatent(0.0).covariance(6))  # one number, seen for ever: rank 1
    delta, weights = tensor(0.05), tensor([[[0.0], [1.0], [2.0]], [[0.0], [0.5], [1.0]]])
    grid = level_grid(torch.stack([delta, delta, tensor(2.5, False)]), delta, stride=1, substeps=3)
    everything: dict[str, Any] = {"steps": 4, "stride": 1}
    for options in (
        everything | {"reference": 3},  # all of the past: nothing is forgotten
        everything | {"memory": weights},  # one row is empty, two are the same
        everything | {"scale": tensor(1.0), "bias": tensor(0.0)},
    ):
        result = decompose_batch(clean, grid, **options)
        if "reference" in options:
            assert abs(result.mb.item()) <= result.error_bound["mb"].item() <= 1e-8
        inputs = [clean, delta]
        inputs += [item for item in options.values() if isinstance(item, torch.Tensor)]
        for name in TERMS:
            if not getattr(result, name).requires_grad:
                assert name == "see" and "scale" not in options  # zero, whatever the world
                continue
            grads = torch.autograd.grad(
                getattr(result, name).sum(), inputs, retain_graph=True, allow_unused=True
            )
            assert all(g is None or bool(torch.isfinite(g).all()) for g in grads), name
    # white noise: nothing to forget, whatever the derivative
    phi = tensor([0.0])
    white = decompose_batch(autoregressive_covariance(phi, 1.0, 7), grid, steps=4, stride=1)
    white.mb.backward()
    assert white.mb.item() == 0.0 and phi.grad.tolist() == [0.0]


def test_gradient_descent_finds_the_better_ladder() -> None:
    """Two frames of white noise: the middle level of least DE, against a fine grid search."""
    clean = np.eye(4)

    def chain(middle: torch.Tensor) -> torch.Tensor:
        ladder = torch.stack([middle, torch.full_like(middle, 3.0)], dim=-1)
        grid = level_grid(ladder, 0.05, stride=1, substeps=2)
        return decompose_batch(clean, grid, steps=3, stride=1).chain

    log_level = tensor(0.0)
    descent = torch.optim.LBFGS([log_level], max_iter=15, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        descent.zero_grad()
        loss = chain(torch.exp(log_level))
        loss.backward()
        return loss

    descent.step(closure)
    search = torch.linspace(0.1, 2.0, 401, dtype=torch.float64)
    best = search[torch.argmin(chain(search))]
    assert abs(torch.exp(log_level).item() - best.item()) <= 0.005


# --- devices --------------------------------------------------------------------------------------


class NoWaiting(TorchDispatchMode):
    """Fails where a number leaves the device, or a kernel would have to be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for word in ("_local_scalar_dense", "check_errors", "nonzero", "_to_copy", "equal.default"):
            assert word not in str(func), func
        return func(*args, **(kwargs or {}))


def everything() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    given = {
        **KNOWN,
        "memory": MEMORY,
        "scale": 1.05,
        "bias": 0.1,
        "mean": 0.3,
        "level": 0.4,
    }
    tensors = {name: tensor(value) for name, value in given.items()}
    return totals(**tensors), tensors


def test_nothing_leaves_the_device() -> None:
    with NoWaiting():
        value, tensors = everything()
        value.sum().backward()
    assert all(item.grad is not None for item in tensors.values())
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():
        value.sum().item()  # the check would notice


def test_every_constant_is_made_on_the_device() -> None:
    """On a device without values, where a tensor of another device is refused."""
    given = {**KNOWN, "memory": MEMORY, "scale": 1.05, "bias": 0.1, "mean": 0.3, "level": 0.4}
    with FakeTensorMode():
        tensors = {name: torch.empty(np.shape(x), device="meta") for name, x in given.items()}
        for options in ({}, {"level": None}, {"inner": torch.empty((1, 3), device="meta")}):
            value = totals(**tensors | options)
            assert value.device.type == "meta" and value.shape == (2, len(TERMS))
        with pytest.raises(RuntimeError, match="on the same device"):
            value @ torch.eye(len(TERMS))  # the check would notice


def test_vmap_and_grad_of_functions() -> None:
    moves, noises = tensor(PROCESS["coefficients"], False), tensor(PROCESS["noise"], False)

    def one(move: Any, noise: Any) -> Any:
        return totals(coefficients=move, noise=noise, memory=tensor(MEMORY, False), scale=1.1)

    torch.testing.assert_close(torch.func.vmap(one)(moves, noises), one(moves, noises))
    grads = torch.func.vmap(torch.func.grad(lambda *given: one(*given).sum()))(moves, noises)
    given = moves.clone().requires_grad_(True)
    [expected] = torch.autograd.grad(one(given, noises).sum(), [given])
    torch.testing.assert_close(grads, expected)


def test_impossible_worlds_of_tensors_are_nan() -> None:
    """Only they: their neighbours keep their numbers."""
    good = totals(coefficients=tensor([0.5], False))
    stable = totals(
        coefficients=tensor([[0.5], [1.1], [-1.0], [1.1]], False), noise=[0.3, 1.0, 1.0, 1e-6]
    )
    assert bool(torch.isfinite(stable[0]).all()) and bool(torch.isnan(stable[1:]).all())
    torch.testing.assert_close(stable[0], good[0])
    ladders = [[0.6, 1.2, 2.5], [0.6, 0.5, 2.5], [0.01, 0.5, 2.5], [-0.6, 1.2, 2.5]]
    levels = totals(coefficients=[0.5], noise=0.3, ladder=tensor(ladders, False))
    torch.testing.assert_close(levels[0], good[0])
    assert bool(torch.isnan(levels[1:]).all())
    renoised = totals(
        coefficients=tensor([0.5], False), noise=0.3, level=tensor([0.4, 0.05], False)
    )
    assert torch.isnan(renoised).all(-1).tolist() == [False, True]
    grid = torch.tensor(np.array(Schedule.fifo(3, **COMMON).grid))
    grid[-1, 1] += 1e-3  # no longer circular
    assert bool(torch.isnan(decompose_batch(torch.eye(5), grid, steps=3, stride=1).chain))
    indefinite = torch.stack([torch.eye(5), torch.eye(5) - 0.4])
    result = decompose_batch(indefinite, Schedule.fifo(3, **COMMON).grid, steps=3, stride=1)
    assert torch.isnan(result.chain).tolist() == [False, True]


# --- refusals -------------------------------------------------------------------------------------

GRID = np.array(Schedule.fifo(3, **COMMON).grid)


def call(covariance: Any = None, grid: Any = GRID, **options: Any) -> BatchDecomposition:
    clean = np.eye(5) if covariance is None else covariance
    return decompose_batch(clean, grid, **({"steps": 3, "stride": 1} | options))


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ParameterError, match="sampler must be ancestral"):
        call(sampler="ddim")
    with pytest.raises(ParameterError, match="covariance must be of shape"):
        call(np.eye(4))
    with pytest.raises(NotPositiveDefiniteError, match="covariance must be symmetric"):
        call(np.eye(5) + np.tri(5))
    with pytest.raises(NotPositiveDefiniteError, match=r"level t_min must be.*at \(1,\)"):
        call(np.stack([np.eye(5), np.eye(5) - 0.4]))
    with pytest.raises(ParameterError, match="grid must be of shape"):
        call(grid=GRID[:1])
    for row, column, level, error in (
        (1, 0, 0.0, BoundaryError),
        (1, 0, 2.9, MonotonicityError),
        (-1, 1, 0.9, CircularityError),
    ):
        grid = GRID.copy()
        grid[row, column] = level
        with pytest.raises(error, match="grid must be"):
            call(grid=grid)
    falling = level_grid([2.2, 2.0, 3.0], 0.05, stride=1, inner=[[0.5, 1.5, 2.5]])
    with pytest.raises(MonotonicityError, match="grid must be non-increasing"):
        call(grid=falling)  # frame 2 would have to rise to where frame 1 entered
    with pytest.raises(BoundaryError, match="t_max above t_min"):
        call(grid=np.full((2, 1), 1.0))
    with pytest.raises(MonotonicityError, match="input_levels"):
        level_grid([0.5, 1.0], 0.6, stride=1, substeps=2)
    with pytest.raises(BoundaryError, match="input_levels must be T for the last 2"):
        level_grid([0.5, 1.0], 0.1, stride=2, substeps=2)
    assert bool(torch.isnan(level_grid(tensor([0.5, 1.0]), 0.1, stride=2, substeps=2)).any())
    with pytest.raises(ParameterError, match="substeps must be given, or inner"):
        level_grid([0.5, 1.0], 0.1, stride=1)
    with pytest.raises(ParameterError, match=r"stride must be in 1..window \(3\)"):
        call(stride=4)
    with pytest.raises(ParameterError, match="context_level must be absent without"):
        call(context_level=0.4)
    with pytest.raises(ParameterError, match="context_level must be above t_min"):
        call(context_level=0.05, reference=1)
    with pytest.raises(ParameterError, match="memory must be of shape"):
        call(memory=np.ones((2, 1, 2)))
    with pytest.raises(ParameterError, match="bias must be a number or"):
        call(bias=np.ones(2))
    with pytest.raises(ParameterError, match="mean must be a number or"):
        call(mean=np.ones((3, 1)))
    with pytest.raises(ParameterError, match="scale must be finite"):
        call(scale=np.nan)
    with pytest.raises(ParameterError, match="within the range of double precision"):
        call(scale=1e200)
    with pytest.raises(UnstableError, match=r"spectral radius 1\.1"):
        autoregressive_covariance([[0.5], [1.1]], 1.0, 3)
    with pytest.raises(ParameterError, match="noise_covariance must be of shape"):
        autoregressive_covariance(VECTOR.coefficients, 1.0, 3, dim=2)
    with pytest.raises(ParameterError, match="emission_noise must be of shape"):
        state_space_covariance([[0.5]], [[1.0]], [[1.0]], np.eye(2), 3)
    with pytest.raises(ParameterError, match="must be of shapes that broadcast"):
        call(np.ones((2, 1, 1)) * np.eye(5), scale=np.ones(3))
    with pytest.raises(ParameterError, match="must be of shapes that broadcast"):
        autoregressive_covariance([[0.5], [0.4]], np.ones(3), 3)
    with pytest.raises(ParameterError, match="must be of shapes that broadcast"):
        level_grid(np.ones((2, 3)), np.ones(3), stride=1, substeps=1)
    with pytest.raises(ParameterError, match="memory must be on the device of covariance"):
        call(torch.eye(5), memory=torch.ones((1, 1, 1), device="meta"))
    with pytest.raises(ParameterError, match="scale must be of real numbers"):
        call(torch.eye(5), scale=torch.tensor(1.0 + 1.0j))
