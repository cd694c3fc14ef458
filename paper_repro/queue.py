"""Work through the compute plan: train what is missing, measure it, ship the numbers.

`python -m paper_repro queue` starts one single-threaded process a job, some at a time. A job trains
for at most 30 core-minutes, keeping checkpoints, and is taken up again in its turn if that was not
enough; it may be killed at any moment. Two queues side by side share the work: a job that another
process holds is passed over.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

import arvdm_theory
from arvdm_theory import noise
from arvdm_theory.empirical import gaussian_frechet_distance
from paper_repro import controls, many_schedules, reading
from paper_repro.arvdm.checkpoint import newest
from paper_repro.arvdm.diffusion import noised, pixels
from paper_repro.arvdm.network import Denoiser
from paper_repro.arvdm.training import TrainingResult, save_weights
from paper_repro.evaluate import EvaluationConfig, generate, measure, schedule_of
from paper_repro.experiments import MANY_SCHEDULES, Experiment
from paper_repro.full_scale import cost
from paper_repro.plan import KINDS, PARTS, RESULTS, Job, missing, save
from paper_repro.train import run as train
from paper_repro.worlds import Clips, World, world_from_json
from paper_repro.worlds.walk import CLIPS_A_MAP

__all__ = ["ACCUMULATION", "measured", "run_job", "run_queue"]

SLICE = 30 * 60.0
"""Core-seconds after which a training makes way for the next job."""
FINISHED, UNFINISHED, HELD, FAILED = 0, 10, 11, 1
"""Exit states of a job's process."""

ACCUMULATION: dict[str, Any] = {"context": 7, "generated": 64, "seed": 11_000}
"""Roll-outs that go to and fro over the 7 given frames: no view is older than 12 frames."""
TEACHER = {"clips": 200, "length": 32, "seed": 20_000, "noise_seed": 1}
"""Held-out clips whose last window is denoised given the true frames before it."""
COMPONENTS = (1, 2, 4, 8, 16)
PICTURES = 2
FRECHET: dict[str, Any] = {
    "features": "first 8 principal components of each of the 4 frames of a clip",
    "components": 8,
    "return": ((0, 4), (4, 8), (8, 12), (12, 16)),
    "accumulation": ((0, 4), (12, 16), (28, 32), (44, 48), (60, 64)),
    "real_clips": 400,
    "real_seed": 50_000,
    "clips_a_group": CLIPS_A_MAP,
}
"""Fréchet distances of generated clips to real ones that share no clip with what was shown. Clips
of one map are alike: they are one group of the jackknife."""

# --- one job -------------------------------------------------------------------------------------


def run_job(job: Job, out: Path, results: Path = RESULTS, *, limit: float | None = SLICE) -> int:
    """Train (or go on), then measure and ship; returns one of the exit states."""
    folder = job.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / "lock") as ours:
        if not ours:
            return HELD
        if not missing([job], results):  # done by another queue in the meantime
            return FINISHED
        chosen = job.experiment
        if job.start is not None:
            began = job.start.weights(out, results)
            assert began is not None  # it starts from nothing itself
            if not began.exists():  # not shipped, and not trained here
                state = _train_start(job.start, out, results, limit)
                if state != FINISHED:
                    return state
            training = dataclasses.replace(chosen.training, warm_start=str(began))
            chosen = dataclasses.replace(chosen, training=training)
        trained = _train(chosen, job, out, results, limit)
        if trained.step < chosen.training.steps:
            return UNFINISHED
        start = time.process_time()
        measure_it, settings = _measurement(job)
        arrays = measure_it(job, trained.network, out / "worlds")
        manifest = {
            "parameters": sum(p.numel() for p in trained.network.parameters()),
            "steps": trained.step,
            "operations_per_step": chosen.training.batch_size * cost(chosen).flops,
            "started_from": None if job.start is None else job.start.name,
            "training_core_seconds": _spent(folder / "log.jsonl", "core_seconds"),
            "training_seconds": _spent(folder / "log.jsonl", "seconds"),
            "measuring_core_seconds": round(time.process_time() - start, 2),
            **settings,
            "versions": {
                "python": platform.python_version(),
                "arvdm_theory": arvdm_theory.__version__,
                **{name: metadata.version(name) for name in ("numpy", "scipy", "torch")},
            },
        }
        save(job, arrays, manifest, results)
        if job.part == "rows":  # the others are of an earlier network of this row
            for part in PARTS[1:]:
                other = dataclasses.replace(job, part=part)
                (other.place(results) / f"{job.name}.json").unlink(missing_ok=True)
    return FINISHED


