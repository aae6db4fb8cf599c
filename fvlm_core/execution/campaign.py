"""A campaign as a folder: `campaign.json`, what it has done, and `campaign.toml`, the recipe of its runs.

Both are written whole or not at all. The runs stand beside them, in the folder of the recipe's name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core import __version__
from fvlm_core.execution.sequential import completed_run
from fvlm_core.recipes.drift import changes, refused
from fvlm_core.recipes.merge import LENGTHS
from fvlm_core.recipes.read import Recipe, Run, only, read_recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.recipes.written import whole
from fvlm_core.runs.fingerprint import data_places
from fvlm_core.runs.store import open_run
from fvlm_core.scaling.campaign.offers import Offer
from fvlm_core.scaling.campaign.record import FORMAT, STATE, Journal, Round
from fvlm_core.scaling.predict.cost import Size
from fvlm_core.utils.atomic_files import read_json, sync_folder, write_json, write_text
from fvlm_core.utils.errors import FvlmError, UsageError

RUNS = "campaign.toml"

CHANGEABLE = ("budget", "within")
"""Settings that may change while a campaign goes on: they say when it ends, not what was measured."""

_OTHER = "Or give the campaign another name (-o name=...), another place (--runs DIR), or remove {file}"

Train = Callable[[Recipe, Path], None]
"""Trains runs of the recipe in a file until they are complete; raises `FvlmError` when one is not."""


@frozen(eq=False)
class CampaignFolder:
    """root: of all runs. name: of the recipe. runs: its run of each size, by label. settings: plain values. sizes: as
    they were planned when the campaign began."""

    root: Path
    name: str
    runs: Mapping[str, Run]
    settings: Mapping[str, Any]
    sizes: tuple[Size, ...]

    @property
    def folder(self) -> Path:
        """Of the campaign and its runs."""
        return self.root / self.name

    def keep(self, journal: Journal) -> None:
        """Write what has been done. It is durable when this returns."""
        file = self.folder / STATE
        before = _read(file) if file.exists() else {}
        write_json(
            file,
            {
                "format": FORMAT,
                "name": self.name,
                "begun": before.get("begun", _now()),
                "written": _now(),
                "fvlm": __version__,
                "settings": dict(self.settings),
                **journal.to_json(),
                "sizes": [{"size": one.label, "N": one.n, "FLOPs": one.flops} for one in self.sizes],
                "recipe": {label: _identity(run) for label, run in self.runs.items()},
            },
        )
        sync_folder(self.folder)

    def open(self) -> Journal:
        """What has been done so far; an empty journal before the first round.

        Settings that may change are taken as they are now, and a verdict is open again where they did. Raises
        `UsageError` for a file that is no campaign's, and for a recipe or settings that changed underneath.
        """
        file = self.folder / STATE
        if not file.exists():
            return Journal()
        table = _read(file)
        try:
            journal = Journal.from_json(table)
            was, recipe = dict(table["settings"]), dict(table["recipe"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UsageError(
                f"{file}: no record of a campaign ({error!r}). {_OTHER.format(file=file)}"
            ) from None
        self._check(file, was, recipe)
        if any(was.get(key) != self.settings.get(key) for key in CHANGEABLE):
            journal.verdict = None
        return journal

    def _check(self, file: Path, was: dict[str, Any], recipe: dict[str, Any]) -> None:
        lines = [
            f"  {key}: {was.get(key)} -> {self.settings.get(key)}"
            for key in {**was, **self.settings}
            if was.get(key) != self.settings.get(key) and key not in CHANGEABLE
        ]
        for label, run in self.runs.items():
            found = changes(recipe.get(label, {}), _identity(run), data_places(run.config))
            lines += [f"  {label}: {change}" for change in refused(found, ())] if label in recipe else []
        if lines:
            raise UsageError(
                "\n".join(
                    [
                        f"{file} is a campaign under other settings; what differs:",
                        *dict.fromkeys(lines),
                        f"Put them back to continue it (budget and within may change). {_OTHER.format(file=file)}",
                    ]
                )
            )

    def measure(self, journal: Journal, wanted: Round, train: Train) -> dict[str, float]:
        """The losses of the runs of a round, of which those that are not complete are trained."""
        file = self._write_runs(journal)
        recipe = only(read_recipe(str(file)), [one.run for one in wanted.runs])
        if not all(completed_run(recipe, run, self.root) for run in recipe.runs):
            train(recipe, file)
        losses: dict[str, float] = {}
        for run in recipe.runs:
            outcome = completed_run(recipe, run, self.root)
            if outcome is None:
                raise FvlmError(f"{self.name}/{run.id} is not complete; the same command goes on with it")
            last = open_run(outcome.folder).evaluations("step", "val_loss")[-1]["val_loss"]
            if not isinstance(last, float) or not 0 < last < float("inf"):
                raise FvlmError(
                    f"{self.name}/{run.id} ended at a loss of {last}, of which no law is made: change its recipe (a "
                    "lower rate), and begin again under another name (-o name=...)"
                )
            losses[run.id] = last
        return losses

    def _write_runs(self, journal: Journal) -> Path:
        """The recipe of all runs that are bought; it stands alone, so that what it extends may go."""
        rounds = [*([journal.sweep] if journal.sweep else []), *journal.rounds]
        tables = [
            (
                one.run,
                self._table(one, part.rates.get(one.run, _rate(journal, one)), part is not journal.sweep),
            )
            for part in rounds
            for one in part.runs
        ]
        file = self.folder / RUNS
        text = f"# The runs of a campaign ({STATE}), written by fvlm campaign.\n" + whole(self.name, tables)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            write_text(file, text)
            sync_folder(self.folder)
        return file

    def _table(self, one: Offer, rate: float | None, in_fits: bool) -> dict[str, Any]:
        """A run of a size, as a recipe says it."""
        run = self.runs[one.size]
        table = _identity(run)
        training = {key: value for key, value in table["training"].items() if key not in LENGTHS}
        training["steps"] = one.d // run.config.training.batch_size
        training["seed"] = seed_of(run, one)
        if rate is not None:
            training["lr"] = rate
        return {**table, "training": training, "in_fits": in_fits}


def seed_of(run: Run, one: Offer) -> int:
    """Of a run that is bought: its own, and always the same."""
    return run.config.training.seed + 1 + zlib.crc32(one.run.encode()) % 100_000


def planned_sizes(folder: Path) -> tuple[Size, ...] | None:
    """The sizes of a campaign that is under way, as they were planned when it began; None where there is none."""
    file = folder / STATE
    if not file.exists():
        return None
    try:
        return tuple(
            Size(str(one["size"]), float(one["N"]), float(one["FLOPs"])) for one in _read(file)["sizes"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file}: no record of a campaign ({error!r}). {_OTHER.format(file=file)}") from None


def _rate(journal: Journal, one: Offer) -> float | None:
    """Of a run after a sweep; None where the recipe's own counts."""
    return None if journal.rate is None else float(f"{journal.rate[0] * one.n ** journal.rate[1]:.6g}")


def _identity(run: Run) -> dict[str, Any]:
    """A size's recipe, without what is said of the campaign and of fits."""
    return {
        key: value for key, value in resolved(run.config).items() if key not in ("campaign", "fits", "name")
    }


def _read(file: Path) -> Mapping[str, Any]:
    """Raises `UsageError` for what is no campaign's record."""
    try:
        table = read_json(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read: {error}. {_OTHER.format(file=file)}") from None
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise UsageError(
            f"{file}: no record of a campaign that this version of fvlm reads. {_OTHER.format(file=file)}"
        )
    return table  # pyright: ignore[reportUnknownVariableType]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
