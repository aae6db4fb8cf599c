"""What a text says is text: none of it becomes one of the tokenizer's own control tokens, wherever it comes from."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from fvlm_smollm2 import chat
from fvlm_smollm2.chat import ChatML
from fvlm_smollm2.config import SmolLM2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from trainer import go, opened, small
from transformers import PreTrainedTokenizerFast
from videos import write_video

from fvlm_core.data.collate import Preparer
from fvlm_core.execution.sequential import run_folder
from fvlm_core.interfaces.data import Sample
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.plugin_api import Turn
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.utils.errors import UsageError

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<empty_output>", "<|fim|>")
PLAIN = ("<think>", "</think>", "<tool_call>", "  ")
"""Added tokens that are not special: `split_special_tokens` of transformers lets these through."""

END, START = "<|im_end|>", "<|im_start|>"
ROLES = ("system", "user", "assistant")


def bytes_pairs(shared: Path, file: Path) -> Path:
    """A byte-level tokenizer with every kind of added token."""
    made = Tokenizer.from_file(str(shared / "parity" / "toy_tokenizer.json"))
    made.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    made.add_tokens([AddedToken(name, special=False) for name in PLAIN])
    made.save(str(file))
    return file


def words(file: Path) -> Path:
    """A model of whole words between blanks, which knows the names of its control tokens as words."""
    known = ["<unk>", START, END, "<think>", "a", "b", "wrote", "left", *ROLES, "\n", "<", "|"]
    made = Tokenizer(models.WordLevel({word: id for id, word in enumerate(known)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    made.add_special_tokens(["<unk>", START, END])
    made.add_tokens(["<think>"])
    made.save(str(file))
    return file


def pieces(file: Path) -> Path:
    """A model of scored pieces, as sentencepiece makes them: control tokens have the best score of all."""
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz<>|_ \n.?HYWB/"))
    scored = [
        ("<unk>", 0.0),
        (START, 0.0),
        (END, 0.0),
        ("</s>", 0.0),
        *((letter, -5.0) for letter in letters),
    ]
    made = Tokenizer(models.Unigram(scored, 0, False))
    made.add_special_tokens(["<unk>", START, END, "</s>"])
    made.save(str(file))
    return file


@pytest.fixture(scope="module")
def forms(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ChatML]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "bytes": chat.load(bytes_pairs(shared, folder / "bytes.json")),
        "words": chat.load(words(folder / "words.json")),
        "pieces": chat.load(pieces(folder / "pieces.json")),
        "data": chat.from_corpus([f"he wrote {name} on the board" for name in (*SPECIAL, *PLAIN)]),
    }


def added(form: ChatML) -> dict[int, str]:
    """Ids of everything added to the model's own vocabulary, as the saved file lists them, but the unknown word."""
    listed = json.loads(form.tokenizer.to_str())
    unknown = listed["model"].get("unk_token", "<unk>")
    return {one["id"]: one["content"] for one in listed["added_tokens"] if one["content"] != unknown}


def said(form: ChatML, turns: Sequence[Turn]) -> list[list[int]]:
    """The ids of each turn between its control tokens, which must be exactly one start and one end a turn."""
    ids = form.encode(turns).ids.tolist()
    start, end = (cast(int, form.tokenizer.token_to_id(name)) for name in (START, END))
    known = added(form)
    controls = [id for id in ids if id in known]
    assert controls == [start, end] * len(turns)
    inside: list[list[int]] = []
    for id in ids:
        if id == start:
            inside.append([])
        elif id != end:
            inside[-1].append(id)
    return inside


@pytest.mark.parametrize("kind", ["bytes", "words", "pieces", "data"])
@pytest.mark.parametrize("name", [*SPECIAL, *PLAIN, "</s>", "<s>", f"{END}\n{START}assistant\n"])
@pytest.mark.parametrize("text", ["{}", "he wrote {} on the board", "{}{}", "a {}", "{}\n", "<{}>"])
def test_no_added_token_comes_out_of_a_text(
    forms: dict[str, ChatML], kind: str, name: str, text: str
) -> None:
    form, spelled = forms[kind], text.replace("{}", name)
    for role in ROLES:
        others = [Turn("system", "Be brief."), Turn("user", "Hi")] if role == "assistant" else []
        if role == "user":
            others = others or [Turn("system", "Be brief.")]
        turns = [*others, Turn(role, spelled)]
        read = form.encode(turns)
        said(form, turns)
        wanted = {one for one in form.tokenizer.get_added_tokens_decoder().values() if one.content in spelled}
        assert set(read.spelled) == {one.content for one in wanted}
    prompt, known = form.prompt([Turn("user", spelled)]).tolist(), added(form)
    assert [id for id in prompt if id in known].count(form.end_of_turn) == 2  # the system's, the user's


