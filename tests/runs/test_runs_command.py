"""`fvlm runs list|show|rm|tag`: what is kept is shown as it is, quickly, and only what is meant is removed."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from coarse import coarse_figures
from filelock import FileLock
from imported import modules_of
from run_folders import validation, write_run
from tiny import run_cli

from fvlm_core.runs.index import INDEX
from fvlm_core.runs.listing import find_entries, list_entries
from fvlm_core.runs.removal import remove_run
from fvlm_core.runs.store import find_run
from fvlm_core.training.failure import failure_recorded
from fvlm_core.training.signals import Stopped
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.folder_lock import is_held, writing

pytestmark = pytest.mark.usefixtures("quick_fits")

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two recipes: one of three runs, one of which was stopped; one of a single small model."""
    root = tmp_path / "runs"
    write_run(root, "phase/baseline", 1.36, order=0)
    write_run(root, "phase/A1", 1.35, order=1, connector={"depth": "shallow"}, seed=43)
    write_run(root, "phase/A2", 1.40, order=2, steps=40)
    write_run(root, "other/tiny", None, size="7M")
    return root


@pytest.fixture
def cli(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("FVLM_RUNS", str(root))
    monkeypatch.setenv("TZ", "UTC")
    return lambda *arguments: run_cli(["runs", *arguments], monkeypatch, capsys)


def names(cli: Cli, *arguments: str) -> list[str]:
    code, out, err = cli("list", "--json", *arguments)
    assert code == 0, err
    return [run["run"] for run in json.loads(out)]


def test_a_line_a_run_with_what_it_reached(cli: Cli) -> None:
    code, out, _ = cli("list")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [line[0] for line in lines] == ["run", "other/tiny", "phase/baseline", "phase/A1", "phase/A2"]
    assert lines[1][1:4] == ["interrupted", "7M", "0/100"]
    assert lines[3][1:7] == ["complete", "135M", "1.3500", "100/100", "3,200", "43"]
    assert lines[4][1:6] == ["interrupted", "135M", "1.4000", "40/100", "1,280"]


def test_runs_are_found_by_pattern_recipe_state_tag_and_value(cli: Cli) -> None:
    assert cli("tag", "phase/A*", "paper")[0] == 0
    assert names(cli, "A*") == ["phase/A1", "phase/A2"]
    assert names(cli, "other/*", "baseline") == ["other/tiny", "phase/baseline"]
    assert names(cli, "--recipe", "oth*") == ["other/tiny"]
    assert names(cli, "--state", "complete", "--tag", "paper") == ["phase/A1"]
    assert names(cli, "--where", "size=7M") == names(cli, "--where", "size == '7M'") == ["other/tiny"]
    assert names(cli, "--where", "best_loss <= 1.36", "--where", "seed!=43") == ["phase/baseline"]
    assert names(cli, "--where", "model.connector.depth = shallow") == ["phase/A1"]
    assert names(cli, "--where", "total_params > 100M", "--where", "tags = paper") == ["phase/A1", "phase/A2"]
    assert names(cli, "--sort", "best") == ["phase/A1", "phase/baseline", "phase/A2", "other/tiny"]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("siz=135M", 'no run has "siz": did you mean "size"?'),
        ("model.connector.dept=deep", 'did you mean "model.connector.depth"?'),
        ("size", 'expected KEY OP VALUE, such as size=135M or "step >= 20k"'),
        ("step >=", '--where "step >=": expected a value after >=, got ""'),
        ("best_loss < low", 'best_loss is a number; got "low"'),
        ("size > 7M", "size is text; compare it with = or !="),
    ],
)
def test_a_condition_that_makes_no_sense_is_misuse(cli: Cli, condition: str, said: str) -> None:
    code, out, err = cli("list", "--where", condition)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("command", ["report", "watch", "runs show", "eval"])
