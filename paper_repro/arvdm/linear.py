"""A linear layer that is fast on every CPU.

PyTorch hands float32 matrix products to MKL, which leaves the AVX-512 units of processors of other
makers idle; oneDNN, which PyTorch uses for its compiled graphs, does not, and is about twice as
fast there. The numbers are the same up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Linear"]

_MANY = 64
"""Rows from which on the time of the product outweighs that of the call."""


class Linear(nn.Linear):
    """`torch.nn.Linear` through oneDNN where that is possible: many float32 vectors on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        fits = (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() >= _MANY * self.in_features
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )
        if not (fits and _available()):
            return functional.linear(x, self.weight, self.bias)
        flat = x.reshape(-1, self.in_features)
        made: Tensor = _Product.apply(flat, self.weight, self.bias)
        return made.unflatten(0, x.shape[:-1])


def _available() -> bool:
    return torch.backends.mkldnn.enabled and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made


def _of_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """gradientᵀ x; of the two, the smaller one is turned over in memory."""
    if gradient.shape[1] > x.shape[1]:
        return _product(x.t(), gradient.t()).t().contiguous()
    return _product(gradient.t(), x.t())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if needs_x else None,
            _of_weight(gradient, x) if needs_weight else None,
            gradient.sum(0) if needs_bias else None,
        )
