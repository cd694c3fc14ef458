"""Shipped measurements on trained networks: consistent with themselves and with the theory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import scipy.stats
import torch

from analysis import one_network_many_schedules, panorama_memory, shipped
from analysis.panorama_memory import fano_ceiling, forgotten_by_frame, information_ceiling
from arvdm_theory.empirical import clopper_pearson
from arvdm_theory.errors import RefusedError
from arvdm_theory.schedule import Schedule
from paper_repro.arvdm.diffusion import pixels
from paper_repro.arvdm.rollout import Generated
from paper_repro.evaluate import EvaluationConfig, SpanScore, palette, score
from paper_repro.worlds import PanoramaWorld, make_world

NAMES = (panorama_memory.NAME, one_network_many_schedules.NAME)


@pytest.fixture(scope="module")
def memory() -> pandas.DataFrame:
    return panorama_memory.compute(panorama_memory.CONFIG)


@pytest.fixture(scope="module")
def schedules() -> pandas.DataFrame:
    return one_network_many_schedules.compute(one_network_many_schedules.CONFIG)


def only(table: pandas.DataFrame, quantity: str) -> pandas.DataFrame:
    return table[table["quantity"] == quantity].set_index("schedule")


def panorama(**options: object) -> PanoramaWorld:
    world = make_world("panorama", **options)
    assert isinstance(world, PanoramaWorld)
    return world


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_says_how_the_numbers_came_about(name: str) -> None:
    table, manifest = shipped.read(name)
    assert manifest["rows"] == len(table) and manifest["columns"] == list(table.columns)
    assert {"torch", "numpy", "arvdm_theory"} <= set(manifest["versions"])
    for network in manifest.get("networks", [manifest]):
        assert network["training_seconds"] > 0.0 and network["evaluation_seconds"] > 0.0
        training = network["experiment"]["training"]
        made = network if "steps" in network else manifest["config"]
        assert (training["steps"], training["seed"]) == (made["steps"], made["seed"])


def test_tables_that_are_not_the_manifest_s_are_refused(tmp_path: Path) -> None:
    name = panorama_memory.NAME
    shutil.copytree(shipped.RESULTS / name, tmp_path / name)
    path = tmp_path / name / shipped.TABLE
    path.write_text(path.read_text().replace("discrete,4,2,0,512,512", "discrete,4,2,0,512,511"))
    with pytest.raises(RefusedError, match="is not the one"):
        shipped.read(name, results=tmp_path)
    other = {**panorama_memory.CONFIG, "clips": 3}
    with pytest.raises(RefusedError, match="--measure"):
        panorama_memory.compute(other)


def test_intervals_and_rates_follow_from_the_counts(memory: pandas.DataFrame) -> None:
    k, n = memory["successes"].to_numpy(), memory["clips"].to_numpy()
    assert (memory["clips"] == panorama_memory.CONFIG["clips"]).all()
    assert np.array_equal(memory["rate"], k / n)
    # tails of the binomial at the ends of the interval, by other code than the beta quantiles
    low, high = memory["rate_low"].to_numpy(), memory["rate_high"].to_numpy()
    assert np.allclose(scipy.stats.binom.sf(k - 1, n, low)[k > 0], 0.025, rtol=1e-6)
    assert np.allclose(scipy.stats.binom.cdf(k, n, high)[k < n], 0.025, rtol=1e-6)
    assert (low[k == 0] == 0.0).all() and (high[k == n] == 1.0).all()
    discrete = memory[memory["palette"] == "discrete"]
    together = 1.0 - 0.05 / panorama_memory.CONFIG["generated"]
    for row in discrete.itertuples():
        upper = scipy.stats.beta.ppf(together, row.successes + 1, row.clips - row.successes)
        bound = -np.log(upper)
        expected = bound if row.successes < row.clips else 0.0
        assert row.kl_bound_nats == pytest.approx(expected, abs=1e-9)


def test_memory_ends_where_it_must(memory: pandas.DataFrame) -> None:
    """The claim: at least .9 within the memory, at most .05 beyond memory and chunk."""
    for (_, length), rows in memory.groupby(["palette", "memory"]):
        ages = {where: set(group["age"]) for where, group in rows.groupby("where")}
        assert max(ages["within"]) <= length < min(ages["between"])
        assert min(ages["beyond"]) > length + 4
        assert (rows.loc[rows["where"] == "within", "rate_low"] >= 0.9).all()
        assert (rows.loc[rows["where"] == "beyond", "rate_high"] <= 0.05).all()


def test_no_network_beats_what_the_remembered_information_allows(memory: pandas.DataFrame) -> None:
    rows = memory[memory["palette"] == "discrete"]
    assert (rows["ceiling"] <= rows["fano_ceiling"] + 1e-12).all()
    lost = rows[rows["mb_nats"] > 0.0]
    assert np.allclose(lost["mb_nats"], np.log(64.0)) and np.allclose(lost["ceiling"], 1.0 / 64.0)
    # whatever is drawn without memory is right with probability 1/64: a two-sided test of all
    # ages of a network, which share clips but not panels
    for _, group in lost.groupby("memory"):
        trials, won = int(group["clips"].sum()), int(group["successes"].sum())
        assert scipy.stats.binomtest(won, trials, 1.0 / 64.0).pvalue > 1e-4
    kept = rows[rows["mb_nats"] == 0.0]
    assert (kept["rate_low"] >= 0.9).all()


def test_a_network_that_remembers_would_be_noticed(memory: pandas.DataFrame) -> None:
    """Negative control: the successes of the longest memory are no chance for the shortest."""
    rows = memory[memory["palette"] == "discrete"].set_index(["memory", "age"])
    assert rows.loc[(4, 20), "mb_nats"] > 0.0 == rows.loc[(28, 20), "mb_nats"]
    swapped = rows.loc[(28, 20)]
    assert swapped["rate_low"] > rows.loc[(4, 20), "fano_ceiling"]


def test_exact_mb_by_frame_adds_up_to_that_of_the_chunks() -> None:
    world = panorama(palette="discrete")
    path = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1])
    by_frame = forgotten_by_frame(world, path, 8, 4, 4)
    chunks = world.exact_memory_bottleneck(path, 4, 4)[2:]
    assert np.allclose(by_frame.reshape(2, 4).sum(axis=1), chunks) and chunks[-1] > 0.0


@pytest.mark.parametrize("needles", [2, 8, 64])
def test_ceilings_agree_with_their_definition(needles: int) -> None:
    for information in np.linspace(0.05, 0.95, 7) * np.log(needles):
        s = information_ceiling(float(information), needles)
        kl = s * np.log(s * needles)
        kl += (1.0 - s) * np.log((1.0 - s) / (1.0 - 1.0 / needles))
        assert kl == pytest.approx(information, rel=1e-9)
        assert s <= fano_ceiling(float(information), needles)


def scored(world: PanoramaWorld, change: Callable[[torch.Tensor], torch.Tensor]) -> SpanScore:
    clips = world.return_clips(count=6, context=5, generated=4, seed=0)
    video = change(pixels(clips.frames)[:, 5:])
    plan = Schedule.chunk(4, t_max=4.0, t_min=0.1, substeps=1).roll_out(frames=4)
    made = Generated(video, video, plan, invented_actions=0, calls=1)
    evaluation = EvaluationConfig(clips=6, context=5, generated=4, spans=((0, 8),))
    (row,) = score(world, clips, made, evaluation)
    return row


def test_clips_are_the_trials_not_their_frames() -> None:
    world = panorama(palette="discrete")
    perfect = scored(world, lambda video: video)
    assert (perfect.frames, perfect.clips, perfect.successes) == (24, 6, 6)
    assert (perfect.rate_low, perfect.rate_high) == clopper_pearson(6, 6)
    assert perfect.rate_low is not None and perfect.rate_low < clopper_pearson(24, 24)[0]

    def last_frame_black(video: torch.Tensor) -> torch.Tensor:
        return torch.cat([video[:, :-1], torch.full_like(video[:, -1:], -1.0)], 1)

    partly = scored(world, last_frame_black)
    assert partly.frame_rate == pytest.approx(0.75, abs=0.05)
    assert partly.rate is not None and partly.rate < 0.2


def test_the_discrete_rule_has_no_tolerance_but_the_distance_to_the_next_colour() -> None:
    world = panorama(palette="discrete")
    colours = palette(world)
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1)[~np.eye(len(colours), dtype=bool)]
    assert len(colours) == world.attributes and apart.min() > 0.2
    inside = 2.0 * 0.49 * apart.min() / np.sqrt(3.0)  # frames are in [-1, 1]
    assert scored(world, lambda video: video.sub(inside)).rate == 1.0
    assert scored(world, lambda video: -video).rate == 0.0


def test_every_schedule_has_every_number(schedules: pandas.DataFrame) -> None:
    config = one_network_many_schedules.CONFIG
    names = list(config["schedules"])
    assert len(names) >= 6
    for quantity in ("loss", "loss_integral", "psnr_decay", "mse_decay", "calls_per_frame"):
        assert list(only(schedules, quantity).index) == names
    assert (schedules["n"] == config["clips"]).all()
    errors = schedules["standard_error"].dropna()
    assert (errors > 0.0).all() and np.isfinite(schedules["value"]).all()


def test_decay_and_paired_differences_follow_from_the_table(schedules: pandas.DataFrame) -> None:
    against = one_network_many_schedules.CONFIG["against"]
    for quantity in one_network_many_schedules.RULES:
        loss, difference = only(schedules, quantity), only(schedules, f"{quantity}_difference")
        assert against not in difference.index and len(difference) == len(loss) - 1
        for name, row in difference.iterrows():
            expected = loss.loc[name, "value"] - loss.loc[against, "value"]
            assert row["value"] == pytest.approx(expected, rel=1e-9)
    for quantity, sign in (("psnr", 1.0), ("mse", -1.0)):
        for name, rows in only(schedules, quantity).groupby(level=0):
            first, last = rows["value"].iloc[0], rows["value"].iloc[-1]
            decay = only(schedules, f"{quantity}_decay").loc[name, "value"]
            assert decay == pytest.approx(sign * (first - last), rel=1e-9)


def test_calls_are_those_of_the_schedules(schedules: pandas.DataFrame) -> None:
    counted = only(schedules, "calls_per_frame")["value"]
    alone = only(schedules, "calls_per_frame_of_the_schedule")["value"]
    config = one_network_many_schedules.CONFIG
    for name, given in config["schedules"].items():
        stride = {"fifo": 1, "next_frame": 1, "chunk": 8}.get(given["method"], given.get("stride"))
        assert alone[name] == pytest.approx(given["substeps"] / stride)
        first = 0 if given["method"] in ("chunk", "next_frame") else config["initial_substeps"]
        assert counted[name] == pytest.approx(alone[name] + first / config["generated"])


def test_results_hold_no_machine_path() -> None:
    for name in NAMES:
        text = json.dumps(shipped.read(name)[1])
        assert "/tmp" not in text and "/work" not in text
