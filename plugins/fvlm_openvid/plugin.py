"""What this plugin offers: OpenVid-1M."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Clips of OpenVid-1M."""
    yield Component(
        "openvid",
        target="fvlm_openvid.source:build",
        config="fvlm_openvid.config:OpenVid",
        summary="nkp37/OpenVid-1M: a million clips with captions, from its CSV and its zips, whole or split",
    )
