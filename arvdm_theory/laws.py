r"""Every theorem as a law: a bound calculator, yours or the package's, against the slow exact way.

A `Law` of `LAWS` (by THEORY label) draws worlds, asks a calculator for its number and compares it
with the exact value from a dense joint Gaussian law (or a finite sum), which shares no formula with
the package's calculators. A broken law names the world, the bound and the exact value.

>>> from arvdm_theory.laws import LAWS
>>> law = LAWS["R1"]
>>> print(law.statement)
a linear memory of b numbers forgets at least ½ Σ_{i>b} ℓ_i
>>> law.test(max_examples=20)  # the package's own calculator

A calculator takes the law's world (`law.world` says which fields it has) and returns what
`law.returns` says, as numbers or `Enclosure`s. Here is one of ours for M2, where Z sees X only
through Y: the information of two scalars. It is right, and 5 % more than it is not:

>>> import numpy as np
>>> def floor(world):
...     c, (x, z, y) = world.law.covariance, map(list, (world.law.x, world.law.z, world.law.given))
...     det = lambda *parts: np.linalg.slogdet(c[np.ix_(sum(parts, []), sum(parts, []))])[1]
...     return 0.5 * (det(x, y) + det(z, y) - det(x, z, y) - (det(y) if y else 0.0))
>>> LAWS["M2"].test(floor, max_examples=40)
>>> LAWS["M2"].test(lambda world: 1.05 * floor(world), max_examples=40)
Traceback (most recent call last):
...
AssertionError: M2 (floor): bound ... must be at most the exact ...

Single worlds: `law.check(calculator, world)`; hunts for the tightest and loosest world: `hunt`.
`test` and `strategy` need hypothesis (the extra `test`); nothing else here does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from arvdm_theory import _dense, _law_worlds
from arvdm_theory._law_worlds import Point
from arvdm_theory._recursive_memory import recursive_memory_floor
from arvdm_theory.accumulation import (
    clip_accumulation,
    drift_bound,
    drifting_chain,
    memory_trade_off,
    saturation,
    sequence_kl,
    smoothed_kl,
)
from arvdm_theory.decomposition import compare_schedules
from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import ParameterError
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    canonical_correlations,
    impossibility_floor,
    information_given_memory,
    linear_memory_floor,
    memory_bottleneck_of,
    metric_blindness,
    needle_bound,
    needle_information,
    output_kl_of_chunks,
    pair_law_floor,
    renoising_cost,
    roll_out_floor,
    stochastic_memory,
)

__all__ = ["LAWS", "Comparison", "Extreme", "Law", "check", "hunt", "test"]

Calculator = Callable[[Any], Any]
Relation = Literal["at most", "at least", "equal to"]

LEAST = 1e-3
"""Ratios are taken where the exact value is at least this (nats, or a frame's unit)."""


@dataclass(frozen=True)
class Comparison:
    """One number of a calculator beside its exact value: `bound` must be `relation` `exact`.

    `slack`: what rounding of either side may add. `name`: of the inequality, within its law.
    """

    name: str
    relation: Relation
    bound: float
    exact: float
    slack: float

    @property
    def holds(self) -> bool:
        """Whether the relation holds up to the slack; a NaN breaks it."""
        if self.relation == "at most":
            return self.bound <= self.exact + self.slack
        if self.relation == "at least":
            return self.bound >= self.exact - self.slack
        return abs(self.bound - self.exact) <= self.slack

    @property
    def ratio(self) -> float:
        """bound / exact, NaN where the exact value is too small for a ratio."""
        return self.bound / self.exact if self.exact >= LEAST else math.nan

    @property
    def tightness(self) -> float:
        """Grows towards 1 as an inequality gets tight, above where it breaks; equalities: error."""
        if self.relation == "equal to":
            return abs(self.bound - self.exact) / self.slack if self.slack > 0.0 else math.nan
        ratio = self.ratio
        if math.isnan(ratio) or self.relation == "at most":
            return ratio
        return 1.0 / ratio if ratio > 0.0 else math.inf


@dataclass(frozen=True, eq=False)
class Law:
    r"""One theorem, as something that a calculator can obey or break.

    Attributes
    ----------
    label: of THEORY, a key of `LAWS`. statement: in one line.
    returns: what a calculator returns for a world. world: class of the worlds.
    calculator: the package's own. build: reads a world off a `Point`; size: coordinates it reads
        at most. weight: cost of one world, in units of the cheapest laws'.
    """

    label: str
    statement: str
    returns: str
    world: type
    calculator: Calculator
    build: Callable[[Point], Any]
    _compare: Callable[[Any, list[tuple[float, float]]], Iterator[Comparison]]
    size: int = 40
    weight: int = 1

    def compare(self, calculator: Calculator, world: Any) -> list[Comparison]:
        """What the calculator says of this world beside the exact values."""
        return list(self._compare(world, _numbers(calculator(world))))

    def check(self, calculator: Calculator, world: Any) -> None:
        """Raise `AssertionError` naming bound, exact value and world if the law is broken."""
        for item in self.compare(calculator, world):
            if not item.holds:
                raise AssertionError(
                    f"{self.label} ({item.name}): bound {item.bound:.12g} must be {item.relation} "
                    f"the exact {item.exact:.12g} (rounding {item.slack:.2g}) in the world "
                    f"{json.dumps(world.to_json())}"
                )

    @property
    def strategy(self) -> Any:
        """A Hypothesis strategy of this law's worlds."""
        from hypothesis import strategies as st

        numbers = st.floats(0.0, 1.0, allow_nan=False, width=32)
        points = st.lists(numbers, min_size=self.size, max_size=self.size)
        return points.map(lambda coordinates: self.build(Point(coordinates)))

    def test(
        self,
        calculator: Calculator | None = None,
        *,
        max_examples: int = 100,
        shrink: bool = False,
    ) -> None:
        """Try the calculator (default: the package's) on drawn worlds, the tightest preferred.

        `hypothesis.target` steers towards worlds where the inequality is tight; with `shrink` a
        counterexample is simplified first. The same worlds are drawn every time.

        Raises `AssertionError` as `check` does.
        """
        from hypothesis import HealthCheck, Phase, given, settings, target

        chosen = self.calculator if calculator is None else calculator
        phases = [Phase.generate, Phase.target, *([Phase.shrink] if shrink else [])]

        @settings(
            max_examples=max_examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        )
        @given(self.strategy)
        def law(world: Any) -> None:
            for item in self.compare(chosen, world):
                if math.isfinite(item.tightness):
                    target(item.tightness, label=item.name)
            self.check(chosen, world)

        law()

    def __repr__(self) -> str:
        return f"Law({self.label}: {self.statement})"


def _numbers(value: Any) -> list[tuple[float, float]]:
    """(value, own rounding) of each number that a calculator returned."""
    items = value if isinstance(value, (tuple, list, np.ndarray)) else [value]
    found = []
    for item in items:
        if isinstance(item, Enclosure):
            number = item.to("nats") if item.unit == "bits" else item
            width = max(number.value - number.lower, number.upper - number.value)
            # an upper end that no longer past has been given is not rounding
            found.append((number.value, width if width < 1e-6 else 1e-6))
        else:
            found.append((float(item), 0.0))
    return found


def check(label: str, calculator: Calculator, world: Any) -> None:
    """`LAWS[label].check(calculator, world)`."""
    _law(label).check(calculator, world)


def test(label: str, calculator: Calculator | None = None, **options: Any) -> None:
    """`LAWS[label].test(calculator, ...)`."""
    _law(label).test(calculator, **options)


test.__test__ = False  # type: ignore[attr-defined]  # not a test of pytest's


def _law(label: str) -> Law:
    if label not in LAWS:
        raise ParameterError("label", f"one of {', '.join(LAWS)}", label)
    return LAWS[label]


# --- the hunt for tight and loose worlds ----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Extreme:
    """Extremes of one inequality over a hunt: ratios bound / exact and the worlds they are of.

    For an equality both are the extremes of the ratio itself. `worlds`: how many were looked at
    and `scored`: had an exact value of at least `LEAST`. `broken`: how many broke the law.
    """

    label: str
    name: str
    relation: Relation
    tightest: Comparison
    tightest_world: Any
    loosest: Comparison
    loosest_world: Any
    worlds: int
    scored: int
    broken: int


def hunt(
    law: Law,
    calculator: Calculator | None = None,
    *,
    draws: int = 200,
    refinements: int = 100,
    seed: int = 0,
) -> list[Extreme]:
    """The tightest and the loosest world of each of a law's inequalities that were found.

    `draws` random points, then from the best of each kind `refinements` moves of some coordinates,
    of a size that shrinks with failure and grows with success. Same seed, same worlds.
    """
    chosen = law.calculator if calculator is None else calculator
    search = _Hunt(law, chosen, np.random.default_rng(seed))
    search.draw(draws)
    for name in list(search.best):
        for kind in (0, 1):
            search.refine(name, kind, refinements)
    return search.extremes()


class _Hunt:
    """`best[name][kind]`: (score, comparison, point), kind 0 the tightest and 1 the loosest."""

    def __init__(self, law: Law, calculator: Calculator, rng: np.random.Generator) -> None:
        self.law, self.calculator, self.rng = law, calculator, rng
        self.best: dict[str, list[tuple[float, Comparison, np.ndarray]]] = {}
        self.scored: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.worlds = 0

    def evaluate(self, point: np.ndarray) -> dict[str, Comparison]:
        """Compare at one point and keep what is extreme."""
        world = self.law.build(Point(point))
        found = {item.name: item for item in self.law.compare(self.calculator, world)}
        self.worlds += 1
        for name, item in found.items():
            self.broken[name] = self.broken.get(name, 0) + (not item.holds)
            if math.isnan(item.ratio):
                continue
            self.scored[name] = self.scored.get(name, 0) + 1
            kept = self.best.setdefault(name, [(-math.inf, item, point)] * 2)
            for kind in (0, 1):
                score = _score(item, kind)
                if score > kept[kind][0]:
                    kept[kind] = (score, item, point)
        return found

    def draw(self, count: int) -> None:
        for _ in range(count):
            self.evaluate(self.rng.random(self.law.size))

    def refine(self, name: str, kind: int, count: int) -> None:
        step = 0.3
        for _ in range(count):
            before, _, point = self.best[name][kind]
            moved = self.rng.random(point.size) < max(0.15, 2.0 / point.size)
            change = step * self.rng.standard_normal(point.size)
            ends = self.rng.random(point.size) < 0.05  # a departure of exactly 0
            candidate = np.clip(np.where(moved, point + change, point), 0.0, 1.0)
            self.evaluate(np.where(moved & ends, 0.0, candidate))
            step = min(1.5 * step, 0.5) if self.best[name][kind][0] > before else 0.93 * step

    def extremes(self) -> list[Extreme]:
        out = []
        for name, ((_, tight, near), (_, loose, far)) in self.best.items():
            out.append(
                Extreme(
                    self.law.label,
                    name,
                    tight.relation,
                    tight,
                    self.law.build(Point(near)),
                    loose,
                    self.law.build(Point(far)),
                    self.worlds,
                    self.scored[name],
                    self.broken[name],
                )
            )
        return out


def _score(item: Comparison, kind: int) -> float:
    """Largest for the tightest (kind 0) or the loosest (kind 1)."""
    ratio = item.ratio
    if item.relation == "equal to":
        return ratio if kind else -ratio
    tight = ratio if item.relation == "at most" else -ratio
    return -tight if kind else tight


# --- the laws -------------------------------------------------------------------------------------


def _slack(exact: float, relative: float, own: float = 0.0) -> float:
    """Rounding of a dense value, of the calculator's own, and of comparing them."""
    return (1.0 + abs(exact)) * (relative + 1e-12) + own


def _chain(world: Any) -> _dense.ChainLaws:
    return _dense.chain_laws(world.video, world.schedule, world.generator, world.steps)


def _compare_a(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    chain = _chain(world)
    exact = chain.divergence()
    slack = _slack(exact, chain.rounding(), sum(own for _, own in given))
    terms = [value for value, _ in given]
    yield Comparison("sum of the terms", "equal to", math.fsum(terms), exact, slack)
    # written as 0 <= least term, so that a negative one is named
    yield Comparison("least term, at least 0", "at least", min(terms), 0.0, slack)


def _terms(world: Any) -> list[float]:
    result = world.decompose()
    arrays = (result.nie_per_step, result.see_per_step, result.de_per_step, result.mb_per_step)
    return [result.ie, *np.concatenate(arrays).tolist()]


def _against_chain(
    name: str, relation: Relation, coordinates: str
) -> Callable[[Any, list[tuple[float, float]]], Iterator[Comparison]]:
    """Compare one number with the KL of all states, of the output, or of the last clip."""

    def compare(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
        chain = _chain(world)
        where: np.ndarray | None = None
        if coordinates == "output":
            where = chain.output
        elif coordinates == "clip":
            where = chain.output[-world.schedule.stride * world.video.dim :]
        exact = chain.divergence(where)
        (bound, own), *_ = given
        yield Comparison(name, relation, bound, exact, _slack(exact, chain.rounding(), own))

    return compare


def _theorem_c(world: Any) -> float:
    [row] = compare_schedules(world.video, [world.schedule], world.generator, frames=world.frames)
    return row.chain


def _two_sided(world: Any) -> tuple[float, float]:
    result = clip_accumulation(world.video, world.schedule, world.generator, steps=world.steps)
    return float(result.lower[-1]), float(result.upper[-1])


def _compare_two_sided(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    chain = _chain(world)
    clip = chain.divergence(chain.output[-world.schedule.stride * world.video.dim :])
    slack = _slack(clip, chain.rounding())
    yield Comparison("clip KL from below", "at most", given[0][0], clip, slack + given[0][1])
    if math.isfinite(given[1][0]):
        yield Comparison("clip KL from above", "at least", given[1][0], clip, slack + given[1][1])


def _compare_m1(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    law = world.law
    rounding = 1e6 * _dense.EPS + _dense.rounding(law.covariance)
    exact, (bound, own) = world.bottleneck(), given[0]
    slack = _slack(exact, rounding, own)
    yield Comparison("I(X;Z|Y,m)", "equal to", bound, exact, slack)
    without = _dense.information(law.covariance, law.x, law.z, law.given)
    yield Comparison("no more than without m", "at most", bound, without, slack)


def _m1(world: Any) -> Enclosure:
    law = world.law
    return information_given_memory(
        law.covariance, law.x, law.z, world.matrix.reshape(world.size, len(law.x)), law.given
    )


def _compare_m2(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    truth, model = world.law.covariance, world.covariance()
    none = np.zeros(len(truth))
    exact, (bound, own) = _dense.kl(none, truth, none, model), given[0]
    yield Comparison(
        "floor", "at most", bound, exact, _slack(exact, _dense.rounding(truth, model), own)
    )


def _m2(world: Any) -> Enclosure:
    law = world.law
    return impossibility_floor(law.covariance, law.x, law.z, law.given).floor


def _compare_m3(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    from scipy.optimize import linear_sum_assignment

    n, q = world.values, world.probabilities
    rows, worst = linear_sum_assignment(np.log(q))  # the permutation that Q likes least
    exact = -math.log(n) - float(np.log(q)[rows, worst].sum()) / n
    yield Comparison("worst KL", "at most", given[0][0], exact, _slack(exact, 1e-14, given[0][1]))
    shared = np.minimum(1.0 / n, q)
    rows, worst = linear_sum_assignment(shared)
    exact = 1.0 - float(shared[rows, worst].sum())
    yield Comparison(
        "worst total variation", "at most", given[1][0], exact, _slack(exact, 1e-14, given[1][1])
    )


def _m3(world: Any) -> tuple[Enclosure, float]:
    floor = pair_law_floor(world.values)
    return floor.kl, floor.total_variation


def _compare_m4(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    chain = _chain(world)
    exact = chain.divergence(chain.output)
    (memory, one), (network, other) = given
    slack = _slack(exact, chain.rounding(), one + other)
    yield Comparison("memory + network", "equal to", memory + network, exact, slack)
    yield Comparison("memory alone", "at most", memory, exact, slack)


def _m4(world: Any) -> tuple[float, float]:
    found = output_kl_of_chunks(world.video, world.schedule, world.generator, steps=world.steps)
    return found.memory, found.network


def _compare_m5(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    exact, (bound, own) = world.divergence(), given[0]
    yield Comparison("one event", "at most", bound, exact, _slack(exact, 1e-14, own))


def _compare_m5_memory(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    exact, (bound, own) = world.information(), given[0]
    yield Comparison("needles", "at most", bound, exact, _slack(exact, 1e-14, own))


def _compare_m6(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    covariance, dim = world.covariance(), world.video.dim
    old, end = world.past * dim, len(world.covariance())
    seen = world.reference_rows()
    maps, added = [np.eye(end)], [np.zeros(end)]
    rows = np.hstack([seen, np.zeros((len(seen), end - old))])
    for which, later in ((rows, world.context_level), (np.eye(end)[old:], world.input_level)):
        if later is not None:
            gap = later - world.level
            maps.append(np.exp(-gap) * which)
            added.append(np.full(len(which), -np.expm1(-2.0 * gap)))
    lift = np.vstack(maps)
    joint = lift @ covariance @ lift.T + np.diag(np.concatenate(added))
    block = range(old, end)
    shown = list(range(end, end + len(seen)))
    entering = list(range(end + len(seen), len(joint)))
    if world.context_level == world.level:  # the references themselves
        shown = list(range(old - len(seen), old))
    hidden = [i for i in range(old) if i not in shown]
    exact = _dense.information(joint, hidden, block, [*shown, *entering]) if hidden else 0.0
    kept = [*range(old), *block, *(shown if shown[0] >= end else []), *entering]
    slack = _slack(exact, _dense.rounding(joint[np.ix_(kept, kept)]))
    (clean, one), (lost, other) = given
    yield Comparison("MB(R) + I(R;O|R̃)", "equal to", clean + lost, exact, slack + one + other)
    yield Comparison("MB(R) alone", "at most", clean, exact, slack + one)
    seen_at = list(range(old - len(seen), old))
    older = list(range(old - len(seen)))
    kept_clean = _dense.information(joint, older, block, [*seen_at, *entering]) if older else 0.0
    yield Comparison("MB(R)", "equal to", clean, kept_clean, slack + one)


def _m6(world: Any) -> tuple[Enclosure, Enclosure]:
    cost = renoising_cost(
        world.video,
        reference=world.reference,
        context_level=world.context_level,
        block=world.block,
        horizon=world.past,
        level=world.level,
        input_level=world.input_level,
    )
    return cost.clean, cost.lost


def _compare_m7(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    covariance, dim = world.covariance(), world.video.dim
    law = _dense.forgetful_law(covariance, world.block * dim, world.reference * dim)
    exact = _dense.kl(np.zeros(len(law)), covariance, np.zeros(len(law)), law)
    slack = _slack(exact, _dense.rounding(covariance, law))
    yield Comparison("KL of the whole video", "equal to", given[0][0], exact, slack + given[0][1])
    length = min((world.reference + 1) * dim, len(law))
    seen = 0.0
    for start in range(0, len(law) - length + 1, dim):
        window = np.ix_(range(start, start + length), range(start, start + length))
        none = np.zeros(length)
        seen = max(seen, _dense.kl(none, covariance[window], none, law[window]))
    yield Comparison("clips of r + 1 frames", "equal to", given[1][0], seen, slack + given[1][1])


def _m7(world: Any) -> tuple[float, float]:
    found = metric_blindness(
        world.video,
        reference=world.reference,
        block=world.block,
        steps=world.steps,
        level=world.level,
    )
    clips = found.clips[min(world.reference, len(found.clips) - 1)]
    return float(found.memory_per_step.sum()), float(clips.max())


def _compare_memory(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    exact, (bound, own) = world.bottleneck(), given[0]
    rounding = 1e6 * _dense.EPS + _dense.rounding(world.law.covariance)
    yield Comparison("floor", "at most", bound, exact, _slack(exact, rounding, own))


def _correlations(law: Any) -> CanonicalCorrelations:
    return canonical_correlations(law.covariance, law.x, law.z, law.given)


def _compare_r3(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    truth, model = world.laws()
    none = np.zeros(len(truth))
    exact, (bound, own) = _dense.kl(none, truth, none, model), given[0]
    slack = _slack(exact, _dense.rounding(truth, model), own)
    yield Comparison("floor of the roll-out", "at most", bound, exact, slack)


def _r3(world: Any) -> Enclosure:
    floor = roll_out_floor(
        world.video,
        block=world.block,
        steps=world.steps,
        budgets=world.budgets,
        reference=world.reference,
        level=world.level,
    )
    return floor.total


def _compare_r4(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    exact, (bound, own) = world.divergence(), given[0]
    slack = _slack(exact, 1e-13 / (1.0 - world.correlation**2), own)
    yield Comparison("Gaussian channel", "at most", bound, exact, slack)


def _r4(world: Any) -> float:
    return stochastic_memory(CanonicalCorrelations.of([world.correlation]), world.budget).value


def _compare_r5(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    covariance, past = world.covariance(), world.past * world.video.dim
    exact, (bound, own) = (
        _dense.information_given_rows(covariance, past, world.reference_rows()),
        given[0],
    )
    slack = _slack(exact, _dense.rounding(covariance), own)
    yield Comparison("MB of the last r", "equal to", bound, exact, slack)
    longer = _dense.information_given_rows(
        covariance, past, world.reference_rows(world.reference + 1)
    )
    yield Comparison("no less than the last r + 1", "at least", bound, longer, slack)


def _r5(world: Any) -> Enclosure:
    return memory_bottleneck_of(
        world.video, reference=world.reference, horizon=world.past, level=world.level
    )


def _compare_r6(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    covariance = _dense.noisy_frames(world.video, world.past + world.horizon, world.level)
    exact, (bound, own) = world.bottleneck(), given[0]
    # a memory's basis is known to the rounding of its weakest direction, at least 1e-6 of it
    slack = _slack(exact, 1e6 * _dense.EPS + _dense.rounding(covariance), own)
    yield Comparison("floor over the horizon", "at most", bound, exact, slack)


def _r6(world: Any) -> float:
    floor = recursive_memory_floor(
        world.video,
        world.size,
        horizon=world.horizon,
        reference=world.reference,
        level=world.level,
        past=world.past,
    )
    return float(floor.per_horizon[world.horizon - 1])


def _compare_e1(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    exact = world.divergence()
    slack = _slack(exact, _dense.rounding(world.truth, world.model), sum(own for _, own in given))
    terms = [value for value, _ in given]
    yield Comparison("sum over frames", "equal to", math.fsum(terms), exact, slack)
    yield Comparison("least term, at least 0", "at least", min(terms), 0.0, slack)


def _e1(world: Any) -> list[float]:
    truth, model = (world.truth_mean, world.truth), (world.model_mean, world.model)
    return sequence_kl(truth, model, dim=world.dim).per_frame.tolist()


def _compare_e2(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    exact = world.divergence()
    # K recursions of variances, each good to a few roundings
    slack = _slack(exact, 8.0 * _dense.EPS * world.steps)
    yield Comparison("clip KL", "equal to", given[0][0], exact, slack + given[0][1])
    yield Comparison("K ε (Theorem B)", "at least", given[1][0], exact, slack + given[1][1])


def _e2(world: Any) -> tuple[float, float]:
    chain = drifting_chain(world.eta, world.steps)
    return float(chain.clip[0]), float(chain.theorem_b[0])


def _compare_e3(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    names = ("W2 (a frame's unit)", "KL after smoothing")
    for name, exact, (bound, own) in zip(
        names, (world.distance(), world.divergence()), given, strict=True
    ):
        yield Comparison(name, "at least", bound, exact, _slack(exact, 1e-12, own))


def _e3(world: Any) -> tuple[float, float]:
    error, lipschitz = world.one_step_error, world.lipschitz
    upper = smoothed_kl(
        saturation(error, lipschitz, world.steps - 1),
        world.smoothing,
        lipschitz=lipschitz,
        local_mean=world.local_mean,
        local_spread=world.local_spread,
    )
    return saturation(error, lipschitz, world.steps), upper


def _compare_e4(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    exact, (bound, own) = world.divergence(), given[0]
    slack = _slack(exact, _dense.rounding(world.truth, world.model), own)
    yield Comparison("drift of the mean", "at most", bound, exact, slack)


def _compare_e5(world: Any, given: list[tuple[float, float]]) -> Iterator[Comparison]:
    forgotten, mean = world.exact()
    ratio = world.latent_variance / world.noise_variance
    slack = 64.0 * _dense.EPS * world.frame * (1.0 + world.frame * ratio) * (1.0 + mean)
    (bottleneck, one), (bias, two), (limit, three) = given
    yield Comparison("MB of the window", "equal to", bottleneck, forgotten, slack + one)
    yield Comparison("bias after k frames", "equal to", bias, mean, slack + two)
    yield Comparison("bias after all frames", "at least", limit, mean, slack + three)


def _e5(world: Any) -> tuple[float, float, float]:
    found = memory_trade_off(
        world.reference,
        world.noise_variance,
        world.bias,
        frame=world.frame,
        latent_variance=world.latent_variance,
    )
    return (
        float(found.memory_bottleneck[0]),
        float(found.bias[0]),
        float(found.asymptotic_bias[0]),
    )


def _chunk(point: Point) -> Any:
    return _law_worlds.roll_out(point, chunk=True)


def _sliding(point: Point) -> Any:
    return _law_worlds.roll_out(point, sliding=True)


def _exact_memory(point: Point) -> Any:
    return _law_worlds.memory_of_joint_law(point, noisy=False)


def _noisy_memory(point: Point) -> Any:
    return _law_worlds.memory_of_joint_law(point, noisy=True)


_W = _law_worlds

_ALL: Sequence[Law] = (
    Law(
        "A", "chain KL = IE + Σ (NIE + SEE + DE + MB), every term at least 0",
        "all terms, in any order", _W.World, _terms, _W.roll_out, _compare_a, 26, 8,
    ),
    Law(
        "Corollary A", "output KL ≤ chain KL", "the chain KL",
        _W.World, lambda world: world.decompose().chain, _W.roll_out,
        _against_chain("chain over output", "at least", "output"), 26, 8,
    ),
    Law(
        "2.1", "chain KL ≤ explicit constants", "the constants' bound",
        _W.World, lambda world: world.decompose().bound, _W.roll_out,
        _against_chain("explicit constants", "at least", "chain"), 26, 8,
    ),
    Law(
        "B", "KL of the last clip ≤ IE + Σ (NIE + SEE + DE)", "the bound on the last clip's KL",
        _W.World, lambda world: world.decompose().theorem_b, _sliding,
        _against_chain("line over last clip", "at least", "clip"), 26, 8,
    ),
    Law(
        "C", "chain KL = noise + γ-weighted loss on real video − information of the states",
        "the chain KL, without a roll-out", _W.World, _theorem_c, _W.roll_out,
        _against_chain("chain from losses", "equal to", "chain"), 26, 8,
    ),
    Law(
        "M1", "a memory m of X leaves I(X;Z|Y,m) ≤ I(X;Z|Y)", "I(X;Z|Y,m)",
        _W.MemoryOfJointLaw, _m1, _exact_memory, _compare_m1, 60, 1,
    ),
    Law(
        "M2", "a law whose Z sees X only through Y pays at least I(X;Z|Y)", "the floor",
        _W.Competitor, _m2, _W.competitor, _compare_m2, 60, 1,
    ),
    Law(
        "M3", "a learner of pair laws loses log n nats and 1 − 1/n of variation in the worst case",
        "(KL, total variation)", _W.PairLearner, _m3, _W.pair_learner, _compare_m3, 18, 1,
    ),
    Law(
        "M4", "for w = Δ the output KL is what memory loses plus what the network loses",
        "(memory, network)", _W.World, _m4, _chunk, _compare_m4, 26, 8,
    ),
    Law(
        "M5", "KL(P‖Q) ≥ kl_bin(s_P‖s_Q) for any event", "a bound from the two rates",
        _W.NeedleTest, lambda world: needle_bound(world.truth_rate, world.generated_rate).value,
        _W.needle_test, _compare_m5, 12, 1,
    ),
    Law(
        "M5 memory", "naming one of n needles at rate s takes kl_bin(s‖1/n) nats of memory",
        "a bound from the rate and n", _W.NeedleMemory,
        lambda world: needle_information(world.success, world.needles),
        _W.needle_memory, _compare_m5_memory, 28, 1,
    ),
    Law(
        "M6", "re-noised references: MB(R̃) = MB(R) + I(R;O|R̃,In) ≥ MB(R)",
        "(MB(R), I(R;O|R̃,In))", _W.Windowed, _m6, _W.renoised, _compare_m6, 18, 4,
    ),
    Law(
        "M7", "clips of r + 1 frames see nothing of Σ I(X_B; Past | R)",
        "(KL of the video, largest KL of r + 1 frames)", _W.Windowed, _m7, _W.blocks,
        _compare_m7, 18, 8,
    ),
    Law(
        "R1", "a linear memory of b numbers forgets at least ½ Σ_{i>b} ℓ_i", "the floor",
        _W.MemoryOfJointLaw,
        lambda world: linear_memory_floor(_correlations(world.law), world.size).floor,
        _exact_memory, _compare_memory, 60, 1,
    ),
    Law(
        "R2", "a memory of c nats forgets at least MB*(c)", "the floor", _W.MemoryOfJointLaw,
        lambda world: MemoryBudget(_correlations(world.law)).floor(world.budget),
        _noisy_memory, _compare_memory, 60, 1,
    ),
    Law(
        "R3", "chunks with memories of c_k nats: KL(P‖Q) ≥ Σ MB*_k(c_k)", "the floor's total",
        _W.BlocksWithMemory, _r3, _W.blocks_with_memory, _compare_r3, 48, 4,
    ),
    Law(
        "R4", "a random Gaussian memory of c nats, integrated out, stays above R4's formula",
        "the least KL of such a channel", _W.ScalarChannel, _r4, _W.scalar_channel, _compare_r4, 3,
    ),
    Law(
        "R5", "the last r frames forget I(X_k; older | last r), less for each longer window",
        "MB_r", _W.Windowed, _r5, _W.one_frame, _compare_r5, 17, 3,
    ),
    Law(
        "R6", "a recursion of b numbers forgets (1/2h) Σ_{i>b} ℓ_i on average over h frames",
        "the floor per frame at this horizon and past", _W.Recursion, _r6, _W.recursion,
        _compare_r6, 27, 4,
    ),
    Law(
        "E1", "KL of the video = Σ_k E KL of frame k given the ones before",
        "one term a frame", _W.GaussianPair, _e1, _W.gaussian_pair, _compare_e1, 52, 1,
    ),
    Law(
        "E2", "1 ± η: KL after K steps, and Theorem B's K ε above it",
        "(KL after K steps, K ε)", _W.Drift, _e2, _W.drift, _compare_e2, 2, 1,
    ),
    Law(
        "E3", "W2 ≤ e (1 − L^K)/(1 − L), and one Gaussian step turns it into KL",
        "(bound on W2, bound on KL)", _W.ScalarChains, _e3, _W.scalar_chains, _compare_e3, 10, 1,
    ),
    Law(
        "E4", "KL(P‖Q) ≥ (E_P f − E_Q f)²/2v for the best linear f", "the bound",
        _W.GaussianPair,
        lambda world: drift_bound(world.truth_mean, world.model_mean, world.model),
        _W.gaussian_pair, _compare_e4, 52, 1,
    ),
    Law(
        "E3, E4", "lower ≤ KL of the last clip ≤ upper for any Gaussian generator",
        "(lower, upper)", _W.World, _two_sided, _sliding, _compare_two_sided, 26, 16,
    ),
    Law(
        "E5", "a static latent: MB_r falls and the bias, at most μ (1 + r v/s), rises with r",
        "(MB_r, bias of frame k, bias as k → ∞)", _W.StaticWindow, _e5, _W.static_window,
        _compare_e5, 6, 1,
    ),
)  # fmt: skip

LAWS: dict[str, Law] = {law.label: law for law in _ALL}
"""THEORY label -> law, in the order of THEORY."""
