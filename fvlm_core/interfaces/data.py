"""Data sources: what a sample is, and how a source lists its own. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from attrs import field, frozen

from fvlm_core.interfaces.decoder import Decoder
from fvlm_core.utils.errors import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation"]
Fit = Literal["crop", "letterbox"]
"""How a picture becomes a square: `crop` scales the short side and cuts the long one to the centre; `letterbox` scales
the long side and fills the rest with black, so that nothing of a document or a chart is cut off."""
Packing = Literal["tar", "tar.gz", "zip-stored", "zip-deflated"]
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total) during long work."""


@frozen
class Turn:
    """One turn of a chat."""

    role: Role
    content: str


@frozen
class Member:
    """A file inside an archive, read in place: nothing is extracted.

    name: in the archive. files: the archive, or the parts it was published in, in order. start: counted through all
    parts, the first byte of the data (tar), of the local header (zip), or of the data in the unpacked tar (tar.gz).
    packed, size: bytes as they are stored, and unpacked.
    """

    name: str
    files: tuple[Path, ...]
    packing: Packing
    start: int
    packed: int
    size: int


@frozen
class VideoFile:
    """A video on disk and how frames are chosen: `fps` frames a second; longer than `max_frames`: evenly spaced.

    path: the video, or the archive that it is a `member` of. seconds: its length where the source knows it: plans
    then need not open the file, which may not be there yet. decoder: the recipe's choice; None for the core's own.
    """

    path: Path
    fps: float = 1.0
    max_frames: int = 64
    seconds: float | None = None
    member: Member | None = None
    decoder: Decoder | None = field(default=None, eq=False, repr=False)


