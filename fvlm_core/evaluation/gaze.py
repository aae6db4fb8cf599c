"""Where a model looks: each frame with a heat map of its queries' attention, one column a pass."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping
from fractions import Fraction
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import av
import numpy as np
from attrs import frozen
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFont

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.outputs import prepare, writing
from fvlm_core.utils.paths import user_path

SUFFIXES = (".gif", ".mp4", ".png")
"""What `save` writes: an animation, a video, a contact sheet of all frames."""

_PANEL = 224
_MARGIN = 6
_CAPTION = 20
_SECONDS = 1.0  # each frame is shown so long, whatever the time between frames


@frozen(eq=False, repr=False)
class GazeMaps:
    """One video's frames, and where each pass looks.

    frames: uint8 RGB [T, 3, H, W]. arrays: name of a pass to attention on the patches
    [T, rows, columns], each frame's share of the whole frame's attention in [0, 1]. title: one line above.
    """

    frames: NDArray[np.uint8]
    arrays: Mapping[str, NDArray[np.float32]]
    title: str = ""

    def save(self, to: str | PathLike[str]) -> None:
        """Write a GIF, an MP4 or a PNG contact sheet, by the file's suffix; its folder is made. Raises `UsageError` for
        other suffixes, and where nothing can be written."""
        file = user_path(Path(to))
        if file.suffix not in SUFFIXES:
            raise UsageError(f"{file}: expected a file name ending in {', '.join(SUFFIXES)}")
        prepare(file)
        with writing(file):
            if file.suffix == ".png":
                self.sheet().save(file)
                return
            pictures = [self.picture(frame) for frame in range(len(self.frames))]
            if file.suffix == ".gif":
                pictures[0].save(
                    file, save_all=True, append_images=pictures[1:], duration=int(1000 * _SECONDS), loop=0
                )
            else:
                _save_video(pictures, file)

    def sheet(self, most: int | None = None) -> Image.Image:
        """The pictures of at most so many frames, evenly spaced, as one; of all of them without a number."""
        return _contact_sheet([self.picture(frame) for frame in self._spread(most or len(self.frames))])

    def _spread(self, most: int) -> list[int]:
        count = len(self.frames)
        return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()

    def figure(self, most: int = 8) -> Figure:
        """The pictures of at most so many frames, evenly spaced, one below the other, as a matplotlib Figure."""
        pictures = [self.picture(frame) for frame in self._spread(most)]
        width, height = pictures[0].size
        figure = Figure(figsize=(width / 100, len(pictures) * height / 100), dpi=100)
        for row, picture in enumerate(pictures):
            axes = figure.add_axes((0.0, 1 - (row + 1) / len(pictures), 1.0, 1 / len(pictures)))
            axes.imshow(np.asarray(picture))
            axes.axis("off")
        return figure

    def __repr__(self) -> str:
        passes = ", ".join(self.arrays)
        return f"{self.title}: where it looks in {len(self.frames)} frames, passes {passes}"

    def _repr_html_(self) -> str:
        png = io.BytesIO()
        self.figure().savefig(png, format="png")
        text = escape(repr(self))
        return f'<p>{text}</p><img alt="{text}" src="data:image/png;base64,{b64encode(png.getvalue()).decode()}">'

    def picture(self, frame: int) -> Image.Image:
        """One frame: the picture itself and beside it each pass's heat map over it, on one scale for the video."""
        panels = 1 + len(self.arrays)
        size = (panels * (_PANEL + _MARGIN) + _MARGIN, _PANEL + 2 * _CAPTION + 2 * _MARGIN)
        canvas = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(canvas)
        font = ImageFont.load_default(size=13)
        plain = _enlarge(self.frames[frame])
        draw.text((_MARGIN, 3), f"{self.title}  frame {frame + 1} of {len(self.frames)}", "black", font)
        for column, name in enumerate(("frame", *self.arrays)):
            left = _MARGIN + column * (_PANEL + _MARGIN)
            if name == "frame":
                panel, label = plain, "frame"
            else:
                heat = self.arrays[name]
                panel = _overlay(plain, heat[frame], float(heat.max()))
                label = f"{name}, peak {heat[frame].max():.2f} of {heat.max():.2f}"
            canvas.paste(panel, (left, _CAPTION + _MARGIN))
            draw.text((left, _PANEL + _CAPTION + _MARGIN + 3), label, "black", font)
        return canvas


def _enlarge(frame: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    return picture.resize((_PANEL, _PANEL), Image.Resampling.NEAREST)


def _overlay(picture: Image.Image, heat: NDArray[np.float32], top: float) -> Image.Image:
    """The grey picture under its heat map; patches keep their edges, because attention has no finer grain."""
    colours: Any = colormaps["inferno"](heat / max(top, 1e-9))
    coloured = Image.fromarray((255 * colours[..., :3]).astype(np.uint8))
    coloured = coloured.resize((_PANEL, _PANEL), Image.Resampling.NEAREST)
    dimmed = ImageEnhance.Brightness(picture.convert("L").convert("RGB")).enhance(1 / 3)
    return ImageChops.add(dimmed, ImageEnhance.Brightness(coloured).enhance(2 / 3))


def _contact_sheet(pictures: list[Image.Image]) -> Image.Image:
    columns = 1 if len(pictures) <= 4 else 2
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, ((number % columns) * width, (number // columns) * height))
    return sheet


def _save_video(pictures: list[Image.Image], file: Path) -> None:
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1 / _SECONDS))
        stream.width, stream.height = (
            side - side % 2 for side in pictures[0].size
        )  # yuv420p wants even sides
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            cropped = picture.crop((0, 0, stream.width, stream.height))
            for packet in stream.encode(av.VideoFrame.from_image(cropped)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
