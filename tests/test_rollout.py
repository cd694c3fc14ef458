"""Roll-out: every schedule drives the same denoiser, and nothing is dropped or shifted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from arvdm_theory import noise
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from paper_repro.arvdm.network import STRUCTURES, NetworkConfig, build
from paper_repro.arvdm.rollout import roll_out

torch.set_num_threads(1)

T_MAX, T_MIN = 3.0, 1e-3
COMMON: dict[str, Any] = {"t_max": T_MAX, "t_min": T_MIN, "substeps": 3}

SCHEDULES = {
    "fifo": Schedule.fifo(4, **COMMON),
    "staircase": Schedule.staircase(6, 2, **COMMON),
    "outpainting": Schedule.outpainting(4, 3, **COMMON),
    "chunk": Schedule.chunk(4, **COMMON),
    "next_frame": Schedule.next_frame(**COMMON),
    "diffusion_forcing": Schedule.diffusion_forcing(5, 1, **COMMON),
    "custom": Schedule(3, 1, [T_MIN, 0.5, T_MAX], [T_MIN, T_MIN, 0.5], substeps=2),
}


def context_noise(kind: str, level: float = 0.3) -> Schedule:
    return Schedule.chunk(2, **COMMON, context_noise=kind, context_level=level)


class Oracle:
    """Knows the video: frame t is filled with its action, whose value is t.

    So an estimate that ends up at the wrong index, or a reference or memory frame that is not where
    its action says, shows.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, x: Tensor, gamma: Tensor, **given: Any) -> Tensor:
        self.seen.append({"x": x, "gamma": gamma, **given})
        action = given["action"]
        finished = [part for part in (given["memory"], given["reference"]) if part is not None]
        count = action.shape[1] - x.shape[1]
        assert sum(part.shape[1] for part in finished) == count
        if finished:
            shown = torch.cat(finished, 1).mean((2, 3, 4))
            # finished frames are at level δ: mean alpha t, 12 numbers of noise sigma
            assert torch.allclose(
                shown, action[:, :count, 0], rtol=2 * T_MIN, atol=6 * float(noise.sigma(T_MIN))
            )
        return action[:, count:, 0, None, None, None].expand_as(x)


def video(length: int, count: int = 2) -> tuple[Tensor, Tensor]:
    """Frames filled with their own number, and actions that say it."""
    index = torch.arange(float(length)).expand(count, -1)
    return index[..., None, None, None].expand(-1, -1, 3, 2, 2), index[..., None]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("given", [0, 5])
@pytest.mark.parametrize("frames", [1, 3, 4, 11])
def test_every_frame_comes_out_at_its_place(name: str, given: int, frames: int) -> None:
    schedule = SCHEDULES[name]
    truth, action = video(given + frames)
    made = roll_out(
        Oracle(),
        schedule,
        frames=frames,
        context=truth[:, :given],
        action=action,
        reference=2,
        memory=3,
    )
    expected = truth[:, given:].clone()
    assert made.frames.shape == made.estimates.shape == expected.shape
    assert torch.equal(made.estimates, expected)
    # the chain's states are alpha x + sigma noise at level δ
    spread = (made.frames - float(noise.alpha(T_MIN)) * expected) / float(noise.sigma(T_MIN))
    assert spread.abs().max() < 5.0 and 0.5 < spread.std() < 1.5
    steps = -(-frames // schedule.stride)
    assert made.plan.steps == steps and made.plan.surplus == steps * schedule.stride - frames
    initial = schedule.substeps if schedule.window > schedule.stride else 0
    assert made.calls == steps * schedule.substeps + initial
    # the last windows reach beyond the asked frames; it is said how far
    assert made.invented_actions == (steps - 1) * schedule.stride + schedule.window - frames


def test_levels_given_to_the_network_are_the_schedule_s() -> None:
    for schedule in SCHEDULES.values():
        oracle = Oracle()
        _, action = video(3)
        roll_out(oracle, schedule, frames=3, action=action, shape=(2, 3, 2, 2))
        main = oracle.seen[-schedule.substeps :]
        for n, call in enumerate(main):
            expected = np.broadcast_to(schedule.gammas[n], (2, schedule.window))
            np.testing.assert_allclose(call["gamma"].numpy(), expected, rtol=1e-6)


def test_references_and_memory_fill_up() -> None:
    oracle = Oracle()
    _, action = video(8)
    roll_out(
        oracle,
        Schedule.next_frame(**COMMON),
        frames=8,
        action=action,
        shape=(2, 3, 2, 2),
        reference=2,
        memory=3,
    )
    lengths = [
        tuple(0 if call[kind] is None else call[kind].shape[1] for kind in ("reference", "memory"))
        for call in oracle.seen[:: COMMON["substeps"]]
    ]
    assert lengths == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3), (2, 3), (2, 3)]


