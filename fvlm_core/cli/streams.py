"""stdout and stderr of a process that outlives its terminal.

What an encoding lacks is spelt out and never an error; a terminal, pipe or disk that can no longer be written to ends
only what is done for its sake. Standard streams that were closed before the process began are opened on nothing.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from errno import EPIPE
from typing import IO, Any, TextIO

from fvlm_core.utils.visible_text import visible

SPELT = "fvlm.spelt"
"""The error handler: as `backslashreplace`, but the marks that people write in ASCII, and Greek letters by name."""

_ASCII = "fvlm_ascii"
"""ASCII under another name: click takes a stream of that name for misconfigured, and writes UTF-8 past it."""

_MARKS = dict(zip("×·−–—‑‘’“”≈■□•↵", "x.----''\"\"~#o*/", strict=True)) | {
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "±": "+-",
    "→": "->",
    "←": "<-",
    "↔": "<->",
    "∞": "inf",
}


class Stream(io.TextIOWrapper):
    """stdout or stderr: the door to the terminal, through which no text passes that commands it.

    lost: what hindered writing, once something did; what is written then goes nowhere.

    needed: whether what is written is what the command was called for. If so, what hinders it ends the process with
    exit code 1: without a word when the reader has gone away, as `head` does.
    """

    lost: OSError | None = None
    needed = False

    def write(self, text: str) -> int:
        """As any text stream, but that what would command the terminal is spelt out (`visible_text`)."""
        self.write_styled(visible(text, keep="\n\t"))
        return len(text)

    def write_styled(self, text: str) -> int:
        """Text whose control sequences are the program's own."""
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """As any text stream."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is still buffered goes there, as does what libraries print
        os.close(nowhere)
        if self.needed:  # `SystemExit`, so that no handler of exceptions on the way goes on
            raise SystemExit(1 if error.errno == EPIPE else _said(error))


def open_streams() -> None:
    """Make stdout and stderr of this process `Stream`s, unless somebody has put others there (a test, a notebook)."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed; the next file that is opened would be taken for it
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
    codecs.register_error(SPELT, _spelt)
    codecs.register(_ascii)
    if sys.stdout is sys.__stdout__:
        sys.stdout = sys.__stdout__ = _opened(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = sys.__stderr__ = _opened(sys.stderr, 2)


class Styled:
    """stdout or stderr as rich writes to it: its console has made texts visible before it styled them."""

    def __init__(self, error: bool) -> None:
        self._error = error

    @property
    def _stream(self) -> IO[str]:
        stream = sys.stderr if self._error else sys.stdout
        return getattr(
            stream, "rich_proxied_file", stream
        )  # while rich draws, what others print goes to rich

    def write(self, text: str) -> int:
        """As any text stream."""
        stream = self._stream
        return stream.write_styled(text) if isinstance(stream, Stream) else stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def need_stdout(needed: bool) -> None:
    """Whether what is printed is what this command was called for; else its work goes on without."""
    if isinstance(sys.stdout, Stream):
        sys.stdout.needed = needed


def lost_stdout() -> str:
    """What hindered writing to stdout, other than that nobody reads it any more; or nothing."""
    lost = sys.stdout.lost if isinstance(sys.stdout, Stream) else None
    return _said(lost) if lost and lost.errno != EPIPE else ""


def _said(lost: OSError) -> str:
    return f"standard output: {lost.strerror}; what is printed there is not whole"


def is_utf8(stream: TextIO) -> bool:
    """Whether every character can be written to it as it is."""
    return codecs.lookup(stream.encoding or "ascii").name == "utf-8"


def _opened(stream: TextIO | None, number: int) -> Stream:
    if stream is None:
        return Stream(
            io.FileIO(number, "w", closefd=False), encoding="utf-8", errors=SPELT, write_through=True
        )
    assert isinstance(stream, io.TextIOWrapper)
    name = codecs.lookup(stream.encoding).name
    return Stream(
        stream.detach(),
        encoding=_ASCII if name == "ascii" else name,
        errors=stream.errors if (name, stream.errors) == ("utf-8", "surrogateescape") else SPELT,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _ascii(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    real = codecs.lookup("ascii")
    return codecs.CodecInfo(
        real.encode,
        real.decode,
        incrementalencoder=real.incrementalencoder,
        incrementaldecoder=real.incrementaldecoder,
        name=_ASCII,
    )


def _spelt(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_spell, error.object[error.start : error.end])), error.end


def _spell(character: str) -> str:
    """ "α" -> "alpha", "Ω" -> "Omega", "→" -> "->", "é" -> "\\xe9"."""
    if character in _MARKS:
        return _MARKS[character]
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    import unicodedata  # a library of its own, which few commands need

    name = unicodedata.name(character, "").split()
    if name[:2] in (["GREEK", "SMALL"], ["GREEK", "CAPITAL"]) and len(name) == 4:
        return name[3].lower() if name[1] == "SMALL" else name[3].capitalize()
    return character.encode("ascii", "backslashreplace").decode("ascii")
