r"""Noising and the training loss: variance preserving, levels drawn in log-SNR.

$x_j = \alpha_j x^0_j + \sigma_j \xi_j$ with $\alpha_j^2 = \gamma_j/(1+\gamma_j)$ and every frame at
its own level. A network trained on a mixture of levels serves every schedule at sampling time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arvdm_theory import noise
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule

__all__ = [
    "LEVELS",
    "DiffusionConfig",
    "Noised",
    "denoising_loss",
    "noised",
    "pixels",
    "sample_levels",
    "training_clip",
]

LEVELS = ("iid", "shared", "monotone", "ladder", "mixture")
"""How a training window's levels are drawn: `iid` each frame alone (Diffusion Forcing); `shared`
one for all (chunks); `monotone` independent ones, later frames noisier; `ladder` a moment of an
iteration of a staircase or outpainting schedule of the library; `mixture` a quarter of each."""

WEIGHTINGS = ("x0", "snr")
"""`x0`: squared error of the estimate; `snr`: times 1 + γ, for small errors at low noise."""


@dataclass(frozen=True)
class DiffusionConfig:
    """Levels and loss.

    Arguments
    ---------
    t_max, t_min: OU times of pure noise and of finished frames.
    levels: one of `LEVELS`.
    high_noise: b >= 1; log-SNR falls from its top by U^(1/b) of its range, so that levels crowd
        towards noise (retrieval is learnt only where the frame itself is hidden); 1 is uniform.
    weighting: one of `WEIGHTINGS`.
    reference_noise: probability that a clip's references are re-noised to a random level.
    memory_dropout: probability that a batch sees only the newest part of its memory, its length
        uniform in 0..memory - 1.
    """

    t_max: float = 4.0
    t_min: float = 5e-5
    levels: str = "mixture"
    high_noise: float = 2.0
    weighting: str = "x0"
    reference_noise: float = 0.0
    memory_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in (("levels", LEVELS), ("weighting", WEIGHTINGS)):
            if getattr(self, name) not in allowed:
                raise ParameterError(name, f"one of {', '.join(allowed)}", getattr(self, name))
        if not 0.0 < self.t_min < self.t_max:
            raise ParameterError("t_min", f"in (0, t_max = {self.t_max:g})", self.t_min)
        if not self.high_noise >= 1.0:
            raise ParameterError("high_noise", "at least 1", self.high_noise)
        for name in ("reference_noise", "memory_dropout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ParameterError(name, "a probability", getattr(self, name))


@dataclass(frozen=True, eq=False)
class Noised:
    """A training example: what the network is given, and the clean window it must find."""

    x: Tensor
    gamma: Tensor
    target: Tensor
    reference: Tensor | None
    reference_gamma: Tensor | None
    memory: Tensor | None
    action: Tensor


def pixels(frames: np.ndarray) -> Tensor:
    """Frames `(n, T, H, W, C)` as tensors `(n, T, C, H, W)`: bytes scaled to [-1, 1]."""
    tensor = torch.from_numpy(np.array(frames)).movedim(-1, 2)  # a copy: memory maps stay closed
    return tensor.float() / 127.5 - 1.0 if tensor.dtype == torch.uint8 else tensor.float()


def noised(frames: Tensor, gamma: Tensor, noise_: Tensor) -> Tensor:
    r"""$\alpha x^0 + \sigma \xi$ with `gamma` (B, T) against frames `(B, T, C, H, W)`."""
    gamma = gamma[:, :, None, None, None]
    return (gamma / (1.0 + gamma)).sqrt() * frames + (1.0 / (1.0 + gamma)).sqrt() * noise_


@cache
def _ladders(window: int, t_max: float, t_min: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-SNR at the start and end of an iteration of each D3 schedule of this window."""
    common: dict[str, Any] = {"t_max": t_max, "t_min": t_min, "substeps": 1}
    schedules = [Schedule.outpainting(window, stride, **common) for stride in range(1, window + 1)]
    for stride in range(1, window):
        if window % stride == 0 and t_max * stride / window > t_min:
            schedules.append(Schedule.staircase(window, stride, **common))
    return (
        np.stack([noise.log_snr(schedule.input_levels) for schedule in schedules]),
        np.stack([noise.log_snr(schedule.output_levels) for schedule in schedules]),
    )