def test_a_folder_that_is_no_run_is_told_what_to_give_instead(
    command: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_run(elsewhere, "phase/B1")
    (tmp_path / "empty").mkdir()
    for folder, said in (
        (elsewhere, f"a folder of 1 run, not a run; give --runs {elsewhere}"),
        (elsewhere / "phase", f"a folder of 1 run, not a run; give --runs {elsewhere} phase"),
        (tmp_path / "empty", "a folder without recipe.json, so no run; expected a run's folder or name; "
         "`fvlm runs list` shows those that are kept"),
    ):  # fmt: skip
        code, _, err = run_cli([*command.split(), str(folder), "--runs", str(root)], monkeypatch, capsys)
        assert (code, err) == (2, f"{folder}: {said}\n")


def test_json_and_csv_hold_every_field(cli: Cli) -> None:
    cli("tag", "phase/A1", "x", "a")
    runs = json.loads(cli("list", "--json")[1])
    rows = list(csv.DictReader(io.StringIO(cli("list", "--csv")[1])))
    assert [row["run"] for row in rows] == [run["run"] for run in runs]
    assert list(rows[0]) == list(runs[0])
    assert rows[2]["tags"] == "a x"
    assert runs[2] | {"written": 0} == {
        "run": "phase/A1", "folder": "phase/A1", "recipe": "phase", "id": "A1", "order": 1, "state": "complete",
        "size": "135M", "total_params": 157_310_976, "schedule": "constant", "seed": 43, "step": 100, "planned": 100,
        "samples": 3200, "best_loss": 1.35, "best_step": 100, "hours": 1.5, "frames": None,
        "tokens_per_frame": None, "in_fits": True, "tags": ["a", "x"],
        "problem": "", "written": 0,
    }  # fmt: skip


def test_an_empty_store_says_how_to_get_runs(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("list", "--runs", str(tmp_path / "none"))
    assert (code, out) == (0, "")
    assert "fvlm run quickstart" in err
    assert "none of the 4 runs" in cli("list", "nothing*")[2]


def test_the_listing_imports_nothing_heavy(root: Path) -> None:
    loaded = modules_of("runs", "list", "--runs", str(root))
    assert loaded.isdisjoint({"torch", "pandas", "numpy", "pyarrow", "rich", "fvlm_core.training"})


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    from fvlm_core.runs import listing

    real: Any = listing._read
    monkeypatch.setattr(listing, "_read", lambda folder, *rest: (read.append(folder), real(folder, *rest))[1])
    return read


def test_only_what_changed_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = count_reads(monkeypatch)
    first = list_entries(root)
    assert len(read) == 4
    read.clear()
    assert list_entries(root) == first
    assert read == []
    summary = json.loads((root / "phase" / "A2" / "summary.json").read_text())
    (root / "phase" / "A2" / "summary.json").write_text(json.dumps(summary | {"best_val_loss": 1.2}))
    assert list_entries(root)[3].best_loss == 1.2
    assert read == ["phase/A2"]


def test_a_file_replaced_within_a_tick_of_the_clock_is_noticed(root: Path) -> None:
    file = root / "phase" / "A1" / "summary.json"
    list_entries(root)
    before = file.stat()
    beside = file.with_name("beside")
    beside.write_text(file.read_text().replace("1.35", "1.25"))
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.replace(file)
    assert file.stat().st_size == before.st_size
    assert [entry.best_loss for entry in list_entries(root) if entry.id == "A1"] == [1.25]


def test_runs_that_come_and_go_are_noticed(root: Path) -> None:
    list_entries(root)
    write_run(root, "new/run")
    (root / "phase" / "A1" / "recipe.json").unlink()
    assert [entry.name for entry in list_entries(root)] == [
        "new/run",
        "other/tiny",
        "phase/baseline",
        "phase/A2",
    ]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"layout": "0", "crc32": 0}\n{}', b"\x00" * 100, b"cut", b"changed"]
)
def test_a_damaged_index_is_made_again(root: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list_entries(root)
    file = root / INDEX
    whole = file.read_bytes()
    assert b"1.35" in whole
    harmed = {b"cut": whole[:-40] + b"1" * 40, b"changed": whole.replace(b"1.35", b"1.25")}
    file.write_bytes(harmed.get(damage, damage))
    assert list_entries(root) == first
    read = count_reads(monkeypatch)
    assert list_entries(root) == first
    assert read == []


def test_a_store_that_cannot_be_written_to_is_listed_all_the_same(root: Path) -> None:
    (root / ".cache").write_text("a file where the folder would be")
    assert len(list_entries(root)) == 4


def test_two_listings_at_once_leave_a_whole_index(root: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fvlm_core.runs.listing import list_entries\n"
        "root = Path(sys.argv[1])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(20):\n"
        "    (root / '.cache' / 'index.sqlite3').unlink(missing_ok=True)\n"
        "    assert len(list_entries(root)) == 4"
    )
    command = [sys.executable, "-c", program, str(root)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:  # both have imported all: they list at the same time
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.close()
    assert [process.wait() for process in both] == [0, 0]
    assert [item.name for item in (root / ".cache").iterdir()] == ["index.sqlite3"]


def test_an_unreadable_run_is_listed_with_its_reason(root: Path, cli: Cli) -> None:
    (root / "phase" / "A1" / "recipe.json").write_text('{"id": "A1"')
    (root / "phase" / "A2" / "summary.json").write_text('{"best_val_loss": "low"}')
    code, out, err = cli("list", "--state", "unreadable")
    assert code == 0
    assert [line.split()[:-2] for line in out.splitlines()[1:]] == [
        ["phase/A1", "unreadable"],  # and no steps or samples: they are not known
        ["phase/A2", "unreadable"],
    ]
    assert "phase/A1: unreadable: recipe.json: JSONDecodeError" in err
    assert cli("show", "phase/A1")[0] == 2
    assert cli("compare", "phase/A1")[0] == 2


@pytest.mark.parametrize(
    "command",
    [
        ["export", "--to", "out"],
        ["fit", "--plot", "out.png"],
        ["report", "--out", "out.html"],
        ["suggest", "--target-budget", "1e12", "--budget", "1e12"],
        ["runs", "compare", "phase"],
    ],
)
def test_an_unreadable_run_is_named_and_passed_over_by_what_reads_the_whole_store(
    root: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "phase" / "A1" / "recipe.json").write_text("{}")
    monkeypatch.chdir(root.parent)
    coarse_figures(monkeypatch, 40)
    code, _, err = run_cli([*command, "--runs", str(root)], monkeypatch, capsys)
    assert ("passed over: phase/A1: " in err, "recipe.json: damaged: lacks id" in err) == (True, True), err
    assert "defect" not in err
    assert code == 0 or command[0] in ("fit", "suggest")  # too few runs are left for a law
    assert command[0] not in ("export", "report") or list(root.parent.glob("out*"))


def test_a_damaged_run_is_not_in_the_way_of_another_that_is_named(root: Path) -> None:
    (root / "phase" / "A1" / "recipe.json").write_text("{}")
    assert find_run("A2", root).id == find_run("phase/A2", root).id == "A2"
    with pytest.raises(FvlmError, match=r"A1/recipe\.json: damaged"):
        find_run("phase/A1", root)


def test_show_says_of_which_evaluation_the_losses_by_source_are(root: Path, cli: Cli) -> None:
    folder = write_run(root, "phase/A5", 1.3, curve=[(50, 2.0)])
    row = {"event_type": "eval", "step": 200, "val_loss": 1.7, "val_loss_by_source": {"clips": 1.7}}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**row, "attempt": 1}) + "\n")
    lines = [line.split() for line in cli("show", "phase/A5")[1].splitlines()]
    at = lines.index(["last", "validation", "1.7000", "at", "step", "200"])
    assert lines[at + 1] == ["clips", "1.7000"]


