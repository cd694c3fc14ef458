"""Prediction without roll-out: verdicts on results with known order, and how often they err."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.stats
import torch

from analysis import claims, predicted_degradation
from analysis.claims import LEVEL, LOOKS, PLAN, ledger
from analysis.measured_rows import quantity_of_clips
from analysis.predicted_degradation import (
    GROUPS,
    PREDICTIONS,
    ROW,
    SCHEDULES,
    Network,
    networks_of,
    rank_order,
    spearman,
    summed_over_copies,
)
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from figures import predicted_degradation as figure
from paper_repro.arvdm.diffusion import DiffusionConfig
from paper_repro.arvdm.rollout import roll_out
from paper_repro.evaluate import schedule_of
from paper_repro.many_schedules import CONTROL, SETTINGS, on_levels_of_a_chunk
from paper_repro.worlds.world import ages, look_away
from tests.synthetic_rows import follows_the_paper, in_memory, write

torch.set_num_threads(1)

CHOSEN = [claim for claim in PLAN if any(ROW in part.rows for part in claim.parts)]


def rows_of(seeds: Any = range(3), noise: float = 0.5, **settings: float) -> Any:
    def effect(world: str, row: str) -> dict[str, float]:
        return follows_the_paper(world, row) | settings

    return in_memory([ROW], seeds, effect=effect, noise=noise)


def verdicts(**settings: Any) -> set[str]:
    return set(ledger(rows_of(**settings), CHOSEN)["verdict"])


# Verdicts


def test_there_are_a_claim_and_a_secondary_one() -> None:
    predictions = [part.terms[0][1] for claim in CHOSEN for part in claim.parts]
    assert predictions == [f"rank_order:{prediction}" for prediction in PREDICTIONS]
    assert "secondary" in CHOSEN[1].claim and "secondary" not in CHOSEN[0].claim


def test_a_prediction_that_is_right_holds() -> None:
    assert verdicts(order=1.0) == {"holds"}


def test_a_prediction_in_the_reverse_order_fails() -> None:
    assert verdicts(order=-1.0) == {"fails"}


def test_a_prediction_without_any_order_does_not_hold() -> None:
    """Three seeds mostly leave it undecided; that it is no rank correlation of .5 may show."""
    found = [
        verdict
        for first in range(0, 9, 3)
        for verdict in ledger(rows_of(range(first, first + 3), order=0.0), CHOSEN)["verdict"]
    ]
    assert "holds" not in found and found.count("undecided") > 0.6 * len(found)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_decide_nothing(seeds: int) -> None:
    table = ledger(rows_of(range(seeds)), CHOSEN)
    assert set(table["verdict"]) == {"undecided"}
    assert (table["reason"] != "").all()
    assert table["effect"].notna().all() == (seeds > 0)


def test_schedules_under_which_forgetting_dominates_are_left_out() -> None:
    """Errors of one pass far above half of chance: nothing is left to be ordered."""
    table = ledger(rows_of(one_pass=200.0), CHOSEN)
    assert set(table["verdict"]) == {"undecided"} and table["effect"].isna().all()
    assert table["reason"].str.contains("no training seed").all()
    network = networks_of(rows_of(one_pass=200.0), "maze")[0]
    assert network.forgets.all() and not network.judged
    sound = networks_of(rows_of(), "maze")[0]
    assert not sound.forgets.any() and sound.judged
    one_pass = sound.one_pass.copy()
    one_pass[:2] = 0.11  # chance is .2
    fewer = dataclasses.replace(sound, one_pass=one_pass)
    assert fewer.forgets.sum() == 2 and fewer.judged == (len(sound.names) - 2 >= SCHEDULES)
    one_pass[2] = 0.09
    assert dataclasses.replace(sound, one_pass=one_pass).forgets.sum() == 2


# How often it errs


def by_chance(generator: np.random.Generator, clips: int = 20) -> Network:
    """A network whose prediction is more or less in order, or against it, by chance."""
    share = generator.uniform(-1.0, 1.0)
    true = np.exp(0.5 * generator.normal(size=10))
    seen = np.exp(share * np.log(true) + 0.5 * (1.0 - abs(share)) * generator.normal(size=10))
    noise = generator.normal(size=(2, 10, clips))
    error = true[:, None] * np.exp(0.2 * noise[0])
    loss = seen[:, None] * np.exp(0.2 * noise[1])
    still = np.zeros((10, clips, 2))
    names = tuple(map(str, range(10)))
    return Network(error[..., None], still, still[..., 0], loss, np.ones(2), 2, names)


def test_networks_that_are_right_by_chance_are_seldom_believed() -> None:
    """Three of three are right one time in eight, and then every bootstrap replicate is."""
    generator = np.random.default_rng(11)
    level = LEVEL / len(LOOKS)
    believed = bootstrap = 0
    runs = 120
    for _ in range(runs):
        networks = [by_chance(generator) for _ in range(3)]
        mean = rank_order(networks, "loss", replicates=150)
        assert mean.replicates is not None
        believed += int(mean.p_above(0.0) <= level)
        bootstrap += int((mean.replicates <= 0.0).mean() <= level)
    assert believed <= scipy.stats.binom.isf(1e-4, runs, level)
    assert bootstrap > 2 * believed
    assert bootstrap > scipy.stats.binom.isf(1e-4, runs, level)


def test_p_values_and_intervals_are_the_wider_of_two() -> None:
    networks = list(networks_of(rows_of(order=0.5, noise=2.0), "maze").values())
    mean = rank_order(networks, "loss")
    assert mean.replicates is not None and mean.over == "seeds and groups of clips"
    plain = {name: getattr(mean, name) for name in ("value", "seed_variance", "clip_variance")}
    student = claims.Mean(**plain, seeds=mean.seeds, clips=mean.clips)
    assert float(mean.p_above(0.0)) >= float(student.p_above(0.0))
    assert float(mean.p_above(0.0)) >= (mean.replicates <= 0.0).mean()
    assert float(mean.p_below(0.5)) >= float(student.p_below(0.5))
    low, high = mean.interval()
    assert low <= max(student.interval()[0], -1.0) and high >= min(student.interval()[1], 1.0)
    assert -1.0 <= low < high <= 1.0
    assert low <= np.quantile(mean.replicates, 0.025)
    nearly_sure = rank_order(networks[:1] * 3, "loss")
    assert nearly_sure.replicates is not None  # seeds that do not differ: clips still do
    assert nearly_sure.interval()[0] <= np.quantile(nearly_sure.replicates, 0.025)


def test_the_jackknife_is_about_as_wide_as_a_bootstrap_over_clips() -> None:
    network = networks_of(rows_of(order=0.7, noise=4.0), "maze")[0]
    value, each = network.jackknife("loss")
    assert each.mean() == pytest.approx(value) and each.shape == (GROUPS,)
    spread = rank_order([network], "loss").replicates
    assert spread is not None
    assert 0.4 < each.std(ddof=1) / np.sqrt(GROUPS) / spread.std(ddof=1) < 2.5


# Predictions


def test_rank_correlation_is_spearmans() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.integers(0, 6, size=(2, 5, 9, 3)).astype(float)  # with ties
    found = spearman(first, second)
    for r in range(5):
        for s in range(3):
            expected = scipy.stats.spearmanr(first[r, :, s], second[r, :, s]).statistic
            assert found[r, s] == pytest.approx(expected)
    assert spearman(np.ones((1, 4, 1)), second[:1, :4, :1]).tolist() == [[0.0]]


def test_copies_are_those_of_a_network_that_copies_the_last_view() -> None:
    """Each view is copied from when it was last seen; each copy adds its error."""
    context, length = 7, 30
    path = look_away(context, context + length)
    age = ages(path[:, None])[context:]
    generator = np.random.default_rng(3)
    error = generator.random((2, 4, length))
    found = summed_over_copies(error, np.broadcast_to(age, (4, length)))
    known = {int(view): np.zeros((2, 4)) for view in path[:context]}
    for frame in range(length):
        view = int(path[context + frame])
        known[view] = known[view] + error[..., frame]
        np.testing.assert_allclose(found[..., frame], known[view], rtol=1e-12)
    assert (age <= 12).all()  # no older than the memory of these networks


def test_a_prediction_is_no_worse_than_chance() -> None:
    network = networks_of(rows_of(), "maze")[0]
    weights = np.ones((1, network.copied.shape[1]))
    free = network.predicted("one_pass", weights)[0]
    by_hand = network.copied.mean(axis=1).reshape(free.shape + (-1,)).mean(axis=-1)
    np.testing.assert_allclose(free, by_hand, rtol=1e-12)
    capped = dataclasses.replace(network, chance=np.full_like(network.chance, 0.01))
    assert np.all(capped.predicted("one_pass", weights) <= 0.01)
    assert np.any(by_hand > 0.01)


def test_growth_along_the_video_counts_for_nothing() -> None:
    """The same loss for all schedules: over spans it is in order, among schedules it is not."""
    network = networks_of(rows_of(), "maze")[0]
    flat = dataclasses.replace(network, loss=np.ones_like(network.loss))
    assert flat.jackknife("loss")[0] == 0.0
    assert flat.jackknife("loss", over_spans=True)[0] > 0.5


def test_error_of_the_plan_is_the_mean_over_a_span() -> None:
    rows = rows_of()
    network, arrays = networks_of(rows, "maze")[1], rows.found["maze", ROW][1].arrays
    span = SETTINGS["span"]
    expected = arrays["schedule_error"][3, :, span : 2 * span].astype(float).mean()
    weights = np.ones((1, network.error.shape[1]))
    assert network.measured(weights)[0, 3, 1] == pytest.approx(expected)
    assert network.error.shape == (10, SETTINGS["rolled_out"], SETTINGS["frames"] // span)


# Metric blindness


def test_pseudo_values_of_a_mean_are_its_values() -> None:
    """F the mean of one number a group: the jackknife must give these numbers back."""
    one = in_memory(["prepend-4"], [0], ["maze"], clips=3).found["maze", "prepend-4"][0]
    numbers = np.random.default_rng(4).normal(size=GROUPS)
    without = (numbers.sum() - numbers) / (GROUPS - 1.0)
    distances = np.concatenate([[numbers.mean()], without])
    one.arrays["return_frechet"] = np.stack([np.ones_like(distances)] * 2 + [distances] * 2)
    np.testing.assert_allclose(quantity_of_clips(one, "frechet:8:12"), numbers, rtol=1e-9)
    with pytest.raises(ParameterError, match="Fréchet"):
        quantity_of_clips(one, "frechet:8:13")
    del one.arrays["return_frechet"]
    assert np.isnan(quantity_of_clips(one, "frechet:8:12")).all()


# One pass


class Copies:
    """Gives the window the mean of the memory, a little brighter: errors are handed on."""

    def __call__(self, x: torch.Tensor, gamma: torch.Tensor, **given: Any) -> torch.Tensor:
        past = given["memory"].mean((1, 2, 3, 4), keepdim=True) + 1.0
        return past.expand_as(x)


@pytest.mark.parametrize("name", SETTINGS["schedules"])
def test_one_pass_hands_no_error_on(name: str) -> None:
    diffusion = DiffusionConfig()
    schedule = schedule_of(SETTINGS["schedules"][name], 8, 8, diffusion)
    truth = torch.zeros(2, 30, 1, 2, 2)
    common: dict[str, Any] = {"frames": 12, "context": truth[:, :6], "memory": 6}
    rolled = roll_out(Copies(), schedule, **common)
    passed = roll_out(Copies(), schedule, truth=truth[:, 6:], **common)
    assert passed.estimates.mean((0, 2, 3, 4)).numpy() == pytest.approx(np.ones(12), abs=0.05)
    assert rolled.estimates[:, -1].mean() > 1.5
    assert rolled.calls == passed.calls
    # until the first frames are finished nothing differs
    stride = schedule.stride
    torch.testing.assert_close(rolled.estimates[:, :stride], passed.estimates[:, :stride])
    with pytest.raises(ParameterError, match="truth"):
        roll_out(Copies(), schedule, truth=truth[:, 25:], **common)


class Watches:
    """Denoises to nothing, and looks whether every finished frame is the true one in its place."""

    def __call__(self, x: torch.Tensor, gamma: torch.Tensor, **given: Any) -> torch.Tensor:
        memory, action = given["memory"], given["action"]
        shown = memory.mean((2, 3, 4))
        torch.testing.assert_close(shown, action[:, : shown.shape[1], 0], rtol=1e-3, atol=0.1)
        return torch.zeros_like(x)


@pytest.mark.parametrize("name", SETTINGS["schedules"])
def test_true_frames_stand_in_their_places(name: str) -> None:
    schedule = schedule_of(SETTINGS["schedules"][name], 8, 8, DiffusionConfig())
    number = torch.arange(30.0).expand(2, -1)
    truth, action = number[..., None, None, None].expand(-1, -1, 1, 4, 4), number[..., None]
    common: dict[str, Any] = {"frames": 12, "context": truth[:, :6], "memory": 6, "action": action}
    roll_out(Watches(), schedule, truth=truth[:, 6:], **common)
    with pytest.raises(AssertionError):
        roll_out(Watches(), schedule, **common)


def test_every_frame_passes_as_many_levels_under_every_schedule() -> None:
    schedules = [
        schedule_of(specification, 8, 8, DiffusionConfig())
        for specification in SETTINGS["schedules"].values()
    ]
    assert len(schedules) >= SCHEDULES and len({s.key for s in schedules}) == len(schedules)
    for schedule in schedules:
        grid, stride = schedule.grid, schedule.stride
        levels = [grid[:, j] for j in reversed(range(schedule.window % stride, schedule.window))]
        path = np.concatenate(levels[::stride])
        assert np.count_nonzero(np.diff(path) < 0.0) == 8
        assert schedule.window <= 8
        longest = Schedule.roll_out(schedule, frames=SETTINGS["frames"])
        assert max(longest.needed, longest.generated) <= SETTINGS["clips"]["generated"]
        assert SETTINGS["loss_frames"] % stride == 0


def test_the_ladders_of_the_control_have_the_levels_of_a_chunk() -> None:
    ends = {"t_max": 4.0, "t_min": 5e-5}
    chunk = Schedule.chunk(8, substeps=8, **ends).grid[:, 0]
    moved = on_levels_of_a_chunk(**ends)
    changed = [name for name in moved if name.endswith(CONTROL["suffix"])]
    planned = list(SETTINGS["schedules"])
    assert [name.removesuffix(CONTROL["suffix"]) for name in moved] == planned
    assert len(changed) == 5
    for place, (name, specification) in enumerate(moved.items()):
        schedule = schedule_of(specification, 8, 8, DiffusionConfig(**ends))
        np.testing.assert_allclose(np.unique(schedule.grid)[::-1], chunk, rtol=1e-12)
        as_planned = schedule_of(
            SETTINGS["schedules"][planned[place]], 8, 8, DiffusionConfig(**ends)
        )
        assert (schedule.window, schedule.stride) == (as_planned.window, as_planned.stride)
        assert schedule.substeps == as_planned.substeps
        assert (schedule.key == as_planned.key) == (name not in changed)


# The study


def test_the_study_reads_as_many_seeds_as_there_are(tmp_path: Path) -> None:
    config = {**predicted_degradation.CONFIG, "results": str(tmp_path / "rows"), "replicates": 50}
    (tmp_path / "rows").mkdir()
    empty = predicted_degradation.run(config, out=tmp_path)
    assert empty.empty and "no network" in predicted_degradation.text_of(empty)
    sizes = []
    for seeds in ([0], [0, 1], [0, 1, 2]):
        write(tmp_path / "rows", [ROW], seeds=seeds, worlds=["maze"])
        table = predicted_degradation.run(config, out=tmp_path)
        order = table[table["quantity"] == "rank_correlation"]
        assert len(order) == len(PREDICTIONS) * (len(seeds) + (len(seeds) > 1))
        assert (order["low"] <= order["value"]).all() and (order["value"] <= order["high"]).all()
        sizes.append(len(table))
    assert sizes == sorted(set(sizes))
    pooled = order[order["seed"].isna()].set_index("prediction")
    assert (pooled["value"] > 0.9).all() and set(pooled["over"]) == {"seeds and groups of clips"}
    errors = table[table["quantity"] == "error"]
    assert len(errors) == 3 * len(SETTINGS["schedules"]) * (SETTINGS["frames"] // SETTINGS["span"])
    assert "all seeds" in predicted_degradation.text_of(table)
    # a row of a table does not compute it anew, a network under many schedules does
    key = predicted_degradation.STUDY.key(config)
    write(tmp_path / "rows", ["prepend-4"], seeds=[0], worlds=["maze"], clips=4)
    assert predicted_degradation.STUDY.key(config) == key
    write(tmp_path / "rows", [ROW], seeds=[3], worlds=["maze"])
    assert predicted_degradation.STUDY.key(config) != key


def test_the_figure_shows_what_the_table_says(tmp_path: Path) -> None:
    config = {**predicted_degradation.CONFIG, "results": str(tmp_path / "rows"), "replicates": 50}
    (tmp_path / "rows").mkdir()
    predicted_degradation.run(config, out=tmp_path)
    sheet, data = figure.draw(tmp_path)
    assert data.empty and all(ax.texts for ax in sheet.axes)
    write(tmp_path / "rows", [ROW], seeds=[0, 1], worlds=["maze"])
    table = predicted_degradation.run(config, out=tmp_path)
    sheet, data = figure.draw(tmp_path)
    pandas.testing.assert_frame_equal(data, table.loc[data.index], check_exact=True)
    lines, loss, predicted, correlations = sheet.axes[:4]
    assert len(lines.lines) == len(SETTINGS["schedules"]) + 1
    errors = data[data["quantity"] == "error"]
    for line in lines.lines[:-1]:
        rows = errors[errors["schedule"] == line.get_label()]
        expected = rows.groupby("first_frame")["value"].mean()
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
        assert line.get_xdata()[0] == 0.5 * SETTINGS["span"]
    assert len(loss.lines) == len(SETTINGS["schedules"]) == len(predicted.lines) - 1
    single = data[(data["quantity"] == "rank_correlation") & data["seed"].notna()]
    shown = np.concatenate([line.get_ydata() for line in correlations.lines])
    assert np.isin(single["value"], shown).all()


def test_stable_orders_that_have_nothing_to_do_with_each_other_are_not_found_related() -> None:
    """Every seed repeats the same coincidence: seeds and clips alone would be sure of it."""
    generator = np.random.default_rng(3)
    found = []
    for _ in range(40):
        error, loss = generator.normal(size=(2, 10))
        networks = [
            Network(
                error=2.0 + 0.15 * error[:, None, None] + 0.01 * generator.normal(size=(10, 40, 6)),
                copied=np.zeros((10, 20, 36)),
                one_pass=np.full((10, 20), 0.01),
                loss=50.0 + loss[:, None] + 0.05 * generator.normal(size=(10, 20)),
                chance=np.ones(36),
                span=6,
                names=tuple(map(str, range(10))),
            )
            for _ in range(3)
        ]
        mean = rank_order(networks, "loss", replicates=200)
        alone = dataclasses.replace(mean, permuted=np.full(10_000, -2.0))
        found.append((float(mean.p_above(0.0)), float(alone.p_above(0.0))))
    with_permutations, without = (np.array(found) <= 0.0125).mean(axis=0)
    assert with_permutations <= 0.05 and without >= 0.15
