r"""Measured on any trained denoiser: T1–T4, with standard errors (THEORY, 6).

**Protocol.** A denoiser is a callable `x_hat = f(x, gamma, *, reference, memory, action)`:

- `x` `(B, w, ...)` noisy window, frame j being
  $\sqrt{\gamma_j/(1+\gamma_j)}\,x^0_j + \sqrt{1/(1+\gamma_j)}\,\xi_j$; frames are vectors `(d,)`,
  pictures `(C, H, W)`, or any other shape; `gamma` `(B, w)` signal-to-noise ratios;
- `reference` `(B, r, ...)` the finished frames just before the window, oldest first, and `memory`
  `(B, m, ...)` those before; `None` if there are none. Finished frames are at level δ;
- `action` `(B, m + r + w, A)` of memory, reference and window in time order, or `None`;
- `reference_gamma` `(B, r)` is passed too if, and only if, the schedule has context noise: the
  level at which the references are (`noise`) or are said to be (`label`);
- a denoiser that must know where in the video its window stands, because the video is not
  stationary and the action does not tell, has a true attribute `positional` and a method
  `at_frame(first)`, which returns the denoiser for windows with `first` frames before them.

NumPy in, NumPy out (in float64; bytes are scaled to [-1, 1]); torch tensors in, tensors out, in the
clips' own type. Networks that predict something else (noise, v, score, EDM, flow) become denoisers
through the `from_...` adapters.

**Teacher forcing.** At AR step k the window's frames come from a real clip, noised to the levels of
the schedule, and so do the frames in front of it. Sampling noise of clips, of levels and of the
frames' noise all end up in one standard error, clustered by clip: clips are the independent things.

| estimator | estimates | function |
|---|---|---|
| T1 | SEE + DE + MB + a constant, per finished frame | `denoising_loss`, `least_loss` |
| SEE | against a known truth | `score_error`, `ExactDenoiser` |
| T2 | MB + SEE(without the past) − SEE(with it) | `memory_bottleneck_estimate` |
| T3 | success of a stated rule by age of the view; M5 | `retrieval`, `published_rate_bound` |
| T4 | PSNR per frame and span, its decay | `psnr_decay` |
| | Fréchet distance on named features | `frechet_distance`, `fvd` |
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np
import scipy.linalg
from array_api_compat import array_namespace, is_torch_array

from arvdm_theory import noise
from arvdm_theory._adapters import (
    Adapter,
    from_diffusers,
    from_edm,
    from_epsilon,
    from_flow,
    from_score,
    from_torch,
    from_v,
)
from arvdm_theory._estimates import (
    Estimate,
    NeedleBound,
    Proportion,
    clopper_pearson,
    needle_bound,
    over_seeds,
    published_rate_bound,
)
from arvdm_theory._fidelity import (
    EVENTS,
    FEATURES,
    RULES,
    FrechetDistance,
    PsnrDecay,
    Retrieval,
    SpanRetrieval,
    frame_scores,
    frechet_distance,
    fvd,
    gaussian_frechet_distance,
    psnr_decay,
    retrieval,
)
from arvdm_theory._gaussian import log_det, symmetrise
from arvdm_theory._teacher_forcing import (
    LEVEL_RULES,
    Batch,
    DenoiserFunction,
    Teacher,
    TeacherForcing,
    View,
    WeightedError,
    no_gradients,
    to_numpy,
)
from arvdm_theory.checks import positive_integer
from arvdm_theory.decomposition import discretisation_error
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

__all__ = [
    # results
    "Estimate",
    "FrechetDistance",
    "LeastLoss",
    "NeedleBound",
    "Proportion",
    "PsnrDecay",
    "Retrieval",
    "SpanRetrieval",
    "WeightedError",
    "over_seeds",
    # T1, T2 and SEE
    "LEVEL_RULES",
    "denoising_loss",
    "least_loss",
    "memory_bottleneck_estimate",
    "score_error",
    # denoisers
    "Adapter",
    "DenoiserFunction",
    "ExactDenoiser",
    "exact_denoiser",
    "from_diffusers",
    "from_edm",
    "from_epsilon",
    "from_flow",
    "from_score",
    "from_torch",
    "from_v",
    # T3, T4 and Fréchet
    "EVENTS",
    "FEATURES",
    "RULES",
    "clopper_pearson",
    "frame_scores",
    "frechet_distance",
    "fvd",
    "gaussian_frechet_distance",
    "needle_bound",
    "psnr_decay",
    "published_rate_bound",
    "retrieval",
]

Array = Any

# --- T1, SEE, T2 ----------------------------------------------------------------------------------


def denoising_loss(
    denoiser: DenoiserFunction,
    schedule: Schedule,
    clips: Array,
    *,
    reference: int = 0,
    memory: int | None = 0,
    rule: str = "sub_steps",
    **forcing: Unpack[TeacherForcing],
) -> WeightedError:
    r"""T1: the γ-weighted denoising loss of Theorem C on held-out real video, teacher forced.

    $$\tfrac12\sum_{k=1}^{K}\sum_n\sum_j(\gamma_{j,n+1}-\gamma_{j,n})\,E\|X^0_j-\hat x_j\|^2
      = \sum_k(SEE_k+DE_k+MB_k) + \sum_k I(X^0;Output_k\mid Input_k,Past_k)$$

    The last sum does not depend on the network, but for real video it is unknown: compare networks
    or schedules with `WeightedError.difference` (per finished frame, paired by clip). The absolute
    value is a KL term only where `least_loss` is known.

    Arguments
    ---------
    denoiser: see the protocol. schedule: D1.
    clips: `(n, T, ...)` held-out clips, clean, n ≥ 2 independent ones. Bytes are scaled to [-1, 1].
    reference: r; memory: at most so many frames before them (`None`: all). As many as exist.
    rule: one of `LEVEL_RULES`; `integral` gives the same without DE.

    and how the clips are shown (`forcing`, the same for T1, T2 and SEE):

    action: `(n, T, A)`, default `None`.
    context: frames of each clip that are given, before the video proper (0); steps: K AR steps
        (default: as many as fit), which finish KΔ frames after the context.
    draws: `None` (the default) evaluates every (AR step, level) of every clip. A number S draws S
        of them a clip, stratified (one uniform number in each of S equal strata of the cumulative
        probability, AR step by AR step) with importance
        $p(k,n)\propto\sum_j\Delta\gamma_{j,n}/(1/v+\gamma_{j,n})$, v the pixels' variance, mixed
        with a tenth of the uniform law; a draw is weighted 1/(S p): unbiased for any S ≥ 1.
    panels: of the quadrature of the rule `integral` (2).
    seed: of the noise (0), which does not depend on `batch`, windows a call (64).
    confidence: of the intervals (.95).

    Returns nats; standard errors are clustered by clip.

    Raises `ParameterError`, `TooLittleDataError`.

    Source: THEORY, 6 (T1) and Theorem C.

    >>> from arvdm_theory import Autoregressive, compare_schedules
    >>> video = Autoregressive([0.8], 0.36)
    >>> schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=4)
    >>> clips = video.sample(400, frames=6, seed=1)
    >>> exact = exact_denoiser(video, schedule)
    >>> loss = denoising_loss(exact, schedule, clips, reference=1, draws=6)
    >>> floor = least_loss(video, schedule, reference=1, steps=3)
    >>> abs(loss.total.z(floor.total)) < 4.0
    True
    """
    teacher = Teacher.of(schedule, clips, rule=rule, **forcing)
    view = View.of(schedule, reference, memory, truth=False)

    def integrand(windows: Batch) -> np.ndarray:
        error = windows.error(windows.call(denoiser, view), windows.clean)
        return np.sum(error**2, axis=-1, keepdims=True)

    with no_gradients(teacher.clips.data):
        sums = teacher.measure(integrand, [view], [denoiser])
    return teacher.result("denoising loss", "T1, Theorem C", sums)


def score_error(
    denoiser: DenoiserFunction,
    truth: DenoiserFunction,
    schedule: Schedule,
    clips: Array,
    *,
    reference: int = 0,
    memory: int | None = 0,
    rule: str = "sub_steps",
    **forcing: Unpack[TeacherForcing],
) -> WeightedError:
    r"""SEE against a known truth: $\tfrac12\sum\Delta\gamma\,E\|\hat x_j - m_j\|^2$ (Theorem A).

    `truth` is m, the best denoiser of what the network is shown, such as `exact_denoiser(...)`; it
    is told the real level of the references (it differs from what the network is told if the
    context noise is `label`). With the rule `integral` it is the SEE of T2. Other arguments,
    returns and raises as in `denoising_loss`; the truth should be exact to far below the SEE.

    >>> from arvdm_theory import Autoregressive, Generator, Scaled, decompose
    >>> video = Autoregressive([0.8], 0.36)
    >>> schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=4)
    >>> exact = exact_denoiser(video, schedule)
    >>> network = lambda x, gamma, **given: 1.1 * exact(x, gamma, **given)
    >>> clips = video.sample(200, frames=6, seed=1)
    >>> see = score_error(network, exact, schedule, clips, reference=1)
    >>> truth = decompose(video, schedule, Generator(Scaled(1.1), reference=1), steps=3).see
    >>> abs(see.total.z(truth)) < 4.0
    True
    """
    teacher = Teacher.of(schedule, clips, rule=rule, **forcing)
    told = View.of(schedule, reference, memory, truth=False)
    real = View.of(schedule, reference, memory, truth=True)

    def integrand(windows: Batch) -> np.ndarray:
        error = windows.error(windows.call(denoiser, told), windows.call(truth, real))
        return np.sum(error**2, axis=-1, keepdims=True)

    with no_gradients(teacher.clips.data):
        sums = teacher.measure(integrand, [told, real], [denoiser, truth])
    return teacher.result("score error", "SEE, Theorem A", sums)


def memory_bottleneck_estimate(
    without: DenoiserFunction,
    with_past: DenoiserFunction,
    schedule: Schedule,
    clips: Array,
    *,
    reference: int = 0,
    memory: int | None = 0,
    past: int | None = None,
    projection: Any = None,
    **forcing: Unpack[TeacherForcing],
) -> WeightedError:
    r"""T2: the memory bottleneck of a trained family, from two denoisers (I-MMSE).

    $$\tfrac12\sum_k\int\sum_j[\,mse_j(\text{without past})-mse_j(\text{with past})\,]\,d\gamma_j
      = MB + SEE(\text{without}) - SEE(\text{with})$$

    each γ_j from γ(t^I_j) to γ(t^O_j), linearly in log γ. Off the optimum it is neither a lower nor
    an upper bound of MB; both SEE are `score_error(..., rule="integral")`, known on Gaussian video.

    Arguments
    ---------
    without: the generator's denoiser; it sees `reference` frames and at most `memory` older ones.
    with_past: sees the same references (clean) and, as memory, all older finished frames, or at
        most `past` of them: then the result estimates I(Output; those frames | Input). One network
        trained with memory masks may be given twice.
    projection: `(d, c)` orthonormal directions of a frame (principal components, say), d its
        numbers flattened; the share of the result along each is returned as `components`. Shares
        along a complete basis add up to the total.

    Other arguments, returns and raises as in `denoising_loss`; `quadrature_error` is the stated
    error of the quadrature. Both denoisers see the same clips and noise, so the standard error is
    that of the paired difference.

    Source: THEORY, 6 (T2); lemma L3.

    >>> from arvdm_theory import Autoregressive, Generator, decompose
    >>> video = Autoregressive([0.2, 0.7], 0.3)
    >>> schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=4)
    >>> exact = exact_denoiser(video, schedule)
    >>> clips = video.sample(200, frames=6, seed=2)
    >>> estimate = memory_bottleneck_estimate(exact, exact, schedule, clips, reference=1, panels=1)
    >>> mb = decompose(video, schedule, Generator(reference=1), steps=3).mb
    >>> abs(estimate.total.z(mb)) < 4.0
    True
    """
    teacher = Teacher.of(schedule, clips, rule="integral", **forcing)
    short = View.of(schedule, reference, memory, truth=False)
    if past is not None:
        positive_integer("past", past, 0)
    long = View(reference, past, schedule.t_min, None)
    basis = None if projection is None else _orthonormal(projection, teacher.clips.data)

    def squares(error: np.ndarray) -> np.ndarray:
        whole = np.sum(error**2, axis=-1, keepdims=True)
        return whole if basis is None else np.concatenate([whole, (error @ basis) ** 2], axis=-1)

    def integrand(windows: Batch) -> np.ndarray:
        forgetful = windows.error(windows.call(without, short), windows.clean)
        return squares(forgetful) - squares(
            windows.error(windows.call(with_past, long), windows.clean)
        )

    with no_gradients(teacher.clips.data):
        sums = teacher.measure(integrand, [short, long], [without, with_past])
    return teacher.result("memory bottleneck + SEE without - SEE with", "T2, MB", sums)


def _orthonormal(projection: Any, clips: Array) -> np.ndarray:
    basis = np.array(projection, dtype=np.float64)
    size = int(np.prod(tuple(clips.shape[2:])))
    if basis.ndim != 2 or basis.shape[0] != size:
        raise ParameterError("projection", f"({size}, directions)", basis.shape)
    if not np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-8):
        raise ParameterError("projection", "orthonormal columns", "columns that are not")
    return basis


# --- Gaussian truth -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class ExactDenoiser:
    r"""$m = E[X^0 \mid X_n, R, m]$ of a Gaussian video, by direct conditioning, as a protocol call.

    With all frames seen (memory, references, window) stacked, covariance C, G their
    signal-to-noise ratios: $m = \mu_w + C_{w\cdot}\sqrt G (I + \sqrt G C\sqrt G)^{-1}
    (\sqrt{1+\gamma}\,y - \sqrt{\gamma}\,\mu)$, which needs no inverse of C. It shares no code with
    the decomposition's window laws.

    Frames are vectors `(B, w, d)`, or pictures `(B, w, C, H, W)` whose d numbers fill `(H, W, C)`
    in row-major order. NumPy or torch (computed in float64, returned in the type of `x`).

    Arguments
    ---------
    video: the law. t_min: δ, OU time of memory, and of references unless `reference_gamma` says
        otherwise (what it says is believed).
    first: frames of the video before the window, set by `at_frame`; only a video that is not
        stationary needs it. `None`: the frames given are all there are.
    """

    video: GaussianVideo
    t_min: float
    first: int | None = None
    _cache: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def positional(self) -> bool:
        """Whether it must be told where its window stands."""
        return not self.video.stationary

    def at_frame(self, first: int) -> ExactDenoiser:
        """The denoiser of windows with `first` frames before them."""
        return replace(self, first=positive_integer("first", first, 0))

    def moments(self, first: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of clean frames `first` + 1 .. `first` + `frames`, stacked."""
        dim, end = self.video.dim, first + frames
        largest = max(self._cache, default=0)
        if largest < end:
            self._cache.clear()
            self._cache[end] = self.video.covariance(end)
            largest = end
        part = slice(first * dim, end * dim)
        return self.video.means(end)[first:].ravel(), self._cache[largest][part, part]

    def __call__(
        self,
        x: Array,
        gamma: Array,
        *,
        reference: Array | None = None,
        memory: Array | None = None,
        action: Array | None = None,
        reference_gamma: Array | None = None,
    ) -> Array:
        """The exact posterior mean of the clean window."""
        size, window = int(x.shape[0]), int(x.shape[1])
        parts, levels = [], []
        clean = float(noise.gamma(self.t_min))
        for name, frames, told in (
            ("memory", memory, None),
            ("reference", reference, reference_gamma),
            ("x", x, gamma),
        ):
            if frames is None:
                continue
            parts.append(self._vectors(name, frames))
            count = int(frames.shape[1])
            levels.append(np.full((size, count), clean) if told is None else to_numpy(told))
        seen, snr = np.concatenate(parts, axis=1), np.concatenate(levels, axis=1)
        count = seen.shape[1]
        before = count - window
        start = before if self.first is None else self.first
        if start < before:
            raise ParameterError("reference", f"at most {start} frames, with memory", before)
        first = 0 if self.video.stationary else start - before
        mean, covariance = self.moments(first, count)
        dim = self.video.dim
        out = np.empty((size, window * dim))
        rows, group = np.unique(snr, axis=0, return_inverse=True)
        for number, row in enumerate(rows):
            mine = np.flatnonzero(group.ravel() == number)
            root = np.sqrt(np.repeat(row, dim))
            whitened = np.sqrt(1.0 + root**2) * seen[mine].reshape(mine.size, -1) - root * mean
            inner = np.eye(root.size) + root[:, None] * covariance * root
            factor = scipy.linalg.cho_factor(inner, lower=True)
            weight = root * scipy.linalg.cho_solve(factor, whitened.T).T
            out[mine] = mean[before * dim :] + weight @ covariance[:, before * dim :]
        return self._like(out.reshape(size, window, dim), x)

    def window_covariance(self, finished: int, window: int, gamma: np.ndarray) -> np.ndarray:
        """Covariance of the window's clean frames, `(w d, w d)`, given the frames before it.

        `finished`: how many there are; `gamma`: signal-to-noise ratios of those that are given,
        the newest ones, oldest first.
        """
        before = gamma.size
        first = 0 if self.video.stationary else finished - before
        _, covariance = self.moments(first, before + window)
        cut = before * self.video.dim
        root = np.sqrt(np.repeat(gamma, self.video.dim))
        inner = np.eye(cut) + root[:, None] * covariance[:cut, :cut] * root
        cross = root[:, None] * covariance[:cut, cut:]
        explained = cross.T @ scipy.linalg.solve(inner, cross, assume_a="pos") if cut else 0.0
        return symmetrise(covariance[cut:, cut:] - explained)

    def _vectors(self, name: str, frames: Array) -> np.ndarray:
        values = to_numpy(frames)
        if values.ndim == 5:
            values = np.moveaxis(values, 2, -1)
        values = values.reshape(values.shape[0], values.shape[1], -1)
        if values.shape[-1] != self.video.dim:
            raise ParameterError(name, f"frames of {self.video.dim} numbers", values.shape[-1])
        return np.asarray(values)

    def _like(self, vectors: np.ndarray, x: Array) -> Array:
        if len(x.shape) == 5:
            size, window, channels, height, width = (int(n) for n in x.shape)
            shaped = vectors.reshape(size, window, height, width, channels)
            vectors = np.moveaxis(shaped, -1, 2)
        else:
            vectors = vectors.reshape(tuple(x.shape))
        if is_torch_array(x):
            xp = array_namespace(x)
            return xp.asarray(np.array(vectors, order="C"), dtype=x.dtype, device=x.device)
        return vectors

    def __repr__(self) -> str:
        return f"ExactDenoiser({self.video!r}, delta={self.t_min:g})"


