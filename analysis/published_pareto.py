"""What does memory cost in the published numbers: retrieval against the decay of PSNR?

Published values only; nothing measured here is mixed in.
"""

from __future__ import annotations

from typing import Any

import pandas

from analysis.study import Config, Study
from paper_repro import published

__all__ = ["STUDY", "run"]

CONFIG: dict[str, Any] = {
    "worlds": {
        "DMLab": {"retrieval": 1, "psnr": 3},
        "Minecraft": {"retrieval": 2, "psnr": 4},
    }
}


def psnr_decay(table: int) -> pandas.DataFrame:
    """First minus last span of published Table 3 or 4, with the start value and the MSE (T4).

    The MSE is that of a frame whose PSNR is the published mean, in units of the squared peak value.
    """
    values = published.load(table)
    spans = published.SPANS[table]
    first, last = values[spans[0]], values[spans[-1]]
    mse_first, mse_last = 10.0 ** (-first / 10.0), 10.0 ** (-last / 10.0)
    return pandas.DataFrame(
        {
            "memory_budget": values["memory_budget"],
            "psnr_first_db": first,
            "psnr_last_db": last,
            "psnr_decay_db": (first - last).round(2),  # published to two decimals
            "mse_first": mse_first,
            "mse_last": mse_last,
            "mse_increase": mse_last - mse_first,
        }
    )


def _on_front(points: pandas.DataFrame) -> pandas.Series:
    """Which points no other one beats: as much retrieval or more, as little decay or less."""
    kept = []
    for _, point in points.iterrows():
        as_good = (points["retrieval"] >= point["retrieval"]) & (
            points["psnr_decay_db"] <= point["psnr_decay_db"]
        )
        better = (points["retrieval"] > point["retrieval"]) | (
            points["psnr_decay_db"] < point["psnr_decay_db"]
        )
        kept.append(not (as_good & better).any())
    return pandas.Series(kept, index=points.index, dtype=bool)


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, compressed network, budget and retrieval span.

    `retrieval` of Tables 1 and 2 beside the PSNR decay of Tables 3 and 4 at the same budget.
    Tables 3 and 4 do not name the structure, so the same decay stands beside both. `on_front`:
    not dominated among the rows of its world, structure and span.
    """
    parts = []
    for world, tables in config["worlds"].items():
        number = tables["retrieval"]
        networks = published.load(number).dropna(subset=["memory_budget"])
        long = networks.melt(
            id_vars=["structure", "compression", "memory_length", "memory_budget"],
            value_vars=list(published.SPANS[number]),
            var_name="span",
            value_name="retrieval",
        )
        long.insert(0, "world", world)
        long["retrieval_unit"] = published.TABLES[number].unit
        parts.append(
            long.merge(psnr_decay(tables["psnr"]), on="memory_budget", validate="many_to_one")
        )
    rows = pandas.concat(parts, ignore_index=True)
    rows["span"] = rows["span"].str.removeprefix("span_").str.replace("_", "–")
    groups = rows.groupby(["world", "structure", "span"], sort=False)
    rows["on_front"] = pandas.concat([_on_front(points) for _, points in groups])
    return rows


def _inputs(config: Config) -> list[str]:
    numbers = [number for tables in config["worlds"].values() for number in tables.values()]
    return [f"paper_repro/published/{published.TABLES[number].file}" for number in numbers]


STUDY = Study(
    name="published_pareto",
    question="What does memory cost in the published numbers: retrieval against PSNR decay?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=_inputs,
)
run = STUDY.run
