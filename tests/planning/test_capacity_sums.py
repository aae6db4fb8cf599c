"""What a run needs, added up by hand from bytes a weight; and what is promised of a device."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from small import model

from fvlm_core.planning.activation_memory import LargestMicroBatch
from fvlm_core.planning.compute import count_parameters
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.memory import GIB, Memory, Trained, training_memory
from fvlm_core.planning.memory_fit import Alternative, Capacity, Need

COUNTS = {"encoder": 1_000, "connector": 200, "llm": 5_000}
MICRO = LargestMicroBatch(samples=1, frames=1, followed=0, positions=4, labels=2)


@pytest.fixture(scope="module")
def specs() -> Any:
    vlm = model()
    assert count_parameters(vlm).total > 0
    eye, speaker = vlm.encoder.spec, vlm.llm.spec
    return eye, Tracer(eye, vlm.connector, speaker).trace(8), speaker


def needed(specs: Any, **changes: Any) -> Memory:
    trained = Trained(parameters=COUNTS, **{key: changes.pop(key) for key in ("frozen", "still", "references")
                                            if key in changes})  # fmt: skip
    return training_memory(*specs, trained, MICRO, MICRO, autocast=False, chunk=16, device="cpu", **changes)


def test_adam_keeps_two_numbers_of_four_bytes_for_each_weight_that_moves(specs: Any) -> None:
    """Kingma and Ba (2015): the first and the second moment. What is frozen, or whose rate is 0, has none."""
    assert needed(specs).optimizer == 2 * 4 * 6_200
    assert needed(specs, frozen=["llm"]).optimizer == 2 * 4 * 1_200
    assert needed(specs, still=["encoder"]).optimizer == 2 * 4 * 5_200
    assert needed(specs, shards=4).optimizer == 2 * 4 * 6_200 / 4


def test_weights_are_four_bytes_each_and_a_reference_model_has_its_own(specs: Any) -> None:
    assert needed(specs).weights == 4 * 6_200
    assert needed(specs, references=1).weights == 2 * 4 * 6_200
    assert needed(specs, shards=2).weights == 4 * 6_200 * 1.5  # whole during a step, and this rank's part


def test_the_peak_of_a_run_is_the_larger_of_a_step_and_an_evaluation(specs: Any) -> None:
    memory = needed(specs)
    parts = memory.weights + memory.gradients + memory.optimizer + memory.runtime + memory.copies
    parts += sum(memory.activations.values()) + memory.keys_values + memory.working
    assert memory.training == parts
    assert memory.total == max(parts, memory.evaluation)
    assert evolve(memory, evaluation=10 * parts).total == 10 * parts


def test_a_run_fits_only_into_what_may_be_planned_with(specs: Any) -> None:
    """0.95 of a GPU, 0.9 of a machine: the rest is for what else runs there."""
    memory = needed(specs)
    for kind, share in (("cuda", 0.95), ("cpu", 0.9)):
        for part, fits in ((0.999, True), (1.001, False)):
            capacity = Capacity("a device", kind, memory.total / share / part)
            assert Need(capacity, memory, memory.total, ()).fits is fits
    small = Capacity("a device", "cpu", 2 * GIB)
    told = str(Need(small, memory, 0.0, (Alternative("training.micro_batch_size = 1", 1 * GIB, True),)))
    assert "a device has 2.0 GiB, 1.8 GiB of it to plan with" in told
    assert told.endswith("what would fit: training.micro_batch_size = 1 (1.0 GiB)")
