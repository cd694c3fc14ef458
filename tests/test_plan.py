"""The compute plan: order, keys, resuming, and that nothing half done counts as done."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arvdm_theory.errors import ParameterError
from paper_repro import plan, queue
from paper_repro.arvdm.training import load_network
from paper_repro.experiments import (
    LONGER,
    MANY_SCHEDULES,
    ROWS,
    Experiment,
    Row,
    experiment,
    override,
)
from paper_repro.many_schedules import CONTROL, SETTINGS
from paper_repro.plan import CONTROLLED, KINDS, READ, Job, jobs, load, missing
from paper_repro.worlds import World

torch.set_num_threads(1)

NONE, PREPEND = Row("none"), Row("prepend", 16)
OURS = [row for row in ROWS if row.compressor == "state_space"]


def tiny(name: str) -> Experiment:
    """The row called `name` on 16-pixel panoramas with a network that trains in a second."""
    world, _, row = name.partition("-")
    assert world in plan.WORLDS
    return override(
        experiment(f"panorama-{row}"),
        [
            "network.width=16",
            "network.layers=1",
            "network.refine=4",
            "data.count=8",
            "data.length=20",
            "training.steps=6",
            "training.batch_size=2",
            "training.checkpoint_every=2",
            "evaluation.clips=3",
            "evaluation.context=5",
            "evaluation.generated=4",
            "evaluation.substeps=2",
        ],
    )


def first_pixels(world: World, count: int = queue.COMPONENTS[-1]) -> np.ndarray:
    """Directions that are orthonormal and cost nothing."""
    return np.eye(np.prod(world.frame_shape), count, dtype=np.float32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "experiment", tiny)
    monkeypatch.setitem(queue.ACCUMULATION, "generated", 8)
    monkeypatch.setitem(queue.TEACHER, "clips", 3)
    monkeypatch.setitem(queue.FRECHET, "real_clips", 50)
    monkeypatch.setattr(queue, "components", first_pixels)
    few = {"count": 5, "context": 7, "generated": 20, "seed": 1}
    for name, value in {"clips": few, "rolled_out": 3, "frames": 12, "loss_frames": 8}.items():
        monkeypatch.setitem(SETTINGS, name, value)


def test_a_plan_holds_everything_of_fewer_seeds_first() -> None:
    whole = jobs()
    assert len(whole) == len(set(whole))
    kinds = len(KINDS) - len(LONGER) + len(CONTROLLED) + len(READ)
    more = [job for job in whole if job.seed >= plan.SEEDS]
    assert len(whole) - len(more) == len(plan.WORLDS) * (plan.SEEDS * kinds + len(LONGER))
    assert {job.row for job in jobs(seeds=[4])} == {job.row for job in whole} - {*LONGER}
    late = {"reading": 1, "longer": 2, "ours": 3}
    parts = [
        late["longer" if job.row in LONGER else "ours" if job.row in OURS else job.part]
        if job.part == "reading" or job.row in (*LONGER, *OURS)
        else 0
        for job in whole
    ]
    assert parts == sorted(parts) and set(parts) == {0, 1, 2, 3}
    assert {job.seed for job in whole if job.row in LONGER} == {0}
    for part in range(4):
        order = [
            (job.seed, job.row == MANY_SCHEDULES)
            for job, of in zip(whole, parts, strict=True)
            if of == part
        ]
        assert order == sorted(order)
    for job in whole:
        if job.start is not None:
            assert whole.index(job.start) < whole.index(job)
        if job.part != "rows":
            assert whole.index(job.row_itself) < whole.index(job)


def test_rows_that_left_a_claim_open_have_more_seeds() -> None:
    more = [job for job in jobs() if job.seed >= plan.SEEDS]
    assert {job.part for job in more} == {"rows"}
    of_rows = {(job.world, job.row.name(4)) for job in more}
    assert {name for world in plan.WORLDS for name in plan.OPEN[world]} <= {
        row for _, row in of_rows
    }
    for world, row in of_rows:
        found = [job.seed for job in jobs() if (job.world, job.row.name(4)) == (world, row)]
        assert set(found) == set(range(plan.MORE_SEEDS))
    kinds = ("prepend-12-joint", "channel_concat-12-modulated")
    budgets = {f"{kind}-{slots}" for kind in kinds for slots in (2, 4, 8, 12)}
    assert {(world, row) for world in plan.WORLDS for row in budgets} <= of_rows
    assert ("maze", "prepend-4") not in of_rows and ("blocks", "prepend-4") in of_rows


def test_a_part_of_a_plan_holds_what_it_starts_from() -> None:
    titles = [job.title for job in jobs(only="maze-prepend-4", seeds=[1])]
    row = "maze-prepend-4-seed-1"
    assert titles == ["maze-none-seed-1", row, f"{row} controls", f"{row} reading"]
    for part in ("controls", "reading"):
        chosen = [job.title for job in jobs(only=f"{row} {part}")]
        assert chosen == [*titles[:2], f"{row} {part}"]
    with pytest.raises(ParameterError, match="only"):
        jobs(only="labyrinth")
    with pytest.raises(ParameterError, match="world"):
        jobs(worlds=["luanti"])


def test_keys_of_trained_networks_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes these throws away hours of training."""
    keys = {
        ("maze", "prepend-12"): ("fc850e2ba9263d60", "debafc53f07138a7"),
        ("blocks", "prepend-28"): ("4f38555df4e58602", "869a368af6ab6eb9"),
    }
    monkeypatch.setattr(plan, "MEASUREMENT", 2)  # of the measurements that had these keys
    for (world, name), (trained, measured) in keys.items():
        (row,) = (row for row in ROWS if row.name(4) == name)
        job = Job(world, row, 0)
        assert (job.training_key, job.key) == (trained, measured)
    assert KINDS[: len(ROWS)] == ROWS and KINDS[len(ROWS)] == MANY_SCHEDULES


