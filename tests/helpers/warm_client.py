"""A Python that is quickly there: hands its command line, surroundings and open streams to the server of `warm.py`.

Stays until what the server forked for it has ended, hands on the signals that it gets, and ends in the same way. As it
dies, so does the other. `warm.py` writes the text of this file, with an address in it, to an executable `python` and to
an executable `fvlm`.
"""

import json
import os
import signal
import socket
import struct
import sys

ADDRESS = ""
PASSED_ON = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2
)  # fmt: skip


def _is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def main():
    streams = [number for number in (0, 1, 2) if _is_open(number)]
    # Sockets and files opened here take the numbers of closed streams: none is passed on, but for the folder.
    server = socket.socket(socket.AF_UNIX)
    server.connect(ADDRESS)
    ignored = [number for number in PASSED_ON if signal.getsignal(number) == signal.SIG_IGN]
    for number in PASSED_ON:
        if number not in ignored:
            signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
    arguments = sys.argv[1:]
    request = {
        "pid": os.getpid(),
        "arguments": ["-m", "fvlm_core", *arguments]
        if os.path.basename(sys.argv[0]) == "fvlm"
        else arguments,
        "environment": dict(os.environ),
        "umask": os.umask(0),
        "streams": streams,
        "ignored": [int(number) for number in ignored],
    }
    text = json.dumps(request).encode()
    folder = os.open(".", os.O_RDONLY)
    socket.send_fds(server, [struct.pack("q", len(text))], [folder, *streams])
    server.sendall(text)
    for number in streams:  # a reader of ours must see the end as soon as the other has ended
        os.close(number)
    code = struct.unpack("i", server.recv(4, socket.MSG_WAITALL))[0]
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
