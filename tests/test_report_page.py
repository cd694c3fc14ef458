"""The report as its reader meets it: numbers, links, controls, enlarged figures, dark, print."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.registry import STUDIES
from analysis.study import manifest_of, table_of
from figures import controls, page, style
from figures.registry import FIGURES
from tests.small_studies import SMALL

STUDIED = ("knobs", "decomposition_along_k", "memory_by_window", "published_pareto")
DRAWN = ("decomposition_per_step", "markov_chain_figure_4", "memory_bottleneck_by_window")
DRAWN += ("published_retrieval_against_psnr_decay",)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studies of four sections, and pictures where their figures lie."""
    folder = tmp_path_factory.mktemp("out")
    for name in (*STUDIED, "markov_chain"):
        STUDIES[name].run(SMALL[name], out=folder)
    (folder / "figures").mkdir()
    for name in DRAWN:  # stand-ins, of the size of figures: the page shows what lies there
        for theme in style.THEMES.values():
            picture = Image.new("RGB", (1620, 1600), theme.paper)
            picture.save(folder / "figures" / f"{name}{theme.suffix}.png")
    return folder


@pytest.fixture(scope="module")
def knobs(out: Path) -> dict[str, controls.Knob]:
    return controls.knobs_of(out)


@pytest.fixture(scope="module")
def file(out: Path) -> Path:
    """A page of the sections that have controls, and of one with published tables."""
    wanted = ("decomposition", "memory", "persistence", "published")
    functions = {
        section: part
        for part, members in page.PARTS.items()
        for section in members
        if section.__name__.removeprefix("_").removesuffix("_section") in wanted
    }
    sections = [page.replace(section(out), part=part) for section, part in functions.items()]
    assert {section.anchor for section in sections} == set(wanted)
    path = out / "report" / "index.html"
    path.parent.mkdir()
    path.write_text(page.render(sections, out), encoding="utf-8")
    return path


# What the controls say is what the library says


def chosen(knob: controls.Knob, count: int) -> list[tuple[int, ...]]:
    """Where it begins, and `count` other settings."""
    settings = list(knob.settings())
    rng = np.random.default_rng(7)
    return [knob.start, *(settings[i] for i in rng.choice(len(settings), count, replace=False))]


@pytest.mark.parametrize(("name", "count"), [("schedule", 12), ("memory", 12), ("persistence", 6)])
def test_the_python_lines_give_the_numbers(
    name: str, count: int, knobs: dict[str, controls.Knob]
) -> None:
    knob = knobs[name]
    for setting in chosen(knob, count):
        names: dict[str, Any] = {}
        exec(knob.lines(setting), names)
        for quantity, value, bound in knob.shown(setting):
            computed = eval(knob.lines(setting, quantity.code), names)
            if value is None:
                assert computed is None
            else:
                allowed = 2.0 * (bound or 0.0) + 1e-11 * abs(value)
                assert abs(computed - value) <= allowed, (setting, quantity.label)


def test_a_number_of_another_setting_would_be_noticed(knobs: dict[str, controls.Knob]) -> None:
    knob = knobs["memory"]
    first, *_, last = (s for s in knob.settings() if s[0] == 0)
    names: dict[str, Any] = {}
    exec(knob.lines(first), names)
    quantity, value, bound = knob.shown(last)[0]
    assert value is not None and bound is not None
    assert abs(eval(knob.lines(first, quantity.code), names) - value) > 1e3 * bound


def test_every_setting_has_its_numbers_and_its_pictures(knobs: dict[str, controls.Knob]) -> None:
    for knob in knobs.values():
        settings = list(knob.settings())
        assert len(knob.numbers) == len(settings)
        for setting in settings:
            assert len(knob.shown(setting)) == len(knob.quantities)
            for panel, chart, mark in knob.drawn(setting):
                assert len(chart.values) == len(panel.series)
                assert all(len(values) == len(chart.texts) for values in chart.values)
                assert mark is None or 0 <= mark < len(chart.texts)
                assert max(v or 0.0 for values in chart.values for v in values) <= chart.top
        assert all("«" not in knob.lines(setting) for setting in settings)


