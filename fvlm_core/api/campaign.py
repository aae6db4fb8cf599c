"""Campaigns: runs are bought, trained and fitted, round after round, until a prediction is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from attrs import evolve, field, frozen

from fvlm_core.api.campaigning import Prepared, asked_part, asked_target, prepare_campaign
from fvlm_core.api.checks import count
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder
from fvlm_core.api.recipe import Recipe, as_recipe
from fvlm_core.api.views.campaign import print_campaign, say_progress
from fvlm_core.api.views.console import as_html, as_text, progress_console
from fvlm_core.execution.campaign import CampaignFolder, Train, planned_sizes
from fvlm_core.recipes import read
from fvlm_core.recipes.campaign import CampaignSettings
from fvlm_core.scaling.campaign.decide import decide
from fvlm_core.scaling.campaign.estimate import estimate
from fvlm_core.scaling.campaign.loop import play
from fvlm_core.scaling.campaign.rates import best_rate
from fvlm_core.scaling.campaign.record import Finding, Journal, Round, Verdict
from fvlm_core.scaling.campaign.truth import Truth, read_truth
from fvlm_core.scaling.points.in_fits import FITS
from fvlm_core.scaling.predict.advice import problem_at
from fvlm_core.scaling.predict.design import Candidate
from fvlm_core.scaling.predict.prior import prior
from fvlm_core.utils.atomic_files import refuse_link
from fvlm_core.utils.folder_lock import writing

if TYPE_CHECKING:
    from rich.console import Console

Tell = Callable[[Journal], None]
"""Is told of everything that was decided, measured and found."""


@public
def campaign(
    recipe: Recipe | str | PathLike[str] | Mapping[str, Any],
    target: str | Mapping[str, Any] | None = None,
    budget: float | str | None = None,
    *,
    within: float | str | None = None,
    law: str | None = None,
    simulate: str | PathLike[str] | None = None,
    dry_run: bool = False,
    root: Root = None,
) -> CampaignResult:
    """Predict the loss of a run that is not made: buy cheaper runs of the recipe's sizes, round after round, until half
    of the prediction's 95 % interval is at most `within` of it, the budget is spent, or nothing helps, as
    `fvlm campaign` does. The runs are trained in this process; a campaign that was interrupted goes on.

    recipe: as in `train`. target: "N=20M,D=1M" or "size=w96,D=20k", or the same as a dict. budget: training FLOPs.
    within: 0.02 or "2%". law: a fit of N and D. What is left out is as the recipe's table [campaign] says. simulate: a
    truth to play against, in seconds and without a file: "joint-chinchilla:E=1.7,...,noise=.005", or a file of
    `fvlm fit --json`. dry_run: the pilot and the first choice alone. root: where runs are kept; see `runs`.
    Raises `FvlmError`.
    """
    checked = as_recipe(recipe).checked
    where = runs_folder(root)
    settings = asked_settings(checked, target, budget, within, law)
    if simulate is not None:
        return simulated(checked, settings, read_truth(str(simulate)))
    if dry_run:
        return foreseen(checked, settings, where)
    console = progress_console()
    return run_campaign(checked, settings, where, training_here(where, console), say_progress(console))


@frozen(eq=False, repr=False)
class CampaignResult:
    """What came of a campaign. name: of the recipe. journal: all that was decided, measured and found. folder: of its
    runs; None for one that was simulated. first: the first choice of a dry run. truth: what was simulated."""

    name: str
    prepared: Prepared
    journal: Journal
    folder: Path | None = None
    first: Round | Verdict | None = None
    truth: Truth | None = None
    remarks: tuple[str, ...] = field(default=(), converter=tuple)

    @property
    def verdict(self) -> Verdict | None:
        """outcome ("narrow enough", "budget spent", "nothing helps", "no law") and reasons; None of a dry run."""
        return self.journal.verdict

    @property
    def prediction(self) -> Finding | None:
        """The last one: loss, low, high (95 % of one run of the target), half_width, spent, and more."""
        return self.journal.finding

    @property
    def spent(self) -> float:
        """FLOPs of all runs that were bought."""
        return self.journal.spent

    @property
    def rounds(self) -> pd.DataFrame:
        """A row a round: why, runs, flops, spent (so far), loss, low, high, half_width; NaN where there is none."""
        rows: list[dict[str, Any]] = []
        for one in self.journal.rounds:
            found = one.finding
            told = {
                name: np.nan if found is None or getattr(found, name) is None else getattr(found, name)
                for name in ("spent", "loss", "low", "high", "half_width")
            }
            rows.append({"why": one.why, "runs": len(one.runs), "flops": one.flops, **told})
        columns = ["why", "runs", "flops", "spent", "loss", "low", "high", "half_width"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def runs(self) -> pd.DataFrame:
        """A row a run: run, size, n, d, flops, round, loss (NaN before it is trained)."""
        rows = [
            {
                "run": run.run,
                "size": run.size,
                "n": run.n,
                "d": run.d,
                "flops": run.flops,
                "round": at,
                "loss": np.nan if one.losses is None else one.losses[run.run],
            }
            for at, one in enumerate(self.journal.rounds)
            for run in one.runs
        ]
        return pd.DataFrame(rows, columns=["run", "size", "n", "d", "flops", "round", "loss"])

    def to_json(self) -> dict[str, Any]:
        """Plain values: as `campaign.json` has them, with the remarks."""
        out = {
            "name": self.name,
            "folder": None if self.folder is None else str(self.folder),
            "settings": dict(self.prepared.settings),
            "spent": self.spent,
            **self.journal.to_json(),
            "remarks": list(self.remarks),
        }
        if self.truth is not None:
            question = self.prepared.question
            truth = {"law": self.truth.law.name, "values": self.truth.values, "noise": self.truth.noise}
            out["truth"] = truth | {"loss": self.truth.loss(question.n, question.d)}
        if isinstance(self.first, Round):
            out["first"] = Journal(rounds=[self.first]).to_json()["rounds"][0]
        return out

    def __repr__(self) -> str:
        return as_text(lambda console: print_campaign(console, self))

    def _repr_html_(self) -> str:
        return as_html(lambda console: print_campaign(console, self))


def asked_settings(
    recipe: read.Recipe,
    target: str | Mapping[str, Any] | None,
    budget: float | str | None,
    within: float | str | None,
    law: str | None,
) -> CampaignSettings:
    """The recipe's table [campaign] with what is asked for laid over it. Raises `UsageError`."""
    own = recipe.runs[0].config.campaign or CampaignSettings()
    asked = {
        "target": asked_target(target),
        "budget": count("budget", budget),
        "within": asked_part(within),
        "law": law,
    }
    return evolve(own, **{key: value for key, value in asked.items() if value is not None})


