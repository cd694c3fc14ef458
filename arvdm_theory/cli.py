"""The command line, `arvdm`: what `arvdm --help` lists, each with its example.

Exit codes: 0 done, 2 bad input (nothing on standard output, one line on standard error).
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import arvdm_theory
from arvdm_theory import specification
from arvdm_theory.errors import ArvdmError, ParameterError


@dataclass(frozen=True)
class _Command:
    """A line of the table of contents: what a command is for, and one that can be pasted."""

    section: str
    purpose: str
    example: str


COMMANDS = {
    "decompose": _Command(
        "Exact error theory of a specification",
        "every error term of a specification (Theorems A and B)",
        "arvdm decompose spec.json --json",
    ),
    "schema": _Command(
        "Exact error theory of a specification",
        "the JSON Schema of a specification, for editors",
        "arvdm schema > spec.schema.json",
    ),
    "memory": _Command(
        "Memory",
        "what a window, b numbers or c nats must forget (R5, R1, R6, R2)",
        "arvdm memory video.json --window 1 2 4 --numbers 1 --budget 0.5",
    ),
    "analyze": _Command(
        "Memory",
        "how much the frames of a real video carry about their past",
        "arvdm analyze clip.mp4 --out page",
    ),
    "formula": _Command(
        "Writing it up",
        "a closed form: its meaning, its LaTeX, its value",
        "arvdm formula R2 --at rho=0.9 c=0.4",
    ),
    "cite": _Command(
        "Writing it up",
        "BibTeX of the paper, this package and what labels rest on",
        "arvdm cite R2 D3",
    ),
    "completion": _Command(
        "This shell",
        "a completion script for bash, zsh or fish",
        'eval "$(arvdm completion bash)"',
    ),
}
"""Name to line, in the order of `arvdm --help`."""


def _contents() -> str:
    lines, section = [], ""
    width = max(map(len, COMMANDS))
    for name, command in COMMANDS.items():
        if command.section != section:
            section = command.section
            lines += ["", f"{section}:"]
        lines += [f"  {name:{width}}  {command.purpose}", f"  {'':{width}}    {command.example}"]
    return "\n".join(lines)


_RANGES = ("--frames", "--crop")
_MINUS = re.compile(r"-\s*[\d:,]")


class _Parser(argparse.ArgumentParser):
    """Argument errors in the package's own way: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"arvdm: {message} (see {self.prog} --help)\n")


