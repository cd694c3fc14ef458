r"""Conditional information of Gaussian vectors, and what a limited memory must forget (R1, R2, R4).

$\rho_i$ are the canonical correlations of X (past) and Z (output) given Y (what is seen anyway),

$$\ell_i = -\log(1-\rho_i^2), \qquad I(X;Z|Y) = \tfrac12 \sum_i \ell_i .$$

They are held as $\tau_i^2 = \rho_i^2/(1-\rho_i^2)$, the signal-to-noise ratio with which X shows
in Z: $\ell_i = \log(1+\tau_i^2)$ and $1-\rho_i^2 = 1/(1+\tau_i^2)$ keep their digits at both ends.

Covariances, correlations and budgets may have leading axes, which broadcast, and may be torch
tensors: values are then differentiable, their rounding bounds are constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from array_api_compat import array_namespace

from arvdm_theory._arrays import (
    NUMPY,
    Array,
    common_shape,
    floating,
    is_tensor,
    numpy_of,
    plain,
    refuse_tensors,
    require,
    solve_lower,
)
from arvdm_theory._gaussian import EPS, symmetrise, transpose
from arvdm_theory.checks import positive_integer
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
    ratios: `(..., n)`, $\tau_i^2 = \rho_i^2/(1-\rho_i^2)$; infinite where `reason` says so.
    error_bound: first-order bound on the rounding error of each $\ell_i$, nats.
    total_error: the same for half of any sum of different $\ell_i$, `(...)`.
    truncation: what a longer past may add to $\tfrac12\sum\ell_i$, nats; `None` if not known.
    directions: `(..., n, size of X)` or `None`; row i is the map of X whose correlation (given Y)
        with Z is $\rho_i$, with variance 1 given Y.
    reason: why a ratio is infinite, else `None`.
    below: `(..., n)` or one number, what an $\ell_i$ whose ratio is infinite is at least, nats:
        infinity where $\rho_i = 1$ is exact, less where $1-\rho_i^2$ is only known to be below
        rounding.
    """

    ratios: Any
    error_bound: np.ndarray
    total_error: Any
    truncation: float | None = 0.0
    directions: Any = None
    reason: str | None = None
    below: Any = np.inf

    @staticmethod
    def of(
        correlations: Any = None, *, complement: Any = None, reason: str | None = None
    ) -> CanonicalCorrelations:
        r"""From numbers: `correlations` $\rho_i$ in [-1, 1] or `complement` $1-\rho_i^2$ in [0, 1].

        One number or `(..., n)`, arrays or tensors; each row is sorted.

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
        xp, (given,) = floating(**{name: correlations if complement is None else complement})
        given = given[None] if given.ndim == 0 else given
        if given.shape[-1] == 0:
            shape = f"shape {tuple(given.shape)}"
            raise ParameterError(name, "one number or a list of numbers", shape)
        if complement is None:
            size = xp.abs(given)
            require(name, "in [-1, 1]", given, size <= 1.0)
            rest, explained = (1.0 - size) * (1.0 + size), size**2
        else:
            require(name, "in [0, 1]", given, (given >= 0.0) & (given <= 1.0))
            require(name, "0 or at least 1e-300", given, (given == 0.0) | (given >= 1e-300))
            rest, explained = given, 1.0 - given
        positive = rest > 0.0
        ratios = xp.where(positive, explained / xp.where(positive, rest, 1.0), xp.inf)
        ratios = xp.sort(ratios, axis=-1, descending=True)
        # a ratio good to a few roundings moves log(1 + ratio) by no more than that
        bare = numpy_of(ratios)
        error = np.where(np.isfinite(bare), 8.0 * EPS * (1.0 + np.log1p(bare)), 0.0)
        if reason is None and not bool(xp.all(positive)):
            reason = "a correlation of 1: the past determines a direction of the output"
        return CanonicalCorrelations(ratios, error, plain(0.5 * error.sum(-1)), reason=reason)

    @property
    def correlations(self) -> Any:
        r"""$\rho_i$, `(..., n)`."""
        xp = array_namespace(self.ratios)
        finite = xp.isfinite(self.ratios)
        safe = xp.where(finite, self.ratios, 1.0)
        return xp.sqrt(xp.where(finite, safe / (1.0 + safe), 1.0))

    @property
    def complement(self) -> Any:
        r"""$1-\rho_i^2$, `(..., n)`, to full relative precision."""
        return 1.0 / (1.0 + self.ratios)

    @property
    def losses(self) -> Any:
        r"""$\ell_i = -\log(1-\rho_i^2)$, `(..., n)`, nats: twice what forgetting i costs."""
        return array_namespace(self.ratios).log1p(self.ratios)

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes; `()` for one world."""
        return tuple(self.ratios.shape[:-1])

    def _with_axes(self, count: int) -> CanonicalCorrelations:
        """`count` axes of one behind the leading ones."""
        ones = (1,) * count
        below = np.broadcast_to(self.below, tuple(self.ratios.shape))
        many = (self.ratios, self.error_bound, below)
        ratios, error, below = (x.reshape(*self.shape, *ones, x.shape[-1]) for x in many)
        total = np.reshape(self.total_error, (*self.shape, *ones))
        return replace(
            self, ratios=ratios, error_bound=error, total_error=total, directions=None, below=below
        )

    def _bare(self) -> CanonicalCorrelations:
        """The same without a graph."""
        return replace(self, ratios=numpy_of(self.ratios))

    def _least(self) -> np.ndarray:
        """What each of the losses is at least where some are infinite, nats; 0 for the others."""
        return np.where(np.isinf(numpy_of(self.ratios)), self.below, 0.0)

    def information(self, unit: str = "nats", theorems: tuple[str, ...] = ("M1",)) -> Enclosure:
        r"""$I(X;Z|Y) = \tfrac12\sum_i \ell_i$, `(...)`."""
        return _enclose(self, 0, theorems, unit)

    def __repr__(self) -> str:
        if self.shape:
            size = " × ".join(map(str, self.shape))
            return f"CanonicalCorrelations({size} worlds of {self.ratios.shape[-1]})"
        shown = ", ".join(f"{float(value):.6g}" for value in self.correlations[:6])
        more = ", ..." if self.ratios.shape[-1] > 6 else ""
        return f"CanonicalCorrelations([{shown}{more}]; I = {float(self.information()):.6g} nats)"


