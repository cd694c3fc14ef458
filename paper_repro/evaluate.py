"""Look away and return: what a trained network still knows of the views that come back.

Frames are scored by the age of their view: how many frames ago exactly this view was last seen.
PSNR: frames in [0, 1], clamped; per frame, then the mean over frames. On the panorama a frame is
also a success or not, by the mean colour of each band of its newly revealed columns. Discrete
palette: the nearest colour of the palette must be the true one in every band, no tolerance.
Continuous palette: every channel must lie within a tolerance of the truth. Elsewhere a rule of
`arvdm_theory.empirical.RULES` with its threshold says so. The rate that the rule gives by chance is
measured by scoring every clip against the truth of another one. Clips are the independent trials,
frames of one clip are not: every interval is over clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from arvdm_theory.checks import positive_integer
from arvdm_theory.empirical import RULES, Estimate, Proportion, frame_scores
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import METHODS, Schedule
from paper_repro.arvdm.diffusion import DiffusionConfig, pixels
from paper_repro.arvdm.network import Denoiser
from paper_repro.arvdm.rollout import Generated, roll_out
from paper_repro.worlds import Clips, PanoramaWorld, World
from paper_repro.worlds.panorama import COLOURS, TEXTURES

__all__ = [
    "EvaluationConfig",
    "FrameScores",
    "SpanScore",
    "by_age",
    "generate",
    "measure",
    "palette",
    "revealed",
    "schedule_of",
    "score",
]


@dataclass(frozen=True)
class EvaluationConfig:
    """How a network is sampled and scored.

    Arguments
    ---------
    clips, context, generated, seed: of the look-away-and-return clips.
    spans: (after, up to) in frames of age; first and last frame ages in between are counted.
    schedule: a specification (`Schedule.from_json`); window, stride, t_max, t_min and substeps are
        filled in from the network and from `substeps` where the method needs them.
    reference: how many finished frames are given as references (default: the network's).
    initialisation: `generate` the first w - Δ frames of the window, or `truth`: start from the last
        w - Δ context frames, re-noised (they are then generated once more and not counted).
    sampler: `ancestral` or `ddim`.
    tolerance: of the rule of the panorama's continuous palette, in levels of 255.
    rule, threshold: of the other worlds, see `arvdm_theory.empirical.RULES`.
    """

    clips: int = 64
    context: int = 17
    generated: int = 16
    seed: int = 10_000
    spans: tuple[tuple[int, int], ...] = ((0, 4), (4, 12), (12, 28))
    schedule: dict[str, Any] = field(default_factory=lambda: {"method": "chunk"})
    substeps: int = 8
    reference: int | None = None
    initialisation: str = "generate"
    sampler: str = "ancestral"
    tolerance: float = 36.0
    rule: str | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.rule is not None and self.rule not in RULES:
            raise ParameterError("rule", f"one of {', '.join(RULES)}", self.rule)
        if (self.rule is None) != (self.threshold is None):
            raise ParameterError("threshold", "given with a rule, and only then", self.threshold)
        for name in ("clips", "context", "generated", "substeps"):
            positive_integer(name, getattr(self, name))
        if self.initialisation not in ("generate", "truth"):
            raise ParameterError("initialisation", "generate or truth", self.initialisation)
        object.__setattr__(self, "spans", tuple((int(a), int(b)) for a, b in self.spans))


@dataclass(frozen=True)
class SpanScore:
    """One row: frames whose view was last seen more than `after` and at most `up_to` frames ago.

    `frames` counted, in so many `clips`; `psnr` their mean in dB and `psnr_error` its
    standard error over clips. Where the world has a rule: `frame_rate`, the mean over clips of each
    clip's share of successes, and its standard error; `successes`, clips in which *every* counted
    frame is one, `rate` = successes / clips with its 95 % Clopper–Pearson interval; `chance`, what
    `frame_rate` is against the truth of another clip.
    """

    after: int
    up_to: int
    frames: int
    clips: int
    psnr: float
    psnr_error: float
    frame_rate: float | None
    frame_rate_error: float | None
    successes: int | None
    rate: float | None
    rate_low: float | None
    rate_high: float | None
    chance: float | None


def schedule_of(
    specification: dict[str, Any], window: int, substeps: int, diffusion: DiffusionConfig
) -> Schedule:
    """The schedule of a specification, with what it leaves open filled in.

    >>> schedule_of({"method": "fifo"}, 4, 2, DiffusionConfig(t_max=4.0)).stride
    1
    """
    method = specification.get("method")
    if method not in METHODS:
        raise ParameterError("schedule.method", f"one of {', '.join(METHODS)}", method)
    defaults: dict[str, Any] = {
        "window": window,
        "stride": max(1, window // 2),
        "substeps": substeps,
        "t_max": diffusion.t_max,
        "t_min": diffusion.t_min,
    }
    needed = () if method == "custom" else METHODS[method][0]
    return Schedule.from_json({key: defaults[key] for key in needed} | specification)


def generate(
    network: Denoiser,
    clips: Clips,
    evaluation: EvaluationConfig,
    diffusion: DiffusionConfig,
    *,
    cache: bool = True,
    true_memory: bool = False,
) -> Generated:
    """Continue the clips after their context frames.

    `true_memory`: finished frames are remembered as they truly are (`roll_out`'s `truth`).
    """
    window = network.config.window
    schedule = schedule_of(evaluation.schedule, window, evaluation.substeps, diffusion)
    reference = network.config.reference
    if evaluation.reference is not None:
        reference = evaluation.reference
    device = next(network.parameters()).device
    frames = pixels(clips.frames).to(device)
    given, extra, initial = evaluation.context, 0, None
    if evaluation.initialisation == "truth":
        extra = schedule.window - schedule.stride
        if extra >= given:
            raise ParameterError("context", f"more than window - stride ({extra})", given)
        initial = frames[:, given - extra : given]
    made = roll_out(
        network,
        schedule,
        frames=evaluation.generated + extra,
        context=frames[:, : given - extra],
        action=torch.from_numpy(np.array(clips.actions)).to(device),
        initial=initial,
        truth=frames[:, given - extra :] if true_memory else None,
        reference=reference,
        sampler=evaluation.sampler,
        cache=cache,
        seed=evaluation.seed,
    )
    return Generated(
        frames=made.frames[:, extra:],
        estimates=made.estimates[:, extra:],
        plan=made.plan,
        invented_actions=made.invented_actions,
        calls=made.calls,
    )


def revealed(world: PanoramaWorld, clips: Clips) -> np.ndarray:
    """Which columns of each frame the last pan brought into view, `(n, T, W)`."""
    pan = np.diff(clips.poses[..., 0], axis=1, prepend=clips.poses[:, :1, 0]) * world.pan
    column = np.arange(world.size)
    right = column >= world.size - pan[..., None]
    left = column < -pan[..., None]
    return right | left


def palette(world: PanoramaWorld) -> np.ndarray:
    """Mean colour in [0, 1] of a panel's band for each attribute of the discrete palette, (K, 3).

    >>> palette(PanoramaWorld(palette="discrete", attributes=4)).shape
    (4, 3)
    """
    assert world.panel is not None
    number = np.arange(world.attributes)
    values = np.repeat(COLOURS[number][:, None], world.bands, 1)
    textures = np.repeat((number % len(TEXTURES))[:, None], world.bands, 1)
    height = world.size // world.bands
    means = []
    for attribute in number.tolist():
        # panels that all carry this attribute
        same = [attribute] * (len(world.visible(0)) + 1)
        view = world.picture(values[same], textures[same], 0, 0)
        means.append(view[:height, : world.panel].mean(axis=(0, 1)) / 255.0)
    return np.array(means)


def _revealed_colours(world: PanoramaWorld, clips: Clips, video: np.ndarray) -> np.ndarray:
    """Mean colour of each band of the revealed columns, `(n, T, bands, 3)`; NaN without any."""
    columns = revealed(world, clips)[:, -video.shape[1] :, None, None, :, None]
    n, length, height, width, _ = video.shape
    bands = (n, length, world.bands, height // world.bands, width, 3)
    count = columns.sum(axis=4) * bands[3]
    total = (video.reshape(bands) * columns).sum(axis=(3, 4))
    with np.errstate(invalid="ignore"):  # a frame that reveals nothing: 0 / 0
        return np.asarray(total / count[:, :, 0])


def _successes(
    world: PanoramaWorld, clips: Clips, truth: np.ndarray, made: np.ndarray, tolerance: float
) -> np.ndarray:
    """By the panorama's rule, `(n, T)`, for frames in [0, 1] of shape (n, T, H, W, 3)."""
    real, drawn = (_revealed_colours(world, clips, video) for video in (truth, made))
    if world.palette == "discrete":
        colours = palette(world)
        nearest = [
            np.linalg.norm(mean[..., None, :] - colours, axis=-1).argmin(axis=-1)
            for mean in (real, drawn)
        ]
        shown = np.isfinite(real).all(axis=(2, 3))
        return np.asarray((nearest[0] == nearest[1]).all(axis=2) & shown)
    return np.asarray((np.abs(drawn - real) <= tolerance / 255.0).all(axis=(2, 3)))


@dataclass(frozen=True, eq=False)
class FrameScores:
    """Every generated frame against the true one, arrays `(n, T)`.

    `age` of its view; `error`, its mean squared error, frames in [0, 1], clamped; where the world
    has a rule: `success`, and `lucky`, the same against the truth of another clip; where the rule
    has a number: `score` and `lucky_score`.
    """

    age: np.ndarray
    error: np.ndarray
    success: np.ndarray | None = None
    lucky: np.ndarray | None = None
    score: np.ndarray | None = None
    lucky_score: np.ndarray | None = None

    @property
    def psnr(self) -> np.ndarray:
        """In dB, at most 100."""
        return np.asarray(-10.0 * np.log10(np.maximum(self.error, 1e-10)))


def measure(
    world: World, clips: Clips, made: Generated, evaluation: EvaluationConfig
) -> FrameScores:
    """Score every generated frame of return clips."""
    length = made.estimates.shape[1]
    truth, generated = (
        ((video.cpu().clamp(-1.0, 1.0) + 1.0) / 2.0).movedim(2, -1).double().numpy()
        for video in (pixels(clips.frames)[:, -length:], made.estimates)
    )
    other = np.roll(truth, 1, axis=0)
    age = clips.age[:, -length:]
    error = ((truth - generated) ** 2).mean(axis=(2, 3, 4))
    if isinstance(world, PanoramaWorld):
        success, lucky = (
            _successes(world, clips, real, generated, evaluation.tolerance)
            for real in (truth, other)
        )
        return FrameScores(age, error, success, lucky)
    if evaluation.rule is None or evaluation.threshold is None:
        return FrameScores(age, error)
    scores, by_chance = (
        frame_scores(real, generated, rule=evaluation.rule) for real in (truth, other)
    )
    sign = 1.0 if RULES[evaluation.rule].higher else -1.0
    success, lucky = (
        sign * values >= sign * evaluation.threshold for values in (scores, by_chance)
    )
    return FrameScores(age, error, success, lucky, scores, by_chance)


def score(
    world: World, clips: Clips, made: Generated, evaluation: EvaluationConfig
) -> list[SpanScore]:
    """Score the generated frames of return clips by the age of their view."""
    return by_age(measure(world, clips, made, evaluation), evaluation.spans)


def by_age(frames: FrameScores, spans: Sequence[tuple[int, int]]) -> list[SpanScore]:
    """One row a span (after, up to) in frames of age; spans without a frame are left out."""
    age, psnr, success, lucky = frames.age, frames.psnr, frames.success, frames.lucky
    rows = []
    for after, up_to in spans:
        chosen = (age > after) & (age <= up_to)
        counted = np.flatnonzero(chosen.any(axis=1))
        if not counted.size:
            continue
        rate = frame_rate = None
        if success is not None:
            of_clip = [success[i][chosen[i]] for i in counted]
            rate = Proportion(sum(bool(frames.all()) for frames in of_clip), counted.size)
            frame_rate = _mean([frames.mean() for frames in of_clip], "rate")
        quality = _mean([psnr[i][chosen[i]].mean() for i in counted], "dB")
        rows.append(
            SpanScore(
                after=after,
                up_to=up_to,
                frames=int(chosen.sum()),
                clips=counted.size,
                psnr=float(psnr[chosen].mean()),
                psnr_error=quality[1],
                frame_rate=None if frame_rate is None else frame_rate[0],
                frame_rate_error=None if frame_rate is None else frame_rate[1],
                successes=None if rate is None else rate.successes,
                rate=None if rate is None else rate.value,
                rate_low=None if rate is None else rate.interval[0],
                rate_high=None if rate is None else rate.interval[1],
                chance=None if lucky is None else float(lucky[chosen].mean()),
            )
        )
    return rows


def _mean(of_clips: list[Any], unit: str) -> tuple[float, float]:
    """Mean over clips and its standard error, NaN for a single clip."""
    if len(of_clips) < 2:
        return float(of_clips[0]), float("nan")
    estimate = Estimate.of(of_clips, unit=unit, theorem="T3")
    return estimate.value, estimate.standard_error
