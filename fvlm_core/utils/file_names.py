"""Names that become folders and files: of recipes, runs and groups. One that passes stays where it is put."""

from __future__ import annotations

import re

LONGEST = 200
"""Bytes of a name; 255 fit, and files are written under longer names first."""


def folder_name_fault(name: object) -> str:
    """Why a text cannot name a folder of ours, and what can; the empty string where it can.

    Neither a way out of the folder it stands in ("..", "/"), nor what file systems, shells or terminals take for
    something else, nor hidden, as what the store keeps for itself is (".cache", ".removed").
    """
    if not isinstance(name, str):
        return f"expected a name, got {name}"
    fault = _fault(name)
    shown = name if len(name) <= 40 else f"{name[:40]}..."
    return (
        f'"{shown}" cannot name a folder: it {fault}; use letters, digits, ".", "_", "+" and "-", and a letter or '
        "digit first"
        if fault
        else ""
    )


def file_stem(name: str) -> str:
    """A component's name ("plugin:name", or "plugin:NAME" of a whole library) as one part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name.lstrip("."))[:LONGEST]


def _fault(name: str) -> str:
    if not name.strip():
        return "is empty"
    if name[0] in ".-":
        return f'begins with "{name[0]}"'
    if name != name.strip():
        return "begins or ends with a blank"
    for character in name:
        if character == "/":
            return 'holds "/"'
        if not character.isprintable():
            return f"holds a character that cannot be seen (U+{ord(character):04X})"
    size = len(name.encode("utf-8", "surrogatepass"))
    return f"has {size} bytes, and {LONGEST} are allowed" if size > LONGEST else ""
