"""D1 (the three requirements, each with its own refusal) and the methods of D3."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arvdm_theory import noise
from arvdm_theory.errors import (
    BoundaryError,
    CircularityError,
    MonotonicityError,
    ParameterError,
    ScheduleError,
)
from arvdm_theory.schedule import METHODS, RELEASED_SYSTEMS, Schedule
from arvdm_theory.testing import schedules

COMMON = {"t_max": 3.0, "t_min": 0.05, "substeps": 4}


def assert_satisfies_d1(schedule: Schedule) -> None:
    """D1, written out anew."""
    start, end, stride = schedule.input_levels, schedule.output_levels, schedule.stride
    window = schedule.window
    assert np.all(np.diff(start) >= 0.0) and np.all(np.diff(end) >= 0.0)
    assert np.array_equal(end[stride:], start[: window - stride])
    assert np.all(end[:stride] == schedule.t_min)
    assert np.all(start[window - stride :] == schedule.t_max)
    assert np.all(np.diff(schedule.grid, axis=0) <= 0.0)
    assert np.array_equal(schedule.grid[0], start) and np.array_equal(schedule.grid[-1], end)


@given(schedules())
def test_every_drawn_schedule_satisfies_d1_and_survives_json(schedule: Schedule) -> None:
    assert_satisfies_d1(schedule)
    back = Schedule.from_json(json.loads(json.dumps(schedule.to_json())))
    assert back.key == schedule.key
    assert np.array_equal(back.grid, schedule.grid)


@given(schedules())
def test_circularity_telescopes(schedule: Schedule) -> None:
    # 2.1: sum_j (t^I_j - t^O_j) = stride (T - delta), and the same for log-SNR
    span = schedule.stride * (schedule.t_max - schedule.t_min)
    assert np.sum(schedule.input_levels - schedule.output_levels) == pytest.approx(span, rel=1e-9)
    gained = np.sum(noise.log_snr(schedule.output_levels) - noise.log_snr(schedule.input_levels))
    total = schedule.stride * float(noise.log_snr(schedule.t_min) - noise.log_snr(schedule.t_max))
    assert gained == pytest.approx(total, rel=1e-9)


def test_named_methods_are_d3() -> None:
    fifo = Schedule.fifo(6, **COMMON)
    np.testing.assert_allclose(fifo.input_levels, 3.0 * np.arange(1, 7) / 6, rtol=1e-15)
    np.testing.assert_allclose(fifo.output_levels[1:], fifo.input_levels[:-1], rtol=0)
    assert fifo.stride == 1 and fifo.output_levels[0] == 0.05
    assert np.array_equal(Schedule.rolling(6, **COMMON).grid, fifo.grid)
    outpaint = Schedule.outpainting(6, 2, **COMMON)
    assert outpaint.input_levels.tolist() == [0.05] * 4 + [3.0] * 2
    assert outpaint.output_levels.tolist() == [0.05] * 6
    assert outpaint.moving.tolist() == [False] * 4 + [True] * 2
    chunk = Schedule.chunk(4, **COMMON)
    assert chunk.stride == 4 and np.all(chunk.input_levels == 3.0)
    assert Schedule.next_frame(**COMMON).window == 1
    one_block = Schedule.staircase(4, 4, **COMMON)
    assert np.array_equal(one_block.grid, chunk.grid)
    assert np.array_equal(Schedule.staircase(6, 1, **COMMON).grid, fifo.grid)
    forcing = Schedule.diffusion_forcing(16, **COMMON)
    assert forcing.input_levels.tolist() == [0.05] * 15 + [3.0]


@pytest.mark.parametrize("name", RELEASED_SYSTEMS)
def test_released_systems_satisfy_d1(name: str) -> None:
    schedule = Schedule.system(name, **COMMON)
    assert_satisfies_d1(schedule)
    assert schedule.method == name


def test_released_systems_have_the_published_shapes() -> None:
    magi = Schedule.system("magi_1", **COMMON)
    assert (magi.window, magi.stride) == (24, 6)
    ladder = magi.input_levels.reshape(4, 6)
    np.testing.assert_allclose(ladder[:, 0] / 3.0, [0.70, 0.90, 0.978, 1.0], rtol=1e-12)
    rolling = Schedule.system("rolling_forcing", **COMMON)
    assert (rolling.window, rolling.stride) == (15, 3)
    pa_vdm = Schedule.system("pa_vdm", **COMMON)
    np.testing.assert_allclose(pa_vdm.input_levels[::5] / 3.0, np.arange(1, 7) / 6)
    assert {n: Schedule.system(n, **COMMON).window for n in ("far", "oasis", "worldmem")} == {
        "far": 16,
        "oasis": 32,
        "worldmem": 8,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((2, 1, [0.5, 1.0], [0.1, 0.6]), CircularityError, r"output_levels\[2\] must be input"),
        ((3, 1, [0.5, 0.4, 1.0], [0.1, 0.5, 0.4]), MonotonicityError, r"input_levels\[2\]"),
        ((2, 2, [1.0, 1.0], [0.1, 0.2]), BoundaryError, r"output_levels\[2\] must be delta"),
        ((2, 2, [0.9, 1.0], [0.1, 0.1]), BoundaryError, r"input_levels\[1\] must be T"),
        ((2, 1, [0.5, 1.0], [0.6, 0.5]), MonotonicityError, r"output_levels\[2\]"),
        ((1, 1, [0.5], [0.6]), MonotonicityError, r"output_levels\[1\] must be at most"),
        ((1, 1, [0.5], [0.5]), BoundaryError, "below T"),
        ((2, 3, [0.5, 1.0], [0.1, 0.5]), ScheduleError, r"stride must be in 1..window \(2\)"),
        ((1, 1, [1.0], [0.0]), BoundaryError, "zero variance, so the chain KL is infinite"),
        ((1, 1, [400.0], [0.1]), BoundaryError, "t_max must be at most 300"),
        ((1, 1, [1.0], [float("nan")]), ParameterError, "finite"),
        ((2, 1, [1.0], [0.1, 0.1]), ParameterError, r"window \(2\) OU times"),
    ],
)
def test_each_violation_has_its_own_refusal(arguments: tuple, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        Schedule(*arguments, substeps=2)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"method": "fifo", "window": 3, **COMMON, "strides": 1}, "schedule.strides must be one"),
        ({"method": "fifo", **COMMON}, "schedule.window must be given"),
        ({"method": "sideways", **COMMON}, "schedule.method must be one of"),
        ({"method": "chunk", "window": 3, "stride": 2, **COMMON}, "schedule.stride must be 3"),
        ({"method": "fifo", "window": 100, **COMMON}, "t_min must be below the first level"),
        ({"method": "staircase", "window": 5, "stride": 2, **COMMON}, "a divisor of window"),
        (
            {"method": "staircase", "window": 4, "stride": 2, "levels": [0.5, 0.9], **COMMON},
            "2 increasing fractions of t_max that end at 1",
        ),
        (
            {"method": "fifo", "window": 3, "context_noise": "label", **COMMON},
            "context_level must be an OU time of at least t_min",
        ),
        (
            {"method": "fifo", "window": 3, "context_level": 0.1, **COMMON},
            "context_level must be absent",
        ),
    ],
)
def test_bad_specifications_name_the_key(spec: dict, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        Schedule.from_json(spec)


@given(st.integers(1, 8), st.integers(1, 40))
def test_any_number_of_frames_is_planned_without_silent_loss(stride: int, frames: int) -> None:
    plan = Schedule.chunk(stride, **COMMON).roll_out(frames=frames)
    assert plan.generated - plan.surplus == frames
    assert plan.surplus in range(stride)
    assert plan.generated == plan.steps * stride


def test_levels_may_come_in_other_clocks() -> None:
    spec = {"method": "chunk", "window": 2, "substeps": 3, "clock": "edm_sigma"}
    schedule = Schedule.from_json({**spec, "t_max": 80.0, "t_min": 0.02})
    assert schedule.t_max == pytest.approx(0.5 * np.log1p(80.0**2), rel=1e-14)
    assert schedule.t_min == pytest.approx(0.5 * np.log1p(0.02**2), rel=1e-12)


def test_cost_counts_frame_evaluations() -> None:
    schedule = Schedule.outpainting(6, 2, **COMMON)
    assert schedule.calls_per_frame() == 2.0
    assert schedule.cost(reference=3) == 18.0


def test_methods_table_lists_every_method() -> None:
    assert set(METHODS) == {
        "fifo",
        "rolling",
        "outpainting",
        "chunk",
        "next_frame",
        "diffusion_forcing",
        "staircase",
        "custom",
    }
