"""Fit models: a scaling law as a pure function, its parameters and what it needs. Imports nothing heavy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen

from fvlm_core.utils.errors import FvlmError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

COLUMNS = ("n", "d", "compute", "lr", "step", "loss")
"""What a law may read of every point without declaring it. n: parameters of the model. d: training samples seen.
compute: training FLOPs. lr: the connector's learning rate at the point. step: optimizer steps. loss: what was measured,
for laws that predict another column (`FitModel.target`). All other columns are declared (`Variable`)."""

GROUPS = ("size", "run", "budget", "sweep")
"""Labels of every point that a parameter may have one value for (`Parameter.per`), beside any column of labels. budget:
points of equal training FLOPs. sweep: points of one size, one D and one batch size (a column `batch`, where it is)."""

RESERVED = (
    *("size", "run", "schedule", "budget", "sweep", "sigma", "weight", "c"),
    *("predicted", "residual", "low", "high", "point"),
)
"""Names of columns with a meaning of their own, in lower case."""

Policy = Literal["final", "all"]
"""Which points of a run a law is made for: its last, or every evaluation."""


JUMP = 0.1
"""A change between two listed rates by more than this part of the larger, and by more than JUMP_OVER times what changes
before and after it, is a jump and not a stretch of a decay."""

JUMP_OVER = 10.0


@frozen(eq=False)
class LRCurve:
    """The learning rate of a run over its steps.

    steps: [K] increasing optimizer steps. rates: [K] the rate at each of them, linear in between; a jump (see `JUMP`)
    happens at the later of the two steps it is listed between. warmup: the step at which a linear warm-up from 0 at
    step 0 reaches the first rate, where the listed steps begin or before.
    """

    steps: NDArray[Any]
    rates: NDArray[Any]
    warmup: int = 0

    @property
    def knots(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Steps and rates between which the rate is linear: those listed, and the step before each jump. No warm-up."""
        import numpy as np

        change = np.abs(np.diff(self.rates))
        around = np.maximum(change[:-2], change[2:])
        large = JUMP * np.maximum(self.rates[1:-2], self.rates[2:-1])
        jumps = 2 + np.flatnonzero(change[1:-1] > np.maximum(large, JUMP_OVER * around))
        jumps = jumps[self.steps[jumps] - self.steps[jumps - 1] > 1]
        return (
            np.insert(self.steps, jumps, self.steps[jumps] - 1),
            np.insert(self.rates, jumps, self.rates[jumps - 1]),
        )

    def at(self, steps: NDArray[Any]) -> NDArray[Any]:
        """The rate at any steps [M]: warm-up included, the first rate after it, the last rate after the end."""
        import numpy as np

        rates = np.interp(steps, *self.knots)
        if not self.warmup:
            return rates
        return np.where(steps < self.warmup, self.rates[0] * steps / self.warmup, rates)


@frozen
class Variable:
    """A column that a law reads or predicts, beside those that every point has (`COLUMNS`).

    name: of the law's argument, of the column of the points, and in `--columns NAME=HEADER` and `--at NAME=VALUE`.
    unit: "tokens". meaning: in words, for messages and axes ("visual tokens a frame"). positive: whether it is above 0;
    what is not is drawn on a linear axis, and a target that is not is fitted with plain residuals instead of those of
    its logarithm. headers: other names of the column in tables, in whatever case. rising: of a target, whether higher
    is better. share: a part of a whole, which the law's shares together are: where one grows, the others shrink. of_d:
    whether it counts what D counts, as a batch size does: what a recipe says in training samples is then converted to
    what D counts; of a table it is taken for that, and said.

    One of `COLUMNS` may be declared, too, where it is not what it is elsewhere: a loss that may be negative.
    """

    name: str
    unit: str = ""
    meaning: str = ""
    positive: bool = field(default=True, kw_only=True)
    headers: tuple[str, ...] = field(default=(), converter=tuple, kw_only=True)
    rising: bool = field(default=False, kw_only=True)
    share: bool = field(default=False, kw_only=True)
    of_d: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.name.isidentifier() or self.name.lower() in RESERVED:
            raise FvlmError(
                f'variable "{self.name}": expected a name of a Python argument, and none of {", ".join(RESERVED)}'
            )
        if self.name.lower() in COLUMNS and self.name not in COLUMNS:
            raise FvlmError(f'variable "{self.name}": the points have a column "{self.name.lower()}" already')

    @property
    def words(self) -> str:
        """`V, the visual tokens`, for messages."""
        return f"{self.name}, the {self.meaning or self.unit}" if self.meaning or self.unit else self.name

    @property
    def axis(self) -> str:
        """`visual tokens, V (tokens)`, for a figure."""
        unit = f" ({self.unit})" if self.unit and self.unit != self.meaning else ""
        named = self.meaning and self.name not in self.meaning.split()
        return f"{self.meaning}, {self.name}{unit}" if named else f"{self.meaning or self.name}{unit}"


