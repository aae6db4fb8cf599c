"""Stores on file systems that machines share: refused where there are no locks, and where they are not shared."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fvlm_core.utils import atomic_files, folder_lock
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.folder_lock import OWNER, is_held, writing
from fvlm_core.utils.piece_cache import PieceCache

ELSEWHERE = """
import fcntl, os, sys, time
from pathlib import Path
fcntl.flock = lambda *_: None  # seen by nobody: an NFS mounted with nolock
from fvlm_core.utils import folder_lock
folder_lock._machine = lambda: "another machine"
folder_lock.BEAT = 0.1
with folder_lock.writing(Path(sys.argv[1])):
    print("writes", flush=True)
    time.sleep(float(sys.argv[2]))
"""
"""A writer on another machine, whose locks are its own."""


def elsewhere(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writes\n"
    return process


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "BEAT", 0.2)


@pytest.mark.usefixtures("quick")
def test_a_writer_on_a_machine_whose_locks_are_not_seen_is_found_and_left_alone(tmp_path: Path) -> None:
    other = elsewhere(tmp_path, 60)
    try:
        before = (tmp_path / OWNER).read_bytes()
        assert not is_held(tmp_path)  # that is what makes it dangerous
        with (
            pytest.raises(
                FvlmError, match=r"being written by process .* whose lock is not seen here.*nolock"
            ),
            writing(tmp_path),
        ):
            pytest.fail("two writers")
        assert (tmp_path / OWNER).read_bytes() == before
        assert (tmp_path / ".alive").exists()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.usefixtures("quick")
def test_one_that_was_killed_there_is_followed_after_a_look_for_signs_of_life(tmp_path: Path) -> None:
    other = elsewhere(tmp_path, 60)
    other.kill()
    other.wait()
    assert json.loads((tmp_path / OWNER).read_text())["machine"] == "another machine"
    begun = time.monotonic()
    with writing(tmp_path):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
    assert 0.7 < time.monotonic() - begun < 10
    assert not (tmp_path / OWNER).exists()
    assert not (tmp_path / ".alive").exists()


def test_one_that_was_killed_on_this_machine_costs_no_wait(tmp_path: Path) -> None:
    with writing(tmp_path):
        note = (tmp_path / OWNER).read_bytes()
    (tmp_path / OWNER).write_bytes(note)
    begun = time.monotonic()
    with writing(tmp_path):
        pass
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_refused_with_the_way_out(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        pytest.raises(UsageError, match=r"its file system has no locks \(flock: .*NFS 4, Lustre"),
        writing(tmp_path),
    ):
        pytest.fail("written without a lock")
    assert not list(tmp_path.glob(".locks*"))
    with pytest.raises(UsageError, match="its file system has no locks"):
        PieceCache(tmp_path / "cache", 1000).get("0" * 64, 10, lambda: [b"0123456789"])


@pytest.mark.parametrize("times", [3, 1000])
def test_a_file_that_another_machine_replaces_meanwhile_is_looked_for_again(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS 3 loses it: by an error where it is read."""
    file = tmp_path / "summary.json"
    file.write_text('{"step": 3}')
    opened: list[Path] = []

    class Lost(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def lose(path: Path, most: int) -> Any:
        opened.append(path)
        return Lost() if len(opened) <= times else path.open("rb")

    monkeypatch.setattr(atomic_files, "open_regular", lose)
    if times == 3:
        assert atomic_files.read_json(file) == {"step": 3}
        assert len(opened) == 4
    else:  # which does not end by itself
        with pytest.raises(OSError, match="Stale"):
            atomic_files.read_json(file)
        assert len(opened) == 10
