"""The public laws: each holds for the package's calculators and refutes a planted error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import _dense, laws, testing
from arvdm_theory._gaussian import gaussian_kl
from arvdm_theory._law_worlds import Point
from arvdm_theory._recursive_memory import recursive_memory_floor
from arvdm_theory.accumulation import drift_bound, memory_trade_off, saturation
from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import ParameterError
from arvdm_theory.laws import LAWS, Comparison, Law, hunt
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    binary_kl,
    canonical_correlations,
    information_given_memory,
    linear_memory_floor,
    memory_bottleneck_of,
    stochastic_memory,
)
from tests import oracle
from tests.test_laws import distinct_worlds

Calculator = Callable[[Any], Any]

LABELS = [
    f"{letter}{i}" for letter, count in (("M", 7), ("R", 6), ("E", 5)) for i in range(1, count + 1)
]
FACTORS = {"Corollary A": 0.95, "2.1": 0.5, "B": 0.8, "R5": 0.95, "R6": 2.0, "E3": 0.95, "E5": 0.95}
"""Upper bounds are broken by what is too small. The constants of 2.1 are never within 5 %; worlds
where R6 is tight are rare, and 5 % of it are left to the hunt below."""


def test_every_theorem_has_a_law() -> None:
    assert set(LAWS) >= {"A", "B", "C", *LABELS}
    for label, law in LAWS.items():
        assert law.label == label and law.statement and law.returns
    assert testing.LAWS is LAWS and testing.Law is Law


@pytest.mark.parametrize("label", LAWS)
def test_the_package_obeys_the_law(label: str) -> None:
    LAWS[label].test(max_examples=12)


@pytest.mark.heavy
@pytest.mark.parametrize("label", LAWS)
def test_the_package_obeys_the_law_on_many_worlds(label: str) -> None:
    LAWS[label].test(max_examples=1000)


def scaled(calculator: Calculator, factor: float) -> Calculator:
    """The same calculator, off by a factor."""

    def wrong(world: Any) -> Any:
        value = calculator(world)
        if isinstance(value, (tuple, list)):
            return [factor * float(item) for item in value]
        return factor * float(value)

    return wrong


@pytest.mark.parametrize("label", LAWS)
def test_a_wrong_factor_is_refuted(label: str) -> None:
    """Negative control: 5 % where the inequality gets that tight."""
    wrong = scaled(LAWS[label].calculator, FACTORS.get(label, 1.05))
    with pytest.raises(AssertionError) as error:
        LAWS[label].test(wrong, max_examples=250)
    message = str(error.value)
    assert message.startswith(f"{label} (") and "bound" in message and "exact" in message
    world = json.loads(message.split("in the world ", 1)[1])
    with pytest.raises(AssertionError):  # the world named there is enough to see it
        LAWS[label].check(wrong, LAWS[label].world.from_json(world))
    LAWS[label].check(LAWS[label].calculator, LAWS[label].world.from_json(world))


def _correlations(world: Any) -> CanonicalCorrelations:
    law = world.law
    return canonical_correlations(law.covariance, law.x, law.z, law.given)


def _forgets_what_is_seen(world: Any) -> float:
    law = world.law
    matrix = world.matrix.reshape(world.size, len(law.x))
    return float(information_given_memory(law.covariance, law.x, law.z, matrix))


def _without_cross_term(world: Any) -> tuple[float, float]:
    before = saturation(world.one_step_error, world.lipschitz, world.steps - 1)
    carried = 0.5 * (world.lipschitz * before) ** 2 / world.smoothing
    bound = LAWS["E3"].calculator(world)[0]
    return bound, carried + world.local_mean + world.local_spread


def _last_step_only(world: Any) -> float:
    line = world.decompose().theorem_b_per_step
    return float(line[-1] - (line[-2] if len(line) > 1 else 0.0))


def _one_more(world: Any) -> list[float]:
    found = memory_trade_off(
        world.reference + 1,
        world.noise_variance,
        world.bias,
        frame=world.frame,
        latent_variance=world.latent_variance,
    )
    return [float(part[0]) for part in (found.memory_bottleneck, found.bias, found.asymptotic_bias)]


MISTAKES: dict[str, tuple[str, Calculator]] = {
    "the memory bottleneck left out": (
        "A",
        lambda world: LAWS["A"].calculator(world)[: -world.steps],
    ),
    "a sign": ("C", lambda world: -LAWS["C"].calculator(world)),
    "errors of the last step only": ("B", _last_step_only),
    "what is seen anyway left out": ("M1", _forgets_what_is_seen),
    "KL the other way round": (
        "M5",
        lambda world: binary_kl(world.generated_rate, world.truth_rate),
    ),
    "n for log n": ("M3", lambda world: (float(world.values), 1.0 - 1.0 / world.values)),
    "memory counted twice": ("M4", lambda world: (LAWS["M4"].calculator(world)[0], 0.0)),
    "the re-noised bottleneck for the clean one": (
        "M6",
        lambda world: (sum(map(float, LAWS["M6"].calculator(world))), 0.0),
    ),
    "the whole KL for what short clips see": (
        "M7",
        lambda world: (LAWS["M7"].calculator(world)[0],) * 2,
    ),
    "one direction too many": (
        "R1",
        lambda world: linear_memory_floor(_correlations(world), max(world.size - 1, 0)).floor,
    ),
    "nats read as bits": (
        "R2",
        lambda world: MemoryBudget(_correlations(world), "bits").floor(world.budget).to("nats"),
    ),
    "no budget at all": (
        "R3",
        lambda world: sum(
            float(
                memory_bottleneck_of(
                    world.video,
                    reference=world.reference,
                    block=world.block,
                    horizon=k * world.block,
                    level=world.level,
                )
            )
            for k in range(1, world.steps)
        ),
    ),
    "R2, which an integrated memory can beat": (
        "R4",
        lambda world: MemoryBudget(CanonicalCorrelations.of([world.correlation])).floor(
            world.budget
        ),
    ),
    "one frame more in the window": (
        "R5",
        lambda world: memory_bottleneck_of(
            world.video, reference=world.reference + 1, horizon=world.past, level=world.level
        ),
    ),
    "one number less in the recursion": (
        "R6",
        lambda world: recursive_memory_floor(
            world.video,
            world.size - 1,
            horizon=world.horizon,
            reference=world.reference,
            level=world.level,
            past=world.past,
        ).per_horizon[-1],
    ),
    "model and truth exchanged": (
        "E1",
        lambda world: (
            laws.sequence_kl(
                (world.model_mean, world.model), (world.truth_mean, world.truth), dim=world.dim
            ).per_frame
        ),
    ),
    "log(1 - eta) for log(1 + eta)": (
        "E2",
        lambda world: (
            -world.steps * np.log1p(-world.eta),
            2.0 * world.steps * world.eta / (2.0 - world.eta),
        ),
    ),
    "no cross term": ("E3", _without_cross_term),
    "the truth's covariance for the model's": (
        "E4",
        lambda world: drift_bound(world.truth_mean, world.model_mean, world.truth),
    ),
    "the window one longer": ("E5", _one_more),
    "bounds exchanged": ("E3, E4", lambda world: LAWS["E3, E4"].calculator(world)[::-1]),
    "a number that is none": ("M2", lambda world: float("nan")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_refuted(mistake: str) -> None:
    """Negative control: wrong index, sign, unit, order or term."""
    label, wrong = MISTAKES[mistake]
    with pytest.raises(AssertionError, match=r"must be (at most|at least|equal to) the exact"):
        LAWS[label].test(wrong, max_examples=100)


def test_shrinking_leaves_a_simple_world() -> None:
    with pytest.raises(AssertionError) as error:
        LAWS["E2"].test(lambda world: (0.0, 0.0), max_examples=40, shrink=True)
    world = json.loads(str(error.value).split("in the world ", 1)[1])
    assert world["steps"] == 1


def test_enclosures_lend_their_width_and_no_more() -> None:
    world = LAWS["M3"].build(Point([0.5] * 18))
    exact = np.log(world.values)
    narrow = Enclosure.around(exact * (1.0 + 1e-9), 1e-8)
    LAWS["M3"].check(lambda _: (narrow, 0.0), world)
    wide = Enclosure(2.0 * exact, 0.0, 4.0 * exact)
    with pytest.raises(AssertionError, match="worst KL"):
        LAWS["M3"].check(lambda _: (wide, 0.0), world)
    bits = Enclosure.around(exact, 0.0).to("bits")
    laws.check("M3", lambda _: (bits, 0.0), world)


def test_labels_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"label must be one of A, .*, got R9"):
        laws.test("R9", lambda world: 0.0)
    laws.test("M5", max_examples=5)


def test_comparisons_say_what_holds() -> None:
    assert Comparison("", "at most", 1.0, 1.0, 0.0).holds
    assert not Comparison("", "at most", 1.1, 1.0, 0.0).holds
    assert not Comparison("", "at least", 0.9, 1.0, 0.05).holds
    assert not Comparison("", "equal to", float("nan"), 1.0, 1.0).holds
    assert not Comparison("", "at most", float("nan"), 1.0, 1.0).holds
    assert Comparison("", "at least", 2.0, 1.0, 0.0).tightness == 0.5
    assert np.isnan(Comparison("", "at most", 0.0, 1e-9, 0.0).ratio)


# --- worlds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LAWS)
def test_worlds_are_plain_data(label: str) -> None:
    """A world read back from its JSON gives the same numbers."""
    law = LAWS[label]
    rng = np.random.default_rng(1)
    for _ in range(2):
        world = law.build(Point(rng.random(law.size)))
        again = law.world.from_json(json.loads(json.dumps(world.to_json())))
        for one, other in zip(
            law.compare(law.calculator, world), law.compare(law.calculator, again), strict=True
        ):
            assert one == other


def test_no_builder_reads_past_its_point() -> None:
    rng = np.random.default_rng(2)
    for label, law in LAWS.items():
        for _ in range(10):
            point = Point(rng.random(law.size))
            law.build(point)
            assert point.used <= law.size, label


def test_without_hypothesis_laws_can_be_checked_and_hunted() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from arvdm_theory.laws import LAWS, hunt\n"
        "print(len(hunt(LAWS['M5'], draws=5, refinements=2)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_strategies_draw_what_they_say(data: st.DataObject) -> None:
    law = data.draw(testing.joint_laws())
    values = np.linalg.eigvalsh(law.covariance)
    assert values[0] > 0.0 and values[-1] / values[0] <= 100.0 * (1.0 + 1e-9)
    assert sorted([*law.x, *law.z, *law.given]) == list(range(len(values)))
    rho = data.draw(testing.correlations(3))
    assert np.all(np.diff(rho) <= 0.0) and np.all((rho >= 0.0) & (rho < 1.0))
    budget = data.draw(testing.budgets())
    # R4 is never above R2
    source = CanonicalCorrelations.of(rho)
    assert stochastic_memory(source, budget).value <= MemoryBudget(source).floor(budget).upper
    assert data.draw(testing.stable_chains()).stationary
    assert data.draw(testing.stable_chains(1)).dim == 1
    chains = data.draw(testing.scalar_chains())
    assert chains.divergence() >= -1e-12 and chains.one_step_error >= 0.0
    test = data.draw(testing.needle_tests())
    assert 0.0 < test.truth_rate < 1.0 and test.divergence() >= -1e-12
    memory = data.draw(testing.needle_memories())
    assert memory.success >= (1.0 - 1e-12) / memory.needles
    assert -1e-12 <= memory.information() <= np.log(memory.needles) + 1e-12


# --- the exact side, by a third way ---------------------------------------------------------------


def test_dense_chains_are_those_of_the_other_oracle() -> None:
    """`tests/oracle.py` builds the same joint laws by other code."""
    rng = np.random.default_rng(5)
    for label in ("A", "B", "M4"):
        for _ in range(4):
            world = LAWS[label].build(Point(rng.random(26)))
            chain = _dense.chain_laws(world.video, world.schedule, world.generator, world.steps)
            truth = oracle.evaluate(json.loads(json.dumps(world.to_json())))
            slack = 4.0 * chain.rounding() * (1.0 + float(truth["chain"]))
            assert chain.divergence() == pytest.approx(float(truth["chain"]), abs=slack)
            output = chain.divergence(chain.output)
            assert output == pytest.approx(float(truth["output"]), abs=slack)


def test_drawn_worlds_of_the_package_obey_the_law_of_their_chain() -> None:
    """Theorem A's law on the rich worlds that the dense chain knows; others it refuses by name."""
    known = 0
    for world in distinct_worlds(40, key=3, max_window=3, max_steps=2, samplers=["ancestral"]):
        try:
            LAWS["A"].check(LAWS["A"].calculator, world)
            known += 1
        except ParameterError as error:
            assert "dense law" in str(error)
        except np.linalg.LinAlgError:  # a panorama's frames determine each other
            continue
    assert known >= 5


