r"""One network under many schedules: how its roll-outs degrade, and what foretells it.

A network trained on a mixture of levels serves every schedule. Under each of `SETTINGS` every frame
passes 8 levels, so that all cost the same number of evaluations a frame and window. Roll-outs go to
and fro over 7 given frames, so that no view is older than the memory. Two quantities are measured
without any roll-out, on other clips of the same kind:

- Theorem C's loss (T1), teacher forced: $\tfrac12\sum_n\sum_j\Delta\gamma_{j,n}
  E\|X^0_j-\hat x_j\|^2$ per finished frame;
- the squared error of *one pass*: a frame goes through the window while true frames stand in the
  memory for all that are finished, so that no error is handed on.

The sampler is the ancestral one, of which Theorem C speaks.

The schedules differ in order and shape (window, stride), and in where the 8 levels lie. The rungs
of a ladder are equidistant in OU time (D3), so that the last evaluation of a frame is at γ = .58
for FIFO with w = 8, and at 1,163 for a chunk. The *control* takes the levels away: the same ladders
with their rungs on the levels of a chunk, which no training draw has on purpose (the planned
ladders of w = 8 are among the draws). Of every schedule it also measures how much detail the frames
show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from arvdm_theory.schedule import Schedule

__all__ = [
    "CONTROL",
    "SETTINGS",
    "measured",
    "measured_control",
    "on_levels_of_a_chunk",
]

SETTINGS: dict[str, Any] = {
    "revision": 2,
    "schedules": {
        "FIFO, w = 8": {"method": "fifo", "window": 8, "substeps": 1},
        "staircase, w = 8, Δ = 2": {
            "method": "staircase",
            "window": 8,
            "stride": 2,
            "substeps": 2,
        },
        "staircase, w = 8, Δ = 4": {
            "method": "staircase",
            "window": 8,
            "stride": 4,
            "substeps": 4,
        },
        "FIFO, w = 4": {"method": "fifo", "window": 4, "substeps": 2},
        "staircase, w = 4, Δ = 2": {
            "method": "staircase",
            "window": 4,
            "stride": 2,
            "substeps": 4,
        },
        "chunk, w = 8": {"method": "chunk", "window": 8, "substeps": 8},
        "chunk, w = 4": {"method": "chunk", "window": 4, "substeps": 8},
        "chunk, w = 2": {"method": "chunk", "window": 2, "substeps": 8},
        "outpainting, w = 8, Δ = 4": {
            "method": "outpainting",
            "window": 8,
            "stride": 4,
            "substeps": 8,
        },
        "next frame": {"method": "next_frame", "substeps": 8},
    },
    "clips": {"count": 120, "context": 7, "generated": 44, "seed": 12_000},
    "rolled_out": 80,
    "frames": 36,
    "span": 6,
    "initial_substeps": 8,
    "loss_frames": 24,
    "loss_draws": 8,
    "batch": 40,
    "seed": 12_500,
}
"""What is measured: every clip is of a map of its own; the first `rolled_out` ones are rolled out
for `frames` frames, the others are for what is measured without. The camera turns every 6 frames, a
`span`, so that all spans hold views of the same ages. Windows look beyond the last frame that they
finish."""

CONTROL: dict[str, Any] = {"revision": 1, "suffix": ", levels of a chunk"}
"""Of the control; `suffix`: what is added to the name of a ladder whose rungs are moved."""


def on_levels_of_a_chunk(*, t_max: float, t_min: float) -> dict[str, dict[str, Any]]:
    """The schedules of `SETTINGS`, ladders with their rungs where a chunk has its levels.

    The levels of a chunk are equidistant in log-SNR from `t_max` to `t_min`; those between two
    rungs are too, so that every level of such a ladder is one of the chunk's.

    >>> schedules = on_levels_of_a_chunk(t_max=4.0, t_min=0.01)
    >>> ladder = schedules["FIFO, w = 8, levels of a chunk"]
    >>> [round(4.0 * level, 3) for level in ladder["levels"][:4]]
    [0.043, 0.167, 0.506, 1.085]
    >>> Schedule.chunk(8, t_max=4.0, t_min=0.01, substeps=8).grid[4:8, 0].round(3).tolist()
    [1.085, 0.506, 0.167, 0.043]
    """
    out = {}
    for name, planned in SETTINGS["schedules"].items():
        if planned["method"] not in ("fifo", "staircase"):
            out[name] = planned
            continue
        window, substeps = planned["window"], planned["substeps"]
        stride = planned.get("stride", 1)
        levels = window // stride * substeps
        chunk = Schedule.chunk(1, t_max=t_max, t_min=t_min, substeps=levels).grid[:, 0]
        out[name + CONTROL["suffix"]] = {
            "method": "staircase",
            "window": window,
            "stride": stride,
            "substeps": substeps,
            "levels": (chunk[::-substeps][1:] / t_max).tolist(),
        }
    return out


def measured(network: Any, diffusion: Any, clips: Any) -> dict[str, np.ndarray]:
    """Every number of a job, for the `clips` of `SETTINGS`.

    `schedule_error` `(schedules, rolled out, frames)`: mean squared error of a frame, frames in
    [0, 1], clamped, along roll-outs; `schedule_one_pass` `(schedules, others, frames)` the same of
    one pass; `schedule_loss` `(schedules, others)`: T1, nats per finished frame;
    `schedule_chance` `(clips, frames)`: squared error of the true frame of another clip;
    `schedule_age` `(clips, frames)`: how many frames ago the view was last seen.
    """
    shown = _Shown.of(clips)
    out: dict[str, list[np.ndarray]] = {"error": [], "one_pass": [], "loss": []}
    for specification in SETTINGS["schedules"].values():
        schedule = _schedule(specification, network, diffusion)
        out["error"].append(shown.error(_rolled_out(network, schedule, shown)))
        one_pass = _in_one_pass(network, schedule, shown)
        out["one_pass"].append(shown.error(one_pass, SETTINGS["rolled_out"]))
        out["loss"].append(_loss(network, schedule, shown, SETTINGS["loss_draws"]))
    chance = ((np.roll(shown.real, 1, axis=0) - shown.real) ** 2).mean(axis=(2, 3, 4))
    context = SETTINGS["clips"]["context"]
    return {
        **{f"schedule_{name}": np.stack(of).astype(_KINDS[name]) for name, of in out.items()},
        "schedule_chance": chance.astype(np.float16),
        "schedule_age": clips.age[:, context : context + SETTINGS["frames"]].astype(np.int16),
    }


def measured_control(network: Any, diffusion: Any, clips: Any) -> dict[str, np.ndarray]:
    """Every number of the control, for the `clips` of `SETTINGS`.

    Of the ladders on the levels of a chunk `control_error` and `control_one_pass`, and of all
    schedules of `on_levels_of_a_chunk` `control_loss`: as those of `measured`, but for the loss
    without draws. Of all schedules of `SETTINGS`, then of those ladders, `control_detail`
    `(schedules, others)`: mean squared difference of neighbouring pixels of one pass, frames in
    [0, 1]; `control_detail_true` `(others,)` of true frames.
    """
    shown = _Shown.of(clips)
    rolled, planned = SETTINGS["rolled_out"], SETTINGS["schedules"]
    moved = on_levels_of_a_chunk(t_max=diffusion.t_max, t_min=diffusion.t_min)
    out: dict[str, list[np.ndarray]] = {"error": [], "one_pass": [], "loss": [], "detail": []}
    for name, specification in (planned | moved).items():
        schedule = _schedule(specification, network, diffusion)
        one_pass = _in_one_pass(network, schedule, shown)
        out["detail"].append(_detail(one_pass))
        if name not in planned:
            out["one_pass"].append(shown.error(one_pass, rolled))
            out["error"].append(shown.error(_rolled_out(network, schedule, shown)))
    for specification in moved.values():
        schedule = _schedule(specification, network, diffusion)
        out["loss"].append(_loss(network, schedule, shown, None))
    return {
        **{f"control_{name}": np.stack(of).astype(_KINDS[name]) for name, of in out.items()},
        "control_detail_true": _detail(shown.real[rolled:]).astype(_KINDS["detail"]),
    }


_KINDS = {"error": np.float16, "one_pass": np.float16, "loss": np.float32, "detail": np.float32}


@dataclass(frozen=True, eq=False)
class _Shown:
    """Clips as networks see them, frames in [-1, 1]; `real`: what is to be generated, in [0, 1]."""

    frames: Any
    action: Any
    real: np.ndarray

    @staticmethod
    def of(clips: Any) -> _Shown:
        import torch

        from paper_repro.arvdm.diffusion import pixels

        frames = pixels(clips.frames)
        context = SETTINGS["clips"]["context"]
        real = _unit(frames[:, context : context + SETTINGS["frames"]])
        return _Shown(frames, torch.from_numpy(np.array(clips.actions)), real)

    def error(self, made: np.ndarray, first: int = 0) -> np.ndarray:
        """Mean squared error of every frame of the clips from number `first` on."""
        real = self.real[first : first + len(made)]
        return np.asarray(((made - real) ** 2).mean(axis=(2, 3, 4)))


def _schedule(specification: dict[str, Any], network: Any, diffusion: Any) -> Schedule:
    from paper_repro.evaluate import schedule_of

    return schedule_of(specification, network.config.window, 8, diffusion)


def _rolled_out(network: Any, schedule: Schedule, shown: _Shown) -> np.ndarray:
    return _made(network, schedule, shown, 0, SETTINGS["rolled_out"], one_pass=False)


def _in_one_pass(network: Any, schedule: Schedule, shown: _Shown) -> np.ndarray:
    return _made(network, schedule, shown, SETTINGS["rolled_out"], len(shown.frames), one_pass=True)


def _made(
    network: Any, schedule: Schedule, shown: _Shown, first: int, end: int, *, one_pass: bool
) -> np.ndarray:
    """The generated frames of clips `first` to `end`, `(n, frames, C, H, W)` in [0, 1]."""
    from paper_repro.arvdm.rollout import roll_out

    context = SETTINGS["clips"]["context"]
    parts = []
    for start in range(first, end, SETTINGS["batch"]):
        some = slice(start, min(start + SETTINGS["batch"], end))
        made = roll_out(
            network,
            schedule,
            frames=SETTINGS["frames"],
            context=shown.frames[some, :context],
            action=shown.action[some],
            truth=shown.frames[some, context:] if one_pass else None,
            initial_substeps=SETTINGS["initial_substeps"],
            seed=SETTINGS["seed"] + start,
        )
        parts.append(_unit(made.estimates))
    return np.concatenate(parts)


def _loss(network: Any, schedule: Schedule, shown: _Shown, draws: int | None) -> np.ndarray:
    """T1 of the clips that are not rolled out, nats per finished frame."""
    from arvdm_theory.empirical import denoising_loss

    rolled = SETTINGS["rolled_out"]
    loss = denoising_loss(
        network,
        schedule,
        shown.frames[rolled:],
        memory=network.config.memory,
        action=shown.action[rolled:],
        context=SETTINGS["clips"]["context"],
        steps=SETTINGS["loss_frames"] // schedule.stride,
        draws=draws,
        seed=SETTINGS["seed"],
        batch=SETTINGS["batch"],
    )
    assert loss.per_frame.samples is not None
    return loss.per_frame.samples


def _detail(frames: np.ndarray) -> np.ndarray:
    """Mean squared difference of neighbouring pixels of `(n, T, C, H, W)`, `(n,)`."""
    across, down = np.diff(frames, axis=4), np.diff(frames, axis=3)
    both = 0.5 * ((across**2).mean(axis=(1, 2, 3, 4)) + (down**2).mean(axis=(1, 2, 3, 4)))
    return np.asarray(both)


def _unit(frames: Any) -> np.ndarray:
    """Of frames in [-1, 1], `(n, T, C, H, W)`, in [0, 1], float64."""
    return np.asarray((frames.clamp(-1.0, 1.0).double().cpu().numpy() + 1.0) / 2.0)
