"""Decay of PSNR with own and with true memory, and when wandering, against the memory's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.causes_of_decay import CONDITIONS, STUDY, TREND
from analysis.study import OUT, manifest_of, table_of
from figures import style

NAME = "causes_of_decay"
TITLE = "What PSNR loses along a roll-out, with its own memory and with a true one"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Above: PSNR of frames 0–4 of a roll-out; below: how much lower it is at frames 60–64, against "
    "the size of the memory. Own memory: roll-outs to and fro over 7 given frames, as in Tables 3 "
    "and 4 here. True memory: the same clips and views with true frames in the memory for all "
    "finished ones. Wandering: paths like those of training clips, where a third of the views are "
    "new and others return at any age. Dotted: true frames of another map instead, when wandering. "
    "Measured on 100 clips: bars are 95 % over test clips (those of one map count as one) and "
    "training seeds; hollow marks: one seed, over clips only. The paper's Tables 3 and 4: the "
    "decay grows with the budget."
)
NUMBERS = {"psnr": "PSNR, first frames (dB)", "psnr_decay": "PSNR decay (dB)"}


def _panel(ax: Axes, rows: pandas.DataFrame, sizes: list[int]) -> None:
    for place, condition in enumerate(CONDITIONS):
        here = rows[rows["condition"] == condition].sort_values("size")
        if here.empty:
            continue
        colour, mark, dashes = style.SERIES[place]
        whole = (here["over"] == "seeds and clips").all()
        ax.errorbar(
            here["size"] * 1.04 ** (place - 1),
            here["value"],
            yerr=[here["value"] - here["low"], here["high"] - here["value"]],
            color=colour,
            marker=mark,
            ls=dashes,
            mfc=colour if whole else "none",
            elinewidth=0.8,
            label=condition,
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_xlim(0.8 * min(sizes), 1.25 * max(sizes))


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    config = manifest_of(STUDY.name, out=out)["config"]
    first, last = tuple(config["first"]), tuple(config["last"][-1])
    wanted = {"psnr": first, "chance": first, "psnr_decay": last}
    kept = [
        table[
            (table["quantity"] == quantity)
            & (table["first"] == span[0])
            & (table["end"] == span[1])
            & (table["row"] != TREND)
        ]
        for quantity, span in wanted.items()
    ]
    data = pandas.concat(kept, ignore_index=True)
    data = data[data["condition"].isin(CONDITIONS)].reset_index(drop=True)
    panels = [(world, family) for world in config["worlds"] for family in config["families"]]
    with style.new_figure(style.WIDE, 4.6) as figure:
        axes = figure.subplots(len(NUMBERS), len(panels), squeeze=False, sharey="row")
        for column, (world, family) in enumerate(panels):
            rows = data[(data["world"] == world) & (data["family"] == family)]
            sizes = list(config["families"][family].values())
            for line, (quantity, label) in enumerate(NUMBERS.items()):
                ax = axes[line, column]
                if rows.empty:
                    ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)
                    continue
                _panel(ax, rows[rows["quantity"] == quantity], sizes)
                if column == 0:
                    ax.set_ylabel(label)
                if quantity == "psnr":
                    look: dict[str, Any] = {"color": style.ink(), "ls": ":", "lw": 1.2}
                    chance = rows.loc[rows["quantity"] == "chance", "value"].mean()
                    ax.axhline(chance, label="another map", **look)
                    ax.set_title(f"{world}: {family}")
                else:
                    ax.axhline(0.0, color=style.GREY, lw=0.8)
                    ax.set_xlabel("budget (frames)" if "budget" in family else "memory (frames)")
        named: dict[str, Any] = {}
        for ax in axes.ravel():
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        if named:
            handles = list(named.values())
            figure.legend(handles, list(named), loc="outside lower center", ncols=4)
        style.save(figure, NAME, data, out)
    return figure, data
