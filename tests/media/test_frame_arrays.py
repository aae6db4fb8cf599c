"""Clips that are arrays: shown as files with the same pictures are, read no further than shown, refused when wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from fvlm_shards.config import Shards
from fvlm_shards.source import build as build_shards
from numpy.typing import NDArray

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import TrainingData, micro_batches
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.planning import RankShare
from fvlm_core.datasets.shards.encode import content_hash
from fvlm_core.datasets.shards.pack import pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.interfaces.data import FrameArray, Sample, Turn, VideoFile
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import count_frames, decode_frames
from fvlm_core.media.shown import shown_by
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.report.data_inspection import shown
from fvlm_core.testing import check
from fvlm_registry import Component

TURNS = (Turn("user", "what?"), Turn("assistant", "that"))


def noise(frames: int = 25, height: int = 40, width: int = 66, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def sample(video: FrameArray | VideoFile) -> Sample:
    return Sample("a/1", "arrays", TURNS, video)


def lossless(file: Path, frames: NDArray[np.uint8], rate: int) -> Path:
    """The same pictures as an uncompressed video."""
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream("rawvideo", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return file


@pytest.mark.parametrize("width", [28, 40])
def test_a_picture_of_the_encoder_s_size_is_shown_as_it_is_as_of_a_file(width: int, tmp_path: Path) -> None:
    frames = noise(6, 28, width)
    array, file = FrameArray(frames, 3.0), VideoFile(lossless(tmp_path / "a.nut", frames, 3))
    seen = decode_frames(sample(array), 28)
    assert np.array_equal(seen, decode_frames(sample(file), 28))
    left = (width - 28) // 2
    assert np.array_equal(seen[1], frames[3, :, left : left + 28].transpose(2, 0, 1))
    seen[:] = 0
    assert frames.any()


@pytest.mark.parametrize(
    ("rate", "fps", "most"), [(10, 1.0, 64), (10, 3.0, 64), (10, 10.0, 64), (10, 4.0, 7), (4, 25.0, 64)]
)
def test_arrays_are_shown_as_files_with_their_pictures_are(
    rate: int, fps: float, most: int, tmp_path: Path
) -> None:
    """Bit for bit: the same frames at the same times, scaled and cropped."""
    frames = noise()
    file = VideoFile(lossless(tmp_path / "a.nut", frames, rate), fps, most)
    wanted = decode_frames(sample(file), 28)
    got = decode_frames(sample(FrameArray(frames, rate, fps, most)), 28)
    np.testing.assert_array_equal(got, wanted)
    assert count_frames(sample(FrameArray(frames, rate, fps, most))) == len(wanted)


def test_only_pictures_that_are_shown_are_read() -> None:
    """Of an array on disk, and of one that is made when it is asked for; counting reads none."""

    class Made:
        shape, dtype = (1000, 30, 30, 3), np.dtype(np.uint8)
        asked: list[int] = []  # noqa: RUF012

        def __getitem__(self, at: int) -> NDArray[np.uint8]:
            self.asked.append(at)
            return np.full((30, 30, 3), at % 256, np.uint8)

    clip = sample(FrameArray(Made(), rate=100, max_frames=4))
    assert count_frames(clip) == 4
    assert Made.asked == []
    assert decode_frames(clip, 14)[:, 0, 0, 0].tolist() == [
        0,
        250,
        244,
        238,
    ]  # of 0, 250, 500 and 750, modulo 256
    assert Made.asked == [0, 250, 500, 750]


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (
            FrameArray(noise().astype(np.float32), 10),
            "frames are float32 [25, 40, 66, 3]; expected RGB as uint8",
        ),
        (
            FrameArray(noise().transpose(0, 3, 1, 2), 10),
            "uint8 [25, 3, 40, 66]; expected RGB as uint8 [T, H, W, 3]",
        ),
        (FrameArray(noise()[..., 0], 10), "frames are uint8 [25, 40, 66]"),
        (FrameArray(noise(0), 10), "frames are uint8 [0, 40, 66, 3]"),
        (FrameArray(noise(), 0), "rate is 0; expected a number above 0"),
        (FrameArray(noise(2, 1, 30), 10), "30 x 1 pixels"),
    ],
)
def test_what_is_no_clip_is_a_bad_sample_that_says_why(clip: FrameArray, said: str) -> None:
    with pytest.raises(BadSample, match="^a/1: .*" + re.escape(said)):
        decode_frames(sample(clip), 28)


def test_clips_are_equal_that_hold_the_same_pictures() -> None:
    """Copies in data workers are told apart by what they show, and so are train and validation."""
    one, other = FrameArray(noise(), 10), FrameArray(noise(seed=1), 10)
    assert one == FrameArray(noise(), 10)
    assert one != other
    assert content_hash(sample(one)) == content_hash(sample(FrameArray(noise(), 5)))
    assert content_hash(sample(one)) != content_hash(sample(other))


CONFIG = """
from pathlib import Path
from attrs import frozen

