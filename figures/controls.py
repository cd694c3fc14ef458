"""Controls of the report: what a reader may set, and every number and picture that this changes.

All settings are rows of the study `knobs`; the page holds them as JSON, draws the one that is
chosen, and says how the library gives the same numbers. `drawing` draws the setting that the page
begins with, so that it also reads without a script; `page.js` has the same function.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas

from analysis import knobs
from analysis.cases import back_and_forth
from analysis.study import manifest_of, table_of

__all__ = ["Chart", "Choice", "Knob", "Option", "Panel", "Quantity", "drawing", "knobs_of"]

TERM_NAMES = {
    "nie": "noise initialisation (NIE)",
    "see": "score estimation (SEE)",
    "de": "discretisation (DE)",
    "mb": "memory bottleneck (MB)",
}
WIDTH, HEIGHT = 460.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 18.0, 10.0, 42.0
"""Of a drawing and of its margins."""
LOW = 1e-6
"""Nats: where a logarithmic axis begins; less is not drawn (the numbers are in the table)."""


@dataclass(frozen=True)
class Option:
    """One setting of a choice: how it is called, and what it puts into the Python lines."""

    text: str
    code: Mapping[str, str]


@dataclass(frozen=True)
class Choice:
    """What can be set; `slider` where the options are in order, else a list."""

    name: str
    label: str
    options: Sequence[Option]
    start: int
    slider: bool = False


@dataclass(frozen=True)
class Quantity:
    """A number that is shown, with its unit and the expression that gives it."""

    label: str
    unit: str
    code: str


@dataclass(frozen=True)
class Series:
    """Name in the legend; colour, a class of the style sheet; `bar` (stacked), `line` or `dash`."""

    name: str
    colour: str
    kind: str


@dataclass(frozen=True)
class Chart:
    """Values of every series at the same points.

    `texts` say where the points lie, `ticks` which of them are labelled; `grid`: labelled values.
    y runs from 0 to `top`, or, if there is a `low`, on a logarithmic scale from there.
    """

    texts: Sequence[str]
    ticks: Sequence[int]
    low: float | None
    top: float
    grid: Sequence[tuple[float, str]]
    values: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Panel:
    """A picture: one chart for every setting of the choices it `depends` on.

    `marked`: the choice whose setting is a point of the chart, if one is.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    depends: Sequence[int]
    charts: Mapping[str, Chart]
    marked: int | None = None


@dataclass(frozen=True)
class Knob:
    """One control; `numbers`: setting → (value, bound on its rounding) of every quantity.

    A setting is the indices of the chosen options, joined by points.
    """

    name: str
    title: str
    text: str
    choices: Sequence[Choice]
    quantities: Sequence[Quantity]
    numbers: Mapping[str, Sequence[tuple[float | None, float | None]]]
    panels: Sequence[Panel]
    code: str
    study: str = knobs.STUDY.name

    @property
    def start(self) -> tuple[int, ...]:
        """The setting that the page begins with."""
        return tuple(choice.start for choice in self.choices)

    def settings(self) -> Iterator[tuple[int, ...]]:
        """All of them."""
        return itertools.product(*(range(len(choice.options)) for choice in self.choices))

    def said(self, setting: Sequence[int]) -> str:
        """The setting in words."""
        chosen = zip(self.choices, setting, strict=True)
        return ", ".join(f"{choice.label} {choice.options[i].text}" for choice, i in chosen)

    def lines(self, setting: Sequence[int], text: str | None = None) -> str:
        """The Python lines (or the expression `text`) of that setting."""
        filled = self.code if text is None else text
        names: dict[str, str] = {}
        for choice, i in zip(self.choices, setting, strict=True):
            names |= choice.options[i].code
        while "«" in filled:
            name = filled[filled.index("«") + 1 : filled.index("»")]
            filled = filled.replace(f"«{name}»", names[name])
        return filled

    def shown(self, setting: Sequence[int]) -> list[tuple[Quantity, float | None, float | None]]:
        """Every quantity with its value and the bound on its rounding."""
        values = self.numbers[key(setting)]
        return [(q, *pair) for q, pair in zip(self.quantities, values, strict=True)]

    def drawn(self, setting: Sequence[int]) -> list[tuple[Panel, Chart, int | None]]:
        """Every panel with its chart and the marked point."""
        return [
            (
                panel,
                panel.charts[key([setting[i] for i in panel.depends])],
                None if panel.marked is None else setting[panel.marked],
            )
            for panel in self.panels
        ]

    def drawn_numbers(
        self, setting: Sequence[int]
    ) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
        """The numbers behind the pictures as a table: headings, and text and values of each row."""
        drawn = self.drawn(setting)
        first = drawn[0][1]
        heads = [drawn[0][0].x]
        heads += [f"{series.name}, {panel.y}" for panel, _, _ in drawn for series in panel.series]
        columns = [values for _, chart, _ in drawn for values in chart.values]
        rows = [(text, [values[i] for values in columns]) for i, text in enumerate(first.texts)]
        return heads, rows

    def to_json(self) -> str:
        """What the page's script reads."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def key(setting: Sequence[int]) -> str:
    """A setting as text, `0.3.1`."""
    return ".".join(map(str, setting))


def knobs_of(out: Path) -> dict[str, Knob]:
    """Name → control, from the study's table under `out`."""
    config = manifest_of(knobs.STUDY.name, out=out)["config"]
    table = table_of(knobs.STUDY.name, out=out)
    parts = {str(part): rows for part, rows in table.groupby("part", sort=False)}
    built = (
        _schedule(config["schedule"], parts),
        _memory(config["memory"], parts),
        _persistence(config["persistence"], parts),
    )
    return {knob.name: knob for knob in built}


