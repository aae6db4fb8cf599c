"""A SLURM of one machine, as it is: `python tests/helpers/slurm_cluster.py DIR` puts one up until Ctrl-C.

munged, slurmctld and a slurmd for each node, with --acct slurmdbd over MariaDB; no systemd, no cgroups. Root. From
Debian: `apt-get install slurm-wlm munge`, for accounting `apt-get install --no-install-recommends slurmdbd
mariadb-server`. All daemons listen on loopback alone. What they keep is in DIR; SLURM_CONF is all that a client needs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

NEEDED = "apt-get install slurm-wlm munge"
NEEDED_FOR_ACCOUNTING = "apt-get install --no-install-recommends slurmdbd mariadb-server"

CONFIGURATION = """\
ClusterName=fvlm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SrunPortRange=16900-16999
AuthType=auth/munge
AuthInfo=socket={run}/munge.sock
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=3,batch_sched_delay=0
SlurmdTimeout=15
KillWait=20
MessageTimeout=5
MinJobAge={age}
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
{more}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=30 State=UP
"""

ACCOUNTED = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass={run}/munge.sock
AccountingStorageEnforce=associations,limits,qos
PreemptType=preempt/qos
PreemptMode=CANCEL
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill"""

ACCOUNTING = """\
AuthType=auth/munge
AuthInfo=socket={run}/munge.sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={run}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=16806
StorageUser=slurm
StoragePass=x
StorageLoc=acct
"""

_SQL = "; ".join(
    (
        "create database if not exists acct",
        *(
            f"create user if not exists slurm@'{host}' identified by 'x'"
            for host in ("localhost", "127.0.0.1")
        ),
        *(f"grant all on acct.* to slurm@'{host}'" for host in ("localhost", "127.0.0.1")),
    )
)


