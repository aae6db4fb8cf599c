"""Watching a video without an end: frames a second that are kept up, how soon an answer begins, what is kept in memory.

A frame is pushed into the connector's stream as `Trained.stream` does it. When words are wanted, the language model
reads the visual tokens that were kept, and the question, and says its first token. Weights are random: no time depends
on them.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from fvlm_core.bench.pairs import Pair, paired
from fvlm_core.bench.setting import THREADS, Setting
from fvlm_core.model.build import compose, specs
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import read_recipe

MARKS = (8, 32, 128, 512)
"""Frames seen at which an answer is asked for and memory is counted."""

CONTROL = 'name="last-frames",frames=4'
"""The connector that every other one is compared with: nothing but the last four frames."""

EXPONENT = 1.05
"""Of the growth of time by frames, at most."""

VOCABULARY = 512
"""Of a model whose tokenizer is made from the data, which nobody reads here."""

_QUESTION = 32
_ANSWERS = 3


@frozen(kw_only=True)
class Streamed:
    """One stream. seconds: of all frames up to a mark. first_token: seconds from the question to the first token there.
    kept: bytes of all tensors beside the model's own there. tokens_per_frame: of the connector. last_frames: how many
    frames the language model reads when it is asked, at most; None: all."""

    seconds: dict[int, float]
    first_token: dict[int, float]
    kept: dict[int, int]
    tokens_per_frame: int
    last_frames: int | None

    @property
    def rate(self) -> float:
        """Frames a second over the last stretch between two marks."""
        *_, before, last = (0, *self.seconds)
        return (last - before) / (self.seconds[last] - (self.seconds[before] if before else 0.0))

    @property
    def growth(self) -> float:
        """Bytes that a further frame costs, the mean from the first mark to the last."""
        before, *_, last = self.kept
        return (self.kept[last] - self.kept[before]) / (last - before)

    @property
    def exponent(self) -> float:
        """The slope of log time over log frames."""
        slope, _ = np.polyfit(np.log(list(self.seconds)), np.log(list(self.seconds.values())), 1)
        return float(slope)


def threads(setting: Setting) -> int:
    """Of a CPU: the recipe's own where it says them. A small model's products are over before a second thread begins:
    at 150,000 parameters two watched 25 frames/s on two cores that others used, too, and one 356 a while later."""
    return setting.config.training.threads or THREADS


def streamed_in_turn(settings: Sequence[Setting], marks: Sequence[int]) -> list[Streamed | None]:
    """A stream of each setting, in this order; the model of one that comes again is made once."""
    again = {setting for setting, times in Counter(settings).items() if times > 1}
    kept: dict[Setting, VLM] = {}
    found: list[Streamed | None] = []
    for setting in settings:
        model = kept.get(setting) or stream_model(setting)
        if setting in again:
            kept[setting] = model
        found.append(streamed(model, setting, marks))
    return found


def stream_model(setting: Setting) -> VLM:
    """The model of a setting with random weights, for watching."""
    if setting.device == "cpu":
        torch.set_num_threads(threads(setting))
    recipe = setting.config.model
    vocabulary = specs(recipe, None)[1].vocabulary or VOCABULARY
    return compose(recipe, vocabulary, 0, weights=False).to(setting.device).eval()


@torch.no_grad()
def streamed(model: VLM, setting: Setting, marks: Sequence[int]) -> Streamed | None:
    """Watch one video to the last mark; None for a connector that cannot watch frame by frame."""
    if model.stream() is None:
        return None
    vocabulary = model.llm.spec.vocabulary
    assert vocabulary is not None
    generator = torch.Generator().manual_seed(0)
    question = torch.randint(0, vocabulary, (_QUESTION,), generator=generator).tolist()
    side = model.encoder.spec.image_size
    pictures = torch.randint(0, 256, (8, 1, 3, side, side), dtype=torch.uint8, generator=generator)
    # Whatever is made at the first call, and once for as long a text, as the language model's table of angles.
    _watch(model, setting, pictures, question, marks[:1], None)
    spec = model.connector.spec
    longest = min(marks[-1], spec.last_frames or marks[-1])
    visual = torch.zeros(longest, spec.tokens_per_frame, model.llm.spec.width, device=setting.device)
    model.generate(pictures[0, :0], question, limit=1, end=-1, visual=visual)
    del visual
    live = LiveBytes()
    found = _watch(model, setting, pictures, question, marks, live)
    live.close()
    return found


def _watch(
    model: VLM,
    setting: Setting,
    pictures: Tensor,
    question: list[int],
    marks: Sequence[int],
    live: LiveBytes | None,
) -> Streamed:
    """live: what counts the memory; None: nothing does, which takes longer than a few frames."""
    spec = model.connector.spec
    nothing = torch.zeros((0, *pictures.shape[2:]), dtype=torch.uint8)
    seconds, first_token, kept = dict[int, float](), dict[int, float](), dict[int, int]()
    with setting.autocast():
        stream = model.stream(question)
        assert stream is not None
        tokens: deque[Tensor] = deque(maxlen=spec.last_frames)
        total = 0.0
        for frame in range(1, marks[-1] + 1):
            begun = time.perf_counter()
            shown = model.normalise(pictures[frame % len(pictures)].to(setting.device))
            tokens.append(stream.next_tokens(shown)[0])
            setting.wait()
            total += time.perf_counter() - begun
            if frame not in marks:
                continue
            del shown
            seconds[frame], kept[frame] = total, live.bytes() if live else 0
            times: list[float] = []
            for _ in range(_ANSWERS):
                begun = time.perf_counter()
                visual = torch.stack(list(tokens))
                model.generate(nothing, question, limit=1, end=-1, visual=visual)
                setting.wait()
                times.append(time.perf_counter() - begun)
                del visual
            first_token[frame] = statistics.median(times)
    return Streamed(
        seconds=seconds,
        first_token=first_token,
        kept=kept,
        tokens_per_frame=spec.tokens_per_frame,
        last_frames=spec.last_frames,
    )


class LiveBytes:
    """Counts what tensors hold that came after it. Until it is closed the objects that were there before are set aside,
    for going through all of a process's takes half a second each time."""

    def __init__(self) -> None:
        self._before = set(_storages())
        gc.freeze()

    def bytes(self) -> int:
        """Of all new tensors that are alive, each storage once, and none that was there before."""
        return sum(size for place, size in _storages().items() if place not in self._before)

    def close(self) -> None:
        """Set nothing aside any more."""
        gc.unfreeze()


