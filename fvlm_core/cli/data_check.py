"""`fvlm data check`: truncated, altered and missing shards, found before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.options import key_option
from fvlm_core.cli.path_types import RECIPE_OR_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fvlm_core.cli.data_named import Named, NamedData
    from fvlm_core.datasets.shards.check import Checked
    from fvlm_core.interfaces.data import Progress

SIDE = 224
"""Pixels that samples are decoded to."""


@click.command("check", cls=Command)
@click.argument("data", type=RECIPE_OR_PATH, metavar="FOLDER|RECIPE")
@key_option("settings", "key", "Change one key of the recipe, or of the shards.")
@click.option("--hash/--sizes", "hashes", default=True, show_default=True,
              help="SHA-256 of every file, or sizes alone, which is done at once.")  # fmt: skip
@click.option("--decode", is_flag=True, help="Decode every sample, too.")
def command(data: str, settings: tuple[str, ...], hashes: bool, decode: bool) -> None:
    """Check the shards below FOLDER, or the data of RECIPE, and name every file that is not whole (exit code 1).

    Packs are compared with their manifests. Tars without one are read header by header to their end, then listed: the
    samples that cannot be used are named, as the rows of a recipe's other sources are. -o tokenizer=FILE says what made
    the token ids of tars that hold no text.
    """
    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stdout
    from fvlm_core.cli.data_named import find_data
    from fvlm_core.utils.errors import FvlmError

    found: list[Checked] = []
    out = stdout()
    with Display(out, 0) as display:
        if Path(data).is_dir():
            shards = _shards(Path(data), settings)
            found += _folder(Path(data), hashes, display.work, shards)
            if decode:
                found.append(_decoded(shards, display.work))
        else:
            named = find_data(data, settings, _SPLITS)
            found += _named(named, hashes, display.work)
            if decode:
                found.append(_decoded(named.sources, display.work))
    wrong = dict.fromkeys(text for checked in found for text in checked.wrong)
    for checked in found:
        size = f", {checked.bytes / 1e6:,.1f} MB" if checked.bytes else ""
        files = f"{checked.files:,} files, " if checked.files else ""
        verdict = f"{len(checked.wrong):,} wrong" if checked.wrong else "whole"
        out.print(f"{files}{checked.samples:,} samples{size}: {verdict} by {checked.by}", soft_wrap=True)
    if wrong:
        raise FvlmError("\n".join(wrong))


_SPLITS = ("train", "validation")


def _folder(folder: Path, hashes: bool, progress: Progress, shards: Sequence[Named]) -> list[Checked]:
    """Packs by their manifests; other tars by their structure, and by the listing of the sources that read them."""
    from fvlm_core.datasets.shards.check import (
        Checked,
        check_pack,
        check_tars,
        shard_folders,
        unfinished_packs,
    )

    packs, others = shard_folders(folder)
    found = [check_pack(pack, hashes=hashes, progress=progress) for pack in packs]
    if others:
        found.append(check_tars(others, progress))
        if not packs and not found[-1].wrong:
            found += map(_listed, _by_source(shards))
    if unfinished := unfinished_packs(folder):
        found.append(Checked(0, 0, 0, tuple(unfinished), "its state"))
    return found


def _named(data: NamedData, hashes: bool, progress: Progress) -> list[Checked]:
    """Shards by their files; other sources by listing them."""
    from fvlm_core.datasets.shards.check import shard_folders
    from fvlm_core.utils.errors import UsageError

    found: list[Checked] = []
    folders: list[Path] = []
    for splits in _by_source(data.sources):
        path = getattr(splits[0].chosen.config, "path", None)
        if isinstance(path, Path) and path.is_dir():
            if path in folders:
                continue
            try:
                shard_folders(path)
            except UsageError:
                pass
            else:
                folders.append(path)
                found += _folder(path, hashes, progress, splits)
                continue
        found.append(_listed(splits))
    return found


def _by_source(every: Sequence[Named]) -> list[list[Named]]:
    """The splits of each source together, in the order of the first."""
    found: dict[str, list[Named]] = {}
    for named in every:
        found.setdefault(named.label, []).append(named)
    return list(found.values())


def _listed(splits: Sequence[Named]) -> Checked:
    """What a source names while it lists its samples: each once, though it may name the rows of all splits in each."""
    from fvlm_core.datasets.shards.check import Checked

    opened = [(named.split, named.open()) for named in splits]
    problems = tuple(dict.fromkeys(str(problem) for _, source in opened for problem in source.problems()))
    of = ", ".join(f"{len(source):,} {split}" for split, source in opened)
    samples = sum(len(source) for _, source in opened)
    return Checked(0, samples, 0, problems, f"the listing of {splits[0].label} ({of})")


def _shards(folder: Path, settings: tuple[str, ...]) -> list[Named]:
    """The packs below a folder, or its other shards, each as a whole."""
    from fvlm_core.cli.data_named import find_data
    from fvlm_core.datasets.shards.check import shard_folders

    packs, _ = shard_folders(folder)
    paths = [path.absolute() for path in packs or [folder]]
    every = [(f"path={path}", "holdout=0.0", *settings) for path in paths]
    return [named for one in every for named in find_data("shards", one, ("validation",)).sources]


def _decoded(sources: Sequence[Named], progress: Progress) -> Checked:
    from fvlm_core.datasets.shards.check import Checked, check_samples
    from fvlm_core.utils.errors import UsageError

    wrong: list[str] = []
    samples = 0
    for named in sources:
        try:
            source = named.open()
        except UsageError as error:
            wrong.append(str(error))
            continue
        source.prepare(progress)
        samples += len(source)
        wrong += check_samples(source, SIDE, progress)
    return Checked(0, samples, 0, tuple(dict.fromkeys(wrong)), "decoding")
