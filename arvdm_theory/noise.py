r"""Noise levels and clocks, the Ornstein–Uhlenbeck kernel and its bridge.

Every frame is noised by its own Ornstein–Uhlenbeck path (variance preserving),

$$X^t = e^{-t} X^0 + \sqrt{1 - e^{-2t}}\,\xi, \qquad \gamma(t) = \frac{1}{e^{2t} - 1},\qquad
\lambda = \log\gamma .$$

A level is a *time* `t`, a signal-to-noise ratio `gamma`, or a log-SNR `log_snr`; other clocks are
imported through [`level`][arvdm_theory.noise.level]. All functions accept NumPy arrays, torch
tensors (returned as such, differentiable) and Python numbers (returned as NumPy float64), and
compute in float64: narrower arrays are upcast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from arvdm_theory.errors import ParameterError

__all__ = [
    "CLOCKS",
    "alpha",
    "bridge",
    "gamma",
    "kernel",
    "level",
    "log_snr",
    "sigma",
    "sub_step_levels",
    "time_from_gamma",
    "time_from_log_snr",
    "to_clock",
]

Array = Any

_NUMPY = array_namespace(np.zeros(()))

CLOCKS = ("t", "gamma", "log_snr", "edm_sigma", "alpha_bar", "flow_time")
"""Clocks in which a level may be given.

