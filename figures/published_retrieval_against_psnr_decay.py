"""The published trade-off: retrieval against the decay of PSNR, by memory budget."""

from __future__ import annotations

from pathlib import Path

import pandas
from matplotlib.figure import Figure

from analysis.published_pareto import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "published_retrieval_against_psnr_decay"
TITLE = "Published trade-off: retrieval against PSNR decay"
STUDIES = (STUDY.name,)
KIND = "published"
CAPTION = (
    "Published values only (Tables 1–4 of arXiv 2503.10704; the number of videos behind each is "
    "not published). Retrieval of content last seen 0–16 and 16–48 frames ago, by memory budget "
    "(compressed slots of 48), against the PSNR decay at the same budget: mean of frames 0–16 "
    "minus mean of frames 48–64. More memory retrieves more and decays faster. The line joins the "
    "points that no other point beats on both axes. Tables 3 and 4 give one PSNR series a budget "
    "and do not name the structure: the same decay stands beside both compressions."
)
SPANS = ("0–16", "16–48")
LOOKS = {
    "prepend": ("prepend, joint", style.BLUE, "o", 6.5, 7),
    "channel_concat": ("channel concat, modulated", style.VERMILION, "s", 4.0, -12),
}
"""Structure → name, colour, mark, its size, and where the budget is written (points above it)."""
UNITS = {"share": "retrieval success (share)", "SSIM": "retrieval (SSIM)"}


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    data = table[table["span"].isin(SPANS)]
    worlds = list(data["world"].unique())
    with style.new_figure(style.PAGE, 5.2) as figure:
        axes = figure.subplots(len(SPANS), len(worlds), squeeze=False, sharex="col")
        for line, span in zip(axes, SPANS, strict=True):
            for ax, world in zip(line, worlds, strict=True):
                rows = data[(data["world"] == world) & (data["span"] == span)]
                for structure, (name, colour, mark, size, above) in LOOKS.items():
                    points = rows[rows["structure"] == structure]
                    ax.plot(
                        points["psnr_decay_db"],
                        points["retrieval"],
                        ls="none",
                        marker=mark,
                        ms=size,
                        color=colour,
                        label=name,
                    )
                    front = points[points["on_front"]].sort_values("psnr_decay_db")
                    ax.plot(
                        front["psnr_decay_db"],
                        front["retrieval"],
                        color=colour,
                        lw=1.0,
                        alpha=0.6,
                        zorder=1,
                    )
                    for point in points.itertuples(index=False):
                        ax.annotate(
                            str(point.memory_budget),
                            (point.psnr_decay_db, point.retrieval),
                            textcoords="offset points",
                            xytext=(0, above),
                            ha="center",
                            fontsize=6.5,
                            color=colour,
                        )
                unit = UNITS[rows["retrieval_unit"].iloc[0]]
                ax.set_ylabel(unit)
                ax.set_title(f"{world}, seen {span} frames ago")
                ax.margins(x=0.12, y=0.2)
        for ax in axes[-1]:
            ax.set_xlabel("PSNR decay (dB; n not published)")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
        style.save(figure, NAME, data, out)
    return figure, data
