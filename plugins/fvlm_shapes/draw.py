"""Tiles and glyphs: everything a scene is painted with. Sizes in pixels; a cell is one 14 px patch."""

from __future__ import annotations

from PIL import Image, ImageDraw

CELL = 14
GRID = 3
SIDE = CELL * GRID
_HEAD = 4
"""Rows of a card's coloured head. Even, because chroma is stored at half the resolution."""

COLOURS = {
    "red": (225, 25, 25),
    "blue": (35, 60, 230),
    "yellow": (250, 230, 20),
    "green": (20, 150, 40),
    "white": (245, 245, 245),
    "orange": (255, 135, 0),
    "purple": (130, 20, 170),
    "cyan": (20, 220, 230),
    "pink": (255, 130, 200),
    "brown": (125, 75, 25),
    "lime": (150, 255, 40),
    "navy": (10, 10, 110),
    "grey": (128, 128, 128),
    "magenta": (235, 0, 200),
    "olive": (120, 120, 10),
    "teal": (0, 130, 130),
}
"""From frequent to rare."""

GLYPHS = (
    *("ring", "cross", "stair", "plus", "wedge", "domino", "slash", "frame"),
    *("triangle", "hook", "square", "bar", "arch", "pillar", "disc", "diamond"),
)
"""From frequent to rare; the frequent ones differ in 50 of 90 pixels."""

_WHITE = (245, 245, 245)
_BLACK = (0, 0, 0)


def blank(colour: tuple[int, int, int] = _BLACK) -> Image.Image:
    """An empty frame."""
    return Image.new("RGB", (SIDE, SIDE), colour)


def corner(cell: int) -> tuple[int, int]:
    """Left and top of cell 0..8, row by row."""
    return CELL * (cell % GRID), CELL * (cell // GRID)


def fill(frame: Image.Image, cell: int, colour: str) -> None:
    """A cell in one colour."""
    x, y = corner(cell)
    ImageDraw.Draw(frame).rectangle((x, y, x + CELL - 1, y + CELL - 1), fill=COLOURS[colour])


def band(frame: Image.Image, row: int, colour: str) -> None:
    """A row of cells in one colour."""
    ImageDraw.Draw(frame).rectangle((0, CELL * row, SIDE - 1, CELL * row + CELL - 1), fill=COLOURS[colour])


def card(frame: Image.Image, cell: int, head: str, body: str) -> None:
    """A card: a head in one colour and under it, on black, a white glyph, or a second colour.

    Head and body are apart so that each can be told whatever the other is. A coloured glyph on black, or a white
    one on its colour, was still not told apart after 8,000 clips, when these were.
    """
    x, y = corner(cell)
    draw = ImageDraw.Draw(frame)
    draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), fill=COLOURS.get(body, _BLACK))
    draw.rectangle((x, y, x + CELL - 1, y + _HEAD - 1), fill=COLOURS[head])
    if body not in COLOURS:
        glyph(draw, x + 2, y + _HEAD + 1, body)


def glyph(draw: ImageDraw.ImageDraw, left: int, top: int, name: str) -> None:
    """A white glyph in 10 x 9 px."""
    right, bottom, middle = left + 9, top + 8, left + 4.5
    box = (left, top, right, bottom)
    bars = {
        "square": [box],
        "bar": [(left, top + 3, right, bottom - 3)],
        "pillar": [(left + 3, top, right - 3, bottom)],
        "plus": [(left + 3, top, right - 3, bottom), (left, top + 3, right, bottom - 3)],
        "arch": [(left, top, right, top + 2), (left, top, left + 2, bottom), (right - 2, top, right, bottom)],
        "domino": [(x, y, x + 2, y + 2) for x in (left, right - 2) for y in (top, bottom - 2)],
        "hook": [(left, top, left + 2, bottom), (left, bottom - 2, right, bottom)],
        "stair": [
            (right - 3, top, right, bottom),
            (left + 3, top + 3, right, bottom),
            (left, top + 6, right, bottom),
        ],
    }
    corners = {
        "triangle": [(left, bottom), (right, bottom), (middle, top)],
        "wedge": [(left, top), (right, top), (middle, bottom)],
        "diamond": [(middle, top), (right, top + 4), (middle, bottom), (left, top + 4)],
    }
    if name in bars:
        for bar in bars[name]:
            draw.rectangle(bar, fill=_WHITE)
    elif name in corners:
        draw.polygon(corners[name], fill=_WHITE)
    elif name == "disc":
        draw.ellipse((left, top, right - 1, bottom), fill=_WHITE)
    elif name == "ring":
        draw.ellipse((left, top, right - 1, bottom), outline=_WHITE, width=2)
    elif name == "frame":
        draw.rectangle(box, outline=_WHITE, width=2)
    elif name == "cross":
        draw.line((left, top, right, bottom), fill=_WHITE, width=3)
        draw.line((left, bottom, right, top), fill=_WHITE, width=3)
    else:  # slash
        draw.line((left, bottom, right, top), fill=_WHITE, width=4)
