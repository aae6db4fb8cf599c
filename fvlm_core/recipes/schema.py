"""What a run's recipe holds, with defaults. Units: steps are optimizer steps, samples are training examples."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from attrs import Attribute, field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, min_len, optional

from fvlm_core.interfaces.generation import Generation
from fvlm_core.interfaces.objective import ObjectiveSpec, Preference
from fvlm_core.interfaces.optimizer import OptimizerSettings, OwnOptimizer
from fvlm_core.recipes.augment import Augment
from fvlm_core.recipes.campaign import CampaignSettings
from fvlm_core.recipes.learning_rate import LRRatio, LRRule
from fvlm_core.recipes.merge import LENGTHS
from fvlm_core.recipes.parametrisation import LoRA, MuP
from fvlm_core.utils.file_names import folder_name_fault

Supervise = Literal["all", "answer", "content"]


@frozen
class Chosen:
    """A component chosen by name, with its own config already read.

    name: as written. component: "plugin:component". config: the component's config object.
    """

    name: str
    component: str
    config: Any

    @property
    def word(self) -> str:
        """The component's name without its plugin's."""
        return self.component.partition(":")[2]


@frozen(kw_only=True)
class Model:
    """The composed model. blind feeds blank frames: how far text alone goes. size is the label of tables and plots.

    modalities: encoders of what samples give beside frames, each of another modality. question_first: whether the text
    before the first answer stands before the visual tokens.
    """

    encoder: Annotated[Chosen, "encoder"]
    connector: Annotated[Chosen, "connector"]
    llm: Annotated[Chosen, "llm"]
    modalities: tuple[Annotated[Chosen, "modality"], ...] | None = None  # None is left out of records
    blind: bool = False
    size: str = ""
    score_first_token: bool = False
    question_first: bool = False

    def __attrs_post_init__(self) -> None:
        if self.question_first and self.score_first_token:
            raise ValueError("score_first_token: nothing stands before a first question; expected false")


@frozen(kw_only=True)
class SourceShare:
    """A data source's share of the samples; weights need not sum to 1."""

    weight: float = field(default=1.0, validator=and_(gt(0), lt(math.inf)))


@frozen(kw_only=True)
class Source(SourceShare):
    """A data source and its share. In a recipe the source's own settings and the weight stand in one table."""

    source: Chosen


@frozen(kw_only=True)
class TextShare:
    """A part of a mixture that is a share of the whole rather than a weight among the others; 0 leaves it out."""

    share: float = field(default=0.14, validator=and_(ge(0), lt(1)))


@frozen(kw_only=True)
class TextMixture(TextShare):
    """Text kept in a mixture: `text = { name = "smoltalk", path = "...", share = 0.14 }`."""

    source: Chosen


@frozen(kw_only=True)
class Data:
    """sources: what is trained on. validation: None takes the validation split of the same sources.

    text: a further source that takes a fixed share of the mixture; the others share the rest by their weights.
    weigh_by: what weights and share are parts of: samples, supervised and other text tokens, or frames.
    exhausted: a source that has been read once begins again (`cycle`) or leaves its part to the others (`end`).
    min_frames, max_frames: samples with fewer or more frames are left out; text alone is not asked. image_repeats: how
    often a still image is shown, as a video that does not move, in training and validation. augment: how the frames of
    training samples are varied; None: not at all. decoder: what decodes the video files, by name or as a table with its
    own settings; None for the core's own, PyAV. on_bad_sample: `skip` draws a replacement by a fixed rule and counts
    it; `stop` ends the run. max_bad: how large a share of the samples seen may be bad before the run stops, and of
    those listed may be left out because what they show is missing or cannot be read; never fewer than 10 distinct ones,
    but none with 0.
    """

    sources: tuple[Source, ...] = field(validator=min_len(1))
    validation: Source | None = None
    decoder: Annotated[Chosen, "decoder"] | None = None
    on_bad_sample: Literal["skip", "stop"] = "skip"
    max_bad: float = field(default=0.001, validator=and_(ge(0), le(1)))
    max_text_tokens: int = field(default=512, validator=ge(8))
    text: TextMixture | None = None
    weigh_by: Literal["samples", "tokens", "frames"] = "samples"
    exhausted: Literal["cycle", "end"] = "cycle"
    min_frames: int | None = field(default=None, validator=optional(ge(1)))
    max_frames: int | None = field(default=None, validator=optional(ge(1)))
    image_repeats: int = field(default=1, validator=and_(ge(1), le(64)))
    augment: Augment | None = None

    def __attrs_post_init__(self) -> None:
        if self.min_frames and self.max_frames and self.min_frames > self.max_frames:
            raise ValueError(f"min_frames is {self.min_frames} and max_frames {self.max_frames}")
        if self.weigh_by == "frames" and self.text and self.text.share:
            raise ValueError('text: has no frames, so weigh_by = "frames" gives it no share')

    @property
    def mixed(self) -> tuple[tuple[Chosen, float], ...]:
        """Every source that is trained on, with its share of the whole; the text comes last."""
        total = sum(entry.weight for entry in self.sources)
        text = self.text if self.text and self.text.share else None
        rest = 1 - text.share if text else 1.0
        shares = [(entry.source, rest * entry.weight / total) for entry in self.sources]
        return (*shares, (text.source, text.share)) if text else tuple(shares)


