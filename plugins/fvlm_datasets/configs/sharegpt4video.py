"""What a recipe says of ShareGPT4Video, and what it is. Imports nothing heavy."""

from __future__ import annotations

from attrs import frozen

from fvlm_core.plugin_api import DataCard, HeldOutVideos

CAPTIONS = "sharegpt4video_40k.jsonl"
VIDEOS = "zip_folder"


@frozen(kw_only=True)
class ShareGPT4Video(HeldOutVideos):
    """ShareGPT4Video. prompt: the user's turn before each description."""

    prompt: str = "Describe what happens in this video in detail."

    def card(self) -> DataCard:
        """What the data set is."""
        return DataCard(
            hub="ShareGPT4Video/ShareGPT4Video",
            licence="CC-BY-NC-4.0",
            size="40,145 videos with captions",
            layout=(
                CAPTIONS,
                f"{VIDEOS}/SOURCE/SOURCE_videos_{{k}}.zip (panda, bdd100k, ego4d, pexels, pixabay, mixkit), or the "
                "videos unpacked, in any folder",
            ),
            columns=("video_id", "video_path", "captions[].idx", "captions[].content"),
            split="by a hash of the video's file name: `holdout`, by default 1 %, is validation",
            prompts=(self.prompt,),
            traps=(
                (
                    'captions are of key frames; the whole video\'s is the one whose idx is "-1", not the last',
                    "that one is used",
                ),
                ('no caption with idx "-1"', "the row is left out and named"),
                ("a video is missing or empty", "its row is left out and named"),
            ),
            fetch=(CAPTIONS, f"{VIDEOS}/*"),
        )
