"""Chats: the tokens of the founding system, masks that hold in every turn, tokenizers from the data."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvlm_smollm2 import chat
from fvlm_smollm2.chat import ChatML
from fvlm_smollm2.config import SmolLM2
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.plugin_api import Turn
from fvlm_core.utils.errors import UsageError

CAPTIONS = [
    "A red square, then\ta blue one.",
    "The square's edge: 3 px!\n\nIt moves — slowly.",
    "naïve  two spaces",
]


@pytest.fixture(scope="module")
def toy(shared: Path) -> ChatML:
    return chat.load(shared / "parity" / "toy_tokenizer.json")


def recorded(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "parity" / "facts.json").read_text(encoding="utf-8"))["tokenisation"]


def spelled(text: str | list[Any]) -> str:
    """Long strings are recorded as [piece, repetitions]."""
    return text if isinstance(text, str) else text[0] * text[1]


def said(pieces: str, turns: list[tuple[str, str]]) -> str:
    """A chat with one character a token: which characters the mask named `pieces` covers."""
    spelling = Tokenizer.from_str(_characters())
    encoded = ChatML(spelling).encode([Turn(role, text) for role, text in turns])  # pyright: ignore[reportArgumentType]
    return "".join(spelling.id_to_token(int(token)) for token in encoded.ids[getattr(encoded, pieces)])


def _characters() -> str:
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!?\n"))
    words = {
        "<unk>": 0,
        "<|im_start|>": 1,
        "<|im_end|>": 2,
        **{letter: 3 + n for n, letter in enumerate(letters)},
    }
    special = [
        {"id": n, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for word, n in list(words.items())[:3]
    ]  # fmt: skip
    return json.dumps(
        {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated",
                              "invert": False},
            "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
        }
    )  # fmt: skip


def test_tokens_are_the_founding_systems(toy: ChatML, shared: Path) -> None:
    facts = recorded(shared)
    for case in facts["cases"]:
        user = case.get("user", case.get("user_prompt")) or facts["stage1_default_prompt"]
        answer = spelled(case.get("assistant", case.get("caption")))
        encoded = toy.encode([Turn("user", spelled(user)), Turn("assistant", answer)])
        assert encoded.ids[: case["n"]].tolist() == case["token_ids"]


def test_answer_masks_are_the_founding_systems_and_keep_the_label_it_lost(toy: ChatML, shared: Path) -> None:
    lost = 0
    for case in recorded(shared)["cases"]:
        if case["fn"] != "sft":
            continue
        encoded = toy.encode(
            [Turn("user", spelled(case["user"])), Turn("assistant", spelled(case["assistant"]))]
        )
        ours, theirs = encoded.answer[: case["n"]], np.array(case["loss_mask"], dtype=bool)
        assert (ours | theirs).tolist() == ours.tolist()
        lost += int(ours.sum() - theirs.sum())
        if spelled(case["assistant"]).startswith("\n"):
            first = int(ours.argmax())  # the token that holds the template's newline and the answer's first
            assert toy.tokenizer.decode([int(encoded.ids[first])]) == "\n\n"
    assert lost == 1


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [("answer", "It is red.<|im_end|>\nYes.<|im_end|>\n"), ("content", "It is red.Yes.")],
)
def test_masks_cover_every_answer_of_a_chat_and_nothing_else(pieces: str, expected: str) -> None:
    turns = [("user", "What colour?"), ("assistant", "It is red."), ("user", "Sure?"), ("assistant", "Yes.")]
    assert said(pieces, turns) == expected
    assert said(pieces, [("system", "Be brief."), *turns]) == expected


def test_prompt_is_how_the_chat_begins(toy: ChatML) -> None:
    turns = [Turn("user", "What happens?"), Turn("assistant", "It moves.")]
    whole, prompt = toy.encode(turns), toy.prompt(turns)
    assert prompt.tolist() == whole.ids[: len(prompt)].tolist()
    assert whole.answer.argmax() == len(prompt)
    assert prompt.tolist() == toy.prompt(turns[:1]).tolist()
    assert toy.decode(whole.ids[whole.content].tolist()) == "It moves."


def test_tokenizer_from_data_gives_every_caption_back(tmp_path: Path) -> None:
    made = SmolLM2(weights="seeded", width=8, mlp=8, depth=1, heads=2).chat(lambda: iter(CAPTIONS))
    made.save(tmp_path / "tokenizer.json")
    for form in (made, chat.load(tmp_path / "tokenizer.json"), pickle.loads(pickle.dumps(made))):
        for caption in CAPTIONS:
            encoded = form.encode([Turn("user", CAPTIONS[0]), Turn("assistant", caption)])
            assert form.decode(encoded.ids[encoded.content].tolist()) == caption
            assert (
                encoded.ids.tolist()
                == made.encode([Turn("user", CAPTIONS[0]), Turn("assistant", caption)]).ids.tolist()
            )
    assert made.tokenizer.token_to_id("<|endoftext|>") == 0
    assert made.end_of_turn == 2
    assert made.tokenizer.token_to_id("<unk>") == 3
    assert made.encode([Turn("user", "unheard-of")]).ids.tolist().count(3) == 3


def test_tokenizer_from_data_knows_the_template_and_is_the_same_every_time() -> None:
    first, again = chat.from_corpus(CAPTIONS), chat.from_corpus(CAPTIONS)
    assert first.tokenizer.to_str() == again.tokenizer.to_str()
    assert first.vocabulary == first.tokenizer.get_vocab_size()
    assert 3 not in first.encode([Turn("user", CAPTIONS[0]), Turn("assistant", CAPTIONS[1])]).ids


@settings(max_examples=60)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8") | st.sampled_from(" \t\n ab.e\u0301"), max_size=25), max_size=6
    )
)
def test_the_words_are_those_that_the_library_s_own_trainer_finds(texts: list[str]) -> None:
    """The same words, ids and settings as tokenizers' trainer of word models, whatever the characters."""
    theirs: Any = Tokenizer(models.WordLevel({}, unk_token="<unk>"))
    theirs.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+| ?[^\w\s]|\s"), "isolated")
    theirs.decoder = decoders.Fuse()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"]
    trainer = trainers.WordLevelTrainer(vocab_size=65_537, special_tokens=special, show_progress=False)
    theirs.train_from_iterator(["system\n", "user\n", "assistant\n", "Answer.", *texts], trainer)
    assert chat.from_corpus(texts, "Answer.").tokenizer.to_str() == theirs.to_str()


