"""A trained model measured on data: losses by mode and source, and where its attention goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, fields, frozen, has

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import BadReport, validation_set
from fvlm_core.data.sources import open_all, unseen
from fvlm_core.hardware.devices import pick_device
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource, Progress, Split
from fvlm_core.interfaces.decoder import Decoder
from fvlm_core.interfaces.specs import Mode
from fvlm_core.media.decoders import open_decoder
from fvlm_core.media.shown import shown_by
from fvlm_core.media.viewing import Viewing
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import model_from_resolved, read_metric, source_from_settings
from fvlm_core.recipes.schema import Answering, Chosen, Data, Evaluation, Training
from fvlm_core.runs.answers import ScoredAnswer
from fvlm_core.runs.store import RECIPE, TOKENIZER, find_run
from fvlm_core.runs.viewing import VIEWING, differences, exported_viewing
from fvlm_core.training.answers import Examiner, open_metrics
from fvlm_core.training.evaluate import evaluate
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.paths import user_path
from fvlm_core.utils.pretrained import check_weights, check_whole, known_architectures, read_config
from fvlm_core.weights.restore import Checkpoint, restore
from fvlm_registry import LookupFailure, registry
from fvlm_registry.nearest import did_you_mean

_SHOWN = ("fps", "max_frames", "fit", "prompt")
"""Settings of a data source that say how it shows things."""


@frozen(eq=False)
class EvaluatedModel:
    """A model to measure. name: for people. step: of its checkpoint, None where that is not known.

    training, eval: what its recipe says, or the defaults for weights that come without one. viewing: how it is shown
    things. data: what it was trained and validated on, None where that is not known. tables: `data` as the recipe's
    tables. remark: of `Restored`.
    """

    name: str
    model: VLM
    chat: Chat
    step: int | None
    training: Training
    eval: Evaluation
    max_text_tokens: int
    score_first_token: bool
    viewing: Viewing
    data: Data | None
    tables: Mapping[str, Any]
    remark: str = ""

    def decoder(self) -> Decoder | None:
        """What decodes the videos of its recipe; None for the core's own."""
        return open_decoder(self.data.decoder if self.data else None)


@frozen
class EvaluationResult:
    """rows: by mode, see `fvlm_core.training.evaluate.evaluate`, metrics included. samples: how many were used. bad:
    left out. answers: by mode, those that the metrics are of."""

    rows: dict[Mode, dict[str, Any]]
    samples: int
    bad: tuple[BadReport, ...]
    answers: dict[Mode, list[ScoredAnswer]]


def open_subject(
    name: str, root: Path, checkpoint: Checkpoint = "best", weights: str | None = None
) -> EvaluatedModel:
    """The model of a run (its folder, "recipe/id" or id), or of a folder that `fvlm weights export` wrote.

    checkpoint: which of a run's; exported weights are one. weights: see `restore`. Raises `UsageError`.
    """
    folder = user_path(name)
    if (folder / "config.json").is_file() and not (folder / RECIPE).is_file():
        if checkpoint != "best" or weights is not None:
            other = f'weights "{weights}"' if weights is not None else f"{checkpoint} checkpoint"
            raise UsageError(f"{folder}: exported weights, which have no {other}; name the run")
        return _exported(folder)
    run = find_run(name, root)
    restored = restore(run, checkpoint=checkpoint, weights=weights)
    config = restored.config
    return EvaluatedModel(
        f"{run.recipe}/{run.id}" + (f", weights {weights}" if weights else ""),
        restored.model,
        restored.chat,
        restored.step,
        config.training,
        config.eval,
        config.data.max_text_tokens,
        config.model.score_first_token,
        restored.viewing,
        config.data,
        run.record["resolved"]["data"],
        restored.remark,
    )


