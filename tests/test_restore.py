"""A lost result comes back with the next `make train`, the same; a row trained again does too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from analysis import retrained_row, shipped
from arvdm_theory.errors import RefusedError, TooLittleDataError
from paper_repro import plan, queue
from paper_repro.experiments import Row
from paper_repro.plan import Job, load, missing
from tests.test_plan import tiny

JOBS = [Job("maze", Row("none"), 0), Job("maze", Row("prepend", 16), 0)]


class Finished:
    """Stands for the process of a job that was done at once."""

    def __init__(self, state: int) -> None:
        self.state = state

    def poll(self) -> int:
        return self.state


def weights(job: Job, network: torch.nn.Module, worlds: Path) -> dict[str, np.ndarray]:
    """Stands for the measurement: equal weights give equal numbers, others do not."""
    return {name: value.numpy() for name, value in network.state_dict().items()}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], list[str]]:
    """Run the queue on two tiny jobs; returns the names of those that it started."""
    monkeypatch.setattr(plan, "experiment", tiny)
    monkeypatch.setattr(queue, "measured", weights)
    monkeypatch.setattr(queue.time, "sleep", lambda seconds: None)
    started: list[str] = []

    def start(job: Job, out: Path, results: Path) -> Any:
        started.append(job.name)
        return Finished(queue.run_job(job, out, results, limit=None))

    monkeypatch.setattr(queue, "_start", start)

    def run(out: Path, results: Path) -> list[str]:
        started.clear()
        assert queue.run_queue(JOBS, out, results) == []
        return list(started)

    return run


def contents(results: Path) -> dict[str, dict[str, np.ndarray]]:
    return {job.name: arrays for job, arrays, _ in load(JOBS, results)}


def assert_same(one: dict[str, dict[str, np.ndarray]], other: Any) -> None:
    assert one.keys() == other.keys() == {job.name for job in JOBS}
    for name, arrays in one.items():
        assert arrays.keys() == other[name].keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, other[name][key], err_msg=f"{name} {key}")


def test_a_lost_result_is_restored(tmp_path: Path, work: Callable[[Path, Path], list[str]]) -> None:
    out, results = tmp_path / "out", tmp_path / "results"
    start, row = JOBS
    assert work(out, results) == [start.name, row.name]
    whole = contents(results)
    assert work(out, results) == []  # nothing is missing, nothing is done

    # one result: it alone is made again, from checkpoints
    for suffix in (".npz", ".json"):
        (results / f"{row.name}{suffix}").unlink()
        assert missing(JOBS, results) == [row]
        assert work(out, results) == [row.name]
        assert_same(contents(results), whole)

    # and in a fresh clone, which has results and no checkpoints: it is trained again
    shutil.rmtree(out)
    (results / f"{row.name}.npz").unlink()
    assert work(out, results) == [row.name]
    assert_same(contents(results), whole)
    assert not start.folder(out).exists()  # the shipped weights were enough to start from

    # the weights that the row starts from: they, not the row
    shipped_weights = start.weights(out, results)
    assert shipped_weights is not None and shipped_weights.parent == results
    shipped_weights.unlink()
    assert work(out, results) == [start.name]
    assert missing(JOBS, results) == []
    assert_same(contents(results), whole)


def test_weights_that_are_not_shipped_are_trained_again_where_they_are_needed(
    tmp_path: Path, work: Callable[[Path, Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SEEDS", 0)
    out, results = tmp_path / "out", tmp_path / "results"
    start, row = JOBS
    work(out, results)
    whole = contents(results)
    kept = start.weights(out, results)
    assert kept is not None and kept.is_file() and not list(results.glob("*.safetensors"))

    shutil.rmtree(out)
    (results / f"{row.name}.npz").unlink()
    assert missing(JOBS, results) == [row]
    with monkeypatch.context() as slow:  # in parts, and not beside another process
        slow.setattr(queue, "train", lambda *of, **how: SimpleNamespace(step=1))
        assert queue.run_job(row, out, results) == queue.UNFINISHED and not kept.exists()
        with queue._held(start.folder(out) / "lock"):
            assert queue.run_job(row, out, results) == queue.HELD
    assert work(out, results) == [row.name]
    assert kept.is_file()
    assert_same(contents(results), whole)


# --- a row trained again --------------------------------------------------------------------------

TINY: dict[str, Any] = {**retrained_row.CONFIG, "seeds": [0, 1, 2], "new_seed": 3}


def scores(config: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Of a training that is not done: scores near 20 dB that differ by seed."""
    off = (-1.0, 1.0, 0.0, 0.5)[seed]
    values = {"psnr": 20.0 + 0.1 * off, "retrieval": 0.5 - 0.01 * off}
    return [
        {"seed": seed, "span": "0-4", "core_seconds": 1.0, "quantity": name, "value": value}
        for name, value in values.items()
    ]


def test_another_training_ends_within_the_interval_and_a_worse_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrained_row, "train_and_score", scores)
    retrained_row.measure(TINY, results=tmp_path)
    found = retrained_row.check(TINY, results=tmp_path)
    assert len(found) == 2 and found["within"].all()
    assert (found["low"] < found["mean"]).all() and (found["mean"] < found["high"]).all()

    def worse(config: dict[str, Any], seed: int) -> list[dict[str, Any]]:
        return [row | {"value": 0.8 * row["value"]} for row in scores(config, seed)]

    monkeypatch.setattr(retrained_row, "train_and_score", worse)
    assert not retrained_row.check(TINY, results=tmp_path)["within"].any()
    with pytest.raises(RefusedError, match="--measure"):
        retrained_row.check({**TINY, "steps": 7}, results=tmp_path)


def test_intervals_hold_what_they_say() -> None:
    """Of 400 new trainings 95 % have all three scores within."""
    rng = np.random.default_rng(0)
    held = 0
    names = ["a", "b", "c"]
    for _ in range(400):
        drawn = rng.normal(size=(5, 3))
        table = pandas.DataFrame(
            {
                "quantity": names * 4,
                "span": "0-4",
                "value": drawn[:4].ravel(),
            }
        )
        found = retrained_row.intervals(table, 0.95)
        held += bool(((found["low"] < drawn[4]) & (drawn[4] < found["high"])).all())
    assert held / 400 > 0.95 - 3.0 * np.sqrt(0.95 * 0.05 / 400)
    with pytest.raises(TooLittleDataError, match="seeds"):
        retrained_row.intervals(pandas.DataFrame(scores(TINY, 0)), 0.95)


def test_the_shipped_scores_are_of_every_seed() -> None:
    table, _ = shipped.read(retrained_row.NAME, retrained_row.CONFIG)
    assert sorted(table["seed"].unique()) == retrained_row.CONFIG["seeds"]
    assert (table["core_seconds"] > 0.0).all()
    by_age = table.pivot(index="seed", columns="span", values="value")
    assert (by_age["0-4"] > by_age["12-28"]).all()  # it uses its memory


@pytest.mark.heavy
def test_the_short_row_trained_again_ends_where_it_must() -> None:
    found = retrained_row.check()
    assert found["within"].all(), found.to_string()


@pytest.mark.heavy
def test_a_row_trained_for_less_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a third of the steps is not within the interval."""
    train = retrained_row.train_and_score
    monkeypatch.setattr(
        retrained_row,
        "train_and_score",
        lambda config, seed: train({**config, "steps": config["steps"] // 3}, seed),
    )
    assert not retrained_row.check()["within"].all()
