"""Designed schedules: known optima, Theorem C both ways, never worse, better than named ones."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.optimize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arvdm_theory.design as designing
from analysis.designed_schedules import SCHEDULES, STUDY
from analysis.study import file_of
from arvdm_theory import noise
from arvdm_theory.decomposition import compare_schedules, decompose
from arvdm_theory.design import (
    Design,
    continuum_grid,
    design,
    evaluate,
    named_methods,
    optimise_grid,
)
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.generator import (
    Biased,
    Denoiser,
    Estimated,
    Exact,
    Generator,
    LinearMemory,
    Misspecified,
    RandomPerturbation,
    Scaled,
)
from arvdm_theory.rates import rates
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import (
    Arfima,
    Autoregressive,
    GaussianVideo,
    Panorama,
    Seasonal,
    StaticLatent,
)
from tests.small_studies import SMALL

LEVELS: dict[str, Any] = {"t_max": 3.0, "t_min": 0.02}
AR2 = Autoregressive([0.5, 0.4], 0.3)
PAIR = Autoregressive([[[0.5, 0.2], [-0.1, 0.5]], [[0.3, 0.0], [0.1, 0.2]]], 0.3, dim=2, mean=0.5)
ROUNDING = 1e-9
few = settings(
    deadline=None, database=None, max_examples=8, suppress_health_check=list(HealthCheck)
)


def one_frame_de(variances: Any, grid: np.ndarray) -> float:
    """½ Σ Δγ mmse(γ_n) − ½ Σ log of one frame, by the definition."""
    values, gammas = np.asarray(variances)[:, None], noise.gamma(np.asarray(grid))
    mmse = np.sum(values / (1.0 + values * gammas[:-1]), axis=0)
    gained = 0.5 * np.sum(np.log1p(values * gammas[-1]) - np.log1p(values * gammas[0]))
    return float(0.5 * np.sum(np.diff(gammas) * mmse) - gained)


# --- the known optimum of one frame ---------------------------------------------------------------


def test_one_variance_has_a_geometric_optimum_at_every_number_of_steps() -> None:
    video = StaticLatent(0.5)
    for substeps in (2, 5, 12):
        plain = Schedule.next_frame(**LEVELS, substeps=substeps)
        found = optimise_grid(video, plain)
        known = continuum_grid([1.5], **LEVELS, substeps=substeps)
        least = one_frame_de([1.5], known)
        assert abs(evaluate(video, found).de - least) < 1e-7
        np.testing.assert_allclose(
            np.log1p(1.5 * found.gammas[:, 0]), np.log1p(1.5 * noise.gamma(known)), atol=2e-3
        )
        assert one_frame_de([1.5], plain.grid[:, 0]) > least + 1e-3  # the default is not it


def test_the_optimum_tends_to_the_continuum_one() -> None:
    r"""Δγ √(−mmse') becomes constant, and 4 M DE the square of ∫ √(−mmse') dγ."""
    variances = np.array([4.0, 0.05])
    process = Autoregressive([[[0.0, 0.0], [0.0, 0.0]]], np.diag(variances), dim=2)
    grid = np.linspace(float(noise.log_snr(3.0)), float(noise.log_snr(0.02)), 200_001)
    gammas = np.exp(grid)
    slope = np.sum((variances / (1.0 + variances * gammas[:, None])) ** 2, axis=1)
    integral = np.trapezoid(np.sqrt(slope) * gammas, grid)
    gaps = []
    for substeps in (8, 32):
        found = optimise_grid(process, Schedule.next_frame(**LEVELS, substeps=substeps))
        known = continuum_grid(variances, **LEVELS, substeps=substeps)
        best = evaluate(process, found).de
        assert best <= one_frame_de(variances, known) + 1e-9  # known is optimal only as M grows
        gaps.append(one_frame_de(variances, known) / best - 1.0)
        if substeps == 32:
            assert abs(4.0 * substeps * best / integral**2 - 1.0) < 2.0 * integral / substeps
            middle = np.sqrt(found.gammas[1:, 0] * found.gammas[:-1, 0])
            at_middle = np.sum((variances / (1.0 + variances * middle[:, None])) ** 2, axis=1)
            evenness = np.diff(found.gammas[:, 0]) * np.sqrt(at_middle)
            assert np.ptp(evenness) < 0.1 * evenness.mean()
    assert gaps[1] < 0.2 * gaps[0] < 0.1


def test_continuum_grid_refuses_what_has_no_slope() -> None:
    with pytest.raises(ParameterError, match="variances must be positive numbers"):
        continuum_grid([0.0, 1.0], **LEVELS, substeps=4)


# --- the loss and its gradient --------------------------------------------------------------------


@pytest.mark.parametrize(
    "denoiser",
    [
        Exact(),
        Scaled(1.1),
        Biased([0.1, -0.2]),
        RandomPerturbation(0.05, seed=1),
        Misspecified(Autoregressive([0.6], 0.3, dim=2)),
    ],
    ids=lambda denoiser: denoiser.kind,
)
@pytest.mark.parametrize("ladder", [False, True])
def test_gradient_is_that_of_the_loss_and_the_loss_theorem_c(
    denoiser: Denoiser, ladder: bool
) -> None:
    setting = designing._Setting.of(PAIR, Generator(denoiser), 40, 1)
    schedule = Schedule.outpainting(3, 1, **LEVELS, substeps=2)
    if ladder:
        schedule = Schedule.staircase(3, 2 - ladder, **LEVELS, substeps=2)
    world = setting.world(schedule, 1)
    for tied in (True, False):
        levels = designing._Levels(schedule, ladder=ladder, tied=tied)
        loss = designing._Loss(world, levels.moving)
        rng = np.random.default_rng(3)
        numbers = levels.numbers(schedule)
        numbers = numbers + 0.3 * rng.standard_normal(numbers.size)

        def value(
            at: np.ndarray,
            levels: designing._Levels = levels,
            loss: designing._Loss = loss,
        ) -> float:
            return designing._weighted(levels(at)[0], loss)[0]

        found, back = levels(numbers)
        own = back(designing._weighted(found, loss)[1])
        numeric = scipy.optimize.approx_fprime(numbers, value, 1e-6)
        np.testing.assert_allclose(own, numeric, atol=2e-5 * (1.0 + np.abs(numeric).max()))
        built = levels.build(numbers, "any")
        generator = Generator(denoiser, reference=1)
        rows = [compare_schedules(PAIR, [built], generator, frames=n)[0].loss for n in (20, 30)]
        assert abs((rows[1] - rows[0]) / 10 - value(numbers)) < 1e-7 * abs(value(numbers))


# --- rates are Theorem A's ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("video", "generator"),
    [
        (PAIR, Generator(reference=2)),
        (PAIR, Generator(Scaled(1.05), reference=1)),
        (PAIR, Generator(Biased(0.1))),
        (AR2, Generator(RandomPerturbation(0.02))),
        (AR2, Generator(memory=LinearMemory([[[0.5]], [[0.25]]]))),
        (Seasonal(6, 0.8, 1.0, 0.2), Generator(Misspecified(AR2), reference=3)),
    ],
    ids=["exact", "scaled", "biased", "random", "memory", "misspecified"],
)
def test_rates_are_those_of_theorem_a(video: GaussianVideo, generator: Generator) -> None:
    schedule = Schedule.staircase(4, 2, **LEVELS, substeps=5)
    found, known = (
        evaluate(video, schedule, generator, output=True),
        rates(video, schedule, generator),
    )
    for name in ("nie", "see", "de", "mb", "chain", "output"):
        assert abs(getattr(found, name) - getattr(known, name)) < ROUNDING, name
    assert abs(found.chain - known.chain) <= found.error_bound + known.error_bound["chain"] < 1e-7
    assert found.cost == schedule.cost(generator.reference)


def test_rates_of_a_periodic_video_are_those_of_its_last_period() -> None:
    positions = [abs(i % 4 - 2) for i in range(90)]
    video = Panorama(positions, dim=2, correlation_length=3.0, noise_variance=0.1)
    schedule = Schedule.outpainting(4, 2, **LEVELS, substeps=6)
    found = evaluate(video, schedule, frames=80, period=4)
    result = decompose(video, schedule, steps=40)
    for name in ("nie", "de"):
        late = getattr(result, f"{name}_per_step")[-2:].mean() / 2
        assert abs(getattr(found, name) - late) < ROUNDING
    assert abs(found.mb - result.mb_per_step[-2:].mean() / 2) < 0.02 * found.mb  # still settling


@given(
    window=st.integers(1, 4),
    reference=st.integers(0, 2),
    steps=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@few
def test_an_optimised_grid_is_a_schedule_and_never_worse(
    window: int, reference: int, steps: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    stride = int(rng.integers(1, window + 1))
    video = Autoregressive([float(rng.uniform(-0.9, 0.9))], float(rng.uniform(0.1, 2.0)))
    schedule = Schedule.outpainting(window, stride, **LEVELS, substeps=steps)
    generator = Generator(Scaled(float(rng.uniform(0.9, 1.1))), reference=reference)
    grid = optimise_grid(video, schedule, generator, rounds=30)
    both = optimise_grid(video, grid, generator, ladder=True, rounds=30)
    values = [evaluate(video, item, generator).chain for item in (schedule, grid, both)]
    assert values[1] <= values[0] + ROUNDING and values[2] <= values[1] + ROUNDING
    again = Schedule.from_json(json.loads(json.dumps(both.to_json())))
    assert again.key == both.key and again.t_min == schedule.t_min and again.t_max == 3.0


# --- design ---------------------------------------------------------------------------------------


@cache
def designed() -> Design:
    named = {
        "next frame": (Schedule.next_frame(**LEVELS, substeps=6), 3),
        "chunk": (Schedule.chunk(2, **LEVELS, substeps=12), 2),
        "fifo": (Schedule.fifo(5, **LEVELS, substeps=5), 0),
    }
    return design(AR2, 24, **LEVELS, context=5, named=named, frames=60)


def test_a_designed_schedule_keeps_the_cost_and_beats_every_named_method() -> None:
    found = designed()
    assert found.best.cost <= 24 and found.best.schedule.window + found.best.reference <= 5
    assert set(found.gains) == {"next frame", "chunk", "fifo"}
    for name, gain in found.gains.items():
        named = found.named[name]
        assert gain == 1.0 - found.best.chain / named.chain > 0.01
        assert named.cost >= found.best.cost - 1e-9
    assert found.best.schedule.t_max == 3.0 and found.best.schedule.t_min == 0.02


def test_named_methods_are_on_their_own_grids() -> None:
    """Negative control: on its default grid a method would look worse than it is."""
    found = designed()
    named = found.named["next frame"]
    default = Schedule.next_frame(**LEVELS, substeps=6)
    assert np.array_equal(named.schedule.input_levels, default.input_levels)
    unfair = evaluate(AR2, default, Generator(reference=3), frames=60)
    assert unfair.chain > 1.5 * named.chain


def test_a_worse_loss_would_choose_a_worse_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without its derivatives the optimiser does not move."""
    true = designing._weighted
    monkeypatch.setattr(
        designing, "_weighted", lambda levels, loss: (true(levels, loss)[0], 0.0 * levels)
    )
    stuck = design(AR2, 24, **LEVELS, context=5, named={}, frames=60)
    assert stuck.best.chain > 1.01 * designed().best.chain


