"""Every row of the paper's tables as a named, frozen configuration, at two scales.

`maze-prepend-12-joint-4` is the row "prepend, memory 12, joint compression, budget 4" on the maze
at CPU scale, where every length is a quarter of the paper's (memory 4 / 12 / 28, budgets 2 / 4 / 8
/ 12 of 12, ages 4 / 12 / 28); `maze-full-prepend-48-joint-16` is the same row at the paper's own
lengths, for a GPU.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from paper_repro.arvdm.diffusion import DiffusionConfig
from paper_repro.arvdm.network import NetworkConfig
from paper_repro.arvdm.training import TrainingConfig
from paper_repro.evaluate import EvaluationConfig

__all__ = [
    "EXPERIMENTS",
    "LONGER",
    "MANY_SCHEDULES",
    "ROWS",
    "DataConfig",
    "Experiment",
    "Row",
    "experiment",
    "override",
]


@dataclass(frozen=True)
class DataConfig:
    """The clips to train on: `count` of `length` frames drawn with `seed`."""

    count: int = 4096
    length: int = 48
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("count", "length"):
            positive_integer(name, getattr(self, name))
        positive_integer("seed", self.seed, minimum=0)


@dataclass(frozen=True)
class Experiment:
    """A network on a world: everything that training and evaluation depend on.

    `world` is a specification (`world_from_json`); `revision` is raised by hand when the same
    configuration gives other numbers than before.
    """

    name: str
    world: dict[str, Any]
    network: NetworkConfig
    data: DataConfig = field(default_factory=DataConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    revision: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(frozen=True)
class Row:
    """A row of Tables 1 and 2 at the paper's lengths; the state-space rows are ours.

    `window` and `levels` (`DiffusionConfig`) are those of chunks but for `MANY_SCHEDULES`; it is
    trained for `longer` times the planned steps (once, but for `LONGER`).
    """

    structure: str
    memory: int = 0
    compressor: str = "none"
    budget: int = 0
    window: int = 16
    levels: str = "shared"
    longer: int = 1

    def name(self, scale: int) -> str:
        """`prepend-12-joint-4` at a quarter of the paper's lengths."""
        if self.structure == "none":
            return "none"
        if self.levels == "mixture":
            return "many-schedules"
        name = f"{self.structure}-{self.memory // scale}"
        if self.budget:
            name += f"-{self.compressor}-{self.budget // scale}"
        return name if self.longer == 1 else f"{name}-longer-{self.longer}"


ROWS: tuple[Row, ...] = (
    Row("none"),
    *(Row("prepend", memory) for memory in (16, 48, 112)),
    *(Row("prepend", 48, "joint", budget) for budget in (8, 16, 32, 48)),
    *(Row("channel_concat", memory) for memory in (16, 48, 112)),
    *(Row("channel_concat", 48, "modulated", budget) for budget in (8, 16, 32, 48)),
    Row("cross_attention", 112),
    *(Row("prepend", 48, "state_space", budget) for budget in (8, 16, 32, 48)),
)

MANY_SCHEDULES = Row("prepend", 48, window=32, levels="mixture")
"""One network for every schedule: window 8, memory 12 at CPU scale, all kinds of levels in
training."""

LONGER = (
    *(Row(structure, 112, longer=4) for structure in ("prepend", "channel_concat")),
    *(Row("prepend", memory, longer=4) for memory in (16, 48)),
)
"""Trained four times as long: what do the planned steps leave unlearnt?"""

_SCALES = {"cpu": 4, "full": 1}

