r"""`arvdm analyze`: how much the frames of a real clip carry about their past.

One page and two tables: the memory bottleneck $MB_r$ (R5) of every candidate law fitted to the clip
with block-bootstrap bands, the model-free held-out predictive gain beside it, what the named
schedules (D3) would lose at equal cost (Theorem A), and what the fit cannot say.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import importlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import arvdm_theory
from arvdm_theory._progress import report
from arvdm_theory.checks import positive_integer
from arvdm_theory.decomposition import decompose
from arvdm_theory.errors import ArvdmError, ParameterError
from arvdm_theory.fit import (
    VARIANCE_RANGE,
    Candidate,
    PredictiveGain,
    VideoFit,
    block_standard_error,
    fit_video,
    load_frames,
    one_blas_thread,
    predictive_gain,
)
from arvdm_theory.generator import Generator
from arvdm_theory.memory import UNITS, WindowMemoryBottleneck, window_memory_bottleneck
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import Autoregressive

__all__ = ["AnalysisResult", "MemoryCurve", "ScheduleLoss", "analyze", "named_schedules"]

LONGEST_WINDOW = 64
"""Longest memory that is looked at; less (an eighth of the clip) for short clips."""
WINDOWS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Memory lengths of the held-out gain."""
FRACTIONS = (0.5, 0.9, 0.99)
"""Shares of the total information whose memory length is reported."""
BAND = (5.0, 95.0)
"""Percentiles of the bootstrap bands."""
FRAMES_SEEN = 16
"""Frames (window and references) that every schedule of the comparison sees at a time."""
CALLS_PER_FRAME = 8
"""Network calls per finished frame of every schedule of the comparison."""
ROLL_OUT = 48
"""Frames after which a schedule's losses per frame are read off."""

TITLES = {
    "autoregressive": "vector autoregression",
    "state_space": "state space",
    "arfima": "long memory (ARFIMA)",
}
COLOURS = {"autoregressive": "#0072B2", "state_space": "#D55E00", "arfima": "#009E73"}
PARTS = {
    "nie": ("noise initialisation", "#E69F00"),
    "de": ("discretisation", "#56B4E9"),
    "mb": ("forgetting", "#CC79A7"),
}
"""Okabe–Ito colours, told apart by colour-blind readers."""


# --- results --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class MemoryCurve:
    """MB_r of one fitted law, with bands. Nats a frame.

    Attributes
    ----------
    family: of the candidate. window_lengths: `(R,)` r = 0, 1, ... frames.
    bottleneck: clean frames. noised: the same at the level of finished frames.
    lower, upper: `(R,)`, 5th and 95th percentile over block-bootstrap refits of MB_r (clean): the
        spread of refits, not a calibrated confidence interval. `None` without a band.
    share_lower, share_upper: `(R,)`, the same of MB_r / total.
    windows: share of the total → smallest r that holds it, with its percentiles (`None`: longer
        than the longest r, or no band).
    replicates: number of refits tried. block: their block length in frames.
    failed: refits without a law of finite information. fell_back: refits whose law is independent
        frames because no stable one was found.
    no_band: why there is no band, else `None`.
    """

    family: str
    bottleneck: WindowMemoryBottleneck
    noised: WindowMemoryBottleneck
    lower: np.ndarray | None
    upper: np.ndarray | None
    share_lower: np.ndarray | None
    share_upper: np.ndarray | None
    windows: dict[float, tuple[int | None, int | None, int | None]]
    replicates: int
    block: int
    failed: int
    fell_back: int
    no_band: str | None

    @property
    def window_lengths(self) -> np.ndarray:
        """r in frames."""
        return self.bottleneck.window_lengths


@dataclass(frozen=True, eq=False)
class ScheduleLoss:
    """What one schedule loses per finished frame on one fitted law. Nats a frame.

    `nie`, `de`, `mb`: the last AR step's terms of Theorem A divided by its stride. `output`: what
    that step adds to the output KL, per frame.
    """

    name: str
    family: str
    schedule: Schedule
    reference: int
    nie: float
    de: float
    mb: float
    output: float
    steps: int

    @property
    def total(self) -> float:
        """What a finished frame adds to the chain KL."""
        return self.nie + self.de + self.mb


