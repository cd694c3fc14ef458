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

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from arvdm_theory import noise
from arvdm_theory._gaussian import EPS, cholesky, spectral_norm, symmetrise, transpose
from arvdm_theory._kalman import LinearGaussian, filter_step
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

    @property
    def given_context(self) -> np.ndarray:
        """S_R, covariance of the window's clean frames given R and m, `(K, w d, w d)`."""
        return np.asarray(self.given_past + self.forgotten @ transpose(self.forgotten))

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
    return gain, _compress(residual), weakest


def _compress(factor: np.ndarray) -> np.ndarray:
    """A factor with the same Gram matrix and at most as many columns as rows (LQ)."""
    if factor.shape[-1] <= factor.shape[-2]:
        return factor
    return np.asarray(transpose(np.linalg.qr(transpose(factor), mode="r")))


def window_law(
    video: GaussianVideo, schedule: Schedule, context: Context, steps: int, law: Law = "auto"
) -> WindowLaw:
    """Window laws of AR steps 1..`steps`.

    `law`: `dense`, `kalman`, or `auto`: Kalman where the video has a finite state smaller than the
    frames it would replace, else dense.
    """
    if law not in ("auto", "dense", "kalman"):
        raise ParameterError("law", "one of auto, dense, kalman", law)
    needed = (steps - 1) * schedule.stride + schedule.window
    video.check_frames(needed)
    model = None if law == "dense" else video.markov(needed)
    if law == "kalman" and model is None:
        raise ParameterError("law", "dense for a video without a finite state", law)
    size = needed * video.dim
    small = model is not None and model.transition.shape[-1] < size // 4
    # an unstable chain's joint covariance is useless in double precision, its filter is not
    growing = isinstance(video, (Autoregressive, StateSpace)) and not video.stationary
    if model is not None and (law == "kalman" or small or growing):
        return _kalman_law(video, model, schedule, context, steps)
    return _dense_law(video, schedule, context, steps)


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


def _own_noise(schedule: Schedule, context: Context, dim: int, steps: int) -> np.ndarray:
    own = np.zeros((steps, context.size(dim)))
    _, deviation = _reference_scale(schedule, context)
    for k in range(steps):
        seen = min(context.reference, k * schedule.stride)
        own[k, (context.reference - seen) * dim : context.reference * dim] = deviation
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
    norm = float(np.linalg.norm(clean, 2) if clean.shape[0] <= 400 else np.trace(clean))
    rounding, slip = np.empty(steps), np.empty(steps)
    frames = clean.shape[0] // dim
    for k in range(steps):
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
        both = _compress(np.concatenate([loading, rows]))
        prediction[k, :, : both.shape[1]] = both[:width]
        seen_rows[k, :, : both.shape[1]] = both[width:]
        # Schur complement: (1 + |H|)^2 eps |C|, with |H|^2 <= |explained| / smallest noise
        spread = np.sqrt(float(np.trace(explained)) / variance) if past else 0.0
        relative = 8.0 * EPS * (past + width) + video.rounding * frames / max(norm, _TINY)
        rounding[k] = relative * norm * (1.0 + spread) ** 2
        slip[k] = relative * np.sqrt(norm) * (1.0 + spread) if past else 0.0
    mean, context_mean = _means(video, schedule, context, steps)
    own = _own_noise(schedule, context, dim, steps)
    return WindowLaw(
        mean, context_mean, given_past, prediction, seen_rows, own, rounding, slip, context.raw
    )


