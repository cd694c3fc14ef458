"""How much do the frames of the shipped clip tell about their past (`arvdm analyze`)?

Measured: laws fitted to footage, with bootstrap bands, and a held-out gain that assumes none.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas

from analysis.study import ROOT, Config, Outcome, Study
from arvdm_theory.analyze import analyze

__all__ = ["PAGE", "SCHEDULES", "STUDY", "SUMMARY", "run"]

CONFIG: dict[str, Any] = {
    "clip": "paper_repro/clips/freedoom_walk.mp4",
    "options": {},
}
"""`options` are keyword arguments of `analyze`."""

PAGE, SCHEDULES, SUMMARY = "analysis.html", "schedules.csv", "summary.json"
"""Further files: the page that `arvdm analyze` writes, its table of schedules, all its numbers."""


def compute(config: Config) -> Outcome:
    """The table of memory lengths that `arvdm analyze` writes, with its other files.

    One row per source (a fitted law, or held-out prediction), level and window length r; nats and
    bits per frame, with the interval that `uncertainty` names.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = analyze(ROOT / config["clip"], folder, **config["options"])
        table = pandas.read_csv(result.table)
        files = {
            PAGE: result.page.read_bytes(),
            SCHEDULES: result.schedule_table.read_bytes(),
        }
        summary = result.to_json()
    for file in ("page", "table", "schedule_table"):
        summary[file] = Path(summary[file]).name
    files[SUMMARY] = (json.dumps(summary, indent=1) + "\n").encode()
    return Outcome(table, files)


def _inputs(config: Config) -> list[str]:
    return [config["clip"]]


STUDY = Study(
    name="clip_memory",
    question="How much do the frames of the shipped clip tell about their past?",
    revision=2,
    config=CONFIG,
    compute=compute,
    inputs=_inputs,
)
run = STUDY.run
