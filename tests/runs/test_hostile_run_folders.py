"""Whatever stands under the name of a run's file: that run is named with its reason, and the others are shown."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from coarse import coarse_figures
from run_folders import write_run
from tiny import run_cli

from fvlm_core.cli.watch import _chooser, _look  # pyright: ignore[reportPrivateUsage]
from fvlm_core.runs.listing import list_entries
from fvlm_core.runs.sound import sound
from fvlm_core.utils.atomic_files import open_to_append, parse_json, read_json, write_json

pytestmark = pytest.mark.usefixtures("quick_fits")

FILES = ("recipe.json", "summary.json", "environment.json", "attempts.jsonl", "metrics.jsonl", "failure.json")
"""Those that every reader of the whole store reads."""

BESIDE = ("tags.json", "bad_samples.jsonl", ".owner.json", ".lock")
"""Those of which a damaged one is in nobody's way."""


def sparse(file: Path) -> None:
    with file.open("wb") as out:
        out.truncate(5 * 2**30)


KINDS: dict[str, Callable[[Path], object]] = {
    "null": lambda file: file.write_text("null\n"),
    "list": lambda file: file.write_text("[]\n"),
    "text": lambda file: file.write_text('"x"\n'),
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda file: file.symlink_to("/dev/zero"),
    "sparse": sparse,
    "nested": lambda file: file.write_text("[" * 100_000 + "]" * 100_000 + "\n"),
    "deep": lambda file: file.write_text('{"step":' * 100_000 + "1" + "}" * 100_000 + "\n"),
    "nan": lambda file: file.write_text('{"step": NaN, "event_type": "eval", "val_loss": Infinity}\n'),
    "huge": lambda file: file.write_text('{"step": ' + "9" * 4_000 + ', "event_type": "eval"}\n'),
    "longer": lambda file: file.write_text('{"step": ' + "9" * 5_000 + ', "event_type": "eval"}\n'),
    "type": lambda file: file.write_text(
        json.dumps(
            {
                "step": "x", "event_type": ["eval"], "id": 1, "recipe": "p", "order": {}, "total_steps": "x",
                "packages": [], "attempt": "x", "drift": 3, "message_": 1, "complete": "yes",
            }
        )
        + "\n"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good runs, and one for every kind in the place of every file."""
    root = tmp_path_factory.mktemp("runs")
    for order, name in enumerate(("good1", "good2")):
        write_run(root, f"phase/{name}", 1.3 + order / 10, curve=[(50, 2.0)], order=order)
    for file in (*FILES, *BESIDE):
        for kind, put in KINDS.items():
            if file in BESIDE and kind not in ("fifo", "folder", "device", "type"):
                continue
            folder = write_run(root, f"phase/{file.strip('.').replace('.', '_')}-{kind}", steps=50)
            (folder / file).unlink(missing_ok=True)
            put(folder / file)
    return root


def bad_runs(files: tuple[str, ...]) -> list[str]:
    return [f"phase/{file.replace('.', '_')}-{kind}" for file in files for kind in KINDS]


@pytest.mark.parametrize(
    "command",
    [
        ["export", "--to", "out"],
        ["fit", "--model", "per-size", "--plot", "fit.png"],
        ["report", "--out", "out.html"],
        ["runs", "compare", "phase", "--out", "out.csv"],
    ],
    ids=lambda command: command[0],
)
def test_the_bad_are_named_and_the_others_shown(
    root: Path,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    coarse_figures(monkeypatch, 40)
    begun = time.monotonic()
    code, _, err = run_cli([*command, "--runs", str(root)], monkeypatch, capsys)
    assert code == 0 or command[0] == "fit", err  # of two alike sizes no law can be told
    assert [name for name in bad_runs(FILES) if f"passed over: {name}: " not in err] == []
    assert not [word for word in ("defect", "Traceback", "unexpected") if word in err]
    for file in ("out/run_summaries.csv", "out.html", "out.csv"):
        if Path(file).exists():
            assert "good2" in Path(file).read_text()
    assert time.monotonic() - begun < 60


def test_the_listing_has_all_of_them_and_a_reason_for_each(root: Path) -> None:
    entries = {entry.folder: entry for entry in list_entries(root)}
    for name in bad_runs(("recipe.json", "summary.json", "failure.json")):
        if name.startswith("phase/failure"):
            continue  # a failure is read of runs that are not complete alone
        if name in entries:  # what is no folder with a record is no run
            assert entries[name].state == "unreadable", name
            assert entries[name].problem, name
    assert entries["phase/good1"].state == "complete"


def test_the_live_page_shows_the_others(root: Path) -> None:
    told: list[str] = []
    folders, waiting = _chooser((), root)()
    content = _look(folders, waiting, told.append)
    assert [name for name in bad_runs(FILES) if not any(f"{name}: " in text for text in told)] == []
    assert "good2" in str(content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_one_bad_run_alone_is_an_error_with_its_file(file: str, kind: str, root: Path) -> None:
    folder = root / "phase" / f"{file.replace('.', '_')}-{kind}"
    with pytest.raises(Exception, match=rf"{file.replace('.', '[.]')}") as caught:
        sound([folder])
    assert type(caught.value).__name__ == "UsageError"


@pytest.mark.parametrize(
    "put", [KINDS["fifo"], KINDS["device"], lambda file: file.symlink_to("../elsewhere")]
)
def test_nothing_is_written_through_a_link_or_into_a_pipe(
    put: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    for file in ("metrics.jsonl", "attempts.jsonl"):
        put(tmp_path / "run" / file)
        with pytest.raises(Exception, match=f"{file}: .*nothing is written there") as caught:
            open_to_append(tmp_path / "run" / file)
        assert type(caught.value).__name__ == "UsageError"
    put(tmp_path / "run" / "summary.json")
    write_json(tmp_path / "run" / "summary.json", {"a": 1})
    assert not (tmp_path / "run" / "summary.json").is_symlink()
    assert read_json(tmp_path / "run" / "summary.json") == {"a": 1}
    assert (tmp_path / "elsewhere").read_text() == "mine"


@pytest.mark.parametrize("text", [b"9" * 20, b"-9223372036854775809", b"NaN", b"[-Infinity]", b"[" * 10**5])
def test_what_no_json_number_is_or_no_end_has_is_no_value(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("value", [0, -(2**63), 2**63, 2**64 - 1, 0.12345678901234567, 1e-300, "9" * 40])
def test_every_value_that_is_written_is_read_back(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value
