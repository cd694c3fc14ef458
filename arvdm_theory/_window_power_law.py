r"""R5 in closed form: partial autocorrelations, the infinite past, and the power law of ARFIMA.

`memory.window_memory_bottleneck` conditions densely on a finite past, for any video. Here the past
is infinite and the frames scalar: $MB_r = \tfrac12\log(\sigma_r^2/\sigma_\infty^2)$, with
$\sigma_r^2$ by Durbin–Levinson and $\sigma_\infty^2$ the prediction error from the infinite past.
Autocovariances of many videos, `(..., lags)`, stand in for one video.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

from arvdm_theory._arrays import (
    NUMPY,
    Array,
    common_shape,
    floating,
    numpy_of,
    plain,
    refuse_tensors,
    require,
)
from arvdm_theory._gaussian import EPS
from arvdm_theory._prediction import innovation_log_det, nonnegative_level
from arvdm_theory.checks import positive_integer
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.noise import sigma
from arvdm_theory.video import Arfima, GaussianVideo

__all__ = [
    "ScalarWindowMemory",
    "partial_autocorrelations",
    "scalar_window_memory",
]

# --- partial autocorrelations ---------------------------------------------------------------------


def partial_autocorrelations(video: Any, order: int, *, level: float = 0.0) -> Any:
    r"""Partial autocorrelations $\phi_{jj}$, j = 1..`order`, of a scalar stationary video (R5).

    $$\phi_{jj} = \frac{\gamma_j - \sum_{i<j}\phi_{j-1,i}\,\gamma_{j-i}}{\sigma_{j-1}^2},\qquad
      \sigma_j^2 = \sigma_{j-1}^2 (1 - \phi_{jj}^2),$$

    the Durbin–Levinson recursion on $\gamma_h$ at level t: $e^{-2t}\gamma_h + \sigma^2(t)1[h=0]$.
    For clean ARFIMA(0, D, 0) it is not needed: $\phi_{jj} = D/(j-D)$ is returned.

    Arguments: `video` stationary with one number a frame, or the autocovariances
    $\gamma_0 .. \gamma_h$ of clean frames, `(..., h + 1)` with h ≥ `order`, arrays or tensors;
    `order` in frames; `level` OU time. Returns `(..., order)`.

    Raises `ParameterError` for a video that is not stationary or not scalar, and `RefusedError`
    where the next frame is determined by fewer than `order` frames.

    Source: Durbin (1960); Hosking (1981) for ARFIMA.

    >>> from arvdm_theory.video import Autoregressive
    >>> partial_autocorrelations(Autoregressive([0.5, 0.4], 0.3), 3).round(6).tolist()
    [0.833333, 0.4, 0.0]
    >>> partial_autocorrelations([[1.0, 0.5, 0.25], [1.0, 0.5, 0.5]], 2).round(6).tolist()
    [[0.5, 0.0], [0.5, 0.333333]]
    """
    order = positive_integer("order", order)
    level = nonnegative_level(level)
    if not isinstance(video, GaussianVideo):
        xp, gamma = _autocovariances(video, order, level)
        return _recursion(xp, gamma, order, 0.0).partial
    _scalar(video)
    return _durbin_levinson(video, order, level).partial


@dataclass(frozen=True, eq=False)
class _Prediction:
    """`partial` (..., n), `log_variance[..., r]` = log σ_r² and a bound on its rounding."""

    partial: Any
    log_variance: Any
    error: np.ndarray


def _autocovariances(value: Any, order: int, level: float) -> tuple[Any, Array]:
    """Of frames at `level`, checked."""
    xp, (clean,) = floating(video=value)
    if clean.ndim == 0 or clean.shape[-1] <= order:
        raise ParameterError(
            "video",
            f"a GaussianVideo, or autocovariances (..., lags) up to lag {order}",
            f"shape {tuple(clean.shape)}",
        )
    own = np.zeros(clean.shape[-1])
    own[0] = float(sigma(level)) ** 2
    gamma = float(np.exp(-2.0 * level)) * clean + xp.asarray(own, device=clean.device)
    require("video", "of positive variance", gamma[..., 0], gamma[..., 0] > 0.0)
    return xp, gamma


def _durbin_levinson(video: GaussianVideo, order: int, level: float) -> _Prediction:
    r"""σ_r² = b' Γ b with b = (1, -φ_r): entries of Γ moved by ε move it by ε γ_0 (Σ|b|)²."""
    gamma = np.exp(-2.0 * level) * video.autocovariance(order).ravel()
    gamma[0] += sigma(level) ** 2
    if gamma[0] <= 0.0:
        raise RefusedError("a frame without variance has no partial autocorrelations")
    own = np.exp(-2.0 * level) * video.rounding / gamma[0]  # of the video's own covariance
    exact = None
    if isinstance(video, Arfima) and level == 0.0:
        lag = np.arange(1, order + 1)
        exact = video.memory[0] / (lag - video.memory[0])
    return _recursion(NUMPY, gamma, order, own, exact)


