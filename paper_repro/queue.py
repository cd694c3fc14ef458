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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import arvdm_theory
from arvdm_theory import noise
from paper_repro.arvdm.checkpoint import newest
from paper_repro.arvdm.diffusion import noised, pixels
from paper_repro.arvdm.network import Denoiser
from paper_repro.arvdm.training import save_weights
from paper_repro.evaluate import EvaluationConfig, generate, measure, schedule_of
from paper_repro.experiments import ROWS
from paper_repro.plan import RESULTS, Job, missing, save
from paper_repro.train import run as train
from paper_repro.worlds import Clips, World, world_from_json

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

# --- one job -------------------------------------------------------------------------------------


def run_job(job: Job, out: Path, results: Path = RESULTS, *, limit: float | None = SLICE) -> int:
    """Train (or go on), then measure and ship; returns one of the exit states."""
    folder = job.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / "lock") as ours:
        if not ours:
            return HELD
        chosen = job.experiment
        if job.start is not None:
            began = str(job.start.weights(results))
            training = dataclasses.replace(chosen.training, warm_start=began)
            chosen = dataclasses.replace(chosen, training=training)
        trained = train(
            chosen, folder, out / "worlds", accelerator="cpu", progress=False, limit=limit
        )
        if trained.step < chosen.training.steps:
            return UNFINISHED
        weights, last = job.weights(results), newest(folder / "checkpoints")
        if weights is not None and last is not None:
            results.mkdir(parents=True, exist_ok=True)
            save_weights(weights, last)
        start = time.process_time()
        arrays = measured(job, trained.network)
        manifest = {
            "parameters": sum(p.numel() for p in trained.network.parameters()),
            "steps": trained.step,
            "started_from": None if job.start is None else job.start.name,
            "training_core_seconds": _spent(folder / "log.jsonl", "core_seconds"),
            "training_seconds": _spent(folder / "log.jsonl", "seconds"),
            "measuring_core_seconds": round(time.process_time() - start, 2),
            "accumulation": ACCUMULATION,
            "teacher_forced": TEACHER,
            "versions": {
                "python": platform.python_version(),
                "arvdm_theory": arvdm_theory.__version__,
                **{name: metadata.version(name) for name in ("numpy", "scipy", "torch")},
            },
        }
        save(job, arrays, manifest, results)
    return FINISHED


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


def measured(job: Job, network: Denoiser) -> dict[str, np.ndarray]:
    """Every number of a job, by clip and frame.

    `return_*`, `(clips, generated)`: roll-outs back over the way out, fields of `FrameScores` (the
    scores, or the successes of a rule without one); `accumulation_age` and `accumulation_error`
    alike, to and fro (`ACCUMULATION`). `levels` `(M,)`, OU times, and `teacher_error` `(clips, M)`:
    summed squared error of one frame, frames in [-1, 1], mean over the window, teacher forced;
    `component_error` `(clips, M, 5)`: its part in the span of the world's first 1, 2, 4, 8 and 16
    principal components. For seed 0 also `pictures_generated`, two of the returning videos in
    bytes, and with the row `none` `pictures_truth`.
    """
    chosen = job.experiment
    world = world_from_json(chosen.world)
    out: dict[str, np.ndarray] = {}
    rolled: dict[str, dict[str, Any]] = {"return": {}, "accumulation": ACCUMULATION}
    for name, changes in rolled.items():
        evaluation = dataclasses.replace(chosen.evaluation, **changes)
        clips = world.return_clips(
            evaluation.clips, evaluation.context, evaluation.generated, evaluation.seed
        )
        pictures = []
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
        for key, values in parts.items():
            joined = np.concatenate(values)
            small = {"i": np.int16, "f": np.float32, "b": np.bool_}[joined.dtype.kind]
            out[f"{name}_{key}"] = joined.astype(small)
        if job.seed == 0 and name == "return":
            if job.start is None:
                out["pictures_truth"] = clips.frames[:PICTURES, evaluation.context :]
            shown = (pictures[0].clamp(-1.0, 1.0) + 1.0) * 127.5
            out["pictures_generated"] = shown.round().byte().movedim(2, -1).numpy()
    return out | _teacher_forced(world, network, chosen.evaluation, job)


def _teacher_forced(
    world: World, network: Denoiser, evaluation: EvaluationConfig, job: Job
) -> dict[str, np.ndarray]:
    diffusion, window = job.experiment.diffusion, network.config.window
    clips = world.clips(TEACHER["clips"], TEACHER["length"], TEACHER["seed"])
    basis = torch.from_numpy(components(world))
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
    return 22.0 if job.start is None else 12.0


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
            _say(f"{job.name}: started")
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
                _say(f"{job.name}: to be continued ({minutes:.1f} min)")
            elif state == HELD:
                _say(f"{job.name}: another process is at it")
                waiting = [other for other in waiting if other.start != job]
            elif state == FINISHED:
                spent, planned = spent + minutes, planned + nominal_minutes(job)
                rest = _left([*waiting, *running], spent / planned, processes)
                _say(f"{job.name}: done ({minutes:.1f} min), {rest}")
            else:
                failed.append(job)
                _say(f"{job.name}: failed, see {job.folder(out) / 'output.log'}")
                waiting = [other for other in waiting if other.start != job]
    return failed


def _ready(job: Job, waiting: Iterable[Job], running: Iterable[Job]) -> bool:
    return job.start is None or (job.start not in waiting and job.start not in running)


def _start(job: Job, out: Path, results: Path) -> subprocess.Popen[bytes]:
    folder = job.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    row = ROWS.index(job.row)
    command = [sys.executable, "-m", "paper_repro.queue", job.world, str(row), str(job.seed)]
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
    world, row, seed, out, results = arguments
    torch.set_num_threads(1)
    job = Job(world, ROWS[int(row)], int(seed))
    return run_job(job, Path(out), Path(results))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
