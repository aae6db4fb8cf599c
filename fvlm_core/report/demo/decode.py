"""An uploaded file to frames, by a process of its own: that is what a hostile one breaks, fills or keeps busy."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from threading import Timer
from typing import IO, cast

import numpy as np
from attrs import asdict, evolve
from numpy.typing import NDArray

from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.pictures import decode_picture
from fvlm_core.media.viewing import Viewing

SECONDS = 60
"""Of computing, for one file: a video of five minutes takes ten."""

MEMORY = 2 << 30
"""Bytes of address space: the largest picture that is decoded, 4096 x 4096, needs a tenth of it."""


def frames_apart(viewing: Viewing, file: Path) -> NDArray[np.uint8]:
    """`Viewing.frames` by a process of its own. Raises `BadSample`, also where it ends without an answer."""
    said = {name: value for name, value in asdict(viewing).items() if name != "sources"}
    command = [sys.executable, "-P", "-m", __name__, json.dumps(said), str(file)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=2 * SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BadSample(file, f"decoding it takes more than {2 * SECONDS} s") from None
    if done.returncode == 2:
        raise BadSample(file, done.stderr.decode("utf-8", "replace").strip())
    if done.returncode:
        raise BadSample(file, f"decoding it ended without an answer, by {_why(done.returncode)}")
    frames = np.frombuffer(bytearray(done.stdout), np.uint8)  # torch wants arrays that can be written
    return frames.reshape(-1, 3, viewing.size, viewing.size)


class PictureDecoder:
    """Pictures that come one by one, those of a camera: decoded by one process for all of them, with the time and
    memory of one file. size: of a frame."""

    def __init__(self, size: int) -> None:
        self._size = size
        command = [sys.executable, "-P", "-m", __name__, str(size)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def frame(self, content: bytes) -> NDArray[np.uint8]:
        """The next one: uint8 RGB [3, size, size], its centre as a video's would be. Raises `BadSample`, also where the
        process ends at it; it is of no use then."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        late = Timer(2 * SECONDS, self._child.kill)
        late.start()
        try:
            self._child.stdin.write(len(content).to_bytes(8, "big") + content)
            self._child.stdin.flush()
            reason = json.loads(self._child.stdout.readline() or "null")
            frame = self._child.stdout.read(3 * self._size**2) if reason == "" else b""
        except OSError:  # it ended while it was told
            reason = None
            frame = b""
        finally:
            late.cancel()
        if reason:
            raise BadSample(_CAMERA, reason)
        if len(frame) < 3 * self._size**2:
            raise BadSample(_CAMERA, f"decoding it ended without an answer, by {_why(self._child.wait())}")
        return np.frombuffer(bytearray(frame), np.uint8).reshape(3, self._size, self._size)

    @property
    def alive(self) -> bool:
        """Whether it can decode another one."""
        return self._child.poll() is None

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.communicate()


_CAMERA = Path("camera")


def _why(code: int) -> str:
    """A child's return code in words."""
    import signal

    if code < 0:
        return f"{signal.Signals(-code).name} (at most {SECONDS} s of computing and {MEMORY >> 30} GiB are given to it)"
    return f"code {code}"


def main(said: str, file: str | None = None) -> int:
    """In the child. Of a file: the frames' bytes on stdout; 2 with the reason on stderr for what cannot be read. Of a
    camera: said is the size of a frame; see `PictureDecoder`."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if file is None:
        _answer(int(said), sys.stdin.buffer, sys.stdout.buffer)
        return 0
    viewing = evolve(Viewing(size=1), **cast("dict[str, object]", json.loads(said)))
    try:
        frames = viewing.frames(Path(file))
    except BadSample as error:
        sys.stderr.write(error.reason)
        return 2
    except MemoryError:
        sys.stderr.write(_TOO_MUCH)
        return 2
    sys.stdout.buffer.write(np.ascontiguousarray(frames).tobytes())
    return 0


_TOO_MUCH = f"decoding it takes more than {MEMORY >> 30} GiB of memory"


def _answer(size: int, asked: IO[bytes], told: IO[bytes]) -> None:
    """Each picture that comes, with its length before it, as a line with what is wrong with it, and its frame where
    nothing is."""
    while head := asked.read(8):
        content = asked.read(int.from_bytes(head, "big"))
        reason, frame = "", b""
        try:
            frame = decode_picture(content, size).transpose(2, 0, 1).tobytes()
        except ValueError as error:
            reason = str(error)
        except MemoryError:
            reason = _TOO_MUCH
        told.write(json.dumps(reason).encode() + b"\n" + frame)
        told.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
