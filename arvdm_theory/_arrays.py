"""Arguments with leading axes, NumPy or torch: refused by name, and always double precision.

A calculator that broadcasts turns its arguments into float64 arrays of one namespace with
`floating` (numbers beside tensors become tensors of their device; float32 is upcast), computes with
that namespace, and gives numbers back where only numbers came in (`plain`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import scipy.linalg
from array_api_compat import array_namespace

from arvdm_theory.checks import LARGEST_COUNT, positive_integer
from arvdm_theory.errors import ParameterError

Array = Any

NUMPY = array_namespace(np.zeros(()))
NUMBERS = "a number or a rectangular array of numbers"


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor (torch is not imported)."""
    return type(value).__module__.startswith("torch") and hasattr(value, "detach")


def refuse_tensors(**given: Any) -> None:
    """Name the argument that is a tensor, where nothing is differentiable."""
    for name, value in given.items():
        if is_tensor(value):
            raise ParameterError(name, "a NumPy array or numbers (not a torch tensor)", value)


def floating(
    *, infinite: Collection[str] = (), constraint: str | None = None, **given: Any
) -> tuple[Any, list[Array]]:
    """`(xp, arrays)`: every argument as float64 of one namespace and device, finite.

    `infinite`: names of those that may be infinite (never NaN). `constraint`: what a refusal says.

    >>> _, (a, b) = floating(a=1, b=[2.0, 3.0])
    >>> a.dtype.name, b.shape
    ('float64', (2,))
    >>> floating(a="x")
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.ParameterError: a must be a number or a rectangular array of numbers, got x
    """
    tensors = {name: value for name, value in given.items() if is_tensor(value)}
    devices = {str(value.device) for value in tensors.values()}
    if len(devices) > 1:
        raise ParameterError(", ".join(tensors), "on one device", " and ".join(sorted(devices)))
    arrays = {
        name: _of_tensor(name, value) if name in tensors else _of_numbers(name, value, constraint)
        for name, value in given.items()
    }
    xp = NUMPY
    if tensors:
        example = arrays[next(iter(tensors))]
        xp = array_namespace(example)
        for name in arrays.keys() - tensors.keys():
            arrays[name] = xp.asarray(arrays[name], device=example.device)
    for name, array in arrays.items():
        known = ~xp.isnan(array) if name in infinite else xp.isfinite(array)
        if not bool(xp.all(known)):
            allowed = "a number (no NaN)" if name in infinite else "finite (no NaN, no infinity)"
            raise ParameterError(name, constraint or allowed, given[name])
    return xp, list(arrays.values())


def _of_numbers(name: str, value: Any, constraint: str | None = None) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):
        raise ParameterError(name, constraint or NUMBERS, value) from None
    if array.dtype.kind not in "iuf" and array.size:
        raise ParameterError(name, constraint or NUMBERS, value)
    return array.astype(np.float64)


def _of_tensor(name: str, value: Any) -> Array:
    xp = array_namespace(value)
    if not xp.isdtype(value.dtype, ("real floating", "integral")):
        raise ParameterError(name, "a tensor of real numbers", f"dtype {value.dtype}")
    return xp.astype(value, xp.float64)


def plain(value: Array) -> Any:
    """A Python float for a NumPy scalar, anything else as it is."""
    return value if is_tensor(value) or value.ndim else float(value)


def numpy_of(value: Any) -> np.ndarray:
    """The values of an array or tensor, without its graph."""
    return np.asarray(value.detach().cpu()) if is_tensor(value) else np.asarray(value)


def counts(parameter: str, value: Any, minimum: int = 1) -> np.ndarray:
    """Integers of at least `minimum`, any shape, as int64.

    >>> counts("steps", [1, 2]).tolist()
    [1, 2]
    >>> counts("steps", [1, 0])
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.ParameterError: steps must be an integer of at least 1, got 0
    """
    if isinstance(value, (int, np.integer, float, str)) or value is None:
        return np.asarray(positive_integer(parameter, value, minimum))
    try:
        array = numpy_of(value)
    except (ValueError, TypeError, RuntimeError):
        array = np.empty(1, dtype=object)
    if not array.size and array.dtype.kind == "f":  # an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ParameterError(parameter, f"an integer of at least {minimum}", value)
    require(parameter, f"an integer of at least {minimum}", array, array >= minimum)
    require(parameter, f"an integer of at most {LARGEST_COUNT}", array, array <= LARGEST_COUNT)
    return array.astype(np.int64)


def require(parameter: str, constraint: str, value: Array, holds: Array) -> None:
    """Refuse `parameter` with the first number for which the constraint does not hold."""
    holds = numpy_of(holds)
    if not holds.all():
        wrong = np.broadcast_to(numpy_of(value), holds.shape)[~holds]
        raise ParameterError(parameter, constraint, wrong.ravel()[0])


def common_shape(axes: Mapping[str, int] | None = None, /, **arrays: Array) -> tuple[int, ...]:
    """The shape to which all broadcast; refused by their names otherwise.

    `axes`: how many of the last axes of an array are its own, and not of the batch.

    >>> common_shape(a=np.zeros((3, 1)), b=np.zeros(2))
    (3, 2)
    >>> common_shape({"b": 1}, a=np.zeros((3, 1)), b=np.zeros(2))
    (3, 1)
    """
    own = {name: (axes or {}).get(name, 0) for name in arrays}
    shapes = [tuple(x.shape[: x.ndim - own[name]]) for name, x in arrays.items()]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ParameterError(
            ", ".join(arrays), "of shapes that broadcast", " and ".join(map(str, shapes))
        ) from None


def solve_lower(factor: Array, right: Array) -> Array:
    r"""$L^{-1}B$ for lower triangular $L$ `(..., n, n)`, by substitution; leading axes broadcast.

    Not by elimination with exchanges, which loses the digits of graded factors.

    >>> solve_lower(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([[2.0], [3.0]])).tolist()
    [[1.0], [2.0]]
    """
    if is_tensor(factor):
        return array_namespace(factor).linalg.solve_triangular(factor, right, upper=False)
    if factor.ndim == right.ndim == 2:
        return scipy.linalg.solve_triangular(factor, right, lower=True)
    lead = np.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    found = np.zeros((*lead, *right.shape[-2:]))
    for row in range(factor.shape[-1]):
        known = factor[..., row : row + 1, :row] @ found[..., :row, :]
        left = right[..., row : row + 1, :] - known
        found[..., row : row + 1, :] = left / factor[..., row : row + 1, row : row + 1]
    return found
