"""What is printed survives any encoding, and a terminal, pipe or disk that is gone ends only what was done for it."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import warm
from hypothesis import given
from hypothesis import strategies as st
from tiny import trained

from fvlm_core.cli import streams

FVLM = Path(sys.executable).with_name("fvlm")
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""What is left of Python's own ways out of ASCII is switched off."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete run, and a run of a name that ASCII lacks."""
    return trained(tmp_path_factory.mktemp("store"))


def shell(
    line: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", re.sub(r"(?<![/\w-])fvlm\b", str(FVLM), line)],
        cwd=folder,
        env={**os.environ, "FVLM_CACHE": str(folder / "cache"), **(environment or {})},
        capture_output=True,
        check=False,
    )


FULL = "standard output: No space left on device; what is printed there is not whole\n"
QUIET = ("Traceback", "Exception ignored", "BrokenPipe", "defect")


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        # Nobody reads: the work that was for the reader ends, without a word.
        ("fvlm runs list | true; exit ${PIPESTATUS[0]}", 1, ""),
        ("fvlm schema | true; exit ${PIPESTATUS[0]}", 1, ""),
        # There was no stdout to begin with: nothing is written, and nothing was asked to be.
        ("fvlm runs list >&-", 0, ""),
        ("fvlm runs list --json <&- >&- 2>&-", 0, ""),
        ("fvlm --help >&-", 0, ""),
        # What was asked for cannot be written.
        ("fvlm runs list > /dev/full", 1, FULL),
        ("fvlm runs list --json > /dev/full", 1, FULL),
        ("fvlm --version > /dev/full", 1, FULL),
        # stderr is nobody's work: an error keeps its exit code.
        ("fvlm bogus 2> /dev/full", 2, ""),
        ("fvlm bogus 2>&-", 2, ""),
        ("fvlm runs show nothing 2>&1 >&- | true; exit ${PIPESTATUS[0]}", 2, ""),
    ],
)  # fmt: skip
def test_a_stream_that_is_gone(line: str, code: int, error: str, store: Path) -> None:
    done = shell(line, store)
    assert (done.returncode, done.stderr.decode()) == (code, error)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("RUN 2>&1 | true; exit ${PIPESTATUS[0]}", ""),
        ("RUN <&- >&- 2>&-", ""),
        ("RUN > /dev/full", FULL),
    ],
    ids=["readers gone", "closed", "full"],
)  # fmt: skip
def test_a_run_whose_streams_are_gone_ends_well_and_keeps_its_record(
    line: str, error: str, store: Path, tmp_path: Path
) -> None:
    run = f"{warm.folder()}/fvlm run tiny.toml -o training.steps=2 --runs {tmp_path}"
    done = shell(line.replace("RUN", run), store)
    assert (done.returncode, done.stderr.decode()) == (0, error)
    written, other = (root / "tiny/tiny" for root in (tmp_path, store / "runs"))
    assert json.loads((written / "summary.json").read_bytes())["complete"]
    assert {file.name for file in written.iterdir()} == {file.name for file in other.iterdir()}
    for file in written.rglob("*.json*"):  # nothing that was printed landed in a file that took its number
        text = file.read_text(encoding="utf-8")
        assert "already complete" not in text
        assert "val " not in text


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii:strict"}, BARE], ids=str)
@pytest.mark.parametrize(
    "line",
    ["fvlm --help", "fvlm runs list", "fvlm runs show tiny", "fvlm plugins list", "fvlm runs show é×α"],
)
def test_an_ascii_terminal_gets_ascii(line: str, environment: Mapping[str, str], store: Path) -> None:
    done = shell(line, store, environment)
    assert done.returncode == (2 if "é" in line else 0)
    text = (done.stdout + done.stderr).decode("ascii")
    assert not any(word in text for word in QUIET)
    if "é" in line and environment is not BARE:  # there the shell's argument itself is bytes
        assert '"\\xe9xalpha"' in text


