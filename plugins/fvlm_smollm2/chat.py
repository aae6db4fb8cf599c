"""Chats as token ids: the ChatML format of SmolLM2, with what is answer and what is template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from fvlm_core.interfaces import EncodedChat, Turn, UsageError

SYSTEM = "You are a helpful AI assistant."
_END_OF_TEXT, _START, _END, _UNKNOWN = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"
_MOST_WORDS = 65_536
_TEMPLATE = (
    "{% if not messages or messages[0]['role'] != 'system' %}"
    f"{{{{ '{_START}system\\n{SYSTEM}{_END}\\n' }}}}"
    "{% endif %}{% for message in messages %}"
    f"{{{{ '{_START}' + message['role'] + '\\n' + message['content'] + '{_END}\\n' }}}}"
    "{% endfor %}{% if add_generation_prompt %}"
    f"{{{{ '{_START}assistant\\n' }}}}"
    "{% endif %}"
)


@frozen(eq=False)
class ChatML:
    """The chat format `<|im_start|>ROLE\\nTEXT<|im_end|>\\n` for every turn; see `Chat`.

    A chat without a system turn gets "You are a helpful AI assistant.".
    """

    tokenizer: Tokenizer = field(repr=False)
    vocabulary: int = field(init=False)
    end_of_turn: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", self.tokenizer.get_vocab_size())
        object.__setattr__(self, "end_of_turn", self.tokenizer.token_to_id(_END))

    def encode(self, turns: Sequence[Turn]) -> EncodedChat:
        """The whole chat, answers included; see `EncodedChat`.

        What a token is follows from the characters it covers, in the text as a whole: correct in every turn, and
        where a token joins the end of the template and the start of an answer.
        """
        text = ""
        answers: list[tuple[int, int]] = []
        contents: list[tuple[int, int]] = []
        for turn in _with_system(turns):
            text += f"{_START}{turn.role}\n"
            start = len(text)
            text += turn.content
            end = len(text)
            text += f"{_END}\n"
            if turn.role == "assistant":
                answers.append((start, len(text)))
                contents.append((start, end))
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return EncodedChat(
            np.array(encoding.ids, dtype=np.int64), _covering(spans, answers), _covering(spans, contents)
        )

    def prompt(self, turns: Sequence[Turn]) -> NDArray[np.int64]:
        """The chat up to where the assistant begins to speak, its last answer left out if there is one."""
        asked = turns[:-1] if turns and turns[-1].role == "assistant" else turns
        text = "".join(f"{_START}{turn.role}\n{turn.content}{_END}\n" for turn in _with_system(asked))
        ids = self.tokenizer.encode(f"{text}{_START}assistant\n", add_special_tokens=False).ids
        return np.array(ids, dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids back to text, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def save(self, file: Path) -> None:
        """Write the tokenizer to `file` (JSON, as the tokenizers library reads it)."""
        self.tokenizer.save(str(file))

    def tokenizer_config(self) -> dict[str, Any]:
        """`tokenizer_config.json` for transformers, whose chat template gives the tokens of `prompt` and `encode`."""
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": _END,
            "pad_token": _END,
            "clean_up_tokenization_spaces": False,
            "chat_template": _TEMPLATE,
        }


def load(file: Path) -> ChatML:
    """The chat format with the tokenizer of a `tokenizer.json`. Raises `UsageError` if it has no ChatML tokens."""
    tokenizer: Any = Tokenizer.from_file(str(file))
    missing = [token for token in (_START, _END) if tokenizer.token_to_id(token) is None]
    if missing:
        raise UsageError(
            f"{file}: no token {' and no token '.join(missing)}: expected the tokenizer of a ChatML model"
        )
    # A byte-level post-processor may trim white space off the offsets, and masks are made from offsets.
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return ChatML(tokenizer)


def from_corpus(texts: Iterable[str]) -> ChatML:
    """A word-level tokenizer of everything in `texts` and the chat template.

    A word takes the space before it along; other white space and punctuation marks are tokens of their own, so known
    text survives encoding and decoding unchanged. Ids: <|endoftext|> 0, <|im_start|> 1, <|im_end|> 2, <unk> 3, then
    words by falling frequency, then alphabetically. Raises `UsageError` beyond 65,536 different words.
    """
    tokenizer: Any = Tokenizer(models.WordLevel({}, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+| ?[^\w\s]|\s"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(
        vocab_size=_MOST_WORDS + 1, special_tokens=[_END_OF_TEXT, _START, _END, _UNKNOWN], show_progress=False
    )
    template = (*(f"{role}\n" for role in ("system", "user", "assistant")), SYSTEM)
    tokenizer.train_from_iterator(chain(template, texts), trainer)
    if tokenizer.get_vocab_size() > _MOST_WORDS:
        raise UsageError(
            f"tokenizer: the training texts hold more than {_MOST_WORDS:,} different words; "
            'expected tokenizer = "HUB-ID" or a folder with a tokenizer.json for texts this rich'
        )
    return ChatML(tokenizer)


def _with_system(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The turns with a system turn first."""
    return turns if turns and turns[0].role == "system" else [Turn("system", SYSTEM), *turns]


def _covering(spans: NDArray[np.int64], pieces: list[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which tokens hold a character of one of the pieces of text."""
    inside = np.zeros(len(spans), dtype=np.bool_)
    for start, end in pieces:
        inside |= (spans[:, 1] > start) & (spans[:, 0] < end)
    return inside
