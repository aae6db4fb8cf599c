"""A page of a paper, made by a real LaTeX."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def compiled(folder: Path, body: str) -> str:
    """The page as text; `page.log` says what LaTeX had to say of it."""
    (folder / "page.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage[T1]{fontenc}\\usepackage[utf8]{inputenc}\n"
        "\\usepackage{graphicx,booktabs,textcomp}\n\\graphicspath{{figures/}}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"], cwd=folder, capture_output=True,
        text=True, errors="replace", check=False, env=os.environ | {"SOURCE_DATE_EPOCH": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout
    return subprocess.run(
        ["pdftotext", "page.pdf", "-"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
