"""Compression of memory frames into fewer slots; a slot is as large as a frame (N tokens).

Every compressor reads all memory frames and keeps the last `budget` slots, so a slot is a summary
that stands where one of the last `budget` frames stood.

`joint`: frames and actions are concatenated as tokens and go through spatial attention, temporal
attention and feed-forward. `modulated`: the actions modulate the frames instead. `state_space`: the
frames go through a selective scan in time order (Mamba, arXiv 2312.00752), so that its cost is
linear in the memory length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from arvdm_theory.errors import ParameterError
from paper_repro.arvdm.attention import Block, SpatialAttention
from paper_repro.arvdm.linear import Linear

__all__ = ["COMPRESSORS", "Joint", "Modulated", "SelectiveScan", "StateSpace", "compressor"]


class _Compressor(nn.Module):
    def __init__(self, budget: int) -> None:
        super().__init__()
        self.budget = budget

    def mix(self, tokens: Tensor, action: Tensor, level: Tensor, positions: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(
        self, tokens: Tensor, action: Tensor, level: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The slots of `tokens` (B, T, N, width) and their positions.

        `action`, `level` (B, T, width) embeddings, `positions` (T,). Returns at most `budget` slots
        (all of them where the memory is shorter), newest last.
        """
        mixed = self.mix(tokens, action, level, positions)
        return mixed[:, -self.budget :], positions[-self.budget :]


class Joint(_Compressor):
    """Frame tokens and one action token a frame through the same layers."""

    def __init__(self, width: int, heads: int, layers: int, budget: int) -> None:
        super().__init__(budget)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def mix(self, tokens: Tensor, action: Tensor, level: Tensor, positions: Tensor) -> Tensor:
        x = torch.cat([tokens, action[:, :, None]], dim=2)
        for block in self.blocks:
            x, _ = block(x, level, positions)
        return x[:, :, :-1]


class Modulated(_Compressor):
    """Frame tokens through layers whose scales, shifts and gates come from the action."""

    def __init__(self, width: int, heads: int, layers: int, budget: int) -> None:
        super().__init__(budget)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def mix(self, tokens: Tensor, action: Tensor, level: Tensor, positions: Tensor) -> Tensor:
        for block in self.blocks:
            tokens, _ = block(tokens, level + action, positions)
        return tokens


class SelectiveScan(nn.Module):
    r"""A linear recurrence with input-dependent coefficients, along the second axis.

    $h_t = e^{\Delta_t A} h_{t-1} + \Delta_t B_t x_t,\quad y_t = C_t h_t + D x_t$ with
    $A < 0$ diagonal and $\Delta_t, B_t, C_t$ linear in $x_t$. `x` (B, T, width), causal.
    """

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.state = state
        self.log_decay = nn.Parameter(torch.log(torch.arange(1.0, state + 1)).repeat(width, 1))
        self.skip = nn.Parameter(torch.ones(width))
        self.step = Linear(width, width)
        self.read_write = Linear(width, 2 * state, bias=False)
        # softplus(bias) runs over 0.001 .. 0.3: time constants of about 1 to 1000 frames
        nn.init.uniform_(self.step.bias, -6.9, -1.05)
        nn.init.normal_(self.step.weight, std=0.1 * width**-0.5)

    def forward(self, x: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs `(B, T, width)` and the last state `(B, width, state)`."""
        step = functional.softplus(self.step(x))
        write, read = self.read_write(x).chunk(2, -1)
        decay = torch.exp(-step[..., None] * torch.exp(self.log_decay))
        inputs = (step * x)[..., None] * write[:, :, None]
        state = torch.zeros_like(inputs[:, 0]) if initial is None else initial
        outputs = []
        for t in range(x.shape[1]):
            state = decay[:, t] * state + inputs[:, t]
            outputs.append((state * read[:, t, None]).sum(-1))
        return torch.stack(outputs, 1) + self.skip * x, state


class _ScanBlock(nn.Module):
    def __init__(self, width: int, heads: int, state: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.spatial = SpatialAttention(width, heads)
        self.enter = Linear(width, 2 * width)
        self.scan = SelectiveScan(width, state)
        self.leave = Linear(width, width)
        self.feed_forward = nn.Sequential(
            Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, tokens, width = x.shape
        x = x + self.spatial(self.norms[0](x))
        places = self.norms[1](x).transpose(1, 2).reshape(batch * tokens, length, width)
        value, gate = self.enter(places).chunk(2, -1)
        scanned, _ = self.scan(functional.silu(value))
        scanned = self.leave(scanned * functional.silu(gate))
        x = x + scanned.reshape(batch, tokens, length, width).transpose(1, 2)
        return x + self.feed_forward(self.norms[2](x))


class StateSpace(_Compressor):
    """Frame tokens, actions added, through selective scans in time order."""

    def __init__(self, width: int, heads: int, layers: int, budget: int, state: int = 16) -> None:
        super().__init__(budget)
        self.blocks = nn.ModuleList(_ScanBlock(width, heads, state) for _ in range(layers))

    def mix(self, tokens: Tensor, action: Tensor, level: Tensor, positions: Tensor) -> Tensor:
        x = tokens + (action + level)[:, :, None]
        for block in self.blocks:
            x = block(x)
        return x


COMPRESSORS: dict[str, Callable[[int, int, int, int], _Compressor]] = {
    "joint": Joint,
    "modulated": Modulated,
    "state_space": StateSpace,
}


def compressor(kind: str, width: int, heads: int, layers: int, budget: int) -> _Compressor:
    """The compressor named `kind`, one of `COMPRESSORS`."""
    if kind not in COMPRESSORS:
        raise ParameterError("compressor", f"none or one of {', '.join(COMPRESSORS)}", kind)
    if budget < 1:
        raise ParameterError("budget", "at least 1 slot", budget)
    return COMPRESSORS[kind](width, heads, layers, budget)