class Frames(Protocol):
    """What an array of pictures has, of numpy, h5py, zarr, or made as it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, index: int, /) -> Any: ...


def _content(frames: Frames) -> bytes:
    """A hash of all pictures, which are read for it one by one."""
    from hashlib import blake2b

    import numpy as np

    digest = blake2b(f"{tuple(frames.shape)} {frames.dtype}".encode(), digest_size=16)
    for at in range(frames.shape[0]):
        digest.update(np.ascontiguousarray(frames[at]).data)
    return digest.digest()


@frozen
class FrameArray:
    """A clip that is an array: what a simulator makes, or HDF5, zarr and numpy files hold.

    frames: RGB, uint8 [T, H, W, 3]: an array, or what has its `shape` and `dtype` and gives picture k as `frames[k]`,
    uint8 [H, W, 3]. Only the pictures that are shown are read, where they are shown, so that a data set that is opened
    but not read costs nothing. rate: its pictures a second. fps, max_frames: which of them are shown, as `VideoFile`
    has it. Two clips are equal that hold the same pictures.
    """

    frames: Frames = field(eq=_content, repr=False)
    rate: float
    fps: float = 1.0
    max_frames: int = 64

    def content(self) -> bytes:
        """A hash of its pictures, all of which are read."""
        return _content(self.frames)


@frozen
class StoredFrames:
    """Frames chosen before: pictures (JPEG, PNG or WebP) at byte ranges of one file, read in place.

    starts, sizes: of each picture, in bytes. times: seconds after the clip's first picture, where known.
    still: one picture that is no video, which a recipe may repeat as one. fps, max_frames: how the frames of a clip
    were chosen, as `VideoFile` has it, where known. fit: how a still picture was made square. apart: several pictures
    that are no clip, of which training leaves out none. data: where the file lies elsewhere, the bytes of it that hold
    the pictures, which begin at `base`; path is its address then.
    """

    path: Path | str
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    times: tuple[float, ...] = ()
    still: bool = False
    fps: float | None = None
    max_frames: int | None = None
    fit: Fit = "crop"
    apart: bool = False
    data: bytes | None = field(default=None, repr=False)
    base: int = 0


@frozen
class ImageFile:
    """A still picture: a file, a member of an archive, or its encoded bytes where a table holds them.

    path: the picture, or the archive or table that it is in. name: which of the table's pictures, for messages.
    """

    path: Path
    member: Member | None = None
    data: bytes | None = field(default=None, repr=False)
    name: str = ""
    fit: Fit = "letterbox"


class Signal(ABC):
    """What a sample gives of another modality than frames, unread: a sound, depth, a table of sensors.

    Picklable, and equal to another one that holds the same: an attrs class is both.
    """

    modality: str
    """Its name ("audio"), by which encoders of a recipe read it."""

    @abstractmethod
    def count(self, item: tuple[int, ...]) -> int:
        """Into how many items of this shape it is cut, told without reading it. Raises `BadSample`."""

    @abstractmethod
    def read(self, item: tuple[int, ...]) -> NDArray[np.float32]:
        """The items, float32 [count, *item]. Raises `BadSample` when they cannot be read."""


@frozen
class Sample:
    """One training example; id is stable and unique within its source.

    video: a clip. images: still pictures, one frame each, in order. A sample has one of the two, or neither: text
    alone. rejected: the same chat with a worse last answer, for preference training; empty otherwise.
    signals: what it gives of other modalities, one each at most. What a sample shows can be decoded once its source
    has been prepared. nats: what its last answer costs a model that knows all there is to know, -ln of the odds it was
    drawn with; None where these are unknown. category: of what kind its question is, "where", by which answers are
    scored apart; empty where there is one kind alone. chance: how likely its last answer is guessed by somebody who
    sees nothing and knows the possible answers; None where that is unknown.
    """

    id: str
    source: str
    turns: tuple[Turn, ...]
    video: VideoFile | FrameArray | StoredFrames | None = None
    images: tuple[ImageFile, ...] = ()
    rejected: tuple[Turn, ...] = ()
    signals: tuple[Signal, ...] = ()
    nats: float | None = None
    category: str = ""
    chance: float | None = None

    @property
    def visual(self) -> bool:
        """Whether there is anything to look at."""
        return self.video is not None or bool(self.images)


@frozen(kw_only=True)
class DataCard:
    """What a data set is, where it comes from, and what its plugin does with it.

    A component whose config class has a method `card() -> DataCard` is known to `fvlm data describe` and
    `fvlm data fetch`.

    hub: id of the data set on the Hugging Face hub. licence: as stated there. legal: what else there is to know before
    use. size: what a full download takes. layout: the files expected below the source's path. columns: those that are
    read. split: how train and validation are told apart. prompts: the user's turns. traps: what is wrong with some
    rows, and what becomes of them. fetch: patterns of the files to download; empty when nothing can be.
    """

    hub: str
    licence: str
    size: str
    layout: tuple[str, ...]
    columns: tuple[str, ...]
    split: str
    prompts: tuple[str, ...]
    traps: tuple[tuple[str, str], ...] = ()
    legal: str = ""
    fetch: tuple[str, ...] = ()


class DataSource(ABC):
    """A data set, listed but not decoded. Picklable: data workers hold a copy.

    The component's target is `build(config, split: Split) -> DataSource`. Train and validation of one config never
    share a sample. Random access is what makes data order a pure function of (seed, epoch, step), so that a stopped
    run continues with the very next sample.

    In a rehearsal (`fvlm run --rehearse`) a source is replaced by one that is drawn here, unless its config has a
    method `rehearsal() -> config` that gives a small one which needs nothing. A component with
    provides=("rehearsal",) can take the place of others: see `fvlm_core.planning.rehearsal.StandIn`.

    A config with a method `floor() -> str` says in `fvlm data describe` what the least loss is that any model can have
    on its samples, and the samples carry it as `nats`.

    Raises `fvlm_core.utils.errors.MissingData` on construction, with the way to get them, when the files are not there.
    """

    name: str
    modalities: tuple[str, ...] = ()
    """Names of the signals that its samples may give; a source of frames and text gives none."""

    def prepare(self, progress: Progress) -> None:
        """Do long work that must be finished before the first sample is decoded (render, index); default nothing.

        Safe to call again: finished work is not repeated. The samples stay what they were.
        """
        return

    @abstractmethod
    def __len__(self) -> int:
        """Samples of this split."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Sample `index` (0 <= index < len). Cheap: no decoding, and possible before `prepare`."""

    def sample_id(self, index: int) -> str:
        """The id of sample `index`, without reading more of it than that takes. Raises as `self[index]`."""
        return self[index].id

    def read_ahead(self, indices: Sequence[int]) -> None:
        """Told which samples are asked for next, in order: one whose files lie elsewhere may begin to fetch them."""
        return

    def problems(self) -> tuple[Problem, ...]:
        """Rows left out while listing, each named with its reason; they are counted in the run's summary."""
        return ()

    def frame_counts(self) -> Sequence[int] | None:
        """Frames of every sample, 0 for text only, where they are known without opening files; else None."""
        return None

    def fingerprint(self) -> str:
        """A short hash of what the source holds, recorded with the run; changes when the samples change."""
        from hashlib import blake2b

        digest = blake2b(digest_size=8)
        for index in range(len(self)):
            sample = self[index]
            rejected = (sample.rejected,) if sample.rejected else ()
            digest.update(repr((sample.id, sample.turns, *rejected)).encode())
        return digest.hexdigest()

    def texts(self) -> Iterator[str]:
        """Every text of every turn, in order: the corpus of tokenizers made from the data."""
        for index in range(len(self)):
            sample = self[index]
            for turn in (*sample.turns, *sample.rejected):
                yield turn.content
