"""The report's page: sections, tables and pictures from the studies' tables, as one HTML file."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas

import arvdm_theory
from analysis import claims, clip_memory, paper_tables, trained_gaussian
from analysis.registry import STUDIES
from analysis.study import file_of, manifest_of, table_of
from figures import ladder as ladder_figure
from figures.memory_of_the_shipped_clip import LAWS
from figures.registry import FIGURES, KINDS
from paper_repro import published

__all__ = ["CLIP_PAGE", "Picture", "Section", "Table", "render", "sections"]


@dataclass(frozen=True)
class Table:
    """Cells as text; `study` names the manifest they come from, if a study made them."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str
    study: str | None = None
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure as data URIs, for light and dark pages."""

    name: str
    light: str
    dark: str
    kind: str
    caption: str
    studies: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """One question: what it is about, its pictures, its tables; `links` are (text, file)."""

    anchor: str
    title: str
    paragraphs: Sequence[str]
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    links: Sequence[tuple[str, str]] = ()


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
    if float(value) == int(value) and abs(value) < 1e6:
        return f"{int(value)}".replace("-", "−")
    if 1e-3 <= abs(value) < 10.0**digits:
        return f"{value:#.{digits}g}".rstrip(".").replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def _bounded(values: pandas.Series, bounds: pandas.Series) -> list[str]:
    """`number`s, or "< bound" where a value is below the bound on its floating-point error."""
    pairs = zip(values, bounds, strict=True)
    return [f"< {number(b, 2)}" if v < b else number(v) for v, b in pairs]


def _printed(value: Any) -> str:
    """As in the paper's tables: two decimals."""
    return f"{value:.2f}" if isinstance(value, float) and not math.isnan(value) else number(value)


def _table(
    frame: pandas.DataFrame,
    columns: dict[str, str],
    caption: str,
    kind: str,
    *,
    study: str | None = None,
    folded: bool = False,
    text: Callable[[Any], str] = number,
) -> Table:
    """The `columns` (name → heading with unit) of `frame`, each value as `text`."""
    rows = [
        [text(value) for value in row]
        for row in frame[list(columns)].itertuples(index=False, name=None)
    ]
    return Table(caption, list(columns.values()), rows, kind, study, folded)


def _picture(name: str, out: Path) -> Picture:
    figure = FIGURES[name]
    caption = figure.caption
    for study in figure.studies:
        caption = caption.format_map(manifest_of(study, out=out)["config"])
    light, dark = (data_uri(out / "figures" / f"{name}{theme}.png") for theme in ("", "_dark"))
    return Picture(name, light, dark, figure.kind, caption, figure.studies)


def data_uri(path: Path) -> str:
    """A PNG file as a `data:` URI, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


CLIP_PAGE = "clip.html"
"""Where the page of `arvdm analyze` lies beside the report."""
SHARES = (0.5, 0.9, 0.99)
"""Shares of the information in the past whose window length the report states."""


# --- the sections ---------------------------------------------------------------------------------


def sections(out: Path) -> list[Section]:
    """Every section that the studies and figures under `out` fill, in reading order."""
    return [
        _schedules_section(out),
        _decomposition_section(out),
        _ladder_section(out),
        _memory_section(out),
        _memory_bounds_section(out),
        _equal_cost_section(out),
        _designed_section(out),
        _theorem_b_section(out),
        _two_sided_section(out),
        _trade_off_section(out),
        _tightness_section(out),
        _published_section(out),
        _paper_section(out),
        _clip_section(out),
        _trained_gaussian_section(out),
        _worlds_section(out),
        _trained_section(out),
    ]


def _schedules_section(out: Path) -> Section:
    data = pandas.read_csv(out / "figures" / "named_schedules_figure_3.csv")
    return Section(
        "schedules",
        "Named schedules",
        [
            f"{data['method'].nunique()} schedules, all checked against the three requirements of "
            "D1 when they are made: a schedule that violates monotonicity, circularity or the 0–T "
            "boundary is refused with a message of its own."
        ],
        [_picture("named_schedules_figure_3", out)],
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
            "returns needs a window that reaches back to it, or a memory of another kind."
        ],
        [_picture("memory_bottleneck_by_window", out)],
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
        ],
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
    for number, rows in table.groupby("table"):
        first = rows.iloc[0]
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
                "quarter of all lengths. 95 % over training seeds and clips; *: over clips only, "
                f"one training seed; ‡: derived from printed values.{rule}",
                heads,
                cells,
                "measured",
                study,
                folded=True,
            )
        )
    ledger = table_of(claims.STUDY.name, out=out)
    judged = ledger.drop_duplicates(["claim", "world"]).fillna({"reason": ""})
    done = int(table.loc[table["note"].isna(), "row"].nunique())
    counts = judged.drop_duplicates("claim")["overall"].value_counts()
    said = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in claims.VERDICTS)
    return Section(
        "paper",
        "The paper's tables and claims, measured here",
        [
            f"The rows of Tables 1–4 at a quarter of their lengths: {done} of "
            f"{table['row'].nunique()} networks are measured. Each claim of the paper is a "
            "statement with its smallest effect of interest, n and test, written down before any "
            f"of them was ({len(judged['claim'].unique())} claims: {said}).",
        ],
        [_picture("retrieval_against_psnr_decay_figure_9", out)],
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


# --- the page -------------------------------------------------------------------------------------


def render(parts: Sequence[Section], out: Path, used: Iterable[str] = tuple(STUDIES)) -> str:
    """The page as one self-contained HTML text; `used`: studies whose manifests it holds."""
    manifests = {name: manifest_of(name, out=out) for name in used}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        sections=parts,
        kinds=KINDS,
        manifests={name: (m, json.dumps(m, indent=1)) for name, m in manifests.items()},
        version=arvdm_theory.__version__,
    )
