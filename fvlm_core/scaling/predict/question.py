"""What a prediction is asked of: values of the columns that a law reads, and whether they are all said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.points.points import meaning
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.parse_number import parse_count
from fvlm_registry.nearest import did_you_mean

At = Mapping[str, float | str]
"""Values of columns, and labels of groups, by name."""


@frozen
class Asked:
    """A question: n and d; n and budget; or budget alone, for its best use. at: of the law's other columns."""

    n: float | None = None
    d: float | None = None
    budget: float | None = None
    at: At = field(factory=dict[str, float | str])


def parse_at(texts: Sequence[str], model: FitModel) -> dict[str, float | str]:
    """`V=64,T=8` and `domain=code` as values by column. Raises `Problems`."""
    return values_at([part for text in texts for part in text.split(",")], model)


def values_at(parts: Sequence[str], model: FitModel) -> dict[str, float | str]:
    """`parse_at` for texts NAME=VALUE, one a column."""
    known = [*(name for name in model.columns if name not in ("n", "d")), *model.labels]
    out: dict[str, float | str] = {}
    problems: list[Problem] = []
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        name = name.lower() if name.lower() in ("n", "d", *known) and name not in known else name
        number = parse_count(value)
        if not (equals and name and value):
            problems.append(Problem(f'--at: expected NAME=VALUE, such as V=64, got "{part}"'))
        elif name in ("n", "d"):
            problems.append(Problem(f"--at {part}: {name.upper()} is said by --{name}"))
        elif name not in known:
            told = f"; it reads {', '.join(known)}" if known else "; it reads nothing beside N and D"
            near = did_you_mean(name, known) or told
            problems.append(Problem(f'--at {part}: fit "{model.name}" reads no column "{name}"{near}'))
        elif name in out:
            problems.append(Problem(f"--at: {name} is given twice"))
        elif name in model.labels:
            out[name] = value
        elif number is None or (number <= 0 and model.variable(name).positive):
            sign = "positive " if model.variable(name).positive else ""
            problems.append(Problem(f"--at {part}: expected a {sign}number for {meaning(model, name)}"))
        else:
            out[name] = number
    if problems:
        raise Problems(problems)
    return out


def check_question(asked: Asked, model: FitModel) -> None:
    """Raise `UsageError` unless the question says all that the law reads, nothing that it does not, and can be
    answered."""
    own = [name for name in model.columns if name not in ("n", "d")]
    missing = [name for name in (*own, *model.labels) if name not in asked.at]
    if missing:
        named = ", ".join(meaning(model, name) for name in missing)
        line = ",".join(f"{name}={'LABEL' if name in model.labels else 'NUMBER'}" for name in missing)
        raise UsageError(f'fit "{model.name}" reads {named}: say it with --at {line}')
    _check_unread(asked, model)
    given = (asked.n is not None, asked.d is not None, asked.budget is not None)
    if given in ((True, True, False), (False, False, True), (True, False, True)):
        return
    if own or asked.at:
        lacking = [
            name
            for name, there in zip(("n", "d"), given, strict=False)
            if name in model.columns and not there
        ]
        if not lacking and asked.budget is None:
            return
        if lacking:
            told = " and ".join(f"--{name}" for name in lacking)
            raise UsageError(f'fit "{model.name}" reads {", ".join(lacking).upper()} as well: say {told}')
    raise UsageError(
        "ask for the loss of a size on some data (--n and --d), of a size under a budget (--n and --budget), or for "
        "the best use of a budget (--budget alone)"
    )


def _check_unread(asked: Asked, model: FitModel) -> None:
    """Raise `UsageError` for an N, a D or a budget that would change nothing of the answer. Features may read any."""
    if model.features:
        return
    reads, of_sizes = model.columns, any(one.per == "size" for one in model.parameters)
    instead = ", ".join([*(name for name in reads if name not in ("n", "d")), *model.labels])
    say = f"; it reads {instead}, said by --at" if instead else ""
    if asked.budget is not None and (
        "d" not in reads or not (asked.n is not None or "n" in reads or of_sizes)
    ):
        lacks = "D" if "d" not in reads else "N"
        raise UsageError(f'fit "{model.name}" reads no {lacks}, so that a budget means nothing to it{say}')
    if asked.n is not None and "n" not in reads and not of_sizes and asked.budget is None:
        raise UsageError(f'fit "{model.name}" reads no N: leave --n out{say}')
    if asked.d is not None and "d" not in reads:
        raise UsageError(f'fit "{model.name}" reads no D: leave --d out{say}')
