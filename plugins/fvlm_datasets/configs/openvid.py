"""What a recipe says of OpenVid-1M, and what it is. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from fvlm_core.plugin_api import DataCard, HeldOutVideos


@frozen(kw_only=True)
class OpenVid(HeldOutVideos):
    """OpenVid-1M.

    subset: "1m" reads `OpenVid-1M.csv`; "hd" reads `OpenVidHD.csv` and the videos below `OpenVidHD`.
    prompt: the user's turn before each caption.
    """

    subset: Literal["1m", "hd"] = "1m"
    prompt: str = "Write a brief caption for this video."

    @property
    def table(self) -> str:
        """The CSV of the subset, below the download's folder."""
        return f"data/train/{'OpenVid-1M' if self.subset == '1m' else 'OpenVidHD'}.csv"

    def card(self) -> DataCard:
        """What the data set is."""
        return DataCard(
            hub="nkp37/OpenVid-1M",
            licence="CC-BY-4.0",
            size="1,019,957 clips; HD subset: 4.5 TB of videos",
            layout=(
                self.table,
                "OpenVid_part{n}.zip, or its parts OpenVid_part{n}_partaa, _partab, ..."
                if self.subset == "1m"
                else "OpenVidHD/*.zip, whole or in parts",
                "or the videos unpacked, in any folder",
            ),
            columns=("video", "caption", "seconds"),
            split="by a hash of the video's file name: `holdout`, by default 1 %, is validation",
            prompts=(self.prompt,),
            traps=(
                ("the two CSVs overlap (the hub's viewer shows 1.45 M rows)", "one CSV is read, never both"),
                ("which parts are split differs from upload to upload", "parts are found by their names"),
                ("a part of a split zip is missing", "the zip is named as a problem, and so are its rows"),
                ("a video is missing or empty", "its row is left out and named; no other takes its place"),
                ("a file name stands in several rows", "a sample each; copies count once and are named"),
                ("motion scores are empty", "not read"),
            ),
            fetch=(self.table, "OpenVid_part*" if self.subset == "1m" else "OpenVidHD/*"),
        )
