"""The founding project's shards: no index, so one is made once and kept, with what is wrong with each sample."""

from __future__ import annotations

import json
import os
import re
import shlex
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from fvlm_core.plugin_api import (
    NOTES,
    PICTURES,
    TEXTS,
    VIDEOS,
    BadShard,
    Index,
    IndexEntry,
    MissingData,
    Problem,
    Shown,
    TarMember,
    UsageError,
    lines,
    listed,
    open_data,
    read_data,
    sample_keys,
    tar_members,
    tied_rows,
    unreadable,
    unshown,
    write_index,
)
from fvlm_shards.config import Shards
from fvlm_shards.records import Blind, RecordText, UnusableRecord, object_of, read_record, says_text
from fvlm_shards.token_ids import TokenIds

_LAYOUT = 7
"""Raised when an index would come out otherwise for the same shards."""

_UNPACK = {
    **dict.fromkeys(("gz", "z"), "gunzip"),
    **dict.fromkeys(("bz2", "bz", "b2"), "bunzip2"),
    **dict.fromkeys(("xz", "lzma"), "unxz"),
    "zst": "unzstd --rm",
    "lz4": "unlz4 --rm",
}
"""The command that unpacks a compressed tar, by the end of its name."""

_NUMBERED = re.compile(r"[0-9]+\.[^.]+")

_COMPARED = 1 << 16
"""Bytes of what a sample shows that tell whether another one shows the same; the sizes of its members do, too."""


@frozen
class ListedShards:
    """The samples of a folder of shards. files: the shards, in order, as the index numbers them.

    groups: of each sample, what decides its split: the same for all that show the same.
    fingerprint: of every sample's id, text and places; the same wherever the shards lie.
    """

    files: tuple[Path, ...]
    index: Index
    groups: NDArray[np.uint64]
    problems: tuple[Problem, ...]
    fingerprint: str


def list_shards(config: Shards, root: Path) -> ListedShards:
    """Index the shards below a folder, or take the index made before for the very same files.

    Raises `MissingData` when there is no shard, and `UsageError` naming every shard that is not whole.
    """
    if packs := sorted({file.parent.relative_to(root) for file in root.rglob("pack.json")}):
        named = sorted({pack.parent if pack.name in ("train", "validation") else pack for pack in packs})
        raise UsageError(f"{root}: holds packs; name one as path: {listed(named)}")
    there = sorted(path for path in root.rglob("*") if not path.is_dir())
    tars = [path for path in there if path.suffix.lower() == ".tar"]
    files = tuple(path for path in tars if not unreadable(path))
    packed = [Problem(text, str(path)) for path in there if (text := _compressed(path))]
    packed += [Problem(reason, str(path)) for path in tars if (reason := unreadable(path))]
    if not files:
        more = "".join(f"\n  {problem}" for problem in packed[:5])
        raise MissingData(f"{root}: neither a pack (pack.json) nor shards (*.tar) are in it{more}")
    state = _state(config, files)
    folder = config.cache / state
    if not (folder / "problems.json").exists():
        _make(config, root, files, folder)
    problems = [Problem(**problem) for problem in json.loads((folder / "problems.json").read_bytes())]
    groups = np.load(folder / "groups.npy")
    fingerprint = (folder / "fingerprint").read_text(encoding="utf-8")
    return ListedShards(files, Index(folder / "index.arrow"), groups, (*problems, *packed), fingerprint)


