"""How a fit is asked for, beyond the law, the points and the objective."""

from __future__ import annotations

from typing import Any

from attrs import asdict, field, frozen

from fvlm_core.scaling.fit.constraints import Constraints
from fvlm_core.scaling.fit.resampling import Cluster, Scheme


@frozen
class Options:
    """bootstrap, cluster: what is drawn anew (see `resampling.resample`). offsets: every run may lie above or below the
    law by a factor of its own. force: numbers are shown in spite of the reasons not to. constraints: of parameters.
    sensitivity: whether other ways to fit are tried, which drift is judged by.
    """

    bootstrap: Scheme = "auto"
    cluster: Cluster = "run"
    offsets: bool = False
    force: bool = False
    constraints: Constraints = field(factory=Constraints)
    sensitivity: bool = True

    def to_json(self) -> dict[str, Any]:
        """For the record of a fit."""
        return asdict(self)


DEFAULT = Options()
