"""Closed forms, limits and relations of the decomposition that have a second derivation."""

from __future__ import annotations

import json

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arvdm_theory import decomposition, noise
from arvdm_theory._gaussian import gaussian_kl, half_excess, posterior_covariance
from arvdm_theory._window_law import window_law
from arvdm_theory.decomposition import compare_schedules, decompose
from arvdm_theory.errors import (
    NotPositiveDefiniteError,
    ParameterError,
    RefusedError,
    UnstableError,
)
from arvdm_theory.generator import (
    Biased,
    Estimated,
    Exact,
    Generator,
    LinearMemory,
    RecursiveMemory,
    Scaled,
    generator_context,
)
from arvdm_theory.schedule import Schedule
from arvdm_theory.specification import Specification
from arvdm_theory.testing import covariances
from arvdm_theory.video import (
    Arfima,
    Autoregressive,
    ExplicitCovariance,
    Panorama,
    Seasonal,
    StaticLatent,
)
from tests import oracle

COMMON = {"t_max": 3.0, "t_min": 0.05, "substeps": 6}
AR2 = Autoregressive([0.5, 0.4], 0.3)


def kl(mean_p, cov_p, mean_q, cov_q) -> float:
    """Textbook formula, for matrices with moderate condition."""
    inverse = np.linalg.inv(cov_q)
    shift = mean_p - mean_q
    sign_p, log_p = np.linalg.slogdet(cov_p)
    sign_q, log_q = np.linalg.slogdet(cov_q)
    assert sign_p == sign_q == 1.0
    return 0.5 * float(
        np.trace(inverse @ cov_p) - len(shift) + log_q - log_p + shift @ inverse @ shift
    )


def noisy(video, frames: int, level: float) -> np.ndarray:
    alpha, sigma = float(noise.alpha(level)), float(noise.sigma(level))
    full = video.covariance(frames)
    return alpha**2 * full + sigma**2 * np.eye(len(full))


def information(cov: np.ndarray, one: slice, other: slice) -> float:
    def log_det(*parts: slice) -> float:
        index = np.concatenate([np.arange(len(cov))[part] for part in parts])
        return np.linalg.slogdet(cov[np.ix_(index, index)])[1]

    return 0.5 * (log_det(one) + log_det(other) - log_det(one, other))


# --- small numerics -------------------------------------------------------------------------------


@given(st.one_of(st.floats(-0.999, 1e6), st.floats(-60.0, 0.0).map(lambda x: 10.0**x)))
def test_half_excess_in_two_hundred_digits(mu: float) -> None:
    assume(mu == 0.0 or abs(mu) > 1e-60)
    with mpmath.workdps(200):
        exact = (mpmath.mpf(mu) - mpmath.log1p(mpmath.mpf(mu))) / 2
        # just above 0.1 the plain difference is used and loses a factor of at most 40
        assert abs(float(half_excess(np.asarray(mu))) - exact) <= 40 * 2.3e-16 * exact


@settings(max_examples=60)
@given(covariances(4, 50.0), covariances(4, 50.0), st.integers(0, 1000))
def test_gaussian_kl_is_the_textbook_formula(p: np.ndarray, q: np.ndarray, seed: int) -> None:
    shift = np.random.default_rng(seed).standard_normal(4)
    expected = kl(shift, p, np.zeros(4), q)
    assert float(gaussian_kl(p, q, p - q, shift)) == pytest.approx(expected, rel=1e-11)


def test_gaussian_kl_keeps_small_values() -> None:
    q = np.array([[2.0, 0.3], [0.3, 1.0]])
    small = 1e-9 * np.array([[1.0, 0.5], [0.5, -2.0]])
    mu = np.linalg.eigvals(np.linalg.solve(q, small)).real
    value = float(gaussian_kl(q + small, q, small, np.zeros(2)))
    assert value == pytest.approx(np.sum(mu**2) / 4.0, rel=1e-8) and value < 1e-17


def test_posterior_covariance_of_a_singular_prior() -> None:
    prior = np.ones((2, 2))  # two views of one scene
    posterior = posterior_covariance(prior, np.array([2.0, 3.0]))
    np.testing.assert_allclose(posterior, np.ones((2, 2)) / (1.0 + 5.0), rtol=1e-14)


