"""Leading axes through the bounds: equal to a loop over worlds, NumPy as torch, gradients."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import Autoregressive, Generator, noise
from arvdm_theory._arrays import common_shape, counts, floating
from arvdm_theory.accumulation import (
    dobrushin_coefficient,
    drift_bound,
    drifting_chain,
    eigenvector_drift,
    geometric_sum,
    memory_trade_off,
    saturation,
    sequence_kl,
    smoothed_kl,
    total_variation_saturation,
)
from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, RefusedError
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    Proportion,
    binary_kl,
    canonical_correlations,
    clopper_pearson,
    conditional_information,
    impossibility_floor,
    information_given_memory,
    linear_memory_floor,
    needle_bound,
    needle_information,
    needle_success,
    pair_law_floor,
    partial_autocorrelations,
    rate_limited_memory,
    renoising_cost,
    scalar_window_memory,
    stochastic_memory,
    window_memory_bottleneck,
)

torch.set_num_threads(1)

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


# --- the calculators, each with what it is drawn from ---------------------------------------------


def between(low: float, high: float, *core: int) -> Draw:
    return lambda draw, lead: draw.uniform(low, high, (*lead, *core))


def integers(low: int, high: int) -> Draw:
    return lambda draw, lead: draw.integers(low, high, lead)


def covariances(size: int) -> Draw:
    def draw_them(draw: np.random.Generator, lead: tuple[int, ...]) -> np.ndarray:
        root = draw.standard_normal((*lead, size, size))
        return root @ root.swapaxes(-1, -2) + 0.1 * np.eye(size)

    return draw_them


def kernels(size: int) -> Draw:
    def draw_them(draw: np.random.Generator, lead: tuple[int, ...]) -> np.ndarray:
        rows = draw.uniform(0.05, 1.0, (*lead, size, size))
        return rows / rows.sum(axis=-1, keepdims=True)

    return draw_them


def correlations(draw: np.random.Generator, lead: tuple[int, ...]) -> np.ndarray:
    """One of three may be nothing; different ones, since at ties no derivative exists."""
    values = np.sort(draw.uniform(0.05, 0.98, (*lead, 3)), axis=-1)
    return values * (draw.uniform(size=(*lead, 3)) > 0.2)


def ends(found: Enclosure) -> dict[str, Any]:
    return {"value": found.value, "lower": found.lower, "upper": found.upper}


def only(value: Any) -> dict[str, Any]:
    return {"value": value}


def fields(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda found: {name: getattr(found, name) for name in names}


@dataclass(frozen=True)
class Case:
    """`call` of arrays with these numbers of axes of their own; `smooth`: those with a gradient."""

    call: Callable[..., Any]
    draws: tuple[Draw, ...]
    axes: tuple[int, ...]
    smooth: tuple[int, ...] = ()

    def arguments(self, draw: np.random.Generator, leads: list[tuple[int, ...]]) -> list[Any]:
        return [each(draw, lead) for each, lead in zip(self.draws, leads, strict=True)]


def budget(rho: Any, c: Any) -> Enclosure:
    return MemoryBudget(CanonicalCorrelations.of(rho)).floor(c)


def curve(rho: Any) -> dict[str, Any]:
    found = MemoryBudget(CanonicalCorrelations.of(rho), "bits").curve([0.0, 0.3, np.inf])
    return {"value": found.value, "lower": found.lower, "upper": found.upper}


def spend(rho: Any, target: Any) -> Enclosure:
    return MemoryBudget(CanonicalCorrelations.of(rho)).budget_for(target)


def later(start: Any, step: Any) -> Any:
    return start + (torch.as_tensor(step) if isinstance(start, torch.Tensor) else step)


def reconstructed(covariance: Any) -> Any:
    """Canonical directions up to sign: what they say of Z, squared."""
    found = canonical_correlations(covariance, [0, 1], [2, 3], [4])
    return {"ratios": found.ratios, "error": found.error_bound, "squares": found.directions**2}


def autocovariances(lags: int) -> Draw:
    """Of moving averages, whose recursion never becomes singular here."""

    def draw_them(draw: np.random.Generator, lead: tuple[int, ...]) -> np.ndarray:
        weights = draw.uniform(-1.0, 1.0, (*lead, 3)) + [0.0, 0.0, 2.0]
        found = np.zeros((*lead, lags))
        for lag in range(min(3, lags)):
            found[..., lag] = np.sum(weights[..., lag:] * weights[..., : 3 - lag], axis=-1)
        return found + 0.2 * (np.arange(lags) == 0)

    return draw_them


CASES = {
    "binary_kl": Case(lambda p, q: only(binary_kl(p, q)), (between(0, 1), between(0.01, 0.99)),
                      (0, 0), (0, 1)),
    "needle_information": Case(lambda s, n: ends(needle_information(s, n)),
                               (between(0, 1), integers(2, 50)), (0, 0), (0,)),
    "needle_information, Fano": Case(
        lambda s, n: ends(needle_information(s, n, form="fano", unit="bits")),
        (between(0, 1), integers(2, 50)), (0, 0), (0,)),
    "needle_success": Case(lambda i, n: ends(needle_success(i, n)),
                           (between(0.01, 4.0), integers(2, 50)), (0, 0), (0,)),
    "needle_bound": Case(lambda p, q: fields("value", "plug_in")(needle_bound(p, q)),
                         (between(0, 1), between(0.01, 0.99)), (0, 0), (0, 1)),
    "needle_bound of trials": Case(lambda q: only(needle_bound(Proportion(50, 50), q).value),
                                   (between(0.01, 0.99),), (0,), (0,)),
    "clopper_pearson": Case(lambda k, n: dict(enumerate(clopper_pearson(k, n))),
                            (integers(0, 5), integers(5, 50)), (0, 0)),
    "partial_autocorrelations": Case(
        lambda g: only(partial_autocorrelations(g, 4, level=0.1)), (autocovariances(6),), (1,),
        (0,)),
    "scalar_window_memory": Case(
        lambda g: {**fields("values", "error_bound")(scalar_window_memory(g, [0, 2, 5])),
                   **ends(scalar_window_memory(g, 1, unit="bits").innovation)},
        (autocovariances(6),), (1,), (0,)),
    "scalar_window_memory, innovation": Case(
        lambda g, v: fields("values", "error_bound")(
            scalar_window_memory(g, [0, 2], innovation=v, level=0.05)),
        (autocovariances(6), between(0.01, 0.1)), (1, 0), (0, 1)),
    "pair_law_floor": Case(lambda n: ends(pair_law_floor(n).kl), (integers(1, 9),), (0,)),
    "canonical_correlations": Case(reconstructed, (covariances(5),), (2,)),
    "conditional_information": Case(
        lambda c: ends(conditional_information(c, [0, 3], [1], [2], unit="bits")),
        (covariances(4),), (2,), (0,)),
    "information_given_memory": Case(
        lambda c, a: ends(information_given_memory(c, [0, 3], [1], a, [2])),
        (covariances(4), between(-1, 1, 1, 2)), (2, 2), (0, 1)),
    "information_given_memory, noise": Case(
        lambda c, a, n: ends(information_given_memory(c, [0, 3], [1, 2], a, noise=n)),
        (covariances(4), between(-1, 1, 3, 2), between(0.1, 1, 3)), (2, 2, 1), (0, 1, 2)),
    "impossibility_floor": Case(
        lambda c: {**ends(impossibility_floor(c, [1], [0, 3], [2]).floor),
                   "law": impossibility_floor(c, [1], [0, 3], [2]).covariance},
        (covariances(4),), (2,), (0,)),
    "linear_memory_floor": Case(
        lambda r: ends(linear_memory_floor(CanonicalCorrelations.of(r), 1).floor),
        (correlations,), (1,), (0,)),
    "CanonicalCorrelations": Case(
        lambda r: fields("ratios", "losses", "complement")(CanonicalCorrelations.of(complement=r)),
        (between(0.01, 1, 3),), (1,), (0,)),
    "MemoryBudget.floor": Case(lambda r, c: ends(budget(r, c)), (correlations, between(0, 2)),
                               (1, 0), (0, 1)),
    "MemoryBudget.curve": Case(curve, (correlations,), (1,), (0,)),
    "MemoryBudget.water_level": Case(
        lambda r, c: only(MemoryBudget(CanonicalCorrelations.of(r)).water_level(c)),
        (between(0.1, 0.9, 3), between(0, 2)), (1, 0), (0, 1)),
    "MemoryBudget.budget_for": Case(lambda r, b: ends(spend(r, b)),
                                    (correlations, between(0.01, 1.5)), (1, 0), (0, 1)),
    "stochastic_memory": Case(
        lambda r, c: ends(stochastic_memory(CanonicalCorrelations.of(r), c)),
        (correlations, between(0.01, 1.0)), (1, 0), (0, 1)),
    "sequence_kl": Case(
        lambda m, p, n, q: fields("per_frame", "total", "error_bound")(
            sequence_kl((m, p), (n, q), dim=2)),
        (between(-1, 1, 4), covariances(4), between(-1, 1, 4), covariances(4)), (1, 2, 1, 2),
        (0, 1, 2, 3)),
    "drifting_chain": Case(
        lambda e: fields("clip", "error_bound", "theorem_b", "ratio", "asymptote", "limit_ratio",
                         "per_step")(drifting_chain(e, [1, 7, 300])), (between(0.01, 0.9),), (0,),
        (0,)),
    "geometric_sum": Case(lambda a, k: only(geometric_sum(a, k)),
                          (between(-1.5, 1.5), integers(0, 30)), (0, 0), (0,)),
    "saturation": Case(lambda e, a, k: only(saturation(e, a, k)),
                       (between(0, 1), between(0, 1.5), integers(0, 30)), (0, 0, 0), (0, 1)),
    "smoothed_kl": Case(
        lambda w, s, a, m, v: only(
            smoothed_kl(w, s, lipschitz=a, local_mean=m, local_spread=v)),
        (between(0, 1), between(0.1, 1), between(0, 2), between(0.1, 1), between(0, 1)),
        (0, 0, 0, 0, 0), (0, 1, 2, 3, 4)),
    "dobrushin_coefficient": Case(lambda t: only(dobrushin_coefficient(t)), (kernels(3),), (2,)),
    "total_variation_saturation": Case(
        lambda e, t, k: only(total_variation_saturation(e, t, k)),
        (between(0, 0.2), kernels(3), integers(0, 9)), (0, 2, 0), (0,)),
    "drift_bound": Case(lambda p, q, c: ends(drift_bound(p, q, c)),
                        (between(-1, 1, 3), between(-1, 1, 3), covariances(3)), (1, 1, 2),
                        (0, 1, 2)),
    "eigenvector_drift": Case(
        lambda b, a, k, v: ends(eigenvector_drift(b, a, k, v)),
        (between(-1, 1), between(-1.2, 1.2), integers(0, 30), between(0.1, 1)), (0, 0, 0, 0),
        (0, 1, 3)),
    "memory_trade_off": Case(
        lambda s, b, v, t: fields("memory_bottleneck", "bias", "asymptotic_bias", "drift",
                                  "error_bound")(
            memory_trade_off([0, 1, 4], s, b, frame=9, latent_variance=v, level=t)),
        (between(0.1, 1), between(-1, 1), between(0.1, 1), between(0, 1)), (0, 0, 0, 0),
        (0, 1, 2, 3)),
    "noise levels": Case(
        lambda t: {f.__name__: f(t) for f in (noise.alpha, noise.sigma, noise.gamma, noise.log_snr)}
        | {clock: noise.level(noise.to_clock(t, clock), clock) for clock in noise.CLOCKS},
        (between(0.05, 3),), (0,), (0,)),
    "noise.time_from": Case(
        lambda x: {"gamma": noise.time_from_gamma(x), "log": noise.time_from_log_snr(x)},
        (between(0.05, 3),), (0,), (0,)),
    "noise.kernel": Case(lambda s, h: dict(enumerate(noise.kernel(s, later(s, h)))),
                         (between(0.05, 1), between(0.05, 1)), (0, 0), (0, 1)),
    "noise.bridge": Case(lambda s, h: dict(enumerate(noise.bridge(later(s, h), s))),
                         (between(0.05, 1), between(0.05, 1)), (0, 0), (0, 1)),
    "noise.sub_step_levels": Case(
        lambda s, h: only(noise.sub_step_levels(later(s, h), s, 3)),
        (between(0.05, 1, 2), between(0.05, 1, 2)), (1, 1), (0, 1)),
}  # fmt: skip
WITHOUT_TENSORS = {"clopper_pearson", "pair_law_floor"}


# --- batched is a loop ----------------------------------------------------------------------------


@st.composite
def leading(draw: st.DrawFn, count: int) -> list[tuple[int, ...]]:
    """Leading axes that broadcast: some shorter, some of one."""
    shape = draw(st.lists(st.integers(0, 3), max_size=2))
    leads = []
    for _ in range(count):
        kept = shape[draw(st.integers(0, len(shape))) :]
        leads.append(tuple(1 if draw(st.booleans()) else n for n in kept))
    return leads


def as_array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)


def differs_from_a_loop(
    call: Callable[..., Any], arguments: list[Any], axes: tuple[int, ...]
) -> str:
    """Where `call` of all differs from `call` of each; empty if nowhere."""
    leads = [np.shape(a)[: np.ndim(a) - n] for a, n in zip(arguments, axes, strict=True)]
    batch = np.broadcast_shapes(*leads)
    wide = [
        np.broadcast_to(a, batch + np.shape(a)[np.ndim(a) - n :])
        for a, n in zip(arguments, axes, strict=True)
    ]
    together = call(*arguments)
    for name, value in together.items():
        if as_array(value).shape[: len(batch)] != batch:
            return f"{name} has shape {as_array(value).shape}"
    for index in np.ndindex(batch):
        alone = call(*(a[index] for a in wide))
        for name, expected in alone.items():
            found, expected = as_array(together[name])[index], as_array(expected)
            if found.shape != expected.shape:
                return f"{name}{index} has shape {found.shape}, alone {expected.shape}"
            if not np.allclose(found, expected, rtol=1e-10, atol=1e-13):
                return f"{name}{index} is {found}, alone {expected}"
    return ""


@pytest.mark.parametrize("name", CASES)
@given(data=st.data(), seed=st.integers(0, 2**31))
@settings(max_examples=12, deadline=None)
def test_batched_is_a_loop(name: str, data: st.DataObject, seed: int) -> None:
    case = CASES[name]
    leads = data.draw(leading(len(case.draws)))
    arguments = case.arguments(np.random.default_rng(seed), leads)
    assert differs_from_a_loop(case.call, arguments, case.axes) == ""


def test_the_comparison_sees_a_batch_that_mixes_its_worlds() -> None:
    case, draw = CASES["drift_bound"], np.random.default_rng(0)
    arguments = case.arguments(draw, [(3,), (3,), (3,)])

    def mixed(p: Any, q: Any, c: Any) -> Any:
        return case.call(p, q, np.mean(c, axis=tuple(range(c.ndim - 2))))

    def rolled(p: Any, q: Any, c: Any) -> Any:
        return case.call(np.roll(p, 1, axis=0) if p.ndim > 1 else p, q, c)

    def short(p: Any, q: Any, c: Any) -> Any:
        return {
            key: value[:1] if c.ndim > 2 else value for key, value in case.call(p, q, c).items()
        }

    for wrong in (mixed, rolled, short):
        assert differs_from_a_loop(wrong, arguments, case.axes) != ""
    assert differs_from_a_loop(case.call, arguments, case.axes) == ""


# --- tensors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CASES.keys() - WITHOUT_TENSORS))
def test_tensors_are_arrays(name: str) -> None:
    case = CASES[name]
    arguments = case.arguments(np.random.default_rng(3), [(4,)] * len(case.draws))
    tensors = [torch.from_numpy(a) for a in arguments]
    expected, found = case.call(*arguments), case.call(*tensors)
    assert expected.keys() == found.keys()
    for key, value in found.items():
        assert isinstance(value, torch.Tensor) or key in ("error", "error_bound"), key
        assert as_array(value).dtype == np.float64
        np.testing.assert_allclose(as_array(value), expected[key], rtol=1e-9, atol=1e-12)
    # the first a tensor, the others NumPy
    mixed = case.call(tensors[0], *arguments[1:])
    for key, value in mixed.items():
        np.testing.assert_allclose(as_array(value), expected[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.smooth])
def test_gradients(name: str) -> None:
    case = CASES[name]
    arguments = case.arguments(np.random.default_rng(5), [(2,)] * len(case.draws))
    tensors = [torch.from_numpy(a) for a in arguments]
    smooth = [tensors[i].requires_grad_() for i in case.smooth]

    def values(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(case.smooth, inputs, strict=True))
        symmetric = {
            i: 0.5 * (x + x.mT) if case.axes[i] == 2 and x.shape[-1] == x.shape[-2] > 2 else x
            for i, x in given.items()
        }
        found = case.call(*(symmetric.get(i, tensor) for i, tensor in enumerate(tensors)))
        kept = [v for key, v in found.items() if key not in ("lower", "upper", "error_bound")]
        return tuple(v for v in kept if isinstance(v, torch.Tensor) and v.requires_grad)

    assert values(*smooth)
    assert torch.autograd.gradcheck(values, tuple(smooth), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(CASES.keys() - WITHOUT_TENSORS))
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_single_precision_is_upcast(name: str, library: str) -> None:
    case = CASES[name]
    arguments = case.arguments(np.random.default_rng(7), [(2,)] * len(case.draws))
    # sixty-fourths: what the case itself adds up is exact in both
    rounded = [np.round(64.0 * a) / 64.0 if a.dtype.kind == "f" else a for a in arguments]
    if "dobrushin" in name or "total_variation" in name:
        rounded = [np.full((2, 2, 2), 0.5) if a.ndim == 3 else a for a in rounded]
    narrow = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in rounded]
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in narrow]
    convert = torch.from_numpy if library == "torch" else np.asarray
    expected, found = case.call(*map(convert, wide)), case.call(*map(convert, narrow))
    for key, value in found.items():
        assert as_array(value).dtype == np.float64
        np.testing.assert_array_equal(as_array(value), as_array(expected[key]), strict=True)


def test_one_world_is_plain_numbers() -> None:
    draw = np.random.default_rng(0)
    for name, case in CASES.items():
        found = case.call(*(each(draw, ())[()] for each in case.draws))
        for key in ("value", "lower", "upper"):
            if key in found and np.ndim(found[key]) == 0 and not name.startswith("noise"):
                assert type(found[key]) is float, name


# --- singular laws, infinite values ---------------------------------------------------------------


def test_a_singular_law_among_others() -> None:
    """Perfect returns, repeated and constant coordinates beside regular laws."""
    regular = covariances(4)(np.random.default_rng(1), (2,))
    perfect = np.eye(4)
    perfect[0, 1] = perfect[1, 0] = 1.0
    constant = np.diag([1.0, 1.0, 0.0, 1.0])
    constant[0, 1] = constant[1, 0] = 0.6
    repeated = np.eye(4)[[0, 1, 0, 3]] @ np.diag([1.0, 2.0, 3.0, 4.0])
    repeated = repeated @ repeated.T
    many = np.stack([regular[0], perfect, constant, repeated, regular[1]])
    for call in (
        lambda c: ends(conditional_information(c, [0, 3], [1], [2])),
        lambda c: ends(impossibility_floor(c, [0, 3], [1], [2]).floor),
        lambda c: ends(information_given_memory(c, [0, 3], [1], [[1.0, 1.0]], [2])),
    ):
        assert differs_from_a_loop(call, [many], (2,)) == ""
    found = conditional_information(many, [0, 3], [1], [2])
    assert np.isinf(found.value).tolist() == [False, True, False, False, False]
    assert found.reason is not None and "the past determines" in found.reason
    assert found[0].reason is None and found[1].reason == found.reason
    assert found.to_json()["value"][1] is None
    source = canonical_correlations(many, [0, 3], [1], [2])
    for call in (
        lambda c: ends(MemoryBudget(source).floor(c)),
        lambda c: ends(MemoryBudget(source).budget_for(c)),
        lambda c: ends(stochastic_memory(source, c)),
    ):
        for c in (0.0, 0.4, np.inf):
            together = call(c)
            for k in range(5):
                alone = canonical_correlations(many[k], [0, 3], [1], [2])
                single = {
                    "floor": MemoryBudget(alone).floor(c),
                    "budget_for": MemoryBudget(alone).budget_for(c),
                    "stochastic": stochastic_memory(alone, c),
                }
                expected = [ends(one) for one in single.values()]
                assert any(
                    all(np.allclose(together[key][k], e[key], rtol=1e-10) for key in e)
                    for e in expected
                )
    with pytest.raises(
        NotPositiveDefiniteError, match=r"covariance must be .* where it is a tensor"
    ):
        conditional_information(torch.from_numpy(many), [0, 3], [1], [2])
    with pytest.raises(NotPositiveDefiniteError, match="positive semi-definite"):
        conditional_information(np.stack([np.eye(2), [[1.0, 2.0], [2.0, 1.0]]]), [0], [1])
    # a memory of dependent numbers among others
    rows = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [2.0, 2.0]]])
    call = lambda a: ends(information_given_memory(regular[0], [0, 3], [1], a, [2]))  # noqa: E731
    assert differs_from_a_loop(call, [rows], (2,)) == ""


def test_infinite_values_keep_their_reason() -> None:
    rho = [[1.0, 0.5], [0.6, 0.5]]
    found = MemoryBudget(CanonicalCorrelations.of(rho)).floor([0.3, 0.3])
    assert np.isinf(found.value).tolist() == [True, False]
    assert found.reason is not None and "correlation of 1" in found.reason
    drift = eigenvector_drift([0.0, 0.1], 3.0, 5000, 1.0)
    assert drift.value.tolist() == [0.0, np.inf] and drift.lower.tolist() == [0.0, 0.0]
    assert drift.reason is not None and drift[0].reason is None
    assert needle_success([np.inf, 0.0], 4).value.tolist() == [1.0, 0.25]
    assert binary_kl([0.5, 0.0], 0.0).tolist() == [np.inf, 0.0]


# --- derivatives at the edges ---------------------------------------------------------------------


def test_gradients_where_a_formula_changes_its_form() -> None:
    """No NaN, and the right number, at 0, at 1 and at equality."""
    one = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(geometric_sum(one, 7), one)
    assert slope.item() == pytest.approx(21.0, rel=1e-14)  # 0 + 1 + ... + 6
    nothing = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(geometric_sum(nothing, [1, 2, 9]).sum(), nothing)
    assert slopes.tolist() == [0.0, 1.0, 1.0]
    half = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(binary_kl(half, [0.5, 0.2]).sum(), half)
    assert slopes.tolist() == pytest.approx([0.0, np.log(4.0)], abs=1e-14)
    (slopes,) = torch.autograd.grad(binary_kl(half, 1e-30).sum(), half)
    assert slopes.tolist() == pytest.approx([30.0 * np.log(10.0)] * 2, rel=1e-14)
    for call in (
        lambda x: smoothed_kl(x, 1.0, local_mean=0.0 * x).sum(),
        lambda x: MemoryBudget(CanonicalCorrelations.of([0.9, 0.5, 0.2])).floor(x).value.sum(),
        lambda x: stochastic_memory(CanonicalCorrelations.of([0.9, 0.0]), x + 0.3).value.sum(),
        lambda x: eigenvector_drift(x, 0.9, 3, 1.0).value.sum(),
    ):
        (slopes,) = torch.autograd.grad(call(nothing), nothing)
        assert torch.all(torch.isfinite(slopes)), call


# --- R5 from autocovariances ----------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_windows_of_autocovariances_are_those_of_the_video(level: float) -> None:
    """With the innovation: of the infinite past. Without: of the lags that are given."""
    videos = [Autoregressive([0.5, 0.4], 0.3), Autoregressive([-0.3, 0.2], 1.0)]
    lags = np.stack([video.autocovariance(60).ravel() for video in videos])
    expected = [scalar_window_memory(video, [0, 1, 2, 5], level=level) for video in videos]
    innovation = np.exp([one.innovation.value for one in expected])
    found = scalar_window_memory(lags, [0, 1, 2, 5], level=level)
    known = scalar_window_memory(lags, [0, 1, 2, 5], level=level, innovation=innovation)
    for row, one in enumerate(expected):
        np.testing.assert_allclose(known.values[row], one.values, atol=1e-12)
        np.testing.assert_allclose(found.values[row], one.values, atol=1e-12)
        np.testing.assert_allclose(
            found.values[row],
            window_memory_bottleneck(videos[row], [0, 1, 2, 5], level=level, horizon=60).values,
            atol=1e-12,
        )
        assert known.innovation[row].value == pytest.approx(one.innovation.value, abs=1e-12)
    assert "r=5: 2 values" in repr(found) and len(json.dumps(found.to_json())) > 0
    with pytest.raises(ParameterError, match="innovation must be at most the prediction error"):
        scalar_window_memory(lags, 1, level=level, innovation=[0.1, 2.0])
    with pytest.raises(ParameterError, match="innovation must be given beside autocovariances"):
        scalar_window_memory(videos[0], 1, innovation=0.3)
    with pytest.raises(ParameterError, match=r"video must be .* up to lag 9, got shape \(2, 8\)"):
        scalar_window_memory(lags[:, :8], 9, level=level)
    with pytest.raises(RefusedError, match="determined by the last 1"):
        partial_autocorrelations([[1.0, 1.0]], 1)


# --- M6 at many levels ----------------------------------------------------------------------------


def test_renoising_at_many_context_levels() -> None:
    video = Autoregressive([0.5, 0.4], 0.3)
    levels = np.array([[0.05, 0.1, 0.3], [1.0, 3.0, np.inf]])
    together = renoising_cost(
        video, reference=2, context_level=levels, horizon=5, level=0.05, input_level=2.0
    )
    assert together.renoised.shape == (2, 3)
    for index in np.ndindex(levels.shape):
        alone = renoising_cost(
            video,
            reference=2,
            context_level=float(levels[index]),
            horizon=5,
            level=0.05,
            input_level=2.0,
        )
        for part in ("clean", "renoised", "lost"):
            for end in ("value", "lower", "upper"):
                found = getattr(getattr(together, part), end)[index]
                assert found == pytest.approx(getattr(getattr(alone, part), end), abs=1e-12)
    assert np.all(np.diff(together.renoised.value.ravel()) > 0.0)  # M6
    level = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)

    def cost(level: torch.Tensor) -> torch.Tensor:
        return renoising_cost(video, reference=2, context_level=level, horizon=5).renoised.value

    assert torch.autograd.gradcheck(cost, (level,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_many_rates_of_a_video_of_one_state(level: float) -> None:
    rates = np.array([[0.0, 0.1, 0.5], [1.0, 2.0, 9.0]])
    for video in (Autoregressive([0.9], 0.19), Autoregressive([0.0], 1.0)):
        found = rate_limited_memory(video, rates, level=level, unit="bits")
        for index in np.ndindex(rates.shape):
            alone = rate_limited_memory(video, rates[index], level=level, unit="bits")
            assert found.bottleneck[index].value == pytest.approx(
                alone.bottleneck.value, rel=1e-9, abs=1e-15
            )
            assert found.excess[index] == pytest.approx(alone.excess, rel=1e-9, abs=1e-15)
            np.testing.assert_allclose(found.covariance[index], alone.covariance, rtol=1e-9)
        assert found.without_memory == alone.without_memory and "2 × 3 values" in repr(found)
        assert json.loads(json.dumps(found.to_json()))["rate"] == rates.tolist()
    rate = torch.tensor([0.3, 1.0], dtype=torch.float64, requires_grad=True)
    video = Autoregressive([0.9], 0.19)

    def bottleneck(rate: torch.Tensor) -> torch.Tensor:
        return rate_limited_memory(video, rate, level=level).bottleneck.value

    assert torch.autograd.gradcheck(bottleneck, (rate,))
    with pytest.raises(ParameterError, match="rate must be one number for a video of 2 states"):
        rate_limited_memory(Autoregressive([0.5, 0.4], 0.3), rates)
    with pytest.raises(ParameterError, match=r"rate must be .* got -1\.0"):
        rate_limited_memory(video, [1.0, -1.0])


# --- enclosures of many ---------------------------------------------------------------------------


def test_enclosures_of_many() -> None:
    found = needle_information([[0.2, 0.5], [0.9, 1.0]], 100)
    assert found.shape == (2, 2) and "2 × 2 values, 0." in str(found) and "(M5)" in repr(found)
    assert isinstance(found[0, 1].value, float) and found[1].shape == (2,)
    assert float(found[0, 1]) == float(needle_information(0.5, 100))
    with pytest.raises(TypeError):
        float(found)
    bits = found.to("bits")
    np.testing.assert_allclose(bits.value, found.value / np.log(2.0))
    assert json.loads(json.dumps(found.to_json()))["value"] == found.value.tolist()
    assert str(needle_information(np.zeros((0, 2)), 4)) == "0 × 2 values, nats (M5)"
    tensor = needle_information(torch.tensor([0.5, 1.0]), 4)
    assert "2 values" in str(tensor) and tensor.to_json()["upper"][1] >= np.log(4.0)
    with pytest.raises(
        ParameterError, match=r"value must be in lower..upper \(2.0..3.0\), got 1.0"
    ):
        Enclosure(np.array([1.0, 1.0]), np.array([0.0, 2.0]), np.array([2.0, 3.0]))
    with pytest.raises(ParameterError, match="value, lower, upper must be of one shape"):
        Enclosure(np.ones(2), np.ones(1), np.ones(2))
    with pytest.raises(RefusedError, match="cannot be at least"):
        Enclosure.around(np.array([0.0, -1.0]), 0.1, least=0.0)
    assert Enclosure.around(np.array([0.0, -0.05]), 0.1, least=0.0).value.tolist() == [0.0, 0.0]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: needle_information([0.5, 1.5], 4), r"success must be a rate .*got 1\.5"),
        (lambda: needle_information([0.5], [[4, 1]]), "needles must be an integer of at least 2"),
        (lambda: needle_information([0.5, 0.5], [4, 5, 6]), "success, needles must be of shapes"),
        (lambda: needle_success([0.5, np.nan], 4), "information must be a number .no NaN"),
        (lambda: needle_bound([0.5, 2.0], 0.5), r"truth must be a Proportion, or a rate"),
        (lambda: saturation([0.1, -0.1], 1.0, 3), r"error must be .* at least 0, got -0\.1"),
        (lambda: saturation(0.1, 1.0, [1.5]), "steps must be an integer"),
        (lambda: eigenvector_drift(1.0, 1.0, 3, [1.0, 0.0]), r"variance must be .* got 0\.0"),
        (lambda: drift_bound(np.zeros((3, 2)), np.zeros((2, 2)), np.eye(2)), "shapes that broad"),
        (lambda: drift_bound(np.zeros(3), np.zeros(2), np.eye(2)), r"truth mean must be of shape"),
        (lambda: sequence_kl((np.zeros((2, 3)), np.eye(3)), (np.zeros(3), np.eye(3)), dim=2),
         "truth mean must be of shape"),
        (lambda: conditional_information(np.zeros((2, 3, 4)), [0], [1]), "a square matrix"),
        (lambda: conditional_information([[[1.0, 0.5], [0.4, 1.0]]], [0], [1]), "symmetric"),
        (lambda: information_given_memory(np.eye(3), [0, 1], [2], np.zeros((4, 1, 3))),
         r"matrix must be of shape \(..., b, 2\)"),
        (lambda: dobrushin_coefficient([[[0.5, 0.6], [0.5, 0.5]]]), "rows that sum to 1, got 1.1"),
        (lambda: dobrushin_coefficient(Generator()), "Dobrushin coefficient 1"),
        (lambda: binary_kl(["a"], 0.5), "p must be a number or a rectangular array"),
        (lambda: binary_kl([[0.5], [0.5, 0.5]], 0.5), "p must be a number or a rectangular array"),
        (lambda: MemoryBudget(CanonicalCorrelations.of([[0.5], [0.6]])).encoder(1.0),
         "source must be of one world"),
        (lambda: MemoryBudget(CanonicalCorrelations.of([[0.5], [0.6]])).break_points(),
         "source must be of one world"),
        (lambda: MemoryBudget(CanonicalCorrelations.of([[0.5], [0.6]])).floor([1.0, 1.0, 1.0]),
         "source, budget must be of shapes that broadcast"),
        (lambda: MemoryBudget(CanonicalCorrelations.of([0.5])).budget_for([0.1, 1e-301]),
         "bottleneck must be 0 or at least 1e-300"),
    ],
)  # fmt: skip
def test_refusals_name_the_argument(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ParameterError, RefusedError), match=message):
        call()


def test_tensors_are_refused_by_name_where_nothing_is_differentiable() -> None:
    tensor = torch.tensor([2, 3])
    source = CanonicalCorrelations.of(torch.tensor([0.5], dtype=torch.float64))
    video = Autoregressive([0.5], 1.0)
    for name, call in {
        "values": lambda: pair_law_floor(tensor),
        "trials": lambda: clopper_pearson(1, tensor),
        "steps": lambda: drifting_chain(0.1, tensor),
        "window_lengths": lambda: memory_trade_off(tensor, 1.0, 0.1, frame=5),
        "source": lambda: MemoryBudget(source).encoder(1.0),
        "coefficients": lambda: Autoregressive(torch.tensor([0.5]), 1.0),
        "level": lambda: renoising_cost(video, reference=1, context_level=1.0, level=tensor),
        "p": lambda: binary_kl(torch.tensor([True]), 0.5),
    }.items():
        with pytest.raises(ParameterError) as error:
            call()
        assert error.value.parameter == name


def test_arguments_are_checked_by_name() -> None:
    assert counts("n", torch.tensor([[1, 2]])).tolist() == [[1, 2]]
    assert counts("n", []).shape == (0,)
    for wrong in (1.5, "1", None, True, [1.0], [True], [2**60], 0, [1, 0]):
        with pytest.raises(ParameterError, match="n must be an integer of at"):
            counts("n", wrong)
    _, (a, b) = floating(a=1, b=torch.tensor([1], dtype=torch.int32))
    assert a.dtype == b.dtype == torch.float64
    with pytest.raises(ParameterError, match="a, b must be of shapes that broadcast"):
        common_shape(a=np.zeros(2), b=np.zeros(3))


def test_every_case_is_a_different_calculator() -> None:
    """The table covers what the two modules export, but for what takes descriptions."""
    from arvdm_theory import accumulation, memory

    called = {name.split(",")[0].split(" ")[0].split(".")[0] for name in CASES}
    functions = {
        name
        for module in (memory, accumulation)
        for name in module.__all__
        if callable(getattr(module, name)) and not isinstance(getattr(module, name), type)
    }
    of_descriptions = {
        "best_recursive_memory", "canonical_correlations_of", "clip_accumulation",
        "forgetful_video", "innovation_log_det", "memory_bottleneck_of", "memory_budget",
        "metric_blindness", "output_kl_of_chunks", "rate_limited_memory",
        "recursive_memory_bottleneck", "recursive_memory_floor", "renoising_cost",
        "roll_out_floor", "sequential_distortion", "window_memory_bottleneck",
    }  # fmt: skip
    assert functions - called == of_descriptions
    assert not of_descriptions & called
    assert all(len(case.draws) == len(case.axes) for case in CASES.values())
    assert not list(itertools.filterfalse(callable, (case.call for case in CASES.values())))
