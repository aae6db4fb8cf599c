"""Points: one row for each measured loss, in a fixed order, whatever they were read from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve, field, frozen

from fvlm_core.interfaces.fit import FitModel, LRCurve
from fvlm_core.scaling.points.copies import disputed_points, repeats, row_keys, told_by_others, which
from fvlm_core.scaling.points.curves import curves_of
from fvlm_core.scaling.points.point_selection import PointSelection
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import shorten

TEXT = ("size", "run", "schedule")
NUMBERS = ("n", "d", "loss", "step", "lr", "compute")
NEEDED = ("d", "loss")
"""Columns that a table must have where no law says what it reads."""
WEIGHTS = ("sigma", "weight")
"""Columns that are read where a user names them: the standard error of what was measured, how often a row counts."""

AS_GIVEN = "as given"
"""What N or D counts, when a file does not say."""


@frozen(eq=False)
class Points:
    """Measured losses.

    table: one row a point, sorted by n, size, run, d. Text columns (categories), "" where unknown: size (label), run,
    schedule. Float columns, NaN where unknown: n (parameters), d (training samples seen, or what `d_kind` says), loss
    (nats a token), step (optimizer steps), lr (the connector's), compute (training FLOPs). Columns that only filters
    or some laws read may follow, and sigma (standard error of what was measured) and weight.
    source: where they are from, for people. remarks: what was left out or looked up on the way.
    n_kind, d_kind: what N and D count, in words ("total parameters", "training samples"). policy: how these points
    were chosen from all there were. curves: the learning rate over all steps of a run, by run, where it is known.
    ways_out: how a column that is missing is added, where these points are not from a table. of: the pattern of run ids
    that a recipe's fit is made of; "" for all. further: columns beside these that laws read. floor: the loss of a model
    that knows all there is to know of the validation set, where all runs recorded the same.
    """

    table: pd.DataFrame
    source: str
    remarks: tuple[str, ...] = ()
    n_kind: str = AS_GIVEN
    d_kind: str = AS_GIVEN
    policy: PointSelection = field(factory=PointSelection)
    curves: Mapping[str, LRCurve] = field(factory=dict)
    ways_out: Mapping[str, str] = field(factory=dict)
    of: str = ""
    further: tuple[str, ...] = ()
    floor: float | None = None

    @property
    def sizes(self) -> list[str]:
        """Size labels, smallest model first."""
        return [str(size) for size in self.table["size"].unique()]

    def counted(self, law: FitModel) -> str:
        """What N and D count, in words; of a law with columns of its own, those of them that it reads."""
        read = [name for name in ("n", "d") if name in law.inputs or not law.variables]
        kinds = {"n": f"N: {self.n_kind}", "d": f"D: {self.d_kind}"}
        as_d = [
            f"{one.name}: in the unit of D" for one in law.variables if one.of_d and one.name in law.inputs
        ]
        return ", ".join([*(kinds[name] for name in read), *as_d])

    def require(self, columns: Sequence[str], law: str, words: Mapping[str, str] | None = None) -> None:
        """Raise `UsageError` unless every point has these columns. words: what columns of a law's own are called."""
        for column in columns:
            known = self.table.get(column)
            missing = (
                np.ones(len(self.table), bool) if known is None else (known.isna() | (known == "")).to_numpy()
            )
            if missing.any():
                runs = ", ".join(filter(None, self.table["run"][missing].unique())) or "no run is named"
                called = (words or {}).get(column) or MEANING.get(column, column)
                way_out = self.ways_out.get(column) or _WAY_OUT.get(
                    column, f"Add a column {column}, or say which it is: --columns {column}=HEADER."
                )
                raise UsageError(
                    f'{self.source}: fit "{law}" needs {called} of every point; '
                    f"{missing.sum()} of {len(self.table)} have none ({shorten(runs)}).\n{way_out}"
                )

    def of_law(self, law: FitModel) -> Points:
        """The points, when every one has what a law reads. Raises `UsageError` else, and for values that its variables
        cannot have."""
        columns = dict.fromkeys(
            c for c in (*law.columns, law.target, *law.labels) if c != "loss" or law.target == c
        )
        self.require([*columns], law.name, {c: meaning(law, c) for c in columns})
        for one in law.variables:
            if one.name in columns and one.positive and one.name not in law.labels:
                low = self.table[one.name].to_numpy(float)
                if (low <= 0).any():
                    raise UsageError(
                        f'{self.source}: fit "{law.name}" reads {one.words}, which is above 0; {(low <= 0).sum()} of '
                        f"{len(low)} points are not, the lowest {low.min():g}"
                    )
        further = [one for one in columns if one not in (*NUMBERS, *TEXT)]
        return evolve(self, further=tuple(dict.fromkeys([*self.further, *further])))

    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of what the table holds: the same for the same points in whatever order of rows,
        and from whatever kind of file."""
        digest = hashlib.sha256()
        for column in TEXT:
            labels: Any = self.table[column].cat
            codes = labels.codes.to_numpy()
            occurs = np.bincount(codes, minlength=len(labels.categories)) > 0
            digest.update(repr((column, [str(label) for label in labels.categories[occurs]])).encode())
            digest.update((np.cumsum(occurs) - 1).astype("<i4")[codes].tobytes())
        for column in NUMBERS:
            numbers = self.table[column].to_numpy(float)
            digest.update(column.encode())
            digest.update(np.where(np.isnan(numbers), np.nan, numbers + 0.0).astype("<f8").tobytes())
        for column in sorted({*self.further, *WEIGHTS} & {*self.table}):
            values = self.table[column]
            digest.update(repr((column, [str(value) for value in values])).encode())
        return digest.hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Everything, for the record of a fit; `scaling.files` reads it back. Columns without a value are absent."""
        return {
            "n_kind": self.n_kind,
            "d_kind": self.d_kind,
            "fingerprint": self.fingerprint(),
            "policy": self.policy.to_json(),
            "table": {
                name: [None if value != value or value == "" else value for value in column.tolist()]
                for name, column in self.table.items()
                if (column != "").any() and not column.isna().all()
            },
            "curves": {
                run: {"steps": curve.steps.tolist(), "rates": curve.rates.tolist(), "warmup": curve.warmup}
                for run, curve in self.curves.items()
            },
        }


MEANING = {
    "n": "N, the parameters",
    "d": "D, the samples seen",
    "loss": "the loss",
    "step": "the step",
    "lr": "the learning rate",
    "compute": "C, the training FLOPs",
}


def meaning(law: FitModel, column: str) -> str:
    """What a column is, in words: as the law declares it, or as it is everywhere."""
    declared = law.variable(column)
    return declared.words if declared.meaning or declared.unit else MEANING.get(column, column)


NO_COMPUTE = "Add a column C; or, for text whose D is tokens, compute C = 6ND: --cost 6ND."
"""How points get their training FLOPs."""

_WAY_OUT = {
    "n": "Put run_summaries.csv (columns run_id, total_params) beside the file, or add a column N.",
    "step": "Add a column step.",
    "lr": "Add a column lr.",
    "compute": NO_COMPUTE,
}


def tidy(
    table: pd.DataFrame,
    source: str,
    remarks: Sequence[str] = (),
    *,
    n_kind: str = AS_GIVEN,
    d_kind: str = AS_GIVEN,
    warmup: int = 0,
    curves: Mapping[str, LRCurve] | None = None,
) -> Points:
    """Put rows into the form of `Points`: labels filled in, duplicates and points at D = 0 left out (and said), sorted.

    table: any of the columns of `Points`, and others that filters or laws read. warmup: steps of the
    linear warm-up before the first step of each run. curves: learning rates by run; None makes them of the columns
    run, step and lr. Raises `UsageError` when no row is left.
    """
    columns: dict[str, Any] = {name: table[name].copy() for name in table.columns}
    return settle(columns, source, remarks, n_kind=n_kind, d_kind=d_kind, warmup=warmup, curves=curves)


def settle(
    columns: dict[str, Any],
    source: str,
    remarks: Sequence[str] = (),
    *,
    n_kind: str = AS_GIVEN,
    d_kind: str = AS_GIVEN,
    warmup: int = 0,
    curves: Mapping[str, LRCurve] | None = None,
    keep: Sequence[str] | None = None,
    read: Sequence[str] = (),
) -> Points:
    """`tidy` for columns by name, which it empties as it goes: very many points are in memory once only.

    keep: of the columns that `Points` does not know, those that are kept, the others only tell rows apart; None: all.
    read: those of them that laws read.
    """
    said = list(remarks)
    rows = len(next(iter(columns.values())))
    known = {name: name in columns for name in (*TEXT, *NUMBERS)}
    parts: dict[str, Any] = {name: _labels(columns.pop(name, None), rows) for name in TEXT}
    for name in NUMBERS:
        if known[name]:
            parts[name] = pd.Series(columns.pop(name)).to_numpy(float)
    parts.update({name: _free(columns.pop(name)) for name in list(columns)})
    parts["size"] = _named(parts["size"], parts.get("n"))
    parts["run"] = _told_apart(parts["run"], parts["size"], said)
    if curves is None:
        rated = known["run"] and known["step"] and known["lr"]
        curves = curves_of(parts["run"], parts["step"], parts["lr"], warmup, said) if rated else {}

    parts.setdefault("d", np.full(rows, np.nan))
    at_zero = parts["d"] == 0
    if at_zero.any():
        said.append(f"points at D = 0 left out, where no power of D has a value: {at_zero.sum()}")
        _take(parts, ~at_zero)
        parts["size"] = parts["size"].remove_unused_categories()
    if not len(parts["d"]):
        raise UsageError(f"{source}: no points to fit")
    keys = row_keys(parts)
    same = repeats(keys, len(parts["d"]))
    if same is None:
        _take(parts, np.lexsort(keys[::-1]))
        same = repeats(row_keys(parts), len(parts["d"]))
    assert same is not None
    if same.any():
        new = np.concatenate([[True], ~same])
        said.append(
            f"points that are exact copies of others, and count once: {same.sum()} ({which(parts, ~new)})"
        )
        _take(parts, new)
    if told := told_by_others(parts, read):
        said.append(told)
    for name in () if keep is None else parts.keys() - {*TEXT, *NUMBERS, *keep}:
        del parts[name]
    if disputed := disputed_points(parts):
        said.append(disputed)
    for name in NUMBERS:
        if name not in parts:
            parts[name] = np.full(len(parts["d"]), np.nan)
    ordered = {name: parts[name] for name in (*TEXT, *NUMBERS)} | parts
    return Points(
        pd.DataFrame(ordered, copy=False), source, tuple(said), n_kind, d_kind, PointSelection(), dict(curves)
    )


def size_label(n: float, digits: int = 4) -> str:
    """A label for a size that has none: `157.3M`."""
    if not np.isfinite(n):
        return "all"
    for unit, word in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:.{digits}g}{word}"
    return f"{n:.{digits}g}"


