"""Every study, in the order in which the report shows them."""

from __future__ import annotations

from analysis import (
    accumulation_and_forgetting,
    causes_of_decay,
    claims,
    clip_memory,
    decomposition_along_k,
    designed_schedules,
    dimension_against_rate,
    frame_pairs,
    frechet_by_span,
    knobs,
    ladder,
    long_rollouts,
    markov_chain,
    memory_against_accumulation,
    memory_budgets,
    memory_by_window,
    network_structures,
    one_network_many_schedules,
    panorama_memory,
    paper_tables,
    power_law_forgetting,
    predicted_degradation,
    published_pareto,
    retrieval_against_decay,
    retrieval_bounds,
    retrieval_examples,
    schedules,
    theorem_b,
    theory_against_networks,
    tightness,
    trained_gaussian,
    training_length,
    two_sided_accumulation,
    world_sheets,
)
from analysis.study import Study

__all__ = ["STUDIES"]

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        knobs.STUDY,
        decomposition_along_k.STUDY,
        ladder.STUDY,
        long_rollouts.STUDY,
        markov_chain.STUDY,
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
        causes_of_decay.STUDY,
        training_length.STUDY,
        retrieval_bounds.STUDY,
        theory_against_networks.STUDY,
        accumulation_and_forgetting.STUDY,
        network_structures.STUDY,
        retrieval_examples.STUDY,
        frechet_by_span.STUDY,
        frame_pairs.STUDY,
        claims.STUDY,
        clip_memory.STUDY,
        panorama_memory.STUDY,
        one_network_many_schedules.STUDY,
        predicted_degradation.STUDY,
        trained_gaussian.STUDY,
        world_sheets.STUDY,
    )
}
"""Name → study."""
