"""Checked inputs: numbers, arrays and counts, refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from arvdm_theory.errors import ParameterError

LARGEST_COUNT = 2**53  # beyond, a double no longer counts


def finite_array(parameter: str, value: Any) -> np.ndarray:
    """A read-only float64 copy of numbers; text, booleans, tensors, NaN, infinities are refused."""
    if type(value).__module__.startswith("torch"):
        raise ParameterError(parameter, "a NumPy array or numbers (not a torch tensor)", value)
    try:
        array = np.array(value)
    except ValueError:
        raise ParameterError(parameter, "a rectangular array of numbers", value) from None
    if array.dtype.kind not in "iuf" and array.size:
        raise ParameterError(parameter, "a rectangular array of numbers", value)
    array = array.astype(np.float64)
    if not np.all(np.isfinite(array)):
        raise ParameterError(parameter, "finite (no NaN, no infinity)", value)
    array.flags.writeable = False
    return array


def shaped_array(parameter: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A finite array of exactly this shape."""
    array = finite_array(parameter, value)
    if array.shape != shape:
        raise ParameterError(parameter, f"of shape {shape}", f"shape {array.shape}")
    return array


def real_number(parameter: str, value: Any, constraint: str = "a finite number") -> float:
    """One finite number."""
    try:
        array = finite_array(parameter, value)
    except ParameterError:
        raise ParameterError(parameter, constraint, value) from None
    if array.ndim != 0:
        raise ParameterError(parameter, constraint, value)
    return float(array)


def positive_integer(parameter: str, value: Any, minimum: int = 1) -> int:
    """`value` as an int in `minimum`..2^53; booleans and fractions are refused."""
    integral = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integral or value < minimum:
        raise ParameterError(parameter, f"an integer of at least {minimum}", value)
    if value > LARGEST_COUNT:
        raise ParameterError(parameter, f"an integer of at most {LARGEST_COUNT}", value)
    return int(value)
