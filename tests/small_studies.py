"""The studies on configurations small enough for the tests, same columns and same checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.registry import STUDIES
from analysis.world_sheets import GAUSSIAN


def _only(mapping: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: mapping[name] for name in names}


SIZES = {"static latent": [0, 2, 8, 23], "panorama": [0, 8, 12, 30], "four latents": [0, 2, 4]}


def _trade_off() -> dict[str, Any]:
    config = STUDIES["memory_against_accumulation"].config
    worlds = {name: dict(entry) for name, entry in config["worlds"].items()}
    worlds["static latent"] |= {"frames": 24, "given": 8, "returning": [8, 10]}
    worlds["static latent"] |= {"first": [8, 10], "last": [22, 24]}
    worlds["four latents"] |= {"frames": 20, "given": 8, "returning": [8, 10]}
    worlds["four latents"] |= {"first": [8, 10], "last": [18, 20]}
    positions = worlds["panorama"]["video"]["positions"][:31]
    worlds["panorama"]["video"] = {**worlds["panorama"]["video"], "positions": positions}
    worlds["panorama"] |= {"frames": 31, "last": [19, 31]}
    for name, sizes in SIZES.items():
        worlds[name]["sizes"] = sizes
    return {**config, "worlds": worlds, "sets": 3}


def _knobs(methods: Iterable[str]) -> dict[str, Any]:
    config = STUDIES["knobs"].config
    schedule, memory, persistence = (
        dict(config[knob]) for knob in ("schedule", "memory", "persistence")
    )
    schedule |= {"videos": _only(schedule["videos"], ("AR(2)", "panorama")), "frames": 8}
    schedule |= {"methods": _only(schedule["methods"], (*methods, "PA-VDM")), "substeps": [2, 4]}
    memory |= {"videos": _only(memory["videos"], ("AR(2)", "panorama"))}
    memory |= {"longest": 8, "needles": [2, 16]}
    persistence |= {"coefficients": [0.0, 0.5, 0.9], "longest": 8}
    persistence |= {"methods": _only(persistence["methods"], ("FIFO", "next frame"))}
    return {"schedule": schedule, "memory": memory, "persistence": persistence}


def _small() -> dict[str, dict[str, Any]]:
    configs = {name: dict(study.config) for name, study in STUDIES.items()}
    decomposition = configs["decomposition_along_k"]
    decomposition["cases"] = {
        name: {**case, "frames": 8} for name, case in decomposition["cases"].items()
    }
    methods = ("FIFO", "chunk", "next frame")
    configs["knobs"] = _knobs(methods)
    configs["ladder"] |= {
        "videos": _only(configs["ladder"]["videos"], ("AR(2)", "panorama")),
        "methods": _only(configs["ladder"]["methods"], methods),
        "swept": {"methods": ["FIFO", "next frame"], "substeps": [4, 16]},
        "frames": 12,
    }
    configs["memory_by_window"] |= {"references": [0, 1, 2, 4, 8], "step": 10}
    configs["schedules"] |= {
        "videos": _only(configs["schedules"]["videos"], ("AR(2)", "panorama")),
        "methods": _only(configs["schedules"]["methods"], (*methods, "staircase")),
        "cost": 48,
        "frames": [24, 36],
    }
    configs["designed_schedules"] |= {
        "videos": _only(configs["designed_schedules"]["videos"], ("AR(2)", "seasonal")),
        "methods": _only(configs["designed_schedules"]["methods"], methods),
        "own_ladder": ["FIFO"],
        "next_frame_references": [2],
        "cost": 24,
        "context": 8,
    }
    theorem_b = configs["theorem_b"]
    theorem_b["cases"] = {name: {**case, "steps": 8} for name, case in theorem_b["cases"].items()}
    configs["two_sided_accumulation"] |= {"steps": 40}
    configs["memory_against_accumulation"] |= _trade_off()
    configs["tightness"] |= {"draws": 24, "refinements": 12}
    configs["clip_memory"] |= {"options": {"frames": "0:120", "components": 1, "replicates": 2}}
    configs["frame_pairs"] |= {"clips": 3, "clips_a_map": 1, "frames": [0, 6], "steps": [1, 2, 4]}
    configs["theory_against_networks"] |= {"components": [1, 8, 16], "worlds": ["maze"]}
    configs["world_sheets"] |= {
        "worlds": [["gaussian", {"video": GAUSSIAN, "size": 8}], ["panorama", {"size": 16}]],
        "rows": 1,
        "columns": 8,
    }
    return configs


SMALL = _small()
"""Study name → configuration."""
