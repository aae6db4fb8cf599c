"""Packs in parts: each by itself, the whole as in one go, and only what is lost made again."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import warm
from fvlm_clips.config import Clips
from fvlm_clips.source import build as build_clips
from hypothesis import given
from hypothesis import strategies as st
from million import Million
from tiny import run_cli
from videos import write_video

from fvlm_core.datasets.shards.pack import Packed, pack
from fvlm_core.datasets.shards.parts import PackedPart, Part, join_parts, pack_part, part_status
from fvlm_core.datasets.shards.probe import probe
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.execution.pack_parts import PackInParts, PartEntry, Stragglers
from fvlm_core.execution.scheduler import Pool, RetryPolicy
from fvlm_core.interfaces.data import DataSource
from fvlm_core.interfaces.launcher import Ended, Job, Launcher, Task
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.folder_lock import writing

CLIPS, PARTS = 13, 3
SETTINGS = PackSettings(size=32, samples=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        path = write_video(folder / f"{number:02d}.mp4", 20, fps=10, width=48, height=48)
        path.with_suffix(".txt").write_text(f"caption {number}\n")
    (folder / "zz_trap.mp4").write_bytes(b"<!DOCTYPE html>")
    (folder / "zz_trap.txt").write_text("a page")
    return folder


def source(clips: Path) -> DataSource:
    return build_clips(Clips(path=clips, holdout=0), "train")


def part(clips: Path, folder: Path, number: int, of: int = PARTS) -> PackedPart | Packed:
    return pack_part(source(clips), {}, folder, SETTINGS, Part(number, of))


def files(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.is_file()
    }


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole") / "pack"
    pack(source(clips), {}, folder, SETTINGS)
    return files(folder)


@pytest.fixture(scope="module")
def parts(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three, not joined."""
    folder = tmp_path_factory.mktemp("parts") / "pack"
    for number in (3, 1, 2):
        assert isinstance(part(clips, folder, number), PackedPart)
    return folder


@given(shards=st.integers(0, 200), of=st.integers(1, 70))
def test_every_shard_is_in_one_part_and_parts_are_as_even_as_they_can_be(shards: int, of: int) -> None:
    ranges = [Part(number, of).shards(shards) for number in range(1, of + 1)]
    assert [number for each in ranges for number in each] == list(range(shards))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


def test_joined_parts_are_byte_for_byte_the_pack_made_in_one_go(
    parts: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(parts, tmp_path / "pack"))
    join_parts(folder)
    assert files(folder) == whole
    assert not (folder / ".packing").exists()
    assert join_parts(folder).already


