"""Squared error along roll-outs under ten schedules, and what was predicted without rolling out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from analysis.predicted_degradation import FORGETTING, PREDICTIONS, SCHEDULES, STUDY
from analysis.study import OUT, table_of
from figures import style
from paper_repro.many_schedules import SETTINGS

NAME = "predicted_degradation"
TITLE = "Degradation predicted without rolling out"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Measured: one network a world and training seed (window 8, memory 12, a mixture of levels in "
    "training), every frame passing 8 levels under each schedule, ancestral sampler, roll-outs to "
    f"and fro in which no view is older than the memory. {SETTINGS['rolled_out']} clips are rolled "
    f"out, predictions are of {SETTINGS['clips']['count'] - SETTINGS['rolled_out']} others. First: "
    "squared error of spans of 6 frames, "
    "mean over seeds; grey: error of another clip's frame. Second: Theorem C's loss (teacher "
    "forced, on other clips) against the error of the last span. Third: squared error of one pass "
    "with true memory, summed over the copies of the content, against the measured one, all spans; "
    "line: equality. Hollow: schedules under which forgetting dominates (one pass errs by more "
    f"than {FORGETTING:g} of chance), left out of the correlations. Fourth: Spearman's rank "
    "correlation among the schedules of a network in a span, mean over spans: of each seed "
    f"(small), and of all with its interval of {{confidence:.0%}}; at least {SCHEDULES} schedules "
    "must be left. Three seeds are few: the interval is the wider of a cluster bootstrap and of "
    "Student's t. A loss in nats bounds a divergence of laws; nothing says that it orders squared "
    "errors."
)
FAMILIES = {
    "FIFO": style.BLUE,
    "staircase": style.SKY,
    "chunk": style.VERMILION,
    "outpainting": style.GREEN,
    "next frame": style.PURPLE,
}
MARKS = "os^Dv"
NAMES = {"loss": "loss\n(T1)", "one_pass": "one pass,\nsummed"}
WORLDS = ("maze", "blocks")


def looks(names: list[str]) -> dict[str, tuple[str, str]]:
    """Schedule → colour of its family and a mark of its own."""
    out: dict[str, tuple[str, str]] = {}
    for name in names:
        family = name.partition(",")[0]
        count = sum(known.startswith(family) for known in out)
        out[name] = FAMILIES[family], MARKS[count]
    return out


def name_schedules(figure: Figure, axes: list[Axes]) -> None:
    """A legend below, of the first of the axes that shows anything."""
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside lower center", ncols=5)
            return


def thousands(ax: Axes) -> None:
    """Ticks, in thousands, of a logarithmic axis that spans one or two powers of ten."""
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 4.0)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, place: f"{value / 1000.0:g}")


def _absent(ax: Axes) -> None:
    ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)


def _mean(rows: pandas.DataFrame, quantity: str) -> pandas.Series:
    """Over seeds, by schedule and span."""
    chosen = rows[rows["quantity"] == quantity].fillna({"first_frame": -1.0})
    return chosen.groupby(["schedule", "first_frame"], sort=False)["value"].mean()


def _world(axes: list[Axes], rows: pandas.DataFrame, style_of: dict[str, tuple[str, str]]) -> None:
    measured, chance = _mean(rows, "error"), _mean(rows, "chance")
    loss, predicted = _mean(rows, "loss"), _mean(rows, "predicted_by_one_pass")
    forgets = rows.dropna(subset=["forgets"]).groupby("schedule")["forgets"].max()
    # frames in a span are as many as its first frame lies beyond that of the one before
    first = np.unique(measured.index.get_level_values(1))
    half = 0.5 * (first[1] - first[0]) if len(first) > 1 else 0.5
    for name, (colour, mark) in style_of.items():
        fill = "none" if bool(forgets[name]) else colour
        shown: dict[str, Any] = {"color": colour, "marker": mark, "mfc": fill}
        axes[0].plot(first + half, measured[name], lw=0.9, label=name, **shown)
        axes[1].plot(loss[name].iloc[0], measured[name].iloc[-1], ls="none", **shown)
        axes[2].plot(predicted[name], measured[name], ls="none", ms=3.0, **shown)
    level = chance.groupby("first_frame").mean()
    axes[0].plot(first + half, level, color=style.GREY, lw=0.9, ls=":")
    ends = [predicted.min(), predicted.max()]
    axes[2].plot(ends, ends, color=style.GREY, lw=0.8)


def _correlations(ax: Axes, rows: pandas.DataFrame) -> None:
    for place, prediction in enumerate(PREDICTIONS):
        chosen = rows[(rows["quantity"] == "rank_correlation") & (rows["prediction"] == prediction)]
        single, pooled = chosen[chosen["seed"].notna()], chosen[chosen["seed"].isna()]
        ax.plot(
            np.full(len(single), place), single["value"], ls="none", marker=".", color=style.GREY
        )
        for row in pooled.to_dict("records"):
            ax.errorbar(
                place + 0.2,
                row["value"],
                yerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]],
                marker="o",
                color=style.ink(),
                elinewidth=0.9,
            )
    for level in (0.0, 0.5):
        ax.axhline(level, color=style.GREY, lw=0.6, ls=":")
    ax.set_xticks(range(len(PREDICTIONS)), [NAMES[name] for name in PREDICTIONS])
    ax.set_xlim(-0.5, len(PREDICTIONS) - 0.3)
    ax.set_ylim(-1.3, 1.3)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    kinds = ["error", "chance", "loss", "predicted_by_one_pass", "rank_correlation"]
    data = table[table["quantity"].isin(kinds)]
    style_of = looks(list(dict.fromkeys(data["schedule"].dropna())))
    with style.new_figure(style.WIDE, 5.6) as figure:
        axes = figure.subplots(len(WORLDS), 4, squeeze=False, width_ratios=[1.2, 1.0, 1.0, 0.8])
        for line, world in zip(axes, WORLDS, strict=True):
            rows = data[data["world"] == world]
            seeds = rows["seed"].nunique()
            line[0].set_title(f"{world}, {seeds} seed{'' if seeds == 1 else 's'}")
            if rows.empty:
                for ax in line:
                    _absent(ax)
            else:
                _world(list(line[:3]), rows, style_of)
                _correlations(line[3], rows)
                line[1].set_xscale("log")
                thousands(line[1])
                line[0].set_yscale("log")
                line[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                line[0].yaxis.set_minor_locator(NullLocator())
                line[0].yaxis.set_major_formatter(lambda value, place: f"{value:g}")
            line[0].set_ylabel("squared error (of the peak²)")
            line[1].set_ylabel("error of the last span (of the peak²)")
            line[2].set_ylabel("measured error (of the peak²)")
            line[3].set_ylabel("rank correlation")
        axes[-1, 0].set_xlabel("generated frame")
        axes[-1, 1].set_xlabel("loss (1,000 nats/frame)")
        axes[-1, 2].set_xlabel("predicted error (of the peak²)")
        axes[-1, 3].set_xlabel("predicted by")
        name_schedules(figure, list(axes[:, 0]))
        style.save(figure, NAME, data, out)
    return figure, data
