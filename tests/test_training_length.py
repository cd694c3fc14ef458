"""Rows that are trained longer beside the planned ones: changes are paired, and not made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import training_length
from figures import page
from paper_repro.experiments import LONGER
from tests.synthetic_rows import follows_the_paper, write


def effect(world: str, row: str) -> dict[str, float]:
    out = follows_the_paper(world, row)
    return out | {"within": 0.6, "decay": 2.0} if "longer" in row else out | {"within": 0.3}


def test_the_rows_are_those_that_are_trained_longer() -> None:
    config = training_length.CONFIG
    names = {f"{row}-longer-{config['times']}" for row in config["rows"]}
    assert names == {row.name(4) for row in LONGER} and len(names) == len(LONGER)


def test_a_planted_change_is_found(tmp_path: Path) -> None:
    config = {**training_length.CONFIG, "results": str(tmp_path)}
    write(tmp_path, ["prepend-28", "channel_concat-28"], [0, 1], ["maze"], effect)
    assert training_length.compute(config).empty
    write(tmp_path, ["prepend-28-longer-4"], [0], ["maze"], effect)
    table = training_length.compute(config).set_index("quantity")
    assert set(table["row"]) == {"prepend-28"} and set(table["seeds"]) == {1}
    assert set(table["over"]) == {"clips only"}
    assert (table["steps"] == 100.0).all() and (table["times"] == 4).all()
    for ages in ("0–4", "4–12", "12–28"):
        row = table.loc[f"retrieval, ages {ages}"]
        assert row["low"] < 0.3 < row["high"]
        assert row["change"] == pytest.approx(row["longer"] - row["planned"])
    decay = table.loc["PSNR decay to frames 60–64"]
    planned = follows_the_paper("maze", "prepend-28")["decay"]
    # clips are as hard for both: 60 of the 12 frames that the decay is given for
    assert decay["change"] == pytest.approx(5.0 * (2.0 - planned), abs=0.3)
    assert decay["low"] < 5.0 * (2.0 - planned) < decay["high"]
    early = table.loc["PSNR decay to frames 12–16"]
    assert early["low"] < 2.0 - planned < early["high"]
    growth = table.loc["MSE growth to frames 12–16"]
    assert growth["unit"] == "of the squared peak" and growth["change"] * early["change"] > 0


def test_lengths_are_compared_where_there_are_two(tmp_path: Path) -> None:
    config = {**training_length.CONFIG, "results": str(tmp_path)}
    lengths = ["prepend-4", "prepend-28"]
    write(tmp_path, [*lengths, "prepend-28-longer-4"], [0], ["maze", "blocks"], effect)
    assert page._lengths_once_learnt(training_length.compute(config)) == []
    write(tmp_path, ["prepend-4-longer-4"], [0], ["blocks"], effect)
    table = training_length.compute(config)
    (said,) = page._lengths_once_learnt(table)
    decay = table[table["quantity"] == "PSNR decay to frames 12–16"].set_index(["world", "row"])
    first, last = (decay.loc["blocks", row] for row in lengths)
    assert said.startswith("On blocks, prepend with memory 4, 28 retrieves ")
    assert (
        f"decays by {first['planned']:.2f}, {last['planned']:.2f} dB and then "
        f"{first['longer']:.2f}, {last['longer']:.2f} dB to frames 12–16."
    ) in said
