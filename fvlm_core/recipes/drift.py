"""What changed between a run's beginning and its continuation, key by key and by class, and what of it is accepted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from attrs import frozen

from fvlm_core.recipes.resolved import RUNTIME, flat
from fvlm_core.recipes.structure import did_you_mean
from fvlm_core.utils.errors import UsageError

Class = Literal["seed", "model", "data", "batch", "schedule", "training", "evaluation", "software", "runtime"]

NOT_SET = "not set"

_BY_KEY: dict[str, Class] = {
    **dict.fromkeys(RUNTIME, "runtime"),
    "seed": "seed",
    "training.seed": "seed",
    "training.init_from": "model",
    "training.lora": "model",
    "training.parametrisation": "model",
    "training.mup": "model",
    "training.batch_size": "batch",
    "training.micro_batch_size": "batch",
    "training.micro_batch_frames": "batch",
    "training.micro_batch_tokens": "batch",
    "training.constant_shapes": "batch",
    **dict.fromkeys(
        [
            *("training.steps", "training.samples", "training.budget", "training.budget_accounting"),
            *("training.schedule", "training.warmup", "training.warmup_steps", "training.floor"),
            *("training.lr", "training.lr_ratio", "training.lr_target", "training.continue_from"),
        ],
        "schedule",
    ),
    "training": "training",
    "model": "model",
    "data": "data",
    "eval": "evaluation",
    "software": "software",
}
"""The class of each key and of everything below it; the longest key that covers one decides."""


@frozen
class Change:
    """One key that differs. before, after: JSON values, "not set" where the key is not there.

    kind: `runtime` keys decide nothing about the weights and are free; every other class is the run's identity.
    """

    key: str
    before: Any
    after: Any
    kind: Class

    @property
    def free(self) -> bool:
        """Whether a run may continue under it without being told to."""
        return self.kind == "runtime"

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any], places: Collection[str] = ()
) -> list[Change]:
    """Every key that differs between two identities (see `fvlm_core.runs.fingerprint`), free ones too.

    places: keys that say where something is; they are free, for what is there is compared by its fingerprint.
    """
    old, new = flat(before), flat(after)
    return [
        Change(
            key,
            old.get(key, NOT_SET),
            new.get(key, NOT_SET),
            "runtime" if key in places else classify(key),
        )
        for key in {**old, **new}
        if old.get(key, NOT_SET) != new.get(key, NOT_SET)
    ]


def classify(key: str) -> Class:
    """The class of a key."""
    covering = [name for name in _BY_KEY if _covers(name, key)]
    return _BY_KEY[max(covering, key=len)] if covering else "training"


def refused(found: Sequence[Change], allowed: Collection[str]) -> list[Change]:
    """The changes of a run's identity that nobody accepted. allowed: keys, or tables that hold them."""
    return [c for c in found if not c.free and not any(_covers(name, c.key) for name in allowed)]


def check_allowed(allowed: Sequence[str], known: Collection[str]) -> None:
    """Raise `UsageError` for a name that is no key of any run. known: flat keys of recipes and records."""
    for name in allowed:
        if not any(_covers(name, key) for key in known):
            raise UsageError(f"--allow-drift {name}: no such key{did_you_mean(name, sorted(known))}")


def explain(found: Sequence[Change]) -> str:
    """Refused changes as lines, class first, and how to accept them."""
    wide = max(len(change.kind) for change in found)
    lines = [f"  {change.kind:<{wide}}  {change}" for change in found]
    accept = " ".join(f"--allow-drift {change.key}" for change in found)
    return "\n".join(
        [
            *lines,
            "To continue it under these, accept them by name; what is accepted is recorded:",
            f"  {accept}",
        ]
    )


def _covers(name: str, key: str) -> bool:
    return key == name or key.startswith((f"{name}.", f"{name}["))
