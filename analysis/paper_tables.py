"""The paper's Tables 1–4 beside what the same rows show here, at a quarter of its lengths.

`python -m analysis.paper_tables` (or `make tables`) prints them. Published values have no n; every
measured one stands with its n, its training seeds and its interval; the two are never in one
column. A row that has not been trained yet says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas

from analysis.measured_rows import FOLDER, SCALE, Rows, inputs, published_rows, read
from analysis.published_pareto import psnr_decay
from analysis.study import Config, Study
from paper_repro import published

__all__ = ["NOT_YET", "STUDY", "cells", "compute", "run", "text_of"]

NOT_YET = "not measured yet"
CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "worlds": {"1": "maze", "2": "blocks", "3": "maze", "4": "blocks"},
    "longer": [60, 64],
}
"""`longer`: a span of generated frames beyond the quarter of the paper's lengths."""


def compute(config: Config) -> pandas.DataFrame:
    """One row per table, network, span and quantity, published and measured side by side.

    Tables 1 and 2: retrieval by how many frames ago the view was last seen. `success`, the share of
    frames that pass the `rule`, of each clip, mean over clips; Table 2 also the mean `SSIM`, as
    published. `chance`: the same against the truth of another clip. Tables 3 and 4 (prepend with
    joint compression): `PSNR` and `MSE` of generated frames, and how far they change from the first
    to the last span (`decay`, `growth`); `published_derived`: the paper prints PSNR only.

    `standard_error` over seeds and clips, `seed_error` and `clip_error` over one of them alone;
    `low`, `high`: 95 %, over what `over` says. `note`: "not measured yet", or empty. `steps` and
    `core_seconds` of training, mean over the seeds of which they are known.
    """
    rows = read(config["results"])
    out: list[dict[str, Any]] = []
    for number in (1, 2):
        out += _retrieval(rows, number, config["worlds"][str(number)])
    for number in (3, 4):
        out += _psnr(rows, number, config["worlds"][str(number)], tuple(config["longer"]))
    return pandas.DataFrame(out)


def _retrieval(rows: Rows, number: int, world: str) -> list[dict[str, Any]]:
    out = []
    quantities = {1: ("success",), 2: ("SSIM", "success")}[number]
    unit = published.TABLES[number].unit
    for row in published_rows():
        printed = row["printed"].get(number)
        for span in published.SPANS[number]:
            first, last = (int(end) for end in span.removeprefix("span_").split("_"))
            ages = f"{first // SCALE}:{last // SCALE}"
            for quantity in quantities:
                of, against = ("score", "chance_score")
                if quantity == "success":
                    of, against = ("retrieval", "chance")
                # Table 1 prints success, Table 2 SSIM
                shown = printed is not None and quantity == {1: "success", 2: "SSIM"}[number]
                out.append(
                    {
                        **_network(number, world, row),
                        "published_span": f"{first}–{last}" if shown else "",
                        "published_value": printed[span] if shown else math.nan,
                        "published_unit": unit if shown else "",
                        "published_derived": False,
                        "measured_quantity": quantity,
                        "measured_span": ages.replace(":", "–"),
                        "measured_unit": "share" if quantity == "success" else "SSIM",
                        **_measured(rows, world, row["row"], f"{of}:{ages}", f"{against}:{ages}"),
                        "rule": rows.rule(world) if quantity == "success" else "",
                    }
                )
    return out