def training_here(root: Path, console: Console, *, force: bool = False) -> Train:
    """Train runs in this process, one after the other."""

    def train(recipe: read.Recipe, file: Path) -> None:
        from fvlm_core.api.train import train_all

        train_all(recipe, root, (), console, force=force)

    return train


def run_campaign(
    recipe: read.Recipe, settings: CampaignSettings, root: Path, train: Train, tell: Tell
) -> CampaignResult:
    """Begin or go on with a campaign, to its verdict."""
    folder = root / recipe.name
    prepared = prepare_campaign(recipe, settings, planned_sizes(folder))
    kept = CampaignFolder(root, recipe.name, prepared.runs, prepared.settings, prepared.sizes)
    if not folder.exists():
        decide(prepared.question, Journal(sweep=prepared.sweep))  # what cannot begin leaves no folder
    refuse_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder):
        journal = kept.open()
        ended = journal.verdict is not None

        def keep(changed: Journal) -> None:
            kept.keep(changed)
            tell(changed)

        tell(journal)
        if prepared.sweep is not None and journal.rate is None and journal.verdict is None:
            _find_rates(kept, prepared, journal, train, keep)
        play(prepared.question, journal, lambda wanted: kept.measure(journal, wanted, train), keep)
        if not ended:
            kept.keep(journal)
        if not ended or not (folder / FITS).exists():
            _keep_fit(kept, prepared, journal)
    return CampaignResult(recipe.name, prepared, journal, folder, remarks=prepared.remarks)


