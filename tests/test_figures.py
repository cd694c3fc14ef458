"""Figures plot their tables and nothing else; the report is whole, offline, or not written."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import joblib
import matplotlib.colors
import numpy as np
import pandas
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.cases import LEVELS, METHODS, schedule_of
from analysis.registry import STUDIES
from analysis.study import table_of
from figures import page, report, style
from figures.registry import FIGURES, KINDS
from tests.small_studies import SMALL

Drawn = dict[str, tuple[Figure, pandas.DataFrame]]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report, from the studies' small configurations."""
    folder = tmp_path_factory.mktemp("out")
    with joblib.parallel_config(n_jobs=1):
        report.build(folder, configs=SMALL)
    return folder


@pytest.fixture(scope="module")
def drawn(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """The figures of that report, drawn again to look inside."""
    return {name: figure.draw(out) for name, figure in FIGURES.items()}


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_visible() and ax.axison]


def column(ax: Axes) -> int:
    place = ax.get_subplotspec()
    assert place is not None
    return int(place.colspan.start)


def line_values(figure: Figure) -> Counter[float]:
    """Every ordinate of every line."""
    values: Counter[float] = Counter()
    for ax in panels(figure):
        for line in ax.lines:
            values.update(np.asarray(line.get_ydata(), dtype=float).tolist())
    return values


def bar_sizes(figure: Figure, size: str) -> np.ndarray:
    """Heights or widths of all bars, sorted; stacking rounds them in the last digits."""
    bars = [
        getattr(patch, f"get_{size}")()
        for ax in panels(figure)
        for container in ax.containers
        for patch in container
        if isinstance(patch, Rectangle)
    ]
    return np.sort(np.asarray(bars, dtype=float))


# Figures plot what the tables say


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_saves_its_pictures_and_its_data(name: str, out: Path, drawn: Drawn) -> None:
    folder = out / "figures"
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    for theme in ("", "_dark"):
        assert (folder / f"{name}{theme}.png").read_bytes().startswith(b"\x89PNG")
    saved = pandas.read_csv(folder / f"{name}.csv", engine="python")
    pandas.testing.assert_frame_equal(
        saved, drawn[name][1].reset_index(drop=True), check_dtype=False, check_exact=True
    )


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("ladder", "ladder"),
        ("ladder_by_substeps", "ladder"),
        ("memory_bottleneck_by_window", "memory_by_window"),
        ("schedules_at_equal_cost", "schedules"),
        ("clip_against_theorem_b", "theorem_b"),
        ("published_retrieval_against_psnr_decay", "published_pareto"),
        ("memory_of_the_shipped_clip", "clip_memory"),
        ("trained_gaussian", "trained_gaussian"),
        ("panorama_memory", "panorama_memory"),
        ("one_network_many_schedules", "one_network_many_schedules"),
    ],
)
def test_plotted_rows_are_rows_of_the_study(name: str, study: str, out: Path, drawn: Drawn) -> None:
    table, data = table_of(study, out=out), drawn[name][1]
    assert len(data) > 0
    expected = table.loc[data.index, list(data.columns)]
    pandas.testing.assert_frame_equal(data, expected, check_exact=True)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("ladder", ["output", "chain", "bound"]),
        ("ladder_by_substeps", ["output", "chain", "bound"]),
        ("clip_against_theorem_b", ["clip", "theorem_b", "chain"]),
        ("memory_bottleneck_by_window", ["mb_nats"]),
        ("schedules_at_equal_cost", ["chain_rate"]),
        ("published_retrieval_against_psnr_decay", ["retrieval"]),
        ("memory_of_the_shipped_clip", ["mb_nats"]),
    ],
)
def test_lines_and_marks_show_the_plotted_rows(name: str, columns: list[str], drawn: Drawn) -> None:
    figure, data = drawn[name]
    shown = line_values(figure)
    for column in columns:
        for value, times in Counter(data[column].tolist()).items():
            assert shown[value] >= times, f"{column} {value} of {name}"


