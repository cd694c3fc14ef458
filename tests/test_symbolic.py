"""Closed forms against the numeric calculators, in balls; checked derivations."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import flint
import mpmath
import numpy as np
import pytest
import scipy.optimize
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import symbolic
from arvdm_theory._memory_budget import CanonicalCorrelations, MemoryBudget, stochastic_memory
from arvdm_theory.accumulation import drifting_chain, memory_trade_off
from arvdm_theory.decomposition import decompose
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.generator import Biased, Exact, Generator, Scaled
from arvdm_theory.memory import window_memory_bottleneck
from arvdm_theory.schedule import Schedule
from arvdm_theory.symbolic import DERIVATIONS, FORMULAS, Formula, Step, derivation, formula
from arvdm_theory.video import Arfima, Autoregressive, StaticLatent

TERMS = ("MB", "NIE", "DE", "SEE_scaled", "SEE_biased")
SCHEDULES = ("next_frame", "chunk", "fifo")
STEPS = {"next_frame": 3, "chunk": 2, "fifo": 3}


# --- the scalar theory against decompose ----------------------------------------------------------


def _dyadic(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.round(64.0 * rng.uniform(low, high)) / 64.0)


def _world(family: str, rng: np.random.Generator) -> tuple[dict[str, float], Any]:
    noise = _dyadic(rng, 0.1, 1.5)
    if family == "ar1":
        phi = _dyadic(rng, -0.95, 0.95)
        return {"phi": phi, "sigma2": noise}, Autoregressive([phi], noise)
    if family == "ar2":
        second = _dyadic(rng, -0.8, 0.5)
        first = _dyadic(rng, -0.9 * (1.0 - second), 0.9 * (1.0 - second))
        values = {"phi1": first, "phi2": second, "sigma2": noise}
        return values, Autoregressive([first, second], noise)
    latent = _dyadic(rng, 0.2, 2.0)
    return {"v": latent, "s": noise}, StaticLatent(noise, latent)


def _schedule(kind: str, t_max: float, t_min: float, substeps: int) -> Schedule:
    common: dict[str, Any] = {"t_max": t_max, "t_min": t_min, "substeps": substeps}
    if kind == "next_frame":
        return Schedule.next_frame(**common)
    return Schedule.chunk(2, **common) if kind == "chunk" else Schedule.fifo(2, **common)


def _agrees(
    family: str, kind: str, rng: np.random.Generator, *, step: int | None = None, **options: Any
) -> None:
    """All five terms at one random dyadic point: the ball, the numeric term, NumPy, both clocks."""
    values, video = _world(family, rng)
    t_max, t_min = _dyadic(rng, 1.0, 3.0), _dyadic(rng, 1 / 64, 0.25)
    factor, bias = _dyadic(rng, 0.5, 1.5), _dyadic(rng, -0.5, 0.5)
    substeps, reference = options.get("substeps", 1), options.get("reference", 1)
    schedule = _schedule(kind, t_max, t_min, substeps)
    values |= {"T": t_max, "delta": t_min}
    if kind == "fifo":
        values["t_1"] = 0.5 * t_max
    steps = STEPS[kind] if step is None else step
    given_step = {} if step is None else {"step": step}
    for term, (denoiser, extra) in {
        "MB": (Exact(), {}),
        "NIE": (Exact(), {}),
        "DE": (Exact(), {}),
        "SEE_scaled": (Scaled(factor), {"factor": factor}),
        "SEE_biased": (Biased(bias), {"bias": bias}),
    }.items():
        made = formula(f"{term}_{family}_{kind}", clock="t", **options, **given_step)
        arguments = values | extra
        ball = made.ball()(**arguments)
        result = decompose(video, schedule, Generator(denoiser, reference=reference), steps=steps)
        name = term.split("_")[0].lower()
        numeric = float(getattr(result, f"{name}_per_step")[-1])
        bound = result.error_bound[name]
        # the float's distance to the ball's ends, in balls
        gap = abs(flint.arb(numeric) - ball)
        assert gap.lower() <= bound, (made, arguments, numeric, ball, bound)
        assert abs(float(made.numpy()(**arguments)) - float(ball)) <= 1e-11 * (1.0 + float(ball))
        in_gammas = formula(f"{term}_{family}_{kind}", **options, **given_step)
        levels = {"T": "gamma_T", "t_1": "gamma_1", "delta": "gamma_delta"}
        swapped = {
            levels.get(key, key): 1 / math.expm1(2 * value) if key in levels else value
            for key, value in arguments.items()
        }
        assert float(in_gammas.numpy()(**swapped)) == pytest.approx(
            float(ball), rel=1e-9, abs=1e-11
        )


@pytest.mark.parametrize(
    ("family", "kind", "substeps"),
    [
        *(("ar1", kind, substeps) for kind in SCHEDULES for substeps in (1, 2)),
        ("static_latent", "next_frame", 2),
        ("static_latent", "chunk", 1),
        ("static_latent", "fifo", 1),
    ],
)
def test_terms_equal_the_decomposition(family: str, kind: str, substeps: int) -> None:
    for seed in range(4):
        _agrees(family, kind, np.random.default_rng(seed), substeps=substeps)


def test_terms_of_a_second_order_chain_equal_the_decomposition() -> None:
    for seed in range(4):
        _agrees("ar2", "next_frame", np.random.default_rng(seed))


@pytest.mark.heavy
@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("substeps", [1, 2])
@pytest.mark.parametrize("reference", [0, 1, 2])
@pytest.mark.parametrize("family", ["ar1", "ar2", "static_latent"])
def test_every_term_equals_the_decomposition(
    family: str, kind: str, substeps: int, reference: int
) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _agrees(family, kind, rng, substeps=substeps, reference=reference)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_first_steps_and_stationary_regimes_equal_the_decomposition(kind: str) -> None:
    for seed in range(3):
        _agrees("ar1", kind, np.random.default_rng(seed), step=1)
        _stationary(kind, np.random.default_rng(seed))


def _stationary(kind: str, rng: np.random.Generator) -> None:
    """The filter's memory of its start falls below rounding long before step 400."""
    values, video = _world("ar1", rng)
    t_max, t_min = _dyadic(rng, 1.0, 3.0), _dyadic(rng, 1 / 64, 0.25)
    values |= {"T": t_max, "delta": t_min} | ({"t_1": 0.5 * t_max} if kind == "fifo" else {})
    result = decompose(video, _schedule(kind, t_max, t_min, 1), Generator(reference=2), steps=400)
    for term in ("MB", "NIE", "DE"):
        made = formula(f"{term}_ar1_{kind}", clock="t", step="stationary", reference=2)
        ball = made.ball()(**values)
        numeric = getattr(result, f"{term.lower()}_per_step")[-1]
        gap = abs(flint.arb(float(numeric)) - ball)
        assert gap.lower() <= result.error_bound[term.lower()]


