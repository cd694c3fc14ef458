r"""How well the infinite past predicts: $\log\det\mathrm{Cov}(X_k \mid X_{<k})$, stationary videos.

In closed form where there is one, from the stationary Kalman filter where there is a finite state,
and from the spectrum (Kolmogorov–Szegő) otherwise.
"""

from __future__ import annotations

import numpy as np
import scipy.integrate
import scipy.linalg

from arvdm_theory._gaussian import EPS, symmetrise
from arvdm_theory._kalman import LinearGaussian, filter_step
from arvdm_theory.checks import real_number
from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.noise import sigma
from arvdm_theory.video import Arfima, Autoregressive, GaussianVideo, StaticLatent

__all__ = [
    "amplification",
    "innovation_log_det",
    "lyapunov_sum",
    "nonnegative_level",
    "spectral_log_det",
    "stationary_prior",
]

LARGEST_GRID = 2**16
"""A spectrum is integrated on at most this many frequencies."""
GRID_BLOCK = 2**10
"""Frequencies that are evaluated at once."""
SINGULAR = (
    "given its past, a direction of the next frame has no variance (to rounding), so informations "
    "about it may be infinite; ask at a level above 0"
)


def innovation_log_det(video: GaussianVideo, *, level: float = 0.0) -> Enclosure:
    r"""$\log\det V_\infty$, $V_\infty = \mathrm{Cov}(X_k \mid X_{<k})$ (R5).

    Clean AR(p): the noise variance. State space: $V_\infty = CPC' + V$ with P the Riccati
    equation's solution, or, where the filter does not settle (a zero of the spectrum), the integral

    $$\log\det V_\infty = \frac1{2\pi}\int_{-\pi}^{\pi}\log\det S(\omega)\,d\omega,
      \qquad S(\omega) = \sum_h \gamma_h e^{-i\omega h},$$

    which is also what ARFIMA takes, with $S \to e^{-2t}S + \sigma^2(t)I$ at OU time `level`. A
    perfectly predictable part (static latent) has no density and does not count. Any frame
    dimension d. The enclosure's half-width is a first-order bound on rounding (and on the Riccati
    residual), for an integral the quadrature's own estimate beside it: not a proof.

    Raises `ParameterError` for a video that is not stationary or shows neither state nor spectrum,
    and `RefusedError` where a direction of X_k is determined by its past.

    Source: Kolmogorov (1941); Wiener and Masani (1957) for vectors.

    >>> from arvdm_theory.video import Autoregressive
    >>> print(innovation_log_det(Autoregressive([0.9], 0.25)))
    -1.38629 nats in [-1.38629, -1.38629] (R5)
    """
    level = nonnegative_level(level)
    if not video.stationary:
        raise ParameterError("video", "stationary to have an infinite past", video.family)
    own, scale = float(sigma(level)) ** 2 * np.eye(video.dim), np.exp(-2.0 * level)
    if isinstance(video, Arfima):
        value, error = _arfima_log_det(video, level)
    elif isinstance(video, StaticLatent):
        value, error = _log_det(scale * video.noise_variance + own)
    elif isinstance(video, Autoregressive) and level == 0.0:
        value, error = _log_det(video.noise_variance)
    else:
        value, error = _state_space_log_det(video, level)
    return Enclosure.around(value, error, theorems=("R5",))


def _log_det(covariance: np.ndarray) -> tuple[float, float]:
    values = np.linalg.eigvalsh(covariance)
    slack = 8.0 * EPS * values.size * values[-1]
    if values[0] <= 8.0 * slack:
        raise RefusedError(SINGULAR)
    total = float(np.sum(np.log(values)))
    return total, slack * float(np.sum(1.0 / values)) + 4.0 * EPS * abs(total)


# --- the stationary Kalman filter -----------------------------------------------------------------


def _state_space_log_det(video: GaussianVideo, level: float) -> tuple[float, float]:
    model, emission, own = _at_level(video, level)
    found = stationary_prior(model, emission, own)
    if found is None:
        return spectral_log_det(video, level)
    prior, residual = found
    innovation = symmetrise(emission @ prior @ emission.T) + own
    unconditional = emission @ model.initial_covariance @ emission.T + own
    values = np.linalg.eigvalsh(innovation)
    if values[0] <= 64.0 * EPS * video.dim * float(np.linalg.norm(unconditional, 2)):
        raise RefusedError(SINGULAR)
    move = model.transition[0]
    closed = move - np.linalg.solve(innovation, emission @ prior @ move.T).T @ emission
    # a Riccati residual E moves the prior by at most ‖E‖ ‖Σ Ā^k Ā'^k‖, to first order
    moved = residual + 8.0 * EPS * (move.shape[0] + video.dim) * float(np.linalg.norm(prior, 2))
    moved *= amplification(closed) * float(np.linalg.norm(emission, 2)) ** 2
    moved += 8.0 * EPS * video.dim * values[-1]
    total = float(np.sum(np.log(values)))
    return total, moved * float(np.sum(1.0 / values)) + 4.0 * EPS * abs(total)


