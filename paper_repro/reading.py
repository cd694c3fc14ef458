"""What a network reads of its memory: the same windows with foreign frames in a part of it.

The clips are those that every row returns on, with true frames before every window: no error is
handed on, and no view was lost before. Of what is left, a *band* of the memory (frames a + 1 to b
before the window) is replaced by the frames of another map at these places; actions stay. What a
network reads of a band shows by what it does worse then. The views that a window asks for lie in
one band each: frame j of window k (from 0) shows the view of frame 2 + 2 w k + j before the window.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.worlds import Clips, World
from paper_repro.worlds.walk import CLIPS_A_MAP

if TYPE_CHECKING:  # what is measured is read where there is no torch
    from paper_repro.evaluate import EvaluationConfig

__all__ = ["SETTINGS", "conditions", "distances", "measured"]

SETTINGS: dict[str, Any] = {
    "revision": 1,
    "clips": 100,
    "windows": 3,
    "bands": ((0, 4), (4, 12), (12, 28)),
    "batch": 50,
}


def conditions(memory: int) -> list[tuple[int, int] | None]:
    """What is replaced for a network with so many memory frames: nothing, each band, all of it.

    >>> conditions(12)
    [None, (0, 4), (4, 12), (0, 12)]
    """
    bands = [band for band in SETTINGS["bands"] if band[0] < memory]
    whole = [(0, memory)] if len(bands) > 1 else []
    return [None, *bands, *whole]


def distances(window: int) -> np.ndarray:
    """How many frames before its window a view was last seen, `(windows, window)`.

    >>> distances(4).tolist()
    [[2, 3, 4, 5], [10, 11, 12, 13], [18, 19, 20, 21]]
    """
    k, j = np.ogrid[: SETTINGS["windows"], :window]
    return np.asarray(2 + 2 * window * k + j)


def measured(
    network: Any, diffusion: Any, evaluation: EvaluationConfig, world: World, clips: Clips
) -> dict[str, np.ndarray]:
    """`reading_error` and `reading_success`, `(windows, conditions, clips, window)`.

    Squared errors, frames in [0, 1], clamped, and whether a frame counts as retrieved by the rule
    of the `evaluation`; `clips` return after its context and are of several maps.
    """
    window = network.config.window
    foreign = np.roll(clips.frames, CLIPS_A_MAP, axis=0)
    errors, successes = [], []
    for k in range(SETTINGS["windows"]):
        start = evaluation.context + k * window
        past = slice(start + window)
        to_this = Clips(
            clips.frames[:, past], clips.actions[:, past], clips.poses[:, past], clips.age[:, past]
        )
        step = replace(evaluation, context=start, generated=window)
        for band in conditions(network.config.memory):
            shown = to_this.frames.copy()
            if band is not None:
                first = max(0, start - band[1])  # there is nothing before the first frame
                replaced = slice(first, start - band[0])
                shown[:, replaced] = foreign[:, replaced]
            error, success = _one_step(network, diffusion, step, world, to_this, shown)
            errors.append(error)
            successes.append(success)
    shape = (SETTINGS["windows"], -1, len(clips), window)
    return {
        "reading_error": np.stack(errors).reshape(shape).astype(np.float32),
        "reading_success": np.stack(successes).reshape(shape),
    }


def _one_step(
    network: Any,
    diffusion: Any,
    evaluation: EvaluationConfig,
    world: World,
    clips: Clips,
    shown: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Errors and successes of one window, `(clips, window)`, after the frames `shown`."""
    from paper_repro.evaluate import generate, measure

    errors, successes = [], []
    for first in range(0, len(clips), SETTINGS["batch"]):
        some = slice(first, first + SETTINGS["batch"])
        truth: Clips = clips[some]
        seeded = replace(evaluation, seed=evaluation.seed + first)
        made = generate(network, replace(truth, frames=shown[some]), seeded, diffusion)
        frames = measure(world, truth, made, evaluation)
        assert frames.success is not None
        errors.append(frames.error)
        successes.append(frames.success)
    return np.concatenate(errors), np.concatenate(successes)
