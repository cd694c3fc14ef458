r"""R5 in closed form: partial autocorrelations, the infinite past, and the power law of ARFIMA.

`memory.window_memory_bottleneck` conditions densely on a finite past, for any video. Here the past
is infinite and the frames scalar: $MB_r = \tfrac12\log(\sigma_r^2/\sigma_\infty^2)$, with
$\sigma_r^2$ by Durbin–Levinson and $\sigma_\infty^2$ from the spectrum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate
import scipy.special

from arvdm_theory._gaussian import EPS
from arvdm_theory.checks import positive_integer, real_number
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.noise import sigma
from arvdm_theory.video import Arfima, GaussianVideo, StaticLatent

__all__ = [
    "ScalarWindowMemory",
    "innovation_log_det",
    "partial_autocorrelations",
    "scalar_window_memory",
]

LARGEST_GRID = 2**16
"""The spectrum of a state-space video is integrated on at most this many frequencies."""


# --- partial autocorrelations ---------------------------------------------------------------------


def partial_autocorrelations(video: GaussianVideo, order: int, *, level: float = 0.0) -> np.ndarray:
    r"""Partial autocorrelations $\phi_{jj}$, j = 1..`order`, of a scalar stationary video (R5).

    $$\phi_{jj} = \frac{\gamma_j - \sum_{i<j}\phi_{j-1,i}\,\gamma_{j-i}}{\sigma_{j-1}^2},\qquad
      \sigma_j^2 = \sigma_{j-1}^2 (1 - \phi_{jj}^2),$$

    the Durbin–Levinson recursion on $\gamma_h$ at level t: $e^{-2t}\gamma_h + \sigma^2(t)1[h=0]$.
    For clean ARFIMA(0, D, 0) it is not needed: $\phi_{jj} = D/(j-D)$ is returned.

    Arguments: `video` stationary with one number a frame; `order` in frames; `level` OU time.
    Returns `(order,)`.

    Raises `ParameterError` for a video that is not stationary or not scalar, and `RefusedError`
    where the next frame is determined by fewer than `order` frames.

    Source: Durbin (1960); Hosking (1981) for ARFIMA.

    >>> from arvdm_theory.video import Autoregressive
    >>> partial_autocorrelations(Autoregressive([0.5, 0.4], 0.3), 3).round(6).tolist()
    [0.833333, 0.4, 0.0]
    """
    _scalar(video)
    order = positive_integer("order", order)
    return _durbin_levinson(video, order, _level(level)).partial


@dataclass(frozen=True, eq=False)
class _Prediction:
    """`partial` (n,), `log_variance[r]` = log σ_r² and a first-order bound on its rounding."""

    partial: np.ndarray
    log_variance: np.ndarray
    error: np.ndarray


def _durbin_levinson(video: GaussianVideo, order: int, level: float) -> _Prediction:
    r"""σ_r² = b' Γ b with b = (1, -φ_r): entries of Γ moved by ε move it by ε γ_0 (Σ|b|)²."""
    gamma = np.exp(-2.0 * level) * video.autocovariance(order).ravel()
    gamma[0] += sigma(level) ** 2
    if gamma[0] <= 0.0:
        raise RefusedError("a frame without variance has no partial autocorrelations")
    correlation = gamma / gamma[0]
    closed = isinstance(video, Arfima) and level == 0.0
    lag = np.arange(1, order + 1)
    exact = video.memory[0] / (lag - video.memory[0]) if isinstance(video, Arfima) else lag
    partial, coefficients = np.empty(order), np.zeros(order)
    variance, log_variance, error = 1.0, np.zeros(order + 1), np.zeros(order + 1)
    for j in range(1, order + 1):
        known = coefficients[: j - 1]
        phi = exact[j - 1] if closed else (correlation[j] - known @ correlation[j - 1 : 0 : -1])
        phi = phi if closed else phi / variance
        if abs(phi) >= 1.0 or variance <= 64.0 * EPS * (j + 1):
            raise RefusedError(
                f"frame k is determined by the last {j} (to rounding): its prediction error "
                "vanishes, and the information is infinite"
            )
        coefficients[: j - 1] = known - phi * known[::-1]
        coefficients[j - 1] = phi
        partial[j - 1] = phi
        variance *= 1.0 - phi * phi
        log_variance[j] = log_variance[j - 1] + np.log1p(-phi * phi)
        if closed:
            error[j] = 2.0 * EPS * (j + 1)
        else:
            spread = (1.0 + np.abs(coefficients[:j]).sum()) ** 2
            error[j] = 2.0 * EPS * (j + 16) * spread / variance
    error += video.rounding / gamma[0] / np.exp(log_variance)
    return _Prediction(partial, np.log(gamma[0]) + log_variance, error)


