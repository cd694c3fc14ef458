"""Certified KL from retrieval rates: coverage, chance, and what published rates are not."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import retrieval_bounds as study
from arvdm_theory.empirical import clopper_pearson
from arvdm_theory.errors import ParameterError
from paper_repro import published
from tests import synthetic_rows

CONFIG = study.CONFIG


@pytest.fixture(scope="module")
def table() -> pandas.DataFrame:
    return study.compute(CONFIG)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> pandas.DataFrame:
    """Of rows that nobody trained."""
    rows = synthetic_rows.in_memory(["none", "prepend-12"], seeds=(0, 1), clips=80)
    monkeypatch.setattr(study, "read", lambda folder: rows)
    found = study.compute(CONFIG)
    return found[found["source"] == "measured"]


def test_a_bound_is_the_log_of_the_upper_limit(measured: pandas.DataFrame) -> None:
    """The limit by other code: where the binomial's tail is the error of one of the ages."""
    tail = (1.0 - CONFIG["confidence"]) / len(CONFIG["spans"])
    assert len(measured) == 2 * 2 * 2 * 3 and (measured["measured_clips"] == 80).all()
    assert (measured["maps"] == 5).all()
    for row in measured.to_dict("records"):
        k, n, u = row["measured_successes"], row["measured_clips"], row["measured_upper"]
        if k == n:
            assert row["measured_kl_bound"] == 0.0
            continue
        assert scipy.stats.binom.cdf(k, n, u) == pytest.approx(tail, rel=1e-6)
        assert row["measured_kl_bound"] == pytest.approx(-math.log(u), rel=1e-9)
        assert row["measured_kl_bound"] <= row["measured_kl_plug_in"]
    assert measured["measured_kl_bound"].max() == pytest.approx(-math.log(1 - tail ** (1 / 80)))


def test_who_forgets_is_certified_to_and_who_remembers_is_not(measured: pandas.DataFrame) -> None:
    by_row = measured.groupby(["row", "span"])["measured_kl_bound"].mean()
    assert by_row["none", "4-12"] > 2.0 > by_row["prepend-12", "0-4"]
    # one clip a map is far less
    few = measured["measured_kl_bound_all_maps"]
    assert (few <= -math.log(1 - ((1 - CONFIG["confidence"]) / 3) ** (1 / 5)) + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5), st.integers(1, 4))
def test_limits_hold_for_maps_of_unequal_difficulty(chances: list[float], each: int) -> None:
    """Hoeffding 1956: clips of unequal chances, exactly, against the limit for equal ones."""
    mean = float(np.mean(chances))
    law = np.ones(1)
    for p in itertools.chain.from_iterable([p] * each for p in chances):
        law = np.convolve(law, [1.0 - p, p])
    n = len(law) - 1
    missed = sum(law[k] for k in range(n + 1) if clopper_pearson(k, n, 0.9)[1] < mean - 1e-12)
    assert missed <= 0.05 + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.9, 1.0]))
def test_the_bound_of_a_mean_ssim_is_below_any_kl(seed: int, truth: float) -> None:
    """P on values of at least τ, Q on anything in [-1, 1], both on a grid."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-1.0, 1.0, 21)
    concentrated = rng.uniform(0.1, 3.0)
    q = rng.dirichlet(np.full(21, concentrated)) * 0.999 + 0.001 / 21
    high = grid >= truth - 1e-12
    p = np.where(high, rng.dirichlet(np.full(21, concentrated)) + 1e-9, 0.0)
    p /= p.sum()
    kl = float((p[high] * np.log(p[high] / q[high])).sum())
    assert study.ssim_bound(float(q @ grid), None, truth) <= kl + 1e-12
    assert study.ssim_bound(float(q @ grid), 50, truth) <= study.ssim_bound(
        float(q @ grid), None, truth
    )


def test_a_bound_of_ssim_that_ignores_the_mean_is_noticed() -> None:
    """Negative control: the law that attains Markov's inequality has no room above the bound."""
    mean, truth = 0.2, 1.0
    share = (1.0 + mean) / 2.0  # Q sits on -1 and 1
    assert study.ssim_bound(mean, None, truth) == pytest.approx(-math.log(share), rel=1e-12)
    assert study.ssim_bound(mean - 0.05, None, truth) > -math.log(share)
    with pytest.raises(ParameterError, match="mean"):
        study.ssim_bound(1.5, 10, truth)


def test_measured_and_published_share_no_column(table: pandas.DataFrame) -> None:
    measured, quoted = (table[table["source"] == kind] for kind in ("measured", "published"))
    for column in table.columns:
        if column.startswith("measured_"):
            assert quoted[column].isna().all(), column
        if column.startswith("published_") or column == "assumed_n":
            assert measured[column].isna().all(), column
    assert quoted["statement"].str.startswith("if n was").all()
    assert not measured["statement"].str.startswith("if").any()


def test_every_published_value_has_its_bounds(table: pandas.DataFrame) -> None:
    quoted = table[table["source"] == "published"]
    for number in (1, 2):
        printed = published.load(number)[list(published.SPANS[number])].to_numpy()
        rows = quoted[quoted["table"] == number]
        assert len(rows) == printed.size * len(CONFIG["assumed_n"])
        assert sorted(rows["published_value"].unique()) == sorted(np.unique(printed))
    bounds = quoted["published_kl_bound"]
    # a share of n is rounded, so more trials need not certify more; never more than all of them
    assert (bounds >= 0.0).all() and np.isfinite(bounds).all()
    shares = quoted[(quoted["table"] == 1) & (quoted["published_value"] > 0.0)]
    exact = shares[shares["assumed_n"] == 100]
    assert (exact["published_kl_bound"] < exact["published_kl_limit"]).all()


def test_shares_of_a_few_videos_are_recognised() -> None:
    shares = [round(k / 13, 2) for k in range(14)]
    found = study.compatible_n(shares)
    assert found[0] == 13 and 12 not in found and 26 in found
    assert study.compatible_n([0.36], up_to=10) == []
