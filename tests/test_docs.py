"""The documentation: it builds without a warning, reads offline, and names what exists."""

from __future__ import annotations

import html
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arvdm_theory.literature import LABELS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
THEORY = (DOCS / "theory.md").read_text(encoding="utf-8")
PAGES = sorted(DOCS.rglob("*.md"))
#: Headings whose anchor is a word, since a label with a dot or a space is no good link.
ANCHORS = {"Corollary A": "corollary-A", "2.1": "constants", "2.2": "samplers"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    for module in ("material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(module)
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(out),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    yield out


def test_every_label_has_its_heading() -> None:
    anchors = re.findall(r"^##+ (.+?) \{#([\w-]+)\}$", THEORY, re.MULTILINE)
    found = {anchor: title for title, anchor in anchors}
    for label in LABELS:
        anchor = ANCHORS.get(label, label)
        assert found[anchor].startswith(f"{label}: "), label


def test_what_was_found_imprecise_is_corrected() -> None:
    assert ".1595" in THEORY and ".159 " not in THEORY  # R4
    assert ".087, 0, .087, 0" in THEORY  # M7
    assert "the power law $D^2/(2r)$ is still approached" in " ".join(THEORY.split())  # R5


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = page if not path else page.parent / path
        assert file.exists(), target
        if anchor:
            text = file.read_text(encoding="utf-8")
            slugs = {
                re.sub(r"[^\w]+", "-", h.lower()) for h in re.findall(r"^#+ (.+)$", text, re.M)
            }
            assert f"{{#{anchor}}}" in text or anchor in slugs, target


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == [path.relative_to(DOCS).as_posix() for path in PAGES]


def test_every_public_module_is_in_the_reference() -> None:
    written = {
        name
        for page in (DOCS / "api").glob("*.md")
        for name in re.findall(r"^::: arvdm_theory\.(\w+)$", page.read_text("utf-8"), re.MULTILINE)
    }
    inside = {"cli", "checks"}  # the command line has --help; checks are for the package itself
    public = {p.stem for p in (ROOT / "arvdm_theory").glob("*.py") if not p.stem.startswith("_")}
    assert written == public - inside


def test_functions_named_in_how_do_i_exist() -> None:
    text = (DOCS / "how_do_i.md").read_text(encoding="utf-8")
    modules = "accumulation batched certified citation empirical memory prover rates sweeps"
    modules += " symbolic testing"
    named = re.findall(rf"`(?:arvdm_theory\.)?({'|'.join(modules.split())})\.(?!py`)(\w+)", text)
    assert len(named) >= 14
    for module, name in named:
        assert hasattr(importlib.import_module(f"arvdm_theory.{module}"), name), name


def test_the_bound_of_getting_started_is_a_test_that_can_fail(tmp_path: Path) -> None:
    [code] = re.findall(
        r"```python\n(.*?)```", (DOCS / "getting_started.md").read_text("utf-8"), re.S
    )
    names: dict[str, object] = {}
    exec(compile(code, "getting_started.md", "exec"), names)
    names["test_my_floor"]()  # type: ignore[operator]
    exec(compile(code.replace("world.size :", "world.size - 1 :"), "broken", "exec"), names)
    with pytest.raises(AssertionError, match=r"R1 \(floor\): bound"):
        names["test_my_floor"]()  # type: ignore[operator]


def test_the_commands_of_getting_started_work(tmp_path: Path, capsys) -> None:
    from arvdm_theory.cli import main

    text = (DOCS / "getting_started.md").read_text(encoding="utf-8")
    video = re.search(r"echo '(.*)' > video\.json", text)
    command = re.search(r"^arvdm (memory .*)$", text, re.MULTILINE)
    assert video and command
    path = tmp_path / "video.json"
    path.write_text(video[1])
    assert main([str(path) if word == "video.json" else word for word in command[1].split()]) == 0
    assert "the last 4 frames" in capsys.readouterr().out
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        assert len(block.strip().splitlines()) <= 5


def test_the_built_site_fetches_nothing(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(
            r'<(?:script|img|iframe|link)\b[^>]*(?:src|href)="(https?:[^"]+)"', text
        )
        assert fetched == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\W?https?:|@import", sheet.read_text(encoding="utf-8")), sheet


def test_formulas_are_mathml_and_sections_are_lists(site: Path) -> None:
    theory = (site / "theory.html").read_text(encoding="utf-8")
    assert theory.count("<math") > 100
    for page in site.rglob("*.html"):
        body = re.sub(r"<(pre|code|script)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
        text = html.unescape(re.sub(r"<math.*?</math>", "", body, flags=re.DOTALL))
        assert "arithmatex" not in text and "$$" not in text, page
        assert not re.search(r"^-{4,}$", text, re.MULTILINE), page
    memory = (site / "api" / "memory.html").read_text(encoding="utf-8")
    assert "<li><code>window_lengths</code>: r, " in memory
    assert 'id="arvdm_theory.memory.window_memory_bottleneck"' in memory
    assert 'id="arvdm_theory.memory.linear_memory_floor"' in memory  # of a private module


def test_every_figure_and_every_study_is_in_the_tables(site: Path) -> None:
    from analysis.registry import STUDIES
    from figures.registry import FIGURES

    text = html.unescape((site / "made_from.html").read_text(encoding="utf-8"))
    tables = re.findall(r"<table>.*?</table>", text.replace("<wbr>", ""), re.DOTALL)

    def row_of(name: str, table: str, place: int) -> str:
        """The one row that has the name in that column."""
        rows = [re.findall(r"<td>.*?</td>", row, re.DOTALL) for row in table.split("<tr>")]
        [found] = [row for row in rows if row and f"<code>{name}</code>" in row[place]]
        return "".join(found)

    for name, figure in FIGURES.items():
        row = row_of(name, tables[0], 3)
        assert f"<td>{figure.title}</td>" in row and f"<td>{figure.kind}</td>" in row
        assert all(f"<code>{study}</code>" in row for study in figure.studies)
    for name, study in STUDIES.items():
        row = row_of(name, tables[1], 0)
        assert study.question in row
        shown = [figure for figure, of in FIGURES.items() if name in of.studies]
        assert all(f"<code>{figure}</code>" in row for figure in shown)
    with pytest.raises(ValueError, match="not enough values"):
        row_of("not_a_study", tables[1], 0)


def test_code_of_the_page_on_batches_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("joblib")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "batches_and_sweeps.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        if "distributed" not in block:
            exec(compile(block.replace("n_jobs=4", "n_jobs=1"), "page", "exec"), namespace)
    assert len(blocks) == 5
    assert len(namespace["results"]) == 9  # type: ignore[arg-type]
    assert bool(namespace["ladder"].grad.isfinite().all())  # type: ignore[attr-defined]
