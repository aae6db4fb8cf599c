"""What the machine hinders (permissions, homes, folders that are gone) is told with the path and with what to set."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import RECIPE, run_cli, trained

from fvlm_core.cli import path_types
from fvlm_core.utils import hindrance
from fvlm_core.utils.paths import NO_HOME

FVLM = Path(sys.executable).with_name("fvlm")
USER = 54321
"""An account that no machine has: without a name, without a home, and owner of nothing."""


@pytest.fixture(scope="module")
def somebody() -> list[str]:
    """A command line's beginning that makes the rest run as `USER`, which may read everything and write nothing."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become an account without a name, by setpriv (util-linux)")
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    if subprocess.run([*command, sys.executable, "-c", "import click"], check=False).returncode:
        pytest.skip("this machine lets nobody keep the right to read the interpreter (CAP_DAC_READ_SEARCH)")
    return command


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that everybody can get to, with a folder `open` that everybody can write and `shut` that none can."""
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o111)
    for name, mode in (("open", 0o777), ("shut", 0o555)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("clips = 32", "clips = 4"))
    return tmp_path


def fvlm(
    *arguments: str, user: list[str], cwd: Path, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    own = {"PATH": os.environ["PATH"], "HOME": str(cwd), **environment}
    return subprocess.run(
        [*user, str(FVLM), *arguments],
        cwd=cwd,
        env={name: value for name, value in own.items() if value is not None},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


SITUATIONS = [
    # what is run, where, under which variables (None: not set); what is said at the end of stderr, and the exit code
    ("plugins new tiles --kind encoder", "shut", {}, "change to another folder (cd)", 2),
    ("plugins new tiles --kind encoder --to {shut}/x/y", "open", {}, "give another place with --to DIR", 2),
    ("schema --out {shut}/x/y.json", "open", {}, "give another place with --out FILE", 2),
    ("schema --out y.json", "shut", {}, "give another place with --out FILE", 2),
    ("data check {place}/tiny.toml", "open", {"HOME": None}, "", 0),
    ("data check {place}/tiny.toml", "open", {"HOME": "{shut}"}, "", 0),
    ("runs list", "shut", {"HOME": None}, "--runs DIR", 0),
    ("runs list", "open", {"FVLM_RUNS": "{shut}/runs"}, "--runs DIR", 0),
    ("recipes list", "shut", {"HOME": None, "TMPDIR": "{shut}/none"}, "", 0),
    ("plugins list", "shut", {"HOME": "{shut}", "FVLM_CACHE": "{shut}", "FVLM_FROZEN": "{shut}"}, "", 0),
    ("completion bash", "shut", {"HOME": None}, "", 0),
    *(
        pytest.param("data check {place}/tiny.toml", "open", environment, "", 0, marks=pytest.mark.soak)
        for environment in ({"HOME": NO_HOME}, {"HOME": None, "FVLM_CACHE": "{open}/c"}, {"HOME": "/"})
    ),
]


@pytest.mark.parametrize(("line", "where", "environment", "end", "code"), SITUATIONS)
def test_what_cannot_be_written_is_told_with_what_to_set(
    line: str,
    where: str,
    environment: dict[str, str | None],
    end: str,
    code: int,
    somebody: list[str],
    place: Path,
) -> None:
    names = {"shut": place / "shut", "open": place / "open", "place": place}
    given = {name: value and value.format(**names) for name, value in environment.items()}
    done = fvlm(*line.format(**names).split(), user=somebody, cwd=place / where, **given)
    told = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert (told or [""])[-1].endswith(end)
    assert not any(word in done.stderr for word in ("defect", "Traceback", "unexpected"))
    if "Permission denied" in done.stderr:
        assert f"this is uid {USER}" in done.stderr
        assert "mode 555" in done.stderr


@pytest.mark.parametrize(
    "command", ["run {}", "runs list", "plugins list", "report", "bench start --rounds 1"]
)
def test_a_working_directory_that_is_gone_is_told(command: str, tmp_path: Path) -> None:
    """Before anything is imported: what computes (MKL) ends the process when it cannot tell where it is."""
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    script = f'mkdir gone; cd gone; rmdir ../gone; exec "{FVLM}" {command.format(recipe)}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 2
    assert (
        done.stderr == "the working directory is gone, or cannot be read: change to one that is there (cd)\n"
    )


SETTLED = """
import getpass, json, os
from fvlm_core.utils.paths import settle_home
settle_home()
print(json.dumps([getpass.getuser(), os.path.expanduser("~"), os.environ.get("MPLCONFIGDIR"),
                  os.environ.get("TRITON_CACHE_DIR")]))