def _enclose(
    source: CanonicalCorrelations, start: int, theorems: tuple[str, ...], unit: str
) -> Enclosure:
    """Half the sum of l_i from `start` on: rounding on both sides, a longer past above."""
    check_unit(unit)
    bare = source._bare()
    terms = bare.losses[..., start:]
    value = 0.5 * np.sum(np.sort(terms, axis=-1), axis=-1)
    infinite = ~np.isfinite(value)
    least = np.sort(source._least()[..., start:], axis=-1)
    error = np.zeros(value.shape)
    if terms.shape[-1]:
        error = 0.5 * terms.shape[-1] * source.error_bound.max(axis=-1)
        error = np.minimum(error, source.total_error)
    missing = np.inf if source.truncation is None else source.truncation
    safe = np.where(infinite, 0.0, value)
    lower = np.where(infinite, 0.5 * np.sum(least, axis=-1), np.maximum(safe - error, 0.0))
    upper = np.where(infinite, np.inf, safe + error + missing)
    reason = source.reason if np.any(infinite) else None
    found = _enclosed(value, lower, upper, theorems, reason)
    if is_tensor(source.ratios):
        terms = source.losses[..., start:]
        xp = array_namespace(terms)
        found = _around_tensor(0.5 * xp.sum(xp.sort(terms, axis=-1), axis=-1), found)
    return found.to(unit)


def _enclosed(
    value: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    theorems: tuple[str, ...],
    reason: str | None = None,
) -> Enclosure:
    """Nats; floats of one world."""
    value, lower, upper = (plain(np.asarray(end)) for end in (value, lower, upper))
    return Enclosure(value, lower, upper, theorems=theorems, reason=reason)


def _around_tensor(value: Array, found: Enclosure) -> Enclosure:
    """The tensor `value` between the ends of the same number without its graph."""
    xp = array_namespace(value)
    device = value.device
    lower, upper = (
        xp.asarray(numpy_of(end), dtype=value.dtype, device=device)
        for end in (found.lower, found.upper)
    )
    here = value.detach()  # a last digit may differ between libraries
    lower, upper = xp.where(lower > here, here, lower), xp.where(upper < here, here, upper)
    return replace(found, value=value, lower=lower, upper=upper)