def exact_denoiser(video: GaussianVideo, schedule: Schedule | float) -> ExactDenoiser:
    """The best denoiser of a Gaussian video, for validation; `schedule` or its δ (OU time).

    >>> from arvdm_theory import StaticLatent
    >>> exact = exact_denoiser(StaticLatent(0.5), 0.05)
    >>> exact(np.ones((1, 1, 1)), np.ones((1, 1))).round(4).tolist()  # 1.5 / (1 + 1.5) * sqrt(2)
    [[[0.8485]]]
    """
    if not isinstance(video, GaussianVideo):
        raise ParameterError("video", "a GaussianVideo", type(video).__name__)
    t_min = schedule.t_min if isinstance(schedule, Schedule) else float(schedule)
    if not t_min > 0.0:
        raise ParameterError("schedule", "a Schedule or delta > 0 (OU time)", schedule)
    return ExactDenoiser(video, t_min)


@dataclass(frozen=True, eq=False, repr=False)
class LeastLoss:
    r"""The denoising loss of the exact denoiser, term by term, in nats (Theorem C).

    `de`, `mb`, `information`: `(K,)`; `information` is $I(X^0;Output_k\mid Input_k,Past_k)$, the
    constant of Theorem C, whatever the network remembers.
    """

    de: np.ndarray
    mb: np.ndarray
    information: np.ndarray
    theorem: str = "T1, Theorem C"
    unit: str = "nats"

    @property
    def by_step(self) -> np.ndarray:
        """Loss of every AR step, `(K,)`."""
        return np.asarray(self.de + self.mb + self.information)

    @property
    def total(self) -> float:
        """T1 of the exact denoiser: T1 of any other exceeds it by exactly its SEE."""
        return float(self.by_step.sum())

    def __repr__(self) -> str:
        return (
            f"LeastLoss({self.total:.6g} nats: de {self.de.sum():.6g}, mb {self.mb.sum():.6g}, "
            f"information {self.information.sum():.6g})"
        )


