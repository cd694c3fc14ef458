"""Footage in, Gaussian video out: loading, fitting, and the model-free gain."""

from __future__ import annotations

import builtins
import sys
import warnings
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import scipy.stats

from arvdm_theory import fit as fitting
from arvdm_theory.errors import MediaError, ParameterError, TooLittleDataError
from arvdm_theory.fit import (
    PredictiveGain,
    fit_video,
    load_frames,
    predictive_gain,
    video_from_specification,
)
from arvdm_theory.memory import window_memory_bottleneck
from arvdm_theory.video import Arfima, Autoregressive, GaussianVideo, StateSpace

ROTATION = 0.95 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
STATE_SPACE = StateSpace(ROTATION, [[1.0, 0.0], [0.5, 1.0], [0.2, 0.3]], 0.2, 0.3)


def series(video: GaussianVideo, frames: int, seed: int = 0) -> np.ndarray:
    return video.sample(1, frames=frames, seed=seed)[0]


def moving_clip(frames: int, height: int = 16, width: int = 24) -> np.ndarray:
    """A blob that wanders over a gradient, uint8 RGB; every frame differs from the last."""
    y, x = np.mgrid[0:height, 0:width]
    path = 2.0 * np.cumsum(np.random.default_rng(0).standard_normal((frames, 2)), axis=0)
    centre = np.abs((path + [height / 2, width / 2]) % [2 * height, 2 * width] - [height, width])
    blob = np.exp(-((y - centre[:, :1, None]) ** 2 + (x - centre[:, 1:, None]) ** 2) / 18.0)
    colour = np.array([200.0, 120.0, 60.0])
    # the light flickers by 6 grey levels: no two neighbours are equal
    light = 20.0 + 6.0 * (np.arange(frames) % 2)[:, None, None, None]
    return (light + x[..., None] + blob[..., None] * colour).clip(0, 255).astype(np.uint8)


def write_video(path: Path, clip: np.ndarray, codec: str = "libx264", **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "12"}
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


# --- loading --------------------------------------------------------------------------------------


def test_integers_are_divided_by_their_largest_value_and_floats_kept() -> None:
    clip = moving_clip(3)
    np.testing.assert_array_equal(load_frames(clip), clip / 255.0)
    wide = clip.astype(np.uint16) * 257
    np.testing.assert_allclose(load_frames(wide), clip / 255.0, rtol=1e-15)
    grey = np.linspace(0.0, 1.0, 24).reshape(2, 3, 4)
    loaded = load_frames(grey)
    assert loaded.shape == (2, 3, 4, 1) and loaded.dtype == np.float64
    np.testing.assert_array_equal(loaded[..., 0], grey)


def test_crop_frames_and_every_select_what_they_say() -> None:
    clip = moving_clip(10, 6, 9)
    whole = clip / 255.0
    cases: list[tuple[dict[str, Any], np.ndarray]] = [
        ({"crop": "left"}, whole[:, :, :4]),
        ({"crop": "right"}, whole[:, :, 5:]),
        ({"crop": "2:7,1:4"}, whole[:, 1:4, 2:7]),
        ({"crop": ":7,1:"}, whole[:, 1:, :7]),
        ({"frames": "3:8"}, whole[3:8]),
        ({"frames": "3:"}, whole[3:]),
        ({"frames": "1:9", "every": 3}, whole[1:9:3]),
    ]
    for selection, expected in cases:
        np.testing.assert_array_equal(load_frames(clip, **selection), expected)


def test_every_distinct_keeps_one_frame_of_each_run() -> None:
    clip = moving_clip(8)
    held = np.repeat(clip, [1, 5, 1, 1, 3, 1, 2, 1], axis=0)
    np.testing.assert_array_equal(load_frames(held, every="distinct"), load_frames(clip))
    # one grey level in one pixel is compression noise, half a level everywhere is not
    held[2, 0, 0, 0] += 1
    assert load_frames(held, every="distinct").shape[0] == 8


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"crop": "0:10,0:6"}, "crop (x) must be a:b with 0 <= a < b <= 9, got 0:10"),
        ({"crop": "3:3,0:6"}, "crop (x) must be a:b with 0 <= a < b"),
        ({"crop": "0:4,-1:6"}, "crop (y) must be a:b with 0 <= a < b <= 6, got -1:6"),
        ({"crop": "middle"}, "crop must be left, right or x0:x1,y0:y1"),
        ({"crop": "a:b,0:1"}, "crop (x) must be of the form a:b with integers, got a:b"),
        ({"frames": "0:11"}, "frames must be a:b with 0 <= a < b <= 10, got 0:11"),
        ({"frames": "5"}, "frames must be of the form a:b"),
        ({"every": 0}, "every must be an integer of at least 1, got 0"),
        ({"every": 1.5}, "every must be an integer of at least 1, got 1.5"),
    ],
)
def test_selections_outside_the_clip_are_refused(
    selection: dict[str, Any], message: str, tmp_path: Path
) -> None:
    clip = moving_clip(10, 6, 9)
    np.save(tmp_path / "clip.npy", clip)
    for source in (clip, tmp_path / "clip.npy"):
        with pytest.raises(ParameterError) as error:
            load_frames(source, **selection)
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), "frames of shape (n, height, width[, channels]), got shape (3, 4)"),
        (np.zeros((0, 4, 4)), "frames of shape"),
        (np.full((2, 3, 3), np.nan), "floats in [0, 1]"),
        (np.full((2, 3, 3), 1.5), "floats in [0, 1], got 1.5..1.5"),
        (np.zeros((2, 3, 3), dtype=np.int32), "unsigned integers, or floats in [0, 1]"),
        (np.array([["a"]]), "frames of shape"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        load_frames(array)
    assert message in str(error.value)


def test_footage_too_large_for_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "LARGEST_FOOTAGE", 100)
    with pytest.raises(ParameterError, match="at most 100 numbers after crop, frames and every"):
        load_frames(moving_clip(2))


