"""`fvlm verify-resume`: proves a faithful run, catches an unfaithful one, and leaves no trace."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from tempfile import mkdtemp

import pytest
import warm
from safetensors.torch import load_file, save_file
from tiny import RECIPE, train

from fvlm_core.execution.verify_resume.compare import FirstDifference, compare_checkpoints, compare_metrics
from fvlm_core.runs.checkpoint import latest_checkpoint
from fvlm_core.utils.atomic_files import write_json

pytestmark = pytest.mark.timeout(280)

FORGETFUL = {
    "acme_forgetful/__init__.py": "",
    "acme_forgetful/plugin.py": """
from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources():
    names = {"target": "acme_forgetful.source:build", "config": "fvlm_shapes.config:Shapes"}
    yield Component("forgetful", **names, summary="gives what it gave last time, plus one")
""",
    "acme_forgetful/source.py": """
from fvlm_shapes.source import build as real


def build(config, split):
    source = real(config, split)
    if split == "train":
        changed = {"__getitem__": forgetful, "given": 0, "fingerprint": lambda self: "always the same"}
        source.__class__ = type("Forgetful", (source.__class__,), changed)
    return source


def forgetful(self, index):
    self.given += 1  # a state that no checkpoint has
    return super(type(self), self).__getitem__((index + self.given) % len(self))
""",
    "fvlm_forgetful-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: fvlm-forgetful\nVersion: 0.1\n",
    "fvlm_forgetful-0.1.dist-info/entry_points.txt": "[fvlm]\nforgetful = acme_forgetful.plugin\n",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered clips, made once for this file."""
    return tmp_path_factory.mktemp("cache")


WARM = """
import sys, types
from fvlm_core.cli.main import main
from fvlm_core.execution.verify_resume import proof
proof.sys = types.SimpleNamespace(executable=sys.argv.pop(1))
sys.exit(main())
"""
"""`fvlm ...` whose processes are warm ones."""


def verify(
    folder: Path, cache: Path, *arguments: str, expect: int, plain: bool = False, **environment: str
) -> str:
    temporary = Path(
        mkdtemp(prefix="t")
    )  # not under pytest's: the names of sockets are cut off at 108 letters
    program = [warm.folder() / "fvlm"] if plain else [warm.python(), "-c", WARM, warm.python()]
    settings = {"FVLM_CACHE": str(cache), "COLUMNS": "120", "TMPDIR": str(temporary), **environment}
    process = Popen(
        [*program, "verify-resume", "tiny.toml", *arguments],
        cwd=folder,
        env={**os.environ, **settings},
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    )
    out, _ = process.communicate(timeout=240)
    assert process.returncode == expect, out
    assert [file.name for file in temporary.iterdir() if file.name.startswith(("fvlm-", "pymp-"))] == []
    shutil.rmtree(temporary)
    assert not (folder / "runs").exists()
    return out


@pytest.mark.parametrize("plain", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["warm", "plain"])
def test_a_run_is_proved_and_no_trace_is_left(plain: bool, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("workers = 0", "workers = 1"))
    out = verify(tmp_path, cache, "--steps", "2", expect=0, plain=plain)
    assert "killing it (SIGKILL) after step 3, past the checkpoint of step 2" in out
    assert "tiny/tiny: killed after step 3, continued from step 2, equal to the last bit at step 4" in out
    for line in (
        "model.safetensors, step 4",
        "optimizer.safetensors, step 4",
        "metrics, train",
        "metrics, eval",
    ):
        assert line in out
    assert "4 rows x" in out


@pytest.mark.soak
def test_a_source_that_depends_on_what_it_gave_before_is_caught(tmp_path: Path, cache: Path) -> None:
    site = tmp_path / "site"
    for name, text in FORGETFUL.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (tmp_path / "tiny.toml").write_text(RECIPE.replace('name = "shapes"', 'name = "forgetful"'))
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    out = verify(tmp_path, cache, "--steps", "3", expect=1, plain=True, PYTHONPATH=paths)
    assert "does not continue bit for bit. The first difference:" in out
    assert "samples_hash" in out or "train_loss" in out
    assert "Traceback" not in out


def test_more_steps_than_the_run_has_are_misuse(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    assert "tiny has 6 steps: too few to train 8" in verify(tmp_path, cache, "--steps", "4", expect=2)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Two equal runs, "a" and "b"."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "tiny.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(cache))
        for name in ("a", "b"):
            train(folder / "tiny.toml", folder / name)
    return folder


def test_the_first_difference_is_named(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    ours, theirs = (tmp_path / name / "tiny/tiny" for name in ("a", "b"))
    assert isinstance(compare_checkpoints(ours, theirs, 6), list)
    assert isinstance(compare_metrics(ours, theirs, 6), list)

    metrics = theirs / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    changed = next(row for row in rows if row["event_type"] == "eval" and row["step"] == 4)
    changed["grad_norm"] += 1e-12
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = compare_metrics(ours, theirs, 6)
    assert isinstance(found, FirstDifference)
    assert found.text.startswith("metrics: step 4, eval: grad_norm: ")
    assert isinstance(compare_metrics(ours, theirs, 2), list)

    newest, _ = latest_checkpoint(theirs / "checkpoints")
    assert newest is not None
    state = json.loads((newest / "state.json").read_text())
    write_json(newest / "state.json", {**state, "tokens": state["tokens"] + 1})
    found = compare_checkpoints(ours, theirs, 6)
    assert isinstance(found, FirstDifference)
    assert "state.json: tokens: " in found.text

    tensors = load_file(newest / "model.safetensors")
    name = sorted(tensors)[3]
    tensors[name].view(-1)[0] += 1e-6
    save_file(tensors, newest / "model.safetensors")
    found = compare_checkpoints(ours, theirs, 6)
    assert isinstance(found, FirstDifference)
    assert f"{name}: 1 of " in found.text
