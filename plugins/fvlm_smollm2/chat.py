"""Chats as token ids: the ChatML format of SmolLM2, with what is answer and what is template."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from fvlm_core.plugin_api import NOTES, EncodedChat, Turn, UsageError, check_data
from fvlm_smollm2.template import SYSTEM

_END_OF_TEXT, _START, _END, _UNKNOWN = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"
_MOST_WORDS = 65_536
_ALWAYS = ("system\n", "user\n", "assistant\n")
_SHORT = (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Yes."), Turn("user", "Why?"))
_TEMPLATE = (
    "{% for message in messages %}"
    f"{{{{ '{_START}' + message['role'] + '\\n' + message['content'] + '{_END}\\n' }}}}"
    "{% endfor %}{% if add_generation_prompt %}"
    f"{{{{ '{_START}assistant\\n' }}}}"
    "{% endif %}"
)


@frozen(eq=False)
class ChatML:
    """The chat format `<|im_start|>ROLE\\nTEXT<|im_end|>\\n` for every turn; see `Chat`.

    Only the format itself makes the tokens that the tokenizer adds to its vocabulary, special or not: a text in which
    one of them is spelled out stays text, also where the tokenizer's normalizer spells it.
    system: the text of the system turn of chats that have none; empty: no such turn.
    """

    tokenizer: Tokenizer = field(repr=False)
    system: str = SYSTEM
    vocabulary: int = field(init=False)
    end_of_turn: int = field(init=False)
    _start: int = field(init=False)
    _added: dict[int, str] = field(init=False, repr=False)
    _plain: Tokenizer = field(init=False, repr=False)
    _bare: Any = field(init=False, repr=False)
    _unknown: int | None = field(init=False, repr=False)
    _line: tuple[int, ...] = field(init=False, repr=False)
    _known_turn: Callable[[Turn], tuple[list[int], list[bool], set[str]]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        found: Any = self.tokenizer
        for name, value in {
            "vocabulary": 1 + max(found.get_vocab().values()),
            "end_of_turn": found.token_to_id(_END),
            "_start": found.token_to_id(_START),
            "_added": {id: token.content for id, token in found.get_added_tokens_decoder().items()},
            "_plain": _without_added(found),
            "_bare": _without_added(found, normalized=False),
            "_unknown": _unknown(found),
        }.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_known_turn", lru_cache(64)(self._turn))
        object.__setattr__(self, "_line", tuple(id for id, _ in self._read("\n")))

    def __reduce__(self) -> tuple[Any, ...]:
        return ChatML, (self.tokenizer, self.system)

    def encode(self, turns: Sequence[Turn]) -> EncodedChat:
        """The whole chat, answers included; see `EncodedChat`.

        What a token is follows from the characters it covers, in a turn as a whole: correct in every turn, and where a
        token joins the end of the template and the start of an answer.
        """
        ids: list[int] = []
        answer: list[bool] = []
        content: list[bool] = []
        spelled: set[str] = set()
        for turn in self._with_system(turns):
            # Instructions and questions are often the same for a whole data set.
            read, own, names = (self._turn if turn.role == "assistant" else self._known_turn)(turn)
            said = turn.role == "assistant"
            ids += [self._start, *read, self.end_of_turn, *self._line]
            answer += [False, *own, said, *[said] * len(self._line)]
            content += [False, *own, False, *[False] * len(self._line)]
            spelled |= names
        return EncodedChat(
            np.array(ids, dtype=np.int64),
            np.array(answer, dtype=np.bool_),
            np.array(content, dtype=np.bool_),
            tuple(sorted(spelled)),
        )

    def prompt(self, turns: Sequence[Turn]) -> NDArray[np.int64]:
        """The chat up to where the assistant begins to speak, its last answer left out if there is one."""
        asked = turns[:-1] if turns and turns[-1].role == "assistant" else turns
        begin = [self._start, *(id for id, _ in self._read("assistant\n"))]
        return np.concatenate([self.encode(asked).ids, np.array(begin, dtype=np.int64)])

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids back to text, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def save(self, file: Path) -> None:
        """Write the tokenizer to `file` (JSON, as the tokenizers library reads it)."""
        self.tokenizer.save(str(file))

    def tokenizer_config(self) -> dict[str, Any]:
        """`tokenizer_config.json` for transformers, whose chat template gives the tokens of `prompt` and `encode`, of
        texts that spell out no added token."""
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": _END,
            "pad_token": _END,
            "clean_up_tokenization_spaces": False,
            "chat_template": _default_turn(self.system) + _TEMPLATE,
        }

    def _with_system(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """The turns with a system turn first."""
        has_one = not self.system or (turns and turns[0].role == "system")
        return turns if has_one else [Turn("system", self.system), *turns]

    def _turn(self, turn: Turn) -> tuple[list[int], list[bool], set[str]]:
        """Of role and text: ids, which are of an answer's own characters, and control tokens that the text spells."""
        head = f"{turn.role}\n"
        read = self._read(head + turn.content)
        own = [turn.role == "assistant" and end > len(head) for _, end in read]
        forms = {turn.content, self._normalized(turn.content)}
        return (
            [id for id, _ in read],
            own,
            {name for name in self._added.values() if any(name in form for form in forms)},
        )

    def _read(self, text: str) -> list[tuple[int, int]]:
        """A text as token ids, each with where its characters end; none of them is an added token spelled out.

        A model of words or of scored pieces may know an added token's name as one of its own, and a normalizer may
        make that name out of other characters: the text is then cut after the token's first character, and both parts
        are read for themselves. Of a single character that becomes a name, the name is read in two parts.
        """
        read: Any = self._plain.encode(text, add_special_tokens=False)
        found = list(zip(read.ids, read.offsets, strict=True))
        if self._added.keys().isdisjoint(read.ids):  # as nearly every text is
            return [(id, end) for id, (_, end) in found]
        named = [self._is_named(id, text[start:end]) for id, (start, end) in found]
        cuts = [
            start + 1
            for (_, (start, end)), wrong in zip(found, named, strict=True)
            if wrong and end - start > 1
        ]
        if cuts:
            pieces = pairwise([0, *cuts, len(text)])
            return [(id, begin + end) for begin, stop in pieces for id, end in self._read(text[begin:stop])]
        return [
            (part, end)
            for (id, (_, end)), wrong in zip(found, named, strict=True)
            for part in (self._in_parts(id) if wrong else [id])
        ]

    def _in_parts(self, id: int) -> list[int]:
        """The name of an added token as text: read in two parts, which no normalizer makes names of once more.

        Raises `UsageError` for a tokenizer that reads a part of a name as one that is no shorter.
        """
        name = self._added[id]
        ids: list[int] = []
        for half in (name[:1], name[1:]):
            for part in self._bare.encode(half, add_special_tokens=False).ids:
                if not self._is_named(part, half):
                    ids.append(part)
                elif len(self._added[part]) < len(name):
                    ids += self._in_parts(part)
                else:
                    raise UsageError(
                        f'this tokenizer reads "{half}" as its control token "{self._added[part]}": a text with '
                        f'"{name}" in it cannot be read as text; expected another tokenizer.json'
                    )
        return ids

    def _is_named(self, id: int, characters: str) -> bool:
        """Whether a token is an added one that `characters` spell; what is unknown to the model spells none."""
        name = self._added.get(id, "")
        return len(name) > 1 and (id != self._unknown or name in (characters, self._normalized(characters)))

    def _normalized(self, text: str) -> str:
        normalizer: Any = self._plain.normalizer
        return normalizer.normalize_str(text) if normalizer else text