def _kalman_law(
    video: GaussianVideo,
    model: LinearGaussian,
    schedule: Schedule,
    context: Context,
    steps: int,
) -> WindowLaw:
    """Linear in the number of steps: filter the finished frames, carry what the context keeps.

    The carried vector is (predicted state, last frames at level δ, recursive memory); it is driven
    by white innovations, so its covariance factor follows from one QR a frame.
    """
    dim, stride, window = video.dim, schedule.stride, schedule.window
    delta = schedule.t_min
    alpha, variance = float(noise.alpha(delta)), float(noise.sigma(delta)) ** 2
    states = model.transition.shape[-1]
    kept = context.reference
    if context.lags is not None:
        kept = max(kept, context.lags.shape[0])
    delay = context.delay
    recursive = 0 if context.input is None else context.input.shape[0]
    total = states + kept * dim + recursive
    finished = (steps - 1) * stride
    covariance = np.array(model.initial_covariance)
    factor = np.zeros((total, total))
    ahead = np.empty((steps, states, states))
    carried = np.empty((steps, total, total))
    worst = float(np.linalg.norm(covariance, 2))
    for i in range(finished + 1):
        if i % stride == 0:
            ahead[i // stride], carried[i // stride] = covariance, factor
        if i == finished:
            break
        emission = alpha * model.at("emission", i)
        own = alpha**2 * model.at("noise", i) + variance * np.eye(dim)
        filtered, gain, innovation = filter_step(covariance, emission, own)
        move = model.at("transition", i)
        root = cholesky(innovation, "innovation covariance of the video")
        # frame = emission @ predicted + root @ e;  predicted' = move @ (predicted + gain root e)
        step = np.zeros((total, total + dim))
        step[:states] = np.hstack([move @ factor[:states], move @ gain @ root])
        frame = np.hstack([emission @ factor[:states], root])
        if kept:
            older = factor[states + dim : states + kept * dim]
            step[states : states + (kept - 1) * dim, :total] = older
            step[states + (kept - 1) * dim : states + kept * dim] = frame
        if recursive:
            assert context.transition is not None and context.input is not None
            step[-recursive:, :total] = context.transition @ factor[-recursive:]
            entering = frame
            if delay:  # the frame that leaves the references
                entering = np.zeros_like(frame)
                leaving = states + (kept - delay) * dim
                entering[:, :total] = factor[leaving : leaving + dim]
            step[-recursive:] += context.input @ entering
        factor = _compress(step)
        covariance = symmetrise(move @ filtered @ move.T) + model.at("process", i)
        worst = max(worst, float(np.linalg.norm(covariance, 2)))

    base = np.arange(steps) * stride  # index of the window's first frame
    loads = []
    state_now = ahead
    spread = np.broadcast_to(np.eye(states), (steps, states, states))
    emissions, within = [], np.zeros((steps, window, dim, window, dim))
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
        emissions.append(emission)
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
    load = np.concatenate([np.broadcast_to(item, (steps, dim, states)) for item in loads], axis=1)
    prediction = load @ carried[:, :states]

    scale, _ = _reference_scale(schedule, context)
    slots = context.reference * dim
    rows = np.zeros((steps, context.size(dim), total))
    frames = carried[:, states : states + kept * dim]
    if slots:
        rows[:, :slots] = scale * frames[:, -slots:]
    if context.lags is not None:
        lag_map = np.concatenate(list(context.lags[::-1]), axis=1)  # oldest first
        rows[:, slots:] = lag_map @ frames[:, -lag_map.shape[1] :]
    elif recursive:
        rows[:, slots:] = carried[:, -recursive:]
    # the filter contracts rounding errors; what is left is a few roundings of the largest state
    reach = 1.0 + np.linalg.norm(load, 2, axis=(1, 2)) ** 2
    noise_norm = float(np.abs(model.noise).max(initial=0.0))
    relative = 8.0 * EPS * (total + width + 16) + video.rounding / max(worst, _TINY)
    rounding = relative * (worst * reach + noise_norm)
    slip = relative * np.sqrt(worst * reach)
    mean, context_mean = _means(video, schedule, context, steps)
    own = _own_noise(schedule, context, dim, steps)
    return WindowLaw(
        mean, context_mean, given_past, prediction, rows, own, rounding, slip, context.raw
    )
