"""What better memory costs: forgetting against accumulated error, and retrieval against decay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.memory_against_accumulation import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "memory_against_accumulation"
TITLE = "What better memory costs, and why: theory’s own front"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Gaussian video whose first frames are given; numbers in the panels are the size of the "
    "memory, r frames or b numbers. Top: memory bottleneck MB (less is better memory) against "
    "accumulated error, the KL of "
    "the last span of frames given the true ones, beyond what the exact denoiser with that memory "
    "has. Filled: no other size of the curve beats it. With both causes off (black) memory costs "
    "nothing and the front is one point. Finite training data (blue, n videos) and a bias kept "
    "from frame to frame (red, μ) each make it cost, more with the dose; across lengths the bias "
    "reverses its sign where windows get long against the roll-out, across budgets it does not. "
    "Bottom: the axes of Figure 9. Across lengths PSNR decays without any error too, because "
    "memory forgets: 0 dB without memory, where nothing can be lost, and with all of it. "
    "Exact: closed forms for every trained denoiser; finite data: mean ± standard error over "
    "{sets} training sets drawn."
)
LOOKS = {
    "none": (style.BLACK_OR_WHITE, "*"),
    "finite data": (style.BLUE, "o"),
    "bias": (style.VERMILION, "s"),
    "both": (style.PURPLE, "D"),
}
NAMES = {
    "static latent": "static latent, by length",
    "panorama": "panorama that returns, by length",
    "four latents": "four static latents, by budget",
}
TICKS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
COLUMNS = (
    *("world", "memory", "size", "cause", "videos", "bias", "sets", "mb_nats"),
    *("accumulated_nats", "accumulated_nats_error", "on_front"),
    *("retrieval_db", "retrieval_db_error", "psnr_decay_db", "psnr_decay_db_error"),
)


def rows_shown(table: pandas.DataFrame) -> pandas.DataFrame:
    """All rows; the columns that are drawn."""
    return table[list(COLUMNS)]


def _label(rows: pandas.DataFrame) -> str:
    row = rows.iloc[0]
    if row["cause"] == "none":
        return "neither cause"
    doses = []
    if np.isfinite(row["videos"]):
        doses.append(f"n = {row['videos']:g} videos")
    if row["bias"]:
        doses.append(f"μ = {row['bias']:g}")
    return f"{row['cause']}: {', '.join(doses)}"


def _curves(data: pandas.DataFrame) -> list[tuple[pandas.DataFrame, str, str, str]]:
    """Rows, colour, mark and line style of every dose; the strongest dose of a cause is solid."""
    out = []
    for cause, rows in data.groupby("cause", sort=False):
        colour, mark = LOOKS[str(cause)]
        doses = [dose for _, dose in rows.groupby(["videos", "bias"], sort=False)]
        doses.sort(key=lambda dose: (-dose["videos"].iloc[0], dose["bias"].iloc[0]))
        for place, dose in enumerate(doses):
            dashes = "-" if place == len(doses) - 1 else "--"
            out.append((dose, style.ink(colour), mark, dashes))
    return out


def _numbers(ax: Axes, x: pandas.Series, y: pandas.Series, sizes: pandas.Series) -> None:
    for place, number, size in zip(x, y, sizes, strict=True):
        ax.annotate(
            str(size),
            (place, number),
            textcoords="offset points",
            xytext=(4, 4),
            fontsize=6.0,
            color=style.ink(),
        )


def _front(ax: Axes, data: pandas.DataFrame) -> None:
    curves = _curves(data)
    for rows, colour, mark, dashes in curves:
        x, y = rows["mb_nats"], rows["accumulated_nats"]
        error = rows["accumulated_nats_error"]
        ax.plot(x, y, color=colour, ls=dashes, lw=1.0)
        if error.any():
            ax.errorbar(x, y, error, fmt="none", ecolor=colour, elinewidth=0.7)
        for beaten, kept in ((rows["on_front"], colour), (~rows["on_front"], style.paper())):
            look: dict[str, Any] = {
                "marker": mark,
                "ms": _size(mark),
                "mec": colour,
                "mfc": kept,
                "mew": 0.8,
            }
            ax.plot(x[beaten], y[beaten], ls="none", zorder=3, **look)
    top = max(curves, key=lambda curve: curve[0]["accumulated_nats"].max())[0]
    _numbers(ax, top["mb_nats"], top["accumulated_nats"], top["size"])
    most = float(data["mb_nats"].max())
    ax.set_xscale("function", functions=(_root, _square))
    ax.set_xlim(-6e-4 * most, 1.1 * most)
    ticks = [tick for tick in TICKS if tick == 0.0 or 0.03 * most < tick < 1.05 * most]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("MB (nats per frame, root scale)")


def _size(mark: str) -> float:
    return 7.0 if mark == "*" else 4.0


def _root(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(x) * np.sqrt(np.abs(x)))


def _square(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(x) * np.square(x))


def _mirror(ax: Axes, data: pandas.DataFrame) -> None:
    for rows, colour, mark, dashes in _curves(data):
        x, y = rows["psnr_decay_db"], rows["retrieval_db"]
        look: dict[str, Any] = {
            "color": colour,
            "ls": dashes,
            "lw": 1.0,
            "marker": mark,
            "ms": _size(mark) - 1.0,
        }
        ax.plot(x, y, zorder=2, label=_label(rows), **look)
        if rows["psnr_decay_db_error"].any():
            errors = (rows["retrieval_db_error"], rows["psnr_decay_db_error"])
            ax.errorbar(x, y, *errors, fmt="none", ecolor=colour, elinewidth=0.7)
        if rows["cause"].iloc[0] == "none":
            _numbers(ax, x, y, rows["size"])
    ax.set_xlabel("PSNR decay, first to last span (dB)")


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = rows_shown(table_of(STUDY.name, out=out))
    worlds = list(data["world"].unique())
    with style.new_figure(style.WIDE, 5.6) as figure:
        axes = figure.subplots(2, len(worlds), squeeze=False)
        for (top, bottom), world in zip(axes.T, worlds, strict=True):
            rows = data[data["world"] == world]
            top.set_title(NAMES.get(world, world))
            _front(top, rows)
            _mirror(bottom, rows)
        axes[0, 0].set_ylabel("accumulated error (nats per frame)")
        axes[1, 0].set_ylabel("retrieval of given content (dB)")
        handles, names = axes[1, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        style.save(figure, NAME, data, out)
    return figure, data
