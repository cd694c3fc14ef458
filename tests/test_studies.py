"""Studies: the theorems hold in every row, and nothing is computed twice or left half written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas
import pytest

from analysis import __main__ as command
from analysis import cases, world_sheets
from analysis import study as study_module
from analysis.published_pareto import _on_front, psnr_decay
from analysis.registry import STUDIES
from analysis.study import Outcome, Study, file_of, manifest_of, sweep, table_of, write_atomically
from arvdm_theory.errors import ParameterError
from arvdm_theory.memory import window_memory_bottleneck
from arvdm_theory.schedule import METHODS, RELEASED_SYSTEMS, Schedule
from arvdm_theory.video import GaussianVideo
from paper_repro import published
from tests.small_studies import SMALL

EPS = float(np.finfo(np.float64).eps)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every study, run on its small configuration."""
    folder = tmp_path_factory.mktemp("out")
    for name, study in STUDIES.items():
        study.run(SMALL[name], out=folder)
    return folder


def rounding(table: pandas.DataFrame, *columns: str) -> pandas.Series:
    """Error bounds of the columns, and the rounding of sums of a few hundred terms."""
    bound = sum((table[f"{column}_error_bound"] for column in columns), start=0.0)
    return bound + 512 * EPS * table.select_dtypes("number").abs().max(axis=1)


# What the theorems say of every row


def test_the_ladder_holds_in_every_row(out: Path) -> None:
    table = table_of("ladder", out=out)
    slack = rounding(table, "output", "chain")
    assert (table["output"] <= table["chain"] + slack).all()
    assert (table["chain"] <= table["bound"] + slack).all()
    terms = table[["ie", "nie", "see", "de", "mb"]]
    assert (terms.min(axis=1) >= -slack).all()
    assert ((terms.sum(axis=1) - table["chain"]).abs() <= slack).all()


def test_the_ladder_would_notice_a_broken_rung(out: Path) -> None:
    table = table_of("ladder", out=out)
    slack = rounding(table, "output", "chain")
    assert not (table["chain"] <= table["output"] + slack).any()


def test_an_exact_denoiser_has_no_score_error_and_a_scaled_one_has(out: Path) -> None:
    table = table_of("ladder", out=out)
    exact = table["generator"] == "exact"
    assert (table.loc[exact, "see"] == 0.0).all()
    assert (table.loc[~exact, "see"] > 0.0).all()


def test_output_is_below_chain_after_every_step(out: Path) -> None:
    table = table_of("decomposition_along_k", out=out)
    slack = rounding(table, "output", "chain")
    assert (table["cumulative_output"] <= table["cumulative_chain"] + slack).all()
    for term in ("nie", "see", "de", "see_plus_de", "mb", "output"):
        assert (table[term].dropna() >= -slack[table[term].notna()]).all()


def test_frozen_scores_have_only_the_sum_of_see_and_de(out: Path) -> None:
    table = table_of("decomposition_along_k", out=out)
    frozen = table["case"].str.contains("exponential|Euler")
    assert frozen.any() and not frozen.all()
    assert table.loc[frozen, ["see", "de"]].isna().all(axis=None)
    split = table[~frozen]
    assert np.allclose(split["see"] + split["de"], split["see_plus_de"], rtol=8 * EPS, atol=0.0)
    assert table["see_plus_de"].notna().all()


def test_perturbed_and_estimated_denoisers_have_a_score_error(out: Path) -> None:
    table = table_of("decomposition_along_k", out=out).groupby("case")["see"].sum()
    for kind in ("scaled", "random", "from 60 videos"):
        assert (table[table.index.str.contains(kind)] > 1e-3).all()


def test_the_clip_is_below_theorem_b_after_every_step(out: Path) -> None:
    table = table_of("theorem_b", out=out)
    slack = rounding(table, "clip", "chain")
    assert (table["clip"] <= table["theorem_b"] + slack).all()
    steps = table.groupby("case")["theorem_b"].diff().dropna()
    assert (steps >= -slack[steps.index]).all()
    without_memory = table["theorem_b"] - table.groupby("case")["renoising"].cumsum()
    assert (without_memory <= table["chain"] + slack).all()


def test_only_renoised_context_beyond_the_stride_adds_to_theorem_b(out: Path) -> None:
    added = table_of("theorem_b", out=out).groupby("case")["renoising"].sum()
    renoised = added.index.str.contains("re-noised")
    assert (added[renoised] > 1e-3).all()
    assert (added[~renoised] == 0.0).all()


