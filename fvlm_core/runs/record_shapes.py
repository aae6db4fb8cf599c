"""The kinds of values in a run's files; see `json_shape`."""

from __future__ import annotations

from fvlm_core.utils.json_shape import (
    COUNT,
    FLAG,
    LIST,
    MEASURED,
    NAMED,
    NUMBER,
    PERHAPS,
    TABLE,
    TEXT,
    WHOLE,
    Each,
    Every,
    Shape,
)

_COMPONENT: Shape = {"name": TEXT, "weights": TEXT}

RECORD: Shape = {
    **dict.fromkeys(("id", "recipe", "size", "schedule", "fvlm", "precision"), TEXT),
    **dict.fromkeys(("order",), WHOLE),
    **dict.fromkeys(("seed", "steps", "total_params", "trainable_params", "non_embedding_params"), COUNT),
    **dict.fromkeys(("llm_params", "tokens_per_frame"), COUNT),
    **dict.fromkeys(("flops_per_sample", "answer_flops_per_sample"), MEASURED),
    "in_fits": FLAG,
    "software": {"plugins": TABLE},
    "data": dict.fromkeys(
        ("train", "validation"), Each({"source": TEXT, "samples": WHOLE, "fingerprint": TEXT})
    ),
    "imported": TABLE,
    "architectures_read": TABLE,
    "viewing": TABLE,
    "init_from": PERHAPS,
    "resolved": {
        "model": {"encoder": _COMPONENT, "connector": _COMPONENT, "llm": _COMPONENT},
        "data": {"sources": Each(_COMPONENT), "text": _COMPONENT, "validation": _COMPONENT},
        "training": {
            **dict.fromkeys(("warmup", "floor", "weight_decay"), NUMBER),
            **dict.fromkeys(("batch_size", "seed"), WHOLE),
            "schedule": NAMED,
        },
        "fits": Each({"model": TEXT}),
        "trackers": Each(_COMPONENT),
    },
}
"""`recipe.json`."""

_CHANGED = ("key", "from", "to", "attempt", "at")

SUMMARY: Shape = {
    **dict.fromkeys(
        ("total_steps", "planned_steps", "best_val_step", "total_samples", "total_params"), COUNT
    ),
    **dict.fromkeys(("best_val_loss", "best_val_loss_content", "final_train_loss"), MEASURED),
    **dict.fromkeys(("wall_time_hours", "flops_per_sample", "supervised_tokens", "frames"), MEASURED),
    "val_floor": MEASURED,
    **dict.fromkeys(("truncated_tokens", "unchanged_steps", "loss_spikes"), MEASURED),
    **dict.fromkeys(("run_id", "model_size", "lr_schedule", "precision", "ended", "overfitting"), TEXT),
    **dict.fromkeys(("samples_by_source", "dropped_samples"), Every(MEASURED)),
    "mixture": Every(Every(MEASURED)),
    "as_written": Every(TEXT),
    **dict.fromkeys(("bad_samples", "bad_validation_samples"), PERHAPS),
    "left_out": LIST,
    "drift": Each({"key": TEXT}, ("key",)),
    "complete": FLAG,
}
"""`summary.json`."""

ENVIRONMENT: Shape = {
    **dict.fromkeys(("fvlm", "python", "platform"), TEXT),
    "cpus": COUNT,
    "packages": TABLE,
    "plugins": Each({"name": TEXT}, ("name",)),
    "variables": TABLE,
}
"""`environment.json`."""

ATTEMPT: Shape = {
    **dict.fromkeys(("attempt",), WHOLE),
    **dict.fromkeys(("at", "host", "torch", "device", "parallel"), TEXT),
    **dict.fromkeys(("pid", "world"), WHOLE),
    **dict.fromkeys(("drift", "runtime"), Each({"key": TEXT}, ("key", "from", "to"))),
}
"""A line of `attempts.jsonl`."""

ROW: Shape = {
    **dict.fromkeys(("event_type",), TEXT),
    **dict.fromkeys(("step",), WHOLE),
    **dict.fromkeys(("attempt", "samples_seen", "tokens_seen", "frames_seen", "source_row"), COUNT),
    **dict.fromkeys(("val_loss", "val_loss_content", "train_loss", "flops", "mfu"), MEASURED),
    **dict.fromkeys(("wall_time_sec", "memory_gb", "gpu_mem_gb", "grad_norm", "lr_connector"), MEASURED),
    **dict.fromkeys(("throughput_samples_sec", "throughput_frames_sec", "throughput_tokens_sec"), MEASURED),
    **dict.fromkeys(("attention_entropy",), MEASURED),
    **dict.fromkeys(("samples_by_source", "val_loss_by_source"), Every(MEASURED)),
    **dict.fromkeys(("mixture", "answers_by_category"), Every(Every(MEASURED))),
    "as_written": Every(TEXT),
}
"""A line of `metrics.jsonl`."""

MUST = {"recipe": ("id", "recipe", "order"), "row": ("event_type", "step"), "attempt": ("attempt", "drift")}
"""Keys that no record, no line of the metrics and no attempt lacks."""
