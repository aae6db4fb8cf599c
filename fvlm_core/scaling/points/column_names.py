"""The names that columns of tables have."""

from __future__ import annotations

import re

from fvlm_core.scaling.points.counts import N_KINDS

HEADERS: dict[str, tuple[str, ...]] = {
    "size": ("model_size", "size"),
    "run": ("run_id", "run"),
    "schedule": ("lr_schedule", "schedule"),
    "n": ("total_params", "n"),
    "d": ("samples_seen", "d"),
    "loss": ("val_loss", "loss"),
    "step": ("step",),
    "lr": ("lr",),
    "compute": ("flops", "c", "compute"),
}
"""Names of each column, in lower case: those of the export, and plain ones. Case does not count."""

USUAL: dict[str, tuple[str, ...]] = {
    "run": ("run_name",),
    "n": (
        "params", "parameters", "num_params", "n_params", "num_parameters", "n_parameters", "model_params",
        "total_parameters", "number_of_parameters", "number_of_params",
    ),
    "d": (
        "tokens", "train_tokens", "training_tokens", "num_tokens", "n_tokens", "total_tokens", "samples",
        "train_samples", "training_samples", "tokens_trained", "trained_tokens", "number_of_tokens",
        "number_of_samples", "num_samples", "n_samples",
    ),
    "loss": (
        "valid_loss", "validation_loss", "eval_loss", "final_loss", "final_val_loss", "loss_val", "loss_validation",
        "loss_final", "loss_nats", "val_loss_nats", "validation_loss_nats",
    ),
    "step": ("steps", "global_step", "trainer_global_step", "train_global_step", "iteration", "iterations", "iter"),
    "lr": ("learning_rate", "train_lr", "train_learning_rate"),
    "compute": ("training_flops", "train_flops", "total_flops"),
}  # fmt: skip
"""Names that others give them, as `plainly` writes them: read where a table has none of `HEADERS`."""

LAST: dict[str, tuple[str, ...]] = {
    "n": tuple(
        name for kind in N_KINDS.values() for name in (kind.key, kind.key.replace("params", "parameters"))
    ),
    "d": ("dataset_size",),
    "loss": ("l", "cross_entropy", "cross_entropy_loss"),
}
"""Names that mean a column only where nothing else does: L may also count layers, and a data set's size beside tokens
is what is repeated."""

SIZES = (*HEADERS["size"], "model", "modelsize")
"""Names of columns that say sizes, as labels or as N."""


def plainly(header: str) -> str:
    """A header in lower case, with one underscore for all that is no letter or digit: "val/loss" and "Val Loss" are
    val_loss."""
    return re.sub(r"[^a-z0-9]+", "_", header.lower()).strip("_")


def meant(name: str) -> str:
    """The column that a name stands for, "n" for `Params`; "" for none."""
    plain = plainly(name)
    for known in (HEADERS, USUAL, LAST):
        for column, names in known.items():
            if plain in names:
                return column
    return ""
