"""Tables 1–4 side by side: what is measured, what is published, and that they never mix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.stats

from analysis import paper_tables, published_pareto, retrieval_against_decay
from analysis.inference import mean_over
from analysis.measured_rows import published_rows, read
from analysis.paper_tables import NOT_YET, compute, text_of
from analysis.retrieval_against_decay import hypervolume, not_dominated
from analysis.study import ROOT
from figures import retrieval_against_psnr_decay_figure_9 as figure_9
from paper_repro import published
from paper_repro.evaluate import FrameScores, by_age
from tests.synthetic_rows import CHANCE, NAMES, follows_the_paper, write

PUBLISHED = ["published_span", "published_value", "published_unit", "published_derived"]
NUMBERS = ["measured_value", "standard_error", "seed_error", "clip_error", "low", "high"]
JOINT = [f"prepend-12-joint-{budget}" for budget in (2, 4, 8, 12)]


def config(folder: Path, study: Any = paper_tables) -> dict[str, Any]:
    return {**study.CONFIG, "results": str(folder)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of the joint rows and of one that forgets, one seed of another."""
    place = tmp_path_factory.mktemp("rows")
    write(place, [*JOINT, "prepend-4"], seeds=range(3))
    write(place, ["none"], seeds=[2])
    return place


@pytest.fixture(scope="module")
def table(folder: Path) -> pandas.DataFrame:
    return compute(config(folder))


def test_names_are_those_of_the_plan() -> None:
    assert [row["row"] for row in published_rows()] != list(NAMES)
    assert {row["row"] for row in published_rows()} == set(NAMES)
    for row in published_rows():
        kind = NAMES[row["row"]]
        assert (row["structure"], row["memory"]) == (kind.structure, kind.memory)
        assert row["budget"] == kind.budget
        assert row["compression"] == ("" if kind.compressor == "none" else kind.compressor)


def test_every_published_value_stands_in_its_row() -> None:
    whole = compute(config(Path("nowhere")))
    for number in published.TABLES:
        printed = published.load(number)
        rows = whole[(whole["table"] == number) & whole["published_value"].notna()]
        rows = rows[~rows["published_derived"]]
        expected = printed[list(published.SPANS[number])].to_numpy().ravel().tolist()
        assert sorted(rows["published_value"]) == sorted(expected)
    shown = whole[(whole["row"] == "channel_concat-12-modulated-8") & (whole["table"] == 1)]
    assert shown["published_value"].tolist() == [0.24, 0.22, 0.00]
    decay = whole[(whole["table"] == 4) & (whole["measured_quantity"] == "decay")]
    assert decay["published_value"].dropna().tolist() == [4.96, 5.49, 5.63, 5.99]


def test_nothing_measured_is_said_and_not_invented() -> None:
    whole = compute(config(Path("nowhere")))
    assert set(whole["note"]) == {NOT_YET}
    assert whole[[*NUMBERS, "chance", "steps"]].isna().all(axis=None)
    assert (whole[["clips", "seeds"]] == 0).all(axis=None)
    text = text_of(whole)
    assert text.count(NOT_YET) == len(whole)
    assert "0 of 20 rows" in text and "0 of 4 rows" in text


def test_published_columns_do_not_know_what_is_measured(table: pandas.DataFrame) -> None:
    nothing = compute(config(Path("nowhere")))
    pandas.testing.assert_frame_equal(table[PUBLISHED], nothing[PUBLISHED])
    assert (table["note"] == "").any() and (table["note"] == NOT_YET).any()


