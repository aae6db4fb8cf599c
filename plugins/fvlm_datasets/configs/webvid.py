"""What a recipe says of WebVid-10M, and what it is. Imports nothing heavy."""

from __future__ import annotations

from attrs import frozen

from fvlm_core.plugin_api import DataCard, VideoSettings

LEGAL = (
    "withdrawn: captions and URLs were taken down on 2024-02-23 after a demand by Shutterstock, whose watermark the "
    "videos carry; the URLs are dead. Nothing is downloaded; a copy that you have the right to use is read with "
    "permitted = true"
)


@frozen(kw_only=True)
class WebVid(VideoSettings):
    """WebVid-10M. permitted: that you have the right to use the files on this machine; nothing is read without it.
    prompt: the user's turn before each caption."""

    permitted: bool = False
    prompt: str = "What would be the WebVid caption for this video?"

    def card(self) -> DataCard:
        """What the data set is."""
        return DataCard(
            hub="TempoFunk/webvid-10M",
            licence="none given by the owner of the videos (the hub's copy of the metadata is tagged AGPL-3.0)",
            legal=LEGAL,
            size="10.7 M rows, 2.9 GB of metadata",
            layout=(
                "data/train/partitions/0000.csv ... and data/val/partitions/0000.csv ...",
                "videos/PAGE_DIR/VIDEOID.mp4",
            ),
            columns=("videoid", "page_dir", "name", "duration"),
            split="as published: data/train and data/val",
            prompts=(self.prompt,),
            traps=(
                ("page_dir is empty or NaN", "the video is looked for as VIDEOID.mp4, in any folder"),
                ("videoid looks like a number", "it is read as text, leading zeros kept"),
                ("a video is missing (most are)", "its row is left out and counted"),
                ("watermarks", "nothing is done about them"),
            ),
        )
