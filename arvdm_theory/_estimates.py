"""Means and rates over independent trials, their intervals, and what M5 makes of rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from arvdm_theory._arrays import (
    common_shape,
    counts,
    floating,
    numpy_of,
    plain,
    refuse_tensors,
    require,
)
from arvdm_theory._needle import binary_kl
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError, TooLittleDataError


def probability(parameter: str, value: Any) -> float:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0.0 < value < 1.0:
        raise ParameterError(parameter, "in (0, 1)", value)
    return float(value)


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    r"""A mean over independent clusters (clips, videos, training seeds) with its standard error.

    Attributes
    ----------
    value, standard_error: of the mean; n: number of clusters.
    unit: of both; theorem: label of the result it estimates.
    samples: `(n,)` one number a cluster, or `None`; confidence: of `interval`.

    >>> estimate = Estimate.of(np.array([1.0, 2.0, 3.0]), unit="nats", theorem="T1")
    >>> estimate.value, round(estimate.standard_error, 4), estimate.n
    (2.0, 0.5774, 3)
    """

    value: float
    standard_error: float
    n: int
    unit: str
    theorem: str
    samples: np.ndarray | None = None
    confidence: float = 0.95

    @staticmethod
    def of(samples: Any, *, unit: str, theorem: str, confidence: float = 0.95) -> Estimate:
        """Mean and standard error of independent samples, `(n,)` with n at least 2."""
        values = np.array(samples, dtype=np.float64)
        if values.ndim != 1 or values.size < 2:
            raise TooLittleDataError("samples", "at least 2 independent ones", values.shape)
        values.flags.writeable = False
        error = float(values.std(ddof=1)) / float(np.sqrt(values.size))
        mean = float(values.mean())
        return Estimate(
            mean, error, values.size, unit, theorem, values, probability("confidence", confidence)
        )

    @property
    def interval(self) -> tuple[float, float]:
        """Student's interval of the mean at `confidence`, n - 1 degrees of freedom."""
        reach = float(scipy.stats.t.ppf(0.5 + 0.5 * self.confidence, self.n - 1))
        half = reach * self.standard_error
        return self.value - half, self.value + half

    def difference(self, other: Estimate) -> Estimate:
        """`self` - `other`, paired cluster by cluster: same clips in the same order.

        Raises `ParameterError` if they cannot be paired.
        """
        if self.samples is None or other.samples is None or self.n != other.n:
            raise ParameterError("other", f"an estimate over the same {self.n} clusters", other.n)
        if self.unit != other.unit:
            raise ParameterError("other", f"in {self.unit}", other.unit)
        return Estimate.of(
            self.samples - other.samples,
            unit=self.unit,
            theorem=self.theorem,
            confidence=self.confidence,
        )

    def z(self, truth: float) -> float:
        """(value - truth) / standard error: about standard normal if the estimator is right."""
        return (self.value - truth) / self.standard_error

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, without the samples."""
        return {
            "value": self.value,
            "standard_error": self.standard_error,
            "n": self.n,
            "interval": list(self.interval),
            "confidence": self.confidence,
            "unit": self.unit,
            "theorem": self.theorem,
        }

    def __repr__(self) -> str:
        return (
            f"Estimate({self.value:.6g} ± {self.standard_error:.2g} {self.unit}, n={self.n}, "
            f"{self.theorem})"
        )


def over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """Mean over training seeds of the same estimate; its standard error is over seeds.

    A claim about a kind of network needs at least 3 seeds: the standard error over clips says only
    how well *one* network was measured. Raises `TooLittleDataError` below 2.

    >>> common = {"unit": "nats", "theorem": "T1"}
    >>> seeds = [Estimate.of([k, k + 1.0], **common) for k in range(3)]
    >>> over_seeds(seeds).value, over_seeds(seeds).n
    (1.5, 3)
    """
    if len(estimates) < 2:
        raise TooLittleDataError("estimates", "at least 2 (one a seed)", len(estimates))
    first = estimates[0]
    return Estimate.of(
        [item.value for item in estimates],
        unit=first.unit,
        theorem=first.theorem,
        confidence=first.confidence,
    )


# --- rates ----------------------------------------------------------------------------------------


def clopper_pearson(successes: Any, trials: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """Exact (conservative) two-sided interval of a rate from independent trials.

    Each side alone errs with probability at most (1 - `confidence`) / 2. Counts may be arrays,
    which broadcast.

    >>> low, high = clopper_pearson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    refuse_tensors(successes=successes, trials=trials)
    n, k = counts("trials", trials), counts("successes", successes, 0)
    common_shape(successes=k, trials=n)
    require("successes", f"at most trials ({trials})", k + 0 * n, k <= n)
    return _one_sided(k, n, 0.5 * (1.0 - probability("confidence", confidence)))


def _one_sided(successes: Any, trials: Any, tail: float) -> tuple[Any, Any]:
    """The two one-sided limits, each of which errs with probability at most `tail`."""
    k, n = np.broadcast_arrays(successes, trials)
    some, short = k > 0, k < n
    low = scipy.special.betaincinv(np.where(some, k, 1), n - k + 1, tail)
    high = scipy.special.betaincinv(k + 1, np.where(short, n - k, 1), 1.0 - tail)
    return plain(np.where(some, low, 0.0)), plain(np.where(short, high, 1.0))


