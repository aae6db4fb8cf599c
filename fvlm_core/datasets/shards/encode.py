"""One sample to the members of a shard: frames chosen, scaled, compressed; its text and times as JSON; its hashes."""

from __future__ import annotations

import json
from hashlib import blake2b
from io import BytesIO
from typing import IO, Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.datasets.shards.index import Shown
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import FrameArray, Sample, StoredFrames, Turn, VideoFile
from fvlm_core.media.archive_members import open_member
from fvlm_core.media.arrays import decode_array
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.decoders import decode_timed
from fvlm_core.media.frames import decode_frames
from fvlm_core.media.named_media import refuse_blind
from fvlm_core.media.pictures import open_picture, read_stored
from fvlm_core.utils.data_files import open_data

FLAT = 6.0
"""Standard deviation of grey below which a frame is blank: all blank frames have one perceptual hash."""


@frozen
class Encoded:
    """A sample ready to be written. text: the JSON. pictures: JPEG files; see `SCHEMA` for the rest."""

    id: str
    text: bytes
    kind: Shown
    pictures: tuple[bytes, ...]
    times: tuple[float, ...]
    characters: int
    tokens: int
    content: int
    hashes: tuple[int, ...]


def encode(sample: Sample, settings: PackSettings, chat: Chat | None) -> Encoded:
    """Decode and compress a sample. Raises `BadSample`."""
    if not sample.turns:
        raise BadSample(sample.id, "no text")
    refuse_blind(sample)
    times: tuple[float, ...] = ()
    pictures: tuple[bytes, ...] = ()
    kind: Shown = "text"
    frames: NDArray[np.uint8] | None = None
    if isinstance(sample.video, VideoFile | FrameArray):
        told = {"fps": settings.fps, "max_frames": settings.max_frames}
        clip = evolve(sample.video, **{name: value for name, value in told.items() if value is not None})
        if isinstance(clip, FrameArray):
            frames, seconds = decode_array(sample.id, clip, settings.size)
        else:
            frames, seconds = decode_timed(clip, settings.size)
        kind, times = "frames", tuple(round(second, 4) for second in seconds)
    elif isinstance(sample.video, StoredFrames):
        frames = decode_frames(sample, settings.size)
        kind, times = "still" if sample.video.still else "frames", sample.video.times
        pictures = _as_they_are(sample.video, settings.size)
    elif sample.images:
        frames = decode_frames(sample, settings.size)
        kind = "still" if len(frames) == 1 else "stills"
    if frames is not None and not pictures:
        pictures = tuple(_jpeg(frame, settings.quality) for frame in frames.transpose(0, 2, 3, 1))
    record: dict[str, Any] = {"id": sample.id, "source": sample.source, "turns": _plain(sample.turns)}
    if sample.rejected:
        record["rejected"] = _plain(sample.rejected)
    if sample.category:
        record["category"] = sample.category
    if sample.chance is not None:
        record["chance"] = sample.chance
    return Encoded(
        id=sample.id,
        text=json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"),
        kind=kind,
        pictures=pictures,
        times=times,
        characters=sum(len(turn.content) for turn in sample.turns),
        tokens=len(chat.encode(sample.turns).ids) if chat else 0,
        content=content_hash(sample),
        hashes=() if frames is None else frame_hashes(frames),
    )


def content_hash(sample: Sample) -> int:
    """63 bits of a hash of what the sample shows, as stored: the same file has the same one under any name; 0: text."""
    digest = blake2b(digest_size=8)
    if isinstance(sample.video, StoredFrames):
        for picture in read_stored(sample.video):
            digest.update(picture)
    elif isinstance(sample.video, FrameArray):
        digest.update(sample.video.content())
    elif sample.visual:
        try:
            for file in _files(sample):
                with file:
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
        except (OSError, ValueError) as error:
            raise BadSample(sample.id, str(error)) from error
    else:
        return 0
    return int.from_bytes(digest.digest()) >> 1 or 1


def frame_hashes(frames: NDArray[np.uint8]) -> tuple[int, ...]:
    """Perceptual hashes (64 bits, of the low frequencies) of the first, middle and last frame; blank ones have none.

    frames: uint8 [T, 3, S, S].
    """
    import imagehash

    hashes: list[int] = []
    for number in sorted({0, len(frames) // 2, len(frames) - 1}):
        grey = Image.fromarray(np.ascontiguousarray(frames[number].transpose(1, 2, 0))).convert("L")
        if np.asarray(grey).std() >= FLAT:
            bits = imagehash.phash(grey).hash.ravel()
            hashes.append(int.from_bytes(np.packbits(bits).tobytes()))
    return tuple(dict.fromkeys(hashes))


def _files(sample: Sample) -> list[IO[bytes]]:
    if isinstance(sample.video, VideoFile):
        clip = sample.video
        return [open_member(clip.member) if clip.member else open_data(clip.path)]
    return [
        BytesIO(image.data)
        if image.data is not None
        else open_member(image.member)
        if image.member
        else open_data(image.path)
        for image in sample.images
    ]


def _as_they_are(stored: StoredFrames, size: int) -> tuple[bytes, ...]:
    """The stored files themselves when all are JPEGs of the right size: compressing twice loses twice."""
    pictures = read_stored(stored)
    for picture in pictures:
        if not picture.startswith(b"\xff\xd8") or open_picture(picture).size != (size, size):
            return ()
    return tuple(pictures)


def _jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """A frame [S, S, 3] as a JPEG file."""
    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(out, "JPEG", quality=quality, subsampling="4:2:0")
    return out.getvalue()


def _plain(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]
