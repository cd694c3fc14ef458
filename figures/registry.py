"""Every figure, in the order in which the report shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
from matplotlib.figure import Figure

from figures import (
    accumulation_and_forgetting_figure_2,
    causes_of_decay,
    clip_against_theorem_b,
    compressors_figure_12,
    decomposition_per_step,
    designed_schedules,
    dimension_against_rate,
    frame_pairs_by_ssim_figure_13,
    frechet_by_span_figure_1,
    ladder,
    ladder_by_substeps,
    long_rollouts,
    markov_chain_figure_4,
    memory_against_accumulation,
    memory_bottleneck_by_window,
    memory_budget_curves,
    memory_of_the_shipped_clip,
    memory_reading,
    memory_structures_figure_5,
    named_schedules_figure_3,
    one_network_many_schedules,
    order_or_levels,
    panorama_memory,
    power_law_forgetting,
    predicted_degradation,
    published_retrieval_against_psnr_decay,
    retrieval_against_psnr_decay_figure_9,
    retrieval_bounds,
    retrieval_examples_figures_6_to_11,
    returns_against_theory,
    schedules_at_equal_cost,
    sets_g_and_h_figure_14,
    theory_against_networks,
    tightness,
    trained_gaussian,
    two_sided_accumulation,
    worlds,
)

__all__ = ["FIGURES", "KINDS", "FigureModule"]

KINDS = {
    "exact": "closed forms in float64 on Gaussian worlds or schedules, or counts: no sampling",
    "rendered": "frames drawn by the worlds of this repository",
    "measured": "estimated from recorded footage or from trained networks, with intervals",
    "published": "quoted from the paper's tables; number of videos not published",
}
"""What a caption says about where its numbers come from."""


@dataclass(frozen=True)
class FigureModule:
    """What every figure module offers; `draw(out)` saves and returns (figure, plotted data)."""

    name: str
    title: str
    kind: str
    caption: str
    studies: tuple[str, ...]
    draw: Callable[[Path], tuple[Figure, pandas.DataFrame]]


def _described(module: Any) -> FigureModule:
    """Of a module, or of one of the figures that a module has several of."""
    assert module.KIND in KINDS
    return FigureModule(
        module.NAME, module.TITLE, module.KIND, module.CAPTION, module.STUDIES, module.draw
    )


FIGURES: dict[str, FigureModule] = {
    figure.name: figure
    for figure in map(
        _described,
        (
            named_schedules_figure_3,
            sets_g_and_h_figure_14,
            decomposition_per_step,
            ladder,
            ladder_by_substeps,
            long_rollouts,
            markov_chain_figure_4,
            memory_bottleneck_by_window,
            power_law_forgetting,
            memory_budget_curves,
            dimension_against_rate,
            schedules_at_equal_cost,
            designed_schedules,
            clip_against_theorem_b,
            two_sided_accumulation,
            memory_against_accumulation,
            tightness,
            published_retrieval_against_psnr_decay,
            retrieval_against_psnr_decay_figure_9,
            causes_of_decay,
            memory_reading,
            retrieval_bounds,
            theory_against_networks,
            returns_against_theory,
            accumulation_and_forgetting_figure_2,
            memory_structures_figure_5,
            compressors_figure_12,
            *retrieval_examples_figures_6_to_11.FIGURES,
            frechet_by_span_figure_1,
            frame_pairs_by_ssim_figure_13,
            memory_of_the_shipped_clip,
            panorama_memory,
            one_network_many_schedules,
            predicted_degradation,
            order_or_levels,
            trained_gaussian,
            worlds,
        ),
    )
}
"""Name → figure."""
