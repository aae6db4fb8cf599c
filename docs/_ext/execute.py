"""Executing a page: its blocks in order, in one folder, as somebody who follows it would; what comes of them beside
what the page shows.

    python docs/_ext/execute.py docs/tutorial.md [--write]       # --write puts what was printed into the page

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


def execute(page: Path, folder: Path) -> list[Executed]:
    """Execute the marked blocks of a page in an empty folder; it ends with the first that exits with another code.

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
        elif block.mark in ("run", "fails"):
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
    """For each line that is shown, the line that was printed; None for gaps. ValueError: a line has none."""
    found: list[int | None] = []
    at, free = 0, False
    for line in shown.lines:
        if line.strip() == GAP:
            found.append(None)
            free = True
            continue
        stop = len(printed) if free else min(at + 1, len(printed))
        place = next((here for here in range(at, stop) if _alike(line, printed[here])), None)
        if place is None:
            raise ValueError(f'"{line.strip()}" was not printed {"from there on" if free else "there"}')
        found.append(place)
        at, free = place + 1, False
    if at < len(printed) and not free:
        raise ValueError(f'"{printed[at].strip()}" was printed and is not shown')
    return found


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
        done = execute(arguments.page, Path(folder).resolve())
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
