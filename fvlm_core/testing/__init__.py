"""Conformance checks for plugins: what the interfaces promise, tried on one component.

In a plugin's own tests:

    from fvlm_core.testing import check

    def test_it_keeps_the_contract():
        check("tiles", kind="encoder")

`fvlm plugins check` runs the same checks from the command line. Names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fvlm_core.testing.clause import Clause
    from fvlm_core.testing.conformance import check, examine
    from fvlm_core.testing.finding import ContractError, Finding

_HOME = {
    "Clause": "clause",
    "ContractError": "finding",
    "Finding": "finding",
    "check": "conformance",
    "examine": "conformance",
}

__all__ = ["Clause", "ContractError", "Finding", "check", "examine"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"fvlm_core.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
