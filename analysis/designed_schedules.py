"""How much smaller is the chain KL of a designed schedule than that of every named one?

All at the same cost, T and δ, each named method on its own best sub-step grid; rates in the steady
state, so that the truth handed over in the first window does not count.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pandas

from analysis.cases import LEVELS, METHODS, VIDEOS, back_and_forth
from analysis.study import ROOT, Config, Outcome, Study, sweep
from arvdm_theory.design import DesignedSchedule, design, evaluate, named_methods, optimise_grid
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

__all__ = ["SCHEDULES", "STUDY", "run"]

CONFIG: dict[str, Any] = {
    "videos": {
        **{name: VIDEOS[name] for name in ("AR(2)", "seasonal", "ARFIMA", "static latent")},
        "panorama": {**VIDEOS["panorama"], "positions": back_and_forth(3, 160)},
        "footage": {
            "family": "frames",
            "path": "paper_repro/clips/freedoom_walk.mp4",
            "components": 3,
        },
    },
    "roll_out": {"panorama": {"frames": 96, "period": 6}},
    "methods": METHODS,
    "own_ladder": ["FIFO", "rolling", "staircase"],
    "next_frame_references": [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15],
    "generator": {},
    "levels": LEVELS,
    "output_frames": 96,
    "cost": 96,
    "context": 16,
}
"""`context`: frames that a designed schedule may see at once; named methods keep their own.
`roll_out`: where rates are taken, if not the default of `evaluate`; `output_frames`, for output."""

SCHEDULES = "schedules.json"
"""Further file: video → the designed schedule."""


def _row(
    video: str, method: str, kind: str, item: DesignedSchedule, least: float
) -> dict[str, Any]:
    schedule = item.schedule
    return {
        "video": video,
        "method": method,
        "kind": kind,
        "window": schedule.window,
        "stride": schedule.stride,
        "reference": item.reference,
        "substeps": schedule.substeps,
        "cost": item.cost,
        "calls_per_frame": item.calls,
        "chain": item.chain,
        "error": item.error,
        **{name: getattr(item, name) for name in ("nie", "see", "de", "mb")},
        "gain": 1.0 - least / item.chain,
    }


def _rows(job: tuple[str, Config]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    name, config = job
    given = dict(config["videos"][name])
    if given["family"] == "frames":
        given["path"] = str(ROOT / given["path"])
    video = GaussianVideo.from_json(given)
    generator, place = Generator.from_json(config["generator"]), config["roll_out"].get(name, {})
    levels, cost = config["levels"], config["cost"]
    entries = {
        method: (entry["schedule"], entry["reference"])
        for method, entry in config["methods"].items()
    }
    named = named_methods(cost, **levels, methods=entries)
    lengths = {f"next frame, r = {r}": r for r in config["next_frame_references"]}
    sized = {
        label: (Schedule.next_frame(**levels, substeps=math.ceil(cost / (1 + r))), r)
        for label, r in lengths.items()
    }
    found = design(
        video,
        cost,
        generator,
        **levels,
        context=config["context"],
        named={**named, **sized},
        **place,
    )
    least = found.best.chain

    late = {"frames": config["output_frames"], **place}

    def seeing(reference: int) -> Generator:
        return Generator(generator.denoiser, reference=reference, memory=generator.memory)

    def output(item: DesignedSchedule) -> float | None:
        seen = seeing(item.reference)
        return evaluate(video, item.schedule, seen, **late, output=True).output

    rows = [_row(name, "designed", "designed", found.best, least)]
    rows[0]["output"] = output(found.best)
    closest = min(named, key=lambda method: found.named[method].chain)
    for method, (schedule, reference) in named.items():
        row = _row(name, method, "named", found.named[method], least)
        row["chain_default_grid"] = evaluate(video, schedule, seeing(reference), **place).chain
        if method == closest:
            row["output"] = output(found.named[method])
        rows.append(row)
    best = min((found.named[label] for label in sized), key=lambda item: item.chain)
    rows.append(_row(name, "next frame", "any size", best, least))
    chunks = [item for item in found.candidates if item.schedule.window == item.schedule.stride]
    rows += [_row(name, "chunk", "any size", item, least) for item in chunks[:1]]
    for method in config["own_ladder"]:
        schedule, reference = named[method]
        better = optimise_grid(video, schedule, seeing(reference), ladder=True, **place)
        item = evaluate(video, better, seeing(reference), **place)
        rows.append(_row(name, method, "own ladder", item, least))
    rows += [_row(name, item.schedule.method, "pareto", item, least) for item in found.pareto]
    return rows, found.best.schedule.to_json()


def compute(config: Config) -> Outcome:
    """One row per video and schedule; rates in nats per finished frame, exact.

    `kind`: `designed`; `named`, on its own best sub-step grid (and `chain_default_grid`, on the
    default one); `any size`, the best chunk or next-frame method at this cost, whatever its window
    and references; `own ladder`, its ladder made the best, too; `pareto`, no other schedule looked
    at beats it in cost, error and MB together. `gain`: by what fraction of this row's chain KL the
    designed one is smaller. `output`: output KL rate, of the designed and of the closest named one.
    Sub-steps of named methods are rounded up, of designed ones down.
    """
    jobs = [(name, config) for name in config["videos"]]
    results = sweep(STUDY.name, _rows, jobs)
    table = pandas.DataFrame([row for rows, _ in results for row in rows])
    schedules = {job[0]: schedule for job, (_, schedule) in zip(jobs, results, strict=True)}
    return Outcome(table, {SCHEDULES: (json.dumps(schedules) + "\n").encode()})


def _inputs(config: Config) -> list[str]:
    return [video["path"] for video in config["videos"].values() if video["family"] == "frames"]


STUDY = Study(
    name="designed_schedules",
    question="How much smaller is the chain KL of a designed schedule than that of every named "
    "one, at the same cost and on its own best grid?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=_inputs,
)
run = STUDY.run
