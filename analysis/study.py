"""What a study is: a table that is computed once for a configuration, with a manifest beside it.

`Study.run` writes `out/data/<name>.csv` and `out/data/<name>.json` (the manifest) and computes
nothing if both are there for the same configuration, `revision` and input files. Every file is
written beside its place and moved there, the manifest last, so that an interrupted run leaves whole
files, and is not mistaken for a finished one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import logging
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas

import arvdm_theory
from arvdm_theory import sweeps
from arvdm_theory.sweeps import write_atomically

__all__ = [
    "OUT",
    "ROOT",
    "Outcome",
    "Study",
    "file_of",
    "manifest_of",
    "sweep",
    "table_of",
    "write_atomically",
]

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out"
"""Where everything that is made goes, unless said otherwise."""

LOG = logging.getLogger("analysis")

Config = Mapping[str, Any]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a study computes: its table, and `files` (name → content) that belong to it, if any."""

    table: pandas.DataFrame
    files: Mapping[str, bytes] = field(default_factory=dict)


def _no_inputs(config: Config) -> list[str]:
    return []


@dataclass(frozen=True, eq=False)
class Study:
    """One question, asked of one configuration.

    Arguments
    ---------
    name: of the table and its manifest.
    question: one sentence.
    revision: to be raised by hand when `compute` changes what it returns; with the configuration
        it is the key. The git commit is recorded but not part of the key, so that a commit does
        not invalidate hours of compute.
    config: the default configuration, plain JSON.
    compute: configuration -> table, or an `Outcome` with further files.
    inputs: configuration -> files that it reads, relative to the repository; their content is part
        of the key.
    """

    name: str
    question: str
    revision: int
    config: Config
    compute: Callable[[Config], pandas.DataFrame | Outcome]
    inputs: Callable[[Config], list[str]] = _no_inputs

    def key(self, config: Config | None = None) -> str:
        """Content key of this revision of the study on `config` and its input files."""
        config = self.config if config is None else config
        parts = [self.name, self.revision, config, self._input_hashes(config)]
        text = json.dumps(parts, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_up_to_date(self, config: Config | None = None, *, out: Path = OUT) -> bool:
        """Whether the table on disk is whole and belongs to `config` and this revision."""
        try:
            manifest = manifest_of(self.name, out=out)
            if manifest["key"] != self.key(config):
                return False
            whole = [_hash(_table_path(self.name, out)) == manifest["csv_sha256"]]
            whole += [
                _hash(file_of(self.name, file, out=out)) == expected
                for file, expected in manifest["files"].items()
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return all(whole)

    def run(
        self, config: Config | None = None, *, out: Path = OUT, force: bool = False
    ) -> pandas.DataFrame:
        """The table for `config`: computed, or read if it is up to date (unless `force`)."""
        config = self.config if config is None else config
        if force or not self.is_up_to_date(config, out=out):
            self._compute_and_write(config, out)
        else:
            LOG.info("%s: up to date", self.name)
        return table_of(self.name, out=out)

    def _input_hashes(self, config: Config) -> dict[str, str]:
        return {name: _hash(ROOT / name) for name in self.inputs(config)}

    def _compute_and_write(self, config: Config, out: Path) -> None:
        key = self.key(config)
        start = time.perf_counter()
        LOG.info("%s: computing", self.name)
        outcome = self.compute(config)
        if isinstance(outcome, pandas.DataFrame):
            outcome = Outcome(outcome)
        table = outcome.table
        seconds = time.perf_counter() - start
        buffer = io.StringIO()
        table.to_csv(buffer, index=False, lineterminator="\n")
        content = buffer.getvalue().encode()
        manifest = {
            "study": self.name,
            "question": self.question,
            "revision": self.revision,
            "key": key,
            "config": config,
            "inputs": self._input_hashes(config),
            "rows": len(table),
            "columns": list(table.columns),
            "csv_sha256": hashlib.sha256(content).hexdigest(),
            "files": {
                file: hashlib.sha256(text).hexdigest() for file, text in outcome.files.items()
            },
            "git": _git_state(),
            "versions": _versions(),
            "wall_time_seconds": round(seconds, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for file, text in outcome.files.items():
            write_atomically(file_of(self.name, file, out=out), text)
        write_atomically(_table_path(self.name, out), content)
        described = json.dumps(manifest, indent=1, allow_nan=False) + "\n"
        write_atomically(_manifest_path(self.name, out), described.encode())
        LOG.info("%s: %d rows in %.1f s", self.name, len(table), seconds)


def table_of(name: str, *, out: Path = OUT) -> pandas.DataFrame:
    """The table of study `name` as it lies on disk; numbers keep every digit.

    Raises `FileNotFoundError` if the study has not run.
    """
    path = _table_path(name, out)
    if not path.exists():
        raise FileNotFoundError(f"no table of study {name}: run `python -m analysis {name}` first")
    # the python engine parses numbers exactly in every version of pandas
    return pandas.read_csv(path, engine="python", keep_default_na=False, na_values=[""])


def manifest_of(name: str, *, out: Path = OUT) -> dict[str, Any]:
    """The manifest of study `name`: configuration, revision, commit, versions, wall time."""
    manifest: dict[str, Any] = json.loads(_manifest_path(name, out).read_text(encoding="utf-8"))
    return manifest


def file_of(name: str, file: str, *, out: Path = OUT) -> Path:
    """Where a further file of study `name` lies."""
    return out / "data" / name / file


def sweep(
    label: str, function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> list[_Result]:
    """`arvdm_theory.sweep` of every item, in order, with a line of progress now and then."""
    reported = time.perf_counter()

    def report(finished: int, total: int) -> None:
        nonlocal reported
        if time.perf_counter() - reported > 5.0 and finished < total:
            LOG.info("%s: %d of %d", label, finished, total)
            reported = time.perf_counter()

    return sweeps.sweep(function, items, progress=report)


def _table_path(name: str, out: Path) -> Path:
    return out / "data" / f"{name}.csv"


def _manifest_path(name: str, out: Path) -> Path:
    return out / "data" / f"{name}.json"


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git_state() -> dict[str, Any]:
    """Commit of the checkout and whether tracked files differ from it; nulls outside git."""

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "--verify", "HEAD")
    changes = ask("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "changed_files": None if changes is None else bool(changes)}


def _versions() -> dict[str, str]:
    names = ("numpy", "scipy", "pandas", "joblib")
    return {
        "python": platform.python_version(),
        "arvdm_theory": arvdm_theory.__version__,
        **{name: importlib.metadata.version(name) for name in names},
    }
