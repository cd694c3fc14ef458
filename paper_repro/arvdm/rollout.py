r"""Roll-out: any `Schedule` of the library drives any denoiser of the protocol.

Iteration k takes the window from its input to its output levels (D1) by ancestral (or DDIM) steps
with the library's own bridge; Δ finished frames leave at level δ and Δ frames of pure noise enter.
Before the first iteration the initialisation stage (D2) denoises w - Δ frames jointly and re-noises
them to their input levels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arvdm_theory import noise
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import RollOut, Schedule
from paper_repro.arvdm.network import Denoiser

__all__ = ["SAMPLERS", "Generated", "roll_out"]

SAMPLERS = ("ancestral", "ddim")


@dataclass(frozen=True, eq=False)
class Generated:
    """A generated video.

    `frames` (n, N, C, H, W), as asked for, at level δ: the states of the chain; `estimates` their
    last denoised estimates, to be looked at; `plan` steps, frames generated and surplus cut;
    `invented_actions` how many frames beyond the given actions the last windows reached into (they
    repeat the last action); `calls` of the network.
    """

    frames: Tensor
    estimates: Tensor
    plan: RollOut
    invented_actions: int
    calls: int


class _Chain:
    """One roll-out: its network, its random numbers, its finished frames."""

    def __init__(
        self,
        network: Any,
        schedule: Schedule,
        history: Tensor,
        action: Tensor | None,
        *,
        reference: int,
        memory: int,
        sampler: str,
        cache: bool,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.schedule = schedule
        self.history = history
        self.action = action
        self.reference = reference
        self.memory = memory
        self.sampler = sampler
        self.cache = cache and isinstance(network, Denoiser)
        self.generator = generator
        self.calls = 0

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers, the same on every device."""
        return torch.randn(like.shape, generator=self.generator).to(like)

    def renoise(self, x: Tensor, t_from: float, t_to: np.ndarray) -> Tensor:
        """OU kernel from one level to the level of each frame, (frames,)."""
        scale, variance = noise.kernel(t_from, t_to)
        return _each(scale, x) * x + _each(np.sqrt(variance), x) * self.noise(x)

    def _finished(self, window: int) -> dict[str, Any]:
        """References, memory and actions in front of a window of this many frames."""
        total = self.history.shape[1]
        r = min(self.reference, total)
        m = min(self.memory, total - r)
        given: dict[str, Any] = {
            "reference": self.history[:, total - r :] if r else None,
            "memory": self.history[:, total - r - m : total - r] if m else None,
            "action": None,
        }
        if self.action is not None:
            given["action"] = self.action[:, total - r - m : total + window]
        kind, level = self.schedule.context_noise, self.schedule.context_level
        if r and kind != "none":
            assert level is not None
            if kind == "noise":
                given["reference"] = self.renoise(
                    given["reference"], self.schedule.t_min, np.full(r, level)
                )
            gamma = float(noise.gamma(level))
            given["reference_gamma"] = torch.full(
                (len(self.history), r), gamma, device=self.history.device
            )
        return given

    def denoise(self, x: Tensor, grid: np.ndarray) -> tuple[Tensor, Tensor]:
        """Take a window along the levels `grid` (M + 1, w); the window and its last estimate."""
        given = self._finished(x.shape[1])
        context = self.network.context(*x.shape[:2], **given) if self.cache else None
        estimate = x
        for start, end in itertools.pairwise(grid):
            gamma = torch.as_tensor(noise.gamma(start), dtype=torch.float32, device=x.device)
            gamma = gamma.expand(len(x), -1)
            if context is not None:
                estimate = self.network.denoise(x, gamma, context)
            else:
                estimate = self.network(x, gamma, **given)
            self.calls += 1
            x = self._step(x, estimate, start, end)
        return x, estimate

    def _step(self, x: Tensor, estimate: Tensor, start: np.ndarray, end: np.ndarray) -> Tensor:
        if self.sampler == "ancestral":
            a, b, v = noise.bridge(start, end)
            drawn = self.noise(x)
            return _each(a, x) * x + _each(b, x) * estimate + _each(np.sqrt(v), x) * drawn
        shrink = noise.sigma(end) / noise.sigma(start)
        pull = noise.alpha(end) - shrink * noise.alpha(start)
        return _each(shrink, x) * x + _each(pull, x) * estimate


