"""What a language model and its chat format promise; see `LLMBackend` and `Chat`."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvlm_core.interfaces.chat import Chat, EncodedChat
from fvlm_core.interfaces.data import Turn
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.interfaces.specs import LLMSpec
from fvlm_core.testing.encoder import noise
from fvlm_core.testing.finding import Promise, expect, promises, skip
from fvlm_core.testing.modules import (
    check_close,
    check_gradients,
    check_meta,
    check_seeds,
    check_shape,
    seeded,
)
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []
ROWS, LENGTH = 3, 7
TURNS = (
    Turn("user", "what is seen in the clip"),
    Turn("assistant", "a red square moves left"),
    Turn("user", "what next"),
    Turn("assistant", "it stops"),
)


class Voice:
    """The language model under test, its chat format, and random input."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    @cached_property
    def chat(self) -> Any:
        """With a tokenizer of the turns above where it is made from the data."""
        return self.config.chat(corpus)

    @cached_property
    def vocabulary(self) -> int:
        """Of the embedding."""
        return self.config.spec().vocabulary or self.chat.vocabulary

    def build(self) -> Any:
        """Another one, with weights from the generator as it stands."""
        return self.target(self.config, self.vocabulary)

    @cached_property
    def module(self) -> Any:
        """With the weights of seed 1."""
        return seeded(self.build, 1)

    @property
    def width(self) -> int:
        """W."""
        return self.module.spec.width

    @cached_property
    def given(self) -> Tensor:
        """Embeddings [R, S, W] of the size of its own."""
        with torch.no_grad():
            size = self.module.embed(self.ids()).std()
        return noise(ROWS, LENGTH, self.width) * size

    @cached_property
    def whole(self) -> Tensor:
        """Hidden states of one pass over all of `given`."""
        return self.hidden(self.given)

    def hidden(self, embeddings: Tensor, **how: Any) -> Tensor:
        """Without a graph."""
        with torch.no_grad():
            return self.module.hidden(embeddings, **how)

    def ids(self) -> Tensor:
        """int64 [R, S]."""
        generator = torch.Generator().manual_seed(2)
        return torch.randint(0, self.vocabulary, (ROWS, LENGTH), generator=generator)

    @cached_property
    def read(self) -> EncodedChat:
        """The turns above."""
        return self.chat.encode(TURNS)


def corpus() -> Iterator[str]:
    """What a tokenizer from the data would be made from."""
    return iter([turn.content for turn in TURNS])


def prepare(subject: ComponentUnderTest) -> Voice:
    """The language model under test."""
    return Voice(subject)


@promises(PROMISES, "its config states its sizes", LLMBackend, "the architecture with fresh weights")
def _spec(voice: Voice) -> None:
    found = voice.config.spec()
    expect(isinstance(found, LLMSpec), f"config.spec() gives {found!r}, expected an LLMSpec")


@promises(
    PROMISES, "build(config, vocabulary) makes a language model", LLMBackend, "The component's target is"
)
def _build(voice: Voice) -> None:
    made = voice.module
    expect(isinstance(made, LLMBackend), f"{voice.component.target} makes a {type(made).__name__}")
    stated = voice.config.spec()
    for name in ("width", "depth", "heads", "kv_heads", "positions"):
        got, wanted = getattr(made.spec, name), getattr(stated, name)
        expect(got == wanted, f"its spec has {name} = {got}; config.spec() says {wanted}")
    expect(made.spec.vocabulary == voice.vocabulary, f"its spec has vocabulary = {made.spec.vocabulary}")


@promises(PROMISES, "the seed decides the weights", LLMBackend, "the architecture with fresh weights")
def _seeds(voice: Voice) -> None:
    check_seeds(voice.build)


@promises(PROMISES, "it can be made without memory", LLMBackend, "the architecture with fresh weights")
def _meta(voice: Voice) -> None:
    check_meta(voice.build)


@promises(PROMISES, "embeddings have the stated shape", LLMBackend.embed, "Token ids [...]")
def _embed(voice: Voice) -> None:
    wanted = (ROWS, LENGTH, voice.width)
    with torch.no_grad():
        check_shape(voice.module.embed(voice.ids()), wanted, "embeddings", "[..., W]")
        check_shape(voice.module.embed(voice.ids()[0]), wanted[1:], "embeddings of one row", "[..., W]")


@promises(
    PROMISES, "hidden states have the stated shape", LLMBackend.hidden, "Hidden states after the final norm"
)
def _hidden(voice: Voice) -> None:
    found = check_shape(voice.whole, (ROWS, LENGTH, voice.width), "hidden states", "[R, S, W]")
    check_close(voice.hidden(voice.given), found, "hidden states of the same input, twice")


@promises(PROMISES, "logits have the stated shape", LLMBackend.logits, "Hidden states [..., W]")
def _logits(voice: Voice) -> None:
    with torch.no_grad():
        found = voice.module.logits(voice.whole[:, -1])
    check_shape(found, (ROWS, voice.vocabulary), "logits", "[..., vocabulary]")


