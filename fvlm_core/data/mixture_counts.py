"""The mixture as it was really trained on: what each source gave so far."""

from __future__ import annotations

from fvlm_core.data.batch import Batch

Realised = dict[str, dict[str, int]]
"""By source: samples, text tokens (after truncation) and frames."""


def count_batch(realised: Realised, batch: Batch) -> None:
    """Add what a micro-batch holds; of a pair, its frames once and the tokens of both answers."""
    lengths = batch.lengths + batch.rejected.lengths if batch.rejected else batch.lengths
    named = zip(
        batch.sample_ids, lengths.tolist(), batch.counts.tolist(), strict=False
    )  # fillers have no name
    for name, tokens, frames in named:
        counts = realised.setdefault(name.partition("/")[0], {"samples": 0, "tokens": 0, "frames": 0})
        counts["samples"] += 1
        counts["tokens"] += tokens
        counts["frames"] += frames


def add(realised: Realised, more: Realised) -> None:
    """Add other counts."""
    for name, counts in more.items():
        own = realised.setdefault(name, {"samples": 0, "tokens": 0, "frames": 0})
        for unit, count in counts.items():
            own[unit] += count


def samples(realised: Realised) -> dict[str, int]:
    """Samples of each source."""
    return {name: counts["samples"] for name, counts in realised.items()}


def shares(realised: Realised) -> str:
    """`openvid 43.0 %, vript 21.5 %, ...` of the samples, the largest first."""
    total = sum(counts["samples"] for counts in realised.values())
    ordered = sorted(realised.items(), key=lambda entry: (-entry[1]["samples"], entry[0]))
    return ", ".join(f"{name} {100 * counts['samples'] / total:.1f} %" for name, counts in ordered)
