"""The studies of budgets, dimensions and power laws, and their figures, against other formulas."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType

import mpmath
import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure

from analysis import dimension_against_rate, memory_budgets, power_law_forgetting
from analysis.study import table_of
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    canonical_correlations_of,
    stochastic_memory,
    window_memory_bottleneck,
)
from arvdm_theory.video import GaussianVideo
from figures import dimension_against_rate as dimension_figure
from figures import memory_budget_curves as budget_figure
from figures import power_law_forgetting as power_figure

STUDIES = (memory_budgets.STUDY, dimension_against_rate.STUDY, power_law_forgetting.STUDY)
FIGURES = (budget_figure, dimension_figure, power_figure)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    for study in STUDIES:
        study.run(out=folder)
    return folder


@pytest.fixture(scope="module")
def budgets(out: Path) -> pandas.DataFrame:
    return table_of("memory_budgets", out=out)


@pytest.fixture(scope="module")
def dimension(out: Path) -> pandas.DataFrame:
    return table_of("dimension_against_rate", out=out)


@pytest.fixture(scope="module")
def power(out: Path) -> pandas.DataFrame:
    return table_of("power_law_forgetting", out=out)


def past_and_block(specification: dict, config: dict) -> tuple[np.ndarray, int]:
    """Joint covariance at the level, and the size of the past."""
    video = GaussianVideo.from_json(specification)
    clean = video.covariance(config["horizon"] + config["block"])
    shrink = np.exp(-2.0 * config["level"])
    return shrink * clean + (1.0 - shrink) * np.eye(clean.shape[0]), config["horizon"] * video.dim


def log_det(matrix: np.ndarray) -> float:
    sign, value = np.linalg.slogdet(matrix)
    assert sign > 0
    return float(value)


def forgotten_and_held(joint: np.ndarray, past: int, weights: np.ndarray) -> tuple[float, float]:
    """I(past; block | m) and I(m; past) for m = weights · past + N(0, I), by log-determinants."""
    own = np.eye(weights.shape[0])
    known, cross = joint[:past, :past], joint[:past, past:]
    seen = weights @ known @ weights.T + own
    gain = np.linalg.solve(seen, weights @ cross)
    given_memory = joint[past:, past:] - cross.T @ weights.T @ gain
    given_past = joint[past:, past:] - cross.T @ np.linalg.solve(known, cross)
    return 0.5 * (log_det(given_memory) - log_det(given_past)), 0.5 * log_det(seen)


def budget_of(name: str) -> tuple[MemoryBudget, np.ndarray, int]:
    config = memory_budgets.CONFIG
    keys = {key: config[key] for key in ("block", "horizon", "level")}
    video = GaussianVideo.from_json(config["videos"][name])
    joint, past = past_and_block(config["videos"][name], config)
    return MemoryBudget(canonical_correlations_of(video, **keys)), joint, past


# --- budgets: R2 and R4 ---------------------------------------------------------------------------


def test_curves_fall_convexly_and_have_two_units(budgets: pandas.DataFrame) -> None:
    assert (budgets["lower_nats"] <= budgets["floor_nats"])[budgets["part"] == "curve"].all()
    assert (budgets["floor_nats"] <= budgets["upper_nats"])[budgets["part"] == "curve"].all()
    for _, rows in budgets[budgets["part"] == "curve"].groupby("video"):
        floor = rows["floor_nats"].to_numpy()
        slope = np.diff(floor) / np.diff(rows["budget_nats"])
        assert np.all(slope < 0.0) and np.all(floor > 0.0)
        assert np.all(np.diff(slope) > -1e-9)  # convex
        assert np.all(np.diff(rows["remembered"]) >= 0)
    for quantity in ("budget", "floor", "drawn"):
        nats, bits = budgets[f"{quantity}_nats"], budgets[f"{quantity}_bits"]
        pandas.testing.assert_series_equal(bits, nats / np.log(2.0), check_names=False)


@pytest.mark.parametrize("name", ["AR(2)", "panorama"])
def test_every_point_is_reached_by_a_memory_and_beaten_by_none(
    name: str, budgets: pandas.DataFrame
) -> None:
    """Dense log-determinants of the optimal encoder, and of random ones with as much in them."""
    budget, joint, past = budget_of(name)
    rows = budgets[(budgets["video"] == name) & (budgets["part"] == "curve")].iloc[[10, 40, 80]]
    generator = np.random.default_rng(0)
    for c, floor in zip(rows["budget_nats"], rows["floor_nats"], strict=True):
        forgotten, held = forgotten_and_held(joint, past, budget.encoder(c).matrix)
        assert forgotten == pytest.approx(floor, abs=1e-9)
        assert held == pytest.approx(c, abs=1e-9)
        for size in (1, 3, 9):
            weights = generator.standard_normal((size, past))
            low, high = -20.0, 20.0
            for _ in range(60):  # scaled to hold c nats
                middle = 0.5 * (low + high)
                held = forgotten_and_held(joint, past, np.exp(middle) * weights)[1]
                low, high = (middle, high) if held < c else (low, middle)
            assert forgotten_and_held(joint, past, np.exp(low) * weights)[0] > floor


def test_break_points_are_where_the_curve_bends(budgets: pandas.DataFrame) -> None:
    """The third derivative of MB* jumps there: one more -log(1-ρ²) is at the water level."""
    for name in ("AR(2)", "panorama"):
        budget, *_ = budget_of(name)
        marks = budgets[(budgets["video"] == name) & (budgets["part"] == "break point")]
        losses = budget.source.losses
        assert len(marks) > 3
        for i, (_, row) in enumerate(marks.iterrows()):
            assert row["floor_nats"] == pytest.approx(
                float(budget.floor(row["budget_nats"])), rel=1e-9
            )
            assert budget.water_level(row["budget_nats"]) == pytest.approx(losses[i], rel=1e-6)


def test_targets_are_on_the_curve(budgets: pandas.DataFrame) -> None:
    for name in ("seasonal", "static latent"):
        budget, *_ = budget_of(name)
        rows = budgets[(budgets["video"] == name) & (budgets["part"] == "target")]
        assert rows["share"].tolist() == memory_budgets.CONFIG["shares"]
        for _, row in rows.iterrows():
            left = float(budget.floor(row["budget_nats"]))
            assert left == pytest.approx(row["share"] * float(budget.total), rel=1e-9)


def test_a_drawn_memory_is_the_printed_formula(budgets: pandas.DataFrame) -> None:
    rows = budgets[budgets["part"] == "scalar"]
    rho, c = memory_budgets.CONFIG["correlation"], rows["budget_nats"].to_numpy()
    v = np.minimum(np.expm1(2.0 * c), rho**2 / (1.0 - rho**2))
    u = 0.5 * (rho * np.sqrt(v) + np.sqrt(rho**2 * v + 4.0))
    square = u**2 - 2.0 * rho * np.sqrt(v) * u + v - 1.0
    printed = 0.5 * (-2.0 * np.log(u) - np.log1p(-(rho**2)) + square)
    np.testing.assert_allclose(rows["drawn_nats"], printed, atol=1e-12)
    kept = 0.5 * (np.logaddexp(0.0, np.log(rho**2 / (1.0 - rho**2)) - 2.0 * c))
    np.testing.assert_allclose(rows["floor_nats"], kept, rtol=1e-12)
    inside = c > 0.0
    assert np.all(rows["drawn_nats"][inside] < rows["floor_nats"][inside])
    enough = -0.5 * np.log1p(-(rho**2))
    assert np.all(np.abs(rows["drawn_nats"][c >= enough - 1e-12]) < 1e-9)
    stated = stochastic_memory(CanonicalCorrelations.of([0.9]), 0.399)
    assert stated.value == pytest.approx(0.159, abs=1e-3)


# --- dimension against rate: R1, R2 and R6 --------------------------------------------------------


def losses_by_eigenvalues() -> np.ndarray:
    """ℓ of the panorama, from the eigenvalues of Cov(Z|X) in the metric of Cov(Z)."""
    config = {
        **dimension_against_rate.CONFIG["rate"],
        "level": dimension_against_rate.CONFIG["level"],
    }
    joint, past = past_and_block(config["video"], config)
    block, cross = joint[past:, past:], joint[:past, past:]
    given = block - cross.T @ np.linalg.solve(joint[:past, :past], cross)
    root = np.linalg.inv(np.linalg.cholesky(block))
    return -np.log(np.sort(np.linalg.eigvalsh(root @ given @ root.T)))


def test_exact_numbers_reach_the_tail_of_the_losses(dimension: pandas.DataFrame) -> None:
    losses = losses_by_eigenvalues()
    rows = dimension[dimension["series"] == "R1"]
    assert len(rows) > 8
    for size, value in zip(rows["numbers"], rows["mb_nats"], strict=True):
        assert value == pytest.approx(0.5 * losses[int(size) :].sum(), abs=1e-9)


def test_numbers_and_nats_each_bound(dimension: pandas.DataFrame) -> None:
    """b numbers at c nats are above R1 and R2; on R2 up to the next break point; at R1 beyond."""
    config = dimension_against_rate.CONFIG
    keys = {key: config["rate"][key] for key in ("block", "horizon")}
    video = GaussianVideo.from_json(config["rate"]["video"])
    budget = MemoryBudget(canonical_correlations_of(video, level=config["level"], **keys))
    begins, _ = budget.break_points()
    exact = dimension[dimension["series"] == "R1"].set_index("numbers")["mb_nats"]
    for size in config["rate"]["numbers"]:
        rows = dimension[dimension["series"] == f"b = {size}"]
        floor = np.array([float(budget.floor(c)) for c in rows["information_nats"]])
        above = rows["mb_nats"].to_numpy() - floor
        early = rows["information_nats"].to_numpy() <= begins[size]
        assert early.any() and np.all(np.abs(above[early]) < 1e-9)
        assert np.all(above[~early] > 0.0)
        assert np.all(rows["mb_nats"] > exact[size])
    far = dimension[dimension["series"] == "b = 1"].iloc[-1]
    assert far["mb_nats"] == pytest.approx(exact[1], abs=1e-9)
    for bits in config["rate"]["precisions"]:
        rows = dimension[dimension["series"] == f"{bits} bits each"]
        spent = rows["numbers"] * bits * np.log(2.0)
        np.testing.assert_allclose(rows["information_nats"], spent, rtol=1e-12)
        for size, c, value in zip(
            rows["numbers"], rows["information_nats"], rows["mb_nats"], strict=True
        ):
            assert value >= float(budget.floor(c)) - 1e-9
            assert value >= exact[size] - 1e-12


def test_numbers_of_equal_precision_are_a_noisy_memory(dimension: pandas.DataFrame) -> None:
    config = {
        **dimension_against_rate.CONFIG["rate"],
        "level": dimension_against_rate.CONFIG["level"],
    }
    joint, past = past_and_block(config["video"], config)
    video = GaussianVideo.from_json(config["video"])
    keys = {key: config[key] for key in ("block", "horizon", "level")}
    directions = canonical_correlations_of(video, **keys).directions
    assert directions is not None
    for bits in config["precisions"]:
        rows = dimension[dimension["series"] == f"{bits} bits each"].iloc[[1, 4, 8]]
        for _, row in rows.iterrows():
            weights = np.sqrt(4.0**bits - 1.0) * directions[: int(row["numbers"])]
            forgotten, held = forgotten_and_held(joint, past, weights)
            assert forgotten == pytest.approx(row["mb_nats"], abs=1e-8)
            assert held == pytest.approx(row["information_nats"], abs=1e-8)


def test_no_recursion_is_below_the_floor_and_both_vanish(dimension: pandas.DataFrame) -> None:
    recursion = dimension[dimension["part"] == "recursion"]
    for _, rows in recursion.groupby("video"):
        order = int(rows["order"].max())
        series = {
            name: part.set_index("numbers")["mb_nats"] for name, part in rows.groupby("series")
        }
        sizes = range(1, order + 1)
        assert all(series["floor"][b] <= series["best"][b] + 1e-12 for b in sizes)
        assert all(series["best"][b] <= w + 1e-9 for b, w in series["window"].items() if b)
        assert series["floor"][0] == pytest.approx(series["window"][0], rel=1e-6)
        assert series["floor"][order] == 0.0 and series["best"][order] < 1e-12
        assert series["window"][order] > 1e-4  # a window is not the state
        assert np.all(np.diff(series["floor"]) < 0.0)


def test_a_floor_that_is_too_high_would_be_noticed(dimension: pandas.DataFrame) -> None:
    """Negative control: the floor of one number fewer is not below the best recursion."""
    recursion = dimension[dimension["video"] == "AR(2)"]
    floor = recursion[recursion["series"] == "floor"].set_index("numbers")["mb_nats"]
    best = recursion[recursion["series"] == "best"].set_index("numbers")["mb_nats"]
    assert floor[1] > best[2] and floor[2] > best[3]


# --- power law: R5 --------------------------------------------------------------------------------


def test_long_memory_is_the_ratio_of_gamma_functions(power: pandas.DataFrame) -> None:
    clean = power[(power["level"] == 0.0) & power["memory"].notna()]
    with mpmath.workdps(40):
        for _, row in clean.iterrows():
            d, r = mpmath.mpf(row["memory"]), int(row["window"])
            logs = mpmath.loggamma(r + 1) + mpmath.loggamma(r + 1 - 2 * d)
            truth = float((logs - 2 * mpmath.loggamma(r + 1 - d)) / 2)
            assert abs(row["mb_nats"] - truth) <= row["error_nats"] + 1e-13 * truth
    leading = clean["memory"] ** 2 / (2.0 * clean["window"])
    closer = clean["memory"] ** 2 / (2.0 * (clean["window"] + 0.5 - clean["memory"]))
    np.testing.assert_allclose(clean["leading_nats"], leading, rtol=1e-14)
    np.testing.assert_allclose(clean["closer_nats"], closer, rtol=1e-14)
    miss = (clean["closer_nats"] - clean["mb_nats"]).abs()
    assert (miss < 0.8 * (clean["leading_nats"] - clean["mb_nats"]).abs()).all()


def test_noise_leaves_a_pole_and_fills_a_zero(power: pandas.DataFrame) -> None:
    """Slopes over the last octave: -1 with a pole, -1-4|D| with a filled zero."""
    noisy = power[(power["level"] > 0.0) & power["memory"].notna()]
    for memory, rows in noisy.groupby("memory"):
        last = rows[rows["window"] >= rows["window"].max() / 2]
        ends = last.iloc[[0, -1]]
        slope = float(np.diff(np.log(ends["mb_nats"]))[0] / np.diff(np.log(ends["window"]))[0])
        assert slope == pytest.approx(-1.0 if memory > 0 else -1.0 + 4.0 * memory, abs=0.02)
    with_pole = noisy[noisy["memory"] > 0].iloc[-1]
    assert with_pole["mb_nats"] == pytest.approx(with_pole["leading_nats"], rel=5e-3)


def test_an_autoregression_is_not_a_power_law(power: pandas.DataFrame) -> None:
    rows = power[power["video"] == "AR(5)"]
    clean, noisy = rows[rows["level"] == 0.0], rows[rows["level"] > 0.0]
    beyond = clean["window"] >= 5
    assert (clean["mb_nats"] <= clean["error_nats"])[beyond].all()
    assert (clean["mb_nats"] > clean["error_nats"])[~beyond].all()
    falling = noisy[noisy["window"] <= 8].set_index("window")["mb_nats"]
    assert (falling > 0.0).all() and falling[8] / falling[7] < 0.5


def test_windows_agree_with_dense_conditioning(power: pandas.DataFrame) -> None:
    config = power_law_forgetting.CONFIG
    for name in ("ARFIMA, D = 0.4", "AR(5)"):
        specification = {"noise_variance": 1.0, **config["videos"][name]}
        video = GaussianVideo.from_json(specification)
        for level in config["levels"]:
            rows = power[(power["video"] == name) & (power["level"] == level)]
            rows = rows[rows["window"] <= 8]
            dense = window_memory_bottleneck(
                video, rows["window"].tolist(), level=level, horizon=200
            )
            assert dense.truncation is not None
            gap = dense.values + dense.truncation - rows["mb_nats"].to_numpy()
            assert np.all(np.abs(gap) <= dense.error_bound + rows["error_nats"] + 1e-12)


# --- figures --------------------------------------------------------------------------------------


def line_values(figure: Figure) -> Counter[float]:
    values: Counter[float] = Counter()
    for ax in figure.axes:
        for line in ax.lines:
            values.update(np.asarray(line.get_ydata(), dtype=float).tolist())
    return values


def expected_values(module: ModuleType, data: pandas.DataFrame) -> Counter[float]:
    """What the figure has to show, from the rows that it says it plots."""
    if module is budget_figure:
        drawn = data[data["part"] == "scalar"]["drawn_nats"]
        return Counter([*data["floor_nats"], *drawn])
    if module is dimension_figure:
        rate, recursion = (data[data["part"] == part] for part in ("rate", "recursion"))
        largest = rate[rate["series"] == "R2"]["information_nats"].max()
        inside = rate[(rate["information_nats"] <= largest)]["mb_nats"]
        bottom = np.maximum(recursion["mb_nats"], dimension_figure.FLOOR)
        numbers = dimension_against_rate.CONFIG["rate"]["numbers"]
        exact = rate[(rate["series"] == "R1") & rate["numbers"].isin(numbers)]["mb_nats"]
        return Counter([*inside, *bottom, *exact])
    guides = data[data["closer_nats"].notna()]
    shares = data[data["memory"].notna()]
    return Counter(
        [
            *data["mb_nats"],
            *guides["leading_nats"],
            *(shares["mb_nats"] / shares["leading_nats"]),
            *(guides["closer_nats"] / guides["leading_nats"]),
        ]
    )


@pytest.mark.parametrize("module", FIGURES, ids=lambda module: module.NAME)
def test_a_figure_plots_the_rows_of_its_study(module: ModuleType, out: Path) -> None:
    figure, data = module.draw(out)
    table = table_of(module.STUDY.name, out=out)
    expected = table.loc[data.index, list(data.columns)]
    pandas.testing.assert_frame_equal(data, expected, check_exact=True)
    shown, wanted = line_values(figure), expected_values(module, data)
    assert sum(wanted.values()) > 100
    assert not wanted - shown
    wrong = data.copy()
    number = wrong.select_dtypes("float").columns.intersection(["floor_nats", "mb_nats"])[0]
    wrong.loc[wrong.index[3], number] *= 1.0 + 1e-12
    assert expected_values(module, wrong) - shown  # negative control


@pytest.mark.parametrize("module", FIGURES, ids=lambda module: module.NAME)
def test_a_figure_says_units_and_where_its_numbers_come_from(module: ModuleType, out: Path) -> None:
    figure, _ = module.draw(out)
    for ax in figure.axes:
        assert ax.get_xlabel()
        labels = ax.get_xlabel() + ax.get_ylabel()
        assert "nats" in labels or "frame" in labels
    assert "Exact:" in module.CAPTION and module.KIND == "exact"
    assert not module.CAPTION.format_map(module.STUDY.config).count("{")
    for suffix in ("png", "pdf", "csv"):
        assert (out / "figures" / f"{module.NAME}.{suffix}").stat().st_size > 0