def test_what_is_reported_is_what_the_schedule_does() -> None:
    found = designed()
    for item in (found.best, *found.named.values()):
        known = rates(AR2, item.schedule, Generator(reference=item.reference))
        assert abs(item.chain - known.chain) < ROUNDING and abs(item.mb - known.mb) < ROUNDING
    best, other = found.best, found.named["fifo"]
    losses = [
        compare_schedules(AR2, [item.schedule], Generator(reference=item.reference), frames=n * 6)[
            0
        ].loss
        for item in (best, other)
        for n in (10, 11)
    ]
    gap = (losses[1] - losses[0]) - (losses[3] - losses[2])
    assert abs((best.chain - other.chain) - gap / 6) < ROUNDING  # Theorem C


def test_no_schedule_beats_one_of_the_pareto_set() -> None:
    found = designed()
    everything = (*found.candidates, *found.named.values(), *found.pareto)
    assert len(found.pareto) >= 3 and found.pareto[0].cost < 0.6 * found.best.cost
    for item in found.pareto:
        assert not any(
            other.cost < item.cost and other.error < item.error and other.mb < item.mb
            for other in everything
        )
    key = (found.best.cost, found.best.error, found.best.mb)
    assert key in [(item.cost, item.error, item.mb) for item in found.pareto]