# --- Theorem A's terms ----------------------------------------------------------------------------


def four_determinants(given_context, given_past, gamma_in, gamma_out) -> float:
    """MB_k of THEORY, section 5, as printed there."""

    def log_det(cov, gamma):
        return np.linalg.slogdet(np.eye(len(gamma)) + cov * gamma)[1]

    return 0.5 * (
        log_det(given_context, gamma_out)
        + log_det(given_past, gamma_in)
        - log_det(given_context, gamma_in)
        - log_det(given_past, gamma_out)
    )


@pytest.mark.parametrize("method", ["fifo", "outpainting", "chunk"])
def test_terms_are_the_printed_closed_forms(method: str) -> None:
    schedule = {
        "fifo": Schedule.fifo(4, **COMMON),
        "outpainting": Schedule.outpainting(4, 2, **COMMON),
        "chunk": Schedule.chunk(3, **COMMON),
    }[method]
    video = Autoregressive([np.array([[0.7, 0.2], [0.0, 0.5]])], np.eye(2), mean=0.3)
    generator = Generator(reference=1)
    law = window_law(video, schedule, generator_context(schedule, generator, 2), 4)
    result = decompose(video, schedule, generator, steps=4)
    gammas = np.repeat(schedule.gammas, 2, axis=1)
    assert result.de_per_step is not None
    for k in range(4):
        given_context, given_past = law.given_context[k], law.given_past[k]
        expected = four_determinants(given_context, given_past, gammas[0], gammas[-1])
        assert result.mb_per_step[k] == pytest.approx(expected, abs=1e-12)
        loss = 0.0
        for n in range(schedule.substeps):
            posterior = np.linalg.inv(np.linalg.inv(given_context) + np.diag(gammas[n]))
            loss += 0.5 * np.sum((gammas[n + 1] - gammas[n]) * np.diag(posterior))
        gained = (
            np.linalg.slogdet(np.eye(len(given_context)) + given_context * gammas[-1])[1]
            - np.linalg.slogdet(np.eye(len(given_context)) + given_context * gammas[0])[1]
        )
        assert result.de_per_step[k] == pytest.approx(loss - 0.5 * gained, rel=1e-9)


def test_discretisation_error_is_first_order() -> None:
    counts = np.array([32, 64, 128, 256])
    values = []
    for count in counts:
        schedule = Schedule.fifo(3, t_max=3.0, t_min=0.05, substeps=int(count))
        values.append(decompose(AR2, schedule, steps=2).de)
    slope = np.polyfit(np.log(counts), np.log(np.asarray(values, dtype=float)), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("sampler", ["exponential_integrator", "euler_maruyama"])
def test_frozen_samplers_are_first_order_and_path_meets_chain(sampler: str) -> None:
    counts = np.array([64, 128, 256])
    chains, gaps = [], []
    for count in counts:
        schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=int(count))
        result = decompose(AR2, schedule, Generator(sampler=sampler), steps=1)
        assert result.path is not None and result.chain is not None
        chains.append(result.see_plus_de)
        gaps.append(result.path - result.chain)
    slope = np.polyfit(np.log(counts), np.log(np.asarray(chains, dtype=float)), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.1)
    assert min(gaps) > 0.0 and gaps[-1] < gaps[0] / 4.0


def test_path_kl_of_one_frame_is_girsanov_by_fine_quadrature() -> None:
    """One frame of variance s: E∫‖score − frozen score‖² dτ, written out."""
    variance, t, h = 1.7, 1.2, 0.9
    grid = [[t], [t - h]]
    schedule = Schedule(1, 1, [t], [t - h], grid=grid)
    generator = Generator(sampler="exponential_integrator")
    result = decompose(ExplicitCovariance([[variance]]), schedule, generator, steps=1)
    nodes = np.linspace(0.0, 1.0, 20001)
    tau = t - nodes * h
    total = np.exp(-2 * tau) * variance + 1 - np.exp(-2 * tau)
    start = total[0]
    across = np.exp(-(t - tau)) * total  # Cov(x_tau, x_t)
    squared = 1.0 / total - 2.0 * across / (total * start) + 1.0 / start
    expected = h * np.trapezoid(squared, nodes)
    assert result.path is not None
    assert result.path - result.nie == pytest.approx(expected, rel=1e-7)


