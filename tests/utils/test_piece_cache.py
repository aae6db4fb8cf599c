"""The cache of pieces from afar: never above its limit, whole or absent, fetched once, whoever is killed whenever."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvlm_core.utils import piece_cache
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.piece_cache import OtherContent, PieceCache

LIMIT = 10_000


def piece(number: int) -> bytes:
    """Of 1 to 3,000 bytes."""
    return random.Random(number).randbytes(1 + number * 997 % 3000)


def name(number: int) -> str:
    return sha256(piece(number)).hexdigest()


def taken(folder: Path) -> int:
    """The sizes of all pieces, and of what is being fetched."""
    sizes: dict[int, int] = {}  # by inode: one may get its name between two looks
    for place, _, files in os.walk(folder):
        for file in files:
            if file != ".sum":
                with suppress(FileNotFoundError):
                    status = os.stat(os.path.join(place, file))
                    sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


STEPS = st.lists(
    st.tuples(
        st.integers(0, 30), st.sampled_from(["get", "get", "get", "fetch", "fails", "other", "damage"])
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_it_is_never_above_its_limit_and_gives_what_was_asked_for(
    steps: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = PieceCache(tmp_path_factory.mktemp("cache"), LIMIT)
    for number, what in steps:
        content = piece(number)

        def giving(content: bytes = content, what: str = what) -> Iterator[bytes]:
            assert taken(cache.folder) <= LIMIT
            yield content[:100]
            if what == "fails":
                raise OSError("the network is away")
            yield content[100:] if what != "other" else b"?" * (len(content) - 100)
            assert taken(cache.folder) <= LIMIT

        there = cache._file(name(number))
        if what == "damage":
            if there.exists():
                there.write_bytes(b"!" * there.stat().st_size)
            continue
        try:
            if what == "fetch":
                cache.fetch(name(number), len(content), giving)
            else:
                assert cache.get(name(number), len(content), giving) == content
        except (OSError, OtherContent):
            assert what in ("fails", "other")
        assert taken(cache.folder) <= LIMIT
        assert cache._total() == taken(cache.folder)
        assert not list(cache.folder.rglob("*.part"))


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    cache = PieceCache(tmp_path, 4 * 1000)
    pieces = [random.Random(number).randbytes(1000) for number in range(5)]
    names = [sha256(content).hexdigest() for content in pieces]
    for number in (0, 1, 2, 0):
        cache.get(names[number], 1000, lambda number=number: [pieces[number]])
        time.sleep(0.02)
    cache.get(names[3], 1000, lambda: [pieces[3]])
    cache.get(names[4], 1000, lambda: [pieces[4]])
    assert [cache._file(each).exists() for each in names] == [True, False, False, True, True]


def test_what_is_held_stays_and_what_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piece_cache, "PATIENCE", 0.1)
    cache = PieceCache(tmp_path, LIMIT)
    large = random.Random(1).randbytes(8500)
    file = cache.hold(sha256(large).hexdigest(), len(large), lambda: [large])
    assert pickle.loads(pickle.dumps(cache))._held == {}
    more = random.Random(2).randbytes(1600)
    with pytest.raises(FvlmError, match=r"are in use, and .* may be kept: raise FVLM_REMOTE_GB"):
        cache.get(sha256(more).hexdigest(), len(more), lambda: [more])
    assert file.read_bytes() == large
    with pytest.raises(UsageError, match="raise FVLM_REMOTE_GB"):
        cache.get("0" * 64, LIMIT, list)


def test_more_than_was_asked_for_is_not_kept(tmp_path: Path) -> None:
    cache = PieceCache(tmp_path, LIMIT)
    with pytest.raises(OtherContent, match="more than was asked for"):
        cache.get(name(5), len(piece(5)), lambda: iter(lambda: b"x" * 100, b""))
    assert taken(tmp_path) == 0


def _use(folder: Path, seed: int) -> None:
    cache, chance = PieceCache(folder, LIMIT), random.Random(seed)
    while True:
        number = chance.randrange(30)
        content = piece(number)

        def giving(content: bytes = content) -> Iterator[bytes]:
            yield content[:10]
            time.sleep(0.001)
            yield content[10:]

        assert cache.get(name(number), len(content), giving) == content


@pytest.mark.parametrize("started", [10, pytest.param(40, marks=pytest.mark.soak)])
def test_processes_that_are_killed_leave_it_whole_and_below_its_limit(started: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    chance = random.Random(0)
    users: list[Any] = []
    most = 0
    end = time.monotonic() + 60
    seed = 0
    while (seed < started or most <= LIMIT / 2) and time.monotonic() < end:
        while len(users) < 4:
            seed += 1
            users.append(context.Process(target=_use, args=(tmp_path, seed)))
            users[-1].start()
        for _ in range(20):
            with PieceCache(tmp_path, LIMIT)._counted():  # nothing grows or goes meanwhile
                most = max(most, taken(tmp_path))
            time.sleep(0.002)
        victim = users.pop(chance.randrange(len(users)))
        assert victim.is_alive(), f"it ended by itself: {victim.exitcode}"
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    for user in users:
        user.kill()
        user.join()
    assert seed >= started
    assert LIMIT / 2 < most <= LIMIT
    assert taken(tmp_path) <= LIMIT
    cache = PieceCache(tmp_path, LIMIT)
    assert cache._total() >= taken(tmp_path)
    for number in range(30):
        assert cache.get(name(number), len(piece(number)), lambda number=number: [piece(number)]) == piece(
            number
        )
        assert taken(tmp_path) <= LIMIT