def _psnr(rows: Rows, number: int, world: str, longer: tuple[int, int]) -> list[dict[str, Any]]:
    out = []
    printed = published.load(number).set_index("memory_budget")
    derived = psnr_decay(number).set_index("memory_budget")
    ends = [
        tuple(int(end) for end in span.removeprefix("span_").split("_"))
        for span in published.SPANS[number]
    ]
    start, *_, last = [f"{a // SCALE}:{b // SCALE}" for a, b in ends]
    further = f"{longer[0]}:{longer[1]}"
    for row in published_rows():
        if row["compression"] != "joint":
            continue
        budget = row["budget"]
        parts = [
            (
                f"PSNR:{a}–{b}",
                float(printed.loc[budget, span]),
                "PSNR",
                f"{a // SCALE}:{b // SCALE}",
            )
            for span, (a, b) in zip(published.SPANS[number], ends, strict=True)
        ]
        change = "decay:0–16 to 48–64"
        parts += [
            (change, float(derived.loc[budget, "psnr_decay_db"]), "decay", f"{start}:{last}"),
            ("", math.nan, "PSNR", further),
            ("", math.nan, "decay", f"{start}:{further}"),
            ("MSE:0–16", float(derived.loc[budget, "mse_first"]), "MSE", start),
            ("MSE:48–64", float(derived.loc[budget, "mse_last"]), "MSE", last),
            (change, float(derived.loc[budget, "mse_increase"]), "growth", f"{start}:{last}"),
            ("", math.nan, "growth", f"{start}:{further}"),
        ]
        names = {"PSNR": "psnr", "decay": "psnr_decay", "MSE": "mse", "growth": "mse_growth"}
        for label, value, quantity, at in parts:
            unit = "dB" if quantity in ("PSNR", "decay") else "peak²"
            spans = at.split(":")
            out.append(
                {
                    **_network(number, world, row),
                    "published_span": label.partition(":")[2],
                    "published_value": value,
                    "published_unit": unit if label else "",
                    "published_derived": bool(label) and quantity != "PSNR",
                    "measured_quantity": quantity,
                    "measured_span": " to ".join(
                        "–".join(spans[i : i + 2]) for i in range(0, len(spans), 2)
                    ),
                    "measured_unit": unit,
                    **_measured(rows, world, row["row"], f"{names[quantity]}:{at}", None),
                    "rule": "",
                }
            )
    return out


def _network(number: int, world: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "table": number,
        "published_world": published.TABLES[number].world,
        "measured_world": world,
        "row": row["row"],
        "structure": row["structure"],
        "compression": row["compression"],
        "memory": row["memory"] // SCALE,
        "budget": row["budget"] // SCALE,
        "in_the_paper": number > 2 or number in row["printed"],
    }


def _measured(
    rows: Rows, world: str, row: str, quantity: str, against: str | None
) -> dict[str, Any]:
    """Everything measured of a quantity; NaN, 0 and `NOT_YET` where nothing is."""
    nothing = math.nan
    seeds = rows.showing(world, [(row, quantity, 1.0)])
    if not seeds:
        names = ("value", "standard_error", "seed_error", "clip_error", "low", "high", "chance")
        counts = {"over": "", "clips": 0, "seeds": 0, "steps": nothing, "core_seconds": nothing}
        missing = dict.fromkeys(names, nothing) | counts
        return {("measured_value" if k == "value" else k): v for k, v in missing.items()} | {
            "note": NOT_YET
        }
    mean = rows.combined(world, [(row, quantity, 1.0)])
    low, high = mean.interval()
    chance = rows.combined(world, [(row, against, 1.0)]) if against else None
    manifests = [rows.found[world, row][seed].manifest for seed in seeds]
    known = [m["training_core_seconds"] for m in manifests]
    spent = [seconds for seconds in known if seconds is not None]
    return {
        "measured_value": float(mean.value),
        "standard_error": float(mean.standard_error),
        "seed_error": float(mean.seed_error),
        "clip_error": float(mean.clip_error),
        "low": float(low),
        "high": float(high),
        "chance": nothing if chance is None else float(chance.value),
        "over": mean.over,
        "clips": mean.clips,
        "seeds": mean.seeds,
        "steps": sum(m["steps"] for m in manifests) / len(seeds),
        "core_seconds": sum(spent) / len(spent) if spent else nothing,
        "note": "",
    }


STUDY = Study(
    name="paper_tables",
    question="What do the rows of the paper's Tables 1–4 show here, beside what it prints?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: (
        inputs(config["results"])
        + [f"paper_repro/published/{table.file}" for table in published.TABLES.values()]
    ),
)
run = STUDY.run