def test_a_row_that_is_trained_longer_differs_in_nothing_else() -> None:
    for row in LONGER:
        longer, planned = (
            Job("maze", kind, 0).experiment for kind in (row, dataclasses.replace(row, longer=1))
        )
        steps = longer.training.steps // row.longer
        same = dataclasses.replace(longer.training, steps=steps)
        assert dataclasses.replace(longer, name=planned.name, training=same) == planned
        assert longer.name == f"{planned.name}-longer-4"


def test_the_network_for_many_schedules_starts_from_the_same_weights() -> None:
    job = Job("blocks", MANY_SCHEDULES, 2)
    assert job.name == "blocks-many-schedules-seed-2" and job.start == Job("blocks", NONE, 2)
    network, chosen = job.experiment.network, job.experiment
    assert (network.window, network.memory, network.structure) == (8, 12, "prepend")
    assert chosen.diffusion.levels == "mixture"
    assert Job("blocks", PREPEND, 2).experiment.diffusion.levels == "shared"
    assert chosen.evaluation == Job("blocks", PREPEND, 2).experiment.evaluation


def test_its_key_knows_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Job("maze", MANY_SCHEDULES, 0).key
    monkeypatch.setattr(plan, "MEASUREMENT", plan.MEASUREMENT + 1)  # of the rows
    assert Job("maze", MANY_SCHEDULES, 0).key == before
    monkeypatch.setitem(SETTINGS, "frames", SETTINGS["frames"] + 1)
    assert Job("maze", MANY_SCHEDULES, 0).key != before


