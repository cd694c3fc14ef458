"""What a fitted Gaussian law says of memory, and what networks' errors are turned into."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from analysis import shipped
from analysis import theory_against_networks as study
from analysis.measured_rows import Measured, Rows
from arvdm_theory import Generator, Schedule, decompose, noise
from arvdm_theory.errors import ParameterError
from arvdm_theory.video import Autoregressive, ExplicitCovariance, GaussianVideo

CONFIG = study.CONFIG
SCHEDULE = Schedule.chunk(**CONFIG["schedule"])
GAMMAS = np.asarray(noise.gamma(SCHEDULE.grid[:, 0]))
SMALL = {**CONFIG, "components": [1, 2], "worlds": ["maze"]}


@pytest.fixture(scope="module")
def table() -> pandas.DataFrame:
    """Of the shipped covariances, and of whatever networks there are."""
    return study.compute(CONFIG)


def any_video(seed: int, frames: int = 7, dim: int = 2) -> GaussianVideo:
    factor = np.random.default_rng(seed).normal(size=(frames * dim, frames * dim))
    return ExplicitCovariance(factor @ factor.T / frames, dim=dim)


# --- the window's law -----------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [0, 1, 3, 6])
def test_what_a_memory_lacks_is_the_decompositions_mb(reference: int) -> None:
    """Two routes: eigenvalues of S_m here, Theorem A's recursion there."""
    schedule = Schedule.chunk(2, t_max=3.0, t_min=0.01, substeps=4)
    video = Autoregressive([[[0.5, 0.2], [0.0, 0.4]], [[0.1, 0.0], [0.3, 0.2]]], 0.4, dim=2)
    exact = decompose(video, schedule, Generator(reference=reference), steps=4).mb_per_step[-1]
    laws = study.window_laws(video.covariance(8), 6, 2, (0, reference, 6), 0.01)
    gain = study._gain(laws, np.asarray(noise.gamma(schedule.grid[:, 0])))[:, -1]
    assert gain[2] - gain[1] == pytest.approx(exact, rel=1e-9, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_information_is_half_the_integral_of_the_errors(seed: int) -> None:
    """L3, for the law with and without memory."""
    laws = study.window_laws(any_video(seed).covariance(7), 4, 3, (0, 2), 0.05)
    ends = np.array([0.01, 20.0])
    gain = np.diff(laws.information(ends))[:, 0]
    for row, value in enumerate(gain):
        integral, _ = quad(
            lambda x, row=row: np.exp(x) * 3 * laws.mmse(np.exp([x]))[row, 0],
            *np.log(ends),
            epsabs=1e-10,
        )
        assert 0.5 * integral == pytest.approx(value, rel=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_more_memory_says_no_less_and_later_levels_no_less(seed: int) -> None:
    laws = study.window_laws(any_video(seed).covariance(7), 5, 2, (0, 1, 2, 3, 5, 9), 0.02)
    gain = study._gain(laws, GAMMAS)
    assert np.all(np.diff(gain, axis=0) >= -1e-9) and np.all(np.diff(gain, axis=1) >= -1e-9)
    assert np.allclose(gain[-1], gain[-2])  # there are no more frames than five
    of_frames = laws.of_frames(30.0)
    assert np.all(of_frames.sum(axis=1) >= laws.information(np.array([30.0]))[:, 0] - 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=4))
def test_sums_hold_the_integral_of_any_errors_that_fall(eigenvalues: list[float]) -> None:
    values = np.array(eigenvalues)
    errors = (values / (1.0 + GAMMAS[:, None] * values)).sum(axis=1)
    information = 0.5 * np.log1p(GAMMAS[:, None] * values).sum(axis=1)
    exact = information - information[0]
    left, right = study._left(GAMMAS, errors), study._right(GAMMAS, errors)
    assert np.all(right <= exact + 1e-12) and np.all(exact <= left + 1e-12)
    # 2.15 in log γ a step: trapezoids of γ · error are within a tenth of a nat a direction
    assert np.all(np.abs(study._trapezoid(GAMMAS, errors) - exact) < 0.1 * len(values))


# --- the fit --------------------------------------------------------------------------------------


def test_autocovariances_of_a_long_sample_are_the_videos_own() -> None:
    video = Autoregressive([[[0.8, 0.1], [-0.2, 0.5]]], 0.3, dim=2)
    scores = video.sample(4000, frames=12, seed=3)
    found = study.autocovariances(scores, 4)
    # each entry is a mean over at least 4,000 clips of products of variance about 1
    assert np.abs(found - video.autocovariance(3)).max() < 6.0 / np.sqrt(4000)
    fitted = study.Stationary(found[None]).video(4, 2)
    lagged = fitted.covariance(4).reshape(4, 2, 4, 2)
    assert np.allclose(lagged[3, :, 1], found[2]) and np.allclose(lagged[1, :, 3], found[2].T)


def test_the_way_back_is_the_covariance_of_mirrored_clips() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 4, 3))
    path = study.path_back(4, 3)
    back = study.WayBack(study.covariances(scores)[None]).video(path, 2)
    mirrored = scores[:, path, :2].reshape(50, -1)
    assert np.allclose(back.covariance(7), mirrored.T @ mirrored / 50)


