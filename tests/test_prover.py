"""The prover: it proves what is listed, refuses false variants, and its certificates are exact."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.prover import (
    KL,
    STATEMENTS,
    Certificate,
    FunctionOf,
    H,
    I,
    Law,
    LinearWorld,
    LooksOnlyAt,
    Proof,
    Refusal,
    Relation,
    Statement,
    prove,
)

VARIANTS = [
    pytest.param(variant, id=f"{label}, {variant.label}")
    for label, statement in STATEMENTS.items()
    for variant in statement.false_variants
]
# no linear world of few bits is an example: the refusal rests on a point of the cone alone
WITHOUT_WORLD = {
    "Corollary A (K=2), false: the model looks at the past",
    "B (K=2), false: a memory that is a fixed map of the whole past",
}


# --- what must be proved and what must be refused -------------------------------------------------


def test_every_theorem_asked_for_is_listed() -> None:
    assert {"M1", "M1 (monotone)", "M6", "budget"} <= set(STATEMENTS)
    assert {f"{name} (K={k})" for name in ("B", "Corollary A") for k in (1, 2, 3)} <= set(
        STATEMENTS
    )


@pytest.mark.parametrize("label", STATEMENTS)
def test_every_statement_is_proved_and_its_certificate_checks(label: str) -> None:
    proof = prove(STATEMENTS[label])
    assert isinstance(proof, Proof) and proof
    proof.verify()
    assert len(proof.certificates) == 1 + STATEMENTS[label].claim.equality
    for certificate in proof.certificates:
        assert all(isinstance(value, Fraction) for value, _ in certificate.terms)
    assert label in str(proof)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_false_variant_is_refused(variant: Statement, request: pytest.FixtureRequest) -> None:
    refusal = prove(variant)
    assert isinstance(refusal, Refusal) and not refusal
    refusal.verify()
    name = request.node.callspec.id
    assert (refusal.world is None) == (name in WITHOUT_WORLD)
    assert "is refused" in str(refusal)


def test_long_roll_outs_without_the_memory_bottleneck_are_proved_only_for_the_clip() -> None:
    clip = STATEMENTS["B (K=2)"]
    assert not any("H" in item for item in clip.kinds())
    assert any("I(" in term for term in [STATEMENTS["Corollary A (K=2)"].claim.text])


def test_undecided_beyond_the_largest_lattice() -> None:
    names = ",".join(f"V{i}" for i in range(11))
    with pytest.raises(RefusedError, match="too many to look at all sets"):
        prove(f"KL(V0) >= KL({names})")


# --- negative control: nothing but the very certificate passes ------------------------------------


def _tampered(certificate: Certificate) -> list[Certificate]:
    (value, law), *rest = certificate.terms
    out = [
        replace(certificate, terms=tuple(rest)),
        replace(certificate, terms=((value + Fraction(1, 10**12), law), *rest)),
        replace(certificate, terms=((-value, law), *rest)),
        replace(certificate, terms=((float(value), law), *rest)),  # type: ignore[arg-type]
        replace(certificate, target=certificate.target - H("Q") - KL("Q")),
        replace(certificate, given=()) if certificate.given else None,
    ]
    return [item for item in out if item is not None]


@pytest.mark.parametrize("label", STATEMENTS)
def test_tampering_with_a_certificate_fails(label: str) -> None:
    proof = prove(STATEMENTS[label])
    assert isinstance(proof, Proof)
    for certificate in proof.certificates:
        structural = {law.assumption for _, law in certificate.terms} != {None}
        if not certificate.terms:
            continue
        for bad in _tampered(certificate):
            if bad.given == () and not structural:
                continue  # assumptions that were not needed
            with pytest.raises(ArithmeticError):
                bad.verify()
    with pytest.raises(ArithmeticError):
        replace(proof, certificates=()).verify()
    other = Statement("other", STATEMENTS[label].claim, (*STATEMENTS[label].given, "H(X) >= 0"))
    with pytest.raises(ArithmeticError):
        replace(proof, statement=other).verify()


def test_a_negative_coefficient_of_an_inequality_is_no_proof() -> None:
    law = Law("entropy", (frozenset("X"), frozenset()))
    bad = Certificate(-H("X"), (), ((Fraction(-1), law),))
    with pytest.raises(ArithmeticError, match="negative coefficient of H"):
        bad.verify()
    Certificate(H("X"), (), ((Fraction(1), law),)).verify()


@pytest.mark.parametrize(
    "law",
    [
        Law("function", (frozenset("Y"),), 0),  # does not hold X
        Law("looks", (frozenset("B"),), 0),  # not that kind of assumption
        Law("given", (), 0),
        Law("given", (), 1),
        Law("given", ()),
        Law("wish", (frozenset("X"),)),
    ],
)
def test_a_law_that_no_assumption_licenses_is_no_proof(law: Law) -> None:
    function = FunctionOf("g", of="X")
    with pytest.raises(ParameterError, match="licensed by"):
        law.expression((function,))
    with pytest.raises(ArithmeticError, match="licensed by"):
        Certificate(KL("g|Y"), (function,), ((Fraction(1), law),)).verify()


def test_the_kernel_must_not_be_said_to_ignore_what_it_sees() -> None:
    looks = LooksOnlyAt("O", at="A", past="B")
    law = Law("looks more", (frozenset("B"), frozenset("AB")), 0)
    with pytest.raises(ArithmeticError, match="licensed by"):
        Certificate(KL("O|A,B") - KL("O|B"), (looks,), ((Fraction(1), law),)).verify()


def test_tampering_with_a_refusal_fails() -> None:
    refusal = prove("I(X;Z|Y,g) <= I(X;Z|Y)")
    assert isinstance(refusal, Refusal) and refusal.world is not None
    zero = {atom: Fraction(0) for atom in refusal.point}
    negative = {atom: -value for atom, value in refusal.point.items()}
    # more violated, but no longer monotone: less of everything than of a part
    decreasing = refusal.point | {("H", frozenset("XYZg")): Fraction(-1)}
    blank = replace(refusal.world, variables={name: () for name in "XYZg"})
    for bad, message in (
        (replace(refusal, point=zero), "does not violate"),
        (replace(refusal, point=negative), "the point breaks"),
        (replace(refusal, point=decreasing), "the point breaks"),
        (replace(refusal, violated=-H("X")), "is not the claim"),
        (replace(refusal, world=blank), "the world does not violate"),
    ):
        with pytest.raises(ArithmeticError, match=message):
            bad.verify()
    constrained = Statement("constrained", refusal.statement.claim, (FunctionOf("g", of="X"),))
    with pytest.raises(ArithmeticError, match="the point breaks"):
        replace(refusal, statement=constrained).verify()
    # a world that breaks an assumption although the point obeys it
    loose = prove("H(X) <= H(Y)", given=["H(Z) <= H(X)"])
    assert isinstance(loose, Refusal)
    odd = LinearWorld(2, {"X": (1,), "Y": (), "Z": (1, 2)}, ())
    with pytest.raises(ArithmeticError, match="the world breaks an assumption"):
        replace(loose, world=odd).verify()


# --- against actual distributions -----------------------------------------------------------------


def _entropies(masses: np.ndarray, names: str) -> dict[frozenset[str], float]:
    out = {}
    for size in range(1, len(names) + 1):
        for kept in itertools.combinations(range(len(names)), size):
            dropped = tuple(i for i in range(len(names)) if i not in kept)
            marginal = masses.sum(axis=dropped).ravel()
            marginal = marginal[marginal > 0.0]
            out[frozenset(names[i] for i in kept)] = float(-np.sum(marginal * np.log(marginal)))
    return out


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_proved_relations_hold_of_random_distributions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masses = rng.dirichlet(np.full(27, 0.5)).reshape(3, 3, 3)  # X, Y, Z
    joint = np.zeros((3, 3, 3, 2))
    for x, image in enumerate(rng.integers(0, 2, 3)):  # g is a function of X
        joint[x, :, :, image] = masses[x]
    known = _entropies(joint, "XYZg")
    for label in ("M1", "M1 (monotone)"):
        surplus = STATEMENTS[label].claim.surplus
        value = sum(float(c) * known[names] for (_, names), c in surplus.terms.items())
        assert value >= -1e-12
        assert not STATEMENTS[label].claim.equality or value <= 1e-12
    free = _entropies(rng.dirichlet(np.full(24, 0.5)).reshape(2, 2, 3, 2), "YHCM")
    surplus = STATEMENTS["budget"].claim.surplus
    assert sum(float(c) * free[names] for (_, names), c in surplus.terms.items()) >= -1e-12


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(STATEMENTS)))
def test_proved_relations_hold_of_random_linear_worlds(seed: int, label: str) -> None:
    rng = np.random.default_rng(seed)
    statement = STATEMENTS[label]
    bits = 4
    forms: dict[str, tuple[int, ...]] = {
        name: tuple(rng.integers(1, 2**bits, rng.integers(0, 3)).tolist())
        for name in sorted(statement.variables)
    }
    order = [item for item in statement.given if isinstance(item, FunctionOf)]
    for _ in range(len(order)):  # inputs of later steps are functions of inputs of earlier ones
        for item in order:
            pool = [form for name in sorted(item.of) for form in forms[name]]
            chosen = [form for form in pool if rng.random() < 0.5]
            for name in item.names:
                forms[name] = tuple(chosen)
    world = LinearWorld(bits, forms, tuple(rng.integers(1, 2**bits, rng.integers(0, 3)).tolist()))
    if all(world.satisfies(item) for item in statement.given):
        value = world.value(statement.claim.surplus)
        assert value == 0 if statement.claim.equality else value >= 0


def test_a_linear_world_by_hand() -> None:
    # Q: two fair bits a, b; P: a = b
    world = LinearWorld(2, {"X": (1,), "Y": (2,)}, (3,))
    assert world.value(H("X,Y")) == 1 and world.value(I("X;Y")) == 1
    assert world.value(KL("X")) == 0 and world.value(KL("X,Y")) == 1
    assert world.satisfies(LooksOnlyAt("Y", at="", past="X"))
    assert not world.satisfies(FunctionOf("Y", of="X"))  # under Q it is not
    assert world.value(KL("Y|X") - I("X;Y")) == 0  # L1


# --- the language ---------------------------------------------------------------------------------


def test_text_and_operators_say_the_same() -> None:
    written = Relation.of("2*I(X;Z|Y) - 1/2 H(X|Y,Z) + 0 <= KL(X) + 3*H(Z)")
    built = 2 * I("X;Z|Y") - Fraction(1, 2) * H("X|Y,Z") <= KL("X") + 3 * H("Z")
    assert dict(written.surplus.terms) == dict(built.surplus.terms)
    assert dict(Relation.of("-H(X) >= H(Y)").surplus.terms) == dict((-H("X") - H("Y")).terms)
    assert dict((H("X,X")).terms) == dict(H("X").terms)


@pytest.mark.parametrize(
    "text",
    [
        "I(X;Z|Y)",
        "I(X;Z|Y) > 0",
        "I(X;Z|Y) >= 1",
        "I(X) >= 0",
        "H(X;Y) >= 0",
        "H() >= 0",
        "H(1X) >= 0",
        "H(X) H(Y) >= 0",
        "J(X) >= 0",
        "H(X) >= 0 >= H(Y)",
        "H(X >= 0",
    ],
)
def test_text_that_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        prove(text)


def test_only_exact_numbers_multiply() -> None:
    for factor in (0.5, True, "2"):
        with pytest.raises(ParameterError, match="an integer or a Fraction"):
            H("X") * factor
    with pytest.raises(ParameterError, match="the only constant is 0"):
        H("X") + 1


def test_a_relation_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="not a truth value"):
        assert H("X") >= H("Y")


def test_assumptions_may_be_added_to_a_statement() -> None:
    false = next(v for v in STATEMENTS["M1"].false_variants if not v.given)
    assert not prove(false)
    assert prove(false, given=["H(g|X) == 0"])
    assert prove("H(X) <= H(Y)", given=["H(X) <= H(Z)", "H(Z) <= H(Y)"])
    assert not prove("H(X) <= H(Y)", given=["H(X) <= H(Z)"])


def test_equalities_are_refused_in_the_direction_that_fails() -> None:
    refusal = prove("H(X,Y) == H(X) + H(Y)")
    assert isinstance(refusal, Refusal)
    assert refusal.violated.terms == (H("X,Y") - H("X") - H("Y")).terms


def test_zero_is_proved_by_nothing() -> None:
    proof = prove("0 >= 0")
    assert isinstance(proof, Proof) and proof.certificates[0].terms == ()
