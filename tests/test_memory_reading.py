"""What is read of a memory: copiers read where they copy from, planted losses are found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from analysis import memory_reading
from analysis.memory_reading import ALL, NOTHING, name_of_band
from arvdm_theory.errors import RefusedError
from figures import memory_reading as figure
from figures import page
from paper_repro import plan, queue, reading
from paper_repro.arvdm.diffusion import DiffusionConfig
from paper_repro.arvdm.network import Denoiser, NetworkConfig
from paper_repro.evaluate import EvaluationConfig
from paper_repro.plan import READ, Job
from paper_repro.reading import SETTINGS, conditions, distances
from paper_repro.worlds import make_world
from paper_repro.worlds.world import look_away
from tests.synthetic_rows import follows_the_paper, manifest, write

torch.set_num_threads(1)

ROWS = {row.name(4): row for row in READ}
CLIPS = 40
NETWORKS = ("prepend-12", "channel_concat-12", "prepend-4")
LOST = {("prepend-12", "1–4"): 0.2, ("prepend-12", "5–12"): 0.6, ("channel_concat-12", "1–4"): 0.5}
"""Planted: share of views lost with foreign frames there; nothing elsewhere."""


class Copier(Denoiser):
    """Says that window k shows what its memory shows so many frames before, and nothing else."""

    def __init__(self, k: int) -> None:
        config = NetworkConfig(size=16, memory=28, structure="prepend")
        super().__init__(config, condition_width=8)
        self.distances = distances(config.window)[k]

    def context(self, batch: int, window: int, *, memory: torch.Tensor, **given: Any) -> Any:
        return memory[:, [memory.shape[1] - int(at) for at in self.distances]]

    def denoise(self, x: torch.Tensor, gamma: torch.Tensor, context: Any) -> torch.Tensor:
        return torch.as_tensor(context)


@pytest.mark.parametrize("k", range(SETTINGS["windows"]))
def test_a_copier_reads_what_it_copies(k: int) -> None:
    world = make_world("panorama", size=16, palette="discrete", attributes=4)
    evaluation = EvaluationConfig(context=25, generated=12, substeps=2, sampler="ddim")
    clips = world.return_clips(20, evaluation.context, evaluation.generated, seed=5)
    network, diffusion = Copier(k), DiffusionConfig()
    found = reading.measured(network, diffusion, evaluation, world, clips)
    bands = conditions(network.config.memory)
    shape = (SETTINGS["windows"], len(bands), len(clips), 4)
    assert {name: array.shape for name, array in found.items()} == {
        "reading_error": shape,
        "reading_success": shape,
    }
    for band, error in zip(bands, found["reading_error"][k], strict=True):
        for j, at in enumerate(distances(4)[k]):
            foreign = band is not None and band[0] < at <= band[1]
            assert error[:, j].mean() > 0.01 if foreign else error[:, j].max() < 1e-4
    assert found["reading_success"][k, 0].mean() > 0.9


def test_a_view_stands_where_distances_say() -> None:
    context, window = 17, 4
    views = look_away(context, context + SETTINGS["windows"] * window)
    for k, of_window in enumerate(distances(window)):
        start = context + k * window
        for j, at in enumerate(of_window):
            assert views[start + j] == views[start - at]


def test_conditions_reach_as_far_as_the_memory() -> None:
    assert conditions(4) == [None, (0, 4)]
    assert conditions(28) == [None, (0, 4), (4, 12), (12, 28), (0, 28)]
    for memory in (4, 12, 28):
        names = [name_of_band(band, memory) for band in conditions(memory)]
        assert names[0] == NOTHING and names[-1] == ALL and len(set(names)) == len(names)


# --- the study ---


def ship(folder: Path, world: str, row: str, seed: int) -> None:
    write(folder / "rows", [row], [seed], [world], clips=CLIPS)
    job = Job(world, ROWS[row], seed)
    ((_, arrays, _),) = plan.load([job], folder / "rows")
    network = job.experiment.network
    bands = conditions(network.memory)
    success = np.ones((SETTINGS["windows"], len(bands), CLIPS, network.window), dtype=bool)
    error = np.full(success.shape, 0.01, dtype=np.float32)
    for c, band in enumerate(bands):
        lost = LOST.get((row, name_of_band(band, network.memory)), 0.0)
        success[:, c, : round(lost * CLIPS)] = False
        error[:, c] *= 1.0 + lost
    success[:2, ..., -1] = False  # the last frame of these windows asks for a view further back
    error[0, 0] = arrays["return_error"][:, : network.window]
    made = {"reading_success": success, "reading_error": error}
    described = manifest(row, follows_the_paper, world) | {"reading": SETTINGS}
    plan.save(dataclasses.replace(job, part="reading"), made, described, folder / "rows")


def places(folder: Path) -> dict[str, Any]:
    named = {"results": str(folder / "rows"), "reading": str(folder / "reading")}
    return {**memory_reading.CONFIG, **named}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("results")
    for row in NETWORKS:
        for seed in range(3):
            ship(folder, "maze", row, seed)
    write(folder / "rows", ["prepend-12"], [0], ["blocks"], clips=CLIPS)  # has no reading yet
    return places(folder)


@pytest.fixture(scope="module")
def table(config: dict[str, Any]) -> pandas.DataFrame:
    return memory_reading.compute(config)


def test_planted_losses_are_found(table: pandas.DataFrame) -> None:
    assert set(table["world"]) == {"maze"} and set(table["row"]) == set(NETWORKS)
    assert set(table["views"]) == {"2–4", "10–12", "18–21"}
    lost = table[table["quantity"] == "lost_retrieval"]
    for (row, foreign), rows in lost.groupby(["row", "foreign"]):
        planted = LOST.get((row, foreign), 0.0)
        np.testing.assert_allclose(rows["value"], planted, atol=1e-12)
        assert np.all((rows["low"] < planted) & (planted < rows["high"]))
        assert np.all((rows["seeds"] == 3) & (rows["clips"] == CLIPS) & (rows["maps"] == 3))
    whole = table[(table["quantity"] == "retrieval") & (table["foreign"] == NOTHING)]
    np.testing.assert_allclose(whole["value"], 1.0)  # without the last frame of the window
    rise = table[(table["quantity"] == "mse_rise") & (table["views"] == "10–12")]
    for row in rise.to_dict("records"):
        planted = LOST.get((row["row"], row["foreign"]), 0.0)
        assert row["value"] == pytest.approx(0.01 * planted, rel=1e-5)


def test_what_is_not_measured_is_not_there(tmp_path: Path) -> None:
    for name in ("rows", "reading"):
        (tmp_path / name).mkdir()
    empty = memory_reading.run(places(tmp_path), out=tmp_path)
    assert empty.empty and "no network" in memory_reading.text_of(empty)
    assert page._read_of_old_frames(empty) == []
    sheet, data = figure.draw(tmp_path)
    assert data.empty and all(ax.texts for ax in sheet.axes)


@pytest.mark.parametrize("what", ["weights", "settings"])
def test_a_reading_of_another_network_is_refused(tmp_path: Path, what: str) -> None:
    ship(tmp_path, "maze", "prepend-12", 0)
    if what == "weights":
        job = Job("maze", ROWS["prepend-12"], 0)
        ((_, arrays, _),) = plan.load([job], tmp_path / "rows")
        arrays["return_error"][:, 1] *= 1.01
        described = manifest("prepend-12", follows_the_paper, "maze")
        plan.save(job, arrays, described, tmp_path / "rows")
    else:
        path = tmp_path / "reading" / "maze-prepend-12-seed-0.json"
        described = json.loads(path.read_text())
        described["reading"]["revision"] = 99
        path.write_text(json.dumps(described))
    with pytest.raises(RefusedError, match=rf"other {what}.*maze-prepend-12-seed-0"):
        memory_reading.compute(places(tmp_path))


def test_figure_and_words_show_what_the_table_says(config: dict[str, Any], tmp_path: Path) -> None:
    table = memory_reading.run(config, out=tmp_path)
    sheet, data = figure.draw(tmp_path)
    assert len(data) == len(SETTINGS["bands"]) * (3 + 3 + 2)  # nothing and the bands of each memory
    middle = sheet.axes[1].containers  # maze, views 10–12: nothing, 1–4, 5–12, 13–28
    for container, foreign in zip(middle, [NOTHING, "1–4", "5–12"], strict=False):
        expected = [
            1.0 - LOST.get((row, foreign), 0.0)
            for row in dict.fromkeys(data["row"])
            if (row, foreign) != ("prepend-4", "5–12")
        ]
        np.testing.assert_allclose(container.lines[0].get_xdata(orig=False), expected)
    (said,) = page._read_of_old_frames(table)
    assert "maze" in said and "prepend-12 0.60 [" in said and "prepend-4" not in said
    assert "views 10–12 frames before" in memory_reading.text_of(table)


def test_the_queue_measures_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {job.row for job in plan.jobs() if job.part == "reading"} == set(READ)
    one = Job("maze", ROWS["prepend-4"], 0, "reading")
    assert one.title == "maze-prepend-4-seed-0 reading"
    assert one.place(tmp_path / "rows") == tmp_path / "reading"
    assert len({one.key, one.row_itself.key, dataclasses.replace(one, part="controls").key}) == 3
    key = one.key
    monkeypatch.setitem(plan.READING, "revision", 99)
    assert Job("maze", ROWS["prepend-4"], 0, "reading").key != key
    assert queue._needed(one) == [one.start, one.row_itself]
    assert queue._measurement(one)[1]["reading"] == SETTINGS
