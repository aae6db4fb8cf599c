"""One start of a run: from what is on disk to a model that is trained, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import fields, frozen

import fvlm_core
from fvlm_core.data.modalities import unread
from fvlm_core.data.sources import Sources, left_out
from fvlm_core.execution import tracked_report
from fvlm_core.hardware.devices import pick_device, settings_restored
from fvlm_core.hardware.precision import ChosenPrecision, faster_precision
from fvlm_core.interfaces.chat import Chat
from fvlm_core.model.build import compose, make_chat, modality_specs, read_architectures, remarks
from fvlm_core.model.lora import adapt
from fvlm_core.model.mup import parametrise
from fvlm_core.model.vlm import VLM
from fvlm_core.planning.compute import (
    NOMINAL_FRAMES,
    count_parameters,
    flops_per_sample,
    nominal_flops,
    short_count,
    vocabulary_parameters,
)
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.recipes.drift import Change
from fvlm_core.recipes.read import Run
from fvlm_core.recipes.resolved import plain, resolved
from fvlm_core.recipes.schema import RunRecipe, Training
from fvlm_core.runs.attempts import accepted_drift, begin_attempt
from fvlm_core.runs.belonging import CONFIGS, configs, owner
from fvlm_core.runs.checkpoint import MODEL, UNIDENTIFIED, is_identified, written_by
from fvlm_core.runs.environment import describe_environment
from fvlm_core.runs.fingerprint import seen_data, software
from fvlm_core.runs.overfitting import overfitting
from fvlm_core.runs.store import (
    ARCHITECTURES,
    ENVIRONMENT,
    RECIPE,
    SUMMARY,
    TOKENIZER,
    open_run,
    read_part,
)
from fvlm_core.runs.viewing import VIEWING, Viewing, differences, viewing_of
from fvlm_core.training.callbacks import Observer
from fvlm_core.training.length import Length, Spent
from fvlm_core.training.loop import ReadyRun, train
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.signals import StopRequest
from fvlm_core.training.state import Latest
from fvlm_core.training.tracker_thread import Mirrored
from fvlm_core.utils.atomic_files import sha256, write_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.weights.init_from import (
    Initial,
    check_parametrisation,
    check_same_start,
    find_initial,
    load_initial,
)
from fvlm_core.weights.matching import load_foreign, read_foreign


@frozen
class Begun:
    """A run that there is work for. found: what differs from its record. latest: where it stands.

    tokenizer: whether its folder holds one. precision: what `auto` is, of the recipe that asks for it.
    """

    found: list[Change]
    latest: Latest
    tokenizer: bool
    precision: ChosenPrecision | None


@frozen(eq=False)
class Attempt:
    """One start of a run on one rank, from what is on disk to a trained model."""

    run: Run
    recipe: str
    """The name of the run's recipe."""
    root: Path
    """Where runs are kept."""
    folder: Path
    """Where this one is."""
    sources: Sources
    begun: Begun
    ranks: Ranks
    rehearsal: bool
    """Whether record and summary say that this is one."""

    def train(self, observer: Observer, stop: StopRequest) -> dict[str, Any]:
        """Make the model, write the record, train; the run's summary."""
        config, sources, folder = self.run.config, self.sources, self.folder
        initial = self._initial()
        tokenizer = folder / TOKENIZER if self.begun.tokenizer else initial.tokenizer if initial else None
        llm = config.model.llm
        chat = make_chat(config.model, sources.texts, tokenizer) if tokenizer else sources.chat(llm)
        model = self._compose(chat, initial)
        seen = viewing_of(config.data, sources.train, model.encoder.spec.image_size, chat)
        record, length = self._described(model, chat, seen)
        for text in self.ranks.on_first(lambda: self._write(record, length, chat, initial)):
            observer.warned(text)
        for text in differences(seen, sources.validation):
            observer.warned(f"validation: {text}")
        named = left_out(sources.every)
        for name, problems in named.items():
            observer.warned(
                f"{name}: {len(problems):,} left out of its data, first {problems[0]} "
                "(fvlm data check names all of them)"
            )
        if length.rounded:
            observer.warned(f"{length.rounded}: {length}")
        training = config.training
        if training.optimizer is not None and training.betas != fields(Training).betas.default:
            observer.warned(f"training.betas are AdamW's: {training.optimizer.word} has settings of its own")
        known = {
            "run_id": self.run.id,
            "model_size": record["size"],
            "total_params": record["total_params"],
            "lr_schedule": config.training.schedule_name,
            "flops_per_sample": record["flops_per_sample"],
            "left_out": [str(problem) for problems in named.values() for problem in problems],
            "drift": accepted_drift(folder),
            **({"precision": record["precision"]} if "precision" in record else {}),
            **({"rehearsal": True} if self.rehearsal else {}),
        }
        trackers = config.trackers if self.ranks.first else ()
        with settings_restored(), Mirrored(observer, trackers, self.recipe, folder) as mirrored:
            told = mirrored.predicted if trackers else None
            ready = ReadyRun(self.run, model, chat, sources, folder, self.begun.latest, length, known, told)
            summary = train(ready, mirrored, stop, self.ranks)
        if self.ranks.first:
            if said := self._overfitting(summary):
                summary["overfitting"] = said
                observer.warned(said)
            write_json(folder / SUMMARY, summary)
            tracked_report.start(trackers, self.recipe, self.run.id, self.root, folder)
        return summary

    def _overfitting(self, summary: Mapping[str, Any]) -> str | None:
        seen: Mapping[str, float] = summary["samples_by_source"]
        passes = {
            source.name: seen[source.name] / len(source)
            for source in self.sources.train
            if seen.get(source.name) and len(source)
        }
        return overfitting(open_run(self.folder).evaluations("step", "val_loss"), passes)

    @property
    def _at_start(self) -> bool:
        """Whether the weights that the run starts from are needed: at its start, and for a reference, which is made of
        them each time since it is not saved."""
        return self.begun.latest.folder is None or self.run.config.training.objective_spec.start

    def _initial(self) -> Initial | None:
        start = self.run.config.training.init_from
        return find_initial(start, self.root) if start is not None and self._at_start else None

    def _compose(self, chat: Chat, initial: Initial | None) -> VLM:
        config, latest = self.run.config, self.begun.latest.folder
        fresh = config.training.init_from is None and self._at_start
        mup = config.training.mup is not None
        model = compose(config.model, chat.vocabulary, self.run.seed, weights=fresh, zero_head=mup)
        if initial is not None:
            if latest is not None:
                check_same_start(initial, read_part(self.folder / RECIPE).get("init_from"))
            check_parametrisation(initial, config.training.mup)
            load_initial(model, initial)
        adapt(model, config.training.lora, self.run.seed)
        parametrise(model, config.model, config.training.mup)
        if (
            initial is None
            and latest is not None
            and any(change.kind == "model" for change in self.begun.found)
        ):
            load_foreign(model, read_foreign(latest / MODEL))  # of other names or shapes is told here
        return model

    def _described(self, model: VLM, chat: Chat, seen: Viewing) -> tuple[dict[str, Any], Length]:
        """What the record says of the run before it is trained, and how long that will be.

        Also has the FLOPs that were spent add up under this recipe from here on.
        """
        run, config, sources = self.run, self.run.config, self.sources
        training = config.training
        parameters = count_parameters(model, training.frozen, training.optimizer_settings)
        costs = flops_per_sample(config, sources, chat)
        flops = costs.training
        progress = self.begun.latest.progress
        progress.spent = _spent(progress.spent, flops, progress.samples)
        progress.nominal = _spent(progress.nominal, _nominal(config, chat.vocabulary), progress.samples)
        budgeted = progress.nominal if config.training.budget_accounting == "nominal" else progress.spent
        length = Length.of(config.training, budgeted, progress.step, progress.samples)
        record = {
            "id": run.id,
            "recipe": self.recipe,
            "order": run.order,
            "seed": run.seed,
            "size": config.model.size or config.model.llm.config.spec().size or short_count(parameters.total),
            "total_params": parameters.total,
            "trainable_params": parameters.trainable,
            "non_embedding_params": parameters.total - vocabulary_parameters(model.llm.spec),
            "llm_params": parameters.components["llm"],
            "tokens_per_frame": model.connector.spec.tokens_per_frame,
            "schedule": config.training.schedule_name,
            "in_fits": config.in_fits,
            "steps": length.steps,
            "flops_per_sample": flops,
            "answer_flops_per_sample": costs.answering,
            "fvlm": fvlm_core.__version__,
            "software": software(config),
            "data": seen_data(sources.train, sources.validation),
            "resolved": resolved(config),
            VIEWING: plain(seen),
            ARCHITECTURES: read_architectures(config.model),
            **({"rehearsal": True} if self.rehearsal else {}),
        }
        return record, length

    def _check_read(self, record: dict[str, Any], before: Mapping[str, Any] | None) -> None:
        """Raise `UsageError` unless the objective reads the weights that it read when the run began, or it is another
        one by an accepted change."""
        if reads := _reads(self.run.config):
            record["reads"] = reads
        accepted = any(change.key.startswith("training.objective") for change in self.begun.found)
        was = None if before is None else before.get("reads")
        if was and was != reads and not accepted:
            raise UsageError(
                f"{self.run.id}: training.objective reads other weights than when the run began (recorded: {was}; "
                f"there now: {reads}). Put those back, or start anew under another name (-o name=...)"
            )

    def _write(
        self, record: dict[str, Any], length: Length, chat: Chat, initial: Initial | None
    ) -> list[str]:
        """Write what the run's folder says of this attempt; what there is to tell about it."""
        config, folder, latest = self.run.config, self.folder, self.begun.latest.folder
        if initial is not None:
            record["init_from"] = initial.record()
        elif (folder / RECIPE).exists():  # what a run that continues once started from
            record["init_from"] = read_part(folder / RECIPE).get("init_from")
        before = read_part(folder / RECIPE) if (folder / RECIPE).exists() else None
        record[CONFIGS] = configs(record, before)
        if latest is not None and written_by(latest) != owner(record):
            self.begun.latest.progress.ended = ""  # what a callback ended may go on under another recipe
        if chosen := _how_chosen(config.training, self.begun.precision, before):
            record["precision"] = chosen
        self._check_read(record, before)
        if not self.begun.tokenizer:
            (folder / TOKENIZER).unlink(missing_ok=True)  # a link that leads nowhere yet
            chat.save(folder / TOKENIZER)
        parallel = config.training.parallel if self.ranks.size > 1 else "single"
        device = pick_device(config.training.device)
        said = begin_attempt(folder, device, self.begun.found, world=self.ranks.size, parallel=parallel)
        said += [*remarks(config.model), *unread(modality_specs(config.model), self.sources.every)]
        if (kept := self.begun.precision) and kept.precision != (
            faster := faster_precision(device)
        ).precision:
            said.append(f"goes on in {kept.precision}, {kept.why}, though {faster.why}")
        if latest is not None and not is_identified(latest):
            said.append(f"{latest}: {UNIDENTIFIED}")
        write_json(folder / ENVIRONMENT, describe_environment())
        if self.begun.found and (folder / SUMMARY).exists():  # first: what was complete may be no more
            write_json(folder / SUMMARY, _replanned(read_part(folder / SUMMARY), length))
        write_json(folder / RECIPE, record)
        return said


