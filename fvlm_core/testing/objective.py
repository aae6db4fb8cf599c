"""What an objective promises; see `Objective`. It is tried on a tiny model and a few samples."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.objective import ObjectiveSpec
from fvlm_core.testing.finding import Promise, expect, promises
from fvlm_core.testing.partners import ear_spec, iris_spec, tiny_vlm
from fvlm_core.testing.subject import ComponentUnderTest
from fvlm_core.training.objective import Contribution, Objective

PROMISES: list[Promise] = []
COUNTS, LENGTHS = (2, 0, 1), (9, 5, 7)
"""Frames and text tokens of each sample; the second one is text."""

VALIDATION = ("val_loss", "val_loss_content", "val_loss_by_source", "val_tokens")


class Lowered:
    """The objective under test, a model, and a batch."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    @cached_property
    def model(self) -> Any:
        """What is trained."""
        return tiny_vlm()

    @cached_property
    def made(self) -> Any:
        """The objective."""
        return self.target(self.config, self.model)

    @cached_property
    def batch(self) -> Batch:
        """Three samples, of pairs where the objective is of pairs."""
        chosen = _batch(0)
        none = chosen.frames[:0]
        worse = evolve(_batch(1), frames=none) if self.config.spec().pairs else None
        return evolve(chosen, rejected=worse)

    def gradient(self, batches: list[Batch]) -> tuple[dict[str, Tensor], list[Any]]:
        """Of the mean loss over a step that is cut into these micro-batches, and what each contributed."""
        self.model.zero_grad()
        made = [self.made.contribution(self.model, batch) for batch in batches]
        for one in made:
            one.loss.backward()
        count = sum(one.count for one in made)
        found = {n: p.grad / count for n, p in self.model.named_parameters() if p.grad is not None}
        return found, made


def _batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    side, samples, width = iris_spec().image_size, len(COUNTS), max(LENGTHS)
    shape, vocabulary = (sum(COUNTS), 3, side, side), ear_spec().vocabulary or 2
    real = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    scored = real & (torch.arange(width) > 0)
    return Batch(
        frames=torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
        counts=torch.tensor(COUNTS),
        ids=torch.randint(1, vocabulary, (samples, width), generator=generator) * real,
        lengths=torch.tensor(LENGTHS),
        supervised=scored,
        content=scored,
        sample_ids=tuple(f"check/{at}" for at in range(samples)),
    )


def prepare(subject: ComponentUnderTest) -> Lowered:
    """The objective under test."""
    return Lowered(subject)


@promises(PROMISES, "its config says what it needs", Objective, "The config class has a method")
def _spec(lowered: Lowered) -> None:
    found = lowered.config.spec()
    expect(isinstance(found, ObjectiveSpec), f"config.spec() gives {found!r}")


@promises(PROMISES, "build(config, model) makes an objective", Objective, "The component's target is")
def _build(lowered: Lowered) -> None:
    made = lowered.made
    expect(isinstance(made, Objective), f"{lowered.component.target} makes a {type(made).__name__}")


@promises(PROMISES, "a micro-batch contributes a sum", Contribution, "What a micro-batch adds to a step")
def _contributes(lowered: Lowered) -> None:
    _, [found] = lowered.gradient([lowered.batch])
    expect(isinstance(found, Contribution), f"contribution gives a {type(found).__name__}")
    expect(found.loss.shape == (), f"its loss is of shape {list(found.loss.shape)}; expected a single sum")
    expect(bool(found.loss.isfinite()), f"its loss is {found.loss.item()}")
    expect(found.count > 0, f"it counts {found.count} of {len(COUNTS)} samples with {found.tokens} tokens")
    names = lowered.made.names
    expect(
        len(found.sums) == len(names), f"{len(found.sums)} sums for {len(names)} names ({', '.join(names)})"
    )
    held = [name for name, total in zip(names, found.sums, strict=True) if total.requires_grad]
    expect(not held, f"the sum {', '.join(held)} holds the graph of its micro-batch")
    first = found.sums[0].item()
    same = math.isclose(first, found.loss.item(), rel_tol=1e-4, abs_tol=1e-6) or len(names) > 1
    expect(same, f"its only sum is {first:.6g} and its loss {found.loss.item():.6g}")


@promises(PROMISES, "cutting a step changes nothing", Objective.contribution, "so that how a")
def _cut(lowered: Lowered) -> None:
    whole, [one] = lowered.gradient([lowered.batch])
    parts, several = lowered.gradient([batch for _, batch in lowered.batch.cut(len(COUNTS))])
    count = sum(each.count for each in several)
    expect(count == one.count, f"it counts {one.count} in one micro-batch and {count} in {len(several)}")
    largest = max(grad.abs().max().item() for grad in whole.values())
    for name, grad in whole.items():
        apart = (grad - parts.get(name, torch.zeros_like(grad))).abs().max().item()
        expect(
            apart <= 1e-4 * largest,
            f"the gradient of {name} is another one in {len(several)} micro-batches, by {apart:.2g} of {largest:.2g}",
        )


@promises(PROMISES, "nothing to learn is no harm", Objective.contribution, "Where no token is supervised")
def _empty(lowered: Lowered) -> None:
    none = torch.zeros_like(lowered.batch.supervised)
    empty = evolve(lowered.batch, supervised=none, content=none)
    if empty.rejected is not None:
        empty = evolve(empty, rejected=evolve(empty.rejected, supervised=none, content=none))
    found = lowered.made.contribution(lowered.model, empty)
    expect(
        bool(found.loss.isfinite()), f"a batch without a supervised token has the loss {found.loss.item()}"
    )
    expect(found.tokens == 0, f"a batch without a supervised token has {found.tokens}")


@promises(PROMISES, "training rows have their loss", Objective.columns, "The columns of a training row")
def _columns(lowered: Lowered) -> None:
    _, [found] = lowered.gradient([lowered.batch])
    names = lowered.made.names
    means = {name: total.item() / found.count for name, total in zip(names, found.sums, strict=True)}
    row = lowered.made.columns(means)
    expect(
        row.get("train_loss") is not None, f"columns gives {', '.join(row) or 'nothing'}, and no train_loss"
    )
    expect(
        math.isclose(row["train_loss"], means[names[0]], rel_tol=1e-6),
        "train_loss is not the mean of the first sum",
    )
    empty = lowered.made.columns({})
    expect(row.keys() == empty.keys(), "where nothing was counted there are other columns")


@promises(
    PROMISES, "validation rows have their columns", Objective.validation, "The columns of a validation row"
)
def _validation(lowered: Lowered) -> None:
    with torch.no_grad():
        whole = [lowered.made.measure(lowered.model.eval(), lowered.batch, None)]
        parts = [
            lowered.made.measure(lowered.model, batch, None) for _, batch in lowered.batch.cut(len(COUNTS))
        ]
        lowered.model.train()
    row, again = lowered.made.validation(whole), lowered.made.validation(parts)
    lacking = [name for name in VALIDATION if name not in row]
    expect(not lacking, f"validation gives no {', '.join(lacking)}")
    expect(
        math.isclose(row["val_loss"], again["val_loss"], rel_tol=1e-4),
        f"val_loss is {row['val_loss']:.6g} in one batch and {again['val_loss']:.6g} sample by sample",
    )
    ids = [sample.id for each in whole for sample in each.samples]
    expect(ids == list(lowered.batch.sample_ids), f"it measures {len(ids)} samples of {len(COUNTS)}")
