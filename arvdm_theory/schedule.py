r"""Schedules of the Meta-ARVDM framework (D1) and the methods that are instances of it (D3).

Iteration k of the auto-regressive stage takes frames $(k-1)\Delta+1 .. (k-1)\Delta+w$ from input
levels $t^I$ to output levels $t^O$; Δ finished frames leave, Δ pure-noise frames enter. All levels
are OU times; other clocks enter through [`noise.level`][arvdm_theory.noise.level].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from arvdm_theory import noise
from arvdm_theory.checks import finite_array, positive_integer, real_number
from arvdm_theory.errors import (
    BoundaryError,
    CircularityError,
    MonotonicityError,
    ParameterError,
    ScheduleError,
)

__all__ = ["CONTEXT_NOISE", "METHODS", "RELEASED_SYSTEMS", "RollOut", "Schedule"]

CONTEXT_NOISE = ("none", "label", "noise")
"""Three different things (D3): `none`; `label`, clean references only *said* to be at a level;
`noise`, references really re-noised to it, freshly once per AR step."""

_LONGEST = 300.0  # OU time; gamma = e^{-2t} is then 1e-261
_ROUNDING = 1e-12  # relative difference below which two given levels are the same level


@dataclass(frozen=True)
class RollOut:
    """How many AR steps and frames a roll-out takes; what is generated beyond the asked length.

    `steps` K; `frames` asked for; `generated` = K Δ finished frames; `surplus` = generated but
    cut; `needed` = (K-1) Δ + w frames that the video must have.
    """

    steps: int
    frames: int
    generated: int
    surplus: int
    needed: int


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    r"""A Meta-ARVDM schedule (D1).

    Arguments
    ---------
    window: w, frames denoised together; stride: Δ in 1..w.
    input_levels, output_levels: $t^I_{1..w}$ and $t^O_{1..w}$, OU times.
    substeps: M sub-steps an iteration; each frame's level moves linearly in log-SNR.
    grid: optional `(M + 1, w)` sub-step levels $t_{j,n}$ instead (then `substeps` is M).
    context_noise: one of `CONTEXT_NOISE`, for the reference frames; context_level: their OU time.
    method: name shown in tables.

    Raises
    ------
    MonotonicityError, CircularityError, BoundaryError: the three requirements of D1.
    ParameterError: anything else, with the parameter, the constraint and the value.

    >>> Schedule.fifo(4, t_max=2.0, t_min=0.1, substeps=3).input_levels.tolist()
    [0.5, 1.0, 1.5, 2.0]
    >>> Schedule(2, 1, [0.5, 1.0], [0.1, 0.6], substeps=1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.CircularityError: output_levels[2] must be input_levels[1] = 0.5 ...
    """

    window: int
    stride: int
    input_levels: Any
    output_levels: Any
    substeps: int | None = None
    grid: Any = None
    context_noise: str = "none"
    context_level: float | None = None
    method: str = "custom"

    def __post_init__(self) -> None:
        window = positive_integer("window", self.window)
        stride = positive_integer("stride", self.stride)
        if stride > window:
            raise ScheduleError("stride", f"in 1..window ({window})", stride)
        start = _levels("input_levels", self.input_levels, window)
        end = _levels("output_levels", self.output_levels, window)
        _check_monotone(start, end)
        _check_boundary(start, end, stride)
        for j in range(window - stride):
            if not np.isclose(end[j + stride], start[j], rtol=_ROUNDING, atol=0.0):
                raise CircularityError(
                    f"output_levels[{j + stride + 1}]",
                    f"input_levels[{j + 1}] = {start[j]:.6g} (circularity, D1)",
                    f"{end[j + stride]:.6g}",
                )
        # equal up to rounding of the inputs: from here on the same numbers
        end[stride:] = start[: window - stride]
        end[:stride], start[window - stride :] = end[0], start[-1]
        grid, substeps = _sub_steps(self.grid, self.substeps, start, end)
        context_level = _context_level(self.context_noise, self.context_level, float(end[0]))
        values = {
            "window": window,
            "stride": stride,
            "input_levels": start,
            "output_levels": end,
            "substeps": substeps,
            "grid": grid,
            "context_level": context_level,
        }
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    # --- what follows from the levels ---

    @property
    def t_max(self) -> float:
        """T, the level of pure noise (OU time)."""
        return float(self.input_levels[-1])

    @property
    def t_min(self) -> float:
        """δ, the level of finished frames (OU time)."""
        return float(self.output_levels[0])

    @property
    def renoised(self) -> bool:
        """Whether references are really re-noised (to a level above δ)."""
        return self.context_noise == "noise" and self.context_level != self.t_min

    @property
    def gammas(self) -> np.ndarray:
        r"""Signal-to-noise ratios $\gamma_{j,n}$ of the sub-steps, shape `(M + 1, w)`."""
        return np.asarray(noise.gamma(self.grid))

    @property
    def moving(self) -> np.ndarray:
        """Which window frames change level within an iteration, shape `(w,)`."""
        return np.asarray(self.input_levels > self.output_levels)

    @property
    def kappa(self) -> float:
        r"""Smallest κ with $\gamma_{j,n+1} \le (1+\kappa)\gamma_{j,n}$ for all j, n (2.1)."""
        gammas = self.gammas
        return float(np.max(gammas[1:] / gammas[:-1])) - 1.0

    def calls_per_frame(self) -> float:
        """Network calls per output frame, M / Δ."""
        return int(self.substeps or 0) / self.stride

    def cost(self, reference: int = 0) -> float:
        """Frame-evaluations per output frame, (w + reference) M / Δ (THEORY, Conventions)."""
        reference = positive_integer("reference", reference, minimum=0)
        return (self.window + reference) * self.calls_per_frame()

    def roll_out(self, *, steps: int | None = None, frames: int | None = None) -> RollOut:
        """Steps and frames of a roll-out of `steps` AR steps or of at least `frames` frames.

        K = ⌈frames / Δ⌉; the surplus is generated, cut, and reported here: nothing is dropped
        silently, also where Δ does not divide the length or the length is below the window.

        >>> Schedule.chunk(4, t_max=2.0, t_min=0.1, substeps=3).roll_out(frames=10)
        RollOut(steps=3, frames=10, generated=12, surplus=2, needed=12)
        """
        if (steps is None) == (frames is None):
            raise ParameterError("steps", "given, or frames, but not both", (steps, frames))
        if steps is not None:
            count = positive_integer("steps", steps)
            asked = count * self.stride
        else:
            asked = positive_integer("frames", frames)
            count = -(-asked // self.stride)
        generated = count * self.stride
        needed = generated - self.stride + self.window
        return RollOut(count, asked, generated, generated - asked, needed)

    # --- named methods (D3) ---

    @staticmethod
    def staircase(
        window: int,
        stride: int,
        levels: Any = None,
        *,
        t_max: float,
        t_min: float,
        substeps: int,
        method: str = "staircase",
        **context: Any,
    ) -> Schedule:
        r"""Blocks of Δ frames on a ladder: block j moves from $\tau_j T$ to $\tau_{j-1} T$ (D3).

        Arguments: `levels` $\tau_1 < \dots < \tau_n = 1$ with n = w / Δ (a leading 0 may be given);
        default j/n. $\tau_0 = 0$ stands for δ. One block is chunk-wise generation, w blocks FIFO.

        >>> Schedule.staircase(4, 2, t_max=2.0, t_min=0.1, substeps=1).output_levels.tolist()
        [0.1, 0.1, 1.0, 1.0]
        """
        window, stride = positive_integer("window", window), positive_integer("stride", stride)
        if stride > window:
            raise ScheduleError("stride", f"in 1..window ({window})", stride)
        if window % stride:
            raise ScheduleError("stride", f"a divisor of window ({window})", stride)
        t_max, t_min = _range(t_max, t_min)
        blocks = window // stride
        if levels is None:
            tau = np.arange(1, blocks + 1) / blocks
        else:
            tau = np.atleast_1d(finite_array("levels", levels))
            if tau.shape == (blocks + 1,) and tau[0] == 0.0:
                tau = tau[1:]
        bad = tau.shape != (blocks,) or not np.all(np.diff(tau, prepend=0.0) > 0.0)
        if bad or not np.isclose(tau[-1], 1.0, rtol=_ROUNDING, atol=0.0):
            raise ScheduleError(
                "levels", f"{blocks} increasing fractions of t_max that end at 1", levels
            )
        ladder = t_max * tau
        ladder[-1] = t_max
        if ladder[0] <= t_min:
            raise ScheduleError(
                "t_min", f"below the first level of the ladder ({ladder[0]:.6g})", t_min
            )
        start = np.repeat(ladder, stride)
        end = np.repeat(np.concatenate([[t_min], ladder[:-1]]), stride)
        return Schedule(window, stride, start, end, substeps, method=method, **context)

    @staticmethod
    def fifo(window: int, *, t_max: float, t_min: float, substeps: int, **context: Any) -> Schedule:
        """FIFO-Diffusion (arXiv 2405.11473): t^I_j = T j / w, t^O_j = t^I_{j-1}, Δ = 1.

        One partition; needs T / w > δ.
        """
        return Schedule.staircase(
            window, 1, t_max=t_max, t_min=t_min, substeps=substeps, method="fifo", **context
        )

    @staticmethod
    def rolling(
        window: int, *, t_max: float, t_min: float, substeps: int, **context: Any
    ) -> Schedule:
        """Rolling Diffusion (arXiv 2402.09470): the FIFO ladder.

        Its clean references are the generator's `reference`.
        """
        return Schedule.staircase(
            window, 1, t_max=t_max, t_min=t_min, substeps=substeps, method="rolling", **context
        )

    @staticmethod
    def outpainting(
        window: int,
        stride: int,
        *,
        t_max: float,
        t_min: float,
        substeps: int,
        method: str = "outpainting",
        **context: Any,
    ) -> Schedule:
        """Outpainting, StreamingT2V, FDM: (δ..δ, T..T) → (δ..δ); w - Δ clean frames in front."""
        window, stride = positive_integer("window", window), positive_integer("stride", stride)
        if stride > window:
            raise ScheduleError("stride", f"in 1..window ({window})", stride)
        t_max, t_min = _range(t_max, t_min)
        start = np.full(window, t_min)
        start[window - stride :] = t_max
        end = np.full(window, t_min)
        return Schedule(window, stride, start, end, substeps, method=method, **context)

    @staticmethod
    def chunk(
        window: int, *, t_max: float, t_min: float, substeps: int, **context: Any
    ) -> Schedule:
        """Chunk-wise AR (CausVid, Self Forcing, sampled on one OU path): w = Δ, T → δ."""
        return Schedule.outpainting(
            window, window, t_max=t_max, t_min=t_min, substeps=substeps, method="chunk", **context
        )

    @staticmethod
    def next_frame(*, t_max: float, t_min: float, substeps: int, **context: Any) -> Schedule:
        """Next-frame prediction (Oasis, GameNGen, DIAMOND): w = Δ = 1; history is references."""
        return Schedule.outpainting(
            1, 1, t_max=t_max, t_min=t_min, substeps=substeps, method="next_frame", **context
        )

    @staticmethod
    def diffusion_forcing(
        window: int,
        stride: int = 1,
        levels: Any = None,
        *,
        t_max: float,
        t_min: float,
        substeps: int,
        **context: Any,
    ) -> Schedule:
        """Diffusion Forcing (arXiv 2407.01392): any monotone ladder.

        Without `levels`, its published sampler: Δ new frames behind w - Δ clean ones; with
        `levels`, the staircase they define.
        """
        common: dict[str, Any] = {
            "t_max": t_max,
            "t_min": t_min,
            "substeps": substeps,
            "method": "diffusion_forcing",
            **context,
        }
        if levels is None:
            return Schedule.outpainting(window, stride, **common)
        return Schedule.staircase(window, stride, levels, **common)

    @staticmethod
    def system(name: str, *, t_max: float, t_min: float, substeps: int, **context: Any) -> Schedule:
        """The schedule of a released system, one of `RELEASED_SYSTEMS` (D3).

        >>> Schedule.system("magi_1", t_max=3.0, t_min=0.02, substeps=4).stride
        6
        """
        if name not in RELEASED_SYSTEMS:
            raise ParameterError("system", f"one of {', '.join(RELEASED_SYSTEMS)}", name)
        method, keys = RELEASED_SYSTEMS[name]
        build = getattr(Schedule, method)
        schedule: Schedule = build(**keys, t_max=t_max, t_min=t_min, substeps=substeps, **context)
        object.__setattr__(schedule, "method", name)
        return schedule

    # --- description ---

    def to_json(self) -> dict[str, Any]:
        """Specification with every level (`method: custom`), as the command line reads it."""
        out: dict[str, Any] = {
            "method": "custom",
            "window": self.window,
            "stride": self.stride,
            "t_max": self.t_max,
            "t_min": self.t_min,
            "input_levels": self.input_levels.tolist(),
            "output_levels": self.output_levels.tolist(),
            "substeps": self.substeps,
            "grid": self.grid.tolist(),
        }
        if self.context_noise != "none":
            out |= {"context_noise": self.context_noise, "context_level": self.context_level}
        return out

    @staticmethod
    def from_json(specification: Mapping[str, Any]) -> Schedule:
        """The schedule of a specification: `method`, its parameters, optionally `clock`.

        Levels (`t_max`, `t_min`, `input_levels`, `output_levels`, `grid`, `context_level`) are in
        `clock`, OU time unless said; `levels` of a staircase are fractions of the OU time of t_max.
        """
        if not isinstance(specification, Mapping):
            raise ParameterError("schedule", "an object with a method", specification)
        keys = dict(specification)
        method = keys.pop("method", None)
        if not isinstance(method, str) or method not in METHODS:
            raise ParameterError("schedule.method", f"one of {', '.join(METHODS)}", method)
        required, optional = METHODS[method]
        for key in keys:
            if key not in required + optional + _COMMON:
                allowed = ", ".join(required + optional + _COMMON)
                raise ParameterError(f"schedule.{key}", f"one of the keys {allowed}", key)
        for key in required:
            if key not in keys:
                raise ParameterError(f"schedule.{key}", f"given for method {method}", "nothing")
        clock = keys.pop("clock", "t")
        for key in ("t_max", "t_min", "input_levels", "output_levels", "grid", "context_level"):
            if keys.get(key) is not None and clock != "t":
                keys[key] = noise.level(finite_array(key, keys[key]), clock)
        if method == "custom":
            ends = {"t_max": keys.pop("t_max", None), "t_min": keys.pop("t_min", None)}
            schedule = Schedule(**keys)
            for key, value in ends.items():
                level = getattr(schedule, key)
                if value is not None and real_number(key, value) != level:
                    raise ScheduleError(f"schedule.{key}", f"the levels' ({level:g})", value)
            return schedule
        fixed = _FIXED.get(method)
        if fixed is not None:
            for key, rule in fixed.items():
                expected = rule(keys)
                if key in keys and keys[key] != expected:
                    raise ScheduleError(
                        f"schedule.{key}", f"{expected} for method {method}", keys[key]
                    )
                keys.pop(key, None)
        build: Callable[..., Schedule] = getattr(Schedule, method)
        return build(**keys)

    @property
    def key(self) -> str:
        """Content key: equal for equal schedules, across processes."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return (
            f"Schedule({self.method}: window={self.window}, stride={self.stride}, "
            f"T={self.t_max:g}, delta={self.t_min:g}, substeps={self.substeps}, key={self.key})"
        )


