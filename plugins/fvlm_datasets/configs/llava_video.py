"""What a recipe says of LLaVA-Video-178K, and what it is. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from fvlm_core.plugin_api import DataCard, HeldOutVideos

Kind = Literal["caption", "open_ended", "multi_choice"]


@frozen(kw_only=True)
class LLaVAVideo(HeldOutVideos):
    """LLaVA-Video-178K.

    parts: the published parts that are read ("0_30_s_academic_v0_1"); empty: all that are there.
    kinds: which annotations.
    exclude: rows whose `data_source` contains one of these are left out ("nextqa", "perceptiontest", "activitynet":
    several sources overlap the evaluation sets of MVBench, NExT-QA and PerceptionTest).
    """

    parts: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ("caption", "open_ended", "multi_choice")
    exclude: tuple[str, ...] = ()

    def card(self) -> DataCard:
        """What the data set is."""
        return DataCard(
            hub="lmms-lab/LLaVA-Video-178K",
            licence="academic and research use; the annotations are subject to OpenAI's terms of use",
            size="178,000 videos, about 1.3 M instructions; archives of 5.34 GB each",
            layout=(
                "PART/*cap*.json, *oe*.json, *mc*.json (captions, open-ended, multiple choice)",
                "PART/PART_videos_{k}.tar.gz, or the videos unpacked, in any folder",
            ),
            columns=("id", "conversations[].from", "conversations[].value", "data_source", "video"),
            split="by a hash of the video's path, so that all its rows stay together, whatever file they are in: "
            "`holdout`, by default 1 %, is validation",
            prompts=("the questions are the data set's own",),
            traps=(
                ("one video is in the cap, oe and mc files", "every row is a sample; they share a split"),
                ("`<image>` stands before the first question", "taken out"),
                ("several turns in a row", "all are kept; every answer is learnt from"),
                (
                    "sources overlap evaluation sets",
                    "`exclude` leaves them out by `data_source`; each row is counted",
                ),
                ("tar.gz allows no access by place", "an index is made at first use and kept ($FVLM_CACHE)"),
            ),
            fetch=tuple(f"{part}/*" for part in self.parts) or ("*.json", "*.tar.gz"),
        )