def test_dense_divergence_and_information() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        root = rng.standard_normal((2, 4, 6))
        p, q = root @ root.swapaxes(1, 2)
        shift = rng.standard_normal(4)
        expected = float(gaussian_kl(p, q, p - q, shift))
        assert _dense.kl(shift, p, np.zeros(4), q) == pytest.approx(expected, rel=1e-10)
        # I(X;Z|Y) is the KL from P_XY P_Z|Y, which `impossibility_floor` gives; here by hand
        gain = np.linalg.solve(p[2:3, 2:3], p[2:3, 3:4])
        other = p.copy()
        other[:2, 3:4] = p[:2, 2:3] @ gain
        other[3:4, :2] = other[:2, 3:4].T
        floor = _dense.kl(np.zeros(4), p, np.zeros(4), other)
        assert _dense.information(p, [0, 1], [3], [2]) == pytest.approx(floor, rel=1e-9)


def test_r4_needs_the_past_of_the_truth() -> None:
    """A model free to change the law of its past beats R4's formula: there it is no minimum."""
    rho, budget = 0.9, 0.399
    held = float(np.sqrt(-np.expm1(-2.0 * budget)))
    truth = np.array([[1.0, rho], [rho, 1.0]])

    def divergence(spread: np.ndarray) -> float:
        scale = np.exp(spread)
        model = np.array([[1.0, held], [held, 1.0]]) * np.outer(scale, scale)
        return _dense.kl(np.zeros(2), truth, np.zeros(2), model)

    formula = stochastic_memory(CanonicalCorrelations.of([rho]), budget).value
    own_past = scipy.optimize.minimize(lambda s: divergence(np.array([0.0, s[0]])), [0.0]).fun
    free = scipy.optimize.minimize(divergence, [0.0, 0.0]).fun
    assert own_past == pytest.approx(formula, rel=1e-6)
    assert free < 0.85 * formula


# --- the hunt -------------------------------------------------------------------------------------


def test_a_hunt_is_repeatable_and_gets_closer() -> None:
    law = LAWS["R2"]
    once, again = (hunt(law, draws=20, refinements=20, seed=4)[0] for _ in range(2))
    assert once.tightest == again.tightest
    assert once.tightest_world.to_json() == again.tightest_world.to_json()
    short = hunt(law, draws=20, refinements=0, seed=4)[0]
    assert short.tightest.ratio <= once.tightest.ratio <= 1.0 + 1e-9
    assert short.loosest.ratio >= once.loosest.ratio
    assert once.broken == 0 and once.worlds == 60
    assert law.compare(law.calculator, once.tightest_world)[0] == once.tightest


@pytest.mark.parametrize(("label", "draws", "refinements"), [("R2", 20, 20), ("R6", 75, 75)])
def test_a_hunt_counts_broken_worlds(label: str, draws: int, refinements: int) -> None:
    wrong = scaled(LAWS[label].calculator, 1.05)
    found = hunt(LAWS[label], wrong, draws=draws, refinements=refinements, seed=0)[0]
    assert found.broken > 0 and found.tightest.ratio > 1.0 and not found.tightest.holds
