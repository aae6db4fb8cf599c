"""Paths as users write them, on a command line, in a recipe or in the environment: `~` is a home everywhere."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

NO_HOME = "/nonexistent"
"""The home of users who have none, as the system's own accounts have it."""


_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""Where `getpass.getuser` looks before it asks the system."""

_KEPT_AT_HOME = {
    "MPLCONFIGDIR": "matplotlib",
    "TRITON_CACHE_DIR": "triton",
    "WANDB_CONFIG_DIR": "wandb",
    "WANDB_CACHE_DIR": "wandb",
    "WANDB_DATA_DIR": "wandb",
    "TRACKIO_DIR": "trackio",
}
"""What says where a library keeps its own files, which it would do at home, and our folder for them."""


def settle_home() -> None:
    """Make a user without a name or a home bearable for libraries, which end or warn when they look for one.

    No home at all is `NO_HOME`. Where nothing can be kept at home, what libraries keep there goes below $FVLM_CACHE; a
    variable that is set stays as it is.
    """
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = NO_HOME
    if not any(map(os.environ.get, _NAMES)):
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            os.environ["USER"] = f"uid{os.getuid()}"
    at_home = (
        os.environ.get("XDG_CONFIG_HOME") or "~/.config",
        os.environ.get("XDG_CACHE_HOME") or "~/.cache",
    )
    if all(_can_be_made(Path(os.path.expanduser(folder))) for folder in at_home):
        return
    try:
        kept = cache_folder("libraries").absolute()
    except Exception:  # a variable or a working folder that is wrong, which is told to those who need it
        kept = Path(NO_HOME)
    if _can_be_made(kept):
        for variable, folder in _KEPT_AT_HOME.items():
            os.environ.setdefault(variable, str(kept / folder))
    else:
        import logging

        # It takes a temporary folder then, and says so.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _can_be_made(folder: Path) -> bool:
    """Whether a folder is there and can be written into, or can be made."""
    there = next((place for place in (folder, *folder.parents) if os.path.exists(place)), folder)
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


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
    from fvlm_core.utils.errors import UsageError

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
    from fvlm_core.utils.errors import UsageError

    user = text.partition("/")[0][1:]
    if not user:
        return UsageError(
            f"{text}: this user (uid {os.getuid()}) has no home: set HOME, or write the path in full"
        )
    return UsageError(f'{text}: no user is called "{user}"; a file of that name is written ./{text}')


_runs: Path | None = None


def runs_folder() -> Path:
    """Where runs are kept: what the command line said, else FVLM_RUNS, else ./runs."""
    return _runs or environment_path("FVLM_RUNS", "runs")


def keep_runs(folder: Path) -> Path:
    """Have components that name a run look for it there; the folder."""
    global _runs
    _runs = folder
    return folder
