"""Decay of PSNR by cause: planted decays are found, pairing is used, nothing is made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from analysis import causes_of_decay
from analysis.causes_of_decay import CONDITIONS, COST, TREND, lost_for_good
from analysis.claims import JOINT, PLAN
from arvdm_theory.errors import RefusedError
from figures import causes_of_decay as figure
from figures import page
from figures.page import LOOKED_INTO
from paper_repro import plan, queue
from paper_repro.controls import SETTINGS
from paper_repro.plan import CONTROLLED, Job
from tests.synthetic_rows import follows_the_paper, manifest, write

BUDGETS = dict(zip(JOINT, (2, 4, 8, 12), strict=True))
ROWS = {row.name(4): row for row in CONTROLLED}
CLIPS, FRAMES, START = 40, 64, 20.0
PLANTED = {"true memory": 0.25, "wandering": 5.0}
"""Decay in dB from frames 0–4 to frames 60–64, of every network."""


def error(decay: float, seed: int) -> np.ndarray:
    """Squared errors whose PSNR falls along a line after the first window, of 4 frames.

    Clips are as hard for one row as for another.
    """
    hard = np.random.default_rng(1).normal(size=(CLIPS, 1))
    own = 0.05 * np.random.default_rng([2, seed]).normal()
    psnr = START + hard - (decay + own) * np.maximum(np.arange(FRAMES) - 3.0, 0.0) / 58.5
    return np.asarray(10.0 ** (-psnr / 10.0), dtype=np.float32)


def ship(folder: Path, rows: Iterable[str], seeds: Iterable[int], worlds: Iterable[str]) -> None:
    """Rows and their controls: with own memory, a network of budget b loses log2 b dB."""
    for world in worlds:
        for name in rows:
            for seed in seeds:
                write(folder / "rows", [name], [seed], [world], clips=CLIPS)
                job = Job(world, ROWS[name], seed)
                ((_, arrays, _),) = plan.load([job], folder / "rows")
                arrays["accumulation_error"] = error(np.log2(BUDGETS.get(name, 2)), seed)
                described = manifest(name, follows_the_paper, world)
                plan.save(job, arrays, described, folder / "rows")
                controls = dataclasses.replace(job, part="controls")
                errors = {kind: error(decay, seed) for kind, decay in PLANTED.items()}
                made = {
                    "control_true_memory": errors["true memory"],
                    "control_wandering": errors["wandering"],
                    "control_wandering_chance": np.full((CLIPS, FRAMES), 0.1, np.float32),
                    "control_wandering_age": np.tile(np.int16([-1, 2, 12, 13]), (CLIPS, 16)),
                }
                described = {"accumulation": queue.ACCUMULATION, "controls": SETTINGS}
                plan.save(controls, made, described, folder / "rows")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("results")
    ship(folder, JOINT, [0, 1, 2], ["maze"])
    ship(folder, ["prepend-4"], [0], ["blocks"])
    places = {"results": str(folder / "rows"), "controls": str(folder / "controls")}
    return {**causes_of_decay.CONFIG, **places}


@pytest.fixture(scope="module")
def table(config: dict[str, Any]) -> pandas.DataFrame:
    return causes_of_decay.compute(config)


def test_planted_decays_are_found(table: pandas.DataFrame) -> None:
    late = table[(table["quantity"] == "psnr_decay") & (table["end"] == 64)]
    for row, budget in BUDGETS.items():
        found = late[(late["row"] == row) & (late["world"] == "maze")].set_index("condition")
        planted = {"own memory": np.log2(budget), **PLANTED}
        planted[COST] = planted["own memory"] - planted["true memory"]
        for condition, decay in planted.items():
            one = found.loc[condition]
            assert one["value"] == pytest.approx(decay, abs=0.1)
            assert one["low"] <= one["value"] <= one["high"]
            assert (one["seeds"], one["clips"], one["maps"]) == (3, CLIPS, 3)
        # the clips are the same: how hard they are takes no part in a decay or a difference
        assert found.loc[COST, "high"] - found.loc[COST, "low"] < 1e-3
    starts = table[(table["quantity"] == "psnr") & (table["end"] == 4) & (table["row"] == JOINT[0])]
    assert starts["value"].iloc[0] == pytest.approx(START, abs=0.3)
    for quantity, share in (("new", 0.25), ("old", 0.5)):
        assert (table.loc[table["quantity"] == quantity, "value"] == share).all()
    chance = table[table["quantity"] == "chance"]
    np.testing.assert_allclose(chance["value"], 10.0, atol=1e-5)


def test_a_trend_is_the_change_along_the_line(table: pandas.DataFrame) -> None:
    trends = table[(table["row"] == TREND) & (table["quantity"] == "psnr_decay")]
    late = trends[trends["end"] == 64].set_index("condition")
    # own decay is a line in log2 of the budget, of slope 1, from 2 to 12
    assert late.loc["own memory", "value"] == pytest.approx(np.log2(6.0), abs=1e-3)
    assert late.loc[COST, "value"] == pytest.approx(np.log2(6.0), abs=1e-3)
    for condition in ("true memory", "wandering"):
        assert late.loc[condition, "value"] == pytest.approx(0.0, abs=1e-5)


def test_a_perfect_copy_of_a_short_memory_loses_what_left_it() -> None:
    """By hand: views 0 to 6 are given, then 5, 4, ..., 0, 1, ...; the memory is 4 frames."""
    # window 5 4 3 2 after 3 4 5 6; then 1 0 1 2 after 5 4 3 (2); then 3 4 5 6 after what is wrong
    expected = [True, True, True] + [False] * 61
    assert lost_for_good(4).tolist() == expected
    assert lost_for_good(6)[:8].tolist() == [True] * 4 + [False, False, False, True]
    for memory in (12, 28):
        assert lost_for_good(memory).all()


def test_controls_of_other_weights_are_refused(config: dict[str, Any], tmp_path: Path) -> None:
    ship(tmp_path, ["prepend-4"], [0], ["maze"])
    job = Job("maze", ROWS["prepend-4"], 0)
    ((_, arrays, _),) = plan.load([job], tmp_path / "rows")
    arrays["accumulation_error"][:, 1] *= 1.01
    described = manifest("prepend-4", follows_the_paper, "maze")
    plan.save(job, arrays, described, tmp_path / "rows")
    places = {"results": str(tmp_path / "rows"), "controls": str(tmp_path / "controls")}
    with pytest.raises(RefusedError, match=r"other weights.*maze-prepend-4-seed-0"):
        causes_of_decay.compute({**config, **places})


def test_what_is_not_measured_is_not_there(table: pandas.DataFrame, tmp_path: Path) -> None:
    assert set(table.loc[table["world"] == "blocks", "row"]) == {"prepend-4"}  # and no trend
    assert set(table.loc[table["world"] == "blocks", "over"]) == {"clips only"}
    for name in ("rows", "controls"):
        (tmp_path / name).mkdir()
    places = {"results": str(tmp_path / "rows"), "controls": str(tmp_path / "controls")}
    config = {**causes_of_decay.CONFIG, **places}
    assert causes_of_decay.compute(config).empty
    # a row without its controls, and controls without their row
    write(tmp_path / "rows", ["prepend-4"], [0], ["maze"], clips=CLIPS)
    assert causes_of_decay.compute(config).empty
    causes_of_decay.run(config, out=tmp_path)
    sheet, data = figure.draw(tmp_path)
    assert data.empty and all(ax.texts for ax in sheet.axes)


def test_the_figure_shows_what_the_table_says(config: dict[str, Any], tmp_path: Path) -> None:
    table = causes_of_decay.run(config, out=tmp_path)
    sheet, data = figure.draw(tmp_path)
    kept = ["world", "family", "row", "condition", "quantity", "first", "end", "value"]
    both = data[kept].merge(table[kept], on=kept)
    assert len(both) == len(data) == 4 * 3 * 2 + 4 + 3 * 2 + 1
    below = sheet.axes[len(sheet.axes) // 2]  # maze, by budget: decays
    lines = [bars.lines[0] for bars in below.containers]
    assert len(lines) == len(CONDITIONS)
    decays = data[(data["world"] == "maze") & (data["quantity"] == "psnr_decay")]
    for line, condition in zip(lines, CONDITIONS, strict=True):
        expected = decays[decays["condition"] == condition].sort_values("size")["value"]
        np.testing.assert_allclose(line.get_ydata(orig=False), expected, rtol=1e-12)
    runs = page._runs(
        table.head(1).assign(networks="prepend-4, prepend-12"),
        [
            f"x/rows/maze-{row}-seed-0.json"
            for row in ("prepend-4", "prepend-12", "prepend-12-joint-2")
        ],
    )
    assert runs == [["maze-prepend-12-seed-0", "maze-prepend-4-seed-0"]]
    text = causes_of_decay.text_of(table)
    assert "own minus true memory" in text and "trend" in text


def test_a_claim_that_fails_says_where_it_is_looked_into() -> None:
    names = [claim.name for claim in PLAN]
    for beginning in LOOKED_INTO:
        assert any(name.startswith(beginning) for name in names)
    ledger = pandas.DataFrame({"claim": names, "overall": "holds"})
    assert page._reasons(ledger) == []
    (said,) = page._reasons(ledger.assign(overall="fails").query("claim == 'metric_blindness'"))
    assert said.startswith("Why metric_blindness fails here") and page.SEEN in said
    (said,) = page._reasons(ledger.assign(overall="fails").query("claim == 'error_accumulates'"))
    assert said == "No experiment looks into why error_accumulates fails here."