def test_initial_frames_are_re_noised_to_the_input_levels() -> None:
    schedule = SCHEDULES["fifo"]
    oracle = Oracle()
    truth, action = video(4, count=4000)
    roll_out(oracle, schedule, frames=1, action=action, initial=truth[:, :3], shape=(4000, 3, 2, 2))
    assert len(oracle.seen) == schedule.substeps  # no initialisation stage
    x = oracle.seen[0]["x"].double()
    numbers = 4000 * 12
    for j, level in enumerate(schedule.input_levels[:3]):
        mean, deviation = noise.alpha(level) * j, noise.sigma(level)
        assert abs(x[:, j].mean() - mean) < 5.0 * deviation / numbers**0.5
        assert abs(x[:, j].std() / deviation - 1.0) < 5.0 / (2 * numbers) ** 0.5
    with pytest.raises(ParameterError, match=r"initial must be of shape .*window - stride"):
        roll_out(oracle, schedule, frames=1, initial=truth[:, :2], shape=(4000, 3, 2, 2))


def test_context_noise_is_three_different_things() -> None:
    truth, action = video(9)
    seen = {}
    for kind in ("label", "noise"):

        class Blind(Oracle):
            """Does not check its references."""

            def __call__(self, x: Tensor, gamma: Tensor, **given: Any) -> Tensor:
                self.seen.append(given)
                return x

        oracle = Blind()
        roll_out(
            oracle,
            context_noise(kind),
            frames=4,
            context=truth[:, :5],
            action=action,
            reference=3,
            memory=1,
        )
        seen[kind] = oracle.seen
    for calls in seen.values():
        for call in calls:
            expected = torch.full((2, 3), float(noise.gamma(0.3)))
            torch.testing.assert_close(call["reference_gamma"], expected)
            # memory is never re-noised
            assert (call["memory"] - call["memory"].mean((2, 3, 4), keepdim=True)).std() < 0.3
    sigma = float(noise.sigma(0.3 - T_MIN))
    spread = [
        (call["reference"] - call["reference"].mean((2, 3, 4), keepdim=True))[:, 0].std()
        for call in (seen["label"][0], seen["noise"][0])
    ]
    assert spread[0] < 0.2 * sigma and abs(spread[1] / sigma - 1.0) < 0.6
    # once per AR step: the same in all sub-steps of one
    noisy = [call["reference"] for call in seen["noise"]]
    assert noisy[0] is noisy[1] and noisy[1] is noisy[2] and noisy[3] is noisy[4]
    plain = Oracle()
    schedule = Schedule.chunk(2, **COMMON)
    roll_out(plain, schedule, frames=2, context=truth[:, :5], action=action, reference=3)
    assert "reference_gamma" not in plain.seen[0]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", ["none", "label", "noise"])
