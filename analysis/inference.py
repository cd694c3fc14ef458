r"""Means over training seeds and test clips, where every seed is tested on the same clips.

Values $x_{sc}$ of seed s and clip c, crossed: $x_{sc} = \mu + a_s + b_c + e_{sc}$. The mean over
both has variance $\sigma_a^2/S + \sigma_b^2/C + \sigma_e^2/SC$, estimated by the variance of the S
seed means over S plus that of the C clip means over C (which counts the last term twice:
conservative).
A critical value is that of Student's t with S - 1 and with C - 1 degrees of freedom, weighted by
the two variances (Cochran and Cox): t over seeds where seeds differ, t over clips where they do
not, and on the safe side in between. Clips that share a map are alike: with `clusters` the variance
over clips is that of the clusters' sums, and there are as many degrees of freedom as clusters less
one. One seed alone says nothing about other seeds: its interval
is over clips only and `over` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from scipy.special import stdtrit

from arvdm_theory.errors import ParameterError

__all__ = ["Mean", "holm", "mean_over", "resolution", "trend"]


@dataclass(frozen=True, eq=False)
class Mean:
    """Mean of values `(..., S, C)` over the last two axes; every array has the shape `(...)`.

    `seed_variance` and `clip_variance` are those of the mean; NaN for what a single seed (or a
    value that has no clips) does not show. `trials`: what is counted as `clips`; `independent`: how
    many independent groups of them there are, if fewer.
    """

    value: np.ndarray
    seed_variance: np.ndarray
    clip_variance: np.ndarray
    seeds: int
    clips: int
    trials: str = "clips"
    independent: int | None = None

    @property
    def _clip_freedom(self) -> int:
        return max((self.clips if self.independent is None else self.independent) - 1, 1)

    @property
    def over(self) -> str:
        """What the interval covers."""
        shown = self.clips > 1 and self.independent != 1  # one cluster says nothing of others
        if self.seeds < 2:
            return f"{self.trials} only" if shown else "nothing"
        return f"seeds and {self.trials}" if shown else "seeds"

    @property
    def standard_error(self) -> np.ndarray:
        """Over seeds and clips; over clips alone where there is one seed."""
        parts = np.stack([self.seed_variance, self.clip_variance])
        total = np.nansum(parts, axis=0)
        return np.sqrt(np.where(np.isnan(parts).all(axis=0), np.nan, total))

    @property
    def seed_error(self) -> np.ndarray:
        """Standard error over seeds alone, as if the clips were all there are."""
        return np.sqrt(self.seed_variance)

    @property
    def clip_error(self) -> np.ndarray:
        """Standard error over clips alone, as if the networks were all there are."""
        return np.sqrt(self.clip_variance)

    @property
    def seed_share(self) -> np.ndarray:
        """Part of the variance that is between seeds; 0 where nothing varies."""
        # what a single seed cannot show takes no part here; `over` says what the interval covers
        between = np.nan_to_num(self.seed_variance)
        total = between + np.nan_to_num(self.clip_variance)
        return np.divide(between, total, out=np.zeros_like(total), where=total > 0.0)

    def quantile(self, tail: Any) -> np.ndarray:
        """Standard errors that a mean exceeds by chance with probability `tail` at most."""
        return self._quantile(self.seed_share, tail)

    def _quantile(self, share: np.ndarray, tail: Any) -> np.ndarray:
        over_seeds = -stdtrit(max(self.seeds - 1, 1), tail)
        over_clips = -stdtrit(self._clip_freedom, tail)
        return np.asarray(
            np.where(share > 0.0, share * over_seeds, 0.0)
            + np.where(share < 1.0, (1.0 - share) * over_clips, 0.0)
        )

    def interval(self, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Two-sided; not cut off at the ends of a range of values."""
        reach = self.quantile(0.5 * (1.0 - confidence)) * self.standard_error
        return self.value - reach, self.value + reach

    def p_above(self, threshold: float) -> np.ndarray:
        """One-sided p-value of "the mean is at most `threshold`"."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self.value - threshold) / self.standard_error
        return self._tail(np.where(self.value == threshold, 0.0, t))

    def p_below(self, threshold: float) -> np.ndarray:
        """One-sided p-value of "the mean is at least `threshold`"."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (threshold - self.value) / self.standard_error
        return self._tail(np.where(self.value == threshold, 0.0, t))

    def _tail(self, t: np.ndarray) -> np.ndarray:
        """The `tail` whose `quantile` is `t`, by bisection in the exponent."""
        size = np.abs(np.asarray(t, dtype=np.float64))
        low, high = np.full(size.shape, -40.0), np.zeros(size.shape)  # log2 of twice the tail
        share = self.seed_share
        for _ in range(40):
            middle = 0.5 * (low + high)
            beyond = self._quantile(share, 0.5 * np.exp2(middle)) > size
            low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
        tail = 0.5 * np.exp2(high)
        out = np.where(t >= 0.0, tail, 1.0 - tail)
        return np.asarray(np.where(np.isnan(t), np.nan, out))

    def power(self, excess: float, level: float) -> np.ndarray:
        """Probability that the test of `level` finds a mean that is `excess` above its threshold.

        At the observed noise: non-central t with Satterthwaite's degrees of freedom. With one seed
        the noise between seeds is not observed and counts for nothing: the power is too high.
        """
        between, within = np.nan_to_num(self.seed_variance), np.nan_to_num(self.clip_variance)
        error = self.standard_error
        ends = between**2 / max(self.seeds - 1, 1) + within**2 / self._clip_freedom
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = (between + within) ** 2 / ends
            shift = excess / error
            found = scipy.stats.nct.sf(self.quantile(level), freedom, np.minimum(shift, 30.0))
        certain = np.where(excess > 0.0, 1.0, 0.0)
        return np.asarray(np.where(error > 0.0, found, np.where(np.isnan(error), np.nan, certain)))


