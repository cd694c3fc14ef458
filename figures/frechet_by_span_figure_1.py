"""Fréchet distance of short clips by time span, beside retrieval of the same frames (Figure 1)."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frechet_by_span import STUDY
from analysis.study import OUT, manifest_of, table_of
from arvdm_theory.errors import ParameterError
from figures import style

NAME = "frechet_by_span_figure_1"
TITLE = "Fréchet distance of short clips by time span, beside retrieval"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Mirrors Figure 1, by memory: Fréchet distance on projected pixels, not FVD (Gaussian fits to "
    "the first 8 principal components of each of the 4 frames of a clip, 200 generated clips "
    "against 400 real ones of other places; squared units, frames in [−1, 1]). Left: roll-outs to "
    "and fro, by frame; no view is older than 12 frames. Middle: roll-outs back over the way out, "
    "by the age of the views in the clip. Right: how much of these very frames counts as "
    "retrieved, by the rule of the world. Dotted: true frames in the same place, the least that so "
    "few clips can show. Measured: bars are 95 % over test clips (jackknife of 13 maps) and "
    "training seeds; hollow marks: one seed, over clips only. All networks drew the same clips."
)
LABELS = {
    "none": "no memory",
    "prepend-4": "prepend 4",
    "prepend-12": "prepend 12",
    "prepend-28": "prepend 28",
    "channel_concat-12": "channel concat 12",
    "cross_attention-28": "cross attention 28",
}
"""Rows that are drawn; the table has all."""
PANELS = (
    ("accumulation", "distance", "Fréchet distance (of 4 frames)"),
    ("return", "distance", "Fréchet distance (of 4 frames)"),
    ("return", "retrieval", "retrieval success (share)"),
)
"""Kind of roll-out, number and its label, one panel each."""
WIDE_ENOUGH = 2.5
"""Inches: in narrower panels the spans are written slantwise."""
NARROWEST = 1.4
"""Inches: in narrower panels nothing can be read."""


def _panel(ax: Axes, rows: pandas.DataFrame, kind: str, number: str, room: float) -> None:
    """One number against the spans; `room`: width of the panel in inches, labels included."""
    ends = ("youngest", "oldest") if kind == "return" else ("first", "end")
    rows = rows[rows["kind"] == kind]
    if rows.empty:
        ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)
        return
    drawn = [row for row in LABELS if (rows["row"] == row).any()]
    spans = rows.drop_duplicates("first").sort_values("first")
    width = float((spans[ends[1]] - spans[ends[0]]).min())
    for row in drawn:
        colour, mark, dashes = style.SERIES[list(LABELS).index(row)]
        here = rows[rows["row"] == row].sort_values("first")
        middle = (here[ends[0]] + here[ends[1]]) / 2.0
        aside = (drawn.index(row) - 0.5 * (len(drawn) - 1)) * 0.08 * width
        whole = (here["over"] == "seeds and clips").all()
        ax.errorbar(
            middle + aside,
            here[number],
            yerr=[here[number] - here[f"{number}_low"], here[f"{number}_high"] - here[number]],
            color=colour,
            marker=mark,
            ls=dashes,
            mfc=colour if whole else "none",
            elinewidth=0.8,
            label=LABELS[row],
        )
    if number == "distance":
        middle = (spans[ends[0]] + spans[ends[1]]) / 2.0
        look: dict[str, Any] = {"color": style.ink(), "ls": ":", "lw": 1.2}
        ax.plot(middle, spans["floor"], label="true frames", **look)
        ax.fill_between(
            middle, spans["floor_low"], spans["floor_high"], color=style.GREY, alpha=0.3, lw=0
        )
        ax.set_ylim(bottom=0.0)
    else:
        ax.set_ylim(-0.03, 1.03)
    labels = [f"{a}–{b}" for a, b in zip(spans[ends[0]], spans[ends[1]], strict=True)]
    turned: dict[str, Any] = {} if room > WIDE_ENOUGH else {"rotation": 45.0, "ha": "right"}
    ax.set_xticks((spans[ends[0]] + spans[ends[1]]) / 2.0, labels, **turned)


def _missing(data: pandas.DataFrame, worlds: list[str]) -> str:
    """Which of the rows that are to be drawn are not there, world by world."""
    parts = []
    for world in worlds:
        there = set(data.loc[data["world"] == world, "row"])
        absent = [label for row, label in LABELS.items() if row not in there]
        parts += [f"{world}: {', '.join(absent)}"] if absent else []
    return f"Not measured yet: {'; '.join(parts)}." if parts else ""


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows.

    Raises `ParameterError` if its panels would be too narrow.
    """
    table = table_of(STUDY.name, out=out)
    data = table[table["row"].isin(list(LABELS))].reset_index(drop=True)
    whole = ["youngest", "oldest"]
    data[whole] = data[whole].astype("Int64")
    worlds = manifest_of(STUDY.name, out=out)["config"]["worlds"]
    with style.new_figure(style.WIDE, 0.5 + 2.3 * len(worlds)) as figure:
        room = float(figure.get_size_inches()[0]) / len(PANELS)
        if room < NARROWEST:
            panels = f"more than 1: {len(PANELS)} panels stand side by side"
            raise ParameterError("columns", panels, 1)
        axes = figure.subplots(len(worlds), len(PANELS), squeeze=False)
        for line, world in zip(axes, worlds, strict=True):
            rows = data[data["world"] == world]
            for ax, (kind, number, label) in zip(line, PANELS, strict=True):
                _panel(ax, rows, kind, number, room)
                ax.set_title(f"{world}, {'to and fro' if kind == 'accumulation' else 'returns'}")
                ax.set_ylabel(label)
                returns = kind == "return"
                ax.set_xlabel("age of the views (frames)" if returns else "generated frame")
        named: dict[str, Any] = {}
        for ax in axes.ravel():
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        if named:
            order = [label for label in (*LABELS.values(), "true frames") if label in named]
            handles = [named[label] for label in order]
            says = textwrap.fill(_missing(data, worlds), int(15.0 * figure.get_size_inches()[0]))
            look: dict[str, Any] = {"title": says or None, "title_fontsize": style.small()}
            figure.legend(handles, order, loc="outside lower center", ncols=7, **look)
        style.save(figure, NAME, data, out)
    return figure, data
