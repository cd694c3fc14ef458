"""How far long work has come: calculators say it, and whoever listens hears it.

>>> with listening(lambda what, done, whole: print(what, done, "of", whole)):
...     report("AR steps", 64, 1000)
AR steps 64 of 1000
>>> report("AR steps", 128, 1000)  # nobody listens
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Listener", "listening", "report"]

Listener = Callable[[str, int, int], object]
"""What is counted, how many are done, and of how many."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called with what is reported within the block (of this thread)."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def report(what: str, done: int, whole: int) -> None:
    """Say that `done` of `whole` are done; cheap, and nothing where nobody listens."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(what, done, whole)
