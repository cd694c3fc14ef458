"""What retrieval rates certify about KL(P‖Q): measured rates, and published ones if n was ..."""

from __future__ import annotations

from pathlib import Path

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.retrieval_bounds import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "retrieval_bounds"
TITLE = "What retrieval rates certify (M5)"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Lower bounds of KL(truth ‖ generated) of whole return clips, by the age of the views "
    "(rows with their lengths here; in brackets the paper’s). Left: Measured, a point a "
    "training seed: log(1/u), u the upper Clopper–Pearson limit of the share of clips in which "
    "every frame of that age is retrieved; the truth always is, bit for bit. 95 % for the "
    "three ages of a network together; a network that never succeeds reaches the dotted line, "
    "all that so many clips can certify. Filled: of the law on the maps of the test; open: of "
    "the law over all maps, from one clip a map. Right, published, no certificates but what "
    "they would be: a share of Table 1 read as one of n independent videos, from n = "
    "{assumed_n[0]} (left end) to 1000 (right end), mark at n = 100; Table 2 prints mean SSIM, "
    "from which only Markov’s inequality leads to an event, here SSIM ≥ {ssim_of_truth}, which "
    "the truth is assumed to reach."
)
MARK_AT = 100
LOOKS = {0: (style.BLUE, "o", -0.22), 1: (style.VERMILION, "s", 0.0), 2: (style.GREEN, "^", 0.22)}
"""Colour, mark and shift of the first, second, third age."""


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    measured, quoted = (data[data["source"] == kind] for kind in ("measured", "published"))
    names = list(dict.fromkeys([*quoted["row"], *measured["row"]]))
    place = {name: i for i, name in enumerate(names)}
    worlds = STUDY.config["worlds"]
    with style.new_figure(style.WIDE, 9.6) as figure:
        axes = figure.subplots(2, 2, sharey=True)
        for i, world in enumerate(worlds):
            _measured(axes[i, 0], measured[measured["world"] == world], place)
            _published(axes[i, 1], quoted[quoted["table"] == i + 1], place)
            described = quoted.loc[quoted["table"] == i + 1]
            axes[i, 0].set_title(_measured_title(world, measured[measured["world"] == world]))
            axes[i, 1].set_title(
                f"{described['world'].iloc[0]}, published {described['published_quantity'].iloc[0]}"
                "\nif n was …"
            )
            axes[i, 0].set_yticks(range(len(names)), [_label(data, name) for name in names])
            axes[i, 0].set_xlabel("certified KL (nats)")
            axes[i, 1].set_xlabel("KL that would be certified (nats)")
        axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
        handles, ages = axes[0, 1].get_legend_handles_labels()
        here = [f"{a // 4}–{b // 4}" for a, b in (map(int, age.split("-")) for age in ages)]
        labels = [f"age {own} (paper: {age})" for own, age in zip(here, ages, strict=True)]
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        style.save(figure, NAME, data, out)
    return figure, data


def _label(data: pandas.DataFrame, name: str) -> str:
    """`prepend 12 (48)`, with what compresses it and the budget."""
    row = data[data["row"] == name].iloc[0]
    if name == "none":
        return "none"
    structure, _, rest = name.partition("-")
    here, *compressed = rest.split("-")
    text = f"{structure.replace('_', ' ')} {here} ({int(here) * 4})"
    if compressed:
        budget = int(compressed[1])
        text += f", {str(row['compression']).replace('_', ' ')} {budget} ({4 * budget})"
    return text


def _measured_title(world: str, rows: pandas.DataFrame) -> str:
    if rows.empty:
        return f"{world}: not measured yet"
    clips, maps = (f"{rows[name].max():.0f}" for name in ("measured_clips", "maps"))
    return f"{world}, measured on {clips} clips of {maps} maps\n{rows['rule'].iloc[0]}"


def _measured(ax: Axes, rows: pandas.DataFrame, place: dict[str, int]) -> None:
    for i, (span, chosen) in enumerate(rows.groupby("span", sort=False)):
        colour, mark, shift = LOOKS[i]
        at = chosen["row"].map(place) + shift
        ax.plot(
            chosen["measured_kl_bound"],
            at,
            ls="none",
            marker=mark,
            color=colour,
            label=str(span),
        )
        ax.plot(
            chosen["measured_kl_bound_all_maps"],
            at,
            ls="none",
            marker=mark,
            color=colour,
            markerfacecolor=style.paper(),
            ms=3.0,
        )
    most = rows.loc[rows["measured_successes"] == 0, "measured_kl_bound"]
    if len(most):
        ax.axvline(most.max(), color=style.ink(), ls=":", lw=0.9)


def _published(ax: Axes, rows: pandas.DataFrame, place: dict[str, int]) -> None:
    for i, (span, chosen) in enumerate(rows.groupby("span", sort=False)):
        colour, mark, shift = LOOKS[i]
        for name, values in chosen.groupby("row", sort=False):
            at = place[str(name)] + shift
            bounds = values["published_kl_bound"]
            ax.plot([bounds.min(), bounds.max()], [at, at], color=colour, lw=1.0)
        at_mark = chosen[chosen["assumed_n"] == MARK_AT]
        ax.plot(
            at_mark["published_kl_bound"],
            at_mark["row"].map(place) + shift,
            ls="none",
            marker=mark,
            color=colour,
            label=str(span),
        )
