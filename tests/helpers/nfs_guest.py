"""What a guest of `nfs_machines` runs as its first process: `nfs_guest.py FOLDER ADDRESS SERVER OPTIONS`.

It mounts the store at /run/store and then does what the files in FOLDER say: N.call is a command line as JSON, whose
output goes to N.out and whose exit code to N.code; N.kill sends it SIGKILL; `halt` ends the guest. FOLDER is the
host's: all that a guest sees but /proc, /run and the store.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

_INIT_MODULE = 313  # finit_module on x86-64; kmod need not be installed


def load(*names: str) -> None:
    """Kernel modules, and first what each needs."""
    there = Path("/usr/lib/uml/modules", os.uname().release)
    lines = (line.partition(":") for line in (there / "modules.dep").read_text().splitlines())
    needs = {module: needed.split() for module, _, needed in lines}

    def insert(module: str) -> None:
        for needed in reversed(needs[module]):
            insert(needed)
        with (there / module).open("rb") as file:  # what is loaded already is refused
            ctypes.CDLL(None).syscall(_INIT_MODULE, file.fileno(), b"", 0)

    for name in names:
        insert(next(module for module in needs if module.endswith(f"/{name}.ko")))


def set_up(address: str, server: str, options: str) -> None:
    """Its file systems, its network and the store."""

    def do(*command: str) -> None:
        subprocess.run(command, check=True)

    do("mount", "-t", "proc", "proc", "/proc")
    do("mount", "-t", "sysfs", "sys", "/sys")
    do("mount", "-t", "tmpfs", "tmp", "/run")
    do("hostname", f"guest-{address.split('.')[2]}")
    do("ip", "link", "set", "lo", "up")
    do("ip", "address", "add", f"{address}/24", "dev", "eth0")
    do("ip", "link", "set", "eth0", "up")
    load("nfsv3", "nfsv4")
    Path("/run/store").mkdir()
    do("mount", "-t", "nfs", "-o", options, f"{server}:/store", "/run/store")


def serve(folder: Path) -> None:
    """Until it is told to halt."""
    (folder / "ready").touch()
    running: dict[str, subprocess.Popen[bytes]] = {}
    while not (folder / "halt").exists():
        for call in folder.glob("*.call"):
            if call.stem not in running and not call.with_suffix(".code").exists():
                with call.with_suffix(".out").open("wb") as out:
                    line = json.loads(call.read_text())
                    running[call.stem] = subprocess.Popen(line, stdout=out, stderr=out, cwd="/run/store")
        for name, process in list(running.items()):
            if (folder / f"{name}.kill").exists():
                process.kill()
            if process.poll() is not None:
                done = folder / f"{name}.done"
                done.write_text(str(process.returncode))
                done.rename(folder / f"{name}.code")
                del running[name]
        time.sleep(0.05)


def main() -> None:
    """See the module."""
    folder, address, server, options = sys.argv[1:]
    try:
        set_up(address, server, options)
        serve(Path(folder))
        subprocess.run(["umount", "/run/store"], check=False)
    finally:
        Path("/proc/sysrq-trigger").write_text("o")
        time.sleep(10)


if __name__ == "__main__":
    main()