def test_a_static_latent_becomes_known() -> None:
    stationary = formula("MB_static_latent_next_frame", step="stationary", clock="t")
    values = {"v": 1, "s": "1/2", "T": 2, "delta": "1/16"}
    result = decompose(
        StaticLatent(0.5),
        Schedule.next_frame(t_max=2.0, t_min=0.0625, substeps=1),
        Generator(reference=1),
        steps=800,
    )
    rest = float(stationary.ball()(**values)) - result.mb_per_step
    assert np.all(np.diff(rest[1:]) < 0.0)
    assert rest[799] * 800 == pytest.approx(rest[399] * 400, rel=0.01)  # like 1/k


def test_a_wrong_sign_or_level_would_be_seen() -> None:
    # negative control: the same check refuses a neighbouring formula
    values = {"phi": 0.5, "sigma2": 0.75, "T": 2.0, "delta": 0.0625}
    schedule = Schedule.next_frame(t_max=2.0, t_min=0.0625, substeps=1)
    result = decompose(Autoregressive([0.5], 0.75), schedule, Generator(reference=1), steps=3)
    for options in ({"step": 2}, {"reference": 0}, {"step": "stationary"}):
        ball = formula("MB_ar1_next_frame", clock="t", **options).ball()(**values)
        assert abs(float(ball) - result.mb_per_step[-1]) > 1e3 * result.error_bound["mb"]


# --- memory and accumulation ----------------------------------------------------------------------


