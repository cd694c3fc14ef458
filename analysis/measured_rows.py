"""What the networks of the paper's rows have shown so far, read without torch.

`paper_repro/results/rows/<world>-<row>-seed-<s>.npz` with its manifest beside it (`.json`), as
`paper_repro.plan` writes them. A pair counts if the arrays are those that the manifest describes,
and if it was evaluated like the other rows of its world: on the same clips, by the same rule.
Nothing stands in for a row that is not there.

A *quantity* is text, `name:number:..`, of one network, clip by clip:

- `retrieval:a:b`, share of the returning frames last seen more than `a` and at most `b` frames ago
  that count as retrieved; `chance:a:b`, the same against the truth of another clip; `excess:a:b`,
  the difference of the two;
- `excess_beyond:m`, the same of frames older than memory + window + `m`: of these nothing was in
  the memory wherever in its chunk the frame stood, nor `m` frames later;
- `score:a:b`, mean score of these frames, in the unit of the rule, and `chance_score:a:b`;
- `psnr:i:j`, of generated frames i..j-1 of the roll-out to and fro, and `psnr_decay:i:j:k:l`, first
  minus second; `mse:i:j` and `mse_growth:i:j:k:l`, second minus first (T4);
- `frechet:i:j`, the Fréchet distance to real clips of the returning frames i..j-1: one jackknife
  pseudo-value a map, G F - (G - 1) F without its clips, given the real clips; NaN if it was not
  measured, or with other groups;
- `log_operations_per_step`, log of the floating-point operations of a training step, counted: one
  value a network, NaN if they were not recorded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.inference import Mean, mean_over, resolution
from analysis.study import ROOT
from arvdm_theory.empirical import RULES
from arvdm_theory.errors import ParameterError
from paper_repro import published
from paper_repro.worlds.walk import CLIPS_A_MAP

__all__ = [
    "FOLDER",
    "SCALE",
    "Measured",
    "Rows",
    "inputs",
    "name_of",
    "published_rows",
    "quantity_of_clips",
    "read",
]

FOLDER = "paper_repro/results/rows"
"""Where results lie, relative to the repository."""
SCALE = 4
"""All lengths are the paper's divided by this."""

_SHARES = ("retrieval", "chance", "excess", "excess_beyond")


def name_of(structure: str, memory: int, compression: str = "", budget: int = 0) -> str:
    """Name of a row at CPU scale, from the paper's lengths.

    >>> name_of("prepend", 48, "joint", 8)
    'prepend-12-joint-2'
    """
    name = f"{structure}-{memory // SCALE}"
    return f"{name}-{compression}-{budget // SCALE}" if budget else name


