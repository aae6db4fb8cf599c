"""What a recipe says of shards. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

from fvlm_core.plugin_api import Address, cache_folder


@frozen(kw_only=True)
class Shards:
    """Tar shards.

    path: a pack (a folder with pack.json), a folder whose subfolders train and validation are packs, or a folder of the
    founding project's shards (*.tar, also in subfolders). Packs may lie elsewhere: s3://BUCKET/FOLDER,
    hf://datasets/OWNER/NAME/FOLDER or https://HOST/FOLDER.
    holdout: share of the samples kept for validation, chosen by a hash of their ids, where train and validation are
    not two packs; those that show the same picture or video are on one side. 0: both splits hold every sample.
    prompt: the user's turn where a shard holds a caption and no question; by default the founding project's own for
    the source that the shard names.
    tokenizer: the tokenizer.json that made the token ids of shards that hold no text. They are turned back into text,
    checked to give the same ids again, and tokenised anew by the model in use.
    cache: where the index of shards that have none is kept.
    """

    path: Address | Path
    holdout: float = field(default=0.1, validator=[validators.ge(0), validators.lt(1)])
    prompt: str = ""
    tokenizer: Path | None = None
    cache: Path = field(factory=lambda: cache_folder("shards"))
