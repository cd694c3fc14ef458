"""`python -m figures.report`: studies, figures and one page, `out/report/index.html`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import joblib

from analysis import clip_memory
from analysis.registry import STUDIES
from analysis.study import OUT, Config, file_of, sweep, write_atomically
from figures import page, style
from figures.registry import FIGURES

__all__ = ["ReportError", "build", "main"]

LOG = logging.getLogger("figures")


class ReportError(RuntimeError):
    """A part of the report failed; the message says which, the cause says why."""


def build(
    out: Path = OUT, *, configs: Mapping[str, Config] | None = None, force: bool = False
) -> Path:
    """Bring studies and figures up to date and write the page; returns its path.

    `configs` replaces the default configuration of the studies that it names. Processes: as the
    surrounding `joblib.parallel_config` says.

    Raises `ReportError` naming the part that failed; the page is then left as it was.
    """
    chosen = configs or {}
    for name, study in STUDIES.items():
        with _part(f"study {name}"):
            study.run(chosen.get(name), out=out, force=force)
    with _part("the figures"):
        drawn = sweep("figures", _draw, [(n, t, out) for n in FIGURES for t in style.THEMES])
        LOG.info("figures: %d drawn", len(drawn))
    with _part("the page"):
        clip = file_of(clip_memory.STUDY.name, clip_memory.PAGE, out=out).read_bytes()
        write_atomically(out / "report" / page.CLIP_PAGE, clip)
        content = page.render(page.sections(out), out)
        path = out / "report" / "index.html"
        write_atomically(path, content.encode())
    LOG.info("report: %s (%.1f MB)", _shown(path), len(content) / 1e6)
    return path


def _shown(path: Path) -> Path:
    """`path` from the working directory, where it lies inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _draw(job: tuple[str, str, Path]) -> str:
    name, theme, out = job
    with _part(f"figure {name} ({theme})"), style.theme(theme):
        FIGURES[name].draw(out)
    return name


@contextmanager
def _part(name: str) -> Iterator[None]:
    """Turns an exception inside the block into a `ReportError` that names the part."""
    try:
        yield
    except ReportError:
        raise
    except Exception as error:
        raise ReportError(f"{name}: {type(error).__name__}: {error}") from error


class _Elapsed(logging.Formatter):
    """Lines that begin with the seconds since the start."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.perf_counter()

    def format(self, record: logging.LogRecord) -> str:
        return f"[{time.perf_counter() - self.start:6.1f} s] {record.getMessage()}"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status, 1 if any part failed."""
    parser = argparse.ArgumentParser(prog="python -m figures.report", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder (default: out)")
    parser.add_argument("--force", action="store_true", help="compute again what is up to date")
    parser.add_argument("--processes", type=int, default=2, help="default: 2")
    given = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Elapsed())
    for logger in (LOG, logging.getLogger("analysis")):
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        with joblib.parallel_config(n_jobs=given.processes):
            build(given.out, force=given.force)
    except ReportError as error:
        traceback.print_exception(error)
        print(f"report failed in {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # under its own name, so that other processes share its classes
    from figures import report

    sys.exit(report.main())
