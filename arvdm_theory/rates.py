r"""Stationary rates: what one more frame of a long roll-out costs, in nats per finished frame.

For a stationary video every term of Theorem A settles to a constant per AR step, and so does the
output KL of a step (E1). `spectral_rate` is a second way to the latter: the Itakura–Saito distance
of the two spectra (THEORY, 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from arvdm_theory._gaussian import EPS, half_excess
from arvdm_theory._innovations import Steady, carried_map, coefficients, onward
from arvdm_theory._window_law import Drive, reach
from arvdm_theory.decomposition import (
    _SETTLING_STEPS,
    _Block,
    _Recursion,
    _refusals,
    _scale,
)
from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.generator import Estimated, Generator, Resolved, _step_maps, resolved_laws
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

__all__ = ["Rates", "rates", "spectral_rate"]

_PATIENCE = 1 << 16  # AR steps to wait for the steady state
_TERMS = ("nie", "see", "de", "see_plus_de", "mb", "chain", "path", "output")


@dataclass(frozen=True, eq=False, repr=False)
class Rates:
    r"""Theorem A's terms and the output KL per finished frame, in the steady state.

    Nats per frame; `None` where `Decomposition` has none, with the reason in `refused`. `clip` is
    the clip KL (nats, of Δ frames) to which a stable generator saturates, `None` for one that is
    not. `settled`: AR steps until the steady state was reached. `error_bound`: first order.
    """

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    nie: float
    see: float | None
    de: float | None
    see_plus_de: float | None
    mb: float
    chain: float | None
    path: float | None
    output: float
    clip: float | None
    settled: int
    refused: dict[str, str]
    error_bound: dict[str, float]

    theorems = ("A", "E1")

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """Rates, refusals and error bounds as plain numbers. `unit`: `nats` or `bits`."""
        scale = _scale(unit)
        values = {name: getattr(self, name) for name in (*_TERMS, "clip")}
        out = {name: None if value is None else value * scale for name, value in values.items()}
        return out | {
            "settled": self.settled,
            "refused": self.refused,
            "error_bound": {key: value * scale for key, value in self.error_bound.items()},
            "unit": f"{unit} per frame",
            "theorems": list(self.theorems),
        }

    def citation(self) -> str:
        """BibTeX of what these numbers rest on."""
        from arvdm_theory.literature import citation

        return citation(self)

    def __repr__(self) -> str:
        chain = "none" if self.chain is None else f"{self.chain:.6g}"
        clip = "grows" if self.clip is None else f"{self.clip:.6g}"
        return (
            f"Rates({self.schedule.method}, nats per frame: output {self.output:.6g} <= chain "
            f"{chain}; nie {self.nie:.6g}, mb {self.mb:.6g}; clip {clip}, "
            f"settled at step {self.settled})"
        )


def rates(video: GaussianVideo, schedule: Schedule, generator: Generator | None = None) -> Rates:
    r"""Rates per finished frame to which Theorem A's terms and the output KL settle.

    The Kalman recursions are iterated until they repeat; the output KL of the step that repeats is
    $KL(S_P \| S_Q)$ of its innovations plus half the squared difference of the two predictions, a
    solution of a discrete Lyapunov equation (by doubling).

    Arguments: a `video` with a finite state, a `schedule`, a `generator` (default exact).
    Returns `Rates`, nats per frame.

    Raises `RefusedError` where nothing settles (a static or time-varying video, a memory that keeps
    growing), `ParameterError` for a video without a finite state.

    Source: THEORY, Theorem A, E1 and section 5.

    >>> from arvdm_theory.video import Autoregressive
    >>> schedule = Schedule.fifo(4, t_max=3.0, t_min=0.05, substeps=8)
    >>> found = rates(Autoregressive([0.5, 0.4], 0.3), schedule)
    >>> 0.0 < found.output < found.chain
    True
    """
    generator = Generator() if generator is None else generator
    _check(generator)
    block, steady, world, settled = _steady_state(video, schedule, generator)
    terms, stride = block.terms, schedule.stride
    arrays = {"nie": block.nie, "mb": block.mb, "see": terms.see, "de": terms.de}
    arrays |= {"see_plus_de": terms.both, "path": block.path}
    values = {
        name: None if array is None else float(array[0]) / stride for name, array in arrays.items()
    }
    own = float(block.nie[0] + block.mb[0]) / stride
    for name, inner in (("chain", "see_plus_de"), ("path", "path")):
        value = values[inner]
        values[name] = None if value is None else own + value
    errors = {"nie": block.nie_error, "mb": block.mb_error}
    if terms.both is not None:
        errors["see_plus_de"] = terms.see_error + terms.de_error
        errors["chain"] = sum(errors.values())
    if terms.see is not None:
        errors |= {"see": terms.see_error, "de": terms.de_error}
    if block.path is not None:
        errors["path"] = errors["chain"] + block.path_error
    drift = terms.rounding + terms.drift
    relative = 8.0 * EPS * block.kernels * terms.growth
    spread = 2.0 * np.sqrt(steady.output * drift) + drift
    errors["output"] = float(spread + relative * steady.sensitivity + steady.missed)
    errors = {name: float(value) / stride for name, value in errors.items()}
    clip = None
    if steady.clip is not None:
        clip = float(steady.clip.value[-1])
        # errors of the model's law add up over the time it takes to forget them
        lasting = drift * reach(carried_map(coefficients(world), _drive(world)))
        errors["clip"] = float(
            2.0 * np.sqrt(clip * lasting) + lasting + relative * steady.clip.sensitivity[-1]
        )
    return Rates(
        video=video,
        schedule=schedule,
        generator=generator,
        output=steady.output / stride,
        clip=clip,
        settled=settled,
        refused=_refusals(generator, schedule, terms, _PATIENCE),
        error_bound=errors,
        **values,  # type: ignore[arg-type]
    )


def _check(generator: Generator) -> None:
    if isinstance(generator, Generator) and isinstance(generator.denoiser, Estimated):
        raise RefusedError(
            "a denoiser estimated from videos of a given length has no steady state beyond it"
        )


def _steady_state(
    video: GaussianVideo, schedule: Schedule, generator: Generator
) -> tuple[_Block, Steady, Resolved, int]:
    """Theorem A's terms and the output KL of the AR step that repeats, and where it begins."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        laws = resolved_laws(video, schedule, generator, _PATIENCE, "kalman")
        recursion = _Recursion(laws, schedule.roll_out(steps=_PATIENCE), "kalman")
        if not recursion.linear:
            raise ParameterError("generator.denoiser.video", "one with a finite state", "none")
        while recursion.taken < _PATIENCE - _SETTLING_STEPS:
            recursion.take(_SETTLING_STEPS)
            if recursion.settled():
                break
        else:
            raise RefusedError(f"no steady state within {_PATIENCE} AR steps: there is no rate")
        settled, output = recursion.taken, recursion.output
        assert output is not None
        recursion.output = None
        block = recursion.take(1)
        return block, output.steady(recursion.world), recursion.world, settled