def _storages() -> dict[int, int]:
    """Bytes of the storages of all tensors that are alive, by their place."""
    gc.collect()
    storages = [
        one.untyped_storage() for one in gc.get_objects() if type(one) in (Tensor, torch.nn.Parameter)
    ]
    return {one.data_ptr(): one.nbytes() for one in storages}


@frozen(kw_only=True)
class StreamSubject:
    """A connector of a recipe. name: with its settings. setting: of its first run."""

    name: str
    run: str
    setting: Setting


@frozen(kw_only=True)
class StreamMeasured:
    """name, run: of the subject. streamed: of the median round by rate. pair: seconds a frame, of it and of the
    control, in turn; None of the control itself."""

    name: str
    run: str
    streamed: Streamed
    pair: Pair | None

    @property
    def holds(self) -> bool:
        """Whether time grows as it is promised to."""
        return self.streamed.exponent <= EXPONENT


def subjects(setting: Setting) -> list[StreamSubject]:
    """Every model of the recipe that differs in its encoder, connector, language model or order, once; and the control,
    last."""
    found: dict[str, StreamSubject] = {}
    for run in read_recipe(setting.recipe, list(setting.overrides)).runs:
        model = run.config.model
        key = repr((model.encoder, model.connector, model.llm, model.question_first))
        name = f"{model.connector.name.rpartition(':')[2]} {_settings(model.connector.config)}".strip()
        subject = StreamSubject(name=name, run=run.id, setting=evolve(setting, run=run.id))
        found.setdefault(key, subject)
    first = next(iter(found.values()))
    control = evolve(first.setting, connector=CONTROL)
    same = [one for one in found.values() if one.setting.config.model == control.config.model]
    others = [one for one in found.values() if one not in same]
    return [*others, StreamSubject(name="last-frames frames=4 (control)", run="", setting=control)]


def _settings(config: Any) -> str:
    """What a connector's settings say other than by default."""
    from attrs import NOTHING, fields

    said: list[str] = []
    for one in fields(type(config)):
        value = getattr(config, one.name)
        if one.default is NOTHING or value != one.default or one.name in _ALWAYS:
            said.append(f"{one.name}={value}")
    return " ".join(said)


_ALWAYS = ("tokens", "queries", "grid", "stride", "frames")
"""Settings by which connectors of one kind are told apart."""


Measure = Callable[[Sequence[Setting], Sequence[int]], Sequence[Streamed | None]]


def bench_stream(
    setting: Setting,
    marks: Sequence[int],
    rounds: int,
    measure: Measure,
    progress: Callable[[str, int, int], None],
) -> tuple[list[StreamMeasured], list[str]]:
    """Every connector in turn with the control, in each of the rounds; and the names of those that cannot watch so.
    measure: the streams of a round, in a process of its own: where its memory happens to lie decides a few per cent."""
    *own, control = subjects(setting)
    pairs: dict[str, list[tuple[Streamed, Streamed]]] = {subject.name: [] for subject in own}
    controls: list[Streamed] = []
    for number in range(rounds):
        progress("rounds", number, rounds)
        turns = [(subject.setting, control.setting) for subject in own if number == 0 or pairs[subject.name]]
        turns = [turn if number % 2 == 0 else turn[::-1] for turn in turns] or [(control.setting,)]
        found = iter(measure([each for turn in turns for each in turn], marks))
        if not own:
            controls += [one for one in found if one]
            continue
        for subject in own:
            if number and not pairs[subject.name]:
                continue
            first, second = next(found), next(found)
            ours, bare = (first, second) if number % 2 == 0 else (second, first)
            if ours and bare:
                pairs[subject.name].append((ours, bare))
            controls += [bare] if bare else []
    progress("rounds", rounds, rounds)
    measured = [_measured(subject, pairs[subject.name]) for subject in own if pairs[subject.name]]
    measured.append(StreamMeasured(name=control.name, run="", streamed=_middle(controls), pair=None))
    return measured, [subject.name for subject in own if not pairs[subject.name]]


def _measured(subject: StreamSubject, found: Sequence[tuple[Streamed, Streamed]]) -> StreamMeasured:
    pair = paired(
        f"{subject.name}, against the last 4 frames",
        "s",
        [1 / ours.rate for ours, _ in found],
        [1 / bare.rate for _, bare in found],
    )
    middle = _middle([ours for ours, _ in found])
    return StreamMeasured(name=subject.name, run=subject.run, streamed=middle, pair=pair)


def _middle(found: Sequence[Streamed]) -> Streamed:
    return sorted(found, key=lambda one: one.rate)[len(found) // 2]
