"""The command line's process ends as an interpreter does, without taking apart what it has in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def ended(code: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", f"from fvlm_core.utils.process_exit import end\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_was_registered_is_called_threads_are_waited_for_and_files_are_flushed(tmp_path: Path) -> None:
    done = ended(
        "import atexit, threading, time\n"
        "atexit.register(print, 'registered')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "kept = open('left open.txt', 'w'); kept.write('told')\n"
        "raw = open('raw', 'wb'); raw.write(b'bytes')\n"
        "print('out', end=''); end(3)",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == "outthread\nregistered\n"
    assert (tmp_path / "left open.txt").read_text() == "told"
    assert (tmp_path / "raw").read_bytes() == b"bytes"


def test_nothing_is_taken_apart(tmp_path: Path) -> None:
    code = "class Slow:\n    def __del__(self): print('taken apart')\nkept = Slow()\nend(0)"
    assert ended(code, tmp_path).stdout == ""


def test_under_a_profiler_the_interpreter_ends_by_itself(tmp_path: Path) -> None:
    done = ended("import sys; sys.setprofile(lambda *_: None); kept = open('f', 'w'); end(4)", tmp_path)
    assert done.returncode == 4
    profiled = subprocess.run(
        [sys.executable, "-m", "cProfile", "-m", "fvlm_core", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "function calls" in profiled.stdout


def test_runs_that_end_one_after_the_other_leave_one_thread_and_the_last_ones_patience(
    tmp_path: Path,
) -> None:
    """A run whose tracker used up its time does not cut off what those of the next one have begun."""
    done = ended(
        "import atexit, threading, time\n"
        "from fvlm_core.utils import process_exit\n"
        "process_exit.code = 0\n"
        "for seconds in (0.0, 0.0, 30.0): process_exit.leave_within(seconds)\n"
        "print([thread.name for thread in threading.enumerate()])\n"
        "atexit.register(lambda: (time.sleep(0.5), print('written')))\n"
        "end(0)",
        tmp_path,
    )
    assert done.stdout == "['MainThread', 'leaving']\nwritten\n"