_WORLDS: dict[tuple[str, str], dict[str, Any]] = {
    ("panorama", "cpu"): {
        "world": {"name": "panorama", "size": 16},
        "network": {"size": 16, "patch": 8, "width": 96, "layers": 3},
        "training": {"steps": 1200},
    },
    ("maze", "cpu"): {
        "world": {"name": "maze", "size": 32},
        "network": {"size": 32, "patch": 8, "width": 128, "layers": 4, "refine": 16},
        "training": {"batch_size": 24, "learning_rate": 1e-3, "checkpoint_every": 250},
    },
    ("blocks", "cpu"): {
        "world": {"name": "blocks", "size": 32},
        "network": {"size": 32, "patch": 8, "width": 128, "layers": 4, "refine": 16},
        "training": {"batch_size": 24, "learning_rate": 1e-3, "checkpoint_every": 250},
    },
    ("maze", "full"): {
        "world": {"name": "maze", "size": 64},
        "network": {"size": 64, "patch": 8, "width": 512, "layers": 12, "heads": 8},
        "training": {"steps": 100_000, "batch_size": 32, "learning_rate": 2e-4, "warm_up": 1000},
    },
    ("blocks", "full"): {
        "world": {"name": "blocks", "size": 128},
        "network": {"size": 128, "patch": 16, "width": 512, "layers": 12, "heads": 8},
        "training": {"steps": 100_000, "batch_size": 32, "learning_rate": 2e-4, "warm_up": 1000},
    },
}


_EVALUATED: dict[str, dict[str, Any]] = {
    "maze": {"rule": "lab_regions", "threshold": 8.0, "sampler": "ddim"},
    "blocks": {"rule": "ssim", "threshold": 0.4, "sampler": "ddim"},
}
"""When a returning view counts as retrieved, fixed on true frames alone (64 return clips of 32
pixels): what a blur of 2 pixels does to a view passes (the worst 1 %: ΔE 5.0, SSIM .445), views of
other clips do not (best 1 %: ΔE 15.4, SSIM .243), nor do most others of the same clip (best 5 %:
ΔE 9.5; best 1 %: SSIM .375). The sampler is DDIM, which with as few as 8 sub-steps keeps contrast
that ancestral ones lose, as samples of the network without memory show."""

_STEPS = {
    "none": 6000,
    "prepend-4": 1750,
    "prepend-12": 950,
    "prepend-28": 475,
    "prepend-12-joint-2": 1100,
    "prepend-12-joint-4": 1000,
    "prepend-12-joint-8": 850,
    "prepend-12-joint-12": 725,
    "channel_concat-4": 2600,
    "channel_concat-12": 2500,
    "channel_concat-28": 2250,
    "channel_concat-12-modulated-2": 1275,
    "channel_concat-12-modulated-4": 1275,
    "channel_concat-12-modulated-8": 1275,
    "channel_concat-12-modulated-12": 1250,
    "cross_attention-28": 1225,
    "prepend-12-state_space-2": 725,
    "prepend-12-state_space-4": 700,
    "prepend-12-state_space-8": 550,
    "prepend-12-state_space-12": 425,
    "many-schedules": 1200,
}
"""Steps of a row on `maze` and `blocks` at CPU scale: for `none` the 20 core-minutes of the network
that all rows of a world and seed start from, for the others about 10 more, by throughput (12 for
the one that serves many schedules)."""