# --- prediction from the infinite past ------------------------------------------------------------


def innovation_log_det(video: GaussianVideo, *, level: float = 0.0) -> Enclosure:
    r"""$\log\det\mathrm{Cov}(X_k \mid X_{<k})$ from the spectrum (R5, Kolmogorov–Szegő).

    $$\log\det V_\infty = \frac1{2\pi}\int_{-\pi}^{\pi}\log\det S(\omega)\,d\omega,
      \qquad S(\omega) = \sum_h \gamma_h e^{-i\omega h},$$

    at OU time `level` ($S \to e^{-2t}S + \sigma^2(t)I$). Any frame dimension d. The enclosure's
    half-width is the quadrature's own error estimate plus rounding, not a proof: for a state-space
    video twice the last change of the trapezoid rule (which converges geometrically) under
    doubling of its grid; for ARFIMA, QUADPACK's estimate for the part that the noise of the level
    adds (nothing at level 0). A perfectly predictable part (static latent) has no density and does
    not count.

    Raises `ParameterError` for a video that is not stationary, and `RefusedError` where the
    spectrum is singular at all frequencies (a direction of X_k is determined by its past).

    Source: Szegő (1915), Kolmogorov (1941); Wiener and Masani (1957) for vectors.

    >>> from arvdm_theory.video import Autoregressive
    >>> print(innovation_log_det(Autoregressive([0.9], 0.25)))
    -1.38629 nats in [-1.38629, -1.38629] (R5)
    """
    level = _level(level)
    if not video.stationary:
        raise ParameterError("video", "stationary to have a spectrum", video.family)
    if isinstance(video, Arfima):
        value, error = _arfima_log_det(video, level)
    else:
        value, error = _state_space_log_det(video, level)
    return Enclosure.around(value, error, theorems=("R5",))


def _arfima_log_det(video: Arfima, level: float) -> tuple[float, float]:
    """Channels of equal D share innovations; the noise of the level is white in every basis."""
    if np.ptp(video.memory) > 0.0:
        variances, memories = np.diag(video.noise_variance), video.memory
    else:
        variances = np.linalg.eigvalsh(video.noise_variance)
        memories = np.full(video.dim, video.memory[0])
    noise = float(sigma(level)) ** 2
    if noise == 0.0 and np.min(variances) <= 64.0 * EPS * video.dim * np.max(variances):
        raise RefusedError("the spectrum is singular: a direction of X_k is determined by its past")
    total, error = 0.0, 0.0
    for variance, memory in zip(np.exp(-2.0 * level) * variances, memories, strict=True):
        value, bound = _long_memory_integral(variance, float(memory), noise)
        total, error = total + value, error + bound
    spread = np.max(variances) / np.min(variances) if noise == 0.0 else np.max(variances) / noise
    return total, error + 8.0 * EPS * video.dim * (abs(total) + spread + 1.0)


def _long_memory_integral(variance: float, memory: float, noise: float) -> tuple[float, float]:
    r"""$\frac1\pi\int_0^\pi \log(v (2\sin\frac\omega2)^{-2D} + q)$; ∫ log(2 sin ω/2) = 0."""
    if noise == 0.0:
        return float(np.log(variance)), 0.0
    if variance <= 0.0 or memory == 0.0:
        return float(np.log(variance + noise)), 0.0
    first, second = (variance, noise) if memory > 0.0 else (noise, variance)
    power = 2.0 * abs(memory)
    stretch = min(int(np.ceil(2.0 / power)), 12)  # omega = pi u^stretch smooths the cusp at 0

    def integrand(u: float) -> float:
        wave = 2.0 * np.sin(0.5 * np.pi * u**stretch)
        return float(np.log1p(second / first * wave**power) * stretch * u ** (stretch - 1))

    value, error = scipy.integrate.quad(integrand, 0.0, 1.0, epsabs=1e-13, epsrel=1e-13, limit=400)
    return float(np.log(first) + value), float(error)