def test_bars_of_the_decomposition_show_every_term(out: Path, drawn: Drawn) -> None:
    figure, _ = drawn["decomposition_per_step"]
    table = table_of("decomposition_along_k", out=out)
    bars = bar_sizes(figure, "height")
    frozen = table["see"].isna()
    expected: list[float] = []
    for term, rows in (
        ("nie", table),
        ("mb", table),
        ("see", table[~frozen]),
        ("de", table[~frozen]),
        ("see_plus_de", table[frozen]),
    ):
        expected += rows[term].tolist()
    np.testing.assert_allclose(bars, np.sort(expected), rtol=1e-12, atol=1e-15)
    shown = line_values(figure)
    for column in ("cumulative_chain", "cumulative_output"):
        assert all(shown[value] for value in table[column])


def test_bars_at_equal_cost_show_every_term(out: Path, drawn: Drawn) -> None:
    figure, data = drawn["schedules_at_equal_cost"]
    bars = bar_sizes(figure, "width")
    rows = data[data["generator"] == "exact"]
    expected = np.sort(rows[["nie_rate", "see_rate", "de_rate", "mb_rate"]].to_numpy(), axis=None)
    np.testing.assert_allclose(bars, expected, rtol=1e-12, atol=1e-15)


def test_every_schedule_is_drawn_from_a_schedule(drawn: Drawn) -> None:
    figure, data = drawn["named_schedules_figure_3"]
    titles = [ax.get_title(loc="left") for ax in panels(figure)]
    assert len(titles) == len(METHODS)
    for (name, entry), ax in zip(METHODS.items(), panels(figure), strict=True):
        schedule = schedule_of(entry, LEVELS, substeps=1)
        assert ax.get_title(loc="left").startswith(f"{name}:  w = {schedule.window}, Δ = ")
        rows = data[(data["method"] == name) & (data["role"] == "window")]
        assert rows["input_level"].tolist() == schedule.input_levels.tolist()
        assert rows["output_level"].tolist() == schedule.output_levels.tolist()
        assert (data["method"] == name).sum() == schedule.window + entry["reference"]
        points = {
            (float(x), float(y))
            for line in ax.lines
            if line.get_marker() not in ("None", "", None)
            for x, y in zip(*map(np.asarray, line.get_data()), strict=True)
        }
        for frame in range(schedule.window):
            for levels in (schedule.input_levels, schedule.output_levels):
                assert (frame + 1.0, float(levels[frame])) in points
        arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
        assert len(arrows) == int(schedule.moving.sum())