def _declared(given: Sequence[Variable | str]) -> tuple[Variable, ...]:
    return tuple(Variable(one) if isinstance(one, str) else one for one in given)


@frozen
class Parameter:
    """One parameter of a law.

    guess: a plausible value inside the bounds. min, max: bounds; the optimizer may rest on them, and then says so.
    log: search in its logarithm, for scales such as A and B that vary over decades (min must be at least 0).
    linear: the law is affine in it when the other parameters are fixed; such parameters need no starting values.
    per: one value for each value of a column of the points instead of one for all of them: one of `GROUPS`, or any
    other ("domain"). A law whose parameters are all `per` the same column is fitted separately for each of its values.
    vary: False keeps it at its guess. expr: its value as an expression of other parameters ("beta = alpha" is
    expr="alpha"), in the language of lmfit's constraints; such a parameter is not searched for.
    """

    name: str
    guess: float
    min: float = -inf
    max: float = inf
    log: bool = field(default=False, kw_only=True)
    linear: bool = field(default=False, kw_only=True)
    per: str | None = field(default=None, kw_only=True)
    vary: bool = field(default=True, kw_only=True)
    expr: str = field(default="", kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.min <= self.guess <= self.max or not isfinite(self.guess):
            raise FvlmError(
                f"parameter {self.name}: guess {self.guess} is not within [{self.min}, {self.max}]"
            )
        if self.log and (self.min < 0 or self.guess == 0):
            raise FvlmError(
                f"parameter {self.name}: log needs min >= 0 and guess > 0, got {self.min}, {self.guess}"
            )


@frozen(eq=False)
class Derived:
    """A quantity of each group that follows from a `Relation`'s parameter, and changes with `against` as well.

    name: of it ("D"). exponent: the name of its exponent. of: called with values of the parameter [S] and the points of
    the group; the quantity [S], above 0, NaN where the points do not tell it.
    """

    name: str
    exponent: str
    of: Callable[[NDArray[Any], pd.DataFrame], NDArray[Any]]


@frozen
class Relation:
    """How one parameter of the groups of a law changes from group to group: parameter = scale * against^exponent.

    parameter: a positive parameter that is `per` the law's group. against: the column that tells the groups apart.
    exponent: the name under which the exponent is reported. expected: a value to compare it with (a rule of thumb).
    derived: what else is told with it.
    """

    parameter: str
    against: str
    exponent: str
    expected: float | None = None
    derived: tuple[Derived, ...] = field(default=(), converter=tuple)


@frozen(eq=False)
class Window:
    """The points of a group, near its minimum, that a law is fitted to.

    inside: bool [n], of the group's points. spread: how far ln of the `Relation`'s parameter lies apart in smaller
    windows inside it (root of the mean square), which widens its interval.
    """

    inside: NDArray[Any]
    spread: float = 0.0


@frozen
class Serving:
    """Which of a law's columns say what a request costs, so that the best model for a budget of inference is found.

    tokens: visual tokens of a frame. frames: frames; "" for single pictures. text: tokens of text beside them, which
    `--text-tokens` says otherwise.
    """

    tokens: str
    frames: str = ""
    text: float = 0.0


@frozen
class FitModel:
    """A scaling law that `fvlm fit --model NAME` can fit.

    The component's target is `build(config) -> FitModel`; the law is all an author writes:

        def law(n, d, *, E, A, B, alpha, beta):
            \"\"\"L = E + A/N^alpha + B/D^beta\"\"\"
            return E + A / n**alpha + B / d**beta

    law: a pure function of numpy arrays returning the predicted loss (nats a token) of each point. Its positional
    arguments are the columns (`COLUMNS`, and its `variables`) and features it reads, its keyword-only arguments the
    parameters. Columns are [n]; parameters are [S, 1] (or [S, n] where they differ by group), because S parameter sets
    are evaluated at once: the result broadcasts to [S, n]. A point's loss may depend on its own row and features only.
    The first line of its docstring is the formula that tables and plots show.
    parameters: one `Parameter` for each keyword-only argument of the law, in the order of the tables.
    Every parameter changes the loss of some point.
    needs: what data would tell all parameters apart, as a phrase ("points of at least three sizes").
    reduced: the law to fit instead when the points cannot tell this one's parameters apart; those it does not share
    with this law are withheld.
    gradient: called as the law is; the derivatives {parameter: dL/dparameter}, each broadcasting as the law's result
    does. None: central differences.
    variables: the columns of its own that it reads or predicts, each a `Variable` or just its name.
    target: the column that the law predicts: "loss", or another of `COLUMNS` or `variables`.
    features: further arguments of the law by name, each made once from the table of points (`COLUMNS`, `variables`,
    and the labels size, run, schedule) and the learning-rate curves of its runs, e.g. the summed learning rate. Any
    type: [n] arrays, or whatever the law takes apart itself. Raises `UsageError` for points without what it needs.
    reads: columns of numbers of a table of points that only features or `derive` read, by name ("unique").
    derive: points made from the measured ones that the law is fitted to instead (a frontier); same columns. Raises
    `UsageError` when the points do not allow it.
    points: which points of a run the law is made for, unless the user says otherwise.
    relation: what is fitted across the groups of a law that is fitted separately for each.
    windows: called with the points of every group; for each, those that the law is fitted to. None: all.
    serving: which columns a request costs by; None for a law of no requests.
    valid: called with the points before they are fitted; raises `UsageError` for what they cannot be (proportions
    that do not sum to 1).
    concludes: called with what was found in each group (by its label; "" for one fit of all points): by parameter, the
    best value and those of the bootstrap's draws, [1 + S]. Lines that are printed below the numbers.
    checks: called with the values found and the points of one group; reasons why they must not be believed.
    """

    name: str
    law: Callable[..., Any]
    parameters: tuple[Parameter, ...] = field(converter=tuple)
    needs: str = ""
    reduced: FitModel | None = None
    gradient: Callable[..., Mapping[str, Any]] | None = field(default=None, kw_only=True)
    variables: tuple[Variable, ...] = field(default=(), converter=_declared, kw_only=True)
    target: str = field(default="loss", kw_only=True)
    features: Mapping[str, Callable[[pd.DataFrame, Mapping[str, LRCurve]], Any]] = field(
        factory=dict, kw_only=True
    )
    reads: tuple[str, ...] = field(default=(), converter=tuple, kw_only=True)
    derive: Callable[[pd.DataFrame], pd.DataFrame] | None = field(default=None, kw_only=True)
    points: Policy = field(default="all", kw_only=True)
    relation: Relation | None = field(default=None, kw_only=True)
    windows: Callable[[Sequence[pd.DataFrame]], Sequence[Window]] | None = field(default=None, kw_only=True)
    serving: Serving | None = field(default=None, kw_only=True)
    checks: Callable[[Mapping[str, float], pd.DataFrame], Sequence[str]] | None = field(
        default=None, kw_only=True
    )
    valid: Callable[[pd.DataFrame], None] | None = field(default=None, kw_only=True)
    concludes: Callable[[Mapping[str, Mapping[str, NDArray[Any]]]], Sequence[str]] | None = field(
        default=None, kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        wanted = [
            argument.name for argument in _arguments(self.law) if argument.kind is argument.KEYWORD_ONLY
        ]
        declared = [parameter.name for parameter in self.parameters]
        if sorted(wanted) != sorted(declared):
            raise FvlmError(
                f"fit {self.name}: the law takes {', '.join(wanted)}; declared: {', '.join(declared)}"
            )
        known = [*dict.fromkeys([*COLUMNS, *(one.name for one in self.variables), *self.features])]
        unknown = [name for name in (*self.inputs, self.target) if name not in known]
        if unknown:
            raise FvlmError(
                f"fit {self.name}: the law reads {', '.join(unknown)}; a point has {', '.join(known)}. Declare others: "
                f'variables=("{unknown[0]}",)'
            )
        spelt: dict[str, str] = {}
        for one in self.variables:
            other = spelt.setdefault(one.name.lower(), one.name)
            if other != one.name:
                raise FvlmError(
                    f"fit {self.name}: variables {other} and {one.name} differ in case alone, which headers of tables "
                    "may not; rename one"
                )
        for label in self.labels:
            if label in (*self.inputs, self.target):
                what = "predicts" if label == self.target else "reads"
                raise FvlmError(
                    f'fit {self.name}: parameters differ by {label}, which holds labels (per="{label}"), and the law '
                    f"{what} it as a number; name another column"
                )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns and features that the law reads, in the order of its arguments."""
        return tuple(one.name for one in _arguments(self.law) if one.kind is not one.KEYWORD_ONLY)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns among them."""
        return tuple(name for name in self.inputs if name not in self.features)

    @property
    def form(self) -> str:
        """The formula: the first line of the law's docstring."""
        return (inspect.getdoc(self.law) or self.name).splitlines()[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns whose values its parameters differ by, beside `GROUPS`."""
        return tuple(
            dict.fromkeys(one.per for one in self.parameters if one.per is not None and one.per not in GROUPS)
        )

    @property
    def output(self) -> Variable:
        """What it predicts."""
        return self.variable(self.target)

    def variable(self, column: str) -> Variable:
        """What is declared of a column; of one that is not, its name."""
        return next((one for one in self.variables if one.name == column), Variable(column))

    def needed(self, column: str) -> bool:
        """Whether points of this law must have a column."""
        return column in (*self.columns, self.target, *self.reads, *self.labels)

    @property
    def split(self) -> str | None:
        """The label for each value of which the law is fitted separately; None for one fit of all points."""
        first = self.parameters[0].per
        return first if all(parameter.per == first for parameter in self.parameters) else None


def _arguments(law: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(law).parameters.values())