def test_cached_and_uncached_roll_outs_are_identical(structure: str, kind: str) -> None:
    memory = 0 if structure == "none" else 3
    network = build(
        NetworkConfig(
            size=4, patch=2, width=16, heads=2, layers=2, structure=structure, memory=memory
        )
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    context = torch.randn(2, 5, 3, 4, 4, generator=generator)
    action = torch.randn(2, 12, 1, generator=generator)
    noisy = {} if kind == "none" else {"context_noise": kind, "context_level": 0.3}
    for schedule in (Schedule.chunk(3, **COMMON, **noisy), Schedule.fifo(3, **COMMON, **noisy)):
        both = [
            roll_out(
                network,
                schedule,
                frames=7,
                context=context,
                action=action,
                reference=2,
                cache=cache,
                seed=5,
            )
            for cache in (True, False)
        ]
        assert torch.equal(both[0].frames, both[1].frames)
        assert torch.equal(both[0].estimates, both[1].estimates)
        assert both[0].calls == both[1].calls
        assert both[0].frames.isfinite().all()


def test_ancestral_variance_of_independent_frames() -> None:
    # Frames N(0, 1) and their exact denoiser alpha x: every number is Gaussian with a variance
    # that follows (a + alpha b)² v + bridge variance through the sub-steps.
    schedule = Schedule.chunk(2, t_max=T_MAX, t_min=T_MIN, substeps=4)

    def exact(x: Tensor, gamma: Tensor, **_: Any) -> Tensor:
        return (gamma / (1.0 + gamma)).sqrt()[..., None, None, None] * x

    made = roll_out(exact, schedule, frames=2, shape=(4000, 3, 2, 2))
    variance = 1.0
    for start, end in zip(schedule.grid[:-1, 0], schedule.grid[1:, 0], strict=True):
        h = start - end
        a = np.exp(-h) * np.expm1(-2 * end) / np.expm1(-2 * start)
        b = np.exp(-end) * np.expm1(-2 * h) / np.expm1(-2 * start)
        v = -np.expm1(-2 * end) * np.expm1(-2 * h) / np.expm1(-2 * start)
        variance = (a + np.exp(-start) * b) ** 2 * variance + v
    sample = made.frames.double().var().item()
    assert sample == pytest.approx(variance, rel=5.0 * (2.0 / made.frames.numel()) ** 0.5)
    assert variance < 0.95  # so that the check can tell this from the truth's variance of 1


def test_ddim_is_deterministic_given_the_first_noise() -> None:
    schedule = Schedule.chunk(2, **COMMON)
    _, action = video(2)
    made = roll_out(Oracle(), schedule, frames=2, action=action, shape=(2, 3, 2, 2), sampler="ddim")
    # x = alpha x0 + sigma e with the e of the first state: e = (z - alpha_T x0) / sigma_T
    first = torch.randn(2, 2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    truth, _ = video(2)
    e = (first - float(noise.alpha(T_MAX)) * truth) / float(noise.sigma(T_MAX))
    expected = float(noise.alpha(T_MIN)) * truth + float(noise.sigma(T_MIN)) * e
    torch.testing.assert_close(made.frames, expected, rtol=1e-5, atol=1e-5)


def test_seed_and_refusals() -> None:
    schedule = Schedule.chunk(2, **COMMON)
    truth, action = video(4)

    def made(seed: int) -> Tensor:
        given = {"context": truth[:, :2], "action": action, "seed": seed}
        return roll_out(Oracle(), schedule, frames=2, **given).frames

    assert torch.equal(made(1), made(1)) and not torch.equal(made(1), made(2))
    with pytest.raises(ParameterError, match="sampler must be one of ancestral, ddim, got euler"):
        roll_out(Oracle(), schedule, frames=2, shape=(1, 3, 2, 2), sampler="euler")
    with pytest.raises(ParameterError, match="shape must be given if there is no context"):
        roll_out(Oracle(), schedule, frames=2)
    with pytest.raises(ParameterError, match=r"action must be \(2, at least 2 \+ 3, A\)"):
        roll_out(Oracle(), schedule, frames=3, context=truth[:, :2], action=action)