@dataclass(frozen=True, eq=False, repr=False)
class AnalysisResult:
    """What `arvdm analyze` found; `page`, `table` and `schedule_table` are the files written."""

    source: str
    page: Path
    table: Path
    schedule_table: Path
    fit: VideoFit
    curves: tuple[MemoryCurve, ...]
    gain: PredictiveGain
    schedules: tuple[ScheduleLoss, ...]
    returns: float | None
    level: float

    def __repr__(self) -> str:
        return f"AnalysisResult({self.source}: {self.fit!r}, page {self.page})"

    def __str__(self) -> str:
        diagnostics, best = self.fit.diagnostics, self.fit.candidates[0]
        lines = [
            f"{self.source}: {diagnostics.frames} frames, {self.fit.video.dim} components with "
            f"{100 * self.fit.explained_variance.sum():.0f} % of the variance",
            f"best held out: {TITLES[best.family]} {_settings(best)}",
            f"{'nats a frame':32}{'total':>8}{'r50':>6}{'r90':>6}{'r99':>6}",
        ]
        for curve in self.curves:
            held = "".join(f"{_frames(curve.windows[f][0]):>6}" for f in FRACTIONS)
            lines.append(f"{TITLES[curve.family]:32}{_number(curve.bottleneck.total):>8}{held}")
        held = "".join(f"{_frames(self.gain.window_for(f)):>6}" for f in FRACTIONS)
        lines.append(f"{'held-out prediction':32}{self.gain.total:8.3g}{held}")
        lines.append(_headline(self))
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"page   {self.page}", f"tables {self.table}, {self.schedule_table}"]
        return "\n".join(lines)

    @property
    def warnings(self) -> list[str]:
        """What stands between these numbers and being believed."""
        out = [self.fit.diagnostics.hint] if self.fit.diagnostics.hint else []
        for candidate, curve in zip(self.fit.candidates, self.curves, strict=True):
            title = TITLES[candidate.family]
            if not candidate.reproduces_variance:
                low, high = candidate.variance_ratio.min(), candidate.variance_ratio.max()
                out.append(
                    f"{title}: no setting that predicts as well has the clip's variance; a "
                    f"component's is {_number(low)} to {_number(high)} times the clip's, "
                    "and the information is off by about half the logarithm of that"
                )
            if curve.bottleneck.reason:
                out.append(f"{title}: {curve.bottleneck.reason}")
            if curve.no_band and curve.replicates:
                out.append(f"{title}: no band, {curve.no_band}")
        return out

    def to_json(self) -> dict[str, Any]:
        """The same numbers, plain; what is infinite or not a number is `null`."""
        plain = _plain(self._numbers())
        assert isinstance(plain, dict)
        return plain

    def _numbers(self) -> dict[str, Any]:
        diagnostics = self.fit.diagnostics
        return {
            "source": self.source,
            "page": str(self.page),
            "table": str(self.table),
            "schedule_table": str(self.schedule_table),
            "unit": "nats",
            "frames": diagnostics.frames,
            "distinct_frames": diagnostics.distinct_frames,
            "hint": diagnostics.hint,
            "headline": _headline(self),
            "warnings": self.warnings,
            "components": self.fit.video.dim,
            "explained_variance": self.fit.explained_variance.tolist(),
            "candidates": [
                {
                    "family": candidate.family,
                    "settings": dict(candidate.settings),
                    "held_out": candidate.held_out,
                    "gain": candidate.gain,
                    "gain_error": candidate.gain_error,
                    "setting_gain": candidate.setting_gain,
                    "setting_gain_error": candidate.setting_gain_error,
                    "detectable": candidate.detectable,
                    "variance_ratio": candidate.variance_ratio.tolist(),
                    "reproduces_variance": candidate.reproduces_variance,
                    "spectral_radius": candidate.spectral_radius,
                    "ljung_box": candidate.ljung_box.tolist(),
                    "excess_kurtosis": candidate.excess_kurtosis.tolist(),
                }
                for candidate in self.fit.candidates
            ],
            "memory": [
                {
                    "family": curve.family,
                    **curve.bottleneck.to_json(),
                    "lower": None if curve.lower is None else curve.lower.tolist(),
                    "upper": None if curve.upper is None else curve.upper.tolist(),
                    "refits": curve.replicates,
                    "refits_failed": curve.failed,
                    "refits_fell_back": curve.fell_back,
                    "no_band": curve.no_band,
                    "window_for": {str(f): list(curve.windows[f]) for f in FRACTIONS},
                }
                for curve in self.curves
            ],
            "held_out_gain": {
                "window_lengths": self.gain.window_lengths.tolist(),
                "gain": self.gain.gain.tolist(),
                "standard_error": self.gain.standard_error.tolist(),
                "window_for": {str(f): self.gain.window_for(f) for f in FRACTIONS},
                "detectable": self.gain.detectable,
                "targets": self.gain.targets,
            },
            "schedules": [
                {
                    "name": loss.name,
                    "family": loss.family,
                    "nie": loss.nie,
                    "de": loss.de,
                    "mb": loss.mb,
                    "total": loss.total,
                    "output": loss.output,
                }
                for loss in self.schedules
            ],
            "returns": self.returns,
            "level": self.level,
        }