# --- as text --------------------------------------------------------------------------------------

_HEAD = {
    1: "retrieval by the age of the view",
    2: "retrieval by the age of the view",
    3: "PSNR of generated frames, prepend with joint compression",
    4: "PSNR of generated frames, prepend with joint compression",
}


def text_of(table: pandas.DataFrame) -> str:
    """The four tables as plain text."""
    lines: list[str] = []
    for number, rows in table.groupby("table"):
        first = rows.iloc[0]
        world, other = first["published_world"], first["measured_world"]
        done = rows.loc[rows["note"] != NOT_YET, "row"].nunique()
        lines += [
            f"Table {number}: {_HEAD[int(str(number))]}",
            f"  published: {world} ({published.SOURCE}; n and seeds not published)",
            f"  measured:  {other}, every length a quarter of the paper's; {done} of "
            f"{rows['row'].nunique()} rows",
        ]
        rules = [rule for rule in rows["rule"].unique() if isinstance(rule, str) and rule]
        lines += [f"  success:   {rule}; mean over clips of each clip's share" for rule in rules]
        lines += [
            "  rows:      lengths here; the paper's are 4 times as long",
            "  interval:  95 %, t, over training seeds and clips, of which those of one of the 13 "
            "maps count as one; * over clips only (one seed)",
            *(["  ‡ derived from the printed values"] if rows["published_derived"].any() else []),
            "",
        ]
        grid = [list(_COLUMNS)]
        last = ""
        for row in rows.to_dict("records"):
            grid.append([row["row"] if row["row"] != last else "", *cells(row)])
            last = row["row"]
        widths = [max(len(line[i]) for line in grid) for i in range(len(_COLUMNS))]
        for i, line in enumerate(grid):
            text = "  ".join(
                cell.ljust(width) if j in _LEFT else cell.rjust(width)
                for j, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            lines.append("  " + text.rstrip())
            if i == 0:
                lines.append("  " + "  ".join("-" * width for width in widths))
        lines.append("")
    return "\n".join(lines)


_COLUMNS = (
    "row",
    "frames (paper)",
    "published",
    "|",
    "frames (here)",
    "quantity",
    "measured",
    "± s.e.",
    "95 % interval",
    "clips",
    "seeds",
    "chance",
    "steps",
)
_LEFT = {0, 5}


def cells(row: Mapping[Any, Any]) -> list[str]:
    """A row of the table as texts, all but the name of the network."""
    digits = 4 if row["measured_unit"] == "peak²" else 3
    if row["measured_unit"] == "dB":
        digits = 2

    def shown(value: float, digits: int = digits) -> str:
        return "–" if math.isnan(value) else f"{value:.{digits}f}"

    span = row["published_span"]
    value = row["published_value"]
    unit = row["published_unit"] if isinstance(row["published_unit"], str) else ""
    derived = " ‡" if row["published_derived"] else ""
    out = [
        span if isinstance(span, str) else "",
        "" if math.isnan(value) else f"{value:.{4 if unit == 'peak²' else 2}f} {unit}{derived}",
        "|",
        row["measured_span"],
        f"{row['measured_quantity']} ({row['measured_unit']})",
    ]
    if row["note"] == NOT_YET:
        return [*out, NOT_YET, "", "", "", "", "", ""]
    star = "" if row["over"] == "seeds and clips" else " *"
    return [
        *out,
        shown(row["measured_value"]),
        shown(row["standard_error"]),
        f"[{shown(row['low'])}, {shown(row['high'])}]{star}",
        str(row["clips"]),
        str(row["seeds"]),
        "" if math.isnan(row["chance"]) else shown(row["chance"]),
        f"{row['steps']:.0f}",
    ]


def main() -> None:
    print(text_of(run()))
    for file, reason in read(FOLDER).left_out.items():
        print(f"left out: {file}: {reason}")


if __name__ == "__main__":
    main()
