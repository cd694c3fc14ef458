r"""Ball arithmetic on exact input: numbers and matrices of Arb balls (python-flint).

A ball is certain to hold the truth; more bits make it smaller. Decisions (is this pivot positive?)
are taken only when a ball allows one, else `Undecided` asks for more bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from arvdm_theory.checks import positive_integer
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import ArvdmError, NotPositiveDefiniteError, ParameterError

Arb = Any
Matrix = Any
"""A `flint.arb_mat` or `flint.fmpq_mat`."""


class PrecisionError(ArvdmError):
    """The tolerance was not met, or a sign not decided, at the largest precision allowed."""


class Undecided(Exception):
    """A ball straddles a decision: more bits are needed."""


def load_flint() -> Any:
    try:
        import flint
    except ImportError:
        raise ImportError(
            "certified numbers need python-flint: install the extra certified "
            "(arvdm-theory[certified])"
        ) from None
    return flint


# --- results --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ball(Enclosure):
    """An `Enclosure` whose ends are proved, with the ball itself.

    `lower` and `upper` are rounded outward to floats. `arb`: the `flint.arb` in `unit` (its radius
    is below the tolerance even where floats cannot show it), `None` for an infinite value; `bits`:
    working precision at which it was found.
    """

    arb: Any = None
    bits: int = 0

    def to(self, unit: str) -> Ball:
        """The same in "nats" or "bits", again rounded outward."""
        if unit not in UNITS or self.unit not in UNITS:
            raise ParameterError("unit", " or ".join(map(repr, UNITS)), unit)
        if unit == self.unit or self.arb is None:
            return replace(self, unit=unit)
        flint = load_flint()
        with flint.ctx.workprec(self.bits + 16):
            two = flint.arb.const_log2()
            arb = self.arb / two if unit == "bits" else self.arb * two
        least = 0.0 if self.lower == 0.0 else None
        return enclose(arb, self.bits, least, unit=unit, theorems=self.theorems, reason=self.reason)


def exact_fraction(exact: Arb) -> Fraction:
    mantissa, exponent = (int(item) for item in exact.man_exp())
    return Fraction(mantissa) * Fraction(2) ** exponent


def _nearest(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _float_below(exact: Fraction) -> float:
    rounded = _nearest(exact)
    if rounded == math.inf or (math.isfinite(rounded) and Fraction(rounded) > exact):
        rounded = math.nextafter(rounded, -math.inf)
    return rounded


def _ends(arb: Arb) -> tuple[float, float, float]:
    """`(lower, value, upper)` as floats, rounded outward."""
    with load_flint().ctx.workprec(128):
        lower = _float_below(exact_fraction(arb.lower()))
        upper = -_float_below(-exact_fraction(arb.upper()))
    return lower, min(max(_nearest(exact_fraction(arb.mid())), lower), upper), upper


def enclose(arb: Arb, bits: int, least: float | None = None, **described: Any) -> Ball:
    """The enclosure of a ball; `least` is a proved lower bound of the number."""
    lower, value, upper = _ends(arb)
    if least is not None:
        if upper < least:
            raise ArithmeticError(f"a number proved to be at least {least} has the ball {arb}")
        lower, value = max(lower, least), max(value, least)
    return Ball(value, lower, upper, certified=True, arb=arb, bits=bits, **described)


def infinite_ball(reason: str, theorems: tuple[str, ...]) -> Ball:
    return Ball(math.inf, math.inf, math.inf, theorems=theorems, certified=True, reason=reason)


def rigorously(
    compute: Callable[[], dict[str, Arb]],
    tolerance: float,
    relative: float,
    most_bits: int,
) -> tuple[dict[str, Arb], int]:
    """Double the precision until every radius is below `tolerance` or `relative` × |value|."""
    flint = load_flint()
    for name, value in (("tolerance", tolerance), ("relative", relative)):
        if not (isinstance(value, (int, float)) and 0.0 <= value < math.inf):
            raise ParameterError(name, "a finite number of at least 0", value)
    if tolerance == relative == 0.0:
        raise ParameterError("tolerance", "positive, or relative", tolerance)
    bits, doubt = 64, "no precision was tried"
    while bits <= positive_integer("most_bits", most_bits, 64):
        with flint.ctx.workprec(bits):
            try:
                found = compute()
                loose = [
                    name for name, arb in found.items() if not _tight(arb, tolerance, relative)
                ]
                if not loose:
                    return found, bits
                doubt = f"{loose[0]} is known no better than {found[loose[0]].str(6)}"
            except (Undecided, ZeroDivisionError) as error:
                doubt = str(error) or "a matrix is not certified to be invertible"
        bits *= 2
    raise PrecisionError(f"at {bits // 2} bits, the most allowed, {doubt}")


def _tight(arb: Arb, tolerance: float, relative: float) -> bool:
    flint = load_flint()
    if not arb.is_finite():
        return False
    radius = arb.rad()
    return bool(radius <= flint.arb(tolerance)) or bool(
        radius <= flint.arb(relative) * arb.abs_lower()
    )


# --- exact input ----------------------------------------------------------------------------------

_EXPONENT = re.compile(r"[eE]([+-]?\d+)$")


def exact_number(parameter: str, value: Any) -> Any:
    """`value` as an exact `flint.fmpq`."""
    flint = load_flint()
    if isinstance(value, flint.fmpq):
        return value
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, str):
        text = value.strip()
        exponent = _EXPONENT.search(text)
        long = len(text) > 4096 or (exponent is not None and abs(int(exponent[1])) > 4096)
        try:
            value = None if long else Fraction(text)
        except (ValueError, ZeroDivisionError):
            value = None
        if value is None:
            raise ParameterError(parameter, "a number, decimal or fraction", text)
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction, Decimal)):
        raise ParameterError(parameter, "a number, or text that spells one", value)
    if not math.isfinite(value):
        raise ParameterError(parameter, "finite (no NaN, no infinity)", value)
    exact = Fraction(value)
    return flint.fmpq(exact.numerator, exact.denominator)


def exact_numbers(parameter: str, value: Any) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, (Iterable, np.ndarray)):
        raise ParameterError(parameter, "a list of numbers", value)
    return [exact_number(parameter, item) for item in value]


def positive_number(parameter: str, value: Any, *, strict: bool = True) -> Any:
    number = exact_number(parameter, value)
    if number < 0 or (strict and number == 0):
        raise ParameterError(parameter, "positive" if strict else "at least 0", value)
    return number


def is_number(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return not isinstance(value, (Sequence, np.ndarray, load_flint().fmpq_mat))


def exact_matrix(parameter: str, value: Any) -> Matrix:
    """A rectangular `fmpq_mat`."""
    flint = load_flint()
    if isinstance(value, flint.fmpq_mat):
        return value
    if is_number(value) or not len(value):
        raise ParameterError(parameter, "a matrix", value)
    rows = [exact_numbers(parameter, row) for row in value]
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ParameterError(parameter, "a rectangular matrix", value)
    return flint.fmpq_mat(len(rows), len(rows[0]), [item for row in rows for item in row])


def exact_covariance(parameter: str, value: Any, size: int | None = None) -> Matrix:
    """An exactly symmetric positive semi-definite `fmpq_mat`; a number: that times the identity."""
    flint = load_flint()
    if is_number(value):
        if size is None:
            raise ParameterError(parameter, "a matrix", value)
        return exact_covariance(parameter, exact_identity(exact_number(parameter, value), size))
    matrix = exact_matrix(parameter, value)
    shape = (matrix.nrows(), matrix.ncols())
    if shape[0] != shape[1] or (size is not None and shape[0] != size):
        wanted = "square" if size is None else f"of shape {(size, size)}"
        raise ParameterError(parameter, wanted, f"shape {shape}")
    if matrix != matrix.transpose():
        raise NotPositiveDefiniteError(
            parameter, "symmetric", "entries that differ from their mirror"
        )
    with flint.ctx.workprec(256):
        try:
            certified_pivots(flint.arb_mat(matrix), parameter)
            return matrix
        except (Undecided, NotPositiveDefiniteError):
            _semidefinite(matrix, parameter)
    return matrix


def exact_identity(scale: Any, size: int) -> Matrix:
    flint = load_flint()
    out = flint.fmpq_mat(size, size)
    for i in range(size):
        out[i, i] = scale
    return out


def _semidefinite(matrix: Matrix, name: str) -> bool:
    """Whether an exact matrix is definite; refuses one that is not even semi-definite."""
    work = [[matrix[i, j] for j in range(matrix.ncols())] for i in range(matrix.nrows())]
    size, definite = len(work), True
    for k in range(size):
        pivot = work[k][k]
        if pivot < 0 or (pivot == 0 and any(work[i][k] != 0 for i in range(k + 1, size))):
            raise NotPositiveDefiniteError(
                name, "positive semi-definite", f"a matrix that is not (pivot {k + 1})"
            )
        if pivot == 0:
            definite = False
            continue
        for i in range(k + 1, size):
            factor = work[i][k] / pivot
            if factor != 0:
                for j in range(k + 1, i + 1):
                    work[i][j] = work[j][i] = work[i][j] - factor * work[j][k]
    return definite


def require_definite(matrix: Matrix, name: str) -> None:
    """Refuse an exact matrix that is not positive definite."""
    flint = load_flint()
    with flint.ctx.workprec(256):
        try:
            certified_pivots(flint.arb_mat(matrix), name)
            return
        except Undecided:
            pass
    if not _semidefinite(matrix, name):
        raise NotPositiveDefiniteError(name, "positive definite", "a singular matrix")


# --- matrices of balls ----------------------------------------------------------------------------


def squared(ball: Arb) -> Arb:
    """x²; `ball**2` is not a number for a ball around 0."""
    return ball * ball


def submatrix(matrix: Matrix, rows: Sequence[int], columns: Sequence[int]) -> Matrix:
    entries = [matrix[i, j] for i in rows for j in columns]
    return type(matrix)(len(rows), len(columns), entries)


def to_balls(matrix: Matrix) -> Matrix:
    """A rational matrix at the working precision."""
    return load_flint().arb_mat(matrix)


def diagonal_matrix(values: Sequence[Any]) -> Matrix:
    out = load_flint().arb_mat(len(values), len(values))
    for i, value in enumerate(values):
        out[i, i] = value
    return out


def column_matrix(values: Sequence[Any]) -> Matrix:
    return load_flint().arb_mat(len(values), 1, list(values))


def zero_matrix(rows: int, columns: int) -> Matrix:
    return load_flint().arb_mat(rows, columns)


def identity_matrix(size: int) -> Matrix:
    return diagonal_matrix([1] * size)


def scale_both(left: Sequence[Any], matrix: Matrix, right: Sequence[Any]) -> Matrix:
    """diag(left) · matrix · diag(right)."""
    rows, columns = matrix.nrows(), matrix.ncols()
    entries = [left[i] * matrix[i, j] * right[j] for i in range(rows) for j in range(columns)]
    return load_flint().arb_mat(rows, columns, entries)


def beside(first: Matrix, second: Matrix) -> Matrix:
    rows = [list(a) + list(b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    entries = [item for row in rows for item in row]
    return type(first)(first.nrows(), first.ncols() + second.ncols(), entries)


def stacked(first: Matrix, second: Matrix) -> Matrix:
    entries = list(first.entries()) + list(second.entries())
    return type(first)(first.nrows() + second.nrows(), first.ncols(), entries)


def trace_of(matrix: Matrix) -> Arb:
    return sum((matrix[i, i] for i in range(matrix.nrows())), load_flint().arb(0))


def certified_pivots(matrix: Matrix, name: str) -> list[Arb]:
    """Pivots of LDL' of a symmetric matrix of balls, certified positive."""
    size = matrix.nrows()
    work = [[matrix[i, j] for j in range(i + 1)] for i in range(size)]
    pivots = []
    for k in range(size):
        pivot = work[k][k]
        if not pivot > 0:
            if pivot <= 0:
                raise NotPositiveDefiniteError(
                    name, "positive definite", f"pivot {k + 1} in {pivot.str(6)}"
                )
            raise Undecided(f"{name} is neither certified positive definite nor refuted")
        pivots.append(pivot)
        column = [work[i][k] for i in range(k + 1, size)]
        for i in range(k + 1, size):
            factor = column[i - k - 1] / pivot
            row = work[i]
            for j in range(k + 1, i + 1):
                row[j] = row[j] - factor * column[j - k - 1]
    return pivots


