"""Micro-batches planned from lengths: within their caps, from the same steps, with the same gradients."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve
from fvlm_clips.config import Clips
from fvlm_clips.source import build as build_clips
from hypothesis import given, settings
from hypothesis import strategies as st
from trainer import go, opened, outcome, small
from videos import write_video

from fvlm_core.data.collate import Example, Preparer, fillers, fitted
from fvlm_core.data.loader import MicroBatch, TrainingData, micro_batches
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.planning import Planner, RankShare, Room, first_fit
from fvlm_core.data.sources import Sources, open_sources
from fvlm_core.datasets.shards.pack import pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.interfaces.data import DataSource, Sample
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.model.build import make_chat
from fvlm_core.training.optimizer import named
from fvlm_core.utils.errors import Problems, UsageError

CLIPS, BATCH = 24, 12
FRAMES, TOKENS = 12, 160
PLANNED = (
    f"training.batch_size={BATCH}",
    f"training.micro_batch_frames={FRAMES}",
    f"training.micro_batch_tokens={TOKENS}",
    f"data.max_text_tokens={TOKENS}",
    'model.connector.mode_choice="batch"',
)

rooms = st.builds(Room, st.integers(0, 16), st.integers(1, 64))


@given(st.lists(rooms, max_size=40), st.integers(16, 64), st.integers(64, 256))
@settings(max_examples=300, deadline=None)
def test_groups_hold_everything_once_within_the_caps(lengths: list[Room], frames: int, tokens: int) -> None:
    groups = first_fit(lengths, frames, tokens)
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    assert groups == first_fit(list(lengths), frames, tokens)
    for group in groups:
        assert group == sorted(group)
        assert sum(lengths[number].frames for number in group) <= frames
        assert sum(lengths[number].tokens for number in group) <= tokens
    for first, later in ((a, b) for at, a in enumerate(groups) for b in groups[at + 1 :]):
        both = [lengths[number] for number in first + later]  # no two groups could have been one
        fits = sum(room.frames for room in both) <= frames
        assert not fits or sum(room.tokens for room in both) > tokens


def test_more_frames_than_there_is_room_for_are_evenly_spaced() -> None:
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    every = np.ones(6, np.bool_)
    example = Example("x/1", frames, np.arange(6), every, every)
    short = fitted(example, 3, 4, replaced=True)
    assert short.frames[:, 0, 0, 0].tolist() == [0, 3, 6]
    assert (short.ids.tolist(), short.truncated) == ([0, 1, 2, 3], 2)
    assert fitted(example, 9, 6, replaced=False) is example
    with pytest.raises(BadSample, match="has 9 frames and 6 text tokens, where 3 and 4 were planned"):
        fitted(example, 3, 4, replaced=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pack of clips of 1 to 6 frames and texts of very different lengths."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "clips").mkdir()
    for number in range(CLIPS):
        clip = (
            folder / "clips" / f"{number:02d}.mp4"
        )  # none shows what another does: those would share a split
        file = write_video(clip, 1 + number % 6, first=8 * number, fps=1, width=48, height=48)
        file.with_suffix(".txt").write_text("a caption that grows " * (1 + number % 4))
    source = build_clips(Clips(path=folder / "clips", holdout=0), "train")
    pack(source, {}, folder / "pack", PackSettings(size=42, samples=8), processes=1)
    return folder


def recipe(place: Path, folder: Path, *overrides: str) -> Any:
    table = f'{{ name = "shards", path = "{place / "pack"}", holdout = 0.25 }}'
    return small(folder, f"data.sources=[{table}]", *overrides)


@pytest.fixture(scope="module")
def sources(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return open_sources(recipe(place, tmp_path_factory.mktemp("recipe")).runs[0].config.data)


def stream(
    source: DataSource,
    chat: Any,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    *,
    planned: bool = True,
    constant: bool = False,
) -> Any:
    """The micro-batches of a rank from step 3 on."""
    data = TrainingData((source,), Mixture([len(source)], [1.0], 1), Preparer(chat, 42, "answer", TOKENS))
    planner = (
        Planner(data.sources, data.mixture, data.preparer, FRAMES, TOKENS, constant) if planned else None
    )
    return micro_batches(data, RankShare(BATCH, 4, rank, ranks, planner), 3, workers, pin=False)


def steps(streams: list[Any], count: int = 3) -> list[list[list[MicroBatch]]]:
    """What each rank gets of each step."""
    found: list[list[list[MicroBatch]]] = []
    for _ in range(count):
        found.append([])
        for one in streams:
            mine = [next(one)]
            while not mine[-1].last:
                mine.append(next(one))
            found[-1].append(mine)
    return found


@pytest.fixture(scope="module")
def chat(place: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = recipe(place, tmp_path_factory.mktemp("recipe")).runs[0].config
    return make_chat(config.model, sources.texts)


def test_ranks_and_workers_see_the_same_global_batches_within_the_caps(sources: Sources, chat: Any) -> None:
    (source,) = sources.train
    plain = [
        sorted(name for m in ranks[0] for name in m.batch.sample_ids)
        for ranks in steps([stream(source, chat, planned=False)])
    ]
    seen: dict[tuple[int, int], list[Any]] = {}
    for ranks, workers in ((1, 0), (2, 0), (1, 2)):
        streams = [stream(source, chat, rank, ranks, workers) for rank in range(ranks)]
        seen[ranks, workers] = []
        for step, held in enumerate(steps(streams)):
            counts = [len(mine) for mine in held]
            assert max(counts) - min(counts) <= 1
            every = [m for turn in range(max(counts)) for mine in held for m in mine[turn : turn + 1]]
            offsets = [m.offset for m in every]
            assert offsets == [sum(len(m.batch.counts) for m in every[:n]) for n in range(len(every))]
            for m in every:
                assert len(m.batch.frames) <= FRAMES
                assert m.batch.lengths.sum() <= TOKENS
            assert sorted(name for m in every for name in m.batch.sample_ids) == plain[step]
            seen[ranks, workers].append([m.batch.sample_ids for m in every])
    assert len({len(names) for step in seen[1, 0] for names in step}) > 1  # planned, not counted
    assert all(held == seen[1, 0] for held in seen.values())


def test_every_rank_has_work_even_when_one_micro_batch_would_do(sources: Sources, chat: Any) -> None:
    (source,) = sources.train
    data = TrainingData((source,), Mixture([len(source)], [1.0], 1), Preparer(chat, 42, "answer", TOKENS))
    planner = Planner(data.sources, data.mixture, data.preparer, 10_000, 100_000)
    for ranks in (1, 3, BATCH):
        shares = [RankShare(BATCH, 4, rank, ranks, planner).pieces(0) for rank in range(ranks)]
        assert [len(pieces) for pieces in shares] == [1] * ranks
        assert sorted(p for pieces in shares for p in pieces[0].places) == list(range(BATCH))
    with pytest.raises(UsageError, match=f"{BATCH + 1} ranks and {BATCH} micro-batches a step"):
        RankShare(BATCH, 4, 0, BATCH + 1, planner).check()


def test_constant_shapes_fill_micro_batches_with_what_is_not_counted(sources: Sources, chat: Any) -> None:
    (source,) = sources.train
    planned, filled = (steps([stream(source, chat, constant=constant)]) for constant in (False, True))
    black = 0
    for before, after in zip(planned, filled, strict=True):
        for plain, full in zip(before[0], after[0], strict=True):
            assert len(full.batch.frames) == FRAMES == full.batch.counts.sum()
            assert full.batch.lengths.sum() == TOKENS
            assert full.batch.sample_ids == plain.batch.sample_ids
            assert full.reading() == plain.reading()
            real = len(plain.batch.counts)
            assert not full.batch.supervised[real:].any()
            assert not full.batch.frames[len(plain.batch.frames) :].any()
            black += FRAMES - len(plain.batch.frames)
    assert black


def test_fillers_are_no_longer_than_a_text_may_be() -> None:
    nothing = np.zeros(3, np.bool_)
    one = Example("a", np.zeros((2, 3, 4, 4), np.uint8), np.zeros(3, np.int64), nothing, nothing)
    for frames, tokens, expected in ((2, 3, []), (5, 3, [(3, 0)]), (2, 20, [(0, 8), (0, 8), (0, 1)])):
        made = fillers([one], frames, tokens, 8)
        assert [(len(filler.frames), len(filler.ids)) for filler in made] == expected
    assert [(len(filler.frames), len(filler.ids)) for filler in fillers([one], 9, 14, 8)] == [(7, 8), (0, 3)]


def gradients(place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *size: str) -> dict[str, Any]:
    found: dict[str, torch.Tensor] = {}

    def step(self: torch.optim.Optimizer) -> None:
        found.update({n: p.grad.double().clone() for n, p in named(self).items() if p.grad is not None})

    one = recipe(place, folder, *PLANNED, "training.steps=1", "training.clip=1e9", *size)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        go(one, folder / "runs", opened(one, folder / "none"))
    return found


def test_planned_micro_batches_only_split_the_gradient(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = gradients(place, tmp_path / "planned", monkeypatch)
    huge = ("training.micro_batch_frames=1000", "training.micro_batch_tokens=10000")
    whole = gradients(place, tmp_path / "whole", monkeypatch, *huge)
    small_ones = gradients(place, tmp_path / "small", monkeypatch, "training.micro_batch_frames=6")
    filled = gradients(place, tmp_path / "filled", monkeypatch, "training.constant_shapes=true")
    assert len(whole) > 20
    total = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
    for other in (planned, small_ones, filled):
        assert whole.keys() == other.keys()
        for name, gradient in whole.items():
            scale = max(gradient.norm(), 1e-3 * total)
            assert (gradient - other[name]).norm() <= 1e-5 * scale, name


@pytest.mark.parametrize("constant", ["false", "true"])
def test_a_planned_run_resumes_bit_exactly(place: Path, tmp_path: Path, constant: str) -> None:
    shapes = f"training.constant_shapes={constant}"
    one = recipe(place, tmp_path, *PLANNED, shapes, "training.steps=6", "eval.every=3")
    data = opened(one, tmp_path / "none")
    go(one, tmp_path / "whole", data)
    go(one, tmp_path / "cut", data, at=2)
    go(one, tmp_path / "cut", data)
    assert outcome(one, tmp_path / "cut") == outcome(one, tmp_path / "whole")


class Damaged(DataSource):
    """Another source of which some samples are bad: the shortest, so that no replacement is as short."""

    def __init__(self, source: DataSource) -> None:
        self.source, self.name = source, source.name

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        if len(sample.video.starts) == 1:  # type: ignore[union-attr]
            sample = evolve(sample, video=evolve(sample.video, sizes=(3,)))
        return sample

    def frame_counts(self) -> Any:
        return self.source.frame_counts()


def test_a_replacement_fits_into_the_room_of_the_bad_sample(sources: Sources, chat: Any) -> None:
    source = Damaged(sources.train[0])
    bad = 0
    for held in steps([stream(source, chat)]):
        for m in held[0]:
            bad += len(m.bad)
            assert len(m.batch.frames) <= FRAMES
            assert m.batch.lengths.sum() <= TOKENS
    assert bad


def test_sources_that_do_not_know_their_lengths_are_refused(
    sources: Sources, chat: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    one = small(tmp_path, *PLANNED)
    said = r"shapes/\S+ has is not known before it is decoded; pack the source first \(fvlm data pack\)"
    with pytest.raises(UsageError, match=said):
        go(one, tmp_path / "runs", opened(one, tmp_path / "none"))
    (source,) = sources.train
    longest = max(source.frame_counts() or ())
    data = TrainingData((source,), Mixture([len(source)], [1.0], 1), Preparer(chat, 42, "answer", TOKENS))
    planner = Planner(data.sources, data.mixture, data.preparer, longest - 1, TOKENS)
    with pytest.raises(UsageError, match=f"raise it to {longest}, or leave them out with data.max_frames = "):
        planner.check()


def test_a_sample_longer_than_its_source_said_is_bad(sources: Sources, chat: Any) -> None:
    class Liar(Damaged):
        def __getitem__(self, index: int) -> Sample:
            return self.source[index]

        def frame_counts(self) -> Any:
            return None

    data = TrainingData(
        (Liar(sources.train[0]),),
        Mixture([len(sources.train[0])], [1.0], 1),
        Preparer(chat, 42, "answer", TOKENS),
    )
    planner = Planner(data.sources, data.mixture, data.preparer, 3, TOKENS)
    one = micro_batches(data, RankShare(BATCH, 4, planner=planner), 0, 0, pin=False)
    for held in steps([one], 1):
        assert sum(len(m.batch.counts) for m in held[0]) == BATCH
        reasons = [bad.reason for m in held[0] for bad in m.bad]
        assert reasons
        assert all(re.search(r"has \d frames and \d+ text tokens, where 3 and", reason) for reason in reasons)
        assert all(len(m.batch.frames) <= 3 for m in held[0])
    stops = micro_batches(evolve(data, replace=False), RankShare(BATCH, 4, planner=planner), 0, 0, pin=False)
    with pytest.raises(BadSample):
        steps([stops], 1)


def test_caps_that_cannot_work_are_refused_in_the_recipe(place: Path, tmp_path: Path) -> None:
    for settings_, message in (
        (["training.micro_batch_frames=8"], "micro_batch_frames and micro_batch_tokens go together"),
        (
            ["training.micro_batch_frames=8", "training.micro_batch_tokens=100"],
            "micro_batch_tokens is 100 and data.max_text_tokens 512",
        ),
        (["training.constant_shapes=true"], "constant_shapes: of micro_batch_frames and micro_batch_tokens"),
        (
            ["training.micro_batch_frames=2", "training.micro_batch_tokens=512", "data.image_repeats=4"],
            "micro_batch_frames is 2 and data.image_repeats 4",
        ),
    ):
        with pytest.raises(Problems, match=re.escape(message)):
            recipe(place, tmp_path, *settings_)