def _train(
    chosen: Experiment, job: Job, out: Path, results: Path, limit: float | None
) -> TrainingResult:
    """Train a job's network, or go on; keep the weights if others start from them."""
    folder, weights = job.folder(out), job.weights(out, results)
    trained = train(chosen, folder, out / "worlds", accelerator="cpu", progress=False, limit=limit)
    last = newest(folder / "checkpoints")
    if weights is not None and last is not None and trained.step >= chosen.training.steps:
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_weights(weights, last)
    return trained


def _train_start(start: Job, out: Path, results: Path, limit: float | None) -> int:
    """Train what others start from, once more, where it was measured and its weights are gone."""
    folder = start.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / "lock") as ours:
        if not ours:
            return HELD
        trained = _train(start.experiment, start, out, results, limit)
    return FINISHED if trained.step >= start.experiment.training.steps else UNFINISHED


def _measurement(job: Job) -> tuple[Callable[..., dict[str, np.ndarray]], dict[str, Any]]:
    """What measures a job's network, and with which settings."""
    if job.row == MANY_SCHEDULES:
        settings: dict[str, Any] = {"many_schedules": many_schedules.SETTINGS}
        if job.part == "controls":
            settings["control"] = many_schedules.CONTROL
        return _under_many_schedules, settings
    settings = {"accumulation": ACCUMULATION}
    if job.part == "controls":
        return _controls, settings | {"controls": controls.SETTINGS}
    if job.part == "reading":
        return _reading, settings | {"reading": reading.SETTINGS}
    return measured, settings | {"teacher_forced": TEACHER, "frechet": FRECHET}


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether this process alone holds `path`; the system lets go of it when the process ends."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _spent(log: Path, clock: str) -> float | None:
    """Seconds of a training by its log, over all the parts of a resumed one; None if not logged."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    if any(clock not in line for line in lines):
        return None
    seconds = [line[clock] for line in lines]
    ends = [a for a, b in zip(seconds, [*seconds[1:], 0.0], strict=True) if b < a]
    return round(sum(ends), 2)


# --- what is measured ----------------------------------------------------------------------------


def measured(job: Job, network: Denoiser, worlds: Path) -> dict[str, np.ndarray]:
    """Every number of a job, by clip and frame; `worlds` keeps the clips for the next job.

    `return_*`, `(clips, generated)`: roll-outs back over the way out, fields of `FrameScores` (the
    scores, or the successes of a rule without one); `accumulation_age` and `accumulation_error`
    alike, to and fro (`ACCUMULATION`). `return_frechet`, `accumulation_frechet`,
    `(spans, 1 + groups)`: the Fréchet distances of `FRECHET`, then without each map's clips in
    turn; `..._frechet_real` the same of the true frames. `levels`
    `(M,)`, OU times, and `teacher_error` `(clips, M)`: summed squared error of one frame, frames in
    [-1, 1], mean over the window, teacher forced; `component_error` `(clips, M, 5)`: its part in
    the span of the world's first 1, 2, 4, 8 and 16 principal components. For seed 0 also
    `pictures_generated`, two of the returning videos in bytes, and with the row `none`
    `pictures_truth`.
    """
    chosen = job.experiment
    held_out = HeldOut(world_from_json(chosen.world), worlds)
    world, basis = held_out.world, held_out.components()
    out: dict[str, np.ndarray] = {}
    rolled: dict[str, dict[str, Any]] = {"return": {}, "accumulation": ACCUMULATION}
    for name, changes in rolled.items():
        evaluation = dataclasses.replace(chosen.evaluation, **changes)
        path = {"context": evaluation.context, "generated": evaluation.generated}
        clips = held_out.return_clips(count=evaluation.clips, seed=evaluation.seed, **path)
        pictures, drawn = [], []
        parts: dict[str, list[np.ndarray]] = {}
        for first in range(0, len(clips), 50):
            part: Clips = clips[slice(first, first + 50)]
            seeded = dataclasses.replace(evaluation, seed=evaluation.seed + first)
            made = generate(network, part, seeded, chosen.diffusion)
            frames = measure(world, part, made, evaluation)
            numbers = ("score", "lucky_score") if frames.score is not None else ("success", "lucky")
            for key in ("age", "error", *(numbers if name == "return" else ())):
                parts.setdefault(key, []).append(getattr(frames, key))
            pictures.append(made.estimates[:PICTURES])
            drawn.append(_features(made.estimates, basis))
        for key, values in parts.items():
            joined = np.concatenate(values)
            small = {"i": np.int16, "f": np.float32, "b": np.bool_}[joined.dtype.kind]
            out[f"{name}_{key}"] = joined.astype(small)
        real = held_out.features(count=FRECHET["real_clips"], seed=FRECHET["real_seed"], **path)
        shown = held_out.features(count=evaluation.clips, seed=evaluation.seed, **path)
        spans = FRECHET[name]
        out[f"{name}_frechet"] = frechet(np.concatenate(drawn), real, spans)
        out[f"{name}_frechet_real"] = frechet(shown, real, spans)
        if job.seed == 0 and name == "return":
            if job.start is None:
                out["pictures_truth"] = clips.frames[:PICTURES, evaluation.context :]
            coloured = (pictures[0].clamp(-1.0, 1.0) + 1.0) * 127.5
            out["pictures_generated"] = coloured.round().byte().movedim(2, -1).numpy()
    return out | _teacher_forced(held_out, network, chosen.evaluation, job)


def _under_many_schedules(job: Job, network: Denoiser, worlds: Path) -> dict[str, np.ndarray]:
    held_out = HeldOut(world_from_json(job.experiment.world), worlds)
    clips = held_out.lone_return_clips(**many_schedules.SETTINGS["clips"])
    control = job.part == "controls"
    measure_it = many_schedules.measured_control if control else many_schedules.measured
    return measure_it(network, job.experiment.diffusion, clips)


def _controls(job: Job, network: Denoiser, worlds: Path) -> dict[str, np.ndarray]:
    chosen = job.experiment
    held_out = HeldOut(world_from_json(chosen.world), worlds)
    to_and_fro = dataclasses.replace(chosen.evaluation, **ACCUMULATION)
    few = controls.SETTINGS["true_memory"]["clips"]
    path = {"context": to_and_fro.context, "generated": to_and_fro.generated}
    fro = held_out.return_clips(count=to_and_fro.clips, seed=to_and_fro.seed, **path)
    asked = controls.SETTINGS["wandering"]
    length = asked["context"] + asked["generated"]
    wandering = held_out.clips(count=asked["clips"], length=length, seed=asked["seed"])
    return controls.measured(network, chosen.diffusion, to_and_fro, fro[slice(few)], wandering)


def _reading(job: Job, network: Denoiser, worlds: Path) -> dict[str, np.ndarray]:
    chosen, evaluation = job.experiment, job.experiment.evaluation
    held_out = HeldOut(world_from_json(chosen.world), worlds)
    path = {"context": evaluation.context, "generated": evaluation.generated}
    clips = held_out.return_clips(count=evaluation.clips, seed=evaluation.seed, **path)
    few: Clips = clips[slice(reading.SETTINGS["clips"])]
    return reading.measured(network, chosen.diffusion, evaluation, held_out.world, few)


def frechet(made: np.ndarray, real: np.ndarray, spans: Iterable[tuple[int, int]]) -> np.ndarray:
    """Fréchet distances between sets of clips of features `(clips, frames, features)`.

    Returns `(spans, 1 + groups)`: of all clips of `made`, then without each group (every 16 clips,
    those of a map) in turn; no groups if there is only one.

    >>> clips = np.random.default_rng(0).normal(size=(60, 4, 2))
    >>> bool(abs(frechet(clips + 1.0, clips, [(0, 2)])[0, 0] - 4.0) < 1e-9)
    True
    """
    group = np.arange(len(made)) // FRECHET["clips_a_group"]
    groups = range(group[-1] + 1) if group[-1] > 0 else ()
    rows = []
    for a, b in spans:
        first, second = (item[:, a:b].reshape(len(item), -1) for item in (made, real))
        against = second.mean(axis=0), np.cov(second, rowvar=False)
        chosen = [first, *(first[group != g] for g in groups)]
        moments = ((x.mean(axis=0), np.cov(x, rowvar=False)) for x in chosen)
        rows.append([gaussian_frechet_distance(*of, *against) for of in moments])
    return np.array(rows)


def _features(frames: torch.Tensor, basis: np.ndarray) -> np.ndarray:
    """Of frames `(n, T, C, H, W)` in [-1, 1], `(n, T, components)`."""
    flat = frames.cpu().clamp(-1.0, 1.0).movedim(2, -1).flatten(2).numpy()
    return np.asarray(flat @ basis[:, : FRECHET["components"]], dtype=np.float64)


class HeldOut:
    """Clips of a world that no network was trained on, drawn once and kept in `folder`."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self._memory = joblib.Memory(folder / "held_out", mmap_mode="r", verbose=0)

    def _kept(self, function: Callable[..., Any], **arguments: Any) -> Any:
        named = {"specification": self.world.to_json(), "revision": self.world.revision}
        return self._memory.cache(function)(**named, **arguments)

    def clips(self, *, count: int, length: int, seed: int) -> Clips:
        """`World.clips`."""
        return Clips(*self._kept(_wandering, count=count, length=length, seed=seed))

    def return_clips(self, *, count: int, context: int, generated: int, seed: int) -> Clips:
        """`World.return_clips`."""
        path = {"context": context, "generated": generated}
        return Clips(*self._kept(_returning, count=count, seed=seed, **path))

    def lone_return_clips(self, *, count: int, context: int, generated: int, seed: int) -> Clips:
        """`count` clips of `World.return_clips`, each of a map of its own: independent ones."""
        path = {"context": context, "generated": generated}
        return Clips(*self._kept(_returning_alone, count=count, seed=seed, **path))

    def features(self, *, count: int, context: int, generated: int, seed: int) -> np.ndarray:
        """Of the frames after the context of returning clips, `(count, generated, components)`."""
        path = {"context": context, "generated": generated}
        features: np.ndarray = self._kept(_returning_features, count=count, seed=seed, **path)
        return features

    def components(self) -> np.ndarray:
        """`components` of this world."""
        basis: np.ndarray = self._kept(_components)
        return np.array(basis)