def test_optimal_variance_has_no_discretisation_error_but_its_diagonal_has() -> None:
    schedule = Schedule.outpainting(4, 2, **COMMON)
    full = decompose(AR2, schedule, Generator(sampler="optimal_variance"), steps=3)
    diagonal = decompose(AR2, schedule, Generator(sampler="optimal_variance_diagonal"), steps=3)
    ancestral = decompose(AR2, schedule, steps=3)
    assert full.de == 0.0 and full.see == 0.0
    assert diagonal.de is not None and ancestral.de is not None
    assert 0.0 < diagonal.de < ancestral.de


def test_scaled_denoiser_has_the_elementary_score_error() -> None:
    # one white frame of variance 1: m = e^{-t} x, E m² = e^{-2t}, SEE = ½ Σ Δγ (c − 1)² e^{-2t}
    schedule = Schedule.next_frame(**COMMON)
    result = decompose(ExplicitCovariance([[1.0]]), schedule, Generator(Scaled(1.03)), steps=1)
    gammas, alpha = schedule.gammas[:, 0], np.exp(-schedule.grid[:-1, 0])
    assert result.see == pytest.approx(0.5 * np.sum(np.diff(gammas) * 0.03**2 * alpha**2), 1e-12)


def test_bias_costs_half_its_square_times_the_gained_signal_to_noise() -> None:
    schedule = Schedule.fifo(4, **COMMON)
    result = decompose(AR2, schedule, Generator(Biased(0.1)), steps=3)
    gained = float(noise.gamma(0.05) - noise.gamma(3.0))
    assert result.see == pytest.approx(3 * 0.5 * 0.01 * gained, rel=1e-12)


def test_label_costs_score_error_and_noise_costs_memory() -> None:
    clean = Schedule.chunk(2, **COMMON)
    label = Schedule.chunk(2, **COMMON, context_noise="label", context_level=0.3)
    renoised = Schedule.chunk(2, **COMMON, context_noise="noise", context_level=0.3)
    generator = Generator(reference=2)
    results = [decompose(AR2, s, generator, steps=4) for s in (clean, label, renoised)]
    assert results[0].see == 0.0 and results[1].see is not None and results[1].see > 0.01
    assert results[1].mb == results[0].mb
    assert results[2].see == 0.0 and results[2].mb > results[0].mb  # M6


def test_what_renoising_adds_to_theorem_b_is_a_mutual_information() -> None:
    """M6: I(R_k; Output_k | R̃_k, In_k) of the joint law, for r = 3 > stride = 2, at step 3."""
    delta, level, start = 0.05, 0.3, 3.0
    schedule = Schedule.chunk(2, **COMMON, context_noise="noise", context_level=level)
    result = decompose(AR2, schedule, Generator(reference=3), steps=3)
    assert result.renoising_per_step is not None
    clean = AR2.covariance(6)
    frames, kinds = [], []  # R, R̃, Input and Output as (frame, level, own noise)
    for frame in (1, 2, 3):
        frames += [(frame, delta), (frame, level)]
        kinds += ["R", "renoised"]
    for frame in (4, 5):
        frames += [(frame, start), (frame, delta)]
        kinds += ["in", "out"]
    joint = np.empty((len(frames), len(frames)))
    for i, (f, t) in enumerate(frames):
        for j, (g, s) in enumerate(frames):
            joint[i, j] = np.exp(-t - s) * clean[f, g]
            if f == g:  # one OU path a frame: the re-noised copy lies on it after delta
                joint[i, j] += np.exp(-abs(t - s)) * (1 - np.exp(-2 * min(t, s)))

    def log_det(*names: str) -> float:
        index = [i for i, kind in enumerate(kinds) if kind in names]
        return float(np.linalg.slogdet(joint[np.ix_(index, index)])[1])

    seen = ("renoised", "in")
    expected = 0.5 * (
        log_det("R", *seen) + log_det("out", *seen) - log_det("R", "out", *seen) - log_det(*seen)
    )
    assert result.renoising_per_step[2] == pytest.approx(expected, rel=1e-9)


