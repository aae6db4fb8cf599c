"""Settings of the sections."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge


@frozen(kw_only=True)
class Stability:
    """most: spikes and unchanged steps of a run that are listed, its first ones."""

    most: int = field(default=8, validator=ge(1))
