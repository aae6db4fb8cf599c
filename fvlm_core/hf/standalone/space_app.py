"""A page that shows the model beside it: a video and a question in, text and gaze out, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

FOLDER = Path(__file__).parent / "model"
MOST_BYTES = 100_000_000

model: Any = AutoModelForImageTextToText.from_pretrained(FOLDER, trust_remote_code=True).eval()
processor: Any = AutoProcessor.from_pretrained(FOLDER, trust_remote_code=True)
own = model.config.connector.get("mode", "")
MODES = ["coarse_only", own] if own == "coarse_fine" else [own]
PASSES = {"coarse_fine": ["coarse", "fine"], "coarse_only": ["coarse"]}.get(own, [])


def watch(file: str | None, question: str) -> Iterator[list[Any]]:
    """After every frame: the frame, where each pass looked, and what the model says in each of its modes."""
    if not file:
        raise gr.Error("Choose a video first.")
    if Path(file).stat().st_size > MOST_BYTES:
        raise gr.Error(f"At most {MOST_BYTES // 1_000_000} MB are taken.")
    try:
        inputs = processor(file, text=question.strip() or None)
    except ValueError as error:
        raise gr.Error(str(error).removeprefix(f"{file}: ")) from None
    frames = inputs["pixel_values"]
    looks = model.gaze(frames)
    for at in range(len(frames)):
        seen = {**inputs, "pixel_values": frames[: at + 1], "frame_counts": torch.tensor([at + 1])}
        picture = frames[at].permute(1, 2, 0).numpy()
        heat = [overlay(picture, looks[name][at].mean(0), looks[name].max()) for name in PASSES]
        given = [{"mode": mode} if mode else {} for mode in MODES]
        said = [processor.decode(model.generate(**seen, **mode, max_new_tokens=64)[0]) for mode in given]
        yield [picture, *heat, *said]


def overlay(picture: np.ndarray, share: torch.Tensor, top: torch.Tensor) -> np.ndarray:
    """A picture [H, W, 3], grey and dark, under its patches' share of the attention, in orange."""
    side = picture.shape[0]
    heat = torch.nn.functional.interpolate((share / top).sqrt()[None, None], size=(side, side))[0, 0].numpy()[
        ..., None
    ]
    grey = picture.mean(-1, keepdims=True) * 0.45
    return np.clip(grey + heat * np.array([255, 150, 40]), 0, 255).astype(np.uint8)


with gr.Blocks(title=FOLDER.parent.name, analytics_enabled=False) as page:
    gr.Markdown(
        "# What it says and where it looks\nAfter every frame, what it would say if the clip ended there."
    )
    with gr.Row():
        video = gr.Video(label="A video")
        asked = gr.Textbox(label="The question", value=processor.prompt, lines=2)
    go = gr.Button("Watch", variant="primary")
    with gr.Row():
        pictures = [
            gr.Image(label=name)
            for name in ["What it is shown", *(f"Where the {name} pass looks" for name in PASSES)]
        ]
    with gr.Row():
        answers = [gr.Textbox(label=mode or "Says", lines=4) for mode in MODES]
    go.click(watch, [video, asked], [*pictures, *answers], concurrency_limit=1)

if __name__ == "__main__":
    page.queue(max_size=8).launch(max_file_size=MOST_BYTES)
