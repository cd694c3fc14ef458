"""A number with what is known about it: `lower <= truth <= upper`, unit, theorems, reason."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from arvdm_theory._arrays import is_tensor, numpy_of
from arvdm_theory.errors import ParameterError, RefusedError

__all__ = ["UNITS", "Enclosure"]

UNITS = {"nats": 1.0, "bits": 1.0 / math.log(2.0)}
"""Units of information, as multiples of one nat."""


@dataclass(frozen=True, eq=False)
class Enclosure:
    """What a calculator of a bound returns.

    Attributes
    ----------
    value: the computed number; infinite where `reason` says so. From arguments with leading axes
        an array (a tensor from tensors) of their shape; `lower` and `upper` likewise.
    lower, upper: the number asked for lies between them. From a certified calculation they are
        proved; from floating point they are `value` less and plus a first-order bound on the
        rounding error, from conditioning.
    unit: of all three.
    theorems: labels of the results used. certified: whether lower and upper are proved.
    reason: why the value is infinite, else `None`; of many, why the first infinite one is.

    >>> print(Enclosure(0.5, 0.5, 0.5, theorems=("R2",)).to("bits"))
    0.721348 bits in [0.721348, 0.721348] (R2)
    >>> many = Enclosure.around(np.array([0.5, 1.0]), 1e-9)
    >>> print(many)
    2 values, 0.5 to 1 nats, each within 1e-09
    >>> print(many[1])
    1 nats in [1, 1]
    """

    value: Any
    lower: Any
    upper: Any
    unit: str = "nats"
    theorems: tuple[str, ...] = ()
    certified: bool = False
    reason: str | None = None

    def __post_init__(self) -> None:
        ends = [numpy_of(end) for end in (self.lower, self.value, self.upper)]
        lower, value, upper = ends
        if not lower.shape == value.shape == upper.shape:
            raise ParameterError("value, lower, upper", "of one shape", [x.shape for x in ends])
        inside = (lower <= value) & (value <= upper)
        if not np.all(inside):
            lowest, wrong, highest = (float(end[~inside].flat[0]) for end in ends)
            raise ParameterError("value", f"in lower..upper ({lowest!r}..{highest!r})", wrong)

    @classmethod
    def around(
        cls, value: Any, error: Any, *, least: float = -math.inf, **described: Any
    ) -> Enclosure:
        """`value` ± `error`; the lower end is no less than `least`, which the theory proves.

        A value that rounding left below `least` by no more than `error` is raised to it.
        """
        if getattr(value, "ndim", 0) or is_tensor(value):
            xp = array_namespace(value)
            error = error + xp.zeros_like(value)
            wrong = value < least - error
            if bool(xp.any(wrong)):
                first = float(value[wrong][0]), float(error[wrong][0])
                raise RefusedError(f"{first[0]!r} ± {first[1]!r} cannot be at least {least!r}")
            value = xp.where(value < least, least, value)
            lower = xp.where(value - error < least, least, value - error)
            return cls(value, lower, value + error, **described)
        if value < least - error:
            raise RefusedError(f"{value!r} ± {error!r} cannot be at least {least!r}")
        value = max(float(value), least)
        return cls(value, max(value - error, least), value + error, **described)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values; `()` for one number."""
        return tuple(getattr(self.value, "shape", ()))

    def __getitem__(self, index: Any) -> Enclosure:
        """Some of many; a NumPy value that is picked alone becomes a float."""
        ends = {name: getattr(self, name)[index] for name in ("value", "lower", "upper")}
        if not is_tensor(self.value) and np.ndim(ends["value"]) == 0:
            ends = {name: float(end) for name, end in ends.items()}
        finite = bool(np.all(np.isfinite(numpy_of(ends["value"]))))
        return replace(self, **ends, reason=None if finite else self.reason)

    def to(self, unit: str) -> Enclosure:
        """The same in "nats" or "bits"."""
        if unit not in UNITS or self.unit not in UNITS:
            raise ParameterError("unit", " or ".join(map(repr, UNITS)), unit)
        scale = UNITS[unit] / UNITS[self.unit]
        ends = {name: getattr(self, name) * scale for name in ("value", "lower", "upper")}
        return replace(self, unit=unit, **ends)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        labels = f" ({', '.join(self.theorems)})" if self.theorems else ""
        reason = f": {self.reason}" if self.reason else ""
        if not self.shape:
            ends = f"[{float(self.lower):.6g}, {float(self.upper):.6g}]"
            return f"{float(self.value):.6g} {self.unit} in {ends}{labels}{reason}"
        size = " × ".join(map(str, self.shape))
        lower, value, upper = (numpy_of(x) for x in (self.lower, self.value, self.upper))
        if not value.size:
            return f"{size} values, {self.unit}{labels}"
        known = np.isfinite(value)
        width = np.max(
            np.maximum(upper[known] - value[known], value[known] - lower[known]), initial=0.0
        )
        return (
            f"{size} values, {value.min():.6g} to {value.max():.6g} {self.unit}, each within "
            f"{width:.2g}{labels}{reason}"
        )

    def __repr__(self) -> str:
        if self.shape:
            return f"Enclosure({self})"
        fields = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self))
        return f"Enclosure({', '.join(fields)})"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON (nested lists of many); infinities as `null` beside their reason.

        >>> Enclosure.around(np.array([0.5, 1.0]), 0.0).to_json()["value"]
        [0.5, 1.0]
        """

        def listed(value: Any) -> Any:
            if isinstance(value, list):
                return [listed(item) for item in value]
            return value if math.isfinite(value) else None

        return {
            "value": listed(numpy_of(self.value).tolist()),
            "lower": listed(numpy_of(self.lower).tolist()),
            "upper": listed(numpy_of(self.upper).tolist()),
            "unit": self.unit,
            "theorems": list(self.theorems),
            "certified": self.certified,
            "reason": self.reason,
        }