@pytest.mark.usefixtures("small")
def test_a_network_for_many_schedules_is_trained_measured_and_shipped(tmp_path: Path) -> None:
    start, job = Job("maze", NONE, 0), Job("maze", MANY_SCHEDULES, 0)
    results = tmp_path / "results"
    for one in (start, job):
        assert queue.run_job(one, tmp_path, results, limit=None) == queue.FINISHED
    assert missing([start, job], results) == []
    ((_, arrays, manifest),) = load([job], results)
    schedules = len(SETTINGS["schedules"])
    assert manifest["many_schedules"] == json.loads(json.dumps(SETTINGS))
    assert manifest["started_from"] == start.name and "accumulation" not in manifest
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {
        "schedule_error": (schedules, 3, 12),
        "schedule_one_pass": (schedules, 2, 12),
        "schedule_loss": (schedules, 2),
        "schedule_chance": (5, 12),
        "schedule_age": (5, 12),
    }
    for name in ("error", "one_pass", "loss", "chance"):
        assert np.all(arrays[f"schedule_{name}"] > 0.0)
    assert np.all((arrays["schedule_age"] >= 1) & (arrays["schedule_age"] <= 12))
    # the same weights measured again give the same numbers
    network = load_network(job.folder(tmp_path) / "checkpoints" / "step-00000006.safetensors")[0]
    again = queue._under_many_schedules(job, network, tmp_path / "worlds")
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name])
    # the control: the same network, the ladders on other levels
    control = dataclasses.replace(job, part="controls")
    assert control.key != job.key
    assert queue.run_job(control, tmp_path, results, limit=None) == queue.FINISHED
    ((_, other, manifest),) = load([control], results)
    assert manifest["control"] == CONTROL and manifest["many_schedules"]["frames"] == 12
    assert {name: array.shape for name, array in other.items()} == {
        "control_error": (5, 3, 12),
        "control_one_pass": (5, 2, 12),
        "control_loss": (schedules, 2),
        "control_detail": (schedules + 5, 2),
        "control_detail_true": (2,),
    }
    assert all(np.all(array > 0.0) for array in other.values())
    assert np.any(other["control_error"] != arrays["schedule_error"][:5])  # ladders come first


@pytest.mark.usefixtures("small")
def test_controls_take_the_network_of_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"clips": 20, "context": 5, "generated": 8, "seed": 3}
    monkeypatch.setitem(plan.CONTROLS, "wandering", few)
    monkeypatch.setitem(plan.CONTROLS, "true_memory", {"clips": 3})
    start, row = Job("maze", NONE, 0), Job("maze", PREPEND, 0)
    controls = dataclasses.replace(row, part="controls")
    assert controls.folder(tmp_path) == row.folder(tmp_path) and controls.key != row.key
    results = tmp_path / "rows"
    for job in (start, row, controls):
        assert missing([job], results) == [job]
        assert queue.run_job(job, tmp_path, results, limit=None) == queue.FINISHED
        assert missing([job], results) == []
    assert missing([start, row, controls], results) == []
    ((_, of_row, _), (_, arrays, manifest)) = load([row, controls], results)
    assert (tmp_path / "controls" / f"{row.name}.npz").exists()
    assert manifest["controls"] == json.loads(json.dumps(plan.CONTROLS))
    fro, wandering = (3, 8), (20, 8)
    assert {name: array.shape for name, array in arrays.items()} == {
        "control_true_memory": fro,
        "control_wandering": wandering,
        "control_wandering_chance": wandering,
        "control_wandering_age": wandering,
    }
    # the first chunk has seen nothing but true frames either way; the second one remembers it
    window = row.experiment.network.window
    own = of_row["accumulation_error"]
    np.testing.assert_allclose(
        own[:, :window], arrays["control_true_memory"][:, :window], rtol=1e-5
    )
    assert not np.allclose(own[:, window:], arrays["control_true_memory"][:, window:], rtol=1e-3)
    assert np.all(arrays["control_wandering_chance"] > 0.0)
    # a row that is measured again has a new network: its controls are to be measured again too
    (results / f"{row.name}.json").unlink()
    assert queue.run_job(row, tmp_path, results, limit=None) == queue.FINISHED
    assert missing([row, controls], results) == [controls]
    assert queue.run_job(controls, tmp_path, results, limit=None) == queue.FINISHED
    with monkeypatch.context() as changed:  # done already: nothing is trained or measured
        changed.setattr(queue, "train", None)
        assert queue.run_job(controls, tmp_path, results) == queue.FINISHED
    with monkeypatch.context() as changed:
        changed.setattr(plan, "MEASUREMENT", plan.MEASUREMENT + 1)
        assert missing([Job("maze", PREPEND, 0, part="controls")], results) != []
    with monkeypatch.context() as changed:
        changed.setitem(plan.CONTROLS, "wandering", {**few, "seed": 4})
        again = Job("maze", PREPEND, 0, part="controls")
        assert missing([row, again], results) == [again]


