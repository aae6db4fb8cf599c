"""Which column of a table is which: the names that are known, and those that a user gives."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from fvlm_core.interfaces.fit import FitModel, Variable
from fvlm_core.scaling.points.column_names import HEADERS, LAST, SIZES, USUAL, meant, plainly
from fvlm_core.scaling.points.counts import D_KINDS, N_KINDS, CountKind, DKind, NKind
from fvlm_core.scaling.points.dialect import Decimal
from fvlm_core.scaling.points.points import AS_GIVEN, MEANING, NEEDED, NUMBERS, TEXT, WEIGHTS
from fvlm_core.utils.errors import Problem, Problems
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean

if TYPE_CHECKING:
    from fvlm_core.scaling.points.wide import Outputs
    from fvlm_core.utils.filter_expression import Condition

UNITS = re.compile(r"(?:in_)?(?:k|m|b|t|g|mio|mrd|thousands?|millions?|billions?|trillions?|1e\d+|10_\d+)")

STANDARD = (*TEXT, *NUMBERS)

COUNTED = {"samples", "tokens", "frames", "flops"}
"""Words in a header that say what it counts."""


@frozen
class ColumnChoices:
    """What a user says about the columns of tables.

    named: the header of a column, by column. n, d: what N and D count, which also says under which header they are
    looked for; None: under the known ones, whatever they count. extras: other headers, which filters read. reads:
    others that laws read, where a table has them. variables: columns that laws declare. labels: columns of labels that
    they tell groups by. needed: of all of these, those without which there is no point. unread: standard ones that no
    law reads: where a table has several that it could be, none is taken, and what cannot be is not known. warmup: steps
    of the linear warm-up before each run's first step. decimal: "." or ",", the mark of decimals; "" for what the file
    shows. outputs: of wide tables, which columns are outputs. where: conditions; what does not meet them
    needs no loss. None: nothing can be left out.
    """

    named: Mapping[str, str] = field(factory=dict)
    n: NKind | None = None
    d: DKind | None = None
    extras: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    labels: tuple[str, ...] = ()
    needed: tuple[str, ...] = NEEDED
    unread: tuple[str, ...] = ()
    warmup: int = 0
    decimal: Decimal = ""
    outputs: Outputs | None = None
    where: tuple[Condition, ...] | None = None

    @classmethod
    def of(cls, laws: Sequence[FitModel], **how: Any) -> ColumnChoices:
        """The choices of a user who asks these laws. how: the other fields."""
        variables: dict[str, Variable] = {}
        for one in (one for law in laws for one in law.variables):
            first = variables.setdefault(one.name, one)
            headers = dict.fromkeys([*first.headers, *one.headers])
            positive = first.positive and one.positive
            variables[one.name] = evolve(first, headers=tuple(headers), positive=positive)
        labels = tuple(dict.fromkeys(label for law in laws for label in law.labels))
        # N is looked up beside the file, and the others are asked for point by point.
        known = ("d", "loss", *variables, *labels)
        needed = tuple(name for name in known if any(law.needed(name) for law in laws)) if laws else NEEDED
        unread = tuple(name for name in ("n", *NEEDED) if laws and not any(_reads(law, name) for law in laws))
        return cls(
            reads=tuple(dict.fromkeys(column for law in laws for column in law.reads)),
            variables=tuple(variables.values()),
            labels=labels,
            needed=needed,
            unread=unread,
            **how,
        )

    @property
    def further(self) -> tuple[str, ...]:
        """The columns beside the standard ones that are looked for."""
        names = [
            *(one.name for one in self.variables),
            *self.labels,
            *self.reads,
            *(w for w in WEIGHTS if w in self.named),
        ]
        return tuple(name for name in dict.fromkeys(names) if name not in STANDARD)


@frozen
class FoundColumns:
    """The columns of a table. headers: by column. extras: headers only filters read. n_kind, d_kind: in words. usual:
    what was found by other names than ours, or is read as it stands, in words. factors: by what the numbers of a column
    are multiplied, where the user says so."""

    headers: Mapping[str, str]
    extras: tuple[str, ...]
    n_kind: str
    d_kind: str
    usual: tuple[str, ...] = ()
    factors: Mapping[str, float] = field(factory=dict[str, float])


def parse_columns(text: str, further: Sequence[str] = ()) -> dict[str, str]:
    """`N=params,D=tokens,loss=loss_c4_val` as headers by column. A header that holds a comma: `"loss=a,b",N=n`. What is
    in another unit is multiplied: `N=params (M)*1e6`.

    further: columns that the laws asked for declare. Raises `Problems` for unknown names, names given twice, and what
    is no NAME=HEADER.
    """
    return named_columns(next(csv.reader([text], skipinitialspace=True), []), further)


def named_columns(parts: Iterable[str], further: Sequence[str] = ()) -> dict[str, str]:
    """`parse_columns` for texts NAME=HEADER, one a column."""
    out: dict[str, str] = {}
    problems: list[Problem] = []
    known = [*further, *(_upper(name) for name in STANDARD if name not in further)]
    for part in parts:
        name, equals, header = (piece.strip() for piece in part.partition("="))
        column = name if name in further else "compute" if name.lower() == "c" else name.lower()
        if not (name and equals and header):
            problems.append(Problem(f'--columns: expected NAME=HEADER, such as N=params, got "{part}"'))
        elif column not in (*STANDARD, *WEIGHTS, *further):
            near = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            problems.append(Problem(f'--columns: no column is called "{name}"{near}'))
        elif column in out:
            problems.append(Problem(f'--columns: {name} is given twice, as "{out[column]}" and "{header}"'))
        else:
            out[column] = header
    if not out and not problems:
        problems.append(Problem("--columns: expected NAME=HEADER, such as N=params, got nothing"))
    if problems:
        raise Problems(problems)
    return out


def find_columns(
    file: str,
    line: int | None,
    headers: Sequence[str],
    choice: ColumnChoices,
    *,
    advice: str = "",
    instead: str = "",
    counts: Callable[[str], bool] = lambda _: False,
) -> FoundColumns:
    """Where each column is.

    advice: how else a file of this kind is given what it lacks. instead: what to do where a command has no --columns.
    counts: whether a column holds nothing but parameter counts. Raises
    `Problems`, with the option to type or what is to be done instead, when a needed column is missing, or one has two
    candidates.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    ready: dict[str, str] = {}
    usual: list[str] = []

    def wrong(text: str) -> None:
        problems.append(Problem(text, file, line))

    def one_of(header: str) -> None:
        if headers.count(header) > 1:
            wrong(f'{headers.count(header)} columns are called "{header}": keep one of them')

    names, meanings = _looked_for(choice)
    for column, kind, letter in (
        ("n", choice.n and N_KINDS[choice.n], "N"),
        ("d", choice.d and D_KINDS[choice.d], "D"),
    ):
        if kind:
            names[column] = (kind.key,)
            meanings[column] = f"{letter}, the {kind.words}"
    factors: dict[str, float] = {}
    given: dict[str, str] = {}
    for column, asked in choice.named.items():
        header, factor = _times(asked, headers) if column not in (*choice.labels, *TEXT) else (asked, None)
        given[column] = _spelt(header, headers)
        if factor is not None:
            factors[column] = factor
        elif (unit := _scaled(column, names.get(column, ()), [given[column]])) and given[column] in headers:
            usual.append(
                f'{_upper(column)} is "{unit}" as it stands, not multiplied by its unit: {_upper(column)}={unit}*'
                f"{_factor(unit)} does so, and *1 says that this is meant"
            )
    free = [header for header in headers if header not in given.values()]
    for column, of in names.items():
        meaning = meanings.get(column, f"the {column}")
        if column in given:
            header = given[column]
            if header not in headers:
                near = did_you_mean(header, headers) or f"; found {listed(headers)}"
                by = f"--{column}" if column in WEIGHTS else "--columns"
                wrong(f'no column "{header}", which {by} gives for {meaning}{near}')
            else:
                one_of(header)
                found[column] = header
            continue
        # Steps may be what D counts.
        candidates = _candidates(column, of, headers, headers if column == "step" else free)
        if len(set(candidates)) > 1 and column in choice.unread:
            continue
        if len(set(candidates)) > 1:
            both = " and ".join(f'"{header}"' for header in candidates)
            wrong(f"{both} could both be {meaning}: keep one of them")
            ready[column] = candidates[0]
        elif candidates:
            one_of(candidates[0])
            found[column] = candidates[0]
            if candidates[0].strip().lower() not in of and candidates[0] != column:
                usual.append(f'{_upper(column)} is "{candidates[0]}"')
        elif column in (*WEIGHTS, *choice.unread):
            continue
        elif scaled := _scaled(column, of, free):
            wrong(
                f'"{scaled}" looks like {meaning} in another unit, which is not guessed: say by what it is multiplied '
                "(*1 takes it as it stands), or write the numbers out (20e9 or 20B)"
            )
            ready[column] = f"{scaled}*{_factor(scaled)}"
        elif column in choice.needed or (column == "n" and choice.n not in (None, "total")):
            left = [header for header in headers if header not in found.values()]
            near = next(filter(None, (did_you_mean(name, left) for name in of)), "")
            expected = " or ".join(f'"{_upper(name)}"' for name in of)
            wrong(f"no column with {meaning}: expected {expected}; found {listed(headers)}{near}")
            ready[column] = next((header for header in left if f'"{header}"' in near), "HEADER")
    for one in choice.variables:
        units = [{*plainly(found.get(column, "")).split("_")} & COUNTED for column in (one.name, "d")]
        if one.of_d and all(units) and units[0] != units[1]:
            wrong(
                f'"{found[one.name]}" and "{found["d"]}" count other things, and {meanings[one.name]}, is in the unit '
                f"of D: name columns in one unit with --columns {one.name}=HEADER,D=HEADER"
            )
    extras = tuple(header for header in choice.extras if header in headers or meant(header) not in found)
    for header in extras:
        if header not in headers:
            near = did_you_mean(header, [*STANDARD, *headers])
            wrong(f'no column "{header}", which --where, --holdout, --per or --roll-out asks for{near}')
        else:
            one_of(header)
    if ready.get("d") == "HEADER":
        ready["d"] = found.get("step", "HEADER")
    if ready and "n" not in found and (sized := proposed_n(headers, counts)):
        ready.setdefault("n", sized)
    if problems:
        last = [
            Problem(text, file, line) for text in (instead or _ready_line(ready), advice) if text and ready
        ]
        raise Problems([*dict.fromkeys(problems), *last])
    return FoundColumns(
        found,
        extras,
        _words(found.get("n"), choice.n and N_KINDS[choice.n], N_KINDS.values()),
        _words(found.get("d"), choice.d and D_KINDS[choice.d], D_KINDS.values()),
        tuple(usual),
        factors,
    )


