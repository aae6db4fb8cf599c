"""Suites of published benchmarks: what is run, by lmms-eval in processes of its own, and what each question scored."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from attrs import field, frozen
from attrs.validators import ge, min_len

from fvlm_core.recipes.read import settings_from
from fvlm_core.training.answers import mean_among
from fvlm_core.utils.atomic_files import read_rows
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.paths import user_path
from fvlm_core.utils.visible_text import visible
from fvlm_registry.nearest import did_you_mean

INSTALL = "pip install 'lmms-eval==0.7.3' 'filelock<4', then fvlm again (docs/howto/lmms_eval.md)"

_SHIPPED = Path(__file__).parent
_SAID = 12
"""Last lines of a process that are told where it fails."""


@frozen(kw_only=True)
class ScorePlace:
    """Where the score of a question is in what lmms-eval keeps of it. metric: whose. value: its score there; said,
    right: in place of it an answer and the right one, which are compared as texts; within: whether the right one may
    stand anywhere in the answer. None of these: the metric is the score."""

    metric: str
    value: str = ""
    said: str = ""
    right: str = ""
    within: bool = False

    def __attrs_post_init__(self) -> None:
        if bool(self.said) != bool(self.right) or (self.said and self.value):
            raise ValueError('score: expected "value", or "said" and "right", or neither')

    def of(self, sample: Mapping[str, Any]) -> float:
        """The score of a question. Raises `FvlmError` where it is not there."""
        try:
            found = sample[self.metric]
            if self.said:
                said, right = (str(found[name]).strip() for name in (self.said, self.right))
                return float(right in said if self.within else said.upper() == right.upper())
            return float(found[self.value] if self.value else found)
        except (KeyError, TypeError, ValueError) as error:
            raise FvlmError(
                f"{self.metric}: lmms-eval kept no score of a question as the suite says it does: {error!r}"
            ) from None


@frozen(kw_only=True)
class Benchmark:
    """One benchmark. tasks: of lmms-eval. frames: most of a video. tokens: most of an answer. prompt: how every
    question ends. score: where scores are."""

    name: str = field(validator=min_len(1))
    tasks: tuple[str, ...] = field(validator=min_len(1))
    frames: int = field(validator=ge(1))
    tokens: int = field(validator=ge(1))
    prompt: str
    score: ScorePlace


@frozen(kw_only=True)
class Suite:
    """Benchmarks, in order. made_for: the version of lmms-eval that they are of."""

    description: str
    made_for: str
    benchmarks: tuple[Benchmark, ...] = field(validator=min_len(1))

    def only(self, names: Sequence[str]) -> tuple[Benchmark, ...]:
        """Those of these names, all without any. Raises `UsageError`."""
        known = [one.name for one in self.benchmarks]
        for name in names:
            if name not in known:
                raise UsageError(
                    f'--task: the suite has {", ".join(known)}, and no "{name}"{did_you_mean(name, known)}'
                )
        return tuple(one for one in self.benchmarks if not names or one.name in names)


@frozen
class BenchmarkScore:
    """What a benchmark came to. questions: how many were asked. mean, low, high: of their scores in [0, 1], with the
    interval at 95 %; None where it failed, and why."""

    name: str
    frames: int
    tokens: int
    questions: int
    mean: float | None
    low: float | None
    high: float | None
    failed: str = ""


def suite_names() -> list[str]:
    """Those that come with fvlm."""
    return sorted(file.stem for file in _SHIPPED.glob("*.toml"))


def read_suite(name: str) -> Suite:
    """A suite that comes with fvlm, or a .toml file. Raises `UsageError`, or `Problems` with all that is wrong."""
    file = user_path(Path(name)) if name.endswith(".toml") else _SHIPPED / f"{name}.toml"
    if not file.is_file():
        known = suite_names()
        raise UsageError(
            f'--suite: expected one of {", ".join(known)}, or a .toml file, got "{name}"{did_you_mean(name, known)}'
        )
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from None
    return settings_from(table, Suite, str(file))


def installed() -> str:
    """The version of lmms-eval. Raises `UsageError`, with how to get it, where it is not installed."""
    if find_spec("lmms_eval") is None:
        raise UsageError(f"--suite: lmms-eval is not installed, which runs the benchmarks: {INSTALL}")
    try:
        return metadata.version("lmms-eval")
    except metadata.PackageNotFoundError:
        return "unknown"


def run_suite(
    benchmarks: Sequence[Benchmark],
    arguments: Mapping[str, str],
    limit: int | None,
    progress: Callable[[str, int, int], None],
) -> Iterator[BenchmarkScore]:
    """Each benchmark in a process of its own, so that one that fails costs itself alone.

    arguments: of `--model_args`. limit: most questions of a task; None: all.
    """
    for number, one in enumerate(benchmarks):
        progress(one.name, number, len(benchmarks))
        yield _run(one, arguments, limit)
    progress("benchmarks", len(benchmarks), len(benchmarks))


def program(command: Sequence[str]) -> str:
    """What a program printed, errors last. How it ended is not asked: lmms-eval exits with 0 in any case.

    `HF_HOME` is set where it is not: lmms-eval 0.7.3 looks for videos there, and nextqa and tempcompass end without it.
    """
    from huggingface_hub.constants import HF_HOME

    done = subprocess.run(
        command,
        env={"HF_HOME": HF_HOME, **os.environ, "TQDM_DISABLE": "1"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.stdout + done.stderr


def _run(one: Benchmark, arguments: Mapping[str, str], limit: int | None) -> BenchmarkScore:
    with TemporaryDirectory() as folder:
        given = ",".join(f"{key}={value}" for key, value in {**arguments, "max_frames": one.frames}.items())
        printed = program(
            (
                *(sys.executable, "-m", "lmms_eval", "--model", "fvlm", "--model_args", given),
                *("--tasks", ",".join(one.tasks), "--gen_kwargs", f"max_new_tokens={one.tokens}"),
                *("--output_path", folder, "--log_samples"),
                *(("--limit", str(limit)) if limit else ()),
            )
        )
        try:
            scores = _scores(one, Path(folder))
            if not scores:
                last = [visible(line) for line in printed.splitlines() if line.strip()][-_SAID:]
                raise FvlmError("\n".join(["lmms-eval kept no question; it said last:", *last]))
        except (FvlmError, OSError, ValueError) as error:
            return BenchmarkScore(one.name, one.frames, one.tokens, 0, None, None, None, str(error))
    found = mean_among("x", scores, scores)
    return BenchmarkScore(
        one.name, one.frames, one.tokens, len(scores), found["x"], found["x_low"], found["x_high"]
    )


def _scores(one: Benchmark, folder: Path) -> list[float]:
    """Of every question, from the files that lmms-eval wrote. Raises `FvlmError`."""
    scores: list[float] = []
    for file in sorted(folder.rglob("*_samples_*.jsonl")):
        for line, row in read_rows(file):
            if not isinstance(row, dict):
                raise FvlmError(f"{file.name}, line {line}: expected a table")
            sample = cast("dict[str, Any]", row)
            asked = sample.get("input")
            if isinstance(asked, str) and not asked.rstrip().endswith(one.prompt.rstrip()):
                end = visible(asked[-120:])
                raise FvlmError(
                    f'{file.name}, line {line}: expected a question that ends with "{visible(one.prompt)}", got '
                    f'"...{end}": this lmms-eval asks otherwise than the suite says, and its scores are not comparable'
                )
            scores.append(one.score.of(sample))
    return scores
