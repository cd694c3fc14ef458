r"""R6, recursive memory: $m_{k+1} = F m_k + H x_k$ with b numbers, the state-space question.

Everything rests on the Kalman filter's innovations form of the video at level t,

$$\hat z_{k+1} = A \hat z_k + K e_k, \qquad x_k = C \hat z_k + e_k, \qquad e_k \sim N(0, V),$$

whose state $\hat z_k$ is all that the whole past says about the future. It is kept minimal and
scaled so that $\mathrm{Cov}(\hat z) = I$. The next h frames see it through
$M_h = \sum_{j<h} \bar A'^j C'V^{-1}C \bar A^j$ with $\bar A = A - KC$.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.linalg
import scipy.optimize

from arvdm_theory._arrays import floating, is_tensor, numpy_of, require
from arvdm_theory._gaussian import EPS, psd_factor, symmetrise, transpose
from arvdm_theory._prediction import (
    SINGULAR,
    amplification,
    innovation_log_det,
    lyapunov_sum,
    nonnegative_level,
    stationary_prior,
)
from arvdm_theory.checks import finite_array, positive_integer, real_number, shaped_array
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import ParameterError, RefusedError, UnstableError
from arvdm_theory.noise import sigma
from arvdm_theory.video import GaussianVideo, StaticLatent

if TYPE_CHECKING:
    from arvdm_theory.generator import RecursiveMemory

__all__ = [
    "RateLimitedMemory",
    "RecursiveMemoryFloor",
    "RecursiveMemoryResult",
    "SequentialDistortion",
    "best_recursive_memory",
    "rate_limited_memory",
    "recursive_memory_bottleneck",
    "recursive_memory_floor",
    "sequential_distortion",
]

LARGEST_HORIZON = 1024
"""Horizons are raised until no larger one can give a higher floor, or to this many frames."""
LARGEST_PAST = 512
"""A video without finite state is conditioned on a past of this many numbers."""
SOLVER_TOLERANCE = 1e-5
"""Relative accuracy credited to the semidefinite solver (its own stopping rule asks for 1e-8)."""


# --- the Kalman filter's innovations form ---------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Innovations:
    """A minimal innovations form with Cov(ẑ) = I.

    `seen` is V^{-1/2} C, `limit` is M_∞ (`None` if the filter forgets too slowly), `rounding` a
    first-order bound on the relative error of all of these, `dropped` what the directions left out
    as rounding of zero could add to Σ λ_i.
    """

    transition: np.ndarray
    gain: np.ndarray
    emission: np.ndarray
    covariance: np.ndarray
    filter: np.ndarray
    seen: np.ndarray
    limit: np.ndarray | None
    rounding: float
    dropped: float

    @property
    def order(self) -> int:
        """States n of a minimal realisation."""
        return int(self.transition.shape[0])


def _radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max(initial=0.0))


def _innovations(video: GaussianVideo, level: float) -> _Innovations | None:
    """`None` for a video that is not stationary or has no finite state."""
    model = video.markov(1) if video.stationary else None
    if model is None or not model.time_invariant:
        return None
    move, dim = model.transition[0], video.dim
    emission = np.exp(-level) * model.emission[0]
    own = np.exp(-2.0 * level) * model.noise[0] + float(sigma(level)) ** 2 * np.eye(dim)
    if isinstance(video, StaticLatent):  # the whole past knows the latent
        prior, residual = np.zeros_like(move), 0.0
        state: np.ndarray | None = model.initial_covariance
    else:
        settled = stationary_prior(model, emission, own, patience=20000)
        if settled is None:
            raise RefusedError(
                "the Kalman filter of this video does not settle to double precision"
            )
        (prior, residual), state = settled, None
    innovation = symmetrise(emission @ prior @ emission.T) + own
    scale = float(
        np.max(np.linalg.eigvalsh(emission @ model.initial_covariance @ emission.T + own))
    )
    if np.linalg.eigvalsh(innovation)[0] <= 64.0 * EPS * dim * scale:
        raise RefusedError(SINGULAR)
    gain = np.linalg.solve(innovation, emission @ prior @ move.T).T
    if state is None:
        state = lyapunov_sum(move, gain @ innovation @ gain.T)
        assert state is not None  # stationary videos are stable
    root = np.linalg.cholesky(innovation)
    seen = scipy.linalg.solve_triangular(root, emission, lower=True)
    closed = move - gain @ emission
    size = move.shape[0]
    limit = lyapunov_sum(closed.T, seen.T @ seen) if _radius(closed) < 1.0 - 1e-9 else None
    sensed = limit
    if sensed is None:  # observability needs no more than n frames
        sensed, power = np.zeros_like(move), np.eye(size)
        for _ in range(size):
            sensed, power = sensed + power.T @ seen.T @ seen @ power, closed @ power
    values, vectors = np.linalg.eigh(state)
    kept = values > 64.0 * EPS * size * max(values[-1], 0.0)
    factor = vectors[:, kept] * np.sqrt(values[kept])
    strength, basis = np.linalg.eigh(symmetrise(factor.T @ sensed @ factor))
    heard = strength > 64.0 * EPS * size * strength.max(initial=0.0)
    dropped = float(np.sum(np.abs(strength[~heard])))
    dropped += float(np.sum(np.abs(values[~kept])) * np.linalg.norm(sensed, 2))
    basis = basis[:, heard][:, ::-1]
    into = factor @ basis
    out = basis.T @ (vectors[:, kept] / np.sqrt(values[kept])).T
    move, gain, emission, seen = out @ move @ into, out @ gain, emission @ into, seen @ into
    closed = out @ closed @ into
    if limit is not None:
        limit = symmetrise(into.T @ limit @ into)
    spread = amplification(move) + amplification(closed)
    rounding = 16.0 * EPS * (size + dim) * spread
    # a Riccati residual E moves the prior by at most ‖E‖ ‖Σ Ā^k Ā'^k‖, to first order
    rounding += float(np.linalg.norm(seen, 2)) ** 2 * residual * spread
    return _Innovations(move, gain, emission, innovation, closed, seen, limit, rounding, dropped)


def _given_window(form: _Innovations, reference: int) -> np.ndarray:
    r"""A factor of $\mathrm{Cov}(\hat z_k \mid R_k) = \bar A^r (I + M_r)^{-1} \bar A'^r$."""
    sensed, power = _sensed(form, reference)
    values, vectors = np.linalg.eigh(sensed)
    return np.asarray(power @ (vectors / np.sqrt(1.0 + values)))


