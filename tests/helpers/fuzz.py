"""Hostile inputs by seed, each given to the commands that read such a file, in forked processes that are watched.

`python tests/helpers/fuzz.py 320 docs/measurements/fuzz.md` makes 320 of them and writes the table; see `test_fuzz.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from attrs import field, frozen

LONGEST = 20.0
"""Seconds that a command may take."""

LARGEST = 2048
"""MiB that a process may hold."""

SECRET = "xyzzy-private-4711"
STORE = ("runs", "cache", "out")
"""Folders, below the one in which commands are run, that they may write to."""

_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters other than tab and line feed, C1, and marks that turn the direction of text."""

RECIPE = """name = "fuzz"
[model.encoder]
name = "dinov2"
weights = "seeded"
image_size = 42
width = 16
depth = 1
heads = 2
[model.connector]
name = "foveated"
query_dim = 8
[model.llm]
name = "smollm2"
weights = "seeded"
width = 16
mlp = 32
depth = 1
heads = 2
kv_heads = 1
[[data.sources]]
name = "shapes"
clips = 8
validation_clips = 4
[training]
steps = 2
batch_size = 2
micro_batch_size = 2
precision = "float32"
threads = 1
workers = 0
[eval]
every = 2
samples = 2
[grid]
seed = [1, 2]
"training.steps" = [2, 4]
"""
_DATA = RECIPE[RECIPE.index("[[data") : RECIPE.index("[training]")]
CLIPS = RECIPE[: RECIPE.index("[grid]")].replace(
    _DATA, '[[data.sources]]\nname = "clips"\npath = "FOLDER"\nholdout = 0\n'
)
_HEAD = (
    "model_size,run_id,lr_schedule,step,samples_seen,val_loss,train_loss,lr,throughput_sps,attention_entropy"
)
POINTS = (
    _HEAD
    + "\n"
    + "".join(
        f"{n}M,r{n},constant,{s},{s * 32},{2 + 40 / n + 9 / s**0.4:.5f},{2.5:.5f},0.001,40,5.1\n"
        for n in (10, 20, 40)
        for s in (10, 20, 40, 80, 160)
    )
)


@frozen
class Outcome:
    """A command on an input: kind of input, its number, what was done to it, the command, how it ended, and what of
    the promises it broke."""

    kind: str
    number: int
    how: str
    command: str
    code: int | None
    seconds: float
    mib: float
    faults: tuple[str, ...] = field(default=())
    said: str = ""


# ---- mutations -------------------------------------------------------------------------------------------------

_NASTY: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1e308,
        -1e-320,
        10**30,
        "",
        " ",
        [],
        {},
        [[]],
        {"a": None},
        float("nan"),
        float("inf"),
    ),
    *("../../escaped", "/etc/passwd", ".", "a" * 300, "\x1b[31mred\x07", "\u202egnp.exe", "\x9b2J", "=1+1"),
    *("\ud800", "NaN", "0x10", "1e999", "﷽" * 50, "%s%n{0}", [1] * 1000, {str(n): n for n in range(1000)}),
)


