"""Frames of training samples are varied as said: by place alone, as torchvision does it, and never in validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve
from numpy.typing import NDArray
from test_planned_micro_batches import PLANNED, recipe
from test_planned_micro_batches import place as clips  # noqa: F401  # a fixture: a pack of clips of 1 to 6 frames
from trainer import difference, go, opened, outcome, small

from fvlm_core.data.augment import augmented, cropped, kept, recoloured
from fvlm_core.data.collate import Preparer
from fvlm_core.data.lengths import first_samples
from fvlm_core.data.loader import TrainingData, micro_batches, validation_set
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.planning import Planner, RankShare
from fvlm_core.data.sources import open_sources
from fvlm_core.interfaces.data import FrameArray, ImageFile, Sample, StoredFrames, Turn
from fvlm_core.model.build import make_chat
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.recipes.augment import Augment
from fvlm_core.recipes.resolved import resolved
from fvlm_core.utils.errors import Problems

EVERY = (
    "data.augment.crop=0.4",
    "data.augment.flip=0.5",
    "data.augment.colour=0.3",
    "data.augment.drop=0.4",
)


@pytest.fixture(scope="module")
def tv() -> Any:
    """Torchvision's, which takes 2 s to import: not in every process that collects tests."""
    from torchvision.transforms.v2 import functional

    return functional


def frames(count: int = 5, side: int = 42) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def clip(frames: int = 5) -> Sample:
    return Sample("a", "s", (Turn("user", "?"),), FrameArray(np.zeros((frames, 8, 8, 3), np.uint8), 1))


def test_crops_are_torchvisions(tv: Any) -> None:
    given = frames()
    for top, left, part in ((0, 0, 20), (7, 11, 31), (41, 41, 1), (0, 0, 42)):
        wanted = tv.resized_crop(
            torch.from_numpy(given),
            top,
            left,
            part,
            part,
            [42, 42],
            tv.InterpolationMode.BICUBIC,
            antialias=True,
        )
        got = cropped(given, top, left, part)
        assert np.abs(got.astype(int) - wanted.numpy().astype(int)).max() <= 1


def test_flips_are_torchvisions(tv: Any) -> None:
    given = frames()
    wanted = tv.horizontal_flip(torch.from_numpy(given)).numpy()
    got = [augmented(given, clip(), Augment(flip=0.5), 1, place) for place in range(200)]
    flipped = [np.array_equal(one, wanted) for one in got]
    assert all(np.array_equal(one, wanted if flip else given) for one, flip in zip(got, flipped, strict=True))
    assert 70 < sum(flipped) < 130


def test_colours_are_torchvisions(tv: Any) -> None:
    """To a few levels: it cuts to whole numbers after each of the three."""
    given = frames()
    for factors in ((1.0, 1.0, 1.0), (0.7, 1.0, 1.0), (1.0, 1.3, 1.0), (1.0, 1.0, 0.4), (1.2, 0.8, 1.3)):
        wanted = torch.from_numpy(given)
        for change, factor in zip(
            (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation), factors, strict=True
        ):
            wanted = change(wanted, factor)
        off = np.abs(recoloured(given, *factors).astype(int) - wanted.numpy().astype(int))
        assert off.max() <= 3


def test_frames_are_left_out_in_order_and_one_stays() -> None:
    """As often as said; of pictures, and of a picture shown as a video, none."""
    counts: list[int] = []
    for place in range(400):
        stays = kept(8, clip(8), Augment(drop=0.4), 3, place)
        assert (np.diff(stays) > 0).all()
        counts.append(len(stays))
    assert np.mean(counts) == pytest.approx(8 * 0.6, abs=0.25)
    assert min(len(kept(2, clip(2), Augment(drop=0.99), 3, place)) for place in range(100)) == 1
    pictures = StoredFrames(Path("x"), (0, 1), (1, 1))
    for video in (evolve(pictures, still=True), evolve(pictures, apart=True), None):
        shown = evolve(clip(), video=video, images=() if video else (ImageFile(Path("x")),) * 2)
        assert kept(2, shown, Augment(drop=0.99), 3, 0).tolist() == [0, 1]
    assert len(augmented(frames(0), evolve(clip(), video=None), Augment(drop=0.5, crop=0.2), 1, 1)) == 0


def test_all_frames_of_a_sample_are_changed_alike() -> None:
    """A clip that jumps about would tell of motion that is not there."""
    still = np.repeat(frames(1), 4, axis=0)
    for place in range(20):
        got = augmented(still, clip(4), Augment(crop=0.3, flip=0.5, colour=0.4), 1, place)
        assert got.shape == still.shape
        assert (got == got[:1]).all()


def test_one_change_does_not_move_the_numbers_of_another() -> None:
    """So that an ablation differs in what it says, and in nothing else."""
    alone = [augmented(frames(), clip(), Augment(crop=0.3), 1, place) for place in range(5)]
    both = [augmented(frames(), clip(), Augment(crop=0.3, flip=1.0), 1, place) for place in range(5)]
    for one, other in zip(alone, both, strict=True):
        assert np.array_equal(one[..., ::-1], other)
    assert not np.array_equal(alone[0], alone[1])