def test_numbers_are_those_of_the_table(out: Path, knobs: dict[str, controls.Knob]) -> None:
    table = table_of("knobs", out=out)
    rows = table[table["part"] == "roll-out"]
    knob = knobs["schedule"]
    assert len(rows) == len(knob.numbers)
    for row in rows.to_dict("records"):
        texts = [row["video"], row["method"], row["denoiser"], str(row["substeps"]).split(".")[0]]
        setting = [
            [option.text for option in choice.options].index(text)
            for choice, text in zip(knob.choices, texts, strict=True)
        ]
        shown = {q.code: value for q, value, _ in knob.shown(setting)}
        for rung in ("output", "chain", "bound", "mb"):
            assert shown[f"result.{rung}"] == pytest.approx(row[rung], rel=1e-11, abs=1e-300)


def test_the_bound_on_retrieval_grows_with_the_memory(out: Path) -> None:
    """M5 inverted is increasing, MB does not increase; without a memory only chance is left."""
    table = table_of("knobs", out=out)
    for _, rows in table[table["part"] == "window"].groupby("video"):
        for needles in SMALL["knobs"]["memory"]["needles"]:
            success = rows[f"success_{needles}"].to_numpy()
            slack = rows[f"success_{needles}_error_bound"].to_numpy()
            assert abs(success[0] - 1.0 / needles) <= slack[0]
            assert np.all(np.diff(success) >= -(slack[1:] + slack[:-1]))
            assert np.all(success <= 1.0)
            assert np.all((success == 1.0) == (rows["kept"] >= np.log(needles)))


def test_terms_and_rungs_of_the_controls_are_ordered(out: Path) -> None:
    table = table_of("knobs", out=out)
    rolled, rates = (table[table["part"] == part] for part in ("roll-out", "rate"))
    for rows, lowest in ((rolled, "given_frames"), (rates, "window")):
        terms = rows[["nie", "see", "de", "mb"]].astype(float)
        slack = rows["chain_error_bound"] + rows["output_error_bound"] + 1e-12 * rows["chain"]
        assert ((terms.sum(axis=1) - rows["chain"]).abs() <= slack).all()
        assert (rows["output"] <= rows["chain"] + slack).all()
        assert (rows[lowest] >= 0).all()
    assert (rolled["chain"] <= rolled["bound"] * (1.0 + 1e-12)).all()


# The page


def test_every_study_of_a_section_has_its_manifest(file: Path, out: Path) -> None:
    html = file.read_text(encoding="utf-8")
    for name in STUDIED:
        manifest = manifest_of(name, out=out)
        block = re.search(rf'id="manifest-{name}">(.*?)</details>', html, re.DOTALL)
        assert block
        for fact in ("key", "csv_sha256", "finished"):
            assert manifest[fact] in block[1]
        for path, digest in manifest["inputs"].items():
            assert path in block[1].replace("<wbr>", "") and digest in block[1]
    assert set(re.findall(r'href="#manifest-(\w+)"', html)) == {*STUDIED, "markov_chain"}


def test_seeds_of_a_configuration_are_found() -> None:
    config = {"seed": 3, "data": [{"seed": 1}], "note": "seedless", "training": {"seeds": [0, 1]}}
    assert list(page._seeds(config)) == ["seed 3", "data.0.seed 1", "training.seeds [0, 1]"]


def test_measurements_are_shown_with_seeds_and_digests() -> None:
    paths = sorted((page.ROOT / "paper_repro" / "results").glob("*/*.json"))
    assert paths
    for path in paths:
        shown = page._measurement(path.relative_to(page.ROOT).as_posix())
        facts = dict(shown.facts)
        assert "seed" in facts["seeds"] and "python" in facts["versions"]
        assert json.loads(shown.text) == json.loads(path.read_text(encoding="utf-8"))


def test_figures_of_the_paper_are_found_by_number() -> None:
    names = ["ladder", "examples_figures_6_to_8", "schedules_figure_3"]
    assert page.paper_figures(names) == [
        (3, "schedules_figure_3"),
        *((n, "examples_figures_6_to_8") for n in (6, 7, 8)),
    ]
    assert [n for n, _ in page.paper_figures(FIGURES)] == list(range(1, 15))


# In a browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not chromium or not driver:
        pytest.skip("needs a browser: the programs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def open_page(browser: Any, file: Path, *, width: int = 1280, dark: bool = False, **media: str):
    features = {"prefers-color-scheme": "dark" if dark else "light"}
    features["prefers-reduced-motion"] = "reduce"
    wanted = [{"name": name, "value": value} for name, value in features.items()]
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted, **media})
    browser.get(file.as_uri())
    return browser


def run(browser: Any, script: str, *arguments: Any) -> Any:
    return browser.execute_script(script, *arguments)