def _exported(folder: Path) -> EvaluatedModel:
    config = read_config(folder / "config.json")
    if config.get("model_type") != "fvlm":
        raise UsageError(
            f"{folder}: expected a run, or a folder that `fvlm weights export` wrote; its config.json says "
            f'"{config.get("model_type")}". `fvlm weights import FILE --recipe RECIPE` makes a run of other weights'
        )
    for file in sorted(folder.glob("*.safetensors")):
        check_whole(file)
        check_weights(file)
    from fvlm_core.hf import FvlmModel

    with known_architectures(dict(config["architectures_read"])):
        described = model_from_resolved(config["composition"])
        chat = described.llm.config.chat(tuple, file=folder / TOKENIZER)
        viewing = exported_viewing(config.get(VIEWING), described, str(folder / "config.json"))
    return EvaluatedModel(
        str(folder),
        FvlmModel.from_pretrained(folder).vlm,
        chat,
        config.get("run", {}).get("step"),
        Training(steps=1, precision="float32", supervise="answer"),
        Evaluation(),
        fields(Data).max_text_tokens.default,
        described.score_first_token,
        viewing,
        None,
        {},
    )


def check_mode(subject: EvaluatedModel, mode: Mode, said: str) -> None:
    """Raise `UsageError` for a mode that the subject's connector does not have. said: where it was asked for."""
    modes = subject.model.connector.spec.modes
    if mode not in modes:
        expected = " or ".join(f'"{one}"' for one in modes)
        raise UsageError(f'{said}: expected {expected}, got "{mode}"{did_you_mean(mode, modes)}')


def open_data(
    subject: EvaluatedModel,
    name: str | None,
    settings: Sequence[str],
    split: Split,
    progress: Progress,
    max_bad: float | None = None,
) -> tuple[DataSource, ...]:
    """The sources to measure on, ready to be decoded.

    name: a source of the run's recipe, or any installed data source; None for what the run validates on. settings:
    "key=value" texts of the named source. max_bad: see `Data`; None for the run's own. Raises `UsageError`,
    `Problems`, or says how to get data that are missing.
    """
    if name is None and settings:
        raise UsageError("-o belongs to a data source: name it with --data")
    data = _chosen(subject, name, settings, split)
    allowed = max_bad if max_bad is not None else (subject.data or data).max_bad
    sources = open_all(data)
    if isinstance(sources, list):
        raise UsageError("\n".join(["these data are not here yet:", *sources]))
    opened = sources.train if split == "train" else sources.validation
    if missing := unseen(sources.every, allowed, "--max-bad "):
        raise UsageError("\n".join(missing))
    for source in opened:
        source.prepare(progress)
    return opened


def how_shown(subject: EvaluatedModel, sources: Sequence[DataSource], *, named: bool) -> list[str]:
    """How the sources show things to the model, a line each: those that do it in another way than its training data
    did, and where somebody named them the others too."""
    other = differences(subject.viewing, sources)
    alike = [str(one) for source in sources for one in shown_by(source, 1.0)] if named else []
    return [*other, *(text for text in alike if not any(line.startswith(text) for line in other))]


def choose_metrics(subject: EvaluatedModel, names: Sequence[str]) -> list[Chosen]:
    """The metrics of these names, with the settings that the subject's recipe gives them. Raises `Problems`."""
    own = {chosen.component: chosen for chosen in subject.eval.metrics or ()}
    read = [read_metric(name) for name in dict.fromkeys(names)]
    return [own.get(chosen.component, chosen) for chosen in read]


def _chosen(subject: EvaluatedModel, name: str | None, settings: Sequence[str], split: Split) -> Data:
    if name is None:
        if subject.data is None:
            raise UsageError(f"{subject.name} says nothing of data: name a source with --data")
        return subject.data
    of_run = [table for table in _tables(subject, split) if name in _names(table)]
    named = of_run or [_installed(subject, name)]
    # A run that validates on a source of its own has it in place of the validation split of the one it trains on.
    own = [table for table in named if table is subject.tables.get("validation")]
    sources = tuple(source_from_settings(table, settings) for table in own or named)
    if of_run and subject.data is not None:  # with what the run leaves out of them
        return evolve(subject.data, sources=sources, validation=None, text=None)
    return Data(sources=sources, decoder=subject.data.decoder if subject.data else None)


