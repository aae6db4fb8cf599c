"""Which ranks are there. A rank that was killed cannot say so; its socket is closed for it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from attrs import field, frozen

Address = tuple[str, int]

_PATIENCE = 2.0
"""Seconds in which a machine's system has closed what a process of it had open, and answers across a network."""


@frozen(eq=False)
class Presence:
    """A socket that listens as long as this rank lives, and is never read. addresses: of the others that this rank
    reaches, by rank."""

    addresses: dict[int, Address]
    _socket: socket.socket = field(repr=False)

    def missing(self) -> list[int]:
        """Ranks that are gone; waits for up to 2 s until there is one."""
        end = time.monotonic() + _PATIENCE
        while True:
            gone = [rank for rank, address in self.addresses.items() if not _answers(address)]
            if gone or time.monotonic() > end:
                return gone
            time.sleep(0.05)


def announce(rank: int, exchange: Callable[[Address | None], list[Address | None]]) -> Presence | None:
    """Listen, and learn where the others do. exchange: gives every rank all addresses. None where nobody can."""
    listening = _listen()
    told = exchange(listening.getsockname()[:2] if listening else None)
    if listening is None:
        return None
    others = {other: address for other, address in enumerate(told) if address is not None and other != rank}
    return Presence({other: address for other, address in others.items() if _answers(address)}, listening)


def _listen() -> socket.socket | None:
    """At the address by which this machine reaches the first rank's, so where that one reaches it."""
    if "MASTER_ADDR" not in os.environ:
        return None
    with suppress(OSError, ValueError):
        place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        family, _, _, _, address = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # of a datagram socket: a route is looked up, nothing is sent
            own = probe.getsockname()[0]
        return socket.create_server((own, 0), family=family, backlog=128)
    return None


def _answers(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=_PATIENCE).close()
    except OSError:
        return False
    return True
