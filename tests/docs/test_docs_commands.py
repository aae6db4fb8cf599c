"""Every command in the README and the documentation is marked, and does what its mark says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import warm
from manual_pages import PAGES, ROOT, TUTORIAL, blocks, execute, rehearse


def _marks(page: Path) -> set[str]:
    """Those of its blocks, of what is executed. Every worker of the tests asks it of every page: most are not taken
    apart for it."""
    named = re.search(r"<!--\s*(?:run|fails|kept)\b", page.read_text("utf-8"))
    return {block.mark for block in blocks.blocks(page)} if named else set()


MARKS = {page: _marks(page) for page in PAGES}
EXECUTED = [page for page in PAGES if page != TUTORIAL and MARKS[page] & {"run", "fails"}]
KEPT = [page for page in PAGES if "kept" in MARKS[page]]


def _named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_block_of_commands_is_marked(page: Path) -> None:
    bare = [block.place for block in blocks.blocks(page) if not block.mark]
    assert not bare, "put a mark above these blocks: docs/writing.md"


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_command_is_one_that_fvlm_reads(page: Path) -> None:
    wrong = [problem for block in blocks.blocks(page) for problem in rehearse.problems(block)]
    wrong += [
        f"{page.name}:{line}: {problem}"
        for line, command in blocks.inline_commands(page)
        for problem in rehearse.known(command)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.soak if page.stem == "campaign" else (), id=_named(page))
        for page in EXECUTED  # that one plays campaigns to their end, 20 s
    ],
)
def test_executed_commands_come_out_as_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(execute, "sys", SimpleNamespace(executable=warm.python()))
    done = execute.execute(page, tmp_path)
    assert done
    assert not [problem for one in done for problem in execute.problems(one)]


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", KEPT, ids=_named)
def test_outputs_that_are_kept_come_out_as_shown(page: Path, tmp_path: Path) -> None:
    done = execute.execute(page, tmp_path, kept=True)
    assert not [problem for one in done for problem in execute.problems(one)]


def test_a_kept_block_is_executed_only_where_it_is_asked_for(tmp_path: Path) -> None:
    page = _page(tmp_path, "<!-- kept -->\n```sh\necho 1\n```\n\n```text\n2\n```\n")
    assert execute.execute(page, tmp_path) == []
    [one] = execute.execute(page, tmp_path, kept=True)
    assert execute.problems(one) == []
    assert one.lines == ("1",)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "howto").glob("*.md")), ids=_named)
def test_every_how_to_shows_what_comes_of_it(page: Path) -> None:
    """By a picture, or by what a command prints, which another test compares or a program printed."""
    text = page.read_text("utf-8")
    assert "\n```text\n" in text or "![" in text, "show what a command prints: docs/writing.md"


def _page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fvlm rnu quickstart", 'did you mean "run"'),
        ("fvlm run quickstart --dryrun", "No such option '--dryrun'"),
        ("fvlm run quikstart", 'no recipe that comes with fvlm is called "quikstart"'),
        ("fvlm run recipes/quikstart.toml", "there is no recipes/quikstart.toml"),
        ("fvlm caption clip.mp4 --run captions_small/64", 'the recipe "captions_small" has no run "64"'),
        ("fvlm runs list --state done", "'done' is not one of"),
        ("torchrun --nproc-per-node 2 -m fvlm_core run phase1b_136m", "phase1b_136m"),
        ("A=1 fvlm fit --modle kaplan  # a comment", "--modle"),
        ("cd x && fvlm data \\\n  pakc openvid", "pakc"),
        ("pip install -e '.[dve]'", 'there is no extra "dve"'),
        ("python docs/bench.py", "there is no docs/bench.py"),
        ("curl example.org", '"curl" is no program'),
    ],
)
def test_a_command_that_is_out_of_date_is_found(tmp_path: Path, command: str, said: str) -> None:
    [block] = blocks.blocks(_page(tmp_path, f"<!-- parse -->\n```sh\n{command}\n```\n"))
    [problem] = rehearse.problems(block)
    assert said in problem
    assert problem.startswith("page.md:2: ")


@pytest.mark.parametrize(
    "command", ["fvlm plugins nwe NAME", "fvlm runs list --sorted", "fvlm fit --modle NAME"]
)
def test_a_command_within_a_sentence_is_found_too(tmp_path: Path, command: str) -> None:
    [(line, found)] = blocks.inline_commands(_page(tmp_path, f"Text.\n\nSee `{command}`.\n"))
    assert (line, found) == (3, command)
    assert list(rehearse.known(command))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```\nfvlm run quickstart\n```\n", "commands stand in blocks of the language"),
        ("<!-- run -->\nText.\n\n```sh\nfvlm\n```\n", "right above the block"),
        ("<!-- fails -->\n```sh\nfvlm\n```\n", "names an exit code"),
        ("<!-- run -->\n```toml\na = 1\n```\n", "no mark of a block"),
    ],
)
def test_a_mark_that_says_nothing_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        blocks.blocks(_page(tmp_path, text))


def test_an_unmarked_block_is_seen(tmp_path: Path) -> None:
    [block] = blocks.blocks(_page(tmp_path, "```sh\nfvlm run quickstart\n```\n"))
    assert block.mark == ""


STORY = """
<!-- file: name.txt -->
```toml
loss 0.51
```

