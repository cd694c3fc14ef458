r"""Gaussian videos from real footage: loading, fitting, and what footage says without a model.

Frames are projected on their principal components, $x_k = B(\text{frame}_k - \text{mean})/s$ with
$B$ orthonormal and *one* scale $s$ for all components, chosen so that a component has variance 1 on
average. Noise that is isotropic in $x$ is then isotropic in pixels too, and a noise level t means
what it means for a latent diffusion model, whose latents are scaled to unit variance by one number
as well: signal-to-noise ratio $\gamma(t)$ for the average component. (With pixels scaled to unit
variance instead, the leading components hold many pixels' variance, and the same level is a far
higher signal-to-noise ratio for them.) `VideoFit.scale` converts.
"""

from __future__ import annotations

import contextlib
import importlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse.linalg
import scipy.stats

from arvdm_theory._gaussian import symmetrise
from arvdm_theory._progress import report
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ArvdmError, MediaError, ParameterError, TooLittleDataError
from arvdm_theory.memory import UNITS
from arvdm_theory.video import Arfima, Autoregressive, GaussianVideo, StateSpace

__all__ = [
    "CANDIDATES",
    "Candidate",
    "FootageDiagnostics",
    "PredictiveGain",
    "VideoFit",
    "fit_video",
    "load_frames",
    "predictive_gain",
    "video_from_specification",
]

CANDIDATES = ("autoregressive", "state_space", "arfima")
"""Families that `fit_video` can choose from."""

LARGEST_FOOTAGE = 2**28
"""Most numbers (frames x pixels x channels) that are held in memory: 2 GB of float64."""
SAME_FRAME = 0.5 / 255.0
"""Two frames that differ by less on average (half a grey level) are duplicates."""
FEWEST_FRAMES = 24
"""Different frames needed for one component; 12 more for each further one."""
MOST_COMPONENTS = 8
"""Cap on the number of components that is chosen automatically."""
DENSE_COMPONENTS = 2000
"""Up to this many frames (or pixels) components come from a dense eigenproblem."""
ORDERS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Autoregressive orders that are tried."""
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties that are tried, relative to the variance of a predictor."""
HELD_OUT_BLOCK = 48
"""Target length of a held-out block (frames); a fold of a long clip is several such blocks."""
PREDICTORS = ("all", "own")
"""A component is predicted from the past of all components, or from its own past only."""
STILL = 1e-12
"""Variance given to a component that does not move at all in a piece (on average it is 1)."""
DEPTHS = (2, 4, 8)
"""Past and future frames of the canonical-variate analysis that are tried."""
VARIANCE_RANGE = (0.8, 1.25)
"""A law is trusted if the stationary variance of every component, divided by the clip's, is here.

Shrinking the coefficients costs a one-step predictor almost nothing and takes most of the variance
of a slow component away, and with it the information that the past has about the next frame.
"""
DETECTABLE = 2.0
"""A held-out gain counts from this many standard errors on."""


# --- footage --------------------------------------------------------------------------------------


def load_frames(
    source: str | Path | np.ndarray,
    *,
    crop: str | None = None,
    frames: str | None = None,
    every: int | str = 1,
) -> np.ndarray:
    """Frames of a clip, shape `(n, height, width, channels)`, float64 in [0, 1].

    Arguments
    ---------
    source: array, `.npy`, `.npz` (its only array, or the one called `frames`), or a video file
        that FFmpeg reads (needs the extra `video`). Arrays are `(n, height, width)` or
        `(n, height, width, channels)`: unsigned integers (divided by their largest value) or
        floats in [0, 1].
    crop: `left`, `right` (halves) or `x0:x1,y0:y1` in pixels, ends excluded, ends may be left out.
    frames: `a:b`, frames a..b-1 counted from 0; either may be left out.
    every: k keeps frames a, a+k, a+2k, ...; `"distinct"` keeps the first frame of every run of
        duplicates (mean difference below half a grey level), for clips that hold frames unevenly.

    Raises
    ------
    MediaError: a missing, empty or truncated file (fewer frames than it declares are never
        returned silently), a file that is no video, or PyAV not installed.
    ParameterError: a crop or a range of frames outside the clip, values outside [0, 1].

    >>> clip = np.zeros((6, 4, 8), dtype=np.uint8)
    >>> load_frames(clip, crop="left", frames="1:6", every=2).shape
    (3, 4, 4, 1)
    """
    if isinstance(source, (str, Path)):
        clip = _read(Path(source), crop, frames, every)
    else:
        clip = _select(_checked_pixels("source", source), crop, frames, every)
    values = clip.astype(np.float64)
    if clip.dtype.kind == "u":
        values /= np.iinfo(clip.dtype).max
    if every == "distinct":
        values = values[_run_starts(values)]
    return values


def _checked_pixels(parameter: str, value: Any) -> np.ndarray:
    if type(value).__module__.startswith("torch"):
        raise ParameterError(parameter, "a NumPy array (not a torch tensor)", type(value))
    array = np.asarray(value)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.size == 0:
        raise ParameterError(
            parameter, "frames of shape (n, height, width[, channels])", f"shape {array.shape}"
        )
    if array.dtype.kind not in "uf":
        raise ParameterError(
            parameter, "unsigned integers, or floats in [0, 1]", f"dtype {array.dtype}"
        )
    if array.dtype.kind == "f":
        # written so that NaN fails too
        if not (float(array.min()) >= 0.0 and float(array.max()) <= 1.0):
            raise ParameterError(
                parameter, "floats in [0, 1]", f"{float(array.min()):.4g}..{float(array.max()):.4g}"
            )
    if array.size > LARGEST_FOOTAGE:
        _refuse_size(array.size)
    return array


def _refuse_size(size: int) -> None:
    raise ParameterError(
        "source",
        f"at most {LARGEST_FOOTAGE} numbers after crop, frames and every (choose fewer or smaller)",
        size,
    )


def _range(parameter: str, text: Any) -> tuple[int, int | None]:
    """`a:b` as numbers; 0 and `None` where left out."""
    try:
        start, stop = (int(part) if part.strip() else None for part in str(text).split(":"))
    except ValueError:
        raise ParameterError(parameter, "of the form a:b with integers", text) from None
    return start or 0, stop


def _bounds(parameter: str, text: Any, size: int) -> slice:
    """`a:b` as a slice within 0..size."""
    low, stop = _range(parameter, text)
    high = size if stop is None else stop
    if not 0 <= low < high <= size:
        raise ParameterError(parameter, f"a:b with 0 <= a < b <= {size}", text)
    return slice(low, high)