def _plain(value: Any) -> Any:
    """Numbers that JSON has no word for as `None`."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}g}" if np.isfinite(value) else "infinite"


# --- the command ----------------------------------------------------------------------------------


def analyze(
    path: str | Path,
    out_dir: str | Path,
    *,
    crop: str | None = None,
    frames: str | None = None,
    every: int | str = 1,
    components: int | float | None = None,
    t_max: float = 3.0,
    t_min: float = 0.005,
    replicates: int = 60,
    seed: int = 0,
) -> AnalysisResult:
    """Fit Gaussian videos to a clip and write a page and two tables about its memory.

    Writes `analysis.html` (self-contained, opens offline), `memory.csv` and `schedules.csv` into
    `out_dir`, each whole or not at all.

    Arguments
    ---------
    path: clip, as in `load_frames`; `crop`, `frames`, `every` too. components: as in `fit_video`.
    t_max, t_min: T and δ of the schedules (OU time, for components of unit average variance).
    replicates: block-bootstrap refits a candidate (0: no bands). seed: of the bootstrap.

    Raises
    ------
    MediaError, TooLittleDataError, ParameterError: as `load_frames` and `fit_video`; also if the
    extra `plot` is not installed, or `out` is no folder that can be written to.

    Source: Theorem A, R5; moving-block bootstrap of Künsch (1989).
    """
    _require_plot()
    replicates = positive_integer("replicates", replicates, minimum=0)
    schedules = named_schedules(t_max=t_max, t_min=t_min)
    with _folder(Path(out_dir)) as folder:
        clip = load_frames(path, crop=crop, frames=frames, every=every)
        with one_blas_thread():
            fit = fit_video(clip) if components is None else fit_video(clip, components=components)
            result = _measure(fit, clip, Path(path), folder, schedules, replicates, seed)
        options = {"crop": crop, "frames": frames, "every": every}
        page = _page(result, clip, {k: v for k, v in options.items() if v not in (None, 1)})
        json.dumps(result.to_json(), allow_nan=False)  # before anything is written
        _write(
            {
                result.table: _memory_table(result),
                result.schedule_table: _schedule_table(result),
                result.page: page,
            }
        )
    return result


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[Path]:
    """The folder, made if need be and known to be writable; on failure unmade again."""
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise _unwritable(folder, error) from None
        yield folder
    except BaseException:
        for part in made:
            with contextlib.suppress(OSError):
                part.rmdir()
        raise


def _unwritable(folder: Path, error: OSError) -> ParameterError:
    reason = error.strerror or str(error)
    return ParameterError("out", f"a folder that can be written to ({reason})", str(folder))


def _measure(
    fit: VideoFit,
    clip: np.ndarray,
    path: Path,
    folder: Path,
    schedules: dict[str, tuple[Schedule, int]],
    replicates: int,
    seed: int,
) -> AnalysisResult:
    """Everything that is on the page and in the tables."""
    t_min = next(iter(schedules.values()))[0].t_min
    count = fit.scores.shape[0]
    longest = min(LONGEST_WINDOW, count // 8)
    curves = tuple(
        _memory_curve(candidate, fit, longest, t_min, replicates, seed)
        for candidate in fit.candidates
    )
    gain = predictive_gain(fit.scores, [r for r in WINDOWS if r <= longest])
    losses = tuple(
        _schedule_loss(candidate, name, schedule, reference)
        for candidate in fit.candidates
        for name, (schedule, reference) in schedules.items()
    )
    return AnalysisResult(
        source=path.name,
        page=folder / "analysis.html",
        table=folder / "memory.csv",
        schedule_table=folder / "schedules.csv",
        fit=fit,
        curves=curves,
        gain=gain,
        schedules=losses,
        returns=_returns(clip, longest),
        level=t_min,
    )


def _require_plot() -> None:
    for module in ("matplotlib", "jinja2"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            raise ParameterError(
                "the extra plot",
                'installed to write a page (pip install "arvdm-theory[plot]")',
                f"no module named {module}",
            ) from None


def _write(texts: Mapping[Path, str]) -> None:
    """All or nothing: temporary files beside the targets first, then renames."""
    temporaries: dict[Path, str] = {}
    new = [path for path in texts if not path.exists()]
    # mkstemp makes files private; a page is for sharing
    umask = os.umask(0)
    os.umask(umask)
    try:
        for path, text in texts.items():
            handle, temporaries[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(temporaries[path], 0o666 & ~umask)
        for path, temporary in temporaries.items():
            if path.is_dir():
                raise IsADirectoryError(f"{path.name} is a folder")
            os.replace(temporary, path)
    except BaseException as error:
        for scrap in (*map(Path, temporaries.values()), *new):
            with contextlib.suppress(OSError):
                scrap.unlink()
        if isinstance(error, OSError):
            raise _unwritable(next(iter(texts)).parent, error) from None
        raise


# --- numbers --------------------------------------------------------------------------------------


def named_schedules(*, t_max: float, t_min: float) -> dict[str, tuple[Schedule, int]]:
    """The methods of D3 at equal cost: 16 frames seen at a time, 8 network calls a frame.

    Returns name → (schedule, reference frames). Equal (w + r) and equal M/Δ make the
    frame-evaluations per output frame equal too (THEORY, Conventions).

    >>> pairs = named_schedules(t_max=3.0, t_min=0.01).values()
    >>> {float(schedule.cost(reference)) for schedule, reference in pairs}
    {128.0}
    """
    calls = CALLS_PER_FRAME

    def levels(stride: int) -> dict[str, Any]:
        return {"t_max": t_max, "t_min": t_min, "substeps": calls * stride}

    return {
        "next frame": (Schedule.next_frame(**levels(1)), 15),
        "chunks of 4": (Schedule.chunk(4, **levels(4)), 12),
        "outpainting": (Schedule.outpainting(16, 8, **levels(8)), 0),
        "staircase": (Schedule.staircase(16, 4, **levels(4)), 0),
        "rolling": (Schedule.rolling(12, **levels(1)), 4),
        "FIFO": (Schedule.fifo(16, **levels(1)), 0),
    }


def _memory_curve(
    candidate: Candidate, fit: VideoFit, longest: int, level: float, replicates: int, seed: int
) -> MemoryCurve:
    windows = range(longest + 1)
    horizon = max(2 * longest, 32)
    clean = window_memory_bottleneck(candidate.video, windows, horizon=horizon)
    noised = window_memory_bottleneck(candidate.video, windows, horizon=horizon, level=level)
    block = _block_length(fit)
    refits, failed, fell_back = [], 0, 0
    pieces_of = _moving_blocks(fit.scores, block, replicates, seed)
    for count, pieces in enumerate(pieces_of):
        report(f"refits of {candidate.family}", count, replicates)
        try:
            video = candidate.refit(pieces)
            refit = window_memory_bottleneck(video, windows, horizon=horizon)
        except (ArvdmError, np.linalg.LinAlgError):
            failed += 1
            continue
        if not np.isfinite(refit.values).all():
            failed += 1
            continue
        # no stable state space was found: independent frames stand in for it
        fell_back += candidate.family == "state_space" and isinstance(video, Autoregressive)
        refits.append(refit)
    no_band = _no_band(clean, replicates, failed, fell_back)
    lower = upper = share_lower = share_upper = None
    if no_band is None:
        values = np.array([refit.values for refit in refits])
        lower, upper = np.percentile(values, BAND, axis=0)
        # a refit that found no information at all has no shares
        informed = values[values[:, 0] > 0.0]
        if len(informed):
            share_lower, share_upper = np.percentile(informed / informed[:, :1], BAND, axis=0)
    found: dict[float, tuple[int | None, int | None, int | None]] = {}
    for fraction in FRACTIONS:
        low = high = np.inf
        if no_band is None:
            spread = [_or_longer(refit.window_for(fraction)) for refit in refits]
            low, high = np.percentile(spread, BAND, method="nearest")
        found[fraction] = (clean.window_for(fraction), _finite_window(low), _finite_window(high))
    return MemoryCurve(
        family=candidate.family,
        bottleneck=clean,
        noised=noised,
        lower=lower,
        upper=upper,
        share_lower=share_lower,
        share_upper=share_upper,
        windows=found,
        replicates=replicates,
        block=block,
        failed=failed,
        fell_back=fell_back,
        no_band=no_band,
    )


def _no_band(
    clean: WindowMemoryBottleneck, replicates: int, failed: int, fell_back: int
) -> str | None:
    """Why refits have no percentiles worth showing."""
    if replicates == 0:
        return "no refits were asked for"
    if not np.isfinite(clean.values).all():
        return "the information is infinite"
    if 2 * (failed + fell_back) > replicates:
        text = f"{failed} of {replicates} refits failed"
        return text + (f" and {fell_back} fell back to independent frames" if fell_back else "")
    return None


def _or_longer(window: int | None) -> float:
    return np.inf if window is None else float(window)


def _finite_window(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


def _block_length(fit: VideoFit) -> int:
    """An eighth of the clip, or four times what the candidates look back, at most half of it."""
    frames = fit.scores.shape[0]
    reach = max(candidate.reach for candidate in fit.candidates)
    return min(frames // 2, max(8, frames // 8, 4 * reach))


def _moving_blocks(
    series: np.ndarray, length: int, replicates: int, seed: int
) -> list[list[np.ndarray]]:
    """Resampled clips: contiguous blocks with replacement, centred, never joined end to end."""
    frames = series.shape[0]
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(replicates):
        starts = generator.integers(0, frames - length + 1, size=-(-frames // length))
        blocks = [series[start : start + length] for start in starts]
        mean = np.concatenate(blocks).mean(axis=0)
        samples.append([block - mean for block in blocks])
    return samples


def _schedule_loss(
    candidate: Candidate, name: str, schedule: Schedule, reference: int
) -> ScheduleLoss:
    steps = max(2, -(-ROLL_OUT // schedule.stride))
    result = decompose(candidate.video, schedule, Generator(reference=reference), steps=steps)
    assert result.de_per_step is not None  # the ancestral sampler has it
    assert result.output_per_step is not None  # fits are stable
    stride = schedule.stride
    return ScheduleLoss(
        name=name,
        family=candidate.family,
        schedule=schedule,
        reference=reference,
        nie=float(result.nie_per_step[-1]) / stride,
        de=float(result.de_per_step[-1]) / stride,
        mb=float(result.mb_per_step[-1]) / stride,
        output=float(result.output_per_step[-1]) / stride,
        steps=steps,
    )


def _returns(clip: np.ndarray, longest: int) -> float | None:
    """Share of frames that look more like one seen over `longest` frames ago than the last one.

    Compared pixel by pixel, at up to 1,000 frames. A stationary linear law cannot use such a
    return; a memory of the place could. `None` if the clip is too short to have any.
    """
    pixels = clip.reshape(clip.shape[0], -1)
    frames = pixels.shape[0]
    if frames < 2 * (longest + 2):
        return None
    asked = np.unique(np.linspace(longest + 2, frames - 1, 1000).round().astype(int))
    squared = np.einsum("ij,ij->i", pixels, pixels)
    distance = squared - 2.0 * (pixels[asked] @ pixels.T)  # up to the asked frame's own square
    closer = [row[: k - longest].min() < row[k - 1] for k, row in zip(asked, distance, strict=True)]
    return float(np.mean(closer))


# --- tables ---------------------------------------------------------------------------------------


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(x) for x in row])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """What is infinite or not a number is left empty."""
    if isinstance(value, float):
        return f"{value:.8g}" if np.isfinite(value) else ""
    return value


def _memory_table(result: AnalysisResult) -> str:
    header = (
        "source",
        "level",
        "window_frames",
        "mb_nats",
        "mb_bits",
        "lower_nats",
        "upper_nats",
        "information_in_window_nats",
        "share_of_total",
        "uncertainty",
    )
    bits = UNITS["bits"]
    rows: list[tuple[Any, ...]] = []
    for curve in result.curves:
        for level, bottleneck in ((0.0, curve.bottleneck), (result.level, curve.noised)):
            for i, r in enumerate(bottleneck.window_lengths):
                value, total = float(bottleneck.values[i]), bottleneck.total
                band: tuple[Any, Any, str] = ("", "", "")
                if level == 0.0 and curve.lower is not None and curve.upper is not None:
                    band = (float(curve.lower[i]), float(curve.upper[i]), "bootstrap 5-95 %")
                elif not np.isfinite(value):
                    band = ("", "", f"infinite: {bottleneck.reason}")
                known = np.isfinite(total)
                share = float(1.0 - value / total) if known and total > 0.0 else ""
                rows.append(
                    (curve.family, level, int(r), value, bits * value, *band[:2])
                    + (total - value if known else "", share, band[2])
                )
    gain = result.gain
    for i, r in enumerate(gain.window_lengths):
        value, error = float(gain.bottleneck[i]), float(gain.bottleneck_error[i])
        share = float(gain.gain[i] / gain.total) if gain.detectable else ""
        rows.append(
            ("held_out_prediction", 0.0, int(r), value, bits * value)
            + (value - error, value + error, float(gain.gain[i]), share, "1 block standard error")
        )
    return _csv(header, rows)


def _schedule_table(result: AnalysisResult) -> str:
    header = (
        "schedule",
        "law",
        "window",
        "stride",
        "reference",
        "substeps",
        "network_calls_per_frame",
        "frame_evaluations_per_frame",
        "t_max",
        "t_min",
        "nie_nats_per_frame",
        "de_nats_per_frame",
        "mb_nats_per_frame",
        "chain_nats_per_frame",
        "output_nats_per_frame",
    )
    rows = [
        (
            loss.name,
            loss.family,
            loss.schedule.window,
            loss.schedule.stride,
            loss.reference,
            loss.schedule.substeps,
            loss.schedule.calls_per_frame(),
            loss.schedule.cost(loss.reference),
            loss.schedule.t_max,
            loss.schedule.t_min,
            loss.nie,
            loss.de,
            loss.mb,
            loss.total,
            loss.output,
        )
        for loss in result.schedules
    ]
    return _csv(header, rows)


# --- pictures -------------------------------------------------------------------------------------

STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 110,
}


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **keywords: Any) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **keywords)


def _png(figure: Any, *, tight: bool = False) -> str:
    """A figure as a data URI, so that the page needs no other file."""
    buffer = io.BytesIO()
    box = "tight" if tight else None
    figure.savefig(buffer, format="png", bbox_inches=box, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _root(values: Any) -> Any:
    """Square root that keeps the sign, so that the axis may reach below 0."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _root_ticks(axis: Any, top: float) -> None:
    """Round numbers that stand apart on a square-root axis."""
    marks = [0.0]
    for mark in (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0):
        if np.sqrt(mark / top) - np.sqrt(marks[-1] / top) > 0.06:
            marks.append(mark)
    axis.set_yticks(marks, [f"{mark:g}" for mark in marks])


