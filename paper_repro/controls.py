"""What a roll-out loses beyond what its network cannot draw: the same network, other conditions.

Measured on networks that are trained already, beside what every row is measured on:

- *true memory*: roll-outs to and fro on the first of the same clips, but true frames stand in the
  memory for all finished ones. No error is handed on and no view is lost for good; what is left is
  what the network cannot read from a true memory, or cannot draw.
- *wandering*: roll-outs along paths like those of training clips, on which some views are new and
  others return at any age; their error is also given against the true frames of another map.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from paper_repro.evaluate import EvaluationConfig, generate
from paper_repro.worlds import Clips
from paper_repro.worlds.walk import CLIPS_A_MAP

__all__ = ["SETTINGS", "measured"]

SETTINGS: dict[str, Any] = {
    "revision": 1,
    "true_memory": {"clips": 100},
    "wandering": {"clips": 100, "context": 17, "generated": 64, "seed": 13_000},
    "batch": 50,
}


def measured(
    network: Any, diffusion: Any, to_and_fro: EvaluationConfig, fro: Clips, wandering: Clips
) -> dict[str, np.ndarray]:
    """Squared errors of every generated frame, `(clips, frames)`, frames in [0, 1], clamped.

    `control_true_memory`, on the clips `fro` of the roll-outs `to_and_fro`; `control_wandering`
    and `control_wandering_chance` (the true frame of another map instead of a generated one), with
    `control_wandering_age`, frames since the view was last seen, -1 for a new one.
    """
    path = replace(to_and_fro, **SETTINGS["wandering"])
    chance = np.roll(_unit(wandering, path), CLIPS_A_MAP, axis=0)
    return {
        "control_true_memory": _errors(network, diffusion, to_and_fro, fro, true_memory=True),
        "control_wandering": _errors(network, diffusion, path, wandering, true_memory=False),
        "control_wandering_chance": _squared(chance, _unit(wandering, path)),
        "control_wandering_age": wandering.age[:, path.context :].astype(np.int16),
    }


def _errors(
    network: Any, diffusion: Any, evaluation: EvaluationConfig, clips: Clips, *, true_memory: bool
) -> np.ndarray:
    parts = []
    for first in range(0, len(clips), SETTINGS["batch"]):
        part: Clips = clips[slice(first, first + SETTINGS["batch"])]
        seeded = replace(evaluation, seed=evaluation.seed + first)
        made = generate(network, part, seeded, diffusion, true_memory=true_memory)
        drawn = made.estimates.cpu().clamp(-1.0, 1.0).movedim(2, -1).numpy()
        parts.append(_squared((drawn.astype(np.float64) + 1.0) / 2.0, _unit(part, evaluation)))
    return np.concatenate(parts)


def _unit(clips: Clips, evaluation: EvaluationConfig) -> np.ndarray:
    """The true frames after the context, in [0, 1]."""
    return np.asarray(clips.frames[:, evaluation.context :] / 255.0)


def _squared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(((one - other) ** 2).mean(axis=(2, 3, 4)), dtype=np.float32)
