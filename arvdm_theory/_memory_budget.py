r"""Conditional information of Gaussian vectors, and what a limited memory must forget (R1, R2, R4).

$\rho_i$ are the canonical correlations of X (past) and Z (output) given Y (what is seen anyway),

$$\ell_i = -\log(1-\rho_i^2), \qquad I(X;Z|Y) = \tfrac12 \sum_i \ell_i .$$

They are held as $\tau_i^2 = \rho_i^2/(1-\rho_i^2)$, the signal-to-noise ratio with which X shows
in Z: $\ell_i = \log(1+\tau_i^2)$ and $1-\rho_i^2 = 1/(1+\tau_i^2)$ keep their digits at both ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special

from arvdm_theory._gaussian import EPS, symmetrise
from arvdm_theory.checks import finite_array, positive_integer
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, RefusedError

__all__ = [
    "BudgetCurve",
    "CanonicalCorrelations",
    "LinearMemoryFloor",
    "MemoryBudget",
    "MemoryEncoder",
    "canonical_correlations",
    "conditional_information",
    "information_given_memory",
    "linear_memory_floor",
    "stochastic_memory",
]


# --- canonical correlations -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class CanonicalCorrelations:
    r"""Canonical correlations of X and Z given Y, strongest first.

    Attributes
    ----------
    ratios: `(n,)`, $\tau_i^2 = \rho_i^2/(1-\rho_i^2)$; infinite where `reason` says so.
    error_bound: first-order bound on the rounding error of each $\ell_i$, nats.
    total_error: the same for half of any sum of different $\ell_i$.
    truncation: what a longer past may add to $\tfrac12\sum\ell_i$, nats; `None` if not known.
    directions: `(n, size of X)` or `None`; row i is the map of X whose correlation (given Y) with
        Z is $\rho_i$, with variance 1 given Y.
    reason: why a ratio is infinite, else `None`.
    below: `(n,)` or one number, what an $\ell_i$ whose ratio is infinite is at least, nats:
        infinity where $\rho_i = 1$ is exact, less where $1-\rho_i^2$ is only known to be below
        rounding.
    """

    ratios: np.ndarray
    error_bound: np.ndarray
    total_error: float
    truncation: float | None = 0.0
    directions: np.ndarray | None = None
    reason: str | None = None
    below: Any = np.inf

    @staticmethod
    def of(
        correlations: Any = None, *, complement: Any = None, reason: str | None = None
    ) -> CanonicalCorrelations:
        r"""From numbers: `correlations` $\rho_i$ in [-1, 1] or `complement` $1-\rho_i^2$ in [0, 1].

        The second keeps all digits where $\rho_i$ rounds to 1.

        >>> near = CanonicalCorrelations.of(complement=[1e-20])
        >>> print(round(float(near.losses[0]), 6), round(20.0 * np.log(10.0), 6))
        46.051702 46.051702
        >>> CanonicalCorrelations.of([0.6]).complement.round(2).tolist()
        [0.64]
        """
        if (correlations is None) == (complement is None):
            raise ParameterError(
                "correlations, complement",
                "exactly one of them",
                "neither" if complement is None else "both",
            )
        name = "correlations" if complement is None else "complement"
        given = np.atleast_1d(
            finite_array(name, correlations if complement is None else complement)
        )
        if given.ndim != 1 or given.size == 0:
            raise ParameterError(name, "one number or a list of numbers", f"shape {given.shape}")
        if complement is None:
            size = np.abs(given)
            if np.any(size > 1.0):
                raise ParameterError(name, "in [-1, 1]", given)
            rest, explained = (1.0 - size) * (1.0 + size), size**2
        else:
            if np.any((given < 0.0) | (given > 1.0)):
                raise ParameterError(name, "in [0, 1]", given)
            if np.any((given > 0.0) & (given < 1e-300)):
                raise ParameterError(name, "0 or at least 1e-300", given)
            rest, explained = given, 1.0 - given
        positive = rest > 0.0
        ratios = np.where(positive, explained / np.where(positive, rest, 1.0), np.inf)
        ratios = np.sort(ratios)[::-1]
        # a ratio good to a few roundings moves log(1 + ratio) by no more than that
        error = np.where(np.isfinite(ratios), 8.0 * EPS * (1.0 + np.log1p(ratios)), 0.0)
        if reason is None and not np.all(positive):
            reason = "a correlation of 1: the past determines a direction of the output"
        return CanonicalCorrelations(ratios, error, 0.5 * float(error.sum()), reason=reason)

    @property
    def correlations(self) -> np.ndarray:
        r"""$\rho_i$, `(n,)`."""
        squared = np.ones(self.ratios.shape)
        finite = np.isfinite(self.ratios)
        squared[finite] = self.ratios[finite] / (1.0 + self.ratios[finite])
        return np.sqrt(squared)

    @property
    def complement(self) -> np.ndarray:
        r"""$1-\rho_i^2$, `(n,)`, to full relative precision."""
        return np.asarray(1.0 / (1.0 + self.ratios))

    @property
    def losses(self) -> np.ndarray:
        r"""$\ell_i = -\log(1-\rho_i^2)$, `(n,)`, nats: what forgetting direction i costs, twice."""
        return np.log1p(self.ratios)

    def _least(self) -> np.ndarray:
        """What each of the losses is at least where some are infinite, nats; 0 for the others."""
        return np.where(np.isinf(self.ratios), self.below, 0.0)

    def information(self, unit: str = "nats", theorems: tuple[str, ...] = ("M1",)) -> Enclosure:
        r"""$I(X;Z|Y) = \tfrac12\sum_i \ell_i$."""
        return _enclose(self, self.losses, theorems, unit)

    def __repr__(self) -> str:
        shown = ", ".join(f"{value:.6g}" for value in self.correlations[:6])
        more = ", ..." if self.ratios.size > 6 else ""
        return f"CanonicalCorrelations([{shown}{more}]; I = {float(self.information()):.6g} nats)"


def _enclose(
    source: CanonicalCorrelations, terms: np.ndarray, theorems: tuple[str, ...], unit: str
) -> Enclosure:
    """Half a sum of different l_i: rounding on both sides, a longer past above."""
    check_unit(unit)
    value = 0.5 * float(np.sum(np.sort(terms)))
    if not np.isfinite(value):
        lower = 0.5 * float(np.sum(np.sort(source._least()[source.ratios.size - terms.size :])))
        return Enclosure(np.inf, lower, np.inf, "nats", theorems, False, source.reason).to(unit)
    error = 0.0
    if terms.size:
        error = min(0.5 * terms.size * float(source.error_bound.max()), source.total_error)
    missing = np.inf if source.truncation is None else source.truncation
    lower = max(value - error, 0.0)
    return Enclosure(value, lower, value + error + missing, "nats", theorems).to(unit)


def _at_least_zero(parameter: str, value: Any) -> float:
    """A number of at least 0, infinity allowed."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ParameterError(parameter, "at least 0", value) from None
    if np.isnan(number) or number < 0.0:
        raise ParameterError(parameter, "at least 0", value)
    return number


