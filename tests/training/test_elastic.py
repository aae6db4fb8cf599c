"""`torchrun --nnodes 1:2`: a node that leaves and comes back, two nodes of one machine each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import warm
from grids import history, until
from tiny import RECIPE

STEPS = 80
PATIENCE = 900.0

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * PATIENCE)]


class Nodes:
    """torchrun's agents, each as on a machine of its own; the first has what they meet at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agents: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self, address: str = "127.0.0.1") -> subprocess.Popen[bytes]:
        """One more. address: ranks are given in their order, then in that of their starts."""
        meeting = f"is_host={int(not self.agents)},join_timeout=900,last_call_timeout=20,read_timeout=900"
        meeting += ",keep_alive_interval=1,keep_alive_max_attempt=30"  # an agent that gets no CPU is not gone
        line = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc-per-node", "1"),
            *("--max-restarts", "3", "--rdzv-id", "elastic", "--rdzv-backend", "c10d"),
            *(
                "--rdzv-endpoint",
                f"127.0.0.1:{self.port}",
                "--local-addr",
                address,
                "--rdzv-conf",
                meeting,
            ),
            *("-m", "fvlm_core", "run", "tiny.toml"),
        ]
        log = (self.folder / f"node{len(self.agents) + 1}.txt").open("wb")
        self.agents.append(
            subprocess.Popen(
                line,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "FVLM_CACHE": str(self.folder / "cache"),
                    "OMP_NUM_THREADS": "1",
                    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # docs/howto/training.md says why
                },
            )
        )
        return self.agents[-1]

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "tiny" / "tiny"

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Of the metrics, those that are whole."""
        try:
            lines = (self.run / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        return [row for row in rows if row["event_type"] == kind]

    def worlds(self) -> list[int]:
        """How many ranks each attempt had."""
        try:
            lines = (self.run / "attempts.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line)["world"] for line in lines if line.endswith("}")]

    def together(self, steps: int) -> None:
        """Wait until both train, and have made so many steps since."""

        def far() -> bool:
            if self.worlds()[-1:] != [2] or not (attempts := self.rows("attempt")):
                return False
            rows = self.rows("train")
            return bool(rows) and rows[-1]["step"] >= attempts[-1]["step"] + steps

        until(far, PATIENCE)

    def ended(self, agent: subprocess.Popen[bytes]) -> int | None:
        """Its exit code; None where the run gets no further and the agent does not end."""
        far = -1
        while far < (now := len(self.rows("train"))):
            far = now
            with suppress(subprocess.TimeoutExpired):
                return agent.wait(PATIENCE)
        return agent.poll()

    def said(self) -> str:
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("node*.txt")))


def below_and(agent: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """An agent and all that it started."""
    try:
        own = psutil.Process(agent.pid)
        return [*own.children(recursive=True), own]
    except psutil.Error:
        return []


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    text = RECIPE.replace("steps = 6", f"steps = {STEPS}\nlog_every = 1").replace(
        "every = 2", f"every = {STEPS}"
    )
    (tmp_path / "tiny.toml").write_text(text + "[checkpoints]\nevery = 10\n")
    made = Nodes(tmp_path)
    yield made
    for agent in made.agents:
        for below in below_and(agent):
            try:
                below.kill()
            except psutil.Error:
                continue
        agent.wait()


def losses(nodes: Nodes) -> dict[int, tuple[float, str]]:
    """Loss, and what was read, of each step as it counts: the last time it was made."""
    return {row["step"]: (row["train_loss"], row["samples_hash"]) for row in nodes.rows("train")}


def alone(nodes: Nodes, folder: Path) -> dict[int, tuple[float, str]]:
    """Of a run by one process, which nobody disturbs."""
    other = Nodes(folder)
    folder.mkdir()
    (folder / "tiny.toml").write_text((nodes.folder / "tiny.toml").read_text())
    environment = {**os.environ, "FVLM_CACHE": str(nodes.folder / "cache")}
    done = warm.fvlm("run", "tiny.toml", cwd=folder, env=environment, seconds=PATIENCE)
    assert done.returncode == 0, done.stdout
    return losses(other)


def same(one: dict[int, tuple[float, str]], other: dict[int, tuple[float, str]]) -> None:
    assert sorted(one) == sorted(other) == list(range(1, STEPS + 1))
    assert {step: read for step, (_, read) in one.items()} == {
        step: read for step, (_, read) in other.items()
    }
    assert [one[step][0] for step in one] == pytest.approx([other[step][0] for step in one], rel=1e-5)


def asked_to_end(process: psutil.Process) -> bool:
    """Whether SIGTERM was sent to a process that is suspended."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("leaves", ["the first rank", "the second rank"])
def test_a_node_that_leaves_and_comes_back_costs_no_step_and_changes_no_loss(
    leaves: str, nodes: Nodes, tmp_path: Path
) -> None:
    address = "127.0.0.1" if leaves == "the first rank" else "127.0.0.3"
    first, second = nodes.start("127.0.0.2"), nodes.start(address)
    nodes.together(5)
    worlds = nodes.worlds()
    second.send_signal(signal.SIGTERM)  # as who drains a machine
    until(lambda: nodes.worlds()[len(worlds) :] == [1], PATIENCE)
    trainer = psutil.Process(json.loads((nodes.run / ".owner.json").read_text())["pid"])
    trainer.suspend()  # else it may be done before the other is back
    nodes.start(address)
    until(lambda: asked_to_end(trainer), PATIENCE)  # by torchrun, which has seen who waits
    trainer.resume()
    assert nodes.ended(first) == 0, nodes.said()
    assert "continues with another world size: 2 -> 1" in nodes.said()
    assert "continues with another world size: 1 -> 2" in nodes.said()
    assert nodes.worlds() == [*worlds, 1, 2]
    assert history(nodes.run)["twice"] == 0
    same(losses(nodes), alone(nodes, tmp_path / "alone"))


def test_a_node_that_dies_costs_the_steps_since_the_last_checkpoint(nodes: Nodes, tmp_path: Path) -> None:
    first, second = nodes.start(), nodes.start()
    nodes.together(15)
    before = len(nodes.worlds())
    for process in below_and(second):
        process.kill()
    assert nodes.ended(first) == 0, nodes.said()
    assert "continues with another world size: 2 -> 1" in nodes.said()
    of = history(nodes.run)
    assert nodes.worlds()[before:] == [1]
    begun, _ = of["attempts"][-1]
    assert begun >= 10
    assert begun % 10 == 0
    assert of["twice"] <= 10
    same(losses(nodes), alone(nodes, tmp_path / "alone"))
