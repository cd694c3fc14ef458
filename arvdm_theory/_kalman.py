"""Linear Gaussian state-space models and the linear-time recursions over them.

    z_1 ~ N(m, P),   z_{i+1} = A_i z_i + N(0, Q_i),   x_i = C_i z_i + N(0, V_i)

Entries past the end of an array repeat its last one, so that arrays which do not change with time
have a leading axis of length one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arvdm_theory._gaussian import psd_factor, symmetrise, transpose


@dataclass(frozen=True, eq=False)
class Views:
    """Emissions `(T, d, n)` of d neighbouring sites out of n on a circle, made when asked for.

    Frame i sees the sites from `left[i]` on, `weight[i]` of the way to the next one, linearly
    interpolated; a path of any length costs two numbers a frame.
    """

    left: np.ndarray  # (T,), integers
    weight: np.ndarray  # (T,), in [0, 1)
    dim: int
    sites: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(T, d, n)`."""
        return (self.left.size, self.dim, self.sites)

    def __getitem__(self, index: int | np.ndarray) -> np.ndarray:
        column = self.left[index, None] + np.arange(self.dim)
        weight = self.weight[index, None, None]
        eye = np.eye(self.sites)
        return (1.0 - weight) * eye[column % self.sites] + weight * eye[(column + 1) % self.sites]


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """A state-space form of a centred video.

    Arguments
    ---------
    initial_mean: `(n,)` and `initial_covariance`: `(n, n)`, law of the state at frame 1.
    transition: `(T or 1, n, n)`; entry i moves the state from frame i+1 to frame i+2.
    process: `(T or 1, n, n)`, covariance of that move's noise.
    emission: `(T or 1, d, n)` and `noise`: `(T or 1, d, d)`, covariance of the frame's own noise.
    """

    initial_mean: np.ndarray
    initial_covariance: np.ndarray
    transition: np.ndarray
    process: np.ndarray
    emission: np.ndarray | Views
    noise: np.ndarray

    def at(self, name: str, index: int) -> np.ndarray:
        """Entry `index` (0 for frame 1) of one of the time-indexed arrays."""
        values: np.ndarray | Views = getattr(self, name)
        return np.asarray(values[min(index, values.shape[0] - 1)])

    def span(self, name: str, indices: np.ndarray) -> np.ndarray:
        """Entries at several indices, broadcastable against `indices`."""
        values: np.ndarray | Views = getattr(self, name)
        if values.shape[0] == 1:
            indices = np.zeros(1, dtype=int)
        return np.asarray(values[np.minimum(indices, values.shape[0] - 1)])

    @property
    def constant_from(self) -> int:
        """Index of the frame from which on no array changes with time."""
        arrays = (self.transition, self.process, self.emission, self.noise)
        return max(array.shape[0] for array in arrays) - 1

    @property
    def time_invariant(self) -> bool:
        """Whether no array changes with time."""
        return self.constant_from == 0


def state_moments(model: LinearGaussian, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(frames, n)` and covariance `(frames, n, n)` of the state at each frame."""
    size = model.initial_mean.shape[0]
    means = np.empty((frames, size))
    covariances = np.empty((frames, size, size))
    means[0], covariances[0] = model.initial_mean, model.initial_covariance
    for i in range(frames - 1):
        move = model.at("transition", i)
        means[i + 1] = move @ means[i]
        covariances[i + 1] = symmetrise(move @ covariances[i] @ move.T) + model.at("process", i)
    return means, covariances


def joint_covariance(model: LinearGaussian, frames: int) -> np.ndarray:
    """Covariance of frames 1..`frames`, stacked frame by frame, `(frames d, frames d)`."""
    _, states = state_moments(model, frames)
    index = np.arange(frames)
    emission = np.broadcast_to(model.span("emission", index), (frames, *model.emission.shape[1:]))
    dim = emission.shape[1]
    out = np.zeros((frames, dim, frames, dim))
    carried = states @ transpose(emission)  # Cov(z_i, x_i) without the frame's own noise
    for lag in range(frames):
        count = frames - lag
        if lag > 0:
            # carried[i] = Cov(z_{i+lag}, x_i)
            carried = model.span("transition", index[:count] + lag - 1) @ carried[:count]
        block = emission[lag:] @ carried
        if lag == 0:
            block = symmetrise(block) + model.span("noise", index)
        out[index[lag:], :, index[:count], :] = block
        out[index[:count], :, index[lag:], :] = transpose(block)
    return out.reshape(frames * dim, frames * dim)


def simulate(
    model: LinearGaussian, frames: int, size: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw `size` centred videos of `frames` frames: `(size, frames, d)`."""
    dim = model.emission.shape[1]
    states = model.initial_mean.shape[0]
    process, noise = psd_factor(model.process), psd_factor(model.noise)
    start = psd_factor(model.initial_covariance)
    state = model.initial_mean + generator.standard_normal((size, states)) @ start.T
    out = np.empty((size, frames, dim))
    for i in range(frames):
        own = noise[i if noise.shape[0] > 1 else 0]
        out[:, i] = state @ model.at("emission", i).T
        out[:, i] += generator.standard_normal((size, dim)) @ own.T
        if i + 1 < frames:
            move = process[i if process.shape[0] > 1 else 0]
            state = state @ model.at("transition", i).T
            state += generator.standard_normal((size, states)) @ move.T
    return out


def filter_step(
    covariance: np.ndarray, emission: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One measurement update, Joseph form: `(filtered covariance, gain, innovation covariance)`."""
    cross = covariance @ emission.T
    seen = emission @ cross
    innovation = 0.5 * (seen + seen.T) + noise
    gain = np.linalg.solve(innovation, cross.T).T
    keep = np.eye(covariance.shape[0]) - gain @ emission
    left = keep @ covariance @ keep.T + gain @ noise @ gain.T
    return 0.5 * (left + left.T), gain, innovation