def test_measured_columns_do_not_know_what_is_published(
    table: pandas.DataFrame, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other published values change no measured one."""
    real = published.load

    def other(number: int) -> pandas.DataFrame:
        frame = real(number)
        spans = list(published.SPANS[number])
        frame[spans] = frame[spans] + 1000.0
        return frame

    monkeypatch.setattr(published, "load", other)
    changed = compute(config(folder))
    measured = [name for name in table.columns if name not in PUBLISHED]
    pandas.testing.assert_frame_equal(changed[measured], table[measured])
    assert not changed[PUBLISHED].equals(table[PUBLISHED])
    assert not (changed[NUMBERS] > 900.0).any(axis=None)


def test_retrieval_is_that_of_the_evaluation(table: pandas.DataFrame, folder: Path) -> None:
    """By `paper_repro.evaluate`, whose scores are computed from frames."""
    rows = read(str(folder))
    for world, number in (("maze", 1), ("blocks", 2)):
        of = table[(table["table"] == number) & (table["row"] == "prepend-4")]
        of = of[of["measured_quantity"] == "success"]
        expected = []
        for one in rows.found[world, "prepend-4"].values():
            hits, lucky = one._successes
            frames = FrameScores(one.arrays["return_age"], one.arrays["return_error"], hits, lucky)
            expected.append(
                [(s.frame_rate, s.chance) for s in by_age(frames, ((0, 4), (4, 12), (12, 28)))]
            )
        means = np.mean(expected, axis=0)
        np.testing.assert_allclose(of[["measured_value", "chance"]].to_numpy(), means, rtol=1e-12)
        assert of["measured_span"].tolist() == ["0–4", "4–12", "12–28"]
        assert (of["chance"] - CHANCE).abs().max() < 0.05
        assert (of["seeds"] == 3).all() and (of["clips"] == 40).all()
        assert (
            of["rule"].iloc[0]
            == {
                "maze": "lab_regions ≤ 8 (Delta E)",
                "blocks": "ssim ≥ 0.4 (SSIM)",
            }[world]
        )
        # within reach of a memory of 4: ages 2 and 4, 6 of the four up to 12, none beyond
        reached = follows_the_paper(world, "prepend-4")["within"]
        assert of["measured_value"].iloc[0] == pytest.approx(reached, abs=0.08)
        assert of["measured_value"].iloc[2] == pytest.approx(CHANCE, abs=0.03)


def test_psnr_is_that_of_the_frames(table: pandas.DataFrame, folder: Path) -> None:
    seeds = read(str(folder)).found["maze", "prepend-12-joint-4"].values()
    error = np.stack([one.arrays["accumulation_error"] for one in seeds]).astype(float)
    psnr = FrameScores(error, error).psnr
    of = table[(table["table"] == 3) & (table["row"] == "prepend-12-joint-4")]
    shown = of[of["measured_quantity"] == "PSNR"].set_index("measured_span")
    for first in (0, 4, 8, 12, 60):
        values = psnr[..., first : first + 4].mean(axis=2)
        row = shown.loc[f"{first}–{first + 4}"]
        assert row["measured_value"] == pytest.approx(values.mean())
        of_clip = values.mean(axis=0)
        maps = [
            part.sum() for part in np.split(of_clip - of_clip.mean(), range(16, len(of_clip), 16))
        ]
        by_map = np.sqrt(len(maps) / (len(maps) - 1) * np.square(maps).sum()) / len(of_clip)
        assert row["clip_error"] == pytest.approx(max(scipy.stats.sem(of_clip), by_map))
        assert row["seed_error"] == pytest.approx(scipy.stats.sem(values.mean(axis=1)))
        assert row["standard_error"] == pytest.approx(
            np.hypot(row["clip_error"], row["seed_error"])
        )
        assert row["low"] < row["measured_value"] < row["high"]
    decay = of[(of["measured_quantity"] == "decay") & (of["measured_span"] == "0–4 to 12–16")]
    expected = psnr[..., :4].mean() - psnr[..., 12:16].mean()
    assert decay["measured_value"].iloc[0] == pytest.approx(expected)
    growth = of[(of["measured_quantity"] == "growth") & (of["measured_span"] == "0–4 to 12–16")]
    expected = error[..., 12:16].mean() - error[..., :4].mean()
    assert growth["measured_value"].iloc[0] == pytest.approx(expected)


def test_table_2_shows_ssim_beside_ssim(table: pandas.DataFrame) -> None:
    of = table[(table["table"] == 2) & (table["row"] == "prepend-4")]
    assert of[of["published_value"].notna()]["measured_unit"].unique().tolist() == ["SSIM"]
    of = table[(table["table"] == 1) & table["published_value"].notna()]
    assert of["measured_unit"].unique().tolist() == ["share"]


def test_one_training_seed_is_over_clips_only_and_says_so(table: pandas.DataFrame) -> None:
    of = table[(table["row"] == "none") & (table["note"] == "")]
    assert (of["over"] == "clips only").all() and (of["seeds"] == 1).all()
    assert of["seed_error"].isna().all() and of["standard_error"].notna().all()
    lines = [line for line in text_of(table).splitlines() if line.strip().startswith("none")]
    assert lines and all("] *" in line and " 1 " in line for line in lines)
    assert "over clips only (one seed)" in text_of(table)


def test_every_measured_number_is_printed_with_n_seeds_and_interval(
    table: pandas.DataFrame,
) -> None:
    for row in table[table["note"] == ""].to_dict("records"):
        cells = dict(zip(paper_tables._COLUMNS[1:], paper_tables.cells(row), strict=True))
        assert cells["clips"] == "40" and cells["seeds"] in ("1", "3")
        assert cells["95 % interval"].startswith("[") and cells["± s.e."]
        assert cells["measured"] not in ("", "–")


def test_three_seeds_have_students_interval_over_seeds() -> None:
    """Where seeds differ much more than clips."""
    shift = np.array([[-1.0], [0.2], [1.1]])
    mean = mean_over(shift + 1e-3 * np.random.default_rng(1).normal(size=(3, 50)))
    low, high = (float(end) for end in mean.interval())
    reach = scipy.stats.t.isf(0.025, 2) * scipy.stats.sem(shift[:, 0])
    assert high - low == pytest.approx(2.0 * reach, rel=1e-3)


# Retrieval against decay


def test_what_nothing_beats_is_not_dominated() -> None:
    generator = np.random.default_rng(2)
    gain, cost = generator.random((2, 20)).round(1)
    expected = [
        not any(
            (g >= gain[i] and c <= cost[i]) and (g > gain[i] or c < cost[i])
            for g, c in zip(gain, cost, strict=True)
        )
        for i in range(20)
    ]
    assert not_dominated(gain, cost).tolist() == expected and not all(expected)


def test_a_hypervolume_is_the_share_of_points_that_are_dominated() -> None:
    generator = np.random.default_rng(3)
    gain, cost = generator.random(6), 4.0 * generator.random(6)
    x, y = 3.0 * generator.random(200_000), generator.random(200_000)
    inside = ((gain[:, None] >= y) & (cost[:, None] <= x)).any(axis=0).mean() * 3.0
    # from the smallest cost, which may lie left of 0 elsewhere
    assert hypervolume(gain, cost, 3.0) == pytest.approx(inside, abs=0.02)
    assert hypervolume(gain, cost + 5.0, 3.0) == 0.0


def test_points_have_two_intervals_and_a_front(folder: Path) -> None:
    chosen = {**config(folder, retrieval_against_decay), "draws": 300}
    whole = retrieval_against_decay.compute(chosen)
    rows = whole[(whole["world"] == "maze") & (whole["family"] == "joint, by budget")]
    assert rows["row"].tolist() == JOINT and (rows["seeds"] == 3).all()
    for name in ("retrieval", "psnr_decay_db", "mse_growth", "psnr_first_db", "psnr_last_db"):
        assert (rows[f"{name}_low"] < rows[name]).all() and (
            rows[name] < rows[f"{name}_high"]
        ).all()
    # more retrieval and more decay with the budget: a front of all, and a correlation near 1
    assert rows["on_front"].all() and (rows["front_share"] > 0.7).all()
    assert rows["correlation"].iloc[0] > 0.8
    assert rows["hypervolume_low"].iloc[0] < rows["hypervolume"].iloc[0]
    assert rows["bootstrap"].iloc[0] == "300 draws of seeds and clips"
    alone = whole[whole["row"] == "none"]
    assert (alone["bootstrap"] == "300 draws of clips only").all()
    assert alone["correlation"].isna().all()


def test_a_dominated_network_is_found_out(tmp_path: Path) -> None:
    def effect(world: str, row: str) -> dict[str, float]:
        out = follows_the_paper(world, row)
        return out | {"within": 0.3, "decay": 9.0} if row == "prepend-12-joint-8" else out

    write(tmp_path, JOINT, seeds=range(3), worlds=["maze"], effect=effect)
    chosen = {**config(tmp_path, retrieval_against_decay), "draws": 200}
    rows = retrieval_against_decay.compute(chosen).set_index("row")
    assert not rows.loc["prepend-12-joint-8", "on_front"]
    assert rows.loc["prepend-12-joint-8", "front_share"] < 0.01


@pytest.mark.parametrize("measured", [False, True])
def test_the_figure_keeps_published_and_measured_apart(
    measured: bool, folder: Path, tmp_path: Path
) -> None:
    place = folder if measured else tmp_path / "nowhere"
    chosen = {**config(place, retrieval_against_decay), "draws": 50}
    table = retrieval_against_decay.run(chosen, out=tmp_path)
    published_pareto.run(out=tmp_path)
    figure, data = figure_9.draw(tmp_path)
    assert len(table) == (2 * (len(JOINT) + 2) if measured else 0)
    assert all(name.startswith(("published_", "measured_")) for name in data.columns)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert texts.count("not measured yet") == (0 if measured else 6)
    for line in np.reshape(figure.axes, (2, 4)):  # type: ignore[arg-type]
        assert line[0].get_xlim() == line[1].get_xlim()
        assert len({ax.get_ylim() for ax in line}) == 1
        quoted = {float(x) for one in line[0].lines for x in np.asarray(one.get_xdata())}
        assert quoted <= set(data["published_psnr_decay_db"].dropna())


def test_nothing_of_this_needs_torch(folder: Path, tmp_path: Path) -> None:
    """The report's environment has none."""
    code = f"""
import sys
from pathlib import Path
from analysis.registry import STUDIES
from figures.registry import FIGURES
for name in ("paper_tables", "claims", "published_pareto", "retrieval_against_decay"):
    study = STUDIES[name]
    config = dict(study.config)
    if "results" in config:
        config["results"] = {str(folder)!r}
    if "draws" in config:
        config["draws"] = 20
    study.run(config, out=Path({str(tmp_path)!r}))
FIGURES["retrieval_against_psnr_decay_figure_9"].draw(Path({str(tmp_path)!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)
    assert (tmp_path / "data" / "claims" / "plan.json").is_file()
