"""Slow reference for the exact decomposition, written from the definitions only.

Every quantity is an expected Kullback-Leibler divergence or a conditional mutual information of
sub-vectors of two big Gaussian laws: P, the real video with its noised states, and Q, the states
that the generator visits. No closed form of the theory is used, so agreement with the package
means something. With ``precision=digits`` the same code runs on python-flint balls, and the
working precision is doubled until every number is enclosed to that many digits.

Run as a script it prints the decomposition of a sample specification.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flint
import mpmath
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Spec = dict[str, Any]
Number = Any  # a float, or a flint.arb


class SingularError(ArithmeticError):
    """A covariance that must be positive definite is not, at the precision in use."""


class Arithmetic:
    """Scalars of the computation: floats (`bits=None`) or flint.arb balls of `bits` bits."""

    def __init__(self, bits: int | None = None) -> None:
        self.bits = bits
        # A pivot below this fraction of its diagonal entry is a linear dependence.
        self.tolerance = 1e-11 if bits is None else 1e-30

    def number(self, x: Any) -> Number:
        if self.bits is None:
            return float(x)
        return x if isinstance(x, flint.arb) else flint.arb(float(x))

    def array(self, values: Any) -> Array:
        out = np.asarray(values, dtype=float if self.bits is None else object)
        if self.bits is not None and out.size:
            out = np.vectorize(self.number, otypes=[object])(out)
        return out

    def zeros(self, *shape: int) -> Array:
        return self.array(np.zeros(shape))

    def eye(self, n: int) -> Array:
        return self.array(np.eye(n))

    def matrix(self, value: Any, n: int) -> Array:
        """A number stands for that multiple of the identity."""
        return self.array(value if np.ndim(value) == 2 else np.eye(n) * np.asarray(value).item())

    def call(self, name: str, x: Number) -> Number:
        return getattr(math, name)(x) if self.bits is None else getattr(self.number(x), name)()

    def exp(self, x: Number) -> Number:
        return self.call("exp", x)

    def log(self, x: Number) -> Number:
        return self.call("log", x)

    def variance(self, t: Number) -> Number:
        """sigma^2(t) = 1 - e^{-2t}."""
        return 1 - self.exp(-2 * t)

    def gamma(self, t: Number) -> Number:
        """Signal-to-noise ratio 1 / (e^{2t} - 1)."""
        return 1 / (self.exp(2 * t) - 1)


# ---------------------------------------------------------------------------------------------
# Gaussian laws: conditioning, Kullback-Leibler divergence, mutual information


@dataclass
class Law:
    """N(mean, cov)."""

    mean: Array
    cov: Array

    def append(self, matrix: Array, offset: Array, noise: Array) -> Law:
        """Add the coordinates y = matrix x + offset + N(0, noise)."""
        cross = matrix @ self.cov
        cov = np.block([[self.cov, cross.T], [cross, cross @ matrix.T + noise]])
        return Law(np.concatenate([self.mean, matrix @ self.mean + offset]), cov)

    def marginal(self, a: Sequence[int]) -> Law:
        return Law(self.mean[list(a)], self.cov[np.ix_(a, a)])


def pivoted_cholesky(cov: Array, ar: Arithmetic) -> tuple[list[int], Array]:
    """Indices `kept` that are linearly independent, and lower L with cov[kept, kept] = L L'."""
    n, kept, left = len(cov), list[int](), np.diag(cov).copy()
    factor = ar.zeros(n, n)
    for k in range(n):
        ratio = [
            float(a) / float(b) if float(b) else 0.0
            for a, b in zip(left, np.diag(cov), strict=True)
        ]
        if any(math.isnan(x) for x in ratio):
            raise SingularError("precision lost")
        pivot = max((i for i in range(n) if i not in kept), key=lambda i: ratio[i])
        if ratio[pivot] < ar.tolerance:
            break
        column = cov[:, pivot] - factor[:, :k] @ factor[pivot, :k]
        factor[:, k] = column / ar.call("sqrt", left[pivot])
        factor[kept, k] = ar.number(0)
        left = left - factor[:, k] * factor[:, k]  # a ball around 0, to the power 2, is NaN
        kept.append(pivot)
    return kept, factor[kept, : len(kept)]


def solve_lower(factor: Array, right: Array) -> Array:
    """factor^{-1} right, by forward substitution."""
    out = right.copy()
    for i in range(len(factor)):
        out[i] = (right[i] - factor[i, :i] @ out[:i]) / factor[i, i]
    return out


def log_det(cov: Array, ar: Arithmetic) -> Number:
    kept, factor = pivoted_cholesky(cov, ar)
    if len(kept) < len(cov):
        raise SingularError(f"covariance of size {len(cov)} has rank {len(kept)}")
    return sum((2 * ar.log(x) for x in np.diag(factor)), ar.number(0))


