"""How far trained networks remember, against exact MB and what it allows at most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

from analysis.panorama_memory import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "panorama_memory"
TITLE = "Networks that forget: success and exact memory bottleneck by age of the view"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Measured on {clips} clips a network (one training seed) that look away for {context} frames "
    "and return: at each age every clip reveals one panel that it saw that long ago. Shaded: ages "
    "within the memory; lighter: within reach of some frames of a chunk (4 frames), because the "
    "memory ends where the chunk begins. Top: share of clips in which the network draws the panel "
    "right, 95 % Clopper–Pearson over clips. Discrete palette: the nearest of 8 colours is the "
    "true one in both bands (64 equally likely panels, chance 1/64); continuous palette: every "
    "band within 36/255 of the truth in every channel. Ceiling: the largest share that the "
    "remembered information allows, kl_bin(s ‖ 1/64) ≤ log 64 − MB, and Fano’s looser bound. "
    "Bottom: exact MB of the discrete palette, log 8 for each of the two attributes forgotten, "
    "and the KL that the measured share certifies (M5, 95 % for all ages of a network together): "
    "without memory it is less than MB only because the number of clips is finite."
)
LOOKS = {
    "discrete": (style.BLUE, "o", "network, discrete palette"),
    "continuous": (style.VERMILION, "x", "network, continuous palette"),
}


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    memories = sorted(data["memory"].unique())
    with style.new_figure(style.WIDE, 4.4) as figure:
        axes = figure.subplots(
            2, len(memories), sharex=True, sharey="row", squeeze=False, height_ratios=[1.5, 1.0]
        )
        for (top, low), memory in zip(axes.T, memories, strict=True):
            rows = data[data["memory"] == memory]
            between = rows.loc[rows["where"] == "between", "age"]
            for ax in (top, low):
                ax.axvspan(0.0, memory, color=style.SKY, alpha=0.22, lw=0)
                ax.axvspan(memory, between.max(), color=style.SKY, alpha=0.09, lw=0)
            exact = rows[rows["palette"] == "discrete"]
            age = exact["age"]
            top.step(
                age, exact["ceiling"], where="mid", color=style.ink(), lw=1.0, label="ceiling (M5)"
            )
            top.step(
                age,
                exact["fano_ceiling"],
                where="mid",
                color=style.GREY,
                ls="--",
                lw=1.0,
                label="Fano’s bound",
            )
            for palette, (colour, mark, label) in LOOKS.items():
                points = rows[rows["palette"] == palette]
                top.errorbar(
                    points["age"],
                    points["rate"],
                    yerr=_reach(points),
                    ls="none",
                    marker=mark,
                    ms=3.5,
                    color=colour,
                    elinewidth=0.8,
                    label=label,
                )
            low.step(
                age,
                exact["mb_nats"],
                where="mid",
                color=style.TERM_COLOURS["mb"],
                label="exact MB (discrete palette)",
            )
            low.plot(
                age,
                exact["kl_bound_nats"],
                ls="none",
                marker="^",
                ms=3.5,
                color=style.GREEN,
                label="KL certified by the measured share (M5)",
            )
            top.set_title(f"memory {memory} frames")
            low.set_xlabel("frames since the view was last seen")
            low.set_xlim(0.0, data["age"].max() + 1.0)
        axes[0, 0].set_ylabel("clips that draw it right (share)")
        axes[1, 0].set_ylabel("nats per panel")
        axes[1, 0].set_ylim(bottom=-0.15)
        found = [ax.get_legend_handles_labels() for ax in axes[:, 0]]
        figure.legend(
            [handle for handles, _ in found for handle in handles],
            [label for _, labels in found for label in labels],
            loc="outside lower center",
            ncols=3,
        )
        style.save(figure, NAME, data, out)
    return figure, data


def _reach(points: pandas.DataFrame) -> np.ndarray:
    low = points["rate"] - points["rate_low"]
    reach = np.stack([low, points["rate_high"] - points["rate"]])
    if reach.min() < -1e-12:
        raise ValueError(f"an interval misses its own rate by {-reach.min()}")
    return np.abs(reach)  # what is below zero is rounding, checked above
