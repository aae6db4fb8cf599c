"""The class that lmms-eval makes for `--model fvlm`. Only lmms-eval imports this module: it needs lmms-eval."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult  # pyright: ignore[reportMissingImports]
from lmms_eval.api.model import lmms  # pyright: ignore[reportMissingImports]
from torch import Tensor
from tqdm import tqdm

from fvlm_core.plugin_api import VLM, BadSample, Batch, EncodedChat, FvlmError, Turn, check_mode, open_subject
from fvlm_lmms_eval.likelihood import likelihoods
from fvlm_lmms_eval.settings import choose_device, read_settings
from fvlm_lmms_eval.visuals import MOST, Eye

_MARK = re.compile(r"\s*<(?:image|video)>\s*")
"""Where a picture stands among the words; ours come before all text, and training data have no such mark."""

_Where = tuple[Any, ...]
"""What a request is about: doc_to_visual, document, task, split."""


class Fvlm(lmms):  # pyright: ignore[reportUntypedBaseClass]
    """A trained model of fvlm: a question and what it is about in, its answer or an answer's log-probability out.

    A "simple" model in lmms-eval's words: where what a task shows stands is the model's own, as in training, and only
    tasks of that form ask for log-probabilities.
    """

    is_simple = True

    def __init__(self, **arguments: Any) -> None:
        """arguments: see `Settings`. Raises `UsageError` for those that are wrong and for a run that cannot be used."""
        super().__init__()
        settings = read_settings(arguments)
        self.device = choose_device(settings.device)
        subject = open_subject(settings.run, settings.runs, settings.checkpoint)
        if settings.mode:
            check_mode(subject, settings.mode, "--model_args: mode")
        self.batch_size = settings.batch_size
        self.mode = settings.mode
        self.longest = settings.max_new_tokens
        self.chat = subject.chat
        # An attribute of its own, because lmms-eval lets go of a model's modules before a judge is loaded.
        self.model: VLM = subject.model.to(self.device).eval()
        said = {name: getattr(settings, name) for name in ("fps", "max_frames", "fit", "system")}
        said["repeats"] = settings.still_frames
        viewing = subject.viewing.told(**said)
        self.eye = Eye.of(
            viewing,
            subject.decoder(),
            settings.max_frames or max(MOST, viewing.max_frames),
        )
        self._told: set[str] = set()
        step = "" if subject.step is None else f", step {subject.step}"
        mode = self.mode or self.model.connector.spec.mode
        self._tell(f"{subject.name}{step}: mode {mode}, on {self.device}")
        self._tell(f"shown {subject.viewing.note(said)}")
        if read := list(self.model.modalities):
            self._tell(f"the model reads {', '.join(read)} too, which tasks have none of: none is given")

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy answers, each cut before the first of its `until` texts. Raises `FvlmError`: a video or picture that
        cannot be read."""
        answers: list[str] = []
        for request in self._progress(requests):
            context, asked, *where = request.args
            frames = torch.from_numpy(self._frames(tuple(where)))
            said = self.model.generate(
                frames,
                self.chat.prompt(self.eye.asked(_question(context))).tolist(),
                limit=self._limit(asked),
                end=self.chat.end_of_turn,
                mode=self.mode,
            )
            answers.append(_cut(self.chat.decode(said), asked.get("until")))
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """Pairs: how likely each answer is, in nats, and whether each of its tokens is the most likely one.

        Of a choice it is the mean loss a token, the least of which wins: what lmms-eval's own models give and its tasks
        compare, whatever the name says. Of a task's one target it is the log-probability, whose perplexity lmms-eval
        takes. The end of the turn is left out. Raises as `generate_until`.

        Each pair is wrapped: lmms-eval 0.7.3 makes a text of a bare one, which no task can then read.
        """
        answers: list[GenerationResult] = []
        # The choices of one question come one after the other: what they are about is read and encoded once.
        for where, group in groupby(self._progress(requests), lambda request: request.args[2:]):
            asked = [(context, answer) for context, answer, *_ in (request.args for request in group)]
            if not where:
                raise FvlmError(
                    "acc_mutual_info: asks for answers without their question, which no chat has; "
                    "take this metric out of the task"
                )
            chats = [
                (answer, self.chat.encode(self._answered(context, answer, where)))
                for context, answer in asked
            ]
            # What is seen is one thing for all questions, or for each its own where the question comes first.
            for question, same in groupby(chats, lambda one: self._question(one[1])):
                visual, every = self._see(where, question), list(same)
                for start in range(0, len(every), self.batch_size):
                    some = every[start : start + self.batch_size]
                    measured = likelihoods(self.model, visual, [chat for _, chat in some])
                    for (answer, _), found in zip(some, measured, strict=True):
                        nats = found.nats if callable(answer) else found.loss
                        answers.append(GenerationResult((nats, found.greedy)))
        return answers

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered: raises `FvlmError`."""
        tasks = ", ".join(sorted({str(request.task_name) for request in requests}))
        raise FvlmError(
            f"{tasks}: asks in several rounds; models of fvlm answer one question about what comes before it. "
            "Leave these tasks out"
        )

    def _progress(self, requests: Sequence[Any]) -> Iterable[Any]:
        return tqdm(requests, desc="fvlm", disable=self.rank != 0)

    def _frames(self, where: _Where) -> Any:
        """uint8 [T, 3, H, W] of a request's document."""
        doc_to_visual, document, task, split = where
        try:
            return self.eye.see(doc_to_visual(self._document(where)))
        except BadSample as bad:
            raise FvlmError(
                f"{task}, {split} {document}: {bad}. A task is scored on all of its documents: "
                "make this one readable, or leave it out of the task"
            ) from bad

    def _question(self, chat: EncodedChat) -> tuple[int, ...]:
        """What the model reads of a chat before it sees anything."""
        return tuple(chat.ids[: chat.question].tolist()) if self.model.question_first else ()

    def _see(self, where: _Where, question: tuple[int, ...]) -> Tensor:
        """The visual tokens of a request's document, [V, W]."""
        frames = torch.from_numpy(self._frames(where)).to(self.device)
        ids = torch.tensor([question], dtype=torch.int64, device=self.device)
        unscored = torch.zeros(ids.shape, dtype=torch.bool)
        batch = Batch(
            frames=frames,
            counts=torch.tensor([len(frames)]),
            ids=ids,
            lengths=torch.tensor([len(question)]),
            supervised=unscored,
            content=unscored,
            questions=torch.tensor([len(question)]),
        )
        with torch.no_grad():
            return self.model.see(batch, self.mode).tokens.flatten(0, 1)

    def _answered(self, context: str, answer: str | Callable[[Any], str], where: _Where) -> list[Turn]:
        """A question and its answer. lmms-eval puts a blank between them, where a chat has the template."""
        said = answer(self._document(where)) if callable(answer) else answer
        return [*self.eye.asked(_question(context)), Turn("assistant", str(said).removeprefix(" "))]

    def _document(self, where: _Where) -> Any:
        _, document, task, split = where
        return self.task_dict[task][split][document]

    def _limit(self, asked: Mapping[str, Any]) -> int:
        """The longest answer that a task asks for, in tokens; says once what is asked for and not done."""
        sampled = asked.get("do_sample") or float(asked.get("temperature") or 0) > 0
        if sampled or int(asked.get("num_beams") or 1) > 1:
            self._tell("a task asks for sampling or beams: models of fvlm answer greedily")
        return int(asked.get("max_new_tokens") or self.longest)

    def _tell(self, text: str) -> None:
        """Say something once, above the bar that shows how far requests are."""
        if text not in self._told and self.rank == 0:
            self._told.add(text)
            tqdm.write(f"fvlm: {text}", file=sys.stderr)


def _question(context: str) -> str:
    """What the user says, without marks of where pictures stand."""
    return " ".join(_pieces(context))


def _pieces(context: str) -> Iterator[str]:
    pieces = _MARK.split(context)
    return (piece for piece in pieces if piece or len(pieces) == 1)


def _cut(text: str, until: str | Sequence[str] | None) -> str:
    """A text up to the first of `until`."""
    for stop in [until] if isinstance(until, str) else until or ():
        if stop:
            text = text.partition(stop)[0]
    return text
