r"""One function at many points: in parallel, with progress, resumable.

`sweep` is a thin layer over joblib: what runs where is said by the surrounding
`joblib.parallel_config` (processes, threads, a Dask or Ray cluster), what is finished is kept in a
folder under the content of its point, and a sweep that was interrupted goes on from there.
Calculators that take arrays need no sweep: one call with leading axes is far faster.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import itertools
import logging
import os
import pickle
import struct
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from arvdm_theory.errors import ArvdmError, ParameterError

__all__ = ["SweepError", "content_key", "grid", "sweep", "write_atomically"]

LOG = logging.getLogger("arvdm_theory.sweeps")

Result = TypeVar("Result")


class SweepError(ArvdmError):
    """A point of a sweep failed; its own error is the cause (`__cause__`).

    `point` is what failed and `index` its place; `finished` has the results that there are, by
    place. With a cache they are kept on disk too, and the next sweep starts from them.
    """

    def __init__(self, message: str, index: int, point: Any, finished: dict[int, Any]) -> None:
        super().__init__(message)
        self.index, self.point, self.finished = index, point, finished


def grid(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of the values of the axes, the last one varying fastest.

    >>> grid(window=[1, 2], level=[0.0, 0.1])[1]
    {'window': 1, 'level': 0.1}
    """
    values = [list(axis) for axis in axes.values()]
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*values)]


def sweep(
    function: Callable[..., Result],
    points: Iterable[Any] | Mapping[str, Iterable[Any]],
    *,
    cache: str | os.PathLike[str] | None = None,
    revision: int = 0,
    progress: bool | Callable[[int, int], object] = False,
) -> list[Result]:
    """`function` at every point, in their order, through joblib.

    Arguments
    ---------
    function: what to compute. In other processes it must be importable there, or a function that
        cloudpickle can send.
    points: what it is called with, one argument a point; or a mapping of names to values, whose
        `grid` it is called on by keyword.
    cache: folder in which every result is kept (pickled) as soon as it arrives, each in a file of
        its own that is moved into place whole. A point that is found there is not computed again,
        also after the process was killed. The key is the content of the point, of the function's
        own code with its defaults and what it has captured, and this package's version; not of what
        the function calls: raise `revision` when that changes. Load only what you trust: these are
        pickles.
    revision: part of the key.
    progress: a bar (tqdm), or a function of (finished, all points).

    Returns the list of results. As many processes as the surrounding `joblib.parallel_config` says,
    else one; with `backend="dask"` (extra `dask`) the workers of a cluster, which need not see the
    folder.

    Raises
    ------
    SweepError: a point failed; it is named. No further ones are started, those under way are
        finished and kept.
    ParameterError: the extra `sweep` is missing, or a cache is asked for points whose content
    cannot be told (open files, generators, objects without `key` or `to_json`).

    >>> from arvdm_theory import Autoregressive, window_memory_bottleneck
    >>> def forgotten(coefficient, window):
    ...     video = Autoregressive([coefficient], 1.0)
    ...     return float(window_memory_bottleneck(video, window, level=0.05).values[0])
    >>> [round(x, 4) for x in sweep(forgotten, {"coefficient": [0.5, 0.9], "window": [0, 1]})]
    [0.1211, 0.0002, 0.7563, 0.0025]
    """
    items = grid(**points) if isinstance(points, Mapping) else list(points)
    call = _ByKeyword(function) if isinstance(points, Mapping) else function
    folder, keys = None, []
    if cache is not None:
        folder = _folder(Path(cache), call, revision)
        keys = [content_key(item, f"points[{i}]")[:32] for i, item in enumerate(items)]
    results: dict[int, Any] = {}
    for index, key in enumerate(keys):
        found = _read(folder, key)
        if found is not None:
            results[index] = found[0]
    failures: dict[int, Exception] = {}

    def waiting() -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(items):
            if failures:  # what has been started is finished and kept
                return
            if index not in results:
                yield index, item

    with _Progress(progress, len(items), len(results)) as shown:
        for index, value, error in _computed(call, waiting()) if len(results) < len(items) else ():
            if error is not None:
                failures[index] = error
                continue
            if folder is not None:
                write_atomically(folder / f"{keys[index]}.pickle", _signed(value))
            results[index] = value
            shown(len(results))
    if failures:
        index = min(failures)
        message = _message(index, items, failures[index], len(results), folder)
        raise SweepError(message, index, items[index], results) from failures[index]
    return [results[index] for index in range(len(items))]


@dataclasses.dataclass(frozen=True)
class _ByKeyword:
    """`function` of a point that is a mapping of keywords."""

    function: Callable[..., Any]

    def __call__(self, point: Mapping[str, Any]) -> Any:
        return self.function(**point)


def _computed(
    call: Callable[[Any], Any], waiting: Iterator[tuple[int, Any]]
) -> Iterator[tuple[int, Any, Exception | None]]:
    """(place, value, error) of every waiting point, as they are finished."""
    joblib = _require("joblib")
    jobs = (joblib.delayed(_attempt)(call, index, item) for index, item in waiting)
    yield from joblib.Parallel(return_as="generator_unordered")(jobs)