def cholesky_balls(matrix: Matrix, name: str) -> Matrix:
    """Lower factor of a symmetric matrix of balls that is certified positive definite."""
    size, flint = matrix.nrows(), load_flint()
    out = zero_matrix(size, size)
    for j in range(size):
        pivot = matrix[j, j] - sum((squared(out[j, k]) for k in range(j)), flint.arb(0))
        if not pivot > 0:
            raise Undecided(f"{name} is not certified positive definite")
        out[j, j] = pivot.sqrt()
        for i in range(j + 1, size):
            known = sum((out[i, k] * out[j, k] for k in range(j)), flint.arb(0))
            out[i, j] = (matrix[i, j] - known) / out[j, j]
    return out


def symmetric_eigenvalues(matrix: Matrix) -> list[Arb]:
    r"""Eigenvalues of a symmetric matrix of balls, in decreasing order, multiple ones included.

    With V from Jacobi rotations, M = V'AV and ‖V'V − I‖ ≤ ε, Ostrowski's theorem gives
    λ_i(A) = λ_i(M)/θ_i with θ_i in 1 ± ε, and Weyl's |λ_i(M) − M_ii| ≤ ‖M − diag M‖, both sorted.
    """
    arb, size = load_flint().arb, matrix.nrows()
    if size == 0:
        return []
    basis = _jacobi(matrix)
    turned = basis.transpose() * matrix * basis
    gram = basis.transpose() * basis - identity_matrix(size)
    if not all(item.is_finite() for item in turned.entries() + gram.entries()):
        raise Undecided("the eigenvalues are not isolated")
    skew = max((_row_sum(gram, i, size) for i in range(size)), key=exact_fraction)
    if not skew < 1:
        raise Undecided("the eigenvalues are not isolated")
    away = max((_row_sum(turned, i, i) for i in range(size)), key=exact_fraction)
    spread = arb(0, 1) * away
    theta = 1 + arb(0, 1) * skew
    ends = [turned[i, i] + spread for i in range(size)]
    lower = sorted((item.lower() for item in ends), key=exact_fraction, reverse=True)
    upper = sorted((item.upper() for item in ends), key=exact_fraction, reverse=True)
    return [a.union(b) / theta for a, b in zip(lower, upper, strict=True)]


