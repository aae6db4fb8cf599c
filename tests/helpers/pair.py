"""Two processes that train together, started once for many checks: `python tests/helpers/pair.py RESULTS`.

Each check is a function of this file that both ranks run; RESULTS gets a JSON object, check to "" or what went wrong.
Runs that nothing disturbs are trained once for all checks, up to their end or to a step.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import fvlm_dinov2.model
import fvlm_foveated.model
import fvlm_smollm2.model
import pytest
import torch
import torch.distributed as dist
import torch.distributed.fsdp
import transformers.models.dinov2.modeling_dinov2
from attrs import evolve
from trainer import Watch, difference, go, opened, outcome, small

from fvlm_core.data.sources import Sources
from fvlm_core.model.vlm import VLM
from fvlm_core.training.process_group import Ranks, join, leave
from fvlm_core.utils.errors import FvlmError

EVERYTHING = (
    fvlm_dinov2.model, fvlm_foveated.model, fvlm_smollm2.model, torch.distributed.fsdp,
    transformers.models.dinov2.modeling_dinov2,
)  # fmt: skip
"""What each rank would import by itself."""

FEW = ["training.steps=4", "eval.every=2"]
PARALLEL = ("ddp", "fsdp2")
PAIRS = [
    *("data.sources.shapes.pairs=true", "training.preference.beta=0.5", "training.lr=0.01"),
    *("model.connector.coarse_share=0.0", "model.connector.mode_choice=batch"),
]


class Pair:
    """What a check has: its rank, a folder that both ranks share, the data."""

    def __init__(self, ranks: Ranks, folder: Path) -> None:
        self.ranks, self.folder = ranks, folder
        ranks.on_first(lambda: self._open())
        self._open()
        self.count = 0
        self.trained: dict[tuple[str | int, ...], Path] = {}

    def _open(self) -> None:
        self.data = opened(small(self.folder), self.folder / "none")
        self.pairs = opened(small(self.folder, *PAIRS), self.folder / "none")

    def root(self) -> Path:
        """An empty store, the same on both ranks."""
        self.count += 1
        return self.folder / f"runs-{self.count}"

    def alone(self, overrides: list[str]) -> dict[str, Any]:
        """What a single process trains, rank 0; the other waits."""
        if (key := ("alone", *overrides)) not in self.trained:
            root = self.trained[key] = self.root()
            data = self._data(overrides)
            self.ranks.on_first(lambda: go(small(self.folder, *overrides), root, data) and None)
        return self.outcome(self.trained[key])

    def both(self, overrides: list[str], root: Path, **how: Any) -> Watch:
        """Both train."""
        self.ranks.exchange(None)
        watch = go(small(self.folder, *overrides), root, self._data(overrides), ranks=self.ranks, **how)
        self.ranks.exchange(None)
        return watch

    def whole(self, overrides: list[str]) -> dict[str, Any]:
        """What both train without a break."""
        if (key := tuple(overrides)) not in self.trained:
            self.trained[key] = self.root()
            self.both(overrides, self.trained[key])
        return self.outcome(self.trained[key])

    def begun(self, overrides: list[str], at: int) -> Path:
        """A store of its own of a run that both have trained to a step."""
        if (key := (*overrides, at)) not in self.trained:
            self.trained[key] = self.root()
            self.both(overrides, self.trained[key], at=at)
        root = self.root()
        self.ranks.on_first(lambda: shutil.copytree(self.trained[key], root) and None)
        return root

    def _data(self, overrides: list[str]) -> dict[str, Sources]:
        return self.pairs if PAIRS[0] in overrides else self.data

    def outcome(self, root: Path) -> dict[str, Any]:
        """As `trainer.outcome`."""
        return outcome(small(self.folder), root)


@contextmanager
def stopping(pair: Pair, text: str) -> Iterator[None]:
    """What is inside must end both ranks, the first of them saying `text`."""
    with pytest.raises(FvlmError) as caught:
        yield
    told = pair.ranks.exchange(str(caught.value))
    assert text in told[0], told
    assert told[1:] == [""], told


def losses(found: dict[str, Any], column: str = "train_loss") -> list[float]:
    return [
        row[column] for row in found["rows"] if row.get(column) is not None and row["event_type"] != "attempt"
    ]


def close(ours: list[float], theirs: list[float], within: float = 1e-5) -> bool:
    return len(ours) == len(theirs) and all(
        math.isclose(a, b, rel_tol=within) for a, b in zip(ours, theirs, strict=True)
    )


def hashed(model: VLM) -> str:
    digest = hashlib.sha256()
    for _, parameter in model.named_parameters():
        digest.update(parameter.detach().clone().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def forward(change: Callable[[VLM, Any], Any]) -> Iterator[None]:
    """`change(model, losses)` after every forward pass of training."""
    plain = VLM.forward

    def changed(self: VLM, batch: Any, mode: Any = None) -> Any:
        found = plain(self, batch, mode)
        return change(self, found) if self.training else found

    VLM.forward = changed  # type: ignore[method-assign]
    try:
        yield
    finally:
        VLM.forward = plain  # type: ignore[method-assign]


def low_rank_factors_train_alike_and_continue_under_the_other_mode(pair: Pair) -> None:
    """Losses under either mode are those of one process; sharded weights come back where they are whole."""
    adapted = [*FEW, "training.lora.components=['encoder', 'llm']", "training.lora.rank=2"]
    alone = pair.alone(adapted)
    root = pair.begun([*adapted, "training.parallel=fsdp2"], 2)
    pair.both([*adapted, "training.parallel=ddp"], root)
    for found in (pair.whole([*adapted, "training.parallel=fsdp2"]), pair.outcome(root)):
        assert close(losses(found), losses(alone))


def two_ranks_see_the_batches_of_one(pair: Pair) -> None:
    alone = pair.alone(FEW)
    for parallel in PARALLEL:
        both = pair.whole([*FEW, f"training.parallel={parallel}"])
        for column in (
            "samples_hash",
            "tokens_seen",
            "frames_seen",
            "flops",
            "lr_connector",
            "samples_by_source",
        ):
            assert losses(both, column) == losses(alone, column), column
        for column in ("train_loss", "grad_norm", "val_loss", "attention_entropy"):
            assert close(losses(both, column), losses(alone, column)), (parallel, column)


def a_resumed_pair_is_bit_exact(pair: Pair) -> None:
    for parallel in PARALLEL:
        keys = [*FEW, f"training.parallel={parallel}"]
        cut = pair.begun(keys, 2)
        assert pair.outcome(cut)["checkpoint"] == "step-00000002"
        pair.both(keys, cut, die=3)
        pair.both(keys, cut)
        gap = difference(pair.outcome(cut), pair.whole(keys))
        assert not gap, f"{parallel}: {gap}"


def two_ranks_share_the_answers_of_one(pair: Pair) -> None:
    metrics = [
        "eval.metrics=[{name='exact-match'},{name='token-f1'}]",
        "eval.generation={limit=3,samples=5,temperature=1.0}",
    ]
    alone = pair.alone([*FEW, *metrics])
    for parallel in PARALLEL:
        both = pair.whole([*FEW, *metrics, f"training.parallel={parallel}"])
        for column in ("exact_match", "token_f1", "token_f1_low", "token_f1_high"):
            assert close(losses(both, column), losses(alone, column)), (parallel, column)
        plain = pair.whole([*FEW, f"training.parallel={parallel}"])
        assert both["model"] == plain["model"], parallel


def a_last_step_of_fewer_samples_than_ranks_is_that_of_one_process(pair: Pair) -> None:
    keys = ["training.samples=13", "training.micro_batch_size=2"]
    alone = pair.alone(keys)
    assert losses(alone, "samples_seen")[-1] == 13
    for parallel in PARALLEL:
        both = pair.whole([*keys, f"training.parallel={parallel}"])
        for column in ("samples_seen", "samples_hash", "tokens_seen", "frames_seen", "flops"):
            assert losses(both, column) == losses(alone, column), (parallel, column)
        for column in ("train_loss", "grad_norm", "val_loss"):
            assert close(losses(both, column), losses(alone, column)), (parallel, column)


def a_pairs_checkpoint_continues_in_one_process_and_back(pair: Pair) -> None:
    expected = losses(pair.alone(FEW))
    for parallel in PARALLEL:
        keys = [*FEW, f"training.parallel={parallel}"]
        root = pair.begun(keys, 2)
        said: list[str] = []
        pair.ranks.on_first(
            lambda r=root, s=said: s.extend(go(small(pair.folder, *FEW), r, pair.data, at=3).said)
        )
        if pair.ranks.first:
            assert any("world size: 2 -> 1" in text for text in said), said
        watch = pair.both(keys, root)
        if pair.ranks.first:
            assert any("world size: 1 -> 2" in text for text in watch.said), watch.said
        assert close(losses(pair.outcome(root)), expected), parallel


def a_number_that_is_none_on_one_rank_changes_no_weight_on_any(pair: Pair) -> None:
    for parallel, policy in zip(PARALLEL, ("stop", "skip"), strict=True):
        _one_rank_without_a_number(pair, parallel, policy)


def the_other_parallel_modes_and_policies_change_no_weight_either(pair: Pair) -> None:
    for parallel, policy in zip(PARALLEL, ("skip", "stop"), strict=True):
        _one_rank_without_a_number(pair, parallel, policy)


def _one_rank_without_a_number(pair: Pair, parallel: str, policy: str) -> None:
    keys = ["training.steps=3", f"training.parallel={parallel}", f"training.non_finite={policy}"]
    root = pair.root()
    pair.both(keys, root, at=2)
    before = pair.outcome(root)
    seen: list[str] = []

    def nan(model: VLM, found: Any) -> Any:
        seen[:] = [hashed(model)]
        return (
            evolve(found, loss=found.loss * math.nan, fine=found.fine * math.nan)
            if pair.ranks.rank == 1
            else found
        )

    stops = stopping(pair, "the loss is not finite on rank 1") if policy == "stop" else nullcontext()
    with forward(nan), stops:
        pair.both(keys, root)
    after = pair.outcome(root)
    assert after["model"] == before["model"]
    assert after["optimizer"] == before["optimizer"]
    assert len(set(pair.ranks.exchange(seen[0]))) == 1
    if policy == "skip":
        skipped = [row for row in after["rows"] if row["event_type"] == "skipped"]
        assert [row["step"] for row in skipped] == [3]
        assert after["rows"][-1]["unchanged_steps"] == 1


def too_many_skipped_steps_in_a_row_stop_both(pair: Pair) -> None:
    root = pair.root()
    keys = [*FEW, "training.non_finite=skip", "training.max_skipped=2"]
    bad = forward(lambda _, found: evolve(found, loss=found.loss * math.inf))
    with bad, stopping(pair, "training.max_skipped"):
        pair.both(keys, root)


def memory_that_runs_out_on_one_rank_cuts_the_micro_batches_of_both(pair: Pair) -> None:
    for parallel in PARALLEL:
        keys = [*FEW, f"training.parallel={parallel}"]
        short = pair.root()
        calls = [0]

        def hungry(model: VLM, found: Any, calls: list[int] = calls) -> Any:
            calls[0] += 1
            if pair.ranks.rank == 0 and calls[0] == 3:
                raise torch.OutOfMemoryError("out of memory")
            return found

        with forward(hungry):
            watch = pair.both(keys, short)
        if pair.ranks.first:
            assert any("out of memory on rank 0 at step 3" in text for text in watch.said), watch.said
        ours, theirs = pair.outcome(short), pair.whole(keys)
        assert losses(ours, "samples_hash") == losses(theirs, "samples_hash")
        for column in ("train_loss", "grad_norm"):
            assert close(losses(ours, column), losses(theirs, column), 1e-6), column
        # One of a rank's two micro-batches a step ran out at step 3; from there on each is two of one sample.
        assert calls[0] == 2 + 1 + 2 * 2, calls


def one_ranks_failure_ends_both_and_names_the_rank(pair: Pair) -> None:
    root = pair.root()

    def fail(model: VLM, found: Any) -> Any:
        if pair.ranks.rank == 1:
            raise ValueError("a broken component")
        return found

    with forward(fail), pytest.raises(FvlmError) as caught:
        pair.both(FEW, root)
    told = pair.ranks.exchange(str(caught.value))
    assert told == ["", "rank 1 of 2: unexpected ValueError: a broken component"], told


def a_signal_to_one_rank_stops_both_after_the_same_step(pair: Pair) -> None:
    root = pair.root()
    pair.both(FEW, root, at=2 if pair.ranks.rank == 1 else None)
    assert pair.outcome(root)["checkpoint"] == "step-00000002"


def preference_training_sums_gradients_over_ranks(pair: Pair) -> None:
    keys = [*FEW, *PAIRS]
    alone = pair.alone(keys)
    assert len(set(losses(alone, "reward_margin"))) > 2  # it learns something
    for parallel in PARALLEL:
        seen: list[str] = []

        def look(model: VLM, found: Any, seen: list[str] = seen) -> Any:
            seen.append(hashed(model))
            return found

        with forward(look):
            both = pair.whole([*keys, f"training.parallel={parallel}"])
        mine, other = pair.ranks.exchange(seen)
        assert mine == other, f"{parallel}: the ranks' weights are not equal bit for bit"
        assert len(set(mine)) == len(mine) == 4, "weights change at every step"
        assert losses(both, "samples_hash") == losses(alone, "samples_hash")
        for column in (
            "train_loss",
            "grad_norm",
            "val_loss",
            "reward_margin",
            "val_reward_margin",
            "logp_chosen",
        ):
            ours, theirs = losses(both, column), losses(alone, column)
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5), (parallel, column, ours, theirs)


def a_resumed_pair_in_preference_training_is_bit_exact(pair: Pair) -> None:
    for parallel in PARALLEL:
        keys = [*FEW, *PAIRS, f"training.parallel={parallel}"]
        cut = pair.begun(keys, 2)
        pair.both(keys, cut)
        gap = difference(pair.outcome(cut), pair.whole(keys))
        assert not gap, f"{parallel}: {gap}"


CHECKS: list[Callable[[Pair], None]] = [
    low_rank_factors_train_alike_and_continue_under_the_other_mode,
    two_ranks_see_the_batches_of_one,
    two_ranks_share_the_answers_of_one,
    a_resumed_pair_is_bit_exact,
    a_last_step_of_fewer_samples_than_ranks_is_that_of_one_process,
    a_pairs_checkpoint_continues_in_one_process_and_back,
    a_number_that_is_none_on_one_rank_changes_no_weight_on_any,
    the_other_parallel_modes_and_policies_change_no_weight_either,
    too_many_skipped_steps_in_a_row_stop_both,
    memory_that_runs_out_on_one_rank_cuts_the_micro_batches_of_both,
    one_ranks_failure_ends_both_and_names_the_rank,
    a_signal_to_one_rank_stops_both_after_the_same_step,
    preference_training_sums_gradients_over_ranks,
    a_resumed_pair_in_preference_training_is_bit_exact,
]


def _rank(rank: int, folder: Path, results: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    pair = Pair(join(), folder)
    found: dict[str, str] = {}
    for check in CHECKS:
        if names and check.__name__ not in names:
            continue
        try:
            check(pair)
            wrong = ""
        except BaseException:
            wrong = traceback.format_exc()
        told = pair.ranks.exchange(wrong)
        found[check.__name__] = "\n".join(f"rank {r}: {text}" for r, text in enumerate(told) if text)
        if rank == 0:
            results.write_text(json.dumps(found))
    leave()


def main(results: Path, names: list[str]) -> None:
    """Fork both ranks from this process, which has imported everything."""
    folder = Path(tempfile.mkdtemp())
    os.environ["FVLM_CACHE"] = str(folder / "cache")
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_rank, args=(rank, folder, results, names)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