def test_a_run_that_is_being_written_is_running_and_is_not_removed(root: Path, cli: Cli) -> None:
    folder = root / "phase" / "A2"
    program = (
        "import sys; from pathlib import Path; from fvlm_core.utils.folder_lock import writing\n"
        "with writing(Path(sys.argv[1])):\n    print('mine', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        assert names(cli, "--state", "running") == ["phase/A2"]
        code, _, err = cli("rm", "--yes", "phase/A2", "phase/A1")
        assert code == 1
        assert f"is being written by process {owner.pid} on " in err
        assert (folder / "recipe.json").exists()
        assert not (root / "phase" / "A1").exists()  # the other one went
        owner.kill()
        owner.wait()
    assert names(cli, "--state", "running") == []  # the note of a killed owner is no lock
    assert (folder / ".owner.json").exists()


def test_looking_does_not_keep_a_trainer_out(root: Path) -> None:
    folder = root / "phase" / "A2"
    (folder / ".owner.json").write_text("{}")
    program = (
        "import sys; from pathlib import Path; from threading import Thread\n"
        "from fvlm_core.utils.folder_lock import is_held\n"
        "folder, looks, held = Path(sys.argv[1]), 0, 0\n"
        "end = Thread(target=sys.stdin.read); end.start()\n"
        "while end.is_alive():\n"
        "    held += is_held(folder); looks += 1\n"
        "    if looks == 1: print('looking', flush=True)\n"
        "print(looks, held)"
    )
    looking = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert looking.stdout is not None
    assert looking.stdout.readline() == "looking\n"
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        with writing(folder):
            pass
    looks, held = map(int, looking.communicate()[0].split())
    assert looks > 50
    assert held > 5, "the looker never came while the run was being written"
    assert not is_held(folder)


def test_a_trainer_waits_for_a_look_of_a_moment(root: Path) -> None:
    folder = root / "phase" / "A2"
    look = FileLock(folder / ".lock", thread_local=False)
    look.acquire()
    Timer(0.05, look.release).start()
    with writing(folder):
        assert not look.is_locked


def test_an_error_ends_a_run_as_failed_until_it_is_started_again(root: Path, cli: Cli) -> None:
    folder = root / "phase" / "A2"
    with pytest.raises(FvlmError), failure_recorded(folder):
        raise FvlmError("loss is not a number at step 41")
    code, out, err = cli("list", "--state", "failed")
    assert (code, out.splitlines()[1].split()[:2]) == (0, ["phase/A2", "failed"])
    assert "phase/A2: failed: loss is not a number at step 41" in err
    assert "failed: loss is not a number" in cli("show", "phase/A2")[1]
    with pytest.raises(Stopped), failure_recorded(folder):  # asked to stop: no failure
        raise Stopped(15)
    assert names(cli, "--state", "interrupted") == ["other/tiny", "phase/A2"]


def test_a_failed_training_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer import go, opened, small

    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    recipe = small(tmp_path, "training.steps=2", "eval.every=2")
    data = opened(recipe, tmp_path / "runs")

    def broken(*arguments: object, **options: object) -> None:
        raise FvlmError("the model cannot be made")

    with monkeypatch.context() as patched:
        patched.setattr("fvlm_core.execution.attempt.train", broken)
        with pytest.raises(FvlmError):
            go(recipe, tmp_path / "runs", data)
    (entry,) = list_entries(tmp_path / "runs")
    assert (entry.state, entry.problem) == ("failed", "the model cannot be made")
    go(recipe, tmp_path / "runs", data)
    (entry,) = list_entries(tmp_path / "runs")
    assert (entry.state, entry.problem, entry.step) == ("complete", "", 2)


def test_tags_are_put_on_and_taken_off(root: Path, cli: Cli) -> None:
    assert cli("tag", "phase", "paper", "v2")[1].splitlines()[1] == "phase/A1: paper v2"
    assert cli("tag", "A1", "paper", "--remove")[1] == "phase/A1: v2\n"
    assert names(cli, "--tag", "paper") == ["phase/baseline", "phase/A2"]
    code, _, err = cli("tag", "phase", "papr", "--remove")
    assert (code, err) == (2, 'phase has no tag "papr": did you mean "paper"?\n')
    assert cli("tag", "A1", "two words")[0] == 2
    cli("tag", "A1", "v2", "--remove")
    assert not (root / "phase" / "A1" / "tags.json").exists()


def test_a_name_that_fits_nothing_suggests_the_nearest(cli: Cli, root: Path) -> None:
    assert 'is called "phase/A3": did you mean "phase/A' in cli("show", "phase/A3")[2]
    assert cli("rm", "--yes", "phase/A3")[0] == 2
    write_run(root, "third/A1")
    code, _, err = cli("tag", "A1", "x")
    assert code == 2
    assert "is the name of several runs" in err


def test_show_tells_all_of_a_run(root: Path, cli: Cli) -> None:
    folder = write_run(
        root, "phase/A4", samples=validation(), curve=[(50, 2.0)], connector={"depth": "shallow"}
    )
    (folder / "checkpoints" / "step-00000100").mkdir(parents=True)
    (folder / "checkpoints" / "step-00000100" / "model.safetensors").write_bytes(bytes(3_000_000))
    (folder / "bad_samples.jsonl").write_text(
        '{"step": 3, "attempt": 1, "sample": "clips/x", "reason": "torn"}\n{"st'
    )
    change = {"key": "training.lr", "kind": "schedule", "from": 0.001, "to": 0.5}
    attempt = {
        "attempt": 2,
        "at": "2026-01-01",
        "host": "h",
        "device": "cpu",
        "torch": "2",
        "drift": [change],
    }
    (folder / "attempts.jsonl").write_text(json.dumps(attempt) + "\n")
    code, out, err = cli("show", "phase/A4")
    assert code == 0, err
    for text in (
        *("complete", "135M, 157,310,976 parameters", "model.connector.depth      shallow", "training.lr"),
        *(
            "validation  shapes  5 samples  f",
            "step       50  val 2.0000",
            "1:30:00",
            "2  2026-01-01  h  cpu",
        ),
        *("training.lr: 0.001 -> 0.5, at attempt 2, 2026-01-01", "clips/x: torn", "3.000 MB  checkpoints/"),
    ):
        assert text in out
    assert "training.threads" not in out
    assert "training.threads" in cli("show", "phase/A4", "--settings")[1]
    told = json.loads(cli("show", str(folder), "--json")[1])
    assert (told["run"], told["files"]["checkpoints/"], len(told["evaluations"])) == (
        "phase/A4",
        3_000_000,
        2,
    )


def test_show_of_a_run_with_the_least_of_a_record(root: Path, cli: Cli) -> None:
    write_run(root, "import/C1", 1.4, fingerprint=None, resolved=False)
    (root / "import" / "C1" / "metrics.jsonl").unlink()
    code, out, err = cli("show", "C1")
    assert (code, err) == (0, "")
    assert "best validation  1.4000" in out


def test_removing_asks_and_takes_no_for_an_answer(
    root: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, _ = cli("rm", "phase")
    assert code == 1
    assert "phase/A2  interrupted  step 40 of 100  best val 1.4000" in out
    assert "Remove 3 runs" in out
    assert len(list_entries(root)) == 4


def test_removing_takes_the_whole_folder_and_nothing_else(root: Path, cli: Cli) -> None:
    (root / "phase" / "scaling_fits.json").write_text("{}")
    assert cli("rm", "--yes", "phase")[0] == 0
    assert [entry.name for entry in list_entries(root)] == ["other/tiny"]
    assert [item.name for item in (root / "phase").iterdir()] == ["scaling_fits.json"]
    assert cli("rm", "--yes", "other/tiny")[0] == 0
    assert not (root / "other").exists()


def test_removing_checkpoints_keeps_the_record(root: Path, cli: Cli) -> None:
    folder = root / "phase" / "A1"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "weights").write_bytes(bytes(2_000_000))
    before = {item.name for item in folder.iterdir()}
    code, out, _ = cli("rm", "--yes", "--checkpoints", "A1")
    assert (code, out) == (0, "removed the checkpoints of phase/A1 (2.0 MB)\n")
    assert {item.name for item in folder.iterdir()} - {".lock"} == before - {"checkpoints"}
    assert names(cli, "A1", "--state", "complete") == ["phase/A1"]


def test_a_folder_is_removed_only_where_runs_of_the_store_are(root: Path, tmp_path: Path) -> None:
    outside = write_run(tmp_path / "elsewhere", "mine/precious")
    deeper = write_run(root / "phase", "A1/copy")
    for folder in (outside, deeper, root / "phase", root):
        with pytest.raises(UsageError, match="is no run of the store"):
            remove_run(folder, root)
    assert all((folder / "recipe.json").exists() for folder in (outside, deeper))
    remove_run(root / "phase" / "A2", root)
    assert not (root / "phase" / "A2").exists()


def test_nothing_outside_the_store_is_removed(root: Path, cli: Cli, tmp_path: Path) -> None:
    outside = write_run(tmp_path / "elsewhere", "mine/precious")
    (root / "phase" / "link").symlink_to(outside)
    (root / "linked").symlink_to(outside.parent)
    (root / "phase" / "A1" / "checkpoints").symlink_to(outside)
    for arguments in (
        ["linked/precious"],
        ["phase/link"],
        [str(outside)],
        ["mine/precious"],
        ["--checkpoints", "A1"],
    ):
        code, _, err = cli("rm", "--yes", *arguments)
        assert code in (1, 2), arguments
        assert err
    assert (outside / "recipe.json").exists()
    assert (outside / "metrics.jsonl").exists()
    (root / "phase" / "alias").symlink_to(
        root / "other" / "tiny"
    )  # nor what a link inside the store points to
    for alias in ("phase/alias", str(root / "phase" / "alias")):
        assert "is a link to" in cli("rm", "--yes", alias)[2]
    assert (root / "other" / "tiny" / "recipe.json").exists()
    (root / "phase" / "A1" / "link").symlink_to(outside)
    assert cli("rm", "--yes", "A1")[0] == 0  # a link inside a run goes, what it points to stays
    assert (outside / "recipe.json").exists()


def test_what_a_killed_removal_left_is_no_run_and_goes_with_the_next(root: Path, cli: Cli) -> None:
    bin_folder = root / "phase" / ".removed"
    bin_folder.mkdir()
    (root / "phase" / "A1").rename(bin_folder / "A1-1")
    from fvlm_core.runs.store import list_runs

    assert [run.id for run in list_runs(root)] == ["tiny", "baseline", "A2"]
    assert [entry.id for entry in list_entries(root)] == ["tiny", "baseline", "A2"]
    assert cli("rm", "--yes", "A2")[0] == 0
    assert not bin_folder.exists()


def test_names_mean_each_run_once_and_in_order(root: Path) -> None:
    found = find_entries(["phase/A2", "phase", str(root / "other" / "tiny")], root)
    assert [entry.id for entry in found] == ["A2", "baseline", "A1", "tiny"]


@pytest.mark.soak
def test_ten_thousand_runs_are_listed_in_a_second(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "recipe0/run0")
    texts = {name: (folder / name).read_text() for name in ("recipe.json", "summary.json")}
    for number in range(1, 10_000):
        folder = tmp_path / f"recipe{number // 100}" / f"run{number}"
        folder.mkdir(parents=True)
        for name, text in texts.items():
            (folder / name).write_text(text.replace('"run0"', f'"run{number}"'))
    list_entries(tmp_path)
    fvlm = Path(sys.executable).with_name("fvlm")
    seconds: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [fvlm, "runs", "list", "--runs", str(tmp_path)], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    print(f"CPU seconds, start-up included: {sorted(seconds)}")
    assert len(done.stdout.splitlines()) == 10_001
    assert sorted(seconds)[2] < 1.0  # of one thread: what it takes on a machine that does nothing else