def test_numpy_files(tmp_path: Path) -> None:
    clip = moving_clip(4)
    np.save(tmp_path / "one.npy", clip)
    np.savez(tmp_path / "only.npz", walk=clip)
    np.savez(tmp_path / "named.npz", frames=clip, actions=np.zeros(4))
    for name in ("one.npy", "only.npz", "named.npz"):
        np.testing.assert_array_equal(load_frames(tmp_path / name), clip / 255.0)
    np.savez(tmp_path / "two.npz", a=clip, b=clip)
    with pytest.raises(MediaError, match="an archive of one array, or of one called frames"):
        load_frames(tmp_path / "two.npz")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object))
    whole = (tmp_path / "one.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "only.npz").read_bytes()[:200])
    for name in ("pickled.npy", "cut.npy", "cut.npz"):
        with pytest.raises(MediaError, match="a readable NumPy file"):
            load_frames(tmp_path / name)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mkv"])
def test_video_files_give_all_their_frames(name: str, tmp_path: Path) -> None:
    clip = moving_clip(30, 32, 48)
    path = write_video(tmp_path / name, clip)
    loaded = load_frames(path)
    assert loaded.shape == clip.shape
    # lossy coding at a low quantiser; frames differ from each other by far more
    assert np.abs(loaded - clip / 255.0).mean() < 0.02
    part = load_frames(path, crop="left", frames="3:20", every=4)
    np.testing.assert_array_equal(part, loaded[3:20:4, :, :24])
    with pytest.raises(ParameterError, match="frames must be a:b with 0 <= a < b <= 30"):
        load_frames(path, frames="10:31")
    with pytest.raises(ParameterError, match=r"crop \(y\) must be a:b with 0 <= a < b <= 32"):
        load_frames(path, crop="0:8,0:33")


def test_gif(tmp_path: Path) -> None:
    clip = moving_clip(12, 32, 48)
    path = write_video(tmp_path / "clip.gif", clip, codec="gif")
    assert load_frames(path).shape == clip.shape
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.raises(MediaError):
        load_frames(path)


def test_a_truncated_video_is_refused_and_never_shortened(tmp_path: Path) -> None:
    clip = moving_clip(40, 32, 48)
    # the index in front: what is left still decodes, but the header declares 40 frames
    path = write_video(tmp_path / "front.mp4", clip, movflags="faststart")
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    for share in (0.5, 0.75, 0.97):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(MediaError):
            load_frames(path)
    # the index at the end: nothing decodes
    path = write_video(tmp_path / "back.mp4", clip)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MediaError):
        load_frames(path)
    # no frame count in the header, but a duration
    path = write_video(tmp_path / "clip.mkv", clip)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError):
        load_frames(path)