_TOLD_BY = {"size": ("n",), "sweep": ("n", "d"), "budget": ("n", "d")}
"""The columns that tell the groups of a law's parameters apart, or what they are compared by."""


def _reads(law: FitModel, column: str) -> bool:
    """Whether a law may read a column: itself, by what is made of all points, or to tell its groups apart."""
    of_groups = any(column in _TOLD_BY.get(one.per or "", ()) for one in law.parameters)
    return law.needed(column) or bool(law.features) or law.derive is not None or of_groups


def _looked_for(choice: ColumnChoices) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The names of each column, in lower case, and what it is called in messages."""
    names, meanings = dict(HEADERS), dict(MEANING)
    for column in choice.further:
        names[column], meanings[column] = (column.lower(),), column
    for one in choice.variables:
        own = (one.name.lower(), *(header.lower() for header in one.headers))
        names[one.name] = tuple(dict.fromkeys([*own, *HEADERS.get(one.name, ())]))
        if one.meaning or one.unit:
            meanings[one.name] = one.words
    return names, meanings


def proposed_n(headers: Sequence[str], counts: Callable[[str], bool]) -> str:
    """The one column that may be N by its name, of sizes, and by what it holds; "" for none, or several."""
    sized = [header for header in headers if plainly(header) in SIZES and counts(header)]
    return sized[0] if len(sized) == 1 else ""


def _spelt(header: str, headers: Sequence[str]) -> str:
    """A header that is given, as the file spells it: spaces around it cannot be given."""
    return next((one for one in headers if one == header or one.strip() == header), header)


def _candidates(column: str, names: Sequence[str], headers: Sequence[str], free: Sequence[str]) -> list[str]:
    """The headers that a column may be under. Of a loss, every usual name counts: "loss" beside "val/loss" is likely
    another. free: those that no column is given by."""
    asked = column not in HEADERS or names != HEADERS[column]
    usual, last = ((), ()) if asked else (USUAL.get(column, ()), LAST.get(column, ()))
    exact = [header for header in headers if header.strip().lower() in names]
    if exact and column != "loss":
        return exact
    like = [header for header in free if plainly(header) in (*names, *usual)]
    return like or exact or [header for header in free if plainly(header) in last]


def _scaled(column: str, names: Sequence[str], headers: Sequence[str]) -> str:
    """A header that is a column's name and a unit, such as "Tokens (B)" or params_m."""
    if column not in ("n", "d", "compute"):
        return ""
    for header in headers:
        plain = plainly(header)
        for name in (*names, *USUAL[column], *LAST.get(column, ())):
            if plain.startswith(f"{name}_") and UNITS.fullmatch(plain.removeprefix(f"{name}_")):
                return header
    return ""


