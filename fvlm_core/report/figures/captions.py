"""What a figure shows, in a file beside it: as text, and as a figure environment that a paper in LaTeX reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.report.figures.formula import GREEK, formula
from fvlm_core.report.figures.look import MM, current
from fvlm_core.report.figures.style import caption_of
from fvlm_core.utils.atomic_files import write_text
from fvlm_core.utils.visible_text import visible

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "\u00a0": "~", "·": r"\textperiodcentered{}", "…": r"\dots{}", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$",
    "−": "$-$", "–": "--", "—": "---", "“": "``", "”": "''", "‘": "`", "’": "'", "±": r"$\pm$", "→": r"$\rightarrow$",
}  # fmt: skip
"""What LaTeX would read as something else, and marks that its fonts may lack."""

_PARAMETER = re.compile(rf"\b({'|'.join(GREEK)})\b")

_POWER = re.compile(r"(?<=[\w*] )~ ([A-Za-z]\w*)\^(\w+)")


def latex(text: str, formulae: Sequence[str] = ()) -> str:
    """A text for LaTeX. formulae: laws as people type them, which become mathematics where the text has them."""
    kept: list[str] = []

    def keep(mathematics: str) -> str:
        kept.append(mathematics)
        return f"\ue000{len(kept) - 1}\ue001"  # private use: in no text, since `visible` has spelt it out

    text = visible(text).replace("\ue000", "?").replace("\ue001", "?")
    for form in sorted(set(formulae), key=len, reverse=True):
        if form in text and (typeset := formula(form)) != form:
            text = text.replace(form, keep(typeset))
    text = _POWER.sub(lambda found: keep(f"$\\sim {found[1]}^{{{found[2]}}}$"), text)
    text = _PARAMETER.sub(lambda found: keep(f"$\\{found[1]}$"), text)
    text = "".join(_SPECIAL.get(mark, mark) for mark in text)
    return re.sub("\ue000(\\d+)\ue001", lambda found: kept[int(found[1])], text)


def write_caption(figure: Figure, file: Path, laws: Sequence[FitModel] = ()) -> list[Path]:
    """Write the caption of a figure that is in `law.pdf` beside it, as `law-caption.txt` and `law-caption.tex`: the
    files. A paper's own `law.tex` is left alone.

    What is for LaTeX is a figure environment, over both columns of a paper where the figure is as wide, to be read by
    `\\input`.
    """
    paragraphs = caption_of(figure)
    if not paragraphs:
        return []
    look = current()
    width = float(figure.get_size_inches()[0])
    forms = [law.form for law in laws] + [law.reduced.form for law in laws if law.reduced is not None]
    wide = "*" if width > (look.column + 1) * MM else ""
    text, tex = (file.with_name(f"{file.stem}-caption{suffix}") for suffix in (".txt", ".tex"))
    write_text(text, "\n\n".join(paragraphs) + "\n")
    body = "\n\n".join(latex(one, forms) for one in paragraphs).replace("\n\n", "\n  ")
    write_text(
        tex,
        f"\\begin{{figure{wide}}}\n"
        "  \\centering\n"
        f"  \\includegraphics[width={width / MM:.0f}mm]{{{file.stem}}}\n"
        f"  \\caption{{{body}}}\n"
        f"  \\label{{fig:{file.stem}}}\n"
        f"\\end{{figure{wide}}}\n",
    )
    return [text, tex]
