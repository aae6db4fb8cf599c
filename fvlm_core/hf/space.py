"""A Hugging Face Space that shows a trained model: a folder to push, which needs nothing of fvlm."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import RepoCard

from fvlm_core.hf.export import release
from fvlm_core.runs.store import StoredRun
from fvlm_core.utils.atomic_files import empty_folder, usual_modes

GRADIO = "6.31.0"
"""The release that the page was tried with."""

_NEEDED = ("torch", "transformers", "av")
"""Pillow is needed too: gradio brings it, and takes none from 13.0 on."""

_CODE = {"space_app.py": "app.py", "space_decode.py": "decode.py"}


def write_space(run: StoredRun, to: Path, weights: str | None = None) -> list[Path]:
    """README.md with what the hub reads of a Space, requirements.txt, app.py and decode.py, and the model as `release`
    writes it, in `model`; the files written. Raises `UsageError` as `release` does."""
    empty_folder(to)
    written = release(run, to / "model", weights)
    for name, there in _CODE.items():
        code = Path(__file__).with_name("standalone") / name
        (to / there).write_text(code.read_text(encoding="utf-8"), encoding="utf-8")
    (to / "requirements.txt").write_text(
        "".join(f"{name}=={_public(name)}\n" for name in _NEEDED), encoding="utf-8"
    )
    python = ".".join(platform.python_version_tuple()[:2])  # a Space's own is 3.10, which these do not run on
    title = f"{run.recipe}/{run.id}"
    RepoCard(
        f"---\ntitle: {title}\nsdk: gradio\nsdk_version: {GRADIO}\n"
        f'python_version: "{python}"\n'
        f"app_file: app.py\npinned: false\n---\n\n"
        f"# {title}\n\nShows the model in `model`: a video and a question in, text and gaze out, frame by frame. "
        f"Written by `fvlm demo --export-space`; see `model/README.md` for what the model is.\n"
    ).save(to / "README.md")
    usual_modes(to)
    return sorted([*written, *(to / name for name in ("README.md", "requirements.txt", *_CODE.values()))])


def _public(name: str) -> str:
    """A version without what a build adds to it (`+cpu`)."""
    return version(name).partition("+")[0]
