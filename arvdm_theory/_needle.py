r"""M5's formulas: what the success rate of a test says about a divergence or about a memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from arvdm_theory._arrays import NUMPY, common_shape, counts, floating, numpy_of, plain, require
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import ParameterError

Array = Any

EPS = float(np.finfo(np.float64).eps)


def binary_kl(p: Any, q: Any) -> Any:
    r"""M5's $kl_{bin}(p \| q) = p\log\frac pq + (1-p)\log\frac{1-p}{1-q}$, nats.

    Infinite if q excludes what p allows. Where p is close to q the sum is taken of
    $(1+x)\log(1+x) - x$ from its series, so that a small divergence keeps its digits.

    `p`, `q`: rates in [0, 1], numbers, arrays or tensors that broadcast; so is what is returned.

    >>> print(round(binary_kl(1.0, 0.1), 6))  # log 10
    2.302585
    >>> binary_kl([0.5, 0.5], [0.0, 0.5]).tolist()
    [inf, 0.0]
    """
    xp, (p, q) = floating(p=p, q=q)
    common_shape(p=p, q=q)
    for name, rate in (("p", p), ("q", q)):
        require(name, "a rate in [0, 1]", rate, (rate >= 0.0) & (rate <= 1.0))
    return plain(_binary_kl(xp, p, q))


def _binary_kl(xp: Any, p: Array, q: Array) -> Array:
    delta = p - q
    total = xp.zeros_like(delta)
    for a, b, change in ((p, q, delta), (1.0 - p, 1.0 - q, -delta)):
        outside, infinite = a <= 0.0, (b <= 0.0) & (a > 0.0)
        a, b = a + xp.zeros_like(change), b + xp.zeros_like(change)
        one = xp.ones_like(change)
        # a log(a/b) - a + b; where a branch is not taken its numbers are harmless
        safe = xp.where(b <= 0.0, one, b)
        x = change / safe
        near = xp.abs(x) < 0.1
        x = xp.where(near, x, xp.zeros_like(x))
        inner = xp.where(outside | near | infinite, safe, a)
        far = inner * xp.log(inner / safe) - inner + safe
        term = xp.where(near, safe * _relative_entropy(x), far)
        term = xp.where(outside, b, term)
        total = total + xp.where(infinite, xp.inf * one, term)
    return total


def _relative_entropy(x: Array) -> Array:
    """(1+x) log(1+x) - x, from its series: x²/2 - x³/6 + x⁴/12 - ..."""
    total = 0.0 * x
    for k in range(16, -1, -1):
        total = 1.0 / ((k + 1) * (k + 2)) - x * total
    return x * x * total


def needle_information(
    success: Any, needles: Any, *, form: str = "tight", unit: str = "nats"
) -> Enclosure:
    r"""M5: the information a memory must hold to find one of n equiprobable needles.

    $$I(\text{needle}; m, \text{Input}) \ge kl_{bin}(s \| 1/n), \qquad s \ge 1/n,$$

    and, weaker, Fano as it is usually printed: $s \log n - \log 2$, and its sharper printed form
    $\log n - h(s) - (1-s)\log(n-1)$, which *is* $kl_{bin}(s \| 1/n)$.

    Arguments
    ---------
    success: s, the probability that the needle is named, 0..1. At s < 1/n the answer is 0: naming
        fewer than a blind guess does needs no memory. A number, an array or a tensor.
    needles: n ≥ 2, equally likely; broadcasts with `success`.
    form: "tight" or "fano" ($\max(0, s \log n - \log 2)$).
    unit: "nats" or "bits".

    Returns an `Enclosure` of the bound, which is a lower bound on the information.

    Source: THEORY, M5 (data processing for the event "the needle is named").

    >>> print(round(float(needle_information(0.5, 100)), 4))
    1.6144
    >>> print(round(float(needle_information(0.5, 100, form="fano")), 4))
    1.6094
    >>> needle_information([0.2, 0.5, 1.0], [[4], [100]]).value.round(4).tolist()
    [[0.0, 0.1438, 1.3863], [0.4287, 1.6145, 4.6052]]
    """
    count = counts("needles", needles, 2)
    xp, (rate, n) = floating(success=success, needles=count)
    require("success", "a rate in [0, 1]", rate, (rate >= 0.0) & (rate <= 1.0))
    common_shape(success=rate, needles=n)
    chance = 1.0 / n
    if form == "tight":
        above = rate * n > 1.0
        value = xp.where(above, _binary_kl(xp, xp.where(above, rate, chance), chance), 0.0)
    elif form == "fano":
        value = rate * xp.log(n) - np.log(2.0)
        value = xp.where(value > 0.0, value, 0.0)
    else:
        raise ParameterError("form", "tight or fano", form)
    error = 16.0 * EPS * (value + chance + xp.abs(rate - chance))
    return Enclosure.around(plain(value), plain(error), least=0.0, theorems=("M5",)).to(unit)


def needle_success(information: Any, needles: Any, *, unit: str = "nats") -> Enclosure:
    r"""M5 inverted: the largest success that this much information allows.

    The s ≥ 1/n with $kl_{bin}(s \| 1/n) = I$; 1 from $I = \log n$ on.

    Arguments: `information` I(needle; m, Input) ≥ 0 in `unit`, infinity allowed, `needles` n ≥ 2;
    numbers, arrays or tensors that broadcast.

    Returns an `Enclosure` of the rate (`unit` "rate"); no generator with that information names
    the needle more often than its upper end.

    >>> print(round(float(needle_success(1.6144, 100)), 4))
    0.5
    >>> float(needle_success(0.0, 4))
    0.25
    """
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    count = counts("needles", needles, 2)
    xp, (given, n) = floating(infinite=("information",), information=information, needles=count)
    require("information", "a number of at least 0", given, given >= 0.0)
    common_shape(information=given, needles=n)
    value, chance = given / UNITS[unit], 1.0 / n
    certain, nothing = value >= xp.log(n), value <= 0.0
    inside = ~(certain | nothing)
    middle = 0.5 * xp.log(n)  # an information that has a root, where none is asked for
    value = xp.where(inside, value, middle)
    rate = xp.asarray(_root(numpy_of(value), numpy_of(chance + 0.0 * value)), device=value.device)
    rate = xp.where(rate < 1.0, rate, 1.0 - 0.5 * EPS)
    # d kl / d s is the difference of two log-odds; where it is small, s is known to its square root
    slope = xp.log(rate / chance) - xp.log1p(-rate) + xp.log1p(-chance)
    noise = 16.0 * EPS * (value + chance)
    rough = xp.sqrt(2.0 * noise)
    small = slope * rough < noise
    error = xp.where(small, rough, noise / xp.where(small, xp.ones_like(slope), slope)) + 4.0 * EPS
    if xp is not NUMPY:  # the implicit function's derivative, by a Newton step that stays in place
        rate = rate + xp.where(small, 0.0, value - value.detach()) / xp.where(
            small, xp.ones_like(slope), slope
        )
    least = chance * (1.0 - EPS)
    ends = [rate - error, rate, rate + error]
    ends = [xp.where(certain, 1.0, xp.where(nothing, chance, end)) for end in ends]
    low, rate, high = (xp.where(end > 1.0, 1.0, end) for end in ends)
    low = xp.where(low < least, least, low)
    low = xp.where(nothing, chance, low)
    return Enclosure(plain(rate), plain(low), plain(high), unit="rate", theorems=("M5",))


def _root(value: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """s > 1/n with kl(s ‖ 1/n) = value in (0, log n), by Newton from above.

    kl is convex and rises, so that from a point above the root every step stays above it.
    """
    start = chance + np.sqrt(0.5 * value)  # Pinsker
    short = np.full(value.shape, 0.25)
    for _ in range(6):
        inside = _binary_kl(NUMPY, 1.0 - short, chance) < value
        short = np.where(inside, np.maximum(short**2, 0.5 * EPS), short)
    rate = np.minimum(start, np.maximum(1.0 - short, chance))
    for _ in range(200):
        slope = np.log(rate / chance) - np.log1p(-rate) + np.log1p(-chance)
        excess = _binary_kl(NUMPY, rate, chance) - value
        above = (slope > 0.0) & (excess > 0.0)
        moved = np.where(above, excess / np.where(above, slope, 1.0), 0.0)
        rate = np.clip(rate - moved, chance, 1.0 - 0.5 * EPS)
        if np.all(moved <= EPS * rate):
            break
    return rate
