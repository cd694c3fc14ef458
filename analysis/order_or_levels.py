r"""Why does Theorem C's loss not order the errors of roll-outs: order of denoising, or levels?

The schedules of `predicted_degradation` differ in order and shape (which frames are denoised
together, window, stride), and in where the 8 levels lie that every frame passes. The rungs of a
ladder are equidistant in OU time, so that most of its levels are noisy ones, and a network sees a
frame for the last time at γ = .58 (FIFO, window 8), where a chunk shows it once more at γ = 1,163.
The long last jump makes the γ-weighted loss large. An estimate from a noisy frame is also near to
the mean over everything that fits: close in squared error, poor in detail.

The control (`paper_repro.many_schedules`) takes the levels away: the same networks, clips and
seeds, with the rungs of the ladders on the levels of a chunk. Order and shape then still differ,
and so does how often a network met such levels in training, which had the planned ladders of window
8 among its draws and the moved ones not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas

from analysis.measured_rows import FOLDER, Measured, inputs, read
from analysis.predicted_degradation import (
    REPLICATES,
    ROW,
    Network,
    correlations,
    over_clips,
    summed_over_copies,
)
from analysis.study import Config, Study
from arvdm_theory.errors import RefusedError
from arvdm_theory.schedule import Schedule
from paper_repro.many_schedules import CONTROL, on_levels_of_a_chunk

__all__ = ["LEVELS", "STUDY", "each_once", "run"]

LEVELS = ("planned", "of a chunk")
CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "controls": "paper_repro/results/controls",
    "worlds": ["maze", "blocks"],
    "replicates": REPLICATES,
    "confidence": 0.95,
}
COLUMNS = (
    *("world", "seed", "levels", "schedule", "quantity", "prediction"),
    *("value", "standard_error", "low", "high", "unit", "n", "over"),
)


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, seed, levels, schedule and quantity; empty if nothing is measured.

    `levels`: one of `LEVELS`; chunks, outpainting and next frame stand under both. Quantities of a
    schedule, over clips: `loss` (T1, nats per finished frame; as planned from a few drawn levels,
    else at all of them), `one_pass` and `error` (squared error of one pass, and of the last span of
    roll-outs, of the squared peak), `detail` of one pass (mean squared difference of neighbouring
    pixels, as a share of that of the true frames), and `last_gamma`, at which the network sees a
    frame for the last time. `rank_correlation` with
    the error of roll-outs by `prediction`: of one seed, and without a seed of all.

    Raises `RefusedError` if the control is of another network than the results beside it, or was
    measured with other settings.
    """
    rows, controls = (read(config[folder]).found for folder in ("results", "controls"))
    out: list[dict[str, Any]] = []
    for world in config["worlds"]:
        found, beside = rows.get((world, ROW), {}), controls.get((world, ROW), {})
        networks: dict[str, dict[int, Network]] = {levels: {} for levels in LEVELS}
        for seed in sorted(found.keys() & beside.keys()):
            _same_network(found[seed], beside[seed])
            networks["planned"][seed] = Network.of(found[seed])
            networks["of a chunk"][seed] = on_other_levels(found[seed], beside[seed])
            for levels in LEVELS:
                described = _described(networks[levels][seed], levels, found[seed], beside[seed])
                out += [
                    {"world": world, "seed": seed, "levels": levels, **one} for one in described
                ]
        for levels in LEVELS:
            known = {"world": world, "levels": levels}
            out += [known | one for one in correlations(networks[levels], config)]
    return pandas.DataFrame(out, columns=list(COLUMNS))


def _same_network(measured: Measured, control: Measured) -> None:
    if control.manifest["control"] != CONTROL:
        raise RefusedError(f"control of other settings than today's: {control.path.name}")
    keys = ("experiment", "many_schedules", "steps", "training_core_seconds")
    differing = [key for key in keys if measured.manifest[key] != control.manifest[key]]
    if differing:
        raise RefusedError(
            f"control of another network ({', '.join(differing)}): {control.path.name}; remove it"
        )