def sample_levels(
    config: DiffusionConfig,
    batch: int,
    window: int,
    generator: torch.Generator,
    kind: str | None = None,
) -> Tensor:
    """Signal-to-noise ratios `(batch, window)` of training windows, float32.

    `kind` overrides `config.levels`.
    """
    positive_integer("batch", batch)
    kind = config.levels if kind is None else kind
    if kind not in LEVELS:
        raise ParameterError("levels", f"one of {', '.join(LEVELS)}", kind)
    top, bottom = float(noise.log_snr(config.t_min)), float(noise.log_snr(config.t_max))
    uniform = torch.rand(batch, window, generator=generator, dtype=torch.float64)
    biased = uniform ** (1.0 / config.high_noise)
    if kind == "ladder":
        return _ladder(config, biased, generator)
    if kind == "mixture":
        parts = [
            biased,
            biased[:, :1].expand(-1, window),
            biased.sort(1).values,
        ]
        drawn = torch.stack([torch.exp(top + (bottom - top) * part) for part in parts])
        drawn = torch.cat([drawn.float(), _ladder(config, biased, generator)[None]])
        chosen = torch.randint(4, (batch,), generator=generator)
        return drawn[chosen, torch.arange(batch)]
    if kind == "shared":
        biased = biased[:, :1].expand(-1, window)
    elif kind == "monotone":
        biased = biased.sort(1).values
    return torch.exp(top + (bottom - top) * biased).float()


def _ladder(config: DiffusionConfig, moment: Tensor, generator: torch.Generator) -> Tensor:
    # `moment` in [0, 1] of the way back from the output to the input levels: late is noisy
    window = moment.shape[1]
    start, end = _ladders(window, config.t_max, config.t_min)
    chosen = torch.randint(len(start), (len(moment),), generator=generator)
    high, low = torch.from_numpy(start)[chosen], torch.from_numpy(end)[chosen]
    return torch.exp(low + (high - low) * moment[:, :1]).float()


def training_clip(
    frames: Tensor,
    action: Tensor,
    *,
    memory: int,
    reference: int,
    config: DiffusionConfig,
    generator: torch.Generator,
) -> Noised:
    """A clip cut into memory, references and window, and noised.

    Arguments: `frames` (B, memory + reference + window, C, H, W) clean, `action` alike. Finished
    frames are put at the level t_min, as they are in a roll-out.
    """
    batch, length = frames.shape[:2]
    window = length - memory - reference
    if window < 1:
        raise ParameterError(
            "frames", f"more than memory + reference ({memory} + {reference})", length
        )
    left_out = 0
    if memory and float(torch.rand((), generator=generator)) < config.memory_dropout:
        left_out = memory - int(torch.randint(memory, (), generator=generator))
    gamma = sample_levels(config, batch, window, generator)
    clean = float(noise.gamma(config.t_min))
    reference_gamma = torch.full((batch, reference), clean)
    if reference and config.reference_noise:
        again = torch.rand(batch, 1, generator=generator) < config.reference_noise
        drawn = sample_levels(config, batch, 1, generator, kind="shared")
        reference_gamma = torch.where(again, drawn, reference_gamma)
    levels = torch.cat([torch.full((batch, memory), clean), reference_gamma, gamma], 1)
    x = noised(frames, levels, torch.randn(frames.shape, generator=generator))
    return Noised(
        x=x[:, memory + reference :],
        gamma=gamma,
        target=frames[:, memory + reference :],
        reference=x[:, memory : memory + reference] if reference else None,
        reference_gamma=reference_gamma if reference and config.reference_noise else None,
        memory=x[:, left_out:memory] if memory > left_out else None,
        action=action[:, left_out:],
    )


def denoising_loss(estimate: Tensor, example: Noised, config: DiffusionConfig) -> Tensor:
    """Mean over frames and pixels of the weighted squared error of the estimate."""
    error = (estimate.float() - example.target).square().flatten(2).mean(-1)
    return ((1.0 + example.gamma) * error if config.weighting == "snr" else error).mean()