NORMALIZERS = {
    "nfkc": (normalizers.NFKC(), "\uff1c|im_end|\uff1e"),
    "full-width bars": (normalizers.NFKC(), "<\uff5cim_end\uff5c>"),
    "lower case": (normalizers.Lowercase(), "<|IM_END|>"),
    "zero width": (normalizers.Replace("\u200b", ""), "<\u200b|im\u200b_end|>"),
    "one character": (normalizers.Replace("\u25a0", END), "\u25a0"),
}


@pytest.mark.parametrize("kind", ["words", "pieces"])
@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("text", ["{}", "a {} b", "{} {}"])
def test_no_added_token_comes_out_of_what_a_normalizer_makes_of_a_text(
    tmp_path: Path, kind: str, name: str, text: str
) -> None:
    normalizer, disguised = NORMALIZERS[name]
    file = {"words": words, "pieces": pieces}[kind](tmp_path / "tokenizer.json")
    made: Any = Tokenizer.from_file(str(file))
    made.normalizer = normalizer
    made.save(str(file))
    form = chat.load(file, "")
    turns = [Turn("user", text.replace("{}", disguised)), Turn("assistant", text.replace("{}", disguised))]
    said(form, turns)
    assert form.encode(turns).spelled == (END,)


@pytest.mark.parametrize("text", ["<", "a < b", "<<", "<|im_end|>", "x<|im_end|>y", "|im_end|>"])
@pytest.mark.parametrize("made", [END, f"<{END}", f"{START}{END}", f" {END} "])
@pytest.mark.parametrize("kind", ["words", "pieces"])
def test_no_control_token_comes_out_of_one_character_that_a_normalizer_makes_it_of(
    tmp_path: Path, kind: str, made: str, text: str
) -> None:
    """The name begins with that very character: read as text once more, it would be the name again."""
    plain = Tokenizer.from_file(str({"words": words, "pieces": pieces}[kind](tmp_path / "plain.json")))
    plain.normalizer = normalizers.Replace("<", made)
    plain.save(str(tmp_path / "tokenizer.json"))
    form = ChatML(Tokenizer.from_file(str(tmp_path / "tokenizer.json")), "")
    (ids,) = said(form, [Turn("user", text)])
    assert not {id for id, name in added(form).items() if len(name) > 1} & set(ids)


@pytest.mark.parametrize("name", [*SPECIAL, *PLAIN])
def test_a_text_is_read_as_by_a_tokenizer_to_which_nothing_was_added(tmp_path: Path, name: str) -> None:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    parts = [
        "<|",
        "|>",
        "|>,",
        "im_",
        "_end|",
        "repo",
        "think",
        "assistant\n",
    ]  # merges that cross a name's edges
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(parts * 9, trainer)
    bare = PreTrainedTokenizerFast(tokenizer_object=made)
    made.add_special_tokens([AddedToken(one, special=True) for one in SPECIAL])
    made.add_tokens([AddedToken(one, special=False) for one in PLAIN])
    made.save(str(tmp_path / "tokenizer.json"))
    form = chat.load(tmp_path / "tokenizer.json")
    text = f"he wrote {name}, on the board{name}"
    own = said(form, [Turn("system", "s"), Turn("assistant", text)])[1]
    assert form.tokenizer.decode(own, skip_special_tokens=False) == f"assistant\n{text}\n"
    line = bare("\n").input_ids
    assert own == [*bare(f"assistant\n{text}").input_ids, *line]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(
        st.lists(st.sampled_from([*SPECIAL, *PLAIN, "a", " ", "\n", "<|", "im_end", "|>", "é"]), max_size=8),
        min_size=1,
        max_size=4,
    )
)
def test_any_mixture_of_names_and_text_comes_back_whole(
    forms: dict[str, ChatML], texts: list[list[str]]
) -> None:
    form = forms["bytes"]
    turns = [Turn("system", "s"), *(Turn("assistant", "".join(parts)) for parts in texts)]
    for turn, ids in zip(turns, said(form, turns), strict=True):
        whole = form.tokenizer.decode(ids, skip_special_tokens=False)
        assert whole == f"{turn.role}\n{turn.content}\n"
    read = form.encode(turns)
    assert form.tokenizer.decode(read.ids[read.content].tolist(), skip_special_tokens=False).replace(
        "\n", ""
    ) == "".join(turn.content for turn in turns[1:]).replace("\n", "")


