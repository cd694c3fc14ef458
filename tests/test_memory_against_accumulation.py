"""Forgetting against accumulated error: the readings are right, and so is what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest

from analysis import memory_against_accumulation as study
from analysis.memory_against_accumulation import (
    CONFIG,
    MEANS,
    BiasedFit,
    _continued,
    _generator,
    _readings,
    _verdict,
    _World,
)
from arvdm_theory.accumulation import memory_trade_off
from arvdm_theory.generator import Biased, Estimated, Exact, Generator, sample
from arvdm_theory.memory import canonical_correlations_of, linear_memory_floor
from arvdm_theory.noise import bridge
from arvdm_theory.video import GaussianVideo
from tests.small_studies import SIZES
from tests.small_studies import SMALL as SMALL_STUDIES

SMALL = SMALL_STUDIES["memory_against_accumulation"]


@pytest.fixture(scope="module")
def table() -> pandas.DataFrame:
    return study.compute(SMALL)


def curve(table: pandas.DataFrame, world: str, cause: str, dose: int = -1) -> pandas.DataFrame:
    """The weakest (0) or the strongest (-1) dose of a cause."""
    rows = table[(table["world"] == world) & (table["cause"] == cause)]
    doses = [group for _, group in rows.groupby(["videos", "bias"], sort=False)]
    return doses[dose].set_index("size")


def world_of(name: str, **changes: Any) -> _World:
    config = {**SMALL, "schedule": {**SMALL["schedule"], **changes}}
    return _World.of(config["worlds"][name], config)


# What the table says


@pytest.mark.parametrize("world", SIZES)
def test_without_causes_the_front_is_one_corner(table: pandas.DataFrame, world: str) -> None:
    rows = curve(table, world, "none")
    assert (rows["accumulated_nats"] == 0.0).all() and (rows["trade_off"] == "no").all()
    assert (rows["front_points"] == 1).all()
    assert rows["on_front"].tolist() == [False] * (len(rows) - 1) + [True]
    assert rows["mb_nats"].is_monotonic_decreasing
    # nothing is subtracted here: only noise initialisation is left
    assert (rows["clip_kl_nats"] < 1e-4).all()


@pytest.mark.parametrize("world", SIZES)
def test_finite_data_costs_from_the_first_span_on_and_more_with_fewer_videos(
    table: pandas.DataFrame, world: str
) -> None:
    weak, strong = (curve(table, world, "finite data", dose) for dose in (0, -1))
    assert (weak["videos"] > strong["videos"]).all()
    costs = [rows["accumulated_cost"].iloc[0] for rows in (weak, strong)]
    assert 0.0 < 2.0 * costs[0] < costs[1]
    assert strong["trade_off"].iloc[0] != "no" and strong["front_points"].iloc[0] > 1
    # not along the roll-out, and not in the law of one frame (M7)
    assert strong["growth_cost"].iloc[0] < 0.5 * costs[1]
    assert np.ptp(strong["clip_kl_nats"]) < 0.02 * strong["accumulated_cost"].iloc[0]


@pytest.mark.parametrize("world", SIZES)
def test_bias_costs_like_its_square_and_along_the_roll_out(
    table: pandas.DataFrame, world: str
) -> None:
    weak, strong = (curve(table, world, "bias", dose) for dose in (0, -1))
    assert np.allclose(strong["accumulated_nats"], 4.0 * weak["accumulated_nats"], rtol=1e-6)
    row = strong.iloc[-1]
    assert row["growth_cost"] > 0.0 and row["added_cost"] > 0.0
    if row["memory"] == "budget":
        assert row["trade_off"] == "yes" and row["growth_cost"] > 2.0 * row["added_cost"]


def test_bias_reverses_its_sign_across_long_lengths(table: pandas.DataFrame) -> None:
    rows = curve(table, "static latent", "bias")
    assert (rows["trade_off"] == "partly").all() and 0 < rows["peak_size"].iloc[0] < 23
    assert rows.loc[23, "accumulated_nats"] < rows["accumulated_nats"].max()


def test_that_peak_moves_out_with_the_roll_out() -> None:
    """E5: a longer window also takes errors in more slowly; the asymptote rises throughout."""
    lengths = [1, 2, 4, 8, 16, 32, 64]
    peaks = [
        lengths[int(np.argmax(memory_trade_off(lengths, 0.5, 0.1, frame=frame).drift))]
        for frame in (20, 56, 400, 20_000)
    ]
    assert peaks == sorted(peaks) and peaks[0] < peaks[1] < peaks[2] < peaks[3] == 64


def test_psnr_decays_across_lengths_without_any_error(table: pandas.DataFrame) -> None:
    for world in ("static latent", "panorama"):
        decay = curve(table, world, "none")["psnr_decay_db"].to_numpy()
        assert abs(decay[0]) < 0.01 and abs(decay[-1]) < 0.01 and decay.max() > 1.0
    assert curve(table, "four latents", "none")["psnr_decay_db"].abs().max() < 0.01
    assert curve(table, "four latents", "bias")["psnr_decay_db"].is_monotonic_increasing


def test_means_have_errors_only_where_something_is_drawn(table: pandas.DataFrame) -> None:
    drawn = np.isfinite(table["videos"])
    assert (table["sets"] == np.where(drawn, 3, 1)).all()
    for column in (*(f"{name}_error" for name in MEANS), "accumulated_spread"):
        assert (table.loc[~drawn, column] == 0.0).all() and (table.loc[drawn, column] > 0.0).all()
    assert (table["rounding_nats"] < 1e-8).all()


def test_a_verdict_needs_more_than_its_error() -> None:
    noise = np.random.default_rng(1).standard_normal((6, 3))
    assert _verdict(noise, 0.0) == "no"
    assert _verdict(np.array([[0.0, 1.0, 2.0]]), 1e-9) == "yes"
    assert _verdict(np.array([[0.0, 2.0, 1.0]]), 1e-9) == "partly"
    assert _verdict(np.array([[2.0, 1.0, 0.0]]), 1e-9) == "no"
    assert _verdict(np.array([[0.0, 1e-12]]), 1e-9) == "no"


# Whether it is right


def test_the_static_latent_is_theorem_e5() -> None:
    """One sub-step from pure noise is E5's model, with the bias that the sampler makes of x̂'s."""
    world, mu = world_of("static latent", substeps=1, t_max=12.0), 0.1
    schedule = world.schedule
    _, gain, _ = bridge(np.array([schedule.t_max]), np.array([schedule.t_min]))
    for size in (0, 2, 8):
        mean, _ = world.generated(Generator(Biased(mu), CONFIG["sampler"], reference=size))
        expected = [
            memory_trade_off(size, 0.5, mu * float(gain[0]), frame=k, level=schedule.t_min).bias[0]
            for k in range(1, world.frames + 1)
        ]
        start, _ = world.generated(Generator(Exact(), CONFIG["sampler"], reference=size))
        assert np.allclose(mean - start, expected, rtol=1e-8)


def test_the_budget_is_the_best_linear_memory() -> None:
    """R1, with M4: what is forgotten lies in [MB, MB + NIE] and equals the floor."""
    entry, level = SMALL["worlds"]["four latents"], SMALL["schedule"]["t_min"]
    video, past = GaussianVideo.from_json(entry["video"]), 19
    source = canonical_correlations_of(video, horizon=past, level=level)
    for size in (0, 1, 2, 3, 4):
        memory = _generator(entry, size, SMALL)(Exact()).memory
        left = canonical_correlations_of(video, memory=memory, horizon=past, level=level)
        floor = linear_memory_floor(source, size).floor.value
        assert np.isclose(left.information().value, floor, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("denoiser", [Biased(0.3), Estimated(60, 2), BiasedFit(0.3, 60, 2)])
def test_continued_true_frames_agree_with_what_is_sampled(denoiser: Any) -> None:
    """The conditioned law is that of generated frames, regressed on the generated first ones."""
    world = world_of("static latent")
    generator = Generator(denoiser, CONFIG["sampler"], reference=4)
    mean, joint = world.generated(generator)
    shift, law = _continued(world, mean, joint)
    drawn = sample(
        world.video, world.schedule, generator, steps=world.frames, size=40_000, seed=3
    ).reshape(40_000, -1)
    cut = world.given * world.video.dim
    known = np.column_stack([np.ones(len(drawn)), drawn[:, :cut]])
    weights = np.linalg.lstsq(known, drawn[:, cut:], rcond=None)[0]
    gain = np.linalg.solve(law[:cut, :cut], law[:cut, cut:])
    assert np.allclose(weights[1:], gain, atol=0.06)
    assert np.allclose(weights[0], shift[cut:], atol=0.06)
    rest = law[cut:, cut:] - law[cut:, :cut] @ gain
    assert np.allclose(np.cov((drawn[:, cut:] - known @ weights).T), rest, atol=0.06)


def test_a_memory_of_everything_continues_as_the_truth_does() -> None:
    for name in SIZES:
        world, size = world_of(name), SIZES[name][-1]
        exact = _generator(SMALL["worlds"][name], size, SMALL)(Exact())
        mean, joint = world.generated(exact)
        shift, law = _continued(world, mean, joint)
        assert np.abs(law - world.truth()).max() < 0.02 and np.abs(shift).max() < 1e-9


def test_squared_errors_are_those_of_independent_continuations() -> None:
    """Without memory a sample is independent of the truth: twice its variance."""
    world = world_of("panorama")
    found = _readings(world, Generator(Exact(), CONFIG["sampler"]))
    variance = float(np.diag(world.truth()).mean())
    for name in ("first", "last", "returning"):
        assert np.isclose(found[f"mse_{name}"], 2.0 * variance, rtol=3e-3)
    assert np.isclose(found["retrieval_db"], -10.0 * np.log10(2.0), atol=0.02)
    biased = _readings(world, Generator(Biased(0.2), CONFIG["sampler"]))
    mean, _ = world.generated(Generator(Biased(0.2), CONFIG["sampler"]))
    assert np.isclose(biased["mse_last"] - found["mse_last"], np.mean(mean[-24:] ** 2), rtol=1e-6)


def test_a_cost_is_missed_if_bias_is_switched_off(table: pandas.DataFrame) -> None:
    """Negative control: with dose 0 in its place, a curve of bias is that of no cause."""
    config = {**SMALL, "doses": [{"cause": "bias", "bias": 0.0}]}
    config["worlds"] = {"four latents": SMALL["worlds"]["four latents"]}
    off = study.compute(config)
    assert (off["trade_off"] == "no").all() and off["accumulated_nats"].abs().max() < 1e-12
    assert (curve(table, "four latents", "bias")["trade_off"] == "yes").all()
