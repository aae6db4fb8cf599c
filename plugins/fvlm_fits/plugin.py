"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.interfaces import Component, hookimpl


@hookimpl
def fvlm_fit_models() -> Iterator[Component]:
    """Both laws."""
    yield Component(
        "per-size",
        target="fvlm_fits.per_size:build",
        config="fvlm_fits.config:PerSize",
        summary="L = a*D^-b + E for each model size",
    )
    yield Component(
        "joint-chinchilla",
        target="fvlm_fits.joint_chinchilla:build",
        config="fvlm_fits.config:JointChinchilla",
        summary="L = E + A/N^alpha + B/D^beta over all sizes (Hoffmann et al. 2022)",
    )
