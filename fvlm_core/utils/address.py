"""Addresses of data that are read where they lie, as a recipe writes them."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

SCHEMES = ("s3", "hf", "https", "http")

_HUB = re.compile(r"datasets/[^/@]+/[^/@]+(@[^/@]+)?(/.*)?")


class Address(str):
    """`s3://BUCKET/FOLDER`, `hf://datasets/OWNER/NAME[@REVISION]/FOLDER` or `https://HOST/FOLDER`; `http://`, too.

    No slash at its end. Raises ValueError for another scheme, one without a host, and one that holds what may be a
    secret: it would be kept in the record of every run.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Address:
        scheme = text.partition("://")[0]
        if scheme not in SCHEMES:
            raise ValueError(
                f'"{scheme}://" is not read: expected {", ".join(f"{s}://" for s in SCHEMES)} or a path'
            )
        if not text.isprintable() or " " in text or "\\" in text:
            raise ValueError("an address with a space, a backslash or an unprintable character")
        parts = urlsplit(text)
        if "@" in parts.netloc or "?" in text or "#" in text:
            raise ValueError(
                "an address with a user, a query or a fragment: what is secret is kept out of recipes, and read from "
                "where its tools keep it (AWS_PROFILE, ~/.aws, hf auth login, ~/.netrc)"
            )
        if scheme == "hf" and not _HUB.fullmatch(text.removeprefix("hf://")):
            raise ValueError("expected hf://datasets/OWNER/NAME/FOLDER, or NAME@REVISION")
        if not parts.netloc or ".." in parts.path.split("/"):
            raise ValueError(f"an address without a host, or with ..: expected {scheme}://HOST/FOLDER")
        return super().__new__(cls, text.rstrip("/"))

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.partition("://")[0]

    def below(self, name: str) -> Address:
        """The address of a file or folder in this one."""
        return Address(f"{self}/{name}")

    @property
    def url(self) -> str:
        """Of `https` and `http`: as it is asked for."""
        host, slash, path = self.partition("://")[2].partition("/")
        return f"{self.scheme}://{host}{slash}{quote(path, safe='/%:@!$&()*+,;=~-._')}"


def is_address(text: str) -> bool:
    """Whether it is meant as one, though it may be a wrong one."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
