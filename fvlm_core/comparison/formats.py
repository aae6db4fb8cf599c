"""The ablation table as text: Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from attrs import evolve

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
COLUMN = 229.0
"""Points that one column of a paper is wide: of LaTeX's own two; most journals have some more."""

_GAP = 12.0
"""Points between two columns of a table: twice `\\tabcolsep`."""

_SMALL = 0.925
"""Widths at \\small, 9 points, over those at 10."""

_WIDTHS = {
    **dict.fromkeys("il.,:;'!", 2.8),
    **dict.fromkeys("fjrst ()[]-", 3.9),
    **dict.fromkeys("mwMW%&@", 8.5),
    **dict.fromkeys("+=<>~#_", 7.8),
    **dict.fromkeys("ABCDEFGHIJKLNOPQRSTUVXYZ", 7.5),
}
"""Points of letters of Computer Modern at 10 points (cmr10.tfm), rounded up; of the others 5.6 at most."""

_FIRST = (
    "variant", "value", "seeds-and-samples", "these-weights", "difference", "verdict", "changes", "multiplier", "seeds",
)  # fmt: skip
"""Which columns a narrow table holds, the first of these before the others."""

_SIGNED = re.compile(r"(?<![\w.-])([+-])(\d[\d.]*)")


def to_markdown(tables: Sequence[ComparisonTable]) -> str:
    """Pipe tables, one after the other, notes as lists below."""
    return "\n".join(_markdown(table) for table in tables)


def to_latex(tables: Sequence[ComparisonTable]) -> str:
    r"""`tabular` with the rules of booktabs (\usepackage{booktabs}), notes below in small print."""
    return "\n".join(_latex(table) for table in tables)


def one_column(table: ComparisonTable, width: float = COLUMN) -> ComparisonTable:
    """The table with the columns that \\small letters have room for in one column of a paper: the metric and the
    interval of its difference first. Those that are the same in every row tell the rows not apart, and wait.

    width: of the column, in points.
    """
    by_name = {column.name: column for column in table.columns}
    order = [name for name in _FIRST if name in by_name]
    order += [name for name in by_name if name not in order]
    texts = {name: [column.show(row) for row in table.rows] for name, column in by_name.items()}
    order.sort(key=lambda name: name not in _FIRST[:2] and len(set(texts[name])) == 1 < len(table.rows))
    if "seeds-and-samples" in order and "these-weights" in order:  # the one holds the other
        order.remove("these-weights")
        order.append("these-weights")
    chosen: list[str] = []
    free = width + _GAP
    for name in order:
        need = _GAP + max(map(_points, [by_name[name].title, *texts[name]]))
        if need <= free or not chosen:
            chosen.append(name)
            free -= need
    left_out = tuple(name for name in by_name if name not in chosen)
    return evolve(table.only([name for name in by_name if name in chosen]), left_out=left_out)


def _points(text: str) -> float:
    """About how wide LaTeX sets a cell at \\small; a number's sign is as wide as mathematics has it."""
    signs = len(_SIGNED.findall(text))
    return _SMALL * (sum(_WIDTHS.get(sign, 5.6) for sign in text) + 4.0 * signs)


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
        *([f"% left out, for want of room: {', '.join(table.left_out)}"] if table.left_out else []),
        rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}",
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
