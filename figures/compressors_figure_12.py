"""How a memory is compressed into fewer slots before the network sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.network_structures import STUDY
from analysis.study import OUT, table_of
from figures import style
from figures.diagram import arrow, box, canvas, frames, label
from figures.memory_structures_figure_5 import HEIGHT, WIDTH, draw_missing, thousands

NAME = "compressors_figure_12"
TITLE = "The compressors"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "How a memory becomes a budget of slots (mirrors the paper’s Figure 12; the state space is "
    "ours), drawn from the networks themselves ({experiment} with a budget). Squares below: the "
    "memory frames that enter; above: the slots that are kept (filled) and those left out (open). "
    "<em>Joint</em>: each frame’s action is one more token beside its pixels. <em>Modulated</em>: "
    "the action scales and shifts the layers instead. <em>State space</em>: a selective scan in "
    "time order takes the place of attention in time. Exact: counted on the built modules, layer "
    "by layer as they run."
)
PANELS = {
    "prepend, joint": "joint",
    "channel concat, modulated": "modulated",
    "prepend, state space": "state space",
}
"""Network of the study → title."""
LAYERS = {
    "joint": "space, time, feed-forward",
    "modulated": "space, time, feed-forward",
    "state_space": "space, selective scan, feed-forward",
}
ENTERS = {"prepend": "prepended", "channel_concat": "projected and added"}
PLAIN = "actions are added to the tokens"
MIDDLE = WIDTH / 2


def _row_of_frames(ax: Axes, y: float, count: int, filled: int, colour: str) -> None:
    width, height = 0.42, 0.55
    frames(ax, MIDDLE - 0.5 * 1.25 * width * count, y, count, (width, height), colour, filled)


def draw_compressor(ax: Axes, title: str, row: Mapping[Any, Any]) -> None:
    """Draw the compressor of one network of the study."""
    canvas(ax, title, WIDTH, HEIGHT)
    compressed, slots = int(row["compressed"]), int(row["slots"])
    _row_of_frames(ax, 1.1, compressed, compressed, style.GREY)
    label(ax, (MIDDLE, 0.35), f"memory: {compressed} frames")
    places, mixed = int(row["tokens_per_frame"]), int(row["mixed_tokens"])
    tokens = f"{places} tokens a frame"
    tokens += f" + {mixed - places} of its action" if mixed > places else ""
    box(ax, (MIDDLE, 2.8), (9.4, 0.8), tokens, style.ORANGE)
    arrow(ax, (MIDDLE, 1.5), (MIDDLE, 2.35))
    layers = int(row["compressor_layers"])
    for layer in range(layers):
        height = 4.4 + 0.95 * layer
        box(ax, (MIDDLE, height), (9.4, 0.75), LAYERS[row["compressor"]], style.BLUE)
    top = 4.4 + 0.95 * (layers - 1) + 0.4
    arrow(ax, (MIDDLE, 3.25), (MIDDLE, 3.95))
    modulated = row["modulated_by"] != "nothing"
    told = f"scaled and shifted by {row['modulated_by']}" if modulated else PLAIN
    label(ax, (MIDDLE, top + 0.4), told)
    arrow(ax, (MIDDLE, top + 0.8), (MIDDLE, top + 1.5))
    _row_of_frames(ax, top + 1.9, compressed, slots, style.GREEN)
    label(ax, (MIDDLE, top + 2.65), f"the last {slots} slots, {ENTERS[row['structure']]}")
    label(ax, (MIDDLE, 9.7), f"{thousands(row['compressor_parameters'])} parameters")


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    data = table[table["network"].isin(PANELS)].reset_index(drop=True)
    rows = {row["network"]: row for row in data.to_dict("records")}
    with style.new_figure(style.WIDE, 3.3) as figure:
        axes = figure.subplots(1, len(PANELS), squeeze=False, least=1.7)[0]
        for ax, (name, title) in zip(axes, PANELS.items(), strict=True):
            row = rows.get(name, {"missing": "not in this study"})
            if isinstance(row["missing"], str):
                draw_missing(ax, title, row["missing"])
            else:
                draw_compressor(ax, title, row)
        style.save(figure, NAME, data, out)
    return figure, data
