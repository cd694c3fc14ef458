"""Training throughput beside a plain transformer and the U-Net, each with as many parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from paper_repro.arvdm.conditions import ActionEmbedding, LevelEmbedding
from paper_repro.arvdm.diffusion import DiffusionConfig, denoising_loss, pixels, training_clip
from paper_repro.arvdm.network import NetworkConfig, build, patches, unpatch

torch.set_num_threads(1)

BATCH = 4
CONFIG = NetworkConfig(
    size=32, patch=8, width=128, layers=4, window=4, structure="prepend", memory=12
)
DIFFUSION = DiffusionConfig(levels="shared")


class Plain(nn.Module):
    """Full attention among all tokens of all frames: `nn.TransformerEncoder`, nothing of ours but
    the embeddings of levels and actions."""

    def __init__(self, config: NetworkConfig, layers: int, feed_forward: int) -> None:
        super().__init__()
        self.config = config
        width, numbers = config.width, config.channels * config.patch**2
        self.embed = nn.Linear(numbers, width)
        self.place = nn.Parameter(0.02 * torch.randn((config.size // config.patch) ** 2, width))
        self.time = nn.Parameter(0.02 * torch.randn(config.clip, 1, width))
        self.level = LevelEmbedding(width)
        self.action = ActionEmbedding(config.action_dim, width, "sum", 1.0, config.headings)
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            feed_forward,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, numbers))

    def forward(
        self, x: Tensor, gamma: Tensor, *, memory: Tensor, action: Tensor, **given: Any
    ) -> Tensor:
        frames = torch.cat([memory, x], 1)
        clean = gamma.new_full(memory.shape[:2], 1e4)
        condition = self.level(torch.cat([clean, gamma], 1))
        condition = condition + self.action(action, origin=memory.shape[1])
        tokens = self.embed(patches(frames, self.config.patch)) + self.place + self.time
        mixed = self.encoder((tokens + condition[:, :, None]).flatten(1, 2))
        window = mixed.unflatten(1, tokens.shape[1:3])[:, memory.shape[1] :]
        return unpatch(self.head(window), self.config.patch, self.config.size)


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def plain(target: int) -> Plain:
    """Eight layers, their feed-forward as wide as it takes."""
    narrow, wide = (size(Plain(CONFIG, 8, width)) for width in (256, 257))
    return Plain(CONFIG, 8, 256 + round((target - narrow) / (wide - narrow)))


def u_net(target: int) -> nn.Module:
    """Three resolutions, of the width that comes closest."""
    made = [
        build(
            NetworkConfig(
                size=32,
                patch=8,
                width=width,
                layers=3,
                window=4,
                structure="prepend",
                memory=12,
                backbone="unet",
            )
        )
        for width in range(16, 73, 8)
    ]
    return min(made, key=lambda network: abs(size(network) - target))


def updates(network: nn.Module) -> Callable[[], float]:
    """One update as in training: noise, loss, gradient, AdamW, averaged weights."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.99))
    parameters = list(network.parameters())
    averages = [copy.deepcopy(p.detach()) for p in parameters]
    draw = torch.Generator().manual_seed(1)
    shape = (BATCH, CONFIG.clip, CONFIG.size, CONFIG.size, 3)
    frames = torch.randint(256, shape, generator=draw, dtype=torch.uint8).numpy()
    action = torch.randint(-1, 2, (BATCH, CONFIG.clip, 1), generator=draw).float()

    def update() -> float:
        example = training_clip(
            pixels(frames),
            action,
            memory=CONFIG.memory,
            reference=0,
            config=DIFFUSION,
            generator=draw,
        )
        estimate = network(
            example.x, example.gamma, memory=example.memory, action=example.action, reference=None
        )
        loss = denoising_loss(estimate, example, DIFFUSION)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 0.005)
        return float(loss.detach())

    return update


def test_throughput(beside: Any) -> None:
    ours = build(CONFIG)
    networks = {"plain transformer": plain(size(ours)), "U-Net": u_net(size(ours))}
    name = "space-time transformer"
    for other in networks.values():
        assert abs(size(other) / size(ours) - 1.0) < 0.15
        # it learns: the same batch again and again
        update = updates(copy.deepcopy(other))
        first = update()
        assert min(update() for _ in range(4)) < first
    beside(
        name,
        updates(ours),
        {key: updates(network) for key, network in networks.items()},
        unit="clip",
        settings=f"updates with batches of {BATCH} clips of 12 + 4 frames (memory + window) of "
        "32 × 32 pixels, 256 tokens of 8 × 8 pixels; noise, gradient, AdamW and averaged weights "
        "included, reading clips not",
        rounds=9,
        work=BATCH,
        parameters={key: size(net) for key, net in {name: ours, **networks}.items()},
    )
