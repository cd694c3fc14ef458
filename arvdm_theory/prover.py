r"""A prover for the inequalities' structure: linear programming with exact certificates.

Two cones, used alone or together. *Entropies* of sets of variables under P obey the elemental
Shannon inequalities $I(A;B|C) \ge 0$ and $H(A|C) \ge 0$. *Divergences*
$D(S) = KL(P_S \| Q_S)$ obey the chain rule $KL(A|B) = D(A \cup B) - D(B)$, which is
$E_P\,KL(P(A|B) \| Q(A|B))$ and so at least 0 (monotonicity, data processing). Structure is assumed
by name: `FunctionOf` (a variable is a function of others), `LooksOnlyAt` (the model's kernel
ignores the past: L1), or any linear relation of the two kinds of terms.

`prove` looks for the claim as a non-negative combination of named laws (HiGHS), solves for the
coefficients again in exact rationals on the laws found, and returns a `Proof` that checks itself
in rational arithmetic; or a `Refusal` with a point of the cone that violates the claim, and, where
one exists among small linear worlds of fair bits, an actual pair (P, Q) that does.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse

from arvdm_theory.errors import ParameterError, RefusedError

__all__ = [
    "STATEMENTS",
    "Certificate",
    "Expression",
    "FunctionOf",
    "H",
    "I",
    "KL",
    "Law",
    "LinearWorld",
    "LooksOnlyAt",
    "Proof",
    "Refusal",
    "Relation",
    "Statement",
    "prove",
]

Names = frozenset[str]
Atom = tuple[str, Names]
Terms = dict[Atom, Fraction]

LARGEST_LATTICE = 10
"""Most variables for which every set of them is looked at; beyond, only sets that the claim and its
assumptions generate (a proof is still a proof; without one, nothing is decided)."""
_WORLDS_PER_BLOCK = 400_000
_MOST_WORLDS = 4_000_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_']*\Z")


# --- expressions ----------------------------------------------------------------------------------


def _names(text: str | Iterable[str]) -> Names:
    items = text.split(",") if isinstance(text, str) else list(text)
    names = [item.strip() for item in items]
    if names == [""]:
        return frozenset()
    for name in names:
        if not _NAME.match(name):
            raise ParameterError("variables", "names parted by commas (letters first)", text)
    return frozenset(names)


def _show(names: Names) -> str:
    return ",".join(sorted(names))


def _term(kind: str, *sets: Names) -> str:
    *arguments, given = sets
    bar = f"|{_show(given)}" if given else ""
    return f"{kind}({';'.join(_show(item) for item in arguments)}{bar})"


@dataclass(frozen=True, eq=False)
class Expression:
    """A linear combination of joint entropies and divergences, in exact rationals.

    Built by `H`, `I`, `KL` and +, -, and * with integers or fractions; compared by >=, <= and ==,
    which give a `Relation`.

    >>> I("X;Z|Y") - 2 * H("X") <= 0
    Relation: I(X;Z|Y) - 2*H(X) <= 0
    """

    terms: Mapping[Atom, Fraction]
    text: str

    def __post_init__(self) -> None:
        kept = {atom: value for atom, value in self.terms.items() if value and atom[1]}
        object.__setattr__(self, "terms", kept)

    def _with(self, other: Any, sign: int) -> Expression:
        if not isinstance(other, Expression):
            other = _zero(other)
        terms = dict(self.terms)
        for atom, value in other.terms.items():
            terms[atom] = terms.get(atom, Fraction(0)) + sign * value
        if other.text == "0":
            return Expression(terms, self.text)
        right = f"({other.text})" if sign < 0 and re.search(r" [+-] ", other.text) else other.text
        if self.text == "0":
            return Expression(terms, right if sign > 0 else f"-{right}")
        return Expression(terms, f"{self.text} {'+' if sign > 0 else '-'} {right}")

    def __add__(self, other: Any) -> Expression:
        return self._with(other, 1)

    def __sub__(self, other: Any) -> Expression:
        return self._with(other, -1)

    def __radd__(self, other: Any) -> Expression:
        return _zero(other) + self

    def __rsub__(self, other: Any) -> Expression:
        return _zero(other) - self

    def __neg__(self) -> Expression:
        return _zero(0) - self

    def __mul__(self, factor: Any) -> Expression:
        if isinstance(factor, bool) or not isinstance(factor, (int, Fraction)):
            raise ParameterError("factor", "an integer or a Fraction", factor)
        inside = f"({self.text})" if re.search(r" [+-] ", self.text) else self.text
        terms = {atom: factor * value for atom, value in self.terms.items()}
        return Expression(terms, f"{factor}*{inside}")

    __rmul__ = __mul__

    def __ge__(self, other: Any) -> Relation:
        return Relation(self, _expression(other), ">=")

    def __le__(self, other: Any) -> Relation:
        return Relation(self, _expression(other), "<=")

    def __eq__(self, other: Any) -> Relation:  # type: ignore[override]
        return Relation(self, _expression(other), "==")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Expression: {self.text}"


def _zero(value: Any) -> Expression:
    if isinstance(value, bool) or value != 0:
        raise ParameterError("expression", "made of H, I and KL (the only constant is 0)", value)
    return Expression({}, "0")


def _expression(value: Any) -> Expression:
    return value if isinstance(value, Expression) else _zero(value)


def _split(text: str, arguments: int) -> tuple[Names, ...]:
    left, _, given = text.partition("|")
    parts = left.split(";")
    if len(parts) != arguments or any(not _names(part) for part in parts):
        what = "A|B" if arguments == 1 else "A;B|C"
        raise ParameterError("term", f"of the form {what}, sets of names", text)
    return (*(_names(part) for part in parts), _names(given))


def _combine(kind: str, signs: Iterable[tuple[int, Names]], text: str) -> Expression:
    terms: Terms = {}
    for sign, names in signs:
        terms[kind, names] = terms.get((kind, names), Fraction(0)) + sign
    return Expression(terms, text)


def _entropy(of: Names, given: Names) -> Expression:
    return _combine("H", [(1, of | given), (-1, given)], _term("H", of, given))


def _information(first: Names, second: Names, given: Names) -> Expression:
    signs = [(1, first | given), (1, second | given), (-1, first | second | given), (-1, given)]
    return _combine("H", signs, _term("I", first, second, given))


def _divergence(of: Names, given: Names) -> Expression:
    return _combine("KL", [(1, of | given), (-1, given)], _term("KL", of, given))


def H(text: str) -> Expression:
    """Entropy under P: `H("X,Y|Z")`.

    >>> H("X|Y") + I("X;Y") == H("X")
    Relation: H(X|Y) + I(X;Y) == H(X)
    """
    return _entropy(*_split(text, 1))


def I(text: str) -> Expression:  # noqa: E743
    """Mutual information under P: `I("X;Z|Y,g")`.

    >>> sorted(I("X;Z").terms.values())
    [Fraction(-1, 1), Fraction(1, 1), Fraction(1, 1)]
    """
    return _information(*_split(text, 2))


def KL(text: str) -> Expression:
    r"""Divergence: `KL("A|B")` is $E_P\,KL(P(A|B) \| Q(A|B)) = D(A \cup B) - D(B)$.

    >>> prove(KL("A,B") == KL("B") + KL("A|B")).certificates[0].terms
    ()
    """
    return _divergence(*_split(text, 1))


_KINDS = {"H": H, "I": I, "KL": KL}
_TOKEN = re.compile(r"\s*([+-])?\s*(?:(\d+(?:/\d+)?)\s*\*?\s*)?(?:(H|I|KL)\s*\(([^()]*)\))?")


def _parse(text: str) -> Expression:
    out, at, first = _zero(0), 0, True
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        assert match is not None
        sign, factor, kind, inside = match.groups()
        if match.end() == at or (sign is None and not first) or (kind is None and factor != "0"):
            raise ParameterError("expression", "a sum of terms like 2*I(X;Z|Y)", text[at:])
        if kind is not None:
            term = _KINDS[kind](inside)
            if factor is not None and factor != "1":
                term = Fraction(factor) * term
            out = out - term if sign == "-" else out + term
        at, first = match.end(), False
    return out


@dataclass(frozen=True, eq=False)
class Relation:
    """`left` >=, <= or == `right`; also read from text.

    >>> Relation.of("I(X;Z|Y,g) <= I(X;Z|Y)").surplus.text
    'I(X;Z|Y) - I(X;Z|Y,g)'
    """

    left: Expression
    right: Expression
    sign: str

    @staticmethod
    def of(value: Relation | str) -> Relation:
        """A relation, or the one that a text states."""
        if isinstance(value, Relation):
            return value
        parts = re.split(r"(>=|<=|==)", value) if isinstance(value, str) else []
        if len(parts) != 3:
            raise ParameterError("relation", "two expressions with >=, <= or == between", value)
        return Relation(_parse(parts[0]), _parse(parts[2]), parts[1])

    @property
    def equality(self) -> bool:
        """Whether the two sides are said to be equal."""
        return self.sign == "=="

    @property
    def surplus(self) -> Expression:
        """What is said to be at least 0 (or equal to 0)."""
        return self.right - self.left if self.sign == "<=" else self.left - self.right

    @property
    def text(self) -> str:
        """As it was written."""
        return f"{self.left.text} {self.sign} {self.right.text}"

    def __bool__(self) -> bool:
        raise TypeError("a Relation is a claim, not a truth value: give it to prove()")

    def __repr__(self) -> str:
        return f"Relation: {self.text}"


# --- assumptions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FunctionOf:
    r"""`names` is a function of `of`, the same one under P and Q.

    So $H(g|X) = 0$ and, for every $S \supseteq X$, $D(S \cup g) = D(S)$.
    """

    names: Any
    of: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _names(self.names))
        object.__setattr__(self, "of", _names(self.of))

    @property
    def text(self) -> str:
        """In words."""
        return f"{_show(self.names)} is a function of ({_show(self.of)})"


@dataclass(frozen=True)
class LooksOnlyAt:
    r"""The model's kernel: $Q(O \mid A, B) = q(O \mid A)$ for `names` O, `at` A and `past` B.

    By L1, for every set $S$ of variables of B,
    $KL(O \mid A, S) = KL(O \mid A) + I_P(O; S \mid A)$.
    """

    names: Any
    at: Any
    past: Any

    def __post_init__(self) -> None:
        for name in ("names", "at", "past"):
            object.__setattr__(self, name, _names(getattr(self, name)))
        object.__setattr__(self, "past", self.past - self.at - self.names)

    @property
    def text(self) -> str:
        """In words."""
        seen = f"({_show(self.at)})" if self.at else "nothing"
        return f"Q makes {_show(self.names)} from {seen}, not from ({_show(self.past)})"


Assumption = Relation | FunctionOf | LooksOnlyAt


@dataclass(frozen=True)
class Law:
    """One named law, an inequality (>= 0) or an equality (== 0); it holds by its `rule`.

    `information` I(A;B|C) >= 0, `entropy` H(A|C) >= 0, `divergence` KL(A|C) >= 0: always.
    `given`: an assumed relation. `function`: KL(g|S) == 0, `function entropy`: H(g|S) == 0, where S
    holds all that g is a function of. `looks`: L1 for a set S of the past. `looks more`:
    KL(O|S') >= KL(O|S) for S in S', both of what the kernel sees and its past.
    """

    rule: str
    sets: tuple[Names, ...] = ()
    assumption: int | None = None

    def expression(self, given: Sequence[Assumption]) -> Expression:
        """The expression; raises `ParameterError` if the rule does not license it."""
        if self.rule in ("information", "entropy", "divergence"):
            if self.rule == "information":
                return _information(*self.sets)
            return (_entropy if self.rule == "entropy" else _divergence)(*self.sets)
        index = self.assumption
        if index is None or not 0 <= index < len(given):
            raise ParameterError("law", "licensed by an assumption", self)
        source = given[index]
        if self.rule == "given" and isinstance(source, Relation):
            return source.surplus
        if isinstance(source, FunctionOf) and self.rule in ("function", "function entropy"):
            [seen] = self.sets
            if source.of <= seen:
                make = _divergence if self.rule == "function" else _entropy
                return make(source.names, seen)
        if isinstance(source, LooksOnlyAt):
            whole = source.at | source.past
            if self.rule == "looks" and self.sets[0] <= source.past:
                out = _divergence(source.names, source.at | self.sets[0])
                out = out - _divergence(source.names, source.at)
                return out - _information(source.names, self.sets[0], source.at)
            if self.rule == "looks more" and source.at <= self.sets[0] <= self.sets[1] <= whole:
                larger = _divergence(source.names, self.sets[1])
                return larger - _divergence(source.names, self.sets[0])
        raise ParameterError("law", f"licensed by the assumption {source.text!r}", self)

    def equality(self, given: Sequence[Assumption]) -> bool:
        """Whether the law is an equality, so that its coefficient may have either sign."""
        if self.rule == "given":
            source = given[self.assumption or 0]
            return isinstance(source, Relation) and source.equality
        return self.rule in ("function", "function entropy", "looks")

    def text(self, given: Sequence[Assumption]) -> str:
        """The law and where it comes from."""
        sign = "==" if self.equality(given) else ">="
        if self.assumption is None:
            return f"{self.expression(given).text} {sign} 0"
        source = given[self.assumption]
        if self.rule == "given":
            return f"{source.text}   [given]"
        return f"{self.expression(given).text} {sign} 0   [{source.text}]"


# --- statements -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Statement:
    """A claim under assumptions, with false variants of it that must be refused.

    `claim`: a relation or its text. `given`: relations (or texts), `FunctionOf`, `LooksOnlyAt`.
    """

    label: str
    claim: Any
    given: tuple[Any, ...] = ()
    note: str = ""
    false_variants: tuple[Statement, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "claim", Relation.of(self.claim))
        given = tuple(
            item if isinstance(item, (FunctionOf, LooksOnlyAt)) else Relation.of(item)
            for item in self.given
        )
        object.__setattr__(self, "given", given)

    @property
    def variables(self) -> Names:
        """All variables of the claim and its assumptions."""
        out: set[str] = set()
        for item in (self.claim, *self.given):
            if isinstance(item, Relation):
                for _, names in (*item.left.terms, *item.right.terms):
                    out |= names
            else:
                for part in vars(item).values():
                    out |= part
        return frozenset(out)

    def kinds(self) -> set[str]:
        """Which cones the claim and its assumed relations speak of."""
        relations = [item for item in (self.claim, *self.given) if isinstance(item, Relation)]
        return {
            kind for item in relations for side in (item.left, item.right) for kind, _ in side.terms
        }

    def __repr__(self) -> str:
        return f"Statement({self.label}: {self.claim.text})"


@dataclass(frozen=True, eq=False)
class Certificate:
    """`target` >= 0, as a sum of named laws with rational coefficients.

    Coefficients of inequalities are at least 0. `verify` trusts nothing that is stored: every law
    is built again from its rule, and the sum is compared term by term.
    """

    target: Expression
    given: tuple[Assumption, ...]
    terms: tuple[tuple[Fraction, Law], ...]

    def verify(self) -> None:
        """Raise `ArithmeticError` unless the certificate proves its target, in exact rationals."""
        total: Terms = {}
        for coefficient, law in self.terms:
            if not isinstance(coefficient, Fraction):
                raise ArithmeticError(f"{coefficient!r} is not an exact rational")
            try:
                expression = law.expression(self.given)
            except ParameterError as error:
                raise ArithmeticError(str(error)) from None
            if coefficient < 0 and not law.equality(self.given):
                raise ArithmeticError(f"negative coefficient of {law.text(self.given)}")
            for atom, value in expression.terms.items():
                total[atom] = total.get(atom, Fraction(0)) + coefficient * value
        if {atom: value for atom, value in total.items() if value} != dict(self.target.terms):
            raise ArithmeticError(f"the laws do not add up to {self.target.text}")

    def __str__(self) -> str:
        lines = [f"{self.target.text} >= 0 is the sum of"]
        for coefficient, law in self.terms:
            lines.append(f"  {coefficient!s:>4} × {law.text(self.given)}")
        if not self.terms:
            lines.append("  nothing: it is 0 by the chain rule")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Proof:
    """A proved statement: one certificate, or two for an equality. Truthy."""

    statement: Statement
    certificates: tuple[Certificate, ...]

    def verify(self) -> None:
        """Check, in exact rationals, that the certificates prove this very statement."""
        surplus = self.statement.claim.surplus
        wanted = [surplus, -surplus] if self.statement.claim.equality else [surplus]
        if len(wanted) != len(self.certificates):
            raise ArithmeticError("an equality needs one certificate for each direction")
        for target, certificate in zip(wanted, self.certificates, strict=True):
            if dict(certificate.target.terms) != dict(target.terms):
                raise ArithmeticError(f"the certificate is not of {target.text}")
            if certificate.given != self.statement.given:
                raise ArithmeticError("the certificate assumes something else")
            certificate.verify()

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        head = f"{self.statement.label}: {self.statement.claim.text}"
        given = [f"  given {item.text}" for item in self.statement.given]
        return "\n".join([head, *given, *map(str, self.certificates)])


@dataclass(frozen=True, eq=False)
class LinearWorld:
    """An actual pair (P, Q): under Q `bits` fair bits, under P those with `constraint` = 0.

    Every variable is a tuple of sums (mod 2) of the bits; a sum is the integer whose binary digits
    say which bits it adds. Entropies and divergences are whole numbers of bits.
    """

    bits: int
    variables: Mapping[str, tuple[int, ...]]
    constraint: tuple[int, ...]

    def value(self, expression: Expression) -> Fraction:
        """The expression in this world, in bits."""
        out = Fraction(0)
        for (kind, names), coefficient in expression.terms.items():
            forms = [form for name in names for form in self.variables[name]]
            known = _rank([*forms, *self.constraint]) - _rank(self.constraint)
            out += coefficient * (known if kind == "H" else _rank(forms) - known)
        return out

    def satisfies(self, assumption: Assumption) -> bool:
        """Whether the assumption is true of this world (not only what `prove` uses of it)."""
        if isinstance(assumption, Relation):
            value = self.value(assumption.surplus)
            return value == 0 if assumption.equality else value >= 0

        def rank(*sets: Names) -> int:
            return _rank([form for part in sets for name in part for form in self.variables[name]])

        if isinstance(assumption, FunctionOf):
            return rank(assumption.of, assumption.names) == rank(assumption.of)
        names, at, past = assumption.names, assumption.at, assumption.past
        return rank(names, at) - rank(at) == rank(names, at, past) - rank(at, past)

    def __str__(self) -> str:
        letters = "abcdefgh"

        def show(forms: tuple[int, ...]) -> str:
            sums = ["+".join(letters[i] for i in range(8) if form >> i & 1) for form in forms]
            return "(" + ", ".join(sums) + ")" if sums else "constant"

        parts = [f"{name} = {show(forms)}" for name, forms in sorted(self.variables.items())]
        law = f"; P: {show(self.constraint)} = 0" if self.constraint else ""
        return f"fair bits {', '.join(letters[: self.bits])} (mod 2): " + "; ".join(parts) + law


@dataclass(frozen=True, eq=False)
class Refusal:
    """No proof. Falsy.

    `point`: a point of the cone at which `violated` (part of the claim) is negative, so that the
    claim does not follow from the named laws. `world`: an actual pair of distributions that
    violates the claim, so that it is false; `None` if the search found none.
    """

    statement: Statement
    violated: Expression
    point: Mapping[Atom, Fraction]
    world: LinearWorld | None

    def verify(self) -> None:
        """Raise `ArithmeticError` unless the point obeys every law and violates the claim."""
        system = _System.full(self.statement)
        for law in system.laws:
            value = self._at_point(law.expression(self.statement.given))
            if value < 0 or (value != 0 and law.equality(self.statement.given)):
                raise ArithmeticError(f"the point breaks {law.text(self.statement.given)}")
        if self._at_point(self.violated) >= 0:
            raise ArithmeticError("the point does not violate the claim")
        surplus = self.statement.claim.surplus
        if dict(self.violated.terms) not in (dict(surplus.terms), dict((-surplus).terms)):
            raise ArithmeticError("what is violated is not the claim")
        if self.world is not None:
            if not all(self.world.satisfies(item) for item in self.statement.given):
                raise ArithmeticError("the world breaks an assumption")
            if self.world.value(self.violated) >= 0:
                raise ArithmeticError("the world does not violate the claim")

    def _at_point(self, expression: Expression) -> Fraction:
        zero = Fraction(0)
        return sum((c * self.point.get(atom, zero) for atom, c in expression.terms.items()), zero)

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        lines = [f"{self.statement.label}: {self.statement.claim.text} is refused:"]
        lines.append(f"  {self.violated.text} = {self._at_point(self.violated)} at a point where")
        for (kind, names), value in sorted(
            self.point.items(), key=lambda item: (item[0][0], len(item[0][1]), sorted(item[0][1]))
        ):
            if value:
                lines.append(f"    {kind}({_show(names)}) = {value}")
        if self.world is not None:
            value = self.world.value(self.violated)
            lines.append(f"  and it is {value} bits with {self.world}")
        return "\n".join(lines)


# --- linear programming ---------------------------------------------------------------------------


def _subsets(names: Iterable[str]) -> Iterator[Names]:
    items = sorted(names)
    for size in range(len(items) + 1):
        yield from map(frozenset, itertools.combinations(items, size))


@dataclass(frozen=True, eq=False)
class _System:
    """All laws of a statement over a family of sets."""

    statement: Statement
    laws: list[Law]
    expressions: list[Expression] = field(init=False)
    atoms: dict[Atom, int] = field(init=False)

    def __post_init__(self) -> None:
        given = self.statement.given
        expressions = [law.expression(given) for law in self.laws]
        sums = (*expressions, self.statement.claim.surplus)
        atoms = {atom: None for item in sums for atom in item.terms}
        object.__setattr__(self, "expressions", expressions)
        object.__setattr__(self, "atoms", {atom: i for i, atom in enumerate(atoms)})

    @staticmethod
    def full(statement: Statement) -> _System:
        """Over every set of variables."""
        names = statement.variables
        family = set(_subsets(names))
        return _System(statement, list(_laws(statement, family, _covers_of(names))))

    @staticmethod
    def generated(statement: Statement) -> _System:
        """Over the sets that the claim and the assumptions speak of, closed a few times."""
        family: set[Names] = {frozenset()}
        family |= {names for _, names in statement.claim.surplus.terms}
        for item in statement.given:
            if isinstance(item, FunctionOf):
                family |= {item.of, item.names, item.of | item.names}
            elif isinstance(item, LooksOnlyAt):
                family |= {item.at, item.at | item.names}
            else:
                family |= {names for _, names in item.surplus.terms}
        for _ in range(3):
            for item in statement.given:
                if isinstance(item, FunctionOf):
                    family |= {S | item.names for S in family if item.of <= S}
                elif isinstance(item, LooksOnlyAt):
                    family |= {S - item.names for S in family if item.names <= S}
                    whole = item.at | item.past
                    family |= {S | item.names for S in family if item.at <= S <= whole}
        pairs = [(S, T) for S in family for T in family if S < T]
        return _System(statement, list(_laws(statement, family, pairs)))

    def matrix(self) -> scipy.sparse.csr_matrix:
        rows, columns, values = [], [], []
        for i, item in enumerate(self.expressions):
            for atom, value in item.terms.items():
                rows.append(i)
                columns.append(self.atoms[atom])
                values.append(float(value))
        shape = (len(self.laws), len(self.atoms))
        return scipy.sparse.csr_matrix((values, (rows, columns)), shape=shape)

    def equalities(self) -> np.ndarray:
        return np.array([law.equality(self.statement.given) for law in self.laws], dtype=bool)

    def vector(self, expression: Expression) -> np.ndarray:
        out = np.zeros(len(self.atoms))
        for atom, value in expression.terms.items():
            out[self.atoms[atom]] = float(value)
        return out


def _covers_of(names: Names) -> list[tuple[Names, Names]]:
    return [(S, S | {name}) for S in _subsets(names) for name in sorted(names - S)]


def _laws(
    statement: Statement, family: set[Names], pairs: list[tuple[Names, Names]]
) -> Iterator[Law]:
    kinds, names = statement.kinds(), statement.variables
    if "KL" in kinds:
        for smaller, larger in pairs:
            yield Law("divergence", (larger - smaller, smaller))
    if "H" in kinds and len(names) <= LARGEST_LATTICE:
        for name in sorted(names):
            yield Law("entropy", (frozenset([name]), names - {name}))
        for first, second in itertools.combinations(sorted(names), 2):
            for rest in _subsets(names - {first, second}):
                yield Law("information", (frozenset([first]), frozenset([second]), rest))
    for index, item in enumerate(statement.given):
        if isinstance(item, Relation):
            yield Law("given", (), index)
        elif isinstance(item, FunctionOf):
            if "H" in kinds:
                yield Law("function entropy", (item.of,), index)
            if "KL" in kinds:
                for seen in sorted(family, key=sorted):
                    if item.of <= seen and not item.names <= seen:
                        yield Law("function", (seen,), index)
        elif "KL" in kinds and "H" in kinds:
            for seen in sorted(family, key=sorted):
                if seen and seen <= item.past:
                    yield Law("looks", (seen,), index)
                elif item.at < seen <= item.at | item.past:
                    yield Law("looks", (seen - item.at,), index)
        elif "KL" in kinds:
            whole = item.at | item.past
            for smaller, larger in pairs:
                if item.at <= smaller and larger <= whole:
                    yield Law("looks more", (smaller, larger), index)


def _linear_program(costs: np.ndarray, **constraints: Any) -> Any:
    """Smallest total cost of non-negative numbers that meet the constraints, at a vertex."""
    return scipy.optimize.linprog(costs, **constraints, bounds=(0, None), method="highs-ds")


def _certificate(system: _System, target: Expression) -> Certificate | None:
    """The target as a sum of laws with few, small coefficients; `None` if it is no such sum."""
    matrix, free = system.matrix(), system.equalities()
    given = system.statement.given
    if not system.laws:
        return Certificate(target, given, ()) if not target.terms else None
    columns = scipy.sparse.hstack([matrix.T, -matrix[np.flatnonzero(free)].T]).tocsr()
    result = _linear_program(
        np.ones(columns.shape[1]),
        A_eq=columns,
        b_eq=system.vector(target),
    )
    if result.status == 2:
        return None
    if result.status != 0:
        raise ArithmeticError(f"linear programming failed: {result.message}")
    support = set(np.flatnonzero(result.x > 1e-9).tolist())
    negative = np.flatnonzero(free)
    used = sorted({i if i < len(free) else int(negative[i - len(free)]) for i in support})
    exact = _solve([system.expressions[i].terms for i in used], target.terms)
    if exact is None:
        raise ArithmeticError("the laws found by linear programming do not give an exact sum")
    terms = tuple(
        (value, system.laws[i]) for i, value in zip(used, exact, strict=True) if value != 0
    )
    certificate = Certificate(target, given, terms)
    certificate.verify()
    return certificate


def _solve(
    columns: Sequence[Mapping[Atom, Fraction]], target: Mapping[Atom, Fraction]
) -> list[Fraction] | None:
    """Exact coefficients with Σ coefficient · column = target, by elimination in rationals."""
    atoms = list({atom: None for item in (*columns, target) for atom in item})
    zero = Fraction(0)
    rows = [[item.get(atom, zero) for item in columns] + [target.get(atom, zero)] for atom in atoms]
    pivots: list[int] = []
    for column in range(len(columns)):
        at = len(pivots)
        found = next((i for i in range(at, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[at], rows[found] = rows[found], rows[at]
        scale = rows[at][column]
        rows[at] = [value / scale for value in rows[at]]
        for i in range(len(rows)):
            factor = rows[i][column]
            if i != at and factor:
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[at], strict=True)]
        pivots.append(column)
    if any(row[-1] for row in rows[len(pivots) :]):
        return None
    out = [zero] * len(columns)
    for i, column in enumerate(pivots):
        out[column] = rows[i][-1]
    return out


def _point(system: _System, target: Expression) -> dict[Atom, Fraction]:
    """A point of the cone at which the target is -1, in exact rationals."""
    matrix, free = system.matrix(), system.equalities()
    size = len(system.atoms)
    goal = scipy.sparse.csr_matrix(system.vector(target)[None])
    equal = scipy.sparse.vstack([goal, matrix[np.flatnonzero(free)]]).tocsr()
    right = np.zeros(equal.shape[0])
    right[0] = -1.0
    rest = matrix[np.flatnonzero(~free)]
    result = _linear_program(
        np.ones(size),
        A_eq=equal,
        b_eq=right,
        A_ub=-rest,
        b_ub=np.zeros(rest.shape[0]),
    )
    if result.status != 0:
        raise ArithmeticError(f"linear programming failed: {result.message}")
    return {
        atom: Fraction(float(result.x[i])).limit_denominator(10_000)
        for atom, i in system.atoms.items()
    }


def prove(
    statement: Statement | Relation | str, given: Iterable[Assumption | str] = ()
) -> Proof | Refusal:
    r"""Prove a linear relation of entropies and divergences, or refuse it.

    Arguments
    ---------
    statement: a `Statement`, a `Relation` such as `I("X;Z|Y,g") <= I("X;Z|Y")`, or its text.
    given: assumptions: relations (or texts), `FunctionOf`, `LooksOnlyAt`.

    Returns
    -------
    `Proof`, whose certificates check in exact rationals; or `Refusal`, with a rational point of the
    cone that violates the claim and, if one was found, an actual world.

    Raises
    ------
    ParameterError: text that is no relation. RefusedError: more than `LARGEST_LATTICE` variables
    and no proof over the sets that the claim and its assumptions generate: nothing is decided.

    Source: THEORY, sections 2 and 3; elemental inequalities: Yeung 1997.

    >>> print(prove("I(Y;H|C,M) >= I(Y;H|C) - I(Y;M|C)").certificates[0])
    I(Y;H|C,M) - (I(Y;H|C) - I(Y;M|C)) >= 0 is the sum of
         1 × I(M;Y|C,H) >= 0
    >>> bool(prove("I(X;Z|Y,g) <= I(X;Z|Y)", given=[FunctionOf("g", of="X")]))
    True
    >>> print(prove("I(X;Z|Y,g) <= I(X;Z|Y)").world)  # g is no function of X
    fair bits a, b (mod 2): X = (a); Y = constant; Z = (b); g = (a+b)
    """
    if not isinstance(statement, Statement):
        statement = Statement("claim", statement, tuple(given))
    elif tuple(given):
        extended = (*statement.given, *given)
        statement = Statement(statement.label, statement.claim, extended, statement.note)
    surplus = statement.claim.surplus
    targets = [surplus, -surplus] if statement.claim.equality else [surplus]
    small = len(statement.variables) <= LARGEST_LATTICE
    systems: dict[bool, _System] = {}
    certificates = []
    for target in targets:
        found = None
        for full in (False, True) if small else (False,):
            if full not in systems:
                make = _System.full if full else _System.generated
                systems[full] = make(statement)
            found = _certificate(systems[full], target)
            if found is not None:
                break
        if found is not None:
            certificates.append(found)
        elif small:
            refusal = Refusal(
                statement, target, _point(systems[True], target), _find_world(statement, target)
            )
            refusal.verify()
            return refusal
        else:
            raise RefusedError(
                f"no proof over the sets that the claim generates, and its "
                f"{len(statement.variables)} variables are too many to look at all sets"
            )
    proof = Proof(statement, tuple(certificates))
    proof.verify()
    return proof


# --- actual counterexamples -----------------------------------------------------------------------


def _rank(forms: Iterable[int]) -> int:
    """Rank over GF(2) of integers read as bit vectors."""
    basis: list[int] = []
    for form in forms:
        for item in basis:
            form = min(form, form ^ item)
        if form:
            basis.append(form)
    return len(basis)


def _span(forms: Iterable[int]) -> frozenset[int]:
    out = {0}
    for form in forms:
        out |= {item ^ form for item in out}
    return frozenset(out)


def _find_world(statement: Statement, target: Expression) -> LinearWorld | None:
    """A linear world of at most three fair bits that meets the assumptions, target negative."""
    names = sorted(statement.variables)
    for bits in (1, 2, 3):
        bases = [
            basis
            for size in range(bits + 1)
            for basis in itertools.combinations(range(1, 2**bits), size)
            if _rank(basis) == size
        ]
        spaces: dict[frozenset[int], tuple[int, ...]] = {}
        for basis in bases:
            spaces.setdefault(_span(basis), basis)
        if len(spaces) ** len(names) > _MOST_WORLDS:
            return None
        keys = list(spaces)
        join = np.array(
            [[keys.index(_span([*spaces[a], *spaces[b]])) for b in keys] for a in keys],
            dtype=np.int8,
        )
        dims = np.array([len(spaces[key]) for key in keys], dtype=np.int8)
        world = _search(statement, target, names, [spaces[key] for key in keys], join, dims)
        if world is not None:
            return LinearWorld(bits, *world)
    return None


def _search(
    statement: Statement,
    target: Expression,
    names: list[str],
    bases: list[tuple[int, ...]],
    join: np.ndarray,
    dims: np.ndarray,
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]] | None:
    total = len(bases) ** len(names)
    divergent = "KL" in statement.kinds()
    for start in range(0, total, _WORLDS_PER_BLOCK):
        codes = np.arange(start, min(start + _WORLDS_PER_BLOCK, total))
        digits = {}
        for name in reversed(names):
            codes, digits[name] = np.divmod(codes, len(bases))
        for item in statement.given:  # structure does not depend on P: filter once
            if isinstance(item, Relation):
                continue
            keep = _structure(item, digits, join, dims)
            digits = {name: value[keep] for name, value in digits.items()}
        for constraint in range(len(bases)) if divergent else (0,):
            holds = _value(target, digits, constraint, join, dims) < 0
            for item in statement.given:
                if isinstance(item, Relation):
                    value = _value(item.surplus, digits, constraint, join, dims)
                    holds &= (value == 0) if item.equality else (value >= 0)
            found = np.flatnonzero(holds)
            if found.size:
                at = int(found[0])
                return {name: bases[int(digits[name][at])] for name in names}, bases[constraint]
    return None


def _joined(names: Names, digits: Mapping[str, np.ndarray], join: np.ndarray) -> np.ndarray:
    size = next(iter(digits.values())).size
    out = np.zeros(size, dtype=np.int8)  # the first space is {0}
    for name in names:
        out = join[out, digits[name]]
    return out


def _structure(
    item: FunctionOf | LooksOnlyAt,
    digits: Mapping[str, np.ndarray],
    join: np.ndarray,
    dims: np.ndarray,
) -> np.ndarray:
    def rank(names: Names) -> np.ndarray:
        return np.asarray(dims[_joined(names, digits, join)])

    if isinstance(item, FunctionOf):
        return np.asarray(rank(item.of | item.names) == rank(item.of))
    whole = item.at | item.past
    alone = rank(item.names | item.at) - rank(item.at)
    return np.asarray(alone == rank(item.names | whole) - rank(whole))


def _value(
    expression: Expression,
    digits: Mapping[str, np.ndarray],
    constraint: int,
    join: np.ndarray,
    dims: np.ndarray,
) -> np.ndarray:
    out = np.zeros(next(iter(digits.values())).size)
    for (kind, names), coefficient in expression.terms.items():
        space = _joined(names, digits, join)
        known = dims[join[space, constraint]] - dims[constraint]
        out += float(coefficient) * (known if kind == "H" else dims[space] - known)
    return out


# --- the theory's statements ----------------------------------------------------------------------


def _variant(why: str, claim: Any, *given: Any) -> Statement:
    return Statement(f"false: {why}", claim, given)


def _memory_statements() -> list[Statement]:
    function = FunctionOf("g", of="X")
    forgetful = "I(X;Z|Y,g) <= I(X;Z|Y)"
    fresh_noise = "I(Rt;P,In,O|R) == 0"
    renoised = "I(O;P,R|In,Rt) == I(O;P|In,R) + I(R;O|Rt,In)"
    budget = "I(Y;H|C,M) >= I(Y;H|C) - I(Y;M|C)"
    return [
        Statement(
            "M1",
            "I(X;Z|Y,g) == I(X;Z|Y) - I(g;Z|Y)",
            (function,),
            "X past, Y input, Z output, g(X) memory",
            (
                _variant("g is no function of X", "I(X;Z|Y,g) == I(X;Z|Y) - I(g;Z|Y)"),
                _variant("memory never helps", "I(X;Z|Y,g) == I(X;Z|Y)", function),
            ),
        ),
        Statement(
            "M1 (monotone)",
            forgetful,
            (function,),
            "a memory never raises the memory bottleneck",
            (
                _variant("g is no function of X", forgetful),
                _variant("strictly less than M1", "I(X;Z|Y,g) <= I(X;Z|Y) - H(g|Y)", function),
            ),
        ),
        Statement(
            "M1 (nested)",
            "I(X;Z|Y,g) <= I(X;Z|Y,f)",
            (function, FunctionOf("f", of="g")),
            "nested memories have a non-increasing memory bottleneck",
            (
                _variant(
                    "memories that are not nested",
                    "I(X;Z|Y,g) <= I(X;Z|Y,f)",
                    function,
                    FunctionOf("f", of="X"),
                ),
                _variant(
                    "the other way round",
                    "I(X;Z|Y,f) <= I(X;Z|Y,g)",
                    function,
                    FunctionOf("f", of="g"),
                ),
            ),
        ),
        Statement(
            "M2",
            "KL(X,Y,Z) >= I(X;Z|Y)",
            (LooksOnlyAt("Z", at="Y", past="X"),),
            "what a model without memory must pay on (past, input, output)",
            (
                _variant("the model looks at the past", "KL(X,Y,Z) >= I(X;Z|Y)"),
                _variant(
                    "the output's law alone pays",
                    "KL(Z) >= I(X;Z|Y)",
                    LooksOnlyAt("Z", at="Y", past="X"),
                ),
            ),
        ),
        Statement(
            "M4",
            "KL(A,B,C) == KL(A) + KL(B|A) + I(C;A|B) + KL(C|B)",
            (LooksOnlyAt("C", at="B", past="A"),),
            "three chunks A, B, C; the model remembers one",
            (
                _variant(
                    "without the memory bottleneck",
                    "KL(A,B,C) == KL(A) + KL(B|A) + KL(C|B)",
                    LooksOnlyAt("C", at="B", past="A"),
                ),
                _variant(
                    "the model looks farther back",
                    "KL(A,B,C) == KL(A) + KL(B|A) + I(C;A|B) + KL(C|B)",
                ),
            ),
        ),
        Statement(
            "M6",
            renoised,
            (fresh_noise,),
            "R references, Rt the same re-noised, P the rest of the past, In window, O output",
            (
                _variant("re-noising costs nothing", "I(O;P,R|In,Rt) <= I(O;P|In,R)", fresh_noise),
                _variant("the noise is not independent", renoised),
            ),
        ),
        Statement(
            "M6 (monotone)",
            "I(O;P,R|In,Rt) >= I(O;P|In,R)",
            (fresh_noise,),
            "re-noising or dropping context never lowers the memory bottleneck",
            (
                _variant("the other way round", "I(O;P,R|In,Rt) <= I(O;P|In,R)", fresh_noise),
                _variant("the noise is not independent", "I(O;P,R|In,Rt) >= I(O;P|In,R)"),
            ),
        ),
        Statement(
            "budget",
            budget,
            (),
            "Y output, H history, C context, M memory",
            (
                _variant("a memory is free", "I(Y;H|C,M) >= I(Y;H|C)"),
                _variant("less than the memory tells", "I(Y;H|C,M) >= I(Y;H|C) - I(Y;M)"),
            ),
        ),
        Statement(
            "R6 (two frames)",
            "I(Z1;X|m1) + I(Z2;X,Z1|m2) >= I(Z1,Z2;X|m1)",
            (FunctionOf("m1", of="X"), FunctionOf("m2", of="m1,Z1")),
            "recursive memory: the bottlenecks of two frames are at least the two-frame horizon's",
            (
                _variant(
                    "a memory that is not recursive",
                    "I(Z1;X|m1) + I(Z2;X,Z1|m2) >= I(Z1,Z2;X|m1)",
                    FunctionOf("m1", of="X"),
                    FunctionOf("m2", of="X,Z1"),
                ),
                _variant(
                    "the second frame is free",
                    "I(Z1;X|m1) >= I(Z1,Z2;X|m1)",
                    FunctionOf("m1", of="X"),
                    FunctionOf("m2", of="m1,Z1"),
                ),
            ),
        ),
    ]


def _chain_parts(steps: int) -> tuple[list[str], list[str], list[str]]:
    """Everything before each step's fresh noise, names of inputs, and all created by each step."""
    before, inputs, seen = [], [], "Z"
    for k in range(1, steps + 1):
        before.append(seen)
        inputs.append("Z,F1" if k == 1 else f"I{k}")
        seen += f",F{k},O{k}" if k == 1 else f",F{k},I{k},O{k}"
    return before, inputs, seen.split(",")


def _theorem_b(clip_step: int) -> Statement:
    before, inputs, _ = _chain_parts(clip_step)
    bound = ["KL(Z)"]
    given: list[Any] = [FunctionOf("C", of=f"O{clip_step}")]
    for k in range(1, clip_step + 1):
        bound.append(f"KL(F{k}|{before[k - 1]})")
        bound.append(f"KL(O{k}|{inputs[k - 1]})")
        if k > 1:
            given.append(FunctionOf(f"I{k}", of=f"{inputs[k - 2]},O{k - 1},F{k}"))
            given.append(LooksOnlyAt(f"F{k}", at="", past=before[k - 1]))
    claim = f"KL(C) <= {' + '.join(bound)}"
    variants: tuple[Statement, ...] = ()
    if clip_step == 2:
        variants = tuple(
            _variant(
                f"without {term}",
                f"KL(C) <= {' + '.join(item for item in bound if item != term)}",
                *given,
            )
            for term in bound
        )
        variants += (
            _variant("the clip is no function of the output", claim, *given[1:]),
            _variant("the input is no function of step 1", claim, given[0], *given[2:]),
        )
    if clip_step == 3:
        # at the third step a fixed map of the whole past reaches behind the second step's input
        older = FunctionOf("I3", of="Z,F1,O1,I2,O2,F3")
        fixed = tuple(older if item == given[3] else item for item in given)
        small = tuple(
            FunctionOf(item.names, of=item.of - {"F1", "F2", "F3"})
            for item in (given[1], older, FunctionOf("C", of="O3"))
        )
        variants = (
            _variant("a memory that is a fixed map of the whole past", claim, *fixed),
            _variant(
                "the same without fresh noise",
                "KL(C) <= KL(Z) + KL(O1|Z) + KL(O2|I2) + KL(O3|I3)",
                *small,
            ),
        )
    return Statement(
        f"B (K={clip_step - 1})",
        claim,
        tuple(given),
        "Z initial window, F fresh noise, I input, O all states a step creates, C clip: "
        "KL(clip) <= IE + Σ (NIE + SEE + DE)",
        variants,
    )


def _theorem_a(steps: int, *, whole_chain: bool) -> Statement:
    before, inputs, everything = _chain_parts(steps)
    parts = ["KL(Z)"]
    given: list[Any] = []
    for k in range(1, steps + 1):
        parts += [f"KL(F{k}|{before[k - 1]})", f"KL(O{k}|{inputs[k - 1]})"]
        if k > 1:
            past = f"{before[k - 1]},F{k}"
            given.append(FunctionOf(f"I{k}", of=past))
            given.append(LooksOnlyAt(f"O{k}", at=f"I{k}", past=past))
            parts.append(f"I(O{k};{past}|I{k})")
    chain, total = ",".join(everything), " + ".join(parts)
    outputs = ",".join(f"O{k}" for k in range(1, steps + 1))
    claim = f"KL({chain}) == {total}" if whole_chain else f"KL({outputs}) <= {total}"
    variants: tuple[Statement, ...] = ()
    if steps == 2:
        sides = f"KL({chain}) ==" if whole_chain else f"KL({outputs}) <="
        without = [item for item in parts if not item.startswith("I(")]
        variants = (
            _variant("without the memory bottleneck", f"{sides} {' + '.join(without)}", *given),
            _variant("without fresh noise", f"{sides} {' + '.join(parts[:1] + parts[2:])}", *given),
            _variant("the model looks at the past", claim, given[0]),
        )
    label = f"A (K={steps})" if whole_chain else f"Corollary A (K={steps})"
    note = "chain KL = IE + Σ (NIE + SEE + DE + MB)" if whole_chain else "output KL <= chain KL"
    return Statement(label, claim, tuple(given), note, variants)


def _statements() -> dict[str, Statement]:
    listed = _memory_statements()
    listed += [_theorem_a(steps, whole_chain=True) for steps in (1, 2, 3)]
    listed += [_theorem_a(steps, whole_chain=False) for steps in (1, 2, 3)]
    listed += [_theorem_b(steps + 1) for steps in (1, 2, 3)]
    return {item.label: item for item in listed}


STATEMENTS: Mapping[str, Statement] = _statements()
"""The theory's inequalities that follow from these laws alone, by label, with false variants."""
