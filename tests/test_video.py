"""Gaussian videos: every family against its density, written out densely."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory.errors import (
    ArvdmError,
    NotPositiveDefiniteError,
    ParameterError,
    UnstableError,
)
from arvdm_theory.testing import videos
from arvdm_theory.video import (
    FAMILIES,
    Arfima,
    Autoregressive,
    ExplicitCovariance,
    GaussianVideo,
    Panorama,
    Seasonal,
    StateSpace,
    StaticLatent,
)

EPS = np.finfo(float).eps


@settings(max_examples=150)
@given(videos(frames=7))
def test_laws_of_every_family(video: GaussianVideo) -> None:
    """Shapes, symmetry, positivity, consistency of sub-videos, and JSON."""
    dim = video.dim
    full = video.covariance(7)
    assert full.shape == (7 * dim, 7 * dim) and video.means(7).shape == (7, dim)
    assert np.array_equal(full, full.T)
    slack = 200 * EPS * np.linalg.norm(full, 2)
    assert np.linalg.eigvalsh(full)[0] >= -slack * 7 * dim
    np.testing.assert_allclose(video.covariance(4), full[: 4 * dim, : 4 * dim], atol=slack)
    np.testing.assert_allclose(video.means(4), video.means(7)[:4], atol=1e-12)
    if video.stationary:
        blocks = video.autocovariance(3)
        for lag in range(4):
            for k in range(7 - lag):
                rows, columns = (
                    slice((k + lag) * dim, (k + lag + 1) * dim),
                    slice(k * dim, k * dim + dim),
                )
                np.testing.assert_allclose(full[rows, columns], blocks[lag], atol=50 * slack)
    back = GaussianVideo.from_json(json.loads(json.dumps(video.to_json())))
    assert back.key == video.key
    np.testing.assert_array_equal(back.covariance(7), full)


@settings(max_examples=60)
@given(videos(frames=6))
def test_state_space_form_has_the_same_law(video: GaussianVideo) -> None:
    model = video.markov(6)
    if model is None:
        return
    # the joint law built naively: every state as a map of all independent noises
    size = model.initial_mean.size
    state = np.eye(size)
    variance = model.initial_covariance
    columns, blocks = [state], [variance]
    frames, means = [], []
    mean = model.initial_mean
    for i in range(6):
        emission = model.at("emission", i)
        frames.append([emission @ column for column in columns])
        means.append(emission @ mean)
        move = model.at("transition", i) if i < 5 else np.eye(size)
        columns = [move @ column for column in columns] + [np.eye(size)]
        blocks.append(model.at("process", i) if i < 5 else np.zeros((size, size)))
        mean = move @ mean
    joint = np.zeros((6, video.dim, 6, video.dim))
    for i in range(6):
        for k in range(6):
            for a, b, block in zip(frames[i], frames[k], blocks, strict=False):
                joint[i, :, k, :] += a @ block @ b.T
        joint[i, :, i, :] += model.at("noise", i)
    joint = joint.reshape(6 * video.dim, -1)
    scale = np.linalg.norm(joint, 2)
    np.testing.assert_allclose(joint, video.covariance(6), atol=1e-11 * max(scale, 1.0))


@settings(max_examples=25, deadline=None)
@given(videos(frames=4, dim=2), st.integers(0, 10_000))
def test_samples_have_the_law(video: GaussianVideo, seed: int) -> None:
    """Mean and covariance of 4,000 samples within 6 of their own standard errors."""
    size = 4000
    drawn = video.sample(size, frames=4, seed=seed).reshape(size, -1)
    mean, covariance = video.means(4).ravel(), video.covariance(4)
    variance = np.diag(covariance)
    z = (drawn.mean(axis=0) - mean) / np.sqrt(variance / size + 1e-300)
    assert np.abs(z[variance > 1e-12]).max(initial=0.0) < 6.0
    centred = drawn - mean
    error = centred.T @ centred / size - covariance
    spread = np.sqrt((np.outer(variance, variance) + covariance**2) / size)
    assert np.all(np.abs(error) <= 6.0 * spread + 1e-12)
    again = video.sample(size, frames=4, seed=seed).reshape(size, -1)
    assert np.array_equal(drawn, again)


def test_autoregressive_solves_yule_walker() -> None:
    blocks = [np.array([[0.4, 0.3], [-0.2, 0.5]]), np.array([[0.1, 0.0], [0.2, -0.3]])]
    sigma = np.array([[1.0, 0.3], [0.3, 0.5]])
    acf = Autoregressive(blocks, sigma).autocovariance(3)
    # Gamma_0 = A1 Gamma_1' + A2 Gamma_2' + Sigma; Gamma_h = A1 Gamma_{h-1} + A2 Gamma_{h-2}
    np.testing.assert_allclose(acf[0], blocks[0] @ acf[1].T + blocks[1] @ acf[2].T + sigma, 1e-12)
    np.testing.assert_allclose(acf[1], blocks[0] @ acf[0] + blocks[1] @ acf[1].T, atol=1e-13)
    np.testing.assert_allclose(acf[3], blocks[0] @ acf[2] + blocks[1] @ acf[1], atol=1e-13)


def test_unstable_chain_with_a_given_start_is_legitimate() -> None:
    video = Autoregressive([1.01], 1.0, initial={"mean": [0.5], "covariance": [[2.0]]}, mean=0.1)
    variance, mean = 2.0, 0.5
    for k in range(5):
        assert video.covariance(5)[k, k] == pytest.approx(variance, rel=1e-13)
        assert video.means(5)[k, 0] == pytest.approx(mean, rel=1e-13)
        variance, mean = 1.01**2 * variance + 1.0, 0.1 + 1.01 * (mean - 0.1)


def test_a_start_that_is_the_stationary_law_changes_nothing() -> None:
    free = Autoregressive([0.5, 0.3], 0.4)
    start = {"mean": [0.0, 0.0], "covariance": free.covariance(2)}
    held = Autoregressive([0.5, 0.3], 0.4, initial=start)
    np.testing.assert_allclose(held.covariance(6), free.covariance(6), rtol=1e-12)


def test_arfima_partial_autocorrelations() -> None:
    # R5: phi_jj = D / (j - D)
    memory = 0.3
    acf = Arfima(memory).autocovariance(12).ravel()
    for j in range(1, 13):
        toeplitz = acf[np.abs(np.arange(j)[:, None] - np.arange(j))]
        last = np.linalg.solve(toeplitz, acf[1 : j + 1])[-1]
        assert last == pytest.approx(memory / (j - memory), rel=1e-9)


def test_seasonal_autocovariance_is_a_damped_cosine() -> None:
    lag = np.arange(9)
    acf = Seasonal(period=5.5, persistence=0.8, variance=2.0, noise_variance=0.3).autocovariance(8)
    expected = 2.0 * 0.8**lag * np.cos(2 * np.pi * lag / 5.5) + 0.3 * (lag == 0)
    np.testing.assert_allclose(acf.ravel(), expected, atol=1e-13)


def test_panorama_views_return_exactly() -> None:
    video = Panorama([0, 3, 0.5, 0], dim=2, correlation_length=1.5, landscape_length=7)
    full = video.covariance(4)
    np.testing.assert_allclose(full[:2, 6:], full[:2, :2], atol=1e-15)
    distance = np.array([[0, 1], [1, 0]])
    np.testing.assert_allclose(full[:2, :2], np.exp(-distance / 1.5), atol=1e-15)
    # around the circle, site 0 and site 4 are 3 apart
    assert full[0, 3] == pytest.approx(np.exp(-3 / 1.5))
    half = 0.5 * (full[0, 0] + full[0, 1])
    assert full[0, 4] == pytest.approx(half)


def test_static_latent_and_state_space_agree() -> None:
    still = StaticLatent(noise_variance=0.5, dim=2)
    same = StateSpace(
        np.eye(2), np.eye(2), 0.0, 0.5, initial={"mean": [0, 0], "covariance": np.eye(2)}
    )
    np.testing.assert_allclose(still.covariance(4), same.covariance(4), atol=1e-15)


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: Autoregressive([1.0], 1.0), UnstableError, "stable chain"),
        (lambda: Autoregressive([0.5], -1.0), ParameterError, "noise_variance must be at least 0"),
        (lambda: Autoregressive([], 1.0), ParameterError, "at least one coefficient"),
        (lambda: Autoregressive([float("nan")], 1.0), ParameterError, "finite"),
        (lambda: Autoregressive([np.eye(2)], 1.0, dim=3), ParameterError, r"of shape \(3, 3\)"),
        (lambda: Autoregressive(0.5, 1.0), ParameterError, "a list"),
        (
            lambda: ExplicitCovariance([[1.0, 2.0], [2.0, 1.0]]),
            NotPositiveDefiniteError,
            "positive semi-definite, got smallest eigenvalue -1",
        ),
        (
            lambda: ExplicitCovariance([[1.0, 0.2], [0.1, 1.0]]),
            NotPositiveDefiniteError,
            "matrix must be symmetric",
        ),
        (lambda: ExplicitCovariance(np.eye(3), dim=2), ParameterError, "that dim"),
        (lambda: ExplicitCovariance(np.eye(2), mean=[1, 2, 3]), ParameterError, "mean must be"),
        (lambda: ExplicitCovariance([[1.0, 0.5]]), ParameterError, "square"),
        (lambda: ExplicitCovariance([[1.0], [0.5, 1.0]]), ParameterError, "rectangular"),
        (lambda: Arfima(0.5), ParameterError, r"memory must be in \(-1/2, 1/2\)"),
        (lambda: Seasonal(4.0, 1.0), ParameterError, r"persistence must be in \(0, 1\)"),
        (lambda: StateSpace([[1.1]], [[1.0]], 1.0), UnstableError, "stable chain"),
        (lambda: StateSpace([[0.5]], [[1.0, 0.0]], 1.0), ParameterError, "emission must be of"),
        (lambda: Panorama([]), ParameterError, "positions must be"),
        (lambda: StaticLatent(0.5, dim=0), ParameterError, "dim must be an integer"),
        (lambda: Panorama([0, 1]).covariance(3), ParameterError, "at most the video's length"),
        (
            lambda: Autoregressive([1.2], 1.0, initial={"covariance": [[1.0]], "men": [0]}),
            ParameterError,
            "initial must be",
        ),
    ],
)
def test_bad_input_gets_its_own_refusal(build, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        build()


def test_tensors_are_refused_by_name() -> None:
    import torch

    with pytest.raises(ParameterError, match="noise_variance must be a NumPy array"):
        StaticLatent(torch.tensor(0.5))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"family": "waves"}, "video.family must be one of"),
        ({"family": "arfima"}, "video.memory must be given"),
        ({"family": "arfima", "memory": 0.1, "men": 0.0}, "video.men must be one of the keys"),
    ],
)
def test_specifications_name_the_key(spec: dict, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        GaussianVideo.from_json(spec)


def test_descriptions_are_read_only_copies() -> None:
    given_matrix = np.eye(2)
    video = ExplicitCovariance(given_matrix)
    given_matrix[0, 0] = 7.0
    assert video.matrix[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        video.matrix[0, 0] = 2.0


def test_error_base_class_is_value_error() -> None:
    assert issubclass(ArvdmError, ValueError)
    assert len(FAMILIES) == 7
