"""Clip KL along the roll-out between its lower and upper bounds: stable, marginal, unstable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import OUT, table_of
from analysis.two_sided_accumulation import STUDY
from figures import style

NAME = "two_sided_accumulation"
TITLE = "Error accumulation from below and from above"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "KL of the frame finished at step K, between the largest lower and the smallest upper bound "
    "(shaded). One network, x̂ = c·m with the exact denoiser m, and one video, a two-pixel AR(1); "
    "only c differs. Below: E4 with the best linear functional of the frame (drift of the mean), "
    "and the KL of its worst pixel. Above: Theorem B, linear in K, and E3, one-step errors that "
    "the model itself carries on and the noise of its last (at most 32) steps turns into a KL; up "
    "to K = 32 these are the whole roll-out. A stable model saturates, and from the marked K on "
    "Theorem B is above what E3 allows at any K. At spectral radius 1 and above errors are not "
    "forgotten, E3 grows faster than the line, and the line is of the right order. Exact: closed "
    "forms, no sampling."
)
LINES = (
    ("theorem_b", "Theorem B (above)", style.VERMILION, "--"),
    ("saturated", "E3 (above)", style.BLUE, "-."),
    ("clip", "clip KL", style.BLACK_OR_WHITE, "-"),
    ("marginal", "worst pixel (below)", style.ORANGE, (0, (4, 1.5))),
    ("drift", "E4, drift (below)", style.PURPLE, ":"),
)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    bounds = [column for column, *_ in LINES]
    data = table[["case", "step", *bounds, "limit", "saturated_limit", "horizon"]]
    cases = list(data["case"].unique())
    with style.new_figure(style.WIDE, 3.1) as figure:
        axes = figure.subplots(1, len(cases), squeeze=False)[0]
        for ax, case in zip(axes, cases, strict=True):
            rows = data[data["case"] == case]
            _panel(ax, rows)
            first = table[table["case"] == case].iloc[0]
            radius = f"{first['spectral_radius']:.3f}"
            ax.set_title(f"{case}: c = {first['factor']:.4g}, spectral radius {radius}")
            ax.set_xlabel("AR step K")
        axes[0].set_ylabel("nats")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(LINES) + 1)
        style.save(figure, NAME, data, out)
    return figure, data


def _panel(ax: Axes, rows: pandas.DataFrame) -> None:
    steps = rows["step"].to_numpy()
    lower = np.maximum(rows["drift"], rows["marginal"])
    upper = np.minimum(rows["theorem_b"], rows["saturated"])
    ax.fill_between(
        steps, lower, upper, color=style.SKY, alpha=0.3, lw=0, label="between the bounds"
    )
    for column, name, colour, dashes in LINES:
        width = 1.8 if column == "clip" else 1.3
        ax.plot(steps, rows[column], color=style.ink(colour), ls=dashes, lw=width, label=name)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(steps[0], steps[-1])
    ax.set_ylim(0.5 * rows["drift"].min(), 4.0 * rows["theorem_b"].max())
    horizon = rows["horizon"].iloc[0]
    if np.isfinite(horizon) and horizon <= steps[-1]:
        ax.axvline(horizon, color=style.ink(), lw=0.7, ls=(0, (1, 2)))
        ax.annotate(
            f"K = {horizon:.0f}",
            (horizon, 0.04),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=7,
        )
