r"""Memory bottleneck: what a generator with limited memory must forget.

$X$ past, $Y$ input, $Z$ output: the bottleneck is $I(X; Z \mid Y)$, in nats (THEORY, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate
import scipy.linalg
import scipy.sparse.csgraph

from arvdm_theory._gaussian import EPS, log_det, symmetrise
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from arvdm_theory.noise import sigma
from arvdm_theory.video import Arfima, Autoregressive, GaussianVideo, StaticLatent

__all__ = ["UNITS", "WindowMemoryBottleneck", "window_memory_bottleneck"]

UNITS = {"nats": 1.0, "bits": 1.0 / np.log(2.0)}
"""Units of information, as multiples of one nat."""

TRUNCATION_GOAL = 1e-6
"""The default horizon is doubled until older frames add less than this many nats ..."""
LARGEST_COVARIANCE = 2048
"""... or until the covariance of the past would be larger than this."""


@dataclass(frozen=True, eq=False)
class WindowMemoryBottleneck:
    """Memory bottleneck of window memories of several lengths (R5).

    Attributes
    ----------
    window_lengths: `(R,)`, r in frames.
    values: `(R,)`, MB_r per frame; infinite where `reason` says so.
    total: I(X_k; past), which is MB_0.
    horizon: number of past frames that count as "the past".
    truncation: what all frames older than the horizon would add to every value and to the total,
        exact for a stationary video whose prediction error from the infinite past is known; 0 for
        a video that is not stationary (its past is complete); `None` if not known.
    error_bound: `(R,)`, first-order bound on the rounding error of `values`, from conditioning.
    level: OU time of the frames (0: clean).
    reason: why a value is infinite, else `None`.
    unit: of every information above. theorems: labels of the results used.
    """

    window_lengths: np.ndarray
    values: np.ndarray
    total: float
    horizon: int
    truncation: float | None
    error_bound: np.ndarray
    level: float
    reason: str | None
    unit: str
    theorems: tuple[str, ...] = ("R5", "M1")

    def __repr__(self) -> str:
        cut = "not known" if self.truncation is None else f"{self.truncation:.2g}"
        pairs = ", ".join(
            f"r={r}: {value:.6g}" for r, value in zip(self.window_lengths, self.values, strict=True)
        )
        return (
            f"WindowMemoryBottleneck({pairs}; total {self.total:.6g} {self.unit} a frame at level "
            f"{self.level:g}, horizon {self.horizon} frames, truncation {cut})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON; infinities as `null` beside their reason."""

        def plain(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        return {
            "window_lengths": self.window_lengths.tolist(),
            "values": [plain(value) for value in self.values],
            "total": plain(self.total),
            "horizon": self.horizon,
            "truncation": self.truncation,
            "error_bound": [plain(value) for value in self.error_bound],
            "level": self.level,
            "reason": self.reason,
            "unit": self.unit,
            "theorems": list(self.theorems),
        }

    def window_for(self, fraction: float) -> int | None:
        """Smallest listed r whose window holds this fraction of the total information.

        `None` if no listed r does, or if the total is 0 or infinite (no fraction exists).

        >>> from arvdm_theory.video import Autoregressive
        >>> video = Autoregressive([0.5, 0.4], 0.3)
        >>> window_memory_bottleneck(video, range(4)).window_for(0.99)
        2
        """
        if not 0.0 < fraction <= 1.0:
            raise ParameterError("fraction", "in (0, 1]", fraction)
        if not np.isfinite(self.total) or self.total <= 0.0:
            return None
        enough = self.window_lengths[self.values <= (1.0 - fraction) * self.total]
        return int(enough.min()) if enough.size else None


def window_memory_bottleneck(
    video: GaussianVideo,
    window_lengths: int | Iterable[int],
    *,
    level: float = 0.0,
    horizon: int | None = None,
    unit: str = "nats",
) -> WindowMemoryBottleneck:
    r"""What a generator that sees only the last r frames forgets about the next one (R5, M1).

    $$MB_r = I(X_k; X_{k-h..k-r-1} \mid X_{k-r..k-1})
           = \tfrac12 \log\frac{\det \mathrm{Cov}(X_k \mid \text{last } r)}
                               {\det \mathrm{Cov}(X_k \mid \text{last } h)}
           = -\tfrac12 \sum_{j=r+1}^{h} \sum_i \log(1 - \rho_{ji}^2),$$

    $\rho_{ji}$ the canonical correlations of $X_k$ and $X_{k-j}$ given the frames between (for
    scalar frames: the partial autocorrelation $\phi_{jj}$). By M1 it is the information lost by
    the memory "last r frames"; by M4 (chunk of one frame) it is paid in output KL, every frame.
    All r come from one Cholesky factorisation of the past ordered by lag, whose leading blocks are
    the windows.

    Arguments
    ---------
    video: any family, any dimension.
    window_lengths: r, one integer or several, each in 0..horizon (frames).
    level: OU time t of all frames, $X^t = e^{-t}X + \sqrt{1-e^{-2t}}\,\xi$; 0 for clean frames.
        AR(p) gives 0 for r ≥ p, and ARFIMA about $D^2/(2r)$, at level 0 only.
    horizon: h, past frames that count. Default for a stationary video: doubled from
        max(16, 2 max r) until older frames would add less than 1e-6 nats, or until the past holds
        2048 numbers. For any other video the past must be complete, so the frame asked about is
        k = horizon + 1; default: the last one.
    unit: "nats" or "bits" (a frame).

    Returns
    -------
    `WindowMemoryBottleneck`, with `truncation` (what the infinite past would add) and
    `error_bound`. A value is infinite if older frames determine a direction of $X_k$ that the
    window leaves uncertain (a perfect return at level 0).

    Raises
    ------
    ParameterError: r outside 0..horizon, a negative level, an unknown unit, or no horizon for an
        unlimited video that is not stationary.

    Source: THEORY, R5 (partial autocorrelations: Durbin 1960; ARFIMA: Hosking 1981).

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.9], 0.19)
    >>> window_memory_bottleneck(video, [0, 1]).values.round(4).tolist()
    [0.8304, 0.0]
    >>> window_memory_bottleneck(video, [1], level=0.05).values.round(4).tolist()
    [0.0235]
    """
    lengths = _window_lengths(window_lengths)
    level = _level(level)
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    past = _choose_horizon(video, int(lengths.max()), level, horizon)
    if lengths.max() > past.horizon:
        raise ParameterError("window_lengths", f"in 0..horizon ({past.horizon})", lengths.max())
    # summed from the oldest frame on: small values keep their digits
    remaining = np.append(np.cumsum(past.increments[::-1])[::-1], 0.0)
    scale = UNITS[unit]
    return WindowMemoryBottleneck(
        window_lengths=lengths,
        values=scale * remaining[lengths],
        total=float(scale * remaining[0]),
        horizon=past.horizon,
        truncation=None if past.truncation is None else scale * past.truncation,
        error_bound=scale * (past.error[lengths] + past.error[past.horizon]),
        level=level,
        reason=past.reason,
        unit=unit,
    )


# --- the past, ordered by lag ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Past:
    """`increments[j-1]`: I(X_k; X_{k-j} | the j-1 frames between); `error[r]`: rounding bound."""

    horizon: int
    increments: np.ndarray
    error: np.ndarray
    truncation: float | None
    reason: str | None


def _window_lengths(value: int | Iterable[int]) -> np.ndarray:
    items = list(value) if isinstance(value, Iterable) else [value]
    if not items:
        raise ParameterError("window_lengths", "at least one number of frames", items)
    return np.array([positive_integer("window_lengths", item, minimum=0) for item in items])


def _level(value: float) -> float:
    level = float(value)
    if not (np.isfinite(level) and level >= 0.0):
        raise ParameterError("level", "a finite OU time of at least 0", value)
    return level


def _choose_horizon(video: GaussianVideo, longest: int, level: float, horizon: int | None) -> _Past:
    if horizon is not None:
        return _past(video, positive_integer("horizon", horizon), level)
    if not video.stationary:
        if video.length is None:
            raise ParameterError(
                "horizon",
                "given for a video that is not stationary (the frame is horizon + 1)",
                None,
            )
        return _past(video, positive_integer("video.length", video.length, minimum=2) - 1, level)
    largest = max(LARGEST_COVARIANCE // video.dim, longest, 1)
    length = min(max(16, 2 * longest), largest)
    before = np.inf
    while True:
        past = _past(video, length, level)
        total = float(np.sum(past.increments))
        missing = total - before if past.truncation is None else past.truncation
        if past.reason is not None or length == largest or abs(missing) < TRUNCATION_GOAL:
            return past
        length, before = min(2 * length, largest), total


def _past(video: GaussianVideo, horizon: int, level: float) -> _Past:
    """Increments for frame k = horizon + 1 and its `horizon` predecessors, newest first."""
    dim = video.dim
    size = horizon * dim
    covariance = video.covariance(horizon + 1)
    covariance = np.exp(-2.0 * level) * covariance + sigma(level) ** 2 * np.eye(size + dim)
    newest_first = np.arange(size + dim).reshape(horizon + 1, dim)[::-1].ravel()
    covariance = covariance[np.ix_(newest_first, newest_first)]
    variance = np.diag(covariance)
    scale = np.where(variance > 0.0, np.sqrt(variance), 1.0)
    correlation = covariance / scale[:, None] / scale[None, :]
    increments, error, remaining = np.zeros(horizon), np.zeros(horizon + 1), 0.0
    reason, singular = None, False
    for pixels in _independent_pixels(correlation, dim):
        block = correlation[np.ix_(pixels, pixels)]
        floor = 64.0 * EPS * block.shape[0]
        width = block.shape[0] // (horizon + 1)
        regular = _by_cholesky(block, width, floor)
        if regular is None:
            singular = True
            added, reason_here = _by_elimination(block, width, floor)
            increments, reason = increments + added, reason or reason_here
        else:
            increments, error = increments + regular[0], error + regular[1]
            remaining += regular[2]
    if singular:
        return _Past(horizon, increments, np.full(horizon + 1, np.inf), None, reason)
    truncation = None
    if not video.stationary:
        truncation = 0.0
    else:
        innovation = _log_det_innovation(video, level)
        if innovation is not None:
            within = remaining + 2.0 * float(np.sum(np.log(scale[:dim])))
            # rounding can leave an exact zero slightly negative; the bound says how much
            truncation = max(0.5 * (within - innovation), -float(error[-1]))
    return _Past(horizon, increments, error, truncation, None)


def _independent_pixels(correlation: np.ndarray, dim: int) -> list[np.ndarray]:
    """Rows of the groups of pixels that are independent of each other at all lags.

    Their informations add, and factorising each group alone is far cheaper.
    """
    frames = correlation.shape[0] // dim
    coupled = np.any(correlation.reshape(frames, dim, frames, dim) != 0.0, axis=(0, 2))
    count, group = scipy.sparse.csgraph.connected_components(coupled, directed=False)
    labels = np.tile(group, frames)
    return [np.flatnonzero(labels == label) for label in range(count)]


def _by_cholesky(
    correlation: np.ndarray, dim: int, floor: float
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Increments, rounding bounds and log det Cov(X_k | whole past); `None` if singular.

    Rounding: Cholesky factors C + E exactly with |E_ij| ≤ (n + 1) eps for unit variances (Higham,
    Accuracy and Stability, Th. 10.3, with ‖l_i‖ = 1), and Cov(X_k | last r) = B C B' with
    B = [I, -K_r] moves by at most that times (Σ_j |B_aj|)(Σ_j |B_bj|).
    """
    now, past = slice(0, dim), slice(dim, None)
    size = correlation.shape[0] - dim
    horizon = size // dim
    try:
        factor = scipy.linalg.cholesky(correlation[past, past], lower=True)
    except np.linalg.LinAlgError:
        return None
    if np.min(np.diag(factor)) ** 2 <= floor:
        return None
    inverse = scipy.linalg.solve_triangular(factor, np.eye(size), lower=True)
    explained = (inverse @ correlation[past, now]).reshape(horizon, dim, dim)
    removed = np.cumsum(explained.swapaxes(1, 2) @ explained, axis=0)
    conditional = np.concatenate([np.zeros((1, dim, dim)), -removed]) + correlation[now, now]
    values, vectors = np.linalg.eigh(symmetrise(conditional))
    if np.min(values) <= floor:
        return None
    # rows of explained_j whitened by Cov(X_k | last j-1): singular values are the rho_ji
    whitened = explained @ (vectors[:-1] / np.sqrt(values[:-1])[:, None, :])
    correlations = np.linalg.svd(whitened, compute_uv=False)
    increments = -0.5 * np.sum(np.log1p(-(np.minimum(correlations, 1.0) ** 2)), axis=-1)
    rounding = (size + 16) * EPS
    row_sums = np.ones((horizon + 1, dim))
    gain = np.zeros((dim, size))
    for j in range(horizon):
        gain += explained[j].T @ inverse[j * dim : (j + 1) * dim]
        row_sums[j + 1] += np.abs(gain).sum(axis=1)
    moved = rounding * np.sum(row_sums**2, axis=1)
    smallest = values[:, 0]
    error = np.where(moved < 0.5 * smallest, moved * np.sum(1.0 / values, axis=1), np.inf)
    return increments, error, float(np.sum(np.log(values[-1])))


def _by_elimination(
    correlation: np.ndarray, dim: int, floor: float
) -> tuple[np.ndarray, str | None]:
    """The same increments for a singular law: frames are conditioned on one by one.

    A direction whose variance given newer frames is below rounding carries nothing; a direction
    of X_k whose variance falls below rounding with frame k-j makes that increment infinite.
    """
    residual = correlation
    now = slice(0, dim)
    increments = np.zeros(correlation.shape[0] // dim - 1)
    for j in range(increments.size):
        frame = slice(dim, 2 * dim)
        values, vectors = np.linalg.eigh(residual[frame, frame])
        kept = values > floor
        cross = residual[:, frame] @ (vectors[:, kept] / np.sqrt(values[kept]))
        before, directions = np.linalg.eigh(residual[now, now])
        uncertain = before > floor
        seen = directions[:, uncertain].T @ cross[now]
        after = np.linalg.eigvalsh(np.diag(before[uncertain]) - seen @ seen.T)
        if np.any(after <= floor):
            increments[j] = np.inf
        else:
            correlations = np.linalg.svd(
                seen / np.sqrt(before[uncertain])[:, None], compute_uv=False
            )
            increments[j] = -0.5 * np.sum(np.log1p(-(correlations**2)))
        remaining = np.r_[0:dim, 2 * dim : residual.shape[0]]
        residual = residual[np.ix_(remaining, remaining)] - cross[remaining] @ cross[remaining].T
    reason = None
    returns = np.flatnonzero(np.isinf(increments)) + 1
    if returns.size:
        reason = (
            f"the frame(s) {', '.join(str(j) for j in returns)} back determine a direction of X_k "
            "that newer frames leave uncertain (its variance falls below rounding, "
            f"{floor:.1g} of a pixel's)"
        )
    return increments, reason


# --- prediction from the infinite past ------------------------------------------------------------


def _log_det_innovation(video: GaussianVideo, level: float) -> float | None:
    """log det of the covariance of X_k given its infinite past; `None` if not known."""
    eye = np.eye(video.dim)
    scale, noise = np.exp(-2.0 * level), float(sigma(level)) ** 2
    if isinstance(video, StaticLatent):
        return float(log_det(scale * video.noise_variance + noise * eye))
    if isinstance(video, Arfima):
        return _arfima_innovation(video, scale, noise)
    if isinstance(video, Autoregressive) and level == 0.0:
        return float(log_det(video.noise_variance))
    model = video.markov(1)
    if model is None or not model.time_invariant:
        return None
    move, emission = model.transition[0], np.exp(-level) * model.emission[0]
    process, own = model.process[0], scale * model.noise[0] + noise * eye
    try:
        state = scipy.linalg.solve_discrete_are(move.T, emission.T, process, own)
    except (np.linalg.LinAlgError, ValueError):
        return None
    innovation = symmetrise(emission @ state @ emission.T) + own
    cross = move @ state @ emission.T
    step = move @ state @ move.T - cross @ np.linalg.solve(innovation, cross.T) + process
    accurate = np.max(np.abs(step - state)) <= 1e-8 * max(1.0, float(np.max(np.abs(state))))
    return float(log_det(innovation)) if accurate else None


def _arfima_innovation(video: Arfima, scale: float, noise: float) -> float:
    r"""Szegő–Kolmogorov: $\log\det V_\infty = \frac1{2\pi}\int\log\det S(\omega)\,d\omega$."""
    if noise == 0.0:
        return float(log_det(video.noise_variance))
    if np.ptp(video.memory) > 0.0:
        variances, memories = np.diag(video.noise_variance), video.memory
    else:
        variances = np.linalg.eigvalsh(video.noise_variance)
        memories = np.full(video.dim, video.memory[0])

    def log_spectrum(omega: float, variance: float, memory: float) -> float:
        return float(
            np.log(scale * variance * (2.0 * np.sin(0.5 * omega)) ** (-2.0 * memory) + noise)
        )

    total = 0.0
    for variance, memory in zip(variances, memories, strict=True):
        integral, _ = scipy.integrate.quad(
            log_spectrum, 0.0, np.pi, args=(variance, memory), epsabs=1e-11, limit=400
        )
        total += integral / np.pi
    return total
