r"""What do the networks read of their memory?

One window is generated after true frames, then again with foreign frames (of another map) in one
band of the memory, `paper_repro.reading`. No error is handed on and no view was lost before, so
that what a network does worse with a foreign band is what it reads there, and what it does badly
with a true memory it cannot read or cannot draw. A band is foreign as a whole: the frames just
before the window show most of the next view too, so that a network which reads nothing else still
has a part of it.

The views that are scored lie in one band each: `views` says how many frames before the window.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas

from analysis.inference import mean_over, resolution
from analysis.measured_rows import FOLDER, Measured, inputs, published_rows, read
from analysis.study import Config, Study
from arvdm_theory.errors import RefusedError
from paper_repro.reading import SETTINGS, conditions, distances
from paper_repro.worlds.walk import CLIPS_A_MAP

__all__ = ["ALL", "NOTHING", "STUDY", "name_of_band", "run"]

CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "reading": "paper_repro/results/reading",
    "worlds": ["maze", "blocks"],
    "confidence": 0.95,
}
NOTHING, ALL = "nothing", "all"
SAME = 1e-3
"""Share by which the errors of the same weights may differ on average: rounding of other kernels
gives 1e-5, another training seed some tenths."""
COLUMNS = (
    *("world", "row", "memory", "budget", "views", "foreign", "quantity"),
    *("value", "low", "high", "unit", "seeds", "clips", "maps", "over"),
)
_UNITS = {
    "retrieval": "share",
    "lost_retrieval": "share",
    "mse": "of the squared peak",
    "mse_rise": "of the squared peak",
}


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, network, views, foreign band and quantity; empty if nothing is measured.

    `views` and `foreign`: frames before the window, as text; `foreign` may be `nothing` or `all`.
    `retrieval` and `mse`, squared error, of the views; `lost_retrieval` and `mse_rise` against a
    memory in which nothing is foreign, paired. Intervals are over training seeds and clips
    (`over`), of which those of one map count as one.

    Raises `RefusedError` if what is read is of other weights than their row, or was measured with
    other settings.
    """
    rows, readings = (read(config[folder]).found for folder in ("results", "reading"))
    out: list[dict[str, Any]] = []
    for world in config["worlds"]:
        for named in published_rows():
            row = named["row"]
            found = _arrays(rows.get((world, row), {}), readings.get((world, row), {}))
            if found:
                network = next(iter(readings[world, row].values())).manifest["experiment"]
                shape = {name: network["network"][name] for name in ("memory", "budget", "window")}
                known = {"world": world, "row": row, **shape}
                out += [known | one for one in _numbers(found, **shape, config=config)]
    return pandas.DataFrame(out, columns=list(COLUMNS))


def name_of_band(band: tuple[int, int] | None, memory: int) -> str:
    """A band (a, b) as the frames a + 1 to b before the window.

    >>> [name_of_band(band, 12) for band in (None, (0, 4), (4, 12), (0, 12))]
    ['nothing', '1–4', '5–12', 'all']
    """
    if band is None:
        return NOTHING
    return ALL if band[0] == 0 and band[1] >= memory else f"{band[0] + 1}–{band[1]}"


def _arrays(
    rows: Mapping[int, Measured], readings: Mapping[int, Measured]
) -> dict[int, Mapping[str, np.ndarray]]:
    """Seed → arrays of the seeds whose network has both."""
    out: dict[int, Mapping[str, np.ndarray]] = {}
    for seed in sorted(rows.keys() & readings.keys()):
        reading, name = readings[seed], readings[seed].path.name
        if reading.manifest["reading"] != json.loads(json.dumps(SETTINGS)):
            raise RefusedError(f"reading measured with other settings than today's: {name}")
        first = reading.arrays["reading_error"][0, 0]
        own = rows[seed].arrays["return_error"][: len(first), : first.shape[1]]
        if np.mean(np.abs(own - first)) > SAME * np.mean(own):
            raise RefusedError(f"reading of other weights than their row: {name}; remove it")
        out[seed] = reading.arrays
    return out


def _numbers(
    found: Mapping[int, Mapping[str, np.ndarray]],
    memory: int,
    budget: int,
    window: int,
    config: Config,
) -> list[dict[str, Any]]:
    kinds = {"retrieval": "reading_success", "mse": "reading_error"}
    arrays = {
        quantity: np.stack([one[name] for one in found.values()]).astype(np.float64)
        for quantity, name in kinds.items()
    }
    out: list[dict[str, Any]] = []
    for k, of_window in enumerate(distances(window)):
        band = next(band for band in SETTINGS["bands"] if band[0] < of_window[0] <= band[1])
        inside = of_window <= band[1]
        views = f"{of_window[inside][0]}–{of_window[inside][-1]}"
        means = {name: values[:, k][..., inside].mean(-1) for name, values in arrays.items()}
        for c, foreign in enumerate(conditions(memory)):
            quantities = {name: values[:, c] for name, values in means.items()}
            if foreign is not None:
                quantities["lost_retrieval"] = means["retrieval"][:, 0] - means["retrieval"][:, c]
                quantities["mse_rise"] = means["mse"][:, c] - means["mse"][:, 0]
            for quantity, values in quantities.items():
                shares = {"retrieval": 1, "lost_retrieval": 2}.get(quantity, 0)
                mean = mean_over(
                    values,
                    floor=shares * resolution(values.shape[1]),
                    clusters=np.arange(values.shape[1]) // CLIPS_A_MAP,
                )
                low, high = mean.interval(config["confidence"])
                out.append(
                    {
                        "views": views,
                        "foreign": name_of_band(foreign, memory),
                        "quantity": quantity,
                        "value": float(mean.value),
                        "low": float(low),
                        "high": float(high),
                        "unit": _UNITS[quantity],
                        "seeds": mean.seeds,
                        "clips": mean.clips,
                        "maps": mean.independent,
                        "over": mean.over,
                    }
                )
    return out


STUDY = Study(
    name="memory_reading",
    question="What do the networks read of their memory?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: [*inputs(config["results"]), *inputs(config["reading"])],
)
run = STUDY.run


def text_of(table: pandas.DataFrame) -> str:
    """Retrieval of every network by views and foreign band as plain text."""
    if table.empty:
        return "Of no network has been measured yet what it reads"
    shown = table[table["quantity"] == "retrieval"]
    bands = [name_of_band(band, SETTINGS["bands"][-1][1]) for band in (None, *SETTINGS["bands"])]
    lines = ["Share of views retrieved, by the frames of the memory that are foreign"]
    for (world, views), part in shown.groupby(["world", "views"], sort=False):
        wide = part.pivot_table(index="row", columns="foreign", values="value", sort=False)
        wide = wide.reindex(columns=[name for name in (*bands, ALL) if name in wide])
        text = wide.to_string(float_format="{:.2f}".format, na_rep="")
        lines += [f"{world}, views {views} frames before the window", text]
    return "\n".join(lines)


def main() -> None:
    print(text_of(run()))


if __name__ == "__main__":
    main()