def bits(content: bytes, draw: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(draw.choice((1, 3, 30))):
        if out:
            out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def twice(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + content[draw.randrange(at + 1) :]


_PIECES = (
    *(b"\0" * 600, b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b]0;x\x07", b'"', b"\n\n,", b"9" * 5000, b"[" * 3000),
    *(
        "\u202e\u2066".encode(),
        "\x9b31m".encode(),
        b"\r",
        b"{" * 3000,
        b"1e99999",
        b"\xf0\x9f\x92\xa9",
        b"''''",
    ),
)


def inserted(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    piece = draw.choice(_PIECES)
    return content[:at] + piece + content[at:]


def nested(content: bytes, draw: random.Random) -> bytes:
    deep = draw.choice((900, 3000, 100_000))
    return draw.choice(
        (b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep, b"a = " + b"[" * deep)
    )


def numbers(content: bytes, draw: random.Random) -> bytes:
    new = draw.choice(
        (b"9" * 5000, b"-1", b"0", b"1e999", b"nan", b"999999999999", b"1.5", b"0x1F", b"1_0", b"inf")
    )
    found = list(re.finditer(rb"\d+(\.\d+)?", content))
    for match in sorted(draw.sample(found, min(len(found), draw.choice((1, 4)))), key=lambda m: -m.start()):
        content = content[: match.start()] + new + content[match.end() :]
    return content


def words(content: bytes, draw: random.Random) -> bytes:
    """A quoted text, or a line, becomes something else."""
    new = json.dumps(draw.choice(_NASTY)).encode()
    found = list(re.finditer(rb'"[^"\n]*"', content)) or list(re.finditer(rb"[^\n,]+", content))
    if not found:
        return new
    match = draw.choice(found)
    return content[: match.start()] + new + content[match.end() :]


def types(content: bytes, draw: random.Random) -> bytes:
    """One value of a JSON document, anywhere in it, becomes one of another type; of anything else, a word."""
    try:
        lines = [json.loads(line) for line in content.splitlines()] if content[:1] == b"{" else None
        value: Any = (
            json.loads(content) if lines is None or len(content.splitlines()) == 1 else draw.choice(lines)
        )
    except ValueError:
        try:
            value, lines = json.loads(content), None
        except ValueError:
            return words(content, draw)
    if draw.random() < 0.15:
        return json.dumps(draw.choice(_NASTY)).encode()
    places: list[tuple[Any, Any]] = []

    def walk(one: Any) -> None:
        for key in list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ():
            places.append((one, key))
            walk(one[key])

    walk(value)
    for holder, key in draw.sample(places, min(len(places), draw.choice((1, 1, 5)))):
        if isinstance(holder, dict) and draw.random() < 0.3:
            holder.pop(key, None)
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = draw.choice(_NASTY)
    whole = [value] if lines is None or len(content.splitlines()) == 1 else lines
    return "\n".join(json.dumps(one) for one in whole).encode() + b"\n"


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bits": bits,
    "cut": cut,
    "twice": twice,
    "inserted": inserted,
    "nested": nested,
    "numbers": numbers,
    "words": words,
    "types": types,
    "empty": lambda content, draw: b"",
    "zeros": lambda content, draw: bytes(len(content)),
}


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def _secret(path: Path) -> None:
    place = next(folder for folder in path.parents if folder.name == "place")
    path.symlink_to(place.with_name("secret"))


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a secret": _secret,
    "a folder": lambda path: path.mkdir(),
    "a circle": lambda path: path.symlink_to(path.name),
    "3 GB": _sparse,
}


# ---- inputs ------------------------------------------------------------------------------------------------------


@frozen
class Kind:
    """files: of a fresh folder, those that one of is spoilt. commands: that read them."""

    files: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    special: bool = True


_FIT = ("fit", "--model", "joint-chinchilla", "--data")
KINDS: dict[str, Kind] = {
    "recipe": Kind(("fuzz.toml",), (("run", "fuzz.toml", "--dry-run"), ("runs", "list", "fuzz.toml"))),
    "manifest of data": Kind(
        ("clips/captions.csv", "clips2/captions.jsonl", "clips3/a.txt"),
        (("data", "check", "clips.toml"), ("data", "check", "clips2.toml"), ("data", "check", "clips3.toml")),
    ),
    "tar": Kind(("shards/0.tar",), (("data", "check", "shards"),)),
    "table": Kind(
        ("t.csv", "t.json", "t.jsonl", "t.parquet", "export/all_eval_points.csv"),
        ((*_FIT, "FILE", "--draws", "2", "--plot", "out/p.png"), ("import", "FILE", "--dry-run")),
    ),
    "run folder": Kind(
        tuple(
            f"runs/export/r10/{name}"
            for name in ("recipe.json", "metrics.jsonl", "summary.json", "environment.json", "attempts.jsonl")
        ),
        (
            ("runs", "list"),
            ("report", "--out", "out/r.html"),
            ("runs", "show", "r10"),
            ("fit", *_FIT[1:3], "--draws", "2", "--plot", "out/p.png"),
        ),
    ),
    "trained run": Kind(
        tuple(
            f"runs/tiny/tiny/{name}"
            for name in (
                *(
                    "recipe.json",
                    "metrics.jsonl",
                    "summary.json",
                    "environment.json",
                    "attempts.jsonl",
                    "tokenizer.json",
                ),
                *("CHECKPOINT/manifest.json", "CHECKPOINT/model.safetensors", "CHECKPOINT/state.json"),
            )
        ),
        (
            ("runs", "list"),
            ("eval", "tiny", "--samples", "1", "--device", "cpu"),
            ("weights", "export", "tiny", "--to", "out/w"),
        ),
    ),
}


def pristine(root: Path, trained: Path | None) -> None:
    """Valid files of every kind. trained: a folder with a trained run, and its cache."""
    (root / "fuzz.toml").write_text(RECIPE)
    rows = [line.split(",") for line in POINTS.splitlines()[1:]]
    plain = [
        {"run": run, "N": float(size[:-1]) * 1e6, "D": float(d), "loss": float(loss)}
        for size, run, _, _, d, loss, *_ in rows
    ]
    (root / "t.csv").write_text(
        "run,N,D,loss\n" + "".join(",".join(map(str, row.values())) + "\n" for row in plain)
    )
    (root / "t.json").write_text(json.dumps(plain))
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    pq.write_table(pa.Table.from_pylist(plain), root / "t.parquet")
    (root / "export").mkdir()
    (root / "export/all_eval_points.csv").write_text(POINTS)
    for n, name in enumerate(("clips", "clips2", "clips3")):
        (root / name).mkdir()
        (root / f"{name}.toml").write_text(CLIPS.replace("FOLDER", name))
        for clip in "ab":
            (root / name / f"{clip}.mp4").write_bytes(b"not decoded")
            if n == 2:
                (root / name / f"{clip}.txt").write_text(f"a caption of {clip}")
    (root / "clips/captions.csv").write_text("video,caption\na.mp4,one\nb.mp4,two\n")
    lines = [json.dumps({"video": f"{clip}.mp4", "caption": "words"}) for clip in "ab"]
    (root / "clips2/captions.jsonl").write_text("\n".join(lines))
    (root / "shards").mkdir()
    with tarfile.open(root / "shards/0.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in "abc":
            for suffix, content in (
                (".txt", f"says {name}".encode()),
                (".jpg", b"\xff\xd8\xff" + name.encode() * 700),
            ):
                info = tarfile.TarInfo(name + suffix)
                info.size, info.mtime = len(content), 1.5
                archive.addfile(info, io.BytesIO(content))
    for name in STORE:
        (root / name).mkdir()
    if trained is not None:
        shutil.copytree(trained / "runs", root / "runs", dirs_exist_ok=True)
        shutil.copytree(trained / "cache", root / "cache", dirs_exist_ok=True)


def spoil(file: Path, kind: Kind, draw: random.Random) -> str:
    """Make a file hostile; how."""
    if kind.special and draw.random() < 0.15:
        how = draw.choice(list(SPECIAL))
        file.unlink(missing_ok=True)
        SPECIAL[how](file)
        return how
    how = draw.choice(list(BYTES))
    content = file.read_bytes() if file.exists() else b"{}\n"
    for _ in range(draw.choice((1, 1, 2))):
        content = BYTES[how](content or b" ", draw)
    file.write_bytes(content)
    return how


# ---- processes -----------------------------------------------------------------------------------------------------


def warm() -> None:
    """Import, once, what every command needs; no tensor is made, so that a fork is safe."""
    for name in ("cli.main", "datasets.sources.parquet", "evaluation.subject", "execution.sequential",
                 "interchange.export", "report.html", "scaling.fit.report"):  # fmt: skip
        import_module(f"fvlm_core.{name}")


def ended(arguments: Iterable[str], root: Path) -> tuple[int | None, float, float, str]:
    """`fvlm ARGUMENTS` in a forked process: exit code (None: stopped for its time), seconds, MiB beyond what this one
    holds, and all that it printed."""
    printed = root / "out" / ".printed"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(root)
            os.environ.update(FVLM_CACHE=str(root / "cache"), OMP_NUM_THREADS="1", COLUMNS="100")
            handle = os.open(printed, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for number, opened in ((0, nothing), (1, handle), (2, handle)):
                os.dup2(opened, number)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            import torch

            from fvlm_core.cli.console import stderr, stdout
            from fvlm_core.cli.main import main

            torch.set_num_threads(1)
            stdout.cache_clear()
            stderr.cache_clear()
            sys.argv = ["fvlm", *arguments]
            code = main()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode())
            code = 99
        os._exit(code)
    most = 0.0
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            most = max(most, usage.ru_maxrss / 1024)
            break
        if _processor_seconds(child) > LONGEST or time.monotonic() - began > 10 * LONGEST:
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
            return None, time.monotonic() - began, most, printed.read_text("utf-8", "surrogateescape")
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(status)
    return code, time.monotonic() - began, most, printed.read_text("utf-8", "surrogateescape")


def _processor_seconds(process: int) -> float:
    """Seconds that it has computed, or, of one that waits for something, that it has lived."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    if fields[0] == "S":  # asleep: a pipe that never speaks
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / ticks
    return (int(fields[11]) + int(fields[12])) / ticks


def state(root: Path) -> dict[str, tuple[int, int]]:
    """Every file outside of the folders that commands may write to."""
    found: dict[str, tuple[int, int]] = {}
    for folder, below, names in os.walk(root.parent):
        if Path(folder) == root:
            below[:] = [name for name in below if name not in STORE]
        for name in (*names, *below):
            status = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = status.st_size, status.st_mtime_ns
    return found


def faults(
    code: int | None, mib: float, said: str, before: Any, after: Any, *, named: bool = False
) -> tuple[str, ...]:
    """Which promises were broken. named: whether the user named the file that may lead out to a secret: who may read it
    and asks for it is shown it."""
    raw = sorted(set(_RAW.findall(said)))
    broken = {
        f"took more than {LONGEST:g} s": code is None,
        f"exit code {code}": code not in (None, 0, 1, 2),
        f"{mib:,.0f} MiB": mib > LARGEST,
        f"raw characters {raw!r}": bool(raw),
        '"defect"': "defect" in said,
        "a traceback": "Traceback (most recent" in said,
        "a secret told": SECRET in said and not named,
        "wrote outside the store": before != after,
    }
    return tuple(text for text, holds in broken.items() if holds)


def outcomes(
    count: int, seed: int = 0, trained: Path | None = None, kinds: Sequence[str] = tuple(KINDS)
) -> Iterable[Outcome]:
    """`count` inputs, of each kind in turn, and every command that reads them."""
    warm()
    kinds = [kind for kind in kinds if trained is not None or kind != "trained run"]
    for number in range(count):
        name = kinds[number % len(kinds)]
        kind, draw = KINDS[name], random.Random(f"{seed}/{number}")
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / "place"
            root.mkdir()
            (Path(scratch) / "secret").write_text(SECRET)
            pristine(root, trained if name == "trained run" else None)
            if name == "run folder":
                ended(("import", "export"), root)
            place = draw.choice(kind.files)
            if "CHECKPOINT" in place:
                newest = sorted((root / "runs/tiny/tiny/checkpoints").glob("step-*"))[-1]
                place = place.replace("CHECKPOINT", f"checkpoints/{newest.name}")
            how = spoil(root / place, kind, draw)
            for command in kind.commands:
                if command[:2] == ("data", "check") and not place.startswith(
                    f"{command[2].partition('.')[0]}/"
                ):
                    continue  # of another folder
                before = state(root)
                arguments = [place if word == "FILE" else word for word in command]
                code, seconds, mib, said = ended(arguments, root)
                broken = faults(code, mib, said, before, state(root), named=place in arguments)
                yield Outcome(
                    name, number, f"{place}: {how}", " ".join(arguments), code, seconds, mib, broken, said
                )


def table(found: list[Outcome], count: int, seed: int) -> str:
    """What was found, as Markdown."""
    lines = [
        "# Hostile inputs",
        "",
        f"`pytest -m soak tests/soak/test_fuzz.py` runs `python tests/helpers/fuzz.py {count} --seed {seed}`:",
        "valid files",
        "of each kind are spoilt by flipped bits, cuts, values of other types, deep nesting, huge numbers, control",
        "characters, and by pipes, devices, links, folders and 3 GB in their place. Every command that reads such a",
        "file is run on it, and breaks a promise where it computes or waits longer than 20 s, holds more than 2 GiB,",
        "writes outside the store, prints a raw control character or what a link leads out to that nobody named, or",
        "ends in a traceback or as a defect. `--trained FOLDER` adds the kind `trained run`. Seconds are by the clock,",
        "on a machine that did other things too.",
        "",
        "| kind | inputs | commands | exit 0 | exit 1 | exit 2 | other | worst s | worst MiB | promises broken |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind in dict.fromkeys(one.kind for one in found):
        of = [one for one in found if one.kind == kind]
        codes = [sum(one.code == code for one in of) for code in (0, 1, 2)]
        cells = [
            *(kind, len({one.number for one in of}), len(of), *codes, len(of) - sum(codes)),
            *(f"{max(one.seconds for one in of):.1f}", f"{max(one.mib for one in of):.0f}"),
            sum(bool(one.faults) for one in of),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", type=Path, help="a folder with the run tiny/tiny and its cache")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=tuple(KINDS))
    given = parser.parse_args()
    found: list[Outcome] = []
    for one in outcomes(given.count, given.seed, given.trained, given.kinds):
        found.append(one)
        if one.faults:
            print(
                one.number,
                one.kind,
                one.how,
                one.command,
                one.faults,
                repr(one.said[-600:]),
                sep=" | ",
                flush=True,
            )
    print(text := table(found, given.count, given.seed))
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    return 1 if any(one.faults for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
