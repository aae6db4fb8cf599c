"""Machines that share a store by NFS, on one: a server (nfs-ganesha), and guests that are kernels of their own.

A guest is a user-mode Linux on the file system of this machine, so that it runs what is installed here, beside a
store that it mounts as any machine does, with its own caches and its own part in locks. All of it is in a network of
its own, which nothing leaves. Root. From Debian: `apt-get install user-mode-linux nfs-ganesha-vfs rpcbind nfs-common`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

NEEDED = "apt-get install user-mode-linux nfs-ganesha-vfs rpcbind nfs-common"

CASE = "nfs case"
"""The property of a test that holds a row of the table."""

LEASE = 10
"""Seconds for which the server keeps the locks of a machine that it does not hear of."""

SHARED = "vers=4.2"
"""Mounted so, locks are shared."""

ALONE = "vers=3,nolock,proto=tcp,mountproto=tcp,port=2049,mountport=20048"
"""Mounted so, each machine has locks of its own, and no error says so."""

CONFIGURATION = """\
NFS_CORE_PARAM {{ Protocols = 3,4; NFS_Port = 2049; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false;
  mount_path_pseudo = true; }}
NFSv4 {{ Lease_Lifetime = {lease}; Grace_Period = {lease}; Graceless = true; RecoveryBackend = fs;
  RecoveryRoot = {folder}/recovery; Only_Numeric_Owners = true; }}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{ Export_Id = 1; Path = {folder}/store; Pseudo = /store; Access_Type = RW; Squash = No_Root_Squash;
  SecType = sys; FSAL {{ Name = VFS; }} }}
"""

PATIENCE = 900.0
"""Seconds after which a thing will not happen any more: others may be using the machine."""


class Call:
    """A command in a guest."""

    def __init__(self, stem: Path) -> None:
        self.stem = stem

    @property
    def out(self) -> str:
        """What it said so far."""
        file = self.stem.with_suffix(".out")
        return file.read_text(errors="replace") if file.exists() else ""

    def says(self, text: str) -> str:
        """All that it said, once it has said this."""
        awaited(lambda: text in self.out or self.stem.with_suffix(".code").exists())
        assert text in self.out, self.out
        return self.out

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said."""
        code = self.stem.with_suffix(".code")
        awaited(code.exists)
        return int(code.read_text()), self.out

    def kill(self) -> None:
        """SIGKILL."""
        self.stem.with_suffix(".kill").touch()
        self.ended()


class Guest:
    """A machine with a store, mounted with `options`."""

    def __init__(self, machines: Machines, number: int, options: str) -> None:
        self.options = options
        self.folder = machines.folder / f"guest{number}-{time.monotonic_ns()}"
        self.folder.mkdir()
        net = f"10.77.{number}"
        init = self.folder / "init"
        program = Path(__file__).with_name("nfs_guest.py")
        words = (sys.executable, "-S", program, self.folder, f"{net}.2", f"{net}.1", options)
        init.write_text(
            f"#!/bin/sh\nPATH={os.environ['PATH']}:/usr/sbin:/sbin exec {' '.join(map(str, words))}\n"
        )
        init.chmod(0o755)
        self.process = machines.start(
            "linux.uml", "mem=1G", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}",
            "con=null", "con0=fd:0,fd:1", f"umid=guest{number}", f"eth0=tuntap,tap{number},,{net}.1",
            log=self.folder / "console", HOME=str(self.folder),
        )  # fmt: skip
        awaited(lambda: (self.folder / "ready").exists() or self.process.poll() is not None)
        assert self.process.poll() is None, (self.folder / "console").read_text(errors="replace")[-2000:]
        self._calls = 0

    def python(self, program: str, *arguments: str) -> Call:
        """Start a program in the store's folder."""
        self._calls += 1
        stem = self.folder / str(self._calls)
        stem.with_suffix(".new").write_text(json.dumps([sys.executable, "-c", program, *arguments]))
        stem.with_suffix(".new").rename(stem.with_suffix(".call"))
        return Call(stem)

    def halt(self) -> None:
        """Shut it down."""
        (self.folder / "halt").touch()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.cut()

    def cut(self) -> None:
        """As by the power."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # a guest's processes are this machine's, too
        self.process.wait()


class Machines:
    """The server and its guests, two at most. folder: of all that they keep; `store` in it is what they share."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"
        self.guests: dict[int, Guest] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        for name in ("store", "recovery"):
            (folder / name).mkdir(parents=True)
        self._space = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
        awaited(lambda: os.readlink(f"/proc/{self._space.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        for command in ("mount -t tmpfs tmp /run", "mkdir /run/ganesha", "ip link set lo up"):
            self._run(command)
        for number in (1, 2):
            for command in ("tuntap add {0} mode tap", "address add {1}/24 dev {0}", "link set {0} up"):
                self._run(f"ip {command.format(f'tap{number}', f'10.77.{number}.1')}")
        self.start("rpcbind", "-f", "-w", log=folder / "rpcbind.log")
        conf = folder / "ganesha.conf"
        conf.write_text(CONFIGURATION.format(folder=folder, lease=LEASE))
        log, pid = folder / "ganesha.log", folder / "ganesha.pid"
        self.start("ganesha.nfsd", "-F", "-f", conf, "-L", log, "-p", pid, log=folder / "ganesha.out")
        awaited(lambda: log.exists() and "NFS SERVER INITIALIZED" in log.read_text())

    def boot(self, number: int, options: str) -> Guest:
        """Guest 1 or 2, anew."""
        if before := self.guests.pop(number, None):
            before.halt()
        self.guests[number] = Guest(self, number, options)
        return self.guests[number]

    def start(self, *command: Any, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """A program in their network, which says what it says to a file."""
        with (
            log.open("wb") as out,
            Path("/dev/zero").open("rb") as endless,
        ):  # a guest's console wants a stdin
            self._started.append(
                subprocess.Popen(
                    [*self._inside(), *map(str, command)], stdin=endless, stdout=out, stderr=out,
                    env={**os.environ, **environment}, start_new_session=True,
                )
            )  # fmt: skip
        return self._started[-1]

    def down(self) -> None:
        """End all of it."""
        for guest in self.guests.values():
            guest.halt()
        for process in reversed([self._space, *self._started]):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def _inside(self) -> list[str]:
        return ["nsenter", "--net", "--mount", "--target", str(self._space.pid)]

    def _run(self, command: str) -> None:
        subprocess.run([*self._inside(), *command.split()], check=True)


def awaited(what: Callable[[], object]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def lacking() -> str:
    """Why there can be no such machines here; empty where there can."""
    if missing := [
        name for name in ("linux.uml", "ganesha.nfsd", "rpcbind", "mount.nfs") if not _there(name)
    ]:
        return f"{', '.join(missing)}: not installed ({NEEDED})"
    return "machines that share a store are put up by root alone" if os.geteuid() else ""


def _there(program: str) -> bool:
    return shutil.which(program) is not None or Path("/usr/sbin", program).exists()
