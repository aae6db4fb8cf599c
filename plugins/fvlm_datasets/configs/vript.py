"""What a recipe says of Vript, and what it is. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from fvlm_core.plugin_api import DataCard, HeldOutVideos

_SIZE = {
    "long": "about 400,000 clips of 12,000 videos, 822 GB (the uncut videos, not needed: 667 GB)",
    "short": "clips of short videos, 12 GB (the uncut videos, not needed: 8.8 GB)",
}


@frozen(kw_only=True)
class Vript(HeldOutVideos):
    """Vript.

    subset: scenes of long videos or of short ones.
    prompt: the user's turn before each caption.
    """

    subset: Literal["long", "short"] = "long"
    prompt: str = "Provide a detailed narration of what happens in this video."

    @property
    def captions(self) -> str:
        """The captions of the subset, below the download's folder."""
        return f"vript_captions/vript_{self.subset}_videos_captions.jsonl"

    @property
    def clips(self) -> str:
        """The folder of the subset's clips, below the download's folder."""
        return f"vript_{self.subset}_videos_clips"

    def card(self) -> DataCard:
        """What the data set is."""
        zips = "clips_{k}_of_1095.zip" if self.subset == "long" else "shorts_clips_{k}_of_42.zip"
        return DataCard(
            hub="Mutonix/Vript",
            licence="custom: academic use only, no redistribution",
            legal="the hub asks you to accept the authors' terms before a download",
            size=_SIZE[self.subset],
            layout=(
                self.captions,
                f"{self.clips}/{zips} with VIDEO/VIDEO-Scene-001.mp4, or the clips unpacked, in any folder",
            ),
            columns=("clip_id", "caption.content", "meta.video_id", "meta.integrity"),
            split="by a hash of the video's id, so that its scenes stay together: `holdout`, by default 1 %, is "
            "validation",
            prompts=(self.prompt,),
            traps=(
                (
                    "clips without a caption (videos with integrity = false)",
                    "left out and named; no caption is made up",
                ),
                ("a captioned clip is in no zip (some folders are empty)", "left out and named"),
                ("clips in the zips that no row names", "counted"),
            ),
            fetch=(self.captions, f"{self.clips}/*"),
        )
