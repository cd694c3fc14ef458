"""Contact sheet of a world:  python -m paper_repro.worlds NAME --sheet out.png"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

from paper_repro.worlds import WORLDS, make_world
from paper_repro.worlds.sheet import contact_sheet, write_png

#: A landscape seen along a path there and back, so that the plain command shows something.
GAUSSIAN_EXAMPLE = {
    "family": "panorama",
    "positions": [*range(9), *range(7, -1, -1)],
    "dim": 12,
    "correlation_length": 3.0,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: draw a contact sheet and say how fast the world is."""
    parser = argparse.ArgumentParser(
        prog="python -m paper_repro.worlds", description="Draw a contact sheet of a world."
    )
    parser.add_argument("name", choices=sorted(WORLDS))
    parser.add_argument("--sheet", required=True, metavar="PNG", help="file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=4, help="clips of each kind (default 4)")
    parser.add_argument("--columns", type=int, default=16, help="frames in a clip (default 16)")
    parser.add_argument("--tile", type=int, default=96, help="pixels a frame (default 96)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="option of the world"
    )
    chosen = parser.parse_args(arguments)
    try:
        options = dict(_option(text) for text in chosen.set)
        if chosen.name == "gaussian":
            options.setdefault("video", GAUSSIAN_EXAMPLE)
        world = make_world(chosen.name, **options)
        start = time.perf_counter()
        sheet = contact_sheet(
            world, rows=chosen.rows, columns=chosen.columns, seed=chosen.seed, tile=chosen.tile
        )
        seconds = time.perf_counter() - start
        write_png(chosen.sheet, sheet)
    except (ModuleNotFoundError, OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{chosen.sheet}: {chosen.name}, key {world.key}, drawn in {seconds:.1f} s")


def _option(text: str) -> tuple[str, Any]:
    """`name=value`; the value is JSON, or else plain text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set must be OPTION=VALUE, got {text}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


if __name__ == "__main__":
    main()
