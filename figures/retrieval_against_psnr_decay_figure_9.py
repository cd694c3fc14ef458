"""Retrieval against the decay of PSNR (Figure 9): published, and as measured here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import published_pareto
from analysis.retrieval_against_decay import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "retrieval_against_psnr_decay_figure_9"
TITLE = "Retrieval against PSNR decay: published and measured"
STUDIES = (STUDY.name, published_pareto.STUDY.name)
KIND = "measured"
CAPTION = (
    "First column: published values, quoted (Tables 1–4 of arXiv 2503.10704; n not published; "
    "content last seen 16–48 frames ago, first span 0–16, last 48–64). The others: Measured here "
    "at a quarter of these lengths (ages 4–12, frames 0–4 and 12–16 of roll-outs to and fro, whose "
    "views have the same ages), on the same range of axes; success by the rule of the world’s "
    "table. Networks that are not trained yet are missing. Bars: 97.5 % over training seeds and "
    "test clips, so that the rectangle of two holds the pair with 95 % (hollow: one training seed, "
    "over clips only); of the start value 95 %. Lines join the networks of a family that no other "
    "of it beats; numbers are budgets, or memory lengths. A network that forgets starts low and "
    "has little left to lose: read the decay with the growth of the squared error and the start "
    "value beside it."
)
WORLDS = {"DMLab": "maze", "Minecraft": "blocks"}
"""Published world → measured world."""
SPAN = "16–48"
UNITS = {"share": "retrieval success (share)", "SSIM": "retrieval (SSIM)"}
LOOKS = {
    "joint, by budget": (style.BLUE, "o"),
    "modulated, by budget": (style.VERMILION, "s"),
    "state space, by budget": (style.GREEN, "^"),
    "prepend, by length": (style.SKY, "D"),
    "channel concat, by length": (style.ORANGE, "v"),
    "cross attention": (style.PURPLE, "P"),
    "without memory": (style.GREY, "X"),
}
"""Family → colour and mark; published structures look like their family."""
STRUCTURES = {"prepend": "joint, by budget", "channel_concat": "modulated, by budget"}


def _published(ax: Axes, rows: pandas.DataFrame) -> None:
    for structure, family in STRUCTURES.items():
        colour, mark = LOOKS[family]
        points = rows[rows["structure"] == structure].sort_values("psnr_decay_db")
        ax.plot(points["psnr_decay_db"], points["retrieval"], ls="none", marker=mark, color=colour)
        front = points[points["on_front"]]
        ax.plot(front["psnr_decay_db"], front["retrieval"], color=colour, lw=0.8, alpha=0.6)
        for point in points.to_dict("records"):
            x, y = point["psnr_decay_db"], point["retrieval"]
            _number(ax, x, y, point["memory_budget"], family)
    ax.set_ylabel(UNITS[rows["retrieval_unit"].iloc[0]])


CORNERS = {"modulated, by budget": (-1, -1), "channel concat, by length": (1, -1)}
"""Where the numbers of a family stand: right of their marks or left, above or below."""


def _number(ax: Axes, x: float, y: float, number: int, family: str) -> None:
    right, up = CORNERS.get(family, (1, 1))
    ax.annotate(
        str(number),
        (x, y),
        textcoords="offset points",
        xytext=(3.5 * right, 3.5 * up),
        ha="left" if right > 0 else "right",
        va="bottom" if up > 0 else "top",
        fontsize=6.0,
        color=LOOKS[family][0],
    )


def _measured(column: str) -> Callable[[Axes, pandas.DataFrame], None]:
    def draw(ax: Axes, rows: pandas.DataFrame) -> None:
        if rows.empty:
            ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)
            return
        for family, (colour, mark) in LOOKS.items():
            points = rows[rows["family"] == family]
            for point in points.to_dict("records"):
                x, y = point[column], point["retrieval"]
                whole = point["over"] == "seeds and clips"
                ax.errorbar(
                    x,
                    y,
                    xerr=[[x - point[f"{column}_low"]], [point[f"{column}_high"] - x]],
                    yerr=[[y - point["retrieval_low"]], [point["retrieval_high"] - y]],
                    marker=mark,
                    color=colour,
                    mfc=colour if whole else "none",
                    elinewidth=0.7,
                )
                _number(ax, x, y, point["budget"] or point["memory"], family)
            if column == "psnr_decay_db":
                front = points[points["on_front"]].sort_values(column)
                ax.plot(front[column], front["retrieval"], color=colour, lw=0.8, alpha=0.6)

    return draw


MEASURED = (
    ("psnr_decay_db", "PSNR decay (dB)"),
    ("mse_growth", "growth of the MSE (share of the peak²)"),
    ("psnr_first_db", "PSNR of frames 0–4 (dB)"),
)
"""Column of the study and the label of its axis, one panel each."""


def _together(axes: list[Axes]) -> None:
    """Both with the range that holds what either shows."""
    for name in ("x", "y"):
        ends = np.array([getattr(ax, f"get_{name}lim")() for ax in axes if ax.has_data()])
        for ax in axes:
            getattr(ax, f"set_{name}lim")(ends[:, 0].min(), ends[:, 1].max())


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    quoted = table_of(published_pareto.STUDY.name, out=out)
    quoted = quoted[quoted["span"] == SPAN].reset_index(drop=True)
    here = table_of(STUDY.name, out=out)
    # side by side, so that no column holds values of both kinds
    data = pandas.concat([quoted.add_prefix("published_"), here.add_prefix("measured_")], axis=1)
    with style.new_figure(style.WIDE, 6.6) as figure:
        axes = figure.subplots(len(WORLDS), 1 + len(MEASURED), squeeze=False)
        for line, (world, ours) in zip(axes, WORLDS.items(), strict=True):
            _published(line[0], quoted[quoted["world"] == world])
            line[0].set_title(f"published: {world}, {SPAN}")
            line[0].margins(x=0.12, y=0.15)
            rows = here[here["world"] == ours]
            for ax, (column, label) in zip(line[1:], MEASURED, strict=True):
                _measured(column)(ax, rows)
                ax.set_title(f"measured: {ours}, 4–12")
                ax.set_xlabel(label)
                if column == "mse_growth":
                    ax.locator_params(axis="x", nbins=4)  # long numbers
            line[1].set_ylabel(UNITS["share"])
            line[0].set_xlabel("PSNR decay (dB; n not published)")
            _together(list(line[:2]))
            for ax in line[2:]:
                ax.set_ylim(line[0].get_ylim())
        shown = {*map(STRUCTURES.get, quoted["structure"]), *here["family"]}
        for family, (colour, mark) in LOOKS.items():
            if family in shown:
                axes[0, 0].plot([], [], ls="none", marker=mark, color=colour, label=family)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        style.save(figure, NAME, data, out)
    return figure, data