def test_first_step_has_no_past_and_markov_video_needs_one_frame() -> None:
    # at a level delta that is nearly clean an AR(1) frame screens off the past
    video = Autoregressive([0.9], 0.19)
    fine = {"t_max": 6.0, "t_min": 1e-6, "substeps": 4}
    result = decompose(video, Schedule.next_frame(**fine), Generator(reference=1), steps=6)
    assert result.mb_per_step[0] == 0.0
    assert result.mb < 1e-4
    blind = decompose(video, Schedule.next_frame(**fine), steps=6)
    assert blind.mb > 1.0


# --- M4, M7 and R5 through the whole pipeline -----------------------------------------------------


def markov_projection(cov: np.ndarray, dim: int, block: int, order: int) -> np.ndarray:
    """Covariance of the order-r Markov projection of a centred law, block by block."""
    out = np.zeros_like(cov)
    size = block * dim
    for start in range(0, len(cov), size):
        rows = slice(start, start + size)
        seen = slice(max(start - order * dim, 0), start)
        if seen.stop == seen.start:
            out[rows, rows] = cov[rows, rows]
            continue
        gain = np.linalg.solve(cov[seen, seen], cov[seen, rows]).T
        own = cov[rows, rows] - gain @ cov[seen, rows]
        out[rows, :start] = gain @ out[seen, :start]
        out[:start, rows] = out[rows, :start].T
        out[rows, rows] = gain @ out[seen, seen] @ gain.T + own
    return out


@pytest.mark.parametrize(("order", "block"), [(1, 2), (2, 2), (3, 1)])
def test_metric_blindness(order: int, block: int) -> None:
    """M7: aligned clips of an order-r Markov projection are exact, its KL is Σ I(X_B; Past|R)."""
    frames, level = 8, 0.05
    cov = noisy(AR2, frames, level)
    projected = markov_projection(cov, 1, block, order)
    zero = np.zeros(frames)
    total = kl(zero, cov, zero, projected)
    lost = 0.0
    for start in range(block, frames, block):
        seen = slice(max(start - order, 0), start)
        old = slice(0, seen.start)
        if old.stop == 0:
            continue
        both = information(cov, slice(start, start + block), slice(0, start))
        lost += both - information(cov, slice(start, start + block), seen)
    assert total == pytest.approx(lost, rel=1e-10)
    for start in range(order, frames - block + 1, block):
        clip = slice(start - order, start + block)
        if start % block == 0:  # aligned: r predecessors and one whole block
            np.testing.assert_allclose(projected[clip, clip], cov[clip, clip], atol=1e-13)
    for start in range(frames - order):  # any r + 1 consecutive frames
        clip = slice(start, start + order + 1)
        np.testing.assert_allclose(projected[clip, clip], cov[clip, clip], atol=1e-13)


def test_metric_blindness_negative_control() -> None:
    """M7: an unaligned window of r + |B| frames does see the difference."""
    cov = noisy(AR2, 8, 0.05)
    projected = markov_projection(cov, 1, 2, 1)
    gaps = []
    for start in range(6):
        clip = slice(start, start + 3)
        gaps.append(kl(np.zeros(3), cov[clip, clip], np.zeros(3), projected[clip, clip]))
    # zero-based starts 1, 3, 5 are one predecessor and a whole block
    assert max(abs(gap) for gap in gaps[1::2]) < 1e-12
    assert min(gaps[2::2]) > 1e-3