def test_files_that_are_no_videos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError, match=r"a clip, not an empty file, got empty\.mp4"):
        load_frames(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("not a video " * 100)
    with pytest.raises(MediaError):
        load_frames(tmp_path / "text.mp4")
    with pytest.raises(MediaError, match="an existing file"):
        load_frames(tmp_path / "missing.mp4")
    with pytest.raises(MediaError, match="an existing file"):
        load_frames(tmp_path)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono"
        )
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="a file with a video stream"):
        load_frames(tmp_path / "sound.mp4")


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    real = builtins.__import__

    def without_av(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(MediaError, match=r'pip install "arvdm-theory\[video\]"'):
        load_frames(path)


# --- components -----------------------------------------------------------------------------------


def test_components_are_orthonormal_scaled_and_invertible() -> None:
    clip = load_frames(moving_clip(120))
    fit = fit_video(clip, components=4, candidates=["autoregressive"])
    flat = fit.basis.reshape(4, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-12)
    assert fit.scores.var(axis=0).mean() == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(fit.scores.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(fit.project(clip), fit.scores, atol=1e-12)
    np.testing.assert_allclose(fit.project(fit.reconstruct(fit.scores)), fit.scores, atol=1e-11)
    assert np.all(np.diff(fit.explained_variance) <= 0.0)
    # the share of variance is what reconstruction really keeps
    lost = np.var(clip - fit.reconstruct(fit.scores), axis=0).sum() / np.var(clip, axis=0).sum()
    assert fit.explained_variance.sum() == pytest.approx(1.0 - lost, abs=1e-12)
    assert fit.mean_frame.shape == clip.shape[1:]


def test_components_by_share_of_variance_are_as_few_as_possible() -> None:
    clip = load_frames(moving_clip(400))
    fit = fit_video(clip, components=0.6, candidates=["autoregressive"])
    assert fit.explained_variance.sum() >= 0.6 > fit.explained_variance[:-1].sum()
    # 60 frames allow (60 - 12) // 12 = 4 components, however much they explain
    short = fit_video(clip[:60], components=0.999, candidates=["autoregressive"])
    assert short.video.dim == 4 and short.explained_variance.sum() < 0.999


def test_iterative_components_equal_dense_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = load_frames(moving_clip(120))
    dense = fit_video(clip, components=3, candidates=["autoregressive"])
    monkeypatch.setattr(fitting, "DENSE_COMPONENTS", 10)
    iterative = fit_video(clip, components=3, candidates=["autoregressive"])
    np.testing.assert_allclose(iterative.scores, dense.scores, atol=1e-7)


# --- fitted laws ----------------------------------------------------------------------------------


def test_autoregression_is_recovered() -> None:
    truth, frames = [0.5, 0.4], 3000
    x = series(Autoregressive(truth, 0.3), frames)
    fit = fit_video(x, components=1, candidates=["autoregressive"])
    assert isinstance(fit.video, Autoregressive)
    estimate = fit.video.coefficients[:, 0, 0]
    # asymptotic covariance Σ Γ^{-1} / n; further lags, if chosen, are noise of the same size
    gamma = Autoregressive(truth, 0.3).covariance(2)
    error = np.sqrt(0.3 * np.diag(np.linalg.inv(gamma)) / frames)
    assert np.all(np.abs(estimate[:2] - truth) < 4.5 * error)
    assert np.all(np.abs(estimate[2:]) < 4.5 * error[0])
    scale = fit.scale**2
    assert fit.video.noise_variance[0, 0] * scale == pytest.approx(
        0.3, rel=4.5 * np.sqrt(2 / frames)
    )


@pytest.mark.parametrize(
    ("truth", "family"),
    [
        (Autoregressive([ROTATION], 0.2), "autoregressive"),
        (STATE_SPACE, "state_space"),
        (Arfima(memory=[0.4, 0.2], dim=2), "arfima"),
    ],
    ids=["autoregressive", "state_space", "arfima"],
)
def test_held_out_gain_is_the_information_in_the_past(truth: GaussianVideo, family: str) -> None:
    """The right family gains I(X_k; past), the wrong ones no more (within errors)."""
    x = series(truth, 1000)
    fit = fit_video(x, components=truth.dim)
    information = window_memory_bottleneck(truth, [0]).total
    by_name = {candidate.family: candidate for candidate in fit.candidates}
    right = by_name[family]
    assert abs(right.gain - information) < 4.0 * right.gain_error
    for candidate in fit.candidates:
        assert candidate.gain < information + 4.0 * candidate.gain_error
        behind = fit.candidates[0].scores - candidate.scores
        # a little less is taken for a law that has the clip's variance
        assert behind.mean() >= 0.0 or not candidate.reproduces_variance
    # the right family is best, or behind by no more than chance
    behind = fit.candidates[0].scores - right.scores
    error, _ = fitting.block_standard_error(behind)
    assert behind.mean() <= 4.0 * error
    # a wrong family that cannot hold this law is told apart
    wrong = {"autoregressive": "arfima", "state_space": "arfima"}.get(family)
    if wrong is not None:
        behind = right.scores - by_name[wrong].scores
        error, _ = fitting.block_standard_error(behind)
        assert behind.mean() > 4.0 * error


def test_white_noise_has_no_gain() -> None:
    """The negative control: choosing among 100 settings must not invent memory."""
    x = np.random.default_rng(3).standard_normal((600, 2))
    fit = fit_video(x, components=2)
    for candidate in fit.candidates:
        assert candidate.gain < 3.0 * candidate.gain_error
        # q useless coefficients look like q / (2 n) nats; 30 of them are still small
        assert window_memory_bottleneck(candidate.video, [0]).total < 2 * 30 / (2 * 600)


def test_white_noise_gains_nothing_over_the_better_independent_law() -> None:
    """A diagonal law must not profit from a full covariance that is estimated badly."""
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((200, 8))
        fit = fit_video(x, components=8)
        for candidate in fit.candidates:
            assert not candidate.detectable
            assert candidate.gain < 2.0 * candidate.gain_error


def test_correlated_frames_keep_the_full_covariance_as_baseline() -> None:
    """Pixels that agree: a diagonal baseline would call their correlation memory."""
    x = np.random.default_rng(0).standard_normal((400, 2)) @ np.array([[1.0, 0.9], [0.0, 0.4]])
    held_out = fitting._held_out_folds(8, 400, 5)
    forms = fitting._Independent().settings(400, 2)
    assert [form["covariance"] for form in forms] == ["full", "diagonal"]
    scores = fitting._scores_out_of_fold(fitting._Independent(), forms, x, held_out)
    chosen = fitting._chosen_by_others(scores, np.ones((2, 2)), held_out)
    np.testing.assert_array_equal(chosen[8:], scores[8:, 0])
    assert fitting._Independent().settings(400, 1) == [{"covariance": "full"}]


def test_a_law_without_the_clips_variance_is_not_chosen_for_a_tie() -> None:
    """Shrunk coefficients predict as well and lose most of a slow component's variance."""
    generator = np.random.default_rng(0)
    better = generator.standard_normal(400)
    noise = generator.standard_normal(400)
    tied = better - 0.01 + noise - noise.mean()
    worse = better - 1.0 + 0.1 * generator.standard_normal(400)
    scores = np.stack([better, tied, worse], axis=1)
    wrong, near, right, none = [1.0, 0.1], [1.4, 1.0], [0.9, 1.1], [np.inf, 1.0]

    def choice(*ratios: list[float]) -> int:
        return fitting._choice(scores, np.array(ratios))

    assert choice(wrong, right, right) == 1
    assert choice(right, right, right) == 0
    # half of log 1.4 is less than the nat that the last one is behind, half of log 10 is more
    assert choice(near, none, right) == 0
    assert choice(wrong, none, right) == 2
    assert choice(none, none, right) == 2


def test_the_chosen_law_has_the_variance_of_a_slow_clip_with_cuts() -> None:
    """Rare jumps make every score noisy; the total information must not suffer from a penalty."""
    truth = Autoregressive([0.995], 1.0 - 0.995**2, dim=2)
    x = series(truth, 900, seed=1)
    x[300:] += 3.0
    x[600:] -= 5.0
    fit = fit_video(x, components=2, candidates=["autoregressive", "state_space"])
    for candidate in fit.candidates:
        ratio = np.diag(candidate.video.covariance(1)) / fit.scores.var(axis=0)
        np.testing.assert_allclose(candidate.variance_ratio, ratio, rtol=1e-10)
    assert fit.candidates[0].reproduces_variance
    assert np.all((ratio > 0.0) & np.isfinite(ratio))


def test_a_law_whose_variance_is_lost_in_rounding_is_infinitely_off() -> None:
    class Broken:
        def fit(self, *_: Any) -> Any:
            raise ParameterError("transition", "farther from a unit root", 1.0)

    ratio = fitting._variance_ratio(Broken(), {}, np.ones((5, 2)))  # type: ignore[arg-type]
    assert np.all(np.isinf(ratio)) and not fitting._in_range(ratio)


def test_the_printed_setting_has_its_own_gain() -> None:
    x = series(Autoregressive([0.9], 0.19), 300)
    fit = fit_video(x, components=1, candidates=["autoregressive"])
    best = fit.candidates[0]
    held_out = fitting._held_out_folds(300 - fit.targets, 300, 5)
    scores = fitting._scores_out_of_fold(best._estimator, [best._setting], fit.scores, held_out)[
        -fit.targets :, 0
    ]
    assert best.setting_gain == pytest.approx(scores.mean() - fit.baseline, rel=1e-9)
    error, _ = fitting.block_standard_error(scores)
    assert best.setting_gain_error > 0.0 and error > 0.0


def test_a_component_that_stands_still_in_a_piece_is_white_and_small() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitting._whittle(np.linspace(-2.0, 1.0, 20), np.zeros(20)) == (0.0, fitting.STILL)


def test_long_memory_is_estimated() -> None:
    """Whittle: over 20 clips the mean is unbiased to its standard error, spread sqrt(6/(π² n))."""
    frames, clips = 600, 20
    for memory in (0.1, 0.35, -0.2):
        sample = Arfima(memory=memory).sample(clips, frames=frames, seed=2)
        law = fitting._Whittle().fit([sample[..., 0].T], {})
        spread = np.sqrt(6.0 / (np.pi**2 * frames))
        # finite-sample bias is of order log(n)/n
        bias = np.log(frames) / frames
        assert abs(law.memory.mean() - memory) < 4.0 * spread / np.sqrt(clips) + bias
        assert np.all(np.abs(law.memory - memory) < 4.5 * spread + bias)
        assert law.variance.mean() == pytest.approx(1.0, abs=4.0 * np.sqrt(2 / (frames * clips)))


def _last_frame(video: GaussianVideo, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the last frame given the others, by dense conditioning."""
    frames, dim = x.shape
    covariance = video.covariance(frames)
    past = slice(0, (frames - 1) * dim)
    now = slice((frames - 1) * dim, None)
    gain = np.linalg.solve(covariance[past, past], covariance[past, now]).T
    return gain @ x[:-1].ravel(), covariance[now, now] - gain @ covariance[past, now]


@pytest.mark.parametrize(
    ("estimator", "setting"),
    [
        (fitting._RidgeAutoregression(), {"order": 3, "penalty": 1e-3, "predictors": "all"}),
        (fitting._RidgeAutoregression(), {"order": 3, "penalty": 1e-3, "predictors": "own"}),
        (fitting._CanonicalVariates(), {"states": 3, "depth": 4, "penalty": 1e-3}),
        (fitting._Whittle(), {}),
    ],
)
def test_the_law_that_is_scored_is_the_video_that_is_returned(
    estimator: Any, setting: dict[str, Any]
) -> None:
    x = series(STATE_SPACE, 250)
    law = estimator.fit([x - x.mean(axis=0)], setting)
    video = law.video()
    assert video.stationary
    tail = series(STATE_SPACE, 120, seed=5)
    white, half_log_det = law.whiten(tail)
    mean, covariance = _last_frame(video, tail)
    expected = scipy.stats.multivariate_normal.logpdf(tail[-1], mean, covariance)
    got = fitting._log_density(law, tail)[-1]
    # the filter starts at its steady state: what is left of the start after 120 frames
    assert got == pytest.approx(expected, abs=1e-7)
    assert white.shape == tail.shape and np.all(np.isfinite(half_log_det))


def test_long_memory_scores_every_frame_exactly() -> None:
    law = fitting._LongMemory(np.array([0.3, -0.2]), np.array([1.0, 0.5]))
    x = series(law.video(), 60)
    total = fitting._log_density(law, x).sum()
    expected = scipy.stats.multivariate_normal.logpdf(
        x.ravel(), np.zeros(120), law.video().covariance(60)
    )
    assert total == pytest.approx(expected, rel=1e-11)


def test_explosive_footage_still_gives_a_stationary_law() -> None:
    growth = 1.03 ** np.arange(150)[:, None] * (
        1.0 + 0.01 * series(Autoregressive([0.5], 1.0), 150)
    )
    fit = fit_video(growth, components=1, candidates=["autoregressive", "state_space"])
    for candidate in fit.candidates:
        assert candidate.spectral_radius is not None
        assert candidate.spectral_radius <= 1.0 - 1.0 / 150 + 1e-9
        assert candidate.video.stationary
    assert any(candidate.contraction < 1.0 for candidate in fit.candidates)


def test_more_penalty_means_smaller_coefficients() -> None:
    x = series(Autoregressive([0.9], 0.19, dim=3), 40)
    sizes = [
        np.abs(
            fitting._RidgeAutoregression()
            .fit([x], {"order": 2, "penalty": penalty, "predictors": "all"})
            .coefficients
        ).sum()
        for penalty in (1e-4, 1e-1, 10.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2] > 0.0


def test_own_predictors_couple_no_components() -> None:
    x = series(Autoregressive([ROTATION], 0.2), 200)
    setting = {"order": 2, "penalty": 1e-3, "predictors": "own"}
    law = fitting._RidgeAutoregression().fit([x], setting)
    for block in law.coefficients:
        np.testing.assert_array_equal(block, np.diag(np.diag(block)))
    # each row is the scalar fit of that component alone
    alone = fitting._RidgeAutoregression().fit([x[:, :1]], {**setting, "predictors": "all"})
    np.testing.assert_allclose(
        law.coefficients[:, 0, 0], alone.coefficients[:, 0, 0], rtol=1e-9, atol=1e-12
    )


def test_the_state_is_the_part_of_the_past_that_predicts() -> None:
    """Component 2 repeats component 1 a frame later: one state does it, and only in this order."""
    generator = np.random.default_rng(0)
    news, noise = generator.standard_normal((2, 1001))
    x = np.stack([news[1:], news[:-1] + 0.5 * noise[1:]], axis=1)
    law = fitting._CanonicalVariates().fit([x], {"states": 1, "depth": 2, "penalty": 1e-4})
    information = window_memory_bottleneck(law.video(), [0]).total
    # I = ½ log(1 + 1/0.25); relative error of each of the two log variances: sqrt(2/n)
    assert information == pytest.approx(0.5 * np.log(5.0), abs=4.0 * np.sqrt(2.0 / 1000))
    backwards = fitting._CanonicalVariates().fit(
        [x[::-1]], {"states": 1, "depth": 2, "penalty": 1e-4}
    )
    assert window_memory_bottleneck(backwards.video(), [0]).total > 0.5


def test_short_clips_choose_fewer_parameters() -> None:
    """Three independent AR(1) pixels: with 48 frames the fit must not use all 9 couplings."""
    x = series(Autoregressive([0.9], 0.19, dim=3), 48)
    fit = fit_video(x, components=3, candidates=["autoregressive"])
    settings = fit.candidates[0].settings
    assert settings["predictors"] == "own" or settings["penalty"] >= 1e-2


def test_refit_keeps_the_settings() -> None:
    x = series(Autoregressive([0.5, 0.3], 1.0), 300)
    candidate = fit_video(x, components=1, candidates=["autoregressive"]).candidates[0]
    again = candidate.refit([x[:150] - x.mean(), x[150:] - x.mean()])
    assert isinstance(again, Autoregressive)
    assert again.order == candidate.settings["order"]


def test_fitted_videos_are_descriptions() -> None:
    fit = fit_video(series(STATE_SPACE, 300), components=2)
    for candidate in fit.candidates:
        again = GaussianVideo.from_json(candidate.video.to_json())
        assert again.key == candidate.video.key
        assert np.linalg.eigvalsh(again.covariance(6))[0] > 0.0


def test_fits_do_without_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    x = series(Autoregressive([0.8], 0.36), 100)
    expected = fit_video(x, components=1, candidates=["autoregressive"]).video.key
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert fit_video(x, components=1, candidates=["autoregressive"]).video.key == expected


# --- diagnostics ----------------------------------------------------------------------------------


def test_whiteness_test_has_its_level_and_its_power() -> None:
    generator = np.random.default_rng(0)
    p = fitting._ljung_box(generator.standard_normal((400, 500)), 20, 0)
    # 500 independent tests at 5 %: binomial standard deviation .0097
    assert abs(np.mean(p < 0.05) - 0.05) < 4 * 0.0097
    coloured = Autoregressive([0.3], 1.0).sample(100, frames=400, seed=1)[..., 0].T
    assert np.mean(fitting._ljung_box(coloured, 20, 0) < 0.05) > 0.9


def test_residuals_of_the_right_family_are_white() -> None:
    fit = fit_video(series(Autoregressive([0.8], 0.36), 1000), components=1)
    by_name = {candidate.family: candidate for candidate in fit.candidates}
    assert by_name["autoregressive"].ljung_box[0] > 0.001
    assert by_name["arfima"].ljung_box[0] < 1e-4
    assert abs(by_name["autoregressive"].excess_kurtosis[0]) < 4.5 * np.sqrt(24 / 1000)


def test_held_frames_are_counted_and_the_remedy_named() -> None:
    clip = load_frames(moving_clip(60))
    none = fit_video(clip, candidates=["autoregressive"]).diagnostics
    assert none.duplicates == 0 and none.hint is None and none.run_lengths == {1: 60}
    held = fit_video(np.repeat(clip, 3, axis=0), candidates=["autoregressive"]).diagnostics
    assert (held.frames, held.distinct_frames, held.duplicates) == (180, 60, 120)
    assert held.run_lengths == {3: 60}
    assert held.hint is not None and "every=3" in held.hint
    half = np.concatenate([clip[:30], np.repeat(clip[30:], 5, axis=0)])
    partly = fit_video(half, candidates=["autoregressive"]).diagnostics
    assert partly.hint is not None and "frames 30 to 179" in partly.hint
    assert "every=distinct" in partly.hint


def test_drift_shows_in_the_halves() -> None:
    x = series(Autoregressive([0.5], 0.75), 400)
    still = fit_video(x, components=1, candidates=["autoregressive"]).diagnostics
    moved = fit_video(
        x * np.where(np.arange(400) < 200, 1.0, 3.0)[:, None]
        + 4.0 * (np.arange(400) >= 200)[:, None],
        components=1,
        candidates=["autoregressive"],
    ).diagnostics
    assert still.mean_shift < 0.6 and still.variance_ratio < 2.0
    assert moved.mean_shift > 1.0 and moved.variance_ratio > 4.0


# --- refusals -------------------------------------------------------------------------------------


def test_too_few_frames_are_refused_with_the_number_needed() -> None:
    clip = load_frames(moving_clip(200))
    with pytest.raises(TooLittleDataError, match="at least 24 different frames, got 20 of them"):
        fit_video(clip[:20])
    # holding frames makes no new ones
    with pytest.raises(TooLittleDataError, match="at least 24 different frames, got 20 of them"):
        fit_video(np.repeat(clip[:20], 5, axis=0))
    with pytest.raises(TooLittleDataError, match="at least 48 different frames for 3 component"):
        fit_video(clip[:47], components=3)
    assert fit_video(clip[:24]).video.dim == 1
    assert fit_video(clip[:48], components=3, candidates=["autoregressive"]).video.dim == 3


@pytest.mark.parametrize(
    ("frames", "arguments", "message"),
    [
        (np.zeros((50, 4)), {}, "at least 24 different frames, got 1 of them"),
        (np.full((50, 4), np.nan), {}, "frames must be finite"),
        (np.zeros(50), {}, "frames must be of shape (n, *frame), got shape (50,)"),
        ("wave", {"components": 5}, "components must be at most the rank of the footage (2)"),
        ("wave", {"components": 0}, "components must be an integer of at least 1, got 0"),
        ("wave", {"components": 1.5}, "components must be an integer, or a fraction in (0, 1)"),
        ("wave", {"components": True}, "components must be an integer, or a fraction"),
        ("wave", {"candidates": ["arma"]}, "candidates must be among autoregressive, state_space"),
        ("wave", {"candidates": []}, "candidates must be at least one family"),
        ("wave", {"folds": 1}, "folds must be an integer of at least 2, got 1"),
        ("wave", {"folds": 60}, "folds must be at most a quarter of the frames (50), got 60"),
    ],
)
def test_bad_fits_are_refused(
    frames: np.ndarray | str, arguments: dict[str, Any], message: str
) -> None:
    if isinstance(frames, str):
        frames = np.random.default_rng(0).standard_normal((200, 2)) @ np.ones((2, 6))
        frames[:, 3] *= -2.0
        frames += np.random.default_rng(1).standard_normal((200, 1)) * np.arange(6)
    with pytest.raises(ParameterError) as error:
        fit_video(frames, **arguments)
    assert message in str(error.value)


# --- specification --------------------------------------------------------------------------------


def test_specification_of_footage_is_its_fitted_video(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", moving_clip(90))
    keys = {"path": str(tmp_path / "clip.npy"), "components": 2, "frames": "10:80", "crop": "left"}
    video = GaussianVideo.from_json({"family": "frames", **keys})
    frames = load_frames(tmp_path / "clip.npy", frames="10:80", crop="left")
    assert video.key == fit_video(frames, components=2).video.key
    assert video.dim == 2
    with pytest.raises(ParameterError, match=r"^video\.stride must be one of the keys path"):
        video_from_specification({"path": "x", "stride": 2})
    with pytest.raises(ParameterError, match=r"^video\.path must be the path of a clip, got None"):
        video_from_specification({"components": 2})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "none.npy"}, "video.path must be an existing file, got none.npy"),
        ({"frames": "0:200"}, "video.frames must be a:b with 0 <= a < b <= 90, got 0:200"),
        ({"crop": "0:99,0:4"}, "video.crop (x) must be a:b with 0 <= a < b <= 24, got 0:99"),
        ({"every": 0}, "video.every must be an integer of at least 1, got 0"),
        ({"components": 0}, "video.components must be an integer of at least 1, got 0"),
        (
            {"frames": "0:20"},
            "video.path must be a clip of at least 24 different frames (after frames and every), "
            "got 20 of them",
        ),
        (
            {"path": "wrong.npy"},
            "video.path must be frames of shape (n, height, width[, channels]), got shape (3,)",
        ),
        ({"path": "still.npy"}, "video.path must be a clip of at least 24 different frames"),
    ],
)
def test_errors_of_a_specification_name_its_keys(
    keys: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # relative paths start here
    np.save("clip.npy", moving_clip(90))
    np.save("wrong.npy", np.zeros(3))
    np.save("still.npy", np.zeros((90, 4, 4)))
    with pytest.raises(ParameterError) as error:
        GaussianVideo.from_json({"family": "frames", "path": "clip.npy", **keys})
    assert str(error.value).startswith(message)


# --- the model-free gain --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "truth",
    [
        Autoregressive([0.9], 0.19),
        Autoregressive([0.5, 0.4], 0.3),
        Autoregressive([ROTATION], 0.1),
        STATE_SPACE,
    ],
)
def test_gain_is_the_information_in_the_last_frames(truth: GaussianVideo) -> None:
    """R5 from data alone: I(X_k; last r) = total - MB_r within 4 block standard errors."""
    windows = [0, 1, 2, 3, 4, 8]
    exact = window_memory_bottleneck(truth, windows)
    gain = predictive_gain(series(truth, 2000), windows)
    assert gain.gain[0] == 0.0 and gain.standard_error[0] == 0.0
    information = exact.total - exact.values
    assert np.all(np.abs(gain.gain - information)[1:] < 4.0 * gain.standard_error[1:])
    # estimated from 1,600 frames: a few parameters' worth of nats is lost
    slack = 4.0 * gain.bottleneck_error + 0.02
    assert np.all(np.abs(gain.bottleneck - exact.values)[1:] < slack[1:])
    assert np.all(np.diff(gain.bottleneck) <= 0.0) and gain.bottleneck[-1] >= 0.0
    assert np.all(gain.lags <= np.array(windows)[:, None])


def test_gain_of_white_noise_is_none() -> None:
    gain = predictive_gain(np.random.default_rng(0).standard_normal((800, 3)), [0, 1, 4, 16])
    assert np.all(gain.gain < 3.0 * gain.standard_error + 1e-3)
    assert gain.gain.min() > -0.1


def test_gain_within_two_standard_errors_has_no_windows() -> None:
    windows = np.array([0, 1, 2])
    gain = np.array([0.0, 0.1, 0.2])

    def made(error: float) -> PredictiveGain:
        errors = np.full(3, error)
        zeros = np.zeros(3)
        return PredictiveGain(windows, gain, errors, zeros, zeros, 50, 10, zeros, "nats")

    assert made(0.09).detectable and made(0.09).window_for(0.5) == 1
    assert not made(0.11).detectable and made(0.11).window_for(0.5) is None
    assert made(0.11).total == 0.2 and made(0.11).total_error == 0.11


def test_gain_sees_what_the_window_reaches() -> None:
    """x_k depends on x_{k-3} only: windows of 1 and 2 find nothing, 3 finds all."""
    gain = predictive_gain(series(Autoregressive([0.0, 0.0, 0.9], 0.19), 1500), [0, 1, 2, 3, 5])
    # either no lag is chosen (exactly 0) or the noise of a useless one
    assert np.all(np.abs(gain.gain[1:3]) <= 4.0 * gain.standard_error[1:3])
    assert gain.gain[3] == pytest.approx(0.83, abs=4.0 * gain.standard_error[3])
    assert gain.window_for(0.5) == 3
    bits = predictive_gain(series(Autoregressive([0.0, 0.0, 0.9], 0.19), 1500), [0, 3], unit="bits")
    # five targets more, because the longest window is shorter
    error = 4.0 * gain.standard_error[3] * 5 / gain.targets
    assert bits.gain[1] * np.log(2.0) == pytest.approx(gain.gain[3], abs=error + 0.01)


def test_gain_does_not_look_at_the_block_it_is_scored_on() -> None:
    """Changing a held-out target may change its score, never the predictor used for it."""
    x = series(Autoregressive([0.9], 0.19), 200)
    blocks = fitting._held_out_folds(4, 200, 5)[2]
    changed = x.copy()
    for a, b in blocks:
        changed[a:b] += 100.0
    choices = [fitting._inner_choice(fitting._around(y, blocks), 2, 4) for y in (x, changed)]
    np.testing.assert_array_equal(choices[0].coefficients, choices[1].coefficients)
    np.testing.assert_array_equal(choices[0].covariance, choices[1].covariance)


def test_folds_deal_every_target_once() -> None:
    for first, last in ((0, 26), (16, 1200), (3, 128)):
        folds = fitting._held_out_folds(first, last, 5)
        covered = np.sort(np.concatenate([np.arange(a, b) for fold in folds for a, b in fold]))
        np.testing.assert_array_equal(covered, np.arange(first, last))
        for fold in folds:
            pieces = fitting._around(np.arange(last)[:, None], fold)
            kept = np.concatenate(pieces).ravel()
            held = np.concatenate([np.arange(a, b) for a, b in fold])
            np.testing.assert_array_equal(np.sort(np.append(kept, held)), np.arange(last))


@pytest.mark.parametrize(
    ("shape", "windows", "message"),
    [
        ((50, 2), [0, 7], "series must be at least 56 frames for windows of 7 frames, got 50"),
        ((15, 1), [0], "series must be at least 20 frames"),
        ((50,), [0], "series must be of shape (n, *frame), got shape (50,)"),
        ((50, 2, 2), [0], "series must be of shape (n, d), got shape (50, 2, 2)"),
        ((50, 2), [], "window_lengths must be at least one number of frames"),
        ((50, 2), [-1], "window_lengths must be an integer of at least 0, got -1"),
    ],
)
def test_bad_gains_are_refused(shape: tuple[int, ...], windows: list[int], message: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    with pytest.raises(ParameterError) as error:
        predictive_gain(x, windows)
    assert message in str(error.value)
