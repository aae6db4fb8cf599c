"""Bytes of text files to text: UTF-8, or what a byte order mark says. All else is refused by name, never guessed."""

from __future__ import annotations

import codecs
import re

MARKS = (  # the longer ones first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 1024
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_AGAIN = "save it as UTF-8 (iconv -f {} -t UTF-8 OLD > NEW)"


class NotText(ValueError):
    """Why bytes are no text: what was found, where, and the way out."""


def encoding_of(content: bytes) -> tuple[str, int]:
    """The encoding that the beginning of a file tells, and the bytes of its mark: UTF-8 where there is none.

    Raises `NotText` for UTF-16 without a mark, by the zeros that every second byte is there.
    """
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return encoding, len(mark)
    head = content[:_LOOKED_AT]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if 2 * max(even, odd) > len(head) // 2 > 4 * min(even, odd):
        encoding = "UTF-16LE" if odd > even else "UTF-16BE"
        place = head.index(0)
        raise NotText(
            f"not UTF-8 text: {encoding} without a byte order mark (a zero at byte {place}); "
            f"{_AGAIN.format(encoding)}"
        )
    return "utf-8", 0


def decoded(content: bytes) -> str:
    """The text of a whole file, without its byte order mark. Raises `NotText`, naming byte and line."""
    encoding, mark = encoding_of(content)
    try:
        text = content[mark:].decode(encoding)
    except UnicodeDecodeError as error:
        place = mark + error.start
        line = content[mark:][: error.start].decode(encoding, "replace").count("\n") + 1
        if encoding != "utf-8":
            raise NotText(f"not {encoding.upper()} as its mark says: byte {place:,} (line {line})") from None
        raise NotText(_not_utf8(content[place], f" at byte {place:,} (line {line})")) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise NotText(f"no text: a zero at character {text.index(chr(0)):,} (line {line})")
    return text


def fault_of(text: str) -> str:
    """What no text may hold, in one that was decoded with `surrogateescape`, so that one bad row hides no other."""
    found = _UNUSABLE.search(text) if not text.isascii() or "\0" in text else None
    if found is None:
        return ""
    code = ord(found[0])
    if not code:
        return "no text: a zero in it"
    return _not_utf8(code - 0xDC00) if 0xDC80 <= code <= 0xDCFF else "not UTF-8 text: half a surrogate pair"


def _not_utf8(byte: int, place: str = "") -> str:
    return f"not UTF-8 text: byte 0x{byte:02X}{place}; if it is Latin-1, {_AGAIN.format('LATIN1')}"