def _experiment(world: str, scale: str, row: Row) -> Experiment:
    from paper_repro.worlds import world_from_json

    shape = _WORLDS[world, scale]
    quarter = _SCALES[scale]
    watched = world_from_json(shape["world"])
    training = dict(shape["training"])
    if "steps" not in training:
        planned = dataclasses.replace(row, longer=1).name(quarter)
        training["steps"] = row.longer * _STEPS[planned]
    elif row.structure == "channel_concat":  # learns slower, but each step is cheaper
        training["steps"] *= 4
    spans = tuple((a // quarter, b // quarter) for a, b in ((0, 16), (16, 48), (48, 112)))
    return Experiment(
        name=_name(world, scale, row),
        world=dict(shape["world"]),
        network=NetworkConfig(
            channels=watched.channels,
            action_dim=watched.action_dim,
            window=row.window // quarter,
            structure=row.structure,
            memory=row.memory // quarter,
            compressor=row.compressor,
            budget=row.budget // quarter,
            pose="sum" if watched.action_dim == 1 else "planar",
            **shape["network"],
        ),
        data=DataConfig(length=192 // quarter),
        diffusion=DiffusionConfig(levels=row.levels),
        training=TrainingConfig(**training),
        evaluation=EvaluationConfig(
            clips=200,
            context=1 + 64 // quarter,
            generated=64 // quarter,
            spans=spans,
            **_EVALUATED.get(world, {}),
        ),
    )


_GAUSSIAN: dict[str, dict[str, Any]] = {
    "short": {
        "family": "autoregressive",
        "coefficients": [0.3, 0.6],
        "noise_variance": 0.28,
        "dim": 4,
    },
    "seasonal": {
        "family": "seasonal",
        "period": 6,
        "persistence": 0.97,
        "noise_variance": 0.2,
        "dim": 4,
    },
    "panorama": {  # the camera pans over 6 pixels and back, 2 a frame: every view returns
        "family": "panorama",
        "positions": [0, 2, 4, 6, 4, 2, 0, 2, 4, 6, 4, 2, 0, 2, 4],
        "dim": 4,
        "correlation_length": 4.0,
        "noise_variance": 0.05,
    },
}
"""Name → video where the truth is known, of variance near 1."""


def _gaussian(name: str) -> Experiment:
    """A network that every exact value can be held against: window 2, reference 1, memory 6.

    Half of its batches see all of the memory, the others a newest part of it, or none.
    """
    levels = {"t_max": 3.0, "t_min": 0.05}
    video = _GAUSSIAN[name]
    return Experiment(
        name=f"gaussian-{name}",
        world={"name": "gaussian", "video": video, "size": 1},
        network=NetworkConfig(
            size=1,
            patch=1,
            channels=video["dim"],
            action_dim=int(video["family"] == "panorama"),
            window=2,
            reference=1,
            memory=6,
            structure="prepend",
            width=64,
            layers=2,
            pose_unit=2.0,
            prediction="residual",
            data_scale=1.0,
            clean_level=levels["t_min"],
        ),
        data=DataConfig(count=16_384, length=15),
        diffusion=DiffusionConfig(
            levels="shared", high_noise=1.0, weighting="snr", memory_dropout=0.5, **levels
        ),
        training=TrainingConfig(
            steps=3200, batch_size=64, precision="float32", checkpoint_every=50, keep=64
        ),
    )


def _name(world: str, scale: str, row: Row) -> str:
    return "-".join([world, *(["full"] if scale == "full" else []), row.name(_SCALES[scale])])


def _longer(world: str) -> tuple[Row, ...]:
    return () if world == "panorama" else LONGER


EXPERIMENTS: Mapping[str, Callable[[], Experiment]] = {
    _name(world, scale, row): partial(_experiment, world, scale, row)
    for world, scale in _WORLDS
    for row in (*ROWS, *((MANY_SCHEDULES, *_longer(world)) if scale == "cpu" else ()))
} | {f"gaussian-{name}": partial(_gaussian, name) for name in _GAUSSIAN}
"""Name → what makes the configuration."""


def experiment(name: str) -> Experiment:
    """The configuration called `name`, one of `EXPERIMENTS`.

    >>> experiment("panorama-prepend-12-joint-4").network.budget
    4
    """
    if name not in EXPERIMENTS:
        close = [known for known in EXPERIMENTS if known.startswith(name.split("-")[0] + "-")]
        known = ", ".join(close or EXPERIMENTS)
        raise ParameterError("NAME", f"a named experiment ({known})", name)
    return EXPERIMENTS[name]()


def override(base: Experiment, settings: list[str]) -> Experiment:
    """`base` with settings such as `training.steps=50` or `world.size=32`.

    Values are JSON, or text if they are not. Unknown keys are refused by name.

    >>> override(experiment("panorama-none"), ["training.steps=5"]).training.steps
    5
    """
    changed = base
    for setting in settings:
        path, sign, text = setting.partition("=")
        if not sign:
            raise ParameterError("--set", "key=value", setting)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        changed = _with(changed, path.split("."), value, path)
    return changed


def _with(base: Any, keys: list[str], value: Any, path: str) -> Any:
    key, rest = keys[0], keys[1:]
    if isinstance(base, dict):
        return base | {key: _with(base.get(key, {}), rest, value, path) if rest else value}
    known = [item.name for item in dataclasses.fields(base)] if _is_config(base) else []
    if key not in known:
        raise ParameterError("--set", f"a key out of {', '.join(known) or 'none'} in {path}", key)
    current = getattr(base, key)
    if _is_config(current) and not rest:
        raise ParameterError("--set", f"a key within {path}", value)
    return dataclasses.replace(base, **{key: _with(current, rest, value, path) if rest else value})


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