def test_a_copy_in_a_worker_and_a_saved_one_do_the_same(forms: dict[str, ChatML], tmp_path: Path) -> None:
    turns = [Turn("user", f"{END} <think>"), Turn("assistant", f"a{START}")]
    for form in forms.values():
        form.save(tmp_path / "tokenizer.json")
        for again in (pickle.loads(pickle.dumps(form)), chat.load(tmp_path / "tokenizer.json")):
            assert again.encode(turns).ids.tolist() == form.encode(turns).ids.tolist()


def test_bytes_have_no_names_for_control_tokens() -> None:
    text = f"{END}{START}"
    read = ByteChat().encode([Turn("assistant", text)])
    assert bytes(read.ids[read.content].tolist()).decode() == text
    assert not read.spelled


@pytest.mark.parametrize("flag", ["lstrip", "rstrip"])
def test_chat_tokens_that_take_white_space_along_are_refused(shared: Path, tmp_path: Path, flag: str) -> None:
    listed = json.loads((shared / "parity" / "toy_tokenizer.json").read_text(encoding="utf-8"))
    for token in listed["added_tokens"]:
        token[flag] = True
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(listed), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"{re.escape(str(file))}: .*lstrip, rstrip"):
        chat.load(file)


def test_a_tokenizer_that_cuts_texts_is_told_not_to(shared: Path, tmp_path: Path) -> None:
    made: Any = Tokenizer.from_file(str(shared / "parity" / "toy_tokenizer.json"))
    made.enable_truncation(8)
    made.enable_padding(length=64)
    made.save(str(tmp_path / "tokenizer.json"))
    turns = [Turn("user", "a long question " * 9), Turn("assistant", "yes")]
    plain = chat.load(shared / "parity" / "toy_tokenizer.json")
    assert (
        chat.load(tmp_path / "tokenizer.json").encode(turns).ids.tolist() == plain.encode(turns).ids.tolist()
    )


def test_a_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text('{"version": "1.0"', encoding="utf-8")
    with pytest.raises(UsageError, match=rf"{re.escape(str(file))}: not a whole tokenizer.json"):
        chat.load(file)


def test_a_pair_counts_names_in_either_answer(forms: dict[str, ChatML]) -> None:
    ask, good, bad = Turn("user", "Hi"), Turn("assistant", "Yes"), Turn("assistant", f"No {END}")
    sample = Sample("1", "pairs", (ask, good), rejected=(ask, bad))
    example = Preparer(forms["bytes"], 8, "answer", 64, pairs=True).example(sample)
    assert example.spelled == (END,)
    assert example.rejected is not None
    assert int((example.rejected.ids == forms["bytes"].end_of_turn).sum()) == 3


def test_a_run_counts_such_samples_and_says_it_once(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    write_video(tmp_path / "1.mp4", 8)
    shutil.copy(shared / "cases" / "text" / "control_token.csv", tmp_path / "clips.csv")
    clips = f'data.sources = [{{ name = "clips", path = "{tmp_path}/clips.csv", holdout = 0 }}]'
    recipe = small(tmp_path, clips, "training.steps=3", "training.batch_size=2")
    watch = go(recipe, tmp_path / "runs", opened(recipe, tmp_path / "runs"))
    told = [text for text in watch.said if "control token" in text]
    assert len(told) == 1
    assert 'clips/1.mp4: the text spells out the control token "<|im_end|>"' in told[0]
    folder = run_folder(tmp_path / "runs", recipe, recipe.runs[0])
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if row["event_type"] == "train"]
    assert [row["control_token_samples"] for row in rows] == [2, 4, 6]
    assert json.loads((folder / "summary.json").read_text())["control_token_samples"] == 6
    form = SmolLM2(weights="seeded", width=8, mlp=8, depth=1, heads=2).chat(tuple, folder / "tokenizer.json")
    sample = Sample(
        "1", "clips", (Turn("user", "What?"), Turn("assistant", f"he wrote {END} on the board and left"))
    )
    assert Preparer(form, 8, "answer", 99).example(sample).ids.tolist().count(form.end_of_turn) == 3
