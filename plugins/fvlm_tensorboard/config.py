"""Settings of the TensorBoard mirror."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import gt


@frozen(kw_only=True)
class TensorBoard:
    """folder: inside the run's folder, unless its path begins with `/` or `~`.
    flush_seconds: how long rows may wait before they are on disk."""

    folder: str = "tensorboard"
    flush_seconds: float = field(default=10.0, validator=gt(0))