@pytest.mark.usefixtures("small")
def test_what_is_read_is_of_the_network_of_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plan.READING, "windows", 1)  # there are 4 generated frames
    start, row = Job("maze", NONE, 0), Job("maze", PREPEND, 0)
    part, results = dataclasses.replace(row, part="reading"), tmp_path / "rows"
    for job in (start, row, part):
        assert missing([job], results) == [job]
        assert queue.run_job(job, tmp_path, results, limit=None) == queue.FINISHED
    assert missing([start, row, part], results) == []
    ((_, of_row, _), (_, arrays, manifest)) = load([row, part], results)
    assert manifest["reading"] == json.loads(json.dumps(plan.READING))
    assert {name: array.shape for name, array in arrays.items()} == {
        "reading_error": (1, 2, 3, 4),
        "reading_success": (1, 2, 3, 4),
    }
    true, foreign = arrays["reading_error"][0]
    np.testing.assert_allclose(true, of_row["return_error"][:3, :4], rtol=1e-5)
    assert np.any(foreign != true)  # after 6 steps hardly
    (results / f"{row.name}.json").unlink()
    assert queue.run_job(row, tmp_path, results, limit=None) == queue.FINISHED
    assert missing([row, part], results) == [part]


def test_keys_know_what_numbers_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("maze", PREPEND, 0)
    key, trained = job.key, job.training_key
    assert job.start is not None

    def again(*settings: str) -> Job:
        monkeypatch.setattr(
            plan, "experiment", lambda name: override(experiment(name), list(settings))
        )
        return Job("maze", PREPEND, 0)

    assert again("training.log_every=3").key == key
    assert again("evaluation.clips=7").training_key == trained
    assert again("evaluation.clips=7").key != key
    assert again("training.steps=7").training_key != trained
    assert again("network.width=16").training_key != trained
    monkeypatch.undo()

    def other_start(name: str) -> Experiment:  # only the network that it starts from differs
        named = experiment(name)
        return dataclasses.replace(named, revision=2) if name == "maze-none" else named

    monkeypatch.setattr(plan, "experiment", other_start)
    assert Job("maze", PREPEND, 0).training_key != trained