def test_masks_hold_with_a_tokenizer_that_trims_white_space_off_its_offsets(
    shared: Path, tmp_path: Path
) -> None:
    spelled_out = json.loads((shared / "parity" / "toy_tokenizer.json").read_text(encoding="utf-8"))
    spelled_out["post_processor"] = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(spelled_out), encoding="utf-8")
    form = chat.load(tmp_path / "tokenizer.json")
    encoded = form.encode([Turn("user", "Hi"), Turn("assistant", " It moves. ")])
    assert form.decode(encoded.ids[encoded.content].tolist()) == " It moves. "


def test_bytes_are_labels_in_answers_alone() -> None:
    turns = [Turn("user", "Käfer?"), Turn("assistant", "Ja."), Turn("user", "So?"), Turn("assistant", "Ü")]
    read = ByteChat().encode(turns)
    assert bytes(token for token in read.ids[read.answer].tolist() if token < 256).decode() == "Ja.Ü"
    assert bytes(read.ids[read.content].tolist()).decode() == "Ja.Ü"
    assert (read.ids[read.answer] == ByteChat.end_of_turn).sum() == 2  # where an answer ends is learned


def test_a_tokenizer_without_chat_tokens_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")).save(str(file))
    with pytest.raises(UsageError, match=r"no token <\|im_start\|>"):
        chat.load(file)
