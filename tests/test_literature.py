"""`citation`: its BibTeX parses, and every label of the package has an answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arvdm_theory import (
    Autoregressive,
    Generator,
    Schedule,
    __version__,
    compare_schedules,
    decompose,
    window_memory_bottleneck,
)
from arvdm_theory.accumulation import drifting_chain
from arvdm_theory.errors import ParameterError
from arvdm_theory.generator import SAMPLERS as PACKAGE_SAMPLERS
from arvdm_theory.literature import LABELS, LITERATURE, METHODS, SAMPLERS, citation
from arvdm_theory.memory import memory_budget, scalar_window_memory
from arvdm_theory.prover import STATEMENTS, prove
from arvdm_theory.schedule import METHODS as PACKAGE_METHODS

PACKAGE = Path(__file__).parents[1] / "arvdm_theory"
VIDEO = Autoregressive([0.5, 0.4], 0.3)
SCHEDULE = Schedule.fifo(3, t_max=3.0, t_min=0.05, substeps=2)
KINDS = {"misc", "article", "book", "software", "techreport"}


def parsed(bibtex: str) -> dict[str, dict[str, str]]:
    """Key to fields, by a grammar of its own: braces are counted, nothing may be left over."""
    entries: dict[str, dict[str, str]] = {}
    at = 0
    while match := re.compile(r"\s*@(\w+)\{([a-z0-9_]+),\n").match(bibtex, at):
        kind, key = match.groups()
        assert kind in KINDS and key not in entries
        fields, at = {"": kind}, match.end()
        while field := re.compile(r"  (\w+) = \{").match(bibtex, at):
            depth, end = 1, field.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(bibtex[end], 0)
                end += 1
            assert field[1] not in fields
            fields[field[1]] = bibtex[field.end() : end - 1]
            at = end + (bibtex[end] == ",")
            assert bibtex[at] == "\n"
            at += 1
        assert bibtex[at] == "}"
        at += 1
        entries[key] = fields
    assert bibtex[at:].strip() == ""
    return entries


def test_all_literature_parses_and_is_whole() -> None:
    entries = parsed(citation(*LABELS))
    for key, fields in entries.items():
        assert fields["title"] and fields["author"], key
        if key != "arvdm_theory":
            assert re.fullmatch(r"(19|20)\d\d", fields["year"]), key
            assert key.startswith(re.sub(r"[^a-z].*", "", key)) and fields["year"] in key, key
        if fields[""] == "misc":
            number = re.fullmatch(r"(\d\d)(\d\d)\.(\d{4,5})", fields["eprint"])
            assert number and fields["archivePrefix"] == "arXiv", key
            # the number holds the date: year and month
            assert int(fields["year"]) == 2000 + int(number[1]) and 1 <= int(number[2]) <= 12, key
        if fields[""] == "article":
            assert fields["journal"] and fields["volume"], key
    assert len({fields["title"] for fields in entries.values()}) == len(entries)


@pytest.mark.parametrize("broken", ["@misc{a,\n  title = {{x},\n}", "@misc{a,\n}\n}", "text"])
def test_the_parser_refuses_what_is_no_bibtex(broken: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        parsed(broken)


def test_nothing_in_the_literature_is_unused_or_missing() -> None:
    used = {key for keys in [*LABELS.values(), *METHODS.values()] for key in keys}
    apart = {"wang2025error", "arvdm_theory", "johansson2017arb", "yeung1997framework"}
    assert used | apart == set(LITERATURE)


def test_the_paper_and_the_package_stand_in_the_citation_file() -> None:
    cff = (PACKAGE.parent / "CITATION.cff").read_text(encoding="utf-8")
    entries = parsed(citation())
    assert list(entries) == ["wang2025error", "arvdm_theory"]
    assert entries["wang2025error"]["title"] in cff
    assert f"arXiv:{entries['wang2025error']['eprint']}" in cff
    authors = entries["wang2025error"]["author"].split(" and ")
    given = re.findall(r'family-names: "?(\w+)"?\n\s+given-names: "?([^"\n]+)"?', cff)
    assert authors == [f"{first} {family}" for family, first in given]
    assert re.sub("[{}]", "", entries["arvdm_theory"]["title"]) in cff
    assert entries["arvdm_theory"]["version"] == __version__


def test_every_label_in_the_package_has_an_answer() -> None:
    """Labels as the sources write them: `theorems=(...)`, `theorem="..."`, `Estimate`s."""
    written: set[str] = set()
    for path in PACKAGE.glob("*.py"):
        if path.stem == "literature":
            continue
        text = path.read_text(encoding="utf-8")
        for group in re.findall(r"theorems\b[^=\n]*=\s*\(([^)]*)\)", text):
            written |= set(re.findall(r'"([^"]+)"', group))
        written |= set(re.findall(r'theorem\b[^=\n]*=\s*"([^"{]+)"', text))
        found = re.findall(r'"((?:Corollary )?[A-CDLMRET]\d?)"', text)
        written |= {label for label in found if re.fullmatch(r"[DLMRET]\d|Corollary A", label)}
    assert {"A", "R2", "R6", "E1", "T1, Theorem C", "M7", "L3"} <= written
    for label in written:
        assert "wang2025error" in parsed(citation(label)), label


def test_every_method_sampler_and_statement_has_an_answer() -> None:
    assert set(METHODS) == set(PACKAGE_METHODS)
    assert set(SAMPLERS) == set(PACKAGE_SAMPLERS)
    for label in STATEMENTS:
        if label != "budget":
            citation(label)


def test_a_result_cites_its_theorems_its_schedule_and_its_sampler() -> None:
    result = decompose(VIDEO, SCHEDULE, Generator(sampler="ddim"), steps=2)
    keys = parsed(citation(result))
    assert {"guo2005mutual", "kim2024fifo", "song2020denoising"} <= set(keys)
    assert "ruhe2024rolling" not in keys and "zhang2022fast" not in keys
    assert list(parsed(citation(result, result))) == list(keys)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: window_memory_bottleneck(VIDEO, 1), "hosking1981fractional"),
        (lambda: scalar_window_memory(VIDEO, 1), "kolmogorov1941interpolation"),
        (lambda: memory_budget(VIDEO).floor(0.1), "chechik2005information"),
        (lambda: compare_schedules(VIDEO, [SCHEDULE], frames=2)[0], "vincent2011connection"),
        (lambda: prove("I(X;Z|Y,g) >= 0"), "yeung1997framework"),
        (lambda: prove(STATEMENTS["M1"]), "cover2006elements"),
        (lambda: drifting_chain(0.1, 3), "wang2025error"),
    ],
)
def test_results_of_every_kind(make, key: str) -> None:
    assert key in parsed(citation(make()))


def test_certified_numbers_cite_ball_arithmetic() -> None:
    pytest.importorskip("flint")
    from arvdm_theory import certified

    assert "johansson2017arb" in parsed(citation(certified.gaussian_kl([["1"]], [["4"]]), "A"))
    result = certified.decompose(VIDEO, SCHEDULE, Generator(), steps=1)
    assert {"johansson2017arb", "ho2020denoising"} <= set(parsed(citation(result)))


def test_labels_as_text() -> None:
    assert parsed(citation("T1, Theorem C")) == parsed(citation("T1", "C"))
    assert parsed(citation("M1 (monotone)")) == parsed(citation("M1"))
    for term in ("IE", "NIE", "SEE", "DE", "MB"):
        assert parsed(citation(term)) == parsed(citation("A"))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("R7", r"label must be one of the theory \(did you mean R\d\?\), got R7"),
        ("", "label must be one of the theory"),
        (3.0, "used must be results that name their theorems, or labels, got 3.0"),
        (VIDEO, "used must be results"),
    ],
)
def test_what_names_no_theorem_is_refused(item, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        citation(item)