# --- the three of them ----------------------------------------------------------------------------


def _schedule(config: Mapping[str, Any], parts: Mapping[str, pandas.DataFrame]) -> Knob:
    levels = {**config["levels"], "substeps": "«substeps»"}
    choices = (
        _choice("video", "video", config["videos"], _video),
        _choice(
            "method",
            "method",
            config["methods"],
            lambda entry: {
                "schedule": _plain({**entry["schedule"], **levels}),
                "reference": str(entry["reference"]),
            },
        ),
        _choice(
            "denoiser",
            "denoiser",
            config["denoisers"],
            lambda entry: {"generator": _plain({**entry, "reference": "«reference»"})},
        ),
        _numbers("substeps", "sub-steps M", config["substeps"], start=8),
    )
    order = ["video", "method", "denoiser", "substeps"]
    totals = {k: rows.iloc[0] for k, rows in _by_setting(parts["roll-out"], order, choices)}
    steps = dict(_by_setting(parts["step"], order, choices))
    quantities = [
        Quantity("output KL", "nats", "result.output"),
        Quantity("≤ chain KL", "nats", "result.chain"),
        Quantity("≤ explicit constants", "nats", "result.bound"),
        *(Quantity(name, "nats", f"result.{term}") for term, name in TERM_NAMES.items()),
        Quantity("AR steps K", "", "result.roll_out.steps"),
        Quantity("cost", "frame-evaluations per frame", "schedule.cost(«reference»)"),
        Quantity("network calls", "calls per frame", "schedule.calls_per_frame()"),
    ]
    names = ("output", "chain", "bound", *TERM_NAMES)
    numbers = {
        k: [
            *(_pair(row, name) for name in names),
            *((_value(row[name]), None) for name in ("step", "cost", "calls_per_frame")),
        ]
        for k, row in totals.items()
    }
    terms = Panel(
        "The terms of Theorem A at each AR step",
        "AR step k",
        "nats",
        [Series(name, term, "bar") for term, name in TERM_NAMES.items()],
        (0, 1, 2, 3),
        {
            k: _chart(rows["step"], [rows[term] for term in TERM_NAMES], stacked=True)
            for k, rows in steps.items()
        },
    )
    summed = {
        k: _chart(
            rows["step"],
            [rows[list(TERM_NAMES)].sum(axis=1).cumsum(), rows["output"].cumsum()],
        )
        for k, rows in steps.items()
    }
    ladder = Panel(
        "Summed over the AR steps so far",
        "AR step k",
        "nats",
        [Series("chain KL", "ink", "line"), Series("output KL", "output", "dash")],
        (0, 1, 2, 3),
        summed,
    )
    return Knob(
        "schedule",
        "Choose a method",
        f"Decomposition, ladder and cost of every named method over the first {config['frames']} "
        "frames, of which w − Δ are handed over exactly. Fewer sub-steps cost less and discretise "
        "more; what memory loses stays.",
        choices,
        quantities,
        numbers,
        (terms, ladder),
        "from arvdm_theory import GaussianVideo, Generator, Schedule, decompose\n\n"
        "video = GaussianVideo.from_json(«video»)\n"
        "schedule = Schedule.from_json(«schedule»)\n"
        "generator = Generator.from_json(«generator»)\n"
        f"result = decompose(video, schedule, generator, frames={config['frames']})",
    )