"""


@pytest.mark.parametrize(
    ("environment", "home", "kept"),
    [
        ({"HOME": None, "FVLM_CACHE": "{open}/c"}, NO_HOME, "{open}/c/libraries"),
        ({"HOME": "/", "FVLM_CACHE": "{open}/c"}, "/", "{open}/c/libraries"),
        ({"HOME": "{shut}", "FVLM_CACHE": "{open}/c"}, "{shut}", "{open}/c/libraries"),
        ({"HOME": NO_HOME}, NO_HOME, None),
        ({"HOME": None, "FVLM_CACHE": "~nobody-of-that-name"}, NO_HOME, None),
        ({"HOME": "{open}", "FVLM_CACHE": "{open}/c"}, "{open}", None),
    ],
)
def test_libraries_keep_their_files_where_they_can_be_kept(
    environment: dict[str, str | None], home: str, kept: str | None, somebody: list[str], place: Path
) -> None:
    """And a user without a name has one for them."""
    names = {"shut": place / "shut", "open": place / "open"}
    given = {name: value and value.format(**names) for name, value in environment.items()}
    done = subprocess.run(
        [*somebody, sys.executable, "-c", SETTLED],
        env={"PATH": os.environ["PATH"], **{name: value for name, value in given.items() if value}},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = kept and kept.format(**names)
    libraries = [f"{folder}/matplotlib", f"{folder}/triton"] if folder else [None, None]
    assert json.loads(done.stdout) == [f"uid{USER}", home.format(**names), *libraries]


ERRNOS = {name: number for number, name in errno.errorcode.items()}


@pytest.mark.parametrize(
    ("number", "file", "end", "code"),
    [
        ("EACCES", "/store/runs/r/x", "; give another place with --runs DIR", 2),
        ("EROFS", "/store/runs", "; give another place with --runs DIR", 2),
        (
            "EACCES",
            "/store",
            "; give another place with --runs DIR",
            2,
        ),  # a folder on the way could not be made
        ("ENOENT", "/store/runs/r", "; give another place with --runs DIR", 2),
        ("ENOTDIR", "/home/a/.cache/fvlm/shapes/x", "; set FVLM_CACHE to another place", 2),
        ("EROFS", "/home/a/.cache", "; set FVLM_CACHE to another place", 2),
        ("EACCES", "/home/a/.cache/huggingface/hub", "; set HF_HOME to another place", 2),
        ("EPERM", "/home/a/.config/x", "; set HOME to another place", 2),
        ("EACCES", "/scratch/x", "; set TMPDIR to another place", 2),
        ("ENAMETOOLONG", "/elsewhere", ": File name too long", 2),
        ("EIO", "/elsewhere", ": Input/output error", 1),
        ("ESTALE", "/store/runs/x", ": Stale file handle", 1),
        ("EMFILE", "/elsewhere", "(training.workers)", 1),
        ("ENOSPC", "/store/runs/x", "; give another place with --runs DIR", 1),
        ("EDQUOT", None, "", 1),
        ("EIO", None, "", 1),
    ],
)
def test_each_error_of_the_system_names_path_reason_and_way_out(
    number: str, file: str | None, end: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    monkeypatch.setenv("TMPDIR", "/scratch")
    for variable in ("FVLM_CACHE", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(hindrance, "given", {Path("/store/runs"): "--runs DIR"})
    value = ERRNOS[number]
    error = OSError(value, os.strerror(value), file) if file else OSError(value, os.strerror(value))
    found = hindrance.hindrance(error)
    assert found is not None
    text, exit_code = found
    assert exit_code == code
    assert text.endswith(end)
    assert os.strerror(value) in text
    assert (file or "") in text


def test_what_is_no_matter_of_the_surroundings_stays_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hindrance, "given", {Path("/store/runs"): "--runs DIR"})
    for error in (
        FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/x"),
        ValueError("x"),
        OSError("x"),
    ):
        assert hindrance.hindrance(error) is None
    assert hindrance.hindrance(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []"))


def test_options_say_how_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli(["runs", "list", "--runs", str(tmp_path)], monkeypatch, capsys)
    assert path_types.given[tmp_path] == "--runs DIRECTORY (or FVLM_RUNS)"


TRAINED = [
    ("run {place}/tiny.toml", {"FVLM_RUNS": "{shut}/r"}, "--runs DIRECTORY (or FVLM_RUNS)", 2),
    ("run {place}/tiny.toml", {"FVLM_CACHE": "{shut}/c"}, "set FVLM_CACHE to another place", 2),
    ("run {place}/tiny.toml", {"HOME": "{shut}", "FVLM_CACHE": None}, "set FVLM_CACHE to another place", 2),
    ("run {place}/tiny.toml", {"HOME": None, "FVLM_CACHE": None}, "set FVLM_CACHE to another place", 2),
    ("run {place}/tiny.toml", {"HOME": None, "TMPDIR": "{shut}"}, "", 0),
    ("data pack {place}/tiny.toml --to {shut}/p", {}, "give another place with --to DIR", 2),
    ("report --runs {store}", {"HOME": None}, "report of tiny (1: tiny)", 0),
    ("report --runs {store} --out {shut}/r.html", {}, "give another place with --out FILE", 2),
    ("export --runs {store} --to out", {"HOME": "/"}, "exported 1 run: tiny (1: tiny)", 0),
    ("export --runs {store} --to {shut}/out", {}, "give another place with --to DIR", 2),
    ("caption {video} --runs {store} --run tiny", {"HOME": NO_HOME}, "", 0),
    (
        "gaze {video} --runs {store} --run tiny --out {shut}/g.gif",
        {},
        "give another place with --out FILE",
        2,
    ),
    ("gaze {video} --runs {store} --run tiny", {"HOME": "{shut}"}, "", 0),
    ("bench start --rounds 1", {"HOME": None, "TMPDIR": "{shut}"}, "", 0),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete run "tiny/tiny", which is somebody else's."""
    folder = trained(tmp_path_factory.mktemp("store"))
    for made in (folder, *folder.rglob("*")):  # theirs alone to write, everybody's to read
        made.chmod(0o755 if made.is_dir() else 0o644)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize(("line", "environment", "end", "code"), TRAINED)