def test_parts_made_in_folders_of_their_own_are_joined_in_one(
    clips: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    for number in range(1, 6):
        part(clips, tmp_path / f"node{number}", number, 5)
        shutil.copytree(tmp_path / f"node{number}", tmp_path / "all", dirs_exist_ok=True)
    join_parts(tmp_path / "all")
    assert files(tmp_path / "all") == whole


@pytest.mark.parametrize("how", ["shard gone", "shard altered", "report gone", "index altered", "shard cut"])
def test_a_lost_part_is_named_and_only_it_is_made_again(
    how: str, clips: Path, parts: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(parts, tmp_path / "pack"))
    shard, report, index = (
        folder / "shard-000003.tar", folder / ".packing" / "000003.json", folder / ".packing" / "000003.arrow",
    )  # fmt: skip
    if how.endswith("gone"):
        (shard if "shard" in how else report).unlink()
    elif how == "shard cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        file = shard if "shard" in how else index
        content = bytearray(file.read_bytes())
        content[700] ^= 1
        file.write_bytes(content)
    with pytest.raises(FvlmError, match=r"1 of 3 parts are not whole") as error:
        join_parts(folder)
    assert re.findall(r"part (\d) of 3: 1 of \d shards .*: (\d+)", str(error.value)) == [("2", "000003")]
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.tar")}
    made = part(clips, folder, 2)
    assert isinstance(made, PackedPart)
    assert made.made == 1
    after = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.tar")}
    assert [name for name in after if after[name] != before.get(name)] == ["shard-000003.tar"]
    join_parts(folder)
    assert files(folder) == whole


def test_packing_in_one_go_finishes_what_parts_began(
    clips: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    part(clips, tmp_path / "pack", 2)
    begun = (tmp_path / "pack" / "shard-000003.tar").stat().st_mtime_ns
    pack(source(clips), {}, tmp_path / "pack", SETTINGS)
    assert files(tmp_path / "pack") == whole
    assert (tmp_path / "pack" / "shard-000003.tar").stat().st_mtime_ns == begun
    assert isinstance(part(clips, tmp_path / "pack", 1), Packed)


def test_parts_of_another_number_or_of_other_settings_are_refused(clips: Path, tmp_path: Path) -> None:
    part(clips, tmp_path / "pack", 1)
    with pytest.raises(UsageError, match="made in 3 parts, not 4: give --parts 3"):
        part(clips, tmp_path / "pack", 1, 4)
    with pytest.raises(UsageError, match=r"settings\.quality: 90 -> 80"):
        pack_part(
            source(clips), {}, tmp_path / "pack", PackSettings(size=32, samples=2, quality=80), Part(2, PARTS)
        )
    with pytest.raises(UsageError, match="expected 1 to 3"):
        Part(4, 3)


def test_one_process_makes_a_part_and_none_all_of_it_meanwhile(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    part(clips, folder, 1)
    with writing(folder / ".packing" / "parts" / "00001"):
        with pytest.raises(FvlmError, match="is being written by process"):
            part(clips, folder, 1)
        assert part_status(folder, Part(1, PARTS), 7).state == "done"
        with pytest.raises(FvlmError, match="part 1 is being written by process"):
            pack(source(clips), {}, folder, SETTINGS)
        with pytest.raises(FvlmError, match="part 1 is being written by process"):
            join_parts(folder)
        part(clips, folder, 2)
    with (
        writing(folder / ".packing"),
        pytest.raises(FvlmError, match="all of it is being packed, or joined, by process"),
    ):
        part(clips, folder, 3)


def test_the_commands_plan_pack_and_join(
    clips: Path,
    whole: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    line = ["data", "pack", "clips", "-o", f"path={clips}", "-o", "holdout=0.0", "--size", "32", "--samples", "2",
            "--split", "train", "--to", str(tmp_path), "--processes", "1"]  # fmt: skip
    folder = tmp_path / "clips" / "train"

    def run(*more: str) -> tuple[int, str, str]:
        return run_cli([*line, *more], monkeypatch, capsys)

    code, out, _ = run("--parts", "3", "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    (one,) = plan["packs"]
    assert one["samples"] == one["probed"] == CLIPS + 1
    assert one["skipped_of_probed"] == 1
    assert not folder.exists()
    assert [each["state"] for each in plan["parts"]] == ["not begun"] * 3

    assert run("--parts", "3", "--part", "1")[0] == 0
    code, out, _ = run("--parts", "3", "--dry-run")
    assert "1 done, 2 not begun" in out
    code, _, err = run_cli(["data", "join", str(tmp_path)], monkeypatch, capsys)
    assert code == 1
    assert "part 2 of 3, not begun" in err
    for number in ("2", "3"):
        code, out, _ = run("--parts", "3", "--part", number)
        assert code == 0
        assert f"fvlm data join {tmp_path}" in out
    code, out, _ = run_cli(["data", "join", str(tmp_path)], monkeypatch, capsys)
    assert code == 0
    made = files(folder)
    assert {name: made[name] for name in made if name.endswith((".tar", ".arrow"))} == {
        name: whole[name] for name in whole if name.endswith((".tar", ".arrow"))
    }
    # What was packed says how well the plan foresaw it.
    size = sum(file.stat().st_size for file in folder.glob("*.tar"))
    assert one["bytes"] == pytest.approx(size, rel=0.25)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--part", "1"], "only with --parts N"),
        (["--parts", "3"], "expected --part K for one of them, --launcher NAME for all, or --dry-run"),
        (["--parts", "3", "--part", "4"], "--part 4: expected 1 to 3"),
        (["--slots", "2"], "only with --launcher NAME"),
        (["--json"], "--json: only with --dry-run"),
        (["--parts", "3", "--part", "1", "--launcher", "local"], "packs one part here"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    options: list[str], why: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    line = ["data", "pack", "clips", "-o", f"path={clips}", "--to", str(tmp_path / "to"), *options]
    code, out, err = run_cli(line, monkeypatch, capsys)
    assert code == 2
    assert why in " ".join((out + err).split())
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("plain", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["warm", "plain"])
def test_a_launcher_packs_the_parts_and_one_that_is_killed_is_started_again(
    plain: bool,
    clips: Path,
    whole: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    if not plain:
        monkeypatch.setattr("fvlm_core.execution.pack_parts.sys", SimpleNamespace(executable=warm.python()))
    folder = tmp_path / "to" / "clips" / "train"
    killed: list[int] = []

    def kill_one() -> None:
        """As soon as it has begun, once."""
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            for owner in folder.glob(".packing/parts/00002/.owner.json"):
                try:
                    pid = int(json.loads(owner.read_text())["pid"])
                    psutil.Process(pid).kill()
                    killed.append(pid)
                except (OSError, ValueError, psutil.Error):
                    continue
            time.sleep(0.002)

    killer = threading.Thread(target=kill_one)
    killer.start()
    line = ["data", "pack", "clips", "-o", f"path={clips}", "-o", "holdout=0.0", "--size", "32", "--samples", "2",
            "--split", "train", "--to", "to", "--parts", "3", "--launcher", "local", "--slots=2"]  # fmt: skip
    code, out, err = run_cli(line, monkeypatch, capsys)
    killer.join()
    assert code == 0, out + err
    assert killed
    assert re.search(r"part 2 of 3: ended by SIGKILL; \d shards are missing, and are made next", out)
    assert re.search(r"part 2 of 3: started: slot \d, start 2", out)
    made = files(folder)
    assert {name: made[name] for name in made if name.endswith((".tar", ".arrow"))} == {
        name: whole[name] for name in whole if name.endswith((".tar", ".arrow"))
    }


def test_a_million_rows_are_planned_in_seconds(tmp_path: Path) -> None:
    begun = time.process_time()
    made = probe(Million(), PackSettings(size=32))
    states = [part_status(tmp_path, Part(number, 64), 1000) for number in range(1, 65)]
    assert time.process_time() - begun < 20
    assert (made.samples, made.probed, made.skipped) == (1_000_000, 24, 0)
    assert made.seconds.mean > 0
    assert sum(state.shards for state in states) == 1000


class Scripted(Launcher):
    """Its starts of a part end well at the look of this number; the part is then whole."""

    every = 0.001

    def __init__(self, ends: dict[int, int]) -> None:
        self.ends = ends
        self.started: list[int] = []
        self.whole: set[int] = set()

    def start(self, job: Job, slot: int) -> Task:
        number = int(job.name.rpartition("-")[2])
        self.started.append(number)
        return ScriptedTask(self, number)


class ScriptedTask(Task):
    place = "nowhere"

    def __init__(self, launcher: Scripted, number: int) -> None:
        self.launcher, self.number, self.left = launcher, number, launcher.ends.get(number, 2)

    def poll(self) -> Ended | None:
        self.left -= 1
        if self.left > 0:
            return None
        self.launcher.whole.add(self.number)
        return Ended(0)

    def stop(self) -> None: ...
    def kill(self) -> None: ...


def over_slots(launcher: Scripted, folder: Path, parts: int) -> tuple[list[PartEntry], list[str]]:
    """What became of the parts of one pack, each of two shards, over two slots, and what was said."""

    class Whole(PackInParts):
        def lacking(self, part: Part) -> int:
            return 0 if part.number in launcher.whole else 2

    said: list[str] = []
    whole = Whole(folder, ((folder / "pack", 2 * parts),), parts, ())
    entries = whole.missing()
    Pool(entries, launcher, RetryPolicy(2, 1), whole.job, Stragglers(said.append)).run(lambda: False)
    return entries, said


def test_a_straggler_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvlm_core.execution.pack_parts._LOOK", 0.02)
    entries, said = over_slots(Scripted({5: 200}), tmp_path, 5)
    assert {entry.state for entry in entries} == {"complete"}
    assert len([text for text in said if "straggles" in text]) == 1
    assert any(text.startswith("part 5 of 5: straggles") and "2 shards are missing" in text for text in said)


def test_a_part_that_somebody_else_makes_is_waited_for_and_not_started(tmp_path: Path) -> None:
    own = tmp_path / "pack" / ".packing" / "parts" / "00002"
    own.mkdir(parents=True)
    launcher = Scripted({})
    begun = threading.Event()

    def make() -> None:
        with writing(own):
            begun.set()
            time.sleep(0.5)
            launcher.whole.add(2)

    maker = threading.Thread(target=make)
    maker.start()
    begun.wait()
    entries, said = over_slots(launcher, tmp_path, 3)
    maker.join()
    assert sorted(launcher.started) == [1, 3]
    assert {entry.state for entry in entries} == {"complete"}
    assert any(
        re.fullmatch(r"part 2 of 3: being written by process \d+ .*; it is waited for", text) for text in said
    )