def _row_sum(matrix: Matrix, row: int, left_out: int) -> Arb:
    """Upper bound of Σ_j |row entries|, without one column."""
    entries = [matrix[row, j] for j in range(matrix.ncols()) if j != left_out]
    return sum((item.abs_upper() for item in entries), load_flint().arb(0)).upper()


def _jacobi(matrix: Matrix) -> Matrix:
    """Nearly orthogonal V with V'AV nearly diagonal: cyclic rotations of the midpoints."""
    size, bits = matrix.nrows(), load_flint().ctx.prec
    work = matrix.mid()
    basis = identity_matrix(size)
    for _ in range(64):
        largest = 0.0
        for p in range(size):
            for q in range(p + 1, size):
                if work[p, q].is_zero():
                    continue
                ratio = (work[p, q] / (abs(work[p, p]) + abs(work[q, q]))).mid()
                largest = max(largest, float(abs(ratio)))
                angle = ((2 * work[p, q]).mid(), (work[p, p] - work[q, q]).mid())
                turn = load_flint().arb.atan2(*angle) / 2
                cosine, sine = turn.cos().mid(), turn.sin().mid()
                rotation = identity_matrix(size)
                rotation[p, p] = rotation[q, q] = cosine
                rotation[q, p], rotation[p, q] = sine, -sine
                work = (rotation.transpose() * work * rotation).mid()
                basis = (basis * rotation).mid()
        if largest < 2.0 ** -min(bits - 16, 1000):
            break
    return basis