def test_theorems_a_and_c_give_the_same_chain(out: Path) -> None:
    table = table_of("schedules", out=out)
    slack = rounding(table, "chain") + 512 * EPS * table["information_total"]
    assert ((table["chain_theorem_a"] - table["chain_theorem_c"]).abs() <= slack).all()
    rates = table["noise_rate"] + table["loss_rate"] - table["information_rate"]
    assert ((table["chain_rate"] - rates).abs() <= slack).all()


def test_schedules_cost_the_same_and_losses_rank_them(out: Path) -> None:
    table = table_of("schedules", out=out)
    assert (table["cost"] == SMALL["schedules"]["cost"]).all()
    stationary = table[table["video"] == "AR(2)"]
    constant = stationary["chain_rate"] - stationary["loss_rate"]
    # by frame 24 the filter of an AR(2) has converged, so its boundary terms no longer move
    assert np.ptp(constant) <= rounding(stationary, "chain").max()
    for _, rows in stationary.groupby("generator"):
        assert (rows["chain_rate"].rank() == rows["loss_rate"].rank()).all()


def test_terms_add_up_to_the_chain_rate(out: Path) -> None:
    table = table_of("schedules", out=out)
    total = table[["nie_rate", "see_rate", "de_rate", "mb_rate"]].sum(axis=1)
    assert np.allclose(total, table["chain_rate"], rtol=64 * EPS, atol=0.0)


def test_a_longer_window_never_forgets_more(out: Path) -> None:
    table = table_of("memory_by_window", out=out)
    for _, rows in table.groupby("video"):
        assert rows["reference"].is_monotonic_increasing
        slack = 2.0 * rows["error_bound_nats"].max()
        assert (rows["mb_nats"].diff().dropna() <= slack).all()
    assert np.allclose(table["mb_bits"] * np.log(2.0), table["mb_nats"], rtol=4 * EPS)


def test_memory_bottleneck_brackets_the_information_in_older_frames(out: Path) -> None:
    """M4: I(X_k; past | last r) lies in [MB, MB + NIE]; the calculator of R5 is other code."""
    table = table_of("memory_by_window", out=out)
    config = SMALL["memory_by_window"]
    level, past = config["schedule"]["t_min"], config["step"] - 1
    for name, rows in table.groupby("video"):
        video = GaussianVideo.from_json(config["videos"][name])
        if video.length is not None:
            positions = video.to_json()["positions"][: config["step"]]
            video = GaussianVideo.from_json({**video.to_json(), "positions": positions})
        windows = window_memory_bottleneck(
            video, rows["reference"].tolist(), level=level, horizon=past
        )
        slack = rows["error_bound_nats"].to_numpy() + windows.error_bound
        assert np.all(rows["mb_nats"] <= windows.values + slack)
        assert np.all(windows.values <= rows["mb_nats"] + rows["nie_nats"] + slack)


def test_a_window_that_reaches_the_return_holds_it() -> None:
    """The panorama of the study returns after 48 frames: r = 40 holds no more than r = 1."""
    config = {**STUDIES["memory_by_window"].config, "references": [1, 40, 48]}
    config["videos"] = {"panorama": config["videos"]["panorama"]}
    table = STUDIES["memory_by_window"].compute(config)
    assert isinstance(table, pandas.DataFrame)
    near, far, reaching = table["mb_nats"]
    assert far > 0.99 * near and reaching < 0.25 * near


# Cases


def test_every_named_method_and_released_system_is_a_case() -> None:
    entries = [entry["schedule"] for entry in cases.METHODS.values()]
    assert {entry["method"] for entry in entries} == set(METHODS) - {"custom"}
    schedules = {
        cases.schedule_of(entry, cases.LEVELS, substeps=3).key for entry in cases.METHODS.values()
    }
    for name in RELEASED_SYSTEMS:
        assert Schedule.system(name, **cases.LEVELS, substeps=3).key in schedules


def test_every_method_has_whole_sub_steps_at_the_cost_of_the_study() -> None:
    cost = STUDIES["schedules"].config["cost"]
    for entry in cases.METHODS.values():
        schedule = cases.schedule_of(entry, cases.LEVELS, cost=cost)
        assert schedule.cost(entry["reference"]) == cost


