"""Every study, in the order in which the report shows them."""

from __future__ import annotations

from analysis import (
    clip_memory,
    decomposition_along_k,
    ladder,
    memory_by_window,
    one_network_many_schedules,
    panorama_memory,
    published_pareto,
    schedules,
    theorem_b,
    trained_gaussian,
    world_sheets,
)
from analysis.study import Study

__all__ = ["STUDIES"]

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        decomposition_along_k.STUDY,
        ladder.STUDY,
        memory_by_window.STUDY,
        schedules.STUDY,
        theorem_b.STUDY,
        published_pareto.STUDY,
        clip_memory.STUDY,
        panorama_memory.STUDY,
        one_network_many_schedules.STUDY,
        trained_gaussian.STUDY,
        world_sheets.STUDY,
    )
}
"""Name → study."""
