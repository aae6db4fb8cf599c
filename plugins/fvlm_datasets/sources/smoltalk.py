"""SmolTalk: chats of text alone, from its published Parquet files.

One sample a chat.
"""

from __future__ import annotations

from typing import Any

from fvlm_core.plugin_api import Parquet, Record, Refused, Split, TableEntry, TableRows, chat_of, missing
from fvlm_datasets.configs.smoltalk import SmolTalk

_FILES = {"train": "train-*.parquet", "validation": "test-*.parquet"}


def build(config: SmolTalk, split: Split) -> SmolTalkSource:
    """The chats of one split. Raises as `TableRows` and `Parquet`."""
    return SmolTalkSource(config, split)


class SmolTalkSource(TableRows):
    """Chats in the order of the files. A sample's id is `FOLDER/FILE/ROW`."""

    def __init__(self, config: SmolTalk, split: Split) -> None:
        files = sorted((config.path / config.folder).glob(_FILES[split]))
        name = "smol-smoltalk" if config.subset == "smol-smoltalk" else "smoltalk"
        if not files:
            raise missing(config.path / config.folder / _FILES[split], name, config.path)
        super().__init__(name, Parquet(tuple(files), ("messages",)), split)

    def entry(self, record: Record) -> TableEntry:
        messages: Any = record["messages"]
        if not isinstance(messages, list) or not all(isinstance(turn, dict) for turn in messages):
            raise Refused("messages: expected a list of turns")
        return TableEntry(chat_of((turn.get("role"), turn.get("content")) for turn in messages))
