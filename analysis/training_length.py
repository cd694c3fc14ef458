"""Is a memory forgotten because training was short? Some rows, trained longer.

Every row trains for about the same core-time, so that a network with a long memory, whose steps are
dear, takes few of them. Two rows with memory 28, and `prepend` with memory 4 and 12, are trained
once more for four times the steps, on the same clips, from the same start, with everything else the
same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.measured_rows import FOLDER, inputs, read
from analysis.study import Config, Study

__all__ = ["STUDY", "run"]

CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "worlds": ["maze", "blocks"],
    "rows": ["prepend-4", "prepend-12", "prepend-28", "channel_concat-28"],
    "times": 4,
    "quantities": {
        "retrieval:0:4": "retrieval, ages 0–4",
        "retrieval:4:12": "retrieval, ages 4–12",
        "retrieval:12:28": "retrieval, ages 12–28",
        "psnr:0:4": "PSNR of frames 0–4",
        "psnr_decay:0:4:12:16": "PSNR decay to frames 12–16",
        "psnr_decay:0:4:60:64": "PSNR decay to frames 60–64",
        "mse_growth:0:4:12:16": "MSE growth to frames 12–16",
    },
    "confidence": 0.95,
}
COLUMNS = (
    *("world", "row", "steps", "times", "quantity", "unit", "planned", "longer"),
    *("change", "low", "high", "seeds", "clips", "over"),
)
_UNITS = {"retrieval": "share", "psnr": "dB", "mse": "of the squared peak"}


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, network and quantity; empty if nothing was trained longer.

    `planned` after `steps` steps, `longer` after `times` as many, and their paired `change` with
    its interval over what `over` says, for the training seeds that both have.
    """
    rows = read(config["results"])
    out: list[dict[str, Any]] = []
    for world in config["worlds"]:
        for planned in config["rows"]:
            name = f"{planned}-longer-{config['times']}"
            seeds = rows.seeds(world, [planned, name])
            for quantity, label in config["quantities"].items() if seeds else ():
                terms = [(name, quantity, 1.0), (planned, quantity, -1.0)]
                change = rows.combined(world, terms, seeds)
                low, high = change.interval(config["confidence"])
                alone = [rows.combined(world, [(row, quantity, 1.0)], seeds) for row, _, _ in terms]
                steps = [rows.found[world, planned][seed].manifest["steps"] for seed in seeds]
                out.append(
                    {
                        "world": world,
                        "row": planned,
                        "steps": float(np.mean(steps)),
                        "times": config["times"],
                        "quantity": label,
                        "unit": _UNITS[quantity.partition("_")[0].partition(":")[0]],
                        "planned": float(alone[1].value),
                        "longer": float(alone[0].value),
                        "change": float(change.value),
                        "low": float(low),
                        "high": float(high),
                        "seeds": change.seeds,
                        "clips": change.clips,
                        "over": change.over,
                    }
                )
    return pandas.DataFrame(out, columns=list(COLUMNS))


STUDY = Study(
    name="training_length",
    question="What do networks learn in four times the planned steps?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: inputs(config["results"]),
)
run = STUDY.run


def main() -> None:
    table = run()
    print("nothing was trained longer yet" if table.empty else table.to_string(index=False))


if __name__ == "__main__":
    main()