def _arrays(clips: Clips) -> tuple[np.ndarray, ...]:
    return clips.frames, clips.actions, clips.poses, clips.age


def _wandering(specification: dict[str, Any], revision: int, **asked: int) -> Any:
    return _arrays(world_from_json(specification).clips(**asked))


def _returning(specification: dict[str, Any], revision: int, **asked: int) -> Any:
    return _arrays(world_from_json(specification).return_clips(**asked))


def _returning_alone(
    specification: dict[str, Any], revision: int, *, count: int, **asked: int
) -> Any:
    drawn = world_from_json(specification).return_clips(count=count * CLIPS_A_MAP, **asked)
    return _arrays(drawn[slice(None, None, CLIPS_A_MAP)])


def _returning_features(
    specification: dict[str, Any], revision: int, *, context: int, **asked: int
) -> np.ndarray:
    world = world_from_json(specification)
    clips = world.return_clips(context=context, **asked)
    basis = components(world)
    some = [clips[slice(first, first + 50)] for first in range(0, len(clips), 50)]
    return np.concatenate([_features(pixels(part.frames[:, context:]), basis) for part in some])


def _components(specification: dict[str, Any], revision: int) -> np.ndarray:
    return components(world_from_json(specification))


def _teacher_forced(
    held_out: HeldOut, network: Denoiser, evaluation: EvaluationConfig, job: Job
) -> dict[str, np.ndarray]:
    diffusion, window = job.experiment.diffusion, network.config.window
    clips = held_out.clips(count=TEACHER["clips"], length=TEACHER["length"], seed=TEACHER["seed"])
    basis = torch.from_numpy(held_out.components())
    schedule = schedule_of(evaluation.schedule, window, evaluation.substeps, diffusion)
    levels = schedule.grid[:-1, 0]
    generator = torch.Generator().manual_seed(TEACHER["noise_seed"])
    total, parts = [], []
    memory = network.config.memory
    for first in range(0, len(clips), 50):
        some = clips[slice(first, first + 50)]
        frames = pixels(some.frames)
        given = frames[:, -window - memory : -window] if memory else None
        if given is not None:
            at = torch.full(given.shape[:2], float(noise.gamma(diffusion.t_min)))
            given = noised(given, at, _noise(frames, generator)[:, -window - memory : -window])
        else:
            _noise(frames, generator)  # so that all networks are shown the same windows
        action = torch.from_numpy(np.array(some.actions))[:, -window - memory :]
        clean = frames[:, -window:]
        by_level, by_component = [], []
        with torch.no_grad():
            context = network.context(len(clean), window, memory=given, action=action)
            for level in levels:
                gamma = torch.full(clean.shape[:2], float(noise.gamma(level)))
                x = noised(clean, gamma, _noise(clean, generator))
                error = (network.denoise(x, gamma, context) - clean).movedim(2, -1).flatten(2)
                by_level.append(error.square().sum(-1).mean(1))
                along = (error @ basis).square().mean(1).cumsum(-1)
                by_component.append(along[:, [count - 1 for count in COMPONENTS]])
        total.append(torch.stack(by_level, 1))
        parts.append(torch.stack(by_component, 1))
    return {
        "levels": np.asarray(levels, dtype=np.float64),
        "teacher_error": torch.cat(total).numpy(),
        "component_error": torch.cat(parts).numpy(),
    }


