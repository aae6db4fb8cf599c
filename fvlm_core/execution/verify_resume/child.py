"""One process of the proof: trains a run to a step and stops there, or waits there to be killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, fields, frozen

from fvlm_core.recipes.read import Recipe, Run, read_recipe
from fvlm_core.recipes.schema import Chosen, RunRecipe, Training
from fvlm_core.runs.store import find_run
from fvlm_core.utils.errors import FvlmError

EVAL_SAMPLES = 32
"""Validation samples of the proof: enough to show that evaluations agree, and soon done."""

REACHED = "reached step"


@frozen
class ChildTask:
    """What the process does. n: steps between checkpoints. until: the step it trains to. wait: there, for its death.

    recipe, overrides, run: as on the command line. runs: the user's run store, where `init_from` looks. root: the
    temporary one.
    """

    recipe: str
    overrides: tuple[str, ...]
    run: str
    runs: Path
    root: Path
    n: int
    until: int
    wait: bool

    def to_json(self) -> str:
        """As one argument of a command line."""
        return json.dumps(
            asdict(self, value_serializer=lambda _, __, v: str(v) if isinstance(v, Path) else v)
        )

    @classmethod
    def from_json(cls, text: str) -> ChildTask:
        """What `to_json` made."""
        values: dict[str, Any] = json.loads(text)
        values |= {name: Path(values[name]) for name in ("runs", "root")}
        values["overrides"] = tuple(values["overrides"])
        return cls(**values)


def rehearsed(config: RunRecipe, n: int, runs: Path) -> RunRecipe:
    """The run's recipe with a row every step, evaluations and checkpoints every n.

    What is trained, its schedule and its whole length are as they were: the proof stops a real run early, it does not
    train a shorter one.
    """
    start = config.training.init_from
    if start is not None:
        from fvlm_core.weights.init_from import place

        start = str(place(start, runs).resolve())
    return evolve(
        config,
        training=evolve(
            config.training, init_from=start, log_every=1, objective=_found(config.training, runs)
        ),
        eval=evolve(config.eval, every=n, samples=min(config.eval.samples, EVAL_SAMPLES)),
        checkpoints=evolve(config.checkpoints, every=n, keep_last=1000),
        trackers=(),
    )


def _found(training: Training, runs: Path) -> Chosen | None:
    """The objective with the folders of the runs that it names, which the temporary store does not have."""
    chosen, after = training.objective, training.objective_spec.after
    if chosen is None or not after:
        return chosen
    named = {field.name: getattr(chosen.config, field.name) for field in fields(type(chosen.config))}
    places = {key: str(find_run(name, runs).folder.resolve()) for key, name in named.items() if name in after}
    return evolve(chosen, config=evolve(chosen.config, **places))


class _Until:
    """An observer that stops the process at a step, as its task says."""

    def __init__(self, task: ChildTask) -> None:
        self._task = task

    def skipped(self, run: Run) -> None:
        """A run was complete already."""

    def started(self, run: Run, step: int, steps: int) -> None:
        """Training begins."""

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """Stop at the step: by a signal to itself, or by waiting for one that cannot be caught."""
        if step != self._task.until:
            return
        print(REACHED, step, flush=True)
        while self._task.wait:
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGUSR1)

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""

    def warned(self, text: str) -> None:
        """Something the user should know."""
        print(text, file=sys.stderr, flush=True)


def main(task: ChildTask) -> int:
    """Train; 0 when the step was reached."""
    from fvlm_core.execution.sequential import prepare, run_all
    from fvlm_core.training.signals import Stopped, StopRequest

    read = read_recipe(task.recipe, task.overrides)
    (run,) = [run for run in read.runs if run.id == task.run]
    run = evolve(run, config=rehearsed(run.config, task.n, task.runs))
    one = Recipe(read.name, read.file, (run,), ())
    try:
        data = prepare(one, task.root, lambda what, done, total: None)
        with StopRequest() as stop:
            run_all(one, task.root, data, _Until(task), stop)
    except Stopped:
        return 0
    except FvlmError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(ChildTask.from_json(sys.argv[1])))
