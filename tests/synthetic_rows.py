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
from paper_repro.many_schedules import SETTINGS
from paper_repro.plan import KINDS, WORLDS, Job

NAMES = {row.name(4): row for row in ROWS}
"""Name of a row → the row."""
TRAINED = {row.name(4): row for row in KINDS}
"""The same, the network that serves many schedules, and what is trained longer."""
MEMORY = {name: row.memory // 4 for name, row in TRAINED.items()}
AGES = np.arange(2, 34, 2, dtype=np.int16)
FRAMES = 64
CHANCE = 0.05

Effect = Callable[[str, str], dict[str, float]]


def follows_the_paper(world: str, row: str) -> dict[str, float]:
    """What a row would show if every claim of the paper held.

    `within` and `beyond`: retrieval of frames within the memory and beyond it; `start` PSNR in dB;
    `decay`, dB from frame 0 to frame 14; `operations` a training step. The Fréchet distance of
    every row is 1 more than that of true frames at frame 0, and rises by `drift` a frame. `order`:
    the rank correlation of what is predicted for schedules and what is measured, but for noise.
    """
    kind = TRAINED[row]
    budget = kind.budget // 4
    out = {"within": 0.9, "beyond": CHANCE, "start": 24.0, "decay": 3.0, "operations": 1.0}
    out |= {"drift": 0.05, "order": 1.0}
    if kind.structure == "none":
        return out | {"within": CHANCE}
    if kind.structure == "channel_concat":
        out["within"] = 0.55
    if kind.structure == "cross_attention":
        out["within"] = 0.1
    if budget:
        loss = {2: 0.3, 4: 0.2, 8: 0.1, 12: 0.0}[budget]
        out |= {"within": out["within"] - loss, "operations": 1.0 + 0.05 * budget}
        out["decay"] = {2: 2.0, 4: 3.0, 8: 4.0, 12: 5.0}[budget]
    elif kind.structure == "prepend":
        out["decay"] = {4: 2.0, 12: 3.0, 28: 4.0}[kind.memory // 4]
    return out


def arrays(
    world: str, row: str, seed: int, effect: Effect, clips: int, noise: float
) -> dict[str, np.ndarray]:
    """As `queue.measured` returns them, the part that studies read.

    Clips are as hard for one row as for another (`noise` in dB and in retrieval), seeds differ by a
    fifth of that.
    """
    of = effect(world, row)
    if TRAINED[row].levels == "mixture":
        return _under_schedules(world, seed, of, noise)
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
    made = {
        "return_age": np.broadcast_to(AGES, (clips, len(AGES))).copy(),
        "return_error": np.full((clips, len(AGES)), 0.01, dtype=np.float32),
        "return_score": scores[0].astype(np.float32),
        "return_lucky_score": scores[1].astype(np.float32),
        "accumulation_age": np.full((clips, FRAMES), 2, dtype=np.int16),
        "accumulation_error": (10.0 ** (-psnr / 10.0)).astype(np.float32),
    }
    return made | _frechet(world, row, seed, of) | _pictures(world, row, seed, success)


FLOOR = 0.5
"""Fréchet distance of true frames to other true frames."""


def _frechet(world: str, row: str, seed: int, of: dict[str, float]) -> dict[str, np.ndarray]:
    """Distances that are means over the groups of clips, which are as odd for one row as another.

    So that the jackknife must give the usual variance of such a mean, and 0 for differences between
    rows, whose clips are the same.
    """
    groups = -(-200 // queue.FRECHET["clips_a_group"])
    odd = np.random.default_rng([5, *world.encode()]).normal(size=groups)
    own = np.random.default_rng([6, seed, *row.encode(), *world.encode()]).normal()
    out = {}
    for kind in ("return", "accumulation"):
        first = np.array([span[0] for span in queue.FRECHET[kind]], dtype=np.float64)
        base = FLOOR + 1.0 + of.get("drift", 0.0) * first + 0.02 * own
        for name, value, spread in (("", base, 0.3), ("_real", np.full(first.shape, FLOOR), 0.1)):
            each = value[:, None] + spread * odd
            left_out = (each.sum(axis=1, keepdims=True) - each) / (groups - 1)
            whole = each.mean(axis=1, keepdims=True)
            out[f"{kind}_frechet{name}"] = np.concatenate([whole, left_out], axis=1)
    return out


def _pictures(world: str, row: str, seed: int, success: np.ndarray) -> dict[str, np.ndarray]:
    """Two clips of frames of one colour: the true one where retrieved, else its negative."""
    if seed:
        return {}
    colours = np.random.default_rng([8, *world.encode()]).integers(0, 256, (2, len(AGES), 3))
    made = np.where(success[:2, :, None], colours, 255 - colours)
    size = np.ones((8, 8, 1), dtype=np.uint8)
    shown = {"pictures_truth": colours, "pictures_generated": made}
    if row != "none":
        del shown["pictures_truth"]
    return {name: of[:, :, None, None].astype(np.uint8) * size for name, of in shown.items()}


def _under_schedules(
    world: str, seed: int, of: dict[str, float], noise: float
) -> dict[str, np.ndarray]:
    """Errors of schedules that are all different; `order` of them is what a prediction sees.

    The error of a frame is that of one pass for every copy of its content, and a tenth more.
    """
    count, frames = len(SETTINGS["schedules"]), SETTINGS["frames"]
    rolled, clips = SETTINGS["rolled_out"], SETTINGS["clips"]["count"]
    own = np.random.default_rng([9, seed, *world.encode()])
    true = 0.002 * 1.2 ** own.permutation(count)
    other = of["order"] * np.log(true) + np.sqrt(1.0 - of["order"] ** 2) * np.log(
        own.permutation(true)
    )
    seen = np.exp(other - other.mean() + np.log(true).mean()) * of.get("one_pass", 1.0)
    copies = 1.0 + np.arange(frames) // 6

    def spread(*shape: int) -> np.ndarray:
        return np.asarray(np.exp(0.2 * noise * own.normal(size=shape)))

    error = 1.1 * true[:, None, None] * copies * spread(count, rolled, frames)
    one_pass = seen[:, None, None] * spread(count, clips - rolled, frames)
    age = np.where(np.arange(frames) < 6, 2 * np.arange(frames) + 2, 6)
    return {
        "schedule_error": error.astype(np.float16),
        "schedule_one_pass": one_pass.astype(np.float16),
        "schedule_loss": (1e6 * seen[:, None] * spread(count, clips - rolled)).astype(np.float32),
        "schedule_chance": np.full((clips, frames), 0.2, dtype=np.float16),
        "schedule_age": np.broadcast_to(age, (clips, frames)).astype(np.int16),
    }


def manifest(row: str, effect: Effect, world: str) -> dict[str, Any]:
    """What a job writes beside its arrays, the part that is read."""
    made = {
        "steps": 100,
        "training_core_seconds": 100.0,
        "operations_per_step": 1e9 * effect(world, row)["operations"],
    }
    if TRAINED[row].levels == "mixture":
        return made | {"many_schedules": SETTINGS}
    return made | {
        "accumulation": queue.ACCUMULATION,
        "frechet": queue.FRECHET,
    }


def write(
    folder: Path,
    rows: Iterable[str] = tuple(TRAINED),
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
                job = Job(world, TRAINED[row], seed)
                weights = job.shipped_weights(folder)
                if weights is not None:
                    weights.write_bytes(b"no weights")
                made = arrays(world, row, seed, effect, clips, noise)
                plan.save(job, made, manifest(row, effect, world), folder)


@cache
def _experiment(world: str, row: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(
        json.dumps(Job(world, TRAINED[row], 0).experiment.to_json())
    )
    assert described["evaluation"]["rule"] in RULES
    return described


def in_memory(
    rows: Iterable[str] = tuple(TRAINED),
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
