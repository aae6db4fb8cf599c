"""What a recipe says of the Cauldron, and what it is. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

from fvlm_core.plugin_api import DataCard, Fit


@frozen(kw_only=True)
class Cauldron:
    """The Cauldron.

    path: the folder of the download, as `fvlm data fetch cauldron --to PATH` writes it.
    subsets: those that are read ("ai2d", "docvqa"); empty: all that are there.
    fit: how a picture becomes a square: "letterbox" keeps all of it, as documents need; "crop" takes the centre.
    max_images: rows with more pictures are left out.
    holdout: share of the pictures kept for validation, chosen by a hash of their bytes.
    """

    path: Path
    subsets: tuple[str, ...] = ()
    fit: Fit = "letterbox"
    max_images: int = field(default=64, validator=validators.ge(1))
    holdout: float = field(default=0.01, validator=[validators.ge(0), validators.lt(1)])

    def card(self) -> DataCard:
        """What the data set is."""
        return DataCard(
            hub="HuggingFaceM4/the_cauldron",
            licence="prompts CC-BY-4.0; each of the 50 subsets has its own licence",
            size="50 subsets (ai2d: 2,445 rows, 438 MB)",
            layout=("SUBSET/train-0000k-of-0000n-HASH.parquet",),
            columns=("images: list<struct<bytes, path>>", "texts: list<struct<user, assistant, source>>"),
            split="by a hash of the picture's bytes, whatever subset it is in: `holdout`, by default 1 %, is for "
            "validation",
            prompts=("the questions are the data set's own",),
            traps=(
                ("several pictures in a row", "all are shown, one frame each, in order"),
                ("several questions in a row", "all are kept as one chat; every answer is learnt from"),
                (
                    "RGBA, palette, grey and 16-bit pictures",
                    "turned into RGB; what is transparent is laid on white",
                ),
                ("undecodable bytes", "counted as a bad sample when it is drawn"),
                ("a centre crop destroys documents", 'letterboxed by default; `fit = "crop"` crops'),
                ("rows without a picture or an answer", "left out and named"),
            ),
            fetch=tuple(f"{subset}/*.parquet" for subset in self.subsets) or ("*.parquet",),
        )
