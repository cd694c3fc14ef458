"""Write docs/benchmarks.md from what `make bench` measured: `python -m tests.benchmarks JSON`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
PACKAGES = ("numpy", "scipy", "torch", "statsmodels")
SECTIONS = {
    "test_roll_out.py": (
        "Roll-out",
        "What a network computes from finished frames is the same in every sub-step, so it is "
        "computed once an AR step. The frames are the same up to rounding (checked before each "
        "timing).",
    ),
    "test_training.py": (
        "Training",
        "The plain reference is `nn.TransformerEncoder` with full attention among all tokens of "
        "all frames, eight layers, its feed-forward as wide as equal parameters ask for. It and "
        "the U-Net see the same clips and the same update.",
    ),
    "test_library.py": (
        "Calculators",
        "The numbers of both ways are compared before each timing.",
    ),
    "test_long_rollouts.py": (
        "Long roll-outs",
        "Totals are equal to the dense path's within the sum of both error bounds, and to nine "
        "digits (checked before each timing). The ratio keeps growing with K; the longest are in "
        "the report, as the study `long_rollouts` measured them.",
    ),
    "test_batches_of_bounds.py": (
        "Many worlds in one call",
        "Bounds take leading axes. Beside one call stands the same calculator called world by "
        "world; the numbers are compared before each timing.",
    ),
    "test_batched.py": (
        "Batches",
        "Times are per world. World by world, a hundred of the worlds are timed.",
    ),
}


def _quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(list(values), [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def _time(seconds: Iterable[float]) -> str:
    low, middle, high = (1e3 * value for value in _quartiles(seconds))
    return f"{middle:.3g} ms ({low:.3g}–{high:.3g})"


def _ratio(others: list[float], ours: list[float]) -> str:
    low, middle, high = _quartiles(b / a for a, b in zip(ours, others, strict=True))
    return f"{middle:.3g} ({low:.3g}–{high:.3g})"


def _rows(results: list[dict[str, Any]]) -> Iterator[str]:
    if len(results) == 1 and results[0]["parameters"]:
        (result,) = results
        ours = result["seconds"][result["name"]]
        yield "| network | parameters | clips per core-second | ratio | n |"
        yield "|---|---:|---:|---:|---:|"
        for name, seconds in result["seconds"].items():
            rate = [1.0 / value for value in seconds]
            low, middle, high = _quartiles(rate)
            ratio = "1" if name == result["name"] else _ratio(seconds, ours)
            yield (
                f"| {name} | {result['parameters'][name]:,} | "
                f"{middle:.3g} ({low:.3g}–{high:.3g}) | {ratio} | {len(seconds)} |"
            )
        return
    yield "| ours | time | beside | time | ratio | n |"
    yield "|---|---:|---|---:|---:|---:|"
    for result in results:
        ours = result["seconds"][result["name"]]
        for name, seconds in result["seconds"].items():
            if name != result["name"]:
                yield (
                    f"| {result['name']} | {_time(ours)} | {name} | {_time(seconds)} | "
                    f"{_ratio(seconds, ours)} | {len(ours)} |"
                )


def table(measured: dict[str, Any]) -> str:
    """The page, from pytest-benchmark's JSON."""
    machine = measured["machine_info"]
    cpu = machine.get("cpu", {})
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Nothing else is timed in the tests, and no test fails for being "
        "slow.",
        "",
        "Each round runs the other way and then ours, in one process with one thread; times are "
        "its CPU seconds, so that what else runs on the machine adds little. A ratio is the time "
        "of the other way over ours in the same round. Shown are medians over n rounds and, in "
        "brackets, the quartiles.",
        "",
        f"Measured {measured['datetime'][:10]}: {cpu.get('brand_raw', machine['machine'])}, "
        f"{cpu.get('count', '?')} cores (load {machine['load']:.1f} at the start), Python "
        f"{machine['python_version']}, {packages}.",
    ]
    for file, (title, text) in SECTIONS.items():
        results = [
            benchmark["extra_info"]
            for benchmark in measured["benchmarks"]
            if benchmark["fullname"].split("::")[0].endswith(f"benchmarks/{file}")
        ]
        if not results:
            continue
        lines += ["", f"## {title}", "", text, "", *_rows(results), ""]
        for unit, settings in dict.fromkeys((each["unit"], each["settings"]) for each in results):
            lines.append(f"- Per {unit}: {settings}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCS.write_text(table(json.loads(Path(sys.argv[1]).read_text())), encoding="utf-8")
