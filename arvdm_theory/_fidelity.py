"""Generated frames against true ones: retrieval (T3), PSNR decay (T4) and Fréchet distances."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import is_torch_array

from arvdm_theory._estimates import Estimate, NeedleBound, Proportion, needle_bound
from arvdm_theory._gaussian import psd_factor
from arvdm_theory._teacher_forcing import to_numpy
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError, TooLittleDataError

# --- scores of frames -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """Scores of frames `(..., H, W, C)` against others, `(...)`, and whether more is better."""

    score: Callable[[np.ndarray, np.ndarray], np.ndarray]
    higher: bool
    unit: str


def _psnr(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    error = np.mean((frames - others) ** 2, axis=(-3, -2, -1))
    with np.errstate(divide="ignore"):
        return np.asarray(-10.0 * np.log10(error))


def _one_by_one(
    score: Callable[[np.ndarray, np.ndarray], float],
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The score of two frames, for `(..., H, W, C)`."""

    def scores(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
        leading = frames.shape[:-3]
        pairs = (item.reshape(-1, *frames.shape[-3:]) for item in (frames, others))
        return np.array([score(a, b) for a, b in zip(*pairs, strict=True)]).reshape(leading)

    return scores


@_one_by_one
def _ssim(frame: np.ndarray, other: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    if min(frame.shape[:2]) < 7:
        raise ParameterError("rule", "not ssim below 7 x 7 pixels", frame.shape[:2])
    return float(structural_similarity(frame, other, win_size=7, data_range=1.0, channel_axis=-1))


def _lab(frames: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab

    if frames.shape[-1] != 3:
        raise ParameterError("frames", "RGB (3 channels) for a Lab rule", frames.shape[-1])
    return np.asarray(rgb2lab(frames))


_LAB_BINS = (np.linspace(0.0, 100.0, 9), np.linspace(-110.0, 110.0, 12), np.linspace(-110, 110, 12))


@_one_by_one
def _lab_histogram(frame: np.ndarray, other: np.ndarray) -> float:
    counts = [
        np.histogramdd(_lab(item).reshape(-1, 3), bins=_LAB_BINS)[0] for item in (frame, other)
    ]
    return float(np.minimum(*counts).sum() / counts[0].sum())


def _region_means(frames: np.ndarray, grid: int = 4) -> np.ndarray:
    """`(..., regions, regions, C)`."""
    for axis in (-3, -2):
        parts = np.array_split(frames, min(grid, frames.shape[axis]), axis=axis)
        frames = np.concatenate([part.mean(axis=axis, keepdims=True) for part in parts], axis=axis)
    return frames


def _lab_regions(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    difference = _region_means(_lab(frames)) - _region_means(_lab(others))
    return np.asarray(np.sqrt(np.sum(difference**2, axis=-1)).mean(axis=(-2, -1)))


RULES: dict[str, _Rule] = {
    "psnr": _Rule(_psnr, True, "dB"),
    "ssim": _Rule(_ssim, True, "SSIM"),
    "lab_histogram": _Rule(_lab_histogram, True, "share"),
    "lab_regions": _Rule(_lab_regions, False, "Delta E"),
}
"""How a frame is scored: `psnr` (dB, frames in [0, 1]); `ssim` (7 × 7 window, RGB, data range 1:
block worlds); `lab_histogram`, intersection of the joint Lab histograms (8 × 11 × 11 bins), 0..1;
`lab_regions`, mean CIE76 ΔE of the mean Lab colours of a 4 × 4 grid of regions, where *less* is
better (mazes: a small slip on a sharp edge costs PSNR as much as a wrong wall). All but `psnr`
need scikit-image (extra `video`)."""


def _unit_frames(parameter: str, frames: Any, data_range: tuple[float, float]) -> np.ndarray:
    """Videos `(n, T, H, W, C)` as float64 in [0, 1], clamped."""
    if is_torch_array(frames):
        frames = frames.detach().cpu().numpy()
    values = np.asarray(frames)
    if values.ndim != 5:
        raise ParameterError(parameter, "(videos, frames, H, W, channels)", values.shape)
    if values.dtype == np.uint8:
        return values / 255.0
    if values.dtype.kind != "f":
        raise ParameterError(parameter, "floating, or bytes (uint8)", values.dtype)
    if not np.all(np.isfinite(values)):
        raise ParameterError(parameter, "finite", "NaN or infinity")
    low, high = data_range
    return np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)


def _pair(
    truth: Any, generated: Any, data_range: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    first = _unit_frames("truth", truth, data_range)
    second = _unit_frames("generated", generated, data_range)
    if first.shape != second.shape:
        raise ParameterError("generated", f"of the truth's shape {first.shape}", second.shape)
    return first, second


def _rule(rule: str) -> _Rule:
    if rule not in RULES:
        raise ParameterError("rule", f"one of {', '.join(RULES)}", rule)
    return RULES[rule]


def frame_scores(
    truth: Any, generated: Any, rule: str = "psnr", *, data_range: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """Score of every generated frame against the truth's, `(n, T)`; one of `RULES`.

    Arguments: videos `(n, T, H, W, C)`, bytes, or floating in `data_range` (values outside it are
    clamped). An identical frame has infinite PSNR.

    >>> truth = np.zeros((1, 2, 8, 8, 3))
    >>> frame_scores(truth, truth + 0.1).round(6).tolist()
    [[20.0, 20.0]]
    """
    first, second = _pair(truth, generated, data_range)
    score = _rule(rule).score
    return np.array([score(*videos) for videos in zip(first, second, strict=True)])


# --- T3: retrieval by age of the view -------------------------------------------------------------

EVENTS = ("mean", "all", "any")
"""When a *video* succeeds in a span: the mean score of its returning frames passes the threshold,
all of them pass, or any does. Frames of one video are not independent trials; videos are."""


@dataclass(frozen=True, eq=False, repr=False)
class SpanRetrieval:
    """Retrieval of views last seen more than `after` and at most `up_to` frames ago.

    `rate`: videos that succeed; `frame_rate`: frames that pass, mean over videos of each video's
    share (`None` below 2 videos); `mean_score` of the frames. `truth`: the same event scored on
    the truth; `bound`: M5 in nats, or `None` and `reason` says why it does not exist.
    """

    after: float
    up_to: float
    frames: int
    rate: Proportion
    frame_rate: Estimate | None
    mean_score: float
    truth: Proportion | None
    bound: NeedleBound | None
    reason: str | None

    def __repr__(self) -> str:
        bound = "none" if self.bound is None else f"KL >= {self.bound.value:.3g} nats"
        return f"SpanRetrieval({self.after:g}-{self.up_to:g}: {self.rate}, {bound})"


@dataclass(frozen=True, eq=False, repr=False)
class Retrieval:
    """T3 by span of age, with the rule and threshold that define success beside every rate.

    `unseen`: the same score on frames whose view was never seen before, against the truth: how
    often the rule succeeds by chance or by context (`None` if there are none).
    """

    rule: str
    threshold: float
    higher_is_better: bool
    event: str
    against: str
    spans: tuple[SpanRetrieval, ...]
    unseen: Proportion | None
    theorem: str = "T3, M5"

    @property
    def statement(self) -> str:
        """The rule in words, to stand next to every rate."""
        sign = ">=" if self.higher_is_better else "<="
        return (
            f"{self.event} of {self.rule} {sign} {self.threshold:g} {RULES[self.rule].unit} "
            f"against the {self.against}, over a video's returning frames"
        )

    def __repr__(self) -> str:
        rows = ", ".join(repr(row) for row in self.spans)
        return f"Retrieval({self.statement}: {rows})"


_NO_EVENT = (
    "success against the truth is an event of the generated video only where the returning view is "
    "fixed by frames that were given (bit-exact returns into the context); score against='view'"
)


def retrieval(
    truth: Any,
    generated: Any,
    age: Any,
    *,
    rule: str,
    threshold: float,
    spans: Sequence[tuple[float, float]],
    context: int = 0,
    event: str = "mean",
    against: str = "truth",
    known_truth_rate: float | None = None,
    data_range: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.95,
) -> Retrieval:
    r"""T3: are returning views the views that were seen? By age of the view, with M5.

    Arguments
    ---------
    truth, generated: whole videos `(n, T, H, W, C)`, n independent ones, given frames included
        (the first `context` frames of each are not scored); bytes, or floating in `data_range`.
    age: `(n, T)` frames since this view was last seen; −1 if never.
    rule, threshold: one of `RULES`; a score passes at or above the threshold (`lab_regions`: at or
        below). Their choice is part of the result.
    spans: (after, up to): ages a with after < a ≤ up to.
    event: one of `EVENTS`. against: `truth`, the true frame at the same time (as in tables); or
        `view`, the earlier frame of the *same video* that showed this view: an event of the video
        alone, which is what M5 needs.
    known_truth_rate: s_P if the world fixes it (1.0 for exact returns with `event` satisfied by
        construction), otherwise s_P is measured on the truth with the same rule.

    Every rate counts videos with at least one frame in the span. M5's bound is given if the event
    is one of the video: always for `view`; for `truth` where every counted frame equals, in the
    truth and bit for bit, its earlier view, and that view lies in the context. It is certified for
    one span and a rule and threshold fixed beforehand, not for the best of several.

    Raises `ParameterError`. Needs scikit-image (extra `video`) for all rules but `psnr`.

    Source: THEORY, 6 (T3) and M5; EXPERIMENTS, 4.

    >>> truth = np.random.default_rng(0).random((20, 4, 8, 8, 3))
    >>> truth[:, 3] = truth[:, 0]
    >>> age = np.tile([-1, -1, -1, 3], (20, 1))
    >>> options = {"rule": "psnr", "threshold": 20.0, "spans": [(0, 4)], "context": 3}
    >>> result = retrieval(truth, truth, age, **options)
    >>> result.spans[0].rate.value, result.spans[0].bound.value
    (1.0, 0.0)
    """
    first, second = _pair(truth, generated, data_range)
    ages = np.asarray(to_numpy(age))
    if ages.shape != first.shape[:2]:
        raise ParameterError("age", f"of shape {first.shape[:2]}", ages.shape)
    chosen = _rule(rule)
    for name, value, allowed in (("event", event, EVENTS), ("against", against, _AGAINST)):
        if value not in allowed:
            raise ParameterError(name, f"one of {', '.join(allowed)}", value)
    context = positive_integer("context", context, 0)
    scored = np.arange(first.shape[1]) >= context
    earlier = np.arange(first.shape[1]) - ages
    if np.any((ages > 0) & (earlier < 0)):
        raise ParameterError("age", "at most the frame's own index (0-based)", float(ages.max()))
    returning = scored & (ages > 0)

    def table(mask: np.ndarray, of: np.ndarray, view: np.ndarray | None) -> np.ndarray:
        out = np.full(mask.shape, np.nan)
        for i, t in np.argwhere(mask):
            other = first[i, t] if view is None else view[i, int(earlier[i, t])]
            out[i, t] = chosen.score(of[i, t], other)
        return out

    own = against == "view"
    scores = table(returning, second, second if own else None)
    real = table(returning, first, first)
    rows = []
    for after, up_to in spans:
        mask = returning & (ages > after) & (ages <= up_to)
        rows.append(
            _span(
                (float(after), float(up_to)),
                mask,
                scores,
                real,
                _passes(chosen, threshold),
                event,
                own or _fixed_by_context(first, mask, earlier, context),
                known_truth_rate,
                confidence,
            )
        )
    unseen = None
    fresh = scored & (ages < 0)
    if fresh.any():
        unseen = _trials(
            table(fresh, second, None), fresh, _passes(chosen, threshold), event, confidence
        )
    return Retrieval(rule, float(threshold), chosen.higher, event, against, tuple(rows), unseen)


_AGAINST = ("truth", "view")


def _passes(rule: _Rule, threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    def passes(scores: np.ndarray) -> np.ndarray:
        return np.asarray(scores >= threshold if rule.higher else scores <= threshold)

    return passes


def _trials(
    scores: np.ndarray,
    mask: np.ndarray,
    passes: Callable[[np.ndarray], np.ndarray],
    event: str,
    confidence: float,
) -> Proportion:
    videos = [row[kept] for row, kept in zip(scores, mask, strict=True) if kept.any()]
    if event == "mean":
        won = [bool(passes(np.mean(video))) for video in videos]
    else:
        decide = np.all if event == "all" else np.any
        won = [bool(decide(passes(video))) for video in videos]
    return Proportion(int(np.sum(won)), len(won), confidence)


def _fixed_by_context(
    truth: np.ndarray, mask: np.ndarray, earlier: np.ndarray, context: int
) -> bool:
    """Whether every counted frame is, bit for bit, a view of the given frames."""
    return all(
        earlier[i, t] < context and np.array_equal(truth[i, t], truth[i, int(earlier[i, t])])
        for i, t in np.argwhere(mask)
    )


def _span(
    ends: tuple[float, float],
    mask: np.ndarray,
    scores: np.ndarray,
    real: np.ndarray,
    passes: Callable[[np.ndarray], np.ndarray],
    event: str,
    is_event: bool,
    known: float | None,
    confidence: float,
) -> SpanRetrieval:
    used = mask.any(axis=1)
    if not used.any():
        raise TooLittleDataError(
            "spans", "such that each holds returning frames", f"{ends[0]:g}-{ends[1]:g}"
        )
    rate = _trials(scores, mask, passes, event, confidence)
    shares = np.array(
        [passes(row[kept]).mean() for row, kept in zip(scores[used], mask[used], strict=True)]
    )
    frame_rate = None
    if shares.size > 1:
        frame_rate = Estimate.of(shares, unit="rate", theorem="T3", confidence=confidence)
    truth = _trials(real, mask, passes, event, confidence)
    bound = needle_bound(truth if known is None else known, rate, confidence) if is_event else None
    return SpanRetrieval(
        after=ends[0],
        up_to=ends[1],
        frames=int(mask.sum()),
        rate=rate,
        frame_rate=frame_rate,
        mean_score=float(scores[mask].mean()),
        truth=truth,
        bound=bound,
        reason=None if is_event else _NO_EVENT,
    )


# --- T4: PSNR and its decay -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class PsnrDecay:
    """T4: PSNR per generated frame and per span, its decay, always with the start value.

    Attributes
    ----------
    per_frame, per_frame_error: `(T,)` dB, mean over videos and its standard error.
    spans: (first, last + 1) generated frames, 0-based. per_span: per frame, then the mean over the
        span's frames, then over videos. pooled: `(S,)` PSNR of the pooled MSE of each span (never
        larger). start: the first span. decay: first minus last span, paired by video, dB.
    mse_per_span, mse_decay: MSE of frames in [0, 1], and last minus first span.
    capped: frames equal to the truth whose infinite PSNR was replaced by `cap` dB.
    """

    per_frame: np.ndarray
    per_frame_error: np.ndarray
    spans: tuple[tuple[int, int], ...]
    per_span: tuple[Estimate, ...]
    pooled: np.ndarray
    decay: Estimate
    mse_per_span: tuple[Estimate, ...]
    mse_decay: Estimate
    cap: float
    capped: int
    theorem: str = "T4"

    @property
    def start(self) -> Estimate:
        """PSNR of the first span: a model that starts low has little left to lose."""
        return self.per_span[0]

    def __repr__(self) -> str:
        return (
            f"PsnrDecay(start {self.start.value:.2f} dB, decay {self.decay.value:.2f} ± "
            f"{self.decay.standard_error:.2g} dB, in MSE {self.mse_decay.value:.3g}; "
            f"{self.start.n} videos)"
        )


def psnr_decay(
    truth: Any,
    generated: Any,
    *,
    spans: Sequence[tuple[int, int]],
    context: int = 0,
    data_range: tuple[float, float] = (0.0, 1.0),
    cap: float = 100.0,
    confidence: float = 0.95,
) -> PsnrDecay:
    """T4: PSNR against the truth per frame and per span, and first minus last span.

    Arguments
    ---------
    truth, generated: `(n, T, H, W, C)`, n ≥ 2 videos; bytes, or floating in `data_range`, clamped.
    spans: (first, end) over *generated* frames, counted from 0 after the `context` frames, which
        are excluded.
    cap: dB that stands for the infinite PSNR of an identical frame; how many were is reported.

    Standard errors are over videos of one network; combine training seeds with `over_seeds`. PSNR
    against the truth is not a function of a clip's law: it measures prediction, not realism.

    Source: THEORY, 6 (T4); EXPERIMENTS, 4.

    >>> truth = np.zeros((2, 4, 8, 8, 1))
    >>> worse = truth + np.array([0.1, 0.1, 0.2, 0.2])[:, None, None, None]
    >>> result = psnr_decay(truth, worse, spans=[(0, 2), (2, 4)])
    >>> round(result.start.value, 6), round(result.decay.value, 2), round(result.mse_decay.value, 6)
    (20.0, 6.02, 0.03)
    """
    first, second = _pair(truth, generated, data_range)
    context = positive_integer("context", context, 0)
    mse = np.mean((first - second)[:, context:] ** 2, axis=(2, 3, 4))
    if mse.shape[0] < 2:
        raise TooLittleDataError("truth", "at least 2 videos, for a standard error", mse.shape[0])
    ends = _spans(spans, mse.shape[1])
    same = mse == 0.0
    psnr = np.where(same, cap, -10.0 * np.log10(np.where(same, 1.0, mse)))

    def estimate(values: np.ndarray, unit: str) -> Estimate:
        return Estimate.of(values, unit=unit, theorem="T4", confidence=confidence)

    by_span = [psnr[:, a:b].mean(axis=1) for a, b in ends]
    mse_by_span = [mse[:, a:b].mean(axis=1) for a, b in ends]
    pooled = np.array([values.mean() for values in mse_by_span])
    with np.errstate(divide="ignore"):
        pooled_psnr = np.minimum(-10.0 * np.log10(pooled), cap)
    return PsnrDecay(
        per_frame=psnr.mean(axis=0),
        per_frame_error=psnr.std(axis=0, ddof=1) / np.sqrt(psnr.shape[0]),
        spans=ends,
        per_span=tuple(estimate(values, "dB") for values in by_span),
        pooled=pooled_psnr,
        decay=estimate(by_span[0] - by_span[-1], "dB"),
        mse_per_span=tuple(estimate(values, "MSE") for values in mse_by_span),
        mse_decay=estimate(mse_by_span[-1] - mse_by_span[0], "MSE"),
        cap=float(cap),
        capped=int(same.sum()),
    )


def _spans(spans: Sequence[tuple[int, int]], length: int) -> tuple[tuple[int, int], ...]:
    ends = tuple((int(a), int(b)) for a, b in spans)
    if not ends:
        raise ParameterError("spans", "at least one (first, end)", spans)
    for a, b in ends:
        if not 0 <= a < b <= length:
            raise ParameterError("spans", f"0 <= first < end <= {length} generated frames", (a, b))
    return ends


# --- Fréchet distances ----------------------------------------------------------------------------


def gaussian_frechet_distance(
    mean_p: np.ndarray, covariance_p: np.ndarray, mean_q: np.ndarray, covariance_q: np.ndarray
) -> float:
    r"""Squared 2-Wasserstein distance of two Gaussians (Dowson and Landau 1982).

    $\|\mu_P-\mu_Q\|^2 + tr(P + Q - 2(P^{1/2}QP^{1/2})^{1/2})$; the last trace is the nuclear norm
    of $A'B$ with $P = AA'$, $Q = BB'$, so singular covariances are no trouble.

    >>> one = np.eye(2)
    >>> round(gaussian_frechet_distance(np.zeros(2), one, np.ones(2), 4.0 * one), 12)
    4.0
    """
    left, right = psd_factor(np.asarray(covariance_p)), psd_factor(np.asarray(covariance_q))
    overlap = np.linalg.svd(left.T @ right, compute_uv=False).sum()
    shift = float(np.sum((np.asarray(mean_p) - np.asarray(mean_q)) ** 2))
    return float(shift + np.trace(covariance_p) + np.trace(covariance_q) - 2.0 * overlap)


def _pixel_features(clips: np.ndarray) -> np.ndarray:
    """Pixels averaged over a 4 × 4 grid, then 16 fixed random orthonormal directions of a clip."""
    small = np.array([[_region_means(frame) for frame in clip] for clip in clips])
    flat = small.reshape(len(clips), -1)
    size = flat.shape[1]
    if size <= 16:
        return flat
    drawn = np.random.default_rng(0).standard_normal((size, 16))
    return np.asarray(flat @ np.linalg.qr(drawn)[0])


def _statistics(clips: np.ndarray) -> np.ndarray:
    """Per channel: mean, deviation, mean absolute differences down, across and in time."""
    parts = [
        clips.mean(axis=(1, 2, 3)),
        clips.std(axis=(2, 3)).mean(axis=1),
        np.abs(np.diff(clips, axis=2)).mean(axis=(1, 2, 3)),
        np.abs(np.diff(clips, axis=3)).mean(axis=(1, 2, 3)),
    ]
    if clips.shape[1] > 1:
        parts.append(np.abs(np.diff(clips, axis=1)).mean(axis=(1, 2, 3)))
    return np.concatenate(parts, axis=1)


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "projected pixels": _pixel_features,
    "pixel statistics": _statistics,
}
"""Features of a clip `(n, S, H, W, C)` in [0, 1] → `(n, features)`: `projected pixels`, a 4 × 4
grid of mean colours in each frame, projected on 16 fixed random orthonormal directions; `pixel
statistics`, per channel mean, deviation and mean absolute differences in space and time."""


@dataclass(frozen=True, eq=False, repr=False)
class FrechetDistance:
    """A Fréchet distance of one span of generated video on named features.

    `value` squared distance, `standard_error` by a grouped jackknife over videos (paired: truth and
    generated of a video are left out together); `self_distance`: between two halves of the truth,
    the positive bias and noise at *half* the number of videos. Needs n well above `size`, the
    number of features; compare only equal n and equal features.
    """

    name: str
    span: tuple[int, int]
    value: float
    standard_error: float
    self_distance: float
    n: int
    size: int
    unit: str = "squared feature units"

    @property
    def interval(self) -> tuple[float, float]:
        """About 95 %: two standard errors each way (a jackknife: not valid near 0)."""
        return self.value - 2.0 * self.standard_error, self.value + 2.0 * self.standard_error

    def __repr__(self) -> str:
        return (
            f"FrechetDistance({self.name}, frames {self.span[0]}-{self.span[1]}: {self.value:.4g} "
            f"± {self.standard_error:.2g}, truth against itself {self.self_distance:.2g}, "
            f"n={self.n})"
        )


def frechet_distance(
    truth: Any,
    generated: Any,
    *,
    spans: Sequence[tuple[int, int]],
    features: str | Callable[[np.ndarray], np.ndarray] = "projected pixels",
    name: str | None = None,
    context: int = 0,
    data_range: tuple[float, float] = (0.0, 1.0),
) -> list[FrechetDistance]:
    """Fréchet distance between real and generated clips, span by span, on named features.

    Never called FVD: that is `fvd`, on the features of an I3D network that you supply.

    Arguments
    ---------
    truth, generated: `(n, T, H, W, C)`, n ≥ 4 videos. spans, context: as in `psnr_decay`.
    features: one of `FEATURES`, or a function `(n, S, H, W, C)` in [0, 1] → `(n, features)`; then
        `name` says what they are.

    >>> rng = np.random.default_rng(0)
    >>> videos = rng.random((2, 64, 2, 8, 8, 3))
    >>> [row] = frechet_distance(*videos, spans=[(0, 2)])
    >>> row.name, row.value < 0.1
    ('Fréchet distance on projected pixels', True)
    """
    if callable(features):
        if not name:
            raise ParameterError("name", "given: what the features are", name)
        extract = features
    else:
        if features not in FEATURES:
            raise ParameterError("features", f"one of {', '.join(FEATURES)}", features)
        extract, name = FEATURES[features], name or features
    label = f"Fréchet distance on {name}"
    return _frechet_by_span(label, truth, generated, spans, extract, context, data_range)


def _frechet_by_span(
    label: str,
    truth: Any,
    generated: Any,
    spans: Sequence[tuple[int, int]],
    extract: Callable[[np.ndarray], np.ndarray],
    context: int,
    data_range: tuple[float, float],
) -> list[FrechetDistance]:
    first, second = _pair(truth, generated, data_range)
    context = positive_integer("context", context, 0)
    first, second = first[:, context:], second[:, context:]
    n = first.shape[0]
    if n < 4:
        raise TooLittleDataError("truth", "at least 4 videos", n)
    rows = []
    for a, b in _spans(spans, first.shape[1]):
        p, q = (np.asarray(extract(item[:, a:b]), dtype=np.float64) for item in (first, second))
        if p.ndim != 2 or p.shape[0] != n or p.shape != q.shape:
            raise ParameterError("features", f"({n}, features)", p.shape)
        groups = min(n, 20)
        member = np.arange(n) % groups
        left_out = np.array([_frechet(p[member != g], q[member != g]) for g in range(groups)])
        spread = (groups - 1) / groups * float(np.sum((left_out - left_out.mean()) ** 2))
        rows.append(
            FrechetDistance(
                label,
                (a, b),
                _frechet(p, q),
                float(np.sqrt(spread)),
                _frechet(p[: n // 2], p[n // 2 : 2 * (n // 2)]),
                n,
                p.shape[1],
            )
        )
    return rows


def _frechet(p: np.ndarray, q: np.ndarray) -> float:
    moments = [(x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (p, q)]
    return gaussian_frechet_distance(*moments[0], *moments[1])


_I3D_FEATURES = 400


def fvd(
    truth: Any,
    generated: Any,
    i3d: str | Path,
    *,
    spans: Sequence[tuple[int, int]],
    context: int = 0,
    data_range: tuple[float, float] = (0.0, 1.0),
    device: str = "cpu",
    batch: int = 8,
) -> list[FrechetDistance]:
    """Fréchet video distance by span, with the I3D TorchScript file that you supply.

    `i3d`: path of the usual TorchScript export, called as
    `i3d(videos, rescale=True, resize=True, return_features=True)` with videos `(n, 3, S, H, W)` in
    0..255, returning 400 features; it needs about 10 frames or more a span. No weights are shipped
    or fetched. Other arguments as in `frechet_distance`.

    Raises `ParameterError` if the file is missing or does not return 400 features.

    Source: Unterthiner et al., arXiv 1812.01717.
    """
    path = Path(i3d)
    if not path.is_file():
        raise ParameterError("i3d", "the path of a TorchScript file", i3d)
    import torch

    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated, but it is the format in which I3D is passed around
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ParameterError("i3d", f"a TorchScript file ({reason})", i3d) from None

    def extract(clips: np.ndarray) -> np.ndarray:
        if clips.shape[-1] != 3:
            raise ParameterError("frames", "RGB (3 channels)", clips.shape[-1])
        out = []
        with torch.no_grad():
            for first in range(0, len(clips), batch):
                part = np.moveaxis(clips[first : first + batch], -1, 1) * 255.0
                videos = torch.as_tensor(np.ascontiguousarray(part)).float().to(device)
                features = network(videos, rescale=True, resize=True, return_features=True)
                out.append(to_numpy(features))
        stacked = np.concatenate(out)
        if stacked.ndim != 2 or stacked.shape[1] != _I3D_FEATURES:
            raise ParameterError("i3d", f"a network of {_I3D_FEATURES} features", stacked.shape)
        return stacked

    return _frechet_by_span("FVD", truth, generated, spans, extract, context, data_range)
