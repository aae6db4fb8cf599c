"""Imported runs in the store: whole groups of them, written once, told apart by the SHA-256 of their files."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import asdict, frozen

import fvlm_core
from fvlm_core.interchange.export_tables import DERIVED
from fvlm_core.interchange.measured import MeasuredRun
from fvlm_core.interchange.overrides import Given, apply_given
from fvlm_core.interchange.sources import Read
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.store import IMPORTED, METRICS, RECIPE, SUMMARY
from fvlm_core.utils.atomic_files import read_json, refuse_link, sync_folder, write_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.file_names import LONGEST, folder_name_fault
from fvlm_core.utils.folder_lock import writing

MEASUREMENTS = "measurements"
"""The kind of such an import: numbers, and no weights."""

WORK = ".importing"
"""Inside a store: groups that are half written, a level deeper than runs are looked for, so that nobody lists them."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

Outcome = Literal["new", "replaced", "there"]


@frozen
class ImportedGroup:
    """A source on its way into the store. folder: where it goes. origins: what the records say of where they are from,
    by run. outcome: what keeping it does."""

    read: Read
    folder: Path
    origins: dict[str, dict[str, Any]]
    outcome: Outcome


def plan(
    read: Read, root: Path, *, in_fits: bool | None, given: Given, replace: bool, named: bool
) -> ImportedGroup:
    """What importing would do; nothing is written. Values that are given are put into the runs.

    in_fits: of all runs; None: as the files beside them say. named: the user chose the name. Raises `UsageError` when
    the name is taken, the same files are there under another name, or something else is there under this one.
    """
    name = read.source.name
    if folder_name_fault(name) or not _NAME.fullmatch(name):
        raise UsageError(
            f'--name: expected at most {LONGEST} letters, digits and . _ + - (a letter or digit first), got "{name}"'
        )
    if in_fits is not None:
        for run in read.runs:
            run.in_fits = in_fits
    hashes = read.hashes()
    values = apply_given(given, read.runs)
    first, *_ = hashes
    origin = {
        "kind": MEASUREMENTS,
        "format": read.kind,
        "file": first,
        "sha256": hashes[first],
        "files": hashes,
        "runs": len(read.runs),
        "given": {key: list(texts) for key, texts in asdict(given).items() if texts},
    }
    origins = {run.id: {**origin, "given_here": values.get(run.id, {})} for run in read.runs}
    folder = root / name
    outcome = _outcome(folder, root, origin, read, replace, named)
    if outcome == "elsewhere":
        outcome, folder = "there", _copy(root, origin, folder) or folder
    return ImportedGroup(read, folder, origins, outcome)


def keep(group: ImportedGroup) -> None:
    """Write the runs of a group, all of them or none, in place of what was there. Nothing to do for those `there`.

    Raises `FvlmError` while another process imports into the same store.
    """
    if group.outcome == "there":
        return
    root, folder = group.folder.parent, group.folder
    work = root / WORK
    refuse_link(work, folder, *(work / part for part in ("new", "old")))
    work.mkdir(parents=True, exist_ok=True)
    with writing(work):
        new, old = work / "new" / folder.name, work / "old" / folder.name
        _clear(work, root)
        if group.outcome == "new" and folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is there now, and was not a moment ago: start again")
        try:
            _write_group(new, group)
            old.parent.mkdir()
            if folder.exists():
                folder.replace(old)
            new.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
            sync_folder(root)
        finally:
            _clear(work, root)


def _clear(work: Path, root: Path) -> None:
    """Put back what a kill left taken away, and clear away the rest."""
    for left in work.glob("old/*"):
        if not (root / left.name).exists():
            left.replace(root / left.name)
    for part in ("new", "old"):
        shutil.rmtree(work / part, ignore_errors=True)


def _write_group(to: Path, group: ImportedGroup) -> None:
    to.mkdir(parents=True)
    taken: set[str] = set()
    for order, run in enumerate(group.read.runs):
        place = to / _folder_name(run.id, taken)
        place.mkdir()
        _write_run(place, run, order, group)


