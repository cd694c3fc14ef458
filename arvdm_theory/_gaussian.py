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
