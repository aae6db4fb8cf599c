"""The data source: which clips there are, which split each belongs to, and what is wrong with the others."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from fvlm_clips.config import Clips
from fvlm_clips.folder import Folder
from fvlm_core.plugin_api import (
    MAX_ROW,
    CSVRows,
    DataSource,
    JSONLines,
    MissingData,
    NotText,
    Problem,
    Record,
    Refused,
    RowFile,
    Sample,
    Split,
    Turn,
    UsageError,
    VideoFile,
    by_kind,
    decoded,
    is_video,
    read_data,
    string_of,
    text_of,
)

_KINDS = (".jsonl", ".csv", ".tsv")
_INSIDE = tuple(f"{stem}{kind}" for stem in ("captions", "metadata") for kind in _KINDS)
"""Names under which a folder's own manifest is found."""

_ABOUT = (
    *("", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".yaml", ".yml", ".toml", ".xml"),
    *(".html", ".pdf", ".py", ".sh", ".log", ".lock"),
)
"""Kinds of files that say something about a data set and are no part of it."""

_SHOWN = 5
"""Problems spelt out when no clip is left."""


def build(config: Clips, split: Split) -> ClipSource:
    """The clips of a split.

    Raises `MissingData` when the path or every video is absent, `Problems` for a CSV without the columns, and
    `UsageError` when no clip is usable or none falls into the split.
    """
    return ClipSource(config, split)


