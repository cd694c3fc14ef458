"""Trained networks where the truth is known: the shipped numbers agree by every route."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from analysis import shipped
from analysis import trained_gaussian as study
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.video import Autoregressive
from figures import trained_gaussian as figure_module
from paper_repro.experiments import experiment

WORLDS = list(study.CONFIG["experiments"])
STEPS = study.CONFIG["checkpoints"]


@pytest.fixture(scope="module")
def table() -> pandas.DataFrame:
    return shipped.read("trained_gaussian", study.CONFIG)[0]


def values(table: pandas.DataFrame, quantity: str) -> pandas.DataFrame:
    rows = table[table["quantity"] == quantity]
    return rows.set_index(["world", "training_steps", "memory"])


def agree(compared: pandas.DataFrame) -> bool:
    """Whether all comparisons lie within their joint interval of 99 %."""
    return bool((compared["z"].abs() <= study.joint_reach(len(compared), study.LEVEL)).all())


# The shipped numbers


def test_every_world_checkpoint_and_route_is_there(table: pandas.DataFrame) -> None:
    compared = study.comparisons(table)
    assert len(WORLDS) == 3 and study.LEVEL == 0.01
    assert len(compared) == len(WORLDS) * len(STEPS) * 5  # 2 routes by 2 memories, and T2
    assert not compared.duplicated(["world", "training_steps", "memory", "one"]).any()
    assert set(compared["world"]) == set(WORLDS) and set(compared["training_steps"]) == set(STEPS)
    measured = table[table["training_steps"] > 0]
    assert (measured["standard_error"] > 0.0).all() and (measured["clips"] >= 1000).all()


def test_routes_agree_in_their_joint_interval(table: pandas.DataFrame) -> None:
    assert agree(study.comparisons(table))


def test_intervals_are_neither_idle_nor_too_narrow(table: pandas.DataFrame) -> None:
    """z of right estimates is standard normal: correlated ones have mean square 1 all the same."""
    compared = study.comparisons(table)
    for _, rows in compared.groupby("one"):
        # 15 or 30 numbers, pairs of which are correlated: at least 15 degrees of freedom;
        # chi-squared with 15 lies in this range with probability 0.999
        assert 3.1 / 15 < float((rows["z"] ** 2).mean()) < 39.8 / 15


@pytest.mark.parametrize("term", ["DE", "MB", "information"])
def test_a_floor_without_one_of_its_terms_is_noticed(table: pandas.DataFrame, term: str) -> None:
    exact = values(table, f"exact {term}")["value"]
    wrong = table.copy()
    for index, row in table.iterrows():
        if row["quantity"] == "SEE, loss route":
            wrong.loc[index, "value"] += exact[row["world"], 0, row["memory"]]
    assert not agree(study.comparisons(wrong))


def test_t2_is_not_the_memory_bottleneck_of_a_network_that_is_not_trained(
    table: pandas.DataFrame,
) -> None:
    wrong = table.copy()
    wrong.loc[wrong["quantity"] == "SEE none − SEE all, truth route", "value"] = 0.0
    assert not agree(study.comparisons(wrong))


def test_the_loss_route_is_t1_minus_its_exact_floor(table: pandas.DataFrame) -> None:
    loss, route = values(table, "T1"), values(table, "SEE, loss route")
    floor = values(table, "exact T1")["value"].droplevel("training_steps")
    for world, step, memory in loss.index:
        one, other = loss.loc[(world, step, memory)], route.loc[(world, step, memory)]
        assert one["value"] - floor[world, memory] == pytest.approx(other["value"], abs=1e-12)
        assert one["standard_error"] == other["standard_error"]


@pytest.mark.parametrize("world", WORLDS)
def test_exact_values_are_those_of_the_world(table: pandas.DataFrame, world: str) -> None:
    chosen = experiment(study.CONFIG["experiments"][world])
    schedule, video = study._law(chosen, study.CONFIG)
    exact = {m: study._floor(video, schedule, study.CONFIG, m, chosen) for m in study.MEMORY}
    again = pandas.DataFrame(study._exact_rows(exact, schedule, study.CONFIG))
    rows = table[(table["world"] == world) & (table["training_steps"] == 0)]
    assert list(again["quantity"]) == list(rows["quantity"])
    np.testing.assert_allclose(again["value"], rows["value"], rtol=1e-9, atol=1e-12)
    mb = again[again["quantity"] == "exact MB"].set_index("memory")["value"]
    assert mb["none"] > 0.1 and abs(mb["all"]) < 1e-9


def test_training_brings_the_score_error_down(table: pandas.DataFrame) -> None:
    see = values(table, "SEE, truth route").swaplevel("world", "training_steps")
    first, last = see.loc[STEPS[0]], see.loc[STEPS[-1]]
    fall = first["value"] - last["value"]
    error = np.hypot(first["standard_error"], last["standard_error"])
    assert len(fall) == 2 * len(WORLDS)
    assert (fall / error > study.joint_reach(len(fall), study.LEVEL)).all()


def assert_as_shipped(shipped_value: Any, now: Any) -> None:
    """Equal, but for settings that came later and are off."""
    if not isinstance(shipped_value, dict):
        assert shipped_value == now
        return
    assert shipped_value.keys() <= now.keys()
    for key, value in now.items():
        if key in shipped_value:
            assert_as_shipped(shipped_value[key], value)
        else:
            assert value in (0, None), key


def test_what_differs_from_what_is_shipped_is_seen() -> None:
    for now in ({"a": 2, "b": 0}, {"b": 0}, {"a": 1, "b": 3}, {"a": {"b": 0}}):
        with pytest.raises(AssertionError):
            assert_as_shipped({"a": 1}, now)
    assert_as_shipped({"a": {"c": 1}}, {"a": {"c": 1, "d": None}, "b": 0})


def test_shipped_networks_are_the_named_experiments(table: pandas.DataFrame) -> None:
    manifest = shipped.read("trained_gaussian")[1]
    assert_as_shipped(manifest["experiments"], study.described(study.CONFIG))
    assert set(manifest["training_seconds"]) == set(manifest["experiments"])
    for name, whole in manifest["experiments"].items():
        label = figure_module.BATCH
        clip = experiment(name).network.clip
        assert f"{whole['training']['batch_size']} clips of {clip} frames" in label


def test_other_settings_are_refused() -> None:
    with pytest.raises(RefusedError, match="another configuration"):
        study.STUDY.compute({**study.CONFIG, "seed": 1})


def test_a_memory_that_cannot_hold_all_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="so few that at most 7 frames are finished"):
        study.measure({**SMALL, "steps": 5}, tmp_path)


# The figure


def test_the_figure_shows_every_number(table: pandas.DataFrame, tmp_path: Path) -> None:
    study.STUDY.run(out=tmp_path)
    figure, data = figure_module.draw(tmp_path)
    pandas.testing.assert_frame_equal(data, table, check_exact=True)
    shown = {float(y) for ax in figure.axes for line in ax.lines for y in line.get_ydata()}
    part = table["quantity"].isin(
        ["T1", "T2", "exact T1", "exact DE", *(f"SEE, {route} route" for route in study.ROUTES)]
    )
    assert set(table.loc[part, "value"]) <= shown
    mb = values(table, "exact MB")["value"].xs("none", level="memory").droplevel(1)
    for (world, _, _), row in values(table, "SEE none − SEE all, truth route").iterrows():
        assert row["value"] + mb[world] in shown


# The mechanism

SMALL: dict[str, Any] = {
    **study.CONFIG,
    "experiments": {"short memory": "gaussian-short", "panorama": "gaussian-panorama"},
    "settings": [
        "network.width=16",
        "network.heads=2",
        "network.layers=1",
        "data.count=64",
        "training.steps=4",
        "training.batch_size=8",
        "training.checkpoint_every=2",
    ],
    "checkpoints": [2, 4],
    "clips": {"loss": 200, "paired": 200, "truth": 200, "t2": 200},
    "draws": 4,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pandas.DataFrame]:
    folder = tmp_path_factory.mktemp("small")
    return folder, study.ship(SMALL, folder=folder / "work", results=folder / "results")


def test_two_tiny_networks_are_trained_measured_and_shipped(
    small: tuple[Path, pandas.DataFrame],
) -> None:
    folder, table = small
    read, manifest = shipped.read("trained_gaussian", SMALL, results=folder / "results")
    pandas.testing.assert_frame_equal(read, table, check_dtype=False)
    assert manifest["config"] == json.loads(json.dumps(SMALL)) and manifest["measuring_seconds"] > 0
    compared = study.comparisons(table)
    assert len(compared) == 2 * 2 * 5 and agree(compared)


def test_what_is_measured_is_not_measured_again(
    small: tuple[Path, pandas.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, table = small
    calls: list[int] = []
    measured = study._measured
    monkeypatch.setattr(study, "_measured", lambda *a: calls.append(a[2]) or measured(*a))
    lost = next((folder / "work").glob("gaussian-short-*/measured-*-4.json"))
    lost.unlink()
    again, _ = study.measure(SMALL, folder / "work")
    assert calls == [4]
    pandas.testing.assert_frame_equal(again, table, check_exact=True)


def test_a_wrong_truth_is_noticed(
    small: tuple[Path, pandas.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The denoiser of another law in place of m: its loss is not least, the routes part."""
    exact = study.exact_denoiser
    wrong = Autoregressive([0.7], 0.51, dim=4)
    monkeypatch.setattr(study, "exact_denoiser", lambda video, schedule: exact(wrong, schedule))
    config = {**SMALL, "experiments": {"short memory": "gaussian-short"}, "checkpoints": [4]}
    config["seed"] = 5  # what was measured with the exact denoiser is not read
    table, _ = study.measure(config, small[0] / "work")
    assert not agree(study.comparisons(table))
