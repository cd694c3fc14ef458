"""Canonical correlations, R1, R2 and R4: against closed forms, optimisers and high precision."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import testing
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, RefusedError
from arvdm_theory.memory import (
    CanonicalCorrelations,
    MemoryBudget,
    canonical_correlations,
    conditional_information,
    information_given_memory,
    linear_memory_floor,
    memory_budget,
    stochastic_memory,
)
from arvdm_theory.video import Arfima

SEEDS = st.integers(0, 2**32 - 1)


def random_covariance(seed: int, size: int, condition: float = 1e2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    matrix = (basis * condition ** -rng.uniform(0.0, 1.0, size)) @ basis.T
    return 0.5 * (matrix + matrix.T)


def conditional(joint: np.ndarray, a: list[int], b: list[int], y: list[int]) -> np.ndarray:
    """Cov(A, B | Y), the textbook formula."""
    cross = joint[np.ix_(a, b)]
    if not y:
        return cross
    return cross - joint[np.ix_(a, y)] @ np.linalg.solve(joint[np.ix_(y, y)], joint[np.ix_(y, b)])


def mpmath_log_det(matrix: mpmath.matrix) -> mpmath.mpf:
    factor = mpmath.cholesky(matrix)
    return 2 * mpmath.fsum(mpmath.log(factor[i, i]) for i in range(matrix.rows))


def exact_information(joint: np.ndarray, x: list[int], z: list[int], y: list[int]) -> mpmath.mpf:
    """I(X;Z|Y) of exactly this matrix of doubles, from four determinants in 60 digits."""
    with mpmath.workdps(60):
        full = mpmath.matrix(joint.tolist())

        def log_det(index: list[int]) -> mpmath.mpf:
            part = mpmath.matrix(len(index), len(index))
            for a, i in enumerate(index):
                for b, j in enumerate(index):
                    part[a, b] = full[i, j]
            return mpmath_log_det(part) if index else mpmath.mpf(0)

        return (log_det(x + y) + log_det(z + y) - log_det(x + y + z) - log_det(y)) / 2


# --- canonical correlations -----------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3)),
    digits=st.sampled_from([1.0, 4.0, 8.0, 11.0]),
)
def test_the_error_bound_contains_the_truth(
    seed: int, sizes: tuple[int, int, int], digits: float
) -> None:
    """M1 against 60 digits, up to condition 1e11."""
    n, m, k = sizes
    joint = random_covariance(seed, n + m + k, 10.0**digits)
    index = np.random.default_rng(seed).permutation(n + m + k).tolist()
    x, z, y = index[:n], index[n : n + m], index[n + m :]
    found = conditional_information(joint, x, z, y)
    truth = exact_information(joint, x, z, y)
    assert found.lower <= truth <= found.upper
    if digits <= 4.0:
        assert found.upper - found.lower < 1e-8


def test_the_error_bound_is_needed_and_not_vacuous() -> None:
    """At condition 1e8 rounding is seen, and the bound is within 1e5 of the worst of it."""
    shares = []
    for seed in range(12):
        joint = random_covariance(seed, 7, 1e8)
        found = conditional_information(joint, [0, 1], [2, 3], [4, 5, 6])
        truth = exact_information(joint, [0, 1], [2, 3], [4, 5, 6])
        shares.append(float(abs(truth - found.value)) / (found.upper - found.value))
    assert 1e-5 < max(shares) < 1.0


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 4), m=st.integers(1, 4), k=st.integers(0, 3))
def test_canonical_correlations_are_the_textbook_ones(seed: int, n: int, m: int, k: int) -> None:
    joint = random_covariance(seed, n + m + k)
    x, z, y = list(range(n)), list(range(n, n + m)), list(range(n + m, n + m + k))
    found = canonical_correlations(joint, x, z, y)
    own, out, cross = (conditional(joint, a, b, y) for a, b in ((x, x), (z, z), (z, x)))
    squared = scipy.linalg.eigh(cross @ np.linalg.solve(own, cross.T), out, eigvals_only=True)
    expected = np.sort(squared)[::-1][: min(n, m)]
    # condition 1e2, so the squared correlations are good to 1e2 eps times a few
    np.testing.assert_allclose(found.correlations**2, expected, rtol=0, atol=1e-11)
    directions = found.directions
    assert directions is not None
    gram = directions @ own @ directions.T
    seen = directions @ cross.T @ np.linalg.solve(out, cross) @ directions.T
    strong = found.ratios > 1e-12
    np.testing.assert_allclose(gram[strong][:, strong], np.eye(strong.sum()), atol=1e-9)
    np.testing.assert_allclose(np.diag(seen)[strong], expected[strong], rtol=0, atol=1e-9)


def test_faint_and_nearly_perfect_correlations_keep_their_digits() -> None:
    """Z = X + 1e-6 e has 1 - rho^2 = 1e-12 / (1 + 1e-12), and Z = 1e-7 X + e rho^2 = 1e-14."""
    near = canonical_correlations([[1.0, 1.0], [1.0, 1.0 + 1e-10]], [0], [1])
    assert near.complement[0] == pytest.approx(1e-10, rel=1e-5)  # 1 + 1e-10 itself is rounded
    assert abs(near.losses[0] - np.log(1e10)) <= near.error_bound[0]
    faint = canonical_correlations([[1.0, 1e-7], [1e-7, 1.0]], [0], [1])
    assert float(faint.information()) == pytest.approx(0.5e-14, rel=1e-12)
    assert float(CanonicalCorrelations.of(complement=[1e-300]).losses[0]) == pytest.approx(
        300 * np.log(10.0), rel=1e-15
    )


@pytest.mark.parametrize("size", [1, 3])
def test_nearly_determined_outputs_down_to_1e_minus_8(size: int) -> None:
    """Z = X + sqrt(q) e with q down to 1e-8: 1 - rho^2 = q / (1 + q), from covariances."""
    for q in (1e-2, 1e-5, 1e-8):
        joint = np.block([[np.eye(size), np.eye(size)], [np.eye(size), (1.0 + q) * np.eye(size)]])
        x, z = list(range(size)), list(range(size, 2 * size))
        found = conditional_information(joint, x, z)
        exact = 0.5 * size * np.log1p(1.0 / ((1.0 + q) - 1.0))  # what the doubles say
        assert abs(float(found) - exact) <= found.upper - float(found) < 1e-5 * exact


def test_determined_directions_are_infinite_with_their_reason() -> None:
    joint = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])  # Z = X_1 + X_2
    found = conditional_information(joint, [0, 1], [2])
    # doubles cannot tell it from a variance below rounding, where the information is finite
    assert found.value == np.inf and 10.0 < found.lower < np.inf
    assert found.reason is not None and "determines 1 direction" in found.reason
    # one of the two summands leaves it uncertain by the other: 1/2 log 2
    assert float(conditional_information(joint, [0], [2])) == pytest.approx(0.5 * np.log(2.0))
    # what is seen determines it already: nothing is forgotten (the control of the first line)
    doubled = np.block([[joint, joint], [joint, joint]])
    assert float(conditional_information(doubled, [0, 1], [2], [3, 4])) == pytest.approx(0.0)
    seen = information_given_memory(joint, [0, 1], [2], [[1.0, 1.0]])
    assert seen.value == pytest.approx(0.0, abs=1e-12)
    assert information_given_memory(joint, [0, 1], [2], [[1.0, 0.9]]).value == np.inf


def test_constant_coordinates_carry_nothing() -> None:
    joint = scipy.linalg.block_diag([[1.0, 0.6], [0.6, 1.0]], [[0.0]])
    expected = conditional_information([[1.0, 0.6], [0.6, 1.0]], [0], [1])
    for x, z, y in (([0, 2], [1], []), ([0], [1, 2], []), ([0], [1], [2])):
        found = conditional_information(joint, x, z, y)
        assert float(found) == pytest.approx(float(expected), abs=1e-15)
        assert found.upper < np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [0], [1]), "covariance must be a square matrix"),
        (([[1.0, 0.5], [0.1, 1.0]], [0], [1]), "covariance must be symmetric"),
        (([[1.0, 0.5], [0.5, 1.0]], [0], [0]), "z must be different coordinates in 0..1, got 0"),
        (([[1.0, 0.5], [0.5, 1.0]], [0], [2]), "z must be different coordinates in 0..1, got 2"),
        (([[1.0, 0.5], [0.5, 1.0]], [], [1]), "x must be at least one coordinate"),
        (([[1.0, 2.0], [2.0, 1.0]], [0], [1]), "covariance must be positive semi-definite"),
        (([[-1.0, 0.0], [0.0, 1.0]], [0], [1]), "covariance must be positive semi-definite"),
    ],
)
def test_bad_covariances_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        conditional_information(*arguments)
    assert message in str(error.value)
    with pytest.raises(NotPositiveDefiniteError):
        conditional_information([[1.0, 2.0], [2.0, 1.0]], [0], [1])


# --- R1 -------------------------------------------------------------------------------------------


class Forgetting:
    """I(X;Z|Y,AX) and its gradient in A, from determinants: nothing shared with the calculator."""

    def __init__(self, joint: np.ndarray, x: list[int], z: list[int], y: list[int]) -> None:
        self.own = conditional(joint, x, x, y)
        self.out = conditional(joint, z, z, y)
        self.cross = conditional(joint, z, x, y)
        known = self.out - self.cross @ np.linalg.solve(self.own, self.cross.T)
        self.known = np.linalg.slogdet(known)[1]

    def __call__(self, flat: np.ndarray, size: int) -> tuple[float, np.ndarray]:
        a = flat.reshape(size, -1)
        inner, seen = a @ self.own @ a.T, self.cross @ a.T
        weight = np.linalg.inv(inner)
        left = self.out - seen @ weight @ seen.T
        pull = weight @ seen.T @ np.linalg.inv(left)
        gradient = pull @ seen @ weight @ a @ self.own - pull @ self.cross
        return 0.5 * (np.linalg.slogdet(left)[1] - self.known), gradient.ravel()


def descend(seed: int, starts: int, size: int) -> None:
    x, z, y = list(range(5)), list(range(5, 8)), [8, 9]
    joint = random_covariance(seed, 10, 30.0)
    found = linear_memory_floor(canonical_correlations(joint, x, z, y), size)
    forgetting = Forgetting(joint, x, z, y)
    rng = np.random.default_rng(seed)
    reached = []
    for _ in range(starts):
        result = scipy.optimize.minimize(
            forgetting,
            rng.standard_normal(size * len(x)),
            args=(size,),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-9, "maxiter": 2000},
        )
        reached.append(result.fun)
    # the optimiser's own determinants are good to about 1e-12 at condition 30
    assert min(reached) >= found.floor.lower - 1e-11
    assert min(reached) == pytest.approx(float(found.floor), abs=1e-6)
    assert found.matrix is not None
    attained = information_given_memory(joint, x, z, found.matrix, y)
    assert float(attained) == pytest.approx(float(found.floor), abs=1e-11)


@pytest.mark.parametrize("size", [1, 2])
def test_r1_is_reached_by_gradient_descent_and_never_beaten(size: int) -> None:
    descend(seed=3, starts=50, size=size)


@pytest.mark.heavy
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_r1_from_50_starts_in_other_worlds(seed: int, size: int) -> None:
    descend(seed, 50, size)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(0, 4), seen=st.integers(0, 2))
def test_r1_bounds_every_linear_memory(seed: int, size: int, seen: int) -> None:
    joint = random_covariance(seed, 7 + seen)
    x, z, y = list(range(4)), [4, 5, 6], list(range(7, 7 + seen))
    floor = linear_memory_floor(canonical_correlations(joint, x, z, y), size).floor
    matrix = np.random.default_rng(seed).standard_normal((size, 4))
    if size:
        exact = information_given_memory(joint, x, z, matrix, y)
        assert floor.lower <= exact.upper
        # the control: one number more can go below this floor
        source = canonical_correlations(joint, x, z, y)
        better = linear_memory_floor(source, size).matrix
        assert better is not None
        if source.ratios.size >= size and source.ratios[size - 1] > 1e-6:
            smaller = linear_memory_floor(source, size - 1).floor
            assert float(information_given_memory(joint, x, z, better, y)) < smaller.lower
    else:
        assert float(floor) == float(conditional_information(joint, x, z, y))


# --- R2 -------------------------------------------------------------------------------------------


def chechik_curve(eigenvalues: np.ndarray, budget: float) -> float:
    r"""I(T;Y) on the Gaussian information curve of Chechik et al. (JMLR 2005), section 4.

    λ_i ascending eigenvalues of Σ_{x|y} Σ_x^{-1}; n eigenvectors are in use for
    c_n ≤ I(T;X) ≤ c_{n+1}, c_n = ½ Σ_{i<n} log[λ_n (1-λ_i) / (λ_i (1-λ_n))], and there
    I(T;Y) = I(T;X) − (n/2) log[ Π(1-λ_i)^{1/n} + e^{2 I(T;X)/n} Π λ_i^{1/n} ].
    """
    n = 0
    for count in range(1, eigenvalues.size + 1):
        last = eigenvalues[count - 1]
        before = eigenvalues[: count - 1]
        start = 0.5 * np.sum(np.log(last / before * (1.0 - before) / (1.0 - last)))
        if start <= budget:
            n = count
    used = eigenvalues[:n]
    rest, kept = np.exp(np.mean(np.log1p(-used))), np.exp(np.mean(np.log(used)))
    return float(budget - 0.5 * n * np.log(rest + np.exp(2.0 * budget / n) * kept))


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    n=st.integers(1, 4),
    m=st.integers(1, 4),
    budget=st.floats(1e-3, 6.0),
    beta=st.floats(1.5, 100.0),
)
def test_r2_is_the_gaussian_information_bottleneck(
    seed: int, n: int, m: int, budget: float, beta: float
) -> None:
    """Both their curve and their projections: rows α_i v_i' with v_i left eigenvectors of

    Σ_{x|y} Σ_x^{-1}, α_i² = (β(1-λ_i) - 1)/(λ_i v_i'Σ_x v_i) where β > 1/(1-λ_i) (Theorem 3.1).
    """
    joint = random_covariance(seed, n + m)
    x, z = list(range(n)), list(range(n, n + m))
    curve = MemoryBudget(canonical_correlations(joint, x, z))
    own, out = joint[np.ix_(x, x)], joint[np.ix_(z, z)]
    ratio = conditional(joint, x, x, z) @ np.linalg.inv(own)
    eigenvalues, left = np.linalg.eig(ratio.T)
    order = np.argsort(eigenvalues.real)
    eigenvalues, left = eigenvalues.real[order], left.real[:, order]
    carried = eigenvalues < 1.0 - 1e-9  # Z may have fewer coordinates than X
    no_memory = -0.5 * float(np.sum(np.log(eigenvalues[carried])))
    expected = no_memory - chechik_curve(eigenvalues[carried], budget)
    # λ from an unsymmetric eigenproblem of condition 1e2 or so
    assert float(curve.floor(budget)) == pytest.approx(expected, abs=1e-9)
    gain = np.zeros(n)
    used = carried & (beta * (1.0 - eigenvalues) > 1.0)
    power = np.einsum("ij,ik,kj->j", left, own, left)
    gain[used] = (beta * (1.0 - eigenvalues[used]) - 1.0) / (eigenvalues * power)[used]
    a = np.sqrt(gain)[:, None] * left.T
    spent = 0.5 * np.linalg.slogdet(np.eye(n) + a @ own @ a.T)[1]
    seen = joint[np.ix_(z, x)] @ a.T
    rest = out - seen @ np.linalg.solve(np.eye(n) + a @ own @ a.T, seen.T)
    told = 0.5 * (np.linalg.slogdet(out)[1] - np.linalg.slogdet(rest)[1])
    assert float(curve.floor(max(spent, 0.0))) == pytest.approx(no_memory - told, abs=1e-9)


def spend(matrix: np.ndarray, own: np.ndarray, budget: float) -> float:
    """The scale s at which m = s A X + N(0, I) has I(m; X|Y) = budget."""
    powers = np.abs(np.linalg.eigvalsh(matrix @ own @ matrix.T))

    def excess(log_scale: float) -> float:
        return 0.5 * float(np.sum(np.log1p(np.exp(2.0 * log_scale) * powers))) - budget

    return float(np.exp(scipy.optimize.brentq(excess, -30.0, 30.0, xtol=1e-13)))


@pytest.mark.parametrize("budget", [0.2, 1.0, 2.5])
def test_r2_is_reached_by_an_optimiser_over_noisy_encoders(budget: float) -> None:
    """Over m = A X + N(0, I) of exactly c nats, from determinants; the formula is not used."""
    x, z, y = [0, 1, 2], [3, 4], [5]
    joint = random_covariance(11, 6, 30.0)
    own, out, cross = (conditional(joint, a, b, y) for a, b in ((x, x), (z, z), (z, x)))
    known = np.linalg.slogdet(out - cross @ np.linalg.solve(own, cross.T))[1]

    def forgotten(flat: np.ndarray) -> float:
        a = flat.reshape(2, 3)
        a = a * spend(a, own, budget)
        seen = cross @ a.T
        left = out - seen @ np.linalg.solve(np.eye(2) + a @ own @ a.T, seen.T)
        return 0.5 * (np.linalg.slogdet(left)[1] - known)

    rng = np.random.default_rng(0)
    reached = [
        scipy.optimize.minimize(
            forgotten, rng.standard_normal(6), method="BFGS", options={"gtol": 1e-7}
        ).fun
        for _ in range(4)
    ]
    floor = MemoryBudget(canonical_correlations(joint, x, z, y)).floor(budget)
    assert min(reached) == pytest.approx(float(floor), abs=1e-6)
    assert min(reached) >= floor.lower - 1e-11


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, budget=st.floats(1e-3, 5.0), seen=st.integers(0, 2), slots=st.integers(1, 4))
def test_r2_bounds_every_noisy_memory(seed: int, budget: float, seen: int, slots: int) -> None:
    joint = random_covariance(seed, 5 + seen)
    x, z, y = [0, 1, 2], [3, 4], list(range(5, 5 + seen))
    own = conditional(joint, x, x, y)
    matrix = np.random.default_rng(seed).standard_normal((slots, 3))
    matrix = matrix * spend(matrix, own, budget)
    exact = information_given_memory(joint, x, z, matrix, y, noise=1.0)
    curve = MemoryBudget(canonical_correlations(joint, x, z, y))
    assert curve.floor(budget).lower <= exact.upper + 1e-12
    # its encoder spends the budget and attains the floor, by the joint law's own determinants
    encoder = curve.encoder(budget)
    if encoder.matrix.size:
        best = encoder.matrix
        spent = 0.5 * np.linalg.slogdet(np.eye(best.shape[0]) + best @ own @ best.T)[1]
        assert spent == pytest.approx(budget, abs=1e-9)
        assert encoder.information == pytest.approx(budget, abs=1e-9)
        attained = information_given_memory(joint, x, z, best, y, noise=1.0)
        assert float(attained) == pytest.approx(float(curve.floor(budget)), abs=1e-9)
        assert encoder.bottleneck == pytest.approx(float(curve.floor(budget)), abs=1e-9)
        # the control: more than the budget goes below
        richer = information_given_memory(joint, x, z, 1.5 * best, y, noise=1.0)
        assert float(richer) < curve.floor(budget).lower


def reference_floor(complements: list[str], budget: str) -> mpmath.mpf:
    """R2 as printed, θ by bisection in 60 digits, from decimal 1 - rho^2."""
    with mpmath.workdps(60):
        losses = [-mpmath.log(mpmath.mpf(value)) for value in complements]
        c = mpmath.mpf(budget)

        def spent(theta: mpmath.mpf) -> mpmath.mpf:
            return (
                mpmath.fsum(
                    mpmath.log(mpmath.expm1(loss) / mpmath.expm1(theta))
                    for loss in losses
                    if loss > theta
                )
                / 2
            )

        low, high = mpmath.mpf(10) ** -50, max(losses)
        for _ in range(400):
            middle = mpmath.sqrt(low * high)
            low, high = (middle, high) if spent(middle) > c else (low, middle)
        return mpmath.fsum(min(high, loss) for loss in losses) / 2


@pytest.mark.parametrize("budget", ["0.001", "0.4", "3", "9", "25"])
@pytest.mark.parametrize(
    "complements",
    [["0.19"], ["1e-8", "0.5", "0.9"], ["1e-20", "1e-8", "0.999999"], ["0.3", "0.3", "0.3"]],
)
def test_r2_from_the_complement_keeps_its_digits(complements: list[str], budget: str) -> None:
    source = CanonicalCorrelations.of(complement=[float(value) for value in complements])
    found = MemoryBudget(source).floor(float(budget))
    expected = reference_floor(complements, budget)
    # a decimal is half a rounding from its double, which the bound allows for
    assert found.lower <= expected <= found.upper
    assert float(found) == pytest.approx(float(expected), rel=1e-13)


correlation_lists = st.lists(st.floats(0.0, 0.999999), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    correlations=correlation_lists, budgets=st.lists(st.floats(0.0, 20.0), min_size=3, max_size=3)
)
def test_r2_curve_falls_convexly_to_zero_and_is_positive(
    correlations: list[float], budgets: list[float]
) -> None:
    curve = MemoryBudget(CanonicalCorrelations.of(correlations))
    first, second, third = sorted(budgets)
    values = curve.curve([first, 0.5 * (first + third), third])
    assert np.all(np.diff(values.value) <= values.upper[:-1] - values.lower[:-1] + 1e-15)
    middle = 0.5 * (values.upper[0] + values.upper[2])
    assert values.lower[1] <= middle
    if max(correlations) > 1e-6:
        assert np.all(values.value > 0.0)  # at every finite budget
    assert float(curve.floor(np.inf)) == 0.0
    at_zero = curve.floor(0.0)
    assert float(at_zero) == pytest.approx(float(curve.total), rel=1e-14, abs=1e-300)
    # no nat of memory is worth more than one nat (data processing)
    assert values.lower[0] - values.upper[2] <= third - first + 1e-12
    assert curve.curve(second).value.shape == ()


@settings(max_examples=40, deadline=None)
@given(correlations=correlation_lists, fraction=st.floats(1e-6, 1.0), bits=st.booleans())
def test_r2_inverse(correlations: list[float], fraction: float, bits: bool) -> None:
    """The budget for a target MB has that MB; a little less budget has more."""
    unit = "bits" if bits else "nats"
    curve = MemoryBudget(CanonicalCorrelations.of(correlations), unit)
    if float(curve.total) < 1e-9:
        return
    target = fraction * float(curve.total)
    needed = curve.budget_for(target)
    reached = curve.floor(float(needed))
    slack = 1e-12 * (1.0 + float(needed))
    assert float(reached) == pytest.approx(target, rel=1e-9, abs=slack)
    assert needed.lower <= float(needed) <= needed.upper
    if float(needed) > 1e-3:
        assert float(curve.floor(0.99 * float(needed))) > target


def test_r2_break_points_are_where_a_direction_begins() -> None:
    source = CanonicalCorrelations.of([0.9, 0.7, 0.2])
    curve = MemoryBudget(source)
    budgets, floors = curve.break_points()
    np.testing.assert_allclose(floors, curve.curve(budgets).value, rtol=1e-14)
    assert budgets[0] == 0.0 and floors[0] == pytest.approx(float(curve.total), rel=1e-15)
    for i, budget in enumerate(budgets[1:], start=1):
        assert curve.encoder(budget * (1.0 - 1e-6)).matrix.shape[0] == i
        assert curve.encoder(budget * (1.0 + 1e-6)).matrix.shape[0] == i + 1
        assert curve.water_level(budget) == pytest.approx(source.losses[i], rel=1e-12)
    # the curve is not straight across them: slopes -(1 - e^-θ) fall, and jump in curvature only
    slope = (curve.floor(1e-6).value - curve.floor(0.0).value) / 1e-6
    assert slope == pytest.approx(-(0.9**2), rel=1e-5)  # strong data processing at c = 0


def test_r2_perfect_correlation_needs_infinitely_many_nats() -> None:
    curve = MemoryBudget(CanonicalCorrelations.of([1.0, 0.5]))
    for result in (curve.floor(7.0), curve.budget_for(0.1), curve.total):
        assert result.value == np.inf and result.reason is not None
    assert float(curve.floor(np.inf)) == 0.0
    assert curve.break_points()[0].size == 0
    with pytest.raises(RefusedError, match="finite budgets and correlations below 1"):
        curve.encoder(1.0)
    finite = MemoryBudget(CanonicalCorrelations.of([0.5]))
    assert finite.budget_for(0.0).value == np.inf and finite.budget_for(0.0).reason is not None
    assert float(finite.budget_for(1.0)) == 0.0
    assert finite.floor(np.inf).reason is None
    nothing = MemoryBudget(CanonicalCorrelations.of([0.0, 0.0]))
    assert float(nothing.floor(1.0)) == 0.0 and float(nothing.budget_for(0.0)) == 0.0


def test_r2_units() -> None:
    source = CanonicalCorrelations.of([0.9, 0.5])
    nats, bits = MemoryBudget(source), MemoryBudget(source, "bits")
    scale = 1.0 / np.log(2.0)
    assert float(bits.floor(1.5 * scale)) == pytest.approx(
        scale * float(nats.floor(1.5)), rel=1e-14
    )
    assert bits.budget_for(0.3 * scale).unit == "bits"
    assert float(bits.budget_for(0.3 * scale)) == pytest.approx(
        scale * float(nats.budget_for(0.3)), rel=1e-13
    )
    for value, expected in zip(bits.break_points(), nats.break_points(), strict=True):
        np.testing.assert_allclose(value, scale * expected, rtol=1e-15)
    curve = bits.curve([0.0, 1.0])
    assert curve.to_json()["unit"] == "bits" and "budgets" in repr(curve)
    assert "bits" in repr(bits)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CanonicalCorrelations.of([1.1]), "correlations must be in [-1, 1]"),
        (lambda: CanonicalCorrelations.of(complement=[-0.1]), "complement must be in [0, 1]"),
        (lambda: CanonicalCorrelations.of(complement=[1e-310]), "0 or at least 1e-300"),
        (lambda: CanonicalCorrelations.of(), "exactly one of them, got neither"),
        (
            lambda: CanonicalCorrelations.of([0.1], complement=[0.1]),
            "exactly one of them, got both",
        ),
        (lambda: CanonicalCorrelations.of([]), "correlations must be one number or a list"),
        (lambda: MemoryBudget(CanonicalCorrelations.of([0.5])).floor(-1.0), "budget must be at"),
        (lambda: MemoryBudget(CanonicalCorrelations.of([0.5])).budget_for(-1.0), "bottleneck must"),
        (lambda: MemoryBudget([0.5]), "source must be CanonicalCorrelations, got list"),
        (lambda: MemoryBudget(CanonicalCorrelations.of([0.5]), "bytes"), "unit must be one of"),
        (lambda: linear_memory_floor(CanonicalCorrelations.of([0.5]), -1), "size must be an"),
    ],
)
def test_bad_budgets_are_refused(call: object, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        call()  # type: ignore[operator]
    assert message in str(error.value)


# --- R4 -------------------------------------------------------------------------------------------


def printed_r4(correlation: float, budget: float) -> float:
    """R4 exactly as THEORY prints it."""
    rho, v = abs(correlation), np.expm1(2.0 * budget)
    v = min(v, rho**2 / (1.0 - rho**2))
    u = 0.5 * (rho * np.sqrt(v) + np.sqrt(rho**2 * v + 4.0))
    return float(
        0.5 * (-2 * np.log(u) - np.log1p(-(rho**2)) + u**2 - 2 * rho * np.sqrt(v) * u + v - 1.0)
    )


@settings(max_examples=50, deadline=None)
@given(correlation=st.floats(-0.999, 0.999), budget=st.floats(0.0, 5.0))
def test_r4_is_the_printed_formula_and_beats_r2(correlation: float, budget: float) -> None:
    source = CanonicalCorrelations.of([correlation])
    found = stochastic_memory(source, budget)
    assert float(found) == pytest.approx(printed_r4(correlation, budget), abs=1e-12)
    kept = MemoryBudget(source).floor(budget)
    assert float(found) <= kept.upper + 1e-15
    if abs(correlation) > 0.05 and 0.05 < budget:
        assert float(found) < float(kept)
    information = float(source.information())
    assert stochastic_memory(source, information * (1.0 + 1e-9)).value == pytest.approx(
        0.0, abs=1e-12
    )
    assert found.lower == 0.0  # the optimum is open


@pytest.mark.parametrize("budget", [1e-21, 1e-12, 1e-6])
def test_r4_keeps_the_digits_of_faint_budgets(budget: float) -> None:
    """The slope at c = 0 is infinite: no nat may be rounded off."""
    with mpmath.workdps(60):
        for correlation in (0.5, 0.999):
            rho, v = mpmath.mpf(correlation), mpmath.expm1(2 * mpmath.mpf(budget))
            u = (rho * mpmath.sqrt(v) + mpmath.sqrt(rho**2 * v + 4)) / 2
            rest = -2 * mpmath.log(u) - mpmath.log(1 - rho**2) + u**2 + v - 1
            truth = (rest - 2 * rho * mpmath.sqrt(v) * u) / 2
            found = stochastic_memory(CanonicalCorrelations.of([correlation]), budget)
            assert abs(found.value - truth) <= 1e-14 * truth
            assert truth <= found.upper <= truth * (1 + mpmath.mpf(1e-9))


def test_r4_at_a_break_point_says_how_much_it_does_not_know() -> None:
    """There the second direction's share is rounding, and the value moves with its root."""
    source = CanonicalCorrelations.of([0.9, 0.5])
    budgets, _ = MemoryBudget(source).break_points()
    found = stochastic_memory(source, budgets[1])
    first = stochastic_memory(CanonicalCorrelations.of([0.9]), budgets[1])
    whole = first.value + float(MemoryBudget(CanonicalCorrelations.of([0.5])).total)
    assert abs(found.value - whole) <= found.upper - found.value < 1e-6


@pytest.mark.parametrize("correlation", [0.9, -0.6])
@pytest.mark.parametrize("budget", [0.1, 0.2])
def test_r4_is_the_best_gaussian_channel(correlation: float, budget: float) -> None:
    """Over q(z|x) = N(a x, s) with ½ log(1 + a²/s) ≤ c: a grid, not the formula."""
    ratio = np.linspace(0.0, np.sqrt(np.expm1(2.0 * budget)), 400)  # |a| / sqrt(s)
    spread = np.exp(np.linspace(np.log(0.1), np.log(3.0), 4000))[:, None]
    a = np.sign(correlation) * ratio * np.sqrt(spread)
    rest = 1.0 - correlation**2
    kl = 0.5 * (np.log(spread / rest) + (rest + (correlation - a) ** 2) / spread - 1.0)
    found = stochastic_memory(CanonicalCorrelations.of([correlation]), budget)
    assert float(found) <= kl.min()
    assert float(found) == pytest.approx(kl.min(), abs=1e-5)


def test_r4_stated_value_and_a_mixture_that_does_better() -> None:
    """.1595 at ρ = .9, c = .399; a channel found by alternating minimisation is below it.

    So the value is no floor: the control of `lower` = 0. On a grid, q(z|x) minimises
    KL(P_XZ ‖ Q_XZ) + λ I_Q by gradient steps on logits, starting beside the Gaussian channel.
    """
    value = float(stochastic_memory(CanonicalCorrelations.of([0.9]), 0.399))
    assert value == pytest.approx(0.1595, abs=5e-5)
    better, spent, gaussian = mixture_channel(0.9)
    assert spent <= 0.399
    assert better < 0.13 < value
    assert gaussian == pytest.approx(value, abs=2e-3)  # the same grid finds the Gaussian's value


def mixture_channel(rho: float) -> tuple[float, float, float]:
    """KL and information of q(z|x) = w N(ρx, 1-ρ²) + (1-w) N(0, 1), and the Gaussian's KL."""
    step = 0.05
    x = np.arange(-6.0, 6.0 + step / 2, step)
    z = np.arange(-8.0, 8.0 + step / 2, step)

    def normal(mean: np.ndarray, variance: float) -> np.ndarray:
        return np.exp(-0.5 * (z - mean[:, None]) ** 2 / variance) / np.sqrt(2 * np.pi * variance)

    weight = np.exp(-0.5 * x**2)[:, None]
    weight = weight / weight.sum()
    truth = normal(rho * x, 1.0 - rho**2)

    def measure(channel: np.ndarray) -> tuple[float, float]:
        marginal = np.sum(weight * channel, axis=0)
        kl = step * float(np.sum(weight * truth * np.log(truth / channel)))
        return kl, step * float(np.sum(weight * channel * np.log(channel / marginal)))

    share = 0.0
    for candidate in np.linspace(0.0, 1.0, 201):
        if measure(candidate * truth + (1 - candidate) * normal(0 * x, 1.0))[1] <= 0.399:
            share = candidate
    kl, spent = measure(share * truth + (1 - share) * normal(0 * x, 1.0))
    v = np.expm1(2 * 0.399)
    u = 0.5 * (rho * np.sqrt(v) + np.sqrt(rho**2 * v + 4.0))
    return kl, spent, measure(normal(np.sqrt(v) / u * x, 1.0 / u**2))[0]


def test_r4_over_several_directions_is_the_sum_at_r2s_budgets() -> None:
    source = CanonicalCorrelations.of([0.9, 0.7, 0.1])
    found = float(stochastic_memory(source, 0.8))
    encoder = MemoryBudget(source).encoder(0.8)
    spent = 0.5 * np.log1p(np.sum(encoder.matrix**2, axis=1))
    expected = printed_r4(0.9, spent[0]) + printed_r4(0.7, spent[1]) + printed_r4(0.1, 0.0)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found < float(MemoryBudget(source).floor(0.8))
    infinite = stochastic_memory(CanonicalCorrelations.of([1.0]), 1.0)
    assert infinite.value == np.inf and infinite.reason is not None


@settings(max_examples=20, deadline=None)
@given(joint=testing.covariances(6))
def test_budgets_dimensions_and_draws_in_order(joint: np.ndarray) -> None:
    """Drawn and integrated out ≤ any memory of c nats ≤ no memory; b numbers likewise."""
    source = canonical_correlations(joint, [0, 1, 2], [3, 4], [5])
    curve = MemoryBudget(source)
    for budget in (0.0, 0.5, 2.0):
        kept = curve.floor(budget)
        assert float(stochastic_memory(source, budget)) <= kept.upper + 1e-12
        assert kept.lower <= curve.total.upper
    floors = [float(linear_memory_floor(source, b).floor) for b in range(4)]
    assert np.all(np.diff(floors) <= 0.0) and floors[3] == 0.0


# --- what rounding cannot tell --------------------------------------------------------------------


def test_a_variance_below_rounding_is_infinite_only_above() -> None:
    r"""1 - ρ² = 2e-15 is a finite number of nats, and so is all that rests on it."""
    joint = [[1.0, 1.0 - 1e-15], [1.0 - 1e-15, 1.0]]
    rho = mpmath.mpf(joint[0][1])
    with mpmath.workdps(40):
        truth = float(-mpmath.log((1 - rho) * (1 + rho)) / 2)
        snr = rho**2 / (1 - rho**2)
        floor = float(mpmath.log(1 + snr * mpmath.exp(-2)) / 2)
        enough = float(mpmath.log(snr / (mpmath.exp(mpmath.mpf("0.2")) - 1)) / 2)
    source = canonical_correlations(np.array(joint), [0], [1])
    found, curve = conditional_information(joint, [0], [1]), MemoryBudget(source)
    for enclosure, exact in (
        (found, truth),
        (curve.total, truth),
        (linear_memory_floor(source, 0).floor, truth),
        (curve.floor(1.0), floor),
        (curve.budget_for(0.1), enough),
    ):
        assert enclosure.value == np.inf and enclosure.reason is not None
        assert exact - 3.0 < enclosure.lower <= exact
    # an exact 1 stays infinite
    assert MemoryBudget(CanonicalCorrelations.of([1.0])).floor(1.0).lower == np.inf


def test_r1_with_as_many_numbers_as_directions_of_a_singular_law_is_zero() -> None:
    half = np.random.default_rng(0).standard_normal((3, 2))
    joint = np.block([[half @ half.T] * 2] * 2) + np.diag([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    source = canonical_correlations(joint, [0, 1, 2], [3, 4, 5])
    floor = linear_memory_floor(source, 2).floor
    assert (floor.lower, floor.value, floor.upper) == (0.0, 0.0, 0.0)


def test_a_budget_above_a_truncated_total_is_not_certainly_zero() -> None:
    curve = memory_budget(Arfima(0.45))
    longer = memory_budget(Arfima(0.45), horizon=2500)
    target = float(curve.total) + 5e-6
    found = curve.budget_for(target)
    assert target < curve.total.upper
    assert found.lower == 0.0 < found.upper
    assert float(curve.budget_for(curve.total.upper * (1.0 + 1e-12)).upper) == 0.0
    # the truth of a longer past lies inside, on both sides of the total
    for bottleneck in (0.1, 0.5, float(curve.total), target):
        inside, further = curve.budget_for(bottleneck), longer.budget_for(bottleneck)
        assert inside.lower <= further.upper and further.lower <= inside.upper
        assert further.value <= inside.upper
    unknown = MemoryBudget(replace(CanonicalCorrelations.of([0.6]), truncation=None))
    assert unknown.budget_for(1.0).upper == np.inf
    assert unknown.budget_for(0.1).upper == np.inf


def test_faint_correlations_do_not_vanish() -> None:
    assert CanonicalCorrelations.of([1e-9]).correlations[0] == pytest.approx(1e-9, rel=1e-15)
    assert CanonicalCorrelations.of([1.0, 0.5]).correlations.tolist() == [1.0, pytest.approx(0.5)]


def test_r2_arguments_are_refused_by_name() -> None:
    curve = MemoryBudget(CanonicalCorrelations.of([0.6]))
    assert repr(curve.curve([])) == "BudgetCurve(0 budgets, nats)"
    for call in (curve.floor, curve.water_level, curve.encoder, curve.budget_for, curve.curve):
        with pytest.raises(ParameterError, match="at least 0"):
            call("x")


def test_r4_is_the_best_channel_and_another_input_law_does_better() -> None:
    r"""A jointly Gaussian q of the same information whose q_X is free: below R4's number."""
    rho, budget = 0.9, 0.399
    channel = float(stochastic_memory(CanonicalCorrelations.of([rho]), budget).value)
    truth, best = np.array([[1.0, rho], [rho, 1.0]]), np.inf
    left = np.exp(-2.0 * budget)
    r = np.sqrt(1.0 - left)
    for scale in np.linspace(0.6, 1.0, 401):
        q = scale * np.array([[1.0, r], [r, 1.0]])
        kl = np.trace(np.linalg.solve(q, truth)) - 2.0
        kl += np.log(np.linalg.det(q) / np.linalg.det(truth))
        best = min(best, 0.5 * float(kl))
    assert best == pytest.approx(0.1287, abs=2e-4)
    assert best < channel - 0.03
