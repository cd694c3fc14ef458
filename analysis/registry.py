"""Every study, in the order in which the report shows them."""

from __future__ import annotations

from analysis import (
    claims,
    clip_memory,
    decomposition_along_k,
    designed_schedules,
    dimension_against_rate,
    ladder,
    memory_against_accumulation,
    memory_budgets,
    memory_by_window,
    one_network_many_schedules,
    panorama_memory,
    paper_tables,
    power_law_forgetting,
    published_pareto,
    retrieval_against_decay,
    schedules,
    theorem_b,
    tightness,
    trained_gaussian,
    two_sided_accumulation,
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
        power_law_forgetting.STUDY,
        memory_budgets.STUDY,
        dimension_against_rate.STUDY,
        schedules.STUDY,
        designed_schedules.STUDY,
        theorem_b.STUDY,
        two_sided_accumulation.STUDY,
        memory_against_accumulation.STUDY,
        tightness.STUDY,
        published_pareto.STUDY,
        paper_tables.STUDY,
        retrieval_against_decay.STUDY,
        claims.STUDY,
        clip_memory.STUDY,
        panorama_memory.STUDY,
        one_network_many_schedules.STUDY,
        trained_gaussian.STUDY,
        world_sheets.STUDY,
    )
}
"""Name → study."""