def _crop_slices(crop: str | None, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns that a crop keeps."""
    if crop is None:
        return slice(None), slice(None)
    if crop in ("left", "right"):
        if width < 2:
            raise ParameterError("crop", "None for a clip one pixel wide", crop)
        half = width // 2
        return slice(None), slice(0, half) if crop == "left" else slice(width - half, width)
    parts = str(crop).split(",")
    if len(parts) != 2:
        raise ParameterError("crop", "left, right or x0:x1,y0:y1 (pixels)", crop)
    return _bounds("crop (y)", parts[1], height), _bounds("crop (x)", parts[0], width)


def _step(every: int | str) -> int:
    return 1 if every == "distinct" else positive_integer("every", every)


def _select(clip: np.ndarray, crop: str | None, frames: str | None, every: int | str) -> np.ndarray:
    rows, columns = _crop_slices(crop, clip.shape[2], clip.shape[1])
    chosen = slice(None) if frames is None else _bounds("frames", frames, clip.shape[0])
    return clip[chosen][:: _step(every), rows, columns]


def _read(path: Path, crop: str | None, frames: str | None, every: int | str) -> np.ndarray:
    if not path.is_file():
        raise MediaError("source", "an existing file", str(path))
    if path.stat().st_size == 0:
        raise MediaError("source", "a clip, not an empty file", path.name)
    if path.suffix.lower() in (".npy", ".npz"):
        return _select(_checked_pixels(str(path), _read_numpy(path)), crop, frames, every)
    return _read_video(path, crop, frames, every)


def _read_numpy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            names = loaded.files
            if names and (len(names) == 1 or "frames" in names):
                return np.asarray(loaded["frames" if "frames" in names else names[0]])
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise MediaError("source", f"a readable NumPy file ({error})", path.name) from None
    raise MediaError("source", "an archive of one array, or of one called frames", names)


def _read_video(path: Path, crop: str | None, frames: str | None, every: int | str) -> np.ndarray:
    """Decode the whole file (only so is a truncated one noticed), keep what was asked for."""
    try:
        import av
    except ModuleNotFoundError:
        raise MediaError(
            "source",
            "an array, a .npy or a .npz file unless PyAV is installed "
            '(pip install "arvdm-theory[video]")',
            path.name,
        ) from None
    kept: list[np.ndarray] = []
    step = _step(every)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError("source", "a file with a video stream", path.name)
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            rows, columns = _crop_slices(crop, width, height)
            # checked against the clip's length once that is known
            first, last = (0, None) if frames is None else _range("frames", frames)
            count, discarded, end = 0, 0, 0.0
            for packet in container.demux(stream):
                discarded += bool(packet.is_discard)
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise MediaError(
                            "source",
                            f"a video that decodes whole (its frame {count} is corrupt)",
                            path.name,
                        )
                    wanted = first <= count and (last is None or count < last)
                    if wanted and (count - first) % step == 0:
                        # a copy: a view would keep the uncropped picture in memory
                        pixels = frame.to_ndarray(format="rgb24")[rows, columns].copy()
                        if kept and pixels.shape != kept[0].shape:
                            raise MediaError(
                                "source", "a video with pictures of one size", path.name
                            )
                        kept.append(pixels)
                        if len(kept) * pixels.size > LARGEST_FOOTAGE:
                            _refuse_size(len(kept) * pixels.size)
                    if frame.time is not None:
                        end = float(frame.time)
                    count += 1
            _check_whole(path, container, stream, count, discarded, end)
    except av.error.FFmpegError as error:
        raise MediaError(
            "source", f"a video file that decodes whole ({error.strerror})", path.name
        ) from None
    if frames is not None:
        _bounds("frames", frames, count)
    return np.stack(kept)


def _check_whole(
    path: Path, container: Any, stream: Any, count: int, discarded: int, end: float
) -> None:
    """A file that declares more than it holds was cut off: it is refused, never shortened."""
    if count == 0:
        raise MediaError("source", "a video with at least one frame", path.name)
    declared = int(stream.frames)
    if declared > count + discarded:
        raise MediaError(
            "source", f"whole (its header declares {declared} frames, {count} decode)", path.name
        )
    if path.suffix.lower() == ".gif" and path.read_bytes().rstrip(b"\0")[-1:] != b";":
        raise MediaError("source", "a whole GIF (this one has no trailer)", path.name)
    seconds = None
    if declared == 0 and stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    elif declared == 0 and len(container.streams) == 1 and container.duration is not None:
        seconds = container.duration / 1e6
    if seconds is not None and stream.average_rate:
        if end + 2.5 / float(stream.average_rate) < seconds:
            raise MediaError(
                "source",
                f"whole (its header declares {seconds:.3g} s, the last frame is at {end:.3g} s)",
                path.name,
            )


def _run_starts(frames: np.ndarray) -> np.ndarray:
    """Index of the first frame of every run of duplicates (compared with the run's first)."""
    starts = [0]
    for k in range(1, frames.shape[0]):
        if np.abs(frames[k] - frames[starts[-1]]).mean() >= SAME_FRAME:
            starts.append(k)
    return np.array(starts)


# --- results --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FootageDiagnostics:
    """What the footage looks like before any model.

    Attributes
    ----------
    frames: n. distinct_frames: number of runs of equal frames.
    run_lengths: run length → how many runs have it (all 1: nothing is held).
    duplicates: frames equal to the one before. hint: what to do about them, or `None`.
    mean_shift: largest difference of a component's mean between the halves of the clip, in
        standard deviations. variance_ratio: largest ratio of a component's variances in the two
        halves (≥ 1). Far from 0 and 1 for footage that is not stationary.
    """

    frames: int
    distinct_frames: int
    run_lengths: Mapping[int, int]
    duplicates: int
    hint: str | None
    mean_shift: float
    variance_ratio: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """One fitted family.

    Attributes
    ----------
    family: name. video: the law fitted to the whole clip. settings: its orders, and so on.
    held_out: one-step predictive log density of held-out frames given their true past, nats a
        frame. Each block is predicted by a fit that did not see it, with the setting
        chosen (as in `fit_video`) by the scores of the *other* blocks; those are of fits that did
        see it, and the variances of laws are compared with the whole clip's.
    held_out_error: its block standard error. scores: `(targets,)`, the same a frame.
    gain: `held_out` minus that of independent frames, nats a frame. gain_error: standard error.
    setting_gain: the gain of `settings` on every block. A little too high: the
        setting was chosen on these very blocks. setting_gain_error: standard error.
    variance_ratio: `(d,)`, stationary variance of `video` divided by the clip's.
    spectral_radius: of the fitted dynamics (`None` for long memory). contraction: factor by which
        an unstable estimate was pulled inside 1 - 1/n (1: it was stable).
    ljung_box: p-value of residual whiteness, one a component. ljung_box_lags: lags it looks at.
    excess_kurtosis: of standardised residuals, one a component (0 for a Gaussian).
    """

    family: str
    video: GaussianVideo
    settings: Mapping[str, Any]
    held_out: float
    held_out_error: float
    gain: float
    gain_error: float
    setting_gain: float
    setting_gain_error: float
    variance_ratio: np.ndarray
    scores: np.ndarray
    spectral_radius: float | None
    contraction: float
    ljung_box: np.ndarray
    ljung_box_lags: int
    excess_kurtosis: np.ndarray
    _estimator: Any
    _setting: Any

    @property
    def detectable(self) -> bool:
        """Whether the held-out gain is at least two standard errors above 0."""
        return _is_detectable(self.gain, self.gain_error)

    @property
    def reproduces_variance(self) -> bool:
        """Whether `variance_ratio` of every component is in `VARIANCE_RANGE`."""
        return _in_range(self.variance_ratio)

    @property
    def reach(self) -> int:
        """Consecutive past frames that the estimator needs (0: any piece will do)."""
        return int(self.settings.get("order", self.settings.get("depth", 0)))

    def refit(self, segments: Sequence[np.ndarray]) -> GaussianVideo:
        """The same family with the same settings, fitted to other contiguous pieces.

        `segments` are arrays `(length, d)` of component scores, longer than twice the reach; used
        for block bootstraps.
        """
        return self._estimator.fit(segments, self._setting).video()


@dataclass(frozen=True, eq=False)
class VideoFit:
    """A Gaussian video fitted to footage, in units of `scale`.

    Attributes
    ----------
    video: the best candidate's law of the component scores, mean 0.
    basis: `(d, *frame)`, orthonormal components. mean_frame: `(*frame)`. scale: s > 0, pixel
        units for one unit of a score. scores: `(n, d)`, the clip in the components' coordinates.
    explained_variance: `(d,)`, share of the pixels' variance, falling.
    candidates: every family fitted, best first. targets: number of held-out frames scored.
    baseline: held-out log density of independent Gaussian frames (full or diagonal covariance,
        whichever is better on the other blocks), nats a frame.
    diagnostics: of the footage.
    """

    video: GaussianVideo
    basis: np.ndarray
    mean_frame: np.ndarray
    scale: float
    scores: np.ndarray
    explained_variance: np.ndarray
    candidates: tuple[Candidate, ...]
    baseline: float
    targets: int
    diagnostics: FootageDiagnostics

    def __repr__(self) -> str:
        best = self.candidates[0]
        return (
            f"VideoFit({self.scores.shape[0]} frames, {self.video.dim} components with "
            f"{100 * self.explained_variance.sum():.1f} % of the variance; best of "
            f"{len(self.candidates)}: {best.family} {dict(best.settings)}, held-out gain "
            f"{best.gain:.3g} ± {best.gain_error:.2g} nats a frame)"
        )

    def project(self, frames: np.ndarray) -> np.ndarray:
        """Scores `(n, d)` of other frames `(n, *frame)`."""
        centred = np.asarray(frames, dtype=np.float64) - self.mean_frame
        flat = centred.reshape(centred.shape[0], -1)
        return flat @ self.basis.reshape(self.video.dim, -1).T / self.scale

    def reconstruct(self, scores: np.ndarray) -> np.ndarray:
        """Frames `(n, *frame)` of scores `(n, d)`."""
        flat = np.asarray(scores) * self.scale @ self.basis.reshape(self.video.dim, -1)
        return self.mean_frame + flat.reshape(-1, *self.mean_frame.shape)


@dataclass(frozen=True, eq=False)
class PredictiveGain:
    """Held-out gain in predicting the next frame from the last r frames.

    Attributes
    ----------
    window_lengths: `(R,)`, r in frames. gain: `(R,)`, held-out log score minus that of r = 0, a
        frame. standard_error: `(R,)`, from contiguous blocks.
    bottleneck: `(R,)`, largest gain minus the largest gain of a window of at most r (a longer
        memory can ignore its oldest frames): the estimate of MB_r.
    bottleneck_error: its standard error, from the same blocks.
    targets: frames scored. blocks: blocks of the standard error. lags: `(R, folds)`, frames that
        the predictor chose to use. unit: of the informations.
    """

    window_lengths: np.ndarray
    gain: np.ndarray
    standard_error: np.ndarray
    bottleneck: np.ndarray
    bottleneck_error: np.ndarray
    targets: int
    blocks: int
    lags: np.ndarray
    unit: str

    @property
    def total(self) -> float:
        """Largest gain over the windows tried: what of I(X_k; past) prediction found."""
        return float(self.gain.max())

    @property
    def total_error(self) -> float:
        """Standard error of the total."""
        return float(self.standard_error[int(np.argmax(self.gain))])

    @property
    def detectable(self) -> bool:
        """Whether the total is at least two standard errors above 0."""
        return _is_detectable(self.total, self.total_error)

    def window_for(self, fraction: float) -> int | None:
        """Smallest r tried with this fraction of the total; `None` if that is not detectable."""
        if not self.detectable:
            return None
        return int(self.window_lengths[self.gain >= fraction * self.total].min())


# --- fitting --------------------------------------------------------------------------------------


def fit_video(
    frames: np.ndarray,
    *,
    components: int | float = 0.9,
    candidates: Sequence[str] = CANDIDATES,
    folds: int = 5,
) -> VideoFit:
    r"""Fit a Gaussian video to footage: principal components, then the best of several laws.

    Candidates, each fitted to $x_k$ (see the module's first paragraph):

    - `autoregressive`: vector autoregression, ridge regression towards 0,
      $\min \sum_k \|x_k - \sum_l A_l x_{k-l}\|^2 + \lambda n \|A\|^2$ (standardised components),
      each component predicted from all components or from its own past only (diagonal $A_l$);
      innovation covariance shrunk to its diagonal with the weight of d + 1 frames;
    - `state_space`: canonical-variate analysis: the state is the part of the last i frames most
      correlated with the next i; dynamics by regression on it (Larimore 1990; Van Overschee and
      De Moor 1996);
    - `arfima`: fractional noise in every component on its own, by Whittle likelihood.

    Orders, penalties and the family are chosen by the one-step predictive log density of
    *held-out contiguous blocks* given their true past, minus the nats that a law of the wrong
    variance gets wrong in the information, $\tfrac12\sum_i|\log v_i|$, v_i the stationary variance
    of component i over the clip's. A difference below one standard error does not settle the
    choice: of such settings the best one with every v_i in 0.8..1.25 is taken, if there is one.
    Independent frames, against which gains are measured, have full or diagonal covariance,
    whichever predicts better.
    The mean is estimated without the held-out block; the components are those of the whole clip.
    An estimate with spectral radius above
    1 - 1/n is pulled inside (A_l → c^l A_l), so that the law is always stationary.

    Arguments
    ---------
    frames: `(n, *frame)`, at least 24 different frames; from `load_frames`, or any array.
    components: how many, or (a fraction) the share of variance to explain with as few as
        possible; the automatic choice is capped at 8 and at one for every 12 frames beyond 12.
    candidates: families to try. folds: number of held-out blocks.

    Raises
    ------
    TooLittleDataError: fewer different frames than 24, or than 12 (d + 1) for d components.
    ParameterError: footage that does not change, unknown candidates, not finite.

    >>> clip = Autoregressive([0.8], 0.36, dim=2).sample(1, frames=200, seed=0)[0]
    >>> fit = fit_video(clip, components=2, candidates=["autoregressive"])
    >>> fit.candidates[0].settings["order"], bool(fit.candidates[0].gain > 0.5)
    (1, True)
    """
    pixels = _finite_frames(frames)
    families = _families(candidates)
    starts = _run_starts(pixels)
    distinct = starts.size
    count, fraction = _component_request(components, distinct)
    flat = pixels.reshape(pixels.shape[0], -1)
    mean = flat.mean(axis=0)
    basis, variances, total = _principal_components(flat - mean, count, fraction)
    scale = float(np.sqrt(variances.mean()))
    scores = (flat - mean) @ basis.T / scale
    folds = _folds(folds, pixels.shape[0])
    with one_blas_thread():
        fitted, baseline, targets = _compare(scores, families, folds)
    shape = pixels.shape[1:]
    return VideoFit(
        video=fitted[0].video,
        basis=basis.reshape(-1, *shape),
        mean_frame=mean.reshape(shape),
        scale=scale,
        scores=scores,
        explained_variance=variances / total,
        candidates=fitted,
        baseline=baseline,
        targets=targets,
        diagnostics=_footage_diagnostics(starts, pixels.shape[0], scores),
    )


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """One BLAS thread, where threadpoolctl is installed to ask for it.

    Fits take many products of small matrices: on busy cores, threads mostly wait for each other.
    """
    try:
        limits = importlib.import_module("threadpoolctl").threadpool_limits(limits=1)
    except ModuleNotFoundError:
        return contextlib.nullcontext()
    return cast("contextlib.AbstractContextManager[Any]", limits)


def video_from_specification(keys: Mapping[str, Any]) -> GaussianVideo:
    """The fitted video of `{"family": "frames", ...}` without its `family` key.

    Keys: `path` (required; relative paths start at the working directory, not at the
    specification's folder), `components`, `crop`, `frames`, `every`, as in `load_frames` and
    `fit_video`. Errors name the key: `ParameterError` for any other key, and those of the two.

    >>> video_from_specification({"path": "clip.mp4", "colour": True})
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.ParameterError: video.colour must be one of the keys path, components, \
crop, frames, every, got colour
    """
    known = ("path", "components", "crop", "frames", "every")
    for key in keys:
        if key not in known:
            raise ParameterError(f"video.{key}", f"one of the keys {', '.join(known)}", key)
    path = keys.get("path")
    if not isinstance(path, (str, Path)):
        raise ParameterError("video.path", "the path of a clip", path)
    selection = {name: keys[name] for name in ("crop", "frames", "every") if name in keys}
    chosen = {"components": keys["components"]} if "components" in keys else {}
    try:
        clip = load_frames(path, **selection)
    except ParameterError as error:
        known_key = error.parameter.split(" ")[0] in selection
        raise type(error)(
            f"video.{error.parameter}" if known_key else "video.path",
            error.constraint,
            error.value,
        ) from None
    try:
        return fit_video(clip, **chosen).video
    except ParameterError as error:
        if error.parameter == "components":
            raise error.within("video") from None
        # what fit_video calls frames is the clip, not the key `frames`
        selected = " (after frames and every)" if "different frames" in error.constraint else ""
        constraint = error.constraint.removeprefix("a clip ")
        joined = constraint if constraint != error.constraint else f"of {constraint}"
        raise type(error)("video.path", f"a clip {joined}{selected}", error.value) from None


def _finite_frames(frames: Any, parameter: str = "frames") -> np.ndarray:
    if type(frames).__module__.startswith("torch"):
        raise ParameterError(parameter, "a NumPy array (not a torch tensor)", type(frames))
    array = np.asarray(frames, dtype=np.float64)
    if array.ndim < 2 or array.size == 0:
        raise ParameterError(parameter, "of shape (n, *frame)", f"shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ParameterError(parameter, "finite (no NaN, no infinity)", "values that are not")
    return array


def _families(candidates: Sequence[str]) -> list[_Estimator]:
    names = [candidates] if isinstance(candidates, str) else list(candidates)
    for name in names:
        if name not in _ESTIMATORS:
            raise ParameterError("candidates", f"among {', '.join(CANDIDATES)}", name)
    if not names:
        raise ParameterError("candidates", "at least one family", names)
    return [_ESTIMATORS[name] for name in dict.fromkeys(names)]


def _component_request(components: int | float, distinct: int) -> tuple[int, float]:
    """Largest number of components, and the share of variance after which to stop."""
    if isinstance(components, float) and 0.0 < components < 1.0:
        if distinct < FEWEST_FRAMES:
            raise TooLittleDataError(
                "frames", f"at least {FEWEST_FRAMES} different frames", f"{distinct} of them"
            )
        return min(MOST_COMPONENTS, (distinct - 12) // 12), components
    if isinstance(components, (float, bool)):
        raise ParameterError("components", "an integer, or a fraction in (0, 1)", components)
    count = positive_integer("components", components)
    needed = max(FEWEST_FRAMES, 12 * (count + 1))
    if distinct < needed:
        raise TooLittleDataError(
            "frames",
            f"at least {needed} different frames for {count} component(s)",
            f"{distinct} of them",
        )
    return count, 1.0


def _folds(folds: int, frames: int) -> int:
    folds = positive_integer("folds", folds, minimum=2)
    if folds > frames // 4:
        raise ParameterError("folds", f"at most a quarter of the frames ({frames // 4})", folds)
    return folds


def _principal_components(
    centred: np.ndarray, most: int, fraction: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows of the basis, variances (falling) and total variance."""
    frames, pixels = centred.shape
    wide = pixels > frames
    total = float(np.sum(centred**2)) / frames
    if total <= 0.0:
        raise ParameterError("frames", "a clip that changes", "frames that are all equal")
    side = centred if wide else centred.T
    largest = min(most, side.shape[0])
    if side.shape[0] <= DENSE_COMPONENTS:
        gram = side @ side.T / frames
        values, vectors = scipy.linalg.eigh(
            gram, subset_by_index=(side.shape[0] - largest, side.shape[0] - 1)
        )
    else:
        operator: Any = scipy.sparse.linalg.LinearOperator(
            (side.shape[0],) * 2, matvec=lambda x: side @ (side.T @ x) / frames, dtype=np.float64
        )
        # a fixed start makes the iteration reproducible
        start = np.random.default_rng(0).standard_normal((side.shape[0],))
        values, vectors = scipy.sparse.linalg.eigsh(operator, k=largest, v0=start)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int(np.sum(values > 1e-12 * values[0]))
    if fraction == 1.0:
        if most > rank:
            raise ParameterError("components", f"at most the rank of the footage ({rank})", most)
        count = most
    else:
        enough = int(np.searchsorted(np.cumsum(values) / total, fraction)) + 1
        count = min(enough, rank)
    basis = vectors[:, :count].T
    if wide:
        basis = basis @ centred / np.sqrt(frames * values[:count, None])
    peak = np.argmax(np.abs(basis), axis=1)
    basis = basis * np.sign(basis[np.arange(count), peak])[:, None]
    return basis, values[:count], total


def _footage_diagnostics(starts: np.ndarray, frames: int, scores: np.ndarray) -> FootageDiagnostics:
    lengths = np.diff(np.append(starts, frames))
    values, counts = np.unique(lengths, return_counts=True)
    duplicates = int(frames - starts.size)
    first, second = scores[: frames // 2], scores[frames // 2 :]
    shift = np.abs(first.mean(axis=0) - second.mean(axis=0)) / scores.std(axis=0)
    spread = np.stack([first.var(axis=0), second.var(axis=0)])
    return FootageDiagnostics(
        frames=frames,
        distinct_frames=int(starts.size),
        run_lengths=dict(zip(values.tolist(), counts.tolist(), strict=True)),
        duplicates=duplicates,
        hint=_duplicate_hint(starts, lengths, frames),
        mean_shift=float(shift.max()),
        variance_ratio=float((spread.max(axis=0) / spread.min(axis=0)).max()),
    )


def _duplicate_hint(starts: np.ndarray, lengths: np.ndarray, frames: int) -> str | None:
    """Held frames make every model look good for the wrong reason."""
    held = lengths > 1
    covered = int(lengths[held].sum())
    if covered < 0.1 * frames:
        return None
    common = int(np.bincount(lengths[held]).argmax())
    first, last = int(starts[held][0]), int((starts + lengths)[held][-1]) - 1
    inside = (starts >= first) & (starts <= last)
    if np.mean(held[inside]) < 0.5:
        return (
            f"{covered} of {frames} frames repeat a neighbour, here and there: the scene stands "
            "still, or every=distinct drops the repeats"
        )
    where = "" if covered > 0.9 * frames else f" (frames {first} to {last}; the others are not)"
    remedy = f"every={common}" if not where else "frames=a:b to take one part, or every=distinct"
    return (
        f"frames are held for {common} video frames{where}: consecutive equal frames carry no "
        f"news and inflate every number here. Use {remedy}"
    )


# --- choosing by held-out likelihood --------------------------------------------------------------


class _Law(Protocol):
    """A fitted law that predicts one frame ahead."""

    @property
    def contraction(self) -> float:
        """Factor by which an unstable estimate was pulled inside."""

    @property
    def radius(self) -> float | None:
        """Spectral radius of the dynamics."""

    def video(self) -> GaussianVideo:
        """The law as a description."""

    def whiten(self, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standardised one-step errors `(n, d)` and half log-determinants `(n,)` or `()`."""


class _Estimator(Protocol):
    """A family: its settings, and how to fit one to contiguous pieces."""

    @property
    def family(self) -> str:
        """Its name among `CANDIDATES`."""

    def settings(self, frames: int, dim: int) -> list[dict[str, Any]]:
        """Settings worth trying for a clip of this length."""

    def fit(self, segments: Sequence[np.ndarray], setting: Mapping[str, Any]) -> _Law:
        """The law with this setting."""


def _log_density(law: _Law, series: np.ndarray) -> np.ndarray:
    """One-step predictive log density of every frame, `(n,)` nats."""
    errors, half_log_det = law.whiten(series)
    dim = series.shape[1]
    squared = np.sum(errors**2, axis=1)
    return -0.5 * squared - half_log_det - 0.5 * dim * np.log(2.0 * np.pi)


def _blocks(first: int, last: int, count: int) -> list[tuple[int, int]]:
    edges = np.linspace(first, last, count + 1).round().astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _held_out_folds(first: int, last: int, folds: int) -> list[list[tuple[int, int]]]:
    """Contiguous blocks of about `HELD_OUT_BLOCK` frames, dealt to the folds in turn.

    Each fold then holds out several moments of a long clip, not one whole part of it: a part that
    shows a place seen nowhere else would test extrapolation to new places instead.
    """
    count = folds * max(1, (last - first) // (folds * HELD_OUT_BLOCK))
    blocks = _blocks(first, last, count)
    return [blocks[fold::folds] for fold in range(folds)]


def _around(series: np.ndarray, blocks: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """What remains of the series, in contiguous pieces, without some blocks."""
    edges = [0, *(edge for block in blocks for edge in block), series.shape[0]]
    pieces = [series[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [piece for piece in pieces if piece.shape[0] > 0]


def block_standard_error(values: np.ndarray, blocks: int = 10) -> tuple[np.ndarray, int]:
    """Standard error of the mean over axis 0, from means of contiguous blocks.

    Returns the error and the number of blocks (fewer for fewer than 20 values).
    """
    blocks = max(2, min(blocks, values.shape[0] // 2))
    means = np.stack([values[a:b].mean(axis=0) for a, b in _blocks(0, values.shape[0], blocks)])
    return means.std(axis=0, ddof=1) / np.sqrt(blocks), blocks


def _compare(
    series: np.ndarray, families: Sequence[_Estimator], folds: int
) -> tuple[tuple[Candidate, ...], float, int]:
    frames, dim = series.shape
    first = max(_orders(frames, dim))
    held_out = _held_out_folds(first, frames, folds)
    baseline = _Independent()
    forms = baseline.settings(frames, dim)
    independent_scores = _scores_out_of_fold(baseline, forms, series, held_out)
    independent = _chosen_by_others(independent_scores, np.ones((len(forms), dim)), held_out)
    independent = independent[first:]
    candidates = []
    for estimator in families:
        settings = estimator.settings(frames, dim)
        ratios = np.stack([_variance_ratio(estimator, s, series) for s in settings])
        scores = _scores_out_of_fold(estimator, settings, series, held_out)
        best = _choice(scores[first:], ratios)
        chosen = _chosen_by_others(scores, ratios, held_out)
        candidates.append(
            _candidate(
                estimator,
                settings[best],
                series,
                chosen[first:],
                scores[first:, best],
                independent,
            )
        )
    ordered = sorted(candidates, key=lambda candidate: -candidate.held_out)
    # a family takes the lead as a setting does
    ratios = np.stack([candidate.variance_ratio for candidate in ordered])
    lead = _choice(np.stack([candidate.scores for candidate in ordered], axis=1), ratios)
    ordered.insert(0, ordered.pop(lead))
    return tuple(ordered), float(independent.mean()), int(independent.size)


def _choice(scores: np.ndarray, ratios: np.ndarray) -> int:
    r"""Column of `scores` `(n, settings)` to use, given variance ratios `(settings, d)`.

    $MB_0$ of a law is half the log determinant of its stationary covariance minus that of its
    errors. The score shows the errors; a variance ratio v takes a component's $\tfrac12\log v$ away
    from the other term. Both are nats a frame: the best column has the largest mean score minus
    $\tfrac12\sum|\log v|$. Of those within one block standard error of it (paired), the best one
    with every v in `VARIANCE_RANGE` is used; if there is none, the best column.
    """
    costs = np.array([_information_misfit(ratio) for ratio in ratios])
    values = scores.mean(axis=0) - costs
    best = int(np.argmax(values))
    error, _ = block_standard_error(scores[:, [best]] - scores)
    trusted = (values[best] - values <= error) & [_in_range(ratio) for ratio in ratios]
    return int(np.argmax(np.where(trusted, values, -np.inf))) if trusted.any() else best


def _chosen_by_others(
    scores: np.ndarray, ratios: np.ndarray, held_out: Sequence[Sequence[tuple[int, int]]]
) -> np.ndarray:
    """Scores `(n,)`, those of a fold with the choice that the other folds make."""
    chosen = np.full(scores.shape[0], np.nan)
    rows = [np.concatenate([np.arange(a, b) for a, b in blocks]) for blocks in held_out]
    for fold, mine in enumerate(rows):
        others = np.sort(np.concatenate([row for i, row in enumerate(rows) if i != fold]))
        chosen[mine] = scores[mine, _choice(scores[others], ratios)]
    return chosen


def _variance_ratio(
    estimator: _Estimator, setting: Mapping[str, Any], series: np.ndarray
) -> np.ndarray:
    """Stationary variances of the law fitted to the whole clip over the clip's, `(d,)`.

    Infinite where the law is so close to a unit root that its variance is lost in rounding.
    """
    try:
        variances = np.diag(estimator.fit([series], setting).video().covariance(1))
    except ArvdmError:
        return np.full(series.shape[1], np.inf)
    return np.asarray(variances / series.var(axis=0))


def _information_misfit(variance_ratio: np.ndarray) -> float:
    """Half the sum of absolute log ratios, nats a frame; very large where there is no variance."""
    if not np.all(np.isfinite(variance_ratio)) or variance_ratio.min() <= 0.0:
        return 1e6
    return 0.5 * float(np.abs(np.log(variance_ratio)).sum())


def _in_range(variance_ratio: np.ndarray) -> bool:
    low, high = VARIANCE_RANGE
    return bool(np.all((variance_ratio >= low) & (variance_ratio <= high)))


def _is_detectable(gain: float, error: float) -> bool:
    return bool(gain > 0.0 and gain >= DETECTABLE * error)


def _scores_out_of_fold(
    estimator: _Estimator,
    settings: Sequence[Mapping[str, Any]],
    series: np.ndarray,
    held_out: Sequence[Sequence[tuple[int, int]]],
) -> np.ndarray:
    """Log density of each frame by the fits that did not see its fold, `(n, settings)`."""
    scores = np.full((series.shape[0], len(settings)), np.nan)
    whole = len(held_out) * len(settings)
    for count, blocks in enumerate(held_out):
        pieces = _around(series, blocks)
        mean = np.concatenate(pieces).mean(axis=0)
        centred = [piece - mean for piece in pieces]
        rows = np.concatenate([np.arange(a, b) for a, b in blocks])
        for column, setting in enumerate(settings):
            report(f"fits of {estimator.family}", count * len(settings) + column, whole)
            law = estimator.fit(centred, setting)
            scores[rows, column] = _log_density(law, series - mean)[rows]
    return scores


def _candidate(
    estimator: _Estimator,
    setting: Mapping[str, Any],
    series: np.ndarray,
    scores: np.ndarray,
    own_scores: np.ndarray,
    independent: np.ndarray,
) -> Candidate:
    law = estimator.fit([series], setting)
    warm_up = int(setting.get("order", 0)) if estimator.family == "autoregressive" else 0
    residuals = law.whiten(series)[0][warm_up:]
    lags = max(2, min(20, residuals.shape[0] // 5))
    error, _ = block_standard_error(scores)
    gain_error, _ = block_standard_error(scores - independent)
    own_error, _ = block_standard_error(own_scores - independent)
    described = dict(setting)
    if isinstance(law, _LongMemory):
        described["memory"] = law.memory.round(4).tolist()
    return Candidate(
        family=estimator.family,
        video=law.video(),
        settings=described,
        held_out=float(scores.mean()),
        held_out_error=float(error),
        gain=float((scores - independent).mean()),
        gain_error=float(gain_error),
        setting_gain=float((own_scores - independent).mean()),
        setting_gain_error=float(own_error),
        variance_ratio=_variance_ratio(estimator, setting, series),
        scores=scores,
        spectral_radius=law.radius,
        contraction=law.contraction,
        ljung_box=_ljung_box(residuals, lags, warm_up),
        ljung_box_lags=lags,
        excess_kurtosis=np.asarray(scipy.stats.kurtosis(residuals, axis=0)),
        _estimator=estimator,
        _setting=setting,
    )


def _ljung_box(residuals: np.ndarray, lags: int, fitted: int) -> np.ndarray:
    r"""p-values of $n(n+2)\sum_h \hat\rho_h^2/(n-h) \sim \chi^2_{\text{lags} - \text{fitted}}$."""
    count = residuals.shape[0]
    centred = residuals - residuals.mean(axis=0)
    variance = np.sum(centred**2, axis=0)
    lag = np.arange(1, lags + 1)
    rho = np.stack([np.sum(centred[h:] * centred[:-h], axis=0) / variance for h in lag])
    statistic = count * (count + 2) * np.sum(rho**2 / (count - lag)[:, None], axis=0)
    return np.asarray(scipy.stats.chi2.sf(statistic, max(1, lags - fitted)))


# --- estimators -----------------------------------------------------------------------------------


def _orders(frames: int, dim: int) -> list[int]:
    """Orders with at most half as many predictors as frames, at most an eighth of the clip."""
    return [p for p in ORDERS if p == 1 or (2 * p * dim <= frames and 8 * p <= frames)]


def _shrunk(covariance: np.ndarray, rows: int) -> np.ndarray:
    """Towards the diagonal, as if d + 1 of the frames had uncorrelated components."""
    dim = covariance.shape[0]
    weight = (dim + 1) / (rows + dim + 1) if dim > 1 else 0.0
    return (1.0 - weight) * covariance + weight * np.diag(np.diag(covariance))


def _lagged(segments: Sequence[np.ndarray], depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (x_{k-1}, ..., x_{k-depth}) and targets x_k that lie within one piece."""
    dim = segments[0].shape[1]
    pasts, targets = [np.empty((0, depth * dim))], [np.empty((0, dim))]
    for piece in segments:
        rows = piece.shape[0] - depth
        if rows > 0:
            lags = [piece[depth - l : depth - l + rows] for l in range(1, depth + 1)]
            pasts.append(np.hstack(lags) if lags else np.empty((rows, 0)))
            targets.append(piece[depth:])
    return np.concatenate(pasts), np.concatenate(targets)


def _ridge(
    past: np.ndarray, target: np.ndarray, penalty: float, predictors: str = "all"
) -> np.ndarray:
    """Coefficients `(q, d)` of a ridge regression, penalty relative to the number of rows."""
    if predictors == "all":
        gram = past.T @ past
        np.einsum("ii->i", gram)[...] += past.shape[0] * penalty
        return scipy.linalg.solve(gram, past.T @ target, assume_a="pos")
    dim = target.shape[1]
    coefficients = np.zeros((past.shape[1], dim))
    for i in range(dim):
        own = past[:, i::dim]
        coefficients[i::dim, i] = _ridge(own, target[:, [i]], penalty)[:, 0]
    return coefficients


def _effective_parameters(past: np.ndarray, penalty: float) -> float:
    """Parameters of one equation that ridge regression leaves free, tr(hat matrix)."""
    spectrum = np.linalg.svd(past, compute_uv=False) ** 2
    return float(np.sum(spectrum / (spectrum + past.shape[0] * penalty)))


def _contracted(blocks: np.ndarray, frames: int) -> tuple[np.ndarray, float, float]:
    """Coefficients `(p, d, d)` with spectral radius at most 1 - 1/n, the factor and the radius."""
    order, dim, _ = blocks.shape
    companion = np.eye(order * dim, k=-dim)
    companion[:dim] = np.hstack(list(blocks))
    radius = float(np.abs(np.linalg.eigvals(companion)).max())
    allowed = 1.0 - 1.0 / frames
    if radius <= allowed:
        return blocks, 1.0, radius
    factor = allowed / radius
    return blocks * factor ** np.arange(1, order + 1)[:, None, None], factor, allowed


def _total(segments: Sequence[np.ndarray]) -> int:
    return sum(piece.shape[0] for piece in segments)


@dataclass(frozen=True, eq=False)
class _Vector:
    """Vector autoregression as a law."""

    coefficients: np.ndarray
    covariance: np.ndarray
    contraction: float
    radius: float | None

    def video(self) -> GaussianVideo:
        blocks = list(self.coefficients) or [0.0]  # order 0: independent frames
        return Autoregressive(blocks, self.covariance, dim=self.covariance.shape[0])

    def whiten(self, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        errors = series.copy()
        for l, block in enumerate(self.coefficients, start=1):
            errors[l:] -= series[:-l] @ block.T
        factor = np.linalg.cholesky(self.covariance)
        white = scipy.linalg.solve_triangular(factor, errors.T, lower=True).T
        return white, np.sum(np.log(np.diag(factor)))


class _Independent:
    """Independent frames: the predictor of memory length 0."""

    family = "independent"

    def settings(self, frames: int, dim: int) -> list[dict[str, Any]]:
        forms = ("full", "diagonal") if dim > 1 else ("full",)
        return [{"covariance": form} for form in forms]

    def fit(self, segments: Sequence[np.ndarray], setting: Mapping[str, Any]) -> _Vector:
        rows = np.concatenate(segments)
        covariance = rows.T @ rows / (rows.shape[0] - 1)
        if setting["covariance"] == "diagonal":
            covariance = np.diag(np.diag(covariance))
        covariance = _shrunk(covariance, rows.shape[0])
        return _Vector(np.empty((0, *covariance.shape)), covariance, 1.0, 0.0)


class _RidgeAutoregression:
    family = "autoregressive"

    def settings(self, frames: int, dim: int) -> list[dict[str, Any]]:
        return [
            {"order": p, "penalty": penalty, "predictors": predictors}
            for p in _orders(frames, dim)
            for penalty in PENALTIES
            for predictors in (PREDICTORS if dim > 1 else PREDICTORS[:1])
        ]

    def fit(self, segments: Sequence[np.ndarray], setting: Mapping[str, Any]) -> _Vector:
        order = int(setting["order"])
        past, target = _lagged(segments, order)
        rows, dim = target.shape
        spread = _spread(segments)
        wide = np.tile(spread, order)
        scaled, penalty = past / wide, float(setting["penalty"])
        coefficients = _ridge(scaled, target / spread, penalty, setting["predictors"])
        coefficients *= spread / wide[:, None]
        own = scaled if setting["predictors"] == "all" else scaled[:, ::dim]
        used = _effective_parameters(own, penalty)
        blocks = coefficients.reshape(order, dim, dim).swapaxes(1, 2)
        blocks, factor, radius = _contracted(blocks, _total(segments))
        fitted = past @ blocks.swapaxes(1, 2).reshape(order * dim, dim)
        errors = target - fitted
        covariance = errors.T @ errors / max(rows - used, 0.5 * rows)
        return _Vector(blocks, _shrunk(covariance, rows), factor, radius)


def _spread(segments: Sequence[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(segments)
    return np.sqrt(np.mean(rows**2, axis=0))


@dataclass(frozen=True, eq=False)
class _Innovations:
    r"""$z_{k+1} = A z_k + K e_k$, $x_k = C z_k + e_k$, $e_k \sim N(0, \Sigma)$."""

    transition: np.ndarray
    gain: np.ndarray
    emission: np.ndarray
    covariance: np.ndarray
    contraction: float
    radius: float | None

    def video(self) -> GaussianVideo:
        # the state carries e_k, because a description has independent state and frame noise
        states, dim = self.gain.shape
        transition = np.zeros((states + dim, states + dim))
        transition[:states] = np.hstack([self.transition, self.gain])
        noise = scipy.linalg.block_diag(np.zeros((states, states)), self.covariance)
        return StateSpace(transition, np.hstack([self.emission, np.eye(dim)]), noise, 0.0)

    def whiten(self, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        closed = self.transition - self.gain @ self.emission
        driven = series @ self.gain.T
        states = np.zeros((series.shape[0], self.transition.shape[0]))
        for k in range(series.shape[0] - 1):
            states[k + 1] = closed @ states[k] + driven[k]
        factor = np.linalg.cholesky(self.covariance)
        errors = series - states @ self.emission.T
        white = scipy.linalg.solve_triangular(factor, errors.T, lower=True).T
        return white, np.sum(np.log(np.diag(factor)))


class _CanonicalVariates:
    family = "state_space"

    def settings(self, frames: int, dim: int) -> list[dict[str, Any]]:
        out = []
        for depth in DEPTHS:
            # the canonical analysis relates depth past to depth future frames
            if depth > 2 and (4 * depth * dim > frames or 8 * depth > frames):
                continue
            for states in ORDERS:
                if states <= depth * dim and states <= 2 * dim + 4 and 8 * states <= frames:
                    for penalty in PENALTIES[1:]:
                        out.append({"states": states, "depth": depth, "penalty": penalty})
        return out

    def fit(self, segments: Sequence[np.ndarray], setting: Mapping[str, Any]) -> _Law:
        depth, states = int(setting["depth"]), int(setting["states"])
        penalty = float(setting["penalty"])
        dim = segments[0].shape[1]
        spread = _spread(segments)
        scaled = [piece / spread for piece in segments]
        window, _ = _lagged([np.vstack([p, p[-1:]]) for p in scaled], 2 * depth)
        # newest first: the future is the first half of a window of 2 depth frames
        future, past = window[:, : depth * dim], window[:, depth * dim :]
        weights = _canonical_weights(past, future, states, penalty)
        past, target = _lagged(scaled, depth)
        now = past @ weights
        newer = np.hstack([target, past[:, : (depth - 1) * dim]]) @ weights
        joint = _ridge(now, np.hstack([newer, target]), 1e-8)
        used = states
        errors = np.hstack([newer, target]) - now @ joint
        rows = errors.shape[0]
        noise = errors.T @ errors / max(rows - used, 0.5 * rows)
        blocks, factor, radius = _contracted(joint[:, :states].T[None], _total(segments))
        transition, emission = blocks[0], joint[:, states:].T * spread[:, None]
        noise[states:] *= spread[:, None]
        noise[:, states:] *= spread
        return _innovations_form(transition, emission, noise, factor, radius, rows)


def _canonical_weights(
    past: np.ndarray, future: np.ndarray, states: int, penalty: float
) -> np.ndarray:
    """Directions `(q, states)` of the past most correlated with the future, unit variance."""
    rows = past.shape[0]

    def inverse_root(block: np.ndarray) -> np.ndarray:
        gram = block.T @ block / rows + penalty * np.eye(block.shape[1])
        return scipy.linalg.solve_triangular(
            np.linalg.cholesky(gram), np.eye(gram.shape[0]), lower=True
        )

    root = inverse_root(past)
    cross = inverse_root(future) @ (future.T @ past / rows) @ root.T
    _, _, directions = np.linalg.svd(cross, full_matrices=False)
    return root.T @ directions[:states].T


def _innovations_form(
    transition: np.ndarray,
    emission: np.ndarray,
    noise: np.ndarray,
    contraction: float,
    radius: float,
    rows: int,
) -> _Law:
    """Steady-state Kalman form of (A, C) with joint noise [[Q, S], [S', R]].

    A state that is a function of the past has its innovations among the zeros of the noise, and
    the Riccati equation may then have no stabilising solution to working precision; the gain
    S R^{-1}, exact in that case, is used instead. If that is unstable too, the frames are modelled
    as independent: a law that loses on held-out frames instead of an error.
    """
    states = transition.shape[0]
    process, cross, own = noise[:states, :states], noise[:states, states:], noise[states:, states:]
    own = symmetrise(_shrunk(own, rows))
    for exact in (True, False):
        state = np.zeros_like(process)
        if exact:
            try:
                state = scipy.linalg.solve_discrete_are(
                    transition.T, emission.T, symmetrise(process), own, s=cross
                )
            except (np.linalg.LinAlgError, ValueError):
                continue
        covariance = symmetrise(emission @ state @ emission.T + own)
        gain = np.linalg.solve(covariance, (transition @ state @ emission.T + cross).T).T
        closed = np.abs(np.linalg.eigvals(transition - gain @ emission)).max()
        if closed < 1.0 and np.linalg.eigvalsh(covariance)[0] > 0.0:
            return _Innovations(transition, gain, emission, covariance, contraction, radius)
    still = symmetrise(emission @ emission.T + own)
    return _Vector(np.empty((0, *own.shape)), still, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class _LongMemory:
    """Independent fractional noises."""

    memory: np.ndarray
    variance: np.ndarray
    contraction: float = 1.0
    radius: float | None = None

    def video(self) -> GaussianVideo:
        return Arfima(memory=self.memory, noise_variance=np.diag(self.variance))

    def whiten(self, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Durbin–Levinson with the closed form phi_jj = D/(j - D) (R5)."""
        frames, dim = series.shape
        ratio = np.array([_fractional_variance(d) for d in self.memory])
        coefficients = np.zeros((frames, dim))
        errors = np.empty_like(series)
        half_log_det = np.empty(frames)
        for k in range(frames):
            if k > 0:
                reflected = self.memory / (k - self.memory)
                coefficients[: k - 1] -= reflected * coefficients[: k - 1][::-1]
                coefficients[k - 1] = reflected
                ratio = ratio * (1.0 - reflected**2)
            prediction = np.sum(coefficients[:k] * series[:k][::-1], axis=0)
            deviation = np.sqrt(ratio * self.variance)
            errors[k] = (series[k] - prediction) / deviation
            half_log_det[k] = np.sum(np.log(deviation))
        return errors, half_log_det


def _fractional_variance(memory: float) -> float:
    """Variance of fractional noise with unit innovations."""
    return float(Arfima(memory=float(memory)).autocovariance(0)[0, 0, 0])


class _Whittle:
    family = "arfima"

    def settings(self, frames: int, dim: int) -> list[dict[str, Any]]:
        return [{}]

    def fit(self, segments: Sequence[np.ndarray], setting: Mapping[str, Any]) -> _LongMemory:
        logs, powers = [], []
        for piece in segments:
            length = piece.shape[0]
            if length < 4:
                continue
            omega = 2.0 * np.pi * np.arange(1, (length - 1) // 2 + 1) / length
            transform = np.fft.rfft(piece, axis=0)[1 : omega.size + 1]
            logs.append(2.0 * np.log(2.0 * np.sin(0.5 * omega)))
            powers.append(np.abs(transform) ** 2 / length)
        log_gap, power = np.concatenate(logs), np.concatenate(powers)
        memory, variance = zip(*(_whittle(log_gap, one) for one in power.T), strict=True)
        return _LongMemory(np.array(memory), np.array(variance))


def _whittle(log_gap: np.ndarray, power: np.ndarray) -> tuple[float, float]:
    r"""Minimise $\log\overline{I/g_D} + \overline{\log g_D}$, $g_D = (2\sin\omega/2)^{-2D}$."""

    def objective(memory: float) -> float:
        variance = np.mean(power * np.exp(memory * log_gap))
        return float(np.log(variance) - memory * np.mean(log_gap))

    if float(np.mean(power)) <= STILL:  # stands still here: white, and as small as it goes
        return 0.0, STILL
    best = scipy.optimize.minimize_scalar(objective, bounds=(-0.49, 0.49), method="bounded")
    memory = float(best.x)
    return memory, float(np.mean(power * np.exp(memory * log_gap)))


_ESTIMATORS: dict[str, _Estimator] = {
    "autoregressive": _RidgeAutoregression(),
    "state_space": _CanonicalVariates(),
    "arfima": _Whittle(),
}


# --- prediction without a law ---------------------------------------------------------------------


def predictive_gain(
    series: np.ndarray,
    window_lengths: Sequence[int],
    *,
    folds: int = 5,
    inner_folds: int = 4,
    unit: str = "nats",
) -> PredictiveGain:
    r"""Held-out gain in predicting the next frame from the last r frames, without a fitted law.

    $$\hat I_r = \frac1n \sum_k \left[\log N(x_k; \hat x_k^{(r)}, \hat\Sigma^{(r)})
                 - \log N(x_k; \hat x_k^{(0)}, \hat\Sigma^{(0)})\right],$$

    $\hat x^{(r)}$ a ridge regression on at most the last r frames. Its strength, the number of
    frames that it uses and $\hat\Sigma$ are chosen by cross-validation *inside* the training
    blocks; the score is on contiguous held-out blocks given their true past. Training rows whose
    past reaches into the held-out block are left out.

    $\hat I_r$ is an excess predictive score over an *estimated* independent law, not a bound on the
    information in the last r frames: it misses what the predictor fails to learn, and gains what
    the estimated independent law loses on the held-out blocks. For short clips, and clips whose
    parts differ, it can be biased upward. $\max_q \hat I_q - \max_{q \le r} \hat I_q$ estimates
    $MB_r$ (R5) with the same reserve.

    Arguments
    ---------
    series: `(n, d)`, component scores. window_lengths: r ≥ 0 in frames, at most n/8.
    folds, inner_folds: contiguous blocks outside and inside. unit: "nats" or "bits" a frame.

    Raises `TooLittleDataError` for a window above n/8, or fewer than 4 frames a block.

    >>> series = Autoregressive([0.9], 0.19).sample(1, frames=400, seed=0)[0]
    >>> gain = predictive_gain(series, [0, 1, 2])
    >>> float(gain.gain[0]), bool(abs(gain.gain[1] - 0.83) < 4 * gain.standard_error[1])
    (0.0, True)
    """
    values = _finite_frames(series, "series")
    if values.ndim != 2:
        raise ParameterError("series", "of shape (n, d)", f"shape {values.shape}")
    if unit not in UNITS:
        raise ParameterError("unit", f"one of {', '.join(UNITS)}", unit)
    folds = positive_integer("folds", folds, minimum=2)
    inner_folds = positive_integer("inner_folds", inner_folds, minimum=2)
    windows = [positive_integer("window_lengths", r, minimum=0) for r in window_lengths]
    if not windows:
        raise ParameterError("window_lengths", "at least one number of frames", windows)
    first, frames = max(windows), values.shape[0]
    needed = max(8 * first, first + 4 * folds)
    if frames < needed:
        raise TooLittleDataError(
            "series", f"at least {needed} frames for windows of {first} frames", frames
        )
    lags = sorted({0, *windows})
    scores = np.empty((frames - first, len(windows)))
    baseline = np.empty(frames - first)
    used = np.empty((len(windows), folds), dtype=int)
    for fold, held_out in enumerate(_held_out_folds(first, frames, folds)):
        pieces = _around(values, held_out)
        with one_blas_thread():
            fits = [_inner_choice(pieces, lag, inner_folds) for lag in lags]
        inner = np.array([fit.inner_score for fit in fits])
        allowed = np.searchsorted(lags, windows, side="right")
        best = [int(np.argmax(inner[:count])) for count in allowed]
        used[:, fold] = np.array(lags)[best]
        for a, b in held_out:
            densities = np.stack([fit.log_density(values, a, b) for fit in fits])
            baseline[a - first : b - first] = densities[0]
            scores[a - first : b - first] = densities[best].T
    per_frame = UNITS[unit] * (scores - baseline[:, None])
    gain = per_frame.mean(axis=0)
    error, blocks = block_standard_error(per_frame)
    # the best window of at most r frames, for every r
    best_within = [
        max(np.flatnonzero(np.array(windows) <= r), key=gain.__getitem__) for r in windows
    ]
    short = per_frame[:, [int(np.argmax(gain))]] - per_frame[:, best_within]
    return PredictiveGain(
        window_lengths=np.array(windows),
        gain=gain,
        standard_error=error,
        bottleneck=short.mean(axis=0),
        bottleneck_error=block_standard_error(short)[0],
        targets=frames - first,
        blocks=blocks,
        lags=used,
        unit=unit,
    )


@dataclass(frozen=True, eq=False)
class _RidgePredictor:
    lag: int
    mean: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    inner_score: float

    def log_density(self, series: np.ndarray, start: int, stop: int) -> np.ndarray:
        past, target = _lagged([series[start - self.lag : stop] - self.mean], self.lag)
        errors = target - past @ self.coefficients
        factor = np.linalg.cholesky(self.covariance)
        white = scipy.linalg.solve_triangular(factor, errors.T, lower=True)
        constant = np.sum(np.log(np.diag(factor))) + 0.5 * target.shape[1] * np.log(2.0 * np.pi)
        return -0.5 * np.sum(white**2, axis=0) - constant


def _inner_choice(pieces: Sequence[np.ndarray], lag: int, folds: int) -> _RidgePredictor:
    """Ridge regression on `lag` frames; strength and error covariance by inner validation."""
    mean = np.concatenate(pieces).mean(axis=0)
    centred = [piece - mean for piece in pieces]
    dim = mean.size
    spread = _spread(centred)
    scaled = [piece / spread for piece in centred]
    choices = [(p, name) for p in PENALTIES for name in (PREDICTORS if dim > 1 else ("all",))]
    choices = choices if lag else choices[:1]
    errors: list[list[np.ndarray]] = [[] for _ in choices]
    for kept, (piece, a, b) in _inner_blocks(scaled, folds):
        past, target = _lagged(kept, lag)
        seen, wanted = _lagged([piece[max(a - lag, 0) : b]], lag)
        for index, choice in enumerate(choices):
            coefficients = _ridge(past, target, *choice) if lag else np.zeros((0, dim))
            errors[index].append(wanted - seen @ coefficients)
    covariances, scores = [], []
    for parts in errors:
        rows = np.concatenate(parts)
        covariance = _shrunk(rows.T @ rows / rows.shape[0], rows.shape[0])
        covariances.append(covariance)
        scores.append(-np.sum(np.log(np.diag(np.linalg.cholesky(covariance)))))
    best = int(np.argmax(scores))
    past, target = _lagged(scaled, lag)
    coefficients = _ridge(past, target, *choices[best]) if lag else np.zeros((0, dim))
    return _RidgePredictor(
        lag=lag,
        mean=mean,
        coefficients=coefficients / np.tile(spread, lag)[:, None] * spread,
        covariance=covariances[best] * np.outer(spread, spread),
        inner_score=float(scores[best]),
    )


def _inner_blocks(
    pieces: Sequence[np.ndarray], folds: int
) -> Iterator[tuple[list[np.ndarray], tuple[np.ndarray, int, int]]]:
    """Contiguous blocks inside the pieces, each with what remains around it."""
    total = _total(pieces)
    for number, piece in enumerate(pieces):
        length = piece.shape[0]
        for a, b in _blocks(0, length, max(1, round(folds * length / total))):
            others = [other for i, other in enumerate(pieces) if i != number]
            kept = [part for part in (piece[:a], piece[b:], *others) if part.shape[0] > 0]
            if kept:
                yield kept, (piece, a, b)
