"""What memory is worth: a Gaussian video fitted to each world, and what networks make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import OUT, table_of
from analysis.theory_against_networks import STUDY
from figures import style

NAME = "theory_against_networks"
TITLE = "What memory is worth: Gaussian law and networks"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Lines: exact for a stationary Gaussian law with the autocovariances of the first "
    "principal components of each world’s frames ({fit[wandering][clips]} clips). Measured, "
    "marks: networks on held-out clips, in the same components at the same level; bars 95 % "
    "over clips and training seeds (over clips only where there is one seed), paired with the "
    "network they are compared with. Nats an AR step of 4 frames. Top: what the last m frames "
    "say of the window when it has reached the first of the sampler’s levels with more signal "
    "than noise. Second: MB there, what the memory lacks of the longest one, of 28 frames (16 "
    "components). Third: the same as at the top by the level reached (16 components); dashed: "
    "the Gaussian law’s errors put through the networks’ quadrature, trapezoids through 8 "
    "levels, which is all that separates it from the line. Bottom: denoising error of a frame "
    "(16 components). A Gaussian line there is the least error of any linear denoiser that sees "
    "nothing but these components; a network below it knows more: which place it sees, the other "
    "pixels, the motion. In the span of the components networks show their share of an "
    "information on whole frames, not quite the law’s quantity. Differences of "
    "two networks are MB + SEE without − SEE with: neither a lower nor an upper bound of MB, "
    "below zero where the network with memory denoises worse (third row: the marks that leave "
    "the picture at low noise, where the networks’ own errors weigh most)."
)
ALL = 16
LOWEST, HIGHEST = -12.0, 42.0
MEMORY_LOOKS = {
    0: (style.BLACK_OR_WHITE, "o", "-"),
    4: (style.BLUE, "s", "-"),
    12: (style.GREEN, "^", "-"),
    28: (style.VERMILION, "D", "-"),
}


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    data = data[data["law"] == "wandering"]
    data = data[~data["quantity"].str.endswith("_left")]
    worlds = list(data["world"].unique())
    gammas = np.sort(data["gamma"].unique())
    at = gammas[gammas > 1.0][0]
    with style.new_figure(style.WIDE, 11.5) as figure:
        axes = figure.subplots(4, len(worlds), squeeze=False, sharey="row")
        for column, world in zip(axes.T, worlds, strict=True):
            rows = data[data["world"] == world]
            here = rows[rows["gamma"] == at]
            _gains(column[0], here)
            _bottleneck(column[1], here[here["components"] == ALL])
            _by_level(column[2], rows[rows["components"] == ALL])
            _errors(column[3], rows[rows["components"] == ALL])
            column[0].set_title(f"{world}, at signal-to-noise ratio {at:.2f}\n{_shown(rows)}")
            for ax in column[:2]:
                ax.set_xlabel("memory (frames)")
            for ax in column[2:]:
                ax.set_xscale("log")
                ax.set_xlabel("signal-to-noise ratio γ of the level reached (log scale)")
        labels = (
            "what memory says (nats/AR step)",
            "MB (nats/AR step)",
            "what memory says (nats/AR step)",
            "squared error (frames in [-1, 1], log scale)",
        )
        for row, label in zip(axes, labels, strict=True):
            row[0].set_ylabel(label)
            row[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        axes[2, 0].set_ylim(LOWEST, HIGHEST)
        style.save(figure, NAME, data, out)
    return figure, data


def _shown(rows: pandas.DataFrame) -> str:
    """How many clips and training seeds stand behind the marks."""
    networks = rows[rows["source"] == "network"]
    if networks.empty:
        return "no network measured yet"
    seeds = sorted({int(count) for count in networks["seeds"]})
    counts = " to ".join(dict.fromkeys((str(seeds[0]), str(seeds[-1]))))
    plural = "" if seeds == [1] else "s"
    return f"networks: {networks['clips'].max():.0f} clips, {counts} training seed{plural}"


def _only(rows: pandas.DataFrame, source: str, quantity: str) -> pandas.DataFrame:
    return rows[(rows["source"] == source) & (rows["quantity"] == quantity)]


def _marks(ax: Axes, x: pandas.Series, rows: pandas.DataFrame, colour: str, mark: str) -> None:
    ax.errorbar(
        x,
        rows["value"],
        yerr=[rows["value"] - rows["low"], rows["high"] - rows["value"]],
        ls="none",
        marker=mark,
        color=style.ink(colour),
        elinewidth=0.9,
        capsize=1.5,
    )


def _gains(ax: Axes, rows: pandas.DataFrame) -> None:
    counts = sorted(rows["components"].astype(int).unique())
    for count, (colour, mark, dashes) in zip(counts, style.SERIES, strict=False):
        chosen = rows[rows["components"] == count]
        law = _only(chosen, "theory", "gain")
        law = law[law["memory"] > 0]
        name = "component" if count == 1 else "components"
        ax.plot(law["memory"], law["value"], color=colour, ls=dashes, label=f"{count} {name}")
        shown = _only(chosen, "network", "gain_trapezoid")
        _marks(ax, shown["memory"], shown, colour, mark)
    ax.set_yscale("log")
    ax.set_xlim(left=0.0)


def _bottleneck(ax: Axes, rows: pandas.DataFrame) -> None:
    law = _only(rows, "theory", "mb")
    ax.plot(law["memory"], law["value"], color=style.ink(), label="Gaussian law")
    shown = _only(rows, "network", "mb_trapezoid")
    _marks(ax, shown["memory"], shown, style.VERMILION, "o")
    ax.plot([], [], color=style.VERMILION, marker="o", ls="none", label="networks")
    ax.axhline(0.0, color=style.ink(), lw=0.6)


def _by_level(ax: Axes, rows: pandas.DataFrame) -> None:
    for memory, (colour, mark, dashes) in MEMORY_LOOKS.items():
        if memory == 0:
            continue
        chosen = rows[rows["memory"] == memory]
        law = _only(chosen, "theory", "gain")
        label = f"Gaussian law, memory {memory}"
        ax.plot(law["gamma"], law["value"], color=colour, ls=dashes, label=label)
        quadrature = _only(chosen, "theory", "gain_trapezoid")
        ax.plot(quadrature["gamma"], quadrature["value"], color=colour, ls="--", lw=0.8)
        shown = _only(chosen, "network", "gain_trapezoid")
        shown = shown[shown["high"] > LOWEST]
        _marks(ax, shown["gamma"], shown, colour, mark)
        ax.plot([], [], color=colour, marker=mark, ls="none", label=f"network, memory {memory}")
    ax.axhline(0.0, color=style.ink(), lw=0.6)


def _errors(ax: Axes, rows: pandas.DataFrame) -> None:
    for memory, (colour, mark, dashes) in MEMORY_LOOKS.items():
        chosen = rows[rows["memory"] == memory]
        law = _only(chosen, "theory", "mse")
        label = f"Gaussian law, memory {memory}"
        ax.plot(law["gamma"], law["value"], color=style.ink(colour), ls=dashes, label=label)
        shown = _only(chosen, "network", "mse")
        _marks(ax, shown["gamma"], shown, colour, mark)
        ax.plot(
            [],
            [],
            color=style.ink(colour),
            marker=mark,
            ls="none",
            label=f"network, memory {memory}",
        )
    ax.set_yscale("log")
