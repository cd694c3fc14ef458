"""What is made while the site is built: MathML from LaTeX, the tables of figures and of studies.

MathML needs no script and no fonts from elsewhere, so the site reads offline.
"""

from __future__ import annotations

import html
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
_MATH = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\s*'
    r"(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])\s*</(?P=tag)>",
    re.DOTALL,
)
_FETCHED = re.compile(r'src="https://unpkg\.com/iframe-worker/[^"]*"')
#: Names of more than one letter, which are upright in a formula.
_WORDS = re.compile(
    r"(?<![A-Za-z\\{])(NIE|SEE|DE|MB|IE|KL|TV|Cov|Var|Input|Output|Past|In|mmse|mse)(?![A-Za-z])"
)
_UNCONVERTED = re.compile(r"<mtext>\\|<mi>\\[A-Za-z]")


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Every formula of the page as MathML."""

    def mathml(match: re.Match[str]) -> str:
        block = match["block"] is not None
        source = html.unescape(match["block"] if block else match["inline"]).strip()
        source = source.replace(r"\lVert", r"\|").replace(r"\rVert", r"\|")
        source = _WORDS.sub(r"\\mathrm{\1}", source)
        result = convert(source, display="block" if block else "inline")
        if _UNCONVERTED.search(result):
            raise PluginError(f"{page.file.src_path}: no MathML for {source}")
        return str(result)

    return _MATH.sub(mathml, content)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The page without the one script that the theme would fetch; ours is in the site."""
    here = "../" * page.url.count("/")
    return _FETCHED.sub(f'src="{here}worker_from_file.js"', output)


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for pages that no Markdown stands behind (not found)."""
    return _FETCHED.sub('src="worker_from_file.js"', output_content)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The tables of figures and of studies, where a page asks for them."""
    for name, table in (("figures", figures), ("studies", studies)):
        marker = re.search(rf"<!-- {name}:.*?-->", markdown)
        if marker:
            markdown = markdown.replace(marker[0], table())
    return markdown


def figures() -> str:
    """One row a figure of `figures/registry.py`, in its order."""
    registry = _registry("figures")
    numbers: dict[str, list[int]] = {}
    for number, name in _registry("figures.page").paper_figures(registry.FIGURES):
        numbers.setdefault(name, []).append(number)
    rows = ["| figure | of the paper | numbers | name | from the study |", "|---|---|---|---|---|"]
    for name, figure in registry.FIGURES.items():
        module = figure.draw.__module__.replace(".", "/") + ".py"
        where = "" if Path(module).stem == name else f", in {_code(module)}"
        made = ", ".join(map(_code, figure.studies)) or "nothing computed"
        mirrored = ", ".join(map(str, numbers.get(name, [])))
        rows.append(
            f"| {figure.title} | {mirrored} | {figure.kind} | {_code(name)}{where} | {made} |"
        )
    return "\n".join(rows)


def studies() -> str:
    """One row a study of `analysis/registry.py`, in its order."""
    shown = _registry("figures").FIGURES.values()
    rows = ["| study | question | reads | shown in |", "|---|---|---|---|"]
    for name, study in _registry("analysis").STUDIES.items():
        folders = {f"{Path(file).parent.as_posix()}/" for file in study.inputs(study.config)}
        reads = ", ".join(map(_code, sorted(folders))) or "nothing"
        seen = ", ".join(_code(figure.name) for figure in shown if name in figure.studies)
        seen = seen or "tables and controls of the report"
        rows.append(f"| {_code(name)} | {study.question} | {reads} | {seen} |")
    return "\n".join(rows)


def _registry(package: str) -> Any:
    """A module of the checkout, which need not be installed."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    name = package if "." in package else f"{package}.registry"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PluginError(
            f"the tables of figures and studies need the extra report: {error}"
        ) from None


def _code(name: str) -> str:
    """Code that may go over lines after an underscore or a slash."""
    return "<code>" + re.sub("([_/])(?=.)", r"\1<wbr>", name) + "</code>"
