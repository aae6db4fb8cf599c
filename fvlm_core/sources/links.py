"""Links in the folder of a download: which lead to its own files, and which lead out of it."""

from __future__ import annotations

from pathlib import Path


def leads_out(path: Path, root: Path) -> bool:
    """Whether a file lies outside of a folder once its links are followed. root: without links itself.

    In a cache of the Hugging Face hub (`snapshots/REVISION/...`), every file is a link to the `blobs` of the same
    repository: they belong to it, wherever below a revision the folder begins.
    """
    target = path.resolve()
    if target.is_relative_to(root):
        return False
    revisions = (folder for folder in (root, *root.parents) if folder.parent.name == "snapshots")
    return not any(target.parent == revision.parent.parent / "blobs" for revision in revisions)