def _recursion(
    xp: Any, gamma: Array, order: int, own: float, exact: np.ndarray | None = None
) -> _Prediction:
    """Durbin–Levinson on `(..., lags)`; `own`: relative error of them; `exact`: known φ_jj."""
    correlation = gamma / gamma[..., :1]
    coefficients, variance = correlation[..., :0], xp.ones_like(correlation[..., 0])
    partial, steps, error = [], [xp.zeros_like(variance)], [numpy_of(variance) * (own + 4.0 * EPS)]
    for j in range(1, order + 1):
        back = xp.flip(correlation[..., 1:j], axis=-1)
        if exact is not None:
            phi = exact[j - 1] * xp.ones_like(variance)
        else:
            phi = (correlation[..., j] - xp.sum(coefficients * back, axis=-1)) / variance
        if bool(xp.any((xp.abs(phi) >= 1.0) | (variance <= 64.0 * EPS * (j + 1)))):
            raise RefusedError(
                f"frame k is determined by the last {j} (to rounding): its prediction error "
                "vanishes, and the information is infinite"
            )
        moved = coefficients - phi[..., None] * xp.flip(coefficients, axis=-1)
        coefficients = xp.concat([moved, phi[..., None]], axis=-1)
        variance = variance * (1.0 - phi * phi)
        partial.append(phi)
        steps.append(xp.log1p(-phi * phi))
        if exact is not None:
            error.append(np.full(error[0].shape, 2.0 * EPS * (j + 1)))
        else:
            spread = (1.0 + np.abs(numpy_of(coefficients)).sum(axis=-1)) ** 2
            error.append((2.0 * EPS * (j + 16) + own) * spread / numpy_of(variance))
    log_variance = xp.log(gamma[..., :1]) + xp.cumulative_sum(xp.stack(steps, axis=-1), axis=-1)
    return _Prediction(xp.stack(partial, axis=-1), log_variance, np.stack(error, axis=-1))