def condition(
    law: Law, a: Sequence[int], c: Sequence[int], ar: Arithmetic
) -> tuple[Array, Array, Array]:
    """E[a | c] = gain c + offset and Cov(a | c); linearly dependent entries of c get gain 0."""
    gain, cov = ar.zeros(len(a), len(c)), law.cov[np.ix_(a, a)]
    kept, factor = pivoted_cholesky(law.cov[np.ix_(c, c)], ar)
    if kept and len(a):
        half = solve_lower(factor, law.cov[np.ix_([c[i] for i in kept], a)])
        gain[:, kept] = solve_lower(factor.T[::-1, ::-1], half[::-1])[::-1].T
        cov = cov - half.T @ half
    return gain, law.mean[list(a)] - gain @ law.mean[list(c)], cov


def expected_kl(p: Law, q: Law, a: Sequence[int], c: Sequence[int], ar: Arithmetic) -> Number:
    """E_P KL( P(a | c) || Q(a | c) ); the plain KL of the two laws of a when c is empty."""
    if not len(a):
        return ar.number(0)
    (p_gain, p_offset, p_cov), (q_gain, q_offset, q_cov) = (condition(x, a, c, ar) for x in (p, q))
    gain, given = p_gain - q_gain, p.marginal(c)
    shift = gain @ given.mean + p_offset - q_offset
    second_moment = p_cov + gain @ given.cov @ gain.T + np.outer(shift, shift)
    order, factor = pivoted_cholesky(q_cov, ar)
    half = solve_lower(factor, second_moment[np.ix_(order, order)])
    trace = np.trace(solve_lower(factor, half.T))
    return (trace - len(a) + log_det(q_cov, ar) - log_det(p_cov, ar)) / 2


def mutual_information(
    law: Law, a: Sequence[int], b: Sequence[int], c: Sequence[int], ar: Arithmetic
) -> Number:
    """I(a; b | c); coordinates of a that already stand in c carry nothing."""
    a = [i for i in a if i not in set(c)]
    if not a or not len(b):
        return ar.number(0)
    without, given = (condition(law, a, seen, ar)[2] for seen in (c, [*c, *b]))
    return (log_det(without, ar) - log_det(given, ar)) / 2


# ---------------------------------------------------------------------------------------------
# Clean video


@dataclass
class Video:
    """Mean (N d,) and covariance (N d, N d) of the clean frames 1..N, frame after frame."""

    mean: Array
    cov: Array
    dim: int

    def at(self, i: int) -> slice:
        return slice((i - 1) * self.dim, i * self.dim)


def clean_video(spec: Spec, frames: int, ar: Arithmetic) -> Video:
    """Law of the first `frames` clean frames of a video specification."""
    family, d = spec["family"], int(spec.get("dim", 1))
    if family == "autoregressive":
        return autoregressive_video(spec, frames, ar)
    if family == "state_space":
        return state_space_video(spec, frames, ar)
    if family == "panorama":  # the one family whose moments are taken from the package
        from arvdm_theory.video import GaussianVideo

        video = GaussianVideo.from_json(spec)
        mean = ar.array(np.asarray(video.means(frames)).ravel())
        return Video(mean, ar.array(video.covariance(frames)), d)
    if family == "covariance":
        cov = ar.array(spec["matrix"])[: frames * d, : frames * d]
    else:
        lags = autocovariance(spec, frames, d, ar)
        cov = np.block([[lags[abs(i - j)] for j in range(frames)] for i in range(frames)])
    mean = np.ravel(np.asarray(spec.get("mean", 0.0), dtype=float))
    mean = mean[: frames * d] if mean.size > d else np.tile(np.resize(mean, d), frames)
    return Video(ar.array(mean), cov, d)


def autocovariance(spec: Spec, frames: int, d: int, ar: Arithmetic) -> list[Array]:
    """Cov(X_{k+h}, X_k) for h = 0..frames-1, symmetric in these families."""
    if spec["family"] == "static_latent":
        latent, noise = (ar.matrix(spec[k], d) for k in ("latent_variance", "noise_variance"))
        return [latent + noise] + [latent] * (frames - 1)
    if spec["family"] == "seasonal":  # v rho^h cos(2 pi h / s), plus white noise
        pi = math.pi if ar.bits is None else flint.arb.pi()
        rho, period = ar.number(spec["persistence"]), ar.number(spec["period"])
        lags = [
            ar.number(spec["variance"]) * rho**h * ar.call("cos", 2 * pi * h / period) * ar.eye(d)
            for h in range(frames)
        ]
        lags[0] = lags[0] + ar.matrix(spec["noise_variance"], d)
        return lags
    if spec["family"] == "arfima":  # q Gamma(1-2D) / Gamma(1-D)^2, times (h-1+D) / (h-D)
        noise, pixels = ar.matrix(spec["noise_variance"], d), []
        for memory in np.resize(spec["memory"], d):
            degree = ar.number(memory)
            lag = [ar.call("gamma", 1 - 2 * degree) / ar.call("gamma", 1 - degree) ** 2]
            for h in range(1, frames):
                lag.append(lag[-1] * (h - 1 + degree) / (h - degree))
            pixels.append(lag)
        return [noise * ar.array([lag[h] for lag in pixels]) for h in range(frames)]
    raise ValueError(f"family must be one of the known families, got {spec['family']}")


