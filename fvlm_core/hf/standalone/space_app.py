"""A page that shows the model beside it: a video and a question in, text and gaze out, frame by frame."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from decode import frames_apart  # pyright: ignore[reportMissingImports]
from transformers import AutoModelForImageTextToText, AutoProcessor

FOLDER = Path(__file__).parent / "model"
MOST_BYTES = 100_000_000
MOST_LETTERS = 2_000
SIDE = 448
"""Pixels that a picture has on the page at least: smaller ones would be hidden by their labels."""
KEPT = 3600
"""Seconds that what was uploaded or shown stays on the disk."""

model: Any = AutoModelForImageTextToText.from_pretrained(FOLDER, trust_remote_code=True).eval()
processor: Any = AutoProcessor.from_pretrained(FOLDER, trust_remote_code=True)
own = model.config.connector.get("mode", "")
MODES = ["coarse_only", own] if own == "coarse_fine" else [own]
NAMES = {"coarse_only": "The coarse pass alone says", "coarse_fine": "Coarse and fine say"}
PASSES = {"coarse_fine": ["coarse", "fine"], "coarse_only": ["coarse"]}.get(own, [])


def watch(file: str | None, question: str | None) -> Iterator[list[Any]]:
    """After every frame: the frame, where each pass looked, and what the model says in each of its modes."""
    try:
        inputs = asked(file, (question or "").strip())
    except ValueError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from None
    frames = inputs["pixel_values"]
    with torch.no_grad():  # tokens of a frame do not depend on later ones: they are made once
        seen = [model.see(frames, mode=mode or None) for mode in MODES]
    looks = {name: model.on_patches(share) for name, share in seen[-1][1].items()}
    told = [model.stream() for _ in MODES]
    for at, frame in enumerate(frames):
        picture = frame.permute(1, 2, 0).numpy()
        heat = [overlay(picture, looks[name][at].mean(0), looks[name].max()) for name in PASSES]
        for stream, (tokens, _) in zip(told, seen, strict=True):
            stream.tokens.append(tokens[at])
        said = [stream.generate(inputs["input_ids"], max_new_tokens=64)[0] for stream in told]
        yield [*map(enlarged, [picture, *heat]), *map(processor.decode, said)]


def asked(file: str | None, question: str) -> Any:
    """What the model reads. Raises ValueError for a file or a question that it is not shown."""
    if not file:
        raise ValueError("Choose a video first.")
    if Path(file).stat().st_size > MOST_BYTES:
        raise ValueError(f"At most {MOST_BYTES // 1_000_000} MB are taken.")
    if len(question) > MOST_LETTERS:
        raise ValueError(f"A question has at most {MOST_LETTERS:,} letters.")
    shown = {name: getattr(processor, name) for name in ("fps", "max_frames", "fit", "repeats")}
    return processor(frames_apart(file, processor.image_size, **shown), text=question or None)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3], every pixel a square of pixels."""
    times = -(-SIDE // picture.shape[0])
    return picture.repeat(times, 0).repeat(times, 1)


def overlay(picture: np.ndarray, share: torch.Tensor, top: torch.Tensor) -> np.ndarray:
    """A picture [H, W, 3], grey and dark, under its patches' share of the attention, in orange."""
    side = picture.shape[0]
    heat = torch.nn.functional.interpolate((share / top).sqrt()[None, None], size=(side, side))[0, 0].numpy()[
        ..., None
    ]
    grey = picture.mean(-1, keepdims=True) * 0.45
    return np.clip(grey + heat * np.array([255, 150, 40]), 0, 255).astype(np.uint8)


with gr.Blocks(title=FOLDER.parent.name, analytics_enabled=False, delete_cache=(KEPT // 4, KEPT)) as page:
    gr.Markdown(
        "# What it says and where it looks\nAfter every frame, what it would say if the clip ended there."
    )
    with gr.Row():
        video = gr.Video(label="A video")
        question = gr.Textbox(label="The question", value=processor.prompt, lines=2, max_length=MOST_LETTERS)
    go = gr.Button("Watch", variant="primary")
    with gr.Row():
        pictures = [
            gr.Image(label=name, buttons=["fullscreen", "download"])
            for name in ["What it is shown", *(f"Where the {name} pass looks" for name in PASSES)]
        ]
    with gr.Row():
        answers = [gr.Textbox(label=NAMES.get(mode, "It says"), lines=4) for mode in MODES]
    go.click(watch, [video, question], [*pictures, *answers], concurrency_limit=1)

if __name__ == "__main__":
    page.queue(max_size=8).launch(max_file_size=MOST_BYTES)
