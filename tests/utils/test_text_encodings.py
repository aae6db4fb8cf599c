"""Text is UTF-8 whatever the machine's own encoding; what people write may begin with a byte order mark."""

from __future__ import annotations

import ast
import codecs
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from hypothesis import given
from hypothesis import strategies as st
from tiny import RECIPE

from fvlm_core.recipes.located import read_toml
from fvlm_core.recipes.read import read_recipe
from fvlm_core.utils.atomic_files import read_json
from fvlm_core.utils.errors import Problems


def test_a_recipe_that_begins_with_a_byte_order_mark_is_read_as_any(shared: Path) -> None:
    file = shared / "cases/text/bom_recipe.toml"
    assert file.read_bytes().startswith(codecs.BOM_UTF8)
    (run, *_) = read_recipe(str(file)).runs
    (same, *_) = read_recipe("quickstart", ["name=bom"]).runs
    assert run.config == same.config


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_mark_changes_nothing_of_a_recipe_nor_of_the_lines_that_its_problems_name(
    ending: str, tmp_path: Path
) -> None:
    text = RECIPE.replace("\n", ending).encode()
    for mark in (b"", codecs.BOM_UTF8):
        (tmp_path / "base.toml").write_bytes(mark + text)
        (tmp_path / "child.toml").write_bytes(mark + b'extends = "base.toml"\nname = "child"\n')
        (run,) = read_recipe(str(tmp_path / "child.toml")).runs
        assert run.config.training.steps == 6
        (tmp_path / "wrong.toml").write_bytes(mark + text.replace(b"steps = 6", b"stps = 6"))
        with pytest.raises(
            Problems, match=rf"wrong\.toml:{RECIPE[: RECIPE.index('steps')].count(chr(10)) + 1}: "
        ):
            read_recipe(str(tmp_path / "wrong.toml"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "cp1252"])
def test_a_recipe_in_another_encoding_is_told_with_the_line(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_bytes('name = "a"\ndescription = "café"\n'.encode(encoding))
    line = 1 if encoding.startswith("utf") else 2
    with pytest.raises(
        Problems, match=rf"r\.toml:{line}: byte 0x.. is not UTF-8; save the file in that encoding"
    ):
        read_toml(file)


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none()))
def test_json_that_somebody_edited_is_read_with_or_without_a_mark(value: dict[str, object]) -> None:
    import json
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        for mark in (b"", codecs.BOM_UTF8):
            Path(file.name).write_bytes(mark + json.dumps(value).encode())
            assert read_json(Path(file.name)) == value


CALLED = re.compile(r"(?:run|Popen|check_output|read_text|write_text|open)\s*\(")
"""What `faults` looks at."""


def faults(tree: ast.AST) -> Iterator[int]:
    """Lines that open text in the machine's own encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg for keyword in node.keywords}
        of = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if "encoding" in named or None in named:
            continue
        if name in ("run", "Popen", "check_output") and named & {"text", "universal_newlines"}:
            yield node.lineno
        elif (name == "read_text" and not node.args) or (name == "write_text" and of and len(node.args) < 2):
            if not (name == "write_text" and isinstance(of, ast.Name) and of.id == "files"):
                yield node.lineno
        elif name == "open" and not (
            isinstance(of, ast.Name) and of.id in ("os", "av", "Image", "tarfile", "webbrowser")
        ):
            modes = [*node.args[0 if of else 1 :], *(k.value for k in node.keywords if k.arg == "mode")]
            mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else None if of else "r"
            if isinstance(mode, str) and set(mode) <= set("rwaxt+"):
                yield node.lineno


def test_no_text_is_opened_in_the_machine_s_own_encoding(root: Path) -> None:
    found = [
        f"{file}:{line}"
        for room in ("fvlm_core", "plugins", "registry")
        for file in (root / room).rglob("*.py")
        for text in [file.read_text(encoding="utf-8")]
        if CALLED.search(text)  # most are not taken apart
        for line in faults(ast.parse(text))
    ]
    assert not found


ASCII = {
    "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONWARNDEFAULTENCODING": "1",
}  # fmt: skip
"""What else Python would do about it is switched off, and it warns where the machine's encoding is taken."""


@pytest.mark.parametrize(
    "line", ["data check é.toml", pytest.param("run é.toml --dry-run", marks=pytest.mark.soak)]
)
def test_a_recipe_is_read_under_an_ascii_locale(line: str, tmp_path: Path) -> None:
    """Whatever libraries do with text, too."""
    written(tmp_path / "é.toml")
    done = subprocess.run(
        [Path(sys.executable).with_name("fvlm"), *line.split()],
        env={**os.environ, **ASCII, "FVLM_CACHE": str(tmp_path)},
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    own = [line for line in done.stderr.decode().splitlines() if "EncodingWarning" in line and "fvlm" in line]
    assert not own


def test_a_recipe_is_kept_in_utf8_under_an_ascii_locale(tmp_path: Path) -> None:
    written(tmp_path / "é.toml")
    program = (
        "import locale, os, sys\nlocale.setlocale(locale.LC_ALL, 'C')\nsys.stdout.reconfigure(encoding='ascii')\n"
        "assert open(os.devnull).encoding.lower() in ('ascii', 'us-ascii', 'ansi_x3.4-1968')\n"
        "from fvlm_core.cli import main\n"
        "sys.argv = ['fvlm', 'run', 'é.toml', '--dry-run', '--json']\nsys.exit(main.main())"
    )
    done = subprocess.run(
        # A process that was forked is in the same mode as this one, and in UTF-8 mode no locale counts.
        [sys.executable if sys.flags.utf8_mode else warm.python(), "-c", program],
        env={**os.environ, **ASCII}, cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"d\\u00e9j\\u00e0 vu \\u03b1" in done.stdout


def written(file: Path) -> None:
    file.write_text(
        RECIPE.replace('name = "tiny"', 'name = "tiny"\ndescription = "déjà vu α"'), encoding="utf-8"
    )