def stationary_covariance(transition: Array, noise: Array) -> Array:
    """sum_k F^k Q F'^k, by doubling the number of terms."""
    power, total = transition, noise
    for _ in range(60):
        total = total + power @ total @ power.T
        power = power @ power
        if all(abs(float(x)) < 1e-300 for x in power.ravel()):
            return total
    raise ValueError("the process has no stationary law")


def frame_mean(spec: Spec, d: int, ar: Arithmetic) -> Array:
    return ar.array(np.resize(np.asarray(spec.get("mean", 0.0), dtype=float), d))


def autoregressive_video(spec: Spec, frames: int, ar: Arithmetic) -> Video:
    """X_t - mean = sum_l A_l (X_{t-l} - mean) + noise, from the law of the first p frames."""
    d, p = int(spec.get("dim", 1)), len(spec["coefficients"])
    coefficients = [ar.matrix(c, d) for c in spec["coefficients"]]
    noise, mean = ar.matrix(spec["noise_variance"], d), frame_mean(spec, d, ar)
    newest = np.hstack(coefficients[::-1])
    if spec.get("initial"):
        law = Law(ar.array(spec["initial"]["mean"]), ar.array(spec["initial"]["covariance"]))
    else:
        companion = np.vstack([ar.array(np.eye(p * d)[d:]), newest])
        innovation = ar.zeros(p * d, p * d)
        innovation[-d:, -d:] = noise
        law = Law(np.concatenate([mean] * p), stationary_covariance(companion, innovation))
    for t in range(p, frames):
        offset = mean - newest @ np.concatenate([mean] * p)
        law = law.append(np.hstack([ar.zeros(d, (t - p) * d), newest]), offset, noise)
    law = law.marginal(range(frames * d))  # the initial law may be longer
    return Video(law.mean, law.cov, d)


def state_space_video(spec: Spec, frames: int, ar: Arithmetic) -> Video:
    """z_{t+1} = F z_t + state noise, X_t = mean + H z_t + emission noise."""
    transition, emission = ar.array(spec["transition"]), ar.array(spec["emission"])
    (d, n), state_noise = emission.shape, ar.array(spec["state_noise"])
    if spec.get("initial"):
        law = Law(ar.array(spec["initial"]["mean"]), ar.array(spec["initial"]["covariance"]))
    else:
        law = Law(ar.zeros(n), stationary_covariance(transition, state_noise))
    for t in range(1, frames):
        previous = np.hstack([ar.zeros(n, (t - 1) * n), transition])
        law = law.append(previous, ar.zeros(n), state_noise)
    each = np.eye(frames, dtype=int)
    observe, noise = np.kron(each, emission), np.kron(each, ar.matrix(spec["emission_noise"], d))
    mean = np.concatenate([frame_mean(spec, d, ar)] * frames) + observe @ law.mean
    return Video(mean, observe @ law.cov @ observe.T + noise, d)


def estimated_video(spec: Spec, denoiser: Spec, frames: int, ar: Arithmetic) -> Video:
    """The Gaussian law with the mean and covariance of a training sample of clean videos."""
    from arvdm_theory.video import GaussianVideo

    video, seed = GaussianVideo.from_json(spec), denoiser.get("seed", 0)
    sample = np.asarray(video.sample(int(denoiser["videos"]), frames=frames, seed=seed))
    stacked, n = ar.array(sample.reshape(len(sample), -1)), ar.number(len(sample))
    mean = np.sum(stacked, axis=0) / n
    return Video(mean, (stacked - mean).T @ (stacked - mean) / n, sample.shape[2])


# ---------------------------------------------------------------------------------------------
# Schedule (D1) and the states of the chain (D2, Theorem A)


@dataclass
class Schedule:
    """Levels in OU time; `inputs` and `outputs` are t^I_1..t^I_w and t^O_1..t^O_w."""

    window: int
    stride: int
    substeps: int
    t_max: Number
    t_min: Number
    inputs: list[Number]
    outputs: list[Number]
    context_noise: str
    context_level: Number