class ClipSource(DataSource):
    """The clips of one split, in the manifest's order or by file name: one sample a row.

    A sample's id is the path of its video below the folder of the videos; of the second row of a video on with its
    number, `a.mp4#2`. All rows of a video are in one split.
    """

    def __init__(self, config: Clips, split: Split) -> None:
        self.name = f"clips:{config.path.stem}"
        self.config = config
        self._manifest = _manifest(config)
        root = config.videos or (config.path if config.path.is_dir() else config.path.parent)
        if not root.is_dir():
            raise MissingData(f"{root}: the folder of the videos is not there{_way_out(config, root)}")
        folder = Folder(root)
        self._root = folder.root
        self._places = array("Q")  # start and length of each row in the manifest, in bytes
        self._texts: list[tuple[str, str]] = []  # video and caption of each clip, where there is no manifest
        self._renamed: dict[int, str] = {}  # clips whose video the manifest names in a roundabout way
        self._repeats: dict[
            int, int
        ] = {}  # samples of a video that earlier ones show, too: which of them this is
        self._problems: list[Problem] = []
        self._list(folder, split)

    def __len__(self) -> int:
        return len(self._places) // 2 + len(self._texts)

    def __getitem__(self, index: int) -> Sample:
        if self._manifest:
            record, _ = self._manifest.read(*self._places[2 * index : 2 * index + 2])
            name, caption = _said(record, self.config)
            name = self._renamed.get(index, name)
        else:
            name, caption = self._texts[index]
        turns = (Turn("user", self.config.prompt), Turn("assistant", caption))
        video = VideoFile(self._root / name, fps=self.config.fps, max_frames=self.config.max_frames)
        repeat = self._repeats.get(index)
        return Sample(f"{name}#{repeat}" if repeat else name, self.name, turns, video)

    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems)

    def fingerprint(self) -> str:
        return self._fingerprint

    def _list(self, folder: Folder, split: Split) -> None:
        """Keep the split's clips; name what is wrong with the rows of either split."""
        digest = blake2b(self.config.prompt.encode(), digest_size=8)
        bound = round(self.config.holdout * 2**64)
        counts: dict[int, int] = {}
        lines: dict[int, int | None] = {}
        for row in _rows(self._manifest, self.config) if self._manifest else _beside(folder):
            video, error, unseen = _located(row, folder)
            key, copy = _key(video), _key(f"{video}\0{row.caption}")
            if not error and copy in lines:
                error = f"{video} with this caption is already in line {lines[copy]}"
            if error:
                self._problems.append(Problem(error, row.file, row.line, unseen=unseen))
                continue
            lines[copy] = row.line
            counts[key] = counts.get(key, 0) + 1
            if bound and (key < bound) != (split == "validation"):
                continue
            digest.update(f"{video}\0{row.caption}\0".encode())
            if counts[key] > 1:
                self._repeats[len(self)] = counts[key]
            if self._manifest:
                if video != row.video:
                    self._renamed[len(self)] = video
                self._places.extend((row.start, row.length))
            else:
                self._texts.append((video, row.caption))
        self._fingerprint = digest.hexdigest()
        if self._manifest and self.config.path.is_dir():
            text = f"no caption in {self._manifest.path.name}"
            unnamed = (video for video in folder.videos() if _key(video) not in counts)
            self._problems += [Problem(text, str(folder.root / video)) for video in unnamed]
        if self.config.path.is_dir():
            self._problems += self._passed_over(folder, counts)
        if not counts:
            raise self._nothing()
        if not len(self):
            raise self._empty(split, counts.keys())

    def _passed_over(self, folder: Folder, counts: Mapping[int, int]) -> Iterator[Problem]:
        """The files of a folder that might be clips or captions and are neither, if there are any."""
        stems = {Path(video).with_suffix("") for video in folder.videos()}
        captions = {name for name in folder.files() if _is_text(name) and Path(name).with_suffix("") in stems}
        others = [
            name
            for name in folder.files()
            if not (is_video(name) or name in captions or name.startswith(".") or "/." in name)
            and Path(name).suffix.lower() not in _ABOUT
            and _key(name) not in counts
        ]
        if others:
            text = f"passed over, of kinds that are not read or without a video: {by_kind(others)}"
            lost = 0 if self._manifest else sum(map(_is_text, others))
            unseen = "a caption without a video of a kind that is read" if lost else ""
            yield Problem(text, str(folder.root), unseen=unseen, samples=lost or 1)

    def _nothing(self) -> UsageError:
        count = len(self._problems)
        if not count:
            return MissingData(f"{self.config.path}: no video in it{_way_out(self.config, self.config.path)}")
        shown = "\n".join(f"  {problem}" for problem in self._problems[:_SHOWN])
        more = f"\n  and {count - _SHOWN:,} more" if count > _SHOWN else ""
        text = f"{self.config.path}: none of its {count:,} clips can be used:\n{shown}{more}"
        if all(problem.text.startswith(_ABSENT) for problem in self._problems):
            return MissingData(text + _way_out(self.config, self._root))
        return UsageError(text)

    def _empty(self, split: Split, keys: Iterable[int]) -> UsageError:
        """Which holdout would leave the split a clip: one of few clips, chosen by hash, may fall to neither side."""
        edge = min(keys) if split == "validation" else max(keys)
        enough = -(-edge * 1000 // 2**64) / 1000 if split == "validation" else (edge * 1000 // 2**64) / 1000
        return UsageError(
            f"{self.config.path}: holdout = {self.config.holdout} of so few clips leaves none for {split}; "
            f"{enough:.3f} would leave one"
        )


_ABSENT = "no such file"


class _Row(NamedTuple):
    """A video and its caption. line: in the manifest. start, length: its place there, in bytes. error: why it cannot be
    used, empty if it can."""

    file: str
    line: int | None
    start: int = 0
    length: int = 0
    video: str = ""
    caption: str = ""
    error: str = ""


def _said(record: Record, config: Clips) -> tuple[str, str]:
    """Video and caption of a row. Raises `Refused`."""
    return string_of(record, config.video_column), text_of(record, config.caption_column)


def _rows(manifest: RowFile, config: Clips) -> Iterator[_Row]:
    """Every row of a manifest."""
    for number, start, length, record, error in manifest.scan():
        video = caption = ""
        try:
            video, caption = ("", "") if error else _said(record, config)
        except Refused as refused:
            error = str(refused)
        yield _Row(str(manifest.path), number, start, length, video, caption, error)


def _located(row: _Row, folder: Folder) -> tuple[str, str, str]:
    """A row's video below the folder, why the row cannot be used (empty if it can), and `Problem.unseen`."""
    if row.error:
        return row.video, row.error, ""
    try:
        return folder.find(row.video), "", ""
    except Refused as refused:
        return row.video, str(refused), refused.unseen


def _key(video: str) -> int:
    """What decides a clip's split: a number below 2^64, the same for the same path everywhere."""
    return int.from_bytes(blake2b(video.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _is_text(name: str) -> bool:
    return name.lower().endswith(".txt")


def _beside(folder: Folder) -> Iterator[_Row]:
    """Every video of a folder with the text file beside it."""
    texts: dict[Path, list[str]] = {}
    for name in filter(_is_text, folder.files()):
        texts.setdefault(Path(name).with_suffix(""), []).append(name)
    for video in folder.videos():
        path = folder.root / video
        found = texts.get(Path(video).with_suffix(""), [])
        if len(found) > 1:
            error = f"two captions, of which one would be lost: {found[0]} and {found[1]}"
            yield _Row(str(path), None, video=video, error=error)
            continue
        text = folder.root / found[0] if found else path.with_suffix(".txt")
        try:
            caption, error = (
                decoded(read_data(text, MAX_ROW, inside=folder.root)).strip(),
                f"empty caption: {text.name}",
            )
        except (OSError, NotText) as reason:
            why = getattr(reason, "strerror", None) or reason
            caption, error = "", f"no caption: {text.name}: {why}"
        yield _Row(str(path), None, video=video, caption=caption, error="" if caption else error)


def _manifest(config: Clips) -> RowFile | None:
    """The manifest that the path is or holds; None for a folder without one."""
    path = config.path
    if not path.exists():
        raise MissingData(f"{path}: no such file or folder{_way_out(config, path)}")
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.name.lower() in _INSIDE]
        if len(found) > 1:
            names = f"{found[0].name} and {found[1].name}"
            raise UsageError(f"{path}: two manifests, {names}; name one of them as path")
        if not found:
            return None
        path = found[0]
    if path.suffix.lower() not in _KINDS:
        raise UsageError(f"{path}: expected a folder, or a file that ends in {', '.join(_KINDS)}")
    root = config.path if config.path.is_dir() else None  # who names a file means it, wherever it leads
    if path.suffix.lower() == ".jsonl":
        return JSONLines(path, root=root)
    return CSVRows(path, root=root, columns=(config.video_column, config.caption_column))


def _way_out(config: Clips, missing: Path) -> str:
    """How to get what is missing: everything from the first folder that is not there on."""
    if not config.hub:
        return ""
    folder = config.hub_folder
    if folder is None:
        here = missing
        while not here.parent.exists():
            here = here.parent
        folder = here.parent if here.exists() or here.suffix else here
    return f"; get it with: hf download {config.hub} --repo-type dataset --local-dir {folder}"
