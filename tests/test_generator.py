"""Generators: their exact law against running the sampler, JSON, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings

from arvdm_theory import noise, testing
from arvdm_theory.errors import ParameterError
from arvdm_theory.generator import (
    SAMPLERS,
    Biased,
    Estimated,
    Exact,
    Generator,
    LinearMemory,
    Misspecified,
    RandomPerturbation,
    RecursiveMemory,
    Scaled,
    generated_law,
    resolve,
    sample,
)
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import Autoregressive, StaticLatent

COMMON = {"t_max": 2.5, "t_min": 0.05, "substeps": 3}
VIDEO = Autoregressive([np.array([[0.6, 0.2], [-0.1, 0.5]])], np.eye(2), mean=[0.5, -1.0])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("schedule", "generator"),
    [
        (Schedule.fifo(3, **COMMON), Generator(RandomPerturbation(0.2, 4), initialisation=2)),
        (
            Schedule.chunk(2, **COMMON, context_noise="noise", context_level=0.3),
            Generator(Scaled(0.9), reference=2, memory=RecursiveMemory([[0.8]], [[0.3, -0.2]])),
        ),
        (
            Schedule.outpainting(3, 1, **COMMON, context_noise="label", context_level=0.2),
            Generator(Biased([0.3, 0.1]), reference=1, memory=LinearMemory(np.ones((2, 1, 2)))),
        ),
    ],
    ids=["fifo", "chunk", "outpainting"],
)
def test_sampling_has_the_exact_law(sampler: str, schedule: Schedule, generator: Generator) -> None:
    """Mean and covariance of 20,000 roll-outs within 5.5 of their own standard errors."""
    size, steps = 20_000, 3
    generator = Generator(
        generator.denoiser, sampler, generator.reference, generator.memory, generator.initialisation
    )
    drawn = sample(VIDEO, schedule, generator, size, steps=steps, seed=1).reshape(size, -1)
    mean, covariance = generated_law(resolve(VIDEO, schedule, generator, steps))
    frames = steps * schedule.stride
    mean = mean + np.exp(-schedule.t_min) * VIDEO.means(frames).ravel()
    variance = np.diag(covariance)
    z_mean = (drawn.mean(axis=0) - mean) / np.sqrt(variance / size)
    centred = drawn - mean
    error = centred.T @ centred / size - covariance
    z_covariance = error / np.sqrt((np.outer(variance, variance) + covariance**2) / size)
    assert np.abs(z_mean).max() < 5.5
    assert np.abs(z_covariance).max() < 5.5
    # negative control: the truth's law is another one
    truth = np.exp(-2 * schedule.t_min) * VIDEO.covariance(frames)
    truth += float(noise.sigma(schedule.t_min)) ** 2 * np.eye(len(truth))
    real_mean = np.exp(-schedule.t_min) * VIDEO.means(frames).ravel()
    z_mean = (drawn.mean(axis=0) - real_mean) / np.sqrt(variance / size)
    spread = np.sqrt((np.outer(variance, variance) + covariance**2) / size)
    z_covariance = (centred.T @ centred / size - truth) / spread
    assert max(np.abs(z_mean).max(), np.abs(z_covariance).max()) > 8.0


def test_sampling_is_seeded_and_cut() -> None:
    schedule = Schedule.chunk(4, **COMMON)
    one = sample(VIDEO, schedule, Generator(), 2, frames=6, seed=3)
    other = sample(VIDEO, schedule, Generator(), 2, frames=6, seed=3)
    whole = sample(VIDEO, schedule, Generator(), 2, frames=8, seed=3)
    assert one.shape == (2, 6, 2)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, whole[:, :6])


@settings(max_examples=60)
@given(testing.generators(dim=2, frames=6))
def test_json_round_trip(generator: Generator) -> None:
    back = Generator.from_json(json.loads(json.dumps(generator.to_json())))
    assert back.key == generator.key


def test_last_frames_is_reference_by_another_name() -> None:
    spec = {"memory": {"kind": "last_frames", "frames": 3}}
    assert Generator.from_json(spec).reference == 3
    assert Generator.from_json({"memory": {"kind": "none"}}).memory is None
    with pytest.raises(ParameterError, match="reference must be 0 if the memory is last_frames"):
        Generator.from_json({**spec, "reference": 2})


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Generator(sampler="heun"), "sampler must be one of ancestral"),
        (lambda: Generator(reference=-1), "reference must be an integer of at least 0"),
        (lambda: Generator(denoiser="exact"), "denoiser must be one of"),
        (lambda: Scaled(float("nan")), "factor must be a finite number"),
        (lambda: Biased([[1.0]]), "bias must be"),
        (lambda: Biased("a"), "bias must be a rectangular array of numbers"),
        (lambda: RandomPerturbation(-0.1), "scale must be a finite number of at least 0"),
        (lambda: Estimated(1), "videos must be an integer of at least 2"),
        (lambda: Misspecified("x"), "video must be a GaussianVideo"),
        (lambda: LinearMemory([[1.0]]), "weights must be a 3-dimensional array"),
        (lambda: RecursiveMemory([[1.0, 0.0]], [[1.0]]), r"transition must be of shape \(1, 1\)"),
        (
            lambda: Generator.from_json({"denoiser": {"kind": "scaled"}}),
            "generator.denoiser.factor must be given",
        ),
        (
            lambda: Generator.from_json({"denoiser": {"kind": "scaled", "fctor": 1}}),
            "generator.denoiser.fctor must be one of the keys",
        ),
        (lambda: Generator.from_json({"sampling": "ddim"}), "generator.sampling must be one of"),
        (
            lambda: Generator.from_json({"initialisation": {}}),
            "generator.initialisation.substeps must be given",
        ),
    ],
)
def test_bad_generators_are_refused_by_name(build, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        build()


@pytest.mark.parametrize(
    ("generator", "text"),
    [
        (Generator(Biased([1.0, 2.0])), "denoiser.bias must be a number or 1 numbers"),
        (Generator(memory=LinearMemory(np.ones((1, 1, 2)))), "memory.weights must be of last size"),
        (Generator(Misspecified(VIDEO)), "denoiser.video.dim must be the video's"),
    ],
)
def test_generators_must_fit_the_video(generator: Generator, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        resolve(StaticLatent(0.5), Schedule.chunk(2, **COMMON), generator, 1)


def test_estimated_with_much_data_approaches_exact() -> None:
    schedule = Schedule.chunk(2, **COMMON)
    truth = resolve(VIDEO, schedule, Generator(Exact()), 2)
    found = resolve(VIDEO, schedule, Generator(Estimated(200_000, seed=2)), 2)
    np.testing.assert_allclose(found.denoiser_at(1).window, truth.denoiser_at(1).window, atol=0.02)
