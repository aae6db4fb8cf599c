"""From what `fvlm suggest` is asked to a plan, and to the recipe that it is written as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import asdict, field, frozen

from fvlm_core.api.costs import choose_cost, plan_recipes
from fvlm_core.api.fit import LAW
from fvlm_core.api.views.console import as_html, as_text
from fvlm_core.api.views.suggestion import percent, print_suggestion
from fvlm_core.recipes.extends import base_table
from fvlm_core.recipes.read import Recipe, Run, read_recipe
from fvlm_core.recipes.written import NewRun, written
from fvlm_core.scaling.fit.fitting import fit_points
from fvlm_core.scaling.fit.noise import ASSUMED, Noise
from fvlm_core.scaling.points.points import Points, size_label
from fvlm_core.scaling.predict.advice import Advice, Choices, PredictionTarget, advise, check_law, flops_price
from fvlm_core.scaling.predict.cost import SAME_SIZE, Cost, Size
from fvlm_core.scaling.predict.prediction import noise_of
from fvlm_core.scaling.predict.reach import Excess, beyond, data_per_parameter, ratios_outside
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.outputs import prepare, writing
from fvlm_core.utils.parse_number import parse_count

if TYPE_CHECKING:
    from fvlm_core.interfaces.fit import FitModel
    from fvlm_core.planning.run_plan import RunPlan

FEWEST_STEPS = 100
"""Of the shortest run suggested, unless told otherwise: warm-up and the first drop say nothing of scaling."""

HARDLY = 0.8
"""A plan that leaves so much of the standard error is said to help little."""

_FAR = {"target": "the target lies", "runs": "suggested runs lie"}

FLAT = "constant"
"""The schedule whose evaluations all count as ends of training."""


@frozen(kw_only=True)
class Question:
    """The options of the command. target: N, D, budget. Raises `UsageError` for what makes no question."""

    recipes: tuple[str, ...]
    budget: float | None
    hours: float | None
    rate: float | None
    target: tuple[float | None, float | None, float | None]
    sizes: str | None
    law: FitModel
    cost: str
    most: int
    shortest: float | None
    longest: float | None
    largest: float
    noise: float | None
    out: Path | None

    def __attrs_post_init__(self) -> None:
        n, d, spent = (value is not None for value in self.target)
        if (n, d, spent) not in ((True, True, False), (False, False, True)):
            raise UsageError(
                "say what is to be predicted: the loss at --target-n and --target-d, or the best loss of a "
                "--target-budget"
            )
        if (self.budget is None) == (self.hours is None):
            raise UsageError("say what the runs may take: --budget FLOPS or --hours H, one of them")
        if self.rate is not None and self.hours is None:
            raise UsageError("--rate goes with --hours")
        if self.sizes is not None and self.recipes:
            raise UsageError("--sizes and recipes exclude each other: the sizes are those of the recipes")

    def with_recipes(self) -> str:
        """The command that asks the same with recipes that have the sizes: their runs are written as one."""
        n, d, spent = self.target
        given = [("--budget", self.budget), ("--hours", self.hours), ("--rate", self.rate), ("--target-n", n),
                 ("--target-d", d), ("--target-budget", spent), ("--shortest", self.shortest),
                 ("--longest", self.longest)]  # fmt: skip
        law = [] if self.law.name == LAW else ["--model", self.law.name]
        words = [word for name, value in given if value is not None for word in (name, f"{value:g}")]
        return " ".join(["fvlm suggest RECIPE...", *law, *words])


@frozen
class Sized:
    """A size that a recipe has: its run, and what the plan says of it."""

    size: Size
    run: Run
    rate: float
    """FLOPs a second, as planned."""


@frozen(eq=False, repr=False)
class Suggestion:
    """A plan, the budget in FLOPs or hours, the recipe's text ("" without recipes), its file, and what to know. beyond:
    what of the target and of the runs lies farther outside the points than they carry. d_per_n: the least and the
    largest D/N of the points; None without any. again: the command that writes the runs as a recipe, where none is
    named."""

    advice: Advice
    budget: str
    text: str
    out: Path
    remarks: tuple[str, ...] = field(converter=tuple)
    beyond: Mapping[str, Sequence[Excess]] = field(factory=dict[str, Sequence[Excess]])
    d_per_n: tuple[float, float] | None = None
    again: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        file = str(self.out) if self.text else None
        far = {what: [asdict(one) for one in excess] for what, excess in self.beyond.items()}
        return {
            **self.advice.to_json(),
            "budget": self.budget,
            "recipe": file,
            "remarks": list(self.remarks),
            "beyond": far,
            "d_per_n": list(self.d_per_n) if self.d_per_n else None,
        }

    def save(self) -> None:
        """Write the recipe, and read it back as `fvlm run` would; nothing where there is none. Raises `UsageError`,
        also for a file with another text."""
        if not self.text:
            return
        prepare(self.out)
        with writing(self.out):
            if self.out.exists() and self.out.read_text(encoding="utf-8", errors="replace") != self.text:
                raise UsageError(f"{self.out} is there already: name another file with --out")
            self.out.write_text(self.text, encoding="utf-8")
        read_recipe(str(self.out))

    def __repr__(self) -> str:
        return as_text(lambda console: print_suggestion(console, self))

    def _repr_html_(self) -> str:
        return as_html(lambda console: print_suggestion(console, self))


def answered(
    question: Question, points: Points | None, measured_rate: Callable[[], float | None]
) -> Suggestion:
    """points: what there is already. measured_rate: FLOPs a second of runs there are. Raises `UsageError`."""
    model = question.law
    check_law(model)
    recipes, plans = plan_recipes(question.recipes)
    known = _sized(recipes, plans)
    out = question.out or Path(f"{recipes[0].name}-next.toml" if recipes else "next.toml")
    asked = _asked_sizes(question.sizes)
    flat = [plan for planned in plans for plan in planned]
    cost, remarks = choose_cost(question.cost, points, flat, question.recipes, asked)
    sizes = _sizes(question, cost, known, asked)
    price, amount, budget, how = _price(question, known, measured_rate)
    remarks += how
    noise, said = _noise(question, model, points)
    remarks += said
    batch = known[0].run.config.training.batch_size if known else 1
    choices = Choices(
        sizes,
        price,
        question.shortest or _shortest(points, batch if known else None, amount, sizes, price),
        question.longest or np.inf,
        batch=batch,
        every=_every(known, points, remarks),
        most=question.most,
        largest=question.largest,
    )
    if points is None:
        remarks.append(
            "no run is known yet: published laws say how the loss may scale. Spend about a third of the budget this "
            "way, then ask again with its runs"
        )
    advice = advise(
        model, choices, amount, PredictionTarget(*question.target), cost=cost, points=points, noise=noise
    )
    if advice.missing:
        remarks.append(advice.missing)
    if advice.suggested.error > HARDLY * advice.before:
        remarks.append(
            f"what the budget pays for takes the standard error from {percent(advice.before)} to "
            f"{percent(advice.suggested.error)} only: another target, or other sizes, may be worth more"
        )
    far = {} if points is None else _beyond(advice, points, cost)
    remarks += [f"{_FAR[what]} beyond the points: {one}" for what, excess in far.items() for one in excess]
    seen = data_per_parameter(points.table) if points is not None else None
    if seen is not None and (said := ratios_outside(advice.suggested.runs, seen)):
        remarks.append(f"{said} (--shortest and --longest bound D, --sizes N)")
    text = _recipe(question, recipes, known, advice, out, budget) if recipes else ""
    return Suggestion(advice, budget, text, out, remarks, far, seen, question.with_recipes())


def _beyond(advice: Advice, points: Points, cost: Cost | None) -> dict[str, list[Excess]]:
    """What of the target, and of the runs that lie farthest outside, the points do not carry."""
    compute = advice.target.budget
    target = beyond(points.table, advice.n, advice.d, compute, cost)
    farthest: dict[str, Excess] = {}
    for run in advice.suggested.runs:
        for one in beyond(points.table, run.n, run.d, run.flops, cost):
            known = farthest.setdefault(one.quantity, one)
            farthest[one.quantity] = max(known, one, key=lambda excess: excess.factor)
    return {"target": target, "runs": list(farthest.values())}


def _sized(recipes: Sequence[Recipe], plans: Sequence[Sequence[RunPlan]]) -> list[Sized]:
    """One run for each size: the first that is meant for fits."""
    found: dict[int, Sized] = {}
    for recipe, planned in zip(recipes, plans, strict=True):
        for run, plan in zip(recipe.runs, planned, strict=True):
            n = plan.parameters.total
            if run.config.in_fits and n not in found:
                size = Size(plan.size, float(n), sum(plan.flops_per_sample.values()))
                found[n] = Sized(size, run, plan.flops / plan.seconds)
    known = sorted(found.values(), key=lambda one: one.size.n)
    batches = {one.run.config.training.batch_size for one in known}
    if len(batches) > 1:
        raise UsageError(
            f"{_names(recipes)}: the runs have batch sizes of {sorted(batches)}: keep one for all sizes"
        )
    doubled = [label for label, count in Counter(one.size.label for one in known).items() if count > 1]
    if doubled:
        raise UsageError(
            f"{_names(recipes)}: two sizes are called {doubled[0]}: give them a label (model.size)"
        )
    return known


def _names(recipes: Sequence[Recipe]) -> str:
    return ", ".join(recipe.file for recipe in recipes)


MOST_SIZES = 200
"""Candidates: a plan has at most as many runs."""


def _asked_sizes(text: str | None) -> list[float]:
    found = [parse_count(part) for part in text.split(",")] if text else []
    if len(found) > MOST_SIZES:
        raise UsageError(f"--sizes: {len(found):,} sizes; expected at most {MOST_SIZES}")
    if any(value is None or value <= 0 for value in found):
        raise UsageError(f'--sizes: expected numbers of parameters such as 20M,40M,80M, got "{text}"')
    return [value for value in found if value is not None]


def _sizes(
    question: Question, cost: Cost | None, known: Sequence[Sized], asked: Sequence[float]
) -> tuple[Size, ...]:
    if known and question.cost == "ledger":
        return tuple(one.size for one in known)
    if cost is None:
        raise UsageError(
            "the cost of a run is not known: name recipes with the candidate sizes, points that hold their FLOPs "
            "(a column C), or, for text, --cost 6ND with --sizes"
        )
    sizes = [one.size.n for one in known] or list(asked) or [size.n for size in cost.sizes]
    labels = {size.n: size.label for size in cost.sizes}
    out: list[Size] = []
    for n in sorted(sizes):
        near = next(
            (label for other, label in labels.items() if abs(n / other - 1) <= SAME_SIZE), size_label(n)
        )
        flops = float(cost.flops(n))
        if not np.isfinite(flops):
            low, high = (size_label(end) for end in cost.reach)
            raise UsageError(
                f"--sizes: the cost of {size_label(n)} is not known; {cost} tell it from {low} to {high}"
            )
        out.append(Size(near, n, flops))
    if not out:
        raise UsageError("no candidate size: name recipes, or --sizes 20M,40M,80M")
    return tuple(out)


def _price(
    question: Question, known: Sequence[Sized], measured_rate: Callable[[], float | None]
) -> tuple[Callable[[Size, float], float], float, str, list[str]]:
    """Prices in the budget's unit, how much of it there is, the same in words, and how the rate is known."""
    if question.budget is not None:
        return flops_price, question.budget, f"{question.budget:.3g} FLOPs", []
    assert question.hours is not None
    words = f"{question.hours:g} hours"
    if question.rate is not None:
        rate, how = question.rate, "given"
    elif (measured := measured_rate()) is not None:
        rate, how = measured, "measured in the runs there are"
    elif known:
        planned = {one.size.label: one.rate for one in known}
        said = [f"hours are estimated for this machine ({min(planned.values()):.2g} FLOPs a second and more)"]
        return (lambda size, flops: flops / planned[size.label] / 3600), question.hours, words, said
    else:
        raise UsageError("--hours needs to know how fast training is: add --rate FLOPS_PER_SECOND")
    return (
        (lambda size, flops: flops / rate / 3600),
        question.hours,
        words,
        [f"{rate:.3g} FLOPs a second, {how}"],
    )


