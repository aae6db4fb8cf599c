"""The weights that a run starts from when its recipe says `init_from`: a run, a folder of weights, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from fvlm_core.model.lora import merged
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.parametrisation import LoRA, MuP
from fvlm_core.recipes.read import settings_from
from fvlm_core.recipes.resolved import plain
from fvlm_core.runs.store import RECIPE, TOKENIZER, find_run, open_run
from fvlm_core.utils.atomic_files import sha256
from fvlm_core.utils.errors import MissingWeights, UsageError
from fvlm_core.utils.paths import user_path
from fvlm_core.weights.matching import load_foreign, read_foreign
from fvlm_core.weights.restore import best_checkpoint

_MODEL = "model*.safetensors"


@frozen
class Initial:
    """Where weights start from. files: what holds them, more than one when they were saved in parts.

    name: as the recipe says it. step: of the checkpoint they are, where that is known. tokenizer: the one those weights
    were trained with, where it lies beside them. lora: how the run that they are of adapted them, which its factors are
    merged by. mup: its parametrisation.
    """

    name: str
    files: tuple[Path, ...]
    step: int | None = None
    tokenizer: Path | None = None
    lora: LoRA | None = None
    mup: MuP | None = None

    def record(self) -> dict[str, Any]:
        """What the run's record says of it."""
        hashes = {file.name: sha256(file) for file in self.files}
        return {"from": self.name, "step": self.step, "sha256": hashes}


def find_initial(name: str, root: Path) -> Initial:
    """The weights that `init_from = name` means. Raises `MissingWeights`, with the way out, when they are not there.

    name: a run's folder, "recipe/id" or an id in the run store `root`; a folder of weights (a checkpoint, or what
    `fvlm weights export` writes); a `.safetensors`, or a training checkpoint `.pt`.
    """
    path = user_path(name)
    if (path / RECIPE).is_file():
        return _of_run(name, path)
    if path.is_dir():
        files = tuple(sorted(path.glob(_MODEL)))
        if not files:
            raise MissingWeights(f'training.init_from = "{name}": the folder {path} holds no {_MODEL}')
        return Initial(name, files, tokenizer=_beside(path))
    if path.is_file():
        return Initial(name, (path,), tokenizer=_beside(path.parent))
    if path.suffix in (".safetensors", ".pt") or name.startswith(("/", "~")):
        raise MissingWeights(
            f'training.init_from = "{name}": there is no such file or folder. Give the path of weights that are '
            'there, or a run as "recipe/id"; without the key the run starts from the model\'s own weights'
        )
    try:
        run = find_run(name, root)
    except UsageError as error:
        raise MissingWeights(
            f'training.init_from = "{name}": {error}\nTrain that run first, name another, or give the path of a '
            'weights file ("./x.safetensors"); without the key the run starts from the model\'s own weights'
        ) from None
    return _of_run(name, run.folder)


def place(name: str, root: Path) -> Path:
    """The folder or file that `init_from = name` means. Raises as `find_initial`."""
    initial = find_initial(name, root)
    path = user_path(name)
    return path if path.exists() else find_run(initial.name, root).folder


def check_same_start(initial: Initial, recorded: dict[str, Any] | None) -> None:
    """Raise `UsageError` unless these are the weights that a run's record says it started from, bit for bit."""
    now = initial.record()
    if recorded is None or recorded["sha256"] != now["sha256"]:
        raise UsageError(
            f'training.init_from = "{initial.name}": these are not the weights that this run started from, which its '
            f"reference is made of (recorded: {recorded}; there now: {now}). Put those back, or start anew under "
            "another name (-o name=...)"
        )


def check_parametrisation(initial: Initial, mup: MuP | None) -> None:
    """Raise `UsageError` where a run's weights would give other logits than its own: they are scaled by the base."""
    if initial.step is not None and initial.mup != mup:
        raise UsageError(
            f'training.init_from = "{initial.name}": that run was trained with [training.mup] = {plain(initial.mup)}, '
            f"which scales its logits; expected the same here, got {plain(mup)}"
        )


def load_initial(model: VLM, initial: Initial) -> None:
    """Put the weights into a model, LoRA's factors merged. Raises `Problems` that list every name and shape that does
    not match, `UsageError` for factors of an unknown scale."""
    first, *more = (read_foreign(file) for file in initial.files)
    for part in more:
        first = evolve(first, tensors={**first.tensors, **part.tensors})
    load_foreign(model, evolve(first, tensors=merged(first.tensors, initial.lora)))


def _of_run(name: str, folder: Path) -> Initial:
    run = open_run(folder)
    try:
        best = best_checkpoint(run)
    except UsageError as error:
        way_out = "; train it first" if run.has_recipe else ""
        raise MissingWeights(f'training.init_from = "{name}": {error}{way_out}') from None
    step = int(best.name.removeprefix("step-"))
    files, said = tuple(sorted(best.glob(_MODEL))), run.record["resolved"]["training"]
    lora = settings_from(said["lora"], LoRA, RECIPE) if "lora" in said else None
    mup = settings_from(said["mup"], MuP, RECIPE) if "mup" in said else None
    return Initial(name, files, step, _beside(folder), lora, mup)


def _beside(folder: Path) -> Path | None:
    return folder / TOKENIZER if (folder / TOKENIZER).is_file() else None