def _sensed(form: _Innovations, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """M_h and Ā^h."""
    total, power = np.zeros((form.order, form.order)), np.eye(form.order)
    for _ in range(frames):
        rows = form.seen @ power
        total, power = total + rows.T @ rows, form.filter @ power
    return symmetrise(total), power


# --- the floor ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RecursiveMemoryFloor:
    """R6's floor on the memory bottleneck of b-number linear recursions.

    Attributes
    ----------
    size: b. reference: r, frames seen beside the memory. level: OU time.
    horizons: `(H,)`, and per_horizon: `(H,)`, the floor that each horizon h gives (nats a frame).
    floor: the highest of them; its upper end includes what an infinite past could add.
    horizon: the h that gives it. complete: whether no larger h can give more.
    order: states n of a minimal realisation (`None` for a video without a finite state).
    losses: `(·,)`, ℓ_i at that h, largest first, in the same unit.
    truncation: what frames older than the past could add to the floor at most (0: exact).
    """

    size: int
    reference: int
    level: float
    horizons: np.ndarray
    per_horizon: np.ndarray
    floor: Enclosure
    horizon: int
    complete: bool
    order: int | None
    losses: np.ndarray
    truncation: float
    unit: str
    theorems: tuple[str, ...] = ("R6", "R1")

    def __repr__(self) -> str:
        order = "" if self.order is None else f", minimal order {self.order}"
        return (
            f"RecursiveMemoryFloor(b={self.size}, r={self.reference}: {self.floor.value:.6g} "
            f"{self.unit} a frame from horizon {self.horizon} at level {self.level:g}{order})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "size": self.size,
            "reference": self.reference,
            "level": self.level,
            "horizons": self.horizons.tolist(),
            "per_horizon": self.per_horizon.tolist(),
            "floor": self.floor.to_json(),
            "horizon": self.horizon,
            "complete": self.complete,
            "order": self.order,
            "losses": self.losses.tolist(),
            "truncation": self.truncation,
            "unit": self.unit,
            "theorems": list(self.theorems),
        }


def recursive_memory_floor(
    video: GaussianVideo,
    size: int,
    *,
    horizon: int | None = None,
    reference: int = 0,
    level: float = 0.0,
    past: int | None = None,
    unit: str = "nats",
) -> RecursiveMemoryFloor:
    r"""No linear recursion of b numbers forgets less than this, on average over h frames (R6).

    $$\frac1h \sum_{j<h} I(X_{k+j}; \text{Past} \mid m_{k+j}, R_{k+j})
      \;\ge\; \frac1h\, I(X_{k..k+h-1}; \text{Past}_k \mid m_k, R_k)
      \;\ge\; \frac1{2h} \sum_{i>b} \ell_i, \qquad \ell_i = -\log(1-\rho_i^2),$$

    $\rho_i$ the canonical correlations of *the whole past* and *the next h frames* given the last r
    frames; the floor is the maximum over h. First step: $m_{k+j}$ and $R_{k+j}$ are functions of
    $(m_k, R_k)$ and the frames between, and the chain rule; second: R1. With the innovations form
    $1/(1-\rho_i^2) = 1 + \lambda_i$, $\lambda$ the eigenvalues of $L'M_hL$,
    $LL' = \mathrm{Cov}(\hat z_k \mid R_k)$: the whole past exactly, no truncation.

    It bounds the *average* over h consecutive frames, so the bottleneck itself in a stationary
    regime; a single frame may cost less. For chunks of Δ frames it holds, per frame, with the
    horizons that Δ divides. It counts numbers, so it is about linear memory: one real number can
    encode anything. A minimal n-state video needs b ≥ n for a floor of 0 without a window (with
    one, the rank of $\mathrm{Cov}(\hat z_k \mid R_k)$), and the Kalman state attains 0. Against a
    decomposition compare MB_k + NIE_k (M4).

    Arguments
    ---------
    video: stationary with a finite state (exact); or any video with `past`.
    size: b, numbers of memory, at least 0.
    horizon: largest h tried (frames). Default: until no larger h can give more (at most 1024), or
        16 where the past is finite.
    reference: r, frames seen beside the memory. level: OU time of all frames, 0 for clean.
    past: condition on this many frames, densely, instead of the whole past. A shorter past has
        smaller canonical correlations (interlacing), so the value is still a floor; the upper end
        of the enclosure adds $\frac1{2h}[\log\det\mathrm{Cov}(X_{k..k+h-1} \mid \text{past})
        - h\log\det V_\infty]$. Default for videos without a finite state: up to 512 numbers.
        If the video is not stationary its past is complete and nothing is added.
    unit: "nats" or "bits" (a frame).

    Raises
    ------
    ParameterError: counts out of range. RefusedError: the past determines a direction of the next
    frame, so that the floor is infinite or lost in rounding (level 0 only).

    Source: THEORY, R6.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> [round(recursive_memory_floor(video, b).floor.value, 4) for b in range(3)]
    [0.68, 0.0084, 0.0]
    """
    size = positive_integer("size", size, minimum=0)
    reference = positive_integer("reference", reference, minimum=0)
    level = nonnegative_level(level)
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    if horizon is not None:
        horizon = positive_integer("horizon", horizon)
    form = _innovations(video, level) if past is None else None
    if form is not None:
        search = _search_exact(form, size, reference, horizon)
    else:
        search = _search_dense(video, size, reference, level, horizon, past)
    best = int(np.argmax(search.floors))
    scale = UNITS[unit]
    highest = float(np.max(search.floors + search.missing + search.errors))
    value = float(search.floors[best])
    floor = Enclosure(
        value, max(value - float(search.errors[best]), 0.0), highest, theorems=("R6", "R1")
    )
    return RecursiveMemoryFloor(
        size=size,
        reference=reference,
        level=level,
        horizons=np.arange(1, search.floors.size + 1),
        per_horizon=scale * search.floors,
        floor=floor.to(unit),
        horizon=best + 1,
        complete=search.complete,
        order=None if form is None else form.order,
        losses=scale * search.losses[best],
        truncation=scale * float(search.missing[best]),
        unit=unit,
    )


@dataclass(frozen=True, eq=False)
class _Search:
    """Per horizon: floor, rounding bound, what an infinite past could add, ℓ_i."""

    floors: np.ndarray
    errors: np.ndarray
    missing: np.ndarray
    losses: list[np.ndarray]
    complete: bool


def _search_exact(form: _Innovations, size: int, reference: int, horizon: int | None) -> _Search:
    given = _given_window(form, reference)
    rows, seen = np.zeros((0, form.order)), form.seen @ given
    power = given
    last = LARGEST_HORIZON if horizon is None else horizon
    ceiling = np.inf
    if size >= form.order:
        ceiling = 0.0
    elif form.limit is not None:
        ceiling = _tail(np.linalg.eigvalsh(symmetrise(given.T @ form.limit @ given)), size)
    floors: list[float] = []
    errors: list[float] = []
    losses: list[np.ndarray] = []
    complete = False
    for h in range(1, last + 1):
        rows = np.vstack([rows, seen])
        if rows.shape[0] > form.order:
            rows = np.asarray(np.linalg.qr(rows, mode="r"))
        power = form.filter @ power
        seen = form.seen @ power
        values = np.linalg.svd(rows, compute_uv=False) ** 2
        losses.append(np.log1p(values))
        floors.append(_tail(values, size) / h)
        # singular values σ move by at most the norm of the perturbation, log(1 + σ²) with them
        sigmas = np.sqrt(np.sort(values)[::-1])
        moved = form.rounding * float(sigmas.max(initial=0.0))
        slopes = moved * (2.0 * sigmas + moved) / (1.0 + sigmas**2)
        errors.append(0.5 * (float(np.sum(slopes[size:])) + form.dropped) / h)
        complete = ceiling / (h + 1) <= max(floors)
        if complete and horizon is None:
            break
    return _Search(np.array(floors), np.array(errors), np.zeros(len(floors)), losses, complete)


def _tail(values: np.ndarray, size: int) -> float:
    """½ Σ_{i>b} log(1 + λ_i); eigenvalues that rounding left below 0 are exact zeros."""
    ordered = np.sort(np.maximum(values, 0.0))[::-1]
    return 0.5 * float(np.sum(np.log1p(ordered[size:])))


def _search_dense(
    video: GaussianVideo,
    size: int,
    reference: int,
    level: float,
    horizon: int | None,
    past: int | None,
) -> _Search:
    """Canonical correlations of a finite past and the next frames, from one Cholesky factor."""
    dim = video.dim
    ahead = 16 if horizon is None else horizon
    if past is None:
        if not video.stationary and video.length is None:
            raise ParameterError(
                "past", "given for an unlimited video that is not stationary", past
            )
        past = max(LARGEST_PAST // dim, reference + 1)
        if video.length is not None:
            if horizon is None:
                ahead = max(1, min(16, (video.length - reference) // 2))
            past = min(past, video.length - ahead) if video.stationary else video.length - ahead
    past = positive_integer("past", past)
    if reference > past:
        raise ParameterError("reference", f"at most past ({past})", reference)
    clean = video.covariance(video.check_frames(past + ahead))
    noisy = np.exp(-2.0 * level) * clean + float(sigma(level)) ** 2 * np.eye(clean.shape[0])
    frames = np.arange((past + ahead) * dim).reshape(-1, dim)
    order = np.concatenate([frames[past - reference : past], frames[: past - reference]])
    order = np.concatenate([order, frames[past:]]).ravel()
    noisy = noisy[np.ix_(order, order)]
    deviation = np.sqrt(np.maximum(np.diag(noisy), np.finfo(float).tiny))
    correlation = noisy / deviation[:, None] / deviation
    smallest = float(np.linalg.eigvalsh(correlation)[0])
    if smallest <= 64.0 * EPS * correlation.shape[0]:
        raise RefusedError(
            "some frame is determined by others (to rounding), so the information about it is "
            "infinite or lost; ask at a level above 0"
        )
    factor = np.linalg.cholesky(correlation)
    first, split = reference * dim, past * dim
    own = factor[split:, split:]
    explained: np.ndarray = scipy.linalg.solve_triangular(
        own, factor[split:, first:split], lower=True
    )
    if explained.shape[1] > explained.shape[0]:
        explained = np.asarray(np.linalg.qr(transpose(explained), mode="r")).T
    rounding = 8.0 * EPS * correlation.shape[0] / smallest
    log_det = 2.0 * np.cumsum(np.log(np.diag(own)) + np.log(deviation[split:]))[dim - 1 :: dim]
    missing = np.zeros(ahead)
    if video.stationary:
        innovation = innovation_log_det(video, level=level)
        steps = np.arange(1, ahead + 1)
        missing = 0.5 * np.maximum(log_det / steps - innovation.lower, 0.0)
    floors, errors, losses = np.zeros(ahead), np.zeros(ahead), []
    for h in range(1, ahead + 1):
        values = np.linalg.svd(explained[: h * dim], compute_uv=False) ** 2
        losses.append(np.log1p(values))
        floors[h - 1] = _tail(values, size) / h
        count = max(values.size - size, 0)
        errors[h - 1] = 0.5 * count * rounding * (1.0 + float(values.max(initial=0.0))) / h
    return _Search(floors, errors, missing, losses, False)


# --- one recursion, exactly -----------------------------------------------------------------------


def recursive_memory_bottleneck(
    video: GaussianVideo,
    transition: Any,
    input: Any,
    *,
    reference: int = 0,
    level: float = 0.0,
    unit: str = "nats",
) -> Enclosure:
    r"""Stationary memory bottleneck of one recursion $m_{k+1} = F m_k + H x_k$, exactly (R6, M1).

    $$MB = I(X_k; \text{Past} \mid m_k, R_k)
         = \tfrac12 \log\det(I + V^{-1/2} C\, \Sigma_m\, C' V^{-1/2}), \qquad
      \Sigma_m = \mathrm{Cov}(\hat z_k \mid m_k, R_k),$$

    from the Lyapunov equation of the joint chain $(\hat z_k, m_k)$. It is solved a second time for
    $(\hat z_k - G m_k, m_k)$ with G the regression just found, so a small MB keeps its digits.
    For r > 0 and invertible F, knowing $(m_k, R_k)$ is knowing $(m_{k-r}, R_k)$ and
    $\Sigma_m = \bar A^r (\Sigma^{-1} + M_r)^{-1} \bar A'^r$ with Σ the value without references.
    For other F what $F^r m_{k-r}$ still holds is conditioned on; what of it is below the rounding
    of $F^r$ counts as forgotten.

    Arguments
    ---------
    video: stationary with a finite state. transition: F `(b, b)`, stable. input: H `(b, d)`.
    reference: r frames seen beside the memory. level: OU time of all frames, the memory's included.
    unit: "nats" or "bits" (a frame).

    Returns an `Enclosure`, half-width a first-order rounding bound.

    Raises `ParameterError` for other videos, `UnstableError` for an unstable recursion, and
    `RefusedError` where the past determines the next frame.

    Source: THEORY, R6.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> round(float(recursive_memory_bottleneck(video, [[0.0]], [[1.0]])), 4)  # the last frame
    0.0872
    """
    form = _require_form(video, nonnegative_level(level))
    reference = positive_integer("reference", reference, minimum=0)
    given = finite_array("input", input)
    if given.ndim != 2 or given.shape[1] != video.dim:
        raise ParameterError("input", f"of shape (b, {video.dim})", f"shape {given.shape}")
    move = shaped_array("transition", transition, (given.shape[0], given.shape[0]))
    if _radius(move) >= 1.0:
        raise UnstableError(
            "transition", "stable for a stationary memory (spectral radius below 1)", _radius(move)
        )
    return _stationary_value(form, move, given, reference).to(unit)


def _require_form(video: GaussianVideo, level: float) -> _Innovations:
    form = _innovations(video, level)
    if form is None:
        raise ParameterError("video", "stationary with a finite state", video.family)
    if isinstance(video, StaticLatent):
        raise RefusedError(
            "the whole past determines a static latent, which no stable recursion does: "
            "m ← (1-ε)m + εx forgets less and less as ε → 0, and nothing attains the limit"
        )
    return form


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    """T with T S T' = I on the range of S; directions below rounding are left out."""
    values, vectors = np.linalg.eigh(symmetrise(covariance))
    kept = values > 64.0 * EPS * values.size * max(values.max(initial=0.0), 0.0)
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T)


def _joint(
    form: _Innovations, move: np.ndarray, given: np.ndarray, regression: np.ndarray
) -> tuple[np.ndarray, float]:
    """Stationary covariance of (ẑ - G m, m) and the spread of its Lyapunov equation."""
    through = given @ form.emission
    both = np.block(
        [
            [
                form.transition - regression @ through,
                form.transition @ regression - regression @ (through @ regression + move),
            ],
            [through, through @ regression + move],
        ]
    )
    source = np.vstack([form.gain - regression @ given, given])
    total = lyapunov_sum(both, source @ form.covariance @ source.T)
    if total is None:
        raise UnstableError("transition", "stable to double precision", _radius(move))
    return total, amplification(both)


def _stationary_value(
    form: _Innovations, move: np.ndarray, given: np.ndarray, reference: int
) -> Enclosure:
    n, size = form.order, move.shape[0]
    # scale the memory row by row, then to unit covariance
    total, _ = _joint(form, move, given, np.zeros((n, size)))
    row = np.sqrt(np.maximum(np.diag(total)[n:], 0.0))
    row = np.where(row > 0.0, row, 1.0)
    white = _inverse_root(total[n:, n:] / row[:, None] / row) / row
    whole = white.shape[0] == size
    # the caller's coordinates, rows scaled by powers of two: exact zeros of F^r stay exact
    unit = np.exp2(np.round(np.log2(row)))
    moved, back = move * unit / unit[:, None], np.eye(size)
    if whole:
        back = np.linalg.inv(white) / unit[:, None]
        move, given = white @ move @ np.linalg.inv(white), white @ given
        regression = total[:n, n:] @ white.T
        error, spread = _joint(form, move, given, regression)
        inner = _inverse_root(error[n:, n:])
        cross = error[:n, n:] @ inner.T
        left = symmetrise(error[:n, :n] - cross @ cross.T)
    else:  # some coordinates of the memory repeat others
        move, given = moved, given / unit[:, None]
        _, spread = _joint(form, move, given, np.zeros((n, size)))
        cross = total[:n, n:] @ white.T
        left = symmetrise(total[:n, :n] - cross @ cross.T)
    passed = np.eye(n)  # dΣ_m at k-r moves that at k by `passed` dΣ_m `passed`'
    if reference and whole and min(map(np.linalg.matrix_rank, (move, moved))) == size:
        sensed, power = _sensed(form, reference)
        factor = _floored_factor(left)
        values, vectors = np.linalg.eigh(symmetrise(factor.T @ sensed @ factor))
        factor = power @ factor @ (vectors / np.sqrt(1.0 + np.maximum(values, 0.0)))
        passed = power @ np.linalg.inv(np.eye(n) + left @ sensed)
    elif reference:
        factor, whole = _given_references(form, move, given, reference, moved, back), False
    else:
        factor = _floored_factor(left)
    rows, values, _ = np.linalg.svd(form.seen @ factor, full_matrices=False)
    value = 0.5 * float(np.sum(np.log1p(values**2)))
    slip = form.rounding + 16.0 * EPS * (n + size + given.shape[1]) * spread
    known = float(np.linalg.norm(left, 2)) if left.size else 0.0
    residue = slip * np.sqrt(known) + slip**2 if whole else slip
    # d MB = ½ tr((I + N Σ N')^{-1} N dΣ N')
    shrink = np.eye(rows.shape[0]) - (rows * (1.0 - 1.0 / np.sqrt(1.0 + values**2))) @ rows.T
    reach = float(np.sum((shrink @ form.seen @ passed) ** 2))
    error = 0.5 * (reach * residue + form.dropped)
    return Enclosure.around(value, error, least=0.0, theorems=("R6", "M1"))


def _floored_factor(covariance: np.ndarray) -> np.ndarray:
    """B with B B' = S; eigenvalues that rounding left below 0 are exact zeros."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _given_references(
    form: _Innovations,
    move: np.ndarray,
    given: np.ndarray,
    reference: int,
    moved: np.ndarray,
    back: np.ndarray,
) -> np.ndarray:
    """Factor of Cov(ẑ_k | m_k, R_k) for any F: condition at k-r on R, move on, condition on m.

    `move`, `given`: F, H in coordinates good for the joint law; `moved` is F in those of `back` m.
    There F is moved on, so that what is forgotten (F^r = 0) leaves no rounding to condition on:
    row i of F^r B is good to a few roundings of row i of |F|^r |B|.
    """
    n, size = form.order, move.shape[0]
    total, _ = _joint(form, move, given, np.zeros((n, size)))
    factor = psd_factor(total)
    held = np.abs(back) @ np.sqrt(np.sum(factor[n:] ** 2, axis=1))
    length = np.linalg.matrix_power(np.abs(moved), reference) @ held
    sensed, power = _sensed(form, reference)
    values, vectors = np.linalg.eigh(symmetrise(factor[:n].T @ sensed @ factor[:n]))
    factor = factor @ (vectors / np.sqrt(1.0 + np.maximum(values, 0.0)))
    state = power @ factor[:n]
    memory = np.linalg.matrix_power(moved, reference) @ (back @ factor[n:])
    memory = memory / np.where(length > 0.0, length, 1.0)[:, None]
    _, strength, basis = np.linalg.svd(memory, full_matrices=False)
    basis = basis[strength > 64.0 * EPS * (n + size)]
    return np.asarray(state - (state @ basis.T) @ basis)


# --- the best recursion found ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RecursiveMemoryResult:
    """The best b-number recursion found, beside the floor that no recursion undercuts.

    Attributes
    ----------
    floor: `RecursiveMemoryFloor`. best: exact stationary MB of the recursion found, per frame; the
        optimum lies between `floor.floor` and it.
    without_memory: MB at b = 0. order: states of a minimal realisation.
    transition: F `(b, b)`; input: H `(b, d)`. attempts: value reached from each start, in order.
    """

    floor: RecursiveMemoryFloor
    best: Enclosure
    without_memory: Enclosure
    order: int
    transition: np.ndarray
    input: np.ndarray
    attempts: np.ndarray
    unit: str
    theorems: tuple[str, ...] = ("R6", "R1", "M1")

    @property
    def gap(self) -> float:
        """How far the floor is from the best recursion found."""
        return self.best.value - self.floor.floor.value

    @property
    def memory(self) -> RecursiveMemory:
        """The recursion, for a `Generator`."""
        from arvdm_theory.generator import RecursiveMemory

        return RecursiveMemory(self.transition, self.input)

    def __repr__(self) -> str:
        return (
            f"RecursiveMemoryResult(b={self.floor.size} of order {self.order}, "
            f"r={self.floor.reference}: floor {self.floor.floor.value:.6g} ≤ best found "
            f"{self.best.value:.6g} ≤ without memory {self.without_memory.value:.6g} {self.unit} "
            f"a frame at level {self.floor.level:g})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "floor": self.floor.to_json(),
            "best": self.best.to_json(),
            "without_memory": self.without_memory.to_json(),
            "order": self.order,
            "transition": self.transition.tolist(),
            "input": self.input.tolist(),
            "attempts": self.attempts.tolist(),
            "unit": self.unit,
            "theorems": list(self.theorems),
        }


def best_recursive_memory(
    video: GaussianVideo,
    size: int,
    *,
    reference: int = 0,
    level: float = 0.0,
    starts: int = 6,
    seed: int = 0,
    unit: str = "nats",
) -> RecursiveMemoryResult:
    r"""The best linear recursion of b numbers that was found, and R6's floor beside it.

    $\inf_{F, H} I(X_k; \text{Past} \mid m_k, R_k)$ over stable $m_{k+1} = F m_k + H x_k$, a
    reduced-order model of the Kalman filter. Every stable F is, up to a change of the memory's
    basis, a strict contraction $F = (I + NN')^{-1/2} N$; quasi-Newton (BFGS, exact gradients by the
    adjoint Lyapunov equation) runs over all (N, H). Starts: truncations of the innovations form
    $\bar A, K$ to the b directions of $\hat z$ that the next 1, 2, 4 and ∞ frames see best
    (balanced truncation at ∞), then random ones. The problem is not convex: the value found is an
    upper bound on the infimum, the floor a lower one. With r > 0 the infimum may not be attained:
    as F becomes singular, what $F^r$ all but forgets is still known exactly. At b ≥ n the Kalman
    filter itself is returned.

    Arguments
    ---------
    video: stationary with a finite state. size: b ≥ 1. reference: r frames seen beside the memory.
    level: OU time of all frames. starts: random starts beside the four truncations; seed: of those.
    unit: "nats" or "bits" (a frame).

    Raises `ParameterError` for other videos; `RefusedError` where the past determines the next
    frame, for a static latent (no best recursion exists), and where the Kalman filter is not
    stable.

    Source: THEORY, R6; balanced stochastic truncation: Desai and Pal (1984).

    >>> from arvdm_theory.video import Autoregressive
    >>> result = best_recursive_memory(Autoregressive([0.5, 0.4], 0.3), 1)
    >>> round(result.floor.floor.value, 4), round(result.best.value, 4)
    (0.0084, 0.0146)
    """
    size = positive_integer("size", size)
    reference = positive_integer("reference", reference, minimum=0)
    starts = positive_integer("starts", starts, minimum=0)
    seed = positive_integer("seed", seed, minimum=0)
    form = _require_form(video, nonnegative_level(level))
    if form.limit is None:
        raise RefusedError(
            "the stationary Kalman filter of this video is not stable (its spectrum has a zero), "
            "so no stable recursion attains the optimum"
        )
    floor = recursive_memory_floor(video, size, reference=reference, level=level, unit=unit)
    candidates: list[tuple[np.ndarray, np.ndarray]] = []
    if size >= form.order:
        move, given = np.zeros((size, size)), np.zeros((size, video.dim))
        move[: form.order, : form.order] = form.filter
        given[: form.order] = form.gain
        candidates.append((move, given))
    else:
        problem = _Problem(form, reference, size)
        first = _truncations(form, reference, size) + _random_starts(form, size, starts, seed)
        candidates += [problem.descend(*start) for start in first]
    values = []
    for candidate in candidates:
        try:
            values.append(_stationary_value(form, *candidate, reference))
        except UnstableError:  # the descent ran to the edge of stability
            values.append(Enclosure(np.inf, np.inf, np.inf))
    attempts = np.array([float(value) for value in values])
    chosen = int(np.argmin(attempts))
    nothing = np.linalg.svd(form.seen @ _given_window(form, reference), compute_uv=False) ** 2
    total = 0.5 * float(np.sum(np.log1p(nothing)))
    error = form.rounding * float(np.sum(nothing))
    return RecursiveMemoryResult(
        floor=floor,
        best=values[chosen].to(unit),
        without_memory=Enclosure.around(total, error, least=0.0, theorems=("R5",)).to(unit),
        order=form.order,
        transition=candidates[chosen][0],
        input=candidates[chosen][1],
        attempts=UNITS[unit] * attempts,
        unit=unit,
    )


def _truncations(
    form: _Innovations, reference: int, size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """m = W'ẑ carried by the filter, W the directions that the next h frames see best given R."""
    sensed, power = _sensed(form, reference)
    values, vectors = np.linalg.eigh(sensed)
    root = (vectors * np.sqrt(1.0 + values)) @ vectors.T
    inverse = (vectors / np.sqrt(1.0 + values)) @ vectors.T
    assert form.limit is not None
    out = []
    for ahead in (_sensed(form, 1)[0], _sensed(form, 2)[0], _sensed(form, 4)[0], form.limit):
        left = power @ inverse
        _, basis = np.linalg.eigh(symmetrise(left.T @ ahead @ left))
        rows = (root @ basis[:, ::-1][:, :size]).T
        back = np.linalg.pinv(rows)
        move, given = rows @ form.filter @ back, rows @ form.gain
        out.append((move * min(1.0, 0.98 / max(_radius(move), 1e-9)), given))
    return out


def _random_starts(
    form: _Innovations, size: int, starts: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(seed)
    out = []
    for _ in range(starts):
        move = generator.standard_normal((size, size))
        move *= generator.uniform(0.2, 0.98) / max(_radius(move), 1e-9)
        out.append((move, generator.standard_normal((size, form.gain.shape[1]))))
    return out


@dataclass(frozen=True, eq=False)
class _Problem:
    """MB as a smooth function of (N, H), F = (I + NN')^{-1/2} N."""

    form: _Innovations
    reference: int
    size: int

    def descend(self, move: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A local minimum from (F, H)."""
        # in the basis where Σ F^k F'^k = I a stable F is a strict contraction
        total = lyapunov_sum(move, np.eye(self.size))
        assert total is not None
        values, vectors = np.linalg.eigh(total)
        into = (vectors / np.sqrt(values)).T
        back = vectors * np.sqrt(values)
        move, given = into @ move @ back, into @ given
        values, vectors = np.linalg.eigh(np.eye(self.size) - move @ move.T)
        free = (vectors / np.sqrt(np.maximum(values, 1e-8))) @ vectors.T @ move
        given = given / max(float(np.linalg.norm(given)), 1e-12)
        found = scipy.optimize.minimize(
            self.value,
            np.concatenate([free.ravel(), given.ravel()]),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-10, "maxiter": 400},
        )
        move, given, _ = self.recursion(found.x)
        return move, given

    def recursion(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
        """(F, H) and what the gradient needs of the map."""
        size = self.size
        free = point[: size * size].reshape(size, size)
        values, vectors = np.linalg.eigh(np.eye(size) + free @ free.T)
        shrink = (vectors / np.sqrt(values)) @ vectors.T
        return shrink @ free, point[size * size :].reshape(size, -1), (free, values, vectors)

    def value(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """MB and its gradient; where the memory degenerates, no memory and a zero gradient."""
        form, size = self.form, self.size
        move, given, (free, values, vectors) = self.recursion(point)
        n = form.order
        through = given @ form.emission
        both = np.block([[form.transition, np.zeros((n, size))], [through, move]])
        source = np.vstack([form.gain, given])
        total = lyapunov_sum(both, source @ form.covariance @ source.T)
        try:
            if total is None:
                raise np.linalg.LinAlgError
            regression = np.linalg.solve(total[n:, n:], total[n:, :n]).T
            left = symmetrise(total[:n, :n] - regression @ total[n:, :n])
            sensed, power = _sensed(form, self.reference)
            kept = np.linalg.inv(np.eye(n) + left @ sensed)
        except np.linalg.LinAlgError:
            return 1e3, np.zeros_like(point)
        reach = form.seen @ power
        middle = symmetrise(reach @ kept @ left @ reach.T) + np.eye(reach.shape[0])
        sign, log_det = np.linalg.slogdet(middle)
        if sign <= 0.0 or not np.isfinite(log_det):
            return 1e3, np.zeros_like(point)
        slope = 0.5 * kept.T @ reach.T @ np.linalg.solve(middle, reach) @ kept
        error = np.hstack([np.eye(n), -regression])
        adjoint = lyapunov_sum(both.T, error.T @ slope @ error)
        if adjoint is None:
            return 1e3, np.zeros_like(point)
        by_both = 2.0 * adjoint @ both @ total
        by_source = 2.0 * adjoint @ source @ form.covariance
        by_given = by_both[n:, :n] @ form.emission.T + by_source[n:]
        by_move = by_both[n:, n:]
        # F = f(W) N with W = I + NN', f(w) = w^{-1/2}, by divided differences of f
        roots = np.sqrt(values)
        divided = -1.0 / (roots[:, None] * roots * (roots[:, None] + roots))
        inner = vectors @ (divided * (vectors.T @ by_move @ free.T @ vectors)) @ vectors.T
        by_free = (vectors / roots) @ vectors.T @ by_move + (inner + inner.T) @ free
        return 0.5 * float(log_det), np.concatenate([by_free.ravel(), by_given.ravel()])


# --- a limited rate into the memory ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SequentialDistortion:
    """Least stationary weighted error of a Gauss–Markov chain at a rate (sequential RDF).

    covariance: P `(n, n)`, posterior error. distortion: tr(ΘP), the least. rate: nats a frame that
    P needs. method: "closed form" or "sdp". tolerance: relative accuracy of the distortion.
    """

    covariance: np.ndarray
    distortion: float
    rate: float
    method: Literal["closed form", "sdp"]
    tolerance: float
    theorems: tuple[str, ...] = ("R6",)

    def __repr__(self) -> str:
        return (
            f"SequentialDistortion({self.distortion:.6g} at {self.rate:.6g} nats a frame, "
            f"{self.method})"
        )


def sequential_distortion(
    transition: Any, process: Any, rate: float, *, weight: Any = None
) -> SequentialDistortion:
    r"""Least error of a memory written at R nats a frame: sequential rate distortion (R6).

    For $z_{k+1} = A z_k + w_k$, $w \sim N(0, W)$, and memories that keep what they hold and add
    $I(z_{1..k}; m_k \mid m_{<k}) \le R$ a frame, stationary:

    $$\min_{P \succeq 0}\ \mathrm{tr}(\Theta P) \quad \text{s.t.} \quad
      \tfrac12\log\frac{\det(APA' + W)}{\det P} \le R, \qquad P \preceq APA' + W.$$

    Scalar: $P = W/(e^{2R} - a^2)$. Vector: with A invertible and $W = BB'$ the rate is
    $\log|\det A| - \tfrac12\log\det\Pi$ with
    $\begin{pmatrix} I-\Pi & B' \\ B & APA'+W \end{pmatrix} \succeq 0$; with W invertible (A any) it
    is $\tfrac12\log\det W - \tfrac12\log\det\Pi$ with
    $\begin{pmatrix} P-\Pi & PA' \\ AP & APA'+W \end{pmatrix} \succeq 0$: a semidefinite program.
    Filling water over the eigenvalues of the prior $APA'+W$, the formula of the memoryless case, is
    not optimal for vectors.

    Arguments: `transition` A `(n, n)`; `process` W `(n, n)`, positive semi-definite; `rate` R in
    nats a frame; `weight` Θ `(n, n)` (identity unless given). A may be unstable.

    Returns `SequentialDistortion`; the program's relative accuracy (1e-5) is the solver's, not a
    proof. The memory's decoder keeps all of $m_{\le k}$; the optimum is linear and Gaussian.

    Raises `ParameterError` for a missing extra `sdp` (cvxpy) and for A and W both singular;
    `RefusedError` where the rate is too low for any finite error.

    Source: Tanaka, Kim, Parrilo and Mitter (arXiv 1411.7632); Stavrou, Tanaka and Tatikonda
    (arXiv 1711.09853) on water-filling.

    >>> round(sequential_distortion([[0.9]], [[0.19]], 0.5).distortion, 6)
    0.099566
    """
    move = finite_array("transition", transition)
    if move.ndim != 2 or move.shape[0] != move.shape[1] or not move.size:
        raise ParameterError("transition", "a square matrix", f"shape {move.shape}")
    size = move.shape[0]
    source = shaped_array("process", process, (size, size))
    factor = psd_factor(source)
    given = np.eye(size) if weight is None else shaped_array("weight", weight, (size, size))
    psd_factor(given)  # refuses an indefinite weight
    rate = _rate(rate)
    if size == 1:
        excess = np.exp(2.0 * rate) - move[0, 0] ** 2
        if excess <= 0.0:
            raise RefusedError(
                f"an unstable chain needs more than log|a| = {np.log(abs(move[0, 0])):.6g} nats a "
                "frame for a finite error"
            )
        covariance = source / excess
        return SequentialDistortion(
            covariance, float(given[0, 0] * covariance[0, 0]), rate, "closed form", 8.0 * EPS
        )
    return _Program(move, factor, rate).solve(given)


class _Program:
    """The semidefinite program at one (A, W, R), for any weight."""

    def __init__(self, move: np.ndarray, factor: np.ndarray, rate: float) -> None:
        cvxpy = _require_cvxpy()
        size = move.shape[0]
        self.unit = float(np.sum(factor**2)) / size or 1.0  # W of order one for the solver
        left, values, _ = np.linalg.svd(factor / np.sqrt(self.unit), full_matrices=False)
        kept = values > 64.0 * EPS * values.max(initial=0.0)
        factor, values = left[:, kept] * values[kept], values[kept]
        own = values[-1] / values[0] if values.size == size else 0.0
        reached = np.linalg.svd(move, compute_uv=False)
        self.move, self.rate = move, rate
        self.source = symmetrise(factor @ factor.T)
        self.variable = cvxpy.Variable((size, size), PSD=True)
        prior = move @ self.variable @ move.T + self.source
        if max(own, reached[-1] / max(reached[0], EPS)) < 1e-6:
            raise ParameterError(
                "transition", "invertible, or the process noise invertible", "both singular"
            )
        if own >= 1e-3 or own >= reached[-1] / reached[0]:
            ratio = cvxpy.Variable((size, size), symmetric=True)
            block = cvxpy.bmat(
                [[self.variable - ratio, self.variable @ move.T], [move @ self.variable, prior]]
            )
            start = float(np.sum(np.log(values)))
        else:
            ratio = cvxpy.Variable((values.size, values.size), symmetric=True)
            block = cvxpy.bmat([[np.eye(values.size) - ratio, factor.T], [factor, prior]])
            start = float(np.sum(np.log(reached)))
        self.weight = cvxpy.Parameter((size, size), PSD=True)
        self.problem = cvxpy.Problem(
            cvxpy.Minimize(cvxpy.trace(self.weight @ self.variable)),
            [prior - self.variable >> 0, block >> 0, cvxpy.log_det(ratio) >= 2.0 * (start - rate)],
        )

    def solve(self, weight: np.ndarray) -> SequentialDistortion:
        scale = float(np.linalg.norm(weight, 2)) or 1.0
        self.weight.value = symmetrise(weight) / scale
        self.problem.solve(solver="CLARABEL")
        if self.problem.status in ("infeasible", "infeasible_inaccurate"):
            raise RefusedError(
                f"no finite error at {self.rate:.6g} nats a frame: unstable directions need more"
            )
        if self.problem.status != "optimal":
            raise RefusedError(f"the semidefinite solver stopped: {self.problem.status}")
        covariance = symmetrise(self.variable.value)
        prior = self.move @ covariance @ self.move.T + self.source
        spent = 0.5 * float(np.sum(np.log(scipy.linalg.eigvalsh(prior, covariance))))
        if not spent <= self.rate + 1e-5 * (1.0 + self.rate):
            raise RefusedError(
                f"the solver's answer needs {spent:.6g} nats a frame, not {self.rate:.6g}: the "
                "program is too badly conditioned"
            )
        covariance = self.unit * covariance
        distortion = float(np.trace(weight @ covariance))
        # about 2 D a nat is what the distortion moves with the rate
        tolerance = SOLVER_TOLERANCE + 4.0 * abs(spent - self.rate)
        return SequentialDistortion(covariance, distortion, spent, "sdp", tolerance)


def _require_cvxpy() -> Any:
    try:
        import cvxpy
    except ModuleNotFoundError:
        raise ParameterError(
            "the extra sdp",
            'installed for chains of more than one state (pip install "arvdm-theory[sdp]")',
            "no module named cvxpy",
        ) from None
    return cvxpy


@dataclass(frozen=True, eq=False)
class RateLimitedMemory:
    """Memory bottleneck of a recursion that is written at R nats a frame.

    Attributes
    ----------
    rate: R, in `unit`, one or many `(...)`. bottleneck: of the best Gaussian memory found, per
        frame; its lower end is a floor. One state, or one number a frame: its value is exact.
    excess: least whitened prediction error tr(V^{-1} C P C') beyond that of the whole past.
    covariance: P `(..., n, n)`, error of the filter's state given the memory (minimal,
        unit-variance basis).
    without_memory: MB at R = 0. order: states of the video. method: "closed form" or "sdp".
    """

    rate: Any
    bottleneck: Enclosure
    excess: Any
    covariance: Any
    without_memory: float
    order: int
    method: str
    level: float
    unit: str
    theorems: tuple[str, ...] = ("R6",)

    def __repr__(self) -> str:
        if self.bottleneck.shape:
            return (
                f"RateLimitedMemory(bottleneck {self.bottleneck} at level {self.level:g}, "
                f"{self.method})"
            )
        return (
            f"RateLimitedMemory({float(self.rate):.6g} {self.unit} a frame: bottleneck "
            f"{float(self.bottleneck.value):.6g} in [{float(self.bottleneck.lower):.6g}, "
            f"{float(self.bottleneck.upper):.6g}] {self.unit} at level {self.level:g}, "
            f"{self.method})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "rate": numpy_of(self.rate).tolist(),
            "bottleneck": self.bottleneck.to_json(),
            "excess": numpy_of(self.excess).tolist(),
            "covariance": self.covariance.tolist(),
            "without_memory": self.without_memory,
            "order": self.order,
            "method": self.method,
            "level": self.level,
            "unit": self.unit,
            "theorems": list(self.theorems),
        }


def rate_limited_memory(
    video: GaussianVideo, rate: Any, *, level: float = 0.0, unit: str = "nats"
) -> RateLimitedMemory:
    r"""Memory bottleneck of a recursion that is written at R nats a frame (R6, rate limited).

    The memory keeps what it holds and learns $I(X_{\le k}; m_k \mid m_{<k}) \le R$ a frame. With P
    the error of the filter's state given the memory,
    $MB = \tfrac12\log\det(I + V^{-1/2}CPC'V^{-1/2})$, and P ranges over the set of
    `sequential_distortion` with $W = KVK'$.

    *One number a frame*: minimising MB and minimising the prediction error are the same. *One
    state*: moreover

    $$MB(R) = \tfrac12\log\Bigl(1 + \frac{C'V^{-1}C\;K V K'}{e^{2R}-a^2}\Bigr), \qquad
      \text{clean AR(1): } -\tfrac12\log(1 - a^2e^{-2R}).$$

    There it holds for any memory, random or nonlinear, and for the average over frames at the
    average rate: by the entropy power inequality $N_{k+1} \ge a^2e^{-2R_k}N_k + W$, and
    $\log(1 + a^2 e^{2s})$ is convex in s. *Otherwise*: MB is concave in P, so its minimum over
    Gaussian memories is enclosed: below by $\tfrac12\log(1 + D(R))$ with
    $D = \min\mathrm{tr}(V^{-1}CPC')$ (since $\det(I+N) \ge 1 + \mathrm{tr}N$), above by the P
    that successive linearisation of log det finds. The lower end assumes a memory jointly Gaussian
    with the video.

    Arguments: `video` stationary with a finite state; `rate` R ≥ 0 in `unit` a frame, an array or
    tensor of them where there is at most one state; `level` OU time of all frames; `unit` "nats" or
    "bits".

    Raises as `sequential_distortion` (several states need the extra `sdp`) and
    `recursive_memory_bottleneck`.

    Source: THEORY, R6; Tanaka, Kim, Parrilo and Mitter (arXiv 1411.7632).

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.9], 0.19)
    >>> [round(float(rate_limited_memory(video, r).bottleneck), 4) for r in (0.0, 0.5, 2.0)]
    [0.8304, 0.177, 0.0075]
    >>> rate_limited_memory(video, [0.0, 0.5, 2.0]).bottleneck.value.round(4).tolist()
    [0.8304, 0.177, 0.0075]
    """
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    level = nonnegative_level(level)
    if is_tensor(rate) or np.ndim(rate):
        return _at_rates(_require_form(video, level), rate, level, unit)
    given = _rate(rate)
    nats = given / UNITS[unit]
    form = _require_form(video, level)
    weight = form.seen.T @ form.seen
    process = symmetrise(form.gain @ form.covariance @ form.gain.T)
    if form.order == 0:  # white noise: nothing to remember
        value, lower, method, excess = 0.0, 0.0, "closed form", 0.0
        covariance, tolerance = np.zeros((0, 0)), 0.0
    elif form.order == 1 or nats == 0.0:
        covariance = np.eye(form.order)
        if nats > 0.0:
            covariance = sequential_distortion(form.transition, process, nats).covariance
        method, tolerance = "closed form", 4.0 * form.rounding
        excess = float(np.trace(weight @ covariance))
        value = lower = _bottleneck_of(form, covariance)
    else:
        program = _Program(form.transition, form.gain @ np.linalg.cholesky(form.covariance), nats)
        first = program.solve(weight)
        method, excess, tolerance = "sdp", first.distortion, first.tolerance
        lower = 0.5 * float(np.log1p(excess))
        covariance, value = first.covariance, _bottleneck_of(form, first.covariance)
        for _ in range(20):  # MB is concave: each linearisation lowers it
            spread = form.covariance + form.emission @ covariance @ form.emission.T
            slope = form.emission.T @ np.linalg.solve(spread, form.emission)
            step = program.solve(slope).covariance
            lowered = _bottleneck_of(form, step)
            if lowered >= value - 1e-9:
                break
            covariance, value = step, lowered
    total = _bottleneck_of(form, np.eye(form.order))
    error = tolerance * value
    bottleneck = Enclosure(
        value, max(min(lower, value) - error, 0.0), value + error, theorems=("R6",)
    )
    return RateLimitedMemory(
        rate=given,
        bottleneck=bottleneck.to(unit),
        excess=excess,
        covariance=covariance,
        without_memory=UNITS[unit] * total,
        order=form.order,
        method=method,
        level=level,
        unit=unit,
    )


def _at_rates(form: _Innovations, rate: Any, level: float, unit: str) -> RateLimitedMemory:
    """The closed form of at most one state, at many rates."""
    xp, (given,) = floating(rate=rate)
    require("rate", "a finite number of at least 0", given, given >= 0.0)
    if form.order > 1:
        raise ParameterError(
            "rate",
            f"one number for a video of {form.order} states (a semidefinite program)",
            f"shape {tuple(given.shape)}",
        )
    move, source, weight = (
        float(np.sum(part))
        for part in (
            form.transition,
            form.gain @ form.covariance @ form.gain.T,
            form.seen.T @ form.seen,
        )
    )
    error = source / (xp.exp(2.0 * given / UNITS[unit]) - move**2) if form.order else 0.0 * given
    error = xp.where(given == 0.0, float(form.order), error)
    value = 0.5 * xp.log1p(weight * error)
    slack = 4.0 * form.rounding * value
    return RateLimitedMemory(
        rate=given,
        bottleneck=Enclosure.around(value, slack, least=0.0, theorems=("R6",)).to(unit),
        excess=weight * error,
        covariance=error[..., None, None] if form.order else xp.zeros((*given.shape, 0, 0)),
        without_memory=UNITS[unit] * _bottleneck_of(form, np.eye(form.order)),
        order=form.order,
        method="closed form",
        level=level,
        unit=unit,
    )


def _bottleneck_of(form: _Innovations, covariance: np.ndarray) -> float:
    values = np.linalg.eigvalsh(symmetrise(form.seen @ covariance @ form.seen.T))
    return 0.5 * float(np.sum(np.log1p(np.maximum(values, 0.0))))


# --- checked inputs -------------------------------------------------------------------------------


def _rate(value: float) -> float:
    constraint = "a finite number of at least 0"
    rate = real_number("rate", value, constraint)
    if rate < 0.0:
        raise ParameterError("rate", constraint, value)
    return rate