_COMMON = ("context_noise", "context_level", "clock")

METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fifo": (("window", "t_max", "t_min", "substeps"), ("stride",)),
    "rolling": (("window", "t_max", "t_min", "substeps"), ("stride",)),
    "outpainting": (("window", "stride", "t_max", "t_min", "substeps"), ()),
    "chunk": (("window", "t_max", "t_min", "substeps"), ("stride",)),
    "next_frame": (("t_max", "t_min", "substeps"), ("window", "stride")),
    "diffusion_forcing": (("window", "t_max", "t_min", "substeps"), ("stride", "levels")),
    "staircase": (("window", "stride", "t_max", "t_min", "substeps"), ("levels",)),
    "custom": (
        ("window", "stride", "input_levels", "output_levels"),
        ("substeps", "grid", "t_max", "t_min"),
    ),
}
"""Method name → (required keys, optional keys) of its specification."""

_FIXED: dict[str, dict[str, Callable[[dict[str, Any]], Any]]] = {
    "fifo": {"stride": lambda keys: 1},
    "rolling": {"stride": lambda keys: 1},
    "chunk": {"stride": lambda keys: keys["window"]},
    "next_frame": {"window": lambda keys: 1, "stride": lambda keys: 1},
}

RELEASED_SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "diffusion_forcing": ("diffusion_forcing", {"window": 16, "stride": 1}),
    "far": ("outpainting", {"window": 16, "stride": 1}),
    "oasis": ("outpainting", {"window": 32, "stride": 1}),
    "worldmem": ("outpainting", {"window": 8, "stride": 1}),
    "pa_vdm": ("staircase", {"window": 30, "stride": 5}),
    "magi_1": ("staircase", {"window": 24, "stride": 6, "levels": (0.70, 0.90, 0.978, 1.0)}),
    "rolling_forcing": (
        "staircase",
        {"window": 15, "stride": 3, "levels": (0.556, 0.769, 0.882, 0.952, 1.0)},
    ),
}
"""Released system → (constructor, its window, stride and ladder), from D3."""


