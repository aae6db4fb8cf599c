"""Data workers are refused at once where they have no memory to hand batches over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fvlm_core.data import workers
from fvlm_core.utils.errors import UsageError


@pytest.mark.parametrize("kind", ["absent", "tiny"])
def test_workers_without_shared_memory_are_told_what_to_set(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shm"
    monkeypatch.setattr(workers, "_SHARED", folder)
    if kind == "tiny":
        folder.mkdir()
        about = os.statvfs(folder)
        monkeypatch.setattr(workers, "_SHARED_BYTES", about.f_bavail * about.f_frsize * 2)
    with pytest.raises(UsageError, match=r"--shm-size=1g.*training\.workers=0"):
        workers.need_shared_memory()
    monkeypatch.setattr(workers, "_SHARED", tmp_path)
    monkeypatch.setattr(workers, "_SHARED_BYTES", 1)
    workers.need_shared_memory()
