"""What the paths of an import mean: an export folder, single tables, or a folder of raw metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from fvlm_core.interchange.charts import KIND, from_wandb, runs_of_chart
from fvlm_core.interchange.export_tables import POINTS, SUMMARIES
from fvlm_core.interchange.exported import POINTS_FORMAT, SUMMARIES_FORMAT, runs_of_tables
from fvlm_core.interchange.measured import MeasuredRun
from fvlm_core.interchange.raw import METRICS_FILES, RAW_FORMAT, SUMMARY_FILES, natural, runs_of_metrics
from fvlm_core.interchange.table import Format, ImportedTable, choose_format, open_sheet, read_table
from fvlm_core.scaling.points.dialect import Decimal
from fvlm_core.scaling.points.in_fits import marks_beside
from fvlm_core.utils.atomic_files import sha256
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed

FORMATS = (POINTS_FORMAT, SUMMARIES_FORMAT, RAW_FORMAT)


@frozen
class ImportSource:
    """What is imported together. name: of the group in the store. files: in the order in which they are read."""

    name: str
    files: tuple[Path, ...]

    def hashes(self) -> dict[str, str]:
        """The SHA-256 of every file, by its name (with its folder where two have one name)."""
        names = [file.name for file in self.files]
        return {
            file.name if names.count(file.name) == 1 else f"{file.parent.name}/{file.name}": sha256(file)
            for file in self.files
        }


@frozen
class Read:
    """The runs of a source. kind: of its files, in words. remarks: what people should know. marks: the file beside them
    that says which runs are no fit points."""

    source: ImportSource
    kind: str
    runs: list[MeasuredRun]
    remarks: list[str] = field(factory=list[str])
    marks: Path | None = None

    def hashes(self) -> dict[str, str]:
        """The SHA-256 of every file that was read, by its name."""
        marks = {self.marks.name: sha256(self.marks)} if self.marks else {}
        return self.source.hashes() | marks


def find_sources(paths: Sequence[Path], name: str | None = None) -> list[ImportSource]:
    """What paths mean: every folder an import of its own, single files one together. Raises `UsageError`.

    name: of the group; None names it after the folder, or the file.
    """
    sources: list[ImportSource] = []
    loose: list[Path] = []
    for path in paths:
        if path.is_dir():
            sources.append(ImportSource(name or _plain(path.resolve().name), _in_folder(path)))
        elif path.is_file():
            loose.append(path)
        else:
            raise UsageError(f"{path}: there is no such file or folder")
    if loose:
        first = loose[0].resolve()
        stem = first.parent.name if first.name in (POINTS, SUMMARIES) else first.stem
        sources.append(ImportSource(name or _plain(stem), tuple(loose)))
    if name and len(sources) > 1:
        raise UsageError(
            f"--name {name} is for one import, and these paths are {len(sources)}: import them one by one"
        )
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f'two of these paths would be called "{twice}": import them one by one, with --name')
    return sources


def read_source(source: ImportSource, decimal: Decimal = "") -> Read:
    """All files of a source as runs. decimal: the mark of decimals, where a user says it. Raises `Problems` or
    `UsageError`, naming file, line and column."""
    remarks: list[str] = []
    tables: dict[str, list[ImportedTable]] = {of.name: [] for of in FORMATS}
    jsons = [file for file in source.files if file.suffix.lower() == ".json"]
    for file in source.files:
        if file in jsons:
            continue
        sheet = open_sheet(file, decimal)
        if from_wandb(sheet):
            if len(source.files) > 1:
                raise UsageError(f"{_listed(source.files)}: a W&B chart among others: import them one by one")
            return Read(source, KIND, runs_of_chart(sheet, remarks), remarks)
        of = choose_format(sheet, _expected(file))
        table = read_table(sheet, of, may_be_torn=of is RAW_FORMAT)
        if table.extras:
            kept = listed(table.extras)
            remarks.append(f"{file}: columns that are kept in the record and not exported: {kept}")
        remarks += table.remarks
        tables[of.name].append(table)
    points, summaries, raw = (tables[of.name] for of in FORMATS)
    if (raw or jsons) and (points or summaries):
        raise UsageError(
            f"{_listed(source.files)}: tables of an export and raw metrics: import them one by one"
        )
    if raw or jsons:
        kind, runs = "raw metrics", runs_of_metrics(raw, jsons, remarks)
    else:
        for of in (points, summaries):
            if len(of) > 1:
                files = _listed([table.file for table in of])
                raise UsageError(f"{files}: several tables of {of[0].format.name}: import them one by one")
        kind = " and ".join(table.format.name for table in (*points, *summaries))
        runs = runs_of_tables(next(iter(points), None), next(iter(summaries), None), remarks)
    if not runs:
        raise UsageError(f"{_listed(source.files)}: no data below the header")
    marks = marks_beside(source.files[0])
    controls = set(marks.controls([run.id for run in runs]))
    for run in runs:
        run.in_fits = run.id not in controls
    return Read(source, kind, runs, remarks, marks.file)


def _expected(file: Path) -> Sequence[Format]:
    """By its name, a file of an export can only be one of them."""
    named = {POINTS: POINTS_FORMAT, SUMMARIES: SUMMARIES_FORMAT}
    return (named[file.name],) if file.name in named else FORMATS


def _in_folder(folder: Path) -> tuple[Path, ...]:
    exported = [folder / name for name in (POINTS, SUMMARIES) if (folder / name).is_file()]
    raw = sorted((path for path in folder.rglob(METRICS_FILES) if path.is_file()), key=natural)
    raw += sorted(path for path in folder.rglob(SUMMARY_FILES) if path.is_file())
    if exported and raw:
        raise UsageError(
            f"{folder}: holds {_listed(exported, short=True)} of an export and raw metrics "
            f"({_listed(raw, short=True)}): name the files that are meant"
        )
    if not exported and not raw:
        there = sorted(path.name for path in folder.iterdir())
        found = f"; found {listed(there)}" if there else "; it is empty"
        raise UsageError(
            f"{folder}: nothing to import: expected {POINTS} or {SUMMARIES} of an export, or {METRICS_FILES} and "
            f"{SUMMARY_FILES} of raw metrics{found}"
        )
    return tuple(exported or raw)


def _listed(files: Sequence[Path], *, short: bool = False) -> str:
    names = [file.name if short else str(file) for file in files]
    return listed(names, 3)


def _plain(name: str) -> str:
    """A name that a recipe could have."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-._+")
    return plain or "measurements"
