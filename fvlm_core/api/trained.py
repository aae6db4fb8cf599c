"""A run that was trained: what its model says of videos, where it looks, and how it was trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvlm_core.api.checks import one_of
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.recipe import Recipe
from fvlm_core.runs.store import StoredRun, find_run
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.paths import user_path

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from fvlm_core.evaluation.gaze import GazeMaps
    from fvlm_core.interfaces.decoder import Decoder
    from fvlm_core.media.viewing import Viewing
    from fvlm_core.weights.restore import Checkpoint, Restored

LONGEST = 128
"""Tokens of an answer, where nobody says otherwise."""


@public
def load(
    run: str | PathLike[str],
    root: Root = None,
    *,
    device: str = "cpu",
    checkpoint: Checkpoint = "best",
    weights: str | None = None,
) -> Trained:
    """A run: its folder, its id, or "recipe/id". Its weights are read when they are first needed.

    root: see `runs`. device: where the model is used, "cpu", "cuda", or "auto", a GPU where there is one. checkpoint:
    "best" (of the best evaluation) or "last". weights: those that a callback kept beside the run's own in it, "ema" or
    "mean_of_last". Raises `FvlmError` for a run, or a GPU, that is not there.
    """
    one_of("checkpoint", checkpoint, ("best", "last"))
    one_of("device", device, ("auto", "cpu", "cuda"))
    found = find_run(str(run), runs_folder(root))
    if device != "cpu":
        from fvlm_core.hardware.devices import pick_device

        device = pick_device(device)
    return Trained(found, warn, device, checkpoint, weights)


class Trained:
    """A run and its model."""

    def __init__(
        self,
        run: StoredRun,
        note: Callable[[str], None],
        device: str = "cpu",
        checkpoint: Checkpoint = "best",
        weights: str | None = None,
    ) -> None:
        """note: is told what people should know of where the weights come from."""
        self.run = run
        self._note = note
        self._device = device
        self._checkpoint: Checkpoint = checkpoint
        self._weights = weights

    @property
    def name(self) -> str:
        """ "recipe/id"."""
        return f"{self.run.recipe}/{self.run.id}"

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return self.run.folder

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`: steps, samples, best loss; empty before the first evaluation."""
        return self.run.summary

    @cached_property
    def recipe(self) -> Recipe:
        """What was trained, every default filled in, as a recipe of this one run. Raises `FvlmError` for imported
        measurements, which have none."""
        if not self.run.has_recipe:
            raise UsageError(f"{self.name} is imported: its measurements came without a recipe")
        table: dict[str, Any] = {**self.run.record["resolved"], "name": self.run.recipe}
        training = {**table["training"], "seed": self.run.record["seed"]}
        return Recipe({**table, "training": training, "runs": [{"id": self.run.id}]})

    @public
    def metrics(self) -> pd.DataFrame:
        """The rows of `metrics.jsonl` that are in force: training steps and evaluations (`event_type`), each step once;
        rows that a resumed run has superseded are left out."""
        import pandas as pd

        return pd.DataFrame(self.run.rows())

    @cached_property
    def restored(self) -> Restored:
        """The model in evaluation mode, its chat format, and the step its weights are from."""
        from fvlm_core.weights.restore import restore

        found = restore(self.run, self._device, self._checkpoint, self._weights)
        if found.remark:
            self._note(found.remark)
        return found

    @cached_property
    def decoder(self) -> Decoder | None:
        """What decodes videos for this run; None for the core's own."""
        from fvlm_core.media.decoders import open_decoder

        return open_decoder(self.restored.config.data.decoder)

    def viewing(self, **otherwise: Any) -> Viewing:
        """How the model is shown things: as in training, but for what is said `otherwise`: prompt, system, fps,
        max_frames, fit, repeats. Raises `UsageError`."""
        if otherwise.get("fit") is not None:
            one_of("fit", otherwise["fit"], ("letterbox", "crop"))
        try:
            return self.restored.viewing.told(**otherwise)
        except ValueError as error:
            raise UsageError(str(error)) from None

    @public
    def frames(self, video: str | PathLike[str], **otherwise: Any) -> NDArray[np.uint8]:
        """What the model sees of a video or a picture: uint8 RGB [T, 3, size, size]. otherwise: as `caption`. Raises
        `FvlmError` for what is none."""
        return self.viewing(**otherwise).frames(user_path(Path(video)), self.decoder)

    @public
    def caption(
        self,
        video: str | PathLike[str],
        prompt: str | None = None,
        *,
        tokens: int = LONGEST,
        **otherwise: Any,
    ) -> str:
        """What the model says about a video or a picture, greedily, in at most `tokens` tokens, shown as in training.

        otherwise: `system` turn, `fps`, `max_frames`, `fit` ("letterbox", "crop") of a picture, and its `repeats`, in
        place of those of training.
        """
        from fvlm_core.evaluation.inference import caption

        viewing = self.viewing(prompt=prompt, **otherwise)
        file = user_path(Path(video))
        frames = viewing.frames(file, self.decoder)
        return caption(self.restored, frames, viewing.question(file), tokens, viewing.system)

    @public
    def generate(
        self,
        video: str | PathLike[str] | NDArray[np.uint8],
        prompt: str | None = None,
        *,
        tokens: int = LONGEST,
        system: str | None = None,
        mode: str | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> str:
        """What the model says about a video, a picture, or frames: uint8 RGB [T, 3, size, size], T may be 0.

        mode: of the connector, how visual tokens are made; None for its own. settings: how each token is chosen, of
        `[eval.generation]`: `beams`, or `temperature` and `top_p`, and `stop` texts; greedily without any. seed: of
        sampling.
        """
        from fvlm_core.evaluation.inference import caption
        from fvlm_core.interfaces.generation import Generation
        from fvlm_core.recipes.read import settings_from

        viewing = self.viewing(prompt=prompt, system=system)
        if isinstance(video, str | PathLike):
            file = user_path(Path(video))
            frames, question = viewing.frames(file, self.decoder), viewing.question(file)
        else:
            frames, question = _checked(self.restored, video), viewing.prompt
        if mode is not None:
            one_of("mode", mode, self.restored.model.connector.spec.modes)
        given = {name: value for name, value in settings.items() if value is not None}
        chosen = settings_from(given, Generation, "generate")
        return caption(
            self.restored, frames, question, tokens, viewing.system, mode, settings=chosen, seed=seed
        )

    @public
    def gaze(self, video: str | PathLike[str], **otherwise: Any) -> GazeMaps:
        """Where the model looks in a video or a picture: `.arrays` of each pass [T, rows, columns], `.figure()`, and
        `.save(file)`. otherwise: as `caption`. Raises `FvlmError` for a model that never looks."""
        from fvlm_core.evaluation.gaze import GazeMaps
        from fvlm_core.evaluation.inference import look

        frames = self.frames(video, **otherwise)
        looks = look(self.restored, frames, otherwise.get("prompt"))
        if not looks:
            connector = self.restored.config.model.connector.name
            raise UsageError(f'{self.run.id} has no queries: its connector "{connector}" never looks')
        weights = f", weights {self._weights}" if self._weights else ""
        return GazeMaps(frames, looks, f"{self.name}, step {self.restored.step}{weights}")

    @public
    def stream(self, prompt: str | None = None, *, system: str | None = None) -> Stream:
        """A video that comes frame by frame: `.push(frame)`, and `.text()` when words are wanted.

        prompt, system: what is asked, for a model that watches with the question in mind (`question_first`); None for
        that of training.
        """
        return Stream(self, prompt, system)

    def __repr__(self) -> str:
        return "\n".join(f"{key:<12}  {value}" for key, value in self._about().items())

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in self._about().items()
        )
        return f"<table>{''.join(rows)}</table>"

    def _about(self) -> Mapping[str, str]:
        summary, record = self.summary, self.run.record
        best = summary.get("best_val_loss")
        parameters = self.run.total_params
        known = {
            "run": self.name,
            "size": f"{self.run.size}, {parameters:,} parameters" if parameters else self.run.size,
            "seed": str(record.get("seed", "")),
            "steps": f"{summary.get('total_steps') or 0:,} of {record.get('steps') or 0:,}",
            "best loss": "" if best is None else f"{best:.4f} at step {summary.get('best_val_step')}",
            "weights": self._weights or "",
            "folder": str(self.folder),
        }
        return {key: value for key, value in known.items() if value}


