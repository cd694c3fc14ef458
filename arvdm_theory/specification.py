"""The JSON specification that the command line reads: its schema, and how it is read.

Descriptions check themselves (`GaussianVideo`, `Schedule`, `Generator`); the schema here is what
editors and other programs can check a file against before it is read.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arvdm_theory import noise
from arvdm_theory.errors import ParameterError
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import CONTEXT_NOISE, METHODS, Schedule
from arvdm_theory.video import GaussianVideo

__all__ = ["SPEC_VERSION", "Specification", "read", "schema"]

SPEC_VERSION = 1
_KEYS = ("spec_version", "video", "schedule", "generator", "steps", "frames")


@dataclass(frozen=True, eq=False)
class Specification:
    """A read specification: what `decompose` takes."""

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    steps: int | None
    frames: int | None

    def to_json(self) -> dict[str, Any]:
        """The specification as plain JSON; `Specification.from_json` reads it back."""
        length = {"steps": self.steps} if self.steps is not None else {"frames": self.frames}
        return {
            "spec_version": SPEC_VERSION,
            "video": self.video.to_json(),
            "schedule": self.schedule.to_json(),
            "generator": self.generator.to_json(),
            **length,
        }

    @staticmethod
    def from_json(given: Any) -> Specification:
        """Read a specification; unknown, missing and contradictory keys are refused by name.

        >>> spec = {"video": {"family": "static_latent", "noise_variance": 0.5},
        ...         "schedule": {"method": "fifo", "window": 4, "stride": 2, "t_max": 2.0,
        ...                      "t_min": 0.1, "substeps": 4}, "steps": 3}
        >>> Specification.from_json(spec)
        Traceback (most recent call last):
        ...
        arvdm_theory.errors.ScheduleError: schedule.stride must be 1 for method fifo, got 2
        """
        if not isinstance(given, Mapping):
            raise ParameterError("specification", "a JSON object", given)
        for key in given:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise ParameterError(key, f"one of the keys {', '.join(_KEYS)}{hint}", key)
        for key in ("video", "schedule"):
            if key not in given:
                raise ParameterError(key, "given", "nothing")
        version = given.get("spec_version", SPEC_VERSION)
        if version != SPEC_VERSION or isinstance(version, bool):
            raise ParameterError("spec_version", str(SPEC_VERSION), version)
        if ("steps" in given) == ("frames" in given):
            got = "both" if "steps" in given else "nothing"
            raise ParameterError("steps", "given, or frames, but not both", got)
        schedule = _section("schedule", Schedule.from_json, given["schedule"])
        generator = _section("generator", Generator.from_json, given.get("generator", {}))
        steps, frames = given.get("steps"), given.get("frames")
        schedule.roll_out(**({"frames": frames} if "frames" in given else {"steps": steps}))
        video = _section("video", GaussianVideo.from_json, given["video"])
        return Specification(video, schedule, generator, steps, frames)


def _section(name: str, build: Any, given: Any) -> Any:
    try:
        return build(given)
    except ParameterError as error:
        raise error.within(name) from None


def read(text: str) -> Specification:
    """Parse JSON text strictly (no NaN, no infinity, no repeated keys) and read it."""

    def constant(name: str) -> float:
        raise ParameterError("specification", "free of NaN and infinities", name)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in items:
            if key in out:
                raise ParameterError(key, "given once", "a repeated key")
            out[key] = value
        return out

    def integer(digits: str) -> int:
        if len(digits) > 300:
            raise ParameterError("specification", "of numbers within double precision", digits)
        return int(digits)

    try:
        given = json.loads(
            text, parse_constant=constant, object_pairs_hook=pairs, parse_int=integer
        )
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise ParameterError("specification", "valid JSON", where) from None
    except RecursionError:
        raise ParameterError("specification", "JSON of reasonable depth", "too deep") from None
    return Specification.from_json(given)


def read_bytes(data: bytes) -> Specification:
    """Read a specification from UTF-8 bytes."""
    try:
        return read(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ParameterError("SPEC", "UTF-8 text", "other bytes") from None


def read_file(path: str | Path) -> Specification:
    """Read a specification file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ParameterError("SPEC", "a readable file", f"{path} ({error.strerror})") from None
    return read_bytes(data)


# --- JSON Schema ----------------------------------------------------------------------------------

_NUMBER: dict[str, Any] = {"type": "number"}
_POSITIVE: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0}
_NON_NEGATIVE: dict[str, Any] = {"type": "number", "minimum": 0}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
_VECTOR: dict[str, Any] = {"type": "array", "items": _NUMBER, "minItems": 1}
_MATRIX: dict[str, Any] = {"type": "array", "items": _VECTOR, "minItems": 1}


def _either(*options: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(options)}


_VARIANCE = _either(_NON_NEGATIVE, _MATRIX)
_MEAN = _either(_NUMBER, _VECTOR)
_INITIAL = {
    "type": "object",
    "properties": {"mean": _VECTOR, "covariance": _either(_NON_NEGATIVE, _MATRIX)},
    "required": ["covariance"],
    "additionalProperties": False,
}