@pytest.mark.parametrize("video", [AR2, Seasonal(5.0, 0.9, dim=2), Arfima(0.35)])
def test_generator_is_the_markov_projection_in_the_limit(video) -> None:
    """M4 and M7: exact one-step sampling generates the projection; output KL = Σ I(X_B; Past|R)."""
    schedule = Schedule.chunk(2, t_max=18.0, t_min=0.05, substeps=1)
    generator = Generator(sampler="optimal_variance", reference=1)
    result = decompose(video, schedule, generator, steps=4)
    cov = noisy(video, 8, 0.05)
    projected = markov_projection(cov, video.dim, 2, 1)
    zero = np.zeros(len(cov))
    assert result.output == pytest.approx(kl(zero, cov, zero, projected), rel=1e-9)
    # M4: the MB terms and the fresh noise's share are all of it
    assert result.chain is not None
    assert result.output <= result.chain + 1e-12
    assert result.chain - result.output == pytest.approx(0.0, abs=1e-9)


def test_window_memory_of_a_noisy_autoregression() -> None:
    """R5: AR(1) 0.9 at delta = .05 with one reference has MB_1 = .0235 (MB + fresh noise)."""
    video = Autoregressive([0.9], 0.19)
    schedule = Schedule.next_frame(t_max=18.0, t_min=0.05, substeps=2)
    result = decompose(video, schedule, Generator(reference=1), steps=60)
    assert result.mb_per_step[-1] == pytest.approx(0.0235, abs=5e-5)


def test_static_latent_trade_off_formula() -> None:
    """E5: MB_r = ½ log[(1 + 1/(r+s)) / (1 + 1/(k−1+s))] for frames at level delta."""
    still = StaticLatent(noise_variance=0.5)
    schedule = Schedule.next_frame(t_max=18.0, t_min=0.05, substeps=2)
    alpha = np.exp(-0.05)
    s = 0.5 + (1 - alpha**2) / alpha**2  # noise variance of a frame at delta, in signal units
    for r in (0, 1, 3):
        result = decompose(still, schedule, Generator(reference=r), steps=8)
        for k in range(r + 1, 9):
            expected = 0.5 * np.log((1 + 1 / (r + s)) / (1 + 1 / (k - 1 + s)))
            assert result.mb_per_step[k - 1] == pytest.approx(expected, abs=1e-12)


def test_returning_views_are_what_a_panorama_forgets() -> None:
    path = [0, 3, 6, 9, 6, 3, 0]
    video = Panorama(path, dim=2, correlation_length=0.2)
    schedule = Schedule.next_frame(**COMMON)
    forgetful = decompose(video, schedule, steps=7).mb_per_step
    assert forgetful[:4].max() < 1e-4 and forgetful[4:].min() > 0.5
    remembering = decompose(video, schedule, Generator(reference=6), steps=7).mb_per_step
    assert remembering.max() < 1e-12


def test_a_sufficient_recursive_memory_forgets_nothing() -> None:
    """The running mean is sufficient for a static latent."""
    still = StaticLatent(noise_variance=0.5)
    memory = RecursiveMemory([[1.0]], [[1.0]])
    schedule = Schedule.outpainting(4, 2, **COMMON)
    kept = decompose(still, schedule, Generator(memory=memory), steps=5)
    lost = decompose(still, schedule, steps=5)
    assert kept.mb < 1e-20 < 1e-3 < lost.mb
    linear = LinearMemory(np.ones((20, 1, 1)))
    same = decompose(still, schedule, Generator(memory=linear), steps=5)
    assert same.chain == pytest.approx(kept.chain, rel=1e-12)
    assert same.theorem_b is None and "reaches farther back" in same.refused["theorem_b"]
    assert "B" not in same.theorems
    # two lags are frames that the step itself finished: Theorem B holds
    short = decompose(still, schedule, Generator(memory=LinearMemory(np.ones((2, 1, 1)))), steps=5)
    assert short.theorem_b is not None and short.clip is not None
    assert short.clip <= short.theorem_b


# --- estimation, length, units, refusals ----------------------------------------------------------


def test_estimated_denoiser_improves_with_data_at_the_parametric_rate() -> None:
    schedule = Schedule.chunk(2, **COMMON)
    counts = np.array([200, 800, 3200])
    expected = []
    for count in counts:
        generator = Generator(Estimated(int(count), seed=1, trials=24), reference=1)
        result = decompose(AR2, schedule, generator, steps=2)
        assert result.expected_see is not None
        mean, error, trials = result.expected_see
        assert trials == 24 and 0.0 < error < 0.35 * mean
        expected.append(mean)
    slope = np.polyfit(np.log(counts), np.log(expected), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.25)


