"""Information about the past against memory length, for the shipped clip."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.clip_memory import STUDY, SUMMARY
from analysis.study import OUT, file_of, table_of
from figures import style

NAME = "memory_of_the_shipped_clip"
TITLE = "A recorded clip: information about the past against memory length"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Measured on one clip ({clip}). Lines: laws fitted to its principal components (clean frames), "
    "bands: 5th to 95th percentile of block-bootstrap refits. Diamonds: what prediction of "
    "held-out frames gains, no law assumed, ± one block standard error. Left: what frames older "
    "than r still tell when the last r are known (logarithmic above 0.01 nats). Right: share of "
    "what the past tells that r frames hold; the held-out share can fall again, as a longer memory "
    "has more to learn from the same footage. A stationary law cannot recognise a place that "
    "returns; the clip’s own page says what else the fit cannot say."
)
LAWS = {
    "autoregressive": "vector autoregression",
    "state_space": "state space",
    "arfima": "long memory (ARFIMA)",
}
HELD_OUT = "held_out_prediction"


def rows_shown(table: pandas.DataFrame) -> pandas.DataFrame:
    """Clean frames only."""
    columns = ["source", "window_frames", "mb_nats", "lower_nats", "upper_nats", "share_of_total"]
    return table[table["level"] == 0.0][columns]


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = rows_shown(table_of(STUDY.name, out=out))
    summary = json.loads(file_of(STUDY.name, SUMMARY, out=out).read_text(encoding="utf-8"))
    targets = summary["held_out_gain"]["targets"]
    asked = set(summary["held_out_gain"]["window_lengths"])
    with style.new_figure(style.WIDE, 3.7) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1.0])
        for law, (colour, mark, dashes) in zip(LAWS, style.SERIES, strict=False):
            rows = data[data["source"] == law]
            if rows.empty:
                continue
            frames = rows["window_frames"]
            marked = [bool(r in asked) for r in frames]
            if rows["lower_nats"].notna().all():
                left.fill_between(
                    frames, rows["lower_nats"], rows["upper_nats"], color=colour, alpha=0.2, lw=0
                )
            left.plot(
                frames,
                rows["mb_nats"],
                color=colour,
                ls=dashes,
                marker=mark,
                ms=3.0,
                markevery=marked,
                label=LAWS[law],
            )
            right.plot(
                frames,
                100.0 * rows["share_of_total"],
                color=colour,
                ls=dashes,
                marker=mark,
                ms=3.0,
                markevery=marked,
            )
        _held_out(left, right, data[data["source"] == HELD_OUT], targets)
        left.set_yscale("symlog", linthresh=0.01, linscale=0.5)
        left.set_ylim(bottom=0.0)
        left.set_ylabel("information in older frames (nats per frame)")
        right.set_ylabel("share held (%)")
        right.set_ylim(0.0, 104.0)
        longest = data["window_frames"].max()
        for ax in (left, right):
            ax.set_xscale("symlog", linthresh=1.0, base=2)
            ticks = [t for t in (0, 1, 2, 4, 8, 16, 32, 64) if t <= longest]
            ax.set_xticks(ticks, [str(t) for t in ticks])
            ax.set_xticks([], minor=True)
            ax.set_xlim(left=-0.1)
            ax.set_xlabel(f"memory length r (frames; clip of n = {summary['frames']})")
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        style.save(figure, NAME, data, out)
    return figure, data


def _held_out(left: Axes, right: Axes, rows: pandas.DataFrame, targets: int) -> None:
    frames, value = rows["window_frames"], rows["mb_nats"]
    left.errorbar(
        frames,
        value,
        yerr=[value - rows["lower_nats"], rows["upper_nats"] - value],
        ls="none",
        marker="D",
        ms=3.5,
        color=style.ink(),
        elinewidth=0.8,
        capsize=2.0,
        label=f"held-out prediction (n = {targets} frames)",
    )
    right.plot(
        frames,
        100.0 * rows["share_of_total"],
        ls="none",
        marker="D",
        ms=3.5,
        color=style.ink(),
    )
