"""Ladders on the levels of a chunk: planted orders are found, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from analysis import order_or_levels
from analysis.measured_rows import read
from analysis.order_or_levels import LEVELS, each_once, last_gamma
from analysis.predicted_degradation import ROW
from arvdm_theory.errors import RefusedError
from arvdm_theory.schedule import Schedule
from figures import order_or_levels as figure
from paper_repro import plan
from paper_repro.experiments import MANY_SCHEDULES
from paper_repro.many_schedules import CONTROL, SETTINGS, on_levels_of_a_chunk
from paper_repro.plan import Job
from tests.synthetic_rows import follows_the_paper, manifest, write

SEEDS = (0, 1, 2)
PLANNED = list(SETTINGS["schedules"])
LADDERS, CLIPS = 5, SETTINGS["clips"]["count"] - SETTINGS["rolled_out"]


def reversed_order(world: str, row: str) -> dict[str, float]:
    """Under the planned levels, predictions stand in the reverse order of what is measured."""
    return follows_the_paper(world, row) | {"order": -1.0}


def ship_control(folder: Path, seed: int) -> None:
    """A control in which the ladders err by 1.5 to 3.5 times as much as the worst of the others.

    Losses are in the order of errors, and so is what one pass says of the ladders.
    """
    job = Job("maze", MANY_SCHEDULES, seed)
    ((_, measured, _),) = plan.load([job], folder / "rows")
    error = measured["schedule_error"].astype(np.float64)
    share = 1.0 + 0.5 * np.arange(1.0, LADDERS + 1.0)
    error[:LADDERS] = error[LADDERS:].max(axis=0) * share[:, None, None]
    above = 0.0105 * (1.0 + 0.05 * share[:, None, None])  # those of other schedules
    one_pass = np.broadcast_to(above, (LADDERS, CLIPS, error.shape[-1]))
    detail = np.concatenate([np.full(len(PLANNED), 0.5), 0.2 + 0.2 * share])
    made = {
        "control_error": error[:LADDERS].astype(np.float16),
        "control_one_pass": one_pass.astype(np.float16),
        "control_loss": (1e6 * error.mean(axis=(1, 2))[:, None]).repeat(CLIPS, axis=1),
        "control_detail": detail[:, None].repeat(CLIPS, axis=1) * 0.02,
        "control_detail_true": np.full(CLIPS, 0.02),
    }
    described = manifest(ROW, follows_the_paper, "maze") | {"control": CONTROL}
    plan.save(dataclasses.replace(job, part="controls"), made, described, folder / "rows")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("results")
    write(folder / "rows", [ROW], SEEDS, ["maze"], effect=reversed_order, noise=0.0)
    for seed in SEEDS:
        ship_control(folder, seed)
    write(folder / "rows", [ROW], [0], ["blocks"])  # has no control yet
    places = {"results": str(folder / "rows"), "controls": str(folder / "controls")}
    return {**order_or_levels.CONFIG, **places, "replicates": 50}


@pytest.fixture(scope="module")
def table(config: dict[str, Any]) -> pandas.DataFrame:
    return order_or_levels.compute(config)


def test_planted_orders_are_found(table: pandas.DataFrame) -> None:
    ranks = table[(table["quantity"] == "rank_correlation") & (table["prediction"] == "loss")]
    for levels, expected in zip(LEVELS, (-1.0, 1.0), strict=True):
        found = ranks[ranks["levels"] == levels]
        assert len(found) == len(SEEDS) + 1  # and of all
        np.testing.assert_allclose(found["value"], expected)


def test_what_one_pass_says_is_right_of_ladders_alone(table: pandas.DataFrame) -> None:
    ranks = table[(table["quantity"] == "rank_correlation") & (table["prediction"] == "one_pass")]
    found = ranks[ranks["levels"] == "of a chunk"]["value"]
    # the five others stand in reverse order below them: by hand, 1 - 6 (16 + 4 + 4 + 16) / 990
    np.testing.assert_allclose(found, 1.0 - 240.0 / 990.0)


def test_quantities_are_those_of_the_files(config: dict[str, Any], table: pandas.DataFrame) -> None:
    rows, controls = (read(config[folder]).found["maze", ROW] for folder in ("results", "controls"))
    for seed in SEEDS:
        main, control = rows[seed].arrays, controls[seed].arrays
        expected = {
            "one_pass": [control["control_one_pass"], main["schedule_one_pass"][LADDERS:]],
            "error": [control["control_error"][..., -6:], main["schedule_error"][LADDERS:, :, -6:]],
            "loss": [control["control_loss"]],
        }
        once = each_once(table[table["seed"] == seed])
        assert len(once[once["quantity"] == "loss"]) == len(PLANNED) + LADDERS
        names = list(on_levels_of_a_chunk(t_max=4.0, t_min=5e-5))
        for quantity, parts in expected.items():
            values = [array.astype(np.float64).mean() for part in parts for array in part]
            found = once[once["quantity"] == quantity].set_index("schedule")["value"]
            np.testing.assert_allclose(found[names], values, rtol=1e-6)
        planned = once[(once["quantity"] == "loss") & (once["levels"] == "planned")]
        assert planned["schedule"].tolist() == PLANNED[:LADDERS]
        drawn = main["schedule_loss"][:LADDERS].mean(axis=1)
        np.testing.assert_allclose(planned["value"], drawn, rtol=1e-6)


def test_only_ladders_move(table: pandas.DataFrame) -> None:
    errors = table[(table["quantity"] == "error") & (table["seed"] == 0)]
    planned, moved = (
        errors[errors["levels"] == levels].set_index("schedule")["value"] for levels in LEVELS
    )
    changed = [name for name in moved.index if name.endswith(CONTROL["suffix"])]
    assert changed == [name + CONTROL["suffix"] for name in PLANNED[:LADDERS]]
    for name in PLANNED[LADDERS:]:
        assert planned[name] == moved[name]
    assert moved[changed].is_monotonic_increasing
    assert moved[changed].iloc[0] >= moved[PLANNED[LADDERS:]].max()
    detail = table[(table["quantity"] == "detail") & (table["seed"] == 0)]
    by_levels = detail.set_index(["levels", "schedule"])["value"]
    np.testing.assert_allclose(by_levels["planned"], 0.5)
    np.testing.assert_allclose(by_levels["of a chunk"][changed], 0.4 + 0.1 * np.arange(1, 6))
    np.testing.assert_allclose(by_levels["of a chunk"][PLANNED[LADDERS:]], 0.5)


def test_what_is_not_measured_is_not_there(table: pandas.DataFrame, tmp_path: Path) -> None:
    assert set(table["world"]) == {"maze"}
    for name in ("rows", "controls"):
        (tmp_path / name).mkdir()
    places = {"results": str(tmp_path / "rows"), "controls": str(tmp_path / "controls")}
    empty = order_or_levels.run({**order_or_levels.CONFIG, **places}, out=tmp_path)
    assert empty.empty and "No network" in order_or_levels.text_of(empty)
    sheet, data = figure.draw(tmp_path)
    assert data.empty and sheet is not None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("steps", "another network"),
        ("training_core_seconds", "another network"),
        ("many_schedules", "another network"),
        ("experiment", "another network"),
        ("control", "other settings"),
    ],
)
def test_a_control_of_another_network_is_refused(tmp_path: Path, key: str, message: str) -> None:
    write(tmp_path / "rows", [ROW], [0], ["maze"])
    ship_control(tmp_path, 0)
    path = tmp_path / "controls" / "maze-many-schedules-seed-0.json"
    described = json.loads(path.read_text())
    if isinstance(described[key], dict):
        described[key]["revision"] = 99
    else:
        described[key] += 1
    path.write_text(json.dumps(described))
    places = {"results": str(tmp_path / "rows"), "controls": str(tmp_path / "controls")}
    with pytest.raises(RefusedError, match=rf"{message}.*maze-many-schedules-seed-0"):
        order_or_levels.compute({**order_or_levels.CONFIG, **places})


def test_the_figure_shows_every_schedule_twice_if_it_moves(
    config: dict[str, Any], tmp_path: Path
) -> None:
    order_or_levels.run(config, out=tmp_path)
    sheet, data = figure.draw(tmp_path)
    assert set(data["quantity"]) == {"loss", "error", "detail", "last_gamma", "rank_correlation"}
    marks = [line for line in sheet.axes[0].lines if line.get_marker() not in ("None", "")]
    assert len(marks) == len(PLANNED) + LADDERS
    assert sum(line.get_markerfacecolor() == "none" for line in marks) == LADDERS


def test_a_frame_is_last_seen_at_the_level_before_the_finished_one() -> None:
    ends = {"t_max": 4.0, "t_min": 5e-5}
    chunk = Schedule.chunk(8, substeps=8, **ends)
    for name, specification in on_levels_of_a_chunk(**ends).items():
        assert last_gamma(specification | ends) == pytest.approx(chunk.gammas[-2, 0]), name
    fifo = SETTINGS["schedules"]["FIFO, w = 8"]
    assert last_gamma(fifo | ends) == pytest.approx(0.582, abs=1e-3)