def test_surplus_frames_are_reported_and_left_out_of_the_output() -> None:
    schedule = Schedule.chunk(4, **COMMON)
    cut = decompose(AR2, schedule, frames=10)
    full = decompose(AR2, schedule, steps=3)
    assert cut.roll_out.surplus == 2 and cut.chain == full.chain
    assert 0.0 < cut.output < full.output
    assert cut.to_json()["surplus_frames"] == 2
    assert decompose(AR2, schedule, frames=1).roll_out.generated == 4


def test_bits_are_nats_over_log_two() -> None:
    result = decompose(AR2, Schedule.fifo(3, **COMMON), steps=3)
    nats, bits = result.to_json(), result.to_json("bits")
    assert bits["chain"] == pytest.approx(nats["chain"] / np.log(2.0), rel=1e-15)
    assert bits["mb_per_step"][2] == pytest.approx(nats["mb_per_step"][2] / np.log(2.0))
    with pytest.raises(ParameterError, match="unit must be one of nats, bits, got hartleys"):
        result.to_json("hartleys")


def test_result_says_what_it_is_and_exports() -> None:
    result = decompose(AR2, Schedule.fifo(3, **COMMON), steps=3)
    assert repr(result).startswith("Decomposition(fifo, K=3, nats: output ")
    json.dumps(result.to_json(), allow_nan=False)
    frame = result.to_frame()
    assert frame["mb"].sum() == pytest.approx(result.mb) and len(frame) == 3
    assert "2503.10704" in result.citation()


def test_what_does_not_exist_is_refused_with_its_reason() -> None:
    schedule = Schedule.chunk(2, **COMMON)
    result = decompose(AR2, schedule, Generator(sampler="ddim"), steps=2)
    assert result.chain is None and result.see is None and result.bound is None
    assert "deterministic" in result.refused["chain"] and result.output > 0.0
    with pytest.raises(RefusedError, match="Theorem C holds for the ancestral sampler"):
        compare_schedules(AR2, [schedule], Generator(sampler="ddim"), frames=4)


def test_a_video_that_is_too_short_is_refused() -> None:
    video = ExplicitCovariance(np.eye(5))
    with pytest.raises(ParameterError, match="which need 6 frames"):
        decompose(video, Schedule.chunk(2, **COMMON), steps=3)
    assert decompose(video, Schedule.chunk(2, **COMMON), steps=2).output >= 0.0


@pytest.mark.parametrize(("t_max", "substeps"), [(10.0, 1), (15.0, 2), (18.0, 2), (20.0, 1)])
def test_output_kl_of_a_sampler_that_explodes(t_max: float, substeps: int) -> None:
    """Q far wider than P: the ratio of variances is below rounding, the KL is not lost."""
    schedule = Schedule.next_frame(t_max=t_max, t_min=0.05, substeps=substeps)
    generator = Generator(sampler="exponential_integrator")
    result = decompose(AR2, schedule, generator, steps=2)
    truth = oracle.evaluate(Specification(AR2, schedule, generator, 2, None).to_json(), 30)
    assert result.output == pytest.approx(float(truth["output"]), rel=1e-11)
    assert result.chain == pytest.approx(float(truth["chain"]), rel=1e-11)


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
@pytest.mark.parametrize("sampler", ["exponential_integrator", "euler_maruyama"])
def test_path_kl_is_above_the_chain_kl_where_its_integrand_is_sharp(
    sampler: str, delta: float
) -> None:
    schedule = Schedule.next_frame(t_max=1.0, t_min=delta, substeps=1)
    video = ExplicitCovariance([[1e-4]])
    result = decompose(video, schedule, Generator(sampler=sampler), steps=1)
    assert result.path is not None and result.chain is not None
    assert result.path > result.chain
    assert result.error_bound["path"] < 1e-8


