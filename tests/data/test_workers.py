"""A data worker that dies or hangs ends the run within the timeout, with the sample that it was reading."""

from __future__ import annotations

import gc
import signal
import time
from multiprocessing import active_children
from pathlib import Path
from threading import Thread

import pytest
from fvlm_smollm2.chat import from_corpus
from hostile import Hostile
from tiny import RECIPE, train

from fvlm_core.data import loader
from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import TrainingData, micro_batches
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.planning import RankShare
from fvlm_core.data.worker_watch import InFlight
from fvlm_core.utils.errors import FvlmError

# Of a worker that is killed torch tells by an error in the handler of a signal. Where that is raised amid what Python
# frees, it is printed, and the death is found by looking.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def data(source: Hostile) -> TrainingData:
    chat = from_corpus(["? answer", *map(str, range(100))])
    return TrainingData((source,), Mixture([len(source)], [1.0], 0), Preparer(chat, 42, "all", 64))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["kills", "hangs"])
def test_the_sample_in_flight_is_named(how: str) -> None:
    begun = time.monotonic()
    with pytest.raises(FvlmError, match=r"reading data failed: .* In flight: .*worker \d: hostile/s7"):
        for _ in zip(
            range(20),
            micro_batches(data(Hostile(40, late=(7,), how=how)), RankShare(2, 2), 0, 2, False, 2),
            strict=False,
        ):
            pass
    assert time.monotonic() - begun < 2 + 8  # torch itself would wait 10 s more for a worker that hangs


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["kills", "hangs"])
def test_a_sample_that_has_no_name_yet_is_told_by_its_place(how: str) -> None:
    """And not the one that was read before it."""
    source = Hostile(40, **{how: (7,)})  # type: ignore[arg-type]
    with pytest.raises(FvlmError, match=r"In flight: .*worker \d: hostile/7\b") as told:
        list(micro_batches(data(source), RankShare(4, 4), 0, 1, False, 2))
    assert "hostile/s" not in str(told.value)


def test_healthy_workers_deliver_everything() -> None:
    batches = zip(range(20), micro_batches(data(Hostile(40)), RankShare(2, 2), 0, 2, False, 60), strict=False)
    names = [name for _, batch in batches for name in batch.batch.sample_ids]
    assert sorted(names) == sorted(f"hostile/s{n}" for n in range(40))


def test_reading_that_nobody_needs_any_more_may_end_in_any_thread() -> None:
    """Signals are set in the main thread alone, and Python finds what is unused in whichever it comes to run."""
    before = signal.signal(signal.SIGCHLD, lambda number, frame: None)  # torch sets one while its workers run
    watching = InFlight(1).explained()
    watching.__enter__()
    told: list[BaseException] = []

    def end() -> None:
        try:
            watching.__exit__(None, None, None)
        except ValueError as error:
            told.append(error)

    other = Thread(target=end)
    other.start()
    other.join()
    signal.signal(signal.SIGCHLD, before)
    assert told == []


@pytest.mark.parametrize("until", [3, None])
def test_workers_end_with_the_training_that_they_read_for(
    until: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, stopped or complete: left to the garbage collector, each run would wait 10 s for its own."""
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    gc.disable()
    try:
        train(tmp_path / "tiny.toml", tmp_path / "runs", "training.workers=2", until=until)
        assert not active_children()
    finally:
        gc.enable()


@pytest.mark.timeout(60)
def test_a_worker_amid_a_long_sample_is_not_waited_for() -> None:
    """By torch alone: 10 s each, and it would then still be there."""
    _, first = data(Hostile(40)).mixture.at(0)
    hangs = tuple({*range(40)} - {first})
    reading = micro_batches(data(Hostile(40, hangs=hangs)), RankShare(1, 1), 0, 2, False, 60)
    next(reading)
    time.sleep(0.5)  # both have come to a sample that never ends
    begun = time.monotonic()
    reading.close()
    assert time.monotonic() - begun < 4
    assert not active_children()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["kills", "hangs"])
def test_a_dead_worker_is_heard_of_at_once_also_after_one_that_failed(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, which goes on after a failure: not only when somebody looks, every 6 s here. Of three tries one
    may be lost, see below."""
    monkeypatch.setattr(loader, "LOOK", 6)

    def seconds(how: str, patience: float) -> float:
        read = data(Hostile(40, late=(7,), how=how))
        begun = time.monotonic()
        with pytest.raises(FvlmError, match=r"In flight: .*worker \d: hostile/s7"):
            list(micro_batches(read, RankShare(2, 2), 0, 2, False, patience))
        return time.monotonic() - begun

    seconds(how, 2)
    assert any(seconds("kills", 50) < 5 for _ in range(3))


@pytest.mark.timeout(60)
def test_a_dead_worker_is_found_though_the_signal_of_its_death_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that a signal's handler raises while Python frees what is unused is printed, and no more."""
    monkeypatch.setattr(loader, "LOOK", 0.5)
    _, fourth = data(Hostile(40)).mixture.at(3)
    reading = micro_batches(data(Hostile(40, hangs=(fourth,))), RankShare(1, 1), 0, 1, False, 30)
    for _ in range(3):  # all that it hands over
        next(reading)
    (worker,) = active_children()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker.kill()
    begun = time.monotonic()
    with pytest.raises(FvlmError, match="exited unexpectedly"):
        next(reading)
    assert time.monotonic() - begun < 15


def test_reading_leaves_no_open_file() -> None:
    """Two a worker would end a grid of 60 runs with eight workers each, at the usual 1024.

    What other tests of this process left may be closed meanwhile, and the first reading opens files that stay.
    """
    left = list[int]()
    for _ in range(5):
        list(micro_batches(data(Hostile(8)), RankShare(2, 2, end=8), 0, 2, False, 60))
        gc.collect()
        left.append(len([*Path("/proc/self/fd").iterdir()]))
    assert left[-1] - left[0] < 4 * 2, left  # four readings with two workers would leave 16
