"""Every label of the theory has a function in the README, whose docstring names the label."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arvdm_theory
from arvdm_theory import memory

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COUNTS = {"D": 3, "L": 3, "M": 7, "R": 6, "E": 5, "T": 4}
LABELS = ["A", "B", "C", *(f"{kind}{i + 1}" for kind, n in COUNTS.items() for i in range(n))]


def table(text: str) -> list[tuple[str, str]]:
    """(label, function) pairs of a Markdown table whose first column is labels."""
    rows = re.findall(r"^\| ([A-Z]\d?) \|.*\| ([^|]*) \|$", text, flags=re.MULTILINE)
    return [(label, name) for label, cell in rows for name in re.findall(r"`([\w.]+)`", cell)]


def resolve(path: str) -> Any:
    found: Any = arvdm_theory
    for name in path.split("."):
        found = getattr(found, name)
    return found


def names(docstring: str, label: str) -> bool:
    """Whether a docstring names the label; letters as theorems, or among labels in brackets."""
    if label in ("A", "B", "C"):
        return re.search(rf"Theorem {label}\b|\({label}[,)]", docstring) is not None
    return re.search(rf"\b{label}\b", docstring) is not None


def test_the_readme_has_every_label_once() -> None:
    labels = [label for label, _ in table(README)]
    assert set(labels) == set(LABELS)
    in_order = list(dict.fromkeys(labels))
    assert in_order[:3] == ["D1", "D2", "D3"] and in_order[-1] == "T4"


@pytest.mark.parametrize(("label", "name"), table(README))
def test_a_function_of_the_readme_exists_and_names_its_label(label: str, name: str) -> None:
    docstring = inspect.getdoc(resolve(name))
    assert docstring and names(docstring, label), f"{name} does not name {label}"


def test_a_wrong_row_would_be_noticed() -> None:
    [(label, name)] = table("| R4 | a draw | `stochastic_memory` |")
    assert names(inspect.getdoc(resolve(name)) or "", label)
    assert not names(inspect.getdoc(resolve(name)) or "", "M3")
    assert not names("A budget and B numbers, C frames", "A")
    with pytest.raises(AttributeError):
        resolve("memory.no_such_function")


def test_the_module_says_where_each_memory_bound_is() -> None:
    rows = table(memory.__doc__ or "")
    wanted = [label for label in LABELS if label[0] in "MR"]
    assert list(dict.fromkeys(label for label, _ in rows)) == wanted
    for label, name in rows:
        assert name in memory.__all__
        assert names(inspect.getdoc(getattr(memory, name)) or "", label), (label, name)


def test_every_public_calculator_of_memory_names_a_theorem() -> None:
    for name in memory.__all__:
        found = getattr(memory, name)
        if inspect.isfunction(found) and name not in ("clopper_pearson", "canonical_correlations"):
            assert re.search(r"\b[MR][1-7]\b", found.__doc__ or ""), name


# --- the package's own namespace ------------------------------------------------------------------

RELEASED = """
    Arfima ArvdmError Autoregressive Biased BoundaryError CircularityError Decomposition Estimated
    Exact ExplicitCovariance GaussianVideo Generator LinearMemory MediaError Misspecified
    MonotonicityError NotPositiveDefiniteError Panorama ParameterError RandomPerturbation
    RecursiveMemory RefusedError Scaled Schedule ScheduleComparison ScheduleError Seasonal
    StateSpace StaticLatent TooLittleDataError UnstableError VideoFit compare_schedules decompose
    fit_video load_frames sample window_memory_bottleneck
""".split()
"""What 0.1.0 offered."""


def test_public_names_are_listed_in_order_and_none_was_taken_away() -> None:
    listed = arvdm_theory.__all__
    assert listed == sorted(set(listed))
    assert set(RELEASED) <= set(listed) <= set(dir(arvdm_theory))


def test_a_name_is_what_its_module_has() -> None:
    for name, module in arvdm_theory._MODULE_OF.items():
        home = importlib.import_module(f"arvdm_theory.{module}")
        assert name in home.__all__
        assert getattr(arvdm_theory, name) is getattr(home, name)
    for name in arvdm_theory._MODULES:
        assert inspect.ismodule(getattr(arvdm_theory, name))
    with pytest.raises(AttributeError, match="no attribute 'memories'"):
        arvdm_theory.memories  # noqa: B018


def test_importing_the_package_loads_no_more_than_decompositions_need() -> None:
    code = (
        "import sys, arvdm_theory; before = set(sys.modules); "
        "arvdm_theory.memory_budget; from arvdm_theory import memory, Enclosure; "
        "print(*before, '|', *(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, later = (set(part.split()) for part in done.stdout.split("|"))
    heavy = {"scipy.stats", "sympy", "flint", "cvxpy", "torch", "pandas", "matplotlib"}
    assert not first & heavy
    assert not {"arvdm_theory.memory", "arvdm_theory.fit", "arvdm_theory.accumulation"} & first
    assert "arvdm_theory.memory" in later
    assert not later & (heavy - {"scipy.stats"})
