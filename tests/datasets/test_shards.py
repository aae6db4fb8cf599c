"""Packs: the same bytes whatever the processes, continued after a kill, nothing lost, damage found before training."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvlm_clips.config import Clips
from fvlm_clips.source import build as build_clips
from fvlm_shards.config import Shards
from fvlm_shards.source import build as build_shards
from fvlm_smollm2.config import SmolLM2
from hostile import Hostile, Telling
from tiny import fvlm, run_cli
from videos import index_of, write_video

from fvlm_core.datasets.shards.index import Index, IndexEntry, write_index
from fvlm_core.datasets.shards.pack import Packed, pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.interfaces.data import DataSource
from fvlm_core.media.frames import decode_frames
from fvlm_core.utils.errors import UsageError

CLIPS = 13


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        path = write_video(folder / f"{number:02d}.mp4", 20 + 10 * number, fps=10, width=80, height=60)
        path.with_suffix(".txt").write_text(f"caption {number}\n")
    write_video(folder / "long.mp4", 900, fps=10, width=60, height=60).with_suffix(".txt").write_text(
        "long one"
    )
    for name, content in {
        "zz_trap_html": b"<!DOCTYPE html>",
        "zz_trap_cut": (folder / "05.mp4").read_bytes()[:900],
    }.items():
        (folder / f"{name}.mp4").write_bytes(content)
        (folder / f"{name}.txt").write_text(name)
    return folder


def packed(source: DataSource, folder: Path, processes: int = 2, **settings: Any) -> Packed:
    return pack(
        source, {}, folder, PackSettings(**{"size": 48, "samples": 4, **settings}), processes=processes
    )


def hashes(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.is_file()
    }


@pytest.fixture(scope="module")
def made(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return packed(build_clips(Clips(path=clips, holdout=0), "train"), tmp_path_factory.mktemp("pack"))


def test_a_pack_holds_every_sample_with_its_frames_times_and_text(clips: Path, made: Packed) -> None:
    original = build_clips(Clips(path=clips, holdout=0), "train")
    source = build_shards(Shards(path=made.folder, holdout=0), "train")
    assert [source[n].id for n in range(len(source))] == [original[n].id for n in range(CLIPS + 1)]
    for number in range(CLIPS):
        sample = source[number]
        assert sample.turns == original[number].turns
        frames = decode_frames(sample, 48)
        assert [index_of(frame) for frame in frames] == [10 * k for k in range(2 + number)]
        assert sample.video.times == tuple(range(2 + number))  # type: ignore[union-attr]
    long = source[CLIPS]
    assert len(long.video.starts) == 64  # type: ignore[union-attr]
    shown = [index_of(frame) for frame in decode_frames(long, 48)]
    assert shown[0] == 0
    assert shown[-1] >= 885
    assert np.diff(shown).min() >= 13
    assert source.frame_counts() == [*range(2, 2 + CLIPS), 64]


def test_what_could_not_be_packed_is_named_with_its_reason(made: Packed) -> None:
    skipped = {
        row["sample"]: row["reason"] for row in map(json.loads, (made.folder / "skipped.jsonl").open())
    }
    assert set(skipped) == {"zz_trap_html.mp4", "zz_trap_cut.mp4"}
    assert "web page" in skipped["zz_trap_html.mp4"]
    assert made.manifest.skipped == 2
    assert made.manifest.samples == CLIPS + 1


@pytest.mark.parametrize("processes", [1, 3])
def test_bytes_do_not_depend_on_the_processes(
    processes: int, clips: Path, made: Packed, tmp_path: Path
) -> None:
    again = packed(build_clips(Clips(path=clips, holdout=0), "train"), tmp_path / "again", processes)
    assert hashes(again.folder) == hashes(made.folder)


def test_a_killed_pack_continues_to_the_same_bytes(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--size", "48", "--samples", "2", "--processes", "1", "--split", "train", "-o", "holdout=0.0")
    line = ["data", "pack", "clips", "-o", f"path={clips}", *options, "--to"]
    whole, folder = (tmp_path / name / "clips" / "train" for name in ("whole", "killed"))
    assert run_cli([*line, str(tmp_path / "whole")], monkeypatch, capsys)[0] == 0
    killed = fvlm(*line, "killed", cwd=tmp_path, cache=tmp_path)
    deadline = time.monotonic() + 60
    while not list(folder.glob("shard-*.tar")) and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    first = next(iter(folder.glob("shard-*.tar")))
    written = first.stat().st_mtime_ns
    assert not (folder / "pack.json").exists()
    with pytest.raises(UsageError, match="not finished"):
        build_shards(Shards(path=folder, holdout=0, cache=tmp_path / "cache"), "train")
    assert run_cli([*line, str(tmp_path / "killed")], monkeypatch, capsys)[0] == 0
    assert hashes(folder) == hashes(whole)
    assert first.stat().st_mtime_ns == written  # what was finished was not made again
    assert not (folder / ".packing").exists()


def test_another_pack_in_the_folder_is_refused_naming_what_differs(clips: Path, made: Packed) -> None:
    with pytest.raises(UsageError, match=r"settings.quality: 90 -> 80"):
        packed(build_clips(Clips(path=clips, holdout=0), "train"), made.folder, quality=80)
    assert packed(build_clips(Clips(path=clips, holdout=0), "train"), made.folder).already


@pytest.mark.timeout(60)
def test_a_sample_that_kills_or_hangs_its_process_costs_itself_alone(tmp_path: Path) -> None:
    source = Hostile(10, kills=(2, 9), hangs=(5,))
    made = packed(source, tmp_path / "pack", processes=2, samples=4, timeout=1.5)
    skipped = {
        row["sample"]: row["reason"] for row in map(json.loads, (made.folder / "skipped.jsonl").open())
    }
    assert len(skipped) == 3
    assert sum("SIGSEGV" in reason for reason in skipped.values()) == 2
    assert sum("more than 1.5 s" in reason for reason in skipped.values()) == 1
    ids = [build_shards(Shards(path=made.folder, holdout=0), "train")[n].id for n in range(7)]
    assert ids == ["s0", "s1", "s3", "s4", "s6", "s7", "s8"]


def test_a_worker_of_a_pack_imports_no_torch(tmp_path: Path) -> None:
    """It takes seconds and hundreds of megabytes in each of them: the chat format alone is needed of a model."""
    chat = SmolLM2(weights="seeded", width=8, mlp=8, depth=1, heads=2).chat(lambda: iter(["True False"]))
    made = pack(Telling(), {}, tmp_path / "pack", PackSettings(size=48), chat=chat)
    [sample] = build_shards(Shards(path=made.folder, holdout=0), "train")
    assert sample.turns[-1].content == "False"


def test_train_and_validation_of_one_pack_share_no_sample(made: Packed) -> None:
    names = [
        {source[n].id for n in range(len(source))}
        for split in ("train", "validation")
        for source in [build_shards(Shards(path=made.folder, holdout=0.4), split)]  # type: ignore[arg-type]
    ]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == CLIPS + 1


def damaged(made: Packed, folder: Path, file: str, change: str) -> Path:
    """A copy of a pack with one file changed."""
    folder.mkdir()
    for original in made.folder.iterdir():
        (folder / original.name).write_bytes(original.read_bytes())
    target = folder / file
    content = bytearray(target.read_bytes())
    if change == "missing":
        target.unlink()
    elif change == "truncated":
        target.write_bytes(content[:-600])
    else:
        content[len(content) // 2] ^= 1
        target.write_bytes(content)
    return folder


@pytest.mark.parametrize("change", ["missing", "truncated", "altered"])
@pytest.mark.parametrize("file", ["shard-000001.tar", "index.arrow"])
def test_damage_is_found_and_named_before_training(
    change: str, file: str, made: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = damaged(made, tmp_path / "pack", file, change)
    code, out, err = run_cli(["data", "check", str(folder)], monkeypatch, capsys)
    assert code == 1
    assert str(folder / file) in err
    assert "Traceback" not in out + err
    code, _, err = run_cli(["data", "check", "--sizes", str(folder)], monkeypatch, capsys)
    assert code == (0 if change == "altered" else 1)
    if change != "altered":
        with pytest.raises(UsageError, match=file):
            build_shards(Shards(path=folder), "train")


def test_a_whole_pack_is_said_to_be_whole(
    made: Packed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["data", "check", "--decode", str(made.folder)], monkeypatch, capsys)
    assert code == 0
    assert "whole by size and SHA-256" in out
    assert "14 samples: whole by decoding" in out


def test_a_folder_of_packs_is_not_taken_for_loose_shards(made: Packed, tmp_path: Path) -> None:
    (tmp_path / "all" / "openvid").mkdir(parents=True)
    made.folder.joinpath("pack.json").read_bytes()
    os.symlink(made.folder, tmp_path / "all" / "openvid" / "train")
    (tmp_path / "all" / "more").mkdir()
    damaged(made, tmp_path / "all" / "more" / "train", "index.arrow", "altered")
    with pytest.raises(UsageError, match="holds packs; name one"):
        build_shards(Shards(path=tmp_path / "all", cache=tmp_path), "train")


def test_a_million_samples_open_at_once_and_cost_little(tmp_path: Path, record_property: Any) -> None:
    """Opened and planned from in a process of its own, which says how long it took and what it cost."""
    import subprocess
    import sys

    import pyarrow as pa
    import pyarrow.compute as pc

    from fvlm_core.datasets.shards.index import SCHEMA

    million, frames = 1_000_000, 8
    file = tmp_path / "index.arrow"
    write_index(file, [IndexEntry("a", 0, "frames", 0, 9, (1, 2), (3, 4), (0.0, 1.0), 2, 5, 6, 7, (8,))])
    assert Index(file)[0] == IndexEntry("a", 0, "frames", 0, 9, (1, 2), (3, 4), (0.0, 1.0), 2, 5, 6, 7, (8,))
    offsets = pa.array(np.arange(million + 1) * frames)
    values = pa.array(np.arange(million * frames))
    columns: list[Any] = []
    for field in SCHEMA:
        if field.name == "id":
            numbers: Any = pc.utf8_lpad(pa.array(np.arange(million)).cast(pa.string()), 9, "0")  # type: ignore[attr-defined]
            columns.append(pc.binary_join_element_wise("folder/video_", numbers, ".mp4", "").cast(field.type))  # type: ignore[attr-defined]
        elif pa.types.is_large_list(field.type):
            columns.append(pa.LargeListArray.from_arrays(offsets, values.cast(field.type.value_type)))
        else:
            columns.append(
                pa.array(np.full(million, 3) if field.name != "digest" else million * [bytes(32)], field.type)
            )
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_file(out, SCHEMA) as writer:
        writer.write_table(pa.table(columns, schema=SCHEMA))
    program = f"""
from pathlib import Path
import pyarrow, numpy
def private():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous")) / 1e3
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
before, whole = private(), resident()
from fvlm_core.datasets.shards.index import Index
index = Index(Path({str(file)!r}))
assert len(index) == {million} and int(index.column("frames").sum()) == 3 * {million}
opened = resident() - whole
for row in range(0, {million}, 97):
    index[row]
print(opened, private() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    opened, private = map(float, done.stdout.split())
    text = f"1,000,000 samples: {opened:.0f} MB to open; {private:.0f} MB private after reading"
    print(text)
    record_property("index", text)
    assert opened <= 200
    assert private <= 200