# --- the same rate from spectra -------------------------------------------------------------------


def spectral_rate(
    video: GaussianVideo, schedule: Schedule, generator: Generator | None = None
) -> Enclosure:
    r"""Output KL per finished frame as an Itakura–Saito distance of spectra (THEORY, 5).

    $\frac{1}{\Delta}\frac{1}{4\pi}\int_{-\pi}^{\pi}
    [\mathrm{tr}(S_Q^{-1}S_P) - \Delta d - \log\det(S_Q^{-1}S_P)]\,d\omega$, plus
    $\tfrac{1}{2\Delta}\mu' S_Q(0)^{-1}\mu$ of the stationary means' difference, with S the
    $\Delta d \times \Delta d$ spectra of the blocks of Δ finished frames. Trapezoids on the
    circle, doubled until they agree. Nats per frame.

    Arguments and what is raised: as for `rates`; also `RefusedError` for a generator whose own
    roll-out is not stable, which has no spectrum.

    >>> from arvdm_theory.video import Autoregressive
    >>> schedule = Schedule.fifo(2, t_max=3.0, t_min=0.05, substeps=2)
    >>> video = Autoregressive([0.5], 0.3)
    >>> found = spectral_rate(video, schedule)
    >>> bool(abs(found.value - rates(video, schedule).output) < 1e-9)
    True
    """
    generator = Generator() if generator is None else generator
    _check(generator)
    _, _, world, _ = _steady_state(video, schedule, generator)
    spectra = _Spectra.of(world)
    previous, points = np.inf, 64
    while True:
        value = spectra.integral(points)
        gap = abs(value - previous)
        if gap <= 1e-13 * value or points >= 1 << 16:
            break
        previous, points = value, 2 * points
    value = (value + spectra.mean_part()) / schedule.stride
    error = gap / schedule.stride + 64.0 * EPS * points**0.5 * value + EPS
    return Enclosure.around(value, error, least=0.0, theorems=("E1",))


