"""`fvlm plugins new` writes what installs, keeps the contract and runs; `fvlm plugins check` says whether it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from kit import KINDS, code_lines, component, install
from tiny import run_cli

from fvlm_core.templates.distribution import write
from fvlm_core.testing import check
from fvlm_core.utils.errors import UsageError

RECIPE = """
name = "four"
fits = [{ model = "my-law" }]
[model]
encoder = { name = "my-eyes", width = 32 }
connector = { name = "my-bridge" }
[model.llm]
name = "smollm2"
weights = "seeded"
width = 16
mlp = 32
depth = 1
heads = 2
[[data.sources]]
name = "my-colours"
samples = 32
[training]
steps = 8
batch_size = 4
micro_batch_size = 4
schedule = "constant"
precision = "float32"
threads = 1
workers = 0
[eval]
every = 2
samples = 8
"""
FOUR = {"my-eyes": "encoder", "my-bridge": "connector", "my-colours": "data", "my-law": "fit"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four new plugins, installed."""
    folder = tmp_path_factory.mktemp("kit")
    for name, kind in FOUR.items():
        write(name, kind, folder / name)
        install(folder / name, folder / "site")
    return folder / "site"


def fvlm(*arguments: str | Path, site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return warm.fvlm(*arguments, cwd=cwd, env=os.environ | {"PYTHONPATH": str(site)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_keeps_the_contract(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = component(kind, f"fresh-{kind}", tmp_path, monkeypatch)
    found = check(made, kind=kind)  # type: ignore[arg-type]
    assert len(found) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_small(kind: str, tmp_path: Path) -> None:
    write("small", kind, tmp_path / "small")
    assert code_lines(tmp_path / "small") < 60


def test_four_new_plugins_train_and_fit_in_one_recipe(site: Path, tmp_path: Path) -> None:
    (tmp_path / "four.toml").write_text(RECIPE)
    done = fvlm("run", "four.toml", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "runs/four/four/summary.json").read_text())
    assert summary["total_steps"] == 8
    fits = json.loads((tmp_path / "runs/four/scaling_fits.json").read_text())
    assert "my-law" in json.dumps(fits)


def test_a_check_explains_a_distribution_and_names_the_line_it_breaks(tmp_path: Path) -> None:
    for name, kind in (("wrong", "fit"), ("right", "data")):
        write(name, kind, tmp_path / name)
        install(tmp_path / name, tmp_path / "site")
    law = tmp_path / "wrong/fvlm_wrong/law.py"
    law.write_text(law.read_text().replace('"B": power', '"B": -power'))
    done = fvlm("plugins", "check", "fvlm-wrong", "right", site=tmp_path / "site", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    text = " ".join(done.stdout.split())
    assert (
        "fit wrong:wrong: its gradient is that of its formula the contract: fvlm_core/interfaces/fit.py:"
        in text
    )
    assert "FitModel: gradient: called as the law is; the derivatives {parameter: dL/dparameter}" in text
    assert "got: by B it gives -" in text
    assert "data right:right listing it imports nothing heavy passed" in text
    assert "2 components: " in text
    assert "Traceback" not in done.stdout + done.stderr


def test_a_plugin_whose_listing_is_heavy_is_caught(tmp_path: Path) -> None:
    for name, file in (("laden", "plugin.py"), ("stout", "config.py")):
        write(name, "fit", tmp_path / name)
        install(tmp_path / name, tmp_path / "site")
        module = tmp_path / f"{name}/fvlm_{name}" / file
        module.write_text(module.read_text().replace('"""\n', '"""\n\nimport matplotlib\n', 1))
    done = fvlm("plugins", "check", "laden", "stout", site=tmp_path / "site", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "importing fvlm_laden.plugin imports matplotlib" in done.stdout
    assert "importing fvlm_stout.config imports matplotlib" in done.stdout
    assert "Component: must import nothing heavy, nor may importing the plugin" in " ".join(
        done.stdout.split()
    )


def test_what_was_found_is_also_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_cli(["plugins", "check", "pooled", "-o", "grid=2", "--json"], monkeypatch, capsys)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {one["component"] for one in found} == {"pooled:pooled"}
    assert {one["outcome"] for one in found} == {"passed", "skipped"}
    assert all(one["contract"]["line"] > 0 for one in found)


def test_a_plugin_that_does_not_load_fails_with_its_reason(tmp_path: Path) -> None:
    write("lost", "fit", tmp_path / "lost")
    plugin = tmp_path / "lost/fvlm_lost/plugin.py"
    plugin.write_text("import not_there\n")
    install(tmp_path / "lost", tmp_path / "site")
    done = fvlm("plugins", "check", "lost", site=tmp_path / "site", cwd=tmp_path)
    assert done.returncode == 1
    assert "No module named 'not_there'" in done.stdout


def test_an_unknown_name_suggests_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run_cli(["plugins", "check", "foveatd"], monkeypatch, capsys)
    assert code == 2
    assert (
        'no installed distribution, plugin or component is called "foveatd": did you mean "foveated"?' in err
    )


def test_a_component_that_needs_settings_is_skipped_and_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["plugins", "check", "clips:clips"], monkeypatch, capsys)
    assert code == 0
    assert "path: missing; expected a path" in out
    code, _, err = run_cli(["plugins", "check", "clips:clips", "-o", "pth=x"], monkeypatch, capsys)
    assert code == 2
    assert 'pth: unknown key; did you mean "path"?' in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plugins", "new", "x", "--kind", "law"], 'did you mean "fit"?'),
        (["plugins", "new", "x", "--kind", "encodr"], 'did you mean "encoder"?'),
        (
            ["plugins", "new", "x", "--kind", "zzz"],
            "is not one of 'encoder', 'connector', 'llm', 'data', 'objective', 'optimizer', 'schedule', 'callback', "
            "'metric', 'section', 'fit'.\n",
        ),
        (["bench", "train", "--only", "bear"], 'did you mean "bare"?'),
    ],
)
def test_a_mistyped_choice_suggests_the_nearest(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run_cli(arguments, monkeypatch, capsys)
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("My Eyes", "encoder", '"My Eyes" cannot be a plugin\'s name; expected lower-case letters and digits, with '
         'dashes between words: "my-eyes" would do'),
        ("2d", "data", '"2d" cannot be'),
        ("none", "fit", "its class None is a word of Python's"),
        ("pooled", "fit", 'the plugin name "pooled" is taken by fvlm 0.1.0 (fvlm_pooled.plugin)'),
        ("joint-chinchilla", "fit", 'fvlm 0.1.0 already offers the fit "joint-chinchilla"'),
        ("core", "fit", "a package fvlm_core can be imported already"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_is_refused(name: str, kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        write(name, kind, tmp_path / "new")
    assert reason in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_name_of_an_installed_distribution_is_refused_however_that_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "Fvlm_My.Tiles-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Fvlm-My.Tiles\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"a distribution fvlm-my-tiles 1\.2 is installed"):
        write("my-tiles", "encoder", tmp_path / "new")


def test_what_exists_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fvlm-mine").mkdir()
    code, _, err = run_cli(["plugins", "new", "mine", "--kind", "data"], monkeypatch, capsys)
    assert code == 2
    assert "fvlm-mine exists: nothing in it was changed. Say another folder with --to" in err
    code, out, _ = run_cli(["plugins", "new", "mine", "--kind", "data", "--to", "here"], monkeypatch, capsys)
    assert code == 0
    assert "here/fvlm_mine/source.py" in out
    assert "pytest here" in out


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_installs_passes_its_own_tests_and_runs(kind: str, tmp_path: Path) -> None:
    """With pip and a copy of this environment's packages on the path; `captions_small` is its recipe's base."""
    folder, name = tmp_path / "dist", f"soaked-{kind}"
    write(name, kind, folder)
    target = tmp_path / "site"
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        *offline,
        "--target",
        str(target),
        str(folder),
    ]
    subprocess.run(command, check=True)
    environment = os.environ | {"PYTHONPATH": str(target), "FVLM_CACHE": str(tmp_path / "cache")}
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")]
    subprocess.run(own, cwd=tmp_path, env=environment, check=True)
    done = warm.fvlm("run", folder / "recipe.toml", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
