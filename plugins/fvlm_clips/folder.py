"""The folder that holds the videos: which files are there, and which names stay inside it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from fvlm_core.plugin_api import NotData, Refused, check_data, is_video, leads_out

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@define
class Folder:
    """A folder, resolved. Each of its subfolders is listed once, when a name first leads there."""

    root: Path = field(converter=lambda path: Path(path).resolve())
    _listed: dict[str, frozenset[str]] = field(factory=dict[str, frozenset[str]], init=False)

    def find(self, name: str) -> str:
        """The file that a manifest names, relative to the folder. Raises `Refused`."""
        parent, _, leaf = name.rpartition("/")
        try:
            if leaf in self._names(parent) and not name.startswith("/"):
                return name
            return self._resolved(name)
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL byte, links that go in circles
            raise Refused(f"no file name: {error}", unseen="no file name") from error

    def videos(self) -> Iterator[str]:
        """Every video in the folder and its subfolders, relative to it, in order of name."""
        return filter(is_video, self.files())

    def files(self) -> Iterator[str]:
        """Every file in the folder and its subfolders, relative to it, in order of name."""
        for parent, folders, files in os.walk(self.root):
            folders.sort()
            for file in sorted(files):
                yield os.path.relpath(os.path.join(parent, file), self.root)

    def _names(self, parent: str) -> frozenset[str]:
        """The ordinary files of a plainly named subfolder; whatever else there is takes the careful way."""
        if parent not in self._listed:
            names: frozenset[str] = frozenset()
            folder = self.root / parent
            inside = not parent or (parent == os.path.normpath(parent) and parent[0] not in "/.")
            if inside and folder.resolve() == folder and folder.is_dir():
                with os.scandir(folder) as entries:
                    names = frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
            self._listed[parent] = names
        return self._listed[parent]

    def _resolved(self, name: str) -> str:
        if not name:
            raise Refused("no file name", unseen="no file name")
        if _SCHEME.match(name):
            reason = "names a URL or protocol; only files on this machine are read"
            raise Refused(f'"{name}" {reason}', unseen=reason)
        path = self.root / name
        if leads_out(path, self.root):
            reason = f"leads out of {self.root}"
            raise Refused(f'"{name}" {reason}', unseen=reason)
        target = path.resolve()
        try:
            check_data(target)
        except NotData as error:
            reason = "no such file" if target.is_dir() else error.reason
            raise Refused(f"{reason}: {target}", unseen=reason) from None
        except FileNotFoundError:
            raise Refused(f"no such file: {target}", unseen="no such file") from None
        if not target.is_relative_to(self.root):  # a blob of a Hugging Face cache: only the link has a name
            target = path.parent.resolve() / path.name
        return target.relative_to(self.root).as_posix()