def least_loss(
    video: GaussianVideo,
    schedule: Schedule,
    *,
    reference: int = 0,
    memory: int | None = 0,
    context: int = 0,
    steps: int,
    rule: str = "sub_steps",
) -> LeastLoss:
    r"""What T1 of the exact denoiser is: SEE = T1 − `least_loss(...).total` on Gaussian video.

    Exact, by direct conditioning of the K windows on what the denoiser is shown (S_R) and on all
    finished frames (S_P), both as in `denoising_loss` with the same arguments:
    DE as in Theorem A (0 for the rule `integral`), MB + information = ½ log det(I + S_R G^O) /
    det(I + S_R G^I), information the same with S_P.

    Source: THEORY, Theorem C and section 5.

    >>> from arvdm_theory import Autoregressive, compare_schedules
    >>> video = Autoregressive([0.8], 0.36)
    >>> schedule = Schedule.fifo(3, t_max=3.0, t_min=0.05, substeps=4)
    >>> [row] = compare_schedules(video, [schedule], frames=5)
    >>> bool(np.isclose(row.loss, least_loss(video, schedule, steps=5).total))
    True
    """
    if rule not in LEVEL_RULES:
        raise ParameterError("rule", f"one of {', '.join(LEVEL_RULES)}", rule)
    view = View.of(schedule, reference, memory, truth=True)
    context = positive_integer("context", context, 0)
    steps = positive_integer("steps", steps)
    exact = exact_denoiser(video, schedule)
    gammas = np.repeat(schedule.gammas, video.dim, axis=1)
    clean = float(noise.gamma(schedule.t_min))
    parts = np.zeros((3, steps))
    for k in range(steps):
        finished = context + k * schedule.stride
        r, m = view.sizes(finished)
        told = np.concatenate([np.full(m, clean), np.full(r, float(noise.gamma(view.level)))])
        shown = exact.window_covariance(finished, schedule.window, told)
        known = exact.window_covariance(finished, schedule.window, np.full(finished, clean))
        if rule == "sub_steps":
            parts[0, k] = float(discretisation_error(shown, gammas))
        parts[2, k] = _information(known, gammas[-1]) - _information(known, gammas[0])
        parts[1, k] = _information(shown, gammas[-1]) - _information(shown, gammas[0]) - parts[2, k]
    return LeastLoss(*parts)


def _information(prior: np.ndarray, gamma: np.ndarray) -> float:
    """I(X⁰; X) = ½ log det(I + S G)."""
    root = np.sqrt(gamma)
    return 0.5 * float(log_det(np.eye(gamma.size) + root[:, None] * prior * root, "I + S G"))
