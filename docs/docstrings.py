"""Docstrings of this package as Markdown: their sections, argument lists and doctests."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(Arguments|Attributes|Returns|Raises)\n-+$", re.MULTILINE)
_ITEM = re.compile(r"^[A-Za-z_*][\w, *./=]*: ")
_NAME = r"(?:[a-z_][a-z_0-9]*|[A-Z]\w*Error)"
_SENTENCE = re.compile(rf"(?<=[.)]) (?={_NAME}(?:, {_NAME})*: )")


class Docstrings(griffe.Extension):
    """Prepares the docstring of every object."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """Markdown of one docstring.

    >>> print(markdown("What.\\n\\nArguments\\n---------\\na: one.\\n    More. b: two."))
    What.
    <BLANKLINE>
    **Arguments**
    <BLANKLINE>
    - `a`: one. More.
    - `b`: two.
    """
    blocks = re.split(r"\n{2,}", text.strip("\n"))
    return "\n\n".join(_block(block) for block in blocks)


def _block(block: str) -> str:
    if block.lstrip().startswith(">>>"):
        return f"```pycon\n{_dedented(block)}\n```"
    if "\n>>> " in block:
        before, after = block.split("\n>>> ", 1)
        return f"{_block(before)}\n\n```pycon\n>>> {after}\n```"
    match = _SECTION.match(block)
    if match is None:
        return block
    body = block[match.end() :].strip("\n")
    return f"**{match[1]}**\n\n{_items(body)}"


def _items(body: str) -> str:
    """`name: description` lines as a list; other text as it is."""
    items: list[str] = []
    for line in body.splitlines():
        if _ITEM.match(line):
            items.append(line)
        elif items:
            items[-1] += " " + line.strip()
        else:
            return body
    rows = [part for item in items for part in _SENTENCE.split(item)]
    return "\n".join(_named(row) for row in rows)


def _named(row: str) -> str:
    names, _, rest = row.partition(": ")
    quoted = ", ".join(f"`{name.strip()}`" for name in names.split(","))
    return f"- {quoted}: {rest}"


def _dedented(block: str) -> str:
    indent = len(block) - len(block.lstrip())
    return "\n".join(
        line[indent:] if line[:indent].isspace() else line for line in block.split("\n")
    )
