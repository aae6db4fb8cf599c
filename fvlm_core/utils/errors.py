"""Errors a user can act on. The command line prints their text and no traceback."""

from __future__ import annotations

from attrs import field, frozen

from fvlm_core.utils.listing import lines


class FvlmError(Exception):
    """Something failed that the user can understand: the message says what, where, and the way out.

    `exit_code` is what `fvlm` exits with: 1 for a failure, 2 for misuse.
    """

    exit_code = 1


class UsageError(FvlmError):
    """The command, a recipe or a file the user wrote is wrong. Exit code 2."""

    exit_code = 2


class MissingData(UsageError):
    """Data that a recipe names are not on this machine; the message holds the command that fetches them."""


class MissingWeights(UsageError):
    """Pretrained weights are not on this machine; the message holds the command that fetches them."""


@frozen
class Problem:
    """One thing wrong with an input, and where: printed as `file:line: key: text`.

    unseen: of a sample that is left out because what it shows is missing or cannot be read, why, in words that samples
    share; empty for everything else. samples: how many it stands for.
    """

    text: str
    file: str = ""
    line: int | None = None
    key: str = ""
    unseen: str = field(default="", kw_only=True)
    samples: int = field(default=1, kw_only=True)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else self.file
        return ": ".join(part for part in (where, self.key, self.text) if part)


class Problems(UsageError):
    """Every problem found in one input, reported together rather than one a run: the first few in words, all of them in
    `problems`."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.file, p.line or 0))
        super().__init__(lines(self.problems))
