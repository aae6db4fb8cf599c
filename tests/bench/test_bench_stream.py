"""`fvlm bench stream`: a frame costs as much memory as its tokens and the language model's cache, however many were
seen; every connector is measured once, in turn with the control."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from attrs import evolve
from fvlm_smollm2.cache import _FIRST_CAPACITY
from small import CONNECTORS, connected
from tiny import CONNECTOR, RECIPE, run_cli, trained

import fvlm_core.bench.child as child
import fvlm_core.bench.streaming as streaming
from fvlm_core.bench.setting import Setting
from fvlm_core.bench.streaming import (
    LiveBytes,
    Streamed,
    bench_stream,
    stream_model,
    streamed,
    streamed_in_turn,
    subjects,
    threads,
)

HERE = Setting(recipe="none")


@pytest.fixture(autouse=True)
def small_heap() -> Iterator[None]:
    """What came before is set aside, as for other tests: to go through all of it takes half a second each time, and who
    counts memory sets nothing aside any more when it is done."""
    gc.freeze()
    yield
    gc.freeze()


FIRST = ("foveated", True)
QUICK = [FIRST, ("foveated", False), ("pooled", False)]
LONG = (16, 256, 512)  # nine seconds each
CASES = [
    *((name, first, (4, 24, 64)) for name, first in QUICK),
    *(pytest.param(name, name == "foveated", LONG, marks=pytest.mark.soak) for name in CONNECTORS),
    pytest.param("foveated", False, LONG, marks=pytest.mark.soak),
]


@pytest.mark.parametrize(("name", "first", "marks"), CASES)
def test_a_frame_keeps_its_tokens_and_the_cache_and_nothing_else(
    name: str, first: bool, marks: tuple[int, int, int]
) -> None:
    model = connected(name, whole={"question_first": first}).eval()
    found = streamed(model, HERE, marks)
    assert found is not None
    spec, llm = model.connector.spec, model.llm.spec
    tokens = 0 if spec.last_frames else 4 * spec.tokens_per_frame * llm.width
    position = 4 * llm.depth * 2 * llm.kv_heads * (llm.width // llm.heads)  # bytes of keys and values
    room = cache_room(spec.tokens_per_frame, 32 if first else 0) if name.startswith("foveated") else {}
    for before, after in pairwise(marks):
        cache = position * (room[after] - room[before]) if room else 0
        assert found.kept[after] - found.kept[before] == (after - before) * tokens + cache
    assert list(found.seconds) == list(found.first_token) == [*marks]


def cache_room(tokens: int, question: int) -> dict[int, int]:
    """Positions that the language model's cache has room for after so many frames: it doubles when it is full."""
    room, length, found = 0, 0, dict[int, int]()
    for frame in range(513):
        length += tokens if frame else question
        if length > room:
            room = max(_FIRST_CAPACITY, 2 * length)
        found[frame] = room
    return found


def test_live_bytes_count_every_new_storage_once_and_none_that_was_there() -> None:
    old = torch.zeros(1000)
    live = LiveBytes()
    one = torch.zeros(100)
    other, of_old = one[:10], old[:10]
    assert live.bytes() == 400
    del one
    assert live.bytes() == 400
    del other
    assert live.bytes() == 0
    live.close()
    del of_old
    assert gc.get_freeze_count() == 0


def made(seconds: float, marks: tuple[int, ...] = (8, 32)) -> Streamed:
    return Streamed(
        seconds={mark: mark * seconds for mark in marks},
        first_token=dict.fromkeys(marks, 0.1),
        kept={mark: 10 * mark for mark in marks},
        tokens_per_frame=2,
        last_frames=None,
    )


def test_rate_growth_and_exponent_are_those_of_the_figures() -> None:
    found = evolve(made(0.0), seconds={8: 1.0, 32: 4.0, 128: 16.0}, kept={8: 4, 32: 100, 128: 244})
    assert found.rate == pytest.approx(96 / 12)
    assert found.growth == 2.0
    assert found.exponent == pytest.approx(1.0)
    square = evolve(found, seconds={8: 64.0, 32: 1024.0, 128: 16384.0})
    assert square.exponent == pytest.approx(2.0)


GRID = RECIPE.replace(CONNECTOR, "") + (
    '[model.connector]\nname = "pooled"\ngrid = 1\n[grid]\nid = "{c}-{b}"\n[grid.axes.c]\n'
    'pooled = { model.connector = { name = "pooled", grid = 1 } }\n'
    'three = { model.connector = { name = "perceiver", tokens = 3 } }\n'
    'last = { model.connector = { name = "last-frames", frames = 4 } }\n'
    "[grid.axes.b]\nseeing = { model.blind = false }\nblind = { model.blind = true }\n"
)


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(streaming, "THREADS", 1)
    (tmp_path / "grid.toml").write_text(GRID)
    return Setting(recipe=str(tmp_path / "grid.toml"))


def test_every_connector_is_a_subject_once_and_the_control_is_none_of_them(grid: Setting) -> None:
    found = subjects(grid)
    assert [one.name for one in found] == [
        "pooled grid=1",
        "perceiver tokens=3",
        "last-frames frames=4 (control)",
    ]
    tokens = [stream_model(one.setting).connector.spec.tokens_per_frame for one in found]
    assert tokens == [1, 3, 9]