def _each(values: np.ndarray, like: Tensor) -> Tensor:
    """One number a frame, shaped to multiply `(B, w, C, H, W)`."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)[:, None, None, None]


@torch.no_grad()
def roll_out(
    network: Any,
    schedule: Schedule,
    *,
    frames: int | None = None,
    steps: int | None = None,
    context: Tensor | None = None,
    action: Tensor | None = None,
    initial: Tensor | None = None,
    initial_substeps: int | None = None,
    truth: Tensor | None = None,
    shape: tuple[int, int, int, int] | None = None,
    reference: int = 0,
    memory: int | None = None,
    sampler: str = "ancestral",
    cache: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Generated:
    """Generate a video after `context`.

    Arguments
    ---------
    network: a denoiser (protocol in `paper_repro.arvdm.network`); schedule: of the library.
    frames, steps: how much to generate (one of the two), see `Schedule.roll_out`.
    context: clean frames (n, T, C, H, W) before the video, or None (then `shape` = (n, C, H, W)
        and `device` say what to draw). They are put at level δ once, as finished frames are.
    action: (n, T + frames, A) or longer, actions of the context and of the video.
    initial: clean frames (n, w - Δ, C, H, W) that the first window starts from, re-noised to its
        input levels, or None: they are generated, jointly, in `initial_substeps` (default: the
        schedule's) steps.
    truth: clean frames (n, at least as many as are generated, C, H, W), or None. Given, they take
        the place of generated frames as soon as these are finished: no error is ever remembered
        but within the window, and what is left is the error of one pass through it.
    reference: r, at most so many finished frames just before the window are given as references.
    memory: at most so many before those (default: as many as the network was built for).
    sampler: one of `SAMPLERS`. cache: compute features of finished frames once per AR step instead
        of once per call; the result is the same.
    seed: of every random number, the same on every device.

    Raises `ParameterError` if shapes do not fit together.
    """
    plan = schedule.roll_out(frames=frames, steps=steps)
    if sampler not in SAMPLERS:
        raise ParameterError("sampler", f"one of {', '.join(SAMPLERS)}", sampler)
    positive_integer("reference", reference, minimum=0)
    if memory is None:
        memory = network.config.memory if isinstance(network, Denoiser) else 0
    positive_integer("memory", memory, minimum=0)
    if context is None:
        if shape is None:
            raise ParameterError("shape", "given if there is no context", None)
        context = torch.zeros(shape[0], 0, *shape[1:], device=device)
    given = context.shape[1]
    action, invented = _actions(action, given, plan, context)
    generator = torch.Generator().manual_seed(seed)
    chain = _Chain(
        network,
        schedule,
        context,
        action,
        reference=reference,
        memory=memory,
        sampler=sampler,
        cache=cache,
        generator=generator,
    )
    if given:
        chain.history = chain.renoise(context, 0.0, np.full(given, schedule.t_min))
    window, stride = schedule.window, schedule.stride
    if truth is not None and truth.shape[1] < plan.generated:
        raise ParameterError("truth", f"at least {plan.generated} frames", truth.shape[1])
    x = _first_window(chain, initial, initial_substeps)
    states, estimates = [], []
    for step in range(plan.steps):
        entering = x.new_empty(len(context), stride, *context.shape[2:])
        x = torch.cat([x, chain.noise(entering)], 1)
        x, estimate = chain.denoise(x, schedule.grid)
        states.append(x[:, :stride])
        estimates.append(estimate[:, :stride])
        finished = states[-1]
        if truth is not None:
            real = truth[:, step * stride : (step + 1) * stride].to(x)
            finished = chain.renoise(real, 0.0, np.full(stride, schedule.t_min))
        chain.history = torch.cat([chain.history, finished], 1)
        x = x[:, stride:]
    assert x.shape[1] == window - stride
    return Generated(
        frames=torch.cat(states, 1)[:, : plan.frames],
        estimates=torch.cat(estimates, 1)[:, : plan.frames],
        plan=plan,
        invented_actions=invented,
        calls=chain.calls,
    )


def _actions(
    action: Tensor | None, given: int, plan: RollOut, like: Tensor
) -> tuple[Tensor | None, int]:
    """Actions up to the end of the last window, and how many of them repeat the last one given."""
    if action is None:
        return None, 0
    if len(action) != len(like) or action.shape[1] < given + plan.frames:
        raise ParameterError(
            "action",
            f"({len(like)}, at least {given} + {plan.frames}, A), context and video",
            f"shape {tuple(action.shape)}",
        )
    action = action.to(device=like.device, dtype=torch.float32)
    missing = given + plan.needed - action.shape[1]
    if missing <= 0:
        return action, 0
    return torch.cat([action, action[:, -1:].expand(-1, missing, -1)], 1), missing


def _first_window(chain: _Chain, initial: Tensor | None, substeps: int | None) -> Tensor:
    """Frames 1..w - Δ at their input levels (the initialisation stage, D2)."""
    schedule = chain.schedule
    count = schedule.window - schedule.stride
    shape = (len(chain.history), count, *chain.history.shape[2:])
    x = chain.history.new_empty(shape)
    levels = schedule.input_levels[:count]
    if initial is not None:
        if initial.shape != x.shape:
            raise ParameterError(
                "initial", f"of shape {shape} (window - stride)", tuple(initial.shape)
            )
        return chain.renoise(initial.to(x), 0.0, levels)
    if count == 0:
        return x
    substeps = positive_integer("initial_substeps", substeps or schedule.substeps)
    start, end = np.full(count, schedule.t_max), np.full(count, schedule.t_min)
    x, _ = chain.denoise(chain.noise(x), noise.sub_step_levels(start, end, substeps))
    return chain.renoise(x, schedule.t_min, levels)
