"""Writes data sets in Parquet files as they are published: names, columns, types, odd rows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from videos import picture

SIDE = 60

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXT = pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())])
MESSAGE = pa.struct([("content", pa.string()), ("role", pa.string())])


def still(index: int, mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """A picture that carries an index as columns, in a colour mode and a format."""
    out = io.BytesIO()
    image = Image.fromarray(picture(index, *size))
    if mode == "RGBA":  # what is black in the picture is transparent, over a colour that must not be seen
        alpha = image.convert("L").point(lambda value: 255 if value < 128 else 0)
        image = Image.new("RGB", size, (0, 0, 0))
        image.putalpha(alpha)
    elif mode == "P":
        image = image.quantize(4)
    elif mode == "I;16":
        image = Image.frombytes(
            "I;16", size, b"".join(bytes((value, value)) for value in image.convert("L").tobytes())
        )
    elif mode != "RGB":
        image = image.convert(mode)
    image.save(out, kind, **({"quality": 95} if kind != "PNG" else {}))
    return out.getvalue()


def write(path: Path, schema: pa.Schema, rows: list[dict[str, Any]], group: int = 2) -> Path:
    """A Parquet file with row groups of 2 rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group, compression="snappy"
    )
    return path


def chat(*said: tuple[str, str]) -> list[dict[str, str]]:
    """(role, content) pairs as messages."""
    return [{"content": content, "role": role} for role, content in said]


def smoltalk(root: Path) -> None:
    """SmolTalk: the configuration `all` in two files, with a column `source`; `test`."""
    schema = pa.schema([("messages", pa.list_(MESSAGE)), ("source", pa.string())])

    def row(*said: tuple[str, str]) -> dict[str, Any]:
        return {"messages": chat(*said), "source": "smol-magpie-ultra"}

    first = [
        row(("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye"), ("assistant", "See you.")),
        row(("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "4")),
        row(("user", "trap: nobody answers")),
    ]
    second = [row(("user", "\n\nSpaces? "), ("assistant", "\n\nYes. "))]
    folder = root / "data/all"
    write(folder / "train-00000-of-00002.parquet", schema, first)
    write(folder / "train-00001-of-00002.parquet", schema, second)
    write(folder / "test-00000-of-00001.parquet", schema, [row(("user", "Test?"), ("assistant", "Test."))])


def smol_smoltalk(root: Path, chats: int = 8) -> None:
    """smol-smoltalk: files right below `data`, no further column."""
    schema = pa.schema([("messages", pa.list_(MESSAGE))])
    for split, count in (("train", chats), ("test", 2)):
        rows = [
            {"messages": chat(("user", f"{split} {n}?"), ("assistant", f"Number {n}."))} for n in range(count)
        ]
        write(root / f"data/{split}-00000-of-00001.parquet", schema, rows)


def cauldron(root: Path) -> None:
    """The Cauldron: one subset with a picture a row, one with several; all colour modes; odd rows."""
    schema = pa.schema([("images", pa.list_(IMAGE)), ("texts", pa.list_(TEXT))])

    def row(pictures: list[bytes | None], *said: tuple[str, str]) -> dict[str, Any]:
        texts = [{"user": user, "assistant": answer, "source": "AI2D"} for user, answer in said]
        return {"images": [{"bytes": data, "path": None} for data in pictures], "texts": texts}

    ai2d = [
        row([still(500)], ("What?", "A leaf."), ("Which?", "B")),
        row([still(501, "RGBA")], ("Grey?", "No.")),
        row([still(502, "P")], ("Palette?", "Yes.")),
        row([still(503, "L", "JPEG")], ("Colour?", "None.")),
        row([still(504, "I;16")], ("Deep?", "Yes.")),
        row([b"trap_undecodable"], ("What?", "Nothing.")),
        row([], ("trap: no picture", "None.")),
        row([None], ("trap: no bytes", "None.")),
        row([still(505)], ("trap: no answer", "")),
    ]
    pairs = [
        row([still(500), still(510)], ("Same?", "No.")),
        row([still(510), still(511, "RGB", "WEBP")], ("Same?", "No!")),
    ]
    write(root / "ai2d/train-00000-of-00001-2ce340398c113b79.parquet", schema, ai2d)
    write(root / "nlvr2/train-00000-of-00001-0123456789abcdef.parquet", schema, pairs)


def rlaif_v(root: Path) -> None:
    """RLAIF-V: two pairs on one picture, a pair of equal answers, a second file."""
    text = pa.string()
    names = (*("question", "chosen", "rejected", "origin_dataset", "origin_split", "idx", "image_path"),)
    schema = pa.schema([("ds_name", text), ("image", IMAGE), *((name, text) for name in names)])

    def row(number: int, data: bytes, question: str, chosen: str, rejected: str) -> dict[str, Any]:
        return {
            "ds_name": "RLAIF-V",
            "image": {"bytes": data, "path": "x.jpg"},
            "question": question,
            "chosen": chosen,
            "rejected": rejected,
            "origin_dataset": "COCO",
            "origin_split": '{"model": "llava"}',
            "idx": str(number),
            "image_path": f"images/{number}.jpg",
        }

    first = [
        row(0, still(600), "What is it?", "A cat.", "A dog."),
        row(1, still(600), "How many?", "One.", "Two."),
        row(2, still(601), "trap: the same", "A hat.", "A hat."),
    ]
    write(root / "RLAIF-V-Dataset_000.parquet", schema, first)
    second = [row(3, still(602, kind="JPEG"), "Where?", "Here.", "There.")]
    write(root / "RLAIF-V-Dataset_001.parquet", schema, second)
