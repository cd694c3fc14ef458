"""Retrieval of one window after a true memory, and with foreign frames in a band of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.memory_reading import ALL, NOTHING, STUDY
from analysis.study import OUT, manifest_of, table_of
from figures import style
from paper_repro.reading import SETTINGS

NAME = "memory_reading"
TITLE = "What the networks read of their memory"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Share of views retrieved in one window after true frames (filled), and with the frames of "
    "another map at some places of the memory (hollow): 1–4, 5–12 or 13–28 frames before the "
    "window. Columns: how many frames before the window the views stand that are asked for. What "
    "a network loses with a band of foreign frames is what it reads there; the frames just before "
    "the window show most of these views too. Numbers in names: memory, then budget (frames). "
    f"Measured on {SETTINGS['clips']} clips: bars are 95 % over test clips (those of one map count "
    "as one) and training seeds, over clips alone where there is one seed."
)


def _panel(ax: Axes, rows: pandas.DataFrame, names: list[str], bands: list[str]) -> None:
    for place, foreign in enumerate([NOTHING, *bands]):
        here = rows[rows["foreign"] == foreign]
        colour, mark, _ = style.SERIES[place]
        look: dict[str, Any] = {"color": colour, "marker": mark, "ls": "none", "ms": 3.2}
        ax.errorbar(
            here["value"],
            here["row"].map(names.index) + 0.18 * (place - 1.5),
            xerr=[here["value"] - here["low"], here["high"] - here["value"]],
            mfc=colour if foreign == NOTHING else "none",
            elinewidth=0.6,
            label=foreign if foreign == NOTHING else f"{foreign} frames before",
            **look,
        )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(-0.08, 1.08)
    ax.grid(axis="y", lw=0.3)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    shown = (table["quantity"] == "retrieval") & (table["foreign"] != ALL)
    # all of a memory of one band is that band
    whole = (table["quantity"] == "retrieval") & (table["memory"] == SETTINGS["bands"][0][1])
    data = table[shown | whole].reset_index(drop=True)
    bands = [f"{a + 1}–{b}" for a, b in SETTINGS["bands"]]
    data["foreign"] = data["foreign"].replace(ALL, bands[0])
    worlds = list(manifest_of(STUDY.name, out=out)["config"]["worlds"])
    views = list(dict.fromkeys(data["views"])) or bands
    with style.new_figure(style.WIDE, 6.6) as figure:
        axes = figure.subplots(len(worlds), len(views), squeeze=False, sharex=True)
        for line, world in zip(axes, worlds, strict=True):
            rows = data[data["world"] == world]
            names = list(dict.fromkeys(rows["row"]))
            for ax, asked in zip(line, views, strict=True):
                ax.set_title(f"{world}: views {asked} frames before")
                if rows.empty:
                    ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)
                    continue
                _panel(ax, rows[rows["views"] == asked], names, bands)
                if ax is not line[0]:
                    ax.set_yticklabels([])
        for ax in axes[-1]:
            ax.set_xlabel("share of views retrieved")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(
                handles, labels, loc="outside lower center", ncols=4, title="foreign frames"
            )
        style.save(figure, NAME, data, out)
    return figure, data
