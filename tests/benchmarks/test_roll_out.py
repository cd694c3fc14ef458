"""An AR step with features of finished frames computed once, beside once per network call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arvdm_theory.schedule import Schedule
from paper_repro.arvdm.network import NetworkConfig, build
from paper_repro.arvdm.rollout import roll_out

torch.set_num_threads(1)

SUBSTEPS, WINDOW, CLIPS = 10, 4, 2
SHAPE: dict[str, Any] = {"size": 32, "patch": 8, "width": 128, "layers": 4, "window": WINDOW}
UNET: dict[str, Any] = SHAPE | {"backbone": "unet", "width": 32, "layers": 3}

NETWORKS: dict[str, NetworkConfig] = {
    "prepend 28": NetworkConfig(**SHAPE, structure="prepend", memory=28),
    "prepend 12": NetworkConfig(**SHAPE, structure="prepend", memory=12),
    "cross attention 28": NetworkConfig(**SHAPE, structure="cross_attention", memory=28),
    "channel concatenation 28": NetworkConfig(**SHAPE, structure="channel_concat", memory=28),
    **{
        f"prepend 12, {kind.replace('_', '-')} compressor to 4": NetworkConfig(
            **SHAPE, structure="prepend", memory=12, compressor=kind, budget=4
        )
        for kind in ("joint", "modulated", "state_space")
    },
    "U-Net, prepend 12": NetworkConfig(**UNET, structure="prepend", memory=12),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_cached(name: str, beside: Any) -> None:
    config = NETWORKS[name]
    network = build(config).eval()
    draw = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():  # a layer that starts at zero would hide the others
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=draw)
    schedule = Schedule.chunk(WINDOW, t_max=4.0, t_min=5e-5, substeps=SUBSTEPS)
    context = torch.rand(CLIPS, config.memory, 3, 32, 32, generator=draw) * 2.0 - 1.0
    action = torch.randn(CLIPS, config.memory + WINDOW, 1, generator=draw)

    def step(cache: bool) -> Tensor:
        made = roll_out(network, schedule, steps=1, context=context, action=action, cache=cache)
        return made.frames

    torch.testing.assert_close(step(True), step(False), rtol=1e-4, atol=1e-4)
    beside(
        f"{name}, cached",
        lambda: step(True),
        {"uncached": lambda: step(False)},
        unit="AR step and clip",
        settings=f"one AR step of {CLIPS} clips: window {WINDOW}, {SUBSTEPS} sub-steps, frames of "
        "32 × 32 pixels, full memory; transformer of width 128 and 4 layers with 8 × 8 patches, "
        "U-Net of width 32 and 3 resolutions",
        rounds=9,
        work=CLIPS,
        parameters={f"{name}, cached": sum(p.numel() for p in network.parameters())},
    )