def _memory(config: Mapping[str, Any], parts: Mapping[str, pandas.DataFrame]) -> Knob:
    lengths = list(range(config["longest"] + 1))
    choices = (
        _choice("video", "video", config["videos"], _video, start="ARFIMA"),
        _numbers("reference", "memory length r (frames)", lengths, start=4),
        _numbers("needles", "needles n", config["needles"], start=16, slider=False),
    )
    by_video = dict(_by_setting(parts["window"], ["video"], choices))
    numbers = {}
    for setting in itertools.product(*(range(len(choice.options)) for choice in choices)):
        row = by_video[key(setting[:1])].iloc[setting[1]]
        success = f"success_{config['needles'][setting[2]]}"
        numbers[key(setting)] = [_pair(row, name) for name in ("mb", "kept", success)]
    forgotten = Panel(
        "Forgotten: what older frames would have told",
        "memory length r (frames)",
        "nats per frame",
        [Series("memory bottleneck MB", "mb", "line")],
        [0],
        {k: _chart(rows["reference"], [rows["mb"]], low=LOW) for k, rows in by_video.items()},
        marked=1,
    )
    success_of = {
        key((int(k), i)): _chart(
            rows["reference"],
            [rows[f"success_{n}"], pandas.Series([1.0 / n] * len(rows))],
            top=1.0,
        )
        for k, rows in by_video.items()
        for i, n in enumerate(config["needles"])
    }
    retrieval = Panel(
        "Retrieval: the largest success that is possible",
        "memory length r (frames)",
        "success rate",
        [Series("no generator with this memory is above", "output", "line")]
        + [Series("chance, 1/n", "grey", "dash")],
        [0, 2],
        success_of,
        marked=1,
    )
    return Knob(
        "memory",
        "Choose a length of memory",
        "A generator that sees the last r frames, whatever its network, forgets MB about the next "
        "(R5), and if that frame shows one of n equally likely needles, names it no more often "
        "than the bound says (M5: the binary KL of success and chance is at most what the last "
        f"r frames tell). Frames at level δ = {config['level']:g}, the past "
        f"{config['horizon']} frames long.",
        choices,
        (
            Quantity("memory bottleneck MB", "nats per frame", "windows.values[1]"),
            Quantity("kept by the memory", "nats per frame", "windows.total - windows.values[1]"),
            Quantity(
                "retrieval at most",
                "success rate",
                "needle_success(windows.total - windows.values[1], «needles»).value",
            ),
        ),
        numbers,
        (forgotten, retrieval),
        "from arvdm_theory import GaussianVideo, window_memory_bottleneck\n"
        "from arvdm_theory.memory import needle_success\n\n"
        "video = GaussianVideo.from_json(«video»)\n"
        "lengths = [0, «reference»]\n"
        "windows = window_memory_bottleneck("
        f"video, lengths, level={config['level']!r}, horizon={config['horizon']})",
    )


