"""What is made while the site is built: MathML from LaTeX, and the table of figures.

MathML needs no script and no fonts from elsewhere, so the site reads offline.
"""

from __future__ import annotations

import ast
import html
import re
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
    """The table of figures, where a page asks for it."""
    marker = re.search(r"<!-- figures:.*?-->", markdown)
    return markdown if marker is None else markdown.replace(marker[0], figures())


def figures() -> str:
    """One row a figure of `figures/registry.py`, in its order, read without importing it."""
    registry = ast.parse((ROOT / "figures" / "registry.py").read_text(encoding="utf-8"))
    [names] = [
        [alias.name for alias in node.names]
        for node in registry.body
        if isinstance(node, ast.ImportFrom) and node.module == "figures"
    ]
    rows = ["| figure | numbers | made by | drawn by |", "|---|---|---|---|"]
    for name in names:
        tree = ast.parse((ROOT / "figures" / f"{name}.py").read_text(encoding="utf-8"))
        found = _constants(tree)
        studies = [
            f"`{node.module.replace('.', '/')}.py`"
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("analysis.")
            if any(alias.name == "STUDY" for alias in node.names)
        ]
        made = ", ".join(studies) or "nothing computed"
        title, kind = found.get("TITLE", name), found.get("KIND", "")
        rows.append(f"| {title} | {kind} | {made} | `figures/{name}.py` |")
    return "\n".join(rows)


def _constants(tree: ast.Module) -> dict[str, Any]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found
