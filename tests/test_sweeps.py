"""Sweeps: order, grids, caching by content, interruption, failures, clusters."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arvdm_theory
from arvdm_theory import Autoregressive, Schedule, SweepError, sweep, sweeps
from arvdm_theory.errors import ParameterError
from arvdm_theory.sweeps import content_key, grid

ROOT = Path(__file__).resolve().parents[1]


def square(x: float) -> float:
    return x * x


def counting(folder: Path, x: int) -> int:
    """Leaves a file for every computation."""
    (folder / f"{x}-{time.perf_counter_ns()}").touch()
    return x * x


def computed(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[0]) for path in folder.iterdir())


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    (tmp_path / "traces").mkdir()
    return tmp_path / "traces"


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_results_come_in_the_order_of_the_points(backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert sweep(square, range(20)) == [x * x for x in range(20)]


def test_a_grid_is_called_by_keyword() -> None:
    axes = {"a": [1, 2], "b": [10, 20, 30]}
    assert sweep(lambda a, b: (a, b), axes) == [(p["a"], p["b"]) for p in grid(**axes)]
    assert sweep(square, {"x": []}) == sweep(square, []) == []


def test_progress_reaches_the_number_of_points(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    sweep(square, range(3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    sweep(square, range(3), progress=True)
    assert "3/3" in capfd.readouterr().err


# Finished points


def test_what_is_finished_is_not_computed_again(tmp_path: Path, traces: Path) -> None:
    run = functools.partial(counting, traces)
    assert sweep(run, range(3), cache=tmp_path / "cache") == [0, 1, 4]
    assert sweep(run, [2, 3, 0], cache=tmp_path / "cache") == [4, 9, 0]
    assert computed(traces) == [0, 1, 2, 3]
    sweep(run, [0], cache=tmp_path / "cache", revision=1)
    assert computed(traces) == [0, 0, 1, 2, 3]
    sweep(run, [0])  # without a cache nothing is read
    assert computed(traces) == [0, 0, 0, 1, 2, 3]


def test_a_changed_function_is_computed_again(tmp_path: Path) -> None:
    def times(factor: float) -> Any:
        return lambda x: factor * x

    assert sweep(times(2.0), [1.0], cache=tmp_path) == [2.0]
    assert sweep(times(3.0), [1.0], cache=tmp_path) == [3.0]
    assert sweep(lambda x: x + 1.0, [1.0], cache=tmp_path) == [2.0]
    assert sweep(lambda x: x + 2.0, [1.0], cache=tmp_path) == [3.0]
    assert sweep(lambda x, step=3.0: x + step, [1.0], cache=tmp_path) == [4.0]


def test_a_damaged_file_is_computed_again(
    tmp_path: Path, traces: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = functools.partial(counting, traces)
    sweep(run, [5], cache=tmp_path / "cache")
    [path] = (tmp_path / "cache").rglob("*.pickle")
    for content in (b"", path.read_bytes()[:-1], path.read_bytes() + b"x"):
        path.write_bytes(content)
        caplog.clear()
        assert sweep(run, [5], cache=tmp_path / "cache") == [25]
        assert "is damaged" in caplog.text
    assert computed(traces) == [5] * 4
    assert not list((tmp_path / "cache").rglob(".*"))  # nothing half-written is left


KILLED = """
import sys, time
from pathlib import Path
from arvdm_theory import sweep

def slow(x, traces=sys.argv[1]):
    Path(traces, f"{x}-{time.perf_counter_ns()}").touch()
    time.sleep(0.0 if x < 3 or len(sys.argv) > 3 else 600.0)
    return x * x

