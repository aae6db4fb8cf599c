"""0 done, 1 failure, 2 misuse, 130 interrupted: whatever a command raises, and what is said of it."""

from __future__ import annotations

import errno
from typing import Any

import click
import pytest
from tiny import run_cli

from fvlm_core.cli import main
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.hindrance import hindrance
from fvlm_registry import LookupFailure

RAISED: list[tuple[BaseException, int, str]] = [
    (FvlmError("the queue is full"), 1, "the queue is full"),
    (UsageError("--n: expected a number"), 2, "--n: expected a number"),
    (LookupFailure('no plugin is called "x"'), 2, 'no plugin is called "x"'),
    (click.UsageError("no such option"), 2, "no such option"),
    (KeyboardInterrupt(), 130, ""),
    (OSError(errno.ENOSPC, "No space left on device", "/somewhere/x"), 1, "no room to write"),
    (OSError(errno.EROFS, "Read-only file system", "/somewhere/x"), 2, "/somewhere/x: Read-only file system"),
    (OSError(errno.EMFILE, "Too many open files", "/somewhere/x"), 1, "Too many open files"),
    (ZeroDivisionError("of ours"), 1, "This is a defect of fvlm or of a plugin"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "said"), RAISED, ids=[type(of[0]).__name__ for of in RAISED])
def test_what_a_command_raises_is_one_message_and_one_code(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.delenv("FVLM_DEBUG", raising=False)
    monkeypatch.setattr(main.fvlm, "main", broken)
    found, out, err = run_cli(["runs", "list"], monkeypatch, capsys)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    assert ("defect" in err) == isinstance(error, ZeroDivisionError)


def test_a_command_that_says_its_code_has_it_and_others_have_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for outcome, code in ((3, 3), (None, 0), ("text", 0)):
        monkeypatch.setattr(main.fvlm, "main", lambda *_, _out=outcome, **__: _out)
        assert run_cli(["runs"], monkeypatch, capsys)[0] == code


def test_a_file_that_is_missing_where_nobody_named_it_is_a_defect() -> None:
    assert hindrance(FileNotFoundError(errno.ENOENT, "No such file or directory", "/somewhere/ours")) is None
    assert hindrance(ValueError("no matter of the surroundings")) is None