@pytest.mark.parametrize("weight", [1e-6, 1e-12, 1e-14])
def test_a_memory_nearly_redundant_with_the_references(weight: float) -> None:
    """However faint, a noiseless share of an older frame is that frame."""
    schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=3)
    faint = LinearMemory([[[1.0]], [[weight]]])
    plain = LinearMemory([[[1.0]], [[0.5]]])
    one = decompose(AR2, schedule, Generator(reference=1, memory=faint), steps=3)
    other = decompose(AR2, schedule, Generator(reference=1, memory=plain), steps=3)
    assert one.chain == pytest.approx(other.chain, rel=1e-9)
    recursive = RecursiveMemory([[weight]], [[1.0]])
    third = decompose(AR2, schedule, Generator(reference=1, memory=recursive), steps=2)
    fourth = decompose(AR2, schedule, Generator(reference=1, memory=plain), steps=2)
    assert third.mb == pytest.approx(fourth.mb, rel=1e-9)


@pytest.mark.parametrize("faint", [1e-9, 4e-13, 1e-14])
def test_a_recursive_memory_with_a_faint_direction(faint: float) -> None:
    """However fast a coordinate forgets, without noise it is a second number about the past."""
    chain = Autoregressive([0.5, 0.2, 0.1, 0.15], 0.3)
    schedule = Schedule.next_frame(t_max=3.0, t_min=1e-2, substeps=2)

    def bottleneck(decay: float) -> float:
        memory = RecursiveMemory(np.diag([0.5, decay]), [[1.0], [0.7]])
        return decompose(chain, schedule, Generator(reference=1, memory=memory), steps=5).mb

    # m_{p-1} of a coordinate that decays at once is the frame before the reference
    assert bottleneck(faint) == pytest.approx(bottleneck(1e-7), rel=1e-4)


@pytest.mark.parametrize("weight", [1e-10, 1e-13, 1e-14])
def test_a_labelled_context_with_a_nearly_redundant_memory(weight: float) -> None:
    chain = Autoregressive([0.5, 0.2, 0.1, 0.15], 0.3)
    schedule = Schedule.next_frame(
        t_max=3.0, t_min=1e-2, substeps=2, context_noise="label", context_level=0.1
    )
    generator = Generator(reference=1, memory=LinearMemory([[[1.0]], [[weight]]]))
    result = decompose(chain, schedule, generator, steps=5)
    truth = oracle.evaluate(Specification(chain, schedule, generator, 5, None).to_json(), 40)
    for name in ("see", "de", "mb", "chain"):
        value = getattr(result, name)
        assert abs(value - float(truth[name])) <= result.error_bound[name]


def test_context_noise_at_delta_is_no_noise() -> None:
    quiet = Schedule.chunk(2, **COMMON, context_noise="noise", context_level=COMMON["t_min"])
    generator = Generator(reference=2, memory=LinearMemory(np.ones((3, 1, 1))))
    one = decompose(AR2, quiet, generator, steps=4)
    other = decompose(AR2, Schedule.chunk(2, **COMMON), generator, steps=4)
    assert one.theorem_b is not None and one.theorem_b == pytest.approx(other.theorem_b)
    padded = Generator(memory=LinearMemory([[[1.0]], [[1.0]], [[0.0]]]))
    assert decompose(AR2, quiet, padded, steps=4).theorem_b is not None


def test_huge_memory_weights_do_not_make_a_memory_vanish() -> None:
    schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=3)
    results = [
        decompose(AR2, schedule, Generator(memory=LinearMemory([[[w]]])), steps=3).mb
        for w in (1.0, 1e200, 1e-160)
    ]
    assert results[1:] == pytest.approx(2 * [results[0]], rel=1e-9)


