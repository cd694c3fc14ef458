"""T1–T4 where the truth is known: exact denoisers, exact terms, exact coverage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from arvdm_theory import (
    Autoregressive,
    Biased,
    Estimated,
    Exact,
    GaussianVideo,
    Generator,
    Panorama,
    ParameterError,
    RandomPerturbation,
    Scaled,
    Schedule,
    Seasonal,
    StaticLatent,
    TooLittleDataError,
    compare_schedules,
    decompose,
    noise,
)
from arvdm_theory.empirical import (
    Adapter,
    Estimate,
    Proportion,
    clopper_pearson,
    denoising_loss,
    exact_denoiser,
    frame_scores,
    frechet_distance,
    from_diffusers,
    from_edm,
    from_epsilon,
    from_flow,
    from_score,
    from_torch,
    from_v,
    fvd,
    gaussian_frechet_distance,
    least_loss,
    memory_bottleneck_estimate,
    needle_bound,
    over_seeds,
    psnr_decay,
    published_rate_bound,
    retrieval,
    score_error,
)
from arvdm_theory.generator import Denoiser, resolve

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

LEVELS: dict[str, Any] = {"t_max": 3.0, "t_min": 0.05}
CHUNK = Schedule.chunk(2, **LEVELS, substeps=6)
STEPS = 3

WORLDS: dict[str, GaussianVideo] = {
    "short memory": Autoregressive([0.2, 0.7], 0.3, dim=2),
    "seasonal": Seasonal(period=6, persistence=0.95, noise_variance=0.1, dim=2, mean=0.5),
    "panorama": Panorama(
        [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 4, 3], dim=3, correlation_length=2.0, noise_variance=0.02
    ),
}

SCHEDULES: dict[str, Schedule] = {
    "chunk": CHUNK,
    "fifo": Schedule.fifo(3, **LEVELS, substeps=3),
    "outpainting": Schedule.outpainting(3, 1, **LEVELS, substeps=5),
    "staircase": Schedule.staircase(4, 2, **LEVELS, substeps=3),
    "re-noised": Schedule.chunk(2, **LEVELS, substeps=6, context_noise="noise", context_level=0.3),
    "labelled": Schedule.chunk(2, **LEVELS, substeps=6, context_noise="label", context_level=0.3),
}

DENOISERS: dict[str, Denoiser] = {
    "exact": Exact(),
    "scaled": Scaled(1.1),
    "random": RandomPerturbation(0.2, seed=3),
    "estimated": Estimated(100, seed=4),
}

#: 4.5 standard errors: a right estimator fails once in 1e5 comparisons (normal tails; the sums are
#: over 100 or more clips), and there are some 100 here.
LIMIT = 4.5


def frames_needed(schedule: Schedule, steps: int = STEPS) -> int:
    return schedule.roll_out(steps=steps).needed


@dataclass(frozen=True, eq=False)
class LawDenoiser:
    """Any denoiser of the library as a protocol call, from the decomposition's own coefficients."""

    video: GaussianVideo
    schedule: Schedule
    denoiser: Denoiser
    reference: int
    steps: int = STEPS
    first: int = 0
    positional: bool = True

    def at_frame(self, first: int) -> LawDenoiser:
        return replace(self, first=first)

    @property
    def world(self) -> Any:
        return _resolved(self.video, self.schedule, self.denoiser, self.reference, self.steps)

    def __call__(self, x: Any, gamma: Any, *, reference: Any = None, **given: Any) -> Any:
        world, k = self.world, self.first // self.schedule.stride
        size, window, dim = x.shape
        context = np.zeros((size, self.reference * dim))
        if reference is not None:
            context[:, -reference.shape[1] * dim :] = reference.reshape(size, -1)
        truth = world.truth
        out = np.empty((size, window * dim))
        distance = np.abs(np.log(gamma)[:, None] - np.log(self.schedule.gammas[:-1])).sum(-1)
        for row, n in enumerate(distance.argmin(1)):
            affine = _coefficients(world, int(n))
            alpha = np.repeat(np.sqrt(gamma[row] / (1.0 + gamma[row])), dim)
            out[row] = (
                truth.mean[k]
                + affine.window[k] @ (x[row].ravel() - alpha * truth.mean[k])
                + affine.context[k] @ (context[row] - truth.context_mean[k])
                + affine.offset[k]
            )
        return out.reshape(x.shape)


@cache
def _resolved(
    video: GaussianVideo, schedule: Schedule, denoiser: Denoiser, reference: int, steps: int
) -> Any:
    return resolve(video, schedule, Generator(denoiser, reference=reference), steps)


@cache
def _coefficients(world: Any, n: int) -> Any:
    return world.denoiser_at(n)


@dataclass(frozen=True, eq=False)
class Network:
    """An imperfect network at any level and with any context: c times the exact denoiser + bias."""

    exact: Any
    factor: float = 1.0
    bias: float = 0.0
    positional: bool = True

    def at_frame(self, first: int) -> Network:
        return replace(self, exact=self.exact.at_frame(first))

    def __call__(self, x: Any, gamma: Any, **given: Any) -> Any:
        return self.factor * self.exact(x, gamma, **given) + self.bias


# --- the exact denoiser ---------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_direct_conditioning_is_the_window_law(world: str, schedule: str) -> None:
    # two algorithms, one number: every clip's loss, to rounding
    video, plan = WORLDS[world], SCHEDULES[schedule]
    reference = 0 if schedule == "fifo" else 2
    clips = video.sample(6, frames=frames_needed(plan), seed=5)
    options: dict[str, Any] = {"reference": reference, "steps": STEPS}
    direct = denoising_loss(exact_denoiser(video, plan), plan, clips, **options)
    law = LawDenoiser(video, plan, Exact(), reference)
    assert np.allclose(
        direct.total.samples, denoising_loss(law, plan, clips, **options).total.samples, rtol=1e-10
    )


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_least_loss_is_theorem_c(world: str, schedule: str) -> None:
    video, plan = WORLDS[world], SCHEDULES[schedule]
    generator = Generator(reference=2)
    floor = least_loss(video, plan, reference=2, steps=STEPS)
    terms = decompose(video, plan, generator, steps=STEPS)
    [row] = compare_schedules(video, [plan], generator, frames=STEPS * plan.stride)
    assert np.isclose(floor.de.sum(), terms.de, rtol=1e-9)
    assert np.allclose(floor.mb, terms.mb_per_step, rtol=1e-9, atol=1e-12)
    assert terms.see is not None
    assert np.isclose(floor.total + terms.see, row.loss, rtol=1e-9)  # see > 0 for labels only