def _reads(config: RunRecipe) -> dict[str, str]:
    """The hashes of the weights that the objective reads."""
    files = config.training.objective_spec.reads
    return {f"{file.parent.name}/{file.name}": sha256(file) for file in files}


def _how_chosen(
    training: Training, chosen: ChosenPrecision | None, before: Mapping[str, Any] | None
) -> str | None:
    """How the precision of a run was chosen; None where a recipe said it. chosen: of a recipe that asks for it now."""
    if before is not None and before["resolved"]["training"].get("precision") == training.precision:
        said: str | None = before.get("precision")
        if said is not None:
            return said
    return None if chosen is None else str(chosen)


def _spent(before: Spent | None, each: float, samples: int) -> Spent:
    """FLOPs as they add up under a recipe by which a sample costs `each`. before: as they did; None of a fresh run."""
    return before.continued(each, samples) if before else Spent(each)


def _nominal(config: RunRecipe, vocabulary: int) -> float:
    """The training FLOPs of a sample in the founding project's accounting."""
    tracer = Tracer.of(config.model, vocabulary)
    return nominal_flops(tracer.encoder, tracer.trace(NOMINAL_FRAMES), tracer.llm)


def _replanned(summary: dict[str, Any], length: Length) -> dict[str, Any]:
    """A summary under another length of the run."""
    complete = summary["total_steps"] >= length.steps
    kept = {key: value for key, value in summary.items() if key != "ended"}
    return {**kept, "planned_steps": length.steps, "complete": complete}