@pytest.mark.parametrize("name", FIGURES)
def test_every_panel_says_what_it_shows(name: str, drawn: Drawn) -> None:
    """Each row of panels has a label with a unit, each column one below."""
    figure, _ = drawn[name]
    if FIGURES[name].kind == "rendered":  # pictures, without axes
        assert all(ax.get_title(loc="left") for ax in figure.axes)
        return
    units = ("nats", "level", "dB", "share", "SSIM", "frame", "%", "sub-steps", "AR step", "method")
    labels = [ax.get_xlabel() for ax in panels(figure)] + [ax.get_ylabel() for ax in panels(figure)]
    given = [label for label in labels if label]
    assert given and all(any(unit in label for unit in units) for label in given), given
    assert {column(ax) for ax in panels(figure) if ax.get_xlabel()} == set(
        map(column, panels(figure))
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_caption_says_where_its_numbers_come_from(name: str) -> None:
    figure = FIGURES[name]
    assert figure.kind in KINDS
    words = {"exact": "Exact:", "measured": "Measured", "published": "Published values only"}
    words["rendered"] = "clips"
    assert words[figure.kind] in figure.caption


MEASURED = {
    "clip_memory",
    "one_network_many_schedules",
    "panorama_memory",
    "retrieval_against_decay",
    "trained_gaussian",
}
"""Studies of footage and of trained networks."""


def test_published_and_measured_values_are_never_mixed() -> None:
    for figure in FIGURES.values():
        names = set(figure.studies)
        assert (figure.kind == "published") == (names == {"published_pareto"})
        assert (figure.kind == "measured") == bool(names & MEASURED)


def test_colours_can_be_told_apart() -> None:
    colours = [matplotlib.colors.to_rgb(colour) for colour in style.TERM_COLOURS.values()]
    for i, one in enumerate(colours):
        for other in colours[:i]:
            assert np.abs(np.subtract(one, other)).max() > 0.2


def test_a_theme_ends_with_its_block() -> None:
    light = style.ink()
    with style.theme("dark"):
        assert style.ink() != light
    assert style.ink() == light


# The report


class Links(HTMLParser):
    """What a page refers to, and which anchors it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value is None:
                continue
            if key == "id":
                self.anchors.append(value)
            elif key == "href" and tag == "a":
                self.links.append(value)
            elif key in ("src", "srcset", "href", "poster", "data", "action", "background"):
                self.loaded.append(value)


@pytest.fixture(scope="module")
def html(out: Path) -> str:
    return (out / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def links(html: str) -> Links:
    parsed = Links()
    parsed.feed(html)
    return parsed


def test_the_report_loads_nothing(html: str, links: Links) -> None:
    assert links.loaded and all(url.startswith("data:image/png;base64,") for url in links.loaded)
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    scripts = "".join(re.findall(r"<script>(.*?)</script>", html, re.DOTALL))
    for text in (styles, scripts):
        assert not re.search(r"url\(|@import|https?:|fetch|XMLHttp", text)


def test_a_page_that_loads_something_would_be_noticed() -> None:
    parsed = Links()
    parsed.feed('<img src="https://example.org/a.png"><link href="style.css">')
    assert parsed.loaded == ["https://example.org/a.png", "style.css"]


def test_the_report_has_every_section_figure_and_manifest(out: Path, links: Links) -> None:
    anchors = set(links.anchors)
    assert len(links.anchors) == len(anchors)
    for section in page.sections(out):
        assert section.anchor in anchors
    assert {f"figure-{name}" for name in FIGURES} <= anchors
    assert {f"manifest-{name}" for name in STUDIES} <= anchors
    assert len(links.loaded) == 2 * len(FIGURES)  # light and dark


def test_every_link_leads_somewhere(out: Path, links: Links) -> None:
    for link in links.links:
        if link.startswith("#"):
            assert link[1:] in links.anchors
        elif not link.startswith("https://arxiv.org/"):
            assert (out / "report" / link).is_file(), link
    assert page.CLIP_PAGE in links.links


def test_every_table_has_units_a_kind_and_a_manifest(out: Path) -> None:
    for section in page.sections(out):
        for table in section.tables:
            assert table.kind in KINDS
            assert table.study in STUDIES or table.kind == "published"
            assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
            for i, heading in enumerate(table.columns):
                cells = [row[i] for row in table.rows]
                if any(re.fullmatch(r"[<−\d.e ]+", cell) for cell in cells):
                    unit = r"\(.+\)$| [KM]$|calls per frame"
                    assert re.search(unit, heading), f"{section.anchor}: {heading}"


def test_the_report_shows_the_published_tables_as_printed(html: str) -> None:
    for value in ("10.24", "9.47", "0.00", "0.44", "2.36", "5.99"):
        assert f"<td>{value}</td>" in html
    assert "n not published" in html


def test_the_report_has_no_machine_path(out: Path, html: str) -> None:
    assert str(out) not in html
    assert str(Path.cwd()) not in html


def test_a_second_report_computes_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(report, "FIGURES", {})  # figures are always drawn: not needed here
    caplog.set_level("INFO")
    report.build(out, configs=SMALL)
    messages = [record.getMessage() for record in caplog.records]
    assert sum("up to date" in message for message in messages) == len(STUDIES)
    assert not any("computing" in message for message in messages)


def test_a_failing_part_fails_the_report_and_is_named(
    out: Path, html: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise ValueError("no such number")

    monkeypatch.setattr(page, "sections", fail)
    monkeypatch.setattr(report, "FIGURES", {})
    with pytest.raises(report.ReportError, match="the page: ValueError: no such number"):
        report.build(out, configs=SMALL)
    monkeypatch.setattr(report, "build", lambda *a, **k: report._draw(("x", "light", out)))
    assert report.main([]) == 1
    assert "report failed in figure x (light): KeyError" in capsys.readouterr().err
    assert (out / "report" / "index.html").read_text(encoding="utf-8") == html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.000012345, "1.234e−5"),
        (13.0004, "13.00"),
        (float("nan"), "–"),
        (None, "–"),
        (16, "16"),
        (0.0, "0"),
        (-0.25, "−0.2500"),
        (123456.7, "1.235e5"),
        ("prepend", "prepend"),
    ],
)
def test_numbers_are_written_with_four_digits(value: object, text: str) -> None:
    assert page.number(value) == text
