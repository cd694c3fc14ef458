"""The denoiser: memory structures, compressors, backbones, positions, and its protocol."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from arvdm_theory.errors import ParameterError
from paper_repro.arvdm.attention import rope
from paper_repro.arvdm.compressors import COMPRESSORS, SelectiveScan
from paper_repro.arvdm.conditions import integrate
from paper_repro.arvdm.network import (
    BACKBONES,
    STRUCTURES,
    Denoiser,
    NetworkConfig,
    build,
    patches,
    unpatch,
)

torch.set_num_threads(1)

MEMORY, REFERENCE, WINDOW = 4, 1, 3


def config(structure: str = "prepend", compressor: str = "none", **changes: Any) -> NetworkConfig:
    small: dict[str, Any] = {
        "size": 8,
        "patch": 4,
        "width": 16,
        "layers": 2,
        "heads": 2,
        "window": WINDOW,
        "reference": REFERENCE,
        "structure": structure,
        "memory": 0 if structure == "none" else MEMORY,
        "compressor": compressor,
        "budget": 0 if compressor == "none" else 2,
    }
    return NetworkConfig(**(small | changes))


def stirred(chosen: NetworkConfig, seed: int = 0) -> Denoiser:
    """A network none of whose parameters are zero, as after some training."""
    network = build(chosen, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def inputs(chosen: NetworkConfig, batch: int = 2, memory: int = MEMORY) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    frame = (chosen.channels, chosen.size, chosen.size)
    return {
        "x": normal(batch, WINDOW, *frame),
        "gamma": normal(batch, WINDOW).exp(),
        "reference": normal(batch, REFERENCE, *frame),
        "memory": normal(batch, memory, *frame),
        "action": normal(batch, memory + REFERENCE + WINDOW, chosen.action_dim),
    }


EVERY = [
    (backbone, structure, kind)
    for backbone in BACKBONES
    for structure in STRUCTURES
    for kind in ("none", *COMPRESSORS)
    if structure != "none" or kind == "none"
]


@pytest.mark.parametrize(("backbone", "structure", "kind"), EVERY)
def test_every_network_uses_all_that_it_is_given(backbone: str, structure: str, kind: str) -> None:
    chosen = config(structure, kind, backbone=backbone)
    network = stirred(chosen)
    given = inputs(chosen)
    leaves = {name: value.requires_grad_() for name, value in given.items()}
    out = network(**given)
    assert out.shape == given["x"].shape
    out.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0.0, name
    for name, value in leaves.items():
        if structure == "none" and name == "memory":
            assert value.grad is None  # a memoryless network does not see it
            continue
        assert value.grad is not None
        # every frame counts: of the memory too, the oldest included, however small the budget;
        # of the actions all but the first, which leads from a frame that is not there
        per_frame = value.grad.flatten(2).abs().sum((0, 2)) if value.ndim > 2 else value.grad.abs()
        if name == "action":
            per_frame = per_frame[1 if structure != "none" else MEMORY + 1 :]
        assert (per_frame > 0.0).all(), name


@pytest.mark.parametrize(("backbone", "structure", "kind"), EVERY)
def test_context_and_denoise_are_the_plain_call(backbone: str, structure: str, kind: str) -> None:
    chosen = config(structure, kind, backbone=backbone)
    network = stirred(chosen).eval()
    given = inputs(chosen)
    x, gamma = given.pop("x"), given.pop("gamma")
    with torch.no_grad():
        context = network.context(len(x), WINDOW, **given)
        for level in (1.0, 0.1):
            plain = network(x, level * gamma, **given)
            assert torch.equal(plain, network.denoise(x, level * gamma, context))


@pytest.mark.parametrize("structure", STRUCTURES[1:])
def test_memory_may_be_short_absent_or_too_long(structure: str) -> None:
    network = stirred(config(structure)).eval()
    given = inputs(network.config, memory=MEMORY + 3)
    with torch.no_grad():
        whole = network(**given)
        cut = given | {"memory": given["memory"][:, 3:], "action": given["action"][:, 3:]}
        assert torch.equal(whole, network(**cut))
        short = given | {"memory": given["memory"][:, -1:], "action": given["action"][:, 6:]}
        assert network(**short).isfinite().all()
        none = given | {"memory": None, "action": given["action"][:, 7:]}
        assert network(**none).isfinite().all()
        # no memory is not the same as a black one
        black = cut | {"memory": torch.zeros_like(cut["memory"])}
        assert not torch.allclose(network(**none), network(**black))


def test_finished_frames_do_not_look_at_the_window() -> None:
    network = stirred(config("prepend", backbone="transformer")).eval()
    given = inputs(network.config)
    del given["x"], given["gamma"]
    with torch.no_grad():
        one = network.context(2, WINDOW, **given)
        # later actions move the window, not what was seen before it
        given["action"][:, MEMORY + REFERENCE + 1 :] += 1.0
        other = network.context(2, WINDOW, **given)
    for a, b in zip(one.past, other.past, strict=True):
        assert a is not None and b is not None
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert not torch.equal(one.action, other.action)


def test_rope_scores_depend_on_differences_only() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    where = torch.arange(5)

    def scores(shift: int) -> Tensor:
        return rope(q, where + shift) @ rope(k, where + shift).T

    # angles are float32: their relative rounding times the largest angle, 1005
    torch.testing.assert_close(scores(0), scores(1000), rtol=0, atol=1e-2)
    torch.testing.assert_close(scores(0), scores(10), rtol=0, atol=1e-5)


def test_rope_turns_pairs_of_numbers_and_its_gradient_turns_back() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    where = torch.tensor([-7, -2, 0, 1, 5])
    turned = rope(x, where)
    exponent = torch.arange(4, dtype=torch.float32) / 4
    angle = where[:, None].float() * 1000.0**-exponent
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(
        torch.ones_like(angle).double(), angle.double()
    )
    expected = torch.cat([pairs.real, pairs.imag], -1)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-6)  # cosines are float32
    assert torch.autograd.gradcheck(lambda y: rope(y, where), (x,), fast_mode=True)


def test_patches_round_trip_in_reading_order() -> None:
    frames = torch.arange(2 * 3 * 3 * 8 * 8.0).reshape(2, 3, 3, 8, 8)
    tokens = patches(frames, 4)
    assert tokens.shape == (2, 3, 4, 48)
    assert torch.equal(tokens[0, 0, 1].reshape(3, 4, 4), frames[0, 0, :, :4, 4:])
    assert torch.equal(unpatch(tokens, 4, 8), frames)


# --- compressors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("budget", [1, 3])
def test_budget_is_the_number_of_slots(kind: str, budget: int) -> None:
    network = stirred(config("prepend", kind, budget=budget))
    given = inputs(network.config)
    del given["x"], given["gamma"], given["reference"]
    given["action"] = given["action"][:, :-REFERENCE]
    context = network.context(2, WINDOW, **given)
    for layer in context.past:
        assert layer is not None and layer[0].shape[2] == budget


def test_selective_scan_is_the_sum_it_abbreviates() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scan = SelectiveScan(3, 2).double()
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        step = torch.log1p(torch.exp(scan.step(x)))
        write, read = scan.read_write(x).chunk(2, -1)
        rate = scan.log_decay.exp()
        expected = scan.skip * x
        for t in range(6):
            for s in range(t + 1):
                faded = torch.exp(-rate * step[:, s + 1 : t + 1].sum(1)[..., None])
                weight = (faded * (write[:, s] * read[:, t])[:, None]).sum(-1)
                expected[:, t] += weight * step[:, s] * x[:, s]
        whole, last = scan(x)
        torch.testing.assert_close(whole, expected, rtol=1e-12, atol=1e-12)
        first, state = scan(x[:, :4])
        second, state = scan(x[:, 4:], state)
        pieces = torch.cat([first, second], 1)
        torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


# --- poses and levels -----------------------------------------------------------------------------


def test_planar_poses_are_walked_in_the_plane() -> None:
    generator = np.random.default_rng(0)
    length, origin = 40, 25
    turns = generator.integers(-3, 4, length)
    ahead = np.where(turns == 0, generator.choice([-1, 1], length), 0)
    place, heading, walked = 0j, 0, []
    for step, turn in zip(ahead, turns, strict=True):
        heading += turn
        place += step * np.exp(2j * math.pi * heading / 32)
        walked.append((place, heading))
    there, facing = walked[origin]
    expected = np.array(
        [
            [z.real, z.imag, (h - facing + 16) % 32 - 16]
            for z, h in ((np.exp(-2j * math.pi * facing / 32) * (p - there), h) for p, h in walked)
        ]
    )
    action = torch.tensor(np.stack([ahead, turns], -1)[None], dtype=torch.float64)
    np.testing.assert_allclose(integrate(action, origin, "planar")[0], expected, atol=1e-12)


@pytest.mark.parametrize("pose", ["sum", "velocity"])
def test_only_relative_poses_are_seen(pose: str) -> None:
    # what happened before the first frame, and the first action, make no difference
    network = stirred(config("prepend", pose=pose)).eval()
    given = inputs(network.config)
    moved = given | {"action": given["action"].clone()}
    moved["action"][:, 0] += 5.0
    with torch.no_grad():
        assert torch.equal(network(**given), network(**moved))


def test_a_world_without_actions() -> None:
    network = stirred(config("prepend", action_dim=0))
    given = inputs(network.config)
    with_none = network(**(given | {"action": None}))
    assert torch.equal(network(**given), with_none)


def test_residual_prediction_starts_from_the_best_linear_guess() -> None:
    network = build(config("none", prediction="residual", data_scale=0.5))
    given = inputs(network.config)
    signal = (given["gamma"] / (1.0 + given["gamma"]))[..., None, None, None]
    # for data of variance 1/4: E[x0 | x] = alpha / 4 / (alpha² / 4 + sigma²) x
    expected = signal.sqrt() / 4.0 / (signal / 4.0 + 1.0 - signal) * given["x"]
    torch.testing.assert_close(network(given["x"], given["gamma"]), expected)


def test_levels_of_references_are_seen() -> None:
    network = stirred(config()).eval()
    given = inputs(network.config)
    with torch.no_grad():
        clean = network(**given)
        gamma = torch.full((2, REFERENCE), network.clean_gamma)
        assert torch.equal(clean, network(**given, reference_gamma=gamma))
        assert not torch.equal(clean, network(**given, reference_gamma=gamma / 100.0))


# --- refusals -------------------------------------------------------------------------------------


def test_configurations_are_checked() -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"structure": "append"}, "structure must be one of none, prepend"),
        ({"patch": 3}, r"patch must be a divisor of size \(8\), got 3"),
        ({"memory": 0}, "memory must be positive for prepend, got 0"),
        ({"structure": "none"}, "memory must be 0 for structure none, got 4"),
        ({"compressor": "joint", "budget": 9}, r"budget must be in 1..memory \(4\), got 9"),
        ({"budget": 2}, "budget must be 0 without a compressor, got 2"),
        ({"width": 18}, "width must be a multiple of 2 heads"),
        ({"pose": "planar"}, "action_dim must be 2 for planar poses, got 1"),
        ({"clean_level": 0.0}, "clean_level must be positive"),
    ]
    for changes, message in refused:
        with pytest.raises(ParameterError, match=message):
            dataclasses.replace(config(), **changes)
    with pytest.raises(ParameterError, match=r"network\.depth must be one of size"):
        NetworkConfig.from_json({"size": 8, "depth": 3})
    assert NetworkConfig.from_json(dataclasses.asdict(config())) == config()


def test_actions_must_fit() -> None:
    network = build(config())
    given = inputs(network.config)
    with pytest.raises(ParameterError, match=r"action must be of memory .* \(4 \+ 1 \+ 3\) frames"):
        network(**(given | {"action": given["action"][:, 1:]}))
    with pytest.raises(ParameterError, match="action must be 1 numbers a frame, got 2"):
        network(**(given | {"action": given["action"].expand(-1, -1, 2)}))


def test_first_weights_depend_on_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    one, same, other = build(config(), 3), build(config(), 3), build(config(), 4)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(one.embed.weight, same.embed.weight)
    assert not torch.equal(one.embed.weight, other.embed.weight)
