"""Losses of a trained model, by source and mode, on any data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from fvlm_core.api.checks import one_of, texts, within
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.views.console import as_html, as_text, new_table, print_whole, progress_console
from fvlm_core.api.views.display import Display
from fvlm_core.utils.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from fvlm_core.evaluation.subject import EvaluatedModel, EvaluationResult
    from fvlm_core.interfaces.data import Split
    from fvlm_core.recipes.schema import Answering


@public
def evaluate(
    run: str | PathLike[str],
    data: str | None = None,
    *,
    settings: str | Sequence[str] = (),
    modes: str | Sequence[str] = (),
    split: Split = "validation",
    samples: int | None = None,
    max_bad: float | None = None,
    device: str = "auto",
    metrics: str | Sequence[str] = (),
    generation: Mapping[str, Any] | None = None,
    weights: str | None = None,
    root: Root = None,
) -> EvaluateResult:
    """Measure the model of a run, or of a folder of exported weights, as `fvlm eval` does; the arguments are its
    options.

    data: a source of the run's recipe, or any installed data source; None for what the run validates on. settings:
    "path=clips" of that source. modes: of the connector, or "all". metrics: names of what the model's answers are
    scored by. generation: how it answers, keys of `[eval.generation]`; what they leave open, or is None, is as in the
    run's recipe. weights: see `load`. Raises `FvlmError`.
    """
    one_of("split", split, ("validation", "train"))
    one_of("device", device, ("auto", "cpu", "cuda"))
    within("samples", samples, 1, whole=True)
    within("max_bad", max_bad, 0, 1)
    said = {name: value for name, value in (generation or {}).items() if value is not None}
    if said and not texts(metrics):
        raise UsageError(
            'generation: nothing is answered without a metric; expected metrics=["NAME"] with it'
        )
    return evaluated(
        str(run),
        runs_folder(root),
        data=data,
        settings=texts(settings),
        modes=texts(modes),
        split=split,
        samples=samples,
        max_bad=max_bad,
        device=device,
        metrics=texts(metrics),
        answering=lambda recipe: _answering(recipe, said),
        weights=weights,
        console=progress_console(),
        note=warn,
    )


def evaluated(
    run: str,
    root: Path,
    *,
    data: str | None,
    settings: Sequence[str],
    modes: Sequence[str],
    split: Split,
    samples: int | None,
    max_bad: float | None,
    device: str,
    metrics: Sequence[str],
    answering: Callable[[Answering], Answering],
    weights: str | None,
    console: Console,
    note: Callable[[str], None],
) -> EvaluateResult:
    """The body of `evaluate`. answering: of the recipe's way to answer makes the one to use. console: for progress,
    how things are shown, and what is left out. note: is told where the weights are from, where people should know."""
    from fvlm_core.evaluation.subject import (
        check_mode,
        choose_metrics,
        how_shown,
        measure,
        open_data,
        open_subject,
    )
    from fvlm_core.recipes.schema import Answering

    subject = open_subject(run, root, weights=weights)
    if subject.remark:
        note(subject.remark)
    connector = subject.model.connector.spec
    for mode in modes:
        if mode != "all":
            check_mode(subject, mode, "--mode")
    chosen = connector.modes if "all" in modes else tuple(dict.fromkeys(modes)) or (connector.mode,)
    with Display(console, 1) as display:
        sources = open_data(subject, data, settings, split, display.work, max_bad)
    for text in how_shown(subject, sources, named=data is not None):
        console.print(f"shown: {text}", soft_wrap=True)
    scored = choose_metrics(subject, metrics)
    how = answering(subject.eval.generation or Answering())
    measured = measure(subject, sources, chosen, samples, device, scored, how)
    for bad in measured.bad:
        console.print(f"left out: {bad.sample}: {bad.reason}", soft_wrap=True)
    return EvaluateResult(subject, split, measured)


def _answering(recipe: Answering, given: Mapping[str, Any]) -> Answering:
    """The recipe's way to answer with other settings. Raises `Problems` for what is none of its keys."""
    from fvlm_core.interfaces.generation import giving_way
    from fvlm_core.recipes.read import settings_from
    from fvlm_core.recipes.resolved import plain

    table = {**plain(recipe), **giving_way(given)}
    settings = {name: value for name, value in table.items() if value is not None}
    return settings_from(settings, type(recipe), "generation")