def split_key(name: str) -> int:
    """What decides a sample's split: a number below 2^64, the same for the same id everywhere."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _compressed(path: Path) -> str:
    """What to do with a compressed tar; empty for any other file."""
    for kind, command in _UNPACK.items():
        if path.name.lower().endswith((f".tar.{kind}", f".t{kind}")):
            then = "" if path.name.lower().endswith(f".tar.{kind}") else ", and let its name end in .tar"
            text = "a compressed shard is not read, for nothing in it has a place; unpack it"
            return f"{text}: {command} {shlex.quote(str(path))}{then}"
    return ""


def _state(config: Shards, files: Iterable[Path]) -> str:
    """A hash of everything that decides the index."""
    digest = blake2b(_settings(config), digest_size=8)
    for file in files:
        status = file.stat()
        digest.update(repr((str(file.resolve()), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _settings(config: Shards) -> bytes:
    """What decides how the same shards are read."""
    tokenizer = read_data(config.tokenizer, NOTES) if config.tokenizer and config.tokenizer.exists() else b""
    return repr((_LAYOUT, config.prompt, blake2b(tokenizer).digest())).encode()


def _make(config: Shards, root: Path, files: tuple[Path, ...], folder: Path) -> None:
    entries: list[IndexEntry] = []
    owners, shown = (
        array("q"),
        array("Q"),
    )  # what each sample shows, to keep those that show the same together
    problems: list[Problem] = []
    broken: list[str] = []
    token_ids = TokenIds(config.tokenizer) if config.tokenizer else None
    digest = blake2b(_settings(config), digest_size=8)
    for number, file in enumerate(files):
        try:
            members = list(tar_members(file))
        except BadShard as error:
            broken.append(str(error))
            continue
        if not members:
            problems.append(Problem("no sample in it", str(file)))
        stem = file.relative_to(root).as_posix().removesuffix(".tar")  # 0.TAR may lie beside 0.tar
        with open_data(file) as opened:
            for key, group in _samples(members, problems, file):
                try:
                    name = f"{stem}/{key}"
                    entry, video = _entry(name, number, group, opened.fileno(), config.prompt, token_ids)
                    for what in _what_is_shown(entry, video, opened.fileno()):
                        owners.append(len(entries))
                        shown.append(split_key(what))
                    entries.append(entry)
                    digest.update(repr(entry).encode("utf-8", "surrogateescape"))
                    digest.update(os.pread(opened.fileno(), entry.json_size, entry.json_start))
                except UnusableRecord as reason:
                    unseen = str(reason) if isinstance(reason, Blind) else ""
                    problems.append(Problem(str(reason), str(file), key=key, unseen=unseen))
    if broken:
        text = f"{root}: {len(broken)} of {len(files)} shards are not whole:"
        raise UsageError(f"{text}\n{lines(broken, indent='  ')}")
    if not entries:
        shown = "\n".join(f"  {problem}" for problem in problems[:5])
        raise UsageError(f"{root}: none of its {len(problems):,} samples can be used:\n{shown}")
    keys = np.array([split_key(entry.id) for entry in entries], np.uint64)
    groups = tied_rows(keys, np.asarray(owners, np.int64), np.asarray(shown, np.uint64))
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (
        ("index.arrow", lambda out: write_index(out, entries)),
        ("groups.npy", lambda out: _save(out, groups)),
        ("fingerprint", lambda out: out.write_text(digest.hexdigest(), encoding="utf-8")),
        (
            "problems.json",
            lambda out: out.write_text(
                json.dumps([attrs.asdict(problem) for problem in problems]), encoding="utf-8"
            ),
        ),
    ):
        temporary = folder / f".{name}.{os.getpid()}"
        write(temporary)
        temporary.replace(folder / name)


def _samples(
    members: list[TarMember], problems: list[Problem], file: Path
) -> Iterator[tuple[str, dict[str, TarMember]]]:
    """The members of each sample by what follows its key. Members that are not read are problems; unless one shows
    nothing anyway, its sample is left out: what is left of it would be trained without what it names."""
    groups: dict[str, dict[str, TarMember]] = {}
    lost: set[str] = set()
    for member, key in zip(members, sample_keys(members), strict=True):
        group = groups.setdefault(key, {})
        rest = member.name[len(key) + 1 :].lower()
        refused = member.refused() or ("a second member of this name" if rest in group else "")
        if not refused:
            group[rest] = member
        elif member.annotation:
            problems.append(Problem(refused, str(file), key=member.name))
        elif key not in lost:
            lost.add(key)
            text = f"{refused}: the sample is left out"
            problems.append(Problem(text, str(file), key=member.name, unseen=refused))
    yield from ((key, group) for key, group in groups.items() if group and key not in lost)


def _entry(
    name: str, shard: int, group: dict[str, TarMember], handle: int, prompt: str, token_ids: TokenIds | None
) -> tuple[IndexEntry, str]:
    """A sample's row, and the video that its record names. Raises `UnusableRecord`."""
    text, beside = group.get("json"), group.get("txt")
    about = None
    if text and beside:
        about = object_of(os.pread(handle, text.size, text.start))
        if says_text(about):
            about = None
    if about is not None or text is None:
        text = beside
    if text is None:
        raise UnusableRecord("neither a .json nor a .txt: no text")
    content = os.pread(handle, text.size, text.start)
    if text.kind == "txt" and content.lstrip()[:1] == b"{":
        raise UnusableRecord("a caption that begins with { cannot be told from a record")
    record = read_record(content, prompt, token_ids, about)
    kind, shown = _shown(group)
    _refuse_blind(record, kind, len(shown))
    return IndexEntry(
        id=name,
        shard=shard,
        kind=kind,
        json_start=text.start,
        json_size=text.size,
        starts=tuple(member.start for member in shown),
        sizes=tuple(member.size for member in shown),
        frames=len(shown) if kind != "video" else 0,
        characters=sum(len(turn.content) for turn in record.turns),
    ), record.id


