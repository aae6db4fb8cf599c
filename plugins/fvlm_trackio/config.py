"""Settings of the Trackio mirror."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Trackio:
    """project: where the run is shown; "" for the recipe's name. Kept where `TRACKIO_DIR` says; shown by
    `trackio show`. report: once the run is complete, a process of its own draws its report, which is kept as an
    artefact."""

    project: str = ""
    report: bool = False