@frozen(eq=False, repr=False)
class EvaluateResult:
    """Losses and entropies of a model in each mode, on the same samples."""

    subject: EvaluatedModel
    split: Split
    measured: EvaluationResult

    @property
    def table(self) -> pd.DataFrame:
        """A row a mode, all values; losses by source are columns of their own, `val_loss_by_source.NAME`."""
        import pandas as pd

        return pd.json_normalize([{"mode": mode, **row} for mode, row in self.measured.rows.items()])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `fvlm eval --json` prints it."""
        return {
            "model": self.subject.name,
            "step": self.subject.step,
            "split": self.split,
            "samples": self.measured.samples,
            "bad_samples": [asdict(bad) for bad in self.measured.bad],
            "modes": self.measured.rows,
            **({"answers": self._answers()} if self.measured.answers else {}),
        }

    def _answers(self) -> dict[str, Any]:
        """Every answer, by mode."""
        from fvlm_core.runs.answers import plain

        return {mode: [plain(each) for each in answers] for mode, answers in self.measured.answers.items()}

    def show(self, console: Console) -> None:
        """Print it as a table."""
        first = next(iter(self.measured.rows.values()))
        sources = list(first["val_loss_by_source"])
        entropies = [
            name for name in first if name.startswith("attention_entropy") and first[name] is not None
        ]
        heads = {name: name.replace("attention_entropy", "entropy").replace("_", " ") for name in entropies}
        numbers = ("loss", "words", *sources, *heads.values(), "tokens")
        table = new_table("mode", *numbers, right=numbers)
        for mode, row in self.measured.rows.items():
            values = [
                row["val_loss"],
                row["val_loss_content"],
                *(row["val_loss_by_source"][s] for s in sources),
            ]
            values += [row[name] for name in entropies]
            cells = ["" if value is None else f"{value:.4f}" for value in values]
            table.add_row(mode, *cells, f"{row['val_tokens']:,}")
        print_whole(console, table)
        if self.measured.answers:
            print_whole(console, self._metrics())
            if (categories := self._categories()).row_count:
                print_whole(console, categories)
        step = "" if self.subject.step is None else f", step {self.subject.step}"
        console.print(
            f"{self.subject.name}{step}: {self.measured.samples} samples, {self.split}", soft_wrap=True
        )

    def _metrics(self) -> Table:
        """A row a metric in a mode: its mean over the answers, between the ends of the interval."""
        from fvlm_core.runs.answers import metric_means

        numbers = ("mean", "low", "high", "answers")
        table = new_table("mode", "metric", *numbers, right=numbers)
        for mode, answers in self.measured.answers.items():
            for name, found in metric_means(self.measured.rows[mode]).items():
                ends = [
                    "" if value is None else f"{value:.4g}" for value in (found.mean, found.low, found.high)
                ]
                scored = sum(each.scores[name] is not None for each in answers)
                table.add_row(mode, name, *ends, str(scored))
        return table

    def _categories(self) -> Table:
        """A row a metric in a category in a mode, beside what a guess would score there."""
        from fvlm_core.runs.answers import category_rows

        numbers = ("mean", "low", "high", "chance", "answers")
        table = new_table("mode", "category", "metric", *numbers, right=numbers)
        for mode, row in self.measured.rows.items():
            for name, count, chance, metric, found in category_rows(row):
                values = [found.mean, found.low, found.high, chance]
                cells = ["" if value is None else f"{value:.4g}" for value in values]
                table.add_row(mode, name, metric, *cells, str(count))
        return table

    def __repr__(self) -> str:
        return as_text(self.show)

    def _repr_html_(self) -> str:
        return as_html(self.show)
