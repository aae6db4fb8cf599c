"""`fvlm data pack --parts`: the plan, one part, or all of them as jobs of a launcher."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

if TYPE_CHECKING:
    from fvlm_core.cli.data_named import Named, NamedData
    from fvlm_core.datasets.shards.parts import PackedPart, PartStatus
    from fvlm_core.datasets.shards.probe import Probe
    from fvlm_core.datasets.shards.settings import PackSettings
    from fvlm_core.interfaces.data import DataSource


@frozen
class PartsRequest:
    """What the options say of parts."""

    found: NamedData
    root: Path
    settings: PackSettings
    processes: int
    parts: int | None
    part: int | None
    launcher: str | None
    slots: int
    launch: tuple[str, ...]
    retries: int
    as_json: bool

    def answer(self, *, dry_run: bool) -> bool:
        """Do what is asked of parts; False where all is to be packed here in one go. Raises `UsageError`."""
        self._check(dry_run)
        if dry_run:
            self._plan()
        elif self.launcher:
            self._launch()
        elif self.part:
            self._pack_one()
        else:
            return False
        return True

    def _check(self, dry_run: bool) -> None:
        if self.as_json and not dry_run:
            raise click.UsageError("--json: only with --dry-run")
        if self.parts is None and (self.part or self.launcher):
            raise click.UsageError("--part, --launcher: only with --parts N")
        if self.launcher is None and (self.slots > 1 or self.launch):
            raise click.UsageError("--slots, -l: only with --launcher NAME")
        if self.part and (self.launcher or dry_run):
            raise click.UsageError("--part packs one part here; expected without --launcher and --dry-run")
        if self.parts and not (self.part or self.launcher or dry_run):
            raise click.UsageError(
                f"--parts {self.parts}: expected --part K for one of them, --launcher NAME for all, or --dry-run"
            )

    def _pack_one(self) -> None:
        from fvlm_core.api.views.display import Display
        from fvlm_core.cli.console import stdout
        from fvlm_core.cli.data_named import data_folder
        from fvlm_core.datasets.shards.pack import Packed, origin_of
        from fvlm_core.datasets.shards.parts import Part, pack_part

        assert self.part
        assert self.parts
        part = Part(self.part, self.parts)
        done: list[PackedPart | Packed] = []
        with Display(stdout(), 0) as display:
            chat = self.found.chat()
            for named in self.found.sources:
                source = _prepared(named, display.work)
                done.append(
                    pack_part(
                        source,
                        origin_of(named.chosen, named.split),
                        data_folder(self.root, named),
                        self.settings,
                        part,
                        chat=chat,
                        processes=self.processes or cores(),
                        progress=display.work,
                    )
                )
        for one in done:
            text = f"{one.folder}: already complete"
            if not isinstance(one, Packed):
                text = (
                    f"{one.folder}: {one.part}: {one.shards:,} shards ({one.made:,} made now, the others as they were "
                    f"written), {one.samples:,} samples, {one.bytes / 1e6:,.1f} MB, {one.skipped:,} skipped"
                )
            stdout().print(text, soft_wrap=True)
        stdout().print(f"once all {self.parts} are there: fvlm data join {self.root}", soft_wrap=True)

    def _plan(self) -> None:
        from fvlm_core.api.views.display import Display
        from fvlm_core.cli.console import print_json, stderr, stdout
        from fvlm_core.cli.data_named import data_folder
        from fvlm_core.datasets.shards.parts import Part, part_status
        from fvlm_core.datasets.shards.probe import probe

        probes: list[tuple[Path, Probe]] = []
        status: list[tuple[Path, PartStatus]] = []
        with Display(stderr() if self.as_json else stdout(), 0) as display:
            chat = self.found.chat()
            for named in self.found.sources:
                source = _prepared(named, display.work)
                folder = data_folder(self.root, named)
                probes.append((folder, probe(source, self.settings, chat, display.work)))
                shards = -(-len(source) // self.settings.samples)
                status += [
                    (folder, part_status(folder, Part(number, self.parts), shards))
                    for number in range(1, (self.parts or 0) + 1)
                    if self.parts
                ]
        workers = self.slots * (self.processes or cores())
        if self.as_json:
            print_json(_plan_json(probes, status, workers))
        else:
            _print_plan(probes, status, workers, self.parts)

    def _launch(self) -> None:
        from fvlm_core.api.views.display import Display
        from fvlm_core.cli.console import stderr, stdout
        from fvlm_core.cli.data_named import data_folder
        from fvlm_core.cli.data_pack_view import show_packs
        from fvlm_core.cli.launch_view import failures_text
        from fvlm_core.datasets.shards.manifest import MANIFEST
        from fvlm_core.datasets.shards.parts import join_parts
        from fvlm_core.execution.grid import open_launcher
        from fvlm_core.execution.pack_parts import PackInParts, Stragglers
        from fvlm_core.execution.scheduler import Pool, RetryPolicy
        from fvlm_core.recipes.read import read_launcher
        from fvlm_core.training.signals import Stopped, StopRequest
        from fvlm_core.utils.errors import FvlmError

        assert self.parts
        assert self.launcher
        launcher = open_launcher(read_launcher(self.launcher, self.launch), self.slots)
        if launcher.processes > 1:
            raise click.UsageError("--launcher: packing takes no torchrun; expected without processes")
        launcher.open()
        packs: list[tuple[str, Path, int]] = []
        with Display(stderr(), 0) as display:
            for named in self.found.sources:  # prepared once, before all parts look at it
                source = _prepared(named, display.work)
                folder = data_folder(self.root, named)
                if not (folder / MANIFEST).exists():
                    packs.append((named.label, folder, -(-len(source) // self.settings.samples)))
        share = (
            () if self.processes or launcher.detached else ("--processes", str(max(1, cores() // self.slots)))
        )
        whole = PackInParts(
            self.root,
            tuple((folder, shards) for _, folder, shards in packs),
            self.parts,
            (*_same_command(sys.argv[1:]), *share),
        )
        missing = whole.missing()
        watcher = Stragglers(lambda text: stdout().print(text, soft_wrap=True))
        if len(missing) < self.parts:
            stdout().print(f"{self.parts - len(missing):,} of {self.parts:,} parts are whole")
        with StopRequest(30.0) as stop:
            pool = Pool(missing, launcher, RetryPolicy(self.slots, self.retries), whole.job, watcher)
            pool.run(lambda: stop.number is not None)
            number = stop.number
        failed = [entry for entry in missing if entry.state == "failed"]
        if failed:
            stderr().print(failures_text(failed), soft_wrap=True)
        if number is not None and any(entry.state == "stopped" for entry in missing):
            raise Stopped(number)
        if failed:
            raise FvlmError(
                f"{len(failed)} of {self.parts} parts failed; the same command makes what they lack"
            )
        labels = {data_folder(self.root, named): named.label for named in self.found.sources}
        with Display(stderr(), 0) as display:
            joined = [
                (label, join_parts(folder, hashes=False, progress=display.work))
                for folder, label in labels.items()
            ]
        show_packs(joined, self.root)


def cores() -> int:
    """Of this process: those that SLURM gave it, else those that it may use."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_OURS = {"--launcher": 1, "--slots": 1, "-l": 1, "--retries": 1}


