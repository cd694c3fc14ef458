r"""What a frame is told besides its pixels: its noise level, its action, where it was taken from.

Levels enter as Fourier features of the log-SNR. Poses are integrated from the actions relative to
the first frame of the window, so that nothing grows with the length of a roll-out, and enter as
Fourier features too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from arvdm_theory.errors import ParameterError
from paper_repro.arvdm.linear import Linear

__all__ = ["POSES", "ActionEmbedding", "LevelEmbedding", "integrate"]

POSES = ("sum", "planar", "velocity")
"""How actions become poses: `sum` adds them up; `planar` walks in the plane with actions (steps
ahead, turns to the left in units of 1 / `headings` of a circle); `velocity` does not integrate (the
hard variant)."""

_LEVEL_FREQUENCIES = 16
_POSE_FREQUENCIES = 8


class LevelEmbedding(nn.Module):
    """Signal-to-noise ratios `(B, T)` to vectors `(B, T, width)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Linear(2 * _LEVEL_FREQUENCIES, width), nn.SiLU(), Linear(width, width)
        )
        frequencies = torch.exp(torch.linspace(math.log(0.02), math.log(2.0), _LEVEL_FREQUENCIES))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, gamma: Tensor) -> Tensor:
        angle = torch.log(gamma.float())[..., None] * self.frequencies
        return self.layers(torch.cat([angle.cos(), angle.sin()], dim=-1))


def integrate(action: Tensor, origin: int, kind: str, headings: int = 32) -> Tensor:
    r"""Poses relative to frame `origin`, integrated from actions.

    Arguments: `action` (B, T, A), where `action[:, t]` leads from frame t - 1 to frame t;
    `kind` one of `POSES`; `headings` in a full circle. Returns (B, T, A), for `planar` (B, T, 3):
    steps ahead and to the left of the origin in its line of sight, and the heading, in
    -headings / 2 .. headings / 2.

    >>> steps = torch.tensor([[[9.0], [1.0], [1.0], [-1.0]]])
    >>> integrate(steps, 1, "sum").flatten().tolist()
    [-1.0, 0.0, 1.0, 0.0]
    """
    if kind not in POSES:
        raise ParameterError("pose", f"one of {', '.join(POSES)}", kind)
    if kind == "velocity":
        return action
    if kind == "sum":
        total = action.cumsum(1)
        return total - total[:, origin : origin + 1]
    if action.shape[-1] != 2:
        raise ParameterError(
            "action", "(ahead, turn to the left) for planar poses", f"{action.shape[-1]} numbers"
        )
    heading = action[..., 1].cumsum(1)
    heading = heading - heading[:, origin : origin + 1]
    angle = 2.0 * math.pi / headings * heading
    place = (action[..., :1] * torch.stack([angle.cos(), angle.sin()], -1)).cumsum(1)
    place = place - place[:, origin : origin + 1]
    # the same heading after a full circle is the same number
    heading = torch.remainder(heading + headings / 2, headings) - headings / 2
    return torch.cat([place, heading[..., None]], -1)


class ActionEmbedding(nn.Module):
    """Actions `(B, T, A)` and the poses integrated from them to vectors `(B, T, width)`.

    `unit`: what one step of the pose is (a pose of `unit` is half a turn of the fastest feature);
    features halve their frequency down to 1/128 of that. A world without actions has A = 0.
    """

    def __init__(
        self, action_dim: int, width: int, kind: str, unit: float, headings: int = 32
    ) -> None:
        super().__init__()
        self.kind = kind
        self.headings = headings
        self.width = width
        pose_dim = 0 if kind == "velocity" else action_dim
        if kind == "planar":
            pose_dim = 3
        self.velocity = Linear(action_dim, width) if action_dim else None
        self.pose = Linear(2 * _POSE_FREQUENCIES * pose_dim, width) if pose_dim else None
        frequencies = math.pi / unit * 2.0 ** -torch.arange(_POSE_FREQUENCIES)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.unit = unit

    def forward(self, action: Tensor, origin: int) -> Tensor:
        action = action.float()
        if self.velocity is None:
            return action.new_zeros(*action.shape[:2], self.width)
        out = self.velocity(action / self.unit)
        if self.pose is not None:
            angle = (
                integrate(action, origin, self.kind, self.headings)[..., None] * self.frequencies
            )
            out = out + self.pose(torch.cat([angle.cos(), angle.sin()], -1).flatten(-2))
        return out
