r"""Window laws: all that Theorem A needs to know of a video, batched over AR steps.

At step k the window's clean frames, the finished frames and the context $c = (R_k, m_k)$ are

$$X_{\text{window}} = \mu + B\,\xi + N(0, S_P), \qquad c = \mu_c + \Gamma\,\xi + n\odot N(0, I),$$

with $\xi$ the standardised innovations of all finished frames at level δ (the past). So $S_P$ is
the window covariance given all finished frames, $B B'$ the covariance of its prediction from them,
and $D = B_\perp B_\perp' = S_R - S_P$ what the context has forgotten, formed directly and never by
subtraction. Two providers compute the same arrays: dense conditioning (any covariance) and a
square-root Kalman recursion (state-space video, linear in the number of steps).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from arvdm_theory import noise
from arvdm_theory._gaussian import EPS, cholesky, spectral_norm, symmetrise, transpose
from arvdm_theory._kalman import LinearGaussian, filter_step
from arvdm_theory._progress import report
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import Autoregressive, GaussianVideo, StateSpace

Law = Literal["auto", "dense", "kalman"]

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Context:
    """What a step sees of the finished frames: c = L X^δ + noise.

    `level` is the OU time at which references are seen (δ if they are clean). Beside clean
    references a memory is carried as what it adds to them (`without_references`): the same
    knowledge, without the digits that a nearly redundant memory would lose.
    """

    reference: int
    level: float
    lags: np.ndarray | None = None  # (L, b, d): linear memory of the last L frames
    transition: np.ndarray | None = None  # (b, b) and
    input: np.ndarray | None = None  # (b, d): recursive memory
    delay: int = 0  # recursive memory as it was this many frames ago
    raw: np.ndarray | None = None  # (R, m) as a map of this context, if it is not the same

    @property
    def memory(self) -> int:
        """Number b of memory coordinates."""
        if self.lags is not None:
            return int(self.lags.shape[1])
        return 0 if self.input is None else int(self.input.shape[0])

    def size(self, dim: int) -> int:
        """Number q of context coordinates: reference slots, oldest first, then the memory."""
        return self.reference * dim + self.memory

    def without_references(self, dim: int) -> Context:
        """The same knowledge with the memory's share of the (clean) references taken out.

        Linear memory: its lags beyond r. Recursive memory with invertible F: as it was before the
        references, $m_{p-r}$, since $m_p = F^r m_{p-r} + $ a map of R.
        """
        r, b = self.reference, self.memory
        if r == 0 or b == 0:
            return self
        raw = np.eye(self.size(dim))
        share = raw[r * dim :, : r * dim].reshape(b, r, dim)  # slots oldest first
        if self.lags is not None:
            seen = min(r, self.lags.shape[0])
            share[:, r - seen :] = np.flip(self.lags[:seen], axis=0).transpose(1, 0, 2)
            lags = np.array(self.lags)
            lags[:seen] = 0.0
            return replace(self, lags=lags, raw=raw)
        assert self.transition is not None and self.input is not None
        if np.linalg.matrix_rank(self.transition) < b:
            return self
        power = np.eye(b)
        for lag in range(r):
            share[:, r - 1 - lag] = power @ self.input
            power = power @ self.transition
        raw[r * dim :, r * dim :] = power
        return replace(self, delay=r, raw=raw)


@dataclass(frozen=True, eq=False)
class WindowLaw:
    """Arrays over K steps; see the module's formula.

    `rounding` bounds the spectral-norm error of S_P, `slip` that of B_perp, to first order in
    machine precision.
    """

    mean: np.ndarray  # (K, w d)
    context_mean: np.ndarray  # (K, q)
    given_past: np.ndarray  # S_P (K, w d, w d)
    prediction: np.ndarray  # B (K, w d, n)
    context: np.ndarray  # Gamma (K, q, n)
    context_noise: np.ndarray  # n (K, q)
    rounding: np.ndarray  # (K,)
    slip: np.ndarray  # (K,), of B; of B_perp once the context is projected out
    raw: np.ndarray | None = None  # what a network sees, (R, m), as a map of the context
    drive: Drive | None = None  # a Kalman law's own recursion
    forgotten: np.ndarray = field(init=False)  # B_perp (K, w d, .)
    gain: np.ndarray = field(init=False)  # regression of the window on the context (K, w d, q)

    def __post_init__(self) -> None:
        gain, forgotten, weakest = _regress(self.prediction, self.context, self.context_noise)
        object.__setattr__(self, "gain", gain)
        object.__setattr__(self, "forgotten", forgotten)
        # a relative error eps of the context's rows tilts its weakest direction by eps / weakest
        size = self.context.shape[-1] + self.context.shape[-2]
        tilt = np.minimum(1.0, 8.0 * EPS * size / weakest) if self.context.shape[-2] else 0.0
        slip = self.slip + tilt * spectral_norm(self.prediction)
        object.__setattr__(self, "slip", slip)

    @cached_property
    def given_context(self) -> np.ndarray:
        """S_R, covariance of the window's clean frames given R and m, `(K, w d, w d)`."""
        return np.asarray(self.given_past + self.forgotten @ transpose(self.forgotten))

    @cached_property
    def loading(self) -> np.ndarray:
        """Spectral norm of what the context has forgotten, of B_perp, `(K,)`."""
        return np.asarray(spectral_norm(self.forgotten))

    @property
    def steps(self) -> int:
        """Number K of AR steps."""
        return int(self.mean.shape[0])