@dataclass(frozen=True, eq=False)
class _Spectra:
    """Both laws of a block of finished frames as x = D e + H (z - A)^{-1} B e, e ~ N(0, I)."""

    truth: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # A, B, H, D
    model: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    mean: np.ndarray  # of the model, deviation from the truth's

    @staticmethod
    def of(world: Resolved) -> _Spectra:
        """From the AR step that repeats."""
        one, drive = coefficients(world), _drive(world)
        block, states = drive.drive.shape[2], drive.states
        root = np.linalg.cholesky(one.covariance[0, :block, :block])
        truth = (
            drive.move[0, :states, :states],
            drive.drive[0, :states],
            one.prediction[0, :block, :states],
            root,
        )
        # the model's own step, composed without reference to the truth's
        window, seen, _, covariance = (item[0] for item in _step_maps(world))
        kept = window.shape[0] - block
        own = seen * world.truth.context_noise[0]
        noise = covariance + window[:, kept:] @ window[:, kept:].T + own @ own.T
        values, vectors = np.linalg.eigh(noise)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))  # rounding of exact zeros only
        move = carried_map(one, drive)
        if not np.isfinite(reach(move)):
            raise RefusedError("the generator's own roll-out is not stable: it has no spectrum")
        through = np.concatenate([window[:, :kept], seen @ drive.rows[:, states:]], axis=1)
        push = onward(drive, window.shape[0])[:, : window.shape[0]]
        constant = one.constant[0]
        mean = np.linalg.solve(np.eye(move.shape[0]) - move, push @ constant)
        model = (move, push @ factor, through[:block], factor[:block])
        return _Spectra(truth, model, (through @ mean + constant)[:block])

    def integral(self, points: int) -> float:
        """½ mean over frequencies of Σ μ - log(1+μ), 1+μ the eigenvalues of S_Q^{-1} S_P."""
        angles = np.pi * (2.0 * np.arange(points // 2) + 1.0) / points  # conjugate pairs
        total = 0.0
        for part in np.array_split(np.exp(1j * angles), max(1, points // 512)):
            real, model = _spectrum(self.truth, part), _spectrum(self.model, part)
            factor = np.linalg.cholesky(model)
            half = np.linalg.solve(factor, real - model)
            ratio = np.linalg.solve(factor, half.conj().swapaxes(-1, -2))
            ratio = 0.5 * (ratio + ratio.conj().swapaxes(-1, -2))
            total += float(np.sum(half_excess(np.linalg.eigvalsh(ratio))))
        return total / (points // 2)

    def mean_part(self) -> float:
        """½ μ' S_Q(0)^{-1} μ."""
        model = _spectrum(self.model, np.ones(1))[0].real
        return 0.5 * float(self.mean @ np.linalg.solve(model, self.mean))


def _spectrum(system: tuple[np.ndarray, ...], z: np.ndarray) -> np.ndarray:
    move, push, seen, direct = system
    resolved = np.linalg.solve(z[:, None, None] * np.eye(move.shape[0]) - move, push)
    transfer = direct + seen @ resolved
    return np.asarray(transfer @ transfer.conj().swapaxes(-1, -2))


def _drive(world: Resolved) -> Drive:
    drive = world.truth.drive
    assert drive is not None
    return drive
