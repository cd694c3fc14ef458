"""A 3-D U-Net with factorised space and time (arXiv 2204.03458), the paper's kind of backbone.

Convolutions run within frames and attention across frames at one place, at every resolution. As in
the transformer, finished frames are seen only through keys and values.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from arvdm_theory.errors import ParameterError
from paper_repro.arvdm.attention import CrossAttention, KeysValues, SpatialAttention
from paper_repro.arvdm.attention import TemporalAttention as _TemporalAttention
from paper_repro.arvdm.linear import Linear
from paper_repro.arvdm.network import (
    ChannelConcat,
    Context,
    Denoiser,
    MemoryReader,
    NetworkConfig,
    _Finished,
    unpatch,
)

__all__ = ["UNet"]


class _Stage(nn.Module):
    """A residual convolution per frame under the frame's condition, then attention across."""

    def __init__(
        self, enter: int, width: int, condition: int, heads: int, spatial: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(min(8, enter), enter)
        self.first = nn.Conv2d(enter, width, 3, padding=1)
        self.modulation = Linear(condition, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(enter, width, 1) if enter != width else nn.Identity()
        self.spatial_norm = nn.LayerNorm(width) if spatial else None
        self.spatial = SpatialAttention(width, heads) if spatial else None
        self.temporal_norm = nn.LayerNorm(width)
        self.temporal = _TemporalAttention(width, heads)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(
        self, x: Tensor, condition: Tensor, positions: Tensor, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """`x` (B, T, channels, H, W)."""
        batch, length, _, height, width = x.shape
        flat = x.flatten(0, 1)
        shift, scale = self.modulation(condition).flatten(0, 1)[..., None, None].chunk(2, 1)
        hidden = self.first(functional.silu(self.norm(flat)))
        hidden = hidden * (1.0 + scale) + shift
        flat = self.skip(flat) + self.second(functional.silu(hidden))
        tokens = flat.flatten(2).transpose(1, 2).reshape(batch, length, height * width, -1)
        if self.spatial is not None and self.spatial_norm is not None:
            tokens = tokens + self.spatial(self.spatial_norm(tokens))
        mixed, own = self.temporal(self.temporal_norm(tokens), positions, past)
        return _maps(tokens + mixed, height, width), own


def _maps(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.transpose(2, 3).unflatten(-1, (height, width))


class UNet(Denoiser):
    """Resolutions size, size / 2, ... with widths width, 2 width, 2 width, ..."""

    def __init__(self, config: NetworkConfig) -> None:
        condition = 4 * config.width
        super().__init__(config, condition)
        halvings = config.layers - 1
        if config.size % 2**halvings:
            raise ParameterError("layers", f"so few that size ({config.size}) halves", halvings + 1)
        widths = [config.width] + [2 * config.width] * halvings
        heads, first = config.heads, config.width
        self.stem = nn.Conv2d(config.channels, first, 3, padding=1)
        self.enter_action = Linear(condition, first)
        stages = [_Stage(a, b, condition, heads) for a, b in pairwise([first, *widths])]
        self.down = nn.ModuleList(stages)
        self.shrink = nn.ModuleList(nn.Conv2d(a, a, 3, 2, 1) for a in widths[:-1])
        self.middle = _Stage(widths[-1], widths[-1], condition, heads, spatial=True)
        above = widths[::-1][1:] + [first]
        self.up = nn.ModuleList(
            _Stage(2 * a, b, condition, heads) for a, b in zip(widths[::-1], above, strict=True)
        )
        self.head = nn.Sequential(
            nn.GroupNorm(min(8, first), first),
            nn.SiLU(),
            nn.Conv2d(first, config.channels, 3, padding=1),
        )
        nn.init.zeros_(self.head[2].weight)
        nn.init.zeros_(self.head[2].bias)
        self.read: nn.Module | None = None
        self.slot_maps: nn.Module | None = None
        self.cross = nn.ModuleList()
        if config.structure == "channel_concat":
            self.read = ChannelConcat(config, condition, first * config.patch**2)
        elif config.structure == "cross_attention" or config.compressor != "none":
            self.read = MemoryReader(config, condition)
        if config.structure == "cross_attention":
            each = [*widths, widths[-1], *above]
            self.cross.extend(CrossAttention(a, heads, condition) for a in each)
        elif config.structure == "prepend" and config.compressor != "none":
            self.slot_maps = Linear(condition, first * config.patch**2)

    def _enter(self, frames: Tensor, action: Tensor) -> Tensor:
        maps = self.stem(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return maps + self.enter_action(action)[..., None, None]

    def _context(
        self, memory: _Finished | None, reference: _Finished | None, action: Tensor
    ) -> Context:
        patch, size = self.config.patch, self.config.size
        maps, conditions, positions = [], [], []
        cross: tuple[KeysValues, ...] = ()
        added = None
        if memory is not None and self.config.structure == "channel_concat":
            assert self.read is not None
            added = unpatch(self.read(memory), patch, size)
        elif memory is not None and self.config.structure == "cross_attention":
            assert self.read is not None
            slots, where = self.read(memory)
            cross = tuple(layer.keys_values(slots, where) for layer in self.cross)
        elif memory is not None and self.config.structure == "prepend":
            if self.read is not None and self.slot_maps is not None:
                slots, where = self.read(memory)
                maps.append(unpatch(self.slot_maps(slots), patch, size))
            else:
                maps.append(self._enter(memory.frames, memory.action))
                where = memory.positions
            conditions.append((memory.level + memory.action)[:, -len(where) :])
            positions.append(where)
        if reference is not None:
            maps.append(self._enter(reference.frames, reference.action))
            conditions.append(reference.level + reference.action)
            positions.append(reference.positions)
        stages = 2 * len(self.down) + 1
        if not maps:
            return Context(action, (None,) * stages, cross, added)
        empty = Context(action, (None,) * stages)
        _, past = self._run(
            torch.cat(maps, 1), torch.cat(conditions, 1), torch.cat(positions), empty
        )
        return Context(action, past, cross, added)

    def _run(
        self, x: Tensor, condition: Tensor, positions: Tensor, context: Context
    ) -> tuple[Tensor, tuple[KeysValues, ...]]:
        condition = functional.silu(condition)
        own: list[KeysValues] = []

        def stage(module: nn.Module, x: Tensor) -> Tensor:
            x, keys_values = module(x, condition, positions, context.past[len(own)])
            if context.cross:
                height, width = x.shape[-2:]
                tokens = x.flatten(3).transpose(2, 3)
                i = len(own)
                x = _maps(self.cross[i](tokens, positions, context.cross[i]), height, width)
            own.append(keys_values)
            return x

        skips = []
        for i, module in enumerate(self.down):
            x = stage(module, x)
            skips.append(x)
            if i < len(self.shrink):
                x = self.shrink[i](x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x = stage(self.middle, x)
        for i, module in enumerate(self.up):
            x = stage(module, torch.cat([x, skips.pop()], 2))
            if i < len(self.shrink):
                bigger = functional.interpolate(x.flatten(0, 1), scale_factor=2.0)
                x = bigger.unflatten(0, x.shape[:2])
        return x, tuple(own)

    def _network(self, x: Tensor, level: Tensor, context: Context) -> Tensor:
        positions = torch.arange(x.shape[1], device=x.device)
        maps = self._enter(x, context.action)
        if context.added is not None:
            maps = maps + context.added
        maps, _ = self._run(maps, level + context.action, positions, context)
        return self.head(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
