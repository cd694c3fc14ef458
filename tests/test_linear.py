"""The linear layer against PyTorch's own, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paper_repro.arvdm import linear
from paper_repro.arvdm.linear import Linear

SHAPES = [(64, 24), (5, 40, 24), (2, 3, 70, 24)]


def _pair(bias: bool = True, out: int = 40) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    ours, plain = Linear(24, out, bias=bias), nn.Linear(24, out, bias=bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def _results(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().clone().requires_grad_()
    made = layer(x)
    weights = torch.linspace(-1.0, 1.0, made.numel(), dtype=made.dtype).reshape(made.shape)
    return [made, *torch.autograd.grad((made * weights).sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", [8, 24, 40])
def test_values_and_gradients_are_those_of_pytorch(
    shape: tuple[int, ...], bias: bool, out: int
) -> None:
    ours, plain = _pair(bias, out)
    for mine, theirs in zip(
        _results(ours, x := torch.randn(shape)), _results(plain, x), strict=True
    ):
        assert mine.shape == theirs.shape and mine.is_contiguous()
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_strided_input_and_a_frozen_layer() -> None:
    ours, plain = _pair()
    x = torch.randn(24, 7, 30).permute(1, 2, 0)
    assert not x.is_contiguous()
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    frozen = ours.requires_grad_(False)
    assert not frozen(x).requires_grad
    seen = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(frozen(seen).sum(), [seen])
    torch.testing.assert_close(gradient[0, 0], plain.weight.sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["double", "few", "half", "without"])
def test_what_does_not_fit_goes_pytorchs_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_product", None)  # calling it would fail
    ours, plain = _pair()
    x = torch.randn(64, 24)
    if kind == "double":
        ours, plain, x = ours.double(), plain.double(), x.double()
    elif kind == "few":
        x = x[:63]
    elif kind == "without":
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "half"):
        assert torch.equal(ours(x), plain(x))


def test_many_vectors_go_through_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    if not linear._available():
        pytest.skip("PyTorch without oneDNN")
    ours, _ = _pair()
    called = []
    product = linear._product
    monkeypatch.setattr(linear, "_product", lambda *a: called.append(a) or product(*a))
    _results(ours, torch.randn(64, 24))
    assert len(called) == 3  # forward, and two in backward