def check_unit(unit: Any) -> None:
    """Refuse a unit that is neither nats nor bits."""
    if not isinstance(unit, str) or unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)


def canonical_correlations(
    covariance: Any, x: Sequence[int], z: Sequence[int], given: Sequence[int] = ()
) -> CanonicalCorrelations:
    r"""Canonical correlations of $X$ and $Z$ given $Y$ in one joint covariance.

    With $\mathrm{Cov}(X|Y) = RR'$, $\mathrm{Cov}(Z|X,Y) = LL'$ and $C = \mathrm{Cov}(Z,X|Y)R^{-T}$
    the $\tau_i = \rho_i/\sqrt{1-\rho_i^2}$ are the singular values of $L^{-1}C$: nothing is
    subtracted, so neither small nor nearly perfect correlations lose digits to cancellation.

    Arguments
    ---------
    covariance: of everything, `(N, N)`, positive semi-definite.
    x, z, given: coordinates (0..N-1) of X, Z and Y, all different; Y may be empty.

    Returns
    -------
    `CanonicalCorrelations` with `directions` in the coordinates `x` (in their order). A direction
    of Z that X and Y determine and Y leaves uncertain has ratio infinity, with the reason.

    Raises
    ------
    ParameterError: indices that repeat or do not exist; `NotPositiveDefiniteError`.

    Source: THEORY, section 3 (Budgets); Hotelling 1936.

    >>> covariance = [[1.0, 0.6, 0.5], [0.6, 1.0, 0.3], [0.5, 0.3, 1.0]]
    >>> canonical_correlations(covariance, [0], [1]).correlations.round(6).tolist()
    [0.6]
    >>> canonical_correlations(covariance, [2], [1], given=[0]).correlations.round(6).tolist()
    [0.0]
    """
    matrix = joint_covariance(covariance)
    x, z, given = disjoint(matrix.shape[0], x=x, z=z, given=given)
    order = [*given, *x, *z]
    size = len(given) + len(x)
    rows = np.eye(len(given), size)
    found = given_memory(matrix[np.ix_(order, order)], size, rows)
    assert found.directions is not None
    return replace(found, directions=found.directions[:, len(given) :])


def conditional_information(
    covariance: Any,
    x: Sequence[int],
    z: Sequence[int],
    given: Sequence[int] = (),
    *,
    unit: str = "nats",
) -> Enclosure:
    r"""M1's quantity: $I(X;Z|Y) = -\tfrac12 \sum_i \log(1-\rho_i^2)$ in one joint covariance.

    Arguments as for `canonical_correlations`, and `unit`, "nats" or "bits".

    Returns an `Enclosure`; infinite, with the reason, if X determines a direction of Z that Y
    leaves uncertain.

    >>> print(conditional_information([[1.0, 0.6], [0.6, 1.0]], [0], [1]))
    0.223144 nats in [0.223144, 0.223144] (M1)
    """
    return canonical_correlations(covariance, x, z, given).information(unit)