def _refuse_blind(record: RecordText, kind: Shown, shown: int) -> None:
    """Raise `UnusableRecord` for a record that names other pictures than the shard holds."""
    if record.frames is not None and kind != "video" and record.frames != shown:
        raise Blind(f"its frame_count is {record.frames} and {shown} are there: its time would shift")
    if kind == "text":
        if record.text_only is False:
            raise Blind("is_text_only is false, and no picture or video is there")
        if record.names and not record.text_only:
            raise Blind(f"names a picture or video that is not there ({listed(record.names)})")
    elif record.text_only:
        raise UnusableRecord("is_text_only is true, and a picture or video is there")
    if reason := unshown(record.turns, *({"text": (), "frames": (1, shown)}.get(kind, (1,)))):
        raise Blind(reason)


def _shown(group: dict[str, TarMember]) -> tuple[Shown, list[TarMember]]:
    """What a sample shows: numbered frames, one picture, a clip, or nothing."""
    numbered = {rest: member for rest, member in group.items() if _NUMBERED.fullmatch(rest)}
    pictures = [member for rest, member in group.items() if rest in PICTURES]
    videos = [member for rest, member in group.items() if rest in VIDEOS]
    named = set(numbered) | {member.kind for member in (*pictures, *videos)}
    others = [rest for rest in group if rest not in named | TEXTS]
    if any(group[rest].kind not in TEXTS for rest in others) or (others and not named):
        raise Blind(f"members that belong to no known layout: {listed(sorted(others))}")
    if bool(numbered) + len(pictures) + len(videos) > 1:
        raise Blind(f"shows several things, of which one would be lost: {listed(sorted(named))}")
    if not numbered:
        return ("still", pictures) if pictures else ("video", videos) if videos else ("text", [])
    if strange := [rest for rest, member in numbered.items() if member.kind not in PICTURES]:
        raise Blind(f"numbered members that are no pictures: {listed(sorted(strange))}")
    frames = {int(rest.partition(".")[0]): member for rest, member in numbered.items()}
    if sorted(frames) != list(range(len(numbered))):
        holes = sorted(set(range(max(frames) + 1)) - set(frames))
        raise Blind(f"frame {holes[0] if holes else 'twice'} is missing: its time would shift")
    return "frames", [frames[number] for number in range(len(frames))]


def _what_is_shown(entry: IndexEntry, video: str, handle: int) -> Iterator[str]:
    """What a sample has in common with others that show the same: the video it names, and its pictures' bytes."""
    if entry.kind == "text":
        return
    if video:
        yield f"video {video}"
    content = os.pread(handle, min(entry.sizes[0], _COMPARED), entry.starts[0])
    yield f"content {entry.sizes} {blake2b(content, digest_size=16).hexdigest()}"


def _save(out: Path, groups: NDArray[np.uint64]) -> None:
    with out.open("wb") as file:
        np.save(file, groups)
