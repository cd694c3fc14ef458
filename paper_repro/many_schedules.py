r"""One network under many schedules: how its roll-outs degrade, and what foretells it.

A network trained on a mixture of levels serves every schedule. Under each of `SETTINGS` every frame
passes 8 levels, so that nothing but the schedule differs. Roll-outs go to and fro over 7 given
frames, so that no view is older than the memory. Two quantities are measured without any roll-out,
on other clips of the same kind:

- Theorem C's loss (T1), teacher forced: $\tfrac12\sum_n\sum_j\Delta\gamma_{j,n}
  E\|X^0_j-\hat x_j\|^2$ per finished frame;
- the squared error of *one pass*: a frame goes through the window while true frames stand in the
  memory for all that are finished, so that no error is handed on.

The sampler is the ancestral one, of which Theorem C speaks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["SETTINGS", "measured"]

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


def measured(network: Any, diffusion: Any, clips: Any) -> dict[str, np.ndarray]:
    """Every number of a job, for the `clips` of `SETTINGS`.

    `schedule_error` `(schedules, rolled out, frames)`: mean squared error of a frame, frames in
    [0, 1], clamped, along roll-outs; `schedule_one_pass` `(schedules, others, frames)` the same of
    one pass; `schedule_loss` `(schedules, others)`: T1, nats per finished frame;
    `schedule_chance` `(clips, frames)`: squared error of the true frame of another clip;
    `schedule_age` `(clips, frames)`: how many frames ago the view was last seen.
    """
    import torch

    from arvdm_theory.empirical import denoising_loss
    from paper_repro.arvdm.diffusion import pixels
    from paper_repro.arvdm.rollout import roll_out
    from paper_repro.evaluate import schedule_of

    context, length = SETTINGS["clips"]["context"], SETTINGS["frames"]
    frames = pixels(clips.frames)
    action = torch.from_numpy(np.array(clips.actions))
    real = _unit(frames[:, context : context + length])

    def errors(schedule: Any, first: int, end: int, *, one_pass: bool) -> np.ndarray:
        parts = []
        for start in range(first, end, SETTINGS["batch"]):
            some = slice(start, min(start + SETTINGS["batch"], end))
            made = roll_out(
                network,
                schedule,
                frames=length,
                context=frames[some, :context],
                action=action[some],
                truth=frames[some, context:] if one_pass else None,
                initial_substeps=SETTINGS["initial_substeps"],
                seed=SETTINGS["seed"] + start,
            )
            parts.append(((_unit(made.estimates) - real[some]) ** 2).mean(axis=(2, 3, 4)))
        return np.concatenate(parts)

    rolled, count = SETTINGS["rolled_out"], len(frames)
    out: dict[str, list[np.ndarray]] = {"error": [], "one_pass": [], "loss": []}
    for specification in SETTINGS["schedules"].values():
        schedule = schedule_of(specification, network.config.window, 8, diffusion)
        out["error"].append(errors(schedule, 0, rolled, one_pass=False))
        out["one_pass"].append(errors(schedule, rolled, count, one_pass=True))
        loss = denoising_loss(
            network,
            schedule,
            frames[rolled:],
            memory=network.config.memory,
            action=action[rolled:],
            context=context,
            steps=SETTINGS["loss_frames"] // schedule.stride,
            draws=SETTINGS["loss_draws"],
            seed=SETTINGS["seed"],
            batch=SETTINGS["batch"],
        )
        assert loss.per_frame.samples is not None
        out["loss"].append(loss.per_frame.samples)
    chance = ((np.roll(real, 1, axis=0) - real) ** 2).mean(axis=(2, 3, 4))
    half, single = np.float16, np.float32
    small = {"error": half, "one_pass": half, "loss": single}
    return {
        **{f"schedule_{name}": np.stack(out[name]).astype(kind) for name, kind in small.items()},
        "schedule_chance": chance.astype(half),
        "schedule_age": clips.age[:, context : context + length].astype(np.int16),
    }


def _unit(frames: Any) -> np.ndarray:
    """Of frames in [-1, 1], `(n, T, C, H, W)`, in [0, 1], float64."""
    return np.asarray((frames.clamp(-1.0, 1.0).double().cpu().numpy() + 1.0) / 2.0)