def resolution(clips: int) -> float:
    """Least variance of a share over `clips` trials: none is known better than they can show.

    With two successes and two failures added to trials that all went the same way (Agresti and
    Coull), p(1 - p)/(n + 4) with p = 2/(n + 4).

    >>> round(1.96 * resolution(200) ** 0.5, 4)
    0.0135
    """
    share = 2.0 / (clips + 4.0)
    return share * (1.0 - share) / (clips + 4.0)


def mean_over(
    values: Any, *, floor: float = 0.0, clusters: Sequence[int] | np.ndarray | None = None
) -> Mean:
    r"""The mean of values `(..., seeds, clips)` and its variances.

    `floor`: the variance over clips is at least this (`resolution`, for shares). `clips` = 1 stands
    for a value that a seed has as a whole. `clusters`: a label of every clip; clips of one label
    are not independent. The variance is then
    $\frac{k}{k-1} \sum_g (\sum_{c \in g} (\bar x_c - \bar x))^2 / C^2$ over k clusters, and no
    smaller than without them.

    >>> mean = mean_over([[0.0, 1.0], [2.0, 3.0]])
    >>> float(mean.value), float(mean.seed_variance), float(mean.clip_variance)
    (1.5, 1.0, 0.25)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ParameterError("values", "(..., seeds, clips), at least one of each", x.shape)
    if not np.all(np.isfinite(x)):
        raise ParameterError("values", "finite", "NaN or infinity")
    seeds, clips = x.shape[-2:]
    missing = np.full(x.shape[:-2], np.nan)
    between = x.mean(axis=-1).var(axis=-1, ddof=1) / seeds if seeds > 1 else missing
    within = x.mean(axis=-2).var(axis=-1, ddof=1) / clips if clips > 1 else missing
    independent = None
    if clusters is not None and clips > 1:
        labels, place = np.unique(clusters, return_inverse=True)
        if len(place) != clips:
            raise ParameterError("clusters", f"one label for each of {clips} clips", len(place))
        independent = len(labels)
        if independent > 1:
            of_clip = x.mean(axis=-2)
            away = of_clip - of_clip.mean(axis=-1, keepdims=True)
            sums = away @ np.equal.outer(place, np.arange(independent)).astype(np.float64)
            share = independent / (independent - 1.0) / clips**2
            within = np.maximum(within, share * (sums**2).sum(axis=-1))
        else:
            within = missing
    within = np.where(np.isnan(within), within, np.maximum(within, floor))
    return Mean(
        x.mean(axis=(-2, -1)),
        np.asarray(between),
        np.asarray(within),
        seeds,
        clips,
        independent=independent,
    )


def trend(sizes: Sequence[float]) -> np.ndarray:
    """Weights of values at `sizes`: change from the smallest to the largest, least squares in log.

    >>> bool(np.isclose(trend([2, 4, 8]) @ [1.0, 2.0, 3.0], 2.0))
    True
    """
    x = np.log2(np.asarray(sizes, dtype=np.float64))
    x -= x.mean()
    return np.asarray(x * (x[-1] - x[0]) / (x @ x))


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for all of them being looked at (Holm).

    >>> holm([0.03, 0.01, 0.2])
    [0.06, 0.03, 0.2]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        out[i] = largest
    return out
