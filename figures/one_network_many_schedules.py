"""One trained network under six schedules: PSNR along the video, loss and cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

from analysis.one_network_many_schedules import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "one_network_many_schedules"
TITLE = "One network, many schedules"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Measured on {clips} clips of the panorama (continuous palette), one network trained on a "
    "mixture of levels (window 8, memory 12, one training seed); every frame passes 8 levels "
    "under each schedule, and no view is older than the memory. Left: PSNR of {generated} "
    "generated frames in spans of {span}. Middle: γ-weighted denoising loss of Theorem C, teacher "
    "forced over {loss_frames} frames: as the sub-steps pay it (filled) and in the limit of many "
    "sub-steps (hollow, no DE); its differences are those of the chain KL, up to the first and "
    "last window. Chain KL at the finished level weighs pixel noise by a "
    "signal-to-noise ratio of 10⁴: FIFO with one call a frame takes its last step from 0.6 to "
    "10⁴ at once and pays in DE, not in prediction. Right: PSNR decay, first minus last span, "
    "against the hollow loss. Bars: one standard error over clips; differences, paired by clip, "
    "are in the table. Calls: network evaluations per generated frame, first window included."
)


def _only(table: pandas.DataFrame, quantity: str) -> pandas.DataFrame:
    return table[table["quantity"] == quantity].set_index("schedule")


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    shown = ("psnr", "loss", "loss_integral", "psnr_decay", "calls_per_frame")
    data = table[table["quantity"].isin(shown)]
    psnr, loss, decay = (_only(data, quantity) for quantity in ("psnr", "loss", "psnr_decay"))
    limit, calls = _only(data, "loss_integral"), _only(data, "calls_per_frame")["value"]
    names = list(loss.index)
    with style.new_figure(style.WIDE, 3.6) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.5, 1.0, 1.0])
        for place, (name, (colour, mark, dashes)) in enumerate(
            zip(names, style.SERIES, strict=True)
        ):
            rows = psnr.loc[name]
            left.errorbar(
                (rows["first_frame"] + rows["end_frame"]) / 2.0,
                rows["value"],
                yerr=rows["standard_error"],
                color=colour,
                marker=mark,
                ls=dashes,
                elinewidth=0.8,
                label=f"{name} ({calls[name]:.3g} calls)",
            )
            for losses, filled in ((loss, True), (limit, False)):
                middle.errorbar(
                    losses.loc[name, "value"],
                    place,
                    xerr=losses.loc[name, "standard_error"],
                    color=colour,
                    marker=mark,
                    mfc=colour if filled else "none",
                    elinewidth=0.8,
                )
            right.errorbar(
                limit.loc[name, "value"],
                decay.loc[name, "value"],
                xerr=limit.loc[name, "standard_error"],
                yerr=decay.loc[name, "standard_error"],
                color=colour,
                marker=mark,
                mfc="none",
                elinewidth=0.8,
            )
        left.set_ylabel("PSNR against the truth (dB)")
        left.set_xlabel("generated frame (middle of the span)")
        middle.set_yticks(np.arange(len(names)), names)
        middle.invert_yaxis()
        middle.set_xlabel("loss (nats/frame)")
        middle.set_xscale("log")
        ticks = [5_000, 10_000, 20_000, 50_000]
        middle.set_xticks(ticks, [f"{tick:,}".replace(",", " ") for tick in ticks])
        middle.set_xticks([], minor=True)
        right.set_xlabel("loss, many sub-steps (nats/frame)")
        right.set_ylabel("PSNR decay (dB)")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        style.save(figure, NAME, data, out)
    return figure, data
