"""Clip KL along the roll-out against Theorem B, and the chain KL that also pays for memory."""

from __future__ import annotations

from pathlib import Path

import pandas
from matplotlib.figure import Figure

from analysis.study import OUT, table_of
from analysis.theorem_b import STUDY
from figures import style

NAME = "clip_against_theorem_b"
TITLE = "Error accumulation: clip KL against Theorem B"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "KL of the clip finished at step K (its Δ frames) below Theorem B, which adds up NIE, SEE and "
    "DE but no memory bottleneck, and the chain KL of the whole roll-out, which adds it. The "
    "bound is tight where errors add up (first panel: a chain of coefficient 0.98 believed to be "
    "1.02, the example of E2) and loose where a stable model forgets them (E3). With re-noised "
    "context and r > Δ the bound includes the M6 term. The first w − Δ frames are handed over "
    "exactly. Axes are linear in the first two panels, else logarithmic. Exact: closed forms, no "
    "sampling."
)
LINEAR = 20.0  # up to this ratio of chain to clip KL at the end, axes are linear
LINES = (
    ("chain", "chain KL of all steps (with MB)", "ink", ":"),
    ("theorem_b", "Theorem B", style.VERMILION, "--"),
    ("clip", "clip KL", style.GREEN, "-"),
)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    data = table[["case", "step", "clip_frames", *(column for column, *_ in LINES)]]
    cases = list(data["case"].unique())
    columns = min(3, len(cases))
    bands = -(-len(cases) // columns)
    with style.new_figure(style.WIDE, 2.3 * bands + 0.5) as figure:
        axes = figure.subplots(bands, columns, squeeze=False)
        for ax in axes.ravel()[len(cases) :]:
            ax.set_visible(False)
        for ax, case in zip(axes.ravel(), cases, strict=False):
            rows = data[data["case"] == case]
            for column, name, colour, dashes in LINES:
                ax.plot(rows["step"], rows[column], color=style.ink(colour), ls=dashes, label=name)
            if rows["chain"].iloc[-1] > LINEAR * rows["clip"].iloc[-1]:
                ax.set_yscale("log")
            else:
                ax.set_ylim(bottom=0.0)
            ax.set_title(case)
            ax.set_xlabel(f"AR step K (clip: Δ = {rows['clip_frames'].iloc[0]})")
            ax.set_xlim(0, rows["step"].iloc[-1])
        for ax in axes[:, 0]:
            ax.set_ylabel("nats")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        style.save(figure, NAME, data, out)
    return figure, data
