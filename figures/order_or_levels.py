"""What moving the rungs of ladders to the levels of a chunk does to loss, error and detail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.order_or_levels import LEVELS, STUDY, each_once
from analysis.predicted_degradation import PREDICTIONS
from analysis.study import OUT, table_of
from figures import style
from figures.predicted_degradation import NAMES, WORLDS, looks, name_schedules, thousands
from paper_repro.many_schedules import CONTROL, SETTINGS

NAME = "order_or_levels"
TITLE = "Order of denoising, or levels"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Measured: the networks for many schedules once more, with the rungs of the ladders (FIFO, "
    "staircases) moved from equidistant OU times (filled) to the levels of a chunk (hollow); "
    "chunks, outpainting and next frame stay as they are. Means over training seeds. First: "
    f"Theorem C's loss (of planned ladders from {SETTINGS['loss_draws']} drawn levels a clip, else "
    "at all levels) against "
    "the squared error of the last span of roll-outs. Second: detail of "
    "frames after one pass, mean squared difference of neighbouring pixels as a share of that of "
    "true frames, against the signal-to-noise ratio at which the network sees a frame for the last "
    "time. Third: Spearman's rank correlation of loss and of one-pass errors with the errors of "
    "roll-outs, with planned levels (loss from the draws) and with equal ones (loss at all "
    "levels): of each seed (small), and of all with its interval of 95 %. Window, stride and order "
    f"differ in either case. {SETTINGS['rolled_out']} clips are rolled out, the loss and one pass "
    f"are of {SETTINGS['clips']['count'] - SETTINGS['rolled_out']} others."
)

MEANS = ("loss", "error", "detail", "last_gamma")


def _means(rows: pandas.DataFrame, quantity: str) -> pandas.Series:
    """Over seeds, by schedule."""
    chosen = rows[rows["quantity"] == quantity]
    return chosen.groupby("schedule", sort=False)["value"].mean()


def _moves(
    ax: Axes, across: pandas.Series, up: pandas.Series, look: dict[str, tuple[str, str]]
) -> None:
    """Every schedule, and where it goes on other levels."""
    for name, (colour, mark) in look.items():
        shown: dict[str, Any] = {"color": colour, "marker": mark, "ls": "none"}
        ax.plot(across[name], up[name], label=name, **shown)
        moved = name + CONTROL["suffix"]
        if moved in across.index:
            ax.plot(across[moved], up[moved], mfc="none", **shown)
            ends = [name, moved]
            ax.plot(across[ends], up[ends], color=colour, lw=0.5, alpha=0.6)
    ax.set_xscale("log")


def _correlations(ax: Axes, rows: pandas.DataFrame) -> None:
    ranks = rows[rows["quantity"] == "rank_correlation"]
    for place, prediction in enumerate(PREDICTIONS):
        for side, levels in enumerate(LEVELS):
            chosen = ranks[(ranks["prediction"] == prediction) & (ranks["levels"] == levels)]
            single, pooled = chosen[chosen["seed"].notna()], chosen[chosen["seed"].isna()]
            at = place + 0.4 * side - 0.2
            fill = "none" if side else style.ink()
            ax.plot(
                np.full(len(single), at - 0.08),
                single["value"],
                ls="none",
                marker=".",
                color=style.GREY,
            )
            for row in pooled.to_dict("records"):
                ax.errorbar(
                    at + 0.04,
                    row["value"],
                    yerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]],
                    marker="o",
                    mfc=fill,
                    color=style.ink(),
                    elinewidth=0.9,
                )
    ax.axhline(0.0, color=style.GREY, lw=0.6, ls=":")
    ticks = [place + shift for place in range(len(PREDICTIONS)) for shift in (-0.2, 0.2)]
    ax.set_xticks(ticks, ["planned", "equal"] * len(PREDICTIONS), rotation=60)
    for place, prediction in enumerate(PREDICTIONS):
        ax.text(place, 1.17, NAMES[prediction].replace("\n", " "), ha="center", fontsize=6)
    ax.set_xlim(-0.5, len(PREDICTIONS) - 0.5)
    ax.set_ylim(-1.3, 1.35)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    kinds = [*MEANS, "rank_correlation"]
    data = table[table["quantity"].isin(kinds)].reset_index(drop=True)
    planned = data[(data["levels"] == LEVELS[0]) & data["schedule"].notna()]
    look = looks(list(dict.fromkeys(planned["schedule"])))
    with style.new_figure(style.WIDE, 5.2) as figure:
        axes = figure.subplots(len(WORLDS), 3, squeeze=False, width_ratios=[1.2, 1.2, 0.9])
        for line, world in zip(axes, WORLDS, strict=True):
            rows = data[data["world"] == world]
            seeds = rows["seed"].nunique()
            line[0].set_title(f"{world}, {seeds} seed{'' if seeds == 1 else 's'}")
            if rows.empty:
                for ax in line:
                    ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)
                continue
            of_schedules = each_once(rows)
            quantities = {name: _means(of_schedules, name) for name in MEANS}
            _moves(line[0], quantities["loss"], quantities["error"], look)
            thousands(line[0])
            _moves(line[1], quantities["last_gamma"], quantities["detail"], look)
            _correlations(line[2], rows)
            line[0].set_ylabel("error of the last span (of the peak²)")
            line[1].set_ylabel("detail (share of true frames)")
            line[2].set_ylabel("rank correlation")
        axes[-1, 0].set_xlabel("loss (1,000 nats/frame)")
        axes[-1, 1].set_xlabel("signal-to-noise ratio last seen (log scale)")
        axes[-1, 2].set_xlabel("predicted by")
        name_schedules(figure, list(axes[:, 0]))
        style.save(figure, NAME, data, out)
    return figure, data