def _persistence(config: Mapping[str, Any], parts: Mapping[str, pandas.DataFrame]) -> Knob:
    levels = {"t_max": config["t_max"], "t_min": "«level»", "substeps": config["substeps"]}
    choices = (
        _numbers("rho", "persistence ρ", config["coefficients"], start=0.9),
        _numbers("level", "clean level δ", config["levels"], start=0.02, slider=False),
        _choice(
            "method",
            "method",
            config["methods"],
            lambda entry: {
                "schedule": _plain({**entry["schedule"], **levels}),
                "reference": str(entry["reference"]),
            },
        ),
    )
    windows = dict(_by_setting(parts["persistence"], ["level"], choices))
    rates = dict(_by_setting(parts["rate"], ["level", "method"], choices))
    share, references = config["share"], config["references"]
    names = ("output", "chain", *TERM_NAMES)
    numbers = {}
    for setting in itertools.product(*(range(len(choice.options)) for choice in choices)):
        rho = config["coefficients"][setting[0]]
        window = windows[key(setting[1:2])].set_index("rho").loc[rho]
        rate = rates[key(setting[1:])].set_index("rho").loc[rho]
        numbers[key(setting)] = [
            *(_pair(window, f"mb_{r}") for r in references),
            (_value(window["window_needed"]), None),
            *(_pair(rate, name) for name in names),
        ]
    labels = {0: "MB without memory"}
    colours = ("ink", "mb", "output", "see", "grey")
    texts = [f"{rho:g}" for rho in config["coefficients"]]
    forgotten = Panel(
        "Forgotten by a memory of r frames",
        "persistence ρ (not to scale)",
        "nats per frame",
        [
            Series(f"r = {r}", colour, "line" if i % 2 == 0 else "dash")
            for i, (r, colour) in enumerate(zip(references, itertools.cycle(colours), strict=False))
        ],
        [1],
        {
            k: _chart(texts, [rows[f"mb_{r}"] for r in references], low=LOW, every=2)
            for k, rows in windows.items()
        },
        marked=0,
    )
    terms = Panel(
        "The terms of Theorem A in the long run",
        "persistence ρ (not to scale)",
        "nats per frame",
        [Series(name, term, "bar") for term, name in TERM_NAMES.items()],
        [1, 2],
        {
            k: _chart(texts, [rows[term] for term in TERM_NAMES], every=2, stacked=True)
            for k, rows in rates.items()
        },
        marked=0,
    )
    return Knob(
        "persistence",
        "Choose a persistence",
        "An AR(1) of variance 1 whose frames correlate by ρ. Without noise one frame is all the "
        "memory it needs; at a level δ > 0 the last frames are seen through noise, and the more "
        "persistent the video, the more of them are worth having.",
        choices,
        (
            *(
                Quantity(
                    labels.get(r, f"MB of the last {r} frame{'s' * (r > 1)}"),
                    "nats per frame",
                    f"windows.values[{r}]",
                )
                for r in references
            ),
            Quantity(f"window that holds {share:.0%}", "frames", f"windows.window_for({share!r})"),
            Quantity("output KL", "nats per frame", "rate.output"),
            Quantity("≤ chain KL", "nats per frame", "rate.chain"),
            *(Quantity(n, "nats per frame", f"rate.{term}") for term, n in TERM_NAMES.items()),
        ),
        numbers,
        (forgotten, terms),
        "from arvdm_theory import Autoregressive, Generator, Schedule, window_memory_bottleneck\n"
        "from arvdm_theory.rates import rates\n\n"
        "video = Autoregressive([«rho»], 1.0 - «rho»**2)\n"
        f"lengths = range({config['longest'] + 1})\n"
        "windows = window_memory_bottleneck(video, lengths, level=«level»)\n"
        "schedule = Schedule.from_json(«schedule»)\n"
        "rate = rates(video, schedule, Generator(reference=«reference»))",
    )


# --- their parts ----------------------------------------------------------------------------------


def _choice(
    name: str,
    label: str,
    entries: Mapping[str, Any],
    code: Callable[[Any], Mapping[str, str]],
    start: str | None = None,
) -> Choice:
    texts = list(entries)
    options = [Option(text, code(entry)) for text, entry in entries.items()]
    return Choice(name, label, options, texts.index(start) if start in texts else 0)


def _numbers(
    name: str, label: str, values: Sequence[float], *, start: float, slider: bool = True
) -> Choice:
    options = [Option(f"{value:g}", {name: repr(value)}) for value in values]
    chosen = list(values).index(start) if start in values else len(values) - 1
    return Choice(name, label, options, chosen, slider)


def _video(specification: Mapping[str, Any]) -> dict[str, str]:
    """The specification as Python; a camera path to and fro is written as one."""
    positions = specification.get("positions")
    if positions is None:
        return {"video": _plain(specification)}
    turn = max(positions)
    assert positions == back_and_forth(turn, len(positions))
    path = f"[{turn} - abs({turn} - k % {2 * turn}) for k in range({len(positions)})]"
    return {"video": _plain({**specification, "positions": "@"}).replace('"@"', path)}