# family -> (required keys, optional keys)
_VIDEO_KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "autoregressive": (
        {
            "coefficients": {
                "type": "array",
                "items": _either(_NUMBER, _MATRIX),
                "minItems": 1,
                "description": "p numbers or d x d matrices, newest frame first",
            },
            "noise_variance": _VARIANCE,
        },
        {"dim": _COUNT, "mean": _MEAN, "initial": _INITIAL},
    ),
    "state_space": (
        {"transition": _MATRIX, "emission": _MATRIX, "state_noise": _VARIANCE},
        {"emission_noise": _VARIANCE, "mean": _MEAN, "initial": _INITIAL},
    ),
    "seasonal": (
        {
            "period": _POSITIVE,
            "persistence": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        },
        {"variance": _POSITIVE, "noise_variance": _NON_NEGATIVE, "dim": _COUNT, "mean": _MEAN},
    ),
    "arfima": (
        {"memory": _either(_NUMBER, _VECTOR)},
        {"noise_variance": _VARIANCE, "dim": _COUNT, "mean": _MEAN},
    ),
    "static_latent": (
        {"noise_variance": _VARIANCE},
        {"latent_variance": _VARIANCE, "dim": _COUNT, "mean": _MEAN},
    ),
    "panorama": (
        {"positions": _VECTOR},
        {
            "dim": _COUNT,
            "correlation_length": _POSITIVE,
            "variance": _POSITIVE,
            "noise_variance": _NON_NEGATIVE,
            "landscape_length": _COUNT,
            "mean": _MEAN,
        },
    ),
    "covariance": (
        {"matrix": _MATRIX | {"description": "clean frames stacked frame by frame"}},
        {"dim": _COUNT, "mean": _either(_NUMBER, _VECTOR, _MATRIX)},
    ),
    "frames": (
        {"path": {"type": "string", "description": "a video file, .npy or .npz"}},
        {
            "components": _COUNT,
            "crop": {"type": "string", "description": "x0:x1,y0:y1, left or right"},
            "frames": {"type": "string", "description": "a:b"},
            "every": _either(_COUNT, {"const": "distinct"}),
        },
    ),
}

_LEVEL = _NUMBER | {"description": "a level in `clock`, OU time unless said"}
_SCHEDULE_KEYS: dict[str, dict[str, Any]] = {
    "window": _COUNT | {"description": "w, frames denoised together"},
    "stride": _COUNT | {"description": "frames that leave and enter at each AR step"},
    "t_max": _LEVEL,
    "t_min": _LEVEL | {"description": "delta, level of finished frames"},
    "substeps": _COUNT | {"description": "M, linear in log-SNR"},
    "levels": _VECTOR | {"description": "ladder of a staircase, fractions of t_max ending at 1"},
    "input_levels": _VECTOR,
    "output_levels": _VECTOR,
    "grid": _MATRIX | {"description": "(M + 1) x w sub-step levels"},
    "context_noise": {"enum": list(CONTEXT_NOISE)},
    "context_level": _LEVEL,
    "clock": {"enum": list(noise.CLOCKS)},
}

_DENOISER_KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "exact": ({}, {}),
    "scaled": ({"factor": _NUMBER}, {}),
    "biased": ({"bias": _MEAN}, {}),
    "random": ({"scale": _NON_NEGATIVE}, {"seed": {"type": "integer", "minimum": 0}}),
    "estimated": (
        {"videos": {"type": "integer", "minimum": 2}},
        {
            "seed": {"type": "integer", "minimum": 0},
            "trials": {"type": "integer", "minimum": 0},
        },
    ),
    "misspecified": ({"video": {"$ref": "#/$defs/video"}}, {}),
}

_MEMORY_KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "none": ({}, {}),
    "last_frames": ({"frames": {"type": "integer", "minimum": 0}}, {}),
    "linear": (
        {"weights": {"type": "array", "items": _MATRIX, "description": "L x b x d, newest first"}},
        {},
    ),
    "recursive": ({"transition": _MATRIX, "input": _MATRIX}, {}),
}


def _variants(key: str, table: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> Any:
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {key: {"const": name}, **required, **optional},
                "required": [key, *required],
                "additionalProperties": False,
            }
            for name, (required, optional) in table.items()
        ]
    }


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a specification.

    >>> sorted(schema()["properties"])
    ['frames', 'generator', 'schedule', 'spec_version', 'steps', 'video']
    """
    from arvdm_theory.generator import SAMPLERS

    common = ("context_noise", "context_level", "clock")
    methods = {
        name: (
            {key: _SCHEDULE_KEYS[key] for key in required},
            {key: _SCHEDULE_KEYS[key] for key in (*optional, *common)},
        )
        for name, (required, optional) in METHODS.items()
    }
    generator = {
        "type": "object",
        "properties": {
            "denoiser": _variants("kind", _DENOISER_KEYS),
            "sampler": {"enum": list(SAMPLERS)},
            "reference": {
                "type": "integer",
                "minimum": 0,
                "description": "r, completed frames seen just before the window",
            },
            "memory": _variants("kind", _MEMORY_KEYS),
            "initialisation": {
                "type": "object",
                "properties": {"substeps": _COUNT},
                "required": ["substeps"],
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "arvdm decompose specification",
        "type": "object",
        "properties": {
            "spec_version": {"const": SPEC_VERSION},
            "video": {"$ref": "#/$defs/video"},
            "schedule": _variants("method", methods),
            "generator": generator,
            "steps": _COUNT | {"description": "K, AR steps"},
            "frames": _COUNT | {"description": "frames wanted; the surplus is reported"},
        },
        "required": ["video", "schedule"],
        "oneOf": [{"required": ["steps"]}, {"required": ["frames"]}],
        "additionalProperties": False,
        "$defs": {"video": _variants("family", _VIDEO_KEYS)},
    }
