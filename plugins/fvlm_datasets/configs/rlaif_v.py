"""What a recipe says of RLAIF-V, and what it is. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

from fvlm_core.plugin_api import DataCard, Fit


@frozen(kw_only=True)
class RLAIFV:
    """RLAIF-V.

    path: the folder of the download, as `fvlm data fetch rlaif-v --to PATH` writes it.
    fit: how a picture becomes a square: "letterbox" keeps all of it; "crop" takes the centre.
    holdout: share of the pictures kept for validation, chosen by a hash of their bytes.
    """

    path: Path
    fit: Fit = "letterbox"
    holdout: float = field(default=0.01, validator=[validators.ge(0), validators.lt(1)])

    def card(self) -> DataCard:
        """What the data set is."""
        return DataCard(
            hub="openbmb/RLAIF-V-Dataset",
            licence="CC-BY-NC-4.0",
            size="83,132 pairs, about 13 GB in 14 files",
            layout=("RLAIF-V-Dataset_000.parquet ... RLAIF-V-Dataset_013.parquet",),
            columns=("image: struct<bytes, path>", "question", "chosen", "rejected"),
            split="by a hash of the picture's bytes, so that all pairs of a picture stay together: `holdout`, by "
            "default 1 %, is validation",
            prompts=("the questions are the data set's own",),
            traps=(
                ("chosen and rejected are the same", "left out and named: nothing can be learnt from it"),
                ("several pairs a picture", "every pair is a sample; they share a split"),
                ("undecodable bytes", "counted as a bad sample when it is drawn"),
            ),
            fetch=("RLAIF-V-Dataset_*.parquet",),
        )
