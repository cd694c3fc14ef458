"""Theorem A's terms of each AR step, and their sum along the roll-out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.decomposition_along_k import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "decomposition_per_step"
TITLE = "The error of each AR step"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Theorem A along the roll-out. Bars: the terms of each AR step (width: its Δ finished "
    "frames), nats. Below each: summed up to that step, chain KL (their sum) above output KL "
    "(Corollary A). The first w − Δ frames are handed over exactly (shaded). With a frozen score "
    "(exponential integrator, Euler–Maruyama) only the sum SEE + DE exists (2.2). The panorama’s "
    "memory bottleneck returns with its views: the camera pans to and fro with period 12. Exact: "
    "closed forms, no sampling; “from 60 videos” is one denoiser estimated from n = 60 videos "
    "(one seed). T = 1.5 for outpainting, where NIE shows, else 3."
)
STACKED = ("nie", "see", "de", "see_plus_de", "mb")


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted table."""
    table = table_of(STUDY.name, out=out)
    cases = list(table["case"].unique())
    columns = min(4, len(cases))
    bands = -(-len(cases) // columns)
    with style.new_figure(style.WIDE, 4.2 * bands + 0.4) as figure:
        axes = figure.subplots(
            2 * bands, columns, squeeze=False, gridspec_kw={"height_ratios": [1.25, 1.0] * bands}
        )
        for ax in axes.ravel():
            ax.set_visible(False)
        parts = []
        for i, case in enumerate(cases):
            top = axes[2 * (i // columns), i % columns]
            low = axes[2 * (i // columns) + 1, i % columns]
            rows = table[table["case"] == case]
            parts.append(_terms(top, rows))
            _sums(low, rows)
            steps = len(rows)
            top.set_title(case.replace(", ", ",\n", 1))
            low.set_xlabel(f"finished frames (K = {steps} AR steps)")
            low.sharex(top)
            top.tick_params(labelbottom=False)
            if i % columns == 0:
                top.set_ylabel("nats per AR step")
                low.set_ylabel("nats, summed")
        shown = pandas.concat(parts, ignore_index=True)
        _explain(figure, [term for term in STACKED if (shown["term"] == term).any()])
        sums = table.melt(
            id_vars=["case", "step", "finished_frames"],
            value_vars=["cumulative_chain", "cumulative_output"],
            var_name="term",
            value_name="nats",
        )
        data = pandas.concat([shown, sums], ignore_index=True)
        style.save(figure, NAME, data, out)
    return figure, data


def _terms(ax: Axes, rows: pandas.DataFrame) -> pandas.DataFrame:
    """Stacked bars of the terms that exist."""
    ax.set_visible(True)
    stride = rows["finished_frames"].diff().fillna(rows["finished_frames"])
    split = rows["see"].notna().all()
    terms = [t for t in STACKED if (t not in ("see", "de")) == (not split) or t in ("nie", "mb")]
    terms = ["nie", "see", "de", "mb"] if split else ["nie", "see_plus_de", "mb"]
    base = np.zeros(len(rows))
    for term in terms:
        ax.bar(
            rows["finished_frames"] - stride,
            rows[term],
            width=stride,
            bottom=base,
            align="edge",
            color=style.TERM_COLOURS[term],
            edgecolor=style.paper(),
            linewidth=0.25,
        )
        base = base + rows[term].to_numpy()
    given = rows["given_frames"].iloc[0]
    if given:
        ax.axvspan(0, given, color=style.GREY, alpha=0.18, lw=0, zorder=0)
    ax.set_ylim(0.0, 1.08 * base.max())
    ax.set_xlim(0, rows["finished_frames"].iloc[-1])
    return rows.melt(
        id_vars=["case", "step", "finished_frames"],
        value_vars=terms,
        var_name="term",
        value_name="nats",
    )


def _sums(ax: Axes, rows: pandas.DataFrame) -> None:
    ax.set_visible(True)
    frames = rows["finished_frames"]
    ax.plot(frames, rows["cumulative_chain"], color=style.ink(), label="chain")
    ax.plot(frames, rows["cumulative_output"], color=style.GREEN, ls="--", label="output")
    given = rows["given_frames"].iloc[0]
    if given:
        ax.axvspan(0, given, color=style.GREY, alpha=0.18, lw=0, zorder=0)
    ax.set_ylim(bottom=0.0)


def _explain(figure: Figure, terms: list[str]) -> None:
    entries: list[Patch | Line2D] = [
        Patch(color=style.TERM_COLOURS[term], label=style.TERM_NAMES[term]) for term in terms
    ]
    entries += [
        Line2D([], [], color=style.ink(), label="chain KL, summed"),
        Line2D([], [], color=style.GREEN, ls="--", label="output KL, summed"),
        Patch(color=style.GREY, alpha=0.3, label="given frames"),
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
