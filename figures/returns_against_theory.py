"""Look away and return: what a Gaussian law says a memory knows, and what networks retrieve."""

from __future__ import annotations

from pathlib import Path

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import OUT, table_of
from analysis.theory_against_networks import STUDY
from figures import style

NAME = "returns_against_theory"
TITLE = "What the memory knows of a returning view, and what networks retrieve"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Clips of {context} frames away and {generated} back, by the age of the view. Lines: a "
    "Gaussian law of the clips by frame number, which knows which frame comes back "
    "({fit[returning][components]} principal components, {fit[returning][clips]} clips); the "
    "share of what the whole past says of a frame at level δ that the last m frames say, mean "
    "over the frames of an age, frames before the window taken as true. Measured, marks: the "
    "share of these frames that networks with that memory retrieve, 95 % over clips and "
    "training seeds (over clips only where there is one seed). The law says where a memory "
    "ends; no rate follows from it, since a rate is a threshold on a picture, and networks go on "
    "from their own frames."
)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    data = data[data["quantity"].isin(["known", "retrieval"])]
    most = data["components"].max()
    data = data[(data["source"] == "network") | (data["components"] == most)]
    worlds = list(data["world"].unique())
    with style.new_figure(style.WIDE, 3.2) as figure:
        axes = figure.subplots(1, len(worlds), squeeze=False, sharey=True)[0]
        for ax, world in zip(axes, worlds, strict=True):
            _panel(ax, data[data["world"] == world])
            ax.set_title(world)
            ax.set_xlabel("memory (frames)")
        axes[0].set_ylabel("known, retrieved (share)")
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        style.save(figure, NAME, data, out)
    return figure, data


def _panel(ax: Axes, rows: pandas.DataFrame) -> None:
    spans = list(rows.loc[rows["source"] == "theory", "span"].unique())
    for span, (colour, mark, dashes) in zip(spans, style.SERIES, strict=False):
        chosen = rows[rows["span"] == span]
        law = chosen[chosen["quantity"] == "known"]
        label = f"known, age {span}"
        ax.plot(law["memory"], law["value"], color=colour, ls=dashes, label=label)
        shown = chosen[chosen["quantity"] == "retrieval"]
        ax.errorbar(
            shown["memory"],
            shown["value"],
            yerr=[shown["value"] - shown["low"], shown["high"] - shown["value"]],
            ls="none",
            marker=mark,
            color=colour,
            elinewidth=0.9,
            capsize=1.5,
            label=f"retrieved, age {span}",
        )
