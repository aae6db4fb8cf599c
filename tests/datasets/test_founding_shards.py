"""The founding project's shards: every variant, every sample once an epoch, nothing lost without a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fvlm_shards.config import Shards
from fvlm_shards.source import build
from fvlm_smollm2.chat import ChatML, from_corpus
from shard_fixtures import clip, jpeg, write_tar
from videos import index_of, write_video

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import TrainingData, micro_batches
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.planning import RankShare
from fvlm_core.interfaces.data import Turn
from fvlm_core.media.frames import decode_frames
from fvlm_core.utils.errors import MissingData, UsageError

SYSTEM = "You are a helpful AI assistant."


def chatml(user: str, answer: str) -> str:
    turns = (("system", SYSTEM), ("user", user), ("assistant", answer))
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatML:
    words = [
        "runs",
        "a cat runs",
        "What is this?",
        "clip number",
        *map(str, range(300)),
        "Describe this.",
        "ten words",
    ]
    return from_corpus(words)


@pytest.fixture(scope="module")
def tokenizer(chat: ChatML, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    chat.save(file)
    return file


def open_all(folder: Path, **settings: Any) -> Any:
    return build(Shards(path=folder, holdout=0, cache=folder.parent / "cache", **settings), "train")


def ids(chat: ChatML, text: str) -> list[int]:
    return chat.tokenizer.encode(text, add_special_tokens=False).ids


def test_every_variant_gives_its_chat_and_its_frames(chat: ChatML, tokenizer: Path, tmp_path: Path) -> None:
    frozen = ids(chat, chatml("What is this?", "a cat runs"))
    video = write_video(tmp_path / "v.mp4", 30, fps=10).read_bytes()
    members = {
        **clip("a", {"token_ids": frozen, "loss_mask": [1] * len(frozen), "source": "openvid", "frame_count": 3}, 3),
        **clip("b", {"caption": "a cat", "frame_count": 2, "source": "vript", "video_id": "x"}, 2, first=100),
        **clip("c", {"user": "What?", "assistant": "a cat", "frame_count": 70}, 64, first=200),
        "d.json": {"user": "Q", "chosen_assistant": "good", "rejected_assistant": "bad"},
        "d.jpg": jpeg(7),
        "e.json": {"chosen_token_ids": frozen, "rejected_token_ids": ids(chat, chatml("What is this?", "runs"))},
        "e.jpg": jpeg(8),
        "f.json": {"token_ids": frozen, "loss_mask": [0] * len(frozen), "is_text_only": True},
        "g.json": {"caption": "moves", "source": "sharegpt4video"},
        "g.mp4": video,
        "h.txt": b"a plain caption",
        "h.jpg": jpeg(9),
        "i.json": {"user": "", "assistant": "a cat", "token_ids": [1, 2, 3]},
    }  # fmt: skip
    members["c.json"]["frame_count"] = 64  # type: ignore[index,call-overload]
    write_tar(tmp_path / "shards" / "0.tar", members)
    source = open_all(tmp_path / "shards", tokenizer=tokenizer)
    assert source.problems() == ()
    samples = {source[n].id: source[n] for n in range(len(source))}
    assert list(samples) == [f"0/{key}" for key in "abcdefghi"]
    system, asked = Turn("system", SYSTEM), Turn("user", "What is this?")
    assert samples["0/a"].turns == (system, asked, Turn("assistant", "a cat runs"))
    assert samples["0/b"].turns[0].content.startswith("Provide a detailed narration")
    assert samples["0/c"].turns == (Turn("user", "What?"), Turn("assistant", "a cat"))
    assert (samples["0/d"].turns[-1].content, samples["0/d"].rejected[-1].content) == ("good", "bad")
    assert (samples["0/e"].turns[-1].content, samples["0/e"].rejected[-1].content) == ("a cat runs", "runs")
    assert samples["0/f"].video is None
    assert samples["0/g"].turns[0].content == "Describe what happens in this video in detail."
    assert samples["0/h"].turns == (Turn("user", "Describe this."), Turn("assistant", "a plain caption"))
    assert samples["0/i"].turns[-1] == Turn("assistant", "a cat")
    shown = {name: [index_of(f) for f in decode_frames(sample, 56)] for name, sample in samples.items()}
    assert shown == {
        "0/a": [0, 1, 2],
        "0/b": [100, 101],
        "0/c": list(range(200, 264)),
        "0/d": [7],
        "0/e": [8],
        "0/f": [],
        "0/g": [0, 10, 20],
        "0/h": [9],
        "0/i": [],
    }


def test_traps_are_named_with_their_shard_and_key(tokenizer: Path, chat: ChatML, tmp_path: Path) -> None:
    whole = ids(chat, chatml("What is this?", "a cat runs"))
    members: dict[str, Any] = {
        **clip("good", {"caption": "a cat"}, 1),
        **clip("trap_hole", {"caption": "a cat", "frame_count": 3}, 3),
        **clip("trap_count", {"caption": "a cat", "frame_count": 5}, 2),
        "trap_no_text.jpg": jpeg(1),
        "trap_pickle.json": {"caption": "a cat"},
        "trap_pickle.pyd": b"cos\nsystem\n",
        "trap_json.json": b"{not json",
        "trap_list.json": b"[1, 2]",
        "trap_empty.json": {"caption": "  "},
        "trap_type.json": {"caption": 7},
        "trap_cut.json": {"token_ids": whole[:-3]},
        "trap_other_tokenizer.json": {"token_ids": [40_000, 3]},
        "../../trap_escape.json": {"caption": "x"},
        "/trap_absolute.json": {"caption": "x"},
        "trap_same.json": {"user": "q", "chosen_assistant": "x", "rejected_assistant": "x"},
    }
    del members["trap_hole.001.jpg"]
    write_tar(tmp_path / "shards" / "0.tar", members)
    source = open_all(tmp_path / "shards", tokenizer=tokenizer)
    assert [source[n].id for n in range(len(source))] == ["0/good", "0/trap_pickle"]
    found = {problem.key: problem.text for problem in source.problems()}
    reasons = {
        "trap_hole": "frame 1 is missing",
        "trap_count": "frame_count is 5 and 2 are there",
        "trap_no_text": "no text",
        "trap_pickle.pyd": ".pyd is not read",
        "trap_json": "not JSON",
        "trap_list": "expected a JSON object",
        "trap_empty": "empty answer",
        "trap_type": "caption: expected a string",
        "trap_cut": "cut in the middle",
        "trap_other_tokenizer": "another tokenizer",
        "../../trap_escape.json": "leads out",
        "/trap_absolute.json": "leads out",
        "trap_same": "are the same",
    }
    assert {key: reason for key, reason in reasons.items() if reason not in found.get(key, "")} == {}
    assert set(found) == set(reasons)
    assert all(problem.file.endswith("0.tar") for problem in source.problems())
    assert str(source.problems()[0]).startswith(str(tmp_path))


def test_token_ids_without_their_tokenizer_say_what_to_do(tmp_path: Path) -> None:
    write_tar(tmp_path / "shards" / "0.tar", {"a.json": {"token_ids": [1, 2]}})
    with pytest.raises(UsageError, match="tokenizer = "):
        open_all(tmp_path / "shards")
    with pytest.raises(MissingData, match="is not there"):
        open_all(tmp_path / "shards", tokenizer=tmp_path / "none.json")


def test_pictures_of_any_size_are_scaled_and_cropped(tmp_path: Path) -> None:
    pictures = {
        "a.000.jpg": jpeg(5, 300, 200),
        "a.001.jpg": jpeg(6, 120, 400),
        "a.002.jpg": jpeg(7, 224, 224),
    }
    write_tar(tmp_path / "shards" / "0.tar", {"a.json": {"caption": "mixed"}, **pictures})
    frames = decode_frames(open_all(tmp_path / "shards")[0], 224)
    assert frames.shape == (3, 3, 224, 224)
    assert [index_of(frame) for frame in frames] == [5, 6, 7]


@pytest.mark.parametrize(
    ("damaged", "word"),
    [
        (lambda tar: tar[: len(tar) // 2], "cut short"),
        (lambda tar: tar[: 10 * 1024], "cut short"),  # after the tenth member: a header and a block each
        (
            lambda tar: tar[: 10 * 1024] + bytes(512) + tar[10 * 1024 + 512 :],
            "altered",
        ),  # its next header gone
    ],
    ids=["within a member", "between two", "a header of zeros"],
)
def test_a_shard_that_is_not_whole_stops_the_source_by_name(
    damaged: Callable[[bytes], bytes], word: str, tmp_path: Path
) -> None:
    for number in range(3):
        write_tar(tmp_path / "shards" / f"{number}.tar", {f"{n}.json": {"caption": "x"} for n in range(20)})
    whole = (tmp_path / "shards" / "1.tar").read_bytes()
    (tmp_path / "shards" / "1.tar").write_bytes(damaged(whole))
    with pytest.raises(UsageError, match=rf"1 of 3 shards are not whole:\n.*1\.tar: {word}"):
        open_all(tmp_path / "shards")


@pytest.mark.parametrize("workers", [0, 1, 2, pytest.param(4, marks=pytest.mark.soak)])
def test_every_sample_of_every_shard_is_read_once_an_epoch_whatever_the_workers(
    workers: int, chat: ChatML, tmp_path: Path
) -> None:
    """With n workers the founding loader read 1/n of the shards, the same ones every epoch (defect 1)."""
    shards, each = 12, 4
    for number in range(shards):
        members: dict[str, Any] = {}
        for n in range(each):
            members |= clip(
                f"{n:06d}", {"caption": f"clip number {number * each + n}"}, 1, first=number, size=48
            )
        write_tar(tmp_path / "shards" / f"{number:05d}.tar", members)
    source = open_all(tmp_path / "shards")
    total = shards * each
    data = TrainingData((source,), Mixture([len(source)], [1.0], 0), Preparer(chat, 48, "answer", 64))
    read: list[str] = []
    for batch in micro_batches(data, RankShare(4, 4), 0, workers, pin=False):
        read += batch.batch.sample_ids
        if len(read) == 2 * total:
            break
    for epoch in (read[:total], read[total:]):
        assert Counter(epoch) == {
            f"shards:shards/{s:05d}/{n:06d}": 1 for s in range(shards) for n in range(each)
        }
    assert read[:total] != read[total:]


def test_text_alone_is_delivered_in_its_share(chat: ChatML, tmp_path: Path) -> None:
    """The founding loader dropped every sample without a picture: 20 written, 0 delivered (defect 2)."""
    videos: dict[str, Any] = {}
    for n in range(6):
        videos |= clip(f"{n}", {"caption": f"clip number {n}"}, 2, size=48)
    write_tar(tmp_path / "videos" / "0.tar", videos)
    frozen = ids(chat, chatml("What is this?", "ten words"))
    texts = {f"{n}.json": {"token_ids": frozen, "loss_mask": [1], "is_text_only": True} for n in range(20)}
    write_tar(tmp_path / "texts" / "0.tar", texts)
    file = tmp_path / "tokenizer.json"
    chat.save(file)
    sources = (open_all(tmp_path / "videos"), open_all(tmp_path / "texts", tokenizer=file))
    data = TrainingData(sources, Mixture([6, 20], [0.86, 0.14], 0), Preparer(chat, 48, "all", 64))
    counts: Counter[str] = Counter()
    for batch in micro_batches(data, RankShare(10, 10), 0, 2, pin=False):
        for name, frames in zip(batch.batch.sample_ids, batch.batch.counts.tolist(), strict=True):
            counts[name.partition("/")[0]] += 1
            assert frames == (0 if "texts" in name else 2)
        if counts.total() == 1000:
            break
    assert counts == {"shards:videos": 860, "shards:texts": 140}


def test_an_index_is_made_once_for_the_same_files(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "shards" / "0.tar", {"a.json": {"caption": "x"}})
    first = open_all(tmp_path / "shards")
    made = list((tmp_path / "cache").rglob("index.arrow"))
    assert open_all(tmp_path / "shards").fingerprint() == first.fingerprint()
    assert list((tmp_path / "cache").rglob("index.arrow")) == made
    write_tar(file, {"a.json": {"caption": "x"}, "b.json": {"caption": "y"}})
    assert len(open_all(tmp_path / "shards")) == 2


def test_records_are_read_from_the_tar_and_not_remembered(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "shards" / "0.tar", {"a.json": {"caption": "first words"}})
    source = open_all(tmp_path / "shards")
    content = file.read_bytes()
    file.write_bytes(content.replace(b'{"caption"', b'{"caption_'))
    with pytest.raises(Exception, match=r"0\.tar: its text at byte") as caught:
        source[0]
    assert type(caught.value).__name__ == "BadSample"
