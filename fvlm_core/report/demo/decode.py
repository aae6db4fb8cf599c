"""An uploaded file to frames, by a process of its own: that is what a hostile one breaks, fills or keeps busy."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
from attrs import asdict, evolve
from numpy.typing import NDArray

from fvlm_core.media.bad_sample import BadSample
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


def _why(code: int) -> str:
    """A child's return code in words."""
    import signal

    if code < 0:
        return f"{signal.Signals(-code).name} (at most {SECONDS} s of computing and {MEMORY >> 30} GiB are given to it)"
    return f"code {code}"


def main(said: str, file: str) -> int:
    """In the child: the frames' bytes on stdout; 2 with the reason on stderr for what cannot be read."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    viewing = evolve(Viewing(size=1), **cast("dict[str, object]", json.loads(said)))
    try:
        frames = viewing.frames(Path(file))
    except BadSample as error:
        sys.stderr.write(error.reason)
        return 2
    except MemoryError:
        sys.stderr.write(f"decoding it takes more than {MEMORY >> 30} GiB of memory")
        return 2
    sys.stdout.buffer.write(np.ascontiguousarray(frames).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