def _noise(question: Question, model: FitModel, points: Points | None) -> tuple[Noise, list[str]]:
    """As given, as measured about the points' own law, or as assumed; and what is to be said of it."""
    if question.noise is not None:
        return Noise(question.noise, ASSUMED.point, ASSUMED.lag1, run_source="given"), []
    if points is None:
        return ASSUMED, []
    report = fit_points(points, model, draws=100)
    if not report.fits or report.fits[0].group:
        return ASSUMED, ["the points tell no law yet: how runs scatter is assumed"]
    found, _, said = noise_of(report.fits[0])
    return found, list(said)


def _shortest(
    points: Points | None,
    batch: int | None,
    budget: float,
    sizes: Sequence[Size],
    price: Callable[[Size, float], float],
) -> float:
    """100 steps of a recipe; the shortest run there is; or a 10,000th of what the budget pays for at the smallest."""
    if batch is not None:
        return float(FEWEST_STEPS * batch)
    if points is not None:
        alone = points.table[points.table["run"] == ""]["d"]  # each a run of one point
        return float(np.fmin(alone.min(), _named(points).max().min()))
    return budget / price(sizes[0], sizes[0].flops) / 10_000


def _every(known: Sequence[Sized], points: Points | None, remarks: list[str]) -> float | None:
    """D between evaluations where all of them count; None where only the ends of runs do."""
    if known:
        config = known[0].run.config
        if config.training.schedule_name == FLAT:
            return float(config.eval.every * config.training.batch_size)
        remarks.append(
            f"the learning rate decays ({config.training.schedule_name}): only the end of each run counts"
        )
        return None
    if points is None:
        return None
    longest = _named(points).agg(["max", "size"])
    longest = longest[longest["size"] > 1]
    return float((longest["max"] / longest["size"]).median()) if len(longest) else None


