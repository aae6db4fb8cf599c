"""RLAIF-V: pairs of answers on pictures, a better and a worse one, from its published Parquet files.

One sample a pair, the better answer in `turns`, the worse one in `rejected`.
"""

from __future__ import annotations

from fvlm_core.plugin_api import (
    Parquet,
    Record,
    Refused,
    Split,
    TableEntry,
    TableRows,
    Turn,
    missing,
    picture_of,
    text_of,
)
from fvlm_datasets.configs.rlaif_v import RLAIFV

_FILES = "RLAIF-V-Dataset_*.parquet"


def build(config: RLAIFV, split: Split) -> RLAIFVSource:
    """The pairs of one split. Raises as `TableRows` and `Parquet`."""
    return RLAIFVSource(config, split)


class RLAIFVSource(TableRows):
    """Pairs in the order of the files. A sample's id is `FOLDER/FILE/ROW`."""

    def __init__(self, config: RLAIFV, split: Split) -> None:
        files = sorted(config.path.glob(_FILES))
        if not files:
            raise missing(config.path / _FILES, "rlaif-v", config.path)
        table = Parquet(tuple(files), ("image", "question", "chosen", "rejected"))
        super().__init__("rlaif-v", table, split, holdout=config.holdout, fit=config.fit)

    def entry(self, record: Record) -> TableEntry:
        picture = picture_of(record["image"])
        question = Turn("user", text_of(record, "question"))
        chosen, rejected = text_of(record, "chosen"), text_of(record, "rejected")
        if chosen == rejected:
            raise Refused("chosen and rejected are the same")
        return TableEntry(
            (question, Turn("assistant", chosen)),
            (picture,),
            (question, Turn("assistant", rejected)),
        )