def stationary_prior(
    model: LinearGaussian, emission: np.ndarray, own: np.ndarray, *, patience: int = 0
) -> tuple[np.ndarray, float] | None:
    """Cov(z_k | infinite past) and the norm of the Riccati residual it leaves.

    `patience`: steps of the filter to wait where the Riccati equation is not solved directly.
    `None` if it does not settle. Raises `RefusedError` where frames determine each other.
    """
    move, process = model.transition[0], model.process[0]

    def step(prior: np.ndarray) -> np.ndarray:
        filtered, _, _ = filter_step(prior, emission, own)
        return np.asarray(symmetrise(move @ filtered @ move.T) + process)

    scale = float(np.linalg.norm(model.initial_covariance, 2))
    try:
        prior = symmetrise(scipy.linalg.solve_discrete_are(move.T, emission.T, process, own))
        usable = bool(np.linalg.norm(step(prior) - prior, 2) <= 1e-8 * scale)
    except (np.linalg.LinAlgError, ValueError):
        usable = False
    try:
        if not usable:
            prior = model.initial_covariance
        for _ in range(4 if usable else patience):
            before, prior = prior, step(prior)
            if not usable and np.linalg.norm(prior - before, 2) <= 4.0 * EPS * scale:
                break
        residual = float(np.linalg.norm(step(prior) - prior, 2))
    except np.linalg.LinAlgError:
        raise RefusedError(SINGULAR) from None
    return None if residual > 1e-8 * scale else (prior, residual)


def lyapunov_sum(move: np.ndarray, source: np.ndarray) -> np.ndarray | None:
    """Σ_k A^k W A'^k, terms doubled until the powers vanish; `None` if they do not."""
    total, power = np.array(source), np.array(move)
    for _ in range(48):
        size = np.abs(power).max(initial=0.0)
        if size < 1e-40:
            return total
        if not np.isfinite(size) or size > 1e100:
            return None
        total = symmetrise(total + power @ total @ power.T)
        power = power @ power
    return None


def amplification(move: np.ndarray) -> float:
    """‖Σ A^k A'^k‖ (1 + ‖A‖²), by how much a Lyapunov solution magnifies rounding."""
    total = lyapunov_sum(move, np.eye(move.shape[0]))
    if total is None or not total.size:
        return 1.0
    return float(np.linalg.norm(total, 2) * (1.0 + np.linalg.norm(move, 2) ** 2))


def _at_level(video: GaussianVideo, level: float) -> tuple[LinearGaussian, np.ndarray, np.ndarray]:
    """The chain, its emission and its frame noise at OU time `level`."""
    model = video.markov(1)
    if model is None or not model.time_invariant:
        raise ParameterError("video", "of a family whose spectrum is known", video.family)
    own = np.exp(-2.0 * level) * model.noise[0] + float(sigma(level)) ** 2 * np.eye(video.dim)
    return model, np.exp(-level) * model.emission[0], own


# --- the spectrum ---------------------------------------------------------------------------------


def spectral_log_det(video: GaussianVideo, level: float) -> tuple[float, float]:
    """Trapezoids over the spectrum of a state-space video; twice the last change when doubled.

    They converge geometrically in the distance of the spectrum's poles and zeros from the circle.
    """
    model, emission, own = _at_level(video, level)
    size, process = model.transition.shape[-1], model.process[0]
    if isinstance(video, StaticLatent):
        emission = np.zeros_like(emission)

    def block(omega: np.ndarray) -> tuple[float, float]:
        if np.any(emission):
            resolvent = np.exp(1j * omega)[:, None, None] * np.eye(size) - model.transition[0]
            transfer = np.linalg.solve(
                resolvent.swapaxes(1, 2), np.broadcast_to(emission.T, (omega.size, size, video.dim))
            )
        else:
            transfer = np.zeros((omega.size, size, video.dim), dtype=complex)
        spectrum = transfer.swapaxes(1, 2) @ process @ transfer.conj() + own
        values = np.linalg.eigvalsh(0.5 * (spectrum + spectrum.conj().swapaxes(1, 2)))
        if np.min(values[:, -1]) <= 0.0 or np.all(
            values[:, 0] <= 64.0 * EPS * video.dim * values[:, -1]
        ):
            raise RefusedError(SINGULAR)
        condition = float(np.sum(values[:, -1] / values[:, 0]))
        return float(np.sum(np.log(values))), condition

    def mean_log_det(omega: np.ndarray) -> tuple[float, float]:
        parts = [block(part) for part in np.array_split(omega, -(-omega.size // GRID_BLOCK))]
        value, condition = np.sum(parts, axis=0) / omega.size
        return float(value), float(condition)

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


def _arfima_log_det(video: Arfima, level: float) -> tuple[float, float]:
    """Channels of equal D share innovations; the noise of the level is white in every basis."""
    if np.ptp(video.memory) > 0.0:
        variances, memories = np.diag(video.noise_variance), video.memory
    else:
        variances = np.linalg.eigvalsh(video.noise_variance)
        memories = np.full(video.dim, video.memory[0])
    noise = float(sigma(level)) ** 2
    if noise == 0.0 and np.min(variances) <= 64.0 * EPS * video.dim * np.max(variances):
        raise RefusedError(SINGULAR)
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


def nonnegative_level(value: float) -> float:
    """A checked OU time."""
    constraint = "a finite OU time of at least 0"
    level = real_number("level", value, constraint)
    if level < 0.0:
        raise ParameterError("level", constraint, value)
    return level
