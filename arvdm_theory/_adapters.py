"""Adapters: networks that predict something else, as denoisers of the protocol of `empirical`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from arvdm_theory import noise
from arvdm_theory._teacher_forcing import to_numpy
from arvdm_theory.errors import ParameterError

Array = Any


@dataclass(frozen=True, eq=False)
class Adapter:
    """A network with another output, as a denoiser of the protocol; made by `from_...`.

    `convert(network, x, gamma, given)` returns the estimate. `prediction` names the output.
    """

    network: Any
    prediction: str
    convert: Callable[[Any, Array, Array, dict[str, Any]], Array]

    @property
    def positional(self) -> bool:
        """Whether the network must be told where its window stands."""
        return bool(getattr(self.network, "positional", False))

    def at_frame(self, first: int) -> Adapter:
        """The denoiser of windows with `first` frames before them."""
        return replace(self, network=self.network.at_frame(first))

    def __call__(self, x: Array, gamma: Array, **given: Any) -> Array:
        """The estimate of the clean window."""
        return self.convert(self.network, x, gamma, given)


def _scales(x: Array, gamma: Array) -> tuple[Array, Array]:
    """α and σ of every frame, shaped to multiply `x`."""
    xp = array_namespace(x)
    gamma = xp.reshape(gamma, tuple(gamma.shape) + (1,) * (x.ndim - gamma.ndim))
    return xp.sqrt(gamma / (1.0 + gamma)), xp.sqrt(1.0 / (1.0 + gamma))


def _level(gamma: Array, clock: str) -> Array:
    if clock not in noise.CLOCKS:
        raise ParameterError("clock", f"one of {', '.join(noise.CLOCKS)}", clock)
    return gamma if clock == "gamma" else noise.to_clock(noise.time_from_gamma(gamma), clock)


def from_epsilon(network: Any, clock: str = "gamma") -> Adapter:
    r"""Noise prediction: $\hat x_0 = (x - \sigma\hat\varepsilon)/\alpha$.

    `network(x, level, **given)` returns $\hat\varepsilon$ of the shape of x, `(B, w, ...)`; it is
    given `level` `(B, w)` in `clock`, one of `noise.CLOCKS`, and the protocol's other arguments
    unchanged. An error of $\hat\varepsilon$ reaches the estimate times
    $\sigma/\alpha = \gamma^{-1/2}$.

    >>> from arvdm_theory import StaticLatent
    >>> from arvdm_theory.empirical import exact_denoiser
    >>> exact = exact_denoiser(StaticLatent(0.5), 0.05)
    >>> epsilon = lambda x, gamma, **given: (x - (0.5**0.5) * exact(x, gamma)) / 0.5**0.5
    >>> x, gamma = np.ones((1, 1, 1)), np.ones((1, 1))
    >>> bool(np.isclose(from_epsilon(epsilon)(x, gamma), exact(x, gamma)).all())
    True
    """
    _level(np.ones(1), clock)

    def convert(network: Any, x: Array, gamma: Array, given: dict[str, Any]) -> Array:
        alpha, sigma = _scales(x, gamma)
        return (x - sigma * network(x, _level(gamma, clock), **given)) / alpha

    return Adapter(network, "epsilon", convert)


def from_v(network: Any, clock: str = "gamma") -> Adapter:
    r"""Velocity $v = \alpha\varepsilon - \sigma x_0$: $\hat x_0 = \alpha x - \sigma\hat v$.

    `network(x, level, **given)` as in `from_epsilon`. Source: Salimans and Ho, arXiv 2202.00512.
    """
    _level(np.ones(1), clock)

    def convert(network: Any, x: Array, gamma: Array, given: dict[str, Any]) -> Array:
        alpha, sigma = _scales(x, gamma)
        return alpha * x - sigma * network(x, _level(gamma, clock), **given)

    return Adapter(network, "v", convert)


def from_score(network: Any, clock: str = "t") -> Adapter:
    r"""Score $s = (\alpha\hat x_0 - x)/\sigma^2$ (Tweedie): $\hat x_0 = (x + \sigma^2 s)/\alpha$.

    `network(x, level, **given)` as in `from_epsilon`; the score is that of the variance-preserving
    x of the protocol, per frame.
    """
    _level(np.ones(1), clock)

    def convert(network: Any, x: Array, gamma: Array, given: dict[str, Any]) -> Array:
        alpha, sigma = _scales(x, gamma)
        return (x + sigma**2 * network(x, _level(gamma, clock), **given)) / alpha

    return Adapter(network, "score", convert)


def from_edm(network: Any, sigma_data: float | None = None) -> Adapter:
    r"""EDM: a denoiser $D(y; \sigma)$ of $y = x/\alpha = x_0 + \sigma\xi$, σ = γ^{-1/2}.

    Without `sigma_data`, `network(y, sigma, **given)` is D itself, sigma `(B, w)`. With it,
    `network` is the raw F inside the preconditioning:
    $D = c_{skip}\,y + c_{out}\,F(c_{in}\,y,\ \tfrac14\log\sigma)$,
    $c_{skip} = \sigma_d^2/(\sigma^2+\sigma_d^2)$,
    $c_{out} = \sigma\sigma_d/\sqrt{\sigma^2+\sigma_d^2}$,
    $c_{in} = 1/\sqrt{\sigma^2+\sigma_d^2}$. References and memory are passed on unchanged (at
    level δ in the protocol's scale).

    Source: Karras et al., arXiv 2206.00364, table 1.
    """
    if sigma_data is not None and not sigma_data > 0.0:
        raise ParameterError("sigma_data", "positive", sigma_data)

    def convert(network: Any, x: Array, gamma: Array, given: dict[str, Any]) -> Array:
        xp = array_namespace(x)
        alpha, sigma = _scales(x, gamma)
        noisy, level = x / alpha, 1.0 / xp.sqrt(gamma)
        if sigma_data is None:
            return network(noisy, level, **given)
        ratio = sigma / alpha
        total = ratio**2 + sigma_data**2
        raw = network(noisy / xp.sqrt(total), 0.25 * xp.log(level), **given)
        return sigma_data**2 / total * noisy + ratio * sigma_data / xp.sqrt(total) * raw

    return Adapter(network, "edm", convert)


def from_flow(network: Any) -> Adapter:
    r"""Flow matching: velocity $u = \varepsilon - x_0$ of $y = (1-\tau)x_0 + \tau\varepsilon$.

    $\tau = 1/(1+\sqrt\gamma)$, $y = (1-\tau)\,x/\alpha$, $\hat x_0 = y - \tau\hat u$.
    `network(y, tau, **given)`, tau `(B, w)`. For the opposite convention (τ = 1 is data,
    velocity $x_0 - \varepsilon$) wrap it: `lambda y, tau, **g: -network(y, 1 - tau, **g)`.

    Source: rectified flow, arXiv 2209.03003; `noise.level(tau, "flow_time")`.
    """

    def convert(network: Any, x: Array, gamma: Array, given: dict[str, Any]) -> Array:
        xp = array_namespace(x)
        alpha, _ = _scales(x, gamma)
        time = 1.0 / (1.0 + xp.sqrt(gamma))
        tau = xp.reshape(time, tuple(time.shape) + (1,) * (x.ndim - time.ndim))
        noisy = (1.0 - tau) * (x / alpha)
        return noisy - tau * network(noisy, time, **given)

    return Adapter(network, "flow", convert)


def from_torch(module: Any, *, device: str = "cpu", dtype: str = "float32") -> Adapter:
    """A torch denoiser of the protocol, for NumPy clips: arrays in, float64 arrays out.

    Needed for NumPy or memory-mapped clips only; torch clips go to the module as they are. The
    module should be in evaluation mode; no gradients are kept.
    """

    def convert(network: Any, x: Array, gamma: Array, given: dict[str, Any]) -> Array:
        import torch

        kind = getattr(torch, dtype)

        def tensor(value: Array) -> Any:
            if value is None:
                return None
            return torch.as_tensor(np.array(value, order="C")).to(device=device, dtype=kind)

        with torch.no_grad():
            out = network(
                tensor(x), tensor(gamma), **{key: tensor(item) for key, item in given.items()}
            )
        return to_numpy(out)

    return Adapter(module, "x0", convert)


DIFFUSERS_PREDICTIONS = ("epsilon", "v_prediction", "sample")
DIFFUSERS_LAYOUTS = ("video", "channels")


def from_diffusers(
    model: Any,
    alphas_cumprod: Any,
    *,
    prediction: str = "epsilon",
    layout: str = "video",
    condition: Callable[[Array | None], Mapping[str, Any]] | None = None,
) -> Adapter:
    r"""A checkpoint of the layout `model(sample, timestep, ...)` with an `alphas_cumprod` table.

    The layout of diffusers' UNets: `sample` noisy input, `timestep` `(B,)` index into the table,
    an output with `.sample`, or a tuple, or a tensor. This worked adapter shows every step:

    1. *level*: γ is looked up in the table, $\bar\alpha/(1-\bar\alpha)$, by interpolation in log γ;
       the (fractional) timestep is exact at the table's own levels, `noise.level(alphas_cumprod,
       "alpha_bar")`, from which a schedule's `grid` may be built;
    2. *context*: memory and references, oldest first, stand before the window, in time (`video`:
       sample `(B, C, m + r + w, H, W)`, output alike, its last w frames count) or on the channels
       (`channels`: sample `(B, (m + r + w) C, H, W)`, output `(B, w C, H, W)`);
    3. *prediction*: `epsilon`, `v_prediction` or `sample`, in the protocol's variance-preserving
       scale, becomes the estimate.

    Arguments: `condition(action)` returns further keyword arguments of the model
    (`encoder_hidden_states`, `class_labels`, ...).

    Raises `ParameterError` for levels outside the table, and for windows whose frames have
    different levels, because such a model takes one timestep a sample: use it with chunk, next
    frame or outpainting schedules (with clean frames as references).
    """
    if prediction not in DIFFUSERS_PREDICTIONS:
        raise ParameterError("prediction", f"one of {', '.join(DIFFUSERS_PREDICTIONS)}", prediction)
    if layout not in DIFFUSERS_LAYOUTS:
        raise ParameterError("layout", f"one of {', '.join(DIFFUSERS_LAYOUTS)}", layout)
    table = to_numpy(alphas_cumprod)
    if table.ndim != 1 or table.size < 2 or not np.all((table > 0.0) & (table < 1.0)):
        raise ParameterError("alphas_cumprod", "at least 2 numbers in (0, 1)", table.shape)
    if not np.all(np.diff(table) < 0.0):
        raise ParameterError("alphas_cumprod", "decreasing", "values that rise")
    log_snr = np.log(table) - np.log1p(-table)

    def timestep(gamma: np.ndarray) -> np.ndarray:
        if not np.all(gamma == gamma[:, :1]):
            raise ParameterError(
                "gamma", "equal over a window (the model takes one timestep a sample)", gamma[0]
            )
        level = np.log(gamma[:, 0])
        slack = 1e-6 * (1.0 + np.abs(log_snr[[0, -1]]))  # float32 levels
        if np.any(level > log_snr[0] + slack[0]) or np.any(level < log_snr[-1] - slack[1]):
            raise ParameterError(
                "gamma",
                f"in the table's {np.exp(log_snr[-1]):.3g}..{np.exp(log_snr[0]):.3g}",
                f"{gamma.min():.3g}..{gamma.max():.3g}",
            )
        return np.asarray(np.interp(level, log_snr[::-1], np.arange(table.size)[::-1]))

    def convert(network: Any, x: Array, gamma: Array, given: dict[str, Any]) -> Array:
        xp = array_namespace(x)
        alpha, sigma = _scales(x, gamma)
        before = [given[key] for key in ("memory", "reference") if given.get(key) is not None]
        frames = xp.concat([*before, x], axis=1) if before else x
        batch, count, channels, height, width = (int(n) for n in frames.shape)
        window = int(x.shape[1])
        index = timestep(to_numpy(gamma))
        if is_torch_array(x):
            index = xp.asarray(index, dtype=gamma.dtype, device=x.device)
        extra = dict(condition(given.get("action"))) if condition is not None else {}
        if layout == "video":
            out = network(xp.permute_dims(frames, (0, 2, 1, 3, 4)), index, **extra)
        else:
            flat = xp.reshape(frames, (batch, count * channels, height, width))
            out = network(flat, index, **extra)
        out = out[0] if isinstance(out, tuple) else getattr(out, "sample", out)
        if layout == "video":
            out = xp.permute_dims(out, (0, 2, 1, 3, 4))[:, count - window :]
        else:
            out = xp.reshape(out, (batch, window, channels, height, width))
        if prediction == "epsilon":
            return (x - sigma * out) / alpha
        return alpha * x - sigma * out if prediction == "v_prediction" else out

    return Adapter(model, prediction, convert)