def _rate(config: Any, attribute: Attribute[Any], value: float | LRRule) -> None:
    if not isinstance(value, LRRule) and not 0 < value < math.inf:
        raise ValueError(f"'{attribute.name}' must be > 0 and finite: {value}")


def _flops(budget: float | str | None) -> float | None:
    """A budget as a number, or as text: "1.6e17"."""
    if not isinstance(budget, str):
        return budget
    try:
        return float(budget)
    except ValueError:
        raise ValueError(f'expected training FLOPs, as in 1.6e17 or "1.6e17", got "{budget}"') from None


@frozen(kw_only=True)
class Training:
    """How a run trains. Exactly one of steps, samples, budget (training FLOPs) says how long.

    budget_accounting: `ledger` counts what is really computed, `nominal` as the founding project did. batch_size:
    samples of an optimizer step, made of micro-batches. micro_batch_frames, micro_batch_tokens: both at once, in place
    of micro_batch_size: as many samples a micro-batch as make at most so many frames and text tokens. constant_shapes:
    whether these are filled up to exactly so many, with what nobody sees. lr: the connector's peak rate. schedule: of
    the rates; this, optimizer and objective by name or as a table with its own settings. warmup: share of the steps.
    warmup_steps: the same as a number of steps, in its place. floor: where a schedule ends, as a share of the peak.
    lr_target: the one rate that all groups of a `converging` schedule move to. optimizer: None for the core's own,
    AdamW. betas: AdamW's. weight_decay: every optimizer's. clip: largest gradient norm. supervise: which tokens are
    scored (`all`: stage 1; `answer`: the assistant's turn; `content`: its words). objective: what is lowered; None for
    the loss of the supervised tokens. preference: the table that makes it preference training: samples and batches are
    then pairs of answers, and the reference is the model as the run starts. lora: the table that trains low-rank
    factors in place of a component's weights. parametrisation, mup: `mup` makes lr that of the base width, which the
    table states, whatever the model's. callbacks: what watches the run and may stop it. threads: CPU threads of the
    training process; 0 leaves torch's own choice. workers: processes that decode. precision: of matrix products; `auto`
    is the one that the device is faster in, and stays the run's. tf32: whether a GPU rounds float32 products to TF32.
    cudnn_benchmark: whether cuDNN times its kernels and takes the fastest. channels_last: memory order of images and
    kernels. compile: whether the layers are compiled. deterministic: a GPU repeats itself bit for bit, at some cost; a
    CPU always does. parallel: under torchrun, each rank keeps all weights (`ddp`) or its part (`fsdp2`). non_finite:
    whether a loss or gradient that is no number stops the run or skips the step; max_skipped: in a row. log_every:
    steps between training rows. init_from: weights to start from: a run ("recipe/id", or its folder), a folder of
    weights, or a file; a path that is relative to the recipe's file begins with "./" or "../", or ends in .safetensors
    or .pt. continue_from: a run and a step ("recipe/id@400") whose checkpoint it begins with, the optimizer's state and
    the place in the data included; written by `fvlm run --decay-from`.
    """

    steps: int | None = field(default=None, validator=optional(ge(1)))
    samples: int | None = field(default=None, validator=optional(ge(1)))
    budget: float | None = field(
        default=None, converter=_flops, validator=optional(and_(gt(0), lt(math.inf)))
    )
    budget_accounting: Literal["ledger", "nominal"] = "ledger"
    batch_size: int = field(default=32, validator=ge(1))
    micro_batch_size: int = field(default=8, validator=ge(1))
    micro_batch_frames: int | None = field(default=None, validator=optional(ge(1)))
    micro_batch_tokens: int | None = field(default=None, validator=optional(ge(1)))
    constant_shapes: bool = False
    lr: float | LRRule = field(default=1e-3, validator=_rate)
    lr_ratio: LRRatio = field(default=LRRatio())
    schedule: Annotated[Chosen | str, "schedule"] = "cosine"  # a word: one of the core's own
    warmup: float = field(default=0.03, validator=and_(ge(0), lt(1)))
    warmup_steps: int | None = field(default=None, validator=optional(ge(0)))
    floor: float = field(default=0.1, validator=and_(ge(0), le(1)))
    lr_target: float | None = field(default=None, validator=optional(and_(gt(0), lt(math.inf))))
    optimizer: Annotated[Chosen, "optimizer"] | None = None
    betas: tuple[float, float] = field(default=(0.9, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
    weight_decay: float = field(default=0.01, validator=and_(ge(0), lt(math.inf)))
    clip: float = field(default=1.0, validator=gt(0))
    frozen: tuple[Literal["encoder", "connector", "llm"], ...] = ()
    supervise: Supervise = "all"
    objective: Annotated[Chosen, "objective"] | None = None
    preference: Preference | None = None
    callbacks: tuple[Annotated[Chosen, "callback"], ...] | None = None
    lora: LoRA | None = None  # None is left out of records
    parametrisation: Literal["mup"] | None = None
    mup: MuP | None = None
    precision: Literal["float32", "bf16", "auto"] = "bf16"
    tf32: bool = True
    cudnn_benchmark: bool = True
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    non_finite: Literal["stop", "skip"] = "stop"
    max_skipped: int = field(default=10, validator=ge(1))
    log_every: int = field(default=10, validator=ge(1))
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = field(default=42, validator=ge(0))
    threads: int = field(default=0, validator=ge(0))
    workers: int = field(default=1, validator=ge(0))
    init_from: str | None = None
    continue_from: str | None = None

    def __attrs_post_init__(self) -> None:
        lengths = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(lengths) != 1:
            got = " and ".join(lengths) or "none"
            raise ValueError(f"expected exactly one of {', '.join(LENGTHS)}, got {got}")
        if isinstance(self.schedule, str) and (self.schedule == "converging") != (self.lr_target is not None):
            raise ValueError('lr_target and schedule = "converging" go together')
        if self.channels_last and self.parallel == "fsdp2":
            raise ValueError('channels_last: such weights are not sharded; expected false with "fsdp2"')
        if self.compile and self.parallel == "fsdp2":
            raise ValueError('compile: sharded weights are not compiled; expected false with "fsdp2"')
        if (self.micro_batch_frames is None) != (self.micro_batch_tokens is None):
            raise ValueError("micro_batch_frames and micro_batch_tokens go together")
        if self.constant_shapes and self.micro_batch_frames is None:
            raise ValueError("constant_shapes: of micro_batch_frames and micro_batch_tokens; none is given")
        if (self.parametrisation is None) != (self.mup is None):
            raise ValueError('parametrisation = "mup" and the table [training.mup] go together')
        if self.mup and self.optimizer:
            raise ValueError(
                "mup: its rates are those of AdamW (Yang et al. 2022, table 8); expected no optimizer"
            )
        if self.steps is not None and self.warmup_steps is not None and self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps: {self.warmup_steps} of {self.steps} steps; expected fewer")
        if self.mup and self.lora:
            raise ValueError(
                "lora: factors beside weights that stay have no width to grow by; expected no mup"
            )
        for name in self.lora.components if self.lora else ():
            if name in self.frozen:
                raise ValueError(f'"{name}" is both in frozen and in lora.components; expected one of them')
        if self.preference and self.objective:
            raise ValueError("objective: [training.preference] is one; expected one of the two")
        if self.micro_batch_frames is not None and self.objective_spec.pairs:
            where = "[training.preference]" if self.preference else "an objective of pairs"
            raise ValueError(
                f"micro_batch_frames: pairs are not planned from lengths; expected micro_batch_size with {where}"
            )
        if self.micro_batch_frames is None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size must be a multiple of micro_batch_size, got {self.batch_size} and {self.micro_batch_size}"
            )

    @property
    def schedule_name(self) -> str:
        """ "cosine", "wsd": what records and tables call it."""
        return self.schedule if isinstance(self.schedule, str) else self.schedule.word

    @property
    def objective_spec(self) -> ObjectiveSpec:
        """What the objective needs."""
        if self.preference:
            return self.preference.spec()
        return self.objective.config.spec() if self.objective else ObjectiveSpec()

    @property
    def copies(self) -> tuple[int, int]:
        """How many copies of what trains callbacks keep: in a checkpoint, and on the device."""
        each = [getattr(chosen.config, "copies", (0, 0)) for chosen in self.callbacks or ()]
        return sum(saved for saved, _ in each), sum(there for _, there in each)

    @property
    def optimizer_settings(self) -> OptimizerSettings:
        """The optimizer's own, which say what it keeps."""
        return self.optimizer.config if self.optimizer else OwnOptimizer()


@frozen(kw_only=True)
class Answering(Generation):
    """How validation samples are answered for metrics. limit: most new tokens of an answer. samples: how many samples
    are answered at each evaluation, at most; an equal share of each source, the same ones every time. Sampling is
    seeded by a sample's id."""

    limit: int = field(default=64, validator=ge(1))
    samples: int = field(default=64, validator=ge(1))


@frozen(kw_only=True)
class Evaluation:
    """every: steps between evaluations (the last step is always evaluated). samples: at most so many, fixed.

    metrics: what the model's answers are scored by; it answers where there is one. generation: how it answers.
    """

    every: int = field(default=250, validator=ge(1))
    samples: int = field(default=1000, validator=ge(1))
    batch_size: int = field(default=32, validator=ge(1))
    metrics: tuple[Annotated[Chosen, "metric"], ...] | None = None  # None is left out of records
    generation: Answering | None = None

    def __attrs_post_init__(self) -> None:
        if self.generation is not None and not self.metrics:
            raise ValueError(
                "generation: nothing is answered without a metric; expected [[eval.metrics]] beside it"
            )
        for name in (names := [chosen.component for chosen in self.metrics or ()]):
            if names.count(name) > 1:
                raise ValueError(f'metrics: "{name}" stands there twice; expected each metric once')

    @property
    def answering(self) -> Answering | None:
        """How samples are answered; None where nothing asks for it."""
        return (self.generation or Answering()) if self.metrics else None


@frozen(kw_only=True)
class Checkpoints:
    """every: steps between checkpoints; None: at each evaluation. keep_last: how many stay beside the best one.

    grace: seconds that finishing the step and saving may take after a signal; torchrun and Slurm kill after 30.
    """

    every: int | None = field(default=None, validator=optional(ge(1)))
    keep_last: int = field(default=2, validator=ge(1))
    grace: float = field(default=25.0, validator=gt(0))


@frozen(kw_only=True)
class FitSettings:
    """A scaling fit made when the runs are done. model: a fit component; its own settings stand beside it.

    runs: what it is made of, as a pattern of ids ("*-F"); None for all runs that are `in_fits`. holdout: runs that are
    left out and predicted, as such a pattern, `in_fits` or not.
    """

    model: str
    objective: Literal["log-huber", "log-lad", "log-mse", "mse"] = "log-huber"
    runs: str | None = None
    holdout: str | None = None
    config: Any = None


def _names_a_folder(config: Any, attribute: Attribute[Any], name: str) -> None:
    if fault := folder_name_fault(name):
        raise ValueError(fault)


@frozen(kw_only=True)
class RunRecipe:
    """Everything that decides one run. in_fits: whether its points enter scaling fits (controls do not).

    trackers: mirrors of the metrics; the run's own record is complete without any. campaign: what `fvlm campaign` is
    asked for.
    """

    name: str = field(validator=_names_a_folder)
    description: str = ""
    in_fits: bool = True
    model: Model
    data: Data
    training: Training
    eval: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    fits: tuple[FitSettings, ...] = ()
    trackers: tuple[Annotated[Chosen, "tracker"], ...] = ()
    campaign: CampaignSettings | None = None  # None is left out of records

    def __attrs_post_init__(self) -> None:
        frames, tokens = self.training.micro_batch_frames, self.training.micro_batch_tokens
        if frames and self.model.modalities:
            raise ValueError(
                "training: micro_batch_frames: items of other modalities are not planned; expected micro_batch_size "
                "with [[model.modalities]]"
            )
        if tokens and self.data.max_text_tokens > tokens:
            raise ValueError(
                f"training: micro_batch_tokens is {tokens} and data.max_text_tokens {self.data.max_text_tokens}: "
                "a text must fit; expected at least as many"
            )
        if frames and self.data.image_repeats > frames:
            raise ValueError(
                f"training: micro_batch_frames is {frames} and data.image_repeats {self.data.image_repeats}: "
                "an image must fit; expected at least as many"
            )
