"""The founding project's shards: no index, so one is made once and kept, with what is wrong with each sample."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from attrs import frozen

from fvlm_core.interfaces import (
    BadShard,
    Index,
    IndexEntry,
    MissingData,
    Problem,
    Shown,
    TarMember,
    UsageError,
    tar_members,
    write_index,
)
from fvlm_shards.config import Shards
from fvlm_shards.records import Unusable, read_record
from fvlm_shards.token_ids import TokenIds

_PICTURES = ("jpg", "jpeg", "png", "webp")
_VIDEOS = ("mp4", "webm", "mkv")
_LAYOUT = 2
"""Raised when an index would come out otherwise for the same shards."""


@frozen
class Listed:
    """The samples of a folder of shards. files: the shards, in order, as the index numbers them.

    fingerprint: of every sample's id, text and places; the same wherever the shards lie.
    """

    files: tuple[Path, ...]
    index: Index
    problems: tuple[Problem, ...]
    fingerprint: str


def list_shards(config: Shards) -> Listed:
    """Index the shards below the path, or take the index made before for the very same files.

    Raises `MissingData` when there is no shard, and `UsageError` naming every shard that is not whole.
    """
    if packs := sorted({file.parent.relative_to(config.path) for file in config.path.rglob("pack.json")}):
        named = sorted({pack.parent if pack.name in ("train", "validation") else pack for pack in packs})
        raise UsageError(f"{config.path}: holds packs; name one as path: {', '.join(map(str, named))}")
    files = tuple(sorted(config.path.rglob("*.tar")))
    if not files:
        raise MissingData(f"{config.path}: neither a pack (pack.json) nor shards (*.tar) are in it")
    state = _state(config, files)
    folder = config.cache / state
    if not (folder / "problems.json").exists():
        _make(config, files, folder)
    problems = [Problem(**problem) for problem in json.loads((folder / "problems.json").read_bytes())]
    return Listed(
        files,
        Index(folder / "index.arrow"),
        tuple(problems),
        (folder / "fingerprint").read_text(encoding="utf-8"),
    )


def _state(config: Shards, files: Iterable[Path]) -> str:
    """A hash of everything that decides the index."""
    digest = blake2b(_settings(config), digest_size=8)
    for file in files:
        status = file.stat()
        digest.update(repr((str(file.resolve()), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _settings(config: Shards) -> bytes:
    """What decides how the same shards are read."""
    tokenizer = config.tokenizer.read_bytes() if config.tokenizer and config.tokenizer.is_file() else b""
    return repr((_LAYOUT, config.prompt, blake2b(tokenizer).digest())).encode()


def _make(config: Shards, files: tuple[Path, ...], folder: Path) -> None:
    entries: list[IndexEntry] = []
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
        stem = file.relative_to(config.path).with_suffix("").as_posix()
        with file.open("rb") as opened:
            for key, group in _samples(members, problems, file):
                try:
                    entry = _entry(f"{stem}/{key}", number, group, opened.fileno(), config.prompt, token_ids)
                    entries.append(entry)
                    digest.update(repr(entry).encode("utf-8", "surrogateescape"))
                    digest.update(os.pread(opened.fileno(), entry.json_size, entry.json_start))
                except Unusable as reason:
                    problems.append(Problem(str(reason), str(file), key=key))
    if broken:
        listed = "\n".join(f"  {text}" for text in broken)
        raise UsageError(f"{config.path}: {len(broken)} of {len(files)} shards are not whole:\n{listed}")
    if not entries:
        shown = "\n".join(f"  {problem}" for problem in problems[:5])
        raise UsageError(f"{config.path}: none of its {len(problems):,} samples can be used:\n{shown}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (
        ("index.arrow", lambda out: write_index(out, entries)),
        ("fingerprint", lambda out: out.write_text(digest.hexdigest(), encoding="utf-8")),
        (
            "problems.json",
            lambda out: out.write_text(
                json.dumps([_plain(problem) for problem in problems]), encoding="utf-8"
            ),
        ),
    ):
        temporary = folder / f".{name}.{os.getpid()}"
        write(temporary)
        temporary.replace(folder / name)


def _samples(
    members: list[TarMember], problems: list[Problem], file: Path
) -> Iterator[tuple[str, dict[str, TarMember]]]:
    """The members of each sample by what follows its key; members that are not read are problems."""
    groups: dict[str, dict[str, TarMember]] = {}
    for member in members:
        group = groups.setdefault(member.key, {})
        rest = member.name.rpartition("/")[2].partition(".")[2].lower()
        if refused := member.refused():
            problems.append(Problem(refused, str(file), key=member.name))
        elif rest in group:
            problems.append(Problem("a second member of this name", str(file), key=member.name))
        else:
            group[rest] = member
    yield from ((key, group) for key, group in groups.items() if group)


def _entry(
    name: str, shard: int, group: dict[str, TarMember], handle: int, prompt: str, token_ids: TokenIds | None
) -> IndexEntry:
    """A sample's row. Raises `Unusable`."""
    text = group.get("json") or group.get("txt")
    if text is None:
        raise Unusable("neither a .json nor a .txt: no text")
    content = os.pread(handle, text.size, text.start)
    if text.kind == "txt" and content.lstrip()[:1] == b"{":
        raise Unusable("a caption that begins with { cannot be told from a record")
    record = read_record(content, prompt, token_ids)
    kind, shown = _shown(group)
    if record.frames is not None and kind in ("frames", "still") and record.frames != len(shown):
        raise Unusable(f"its frame_count is {record.frames} and {len(shown)} are there: its time would shift")
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
    )


def _shown(group: dict[str, TarMember]) -> tuple[Shown, list[TarMember]]:
    """What a sample shows: numbered frames, one picture, a clip, or nothing."""
    numbered = {rest: member for rest, member in group.items() if rest.partition(".")[0].isdecimal()}
    if numbered:
        frames = {int(rest.partition(".")[0]): member for rest, member in numbered.items()}
        if sorted(frames) != list(range(len(numbered))):
            holes = sorted(set(range(max(frames) + 1)) - set(frames))
            raise Unusable(f"frame {holes[0] if holes else 'twice'} is missing: its time would shift")
        return "frames", [frames[number] for number in range(len(frames))]
    if pictures := [group[rest] for rest in _PICTURES if rest in group]:
        return "still", pictures[:1]
    if videos := [group[rest] for rest in _VIDEOS if rest in group]:
        return "video", videos[:1]
    if others := set(group) - {"json", "txt"}:
        raise Unusable(f"members that belong to no known layout: {', '.join(sorted(others))}")
    return "text", []


def _plain(problem: Problem) -> dict[str, object]:
    return {"text": problem.text, "file": problem.file, "line": problem.line, "key": problem.key}