def _frame_axis(axis: Any, longest: int) -> None:
    """Memory length r: linear for the first frames, then logarithmic, so that 0 has a place."""
    axis.set_xscale("symlog", base=2, linthresh=2, linscale=1.0)
    marks = [0, 1, 2, 3, 4, 6, 8] if longest <= 8 else [0, 1, 2, 4, 8, 16, 32, 64]
    ticks = [r for r in marks if r <= longest]
    axis.set_xticks(ticks, [str(r) for r in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlim(-0.15, 1.12 * longest)
    axis.set_xlabel("memory length r (frames)")


def _memory_figure(result: AnalysisResult) -> Any:
    figure, (left, right) = _figure(11.5, 4.6, 1, 2)
    longest = int(result.curves[0].window_lengths.max())
    floor = 3e-4
    handles = []
    for curve in result.curves:
        colour, total = COLOURS[curve.family], curve.bottleneck.total
        r, values = curve.window_lengths, curve.bottleneck.values
        values = np.where(np.isfinite(values), values, np.nan)  # infinite: not drawn
        if curve.lower is not None and curve.upper is not None:
            left.fill_between(r, curve.lower, curve.upper, color=colour, alpha=0.18, lw=0)
        handles += left.plot(
            r, values, "o-", color=colour, ms=3.5, lw=1.8, label=TITLES[curve.family]
        )
        if 0.0 < total < np.inf:
            share = np.where(values / total > floor / 10, values / total, np.nan)
            if curve.share_lower is not None and curve.share_upper is not None:
                low = np.maximum(curve.share_lower, floor / 10)
                right.fill_between(r, low, curve.share_upper, color=colour, alpha=0.18, lw=0)
            right.plot(r, share, "o-", color=colour, ms=3.5, lw=1.8)
    gain = result.gain
    style = {"fmt": "D", "color": "#222222", "ms": 5, "capsize": 3, "lw": 1.2, "zorder": 5}
    held_out = "held-out prediction, no law assumed"
    handles.append(
        left.errorbar(
            gain.window_lengths, gain.bottleneck, gain.bottleneck_error, label=held_out, **style
        )
    )
    if gain.detectable:
        shown = gain.bottleneck > floor * gain.total
        share, error = gain.bottleneck / gain.total, gain.bottleneck_error / gain.total
        below = np.minimum(error, share - floor / 10)
        right.errorbar(
            gain.window_lengths[shown], share[shown], [below[shown], error[shown]], **style
        )
    left.set_ylabel("MB$_r$: information in frames older than r\n(nats per frame)")
    # a square-root axis: it has a zero and still shows small values
    left.set_yscale("function", functions=(_root, np.square))
    top = 1.06 * max(float(bar) for bar in left.get_ylim())
    left.set_ylim(0.0, top)
    _root_ticks(left, top)
    left.set_ylim(0.0, top)
    bits = UNITS["bits"]
    # a twin and not a secondary axis, whose function would replace the square root
    second = left.twinx()
    second.set_yscale("function", functions=(_root, np.square))
    second.set_ylabel("bits per frame")
    second.grid(visible=False)
    _root_ticks(second, bits * top)
    second.set_ylim(0.0, bits * top)
    second.spines["right"].set_visible(True)
    right.set_yscale("log")
    right.set_ylim(floor, 1.6)
    right.set_ylabel("MB$_r$ / MB$_0$: share\nthat r frames miss")
    for fraction in FRACTIONS:
        right.axhline(1.0 - fraction, color="#888888", lw=0.9, ls=(0, (4, 3)), zorder=0)
        right.annotate(
            f"{100 * fraction:.0f} %\nheld",
            (1.01, 1.0 - fraction),
            xycoords=("axes fraction", "data"),
            ha="left",
            va="center",
            fontsize=9,
            color="#555555",
        )
    right.set_yticks([1.0, 0.1, 0.01, 0.001], ["100 %", "10 %", "1 %", "0.1 %"])
    right.set_yticks([], minor=True)
    for axis in (left, right):
        _frame_axis(axis, longest)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=10)
    return figure


def _schedule_figure(losses: Sequence[ScheduleLoss]) -> Any:
    """Stacked losses of one law, cheapest total first from the top."""
    ordered = sorted(losses, key=lambda loss: -loss.total)
    figure, axis = _figure(9.5, 3.9)
    rows = np.arange(len(ordered))
    start = np.zeros(len(ordered))
    handles: list[Any] = []
    for key, (title, colour) in PARTS.items():
        values = np.array([getattr(loss, key) for loss in ordered])
        handles.append(axis.barh(rows, values, left=start, color=colour, height=0.62, label=title))
        start += values
    handles += axis.plot(
        [loss.output for loss in ordered],
        rows,
        "D",
        color="#222222",
        ms=6,
        mec="white",
        label="output KL",
    )
    widest = float(start.max())
    for row, loss in zip(rows, ordered, strict=True):
        axis.annotate(f"{loss.total:.3g}", (start[row] + 0.01 * widest, row), va="center")
    names = [
        f"{loss.name}\nw={loss.schedule.window}, Δ={loss.schedule.stride}, r={loss.reference}, "
        f"M={loss.schedule.substeps}"
        for loss in ordered
    ]
    axis.set_yticks(rows, names, fontsize=9)
    axis.grid(visible=False, axis="y")
    axis.set_xlim(0.0, 1.1 * widest)
    axis.set_xlabel("loss per finished frame (nats)")
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=10)
    return figure