def _attempt(
    call: Callable[[Any], Any], index: int, point: Any
) -> tuple[int, Any, Exception | None]:
    try:
        return index, call(point), None
    except Exception as error:
        return index, None, _portable(error)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the way between processes, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _message(
    index: int, items: Sequence[Any], error: Exception, finished: int, folder: Path | None
) -> str:
    shown = " ".join(repr(items[index]).split())
    shown = shown if len(shown) <= 200 else shown[:197] + "..."
    kept = f"kept in {folder}" if folder is not None else "in `finished` of this error"
    return (
        f"point {index} of {len(items)}, {shown}, failed with {type(error).__name__}: {error} "
        f"({finished} finished points are {kept})"
    )


class _Progress:
    """A bar, a callback or nothing."""

    def __init__(self, wanted: bool | Callable[[int, int], object], total: int, done: int) -> None:
        self.total, self.done = total, done
        self.callback = wanted if callable(wanted) else None
        self.bar = _require("tqdm").tqdm(total=total, initial=done) if wanted is True else None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, done: int) -> None:
        if self.bar is not None:
            self.bar.update(done - self.done)
        if self.callback is not None:
            self.callback(done, self.total)
        self.done = done


def _require(name: str) -> Any:
    try:
        return __import__(name)
    except ModuleNotFoundError:
        raise ParameterError(
            "the extra sweep",
            'installed (pip install "arvdm-theory[sweep]")',
            f"no module named {name}",
        ) from None


# --- finished points ------------------------------------------------------------------------------


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _folder(cache: Path, call: Callable[..., Any], revision: int) -> Path:
    import arvdm_theory

    key = content_key((call, revision, arvdm_theory.__version__), "function")
    inner = call.function if isinstance(call, _ByKeyword) else call
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = "".join(c for c in getattr(inner, "__name__", "function") if c.isalnum() or c == "_")
    return cache / f"{name}-{key[:16]}"


def _signed(value: Any) -> bytes:
    content = pickle.dumps(value)
    return hashlib.sha256(content).digest() + content


def _read(folder: Path | None, key: str) -> tuple[Any] | None:
    """A 1-tuple of the result, `None` if there is none or the file is not what was written."""
    if folder is None:
        return None
    path = folder / f"{key}.pickle"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        LOG.warning("%s is damaged: its point is computed again", path)
        return None
    return (pickle.loads(content[32:]),)


# --- content --------------------------------------------------------------------------------------


def content_key(value: Any, parameter: str = "value") -> str:
    """A hash of what `value` holds, the same in every process.

    Numbers, text, arrays, tensors, containers and dataclasses of them, descriptions (by their `key`
    or `to_json`) and functions (their code, defaults and captured values). Anything else is refused
    as `parameter`.

    >>> content_key({"a": 1, "b": [2.0]}) == content_key({"b": [2.0], "a": 1})
    True
    >>> content_key(1) == content_key(1.0)
    False
    """
    digest = hashlib.sha256()
    for part in _parts(value, parameter):
        digest.update(struct.pack("<q", len(part)))
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any, parameter: str) -> Iterable[bytes]:
    yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
    if value is None or isinstance(value, (bool, int, float, complex, str, enum.Enum, os.PathLike)):
        yield (os.fspath(value) if isinstance(value, os.PathLike) else repr(value)).encode()
    elif isinstance(value, (bytes, bytearray)):
        yield bytes(value)
    elif type(value).__module__.startswith("torch") and hasattr(value, "detach"):
        yield from _parts(value.detach().cpu().numpy(), parameter)
    elif isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcUS":
        array = np.ascontiguousarray(value)
        yield f"{array.dtype.str}{np.shape(value)}".encode()
        yield array.tobytes()
    elif isinstance(getattr(value, "key", None), str):
        yield value.key.encode()
    elif isinstance(value, (list, tuple, range)):
        yield str(len(value)).encode()
        for item in value:
            yield from _parts(item, parameter)
    elif isinstance(value, (set, frozenset)):
        yield from sorted(content_key(item, parameter).encode() for item in value)
    elif isinstance(value, Mapping):
        pairs = [(content_key(k, parameter), content_key(v, parameter)) for k, v in value.items()]
        yield repr(sorted(pairs)).encode()
    elif callable(getattr(value, "to_json", None)) and not isinstance(value, type):
        yield from _parts(value.to_json(), parameter)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield field.name.encode()
            yield from _parts(getattr(value, field.name), parameter)
    else:
        yield from _parts_of_code(value, parameter)


def _parts_of_code(value: Any, parameter: str) -> Iterable[bytes]:
    """Of functions, and of what code is made of."""
    if isinstance(value, functools.partial):
        yield from _parts((value.func, value.args, value.keywords), parameter)
    elif isinstance(value, types.MethodType):
        yield from _parts((value.__self__, value.__func__), parameter)
    elif isinstance(value, types.CodeType):
        yield value.co_code
        names = (value.co_name, value.co_names, value.co_varnames, value.co_freevars)
        yield from _parts((names, value.co_consts), parameter)
    elif isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        # a function that captures itself would never end
        captured = ["itself" if cell is value else cell for cell in cells]
        described = (value.__module__, value.__qualname__, value.__defaults__, value.__kwdefaults__)
        yield from _parts((described, captured, value.__code__), parameter)
    elif isinstance(value, (type, types.BuiltinFunctionType, np.ufunc)):
        yield f"{getattr(value, '__module__', '')}.{value.__qualname__}".encode()
    elif isinstance(value, types.ModuleType):
        yield value.__name__.encode()
    elif value is ... or value is NotImplemented:
        yield repr(value).encode()
    else:
        raise ParameterError(
            parameter,
            "made of numbers, text, arrays, descriptions or functions to be kept by its content",
            f"{type(value).__name__} {value!r}",
        )
