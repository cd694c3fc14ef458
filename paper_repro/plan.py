"""The compute plan of the paper's tables: its jobs, their order, their results.

Per world and seed one network without memory is trained first (the row `none`). Every other row
starts from it and trains for about the same core-time (`experiments`: 20 core-minutes, then 10 a
row). The order is by seed, then by row, the worlds in turn, so that an interrupted plan holds whole
tables of fewer seeds.

A finished job leaves `<name>-seed-<s>.npz`, every number that was measured, and the same name with
`.json`, its manifest; a pre-training also its weights, which the rows start from, with
`.safetensors`. It is up to date if the manifest's key is the job's: a digest of all that the
numbers depend on, with the revisions that are raised by hand. What is measured besides on a row's
network, its `controls` and its `reading` of the memory, are jobs of their own: their results lie in
folders of these names beside.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from paper_repro.controls import SETTINGS as CONTROLS
from paper_repro.experiments import LONGER, MANY_SCHEDULES, ROWS, Experiment, Row, experiment
from paper_repro.many_schedules import CONTROL, SETTINGS
from paper_repro.reading import SETTINGS as READING

__all__ = [
    "CONTROLLED",
    "KINDS",
    "PARTS",
    "READ",
    "RESULTS",
    "WORLDS",
    "Job",
    "jobs",
    "load",
    "missing",
    "save",
]

RESULTS = Path(__file__).resolve().parent / "results" / "rows"
WORLDS = ("maze", "blocks")
SEEDS = 3
MORE_SEEDS = 5
OPEN = {
    "maze": ("none", "channel_concat-28", "cross_attention-28"),
    "blocks": ("none", "prepend-4", "prepend-12", "channel_concat-4", "channel_concat-12"),
}
"""Rows that are trained with `MORE_SEEDS` seeds, beside those of a budget: with `SEEDS` seeds they
left a claim undecided."""
MEASUREMENT = 4
"""Revision of what `measure` measures."""
KINDS = (*ROWS, MANY_SCHEDULES, *LONGER)
"""Everything that is trained, the paper's rows first; the place is a job's number."""

CONTROLLED = (
    *(row for row in ROWS if row.structure == "prepend" and row.compressor in ("none", "joint")),
    MANY_SCHEDULES,
)
"""Rows whose networks are also measured with causes taken away."""
READ = tuple(row for row in ROWS if row.structure != "none" and row.compressor != "state_space")
"""Rows whose networks are also measured with foreign frames in their memory."""
PARTS = ("rows", "controls", "reading")
"""What is measured on a network: its row, its `controls`, its `reading`; each a folder."""

_UNSEEN = ("checkpoint_every", "keep", "log_every", "strips_every", "compile", "warm_start")


def _digest(described: Any) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """A row of a table on one world with one training seed, or another part of `PARTS`.

    >>> Job("maze", Row("prepend", 16), 1).name, Job("maze", Row("prepend", 16), 1).start.name
    ('maze-prepend-4-seed-1', 'maze-none-seed-1')
    """

    world: str
    row: Row
    seed: int
    part: str = "rows"

    @property
    def name(self) -> str:
        """Of its network, and of its files."""
        return f"{self.world}-{self.row.name(4)}-seed-{self.seed}"

    @property
    def title(self) -> str:
        """Its name, and which part it is if not the row itself."""
        return self.name if self.part == "rows" else f"{self.name} {self.part}"

    def place(self, results: Path = RESULTS) -> Path:
        """The folder of its results: `results`, or for other parts the one beside."""
        return results if self.part == "rows" else results.with_name(self.part)

    @property
    def planned(self) -> bool:
        """Whether its seed is one of the plan's for this row."""
        open_claim = self.row.compressor in ("joint", "modulated")
        open_claim |= self.row.name(4) in OPEN[self.world]
        more = self.part == "rows" and open_claim
        return self.seed < (MORE_SEEDS if more else SEEDS)

    @property
    def row_itself(self) -> Job:
        """The job that measures the row of the same network."""
        return dataclasses.replace(self, part="rows")

    @property
    def start(self) -> Job | None:
        """The job whose network this one starts from."""
        if self.row.structure == "none":
            return None
        return Job(self.world, Row("none"), self.seed)

    @cached_property
    def experiment(self) -> Experiment:
        """The named configuration, with this seed."""
        named = experiment(f"{self.world}-{self.row.name(4)}")
        training = dataclasses.replace(named.training, seed=self.seed)
        return dataclasses.replace(named, training=training)

    @cached_property
    def training_key(self) -> str:
        """Of all that the trained weights depend on."""
        described = self.experiment.to_json()
        for name in _UNSEEN:
            del described["training"][name]
        del described["evaluation"], described["name"]
        return _digest([described, None if self.start is None else self.start.training_key])

    @cached_property
    def key(self) -> str:
        """Of all that the measured numbers depend on."""
        if self.row == MANY_SCHEDULES:
            control = [CONTROL] if self.part == "controls" else []
            return _digest([self.training_key, SETTINGS, *control])
        evaluation = self.experiment.to_json()["evaluation"]
        besides = {"rows": [], "controls": [CONTROLS], "reading": [READING]}[self.part]
        return _digest([self.training_key, evaluation, MEASUREMENT, *besides])

    def shipped_weights(self, results: Path = RESULTS) -> Path | None:
        """Where the weights are kept that other jobs start from, of the first `SEEDS` seeds."""
        shipped = self.start is None and self.seed < SEEDS
        return results / f"{self.name}.safetensors" if shipped else None

    def weights(self, out: Path, results: Path = RESULTS) -> Path | None:
        """Where the weights are that other jobs start from."""
        if self.start is not None:
            return None
        return self.shipped_weights(results) or self.folder(out) / "weights.safetensors"

    def folder(self, out: Path) -> Path:
        """Where its network is trained."""
        return out / "rows" / f"{self.name}-{self.training_key[:8]}"


