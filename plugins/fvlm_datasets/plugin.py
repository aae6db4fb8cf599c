"""What these plugins offer: published data sets. Each is a plugin of its own, named by an entry point of its own."""

from __future__ import annotations

from typing import Any

from fvlm_core.plugin_api import Component, hookimpl


class Plugin:
    """What an entry point names, in place of a module of functions."""

    def __init__(self, *offered: Component) -> None:
        self.offered = offered

    @hookimpl
    def fvlm_data_sources(self) -> tuple[Component, ...]:
        """The data set, under each of its names."""
        return self.offered


def _component(name: str, module: str, config: str, summary: str, **more: Any) -> Component:
    """module: of the config class below `configs`, and of the source below `sources`. more: of `Component`."""
    target, path = f"fvlm_datasets.sources.{module}:build", f"fvlm_datasets.configs.{module}:{config}"
    return Component(name, target=target, config=path, summary=summary, **more)


cauldron = Plugin(
    _component(
        "cauldron", "cauldron", "Cauldron", "HuggingFaceM4/the_cauldron: questions on pictures, 50 subsets"
    )
)
llava_video = Plugin(
    _component(
        "llava-video",
        "llava_video",
        "LLaVAVideo",
        "lmms-lab/LLaVA-Video-178K: captions, open and multiple-choice questions on videos",
    )
)
openvid = Plugin(
    _component(
        "openvid",
        "openvid",
        "OpenVid",
        "nkp37/OpenVid-1M: a million clips with captions, from its CSV and its zips, whole or split",
    )
)
rlaif_v = Plugin(
    _component("rlaif-v", "rlaif_v", "RLAIFV", "openbmb/RLAIF-V-Dataset: 83,000 preference pairs on pictures")
)
sharegpt4video = Plugin(
    _component(
        "sharegpt4video",
        "sharegpt4video",
        "ShareGPT4Video",
        "ShareGPT4Video: 40,000 videos with detailed descriptions, from its JSONL and its zips",
    )
)
smoltalk = Plugin(
    _component(
        "smoltalk",
        "smoltalk",
        "SmolTalk",
        "HuggingFaceTB/smoltalk: a million chats of text alone, for text retention",
        provides=("text",),
    ),
    _component(
        "smol-smoltalk",
        "smoltalk",
        "SmolTalk",
        "HuggingFaceTB/smol-smoltalk: the 460,000 chats made for models of up to 360M",
        preset={"subset": "smol-smoltalk"},
        provides=("text",),
    ),
)
vript = Plugin(
    _component(
        "vript",
        "vript",
        "Vript",
        "Mutonix/Vript: scenes with dense captions, from its JSONL and its zips of clips",
    )
)
webvid = Plugin(
    _component(
        "webvid",
        "webvid",
        "WebVid",
        "WebVid-10M, withdrawn by its owner: local files only, and only with permitted = true",
    )
)
