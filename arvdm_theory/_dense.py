r"""The slow second way: joint Gaussian laws written out and conditioned, term by textbook term.

`laws` compares calculators with these numbers, so nothing here shares a formula with them: no
window law, no recursion, no canonical correlation beyond what `canonical_directions` needs to
propose a memory. Informations and divergences are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from arvdm_theory.errors import ParameterError
from arvdm_theory.generator import Biased, Exact, Generator, LinearMemory, Misspecified, Scaled
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

EPS = float(np.finfo(np.float64).eps)

Indices = Sequence[int] | np.ndarray


def log_det(covariance: np.ndarray) -> float:
    """Log-determinant of a positive definite matrix, with its sign looked at."""
    if covariance.shape[0] == 0:
        return 0.0
    sign, value = np.linalg.slogdet(covariance)
    if sign <= 0.0:
        raise np.linalg.LinAlgError("a covariance that should be positive definite is not")
    return float(value)


def rounding(*covariances: np.ndarray) -> float:
    """64 n eps cond, summed: what a log-determinant or a solve may lose, in units of the result."""
    total = 0.0
    for covariance in covariances:
        deviation = np.sqrt(np.diag(covariance))
        values = np.linalg.eigvalsh(covariance / deviation[:, None] / deviation)
        total += 64.0 * covariance.shape[0] * EPS * float(values[-1] / max(values[0], EPS))
    return total


def given(covariance: np.ndarray, kept: Indices, known: Indices) -> np.ndarray:
    """Cov(kept | known)."""
    kept, known = np.asarray(kept, dtype=int), np.asarray(known, dtype=int)
    own = covariance[np.ix_(kept, kept)]
    if known.size == 0:
        return np.asarray(own)
    cross = covariance[np.ix_(kept, known)]
    left = own - cross @ np.linalg.solve(covariance[np.ix_(known, known)], cross.T)
    return np.asarray(0.5 * (left + left.T))


def information(covariance: np.ndarray, x: Indices, z: Indices, y: Indices = ()) -> float:
    """I(X; Z | Y) from two conditional covariances of Z."""
    return 0.5 * (log_det(given(covariance, z, y)) - log_det(given(covariance, z, [*y, *x])))


def information_given_rows(
    covariance: np.ndarray, past: int, rows: np.ndarray, noise: np.ndarray | None = None
) -> float:
    """I(all after `past`; the first `past` coordinates | rows of them, plus noise).

    Of rows without noise a basis is taken; directions below 1e-6 of the largest are left out, which
    can only raise the value.
    """
    if noise is None and len(rows):
        length = np.linalg.norm(rows, axis=1)
        _, values, basis = np.linalg.svd(
            rows / np.where(length > 0.0, length, 1.0)[:, None], full_matrices=False
        )
        rows = basis[values > 1e-6 * max(values[0], 1e-300)]
    own = rows @ covariance[:past, :past] @ rows.T
    if noise is not None:
        own = own + np.diag(noise**2)
    cross = covariance[past:, :past] @ rows.T
    seen = covariance[past:, past:]
    if len(rows):
        seen = seen - cross @ np.linalg.solve(own, cross.T)
    after = np.arange(past, covariance.shape[0])
    return 0.5 * (log_det(seen) - log_det(given(covariance, after, np.arange(past))))


def kl(
    mean_p: np.ndarray, covariance_p: np.ndarray, mean_q: np.ndarray, covariance_q: np.ndarray
) -> float:
    """KL(N(μ_P, P) ‖ N(μ_Q, Q)), the textbook formula."""
    factor = np.linalg.cholesky(covariance_q)
    across = scipy.linalg.solve_triangular(factor, np.linalg.cholesky(covariance_p), lower=True)
    shift = scipy.linalg.solve_triangular(factor, mean_p - mean_q, lower=True)
    size = len(shift)
    trace = float(np.sum(across**2)) - size - 2.0 * float(np.sum(np.log(np.diag(across))))
    return 0.5 * (trace + float(shift @ shift))


def canonical_directions(
    covariance: np.ndarray, x: Indices, z: Indices, y: Indices = ()
) -> np.ndarray:
    """Maps of X of variance 1 given Y, those that tell most of Z first."""
    nx = len(x)
    joint = given(covariance, [*x, *z], y)
    cross, own = joint[:nx, nx:], joint[:nx, :nx]
    told = cross @ np.linalg.solve(joint[nx:, nx:], cross.T)
    _, vectors = scipy.linalg.eigh(0.5 * (told + told.T), own)
    return np.asarray(vectors[:, ::-1].T)


def noisy_frames(video: GaussianVideo, frames: int, level: float) -> np.ndarray:
    """Covariance of `frames` frames at OU time `level`."""
    clean = video.covariance(frames)
    return np.asarray(
        np.exp(-2.0 * level) * clean - np.expm1(-2.0 * level) * np.eye(clean.shape[0])
    )


def forgetful_law(covariance: np.ndarray, width: int, seen: int) -> np.ndarray:
    """Covariance of Q: blocks of `width` numbers drawn from P(block | the `seen` before it)."""
    law = np.zeros_like(covariance)
    for start in range(0, covariance.shape[0], width):
        now = np.arange(start, start + width)
        known = np.arange(max(start - seen, 0), start)
        gain = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, now)]).T
        law[start : start + width, :start] = gain @ law[known, :start]
        law[:start, start : start + width] = law[start : start + width, :start].T
        spread = gain @ law[np.ix_(known, known)] @ gain.T
        law[np.ix_(now, now)] = given(covariance, now, known) + spread
    return law


# --- the chain of a generator ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ChainLaws:
    """Joint laws (mean, covariance) of all distinct states under truth and model.

    `output` are the coordinates of the finished frames at level δ, frame by frame; `weakest` is
    the smallest singular value of what a step sees (1: nothing seen repeats anything).
    """

    truth: tuple[np.ndarray, np.ndarray]
    model: tuple[np.ndarray, np.ndarray]
    output: np.ndarray
    weakest: float = 1.0

    def divergence(self, coordinates: Indices | None = None) -> float:
        """KL of the states at these coordinates (all of them unless given)."""
        (mean_p, p), (mean_q, q) = self.truth, self.model
        if coordinates is None:
            return kl(mean_p, p, mean_q, q)
        chosen = np.asarray(coordinates)
        kept = np.ix_(chosen, chosen)
        return kl(mean_p[coordinates], p[kept], mean_q[coordinates], q[kept])

    def rounding(self) -> float:
        """Relative rounding of these divergences."""
        return rounding(self.truth[1], self.model[1]) * (1.0 + 1.0 / self.weakest)


def chain_laws(
    video: GaussianVideo, schedule: Schedule, generator: Generator, steps: int
) -> ChainLaws:
    """Every state of a roll-out with the ancestral sampler, clean context and an exact start."""
    if generator.sampler != "ancestral" or generator.initialisation is not None:
        raise ParameterError(
            "generator", "ancestral, from an exact first window (for its dense law)", generator
        )
    if schedule.context_noise != "none":
        raise ParameterError(
            "schedule.context_noise", "none (for its dense law)", schedule.context_noise
        )
    return _Chain(video, schedule, generator, steps).laws()


def _times(schedule: Schedule) -> np.ndarray:
    """t_{j,n}, linear in log-SNR, `(M + 1, w)`."""
    start, end = (
        -np.log(np.expm1(2.0 * levels))
        for levels in (schedule.input_levels, schedule.output_levels)
    )
    share = np.linspace(0.0, 1.0, int(schedule.substeps or 0) + 1)[:, None]
    times = 0.5 * np.log1p(np.exp(-(start + share * (end - start))))
    times[0], times[-1] = schedule.input_levels, schedule.output_levels
    return np.asarray(np.where(schedule.input_levels == schedule.output_levels, times[0], times))


class _Chain:
    """States are created one after another; `self.states` are (frame, level)."""

    def __init__(
        self, video: GaussianVideo, schedule: Schedule, generator: Generator, steps: int
    ) -> None:
        self.schedule, self.generator, self.steps = schedule, generator, steps
        self.dim, self.times = video.dim, _times(schedule)
        self.needed = (steps - 1) * schedule.stride + schedule.window
        self.video, self.believed = video, video
        if isinstance(generator.denoiser, Misspecified):
            self.believed = generator.denoiser.video
        self.states: list[tuple[int, float]] = []
        self.current: dict[int, int] = {}
        self.mean, self.covariance = np.zeros(0), np.zeros((0, 0))
        self.weakest = 1.0

    def truth(self, video: GaussianVideo) -> tuple[np.ndarray, np.ndarray]:
        """Law of the states created so far, each frame on its own OU path."""
        clean, means = video.covariance(self.needed), video.means(self.needed)
        frame = np.array([state[0] for state in self.states], dtype=int)
        level = np.array([state[1] for state in self.states])
        shrink = np.exp(-level)
        blocks = clean.reshape(self.needed, self.dim, self.needed, self.dim)
        blocks = blocks[frame][:, :, frame].transpose(0, 2, 1, 3)
        blocks = blocks * np.multiply.outer(shrink, shrink)[:, :, None, None]
        earlier = np.minimum.outer(level, level)
        shared = np.exp(-np.abs(np.subtract.outer(level, level))) * -np.expm1(-2.0 * earlier)
        shared = np.where(np.equal.outer(frame, frame), shared, 0.0)
        blocks = blocks + shared[:, :, None, None] * np.eye(self.dim)
        size = len(self.states) * self.dim
        return (shrink[:, None] * means[frame]).ravel(), blocks.transpose(0, 2, 1, 3).reshape(
            size, size
        )

    def append(
        self, frames: list[tuple[int, float]], maps: np.ndarray, offset: Any, noise: np.ndarray
    ) -> None:
        """New states = maps · all states + offset + N(0, diag noise)."""
        cross = maps @ self.covariance
        own = cross @ maps.T + np.diag(noise)
        self.mean = np.concatenate([self.mean, maps @ self.mean + offset])
        self.covariance = np.block([[self.covariance, cross.T], [cross, own]])
        for frame, level in frames:
            self.current[frame] = len(self.states)
            self.states.append((frame, level))

    def select(self, frames: Sequence[int]) -> np.ndarray:
        """Rows that pick the current states of these frames."""
        rows = np.zeros((len(frames) * self.dim, self.mean.size))
        for i, frame in enumerate(frames):
            at = self.current[frame] * self.dim
            rows[i * self.dim : (i + 1) * self.dim, at : at + self.dim] = np.eye(self.dim)
        return rows

    def memory(self, finished: int) -> np.ndarray:
        """The memory as a map of all states."""
        held, frames = self.generator.memory, self.select(range(finished))
        frames = frames.reshape(finished, self.dim, self.mean.size)
        if held is None:
            return np.zeros((0, self.mean.size))
        if isinstance(held, LinearMemory):
            weights = np.asarray(held.weights)
            rows = np.zeros((weights.shape[1], self.mean.size))
            for lag in range(min(len(weights), finished)):
                rows += weights[lag] @ frames[finished - 1 - lag]
            return rows
        transition, put = np.asarray(held.transition), np.asarray(held.input)  # type: ignore[attr-defined]
        rows = np.zeros((len(transition), self.mean.size))
        for frame in frames:
            rows = transition @ rows + put @ frame
        return rows

    def basis(self, rows: np.ndarray) -> np.ndarray:
        """Orthonormal rows of the same span; `weakest` keeps how nearly some repeat others."""
        length = np.linalg.norm(rows, axis=1)
        rows = rows[length > 0.0] / length[length > 0.0, None]
        _, values, basis = np.linalg.svd(rows, full_matrices=False)
        kept = values > 1e-8 * values[0]
        self.weakest = min(self.weakest, float(values[kept].min()))
        return np.asarray(basis[kept])

    def denoiser(self, window: Sequence[int], seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x̂ of the clean window as a map of all states, and its offset."""
        mean, covariance = self.truth(self.believed)
        rows, means = slice(window[0] * self.dim, (window[-1] + 1) * self.dim), self.believed.means
        clean = self.believed.covariance(self.needed)[rows].reshape(-1, self.needed, self.dim)
        cross = np.concatenate(
            [np.exp(-level) * clean[:, frame] for frame, level in self.states], axis=1
        )
        maps = cross @ seen.T @ np.linalg.solve(seen @ covariance @ seen.T, seen)
        offset = means(self.needed).ravel()[rows] - maps @ mean
        kind = self.generator.denoiser
        if isinstance(kind, Scaled):
            return kind.factor * maps, kind.factor * offset
        if isinstance(kind, Biased):
            bias = np.broadcast_to(np.asarray(kind.bias, dtype=float), (self.dim,))
            return maps, offset + np.tile(bias, len(window))
        if not isinstance(kind, (Exact, Misspecified)):
            known = "exact, scaled, biased or misspecified (for its dense law)"
            raise ParameterError("generator.denoiser", known, kind.kind)
        return maps, offset

    def laws(self) -> ChainLaws:
        width, stride, dim = self.schedule.window, self.schedule.stride, self.dim
        held = width - stride
        if held:  # the first window is exact
            first = [(j, float(self.times[0, j])) for j in range(held)]
            self.append(first, np.zeros((held * dim, 0)), 0.0, np.ones(held * dim))
            self.mean, self.covariance = self.truth(self.video)
        for k in range(self.steps):
            window = range(k * stride, k * stride + width)
            fresh = [(j, float(self.times[0, -1])) for j in window[held:]]
            none = np.zeros((stride * dim, self.mean.size))
            self.append(fresh, none, 0.0, np.ones(stride * dim))
            for n in range(len(self.times) - 1):
                self.sub_step(window, n, k * stride)
        finished = range(self.steps * stride)
        output = np.concatenate(
            [np.arange(self.current[j] * dim, (self.current[j] + 1) * dim) for j in finished]
        )
        model = (self.mean, self.covariance)
        return ChainLaws(self.truth(self.video), model, output, self.weakest)

    def sub_step(self, window: range, n: int, finished: int) -> None:
        dim = self.dim
        references = range(max(finished - self.generator.reference, 0), finished)
        now = self.select(window)
        shown, held = self.select(references), self.memory(finished)
        held[:, shown.any(axis=0)] = 0.0  # what references say of the memory is theirs
        seen = self.basis(np.concatenate([now, shown, held]))
        estimate, offset = self.denoiser(window, seen)
        maps, shifts, noises, created = [], [], [], []
        for i, frame in enumerate(window):
            t, s = self.times[n, i], self.times[n + 1, i]
            if s == t:
                continue
            rows = slice(i * dim, (i + 1) * dim)
            whole = -np.expm1(-2.0 * t)
            of_clean = np.exp(-s) * -np.expm1(-2.0 * (t - s)) / whole
            of_noisy = np.exp(-(t - s)) * -np.expm1(-2.0 * s) / whole
            variance = np.expm1(-2.0 * s) * np.expm1(-2.0 * (t - s)) / whole
            maps.append(of_clean * estimate[rows] + of_noisy * now[rows])
            shifts.append(of_clean * offset[rows])
            noises.append(np.full(dim, variance))
            created.append((frame, float(s)))
        self.append(created, np.concatenate(maps), np.concatenate(shifts), np.concatenate(noises))