# --- checks of D1, each with its own message ------------------------------------------------------


def _levels(parameter: str, value: Any, window: int) -> np.ndarray:
    array = np.array(finite_array(parameter, value))
    if array.shape != (window,):
        raise ParameterError(parameter, f"window ({window}) OU times", f"shape {array.shape}")
    if np.any(array <= 0.0):
        _refuse_zero(parameter, float(array.min()))
    return array


def _refuse_zero(parameter: str, value: float) -> None:
    raise BoundaryError(
        parameter,
        "positive (delta = 0 gives the last ancestral step zero variance, so the chain KL is "
        "infinite)",
        value,
    )


def _range(t_max: Any, t_min: Any) -> tuple[float, float]:
    t_max = real_number("t_max", t_max, "a number (OU time)")
    t_min = real_number("t_min", t_min, "a number (OU time)")
    for parameter, value in (("t_max", t_max), ("t_min", t_min)):
        if value <= 0.0:
            _refuse_zero(parameter, value)
    if t_min >= t_max:
        raise BoundaryError("t_min", f"below t_max ({t_max:g})", t_min)
    return t_max, t_min


def _check_monotone(start: np.ndarray, end: np.ndarray) -> None:
    for name, array in (("input_levels", start), ("output_levels", end)):
        falls = np.flatnonzero(np.diff(array) < -_ROUNDING * array[:-1])
        if falls.size:
            j = int(falls[0])
            raise MonotonicityError(
                f"{name}[{j + 2}]",
                f"at least {name}[{j + 1}] = {array[j]:.6g} (monotonicity, D1)",
                f"{array[j + 1]:.6g}",
            )
    rises = np.flatnonzero(end > start * (1.0 + _ROUNDING))
    if rises.size:
        j = int(rises[0])
        raise MonotonicityError(
            f"output_levels[{j + 1}]",
            f"at most input_levels[{j + 1}] = {start[j]:.6g} (denoising lowers levels, D1)",
            f"{end[j]:.6g}",
        )