@dataclass(frozen=True, eq=False)
class Measured:
    """One network's results."""

    world: str
    row: str
    seed: int
    path: Path
    manifest: Mapping[str, Any]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Of the results, without the pictures."""
        with np.load(self.path, allow_pickle=False) as stored:
            kinds = ("return_", "accumul", "schedule_", "control_", "reading_")
            wanted = [name for name in stored.files if name.startswith(kinds)]
            return {name: stored[name] for name in wanted}

    @property
    def rule(self) -> tuple[str, float]:
        """When a returning view counts as retrieved: the rule and its threshold."""
        evaluation = self.manifest["experiment"]["evaluation"]
        return str(evaluation["rule"]), float(evaluation["threshold"])

    @property
    def statement(self) -> str:
        """The same in words."""
        rule, threshold = self.rule
        sign = "≥" if RULES[rule].higher else "≤"
        return f"{rule} {sign} {threshold:g} ({RULES[rule].unit})"

    def frechet(self, kind: str) -> np.ndarray | None:
        """Fréchet distances and their jackknife replicates by map; None if there are none such."""
        if self.manifest.get("frechet", {}).get("clips_a_group") != CLIPS_A_MAP:
            return None
        return self.arrays.get(f"{kind}_frechet")

    @cached_property
    def _successes(self) -> tuple[np.ndarray, np.ndarray]:
        """Frames that count as retrieved, and those that would against another clip's truth."""
        if "return_success" in self.arrays:
            return self.arrays["return_success"], self.arrays["return_lucky"]
        rule, threshold = self.rule
        sign = 1.0 if RULES[rule].higher else -1.0
        one, other = (self.arrays[name] for name in ("return_score", "return_lucky_score"))
        return sign * one >= sign * threshold, sign * other >= sign * threshold

    @property
    def retrieved(self) -> np.ndarray:
        """Which returning frames count as retrieved, `(clips, frames)`."""
        return self._successes[0]


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Of each clip's chosen frames; NaN where it has none."""
    count = chosen.sum(axis=1)
    total = np.where(chosen, values, 0.0).sum(axis=1, dtype=np.float64)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def quantity_of_clips(measured: Measured, quantity: str) -> np.ndarray:
    """A quantity (see the module) of every clip, `(clips,)`; `(1,)` if it is the network's.

    NaN for a clip without such frames. Raises `ParameterError` for an unknown quantity.
    """
    name, *numbers = quantity.split(":")
    at = [int(number) for number in numbers]
    if name == "log_operations_per_step":
        return np.log([measured.manifest.get("operations_per_step", math.nan)])
    if name == "frechet":
        return _frechet_pseudo_values(measured, at)
    if name in ("retrieval", "chance", "excess", "excess_beyond", "score", "chance_score"):
        age = measured.arrays["return_age"].astype(np.int64)
        if name == "excess_beyond":
            network = measured.manifest["experiment"]["network"]
            chosen = age > network["memory"] + network["window"] + at[0]
        else:
            chosen = (age > at[0]) & (age <= at[1])
        if name in ("score", "chance_score"):
            field = "return_score" if name == "score" else "return_lucky_score"
            return _mean_where(measured.arrays[field], chosen)
        hits, lucky = (_mean_where(kind, chosen) for kind in measured._successes)
        return {"retrieval": hits, "chance": lucky}.get(name, hits - lucky)
    if name not in ("psnr", "psnr_decay", "mse", "mse_growth"):
        raise ParameterError("quantity", "one of those of the module", quantity)
    error = measured.arrays["accumulation_error"].astype(np.float64)
    if name.partition("_")[0] == "psnr":
        error = -10.0 * np.log10(np.maximum(error, 1e-10))
    if name in ("psnr", "mse"):
        return np.asarray(error[:, at[0] : at[1]].mean(axis=1))
    first, last = (error[:, at[i] : at[i + 1]].mean(axis=1) for i in (0, 2))
    return np.asarray(first - last if name == "psnr_decay" else last - first)


def _frechet_pseudo_values(measured: Measured, span: list[int]) -> np.ndarray:
    distances = measured.frechet("return")
    if distances is None:
        return np.array([np.nan])
    spans = [list(known) for known in measured.manifest["frechet"]["return"]]
    if span not in spans:
        raise ParameterError("quantity", f"Fréchet distances of the frames {spans}", span)
    whole, *without = distances[spans.index(span)]
    return np.asarray(len(without) * whole - (len(without) - 1.0) * np.asarray(without))


_TRIALS = {
    "psnr": "to and fro",
    "mse": "to and fro",
    "log": "training",
    "frechet": "groups of returns",
}


def _clips_of(quantity: str) -> str:
    return _TRIALS.get(quantity.partition(":")[0].partition("_")[0], "returns")


