"""What a recipe says of SmolTalk, and what it is. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from attrs import frozen

from fvlm_core.plugin_api import DataCard

Subset = Literal[
    "all",
    "smol-magpie-ultra",
    "smol-constraints",
    "smol-rewrite",
    "smol-summarize",
    "apigen-80k",
    "everyday-conversations",
    "explore-instruct-rewriting",
    "longalign",
    "metamathqa-50k",
    "numina-cot-100k",
    "openhermes-100k",
    "self-oss-instruct",
    "systemchats-30k",
    "smol-smoltalk",
]
SUBSETS: tuple[Subset, ...] = get_args(Subset)


@frozen(kw_only=True)
class SmolTalk:
    """SmolTalk.

    path: the folder of the download, as `fvlm data fetch smoltalk --to PATH` writes it.
    subset: a configuration of HuggingFaceTB/smoltalk, or "smol-smoltalk", a data set of its own that is made for models
    of up to 360M parameters.
    """

    path: Path
    subset: Subset = "all"

    @property
    def folder(self) -> str:
        """The folder of the subset's Parquet files, below the download's folder."""
        return "data" if self.subset == "smol-smoltalk" else f"data/{self.subset}"

    def card(self) -> DataCard:
        """What the data set is."""
        small = self.subset == "smol-smoltalk"
        return DataCard(
            hub="HuggingFaceTB/smol-smoltalk" if small else "HuggingFaceTB/smoltalk",
            licence="Apache-2.0" if small else "Apache-2.0 for the new subsets, the others as their sources",
            size="460,341 chats for training, 24,229 for validation, 971 MB"
            if small
            else "about 1.04 M chats for training (all)",
            layout=(
                f"{self.folder}/train-0000k-of-0000n.parquet",
                f"{self.folder}/test-0000k-of-0000n.parquet",
            ),
            columns=("messages: list<struct<content, role>>",),
            split="as published: validation is `test`",
            prompts=("the questions are the data set's own; there is no picture",),
            traps=(
                ("several turns, sometimes a system turn first", "all are kept; every answer is learnt from"),
                ("chats without an answer", "left out and named"),
            ),
            fetch=(f"{self.folder}/*.parquet",),
        )
