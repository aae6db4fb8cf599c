"""Which column of a table is which: the names that are known, and those that a user gives."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from fvlm_core.errors import Problem, Problems
from fvlm_core.scaling.kinds import D_KINDS, N_KINDS, DKind, Kind, NKind
from fvlm_core.scaling.points import AS_GIVEN, MEANING, NEEDED, NUMBERS, TEXT
from fvlm_registry.nearest import did_you_mean

HEADERS: dict[str, tuple[str, ...]] = {
    "size": ("model_size", "size"),
    "run": ("run_id", "run"),
    "schedule": ("lr_schedule", "schedule"),
    "n": ("total_params", "n"),
    "d": ("samples_seen", "d"),
    "loss": ("val_loss", "loss"),
    "step": ("step",),
    "lr": ("lr",),
    "compute": ("flops", "c", "compute"),
}
"""Names of each column, in lower case: those of the export, and plain ones. Case does not count."""

STANDARD = (*TEXT, *NUMBERS)


@frozen
class Choice:
    """What a user says about the columns of tables.

    named: the header of a column, by column. n, d: what N and D count, which also says under which header they are
    looked for; None: under the known ones, whatever they count. extras: other headers, which filters read. warmup:
    steps of the linear warm-up before the first step of each run.
    """

    named: Mapping[str, str] = field(factory=dict)
    n: NKind | None = None
    d: DKind | None = None
    extras: tuple[str, ...] = ()
    warmup: int = 0


@frozen
class Found:
    """The columns of a table. headers: by column. extras: headers only filters read. n_kind, d_kind: in words."""

    headers: Mapping[str, str]
    extras: tuple[str, ...]
    n_kind: str
    d_kind: str


def parse_columns(text: str) -> dict[str, str]:
    """`N=params,D=tokens,loss=loss_c4_val` as headers by column. A header that holds a comma: `"loss=a,b",N=n`.

    Raises `Problems` for unknown names, names given twice, and what is no NAME=HEADER.
    """
    out: dict[str, str] = {}
    problems: list[Problem] = []
    known = [name.upper() if len(name) == 1 else name for name in STANDARD]
    for part in next(csv.reader([text], skipinitialspace=True), []):
        name, equals, header = (piece.strip() for piece in part.partition("="))
        column = "compute" if name.lower() == "c" else name.lower()
        if not (name and equals and header):
            problems.append(Problem(f'--columns: expected NAME=HEADER, such as N=params, got "{part}"'))
        elif column not in STANDARD:
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


def find_columns(file: str, line: int | None, headers: Sequence[str], choice: Choice) -> Found:
    """Where each column is. Raises `Problems` when a needed one is missing, or one has two candidates."""
    found: dict[str, str] = {}
    problems: list[Problem] = []

    def wrong(text: str) -> None:
        problems.append(Problem(text, file, line))

    def one_of(header: str) -> None:
        if headers.count(header) > 1:
            wrong(f'{headers.count(header)} columns are called "{header}": keep one of them')

    names = dict(HEADERS)
    meanings = dict(MEANING)
    for column, kind, letter in (
        ("n", choice.n and N_KINDS[choice.n], "N"),
        ("d", choice.d and D_KINDS[choice.d], "D"),
    ):
        if kind:
            names[column] = (kind.key,)
            meanings[column] = f"{letter}, the {kind.words}"
    for column, of in names.items():
        meaning = meanings.get(column, f"the {column}")
        if column in choice.named:
            header = choice.named[column]
            if header not in headers:
                near = did_you_mean(header, headers) or f"; found {', '.join(headers)}"
                wrong(f'no column "{header}", which --columns gives for {meaning}{near}')
            else:
                one_of(header)
                found[column] = header
            continue
        candidates = [header for header in headers if header.strip().lower() in of]
        if len(set(candidates)) > 1:
            both = " and ".join(f'"{header}"' for header in candidates)
            wrong(f"{both} could both be {meaning}: keep one of them")
        elif candidates:
            one_of(candidates[0])
            found[column] = candidates[0]
        elif column in NEEDED or (column == "n" and choice.n not in (None, "total")):
            left = [header for header in headers if header not in found.values()]
            near = next(filter(None, (did_you_mean(name, left) for name in of)), "")
            expected = " or ".join(f'"{name.upper() if len(name) == 1 else name}"' for name in of)
            wrong(f"no column with {meaning}: expected {expected}; found {', '.join(headers)}{near}")
    for header in choice.extras:
        if header not in headers:
            near = did_you_mean(header, [*STANDARD, *headers])
            wrong(f'no column "{header}", which --where asks for{near}')
        else:
            one_of(header)
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    return Found(
        found,
        choice.extras,
        _words(found.get("n"), choice.n and N_KINDS[choice.n], N_KINDS.values()),
        _words(found.get("d"), choice.d and D_KINDS[choice.d], D_KINDS.values()),
    )


def _words(header: str | None, asked: Kind | None, kinds: Iterable[Kind]) -> str:
    """What a column counts: as asked for, or as its header tells."""
    if asked:
        return asked.words
    name = (header or "").strip().lower()
    return next((kind.words for kind in kinds if kind.key == name), AS_GIVEN)
