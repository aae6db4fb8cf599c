"""A law that was fitted: its numbers, what it answers, how well it predicts, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, fields, frozen

from fvlm_core.api.answers import BestInference, LawAnswer
from fvlm_core.api.asked_schedule import AskedRates
from fvlm_core.api.checks import count, one_of, texts
from fvlm_core.api.costs import COSTS, choose_cost, plan_recipes
from fvlm_core.api.explained import public
from fvlm_core.api.inference import InferenceQuestion, check_inference, infer
from fvlm_core.api.views.console import as_html, as_text
from fvlm_core.api.views.fit import print_fit
from fvlm_core.api.views.foreseen import print_holdout
from fvlm_core.scaling.fit.profile import profile
from fvlm_core.scaling.fit.report import FitReport, FittedLaw
from fvlm_core.scaling.predict.holdout import Holdout, Score
from fvlm_core.scaling.predict.prediction import noise_of
from fvlm_core.scaling.predict.prediction_gate import ask, ask_under, known_size, refuse_untold
from fvlm_core.scaling.predict.question import Asked, At, check_question, values_at
from fvlm_core.scaling.predict.roll_out import FEWEST, SPARE, RollOut, roll_out, scale_column
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.paths import user_path
from fvlm_registry.nearest import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from lmfit.minimizer import MinimizerResult
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console


def foreseen(report: FitReport, scale: str = "") -> dict[str, RollOut]:
    """The roll-out of each fit of a report, by its group. scale: the column that says how large a run is; "": see
    `roll_out`. Raises `UsageError` where there is none, with the reason."""
    column = scale and scale_column(scale, report.points.table)
    found = {
        one.group: rolled
        for one in report.fits
        if (rolled := roll_out(one, noise_of(one)[0].total, column)) is not None
    }
    if found:
        return found
    why = (
        f"at least {FEWEST} refits to smaller runs must be possible, each of {SPARE} runs more than the law has "
        "parameters, with larger ones to predict"
    )
    if report.model.derive is not None:
        why = "it is fitted to points made of all runs"
    elif not report.fits:
        why = "nothing could be fitted"
    elif missing := next((one.drawn.missing for one in report.fits if one.drawn.missing), ""):
        why = missing
    raise UsageError(f"{report.model.name}: no roll-out: {why}")


@frozen(eq=False, repr=False)
class FitResult:
    """A law and what the points tell of it. report: everything, as the core has it. held: how well points that were
    kept out are predicted."""

    report: FitReport
    held: Holdout | None = None

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
        schedule: str | None = None,
        curve: pd.DataFrame | str | PathLike[str] | None = None,
        steps: float | str | None = None,
        lr: float | None = None,
        at: At | None = None,
        cost: str = "ledger",
        recipes: str | Sequence[str] = (),
    ) -> LawAnswer:
        """The loss at n and d, of a size under a budget (n and budget), or the best use of a budget, as `fvlm predict`
        gives it: an answer that the points do not carry is refused, with the reasons.

        n: parameters, "1.7B", or the name of a size of the points. d: in the unit of the points' D. budget: training
        FLOPs. at: of the other columns that the law reads, {"V": 64, "domain": "code"}. cost, recipes: what a run costs
        (ledger, 6ND), and whose sizes are planned.

        Of a law that reads learning rates: the loss at the end of a run of `steps` under a schedule ("cosine",
        "wsd,decay=0.1") with the peak rate `lr`, or under a curve, a table with columns step and lr. n: a size's name.
        """
        one_of("cost", cost, COSTS)
        model = self.report.model
        said = values_at([f"{name}={value}" for name, value in (at or {}).items()], model)
        points = self.report.points
        table = user_path(Path(curve)) if isinstance(curve, str | PathLike) else curve
        rates = AskedRates(schedule, table, count("steps", steps), count("lr", lr))
        if rates.given:
            rates.check()
            for name, value in (("d", d), ("budget", budget), ("recipes", recipes or None)):
                if value is not None:
                    raise UsageError(
                        f"{name} is no part of a question of learning rates: say n and the rates"
                    )
            rated, told = rates.curve(points)
            return LawAnswer(ask_under(rated, self.report, "" if n is None else str(n), said, [told]))
        refuse_untold(model, said)
        known = known_size(n, points.table) if isinstance(n, str) else None
        parameters, named = known or (count("n", n), "")
        question = Asked(parameters, count("d", d), count("budget", budget), said)
        check_question(question, model)
        names = texts(recipes)
        plans = plan_recipes(names)[1] if names else []
        price, remarks = choose_cost(cost, points, [plan for planned in plans for plan in planned], names)
        return LawAnswer(ask(question, self.report, price, [*filter(None, [named]), *remarks]))

    @public
    def inference(
        self,
        budget: float | str,
        d: float | str | None = None,
        *,
        at: At | None = None,
        rate: float | str | None = None,
        text_tokens: float | None = None,
        encoder_flops: float | str | None = None,
        recipes: str | Sequence[str] = (),
    ) -> BestInference:
        """The best size, frames and visual tokens of a request that may cost so much, as `fvlm predict --inference`
        gives it, of a law that reads tokens (visual-tokens, video).

        budget: FLOPs ("5e12"), or a time ("50ms") with `rate`, the FLOPs a second that are reached. d: training data of
        the model, where the law reads it. at: of the law's other columns; frames and tokens given there are held.
        text_tokens: read and written beside the visual ones. recipes: whose models may be chosen, with their true cost;
        else a model of any size between the points' costs 2 FLOPs a parameter and token, and encoder_flops a frame.
        Raises `FvlmError`.
        """
        said = values_at([f"{name}={value}" for name, value in (at or {}).items()], self.report.model)
        question = InferenceQuestion(
            str(budget),
            count("rate", rate),
            count("text_tokens", text_tokens),
            count("encoder_flops", encoder_flops),
            count("d", d),
            said,
            tuple(texts(recipes)),
        )
        check_inference(self.report.model, question)
        return BestInference(infer(self.report, question))

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

    @property
    def holdout(self) -> pd.DataFrame:
        """A row for each run that was kept out, and one for all: points, r2, mean and worst relative error, coverage of
        95 % intervals; no row where nothing was kept out."""
        import pandas as pd

        total = None if self.held is None else self.held.total
        rows = [] if self.held is None or total is None else [*self.held.runs, total]
        return pd.DataFrame([asdict(one) for one in rows], columns=[of.name for of in fields(Score)])

    @public
    def roll_out(self, scale: str = "") -> pd.DataFrame:
        """The law fitted to the smaller runs, step by step, and what each fit foresees of the larger: run, points
        fitted, factor beyond them, measured, predicted, error, expected error; `.attrs["growth"]` is the standard
        deviation of what the law gets wrong a factor e beyond its points. scale: the column that says how large a run
        is. Raises `FvlmError` where too few refits can be made."""
        import pandas as pd

        self._only("roll_out")
        (rolled,) = foreseen(self.report, scale).values()
        table = pd.DataFrame([asdict(one) for one in rolled.forecasts])
        table.attrs.update(growth=rolled.growth, farthest=rolled.farthest, scale=rolled.scale)
        return table

    @public
    def figure(self, name: str = "", style: str = "screen") -> Figure:
        """A figure of the fit, as `fvlm fit --figures NAME --style STYLE` draws it, not saved; the one that shows the
        law where none is named. style: paper, slide or screen. Raises `FvlmError` for a name that nobody offers."""
        from fvlm_core.report.figures import law_figure
        from fvlm_core.report.figures.look import look_called

        return law_figure([self.report], name, look_called(style))

    @public
    def plot(self, ax: Axes | None = None, along: str = "d", style: str = "screen") -> Axes:
        """The law on one panel, to go on with: points, curves with their 95 % bands, axes, and a name at each curve.

        ax: matplotlib's; None: one of a figure of its own, with the settings of the style. along: d or compute, or
        another column that the law reads. Raises `FvlmError` for a column that it has not.
        """
        from fvlm_core.report.figures.look import look_called
        from fvlm_core.report.figures.panel import law_panel

        return law_panel(self.report, ax, along, look_called(style))

    @public
    def caption(self, name: str = "") -> str:
        """What a figure of the fit shows, and what was withheld and why: paragraphs."""
        from fvlm_core.report.figures import law_figure
        from fvlm_core.report.figures.style import caption_of

        return "\n\n".join(caption_of(law_figure([self.report], name)))

    @property
    def lmfit(self) -> MinimizerResult:
        """The best fit as lmfit's own result: `lmfit.fit_report(result.lmfit)` prints it. Raises `FvlmError` where
        nothing could be fitted, or several groups were."""
        from fvlm_core.scaling.fit.lmfit_result import lmfit_result

        return lmfit_result(self._only("lmfit"))

    def to_dict(self) -> dict[str, Any]:
        """The full record, as `fvlm fit --json` writes it: JSON values."""
        held = {} if self.held is None else {"holdout": self.held.to_json()}
        return {**self.report.to_json(), **held}

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
        return as_text(self._print)

    def _repr_html_(self) -> str:
        return as_html(self._print)

    def _print(self, console: Console) -> None:
        print_fit(console, self.report)
        if self.held is not None:
            print_holdout(console, self.held)
