"""What became of every mutant, as a page.

`pytest -m mutants --write-mutants docs/measurements/mutants.md tests/mutants` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mutants.mutant import Mutant, about, mutants

MUTANT = "mutant"
"""The property of a test's report: the mutant, whether it was killed, and after how many seconds."""

FOLDERS = r"^(\w+/)+"
"""Of a test's path: names of test files are unique, as the documentation says them."""

HEAD = """# Mutants

Each row is one small change of the code that breaks one promise; the tests that it names must notice. Written by
`pytest -m mutants --write-mutants docs/measurements/mutants.md tests/mutants`; the lists are in `tests/mutants/`.
Seconds are of a process that has the libraries already, on a machine that others were using.
"""


def page(found: Mapping[str, tuple[bool, float]]) -> str:
    """Markdown, a table a list. found: whether a mutant was killed, and after how many seconds, by its name."""
    known = [mutant for mutant in mutants() if str(mutant) in found]
    killed = sum(found[str(mutant)][0] for mutant in known)
    parts = [HEAD, f"{killed} of {len(known)} are killed ({100 * killed / max(1, len(known)):.1f} %).\n"]
    for name in dict.fromkeys(mutant.list for mutant in known):
        own = [mutant for mutant in known if mutant.list == name]
        count = sum(found[str(mutant)][0] for mutant in own)
        parts += [f"## {about(name)}\n", f"{count} of {len(own)} are killed.\n", _table(own, found)]
    return "\n".join(parts)


def _table(own: list[Mutant], found: Mapping[str, tuple[bool, float]]) -> str:
    lines = ["| promise | changed in | noticed by | seconds |", "|---|---|---|---:|"]
    for mutant in own:
        killed, seconds = found[str(mutant)]
        tests = ", ".join(f"`{re.sub(FOLDERS, '', test)}`" for test in mutant.tests)
        noticed = tests if killed else f"**none**: {mutant.survives or 'it survived'}"
        cells = (mutant.promise.replace("|", "\\|"), f"`{mutant.file}`", noticed, f"{seconds:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
