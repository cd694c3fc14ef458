"""`python -m figures NAME ..`: draw figures for a paper, with the studies they need up to date.

python -m figures --list
python -m figures ladder --style neurips --format pdf,svg --out paper/figures
python -m figures all --style icml --columns 2
"""

from __future__ import annotations

import argparse
import difflib
import logging
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

import joblib

from analysis.registry import STUDIES
from analysis.study import OUT
from arvdm_theory.errors import ParameterError
from figures import style
from figures.registry import FIGURES

__all__ = ["draw", "main"]


def draw(
    name: str,
    folder: Path,
    *,
    data: Path = OUT,
    venue: str = "plain",
    columns: int | None = None,
    theme: str = "light",
    formats: Iterable[str] = ("pdf",),
) -> list[Path]:
    """Draw the figure `name` from the studies under `data`; returns the files written to `folder`.

    Raises `ParameterError` for a venue, columns or formats that do not exist (`style.venue`,
    `style.output`), and for a figure that does not fit so few columns.
    """
    formats = tuple(formats)
    with style.theme(theme) as colours, style.venue(venue, columns), style.output(folder, formats):
        FIGURES[name].draw(data)
        return [folder / f"{name}{colours.suffix}.{kind}" for kind in dict.fromkeys(formats)]


def _listed() -> str:
    width = max(map(len, FIGURES))
    return "\n".join(f"{n:<{width}}  {f.kind:<9}  {f.title}" for n, f in FIGURES.items())


def _chosen(parser: argparse.ArgumentParser, names: list[str]) -> list[str]:
    """The figures asked for; exit 2 with the nearest name if one is unknown."""
    for name in names:
        if name != "all" and name not in FIGURES:
            near = difflib.get_close_matches(name, ["all", *FIGURES], n=1, cutoff=0.3)
            hint = f" Did you mean {near[0]}?" if near else ""
            parser.error(f"there is no figure {name}.{hint} (--list names them)")
    return list(FIGURES) if "all" in names else list(dict.fromkeys(names))


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status, 1 if any figure was not drawn."""
    parser = argparse.ArgumentParser(
        prog="python -m figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a figure (--list), or all")
    parser.add_argument("--list", action="store_true", help="name, kind and title of every figure")
    parser.add_argument("--style", choices=style.VENUES, default="plain", help="default: plain")
    parser.add_argument(
        "--columns", type=int, choices=(1, 2), help="of the page (default: its whole width)"
    )
    parser.add_argument("--theme", choices=style.THEMES, default="light", help="default: light")
    parser.add_argument(
        "--format", default="pdf", metavar="LIST", help="of pdf, png, svg; default: pdf"
    )
    parser.add_argument("--out", type=Path, help="folder (default: out/figures/STYLE)")
    parser.add_argument(
        "--data", type=Path, default=OUT, help="folder of the studies (default: out)"
    )
    parser.add_argument("--processes", type=int, default=2, help="of studies; default: 2")
    given = parser.parse_args(arguments)
    if given.list:
        print(_listed())
        return 0
    if not given.names:
        parser.error("name a figure, or all (--list names them)")
    names = _chosen(parser, given.names)
    folder = given.out or given.data / "figures" / given.style
    formats = [kind.strip() for kind in given.format.split(",")]
    try:
        with style.venue(given.style, given.columns), style.output(folder, formats):
            pass
    except ParameterError as error:
        parser.error(str(error))
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # says a line a glyph of a PDF
    needed = dict.fromkeys(study for name in names for study in FIGURES[name].studies)
    with joblib.parallel_config(n_jobs=given.processes):
        for study in needed:
            STUDIES[study].run(out=given.data)
    missing = 0
    for name in names:
        try:
            written = draw(
                name,
                folder,
                data=given.data,
                venue=given.style,
                columns=given.columns,
                theme=given.theme,
                formats=formats,
            )
        except ParameterError as error:
            print(f"{name}: not drawn: {error}", file=sys.stderr)
            missing += 1
        except Exception as error:
            traceback.print_exception(error)
            print(f"{name}: not drawn: {type(error).__name__}: {error}", file=sys.stderr)
            missing += 1
        else:
            for path in written:
                print(f"{path} ({path.stat().st_size / 1024:.0f} kB)")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
