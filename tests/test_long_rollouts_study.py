"""What long roll-outs cost: the shipped measurements, what is derived of them, and taking them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from analysis import long_rollouts, shipped
from analysis.long_rollouts import CONFIG, NUMBERS, derived, measure, world_of
from arvdm_theory.decomposition import decompose


@pytest.fixture(scope="module")
def table() -> pandas.DataFrame:
    return long_rollouts.compute(CONFIG)


def linear(table: pandas.DataFrame, video: str) -> pandas.DataFrame:
    return table[(table["video"] == video) & (table["way"] == "linear")]


# What the shipped measurements show


def test_a_million_steps_of_a_video_that_settles_take_no_longer_than_a_hundred(
    table: pandas.DataFrame,
) -> None:
    rows = linear(table, "AR(2)").set_index("steps")
    assert rows.index.max() == 1_000_000 and rows["cpu_seconds"].max() < 1.0
    assert rows["settled"].notna().all()
    assert rows.loc[1_000_000, "cpu_seconds"] < 2.0 * rows.loc[100, "cpu_seconds"]


def test_time_is_linear_in_the_number_of_steps_where_each_is_taken(
    table: pandas.DataFrame,
) -> None:
    rows = linear(table, "panorama")
    assert rows["steps"].max() == 100_000 and rows["settled"].isna().all()
    fitted = rows[rows["fitted"]]["steps"]
    assert np.log10(fitted.max() / fitted.min()) >= 1.5
    first = rows.iloc[0]
    assert 0.95 <= first["slope"] <= 1.05
    assert 0.9 <= first["slope_lower"] <= first["slope"] <= first["slope_upper"] <= 1.1


def test_memory_does_not_depend_on_the_number_of_steps(table: pandas.DataFrame) -> None:
    for video in CONFIG["videos"]:
        memory = linear(table, video).set_index("steps")["memory_mib"]
        assert memory.max() <= 40.0  # of a path of 100 000 frames, positions and all
        assert memory.iloc[-1] <= memory.iloc[:3].max() + 8.0


def test_the_two_ways_agree_within_their_bounds_and_to_eleven_digits(
    table: pandas.DataFrame,
) -> None:
    rows = table[table["way"] == "dense"]
    assert set(rows["video"]) == set(CONFIG["videos"])
    for name in NUMBERS:
        assert (rows[f"{name}_difference"] <= rows[f"{name}_allowed"]).all()
        assert (rows[f"{name}_difference"] <= 1e-11 * rows[name]).all()


def test_the_longest_dense_roll_out_takes_a_thousand_times_as_long(
    table: pandas.DataFrame,
) -> None:
    rows = table[(table["way"] == "dense") & (table["video"] == "AR(2)")]
    last = rows.loc[rows["steps"].idxmax()]
    assert last["ratio"] >= CONFIG["ratio"] and last["memory_mib"] < 4096.0
    assert last["cpu_seconds"] > 60.0


# What is derived of measurements


def rows_of(seconds: dict[str, Any], runs: int = 3) -> pandas.DataFrame:
    rows = []
    for way, (factor, power) in seconds.items():
        for steps in (500, 1000, 2000, 4000):
            for count in range(runs):
                row = {"video": "v", "way": way, "steps": steps, "run": count, "settled": None}
                row["cpu_seconds"] = factor * steps**power * (1.0 + 0.01 * (count - 1))
                row["memory_mib"] = 1.0 if count == 0 else None
                offset = 1e-9 if way == "dense" else 0.0
                row |= {name: 2.0 + offset for name in NUMBERS}
                row |= {f"{name}_error_bound": 1e-8 for name in NUMBERS}
                rows.append(row)
    return pandas.DataFrame(rows)


def test_slopes_ratios_and_where_they_lead() -> None:
    found = derived(rows_of({"linear": (1e-3, 1.0), "dense": (1e-9, 3.0)}), CONFIG)
    slopes = found.groupby("way")["slope"].first()
    assert slopes["linear"] == pytest.approx(1.0) and slopes["dense"] == pytest.approx(3.0)
    assert (found["slope_lower"] <= found["slope"]).all()
    dense = found[found["way"] == "dense"]
    assert dense["ratio"].to_numpy() == pytest.approx(1e-6 * dense["steps"].to_numpy() ** 2)
    assert dense["steps_for_ratio"].to_numpy() == pytest.approx(np.sqrt(1e9))
    assert dense["output_difference"].to_numpy() == pytest.approx(1e-9, rel=1e-6)
    assert dense["output_allowed"].to_numpy() == pytest.approx(2e-8)
    assert (found["runs"] == 3).all() and (found["lower_quartile"] < found["cpu_seconds"]).all()


def test_an_interval_is_as_wide_as_the_scatter() -> None:
    rows = rows_of({"linear": (1e-3, 1.0)}, runs=1)
    rows["cpu_seconds"] *= np.array([1.0, 1.2, 0.9, 1.1])
    found = derived(rows, CONFIG | {"settled_from": 0}).iloc[0]
    assert found["slope_upper"] - found["slope_lower"] > 0.2


def test_shipped_numbers_are_those_of_this_code(table: pandas.DataFrame) -> None:
    for video in CONFIG["videos"]:
        row = linear(table, video).set_index("steps").loc[100]
        now = decompose(*world_of(CONFIG, video, 100), steps=100, law="kalman", per_step=False)
        for name in NUMBERS:
            assert getattr(now, name) == pytest.approx(row[name], rel=1e-10)


@pytest.mark.heavy
def test_measuring_ships_a_table_that_the_study_reads(tmp_path: Path) -> None:
    steps = {"linear": [50, 100, 200], "dense": [50, 100, 200]}
    config = CONFIG | {
        "steps": {video: steps for video in CONFIG["videos"]},
        "runs": 2,
        "settled_from": 0,
    }
    measure(config, results=tmp_path)
    measured, manifest = shipped.read("long_rollouts", config, results=tmp_path)
    assert manifest["rows"] == len(measured) == 2 * 2 * 3 * 2
    found = derived(measured, config)
    assert (found["cpu_seconds"] > 0.0).all() and found["fitted"].all()
    assert set(found[found["way"] == "dense"]["steps"]) == {50, 100, 200}