def load(file: Path, system: str = SYSTEM) -> ChatML:
    """The chat format with the tokenizer of a `tokenizer.json`. Raises `UsageError` if it has no ChatML tokens, or
    none that stand alone: whose text beside them is read as if they were not there."""
    try:
        check_data(file, limit=NOTES)
        tokenizer: Any = Tokenizer.from_file(str(file))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise UsageError(f"{file}: not a whole tokenizer.json: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    missing = [token for token in (_START, _END) if tokenizer.token_to_id(token) is None]
    if missing:
        raise UsageError(
            f"{file}: no token {' and no token '.join(missing)}: expected the tokenizer of a ChatML model"
        )
    made = ChatML(tokenizer, system)
    as_one = "".join(f"{_START}{turn.role}\n{turn.content}{_END}\n" for turn in _SHORT)
    if made.encode(_SHORT).ids.tolist() != tokenizer.encode(as_one, add_special_tokens=False).ids:
        raise UsageError(
            f"{file}: {_START} or {_END} changes how the text beside it is read (lstrip, rstrip, or a prefix before "
            "the first word alone); expected ChatML tokens that stand alone"
        )
    return made


def from_corpus(texts: Iterable[str], system: str = SYSTEM) -> ChatML:
    """A word-level tokenizer of everything in `texts` and the chat template.

    A word takes the space before it along; other white space and punctuation marks are tokens of their own, so known
    text survives encoding and decoding unchanged. Ids: <|endoftext|> 0, <|im_start|> 1, <|im_end|> 2, <unk> 3, then
    words by falling frequency, then alphabetically. Raises `UsageError` beyond 65,536 different words.
    """
    pieces: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    for text in chain(_ALWAYS, (system,), texts):
        first, *others = text.split(" ")  # no word goes on behind a space
        pieces[first] += 1
        behind.update(others)
    for other, times in behind.items():
        pieces[f" {other}"] += times
    split: Any = pre_tokenizers.Split(Regex(r" ?\w+| ?[^\w\s]|\s"), "isolated")
    words: Counter[str] = Counter()
    for piece, times in pieces.items():
        for word, _ in split.pre_tokenize_str(piece):
            words[word] += times
    named = (_END_OF_TEXT, _START, _END, _UNKNOWN)
    ordered = [*named, *sorted(words, key=lambda word: (-words[word], word))]
    if len(ordered) > _MOST_WORDS:
        raise UsageError(
            f"tokenizer: the training texts hold more than {_MOST_WORDS:,} different words; "
            'expected tokenizer = "HUB-ID" or a folder with a tokenizer.json for texts this rich'
        )
    tokenizer: Any = Tokenizer(models.WordLevel({word: id for id, word in enumerate(ordered)}, _UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([*named])
    return ChatML(tokenizer, system)


def _without_added(tokenizer: Any, *, normalized: bool = True) -> Any:
    """The same tokenizer without the tokens that were added to its model's own, and without a post-processor, which
    would add some, or trim white space off the offsets that masks are made from."""
    plain: Any = Tokenizer(tokenizer.model)
    if normalized:
        plain.normalizer = tokenizer.normalizer
    plain.pre_tokenizer = tokenizer.pre_tokenizer
    return plain


def _unknown(tokenizer: Any) -> int | None:
    """The id of what the tokenizer's model does not know; None where it knows everything."""
    model = json.loads(tokenizer.to_str())["model"]
    return model["unk_id"] if "unk_id" in model else tokenizer.token_to_id(model.get("unk_token") or "")


def _default_turn(system: str) -> str:
    """The part of a chat template that begins a chat without a system turn."""
    if not system:
        return ""
    turn = ascii(f"{_START}system\n{system}{_END}\n")  # escaped as Jinja reads it
    return f"{{% if not messages or messages[0]['role'] != 'system' %}}{{{{ {turn} }}}}{{% endif %}}"
