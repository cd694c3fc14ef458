r"""Which schedule? The window, stride, references, ladder and sub-step grid of least KL at a cost.

By Theorem C two schedules that finish frames at the same δ from the same T differ, per finished
frame, by their γ-weighted denoising losses on real video,

$$\frac{1}{2\Delta}\sum_{n,j} (\gamma_{j,n+1}-\gamma_{j,n})\, E\|X^0_j - \hat x_j(X_n)\|^2 ,$$

a function of the levels alone once the law of the window given its context is known. `design`
minimises it over everything that D1 allows at a cost; `optimise_grid` over the sub-step grid of a
given method, which is the footing on which methods are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
import scipy.optimize

from arvdm_theory import noise
from arvdm_theory._gaussian import EPS, posterior_covariance, symmetrise
from arvdm_theory._window_law import WindowLaw
from arvdm_theory.checks import finite_array, positive_integer, real_number
from arvdm_theory.decomposition import (
    _scale,
    decompose,
    discretisation_error,
    noise_initialisation_error,
)
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.fit import one_blas_thread
from arvdm_theory.generator import (
    Biased,
    Estimated,
    Exact,
    Generator,
    Resolved,
    Scaled,
    affine_denoiser,
    resolve,
)
from arvdm_theory.schedule import RELEASED_SYSTEMS, Schedule
from arvdm_theory.video import GaussianVideo

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Design",
    "DesignedSchedule",
    "continuum_grid",
    "design",
    "evaluate",
    "named_methods",
    "optimise_grid",
]

OBJECTIVES = ("chain", "output")
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_TOLERANCE = 1e-8  # nats per frame between two rounds of the optimiser


@dataclass(frozen=True, eq=False, repr=False)
class DesignedSchedule:
    r"""One schedule with its cost and its rates per finished frame in the steady state, in nats.

    `cost` in frame-evaluations per output frame, (w + r) M / Δ, with the network calls M / Δ
    beside it. `chain` is Theorem C's rate, equal to NIE + SEE + DE + MB; `output` the output KL
    rate, `None` unless asked for. `error_bound` is that of `chain` by rounding, to first order in
    machine precision; how far the roll-out is from its steady state is not in it.
    """

    schedule: Schedule
    reference: int
    cost: float
    calls: float
    nie: float
    see: float
    de: float
    mb: float
    error_bound: float
    output: float | None = None

    @property
    def error(self) -> float:
        """What accumulates without being forgotten past: NIE + SEE + DE, nats per frame."""
        return self.nie + self.see + self.de

    @property
    def chain(self) -> float:
        """Chain KL, nats per frame."""
        return self.error + self.mb

    def value(self, objective: str = "chain") -> float:
        """The rate that was asked to be small, `chain` or `output`."""
        found = self.chain if objective == "chain" else self.output
        assert found is not None
        return found

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """Schedule, references, cost and rates as plain numbers. `unit`: `nats` or `bits`."""
        scale = _scale(unit)
        names = ("chain", "error", "nie", "see", "de", "mb", "output")
        values = {name: getattr(self, name) for name in names}
        return {
            "schedule": self.schedule.to_json(),
            "reference": self.reference,
            "cost": self.cost,
            "calls": self.calls,
            **{name: None if item is None else item * scale for name, item in values.items()},
            "error_bound": self.error_bound * scale,
            "unit": f"{unit} per frame",
        }

    def __repr__(self) -> str:
        schedule = self.schedule
        output = "" if self.output is None else f", output {self.output:.6g}"
        return (
            f"DesignedSchedule({schedule.method}: window={schedule.window}, "
            f"stride={schedule.stride}, reference={self.reference}, substeps={schedule.substeps}, "
            f"cost={self.cost:g}; nats per frame: chain {self.chain:.6g}{output}, "
            f"error {self.error:.6g}, mb {self.mb:.6g})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Design:
    """The best schedule at a cost, each named method on its own best grid, and the Pareto set.

    `pareto`: of all schedules looked at (named methods and lower costs too) those that no other
    one beats in cost, accumulated error and memory bottleneck together, cheapest first.
    """

    video: GaussianVideo
    generator: Generator
    objective: str
    best: DesignedSchedule
    named: dict[str, DesignedSchedule]
    candidates: tuple[DesignedSchedule, ...]
    pareto: tuple[DesignedSchedule, ...]

    theorems = ("A", "C")

    @property
    def gains(self) -> dict[str, float]:
        """By what fraction of its rate the best schedule undercuts each named method."""
        least = self.best.value(self.objective)
        return {name: 1.0 - least / it.value(self.objective) for name, it in self.named.items()}

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """Everything as plain numbers. `unit`: `nats` or `bits`."""
        return {
            "objective": self.objective,
            "best": self.best.to_json(unit),
            "named": {name: item.to_json(unit) for name, item in self.named.items()},
            "gains": self.gains,
            "pareto": [item.to_json(unit) for item in self.pareto],
            "theorems": list(self.theorems),
        }

    def to_frame(self, unit: str = "nats") -> pandas.DataFrame:
        """One row for the best schedule and each named method (needs pandas)."""
        import pandas

        rows, gains = [], {"designed": 0.0} | self.gains
        for name, item in ({"designed": self.best} | self.named).items():
            row = item.to_json(unit)
            schedule = row.pop("schedule")
            kept = {key: schedule[key] for key in ("window", "stride", "substeps")}
            rows.append({"method": name, **kept, **row, "gain": gains[name]})
        return pandas.DataFrame(rows)

    def citation(self) -> str:
        """BibTeX of what these numbers rest on."""
        from arvdm_theory.literature import citation

        return citation(self)

    def __repr__(self) -> str:
        if not self.named:
            return f"Design(least {self.objective} KL rate: {self.best})"
        name = min(self.gains, key=self.gains.__getitem__)
        gain = f"{100.0 * self.gains[name]:.2f} % below {name}, the best named method"
        return f"Design(least {self.objective} KL rate: {self.best}; {gain})"


# --- the law that a structure sees, and its loss --------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Setting:
    """What is compared: video, network, and where in a roll-out rates are taken."""

    video: GaussianVideo
    generator: Generator
    frames: int
    period: int

    @staticmethod
    def of(video: GaussianVideo, generator: Generator | None, frames: Any, period: Any) -> _Setting:
        generator = Generator() if generator is None else generator
        if not isinstance(video, GaussianVideo):
            raise ParameterError("video", "a GaussianVideo", type(video).__name__)
        if not isinstance(generator, Generator):
            raise ParameterError("generator", "a Generator", type(generator).__name__)
        if generator.sampler != "ancestral":
            raise RefusedError(
                "Theorem C, by which schedules are compared, holds for the ancestral sampler; got "
                f"{generator.sampler}"
            )
        if isinstance(generator.denoiser, Estimated):
            raise RefusedError(
                "a denoiser estimated from videos of a given length has no steady state beyond it"
            )
        frames = positive_integer("frames", frames, 8)
        period = positive_integer("period", period)
        if period > frames // 2:
            raise ParameterError("period", f"at most half of frames ({frames})", period)
        return _Setting(video, generator, frames, period)

    @property
    def short(self) -> bool:
        """Whether the window's law given its context is that of any place in the video."""
        believed = self.generator.denoiser.believed_video(self.video, self.frames)
        steady = self.video.stationary and believed.stationary
        return steady and self.generator.memory is None

    def world(self, schedule: Schedule, reference: int, *, whole: bool = False) -> Resolved:
        """The AR steps over which rates are averaged: the last ones before `frames` frames."""
        generator = replace(self.generator, reference=reference, initialisation=None)
        stride = schedule.stride
        if whole or not self.short:
            frames = min(self.frames, _PAST) if self.short else self.frames
            steps = max(frames // stride, -(-reference // stride) + 1)
        else:
            steps = -(-reference // stride) + 1
        world = resolve(self.video, schedule, generator, steps)
        kept = 1 if self.short else self.period // math.gcd(self.period, stride)
        truth = _last(world.truth, kept)
        belief = truth if world.belief is world.truth else _last(world.belief, kept)
        return replace(world, steps=min(kept, steps), truth=truth, belief=belief, initial=None)

    def constant(self, schedule: Schedule) -> float:
        """Theorem C's noise minus information per frame: the same for all schedules compared."""
        video, frames = self.video, self.frames
        span = 1 if self.short else self.period
        decay = float(np.exp(-2.0 * schedule.t_max))
        clean = video.covariance(frames)
        late = slice((frames - span) * video.dim, None)
        power = float(np.sum(np.diag(clean)[late]) + np.sum(video.means(frames)[-span:] ** 2))
        fresh = 0.5 * (decay * power / span - video.dim * (decay + np.log1p(-decay)))
        strength = float(noise.gamma(schedule.t_min))
        factor = np.linalg.cholesky(np.eye(clean.shape[0]) + strength * clean)
        return float(fresh - np.sum(np.log(np.diag(factor)[late])) / span)


_PAST = 64
"""Frames of past that a stationary video's NIE, itself of order e^{-2T}, is computed from."""


def _last(law: WindowLaw, kept: int) -> WindowLaw:
    names = ("mean", "context_mean", "given_past", "prediction", "context", "context_noise")
    arrays = {name: getattr(law, name)[-kept:] for name in (*names, "rounding", "slip")}
    return replace(law, **arrays, drive=None)


class _Loss:
    r"""E‖X⁰_j − x̂_j‖² of the window's moving frames at given levels, averaged over AR steps.

    Called with signal-to-noise ratios `(M, m)` of the m moving frames, returns losses `(M, m)` and
    their derivatives by the logarithms of those ratios, `(M, m, m)` (derivative last). Closed for
    denoisers that err by a scale or a bias: with V the posterior covariance,
    $\partial V_{ii}/\partial\gamma_j = -V_{ij}^2$. Else by central differences.
    """

    def __init__(self, world: Resolved, moving: np.ndarray) -> None:
        self.world, self.moving = world, moving
        self.dim = world.video.dim
        denoiser, truth = world.generator.denoiser, world.truth
        self.keep, self.added = 1.0, np.zeros(int(moving.sum()))
        self.closed = world.belief is truth and isinstance(denoiser, (Exact, Scaled, Biased))
        if not self.closed:
            return
        here = np.repeat(moving, self.dim)
        if isinstance(denoiser, Biased):
            self.added = self.added + float(
                np.sum(np.broadcast_to(denoiser.bias, (self.dim,)) ** 2)
            )
        if isinstance(denoiser, Scaled):
            missed = (1.0 - denoiser.factor) ** 2
            power = np.diagonal(truth.given_past, axis1=-2, axis2=-1) + truth.mean**2
            power = (power + np.sum(truth.prediction**2, axis=-1)).mean(axis=0)[here]
            self.keep, self.added = 1.0 - missed, missed * self._frames(power)
        prior = truth.given_context
        moved = prior[:, here][:, :, here]
        if not here.all():
            levels = world.schedule.gammas[0]
            still = np.repeat(1.0 / levels[~moving], self.dim)
            cross = prior[:, here][:, :, ~here]
            known = prior[:, ~here][:, :, ~here] + np.diag(still)
            moved = symmetrise(moved - cross @ np.linalg.solve(known, cross.swapaxes(-1, -2)))
        self.prior = moved[:1] if np.ptp(moved, axis=0).max() == 0.0 else moved

    def _frames(self, values: np.ndarray) -> np.ndarray:
        """Sums over each frame's coordinates, along the last axis."""
        return np.asarray(values.reshape(*values.shape[:-1], -1, self.dim).sum(axis=-1))

    def __call__(self, gammas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.closed:
            return self._by_differences(gammas)
        posterior = posterior_covariance(
            self.prior[:, None], np.repeat(gammas, self.dim, axis=1)[None]
        )
        own = self._frames(np.diagonal(posterior, axis1=-2, axis2=-1)).mean(axis=0)
        frames, size = gammas.shape[1], self.dim
        squared = np.square(posterior, out=posterior)
        if size > 1:
            squared = squared.reshape(*squared.shape[:2], frames, size, frames, size)
            squared = squared.sum(axis=(3, 5))
        slope = squared.mean(axis=0) * (-self.keep * gammas[:, None, :])
        return self.keep * own + self.added, slope

    def _by_differences(self, gammas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps, frames = gammas.shape
        losses, slopes = np.empty((steps, frames)), np.empty((steps, frames, frames))
        width = 1e-5
        for n in range(steps):
            losses[n] = self._at(gammas[n], n)
            for j in range(frames):
                up, down = gammas[n].copy(), gammas[n].copy()
                up[j] *= math.exp(width)
                down[j] *= math.exp(-width)
                slopes[n, :, j] = (self._at(up, n) - self._at(down, n)) / (2.0 * width)
        return losses, slopes

    def _at(self, gammas: np.ndarray, sub_step: int) -> np.ndarray:
        """The losses themselves, of any denoiser, as in Theorem C."""
        world, truth = self.world, self.world.truth
        levels = np.array(world.schedule.input_levels)
        levels[self.moving] = noise.time_from_gamma(gammas)
        denoiser = world.generator.denoiser
        model = affine_denoiser(denoiser, world.belief, truth, levels, sub_step)
        t = np.repeat(levels, self.dim)
        residual = np.eye(t.size) - model.window * np.asarray(noise.alpha(t))
        along = residual @ truth.prediction - model.context @ truth.context
        loss = np.sum(along**2, axis=-1) + np.sum((residual @ truth.given_past) * residual, axis=-1)
        loss = loss + np.sum((model.window * np.asarray(noise.sigma(t))) ** 2, axis=-1)
        loss = loss + model.offset**2
        loss = loss + np.sum((model.context * truth.context_noise[:, None, :]) ** 2, axis=-1)
        return self._frames(loss.mean(axis=0))[self.moving]


def _weighted(levels: np.ndarray, loss: _Loss) -> tuple[float, np.ndarray]:
    """½ Σ Δγ E‖X⁰ − x̂‖² of log-SNRs `(M + 1, m)`, and its derivatives by them."""
    gammas = np.exp(levels)
    values, slopes = loss(gammas[:-1])
    steps = np.diff(gammas, axis=0)
    change = np.zeros_like(gammas)
    change[1:] += gammas[1:] * values
    change[:-1] += np.einsum("ni,nij->nj", steps, slopes) - gammas[:-1] * values
    return 0.5 * float(np.sum(steps * values)), 0.5 * change


# --- all levels that D1 allows, by free numbers ---------------------------------------------------


def _shares(logits: np.ndarray) -> np.ndarray:
    """Softmax along the first axis: positive shares of 1."""
    grown = np.exp(logits - logits.max(axis=0))
    return np.asarray(grown / grown.sum(axis=0))


def _through_shares(shares: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Derivatives by the logits from those by the shares."""
    return np.asarray(shares * (change - np.sum(shares * change, axis=0)))


def _logits(parts: np.ndarray) -> np.ndarray:
    """Logits whose shares are the (floored) parts."""
    return np.asarray(np.log(np.maximum(parts, 1e-5 * parts.sum(axis=0))))


class _Levels:
    r"""Log-SNRs `(M + 1, m)` of the moving frames, as a function of free numbers.

    Ladder: $t^I_1 \le \dots \le t^I_{w-\Delta}$ cut the log-SNRs from T to δ into w − Δ + 1
    positive parts; circularity gives $t^O$. This is every ladder of D1, up to equal levels, which
    are limits. Grid: every frame's M sub-steps are positive parts of its own way, the same shares
    for all frames if `tied`.
    """

    def __init__(self, schedule: Schedule, *, ladder: bool, tied: bool) -> None:
        self.schedule, self.tied = schedule, tied
        self.ladder = ladder and schedule.window > schedule.stride
        self.moving = np.ones(schedule.window, dtype=bool) if self.ladder else schedule.moving
        self.steps = int(schedule.substeps or 0)
        self.frames = int(self.moving.sum())
        self.noisy = float(noise.log_snr(schedule.t_max))
        self.clean = float(noise.log_snr(schedule.t_min))
        self.start = np.asarray(noise.log_snr(schedule.input_levels))[self.moving]
        self.end = np.asarray(noise.log_snr(schedule.output_levels))[self.moving]
        self.rungs = schedule.window - schedule.stride + 1 if self.ladder else 0
        self.shape = (self.steps, 1 if tied else self.frames)

    def numbers(self, schedule: Schedule) -> np.ndarray:
        """The free numbers of a schedule of this structure (its mean grid, if tied)."""
        rungs = np.zeros(0)
        if self.ladder:
            kept = schedule.window - schedule.stride
            cuts = [[self.clean], noise.log_snr(schedule.input_levels[:kept]), [self.noisy]]
            rungs = _logits(-np.diff(np.concatenate(cuts)))
        parts = np.diff(np.asarray(noise.log_snr(schedule.grid))[:, self.moving], axis=0)
        way = parts.sum(axis=0)
        shares = np.where(way > 0.0, parts / np.where(way > 0.0, way, 1.0), 1.0 / self.steps)
        if self.tied:
            shares = shares.mean(axis=1, keepdims=True)
        return np.concatenate([rungs, _logits(shares).ravel()])

    def untied(self, numbers: np.ndarray) -> tuple[_Levels, np.ndarray]:
        """The same levels, each frame's sub-steps free."""
        free = _Levels(self.schedule, ladder=self.ladder, tied=False)
        inner = numbers[self.rungs :].reshape(self.shape)
        own = np.broadcast_to(inner, free.shape).ravel()
        return free, np.concatenate([numbers[: self.rungs], own])

    def _ends(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rungs = _shares(numbers[: self.rungs])
        cuts = self.clean - (self.clean - self.noisy) * np.cumsum(rungs)[:-1]
        stride = self.schedule.stride
        start = np.concatenate([cuts, np.full(stride, self.noisy)])
        return rungs, start, np.concatenate([np.full(stride, self.clean), cuts])

    def __call__(
        self, numbers: np.ndarray
    ) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """Levels, and the map from derivatives by them to derivatives by the numbers."""
        rungs, start, end = np.zeros(0), self.start, self.end
        if self.ladder:
            rungs, start, end = self._ends(numbers)
        shares = _shares(numbers[self.rungs :].reshape(self.shape))
        done = np.concatenate([np.zeros((1, shares.shape[1])), np.cumsum(shares, axis=0)])
        done[-1] = 1.0
        levels = start + (end - start) * done

        def back(change: np.ndarray) -> np.ndarray:
            along = change[1:] * (end - start)
            along = np.cumsum(along[::-1], axis=0)[::-1]
            if self.tied:
                along = along.sum(axis=1, keepdims=True)
            inner = _through_shares(shares, along).ravel()
            if not self.ladder:
                return inner
            stride = self.schedule.stride
            by_start = np.sum(change * (1.0 - done), axis=0)[: rungs.size - 1]
            by_end = np.sum(change * done, axis=0)[stride:]
            by_cut = -(self.clean - self.noisy) * (by_start + by_end)
            by_rung = np.append(np.cumsum(by_cut[::-1])[::-1], 0.0)
            return np.concatenate([_through_shares(rungs, by_rung), inner])

        return levels, back

    def build(self, numbers: np.ndarray, method: str) -> Schedule:
        """The schedule of these numbers."""
        schedule = self.schedule
        levels, _ = self(numbers)
        start, end = np.array(schedule.input_levels), np.array(schedule.output_levels)
        if self.ladder:
            kept = schedule.window - schedule.stride
            times = np.asarray(noise.time_from_log_snr(levels[0, :kept]))
            times = np.clip(np.maximum.accumulate(times), schedule.t_min, schedule.t_max)
            start[:kept], end[schedule.stride :] = times, times
        grid = np.repeat(start[None], self.steps + 1, axis=0)
        grid[:, self.moving] = noise.time_from_log_snr(levels)
        grid = np.minimum.accumulate(np.clip(grid, end, start), axis=0)
        grid[0], grid[-1] = start, end
        return Schedule(
            schedule.window,
            schedule.stride,
            start,
            end,
            grid=grid,
            context_noise=schedule.context_noise,
            context_level=None if schedule.context_noise == "none" else schedule.context_level,
            method=method,
        )


def _improve(
    levels: _Levels, numbers: np.ndarray, loss: _Loss, rounds: int
) -> tuple[float, np.ndarray]:
    """L-BFGS from `numbers`: the least loss per frame found and where, never worse than there."""
    stride = levels.schedule.stride
    begun = _weighted(levels(numbers)[0], loss)[0]
    if numbers.size == 0 or rounds == 0:
        return begun / stride, numbers

    def gained(now: np.ndarray) -> tuple[float, np.ndarray]:
        found, back = levels(now)
        value, change = _weighted(found, loss)
        return (value - begun) / stride, back(change) / stride

    options: Any = {"maxiter": rounds, "maxfun": 2 * rounds, "ftol": _TOLERANCE, "gtol": _TOLERANCE}
    result = scipy.optimize.minimize(gained, numbers, jac=True, method="L-BFGS-B", options=options)
    if result.fun < 0.0:
        return begun / stride + float(result.fun), np.asarray(result.x)
    return begun / stride, numbers


# --- starts ---------------------------------------------------------------------------------------


def _spaced(
    window: int,
    stride: int,
    substeps: int,
    ends: tuple[float, float],
    variance: float,
    stairs: bool,
) -> Schedule:
    r"""A start: levels equally spaced in log(1 + vγ) over a frame's whole way, for a variance v.

    That is the optimum of one Gaussian number of variance v alone.
    """
    place = np.arange(1, window - stride + 1)
    rungs = -(-window // stride)
    cuts = -(-place // stride) / rungs if stairs else place / (window - stride + 1)
    start = np.concatenate([cuts, np.ones(stride)])
    end = np.concatenate([np.zeros(stride), cuts])
    way = np.linspace(start, end, substeps + 1)
    levels = _from_way(way, ends, variance)
    return Schedule(window, stride, levels[0], levels[-1], grid=levels, method="designed")


def _from_way(way: np.ndarray, ends: tuple[float, float], variance: float) -> np.ndarray:
    """OU times at shares `way` of the distance from δ to T in log(1 + vγ)."""
    noisy, clean = (np.log1p(variance * float(noise.gamma(level))) for level in ends)
    gammas = np.expm1(clean + way * (noisy - clean)) / variance
    levels = np.asarray(noise.time_from_gamma(gammas))
    return np.where(way == 0.0, ends[1], np.where(way == 1.0, ends[0], levels))


def _respaced(schedule: Schedule, variance: float) -> Schedule:
    """The schedule with its sub-steps equally spaced in log(1 + vγ) instead."""
    ends = np.log1p(variance * schedule.gammas[[0, -1]])
    shares = np.linspace(0.0, 1.0, int(schedule.substeps or 0) + 1)[:, None]
    gammas = np.expm1(ends[0] + shares * (ends[1] - ends[0])) / variance
    start, end = schedule.input_levels, schedule.output_levels
    grid = np.clip(np.asarray(noise.time_from_gamma(gammas)), end, start)
    return replace(schedule, substeps=None, grid=np.minimum.accumulate(grid, axis=0))


def _variance(world: Resolved, moving: np.ndarray) -> float:
    """Mean conditional variance of a coordinate of the moving frames, given the context."""
    given = np.diagonal(world.truth.given_context, axis1=-2, axis2=-1).mean(axis=0)
    return max(float(given[np.repeat(moving, world.video.dim)].mean()), 1e-6)


# --- calculators ----------------------------------------------------------------------------------


def continuum_grid(variances: Any, *, t_max: float, t_min: float, substeps: int) -> np.ndarray:
    r"""Optimal sub-step levels of one frame as M → ∞: $\Delta\gamma \propto (-mmse')^{-1/2}$.

    DE = ½ Σ Δγ mmse(γ_n) − I is the error of a left Riemann sum,
    $\tfrac14\sum_n \Delta\gamma_n^2 (-mmse'(\gamma_n)) + O(\Delta\gamma^3)$. With spacing h(γ),
    $\tfrac14\int h\,(-mmse')\,d\gamma$ at fixed $\int d\gamma/h = M$ is least for
    $h \propto (-mmse')^{-1/2}$, where it is $(\int\sqrt{-mmse'}\,d\gamma)^2 / 4M$. For a single
    variance s the optimum is geometric in 1 + sγ at every M, not only in the limit.

    Arguments: `variances` eigenvalues of the frame's covariance given its context, positive;
    `t_max`, `t_min` OU times; `substeps` M. Returns OU times, `(M + 1,)`.

    >>> grid = continuum_grid([2.0], t_max=3.0, t_min=0.02, substeps=4)
    >>> steps = np.diff(np.log1p(2.0 * noise.gamma(grid)))
    >>> bool(np.allclose(steps, steps[0]))
    True
    """
    values = np.atleast_1d(finite_array("variances", variances))
    if values.ndim != 1 or np.any(values <= 0.0):
        raise ParameterError("variances", "positive numbers", variances)
    substeps = positive_integer("substeps", substeps)
    schedule = Schedule.next_frame(t_max=t_max, t_min=t_min, substeps=1)
    ends = (schedule.t_max, schedule.t_min)
    if np.ptp(values) == 0.0:
        return _from_way(np.linspace(1.0, 0.0, substeps + 1), ends, float(values[0]))
    logs = np.linspace(float(noise.log_snr(t_max)), float(noise.log_snr(t_min)), 1 << 14)
    gammas = np.exp(logs)
    slope = np.sum((values / (1.0 + values * gammas[:, None])) ** 2, axis=1)
    density = np.sqrt(slope) * gammas
    passed = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    found = np.interp(np.linspace(0.0, passed[-1], substeps + 1), passed, logs)
    grid = np.asarray(noise.time_from_log_snr(found))
    grid[0], grid[-1] = ends
    return grid


def evaluate(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    frames: int = 240,
    period: int = 1,
    output: bool = False,
) -> DesignedSchedule:
    r"""Rates per finished frame of one schedule in the steady state, by Theorem C.

    chain = noise + loss − information per frame, where noise and information are the same for all
    schedules that finish frames at this δ from this T; NIE, SEE and DE are Theorem A's, MB the rest
    (so that for a video that forgets slowly no schedule is favoured by where its steps fall).

    Arguments
    ---------
    generator: denoiser, `reference` r and memory; default exact without references.
    frames: length of the roll-out at whose end rates are taken. period: of a video that is not
        stationary but periodic, in frames: rates are means over it.
    output: also the output KL rate, of the last AR steps (not refused where it keeps growing).

    Raises `RefusedError` for a sampler other than ancestral and for an estimated denoiser.

    >>> from arvdm_theory.rates import rates
    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> schedule = Schedule.fifo(4, t_max=3.0, t_min=0.05, substeps=8)
    >>> bool(abs(evaluate(video, schedule).chain - rates(video, schedule).chain) < 1e-9)
    True
    """
    setting = _Setting.of(video, generator, frames, period)
    found = _evaluated(setting, schedule, setting.generator.reference, setting.constant(schedule))
    return replace(found, output=_output(setting, schedule, found.reference)) if output else found


def _evaluated(
    setting: _Setting, schedule: Schedule, reference: int, constant: float
) -> DesignedSchedule:
    stride, dim = schedule.stride, setting.video.dim
    world = setting.world(schedule, reference)
    gammas = np.repeat(schedule.gammas, dim, axis=1)
    de = float(np.mean(discretisation_error(world.truth.given_context, gammas))) / stride
    moving = schedule.moving
    levels = np.log(schedule.gammas[:, moving])
    loss = _weighted(levels, _Loss(world, moving))[0] / stride
    see = 0.0
    if world.belief is not world.truth or not isinstance(setting.generator.denoiser, Exact):
        plain = replace(world, generator=Generator(), belief=world.truth)
        see = loss - _weighted(levels, _Loss(plain, moving))[0] / stride
    late = setting.world(schedule, reference, whole=True).truth
    law = (late.given_past, late.prediction, late.mean, gammas[0])
    fresh = noise_initialisation_error(*law, schedule.t_max, stride * dim)
    nie = float(np.mean(fresh)) / stride
    coordinates = (setting.frames + schedule.window) * dim
    rounding = 64.0 * EPS * coordinates * (loss + abs(constant))
    weighed = float(np.sum(gammas[-1] - gammas[0])) / (2.0 * stride)
    rounding += weighed * float((world.truth.rounding + world.truth.slip).max())
    return DesignedSchedule(
        schedule=schedule,
        reference=reference,
        cost=schedule.cost(reference),
        calls=schedule.calls_per_frame(),
        nie=nie,
        see=see,
        de=de,
        mb=constant + loss - nie - see - de,
        error_bound=rounding,
    )


def _output(setting: _Setting, schedule: Schedule, reference: int) -> float:
    generator = replace(setting.generator, reference=reference)
    steps = max(setting.frames // schedule.stride, 2)
    per_step = decompose(setting.video, schedule, generator, steps=steps).output_per_step
    if per_step is None:
        raise RefusedError("the output KL is lost in rounding: fewer frames")
    kept = 1 if setting.short else setting.period // math.gcd(setting.period, schedule.stride)
    return float(np.mean(per_step[-kept:])) / schedule.stride


def optimise_grid(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    ladder: bool = False,
    frames: int = 240,
    period: int = 1,
    rounds: int = 200,
) -> Schedule:
    r"""The schedule with the sub-step grid (and, if asked, the ladder) of least chain KL rate.

    Every frame's sub-step levels are free; input and output levels stay, unless `ladder`: then they
    become the best that D1 allows at this window, stride, T and δ. A local optimum (L-BFGS with the
    exact gradient) from several starts, the given grid among them, so never worse than that.

    Arguments as for `evaluate`; `rounds`, of the optimiser. Returns a `Schedule`.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> schedule = Schedule.next_frame(t_max=3.0, t_min=0.05, substeps=8)
    >>> better = optimise_grid(video, schedule)
    >>> evaluate(video, better).de < 0.8 * evaluate(video, schedule).de
    True
    """
    setting = _Setting.of(video, generator, frames, period)
    rounds = positive_integer("rounds", rounds)
    world = setting.world(schedule, setting.generator.reference)
    starts = [schedule, _respaced(schedule, _variance(world, schedule.moving))]
    if ladder:
        shape = (schedule.window, schedule.stride, int(schedule.substeps or 0))
        ends, variance = (schedule.t_max, schedule.t_min), _variance(world, schedule.moving)
        starts += [_spaced(*shape, ends, variance, stairs) for stairs in (False, True)]
    with one_blas_thread():
        return _optimised(schedule, starts, world, rounds, ladder=ladder)[1]


def _optimised(
    schedule: Schedule, starts: list[Schedule], world: Resolved, rounds: int, *, ladder: bool
) -> tuple[float, Schedule]:
    """The least loss per frame from any of the starts, and its schedule."""
    first = _Levels(schedule, ladder=ladder, tied=True)
    loss = _Loss(world, first.moving)
    tried = []
    for start in starts:
        numbers = first.numbers(start)
        tried.append(_improve(first, numbers, loss, min(rounds, _FIRST_ROUNDS)))
    least, numbers = min(tried, key=lambda pair: pair[0])
    free, numbers = first.untied(numbers)
    if free.frames > 1 and rounds > _FIRST_ROUNDS:
        least, numbers = _improve(free, numbers, loss, rounds)
    built = free.build(numbers, schedule.method)
    given = _weighted(np.log(schedule.gammas[:, first.moving]), loss)[0] / schedule.stride
    return (least, built) if least <= given else (given, schedule)


_FIRST_ROUNDS = 40
"""Rounds with the same shares for all frames, before each frame's are freed."""


_SMALL: dict[str, tuple[dict[str, Any], int]] = {
    "fifo": ({"method": "fifo", "window": 8}, 0),
    "rolling": ({"method": "rolling", "window": 8}, 4),
    "outpainting": ({"method": "outpainting", "window": 8, "stride": 4}, 0),
    "chunk": ({"method": "chunk", "window": 4}, 4),
    "next_frame": ({"method": "next_frame"}, 7),
    "staircase": ({"method": "staircase", "window": 8, "stride": 2}, 0),
}


def named_methods(
    cost: float,
    *,
    t_max: float,
    t_min: float,
    methods: Mapping[str, tuple[Mapping[str, Any], int]] | None = None,
) -> dict[str, tuple[Schedule, int]]:
    """Name → (schedule, references) with the sub-steps that a cost allows, rounded *up*.

    Arguments: `cost` in frame-evaluations per output frame; `methods` name → (specification
    without T, δ and sub-steps, references), default every method of D3 at a small size and every
    released system at its own (WorldMem without its retrieved frames).

    >>> schedule, reference = named_methods(96, t_max=3.0, t_min=0.02)["rolling"]
    >>> schedule.window, reference, schedule.substeps
    (8, 4, 8)
    """
    cost = _cost(cost)
    if methods is None:
        released = {
            name: ({"method": method, **keys}, 0)
            for name, (method, keys) in RELEASED_SYSTEMS.items()
        }
        methods = {**_SMALL, **released}
    found = {}
    for name, (keys, reference) in methods.items():
        specification = {**keys, "t_max": t_max, "t_min": t_min}
        one = Schedule.from_json({**specification, "substeps": 1})
        count = math.ceil(cost / one.cost(reference) - 1e-9)
        schedule = Schedule.from_json({**specification, "substeps": max(count, 1)})
        found[name] = (schedule, reference)
    return found


def _cost(value: Any) -> float:
    cost = real_number("cost", value, "a number of at least 1")
    if cost < 1.0:
        raise ParameterError("cost", "a number of at least 1", value)
    return cost


def design(
    video: GaussianVideo,
    cost: float,
    generator: Generator | None = None,
    *,
    t_max: float,
    t_min: float,
    context: int = 16,
    objective: str = "chain",
    named: Mapping[str, tuple[Schedule, int]] | None = None,
    frames: int = 240,
    period: int = 1,
) -> Design:
    r"""The schedule of least KL rate at a cost: ladder, grid, window, stride and references.

    Every window w, stride Δ and number of references r (from a list of sizes, then around the best)
    with w + r ≤ `context` gets the sub-steps that the cost allows, M = ⌊cost Δ / (w + r)⌋. A quick
    comparison leaves the most promising; these get the best ladder and sub-step grid that D1
    allows. The same is done at a half and a quarter of the cost for the Pareto set. A local search:
    the result is a schedule with exactly known rates, not a proof that none is better.

    Arguments
    ---------
    video: a `GaussianVideo`, also one fitted to footage (`fit_video`). cost: frame-evaluations per
        output frame, (w + r) M / Δ, not to be exceeded. generator: denoiser (the network's error
        profile) and memory; its `reference` is not used.
    t_max, t_min: T and δ, OU times. context: frames that the network can see at once.
    objective: `chain` or `output`, the KL rate to make small. For `output`, which has no such
        decomposition, grids are sought between the default one and the one best for `chain`.
    named: name → (schedule, references) to compare with, each on its own best sub-step grid;
        default `named_methods(cost)`.
    frames, period: where in a roll-out, as in `evaluate`.

    Returns a `Design`. Raises as `evaluate`, and `ParameterError` for a cost of less than 1.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> named = {"next frame": (Schedule.next_frame(t_max=3.0, t_min=0.05, substeps=6), 3)}
    >>> found = design(video, 24, t_max=3.0, t_min=0.05, context=5, named=named, frames=60)
    >>> found.best.cost <= 24 and found.gains["next frame"] > 0.01
    True
    """
    setting = _Setting.of(video, generator, frames, period)
    cost, context = _cost(cost), positive_integer("context", context)
    if objective not in OBJECTIVES:
        raise ParameterError("objective", f"one of {', '.join(OBJECTIVES)}", objective)
    if named is None:
        named = named_methods(cost, t_max=t_max, t_min=t_min)
    for name, (schedule, _) in named.items():
        if (schedule.t_max, schedule.t_min) != (t_max, t_min):
            raise ParameterError(
                f"named[{name}]", f"from t_max {t_max:g} to t_min {t_min:g}", repr(schedule)
            )
    plain = Schedule.next_frame(t_max=t_max, t_min=t_min, substeps=1)
    with one_blas_thread():
        search = _Search(setting, (plain.t_max, plain.t_min), context, setting.constant(plain))
        found = search.best(cost)
        lower = [cost / share for share in (2.0, 4.0) if cost / share >= 1.0]
        cheaper = [item for less in lower for item in search.best(less, finalists=2)]
        others = {name: search.on_its_grid(*pair) for name, pair in named.items()}
        if objective == "output":
            found = [search.for_output(item) for item in found]
            others = {name: search.for_output(item) for name, item in others.items()}
    everything = (*found, *cheaper, *others.values())
    return Design(
        video=video,
        generator=setting.generator,
        objective=objective,
        best=min(found, key=lambda item: item.value(objective)),
        named=others,
        candidates=tuple(found),
        pareto=_pareto(everything),
    )


def _pareto(items: tuple[DesignedSchedule, ...]) -> tuple[DesignedSchedule, ...]:
    """Those that no other one beats in cost, error and memory bottleneck together."""
    keys = [(item.cost, item.error, item.mb) for item in items]
    kept = [
        item
        for item, key in zip(items, keys, strict=True)
        if not any(
            all(a <= b for a, b in zip(other, key, strict=True)) and other != key for other in keys
        )
    ]
    return tuple(sorted(kept, key=lambda item: (item.cost, item.error)))


Structure = tuple[int, int, int]  # window, stride, references


class _Search:
    """The search of `design` over structures, with what it has found so far."""

    def __init__(
        self, setting: _Setting, ends: tuple[float, float], context: int, constant: float
    ) -> None:
        self.setting, self.ends, self.context, self.constant = setting, ends, context, constant
        self.worlds: dict[Structure, Resolved] = {}

    def structures(self, cost: float) -> list[Structure]:
        """All of the listed sizes that fit into the context and the cost."""
        sizes = sorted({size for size in _SIZES if size <= self.context} | {self.context})
        references = [0, *sizes]
        return [
            (window, stride, reference)
            for window in sizes
            for stride in sizes
            for reference in references
            if self._fits((window, stride, reference), cost)
        ]

    def _fits(self, structure: Structure, cost: float) -> bool:
        window, stride, reference = structure
        return (
            1 <= stride <= window
            and 0 <= reference <= self.context - window
            and self._substeps(structure, cost) >= 1
        )

    @staticmethod
    def _substeps(structure: Structure, cost: float) -> int:
        window, stride, reference = structure
        return math.floor(cost * stride / (window + reference) + 1e-9)

    def world(self, structure: Structure) -> Resolved:
        """The law of the window of this structure."""
        if structure not in self.worlds:
            window, stride, reference = structure
            t_max, t_min = self.ends
            any_of_it = Schedule.outpainting(window, stride, t_max=t_max, t_min=t_min, substeps=1)
            self.worlds[structure] = self.setting.world(any_of_it, reference)
        return self.worlds[structure]

    def tried(self, structure: Structure, cost: float, rounds: int) -> tuple[float, Schedule]:
        """Least loss per frame of a structure, and its schedule."""
        window, stride, _ = structure
        world = self.world(structure)
        substeps = self._substeps(structure, cost)
        variance = _variance(world, np.ones(window, dtype=bool))
        shapes = (False, True) if 1 < stride < window else (False,)
        starts = [
            _spaced(window, stride, substeps, self.ends, variance, stairs) for stairs in shapes
        ]
        return _optimised(starts[0], starts, world, rounds, ladder=True)

    def best(self, cost: float, finalists: int = 4) -> list[DesignedSchedule]:
        """The finalists at a cost, best first, with the best chunk-wise one among them."""
        losses = {item: self.tried(item, cost, 0)[0] for item in self.structures(cost)}
        chunks = {item: loss for item, loss in losses.items() if item[0] == item[1]}
        promising = [*_least(losses, 3 * finalists), *_least(chunks, 2)]
        losses = {item: self.tried(item, cost, 12)[0] for item in promising}
        for _ in range(3):
            best = _least(losses, 1)[0]
            near = [it for it in _around(best) if it not in losses and self._fits(it, cost)]
            losses |= {item: self.tried(item, cost, 12)[0] for item in near}
            if _least(losses, 1)[0] == best:
                break
        chunks = {item: loss for item, loss in losses.items() if item[0] == item[1]}
        chosen = dict.fromkeys(_least(losses, finalists) + _least(chunks, 1))
        found = []
        for structure in chosen:
            schedule = self.tried(structure, cost, 200)[1]
            found.append(self._evaluated(schedule, structure[2]))
        return sorted(found, key=lambda item: item.chain)

    def _evaluated(self, schedule: Schedule, reference: int) -> DesignedSchedule:
        return _evaluated(self.setting, schedule, reference, self.constant)

    def on_its_grid(self, schedule: Schedule, reference: int) -> DesignedSchedule:
        """A named method on its own best sub-step grid."""
        world = self.setting.world(schedule, reference)
        starts = [schedule, _respaced(schedule, _variance(world, schedule.moving))]
        found = _optimised(schedule, starts, world, 200, ladder=False)[1]
        return self._evaluated(found, reference)

    def for_output(self, item: DesignedSchedule) -> DesignedSchedule:
        """The least output KL rate between the default grid (share 0) and the given one (1)."""
        schedule, reference = item.schedule, item.reference
        default = replace(schedule, grid=None)
        ends = [np.asarray(noise.log_snr(one.grid)) for one in (default, schedule)]

        def between(share: float) -> Schedule:
            levels = noise.time_from_log_snr((1.0 - share) * ends[0] + share * ends[1])
            grid = np.clip(np.asarray(levels), schedule.output_levels, schedule.input_levels)
            return replace(schedule, grid=np.minimum.accumulate(grid, axis=0))

        known = {
            share: _output(self.setting, between(share), reference)
            for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        }
        share = min(known, key=known.__getitem__)
        chosen = schedule if share == 1.0 else between(share)
        return replace(self._evaluated(chosen, reference), output=known[share])


def _around(structure: Structure) -> list[Structure]:
    """One frame more or less of each, or a reference for a window frame."""
    steps = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, -1), (1, 1, -1)]
    window, stride, reference = structure
    return [
        (window + sign * a, stride + sign * b, reference + sign * c)
        for a, b, c in steps
        for sign in (-1, 1)
    ]


def _least(losses: Mapping[Structure, float], count: int) -> list[Structure]:
    return sorted(losses, key=lambda item: (losses[item], item))[:count]