@dataclass(frozen=True, eq=False)
class Rows:
    """Everything measured so far: (world, row) → seed → results; `left_out`: file → reason."""

    found: Mapping[tuple[str, str], Mapping[int, Measured]]
    left_out: Mapping[str, str]

    def seeds(self, world: str, rows: Iterable[str]) -> list[int]:
        """Training seeds that all of these rows have."""
        each = [set(self.found.get((world, row), {})) for row in rows]
        return sorted(set.intersection(*each)) if each else []

    def showing(self, world: str, terms: Iterable[tuple[str, str, float]]) -> list[int]:
        """Training seeds whose networks all show their term's quantity on some clip."""
        terms = list(terms)
        return [
            seed
            for seed in self.seeds(world, [row for row, _, _ in terms])
            if all(
                np.isfinite(quantity_of_clips(self.found[world, row][seed], of)).any()
                for row, of, _ in terms
            )
        ]

    def missing(self, world: str, rows: Iterable[str]) -> list[str]:
        """Those without any result."""
        return [row for row in dict.fromkeys(rows) if not self.found.get((world, row))]

    def values(self, world: str, row: str, quantity: str, seeds: Iterable[int]) -> np.ndarray:
        """`(seeds, clips)`, NaN for clips without such frames."""
        networks = self.found[world, row]
        return np.stack([quantity_of_clips(networks[seed], quantity) for seed in seeds])

    def combined(
        self,
        world: str,
        terms: Iterable[tuple[str, str, float]],
        only: Sequence[int] | None = None,
    ) -> Mean:
        """Mean of a weighted sum of quantities `(row, quantity, weight)`, paired by seed and clip.

        Over the seeds that show all of it (or `only` some of them) and the clips that show
        all of it. Returns and roll-outs to and fro are of different clips: no sum of both.
        """
        terms = list(terms)
        kinds = {_clips_of(of) for _, of, _ in terms}
        if len(kinds) > 1:
            raise ParameterError("terms", "of one kind of roll-out", ", ".join(sorted(kinds)))
        seeds = self.showing(world, terms) if only is None else only
        total = sum(w * self.values(world, row, of, seeds) for row, of, w in terms)
        values = np.asarray(total)
        seen = np.isfinite(values).all(axis=0)
        values = values[:, seen]
        shares = sum(w * w for _, of, w in terms if of.partition(":")[0] in _SHARES)
        floor = shares * resolution(values.shape[1])
        if kinds & {"returns", "to and fro"}:
            return mean_over(values, floor=floor, clusters=np.flatnonzero(seen) // CLIPS_A_MAP)
        mean = mean_over(values, floor=floor)
        groups = kinds == {"groups of returns"}
        return replace(mean, trials="maps") if groups else mean

    def rule(self, world: str) -> str:
        """The rule of a world in words; empty if nothing is measured."""
        networks = [m for (w, _), seeds in self.found.items() if w == world for m in seeds.values()]
        return networks[0].statement if networks else ""


def inputs(folder: str = FOLDER) -> list[str]:
    """The files of all results, for a study's key."""
    place = ROOT / folder
    names = sorted(path.name for path in place.glob("*") if path.suffix in (".json", ".npz"))
    return [(Path(folder) / name).as_posix() for name in names]


def read(folder: str = FOLDER) -> Rows:
    """All results in a folder, relative to the repository."""
    whole: list[Measured] = []
    left_out: dict[str, str] = {}
    for path in sorted((ROOT / folder).glob("*.json")):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            arrays = path.with_suffix(".npz")
            described = manifest["sha256"][arrays.name]
            if hashlib.sha256(arrays.read_bytes()).hexdigest() != described:
                raise ValueError("the arrays are not those that the manifest describes")
            name = manifest["name"]
            row = name.removeprefix(f"{manifest['world']}-").removesuffix(
                f"-seed-{manifest['seed']}"
            )
            if path.stem != f"{manifest['world']}-{row}-seed-{manifest['seed']}":
                raise ValueError("the manifest is of another row")
            one = Measured(manifest["world"], row, manifest["seed"], arrays, manifest)
            _settings(one)
            whole.append(one)
        except (OSError, ValueError, KeyError) as error:
            left_out[path.name] = f"{type(error).__name__}: {error}"
    found: dict[tuple[str, str], dict[int, Measured]] = {}
    for kind in dict.fromkeys(map(_kind, whole)):
        networks = [one for one in whole if _kind(one) == kind]
        settings = Counter(map(_settings, networks)).most_common(1)[0][0]
        for one in networks:
            if _settings(one) == settings:
                found.setdefault((one.world, one.row), {})[one.seed] = one
            else:
                left_out[one.path.name] = "evaluated unlike most rows of its world"
    return Rows(found, left_out)


def _kind(measured: Measured) -> tuple[str, bool]:
    """Networks that are evaluated alike: the rows of a world, and those of many schedules."""
    return measured.world, "many_schedules" in measured.manifest


def _settings(measured: Measured) -> str:
    many = "many_schedules" in measured.manifest
    parts = [measured.manifest["experiment"]["evaluation"]]
    parts.append(measured.manifest["many_schedules" if many else "accumulation"])
    parts.append(measured.manifest["experiment"]["world"])
    return json.dumps(parts, sort_keys=True)


def published_rows() -> list[dict[str, Any]]:
    """Every row of published Tables 1 and 2 with its name here, then those that only we have.

    Lengths are the paper's. `printed`: table number → span → value; empty for our own rows.
    """
    rows: dict[str, dict[str, Any]] = {}

    def row(structure: str, memory: int, compression: str = "", budget: int = 0) -> dict[str, Any]:
        name = "none" if structure == "none" else name_of(structure, memory, compression, budget)
        new = {"row": name, "structure": structure, "compression": compression}
        return rows.setdefault(name, {**new, "memory": memory, "budget": budget, "printed": {}})

    for number in (1, 2):
        table = published.load(number)
        for values in table.astype({"compression": object}).to_dict("records"):
            compressed = isinstance(values["compression"], str)
            kind = (values["compression"], int(values["memory_budget"])) if compressed else ("", 0)
            known = row(values["structure"], int(values["memory_length"]), *kind)
            known["printed"][number] = {s: float(values[s]) for s in published.SPANS[number]}
    row("none", 0)
    for budget in (8, 16, 32, 48):
        row("prepend", 48, "state_space", budget)
    return list(rows.values())