def information_given_memory(
    covariance: Any,
    x: Sequence[int],
    z: Sequence[int],
    matrix: Any,
    given: Sequence[int] = (),
    *,
    noise: Any = None,
    unit: str = "nats",
) -> Enclosure:
    r"""M1 with a linear memory: $I(X;Z \mid Y, m)$, $m = A X + \text{noise}$.

    Arguments
    ---------
    covariance, x, z, given: as for `canonical_correlations`.
    matrix: A, `(b, size of X)`.
    noise: standard deviations of the memory's independent noise, one number or `(b,)`; `None`: the
        memory is exact.
    unit: "nats" or "bits".

    >>> joint = [[1.0, 0.6], [0.6, 1.0]]
    >>> float(information_given_memory(joint, [0], [1], [[2.0]]))  # X itself
    0.0
    >>> print(round(float(information_given_memory(joint, [0], [1], [[2.0]], noise=1.0)), 4))
    0.0533
    """
    joint = joint_covariance(covariance)
    x, z, given = disjoint(joint.shape[0], x=x, z=z, given=given)
    weights = finite_array("matrix", matrix)
    if weights.ndim != 2 or weights.shape[1] != len(x):
        raise ParameterError("matrix", f"of shape (b, {len(x)})", f"shape {weights.shape}")
    order = [*given, *x, *z]
    size, kept = len(given) + len(x), len(given)
    rows = np.zeros((kept + weights.shape[0], size))
    rows[:kept, :kept] = np.eye(kept)
    rows[kept:, kept:] = weights
    own = None
    if noise is not None:
        spread = np.broadcast_to(finite_array("noise", noise), (weights.shape[0],))
        if np.any(spread < 0.0):
            raise ParameterError("noise", "at least 0", noise)
        own = np.concatenate([np.zeros(kept), spread])
    return given_memory(joint[np.ix_(order, order)], size, rows, own).information(unit)