def _components(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _every(text: str) -> int | str:
    return text if text == "distinct" else int(text)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(
        prog="arvdm",
        usage="arvdm COMMAND ...",
        description="Exact error theory of auto-regressive video diffusion models.\n" + _contents(),
        epilog="arvdm COMMAND --help has the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=arvdm_theory.__version__)
    adder = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog="arvdm", help=argparse.SUPPRESS
    )
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, command in COMMANDS.items():
        commands[name] = adder.add_parser(
            name,
            description=command.purpose[0].upper() + command.purpose[1:] + ".",
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    decompose = commands["decompose"]
    decompose.add_argument("spec", metavar="SPEC", help="JSON file, or - for standard input")
    decompose.add_argument(
        "--totals",
        action="store_true",
        help="totals alone: any number of steps, and a video that settles takes no longer",
    )
    _output(decompose, unit=True, long=True)

    memory = commands["memory"]
    memory.add_argument(
        "video",
        metavar="VIDEO",
        help="JSON file of a video or of a whole specification, or - for standard input",
    )
    memory.add_argument(
        "--window", nargs="+", type=int, metavar="r", help="frames of a window (default: 0 1 2 4 8)"
    )
    memory.add_argument(
        "--numbers", nargs="+", type=int, default=[], metavar="b", help="numbers of a memory"
    )
    memory.add_argument(
        "--budget",
        nargs="+",
        type=float,
        default=[],
        metavar="c",
        help="nats (or bits) of a memory",
    )
    memory.add_argument("--level", type=float, default=0.0, help="OU time of the frames (0: clean)")
    _output(memory, unit=True, long=True)

    analyze = commands["analyze"]
    analyze.add_argument("video", metavar="VIDEO", help=".mp4, .gif, .npy or .npz")
    analyze.add_argument("--out", default="out/analyze", help="folder for the page and the table")
    analyze.add_argument("--crop", help="pixels x0:x1,y0:y1, or left, or right")
    analyze.add_argument("--frames", help="a:b, the frames to use")
    analyze.add_argument(
        "--every",
        type=_every,
        default=1,
        metavar="k",
        help="use every k-th frame, or `distinct`: leave out repeats of the frame before",
    )
    analyze.add_argument(
        "--components",
        type=_components,
        metavar="d",
        help="principal components to keep, or (below 1) the share of variance to keep",
    )
    _output(analyze, long=True)

    formula = commands["formula"]
    formula.add_argument("name", metavar="NAME", nargs="?", help="without one, all are listed")
    formula.add_argument("--latex", action="store_true", help="print the LaTeX alone")
    formula.add_argument(
        "--at", nargs="+", default=[], metavar="x=1", help="the value at these arguments"
    )
    _output(formula)

    cite = commands["cite"]
    cite.add_argument("labels", metavar="LABEL", nargs="*", help="such as R2, or Theorem A")
    _output(cite)

    commands["completion"].add_argument("shell", choices=tuple(_COMPLETIONS))
    return parser, commands


def _output(parser: argparse.ArgumentParser, *, unit: bool = False, long: bool = False) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if long:
        parser.add_argument("--quiet", action="store_true", help="show no progress")
    if unit:
        parser.add_argument("--unit", choices=("nats", "bits"), default="nats")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments, or exit 2; unknown names are answered with the nearest one."""
    parser, commands = _parser()
    named = next((item for item in arguments if not item.startswith("-")), None)
    if named is not None and named not in commands and arguments[0] == named:
        hint = _nearest(named, commands)
        parser.error(f"COMMAND must be one of {', '.join(commands)}{hint}, got {named}")
    parsed, rest = parser.parse_known_args(arguments)
    if rest:
        known = [text for text in commands[parsed.command]._option_string_actions if "--" in text]
        hint = _nearest(rest[0].split("=")[0], known)
        commands[parsed.command].error(f"no such argument: {rest[0]}{hint}")
    return parsed


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--frames -5:` as `--frames=-5:`; argparse takes a range with a leading minus for an option.

    >>> _joined(["analyze", "clip.mp4", "--frames", "-5:", "--json"])
    ['analyze', 'clip.mp4', '--frames=-5:', '--json']
    """
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in _RANGES and _MINUS.match(argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


@contextmanager
def _progress(arguments: argparse.Namespace) -> Iterator[None]:
    """One line on standard error that says how far long work is, gone when it is done.

    On a terminal only, from `_PATIENCE` seconds on, and neither with --quiet nor with --json.
    """
    from arvdm_theory._progress import listening

    quiet = getattr(arguments, "quiet", True) or arguments.json
    if quiet or not sys.stderr.isatty():
        yield
        return
    shown, due = False, time.monotonic() + _PATIENCE

    def listener(what: str, done: int, whole: int) -> None:
        nonlocal shown, due
        now = time.monotonic()
        if now >= due:
            shown, due = True, now + _EVERY
            share = f"{done:,} of {whole:,}".replace(",", " ")
            print(f"\r\x1b[K{what}: {share}", end="", file=sys.stderr, flush=True)

    try:
        with listening(listener):
            yield
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


_PATIENCE, _EVERY = 2.0, 0.2
"""Seconds before progress is shown, and between two looks at it."""


def _aligned(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: by rich on a terminal where that is installed, else plain text, numbers right."""
    cells = [list(row) for row in rows]
    if sys.stdout.isatty():
        try:
            import io

            from rich.console import Console
            from rich.table import Table
        except ModuleNotFoundError:
            pass
        else:
            table = Table(box=None, header_style="bold")
            for k, title in enumerate(columns):
                table.add_column(title, justify="right" if k else "left")
            for row in cells:
                table.add_row(*row)
            shown = io.StringIO()
            Console(file=shown, force_terminal=True, width=100).print(table)
            return shown.getvalue().rstrip("\n")
    widths = [max(len(row[k]) for row in [list(columns), *cells]) for k in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        return "  ".join([first, *(x.rjust(n) for x, n in zip(row[1:], widths[1:], strict=True))])

    return "\n".join(line(row).rstrip() for row in [list(columns), *cells])


def _memory(arguments: argparse.Namespace) -> str:
    found = _forgotten(arguments)
    if arguments.json:
        rows = [{"memory": what, **number.to_json()} for what, number in found]
        return json.dumps({"level": arguments.level, "forgotten": rows}, allow_nan=False)
    table = _aligned(
        ("memory", "theorem", f"{arguments.unit} a frame", "error bound"),
        [
            (what, n.theorems[0], f"{n.value:.6g}", f"{n.upper - n.value:.1e}" if n.upper else "")
            for what, n in found
        ],
    )
    reasons = dict.fromkeys(number.reason for _, number in found if number.reason)
    return "\n".join([f"forgotten, at level {arguments.level:g}:", "", table, *map(str, reasons)])


def _forgotten(arguments: argparse.Namespace) -> list[tuple[str, Any]]:
    """What each memory asked about must forget, as `Enclosure`s."""
    from arvdm_theory import memory
    from arvdm_theory.enclosure import Enclosure

    video = _video(arguments.video)
    level, unit = arguments.level, arguments.unit
    found: list[tuple[str, Any]] = []
    lengths = arguments.window or []
    if not (lengths or arguments.numbers or arguments.budget):
        lengths = [0, 1, 2, 4, 8] if video.length is None else [0, 1]
    if lengths:
        windows = memory.window_memory_bottleneck(video, lengths, level=level, unit=unit)
        given = {"unit": unit, "theorems": windows.theorems}
        for r, value, error in zip(lengths, windows.values, windows.error_bound, strict=True):
            if math.isfinite(value):
                number = Enclosure.around(float(value), float(error), least=0.0, **given)
            else:
                number = Enclosure(math.inf, math.inf, math.inf, reason=windows.reason, **given)
            found.append((_count(r, "frame", "the last "), number))
    if arguments.numbers or arguments.budget:
        source = memory.canonical_correlations_of(video, level=level)
        for b in arguments.numbers:
            linear = memory.linear_memory_floor(source, b, unit=unit).floor
            found.append((_count(b, "number") + ", linear", linear))
            if video.stationary and video.markov(1) is not None:
                updated = memory.recursive_memory_floor(video, b, level=level, unit=unit).floor
                found.append((_count(b, "number") + ", updated by every frame", updated))
        curve = memory.MemoryBudget(source, unit)
        found += [(f"{c:g} {unit} of any memory", curve.floor(c)) for c in arguments.budget]
    return found


def _count(number: int, noun: str, before: str = "") -> str:
    return f"{before}{number} {noun}{'' if number == 1 else 's'}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise ParameterError("VIDEO", "a readable JSON file", f"{path} ({reason})") from None


def _video(path: str) -> Any:
    """The video of a file that holds one, alone or in a specification."""
    from arvdm_theory.video import GaussianVideo

    text = _text(path)
    try:
        keys = json.loads(text)
    except ValueError as error:
        raise ParameterError("VIDEO", "valid JSON", error) from None
    if isinstance(keys, dict) and "video" in keys:
        keys = keys["video"]
    if not isinstance(keys, dict):
        raise ParameterError("VIDEO", "a JSON object", type(keys).__name__)
    return GaussianVideo.from_json(keys)


def _formula(arguments: argparse.Namespace) -> str:
    from arvdm_theory.symbolic import FORMULAS, formula

    if arguments.name is None:
        names = list(FORMULAS)
        return json.dumps(names) if arguments.json else "\n".join(names)
    found = formula(arguments.name)
    if arguments.latex and not arguments.json:
        return found.latex()
    value = None
    if arguments.at:
        value = float(found.numpy()(**dict(_assignment(text) for text in arguments.at)))
    if arguments.json:
        data = {
            "name": found.name,
            "theorem": found.theorem,
            "meaning": found.meaning,
            "unit": found.unit,
            "expression": str(found.expression),
            "latex": found.latex(),
            "symbols": dict(found.symbols),
            "conditions": [f"{c.parameter} {c.constraint}" for c in found.conditions],
            "value": None if value is None else _finite(value),
        }
        return json.dumps(data, allow_nan=False)
    lines = [f"{found.name} ({found.theorem}): {found.meaning}", "", f"  {found.expression}", ""]
    lines += [f"  {name}: {meaning}" for name, meaning in found.symbols.items()]
    if value is not None:
        lines += ["", f"value: {value:.12g} {found.unit}"]
    return "\n".join(lines)


def _assignment(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        equals = ""
    if not equals or not name:
        raise ParameterError("--at", "arguments such as rho=0.9", text)
    return name, number


def _cite(arguments: argparse.Namespace) -> str:
    from arvdm_theory.literature import citation

    text = citation(*arguments.labels).rstrip("\n")
    return json.dumps({"labels": arguments.labels, "bibtex": text}) if arguments.json else text


def _completion(arguments: argparse.Namespace) -> str:
    _, commands = _parser()
    options = {
        name: " ".join(text for text in parser._option_string_actions if text.startswith("--"))
        for name, parser in commands.items()
    }
    return _COMPLETIONS[arguments.shell](options)


def _bash(options: dict[str, str]) -> str:
    cases = "\n".join(f'    {name}) words="{words}" ;;' for name, words in options.items())
    return f"""_arvdm() {{
  local words word="${{COMP_WORDS[COMP_CWORD]}}"
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) words="{" ".join(options)}" ;;
  esac
  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(options)} --help --version"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _arvdm arvdm"""


def _zsh(options: dict[str, str]) -> str:
    return "autoload -Uz bashcompinit && bashcompinit\n" + _bash(options)


def _fish(options: dict[str, str]) -> str:
    first = "not __fish_seen_subcommand_from " + " ".join(options)
    lines = [
        f"complete -c arvdm -n '{first}' -f -a {name} -d '{COMMANDS[name].purpose}'"
        for name in options
    ]
    for name, words in options.items():
        for word in words.split():
            seen = f"__fish_seen_subcommand_from {name}"
            lines.append(f"complete -c arvdm -n '{seen}' -l {word.removeprefix('--')}")
    return "\n".join(lines)


_COMPLETIONS = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def _schema(arguments: argparse.Namespace) -> str:
    return json.dumps(specification.schema(), indent=2)


def _decompose(arguments: argparse.Namespace) -> str:
    from arvdm_theory.decomposition import decompose

    if arguments.spec == "-":
        spec = specification.read_bytes(sys.stdin.buffer.read())
    else:
        spec = specification.read_file(arguments.spec)
    length: dict[str, Any] = {"steps": spec.steps, "frames": spec.frames}
    world = (spec.video, spec.schedule, spec.generator)
    result: Any
    if arguments.totals:
        result = decompose(*world, **length, per_step=False)
    else:
        result = decompose(*world, **length)
    if arguments.json:
        return json.dumps(result.to_json(arguments.unit), allow_nan=False)
    return _table(result, arguments.unit)


def _table(result: Any, unit: str) -> str:
    """The decomposition as text: per-step terms, the ladder, what was refused."""
    data = result.to_json(unit)
    columns = [
        name
        for name in ("nie", "see", "de", "see_plus_de", "mb", "output", "clip")
        if data.get(f"{name}_per_step") is not None
        and not (name == "see_plus_de" and data["see"] is not None)
    ]
    head = f"{result.schedule!r}\n{result.generator!r}\n{result.video!r}\n"
    head += f"{data['steps']} AR steps, {data['frames']} frames"
    if data["surplus_frames"]:
        head += f" ({data['surplus_frames']} more generated and cut)"
    lines = [head + f"; {unit}"]
    steps = range(data["steps"] if columns else 0)
    if columns:
        lines += ["", "step " + " ".join(f"{name:>12}" for name in columns)]
    elif data["settled"] is not None:
        lines.append(f"every step from {data['settled']} on is the same, to rounding")
    shown = [*steps] if len(steps) <= 20 else [*steps[:10], None, *steps[-9:]]
    for k in shown:
        if k is None:
            lines.append(" ...")
            continue
        row = " ".join(f"{data[f'{name}_per_step'][k]:12.6g}" for name in columns)
        lines.append(f"{k + 1:4d} " + row)
    lines += ["", f"{'total':24} {'value':>14} {'error bound':>12}"]
    for name in _TITLES:
        if name == "see_plus_de" and data["see"] is not None:
            continue
        value = data[name]
        if value is None:
            continue
        error = data["error_bound"].get(name)
        lines.append(
            f"{_TITLES.get(name, name):24} {value:14.8g} "
            + (f"{error:12.1e}" if error is not None else "")
        )
    if "expected_see" in data:
        see = data["expected_see"]
        lines.append(
            f"expected see             {see['mean']:14.8g} ± {see['standard_error']:.2g} "
            f"(standard error over {see['trials']} training sets)"
        )
    if data["unreliable"]:
        lines.append(f"error bounds above 1 % of the number: {', '.join(data['unreliable'])}")
    reasons: dict[str, list[str]] = {}
    for name, reason in data["refused"].items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        lines.append(f"no {', '.join(names)}: {reason}")
    lines.append(f"theorems: {', '.join(data['theorems'])}")
    return "\n".join(lines)


_TITLES = {
    "ie": "initial window (ie)",
    "nie": "noise init. (nie)",
    "see": "score estimation (see)",
    "de": "discretisation (de)",
    "see_plus_de": "see + de",
    "mb": "memory bottleneck (mb)",
    "chain": "chain KL",
    "path": "path KL",
    "output": "output KL",
    "clip": "clip KL (last block)",
    "theorem_b": "Theorem B on the clip",
    "bound": "explicit constants",
}


def _analyze(arguments: argparse.Namespace) -> str:
    from arvdm_theory.analyze import analyze

    result = analyze(
        arguments.video,
        arguments.out,
        crop=arguments.crop,
        frames=arguments.frames,
        every=arguments.every,
        components=arguments.components,
    )
    return json.dumps(result.to_json(), allow_nan=False) if arguments.json else str(result)


_RUN = {
    "decompose": _decompose,
    "schema": _schema,
    "memory": _memory,
    "analyze": _analyze,
    "formula": _formula,
    "cite": _cite,
    "completion": _completion,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parsed = _parsed(_joined(sys.argv[1:] if arguments is None else arguments))
    try:
        with _progress(parsed):
            text = _RUN[parsed.command](parsed)
    except ArvdmError as error:
        print(f"arvdm: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (MemoryError, OverflowError, ValueError) as error:
        # NumPy's ways of saying that an array cannot be made: MemoryError, "Maximum allowed ..."
        reason = " ".join(str(error).split()) or type(error).__name__
        too_large = ParameterError("specification", "of a size that fits in memory", reason)
        print(f"arvdm: {too_large}", file=sys.stderr)
        return 2
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"arvdm: standard output must be writable, got {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
