"""What a run costs: FLOPs of a sample of its data, parameters, and two other ways of counting FLOPs.

`fvlm_core.planning.flops` holds the formulas.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve, frozen

from fvlm_core.data.lengths import SampleLengths, first_samples
from fvlm_core.data.sources import Sources
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.optimizer import OptimizerSettings, OwnOptimizer
from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.model.lora import trained_alone
from fvlm_core.model.vlm import LOGITS_AT_ONCE, VLM
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.flops import (
    COMPONENTS,
    ConnectorTrace,
    Ledger,
    LedgerRow,
    ledger,
    mean_ledger,
    read_only,
)
from fvlm_core.planning.modality_flops import item_flops
from fvlm_core.recipes.schema import RunRecipe, Training

NOMINAL_FRAMES, NOMINAL_TEXT = 8, 128
"""The sample that the founding project's budgets are stated in."""


@frozen
class SampleFlops:
    """FLOPs of a sample, the mean over the first ones of the training mixture. training: forward and backward, which is
    what budgets are divided by and what the metrics' column `flops` adds up. answering: `answering_flops`."""

    training: float
    answering: float


def flops_per_sample(config: RunRecipe, sources: Sources, chat: Chat) -> SampleFlops:
    """What a run's samples cost. Raises `BadSample` when a clip cannot be opened."""
    tracer = Tracer.of(config.model, chat.vocabulary, config.training.lora)
    samples = first_samples(config, sources, chat).lengths
    return SampleFlops(sample_ledger(config, tracer, samples).total, answering_flops(config, tracer, samples))


def sample_ledger(config: RunRecipe, tracer: Tracer, samples: Collection[SampleLengths]) -> Ledger:
    """The mean ledger of samples of these lengths under a run's recipe."""
    training, llm, spec = config.training, tracer.llm, config.training.objective_spec
    pairs, teacher = spec.pairs, Tracer.of(spec.teacher, llm.vocabulary or 0) if spec.teacher else None
    labels = sum(sample.supervised for sample in samples) / len(samples) * samples_at_once(training, samples)
    twice = pairs or training.objective is not None  # the core's own makes gradients with its losses
    items = item_flops(config.model, llm, trains="connector" not in training.frozen)
    each = {  # many samples are of the same lengths
        sample: ledger(
            tracer.encoder,
            tracer.trace(sample.frames, training.frozen, auxiliary=not pairs, question=sample.question),
            llm,
            text=sample.text,
            supervised=sample.supervised,
            recompute_head=twice and labels * (llm.vocabulary or 0) > LOGITS_AT_ONCE,
            rejected=(sample.rejected or (sample.text, sample.supervised)) if pairs else None,
            reference=spec.start,
        ).more(items, sample.items)
        for sample in set(samples)
    }
    if teacher:
        each = {
            sample: evolve(one, rows=(*one.rows, *_taught(teacher, sample))) for sample, one in each.items()
        }
    return mean_ledger([each[sample] for sample in samples])


def answering_flops(config: RunRecipe, tracer: Tracer, samples: Collection[SampleLengths]) -> float:
    """FLOPs of the mean sample where it is answered: the forward pass over its frames and its text, with the answer, in
    the mode that the connector trains in. Written token by token with a cache, an answer costs the same."""
    items = item_flops(config.model, tracer.llm, trains=False)
    each = {
        sample: ledger(
            tracer.encoder,
            tracer.trace(sample.frames, COMPONENTS, auxiliary=False, question=sample.question),
            tracer.llm,
            text=sample.text,
            supervised=sample.supervised,
        )
        .more(items, sample.items)
        .forward
        for sample in set(samples)
    }
    return sum(each[sample] for sample in samples) / len(samples)


def _taught(teacher: Tracer, sample: SampleLengths) -> tuple[LedgerRow, ...]:
    trace = teacher.trace(sample.frames, auxiliary=False, question=sample.question)
    return read_only("teacher", teacher.encoder, trace, teacher.llm, sample.text, sample.supervised)


