"""The command line, `arvdm`: decompose a specification, analyze a video, print the schema.

Exit codes: 0 done, 2 bad input (nothing on standard output, one line on standard error).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import arvdm_theory
from arvdm_theory import specification
from arvdm_theory.errors import ArvdmError, ParameterError

_EXAMPLES = """examples:
  arvdm decompose spec.json --json      every error term of a specification, as one JSON object
  arvdm decompose spec.json             the same as a table
  arvdm schema > spec.schema.json       JSON Schema of a specification
  arvdm analyze clip.mp4 --out page     what the frames of a real video carry about their past
"""

_RANGES = ("--frames", "--crop")
_MINUS = re.compile(r"-\s*[\d:,]")


class _Parser(argparse.ArgumentParser):
    """Argument errors in the package's own way: one line, exit code 2."""

    def error(self, message: str) -> Any:
        self.exit(2, f"arvdm: {message} (see {self.prog} --help)\n")


def _components(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _every(text: str) -> int | str:
    return text if text == "distinct" else int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="arvdm",
        description="Exact error theory of auto-regressive video diffusion models.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=arvdm_theory.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    decompose = commands.add_parser(
        "decompose", help="the KL error decomposition of a specification (Theorems A and B)"
    )
    decompose.add_argument("spec", metavar="SPEC", help="JSON file, or - for standard input")
    decompose.add_argument("--json", action="store_true", help="print one JSON object")
    decompose.add_argument("--unit", choices=("nats", "bits"), default="nats")

    commands.add_parser("schema", help="print the JSON Schema of a specification")

    analyze = commands.add_parser(
        "analyze", help="how much the frames of a real video carry about their past"
    )
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
    analyze.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


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


def _decompose(arguments: argparse.Namespace) -> str:
    from arvdm_theory.decomposition import decompose

    if arguments.spec == "-":
        spec = specification.read_bytes(sys.stdin.buffer.read())
    else:
        spec = specification.read_file(arguments.spec)
    result = decompose(
        spec.video, spec.schedule, spec.generator, steps=spec.steps, frames=spec.frames
    )
    if arguments.json:
        return json.dumps(result.to_json(arguments.unit), allow_nan=False)
    return _table(result, arguments.unit)


def _table(result: Any, unit: str) -> str:
    """The decomposition as text: per-step terms, the ladder, what was refused."""
    data = result.to_json(unit)
    columns = [
        name
        for name in ("nie", "see", "de", "see_plus_de", "mb", "output", "clip")
        if data[f"{name}_per_step"] is not None
        and not (name == "see_plus_de" and data["see"] is not None)
    ]
    head = f"{result.schedule!r}\n{result.generator!r}\n{result.video!r}\n"
    head += f"{data['steps']} AR steps, {data['frames']} frames"
    if data["surplus_frames"]:
        head += f" ({data['surplus_frames']} more generated and cut)"
    lines = [head + f"; {unit}", "", "step " + " ".join(f"{name:>12}" for name in columns)]
    steps = range(data["steps"])
    shown = [*steps] if data["steps"] <= 20 else [*steps[:10], None, *steps[-9:]]
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parsed = _parser().parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    try:
        if parsed.command == "schema":
            text = json.dumps(specification.schema(), indent=2)
        elif parsed.command == "decompose":
            text = _decompose(parsed)
        else:
            text = _analyze(parsed)
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