def size_labels(sizes: Sequence[float]) -> list[str]:
    """Labels of different sizes, each with as many digits as tell it from the others, four or more."""
    labels = [size_label(n) for n in sizes]
    for digits in range(5, 18):
        count = Counter(labels)
        labels = [
            size_label(n, digits) if count[label] > 1 else label
            for n, label in zip(sizes, labels, strict=True)
        ]
    return labels


def _labels(values: Any, rows: int) -> Any:
    """Labels as a `pandas.Categorical` with sorted categories, "" for what is missing."""
    if values is None:
        return pd.Categorical.from_codes(np.zeros(rows, np.int8), categories=pd.Index([""], dtype=object))
    column = pd.Series(values).astype("category")
    # Code -1, of what is missing, is the last label.
    return labelled([*map(str, column.cat.categories), ""], column.cat.codes.to_numpy())


def labelled(labels: Sequence[str], codes: Any) -> Any:
    """`labels[codes]` as a `pandas.Categorical` with the labels that occur, sorted."""
    spelt = sorted(set(labels))
    place = {label: at for at, label in enumerate(spelt)}
    codes = np.array([place[label] for label in labels])[codes]
    occurs = np.bincount(codes, minlength=len(spelt)) > 0
    used = [label for label, there in zip(spelt, occurs, strict=True) if there]
    return pd.Categorical.from_codes((np.cumsum(occurs) - 1)[codes], categories=pd.Index(used, dtype=object))


