"""The runs of a store at a glance: what a table of thousands of them needs, one flat entry a run.

Entries come from `recipe.json` and `summary.json` through an index (`fvlm_core.runs.index`). Nothing here imports
torch, pandas or numpy: a listing of 10,000 runs is mostly the system's time to look at their files.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from attrs import asdict, evolve, field, fields, frozen

from fvlm_core.runs import record_shapes as shape
from fvlm_core.runs.index import RunIndex, stamp_of, stats_of
from fvlm_core.runs.record_shapes import MUST
from fvlm_core.runs.store import FAILURE, IMPORTED, QUEUED, RECIPE, SUMMARY, no_run
from fvlm_core.runs.tags import TAGS, read_tags
from fvlm_core.runs.visual_tokens import frames_per_sample
from fvlm_core.utils.atomic_files import read_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import Shape, misfit
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean

State = Literal["complete", "interrupted", "queued", "running", "failed", "imported", "unreadable"]

STATES: tuple[State, ...] = (
    *("complete", "interrupted", "queued", "running", "failed", "imported", "unreadable"),
)
"""queued: a start of it was submitted and has not begun.
unreadable: its `recipe.json` or another small file of its record is damaged; `Entry.problem` says how."""

_OWNER = ".owner.json"
_UNDONE: tuple[State, ...] = ("interrupted", "failed")
_READ = (RECIPE, SUMMARY, TAGS, FAILURE)


@frozen
class ListedRun:
    """One run. None where its record does not say.

    folder: below the store, as "recipe/id". step: reached, of `planned`. best_loss: validation, nats a supervised
    token, at `best_step`. samples: training examples seen. frames: of a sample, the mean of those seen.
    tokens_per_frame: that the language model reads. written: seconds since 1970, when its record last changed.
    """

    folder: str
    recipe: str
    id: str
    order: int = 0
    state: State = "interrupted"
    size: str = ""
    total_params: int | None = None
    schedule: str = ""
    seed: int | None = None
    step: int = 0
    planned: int | None = None
    samples: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    hours: float | None = None
    frames: float | None = None
    tokens_per_frame: int | None = None
    in_fits: bool = True
    tags: tuple[str, ...] = field(default=(), converter=tuple)
    problem: str = ""
    written: float = 0.0

    @property
    def name(self) -> str:
        """What commands call it: "recipe/id"."""
        return f"{self.recipe}/{self.id}"

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {"run": self.name, **asdict(self), "tags": list(self.tags)}


FIELDS = tuple(each.name for each in fields(ListedRun))
"""Of an entry, in order."""

_PART = f"entry {zlib.crc32(' '.join(FIELDS).encode()):08x}"
"""Of the index: entries with other fields are another part."""


def list_entries(root: Path, *, queued: bool = False) -> list[ListedRun]:
    """Every run of a store, by recipe and in the order the recipe has them.

    A run whose record cannot be read is an entry too, with its problem. queued: so is one that is queued and has no
    record yet, of which nothing else is known. Brings the index of the store up to date; a store that cannot be
    written to is read without one.
    """
    index = RunIndex(root)
    entries: list[ListedRun] = []
    read: list[tuple[str, bytes, list[Any]]] = []
    for folder, path in _folders(root):
        stats = stats_of(path, _READ)
        if stats[0] is None:
            if queued and _noted(path, QUEUED):
                entries.append(_queued(folder, path))
            continue
        stamp = stamp_of(stats)
        values = index.get(_PART, folder, stamp)
        if values is None:
            entry = _read(folder, Path(path), stats)
            if entry.state != "unreadable":  # what hides a file (a mode, a disk) may go without changing it
                read.append((folder, stamp, list(asdict(entry).values())))
        else:
            entry = ListedRun(*values)
        entries.append(_now(entry, path))
    index.put(_PART, read)
    index.forget_but(_PART, [entry.folder for entry in entries])
    return sorted(entries, key=lambda entry: (entry.recipe, entry.order, entry.id))


def select(
    entries: Iterable[ListedRun],
    patterns: Sequence[str] = (),
    recipes: Sequence[str] = (),
    states: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> list[ListedRun]:
    """The entries that meet all that is asked; nothing asked of a kind is met by all.

    patterns, recipes: with *, ? and [..]; a pattern is matched with "recipe/id" and with the id. tags: all of them.
    """
    return [
        entry
        for entry in entries
        if (not patterns or any(_matches(entry, pattern) for pattern in patterns))
        and (not recipes or any(fnmatchcase(entry.recipe, recipe) for recipe in recipes))
        and (not states or entry.state in states)
        and all(tag in entry.tags for tag in tags)
    ]


def find_entries(names: Sequence[str], root: Path) -> list[ListedRun]:
    """The runs that are named, each once, in the order they are named.

    A name is "recipe/id", an id that one run has, a folder of the store, a recipe (all its runs), or a pattern.
    Raises one `UsageError` that tells every name that fits no run, and every id that several have.
    """
    entries = list_entries(root)
    exact: list[dict[str, list[ListedRun]]] = [{}, {}, {}]
    for entry in entries:
        for known, name in zip(exact, (entry.name, entry.folder, entry.id), strict=True):
            known.setdefault(name, []).append(entry)
    found: dict[str, ListedRun] = {}
    wrong: list[str] = []
    for name in names:
        try:
            found |= {entry.folder: entry for entry in _named(name, entries, exact, root)}
        except UsageError as error:
            wrong.append(str(error))
    if wrong:
        raise UsageError("\n".join(dict.fromkeys(wrong)))
    return list(found.values())


def _named(
    name: str, entries: Sequence[ListedRun], exact: Sequence[Mapping[str, list[ListedRun]]], root: Path
) -> list[ListedRun]:
    """exact: the entries by name, by folder and by id."""
    folder = _below(name, root) if os.path.isdir(name) else name
    for known, text in zip(exact, (name, folder, name), strict=True):
        here = known.get(text, [])
        if len(here) > 1:
            places = listed(root / entry.folder for entry in here)
            raise UsageError(
                f'"{name}" is the name of several runs under {root}: {places}; name one by its folder'
            )
        if here:
            return here
    several = [e for e in entries if e.recipe == name or _parent(e) in (folder, name) or _matches(e, name)]
    if several:
        return several
    if os.path.isdir(name):
        raise UsageError(no_run(Path(name)))
    if not entries:
        raise UsageError(f"{root}: no runs are kept there; name another folder with --runs DIR")
    known_names = [*(e.name for e in entries), *(e.id for e in entries), *(e.recipe for e in entries)]
    near = did_you_mean(name, dict.fromkeys(known_names))
    raise UsageError(
        f'no run or recipe under {root} is called "{name}"{near or "; `fvlm runs list` shows them"}'
    )


def _below(path: str, root: Path) -> str:
    """A folder as seen from the store. What is itself a link stays one: it does not stand for what it points to."""
    above, last = os.path.split(os.path.abspath(path))
    return os.path.relpath(os.path.join(os.path.realpath(above), last), os.path.realpath(root))


def _parent(entry: ListedRun) -> str:
    return entry.folder.partition("/")[0]


def _matches(entry: ListedRun, pattern: str) -> bool:
    return fnmatchcase(entry.name, pattern) or fnmatchcase(entry.id, pattern)


def _folders(root: Path) -> Iterable[tuple[str, str]]:
    """Every folder that may be a run: below the store, and its path as the system has it."""
    try:
        recipes = [item for item in os.scandir(root) if item.is_dir() and not item.name.startswith(".")]
    except FileNotFoundError:
        return
    for recipe in recipes:
        try:
            inside = list(os.scandir(recipe.path))
        except OSError:  # gone since, or not ours to read
            continue
        yield from ((f"{recipe.name}/{item.name}", item.path) for item in inside if item.name[0] != ".")


def _read(folder: str, path: Path, stats: Sequence[os.stat_result | None]) -> ListedRun:
    recipe, _, name = folder.partition("/")
    written = max(each.st_mtime for each in stats[:2] if each is not None)
    file = RECIPE
    try:
        record: dict[str, Any] = _table(path / file, shape.RECORD, MUST["recipe"][:2])
        entry: dict[str, Any] = {
            "recipe": str(record["recipe"]),
            "id": str(record["id"]),
            "order": int(record.get("order", 0)),
            "size": str(record.get("size", "")),
            "total_params": _known(int, record.get("total_params")),
            "schedule": str(record.get("schedule", "")),
            "seed": _known(int, record.get("seed")),
            "in_fits": bool(record.get("in_fits", True)),
        }
        file = SUMMARY
        summary: dict[str, Any] = _table(path / file, shape.SUMMARY) if stats[1] is not None else {}
        entry |= {
            "state": _state(record, summary),
            "step": int(summary.get("total_steps") or 0),
            "planned": _known(int, summary.get("planned_steps", record.get("steps"))),
            "samples": int(summary.get("total_samples") or 0),
            "best_loss": _known(float, summary.get("best_val_loss")),
            "best_step": _known(int, summary.get("best_val_step")),
            "hours": _known(float, summary.get("wall_time_hours")),
            "frames": frames_per_sample(summary.get("frames"), summary.get("total_samples")),
            "tokens_per_frame": _known(int, record.get("tokens_per_frame")),
        }
        file = TAGS
        entry["tags"] = read_tags(path) if stats[2] is not None else ()
        file = FAILURE
        if stats[3] is not None and entry["state"] != "complete":
            entry["problem"] = str(_table(path / file, {}, ("message",))["message"])
            entry["state"] = "failed"
        return ListedRun(folder, **entry, written=written)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{file}: {type(error).__name__}: {error}"
        return ListedRun(folder, recipe, name, state="unreadable", problem=problem, written=written)


def _table(file: Path, of: Shape, must: tuple[str, ...] = ()) -> dict[str, Any]:
    found: Any = read_json(file)
    if wrong := misfit(found, of, must):
        raise ValueError(wrong)
    return found


def _state(record: Mapping[str, Any], summary: Mapping[str, Any]) -> State:
    """As `Run.state`: measurements alone, imported, are neither complete nor to be continued."""
    if summary.get("complete"):
        return "complete"
    return "imported" if IMPORTED in record else "interrupted"


def _known(kind: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else kind(value)


def _held(path: str) -> bool:
    """As `lock.is_running`; its module is imported for folders with an owner's note alone."""
    if not _noted(path, _OWNER):
        return False
    from fvlm_core.utils.folder_lock import is_held

    return is_held(Path(path))


def _noted(path: str, note: str) -> bool:
    """Where there is no note, and mostly there is none, `access` takes half the time of `exists`."""
    return os.access(f"{path}/{note}", os.F_OK)


def _now(entry: ListedRun, path: str) -> ListedRun:
    """As the record says, or as what is done with it at this moment."""
    if entry.state == "unreadable":
        return entry
    if _held(path):
        return evolve(entry, state="running", problem="")
    if entry.state in _UNDONE and _noted(path, QUEUED):
        return evolve(entry, state="queued", problem="")
    return entry


def _queued(folder: str, path: str) -> ListedRun:
    """A run that has no record yet."""
    recipe, _, name = folder.partition("/")
    state: State = "running" if _held(path) else "queued"
    return ListedRun(folder, recipe, name, state=state, written=os.stat(path).st_mtime)
