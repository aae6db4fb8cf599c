"""Fixtures of all tests."""

from __future__ import annotations

import compileall
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import warm

from fvlm_core.utils import process_exit as leaving

# Models of width 16 gain nothing by threads, and two workers of tests with two each wait for one another: three times
# as long on two cores. Read by torch when it is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell starts in the background ignores Ctrl-C, and hands that on to the processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent

UNCOMPILED = sys.dont_write_bytecode

IN_MEMORY = Path("/dev/shm")
"""Where files in memory are, on Linux."""

ROOM = 4 << 30
"""Bytes that must be free there; all tests leave 0.9 GB."""


MANY = 2000
"""Tests from which on some need warm processes."""


def pytest_configure(config: pytest.Config) -> None:
    """Folders of tests lie in memory where there is room, compiled code where it is looked for.

    What fvlm writes it also syncs: on a shared disk 714 tests of 44 s took 110 s, the rest in waiting. Under
    PYTHONDONTWRITEBYTECODE, what every process of tests reads is compiled once all the same, as installers do.

    Each worker else spends 9 s in rewriting asserts anew, each command that a test starts up to 2 s in compiling. Not
    where pytest has no cache either, as for mutants: two versions of a file within one second look alike.
    """
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and config.option.basetemp is None:
        for left in IN_MEMORY.glob("fvlm-tests-*-*"):  # by failed runs that have ended
            if not Path("/proc", left.name.split("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)
        if _room():
            folder = tempfile.mkdtemp("", f"fvlm-tests-{os.getpid()}-", IN_MEMORY)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = config.stash[_FOLDER] = folder
    if UNCOMPILED and config.pluginmanager.hasplugin("cacheprovider"):
        if not hasattr(config, "workerinput"):  # before there are workers
            for folder in ("fvlm", "fvlm_core", "plugins", "registry"):
                compileall.compile_dir(ROOT / folder, quiet=2)
        sys.dont_write_bytecode = False
    gc.disable()  # of what is imported and collected nothing is to be freed, and looking for it takes 1 s of 11


_FOLDER = pytest.StashKey[str]()


def _room() -> bool:
    return (
        os.access(IN_MEMORY, os.W_OK)
        and os.path.ismount(IN_MEMORY)
        and shutil.disk_usage(IN_MEMORY).free > ROOM
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """What tests write and import themselves stays as was asked for; what was imported by now is never looked through
    for what can be freed, nor for tensors. Where most tests are run, warm processes are made ready before the first
    test asks for one: two workers else wait 10 s for them, and for each other."""
    sys.dont_write_bytecode = UNCOMPILED
    gc.freeze()
    gc.enable()
    if len(session.items) > MANY and os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
        threading.Thread(target=warm.folder, daemon=True).start()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Memory is given back at once, or, where somebody may want to look at what a failed test left, by the next run."""
    folder = session.config.stash.get(_FOLDER, None)
    if folder is not None and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: a fifth of the tests' time is waiting for clocks and for processes."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(autouse=True)
def no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line that a test calls does not end this process."""
    monkeypatch.setattr(leaving, "code", None)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A test that lets torch have several leaves none to the next: they wait for each other by turning."""
    yield
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def speed_measured_once() -> Iterator[None]:
    """Plans know this machine's speed from the first that looks, which takes a third of a second."""
    planning: Any = sys.modules.get("fvlm_core.planning.plan")
    with pytest.MonkeyPatch.context() as patch:
        if planning is not None:
            patch.setattr(planning, "measure_speed", cache(planning.measure_speed))
        yield


@pytest.fixture(scope="module")
def quick_fits() -> Iterator[None]:
    """Fits of made points, which lie near enough to their law, are made from fewer starts; draws are fewer, and no
    other ways to fit are tried, as where points are very many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        patch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)
        patch.setattr("fvlm_core.scaling.fit.sensitivity.MOST", 0)
        patch.setattr("fvlm_core.scaling.fit.uncertainty.MOST_COUNTS", 0)
        yield


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
