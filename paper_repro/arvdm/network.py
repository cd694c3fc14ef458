r"""The denoiser: noisy window, references, memory and actions in, estimate of the clean window out.

Protocol (also of every other denoiser that the package measures):
`x_hat = f(x, gamma, *, reference, memory, action)` with

- `x` (B, w, C, H, W), frame j being $\sqrt{\gamma_j/(1+\gamma_j)}\,x^0_j +
  \sqrt{1/(1+\gamma_j)}\,\xi_j$; `gamma` (B, w) signal-to-noise ratios;
- `reference` (B, r, C, H, W) finished frames just before the window, oldest first, or None;
- `memory` (B, m, C, H, W) the finished frames before those, or None;
- `action` (B, m + r + w, A) of memory, reference and window in time order, or None (no motion).

Finished frames do not look at the window. So what a network computes from them is the same in every
sub-step of an AR step: `context` computes it, `denoise` uses it, and a plain call is one after the
other. Memory enters in one of four structures: `none`, `prepend` (in front of the window, as
references are), `channel_concat` (all memory frames at a place, concatenated and projected, are
added to every window frame), `cross_attention` (each layer reads from the memory).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from arvdm_theory import noise
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from paper_repro.arvdm.attention import Block, CrossAttention, KeysValues
from paper_repro.arvdm.compressors import compressor
from paper_repro.arvdm.conditions import POSES, ActionEmbedding, LevelEmbedding
from paper_repro.arvdm.linear import Linear

__all__ = [
    "BACKBONES",
    "STRUCTURES",
    "Context",
    "Denoiser",
    "NetworkConfig",
    "Transformer",
    "build",
    "patches",
    "unpatch",
]

BACKBONES = ("transformer", "unet")
STRUCTURES = ("none", "prepend", "channel_concat", "cross_attention")
PREDICTIONS = ("x0", "residual")
"""`x0`: the output is the estimate. `residual`: it is added to the best linear guess from the noisy
frame (the preconditioning of EDM, arXiv 2206.00364), for small errors at low noise. It needs tokens
no larger than the width: otherwise the noise cannot pass through to be subtracted."""


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is made of.

    Arguments
    ---------
    size, channels: of a frame, in pixels; action_dim: numbers in an action.
    window: frames denoised together in training (fewer or more may be given later).
    reference, memory: finished frames in front of the window, and before those.
    structure: one of `STRUCTURES`; compressor: `none` or one of `COMPRESSORS`; budget: its slots.
    patch: side of a token in pixels; width, layers, heads: of the transformer. For the U-Net,
        width is that of the first of `layers` resolutions, and patch serves its memory only.
    refine: channels of the two convolutions that join the transformer's patches to a picture; 0:
        none, so that what is not known shows as a mosaic of patches.
    pose, pose_unit: how actions become poses (`conditions.POSES`) and one step of a pose;
        headings: in a full circle, for planar poses.
    prediction: one of `PREDICTIONS`; data_scale: standard deviation of the data, for `residual`.
    clean_level: OU time of finished frames.
    """

    size: int
    channels: int = 3
    action_dim: int = 1
    window: int = 4
    reference: int = 0
    memory: int = 0
    structure: str = "none"
    compressor: str = "none"
    budget: int = 0
    compressor_layers: int = 2
    backbone: str = "transformer"
    patch: int = 8
    width: int = 96
    layers: int = 3
    heads: int = 4
    refine: int = 0
    pose: str = "sum"
    pose_unit: float = 1.0
    headings: int = 32
    prediction: str = "x0"
    data_scale: float = 0.5
    clean_level: float = 5e-5

    def __post_init__(self) -> None:
        counts = ("size", "channels", "window", "patch", "width", "layers", "heads", "headings")
        for name in (*counts, "compressor_layers"):
            positive_integer(name, getattr(self, name))
        for name in ("action_dim", "reference", "memory", "budget", "refine"):
            positive_integer(name, getattr(self, name), minimum=0)
        choices = {
            "structure": STRUCTURES,
            "backbone": BACKBONES,
            "pose": POSES,
            "prediction": PREDICTIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ParameterError(name, f"one of {', '.join(allowed)}", getattr(self, name))
        if self.size % self.patch:
            raise ParameterError("patch", f"a divisor of size ({self.size})", self.patch)
        if self.width % (2 * self.heads):
            raise ParameterError("width", f"a multiple of 2 heads ({2 * self.heads})", self.width)
        if (self.structure == "none") != (self.memory == 0):
            constraint = "0 for structure none" if self.memory else f"positive for {self.structure}"
            raise ParameterError("memory", constraint, self.memory)
        if self.compressor != "none":
            if not 1 <= self.budget <= self.memory:
                raise ParameterError("budget", f"in 1..memory ({self.memory})", self.budget)
        elif self.budget:
            raise ParameterError("budget", "0 without a compressor", self.budget)
        if not self.clean_level > 0.0:
            raise ParameterError("clean_level", "positive", self.clean_level)
        if self.pose == "planar" and self.action_dim != 2:
            raise ParameterError("action_dim", "2 for planar poses", self.action_dim)
        if not self.pose_unit > 0.0:
            raise ParameterError("pose_unit", "positive", self.pose_unit)

    @property
    def slots(self) -> int:
        """What the network sees of the memory, in frames: the budget, or all of it."""
        return self.budget or self.memory

    @property
    def clip(self) -> int:
        """Frames of a training clip, memory + reference + window."""
        return self.memory + self.reference + self.window

    @classmethod
    def from_json(cls, specification: dict[str, Any]) -> NetworkConfig:
        """The inverse of `dataclasses.asdict`; unknown keys are refused by name."""
        known = [field.name for field in fields(cls)]
        for key in specification:
            if key not in known:
                raise ParameterError(f"network.{key}", f"one of {', '.join(known)}", key)
        return cls(**specification)


@dataclass(frozen=True, eq=False)
class Context:
    """What a network computed from finished frames and from the actions, for one AR step.

    `action` (B, w, width) of the window; `past` keys and values of each layer; `cross` those of
    the memory for cross attention; `added` what channel concatenation adds to every window frame.
    """

    action: Tensor
    past: tuple[KeysValues | None, ...]
    cross: tuple[KeysValues, ...] = ()
    added: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Finished:
    """Finished frames: pixels, action embeddings, levels and positions, oldest first."""

    frames: Tensor
    action: Tensor
    level: Tensor
    positions: Tensor


def patches(frames: Tensor, patch: int) -> Tensor:
    """`(B, T, C, H, W)` to `(B, T, N, C patch²)`, places in reading order."""
    batch, length, channels, height, width = frames.shape
    grid = frames.reshape(
        batch, length, channels, height // patch, patch, width // patch, patch
    ).permute(0, 1, 3, 5, 2, 4, 6)
    return grid.reshape(batch, length, -1, channels * patch * patch)


def unpatch(tokens: Tensor, patch: int, size: int) -> Tensor:
    """The inverse of `patches` for square frames of `size` pixels."""
    batch, length, _, numbers = tokens.shape
    side = size // patch
    grid = tokens.reshape(batch, length, side, side, numbers // patch**2, patch, patch)
    return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, length, -1, size, size)


class MemoryReader(nn.Module):
    """Memory frames to slots of tokens, compressed or not."""

    def __init__(self, config: NetworkConfig, width: int) -> None:
        super().__init__()
        self.patch = config.patch
        self.embed = Linear(config.channels * config.patch**2, width)
        self.place = nn.Parameter(0.02 * torch.randn((config.size // config.patch) ** 2, width))
        self.compress: nn.Module | None = None
        if config.compressor != "none":
            layers = config.compressor_layers
            self.compress = compressor(
                config.compressor, width, config.heads, layers, config.budget
            )

    def forward(self, memory: _Finished) -> tuple[Tensor, Tensor]:
        """Slots `(B, s, N, width)` and their positions `(s,)`."""
        tokens = self.embed(patches(memory.frames, self.patch)) + self.place
        if self.compress is None:
            return tokens + memory.action[:, :, None], memory.positions
        return self.compress(tokens, memory.action, memory.level, memory.positions)


class ChannelConcat(nn.Module):
    """All memory slots at a place, concatenated and linearly projected.

    Uncompressed frames are concatenated as pixels with their action embedding; slots that do not
    exist yet are zeros, and a flag a slot says so.
    """

    def __init__(self, config: NetworkConfig, width: int, out: int) -> None:
        super().__init__()
        self.slots = config.slots
        self.patch = config.patch
        self.read = MemoryReader(config, width) if config.compressor != "none" else None
        numbers = width if self.read else config.channels * config.patch**2 + width
        self.project = Linear(self.slots * (numbers + 1), out)

    def forward(self, memory: _Finished) -> Tensor:
        if self.read is not None:
            tokens, _ = self.read(memory)
        else:
            pixels = patches(memory.frames, self.patch)
            action = memory.action[:, :, None].expand(-1, -1, pixels.shape[2], -1)
            tokens = torch.cat([pixels, action], -1)
        tokens = functional.pad(tokens, (0, 1), value=1.0)
        absent = self.slots - tokens.shape[1]
        tokens = functional.pad(tokens, (0, 0, 0, 0, absent, 0))
        return self.project(tokens.transpose(1, 2).flatten(2))[:, None]


class Denoiser(nn.Module):
    """Everything but the backbone: arguments, levels, actions and poses, the kind of prediction."""

    def __init__(self, config: NetworkConfig, condition_width: int) -> None:
        super().__init__()
        self.config = config
        self.level = LevelEmbedding(condition_width)
        self.action = ActionEmbedding(
            config.action_dim, condition_width, config.pose, config.pose_unit, config.headings
        )
        self.clean_gamma = float(noise.gamma(config.clean_level))

    # --- what a backbone gives ---

    def _context(
        self, memory: _Finished | None, reference: _Finished | None, action: Tensor
    ) -> Context:
        raise NotImplementedError

    def _network(self, x: Tensor, level: Tensor, context: Context) -> Tensor:
        raise NotImplementedError

    # --- the protocol ---

    def forward(
        self,
        x: Tensor,
        gamma: Tensor,
        *,
        reference: Tensor | None = None,
        memory: Tensor | None = None,
        action: Tensor | None = None,
        reference_gamma: Tensor | None = None,
    ) -> Tensor:
        """E[x^0 | ...] as the network sees it, `(B, w, C, H, W)`; see the module's protocol.

        `reference_gamma` (B, r): at which level the references are (or are said to be).
        """
        context = self.context(
            len(x),
            x.shape[1],
            reference=reference,
            memory=memory,
            action=action,
            reference_gamma=reference_gamma,
        )
        return self.denoise(x, gamma, context)

    def context(
        self,
        batch: int,
        window: int,
        *,
        reference: Tensor | None = None,
        memory: Tensor | None = None,
        action: Tensor | None = None,
        reference_gamma: Tensor | None = None,
    ) -> Context:
        """What all calls on a `window` of frames share: features of finished frames, actions.

        Memory beyond the configured length is left out, the oldest frames first.
        """
        m = 0 if memory is None else memory.shape[1]
        r = 0 if reference is None else reference.shape[1]
        if action is None:
            shape = (batch, m + r + window, self.config.action_dim)
            action = torch.zeros(shape, device=next(self.parameters()).device)
        if action.shape[1] != m + r + window:
            raise ParameterError(
                "action",
                f"of memory + reference + window ({m} + {r} + {window}) frames",
                f"{action.shape[1]} frames",
            )
        if action.shape[2] != self.config.action_dim:
            raise ParameterError(
                "action", f"{self.config.action_dim} numbers a frame", action.shape[2]
            )
        if memory is not None and m > self.config.memory:
            left_out, m = m - self.config.memory, self.config.memory
            memory, action = memory[:, left_out:], action[:, left_out:]
        # what led to the first frame comes from a frame that is not there
        action = torch.cat([torch.zeros_like(action[:, :1]), action[:, 1:]], 1)
        embedded = self.action(action, origin=m + r)
        positions = torch.arange(-(m + r), 0, device=action.device)
        clean = action.new_full((batch, 1), self.clean_gamma, dtype=torch.float32)
        finished: list[_Finished | None] = []
        for frames, start, stop, gamma in (
            (memory, 0, m, None),
            (reference, m, m + r, reference_gamma),
        ):
            if frames is None or start == stop:
                finished.append(None)
                continue
            levels = self.level(clean if gamma is None else gamma)
            finished.append(
                _Finished(
                    frames,
                    embedded[:, start:stop],
                    levels.expand(-1, stop - start, -1),
                    positions[start:stop],
                )
            )
        return self._context(finished[0], finished[1], embedded[:, m + r :])

    def denoise(self, x: Tensor, gamma: Tensor, context: Context) -> Tensor:
        """The estimate for a noisy window, given its context."""
        level = self.level(gamma)
        if self.config.prediction == "x0":
            return self._network(x, level, context)
        gamma = gamma[:, :, None, None, None]
        variance = self.config.data_scale**2
        signal = gamma / (1.0 + gamma)
        total = signal * variance + 1.0 / (1.0 + gamma)
        skip = signal.sqrt() * variance / total
        scale = (variance / (1.0 + gamma) / total).sqrt()
        return skip * x + scale * self._network(x / total.sqrt(), level, context)


class Refinement(nn.Module):
    """Joins the patches of an estimate: two convolutions over it, its features and the noisy frame.

    The first of them start random and the second zero, so that training starts from the patches.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.channels = channels
        self.first = nn.Conv2d(2 * channels + features, features, 3, padding=1)
        self.second = nn.Conv2d(features, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, made: Tensor, x: Tensor) -> Tensor:
        """`made` (B, w, C + features, H, W), the noisy `x` (B, w, C, H, W) to (B, w, C, H, W)."""
        joined = torch.cat([made, x], 2).flatten(0, 1)
        joined = joined.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        change = self.second(functional.gelu(self.first(joined)))
        return made[:, :, : self.channels] + change.unflatten(0, x.shape[:2])


class Transformer(Denoiser):
    """A factorised space-time transformer on patches (the default backbone)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config, config.width)
        width, heads = config.width, config.heads
        numbers = config.channels * config.patch**2
        self.embed = Linear(numbers, width)
        self.place = nn.Parameter(0.02 * torch.randn((config.size // config.patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(config.layers))
        self.read: nn.Module | None = None
        self.cross = nn.ModuleList()
        if config.structure == "channel_concat":
            self.read = ChannelConcat(config, width, width)
        elif config.structure == "cross_attention" or config.compressor != "none":
            self.read = MemoryReader(config, width)
        if config.structure == "cross_attention":
            self.cross.extend(CrossAttention(width, heads) for _ in range(config.layers))
        self.last = nn.Sequential(nn.SiLU(), Linear(width, 2 * width))
        self.head = Linear(width, numbers + config.refine * config.patch**2)
        self.refine = Refinement(config.channels, config.refine) if config.refine else None
        for layer in (self.last[1], self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _tokens(self, frames: Tensor, action: Tensor) -> Tensor:
        return self.embed(patches(frames, self.config.patch)) + self.place + action[:, :, None]

    def _context(
        self, memory: _Finished | None, reference: _Finished | None, action: Tensor
    ) -> Context:
        tokens, conditions, positions = [], [], []
        cross: tuple[KeysValues, ...] = ()
        added = None
        if memory is not None and self.config.structure == "channel_concat":
            assert self.read is not None
            added = self.read(memory)
        elif memory is not None and self.config.structure == "cross_attention":
            assert self.read is not None
            slots, where = self.read(memory)
            cross = tuple(layer.keys_values(slots, where) for layer in self.cross)
        elif memory is not None and self.config.structure == "prepend":
            if self.read is not None:
                slots, where = self.read(memory)
            else:
                slots, where = self._tokens(memory.frames, memory.action), memory.positions
            tokens.append(slots)
            conditions.append((memory.level + memory.action)[:, -len(where) :])
            positions.append(where)
        if reference is not None:
            tokens.append(self._tokens(reference.frames, reference.action))
            conditions.append(reference.level + reference.action)
            positions.append(reference.positions)
        if not tokens:
            return Context(action, (None,) * len(self.blocks), cross, added)
        x, condition = torch.cat(tokens, 1), torch.cat(conditions, 1)
        where = torch.cat(positions)
        past: list[KeysValues] = []
        for block in self.blocks[:-1]:
            x, own = block(x, condition, where)
            past.append(own)
        past.append(self.blocks[-1].keys_values(x, condition, where))
        return Context(action, tuple(past), cross, added)

    def _network(self, x: Tensor, level: Tensor, context: Context) -> Tensor:
        positions = torch.arange(x.shape[1], device=x.device)
        condition = level + context.action
        tokens = self._tokens(x, context.action)
        if context.added is not None:
            tokens = tokens + context.added
        for i, block in enumerate(self.blocks):
            tokens, _ = block(tokens, condition, positions, context.past[i])
            if context.cross:
                tokens = self.cross[i](tokens, positions, context.cross[i])
        shift, scale = self.last(condition)[:, :, None].chunk(2, -1)
        tokens = functional.layer_norm(tokens, tokens.shape[-1:]) * (1.0 + scale) + shift
        made = unpatch(self.head(tokens), self.config.patch, self.config.size)
        return made if self.refine is None else self.refine(made, x)


def build(config: NetworkConfig, seed: int = 0) -> Denoiser:
    """The network of a config, its first weights drawn with `seed` (no global state is touched)."""
    from paper_repro.arvdm.unet import UNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(config) if config.backbone == "unet" else Transformer(config)