def _same_command(arguments: list[str]) -> tuple[str, ...]:
    """This command line without the options that launch."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        short = argument.startswith("-l") and not argument.startswith("--") and argument != "-l"
        if name in _OURS or short:
            if not equals and not short:
                next(rest, None)
            continue
        kept.append(argument)
    return tuple(kept)


def _prepared(named: Named, progress: Any) -> DataSource:
    source = named.open()
    source.prepare(progress)
    return source


def _plan_json(
    probes: list[tuple[Path, Probe]], status: list[tuple[Path, PartStatus]], workers: int
) -> dict[str, Any]:
    return {
        "packs": [
            {
                "folder": str(folder),
                "samples": one.samples,
                "probed": one.probed,
                "skipped_of_probed": one.skipped,
                "seconds_per_sample": one.seconds.mean,
                "seconds_error": _finite(one.seconds.error),
                "bytes_per_sample": one.bytes.mean,
                "bytes_error": _finite(one.bytes.error),
                "core_hours": one.samples * one.seconds.mean / 3600,
                "hours": one.samples * one.seconds.mean / 3600 / workers,
                "bytes": round(one.samples * one.bytes.mean),
            }
            for folder, one in probes
        ],
        "processes": workers,
        "parts": [
            {
                "folder": str(folder),
                "part": one.part.number,
                "of": one.part.of,
                "state": one.state,
                "shards": one.shards,
                "lacking": list(one.lacking),
                "by": one.by,
            }
            for folder, one in status
        ],
    }


def _finite(value: float) -> float | None:
    return value if value != float("inf") else None


def _print_plan(
    probes: list[tuple[Path, Probe]], status: list[tuple[Path, PartStatus]], workers: int, parts: int | None
) -> None:
    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table, stdout

    numbers = ("samples", "ms a sample", "core hours", "hours", "kB a sample", "GB")
    table = new_table("pack", *numbers, right=numbers)
    for folder, one in probes:
        hours = one.samples * one.seconds.mean / 3600
        table.add_row(
            str(folder),
            f"{one.samples:,}",
            _with_error(1e3 * one.seconds.mean, 1e3 * one.seconds.error),
            f"{hours:,.2f}",
            f"{hours / workers:,.2f}",
            _with_error(one.bytes.mean / 1e3, one.bytes.error / 1e3),
            f"{one.samples * one.bytes.mean / 1e9:,.2f}",
        )
    print_table(table)
    probed, skipped = (sum(getattr(one, name) for _, one in probes) for name in ("probed", "skipped"))
    out = stdout()
    out.print(
        f"from {probed:,} samples, evenly spaced, packed by one process ({skipped:,} of them cannot be); hours of "
        f"{workers:,} processes at once",
        soft_wrap=True,
    )
    if not parts:
        return
    states = [one.state for _, one in status]
    counts = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
    out.print(f"{parts:,} parts of {len(probes):,} packs: {counts}", soft_wrap=True)
    for folder, one in status:
        if one.state in ("begun", "under way"):
            out.print(f"  {folder}: {one}", soft_wrap=True)


def _with_error(mean: float, error: float) -> str:
    return f"{mean:,.1f}" if error == float("inf") else f"{mean:,.1f} ± {error:,.1f}"
