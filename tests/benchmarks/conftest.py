"""Two ways to the same result, timed in turn (`make bench`).

Each round runs the other ways and then ours, so that a ratio compares neighbours in time and a
busy machine weighs on all alike. Times are CPU seconds of this process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from arvdm_theory.fit import one_blas_thread

Call = Callable[[], Any]


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    machine_info["load"] = os.getloadavg()[0]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_blas_thread():
        yield


@pytest.fixture
def beside(benchmark: Any) -> Callable[..., None]:
    """`beside(ours, {"other": call}, ...)`: time them in turn; what was measured goes to the JSON.

    rounds: how often each; calls: in a round; work: how much `unit` a call does, `works`
    where another way does less in its call; settings: in words; parameters: of networks by name.
    """

    def run(
        name: str,
        ours: Call,
        others: Mapping[str, Call],
        *,
        unit: str,
        settings: str,
        rounds: int,
        calls: int = 1,
        work: float = 1.0,
        works: Mapping[str, float] | None = None,
        parameters: Mapping[str, int] | None = None,
    ) -> None:
        seconds: dict[str, list[float]] = {key: [] for key in (name, *others)}

        def timed(key: str, call: Call) -> None:
            start = time.process_time()
            for _ in range(calls):
                call()
            done = calls * (works or {}).get(key, work)
            seconds[key].append((time.process_time() - start) / done)

        def before() -> None:
            for key, call in others.items():
                timed(key, call)

        for call in (ours, *others.values()):  # first calls are slow
            call()
        benchmark.pedantic(timed, args=(name, ours), setup=before, rounds=rounds)
        benchmark.extra_info.update(
            name=name,
            unit=unit,
            settings=settings,
            seconds=seconds,
            parameters=dict(parameters or {}),
        )

    return run