_POWERS = {"k": 3, "thousand": 3, "m": 6, "mio": 6, "million": 6, "b": 9, "g": 9, "mrd": 9, "billion": 9, "t": 12,
           "trillion": 12}  # fmt: skip


def _factor(header: str) -> str:
    """Of the unit that a header ends with: 1e6 for "params (M)"."""
    unit = plainly(header).rpartition("_")[2]
    digits = unit.removeprefix("1e")
    return f"1e{digits}" if digits.isdigit() else f"1e{_POWERS[unit.removesuffix('s')]}"


def _times(asked: str, headers: Sequence[str]) -> tuple[str, float | None]:
    """A header, and by what its numbers are multiplied where that is asked for: "params (M)*1e6"."""
    header, star, number = asked.rpartition("*")
    known = {one.strip() for one in headers}
    if not star or asked.strip() in known or header.strip() not in known:
        return asked, None
    try:
        factor = float(number)
    except ValueError:
        return asked, None
    return (header.strip(), factor) if 0 < factor < float("inf") else (asked, None)


def _ready_line(columns: Mapping[str, str]) -> str:
    """The option that says which columns are meant, ready to type."""
    if not columns:
        return ""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(
        f"{_upper(column)}={header}" for column, header in columns.items()
    )
    return f"say which is meant: --columns {shlex.quote(line.getvalue())}"


def _upper(name: str) -> str:
    return name.upper() if len(name) == 1 else name


def _words(header: str | None, asked: CountKind | None, kinds: Iterable[CountKind]) -> str:
    """What a column counts: as asked for, or as its header tells."""
    if asked:
        return asked.words
    name = plainly(header or "").replace("parameters", "params")
    return next((kind.words for kind in kinds if kind.key == name), AS_GIVEN)
