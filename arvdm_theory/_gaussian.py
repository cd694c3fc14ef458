"""Small dense Gaussian numerics, batched over leading axes and generic in the array namespace.

NumPy in, NumPy out; torch in, torch out (differentiable). Nothing here inverts a covariance:
singular ones are legitimate (two views of one scene). All informations are in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from arvdm_theory.errors import NotPositiveDefiniteError

Array = Any

EPS = float(np.finfo(np.float64).eps)


def transpose(matrix: Array) -> Array:
    """Swap the last two axes."""
    return array_namespace(matrix).matrix_transpose(matrix)


def symmetrise(matrix: Array) -> Array:
    """The symmetric part."""
    return 0.5 * matrix + 0.5 * transpose(matrix)


def trace(matrix: Array) -> Array:
    """Trace over the last two axes."""
    return array_namespace(matrix).linalg.trace(matrix)


def identity_like(matrix: Array) -> Array:
    """Identity of the size and namespace of a square `matrix` (one copy, to be broadcast)."""
    xp = array_namespace(matrix)
    return xp.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def cholesky(matrix: Array, name: str) -> Array:
    """Lower Cholesky factor; a matrix that has none is refused by `name`.

    >>> cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]), "matrix")
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.NotPositiveDefiniteError: matrix must be positive definite, got \
smallest eigenvalue -1
    """
    xp = array_namespace(matrix)
    try:
        return xp.linalg.cholesky(matrix)
    except Exception as error:  # numpy and torch raise different LinAlgErrors
        if type(error).__name__ not in ("LinAlgError", "_LinAlgError"):
            raise
        smallest = float(xp.min(xp.linalg.eigvalsh(matrix)))
        raise NotPositiveDefiniteError(
            name, "positive definite", f"smallest eigenvalue {smallest:.6g}"
        ) from None


def log_det(matrix: Array, name: str = "matrix") -> Array:
    """Log-determinant of a symmetric positive definite matrix, by Cholesky."""
    xp = array_namespace(matrix)
    diagonal = xp.linalg.diagonal(cholesky(matrix, name))
    return 2.0 * xp.sum(xp.log(diagonal), axis=-1)


def half_excess(mu: Array) -> Array:
    r"""$\tfrac12(\mu - \log(1+\mu)) \ge 0$ elementwise, accurate for small $\mu$ (THEORY, 5).

    With $1+\mu$ a variance ratio this is the KL divergence of two centred normals. Below
    $|\mu| = 0.1$ the difference loses digits, so the series
    $\mu^2(\tfrac12 - \mu/3 + \mu^2/4 - \dots)/2$ is summed instead.

    >>> round(float(half_excess(np.asarray(1e-9))) / 0.25e-18, 9)
    0.999999999
    """
    xp = array_namespace(mu)
    small = xp.abs(mu) < 0.1
    x = xp.where(small, mu, xp.zeros_like(mu))
    series = xp.zeros_like(mu)
    for k in range(18, 1, -1):  # 0.1**17 / 19 is below machine precision
        series = 1.0 / k - x * series
    large = xp.where(small, xp.ones_like(mu), mu)
    return 0.5 * xp.where(small, x * x * series, large - xp.log1p(large))


def total_excess(matrix: Array) -> Array:
    r"""$\tfrac12[\mathrm{tr} M - \log\det(I + M)]$ of symmetric matrices $I + M > 0$, in nats.

    `half_excess` of all eigenvalues, without them: with $I + M = RR'$ it is
    $\sum_i \tfrac12(d_i - \log(1 + d_i)) + \tfrac12\sum_{j<i} R_{ij}^2$ and
    $d_i = M_{ii} - \sum_{j<i} R_{ij}^2$, every term non-negative.

    >>> matrix = 1e-9 * np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> round(float(total_excess(matrix)) / 0.625e-18, 9)
    0.999999999
    """
    xp = array_namespace(matrix)
    root = cholesky(identity_like(matrix) + matrix, "I + M")
    pivots = xp.linalg.diagonal(root)
    below = xp.sum(xp.tril(root, k=-1) ** 2, axis=-1)
    own = xp.linalg.diagonal(matrix) - below
    small = xp.abs(own) < 0.1
    close = half_excess(xp.where(small, own, xp.zeros_like(own)))
    wide = 0.5 * own - xp.log(pivots)
    return xp.sum(xp.where(small, close, wide) + 0.5 * below, axis=-1)


def gaussian_kl(
    covariance_p: Array, covariance_q: Array, difference: Array, mean_difference: Array
) -> Array:
    r"""$KL(N(\mu_P, P) \,\|\, N(\mu_Q, Q))$ from $P$, $Q$, $P - Q$ and $\mu_P - \mu_Q$, in nats.

    $\sum_i \tfrac12(\mu_i - \log(1+\mu_i)) + \tfrac12 \|L^{-1}(\mu_P-\mu_Q)\|^2$ with
    $Q = LL'$ and $\mu$ the eigenvalues of $L^{-1}(P-Q)L^{-T}$ (THEORY, 5: never
    ½(tr − d − logdet)). Only where $1+\mu$ is small, and the difference of two terms of order one
    is harmless but $1+\mu$ itself is lost, is it taken from the Cholesky factors of both.
    Shapes: three times `(..., n, n)`, and `(..., n)`; returns `(...)`.
    """
    xp = array_namespace(covariance_q)
    factor = cholesky(covariance_q, "covariance of Q")
    own = cholesky(covariance_p, "covariance of P")
    half = xp.linalg.solve(factor, difference)
    mu = xp.linalg.eigvalsh(symmetrise(xp.linalg.solve(factor, transpose(half))))
    shift = xp.linalg.solve(factor, mean_difference[..., None])
    narrow = mu[..., :1] < -0.9
    close = xp.sum(half_excess(xp.where(narrow, xp.zeros_like(mu), mu)), axis=-1)
    across = xp.linalg.solve(factor, own)
    ratio = xp.log(xp.linalg.diagonal(factor) / xp.linalg.diagonal(own))
    trace_part = xp.sum(across * across, axis=(-2, -1)) - mu.shape[-1]
    wide = 0.5 * trace_part + xp.sum(ratio, axis=-1)
    excess = xp.where(narrow[..., 0], wide, close)
    return excess + 0.5 * xp.sum(shift * shift, axis=(-2, -1))


def gaussian_kl_rounding(
    covariance_p: np.ndarray,
    covariance_q: np.ndarray,
    difference: np.ndarray,
    mean_difference: np.ndarray,
) -> np.ndarray:
    r"""First-order bound on the rounding error of `gaussian_kl`, same arguments (NumPy only).

    Cholesky and the solves perturb Q by a few roundings of its norm a row: relatively, in
    coordinates in which Q is the identity, by s = 4(n+4)·eps·cond(Q). So μ moves by s‖μ‖ and
    $dKL = \tfrac12\sum\mu/(1+\mu)\,d\mu$, the mean part by s of itself. Where P is far narrower
    than Q the value comes from both factors, and
    $dKL = \tfrac12\mathrm{tr}[(Q^{-1}-P^{-1})\,dP - Q^{-1}(P-Q)Q^{-1}\,dQ]$. Infinite where s
    reaches one half. Returns `(...)`, nats.

    >>> one = np.array([[1.0]])
    >>> bound = gaussian_kl_rounding(1.5 * one, one, 0.5 * one, np.zeros(1))
    >>> bool(0.0 < bound < 1e-14)
    True
    """
    size = covariance_q.shape[-1]
    factor = np.linalg.cholesky(covariance_q)
    half = np.linalg.solve(factor, difference)
    mu = np.linalg.eigvalsh(symmetrise(np.linalg.solve(factor, transpose(half))))
    shift = np.linalg.solve(factor, mean_difference[..., None])[..., 0]
    slack_q = _relative_rounding(covariance_q)
    spread = np.linalg.norm(mu, axis=-1)
    ratio = np.maximum(1.0 + mu, EPS)
    moved = slack_q * spread
    close = 0.5 * np.linalg.norm(mu / ratio, axis=-1) * moved + (moved / ratio[..., 0]) ** 2
    slack_p = _relative_rounding(covariance_p)
    across = (size + np.sum(ratio, axis=-1)) * slack_q
    wide = across + size * slack_p + 8.0 * EPS * (size + np.sum(np.abs(np.log(ratio)), axis=-1))
    narrow = mu[..., 0] < -0.9
    bound = np.where(narrow, wide, close) + (2.0 * slack_q + 8.0 * EPS) * np.sum(shift**2, axis=-1)
    value = gaussian_kl(covariance_p, covariance_q, difference, mean_difference)
    lost = (slack_q >= 0.5) | (narrow & (slack_p >= 0.5))
    return np.asarray(np.where(lost, np.inf, bound + 64.0 * EPS * value))


def _relative_rounding(covariance: np.ndarray) -> np.ndarray:
    """4(n+4)·eps·cond of a covariance."""
    values = np.linalg.eigvalsh(covariance)
    condition = values[..., -1] / np.maximum(values[..., 0], EPS * values[..., -1])
    return np.asarray(4.0 * (covariance.shape[-1] + 4) * EPS * condition)


def posterior_covariance(prior: Array, gamma: Array) -> Array:
    r"""$\mathrm{Cov}(X^0 | X(s)) = (S^{-1} + G)^{-1}$ without inverting $S$ (THEORY, 5).

    Arguments: `prior` S `(..., n, n)`; `gamma` the diagonal of G `(..., n)`, positive.
    """
    xp = array_namespace(prior)
    root = xp.sqrt(gamma)
    scaled = root[..., :, None] * prior * root[..., None, :]
    shrunk = xp.linalg.solve(identity_like(prior) + scaled, scaled)
    return symmetrise(shrunk / (root[..., :, None] * root[..., None, :]))


def spectral_norm(matrix: Array) -> Array:
    """Largest singular value over the last two axes (0 for an empty matrix)."""
    xp = array_namespace(matrix)
    if 0 in matrix.shape[-2:]:
        return xp.zeros(matrix.shape[:-2], dtype=matrix.dtype)
    return xp.linalg.matrix_norm(matrix, ord=2)


def psd_factor(matrix: np.ndarray) -> np.ndarray:
    """`B` with `B B' = matrix` for a positive semi-definite matrix (NumPy only)."""
    values, vectors = np.linalg.eigh(symmetrise(matrix))
    floor = -64.0 * EPS * matrix.shape[-1] * np.abs(values).max(axis=-1, initial=0.0)
    if np.any(values < floor[..., None]):
        raise NotPositiveDefiniteError(
            "covariance", "positive semi-definite", f"smallest eigenvalue {values.min():.6g}"
        )
    # what is negative here is rounding of an exact zero, checked above
    return vectors * np.sqrt(np.where(values > 0.0, values, 0.0))[..., None, :]
