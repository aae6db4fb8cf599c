"""Published benchmarks on a trained model, their scores with intervals, and in the run's record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from fvlm_core.api.checks import one_of, texts, within
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder
from fvlm_core.api.views.console import as_html, as_text, new_table, print_whole, progress_console
from fvlm_core.api.views.display import Display

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from fvlm_core.evaluation.suite import BenchmarkScore


@public
def suite(
    run: str | PathLike[str],
    name: str = "video",
    *,
    tasks: str | Sequence[str] = (),
    samples: int | None = None,
    mode: str | None = None,
    device: str = "auto",
    root: Root = None,
) -> SuiteResult:
    """Run a suite of benchmarks on a run, or on exported weights, by lmms-eval, as `fvlm eval --suite` does.

    name: a suite that comes with fvlm, or a .toml file. tasks: some of its benchmarks; none: all. samples: most
    questions of a task; then nothing is kept with the run. Raises `FvlmError`, also where lmms-eval is not there.
    """
    one_of("device", device, ("auto", "cpu", "cuda"))
    within("samples", samples, 1, whole=True)
    with Display(progress_console(), 0) as display:
        return run_benchmarks(
            str(run),
            runs_folder(root),
            name,
            tasks=texts(tasks),
            samples=samples,
            mode=mode,
            device=device,
            progress=display.work,
        )


def run_benchmarks(
    run: str,
    root: Path,
    name: str,
    *,
    tasks: Sequence[str],
    samples: int | None,
    mode: str | None,
    device: str,
    progress: Callable[[str, int, int], None],
) -> SuiteResult:
    """The body of `suite`."""
    from fvlm_core.evaluation.subject import check_mode, open_subject
    from fvlm_core.evaluation.suite import installed, read_suite, run_suite
    from fvlm_core.runs.scores import write_scores
    from fvlm_core.runs.store import RECIPE, find_run
    from fvlm_core.utils.paths import user_path

    read = read_suite(name)
    chosen = read.only(tasks)
    version = installed()
    subject = open_subject(run, root)
    if mode is not None:
        check_mode(subject, mode, "--mode")
    exported = user_path(run)
    stored = None
    if not (exported / "config.json").is_file() or (exported / RECIPE).is_file():
        stored = find_run(run, root).folder
    arguments = {
        "run": str((stored or exported).resolve()),
        "device": device,
        **({"mode": mode} if mode else {}),
    }
    scores = tuple(run_suite(chosen, arguments, samples, progress))
    short = Path(name).stem if name.endswith(".toml") else name
    result = SuiteResult(subject.name, subject.step, short, version, read.made_for, mode, samples, scores)
    if stored is not None and samples is None:
        write_scores(stored, short, result.to_dict())
    return result


@frozen(eq=False, repr=False)
class SuiteResult:
    """What a suite came to. name, step: of the model. suite: its name. version: of lmms-eval. made_for: the one that
    the suite is of. samples: most questions of a task, None: all, so that they stand in the run's record."""

    name: str
    step: int | None
    suite: str
    version: str
    made_for: str
    mode: str | None
    samples: int | None
    scores: tuple[BenchmarkScore, ...]

    @property
    def failed(self) -> list[BenchmarkScore]:
        """Benchmarks that gave no score."""
        return [one for one in self.scores if one.failed]

    @property
    def table(self) -> pd.DataFrame:
        """A row a benchmark: name, frames, tokens, questions, mean, low, high, failed."""
        import pandas as pd

        return pd.DataFrame([asdict(one) for one in self.scores])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `fvlm eval --suite --json` prints it."""
        return {
            "model": self.name,
            "step": self.step,
            "suite": self.suite,
            "lmms_eval": self.version,
            "mode": self.mode,
            "samples": self.samples,
            "benchmarks": [asdict(one) for one in self.scores],
        }

    def show(self, console: Console) -> None:
        """Print it as a table."""
        numbers = ("frames", "questions", "score", "low", "high")
        table = new_table("benchmark", *numbers, right=numbers)
        for one in self.scores:
            cells = ["" if value is None else f"{value:.3f}" for value in (one.mean, one.low, one.high)]
            table.add_row(one.name, str(one.frames), f"{one.questions:,}" if one.questions else "", *cells)
        print_whole(console, table)
        step = "" if self.step is None else f", step {self.step}"
        console.print(f"{self.name}{step}: {self.suite}, lmms-eval {self.version}", soft_wrap=True)
        if self.version != self.made_for:
            console.print(
                f"the suite is of lmms-eval {self.made_for}: another version may ask or score otherwise",
                soft_wrap=True,
            )
        if self.samples is not None:
            console.print(
                f"at most {self.samples} questions of a task: not kept with the run", soft_wrap=True
            )
        for one in self.failed:
            console.print(f"{one.name} failed: {one.failed}", soft_wrap=True, markup=False)

    def __repr__(self) -> str:
        return as_text(self.show)

    def _repr_html_(self) -> str:
        return as_html(self.show)
