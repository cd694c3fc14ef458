"""Roll-outs of our networks that drift (accumulation) and that forget a place (forgetting)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.accumulation_and_forgetting import CLIP, PICTURES, STUDY, SUMMARY
from analysis.study import OUT, file_of, table_of
from figures import style

NAME = "accumulation_and_forgetting_figure_2"
TITLE = "Accumulation and forgetting in roll-outs"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Two ways to fail (mirrors the paper’s Figure 2), in roll-outs of networks without memory and "
    "with the last 4, 12 and 28 frames prepended. Top: the way back over views seen before, truth "
    "above, generated below, every second frame, the views older from left to right; clip "
    f"{CLIP}, the first of the test clips by number and not chosen by what it shows, of training "
    "seed 0. Middle, error "
    "accumulation: squared error of roll-outs to and fro, whose views are all recent. Bottom, "
    "forgetting: score of a returning view against its age (dotted: the same scores against the "
    "truth of another clip; line: from there on a view counts as retrieved; a low ΔE is good, a "
    "high SSIM is). Measured: "
    "means over test clips, bands 95 % confidence for the mean (over clips, and over training "
    "seeds where there are several). Networks that are not trained yet are missing."
)
LOOKS = {
    "none": (style.GREY, ":"),
    "prepend-4": (style.VERMILION, "--"),
    "prepend-12": (style.BLUE, "-"),
    "prepend-28": (style.GREEN, "-."),
}
"""Network → colour and line."""
SHOWN = slice(1, None, 2)
"""Frames of a strip that are shown."""


def name_of(row: str) -> str:
    """What a network is called in the figure."""
    return "no memory" if row == "none" else f"memory {row.removeprefix('prepend-')}"


def strip(pictures: Mapping[str, np.ndarray], world: str) -> tuple[np.ndarray, list[str]]:
    """Truth and every network's frames of one world, one row each, and what the rows are."""
    names = ["truth", *(row for row in LOOKS if f"{world}/{row}" in pictures)]
    rows = [np.concatenate(list(pictures[f"{world}/{name}"][SHOWN]), axis=1) for name in names]
    return np.concatenate(rows, axis=0), names


def _draw_strip(ax: Axes, pictures: Mapping[str, np.ndarray], world: str) -> None:
    if f"{world}/truth" not in pictures:
        ax.text(0.5, 0.5, "no pictures yet", ha="center", transform=ax.transAxes)
        return
    image, names = strip(pictures, world)
    size = pictures[f"{world}/truth"].shape[1]
    ages = pictures[f"{world}/none/age"][SHOWN]
    ax.imshow(image, aspect="equal", interpolation="nearest")
    ax.set_yticks(
        [size * (i + 0.5) for i in range(len(names))],
        ["truth" if name == "truth" else name_of(name) for name in names],
    )
    ax.set_xticks([size * (i + 0.5) for i in range(len(ages))], [str(age) for age in ages])
    ax.tick_params(length=0.0)
    ax.set_xlabel(f"age of the view (frames), clip {CLIP}")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for i in range(1, len(names)):
        ax.axhline(size * i - 0.5, color=style.paper(), lw=1.5)
    for i in range(1, len(ages)):
        ax.axvline(size * i - 0.5, color=style.paper(), lw=0.8)


def _draw_means(ax: Axes, rows: pandas.DataFrame, quantity: str, *, band: bool = True) -> None:
    for row, (colour, dashes) in LOOKS.items():
        shown = rows[(rows["row"] == row) & (rows["quantity"] == quantity)].sort_values("place")
        if shown.empty:
            continue
        if not band:
            ax.plot(shown["place"], shown["value"], color=style.ink(colour), lw=0.6, ls=":")
            continue
        ax.fill_between(shown["place"], shown["low"], shown["high"], color=colour, alpha=0.25, lw=0)
        label = name_of(row)
        ax.plot(shown["place"], shown["value"], color=colour, ls=dashes, label=label)


def samples(rows: pandas.DataFrame) -> str:
    """`n = 200 clips, 1 seed`: what the means of some rows are over."""
    if rows.empty:
        return "n = 0"
    ends = [sorted({int(rows[name].min()), int(rows[name].max())}) for name in ("clips", "seeds")]
    clips, seeds = ("–".join(map(str, end)) for end in ends)
    return f"n = {clips} clips, {seeds} {'seed' if seeds == '1' else 'seeds'}"


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted means."""
    data = table_of(STUDY.name, out=out)
    summary: dict[str, Any] = json.loads(file_of(STUDY.name, SUMMARY, out=out).read_text("utf-8"))
    with np.load(file_of(STUDY.name, PICTURES, out=out), allow_pickle=False) as stored:
        pictures = {name: stored[name] for name in stored.files}
    worlds = list(dict.fromkeys(data["world"]))
    with style.new_figure(style.WIDE, 7.6) as figure:
        axes = figure.subplots(3, len(worlds), squeeze=False, height_ratios=[2.1, 1.0, 1.0])
        for (top, middle, bottom), world in zip(axes.T, worlds, strict=True):
            rows = data[data["world"] == world]
            top.set_title(world)
            _draw_strip(top, pictures, world)
            _draw_means(middle, rows, "error")
            errors = rows[rows["quantity"] == "error"]
            middle.set_xlabel(f"frame of the roll-out to and fro ({samples(errors)})")
            middle.set_ylabel("squared error\n(share of the peak²)")
            middle.set_ylim(bottom=0.0)
            _draw_means(bottom, rows, "score")
            _draw_means(bottom, rows, "chance_score", band=False)
            scores = rows[rows["quantity"] == "score"]
            bottom.set_xlabel(f"age of the view (frames; {samples(scores)})")
            rule = summary[world]
            bottom.set_ylabel(f"retrieval score\n({rule['unit'].replace('Delta ', 'Δ')})")
            bottom.axhline(rule["threshold"], color=style.ink(), lw=0.7)
        handles, names = axes[1, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        style.save(figure, NAME, data, out)
    return figure, data
