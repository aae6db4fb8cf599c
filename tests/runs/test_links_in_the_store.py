"""A link in a store leads nothing of ours elsewhere: what is written, moved or removed stays below the store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from run_folders import write_run
from tiny import RECIPE, run_cli

from fvlm_core.recipes.read import read_recipe
from fvlm_core.runs.listing import list_entries
from fvlm_core.runs.per_sample_loss import write_scored
from fvlm_core.runs.removal import REMOVED
from fvlm_core.scaling.points.points_from_runs import stored_runs
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import UsageError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    return folder


def untouched(outside: Path) -> bool:
    return {file.name: file.read_text() for file in outside.iterdir()} == {"mine.txt": "mine"}


@pytest.mark.parametrize("arguments", [["a"], ["--checkpoints", "a"]])
def test_what_is_removed_is_not_moved_through_a_link(
    arguments: list[str],
    outside: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_run(tmp_path / "runs", "p/a")
    (folder / "checkpoints").mkdir()
    (folder.parent / REMOVED).symlink_to(outside)
    command = ["runs", "rm", "--yes", *arguments, "--runs", str(tmp_path / "runs")]
    code, _, err = run_cli(command, monkeypatch, capsys)
    assert (code, "is a link to" in err, "defect" in err) == (1, True, False)
    assert untouched(outside)
    assert (folder / "checkpoints").is_dir()
    (folder.parent / REMOVED).unlink()
    assert run_cli(command, monkeypatch, capsys)[0] == 0
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("linked", ["tiny", "tiny/tiny", "tiny/tiny/checkpoints"])
def test_no_run_is_trained_through_a_link(
    linked: str, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fvlm_core.execution.sequential import _begin  # pyright: ignore[reportPrivateUsage]
    from fvlm_core.runs.checkpoint import Checkpoint, save_checkpoint

    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe = read_recipe(str(tmp_path / "tiny.toml"))
    place = tmp_path / "runs" / linked
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)

    def begin() -> None:
        if linked.endswith("checkpoints"):
            save_checkpoint(place, Checkpoint({}, {}, {"step": 1}))
        else:
            with ExitStack() as held:
                _begin(recipe, recipe.runs[0], tmp_path / "runs", {}, held)

    with pytest.raises(UsageError, match="is a link to"):
        begin()
    assert untouched(outside)


def test_what_is_kept_beside_the_runs_is_not_written_through_a_link(outside: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for number in range(30):
        write_run(root, f"p/r{number}", steps=2)
    (root / ".cache").symlink_to(outside)
    assert len(list_entries(root)) == 30
    assert len(stored_runs(root)) == 30
    (root / "p/r0/validation").symlink_to(outside)
    with pytest.raises(UsageError, match="is a link to"):
        write_scored(root / "p/r0", 1, [], None)
    (root / "p/r1/tags.json").symlink_to(outside / "mine.txt")
    write_json(root / "p/r1/tags.json", {"tags": ["a"]})
    assert untouched(outside)
