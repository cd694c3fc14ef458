r"""Closed forms in sympy, ready to paste, and the NumPy, torch and ball functions made from them.

`formula(name)` builds one of `FORMULAS`: the terms of Theorem A for scalar AR(1), AR(2) and
static-latent video under next-frame, chunk (w = Δ = 2) and FIFO (w = 2, Δ = 1) schedules, and the
closed forms of R2, R4, R5, E2 and E5. `DERIVATIONS` are the proofs of L1–L3 and of the telescoping
identity as steps that are checked: every difference simplifies to zero, and a false variant of
every step does not.

Numbers are made from the expression's own tree, not by `lambdify`: an exact rational stays exact
until the arithmetic asked for takes it over, so a ball holds the truth.

Needs the extra `symbolic` (sympy); `ball` also `certified` (python-flint), `torch` the extra
`torch`. All three are imported by the call that needs them.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.special

from arvdm_theory.checks import positive_integer
from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import ParameterError, RefusedError

__all__ = [
    "DERIVATIONS",
    "FORMULAS",
    "Condition",
    "Derivation",
    "Formula",
    "Step",
    "derivation",
    "formula",
]

MOST_BITS = 8192
"""Precision beyond which a ball that is still too wide is given up."""


def _require(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise ParameterError(
            f"the extra {extra}",
            f'installed (pip install "arvdm-theory[{extra}]")',
            f"no module named {module}",
        ) from None


def _sympy() -> Any:
    return _require("sympy", "symbolic")


# --- numbers from an expression's tree ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Arithmetic:
    """One arithmetic: how an exact rational enters it, and its elementary functions by name.

    `holds(value, closed)`: whether value > 0 (>= 0 if closed); a ball only has to be able to.
    """

    number: Callable[[Fraction], Any]
    functions: Mapping[str, Callable[..., Any]]
    holds: Callable[[Any, bool], bool]


def _all_positive(value: Any, closed: bool) -> bool:
    return bool((value >= 0).all() if closed else (value > 0).all())


def _numpy_arithmetic() -> _Arithmetic:
    functions = {
        name: getattr(np, name) for name in ("sqrt", "log", "log1p", "exp", "expm1", "abs")
    }
    functions |= {"minimum": np.minimum, "loggamma": scipy.special.gammaln, "power": np.power}
    return _Arithmetic(float, functions, _all_positive)


def _torch_arithmetic() -> _Arithmetic:
    torch = _require("torch", "torch")

    def number(value: Fraction) -> Any:
        return torch.tensor(float(value), dtype=torch.float64)

    names = ("sqrt", "log", "log1p", "exp", "expm1", "abs", "minimum")
    functions = {name: getattr(torch, name) for name in names}
    functions |= {"loggamma": torch.lgamma, "power": torch.pow}
    return _Arithmetic(number, functions, _all_positive)


def _ball_arithmetic() -> _Arithmetic:
    flint = _require("flint", "certified")
    names = ("sqrt", "log", "log1p", "exp", "expm1")
    functions: dict[str, Callable[..., Any]] = {name: getattr(flint.arb, name) for name in names}
    functions |= {
        "abs": abs,
        "minimum": lambda a, b: a.min(b),
        "loggamma": flint.arb.lgamma,
        "power": operator.pow,
    }
    return _Arithmetic(
        lambda value: flint.arb(flint.fmpq(value.numerator, value.denominator)),
        functions,
        lambda value, closed: not bool(value < 0 if closed else value <= 0),
    )


class _Evaluation:
    """One evaluation of an expression's tree; equal sub-expressions are computed once."""

    def __init__(self, values: Mapping[str, Any], arithmetic: _Arithmetic) -> None:
        self.sympy = _sympy()
        self.values, self.arithmetic = values, arithmetic
        self.known: dict[Any, Any] = {}

    def __call__(self, node: Any) -> Any:
        if node not in self.known:
            self.known[node] = self._compute(node)
        return self.known[node]

    def _compute(self, node: Any) -> Any:
        sympy, call = self.sympy, self.arithmetic.functions
        if node.is_Symbol:
            return self.values[node.name]
        if node.is_Rational:
            return self.arithmetic.number(Fraction(int(node.p), int(node.q)))
        if node.is_Add:
            return self._sum(node)
        if node.is_Mul:
            return functools.reduce(operator.mul, map(self, node.args))
        if node.is_Pow:
            return self._power(*node.args)
        if isinstance(node, sympy.exp):
            return call["exp"](self(node.args[0]))
        if isinstance(node, sympy.log):
            [inside] = node.args
            if inside.is_Add and sympy.S.One in inside.args:
                return call["log1p"](self(inside - 1))
            return call["log"](self(inside))
        if isinstance(node, sympy.Abs):
            return call["abs"](self(node.args[0]))
        if isinstance(node, sympy.loggamma):
            return call["loggamma"](self(node.args[0]))
        if isinstance(node, sympy.Min):
            return functools.reduce(call["minimum"], map(self, node.args))
        raise RefusedError(f"there is no arithmetic for {type(node).__name__} in a formula")

    def _sum(self, node: Any) -> Any:
        sympy = self.sympy
        exponentials = [item for item in node.args if isinstance(item, sympy.exp)]
        if len(exponentials) == 1 and sympy.S.NegativeOne in node.args:
            [exponential] = exponentials
            less_one = self.arithmetic.functions["expm1"](self(exponential.args[0]))
            rest = [item for item in node.args if item not in (exponential, sympy.S.NegativeOne)]
            return functools.reduce(operator.add, map(self, rest), less_one)
        return functools.reduce(operator.add, map(self, node.args))

    def _power(self, base: Any, exponent: Any) -> Any:
        one = self.arithmetic.number(Fraction(1))
        if exponent.is_Integer:
            power = self(base) ** abs(int(exponent))
            return power if exponent > 0 else one / power
        if exponent.is_Rational and exponent.q == 2:
            root = self.arithmetic.functions["sqrt"](self(base)) ** abs(int(exponent.p))
            return root if exponent > 0 else one / root
        return self.arithmetic.functions["power"](self(base), self(exponent))


