"""Results of rows that nobody trained, with effects that are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from analysis.measured_rows import Measured, Rows
from arvdm_theory.empirical import RULES
from paper_repro import plan, queue
from paper_repro.experiments import ROWS
from paper_repro.plan import WORLDS, Job

NAMES = {row.name(4): row for row in ROWS}
"""Name of a row → the row."""
MEMORY = {name: row.memory // 4 for name, row in NAMES.items()}
AGES = np.arange(2, 34, 2, dtype=np.int16)
FRAMES = 64
CHANCE = 0.05

Effect = Callable[[str, str], dict[str, float]]


def follows_the_paper(world: str, row: str) -> dict[str, float]:
    """What a row would show if every claim of the paper held.

    `within` and `beyond`: retrieval of frames within the memory and beyond it; `start` PSNR in dB;
    `decay`, dB from frame 0 to frame 14; `seconds` a training step.
    """
    kind = NAMES[row]
    budget = kind.budget // 4
    out = {"within": 0.9, "beyond": CHANCE, "start": 24.0, "decay": 3.0, "seconds": 1.0}
    if kind.structure == "none":
        return out | {"within": CHANCE}
    if kind.structure == "channel_concat":
        out["within"] = 0.55
    if kind.structure == "cross_attention":
        out["within"] = 0.1
    if budget:
        loss = {2: 0.3, 4: 0.2, 8: 0.1, 12: 0.0}[budget]
        out |= {"within": out["within"] - loss, "seconds": 1.0 + 0.05 * budget}
        out["decay"] = {2: 2.0, 4: 3.0, 8: 4.0, 12: 5.0}[budget]
    elif kind.structure == "prepend":
        out["decay"] = {4: 2.0, 12: 3.0, 28: 4.0}[kind.memory // 4]
    return out


def arrays(
    world: str, row: str, seed: int, effect: Effect, clips: int, noise: float
) -> dict[str, np.ndarray]:
    """As `queue.measured` returns them, the part that tables and claims read.

    Clips are as hard for one row as for another (`noise` in dB and in retrieval), seeds differ by a
    fifth of that.
    """
    of = effect(world, row)
    hard = np.random.default_rng(7).normal(size=clips)
    own = np.random.default_rng([seed, *row.encode(), *world.encode()])
    shift = 0.2 * noise * own.normal()
    reach = MEMORY[row] + np.arange(len(AGES)) % 4
    rate = np.where(AGES <= reach, of["within"], of["beyond"])
    rate = np.clip(rate + 0.1 * noise * hard[:, None] * (AGES <= reach) + 0.02 * shift, 0.0, 1.0)
    success = own.random((clips, len(AGES))) < rate
    lucky = own.random((clips, len(AGES))) < CHANCE
    threshold = {"maze": 8.0, "blocks": 0.4}[world]
    good = 0.5 if world == "maze" else 1.5
    scores = [np.where(hit, threshold * good, threshold / good) for hit in (success, lucky)]
    time = np.arange(FRAMES)
    psnr = of["start"] - of["decay"] * (time - 1.5) / 12.0 + shift
    psnr = psnr + noise * (hard[:, None] + 0.3 * own.normal(size=(clips, FRAMES)))
    return {
        "return_age": np.broadcast_to(AGES, (clips, len(AGES))).copy(),
        "return_error": np.full((clips, len(AGES)), 0.01, dtype=np.float32),
        "return_score": scores[0].astype(np.float32),
        "return_lucky_score": scores[1].astype(np.float32),
        "accumulation_age": np.full((clips, FRAMES), 2, dtype=np.int16),
        "accumulation_error": (10.0 ** (-psnr / 10.0)).astype(np.float32),
    }


def manifest(row: str, effect: Effect, world: str) -> dict[str, Any]:
    """What a job writes beside its arrays, the part that is read."""
    return {
        "steps": 100,
        "training_core_seconds": 100.0 * effect(world, row)["seconds"],
        "accumulation": queue.ACCUMULATION,
    }


def write(
    folder: Path,
    rows: Iterable[str] = tuple(NAMES),
    seeds: Iterable[int] = (0,),
    worlds: Iterable[str] = WORLDS,
    effect: Effect = follows_the_paper,
    clips: int = 40,
    noise: float = 0.5,
) -> None:
    """Ship the results of rows as the queue does."""
    folder.mkdir(parents=True, exist_ok=True)
    for world in worlds:
        for row in rows:
            for seed in seeds:
                job = Job(world, NAMES[row], seed)
                weights = job.weights(folder)
                if weights is not None:
                    weights.write_bytes(b"no weights")
                made = arrays(world, row, seed, effect, clips, noise)
                plan.save(job, made, manifest(row, effect, world), folder)


@cache
def _experiment(world: str, row: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(
        json.dumps(Job(world, NAMES[row], 0).experiment.to_json())
    )
    assert described["evaluation"]["rule"] in RULES
    return described


def in_memory(
    rows: Iterable[str] = tuple(NAMES),
    seeds: Iterable[int] = (0, 1, 2),
    worlds: Iterable[str] = WORLDS,
    effect: Effect = follows_the_paper,
    clips: int = 40,
    noise: float = 0.5,
) -> Rows:
    """The same without files."""
    found: dict[tuple[str, str], dict[int, Measured]] = {}
    for world in worlds:
        for row in rows:
            for seed in seeds:
                described = {**manifest(row, effect, world), "experiment": _experiment(world, row)}
                one = Measured(world, row, seed, Path("nowhere"), described)
                made = arrays(world, row, seed, effect, clips, noise)
                one.__dict__["arrays"] = made
                found.setdefault((world, row), {})[seed] = one
    return Rows(found, {})