class Stream:
    """One video, frame by frame.

    A connector that can watch frame by frame makes each frame's tokens once, when it is pushed, and lets the frame go.
    One that cannot is shown all frames anew whenever words are wanted.
    """

    def __init__(self, trained: Trained, prompt: str | None = None, system: str | None = None) -> None:
        import torch

        restored, model = trained.restored, trained.restored.model
        self._viewing = trained.viewing(prompt=prompt, system=system)
        asked = restored.chat.prompt(self._viewing.asked(self._viewing.prompt))
        self.trained = trained
        self.count = 0
        """Frames that were pushed."""
        with torch.no_grad():
            self._stream = model.stream(asked.tolist())
        last = model.connector.spec.last_frames
        self._tokens: deque[torch.Tensor] = deque(maxlen=last)
        self._frames: deque[NDArray[np.uint8]] = deque(maxlen=last)

    @property
    def incremental(self) -> bool:
        """Whether the connector watches frame by frame."""
        return self._stream is not None

    @public
    def push(self, frame: NDArray[np.uint8]) -> None:
        """The next frame: uint8 RGB [3, size, size]. Raises `FvlmError` for another array."""
        import numpy as np
        import torch

        frames = _checked(self.trained.restored, np.asarray(frame)[None])
        model = self.trained.restored.model
        if self._stream is None:
            self._frames.append(frames[0])
        else:
            with torch.no_grad():
                shown = model.normalise(torch.from_numpy(frames).to(next(model.parameters()).device))
                self._tokens.append(self._stream.next_tokens(shown)[0])
        self.count += 1

    @public
    def text(self, prompt: str | None = None, *, tokens: int = LONGEST, system: str | None = None) -> str:
        """What the model says about the frames so far; the video may go on afterwards. prompt, system: None for those
        that the stream began with. Raises `FvlmError` before the first frame, and for another question than the one
        that the video was watched with."""
        import numpy as np
        import torch

        from fvlm_core.evaluation.inference import caption

        if not self.count:
            raise UsageError("no frame was pushed yet: .push(frame) first")
        begun = self._viewing
        viewing = self.trained.viewing(prompt=prompt or begun.prompt, system=system or begun.system)
        model = self.trained.restored.model
        mindful = self.incremental and model.question_first and "question" in model.connector.reads
        if mindful and (viewing.prompt, viewing.system) != (begun.prompt, begun.system):
            raise UsageError(
                f'this video was watched with the question "{begun.prompt}" in mind, got "{viewing.prompt}": '
                "expected the same; .stream(prompt) begins another one"
            )
        size = self.trained.restored.model.encoder.spec.image_size
        frames = np.stack(self._frames) if self._frames else np.zeros((0, 3, size, size), np.uint8)
        visual = torch.stack(list(self._tokens)) if self._tokens else None
        restored = self.trained.restored
        return caption(restored, frames, viewing.prompt, tokens, viewing.system, visual=visual)

    def __repr__(self) -> str:
        how = "frame by frame" if self.incremental else "all frames anew at each text()"
        return f"{self.trained.name}: a stream of {self.count} frames, watched {how}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def _checked(restored: Restored, frames: Any) -> NDArray[np.uint8]:
    """Raises `UsageError` for an array that holds no frames of the size that the model sees."""
    import numpy as np

    size = restored.model.encoder.spec.image_size
    found = np.asarray(frames)
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[1:] != (3, size, size):
        shape = ", ".join(map(str, found.shape))
        raise UsageError(f"frames: expected uint8 [T, 3, {size}, {size}], got {found.dtype} [{shape}]")
    return np.ascontiguousarray(found)