@pytest.mark.parametrize(
    "others", [("cp1252", "utf-16"), pytest.param(("ascii", "latin-1"), marks=pytest.mark.soak)]
)
def test_json_keeps_every_character_in_any_encoding(others: tuple[str, ...], store: Path) -> None:
    """Where a terminal lacks them they are written as escapes, which mean the same."""
    line = "fvlm data describe shapes -o prompt=é×α日 --json"
    spelt = {
        encoding: json.loads(shell(line, store, {"PYTHONIOENCODING": encoding}).stdout.decode(encoding))
        for encoding in ("utf-8", *others)
    }
    assert json.loads(spelt["utf-8"]["settings"]["prompt"]) == "é×α日"
    assert all(found == spelt["utf-8"] for found in spelt.values())


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "koi8-r"])
@given(text=st.text(st.characters()))
def test_no_character_is_an_error_and_none_is_lost_without_a_trace(encoding: str, text: str) -> None:
    codecs.register_error(streams.SPELT, streams._spelt)
    spelt = text.encode(encoding, streams.SPELT).decode(encoding)
    kept = [character for character in text if character in spelt]
    assert all(c in kept for c in text if c.encode(encoding, "ignore"))
    assert len(spelt) >= len(text)
    assert text.encode("utf-8", streams.SPELT).decode() == text or any(
        "\ud800" <= c <= "\udfff" for c in text
    )


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("α β Ω ς", "alpha beta Omega \\u03c2"), ("3 × 4 ≤ 12 ± 1 → …", "3 x 4 <= 12 +- 1 -> ..."),
        ("café", "caf\\xe9"), ("日本", "\\u65e5\\u672c"), ("a\udcffb", "a\\xffb"), ("“–”", '"-"'),
    ],
)  # fmt: skip
def test_how_characters_are_spelt_in_ascii(text: str, spelt: str) -> None:
    codecs.register_error(streams.SPELT, streams._spelt)
    assert text.encode("ascii", streams.SPELT).decode() == spelt


def test_streams_of_somebody_else_stay(capsys: pytest.CaptureFixture[str]) -> None:
    """A test's, or a notebook's."""
    before = sys.stdout, sys.stderr
    streams.open_streams()
    assert (sys.stdout, sys.stderr) == before
    assert streams.is_utf8(io.TextIOWrapper(io.BytesIO(), "utf8"))
    assert not streams.is_utf8(io.TextIOWrapper(io.BytesIO(), "cp1252"))


def test_a_pipe_to_another_process_that_breaks_is_told(store: Path) -> None:
    """It is not taken for stdout's, whose reader may go away."""
    for error in ("BrokenPipeError(32, 'Broken pipe')", "EOFError()"):
        program = (
            "import sys, types, click\nfrom fvlm_core.cli import main\n@click.command()\n"
            f"def command():\n    raise {error}\n"
            "sys.modules['trial'] = types.SimpleNamespace(command=command)\n"
            "main.COMMANDS['try'] = ('trial', '')\nsys.argv = ['fvlm', 'try']\nsys.exit(main.main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 1
        assert "a pipe to another process has ended" in done.stderr


def test_reports_and_exports_are_utf8_under_an_ascii_locale(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "runs/tiny", tmp_path / "tiny")
    record = tmp_path / "tiny/tiny/recipe.json"
    said = json.loads(record.read_bytes())
    said["resolved"]["description"] = "α → β"
    record.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
    program = (
        "import locale, os, sys\nlocale.setlocale(locale.LC_ALL, 'C')\nsys.stdout.reconfigure(encoding='ascii')\n"
        "assert open(os.devnull).encoding.lower() in ('ascii', 'us-ascii', 'ansi_x3.4-1968')\n"
        "from fvlm_core.cli import main\n"
        "for line in ('report --runs R --out R/x.html', 'export --runs R --to R/x'):\n"
        "    sys.argv = ['fvlm', *line.split()]\n    assert main.main() == 0"
    ).replace("R", str(tmp_path))
    done = subprocess.run(
        # A process that was forked is in the same mode as this one, and in UTF-8 mode no locale counts.
        [sys.executable if sys.flags.utf8_mode else warm.python(), "-c", program],
        cwd=store,
        env={**os.environ, **BARE},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")
    assert "α → β" in (tmp_path / "x.html").read_text(encoding="utf-8")
    for file in [*(tmp_path / "x").glob("*.csv"), *(tmp_path / "x").glob("*.json")]:
        file.read_text(encoding="utf-8")