def test_context_and_memory_shift_the_steps() -> None:
    # 4 frames of context are two steps of a chunk schedule of 2
    video = WORLDS["panorama"]
    whole = least_loss(video, CHUNK, reference=1, memory=2, steps=5)
    late = least_loss(video, CHUNK, reference=1, memory=2, context=4, steps=3)
    assert np.allclose(whole.by_step[2:], late.by_step, rtol=1e-9)
    assert np.all(least_loss(video, CHUNK, memory=None, steps=4).mb < 1e-9)


def test_the_exact_denoiser_reads_pictures_and_tensors() -> None:
    video = Autoregressive([0.5], 0.75, dim=12)
    exact = exact_denoiser(video, 0.05)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3, 2, 12))
    gamma = np.exp(rng.standard_normal((3, 2)))
    expected = exact(vectors, gamma, reference=vectors[:, :1])
    pictures = np.moveaxis(vectors.reshape(3, 2, 2, 2, 3), -1, 2)
    found = exact(pictures, gamma, reference=pictures[:, :1])
    assert np.allclose(np.moveaxis(found, 2, -1).reshape(3, 2, 12), expected)
    tensor = torch.as_tensor(pictures)
    out = exact(tensor, torch.as_tensor(gamma), reference=tensor[:, :1])
    assert out.dtype == torch.float64 and np.allclose(out.numpy(), found)
    with pytest.raises(ParameterError, match="frames of 12 numbers"):
        exact(vectors[..., :5], gamma)


# --- T1 and SEE -----------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("denoiser", DENOISERS)
def test_loss_route_and_truth_route_give_the_same_see(world: str, denoiser: str) -> None:
    video, made = WORLDS[world], DENOISERS[denoiser]
    generator = Generator(made, reference=1)
    see = decompose(video, CHUNK, generator, steps=STEPS).see
    assert see is not None
    frames = frames_needed(CHUNK)
    network, exact = LawDenoiser(video, CHUNK, made, 1), exact_denoiser(video, CHUNK)
    options: dict[str, Any] = {"reference": 1, "steps": STEPS, "draws": 6}
    clips, others = (video.sample(150, frames=frames, seed=seed) for seed in (7, 8))
    loss = denoising_loss(network, CHUNK, clips, seed=1, **options)
    floor = least_loss(video, CHUNK, reference=1, steps=STEPS)
    truth = score_error(network, exact, CHUNK, others, seed=2, **options)
    spread = np.hypot(loss.standard_error, truth.standard_error)
    assert abs(loss.value - floor.total - see) < LIMIT * loss.standard_error
    assert abs(truth.value - see) < LIMIT * truth.standard_error + 1e-12
    assert abs(loss.value - floor.total - truth.value) < LIMIT * spread
    # the paired loss difference is the sharpest loss route
    best = denoising_loss(exact, CHUNK, clips, seed=1, **options)
    gap = loss.difference(best)
    assert abs(gap.value * loss.frames - see) < LIMIT * gap.standard_error * loss.frames + 1e-12
    assert gap.standard_error < loss.per_frame.standard_error


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_and_context_noise(schedule: str) -> None:
    video, plan = WORLDS["short memory"], SCHEDULES[schedule]
    made = Scaled(1.1)
    terms = decompose(video, plan, Generator(made, reference=2), steps=STEPS)
    [row] = compare_schedules(
        video, [plan], Generator(made, reference=2), frames=STEPS * plan.stride
    )
    exact = exact_denoiser(video, plan)
    clips = video.sample(150, frames=frames_needed(plan), seed=11)
    options: dict[str, Any] = {"reference": 2, "steps": STEPS, "draws": 6}
    loss = denoising_loss(Network(exact, 1.1), plan, clips, **options)
    see = score_error(Network(exact, 1.1), exact, plan, clips, **options)
    assert abs(loss.total.z(row.loss)) < LIMIT
    assert abs(see.total.z(terms.see)) < LIMIT
    # negative control: the exact terms of another schedule are far away
    other = SCHEDULES["fifo" if schedule != "fifo" else "chunk"]
    [wrong] = compare_schedules(video, [other], Generator(made), frames=STEPS * other.stride)
    assert abs(loss.total.z(wrong.loss)) > LIMIT


def z_scores(estimate: Callable[[int], float], trials: int) -> np.ndarray:
    return np.array([estimate(seed) for seed in range(trials)])


def check_standard_normal(z: np.ndarray, clips: int) -> None:
    """Mean, spread and coverage of z-scores: each within 4.5 standard errors of a normal's.

    Estimates are positive sums with right-skewed clips (skewness up to 3), so z has a mean of about
    -skewness / (2 sqrt(clips)) and slightly heavy tails: allowed for.
    """
    n = z.size
    skew = 3.0 / (2.0 * np.sqrt(clips))
    assert abs(z.mean()) < 4.5 / np.sqrt(n) + skew
    assert abs(np.mean(z**2) - 1.0) < 4.5 * np.sqrt(2.0 / n) + 2.0 * skew**2
    inside = np.mean(np.abs(z) < scipy.stats.t.ppf(0.975, clips - 1))
    assert inside > 0.95 - 4.5 * np.sqrt(0.95 * 0.05 / n) - skew * 0.05
    assert scipy.stats.kstest(z - z.mean(), "norm").pvalue > 1e-4


def test_standard_errors_are_honest() -> None:
    # z-scores of T1 over independent data and noise; few draws a clip, so all noises matter
    video = WORLDS["short memory"]
    network = Network(exact_denoiser(video, CHUNK), 1.1, 0.1)
    floor = least_loss(video, CHUNK, reference=1, steps=STEPS).total
    see = score_error(
        network,
        network.exact,
        CHUNK,
        video.sample(20_000, frames=6, seed=10**6),
        reference=1,
        draws=3,
        batch=4096,
    )

    def z(seed: int) -> float:
        clips = video.sample(100, frames=frames_needed(CHUNK), seed=seed)
        loss = denoising_loss(network, CHUNK, clips, reference=1, draws=3, seed=seed, batch=300)
        return loss.total.z(floor + see.value)

    check_standard_normal(z_scores(z, 120), 100)


def test_a_wrong_standard_error_is_found() -> None:
    # negative control: a third of the standard error
    z = 3.0 * np.random.default_rng(0).standard_normal(120)
    with pytest.raises(AssertionError):
        check_standard_normal(z, 100)