def _find_rates(kept: CampaignFolder, prepared: Prepared, journal: Journal, train: Train, keep: Tell) -> None:
    """The sweep of learning rates, and what it tells."""
    if journal.sweep is None:
        journal.sweep = prepared.sweep
        keep(journal)
    done = journal.sweep
    assert done is not None
    if done.losses is None:
        done.losses = kept.measure(journal, done, train)
        keep(journal)
    found = best_rate(done, prepared.batch)
    if isinstance(found, tuple):
        journal.rate = found
    else:
        reasons = [f"the sweep tells no learning rate: {reason}" for reason in found]
        journal.verdict = Verdict(outcome="no law", reasons=reasons)
    keep(journal)


def _keep_fit(kept: CampaignFolder, prepared: Prepared, journal: Journal) -> None:
    """The law's fit on the runs' last evaluations, beside them: what the report shows."""
    from fvlm_core.api.fitted import FitResult
    from fvlm_core.api.train import keep_fits
    from fvlm_core.runs.store import open_run
    from fvlm_core.scaling.fit.fitting import fit_points
    from fvlm_core.scaling.points.point_selection import PointSelection, apply
    from fvlm_core.scaling.points.points_from_runs import from_runs

    measured = journal.measured
    if measured:
        runs = [open_run(kept.folder / run.run) for run, _ in measured]
        points = apply(
            PointSelection("final"), from_runs(runs, str(kept.folder), laws=[prepared.question.law])
        )
        keep_fits([FitResult(fit_points(points, prepared.question.law))], kept.folder)


def simulated(recipe: read.Recipe, settings: CampaignSettings, truth: Truth, seed: int = 0) -> CampaignResult:
    """Play a campaign against a known truth. seed: of what runs scatter by."""
    prepared = prepare_campaign(recipe, settings, None)
    journal = Journal()
    play(prepared.question, journal, lambda wanted: truth.measured(wanted.runs, seed), lambda _: None)
    remarks = [*prepared.remarks, *([_UNSWEPT] if prepared.sweep else [])]
    return CampaignResult(recipe.name, prepared, journal, truth=truth, remarks=remarks)


_UNSWEPT = "the sweep of learning rates is left out: the truth knows none"


def foreseen(recipe: read.Recipe, settings: CampaignSettings, root: Path) -> CampaignResult:
    """The pilot of a campaign, and what it would choose after it were the truth such as published laws are."""
    prepared = prepare_campaign(recipe, settings, planned_sizes(root / recipe.name))
    question, journal = prepared.question, Journal(sweep=prepared.sweep)
    first = decide(question, journal)
    assert isinstance(first, Round)
    imagined = _likely(prepared).measured(first.runs)
    after = Journal(sweep=prepared.sweep, rounds=[evolve(first, losses=imagined)])
    after.rounds[0].finding = evolve(estimate(question, after.measured, after.spent), half_width=None)
    journal.rounds.append(first)
    return CampaignResult(
        recipe.name, prepared, journal, root / recipe.name, decide(question, after), remarks=prepared.remarks
    )


def _likely(prepared: Prepared) -> Truth:
    """The middle of what is believed before any run."""
    law = prepared.question.law
    offered = [
        Candidate(one.size, one.n, float(one.d), one.flops, one.flops) for one in prepared.question.offers
    ]
    problem = problem_at(law, offered)
    theta = np.median(prior(problem, 2000).theta, axis=0)
    values = problem.values(theta[None])[0]
    named = {slot.name: float(value) for slot, value in zip(problem.slots, values, strict=True)}
    return Truth(law, named, 0.005)