def _outcome(
    folder: Path, root: Path, origin: Mapping[str, Any], read: Read, replace: bool, named: bool
) -> Literal["new", "replaced", "there", "elsewhere"]:
    there = list(_records(folder))
    if not there:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is there and holds no import: choose another name with --name NAME")
        copy = _copy(root, origin, folder)
        if copy is None:
            return "new"
        if named:
            raise UsageError(
                f"the same files are already imported as {copy.name}: twice in the store, they would count twice in "
                f"every fit. Use {copy.name}, or remove the folder {copy} first"
            )
        return "elsewhere"
    old = [record.get(IMPORTED, {}) for record in there]
    if any(of.get("kind") != MEASUREMENTS for of in old):
        raise UsageError(
            f"{folder} holds runs that were not imported from tables: choose another name with --name NAME"
        )
    if replace:
        return "replaced"
    was = old[0]
    way_out = "--replace puts this import in its place, --name NAME keeps both"
    if sorted(was["files"].values()) != sorted(origin["files"].values()):
        changed = [
            f"{file} (sha256 {digest[:12]}…, was {was['files'][file][:12]}…)"
            for file, digest in origin["files"].items()
            if was["files"].get(file, digest) != digest
        ]
        what = (
            f"changed since: {', '.join(changed)}"
            if changed
            else f"of other files: {', '.join(was['files'])}"
        )
        raise UsageError(f"{folder} holds an import {what}. {way_out}")
    in_fits = {run.id: run.in_fits for run in read.runs}
    if was["given"] != origin["given"] or any(
        record["in_fits"] != in_fits.get(record["id"]) for record in there
    ):
        raise UsageError(
            f"{folder} holds an import of the same files with other options: --replace puts this one in its place"
        )
    if len(there) < was["runs"]:
        raise UsageError(
            f"{folder} holds {len(there)} of the {was['runs']} runs of these files, the others were removed: "
            "--replace brings them back"
        )
    return "there"


def _copy(root: Path, origin: Mapping[str, Any], but: Path) -> Path | None:
    """The group of another name that holds the same files."""
    digests = sorted(origin["files"].values())
    for folder in sorted(root.glob("*/")):
        record = next(_records(folder), None) if folder != but else None
        of = (record or {}).get(IMPORTED, {})
        if of.get("kind") == MEASUREMENTS and sorted(of["files"].values()) == digests:
            return folder
    return None


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    return (read_json(file) for file in sorted(folder.glob(f"*/{RECIPE}")))


def _write_run(place: Path, run: MeasuredRun, order: int, group: ImportedGroup) -> None:
    origin = group.origins[run.id]
    with MetricsWriter(place / METRICS, run.id, 0) as metrics:
        for number, start in enumerate(run.starts):
            if number:
                metrics.attempt += 1
                metrics.write("attempt", step=start.from_step)
            for row in start.rows:
                metrics.write(**row)
    summary = _summary(run, origin)
    if summary:
        write_json(place / SUMMARY, summary)
    steps = (run.summary or {}).get("total_steps")
    record = {
        "id": run.id,
        "recipe": group.folder.name,
        "order": order,
        "seed": None,
        "size": run.size,
        "total_params": run.total_params,
        "schedule": run.schedule,
        "in_fits": run.in_fits,
        **({} if steps is None else {"steps": steps}),
        "flops_per_sample": None,
        "fvlm": fvlm_core.__version__,
        "data": {"train": [], "validation": []},
        IMPORTED: origin,
    }
    write_json(place / RECIPE, record)


def _summary(run: MeasuredRun, origin: Mapping[str, Any]) -> dict[str, Any]:
    """As the file has it. Where it has none: the best of the points, for people, and what was given."""
    if run.summary is not None:
        return run.summary
    losses = [(row["val_loss"], row["step"]) for row in run.evaluations if (row.get("val_loss") or 0) > 0]
    best = dict(zip(("best_val_loss", "best_val_step"), min(losses), strict=True)) if losses else {}
    identity = {"run_id": run.id, "model_size": run.size, "lr_schedule": run.schedule}
    if origin["given_here"].keys() - {"samples_per_step"}:
        return identity | {"total_params": run.total_params}
    return identity | {"total_params": None} | best | {DERIVED: True}


def _folder_name(run_id: str, taken: set[str]) -> str:
    """The id itself where it can be a folder on any system, and no other of the group is spelt like it; else a name
    like it."""
    name = run_id
    if not _NAME.fullmatch(run_id) or len(run_id) > 100 or run_id.lower() in taken:
        digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
        name = f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', run_id).strip('-._+')[:60] or 'run'}~{digest}"
    taken.add(name.lower())
    return name
