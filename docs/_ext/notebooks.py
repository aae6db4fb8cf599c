"""Executing a notebook: its cells in order, in one folder, as somebody who opens it would.

python docs/_ext/notebooks.py docs/notebooks/quickstart.ipynb [--write]     # --write keeps what came out in the file
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

SECONDS = 900
"""Most of one cell."""

_OF_LIBRARIES = "TqdmWarning"
"""In what is said on stderr where ipywidgets is not installed."""


def read(file: Path) -> Any:
    """A notebook as it stands."""
    notebook: Any = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(file: Path, folder: Path) -> Any:
    """The notebook with what its cells give in an empty folder, without settings of fvlm and with a cache of its own.

    Raises `nbclient.exceptions.CellExecutionError` at the first cell that fails.
    """
    notebook = read(file)
    settings = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("FVLM_")}
    os.environ["FVLM_CACHE"] = str(folder / ".cache")
    try:
        client: Any = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}})
        client.execute()
    finally:
        del os.environ["FVLM_CACHE"]
        os.environ |= settings
    return notebook


def keep(notebook: Any, file: Path) -> None:
    """Write what came out, without times and the names of this machine's Python."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if _OF_LIBRARIES not in one.get("text", "")]
    notebook.metadata.language_info = {"name": "python"}
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, file)


def main() -> None:
    """Execute the notebooks that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    for file in asked.notebooks:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(file, Path(folder))
        if asked.write:
            keep(notebook, file)


if __name__ == "__main__":
    main()
