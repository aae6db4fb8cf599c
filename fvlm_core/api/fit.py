"""Scaling laws, fitted to whatever points are meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from fvlm_core.api.checks import one_of, texts, within
from fvlm_core.api.costs import COSTS
from fvlm_core.api.explained import public
from fvlm_core.api.fitted import FitResult
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.points import PointsRequest, conditions_of, load_points, requested
from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.constraints import Constraints
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.objective import HUBER_DELTA, OBJECTIVES, FitObjective, ObjectiveName
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.preparation import prepared
from fvlm_core.scaling.fit.resampling import SCHEMES, Cluster, Scheme
from fvlm_core.scaling.fit.uncertainty import DRAWS
from fvlm_core.scaling.points.counts import D_KINDS, N_KINDS, DKind, NKind
from fvlm_core.scaling.predict.cost import with_six_nd
from fvlm_core.scaling.predict.holdout import kept_out, score

if TYPE_CHECKING:
    from fvlm_core.runs.sound import PassedOver
    from fvlm_core.scaling.points.points import Points

LAW = "joint-chinchilla"
"""The law that is fitted where none is named."""


@public
def fit(
    data: Any = None,
    law: str | FitModel = LAW,
    *,
    columns: Mapping[str, str] | str | None = None,
    n_kind: NKind | None = None,
    d_kind: DKind | None = None,
    points: str = "all",
    per: str | Sequence[str] = "",
    warmup_cut: str | None = None,
    drop_runs: str | Sequence[str] = (),
    where: str | Sequence[str] = (),
    holdout: str | Sequence[str] = (),
    warmup_steps: int | None = None,
    sigma: str | None = None,
    weight: str | None = None,
    outputs: str | None = None,
    cost: str = "ledger",
    objective: ObjectiveName = "log-huber",
    delta: float = HUBER_DELTA,
    draws: int = DRAWS,
    bootstrap: Scheme = "auto",
    cluster: Cluster = "run",
    offsets: bool = False,
    fixed: str | Sequence[str] = (),
    bounds: str | Sequence[str] = (),
    force: bool = False,
    root: Root = None,
) -> FitResult:
    """Fit a scaling law, as `fvlm fit` does; the arguments are its options.

    data: a DataFrame of points (columns N, D, loss, and run, size, step, lr, schedule, C where it has them); what
    `runs` gives, for the points of those runs; files of tables; a folder of runs; names of runs; None for all runs in
    `root`. law: the name of a fit component, or a `FitModel`. columns: where a table has them,
    {"N": "params", "loss": "val"}, and those that the law declares. sigma, weight: the columns that hold the standard
    error of what was measured, and how often a row counts. outputs: "domain=loss_*", columns of a wide table that are
    rows with a label. points, per: "best" with the columns of a setting keeps the
    best point of each. holdout: points kept out of the fit ("run = wsd*"), which `.holdout` says how well it predicts.
    fixed: "beta=alpha" or "E=1.7". bounds: "alpha=0.1:1". root: see `runs`.

    Parameters that the points cannot tell apart are withheld, with the reason: that is a result. Raises `FvlmError`.
    """
    one_of("cost", cost, COSTS)
    within("draws", draws, 2, 100_000, whole=True)
    within("delta", delta, 0, above=True)
    for name, value, words in (("n_kind", n_kind, N_KINDS), ("d_kind", d_kind, D_KINDS)):
        if value is not None:
            one_of(name, value, [*words])
    request = requested(
        data,
        runs_folder(root),
        columns=columns,
        n_kind=n_kind,
        d_kind=d_kind,
        selection=points,
        per=per if isinstance(per, str) else ",".join(per),
        warmup_cut=warmup_cut,
        drop_runs=drop_runs,
        where=where,
        holdout=holdout,
        warmup_steps=warmup_steps,
        sigma=sigma,
        weight=weight,
        outputs=outputs,
    )
    model = load_model(law) if isinstance(law, str) else law
    aim, count_of_draws, options = asked(
        objective=objective,
        delta=delta,
        draws=draws,
        bootstrap=bootstrap,
        cluster=cluster,
        offsets=offsets,
        fixed=texts(fixed),
        bounds=texts(bounds),
        force=force,
    )
    all_points = chosen_points(request, [model], cost, warn)
    conditions = conditions_of(request.holdout, "holdout")
    if not conditions:
        return FitResult(fit_points(all_points, model, aim, count_of_draws, options))
    fitted, held = kept_out(prepared(all_points, model), conditions)
    report = fit_points(fitted, model, aim, count_of_draws, options)
    return FitResult(report, score(report, held, conditions))


def chosen_points(request: PointsRequest, laws: Sequence[FitModel], cost: str, note: PassedOver) -> Points:
    """The points of a request, with C = 6ND where `cost` is "6ND". Raises as `load_points`."""
    points = load_points(request, laws, note)
    return with_six_nd(points) if cost == "6ND" else points


def asked(
    *,
    objective: ObjectiveName,
    delta: float,
    draws: int,
    bootstrap: Scheme,
    cluster: Cluster,
    offsets: bool,
    fixed: Sequence[str],
    bounds: Sequence[str],
    force: bool,
) -> tuple[FitObjective, int, Options]:
    """The objective, the number of draws and the options of a fit. Raises `UsageError`."""
    one_of("objective", objective, OBJECTIVES)
    one_of("bootstrap", bootstrap, SCHEMES)
    one_of("cluster", cluster, get_args(Cluster))
    constraints = Constraints(tuple(fixed), tuple(bounds))
    options = Options(bootstrap, cluster, offsets, force, constraints)
    return FitObjective(objective, delta), draws, options
