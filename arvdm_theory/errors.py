"""Named errors, in one format: the parameter, the constraint it must meet, and the value got.

Every error that this package raises on purpose is a `ValueError`, so that callers who do not care
which one it was can catch that alone.
"""

from __future__ import annotations

from typing import Any


class ArvdmError(ValueError):
    """Base class of every error that this package raises on purpose."""


class ParameterError(ArvdmError):
    """A parameter violates its constraint.

    Arguments
    ---------
    parameter: name as the caller wrote it, dotted for nested specifications.
    constraint: completes the sentence "parameter must be ...".
    value: what was given; shown in the message and kept on the exception.

    Example
    -------
    >>> raise ParameterError("stride", "in 1..window (4)", 6)
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.ParameterError: stride must be in 1..window (4), got 6
    """

    def __init__(self, parameter: str, constraint: str, value: Any) -> None:
        self.parameter = parameter
        self.constraint = constraint
        self.value = value
        super().__init__(f"{parameter} must be {constraint}, got {_short(value)}")

    def __reduce__(self) -> tuple[Any, ...]:
        # pickled by its three parts, so that it can travel between processes
        return type(self), (self.parameter, self.constraint, self.value)

    def within(self, section: str) -> ParameterError:
        """The same error, its parameter named inside `section` of a specification."""
        if self.parameter == section or self.parameter.startswith(f"{section}."):
            return self
        return type(self)(f"{section}.{self.parameter}", self.constraint, self.value)


class NotPositiveDefiniteError(ParameterError):
    """A covariance is not symmetric positive (semi-)definite."""


class UnstableError(ParameterError):
    """A stationary law was asked of a chain that has none."""


class ScheduleError(ParameterError):
    """A schedule violates one of the requirements of D1."""


class MonotonicityError(ScheduleError):
    """D1, monotonicity: later frames are at least as noisy, and levels never rise."""


class CircularityError(ScheduleError):
    """D1, circularity: each frame enters the next iteration at the level at which it left this."""


class BoundaryError(ScheduleError):
    """D1, 0–T boundary: frames enter as pure noise (T) and leave clean (delta)."""


class TooLittleDataError(ParameterError):
    """There are too few frames for what was asked."""


class MediaError(ParameterError):
    """A video file is missing, empty, truncated, or not a video."""


class RefusedError(ArvdmError):
    """The number asked for does not exist; the message is the mathematical reason."""


def _short(value: Any) -> str:
    """One line of at most about 80 characters that shows `value`."""
    text = " ".join(str(value).split()) or repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
