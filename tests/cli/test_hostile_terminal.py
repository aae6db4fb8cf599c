"""No text from anywhere commands the terminal: names, tags, messages, paths, columns and settings are spelt out."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from coarse import coarse_figures
from hypothesis import example, given
from hypothesis import strategies as st
from run_folders import write_run
from tiny import RECIPE

from fvlm_core.cli import console
from fvlm_core.cli.main import main
from fvlm_core.cli.streams import SPELT, Stream, open_streams
from fvlm_core.utils.visible_text import visible

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\x08\u202egnp\u2066\u200b\x7f"
"""Colour, the window's title, an 8-bit "clear", overwriting, and text that runs backwards or is not seen."""

OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[1A|\r?\x1b\[2K")
"""What rich writes to style text, and to draw a bar over itself."""

SEEN = {"\n"}


def raw(text: str) -> list[str]:
    """Characters that a terminal, or a reader, would take for something else than text."""
    return [c for c in text if c not in SEEN and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


@example("\U000e0041\ufeff\u2028\xad")
@example(EVIL)
@given(st.text())
def test_what_is_visible_commands_nothing_and_says_the_same(text: str) -> None:
    shown = visible(text, keep="")
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Zl", "Zp")]
    assert not [
        c
        for c in shown
        if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]
    for ascii_only in (False, True):  # JSON that is made visible is the same JSON
        assert json.loads(visible(json.dumps(text, ensure_ascii=ascii_only))) == text


def test_what_people_write_is_left_as_it_is() -> None:
    for text in ("grün 日本語 é → ≤ α\n", "👩🏽 🏳️", "a\\b", "عربى"):
        assert visible(text) == text


def out_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """All that `fvlm ARGUMENTS` writes to stdout and stderr as a process of its own would."""
    console.stdout.cache_clear()
    console.stderr.cache_clear()
    open_streams()
    raws = io.BytesIO(), io.BytesIO()
    streams = [Stream(one, encoding="utf-8", errors=SPELT, write_through=True) for one in raws]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        patch.setattr(sys, "argv", ["fvlm", *arguments])
        main()
    console.stdout.cache_clear()
    console.stderr.cache_clear()
    return "".join(one.getvalue().decode() for one in raws)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, recipes, tables and data whose every text is hostile."""
    place = tmp_path_factory.mktemp("place")
    for order, name in enumerate(("a", "b", "c", "d")):
        folder = write_run(
            place / "runs", f"p/{name}", 1.5 + order / 10, order=order, size=EVIL, steps=100 - order
        )
        record = json.loads((folder / "recipe.json").read_text())
        record |= {"id": f"{name}{EVIL}", "recipe": f"p{EVIL}", "schedule": EVIL, "fvlm": EVIL}
        record["resolved"]["model"]["connector"][f"key{EVIL}"] = f"{order}{EVIL}"
        record["data"]["train"][0]["source"] = EVIL
        (folder / "recipe.json").write_text(json.dumps(record))
        (folder / "tags.json").write_text(json.dumps({"tags": [EVIL]}))
        row = {"sample": EVIL, "reason": EVIL, "kind": EVIL, "step": 1, "source": EVIL, "id": EVIL}
        (folder / "bad_samples.jsonl").write_text(json.dumps(row) + "\n")
        change = {"key": EVIL, "kind": EVIL, "from": EVIL, "to": EVIL}
        attempt = {
            "attempt": 1,
            "at": EVIL,
            "host": EVIL,
            "torch": EVIL,
            "device": EVIL,
            "drift": [change],
            "runtime": [],
        }
        (folder / "attempts.jsonl").write_text(json.dumps(attempt) + "\n")
        (folder / EVIL.replace("/", "")).write_text("")
    (place / "runs/p/c/failure.json").write_text(json.dumps({"message": EVIL, "error": EVIL, "at": EVIL}))
    (place / "runs/p/d/metrics.jsonl").write_text(json.dumps({"event_type": EVIL, "step": EVIL}) + "\n")
    quoted = json.dumps(f"x{EVIL}").replace("\x7f", "\\u007f")
    (place / "name.toml").write_text(RECIPE.replace('"tiny"', quoted))
    (place / "key.toml").write_text(RECIPE + f"{quoted} = 1\n")
    (place / "value.toml").write_text(RECIPE.replace('"seeded"', quoted))
    (place / "component.toml").write_text(RECIPE.replace('"foveated"', quoted))
    (place / f"file{EVIL}.toml").write_text("x = [\n")
    (place / "t.csv").write_text(f"N{EVIL},D,loss\n{EVIL},1,x\n".replace("\r", ""), encoding="utf-8")
    (place / "u.csv").write_text("N,D,loss,run\n" + f'"{EVIL}",2,3,"{EVIL}"\n', encoding="utf-8", newline="")
    clips = place / f"clips{EVIL}"
    clips.mkdir()
    (clips / f"v{EVIL}.mp4").write_bytes(b"no video")
    (clips / f"v{EVIL}.txt").write_text(f"caption {EVIL}")
    return place


COMMANDS: dict[str, list[str]] = {
    "list": ["runs", "list"],
    "list csv": ["runs", "list", "--csv"],
    "list json": ["runs", "list", "--json"],
    "list where": ["runs", "list", "--where", f"x{EVIL}=1"],
    "list none": ["runs", "list", EVIL],
    "show": ["runs", "show", "runs/p/a", "--settings"],
    "show json": ["runs", "show", "runs/p/a", "--json"],
    "show none": ["runs", "show", EVIL],
    "compare": ["runs", "compare", "runs/p/a", "runs/p/b", "runs/p/c", "runs/p/d"],
    "compare markdown": ["runs", "compare", "runs/p/a", "runs/p/b", "--format", "markdown"],
    "compare latex": ["runs", "compare", "runs/p/a", "runs/p/b", "--format", "latex"],
    "compare csv": ["runs", "compare", "runs/p/a", "runs/p/b", "--format", "csv"],
    "compare json": ["runs", "compare", "runs/p/a", "runs/p/b", "--format", "json"],
    "compare metric": ["runs", "compare", "runs/p/a", "--metric", EVIL, "--baseline", EVIL],
    "tag": ["runs", "tag", "a", EVIL],
    "rm": ["runs", "rm", "--yes", EVIL],
    "report": ["report", "--out", f"{EVIL}.html", "runs/p/a"],
    "export": ["export", "--to", f"out{EVIL}", "runs/p/a"],
    "fit": ["fit", "--model", "per-size", "--plot", "plot.png"],
    "fit table": ["fit", "--data", "t.csv", "--plot", "plot.png"],
    "fit cells": ["fit", "--data", "u.csv", "--plot", "plot.png"],
    "fit none": ["fit", "--data", EVIL],
    "fit fix": ["fit", "--data", "t.csv", "--fix", EVIL, "--model", EVIL],
    "predict": ["predict", "--budget", EVIL, EVIL],
    "suggest": ["suggest", EVIL, "--budget", "1e12", "--target-budget", "1e13"],
    "import": ["import", "t.csv", "--name", EVIL],
    "eval": ["eval", "runs/p/a"],
    "eval none": ["eval", EVIL],
    "caption": ["caption", "x.mp4", "--run", EVIL],
    "gaze": ["gaze", EVIL, "--run", "runs/p/a"],
    "demo": ["demo", EVIL],
    "weights": ["weights", "export", "runs/p/a", "--to", EVIL],
    "weights import": ["weights", "import", EVIL, "--recipe", EVIL],
    "run name": ["run", "name.toml", "--dry-run"],
    "run key": ["run", "key.toml", "--dry-run"],
    "run value": ["run", "value.toml", "--dry-run"],
    "run component": ["run", "component.toml", "--dry-run"],
    "run file": ["run", f"file{EVIL}.toml"],
    "run option": ["run", "key.toml", "-o", EVIL, "--only", EVIL],
    "option": ["run", f"--{EVIL}"],
    "command": [EVIL],
    "recipes": ["recipes", "show", EVIL],
    "plugins": ["plugins", "new", EVIL, "--kind", "fit"],
    "plugins check": ["plugins", "check", EVIL],
    "describe": ["data", "describe", EVIL],
    "check": ["data", "check", "clips", "-o", f"path=clips{EVIL}"],
    "freeze": ["data", "freeze", "clips", "-o", f"path=clips{EVIL}", "--name", EVIL],
    "pack": ["data", "pack", "clips", "-o", f"{EVIL}=1", "--to", EVIL],
    "launcher": ["run", "key.toml", "--launcher", EVIL],
    "schema": ["schema", "--out", f"t.csv/{EVIL}"],
    "verify": ["verify-resume", EVIL],
}  # fmt: skip


@pytest.mark.parametrize("terminal", [False, True], ids=("pipe", "terminal"))
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_prints_a_control_character(
    name: str, terminal: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("FVLM_RUNS", str(place / "runs"))
    monkeypatch.setenv("FVLM_CACHE", str(place / "cache"))
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
    coarse_figures(monkeypatch, 40)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    said = out_of(COMMANDS[name], monkeypatch)
    assert said
    own = OWN.sub("", said) if terminal else said
    assert raw(own) == []
    assert not [word for word in ("This is a defect", "Traceback") if word in said], said
    assert "\x1b[31mred" not in said
