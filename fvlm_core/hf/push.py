"""An exported folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from fvlm_core.utils.errors import FvlmError, UsageError


def check_repository(name: str) -> None:
    """Raise `UsageError` for what is no OWNER/NAME of a repository, before anything is written."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f'--push "{name}": expected OWNER/NAME: {error}') from None
    if "/" not in name:
        raise UsageError(f'--push "{name}": expected OWNER/NAME, a user or an organisation before the name')


def push(folder: Path, name: str) -> str:
    """Upload a folder to a repository, which is made, private, where it is not there; where it is then. Raises
    `FvlmError` with what the hub said."""
    api = HfApi()
    try:
        made: Any = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Exported by fvlm")
    except OfflineModeIsEnabled:
        raise FvlmError(
            f"{folder} is written and was not pushed to {name}: HF_HUB_OFFLINE is set. Without it: "
            f"hf upload {name} {folder}"
        ) from None
    except Exception as error:  # whatever the hub's client and what is below it raise
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise FvlmError(
            f"{folder} is written and was not pushed to {name}: {said}. `hf auth login` signs in; "
            f"then: hf upload {name} {folder}"
        ) from error
    return str(made)
