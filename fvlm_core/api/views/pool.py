"""Which rows of a pool to buy, as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvlm_core.api.views.console import new_table, print_whole

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.scaling.pool.advice import PoolAdvice


def print_pool(console: Console, advice: PoolAdvice, again: str) -> None:
    """Print the rows, what they cost and are expected to tell, and what to know. again: where rows go that are measured
    now."""
    laws = ", ".join(
        law if len(advice.laws) == 1 else f"{law} ({share:.0%})"
        for law, share in zip(advice.laws, advice.shares, strict=True)
    )
    count = len(advice.target)
    of_rows = f"{count} row{'' if count == 1 else 's'}"
    _say(console, f"{laws}: what to measure next to predict {advice.target_name} of {of_rows}", "bold")
    now = int(advice.rows["now"].sum())
    _say(
        console,
        f"{advice.measured} rows are measured, {advice.offered} offered; budget {advice.budget:g}, "
        f"spent {advice.spent:.4g} on {len(advice.rows)} rows",
        "dim",
    )
    if len(advice.rows):
        # Before anything is measured errors are in no unit that says something.
        hidden = ("now",) if advice.measured else ("now", "error")
        columns = [name for name in advice.rows.columns if name not in hidden]
        table = new_table("", *columns, right=tuple(columns))
        for row in advice.rows.to_dict("records"):
            shown = [
                f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in columns
            ]
            table.add_row("now" if row["now"] else "", *shown)
        print_whole(console, table)
    if advice.measured:
        _say(
            console,
            f"expected error over the target: {advice.before:.3g}, after these rows {advice.after:.3g}",
        )
    if 0 < now < len(advice.rows):
        _say(console, f'measure the {now} rows marked "now", add them to {again}, and ask again', "dim")
    for remark in advice.remarks:
        _say(console, f"  note: {remark}", "dim")


def _say(console: Console, text: str, style: str | None = None) -> None:
    # A terminal wraps at words; in a pipe a line stays a line, for grep.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)