@pytest.mark.usefixtures("small")
def test_a_job_in_parts_gives_the_numbers_of_one_in_a_piece(tmp_path: Path) -> None:
    start, row = Job("maze", NONE, 0), Job("maze", PREPEND, 0)
    both = [start, row]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for job in both:
        assert queue.run_job(job, tmp_path / "a", whole, limit=None) == queue.FINISHED
    assert queue.run_job(start, tmp_path / "b", parts, limit=0.0) == queue.UNFINISHED
    assert missing(both, parts) == both
    assert queue.run_job(start, tmp_path / "b", parts, limit=0.0) == queue.UNFINISHED
    assert queue.run_job(start, tmp_path / "b", parts, limit=None) == queue.FINISHED
    assert missing(both, parts) == [row]
    assert queue.run_job(row, tmp_path / "b", parts, limit=None) == queue.FINISHED
    assert missing(both, parts) == []
    for (_, one, manifest), (_, other, _) in zip(load(both, whole), load(both, parts), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
        assert one["return_age"].shape == (3, 4)
        assert one["component_error"].shape == (3, 2, len(queue.COMPONENTS))
        # components are orthonormal: more of them hold more of the whole error
        assert np.all(np.diff(one["component_error"]) >= 0.0)
        assert np.all(one["component_error"][..., -1] <= one["teacher_error"] * (1 + 1e-5))
        assert manifest["training_core_seconds"] > 0.0
    # the row starts from the network without memory, not from scratch
    (_, scratch, _) = next(iter(load([row], whole)))
    assert scratch["teacher_error"].shape == (3, 2)


@pytest.mark.usefixtures("small")
def test_what_is_damaged_or_of_other_settings_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Job("blocks", NONE, 1)
    queue.run_job(start, tmp_path, tmp_path / "results", limit=None)
    assert missing([start], tmp_path / "results") == []

    def other(name: str) -> Experiment:
        return override(tiny(name), ["training.learning_rate=0.5"])

    with monkeypatch.context() as changed:
        changed.setattr(plan, "experiment", other)
        assert len(missing([Job("blocks", NONE, 1)], tmp_path / "results")) == 1
    for suffix in (".safetensors", ".npz", ".json"):
        path = tmp_path / "results" / f"{start.name}{suffix}"
        content = path.read_bytes()
        path.write_bytes(content[:-3])
        assert missing([start], tmp_path / "results") == [start]
        path.unlink()
        assert missing([start], tmp_path / "results") == [start]
        path.write_bytes(content)
    assert missing([start], tmp_path / "results") == []


@pytest.mark.usefixtures("small")
def test_a_job_that_another_process_holds_is_passed_over(tmp_path: Path) -> None:
    job = Job("maze", NONE, 0)
    job.folder(tmp_path).mkdir(parents=True)
    with queue._held(job.folder(tmp_path) / "lock") as ours:
        assert ours
        assert queue.run_job(job, tmp_path, tmp_path / "results") == queue.HELD
    assert not (tmp_path / "results").exists()


class Process:
    """Stands for a job's process; ends at once with a state."""

    def __init__(self, state: int) -> None:
        self.state = state

    def poll(self) -> int:
        return self.state


def test_the_queue_continues_skips_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = jobs(seeds=[0], only="prepend-4-seed")
    first, second = (job for job in whole if job.start is None)
    states = {first: [queue.UNFINISHED, queue.FINISHED], second: [queue.FAILED]}
    started: list[Job] = []

    def start(job: Job, out: Path, results: Path) -> Any:
        started.append(job)
        return Process(states.get(job, [queue.FINISHED]).pop(0))

    monkeypatch.setattr(queue, "_start", start)
    monkeypatch.setattr(queue.time, "sleep", lambda seconds: None)
    failed = queue.run_queue(whole, tmp_path, tmp_path / "results", processes=2)
    assert failed == [second]
    assert started.count(first) == 2
    row = Job(first.world, PREPEND, 0)
    parts = [dataclasses.replace(row, part=part) for part in plan.PARTS]
    assert [job for job in started if job.start] == parts  # after what they need, only
    assert started.index(first) < started.index(row)
    said = capsys.readouterr().out
    assert "to be continued" in said and "failed, see" in said and "h left" in said


def test_controls_wait_for_their_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Job("maze", PREPEND, 0)
    start, controls = Job("maze", NONE, 0), dataclasses.replace(row, part="controls")
    running: list[Job] = []

    class Slow(Process):
        polls = 0

        def poll(self) -> int | None:  # type: ignore[override]
            self.polls += 1
            return self.state if self.polls > 2 else None

    def begin(job: Job, out: Path, results: Path) -> Any:
        running.append(job)
        return Slow(queue.FAILED if job == row else queue.FINISHED)

    monkeypatch.setattr(queue, "_start", begin)
    monkeypatch.setattr(queue.time, "sleep", lambda seconds: None)
    plan_of = [start, row, controls]
    # a row that fails has no controls
    assert queue.run_queue(plan_of, tmp_path, tmp_path / "rows", processes=2) == [row]
    assert running == [start, row]
    assert not queue._ready(controls, [], [row]) and queue._ready(controls, [], [])


def test_results_that_are_shipped_are_what_their_manifests_say() -> None:
    for path in sorted(plan.RESULTS.glob("*.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for name, digest in manifest["sha256"].items():
            assert plan._file_digest(plan.RESULTS / name) == digest, name