def test_theorem_c_ranks_schedules_without_generating() -> None:
    # the difference of two measured losses per frame is the difference of two exact ones
    video = WORLDS["short memory"]
    plans = [Schedule.chunk(2, **LEVELS, substeps=m) for m in (3, 12)]
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(150, frames=8, seed=3)
    few, many = (denoising_loss(exact, plan, clips, reference=2, draws=12) for plan in plans)
    rows = compare_schedules(video, plans, Generator(reference=2), frames=8)
    gap = few.difference(many)
    assert abs(gap.z(rows[0].loss_per_frame - rows[1].loss_per_frame)) < LIMIT
    assert gap.value > LIMIT * gap.standard_error  # and it is seen
    unpaired = np.hypot(few.per_frame.standard_error, many.per_frame.standard_error)
    assert gap.standard_error < unpaired


def test_results_add_up_and_do_not_depend_on_the_batch() -> None:
    video = WORLDS["seasonal"]
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(8, frames=8, seed=1)
    one = denoising_loss(exact, CHUNK, clips, reference=2)
    two = denoising_loss(exact, CHUNK, clips, reference=2, batch=7)
    assert np.allclose(one.total.samples, two.total.samples, rtol=1e-12)
    for parts in (one.by_step, one.by_level):
        assert np.isclose(parts.sum(), one.value)
    assert one.frames == 8 and one.by_step.shape == (4,) and one.log_snr.shape == (6, 2)
    assert one.evaluations == 8 * 4 * 6
    assert np.isclose(one.per_frame.value, one.value / 8)
    assert one.interval[0] < one.value < one.interval[1]
    first = denoising_loss(exact, CHUNK, clips, reference=2, steps=1)
    assert np.isclose(first.by_step_error[0], first.standard_error)
    assert np.isclose(first.value, one.by_step[0])
    drawn = denoising_loss(exact, CHUNK, clips, reference=2, draws=5)
    assert drawn.evaluations == 8 * 5
    assert set(one.to_json()) >= {"total", "per_frame", "by_step", "schedule"}


def test_steps_after_a_context() -> None:
    video = WORLDS["panorama"]
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(300, frames=10, seed=2)
    options: dict[str, Any] = {"reference": 1, "memory": 2, "context": 3}
    loss = denoising_loss(exact, CHUNK, clips, draws=6, **options)
    assert loss.by_step.shape == (3,) and loss.frames == 6 and loss.context == 3
    floor = least_loss(video, CHUNK, steps=3, **options)
    assert abs(loss.total.z(floor.total)) < LIMIT
    assert np.all(np.abs(loss.by_step - floor.by_step) < LIMIT * loss.by_step_error)


def test_memory_lengths_share_their_noise() -> None:
    # a network that ignores its memory loses nothing when it is given more of it
    video = WORLDS["short memory"]
    exact = exact_denoiser(video, CHUNK)

    def deaf(x: Any, gamma: Any, **given: Any) -> Any:
        return exact(x, gamma, reference=given["reference"])

    clips = video.sample(8, frames=8, seed=1)
    short = denoising_loss(deaf, CHUNK, clips, reference=1)
    long = denoising_loss(deaf, CHUNK, clips, reference=1, memory=None)
    assert long.difference(short).value == 0.0

    def myopic(x: Any, gamma: Any, **given: Any) -> Any:
        reference = given["reference"]
        return exact(x, gamma, reference=None if reference is None else reference[:, -1:])

    one, two = (denoising_loss(myopic, CHUNK, clips, reference=r) for r in (1, 2))
    assert one.difference(two).value == 0.0


# --- T2 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("factor", [1.0, 1.15])
def test_memory_bottleneck_is_mb_plus_see_without_minus_see_with(world: str, factor: float) -> None:
    video = WORLDS[world]
    frames = frames_needed(CHUNK)
    exact = exact_denoiser(video, CHUNK)
    # the network that sees the past is the better one, so that the two SEE differ
    without, with_past = Network(exact, factor), Network(exact, 1.0 + 0.3 * (factor - 1.0))
    mb = decompose(video, CHUNK, Generator(reference=1), steps=STEPS).mb
    common: dict[str, Any] = {"reference": 1, "steps": STEPS, "panels": 1, "draws": 8}
    estimate = memory_bottleneck_estimate(
        without, with_past, CHUNK, video.sample(200, frames=frames, seed=21), seed=3, **common
    )
    others = video.sample(200, frames=frames, seed=22)
    common |= {"rule": "integral", "seed": 4}
    see0 = score_error(without, exact, CHUNK, others, **common)
    see1 = score_error(with_past, exact, CHUNK, others, memory=None, **common)
    gap = see0.total.difference(see1.total)
    spread = np.hypot(estimate.standard_error, gap.standard_error)
    assert abs(estimate.value - mb - gap.value) < LIMIT * spread
    if factor == 1.0:
        assert gap.value < 1e-12
    else:
        # negative control: the bias is there, so leaving it out is seen where it is large enough
        assert gap.value > LIMIT * gap.standard_error


def test_memory_bottleneck_quadrature_error_is_stated() -> None:
    # with all nodes of every clip the integrand is smooth, so two panels agree with four, far
    # inside the stated error
    video = WORLDS["seasonal"]
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(6, frames=6, seed=2)
    options: dict[str, Any] = {"reference": 1, "steps": STEPS}
    two, four = (
        memory_bottleneck_estimate(exact, exact, CHUNK, clips, panels=panels, **options)
        for panels in (2, 4)
    )
    assert two.quadrature_error is not None and four.quadrature_error is not None
    assert abs(two.value - four.value) < two.quadrature_error
    assert two.quadrature_error < 0.01 * abs(two.value)
    assert four.quadrature_error < two.quadrature_error
    zero = memory_bottleneck_estimate(
        exact, exact, CHUNK, clips, reference=1, memory=None, steps=STEPS, panels=1
    )
    assert zero.value == 0.0  # nothing is forgotten, clip by clip


def test_the_integral_rule_is_the_loss_without_discretisation() -> None:
    video = WORLDS["short memory"]
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(200, frames=6, seed=5)
    loss = denoising_loss(
        exact, CHUNK, clips, reference=1, steps=STEPS, rule="integral", panels=1, draws=8
    )
    floor = least_loss(video, CHUNK, reference=1, steps=STEPS, rule="integral")
    assert floor.de.sum() == 0.0
    assert abs(loss.total.z(floor.total)) < LIMIT