def test_a_cost_without_whole_sub_steps_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"cost must be such that 8 divides cost \* 1, got 60"):
        cases.schedule_of(cases.METHODS["FIFO"], cases.LEVELS, cost=60)


# Published numbers


@pytest.mark.parametrize("number", published.TABLES)
def test_published_tables_are_whole(number: int) -> None:
    table = published.load(number)
    values = table[list(published.SPANS[number])]
    assert values.notna().all(axis=None)
    assert len(table) == {1: 15, 2: 14, 3: 4, 4: 4}[number]
    assert set(table.columns) >= {"memory_budget"}
    if published.TABLES[number].unit != "dB":
        assert values.to_numpy().min() >= 0.0 and values.to_numpy().max() <= 1.0


def test_some_published_values() -> None:
    retrieval = published.load(1)
    row = retrieval[(retrieval["compression"] == "joint") & (retrieval["memory_budget"] == 32)]
    assert row[["span_0_16", "span_16_48", "span_48_112"]].values.tolist() == [[0.44, 0.28, 0.0]]
    assert published.load(4)["span_48_64"].tolist() == [10.29, 9.98, 9.73, 9.47]


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ParameterError, match="table must be one of 1, 2, 3, 4, got 5"):
        published.load(5)


@pytest.mark.parametrize(
    ("table", "decay"),
    [(3, [2.36, 2.75, 3.63, 3.76]), (4, [4.96, 5.49, 5.63, 5.99])],
)
def test_published_psnr_decay(table: int, decay: list[float]) -> None:
    derived = psnr_decay(table)
    assert derived["memory_budget"].tolist() == [8, 16, 32, 48]
    assert derived["psnr_decay_db"].tolist() == decay
    ratio = 10.0 * np.log10(derived["mse_last"] / derived["mse_first"])
    assert np.allclose(ratio, decay, atol=1e-9)


def test_the_published_trade_off_has_every_compressed_network(out: Path) -> None:
    table = table_of("published_pareto", out=out)
    pairs = set(zip(table["structure"], table["compression"], strict=True))
    assert pairs == {("prepend", "joint"), ("channel_concat", "modulated")}
    counts = table.groupby(["world", "structure", "span"])["memory_budget"].apply(list)
    assert len(counts) == 12 and all(budgets == [8, 16, 32, 48] for budgets in counts)


def test_the_front_leaves_out_what_another_point_beats() -> None:
    points = pandas.DataFrame(
        {"retrieval": [0.2, 0.4, 0.4, 0.1], "psnr_decay_db": [1.0, 2.0, 3.0, 1.0]}
    )
    assert _on_front(points).tolist() == [True, True, False, False]


# The shipped clip


def test_the_clip_study_keeps_the_page_and_its_numbers(out: Path) -> None:
    table = table_of("clip_memory", out=out)
    assert {"mb_nats", "mb_bits", "lower_nats", "upper_nats"} <= set(table.columns)
    for file in ("analysis.html", "schedules.csv", "summary.json"):
        assert file_of("clip_memory", file, out=out).stat().st_size > 0
    manifest = manifest_of("clip_memory", out=out)
    assert list(manifest["inputs"]) == ["paper_repro/clips/freedoom_walk.mp4"]


# Nothing is computed twice, nothing is left half written


class Counting:
    """A study whose computations are counted."""

    def __init__(self, **files: bytes) -> None:
        self.calls = 0
        self.files = files
        self.study = Study("counted", "How often?", 1, {"rows": 3}, self.compute)

    def compute(self, config: Any) -> Outcome:
        self.calls += 1
        values = np.linspace(0.1, 0.7, config["rows"])
        table = pandas.DataFrame({"name": ["none"] * config["rows"], "value": values})
        table["missing"] = [None, *[1.5] * (config["rows"] - 1)]
        return Outcome(table, self.files)


def test_a_second_run_computes_nothing_and_returns_the_same(tmp_path: Path) -> None:
    counting = Counting()
    first = counting.study.run(out=tmp_path)
    second = counting.study.run(out=tmp_path)
    assert counting.calls == 1
    pandas.testing.assert_frame_equal(first, second, check_exact=True)
    assert first["value"].tolist() == np.linspace(0.1, 0.7, 3).tolist()
    assert first["name"].tolist() == ["none"] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda study, out: replace(study, revision=2).run(out=out),
        lambda study, out: study.run({"rows": 4}, out=out),
        lambda study, out: study.run(out=out, force=True),
    ],
    ids=["revision", "config", "force"],
)
def test_a_change_computes_again(tmp_path: Path, change: Callable[[Study, Path], Any]) -> None:
    counting = Counting()
    counting.study.run(out=tmp_path)
    change(counting.study, tmp_path)
    assert counting.calls == 2