def _tables(subject: EvaluatedModel, split: Split) -> list[dict[str, Any]]:
    held_out = subject.tables.get("validation") if split == "validation" else None
    return [*([held_out] if held_out else []), *_trained_on(subject)]


def _trained_on(subject: EvaluatedModel) -> list[dict[str, Any]]:
    """The tables of all sources of the mixture; the text's without its share, which is no setting of the source."""
    text = {key: value for key, value in subject.tables.get("text", {}).items() if key != "share"}
    return [*subject.tables.get("sources", ()), *([text] if text else [])]


def _names(table: Mapping[str, Any]) -> tuple[str, str]:
    """Qualified and bare."""
    return table["name"], table["name"].partition(":")[2]


def _installed(subject: EvaluatedModel, name: str) -> dict[str, Any]:
    """The table of a data source that is no source of the run: it shows things as the run's do, where it can be
    told to. Raises `UsageError`.
    """
    found = registry()
    try:
        config: type[Any] = found.load(found.find("data", name).component.config)
    except LookupFailure as failure:
        own = ", ".join(dict.fromkeys(_names(table)[1] for table in _trained_on(subject)))
        of_run = f"\n  sources of {subject.name}: {own}" if own else ""
        raise UsageError(f"--data: {failure}{of_run}") from None
    # A question that a source leaves open by default is not asked of all its samples.
    own = [a.name for a in fields(config) if a.name in _SHOWN and a.default] if has(config) else []
    return {"name": name, **{key: getattr(subject.viewing, key) for key in own}}


def measure(
    subject: EvaluatedModel,
    sources: Sequence[DataSource],
    modes: Sequence[Mode],
    samples: int | None,
    device: str = "auto",
    metrics: Sequence[Chosen] = (),
    answering: Answering | None = None,
) -> EvaluationResult:
    """Losses and entropies of a model in each mode, on the same samples: at most `samples`, or as its recipe says.

    metrics: what its answers are scored by, where there is one. answering: how it answers; None as its recipe says.

    Samples are chosen as for a run's own evaluations, so that its own validation gives the loss in its metrics.
    Raises `UsageError` when no sample is usable.
    """
    training = evolve(subject.training, device=device)
    where = pick_device(training.device)
    preparer = Preparer(
        subject.chat,
        subject.model.encoder.spec.image_size,
        training.supervise,
        subject.max_text_tokens,
        subject.score_first_token,
        subject.viewing.repeats,
        modalities=tuple(encoder.spec for encoder in subject.model.signal_encoders),
    )
    answering = answering or subject.eval.generation or Answering()
    chosen = validation_set(
        sources,
        preparer,
        samples or subject.eval.samples,
        subject.eval.batch_size,
        answering.samples if metrics else 0,
    )
    if not chosen.samples:
        reasons = "".join(f"\n  {bad.sample}: {bad.reason}" for bad in chosen.bad[:5])
        raise UsageError(f"no usable sample in {', '.join(source.name for source in sources)}{reasons}")
    model = subject.model.to(where).eval()
    rows: dict[Mode, dict[str, Any]] = {
        mode: evaluate(model, chosen.batches, training, where, mode=mode)[0] for mode in modes
    }
    answers: dict[Mode, list[ScoredAnswer]] = {}
    if metrics:
        examiner = Examiner(subject.chat, chosen, answering, open_metrics(metrics), training, where)
        for mode in modes:
            means, answers[mode] = examiner.examine(model, mode=mode)
            rows[mode] |= means
    return EvaluationResult(rows, chosen.samples, chosen.bad, answers)
