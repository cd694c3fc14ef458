"""Where the memory enters a network: prepended, concatenated or read by cross attention."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.network_structures import CONFIG, STUDY
from analysis.study import OUT, table_of
from figures import style
from figures.diagram import arrow, box, canvas, frames, label

NAME = "memory_structures_figure_5"
TITLE = "The memory structures"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "How finished frames reach the network that denoises the window (mirrors the paper’s "
    "Figure 5), drawn from the networks themselves ({experiment} and its siblings, uncompressed). "
    "Squares: memory frames (grey) and window frames (blue), "
    "as many as the networks are given; a block is attention in space, attention in time and "
    "feed-forward. <em>Prepend</em>: memory frames become tokens, pass the same blocks, and every "
    "window frame attends to them at its place. <em>Channel concat</em>: at every place the pixels "
    "and actions of all memory frames are projected at once and added to each window frame. "
    "<em>Cross attention</em>: every block reads all memory tokens. In thousands: parameters, in "
    "brackets those that the network without memory has not. Exact: counted on the built modules, "
    "layer by layer as they run."
)
PANELS = {
    "prepend": "prepend",
    "channel concat": "channel concat",
    "cross attention": "cross attention",
}
"""Network of the study → title."""
WIDTH, HEIGHT = 10.0, 10.0
LEFT, RIGHT, HALF = 2.5, 7.5, 2.25
"""Abscissae of the memory's column and the window's, and half their width."""
FIRST, STEP = 4.6, 0.62
"""Ordinate of the first block and distance to the next."""


def thousands(count: float) -> str:
    """`1,650 k`: a number of parameters."""
    return f"{count / 1000:,.0f} k"


def draw_missing(ax: Axes, title: str, reason: str) -> None:
    """A panel that says why there is no drawing."""
    canvas(ax, title, WIDTH, HEIGHT)
    ax.text(WIDTH / 2, HEIGHT / 2, reason, ha="center", va="center", wrap=True)


def _frames(ax: Axes, row: Mapping[Any, Any]) -> None:
    """Memory and window frames, as many as there are."""
    width, height = 0.30, 0.42
    for name, centre, colour in (("memory", LEFT, style.GREY), ("window", RIGHT, style.BLUE)):
        count = int(row[name])
        start = centre - 0.5 * 1.25 * width * count
        frames(ax, start, 0.95, count, (width, height), colour)
        label(ax, (centre, 0.3), f"{name}: {count}")
        arrow(ax, (centre, 1.25), (centre, 1.85), colour=colour)


def _network(ax: Axes, row: Mapping[Any, Any], *, shared: bool) -> None:
    """Tokens, blocks and head, over the window's column or (`shared`) over both."""
    left = LEFT - HALF if shared else RIGHT - HALF
    middle, width = (left + RIGHT + HALF) / 2, RIGHT + HALF - left
    text = f"tokens: {thousands(row['tokens parameters'])}\n{row['tokens_per_frame']} a frame"
    box(ax, (middle, 2.4), (width, 1.0), text, style.ORANGE)
    layers = int(row["layers"])
    for layer in range(layers):
        box(ax, (middle, FIRST + STEP * layer), (width, 0.5), f"block {layer + 1}", style.BLUE)
    top = FIRST + STEP * (layers - 1) + 0.25
    label(ax, (middle, top + 0.45), f"{layers} blocks: {thousands(row['blocks parameters'])}")
    arrow(ax, (RIGHT, 2.95), (RIGHT, FIRST - 0.3), colour=style.BLUE)
    arrow(ax, (RIGHT, top + 0.8), (RIGHT, 8.45), colour=style.BLUE)
    text = f"estimate: {thousands(row['head parameters'])}"
    box(ax, (RIGHT, 8.75), (2 * HALF, 0.6), text, style.GREEN)
    label(ax, (LEFT, 8.75), f"attention in time:\n{row['temporal_keys']} frames")


def _prepend(ax: Axes, row: Mapping[Any, Any]) -> None:
    _network(ax, row, shared=True)
    arrow(ax, (LEFT, 2.95), (LEFT, FIRST - 0.3), colour=style.GREY)
    label(ax, ((LEFT + RIGHT) / 2, 3.4), f"{row['passed_memory']} frames pass")


def _concat(ax: Axes, row: Mapping[Any, Any]) -> None:
    _network(ax, row, shared=False)
    text = (
        f"project: {thousands(row['memory parameters'])}\n{row['added_from']:,} to {row['width']}"
    )
    box(ax, (LEFT, 2.4), (2 * HALF, 1.0), text, style.VERMILION)
    joint = (RIGHT, 3.45)
    ax.plot([LEFT, LEFT], [2.95, joint[1]], color=style.ink(style.VERMILION), lw=1.0)
    arrow(ax, (LEFT, joint[1]), (joint[0] - 0.3, joint[1]), colour=style.VERMILION)
    sign = label(ax, joint, "+")
    sign.set_bbox({"boxstyle": "circle,pad=0.1", "fc": style.paper(), "ec": style.ink(), "lw": 0.8})


def _cross(ax: Axes, row: Mapping[Any, Any]) -> None:
    _network(ax, row, shared=False)
    text = f"tokens: {thousands(row['memory parameters'])}\n{row['cross_keys']} in all"
    box(ax, (LEFT, 2.4), (2 * HALF, 1.0), text, style.ORANGE)
    layers = int(row["cross_layers"])
    top = FIRST + STEP * (layers - 1)
    ax.plot([LEFT, LEFT], [2.95, top], color=style.ink(style.VERMILION), lw=1.0)
    for layer in range(layers):
        height = FIRST + STEP * layer
        arrow(ax, (LEFT, height), (RIGHT - HALF, height), colour=style.VERMILION)
    text = f"{layers} cross attentions:\n{thousands(row['cross attention parameters'])}"
    label(ax, (LEFT, top + 0.7), text)


DRAWINGS = {"prepend": _prepend, "channel_concat": _concat, "cross_attention": _cross}
"""Structure → how it is drawn."""


def draw_structure(ax: Axes, title: str, row: Mapping[Any, Any], plain: Mapping[Any, Any]) -> None:
    """Draw one network of the study; `plain` is the one without memory."""
    canvas(ax, title, WIDTH, HEIGHT)
    _frames(ax, row)
    DRAWINGS[row["structure"]](ax, row)
    more = row["parameters"] - plain["parameters"]
    label(ax, (WIDTH / 2, 9.7), f"{thousands(row['parameters'])} parameters (+ {thousands(more)})")


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    data = table[table["network"].isin(["none", *PANELS])].reset_index(drop=True)
    rows = {row["network"]: row for row in data.to_dict("records")}
    assert set(PANELS) <= set(CONFIG["networks"])
    with style.new_figure(style.WIDE, 3.9) as figure:
        axes = figure.subplots(1, len(PANELS), squeeze=False, least=1.7)[0]
        for ax, (name, title) in zip(axes, PANELS.items(), strict=True):
            row = rows.get(name, {"missing": "not in this study"})
            if isinstance(row["missing"], str):
                draw_missing(ax, title, row["missing"])
            else:
                draw_structure(ax, title, row, rows["none"])
        style.save(figure, NAME, data, out)
    return figure, data
