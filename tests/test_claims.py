"""The ledger: verdicts on results with known effects, and how often it errs where nothing is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from analysis import claims
from analysis.claims import LEVEL, LOOKS, PLAN, Claim, Part, digest, ledger, wanting_seeds
from analysis.inference import holm, mean_over, resolution
from analysis.measured_rows import quantity_of_clips, read
from analysis.predicted_degradation import ROW
from arvdm_theory.errors import ParameterError
from paper_repro.many_schedules import SETTINGS
from tests.synthetic_rows import (
    CHANCE,
    NAMES,
    TRAINED,
    Effect,
    follows_the_paper,
    in_memory,
    write,
)

TESTED = [claim for claim in PLAN if claim.parts]


def claim_named(name: str) -> Claim:
    return next(claim for claim in PLAN if claim.name == name)


def judged(name: str, effect: Effect = follows_the_paper, seeds: int = 3) -> dict[str, str]:
    """World (and `overall`) → verdict of one claim."""
    claim = claim_named(name)
    rows = list(dict.fromkeys(row for part in claim.parts for row in part.rows))
    table = ledger(in_memory(rows, range(seeds), effect=effect, clips=200), [claim])
    verdicts = dict(zip(table["world"], table["verdict"], strict=True))
    return verdicts | {"overall": table["overall"].iloc[0]}


def changed(**settings: dict[str, float]) -> Effect:
    """`follows_the_paper` but for rows whose names begin so; `_` stands for `-`."""

    def effect(world: str, row: str) -> dict[str, float]:
        out = follows_the_paper(world, row)
        for start, values in settings.items():
            if row.startswith(start.replace("__", "-")):
                out = out | values
        return out

    return effect


# The plan


def test_the_plan_is_the_one_that_was_written_down() -> None:
    """A change of the plan must come with a revision, its digest and its reason."""
    assert digest() == claims.REVISIONS[-1][0] == claims.STUDY.config["plan"]
    assert all(len(key) == 16 and why for key, why in claims.REVISIONS)


@pytest.mark.parametrize(
    "change",
    [
        {"statement": "Something else."},
        {"smallest_effect": "share 0.01"},
        {"seeds": (2,)},
        {"worlds": ("maze",)},
        {"parts": ()},
    ],
)
def test_a_changed_plan_has_another_digest(change: dict[str, object]) -> None:
    other = dataclasses.replace(PLAN[0], **change)
    assert digest([other, *PLAN[1:]]) != digest()


def test_every_claim_says_what_it_needs() -> None:
    names = [claim.name for claim in PLAN]
    assert len(names) == len(set(names))
    for claim in PLAN:
        assert claim.claim and claim.source and claim.statement and claim.smallest_effect
        assert bool(claim.parts) != bool(claim.needs)
        many = any(ROW in part.rows for part in claim.parts)
        assert claim.clips == (SETTINGS["clips"]["count"] if many else 200)
        assert claim.seeds == LOOKS
        for part in claim.parts:
            assert set(part.rows) <= set(TRAINED)
            assert ROW not in part.rows or part.rows == [ROW]
            assert part.holds_above <= part.fails_below and part.expected > part.holds_above


def test_every_quantity_of_the_plan_can_be_measured() -> None:
    rows = in_memory(seeds=[0], worlds=["maze"], clips=3)
    for claim in TESTED:
        for part in claim.parts:
            if part.rows == [ROW]:
                continue
            for row, quantity, _ in part.terms:
                assert np.isfinite(rows.values("maze", row, quantity, [0])).all()
            margin = any(row == "none" for row, _, _ in part.terms)
            if len(part.terms) > 2 and not margin:  # weights of a contrast
                assert sum(weight for _, _, weight in part.terms) == pytest.approx(0.0, abs=1e-9)


def test_a_quantity_that_is_not_known_is_refused() -> None:
    rows = in_memory(["none"], [0], ["maze"], clips=3)
    with pytest.raises(ParameterError, match="quantity"):
        quantity_of_clips(rows.found["maze", "none"][0], "beauty:0:4")
    with pytest.raises(ParameterError, match="terms"):
        rows.combined("maze", [("none", "psnr:0:4", 1.0), ("none", "retrieval:0:4", 1.0)])


# Verdicts


def test_what_follows_the_paper_holds() -> None:
    verdicts = {claim.name: judged(claim.name, seeds=5)["overall"] for claim in TESTED}
    assert verdicts == dict.fromkeys(verdicts, "holds")


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("error_accumulates", changed(prepend__12__joint__8={"decay": -1.0})),
        ("error_accumulates", changed(prepend__12__joint__8={"decay": 0.0})),
        ("zero_beyond_the_memory", changed(prepend__4={"beyond": 0.5})),
        ("more_memory_less_forgetting", changed(prepend__28={"within": 0.3})),
        ("prepend_above_channel_concat", changed(channel_concat={"within": 0.95})),
        ("channel_concat_above_cross_attention", changed(cross_attention={"within": 0.9})),
        ("budget_monotone", changed(prepend__12__joint__8={"within": 0.3})),
        (
            "less_forgetting_goes_with_more_decay_across_budgets",
            changed(prepend__12__joint__12={"decay": 1.0}, prepend__12__joint__2={"decay": 4.0}),
        ),
        (
            "more_memory_ends_lower_across_budgets",
            changed(**{f"prepend__12__joint__{b}": {"start": 20.0 + b} for b in (2, 4, 8, 12)}),
        ),
        (
            "compression_trades_forgetting_against_cost",
            changed(prepend__12__joint={"operations": 1.0}),
        ),
        ("metric_blindness", changed(prepend__28={"drift": 0.2})),
        ("degradation_predicted_without_roll_out", changed(many={"order": -1.0})),
        ("degradation_predicted_by_one_pass_without_roll_out", changed(many={"order": -1.0})),
    ],
)
def test_a_planted_reversal_fails(name: str, effect: Effect) -> None:
    assert judged(name, effect) == {"maze": "fails", "blocks": "fails", "overall": "fails"}


def test_a_floor_effect_is_told_from_a_trade_off() -> None:
    """Decay grows only because the start value does: all end alike."""
    starts = {2: 16.0, 4: 18.0, 8: 20.0, 12: 22.0}
    effect = changed(
        **{
            f"prepend__12__joint__{b}": {"start": start, "decay": start - 14.0}
            for b, start in starts.items()
        }
    )
    name = "less_forgetting_goes_with_more_decay_across_budgets"
    assert judged(name, effect)["overall"] == "holds"
    assert judged("more_memory_ends_lower_across_budgets", effect)["overall"] == "fails"


def test_a_premise_that_does_not_hold_is_not_a_failure() -> None:
    """No budget retrieves more than another: nothing can go with it."""
    name = "less_forgetting_goes_with_more_decay_across_budgets"
    # if the decay does not grow either, that does break the claim
    flat = changed(prepend__12__joint={"within": 0.6, "decay": 3.0})
    assert judged(name, flat)["overall"] == "fails"
    flat = changed(prepend__12__joint={"within": 0.6})
    rows = ledger(in_memory(claims.JOINT, effect=flat), [claim_named(name)])
    assert set(rows["verdict"]) == {"undecided"} and set(rows["reason"]) == {"premise not shown"}


def test_one_world_that_breaks_a_claim_breaks_it() -> None:
    def effect(world: str, row: str) -> dict[str, float]:
        out = follows_the_paper(world, row)
        if world == "blocks" and row == "cross_attention-28":
            return out | {"within": 0.9}
        return out

    verdicts = judged("channel_concat_above_cross_attention", effect)
    assert verdicts == {"maze": "holds", "blocks": "fails", "overall": "fails"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_training_seeds_decide_nothing(seeds: int) -> None:
    table = ledger(in_memory(seeds=range(seeds)))
    assert set(table["verdict"]) == {"undecided"}
    measured = table[table["part"] != ""]
    assert measured["effect"].notna().all()
    assert measured["reason"].str.contains(f"{'one' if seeds == 1 else seeds} training").all()
    if seeds == 1:
        on_clips = ~measured["unit"].isin(["log"])  # a cost has no clips
        over = set(measured.loc[on_clips, "over"])
        assert over == {"clips only", "groups of clips only", "maps only"}


def test_claims_left_undecided_at_the_first_look_want_two_more_seeds() -> None:
    claim = claim_named("channel_concat_above_cross_attention")
    rows = ["channel_concat-28", "cross_attention-28"]
    effect = changed(cross_attention={"within": 0.52}, channel_concat={"within": 0.55})
    wanted = [f"{world}-{row}" for world in claim.worlds for row in rows]
    for seeds, expected in ((2, []), (3, wanted), (5, [])):
        table = ledger(in_memory(rows, range(seeds), effect=effect, noise=3.0), [claim])
        assert set(table["verdict"]) == {"undecided"}
        assert wanting_seeds(table, [claim]) == expected
    clear = ledger(in_memory(rows, range(3)), [claim])
    assert set(clear["verdict"]) == {"holds"} and wanting_seeds(clear, [claim]) == []


def test_nothing_measured_is_undecided_and_says_what_is_missing() -> None:
    table = ledger(in_memory([], []))
    assert set(table["verdict"]) == {"undecided"}
    assert table["reason"].str.startswith("not measured yet: ").all()
    assert table[["effect", "power", "p_holds", "p_fails"]].isna().all(axis=None)


def test_a_row_that_is_missing_leaves_the_others_decided() -> None:
    chosen = [claim_named(n) for n in ("channel_concat_above_cross_attention", "error_accumulates")]
    there = ["channel_concat-28", *claims.JOINT]
    table = ledger(in_memory(there), chosen).set_index("claim")
    assert set(table.loc[chosen[0].name, "reason"]) == {"not measured yet: cross_attention-28"}
    assert set(table.loc[chosen[1].name, "overall"]) == {"holds"}


def test_a_cost_that_was_not_recorded_decides_nothing() -> None:
    claim = claim_named("compression_trades_forgetting_against_cost")
    rows = in_memory(claims.JOINT, clips=200)
    assert set(ledger(rows, [claim])["overall"]) == {"holds"}
    one = rows.found["maze", "prepend-12-joint-4"][1]
    del one.manifest["operations_per_step"]  # type: ignore[attr-defined]
    table = ledger(rows, [claim]).set_index("world").loc["maze"]
    assert set(table["verdict"]) == {"undecided"} and sorted(table["seeds"]) == [2, 3]
    assert table["reason"].str.contains("2 training seeds with every number").all()


def test_a_world_that_is_missing_makes_the_other_pay_for_both() -> None:
    """Holm counts what has not been looked at yet."""
    chosen = [claim_named("error_accumulates")]
    one, both = (
        ledger(in_memory(claims.JOINT, worlds=worlds), chosen)
        for worlds in (["maze"], ["maze", "blocks"])
    )
    p_one, p_both = (table["p_holds"].iloc[0] for table in (one, both))
    assert p_one >= p_both > 0.0
    assert set(one["overall"]) == {"undecided"} and set(both["overall"]) == {"holds"}


def test_a_second_look_takes_five_seeds() -> None:
    """Four seeds are judged by the first three."""
    chosen = [claim_named("zero_beyond_the_memory")]
    rows = [row for row in NAMES if row.endswith(("-4", "-12"))]
    three, four, five = (ledger(in_memory(rows, range(n)), chosen) for n in (3, 4, 5))
    assert set(three["verdict"]) == {"undecided"}  # 40 clips are few for such a margin
    assert (three["p_holds"] == four["p_holds"]).all()
    assert (four["p_holds"] != five["p_holds"]).all()
    assert (four["seeds"] == 4).all() and (five["seeds"] == 5).all()


def test_the_study_writes_the_plan_and_reads_what_is_shipped(tmp_path: Path) -> None:
    write(tmp_path / "rows", ["prepend-12-joint-2"], seeds=[0], clips=20)
    config = {**claims.CONFIG, "results": str(tmp_path / "rows")}
    table = claims.run(config, out=tmp_path)
    shown = table[table["effect"].notna()]
    assert len(shown) and set(table["verdict"]) == {"undecided"}
    plan = json.loads((tmp_path / "data" / "claims" / "plan.json").read_text())
    assert plan["digest"] == digest() and len(plan["claims"]) == len(PLAN)
    text = claims.text_of(table)
    assert "UNDECIDED" in text and "95 % over clips only, 20 clips, 1 seeds" in text
    # a new result computes again
    write(tmp_path / "rows", ["prepend-12-joint-4"], seeds=[0], clips=20)
    assert len(claims.run(config, out=tmp_path).query("effect == effect")) > len(shown)


def test_results_that_are_damaged_or_evaluated_otherwise_are_left_out(tmp_path: Path) -> None:
    names = ["prepend-4", "prepend-12", "prepend-28"]
    write(tmp_path, names, seeds=[0], worlds=["maze"], clips=4)
    assert len(read(str(tmp_path)).found) == 3
    path = tmp_path / "maze-prepend-4-seed-0.npz"
    path.write_bytes(path.read_bytes()[:-1])
    other = tmp_path / "maze-prepend-12-seed-0.json"
    manifest = json.loads(other.read_text())
    manifest["experiment"]["evaluation"]["threshold"] = 20.0
    other.write_text(json.dumps(manifest))
    write(tmp_path, ["none"], seeds=[0], worlds=["maze"], clips=4)
    (tmp_path / "maze-cross_attention-28-seed-0.json").write_text("{}")
    rows = read(str(tmp_path))
    assert set(rows.found) == {("maze", "prepend-28"), ("maze", "none")}
    assert len(rows.left_out) == 3
    assert rows.missing("maze", names) == ["prepend-4", "prepend-12"]


# How often it errs


def crossed(
    generator: np.random.Generator, shape: tuple[int, int, int], seed: float, clip: float
) -> np.ndarray:
    """Values without effect: so much variance of the mean between seeds and between clips."""
    runs, seeds, clips = shape
    return np.asarray(
        generator.normal(size=(runs, seeds, 1)) * np.sqrt(seed * seeds)
        + generator.normal(size=(runs, 1, clips)) * np.sqrt(clip * clips)
        + generator.normal(size=shape) * np.sqrt(0.1 * clips)
    )


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("seed", "clip"), [(1.0, 0.0), (3.0, 1.0), (1.0, 1.0), (0.1, 1.0)])
def test_the_test_errs_about_as_often_as_it_says(seeds: int, seed: float, clip: float) -> None:
    runs = 3000
    values = crossed(np.random.default_rng(5), (runs, seeds, 40), seed, clip)
    mean = mean_over(values)
    t = mean.value / mean.standard_error
    for level in (LEVEL, LEVEL / len(LOOKS)):
        spread = 4.0 * np.sqrt(level * (1.0 - level) / runs)
        for side in (t, -t):
            assert (side >= mean.quantile(level)).mean() <= level + spread
    if clip == 0.0:  # exact where only seeds differ, but for the noise that is counted twice
        assert (t >= mean.quantile(0.1)).mean() >= 0.06
    low, high = mean.interval()
    covered = ((low <= 0.0) & (high >= 0.0)).mean()
    assert covered >= 0.95 - 4.0 * np.sqrt(0.05 * 0.95 / runs)


def test_a_test_that_takes_all_values_as_independent_errs_far_more_often() -> None:
    values = crossed(np.random.default_rng(5), (1000, 3, 40), 1.0, 0.2)
    flat = values.reshape(1000, -1)
    p = scipy.stats.ttest_1samp(flat, 0.0, axis=1, alternative="greater").pvalue
    assert (p <= LEVEL).mean() > 6.0 * LEVEL


def test_power_is_how_often_an_effect_is_found() -> None:
    generator = np.random.default_rng(6)
    values = crossed(generator, (2000, 5, 40), 0.05, 0.05)
    effect = 1.6
    planned = mean_over(crossed(generator, (2000, 5, 40), 0.05, 0.05)).power(effect, LEVEL)
    mean = mean_over(values + effect)
    found = (mean.value >= mean.quantile(LEVEL) * mean.standard_error).mean()
    assert float(np.mean(planned)) == pytest.approx(float(found), abs=0.06)
    assert 0.3 < found < 0.98


def test_claims_without_an_effect_seldom_hold() -> None:
    """The whole ledger on many worlds without effect: one claim, two worlds, two looks."""
    quantity = "psnr:0:4"
    terms = (("prepend-4", quantity, 1.0), ("prepend-12", quantity, -1.0))
    claim = Claim("none", "c", "s", "s", "e", (Part("p", terms, "dB", 0.0, 0.5, 0.5),))
    held = runs = 0
    alike = changed(prepend={"decay": 0.0})
    for run in range(60):
        seeds = range(100 * run, 100 * run + 5)
        rows = in_memory(["prepend-4", "prepend-12"], seeds, effect=alike, clips=12)
        verdicts = ledger(rows, [claim])
        held += int((verdicts["verdict"] == "holds").sum())
        runs += len(verdicts)
    assert held <= scipy.stats.binom.isf(1e-4, runs, LEVEL)


def test_pairs_of_clips_are_compared() -> None:
    """What makes a clip hard for every network is not noise of their difference."""
    rows = in_memory(noise=4.0, clips=60)
    pair = [("prepend-12-joint-12", "psnr:12:16", 1.0), ("prepend-12-joint-2", "psnr:12:16", -1.0)]
    paired = rows.combined("maze", pair)
    alone = rows.combined("maze", pair[:1])
    assert float(paired.clip_error) < 0.5 * float(alone.clip_error)


def test_a_share_is_known_no_better_than_its_clips_can_show() -> None:
    mean = mean_over(np.zeros((3, 200)), floor=resolution(200))
    low, high = (float(end) for end in mean.interval())
    exact = scipy.stats.beta.isf(0.025, 1, 200)  # Clopper–Pearson for 0 of 200
    assert low < 0.0 and 0.6 * exact < high < 1.2 * exact
    certain = mean_over(np.zeros((3, 200)))
    assert float(certain.p_above(0.01)) > 0.5 > float(certain.p_above(-0.01))


def test_p_values_and_intervals_agree() -> None:
    mean = mean_over(np.random.default_rng(3).normal(0.3, 1.0, size=(4, 30)))
    low, high = (float(end) for end in mean.interval())
    assert float(mean.p_above(low)) == pytest.approx(0.025, rel=1e-6)
    assert float(mean.p_below(high)) == pytest.approx(0.025, rel=1e-6)
    assert float(mean.p_above(0.1) + mean.p_below(0.1)) == pytest.approx(1.0)


def test_a_mean_over_one_seed_is_students_over_clips() -> None:
    x = np.random.default_rng(3).normal(0.3, 1.0, size=30)
    mean = mean_over(x[None])
    assert mean.over == "clips only"
    expected = scipy.stats.ttest_1samp(x, 0.0, alternative="greater").pvalue
    assert float(mean.p_above(0.0)) == pytest.approx(expected, rel=1e-6)


def test_a_mean_without_clips_is_students_over_seeds() -> None:
    x = np.random.default_rng(3).normal(0.3, 1.0, size=5)
    mean = mean_over(x[:, None])
    assert mean.over == "seeds"
    expected = scipy.stats.ttest_1samp(x, 0.0, alternative="greater").pvalue
    assert float(mean.p_above(0.0)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("values", [[1.0, 2.0], np.zeros((0, 3)), [[np.nan, 1.0]]])
def test_values_must_be_there(values: object) -> None:
    with pytest.raises(ParameterError, match="values"):
        mean_over(values)


def test_holm_is_bonferroni_for_the_smallest_and_nothing_for_the_largest() -> None:
    assert holm([0.01, 0.02, 0.5]) == pytest.approx([0.03, 0.04, 0.5])
    assert holm([0.4, 0.4]) == pytest.approx([0.8, 0.8])
    assert CHANCE < claims.SHARE + 1.0  # the chance of the synthetic rows is subtracted, not small


def test_clips_of_one_map_count_as_one_where_they_are_alike() -> None:
    """Maps with an effect of their own: intervals over clips alone miss the mean too often."""
    generator = np.random.default_rng(11)
    clusters = np.arange(200) // 16
    maps = generator.normal(size=(1000, 1, 13))[..., clusters]
    values = maps + generator.normal(size=(1000, 1, 200))
    caught = {}
    for name, given in (("maps", clusters), ("clips", None)):
        mean = mean_over(values, clusters=given)
        low, high = mean.interval(0.95)
        caught[name] = float(((low <= 0.0) & (high >= 0.0)).mean())
    assert caught["maps"] >= 0.92 and caught["clips"] <= 0.6
    alone = mean_over(values[0], clusters=clusters)
    sums = [(values[0, 0][clusters == g] - values[0].mean()).sum() for g in range(13)]
    assert float(alone.clip_variance) == pytest.approx(13 / 12 * np.square(sums).sum() / 200**2)
    for seeds, over in ((1, "nothing"), (3, "seeds")):
        one_map = mean_over(values[:seeds, 0], clusters=np.zeros(200))
        assert np.isnan(one_map.clip_variance) and one_map.over == over
    with pytest.raises(ValueError, match="one label for each of 200 clips"):
        mean_over(values[0], clusters=clusters[:-1])
