"""`import fvlm` is light, typed, and offers what its list of names says."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "pandas",
    "numpy",
    "scipy",
    "matplotlib",
    "lmfit",
    "transformers",
    "fvlm_core",
    "attr",
    "click",
}


def test_importing_it_loads_nothing_heavy() -> None:
    program = "import json, sys; import fvlm; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded.isdisjoint(HEAVY)
    assert "fvlm" in loaded


def test_importing_it_takes_at_most_four_times_what_nothing_takes() -> None:
    def seconds(program: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - begun

    nothing, imported = (min(seconds(program) for _ in range(3)) for program in ("pass", "import fvlm"))
    assert imported <= 4 * nothing


def test_recipes_and_runs_are_had_without_torch() -> None:
    program = (
        "import sys; import fvlm; fvlm.Recipe('captions_small').override('training.steps=3')\n"
        "fvlm.runs(root='/nowhere')\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_name_of_the_list_is_there_and_described(root: Path) -> None:
    import fvlm

    stub = ast.parse((root / "fvlm" / "__init__.pyi").read_text())
    names = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(dir(fvlm)) == names == set(fvlm.__all__)
    assert all(getattr(fvlm, name).__doc__ for name in names - {"__version__"})
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        _ = fvlm.fitt


@pytest.mark.soak  # a quarter of a minute
def test_a_type_checker_knows_what_comes_back(root: Path, tmp_path: Path) -> None:
    (tmp_path / "notebook.py").write_text(
        "import fvlm\n"
        "caption: str = fvlm.load('a/b').caption('clip.mp4')\n"
        "loss: float | None = fvlm.fit('points.csv', law='joint-chinchilla').predict(n='1B', d=1e9).loss\n"
        "steps: int = fvlm.load('a/b').caption('clip.mp4')\n"
    )
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(root), str(root / "registry")]})
    )
    command = [sys.executable, "-m", "pyright", "--outputjson", "-p", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    wrong = json.loads(done.stdout)["generalDiagnostics"]
    assert [one["range"]["start"]["line"] for one in wrong] == [3]