@dataclass(frozen=True, eq=False, repr=False)
class Proportion:
    """A success rate over independent trials with its Clopper–Pearson interval."""

    successes: int
    n: int
    confidence: float = 0.95
    theorem: str = "T3"
    unit: str = "rate"

    @property
    def value(self) -> float:
        """successes / n."""
        return self.successes / positive_integer("n", self.n)

    @property
    def standard_error(self) -> float:
        """Binomial, at the measured rate (0 at rates 0 and 1: use the interval)."""
        return float(np.sqrt(self.value * (1.0 - self.value) / self.n))

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper–Pearson at `confidence`."""
        return clopper_pearson(self.successes, self.n, self.confidence)

    def __repr__(self) -> str:
        low, high = self.interval
        return f"Proportion({self.successes}/{self.n}, [{low:.3f}, {high:.3f}])"


@dataclass(frozen=True, eq=False, repr=False)
class NeedleBound:
    r"""M5: a certified lower bound on KL(P‖Q) from how often an event happens under each.

    `value` in nats holds with probability `confidence` over the trials; `plug_in` is kl_bin of the
    measured rates, not certified. `truth_lower` ≤ s_P and `generated_upper` ≥ s_Q are the two
    one-sided Clopper–Pearson limits used. All four are arrays (tensors) where a known rate was.
    """

    value: Any
    plug_in: Any
    truth_lower: Any
    generated_upper: Any
    confidence: float
    theorem: str = "M5"
    unit: str = "nats"

    def __repr__(self) -> str:
        value = numpy_of(self.value)
        least = f"{float(value):.4g}" if value.ndim == 0 else f"{value.size} values"
        if value.ndim and value.size:
            least = f"{value.min():.4g} to {value.max():.4g} ({least})"
        return f"NeedleBound(KL >= {least} nats at {self.confidence:.0%}, M5)"


def needle_bound(truth: Any, generated: Any, confidence: float = 0.95) -> NeedleBound:
    r"""M5: $KL(P\|Q) \ge kl_{bin}(s_P \| s_Q)$ for any event of the whole video.

    From trials, with α = 1 − `confidence`: Clopper–Pearson at α/2 each, the lower limit of s_P
    against the upper limit of s_Q, 0 if they cross. From two known rates: the formula itself, at
    confidence 1.

    Arguments
    ---------
    truth: trials on real videos (independent of the generated ones' noise, not necessarily of their
        contexts: a union bound is used), or the number s_P itself if it is known (1 where returning
        views are exact by construction); then s_Q gets all of α. Known rates may be arrays or
        tensors, which broadcast.
    generated: trials on generated videos, or the number s_Q; then s_P gets all of α.
    confidence: of the bound from trials.

    Raises `ParameterError` for a rate outside [0, 1].

    Source: THEORY, M5 (data processing for one event).

    >>> bound = needle_bound(Proportion(50, 50), Proportion(5, 50))
    >>> round(bound.value, 3), round(bound.plug_in, 3)
    (1.175, 2.303)
    >>> needle_bound(Proportion(5, 10), Proportion(4, 10)).value
    0.0
    >>> round(needle_bound(1.0, 0.1).value, 3)  # log(1 / s_Q)
    2.303
    >>> needle_bound(1.0, [0.1, 0.5]).value.round(3).tolist()
    [2.303, 0.693]
    """
    alpha = 1.0 - probability("confidence", confidence)
    sampled = [rate for rate in (truth, generated) if isinstance(rate, Proportion)]
    share = alpha / max(len(sampled), 1)
    rate, lower, _ = _limits("truth", truth, share)
    model, _, upper = _limits("generated", generated, share)
    plug_in = binary_kl(rate, model)
    if not sampled:
        return NeedleBound(plug_in, plug_in, lower, upper, 1.0)
    xp, (low, high) = floating(truth=lower, generated=upper)
    apart = low > high
    value = xp.where(apart, binary_kl(low, xp.where(apart, high, low)), 0.0)
    return NeedleBound(plain(value), plug_in, lower, upper, 1.0 - alpha)


def _limits(name: str, rate: Any, share: float) -> tuple[Any, Any, Any]:
    """The rate and its two one-sided limits, each at level `share`; a known rate is its own."""
    if isinstance(rate, Proportion):
        clopper_pearson(rate.successes, rate.n)  # refuses counts that are none
        return rate.value, *_one_sided(rate.successes, rate.n, share)
    constraint = "a Proportion, or a rate in [0, 1]"
    try:
        _, (known,) = floating(**{name: rate})
    except ParameterError:
        raise ParameterError(name, constraint, rate) from None
    require(name, constraint, known, (known >= 0.0) & (known <= 1.0))
    known = plain(known)
    return known, known, known


def published_rate_bound(
    rate: float,
    assumed_n: Sequence[int] | np.ndarray,
    *,
    truth: float | None = 1.0,
    confidence: float = 0.95,
    rounding: float = 0.0,
) -> list[NeedleBound]:
    r"""M5 for a published success rate, whose number of trials was not given.

    One bound for each assumed n: the rate is read as k of n independent trials, with the largest k
    that it may have been: the least k with k/n ≥ rate, or more if `rounding`, half a unit of the
    last printed digit, leaves room.
    `truth`: s_P as a known number, or `None` to assume that the truth too was scored on n trials
    and always succeeded. A statement "if n was ...", never a certificate.

    >>> [round(bound.value, 2) for bound in published_rate_bound(0.1, [10, 100, 1000])]
    [0.93, 1.81, 2.14]
    """
    if not 0.0 <= rate <= 1.0:
        raise ParameterError("rate", "in [0, 1]", rate)
    bounds = []
    for n in assumed_n:
        n = positive_integer("assumed_n", int(n))
        successes = max(
            math.ceil(rate * n - 1e-9), math.floor(min(1.0, rate + rounding) * n + 1e-9)
        )
        generated = Proportion(successes, n, confidence)
        real = Proportion(n, n, confidence) if truth is None else truth
        bounds.append(needle_bound(real, generated, confidence))
    return bounds