def read_schedule(spec: Spec, ar: Arithmetic) -> Schedule:
    method, w = spec["method"], int(spec.get("window", 1))
    top, delta = ar.number(spec["t_max"]), ar.number(spec["t_min"])
    if method in ("fifo", "rolling"):
        stride, inputs = 1, [top * j / w for j in range(1, w)] + [top]
        outputs = [delta, *inputs[:-1]]
    elif method in ("outpainting", "chunk", "next_frame"):
        stride = int(spec["stride"]) if method == "outpainting" else w
        inputs, outputs = [delta] * (w - stride) + [top] * stride, [delta] * w
    elif method == "staircase":
        ends = [delta, *[top * ar.number(x) for x in spec["levels"]]]
        stride = w // len(spec["levels"])
        inputs = [ends[j // stride + 1] for j in range(w)]
        outputs = [ends[j // stride] for j in range(w)]
    elif method in ("custom", "diffusion_forcing"):
        stride = int(spec["stride"])
        inputs = [ar.number(x) for x in spec["input_levels"]]
        outputs = [ar.number(x) for x in spec["output_levels"]]
    else:
        raise ValueError(f"method must be one of the known methods, got {method}")
    kind = spec.get("context_noise", "none")
    level = delta if kind == "none" else ar.number(spec["context_level"])
    if float(level) == float(delta):
        kind = "none"
    return Schedule(w, stride, int(spec["substeps"]), top, delta, inputs, outputs, kind, level)


def ladder(start: Number, end: Number, substeps: int, ar: Arithmetic) -> list[Number]:
    """Levels linear in log-SNR from `start` to `end`, both ends exact."""
    if float(start) == float(end):
        return [start] * (substeps + 1)
    first, last = ar.log(ar.gamma(start)), ar.log(ar.gamma(end))
    inner = [first + (last - first) * n / substeps for n in range(1, substeps)]
    return [start, *[ar.log(1 + ar.exp(-x)) / 2 for x in inner], end]


class State(NamedTuple):
    """X_frame at `level`; a re-noised reference branches off level `origin` at step `branch`."""

    frame: int
    level: Number
    branch: int = 0
    origin: Number = None


@dataclass
class Step:
    """What one AR step sees and creates, as indices into the states of the chain."""

    window: list[list[int]]  # [sub-step n][window position j]
    fresh: list[int]
    clean: list[int]  # the references at the final level
    context: list[int]  # what the denoiser is given for them
    created: list[int]  # the states that denoising creates
    moving: list[int]  # the window positions whose level changes
    memory: Array  # (b, states * d): the memory as a linear map of the chain


@dataclass
class Chain:
    """All distinct states in the order of their creation."""

    states: list[State]
    initial: list[int]
    steps: list[Step]
    finished: dict[int, int]  # frame -> its state at the final level
    dim: int

    def at(self, states: Sequence[int]) -> list[int]:
        """Coordinates of these states."""
        return [s * self.dim + c for s in states for c in range(self.dim)]


def build_chain(schedule: Schedule, generator: Spec, steps: int, d: int, ar: Arithmetic) -> Chain:
    w, stride, reference = schedule.window, schedule.stride, int(generator.get("reference", 0))
    states: list[State] = []

    def create(*state: Any) -> int:
        states.append(State(*state))
        return len(states) - 1

    current = {j: create(j, schedule.inputs[j - 1]) for j in range(1, w - stride + 1)}
    chain = Chain(states, list(current.values()), [], {}, d)
    for k in range(1, steps + 1):
        past = (k - 1) * stride
        frames = list(range(past + 1, past + w + 1))
        current.update({i: create(i, schedule.t_max) for i in frames[w - stride :]})
        clean = [chain.finished[i] for i in range(past - min(reference, past) + 1, past + 1)]
        context = clean
        if schedule.context_noise == "noise":
            context = [
                create(states[s].frame, schedule.context_level, k, schedule.t_min) for s in clean
            ]
        window, first = [[current[i] for i in frames]], len(states)
        levels = [
            ladder(states[s].level, schedule.outputs[j], schedule.substeps, ar)
            for j, s in enumerate(window[0])
        ]
        moving = [j for j in range(w) if float(levels[j][0]) != float(levels[j][-1])]
        for n in range(1, schedule.substeps + 1):
            current.update({frames[j]: create(frames[j], levels[j][n]) for j in moving})
            window.append([current[i] for i in frames])
        created, fresh = list(range(first, len(states))), window[0][w - stride :]
        chain.steps.append(Step(window, fresh, clean, context, created, moving, ar.zeros(0)))
        chain.finished.update({i: current[i] for i in frames[:stride]})
    for k, step in enumerate(chain.steps):
        weights = memory_weights(generator, k * stride, d, ar)
        step.memory = ar.zeros(len(weights), len(states) * d)
        step.memory[:, chain.at([chain.finished[i] for i in range(1, k * stride + 1)])] = weights
    return chain


def memory_weights(generator: Spec, finished: int, d: int, ar: Arithmetic) -> Array:
    """The memory as a (b, finished * d) map of the finished frames at the final level."""
    spec = generator.get("memory", {"kind": "none"})
    if spec["kind"] == "none":
        return ar.zeros(0, finished * d)
    if spec["kind"] == "linear":
        weights = ar.array(spec["weights"])
        out = ar.zeros(weights.shape[1], finished * d)
        for lag in range(1, min(len(weights), finished) + 1):
            out[:, (finished - lag) * d : (finished + 1 - lag) * d] = weights[lag - 1]
        return out
    transition, gain = ar.array(spec["transition"]), ar.array(spec["input"])
    out = ar.zeros(len(transition), finished * d)
    for i in range(finished):
        out = transition @ out
        out[:, i * d : (i + 1) * d] = gain
    return out


def real_law(video: Video, states: Sequence[State], ar: Arithmetic) -> Law:
    """P: each frame on its own OU path, re-noised references on branches of it."""
    d, cov = video.dim, ar.zeros(len(states) * video.dim, len(states) * video.dim)
    decay = [ar.exp(-s.level) for s in states]
    mean = [decay[a] * video.mean[video.at(s.frame)] for a, s in enumerate(states)]
    for a, s in enumerate(states):
        for b, u in enumerate(states[: a + 1]):
            block = decay[a] * decay[b] * video.cov[video.at(s.frame), video.at(u.frame)]
            if s.frame == u.frame:
                block = block + shared_noise(s, u, ar) * ar.eye(d)
            cov[a * d : (a + 1) * d, b * d : (b + 1) * d] = block
            cov[b * d : (b + 1) * d, a * d : (a + 1) * d] = block.T
    return Law(np.concatenate([ar.zeros(0), *mean]), cov)


def shared_noise(s: State, u: State, ar: Arithmetic) -> Number:
    """Covariance, given the clean frame, of two states of one frame."""
    if s.branch != u.branch:  # go back to where a branch leaves the path
        if not s.branch:
            s, u = u, s
        return ar.exp(s.origin - s.level) * shared_noise(State(s.frame, s.origin), u, ar)
    return ar.exp(-abs(s.level - u.level)) - ar.exp(-(s.level + u.level))


# ---------------------------------------------------------------------------------------------
# The generator's law


@dataclass
class World:
    """A specification that has been read; `believed` is the video law of the denoiser."""

    video: Video
    believed: Video
    schedule: Schedule
    generator: Spec
    chain: Chain
    ar: Arithmetic


def read(spec: Spec, ar: Arithmetic) -> World:
    schedule, generator = read_schedule(spec["schedule"], ar), spec.get("generator", {})
    steps = int(spec["steps"]) if "steps" in spec else -(-int(spec["frames"]) // schedule.stride)
    needed = (steps - 1) * schedule.stride + schedule.window
    video = believed = clean_video(spec["video"], needed, ar)
    denoiser = generator.get("denoiser", {"kind": "exact"})
    if denoiser["kind"] == "estimated":
        believed = estimated_video(spec["video"], denoiser, needed, ar)
    if denoiser["kind"] == "misspecified":
        believed = clean_video(denoiser["video"], needed, ar)
    chain = build_chain(schedule, generator, steps, video.dim, ar)
    return World(video, believed, schedule, generator, chain, ar)


class Estimate(NamedTuple):
    """x0 = gain u + offset for the window's frames, and the posterior covariance."""

    gain: Array
    offset: Array
    cov: Array


def posterior(
    world: World, video: Video, window: list[State], context: list[State], weights: Array
) -> Estimate:
    """E[X0 | u] under a video law; u = (window states, context states, memory)."""
    ar, d, (b, finished) = world.ar, video.dim, weights.shape
    clean = [State(s.frame, ar.number(0)) for s in window]
    past = [State(i, world.schedule.t_min) for i in range(1, finished // d + 1)] if b else []
    law = real_law(video, [*clean, *window, *context, *past], ar)
    first, seen = len(clean) * d, (len(window) + len(context)) * d
    if b:
        read_past = np.hstack([ar.zeros(b, first + seen), weights])
        law = law.append(read_past, ar.zeros(b), ar.zeros(b, b))
    u = [*range(first, first + seen), *range(len(law.mean) - b, len(law.mean))]
    return Estimate(*condition(law, range(first), u, ar))


def best_denoiser(world: World, k: int, n: int) -> Estimate:
    """m = E[X0 | X_n, R, m] under P, at sub-step n of AR step k (from 0)."""
    step, states = world.chain.steps[k], world.chain.states
    weights = memory_weights(world.generator, k * world.schedule.stride, world.video.dim, world.ar)
    window, context = [states[s] for s in step.window[n]], [states[s] for s in step.context]
    return posterior(world, world.video, window, context, weights)


def denoiser(world: World, k: int, n: int) -> Estimate:
    """The network's denoiser there, with what it believes of the video and of its context."""
    step, states, schedule = world.chain.steps[k], world.chain.states, world.schedule
    weights = memory_weights(world.generator, k * schedule.stride, world.video.dim, world.ar)
    window, context = [states[s] for s in step.window[n]], [states[s] for s in step.context]
    if schedule.context_noise == "label":
        context = [State(s.frame, schedule.context_level) for s in context]
    estimate = posterior(world, world.believed, window, context, weights)
    absent = int(world.generator.get("reference", 0)) - len(context)
    return spoil(world, estimate, n, absent)


def spoil(world: World, best: Estimate, n: int, absent: int) -> Estimate:
    """The denoiser's error; the `absent` reference slots are the oldest ones."""
    ar, d, size = world.ar, world.video.dim, len(best.offset)
    spec = world.generator.get("denoiser", {"kind": "exact"})
    gain, offset, cov = best
    if spec["kind"] == "scaled":
        factor = ar.number(spec["factor"])
        return Estimate(factor * gain, factor * offset, cov)
    if spec["kind"] == "biased":
        bias = np.tile(np.resize(np.asarray(spec["bias"], dtype=float), d), size // d)
        return Estimate(gain, offset + ar.array(bias), cov)
    if spec["kind"] == "random":
        columns = gain.shape[1] + absent * d
        z = np.random.default_rng((int(spec["seed"]), n)).standard_normal((size, columns))
        present = np.delete(z, range(size, size + absent * d), axis=1)
        scale = ar.number(spec["scale"]) / ar.call("sqrt", ar.number(columns))
        return Estimate(gain + scale * ar.array(present), offset, cov)
    if spec["kind"] not in ("exact", "estimated", "misspecified"):
        raise ValueError(f"denoiser must be one of the known kinds, got {spec['kind']}")
    return best


def kernel(sampler: str, t: Number, s: Number, ar: Arithmetic) -> tuple[Number, Number, Number]:
    """Coefficients of x and x0 and the noise variance of one sampler step from t down to s."""
    h, noisy, clean, signal = t - s, ar.variance(t), ar.variance(s), ar.exp(-t)
    if sampler in ("ancestral", "optimal_variance", "optimal_variance_diagonal"):
        bridge = ar.variance(h)
        return ar.exp(-h) * clean / noisy, ar.exp(-s) * bridge / noisy, clean * bridge / noisy
    if sampler == "exponential_integrator":
        weight = 2 * (ar.exp(h) - 1)
        return ar.exp(h) - weight / noisy, weight * signal / noisy, ar.exp(2 * h) - 1
    if sampler == "euler_maruyama":
        return 1 + h - 2 * h / noisy, 2 * h * signal / noisy, 2 * h
    if sampler == "ddim":
        ratio = ar.call("sqrt", clean / noisy)
        return ratio, ar.exp(-s) - ratio * signal, ar.number(0)
    raise ValueError(f"sampler must be one of the known samplers, got {sampler}")


def take_substep(
    world: World, law: Law, seen: Array, levels: list[tuple[Number, Number]], estimate: Estimate
) -> Law:
    """Append the states after one sub-step, for the window positions whose level moves.

    `seen` maps the law's vector to u = (window, context, memory).
    """
    ar, d = world.ar, world.video.dim
    sampler = world.generator.get("sampler", "ancestral")
    moving = [j for j, (t, s) in enumerate(levels) if float(t) != float(s)]
    rows = [j * d + c for j in moving for c in range(d)]
    steps = [kernel(sampler, *levels[j], ar) for j in moving for _ in range(d)]
    a, b, v = (ar.array([step[i] for step in steps]) for i in range(3))
    matrix = a[:, None] * seen[rows] + b[:, None] * (estimate.gain[rows] @ seen)
    noise = v[:, None] * ar.eye(len(rows))
    if sampler == "optimal_variance":
        noise = noise + b[:, None] * estimate.cov[np.ix_(rows, rows)] * b
    if sampler == "optimal_variance_diagonal":
        noise = noise + (b * np.diag(estimate.cov)[rows] * b)[:, None] * ar.eye(len(rows))
    return law.append(matrix, b * estimate.offset[rows], noise)


def initial_law(world: World) -> Law:
    """Q's law of the initial noised window: exact, or denoised from N(0, I) and re-noised."""
    ar, d, delta = world.ar, world.video.dim, world.schedule.t_min
    states, size = (
        [world.chain.states[s] for s in world.chain.initial],
        len(world.chain.initial) * d,
    )
    if not world.generator.get("initialisation") or not states:
        return real_law(world.video, states, ar)
    substeps = int(world.generator["initialisation"]["substeps"])
    levels = ladder(world.schedule.t_max, delta, substeps, ar)
    law = Law(ar.zeros(size), ar.eye(size))
    for n, (t, s) in enumerate(itertools.pairwise(levels)):
        noisy = [State(x.frame, t) for x in states]
        estimate = posterior(world, world.believed, noisy, [], ar.zeros(0, 0))
        pairs = [(t, s)] * len(states)
        law = take_substep(world, law, ar.eye(size), pairs, spoil(world, estimate, n, 0))
        law = law.marginal(range(size, 2 * size))
    hops = [s.level - delta for s in states for _ in range(d)]
    decay = ar.array([ar.exp(-h) for h in hops])[:, None] * ar.eye(size)
    noise = ar.array([ar.variance(h) for h in hops])[:, None] * ar.eye(size)
    return law.append(decay, ar.zeros(size), noise).marginal(range(size, 2 * size))


def model_law(world: World) -> Law:
    """Q: the product of the generator's kernels, appended state by state."""
    ar, chain, schedule, d = world.ar, world.chain, world.schedule, world.video.dim
    law, identity = initial_law(world), ar.eye(len(chain.states) * d)
    for k, step in enumerate(chain.steps):
        new = len(step.fresh) * d
        law = law.append(ar.zeros(new, len(law.mean)), ar.zeros(new), ar.eye(new))
        if schedule.context_noise == "noise":
            hop = schedule.context_level - schedule.t_min
            copy = ar.exp(-hop) * identity[chain.at(step.clean), : len(law.mean)]
            law = law.append(copy, ar.zeros(len(copy)), ar.variance(hop) * ar.eye(len(copy)))
        for n in range(schedule.substeps):
            seen = np.vstack([identity[chain.at(step.window[n] + step.context)], step.memory])
            levels = [
                (chain.states[s].level, chain.states[u].level)
                for s, u in zip(step.window[n], step.window[n + 1], strict=True)
            ]
            seen = seen[:, : len(law.mean)]
            law = take_substep(world, law, seen, levels, denoiser(world, k, n))
    return law


# ---------------------------------------------------------------------------------------------
# The terms


def chain_laws(spec: Spec, precision: int | None = None) -> tuple[Law, Law, Chain]:
    """Joint laws (P, Q) of all distinct states of the chain, and the chain itself.

    Coordinates follow `Chain.states`, d for each state. Floats, or flint.arb balls computed with
    8 times the bits that `precision` digits need.
    """
    ar = Arithmetic(None if precision is None else math.ceil(8 * 3.33 * precision))
    with flint.ctx.workprec(ar.bits or flint.ctx.prec):
        world = read(spec, ar)
        return real_law(world.video, world.chain.states, ar), model_law(world), world.chain


def evaluate(spec: Spec, precision: int | None = None) -> dict[str, Any]:
    """All terms of Theorem A, and the bounds of Theorem B and section 2.1, in nats.

    Keys: ie, nie, see, de, see_plus_de, mb, mb_per_step, chain, output, clip, theorem_b, bound.
    None where undefined: all but output and clip for ddim; see, de and bound for every sampler
    but the ancestral one; theorem_b where Input_{k+1} is no function of (Input_k, Output_k).
    Floats, or mpmath.mpf with `precision` proved digits (absolute below 1, relative above).
    A memory that the references nearly determine conditions badly: floats may then be off by
    1e-7, and a mutual information negative by as much. Ask for digits there.
    """
    if precision is None:
        return convert(decompose(spec, Arithmetic()), None)
    bits = 8 * precision + 128
    while True:
        try:
            with flint.ctx.workprec(bits):
                return convert(decompose(spec, Arithmetic(bits)), precision)
        except SingularError:
            if bits > 20000:
                raise
            bits *= 2


def convert(value: Any, precision: int | None) -> Any:
    """Plain floats, or the midpoints of balls; SingularError if one is wider than asked for."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: convert(x, precision) for name, x in value.items()}
    if isinstance(value, list):
        return [convert(x, precision) for x in value]
    if precision is None:
        return float(value)
    if not float(value.rad()) <= 10.0**-precision * max(1.0, abs(float(value))):
        raise SingularError("precision lost")
    with mpmath.workdps(precision + 5):
        return mpmath.mpf(0 if 0 in value else value.mid().str(precision + 5, radius=False))


@dataclass
class Joint:
    """P and Q over (chain, memories), P with the clean frames behind them."""

    p: Law
    q: Law
    memory: list[list[int]]  # coordinates of the memory of each step
    clean: dict[int, list[int]]  # coordinates of each clean frame, in P only


def join(world: World) -> Joint:
    ar, chain, d = world.ar, world.chain, world.video.dim
    frames = range(1, len(world.video.mean) // d + 1)
    clean = [State(i, ar.number(0)) for i in frames]
    p, q = real_law(world.video, [*chain.states, *clean], ar), model_law(world)
    size, total, memory = len(q.mean), len(p.mean), []
    for step in chain.steps:  # deterministic functions of the chain
        b = len(step.memory)
        memory.append(list(range(len(q.mean), len(q.mean) + b)))
        maps = [np.hstack([step.memory, ar.zeros(b, len(x.mean) - size)]) for x in (p, q)]
        p, q = (x.append(m, ar.zeros(b), ar.zeros(b, b)) for x, m in zip((p, q), maps, strict=True))
    p = p.marginal([*range(size), *range(total, len(p.mean)), *range(size, total)])
    first = len(q.mean)
    return Joint(p, q, memory, {i: [first + (i - 1) * d + c for c in range(d)] for i in frames})


def decompose(spec: Spec, ar: Arithmetic) -> dict[str, Any]:
    """The dictionary of `evaluate`, each entry from its definition on the two joint laws."""
    world = read(spec, ar)
    chain, schedule, joint, zero = world.chain, world.schedule, join(world), ar.number(0)
    names = "ie nie see de see_plus_de mb mb_per_step chain output clip theorem_b bound"
    result: dict[str, Any] = dict.fromkeys(names.split())

    def kl(states: Sequence[int], given: Sequence[int] = ()) -> Number:
        return expected_kl(joint.p, joint.q, chain.at(states), given, ar)

    finished = [chain.finished[i] for i in sorted(chain.finished)]
    result["output"] = kl(finished[: int(spec.get("frames", len(finished)))])
    result["clip"] = kl(finished[-schedule.stride :])
    sampler = world.generator.get("sampler", "ancestral")
    if sampler == "ddim":
        return result
    everything, renoise = range(len(chain.states)), schedule.context_noise == "noise"
    result["chain"], result["ie"] = kl(everything), kl(chain.initial)
    nie, see_plus_de, renoised, result["mb_per_step"] = zero, zero, zero, []
    for k, step in enumerate(chain.steps):
        nie += kl(step.fresh, chain.at(everything[: step.fresh[0]]))
        seen = chain.at(step.window[0] + step.context) + joint.memory[k]
        see_plus_de += kl(step.created, seen)
        past = [
            s
            for s in everything[: step.created[0]]
            if s not in step.window[0] and s not in step.context
        ]
        output, references = chain.at(step.window[-1]), chain.at(step.clean)
        result["mb_per_step"].append(mutual_information(joint.p, output, chain.at(past), seen, ar))
        if renoise and world.generator["reference"] > schedule.stride:
            renoised += mutual_information(joint.p, output, references, seen, ar)
    result |= {"nie": nie, "see_plus_de": see_plus_de, "mb": sum(result["mb_per_step"], zero)}
    if input_closes(world):
        result["theorem_b"] = result["ie"] + nie + see_plus_de + renoised
    if sampler == "ancestral":
        steps = range(len(chain.steps))
        result["see"] = sum((score_error(world, joint, k) for k in steps), zero)
        result["de"] = sum((discretisation(world, joint, k) for k in steps), zero)
        result["bound"] = result["ie"] + result["see"] + result["mb"] + constants(world)
    return result


def snr_gains(world: World, k: int, n: int) -> Array:
    """gamma_{j,n+1} - gamma_{j,n} of every window coordinate."""
    before, after = (
        [world.ar.gamma(world.chain.states[s].level) for s in world.chain.steps[k].window[i]]
        for i in (n, n + 1)
    )
    gains = [y - x for x, y in zip(before, after, strict=True)]
    return np.repeat(world.ar.array(gains), world.video.dim)


def score_error(world: World, joint: Joint, k: int) -> Number:
    """SEE_k = 1/2 sum_n sum_j (gamma_{j,n+1} - gamma_{j,n}) E |x0_j - m_j|^2."""
    total, step = world.ar.number(0), world.chain.steps[k]
    for n in range(world.schedule.substeps):
        network, best = denoiser(world, k, n), best_denoiser(world, k, n)
        u = joint.p.marginal(world.chain.at(step.window[n] + step.context) + joint.memory[k])
        gain = network.gain - best.gain
        mean = gain @ u.mean + network.offset - best.offset
        total += snr_gains(world, k, n) @ (np.diag(gain @ u.cov @ gain.T) + mean * mean) / 2
    return total


def discretisation(world: World, joint: Joint, k: int) -> Number:
    """DE_k = 1/2 sum_n sum_j (gamma_{j,n+1} - gamma_{j,n}) mmse_j - [information gained on X0]."""
    total, step, at = world.ar.number(0), world.chain.steps[k], world.chain.at
    for n in range(world.schedule.substeps):
        total += snr_gains(world, k, n) @ np.diag(best_denoiser(world, k, n).cov) / 2
    clean = [c for s in step.window[0] for c in joint.clean[world.chain.states[s].frame]]
    given = at(step.context) + joint.memory[k]
    before, after = (
        mutual_information(joint.p, at(step.window[n]), clean, given, world.ar) for n in (0, -1)
    )
    return total - (after - before)


def input_closes(world: World) -> bool:
    """Theorem B's condition: Input_{k+1} is a function of (Input_k, Output_k) and fresh noise.

    Windows, references and recursive memories qualify (clean references wider than the stride
    are put in the state). A linear memory must read only frames that step k finished or that
    the state holds clean.
    """
    memory, schedule = world.generator.get("memory", {"kind": "none"}), world.schedule
    if memory["kind"] != "linear":
        return True
    held = int(world.generator.get("reference", 0))
    if schedule.context_noise == "noise" and held <= schedule.stride:
        held = 0
    stride, depth = schedule.stride, len(memory["weights"])
    return all(
        min(depth, k * stride) <= stride + min(held, (k - 1) * stride)
        for k in range(1, len(world.chain.steps))
    )


def constants(world: World) -> Number:
    """Section 2.1: the explicit constants that replace NIE and DE."""
    ar, schedule, video, chain = world.ar, world.schedule, world.video, world.chain
    d, stride, top = video.dim, schedule.stride, schedule.t_max
    power = np.diag(video.cov) + video.mean * video.mean
    energy = max(power.reshape(-1, d).sum(axis=1), key=float)
    noise = energy * ar.exp(-2 * top) / 2 + d * ar.exp(-4 * top) / (4 * ar.variance(top))
    gamma = [ar.gamma(s.level) for s in chain.states]
    ratios = [
        gamma[step.window[n + 1][j]] / gamma[step.window[n][j]]
        for step in chain.steps
        for n in range(schedule.substeps)
        for j in step.moving
    ]
    kappa = max(ratios, key=float) - 1
    span = ar.log(ar.gamma(schedule.t_min) / ar.gamma(top))
    frames = sum(len(step.moving) + stride * span for step in chain.steps)
    return len(chain.steps) * stride * noise + kappa / 2 * d * frames


SAMPLE: Spec = {
    "video": {
        "family": "autoregressive",
        "coefficients": [0.5, 0.4],
        "noise_variance": 0.3,
        "dim": 1,
    },
    "schedule": {
        "method": "outpainting",
        "window": 6,
        "stride": 2,
        "t_max": 3.0,
        "t_min": 0.05,
        "substeps": 12,
    },
    "generator": {"denoiser": {"kind": "exact"}, "sampler": "ancestral", "reference": 0},
    "steps": 5,
}


if __name__ == "__main__":
    print(json.dumps(evaluate(SAMPLE), indent=2))
