"""The ablation table as text: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from fvlm_core.comparison.table import ComparisonTable
from fvlm_core.utils.csv_text import csv_text

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': "''",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_SIGNED = re.compile(r"(?<![\w.-])([+-])(\d[\d.]*)")


def to_markdown(tables: Sequence[ComparisonTable]) -> str:
    """Pipe tables, one after the other, notes as lists below."""
    return "\n".join(_markdown(table) for table in tables)


def to_latex(tables: Sequence[ComparisonTable]) -> str:
    r"""`tabular` with the rules of booktabs (\usepackage{booktabs}), notes below in small print."""
    return "\n".join(_latex(table) for table in tables)


def to_csv(tables: Sequence[ComparisonTable]) -> str:
    """One line a row of all tables, every value at full precision; notes are in the other formats."""
    rows = [[row[key] for key in table.keys] for table in tables for row in table.rows]
    return csv_text(tables[0].keys, rows)


def to_json(tables: Sequence[ComparisonTable]) -> str:
    """A list of tables with their values and notes."""
    return json.dumps([table.to_json() for table in tables], indent=2, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Sequence[ComparisonTable]], str]] = {
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}

SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}


def _markdown(table: ComparisonTable) -> str:
    head = [column.title for column in table.columns]
    rules = ["---:" if column.number else "---" for column in table.columns]
    rows = [*table.texts("variant"), *table.texts("effect")]
    lines = [
        _pipes(head),
        _pipes(rules),
        *(_pipes([_literal(cell) for cell in row]) for row in rows),
    ]
    notes = [f"- {_literal(note)}" for note in table.notes]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _literal(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex(table: ComparisonTable) -> str:
    layout = "".join("r" if column.number else "l" for column in table.columns)
    effects = table.texts("effect")
    lines = [
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        _ampersands([column.title for column in table.columns]),
        r"\midrule",
        *(_ampersands(row) for row in table.texts("variant")),
        *([r"\midrule", *(_ampersands(row) for row in effects)] if effects else []),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\noindent{{\footnotesize {_escaped(note)}}}" for note in table.notes),
    ]
    return "\n".join(lines) + "\n"


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + r" \\"


def _escaped(text: str) -> str:
    """Text that LaTeX prints as it is; a number with a sign as mathematics, so that its minus is one."""
    return _SIGNED.sub(r"$\1\2$", "".join(_LATEX.get(sign, sign) for sign in text))
