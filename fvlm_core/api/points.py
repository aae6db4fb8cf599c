"""The points that a law is fitted to: of runs, of files or of a table of pandas; which columns, which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from fvlm_core.api.checks import texts
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.paths import user_path

if TYPE_CHECKING:
    import pandas as pd

    from fvlm_core.interfaces.fit import FitModel
    from fvlm_core.runs.sound import PassedOver
    from fvlm_core.runs.store import StoredRun
    from fvlm_core.scaling.points.columns import ColumnChoices
    from fvlm_core.scaling.points.counts import DKind, NKind
    from fvlm_core.scaling.points.dialect import Decimal
    from fvlm_core.scaling.points.point_selection import PointSelection
    from fvlm_core.scaling.points.points import Points
    from fvlm_core.scaling.points.wide import Outputs
    from fvlm_core.utils.filter_expression import Condition

TABLE = "the DataFrame"
"""What messages call a table that has no file."""


@frozen(eq=False, kw_only=True)
class PointsRequest:
    """The points that a user asks for: of a table; of files, where there is none; else of the runs in `root`.

    runs: names of those runs that are meant, as `select_runs` takes them; None for all. The other fields are the
    options of `fvlm fit` of the same names.
    """

    files: tuple[Path, ...] = ()
    root: Path
    columns: str | Mapping[str, str] | None = None
    n_kind: NKind | None = None
    d_kind: DKind | None = None
    selection: str = "all"
    warmup_cut: str | None = None
    per: str = ""
    drop_runs: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    holdout: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    """Further columns of a table, by the name that the user gave."""
    warmup_steps: int | None = None
    sigma: str | None = None
    weight: str | None = None
    outputs: str | None = None
    decimal: Decimal | None = None
    table: pd.DataFrame | None = None
    runs: tuple[str, ...] | None = None


def load_points(request: PointsRequest, laws: Sequence[FitModel], note: PassedOver) -> Points:
    """Read the points, and keep those that the policy keeps. laws: what they read of a table is read. note: is told of
    runs that cannot be read. Raises `UsageError` or `Problems`."""
    from fvlm_core.scaling.points.files import read_frame, read_points
    from fvlm_core.scaling.points.point_selection import PointSelection, apply
    from fvlm_core.scaling.points.points_from_runs import from_runs

    policy = PointSelection.parse(
        request.selection, request.warmup_cut, request.drop_runs, request.where, request.per
    )
    if request.table is not None:
        points = read_frame(request.table, TABLE, _choices(request, policy, laws))
    elif request.files:
        points = read_points(request.files, _choices(request, policy, laws))
    else:
        kinds = (request.n_kind or "total", request.d_kind or "samples")
        points = from_runs(_runs(request, note), str(request.root), *kinds, laws)
    if policy == PointSelection():
        return points
    outputs = dict.fromkeys((law.target, law.output.rising) for law in laws)
    if policy.points == "best" and len(outputs) > 1:
        raise UsageError(
            f"--points best: these laws predict {', '.join(name for name, _ in outputs)}: ask one at a time"
        )
    return apply(policy, points, *next(iter(outputs), ("loss", False)))


def _runs(request: PointsRequest, note: PassedOver) -> list[StoredRun]:
    from fvlm_core.runs.select import select_runs
    from fvlm_core.scaling.points.points_from_runs import stored_runs

    if request.runs is None:
        return stored_runs(request.root, note)
    return select_runs(request.runs, request.root, note)


def _choices(request: PointsRequest, policy: PointSelection, laws: Sequence[FitModel]) -> ColumnChoices:
    from fvlm_core.scaling.points.columns import STANDARD, ColumnChoices, named_columns, parse_columns

    further = ColumnChoices.of(laws).further
    named: dict[str, str] = {}
    if isinstance(request.columns, str):
        named = parse_columns(request.columns, further)
    elif request.columns is not None:
        named = named_columns((f"{name}={header}" for name, header in request.columns.items()), further)
    named |= {
        name: of for name, of in (("sigma", request.sigma), ("weight", request.weight)) if of is not None
    }
    conditions = (*policy.where, *conditions_of(request.holdout, "--holdout"))
    keys = (*(condition.key for condition in conditions), *policy.per, *request.also)
    extras = (key for key in keys if key.lower() not in STANDARD)
    return ColumnChoices.of(
        laws,
        named=named,
        n=request.n_kind,
        d=request.d_kind,
        extras=tuple(dict.fromkeys(extra for extra in extras if extra not in further)),
        warmup=request.warmup_steps or 0,
        decimal=request.decimal or "",
        outputs=None if request.outputs is None else _outputs(request.outputs, laws),
        where=policy.where,
    )


def _outputs(text: str, laws: Sequence[FitModel]) -> Outputs:
    from fvlm_core.scaling.points.wide import Outputs

    labels = dict.fromkeys(label for law in laws for label in law.labels)
    return Outputs.parse(text, [*labels], [*dict.fromkeys(law.target for law in laws)])


def conditions_of(texts: Sequence[str], option: str) -> tuple[Condition, ...]:
    """The conditions of an option. Raises `UsageError`."""
    from fvlm_core.utils.filter_expression import Condition

    return tuple(Condition.parse(text, option) for text in texts)


def requested(data: Any, root: Path, **how: Any) -> PointsRequest:
    """What somebody means by `data`: a table of points, the table that `fvlm.runs` gives (those runs), files, a folder
    of runs, names of runs; None for all runs in `root`. how: of `PointsRequest`. Raises `UsageError` for others."""
    import pandas as pd

    from fvlm_core.scaling.points.files import POINTS

    for name in ("where", "drop_runs", "holdout"):
        how[name] = texts(how.get(name))
    if data is None:
        return PointsRequest(root=root, **how)
    if isinstance(data, pd.DataFrame):
        if {"folder", "recipe", "id", "state"} <= {*data.columns}:  # as `fvlm.runs` has them
            kept = Path(data.attrs.get("root", root))
            names = tuple(str(kept / folder) for folder in data["folder"])
            return PointsRequest(root=kept, runs=names, **how)
        return PointsRequest(root=root, table=data, **how)
    several: list[Any] = (
        [data] if isinstance(data, str | PathLike) or not isinstance(data, Sequence) else [*data]
    )
    if not several or not all(isinstance(one, str | PathLike) for one in several):
        raise UsageError(
            "expected points: a DataFrame, files, a folder of runs, names of runs, or what fvlm.runs() gives; got "
            f"{type(data).__name__}"
        )
    paths = [user_path(one) for one in several]
    if len(paths) == 1 and _may_be_store(paths[0]):
        return PointsRequest(root=paths[0], **how)
    if all(path.suffix.lower() in _TABLES or path.is_file() or (path / POINTS).is_file() for path in paths):
        return PointsRequest(root=root, files=tuple(paths), **how)
    return PointsRequest(root=root, runs=tuple(map(str, several)), **how)


_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")
"""Endings of files that are meant, whether they are there or not; the ids of runs may have others."""


def _may_be_store(folder: Path) -> bool:
    """Whether a folder holds no export, no run, and not the runs of one recipe alone."""
    others = ("recipe.json", "*/recipe.json", "all_eval_points.csv")
    return folder.is_dir() and not any(any(folder.glob(one)) for one in others)