@promises(
    PROMISES, "its head's weight makes the logits", LLMBackend.head_weight, "The weight [vocabulary, W]"
)
def _head(voice: Voice) -> None:
    with torch.no_grad():
        weight = voice.module.head_weight()
        if weight is None:
            skip("it has none: logits of many labels are made twice")
        check_shape(weight, (voice.vocabulary, voice.width), "the head's weight", "[vocabulary, W]")
        check_close(voice.whole @ weight.T, voice.module.logits(voice.whole), "products with it, and logits")


@promises(PROMISES, "no position sees what follows it", LLMBackend.hidden, "Attention is causal")
def _causal(voice: Voice) -> None:
    changed = voice.given.clone()
    changed[:, -2:] += 1
    check_close(
        voice.hidden(changed)[:, :-2], voice.whole[:, :-2], "hidden states before a change that follows them"
    )
    apart = (voice.hidden(changed)[:, -1] - voice.whole[:, -1]).abs().max()
    expect(apart > 0, "hidden states do not depend on their own position")
    first = voice.given.clone()
    first[:, 0] += 1
    apart = (voice.hidden(first)[:, -1] - voice.whole[:, -1]).abs().max()
    expect(apart > 0, "the last position does not see the first")


@promises(PROMISES, "padding on the right does not leak", LLMBackend.hidden, "so right padding never leaks")
def _padding(voice: Voice) -> None:
    short = voice.hidden(voice.given[:1, : LENGTH - 3])
    check_close(short, voice.whole[:1, : LENGTH - 3], "hidden states of a row alone and padded beside others")


@promises(PROMISES, "positions count from 0", LLMBackend.hidden, "Positions count from 0")
def _positions(voice: Voice) -> None:
    permuted = voice.given[:1].clone()
    permuted[:, :2] = voice.given[:1, :2].flip(1)
    apart = (voice.hidden(permuted)[:, -1] - voice.whole[:1, -1]).abs().max()
    expect(apart > 0, "the order of earlier positions makes no difference")


@promises(PROMISES, "packed samples do not see each other", LLMBackend.hidden, "lengths: of the samples")
def _lengths(voice: Voice) -> None:
    lengths = (3, 5, 1, 1)
    samples = [voice.given[row % ROWS, None, :length] for row, length in enumerate(lengths)]
    packed = voice.hidden(torch.cat(samples, 1), lengths=lengths)
    alone = torch.cat([voice.hidden(sample) for sample in samples], 1)
    check_close(packed, alone, "hidden states of samples packed into a row and alone")


@promises(PROMISES, "the cache gives what one pass gives", LLMBackend.hidden, "cache: what `new_cache` made")
def _cache(voice: Voice) -> None:
    for cuts in ((0, 4, 5, 6, 7), (0, 1, 3, 7)):
        cache = voice.module.new_cache()
        steps = [voice.hidden(voice.given[:, start:end], cache=cache) for start, end in pairwise(cuts)]
        check_close(torch.cat(steps, 1), voice.whole, "hidden states with a cache and of one pass")


@promises(PROMISES, "rows may finish before others", LLMBackend.hidden, "R may shrink from call to call")
def _shrinks(voice: Voice) -> None:
    cache = voice.module.new_cache()
    voice.hidden(voice.given[:, :3], cache=cache)
    voice.hidden(voice.given[:2, 3:5], cache=cache)
    found = voice.hidden(voice.given[:1, 5:], cache=cache)
    check_close(found, voice.whole[:1, 5:], "hidden states of the row that goes on, and of one pass")


@promises(
    PROMISES, "a cache goes on with selected rows", LLMBackend.select_rows, "Let a cache go on with these"
)
def _selects(voice: Voice) -> None:
    if type(voice.module).select_rows is LLMBackend.select_rows:
        skip("it has no select_rows, which beam search needs")
    cache = voice.module.new_cache()
    voice.hidden(voice.given[:, :4], cache=cache)
    rows = torch.tensor([2, 0, 0])
    voice.module.select_rows(cache, rows)
    found = voice.hidden(voice.given[rows, 4:], cache=cache)
    check_close(
        found, voice.whole[rows, 4:], "hidden states after rows 2, 0, 0 were selected, and of one pass"
    )


@promises(PROMISES, "gradients reach every weight", LLMBackend, "Gradients reach every weight")
def _gradients(voice: Voice) -> None:
    def loss() -> Tensor:
        states = voice.module.hidden(voice.module.embed(voice.ids()))
        logits = voice.module.logits(states)
        return (logits * noise(*logits.shape, seed=3)).sum()

    check_gradients(voice.module, loss)