def _contact_sheet(clip: np.ndarray) -> Any:
    count = min(16, clip.shape[0])
    chosen = np.linspace(0, clip.shape[0] - 1, count).round().astype(int)
    columns = min(8, count)
    rows = -(-count // columns)
    shape = clip.shape[1] / clip.shape[2]
    figure, axes = _figure(11.5, rows * (11.3 / columns * shape + 0.24), rows, columns)
    for axis in np.ravel(axes):
        axis.axis("off")
    for axis, k in zip(np.ravel(axes), chosen, strict=False):
        _show(axis, clip[k])
        axis.set_title(f"{k}", fontsize=9, pad=2)
    return figure


def _show(axis: Any, picture: np.ndarray) -> None:
    picture = np.clip(picture, 0.0, 1.0)  # a reconstruction may leave the range of colours
    single = picture.shape[-1] != 3
    axis.imshow(picture[..., 0] if single else picture, cmap="gray", vmin=0, vmax=1)


def _component_figure(fit: VideoFit) -> Any:
    dim = fit.video.dim
    columns = min(dim, 8)
    figure, axes = _figure(11.5, 4.3, 2, columns + 1, height_ratios=[1.0, 1.0], squeeze=False)
    _show(axes[0, 0], fit.mean_frame)
    axes[0, 0].set_title("mean frame", fontsize=9)
    for i in range(columns):
        component = fit.basis[i].mean(axis=-1)
        largest = np.abs(component).max()
        axes[0, i + 1].imshow(component, cmap="PuOr", vmin=-largest, vmax=largest)
        axes[0, i + 1].set_title(f"{i + 1}: {100 * fit.explained_variance[i]:.1f} %", fontsize=9)
    for axis in axes[0]:
        axis.axis("off")
    grid = axes[1, 0].get_gridspec()
    for axis in axes[1]:
        axis.remove()
    trace = figure.add_subplot(grid[1, :])
    step = 1.05 * np.ptp(fit.scores, axis=0)
    for i in range(dim):
        shade = 0.15 + 0.55 * i / max(dim - 1, 1)
        trace.plot(fit.scores[:, i] / step[i] - i, lw=0.9, color=(shade, shade, 0.55 + 0.3 * shade))
    trace.set_yticks(-np.arange(dim), [str(i + 1) for i in range(dim)])
    trace.set_ylabel("component")
    trace.set_xlabel("frame of the clip")
    trace.set_xlim(0, fit.scores.shape[0] - 1)
    return figure


def _surprise_figure(fit: VideoFit) -> Any:
    """Where in the clip held-out prediction fails."""
    figure, axis = _figure(11.5, 2.9)
    frames = fit.scores.shape[0]
    first = frames - fit.targets
    width = max(1, fit.targets // 100)
    for candidate in fit.candidates:
        smooth = np.convolve(candidate.scores, np.ones(width) / width, mode="valid")
        axis.plot(
            first + np.arange(smooth.size) + (width - 1) / 2,
            smooth,
            color=COLOURS[candidate.family],
            lw=1.1,
            label=TITLES[candidate.family],
        )
    lowest = min(float(candidate.scores.min()) for candidate in fit.candidates)
    if lowest < -50.0:
        axis.set_yscale("symlog", linthresh=10)
    axis.set_xlim(0, frames - 1)
    axis.set_xlabel("frame of the clip" + (f" (means over {width} frames)" if width > 1 else ""))
    axis.set_ylabel("held-out log density\n(nats per frame)")
    figure.legend(fontsize=10, ncols=3, loc="outside upper center")
    return figure


# --- the page -------------------------------------------------------------------------------------


def _frames(window: int | None, longest: int | None = None) -> str:
    if window is not None:
        return str(window)
    return "–" if longest is None else f"> {longest}"


def _settings(candidate: Candidate) -> str:
    def plain(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(f"{x:.2f}" for x in value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    names = {"memory": "D"}
    return ", ".join(
        f"{names.get(key, key)} {plain(value)}" for key, value in candidate.settings.items()
    )


def _curve_rows(result: AnalysisResult) -> list[dict[str, Any]]:
    longest = int(result.curves[0].window_lengths.max())
    rows = []
    for curve in result.curves:
        held = []
        for fraction in FRACTIONS:
            value, low, high = curve.windows[fraction]
            text = _frames(value, longest if np.isfinite(curve.bottleneck.total) else None)
            if curve.no_band is None:
                text += f" ({_frames(low, longest)} to {_frames(high, longest)})"
            held.append(text)
        bottleneck = curve.bottleneck
        cut = bottleneck.truncation
        rows.append(
            {
                "title": TITLES[curve.family],
                "colour": COLOURS[curve.family],
                "total": _number(bottleneck.total),
                "bits": _number(bottleneck.total * UNITS["bits"]),
                "low": None if curve.lower is None else float(curve.lower[0]),
                "high": None if curve.upper is None else float(curve.upper[0]),
                "held": held,
                "refits": _refits(curve),
                "noised": _number(curve.noised.total),
                "noised_bits": _number(curve.noised.total * UNITS["bits"]),
                "noised_held": [
                    _frames(curve.noised.window_for(fraction), longest) for fraction in FRACTIONS
                ],
                "truncation": "not known" if cut is None else "0" if cut < 1e-9 else f"{cut:.1g}",
            }
        )
    return rows


def _refits(curve: MemoryCurve) -> str:
    """What became of the refits, where it was not all well."""
    parts = []
    if curve.failed:
        parts.append(f"{curve.failed} of {curve.replicates} refits failed")
    if curve.fell_back:
        parts.append(
            f"{curve.fell_back} of {curve.replicates} refits fell back to independent frames"
        )
    if curve.no_band and curve.replicates:
        more_than_half = 2 * (curve.failed + curve.fell_back) > curve.replicates
        parts.append("no band: more than half" if more_than_half else f"no band: {curve.no_band}")
    return f"{TITLES[curve.family]}: {'; '.join(parts)}" if parts else ""


def _candidate_rows(fit: VideoFit) -> list[dict[str, Any]]:
    best = fit.candidates[0]
    rows = []
    for candidate in fit.candidates:
        behind = best.scores - candidate.scores
        error, _ = block_standard_error(behind)
        rows.append(
            {
                "title": TITLES[candidate.family],
                "settings": _settings(candidate),
                "gain": candidate.gain,
                "gain_error": candidate.gain_error,
                "setting_gain": candidate.setting_gain,
                "setting_gain_error": candidate.setting_gain_error,
                "variance_low": _number(float(candidate.variance_ratio.min())),
                "variance_high": _number(float(candidate.variance_ratio.max())),
                "reproduces_variance": candidate.reproduces_variance,
                "behind": float(behind.mean()),
                "behind_error": float(error),
                "radius": candidate.spectral_radius,
                "white": int(np.sum(candidate.ljung_box >= 0.05)),
                "smallest_p": float(candidate.ljung_box.min()),
                "kurtosis": float(candidate.excess_kurtosis.max()),
                "contraction": candidate.contraction,
            }
        )
    return rows


def _cautions(result: AnalysisResult) -> list[tuple[str, str]]:
    """What the fit cannot say, each with this clip's own numbers."""
    fit = result.fit
    best, diagnostics, dim = fit.candidates[0], fit.diagnostics, fit.video.dim
    longest = int(result.curves[0].window_lengths.max())
    explained = 100 * float(fit.explained_variance.sum())
    kurtosis = float(best.excess_kurtosis.max())
    white = int(np.sum(best.ljung_box >= 0.05))
    out = []
    if diagnostics.hint:
        out.append(("Held frames", f"{_sentence(diagnostics.hint)}."))
    noted = [text for text in result.warnings if text != diagnostics.hint]
    if noted:
        out.append(("These laws", " ".join(f"{_sentence(text)}." for text in noted)))
    if result.returns is None:
        returns = "The clip is too short to tell how often views return."
    else:
        returns = (
            f"In this clip {100 * result.returns:.0f} % of the frames look more like one seen more "
            f"than {longest} frames earlier than like the frame just before."
        )
    out += [
        (
            "Places that return",
            "A stationary linear law forgets a view once the camera has turned away: it cannot "
            f"recognise a place. {returns} What a memory of places is worth is not in these "
            "numbers; they are about motion and exposure, frame to frame.",
        ),
        (
            "Fine detail",
            f"{dim} principal component{'s hold' if dim > 1 else ' holds'} {explained:.0f} % of "
            f"the pixels' variance. The other {100 - explained:.0f} %, textures and small objects, "
            "is in no number on this page. Components come from the whole clip, held-out blocks "
            "included.",
        ),
        (
            "Stationarity",
            "One law is fitted to the whole clip. Between its halves a component's mean moves by "
            f"up to {diagnostics.mean_shift:.2g} standard deviations and a variance changes by a "
            f"factor of up to {diagnostics.variance_ratio:.2g} (0 and 1 for a long stationary "
            "clip). A slow drift reads as long memory.",
        ),
        (
            "Gaussian errors",
            f"The largest excess kurtosis of the best law's residuals is {kurtosis:.2g} (0 for a "
            "Gaussian). "
            + (
                "A few sudden frames weigh heavily in the held-out scores: see the trace above."
                if kurtosis > 3.0
                else "Nothing here speaks against Gaussian errors as such, but the next frame may "
                "still depend on the past in ways that are not linear."
            ),
        ),
        (
            "What the law leaves over",
            f"{white} of {dim} residual component{'s' if dim > 1 else ''} pass"
            f"{'' if dim > 1 else 'es'} the Ljung–Box test of whiteness over {best.ljung_box_lags} "
            f"lags (p ≥ 0.05; smallest p = {best.ljung_box.min():.1g}). Where it fails, "
            "information about the past is left that the law does not use.",
        ),
        (
            "Length",
            f"{diagnostics.frames} frames; memories longer than {longest} frames (an eighth of "
            f"the clip, at most {LONGEST_WINDOW}) are not looked at. Held-out numbers rest on "
            f"{result.gain.targets} frames in {result.gain.blocks} blocks.",
        ),
        (
            "Family",
            "A VAR(p) forgets nothing beyond p frames and ARFIMA always something: the shape of a "
            "curve is partly the family's own. Believe what the families and the held-out gain "
            "agree on.",
        ),
        (
            "Actions",
            "Whoever moved the camera is not known here. For a world model that is told the "
            "actions, the next frame is more predictable and the past can matter more or less.",
        ),
        (
            "Noise levels",
            "Levels are relative to components of unit average variance: one unit is "
            f"{fit.scale:.3g} in pixel values summed over the frame (root of the sum of squares; "
            "pixels in 0..1).",
        ),
    ]
    memories = [m for c in fit.candidates for m in c.settings.get("memory", [])]
    at_edge = sum(m >= 0.489 for m in memories)
    if at_edge:
        out.append(
            (
                "At the edge",
                f"The long-memory parameter sits at its upper limit of 0.49 in {at_edge} of {dim} "
                f"component{'s' if dim > 1 else ''}: the clip wanders more like a random walk than "
                "like any stationary law. There the ARFIMA curve is set by the limit, not by the "
                "clip, and its narrow band means nothing.",
            )
        )
    if best.contraction < 1.0:
        out.append(
            (
                "Pulled inside",
                "The best estimate was unstable; its dynamics were contracted by a factor "
                f"{best.contraction:.4f} to have a stationary law.",
            )
        )
    return out


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _headline(result: AnalysisResult) -> str:
    gain = result.gain
    best = result.fit.candidates[0]
    law = _law_headline(result) if best.detectable else None
    if not gain.detectable:
        if law is None:
            return (
                "No information about the past is detectable: neither the best law nor prediction "
                "without a law gains two standard errors on held-out frames "
                f"({best.gain:.2g} ± {best.gain_error:.2g} and {gain.total:.2g} ± "
                f"{gain.total_error:.2g} nats a frame)."
            )
        return f"{law} Prediction with no law assumed found no detectable gain from any memory."
    held = gain.window_for(0.9)
    model_free = (
        f"Prediction of held-out frames, with no law assumed, gains {gain.total:.3g} ± "
        f"{gain.total_error:.2g} nats, 90 % of it from the last "
        f"{'frame' if held == 1 else f'{held} frames'}."
    )
    if law is None:
        return f"The best law's gain on held-out frames is not detectable. {model_free}"
    return f"{law} {model_free}"


def _law_headline(result: AnalysisResult) -> str:
    curve = result.curves[0]
    longest = int(curve.window_lengths.max())
    window, total = curve.windows[0.9][0], curve.bottleneck.total
    if not np.isfinite(total):
        return (
            "By the best law the past tells everything about the next frame, infinitely many nats: "
            "some part of the frames repeats exactly."
        )
    if total <= 0.0:
        return "By the best law the past tells nothing about the next frame."
    amount = f"{total:.3g} nats ({total * UNITS['bits']:.3g} bits)"
    if window is None:
        return (
            f"The past tells {amount} about the next frame, and even the last {longest} frames "
            "hold less than 90 % of it (best law)."
        )
    plural = "frames hold" if window != 1 else "frame holds"
    number = f"{window} " if window != 1 else ""
    return (
        f"The past tells {amount} about the next frame; the last {number}{plural} 90 % of it "
        "(best law)."
    )


def _page(result: AnalysisResult, clip: np.ndarray, options: dict[str, Any]) -> str:
    import jinja2
    import matplotlib

    fit = result.fit
    with matplotlib.rc_context(STYLE):
        pictures = {
            "memory": _png(_memory_figure(result)),
            "schedules": _png(
                _schedule_figure(
                    [loss for loss in result.schedules if loss.family == fit.candidates[0].family]
                )
            ),
            "clip": _png(_contact_sheet(clip), tight=True),
            "components": _png(_component_figure(fit)),
            "surprise": _png(_surprise_figure(fit)),
        }
    template = resources.files("arvdm_theory").joinpath("templates/analyze.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    best = fit.candidates[0]
    gain = result.gain
    longest = int(result.curves[0].window_lengths.max())
    return environment.from_string(template).render(
        source=result.source,
        options=options,
        version=arvdm_theory.__version__,
        headline=_headline(result),
        pictures=pictures,
        curves=_curve_rows(result),
        candidates=_candidate_rows(fit),
        best=TITLES[best.family],
        best_family=best.family,
        gain_rows=[
            {
                "r": int(r),
                "gain": float(gain.gain[i]),
                "error": float(gain.standard_error[i]),
                "bottleneck": float(gain.bottleneck[i]),
                "bottleneck_error": float(gain.bottleneck_error[i]),
            }
            for i, r in enumerate(gain.window_lengths)
        ],
        gain_held=[_frames(gain.window_for(fraction)) for fraction in FRACTIONS],
        gain_total=gain.total,
        gain_targets=gain.targets,
        gain_error=gain.total_error,
        gain_detectable=gain.detectable,
        variance_range=VARIANCE_RANGE,
        fit=fit,
        explained=100 * float(fit.explained_variance.sum()),
        diagnostics=fit.diagnostics,
        longest=longest,
        horizon=result.curves[0].bottleneck.horizon,
        replicates=result.curves[0].replicates,
        block=result.curves[0].block,
        level=result.level,
        t_max=result.schedules[0].schedule.t_max,
        frames_seen=FRAMES_SEEN,
        calls=CALLS_PER_FRAME,
        schedules=result.schedules,
        titles=TITLES,
        roll_out=ROLL_OUT,
        cautions=_cautions(result),
        table=result.table.name,
        schedule_table=result.schedule_table.name,
    )
