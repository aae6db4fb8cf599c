"""What a benchmark of training is made on: a run of a recipe, with random weights, on a device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, lru_cache

import torch
from attrs import evolve, frozen

from fvlm_core.hardware.gpus import recognise
from fvlm_core.hardware.precision import faster_precision
from fvlm_core.model.build import compose, specs
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import Recipe, read_connector, read_recipe
from fvlm_core.recipes.schema import RunRecipe
from fvlm_core.utils.errors import UsageError

THREADS = 2


def precision_of(device: str, asked: str | None) -> str:
    """Of a setting. asked: on the command line; None: bf16 on a GPU, float32 on a CPU. Raises `UsageError` for a GPU
    that is not there."""
    if asked != "auto":
        return asked or ("bf16" if device == "cuda" else "float32")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(_NO_GPU)
    return faster_precision(device).precision


_NO_GPU = "--device cuda: torch sees no GPU; expected cpu"


@lru_cache(maxsize=1)
def _read(recipe: str, overrides: tuple[str, ...]) -> Recipe:
    """A recipe of 84 runs takes .4 s to read, and every setting of one benchmark asks for it."""
    return read_recipe(recipe, list(overrides))


@frozen(kw_only=True)
class Setting:
    """recipe, overrides: as on the command line. device: "cpu" or "cuda". precision: "float32" or "bf16", over float32
    weights. compiled: whether the layers are compiled. samples: of a dense batch. run: id of the run; empty: the first.
    connector: in place of the run's own, "key=value" texts with commas between them; empty: its own.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    device: str = "cpu"
    precision: str = "float32"
    compiled: bool = False
    samples: int = 2
    run: str = ""
    connector: str = ""

    @cached_property
    def config(self) -> RunRecipe:
        """The recipe of the run."""
        runs = _read(self.recipe, self.overrides).runs
        found = next(run.config for run in runs if self.run in ("", run.id))
        if not self.connector:
            return found
        name, *settings = self.connector.split(",")
        connector = read_connector(name.partition("=")[2].strip('"'), settings)
        return evolve(found, model=evolve(found.model, connector=connector))

    @property
    def device_name(self) -> str:
        """What a driver calls the GPU, or "cpu". Raises `UsageError` where torch sees no GPU."""
        if self.device == "cpu":
            return "cpu"
        if not torch.cuda.is_available():
            raise UsageError(_NO_GPU)
        return torch.cuda.get_device_name()

    @property
    def peak(self) -> float | None:
        """Dense FLOP/s of the GPU; None where they are not known."""
        found = recognise(self.device_name) if self.device == "cuda" else None
        return found.peak(self.precision) if found else None

    def vocabulary(self) -> int:
        """Of the model. Raises `UsageError` where it waits for the data."""
        found = specs(self.config.model, None)[1].vocabulary
        if found is None:
            raise UsageError(
                f"{self.recipe}: its tokenizer is made from the data; expected a model of a known vocabulary"
            )
        return found

    def model(self) -> VLM:
        """With random weights: none is needed on this machine."""
        if self.device == "cpu":
            torch.set_num_threads(THREADS)
        made = compose(self.config.model, self.vocabulary(), 0, weights=False).to(self.device).train()
        if self.compiled:
            made.compile_layers()
        return made

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of matrix products."""
        return torch.autocast(self.device, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device == "cuda":
            torch.cuda.synchronize()