def jobs(
    worlds: Iterable[str] = WORLDS, seeds: Iterable[int] | None = None, only: str = ""
) -> list[Job]:
    """All jobs in the order in which they are to be done; `only` those with this in their title.

    `seeds` are the planned ones of each row (`SEEDS`, of some rows `MORE_SEEDS`) if not given. Of
    each seed the paper's rows come first, the controls of a network right after it, then the
    network for many schedules; what they read of their memory comes after all seeds. Rows are
    trained longer for seed 0 alone. What the ones chosen start from is among them, and of other
    parts their row.

    >>> [job.name for job in jobs(seeds=[0])[:4]]
    ['maze-none-seed-0', 'blocks-none-seed-0', 'maze-prepend-4-seed-0', 'blocks-prepend-4-seed-0']
    """
    watched = tuple(worlds)
    for world in watched:
        if world not in WORLDS:
            raise ParameterError("world", f"one of {', '.join(WORLDS)}", world)
    asked = range(MORE_SEEDS) if seeds is None else seeds
    numbers = [positive_integer("seed", seed, minimum=0) for seed in asked]
    ours = [row for row in ROWS if row.compressor == "state_space"]
    first = [seed for seed in numbers if seed == 0]
    papers = [row for row in ROWS if row not in ours]
    whole = [
        Job(world, row, seed, part)
        for rows, of_them, parts in (
            ([*papers, MANY_SCHEDULES], numbers, ("rows", "controls")),
            (READ, numbers, ("reading",)),
            (LONGER, first, ("rows",)),
            (ours, numbers, ("rows",)),
        )
        for seed in of_them
        for row in rows
        for part in parts
        if part != "controls" or row in CONTROLLED
        for world in watched
    ]
    chosen = {job for job in whole if only in job.title and (seeds is not None or job.planned)}
    if not chosen:
        raise ParameterError("only", "a part of the name of a job", only)
    chosen |= {job.row_itself for job in chosen}
    chosen |= {job.start for job in chosen if job.start is not None}
    return [job for job in whole if job in chosen]


def missing(plan: Iterable[Job], results: Path = RESULTS) -> list[Job]:
    """The jobs of a plan whose results are not there, or belong to other settings."""
    return [job for job in plan if not _is_current(job, results)]


def _is_current(job: Job, results: Path) -> bool:
    results = job.place(results)
    try:
        manifest = json.loads((results / f"{job.name}.json").read_text(encoding="utf-8"))
        digests = {file: _file_digest(results / file) for file in manifest["sha256"]}
    except (OSError, ValueError, KeyError):
        return False
    return bool(manifest.get("key") == job.key and digests == manifest["sha256"])


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(
    job: Job, arrays: dict[str, np.ndarray], manifest: dict[str, Any], results: Path = RESULTS
) -> None:
    """Write the numbers of a job, then its manifest; either is whole or not there.

    The weights of a pre-training must be there before.
    """
    from paper_repro.arvdm.checkpoint import write_atomically

    results = job.place(results)
    results.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    write_atomically(results / f"{job.name}.npz", packed.getvalue())
    weights = job.shipped_weights(results)
    files = [f"{job.name}.npz", *([] if weights is None else [weights.name])]
    described = {
        "name": job.name,
        "world": job.world,
        "row": dataclasses.asdict(job.row),
        "seed": job.seed,
        "key": job.key,
        **manifest,
        "experiment": job.experiment.to_json(),
        "sha256": {file: _file_digest(results / file) for file in files},
    }
    text = json.dumps(described, indent=1, allow_nan=False) + "\n"
    write_atomically(results / f"{job.name}.json", text.encode())


def load(
    plan: Iterable[Job], results: Path = RESULTS
) -> Iterator[tuple[Job, dict[str, np.ndarray], dict[str, Any]]]:
    """Job, arrays and manifest of every job of a plan whose results are up to date."""
    for job in plan:
        if _is_current(job, results):
            place = job.place(results) / job.name
            manifest = json.loads(place.with_name(f"{job.name}.json").read_text(encoding="utf-8"))
            with np.load(place.with_name(f"{job.name}.npz"), allow_pickle=False) as stored:
                yield job, {name: stored[name] for name in stored.files}, manifest