def on_other_levels(measured: Measured, control: Measured) -> Network:
    """The network as measured, but under the ladders of its control."""
    network, arrays = Network.of(measured), control.arrays
    error = arrays["control_error"].astype(np.float64)
    one_pass = arrays["control_one_pass"].astype(np.float64)
    ladders, clips, frames = error.shape
    age = measured.arrays["schedule_age"].astype(np.int64)[clips:]
    names = tuple(on_levels_of_a_chunk(**_ends(measured)))
    assert [name.endswith(CONTROL["suffix"]) for name in names[:ladders]] == [True] * ladders
    spans = error.reshape(ladders, clips, frames // network.span, network.span).mean(axis=-1)
    copied = summed_over_copies(one_pass, age)
    return Network(
        error=np.concatenate([spans, network.error[ladders:]]),
        copied=np.concatenate([copied, network.copied[ladders:]]),
        one_pass=np.concatenate([one_pass.mean(axis=-1), network.one_pass[ladders:]]),
        loss=arrays["control_loss"].astype(np.float64),
        chance=network.chance,
        span=network.span,
        names=names,
    )


def _ends(measured: Measured) -> dict[str, float]:
    diffusion = measured.manifest["experiment"]["diffusion"]
    return {"t_max": diffusion["t_max"], "t_min": diffusion["t_min"]}


def last_gamma(specification: dict[str, Any]) -> float:
    """The signal-to-noise ratio at which a frame is shown to the network for the last time.

    >>> ends = {"substeps": 1, "t_max": 4.0, "t_min": 0.01}
    >>> round(last_gamma({"method": "fifo", "window": 4, **ends}), 4)
    0.1565
    """
    gammas = Schedule.from_json(specification).gammas
    start, end = gammas[:-1], gammas[1:]
    finishes = (start < end) & np.isclose(end, gammas.max(), rtol=1e-9, atol=0.0)
    return float(start[finishes].max())


def _described(
    network: Network, levels: str, measured: Measured, control: Measured
) -> list[dict[str, Any]]:
    planned = measured.manifest["many_schedules"]["schedules"]
    moved = on_levels_of_a_chunk(**_ends(measured))
    specifications = moved if levels == "of a chunk" else planned
    both = list(planned) + [name for name in moved if name not in planned]
    detail = control.arrays["control_detail"].astype(np.float64)
    true = control.arrays["control_detail_true"].astype(np.float64).mean()
    out: list[dict[str, Any]] = []
    for place, name in enumerate(network.names):
        shown = {
            "loss": (network.loss[place], "nats per frame"),
            "one_pass": (network.one_pass[place], "of the squared peak"),
            "error": (network.error[place, :, -1], "of the squared peak"),
            "detail": (detail[both.index(name)] / true, "share of true frames"),
        }
        out += [
            {"schedule": name, "quantity": quantity, "unit": unit, **over_clips(values)}
            for quantity, (values, unit) in shown.items()
        ]
        gamma = last_gamma({**specifications[name], **_ends(measured)})
        out.append({"schedule": name, "quantity": "last_gamma", "value": gamma, "unit": "1"})
    return out


def each_once(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of schedules: ladders on both levels, the others once, their loss at all levels.

    >>> table = pandas.DataFrame({
    ...     "schedule": ["FIFO", "next frame", "FIFO, levels of a chunk", "next frame"],
    ...     "levels": ["planned", "planned", "of a chunk", "of a chunk"],
    ... })
    >>> each_once(table)["levels"].tolist()
    ['planned', 'of a chunk', 'of a chunk']
    """
    rows = table[table["schedule"].notna()]
    equal = rows[rows["levels"] == "of a chunk"]
    ladders = ~rows["schedule"].isin(equal["schedule"])
    return pandas.concat([rows[ladders & (rows["levels"] == "planned")], equal])


STUDY = Study(
    name="order_or_levels",
    question="Is it the order in which frames are denoised, or where their levels lie, that makes "
    "roll-outs differ?",
    revision=2,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: [
        name
        for folder in ("results", "controls")
        for name in inputs(config[folder])
        if f"-{ROW}-" in name.rpartition("/")[2]
    ],
)
run = STUDY.run


def text_of(table: pandas.DataFrame) -> str:
    """Schedules and rank correlations as plain text."""
    if table.empty:
        return "No network has been measured under ladders on other levels"
    wide = each_once(table).pivot_table(
        index=["world", "schedule"], columns="quantity", values="value", sort=False
    )
    lines = [wide.to_string(float_format="{:.4g}".format), ""]
    for row in table[table["quantity"] == "rank_correlation"].to_dict("records"):
        who = "all seeds" if np.isnan(row["seed"]) else f"seed {row['seed']:.0f}"
        lines.append(
            f"{row['world']}, levels {row['levels']}, {who}, {row['prediction']}: "
            f"{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] over {row['over']}"
        )
    return "\n".join(lines)


def main() -> None:
    print(text_of(run()))


if __name__ == "__main__":
    main()
