"""The Cauldron: questions on pictures, from its published Parquet files.

One sample a row, with all its pictures and questions.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from fvlm_core.plugin_api import (
    Parquet,
    Record,
    Refused,
    Split,
    TableEntry,
    TableRows,
    chat_of,
    missing,
    picture_of,
)
from fvlm_datasets.configs.cauldron import Cauldron


def build(config: Cauldron, split: Split) -> CauldronSource:
    """The rows of one split. Raises as `TableRows` and `Parquet`."""
    return CauldronSource(config, split)


class CauldronSource(TableRows):
    """Rows in the order of subsets and files. A sample's id is `SUBSET/FILE/ROW`."""

    def __init__(self, config: Cauldron, split: Split) -> None:
        folders = [config.path / subset for subset in config.subsets] or sorted(
            folder for folder in config.path.glob("*/") if not folder.name.startswith(".")
        )
        files = [file for folder in folders for file in sorted(folder.glob("*.parquet"))]
        for folder in folders:
            if not any(file.parent == folder for file in files) and config.subsets:
                raise missing(folder / "*.parquet", "cauldron", config.path)
        if not files:
            raise missing(config.path / "*/*.parquet", "cauldron", config.path)
        self.max_images = config.max_images
        super().__init__(
            "cauldron",
            Parquet(tuple(files), ("images", "texts")),
            split,
            holdout=config.holdout,
            fit=config.fit,
            settings=(config.max_images,),
        )

    def entry(self, record: Record) -> TableEntry:
        pictures: Any = record["images"] or []
        if not isinstance(pictures, list):
            raise Refused(f"images: expected a list of pictures, got {type(pictures).__name__}")
        if not pictures:
            raise Refused("no picture", unseen="no picture")
        if len(pictures) > self.max_images:
            raise Refused(f"{len(pictures)} pictures, where at most {self.max_images} are shown")
        shown = tuple(map(picture_of, pictures))
        texts: Any = record["texts"] or []
        if not isinstance(texts, list) or not all(isinstance(text, dict) for text in texts):
            raise Refused("texts: expected a list of questions with their answers")
        turns = chat_of(
            chain.from_iterable((("user", text["user"]), ("assistant", text["assistant"])) for text in texts)
        )
        return TableEntry(turns, shown)
