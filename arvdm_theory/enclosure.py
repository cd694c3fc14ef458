"""A number with what is known about it: `lower <= truth <= upper`, unit, theorems, reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from arvdm_theory.errors import ParameterError, RefusedError

__all__ = ["UNITS", "Enclosure"]

UNITS = {"nats": 1.0, "bits": 1.0 / math.log(2.0)}
"""Units of information, as multiples of one nat."""


@dataclass(frozen=True, eq=False)
class Enclosure:
    """What a calculator of a bound returns.

    Attributes
    ----------
    value: the computed number; infinite where `reason` says so.
    lower, upper: the number asked for lies between them. From a certified calculation they are
        proved; from floating point they are `value` less and plus a first-order bound on the
        rounding error, from conditioning.
    unit: of all three.
    theorems: labels of the results used. certified: whether lower and upper are proved.
    reason: why the value is infinite, else `None`.

    >>> print(Enclosure(0.5, 0.5, 0.5, theorems=("R2",)).to("bits"))
    0.721348 bits in [0.721348, 0.721348] (R2)
    """

    value: float
    lower: float
    upper: float
    unit: str = "nats"
    theorems: tuple[str, ...] = ()
    certified: bool = False
    reason: str | None = None

    def __post_init__(self) -> None:
        if not self.lower <= self.value <= self.upper:
            raise ParameterError(
                "value", f"in lower..upper ({self.lower!r}..{self.upper!r})", self.value
            )

    @classmethod
    def around(
        cls, value: float, error: float, *, least: float = -math.inf, **described: Any
    ) -> Enclosure:
        """`value` ± `error`; the lower end is no less than `least`, which the theory proves.

        A value that rounding left below `least` by no more than `error` is raised to it.
        """
        if value < least - error:
            raise RefusedError(f"{value!r} ± {error!r} cannot be at least {least!r}")
        value = max(float(value), least)
        return cls(value, max(value - error, least), value + error, **described)

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
        ends = f"[{self.lower:.6g}, {self.upper:.6g}]"
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.value:.6g} {self.unit} in {ends}{labels}{reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON; infinities as `null` beside their reason."""

        def plain(value: float) -> float | None:
            return float(value) if math.isfinite(value) else None

        return {
            "value": plain(self.value),
            "lower": plain(self.lower),
            "upper": plain(self.upper),
            "unit": self.unit,
            "theorems": list(self.theorems),
            "certified": self.certified,
            "reason": self.reason,
        }