def test_path_back_is_that_of_the_worlds() -> None:
    from paper_repro.worlds.world import look_away

    for context, generated in itertools.product((2, 5, 17), (1, 4, 16)):
        expected = look_away(context, context + generated)
        assert np.array_equal(study.path_back(context, generated), expected)


def test_what_is_shipped_is_what_was_fitted() -> None:
    scores = np.random.default_rng(1).normal(size=(24, 5, 3))
    rows = [
        study.fitted_rows("maze", "wandering", scores, 4, 3),
        study.fitted_rows("maze", "returning", scores, 2, 4),
    ]
    stationary, back = study.fits(pandas.concat(rows, ignore_index=True))
    groups = np.array_split(scores, 4)
    expected = np.stack([study.autocovariances(part, 3) for part in groups])
    assert np.allclose(stationary["maze"].blocks, expected, rtol=1e-6)
    halves = np.stack([study.covariances(part[:, :4]) for part in np.array_split(scores, 2)])
    assert np.allclose(back["maze"].blocks, halves, rtol=1e-6)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(2).normal(size=(8, 3))
    parts = np.stack([np.delete(x, i, axis=0).mean(axis=0) for i in range(8)])
    error, bias = study._jackknife(x.mean(axis=0), parts)
    assert np.allclose(error, x.std(axis=0, ddof=1) / np.sqrt(8)) and np.allclose(bias, 0.0)


def test_another_configuration_than_shipped_is_refused() -> None:
    with pytest.raises(ParameterError, match="as shipped"):
        study.compute({**CONFIG, "context": 9})


# --- networks that err as we say ------------------------------------------------------------------


def network(
    folder: Path, row: str, seed: int, errors: np.ndarray, levels: np.ndarray | None = None
) -> Measured:
    """Results of a network with these errors `(clips, levels, components)`."""
    path = folder / f"{row}-{seed}.npz"
    levels = SCHEDULE.grid[:-1, 0] if levels is None else levels
    np.savez(path, levels=levels, component_error=errors.astype(np.float32))
    return Measured("maze", row, seed, path, {})


def exact_errors(memory: int, law: study.Stationary, clips: int, seed: int) -> np.ndarray:
    """The law's own least errors, clip by clip with noise that all networks share."""
    of = [
        study._wandering(law, dim, CONFIG).mmse(GAMMAS[:-1])[study.MEMORIES.index(memory)]
        for dim in SMALL["components"]
    ]
    hard = np.random.default_rng(7).normal(1.0, 0.2, size=clips)
    return hard[:, None, None] * np.stack(of, axis=1) * (1.0 + 0.01 * seed)


def values(rows: list[dict[str, Any]], quantity: str, memory: int, dim: int) -> np.ndarray:
    return np.array(
        [
            row["value"]
            for row in rows
            if (row["quantity"], row["memory"], row["components"]) == (quantity, memory, dim)
        ]
    )


def test_networks_as_good_as_the_law_show_the_laws_numbers(tmp_path: Path) -> None:
    law = study.fits(shipped.read(study.NAME)[0])[0]["maze"]
    theory = study._theory("maze", law, SMALL)
    lengths = {"none": 0, "prepend-4": 4, "prepend-28": 28}
    found = {
        ("maze", row): {
            seed: network(tmp_path, row, seed, exact_errors(memory, law, 4000, seed))
            for seed in (0, 1)
        }
        for row, memory in lengths.items()
    }
    rows = study._networks("maze", Rows(found, {}), SMALL)
    for quantity, memory in (("gain_trapezoid", 4), ("gain_trapezoid", 28), ("gain_left", 28)):
        shown, exact = values(rows, quantity, memory, 2), values(theory, quantity, memory, 2)
        # clips are 1 ± .2 / √4000 hard on average, seeds 1.005
        assert np.allclose(shown, exact[: len(shown)], rtol=0.02)
    lost = values(rows, "mb_trapezoid", 4, 1)
    gains = [values(rows, "gain_trapezoid", m, 1) for m in (28, 4)]
    assert np.allclose(lost, gains[0] - gains[1], rtol=1e-4, atol=1e-5)
    for row in rows:
        assert row["seeds"] == 2 and row["over"] == "seeds and clips"
        if row["quantity"] == "gain_trapezoid":
            assert row["least"] <= row["value"] <= row["most"] and row["falls"]


