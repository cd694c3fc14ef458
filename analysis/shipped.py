"""Measurements on trained networks, shipped so that the report needs no training and no torch.

`paper_repro/results/<study>/measured.csv` holds raw counts and means; `manifest.json` says how they
came about. Studies derive everything else from them, and measure again only when asked to.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas

import arvdm_theory
from analysis.study import OUT, ROOT, write_atomically
from arvdm_theory.errors import RefusedError

__all__ = ["RESULTS", "command", "files_of", "read", "training_seconds", "versions", "write"]

RESULTS = ROOT / "paper_repro" / "results"
TABLE, MANIFEST = "measured.csv", "manifest.json"


def files_of(study: str) -> list[str]:
    """The shipped files of a study, relative to the repository."""
    folder = (RESULTS / study).relative_to(ROOT)
    return [(folder / name).as_posix() for name in (TABLE, MANIFEST)]


def read(
    study: str, config: Mapping[str, Any] | None = None, *, results: Path = RESULTS
) -> tuple[pandas.DataFrame, dict[str, Any]]:
    """Shipped table and manifest, checked against each other and against `config` if given.

    Raises `RefusedError` if the table is not the manifest's, or was measured for other settings.
    """
    content = (results / study / TABLE).read_bytes()
    manifest: dict[str, Any] = json.loads((results / study / MANIFEST).read_text(encoding="utf-8"))
    if hashlib.sha256(content).hexdigest() != manifest["csv_sha256"]:
        raise RefusedError(f"{study}: {TABLE} is not the one that {MANIFEST} describes")
    if config is not None and json.loads(json.dumps(config)) != manifest["config"]:
        raise RefusedError(
            f"{study}: the shipped results were measured with another configuration; "
            f"`python -m analysis.{study} --measure` trains and measures anew"
        )
    table = pandas.read_csv(
        io.BytesIO(content), engine="python", keep_default_na=False, na_values=[""]
    )
    return table, manifest


def write(
    study: str,
    table: pandas.DataFrame,
    manifest: Mapping[str, Any],
    *,
    results: Path = RESULTS,
) -> None:
    """Ship a table; the manifest, written last, gets its hash, the versions and `manifest`."""
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, lineterminator="\n")
    content = buffer.getvalue().encode()
    whole = {
        "study": study,
        **manifest,
        "rows": len(table),
        "columns": list(table.columns),
        "csv_sha256": hashlib.sha256(content).hexdigest(),
        "versions": versions(),
    }
    write_atomically(results / study / TABLE, content)
    described = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    write_atomically(results / study / MANIFEST, described.encode())


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "arvdm_theory": arvdm_theory.__version__,
        **{name: importlib.metadata.version(name) for name in ("numpy", "scipy", "torch")},
    }


def training_seconds(log: Path) -> float:
    """Wall time of a training run by its log, over all the parts of a resumed one."""
    seconds = [json.loads(line)["seconds"] for line in log.read_text().splitlines()]
    ends = [a for a, b in zip(seconds, [*seconds[1:], 0.0], strict=True) if b < a]
    return round(sum(ends), 2)


def command(
    study: str, description: str | None, measure: Callable[..., None], arguments: list[str] | None
) -> None:
    """`python -m analysis.STUDY [--measure]`: call `measure(folder=...)` if asked to."""
    parser = argparse.ArgumentParser(prog=f"python -m analysis.{study}", description=description)
    parser.add_argument("--measure", action="store_true", help="train or resume, then measure anew")
    parser.add_argument("--folder", type=Path, default=OUT / "train", help="of the networks")
    given = parser.parse_args(arguments)
    if given.measure:
        measure(folder=given.folder)