def _at_least_zero(parameter: str, value: Any) -> tuple[Any, Array]:
    """`(xp, numbers)` of at least 0, infinity allowed."""
    xp, (number,) = floating(infinite=(parameter,), constraint="at least 0", **{parameter: value})
    require(parameter, "at least 0", number, number >= 0.0)
    return xp, number


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
    covariance: of everything, `(..., N, N)`, positive semi-definite; a tensor must be definite.
    x, z, given: coordinates (0..N-1) of X, Z and Y, all different; Y may be empty.

    Returns
    -------
    `CanonicalCorrelations` `(..., n)` with `directions` in the coordinates `x` (in their order). A
    direction of Z that X and Y determine and Y leaves uncertain has ratio infinity, with the
    reason.

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
    xp, matrix = joint_covariance(covariance)
    x, z, given = disjoint(matrix.shape[-1], x=x, z=z, given=given)
    joint = select(xp, matrix, [*given, *x, *z])
    return _of_joint(xp, joint, len(given), len(x))


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

    Returns an `Enclosure` `(...)`; infinite, with the reason, if X determines a direction of Z that
    Y leaves uncertain.

    >>> print(conditional_information([[1.0, 0.6], [0.6, 1.0]], [0], [1]))
    0.223144 nats in [0.223144, 0.223144] (M1)
    >>> many = np.array([[[1.0, c], [c, 1.0]] for c in (0.0, 0.6)])
    >>> conditional_information(many, [0], [1]).value.round(6).tolist()
    [0.0, 0.223144]
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
    matrix: A, `(..., b, size of X)`; leading axes broadcast with those of `covariance`.
    noise: standard deviations of the memory's independent noise, one number or `(..., b)`; `None`:
        the memory is exact.
    unit: "nats" or "bits".

    >>> joint = [[1.0, 0.6], [0.6, 1.0]]
    >>> float(information_given_memory(joint, [0], [1], [[2.0]]))  # X itself
    0.0
    >>> print(round(float(information_given_memory(joint, [0], [1], [[2.0]], noise=1.0)), 4))
    0.0533
    """
    xp, joint, weights, spread = _joint_and_memory(covariance, matrix, noise)
    x, z, given = disjoint(joint.shape[-1], x=x, z=z, given=given)
    if weights.ndim < 2 or weights.shape[-1] != len(x):
        raise ParameterError(
            "matrix", f"of shape (..., b, {len(x)})", f"shape {tuple(weights.shape)}"
        )
    if spread is not None:
        require("noise", "at least 0", spread, spread >= 0.0)
        spread = _broadcast_noise(xp, spread, weights.shape[-2])
    joint = select(xp, joint, [*given, *x, *z])
    return _of_joint(xp, joint, len(given), len(x), weights, spread).information(unit)


def _joint_and_memory(covariance: Any, matrix: Any, noise: Any) -> tuple[Any, Array, Array, Array]:
    """In one namespace; the noise is `None` if there is none."""
    named = {"covariance": covariance, "matrix": matrix}
    if noise is not None:
        named["noise"] = noise
    xp, arrays = floating(**named)
    _, joint = joint_covariance(arrays[0])
    return xp, joint, arrays[1], arrays[2] if noise is not None else None


def _broadcast_noise(xp: Any, spread: Array, slots: int) -> Array:
    shape = tuple(spread.shape)
    if shape and shape[-1] not in (1, slots):
        raise ParameterError("noise", f"one number or of shape (..., {slots})", f"shape {shape}")
    return spread + xp.zeros(slots, dtype=spread.dtype, device=spread.device)


def joint_covariance(value: Any) -> tuple[Any, Array]:
    """`(xp, covariances)`, `(..., N, N)`."""
    xp, (matrix,) = floating(covariance=value)
    if matrix.ndim < 2 or matrix.shape[-2] != matrix.shape[-1]:
        raise ParameterError(
            "covariance", "a square matrix, or (..., N, N)", f"shape {tuple(matrix.shape)}"
        )
    bare = numpy_of(matrix)
    skew = np.abs(bare - bare.swapaxes(-1, -2)).max(axis=(-2, -1), initial=0.0)
    if np.any(skew > 1e-10 * np.abs(bare).max(axis=(-2, -1), initial=0.0)):
        raise NotPositiveDefiniteError("covariance", "symmetric", "a matrix that is not")
    return xp, symmetrise(matrix)


def select(
    xp: Any, matrix: Array, rows: Sequence[int], columns: Sequence[int] | None = None
) -> Array:
    """Rows and columns (the same unless given) of `(..., N, N)`."""
    for axis, index in ((-2, rows), (-1, rows if columns is None else columns)):
        chosen = xp.asarray(np.asarray(index, dtype=np.int64), device=matrix.device)
        matrix = xp.take(matrix, chosen, axis=axis)
    return matrix


def _of_joint(
    xp: Any,
    joint: Array,
    seen: int,
    size: int,
    weights: Array | None = None,
    noise: Array | None = None,
) -> CanonicalCorrelations:
    r"""X and Z given Y and $m = AX + n \odot N(0, I)$, all positive definite, `(..., N, N)`.

    Arguments: covariance of Y (the first `seen`), X (`size`) and Z; A `(..., b, size)` and n
    `(..., b)`. With the Cholesky factor of all, Y fixes the first `seen` of the independent
    coordinates, and m the row space of $[A L_{XX}, n]$ in the next ones; `given_memory` says why
    and how exact. Elements that are singular to rounding go there one by one.
    """
    kept = seen + size
    batch = tuple(joint.shape[:-2])
    if weights is not None:
        parts = {"covariance": joint, "matrix": weights}
        if noise is not None:
            parts["noise"] = noise
        batch = common_shape({"covariance": 2, "matrix": 2, "noise": 1}, **parts)
        joint = xp.broadcast_to(joint, (*batch, *joint.shape[-2:]))
        weights = xp.broadcast_to(weights, (*batch, *weights.shape[-2:]))
        if noise is not None:
            noise = xp.broadcast_to(noise, (*batch, weights.shape[-2]))
    variance = xp.linalg.diagonal(joint)
    moving = xp.all(variance > 0.0, axis=-1)
    scale = xp.sqrt(xp.where(variance > 0.0, variance, 1.0))
    unit = joint / scale[..., :, None] / scale[..., None, :]
    factor, regular = _factors(xp, unit, numpy_of(moving))
    root, noisy = factor[..., seen:kept, seen:kept], factor[..., kept:, kept:]
    gain, known = factor[..., kept:, seen:kept], factor[..., kept:, :seen]
    residual, along, free, weakest = gain, xp.zeros_like(gain), size, None
    if weights is not None and weights.shape[-2]:
        rows = (weights * scale[..., None, seen:kept]) @ root
        if noise is not None and bool(xp.any(noise > 0.0)):
            one = xp.eye(weights.shape[-2], dtype=rows.dtype, device=rows.device)
            rows = xp.concat([rows, noise[..., :, None] * one], axis=-1)
        elif weights.shape[-2] > size:
            regular = np.zeros(batch, dtype=bool)
        else:
            free = size - weights.shape[-2]
        if regular.any() or not regular.size:
            residual, along, weakest, spans = _project(xp, gain, rows, regular)
            regular = regular & spans
    if not regular.all() and xp is not NUMPY:
        raise NotPositiveDefiniteError(
            "covariance, matrix" if weights is not None else "covariance",
            "positive definite and of full rank where it is a tensor (singular ones: NumPy arrays)",
            f"{int(np.sum(~regular))} singular to rounding",
        )
    left = solve_lower(noisy, residual)
    _, values, basis = xp.linalg.svd(left, full_matrices=False)
    count = min(joint.shape[-1] - kept, free)
    values, basis = values[..., :count], basis[..., :count, :size]
    directions = basis
    if size:
        directions = transpose(xp.linalg.solve(transpose(root), transpose(basis)))
    directions = directions / scale[..., None, seen:kept]
    bare = [numpy_of(part) for part in (factor, gain, known, along, residual, values)]
    each, total = _rounding(bare[0], bare[1], bare[2], bare[3], bare[4], bare[5], weakest)
    ratios = values**2
    if not regular.all():
        return _with_singular(
            joint, seen, size, weights, noise, regular, (ratios, each, total, directions)
        )
    return CanonicalCorrelations(ratios, each, plain(total), 0.0, directions)


def _factors(xp: Any, unit: Array, moving: np.ndarray) -> tuple[Array, np.ndarray]:
    """Cholesky factors, and where they exist; elsewhere the identity."""
    size = unit.shape[-1]
    identity = xp.eye(size, dtype=unit.dtype, device=unit.device)
    if xp is not NUMPY:
        factor, failed = xp.linalg.cholesky_ex(unit)
        regular = moving & (numpy_of(failed) == 0)
    else:
        try:
            factor, regular = np.linalg.cholesky(unit), moving
        except np.linalg.LinAlgError:
            factor, regular = np.empty_like(unit), moving.copy()
            for index in np.ndindex(unit.shape[:-2]):
                try:
                    factor[index] = np.linalg.cholesky(unit[index])
                except np.linalg.LinAlgError:
                    factor[index], regular[index] = identity, False
    smallest = numpy_of(xp.linalg.diagonal(factor)).min(axis=-1, initial=1.0)
    regular = regular & (smallest**2 > 64.0 * EPS * size)
    if not regular.all() and xp is NUMPY:
        factor = np.where(regular[..., None, None], factor, identity)
    return factor, np.asarray(regular)


def _project(
    xp: Any, gain: Array, rows: Array, regular: np.ndarray
) -> tuple[Array, Array, np.ndarray, np.ndarray]:
    """The gain outside and inside the rows' span, their weakest direction, where of full rank."""
    length = xp.sqrt(xp.sum(rows * rows, axis=-1))
    rows = rows / xp.where(length > 0.0, length, 1.0)[..., None]
    slots, width = rows.shape[-2:]
    spread = np.linalg.svd(numpy_of(rows), compute_uv=False)
    strongest = np.maximum(spread.max(axis=-1, initial=0.0), 1e-300)
    spans = spread.min(axis=-1, initial=1.0) > 64.0 * EPS * max(slots, width) * strongest
    spans = spans & (slots <= width)
    extra = width - gain.shape[-1]
    target = gain
    if extra:
        blank = xp.zeros((*gain.shape[:-1], extra), dtype=gain.dtype, device=gain.device)
        target = xp.concat([gain, blank], axis=-1)
    basis, _ = xp.linalg.qr(transpose(rows))
    along = (target @ basis) @ transpose(basis)
    residual = target - along
    residual = residual - (residual @ basis) @ transpose(basis)
    return residual, along[..., : gain.shape[-1]], spread.min(axis=-1, initial=1.0), spans


