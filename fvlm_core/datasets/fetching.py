"""Downloads from the Hugging Face hub: what would come, whether it fits, and the download. Asked for by hand alone."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.utils.errors import FvlmError, UsageError


@frozen
class HubFiles:
    """Files of a data set at one revision. size: bytes of all of them."""

    hub: str
    revision: str
    patterns: tuple[str, ...]
    count: int
    size: int


def look_up(hub: str, patterns: Sequence[str]) -> HubFiles:
    """What of a data set matches `patterns`, from the hub. Raises `FvlmError` when it cannot be reached, `UsageError`
    when it refuses or nothing matches."""
    from huggingface_hub import HfApi

    with _explained(hub):
        info = HfApi().dataset_info(hub, files_metadata=True)
    matching = [
        file for file in info.siblings or [] if any(fnmatch(file.rfilename, pattern) for pattern in patterns)
    ]
    if not matching:
        raise UsageError(f"{hub}: none of its files matches {' or '.join(patterns)}")
    size = sum(file.size or 0 for file in matching)
    return HubFiles(hub, info.sha or "main", tuple(patterns), len(matching), size)


def download(files: HubFiles, to: Path, bars: type[Any] | None = None) -> None:
    """Get the files that are not there yet. bars: what shows how far it is, a class as tqdm's.

    Raises `FvlmError` when the disk is too small or the hub goes away.
    """
    from huggingface_hub import snapshot_download

    to.mkdir(parents=True, exist_ok=True)
    there = sum(file.stat().st_size for file in to.rglob("*") if file.is_file())
    free = shutil.disk_usage(to).free
    if files.size - there > free:
        text = f"needs {files.size / 1e9:,.1f} GB ({there / 1e9:,.1f} GB are there), {free / 1e9:,.1f} GB are free"
        raise FvlmError(f"{to}: {files.hub} {text}")
    with _explained(files.hub):
        snapshot_download(
            files.hub,
            repo_type="dataset",
            revision=files.revision,
            local_dir=to,
            allow_patterns=list(files.patterns),
            tqdm_class=bars,
        )


@contextmanager
def _explained(hub: str) -> Generator[None]:
    """What the hub's library raises, in words that say what to do."""
    from huggingface_hub import errors

    # The second is that of the HTTP client that this release of the library is built on.
    unreachable: tuple[type[Exception], ...] = (OSError, vars(errors)["HTTPError"])

    page = f"https://huggingface.co/datasets/{hub}"
    try:
        yield
    except errors.GatedRepoError as error:
        text = f"{hub}: its terms have to be accepted at {page}, and this machine logged in: hf auth login"
        raise UsageError(text) from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(f"{hub}: no such data set at {page}, or a private one (hf auth login)") from error
    except errors.OfflineModeIsEnabled as error:
        raise UsageError(f"{hub}: HF_HUB_OFFLINE is set, so that nothing is downloaded") from error
    except unreachable as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FvlmError(
            f"{hub}: the hub cannot be reached ({reason}). The same command continues a download that was cut off; "
            f"on another machine: hf download {hub} --repo-type dataset --local-dir DIR"
        ) from error