@given(st.integers(1, 1023), st.integers(0, 512))
def test_r2_and_r4_equal_the_calculators(rho: int, budget: int) -> None:
    point = {"rho": rho / 1024, "c": budget / 128}
    source = CanonicalCorrelations.of([point["rho"]])
    for name, found in (
        ("R2", MemoryBudget(source).floor(point["c"])),
        ("R4", stochastic_memory(source, point["c"])),
    ):
        ball = formula(name).ball()(**point)
        if name == "R4":  # an enclosure of the least KL: its value is what the formula says
            slack = found.upper - found.value
            assert abs(float(ball) - found.value) <= slack + 1e-15
        else:
            assert found.lower <= ball.upper() and ball.lower() <= found.upper


def test_r4_is_the_least_kl_of_gaussian_channels() -> None:
    for rho, c in ((0.9, 0.399), (0.5, 0.02), (-0.7, 0.1), (0.6, 2.0)):
        strength = math.expm1(2.0 * c)

        def divergence(free: np.ndarray, rho: float = rho, strength: float = strength) -> float:
            spread = math.exp(free[0])
            gain = math.sqrt(strength) * spread * math.tanh(free[1])
            miss = 1.0 - rho**2 + (rho - gain) ** 2
            return 0.5 * (math.log(spread**2 / (1.0 - rho**2)) + miss / spread**2 - 1.0)

        best = min(
            scipy.optimize.minimize(
                divergence, [0.0, start], method="Nelder-Mead", options={"fatol": 1e-13}
            ).fun
            for start in (-1.0, 1.0)
        )
        assert float(formula("R4").numpy()(rho, c)) == pytest.approx(best, abs=1e-7)


def test_r2_of_several_directions_is_reverse_water_filling() -> None:
    rho = [0.9, 0.75, 0.25]
    budget = MemoryBudget(CanonicalCorrelations.of(rho))
    made = formula("R2_vector", active=2, inactive=1)
    floor = budget.floor(1.0)
    ball = made.ball()(*rho, 1)
    assert floor.lower <= ball.upper() and ball.lower() <= floor.upper
    for c, message in ((0.01, "rho_2 must be above"), (5.0, "rho_3 must be below")):
        for function in (made.ball(), made.numpy()):
            with pytest.raises(ParameterError, match=message):
                function(*rho, c)


def test_r5_of_a_noisy_chain_equals_dense_conditioning() -> None:
    rng = np.random.default_rng(1)
    for _ in range(6):
        phi, noise, level = _dyadic(rng, -0.9, 0.9), _dyadic(rng, 0.1, 1.5), _dyadic(rng, 1 / 64, 1)
        found = window_memory_bottleneck(
            Autoregressive([phi], noise), range(5), level=level, horizon=200
        )
        made = formula("R5_ar1", clock="t")
        for r in range(5):
            ball = made.ball()(phi=phi, sigma2=noise, delta=level, r=r)
            missing = abs(float(found.truncation)) + float(found.error_bound[r])
            assert abs(float(ball) - found.values[r]) <= missing + 1e-16
    # the theory's number
    ball = made.ball()(phi="0.9", sigma2="0.19", delta="0.05", r=1)
    assert round(float(ball), 4) == 0.0235


def test_r5_of_long_memory_equals_dense_conditioning() -> None:
    for memory in (0.25, -0.375, 0.4375):
        found = window_memory_bottleneck(Arfima(memory, 1.0), [0, 1, 5, 20], horizon=200)
        made, partial = formula("R5_arfima").ball(), formula("R5_arfima_partial").ball()
        total = 0.0
        for r, value, error in zip([0, 1, 5, 20], found.values, found.error_bound, strict=True):
            ball = float(made(memory, r))
            assert abs(ball - value - float(found.truncation)) <= 2.0 * error + 1e-13
            terms = [
                -0.5 * math.log1p(-(float(partial(memory, j)) ** 2)) for j in range(r + 1, 201)
            ]
            total = math.fsum(terms)
            assert total == pytest.approx(value, rel=1e-9, abs=1e-13)
    # the power law
    assert float(made(0.25, 1000)) == pytest.approx(0.25**2 / (2 * 1000.25), rel=1e-3)