def _rounding(
    factor: np.ndarray,
    gain: np.ndarray,
    known: np.ndarray,
    along: np.ndarray,
    residual: np.ndarray,
    values: np.ndarray,
    weakest: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on each l_i and on half of their sum, as for `given_memory`."""
    size, kept = factor.shape[-1], known.shape[-1] + gain.shape[-1]
    relative = (size + 16) * EPS
    root, noisy = factor[..., :kept, :kept], factor[..., kept:, kept:]
    maps = np.concatenate([known, gain], axis=-1), np.concatenate([known, along], axis=-1)
    knowing, seeing = (
        np.linalg.solve(root.swapaxes(-1, -2), each.swapaxes(-1, -2)).swapaxes(-1, -2)
        for each in maps
    )
    given_past = noisy @ noisy.swapaxes(-1, -2)
    given_seen = given_past + residual @ residual.swapaxes(-1, -2)
    slip = np.zeros(gain.shape[:-2])
    if weakest is not None:
        tilt = 8.0 * EPS * 2.0 * size / np.maximum(weakest, EPS)
        moved = tilt * np.linalg.norm(gain, axis=(-2, -1))
        slip = 2.0 * moved * np.linalg.norm(residual, axis=(-2, -1)) + moved**2
    one, all_one = _log_errors(given_past, knowing, relative, np.zeros(slip.shape))
    other, all_other = _log_errors(given_seen, seeing, relative, slip)
    ratios = values**2
    largest = values.max(axis=-1, initial=0.0)[..., None]
    steep = 2.0 * values / (1.0 + ratios) * 8.0 * EPS * size * largest
    own = steep + 4.0 * EPS * np.log1p(ratios)
    each = (one + other)[..., None] + own
    return each, 0.5 * (all_one + all_other + own.sum(axis=-1))


def _log_errors(
    conditional: np.ndarray, regression: np.ndarray, relative: float, slip: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`_log_error` of many."""
    reach = (1.0 + np.abs(regression).sum(axis=-1)) ** 2
    moved = relative * reach.sum(axis=-1) + slip
    eigenvalues = np.linalg.eigvalsh(symmetrise(conditional))
    lost = eigenvalues[..., 0] <= 2.0 * moved
    safe = np.where(lost[..., None], 1.0, eigenvalues)
    one = np.where(lost, np.inf, moved / safe[..., 0])
    return one, np.where(lost, np.inf, moved * np.sum(1.0 / safe, axis=-1))


def _with_singular(
    joint: np.ndarray,
    seen: int,
    size: int,
    weights: np.ndarray | None,
    noise: np.ndarray | None,
    regular: np.ndarray,
    found: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> CanonicalCorrelations:
    """The regular elements `found`, and the others one by one."""
    slots = 0 if weights is None else weights.shape[-2]
    rows, own = np.zeros((seen + slots, seen + size)), np.zeros(seen + slots)
    rows[:seen, :seen] = np.eye(seen)
    alone: dict[tuple[int, ...], CanonicalCorrelations] = {}
    for index in zip(*np.nonzero(~np.atleast_1d(regular)), strict=True):
        index = index if regular.ndim else ()
        if weights is not None:
            rows[seen:, seen:] = weights[index]
        if noise is not None:
            own[seen:] = noise[index]
        one = given_memory(joint[index], seen + size, rows, own if noise is not None else None)
        assert one.directions is not None
        alone[index] = replace(one, directions=one.directions[:, seen:])
    if not regular.ndim:
        return alone[()]
    count = max([found[0].shape[-1], *(one.ratios.size for one in alone.values())])

    def padded(array: np.ndarray, axis: int, fill: float = 0.0) -> np.ndarray:
        missing = count - array.shape[axis]
        width = [(0, 0)] * array.ndim
        width[axis] = (0, missing)
        return np.pad(array, width, constant_values=fill)

    ratios, each, total = padded(found[0], -1), padded(found[1], -1), np.array(found[2])
    directions = padded(found[3], -2)
    below = np.where(np.isinf(ratios), np.inf, 0.0)
    for index, one in alone.items():
        ratios[index], each[index] = padded(one.ratios, -1), padded(one.error_bound, -1)
        total[index], directions[index] = one.total_error, padded(one.directions, -2)
        below[index] = padded(np.broadcast_to(one.below, one.ratios.shape), -1)
    reason = next((one.reason for one in alone.values() if one.reason), None)
    return CanonicalCorrelations(ratios, each, total, 0.0, directions, reason, below)


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
    matrix: Any

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
    floor = _enclose(source, b, ("R1", "M1"), unit)
    if floor.reason is not None or not np.all(np.isfinite(numpy_of(floor.value))):
        floor = replace(floor, reason=f"{source.reason}; {b} numbers do not hold them all")
    matrix = None if source.directions is None else source.directions[..., :b, :]
    return LinearMemoryFloor(b, floor, matrix)


# --- R2: a memory of c nats -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BudgetCurve:
    """R2 at several budgets: `lower` <= truth <= `upper`.

    Arrays of the shape of `budgets`, after the leading axes of many worlds.
    """

    budgets: np.ndarray
    lower: Any
    value: Any
    upper: Any
    unit: str
    reason: str | None = None
    theorems: tuple[str, ...] = ("R2",)

    def __repr__(self) -> str:
        if not self.budgets.size:
            return f"BudgetCurve(0 budgets, {self.unit})"
        ends = f"{np.min(self.budgets):.4g}..{np.max(self.budgets):.4g}"
        value = numpy_of(self.value)
        worlds = value.size // self.budgets.size
        many = "" if value.ndim == self.budgets.ndim else f"{worlds} worlds, "
        return (
            f"BudgetCurve({many}{self.budgets.size} budgets in {ends} {self.unit}: floor "
            f"{np.max(value, initial=0.0):.6g} down to {np.min(value, initial=np.inf):.6g} "
            f"{self.unit})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON; infinities as `null` beside their reason."""

        def plain(values: Any) -> list[float | None]:
            return [float(x) if np.isfinite(x) else None for x in numpy_of(values).ravel()]

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
        given directly), of one world or of many, NumPy or torch.
    unit: "nats" or "bits", of budgets and of floors.

    `floor`, `curve`, `water_level` and `budget_for` broadcast; break points and encoders, whose
    number depends on the world, are those of one world.

    Source: THEORY, R2; Chechik, Globerson, Tishby, Weiss, JMLR 6 (2005); Globerson, Tishby (2004).

    >>> budget = MemoryBudget(CanonicalCorrelations.of([0.9, 0.5]))
    >>> print(round(float(budget.floor(0.0)), 4), round(float(budget.floor(1.0)), 4))
    0.9742 0.3716
    >>> print(round(float(budget.budget_for(0.3716)), 3))
    1.0
    >>> worlds = CanonicalCorrelations.of([[0.9, 0.5], [0.6, 0.0]])
    >>> MemoryBudget(worlds).floor([[0.0], [1.0]]).value.round(4).tolist()
    [[0.9742, 0.2231], [0.3716, 0.0367]]
    """

    source: CanonicalCorrelations
    unit: str = "nats"

    def __post_init__(self) -> None:
        if not isinstance(self.source, CanonicalCorrelations):
            raise ParameterError("source", "CanonicalCorrelations", type(self.source).__name__)
        check_unit(self.unit)

    @property
    def total(self) -> Enclosure:
        r"""$MB^*(0) = \tfrac12\sum\ell_i$: without a memory."""
        return self.source.information(self.unit, ("R2", "M1"))

    def _one_world(self) -> np.ndarray:
        """u_i of the directions that carry anything, descending."""
        refuse_tensors(source=self.source.ratios)
        if self.source.shape:
            raise ParameterError("source", "of one world", f"leading axes {self.source.shape}")
        return np.log(self.source.ratios[self.source.ratios > 0.0])

    def break_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Budgets at which one more direction begins to be remembered, and the floors there.

        Two arrays, one entry a direction that carries more than its own rounding bound: the first
        is (0, `total`). Infinite correlations have no break points: they take every finite budget.
        """
        self._one_world()
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

    def water_level(self, budget: Any) -> Any:
        r"""$\theta$, nats: what of every remembered $\ell_i$ remains, at a budget in `unit`."""
        xp, ratios, c = self._with("budget", budget)
        return plain(_softplus(xp, _level(xp, ratios, c)))

    def _with(self, parameter: str, value: Any) -> tuple[Any, Array, Array]:
        """`(xp, ratios, nats)` in one namespace."""
        _, checked = _at_least_zero(parameter, value)
        _, (ratios, number) = floating(
            infinite=("source", parameter), **{"source": self.source.ratios, parameter: checked}
        )
        common_shape({"source": 1}, **{"source": ratios, parameter: number})
        return array_namespace(ratios), ratios, number / UNITS[self.unit]

    def floor(self, budget: Any) -> Enclosure:
        r"""$MB^*(c)$: no memory of c (`unit`) forgets less.

        `budget` c ≥ 0, infinity allowed; an array or tensor broadcasts with the leading axes of the
        source. Returns an `Enclosure`.
        """
        xp, ratios, c = self._with("budget", budget)
        low, value, high = _floors(self.source._bare(), numpy_of(c))
        infinite = np.isinf(value)
        reason = self.source.reason if np.any(infinite) else None
        found = _enclosed(value, low, high, ("R2",), reason)
        if xp is not NUMPY:
            found = _around_tensor(_floor_value(xp, ratios, c), found)
        return found.to(self.unit)

    def curve(self, budgets: Any) -> BudgetCurve:
        """`floor` of every world at each of an array of budgets."""
        given = numpy_of(_at_least_zero("budgets", budgets)[1])
        found = replace(self, source=self.source._with_axes(given.ndim)).floor(budgets)
        low, value, high = (
            end if is_tensor(end) else np.asarray(end)
            for end in (found.lower, found.value, found.upper)
        )
        return BudgetCurve(given, low, value, high, self.unit, self.source.reason)

    def budget_for(self, bottleneck: Any) -> Enclosure:
        r"""The inverse: the least memory with which a bottleneck of `bottleneck` is possible.

        $c(MB) = \tfrac12 \sum_{\ell_i > \theta} (u_i - v)$ at the level where half the sum of
        $\min(\theta, \ell_i)$ is MB: "how many bits for a target". 0 at or above `total`,
        infinite at 0 (with its reason). The upper end is 0 only from `total.upper` on, and infinite
        where what older frames may add is not known to be below the target. Broadcasts as `floor`.
        """
        xp, ratios, target = self._with("bottleneck", bottleneck)
        bare = numpy_of(target)
        value, low, high = _budgets(self.source._bare(), bare)
        require(
            "bottleneck",
            "0 or at least 1e-300 nats",
            np.broadcast_to(bare, value.shape),
            (bare == 0.0) | (bare >= 1e-300) | (value == 0.0),
        )
        reason = None
        if np.any(np.isinf(value)):
            reason = self.source.reason or "no finite memory forgets nothing of what it is told"
        found = _enclosed(value, low, high, ("R2",), reason)
        if xp is not NUMPY:
            infinite = xp.asarray(np.isinf(value), device=ratios.device)
            inner = _spend(xp, ratios, xp.where(infinite, 1.0, target))[0]
            found = _around_tensor(xp.where(infinite, xp.inf, inner), found)
        return found.to(self.unit)

    def encoder(self, budget: float) -> MemoryEncoder:
        r"""The memory that attains the floor: $m_i = \sqrt{e^{u_i-v}-1}\;a_i'X + N(0,1)$.

        $a_i$ are the canonical directions; if the source came without them, A is in canonical
        coordinates (X taken as the unit-variance canonical variables given Y).

        Raises `RefusedError` at an infinite budget or for infinite correlations.
        """
        u = self._one_world()
        refuse_tensors(budget=budget)
        _, number = _at_least_zero("budget", budget)
        if number.ndim:
            raise ParameterError("budget", "one number", budget)
        c = float(number) / UNITS[self.unit]
        if c == np.inf or not np.all(np.isfinite(self.source.ratios)):
            raise RefusedError(
                "an encoder with independent noise exists for finite budgets and correlations "
                f"below 1 only (budget {budget}, {self.source.reason or 'correlations below 1'})"
            )
        v = float(_level(NUMPY, self.source.ratios, np.asarray(c)))
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
        if self.source.shape:
            size = " × ".join(map(str, self.source.shape))
            return f"MemoryBudget({size} worlds of {self.source.ratios.shape[-1]} directions)"
        return (
            f"MemoryBudget({self.source.ratios.shape[-1]} directions; floor "
            f"{float(self.total):.6g} {self.unit} without a memory, positive at every finite "
            "budget)"
        )


# --- R2's numbers, nats ---------------------------------------------------------------------------


def _softplus(xp: Any, v: Array) -> Array:
    """log(1 + e^v), for infinite v too."""
    finite = xp.isfinite(v)
    safe = xp.where(finite, v, 0.0)
    value = xp.where(safe > 0.0, safe, 0.0) + xp.log1p(xp.exp(-xp.abs(safe)))
    return xp.where(finite, value, xp.where(v > 0.0, xp.inf, 0.0))


def _logits(xp: Any, ratios: Array) -> tuple[Array, Array]:
    """u_i (0 where nothing or infinitely much is carried), and where anything is carried."""
    carries = ratios > 0.0
    return xp.log(xp.where(carries & xp.isfinite(ratios), ratios, 1.0)), carries


def _count(xp: Any, u: Array) -> Array:
    return xp.arange(1, u.shape[-1] + 1, dtype=u.dtype, device=u.device)


def _chosen(xp: Any, levels: Array, holds: Array) -> tuple[Array, Array]:
    """The level at the last direction that `holds` (the first if none does), and its place."""
    count = _count(xp, levels)
    if not levels.shape[-1]:
        return xp.sum(levels, axis=-1), xp.sum(levels, axis=-1)
    place = xp.max(xp.where(holds, count, 1.0), axis=-1)
    here = count == place[..., None]
    return xp.sum(xp.where(here, levels, 0.0), axis=-1), place


def _level(xp: Any, ratios: Array, budget: Array) -> Array:
    """v at a budget: the largest at which the filling costs that much."""
    u, carries = _logits(xp, ratios)
    finite = xp.isfinite(budget)
    spent = xp.where(finite, budget, 0.0)[..., None]
    levels = (xp.cumulative_sum(u, axis=-1) - 2.0 * spent) / _count(xp, u)
    # direction k has something above the level with k of them filled
    level, _ = _chosen(xp, levels, (levels <= u) & carries)
    level = xp.where(xp.any(xp.isinf(ratios), axis=-1), xp.inf, level)
    return xp.where(finite & xp.any(carries, axis=-1), level, -xp.inf)


def _floor_value(xp: Any, ratios: Array, budget: Array) -> Array:
    """Half the sum of min(θ, l_i)."""
    u, carries = _logits(xp, ratios)
    v = _level(xp, ratios, budget)[..., None]
    remembered = carries & (u > v) & xp.isfinite(ratios)
    theta = _softplus(xp, xp.where(xp.isfinite(v), v, 0.0))
    theta = xp.where(xp.isinf(v), 0.0, theta)
    losses = xp.log1p(xp.where(xp.isfinite(ratios), ratios, 0.0))
    terms = xp.where(remembered, theta, losses)
    value = 0.5 * xp.sum(xp.flip(terms, axis=-1), axis=-1)
    return xp.where(v[..., 0] == xp.inf, xp.inf, xp.where(xp.isinf(budget), 0.0, value))


def _floors(
    source: CanonicalCorrelations, budget: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower, value, upper.

    A move of u_i moves the level by 1/k of it, so that MB* moves by half the sigmoid of v times
    the move of u_i (remembered) or by half the move of l_i (not): dl = rho^2 du.
    """
    ratios = source.ratios
    value = _floor_value(NUMPY, ratios, budget)
    u, carries = _logits(NUMPY, ratios)
    v = _level(NUMPY, ratios, budget)[..., None]
    safe_v = np.where(np.isfinite(v), v, 0.0)
    kept, known = (u > v) & carries, np.isfinite(ratios)
    # 1 where nothing is remembered: there log_expit(v) is the larger
    steep = _softplus(NUMPY, -u) - _softplus(NUMPY, -safe_v)
    moved = np.exp(np.minimum(steep, 0.0))
    share = np.exp(-_softplus(NUMPY, -safe_v))[..., 0]
    finite = np.where(np.isfinite(budget), budget, 0.0)
    size = np.sum(np.where(kept & known, np.abs(u), 0.0), axis=-1) + 2.0 * finite + 1.0
    rounding = 8.0 * EPS * size * share
    error = np.where(carries & known, source.error_bound, 0.0)
    safe = np.where(np.isfinite(value), value, 0.0)
    own = 0.5 * (np.sum(moved * error, axis=-1) + rounding) + 4.0 * EPS * safe
    # directions that rounding may have lost altogether
    own = np.minimum(own, source.total_error + 0.5 * rounding + 4.0 * EPS * safe)
    missing = np.inf if source.truncation is None else source.truncation
    nothing = ~np.any(carries, axis=-1)
    lower = np.where(nothing, 0.0, np.maximum(safe - own, 0.0))
    upper = np.where(nothing, source.total_error + missing, safe + own + missing)
    everything = np.isinf(budget) & np.ones(value.shape, dtype=bool)
    infinite = np.isinf(value)
    if np.any(infinite):
        lower = np.where(infinite, _least_floor(source, budget), lower)
    upper = np.where(infinite, np.inf, np.where(everything, 0.0, upper))
    return np.where(everything, 0.0, lower), value, upper


def _certain(source: CanonicalCorrelations) -> tuple[CanonicalCorrelations, np.ndarray]:
    """What is certain of infinite correlations; and where they are exactly 1."""
    losses = np.sort(source._least(), axis=-1)[..., ::-1]
    exact = np.any(np.isinf(losses), axis=-1)
    losses = np.where(np.isinf(losses), 0.0, losses)
    none = np.zeros(losses.shape)
    return CanonicalCorrelations(np.expm1(losses), none, none.sum(-1)), exact


def _least_floor(source: CanonicalCorrelations, budget: np.ndarray) -> np.ndarray:
    """What MB* is at least where correlations are infinite."""
    certain, exact = _certain(source)
    return np.where(exact, np.inf, _floors(certain, budget)[0])


def _spend(xp: Any, ratios: Array, target: Array) -> tuple[Array, Array]:
    """Nats with which half the sum of min(θ, l_i) is `target` > 0, and their rounding."""
    finite = xp.isfinite(ratios)
    ratios = xp.where(finite, ratios, 1.0)  # not asked for
    u, carries = _logits(xp, ratios)
    losses = xp.log1p(ratios)
    left = xp.flip(xp.cumulative_sum(xp.flip(losses, axis=-1), axis=-1), axis=-1)
    after = left - losses  # what k remembered leave out
    if losses.shape[-1]:
        after = xp.concat([left[..., 1:], xp.zeros_like(left[..., :1])], axis=-1)
    total = 0.5 * xp.sum(xp.flip(losses, axis=-1), axis=-1)
    enough = target >= total
    safe = xp.where(enough, 0.5 * total, target)
    thetas = (2.0 * safe[..., None] - after) / _count(xp, u)
    theta, place = _chosen(xp, thetas, (thetas <= losses) & carries)
    theta = xp.where(theta > 0.0, theta, 1.0)
    v = theta + xp.log(-xp.expm1(-theta))  # log(e^θ - 1)
    kept = (_count(xp, u) <= place[..., None]) & carries
    value = 0.5 * xp.sum(xp.where(kept, u - v[..., None], 0.0), axis=-1)
    value = xp.where(value > 0.0, value, 0.0)
    # c moves by -dMB (1 + e^-v)
    size = value + xp.sum(xp.where(kept, xp.abs(u), 0.0), axis=-1) + 1.0
    return xp.where(enough, 0.0, value), xp.where(enough, 0.0, 8.0 * EPS * size)


def _budgets(
    source: CanonicalCorrelations, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, lower, upper of `MemoryBudget.budget_for`."""
    total = source.information()
    shape = np.broadcast_shapes(np.shape(total.value), target.shape)
    target = np.broadcast_to(target, shape)
    whole, most, some = (
        np.broadcast_to(end, shape) for end in (total.value, total.upper, total.lower)
    )
    carries = np.broadcast_to(np.any(source.ratios > 0.0, axis=-1), shape)
    reached = target >= whole
    none = reached & (target >= most)
    # what rounding or older frames may add takes nats too
    open_end = reached & ~none & ((target == 0.0) | ~carries)
    endless = ~none & ~open_end & ((target == 0.0) | np.isinf(whole))
    asked = np.where(none | open_end | endless, 1.0, np.maximum(target, 1e-300))
    value, rounding = _spend(NUMPY, source.ratios, asked)
    # MB* is known to what `_floors` says
    low, middle, high = _floors(source, np.where(endless, 0.0, value))
    far = np.where(np.isfinite(middle), middle, asked)
    shift = np.where(value > 0.0, np.abs(far - asked), 0.0)
    less = asked - np.where(np.isfinite(middle), high - far, 0.0) - shift
    more = asked + np.where(np.isfinite(middle), far - low, 0.0) + shift
    lower = np.where(
        np.isfinite(more),
        _spend(NUMPY, source.ratios, np.where(np.isfinite(more), more, 1.0))[0],
        0.0,
    )
    possible = less >= 1e-300
    upper, wide = _spend(NUMPY, source.ratios, np.where(possible, less, 1.0))
    upper, wide = np.where(possible, upper, np.inf), np.where(possible, wide, 0.0)
    lower = np.maximum(np.minimum(lower, value) - rounding, 0.0)
    upper = np.maximum(upper, value) + rounding + wide
    if np.any(endless):
        least = np.full(shape, np.inf)
        unsure = endless & np.isinf(whole) & (target > 0.0)
        if np.any(unsure):
            certain, exact = _certain(source)
            asked = np.where(unsure, np.maximum(target, 1e-300), 1.0)
            found = np.where(exact, np.inf, _budgets(certain, asked)[1])
            least = np.where(unsure, found, least)
        least = np.where((target == 0.0) & (some == 0.0), 0.0, least)
        value = np.where(endless, np.inf, value)
        lower, upper = np.where(endless, least, lower), np.where(endless, np.inf, upper)
    closed = none | open_end
    value, lower = np.where(closed, 0.0, value), np.where(closed, 0.0, lower)
    return value, lower, np.where(none, 0.0, np.where(open_end, np.inf, upper))


# --- R4: a memory that is integrated out ----------------------------------------------------------


def stochastic_memory(
    source: CanonicalCorrelations, budget: Any, *, unit: str = "nats"
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

    Arguments: `source`, as for `MemoryBudget`; `budget` c ≥ 0 in `unit`, which broadcasts with it;
    `unit`.

    Returns an `Enclosure` of the least KL: 0 ≤ least KL ≤ `value`.

    Source: THEORY, R4.

    >>> print(round(stochastic_memory(CanonicalCorrelations.of([0.9]), 0.399).value, 4))
    0.1595
    """
    xp, ratios, c = MemoryBudget(source, unit)._with("budget", budget)
    found = _channels(source._bare(), numpy_of(c))
    value = found[0]
    infinite = np.isinf(value)
    reason = source.reason if np.any(infinite) else None
    bound = _enclosed(value, np.zeros(value.shape), found[1], ("R4",), reason)
    if xp is not NUMPY:
        shares, _ = _shares(xp, ratios, c)
        total = xp.sum(_channel(xp, ratios, shares), axis=-1)
        bound = _around_tensor(
            xp.where(xp.asarray(infinite, device=total.device), xp.inf, total), bound
        )
    return bound.to(unit)


def _channels(source: CanonicalCorrelations, budget: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R4's bound and its upper end, nats."""
    shares, doubt = _shares(NUMPY, source.ratios, budget)
    value = np.sum(_channel(NUMPY, source.ratios, shares), axis=-1)
    missing = np.inf if source.truncation is None else source.truncation
    losses = np.where(np.isfinite(source.ratios), source.losses, 0.0)
    carries = source.ratios > 0.0
    error = source.total_error + 32.0 * EPS * np.sum(np.where(carries, 1.0 + losses, 0.0), axis=-1)
    # a direction's first nats count without limit: its share's own rounding is carried through
    fewer = np.maximum(shares - doubt[..., None], 0.0)
    error = error + missing + np.sum(_channel(NUMPY, source.ratios, fewer), axis=-1) - value
    enough = np.isinf(budget) & np.ones(value.shape, dtype=bool)
    infinite = np.any(np.isinf(source.ratios), axis=-1) & ~enough
    upper = np.where(enough, 0.0, np.where(infinite, np.inf, value + error))
    return np.where(enough, 0.0, np.where(infinite, np.inf, value)), upper


def _shares(xp: Any, ratios: Array, budget: Array) -> tuple[Array, Array]:
    r"""Nats for each direction, $\tfrac12(u_i-v)^+$ as $(c + \tfrac12\sum_j(u_i-u_j))/k$.

    Beside them what rounding may have moved one of them by. Finite budgets and correlations.
    """
    u, carries = _logits(xp, ratios)
    budget = xp.where(xp.isfinite(budget), budget, 0.0) + xp.zeros_like(xp.sum(u, axis=-1))
    level = _level(xp, ratios, budget)
    first = _count(xp, u) == 1.0
    kept = carries & ((u > level[..., None]) | first) & (budget > 0.0)[..., None]
    active = xp.sum(xp.astype(kept, u.dtype), axis=-1)
    pairs = xp.where(kept[..., None, :], u[..., :, None] - u[..., None, :], 0.0)
    number = xp.where(active > 0.0, active, 1.0)[..., None]
    shares = (budget[..., None] + 0.5 * xp.sum(pairs, axis=-1)) / number
    shares = xp.where(kept & (shares > 0.0), shares, 0.0)
    spread = xp.zeros_like(budget)
    largest = xp.zeros_like(budget)
    if u.shape[-1]:
        spread = xp.max(xp.where(kept, u[..., :1] - u, 0.0), axis=-1)
        largest = xp.max(xp.where(kept, xp.abs(u), 0.0), axis=-1)
    # one direction takes all, and nothing is subtracted
    doubt = 8.0 * EPS * (budget + spread) + 4.0 * EPS * largest
    return shares, xp.where(active > 1.0, doubt, 8.0 * EPS * budget)


def _channel(xp: Any, ratio: Array, budget: Array) -> Array:
    """R4's formula for every direction, nats, with its terms of order one taken out.

    y = u² - 1 solves y² = rho² v (1 + y), and is `ratio` where the budget no longer binds.
    """
    ratio = xp.where(xp.isfinite(ratio), ratio, 1.0) + 0.0 * budget  # not asked for
    budget = budget + 0.0 * ratio
    capped = xp.where(budget > 350.0, 350.0, budget)
    binds = xp.expm1(2.0 * capped) < ratio
    silent = binds & (budget <= 0.0)
    some = xp.where(silent | ~binds, 0.0 * budget + 1.0, capped)
    v = xp.expm1(2.0 * some)
    squared = ratio / (1.0 + ratio)
    own = xp.where(binds & ~silent, squared * v, 1.0)
    y = 0.5 * (own + xp.sqrt(own * own + 4.0 * own))
    y = xp.where(silent, 0.0, y)
    short = xp.where(binds & (ratio > y), ratio - y, 0.0)
    # log((1 + ratio) / (1 + y)), by whichever form keeps its digits
    far = 2.0 * short > 1.0 + ratio
    close = -xp.log1p(-xp.where(far, 0.0, short) / (1.0 + ratio))
    log_part = xp.where(far, xp.log1p(ratio) - xp.log1p(y), close)
    safe = xp.where(ratio > 0.0, ratio, 1.0)
    value = 0.5 * (log_part - (short / safe) * (y / (1.0 + y)))
    return xp.where(short > 0.0, value, 0.0)