def _free(values: Any) -> Any:
    """A column that only filters read: numbers where all are, else labels."""
    column = pd.Series(values)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(float)
    return _labels(column, len(column))


def _named(sizes: Any, n: Any) -> Any:
    """Sizes with a label for those that have none."""
    known = [str(label) for label in sizes.categories]
    unnamed = sizes.codes == (known.index("") if "" in known else -1)
    if not unnamed.any():
        return sizes
    values, codes = (np.full(1, np.nan), 0) if n is None else np.unique(n[unnamed], return_inverse=True)
    out = sizes.codes.astype(int)
    out[unnamed] = len(known) + codes
    return labelled([*known, *size_labels(values.tolist())], out)


def _told_apart(runs: Any, sizes: Any, said: list[str]) -> Any:
    """Runs with unique names: those of one name in several sizes, such as a seed, become `size/run`."""
    several = len(sizes.categories)
    if several == 1:
        return runs
    pair = runs.codes.astype(np.int64) * several + sizes.codes
    pairs = np.sort(pd.unique(pair))
    names, labels = list(map(str, runs.categories)), list(map(str, sizes.categories))
    count = np.bincount(pairs // several, minlength=len(names))
    shared = [name for name, times in zip(names, count, strict=True) if name and times > 1]
    if not shared:
        return runs
    said.append(f"runs of one name in several sizes are called size/run: {shorten(', '.join(shared))}")
    clashing = set(shared)
    of_pair = [(names[at // several], labels[at % several]) for at in pairs.tolist()]
    renamed = [f"{size}/{run}" if run in clashing else run for run, size in of_pair]
    return labelled(renamed, np.searchsorted(pairs, pair))


def _take(parts: dict[str, Any], rows: Any) -> None:
    """Keep rows (bool) or put them in order (int), one column at a time."""
    for name in parts:
        parts[name] = parts[name][rows]