def _regress(
    prediction: np.ndarray, context: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Regression K of Bξ on c = Γξ + n⊙η and a factor $B_\perp$ of its residual covariance.

    The context may be rank deficient (slots not yet filled, a memory that repeats a reference):
    directions below rounding carry nothing and are left out. What is kept is projected out twice,
    which makes the residual orthogonal to rounding, so a small one keeps its digits. Also returned:
    the smallest kept singular value of the row-scaled context, in units of the largest; where a
    direction was left out that may be more than rounding, its size instead.
    """
    steps, rows, size = prediction.shape
    slots = context.shape[1]
    if slots == 0:
        return np.zeros((steps, rows, 0)), prediction, np.ones(steps)
    wide, target = context, prediction
    if np.any(own > 0.0):
        wide = np.concatenate([context, own[:, :, None] * np.eye(slots)], axis=2)
        target = np.concatenate([prediction, np.zeros((steps, rows, slots))], axis=2)
    largest = np.abs(wide).max(axis=2, keepdims=True)
    largest = np.where(largest > 0.0, largest, 1.0)
    length = np.sqrt(np.sum((wide / largest) ** 2, axis=2, keepdims=True))
    length = np.where(length > 0.0, length, 1.0)
    left, values, basis = np.linalg.svd(wide / largest / length, full_matrices=False)
    top = np.where(values[:, :1] > 0.0, values[:, :1], 1.0)
    kept = values > 64.0 * EPS * max(slots, size) * top
    # below this a direction is one row repeating others; above, it may be a faint one, lost
    doubtful = (values > 8.0 * EPS * np.sqrt(size) * top) & ~kept
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    basis = basis * kept[:, :, None]
    along = target @ transpose(basis)
    gain = (along * inverse[:, None, :]) @ transpose(left) / transpose(length) / transpose(largest)
    residual = target - along @ basis
    residual = residual - (residual @ transpose(basis)) @ basis
    weakest = np.where(kept | doubtful, values / top, 1.0).min(axis=1)
    return gain, compress(residual), weakest


def compress(factor: np.ndarray) -> np.ndarray:
    """A factor with the same Gram matrix and at most as many columns as rows (LQ)."""
    if factor.shape[-1] <= factor.shape[-2]:
        return factor
    return np.asarray(transpose(np.linalg.qr(transpose(factor), mode="r")))


def window_law(
    video: GaussianVideo, schedule: Schedule, context: Context, steps: int, law: Law = "auto"
) -> WindowLaw:
    """Window laws of AR steps 1..`steps`; see `window_laws`."""
    return window_laws(video, schedule, context, steps, law).take(steps)


def window_laws(
    video: GaussianVideo, schedule: Schedule, context: Context, steps: int, law: Law = "auto"
) -> KalmanLaws | DenseLaws:
    """Window laws of AR steps 1..`steps`, to be taken in order.

    `law`: `dense`, `kalman`, or `auto`: Kalman where the video has a finite state smaller than the
    frames it would replace, else dense.
    """
    if law not in ("auto", "dense", "kalman"):
        raise ParameterError("law", "one of auto, dense, kalman", law)
    needed = (steps - 1) * schedule.stride + schedule.window
    video.check_frames(needed)
    model = None if law == "dense" else _state_space(video, needed)
    if law == "kalman" and model is None:
        raise ParameterError("law", "dense for a video without a finite state", law)
    size = needed * video.dim
    small = model is not None and model.transition.shape[-1] < size // 4
    # an unstable chain's joint covariance is useless in double precision, its filter is not
    growing = isinstance(video, (Autoregressive, StateSpace)) and not video.stationary
    if model is not None and (law == "kalman" or small or growing):
        return KalmanLaws(video, model, schedule, context)
    check_dense(size)
    return DenseLaws(video, schedule, context, steps)


def check_dense(size: int) -> None:
    """Refuse joint covariances of `size` numbers that this machine could not hold."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        most = 16 * 2**30
    asked = _DENSE_MATRICES * 8 * size**2
    if asked > most:
        raise ParameterError(
            "steps",
            f"few enough for dense window laws, {_DENSE_MATRICES} matrices of the size of all "
            f"frames within {most / 2**30:.3g} GiB: fewer frames, or a video with a finite state "
            "and law='kalman'",
            f"{size} numbers ({asked / 2**30:.3g} GiB)",
        )


_DENSE_MATRICES = 8
"""Matrices of the size of all frames that a dense decomposition holds at its largest."""


def _state_space(video: GaussianVideo, frames: int) -> LinearGaussian | None:
    """The video's state-space form; entries that only repeat the last one are left out."""
    if isinstance(video, Autoregressive) and not video.stationary:
        frames = min(frames, video.order + 1)  # from there on it does not change
    return video.markov(frames)


@dataclass(frozen=True)
class DenseLaws:
    """Window laws by dense conditioning, all AR steps at once."""

    video: GaussianVideo
    schedule: Schedule
    context: Context
    steps: int

    def take(self, steps: int) -> WindowLaw:
        """Window laws of all AR steps (`steps` must be their number)."""
        if steps != self.steps:
            raise ParameterError("steps", f"all {self.steps} for a dense law", steps)
        return _dense_law(self.video, self.schedule, self.context, steps)


def _reference_scale(schedule: Schedule, context: Context) -> tuple[float, float]:
    """Scale and noise standard deviation that take a reference from δ to its level."""
    scale, variance = noise.kernel(schedule.t_min, context.level)
    return float(scale), float(np.sqrt(variance))


def memory_rows(context: Context, dim: int, finished: int) -> np.ndarray:
    """The memory as a linear map of finished frames at level δ, `(b, finished * dim)`."""
    rows = np.zeros((context.memory, finished * dim))
    if context.lags is not None:
        for lag in range(min(context.lags.shape[0], finished)):
            start = (finished - 1 - lag) * dim
            rows[:, start : start + dim] = context.lags[lag]
    elif context.input is not None and context.transition is not None:
        block = context.input
        for i in range(finished - context.delay - 1, -1, -1):
            rows[:, i * dim : (i + 1) * dim] = block
            block = context.transition @ block
    return rows


def _means(
    video: GaussianVideo, schedule: Schedule, context: Context, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    dim, stride, window = video.dim, schedule.stride, schedule.window
    clean = video.means((steps - 1) * stride + window)
    mean = np.stack([clean[k * stride : k * stride + window].ravel() for k in range(steps)])
    context_mean = np.zeros((steps, context.size(dim)))
    if context_mean.size and np.any(clean):
        slots = context.reference * dim
        for k in range(steps):
            finished = k * stride
            past = float(noise.alpha(schedule.t_min)) * clean[:finished].ravel()
            seen = min(context.reference, finished) * dim
            if seen:
                level = float(noise.alpha(context.level))
                context_mean[k, slots - seen : slots] = level * clean[:finished].ravel()[-seen:]
            context_mean[k, slots:] = memory_rows(context, dim, finished) @ past
    return mean, context_mean


def _own_noise(
    schedule: Schedule, context: Context, dim: int, finished_steps: np.ndarray
) -> np.ndarray:
    """Own noise of the context of each step, by how many steps were finished before it."""
    own = np.zeros((finished_steps.size, context.size(dim)))
    _, deviation = _reference_scale(schedule, context)
    seen = np.minimum(context.reference, finished_steps * schedule.stride)
    slot = np.arange(context.reference)
    present = slot >= context.reference - seen[:, None]
    own[:, : context.reference * dim] = deviation * np.repeat(present, dim, axis=1)
    return own


def _dense_law(video: GaussianVideo, schedule: Schedule, context: Context, steps: int) -> WindowLaw:
    dim, stride = video.dim, schedule.stride
    width, slots = schedule.window * dim, context.size(dim)
    delta = schedule.t_min
    alpha, variance = float(noise.alpha(delta)), float(noise.sigma(delta)) ** 2
    clean = video.covariance((steps - 1) * stride + schedule.window)
    noisy = alpha**2 * clean + variance * np.eye(clean.shape[0])
    factor = cholesky(noisy, "covariance of the video at level delta")
    scale, _ = _reference_scale(schedule, context)
    columns = width + slots
    given_past = np.empty((steps, width, width))
    prediction = np.zeros((steps, width, columns))
    seen_rows = np.zeros((steps, slots, columns))
    # for a large one a bound: the largest row sum, or the trace
    norm = float(
        np.linalg.norm(clean, 2)
        if clean.shape[0] <= 400
        else min(np.linalg.norm(clean, 1), np.trace(clean))
    )
    rounding, slip = np.empty(steps), np.empty(steps)
    frames = clean.shape[0] // dim
    for k in range(steps):
        report("window laws", k, steps)
        past, end = k * stride * dim, k * stride * dim + width
        loading = factor[past:end, :past] / alpha
        rows = np.zeros((slots, past))
        seen = min(context.reference, k * stride) * dim
        if seen:
            start = context.reference * dim - seen
            rows[start : start + seen] = scale * factor[past - seen : past, :past]
        if context.memory:
            rows[context.reference * dim :] = (
                memory_rows(context, dim, k * stride) @ factor[:past, :past]
            )
        explained = loading @ loading.T
        given_past[k] = symmetrise(clean[past:end, past:end] - explained)
        both = compress(np.concatenate([loading, rows]))
        prediction[k, :, : both.shape[1]] = both[:width]
        seen_rows[k, :, : both.shape[1]] = both[width:]
        # Schur complement: (1 + |H|)^2 eps |C|, with |H|^2 <= |explained| / smallest noise
        spread = np.sqrt(float(np.linalg.norm(explained, 2)) / variance) if past else 0.0
        relative = 8.0 * EPS * (past + width) + video.rounding * frames / max(norm, _TINY)
        rounding[k] = relative * norm * (1.0 + spread) ** 2
        slip[k] = relative * np.sqrt(norm) * (1.0 + spread) if past else 0.0
    mean, context_mean = _means(video, schedule, context, steps)
    own = _own_noise(schedule, context, dim, np.arange(steps))
    return WindowLaw(
        mean, context_mean, given_past, prediction, seen_rows, own, rounding, slip, context.raw
    )


def reach(move: np.ndarray) -> float:
    r"""Norm of $\sum_j F^j F'^j$, by doubling; infinite for a map that does not contract."""
    size = move.shape[0]
    if not size or float(np.abs(np.linalg.eigvals(move)).max()) >= 1.0 - 1e-9:
        return 1.0 if not size else np.inf
    total, power = np.eye(size), np.array(move)
    while np.abs(power).max() > 1e-30:
        total = symmetrise(total + power @ total @ power.T)
        power = power @ power
    return float(np.linalg.norm(total, 2))


def _settled(change: float, reach_of: float) -> bool:
    """Whether a relative change, and all that follows from it, is no more than rounding."""
    if change == 0.0:
        return True
    return bool(np.isfinite(reach_of)) and change * reach_of <= settled_to(reach_of)


def settled_to(reach_of: float) -> float:
    """Relative distance from a steady state that counts as having reached it."""
    return max(1e-12, 64.0 * EPS * reach_of)


def _change(pair: np.ndarray) -> float:
    """Relative change between two matrices."""
    largest = float(np.linalg.norm(pair[-1]))
    return float(np.linalg.norm(pair[-1] - pair[-2])) / largest if largest > 0.0 else 0.0


@dataclass(frozen=True, eq=False)
class Drive:
    r"""How the carried vector of a Kalman window law moves under the truth, batched over AR steps.

    $s_{k+1} = A_k s_k + B_k e_k$, s = (predicted state, kept frames at level δ, recursive memory)
    in deviations from its mean, $e_k \sim N(0, I)$ the whitened innovations of the Δ frames that
    step k finishes. The window's prediction is `load` s, the context `rows` s + its own noise; the
    last coordinates u (all but the first `states`) are known maps of finished frames and move by
    $u' = $ `kept` (u, frames).
    """

    factor: np.ndarray  # of Cov(s_k) (K, s, s)
    move: np.ndarray  # A (K, s, s)
    drive: np.ndarray  # B (K, s, stride d)
    load: np.ndarray  # (K, w d, s)
    rows: np.ndarray  # (q, s)
    kept: np.ndarray  # (u, u + stride d)
    states: int


class KalmanLaws:
    """Window laws of consecutive AR steps, in time linear in their number and constant memory.

    Filters the finished frames and carries what the context keeps: (predicted state, last frames
    at level δ, recursive memory), driven by white innovations, so that its covariance factor
    follows from one QR a frame.
    """

    def __init__(
        self, video: GaussianVideo, model: LinearGaussian, schedule: Schedule, context: Context
    ) -> None:
        self.video, self.model, self.schedule, self.context = video, model, schedule, context
        dim = video.dim
        self.alpha = float(noise.alpha(schedule.t_min))
        self.variance = float(noise.sigma(schedule.t_min)) ** 2
        self.states = int(model.transition.shape[-1])
        lags = 0 if context.lags is None else int(context.lags.shape[0])
        self.frames = max(context.reference, lags)  # kept
        self.recursive = 0 if context.input is None else int(context.input.shape[0])
        self.total = self.states + self.frames * dim + self.recursive
        self.rows = self._context_rows(dim)
        self.step = 0  # AR steps taken
        self.covariance = np.array(model.initial_covariance)
        self.factor = np.zeros((self.total, self.total))
        self.state_mean = np.array(model.initial_mean)
        self.kept_mean = np.zeros(self.total - self.states)
        self.base = video.means(1)[0] - model.at("emission", 0) @ model.initial_mean
        self.worst = float(np.linalg.norm(self.covariance, 2))
        kept = np.eye(self.total - self.states)
        entering = np.zeros((kept.shape[0], schedule.stride * dim))
        kept = np.concatenate([kept, entering], axis=1)
        for i in range(schedule.stride):
            frame = np.zeros((dim, kept.shape[1]))
            start = self.total - self.states + i * dim
            frame[:, start : start + dim] = np.eye(dim)
            kept = self._keep(kept, frame)
        self.kept = kept
        nothing = np.zeros((0,))
        self.last = (nothing, nothing, nothing, nothing)
        self.last_move = nothing
        self.spread = np.inf  # how far one change reaches, once settled

    def _context_rows(self, dim: int) -> np.ndarray:
        """The context as a map of the carried vector."""
        context, slots = self.context, self.context.reference * dim
        rows = np.zeros((context.size(dim), self.total))
        end = self.total - self.recursive
        scale, _ = _reference_scale(self.schedule, context)
        if slots:
            rows[:slots, end - slots : end] = scale * np.eye(slots)
        if context.lags is not None:
            lag_map = np.concatenate(list(context.lags[::-1]), axis=1)  # oldest first
            rows[slots:, end - lag_map.shape[1] : end] = lag_map
        elif self.recursive:
            rows[slots:, end:] = np.eye(self.recursive)
        return rows

    def _keep(self, kept: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """What is carried of finished frames after one more: any linear map of both, by rows."""
        dim, end = frame.shape[0], self.frames * frame.shape[0]
        out = np.empty_like(kept)
        out[:end] = np.concatenate([kept[dim:end], frame]) if end else kept[:0]
        if self.recursive:
            assert self.context.transition is not None and self.context.input is not None
            # with a delay it takes in the frame that leaves the references
            leaving = end - self.context.delay * dim
            taken = kept[leaving : leaving + dim] if self.context.delay else frame
            out[end:] = self.context.transition @ kept[end:] + self.context.input @ taken
        return out

    def take(self, steps: int) -> WindowLaw:
        """Window laws of the next `steps` AR steps."""
        dim, stride, states, total = self.video.dim, self.schedule.stride, self.states, self.total
        ahead = np.empty((steps, states, states))
        carried, moves = np.empty((steps, total, total)), np.empty((steps, total, total))
        drives = np.empty((steps, total, stride * dim))
        state_means = np.empty((steps, states))
        kept_means = np.empty((steps, total - states))
        for k in range(steps):
            ahead[k], carried[k] = self.covariance, self.factor
            state_means[k], kept_means[k] = self.state_mean, self.kept_mean
            through = np.eye(total, total + stride * dim)
            for i in range(stride):
                through = self._frame((self.step + k) * stride + i, through, total + i * dim)
            moves[k], drives[k] = through[:, :total], through[:, total:]
        self.worst = max(self.worst, float(np.linalg.norm(ahead, 2, axis=(1, 2)).max()))
        first = self.step * stride + np.arange(steps) * stride
        self.step += steps
        self.last = (ahead[-2:], carried[-2:], state_means[-2:], kept_means[-2:])
        self.last_move = moves[-1]
        return self._window(first, ahead, carried, moves, drives, state_means, kept_means)

    @property
    def settled(self) -> bool:
        r"""Whether further steps repeat the last one: what is left of the changes is rounding.

        Differences of consecutive filter covariances move by the closed loop,
        $\Delta_{k+1} = F\Delta_k F'$, those of the carried moments by the open one, so what is
        left of them is at most $\|\Delta\|\,\|\sum_j F^j F'^j\|$, to first order.
        """
        ahead, carried, state_means, kept_means = self.last
        past = (self.step - 2) * self.schedule.stride
        if ahead.shape[0] < 2 or past < max(self.model.constant_from, self.frames):
            return False
        closed, opened = reach(self._closed_loop(past)), reach(self.last_move)
        grams = carried @ transpose(carried)
        means = np.concatenate([state_means, kept_means], axis=1)
        size = 1.0 + float(np.linalg.norm(means[-1]))
        shift = float(np.linalg.norm(means[-1] - means[-2])) / size
        self.spread = max(closed, opened)
        return (
            _settled(_change(ahead), closed)
            and _settled(_change(grams), opened)
            and _settled(shift, np.sqrt(opened))
        )

    def _closed_loop(self, frame: int) -> np.ndarray:
        """The filter's error over one AR step, A (I - gain C) frame by frame."""
        model = self.model
        emission, move = self.alpha * model.at("emission", frame), model.at("transition", frame)
        own = self.alpha**2 * model.at("noise", frame) + self.variance * np.eye(self.video.dim)
        closed, covariance = np.eye(self.states), self.last[0][-1]
        for _ in range(self.schedule.stride):
            filtered, gain, _ = filter_step(covariance, emission, own)
            closed = move @ (np.eye(self.states) - gain @ emission) @ closed
            covariance = move @ filtered @ move.T + model.at("process", frame)
        return closed

    def _frame(self, i: int, through: np.ndarray, column: int) -> np.ndarray:
        """Filter frame `i`; `through` is the carried vector as a map of where the AR step began."""
        model, dim, states, total = self.model, self.video.dim, self.states, self.total
        clean = model.at("emission", i)
        emission, move = self.alpha * clean, model.at("transition", i)
        own = self.alpha**2 * model.at("noise", i) + self.variance * np.eye(dim)
        filtered, gain, innovation = filter_step(self.covariance, emission, own)
        root = cholesky(innovation, "innovation covariance of the video")
        # frame = emission @ predicted + root @ e;  predicted' = move @ (predicted + gain root e)
        step = np.zeros((total, total + dim))
        step[:states, :states], step[:states, total:] = move, move @ gain @ root
        frame = np.zeros((dim, total + dim))
        frame[:, :states], frame[:, total:] = emission, root
        step[states:] = self._keep(np.eye(total, total + dim)[states:], frame)
        old, new = step[:, :total], step[:, total:]
        self.factor = compress(np.concatenate([old @ self.factor, new], axis=1))
        ahead = move @ filtered @ move.T
        self.covariance = 0.5 * (ahead + ahead.T) + model.at("process", i)
        seen = self.alpha * (self.base + clean @ self.state_mean)
        self.kept_mean = self._keep(self.kept_mean[:, None], seen[:, None])[:, 0]
        self.state_mean = move @ self.state_mean
        through = old @ through
        through[:, column : column + dim] += new
        return through

    def _window(
        self,
        base: np.ndarray,
        ahead: np.ndarray,
        carried: np.ndarray,
        moves: np.ndarray,
        drives: np.ndarray,
        state_means: np.ndarray,
        kept_means: np.ndarray,
    ) -> WindowLaw:
        """The windows that begin at frames `base` (0 for the first), from the filter's state."""
        model, dim, window = self.model, self.video.dim, self.schedule.window
        steps, states, total = base.size, self.states, self.total
        loads = []
        state_now = ahead
        spread = np.broadcast_to(np.eye(states), (steps, states, states))
        within = np.zeros((steps, window, dim, window, dim))
        cross: list[np.ndarray] = []  # Cov(state now, frame i of the window without its own noise)
        for j in range(window):
            if j:
                move = model.span("transition", base + j - 1)
                spread = move @ spread
                state_now = symmetrise(move @ state_now @ transpose(move)) + model.span(
                    "process", base + j - 1
                )
                cross = [move @ item for item in cross]
            emission = model.span("emission", base + j)
            loads.append(emission @ spread)
            cross.append(state_now @ transpose(emission))
            for i, item in enumerate(cross):
                block = emission @ item
                if i == j:
                    block = symmetrise(block) + model.span("noise", base + j)
                within[:, j, :, i, :] = block
                within[:, i, :, j, :] = transpose(block)
        width = window * dim
        given_past = within.reshape(steps, width, width)
        load = np.zeros((steps, width, total))
        for j, item in enumerate(loads):
            load[:, j * dim : (j + 1) * dim, :states] = item
        # the filter contracts rounding errors; what is left is a few roundings of the largest state
        reach = 1.0 + np.linalg.norm(load, 2, axis=(1, 2)) ** 2
        noise_norm = float(np.abs(model.noise).max(initial=0.0))
        relative = 8.0 * EPS * (total + width + 16) + self.video.rounding / max(self.worst, _TINY)
        mean = np.tile(self.base, window) + (load[:, :, :states] @ state_means[..., None])[..., 0]
        own = _own_noise(self.schedule, self.context, dim, base // self.schedule.stride)
        return WindowLaw(
            mean,
            kept_means @ self.rows[:, states:].T,
            given_past,
            load @ carried,
            self.rows @ carried,
            own,
            relative * (self.worst * reach + noise_norm),
            relative * np.sqrt(self.worst * reach),
            self.context.raw,
            Drive(carried, moves, drives, load, self.rows, self.kept, states),
        )
