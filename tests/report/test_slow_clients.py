"""A client of the live page that is slow, or does nothing, is dropped in time, and is in no other's way."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fvlm_core.report import loopback, watch
from fvlm_core.report.watch import Board, Server

SECONDS, CLIENTS = 0.6, 3


class Big(Board):
    """A page that no socket's buffer holds."""

    def page(self) -> bytes:
        return b"x" * 40_000_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(loopback, "_CLIENTS", CLIENTS)
    monkeypatch.setattr(watch._Handler, "timeout", SECONDS)  # pyright: ignore[reportPrivateUsage]
    served = Server("127.0.0.1", 0, Big(lambda: None, lambda: ""))  # type: ignore[arg-type, return-value]
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture
def others() -> set[threading.Thread]:
    """Threads that are there already, of servers of other tests."""
    return {*threading.enumerate()}


def answering(others: set[threading.Thread]) -> int:
    """Requests that the server of this test is busy with."""
    started = {*threading.enumerate()} - others
    return sum("process_request_thread" in one.name for one in started)


def dropped_after(client: socket.socket, drip: bytes) -> float:
    """Seconds until the server closes a connection on which a byte comes now and then."""
    begun = time.monotonic()
    client.settimeout(0.05)
    for at in range(400):
        try:
            if drip:
                client.sendall(drip[at % len(drip) :][:1])
            if client.recv(100) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


@pytest.mark.parametrize(
    "drip",
    [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1000, b"G" * 1000, b"\r\n" * 500],
    ids=ascii,
)
def test_a_byte_now_and_then_holds_nothing_open(drip: bytes, server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        assert dropped_after(client, drip) < 6 * SECONDS


def test_a_client_that_does_not_read_is_dropped(others: set[threading.Thread], server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        begun = time.monotonic()
        while answering(others):
            assert time.monotonic() - begun < 20
            time.sleep(0.05)
        assert time.monotonic() - begun < 6 * SECONDS


def test_many_that_do_nothing_keep_nobody_out_for_longer_than_their_time(
    others: set[threading.Thread], server: Server
) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
    begun = time.monotonic()
    time.sleep(0.2)
    assert answering(others) == CLIENTS
    asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    asked.request("GET", "/nothing")
    assert asked.getresponse().status == 404
    assert time.monotonic() - begun < 20 * SECONDS
    for client in idle:
        client.close()
