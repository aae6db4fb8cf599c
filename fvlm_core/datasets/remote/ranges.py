"""Bytes of a file at an address: so many as were asked for and no more, tried again while that may help."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cache
from random import SystemRandom
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from fvlm_core.datasets.remote.places import KEPT, place_of
from fvlm_core.utils.address import Address
from fvlm_core.utils.errors import FvlmError, MissingData, UsageError

TRIES = 8
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds before the second try, and at most before any; each is twice the one before it, and up to half as long again
by chance, so that many processes do not come back at once: half a minute in all."""

CONNECT, SILENCE = 10.0, 20.0
"""Seconds for a connection, and between two pieces of an answer."""

SLOWEST = 100_000
"""Bytes a second below which an answer is given up, once `SILENCE` has passed."""

PIECE = 1 << 20
REDIRECTS = 3
_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
_LEADING = frozenset((301, 302, 303, 307, 308))

_chance = SystemRandom()  # nothing is drawn from generators that training draws from


class _Again(Exception):
    """Why an answer was none, in words that hold no URL: a signed one is a secret."""


def read_range(address: Address, start: int, size: int) -> Iterator[bytes]:
    """`size` bytes from `start` on, in pieces of `PIECE`. Raises as `read_all`, and `UsageError` where ranges are not
    served or the file ends before."""
    for begin in range(start, start + size, PIECE):
        yield _tried(address, begin, min(PIECE, start + size - begin))


def read_all(address: Address, limit: int) -> bytes:
    """All of a file of at most `limit` bytes.

    Raises `MissingData` where there is none, `UsageError` where one is not let in, is led elsewhere, or it is larger;
    `FvlmError` where nobody answers after `TRIES`.
    """
    return _tried(address, None, limit)


def _tried(address: Address, start: int | None, size: int) -> bytes:
    begun, wait, why = time.monotonic(), FIRST_WAIT, ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(wait * _chance.uniform(1, 1.5))
            wait = min(2 * wait, LONGEST_WAIT)
        try:
            return _asked(address, start, size)
        except _Again as error:
            why = str(error)
    seconds = time.monotonic() - begun
    raise FvlmError(
        f"{address}: cannot be read: {why} ({TRIES} tries in {seconds:.0f} s). What was read is kept: the same command "
        "goes on"
    )


def _asked(address: Address, start: int | None, size: int) -> bytes:
    place = place_of(address)
    url, headers = place.url, {**place.headers, "Accept-Encoding": "identity"}
    if start is not None:
        headers["Range"] = f"bytes={start}-{start + size - 1}"
    led, until = _led.get(address, ("", 0.0))
    if led and time.monotonic() < until:
        url, headers = led, _without_secrets(headers)
    for _ in range(REDIRECTS + 1):
        with _Answer(url, headers) as answer:
            if url == led and answer.refused:
                del _led[address]  # what it was signed with is over
                raise _Again("where it lies is not open any more")
            to = answer.leads_to()
            if not to:
                return answer.content(address, start, size)
        if not place.may_lead(to):
            where = urlsplit(to)
            shown = f"{where.scheme}://{where.hostname or ''}"  # not its path, which may be signed
            raise UsageError(
                f"{address}: leads to {shown}, where nothing is asked for: name the address itself"
            )
        if urlsplit(to)[:2] != urlsplit(url)[:2]:
            headers = _without_secrets(headers)
            _led[address] = to, time.monotonic() + KEPT
        url = to
    raise UsageError(f"{address}: leads in circles")


_led: dict[Address, tuple[str, float]] = {}
"""Where files on another host of the hub's are, and until when that is believed: to ask the hub each time is refused
after some thousand times."""


def _without_secrets(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in ("Accept-Encoding", "Range") if name in headers}


