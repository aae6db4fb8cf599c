"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl

LAWS = {
    "per-size": "L = a*D^-b + E for each model size",
    "joint-chinchilla": "L = E + A/N^alpha + B/D^beta over all sizes (Hoffmann et al. 2022)",
    "joint-tied": "the joint law with alpha = beta",
    "two-floor": "L = floor(size) + B/D^beta, what two sizes can tell",
    "kaplan": "L = ((Nc/N)^(aN/aD) + Dc/D)^aD (Kaplan et al. 2020)",
    "gadre": "over-training at any D/N (Gadre et al. 2024)",
    "isoflop": "the best size at each budget of training FLOPs (Hoffmann et al. 2022, Approach 2)",
    "lr-optimum": "the best learning rate of a sweep, and its exponent over sizes",
    "farseer": "every term of the joint law changes with size (Li et al. 2025)",
    "video": "size, frames, tokens a frame and samples of a video model (after Wang et al. 2025)",
    "lr-batch": "the best learning rate and batch of a size and its data (Li et al. 2025)",
    "multi-power": "loss under any learning-rate schedule (Luo et al. 2025)",
}
"""Laws without settings."""

SETTINGS = {
    "envelope": (
        "Envelope",
        "the best of all runs at each amount of compute (Hoffmann et al. 2022, Approach 1)",
    ),
    "tissue": ("Tissue", "loss under learning-rate annealing (Tissue et al. 2024)"),
    "visual-tokens": ("VisualTokens", "size against visual tokens (Li et al. 2025)"),
    "mixture": ("Mixture", "losses of domains under mixtures of data, and the best mixture (Ye et al. 2024)"),
    "accuracy": ("Accuracy", "a sigmoid of the loss, or a law of -ln Q in compute; it rises"),
    "repetition": ("Repetition", "repeated data counts less than new data (Muennighoff et al. 2023)"),
}
"""Laws with settings, the class of them in `config`, and a summary."""


@hookimpl
def fvlm_fit_models() -> Iterator[Component]:
    """All laws."""
    plain = {name: ("NoSettings", summary) for name, summary in LAWS.items()}
    for name, (settings, summary) in {**plain, **SETTINGS}.items():
        yield Component(
            name,
            target=f"fvlm_fits.{name.replace('-', '_')}:build",
            config=f"fvlm_fits.config:{settings}",
            summary=summary,
        )