def test_unstable_chains_keep_what_is_computable_and_refuse_the_rest() -> None:
    start = {"covariance": [[1.0]]}
    schedule = Schedule.next_frame(t_max=3.0, t_min=0.05, substeps=4)
    chain = Autoregressive([3.0], 1.0, initial=start)
    with pytest.raises(NotPositiveDefiniteError):  # as one joint law it is beyond doubles
        decompose(chain, schedule, Generator(reference=1), steps=20, law="dense")
    # frame after frame nothing is ill-conditioned
    result = decompose(chain, schedule, Generator(reference=1), steps=20)
    assert result.output == pytest.approx(24492943800252.562, rel=1e-12)  # in 30 digits
    assert result.mb_per_step[-1] == pytest.approx(result.mb_per_step[-2], rel=1e-6)
    json.dumps(result.to_json(), allow_nan=False)
    mild = decompose(Autoregressive([1.01], 1.0, initial=start), schedule, steps=20)
    assert mild.output is not None and "output" not in mild.unreliable


def test_stationary_covariance_near_a_unit_root() -> None:
    # AR(2) with a double root at 1 - e: gamma_0 in closed form
    for e in (1e-1, 1e-2, 1e-3):
        a, b = 2.0 * (1.0 - e), -((1.0 - e) ** 2)
        video = Autoregressive([a, b], 1.0)
        with mpmath.workdps(40):
            first, second = mpmath.mpf(a), mpmath.mpf(b)
            exact = (1 - second) / ((1 + second) * ((1 - second) ** 2 - first**2))
            gap = float(abs(mpmath.mpf(video.covariance(1)[0, 0]) - exact))
        assert gap <= video.rounding
    with pytest.raises(UnstableError, match="farther from a unit root"):
        Autoregressive(-np.poly([1 - 1e-5] * 3)[1:], 1.0)


def test_values_beyond_double_precision_are_refused() -> None:
    schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=3)
    for video in (
        Autoregressive([0.5], 1.0, mean=1e200),
        ExplicitCovariance(1e200 * np.eye(4)),
    ):
        with pytest.raises(ParameterError, match="within the range of double precision"):
            decompose(video, schedule, steps=2)


def test_law_must_be_known() -> None:
    with pytest.raises(ParameterError, match="law must be one of auto, dense, kalman"):
        decompose(AR2, Schedule.chunk(2, **COMMON), steps=1, law="sparse")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="law must be dense for a video without"):
        decompose(Arfima(0.2), Schedule.chunk(2, **COMMON), steps=1, law="kalman")


def test_long_roll_outs_are_linear_in_memory_of_the_window_law() -> None:
    result = decompose(AR2, Schedule.fifo(4, **COMMON), Generator(reference=2), steps=300)
    # stationary: the last steps repeat
    np.testing.assert_allclose(result.mb_per_step[-1], result.mb_per_step[-50], rtol=1e-9)


# --- the array namespace --------------------------------------------------------------------------


def test_terms_run_on_torch_with_gradients() -> None:
    schedule = Schedule.outpainting(3, 1, **COMMON)
    law = window_law(AR2, schedule, generator_context(schedule, Generator(), 1), 3)
    gammas = schedule.gammas
    past = torch.tensor(law.given_past, requires_grad=True)
    forgotten = torch.tensor(law.forgotten, requires_grad=True)
    low, high = torch.tensor(gammas[0]), torch.tensor(gammas[-1])
    value = decomposition.memory_bottleneck(past, forgotten, low, high)
    expected = decomposition.memory_bottleneck(law.given_past, law.forgotten, gammas[0], gammas[-1])
    np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-12)
    full = torch.tensor(law.given_context, requires_grad=True)
    spread = decomposition.discretisation_error(full, torch.tensor(gammas))
    np.testing.assert_allclose(
        spread.detach().numpy(), decompose(AR2, schedule, steps=3).de_per_step, rtol=1e-12
    )
    spread.sum().backward()
    assert full.grad is not None and bool(torch.isfinite(full.grad).all())
    start = decomposition.noise_initialisation_error(
        past, torch.tensor(law.prediction), torch.tensor(law.mean), low, 3.0, 1
    )
    np.testing.assert_allclose(
        start.detach().numpy(), decompose(AR2, schedule, steps=3).nie_per_step, rtol=1e-12
    )


def test_exact_is_the_default_generator() -> None:
    schedule = Schedule.fifo(3, **COMMON)
    one = decompose(AR2, schedule, steps=2)
    other = decompose(AR2, schedule, Generator(Exact()), steps=2)
    assert one.chain == other.chain
