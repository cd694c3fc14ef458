"""The notes: stored whole, still running, and saying what they say."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")

from analysis.notes.__main__ import NOTES, execute, stored  # noqa: E402

#: Notes whose numbers are exact or seeded, and which take seconds.
QUICK = ("bound_calculators", "designing_a_schedule")
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?|-?\.\d+(?:e[-+]?\d+)?")


def printed(notebook: Any) -> str:
    """What the stored cells printed."""
    return "".join(
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream"
    )


def same(first: str, second: str) -> bool:
    """The same words, and the same numbers up to what was rounded for print."""
    if NUMBER.sub("#", first).split() != NUMBER.sub("#", second).split():
        return False
    pairs = zip(NUMBER.findall(first), NUMBER.findall(second), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=2e-3, abs=1e-9) for a, b in pairs)


def test_there_are_four() -> None:
    assert set(NOTES) == {
        "bound_calculators",
        "designing_a_schedule",
        "measuring_forgetting",
        "property_testing",
    }


@pytest.mark.parametrize("name", NOTES)
def test_a_note_is_stored_executed_and_small(name: str) -> None:
    path = NOTES[name]
    assert path.stat().st_size < 250_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    assert "0x" not in printed(notebook)


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_note_says_what_is_stored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib", "sympy", "flint"):
        pytest.importorskip(module)
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    notebook = nbformat.read(NOTES[name], as_version=4)
    names: dict[str, Any] = {"__name__": "note"}
    out = io.StringIO()
    with contextlib.redirect_stdout(out), matplotlib.rc_context(), warnings.catch_warnings():
        for k, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{name}, cell {k}", "exec"), names)
    assert same(printed(notebook), out.getvalue())


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        ("MB 0.4649 nats", "MB 0.4650 nats", True),
        ("MB 0.4649 nats", "MB 0.4749 nats", False),
        ("in [0, 1.6e-16]", "in [0, 2.9e-17]", True),
        ("r = 1: cost 8", "r = 1: price 8", False),
        ("one 1", "one 1 2", False),
    ],
)
def test_the_comparison_sees_what_changed(first: str, second: str, agree: bool) -> None:
    assert same(first, second) is agree


@pytest.mark.heavy
@pytest.mark.parametrize("name", NOTES)
def test_a_note_executes(name: str) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's own machinery
        notebook = stored(execute(NOTES[name]))
    before = nbformat.read(NOTES[name], as_version=4)
    kinds = [[output.output_type for output in cell.get("outputs", [])] for cell in before.cells]
    now = [[output.output_type for output in cell.get("outputs", [])] for cell in notebook.cells]
    assert now == kinds
    if name in QUICK:
        assert same(printed(before), printed(notebook))


def test_the_page_of_notes_lists_them() -> None:
    page = (Path(__file__).parents[1] / "docs" / "notes.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)\.ipynb`", page)) == set(NOTES)
