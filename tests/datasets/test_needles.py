"""Needles: told by the pixels alone, where they are said to be, in videos of which no more than a frame is held."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from fvlm_shapes.config import LONGEST, Needles
from fvlm_shapes.draw import CELL, COLOURS
from fvlm_shapes.needles import FLAGS, NeedleSource, build, needle
from hypothesis import given, settings
from hypothesis import strategies as st

from fvlm_core.media.frames import count_frames, decode_frames, frames_of
from fvlm_core.plugin_api import FrameArray, Sample, Split


def source(split: Split = "train", **config: object) -> NeedleSource:
    return build(Needles(**config), split)  # type: ignore[arg-type]


def video(sample: Sample) -> FrameArray:
    assert isinstance(sample.video, FrameArray)
    return sample.video


def flagged(sample: Sample) -> list[tuple[int, str]]:
    """Frame and colour of every cell that is not grey, read from the pixels."""
    names = {rgb: name for name, rgb in COLOURS.items()}
    frames = video(sample).frames
    found: list[tuple[int, str]] = []
    for at in range(frames.shape[0]):
        picture = frames[at]
        coloured = np.ptp(picture, axis=2) > 0
        for cell in range(9):
            row, column = divmod(cell, 3)
            tile = slice(CELL * row, CELL * (row + 1)), slice(CELL * column, CELL * (column + 1))
            if coloured[tile].any():
                assert coloured[tile].all()
                found.append((at, names[tuple(picture[tile][0, 0].tolist())]))
    return found


@settings(max_examples=40, deadline=None)
@given(
    index=st.integers(0, 5000),
    seed=st.integers(0, 9),
    lengths=st.lists(st.integers(4, 60), min_size=1, max_size=4),
    depths=st.lists(st.floats(0, 1), max_size=3),
    shown=st.integers(1, 4),
)
def test_the_flag_is_seen_where_and_as_long_as_it_is_said(
    index: int, seed: int, lengths: list[int], depths: list[float], shown: int
) -> None:
    config = {"lengths": tuple(lengths), "depths": tuple(depths), "shown": shown, "seed": seed, "clips": 5001}
    sample = source(**config)[index]
    length = lengths[index % len(lengths)]
    assert video(sample).frames.shape == (length, 42, 42, 3)
    places = flagged(sample)
    first = places[0][0]
    assert places == [(first + at, sample.turns[1].content) for at in range(shown)]
    if depths:
        assert first == round(depths[index // len(lengths) % len(depths)] * (length - shown))
    assert (sample.chance, sample.category) == (1 / 8, f"{length} frames")


def test_without_depths_flags_are_anywhere_and_of_any_colour_alike() -> None:
    clips = source(lengths=(12,), clips=3000)
    hidden = [needle(clips.config, "train", index) for index in range(3000)]
    for counts in (Counter(one.first for one in hidden), Counter(one.colour for one in hidden)):
        expected = 3000 / len(counts)
        assert len(counts) in (10, len(FLAGS))
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 30


def test_the_same_haystack_and_flag_are_met_at_every_length_and_depth() -> None:
    whole = source("validation", lengths=(512,), depths=(1.0,))
    for index in range(4):
        far, near = whole[index], source("validation", lengths=(16,), depths=(0.0,))[index]
        assert far.turns == near.turns
        assert far.id != near.id
        assert np.array_equal(video(far).frames[8], video(near).frames[8])  # no flag in either


def test_splits_share_no_haystack() -> None:
    config = Needles()
    train, held_out = (
        {needle(config, split, index).haystack for index in range(400)} for split in ("train", "validation")
    )
    assert len(train) == len(held_out) == 400
    assert not train & held_out


def test_any_frame_is_made_alone_and_no_video_is_held() -> None:
    sample = source(lengths=(LONGEST,))[0]
    frames = video(sample).frames
    backwards = [frames[at] for at in reversed(range(LONGEST))]
    assert np.array_equal(np.stack(backwards[::-1]), decode_frames(sample, 42).transpose(0, 2, 3, 1))
    assert count_frames(sample) == LONGEST
    next(frames_of(sample, 42))  # what is made at the first call
    tracemalloc.start()
    held = [tracemalloc.get_traced_memory()[0] for _ in frames_of(sample, 42)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    picture = 42 * 42 * 3
    assert held[-1] - held[8] < 40 * picture  # of 512; the list of figures itself takes some
    assert peak - held[8] < 80 * picture
    assert len(pickle.dumps(sample)) < 2000


def test_counts_of_frames_are_known_without_a_picture() -> None:
    clips = source("validation", lengths=(8, 32), validation_clips=5)
    assert clips.frame_counts() == [8, 32, 8, 32, 8] == [count_frames(clips[index]) for index in range(5)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lengths": (2, 8)}, "shown: expected at most 2, the frames of the shortest video, got 3"),
        ({"lengths": (513,)}, "512"),
        ({"lengths": ()}, "lengths"),
        ({"depths": (1.5,)}, "depths"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as error:
        Needles(**given)  # type: ignore[arg-type]
    assert said in str(error.value)
