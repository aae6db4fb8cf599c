"""A Hugging Face Space that shows a trained model: a folder to push, which needs nothing of fvlm."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from huggingface_hub import RepoCard

from fvlm_core.hf.export import release
from fvlm_core.runs.store import StoredRun
from fvlm_core.utils.atomic_files import empty_folder, usual_modes

GRADIO = "6.31.0"
"""The release that the page was tried with."""

_NEEDED = ("torch", "transformers", "av", "pillow")


def write_space(run: StoredRun, to: Path, weights: str | None = None) -> list[Path]:
    """README.md with what the hub reads of a Space, requirements.txt, app.py, and the model as `release` writes it, in
    `model`; the files written. Raises `UsageError` as `release` does."""
    empty_folder(to)
    written = release(run, to / "model", weights)
    code = Path(__file__).with_name("standalone") / "space_app.py"
    (to / "app.py").write_text(code.read_text(encoding="utf-8"), encoding="utf-8")
    (to / "requirements.txt").write_text(
        "".join(f"{name}=={_public(name)}\n" for name in _NEEDED), encoding="utf-8"
    )
    title = f"{run.recipe}/{run.id}"
    RepoCard(
        f"---\ntitle: {title}\nsdk: gradio\nsdk_version: {GRADIO}\napp_file: app.py\npinned: false\n---\n\n"
        f"# {title}\n\nShows the model in `model`: a video and a question in, text and gaze out, frame by frame. "
        f"Written by `fvlm demo --export-space`; see `model/README.md` for what the model is.\n"
    ).save(to / "README.md")
    usual_modes(to)
    return sorted([*written, to / "README.md", to / "app.py", to / "requirements.txt"])


def _public(name: str) -> str:
    """A version without what a build adds to it (`+cpu`)."""
    return version(name).partition("+")[0]