def test_e2_equals_the_calculator_and_its_numbers() -> None:
    for eta, steps in ((0.01, 5000), (0.5, 3), (0.0625, 40), (0.25, 100_000)):
        chain = drifting_chain(eta, steps)
        ball = formula("E2").ball()(eta, steps)
        assert abs(float(ball) - float(chain.clip[0])) <= float(chain.error_bound[0])
        assert float(formula("E2").numpy()(eta, steps)) == pytest.approx(float(ball), rel=1e-13)
        assert float(formula("E2_step").ball()(eta)) == pytest.approx(chain.per_step, rel=1e-15)
        ratio = float(formula("E2_ratio").ball()(eta, steps))
        assert ratio == pytest.approx(float(chain.ratio[0]), rel=1e-13)
    assert round(float(formula("E2").ball()(eta="0.01", K=5000)), 3) == 49.596


def test_e5_equals_the_calculator() -> None:
    for level in (0.0, 0.125):
        found = memory_trade_off([0, 1, 4], 0.75, 0.125, frame=20, level=level)
        clock = {} if level == 0.0 else {"clock": "t"}
        point = {"s": 0.75} | ({} if level == 0.0 else {"delta": level})
        for r, value in zip([0, 1, 4], found.memory_bottleneck, strict=True):
            ball = formula("E5_memory", **clock).ball()(**point, r=r, k=20)
            assert abs(float(ball) - value) <= found.error_bound
    found = memory_trade_off([0, 1, 4], 0.75, 0.125, frame=20)
    for r, value in zip([0, 1, 4], found.asymptotic_bias, strict=True):
        assert float(formula("E5_bias").ball()(0.75, r, 0.125)) == pytest.approx(value, rel=1e-15)


# --- one formula, four uses -----------------------------------------------------------------------

POINTS: dict[str, dict[str, str]] = {
    "MB_ar1_fifo": {
        "phi": "1/3",
        "sigma2": "0.1",
        "gamma_T": "0.01",
        "gamma_1": "0.7",
        "gamma_delta": "9.9",
    },
    "NIE_ar2_next_frame": {
        "phi1": "1/3",
        "phi2": "-0.3",
        "sigma2": "0.7",
        "gamma_T": "1/7",
        "gamma_delta": "20/3",
    },
    "R2": {"rho": "1/3", "c": "0.1"},
    "R2_vector": {"rho_1": "0.9", "rho_2": "0.7", "rho_3": "0.1", "c": "0.9"},
    "R4": {"rho": "-1/3", "c": "0.01"},
    "R5_ar1": {"phi": "1/3", "sigma2": "0.7", "gamma_delta": "9.9", "r": "2"},
    "R5_arfima": {"D": "1/3", "r": "7"},
    "E2": {"eta": "0.1", "K": "11"},
    "E5_memory": {"s": "0.3", "r": "2", "k": "9"},
}


@pytest.mark.parametrize("name", POINTS)
def test_the_ball_holds_the_number_to_sixty_digits(name: str) -> None:
    made = formula(name)
    exact = {key: sympy.Rational(value) for key, value in POINTS[name].items()}
    symbols = {item.name: item for item in made.expression.free_symbols}
    assert set(symbols) == set(made.symbols)
    value = made.expression.subs({symbols[key]: number for key, number in exact.items()})
    digits = str(sympy.N(value, 60))
    with flint.ctx.workprec(256):
        truth = flint.arb(digits)
    ball = made.ball(1e-30)(**POINTS[name])
    with flint.ctx.workprec(256):
        assert ball.overlaps(truth) and ball.rad() <= 1e-30
        # negative control: the binary fractions beside these numbers are other numbers
        near = made.ball(1e-30)(**{key: float(number) for key, number in exact.items()})
        assert name == "R5_arfima" or not near.overlaps(truth)


@pytest.mark.parametrize("name", POINTS)
def test_torch_equals_numpy_and_its_gradient_is_the_derivative(name: str) -> None:
    made = formula(name)
    values = {key: float(Fraction(value)) for key, value in POINTS[name].items()}
    tensors = {
        key: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for key, value in values.items()
    }
    result = made.torch()(**tensors)
    assert float(result.detach()) == pytest.approx(float(made.numpy()(**values)), rel=1e-12)
    result.backward()
    symbols = {item.name: item for item in made.expression.free_symbols}
    for key in values:
        slope = sympy.diff(made.expression, symbols[key])
        slope = float(slope.subs({symbols[k]: v for k, v in values.items()}).evalf())
        assert float(tensors[key].grad) == pytest.approx(slope, rel=1e-8, abs=1e-12)