`t` OU time; `gamma` signal-to-noise ratio; `log_snr` its logarithm; `edm_sigma` the noise standard
deviation of a variance-exploding model with unit-scale data (EDM, k-diffusion); `alpha_bar` the
cumulative product of a discrete variance-preserving model (`alphas_cumprod` in diffusers);
`flow_time` tau of rectified flow, x = (1 - tau) x_0 + tau * noise.
"""


def _array(value: Any) -> tuple[Any, Array]:
    if not is_array_api_obj(value):
        value = np.asarray(value, dtype=np.float64)
    xp = array_namespace(value)
    return xp, value if value.dtype == xp.float64 else xp.astype(value, xp.float64)


def _pair(first: Any, second: Any) -> tuple[Any, Array, Array]:
    """Both as arrays of one namespace; numbers follow the array."""
    if is_array_api_obj(second) and not is_array_api_obj(first):
        xp, second = _array(second)
        return xp, xp.asarray(first, dtype=second.dtype, device=second.device), second
    xp, first = _array(first)
    if not is_array_api_obj(second):
        second = xp.asarray(second, dtype=first.dtype, device=first.device)
    return xp, first, _array(second)[1]


def _require(parameter: str, constraint: str, value: Any, holds: Any) -> None:
    xp = array_namespace(holds) if is_array_api_obj(holds) else np
    if not bool(xp.all(holds)):  # where the values are: no copy between devices
        raise ParameterError(parameter, constraint, value)


def alpha(t: Array) -> Array:
    """Signal scale `e^{-t}` of the OU kernel at OU time `t` ≥ 0; any shape, the same shape back.

    >>> float(alpha(0.0))
    1.0
    """
    xp, t = _array(t)
    _require("t", "at least 0", t, t >= 0)
    return xp.exp(-t)


def sigma(t: Array) -> Array:
    """Noise scale `sqrt(1 - e^{-2t})` of the OU kernel at OU time `t` ≥ 0; the same shape back.

    >>> bool(np.isclose(sigma(0.3) ** 2 + alpha(0.3) ** 2, 1.0))
    True
    """
    xp, t = _array(t)
    _require("t", "at least 0", t, t >= 0)
    return xp.sqrt(-xp.expm1(-2.0 * t))


def gamma(t: Array) -> Array:
    r"""Signal-to-noise ratio $\gamma(t) = 1/(e^{2t}-1)$.

    Arguments: `t`, OU time, positive, any shape. Returns the same shape; `t = 0` gives infinity.

    Source: THEORY, Notation.

    >>> float(gamma(0.5))
    0.5819767068693265
    """
    xp, t = _array(t)
    _require("t", "at least 0", t, t >= 0)
    return xp.exp(-2.0 * t) / -xp.expm1(-2.0 * t)


def log_snr(t: Array) -> Array:
    r"""Log signal-to-noise ratio $\lambda(t) = -\log(e^{2t}-1)$, accurate for small and large t.

    >>> float(log_snr(400.0))
    -800.0
    """
    xp, t = _array(t)
    # -log(expm1(2t)) = -(2t + log(-expm1(-2t))): no overflow for large t
    return -(2.0 * t + xp.log(-xp.expm1(-2.0 * t)))


def time_from_gamma(gamma: Array) -> Array:
    r"""OU time of a signal-to-noise ratio: $t = \tfrac12 \log(1 + 1/\gamma)$.

    >>> round(float(time_from_gamma(0.5819767068693263)), 12)
    0.5
    """
    xp, gamma = _array(gamma)
    return 0.5 * xp.log1p(1.0 / gamma)


def time_from_log_snr(log_snr: Array) -> Array:
    r"""OU time of a log-SNR: $t = \tfrac12\,\mathrm{softplus}(-\lambda)$.

    >>> float(time_from_log_snr(0.0)) == float(time_from_gamma(1.0))
    True
    """
    xp, log_snr = _array(log_snr)
    zero = xp.zeros_like(log_snr)
    return 0.5 * (xp.maximum(-log_snr, zero) + xp.log1p(xp.exp(-xp.abs(log_snr))))


def level(value: Array, clock: str = "t") -> Array:
    r"""OU time of a level given in any of `CLOCKS`: the one door through which clocks enter.

    `edm_sigma` gives $\gamma = 1/\sigma^2$, `alpha_bar` gives
    $\gamma = \bar\alpha/(1-\bar\alpha)$, `flow_time` gives $\gamma = ((1-\tau)/\tau)^2$.

    Raises `ParameterError` for an unknown clock and for values outside the clock's open range.

    >>> float(level(1.0, "edm_sigma")) == float(level(0.5, "alpha_bar"))
    True
    >>> level(1.2, "alpha_bar")
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.ParameterError: alpha_bar must be in (0, 1), got 1.2
    """
    xp, value = _array(value)
    if clock not in CLOCKS:
        raise ParameterError("clock", f"one of {', '.join(CLOCKS)}", clock)
    if clock == "log_snr":
        _require(clock, "finite", value, xp.isfinite(value))
        return time_from_log_snr(value)
    if clock in ("alpha_bar", "flow_time"):
        _require(clock, "in (0, 1)", value, (value > 0) & (value < 1))
    else:
        _require(clock, "positive and finite", value, (value > 0) & xp.isfinite(value))
    if clock == "t":
        return value
    if clock == "gamma":
        return time_from_gamma(value)
    if clock == "edm_sigma":
        return 0.5 * xp.log1p(value * value)
    if clock == "alpha_bar":
        return -0.5 * xp.log(value)
    ratio = value / (1.0 - value)
    return 0.5 * xp.log1p(ratio * ratio)


def to_clock(t: Array, clock: str) -> Array:
    """The inverse of `level`: OU time `t` expressed in another clock.

    >>> float(to_clock(level(0.25, "flow_time"), "flow_time"))
    0.25
    """
    xp, t = _array(t)
    if clock not in CLOCKS:
        raise ParameterError("clock", f"one of {', '.join(CLOCKS)}", clock)
    _require("t", "positive and finite", t, (t > 0) & xp.isfinite(t))
    if clock == "t":
        return t
    if clock == "gamma":
        return gamma(t)
    if clock == "log_snr":
        return log_snr(t)
    if clock == "alpha_bar":
        return xp.exp(-2.0 * t)
    if clock == "edm_sigma":
        return xp.exp(t) * sigma(t)
    return sigma(t) / (sigma(t) + xp.exp(-t))


def kernel(t_from: Array, t_to: Array) -> tuple[Array, Array]:
    r"""The OU kernel $q(x^{t'} \mid x^{t}) = N(e^{-(t'-t)} x^t,\ (1-e^{-2(t'-t)}) I)$, $t' \ge t$.

    Returns `(scale, variance)`, broadcast over the inputs.

    Raises `ParameterError` if `t_to < t_from` (time runs towards noise).

    >>> scale, variance = kernel(0.0, 1.0)
    >>> round(float(scale), 6), round(float(variance), 6)
    (0.367879, 0.864665)
    """
    xp, t_from, t_to = _pair(t_from, t_to)
    step = t_to - t_from
    _require("t_from", "at least 0", t_from, t_from >= 0)
    _require("t_to", "at least t_from", step, step >= 0)
    return xp.exp(-step), -xp.expm1(-2.0 * step)


def bridge(t_from: Array, t_to: Array) -> tuple[Array, Array, Array]:
    r"""The OU bridge $q(x^{s} \mid x^{t}, x^0) = N(a\,x^t + b\,x^0,\ v I)$ for $0 < s \le t$.

    With $h = t - s$:
    $a = e^{-h}\sigma_s^2/\sigma_t^2$, $b = e^{-s}\sigma_h^2/\sigma_t^2$,
    $v = \sigma_s^2\sigma_h^2/\sigma_t^2$, and $b^2/v = \gamma_s - \gamma_t$: half that weight times
    a squared error is the KL between two bridges (THEORY, proof of Theorem A).

    Arguments: `t_from` = t, the noisier level, `t_to` = s (OU time); broadcast.
    Returns `(a, b, v)`.

    >>> a, b, v = bridge(1.0, 0.5)
    >>> bool(np.isclose(b**2 / v, gamma(0.5) - gamma(1.0)))
    True
    """
    xp, t_from, t_to = _pair(t_from, t_to)
    step = t_from - t_to
    _require("t_to", "positive and at most t_from", t_to, (t_to > 0) & (step >= 0))
    var_from = -xp.expm1(-2.0 * t_from)
    var_to = -xp.expm1(-2.0 * t_to)
    var_step = -xp.expm1(-2.0 * step)
    return (
        xp.exp(-step) * var_to / var_from,
        xp.exp(-t_to) * var_step / var_from,
        var_to * var_step / var_from,
    )


def sub_step_levels(t_start: Array, t_end: Array, sub_steps: int) -> Array:
    """Levels that move linearly in log-SNR from `t_start` to `t_end` in `sub_steps` steps.

    Arguments: `t_start`, `t_end`, OU times of shape (..., frames), which broadcast, start at least
    end; `sub_steps` >= 1. Returns (..., sub_steps + 1, frames); both ends exact.

    Raises `ParameterError` for levels that rise or are not positive, and for no sub-step.

    >>> sub_step_levels(np.array([3.0]), np.array([0.05]), 2).ravel().round(4).tolist()
    [3.0, 1.0078, 0.05]
    """
    if sub_steps < 1:
        raise ParameterError("sub_steps", "at least 1", sub_steps)
    given = t_end
    xp, start, end = _pair(t_start, t_end)
    _require("t_end", "positive and at most t_start", given, (end > 0) & (end <= start))
    start, end = xp.broadcast_arrays(start, end)
    if start.ndim == 0:
        start, end = start[None], end[None]
    start, end = start[..., None, :], end[..., None, :]
    steps = np.linspace(0.0, 1.0, sub_steps + 1)[:, None]
    fraction = xp.asarray(steps, dtype=start.dtype, device=start.device)
    grid = time_from_log_snr((1.0 - fraction) * log_snr(start) + fraction * log_snr(end))
    grid = xp.where(fraction == 0.0, start, xp.where(fraction == 1.0, end, grid))
    # levels closer than rounding may neither rise nor pass an end
    grid = xp.where(grid > start, start, xp.where(grid < end, end, grid))
    grid = np.minimum.accumulate(grid, axis=-2) if xp is _NUMPY else xp.cummin(grid, dim=-2)[0]
    return xp.where(start == end, start, grid)