class Cluster:
    """A cluster that is up. folder: of all that it keeps. accounting: with slurmdbd, QOS and limits, and a kill of
    jobs that take more memory than they asked for. nodes: `n1`, ... of two CPUs each, all on this machine.

    signals_all: SIGTERM goes to every process of a job and not to its first alone, as on clusters with
    proctrack/linuxproc or SignalChildrenProcesses.
    """

    def __init__(
        self, folder: Path, *, nodes: int = 1, accounting: bool = False, signals_all: bool = False
    ) -> None:
        self.folder, self.run = folder, folder / "run"
        self.accounting = accounting
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self.conf = folder / "slurm.conf"
        self._daemons: dict[str, int] = {}
        for name in ("state", "spool", "log", "run"):
            (folder / name).mkdir(parents=True)
        folder.chmod(0o755)
        known = {
            "folder": folder,
            "run": self.run,
            "host": socket.gethostname().partition(".")[0],
            "proctrack": "linuxproc" if signals_all else "pgid",
            "age": 300 if accounting else 10,
        }
        lines = [
            f"NodeName={name} NodeHostname={known['host']} NodeAddr=127.0.0.1 Port={16820 + number} CPUs=2 "
            "RealMemory=8000"
            for number, name in enumerate(self.nodes)
        ]
        more = ACCOUNTED.format(**known) if accounting else "JobAcctGatherType=jobacct_gather/none"
        self.conf.write_text(CONFIGURATION.format(**known, nodes="\n".join(lines), more=more))
        if accounting:
            file = folder / "slurmdbd.conf"
            file.write_text(ACCOUNTING.format(**known))
            file.chmod(0o600)
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}

    def up(self) -> None:
        """Start all of it. Raises `RuntimeError` with the ends of the logs when it does not come up."""
        try:
            key = self.folder / "munge.key"
            key.write_bytes(secrets.token_bytes(128))
            key.chmod(0o600)
            run, log = self.run, self.folder / "log"
            self._start(
                "munged", "--force", f"--key-file={key}", f"--socket={run}/munge.sock",
                f"--pid-file={run}/munged.pid", f"--log-file={log}/munged.log", f"--seed-file={run}/munge.seed",
            )  # fmt: skip
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            for name in self.nodes:
                self.start_node(name)
            self._await(lambda: self.states() == ["idle"] * len(self.nodes), "idle nodes")
        except BaseException:
            self.down()
            raise

    def start_controller(self) -> None:
        """slurmctld, again after `stop_controller` with what it had kept."""
        self._start("slurmctld", "-f", self.conf)
        self._await(lambda: "UP" in self.ask("scontrol", "ping"), "slurmctld")

    def stop_controller(self) -> None:
        """As a controller that is away."""
        self._end("slurmctld")

    def start_node(self, name: str) -> None:
        """The slurmd of a node."""
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        self._start("slurmd", "-f", self.conf, "-N", name, pid=f"slurmd-{name}")

    def kill_node(self, name: str) -> None:
        """SIGKILL to the slurmd of a node and to all that runs there."""
        daemon = self._daemons.pop(f"slurmd-{name}")
        there = [one for one in self.processes() if _environment(one).get("SLURMD_NODENAME") == name]
        steps = [parent for one in there for parent in one.parents() if parent.name() == "slurmstepd"]
        _kill([psutil.Process(daemon), *steps, *there])

    def processes(self) -> list[psutil.Process]:
        """Daemons, and all that was started with this cluster's SLURM_CONF, jobs of every node among it."""
        own = os.getpid()
        return [one for one in psutil.process_iter() if one.pid != own and self._has(one)]

    def _has(self, process: psutil.Process) -> bool:
        """By its surroundings, which a slurmstepd writes its title over; it is in the folder of the logs."""
        if _environment(process).get("SLURM_CONF") == str(self.conf):
            return True
        with suppress(psutil.Error, OSError):
            return process.name() == "slurmstepd" and Path(process.cwd()).is_relative_to(self.folder)
        return False

    def down(self) -> None:
        """End all jobs and daemons, and whatever else was started with this cluster's SLURM_CONF."""
        with suppress(OSError, subprocess.SubprocessError):
            self.ask("scancel", "--signal=KILL", "--user=root", timeout=10)
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(name)
        _kill(self.processes())
        self._daemons.clear()

    def ask(self, *command: str | Path, timeout: float = 60) -> str:
        """What a client says: its stdout and stderr."""
        done = subprocess.run(
            [str(part) for part in command], env=self.environment, text=True, timeout=timeout, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout

    def states(self) -> list[str]:
        """Of the nodes."""
        return [
            line.rstrip("*~") for line in self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%T").splitlines()
        ]

    def jobs(self) -> list[tuple[str, str, str, str]]:
        """Of all jobs in the queue: id, name, state, reason."""
        lines = self.ask("squeue", "-h", "-r", "-o", "%i|%j|%T|%r").splitlines()
        return [tuple(line.split("|", 3)) for line in lines]  # type: ignore[misc]

    def _start_accounting(self) -> None:
        run, data = self.run, self.folder / "sql"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120,
        )  # fmt: skip
        with (self.folder / "log" / "sql.log").open("wb") as log:
            started = subprocess.Popen(
                ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={run}/sql.sock",
                 "--bind-address=127.0.0.1", "--port=16806"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._daemons["mariadbd"] = started.pid
        sql = ("mariadb", "--no-defaults", "-uroot", "-S", run / "sql.sock", "-e")
        self._await(lambda: not self.ask(*sql, "select 1").startswith("ERROR"), "mariadbd")
        self.ask(*sql, _SQL)
        self._start("slurmdbd")
        self._await(lambda: "error" not in self.ask("sacctmgr", "-n", "show", "cluster"), "slurmdbd")
        for words in (
            "add cluster fvlm",
            "add account lab",
            "add user root account=lab",
            "add qos urgent priority=100 preempt=normal",
            "modify user root set qos=normal,urgent defaultqos=normal",
        ):
            self.ask("sacctmgr", "-i", *words.split())

    def _start(self, *command: str | Path, pid: str = "") -> None:
        """A daemon that goes into the background by itself and writes its number."""
        name = pid or str(command[0])
        file = self.run / f"{name}.pid"
        file.unlink(missing_ok=True)
        program = shutil.which(str(command[0])) or f"/usr/sbin/{command[0]}"
        subprocess.run([program, *map(str, command[1:])], env=self.environment, check=True, timeout=60)
        self._await(lambda: file.exists() and file.read_text().strip(), name)
        self._daemons[name] = int(file.read_text())

    def _end(self, name: str) -> None:
        number = self._daemons.pop(name, None)
        if number is None:
            return
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(number)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except psutil.TimeoutExpired:
                process.kill()

    def _await(self, what: Callable[[], object], name: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                logs = sorted((self.folder / "log").glob("*.log"))
                told = "\n".join(f"{log.name}:\n{log.read_text()[-1500:]}" for log in logs)
                raise RuntimeError(f"{name} did not come up\n{told}")
            time.sleep(0.1)


def _environment(process: psutil.Process) -> dict[str, str]:
    """What it was started with; nothing of one that has ended or is another's."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _kill(processes: Sequence[psutil.Process]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(processes, timeout=10)


def lacking(*, accounting: bool = False) -> str:
    """Why there can be no cluster here; empty where there can."""
    if not (_there("slurmctld") and _there("munged")):
        return f"slurmctld or munged is not installed: {NEEDED}"
    if accounting and not (_there("slurmdbd") and _there("mariadbd")):
        return f"slurmdbd or mariadbd is not installed: {NEEDED_FOR_ACCOUNTING}"
    return "a SLURM of a machine's own is put up by root alone" if os.geteuid() else ""


def _there(program: str) -> bool:
    return shutil.which(program) is not None or Path("/usr/sbin", program).exists()


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    cluster = Cluster(
        Path(arguments[0]), accounting="--acct" in arguments, signals_all="--signals-all" in arguments
    )
    cluster.up()
    print(f"export SLURM_CONF={cluster.conf}", flush=True)
    try:
        signal.pause()
    finally:
        cluster.down()


if __name__ == "__main__":
    main(sys.argv[1:])
