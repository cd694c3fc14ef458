"""`python -m analysis [STUDY ...]`: bring studies up to date, all of them unless named."""

from __future__ import annotations

import argparse
import logging

import joblib

from analysis.registry import STUDIES


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--force", action="store_true", help="compute again what is up to date")
    parser.add_argument("--processes", type=int, default=2, help="default: 2")
    given = parser.parse_args(arguments)
    for name in given.studies:
        if name not in STUDIES:
            parser.error(f"STUDY must be one of {', '.join(STUDIES)}, got {name}")
    logging.basicConfig(format="%(relativeCreated)7.0f ms  %(message)s", level=logging.INFO)
    with joblib.parallel_config(n_jobs=given.processes):
        for name in given.studies or STUDIES:
            STUDIES[name].run(force=given.force)


if __name__ == "__main__":
    main()
