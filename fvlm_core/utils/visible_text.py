"""Text from anywhere, with the characters spelt out that would command a terminal or deceive who reads it."""

from __future__ import annotations

import re
from functools import cache

_UNSEEN = (
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: ESC and CSI among them
    "\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidirectional, of no width
    "\U000e0000-\U000e0fff"  # tags, and variation selectors of no glyph
    "\udc80-\udc9f]"  # bytes of a name that is no text, and would be C1
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def visible(text: str, keep: str = "\n") -> str:
    """The text with control, bidirectional and zero-width characters spelt as JSON has them: "\\u001b[31m".

    A JSON text means the same afterwards. keep: characters that stay.
    """
    plain = text
    for character in keep:
        plain = plain.replace(character, "")
    # Of what is spelt only the last range is printable in part; to compile the pattern takes a hundredth of `--help`.
    if plain.isprintable() and (plain.isascii() or max(plain) < "\U000e0000"):
        return text
    return _pattern().sub(lambda found: found[0] if found[0] in keep else _spelt(found[0]), text)


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(_UNSEEN)


def _spelt(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if "\udc80" <= character <= "\udc9f":
        return f"\\x{ord(character) - 0xDC00:02x}"
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