@frozen
class Settings:
    path: Path
"""


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of six clips, and beside it the source of the docs as a package."""
    text = (Path(__file__).parents[2] / "docs/howto/plugins.md").read_text()
    [code] = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FrameArray" in block]
    assert len(code.strip().splitlines()) <= 20
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(6):
        np.save(folder / f"{number}.npy", noise(10 * (1 + number), seed=number))
        (folder / f"{number}.txt").write_text(f"clip {number}")
    (tmp_path / "acme_simulator.py").write_text(code)
    (tmp_path / "acme_simulator_config.py").write_text(CONFIG)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_the_source_of_the_docs_keeps_the_contract_and_can_be_used_everywhere(clips: Path) -> None:
    """Checked, counted, looked at, packed, and read by workers."""
    from acme_simulator import Simulator  # type: ignore[import-not-found]
    from acme_simulator_config import Settings  # type: ignore[import-not-found]

    names = {"target": "acme_simulator:Simulator", "config": "acme_simulator_config:Settings"}
    check(Component("simulator", **names), kind="data", path=str(clips))
    source = Simulator(Settings(clips), "train")
    assert [count_frames(source[index]) for index in range(len(source))] == [6, 8, 10, 12]
    [seen] = shown_by(source, 1.0)
    assert (seen.kind, seen.fps, seen.max_frames, seen.prompt) == ("videos", 2, 64, "What happens?")
    assert list(shown(source[0], 28, None, None).times) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]

    made = pack(source, {}, clips.parent / "pack", PackSettings(size=28, fps=1.0))
    assert (made.manifest.samples, made.manifest.skipped) == (4, 0)
    stored = build_shards(Shards(path=made.folder, holdout=0), "train")
    assert stored.frame_counts() == [3, 4, 5, 6]
    assert stored[0].video.times == (0.0, 1.0, 2.0)

    preparer = Preparer(ByteChat(), 28, "answer", 64)
    data = TrainingData((source,), Mixture([len(source)], [1.0], 3), preparer)
    share = RankShare(4, 2, end=8)
    read = [list(micro_batches(data, share, 0, workers, False)) for workers in (0, 2)]
    for alone, made_by_workers in zip(*read, strict=True):
        assert torch.equal(alone.batch.frames, made_by_workers.batch.frames)
        assert alone.batch.sample_ids == made_by_workers.batch.sample_ids


def test_whatever_a_lazy_array_raises_costs_its_sample_alone() -> None:
    class Torn:
        shape, dtype = (4, 40, 66, 3), np.dtype(np.uint8)

        def __getitem__(self, at: int) -> Any:
            raise KeyError("chunk 3 of clip")

    with pytest.raises(BadSample, match="picture 0 cannot be read: KeyError: 'chunk 3 of clip'"):
        decode_frames(sample(FrameArray(Torn(), 4, 1.0, 64)), 28)  # pyright: ignore[reportArgumentType]