def _noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator)


def components(world: World, count: int = COMPONENTS[-1]) -> np.ndarray:
    """The first principal components of a world's frames, `(H W C, count)`, float32, orthonormal.

    Of 1,500 frames of 300 clips, frames in [-1, 1], the mean taken away; signs such that the
    largest entry of each is positive.
    """
    clips = world.clips(300, 5, seed=30_000)
    frames = pixels(clips.frames).movedim(2, -1).flatten(0, 1).flatten(1).numpy()
    _, _, directions = np.linalg.svd(frames - frames.mean(axis=0), full_matrices=False)
    first = directions[:count].T
    largest = first[np.abs(first).argmax(axis=0), np.arange(count)]
    return np.ascontiguousarray(first * np.sign(largest), dtype=np.float32)


# --- all of them ---------------------------------------------------------------------------------


def nominal_minutes(job: Job) -> float:
    """Core-minutes that a job was planned to take, with its measuring."""
    if job.row == MANY_SCHEDULES:
        return 5.0 if job.part == "controls" else 20.0
    if job.part != "rows":
        return {"controls": 1.5, "reading": 0.7}[job.part]
    return 16.0 if job.start is None else 1.5 + 8.0 * job.row.longer


def run_queue(
    plan: Iterable[Job], out: Path, results: Path = RESULTS, *, processes: int = 1
) -> list[Job]:
    """Work until nothing that can be done is left; returns the jobs that failed."""
    plan = list(plan)
    running: dict[Job, tuple[subprocess.Popen[bytes], float]] = {}
    waiting = missing(plan, results)
    failed: list[Job] = []
    spent = planned = 0.0
    _say(f"{len(plan) - len(waiting)} of {len(plan)} jobs are done, {_left(waiting, 1, processes)}")
    while waiting or running:
        ready = [job for job in waiting if _ready(job, waiting, running)]
        while ready and len(running) < processes:
            job = ready.pop(0)
            waiting.remove(job)
            running[job] = (_start(job, out, results), time.monotonic())
            _say(f"{job.title}: started")
        if not running:
            break  # what is left starts from jobs that failed or that others hold
        time.sleep(0.2)
        for job, (process, began) in list(running.items()):
            state = process.poll()
            if state is None:
                continue
            del running[job]
            minutes = (time.monotonic() - began) / 60.0
            if state == UNFINISHED:
                waiting.append(job)
                _say(f"{job.title}: to be continued ({minutes:.1f} min)")
            elif state == HELD:
                _say(f"{job.title}: another process is at it")
                waiting = [other for other in waiting if job not in _needed(other)]
            elif state == FINISHED:
                spent, planned = spent + minutes, planned + nominal_minutes(job)
                rest = _left([*waiting, *running], spent / planned, processes)
                _say(f"{job.title}: done ({minutes:.1f} min), {rest}")
                again = [other for other in plan if job in _needed(other) and other.part != "rows"]
                waiting += [other for other in missing(again, results) if other not in waiting]
            else:
                failed.append(job)
                _say(f"{job.title}: failed, see {job.folder(out) / 'output.log'}")
                waiting = [other for other in waiting if job not in _needed(other)]
    return failed


