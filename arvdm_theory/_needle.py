r"""M5's formulas: what the success rate of a test says about a divergence or about a memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.optimize

from arvdm_theory.checks import positive_integer, real_number
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import ParameterError

EPS = float(np.finfo(np.float64).eps)


def binary_kl(p: float, q: float) -> float:
    r"""M5's $kl_{bin}(p \| q) = p\log\frac pq + (1-p)\log\frac{1-p}{1-q}$, nats.

    Infinite if q excludes what p allows. Where p is close to q the sum is taken of
    $(1+x)\log(1+x) - x$ from its series, so that a small divergence keeps its digits.

    >>> print(round(binary_kl(1.0, 0.1), 6))  # log 10
    2.302585
    >>> binary_kl(0.5, 0.0)
    inf
    """
    delta, total = p - q, 0.0
    for a, b, change in ((p, q, delta), (1.0 - p, 1.0 - q, -delta)):
        if a <= 0.0:
            total += b  # a log(a/b) - a + b at a = 0
        elif b <= 0.0:
            return math.inf
        else:
            x = change / b
            total += b * _relative_entropy(x) if abs(x) < 0.1 else a * math.log(a / b) - a + b
    return total


def _relative_entropy(x: float) -> float:
    """(1+x) log(1+x) - x, from its series: x²/2 - x³/6 + x⁴/12 - ..."""
    return x * x * sum((-x) ** k / ((k + 1) * (k + 2)) for k in range(17))


def needle_information(
    success: float, needles: int, *, form: str = "tight", unit: str = "nats"
) -> Enclosure:
    r"""M5: the information a memory must hold to find one of n equiprobable needles.

    $$I(\text{needle}; m, \text{Input}) \ge kl_{bin}(s \| 1/n), \qquad s \ge 1/n,$$

    and, weaker, Fano as it is usually printed: $s \log n - \log 2$, and its sharper printed form
    $\log n - h(s) - (1-s)\log(n-1)$, which *is* $kl_{bin}(s \| 1/n)$.

    Arguments
    ---------
    success: s, the probability that the needle is named, 0..1. At s < 1/n the answer is 0: naming
        fewer than a blind guess does needs no memory.
    needles: n ≥ 2, equally likely.
    form: "tight" or "fano" ($\max(0, s \log n - \log 2)$).
    unit: "nats" or "bits".

    Returns an `Enclosure` of the bound, which is a lower bound on the information.

    Source: THEORY, M5 (data processing for the event "the needle is named").

    >>> print(round(float(needle_information(0.5, 100)), 4))
    1.6144
    >>> print(round(float(needle_information(0.5, 100, form="fano")), 4))
    1.6094
    """
    rate = _rate("success", success)
    count = positive_integer("needles", needles, 2)
    if form == "tight":
        value = binary_kl(rate, 1.0 / count) if rate * count > 1.0 else 0.0
    elif form == "fano":
        value = max(rate * math.log(count) - math.log(2.0), 0.0)
    else:
        raise ParameterError("form", "tight or fano", form)
    error = 16.0 * EPS * (value + 1.0 / count + abs(rate - 1.0 / count))
    return Enclosure.around(value, error, least=0.0, theorems=("M5",)).to(unit)


def needle_success(information: float, needles: int, *, unit: str = "nats") -> Enclosure:
    r"""M5 inverted: the largest success that this much information allows.

    The s ≥ 1/n with $kl_{bin}(s \| 1/n) = I$; 1 from $I = \log n$ on.

    Arguments: `information` I(needle; m, Input) ≥ 0 in `unit`, `needles` n ≥ 2.

    Returns an `Enclosure` of the rate (`unit` "rate"); no generator with that information names
    the needle more often than its upper end.

    >>> print(round(float(needle_success(1.6144, 100)), 4))
    0.5
    >>> float(needle_success(0.0, 4))
    0.25
    """
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    value = float(information)
    if math.isnan(value) or value < 0.0:
        raise ParameterError("information", "a number of at least 0", information)
    value /= UNITS[unit]
    count = positive_integer("needles", needles, 2)
    described: dict[str, Any] = {"unit": "rate", "theorems": ("M5",)}
    chance = 1.0 / count
    if value >= math.log(count):
        return Enclosure(1.0, 1.0, 1.0, **described)
    if value == 0.0:
        return Enclosure(chance, chance, chance, **described)
    rate = scipy.optimize.brentq(
        lambda s: binary_kl(s, chance) - value, chance, 1.0, xtol=1e-15, rtol=4 * EPS
    )
    # d kl / d s is the difference of two log-odds; where it is small, s is known to its square root
    slope = math.log(rate / chance) - math.log1p(-rate) + math.log1p(-chance) if rate < 1.0 else 1.0
    noise = 16.0 * EPS * (value + chance)
    error = min(noise / slope if slope > 0.0 else math.inf, math.sqrt(2.0 * noise)) + 4.0 * EPS
    return Enclosure(
        rate, max(rate - error, chance * (1.0 - EPS)), min(rate + error, 1.0), **described
    )


def _rate(parameter: str, value: Any) -> float:
    rate = real_number(parameter, value, "a rate in [0, 1]")
    if not 0.0 <= rate <= 1.0:
        raise ParameterError(parameter, "a rate in [0, 1]", value)
    return rate