def _exact(parameter: str, value: Any) -> Fraction:
    """The exact rational that a number or a text (decimal or fraction) stands for."""
    if isinstance(value, bool):
        raise ParameterError(parameter, "an integer, Fraction, float or decimal text", value)
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__module__.startswith("sympy") and value.is_Rational:
        return Fraction(int(value.p), int(value.q))
    try:
        return Fraction(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise ParameterError(
            parameter, "an integer, Fraction, float or decimal text", value
        ) from None


# --- formulas -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Condition:
    """`parameter` must be `constraint`: the expression `positive` > 0, or >= 0 if `closed`."""

    parameter: str
    constraint: str
    positive: Any
    closed: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Formula:
    """One closed form: sympy, LaTeX, and functions on arrays, tensors and balls.

    Attributes
    ----------
    name: in `FORMULAS`. theorem: label of the result. meaning: what it is, and its unit.
    expression: sympy, in the arguments alone. symbols: what each argument means, by name, in the
        order of positional arguments. conditions: where the formula holds; functions refuse other
        values. unit: "nats", or what else the value is measured in.
    compact, where: the same expression by way of named parts, as LaTeX shows it.
    left_hand_side: LaTeX.
    """

    name: str
    theorem: str
    meaning: str
    compact: Any
    symbols: Mapping[str, str]
    conditions: tuple[Condition, ...]
    left_hand_side: str
    where: tuple[tuple[Any, Any], ...] = ()
    unit: str = "nats"

    @functools.cached_property
    def expression(self) -> Any:
        """The closed form in the arguments alone (sympy)."""
        return functools.reduce(lambda value, part: value.subs(*part), self.where, self.compact)

    def latex(self) -> str:
        r"""The equation, ready to paste between dollars.

        >>> print(formula("R2").latex())
        \mathrm{MB}^*(c) = \frac{\log{\left(\frac{\rho^{2} e^{- 2 c}}{1 - \rho^{2}} + 1 \right)}}{2}
        """
        sympy = _sympy()
        sides = [self.compact, *(value for _, value in self.where)]
        symbols = {item for side in sides for item in side.free_symbols}
        names = {item: _LATEX[item.name] for item in symbols if item.name in _LATEX}

        def show(expression: Any) -> str:
            text = str(sympy.latex(expression, symbol_names=names))
            return text.replace(r"\operatorname{loggamma}", r"\log\Gamma")

        parts = [f"{self.left_hand_side} = {show(self.compact)}"]
        parts += [f"{show(symbol)} = {show(value)}" for symbol, value in self.where]
        return r",\quad ".join(parts)

    def numpy(self) -> Callable[..., Any]:
        """A function of numbers or arrays (broadcast, float64).

        Digits that a formula loses to cancellation are lost here; `ball` says how many.

        >>> bool(np.isclose(formula("R2").numpy()(rho=0.9, c=0.0), -0.5 * np.log1p(-0.81)))
        True
        """
        arithmetic = _numpy_arithmetic()

        def function(*args: Any, **values: Any) -> Any:
            given = self._given(args, values)
            return self._compute(
                {name: np.asarray(value, dtype=np.float64) for name, value in given.items()},
                arithmetic,
            )

        return self._documented(function)

    def torch(self) -> Callable[..., Any]:
        """A function of tensors or numbers: float64 (other tensors are upcast), differentiable."""
        torch = _require("torch", "torch")
        arithmetic = _torch_arithmetic()

        def function(*args: Any, **values: Any) -> Any:
            given = self._given(args, values)
            tensors = {
                name: torch.as_tensor(value).to(torch.float64) for name, value in given.items()
            }
            return self._compute(tensors, arithmetic)

        return self._documented(function)

    def ball(self, tolerance: float = 1e-20) -> Callable[..., Any]:
        """A function that returns an Arb ball of radius at most `tolerance` around the true value.

        Its arguments are exact: integers, fractions, text ("0.1" and "1/3" are those numbers), or
        floats (which are the binary fractions they are). Precision is doubled until it suffices.

        Raises `ParameterError` outside the conditions, and for text that is no number;
        `ArithmeticError` if `MOST_BITS` do not suffice.

        >>> ball = formula("R2").ball()(rho="1/3", c=0)  # log(9/8) / 2
        >>> print(ball.str(15, radius=False))
        0.0588915178281917
        """
        flint = _require("flint", "certified")
        arithmetic = _ball_arithmetic()

        def function(*args: Any, **values: Any) -> Any:
            given = self._given(args, values)
            exact = {name: _exact(name, value) for name, value in given.items()}
            bits = 64
            while bits <= MOST_BITS:
                with flint.ctx.workprec(bits):
                    balls = {name: arithmetic.number(value) for name, value in exact.items()}
                    value = self._compute(balls, arithmetic)
                    if value.is_finite() and value.rad() <= tolerance:
                        return value
                bits *= 2
            raise ArithmeticError(f"{self.name} needs more than {MOST_BITS} bits here")

        return self._documented(function)

    def enclosure(self, **values: Any) -> Enclosure:
        """The value with proved ends, from exact arguments as `ball` takes them.

        >>> print(formula("E2_step").enclosure(eta="0.01"))
        0.0100503 nats in [0.0100503, 0.0100503] (E2)
        """
        ball = self.ball(1e-25)(**values)
        ends = (float(ball.lower()), float(ball.upper()))
        lower, upper = np.nextafter(ends[0], -np.inf), np.nextafter(ends[1], np.inf)
        middle = min(max(float(ball.mid()), lower), upper)
        return Enclosure(
            middle,
            float(lower),
            float(upper),
            unit=self.unit,
            theorems=(self.theorem,),
            certified=True,
        )

    def _given(self, args: tuple[Any, ...], values: dict[str, Any]) -> dict[str, Any]:
        names = list(self.symbols)
        given = dict(zip(names, args, strict=False)) | values
        if (
            len(args) > len(names)
            or set(values) & set(names[: len(args)])
            or set(given) != set(names)
        ):
            raise ParameterError(
                f"arguments of {self.name}", f"one each of {', '.join(names)}", ", ".join(given)
            )
        return given

    def _compute(self, values: Mapping[str, Any], arithmetic: _Arithmetic) -> Any:
        evaluate = _Evaluation(values, arithmetic)
        with np.errstate(all="ignore"):
            for condition in self.conditions:
                value = evaluate(condition.positive)
                if not arithmetic.holds(value, condition.closed):
                    shown = values.get(condition.parameter, value)
                    raise ParameterError(condition.parameter, condition.constraint, shown)
        return evaluate(self.expression)

    def _documented(self, function: Callable[..., Any]) -> Callable[..., Any]:
        arguments = "\n".join(f"{name}: {text}" for name, text in self.symbols.items())
        function.__name__ = function.__qualname__ = self.name
        function.__doc__ = f"{self.meaning} ({self.theorem})\n\n{arguments}"
        return function

    def __repr__(self) -> str:
        return f"Formula({self.name} [{self.theorem}] of {', '.join(self.symbols)}: {self.meaning})"


_LATEX = {
    "phi": r"\varphi",
    "phi1": r"\varphi_{1}",
    "phi2": r"\varphi_{2}",
    "sigma2": r"\sigma^{2}",
    "gamma_T": r"\gamma_{T}",
    "gamma_1": r"\gamma_{1}",
    "gamma_delta": r"\gamma_{\delta}",
    "t_1": "t_{1}",
    "delta": r"\delta",
    "rho": r"\rho",
    "eta": r"\eta",
    "mu": r"\mu",
    "factor": "c",
    "bias": "b",
    "_ahead": "p",
    "_middle1": r"\gamma_{m}",
    "_middle2": r"\gamma_{m}'",
    "_reach": "q",
    "_other": "p'",
    "_ratio": "v",
    "_lean": r"\kappa",
    "_scale": "u",
    "_shrunk": "y",
    "_spread": "g",
}

_MEANING = {
    "phi": "AR(1) coefficient, |phi| < 1",
    "phi1": "first AR(2) coefficient",
    "phi2": "second AR(2) coefficient",
    "sigma2": "innovation variance",
    "v": "variance of the static latent",
    "s": "noise variance of a frame about the static latent",
    "gamma_T": "signal-to-noise ratio of fresh frames (level T)",
    "gamma_1": "signal-to-noise ratio of the ladder's middle level",
    "gamma_delta": "signal-to-noise ratio of finished frames (level delta)",
    "T": "level of fresh frames, OU time",
    "t_1": "the ladder's middle level, OU time",
    "delta": "level of finished frames, OU time",
    "factor": "the denoiser is this multiple of the best one",
    "bias": "what the denoiser adds to the best one",
}


def _conditions(sympy: Any, names: list[str]) -> tuple[Condition, ...]:
    """Where the symbols of the scalar theory make sense."""
    x = {name: _symbol(sympy, name) for name in names}
    out = []
    for name in ("sigma2", "v", "s", "gamma_T", "delta"):
        if name in x:
            out.append(Condition(name, "positive", x[name]))
    if "phi" in x:
        out.append(Condition("phi", "in (-1, 1), a stable chain", 1 - x["phi"] ** 2))
    if "phi1" in x:
        first, second = x["phi1"], x["phi2"]
        stable = "such that the chain is stable"
        out.append(Condition("phi2", f"above -1, {stable}", 1 + second))
        out.append(Condition("phi1", f"below 1 - phi2, {stable}", 1 - second - first))
        out.append(Condition("phi1", f"above phi2 - 1, {stable}", 1 - second + first))
    ladders = (("gamma_T", "gamma_1", "gamma_delta"), ("delta", "t_1", "T"))
    for ladder in ladders:
        kept = [name for name in ladder if name in x]
        for low, high in itertools.pairwise(kept):
            out.append(Condition(high, f"at least {low}", x[high] - x[low], closed=True))
    return tuple(out)


def _symbol(sympy: Any, name: str) -> Any:
    return sympy.Symbol(name, real=True)


# --- the scalar theory: windows, exactly, in a field of rational functions ------------------------

_FAMILIES = {
    "ar1": (("phi", "sigma2"), "AR(1) video"),
    "ar2": (("phi1", "phi2", "sigma2"), "AR(2) video"),
    "static_latent": (("v", "s"), "static-latent video"),
}
_SCHEDULES = {
    # window, stride, step and reference unless given
    "next_frame": (1, 1, 3, 1, "next-frame generation"),
    "chunk": (2, 2, 2, 1, "chunk generation (w = Δ = 2)"),
    "fifo": (2, 1, 3, 1, "FIFO generation (w = 2, Δ = 1)"),
}
_TERMS = {
    "MB": "memory bottleneck",
    "NIE": "noise-initialisation error",
    "DE": "discretisation error",
    "SEE_scaled": "score-estimation error of a denoiser scaled by a factor",
    "SEE_biased": "score-estimation error of a denoiser with a bias",
}
_OWN_SYMBOLS = {"SEE_scaled": ("factor",), "SEE_biased": ("bias",)}
_CLOCKS = ("gamma", "t")
# where signs of factors are read off
_SAMPLE = {"phi": 0.5, "phi1": 0.5, "phi2": 0.25, "sigma2": 1.0, "v": 1.0, "s": 1.0}
_SAMPLE |= {"gamma_T": 0.1, "gamma_1": 1.0, "gamma_delta": 10.0, "decay": 0.09, "ahead": 1.02}
_SAMPLE |= {"middle1": 2.0, "middle2": 0.3}


@dataclass(frozen=True, eq=False)
class _ScalarWorld:
    """One AR step of a scalar video, over the field of rational functions of its symbols.

    `given_context` S_R and `given_past` S_P of the window's clean frames, `prior` their
    unconditional variance, `grid` the signal-to-noise ratios of the sub-steps (rows) and frames,
    `decay` e^{-2T}; `restore` says what the auxiliary symbols stand for.
    """

    field: Any
    given_context: list[list[Any]]
    given_past: list[list[Any]]
    prior: Any
    grid: list[list[Any]]
    decay: Any
    stride: int
    restore: list[tuple[Any, Any]]
    names: list[str]

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def build(
        family: str, schedule: str, step: int | str, reference: int, substeps: int
    ) -> _ScalarWorld:
        sympy = _sympy()
        window, stride, *_ = _SCHEDULES[schedule]
        levels = ["gamma_T", *(["gamma_1"] if schedule == "fifo" else []), "gamma_delta"]
        names = [*_FAMILIES[family][0], *levels]
        x = {name: _symbol(sympy, name) for name in names}
        extra = {
            name: sympy.Symbol(f"_{name}") for name in ("decay", "ahead", "middle1", "middle2")
        }
        field = sympy.QQ.frac_field(*x.values(), *extra.values())
        element = {name: field.from_sympy(item) for name, item in (x | extra).items()}
        noise = field.one / element["gamma_delta"]
        restore = [(extra["decay"], x["gamma_T"] / (1 + x["gamma_T"]))]
        if step == "stationary":
            past_law, prior = _stationary_past(family, element, window, field)
            count = reference
            root = _stationary_ahead(sympy, x) if family == "ar1" else None
            if root is not None:
                restore.append((extra["ahead"], root))
        else:
            count = min(reference, (int(step) - 1) * stride)
            past_law, prior = None, None
        finished = count if step == "stationary" else (int(step) - 1) * stride
        covariances = _autocovariances(family, element, finished + window, field)
        prior = covariances[0] if prior is None else prior
        frames = list(range(finished, finished + window))
        context = _conditional(
            field, covariances, frames, list(range(finished - count, finished)), noise
        )
        if past_law is None:
            past_law = _conditional(field, covariances, frames, list(range(finished)), noise)
        start = [element["gamma_T"]] * window
        end = [element["gamma_delta"]] * window
        if schedule == "fifo":
            start[0] = end[1] = element["gamma_1"]
        grid = [start, end]
        if substeps == 2:
            middles = [extra["middle1"], extra["middle2"]]
            if schedule != "fifo":
                middles = [extra["middle1"]] * window
            grid.insert(1, [field.from_sympy(item) for item in middles])
            ends = [(x[levels[-2]], x["gamma_delta"]), (x["gamma_T"], x[levels[1]])]
            restore += [
                (symbol, sympy.sqrt(low * high))
                for symbol, (low, high) in zip(
                    (extra["middle1"], extra["middle2"]), ends, strict=True
                )
            ]
        return _ScalarWorld(
            field, context, past_law, prior, grid, element["decay"], stride, restore, names
        )

    def closed_form(self, value: Any) -> Any:
        """A field element as a factored sympy expression, each factor positive where it can be."""
        sympy = _sympy()
        sample = [_SAMPLE[symbol.name.lstrip("_")] for symbol in self.field.symbols]
        number, parts = sympy.Integer(1), []
        for part, power in ((value.numer, 1), (value.denom, -1)):
            coefficient, factors = part.factor_list()
            number *= self.field.domain.to_sympy(coefficient) ** power
            for item, multiplicity in factors:
                here = sum(
                    float(c) * np.prod([x**n for x, n in zip(sample, exponents, strict=True) if n])
                    for exponents, c in item.terms()
                )
                sign = -1 if here < 0.0 else 1
                number *= sign**multiplicity
                parts.append((item * sign).as_expr() ** (power * multiplicity))
        return sympy.Mul(number, *parts)

    def log1p(self, value: Any) -> Any:
        """log(1 + value), a field element factored."""
        sympy = _sympy()
        return sympy.log(1 + self.closed_form(value))

    def posterior(self, gammas: list[Any]) -> list[list[Any]]:
        """(S_R^{-1} + G)^{-1} = S_R (I + G S_R)^{-1}."""
        size, one, zero = len(gammas), self.field.one, self.field.zero
        inner = [
            [(one if i == j else zero) + gammas[i] * self.given_context[i][j] for j in range(size)]
            for i in range(size)
        ]
        product = _matrix(self.field, self.given_context) * _matrix(self.field, inner).inv()
        return list(product.to_list())

    def memory_bottleneck(self) -> Any:
        (start, *_, end) = self.grid
        above = _determinant(self.field, self.given_context, end)
        above *= _determinant(self.field, self.given_past, start)
        below = _determinant(self.field, self.given_context, start)
        below *= _determinant(self.field, self.given_past, end)
        return self.log1p(above / below - self.field.one) / 2

    def noise_initialisation(self) -> Any:
        """½ [ e^{-2T} (E X² − 1) Δ − log det(I + e^{-2T} (Λ − I)) ]."""
        window = len(self.grid[0])
        kept = window - self.stride
        law = [row[kept:] for row in self.given_past[kept:]]
        for i in range(kept):  # at most one kept frame, seen at its input level
            seen = self.given_past[i][i] + self.field.one / self.grid[0][i]
            law = [
                [
                    law[a][b] - self.given_past[kept + a][i] * self.given_past[i][kept + b] / seen
                    for b in range(self.stride)
                ]
                for a in range(self.stride)
            ]
        one, zero = self.field.one, self.field.zero
        excess = [
            [law[a][b] - (one if a == b else zero) for b in range(self.stride)]
            for a in range(self.stride)
        ]
        change = _determinant(self.field, excess, [self.decay] * self.stride) - one
        power = self.closed_form(self.decay * (self.prior - one))
        return self.stride * power / 2 - self.log1p(change) / 2

    def discretisation(self) -> Any:
        """Σ_n ½ [ tr(ΔG V_n) − log det(I + ΔG V_n) ]."""
        total = _sympy().Integer(0)
        for before, after in itertools.pairwise(self.grid):
            posterior = self.posterior(before)
            gaps = [b - a for a, b in zip(before, after, strict=True)]
            spent = sum((gap * posterior[j][j] for j, gap in enumerate(gaps)), self.field.zero)
            gained = _determinant(self.field, posterior, gaps) - self.field.one
            total += self.closed_form(spent) / 2 - self.log1p(gained) / 2
        return total

    def scaled(self, factor: Any) -> Any:
        """½ (c − 1)² Σ_n Σ_j Δγ (E X² − mmse_j)."""
        total = _sympy().Integer(0)
        for before, after in itertools.pairwise(self.grid):
            posterior = self.posterior(before)
            for j, (low, high) in enumerate(zip(before, after, strict=True)):
                total += self.closed_form((high - low) * (self.prior - posterior[j][j]))
        return (factor - 1) ** 2 * total / 2

    def biased(self, bias: Any) -> Any:
        """½ b² Σ_j (γ^O_j − γ^I_j)."""
        pairs = zip(self.grid[0], self.grid[-1], strict=True)
        total = sum((high - low for low, high in pairs), self.field.zero)
        return bias**2 * self.closed_form(total) / 2


def _matrix(field: Any, rows: list[list[Any]]) -> Any:
    matrices = importlib.import_module("sympy.polys.matrices")
    return matrices.DomainMatrix(rows, (len(rows), len(rows[0])), field)


def _determinant(field: Any, covariance: list[list[Any]], gammas: list[Any]) -> Any:
    """det(I + S G)."""
    size = len(gammas)
    rows = [
        [(field.one if i == j else field.zero) + covariance[i][j] * gammas[j] for j in range(size)]
        for i in range(size)
    ]
    return _matrix(field, rows).det()


def _autocovariances(family: str, element: Mapping[str, Any], count: int, field: Any) -> list[Any]:
    one = field.one
    if family == "static_latent":
        return [element["v"] + element["s"]] + [element["v"]] * (count - 1)
    if family == "ar1":
        variance = element["sigma2"] / (one - element["phi"] ** 2)
        return [variance * element["phi"] ** lag for lag in range(count)]
    first, second = element["phi1"], element["phi2"]
    variance = element["sigma2"] * (one - second)
    variance /= (one + second) * ((one - second) ** 2 - first**2)
    out = [variance, variance * first / (one - second)]
    while len(out) < count:
        out.append(first * out[-1] + second * out[-2])
    return out


def _conditional(
    field: Any, covariances: list[Any], frames: list[int], seen: list[int], noise: Any
) -> list[list[Any]]:
    """Covariance of clean `frames` given `seen` frames, each with `noise` added to its variance."""
    own = [[covariances[abs(i - j)] for j in frames] for i in frames]
    if not seen:
        return own
    past = [
        [covariances[abs(i - j)] + (noise if i == j else field.zero) for j in seen] for i in seen
    ]
    cross = _matrix(field, [[covariances[abs(i - j)] for j in seen] for i in frames])
    explained = (cross * _matrix(field, past).inv() * cross.transpose()).to_list()
    return [
        [a - b for a, b in zip(*rows, strict=True)] for rows in zip(own, explained, strict=True)
    ]


def _stationary_past(
    family: str, element: Mapping[str, Any], window: int, field: Any
) -> tuple[list[list[Any]], Any]:
    """S_P given the infinite past at level δ, and the unconditional variance."""
    if family == "static_latent":
        law = [
            [element["s"] if i == j else field.zero for j in range(window)] for i in range(window)
        ]
        return law, element["v"] + element["s"]
    if family != "ar1":
        raise RefusedError(
            "the stationary prediction variance of a noisy AR(2) solves a quartic and has no "
            "closed form here; take a small step"
        )
    phi, variance = element["phi"], element["sigma2"]
    variances = [element["ahead"]]
    while len(variances) < window:
        variances.append(phi**2 * variances[-1] + variance)
    law = [[phi ** abs(i - j) * variances[min(i, j)] for j in range(window)] for i in range(window)]
    return law, variance / (field.one - phi**2)


def _stationary_ahead(sympy: Any, x: Mapping[str, Any]) -> Any:
    r"""Variance p of the next AR(1) frame given all past ones at level δ: the Riccati root.

    $p = \varphi^2 p/(1 + \gamma_\delta p) + \sigma^2$.
    """
    gamma, drift = x["gamma_delta"], 1 - x["phi"] ** 2 - x["gamma_delta"] * x["sigma2"]
    root = sympy.sqrt(drift**2 + 4 * gamma * x["sigma2"])
    return (root - drift) / (2 * gamma)


def _in_times(expression: Any, sympy: Any) -> Any:
    """γ = 1/(e^{2t} − 1) put in, for every level."""
    for gamma, time in (("gamma_T", "T"), ("gamma_1", "t_1"), ("gamma_delta", "delta")):
        t = _symbol(sympy, time)
        expression = expression.subs(_symbol(sympy, gamma), 1 / (sympy.exp(2 * t) - 1))
    return expression


_TIMES = {"gamma_T": "T", "gamma_1": "t_1", "gamma_delta": "delta"}


@functools.lru_cache(maxsize=256)
def _scalar_term(world: _ScalarWorld, term: str) -> Any:
    sympy = _sympy()
    if term == "MB":
        return world.memory_bottleneck()
    if term == "NIE":
        return world.noise_initialisation()
    if term == "DE":
        return world.discretisation()
    if term == "SEE_scaled":
        return world.scaled(_symbol(sympy, "factor"))
    return world.biased(_symbol(sympy, "bias"))


def _scalar_formula(
    name: str,
    term: str,
    family: str,
    schedule: str,
    *,
    step: int | str | None = None,
    reference: int | None = None,
    substeps: int = 1,
    clock: str = "gamma",
) -> Formula:
    sympy = _sympy()
    *_, usual_step, usual_reference, method = _SCHEDULES[schedule]
    step = usual_step if step is None else step
    if step != "stationary":
        step = positive_integer("step", step)
    reference = positive_integer(
        "reference", usual_reference if reference is None else reference, minimum=0
    )
    if substeps not in (1, 2):
        raise ParameterError("substeps", "1 or 2", substeps)
    if clock not in _CLOCKS:
        raise ParameterError("clock", " or ".join(_CLOCKS), clock)
    world = _ScalarWorld.build(family, schedule, step, reference, substeps)
    expression = _scalar_term(world, term)
    names = [*world.names, *_OWN_SYMBOLS.get(term, ())]
    parts = dict(world.restore)
    used = {item for side in (expression, *parts.values()) for item in side.free_symbols}
    decay, gamma = world.restore[0]
    where = [(symbol, value) for symbol, value in world.restore[1:] if symbol in used]
    if clock == "t":
        expression = expression.subs(decay, sympy.exp(-2 * _symbol(sympy, "T")))
        expression = _in_times(expression, sympy)
        where = [(symbol, _in_times(value, sympy)) for symbol, value in where]
        names = [_TIMES.get(item, item) for item in names]
    else:
        expression = expression.subs(decay, gamma)
    when = "of the stationary regime" if step == "stationary" else f"of AR step {step}"
    index = r"\infty" if step == "stationary" else str(step)
    return Formula(
        name=name,
        theorem="A",
        meaning=f"{_TERMS[term]} {when}, {_FAMILIES[family][1]}, {method}, "
        f"r = {reference}, M = {substeps}; nats",
        compact=expression,
        symbols=MappingProxyType({item: _MEANING[item] for item in names}),
        conditions=_conditions(sympy, names),
        left_hand_side=rf"\mathrm{{{term.split('_')[0]}}}_{{{index}}}",
        where=tuple(where),
    )


# --- memory and accumulation ----------------------------------------------------------------------


def _made(
    name: str,
    theorem: str,
    meaning: str,
    left: str,
    symbols: Mapping[str, str],
    expression: Any,
    *conditions: Condition,
    where: tuple[tuple[Any, Any], ...] = (),
    unit: str = "nats",
) -> Formula:
    given = MappingProxyType(dict(symbols))
    return Formula(name, theorem, meaning, expression, given, conditions, left, where, unit)


_BUDGET = "budget of the memory, nats"
_CORRELATION = "canonical correlation of past and output given the input"


def _excess(rho: Any) -> Any:
    """e^ℓ − 1 = ρ²/(1 − ρ²)."""
    return rho**2 / (1 - rho**2)


def _correlation_conditions(x: Any, name: str) -> Condition:
    return Condition(name, "in (-1, 1)", 1 - x**2)


def _r2(name: str) -> Formula:
    sympy = _sympy()
    rho, c = _symbol(sympy, "rho"), _symbol(sympy, "c")
    return _made(
        name,
        "R2",
        "least memory bottleneck of a memory of c nats, scalar; nats",
        r"\mathrm{MB}^*(c)",
        {"rho": _CORRELATION, "c": _BUDGET},
        sympy.log(1 + _excess(rho) * sympy.exp(-2 * c)) / 2,
        _correlation_conditions(rho, "rho"),
        Condition("c", "at least 0", c, closed=True),
    )


def _r2_vector(name: str, *, active: int = 2, inactive: int = 1) -> Formula:
    sympy = _sympy()
    active = positive_integer("active", active)
    inactive = positive_integer("inactive", inactive, minimum=0)
    names = [f"rho_{i}" for i in range(1, active + inactive + 1)]
    rho, c = [_symbol(sympy, item) for item in names], _symbol(sympy, "c")
    excess = [_excess(item) for item in rho]
    product = sympy.Mul(*excess[:active])
    # e^θ − 1, θ the water level
    level = product ** sympy.Rational(1, active) * sympy.exp(-2 * c / active)
    kept = sum((-sympy.log(1 - item**2) for item in rho[active:]), sympy.Integer(0))
    conditions = [_correlation_conditions(item, key) for key, item in zip(names, rho, strict=True)]
    for i, key in enumerate(names):
        water = level**active - excess[i] ** active  # compared as powers: rational where it can be
        above = i < active
        text = "above the water level (active)" if above else "below the water level (inactive)"
        conditions.append(Condition(key, text, -water if above else water, closed=True))
    conditions.append(Condition("c", "at least 0", c, closed=True))
    symbols = dict.fromkeys(names, _CORRELATION) | {"c": _BUDGET}
    return _made(
        name,
        "R2",
        f"least memory bottleneck of a memory of c nats that serves the first {active} of "
        f"{active + inactive} canonical pairs; nats",
        r"\mathrm{MB}^*(c)",
        symbols,
        active * sympy.log(1 + level) / 2 + kept / 2,
        *conditions,
    )


def _r4(name: str) -> Formula:
    sympy = _sympy()
    rho, c = _symbol(sympy, "rho"), _symbol(sympy, "c")
    ratio, lean, u = (sympy.Symbol(item) for item in ("_ratio", "_lean", "_scale"))
    where = (
        (u, (lean + sympy.sqrt(lean**2 + 4)) / 2),
        (lean, sympy.Abs(rho) * sympy.sqrt(ratio)),
        (ratio, sympy.Min(sympy.exp(2 * c) - 1, _excess(rho))),
    )
    value = -2 * sympy.log(u) - sympy.log(1 - rho**2) + u**2 - 2 * lean * u + ratio - 1
    return _made(
        name,
        "R4",
        "least KL of jointly Gaussian models whose random memory of c nats is integrated out, "
        "scalar; nats",
        r"\mathrm{KL}_{\mathrm{Gauss}}(c)",
        {"rho": _CORRELATION, "c": _BUDGET},
        value / 2,
        _correlation_conditions(rho, "rho"),
        Condition("c", "at least 0", c, closed=True),
        where=where,
    )


def _r5_ar1(name: str, *, clock: str = "gamma") -> Formula:
    sympy = _sympy()
    if clock not in _CLOCKS:
        raise ParameterError("clock", " or ".join(_CLOCKS), clock)
    names = ["phi", "sigma2", "gamma_delta"]
    x = {item: _symbol(sympy, item) for item in names}
    r = _symbol(sympy, "r")
    gamma, variance = x["gamma_delta"], x["sigma2"]
    # the Riccati map is a Möbius map: fixed points p and -p' = −σ²/(γp), multiplier φ²/(1+γp)²
    ahead, other, reach = (sympy.Symbol(item) for item in ("_ahead", "_other", "_reach"))
    start = variance / (1 - x["phi"] ** 2)
    shrink = x["phi"] ** 2 / (1 + gamma * ahead) ** 2
    parts: tuple[tuple[Any, Any], ...] = (
        (reach, (start - ahead) / (start + other) * shrink**r),
        (other, variance / (gamma * ahead)),
        (ahead, _stationary_ahead(sympy, x)),
    )
    more = reach * (ahead + other) / (1 - reach)
    expression = sympy.log(1 + more / (ahead + 1 / gamma)) / 2
    if clock == "t":
        expression = _in_times(expression, sympy)
        parts = tuple((symbol, _in_times(value, sympy)) for symbol, value in parts)
        names = [_TIMES.get(item, item) for item in names]
    conditions = _conditions(sympy, names)
    if clock == "gamma":
        conditions += (Condition("gamma_delta", "positive", gamma),)
    return _made(
        name,
        "R5",
        "what the last r frames of AR(1) video at level delta do not tell of the next; nats",
        r"\mathrm{MB}_r",
        {item: _MEANING[item] for item in names} | {"r": "frames remembered"},
        expression,
        *conditions,
        Condition("r", "at least 0", r, closed=True),
        where=parts,
    )


def _memory_conditions(d: Any) -> tuple[Condition, ...]:
    return (
        Condition("D", "below 1/2", _sympy().Rational(1, 2) - d),
        Condition("D", "above -1/2", _sympy().Rational(1, 2) + d),
    )


def _r5_arfima_partial(name: str) -> Formula:
    sympy = _sympy()
    d, j = _symbol(sympy, "D"), _symbol(sympy, "j")
    return _made(
        name,
        "R5",
        "partial autocorrelation of ARFIMA(0, D, 0) at lag j",
        r"\varphi_{jj}",
        {"D": "memory parameter", "j": "lag, frames"},
        d / (j - d),
        *_memory_conditions(d),
        Condition("j", "at least 1", j - 1, closed=True),
        unit="1",
    )


def _r5_arfima(name: str) -> Formula:
    sympy = _sympy()
    d, r = _symbol(sympy, "D"), _symbol(sympy, "r")
    gammas = sympy.loggamma(r + 1) + sympy.loggamma(r + 1 - 2 * d)
    return _made(
        name,
        "R5",
        "what the last r clean frames of ARFIMA(0, D, 0) do not tell of the next, about D²/(2r); "
        "nats a frame",
        r"\mathrm{MB}_r",
        {"D": "memory parameter", "r": "frames remembered"},
        (gammas - 2 * sympy.loggamma(r + 1 - d)) / 2,
        *_memory_conditions(d),
        Condition("r", "at least 0", r, closed=True),
    )


_ETA = "P has AR coefficient 1 - eta, Q has 1 + eta, innovations of variance 1"


def _e2(name: str) -> Formula:
    sympy = _sympy()
    eta, steps = _symbol(sympy, "eta"), _symbol(sympy, "K")
    # Q's variance over P's stationary one is g/y: no power that overflows is ever formed
    shrunk, spread = sympy.Symbol("_shrunk"), sympy.Symbol("_spread")
    where = (
        (spread, 1 + (1 - shrunk) * (2 - eta) / (2 + eta)),
        (shrunk, sympy.exp(-2 * steps * sympy.log(1 + eta))),
    )
    clip = (shrunk / spread - 1 + sympy.log(spread)) / 2 + steps * sympy.log(1 + eta)
    step = 2 * eta / (2 - eta)
    inside = (Condition("eta", "in (0, 1)", eta), Condition("eta", "in (0, 1)", 1 - eta))
    symbols = {"eta": _ETA, "K": "AR steps since the common start"}
    if name == "E2_step":
        meaning = "KL of one step under P's stationary law; nats"
        return _made(name, "E2", meaning, r"\varepsilon", {"eta": _ETA}, step, *inside)
    if name == "E2":
        meaning = "KL of the frame after K steps, the same stationary start; nats"
        whole = (*inside, Condition("K", "at least 0", steps, closed=True))
        left = r"\mathrm{KL}_{\mathrm{clip}}(K)"
        return _made(name, "E2", meaning, left, symbols, clip, *whole, where=where)
    meaning = "KL of the frame after K steps, over Theorem B's K times the error of a step"
    left = r"\frac{\mathrm{KL}_{\mathrm{clip}}(K)}{K\varepsilon}"
    whole = (*inside, Condition("K", "at least 1", steps - 1, closed=True))
    ratio = clip / (steps * step)
    return _made(name, "E2", meaning, left, symbols, ratio, *whole, where=where, unit="1")


def _e5_memory(name: str, *, clock: str | None = None) -> Formula:
    sympy = _sympy()
    s, r, k = (_symbol(sympy, item) for item in ("s", "r", "k"))
    if clock is not None and clock not in _CLOCKS:
        raise ParameterError("clock", f"None (clean frames), {' or '.join(_CLOCKS)}", clock)
    symbols = {"s": _MEANING["s"]}
    noise, conditions = s, [Condition("s", "positive", s)]
    if clock is not None:
        level = "gamma_delta" if clock == "gamma" else "delta"
        gamma = _symbol(sympy, "gamma_delta")
        noise = s + 1 / gamma
        noise = _in_times(noise, sympy) if clock == "t" else noise
        symbols[level] = _MEANING[level]
        conditions.append(Condition(level, "positive", _symbol(sympy, level)))
    symbols |= {"r": "frames remembered", "k": "number of the frame that is generated"}
    conditions.append(Condition("r", "at least 0", r, closed=True))
    conditions.append(Condition("k", "at least r + 1", k - 1 - r, closed=True))
    lost = (k - 1 - r) / ((r + noise) * (k + noise))
    return _made(
        name,
        "E5",
        "what the last r frames do not tell of frame k, latent variance 1; nats",
        r"\mathrm{MB}_r",
        symbols,
        sympy.log(1 + lost) / 2,
        *conditions,
    )


def _e5_bias(name: str) -> Formula:
    sympy = _sympy()
    s, r, mu = (_symbol(sympy, item) for item in ("s", "r", "mu"))
    return _made(
        name,
        "E5",
        "asymptotic bias of a model that uses the last r frames and errs by mu a step",
        r"\mathrm{bias}_\infty",
        {"s": _MEANING["s"], "r": "frames remembered", "mu": "bias of one step"},
        mu * (1 + r / s),
        Condition("s", "positive", s),
        Condition("r", "at least 0", r, closed=True),
        unit="units of the frame",
    )


# --- the registry ---------------------------------------------------------------------------------


def _registry() -> Iterator[tuple[str, Callable[..., Formula]]]:
    for term in _TERMS:
        for family in _FAMILIES:
            for schedule in _SCHEDULES:
                name = f"{term}_{family}_{schedule}"
                yield name, functools.partial(_scalar_formula, name, term, family, schedule)
    others: dict[str, Callable[..., Formula]] = {
        "R2": _r2,
        "R2_vector": _r2_vector,
        "R4": _r4,
        "R5_ar1": _r5_ar1,
        "R5_arfima": _r5_arfima,
        "R5_arfima_partial": _r5_arfima_partial,
        "E2": _e2,
        "E2_step": _e2,
        "E2_ratio": _e2,
        "E5_memory": _e5_memory,
        "E5_bias": _e5_bias,
    }
    for name, make in others.items():
        yield name, functools.partial(make, name)


FORMULAS: Mapping[str, Callable[..., Formula]] = MappingProxyType(dict(_registry()))
"""Builders of every formula, by name; call `formula(name, **options)`."""


@functools.lru_cache(maxsize=256)
def _built(name: str, options: tuple[tuple[str, Any], ...]) -> Formula:
    try:
        return FORMULAS[name](**dict(options))
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ParameterError(f"options of {name}", "known", ", ".join(dict(options))) from None


def formula(name: str, **options: Any) -> Formula:
    r"""The closed form of this name.

    Arguments
    ---------
    name: one of `FORMULAS`: `{MB,NIE,DE,SEE_scaled,SEE_biased}_{ar1,ar2,static_latent}_`
        `{next_frame,chunk,fifo}`, `R2`, `R2_vector`, `R4`, `R5_ar1`, `R5_arfima`,
        `R5_arfima_partial`, `E2`, `E2_step`, `E2_ratio`, `E5_memory`, `E5_bias`.
    options: of the terms of Theorem A: `step` k (small; expressions grow) or `"stationary"` (not
        for AR(2)), `reference` r, `substeps` 1 or 2 (linear in log-SNR), `clock` "gamma" or "t"
        (levels as signal-to-noise ratios or OU times; `R5_ar1` and `E5_memory` take it too);
        of `R2_vector`: `active`, `inactive`.

    Raises `ParameterError` for a name that is not known (with the nearest one) and for options
    that do not fit; `RefusedError` where there is no closed form.

    Source: THEORY, sections 2 to 5.

    >>> formula("E5_memory").expression
    log(1 + (k - r - 1)/((k + s)*(r + s)))/2
    >>> formula("MB_ar1_nextframe")
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.ParameterError: name must be a known formula (did you mean ...
    """
    if not isinstance(name, str) or name not in FORMULAS:
        near = difflib.get_close_matches(str(name), FORMULAS, n=1, cutoff=0.0)
        raise ParameterError("name", f"a known formula (did you mean {near[0]}?)", name)
    try:
        return _built(name, tuple(sorted(options.items())))
    except TypeError:
        raise ParameterError(f"options of {name}", "numbers or text", options) from None


# --- checked derivations --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Step:
    """`left` = `right`, and not `false`; `point` is where the false variant is shown to differ.

    `claim` says it in words. `point` maps symbols (or functions) to rationals, in order.
    """

    claim: str
    left: Any
    right: Any
    false: Any
    point: tuple[tuple[Any, Any], ...]

    def check(self) -> None:
        """Raise `ArithmeticError` unless the step holds and its false variant does not."""
        here = self.at_point(self.left - self.right)
        if here != 0:
            raise ArithmeticError(f"{self.claim}: the difference is {here} at {self.point}")
        difference = _normal_form(self.left - self.right)
        if difference != 0:
            raise ArithmeticError(f"{self.claim}: the difference is {difference}, not 0")
        if self.at_point(self.left - self.false) == 0:
            raise ArithmeticError(f"{self.claim}: the false variant holds at {self.point}")

    def at_point(self, expression: Any) -> Any:
        """The expression at `point`: exact if rational or 0, else decimals that are certain."""
        expression = expression.doit()
        for symbol, value in self.point:
            expression = expression.subs(symbol, value)
        value = _sympy().expand(expression.doit())
        if value.is_Rational:
            return value
        exact = _normal_form(value)
        return exact if exact == 0 else exact.evalf(30, strict=True)


def _normal_form(expression: Any) -> Any:
    """0 if sums, products and logarithms of positive quantities cancel."""
    sympy = _sympy()
    expression = sympy.expand(sympy.expand_log(sympy.expand(expression.doit()), force=True))
    return expression if expression == 0 else sympy.simplify(sympy.together(expression))


@dataclass(frozen=True, eq=False)
class Derivation:
    """A proof as checked steps: `statement` follows from them. `theorem` is its label."""

    name: str
    theorem: str
    statement: str
    steps: tuple[Step, ...]

    def check(self) -> None:
        """Raise `ArithmeticError` at the first step that fails, or whose false variant does not."""
        for step in self.steps:
            step.check()

    def latex(self) -> str:
        """All steps, ready to paste into an `align*`."""
        sympy = _sympy()
        rows = [f"{sympy.latex(item.left)} &= {sympy.latex(item.right)}" for item in self.steps]
        return " \\\\\n".join(rows)

    def __repr__(self) -> str:
        return f"Derivation({self.name}: {self.statement}; {len(self.steps)} steps)"


def _l1() -> Derivation:
    """Finite alphabets: two inputs, two pasts, two outputs, any positive masses."""
    sympy = _sympy()
    p = {
        (i, x, o): sympy.Symbol(f"p_{i}{x}{o}", positive=True)
        for i in range(2)
        for x in range(2)
        for o in range(2)
    }
    q = {(i, o): sympy.Symbol(f"q_{i}{o}", positive=True) for i in range(2) for o in range(2)}

    def mass(**fixed: int) -> Any:
        kept = [
            value
            for key, value in p.items()
            if all(dict(zip("ixo", key, strict=True))[name] == at for name, at in fixed.items())
        ]
        return sympy.Add(*kept)

    def given_both(i: int, x: int, o: int) -> Any:
        return p[i, x, o] / mass(i=i, x=x)

    def given_input(i: int, o: int) -> Any:
        return mass(i=i, o=o) / mass(i=i)

    full = sympy.Add(*(m * sympy.log(given_both(*key) / q[key[0], key[2]]) for key, m in p.items()))
    information = sympy.Add(
        *(m * sympy.log(given_both(*key) / given_input(key[0], key[2])) for key, m in p.items())
    )
    spread = sympy.Add(
        *(m * sympy.log(given_input(key[0], key[2]) / q[key[0], key[2]]) for key, m in p.items())
    )
    marginal = sympy.Add(
        *(mass(i=i, o=o) * sympy.log(given_input(i, o) / item) for (i, o), item in q.items())
    )
    reverse = sympy.Add(
        *(mass(i=i) * item * sympy.log(given_input(i, o) / item) for (i, o), item in q.items())
    )
    a, b, c = sympy.symbols("P(o|x\\,i) P(o|i) q(o|i)", positive=True)
    weights = [3, 1, 2, 5, 1, 4, 2, 2]
    point = tuple((s, sympy.Rational(w, 20)) for s, w in zip(p.values(), weights, strict=True))
    kernel = [sympy.Rational(*pair) for pair in ((1, 3), (2, 3), (3, 4), (1, 4))]
    point += tuple(zip(q.values(), kernel, strict=True))
    three = ((a, sympy.Rational(1, 2)), (b, sympy.Rational(1, 3)), (c, sympy.Rational(1, 5)))
    ratio = sympy.log(a / b)
    return Derivation(
        "L1",
        "L1",
        "E KL(P(O|Past,In) || q(O|In)) = I(O;Past|In) + E KL(P(O|In) || q(O|In))",
        (
            Step(
                "a log-ratio splits at P(o|in)",
                sympy.log(a / c),
                ratio + sympy.log(b / c),
                ratio - sympy.log(b / c),
                three,
            ),
            Step(
                "what does not depend on the past is averaged over P(in, out)",
                spread,
                marginal,
                reverse,
                point,
            ),
            Step("the averages add up to L1", full, information + marginal, marginal, point),
        ),
    )


def _l2() -> Derivation:
    sympy = _sympy()
    a, d, v = sympy.symbols("alpha_s d v", positive=True)  # d = e^{-(t-s)}, s < t
    near, far = a**2 * v + 1 - a**2, a**2 * d**2 * v + 1 - a**2 * d**2

    def coefficient(cross: Any) -> Any:
        """Of X^t in the regression of X⁰ on (X^s, X^t)."""
        return (a * d * v * near - a * v * cross) / (near * far - cross**2)

    x, m, k = sympy.symbols("x m_s m_t", real=True)
    masses = {(i, j): sympy.Symbol(f"p_{i}{j}", positive=True) for i in range(2) for j in range(2)}
    values, gains = sympy.symbols("x_0 x_1", real=True), sympy.symbols("g_0 g_1", real=True)

    def orthogonal(means: list[Any]) -> Any:
        return sympy.Add(*(p * (values[i] - means[j]) * gains[j] for (i, j), p in masses.items()))

    posterior = [
        (masses[0, j] * values[0] + masses[1, j] * values[1]) / (masses[0, j] + masses[1, j])
        for j in range(2)
    ]
    overall = sympy.Add(*(p * values[i] for (i, _), p in masses.items())) / sympy.Add(
        *masses.values()
    )
    gain_near, gain_far = a * v / near, a * d * v / far
    moved = gain_near**2 * near + gain_far**2 * far - 2 * gain_near * gain_far * d * near
    mmse = [v / (1 + g * v) for g in (a**2 / (1 - a**2), (a * d) ** 2 / (1 - (a * d) ** 2))]
    half, third = sympy.Rational(1, 2), sympy.Rational(1, 3)
    path = ((a, half), (d, third), (v, sympy.Integer(2)))
    shares = [sympy.Rational(item, 10) for item in (1, 2, 3, 4)]
    table = tuple(zip(masses.values(), shares, strict=True))
    table += tuple(zip((*values, *gains), map(sympy.Integer, (1, 3, 2, 5)), strict=True))
    numbers = ((x, half), (m, third), (k, sympy.Integer(2)))
    return Derivation(
        "L2",
        "L2",
        "E|m(s) - m(s_n)|^2 = mmse(s_n) - mmse(s)",
        (
            Step(
                "on one OU path the noisier state adds nothing (false: independent noisings)",
                coefficient(d * near),
                sympy.Integer(0),
                coefficient(d * near) - coefficient(a**2 * d * v),
                path,
            ),
            Step(
                "a square splits at the better estimate",
                (x - k) ** 2,
                (x - m) ** 2 + (m - k) ** 2 + 2 * (x - m) * (m - k),
                (x - m) ** 2 + (m - k) ** 2,
                numbers,
            ),
            Step(
                "the posterior mean's error is orthogonal to what is known",
                orthogonal(posterior),
                sympy.Integer(0),
                orthogonal(posterior) - orthogonal([overall, overall]),
                table,
            ),
            Step(
                "so the second moment of the move is the fall of the error (Gaussian frame)",
                moved,
                mmse[1] - mmse[0],
                mmse[0] - mmse[1],
                path,
            ),
        ),
    )


def _l3() -> Derivation:
    sympy = _sympy()
    s11, s12, s22, g1, g2 = sympy.symbols("S_11 S_12 S_22 gamma_1 gamma_2", positive=True)
    u = sympy.Symbol("u", positive=True)
    prior = sympy.Matrix([[s11, s12], [s12, s22]])
    noise = sympy.diag(g1, g2)
    information = sympy.log((sympy.eye(2) + prior * noise).det()) / 2
    posterior = (prior.inv() + noise).inv().applyfunc(sympy.cancel)
    wrong = (prior + noise).inv()
    paths = [sympy.Function(f"gamma_{j}")(u) for j in (1, 2)]
    along = dict(zip((g1, g2), paths, strict=True))
    rates = [sympy.Derivative(path, u) for path in paths]
    share = [posterior[j, j].subs(along) * rates[j] / 2 for j in range(2)]
    start, end, gamma, variance = sympy.symbols("gamma_I gamma_O gamma S", positive=True)
    integral = sympy.Integral(variance / (1 + gamma * variance) / 2, (gamma, start, end))
    gained = sympy.log((1 + end * variance) / (1 + start * variance))
    half = sympy.Rational(1, 2)
    point = ((s11, sympy.Integer(2)), (s12, half), (s22, sympy.Integer(1)))
    levels = ((g1, sympy.Integer(3)), (g2, half))
    curve = tuple(zip(paths, (1 + u, 2 + 3 * u), strict=True)) + ((u, half),)
    return Derivation(
        "L3",
        "L3",
        "dI(X0;X(s)) = 1/2 sum_j mmse_j dgamma_j",
        (
            Step(
                "the first frame's share (false: without the half)",
                sympy.Derivative(information, g1),
                posterior[0, 0] / 2,
                posterior[0, 0],
                point + levels,
            ),
            Step(
                "the second frame's share (false: S for its inverse)",
                sympy.Derivative(information, g2),
                posterior[1, 1] / 2,
                wrong[1, 1] / 2,
                point + levels,
            ),
            Step(
                "along any path of levels the shares add (false: the first frame alone)",
                sympy.Derivative(information.subs(along), u),
                share[0] + share[1],
                share[0],
                point + curve,
            ),
            Step(
                "integrated, one frame (false: without the half)",
                integral,
                gained / 2,
                gained,
                ((variance, sympy.Integer(2)), (start, half), (end, sympy.Integer(3))),
            ),
        ),
    )


def _bridge() -> Derivation:
    sympy = _sympy()
    x0, hat = sympy.symbols("x_0 x_hat", positive=True)
    a, d = sympy.symbols("alpha_s d", positive=True)  # e^{-s}, e^{-h} with t = s + h
    var_s, var_h, var_t = 1 - a**2, 1 - d**2, 1 - a**2 * d**2
    weight, variance = a * var_h / var_t, var_s * var_h / var_t
    gamma_s, gamma_t = a**2 / var_s, a**2 * d**2 / var_t
    error = (x0 - hat) ** 2
    half, third = sympy.Rational(1, 2), sympy.Rational(1, 3)
    point = ((a, half), (d, third), (x0, sympy.Integer(2)), (hat, half))
    return Derivation(
        "bridge",
        "A",
        "KL of two OU bridges to x0 and x_hat = 1/2 (gamma_s - gamma_t) |x0 - x_hat|^2",
        (
            Step(
                "weight squared over variance is the gain in signal-to-noise ratio",
                weight**2 / variance,
                gamma_s - gamma_t,
                gamma_s,
                point,
            ),
            Step(
                "the KL of two normal laws of that variance (false: without the half)",
                (weight * x0 - weight * hat) ** 2 / (2 * variance),
                (gamma_s - gamma_t) * error / 2,
                (gamma_s - gamma_t) * error,
                point,
            ),
        ),
    )


def _telescoping() -> Derivation:
    """For every window and stride: sums with symbolic limits, matched term by term."""
    sympy = _sympy()
    j = sympy.Symbol("j", integer=True)
    w, stride = sympy.symbols("w Delta", integer=True, positive=True)
    top, low = sympy.symbols("T delta", positive=True)
    t_in, t_out = sympy.IndexedBase("tI"), sympy.IndexedBase("tO")
    kept = sympy.Sum(t_in[j], (j, 1, w - stride))
    entering = sympy.Sum(top, (j, w - stride + 1, w)).doit()
    leaving = sympy.Sum(low, (j, 1, stride)).doit()
    carried = sympy.Sum(t_out[j], (j, stride + 1, w))
    shifted = carried.change_index(j, j - stride)
    circular = sympy.Sum(shifted.function.subs(t_out[j + stride], t_in[j]), *shifted.limits)
    result = stride * (top - low)
    half, third = sympy.Rational(1, 2), sympy.Rational(4, 3)
    point: tuple[tuple[Any, Any], ...] = ((w, 3), (stride, 1), (low, half / 5), (top, 2))
    point += ((t_in[1], half), (t_in[2], third), (t_in[3], 2))
    point += ((t_out[1], half / 5), (t_out[2], half), (t_out[3], third))
    return Derivation(
        "telescoping",
        "D1",
        "sum_j (tI_j - tO_j) = Delta (T - delta), by circularity and the 0-T boundary",
        (
            Step("Delta frames enter at T", entering, stride * top, w * top, point),
            Step("Delta frames leave at delta", leaving, stride * low, w * low, point),
            Step(
                "tO_{j+Delta} = tI_j: what stays leaves the sum as it entered (false: not shifted)",
                circular,
                kept,
                sympy.Sum(t_out[j], (j, 1, w - stride)),
                point,
            ),
            Step(
                "the difference telescopes (false: w frames cross the whole range)",
                (kept + entering) - (leaving + circular),
                result,
                w * (top - low),
                point,
            ),
            *(_telescoping_of(*sizes) for sizes in ((2, 1), (4, 2), (5, 3), (3, 3))),
        ),
    )


def _telescoping_of(window: int, stride: int) -> Step:
    """The identity written out; false: levels that do not meet circularity."""
    sympy = _sympy()
    top, low = sympy.symbols("T delta", positive=True)
    kept = [sympy.Symbol(f"tI_{j}", positive=True) for j in range(1, window - stride + 1)]
    other = [sympy.Symbol(f"tO_{j}", positive=True) for j in range(stride + 1, window + 1)]
    start, end = [*kept, *[top] * stride], [*[low] * stride, *kept]
    broken = [*[low] * stride, *other] if other else [*[low] * (stride - 1), top]
    values = [sympy.Rational(j + 1, 7) for j in range(2 * len(kept))]
    return Step(
        f"written out for w = {window}, Delta = {stride} (false: no circularity or boundary)",
        sympy.Add(*start) - sympy.Add(*end),
        stride * (top - low),
        sympy.Add(*start) - sympy.Add(*broken),
        tuple(zip((*kept, *other, top, low), (*values, 2, sympy.Rational(1, 10)), strict=True)),
    )


DERIVATIONS: Mapping[str, Callable[[], Derivation]] = MappingProxyType(
    {"L1": _l1, "L2": _l2, "L3": _l3, "bridge": _bridge, "telescoping": _telescoping}
)
"""Builders of the checked derivations, by name; call `derivation(name)`."""


def derivation(name: str) -> Derivation:
    """The checked derivation of this name: L1, L2, L3, "bridge" or "telescoping" (Theorem A).

    >>> derivation("telescoping").check()  # raises if a step fails
    """
    if not isinstance(name, str) or name not in DERIVATIONS:
        near = difflib.get_close_matches(str(name), DERIVATIONS, n=1, cutoff=0.0)
        raise ParameterError("name", f"a known derivation (did you mean {near[0]}?)", name)
    return DERIVATIONS[name]()
