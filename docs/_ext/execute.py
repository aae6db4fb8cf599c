"""Executing a page: its blocks in order, in one folder, as somebody who follows it would; what comes of them beside
what the page shows.

    python docs/_ext/execute.py docs/tutorial.md [--write]       # --write puts what was printed into the page

Blocks marked `kept` take longer, and are executed here and where a test asks for them.

Numbers may differ from those shown, words may not; `...` stands for what is left out.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from attrs import frozen
from blocks import Block, Shown, blocks

WIDTH = "100"
GAP = "..."
_NUMBER = re.compile(r"(?<![A-Za-z])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?::\d\d)*")


@frozen
class Executed:
    """A block with its exit code and all it printed, without spaces at the ends of lines."""

    block: Block
    code: int
    lines: tuple[str, ...]


def execute(page: Path, folder: Path, kept: bool = False) -> list[Executed]:
    """Execute the marked blocks of a page in an empty folder; it ends with the first that exits with another code.

    kept: those marked so, too.

    The environment is that of the caller, without settings of fvlm, with this Python's programs first and a cache of
    its own; what one block exports, the next ones see.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FVLM_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}",
        "FVLM_CACHE": str(folder / ".cache"),
        "COLUMNS": WIDTH,
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    done: list[Executed] = []
    for block in blocks(page):
        if block.mark == "file":
            (folder / block.argument).write_text(block.code)
        elif block.mark in ("run", "fails", *(["kept"] if kept else [])):
            done.append(_execute(block, folder, environment))
            if done[-1].code != expected_code(block):
                break
    return done


def _execute(block: Block, folder: Path, environment: dict[str, str]) -> Executed:
    kept = folder / ".exports"
    before = f". {kept}\n" if kept.exists() else ""
    script = f"set -e\n{before}{block.code}\nexport -p > {kept}\n"
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = (line.replace(f"{folder}/", "").rstrip() for line in ended.stdout.strip("\n").splitlines())
    return Executed(block, ended.returncode, tuple(lines))


def expected_code(block: Block) -> int:
    """The exit code that a block promises."""
    return int(block.argument) if block.mark == "fails" else 0


def problems(executed: Executed) -> list[str]:
    """What did not come out as the page has it."""
    block = executed.block
    expected = expected_code(block)
    printed = "\n".join(executed.lines)
    if executed.code != expected:
        return [f"{block.place}: exit code {executed.code} in place of {expected}:\n{printed}"]
    if block.mark == "fails" and (block.shown is None or not block.shown.lines):
        return [f"{block.place}: the error is not shown:\n{printed}"]
    if block.shown is None:
        return []
    try:
        align(block.shown, executed.lines)
    except ValueError as error:
        return [f"{block.place}: {error}; printed was:\n{printed}"]
    return []


def align(shown: Shown, printed: Sequence[str]) -> list[int | None]:
    """For each line that is shown, the line that was printed; None for gaps. ValueError: a line has none.

    Where several lines are alike but for their numbers, it is the one with most of the same numbers.
    """
    pieces = [list(piece) for gap, piece in groupby(shown.lines, _is_gap) if not gap]
    loose_start, loose_end = (bool(shown.lines) and _is_gap(shown.lines[end]) for end in (0, -1))

    @cache
    def place(which: int, start: int) -> tuple[int, ...] | None:
        """Where the pieces from this one on begin, none of them before `start`."""
        if which == len(pieces):
            return () if loose_end or start == len(printed) else None
        size = len(pieces[which])
        starts = range(start, len(printed) - size + 1) if which or loose_start else range(start, start + 1)
        for at in sorted(starts, key=lambda at: -_same_words(pieces[which], printed[at : at + size])):
            rest = place(which + 1, at + size) if _all_alike(pieces[which], printed[at : at + size]) else None
            if rest is not None:
                return at, *rest
        return None

    begins = place(0, 0)
    if begins is None:
        raise ValueError(_first_wrong(shown.lines, printed))
    places = iter([at + line for at, piece in zip(begins, pieces, strict=True) for line in range(len(piece))])
    return [None if _is_gap(line) else next(places) for line in shown.lines]


def _first_wrong(shown: Sequence[str], printed: Sequence[str]) -> str:
    """The first line that is out of place, reading both from the top."""
    at, free = 0, False
    for line in shown:
        if _is_gap(line):
            free = True
            continue
        stop = len(printed) if free else min(at + 1, len(printed))
        found = next((here for here in range(at, stop) if _alike(line, printed[here])), None)
        if found is None:
            return f'"{line.strip()}" was not printed {"from there on" if free else "there"}'
        at, free = found + 1, False
    return (
        f'"{printed[at].strip()}" was printed and is not shown'
        if at < len(printed)
        else "the lines are in no order"
    )


def _is_gap(line: str) -> bool:
    return line.strip() == GAP


def _all_alike(shown: Sequence[str], printed: Sequence[str]) -> bool:
    return len(shown) == len(printed) and all(map(_alike, shown, printed))


def _same_words(shown: Sequence[str], printed: Sequence[str]) -> int:
    pairs = zip(" ".join(shown).split(), " ".join(printed).split(), strict=False)
    return sum(one == other for one, other in pairs)


def _alike(shown: str, printed: str) -> bool:
    shown, printed = _without_numbers(shown), _without_numbers(printed)
    return printed.startswith(shown.removesuffix(GAP).rstrip()) if shown.endswith(GAP) else shown == printed


def _without_numbers(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line).split())


def rewritten(text: str, done: Sequence[Executed]) -> str:
    """The page with what was printed in the place of what it shows; an empty block is filled with everything."""
    lines = text.splitlines()
    for executed in reversed(done):
        shown = executed.block.shown
        if shown is None:
            continue
        new = list(executed.lines)
        if shown.lines:
            pairs = zip(shown.lines, align(shown, executed.lines), strict=True)
            new = [line if at is None else _cut(line, executed.lines[at]) for line, at in pairs]
        lines[shown.first : shown.first + len(shown.lines)] = new
    return "\n".join(lines) + "\n"


def _cut(shown: str, printed: str) -> str:
    if not shown.endswith(GAP):
        return printed
    words = len(shown.removesuffix(GAP).split())
    kept = re.match(rf"\s*(?:\S+\s*){{{words}}}", printed)
    return f"{kept.group().rstrip()} {GAP}" if kept else shown


def main() -> int:
    """Execute a page; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--write", action="store_true", help="put what was printed into the page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        done = execute(arguments.page, Path(folder).resolve(), kept=True)
    wrong = [problem for executed in done for problem in problems(executed)]
    print("\n".join(wrong) or f"{len(done)} blocks came out as shown")
    if arguments.write:
        good = [executed for executed in done if not problems(executed) or _is_empty(executed)]
        arguments.page.write_text(rewritten(arguments.page.read_text(), good))
    return 1 if wrong else 0


def _is_empty(executed: Executed) -> bool:
    shown = executed.block.shown
    return shown is not None and not shown.lines and executed.code == expected_code(executed.block)


if __name__ == "__main__":
    raise SystemExit(main())