class _Answer:
    """What comes back of one question."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        try:
            self._response: Any = _pool(os.getpid(), _proxy(url)).request(
                "GET", url, headers=headers, redirect=False, retries=False, preload_content=False,
                timeout=Timeout(connect=CONNECT, read=SILENCE),
            )  # fmt: skip
        except HTTPError as error:
            raise _Again(_worded(error)) from None
        self._url, self._whole = url, False

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._whole:
            self._response.release_conn()
        else:
            self._response.close()  # what else would come is not waited for

    @property
    def refused(self) -> bool:
        """Whether one is not let in."""
        return self._response.status in (401, 403)

    def leads_to(self) -> str:
        """Where it redirects; empty where it does not."""
        to = self._response.headers.get("Location", "")
        return urljoin(self._url, to) if self._response.status in _LEADING and to else ""

    def content(self, address: Address, start: int | None, size: int) -> bytes:
        """What was asked for: exactly `size` bytes from `start` on, or, of None, at most `size`."""
        from urllib3.exceptions import HTTPError

        self._refuse(address, start, size)
        begun, pieces, got = time.monotonic(), list[bytes](), 0
        try:
            while piece := self._response.read1(min(1 << 16, size + 1 - got), decode_content=False):
                pieces.append(piece)
                got += len(piece)
                if got > size:
                    raise UsageError(f"{address}: more than {size:,} bytes come, and no end")
                seconds = time.monotonic() - begun
                if seconds > SILENCE and got < SLOWEST * seconds:
                    raise _Again(f"{got:,} bytes in {seconds:.0f} s")
        except HTTPError as error:
            raise _Again(f"{_worded(error)} after {got:,} bytes") from None
        if start is not None and got < size:
            raise _Again(f"cut off after {got:,} of {size:,} bytes")
        self._whole = True
        return b"".join(pieces)

    def _refuse(self, address: Address, start: int | None, size: int) -> None:
        """Raise for an answer that holds something else."""
        status, headers = self._response.status, self._response.headers
        region = headers.get("x-amz-bucket-region", "")
        if status in (301, 307, 400) and region.replace("-", "").isalnum():
            raise UsageError(f"{address}: the bucket is in {region}: set AWS_DEFAULT_REGION={region}")
        if status in _AGAIN:
            raise _Again(f"status {status}")
        if status in (401, 403):
            raise Refused(f"{address}: not let in (status {status}): {_LET_IN[address.scheme]}")
        if status in (404, 410):
            raise MissingData(f"{address}: there is no such file (status {status})")
        if start is None:
            if status != 200:
                raise UsageError(f"{address}: expected status 200, got {status}")
            return
        if status == 200:
            raise UsageError(
                f"{address}: the server sends all of a file where a part is asked for (no Range)"
            )
        if status != 206:
            raise UsageError(
                f"{address}: bytes {start:,} to {start + size:,} are not all there (status {status})"
            )
        if not headers.get("Content-Range", "").startswith(f"bytes {start}-{start + size - 1}/"):
            raise UsageError(f"{address}: other bytes come than were asked for")


class Refused(UsageError):
    """Nobody is let in, or not who asks. Where files cannot be listed, S3 says so of one that is not there, too."""


_LET_IN = {
    "s3": "look at AWS_PROFILE and ~/.aws/credentials",
    "hf": "accept the terms of the data set on its page, and log in: hf auth login",
    "https": "put user and password of the host into ~/.netrc",
    "http": "put user and password of the host into ~/.netrc",
}


@cache
def _pool(process: int, proxy: str) -> Any:
    """The connections of a process: those of its parent are not its own."""
    from urllib3 import PoolManager, ProxyManager

    return ProxyManager(proxy, maxsize=16) if proxy else PoolManager(maxsize=16)


def _proxy(url: str) -> str:
    """What the surroundings name (https_proxy, no_proxy); empty for none."""
    parts = urlsplit(url)
    return "" if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme, "")


def _worded(error: Exception) -> str:
    from urllib3 import exceptions as of

    known = (
        (of.NameResolutionError, "its host is not known"),
        (of.ConnectTimeoutError, f"no connection in {CONNECT:g} s"),
        (of.ReadTimeoutError, f"silent for {SILENCE:g} s"),
        (of.NewConnectionError, "no connection"),
        (of.SSLError, "its certificate, or the connection, is not to be trusted"),
        (of.IncompleteRead, "cut off"),
    )
    return next((words for kind, words in known if isinstance(error, kind)), "the connection broke")
