"""Pairs of true frames across the range of SSIM, and what the rules make of them (Figure 13)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.frame_pairs import GROUPS, STUDY, pairs_file
from analysis.study import OUT, file_of, manifest_of, table_of
from arvdm_theory.errors import ParameterError
from figures import style

NAME = "frame_pairs_by_ssim_figure_13"
TITLE = "What counts as the same view"
STUDIES = (STUDY.name,)
KIND = "rendered"
CAPTION = (
    "Mirrors Figure 13, with true frames alone: {clips} clips of each world, {clips_a_map} a map, "
    "3 views of each, beside themselves blurred, beside the view some steps of the camera later, "
    "and beside a view of another clip. Above: in each bin of SSIM the pair nearest to the middle "
    "of the bin, one of a blurred view and one of another view (a gap: no such pair), its two "
    "frames above one another, with SSIM, PSNR in dB and ΔE (mean Lab distance of the colours of "
    "4 × 4 regions). Outline: solid blue, the rule of the world calls it retrieved; dashed red, "
    "it does not. Below: all pairs, the threshold as a line, the accepted side shaded; the share "
    "of each kind that is accepted, ± 95 % over clips, of which those of one map count as one, "
    "and the pairs (n)."
)
LOOKS = {
    "blurred by 0.5 px": (style.SKY, "o"),
    "blurred by 1 px": (style.BLUE, "o"),
    "blurred by 2 px": (style.GREEN, "^"),
    "blurred by 4 px": (style.GREY, "v"),
    "1 step on": (style.YELLOW, "s"),
    "2 steps on": (style.ORANGE, "s"),
    "4 steps on": (style.VERMILION, "D"),
    "another clip": (style.PURPLE, "X"),
}
"""Kind of pair → colour and mark."""
OUTLINES = {True: (style.BLUE, "-"), False: (style.VERMILION, (0, (2, 1.2)))}
LEFT, ABOVE, HEADER, TEXT, EDGE = 0.85, 0.24, 0.2, 0.42, 0.05
"""Inches: labels of the lines, a title, the bins, the numbers under a pair, an edge."""
SCATTER, LABELS, BELOW = 2.4, 0.55, 0.45
"""Inches: height of a scatter, and its labels at the left and below."""
SMALLEST = 0.3
"""Inches: of smaller frames nothing can be seen."""


def _pictures(ax: Axes, rows: pandas.DataFrame, edges: list[float], size: float, out: Path) -> None:
    """Pairs by bin, drawn in units of a frame, which is `size` inches."""
    shown = rows[rows["example"].notna()].sort_values("example")
    sheet = matplotlib.image.imread(file_of(STUDY.name, pairs_file(rows["world"].iloc[0]), out=out))
    pairs = np.split(np.asarray(sheet[..., :3]), len(shown), axis=1)
    tiny, last = 0.85 * style.small(), len(edges) - 1
    step, header = 2.0 + TEXT / size, HEADER / size
    for pair, one in zip(pairs, shown.to_dict("records"), strict=True):
        column, top = edges.index(one["bin"]), step * GROUPS.index(one["group"])
        box = (column + 0.05, column + 0.95, top + 1.9, top + 0.1)
        ax.imshow(pair, extent=box, interpolation="nearest", zorder=2)
        colour, dashes = OUTLINES[bool(one["accepted"])]
        at = (column + 0.05, top + 0.1)
        ax.add_patch(Rectangle(at, 0.9, 1.8, fill=False, ec=colour, ls=dashes, lw=1.2, zorder=3))
        ax.text(column + 0.5, top + 1.95, _numbers(one), ha="center", va="top", fontsize=tiny)
    beside: dict[str, Any] = {"ha": "right", "fontsize": tiny}
    for place, group in enumerate(GROUPS):
        label = group.replace(" view", "\nview").replace(", ", ",\n")
        ax.text(-0.1, step * place + 1.0, label, va="center", **beside)
        ax.text(-0.1, step * place + 1.95, "SSIM\nPSNR (dB)\nΔE", va="top", **beside)
    for column, (low, high) in enumerate(pairwise(edges)):
        text = "< 0" if low < 0 else f"{low:g}–{high:g}"
        ax.text(column + 0.5, -0.3 * header, text, ha="center", va="bottom", fontsize=tiny)
    first = rows.iloc[0]
    if first["rule"] == "ssim":
        at_edge = edges.index(first["threshold"])
        ax.plot([at_edge] * 2, [-header, 2.0 * step], color=style.ink(), lw=1.0, ls="--")
    ax.set(xlim=(0.0, last), ylim=(2.0 * step, -header), aspect="auto")
    ax.set_axis_off()


def _numbers(one: Mapping[Hashable, Any]) -> str:
    ssim = f"{one['ssim']:z.2f}".replace("-", "−")
    return f"{ssim}\n{one['psnr_db']:.1f}\n{one['delta_e']:.1f}"


def _scatter(ax: Axes, rows: pandas.DataFrame) -> None:
    for kind, (colour, mark) in LOOKS.items():
        here = rows[rows["kind"] == kind]
        if here.empty:
            continue
        one = here.iloc[0]
        reach = one["share_high"] - one["share"]
        label = f"{kind}: {one['share']:.2f} ± {reach:.2f}, n = {len(here)}"
        points: dict[str, Any] = {
            "color": colour,
            "marker": mark,
            "ls": "none",
            "ms": 2.2,
            "mew": 0.0,
        }
        ax.plot(here["ssim"], here["delta_e"], label=label, alpha=0.8, **points)
    ax.set_yscale("log")
    bottom, top = 0.01, ax.get_ylim()[1]  # the marks of the legend get a place without pairs
    first = rows.iloc[0]
    side: dict[str, Any] = {"color": style.GREY, "alpha": 0.2, "lw": 0}
    if first["rule"] == "ssim":
        ax.axvline(first["threshold"], color=style.ink(), lw=1.0, ls="--")
        ax.axvspan(first["threshold"], 1.0, **side)
    else:
        ax.axhline(first["threshold"], color=style.ink(), lw=1.0, ls="--")
        ax.axhspan(bottom, first["threshold"], **side)
    labels = {"xlabel": "similarity (SSIM)", "ylabel": "colours of regions (ΔE, CIE76)"}
    ax.set(ylim=(bottom, top), **labels)
    ax.legend(loc="lower left", fontsize=0.85 * style.small(), markerscale=1.6)


SIGNS = {"ssim": "SSIM ≥", "lab_regions": "ΔE ≤"}


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted pairs.

    Raises `ParameterError` if the frames would be too small to be seen.
    """
    table = table_of(STUDY.name, out=out)
    data = table[table["missing"].isna()].reset_index(drop=True)
    edges = manifest_of(STUDY.name, out=out)["config"]["edges"]
    worlds = list(dict.fromkeys(data["world"]))
    columns = len(edges) - 1
    with style.new_figure(style.WIDE, 1.0, pictures=True) as figure:
        width = float(figure.get_size_inches()[0])
        size = (width - LEFT - EDGE) / columns
        if size < SMALLEST:
            raise ParameterError("columns", f"more than 1: {columns} pairs stand side by side", 1)
        tall = HEADER + 2.0 * (2.0 * size + TEXT)
        height = len(worlds) * (tall + ABOVE) + ABOVE + SCATTER + BELOW
        figure.set_size_inches(width, height)
        figure.set_layout_engine("none")
        if not worlds:
            figure.text(0.1, 0.5, "No world could be drawn.")
        grids = [
            figure.add_gridspec(
                max(len(worlds), 1),
                left=LEFT / width,
                right=1.0 - EDGE / width,
                top=1.0 - ABOVE / height,
                bottom=(ABOVE + SCATTER + BELOW) / height,
                hspace=ABOVE / tall,
            ),
            figure.add_gridspec(
                1,
                max(len(worlds), 1),
                left=LABELS / width,
                right=1.0 - EDGE / width,
                top=(SCATTER + BELOW) / height,
                bottom=BELOW / height,
                wspace=0.2,
            ),
        ]
        for place, world in enumerate(worlds):
            rows = data[data["world"] == world]
            rule = f"{SIGNS[rows['rule'].iloc[0]]} {rows['threshold'].iloc[0]:g}"
            ax, scatter = (figure.add_subplot(grid[place]) for grid in grids)
            _pictures(ax, rows, edges, size, out)
            ax.set_title(f"{world}: pairs by SSIM; retrieved: {rule}")
            _scatter(scatter, rows)
            scatter.set_title(f"{world}: all pairs")
        style.save(figure, NAME, data, out)
    return figure, data