def batches(source: Any, augment: Augment | None, workers: int, size: int, ranks: int = 1) -> dict[str, Any]:
    """Frames of each sample of three steps, by its id and how often it was seen."""
    data = TrainingData(
        (source,), Mixture([len(source)], [1.0], 5), Preparer(ByteChat(), 42, "answer", 64), augment=augment
    )
    found: dict[str, Any] = {}
    streams = [
        micro_batches(data, RankShare(4, size, rank, ranks, end=12), 0, workers, pin=False)
        for rank in range(ranks)
    ]
    for stream in streams:
        for micro in stream:
            at = 0
            for name, count in zip(micro.batch.sample_ids, micro.batch.counts.tolist(), strict=True):
                found[name] = micro.batch.frames[at : at + count].numpy()
                at += count
    return found


def test_workers_micro_batches_and_ranks_change_no_pixel(clips: Path, tmp_path: Path) -> None:  # noqa: F811
    config = recipe(clips, tmp_path, *EVERY).runs[0].config
    [source] = open_sources(config.data).train
    wanted = batches(source, config.data.augment, 0, 4)
    assert len(wanted) == 12
    for workers, size, ranks in ((2, 4, 1), (0, 1, 1), (2, 2, 2)):
        got = batches(source, config.data.augment, workers, size, ranks)
        assert got.keys() == wanted.keys()
        assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
    plain = batches(source, None, 0, 4)
    same = [name for name in wanted if np.array_equal(plain[name], wanted[name])]
    assert len(same) < 3  # black ones, perhaps


def test_planned_micro_batches_count_what_is_shown(clips: Path, tmp_path: Path) -> None:  # noqa: F811
    """Rooms of the plan, and the lengths that costs are made of, are those of the frames that stay."""
    config = recipe(clips, tmp_path, *PLANNED, "data.augment.drop=0.5").runs[0].config
    sources = open_sources(config.data)
    [source] = sources.train
    augment = config.data.augment
    data = TrainingData(
        (source,), Mixture([len(source)], [1.0], 5), Preparer(ByteChat(), 42, "answer", 160), augment=augment
    )
    planner = Planner((source,), data.mixture, data.preparer, 12, 160, augment=augment)
    shown: list[int] = []
    for piece in RankShare(12, 4, planner=planner).pieces(0):
        micro = data[piece]
        assert micro.batch.counts.tolist() == [room.frames for room in piece.rooms]
        assert not micro.bad
        shown += micro.batch.counts.tolist()
    assert sum(shown) < sum(planner.room(at).frames for at in range(12)) + 1
    assert sum(shown) < sum(
        Planner((source,), data.mixture, data.preparer, 12, 160).room(at).frames for at in range(12)
    )
    chat = make_chat(config.model, sources.texts)
    means = [
        np.mean([one.frames for one in first_samples(of, sources, chat).lengths])
        for of in (config, evolve(config, data=evolve(config.data, augment=None)))
    ]
    assert means[0] < 0.75 * means[1]


def test_a_run_is_the_same_after_a_stop_and_validation_is_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    told = (*EVERY, "training.steps=4", "eval.every=2")
    one = small(tmp_path / "one", *told)
    data = opened(one, tmp_path / "none")
    go(one, tmp_path / "whole", data)
    go(one, tmp_path / "parts", data, at=2)
    go(one, tmp_path / "parts", data)
    wanted = outcome(one, tmp_path / "whole")
    assert not difference(outcome(one, tmp_path / "parts"), wanted)
    plain = small(tmp_path / "plain", "training.steps=4", "eval.every=2")
    go(plain, tmp_path / "plain", data)
    assert outcome(plain, tmp_path / "plain")["model"] != wanted["model"]

    [sources] = data.values()
    preparer = Preparer(make_chat(one.runs[0].config.model, sources.texts), 42, "answer", 64)
    for batch in validation_set(sources.validation, preparer, 6, 3).batches:
        assert batch.counts.tolist() == [2] * len(batch.counts)  # not one frame less


def test_it_stands_in_records_only_where_it_is_asked_for(tmp_path: Path) -> None:
    """Older runs continue: what they recorded has no such key."""
    assert "augment" not in resolved(small(tmp_path).runs[0].config)["data"]
    config = small(tmp_path, "data.augment.drop=0.2").runs[0].config
    assert resolved(config)["data"]["augment"] == {"drop": 0.2}
    for wrong, said in (
        ("data.augment={}", "expected one of crop, flip, colour, drop, got none"),
        ("data.augment.drop=1.0", "drop"),
        ("data.augment.crop=0", "crop"),
        ("data.augment.color=0.1", 'did you mean "colour"'),
    ):
        with pytest.raises(Problems, match=said):
            small(tmp_path, wrong)
