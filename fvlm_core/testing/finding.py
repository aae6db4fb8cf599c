"""What a check found, and the error that a plugin's test ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

from attrs import frozen

from fvlm_core.testing.clause import Clause, clause
from fvlm_core.utils.errors import FvlmError

Outcome = Literal["passed", "failed", "skipped"]


@frozen
class Finding:
    """One check of one component.

    kind, component: what was checked ("encoder", "acme:tiles"). check: what was tried, in words. clause: the line of
    the contract; None where there is none to name. text: why it failed or was skipped.
    """

    kind: str
    component: str
    check: str
    outcome: Outcome
    clause: Clause | None = None
    text: str = ""

    def __str__(self) -> str:
        where = f"{self.clause}; " if self.clause else f"{self.check}: "
        return f"{where}{self.text}" if self.text else f"{where}{self.outcome}"


class ContractError(FvlmError):
    """A component breaks its contract. findings: every check that failed."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        first = findings[0]
        count = f"{len(findings)} checks fail" if len(findings) > 1 else "a check fails"
        lines = [f"{first.kind} {first.component}: {count}"]
        lines += [f"  {found.check}\n    {found}" for found in findings]
        super().__init__("\n".join(lines))


class Broken(Exception):
    """The component does something else than the clause says; the text is what it did."""


class Skip(Exception):
    """There is nothing to check here, or no way to; the text says why."""


@frozen
class Promise:
    """One line of the contract and how it is tried.

    check: called with what the kind's `prepare` made. name: what is tried, in words. owner, phrase: see `clause`.
    """

    name: str
    owner: Any
    phrase: str
    check: Callable[[Any], None]

    @property
    def clause(self) -> Clause:
        """The line of the contract."""
        return clause(self.owner, self.phrase)


def promises(
    listed: list[Promise], name: str, owner: Any, phrase: str
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Add the decorated check to a kind's list."""

    def add(check: Callable[[Any], None]) -> Callable[[Any], None]:
        listed.append(Promise(name, owner, phrase, check))
        return check

    return add


def expect(condition: object, otherwise: str) -> None:
    """Raise `Broken` with what was seen unless the condition holds."""
    if not condition:
        raise Broken(otherwise)


def skip(reason: str) -> NoReturn:
    """Leave this check out."""
    raise Skip(reason)
