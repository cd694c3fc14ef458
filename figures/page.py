"""The report's page: sections, tables and pictures from the studies' tables, as one HTML file."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import pandas
from PIL import Image

import arvdm_theory
from analysis import (
    causes_of_decay,
    claims,
    clip_memory,
    long_rollouts,
    memory_reading,
    order_or_levels,
    paper_tables,
    trained_gaussian,
)
from analysis.cases import METHODS
from analysis.registry import STUDIES
from analysis.study import ROOT, file_of, manifest_of, sweep, table_of
from figures import controls
from figures import ladder as ladder_figure
from figures.memory_of_the_shipped_clip import LAWS
from figures.registry import FIGURES, KINDS
from paper_repro import plan, published
from paper_repro.many_schedules import SETTINGS

__all__ = ["CLIP_PAGE", "PARTS", "Picture", "Section", "Table", "render", "sections"]


@dataclass(frozen=True)
class Table:
    """Cells as text; `study` names the manifest they come from.

    `runs`: for each row, the names of the measurements behind it, where a row has its own.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str
    study: str
    folded: bool = False
    runs: Sequence[Sequence[str]] = ()

    @property
    def words(self) -> list[bool]:
        """Which columns hold text that runs over lines."""
        return [any(len(row[i]) > 28 for row in self.rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Picture:
    """A figure, drawn for light and dark pages; `width` and `height` in pixels of the page."""

    name: str
    title: str
    light: str
    dark: str
    width: int
    height: int
    kind: str
    caption: str
    studies: Sequence[str]


@dataclass(frozen=True)
class Section:
    """One question: what it is about, its control, pictures and tables; `links` are (text, file).

    `part`: the heading of the contents under which it stands.
    """

    anchor: str
    title: str
    paragraphs: Sequence[str]
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    links: Sequence[tuple[str, str]] = ()
    knob: controls.Knob | None = None
    part: str = ""

    @property
    def studies(self) -> list[str]:
        """Every study that a number of this section comes from, in order of appearance."""
        names = [self.knob.study] if self.knob else []
        names += [name for picture in self.pictures for name in picture.studies]
        names += [table.study for table in self.tables]
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Manifest:
    """What the page says of a study or of a measurement: `facts`, and the whole as JSON."""

    anchor: str
    name: str
    says: str
    digest: str
    facts: Sequence[tuple[str, str]]
    inputs: Sequence[tuple[str, str, str]]
    text: str


# --- from numbers to text -------------------------------------------------------------------------


def number(value: Any, digits: int = 4) -> str:
    """`digits` significant digits, with a real minus sign; a dash for what does not exist.

    >>> number(0.000012345), number(13.0004), number(float("nan")), number(16)
    ('1.234e−5', '13.00', '–', '16')
    """
    if value is None or value is pandas.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, str):
        return value
    if math.isinf(value):
        return "∞" if value > 0.0 else "−∞"
    if float(value) == int(value) and abs(value) < 1e6:
        return f"{int(value)}".replace("-", "−")
    if 1e-3 <= abs(value) < 10.0**digits:
        return f"{value:#.{digits}g}".rstrip(".").replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def _exact(value: float | None, bound: float | None) -> str:
    """Six digits of an exact number, or the bound on its rounding if that is larger."""
    if value is not None and bound is not None and value < bound:
        return f"< {number(bound, 2)}"
    return number(value, 6)


def _bounded(values: pandas.Series, bounds: pandas.Series) -> list[str]:
    """`number`s, or "< bound" where a value is below the bound on its floating-point error."""
    pairs = zip(values, bounds, strict=True)
    return [f"< {number(b, 2)}" if v < b else number(v) for v, b in pairs]


def _printed(value: Any) -> str:
    """As in the paper's tables: two decimals."""
    return f"{value:.2f}" if isinstance(value, float) and not math.isnan(value) else number(value)


def _counted(value: Any) -> str:
    """A count in full: `1,897,315`."""
    return value if isinstance(value, str) else f"{value:,.0f}"


def _table(
    frame: pandas.DataFrame,
    columns: dict[str, str],
    caption: str,
    kind: str,
    *,
    study: str,
    folded: bool = False,
    text: Callable[[Any], str] = number,
    inputs: Iterable[str] = (),
) -> Table:
    """The `columns` (name → heading with unit) of `frame`, each value as `text`.

    `inputs` of the study, where a row is of a network that one of them describes.
    """
    rows = [
        [text(value) for value in row]
        for row in frame[list(columns)].itertuples(index=False, name=None)
    ]
    runs = _runs(frame, inputs) if inputs else ()
    return Table(caption, list(columns.values()), rows, kind, study, folded, runs)


def _picture(name: str, out: Path) -> Picture:
    figure = FIGURES[name]
    caption = figure.caption
    for study in figure.studies:
        caption = caption.format_map(manifest_of(study, out=out)["config"])
    light, dark = (out / "figures" / f"{name}{theme}.png" for theme in ("", "_dark"))
    with Image.open(light) as picture:
        width, height = (round(PIXEL * size) for size in picture.size)
    return Picture(
        name,
        figure.title,
        str(light),
        str(dark),
        width,
        height,
        figure.kind,
        caption,
        figure.studies,
    )


def _data_uri(path: str) -> str:
    """A picture as a `data:` URI of WebP without loss, so that the page needs no other file."""
    content = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(content, "WEBP", lossless=True, method=1, quality=50)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


PIXEL = 2 / 3
"""Pixels of the page for one of a picture: those are drawn fine enough to be looked at closely."""
CLIP_PAGE = "clip.html"
"""Where the page of `arvdm analyze` lies beside the report."""
SHARES = (0.5, 0.9, 0.99)
"""Shares of the information in the past whose window length the report states."""


# --- the sections ---------------------------------------------------------------------------------


def sections(out: Path) -> list[Section]:
    """Every section that the studies and figures under `out` fill, in reading order; last, what
    figures stand in none of them."""
    found = [
        replace(section(out), part=part) for part, members in PARTS.items() for section in members
    ]
    shown = {picture.name for section in found for picture in section.pictures}
    further = [_picture(name, out) for name in FIGURES if name not in shown]
    if further:
        found.append(Section("further", "Further figures", (), further, part="Further figures"))
    return found


def _schedules_section(out: Path) -> Section:
    return Section(
        "schedules",
        "Named schedules",
        [
            f"{len(METHODS)} schedules, all checked against the three requirements of "
            "D1 when they are made: a schedule that violates monotonicity, circularity or the 0–T "
            "boundary is refused with a message of its own.",
            "Theorem A sorts the vectors of the chain by when they were made: Hₖ, those that were "
            "there before AR step k, and Gₖ, those that the step makes. What of Hₖ is not in the "
            "step's input is its Past; the memory bottleneck is about it.",
        ],
        [_picture("named_schedules_figure_3", out), _picture("sets_g_and_h_figure_14", out)],
    )


def _decomposition_section(out: Path) -> Section:
    study = "decomposition_along_k"
    table = table_of(study, out=out)
    terms = ["nie", "see", "de", "see_plus_de", "mb"]
    totals = table.groupby("case", sort=False)[terms].sum(min_count=1)
    last = table.groupby("case", sort=False).last()
    totals = totals.join(
        last[["cumulative_chain", "cumulative_output", "chain_error_bound", "step"]]
    )
    totals["finished_frames"] = last["finished_frames"]
    return Section(
        "decomposition",
        "The error of each AR step",
        [
            "Theorem A: the KL divergence between the chains of real and generated video is the "
            "sum of a noise-initialisation, a score-estimation and a discretisation error and of "
            "the memory bottleneck of each AR step; none is negative."
        ],
        [_picture("decomposition_per_step", out)],
        [
            _table(
                totals.reset_index(),
                {
                    "case": "video, method, generator",
                    "step": "AR steps K",
                    "finished_frames": "finished (frames)",
                    "nie": "NIE (nats)",
                    "see": "SEE (nats)",
                    "de": "DE (nats)",
                    "see_plus_de": "SEE + DE (nats)",
                    "mb": "MB (nats)",
                    "cumulative_chain": "chain KL (nats)",
                    "cumulative_output": "output KL (nats)",
                    "chain_error_bound": "rounding of chain (nats)",
                },
                f"Totals of the roll-outs above, in nats. IE₀ is {number(last['ie'].max())} in "
                "each: the first window is exact.",
                "exact",
                study=study,
            )
        ],
        knob=controls.knobs_of(out)["schedule"],
    )


def _long_section(out: Path) -> Section:
    study = "long_rollouts"
    table = table_of(study, out=out)
    ways = {
        (video, way): rows.reset_index(drop=True)
        for (video, way), rows in table.groupby(["video", "way"], sort=False)
    }
    settles, wanders = (ways[video, "linear"] for video in ("AR(2)", "panorama"))
    dense, dense_wanders = (ways[video, "dense"].iloc[-1] for video in ("AR(2)", "panorama"))
    first, last, longest = settles.iloc[0], settles.iloc[-1], wanders.iloc[-1]
    apart = max(dense[f"{name}_difference"] / dense[name] for name in long_rollouts.NUMBERS)
    crossing = float(dense_wanders["steps_for_ratio"])
    gibibytes = 8.0 * (4.0 * crossing) ** 2 / 2.0**30
    return Section(
        "long-rollouts",
        "A million steps",
        [
            "All terms of Theorem A, the output KL and the clip KL of a roll-out take time linear "
            "in the number of AR steps, and memory that does not depend on it. A video that "
            "settles (here a vector AR(2)) is iterated until its Riccati recursion repeats; the "
            "rest is summed in closed form, and what stopping changed is bounded. A panorama seen "
            "by a camera that wanders for ever never settles: every step is taken.",
            f"{last['steps']:,} AR steps of the AR(2) video took {last['cpu_seconds']:.2g} s, "
            f"{first['steps']} took {first['cpu_seconds']:.2g} s. {longest['steps']:,} steps of "
            f"the panorama took {longest['cpu_seconds']:.3g} s; the slope of log seconds on log K "
            f"is {longest['slope']:.3f} (95 % interval {longest['slope_lower']:.3f} to "
            f"{longest['slope_upper']:.3f}), and memory grew by {wanders['memory_mib'].min():.2g} "
            f"to {wanders['memory_mib'].max():.2g} MiB.",
            "The dense path forms the joint law of all frames. At the largest K that fits into 4 "
            f"GiB, {dense['steps']:,}, it takes {dense['cpu_seconds']:.3g} s and "
            f"{dense['memory_mib'] / 1024.0:.2g} GiB, {dense['ratio']:,.0f} times as long as the "
            "linear one (measured), for the same numbers: they differ by at most "
            f"{number(apart, 2)} of themselves. For the panorama, where nothing can be summed in "
            f"closed form, the measured ratio at K = {dense_wanders['steps']} is "
            f"{dense_wanders['ratio']:.2g}; "
            "extrapolated along the slope between the last two lengths (not measured) it would be "
            f"1,000 at K = {crossing:,.0f}, where each joint covariance alone would take "
            f"{gibibytes:,.0f} GiB.",
            "The error bounds are first-order worst cases. Those of the linear path stay small; "
            "the dense path's grow with the size and the conditioning of the joint law, and for "
            "the panorama the one of its output KL soon says nothing, while the numbers agree.",
        ],
        [_picture(study, out)],
        [
            _table(
                table,
                {
                    "video": "video",
                    "way": "way",
                    "steps": "AR steps K",
                    "runs": "runs (n)",
                    "cpu_seconds": "CPU time (s)",
                    "lower_quartile": "from (s)",
                    "upper_quartile": "to (s)",
                    "memory_mib": "memory (MiB)",
                    "settled": "settled (AR step)",
                    "slope": "slope of log time on log K (1)",
                    "slope_lower": "from (1)",
                    "slope_upper": "to (1)",
                    "ratio": "dense over linear (1)",
                    "output": "output KL (nats)",
                    "output_difference": "difference (nats)",
                    "output_allowed": "both error bounds (nats)",
                },
                "Medians over runs, from and to: quartiles; slopes with 95 % intervals.",
                "measured",
                study=study,
                folded=True,
            )
        ],
    )


def _ladder_section(out: Path) -> Section:
    study = "ladder"
    table = table_of(study, out=out)
    chain_over_output = (table["chain"] / table["output"]).median()
    bound_over_chain = (table["bound"] / table["chain"]).median()
    shown = table.loc[ladder_figure.rows_shown(table).index].copy()
    shown["mb"] = _bounded(shown["mb"], shown["mb_error_bound"])
    frames = table["frames"].iloc[0]
    columns = {
        "method": "method",
        "window": "w (frames)",
        "stride": "Δ (frames)",
        "reference": "r (frames)",
        "given_frames": "given (frames)",
        "output": "output KL (nats)",
        "chain": "chain KL (nats)",
        "bound": "explicit constants (nats)",
        "nie": "NIE (nats)",
        "de": "DE (nats)",
        "mb": "MB (nats)",
        "chain_error_bound": "rounding of chain (nats)",
    }
    tables = [
        _table(
            rows,
            columns,
            f"{video} (d = {rows['dim'].iloc[0]}): nats over the first {frames} frames, exact "
            f"denoiser, M = {ladder_figure.SUBSTEPS} sub-steps an iteration.",
            "exact",
            study=study,
            folded=i > 0,
        )
        for i, (video, rows) in enumerate(shown.groupby("video", sort=False))
    ]
    return Section(
        "ladder",
        "The ladder",
        [
            f"Output KL ≤ chain KL ≤ explicit constants, in each of {len(table)} roll-outs. The "
            f"gaps are real and large: the chain KL is {number(float(chain_over_output))} times "
            f"the output KL and the constants {number(float(bound_over_chain))} times the chain "
            "KL (medians), which is why all three are always reported."
        ],
        [_picture("ladder", out), _picture("ladder_by_substeps", out)],
        tables,
    )


def _memory_section(out: Path) -> Section:
    study = "memory_by_window"
    table = table_of(study, out=out)
    step = table["step"].iloc[0]
    lengths = [r for r in table["reference"].unique() if r in (0, 1, 2, 4, 8, 16, 32, 48, 64)]
    table["shown"] = _bounded(table["mb_nats"], table["error_bound_nats"])
    values, lengths_held = [], []
    for video, points in table.groupby("video", sort=False):
        name = f"{video} (d = {points['dim'].iloc[0]})"
        values.append([name, *points[points["reference"].isin(lengths)]["shown"]])
        held = [points[points["share_kept"] >= share]["reference"] for share in SHARES]
        total = points["mb_nats"].iloc[0]
        lengths_held.append(
            [
                name,
                *(number(float(total * scale)) for scale in (1.0, 1.0 / math.log(2.0))),
                *(number(int(enough.min())) if len(enough) else "–" for enough in held),
            ]
        )
    largest = table["reference"].max()
    return Section(
        "memory",
        "Memory bottleneck against window length",
        [
            "How much a generator forgets depends on the video, not on the network: an "
            "autoregressive video needs its order, long memory needs ever more, and a place that "
            "returns needs a window that reaches back to it, or a memory of another kind.",
            "A generator that sees the past X only through its input Y can at best be the Markov "
            "chain X → Y → Z. Its distance from the truth is I(X;Z|Y), and no training changes "
            "that (M2); a memory m gives back I(m;Z|Y) of it (M1).",
        ],
        [_picture("markov_chain_figure_4", out), _picture("memory_bottleneck_by_window", out)],
        [
            Table(
                f"MB of AR step {step} in nats per frame, by reference frames r; “<”: below the "
                "bound on its floating-point error.",
                ["video", *(f"r = {r} (nats)" for r in lengths)],
                values,
                "exact",
                study,
            ),
            Table(
                "What the past tells about a frame (MB at r = 0), and the smallest computed r that "
                f"holds a share of it (dash: none up to r = {largest}).",
                [
                    "video",
                    "past (nats)",
                    "past (bits)",
                    *(f"{share:.0%} at r (frames)" for share in SHARES),
                ],
                lengths_held,
                "exact",
                study,
            ),
            _table(
                table_of("markov_chain", out=out).fillna({"given": ""}),
                {
                    "graph": "graph",
                    "from": "from",
                    "to": "to",
                    "given": "given",
                    "nats": "information (nats)",
                    "lower": "at least (nats)",
                    "upper": "at most (nats)",
                },
                "The informations of Figure 4, with the bounds that rounding leaves.",
                "exact",
                study="markov_chain",
                folded=True,
            ),
        ],
        knob=controls.knobs_of(out)["memory"],
    )


def _persistence_section(out: Path) -> Section:
    return Section(
        "persistence",
        "Persistence",
        [
            "One number decides much of what a generator pays: how alike a frame is to the one "
            "before. Persistent video is easy to predict from clean frames and dear to generate "
            "without them."
        ],
        knob=controls.knobs_of(out)["persistence"],
    )


def _memory_bounds_section(out: Path) -> Section:
    budgets = table_of("memory_budgets", out=out)
    rows = []
    for video, points in budgets[budgets["share"].notna()].groupby("video", sort=False):
        total = float((points["floor_bits"] / points["share"]).mean())
        rows.append([f"{video} (d = {points['dim'].iloc[0]})", number(total)])
        rows[-1] += [number(float(bits)) for bits in points["budget_bits"]]
    shares = budgets["share"].dropna().unique()
    recursion = table_of("dimension_against_rate", out=out)
    recursion = recursion[recursion["part"] == "recursion"]
    slack = recursion["upper_nats"] - recursion["mb_nats"]
    recursion = recursion.assign(shown=_bounded(recursion["mb_nats"], slack)).pivot(
        index=["video", "order", "numbers"], columns="series", values="shown"
    )
    block = manifest_of("memory_budgets", out=out)["config"]["block"]
    return Section(
        "memory-bounds",
        "What no memory can avoid",
        [
            "A window forgets what left it; any other memory forgets too, if it is limited. A "
            "memory of c nats must forget MB*(c), whatever it stores (R2); one of b numbers, half "
            "the sum of all but the b largest −log(1 − ρ²) (R1), and more if it only sees each "
            "frame once, on its way (R6). And long memory has no window at all (R5).",
        ],
        [
            _picture("power_law_forgetting", out),
            _picture("memory_budget_curves", out),
            _picture("dimension_against_rate", out),
        ],
        [
            Table(
                f"How many bits for a target: the least memory with which a share of what the past "
                f"tells of the next {block} frames is forgotten, and no more (R2, inverse).",
                [
                    "video",
                    "without a memory (bits a block)",
                    *(f"to forget {share:.0%} (bits)" for share in shares),
                ],
                rows,
                "exact",
                "memory_budgets",
            ),
            _table(
                recursion.reset_index(),
                {
                    "video": "video",
                    "order": "states n (numbers)",
                    "numbers": "kept b (numbers)",
                    "floor": "R6, floor (nats/frame)",
                    "best": "best recursion found (nats/frame)",
                    "window": "window of b / d frames (nats/frame)",
                },
                "Recursions of b numbers: no stable linear one forgets less than the floor.",
                "exact",
                study="dimension_against_rate",
                folded=True,
            ),
        ],
    )


def _equal_cost_section(out: Path) -> Section:
    study = "schedules"
    table = table_of(study, out=out)
    cost = manifest_of(study, out=out)["config"]["cost"]
    shown = table.assign(mb_rate=_bounded(table["mb_rate"], table["mb_rate_error_bound"]))
    columns = {
        "method": "method",
        "reference": "r (frames)",
        "substeps": "sub-steps M",
        "calls_per_frame": "calls per frame",
        "nie_rate": "NIE (nats/frame)",
        "see_rate": "SEE (nats/frame)",
        "de_rate": "DE (nats/frame)",
        "mb_rate": "MB (nats/frame)",
        "chain_rate": "chain KL (nats/frame)",
        "loss_rate": "loss (nats/frame)",
    }
    tables = [
        _table(
            rows,
            columns,
            f"{video} (d = {rows['dim'].iloc[0]}), {generator} denoiser: rates at {cost} "
            "frame-evaluations per output frame.",
            "exact",
            study=study,
            folded=i > 0,
        )
        for i, ((video, generator), rows) in enumerate(
            shown.groupby(["video", "generator"], sort=False)
        )
    ]
    difference = (table["chain_theorem_a"] - table["chain_theorem_c"]).abs().max()
    winners = "; ".join(
        _smallest(str(video), rows)
        for video, rows in table[table["generator"] == "exact"].groupby("video", sort=False)
    )
    return Section(
        "equal-cost",
        "Schedules at equal cost",
        [
            "Theorem C: per finished frame, two schedules differ in chain KL by their γ-weighted "
            "denoising losses on real video, which any network can be asked for without generating "
            f"a frame. Smallest chain KL, exact denoiser: {winners}.",
            f"Theorem A and Theorem C give the chain KL by different code; over all {len(table)} "
            f"roll-outs they differ by at most {number(float(difference))} nats.",
        ],
        [_picture("schedules_at_equal_cost", out)],
        tables,
    )


def _smallest(video: str, rows: pandas.DataFrame) -> str:
    """Which methods have the smallest chain KL; some are the same schedule by another name."""
    least = rows["chain_rate"].min()
    methods = rows[rows["chain_rate"] <= least * (1.0 + 1e-9)]["method"]
    return f"{video}: {' and '.join(methods)} ({number(float(least))} nats/frame)"


def _designed_section(out: Path) -> Section:
    study = "designed_schedules"
    table = table_of(study, out=out)
    designed = table[table["kind"] == "designed"].set_index("video")
    named = table[table["kind"] == "named"]
    best = named.loc[named.groupby("video", sort=False)["chain"].idxmin()].set_index("video")
    designed = designed.assign(
        best=best["method"],
        best_chain=best["chain"],
        saved=100.0 * (1.0 - designed["chain"] / best["chain"]),
    )
    return Section(
        "designed",
        "Designed schedules",
        [
            "By Theorem C a schedule can be designed for a video and a network without a roll-out: "
            "window, stride, references, ladder and sub-step grids of least chain KL at one cost."
        ],
        [_picture(study, out)],
        [
            _table(
                designed.reset_index(),
                {
                    "video": "video",
                    "window": "window (frames)",
                    "stride": "stride (frames)",
                    "reference": "references (frames)",
                    "substeps": "sub-steps M",
                    "chain": "chain KL (nats per frame)",
                    "mb": "MB (nats per frame)",
                    "best": "best named method, own grid",
                    "best_chain": "its chain KL (nats per frame)",
                    "saved": "saved (%)",
                },
                "The designed schedule of each video beside the best named one at the same cost.",
                "exact",
                study=study,
            )
        ],
    )


def _theorem_b_section(out: Path) -> Section:
    study = "theorem_b"
    last = table_of(study, out=out).groupby("case", sort=False).last().reset_index()
    return Section(
        "theorem-b",
        "Error accumulation",
        [
            "Theorem B: the clip finished last pays for the errors of every step before it, but "
            "not for the memory bottleneck. How much of them it keeps depends on the model."
        ],
        [_picture("clip_against_theorem_b", out)],
        [
            _table(
                last,
                {
                    "case": "video, method, generator",
                    "step": "AR steps K",
                    "clip_frames": "clip (frames)",
                    "clip": "clip KL (nats)",
                    "theorem_b": "Theorem B (nats)",
                    "chain": "chain KL (nats)",
                    "clip_error_bound": "rounding of clip (nats)",
                },
                "The last clip of each roll-out.",
                "exact",
                study=study,
            )
        ],
    )


def _two_sided_section(out: Path) -> Section:
    study = "two_sided_accumulation"
    last = table_of(study, out=out).groupby("case", sort=False).last().reset_index()
    return Section(
        "two-sided-accumulation",
        "Error accumulation from both sides",
        [
            "E3, E4 and Theorem B hold the exact clip KL from two sides at every AR step. Errors "
            "that a stable chain forgets saturate: Theorem B's line stops being informative."
        ],
        [_picture(study, out)],
        [
            _table(
                last,
                {
                    "case": "chain",
                    "step": "AR steps K",
                    "spectral_radius": "spectral radius (1)",
                    "lower": "lower (nats)",
                    "clip": "clip KL (nats)",
                    "upper": "upper (nats)",
                    "theorem_b": "Theorem B (nats)",
                    "limit": "limit of clip KL (nats)",
                    "horizon": "Theorem B informative up to (AR steps)",
                },
                "Bounds and exact values at the last step.",
                "exact",
                study=study,
            )
        ],
    )


def _trade_off_section(out: Path) -> Section:
    study = "memory_against_accumulation"
    return Section(
        "trade-off",
        "What better memory costs",
        [
            "Less forgetting goes with more accumulated error for two reasons, each with its dose: "
            "finite training data, and slower forgetting of one's own errors (E5). Without either, "
            "better memory costs nothing."
        ],
        [_picture(study, out)],
    )


def _tightness_section(out: Path) -> Section:
    study = "tightness"
    return Section(
        "tightness",
        "How tight the inequalities are",
        [
            "Every inequality of the theory, hunted over random worlds for the smallest and the "
            "largest ratio of bound to exact value; the exact side is textbook conditioning."
        ],
        [_picture(study, out)],
        [
            _table(
                table_of(study, out=out),
                {
                    "label": "label (theory)",
                    "inequality": "inequality",
                    "kind": "bound or equality",
                    "tightest_ratio": "tightest (bound / exact)",
                    "loosest_ratio": "loosest (bound / exact)",
                    "worlds": "worlds (n)",
                },
                "The worlds that attain the ratios are in the table of the study.",
                "exact",
                study=study,
                folded=True,
            )
        ],
    )


def _published_section(out: Path) -> Section:
    study = "published_pareto"
    points = table_of(study, out=out)
    decay = points.drop_duplicates(["world", "memory_budget"]).copy()
    for column in ("psnr_first_db", "psnr_last_db", "psnr_decay_db"):
        decay[column] = decay[column].map(_printed)
    tables = [
        _table(
            decay,
            {
                "world": "world",
                "memory_budget": "budget (slots)",
                "psnr_first_db": "PSNR, frames 0–16 (dB)",
                "psnr_last_db": "PSNR, frames 48–64 (dB)",
                "psnr_decay_db": "decay (dB)",
                "mse_first": "MSE, first span (peak²)",
                "mse_last": "MSE, last span (peak²)",
                "mse_increase": "increase (peak²)",
            },
            "Derived from Tables 3 and 4: PSNR decay, first minus last span, with its start value "
            "and the same in mean squared error (of a frame at the mean PSNR).",
            "published",
            study=study,
        )
    ]
    for table in published.TABLES.values():
        values = published.load(table.number)
        heads = {"memory_length": "memory (frames)", "memory_budget": "budget (slots)"}
        for span in published.SPANS[table.number]:
            shown = span.removeprefix("span_").replace("_", "–")
            heads[span] = f"{shown} frames ({table.unit})"
        columns = {name: heads.get(name, name) for name in values.columns}
        tables.append(
            _table(
                values,
                columns,
                f"Table {table.number} of {published.SOURCE}: {table.quantity}, {table.world} "
                f"({table.unit}; n not published).",
                "published",
                study=study,
                text=_printed,
            )
        )
    return Section(
        "published",
        "Published numbers",
        [
            "The paper's own measurements, shown by themselves: networks that keep more memory "
            "retrieve more of what they saw, and lose PSNR faster.",
            f"Source: {published.SOURCE}, Tables 1–4. The number of videos and of training runs "
            "behind a value is not published, so none has an interval. “Budget” reads as the "
            "number of compressed memory slots.",
        ],
        [_picture("published_retrieval_against_psnr_decay", out)],
        tables,
    )


def _paper_section(out: Path) -> Section:
    study = paper_tables.STUDY.name
    table = table_of(study, out=out)
    tables = []
    heads = (
        "network",
        "the paper's frames (frames)",
        "published (unit)",
        "frames here (frames)",
        "quantity (unit)",
        "measured (unit)",
        "standard error (unit)",
        "95 % interval (unit)",
        "clips (n)",
        "seeds (n)",
        "chance (unit)",
        "steps (batches)",
    )
    inputs = manifest_of(study, out=out)["inputs"]
    missing = []
    for number, rows in table.groupby("table"):
        first = rows.iloc[0]
        waiting = _waiting(list(rows[rows["note"].notna()]["row"].unique()))
        if rows["note"].notna().all():
            missing.append(f"Of Table {number} no network is measured yet.")
            continue
        rows = rows[rows["note"].isna()]
        cells = [
            [row["row"], *(cell for cell in paper_tables.cells(row) if cell != "|")]
            for row in rows.to_dict("records")
        ]
        rule = next((r for r in rows["rule"] if isinstance(r, str) and r), "")
        rule = (
            f" Success: {rule}, the share of each clip's frames, mean over clips." if rule else ""
        )
        tables.append(
            Table(
                f"Table {number}: published for {first['published_world']} (quoted; n and seeds "
                f"not published) beside what is measured here on {first['measured_world']}, at a "
                "quarter of all lengths. 95 % over training seeds and clips, of which those of one "
                "of the 13 maps count as one; *: over clips only, "
                f"one training seed; ‡: derived from printed values.{rule}{waiting}",
                heads,
                cells,
                "measured",
                study,
                folded=True,
                runs=_runs(rows.rename(columns={"measured_world": "world", "seed": "_"}), inputs),
            )
        )
    ledger = table_of(claims.STUDY.name, out=out)
    judged = ledger.drop_duplicates(["claim", "world"]).fillna({"reason": ""})
    there = set(table.loc[table["note"].isna(), "row"])
    papers = set(table.loc[table["published_value"].notna(), "row"])
    ours = set(table["row"]) - papers
    counts = judged.drop_duplicates("claim")["overall"].value_counts()
    said = ", ".join(
        f"{counts.get(verdict, 0)} {said}"
        for verdict, said in zip(claims.VERDICTS, ("hold", "fail", "undecided"), strict=True)
    )
    return Section(
        "paper",
        "The paper's tables and claims, measured here",
        [
            f"The rows of Tables 1–4 at a quarter of their lengths: {len(papers & there)} of "
            f"{len(papers)} networks are measured, and {len(ours & there)} of {len(ours)} that "
            "only we have. Each claim of the paper is a statement with its smallest effect of "
            f"interest, n and test ({len(judged['claim'].unique())} claims: {said}), written down "
            f"before any of them was measured and revised {len(claims.REVISIONS) - 1} times since, "
            "each with its reason.",
            "Roll-outs of our networks fail in the paper's two ways. Where every view is recent, "
            "the squared error grows with the frame all the same (accumulation). On the way back "
            "over views seen before, the score falls once a view is older than what the network "
            "was given (forgetting).",
            *_reasons(judged),
            *([" ".join(missing)] if missing else []),
        ],
        [
            _picture("accumulation_and_forgetting_figure_2", out),
            _picture("retrieval_against_psnr_decay_figure_9", out),
        ],
        [
            _table(
                judged,
                {
                    "claim": "claim",
                    "statement": "statement",
                    "smallest_effect": "smallest effect of interest",
                    "world": "world",
                    "verdict": "verdict",
                    "power": "power (probability)",
                    "reason": "reason",
                },
                f"The claims ledger; level {claims.LEVEL:.1%} one-sided, looks at "
                f"{' and '.join(map(str, claims.LOOKS))} training seeds.",
                "measured",
                study=claims.STUDY.name,
                folded=True,
            ),
            *tables,
        ],
    )


CAUSES, SEEN = "What PSNR loses along a roll-out", "What a metric of short clips sees"
READING_TITLE, LONGER_TITLE = "What is read of a memory", "What a longer training changes"
PREDICTED = "Degradation predicted without rolling out"


def _right(memory: int, first: int) -> float:
    """Share of 4 frames that a network would show rightly that only ever forgets."""
    return float(causes_of_decay.lost_for_good(memory)[first : first + 4].mean())


LOOKED_INTO = {
    "less_forgetting_goes_with_more": (CAUSES,),
    "more_memory_ends_lower": (CAUSES,),
    "metric_blindness": (SEEN,),
    "more_memory_less_forgetting": (READING_TITLE, LONGER_TITLE),
    "budget_monotone": (READING_TITLE,),
    "degradation_predicted": (PREDICTED,),
}
"""How the name of a claim begins → the sections that look into why it fails, if it does."""


def _reasons(ledger: pandas.DataFrame) -> list[str]:
    """Where it is looked into why a claim of the paper fails here, if one does; or that it is not.

    >>> _reasons(pandas.DataFrame({"claim": ["error_accumulates"], "overall": ["fails"]}))
    ['No experiment looks into why error_accumulates fails here.']
    """
    failing = ledger[ledger["overall"] == "fails"]["claim"].unique()
    found: dict[tuple[str, ...], list[str]] = {}
    for claim in failing:
        places = [at for beginning, at in LOOKED_INTO.items() if claim.startswith(beginning)]
        found.setdefault(places[0] if places else (), []).append(claim)
    return [
        f"Why {said} here is looked into below, under {_quoted(sections)}."
        if sections
        else f"No experiment looks into why {said} here."
        for sections, names in found.items()
        for said in [f"{', '.join(names)} {'fail' if len(names) > 1 else 'fails'}"]
    ]


def _quoted(titles: tuple[str, ...]) -> str:
    """Titles in quotation marks, joined.

    >>> _quoted(("A", "B"))
    '“A” and “B”'
    """
    return " and ".join(f"“{title}”" for title in titles)


def _causes_section(out: Path) -> Section:
    study = causes_of_decay.STUDY.name
    table = table_of(study, out=out)
    names = {
        "psnr_decay": "PSNR decay",
        "mse_growth": "growth of the squared error",
        "new": "views never seen",
        "old": "views not seen in the last 12 frames",
    }
    shown = table[table["quantity"].isin(list(names))].copy()
    shown["quantity"] = shown["quantity"].map(names)
    return Section(
        "causes-of-decay",
        CAUSES,
        [
            "In the paper's Tables 3 and 4 what forgets less loses PSNR faster. To see what a "
            "roll-out loses to its memory, the same networks are rolled out once more on the same "
            "clips with true frames in the memory for all finished ones. The difference is what an "
            "imperfect memory costs: errors that are handed on from frame to frame, and views that "
            "are lost once and then missing for good.",
            "The two are not told apart where the memory is short or compressed: a network that "
            "copied its last 4 frames without any error would show "
            f"{100 * _right(4, 0):.0f} % of the views rightly in frames 0–4 and "
            f"{100 * _right(4, 12):.0f} % in frames 12–16. With memory 12 or 28 and no compression "
            "it would show all of them, so there the loss is one of errors handed on; the longer "
            "of the two can look back on earlier copies.",
            "Wandering paths, like those that networks are trained on, mix views that return with "
            "views that no memory can know (their shares are in the table).",
            *([] if len(table) else ["No network has been measured this way yet."]),
        ],
        [_picture("causes_of_decay", out)],
        [
            _table(
                shown,
                {
                    "world": "world",
                    "family": "family",
                    "row": "network",
                    "condition": "condition",
                    "quantity": "quantity",
                    "first": "from frame (frames)",
                    "end": "before frame (frames)",
                    "value": "value (unit)",
                    "low": "from (unit)",
                    "high": "to (unit)",
                    "unit": "unit",
                    "seeds": "training seeds (n)",
                    "clips": "clips (n)",
                    "over": "interval over",
                },
                "How much PSNR falls, and the squared error grows, from frames 0–4 to the span; a "
                "trend is the change from the smallest memory of a family to its "
                "largest.",
                "measured",
                study=study,
                folded=True,
                inputs=manifest_of(study, out=out)["inputs"],
            )
        ]
        if len(table)
        else [],
    )


def _reading_section(out: Path) -> Section:
    study = memory_reading.STUDY.name
    table = table_of(study, out=out)
    names = {"retrieval": "views retrieved", "lost_retrieval": "fewer than with nothing foreign"}
    shown = table[table["quantity"].isin(list(names))].copy()
    shown["quantity"] = shown["quantity"].map(names)
    return Section(
        "memory-reading",
        READING_TITLE,
        [
            "A network may forget a view because its memory does not hold it, because it does not "
            "read it there, or because it cannot draw it. To tell these apart, one window is "
            "generated after true frames, and then again with frames of another map in one band "
            "of the memory: 1–4, 5–12 or 13–28 frames before the window. Nothing is handed on and "
            "nothing was lost before; what a network does worse with a foreign band is what it "
            "reads there.",
            "The frames just before the window overlap with the next view, so that a network "
            "which reads these alone still draws a part of it. Foreign frames contradict the rest "
            "of the memory, which training never did: a loss says that a band is read, not that "
            "its frames help as much. This was added after two training seeds had been looked at, "
            "and bears on no verdict.",
            *_read_of_old_frames(table),
            *([] if len(table) else ["No network has been measured this way yet."]),
        ],
        [_picture(study, out)],
        [
            _table(
                shown,
                {
                    "world": "world",
                    "row": "network",
                    "views": "views asked for (frames before)",
                    "foreign": "foreign frames (frames before)",
                    "quantity": "quantity",
                    "value": "value (share)",
                    "low": "from (share)",
                    "high": "to (share)",
                    "seeds": "training seeds (n)",
                    "clips": "clips (n)",
                    "over": "interval over",
                },
                "Views retrieved after true frames, and what foreign frames take from them.",
                "measured",
                study=study,
                folded=True,
                inputs=manifest_of(study, out=out)["inputs"],
            )
        ]
        if len(table)
        else [],
    )


def _read_of_old_frames(table: pandas.DataFrame) -> list[str]:
    """For memory 12: what foreign frames 5–12 before the window take from views that stand there.

    Of rows without compression and of the smallest and largest budgets.
    """
    old = table[
        (table["quantity"] == "lost_retrieval")
        & (table["foreign"] == "5–12")
        & (table["views"] == "10–12")
        & (table["memory"] == 12)
        & table["budget"].isin([0, 2, 12])
    ]
    said = []
    for world, rows in old.groupby("world", sort=False):
        each = ", ".join(
            f"{row.row} {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
            for row in rows.itertuples()
        )
        said.append(
            f"On {world}, foreign frames 5–12 lower the share of views retrieved that stand 10–12 "
            f"frames before the window by: {each.replace('-0.', '−0.')}."
        )
    return said


def _longer_section(out: Path) -> Section:
    study = "training_length"
    table = table_of(study, out=out)
    return Section(
        "training-length",
        LONGER_TITLE,
        [
            "All rows train for about the same core-time, so that a network with a long memory, "
            "whose steps are dear, takes fewer of them. To see what that costs, some rows are "
            "trained for four times the planned steps (one training seed: intervals are over "
            "clips alone).",
            *_lengths_once_learnt(table),
            *([] if len(table) else ["None has been trained yet."]),
        ],
        [],
        [
            _table(
                table,
                {
                    "world": "world",
                    "row": "network",
                    "quantity": "quantity",
                    "steps": "planned (steps)",
                    "planned": "then (unit)",
                    "longer": "four times as long (unit)",
                    "change": "change (unit)",
                    "low": "from (unit)",
                    "high": "to (unit)",
                    "unit": "unit",
                    "seeds": "training seeds (n)",
                    "clips": "clips (n)",
                    "over": "interval over",
                },
                "The same networks after the planned steps and after four times as many.",
                "measured",
                study=study,
                inputs=manifest_of(study, out=out)["inputs"],
            )
        ]
        if len(table)
        else [],
    )


def _lengths_once_learnt(table: pandas.DataFrame) -> list[str]:
    """Retrieval and PSNR decay of `prepend` by memory, after the planned steps and after more."""
    said = []
    prepend = table[table["row"].str.startswith("prepend")]
    for world, rows in prepend.groupby("world", sort=False):
        found = rows.set_index(["quantity", "row"])
        memories = [row.removeprefix("prepend-") for row in dict.fromkeys(rows["row"])]
        if len(memories) < 2:
            continue
        each = {
            (name, when): ", ".join(f"{value:.2f}" for value in found.loc[name][when])
            for name in ("retrieval, ages 12–28", "PSNR decay to frames 12–16")
            for when in ("planned", "longer")
        }
        kept, decay = (
            f"{each[name, 'planned']}{unit} and then {each[name, 'longer']}{unit}"
            for name, unit in (
                ("retrieval, ages 12–28", ""),
                ("PSNR decay to frames 12–16", " dB"),
            )
        )
        said.append(
            f"On {world}, prepend with memory {', '.join(memories)} retrieves {kept} of the views "
            f"at ages 12–28 after the planned steps and after four times as many, and PSNR decays "
            f"by {decay} to frames 12–16."
        )
    return said


def _waiting(names: Sequence[str]) -> str:
    return f" Not measured yet: {', '.join(names)}." if len(names) else ""


def _runs(rows: pandas.DataFrame, inputs: Iterable[str]) -> list[list[str]]:
    """The measurements among `inputs` behind each row: its `world`, `row` and any `seed`.

    Or several `networks`, with commas, instead of its `row`.
    """
    names = sorted(_measurement_name(path) for path in inputs if path.endswith(".json"))
    found = []
    for row in rows.to_dict("records"):
        seed = row.get("seed")
        ends = r"\d+" if seed is None or math.isnan(seed) else str(int(seed))
        networks = "|".join(map(re.escape, row.get("networks", row["row"]).split(", ")))
        beginning = re.escape(row["world"])
        name = re.compile(f"{beginning}-({networks})-seed-{ends}(-controls)?")
        found.append([one for one in names if name.fullmatch(one)])
    return found


def _theory_section(out: Path) -> Section:
    study = "theory_against_networks"
    table = table_of(study, out=out)
    table = table[(table["law"] == "wandering") & (table["components"] == 16)]
    table = table[table["gamma"].between(1.0, 2.0)]
    exact = table[(table["source"] == "theory") & table["memory"].isin((4, 12, 28))]
    gains = pandas.concat(
        [
            exact[exact["quantity"].isin(("gain", "gain_trapezoid"))],
            table[(table["source"] == "network") & (table["quantity"] == "gain_trapezoid")],
        ]
    )
    by_quantity = exact.pivot(index=["world", "memory"], columns="quantity", values="value")
    cost = float((1.0 - by_quantity["gain_trapezoid"] / by_quantity["gain"]).abs().max())
    names = {"gain": "integral", "gain_trapezoid": "trapezoids through 8 levels"}
    return Section(
        "theory-against-networks",
        "Theory meets the networks",
        [
            "A Gaussian video is fitted to each world's frames in its first 1, 2, 4, 8 and 16 "
            "principal components, the same in which the networks' teacher-forced errors are "
            "measured, and it says what a memory of m frames is worth for the next window. Two "
            "laws are needed. The stationary one, fitted to wandering clips, is linear with "
            "coefficients that do not look at the picture: it knows that frames close in time are "
            "alike, and cannot recognise a place that comes back. The law of return clips takes "
            "frames by their number on the way out and back; it does know which frame comes back, "
            "and puts the end of every memory where retrieval cannot go on.",
            "Networks give the integrand of I-MMSE at the 8 levels of their sampler: error without "
            "memory minus error with it, in the span of the components, although they see whole "
            "frames and the motion. With memory they denoise better than the best linear "
            "denoiser of the stationary law, because they recognise places and are told the "
            "motion; at low noise each network's own error outweighs what is left to know. These "
            "differences are MB + SEE(without) − SEE(with), neither a lower nor an upper bound of "
            "MB. Bounds are: a network's error is at least the mmse, and so is the Gaussian law's.",
            f"The quadrature through 8 levels costs at most {cost:.1%} in the table (the law's own "
            "errors through the same quadrature).",
        ],
        [_picture(study, out), _picture("returns_against_theory", out)],
        [
            _table(
                gains.assign(
                    quantity=gains["quantity"].map(names), row=gains["row"].fillna("Gaussian law")
                ),
                {
                    "world": "world",
                    "source": "source",
                    "row": "network",
                    "memory": "memory (frames)",
                    "quantity": "quadrature",
                    "value": "worth of the memory (nats a window)",
                    "low": "from (nats)",
                    "high": "to (nats)",
                    "seeds": "seeds (n)",
                    "clips": "clips (n)",
                    "over": "interval over",
                },
                "What a memory is worth for the next window when it has reached γ = "
                f"{number(gains['gamma'].iloc[0])}, 16 components.",
                "measured",
                study=study,
                folded=True,
            )
        ],
    )


def _bounds_section(out: Path) -> Section:
    study = "retrieval_bounds"
    table = table_of(study, out=out)
    measured = table[table["source"] == "measured"]
    printed = table[table["source"] == "published"]
    videos = printed.groupby("span", sort=False)["smallest_compatible_n"].max()
    assumed = [25, 100]
    same = ["world", "row", "span", "published_quantity", "published_value", "published_kl_limit"]
    supposed = printed[printed["assumed_n"].isin(assumed)].pivot_table(
        index=same, columns="assumed_n", values="published_kl_bound", sort=False
    )
    supposed = supposed.rename(columns=str).reset_index()
    least = ", ".join(f"{number(n)} ({span} frames)" for span, n in videos.dropna().items())
    tables = [
        _table(
            supposed,
            {
                "world": "world",
                "row": "network",
                "span": "seen before (frames)",
                "published_quantity": "quantity",
                "published_value": "published (share)",
                "published_kl_limit": "KL at least, n without end (nats)",
                **{f"{n:.1f}": f"if n was {n} (nats)" for n in assumed},
            },
            "What the published rates would certify; their n is not published.",
            "published",
            study=study,
            folded=True,
        )
    ]
    if len(measured):
        first = _table(
            measured,
            {
                "world": "world",
                "row": "network",
                "seed": "training seed (number)",
                "span": "seen before (frames)",
                "rule": "rule",
                "measured_successes": "retrieved (clips)",
                "measured_clips": "clips (n)",
                "measured_chance": "by chance (share)",
                "measured_kl_bound": "KL at least, on these maps (nats)",
                "maps": "maps (n)",
                "measured_kl_bound_all_maps": "KL at least, over all maps (nats)",
            },
            "Lower bounds of KL(truth ‖ generated) that the measured rates certify at 95 % (M5).",
            "measured",
            study=study,
            folded=True,
            inputs=manifest_of(study, out=out)["inputs"],
        )
        tables.insert(0, first)
    return Section(
        "retrieval-bounds",
        "What retrieval rates certify",
        [
            "M5 turns measured rates into certified lower bounds of KL(truth ‖ generated). Test "
            "clips share maps by 16s: the bound from all clips is of the law on the test's maps, "
            "that over all maps comes from one clip a map. Published rates have no n, so they "
            "certify nothing; shown is what they would if n was 10 to 1000.",
            f"The shares of Table 1, as printed, need at least so many trials: {least}.",
        ],
        [_picture(study, out)],
        tables,
    )


def _structures_section(out: Path) -> Section:
    study = "network_structures"
    table = table_of(study, out=out)
    missing = table[table["missing"].notna() & (table["missing"] != "")]
    return Section(
        "structures",
        "How memory enters the network",
        [
            "Counted on the networks as they are built: parameters, tokens, and how many frames a "
            "window frame attends to. Channel concatenation projects all memory frames at once and "
            "adds the result; prepending costs no parameter but lets every block run over the "
            "memory; cross attention adds a layer to every block.",
            *(f"Not built: {row['network']} ({row['missing']})." for _, row in missing.iterrows()),
        ],
        [_picture("memory_structures_figure_5", out), _picture("compressors_figure_12", out)],
        [
            _table(
                table.drop(missing.index),
                {
                    "network": "network",
                    "parameters": "parameters (count)",
                    "memory parameters": "of the memory (count)",
                    "cross attention parameters": "of cross attention (count)",
                    "compressor_parameters": "of the compressor (count)",
                    "tokens_per_frame": "tokens a frame (tokens)",
                    "temporal_keys": "attended at a place (frames)",
                    "cross_keys": "read by cross attention (tokens)",
                },
                "The networks of Figures 5 and 12.",
                "exact",
                study=study,
                text=_counted,
                folded=True,
            )
        ]
        if len(missing) < len(table)
        else [],
    )


def _examples_section(out: Path) -> Section:
    study = "retrieval_examples"
    table = table_of(study, out=out)
    said = "No network of the tables has been trained yet."
    if len(table):
        inside = table["in_memory"].astype(bool)
        kept, beyond = (table[where]["retrieved"].astype(float) for where in (inside, ~inside))
        said = (
            f"Of the shown frames whose view was in the memory {kept.mean():.0%} count as "
            f"retrieved (n = {len(kept)}), of the others {beyond.mean():.0%} (n = {len(beyond)}): "
            "two clips a network only."
        )
    return Section(
        "retrieval-examples",
        "Views that return",
        [
            "What the numbers of Tables 1 and 2 look like. Test clips 0 and 1, the same for every "
            "network, picked by number: truth above, each network's frames below, outlined by the "
            "rule's verdict, with the score under each. The bar says how far the memory reaches: "
            "beyond it a network can only guess, whatever it was trained to do. At the left of "
            "each line the share over all clips, so that two clips are not taken for the result.",
            said,
        ],
        [
            _picture(name, out)
            for name in (
                "maze_memories_figure_6",
                "maze_budgets_figure_7",
                "maze_structures_figure_8",
                "blocks_memories_figure_10",
                "blocks_budgets_and_structures_figure_11",
            )
        ],
    )


def _pairs_section(out: Path) -> Section:
    study = "frame_pairs"
    table = table_of(study, out=out)
    missing = table[table["missing"].notna() & (table["missing"] != "")]
    drawn = table.drop(missing.index).drop_duplicates(["world", "kind"])
    tables = [
        _table(
            drawn,
            {
                "world": "world",
                "kind": "second frame",
                "rule": "rule",
                "threshold": "threshold (unit of the rule)",
                "share": "accepted (share)",
                "share_low": "from (share)",
                "share_high": "to (share)",
                "clips": "clips (n)",
            },
            "What the rule of each world accepts; from, to: 95 % over clips, of which those of one "
            "map count as one.",
            "rendered",
            study=study,
        )
    ]
    return Section(
        "frame-pairs",
        "What counts as the same view",
        [
            "The rule of a world was fixed on true frames alone. It lets blur pass, because a "
            "recalled frame is soft, and refuses views of other places; a view one step of the "
            "camera away it often takes for the same one, so retrieval here means the right place, "
            "within a step or so, not the exact pose.",
            *(f"Not drawn: {row['world']} ({row['missing']})." for _, row in missing.iterrows()),
        ],
        [_picture("frame_pairs_by_ssim_figure_13", out)],
        tables if len(drawn) else [],
    )


def _frechet_section(out: Path) -> Section:
    study = "frechet_by_span"
    table = table_of(study, out=out)
    distances = {
        "distance": "Fréchet distance (squared units)",
        "distance_low": "from (squared units)",
        "distance_high": "to (squared units)",
        "floor": "true frames (squared units)",
        "change": "minus no memory (squared units)",
        "change_low": "from (squared units)",
        "change_high": "to (squared units)",
    }
    counts = {"seeds": "training seeds (n)", "clips": "clips (n)"}
    ages = {"youngest": "youngest view (frames)", "oldest": "oldest view (frames)"}
    retrieval = {
        "retrieval": "retrieval (share)",
        "retrieval_low": "from (share)",
        "retrieval_high": "to (share)",
        "chance": "by chance (share)",
    }
    spans = {"first": "from frame (frames)", "end": "before frame (frames)"}
    kinds = {
        "return": (ages, retrieval, "Where views return, by their age."),
        "accumulation": (spans, {}, "Where every view is recent, by span of the roll-out."),
    }
    named = {"world": "world", "row": "network"}
    return Section(
        "frechet-by-span",
        SEEN,
        [
            "Fréchet distances of 4-frame clips on named features (the world's first 8 principal "
            "components in each frame), by time span: a metric like FVD, but not FVD. A clip of 4 "
            "frames holds nothing of what was seen before it, so the distance can rise as errors "
            "accumulate while it cannot know whether a view is the one that was there: compare the "
            "middle column with the right one, which are of the same frames. Where a network that "
            "forgets also draws worse frames, the two move together all the same.",
            "True frames of the same places are not at 0: 200 clips against 400 others, in 32 "
            "dimensions; the dotted line is what is left when nothing is wrong. True frames of "
            "other places would be there too, with nothing retrieved: a generator that forgot "
            "everything and drew as well as the world would not be told from a perfect one.",
            *_quality(table),
            *([] if len(table) else ["No network has been measured this way yet."]),
        ],
        [_picture("frechet_by_span_figure_1", out)],
        [
            _table(
                table[table["kind"] == kind],
                {**named, **at, **counts, **distances, **more, "over": "interval over"},
                caption,
                "measured",
                study=study,
                folded=True,
                inputs=manifest_of(study, out=out)["inputs"],
            )
            for kind, (at, more, caption) in kinds.items()
            if (table["kind"] == kind).any()
        ],
    )


def _quality(table: pandas.DataFrame) -> list[str]:
    """What the distance of a network that forgot is, beside that of one that never knew."""
    said = []
    for world, rows in table[table["kind"] == "return"].groupby("world", sort=False):
        last = rows[rows["first"] == rows["first"].max()].set_index("row")
        if not {"none", "prepend-4"} <= set(last.index):
            continue
        kinds = (
            ("prepend-4", "memory 4"),
            ("prepend-28", "memory 28"),
            ("none", "no memory"),
        )
        parts = [
            f"{_interval_of(last.loc[row], 'distance')} with {name}"
            for row, name in kinds
            if row in last.index
        ]
        floor = number(last.loc["none", "floor"])
        said.append(f"{world}: {', '.join(parts)}, {floor} for true frames")
    if not said:
        return []
    return [
        f"In the last span, with 95 % intervals, {'; '.join(said)}. A network whose memory the "
        "view has left is to be compared with the one without memory: where the two distances are "
        "alike, the metric tells a network that does not know the view from one that does by how "
        "it draws what it does not know, as true frames of another place would show nothing."
    ]


def _interval_of(row: Any, name: str) -> str:
    low, high = number(row[f"{name}_low"]), number(row[f"{name}_high"])
    return f"{number(row[name])} [{low}, {high}]"


def _trained_gaussian_section(out: Path) -> Section:
    study = "trained_gaussian"
    compared = trained_gaussian.comparisons(table_of(study, out=out))
    reach = trained_gaussian.joint_reach(len(compared), trained_gaussian.LEVEL)
    worst = compared["z"].abs().max()
    held = "all lie" if worst <= reach else "NOT all lie"
    return Section(
        "trained-gaussian",
        "Trained networks where the truth is known",
        [
            "On Gaussian worlds every term of a trained network can be held against its exact "
            "value. Two estimates that share no sample must give the same number: the score error "
            "by the loss and by the distance to the exact denoiser, and T2 minus MB and the "
            "difference of two score errors.",
            f"{len(compared)} comparisons; the largest difference is {number(worst, 3)} standard "
            f"errors, and {held} within {number(reach, 3)}, the joint "
            f"{1.0 - trained_gaussian.LEVEL:.0%} interval (Bonferroni).",
        ],
        [_picture("trained_gaussian", out)],
        [
            _table(
                compared.assign(memory=compared["memory"].replace("both", "none and all")),
                {
                    "world": "world",
                    "training_steps": "training steps (batches)",
                    "memory": "memory",
                    "one": "one",
                    "one_value": "one (nats/frame)",
                    "one_error": "its standard error (nats/frame)",
                    "other": "the other",
                    "other_value": "the other (nats/frame)",
                    "other_error": "its standard error (nats/frame)",
                    "z": "difference in standard errors (z)",
                },
                "Both sides of every comparison; standard errors over clips, one training seed.",
                "measured",
                study=study,
                folded=True,
            )
        ],
    )


def _worlds_section(out: Path) -> Section:
    table = table_of("world_sheets", out=out)
    missing = table[table["missing"].notna() & (table["missing"] != "")]
    notes = [f"Not drawn: {row['world']} ({row['missing']})." for _, row in missing.iterrows()]
    return Section(
        "worlds",
        "Worlds to remember",
        [
            "Video models forget what they no longer see. These worlds show views that return "
            "exactly, at every age, so that forgetting can be told from drawing badly.",
            *notes,
        ],
        [_picture("worlds", out)],
    )


def _trained_section(out: Path) -> Section:
    table = table_of("one_network_many_schedules", out=out)
    config = manifest_of("one_network_many_schedules", out=out)["config"]
    quantities = {
        "calls_per_frame": ("calls", "calls per frame"),
        "loss": ("loss", "loss T1 (nats/frame)"),
        "loss_difference": ("difference", f"loss − {config['against']} (nats/frame)"),
        "loss_integral": ("limit", "loss in the limit of many sub-steps (nats/frame)"),
        "start": ("start", "PSNR of the first span (dB)"),
        "psnr_decay": ("decay", "PSNR decay (dB)"),
        "mse_decay": ("growth", "growth of the MSE (MSE)"),
    }
    start = table[(table["quantity"] == "psnr") & (table["first_frame"] == 0)]
    table = pandas.concat([table, start.assign(quantity="start")])
    rows: dict[str, dict[str, str]] = {}
    for row in table[table["quantity"].isin(quantities)].to_dict("records"):
        error = row["standard_error"]
        text = number(row["value"])
        if not math.isnan(error):
            text += f" ± {number(error, 2)}"
        rows.setdefault(row["schedule"], {"schedule": row["schedule"]})[
            quantities[row["quantity"]][0]
        ] = text
    heads = {"schedule": "schedule", **dict(quantities.values())}
    frame = pandas.DataFrame(rows.values()).reindex(columns=list(heads))
    return Section(
        "trained",
        "Networks that forget",
        [
            "Small networks, trained for minutes, are told apart by what they can still see: "
            "each remembers as far as its memory reaches, and beyond it draws by chance. The "
            "exact memory bottleneck says where that happens and what it costs.",
            "One network, trained on a mixture of noise levels, serves every schedule. PSNR "
            "against the truth measures prediction, not realism; its decay is read with the value "
            "it starts from, because who starts low has little left to lose.",
        ],
        [_picture("panorama_memory", out), _picture("one_network_many_schedules", out)],
        [
            _table(
                frame,
                heads,
                f"One network under {len(frame)} schedules: mean ± standard error over "
                f"{config['clips']} clips, one training seed.",
                "measured",
                study="one_network_many_schedules",
            )
        ],
    )


def _predicted_section(out: Path) -> Section:
    study = "predicted_degradation"
    table = table_of(study, out=out)
    ranks = table[table["quantity"].astype(str).str.startswith("rank_correlation")].copy()
    ranks["ranked"] = ranks["quantity"].map(
        {
            "rank_correlation": "schedules within a span",
            "rank_correlation_over_spans": "schedules and spans together",
        }
    )
    ranks["seed"] = ranks["seed"].map(lambda seed: "all" if pandas.isna(seed) else number(seed))
    tables = [
        _table(
            ranks,
            {
                "world": "world",
                "seed": "training seed (number)",
                "prediction": "prediction",
                "ranked": "ranks of",
                "value": "rank correlation (1)",
                "low": "from (1)",
                "high": "to (1)",
                "over": "interval over",
            },
            "How well each prediction orders the measured squared errors.",
            "measured",
            study=study,
        )
    ]
    return Section(
        "predicted-degradation",
        PREDICTED,
        [
            "One network a world and training seed, trained on a mixture of levels, drives ten "
            "schedules under which every frame passes 8 levels. Two "
            "quantities that need no roll-out are held against the squared error of roll-outs, on "
            "clips of their own: Theorem C's loss (T1), and the squared error of one pass through "
            "the window with true frames in the memory, summed over the copies of the content. "
            "Theorem C splits a divergence between laws, not a squared error: that its loss orders "
            "squared errors is a claim of the ledger, which may fail; the second prediction is "
            "ours, planned as secondary before any such network was measured.",
            "Ranks are taken among the schedules of one network in one span: over spans every "
            "accumulated quantity rises with the error, whatever it is. Schedules under which "
            "forgetting dominates (one pass errs by more than half of chance) are left out; at "
            "least 8 must be left. Three training seeds a world limit what can be said: a cluster "
            "bootstrap of three finds three of three right one time in eight where there is "
            "nothing, so Student's t over seeds joins it, and p-values and intervals are the wider "
            "of the two.",
            *([] if len(ranks) else ["No network has been measured this way yet."]),
            *_order_or_levels(out),
        ],
        [_picture(study, out), _picture(order_or_levels.STUDY.name, out)],
        [*(tables if len(ranks) else []), *_levels_tables(out)],
    )


def _order_or_levels(out: Path) -> list[str]:
    """What the control with ladders on the levels of a chunk was made for."""
    table = table_of(order_or_levels.STUDY.name, out=out)
    planned = table[(table["quantity"] == "last_gamma") & (table["levels"] == "planned")]
    seen = planned.groupby("schedule", sort=False)["value"].first()
    shown = [
        "The schedules differ in order and shape (which frames are denoised together, window, "
        "stride), and in where the 8 levels lie. The rungs of a ladder are equidistant in OU time, "
        "so that most of its levels are noisy ones. A long last jump makes the loss large; an "
        "estimate from a noisy frame is close in squared error, as a mean over all that fits is, "
        "and poor in detail. In a control the same networks are measured with the ladders' rungs "
        "on the levels of a chunk: order and shape still differ, the levels do not. What changes "
        "is the work of all the levels, not of the last alone, and of how familiar they are: "
        "training had the planned ladders of window 8 among its draws, and not the moved ones. The "
        "control was added after the first networks had been looked at, and bears on no verdict; "
        "what it leaves of either prediction is in the table.",
    ]
    if len(seen):
        shown.append(
            "As planned, a frame is last seen at signal-to-noise ratios from "
            f"{number(seen.min())} ({seen.idxmin()}) to {number(seen.max())} (chunks)."
        )
    return [*shown, *([] if len(seen) else ["It has not been measured yet."])]


def _levels_tables(out: Path) -> list[Table]:
    study, draws = order_or_levels.STUDY.name, SETTINGS["loss_draws"]
    table = table_of(study, out=out)
    if table.empty:
        return []
    ranks = table[table["quantity"] == "rank_correlation"].copy()
    ranks["seed"] = ranks["seed"].map(lambda seed: "all" if pandas.isna(seed) else number(seed))
    ranks["prediction"] = ranks["prediction"].map({"loss": "loss (T1)", "one_pass": "one pass"})
    of_schedules = order_or_levels.each_once(table)
    wide = of_schedules.pivot_table(
        index=["world", "schedule"], columns="quantity", values="value", aggfunc="mean", sort=False
    ).reset_index()
    wide["seeds"] = of_schedules.groupby("world")["seed"].nunique()[wide["world"]].to_numpy()
    return [
        _table(
            ranks,
            {
                "world": "world",
                "levels": "levels of ladders",
                "seed": "training seed (number)",
                "prediction": "prediction",
                "value": "rank correlation (1)",
                "low": "from (1)",
                "high": "to (1)",
                "over": "interval over",
            },
            f"The same predictions with ladders as planned (loss from {draws} drawn levels a clip) "
            "and on the levels of a chunk (loss at all levels). Where an interval is over clips "
            "only, it says nothing of other networks.",
            "measured",
            study=study,
        ),
        _table(
            wide,
            {
                "world": "world",
                "schedule": "schedule",
                "last_gamma": "last seen at γ (1)",
                "loss": "loss (nats/frame)",
                "one_pass": "error of one pass (of the peak²)",
                "error": "error of the last span (of the peak²)",
                "detail": "detail (share of true frames)",
                "seeds": "training seeds (count)",
            },
            "Schedules as planned, and ladders on the levels of a chunk; means over seeds and "
            f"clips. Loss of planned ladders: from {draws} drawn levels a clip, else from all.",
            "measured",
            study=study,
            folded=True,
        ),
    ]


def _clip_section(out: Path) -> Section:
    study = "clip_memory"
    path = file_of(study, clip_memory.SUMMARY, out=out)
    summary = json.loads(path.read_text(encoding="utf-8"))
    explained = sum(summary["explained_variance"])
    held = [str(share) for share in SHARES]
    rows = []
    for law in summary["memory"]:
        windows = [_interval(law["window_for"][share]) for share in held]
        spread = "no band"
        if law["lower"] is not None and law["upper"] is not None:
            spread = f"{number(law['lower'][0])} to {number(law['upper'][0])}"
        rows.append(
            [
                LAWS.get(law["family"], law["family"]),
                f"{number(law['total'])} ({spread})",
                number(law["total"] / math.log(2.0)),
                *windows,
            ]
        )
    gain = summary["held_out_gain"]
    best = max(range(len(gain["gain"])), key=lambda i: gain["gain"][i])
    rows.append(
        [
            f"held-out prediction, no law (n = {gain['targets']} frames)",
            f"{number(gain['gain'][best])} ± {number(gain['standard_error'][best], 2)}",
            number(gain["gain"][best] / math.log(2.0)),
            *(number(gain["window_for"][share]) for share in held),
        ]
    )
    losses = pandas.read_csv(file_of(study, clip_memory.SCHEDULES, out=out))
    law = summary["candidates"][0]["family"]
    paragraphs = [
        f"{summary['source']}: {summary['frames']} frames, {summary['distinct_frames']} of them "
        f"different, {summary['components']} principal components with {explained:.0%} of the "
        f"variance. The law that predicts held-out frames best: {LAWS.get(law, law)}."
    ]
    if summary["hint"]:
        paragraphs.append(summary["hint"])
    return Section(
        "clip",
        "A recorded clip",
        paragraphs,
        [_picture("memory_of_the_shipped_clip", out)],
        [
            Table(
                "What the past tells about a frame, and how many frames hold a share of it; in "
                "brackets the 5th to 95th percentile of block-bootstrap refits (held-out "
                "prediction: ± one block standard error). Clean frames.",
                [
                    "law",
                    "past (nats/frame)",
                    "past (bits/frame)",
                    *(f"{share:.0%} within r (frames)" for share in SHARES),
                ],
                rows,
                "measured",
                study,
            ),
            _table(
                losses[losses["law"] == law],
                {
                    "schedule": "schedule",
                    "window": "w (frames)",
                    "stride": "Δ (frames)",
                    "reference": "r (frames)",
                    "substeps": "sub-steps M",
                    "network_calls_per_frame": "calls per frame",
                    "nie_nats_per_frame": "NIE (nats/frame)",
                    "de_nats_per_frame": "DE (nats/frame)",
                    "mb_nats_per_frame": "MB (nats/frame)",
                    "chain_nats_per_frame": "chain KL (nats/frame)",
                    "output_nats_per_frame": "output KL (nats/frame)",
                },
                "What named schedules would lose on the law that predicts best, exact denoiser, at "
                f"{number(losses['frame_evaluations_per_frame'].iloc[0])} frame-evaluations per "
                "output frame: exact numbers of a fitted, so measured, law.",
                "measured",
                study=study,
            ),
        ],
        [("The whole analysis of this clip, on a page of its own", CLIP_PAGE)],
    )


def _interval(values: Sequence[int | None]) -> str:
    """Smallest window with its bootstrap interval; a dash for longer than was looked at."""
    value, low, high = (number(v) for v in values)
    return f"{value} ({low} to {high})"


PARTS: dict[str, tuple[Callable[[Path], Section], ...]] = {
    "Schedules": (
        _schedules_section,
        _decomposition_section,
        _ladder_section,
        _equal_cost_section,
        _designed_section,
        _long_section,
    ),
    "Memory": (_memory_section, _persistence_section, _memory_bounds_section),
    "Error accumulation": (
        _theorem_b_section,
        _two_sided_section,
        _trade_off_section,
        _tightness_section,
    ),
    "The paper's networks": (
        _published_section,
        _paper_section,
        _causes_section,
        _reading_section,
        _longer_section,
        _theory_section,
        _bounds_section,
        _frechet_section,
        _structures_section,
        _examples_section,
        _pairs_section,
    ),
    "Footage and trained networks": (
        _clip_section,
        _trained_gaussian_section,
        _worlds_section,
        _trained_section,
        _predicted_section,
    ),
}
"""Heading of the contents → sections below it, in reading order."""

_NUMBERED = re.compile(r"_figures?_(\d+)(?:_to_(\d+))?$")


def paper_figures(names: Iterable[str]) -> list[tuple[int, str]]:
    """Number of a figure of the paper and name of the figure here that mirrors it, by number.

    >>> paper_figures(["ladder", "named_schedules_figure_3"])
    [(3, 'named_schedules_figure_3')]
    """
    found = [(name, match) for name in names if (match := _NUMBERED.search(name))]
    return sorted(
        (number, name)
        for name, match in found
        for number in range(int(match[1]), int(match[2] or match[1]) + 1)
    )


# --- the manifests --------------------------------------------------------------------------------


def _manifests(studies: Iterable[str], out: Path) -> tuple[list[Manifest], list[Manifest]]:
    """Of the studies, and of the measurements that they read."""
    made, measured = [], {}
    for name in studies:
        manifest = manifest_of(name, out=out)
        for path in manifest["inputs"]:
            if path.endswith(".json") and path not in measured:
                measured[path] = _measurement(path)
        links = [
            (path, digest, measured[path].anchor if path in measured else "")
            for path, digest in manifest["inputs"].items()
        ]
        made.append(
            Manifest(
                f"manifest-{name}",
                name,
                manifest["question"],
                f"key {manifest['key']}, sha256 {manifest['csv_sha256'][:16]}",
                _facts(manifest),
                links,
                json.dumps(manifest, indent=1, ensure_ascii=False),
            )
        )
    return made, list(measured.values())


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    state = manifest["git"]
    commit = state["commit"] or "not under version control"
    if state["changed_files"]:
        commit += ", with changes"
    seeds = ", ".join(_seeds(manifest["config"])) or "none: nothing is drawn at random"
    return [
        ("table", f"out/data/{manifest['study']}.csv, {manifest['rows']} rows"),
        ("sha256 of the table", manifest["csv_sha256"]),
        ("revision and key", f"{manifest['revision']}, {manifest['key']}"),
        ("seeds", seeds if not manifest["inputs"] else f"{seeds}; and those of its inputs"),
        ("commit", commit),
        ("versions", ", ".join(f"{k} {v}" for k, v in manifest["versions"].items())),
        ("made", f"{manifest['finished']}, in {manifest['wall_time_seconds']} s"),
    ]


def _measurement_name(path: str) -> str:
    """Of a measured result, by its manifest's place."""
    file = Path(path)
    if file.stem == "manifest":
        return file.parent.name
    part = file.parent.name
    return f"{file.stem}-{part}" if part in plan.PARTS[1:] else file.stem


def _measurement(path: str) -> Manifest:
    """Of a measured result that the repository keeps."""
    text = (ROOT / path).read_text(encoding="utf-8")
    manifest = json.loads(text)
    name = _measurement_name(path)
    versions = manifest.get("versions", {})
    digests = manifest.get("sha256", {})
    digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()[:16]
    facts = [
        ("file", path),
        ("seeds", ", ".join(_seeds(manifest))),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
    ]
    if isinstance(digests, Mapping):
        facts += [(f"sha256 of {key}", str(value)) for key, value in digests.items()]
    for key in ("steps", "training_seconds", "wall_time_seconds"):
        if manifest.get(key) is not None:
            facts.append((key.replace("_", " "), str(manifest[key])))
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    known = [fact for fact in facts if fact[1]]
    return Manifest(f"run-{name}", name, "", f"sha256 {digest}", known, (), text)


def _seeds(config: Any, at: str = "") -> Iterator[str]:
    """Every seed of a configuration with where it stands, `training.seed 0`."""
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(config, Mapping):
        pairs = config.items()
    elif isinstance(config, list):
        pairs = enumerate(config)
    for key, value in pairs:
        place = f"{at}.{key}" if at else str(key)
        if re.search(r"seeds?$", str(key)) and not isinstance(value, Mapping):
            yield f"{place} {value}"
        else:
            yield from _seeds(value, place)


# --- the page -------------------------------------------------------------------------------------


def _part(section: Section) -> str:
    return section.part


def render(parts: Sequence[Section], out: Path) -> str:
    """The page of these sections as one self-contained HTML text."""
    pictures = [picture for section in parts for picture in section.pictures]
    files = [path for picture in pictures for path in (picture.light, picture.dark)]
    uris = dict(zip(files, sweep("pictures", _data_uri, files), strict=True))
    run = [name for name in STUDIES if (out / "data" / f"{name}.json").exists()]
    manifests, measurements = _manifests(run, out)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "exact": _exact,
        "groupby_part": lambda found: [list(g) for _, g in itertools.groupby(found, _part)],
        "breakable": lambda text: markupsafe.escape(text).replace("_", markupsafe.Markup("_<wbr>")),
        "inert": lambda text: text.replace("<", "\\u003c"),
    }
    titles = {picture.name: picture.title for picture in pictures}
    return environment.get_template("page.html.j2").render(
        sections=parts,
        kinds=KINDS,
        uris=uris,
        paper_figures=[(n, name, titles[name]) for n, name in paper_figures(titles)],
        manifests=manifests,
        measurements=measurements,
        uses={name: [section for section in parts if name in section.studies] for name in run},
        drawing=controls.drawing,
        size=(controls.WIDTH, controls.HEIGHT),
        version=arvdm_theory.__version__,
    )
