"""A SLURM of shell scripts, which tests of launchers and of campaigns share."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FAKES = {
    "srun": 'while [ "${1#-}" != "$1" ]; do case $1 in --output|--error) shift;; esac; shift; done; exec "$@"',
    "sbatch": """
id=$(($(cat $FAKE/last 2>/dev/null || echo 100) + 1)); echo $id > $FAKE/last; cp $1 $FAKE/$id.sh
env > $FAKE/$id.env
if [ -e $FAKE/refuse ]; then cat $FAKE/refuse >&2; exit 1; fi
if [ -e $FAKE/pend ]; then echo PENDING > $FAKE/$id.state; echo "Submitted batch job $id"; exit 0; fi
run() {
  echo RUNNING > $FAKE/$1.state
  SLURM_JOB_ID=$id setsid sh -c "bash $FAKE/$id.sh; echo COMPLETED > $FAKE/$1.state" > $FAKE/$1.out 2>&1 &
  echo $! > $FAKE/$1.pid
}
last=$(sed -n "s/^#SBATCH --array='*0-\\([0-9]*\\).*/\\1/p" $1)
if [ -z "$last" ]; then run $id
else
  for task in $(seq 0 $last); do SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$task run ${id}_$task; done
fi
echo "Submitted batch job $id"
""",
    "squeue": """
if [ -e $FAKE/away ]; then echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; fi
for file in $FAKE/*.state; do
  name=${file##*/}; echo "${name%.state}|$(cut -d' ' -f1 $file)|$(cat $FAKE/reason 2>/dev/null || echo None)"
done
""",
    "sacct": 'echo asked >> $FAKE/accounting; echo "Slurm accounting storage is disabled" >&2; exit 1',
    "scancel": 'echo "CANCELLED by 1000" > $FAKE/$1.state; kill -TERM -- -$(cat $FAKE/$1.pid)',
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A SLURM of shell scripts. What it keeps of its jobs is in the folder."""
    pytest.importorskip("submitit", reason="the extra fvlm[slurm] is not installed")
    programs, fake = tmp_path / "bin", tmp_path / "fake"
    programs.mkdir()
    fake.mkdir()
    for name, text in FAKES.items():
        file = programs / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(fake))
    monkeypatch.setattr("fvlm_slurm.launcher._ASK", 0.1)
    monkeypatch.setattr("fvlm_slurm.launcher._ASK_STOPPING", 0.1)
    monkeypatch.setattr("fvlm_slurm.launcher._PATIENCE", 1.0)
    yield fake
    for file in fake.glob("*.pid"):
        subprocess.run(["kill", "-9", "--", f"-{file.read_text().strip()}"], capture_output=True, check=False)