def log_det_ball(matrix: Matrix, name: str) -> Arb:
    return sum((pivot.log() for pivot in certified_pivots(matrix, name)), load_flint().arb(0))


def solve_balls(matrix: Matrix, right: Matrix) -> Matrix:
    if 0 in (matrix.nrows(), right.ncols()):
        return zero_matrix(matrix.ncols(), right.ncols())
    return matrix.solve(right)


def conditional_covariance(matrix: Matrix, rows: Sequence[int], known: Sequence[int]) -> Matrix:
    """Cov(rows | known)."""
    cross = submatrix(matrix, known, rows)
    explained = cross.transpose() * solve_balls(submatrix(matrix, known, known), cross)
    return submatrix(matrix, rows, rows) - explained


def kl_balls(mean: Matrix, truth: Matrix, model: Matrix, names: tuple[str, str]) -> Arb:
    """KL(N(0, P) || N(mean, Q)): ½(tr Q⁻¹P − n − log det P + log det Q + mean' Q⁻¹ mean)."""
    size = truth.nrows()
    half = log_det_ball(model, names[1]) - log_det_ball(truth, names[0])
    solved = solve_balls(model, beside(truth, mean))
    columns = range(size)
    away = mean.transpose() * submatrix(solved, columns, [size])
    return (trace_of(submatrix(solved, columns, columns)) - size + half + away[0, 0]) / 2


def information_gain(prior: Matrix, gamma: Sequence[Arb]) -> Arb:
    """log det(I + S G)."""
    root = [item.sqrt() for item in gamma]
    return log_det_ball(identity_matrix(len(root)) + scale_both(root, prior, root), "I + S G")