def joint_covariance(value: Any) -> np.ndarray:
    matrix = finite_array("covariance", value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ParameterError("covariance", "a square matrix", f"shape {matrix.shape}")
    if np.max(np.abs(matrix - matrix.T), initial=0.0) > 1e-10 * np.max(np.abs(matrix), initial=0.0):
        raise NotPositiveDefiniteError("covariance", "symmetric", "a matrix that is not")
    return np.asarray(symmetrise(matrix))


def disjoint(size: int, **sets: Sequence[int]) -> list[list[int]]:
    out, seen = [], set[int]()
    for name, given in sets.items():
        items = [positive_integer(name, item, 0) for item in given]
        if not items and name != "given":
            raise ParameterError(name, "at least one coordinate", items)
        for item in items:
            if item >= size or item in seen:
                raise ParameterError(name, f"different coordinates in 0..{size - 1}", item)
            seen.add(item)
        out.append(items)
    return out


def given_memory(
    covariance: np.ndarray,
    past: int,
    rows: np.ndarray,
    own: np.ndarray | None = None,
    rounding: float = 0.0,
) -> CanonicalCorrelations:
    r"""Canonical correlations of the past and Z given $Y = G\,\text{past} + n \odot N(0, I)$.

    Arguments: joint `covariance` of the past, the first `past` coordinates, and Z, the rest; `rows`
    G `(k, past)`; `own` n `(k,)`; `rounding`, the relative error of the covariance itself.
    `directions` are maps of the whole past.

    With past $= R\xi$ and $Z = C\xi + Le$, what Y has forgotten of C is $B_\perp = C(I - W)$, W the
    projection on the rows of GR (of [GR, n] with noise): Cov(Z|Y) = LL' + B_perp B_perp'.

    Error bound: Cholesky factors $\Sigma + E$, $|E_{ij}| \le (N+1)\,eps$ for unit variances, and
    $\mathrm{Cov}(Z|\cdot) = B \Sigma B'$, B = [I, -K], moves by at most that times the products of
    the row sums of |B|; a relative move of a pencil moves each of its log-eigenvalues by no more,
    and a sum of them by no more than its trace norm.
    """
    variance = np.diag(covariance)
    constant = variance <= 0.0
    if np.any(covariance[constant] != 0.0) or np.any(variance < 0.0):
        raise NotPositiveDefiniteError(
            "covariance", "positive semi-definite", f"smallest variance {variance.min():.6g}"
        )
    moving = np.flatnonzero(~constant)
    scale = np.sqrt(variance[moving])
    joint = covariance[np.ix_(moving, moving)] / scale[:, None] / scale[None, :]
    here = moving[moving < past]
    size = here.size
    rows = rows[:, here] * scale[:size]
    own = np.zeros(rows.shape[0]) if own is None else own
    relative = (joint.shape[0] + 16) * EPS + rounding
    floor = 64.0 * EPS * joint.shape[0]
    regular = _regular(joint, size, rows, own, relative, floor)
    found = _singular(joint, size, rows, own, floor) if regular is None else regular
    assert found.directions is not None
    directions = np.zeros((found.directions.shape[0], past))
    directions[:, here] = found.directions / scale[:size]
    return replace(found, directions=directions)


def _regular(
    joint: np.ndarray,
    size: int,
    rows: np.ndarray,
    own: np.ndarray,
    relative: float,
    floor: float,
) -> CanonicalCorrelations | None:
    """By Cholesky; `None` if the law is singular to rounding."""
    try:
        factor = scipy.linalg.cholesky(joint, lower=True)
    except np.linalg.LinAlgError:
        return None
    if np.min(np.diag(factor), initial=1.0) ** 2 <= floor:
        return None
    root, gain, noise = factor[:size, :size], factor[size:, :size], factor[size:, size:]
    residual, weights, weakest, free = _forget(gain, rows @ root, own)
    left = scipy.linalg.solve_triangular(noise, residual, lower=True)
    _, values, basis = np.linalg.svd(left, full_matrices=False)
    values, directions = values[:free], basis[:free, :size]
    if size:
        directions = scipy.linalg.solve_triangular(root, directions.T, lower=True, trans="T").T
    tilt = 8.0 * EPS * (joint.shape[0] + rows.shape[0]) / weakest if rows.shape[0] else 0.0
    slip, reach = tilt * float(np.linalg.norm(gain)), float(np.linalg.norm(residual))
    knowing = scipy.linalg.solve_triangular(root, gain.T, lower=True, trans="T").T if size else gain
    given_past, given_seen = noise @ noise.T, noise @ noise.T + residual @ residual.T
    each, total = np.add(
        _log_error(given_past, knowing, relative, 0.0),
        _log_error(given_seen, weights @ rows, relative, 2.0 * slip * reach + slip**2),
    )
    ratios = values**2
    steep = 2.0 * values / (1.0 + ratios) * 8.0 * EPS * joint.shape[0] * values.max(initial=0.0)
    own_error = steep + 4.0 * EPS * np.log1p(ratios)
    total_error = 0.5 * (total + float(np.sum(own_error)))
    return CanonicalCorrelations(ratios, each + own_error, float(total_error), 0.0, directions)


def _log_error(
    conditional: np.ndarray, regression: np.ndarray, relative: float, slip: float
) -> tuple[float, float]:
    """How far rounding moves one log-eigenvalue of a conditional covariance, and all together."""
    moved = relative * float(np.sum((1.0 + np.abs(regression).sum(axis=1)) ** 2)) + slip
    eigenvalues = np.linalg.eigvalsh(symmetrise(conditional))
    if eigenvalues.min() <= 2.0 * moved:
        return np.inf, np.inf
    return moved / float(eigenvalues.min()), moved * float(np.sum(1.0 / eigenvalues))


def _forget(
    gain: np.ndarray, rows: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """What of Z = gain ξ a memory rows ξ + own ⊙ n forgets, and Z's regression on the memory.

    Columns beyond ξ belong to n. Directions of the memory below rounding carry nothing; returned
    are also the weakest that does and the number of directions left free.
    """
    slots, width = rows.shape
    if slots == 0:
        return gain, np.zeros((gain.shape[0], 0)), 1.0, width
    wide, target = rows, gain
    if np.any(own > 0.0):
        wide = np.concatenate([rows, np.diag(own)], axis=1)
        target = np.concatenate([gain, np.zeros((gain.shape[0], slots))], axis=1)
    length = np.linalg.norm(wide, axis=1)
    length = np.where(length > 0.0, length, 1.0)
    left, values, basis = np.linalg.svd(wide / length[:, None], full_matrices=False)
    kept = values > 64.0 * EPS * max(slots, width) * max(values.max(initial=0.0), 1e-300)
    left, values, basis = left[:, kept], values[kept], basis[kept]
    along = target @ basis.T
    residual = target - along @ basis
    residual = residual - (residual @ basis.T) @ basis
    weights = (along / values) @ left.T / length
    return residual, weights, float(values.min(initial=1.0)), target.shape[1] - values.size


def _singular(
    joint: np.ndarray, size: int, rows: np.ndarray, own: np.ndarray, floor: float
) -> CanonicalCorrelations:
    """By eigenvalues: directions whose variance is below rounding carry nothing.

    A direction of Z that the past determines and Y leaves uncertain has ratio infinity. There is no
    error bound: what is below rounding is unknown, and only its own size (`below`) is certain.
    """
    values, vectors = np.linalg.eigh(joint)
    if values.min(initial=0.0) < -floor * max(1.0, float(values.max(initial=0.0))):
        raise NotPositiveDefiniteError(
            "covariance",
            "positive semi-definite",
            f"smallest eigenvalue {values.min():.6g} (unit variances)",
        )
    values, vectors = np.linalg.eigh(joint[:size, :size])
    kept = values > floor
    root = vectors[:, kept] * np.sqrt(values[kept])
    inverse = (vectors[:, kept] / np.sqrt(values[kept])).T
    gain = joint[size:, :size] @ inverse.T
    residual, _, _, free = _forget(gain, rows @ root, own)
    variances, axes = np.linalg.eigh(symmetrise(joint[size:, size:] - gain @ gain.T))
    uncertain = variances > floor
    determined = axes[:, ~uncertain].T @ residual
    lost = np.linalg.svd(determined, compute_uv=False) ** 2
    infinite = int(np.sum(lost > floor))
    left = (axes[:, uncertain] / np.sqrt(variances[uncertain])).T @ residual
    first = np.linalg.svd(determined, full_matrices=False)[2][:infinite]
    _, finite, basis = np.linalg.svd(left - (left @ first.T) @ first, full_matrices=False)
    directions = np.concatenate([first, basis])[:free, : inverse.shape[0]] @ inverse
    ratios = np.concatenate([np.full(infinite, np.inf), finite**2])[:free]
    reason = None
    if infinite:
        reason = (
            f"the past determines {infinite} direction(s) of the output that what is seen leaves "
            f"uncertain (variance below rounding, {floor:.1g} of a pixel's)"
        )
    unknown = np.full(ratios.size, np.inf)
    # what is left of those directions is some variance of at most twice the floor
    below = np.zeros(ratios.size)
    carried = np.maximum(lost[:infinite] - floor, 0.0)[: ratios.size]
    below[: carried.size] = np.log1p(0.5 * carried / floor)
    return CanonicalCorrelations(ratios, unknown, np.inf, 0.0, directions, reason, below)


# --- R1: a memory of b numbers --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LinearMemoryFloor:
    """R1: what every linear memory of `size` numbers forgets, and the memory that forgets no more.

    `matrix` `(size, size of X)` is the optimal A (fewer rows if fewer directions matter), `None` if
    the correlations came without directions.
    """

    size: int
    floor: Enclosure
    matrix: np.ndarray | None

    @property
    def theorems(self) -> tuple[str, ...]:
        """Labels of the results used."""
        return self.floor.theorems


def linear_memory_floor(
    source: CanonicalCorrelations, size: int, *, unit: str = "nats"
) -> LinearMemoryFloor:
    r"""R1: the least that a linear memory of b numbers forgets.

    $$\min_{A \in R^{b \times n}} I(X; Z \mid Y, AX) = \tfrac12 \sum_{i > b} \ell_i,$$

    attained by the b canonical directions of largest $\rho_i$.

    Only for *linear* memories (or any Gaussian ones): for an arbitrary measurable map a dimension
    means nothing, since one real number can encode the whole past. What limits every memory is its
    information, R2.

    Arguments
    ---------
    source: from `canonical_correlations`, `canonical_correlations_of` or numbers.
    size: b ≥ 0 numbers. unit: "nats" or "bits".

    Returns a `LinearMemoryFloor` with the floor as an `Enclosure` and the optimal A.

    Source: THEORY, R1.

    >>> source = CanonicalCorrelations.of([0.9, 0.5])
    >>> print(round(float(linear_memory_floor(source, 1).floor), 4))  # -log(1 - .25) / 2
    0.1438
    """
    b = positive_integer("size", size, 0)
    floor = _enclose(source, source.losses[b:], ("R1", "M1"), unit)
    if not np.isfinite(floor.value):
        floor = replace(floor, reason=f"{source.reason}; {b} numbers do not hold them all")
    matrix = None if source.directions is None else source.directions[:b]
    return LinearMemoryFloor(b, floor, matrix)


# --- R2: a memory of c nats -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BudgetCurve:
    """R2 at several budgets: `lower` <= truth <= `upper`, arrays of the shape of `budgets`."""

    budgets: np.ndarray
    lower: np.ndarray
    value: np.ndarray
    upper: np.ndarray
    unit: str
    reason: str | None = None
    theorems: tuple[str, ...] = ("R2",)

    def __repr__(self) -> str:
        if not self.budgets.size:
            return f"BudgetCurve(0 budgets, {self.unit})"
        ends = f"{np.min(self.budgets):.4g}..{np.max(self.budgets):.4g}"
        return (
            f"BudgetCurve({self.budgets.size} budgets in {ends} {self.unit}: floor "
            f"{np.max(self.value):.6g} down to {np.min(self.value):.6g} {self.unit})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON; infinities as `null` beside their reason."""

        def plain(values: np.ndarray) -> list[float | None]:
            return [float(x) if np.isfinite(x) else None for x in np.ravel(values)]

        curves = {
            name: plain(getattr(self, name)) for name in ("budgets", "lower", "value", "upper")
        }
        return curves | {
            "unit": self.unit,
            "reason": self.reason,
            "theorems": list(self.theorems),
        }


@dataclass(frozen=True, eq=False)
class MemoryEncoder:
    r"""R2's optimal memory $m = A X + N(0, I)$ at one budget, and what it achieves.

    `matrix` A `(active directions, size of X)`; `information` $I(m; X|Y)$ is the budget spent,
    `bottleneck` $I(X; Z|Y, m)$ the floor it attains, both from A's own signal-to-noise ratios.
    """

    matrix: np.ndarray
    information: float
    bottleneck: float
    unit: str
    theorems: tuple[str, ...] = ("R2",)


@dataclass(frozen=True, eq=False, repr=False)
class MemoryBudget:
    r"""R2: what *any* memory of c nats must forget, the whole curve.

    $$I(m; X|Y) \le c \;\Rightarrow\; I(X;Z|Y,m) \ge MB^*(c) = \tfrac12 \sum_i \min(\theta, \ell_i),
    \qquad c = \tfrac12 \sum_{\ell_i > \theta} \log\frac{e^{\ell_i} - 1}{e^\theta - 1}.$$

    Reverse water-filling of $u_i = \log(e^{\ell_i}-1) = \log\tau_i^2$ down to the level v, with
    $\theta = \log(1+e^v)$: direction i gets $\tfrac12(u_i - v)^+$ nats and shows $\tau_i^2$ as
    $e^v$. Positive at every finite budget. It is the Gaussian information bottleneck of Chechik et
    al. with eigenvalues $\lambda_i = 1-\rho_i^2$; for memories that are not Gaussian it rests on
    Gaussian optimality (Globerson–Tishby). The memory is one that the law keeps: one that is drawn
    and integrated out can do better (R4, `stochastic_memory`).

    Arguments
    ---------
    source: `CanonicalCorrelations` (from a covariance, a video, or numbers: $1-\rho_i^2$ may be
        given directly).
    unit: "nats" or "bits", of budgets and of floors.

    Source: THEORY, R2; Chechik, Globerson, Tishby, Weiss, JMLR 6 (2005); Globerson, Tishby (2004).

    >>> budget = MemoryBudget(CanonicalCorrelations.of([0.9, 0.5]))
    >>> print(round(float(budget.floor(0.0)), 4), round(float(budget.floor(1.0)), 4))
    0.9742 0.3716
    >>> print(round(float(budget.budget_for(0.3716)), 3))
    1.0
    """

    source: CanonicalCorrelations
    unit: str = "nats"

    def __post_init__(self) -> None:
        if not isinstance(self.source, CanonicalCorrelations):
            raise ParameterError("source", "CanonicalCorrelations", type(self.source).__name__)
        check_unit(self.unit)

    @property
    def _logits(self) -> np.ndarray:
        """u_i of the directions that carry anything, descending."""
        return np.log(self.source.ratios[self.source.ratios > 0.0])

    @property
    def total(self) -> Enclosure:
        r"""$MB^*(0) = \tfrac12\sum\ell_i$: without a memory."""
        return self.source.information(self.unit, ("R2", "M1"))

    def break_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Budgets at which one more direction begins to be remembered, and the floors there.

        Two arrays, one entry a direction that carries more than its own rounding bound: the first
        is (0, `total`). Infinite correlations have no break points: they take every finite budget.
        """
        scale = UNITS[self.unit]
        source = self.source
        if np.any(np.isinf(source.ratios)):
            return np.zeros(0), np.zeros(0)
        u = np.log(source.ratios[source.losses > source.error_bound])
        before = np.concatenate([[0.0], np.cumsum(u)])[: u.size]
        count = np.arange(u.size)
        budgets = 0.5 * (before - count * u)
        losses = np.logaddexp(0.0, u)
        remaining = np.cumsum(losses[::-1])[::-1]
        floors = 0.5 * (count * losses + remaining)
        return scale * np.maximum.accumulate(budgets), scale * floors

    def water_level(self, budget: float) -> float:
        r"""$\theta$, nats: what of every remembered $\ell_i$ remains, at a budget in `unit`."""
        return float(np.logaddexp(0.0, self._level(self._budget(budget))))

    def _budget(self, value: Any) -> float:
        return _at_least_zero("budget", value) / UNITS[self.unit]

    def _level(self, budget: float) -> float:
        """v at a budget in nats: the largest at which the filling costs that much."""
        u = self._logits
        if budget == np.inf or u.size == 0:
            return -np.inf
        if np.isinf(u[0]):
            return np.inf
        count = np.arange(1, u.size + 1)
        levels = (np.cumsum(u) - 2.0 * budget) / count
        active = levels <= u  # direction k has something above the level with k of them filled
        # the right number of directions is the largest k whose own u is above its level
        k = int(np.flatnonzero(active)[-1]) if np.any(active) else 0
        return float(levels[k])

    def _shares(self, budget: float) -> tuple[np.ndarray, float]:
        r"""Nats for each direction, $\tfrac12(u_i-v)^+$ as $(c + \tfrac12\sum_j(u_i-u_j))/k$.

        Beside them what rounding may have moved one of them by. Finite budgets and correlations.
        """
        u = self._logits
        active = 0
        if budget > 0.0 and u.size:
            active = max(int(np.sum(u > self._level(budget))), 1)
        kept = u[:active]
        shares = np.zeros(u.size)
        gaps = 0.5 * np.sum(kept[:, None] - kept, axis=1)
        shares[:active] = np.maximum((budget + gaps) / max(active, 1), 0.0)
        # one direction takes all, and nothing is subtracted
        spread = float(kept[0] - kept[-1]) if active else 0.0
        doubt = 8.0 * EPS * (budget + spread) + 4.0 * EPS * float(np.max(np.abs(kept), initial=0.0))
        return shares, doubt if active > 1 else 8.0 * EPS * budget

    def floor(self, budget: float) -> Enclosure:
        r"""$MB^*(c)$: no memory of c (`unit`) forgets less.

        `budget` c ≥ 0, infinity allowed. Returns an `Enclosure`.
        """
        c = self._budget(budget)
        curve = self.curve([budget])
        low, value, high = (float(part[0]) for part in (curve.lower, curve.value, curve.upper))
        reason = curve.reason if c < np.inf else None
        return Enclosure(value, low, high, self.unit, ("R2",), reason=reason)

    def curve(self, budgets: Any) -> BudgetCurve:
        """`floor` at an array of budgets."""
        try:
            given = np.asarray(budgets, dtype=np.float64)
        except (TypeError, ValueError):
            raise ParameterError("budgets", "numbers of at least 0", budgets) from None
        rows = np.array([self._at(self._budget(c)) for c in given.ravel()]).reshape(-1, 3)
        low, value, high = (part.reshape(given.shape) * UNITS[self.unit] for part in rows.T)
        return BudgetCurve(given, low, value, high, self.unit, self.source.reason)

    def _at(self, budget: float) -> tuple[float, float, float]:
        """Lower, value, upper in nats.

        A move of u_i moves the level by 1/k of it, so that MB* moves by half the sigmoid of v times
        the move of u_i (remembered) or by half the move of l_i (not): dl = rho^2 du.
        """
        source = self.source
        if budget == np.inf:
            return 0.0, 0.0, 0.0
        u, v = self._logits, self._level(budget)
        if u.size == 0:
            high = np.inf if source.truncation is None else source.total_error + source.truncation
            return 0.0, 0.0, high
        if v == np.inf:
            return self._least(budget), np.inf, np.inf
        kept, error = u > v, source.error_bound[: u.size]
        losses = np.where(kept, np.logaddexp(0.0, v), source.losses[: u.size])
        value = 0.5 * float(np.sum(losses[::-1]))
        share = float(scipy.special.expit(v))
        # 1 where nothing is remembered: there log_expit(v) is the larger
        steep = scipy.special.log_expit(v) - scipy.special.log_expit(u)
        moved = np.exp(np.minimum(steep, 0.0))
        rounding = 8.0 * EPS * (np.sum(np.abs(u[kept])) + 2.0 * budget + 1.0) * share
        own = 0.5 * (float(np.sum(moved * error)) + rounding) + 4.0 * EPS * value
        # directions that rounding may have lost altogether
        own = min(own, source.total_error + 0.5 * rounding + 4.0 * EPS * value)
        missing = np.inf if source.truncation is None else source.truncation
        return max(value - own, 0.0), value, value + own + missing

    def _at_least(self) -> MemoryBudget | None:
        """The curve of what is certain of infinite correlations; `None` if they are exactly 1."""
        losses = np.sort(self.source._least())[::-1]
        if np.any(np.isinf(losses)):
            return None
        exact = np.zeros(losses.size)
        return MemoryBudget(CanonicalCorrelations(np.expm1(losses), exact, 0.0))

    def _least(self, budget: float) -> float:
        """What MB* is at least where correlations are infinite, nats."""
        certain = self._at_least()
        return np.inf if certain is None else certain._at(budget)[0]

    def _spend(self, target: float) -> tuple[float, float]:
        """Nats with which half the sum of min(θ, l_i) is `target` > 0, and their rounding."""
        u = self._logits
        losses = np.logaddexp(0.0, u)
        if target >= 0.5 * float(np.sum(losses[::-1])):
            return 0.0, 0.0
        after = np.append(np.cumsum(losses[::-1])[::-1], 0.0)[1:]  # what k remembered leave out
        count = np.arange(1, u.size + 1)
        theta = (2.0 * target - after) / count
        k = int(np.flatnonzero(theta <= losses)[-1])
        v = float(theta[k] + np.log(-np.expm1(-theta[k])))  # log(e^θ - 1)
        value = max(0.5 * float(np.sum(u[: k + 1] - v)), 0.0)
        # c moves by -dMB (1 + e^-v)
        rounding = 8.0 * EPS * (value + float(np.sum(np.abs(u[: k + 1]))) + 1.0)
        return value, rounding

    def budget_for(self, bottleneck: float) -> Enclosure:
        r"""The inverse: the least memory with which a bottleneck of `bottleneck` is possible.

        $c(MB) = \tfrac12 \sum_{\ell_i > \theta} (u_i - v)$ at the level where half the sum of
        $\min(\theta, \ell_i)$ is MB: "how many bits for a target". 0 at or above `total`,
        infinite at 0 (with its reason). The upper end is 0 only from `total.upper` on, and infinite
        where what older frames may add is not known to be below the target.
        """
        target = _at_least_zero("bottleneck", bottleneck) / UNITS[self.unit]
        total, u = self.source.information(), self._logits
        if target >= total.value:
            # what rounding or older frames may add takes nats too
            if target >= total.upper:
                return Enclosure(0.0, 0.0, 0.0, self.unit, ("R2",))
            if target == 0.0 or u.size == 0:
                return Enclosure(0.0, 0.0, np.inf, self.unit, ("R2",))
        if target == 0.0 or np.isinf(total.value):
            why = self.source.reason or "no finite memory forgets nothing of what it is told"
            certain = self._at_least() if np.isinf(total.value) and target > 0.0 else None
            least = np.inf if certain is None else certain.budget_for(target).lower
            if target == 0.0 and total.lower == 0.0:
                least = 0.0
            least = least * UNITS[self.unit]
            return Enclosure(np.inf, least, np.inf, self.unit, ("R2",), reason=why)
        if target < 1e-300:
            raise ParameterError("bottleneck", "0 or at least 1e-300 nats", bottleneck)
        value, rounding = self._spend(target)
        # MB* is known to what `_at` says
        low, middle, high = self._at(value)
        shift = abs(middle - target) if value > 0.0 else 0.0
        less, more = target - (high - middle) - shift, target + (middle - low) + shift
        lower = self._spend(more)[0] if np.isfinite(more) else 0.0
        upper, wide = self._spend(less) if less >= 1e-300 else (np.inf, 0.0)
        found = Enclosure(
            value,
            max(min(lower, value) - rounding, 0.0),
            max(upper, value) + rounding + wide,
            "nats",
            ("R2",),
        )
        return found.to(self.unit)

    def encoder(self, budget: float) -> MemoryEncoder:
        r"""The memory that attains the floor: $m_i = \sqrt{e^{u_i-v}-1}\;a_i'X + N(0,1)$.

        $a_i$ are the canonical directions; if the source came without them, A is in canonical
        coordinates (X taken as the unit-variance canonical variables given Y).

        Raises `RefusedError` at an infinite budget or for infinite correlations.
        """
        c = self._budget(budget)
        if c == np.inf or not np.all(np.isfinite(self.source.ratios)):
            raise RefusedError(
                "an encoder with independent noise exists for finite budgets and correlations "
                f"below 1 only (budget {budget}, {self.source.reason or 'correlations below 1'})"
            )
        u, v = self._logits, self._level(c)
        snr = np.expm1(u[u > v] - v)
        all_directions = self.source.directions
        if all_directions is None:
            all_directions = np.eye(self.source.ratios.size)
        matrix = np.sqrt(snr)[:, None] * all_directions[: snr.size]
        left = self.source.ratios.copy()
        left[: snr.size] = left[: snr.size] / (1.0 + snr)
        scale = UNITS[self.unit]
        return MemoryEncoder(
            matrix,
            0.5 * scale * float(np.sum(np.log1p(snr))),
            0.5 * scale * float(np.sum(np.log1p(left))),
            self.unit,
        )

    def __repr__(self) -> str:
        return (
            f"MemoryBudget({self.source.ratios.size} directions; floor {float(self.total):.6g} "
            f"{self.unit} without a memory, positive at every finite budget)"
        )


# --- R4: a memory that is integrated out ----------------------------------------------------------


def stochastic_memory(
    source: CanonicalCorrelations, budget: float, *, unit: str = "nats"
) -> Enclosure:
    r"""R4: a random memory of c nats that is *integrated out* can beat R2; by how much at least.

    The smallest $KL(P_{XZ} \| Q_{XZ})$ over Gaussian channels, $q_X = P_X$ and q jointly Gaussian,
    with $I_q(X;Z|Y) \le c$ (channel simulation: only what the memory leads to counts, not the
    memory). For one direction

    $$\tfrac12\left[-2\log u - \log(1-\rho^2) + u^2 - 2|\rho|\sqrt v\,u + v - 1\right],\quad
    v = \min(e^{2c}-1, \tfrac{\rho^2}{1-\rho^2}),\quad
    u = \tfrac12\left(|\rho|\sqrt v + \sqrt{\rho^2 v + 4}\right),$$

    0 from $c = I(X;Z|Y)$ on; for several, each at the budget that R2 gives it.

    An *upper* bound on the least KL that c nats allow, never above R2 and not tight: a jointly
    Gaussian q with another $q_X$ (.129 against .159 at ρ = .9, c = .399) and a mixture (.120) do
    better. The optimum is open, so `lower` is 0.

    Arguments: `source`, as for `MemoryBudget`; `budget` c ≥ 0 in `unit`; `unit`.

    Returns an `Enclosure` of the least KL: 0 ≤ least KL ≤ `value`.

    Source: THEORY, R4.

    >>> print(round(stochastic_memory(CanonicalCorrelations.of([0.9]), 0.399).value, 4))
    0.1595
    """
    allocation = MemoryBudget(source, unit)
    c = allocation._budget(budget)
    if c == np.inf:
        return Enclosure(0.0, 0.0, 0.0, unit, ("R4",))
    if np.any(np.isinf(source.ratios)):
        return Enclosure(np.inf, 0.0, np.inf, unit, ("R4",), reason=source.reason)
    ratios = np.exp(allocation._logits)
    shares, doubt = allocation._shares(c)
    value = sum(map(_channel, ratios, shares))
    missing = np.inf if source.truncation is None else source.truncation
    error = source.total_error + 32.0 * EPS * float(np.sum(1.0 + source.losses)) + missing
    # a direction's first nats count without limit: its share's own rounding is carried through
    error += sum(map(_channel, ratios, np.maximum(shares - doubt, 0.0))) - value
    return Enclosure(value, 0.0, value + error, "nats", ("R4",)).to(unit)


def _channel(ratio: float, budget: float) -> float:
    """R4's formula for one direction, nats, with its terms of order one taken out.

    y = u² - 1 solves y² = rho² v (1 + y), and is `ratio` where the budget no longer binds.
    """
    v = min(np.expm1(min(2.0 * budget, 700.0)), ratio)
    squared = ratio / (1.0 + ratio)
    y = 0.5 * (squared * v + np.hypot(squared * v, 2.0 * np.sqrt(squared * v)))
    short = max(ratio - y, 0.0) if v < ratio else 0.0
    if short == 0.0:
        return 0.0
    # log((1 + ratio) / (1 + y)), by whichever form keeps its digits
    far = 2.0 * short > 1.0 + ratio
    log_part = np.log1p(ratio) - np.log1p(y) if far else -np.log1p(-short / (1.0 + ratio))
    return float(0.5 * (log_part - (short / ratio) * (y / (1.0 + y))))