def test_it_opens_without_a_message(browser: Any, file: Path) -> None:
    open_page(browser, file)
    assert browser.get_log("browser") == []
    run(browser, "console.error('seen')")
    assert len(browser.get_log("browser")) == 1  # an error would be seen
    loaded = (
        "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))"
    )
    assert run(browser, loaded) == []


SHOWN = """
const box = document.querySelector(`#knob-${arguments[0]}`);
return {
  said: box.querySelector('.setting span').textContent,
  rows: [...box.querySelectorAll('.numbers tbody tr')].map(
    row => [...row.cells].map(cell => cell.textContent)),
  code: box.querySelector('.code').textContent,
  drawn: [...box.querySelectorAll('svg')].map(svg => svg.innerHTML),
  points: [...box.querySelectorAll('.drawn tbody tr')].map(
    row => [...row.cells].map(cell => cell.textContent)),
};
"""
SET = """
arguments[1].forEach((value, i) => {
  const input = document.querySelectorAll(`#knob-${arguments[0]} :is(select, input)`)[i];
  input.value = value;
  input.dispatchEvent(new Event('input', {bubbles: true}));
});
"""


def numbers_in(text: str) -> np.ndarray:
    return np.array([float(n) for n in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)])


@pytest.mark.parametrize("name", ["schedule", "memory", "persistence"])
def test_controls_show_the_setting(
    name: str, browser: Any, file: Path, knobs: dict[str, controls.Knob]
) -> None:
    knob = knobs[name]
    open_page(browser, file)
    for setting in chosen(knob, 8):
        run(browser, SET, name, list(setting))
        shown = run(browser, SHOWN, name)
        assert shown["said"] == knob.said(setting)
        assert shown["code"] == knob.lines(setting)
        assert shown["rows"] == [
            [q.label, page._exact(value, bound), q.unit, page.number(bound, 2), code]
            for q, value, bound in knob.shown(setting)
            for code in [knob.lines(setting, q.code)]
        ]
        points = [
            [text, *(page.number(value) for value in values)]
            for text, values in knob.drawn_numbers(setting)[1]
        ]
        assert shown["points"] == points
        for script, (panel, chart, mark) in zip(shown["drawn"], knob.drawn(setting), strict=True):
            drawn = controls.drawing(panel, chart, mark)
            assert re.findall(r"<(\w+)", script) == re.findall(r"<(\w+)", drawn)
            np.testing.assert_allclose(numbers_in(script), numbers_in(drawn), atol=0.11)
    assert browser.get_log("browser") == []


def test_controls_work_from_the_keyboard(
    browser: Any, file: Path, knobs: dict[str, controls.Knob]
) -> None:
    from selenium.webdriver.common.keys import Keys

    knob = knobs["memory"]
    open_page(browser, file)
    slider = browser.find_element("css selector", "#memory-reference")
    before = run(browser, SHOWN, "memory")
    slider.send_keys(Keys.ARROW_RIGHT)
    after = run(browser, SHOWN, "memory")
    assert before["rows"] != after["rows"]
    assert after["said"] == knob.said([knob.start[0], knob.start[1] + 1, knob.start[2]])
    assert slider.get_attribute("aria-valuetext") == str(knob.start[1] + 1)
    method = browser.find_element("css selector", "#schedule-method")
    method.send_keys("n")  # next frame
    assert "next frame" in run(browser, SHOWN, "schedule")["said"]
    unnamed = "return [...document.querySelectorAll('select, input')].filter(e => !e.labels.length)"
    assert run(browser, unnamed) == []
    assert browser.get_log("browser") == []


