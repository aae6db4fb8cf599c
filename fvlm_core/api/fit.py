"""Scaling laws: fitted, asked, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from attrs import evolve, frozen

from fvlm_core.api.checks import count, one_of, texts, within
from fvlm_core.api.costs import choose_cost, plan_recipes
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.points import PointsRequest, load_points, requested
from fvlm_core.api.views.answer import print_answer
from fvlm_core.api.views.console import as_html, as_text
from fvlm_core.api.views.fit import print_fit
from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.constraints import Constraints
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.objective import HUBER_DELTA, OBJECTIVES, FitObjective, ObjectiveName
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.profile import profile
from fvlm_core.scaling.fit.report import FitReport, FittedLaw
from fvlm_core.scaling.fit.resampling import SCHEMES, Cluster, Scheme
from fvlm_core.scaling.fit.uncertainty import DRAWS
from fvlm_core.scaling.points.counts import D_KINDS, N_KINDS, DKind, NKind
from fvlm_core.scaling.predict.cost import with_six_nd
from fvlm_core.scaling.predict.prediction_gate import Answer, ask, known_size, refuse_untold
from fvlm_core.scaling.predict.question import Asked, At, check_question, values_at
from fvlm_core.utils.errors import UsageError
from fvlm_registry.nearest import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from lmfit.minimizer import MinimizerResult
    from matplotlib.figure import Figure

    from fvlm_core.runs.sound import PassedOver
    from fvlm_core.scaling.points.points import Points

LAW = "joint-chinchilla"
"""The law that is fitted where none is named."""

COSTS = ("ledger", "6ND")


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
    warmup_steps: int | None = None,
    sigma: str | None = None,
    weight: str | None = None,
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
    error of what was measured, and how often a row counts. points, per: "best" with the columns of a setting keeps the
    best point of each. fixed: "beta=alpha" or "E=1.7". bounds: "alpha=0.1:1".
    root: see `runs`.

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
        warmup_steps=warmup_steps,
        sigma=sigma,
        weight=weight,
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
    return FitResult(
        fit_points(chosen_points(request, [model], cost, warn), model, aim, count_of_draws, options)
    )


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


@frozen(eq=False, repr=False)
class FitResult:
    """A law and what the points tell of it. report: everything, as the core has it."""

    report: FitReport

    @property
    def status(self) -> str:
        """ "ok"; "reduced" where only a part could be fitted; "refused" where nothing could."""
        return self.report.status

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not all of the law could be fitted."""
        return self.report.reasons

    @property
    def warnings(self) -> list[str]:
        """What to know before a number is used."""
        return self.report.warnings

    @property
    def points(self) -> pd.DataFrame:
        """The points fitted: columns size, run, schedule, n, d, loss, step, lr, compute."""
        return self.report.points.table.copy()

    @property
    def groups(self) -> list[str]:
        """The sizes, runs or budgets that have a fit of their own; [""] for one fit of all points."""
        return [one.group for one in self.report.fits]

    @property
    def parameters(self) -> pd.DataFrame:
        """A row a parameter: group, parameter, value, stderr, low and high (95 %), bound it rests on, how it was given;
        NaN where there is none."""
        import pandas as pd

        rows = [
            {
                "group": one.group,
                "parameter": found.name,
                "value": found.value,
                "stderr": found.stderr,
                "low": found.interval.low,
                "high": found.interval.high,
                "bound": found.bound or "",
                "given": found.given,
            }
            for one in self.report.fits
            for found in one.estimates
        ]
        numbers = ("value", "stderr", "low", "high")
        columns = ["group", "parameter", *numbers, "bound", "given"]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float))

    @public
    def __getitem__(self, group: str) -> FitResult:
        """The fit of one group alone. Raises `FvlmError` for a group that has none."""
        one_of("group", group, self.groups)
        return FitResult(
            evolve(self.report, fits=tuple(one for one in self.report.fits if one.group == group))
        )

    @public
    def predict(
        self,
        n: float | str | None = None,
        d: float | str | None = None,
        budget: float | str | None = None,
        *,
        at: At | None = None,
        cost: str = "ledger",
        recipes: str | Sequence[str] = (),
    ) -> LawAnswer:
        """The loss at n and d, of a size under a budget (n and budget), or the best use of a budget, as `fvlm predict`
        gives it: an answer that the points do not carry is refused, with the reasons.

        n: parameters, "1.7B", or the name of a size of the points. d: in the unit of the points' D. budget: training
        FLOPs. at: of the other columns that the law reads, {"V": 64, "domain": "code"}. cost, recipes: what a run costs
        (ledger, 6ND), and whose sizes are planned.
        """
        one_of("cost", cost, COSTS)
        model = self.report.model
        said = values_at([f"{name}={value}" for name, value in (at or {}).items()], model)
        refuse_untold(model, said)
        points = self.report.points
        known = known_size(n, points.table) if isinstance(n, str) else None
        parameters, named = known or (count("n", n), "")
        question = Asked(parameters, count("d", d), count("budget", budget), said)
        check_question(question, model)
        names = texts(recipes)
        plans = plan_recipes(names)[1] if names else []
        price, remarks = choose_cost(cost, points, [plan for planned in plans for plan in planned], names)
        return LawAnswer(ask(question, self.report, price, [*filter(None, [named]), *remarks]))

    @public
    def profile(self, parameter: str) -> pd.DataFrame:
        """How much worse the best fit becomes when one parameter is held: its values, and the rise of the objective, in
        units of the rise at which the 95 % interval ends (`.attrs["interval"]`). Raises `FvlmError`."""
        import pandas as pd

        one = self._only("profile")
        names = [slot.name for slot in one.problem.slots]
        plain = [slot.parameter.name if one.group else slot.name for slot in one.problem.slots]
        place = next((at for at in range(len(names)) if parameter in (names[at], plain[at])), None)
        if place is None:
            near = did_you_mean(parameter, plain) or f"; there are {', '.join(plain)}"
            raise UsageError(
                f'{self.report.model.name}: no parameter that was fitted is called "{parameter}"{near}'
            )
        bound, missing = one.solution.bounds[place], one.drawn.intervals[place].missing
        if bound or missing:
            raise UsageError(f"{parameter}: has no profile: {missing or f'it rests on its bound ({bound})'}")
        found = profile(one.problem, one.solution, one.drawn, place)
        table = pd.DataFrame({parameter: found.values, "rise": found.rise})
        table.attrs["interval"] = (found.interval.low, found.interval.high)
        return table

    @public
    def figure(self, name: str = "") -> Figure:
        """A figure of the fit, as `fvlm fit --figures NAME` draws it, not saved; the one that shows the law where none
        is named. Raises `FvlmError` for a name that nobody offers."""
        from fvlm_core.report.figures import law_figure

        return law_figure([self.report], name)

    @property
    def lmfit(self) -> MinimizerResult:
        """The best fit as lmfit's own result: `lmfit.fit_report(result.lmfit)` prints it. Raises `FvlmError` where
        nothing could be fitted, or several groups were."""
        from fvlm_core.scaling.fit.lmfit_result import lmfit_result

        return lmfit_result(self._only("lmfit"))

    def to_dict(self) -> dict[str, Any]:
        """The full record, as `fvlm fit --json` writes it: JSON values."""
        return self.report.to_json()

    def _only(self, what: str) -> FittedLaw:
        """The fit that is meant where a fit is one. Raises `UsageError`."""
        if not self.report.fits:
            raise UsageError(
                "\n".join([f"{self.report.model.name}: nothing could be fitted:", *self.reasons])
            )
        first, *others = self.report.fits
        if others:
            groups = ", ".join(self.groups)
            raise UsageError(
                f'{what} is of one group: write result["{first.group}"].{what}; groups: {groups}'
            )
        return first

    def __repr__(self) -> str:
        return as_text(lambda console: print_fit(console, self.report))

    def _repr_html_(self) -> str:
        return as_html(lambda console: print_fit(console, self.report))


@frozen(eq=False, repr=False)
class LawAnswer:
    """What a law answers. answer: everything, as the core has it."""

    answer: Answer

    @property
    def status(self) -> str:
        """ "ok"; "reduced"; "refused" when no number is given."""
        return self.answer.status

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why there is no number, or not all of the law behind it."""
        return self.answer.reasons

    @property
    def loss(self) -> float | None:
        """Of the model asked for, or of the best one; None when it is refused."""
        found = self.answer.prediction or self.answer.best
        return None if found is None else found.loss.value

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % of new runs."""
        found = self.answer.prediction or self.answer.best
        return None if found is None else found.loss.interval

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `fvlm predict --json` prints it."""
        return self.answer.to_json()

    def __repr__(self) -> str:
        return as_text(lambda console: print_answer(console, self.answer))

    def _repr_html_(self) -> str:
        return as_html(lambda console: print_answer(console, self.answer))
