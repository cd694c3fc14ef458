"""Boxes, rows of frames and arrows: what the drawings of networks and graphs are made of."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.text import Text

from figures import style

__all__ = ["Point", "arrow", "box", "canvas", "frames", "label"]

Point = tuple[float, float]


def canvas(ax: Axes, title: str, width: float = 1.0, height: float = 1.0) -> None:
    """Nothing but a title, and the coordinates 0..width, 0..height."""
    ax.set_title(title)
    ax.set_xlim(0.0, width)
    ax.set_ylim(0.0, height)
    ax.set_axis_off()


def label(ax: Axes, at: Point, text: str) -> Text:
    """Small text, centred; it takes no room from the panels beside it."""
    size = style.small()
    made = ax.text(*at, text, ha="center", va="center", fontsize=size, linespacing=1.15, zorder=5)
    made.set_in_layout(False)
    return made


def box(
    ax: Axes, centre: Point, size: Point, text: str, colour: str, **options: Any
) -> FancyBboxPatch:
    """A rounded box with text in its middle; `colour` of its edge and, faintly, its inside."""
    (x, y), (width, height) = centre, size
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.02",
        facecolor=style.tinted(colour),
        edgecolor=style.ink(colour),
        linewidth=0.9,
        **options,
    )
    ax.add_patch(patch)
    label(ax, centre, text)
    return patch


def frames(
    ax: Axes, left: float, y: float, count: int, side: Point, colour: str, filled: int | None = None
) -> list[Rectangle]:
    """`count` frames in a row from `left` on; the last `filled` (default: all) are filled."""
    width, height = side
    shown = count if filled is None else filled
    row = []
    for i in range(count):
        patch = Rectangle(
            (left + 1.25 * width * i, y - height / 2),
            width,
            height,
            facecolor=style.ink(colour) if i >= count - shown else style.paper(),
            edgecolor=style.ink(colour),
            linewidth=0.7,
        )
        ax.add_patch(patch)
        row.append(patch)
    return row


def arrow(
    ax: Axes,
    start: Point,
    end: Point,
    text: str = "",
    *,
    colour: str = style.BLACK_OR_WHITE,
    at: Point | None = None,
    bend: float = 0.0,
    dashed: bool = False,
    head: bool = True,
) -> None:
    """An arrow with its label at `at` (default: the middle)."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>" if head else "-",
            mutation_scale=7.0,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0.0,
            shrinkB=0.0,
            color=style.ink(colour),
            linewidth=1.0,
            linestyle=(0, (3, 2)) if dashed else "-",
        )
    )
    if text:
        label(ax, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2) if at is None else at, text)