def test_figures_are_enlarged_and_escape_closes(browser: Any, file: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    is_open = "return document.querySelector('#enlarged').open"
    open_page(browser, file, dark=True)
    button = browser.find_element("css selector", "#figure-decomposition_per_step .zoom")
    button.send_keys(Keys.ENTER)
    assert run(browser, is_open)
    enlarged = "return document.querySelector('#enlarged img')"
    dark = "return document.querySelector('#figure-decomposition_per_step img.dark').src"
    assert run(browser, f"{enlarged}.src") == run(browser, dark)
    fitting = run(browser, f"{enlarged}.clientWidth")
    browser.find_element("css selector", "#scale").click()
    full, natural = (
        run(browser, f"{enlarged}.clientWidth"),
        run(browser, f"{enlarged}.naturalWidth"),
    )
    assert full == natural and full > fitting
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not run(browser, is_open)
    assert run(browser, "return document.activeElement === arguments[0]", button)
    button.click()
    browser.find_element("css selector", "#close").click()
    assert not run(browser, is_open)
    assert browser.get_log("browser") == []


def test_links_lead_to_what_they_name_and_open_it(browser: Any, file: Path) -> None:
    open_page(browser, file)
    broken = """
    return [...document.querySelectorAll('a[href^="#"]')].map(a => a.hash.slice(1))
      .filter(id => !document.getElementById(id));
    """
    assert run(browser, broken) == []
    link = browser.find_element("css selector", "#table-memory-1 a.source")
    target = link.get_attribute("href").partition("#")[2]
    opened = "return document.getElementById(arguments[0]).open"
    assert not run(browser, opened, target)
    run(browser, "arguments[0].click()", link)
    run(browser, "return new Promise(resolve => setTimeout(resolve, 50))")
    assert run(browser, opened, target)
    facts = run(browser, "return document.getElementById(arguments[0]).innerText", target)
    assert "sha256" in facts and "seeds" in facts and "versions" in facts
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_nothing_is_wider_than_the_screen(width: int, dark: bool, browser: Any, file: Path) -> None:
    open_page(browser, file, width=width, dark=dark)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    outside = """
    return [...document.querySelectorAll('body *')].filter(e => {
      const box = e.getBoundingClientRect();
      return box.width && box.right > innerWidth + 1 && !e.closest('.scroll, pre, .skip');
    }).map(e => e.outerHTML.slice(0, 80));
    """
    assert run(browser, outside) == []
    shown = "return [...document.querySelectorAll('.zoom img')].filter(i => i.offsetWidth)"
    visible = run(browser, f"{shown}.map(i => i.className)")
    assert visible and set(visible) == {"dark" if dark else "light"}


def test_colours_can_be_switched_and_can_be_read(browser: Any, file: Path) -> None:
    contrast = """
    const light = colour => {
      const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll('p, a, td, th, .kind, figcaption, dt, code')].map(e => {
      const ink = light(getComputedStyle(e).color);
      return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    }).reduce((a, b) => Math.min(a, b));
    """
    open_page(browser, file)
    pages = []
    for theme in ("light", "dark", ""):
        run(
            browser,
            "const s = document.querySelector('#colours'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change'))",
            theme,
        )
        pages.append(run(browser, "return getComputedStyle(document.body).backgroundColor"))
        assert run(browser, contrast) >= 4.5  # WCAG AA
    assert pages[0] == pages[2] != pages[1]
    assert browser.get_log("browser") == []


def test_it_prints_light_without_controls_and_without_cut_figures(browser: Any, file: Path) -> None:
    open_page(browser, file, width=700, dark=True, media="print")
    hidden = (
        "return [...document.querySelectorAll('select, input, .up')].filter(e => e.offsetWidth)"
    )
    assert run(browser, hidden) == []
    assert run(browser, "return getComputedStyle(document.body).color") == "rgb(27, 27, 27)"
    visible = "[...document.querySelectorAll('.zoom img')].filter(i => i.offsetWidth)"
    assert set(run(browser, f"return {visible}.map(i => i.className)")) == {"light"}
    # A4 less margins is 970 pixels high: a figure that is not higher need not be cut
    assert run(browser, f"return Math.max(...{visible}.map(i => i.offsetHeight))") < 970
    uncut = (
        "return [...document.querySelectorAll('figure')].map(f => getComputedStyle(f).breakInside)"
    )
    assert set(run(browser, uncut)) == {"avoid"}
    assert run(browser, "return document.documentElement.scrollWidth") <= 700
    folded = "return document.querySelector('#table-memory-3 td').offsetHeight"
    assert run(browser, folded) > 0
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", content)) > 3


def test_it_reads_without_a_script(
    browser: Any, file: Path, knobs: dict[str, controls.Knob]
) -> None:
    open_page(browser, file)
    begun = {name: run(browser, SHOWN, name) for name in knobs}
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, file)
        source = browser.page_source
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert source.count(" disabled=") == sum(len(knob.choices) for knob in knobs.values())
    for name, knob in knobs.items():
        box = source[source.index(f'id="knob-{name}"') :]
        assert begun[name]["said"] in box
        for row in begun[name]["rows"]:
            assert f"<td>{row[1].replace('<', '&lt;')}</td>" in box
        for panel, chart, mark in knob.drawn(knob.start):
            drawn = controls.drawing(panel, chart, mark)
            assert re.findall(r'points="[^"]*"', drawn) == [
                points for points in re.findall(r'points="[^"]*"', drawn) if points in box
            ]