def _needed(job: Job) -> list[Job]:
    """What has to be done before: what it starts from, and of other parts than rows their row."""
    row = [] if job.part == "rows" else [job.row_itself]
    return row if job.start is None else [job.start, *row]


def _ready(job: Job, waiting: Iterable[Job], running: Iterable[Job]) -> bool:
    undone = {*waiting, *running}
    return not any(other in undone for other in _needed(job))


def _start(job: Job, out: Path, results: Path) -> subprocess.Popen[bytes]:
    folder = job.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    row = KINDS.index(job.row)
    which = [job.world, str(row), str(job.seed), job.part]
    command = [sys.executable, "-m", "paper_repro.queue", *which]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with open(folder / "output.log", "ab") as log:
        return subprocess.Popen(
            [*command, str(out), str(results)],
            stdout=log,
            stderr=log,
            env=os.environ | single,
            cwd=Path(__file__).resolve().parents[1],
        )


def _left(jobs: Iterable[Job], pace: float, processes: int) -> str:
    hours = sum(nominal_minutes(job) for job in jobs) * pace / processes / 60.0
    return f"about {hours:.1f} h left"


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _main(arguments: list[str]) -> int:
    world, row, seed, part, out, results = arguments
    torch.set_num_threads(1)
    job = Job(world, KINDS[int(row)], int(seed), part)
    return run_job(job, Path(out), Path(results))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
