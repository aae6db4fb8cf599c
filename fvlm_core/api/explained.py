"""Errors that a user can act on, whoever raised them, as one class with the sentence that the command line prints."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from fvlm_core.utils.errors import FvlmError, UsageError

P = ParamSpec("P")
T = TypeVar("T")


def explained(error: Exception) -> FvlmError | None:
    """The error itself, or what names, libraries and surroundings hindered, as a `FvlmError`; None for a defect."""
    from fvlm_core.utils.error_summary import place
    from fvlm_core.utils.hindrance import hindrance
    from fvlm_registry import LookupFailure, missing_library

    if isinstance(error, FvlmError):
        return error
    if isinstance(error, LookupFailure):
        return UsageError(f"{error}{place(error)}")
    if lacking := missing_library(error):
        return UsageError(lacking)
    if found := hindrance(error):
        text, code = found
        return UsageError(text) if code == UsageError.exit_code else FvlmError(text)
    return None


def public(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the Python API: what a user can act on is raised as `FvlmError`, a defect as it is."""

    @wraps(function)
    def called(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except FvlmError:
            raise
        except Exception as error:
            told = explained(error)
            if told is None:
                raise
            raise told from error

    return called