@pytest.mark.parametrize("damaged", ["counted.csv", "counted.json", "counted/page.html"])
def test_damage_computes_again(tmp_path: Path, damaged: str) -> None:
    counting = Counting(**{"page.html": b"<p>whole</p>"})
    counting.study.run(out=tmp_path)
    path = tmp_path / "data" / damaged
    path.write_bytes(path.read_bytes()[:-5])
    counting.study.run(out=tmp_path)
    assert counting.calls == 2
    assert counting.study.is_up_to_date(out=tmp_path)


def test_a_changed_input_computes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "ROOT", tmp_path)
    (tmp_path / "clip").write_bytes(b"first")
    counting = Counting()
    reading = replace(counting.study, inputs=lambda config: ["clip"])
    reading.run(out=tmp_path)
    reading.run(out=tmp_path)
    assert counting.calls == 1
    (tmp_path / "clip").write_bytes(b"second")
    reading.run(out=tmp_path)
    assert counting.calls == 2


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_failed_computation_leaves_the_previous_table(tmp_path: Path) -> None:
    counting = Counting()
    counting.study.run(out=tmp_path)
    before = files_in(tmp_path)

    def fail(config: Any) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(counting.study, compute=fail).run(out=tmp_path, force=True)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_interrupted_write_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Interrupted before the table is in place (1), or between table and manifest (2)."""
    counting = Counting()
    counting.study.run(out=tmp_path)
    before = files_in(tmp_path)
    real, calls = os.replace, []

    def interrupted(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        counting.study.run({"rows": 5}, out=tmp_path)
    monkeypatch.undo()
    after = files_in(tmp_path)
    assert set(after) == set(before)
    assert after["counted.json"] == before["counted.json"]
    if fails_at == 1:
        assert after == before
    assert not counting.study.is_up_to_date({"rows": 5}, out=tmp_path)
    assert len(counting.study.run({"rows": 5}, out=tmp_path)) == 5
    assert counting.study.is_up_to_date({"rows": 5}, out=tmp_path)


def test_write_atomically_replaces(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert files_in(tmp_path) == {"file": b"two"}


def test_a_manifest_says_how_the_table_was_made(out: Path) -> None:
    for name, study in STUDIES.items():
        manifest = manifest_of(name, out=out)
        assert manifest["config"] == SMALL[name]
        assert manifest["revision"] == study.revision
        assert manifest["key"] == study.key(SMALL[name])
        assert (manifest["key"] == study.key()) == (SMALL[name] == study.config)
        assert manifest["rows"] == len(table_of(name, out=out))
        assert manifest["wall_time_seconds"] >= 0.0
        assert {"python", "numpy", "scipy", "arvdm_theory"} <= set(manifest["versions"])
        assert set(manifest["git"]) == {"commit", "changed_files"}


def test_a_missing_table_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `python -m analysis ladder` first"):
        table_of("ladder", out=tmp_path)


def test_a_sweep_keeps_its_order_in_parallel() -> None:
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert sweep("squares", lambda x: x * x, range(20)) == [x * x for x in range(20)]


def test_the_command_refuses_an_unknown_study(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["lader"])
    assert stopped.value.code == 2
    assert "STUDY must be one of" in capsys.readouterr().err


def test_world_sheets_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world whose extra is not installed is a row with the reason, not a silent gap."""

    def refuse(name: str, **options: object) -> None:
        raise ImportError("pip install 'arvdm-theory[worlds]'")

    whole = world_sheets.compute(SMALL["world_sheets"])
    assert set(whole.files) == {world_sheets.sheet_file(w) for w in whole.table["world"]}
    assert (whole.table["missing"] == "").all()
    again = world_sheets.compute(SMALL["world_sheets"])
    assert list(again.table["sha256"]) == list(whole.table["sha256"])
    monkeypatch.setattr(world_sheets, "make_world", refuse)
    outcome = world_sheets.compute(SMALL["world_sheets"])
    assert outcome.files == {} and outcome.table["missing"].str.contains("pip install").all()