def test_a_network_that_denoises_worse_with_memory_shows_less_than_nothing(tmp_path: Path) -> None:
    """The negative control of "no bound": T2 turns negative, and is not cut off."""
    worse = np.full((10, 8, 2), 2.0) - 0.1 * np.arange(8)[:, None]
    found = {
        ("maze", "none"): {0: network(tmp_path, "none", 0, worse - 1.0)},
        ("maze", "prepend-4"): {0: network(tmp_path, "prepend-4", 0, worse)},
    }
    rows = study._networks("maze", Rows(found, {}), SMALL)
    assert values(rows, "gain_trapezoid", 4, 1)[-1] < 0.0
    assert not any(row["quantity"].startswith("mb") for row in rows)  # none has memory 28


def test_pairs_are_of_one_seed_and_levels_are_checked(tmp_path: Path) -> None:
    errors = np.ones((5, 8, 2))
    found = {
        ("maze", "none"): {0: network(tmp_path, "none", 0, errors)},
        ("maze", "prepend-4"): {1: network(tmp_path, "prepend-4", 1, errors)},
    }
    rows = study._networks("maze", Rows(found, {}), SMALL)
    assert {row["quantity"] for row in rows} == {"mse"}
    other = dataclasses.replace(
        found["maze", "none"][0],
        path=network(tmp_path, "other", 0, errors, np.linspace(4.0, 0.1, 8)).path,
    )
    with pytest.raises(ParameterError, match="levels"):
        study._networks("maze", Rows({("maze", "none"): {0: other}}, {}), SMALL)


# --- the table ------------------------------------------------------------------------------------


def test_a_stationary_law_does_not_recognise_a_place_and_the_other_does(
    table: pandas.DataFrame,
) -> None:
    exact = table[(table["source"] == "theory") & (table["components"] == 8)]
    last = exact[exact["gamma"] == GAMMAS[-1]].set_index(["world", "law", "quantity", "memory"])
    for world in CONFIG["worlds"]:
        beyond = {
            law: last.loc[(world, law, "gain", 28), "value"]
            - last.loc[(world, law, "gain", 4), "value"]
            for law in ("wandering", "returning")
        }
        assert beyond["wandering"] < 1.0 < 50.0 < beyond["returning"]
    known = exact[exact["quantity"] == "known"].set_index(["world", "span", "memory"])["value"]
    for world in CONFIG["worlds"]:
        for span, enough, less in (("0-4", 3, 1), ("4-12", 12, 6), ("12-28", 28, 16)):
            assert known[world, span, enough] > 0.999 > 0.7 > known[world, span, less]


def test_the_cost_of_the_quadrature_is_in_the_table(table: pandas.DataFrame) -> None:
    """Trapezoids of 8 levels against the closed form: at most 4 % of what memory says."""
    law = table[(table["source"] == "theory") & (table["memory"] == 28)]
    law = law[(law["law"] == "wandering") & (law["gamma"] > 1.0)]
    wide = law.pivot(index=["world", "components", "gamma"], columns="quantity", values="value")
    assert np.all(np.abs(wide["gain_trapezoid"] / wide["gain"] - 1.0) < 0.04)
    assert np.all(wide["gain_left"] > 2.0 * wide["gain"])  # left sums do not estimate it
    exact = law[law["quantity"] == "gain"]
    assert np.all(exact["bias"].abs() < 0.03 * exact["value"])  # of estimating the covariances


def test_a_networks_interval_holds_its_value(table: pandas.DataFrame) -> None:
    shown = table[table["source"] == "network"]
    assert np.all((shown["low"] <= shown["value"]) & (shown["value"] <= shown["high"]))
    errors = table[(table["quantity"] == "mse")].dropna(subset=["value"])
    assert (errors["value"] > 0.0).all()


@pytest.mark.heavy
@pytest.mark.parametrize("world", CONFIG["worlds"])
def test_the_shipped_fit_is_rendered_again(world: str) -> None:
    pytest.importorskip("vizdoom")
    pytest.importorskip("torch")
    stored, manifest = shipped.read(study.NAME)
    for law, lags in (("wandering", 32), ("returning", CONFIG["context"])):
        fit, dim = CONFIG["fit"][law], CONFIG["fit"][law]["components"]
        (described,) = (
            item for item in manifest["fits"] if (item["world"], item["law"]) == (world, law)
        )
        # the first group of clips of the first law, all of the second
        clips = fit["clips"] // fit["groups"]
        scores = study.draw_scores(world, law, clips)[..., :dim] - np.array(described["mean"])
        again = study.fitted_rows(world, law, scores, 1, lags)
        columns = [f"with_{j + 1}" for j in range(dim)]
        rows = stored[(stored["world"] == world) & (stored["law"] == law) & (stored["group"] == 0)]
        assert len(rows) == len(again)
        # components from a float32 decomposition: neighbours mix by the gap of their variances
        largest = np.abs(rows[columns].to_numpy()).max()
        difference = np.abs(rows[columns].to_numpy() - again[columns].to_numpy()).max()
        assert difference < 1e-3 * largest