def test_shares_along_principal_components_add_up() -> None:
    # pixel 0 is forgotten, pixel 1 is white: the share is all in the first direction
    video = Autoregressive([np.zeros((2, 2)), np.diag([0.9, 0.0])], np.diag([0.19, 1.0]), dim=2)
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(100, frames=6, seed=3)
    estimate = memory_bottleneck_estimate(
        exact, exact, CHUNK, clips, reference=1, projection=np.eye(2), panels=1, draws=6
    )
    assert estimate.components is not None
    assert np.isclose(estimate.components.sum(), estimate.value)
    assert abs(estimate.components[1]) < 1e-12 < estimate.components[0]
    with pytest.raises(ParameterError, match="orthonormal columns"):
        memory_bottleneck_estimate(exact, exact, CHUNK, clips, projection=2.0 * np.eye(2))


def test_a_budgeted_past_estimates_less() -> None:
    # AR(2) has nothing beyond two frames: one reference and one more frame are all there is
    video = WORLDS["short memory"]
    exact = exact_denoiser(video, 1e-4)
    plan = Schedule.chunk(2, t_max=3.0, t_min=1e-4, substeps=6)
    clips = video.sample(40, frames=8, seed=3)
    options: dict[str, Any] = {"reference": 1, "panels": 1}
    one = memory_bottleneck_estimate(exact, exact, plan, clips, past=1, **options)
    every = memory_bottleneck_estimate(exact, exact, plan, clips, **options)
    none = memory_bottleneck_estimate(exact, exact, plan, clips, past=0, **options)
    assert none.value == 0.0
    assert abs(every.difference(one).value) < 0.01 * every.per_frame.value


# --- torch, bytes, errors -------------------------------------------------------------------------


def test_torch_and_numpy_agree() -> None:
    video = WORLDS["short memory"]
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(6, frames=6, seed=2)
    action = np.random.default_rng(0).standard_normal((6, 6, 1))
    options: dict[str, Any] = {"reference": 1, "memory": 1, "action": action}
    expected = denoising_loss(exact, CHUNK, clips, **options)
    double = denoising_loss(exact, CHUNK, torch.as_tensor(clips), **options)
    assert np.allclose(expected.total.samples, double.total.samples, rtol=1e-12)
    few = {"reference": 1, "draws": 4, "panels": 1}
    assert np.allclose(
        memory_bottleneck_estimate(exact, exact, CHUNK, clips, **few).total.samples,
        memory_bottleneck_estimate(
            exact, exact, CHUNK, torch.as_tensor(clips), **few
        ).total.samples,
        rtol=1e-10,
    )
    single = denoising_loss(exact, CHUNK, torch.as_tensor(clips).float(), **options)
    assert np.allclose(expected.total.samples, single.total.samples, rtol=1e-4)

    module = torch.nn.Linear(2, 2)

    def network(x: Any, gamma: Any, *, reference: Any, memory: Any, action: Any) -> Any:
        assert action.dtype == x.dtype and action.shape[1] == x.shape[1] + sum(
            item.shape[1] for item in (reference, memory) if item is not None
        )
        return module(x)

    tensors = denoising_loss(network, CHUNK, torch.as_tensor(clips).float(), **options)
    arrays = denoising_loss(from_torch(network), CHUNK, clips, **options)
    assert np.allclose(tensors.total.samples, arrays.total.samples, rtol=1e-4)


def test_bytes_are_scaled() -> None:
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (4, 4, 3, 2, 2), dtype=np.uint8)
    seen = []

    def network(x: Any, gamma: Any, **given: Any) -> Any:
        seen.append(float(x.min()))
        return 0.0 * x

    loss = denoising_loss(network, CHUNK, clips)
    scaled = denoising_loss(network, CHUNK, clips / 127.5 - 1.0)
    assert np.allclose(loss.total.samples, scaled.total.samples)
    tensors = denoising_loss(network, CHUNK, torch.as_tensor(clips))
    assert np.allclose(loss.total.samples, tensors.total.samples, rtol=1e-5)
    assert min(seen) < -0.5


