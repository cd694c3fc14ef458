"""Attention within a frame and across frames, with positions relative to the window.

Frames are token grids, shape `(B, T, N, width)`: T frames of N tokens. Attention across frames sees
finished frames only through their keys and values, so these are computed once and shared by all
sub-steps of an AR step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from paper_repro.arvdm.linear import Linear

__all__ = ["Block", "CrossAttention", "KeysValues", "SpatialAttention", "TemporalAttention", "rope"]

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one attention layer, each `(batch, heads, length, width / heads)`."""

_ROPE_BASE = 1000.0


def rope(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary embedding (RoFormer, arXiv 2104.09864): scores depend on position differences only.

    `x` (..., length, dim) with dim even, `positions` (length,) in frames relative to the window.
    """
    half = x.shape[-1] // 2
    exponent = torch.arange(half, device=x.device, dtype=torch.float32) / half
    angle = positions.to(torch.float32)[:, None] * _ROPE_BASE**-exponent
    turned: Tensor = _Rotation.apply(x, angle.cos().to(x.dtype), angle.sin().to(x.dtype))
    return turned


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    out = torch.cat([b, a], -1)
    out *= torch.cat([-sin, sin], -1)
    return out.addcmul_(x, torch.cat([cos, cos], -1))


class _Rotation(torch.autograd.Function):
    """Pairs of numbers turned by angles; the gradient turns back, and needs nothing else."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return _rotated(x, cos, sin)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(gradient, cos, -sin), None, None


def _split(x: Tensor, heads: int) -> Tensor:
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, width // heads).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class SpatialAttention(nn.Module):
    """Self-attention among the tokens of each frame."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_split(part, self.heads) for part in self.project(x.flatten(0, 1)).chunk(3, -1))
        mixed = _merge(functional.scaled_dot_product_attention(q, k, v))
        return self.out(mixed).reshape(x.shape)


class TemporalAttention(nn.Module):
    """Attention across frames at one place: from these frames to themselves and finished ones."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(
        self, x: Tensor, positions: Tensor, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """`x` (B, T, N, width), `positions` (T,). Returns the mixed tokens and own keys, values."""
        batch, length, tokens, width = x.shape
        places = x.transpose(1, 2).reshape(batch * tokens, length, width)
        q, k, v = (_split(part, self.heads) for part in self.project(places).chunk(3, -1))
        q, k = rope(q, positions), rope(k, positions)
        own = (k, v)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        mixed = self.out(_merge(functional.scaled_dot_product_attention(q, k, v)))
        return mixed.reshape(batch, tokens, length, width).transpose(1, 2), own


class CrossAttention(nn.Module):
    """Queries from the layer, keys and values from all memory tokens, RoPE on both."""

    def __init__(self, width: int, heads: int, memory_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        memory_width = width if memory_width is None else memory_width
        self.norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(memory_width)
        self.query = Linear(width, width)
        self.key_value = Linear(memory_width, 2 * width)
        self.out = Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def keys_values(self, memory: Tensor, positions: Tensor) -> KeysValues:
        """Of memory tokens `(B, T, N, memory_width)` at `positions` (T,)."""
        k, v = self.key_value(self.memory_norm(memory.flatten(1, 2))).chunk(2, -1)
        where = positions.repeat_interleave(memory.shape[2])
        return rope(_split(k, self.heads), where), _split(v, self.heads)

    def forward(self, x: Tensor, positions: Tensor, memory: KeysValues) -> Tensor:
        """`x` (B, T, N, width), `positions` (T,). Returns `x` plus what was read."""
        where = positions.repeat_interleave(x.shape[2])
        q = rope(_split(self.query(self.norm(x).flatten(1, 2)), self.heads), where)
        read = _merge(functional.scaled_dot_product_attention(q, *memory))
        return x + self.out(read).reshape(x.shape)


class Block(nn.Module):
    """Spatial attention, temporal attention and feed-forward, each with adaptive normalisation.

    Scales, shifts and gates come from the frame's condition and start at zero (adaLN-zero, arXiv
    2212.09748): a fresh block is the identity.
    """

    def __init__(self, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.spatial = SpatialAttention(width, heads)
        self.temporal = TemporalAttention(width, heads)
        self.feed_forward = nn.Sequential(
            Linear(width, expansion * width), nn.GELU(), Linear(expansion * width, width)
        )
        self.modulation = nn.Sequential(nn.SiLU(), Linear(width, 9 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def _parts(self, condition: Tensor) -> tuple[Tensor, ...]:
        return self.modulation(condition)[:, :, None].chunk(9, -1)

    def forward(
        self, x: Tensor, condition: Tensor, positions: Tensor, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """`x` (B, T, N, width), `condition` (B, T, width), `positions` (T,)."""
        parts = self._parts(condition)
        x = torch.addcmul(x, parts[2], self.spatial(_modulate(x, *parts[:2])))
        mixed, own = self.temporal(_modulate(x, *parts[3:5]), positions, past)
        x = torch.addcmul(x, parts[5], mixed)
        return torch.addcmul(x, parts[8], self.feed_forward(_modulate(x, *parts[6:8]))), own

    def keys_values(self, x: Tensor, condition: Tensor, positions: Tensor) -> KeysValues:
        """The keys and values of `forward` without what only the next layer would need."""
        parts = self._parts(condition)
        x = torch.addcmul(x, parts[2], self.spatial(_modulate(x, *parts[:2])))
        _, own = self.temporal(_modulate(x, *parts[3:5]), positions)
        return own


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, functional.layer_norm(x, x.shape[-1:]), 1.0 + scale)