def test_each_is_measured_in_turn_with_the_control_in_one_process_a_round(grid: Setting) -> None:
    asked: list[list[str]] = []
    seconds = iter([1.0, 2.0, 5.0, 1.0, 3.0, 2.0, 6.0, 1.0])

    def measure(settings: Sequence[Setting], marks: Any) -> list[Streamed | None]:
        asked.append(["control" if setting.connector else setting.run for setting in settings])
        return [made(next(seconds)) for _ in settings]

    found, unable = bench_stream(grid, (8, 32), 2, measure, lambda what, done, total: None)
    assert asked == [
        ["pooled-seeing", "control", "three-seeing", "control"],
        ["control", "pooled-seeing", "control", "three-seeing"],
    ]
    assert unable == []
    pooled, three, control = found
    assert pooled.pair is not None
    assert (pooled.pair.low, pooled.pair.high) == pytest.approx((1 / 2, 2 / 3))
    assert three.pair is not None
    assert (three.pair.low, three.pair.high) == pytest.approx((1 / 6, 5.0))
    assert control.pair is None


def test_a_connector_that_cannot_watch_frame_by_frame_is_named_and_left_out(grid: Setting) -> None:
    asked: list[list[str]] = []

    def measure(settings: Sequence[Setting], marks: Any) -> list[Streamed | None]:
        asked.append([setting.run for setting in settings if not setting.connector])
        return [
            None if setting.run.startswith("three") and not setting.connector else made(1.0)
            for setting in settings
        ]

    found, unable = bench_stream(grid, (8, 32), 2, measure, lambda what, done, total: None)
    assert asked == [["pooled-seeing", "three-seeing"], ["pooled-seeing"]]
    assert unable == ["perceiver tokens=3"]
    assert [one.name for one in found] == ["pooled grid=1", "last-frames frames=4 (control)"]


def test_the_control_alone_is_measured_once_a_round(grid: Setting) -> None:
    only = evolve(grid, connector=streaming.CONTROL)
    counts: list[int] = []

    def measure(settings: Sequence[Setting], marks: Any) -> list[Streamed | None]:
        counts.append(len(settings))
        return [made(1.0) for _ in settings]

    alone = [one for one in subjects(only) if one.name.endswith("(control)")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "subjects", lambda setting: alone)
        [control], _ = bench_stream(only, (8, 32), 3, measure, lambda what, done, total: None)
    assert counts == [1, 1, 1]
    assert control.pair is None


def test_a_small_model_watches_with_the_threads_that_its_recipe_says(grid: Setting, tmp_path: Path) -> None:
    assert threads(grid) == 1
    text = Path(grid.recipe).read_text()
    (tmp_path / "open.toml").write_text(text.replace("threads = 1", "threads = 0"))
    assert threads(evolve(grid, recipe=str(tmp_path / "open.toml"))) == streaming.THREADS
    (tmp_path / "four.toml").write_text(text.replace("threads = 1", "threads = 4"))
    assert threads(evolve(grid, recipe=str(tmp_path / "four.toml"))) == 4


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """In this process, and its measurements too."""
    monkeypatch.setattr(streaming, "THREADS", 1)
    monkeypatch.setattr(child, "streams_of", streamed_in_turn)
    return lambda *arguments: run_cli(["bench", "stream", *arguments], monkeypatch, capsys)


def test_a_run_is_measured_with_its_own_connector(cli: Any, tmp_path: Path) -> None:
    folder = trained(tmp_path)
    code, out, err = cli("tiny", "--runs", str(folder / "runs"), "--frames", "16", "--rounds", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [row["name"] for row in found["measured"]] == [
        "foveated query_dim=8 queries=1",
        "last-frames frames=4 (control)",
    ]
    ours, control = found["measured"]
    assert ours["streamed"]["tokens_per_frame"] == 1
    assert ours["frames_per_second"] > 0
    assert ours["bytes_per_frame"] == 4 * 16  # a token; the cache has room for all of them
    assert control["bytes_per_frame"] == 0
    assert ours["pair"]["ratio"] == pytest.approx(ours["pair"]["ours"] / ours["pair"]["bare"])


def test_a_recipe_gives_a_table(cli: Any, grid: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveBytes, "bytes", lambda self: 1000)
    monkeypatch.setattr(streaming, "_storages", dict)
    code, out, err = cli(grid.recipe, "--frames", "16", "--rounds", "1")
    assert code == 0, err
    assert "perceiver tokens=3" in out
    assert "last-frames frames=4 (control)" in out
    assert "512 where the tokenizer is made from the data" in " ".join(out.split())


def test_one_measurement_in_a_process_of_its_own_gives_the_same_memory(
    grid: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", warm.python())
    own = subjects(grid)[1].setting
    apart, again = child.streams_of([own, own], (8, 16))
    here = streamed(stream_model(own), own, (8, 16))
    assert apart is not None
    assert here is not None
    assert again is not None
    assert apart.kept == again.kept == here.kept
    assert apart.tokens_per_frame == here.tokens_per_frame


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frames", "8"], "growth shows from two places on"),
        (["nothing"], "nothing"),
        (["--device", "cuda"], "torch sees no GPU"),
    ],
)
def test_misuse_is_explained(cli: Any, arguments: list[str], said: str) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code, _, err = cli(*arguments)
    assert code == 2
    assert said in " ".join(err.split())
