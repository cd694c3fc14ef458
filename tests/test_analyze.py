"""`arvdm analyze`: files, numbers on the page, the picture's data, and refusals."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arvdm_theory import analyze as analysis
from arvdm_theory import cli
from arvdm_theory.analyze import AnalysisResult, analyze, named_schedules
from arvdm_theory.decomposition import decompose
from arvdm_theory.errors import ParameterError, TooLittleDataError, UnstableError
from arvdm_theory.fit import load_frames
from arvdm_theory.generator import Generator
from arvdm_theory.memory import window_memory_bottleneck
from arvdm_theory.video import Autoregressive

LN2 = float(np.log(2.0))


def make_clip(path: Path, frames: int = 96) -> Path:
    """Three smooth pictures whose weights are AR(1), float pixels in [0, 1]."""
    weights = Autoregressive([0.9], 0.19, dim=3).sample(1, frames=frames, seed=4)[0]
    y, x = np.mgrid[0:10, 0:12] / 10.0
    pictures = np.stack([np.sin(3 * x), np.cos(4 * y), np.sin(5 * x * y)])[..., None]
    clip = 0.5 + 0.08 * np.einsum("nk,kyxc->nyxc", weights, pictures * [1.0, 0.7, 0.4])
    np.save(path, clip.clip(0.0, 1.0))
    return path


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> AnalysisResult:
    folder = tmp_path_factory.mktemp("analyze")
    clip = make_clip(folder / "a <clip> & more.npy")
    return analyze(clip, folder / "out" / "deep", components=2, replicates=4)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- the page -------------------------------------------------------------------------------------


def test_only_the_three_files_are_written(result: AnalysisResult) -> None:
    names = sorted(path.name for path in result.page.parent.iterdir())
    assert names == ["analysis.html", "memory.csv", "schedules.csv"]
    # readable by others, unlike the temporary file it was
    assert result.page.stat().st_mode & 0o044


def test_page_needs_nothing_but_itself(result: AnalysisResult) -> None:
    page = result.page.read_text("utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert "http:" not in page and "https:" not in page and "url(" not in page
    assert "<script" not in page
    assert str(result.page.parent) not in page  # no machine paths


def test_page_escapes_the_file_name(result: AnalysisResult) -> None:
    page = result.page.read_text("utf-8")
    assert "a &lt;clip&gt; &amp; more.npy" in page and "<clip>" not in page


def test_page_says_the_numbers(result: AnalysisResult) -> None:
    page = re.sub(r"\s+", " ", result.page.read_text("utf-8"))
    best = result.curves[0]
    assert f"The past tells {best.bottleneck.total:.3g} nats" in page
    for curve in result.curves:
        assert f"{curve.bottleneck.total:.3g}" in page
    assert f"{result.gain.total:.3g} ±" in page
    for loss in result.schedules:
        assert f"<td>{loss.total:.3g}</td>" in page
    for title, _ in analysis._cautions(result):
        assert title in page
    diagnostics = result.fit.diagnostics
    assert f"moves by up to {diagnostics.mean_shift:.2g} standard deviations" in page
    assert "8 network calls per finished frame" in page
    assert f"resampled blocks of {best.block} frames" in page
    assert 12 <= best.block <= 48


# --- the tables -----------------------------------------------------------------------------------


def test_memory_table_is_the_calculators_numbers(result: AnalysisResult) -> None:
    table = rows(result.table)
    for curve in result.curves:
        video = {c.family: c.video for c in result.fit.candidates}[curve.family]
        for level in (0.0, result.level):
            mine = [
                row
                for row in table
                if row["source"] == curve.family and float(row["level"]) == level
            ]
            assert [int(row["window_frames"]) for row in mine] == list(range(96 // 8 + 1))
            nats = np.array([float(row["mb_nats"]) for row in mine])
            expected = window_memory_bottleneck(
                video, range(96 // 8 + 1), level=level, horizon=curve.bottleneck.horizon
            )
            np.testing.assert_allclose(nats, expected.values, rtol=1e-7, atol=1e-12)
            assert np.all(np.diff(nats) <= 0.0)
            bits = np.array([float(row["mb_bits"]) for row in mine])
            np.testing.assert_allclose(bits, nats / LN2, rtol=1e-7, atol=1e-12)
            share = np.array([float(row["share_of_total"]) for row in mine])
            np.testing.assert_allclose(share, 1.0 - nats / nats[0], atol=1e-7)
    held_out = [row for row in table if row["source"] == "held_out_prediction"]
    assert [int(row["window_frames"]) for row in held_out] == [0, 1, 2, 3, 4, 6, 8, 12]
    np.testing.assert_allclose(
        [float(row["information_in_window_nats"]) for row in held_out], result.gain.gain, rtol=1e-7
    )


def test_bands_are_percentiles_of_refits(result: AnalysisResult) -> None:
    for curve, candidate in zip(result.curves, result.fit.candidates, strict=True):
        assert curve.family == candidate.family and curve.replicates == 4
        samples = analysis._moving_blocks(result.fit.scores, curve.block, 4, 0)
        values = np.array(
            [
                window_memory_bottleneck(
                    candidate.refit(blocks),
                    curve.window_lengths,
                    horizon=curve.bottleneck.horizon,
                ).values
                for blocks in samples
            ]
        )
        assert curve.lower is not None and curve.upper is not None
        np.testing.assert_allclose(curve.lower, np.percentile(values, 5, axis=0), rtol=1e-12)
        np.testing.assert_allclose(curve.upper, np.percentile(values, 95, axis=0), rtol=1e-12)
        assert np.all(curve.upper >= curve.lower)


def test_blocks_are_contiguous_pieces_of_the_clip() -> None:
    series = np.arange(200.0)[:, None] ** 2
    for blocks in analysis._moving_blocks(series, 25, 5, seed=1):
        assert sum(len(block) for block in blocks) == 200
        for block in blocks:
            assert len(block) == 25
            # second differences of k² are 2 wherever time runs on, and nowhere else
            np.testing.assert_allclose(np.diff(block[:, 0], 2), 2.0)
        assert np.concatenate(blocks).mean() == pytest.approx(0.0, abs=1e-9)
    first, again = (analysis._moving_blocks(series, 25, 2, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first[1][3], again[1][3])


def test_schedule_table_is_theorem_a_at_equal_cost(result: AnalysisResult) -> None:
    table = rows(result.schedule_table)
    assert len(table) == 6 * 3
    assert {float(row["frame_evaluations_per_frame"]) for row in table} == {128.0}
    assert {float(row["network_calls_per_frame"]) for row in table} == {8.0}
    for row in table:
        parts = sum(float(row[f"{name}_nats_per_frame"]) for name in ("nie", "de", "mb"))
        assert float(row["chain_nats_per_frame"]) == pytest.approx(parts, rel=1e-6)
        assert float(row["output_nats_per_frame"]) <= parts * (1.0 + 1e-6)
    schedule, reference = named_schedules(t_max=3.0, t_min=0.005)["staircase"]
    video = result.fit.candidates[1].video
    exact = decompose(video, schedule, Generator(reference=reference), steps=12)
    row = next(
        row
        for row in table
        if row["schedule"] == "staircase" and row["law"] == result.fit.candidates[1].family
    )
    assert exact.de_per_step is not None
    assert float(row["mb_nats_per_frame"]) == pytest.approx(exact.mb_per_step[-1] / 4, rel=1e-6)
    assert float(row["de_nats_per_frame"]) == pytest.approx(exact.de_per_step[-1] / 4, rel=1e-6)


def test_the_same_seed_writes_the_same_tables(result: AnalysisResult, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.npy")
    again = analyze(clip, tmp_path / "out", components=2, replicates=4)
    assert again.table.read_text() == result.table.read_text()
    assert again.schedule_table.read_text() == result.schedule_table.read_text()
    other = analyze(clip, tmp_path / "out", components=2, replicates=4, seed=1)
    assert other.table.read_text() != result.table.read_text()


# --- pictures -------------------------------------------------------------------------------------


def test_memory_picture_shows_the_curves(result: AnalysisResult) -> None:
    figure = analysis._memory_figure(result)
    left, right = figure.axes[0], figure.axes[1]
    bits = figure.axes[2]
    assert bits.get_ylabel() == "bits per frame"
    np.testing.assert_allclose(bits.get_ylim(), np.array(left.get_ylim()) / LN2, rtol=1e-12)
    # equal heights mean equal information, on the square-root axis too
    assert bits.get_yscale() == left.get_yscale() == "function"
    heights = [
        axis.transData.transform((0.0, value))[1]
        for axis, value in ((left, 0.5), (bits, 0.5 / LN2))
    ]
    assert heights[0] == pytest.approx(heights[1], rel=1e-9)
    drawn = [line for line in left.lines if line.get_marker() == "o"]
    assert len(drawn) == len(result.curves)
    for line, curve in zip(drawn, result.curves, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), curve.window_lengths)
        np.testing.assert_array_equal(line.get_ydata(), curve.bottleneck.values)
        assert line.get_color() == analysis.COLOURS[curve.family]
    shares = [line for line in right.lines if line.get_marker() == "o"]
    for line, curve in zip(shares, result.curves, strict=True):
        data = np.asarray(line.get_ydata())
        shown = np.isfinite(data)
        expected = curve.bottleneck.values / curve.bottleneck.total
        np.testing.assert_allclose(data[shown], expected[shown], rtol=1e-12)
        assert np.all(expected[~shown] < 1e-3)
    assert "nats per frame" in left.get_ylabel() and "frames" in left.get_xlabel()


def test_schedule_picture_stacks_to_the_total(result: AnalysisResult) -> None:
    losses = [loss for loss in result.schedules if loss.family == result.curves[0].family]
    axis = analysis._schedule_figure(losses).axes[0]
    widths: dict[float, float] = {}
    for bar in axis.patches:
        row = bar.get_y() + bar.get_height() / 2
        widths[row] = widths.get(row, 0.0) + bar.get_width()
    names = [label.get_text().split("\n")[0] for label in axis.get_yticklabels()]
    totals = {loss.name: loss.total for loss in losses}
    assert [widths[row] for row in sorted(widths)] == pytest.approx([totals[n] for n in names])
    assert list(widths.values()) != sorted(totals.values())  # worst first from below
    outputs = {loss.name: loss.output for loss in losses}
    np.testing.assert_allclose(axis.lines[0].get_xdata(), [outputs[name] for name in names])


def test_every_picture_draws_for_one_grey_component() -> None:
    series = Autoregressive([0.8], 0.36).sample(1, frames=40, seed=0)[0]
    clip = (0.5 + 0.05 * series)[:, :, None, None] * np.linspace(0.5, 1.0, 12).reshape(1, 3, 4, 1)
    fit = analysis.fit_video(clip, components=1)
    for figure in (
        analysis._contact_sheet(clip),
        analysis._component_figure(fit),
        analysis._surprise_figure(fit),
    ):
        assert analysis._png(figure).startswith("data:image/png;base64,iVBOR")


# --- returns --------------------------------------------------------------------------------------


def test_returns_are_counted() -> None:
    """Out and back along a path of unlike frames: the way back has all been seen before."""
    there = np.random.default_rng(0).uniform(size=(60, 4, 4, 1))
    back = np.concatenate([there, there[-2::-1]])
    share = analysis._returns(back, 8)
    # asked: frames 10..118; those from 59 + 5 on equal one seen more than 8 frames before
    asked = np.arange(10, 119)
    certain = np.mean(asked >= 64)
    new = np.random.default_rng(1).uniform(size=(200, 4, 4, 1)).cumsum(axis=0)
    assert share is not None and share >= certain
    assert analysis._returns(new, 8) == 0.0  # always moving on: never closer to the old
    assert analysis._returns(there[:18], 8) is None
    # every second frame alike, but the scene moves on every 10 frames: recent is no return
    k = np.arange(200.0)[:, None, None, None]
    swing = np.broadcast_to(100.0 * (k // 10) + k % 2, (200, 4, 4, 1))
    assert analysis._returns(swing, 12) == 0.0
    assert analysis._returns(swing, 4) == pytest.approx(0.5, abs=0.1)


# --- refusals -------------------------------------------------------------------------------------


def test_a_clip_of_twenty_frames_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(tmp_path / "short.npy", frames=20)
    with pytest.raises(TooLittleDataError, match="at least 24 different frames, got 20 of them"):
        analyze(clip, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert cli.main(["analyze", str(clip), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ("arvdm: frames must be at least 24 different frames, got 20 of them\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop", "0:99,0:4"], "crop (x) must be a:b with 0 <= a < b <= 12, got 0:99"),
        (["--frames", "90:400"], "frames must be a:b with 0 <= a < b <= 96, got 90:400"),
        (["--every", "0"], "every must be an integer of at least 1, got 0"),
        (["--components", "9"], "at least 120 different frames for 9 component(s)"),
    ],
)
def test_bad_options_leave_one_line_and_no_files(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(tmp_path / "clip.npy")
    arguments = ["analyze", str(clip), "--out", str(tmp_path / "out"), *options]
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_a_failed_write_leaves_the_old_file_and_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, new = tmp_path / "memory.csv", tmp_path / "analysis.html"
    path.write_text("old")
    real, calls = analysis.os.replace, []

    def broken(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("disk full")
        real(*arguments)

    monkeypatch.setattr(analysis.os, "replace", broken)
    with pytest.raises(ParameterError, match=r"^out must be a folder that .* \(disk full\)"):
        analysis._write({new: "page", path: "new"})
    assert len(calls) == 2  # every text was on disk before the first rename
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    # a target in the way is found out before anything else is replaced by it
    calls.clear()
    new.mkdir()
    with pytest.raises(ParameterError, match=r"analysis\.html is a folder"):
        analysis._write({new: "page", path: "new"})
    assert path.read_text() == "old" and calls == []


def test_a_file_in_place_of_the_folder_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "load_frames", None)  # nothing may be read
    out = tmp_path / "out"
    out.write_text("mine")
    for place in (out, out / "deeper"):
        assert cli.main(["analyze", str(tmp_path / "clip.npy"), "--out", str(place)]) == 2
        message = capsys.readouterr().err
        assert message.startswith("arvdm: out must be a folder that can be written to (")
        assert message.count("\n") == 1
    assert out.read_text() == "mine" and list(tmp_path.iterdir()) == [out]


def test_a_failed_analysis_unmakes_its_folders_only(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "short.npy", frames=20)
    (tmp_path / "kept").mkdir()
    with pytest.raises(TooLittleDataError):
        analyze(clip, tmp_path / "kept" / "new" / "newer")
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_without_the_extra_it_is_named(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = analysis.importlib.import_module

    def without(name: str) -> Any:
        if name == module:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name)

    monkeypatch.setattr(analysis.importlib, "import_module", without)
    with pytest.raises(ParameterError, match=r'pip install "arvdm-theory\[plot\]"'):
        analyze(make_clip(tmp_path / "clip.npy"), tmp_path / "out")


# --- clips at the edge ---------------------------------------------------------------------------


def test_a_loop_has_infinite_information(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Four pictures in turn: a state space predicts them without error."""
    x = np.arange(16) % 8 * 30
    loop = np.stack([np.tile(np.roll(x, k % 4 * 2), (16, 1)) for k in range(120)])
    np.save(tmp_path / "loop.npy", loop.astype(np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = analyze(tmp_path / "loop.npy", tmp_path / "out", replicates=3)
    assert capfd.readouterr().err == ""
    infinite = [curve for curve in result.curves if not np.isfinite(curve.bottleneck.total)]
    assert infinite
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    page = result.page.read_text("utf-8")
    assert ">infinite<" in page and "nan" not in re.sub(r"base64,[^\"]*", "", page)
    for curve in infinite:
        assert curve.lower is None and curve.share_upper is None
        assert curve.no_band == "the information is infinite"
        entry = next(e for e in data["memory"] if e["family"] == curve.family)
        assert entry["total"] is None and entry["lower"] is None and entry["reason"]
        mine = [row for row in rows(result.table) if row["source"] == curve.family]
        assert mine[0]["mb_nats"] == "" and mine[0]["share_of_total"] == ""
        assert mine[0]["uncertainty"].startswith("infinite: ")
        reason = curve.bottleneck.reason
        assert reason is not None and any(reason in text for text in result.warnings)


def test_refits_that_fail_are_counted(
    result: AnalysisResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = result.fit.candidates[0]
    real, calls = type(best).refit, []

    def failing(often: int) -> Any:
        def refit(self: Any, pieces: Any) -> Any:
            calls.append(pieces)
            if len(calls) % 5 < often:
                raise UnstableError("transition", "farther from a unit root", 1.0)
            return real(self, pieces)

        return refit

    for often, failed in ((1, 2), (3, 6)):
        calls.clear()
        monkeypatch.setattr(type(best), "refit", failing(often))
        curve = analysis._memory_curve(best, result.fit, 8, 0.005, 10, 0)
        assert (curve.replicates, curve.failed, curve.fell_back) == (10, failed, 0)
        assert f"{failed} of 10 refits failed" in analysis._refits(curve)
        if failed == 2:
            assert curve.lower is not None and curve.no_band is None
        else:
            assert curve.lower is None and curve.no_band == "6 of 10 refits failed"
            assert curve.windows[0.5][1:] == (None, None)


def test_refits_that_fall_back_are_counted(
    result: AnalysisResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = next(c for c in result.fit.candidates if c.family == "state_space")
    monkeypatch.setattr(type(best), "refit", lambda *_: Autoregressive([0.0], 1.0, dim=2))
    curve = analysis._memory_curve(best, result.fit, 8, 0.005, 4, 0)
    assert (curve.failed, curve.fell_back) == (0, 4)
    assert curve.no_band is not None and "4 fell back" in curve.no_band


def test_bands_are_not_called_confidence_intervals(result: AnalysisResult) -> None:
    page = re.sub(r"\s+", " ", result.page.read_text("utf-8"))
    assert "the spread of refits, not calibrated confidence intervals" in page
    assert "gain of the printed setting" in page and "variance, law / clip" in page


def test_headline_says_when_nothing_is_detectable(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "white.npy", noise)
    white = analyze(tmp_path / "white.npy", tmp_path / "out", components=2, replicates=0)
    headline = white.to_json()["headline"]
    assert headline.startswith("No information about the past is detectable")
    assert "The past tells" not in white.page.read_text("utf-8")
    assert white.gain.window_for(0.5) is None


def test_headline_of_nothing_and_of_everything(result: AnalysisResult) -> None:
    def headline(total: float) -> str:
        curve = result.curves[0]
        bottleneck = dataclasses.replace(curve.bottleneck, total=total)
        changed = dataclasses.replace(curve, bottleneck=bottleneck)
        return analysis._headline(dataclasses.replace(result, curves=(changed,)))

    assert headline(0.0).startswith("By the best law the past tells nothing about the next frame.")
    assert headline(np.inf).startswith("By the best law the past tells everything")
    assert "inf nats" not in headline(np.inf) and "last" not in headline(0.0).split(".")[0]


def test_a_law_of_the_wrong_variance_is_warned_of(result: AnalysisResult) -> None:
    wrong = dataclasses.replace(result.fit.candidates[0], variance_ratio=np.array([1.0, 0.3]))
    fit = dataclasses.replace(result.fit, candidates=(wrong, *result.fit.candidates[1:]))
    changed = dataclasses.replace(result, fit=fit)
    assert any("is 0.3 to 1 times the clip's" in text for text in changed.warnings)
    assert any(title == "These laws" for title, _ in analysis._cautions(changed))
    assert not analysis._candidate_rows(fit)[0]["reproduces_variance"]


# --- the command's answer -------------------------------------------------------------------------


def test_text_and_json(result: AnalysisResult) -> None:
    text = str(result)
    assert "held-out prediction" in text and str(result.page) in text
    data = result.to_json()
    assert data["frames"] == 96 and data["components"] == 2
    assert [entry["family"] for entry in data["candidates"]] == [c.family for c in result.curves]
    assert data["memory"][0]["total"] == result.curves[0].bottleneck.total
    assert len(data["schedules"]) == 18


def test_selection_is_passed_on(result: AnalysisResult, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.npy")
    cropped = analyze(
        clip,
        tmp_path / "out",
        crop="left",
        frames="0:90",
        every=2,
        components=1,
        replicates=0,
    )
    frames = load_frames(clip, crop="left", frames="0:90", every=2)
    assert cropped.fit.scores.shape == (45, 1)
    np.testing.assert_allclose(cropped.fit.project(frames), cropped.fit.scores, atol=1e-12)
    page = cropped.page.read_text("utf-8")
    assert "crop left, frames 0:90, every 2" in re.sub(r"\s+", " ", page)
    assert "refits" not in page  # no bootstrap, no bands
