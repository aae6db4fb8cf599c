"""Paths as users write them, on a command line, in a recipe or in the environment: `~` is a home everywhere."""

from __future__ import annotations

import os
from pathlib import Path

NO_HOME = "/nonexistent"
"""The home of users who have none, as the system's own accounts have it."""


def settle_home() -> None:
    """Where this user has no home at all, say so the way that libraries bear: some end when they look for one."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = NO_HOME


def user_path(written: str | Path) -> Path:
    """The path that somebody wrote: `~` at its beginning is their home, `~name` that of another user.

    What is really called `~` is written `./~`. It becomes absolute, so that nobody who reads the path again takes it
    for a home. Raises `UsageError` where there is no such home.
    """
    text = os.fspath(written)
    if not text.startswith("~"):
        path = Path(text)
        return path.absolute() if str(path).startswith("~") else path
    home = os.path.expanduser(text)
    if home == text or Path(home).is_relative_to(NO_HOME):
        raise _homeless(text)
    return Path(home)


def environment_path(variable: str, default: str) -> Path:
    """The path in an environment variable; `default` where it is not set, or empty. Raises as `user_path`.

    A default below a home that there is not is below `NO_HOME`: who writes there is told of the variable then.
    """
    from fvlm_core.errors import UsageError

    written = os.environ.get(variable)
    if not written:
        home = os.path.expanduser(default)
        return Path(home if home[0] != "~" else f"{NO_HOME}{default[1:]}")
    try:
        return user_path(written)
    except UsageError as error:
        raise UsageError(f"{variable}: {error}") from None


def cache_folder(kind: str) -> Path:
    """The folder of one kind of what is made once and kept: below $FVLM_CACHE, by default ~/.cache/fvlm."""
    return environment_path("FVLM_CACHE", "~/.cache/fvlm") / kind


def _homeless(text: str) -> Exception:
    from fvlm_core.errors import UsageError

    user = text.partition("/")[0][1:]
    if not user:
        return UsageError(
            f"{text}: this user (uid {os.getuid()}) has no home: set HOME, or write the path in full"
        )
    return UsageError(f'{text}: no user is called "{user}"; a file of that name is written ./{text}')
