"""Fixtures of all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fvlm_core.utils import process_exit as leaving

# Models of width 16 gain nothing by threads, and two workers of tests with two each wait for one another: three times
# as long on two cores. Read by torch when it is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell starts in the background ignores Ctrl-C, and hands that on to the processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line that a test calls does not end this process."""
    monkeypatch.setattr(leaving, "code", None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The source tree."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of measurements and golden tensors beside the clone; tests that need it skip without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        reason = f"{folder} is not there: it holds the published measurements this test compares with"
        if os.environ.get("FVLM_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