def _named(points: Points) -> Any:
    """D of the points of each run that has a name."""
    table = points.table
    return table[table["run"] != ""].groupby(["size", "run"], observed=True)["d"]


def _recipe(
    question: Question,
    recipes: Sequence[Recipe],
    known: Sequence[Sized],
    advice: Advice,
    out: Path,
    budget: str,
) -> str:
    base, file = base_table(question.recipes[0])
    by_label = {one.size.label: one for one in known}
    foreign = [one for one in known if one.run.table.get("data") != known[0].run.table.get("data")]
    if foreign:
        raise UsageError(
            f"{_names(recipes)}: {foreign[0].run.id} trains on other data than {known[0].run.id}: one law is of one "
            "mixture"
        )
    ids: Counter[str] = Counter()
    runs: list[NewRun] = []
    for at, run in enumerate(advice.suggested.runs):
        sized = by_label[run.label]
        training = sized.run.config.training
        steps = round(run.d / training.batch_size)
        name = f"{run.label}-{size_label(run.d)}"
        ids[name] += 1
        name += f"-{ids[name]}" if ids[name] > 1 else ""
        runs.append(NewRun(name, sized.run.table, steps, training.seed + 1 + at, f"{run.flops:.3g} FLOPs"))
    suggested = advice.suggested
    comment = [
        f"What to run next, by `fvlm suggest`: {len(runs)} runs, {suggested.flops:.3g} FLOPs, of {budget}.",
        f"Target: the loss at N = {advice.n:.4g}, D = {advice.d:.4g}. Standard error expected after these runs: "
        f"{percent(suggested.error)}, now {percent(advice.before)}.",
    ]
    return written(base, file, out, out.stem, runs, comment)
