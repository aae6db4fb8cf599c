"""Settings of the Weights & Biases mirror."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import in_

WandbMode = Literal["offline", "online"]


@frozen(kw_only=True)
class WandB:
    """project: where the run is shown; "" for the recipe's name. entity: a user or a team; "" for your own default.

    mode: "offline" writes into the run's folder, and `wandb sync` sends it later; "online" sends as the run goes on.
    report: once the run is complete, a process of its own draws its report and sends it as an artefact.
    """

    project: str = ""
    entity: str = ""
    mode: WandbMode = field(default="offline", validator=in_(("offline", "online")))
    report: bool = False
