"""What a model will see of its data: samples as a contact sheet and as a page, and how long they are."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from attrs import field, frozen
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SHOWN = 8
"""Frames of a sample on the sheet, evenly spaced over all it has."""

CELL, GAP, LINE = 112, 6, 15
"""Pixels: side of a frame, space between, height of a line of text."""

_LINES = 5
"""Lines of text under the frames of a sample on the sheet; the page has all of it."""

COLOURS = {"content": "#1b7837", "answer": "#74add1", "context": "#9a9a9a", "cut": "#d73027"}
MEANING = {
    "content": "the assistant's words, scored",
    "answer": "template, scored",
    "context": "not scored",
    "cut": "cut off by max_text_tokens",
}
"""What a token is: the colour of both pictures."""


@frozen(eq=False)
class ShownSample:
    """A sample. frames: uint8 [T, 3, S, S]. times: of each, may be empty. tokens: (text, one of `COLOURS`) each;
    without a tokenizer the turns themselves."""

    name: str
    frames: NDArray[np.uint8]
    times: tuple[float, ...]
    tokens: tuple[tuple[str, str], ...]
    rejected: str = ""


@frozen
class LengthsOf:
    """Of one source: frames and text of each sample looked at, and what the text is counted in."""

    source: str
    frames: Sequence[int] = field(repr=False)
    text: Sequence[int] = field(repr=False)
    unit: str


def contact_sheet(samples: Sequence[ShownSample], file: Path) -> None:
    """Every sample as a strip of frames over its text, tokens in the colours of `COLOURS`."""
    font = ImageFont.truetype(findfont("DejaVu Sans"), 10)
    wide = SHOWN * (CELL + GAP) + GAP
    heights = [LINE + (CELL if len(sample.frames) else 0) + _LINES * LINE + 3 * GAP for sample in samples]
    tops = np.cumsum([LINE + 2 * GAP, *heights]).tolist()
    sheet = Image.new("RGB", (wide, tops[-1]), "white")
    draw = ImageDraw.Draw(sheet)
    left = float(GAP)
    for kind, meaning in MEANING.items():
        draw.text((left, GAP), meaning, COLOURS[kind], font)
        left += draw.textlength(meaning, font) + 18
    for top, sample in zip(tops, samples, strict=False):
        frames = "text alone" if not len(sample.frames) else f"{len(sample.frames)} frames"
        draw.text((GAP, top), f"{sample.name}   {frames}   {len(sample.tokens)} tokens", "black", font)
        for column, index in enumerate(_spread(len(sample.frames))):
            picture = Image.fromarray(np.ascontiguousarray(sample.frames[index].transpose(1, 2, 0)))
            place = (GAP + column * (CELL + GAP), top + LINE)
            sheet.paste(picture.resize((CELL, CELL), Image.Resampling.BICUBIC), place)
            if sample.times:
                label = f"{sample.times[index]:g} s"
                box = (place[0], place[1], place[0] + draw.textlength(label, font) + 4, place[1] + 13)
                draw.rectangle(box, "black")
                draw.text((place[0] + 2, place[1]), label, "white", font)
        _write_tokens(draw, sample.tokens, top + LINE + (CELL if len(sample.frames) else 0) + 3, wide, font)
    sheet.save(file)


def sample_page(samples: Sequence[ShownSample], lengths: Sequence[LengthsOf], file: Path, title: str) -> None:
    """One HTML file that needs no other: all frames, all text with its masks, the histograms."""
    legend = " ".join(
        f'<span style="color:{COLOURS[kind]}">■ {escape(text)}</span>' for kind, text in MEANING.items()
    )
    parts = [
        "<!doctype html><meta charset='utf-8'>",
        f"<title>{escape(title)}</title>",
        "<style>body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}"
        "figure{display:inline-block;margin:0 4px 4px 0}figcaption{font-size:11px;color:#555}"
        "img{display:block}pre{white-space:pre-wrap;background:#f6f6f6;padding:.6em}</style>",
        f"<h1>{escape(title)}</h1><p>{legend}</p>",
    ]
    for sample in samples:
        parts.append(
            f"<h2>{escape(sample.name)}</h2><p>{len(sample.frames)} frames, {len(sample.tokens)} tokens</p><div>"
        )
        for number, frame in enumerate(sample.frames):
            when = f"{sample.times[number]:g} s" if sample.times else str(number)
            parts.append(
                f"<figure><img src='{_jpeg_url(frame)}' width='{CELL}' alt=''><figcaption>{when}</figcaption></figure>"
            )
        spans = "".join(
            f'<span style="color:{COLOURS[kind]}">{escape(text)}</span>' for text, kind in sample.tokens
        )
        parts.append(f"</div><pre>{spans}</pre>")
        if sample.rejected:
            parts.append(f"<p>rejected answer:</p><pre>{escape(sample.rejected)}</pre>")
    picture = BytesIO()
    lengths_figure(lengths).savefig(picture, format="png", dpi=110)
    url = base64.b64encode(picture.getvalue()).decode()
    parts.append(f"<h2>lengths</h2><img src='data:image/png;base64,{url}' alt='histograms of lengths'>")
    file.write_text("\n".join(parts), encoding="utf-8")


def lengths_figure(lengths: Sequence[LengthsOf]) -> Figure:
    """A row for each source: how many frames, and how much text, its samples have."""
    figure = Figure(figsize=(10, 2.3 * len(lengths) + 0.4), layout="constrained")
    axes = figure.subplots(len(lengths), 2, squeeze=False)
    for row, of in enumerate(lengths):
        for column, (values, what) in enumerate(((of.frames, "frames"), (of.text, of.unit))):
            axis = axes[row][column]
            top = max(values, default=0)
            bins = np.arange(-0.5, top + 1.5) if top < 70 else 40
            axis.hist(values, bins=bins, color="#4477aa")  # pyright: ignore[reportArgumentType]: arrays are edges
            mean, most = (float(np.mean(values)), max(values)) if values else (0.0, 0)
            axis.set_title(f"{of.source}: {what}, mean {mean:.1f}, longest {most:,}", fontsize=9)
            axis.set_ylabel("samples", fontsize=8)
            axis.tick_params(labelsize=8)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
    return figure


def _spread(count: int) -> list[int]:
    """At most `SHOWN` places, evenly spaced, the first and the last among them."""
    if count <= SHOWN:
        return list(range(count))
    return [round(number * (count - 1) / (SHOWN - 1)) for number in range(SHOWN)]


def _write_tokens(
    draw: ImageDraw.ImageDraw,
    tokens: Sequence[tuple[str, str]],
    top: float,
    wide: int,
    font: ImageFont.FreeTypeFont,
) -> None:
    """Words in their colours, broken at the edge, `_LINES` lines of them."""
    left, line = float(GAP), 0
    for text, kind in tokens:
        shown = text.replace("\n", "↵")
        width = draw.textlength(shown, font)
        if left + width > wide - GAP:
            left, line = float(GAP), line + 1
            if line == _LINES:
                draw.text((wide - GAP - 14, top + (line - 1) * LINE), "…", "black", font)
                return
        draw.text((left, top + line * LINE), shown, COLOURS[kind], font)
        left += width


def _jpeg_url(frame: NDArray[np.uint8]) -> str:
    out = BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    picture.resize((CELL, CELL), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