def samples_at_once(training: Training, samples: Collection[SampleLengths]) -> float:
    """Samples of a micro-batch, in the mean where they are planned from the lengths."""
    if training.micro_batch_frames is None or training.micro_batch_tokens is None:
        return training.micro_batch_size
    frames = sum(sample.frames for sample in samples) / len(samples)
    text = sum(sample.text for sample in samples) / len(samples)
    fit = min(training.micro_batch_frames / max(1.0, frames), training.micro_batch_tokens / max(1.0, text))
    return max(1.0, min(fit, training.batch_size))


def six_nd(parameters: int, tokens: float) -> float:
    """The rule of thumb for one sample: 6 x all parameters x the tokens the language model reads (Kaplan et al. 2020,
    arXiv:2001.08361, section 2.1), for comparison."""
    return 6.0 * parameters * tokens


def nominal_flops(
    encoder: EncoderSpec,
    connector: ConnectorTrace,
    llm: LLMSpec,
    *,
    frames: int = NOMINAL_FRAMES,
    text: int = NOMINAL_TEXT,
) -> float:
    """Training FLOPs of a sample in the founding project's accounting, which its budgets C1 to C4 are stated in.

    3 x forward, of multiply-adds counted as one, without head and patch embedding, every layer taken for 12 d^2 + 2 n d
    a token, and a full pass over frames and text for every query of a frame. Kept to reproduce its sample counts; see
    `ledger` for what a sample really costs.
    """
    looks = connector.looks("deep") + connector.looks("shallow")
    frames = frames if connector.last_frames is None else min(frames, connector.last_frames)
    tokens = frames * connector.tokens_per_frame
    each = frames * encoder.depth * (4 * encoder.width**2 + 2 * encoder.tokens * encoder.width)
    query = looks * each
    projection = max(1, looks) * tokens * encoder.width * llm.width
    passes = max(1, looks) * _nominal_layers(llm.depth, llm.width, tokens + text)
    return 3.0 * (
        frames * _nominal_layers(encoder.depth, encoder.width, encoder.tokens) + query + projection + passes
    )


def _nominal_layers(depth: int, width: int, tokens: int) -> int:
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


@frozen
class Parameters:
    """Exact counts, tied ones once. components: encoder, connector, llm. groups: those of the optimizer's groups that
    train. kept: bytes of the optimizer's state by group.
    """

    components: dict[str, int]
    groups: dict[str, int]
    kept: dict[str, int]

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.components.values())

    def training(self, frozen: Collection[str]) -> Parameters:
        """The same where these components do not train."""
        groups, kept = (
            {k: n for k, n in each.items() if k not in frozen} for each in (self.groups, self.kept)
        )
        return Parameters(self.components, groups, kept)

    @property
    def trainable(self) -> int:
        """Those that train."""
        return sum(self.groups.values())


def count_parameters(
    model: VLM, frozen: Collection[str] = (), optimizer: OptimizerSettings | None = None
) -> Parameters:
    """Count a model's parameters; it may be on the meta device. frozen: components that do not train. optimizer: None
    for the core's own.

    Of a component with LoRA's factors these alone train; other modalities' encoders beside an adapted connector do.
    """
    settings, decayed = optimizer or OwnOptimizer(), model.decayed()
    groups, factors = model.parameter_groups(), trained_alone(model)
    adapted = {name.partition(".")[0] for name in factors}
    components, trained, kept = dict[str, int](), dict[str, int](), dict[str, int]()
    for name in ("encoder", "connector", "llm"):
        group = groups[name]
        learnt = [each for each in group if each in factors or each.partition(".")[0] not in adapted]
        states = [settings.state(each, group[each].shape, each in decayed) for each in learnt]
        components[name] = sum(parameter.numel() for parameter in group.values())
        trained[name] = sum(group[each].numel() for each in learnt)
        kept[name] = sum(sum(state.values()) for state in states)
    return Parameters(components, trained, kept).training(frozen)


def vocabulary_parameters(llm: LLMSpec) -> int:
    """Parameters of the token embedding and, where it has a matrix of its own, of the output head: what Kaplan et al.
    (2020, arXiv:2001.08361, section 2.1) leave out of N."""
    return (llm.vocabulary or 0) * llm.width * (1 if llm.tied else 2)


def short_count(count: float) -> str:
    """157310976 -> "157M": a size's label when the recipe gives none."""
    for unit, scale in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return str(int(count))