def test_output_kl_may_be_what_is_small() -> None:
    named = {"chunk": (Schedule.chunk(2, **LEVELS, substeps=8), 2)}
    args: dict[str, Any] = {"context": 3, "named": named, "frames": 40, **LEVELS}
    found = design(AR2, 16, Generator(Scaled(1.02)), objective="output", **args)
    for item in (found.best, *found.named.values()):
        known = rates(AR2, item.schedule, Generator(Scaled(1.02), reference=item.reference))
        assert abs(item.value("output") - known.output) < ROUNDING
        assert item.output is not None and item.output <= item.chain
    assert found.gains["chunk"] > 0.0


def test_long_memory_is_compared_without_favour() -> None:
    """The constant is the same for all, so that chain KLs differ by losses, whatever the stride."""
    video = Arfima(0.4, 0.5)
    one, two = Schedule.chunk(5, **LEVELS, substeps=9), Schedule.fifo(3, **LEVELS, substeps=4)
    rows = [evaluate(video, item, Generator(reference=2), frames=60) for item in (one, two)]
    losses = [
        compare_schedules(video, [item], Generator(reference=2), frames=n)[0].loss
        for item in (one, two)
        for n in (30, 45)
    ]
    gap = (losses[1] - losses[0]) - (losses[3] - losses[2])
    assert abs((rows[0].chain - rows[1].chain) - gap / 15) < ROUNDING
    late = decompose(video, one, Generator(reference=2), frames=60)
    assert abs(late.mb_per_step[-1] / 5 - rows[0].mb) < 0.05 * rows[0].mb


