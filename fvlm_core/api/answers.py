"""What a fitted law answers: the loss of a run not made, the best use of a budget or of an inference budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict, fields, frozen

from fvlm_core.api.views.answer import print_answer
from fvlm_core.api.views.console import as_html, as_text
from fvlm_core.api.views.inference import print_inference
from fvlm_core.scaling.predict.inference import Choice, InferenceAnswer
from fvlm_core.scaling.predict.prediction_gate import Answer

if TYPE_CHECKING:
    import pandas as pd


@frozen(eq=False, repr=False)
class BestInference:
    """What a budget of inference is best spent on. answer: everything, as the core has it."""

    answer: InferenceAnswer

    @property
    def status(self) -> str:
        """ "ok"; "reduced"; "refused" when no number is given."""
        return self.answer.status

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why there is no number, or not all of the law behind it."""
        return self.answer.reasons

    @property
    def best(self) -> pd.DataFrame:
        """A row for N and the law's columns of frames and tokens: value, low and high (95 %), NaN where there is none;
        no row when it is refused."""
        import pandas as pd

        one, found = self.answer.best, self.answer.intervals.items()
        values = () if one is None else (one.n, one.frames, one.tokens)
        rows = [
            {"value": value, "low": ends and ends[0], "high": ends and ends[1]}
            for (_, ends), value in zip(found, values, strict=True)
        ]
        return pd.DataFrame(
            rows, index=[name for name, _ in found], columns=["value", "low", "high"], dtype=float
        )

    @property
    def near(self) -> pd.DataFrame:
        """A row for each near-equal choice of a model that exists, best first: label, n, frames, tokens, flops, loss,
        worse (a part of the loss), worse_interval (95 %), best (the share of draws in which it is)."""
        import pandas as pd

        return pd.DataFrame(
            [asdict(one) for one in self.answer.near], columns=[of.name for of in fields(Choice)]
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `fvlm predict --inference --json` prints it."""
        return self.answer.to_json()

    def __repr__(self) -> str:
        return as_text(lambda console: print_inference(console, self.answer))

    def _repr_html_(self) -> str:
        return as_html(lambda console: print_inference(console, self.answer))


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