@promises(PROMISES, "a chat becomes token ids with masks", EncodedChat, "A chat as token ids")
def _encode(voice: Voice) -> None:
    read = voice.read
    kinds = {"ids": np.int64, "answer": np.bool_, "content": np.bool_}
    for name, kind in kinds.items():
        array = getattr(read, name)
        expect(array.dtype == kind, f"{name} is {array.dtype}, expected {np.dtype(kind)}")
        expect(array.shape == read.ids.shape, f"{name} is {array.shape}, ids {read.ids.shape}")
    least, most = int(read.ids.min()), int(read.ids.max())
    expect(least >= 0 and most < voice.chat.vocabulary, f"ids from {least} to {most}")
    expect(
        voice.chat.vocabulary <= voice.vocabulary,
        f"the tokenizer has {voice.chat.vocabulary} tokens, the embedding {voice.vocabulary} rows",
    )


@promises(PROMISES, "the masks mark the answers", EncodedChat, "content: the")
def _masks(voice: Voice) -> None:
    read = voice.read
    expect(bool(read.content.any()), "no token is content")
    expect(not (read.content & ~read.answer).any(), "a token is content and no answer")
    expect(not read.answer.all(), "every token is an answer, the user's too")
    text = voice.chat.decode(read.ids[read.content].tolist())
    said = [turn.content for turn in TURNS if turn.role == "assistant"]
    kept = "".join(text.split())
    expect(kept == "".join("".join(said).split()), f"content decodes to {text!r}, expected {said}")
    ends = read.ids[read.answer & ~read.content]
    expect(voice.chat.end_of_turn in ends, "no answer holds the end-of-turn token")


@promises(PROMISES, "a prompt is the chat up to the answer", Chat.prompt, "The chat up to where")
def _prompt(voice: Voice) -> None:
    whole = voice.chat.encode(TURNS[:2])
    prompt = np.asarray(voice.chat.prompt(TURNS[:1]))
    expect(prompt.dtype == np.int64, f"prompt is {prompt.dtype}, expected int64")
    begins = int(np.flatnonzero(whole.answer)[0])
    wanted = whole.ids[:begins].tolist()
    expect(prompt.tolist() == wanted, f"prompt is {prompt.tolist()}; the chat begins {wanted}")


@promises(PROMISES, "no text becomes a control token", Chat.encode, "What a turn says is text")
def _spelled(voice: Voice) -> None:
    controls = _controls(voice.chat)
    said = {name: f"it is {name} there" for name in controls}
    chat = voice.config.chat(lambda: iter([*corpus(), "it is there", *said.values()]))
    calm = chat.encode((Turn("user", "it is there"), Turn("assistant", "it is there")))
    silent = "".join(chat.decode(calm.ids[calm.content].tolist()).split())
    for name, text in said.items():
        read = chat.encode((Turn("user", text), Turn("assistant", text)))
        for token in {chat.end_of_turn, *controls[name]}:
            more = int((read.ids == token).sum()) - int((calm.ids == token).sum())
            expect(more == 0, f"{name!r} in a text becomes the control token {token}")
        kept = "".join(chat.decode(read.ids[read.content].tolist()).split())
        expect(kept != silent, f"{name!r} in an answer is not among its tokens")


@promises(PROMISES, "a saved tokenizer says the same", Chat.save, "Write the tokenizer to")
def _save(voice: Voice) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "tokenizer.json")
        voice.chat.save(file)
        expect(file.is_file(), "`save` writes no file")
        json.loads(file.read_text(encoding="utf-8"))
        again = voice.config.chat(corpus, file=file)
        expect(again.vocabulary == voice.chat.vocabulary, f"vocabulary {again.vocabulary} after loading")
        same = np.array_equal(again.encode(TURNS).ids, voice.read.ids)
        expect(same, "the loaded tokenizer gives other ids")


@promises(PROMISES, "the chat format can be sent to a data worker", Chat, "Turns chats into token ids")
def _pickles(voice: Voice) -> None:
    again = pickle.loads(pickle.dumps(voice.chat))
    expect(np.array_equal(again.encode(TURNS).ids, voice.read.ids), "a pickled copy gives other ids")


@promises(PROMISES, "its tokenizer can be described", Chat.tokenizer_config, "What stands beside")
def _described(voice: Voice) -> None:
    found = voice.chat.tokenizer_config()
    expect(isinstance(found, dict), f"`tokenizer_config` gives a {type(found).__name__}")
    json.dumps(found)
    if "chat_template" not in found:
        skip("it has no chat_template: exported models know no chat")


USUAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<|eot_id|>", "[INST]")
"""Names of control tokens in published tokenizers."""


def _controls(chat: Chat) -> dict[str, tuple[int, ...]]:
    """What control tokens are called: in its saved file, where that is a tokenizer's, in what it says of itself, and
    usually; each with its id, where the file says it."""
    names: dict[str, tuple[int, ...]] = dict.fromkeys(USUAL, ())
    for key, value in chat.tokenizer_config().items():
        named = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(named, str):
            names[named] = ()
    with TemporaryDirectory() as folder:
        file = Path(folder, "tokenizer.json")
        chat.save(file)
        saved = json.loads(file.read_text(encoding="utf-8"))
    unknown = saved.get("model", {}).get("unk_token")  # stands for any word, not for its name
    for token in saved.get("added_tokens", ()):
        names[token["content"]] = () if token["content"] == unknown else (token["id"],)
    return names