def test_commands_that_compute_say_the_same_and_need_no_home(
    line: str,
    environment: dict[str, str | None],
    end: str,
    code: int,
    somebody: list[str],
    place: Path,
    store: Path,
) -> None:
    video = next((store / "cache").rglob("*.mp4"))
    names = {"shut": place / "shut", "place": place, "store": store / "runs", "video": video}
    given = {"FVLM_CACHE": str(place / "open/c"), **environment}
    given = {name: value and value.format(**names) for name, value in given.items()}
    done = fvlm(*line.format(**names).split(), user=somebody, cwd=place / "open", **given)
    assert done.returncode == code, done.stderr
    assert done.stderr.strip().endswith(end)
    spoken = ("defect", "Traceback", "unexpected", "MPLCONFIGDIR", "Warning")
    assert not any(word in done.stderr for word in spoken)


@pytest.mark.soak
def test_a_read_only_disk_is_told_and_read_from(somebody: list[str], place: Path, store: Path) -> None:
    """Whoever may mount (in a namespace of their own) tries it: permissions are not what hinders there."""
    mount = f'mount --bind "{store}" "{place}/open" && mount -o remount,ro,bind "{place}/open"'
    for line, code, said in (
        (f"runs list --runs {place}/open/runs", 0, ""),
        (
            f"run {place}/tiny.toml -o name=other --runs {place}/open/runs",
            2,
            "--runs DIRECTORY (or FVLM_RUNS)",
        ),
        (f"export --runs {place}/open/runs --to {place}/out", 0, "exported 1 run: tiny (1: tiny)"),
    ):
        done = subprocess.run(
            ["unshare", "-m", "bash", "-c", f"{mount} || exit 99; exec {FVLM} {line}"],
            env={**os.environ, "FVLM_CACHE": str(place / "cache")},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode == 99:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        assert done.returncode == code, done.stderr
        assert done.stderr.strip().endswith(said)