# --- the window of a scalar video -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScalarWindowMemory:
    """Memory bottleneck of windows of a scalar stationary video, the past infinite (R5).

    Attributes
    ----------
    window_lengths: `(R,)`, r in frames. values: `(..., R)`, MB_r per frame.
    error_bound: `(..., R)`, quadrature and first-order rounding.
    leading, closer: D²/(2r) and D²/(2(r + ½ - D)) beside the values, `None` unless the video is
        clean ARFIMA (r = 0 has no leading term: infinite).
    partial: φ_jj, j = 1..max r, `(..., j)`. innovation: log σ_∞² with its quadrature error.
    level: OU time. unit: of every information above. theorems: labels of the results used.
    """

    window_lengths: np.ndarray
    values: Any
    error_bound: np.ndarray
    leading: np.ndarray | None
    closer: np.ndarray | None
    partial: Any
    innovation: Enclosure
    level: float
    unit: str
    theorems: tuple[str, ...] = ("R5", "M1")

    def __repr__(self) -> str:
        values = numpy_of(self.values)
        shown = (
            f"{column:.6g}" if column.ndim == 0 else f"{column.size} values"
            for column in np.moveaxis(values, -1, 0)
        )
        pairs = ", ".join(
            f"r={r}: {text}" for r, text in zip(self.window_lengths, shown, strict=True)
        )
        return f"ScalarWindowMemory({pairs} {self.unit} a frame at level {self.level:g})"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON; the infinite leading term at r = 0 as `null`."""

        def plain(values: Any) -> Any:
            if values is None:
                return None
            values = numpy_of(values)
            if values.ndim > 1:
                return [plain(row) for row in values]
            return [float(value) if np.isfinite(value) else None for value in values]

        return {
            "window_lengths": self.window_lengths.tolist(),
            "values": plain(self.values),
            "error_bound": plain(self.error_bound),
            "leading": plain(self.leading),
            "closer": plain(self.closer),
            "partial": plain(self.partial),
            "innovation": self.innovation.to_json(),
            "level": self.level,
            "unit": self.unit,
            "theorems": list(self.theorems),
        }


def scalar_window_memory(
    video: Any,
    window_lengths: int | Iterable[int],
    *,
    innovation: Any = None,
    level: float = 0.0,
    unit: str = "nats",
) -> ScalarWindowMemory:
    r"""What the last r frames forget of the infinite past, scalar and stationary (R5).

    $$MB_r = -\tfrac12\sum_{j>r}\log(1-\phi_{jj}^2)
           = \tfrac12\log\frac{\sigma_r^2}{\sigma_\infty^2}$$

    with $\sigma_r^2$ by Durbin–Levinson and $\sigma_\infty^2$ by Kolmogorov–Szegő. For clean
    ARFIMA(0, D, 0), $\phi_{jj} = D/(j-D)$ and the sum is exact,

    $$MB_r = \tfrac12\log\frac{\Gamma(r+1)\,\Gamma(r+1-2D)}{\Gamma(r+1-D)^2}
           \approx \frac{D^2}{2(r+\frac12-D)} \approx \frac{D^2}{2r};$$

    both approximations are returned beside it. The first formula covers any level: there a frame
    is signal plus white noise, whose own partial autocorrelations are taken. White noise leaves
    the spectrum's pole at 0 alone, so for D > 0 the power law $D^2/(2r)$ is still approached, only
    later; for D < 0 it fills the spectrum's zero, and the decay is faster ($r^{-1-4|D|}$).

    Arguments
    ---------
    video: stationary, one number a frame; or the autocovariances $\gamma_0 .. \gamma_h$ of the
        clean frames of many, `(..., h + 1)`, arrays or tensors.
    window_lengths: r, one integer or several (frames), at most h.
    innovation: $\sigma_\infty^2$ at `level`, `(...)`, beside autocovariances only. `None`: the past
        is the h frames whose lags are given.
    level: OU time of all frames; 0 for clean frames. unit: "nats" or "bits" (a frame).

    Returns `ScalarWindowMemory`; `memory.window_memory_bottleneck` is the same on a finite past,
    for any frame dimension.

    Raises `ParameterError` for a video that is not scalar and stationary, and `RefusedError` where
    the past determines the next frame.

    Source: THEORY, R5 (Durbin 1960; Hosking 1981; Kolmogorov 1941).

    >>> from arvdm_theory.video import Arfima, Autoregressive
    >>> scalar_window_memory(Autoregressive([0.9], 0.19), 1, level=0.05).values.round(4).tolist()
    [0.0235]
    >>> long = scalar_window_memory(Arfima(0.3), [10])
    >>> [round(float(x[0]), 6) for x in (long.values, long.closer, long.leading)]
    [0.004409, 0.004412, 0.0045]
    >>> lags = np.array([[0.5], [0.9]]) ** np.arange(16)  # two AR(1) videos, variance 1
    >>> scalar_window_memory(lags, [0, 1], level=0.05).values.round(4).tolist()
    [[0.1149, 0.0004], [0.5676, 0.0235]]
    """
    level = nonnegative_level(level)
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    refuse_tensors(window_lengths=window_lengths)
    items = list(window_lengths) if isinstance(window_lengths, Iterable) else [window_lengths]
    if not items:
        raise ParameterError("window_lengths", "at least one number of frames", items)
    lengths = np.array([positive_integer("window_lengths", item, minimum=0) for item in items])
    if not isinstance(video, GaussianVideo):
        return _of_autocovariances(video, lengths, innovation, level, unit)
    _scalar(video)
    if innovation is not None:
        raise ParameterError("innovation", "given beside autocovariances only", innovation)
    prediction = _durbin_levinson(video, max(int(lengths.max()), 1), level)
    innovation = innovation_log_det(video, level=level)
    leading = closer = None
    if isinstance(video, Arfima) and level == 0.0:
        memory = float(video.memory[0])
        values = _gamma_ratio(lengths, memory)
        error = (
            16.0
            * EPS
            * (1.0 + np.abs(scipy.special.gammaln(1.0 - 2.0 * memory)))
            * np.where(lengths < 8, 4.0, values)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            leading = np.where(lengths > 0, memory**2 / (2.0 * lengths), np.inf)
        closer = memory**2 / (2.0 * (lengths + 0.5 - memory))
    else:
        values = 0.5 * (prediction.log_variance[lengths] - innovation.value)
        error = 0.5 * (prediction.error[lengths] + innovation.upper - innovation.value)
        if np.any(values < -error):
            raise RefusedError(
                "rounding left a prediction error below that from the infinite past, by more than "
                "its bound: ask at a level above 0"
            )
        # rounding can leave an exact zero slightly negative; the bound says how much
        values = np.maximum(values, 0.0)
    scale = UNITS[unit]
    return ScalarWindowMemory(
        window_lengths=lengths,
        values=scale * values,
        error_bound=scale * error,
        leading=None if leading is None else scale * leading,
        closer=None if closer is None else scale * closer,
        partial=prediction.partial,
        innovation=innovation,
        level=level,
        unit=unit,
    )


def _of_autocovariances(
    video: Any, lengths: np.ndarray, innovation: Any, level: float, unit: str
) -> ScalarWindowMemory:
    """`scalar_window_memory` of many videos."""
    if innovation is None:
        xp, gamma = _autocovariances(video, max(int(lengths.max()), 1), level)
        order = gamma.shape[-1] - 1
    else:
        order = max(int(lengths.max()), 1)
        _, (video, innovation) = floating(video=video, innovation=innovation)
        xp, gamma = _autocovariances(video, order, level)
        require("innovation", "a positive variance", innovation, innovation > 0.0)
        common_shape({"video": 1}, video=gamma, innovation=innovation)
    found = _recursion(xp, gamma, order, 0.0)
    if innovation is None:
        each = -0.5 * xp.log1p(-(found.partial**2))  # summed from the last: nothing is subtracted
        tails = xp.flip(xp.cumulative_sum(xp.flip(each, axis=-1), axis=-1), axis=-1)
        tails = xp.concat([tails, xp.zeros_like(tails[..., :1])], axis=-1)
        values = xp.stack([tails[..., int(r)] for r in lengths], axis=-1)
        last, slack = found.log_variance[..., order], found.error[..., order]
    else:
        last = xp.log(innovation)
        values = xp.stack(
            [0.5 * (found.log_variance[..., int(r)] - last) for r in lengths], axis=-1
        )
        slack = 4.0 * EPS * (1.0 + np.abs(numpy_of(last)))
    error = 0.5 * (found.error[..., lengths] + slack[..., None])
    if np.any(numpy_of(values) < -error):
        raise ParameterError(
            "innovation",
            "at most the prediction error of every window",
            float(np.max(np.exp(numpy_of(last)))),
        )
    values = xp.where(values < 0.0, 0.0, values)  # by no more than its bound
    around = xp.asarray(np.array(slack), device=last.device)
    scale = UNITS[unit]
    return ScalarWindowMemory(
        window_lengths=lengths,
        values=scale * values,
        error_bound=scale * np.broadcast_to(error, tuple(values.shape)),
        leading=None,
        closer=None,
        partial=found.partial,
        innovation=Enclosure.around(plain(last), plain(around), theorems=("R5",)),
        level=level,
        unit=unit,
    )


def _gamma_ratio(windows: np.ndarray, memory: float) -> np.ndarray:
    r"""½[g(c+D) + g(c-D)] - g(c), g = log Γ, c = r+1-D; for large c by its even Taylor series."""
    centre = windows + 1.0 - memory
    near = 0.5 * (
        scipy.special.gammaln(centre + memory) + scipy.special.gammaln(centre - memory)
    ) - scipy.special.gammaln(centre)
    far = np.zeros(windows.shape)
    wide = np.maximum(centre, 8.0)
    for k in range(10, 0, -1):  # (D/c)^20 is below machine precision from c = 8 on
        term = scipy.special.polygamma(2 * k - 1, wide) / scipy.special.factorial(2 * k)
        far += term * memory ** (2 * k)
    return np.asarray(np.where(centre < 8.0, near, far))


# --- checked inputs -------------------------------------------------------------------------------


def _scalar(video: GaussianVideo) -> None:
    if not video.stationary:
        raise ParameterError("video", "stationary (a window of it, always the same)", video.family)
    if video.dim != 1:
        raise ParameterError("video.dim", "1 (see window_memory_bottleneck for vectors)", video.dim)