<!-- run -->
```sh
export WHO=reader
```

<!-- run -->
```sh
cat name.txt && echo "hello $WHO, it is 12:31" && echo more && echo last
```
```text
{shown}
```

<!-- fails: 3 -->
```sh
echo 'no such thing: 7'; exit 3
```
```text
no such thing: 8
```
"""


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        ("loss 0.52\nhello reader, it is 9:05\nmore\nlast", ""),
        ("loss 0.52\nhello ...\n...", ""),
        ("...\nlast", ""),
        ("loss 0.51\nhello writer, it is 12:31\nmore\nlast", '"hello writer, it is 12:31" was not printed'),
        ("loss 0.51\nhello reader, it is 12:31\nmore", '"last" was printed and is not shown'),
        ("hello ...\n...", "was not printed there"),
    ],
)
def test_a_page_is_executed_in_order_and_compared_word_by_word(
    tmp_path: Path, shown: str, wrong: str
) -> None:
    done = execute.execute(_page(tmp_path, STORY.format(shown=shown)), tmp_path)
    said = "".join(problem for one in done for problem in execute.problems(one))
    assert wrong in said
    assert bool(said) == bool(wrong)


def test_lines_that_differ_in_their_numbers_alone_are_told_apart_by_what_follows() -> None:
    printed = ["step 10 loss 3.1", "step 20 loss 2.2", "step 30 loss 1.6", "done"]
    shown = ("step 10 loss 3.0", "...", "step 30 loss 1.9", "...", "done")
    assert execute.align(blocks.Shown(0, shown), printed) == [0, None, 2, None, 3]
    assert execute.align(blocks.Shown(0, ("...", "step 30 loss 3.0", "done")), printed) == [None, 2, 3]
    with pytest.raises(ValueError, match="not printed"):
        execute.align(blocks.Shown(0, ("...", "step 30 loss 3.0", "gone")), printed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- run -->\n```sh\necho gone; exit 1\n```\n", "exit code 1 in place of 0:\ngone"),
        ("<!-- fails: 2 -->\n```sh\necho fine\n```\n", "exit code 0 in place of 2"),
        ("<!-- fails: 2 -->\n```sh\necho no; exit 2\n```\n", "the error is not shown"),
    ],
)
def test_an_exit_code_is_part_of_what_is_promised(tmp_path: Path, text: str, said: str) -> None:
    [one] = execute.execute(_page(tmp_path, text), tmp_path)
    [problem] = execute.problems(one)
    assert said in problem


def test_outputs_are_renewed_where_they_stand(tmp_path: Path) -> None:
    page = _page(tmp_path, STORY.format(shown="loss 0.52\nhello ...\n..."))
    new = execute.rewritten(page.read_text(), execute.execute(page, tmp_path))
    assert "```text\nloss 0.51\nhello ...\n...\n```" in new
    assert "```text\nno such thing: 7\n```" in new
    assert len(new.splitlines()) == len(page.read_text().splitlines())
