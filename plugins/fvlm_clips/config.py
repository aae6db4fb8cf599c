"""What a recipe says of a set of video files. Imports nothing heavy."""

from __future__ import annotations

import math
from pathlib import Path

from attrs import field, frozen, validators


@frozen(kw_only=True)
class Clips:
    """Video files with captions.

    path: a folder, or a manifest that ends in .jsonl, .csv or .tsv: one sample a row, however many rows a video has. In
    a folder, the captions are those of its captions.jsonl, .csv or .tsv, or metadata.jsonl, .csv or .tsv, or else of
    NAME.txt beside NAME.mp4, also in subfolders.
    videos: the folder that the manifest's file names start at; by default the manifest's own.
    video_column, caption_column: the manifest's names for file name and caption.
    prompt: the user's turn before each caption.
    fps, max_frames: frames a second; a clip that would give more gives `max_frames`, evenly spaced.
    holdout: share of the videos kept for validation, chosen by a hash of the file name, so that no clip changes
    sides when others come or go. 0: both splits hold every clip, for a validation set that lies in a place of its
    own.
    hub, hub_folder: the data set's id on the Hugging Face hub and the folder its files belong in, for the message that
    says how to get what is missing. By default the first folder on the way that is not there.
    """

    path: Path
    videos: Path | None = None
    video_column: str = "video"
    caption_column: str = "caption"
    prompt: str = "Describe what happens in this video."
    fps: float = field(default=1.0, validator=[validators.gt(0), validators.lt(math.inf)])
    max_frames: int = field(default=64, validator=validators.ge(1))
    holdout: float = field(default=0.1, validator=[validators.ge(0), validators.lt(1)])
    hub: str = ""
    hub_folder: Path | None = None
