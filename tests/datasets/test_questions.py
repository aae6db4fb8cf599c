"""Questions about rendered clips: told by the pictures, guessed no more often than is said; and the levels that were
there before are what they were."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvlm_shapes.config import CATEGORIES, Level, Shapes
from fvlm_shapes.draw import CELL, COLOURS, blank, card
from fvlm_shapes.questions import PLACES, Questioned
from fvlm_shapes.scenes import scene
from fvlm_shapes.source import ShapesSource, build
from fvlm_shards.config import Shards
from fvlm_shards.source import build as build_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fvlm_core.datasets.shards.pack import pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.media.frames import decode_frames
from fvlm_core.plugin_api import FrameArray, Split
from fvlm_core.utils.multiple_choice import choices, chosen


def source(level: Level, split: Split = "train", clips: int = 40, **more: object) -> ShapesSource:
    config = Shapes(level=level, clips=clips, validation_clips=clips, files=False, **more)  # type: ignore[arg-type]
    return build(config, split)


def questioned(index: int, frames: int = 4, level: Level = "questions", split: Split = "train") -> Questioned:
    found = scene(level, 0, split, index, frames)
    assert isinstance(found, Questioned)
    return found


@pytest.mark.parametrize(
    ("level", "split", "pixels", "fingerprint"),
    [
        ("easy", "train", "6dfb1d8e01514306", "3150dfcd827712a3"),
        ("easy", "validation", "ada1e99e0bff81c8", "eebe9b2f6a1a8a76"),
        ("gaze", "train", "aa009dd7e62e8216", "bbe3bf774867217a"),
        ("gaze", "validation", "78138994ed3bb5f9", "6100385dd16de7a1"),
        ("signals", "train", "58e8774ed860af42", "7087eb60e103c120"),
        ("signals", "validation", "b19f252de7fbafb5", "961e5ddec5ecd1cd"),
    ],
)
def test_levels_that_ask_nothing_give_the_bytes_that_they_always_gave(
    level: Level, split: Split, pixels: str, fingerprint: str
) -> None:
    """Ids, captions and every pixel of 40 clips, as they were before there were questions."""
    clips = source(level, split)
    digest = blake2b(digest_size=8)
    for index in range(40):
        sample = clips[index]
        assert (sample.category, sample.chance) == ("", None)
        assert isinstance(sample.video, FrameArray)
        digest.update(repr((sample.id, sample.turns)).encode())
        for second in range(4):
            digest.update(sample.video.frames[second].tobytes())
    assert (digest.hexdigest(), clips.fingerprint()) == (pixels, fingerprint)


def cards(frames: NDArray[np.uint8]) -> list[tuple[int, int, str, bytes]]:
    """Second, cell, colour and body of every card in [T, H, W, 3], read from the pixels."""
    names = {rgb: name for name, rgb in COLOURS.items()}
    found: list[tuple[int, int, str, bytes]] = []
    for second, frame in enumerate(frames):
        for cell in range(9):
            row, column = divmod(cell, 3)
            tile = frame[CELL * row : CELL * (row + 1), CELL * column : CELL * (column + 1)]
            if (
                tile[1].any() and not np.ptp(tile[1], axis=0).any()
            ):  # the head of a card; a glyph may stick out below
                found.append((second, cell, names[tuple(tile[1, 0].tolist())], tile[4:].tobytes()))
    return found


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 10**6), frames=st.integers(2, 12), split=st.sampled_from(("train", "validation")))
def test_every_answer_is_told_by_the_pixels(index: int, frames: int, split: Split) -> None:
    asked = questioned(index, frames, split=split)
    seen = cards(np.stack([np.asarray(picture) for picture in asked.frames()]))
    assert len({second for second, *_ in seen}) == len(seen) == len({colour for _, _, colour, _ in seen})
    words = asked.question.replace("?", "").split()
    named = [word for word in words if word in COLOURS]
    first = next((one for one in seen if one[2] in named), None)
    bodies = {}
    for glyph in asked.answers if asked.category == "what" else ():
        picture = blank()
        card(picture, 0, "red", glyph)
        bodies[np.asarray(picture)[4:CELL, :CELL].tobytes()] = glyph
    first_named = first or (0, 0, "", b"")
    told = {
        "what": lambda: bodies[first_named[3]],
        "where": lambda: PLACES[first_named[1]],
        "when": lambda: str(first_named[0] + 1),
        "how many": lambda: str(len(seen)),
        "which came first": lambda: first_named[2],
    }[asked.category]()
    assert asked.caption() == told
    assert told in asked.answers


def test_splits_share_no_clip_and_categories_take_turns() -> None:
    train, held_out = (
        [questioned(index, split=split) for index in range(2000)] for split in ("train", "validation")
    )
    assert not {one.events for one in train} & {one.events for one in held_out}
    assert [one.category for one in train[:5]] == list(CATEGORIES)
    assert questioned(1, level="choices").events == train[1].events


@pytest.mark.parametrize("level", ["questions", "choices"])
def test_who_sees_nothing_is_right_as_often_as_chance_says(level: Level) -> None:
    """The best rule that knows the question alone, learnt on one half of 6,000 clips and tried on the other."""
    clips = source(level, clips=6000)
    samples = [clips[index] for index in range(6000)]
    for category in {sample.category for sample in samples}:
        own = [sample for sample in samples if sample.category == category]
        right: dict[str, Counter[str]] = defaultdict(Counter)
        for sample in own[::2]:
            right[sample.turns[0].content.partition("\n")[0]][sample.turns[1].content] += 1
        tried = [
            (right[sample.turns[0].content.partition("\n")[0]], sample.turns[1].content)
            for sample in own[1::2]
        ]
        hits = [bool(known) and known.most_common(1)[0][0] == answer for known, answer in tried]
        [chance] = {round(sample.chance or 0, 12) for sample in own}
        noise = 3.5 * (chance * (1 - chance) / len(hits)) ** 0.5
        assert abs(np.mean(hits) - chance) < noise, category


@settings(max_examples=30, deadline=None)
@given(
    asked=st.lists(st.sampled_from(CATEGORIES), min_size=1, unique=True).map(tuple),
    cards=st.integers(2, 8),
    index=st.integers(0, 1000),
)
def test_only_what_is_wanted_is_asked_of_no_more_cards(
    asked: tuple[str, ...], cards: int, index: int
) -> None:
    clips = source("questions", clips=2000, categories=asked, cards=cards, frames=8)
    drawn = clips.film.scene(index)
    assert isinstance(drawn, Questioned)
    assert drawn.category == asked[index % len(asked)]
    assert 1 <= len(drawn.events) <= cards
    if drawn.category == "how many":
        assert clips[index].chance == 1 / cards


def test_a_card_alone_is_asked_for_in_every_way_that_one_can_be() -> None:
    clips = source("questions", clips=300, categories=("what", "where", "when"), cards=1)
    assert {len(clips.film.scene(index).events) for index in range(300)} == {1}  # type: ignore[attr-defined]


def test_clips_that_are_asked_less_have_names_of_their_own() -> None:
    whole, few = source("questions"), source("questions", categories=("what", "how many"), cards=3)
    assert whole[0].id == "questions-0-train-000000"
    assert few[0].id == "questions-what+how_many-of-3-0-train-000000"
    assert whole.film.folder != few.film.folder


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ('level "easy" asks nothing', {"level": "easy", "cards": 2}),
        ('level "gaze" asks nothing', {"level": "gaze", "categories": ("what",)}),
        ('"how many" is asked of several', {"level": "questions", "cards": 1}),
        ("expected each once", {"level": "questions", "categories": ("what", "what")}),
        ("expected at most 4, the frames of a clip, got 5", {"level": "questions", "shown": 5}),
    ],
)
def test_what_cannot_be_asked_is_explained(said: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Shapes(**given)


def test_fewer_frames_are_shown_evenly_and_the_question_stays() -> None:
    whole, few = source("questions", frames=8), source("questions", frames=8, shown=2)
    assert few[3].turns == whole[3].turns
    shown, every = (decode_frames(one[3], 42) for one in (few, whole))
    assert [len(one) for one in (shown, every)] == [2, 8]
    places = [{at for at, each in enumerate(every) if np.array_equal(each, frame)} for frame in shown]
    assert min(places[0]) < 4 <= max(places[1])


def test_choices_are_the_ones_that_a_metric_reads() -> None:
    clips = source("choices", clips=50)
    for index in range(50):
        sample, asked = clips[index], questioned(index, level="choices")
        prompt, answer = (turn.content for turn in sample.turns)
        listed = choices(prompt)
        assert listed == asked.choices
        at = chosen(answer, listed)
        assert at is not None
        assert listed[at] == questioned(index).caption()
        assert sample.chance == 1 / len(listed)
        assert sample.category.endswith(", choices")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "Look!"}, 'prompt: clips of level "questions" come with questions of their own'),
        ({"pairs": True}, 'pairs: no wrong answer is worse than another; expected level "easy" or "gaze"'),
        ({"text_only": True}, "text_only: without its clip a question has no answer; expected false"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as error:
        Shapes(level="questions", **given)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_category_and_chance_outlive_packing(tmp_path: Path) -> None:
    clips = source("choices", clips=12)
    pack(clips, {}, tmp_path / "packed", PackSettings(size=42))
    read = build_shards(Shards(path=tmp_path / "packed", holdout=0), "train")
    back = {read[index].id: read[index] for index in range(len(read))}
    for index in range(12):
        one, other = clips[index], back[clips[index].id]
        assert (one.turns, one.category, one.chance) == (other.turns, other.category, other.chance)
        assert decode_frames(other, 42).shape == decode_frames(one, 42).shape