def _check_boundary(start: np.ndarray, end: np.ndarray, stride: int) -> None:
    window = start.size
    for j in range(stride):
        if not np.isclose(end[j], end[0], rtol=_ROUNDING, atol=0.0):
            raise BoundaryError(
                f"output_levels[{j + 1}]",
                f"delta = {end[0]:.6g}, the level of every finished frame (0-T boundary, D1)",
                f"{end[j]:.6g}",
            )
        entering = window - stride + j
        if not np.isclose(start[entering], start[-1], rtol=_ROUNDING, atol=0.0):
            raise BoundaryError(
                f"input_levels[{entering + 1}]",
                f"T = {start[-1]:.6g}, the level of every entering frame (0-T boundary, D1)",
                f"{start[entering]:.6g}",
            )
    if start[-1] > _LONGEST:
        raise BoundaryError(
            "t_max",
            f"at most {_LONGEST:g} (beyond, the signal-to-noise ratio underflows)",
            f"{start[-1]:.6g}",
        )
    if not start[-1] > end[0]:
        raise BoundaryError("output_levels[1]", f"below T = {start[-1]:.6g}", f"{end[0]:.6g}")


def _sub_steps(
    grid: Any, substeps: Any, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, int]:
    if grid is None:
        count = positive_integer("substeps", substeps)
        return np.asarray(noise.sub_step_levels(start, end, count)), count
    array = np.array(finite_array("grid", grid))
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] != start.size:
        raise ParameterError(
            "grid", f"of shape (substeps + 1, window = {start.size})", f"shape {array.shape}"
        )
    if substeps is not None and substeps != array.shape[0] - 1:
        raise ParameterError("substeps", f"the grid's ({array.shape[0] - 1})", substeps)
    ends = np.allclose(array[0], start, rtol=_ROUNDING, atol=0.0)
    if not (ends and np.allclose(array[-1], end, rtol=_ROUNDING, atol=0.0)):
        raise ParameterError("grid", "from input_levels to output_levels", array[[0, -1]].tolist())
    array[0], array[-1] = start, end
    if np.any(np.diff(array, axis=0) > 0.0):
        raise MonotonicityError("grid", "non-increasing in the sub-step (D1)", "a level that rises")
    return array, array.shape[0] - 1


def _context_level(kind: str, level: Any, delta: float) -> float | None:
    if kind not in CONTEXT_NOISE:
        raise ParameterError("context_noise", f"one of {', '.join(CONTEXT_NOISE)}", kind)
    if kind == "none":
        if level is not None:
            raise ParameterError("context_level", "absent if context_noise is none", level)
        return None
    constraint = f"an OU time of at least t_min ({delta:g}) for {kind}"
    if level is None:
        raise ParameterError("context_level", constraint, level)
    value = real_number("context_level", level, constraint)
    if value < delta:
        raise ParameterError("context_level", constraint, level)
    return value
