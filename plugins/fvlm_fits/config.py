"""Settings of the laws: none yet, and an unknown key is an error."""

from __future__ import annotations

from attrs import frozen


@frozen
class PerSize:
    """`per-size` has no settings."""


@frozen
class JointChinchilla:
    """`joint-chinchilla` has no settings."""
