"""Past, input and output of one AR step as a graph, with the informations of its edges."""

from __future__ import annotations

import math
from pathlib import Path

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from analysis.markov_chain import STUDY
from analysis.study import OUT, table_of
from figures import style
from figures.diagram import Point, arrow, canvas, label

NAME = "markov_chain_figure_4"
TITLE = "What a generator loses that sees the past only through its input"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "The setting of the memory bottleneck as a graph (mirrors the paper’s Figure 4): X, the past; "
    "Y, the input of an AR step ({reference} frames before it); Z, its output ({output} frame); m, "
    "a memory of {memory} number (the first canonical direction, with noise of standard deviation "
    "{memory_noise}). Left: the truth. Middle: the best generator that sees Y alone, the Markov "
    "chain X → Y → Z; its edge X–Z is gone, and KL(truth ‖ chain) is the information on it (M2). "
    "Right: through a memory part of it comes back; the rest is the memory bottleneck (M1). Exact: "
    "every number is computed in closed form on a panorama of 2 pixels a view, whose camera pans "
    "over 6 pixels and back, so that frame 13 shows the view of frame 1; all frames at level "
    "{level}; informations in nats."
)
PANELS = {
    "truth": "truth",
    "chain": "sees Y alone: a Markov chain",
    "memory": "sees Y and a memory m",
}
"""Graph of the study → title."""
PLACES: dict[str, Point] = {"X": (0.15, 0.5), "Y": (0.5, 0.15), "Z": (0.85, 0.5), "m": (0.5, 0.82)}
NAMES = {"X": "past", "Y": "input", "Z": "output", "m": "memory"}
LABELS: dict[tuple[str, str], Point] = {
    ("X", "Y"): (0.16, 0.24),
    ("Y", "Z"): (0.84, 0.24),
    ("X", "Z"): (0.5, 0.58),
    ("X", "m"): (0.16, 0.80),
    ("m", "Z"): (0.84, 0.80),
}
"""Where the label of an edge stands."""
RADIUS = 0.085


def _between(start: Point, end: Point) -> tuple[Point, Point]:
    """The part of a line that is outside the circles at its ends."""
    run, rise = end[0] - start[0], end[1] - start[1]
    share = 1.1 * RADIUS / math.hypot(run, rise)
    near = (start[0] + share * run, start[1] + share * rise)
    return near, (end[0] - share * run, end[1] - share * rise)


def quantity(start: str, end: str, given: str) -> str:
    """`I(X;Z|Y)`."""
    condition = f"|{','.join(given)}" if given else ""
    return f"I({start};{end}{condition})"


def label_of(nats: float, bound: float) -> str:
    """Three decimals; 0 where the number is not above `bound` on its rounding error."""
    return "0" if nats <= bound else f"{nats:.3f}"


def _draw_graph(ax: Axes, graph: str, edges: pandas.DataFrame) -> None:
    canvas(ax, PANELS[graph])
    ax.set_aspect("equal")
    nodes = dict.fromkeys([*edges["from"], *edges["to"]])
    for edge in edges.to_dict("records"):
        start, end, given = edge["from"], edge["to"], edge["given"]
        lost = graph != "truth" and (start, end) == ("X", "Z")
        colour = style.BLUE if (start, end) == ("X", "Z") else style.BLACK_OR_WHITE
        colour = style.GREEN if "m" in (start, end) else colour
        number = label_of(edge["nats"], edge["upper"] - edge["nats"])
        arrow(
            ax,
            *_between(PLACES[start], PLACES[end]),
            f"{quantity(start, end, given)}\n= {number} nats",
            colour=colour,
            at=LABELS[start, end],
            dashed=lost,
            head=not lost,
        )
    for node in nodes:
        ax.add_patch(
            Circle(
                PLACES[node],
                RADIUS,
                facecolor=style.tinted(style.GREEN if node == "m" else style.SKY),
                edgecolor=style.ink(),
                linewidth=0.9,
                zorder=3,
            )
        )
        x, y = PLACES[node]
        ax.text(x, y, node, ha="center", va="center", style="italic", zorder=4)
        away = 0.125 if node in ("m",) else -0.135
        label(ax, (x, y + away), NAMES[node])


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    edges = data.fillna({"given": ""})
    with style.new_figure(style.WIDE, 2.95, pictures=True) as figure:
        axes = figure.subplots(1, len(PANELS), squeeze=False, least=1.7)[0]
        for ax, graph in zip(axes, PANELS, strict=True):
            _draw_graph(ax, graph, edges[edges["graph"] == graph])
        kept = edges[(edges["graph"] == "truth") & (edges["given"] == "Y")]["nats"].iloc[0]
        label(axes[1], (0.5, 0.73), f"KL(truth ‖ chain)\n= {kept:.3f} nats")
        style.save(figure, NAME, data, out)
    return figure, data