def test_reference_gamma_is_passed_with_context_noise_only() -> None:
    clips = WORLDS["short memory"].sample(2, frames=4, seed=0)
    passed: list[Any] = []

    def network(x: Any, gamma: Any, *, reference: Any = None, **given: Any) -> Any:
        passed.append(given.get("reference_gamma"))
        return x

    denoising_loss(network, CHUNK, clips, reference=1)
    assert all(item is None for item in passed)
    passed.clear()
    denoising_loss(network, SCHEDULES["labelled"], clips, reference=1)
    told = [item for item in passed if item is not None]
    assert told and np.allclose(told[0], noise.gamma(0.3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips": np.zeros((4, 1, 2))}, "clips must be at least context"),
        ({"clips": np.zeros((1, 6, 2))}, "clips must be at least 2"),
        ({"clips": np.zeros((4, 6, 2), dtype=int)}, "clips must be floating"),
        ({"clips": np.zeros((4, 6))}, r"clips must be \(clips, frames"),
        ({"steps": 4}, "steps must be at most 3"),
        ({"draws": 0}, "draws must be"),
        ({"reference": -1}, "reference must be"),
        ({"rule": "trapezoid"}, "rule must be one of sub_steps, integral"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\)"),
        ({"action": np.zeros((4, 5, 1))}, r"action must be \(4, 6, A\)"),
        ({"denoiser": lambda x, gamma, **given: x[:, :1]}, "denoiser must be one that returns"),
        ({"denoiser": lambda x, gamma, **given: x * np.nan}, "denoiser must be finite"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"denoiser": lambda x, gamma, **given: x, "clips": np.zeros((4, 6, 2))}
    given |= options
    with pytest.raises(ParameterError, match=message):
        denoising_loss(given.pop("denoiser"), CHUNK, given.pop("clips"), **given)


def test_only_the_same_clips_are_paired() -> None:
    video = WORLDS["short memory"]
    exact = exact_denoiser(video, CHUNK)
    first, second = (
        denoising_loss(exact, CHUNK, video.sample(4, frames=4, seed=seed)) for seed in (0, 1)
    )
    with pytest.raises(ParameterError, match="measured on the same clips"):
        first.difference(second)
    three = denoising_loss(exact, CHUNK, video.sample(3, frames=4, seed=0))
    with pytest.raises(ParameterError, match="over the same 4 clusters"):
        first.total.difference(three.total)


def test_seeds_are_another_kind_of_cluster() -> None:
    one = Estimate.of([1.0, 2.0, 3.0], unit="dB", theorem="T4")
    two = Estimate.of([2.0, 3.0, 4.0], unit="dB", theorem="T4")
    both = over_seeds([one, two])
    assert (both.value, both.n, both.unit) == (2.5, 2, "dB")
    assert np.isclose(both.standard_error, 0.5)
    with pytest.raises(TooLittleDataError):
        over_seeds([one])


def test_the_import_is_light() -> None:
    code = (
        "import sys, arvdm_theory.empirical; "
        "sys.exit(any(name.split('.')[0] in ('torch', 'skimage') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- adapters -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Raw:
    """The exact denoiser turned into what a network of each kind would output."""

    exact: Any
    kind: str
    clock: str = "gamma"
    positional: bool = True

    def at_frame(self, first: int) -> Raw:
        return replace(self, exact=self.exact.at_frame(first))

    def __call__(self, y: Any, level: Any, **given: Any) -> Any:
        if self.kind == "flow":
            gamma = ((1.0 - level) / level) ** 2
        elif self.kind == "edm":
            gamma = level**-2.0
        elif self.kind == "edm raw":
            gamma = np.exp(-8.0 * level)
        else:
            gamma = noise.gamma(noise.level(level, self.clock))
        shaped = gamma[..., None]
        alpha, sigma = np.sqrt(shaped / (1.0 + shaped)), np.sqrt(1.0 / (1.0 + shaped))
        if self.kind == "edm":
            return self.exact(alpha * y, gamma, **given)
        if self.kind == "edm raw":
            # D = c_skip y + c_out F solved for F, with sigma_data = 0.7
            s2, d2 = 1.0 / shaped, 0.49
            noisy = y * np.sqrt(s2 + d2)
            clean = self.exact(alpha * noisy, gamma, **given)
            return (clean - d2 / (s2 + d2) * noisy) * np.sqrt(s2 + d2) / np.sqrt(s2 * d2)
        if self.kind == "flow":
            tau = level[..., None]
            clean = self.exact(alpha * y / (1.0 - tau), gamma, **given)
            return (y - (1.0 - tau) * clean) / tau - clean
        clean = self.exact(y, gamma, **given)
        epsilon = (y - alpha * clean) / sigma
        return {
            "epsilon": epsilon,
            "v": alpha * epsilon - sigma * clean,
            "score": -epsilon / sigma,
        }[self.kind]


ADAPTERS: dict[str, Callable[[Any], Adapter]] = {
    "epsilon": lambda exact: from_epsilon(Raw(exact, "epsilon")),
    "epsilon of alpha_bar": lambda exact: from_epsilon(
        Raw(exact, "epsilon", "alpha_bar"), "alpha_bar"
    ),
    "v": lambda exact: from_v(Raw(exact, "v", "log_snr"), "log_snr"),
    "score": lambda exact: from_score(Raw(exact, "score", "t")),
    "edm": lambda exact: from_edm(Raw(exact, "edm")),
    "edm raw": lambda exact: from_edm(Raw(exact, "edm raw"), sigma_data=0.7),
    "flow": lambda exact: from_flow(Raw(exact, "flow")),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapted_exact_networks_are_exact(world: str, kind: str) -> None:
    video, plan = WORLDS[world], SCHEDULES["staircase"]
    exact = exact_denoiser(video, plan)
    clips = video.sample(4, frames=frames_needed(plan), seed=1)
    options: dict[str, Any] = {"reference": 2, "memory": 1, "steps": STEPS}
    see = score_error(ADAPTERS[kind](exact), exact, plan, clips, **options)
    # rounding of x̂ is at most 1e-16 / alpha(T)^2; the weights are at most gamma(delta) ~ 10
    assert see.value < 1e-24


def test_a_wrong_adapter_is_not_exact() -> None:
    video = WORLDS["short memory"]
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(4, frames=6, seed=1)
    for wrong in (
        from_v(Raw(exact, "epsilon")),
        from_epsilon(Raw(exact, "v")),
        from_edm(Raw(exact, "edm raw"), sigma_data=0.5),
    ):
        assert score_error(wrong, exact, CHUNK, clips).value > 1e-2
    with pytest.raises(ParameterError, match="clock must be one of"):
        from_epsilon(exact, "sigma")


ALPHAS_CUMPROD = np.cumprod(1.0 - np.linspace(1e-4**0.5, 2e-2**0.5, 1000) ** 2)


class StandIn(torch.nn.Module):
    """A module of a public checkpoint's signature: forward(sample, timestep, ...) -> .sample."""

    def __init__(self, exact: Any, layout: str, prediction: str, before: int) -> None:
        super().__init__()
        self.exact, self.layout, self.prediction, self.before = exact, layout, prediction, before

    def forward(self, sample: Any, timestep: Any, encoder_hidden_states: Any = None) -> Any:
        assert timestep.shape == (sample.shape[0],) and encoder_hidden_states is not None
        if self.layout == "video":
            frames = sample.permute(0, 2, 1, 3, 4)
        else:
            frames = sample.reshape(sample.shape[0], -1, 1, *sample.shape[2:])
        given = {"reference": frames[:, : self.before]} if self.before else {}
        x = frames[:, self.before :]
        log_snr = np.log(ALPHAS_CUMPROD / (1.0 - ALPHAS_CUMPROD))
        level = np.exp(np.interp(timestep.numpy(), np.arange(1000), log_snr))
        gamma = torch.as_tensor(level)[:, None].expand(x.shape[:2])
        clean = self.exact(x, gamma, **given)
        shaped = gamma[:, :, None, None, None]
        alpha, sigma = (shaped / (1.0 + shaped)).sqrt(), (1.0 / (1.0 + shaped)).sqrt()
        epsilon = (x - alpha * clean) / sigma
        out = {
            "epsilon": epsilon,
            "v_prediction": alpha * epsilon - sigma * clean,
            "sample": clean,
        }[self.prediction]
        if self.layout == "video":
            whole = torch.cat([frames[:, : self.before], out], 1)
            return type("Output", (), {"sample": whole.permute(0, 2, 1, 3, 4)})()
        return (out.reshape(out.shape[0], -1, *out.shape[3:]),)


@pytest.mark.parametrize("layout", ["video", "channels"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_public_checkpoint_layout(layout: str, prediction: str) -> None:
    video = Autoregressive([0.8], 0.36, dim=4)
    # the table's own levels as the schedule's grid
    levels = noise.level(ALPHAS_CUMPROD[[999, 700, 400, 100, 0]], "alpha_bar")
    plan = Schedule(2, 2, levels[[0, 0]], levels[[-1, -1]], grid=np.stack([levels] * 2, 1))
    exact = exact_denoiser(video, plan)
    model = StandIn(exact, layout, prediction, before=2).eval()
    adapted = from_diffusers(
        model,
        torch.as_tensor(ALPHAS_CUMPROD),
        prediction=prediction,
        layout=layout,
        condition=lambda action: {"encoder_hidden_states": action},
    )
    clips = torch.as_tensor(video.sample(3, frames=6, seed=0)).reshape(3, 6, 1, 2, 2)
    options: dict[str, Any] = {"reference": 2, "context": 2, "action": torch.zeros(3, 6, 1)}
    see = score_error(adapted, exact, plan, clips, **options)
    assert see.value < 1e-12  # gamma(delta) = 1e4 times the squared rounding of interpolated levels
    with pytest.raises(ParameterError, match="one timestep a sample"):
        score_error(adapted, exact, Schedule.fifo(2, **LEVELS, substeps=1), clips, **options)
    with pytest.raises(ParameterError, match="in the table's"):
        far = Schedule.chunk(2, t_max=9.0, t_min=0.05, substeps=1)
        score_error(adapted, exact, far, clips, **options)


def test_tables_are_checked() -> None:
    for table in ([0.5], [0.5, 0.6], [1.0, 0.5]):
        with pytest.raises(ParameterError, match="alphas_cumprod must be"):
            from_diffusers(None, np.array(table))
    with pytest.raises(ParameterError, match="prediction must be one of"):
        from_diffusers(None, ALPHAS_CUMPROD, prediction="x0")


# --- T3 and M5 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 20, 60])
def test_clopper_pearson_covers(n: int) -> None:
    # exact, not simulated: the probability of every outcome at every rate of a grid
    limits = np.array([clopper_pearson(k, n, 0.9) for k in range(n + 1)])
    for rate in np.linspace(0.0, 1.0, 101):
        chance = scipy.stats.binom.pmf(np.arange(n + 1), n, rate)
        assert chance[limits[:, 0] > rate + 1e-12].sum() <= 0.05 + 1e-12
        assert chance[limits[:, 1] < rate - 1e-12].sum() <= 0.05 + 1e-12
    wald = Estimate.of([0.0] * 9 + [1.0], unit="rate", theorem="T3").interval
    assert wald[0] < 0.0  # what a normal interval would say of 1 in 10


def test_the_certified_bound_is_below_the_truth() -> None:
    # exact coverage of M5 over both binomials
    n, confidence = 12, 0.9
    counts = np.arange(n + 1)
    bound = np.array(
        [
            [
                needle_bound(Proportion(a, n), Proportion(b, n), confidence).value
                for b in range(n + 1)
            ]
            for a in range(n + 1)
        ]
    )
    known = np.array([needle_bound(1.0, Proportion(b, n), confidence).value for b in range(n + 1)])
    for s_p, s_q in [(0.9, 0.2), (0.5, 0.5), (1.0, 0.1), (0.7, 0.6), (0.3, 0.8)]:
        truth = s_p * np.log(s_p / s_q)
        truth += (1.0 - s_p) * np.log((1.0 - s_p) / (1.0 - s_q)) if s_p < 1.0 else 0.0
        chance = np.outer(
            scipy.stats.binom.pmf(counts, n, s_p), scipy.stats.binom.pmf(counts, n, s_q)
        )
        assert chance[bound > truth].sum() <= 1.0 - confidence + 1e-12
        if s_p == 1.0:
            single = scipy.stats.binom.pmf(counts, n, s_q)
            assert single[known > truth].sum() <= 1.0 - confidence + 1e-12
    half = needle_bound(Proportion(11, n), Proportion(2, n), confidence)
    assert half.truth_lower == clopper_pearson(11, n, confidence)[0]
    assert half.generated_upper == clopper_pearson(2, n, confidence)[1]
    alone = needle_bound(1.0, Proportion(2, n), confidence)
    assert alone.generated_upper == clopper_pearson(2, n, 2.0 * confidence - 1.0)[1]
    # negative control: the plug-in number is above the truth far more often
    plug_in = np.array(
        [[needle_bound(Proportion(a, n), Proportion(b, n)).plug_in for b in counts] for a in counts]
    )
    chance = np.outer(*[scipy.stats.binom.pmf(counts, n, s) for s in (0.7, 0.6)])
    truth = 0.7 * np.log(0.7 / 0.6) + 0.3 * np.log(0.3 / 0.4)
    assert chance[plug_in > truth].sum() > 0.5


def test_published_rates() -> None:
    bounds = published_rate_bound(0.1, [10, 100, 1000, 10**6])
    values = [bound.value for bound in bounds]
    assert values == sorted(values) and values[-1] < np.log(10.0)
    assert np.isclose(values[-1], np.log(10.0), rtol=1e-2)
    assert all(np.isclose(bound.plug_in, np.log(10.0)) for bound in bounds)
    measured = published_rate_bound(0.1, [100], truth=None)[0]
    assert measured.value < bounds[1].value
    assert published_rate_bound(0.0, [5])[0].plug_in == np.inf


def world_of_returns(
    n: int, memory: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pan away over 6 random views and back; a generator that knows views up to `memory` old."""
    rng = np.random.default_rng(seed)
    views = rng.integers(0, 256, (n, 6, 16, 16, 3)).astype(np.uint8)
    views = np.repeat(np.repeat(views[:, :, ::8, ::8], 8, axis=2), 8, axis=3)
    path = np.concatenate([np.arange(6), np.arange(4, -1, -1)])
    truth = views[:, path]
    age = np.full((n, 11), -1)
    age[:, 6:] = 2 * np.arange(1, 6)
    generated = truth.copy()
    other = rng.integers(0, 256, (n, 6, 2, 2, 3)).astype(np.uint8)
    other = np.repeat(np.repeat(other, 8, axis=2), 8, axis=3)[:, path]
    forgotten = (age > memory)[:, :, None, None, None]
    return truth, np.where(forgotten, other, generated), age


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [("psnr", 20.0), ("ssim", 0.8), ("lab_histogram", 0.8), ("lab_regions", 10.0)],
)
@pytest.mark.parametrize("against", ["truth", "view"])
def test_retrieval_finds_the_memory_length(rule: str, threshold: float, against: str) -> None:
    truth, generated, age = world_of_returns(30, memory=4)
    result = retrieval(
        truth,
        generated,
        age,
        rule=rule,
        threshold=threshold,
        spans=[(0, 4), (4, 10)],
        context=6,
        against=against,
    )
    near, far = result.spans
    assert (near.rate.successes, near.rate.n, near.frames) == (30, 30, 60)
    assert far.rate.value < 0.2 and far.truth is not None and far.truth.value == 1.0
    assert near.bound is not None and near.bound.value == 0.0
    assert far.bound is not None and far.bound.value > 0.5
    assert far.bound.value < far.bound.plug_in
    assert rule in result.statement and f"{threshold:g}" in result.statement
    exact = retrieval(
        truth,
        generated,
        age,
        rule=rule,
        threshold=threshold,
        spans=[(4, 10)],
        context=6,
        against=against,
        known_truth_rate=1.0,
    ).spans[0]
    assert exact.bound is not None and exact.bound.value > far.bound.value


def test_the_truth_retrieves_itself_and_certifies_nothing() -> None:
    truth, _, age = world_of_returns(12, memory=0)
    result = retrieval(
        truth, truth, age, rule="ssim", threshold=0.9, spans=[(0, 10)], context=6, event="all"
    )
    assert result.spans[0].rate.value == 1.0
    assert result.spans[0].bound is not None and result.spans[0].bound.value == 0.0


def test_a_score_against_the_truth_is_an_event_only_for_exact_returns() -> None:
    truth, generated, age = world_of_returns(8, memory=2)
    moved = truth.copy()
    moved[:, 6:] ^= 1  # returns are no longer bit-exact
    options: dict[str, Any] = {"rule": "psnr", "threshold": 20.0, "spans": [(0, 10)]}
    row = retrieval(moved, generated, age, context=6, **options).spans[0]
    assert row.bound is None and row.reason is not None and "bit-exact" in row.reason
    # nor if the view was itself generated
    row = retrieval(truth, generated, age, context=2, **options).spans[0]
    assert row.bound is None
    row = retrieval(truth, generated, age, context=2, against="view", **options).spans[0]
    assert row.bound is not None


def test_frames_of_a_video_are_not_trials() -> None:
    truth, generated, age = world_of_returns(10, memory=4)
    options: dict[str, Any] = {"rule": "psnr", "threshold": 20.0, "spans": [(0, 10)], "context": 6}
    rows = {
        event: retrieval(truth, generated, age, event=event, **options).spans[0]
        for event in ("mean", "all", "any")
    }
    assert all(row.rate.n == 10 and row.frames == 50 for row in rows.values())
    assert rows["all"].rate.successes == 0 and rows["any"].rate.successes == 10
    frame_rate = rows["any"].frame_rate
    assert frame_rate is not None and np.isclose(frame_rate.value, 0.4) and frame_rate.n == 10
    unseen = retrieval(
        truth[:, 1:],
        generated[:, 1:],
        np.full((10, 10), -1) + 2 * (np.arange(10) == 8),
        rule="psnr",
        threshold=20.0,
        spans=[(0, 4)],
        context=5,
    ).unseen
    assert unseen is not None and unseen.n == 10


def test_lab_regions_forgive_a_slip_that_psnr_punishes() -> None:
    rng = np.random.default_rng(0)
    picture = np.zeros((1, 1, 32, 32, 3))
    picture[..., ::2, :] = 1.0  # sharp stripes
    picture *= np.array([0.9, 0.4, 0.2])
    slipped = np.roll(picture, 1, axis=3)
    wrong = np.broadcast_to(rng.random(3), picture.shape)
    psnr = [float(frame_scores(picture, other)[0, 0]) for other in (slipped, wrong)]
    lab = [float(frame_scores(picture, other, "lab_regions")[0, 0]) for other in (slipped, wrong)]
    assert psnr[0] < psnr[1]  # the wrong wall scores better
    assert lab[0] < 1.0 < 20.0 < lab[1]


def test_scores_agree_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 1, 1, 16, 16, 3))
    assert np.isclose(
        frame_scores(a, b)[0, 0], metrics.peak_signal_noise_ratio(a[0, 0], b[0, 0], data_range=1.0)
    )
    assert frame_scores(a, a, "ssim")[0, 0] == 1.0
    assert frame_scores(a, a, "lab_histogram")[0, 0] == 1.0
    assert frame_scores(a, a, "lab_regions")[0, 0] == 0.0
    shifted = frame_scores(2.0 * a - 1.0, 2.0 * b - 1.0, data_range=(-1.0, 1.0))
    assert np.allclose(shifted, frame_scores(a, b))
    with pytest.raises(ParameterError, match="not ssim below 7 x 7"):
        frame_scores(a[:, :, :5], b[:, :, :5], "ssim")
    with pytest.raises(ParameterError, match="RGB"):
        frame_scores(a[..., :1], b[..., :1], "lab_regions")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "lpips"}, "rule must be one of psnr"),
        ({"event": "most"}, "event must be one of mean"),
        ({"against": "memory"}, "against must be one of truth, view"),
        ({"spans": [(20, 30)]}, "spans must be such that each holds returning frames"),
        ({"age": np.zeros((3, 3))}, "age must be of shape"),
        ({"age": np.full((4, 11), 11)}, "age must be at most the frame's own index"),
        ({"generated": np.zeros((4, 11, 8, 8, 3))}, "generated must be of the truth's shape"),
        ({"generated": np.full((4, 11, 16, 16, 3), np.nan)}, "generated must be finite"),
    ],
)
def test_bad_retrievals_are_named(options: dict[str, Any], message: str) -> None:
    truth, generated, age = world_of_returns(4, memory=4)
    given: dict[str, Any] = {
        "truth": truth,
        "generated": generated,
        "age": age,
        "rule": "psnr",
        "threshold": 20.0,
        "spans": [(0, 4)],
    }
    given |= options
    with pytest.raises(ParameterError, match=message):
        retrieval(**given)


# --- T4 -------------------------------------------------------------------------------------------


def test_psnr_conventions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((20, 10, 8, 8, 3))
    size = np.linspace(0.02, 0.2, 8)[None, :, None, None, None]
    generated = truth.copy()
    generated[:, 2:] += size * rng.standard_normal((20, 8, 8, 8, 3))
    result = psnr_decay(truth, generated, spans=[(0, 4), (4, 8)], context=2)
    clamped = np.clip(generated, 0.0, 1.0)
    mse = ((truth - clamped)[:, 2:] ** 2).mean((2, 3, 4))
    psnr = -10.0 * np.log10(mse)
    assert np.allclose(result.per_frame, psnr.mean(0))
    assert np.isclose(result.start.value, psnr[:, :4].mean())
    assert np.isclose(result.decay.value, psnr[:, :4].mean() - psnr[:, 4:].mean())
    assert np.isclose(result.mse_decay.value, mse[:, 4:].mean() - mse[:, :4].mean())
    paired = (psnr[:, :4].mean(1) - psnr[:, 4:].mean(1)).std(ddof=1) / np.sqrt(20)
    assert np.isclose(result.decay.standard_error, paired)
    # the PSNR of the pooled MSE is never larger (Jensen)
    assert np.all(result.pooled <= np.array([item.value for item in result.per_span]) + 1e-12)
    assert np.isclose(result.pooled[1], -10.0 * np.log10(mse[:, 4:].mean()))
    assert result.capped == 0
    same = psnr_decay(truth, truth, spans=[(0, 10)])
    assert same.capped == 200 and same.start.value == 100.0 and same.decay.value == 0.0
    with pytest.raises(ParameterError, match="spans must be 0 <= first < end <= 8"):
        psnr_decay(truth, generated, spans=[(0, 9)], context=2)


def test_psnr_of_bytes_and_tensors() -> None:
    rng = np.random.default_rng(0)
    truth, generated = rng.integers(0, 256, (2, 4, 4, 8, 8, 3), dtype=np.uint8)
    expected = psnr_decay(truth / 255.0, generated / 255.0, spans=[(0, 4)]).start.value
    assert np.isclose(psnr_decay(truth, generated, spans=[(0, 4)]).start.value, expected)
    tensors = [torch.as_tensor(item / 127.5 - 1.0) for item in (truth, generated)]
    result = psnr_decay(*tensors, spans=[(0, 4)], data_range=(-1.0, 1.0))
    assert np.isclose(result.start.value, expected)


# --- Fréchet distances ----------------------------------------------------------------------------


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    a, b = (item @ item.T for item in rng.standard_normal((2, 4, 4)))
    both = np.real(np.trace(scipy.linalg.sqrtm(a @ b)))
    expected = np.trace(a + b) - 2.0 * both
    zero = np.zeros(4)
    assert np.isclose(gaussian_frechet_distance(zero, a, zero, b), expected)
    assert abs(gaussian_frechet_distance(zero, a, zero, a)) < 1e-12
    flat = np.diag([1.0, 0.0])  # singular covariances
    two = np.zeros(2)
    assert np.isclose(gaussian_frechet_distance(two, flat, two, np.diag([0.0, 4.0])), 5.0)


def test_frechet_distance_by_span() -> None:
    # features that are known: the mean colour, N(0.5, s^2) against N(0.5 + shift, (2 s)^2)
    rng = np.random.default_rng(0)
    n, s, shift = 4000, 0.02, 0.1
    videos = []
    for scale, move in ((1.0, 0.0), (2.0, shift)):
        colour = 0.5 + move + scale * s * rng.standard_normal((n, 1, 1, 1, 1))
        videos.append(np.broadcast_to(colour, (n, 2, 1, 1, 1)))

    def mean_colour(clips: np.ndarray) -> np.ndarray:
        return clips.mean(axis=(1, 2, 3))

    [row] = frechet_distance(*videos, spans=[(0, 2)], features=mean_colour, name="mean colour")
    assert row.name == "Fréchet distance on mean colour" and row.size == 1
    truth = shift**2 + s**2
    assert abs(row.value - truth) < LIMIT * row.standard_error
    assert row.self_distance < 0.01 * truth
    # the delta method for two independent samples; 20 jackknife groups know it to about a third
    error = np.hypot(2.0 * shift * np.sqrt(5.0 / n) * s, 2.0 * s * np.sqrt(2.5 / n) * s)
    assert 0.4 < row.standard_error / error < 1.8
    with pytest.raises(ParameterError, match="name must be given"):
        frechet_distance(*videos, spans=[(0, 2)], features=mean_colour)


@pytest.mark.parametrize("features", ["projected pixels", "pixel statistics"])
def test_shipped_features_see_what_they_should(features: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((40, 6, 8, 8, 3))
    faded = truth.copy()
    faded[:, 3:] = 0.5 * faded[:, 3:]
    near, far = frechet_distance(truth, faded, spans=[(0, 3), (3, 6)], features=features)
    assert "FVD" not in near.name and features in near.name
    assert abs(near.value) < 1e-10 < far.self_distance
    assert far.value > 5.0 * far.self_distance
    assert far.span == (3, 6)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_fvd_needs_the_users_network(tmp_path: Path) -> None:
    class I3D(torch.nn.Module):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.features = features

        def forward(
            self, videos: torch.Tensor, rescale: bool, resize: bool, return_features: bool
        ) -> torch.Tensor:
            assert rescale and resize and return_features and videos.size(1) == 3
            flat = videos.flatten(1) / 255.0
            return flat[:, : self.features]

    truth, generated = np.random.default_rng(0).random((2, 6, 4, 8, 8, 3))
    paths = {}
    for features in (400, 10):
        paths[features] = tmp_path / f"{features}.pt"
        torch.jit.script(I3D(features)).save(str(paths[features]))
    [row] = fvd(truth, generated, paths[400], spans=[(0, 4)])
    assert row.name == "FVD" and row.size == 400 and row.value > 0.0
    with pytest.raises(ParameterError, match="a network of 400 features"):
        fvd(truth, generated, paths[10], spans=[(0, 4)])
    with pytest.raises(ParameterError, match="path of a TorchScript file"):
        fvd(truth, generated, tmp_path / "absent.pt", spans=[(0, 4)])
    (tmp_path / "broken.pt").write_bytes(b"not a network")
    with pytest.raises(ParameterError, match="a TorchScript file"):
        fvd(truth, generated, tmp_path / "broken.pt", spans=[(0, 4)])


def test_biased_and_static_worlds() -> None:
    # closed form: a bias b costs ½ (gamma_delta - gamma_T) b² d per frame, whatever the video
    video, bias = StaticLatent(0.5, dim=3), 0.2
    exact = exact_denoiser(video, CHUNK)
    clips = video.sample(4, frames=4, seed=0)
    see = score_error(Network(exact, 1.0, bias), exact, CHUNK, clips, reference=1)
    gammas = CHUNK.gammas[:, 0]
    assert np.isclose(see.per_frame.value, 0.5 * (gammas[-1] - gammas[0]) * 3 * bias**2)
    assert see.standard_error < 1e-12
    generator = Generator(Biased(bias), reference=1)
    assert np.isclose(see.value, decompose(video, CHUNK, generator, steps=2).see)
