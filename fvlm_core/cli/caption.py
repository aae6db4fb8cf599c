"""`fvlm caption`: what a trained model says about videos, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fvlm_core.cli.console import note, print_json, stderr
from fvlm_core.cli.generation_options import generation, generation_options
from fvlm_core.cli.help import Command
from fvlm_core.cli.options import frame_options, run_option, runs_option, weights_option
from fvlm_core.cli.path_types import ANY_PATH, FILE_OR_STDOUT, STDOUT
from fvlm_core.media.suffixes import by_kind, is_video


@click.command("caption", cls=Command)
@click.argument("videos", nargs=-1, required=True, type=ANY_PATH)
@run_option
@runs_option
@weights_option
@click.option("--prompt", help="The question.  [default: that of training]")
@click.option("--system", help="The system turn.  [default: that of training]")
@frame_options
@click.option("--tokens", default=128, show_default=True, help="Longest answer, in tokens.")
@generation_options
@click.option(
    "--seed", default=0, show_default=True, help="Of sampling; each video draws from it and its own name."
)
@click.option(
    "--out",
    type=FILE_OR_STDOUT,
    help="A .jsonl file to append to; videos it already holds are skipped. Default: standard output.",
)
def command(
    videos: tuple[Path, ...],
    run_name: str,
    root: Path,
    weights: str | None,
    tokens: int,
    beams: int | None,
    temperature: float | None,
    top_p: float | None,
    stop: tuple[str, ...],
    seed: int,
    out: Path | None,
    **otherwise: Any,
) -> None:
    """Caption VIDEOS (files or folders) with a trained model: one JSON object a line.

    They are shown as in training, unless an option says otherwise; pictures can be named too. A file that cannot be
    decoded gets a line with its "error" and the others go on; the exit code is then 1.
    """
    from rich.progress import track

    from fvlm_core.api.trained import Trained
    from fvlm_core.evaluation.inference import caption
    from fvlm_core.interfaces.generation import Generation
    from fvlm_core.media.moving_pictures import shows_still
    from fvlm_core.media.video import BadSample
    from fvlm_core.runs.store import find_run
    from fvlm_core.utils.errors import FvlmError
    from fvlm_core.utils.seeding import derive

    settings = generation(Generation(), beams=beams, temperature=temperature, top_p=top_p, stop=stop)
    out = None if out == STDOUT else out
    done = _captioned(out)
    if out is not None and out.exists() and not out.read_bytes().endswith(b"\n"):
        out.write_text(
            out.read_text(encoding="utf-8") + "\n", encoding="utf-8"
        )  # a kill tore the last line; it must not swallow the next
    todo = [video for video in _files(videos) if str(video) not in done]
    trained = Trained(find_run(run_name, root), note, weights=weights)
    restored = trained.restored
    if read := list(restored.model.modalities):
        note(f"the model reads {', '.join(read)} too, and a file is shown by its frames alone: none is given")
    shown = restored.viewing.note(otherwise, pictures=any(map(shows_still, todo)))
    stderr().print(f"shown {shown}", soft_wrap=True)
    viewing = trained.viewing(**otherwise)
    failed = 0
    for video in track(todo, "captioning", console=stderr(), disable=not stderr().is_terminal):
        line: dict[str, object] = {"video": str(video)}
        try:
            frames = viewing.frames(video, trained.decoder)
            drawn = derive(seed, "answer", video.name)
            said = caption(
                restored,
                frames,
                viewing.question(video),
                tokens,
                viewing.system,
                settings=settings,
                seed=drawn,
            )
            line |= {"frames": len(frames), "caption": said}
        except BadSample as error:
            failed += 1
            line["error"] = error.reason
        if out is None:
            print_json(line, indent=None)
        else:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if out is not None:
        stderr().print(f"{len(todo) - failed} captioned, {len(done)} already there, {failed} failed: {out}")
    if failed:
        raise FvlmError(f"{failed} of {len(todo)} videos could not be decoded; their lines say why")


def _files(given: tuple[Path, ...]) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file()]
            yield from (file for file in files if is_video(file.name))
            if others := by_kind(file.name for file in files if not is_video(file.name)):
                stderr().print(f"{path}: passed over, no videos: {others}", soft_wrap=True, markup=False)
        else:
            yield path


def _captioned(out: Path | None) -> set[str]:
    if out is None or not out.exists():
        return set()
    # A caption may hold other ends of lines, such as U+2028, which JSON leaves as they are.
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n") if line.endswith("}")]
    return {line["video"] for line in lines if "caption" in line}