print(sweep(slow, range(5), cache=sys.argv[2]))
"""


def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path, traces: Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(traces), str(tmp_path / "cache")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 120.0
        while 3 not in computed(traces):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(
        [*command, "again"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[0, 1, 4, 9, 16]"
    assert computed(traces) == [0, 1, 2, 3, 3, 4]


# Failures


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_a_failed_point_is_named_and_the_others_are_kept(
    backend: str, tmp_path: Path, traces: Path
) -> None:
    def run(video: Autoregressive, lag: int) -> float:
        counting(traces, lag)
        return float(video.autocovariance(3)[2 - lag if lag == 2 else 7, 0, 0])

    def refusing(x: int) -> int:
        if x == 2:
            raise ParameterError("x", "not 2", x)
        return counting(traces, x)

    with joblib.parallel_config(backend=backend, n_jobs=2):
        with pytest.raises(SweepError, match="point 2 of 3, 2, failed with ParameterError") as e:
            sweep(refusing, [0, 1, 2], cache=tmp_path / "cache")
    assert isinstance(e.value.__cause__, ParameterError)
    assert (e.value.index, e.value.point) == (2, 2)
    assert all(value == index**2 for index, value in e.value.finished.items())
    kept = list((tmp_path / "cache").rglob("*.pickle"))
    assert len(kept) == len(e.value.finished)
    if backend == "sequential":
        assert e.value.finished == {0: 0, 1: 1}
        assert "2 finished points are kept in" in str(e.value)
        with pytest.raises(SweepError, match=r"point 0 of 1, \{'video': .*IndexError"):
            sweep(run, {"video": [Autoregressive([0.5], 1.0)], "lag": [1]})
    with pytest.raises(SweepError):
        sweep(refusing, [0, 1, 2], cache=tmp_path / "cache")
    assert sorted(set(computed(traces))) == [0, 1] if backend != "sequential" else [0, 1, 1]


class Unportable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__("two numbers")


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    def fails(x: int) -> None:
        raise Unportable(1, 2)

    with joblib.parallel_config(backend="loky", n_jobs=2):
        with pytest.raises(SweepError, match="Unportable: two numbers"):
            sweep(fails, [0, 1])


def test_parameter_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ParameterError("x", "at least 0", -1)))
    assert str(error) == "x must be at least 0, got -1" and error.value == -1


# Content


VALUES = st.recursive(
    st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(VALUES, VALUES)
@settings(max_examples=100, deadline=None)
def test_keys_are_equal_for_equal_content_only(first: Any, second: Any) -> None:
    assert content_key(first) == content_key(pickle.loads(pickle.dumps(first)))
    assert (content_key(first) == content_key(second)) == (repr(first) == repr(second)) or (
        first == second  # dictionaries in another order
    )


def test_keys_see_what_a_point_holds() -> None:
    import torch

    array = np.arange(6.0)
    different = [
        0, 0.0, -0.0, "0", False, None, [], (), {}, b"0", [0], (0,), [[0]], [0, [0]],
        array, array.reshape(2, 3), array.astype(np.float32), -array, torch.from_numpy(array),
        np.float64(0.0), Autoregressive([0.5], 1.0), Autoregressive([0.6], 1.0),
        Schedule.fifo(4, t_max=3.0, t_min=0.05, substeps=4), square, np.exp, float, np,
        lambda: 1, lambda: 2, functools.partial(square, 1), arvdm_theory.Exact(),
        arvdm_theory.Scaled(1.0), arvdm_theory.Scaled(1.1), {1}, {2}, Path("a"), range(3), ...,
    ]  # fmt: skip
    keys = [content_key(value) for value in different]
    assert len(set(keys)) == len(keys)
    video = Autoregressive([0.5], 1.0)
    key = content_key(video)
    video.covariance(3)
    assert content_key(video) == key == content_key(Autoregressive([0.5], 1.0))
    with pytest.raises(ParameterError, match=r"points\[1\] must be made of numbers.*generator"):
        sweep(square, [1, (x for x in range(3))], cache="unused")


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "from arvdm_theory.sweeps import content_key\n"
        "print(content_key((lambda x: x in {'a', 'b', 'c'}, {'a', 'b', 'c'}, {'p': 1.5})))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ParameterError, match=r"the extra sweep must be installed \(pip install"):
        sweeps.sweep(square, [1])


# A cluster


CLUSTER = """
import sys
import joblib
from arvdm_theory import ParameterError, SweepError, sweep

def process_and_square(x):
    import os, time
    time.sleep(0.05)
    return os.getpid(), x * x

def refusing(x):
    if x == 7:
        raise ParameterError("x", "not 7", x)
    return x

if __name__ == "__main__":
    import os
    from dask.distributed import Client, LocalCluster

    cache = sys.argv[1]
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster, Client(cluster):
        with joblib.parallel_config(backend="dask"):
            results = sweep(process_and_square, range(40), cache=cache)
            try:
                sweep(refusing, range(8), cache=cache)
            except SweepError as error:
                failed = error
    assert [square for _, square in results] == [x * x for x in range(40)]
    workers = {process for process, _ in results}
    assert len(workers) == 2 and os.getpid() not in workers, workers
    assert failed.index == 7 and isinstance(failed.__cause__, ParameterError), failed
    # everything is on this side's disk: no cluster, nothing computed
    assert sweep(process_and_square, range(40), cache=cache) == results
    print("done")
"""


@pytest.mark.heavy
def test_a_local_dask_cluster_of_two_processes(tmp_path: Path) -> None:
    pytest.importorskip("dask.distributed", reason="needs the extra `dask`")
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cache")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.strip() == "done", done.stderr