def _plain(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    assert not any(word in text for word in ("true", "false", "null"))  # so it is Python too
    return text.replace('"«', "«").replace('»"', "»")


def _by_setting(
    rows: pandas.DataFrame, names: Sequence[str], choices: Sequence[Choice]
) -> Iterator[tuple[str, pandas.DataFrame]]:
    """Setting of the choices `names` → its rows, in the order of the table."""
    index = {
        choice.name: {option.text: i for i, option in enumerate(choice.options)}
        for choice in choices
    }
    for values, part in rows.groupby(list(names), sort=False):
        texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
        yield key([index[name][text] for name, text in zip(names, texts, strict=True)]), part


def _chart(
    at: Sequence[Any] | pandas.Series,
    columns: Sequence[pandas.Series],
    *,
    low: float | None = None,
    top: float | None = None,
    every: int | None = None,
    stacked: bool = False,
) -> Chart:
    texts = [text if isinstance(text, str) else f"{text:g}" for text in at]
    values = [[_value(value, 6) for value in column] for column in columns]
    if top is None:
        points = [[value or 0.0 for value in point] for point in zip(*values, strict=True)]
        top = 1.05 * max(sum(point) if stacked else max(point) for point in points) or 1.0
    if low is not None:
        top = max(1.5 * top, 100.0 * low)
    spacing = every or _whole_step(len(texts) - 1)
    first = 0 if every or texts[0] == "0" else spacing - 1
    ticks = list(range(first, len(texts), spacing))
    grid = _powers(low, top) if low else _round_numbers(top)
    return Chart(texts, ticks, low, _short(top), grid, values)


def _powers(low: float, top: float) -> list[tuple[float, str]]:
    """Powers of ten from `low`, a power of ten, to `top`."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    first, last = round(math.log10(low)), math.floor(math.log10(top))
    return [(10.0**n, "10" + str(n).translate(raised)) for n in range(first, last + 1)]


def _round_numbers(top: float) -> list[tuple[float, str]]:
    """At most five from 0 to `top`."""
    step = 10.0 ** math.floor(math.log10(top / 4.0))
    step *= next(factor for factor in (1, 2, 5, 10) if top / (factor * step) < 5.0)
    values = [_short(i * step) for i in range(math.floor(top / step * (1.0 + 1e-9)) + 1)]
    return [(value, f"{value:g}") for value in values]


def _whole_step(length: int) -> int:
    """Between labelled points, so that there are about eight."""
    return next(step for step in (1, 2, 4, 8, 16, 32, 64) if length / step <= 12)


def _value(value: Any, digits: int = 12) -> float | None:
    """Rounded to `digits` significant ones; `None` for what does not exist."""
    return None if value is None or math.isnan(value) else _short(value, digits)


def _pair(row: Any, name: str) -> tuple[float | None, float | None]:
    """The value of a column and the bound on its rounding."""
    return _value(row[name]), _value(row[f"{name}_error_bound"], 3)


def _short(value: float, digits: int = 6) -> float:
    return float(f"{value:.{digits}g}")


# --- drawing --------------------------------------------------------------------------------------


def drawing(panel: Panel, chart: Chart, mark: int | None) -> str:
    """The inside of an SVG of `WIDTH` × `HEIGHT`; `drawing` in `page.js` is the same."""
    count = len(chart.texts)
    bars = any(series.kind == "bar" for series in panel.series)
    pad = 0.5 if bars else 0.0
    span = max(count - 1 + 2 * pad, 1.0)
    floor = HEIGHT - BOTTOM

    def across(i: float) -> float:
        return LEFT + (i + pad) / span * (WIDTH - LEFT - RIGHT)

    def high(value: float) -> float:
        share = value / chart.top
        if chart.low is not None:
            share = math.log(value / chart.low) / math.log(chart.top / chart.low)
        return share * (floor - TOP)

    def up(value: float) -> float:
        return floor - high(value)

    def known(values: Sequence[float | None]) -> list[tuple[int, float]]:
        pairs = [(i, value) for i, value in enumerate(values) if value is not None]
        return [(i, value) for i, value in pairs if chart.low is None or value >= chart.low]

    out = []
    for value, text in chart.grid:
        y = f"{up(value):.1f}"
        out.append(f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y}" y2="{y}"/>')
        below = f"{up(value) + 3.5:.1f}"
        out.append(f'<text class="end" x="{LEFT - 5:g}" y="{below}">{text}</text>')
    for i in chart.ticks:
        out.append(
            f'<text class="middle" x="{across(i):.1f}" y="{floor + 14:g}">{chart.texts[i]}</text>'
        )
    stacked = [0.0] * count
    for series, values in zip(panel.series, chart.values, strict=True):
        if series.kind == "bar":
            half = 0.4 / span * (WIDTH - LEFT - RIGHT)
            for i, value in known(values):
                out.append(
                    f'<rect class="{series.colour}" x="{across(i) - half:.1f}" '
                    f'y="{up(stacked[i] + value):.1f}" width="{2 * half:.1f}" '
                    f'height="{high(value):.1f}"/>'
                )
                stacked[i] += value
            continue
        points = " ".join(f"{across(i):.1f},{up(value):.1f}" for i, value in known(values))
        out.append(f'<polyline class="{series.colour} {series.kind}" points="{points}"/>')
        out += [
            f'<circle class="{series.colour}" cx="{across(i):.1f}" cy="{up(value):.1f}" r="4"/>'
            for i, value in known(values)
            if i == mark
        ]
    if mark is not None:
        x = f"{across(mark):.1f}"
        out.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{TOP:g}" y2="{floor:g}"/>')
    out.append(
        f'<line class="axis" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{floor:g}" y2="{floor:g}"/>'
    )
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    out.append(f'<text class="middle" x="{middle:g}" y="{HEIGHT - 8:g}">{panel.x}</text>')
    height = TOP + (floor - TOP) / 2
    out.append(
        f'<text class="middle" x="12" y="{height:g}" '
        f'transform="rotate(-90 12 {height:g})">{panel.y}</text>'
    )
    return "".join(out)
