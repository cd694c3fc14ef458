"""The study and the figure of error accumulation from below and from above."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure

from analysis.study import table_of
from analysis.two_sided_accumulation import STUDY
from arvdm_theory.decomposition import decompose
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo
from figures import two_sided_accumulation as figure_module

SMALL = {**STUDY.config, "steps": 40}


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


def test_every_row_lies_between_its_bounds(table: pandas.DataFrame) -> None:
    slack = table["error_bound"]
    assert (table["lower"] <= table["clip"] + slack).all()
    assert (table["clip"] <= table["upper"] + slack + table["theorem_b_error"]).all()
    assert (table["lower"] == table[["drift", "marginal"]].max(axis=1)).all()
    assert (table["upper"] == table[["theorem_b", "saturated"]].min(axis=1)).all()


def test_the_three_cases_are_what_they_are_called(table: pandas.DataFrame) -> None:
    assert (table["growth"] == table["case"]).all()
    assert set(table["case"]) == {"stable", "marginal", "unstable"}
    marginal = table[table["case"] == "marginal"]
    assert (marginal["spectral_radius"] - 1.0).abs().max() < 1e-8
    stable = table[table["case"] == "stable"]
    assert stable[["limit", "saturated_limit", "horizon"]].notna().all(axis=None)
    assert (stable["limit"] <= stable["saturated_limit"]).all()
    others = table[table["case"] != "stable"]
    assert others[["limit", "saturated_limit", "horizon"]].isna().all(axis=None)


def test_the_marked_step_is_where_the_line_crosses(table: pandas.DataFrame) -> None:
    stable = table[table["case"] == "stable"]
    crossed = stable[stable["theorem_b"] > stable["saturated_limit"]]["step"]
    if len(crossed):
        assert crossed.min() == stable["horizon"].iloc[0]


def test_clips_and_lines_are_those_of_the_decomposition(table: pandas.DataFrame) -> None:
    for name, factor in SMALL["factors"].items():
        denoiser = {"kind": "scaled", "factor": factor}
        result = decompose(
            GaussianVideo.from_json(SMALL["video"]),
            Schedule.from_json(SMALL["schedule"]),
            Generator.from_json({**SMALL["generator"], "denoiser": denoiser}),
            steps=SMALL["steps"],
        )
        rows = table[table["case"] == name]
        np.testing.assert_allclose(rows["clip"], result.clip_per_step, rtol=1e-6)
        np.testing.assert_allclose(rows["theorem_b"], result.theorem_b_per_step, rtol=1e-9)


def test_the_figure_plots_rows_of_the_study(
    table: pandas.DataFrame, drawn: tuple[Figure, pandas.DataFrame]
) -> None:
    figure, data = drawn
    expected = table.loc[data.index, list(data.columns)]
    pandas.testing.assert_frame_equal(data, expected, check_exact=True)
    shown: Counter[float] = Counter()
    for ax in figure.axes:
        for line in ax.lines:
            shown.update(np.asarray(line.get_ydata(), dtype=float).tolist())
    for column in ("clip", "theorem_b", "saturated", "marginal", "drift"):
        for value, times in Counter(data[column].tolist()).items():
            assert shown[value] >= times, f"{column} {value}"


def test_the_figure_says_what_it_shows(drawn: tuple[Figure, pandas.DataFrame], out: Path) -> None:
    figure, _ = drawn
    assert figure.axes[0].get_ylabel() == "nats"
    assert all(ax.get_xlabel() == "AR step K" for ax in figure.axes)
    assert "Exact:" in figure_module.CAPTION and figure_module.KIND == "exact"
    for suffix in ("png", "pdf", "csv"):
        assert (out / "figures" / f"{figure_module.NAME}.{suffix}").stat().st_size > 0


def test_the_bounds_would_fail_on_a_wrong_clip(table: pandas.DataFrame) -> None:
    """Negative control: the clip of the next case is not between these bounds."""
    stable = table[table["case"] == "stable"]["upper"].to_numpy()
    unstable = table[table["case"] == "unstable"]["clip"].to_numpy()
    assert np.any(unstable > stable)