def test_named_methods_get_at_least_the_cost() -> None:
    found = named_methods(96, **LEVELS)
    assert {"fifo", "rolling", "outpainting", "chunk", "next_frame", "staircase"} < set(found)
    for schedule, reference in found.values():
        count = int(schedule.substeps or 0)
        assert schedule.cost(reference) >= 96 - 1e-9
        assert schedule.cost(reference) * (count - 1) / count < 96


def test_results_describe_themselves() -> None:
    found = designed()
    plain = json.loads(json.dumps(found.to_json("bits")))
    assert plain["best"]["chain"] == pytest.approx(found.best.chain / np.log(2.0))
    frame = found.to_frame()
    assert frame["method"].iloc[0] == "designed" and len(frame) == 4
    assert "below" in repr(found) and "nats per frame" in repr(found.best)
    assert "2503.10704" in found.citation()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cost": 0.5}, ParameterError, "cost must be a number of at least 1"),
        ({"objective": "clip"}, ParameterError, "objective must be one of chain, output"),
        ({"context": 0}, ParameterError, "context must be an integer of at least 1"),
        ({"period": 50}, ParameterError, "period must be at most half of frames"),
        ({"generator": Generator(sampler="ddim")}, RefusedError, "ancestral sampler"),
        ({"generator": Generator(Estimated(50))}, RefusedError, "no steady state"),
        ({"video": None}, ParameterError, "video must be a GaussianVideo"),
        (
            {"named": {"x": (Schedule.next_frame(t_max=2.0, t_min=0.02, substeps=3), 1)}},
            ParameterError,
            "from t_max 3 to t_min 0.02",
        ),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"video": AR2, "cost": 8, "context": 2, "frames": 40, "named": {}, **LEVELS, **change}
    with pytest.raises(error, match=message):
        design(given.pop("video"), given.pop("cost"), given.pop("generator", None), **given)


# --- the study ------------------------------------------------------------------------------------


def assert_beats_every_named_method(table: pandas.DataFrame) -> None:
    """By at least 1 % of its chain KL, and at no higher cost."""
    for video, rows in table.groupby("video"):
        designed, named = rows[rows["kind"] == "designed"], rows[rows["kind"] == "named"]
        assert len(designed) == 1 and len(named) > 0
        chain, cost = designed["chain"].iloc[0], designed["cost"].iloc[0]
        assert (named["gain"] >= 0.01).all(), video
        assert (1.0 - chain / named["chain"] == named["gain"]).all()
        assert (named["chain_default_grid"] >= named["chain"] - ROUNDING).all()
        assert (named["cost"] >= cost - ROUNDING).all()


def test_the_study_shows_designed_schedules_ahead(tmp_path: Path) -> None:
    config = SMALL[STUDY.name]
    table = STUDY.run(config, out=tmp_path)
    assert_beats_every_named_method(table)
    schedules = json.loads(file_of(STUDY.name, SCHEDULES, out=tmp_path).read_text())
    for name, keys in config["videos"].items():
        row = table[(table["video"] == name) & (table["kind"] == "designed")].iloc[0]
        video, schedule = GaussianVideo.from_json(keys), Schedule.from_json(schedules[name])
        known = rates(video, schedule, Generator(reference=int(row["reference"])))
        assert abs(known.chain - row["chain"]) < ROUNDING
    worse = table.assign(gain=table["gain"] - table["gain"].max())  # negative control
    with pytest.raises(AssertionError):
        assert_beats_every_named_method(worse)


@pytest.mark.heavy
def test_the_whole_study_shows_designed_schedules_ahead(tmp_path: Path) -> None:
    table = STUDY.run(out=tmp_path)
    assert_beats_every_named_method(table)
    assert {"AR(2)", "seasonal", "ARFIMA", "static latent", "footage"} <= set(table["video"])
    sized = table[table["kind"] == "any size"]  # sizes, too, chosen for the video
    assert (sized["gain"] >= 0.01).all()