def test_functions_take_arrays_and_single_precision_is_upcast() -> None:
    function = formula("R2").numpy()
    rho, c = np.array([[0.1], [0.9]]), np.array([0.0, 0.5, 2.0])
    assert function(rho, c).shape == (2, 3)
    assert function(np.float32(0.5), 0).dtype == np.float64
    assert formula("R2").torch()(torch.tensor(0.5), 0.0).dtype == torch.float64
    assert function.__name__ == "R2" and "canonical correlation" in function.__doc__


def test_latex_shows_every_symbol_by_its_name_in_the_theory() -> None:
    text = formula("MB_ar1_next_frame").latex()
    assert text.startswith(r"\mathrm{MB}_{3} = ")
    for symbol in (r"\varphi", r"\sigma^{2}", r"\gamma_{T}", r"\gamma_{\delta}"):
        assert symbol in text
    assert "sigma2" not in text and "phi1" not in formula("MB_ar2_next_frame").latex()
    for name in ("R4", "R5_ar1", "E2"):  # parts are explained
        made = formula(name)
        assert made.latex().count(r",\quad ") == len(made.where)
        assert "_" not in made.latex().replace(r"_{\delta}", "").replace("_r", "").replace(
            r"_{\mathrm{", ""
        )
    assert "loggamma" not in formula("R5_arfima").latex()


def test_an_enclosure_is_certified() -> None:
    found = formula("R2").enclosure(rho="1/3", c=0)
    assert found.certified and found.theorems == ("R2",) and found.unit == "nats"
    with mpmath.workdps(40):
        truth = mpmath.log(mpmath.mpf(9) / 8) / 2
        assert found.lower < truth < found.upper
    assert found.upper - found.lower < 1e-15
    assert formula("E2_ratio").enclosure(eta="0.1", K=5).unit == "1"


def test_precision_that_never_suffices_is_said() -> None:
    with pytest.raises(ArithmeticError, match="more than 8192 bits"):
        formula("R2").ball(0.0)(rho="1/3", c=1)


# --- what is refused ------------------------------------------------------------------------------


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ParameterError, match="did you mean SEE_scaled_ar1_chunk"):
        formula("SEE_scale_ar1_chunks")
    with pytest.raises(ParameterError, match="did you mean telescoping"):
        derivation("telescope")
    with pytest.raises(ParameterError, match="a known formula"):
        formula(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("MB_ar1_fifo", {"substeps": 3}, "substeps must be 1 or 2, got 3"),
        ("MB_ar1_fifo", {"clock": "log_snr"}, "clock must be gamma or t, got log_snr"),
        ("MB_ar1_fifo", {"step": 0}, "step must be an integer of at least 1, got 0"),
        ("MB_ar1_fifo", {"reference": -1}, "reference must be an integer of at least 0, got -1"),
        ("MB_ar1_fifo", {"steps": 3}, "options of MB_ar1_fifo must be known, got steps"),
        ("R2", {"clock": "t"}, "options of R2 must be known, got clock"),
        ("R2", {"clock": []}, "options of R2"),
        ("R2_vector", {"active": 0}, "active must be an integer of at least 1"),
        ("R5_ar1", {"clock": "x"}, "clock must be gamma or t, got x"),
        ("E5_memory", {"clock": "x"}, "clock must be None"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        formula(name, **options)


def test_no_closed_form_is_a_refusal() -> None:
    with pytest.raises(RefusedError, match="solves a quartic"):
        formula("MB_ar2_fifo", step="stationary")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("R2", {"rho": 1, "c": 0}, r"rho must be in \(-1, 1\), got 1"),
        ("R2", {"rho": 0.5, "c": -1}, "c must be at least 0, got -1"),
        ("R2", {"rho": math.nan, "c": 1}, "rho must be"),
        ("MB_ar1_next_frame", {"phi": 1.5}, r"phi must be in \(-1, 1\)"),
        ("MB_ar1_next_frame", {"sigma2": 0}, "sigma2 must be positive"),
        ("MB_ar1_next_frame", {"gamma_T": 50}, "gamma_delta must be at least gamma_T"),
        ("MB_ar2_next_frame", {"phi1": 1.5, "phi2": 0.25}, "phi1 must be below 1 - phi2"),
        ("R5_arfima", {"D": 0.5, "r": 3}, "D must be below 1/2"),
        ("E2", {"eta": 1, "K": 3}, "eta must be in"),
        ("E5_memory", {"s": 1, "r": 5, "k": 5}, r"k must be at least r \+ 1"),
    ],
)
def test_values_outside_the_conditions_are_refused(
    name: str, values: dict[str, Any], message: str
) -> None:
    defaults = {
        "phi": 0.5,
        "phi1": 0.5,
        "phi2": 0.25,
        "sigma2": 1,
        "gamma_T": 0.1,
        "gamma_delta": 10,
    }
    made = formula(name)
    point = {key: values.get(key, defaults.get(key)) for key in made.symbols}
    for function in (made.numpy(), made.torch(), made.ball()):
        with pytest.raises(ParameterError, match=message.split(" must")[0]):
            function(**point)
    with pytest.raises(ParameterError, match=message):
        made.numpy()(**point)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f(),
        lambda f: f(0.5),
        lambda f: f(0.5, 1, 2),
        lambda f: f(0.5, rho=0.5),
        lambda f: f(rho=0.5, c=1, d=2),
    ],
)
def test_arguments_that_do_not_fit_are_refused(call: Any) -> None:
    with pytest.raises(ParameterError, match="one each of rho, c"):
        call(formula("R2").ball())


