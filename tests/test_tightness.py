"""The study and the figure of how tight every inequality is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure

from analysis.study import table_of
from analysis.tightness import KINDS, STUDY
from arvdm_theory.laws import LAWS, LEAST
from figures import tightness as figure_module
from tests import small_studies

SMALL = small_studies.SMALL[STUDY.name]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    STUDY.run(SMALL, out=folder)
    return folder


@pytest.fixture(scope="module")
def table(out: Path) -> pandas.DataFrame:
    return table_of(STUDY.name, out=out)


@pytest.fixture(scope="module")
def drawn(out: Path, table: pandas.DataFrame) -> tuple[Figure, pandas.DataFrame]:
    return figure_module.draw(out)


def test_every_law_is_in_the_table(table: pandas.DataFrame) -> None:
    assert set(table["label"]) == set(LAWS)
    assert set(table["kind"]) == set(KINDS.values())
    assert not table.duplicated(["label", "inequality"]).any()


def test_no_world_breaks_an_inequality(table: pandas.DataFrame) -> None:
    assert (table["broken"] == 0).all()
    assert (table["scored"] <= table["worlds"]).all() and (table["scored"] > 0).all()
    # what a world may be off by: its own slack, of which 1e-6 is the most where values are >= .001
    lower, upper = table[table["kind"] == "lower bound"], table[table["kind"] == "upper bound"]
    assert (lower["tightest_ratio"] <= 1.0 + 1e-6).all()
    assert (lower["loosest_ratio"] <= lower["tightest_ratio"]).all()
    assert (upper["tightest_ratio"] >= 1.0 - 1e-6).all()
    assert (upper["loosest_ratio"] >= upper["tightest_ratio"]).all()
    equal = table[table["kind"] == "equality"]
    assert (equal[["tightest_ratio", "loosest_ratio"]] - 1.0).abs().max(axis=None) < 1e-6


def test_attaining_worlds_give_the_ratios_again(table: pandas.DataFrame) -> None:
    for row in table.itertuples():
        law = LAWS[row.label]
        for end in ("tightest", "loosest"):
            world = law.world.from_json(json.loads(getattr(row, f"{end}_world")))
            [item] = [
                item for item in law.compare(law.calculator, world) if item.name == row.inequality
            ]
            assert item.exact >= LEAST
            expected = [getattr(row, f"{end}_{part}") for part in ("bound", "exact", "ratio")]
            assert [item.bound, item.exact, item.ratio] == expected
            assert math.isclose(expected[2], expected[0] / expected[1])


def test_a_world_of_another_row_has_another_ratio(table: pandas.DataFrame) -> None:
    """Negative control: the world in the table matters."""
    row = table[table["label"] == "R2"].iloc[0]
    law = LAWS["R2"]
    world = law.world.from_json(json.loads(row["loosest_world"]))
    assert law.compare(law.calculator, world)[0].ratio < 0.9 * row["tightest_ratio"]


def test_the_table_is_the_same_every_time(table: pandas.DataFrame) -> None:
    config = {**SMALL, "labels": ["R1", "E3"]}
    again = STUDY.compute(config)
    assert isinstance(again, pandas.DataFrame)
    expected = table[table["label"].isin(config["labels"])].reset_index(drop=True)
    pandas.testing.assert_frame_equal(again, expected, check_exact=True)


@pytest.mark.heavy
def test_the_whole_hunt_finds_worlds_where_inequalities_are_tight(tmp_path: Path) -> None:
    found = STUDY.run(out=tmp_path)
    bounds = found[(found["kind"] != "equality") & (found["label"] != "2.1")]
    ratio = bounds["tightest_ratio"]
    assert np.minimum(ratio, 1.0 / ratio).min() > 0.95
    assert (found["broken"] == 0).all()


def test_the_figure_plots_rows_of_the_study(
    table: pandas.DataFrame, drawn: tuple[Figure, pandas.DataFrame]
) -> None:
    figure, data = drawn
    expected = table.loc[data.index, list(data.columns)]
    pandas.testing.assert_frame_equal(data, expected, check_exact=True)
    ranges, differences = figure.axes
    shown = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in ranges.lines])
    bounds = data[data["kind"] != "equality"]
    for end in ("tightest_ratio", "loosest_ratio"):
        assert set(bounds[end]) <= set(shown.tolist())
    names = [f"{row.label}: {row.inequality}" for row in bounds.itertuples()]
    assert [text.get_text() for text in ranges.get_yticklabels()] == names
    assert len(differences.get_yticklabels()) == (data["kind"] == "equality").sum()


def test_the_figure_says_what_it_shows(drawn: tuple[Figure, pandas.DataFrame], out: Path) -> None:
    figure, _ = drawn
    assert all("share" in ax.get_xlabel() for ax in figure.axes)
    assert "Exact:" in figure_module.CAPTION and figure_module.KIND == "exact"
    assert "seed 2503" in figure_module.CAPTION.format_map(STUDY.config)
    for suffix in ("png", "pdf", "csv"):
        assert (out / "figures" / f"{figure_module.NAME}.{suffix}").stat().st_size > 0
