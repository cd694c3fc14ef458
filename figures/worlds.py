"""Contact sheets of the worlds that networks are trained on."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pandas
from matplotlib.figure import Figure

from analysis.study import OUT, file_of, table_of
from analysis.world_sheets import STUDY, sheet_file
from figures import style

NAME = "worlds"
TITLE = "Worlds to remember"
STUDIES = (STUDY.name,)
KIND = "rendered"
CAPTION = (
    "Three wandering clips of each world above three that look away and return (16 frames each; a "
    "Gaussian world without a camera has only the former). The bar under a frame: orange, a view "
    "never seen before in the clip; blue, a view that returned, the longer the older. Returning "
    "views are bit-exact. The maze is drawn with DeepMind Lab’s textures."
)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the table of worlds."""
    data = table_of(STUDY.name, out=out)
    present = data[data["missing"].isna() | (data["missing"] == "")]
    sheets = {
        title: matplotlib.image.imread(file_of(STUDY.name, sheet_file(title), out=out))
        for title in present["world"]
    }
    shares = [sheet.shape[0] / sheet.shape[1] for sheet in sheets.values()]
    height = style.PAGE * sum(shares) + 0.3 * len(shares)
    with style.new_figure(style.PAGE, height) as figure:
        axes = figure.subplots(len(sheets), 1, squeeze=False, height_ratios=shares)[:, 0]
        for ax, (title, sheet) in zip(axes, sheets.items(), strict=True):
            ax.imshow(sheet, aspect="equal", interpolation="nearest")
            ax.set_title(title)
            ax.set_axis_off()
        style.save(figure, NAME, data, out)
    return figure, data