@pytest.mark.parametrize("value", ["a third", True, None, math.inf, "1/0", [1]])
def test_a_ball_takes_exact_numbers_only(value: Any) -> None:
    with pytest.raises(ParameterError, match="rho must be"):
        formula("R2").ball()(rho=value, c=1)


def test_the_import_needs_no_extra_and_a_missing_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = (
        "import sys, arvdm_theory.symbolic, arvdm_theory.prover;"
        "print([m for m in ('sympy', 'flint', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for module, use, extra in (
        ("sympy", lambda: FORMULAS["R2"](), "symbolic"),
        ("flint", formula("R2").ball, "certified"),
        ("torch", formula("R2").torch, "torch"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ParameterError, match=rf"arvdm-theory\[{extra}\]"):
            use()
        monkeypatch.undo()


def test_a_function_that_no_arithmetic_knows_is_refused() -> None:
    made = formula("R2")
    rho = next(item for item in made.expression.free_symbols if item.name == "rho")
    odd = Formula("odd", "R2", "", sympy.besselj(0, rho), made.symbols, (), "")
    with pytest.raises(RefusedError, match="besselj"):
        odd.numpy()(0.5, 1)


# --- derivations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DERIVATIONS)
def test_every_derivation_checks(name: str) -> None:
    found = derivation(name)
    assert len(found.steps) >= 2
    found.check()
    assert found.latex().count("&=") == len(found.steps)


@pytest.mark.parametrize("name", DERIVATIONS)
def test_every_false_variant_is_refused(name: str) -> None:
    for step in derivation(name).steps:
        wrong = Step(step.claim, step.left, step.false, step.right, step.point)
        with pytest.raises(ArithmeticError, match="the difference is"):
            wrong.check()
        assert wrong.at_point(step.left - step.false) != 0
        # and a false variant that is true is noticed
        with pytest.raises(ArithmeticError, match="the false variant holds"):
            Step(step.claim, step.left, step.right, step.right, step.point).check()


@settings(max_examples=25)
@given(st.integers(1, 8), st.data())
def test_telescoping_holds_of_schedules(window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    if window % stride:
        stride = 1
    schedule = Schedule.staircase(window, stride, t_max=3.0, t_min=0.05, substeps=1)
    total = float(np.sum(schedule.input_levels - schedule.output_levels))
    assert total == pytest.approx(stride * (3.0 - 0.05), rel=1e-12)


def test_registry_names_every_term() -> None:
    families = ("ar1", "ar2", "static_latent")
    listed = {f"{t}_{f}_{k}" for t in TERMS for f in families for k in SCHEDULES}
    assert listed <= set(FORMULAS)
    assert {"R2", "R2_vector", "R4", "R5_ar1", "R5_arfima", "E2", "E5_memory"} <= set(FORMULAS)
    assert symbolic.FORMULAS is FORMULAS
