"""Options that say what training costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from fvlm_core.cli.choice import NearestChoice

F = TypeVar("F", bound=Callable[..., Any])


def _cost_option(help: str) -> Callable[[F], F]:
    return click.option(
        "--cost",
        "cost_name",
        type=NearestChoice(["ledger", "6ND"]),
        default="ledger",
        show_default=True,
        help=help,
    )


cost_option = _cost_option(
    "FLOPs of a sample: the ledger's, from points or planned from recipes; or 6ND, for text whose D is tokens."
)

compute_option = _cost_option(
    "C, the training FLOPs of a point: as runs and tables hold it; or 6ND, for text whose D is tokens."
)
