"""Mutants: one small change of the code each, that breaks one promise, and the tests that must notice.

A list is a TOML file beside this one, whose first line is a comment that says what it is of. Each `[[mutant]]` has

- `file`: what is changed, from the root of the tree;
- `before`, `after`: text that stands there exactly once, and what takes its place;
- `promise`: what is broken, in a few words;
- `tests`: files (or tests) of which at least one test must fail;
- `survives`: the reason, of a mutant that no fast test can notice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path

from attrs import field, frozen
from warm import LIBRARIES

ROOT = Path(__file__).resolve().parents[2]
LISTS = Path(__file__).parent
PROMISED_SHARE = 0.95
"""Of all mutants, the least that is killed by tests that `pytest` alone runs."""
SECONDS = 240
"""A mutant whose tests take longer than this is killed: what does not end is noticed."""


@frozen
class Mutant:
    """See the text above; `list` is the name of its list."""

    file: str
    before: str
    after: str
    promise: str
    tests: list[str]
    list: str
    survives: str = field(default="")

    def __str__(self) -> str:
        return f"{self.list}: {self.promise}"

    def applied(self, text: str) -> str:
        """The file's text with the change. Raises `ValueError` where `before` does not stand there once."""
        if (times := text.count(self.before)) != 1:
            raise ValueError(
                f"{self.list}.toml: {self.promise!r}: `before` stands {times} times in {self.file}"
            )
        return text.replace(self.before, self.after)


def mutants() -> list[Mutant]:
    """Of all lists, in order."""
    return [
        Mutant(**entry, list=path.stem)
        for path in sorted(LISTS.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["mutant"]
    ]


def about(name: str) -> str:
    """What a list is of, in its own words."""
    return (LISTS / f"{name}.toml").read_text().partition("\n")[0].removeprefix("# ")


def copy_tree(to: Path) -> None:
    """What git tracks, and what is new, so that work that is not committed yet is what is tried."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    if (shared := ROOT.parent / "shared").is_dir():
        (to.parent / "shared").symlink_to(shared)


def run(
    mutant: Mutant | None, tests: list[str], tree: Path, log: Path, seconds: float = SECONDS
) -> int | None:
    """Tests in `tree`, a copy of ours, with the mutant's change. Returns pytest's exit code, None after `seconds`."""
    changed, original = (tree / mutant.file, (tree / mutant.file).read_text()) if mutant else (None, "")
    if mutant and changed:
        changed.write_text(mutant.applied(original))
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    process = context.Process(target=_test, args=(tree, tests, log))
    try:
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            return None
        return process.exitcode
    finally:
        if changed:
            changed.write_text(original)


def _test(tree: Path, tests: list[str], log: Path) -> None:
    os.setsid()
    os.chdir(tree)
    ours = [str(tree), str(tree / "plugins"), str(tree / "registry")]
    sys.path[:] = ours + [each for each in sys.path if not each.startswith(str(ROOT))]
    os.environ["PYTHONPATH"] = os.pathsep.join(ours)
    os.environ["PYTHONDONTWRITEBYTECODE"] = (
        "1"  # two versions of a file within one second look alike to the cache
    )
    sys.dont_write_bytecode = True
    import pytest

    with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        code = pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", "--tb=line", *tests])
        file.flush()
    os._exit(int(code))
