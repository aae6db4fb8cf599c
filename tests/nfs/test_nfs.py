"""Two machines over one store: one writes a run, the other is told by whom, and goes on when that one is gone."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nfs_machines import ALONE, CASE, LEASE, PATIENCE, SHARED, Guest, Machines

pytestmark = [pytest.mark.nfs, pytest.mark.timeout(3 * PATIENCE)]

Record = Callable[[str, Any], None]

WRITE = """
import sys, time
from pathlib import Path
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.folder_lock import writing
folder = Path("/run/store", sys.argv[1])
folder.mkdir(exist_ok=True)
begun = time.monotonic()
try:
    with writing(folder):
        print(f"writes after {time.monotonic() - begun:.1f} s", flush=True)
        time.sleep(float(sys.argv[2]))
except FvlmError as error:
    print(error)
    sys.exit(1)
"""

RUNS = Path(__file__).parents[1] / "runs" / "runs_of_846f317" / "runs" / "old"

LOCKS = pytest.mark.parametrize("options", [SHARED, ALONE], ids=["shared", "alone"])
NAMES = {SHARED: "shared", ALONE: "alone"}


def both(machines: Machines, options: str) -> tuple[Guest, Guest]:
    """Two machines, up with these options."""
    for number in (1, 2):
        guest = machines.guests.get(number)
        if guest is None or guest.options != options or guest.process.poll() is not None:
            machines.boot(number, options)
    return machines.guests[1], machines.guests[2]


def waited(said: str) -> float:
    """The seconds that it says it waited."""
    found = re.search(r"writes after ([\d.]+) s", said)
    assert found is not None, said
    return float(found[1])


@LOCKS
def test_a_second_writer_is_told_of_the_first_and_follows_it_when_it_is_killed(
    options: str, machines: Machines, record_property: Record
) -> None:
    one, two = both(machines, options)
    run = f"killed-{NAMES[options]}"
    first = one.python(WRITE, run, "600")
    first.says("writes after")
    begun = time.monotonic()
    code, said = two.python(WRITE, run, "0").ended()
    seconds = time.monotonic() - begun
    assert code == 1
    assert re.search(r"is being written by process \d+ on guest-1 since ", said), said
    assert ("whose lock is not seen here" in said) == (options == ALONE)
    first.kill()
    code, said = two.python(WRITE, run, "0").ended()
    assert code == 0, said
    assert waited(said) < 20
    case = "a second writer, and again once the first was killed"
    what = f"refused by name after {seconds:.1f} s; the run is its own {waited(said):.1f} s after it asks"
    record_property(CASE, (NAMES[options], case, what))


@LOCKS
def test_a_run_whose_machine_is_gone_is_gone_on_with(
    options: str, machines: Machines, record_property: Record
) -> None:
    """As by the power. The server holds the locks of a machine for a while that it does not hear of."""
    one, two = both(machines, options)
    run = f"cut-{NAMES[options]}"
    one.python(WRITE, run, "600").says("writes after")
    one.cut()
    begun = time.monotonic()
    refused = 0
    while (ended := two.python(WRITE, run, "0").ended())[0]:
        assert re.search(r"is being written by process \d+ on guest-1 since ", ended[1]), ended[1]
        refused += 1
        assert refused < 100
    seconds = time.monotonic() - begun
    assert seconds > LEASE or options == ALONE
    what = f"refused {refused} times, then its own {seconds:.0f} s after the machine was gone"
    record_property(CASE, (NAMES[options], "a machine that is gone while it writes", what))


APPEND = """
import sys, time
from pathlib import Path
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.utils.atomic_files import write_json
folder = Path("/run/store", sys.argv[1])
folder.mkdir()
with MetricsWriter(folder / "metrics.jsonl", "run", 0) as metrics:
    for step in range(1, 301):
        metrics.write("train", step=step, train_loss=1 / step)
        write_json(folder / "summary.json", {"step": step, "filled": "x" * 20_000})
        time.sleep(0.02)
print("wrote", flush=True)
"""

FOLLOW = """
import sys, time
from pathlib import Path
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.utils.atomic_files import read_json
folder = Path("/run/store", sys.argv[1])
end = time.monotonic() + 800
seen, before, looks = 0, 0, 0
while (before, seen) != (300, 300):
    assert time.monotonic() < end, (before, seen)
    rows = [row["step"] for row in read_metrics(folder / "metrics.jsonl") if row["event_type"] == "train"]
    assert rows == list(range(1, len(rows) + 1)), rows
    assert len(rows) >= seen
    seen = len(rows)
    try:
        summary = read_json(folder / "summary.json")
    except FileNotFoundError:
        continue
    assert len(summary["filled"]) == 20_000
    assert summary["step"] >= before
    before, looks = summary["step"], looks + 1
print(f"{looks} looks")
"""


@LOCKS
def test_what_one_machine_writes_another_reads_whole_and_in_order(
    options: str, machines: Machines, record_property: Record
) -> None:
    """Rows that are appended, and a file that is replaced 300 times, read as often as can be."""
    one, two = both(machines, options)
    folder = f"grows-{NAMES[options]}"
    reader, writer = two.python(FOLLOW, folder), one.python(APPEND, folder)
    writer.says("wrote")
    begun = time.monotonic()
    code, said = reader.ended()
    assert code == 0, said
    what = f"{said.strip()} at it, each whole; the last row seen {time.monotonic() - begun:.1f} s after it was written"
    record_property(CASE, (NAMES[options], "metrics and a summary, read while they are written", what))


LIST = """
import runpy, sys
sys.argv = ["fvlm", "runs", "list", "--json", "--runs", sys.argv[1]]
runpy.run_module("fvlm_core", run_name="__main__")
"""


@LOCKS
def test_both_machines_list_the_runs_of_a_store_at_once(
    options: str, machines: Machines, record_property: Record
) -> None:
    """With the index of the store, which SQLite keeps."""
    one, two = both(machines, options)
    store = machines.store / f"runs-{NAMES[options]}"  # a folder that nobody has in a cache
    for copy in range(10):
        shutil.copytree(RUNS, store / f"old{copy}")
    calls = [guest.python(LIST, f"/run/store/{store.name}") for guest in (one, two, one, two)]
    for call in calls:
        code, said = call.ended()
        assert code == 0, said
        assert len(json.loads(said)) == 20
    assert (store / ".cache" / "index.sqlite3").exists()
    record_property(
        CASE, (NAMES[options], "four lists of one store at once, by two machines", "equal, and an index")
    )