def _state_space_log_det(video: GaussianVideo, level: float) -> tuple[float, float]:
    model = video.markov(1)
    if model is None or not model.time_invariant:
        raise ParameterError("video", "of a family whose spectrum is known", video.family)
    size = model.transition.shape[-1]
    own = np.exp(-2.0 * level) * model.noise[0] + float(sigma(level)) ** 2 * np.eye(video.dim)
    emission = np.exp(-level) * model.emission[0]
    if isinstance(video, StaticLatent):
        emission = np.zeros_like(emission)

    def mean_log_det(omega: np.ndarray) -> tuple[float, float]:
        resolvent = np.exp(1j * omega)[:, None, None] * np.eye(size) - model.transition[0]
        if not np.any(emission):
            transfer = np.zeros((omega.size, size, video.dim), dtype=complex)
        else:
            transfer = np.linalg.solve(
                resolvent.swapaxes(1, 2), np.broadcast_to(emission.T, (omega.size, size, video.dim))
            )
        spectrum = transfer.swapaxes(1, 2) @ model.process[0] @ transfer.conj() + own
        values = np.linalg.eigvalsh(0.5 * (spectrum + spectrum.conj().swapaxes(1, 2)))
        if np.min(values[:, -1]) <= 0.0 or np.all(
            values[:, 0] <= 64.0 * EPS * video.dim * values[:, -1]
        ):
            raise RefusedError(
                "the spectrum is singular: a direction of X_k is determined by its past"
            )
        condition = float(np.mean(values[:, -1] / values[:, 0]))
        return float(np.mean(np.sum(np.log(values), axis=1))), condition

    # midpoints: a doubled grid is the mean of the old grid and of its midpoints
    count = 64
    value, condition = mean_log_det(2.0 * np.pi * np.arange(count) / count)
    while True:
        between, other = mean_log_det(2.0 * np.pi * (np.arange(count) + 0.5) / count)
        change, value = 0.5 * abs(between - value), 0.5 * (between + value)
        condition, count = max(condition, other), 2 * count
        rounding = 32.0 * EPS * (size + video.dim) * (abs(value) + condition * video.dim)
        if 2.0 * change <= rounding or count >= LARGEST_GRID:
            return value, 2.0 * change + rounding


# --- the window of a scalar video -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScalarWindowMemory:
    """Memory bottleneck of windows of a scalar stationary video, the past infinite (R5).

    Attributes
    ----------
    window_lengths: `(R,)`, r in frames. values: `(R,)`, MB_r per frame.
    error_bound: `(R,)`, quadrature and first-order rounding.
    leading, closer: D²/(2r) and D²/(2(r + ½ - D)) beside the values, `None` unless the video is
        clean ARFIMA (r = 0 has no leading term: infinite).
    partial: φ_jj, j = 1..max r. innovation: log σ_∞² with its quadrature error.
    level: OU time. unit: of every information above. theorems: labels of the results used.
    """

    window_lengths: np.ndarray
    values: np.ndarray
    error_bound: np.ndarray
    leading: np.ndarray | None
    closer: np.ndarray | None
    partial: np.ndarray
    innovation: Enclosure
    level: float
    unit: str
    theorems: tuple[str, ...] = ("R5", "M1")

    def __repr__(self) -> str:
        pairs = ", ".join(
            f"r={r}: {value:.6g}" for r, value in zip(self.window_lengths, self.values, strict=True)
        )
        return f"ScalarWindowMemory({pairs} {self.unit} a frame at level {self.level:g})"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON; the infinite leading term at r = 0 as `null`."""

        def plain(values: np.ndarray | None) -> list[float | None] | None:
            if values is None:
                return None
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
    video: GaussianVideo,
    window_lengths: int | Iterable[int],
    *,
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
    video: stationary, one number a frame. window_lengths: r, one integer or several (frames).
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
    """
    _scalar(video)
    level = _level(level)
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    items = list(window_lengths) if isinstance(window_lengths, Iterable) else [window_lengths]
    if not items:
        raise ParameterError("window_lengths", "at least one number of frames", items)
    lengths = np.array([positive_integer("window_lengths", item, minimum=0) for item in items])
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
            raise ArithmeticError("a prediction error fell below that from the infinite past")
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


def _level(value: float) -> float:
    constraint = "a finite OU time of at least 0"
    level = real_number("level", value, constraint)
    if level < 0.0:
        raise ParameterError("level", constraint, value)
    return level


def _scalar(video: GaussianVideo) -> None:
    if not video.stationary:
        raise ParameterError("video", "stationary (a window of it, always the same)", video.family)
    if video.dim != 1:
        raise ParameterError("video.dim", "1 (see window_memory_bottleneck for vectors)", video.dim)
