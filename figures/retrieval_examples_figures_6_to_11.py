"""Truth above, predictions below, where views return (Figures 6–8, 10 and 11 of the paper)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle

from analysis.retrieval_examples import STUDY, TRUTH, strip_file
from analysis.study import OUT, file_of, manifest_of, table_of
from arvdm_theory.errors import ParameterError
from figures import style

__all__ = ["FIGURES", "OUTLINES", "Examples"]

OUTLINES = {True: (style.BLUE, "-"), False: (style.VERMILION, (0, (2, 1.2)))}
"""Retrieved or not → colour and line of the outline."""
LINE, SCORE = 1.3, 0.3
"""Heights of a line of frames and of the score under a frame, in frames."""
LEFT, NARROW, ABOVE, BELOW, MARGIN = 1.35, 1.0, 0.22, 0.42, 0.05
"""Inches: the labels of the lines (at `style.WIDE`, and at least), a title, the ages, an edge."""
SMALLEST = 0.25
"""Inches: of smaller frames nothing can be seen."""


@dataclass(frozen=True)
class Examples:
    """One figure: `rows` (name → label) of a world, below the truth, for two test clips."""

    number: int
    shows: str
    world: str
    rows: dict[str, str]
    topic: str

    KIND = "measured"
    STUDIES = (STUDY.name,)

    @property
    def NAME(self) -> str:
        return f"{self.world}_{self.shows}_figure_{self.number}"

    @property
    def TITLE(self) -> str:
        return f"Views that return, {self.world}: {self.topic}"

    @property
    def CAPTION(self) -> str:
        return (
            f"Mirrors Figure {self.number} ({'DMLab' if self.world == 'maze' else 'Minecraft'} in "
            "the paper; which of its figures shows which rows is our choice). Test clips "
            "{clips[0]} and {clips[1]} of the 200, picked by number before any was seen: after 17 "
            "given frames the camera goes back the way it came, so that the true frame (top line) "
            "is, bit for bit, the given frame as many frames earlier as the axis says. Measured: "
            "the 16 frames that each network generates, training seed {seed}. Outline: solid blue, "
            "counts as retrieved by the world’s rule; dashed red, does not; the score is under "
            "each frame. Bar: the view was in the memory (before compression) or in the same "
            "window. At the left the share of all returning frames that count as retrieved, with "
            "its 95 % interval over clips alone: one seed says nothing about other seeds."
        )

    def draw(self, out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
        """Draw and save the figure; returns it with the plotted rows.

        Raises `ParameterError` if the frames would be too small to be seen.
        """
        table = table_of(STUDY.name, out=out)
        chosen = (table["world"] == self.world) & table["row"].isin(list(self.rows))
        data = table[chosen].reset_index(drop=True)
        clips = manifest_of(STUDY.name, out=out)["config"]["clips"]
        lines = [TRUTH, *(row for row in self.rows if (data["row"] == row).any())]
        with style.new_figure(style.WIDE, 1.0, pictures=True) as figure:
            grid = _grid(figure, len(clips), len(lines), 16)
            for place, clip in enumerate(clips):
                ax = figure.add_subplot(grid[place])
                self._panel(ax, data[data["clip"] == clip], lines, (place, len(clips)), out)
                title = f"{self.world}, test clip {clip}"
                if len(data):
                    first = data.iloc[0]
                    title += f"; retrieved: {first['rule']}; shares of {first['clips']} clips"
                ax.set_title(title)
                ax.set_xlabel("age of the view (frames since it was last seen)")
            missing = [label for row, label in self.rows.items() if row not in lines]
            if missing:
                text = f"Not trained yet: {'; '.join(missing)}."
                figure.text(
                    figure.axes[0].get_position().x0,
                    0.01,
                    text,
                    fontsize=style.small(),
                    va="bottom",
                )
            style.save(figure, self.NAME, data, out)
        return figure, data

    def _panel(
        self, ax: Axes, data: pandas.DataFrame, lines: list[str], place: tuple[int, int], out: Path
    ) -> None:
        labels = []
        for line, row in enumerate(lines):
            for number, frame in enumerate(_frames(self.world, row, place, out)):
                box = (number + 0.04, number + 0.96, LINE * line + 0.96, LINE * line + 0.04)
                ax.imshow(frame, extent=box, interpolation="nearest", zorder=2)
            if row == TRUTH:
                labels.append("truth, given before")
                continue
            here = data[data["row"] == row].sort_values("frame")
            for one in here.to_dict("records"):
                _mark(ax, one, LINE * line)
            first = here.iloc[0]
            reach = first["share_high"] - first["share"]
            labels.append(f"{self.rows[row]}\n{first['share']:.2f} ± {reach:.2f}")
        ages = data.drop_duplicates("frame").sort_values("frame")["age"]
        ax.set_xticks(np.arange(len(ages)) + 0.5, [str(age) for age in ages])
        ax.set_yticks(LINE * np.arange(len(lines)) + 0.5, labels)
        ax.tick_params(length=0.0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.set(xlim=(0.0, 16.0), ylim=(LINE * len(lines), 0.0), aspect="auto")


def _grid(figure: Figure, panels: int, lines: int, frames: int) -> GridSpec:
    """Places of the panels, whose frames are square and as large as they can be.

    The figure gets the height that it needs. Raises `ParameterError` if frames get too small.
    """
    width = float(figure.get_size_inches()[0])
    left = max(NARROW, LEFT * width / style.WIDE)
    size = (width - left - MARGIN) / frames
    if size < SMALLEST:
        raise ParameterError("columns", f"more than 1: {frames} frames stand side by side", 1)
    tall = size * LINE * lines
    height = panels * (tall + ABOVE + BELOW) + MARGIN + 0.15
    figure.set_size_inches(width, height)
    figure.set_layout_engine("none")
    return figure.add_gridspec(
        panels,
        left=left / width,
        right=(left + size * frames) / width,
        top=1.0 - ABOVE / height,
        bottom=(BELOW + MARGIN + 0.15) / height,
        hspace=(ABOVE + BELOW) / tall,
    )


def _frames(world: str, row: str, place: tuple[int, int], out: Path) -> list[np.ndarray]:
    """Frames `(H, W, 3)` of one clip of so many; none if the row is not there."""
    name = strip_file(world, row)
    if name not in manifest_of(STUDY.name, out=out)["files"]:
        return []
    sheet = matplotlib.image.imread(file_of(STUDY.name, name, out=out))[..., :3]
    clip, clips = place
    line = np.split(np.asarray(sheet), clips)[clip]
    return np.split(line, line.shape[1] // line.shape[0], axis=1)


def _mark(ax: Axes, one: Mapping[Hashable, Any], top: float) -> None:
    """Outline, score and bar of a generated frame."""
    colour, dashes = OUTLINES[bool(one["retrieved"])]
    at = (one["frame"] + 0.04, top + 0.04)
    digits = 2 if abs(one["score"]) < 1.0 else 1
    ax.add_patch(
        Rectangle(at, 0.92, 0.92, fill=False, ec=colour, ls=dashes, lw=1.2, zorder=3, gid="frame")
    )
    ax.text(
        *(one["frame"] + 0.5, top + 1.0 + 0.5 * SCORE),
        f"{one['score']:z.{digits}f}".replace("-", "−"),
        ha="center",
        va="center",
        fontsize=max(5.0, 0.8 * style.small() * min(1.0, ax.bbox.width / 16.0 / 30.0)),
    )
    if one["in_memory"]:
        under = top + 0.99
        ax.plot([one["frame"], one["frame"] + 1], [under, under], color=style.ink(), lw=1.6)


MEMORIES = {
    "none": "no memory",
    "prepend-4": "prepend 4",
    "prepend-12": "prepend 12",
    "prepend-28": "prepend 28",
}
BUDGETS = {
    "prepend-12-joint-2": "joint, 2 of 12",
    "prepend-12-joint-4": "joint, 4 of 12",
    "prepend-12-joint-8": "joint, 8 of 12",
    "prepend-12-joint-12": "joint, 12 of 12",
}
STRUCTURES = {
    "prepend-12": "prepend 12",
    "channel_concat-12": "channel concat 12",
    "channel_concat-12-modulated-12": "concat, modulated 12",
    "cross_attention-28": "cross attention 28",
}
FIGURES = (
    Examples(6, "memories", "maze", MEMORIES, "memory lengths"),
    Examples(7, "budgets", "maze", BUDGETS, "compression budgets"),
    Examples(8, "structures", "maze", STRUCTURES, "structures of the memory"),
    Examples(10, "memories", "blocks", MEMORIES, "memory lengths"),
    Examples(
        11, "budgets_and_structures", "blocks", BUDGETS | STRUCTURES, "budgets and structures"
    ),
)
"""The figures of this module, by their number in the paper."""
