"""Where does the memory enter the networks, and what does it cost there?

Exact: every number is counted on the built modules: parameters by part, and the shapes of what
passes through them in one call (one window of noisy frames, a full memory).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas

from analysis.study import Config, Study

if TYPE_CHECKING:
    from paper_repro.arvdm.network import Denoiser, NetworkConfig

__all__ = ["NETWORKS", "STUDY", "inspected", "network_config", "run"]

CONFIG: dict[str, Any] = {
    "experiment": "maze-prepend-12",
    "networks": {
        "none": {"structure": "none", "memory": 0},
        "prepend": {"structure": "prepend"},
        "channel concat": {"structure": "channel_concat"},
        "cross attention": {"structure": "cross_attention"},
        "prepend, joint": {"structure": "prepend", "compressor": "joint", "budget": 4},
        "channel concat, modulated": {
            "structure": "channel_concat",
            "compressor": "modulated",
            "budget": 4,
        },
        "prepend, state space": {"structure": "prepend", "compressor": "state_space", "budget": 4},
    },
}
"""Named networks as changes of an experiment's network."""
NETWORKS: Mapping[str, Mapping[str, Any]] = CONFIG["networks"]

PARTS: dict[str, tuple[str, ...]] = {
    "conditions": ("level", "action"),
    "tokens": ("embed", "place"),
    "blocks": ("blocks",),
    "memory": ("read",),
    "cross attention": ("cross",),
    "head": ("last", "head", "refine"),
}
"""Part of the drawing → the module's attributes that belong to it."""


SHOWN = (
    *("structure", "compressor", "window", "memory", "budget"),
    *("size", "patch", "width", "layers", "heads"),
)
"""What the drawing says of the configuration."""


def network_config(config: Config, name: str) -> NetworkConfig:
    """The configuration of a named network."""
    from paper_repro.experiments import experiment

    base = experiment(config["experiment"]).network
    return dataclasses.replace(base, **config["networks"][name])


def _parameters(network: Denoiser, attributes: tuple[str, ...]) -> int:
    """Trained numbers of some of a network's attributes."""
    named = network.named_parameters()
    return sum(p.numel() for name, p in named if name.split(".")[0] in attributes)


def _watched(network: Denoiser) -> dict[str, Any]:
    """Filled with the shapes of what passes the parts of `network` in its next call."""
    seen: dict[str, Any] = {"frames": [], "temporal_keys": []}
    modules = dict(network.named_modules())

    def after(name: str, look: Callable[[Any, Any], None]) -> None:
        if name in modules:
            modules[name].register_forward_hook(lambda module, given, made: look(given, made))

    def time(given: Any, made: Any) -> None:
        past = given[2] if len(given) > 2 else None
        own = made[1][0].shape[2]
        seen["temporal_keys"].append(own + (0 if past is None else past[0].shape[2]))

    after("blocks.0", lambda given, made: seen["frames"].append(given[0].shape[1]))
    after("blocks.0.temporal", time)
    after("cross.0", lambda given, made: seen.update(cross_keys=given[2][0].shape[2]))
    for reader in ("read", "read.read"):
        if hasattr(modules.get(reader), "compress"):  # not the projection of channel concatenation
            after(reader, lambda given, made: seen.update(slots=made[0].shape[1]))
        after(
            f"{reader}.compress.blocks.0",
            lambda given, made: seen.update(
                mixed_tokens=given[0].shape[2], told=given[1] if len(given) > 1 else None
            ),
        )
        after(
            f"{reader}.compress",
            lambda given, made: seen.update(compressed=given[0].shape[1], conditions=given[1:3]),
        )
    return seen


def _modulated_by(seen: Mapping[str, Any]) -> str:
    """What scales and shifts the layers of the compressor, found by comparing values."""
    if seen.get("told") is None:
        return "nothing"
    action, level = seen["conditions"]
    kinds = {"level": level.expand_as(action), "level + action": level + action}
    return next(kind for kind, value in kinds.items() if value.equal(seen["told"]))


def _call(network: Denoiser, config: NetworkConfig) -> None:
    """One call: a window of noisy frames, a full memory."""
    import torch

    shape = (config.channels, config.size, config.size)
    chance = torch.Generator().manual_seed(0)
    action = torch.randn(1, config.memory + config.window, config.action_dim, generator=chance)
    memory = torch.zeros(1, config.memory, *shape) if config.memory else None
    window, gamma = torch.zeros(1, config.window, *shape), torch.ones(1, config.window)
    with torch.no_grad():
        network(window, gamma, memory=memory, action=action)


def inspected(config: NetworkConfig) -> dict[str, Any]:
    """What is counted on one built network; see `compute` for the names."""
    from paper_repro.arvdm.network import build

    network = build(config)
    seen = _watched(network)
    _call(network, config)
    modules = dict(network.named_modules())
    compressor: Any = modules.get("read.compress", modules.get("read.read.compress"))
    project: Any = modules.get("read.project")
    return {
        **{name: getattr(config, name) for name in SHOWN},
        "tokens_per_frame": (config.size // config.patch) ** 2,
        "passed_memory": sum(seen["frames"][:-1]),
        "temporal_keys": seen["temporal_keys"][-1],
        "slots": seen.get("slots", 0),
        "cross_keys": seen.get("cross_keys", 0),
        "cross_layers": sum(name.startswith("cross.") and name.count(".") == 1 for name in modules),
        "added_from": project.in_features if project is not None else 0,
        "compressed": seen.get("compressed", 0),
        "mixed_tokens": seen.get("mixed_tokens", 0),
        "modulated_by": _modulated_by(seen),
        "compressor_layers": len(compressor.blocks) if compressor is not None else 0,
        "compressor_parameters": (
            sum(p.numel() for p in compressor.parameters()) if compressor is not None else 0
        ),
        "parameters": sum(p.numel() for p in network.parameters()),
        **{f"{part} parameters": _parameters(network, of) for part, of in PARTS.items()},
    }


def compute(config: Config) -> pandas.DataFrame:
    """One row a network; `missing` says why there is none (an extra that is not installed).

    `tokens_per_frame` places; `passed_memory` memory frames that pass the blocks; `temporal_keys`
    frames that a window frame attends to at its place; `slots` frames' worth of tokens that the
    memory reader returns; `cross_keys` tokens that `cross_layers` layers read; `added_from` numbers
    a place that channel concatenation projects; `compressed` frames enter the compressor with
    `mixed_tokens` each, and its layers are `modulated_by`; parameters by part.
    """
    rows = []
    for name in config["networks"]:
        try:
            found = inspected(network_config(config, name))
        except ImportError as error:
            rows.append({"network": name, "missing": " ".join(str(error).split())})
            continue
        rows.append({"network": name, "missing": "", **found})
    return pandas.DataFrame(rows)


STUDY = Study(
    name="network_structures",
    question="Where does the memory enter the networks, and what does it cost there?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
