"""Examples of retrieval, pairs of frames, Fréchet distances by span: what the figures must show."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import matplotlib.colors
import matplotlib.image
import numpy as np
import pandas
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from analysis import frame_pairs, frechet_by_span, retrieval_examples
from analysis.frechet_by_span import jackknifed
from analysis.inference import mean_over
from analysis.measured_rows import read
from analysis.retrieval_examples import TRUTH, strip_file
from analysis.study import Outcome, file_of
from arvdm_theory.empirical import frame_scores
from arvdm_theory.errors import ParameterError, RefusedError
from figures import frame_pairs_by_ssim_figure_13 as figure_13
from figures import frechet_by_span_figure_1 as figure_1
from figures import retrieval_examples_figures_6_to_11 as examples
from figures import style
from paper_repro.experiments import experiment
from paper_repro.plan import WORLDS
from paper_repro.queue import ACCUMULATION, FRECHET, frechet
from tests.synthetic_rows import AGES, FLOOR, follows_the_paper, write

LENGTHS = ["none", "prepend-4", "prepend-12", "prepend-28"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of four rows on the maze, one seed of two on blocks."""
    place = tmp_path_factory.mktemp("rows")
    write(place, LENGTHS, seeds=range(3), worlds=["maze"])
    write(place, LENGTHS[:2], seeds=[0], worlds=["blocks"])
    return place


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studies of these rows."""
    place = tmp_path_factory.mktemp("out")
    for study in (frechet_by_span, retrieval_examples):
        study.run({**study.CONFIG, "results": str(folder)}, out=place)
    return place


Drawn = tuple[Figure, pandas.DataFrame]


@pytest.fixture(scope="module")
def memories(out: Path) -> Drawn:
    """The first of the figures of examples: the maze, memory lengths, all rows there."""
    return examples.FIGURES[0].draw(out)


def rows_of(table: pandas.DataFrame, **chosen: Any) -> pandas.DataFrame:
    keep = np.ones(len(table), dtype=bool)
    for column, value in chosen.items():
        keep &= (table[column] == value).to_numpy()
    return table[keep]


# --- the jackknife --------------------------------------------------------------------------------


def left_out(groups: np.ndarray) -> np.ndarray:
    """Replicates of the mean of groups `(..., groups)`."""
    total = groups.sum(axis=-1, keepdims=True)
    mean = groups.mean(axis=-1, keepdims=True)
    return np.concatenate([mean, (total - groups) / (groups.shape[-1] - 1)], axis=-1)


VALUES = st.floats(-1e3, 1e3, width=32)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 20)), elements=VALUES))
def test_the_jackknife_of_a_mean_is_the_usual_variance(groups: np.ndarray) -> None:
    """As `mean_over` of the groups, whose seeds and clips are crossed alike."""
    made, expected = jackknifed(left_out(groups)), mean_over(groups)
    tolerance = {"rtol": 1e-9, "atol": 1e-9 * (1.0 + np.abs(groups).max()) ** 2}
    for name in ("value", "seed_variance", "clip_variance"):
        np.testing.assert_allclose(getattr(made, name), getattr(expected, name), **tolerance)
    assert (made.seeds, made.clips, made.over) == (expected.seeds, expected.clips, expected.over)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float64, (2, 3, 6), elements=VALUES), arrays(np.float64, (1, 3, 6), elements=VALUES)
)
def test_what_two_rows_share_does_not_widen_their_difference(
    own: np.ndarray, shared: np.ndarray
) -> None:
    plain = jackknifed(left_out(own[:1]) - left_out(own[1:]))
    paired = jackknifed(left_out(own[:1] + shared) - left_out(own[1:] + shared))
    scale = 1.0 + max(np.abs(own).max(), np.abs(shared).max())
    np.testing.assert_allclose(paired.value, plain.value, atol=1e-9 * scale)
    np.testing.assert_allclose(paired.clip_error, plain.clip_error, atol=1e-6 * scale)


def test_the_jackknife_of_frechet_distances_knows_their_spread() -> None:
    """Against independent draws: the mean estimated variance over the variance of the values."""
    generator = np.random.default_rng(3)
    real = generator.normal(size=(4000, 4, 2))
    draws = 80
    values, variances = [], []
    for _ in range(draws):
        made = 1.3 * generator.normal(size=(200, 4, 2)) + 0.2
        mean = jackknifed(frechet(made, real, [(0, 4)])[None])
        values.append(mean.value.item())
        variances.append(mean.clip_variance.item())
    spread = np.var(values, ddof=1)
    low, high = scipy.stats.chi2.ppf([0.0005, 0.9995], draws - 1) / (draws - 1)
    ratio = np.mean(variances) / spread
    assert 1.0 / high < ratio < 1.0 / low
    assert not 1.0 / high < 20.0 * ratio < 1.0 / low  # a sum without the factor would be noticed


def test_replicates_without_groups_are_refused() -> None:
    with pytest.raises(ParameterError, match="replicates must be"):
        jackknifed([[1.0, 2.0]])


# --- Fréchet distances by span --------------------------------------------------------------------


@pytest.fixture(scope="module")
def distances(folder: Path) -> pandas.DataFrame:
    return frechet_by_span.compute({**frechet_by_span.CONFIG, "results": str(folder)})


def test_every_row_world_kind_and_span_is_there_once(distances: pandas.DataFrame) -> None:
    spans = {kind: [tuple(span) for span in FRECHET[kind]] for kind in ("return", "accumulation")}
    networks = [("maze", row) for row in LENGTHS] + [("blocks", row) for row in LENGTHS[:2]]
    assert len(distances) == len(networks) * sum(map(len, spans.values()))
    for world, row in networks:
        for kind, expected in spans.items():
            rows = rows_of(distances, world=world, row=row, kind=kind)
            assert list(zip(rows["first"], rows["end"], strict=True)) == expected
    assert list(dict.fromkeys(distances["world"])) == ["maze", "blocks"]


def test_distances_are_those_that_were_put_in(distances: pandas.DataFrame) -> None:
    drift = follows_the_paper("maze", "none")["drift"]
    truth = FLOOR + 1.0 + drift * distances["first"]
    inside = (distances["distance_low"] < truth) & (truth < distances["distance_high"])
    assert inside.all()
    # excess: 0.3 - 0.1 of the same odd clips on both sides
    odd = np.random.default_rng([5, *b"maze"]).normal(size=13)
    some = rows_of(distances, world="maze", row="none", kind="accumulation").iloc[0]
    np.testing.assert_allclose(some["excess"], 1.0 + 0.2 * odd.mean(), atol=0.05)
    np.testing.assert_allclose(some["floor"], FLOOR + 0.1 * odd.mean(), rtol=1e-12)
    reach = scipy.stats.t.ppf(0.975, 12) * 0.1 * odd.std(ddof=1) / np.sqrt(13.0)
    np.testing.assert_allclose(some["floor_high"] - some["floor"], reach, rtol=1e-9)


def test_a_difference_between_rows_is_paired_by_clip(distances: pandas.DataFrame) -> None:
    """All clips are as odd for one row as for another: what is left is between seeds."""
    rows = distances[distances["row"] != "none"]
    several = rows_of(rows, world="maze")
    assert (several["change_low"] < 0.0).all() and (several["change_high"] > 0.0).all()
    one_seed = rows_of(rows, world="blocks")
    width = one_seed["change_high"] - one_seed["change_low"]
    np.testing.assert_allclose(width, 0.0, atol=1e-12)
    assert (one_seed["distance_high"] - one_seed["distance_low"] > 0.1).all()
    assert (one_seed["over"] == "clips only").all()
    assert (several["over"] == "seeds and clips").all()
    assert distances.loc[distances["row"] == "none", "change"].isna().all()


def test_a_row_that_drifts_more_is_seen(tmp_path: Path) -> None:
    def drifts(world: str, row: str) -> dict[str, float]:
        return follows_the_paper(world, row) | {"drift": 0.1 if row == "prepend-12" else 0.05}

    write(tmp_path, ["none", "prepend-12"], seeds=range(3), worlds=["maze"], effect=drifts)
    table = frechet_by_span.compute({**frechet_by_span.CONFIG, "results": str(tmp_path)})
    last = rows_of(table, row="prepend-12", kind="accumulation").iloc[-1]
    assert last["change_low"] < 0.05 * last["first"] < last["change_high"]
    assert last["change_low"] > 0.0


def test_retrieval_is_of_the_same_frames(distances: pandas.DataFrame, folder: Path) -> None:
    rows = read(str(folder))
    for world, row in (("maze", "prepend-12"), ("blocks", "prepend-4")):
        seeds = rows.found[world, row]
        table = rows_of(distances, world=world, row=row, kind="return")
        for one in table.to_dict("records"):
            span = slice(one["first"], one["end"])
            expected = np.mean([seeds[seed].retrieved[:, span].mean() for seed in seeds])
            assert one["retrieval"] == pytest.approx(expected, abs=1e-12)
            assert [one["youngest"], one["oldest"]] == [AGES[span].min(), AGES[span].max()]
            assert one["retrieval_low"] < one["retrieval"] < one["retrieval_high"]
    assert rows_of(distances, kind="accumulation")["retrieval"].isna().all()


def test_views_of_several_spans_are_refused() -> None:
    age = np.tile(np.array([2, 4, 4, 6]), (3, 1))
    with pytest.raises(RefusedError, match="as old as views of others"):
        frechet_by_span._ages(age, (0, 2))
    assert frechet_by_span._ages(age, (0, 3)) == (2, 4)


def rewritten(place: Path, name: str, **changes: Any) -> None:
    """The manifest of a result with other entries."""
    path = place / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_different_spans_are_not_one_row(tmp_path: Path) -> None:
    write(tmp_path, ["none"], seeds=[0, 1], worlds=["maze"])
    other = {**FRECHET, "return": [[0, 2], [4, 8], [8, 12], [12, 16]]}
    rewritten(tmp_path, "maze-none-seed-1", frechet=other)
    with pytest.raises(RefusedError, match="different spans"):
        frechet_by_span.compute({**frechet_by_span.CONFIG, "results": str(tmp_path)})


def test_rows_without_distances_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.synthetic_rows._frechet", lambda *a: {})
    write(tmp_path, ["none"], worlds=["maze"])
    config = {**frechet_by_span.CONFIG, "results": str(tmp_path)}
    table = frechet_by_span.compute(config)
    assert table.empty and "distance" in table.columns
    frechet_by_span.run(config, out=tmp_path / "out")
    figure, data = figure_1.draw(tmp_path / "out")
    assert data.empty
    shown = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert shown == ["not measured yet"] * 6


def curves(ax: Axes) -> dict[str, ErrorbarContainer]:
    return {bars.get_label(): bars for bars in ax.containers}  # type: ignore[misc]


def test_lines_of_figure_1_are_the_table(out: Path, distances: pandas.DataFrame) -> None:
    figure, data = figure_1.draw(out)
    assert len(figure.axes) == 6
    for world, line in zip(("maze", "blocks"), np.reshape(figure.axes, (2, 3)), strict=True):
        for ax, (kind, number, label) in zip(line, figure_1.PANELS, strict=True):
            assert ax.get_title(loc="left").startswith(world) and ax.get_ylabel() == label
            table = rows_of(distances, world=world, kind=kind)
            drawn = curves(ax)
            assert list(drawn) == [figure_1.LABELS[row] for row in dict.fromkeys(table["row"])]
            for row in dict.fromkeys(table["row"]):
                here = rows_of(table, row=row)
                bars = drawn[figure_1.LABELS[row]]
                np.testing.assert_array_equal(bars.lines[0].get_ydata(), here[number])
                ends = np.array([path.vertices[:, 1] for path in bars.lines[2][0].get_paths()])
                np.testing.assert_allclose(ends[:, 0], here[f"{number}_low"], rtol=1e-12)
                np.testing.assert_allclose(ends[:, 1], here[f"{number}_high"], rtol=1e-12)
                hollow = bars.lines[0].get_markerfacecolor() == "none"
                assert hollow == (world == "blocks")  # one seed
            floors = [one for one in ax.lines if one.get_label() == "true frames"]
            assert len(floors) == (number == "distance")
            for floor in floors:
                expected = rows_of(table, row="none")["floor"]
                np.testing.assert_array_equal(floor.get_ydata(), expected)
    assert len(data) == len(distances)
    [legend] = figure.legends
    said = legend.get_title().get_text().replace("\n", " ")
    assert said == (
        "Not measured yet: maze: channel concat 12, cross attention 28; "
        "blocks: prepend 12, prepend 28, channel concat 12, cross attention 28."
    )


def test_the_caption_of_figure_1_is_what_was_measured() -> None:
    text = figure_1.CAPTION
    assert f"first {FRECHET['components']} principal components" in text
    clips = experiment("maze-none").evaluation.clips
    assert f"{clips} generated clips against {FRECHET['real_clips']} real ones" in text
    assert f"jackknife of {-(-clips // FRECHET['clips_a_group'])} maps" in text
    assert all(b - a == 4 for kind in ("return", "accumulation") for a, b in FRECHET[kind])
    assert f"no view is older than {2 * (ACCUMULATION['context'] - 1)} frames" in text
    assert "not FVD" in text


# --- examples of retrieval ------------------------------------------------------------------------


def pictures_of(ax: Axes) -> dict[tuple[int, int], np.ndarray]:
    """Line and column → frame, in bytes."""
    found = {}
    for image in ax.images:
        assert isinstance(image, AxesImage)
        left, _, _, top = image.get_extent()
        at = (round((top - 0.04) / examples.LINE), round(left - 0.04))
        found[at] = np.rint(np.asarray(image.get_array()) * 255.0).astype(np.uint8)
    return found


def outlines(ax: Axes) -> dict[tuple[int, int], Rectangle]:
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    places = [(round(box.get_y() / examples.LINE), round(box.get_x() - 0.04)) for box in boxes]
    assert len(set(places)) == len(boxes)
    return dict(zip(places, boxes, strict=True))


def test_examples_show_the_frames_that_were_shipped(memories: Drawn, folder: Path) -> None:
    figure, data = memories
    assert len(figure.axes) == 2
    stored = {
        row: np.load(folder / f"maze-{row}-seed-0.npz")["pictures_generated"] for row in LENGTHS
    }
    truth = np.load(folder / "maze-none-seed-0.npz")["pictures_truth"]
    assert not np.array_equal(truth, stored["none"])
    for clip, ax in enumerate(figure.axes):
        shown = pictures_of(ax)
        lines = [truth, *stored.values()]
        assert set(shown) == {(line, frame) for line in range(5) for frame in range(16)}
        for (line, frame), picture in shown.items():
            np.testing.assert_array_equal(picture, lines[line][clip, frame])
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert [label.partition("\n")[0] for label in labels] == [
            "truth, given before",
            *examples.MEMORIES.values(),
        ]
        assert [label.get_text() for label in ax.get_xticklabels()] == [str(age) for age in AGES]
    assert set(data["clip"]) == {0, 1} and set(data["seed"]) == {0}


def test_outlines_and_scores_are_the_verdicts_of_the_rule(memories: Drawn, folder: Path) -> None:
    figure, _ = memories
    blue, red = (matplotlib.colors.to_rgba(colour) for colour in (style.BLUE, style.VERMILION))
    verdicts = set()
    for clip, ax in enumerate(figure.axes):
        boxes = outlines(ax)
        texts = {
            (round((y - 1.15) / examples.LINE), round(x - 0.5)): text.get_text()
            for text in ax.texts
            for x, y in [text.get_position()]
        }
        assert len(boxes) == len(texts) == 16 * len(LENGTHS)
        for line, row in enumerate(LENGTHS, start=1):
            scores = np.load(folder / f"maze-{row}-seed-0.npz")["return_score"][clip]
            for frame, score in enumerate(scores):
                assert texts[line, frame] == f"{score:.1f}"
                expected = blue if score <= 8.0 else red  # the rule of the maze
                assert boxes[line, frame].get_edgecolor() == expected
                verdicts.add(bool(score <= 8.0))
    assert verdicts == {True, False}


def test_the_share_beside_a_line_is_that_of_all_clips(memories: Drawn, folder: Path) -> None:
    figure, data = memories
    rows = read(str(folder))
    for row, label in examples.MEMORIES.items():
        hits = rows.found["maze", row][0].retrieved
        one = rows_of(data, row=row).iloc[0]
        assert one["share"] == pytest.approx(hits.mean(), abs=1e-12)
        assert one["clips"] == len(hits)
        written = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        reach = one["share_high"] - one["share"]
        assert f"{label}\n{hits.mean():.2f} ± {reach:.2f}" in written


@pytest.mark.parametrize("row", ["none", "prepend-4", "prepend-12-joint-2", "prepend-28"])
def test_what_is_in_the_memory_is_counted_frame_by_frame(row: str, tmp_path: Path) -> None:
    write(tmp_path, [row], worlds=["maze"])
    table = retrieval_examples.compute({**retrieval_examples.CONFIG, "results": str(tmp_path)})
    network = experiment(f"maze-{row}").network
    given = experiment(f"maze-{row}").evaluation.context
    for one in table.table.to_dict("records"):
        now = given + one["frame"]
        window = now - one["frame"] % network.window  # its first frame
        seen = {*range(window - network.memory, window), *range(window, now)}
        assert one["in_memory"] == (now - one["age"] in seen)


def test_bars_end_where_the_memory_does(memories: Drawn) -> None:
    figure, data = memories
    for clip, ax in enumerate(figure.axes):
        bars = {
            (round((float(y[0]) - 0.99) / examples.LINE), int(x[0]))
            for line in ax.lines
            for x, y in [np.asarray(line.get_data())]
        }
        reached = data[(data["clip"] == clip) & data["in_memory"]]
        assert bars == {
            (1 + LENGTHS.index(one["row"]), one["frame"]) for one in reached.to_dict("records")
        }
        assert bars


def test_missing_rows_are_named_and_leave_no_gap(out: Path, memories: Drawn) -> None:
    figure, data = examples.FIGURES[3].draw(out)  # blocks: two of four rows
    assert set(data["row"]) == {"none", "prepend-4"}
    assert {line for line, _ in pictures_of(figure.axes[0])} == {0, 1, 2}
    [text] = [text.get_text() for text in figure.texts]
    assert text == "Not trained yet: prepend 12; prepend 28."
    assert not memories[0].texts
    assert figure.get_size_inches()[1] < memories[0].get_size_inches()[1]


def test_without_any_row_the_figure_says_so(tmp_path: Path) -> None:
    config = {**retrieval_examples.CONFIG, "results": str(tmp_path / "nowhere")}
    retrieval_examples.run(config, out=tmp_path)
    described = examples.FIGURES[-1]
    figure, data = described.draw(tmp_path)
    assert data.empty
    [text] = [text.get_text() for text in figure.texts]
    assert all(label in text for label in described.rows.values())


def test_a_figure_too_narrow_for_its_frames_is_refused(out: Path) -> None:
    for draw, why in ((examples.FIGURES[0].draw, "16 frames"), (figure_1.draw, "3 panels")):
        refused = pytest.raises(ParameterError, match=f"{why} stand side by side")
        with style.venue("icml", 1), refused:
            draw(out)


def test_numbers_of_the_paper_are_each_mirrored_once() -> None:
    assert [described.number for described in examples.FIGURES] == [6, 7, 8, 10, 11]
    for described in examples.FIGURES:
        assert described.NAME.endswith(f"_figure_{described.number}")
        assert f"Mirrors Figure {described.number} " in described.CAPTION
        assert ("DMLab" in described.CAPTION) == (described.world == "maze")
        given = experiment(f"{described.world}-none").evaluation
        assert f"after {given.context} given frames" in " ".join(described.CAPTION.split())
        assert f"of the {given.clips}," in described.CAPTION
        with pytest.raises(dataclasses.FrozenInstanceError):
            described.number = 0  # type: ignore[misc]


def test_too_few_pictured_clips_are_refused(folder: Path) -> None:
    config = {**retrieval_examples.CONFIG, "results": str(folder), "clips": [0, 2]}
    with pytest.raises(RefusedError, match="2 pictured clips"):
        retrieval_examples.compute(config)


def test_shipped_pictures_score_what_was_measured() -> None:
    """The frames that are shown, scored anew by the rule of their world, from their bytes alone.

    Bytes move every channel by half a level at most: scores by .0005 (SSIM) and .02 (ΔE) so far.
    """
    found = read().found
    for (world, row), networks in found.items():
        if 0 not in networks or 0 not in found.get((world, "none"), {}):
            continue
        with np.load(networks[0].path) as arrays, np.load(found[world, "none"][0].path) as none:
            if "pictures_generated" not in arrays:
                continue
            truth, made = none["pictures_truth"], arrays["pictures_generated"]
        expected = networks[0].arrays["return_score"][: len(made)]
        rule, _ = networks[0].rule
        allowed = {"ssim": 0.002, "lab_regions": 0.05}[rule]
        scores = frame_scores(truth, made, rule=rule)
        np.testing.assert_allclose(scores, expected, atol=allowed, err_msg=f"{world} {row}")
        assert np.abs(frame_scores(truth, made[::-1], rule=rule) - expected).max() > allowed


# --- pairs of frames ------------------------------------------------------------------------------

SMALL_PAIRS = {
    **frame_pairs.CONFIG,
    "clips": 3,
    "clips_a_map": 1,
    "frames": [0, 6],
    "steps": [1, 4],
}


@pytest.fixture(scope="module")
def pairs() -> Outcome:
    return frame_pairs.compute(SMALL_PAIRS)


@pytest.mark.parametrize("world", WORLDS)
def test_pairs_are_judged_by_the_rule_of_the_tables(world: str) -> None:
    chosen, entry = experiment(f"{world}-none"), frame_pairs.CONFIG["worlds"][world]
    assert (entry["rule"], entry["threshold"]) == (
        chosen.evaluation.rule,
        chosen.evaluation.threshold,
    )
    assert entry["world"] == chosen.world
    assert frame_pairs.CONFIG["context"] == chosen.evaluation.context
    seeds = {chosen.data.seed, chosen.evaluation.seed, ACCUMULATION["seed"], FRECHET["real_seed"]}
    assert frame_pairs.CONFIG["seed"] not in seeds


def test_every_kind_of_pair_is_there(pairs: Outcome) -> None:
    table = pairs.table
    count = table.groupby(["world", "kind"]).size()
    assert set(count) == {len(SMALL_PAIRS["frames"]) * SMALL_PAIRS["clips"]}
    assert len(count) == len(WORLDS) * (4 + 2 + 1)
    blurred = table["group"] == frame_pairs.GROUPS[0]
    assert (table["blur"].notna() == blurred).all()
    other = table[table["kind"] == "another clip"]
    assert (other["clip"] != other["other_clip"]).all()
    on = table[table["kind"] == "4 steps on"]
    assert (on["other_frame"] == on["frame"] + 4).all() and (on["clip"] == on["other_clip"]).all()


def test_scores_of_the_examples_are_those_of_their_pictures(pairs: Outcome) -> None:
    """Of the shipped picture, by scikit-image, in another way where there is one."""
    for world in WORLDS:
        sheet = matplotlib.image.imread(io.BytesIO(pairs.files[frame_pairs.pairs_file(world)]))
        frames = np.rint(sheet[..., :3] * 255.0).astype(np.uint8)
        table = rows_of(pairs.table, world=world)
        shown = table[table["example"] != ""].sort_values("example")
        size = frames.shape[0] // 2
        assert frames.shape == (2 * size, size * len(shown), 3)
        for place, one in enumerate(shown.to_dict("records")):
            cut = frames[:, size * place : size * (place + 1)]
            first, second = cut[:size], cut[size:]
            ssim = structural_similarity(first, second, win_size=7, channel_axis=-1)
            assert one["ssim"] == pytest.approx(ssim, abs=1e-9)
            assert one["psnr_db"] == pytest.approx(peak_signal_noise_ratio(first, second))
            index = SMALL_PAIRS["edges"].index(one["bin"])
            assert one["bin"] <= one["ssim"] <= SMALL_PAIRS["edges"][index + 1]
            by = {"ssim": one["ssim"] >= 0.4, "lab_regions": one["delta_e"] <= 8.0}
            assert one["accepted"] == by[one["rule"]]


def test_examples_are_nearest_to_the_middle_of_their_bin(pairs: Outcome) -> None:
    edges = np.asarray(SMALL_PAIRS["edges"])
    for _, rows in pairs.table.groupby(["world", "group", "bin"]):
        place = int(np.flatnonzero(edges == rows["bin"].iloc[0])[0])
        away = np.abs(rows["ssim"] - 0.5 * (edges[place] + edges[place + 1]))
        assert (rows["example"] != "").sum() == 1
        assert rows.loc[rows["example"] != "", "ssim"].index[0] == away.idxmin()


def test_shares_are_means_over_clips(pairs: Outcome) -> None:
    for _, rows in pairs.table.groupby(["world", "kind"]):
        assert rows["share"].iloc[0] == pytest.approx(rows["accepted"].mean())
        assert (rows["share_low"] >= 0.0).all() and (rows["share_high"] <= 1.0).all()
        assert (rows["share_high"] > rows["share_low"]).all()
        assert (rows["clips"] == SMALL_PAIRS["clips"]).all()
    blur = pairs.table.groupby(["world", "kind"])["ssim"].mean()
    for world in WORLDS:
        by_blur = [blur[world, f"blurred by {blur_:g} px"] for blur_ in SMALL_PAIRS["blurs"]]
        assert by_blur == sorted(by_blur, reverse=True)


def test_figure_13_marks_every_example_and_the_threshold(
    pairs: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = dataclasses.replace(frame_pairs.STUDY, compute=lambda config: pairs)
    study.run(SMALL_PAIRS, out=tmp_path)
    figure, data = figure_13.draw(tmp_path)
    pictures, scatters = figure.axes[::2], figure.axes[1::2]
    blue = matplotlib.colors.to_rgba(style.BLUE)
    for world, ax, scatter in zip(WORLDS, pictures, scatters, strict=True):
        rows = rows_of(data, world=world)
        shown = rows[rows["example"].notna()]
        boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        assert len(boxes) == len(ax.images) == len(shown)
        assert sum(box.get_edgecolor() == blue for box in boxes) == shown["accepted"].sum()
        written = [text.get_text() for text in ax.texts]
        for one in shown.to_dict("records"):
            numbers = f"{one['ssim']:z.2f}\n{one['psnr_db']:.1f}\n{one['delta_e']:.1f}"
            assert numbers.replace("-", "−") in written
        points = [line for line in scatter.lines if line.get_label()[0] != "_"]
        assert sum(len(np.asarray(line.get_xdata())) for line in points) == len(rows)
        for line in points:
            kind = str(line.get_label()).partition(":")[0]
            here = rows_of(rows, kind=kind)
            np.testing.assert_array_equal(line.get_xdata(), here["ssim"])
            np.testing.assert_array_equal(line.get_ydata(), here["delta_e"])
            assert f"{here['share'].iloc[0]:.2f} ± " in str(line.get_label())
        [limit] = [line for line in scatter.lines if line.get_label()[0] == "_"]
        at = limit.get_xdata() if world == "blocks" else limit.get_ydata()
        assert set(np.asarray(at)) == {0.4 if world == "blocks" else 8.0}
    with style.venue("icml", 1), pytest.raises(ParameterError, match="11 pairs stand side by side"):
        figure_13.draw(tmp_path)


def test_a_world_that_cannot_be_drawn_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(specification: dict[str, Any]) -> Any:
        raise ImportError("no such extra")

    monkeypatch.setattr(frame_pairs, "world_from_json", missing)
    table = frame_pairs.run(SMALL_PAIRS, out=tmp_path)
    assert table["missing"].tolist() == ["no such extra"] * len(WORLDS)
    _, data = figure_13.draw(tmp_path)
    assert data.empty


@pytest.mark.heavy
def test_thresholds_stand_where_they_are_said_to() -> None:
    """At least 99 % of views blurred by 2 pixels pass, at most 1 % of other clips do."""
    outcome = frame_pairs.compute(
        {**frame_pairs.CONFIG, "clips": 64, "clips_a_map": 16, "seed": 41_000}
    )
    share = outcome.table.groupby(["world", "kind"])["accepted"].mean()
    for world in WORLDS:
        assert share[world, "blurred by 2 px"] >= 0.99
        assert share[world, "another clip"] <= 0.01


def test_strips_are_named_by_world_and_row(out: Path) -> None:
    for row in (TRUTH, *LENGTHS):
        assert file_of(retrieval_examples.STUDY.name, strip_file("maze", row), out=out).is_file()
