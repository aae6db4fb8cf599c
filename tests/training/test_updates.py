"""Numbers of a step may be read late, at the next row of the log: nothing that is trained or recorded depends on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from attrs import evolve
from fvlm_training_optimizers.config import SGD, Muon
from torch import nn
from trainer import Watch, difference, go, opened, outcome, small

from fvlm_core.model.build import build_part
from fvlm_core.recipes.schema import Chosen, Training
from fvlm_core.training import loop
from fvlm_core.training.objective import TokenLoss
from fvlm_core.training.optimizer import GROUPS, optimizer_tensors, rate_groups
from fvlm_core.training.optimizer_step import Updates
from fvlm_core.training.parallel import Copies, summed
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.state import Progress
from fvlm_core.utils.errors import FvlmError

SPARSE = ("training.steps=12", "training.log_every=4", "eval.every=6")
Poison = Callable[..., None]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rendered clips, made once for this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Poison:
    """Micro-batches, two a step, whose loss is no number."""

    def spoil(*steps: int) -> None:
        asked = 0
        plain = TokenLoss.contribution

        def contribution(self: TokenLoss, *args: Any) -> Any:
            nonlocal asked
            asked += 1
            found = plain(self, *args)
            if (asked + 1) // 2 not in steps:
                return found
            return evolve(
                found, loss=found.loss * math.nan, sums=tuple(total * math.nan for total in found.sums)
            )

        monkeypatch.setattr(TokenLoss, "contribution", contribution)

    return spoil


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say when numbers are read, whatever the device."""
    return lambda yes: monkeypatch.setattr(loop, "late", lambda *_: yes)


@pytest.mark.parametrize("scale", [0.01, 40.0])
def test_a_step_is_that_of_the_mean_gradient_clipped_as_torch_clips_it(scale: float) -> None:
    """By plain gradient descent: Adam would hide a factor that stands before every gradient."""
    torch.manual_seed(0)
    tokens, clip = 7, 0.5
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    seen = torch.randn(tokens, 3)
    target = ours(seen).detach() + scale * torch.randn(tokens, 2)

    reference = torch.optim.SGD(theirs.parameters(), lr=1)
    (theirs(seen) - target).square().sum().div(tokens).backward()
    norm = float(nn.utils.clip_grad_norm_(theirs.parameters(), clip))
    reference.step()

    training = cast(Training, SimpleNamespace(clip=clip, non_finite="stop"))
    updates = Updates(
        torch.optim.SGD(ours.parameters(), lr=1),
        Copies(ours),
        ("loss",),
        training,
        Progress(),
        Ranks(),
        "r",
        False,
    )
    total = (ours(seen) - target).square().sum()
    names = dict(ours.named_parameters())
    gradients = dict(zip(names, torch.autograd.grad(total, names.values()), strict=True))
    updates.make(1, *summed(gradients, [total], ours, list(names), Ranks()), [total], tokens)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    assert updates.read(cast(Any, None), cast(Any, None)) == pytest.approx(norm, rel=1e-5)
    assert (norm > clip) == (scale > 1)


def updates(model: nn.Module, optimizer: torch.optim.Optimizer, **training: Any) -> Updates:
    settings = cast(
        Training, SimpleNamespace(**{"clip": 1.0, "non_finite": "stop", "max_skipped": 2, **training})
    )
    return Updates(optimizer, Copies(model), ("loss",), settings, Progress(), Ranks(), "r", False)


def step(made: Updates, model: nn.Module, number: int, loss: float) -> None:
    """A step of 4 tokens whose gradient is `loss` everywhere."""
    found = {name: torch.full_like(p, loss) for name, p in model.named_parameters()}
    total = torch.tensor(loss)
    made.make(number, *summed(found, [total], model, list(found), Ranks()), [total], 4)


class Told:
    """A journal and an observer that keep what they are told."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int]] = []

    def write(self, event_type: str, row: dict[str, Any]) -> None:
        self.rows.append((event_type, row["step"]))

    def warned(self, text: str) -> None: ...


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_is_no_number_moves_no_weight_and_no_moment(bad: float) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    made, told = updates(model, optimizer, non_finite="skip"), cast(Any, Told())
    step(made, model, 1, 1.0)
    before = [p.detach().clone() for p in model.parameters()]
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    step(made, model, 2, bad)
    assert all(map(torch.equal, before, model.parameters()))
    assert all(map(torch.equal, moments, [state["exp_avg"] for state in optimizer.state.values()]))
    step(made, model, 3, 1.0)
    assert not any(map(torch.equal, before, model.parameters()))
    made.read(told, told)
    assert told.rows == [("skipped", 2)]
    assert made.progress.unchanged == 1
    assert made.progress.window.count == 8  # tokens of the two steps that count
    assert math.isfinite(made.progress.window.means()["loss"])


class Descent(torch.optim.Optimizer):
    """As somebody else writes one: in place, with a moment and a count, and no look at what it is given."""

    def step(self, closure: Any = None) -> None:
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    state = self.state[weight]
                    moment = state.setdefault("moment", torch.zeros_like(weight))
                    state.setdefault("count", torch.zeros(())).add_(1)
                    weight.sub_(moment.mul_(0.9).add_(weight.grad), alpha=group["lr"])


def of_a_plugin(name: str, model: nn.Module) -> torch.optim.Optimizer:
    parameters: dict[str, dict[str, nn.Parameter]] = {name: {} for name in GROUPS}
    parameters["llm"].update(model.named_parameters())
    groups = rate_groups(parameters, dict.fromkeys(GROUPS, 0.1), 0.1, {"weight"})
    for group in groups:
        group["lr"] = 0.1
    if name == "descent":
        return Descent(groups, {})
    config = {"muon": Muon, "sgd": SGD}[name]()
    return build_part("optimizer", Chosen(name, f"optimizers:{name}", config), groups)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("loss", [1.0, math.nan])
@pytest.mark.parametrize("name", ["muon", "sgd", "descent"])
def test_nor_does_one_of_a_plugin_s_optimizer_whatever_it_keeps(name: str, loss: float, bad: float) -> None:
    """Of the loss, or of a single element of the gradient."""
    model = nn.Linear(3, 2)
    optimizer = of_a_plugin(name, model)
    made, told = updates(model, optimizer, non_finite="skip"), cast(Any, Told())
    step(made, model, 1, 1.0)
    before = {key: value.clone() for key, value in kept(model, optimizer).items()}
    assert len(before) > 2
    found = {key: torch.ones_like(weight) for key, weight in model.named_parameters()}
    found["bias"][1] = bad
    total = torch.tensor(loss)
    made.make(2, *summed(found, [total], model, list(found), Ranks()), [total], 4)
    after = kept(model, optimizer)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    step(made, model, 3, 1.0)
    assert not any(torch.equal(before[key], value) for key, value in kept(model, optimizer).items())
    made.read(told, told)
    assert told.rows == [("skipped", 2)]


def kept(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Weights, and the optimizer's state, by name."""
    return {**dict(model.named_parameters()), **optimizer_tensors(optimizer, lambda tensor: tensor)}


def test_a_run_stops_at_a_step_that_is_no_number_or_at_too_many_in_a_row() -> None:
    model, told = nn.Linear(3, 2), cast(Any, Told())
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    made = updates(model, optimizer)
    step(made, model, 7, math.nan)
    with pytest.raises(FvlmError, match="the loss is not finite at step 7; no weight was changed by it"):
        made.read(told, told)
    made = updates(model, optimizer, non_finite="skip")
    for number, loss in enumerate([math.nan, math.nan, 1.0, math.nan, math.nan]):
        step(made, model, number, loss)
    made.read(told, told)
    step(made, model, 5, math.nan)
    with pytest.raises(
        FvlmError, match=r"at step 5; .* nor by the 2 steps before it \(training.max_skipped\)"
    ):
        made.read(told, told)


def test_gradients_of_two_ranks_are_summed_and_one_that_only_the_other_used_is_there() -> None:
    model = nn.ParameterDict({name: nn.Parameter(torch.zeros(2)) for name in ("a", "b", "c", "idle")})
    names = [name for name, _ in model.named_parameters()]
    mine = {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor([0.5, 0.5])}
    theirs = {"b": torch.tensor([3.0, 4.0]), "c": torch.tensor([1.5, -0.5])}
    zero = torch.zeros(2)
    said = [
        torch.tensor([20.0, *(float(name in theirs) for name in names)], dtype=torch.float64),
        torch.cat([theirs.get(name, zero) for name in names if name in {**mine, **theirs}]),
    ]

    class Two(Ranks):
        """The first of two; what the other says is known."""

        def add(self, tensor: torch.Tensor) -> None:
            tensor.add_(said.pop(0))

    found, numbers = summed(dict(mine), [torch.tensor(10.0)], model, names, Two(0, 2))
    assert not said
    expected = {"a": [1.0, 2.0], "b": [3.0, 4.0], "c": [2.0, 0.0]}
    assert {name: gradient.tolist() for name, gradient in found.items()} == expected
    squares = sum(value * value for gradient in expected.values() for value in gradient)
    assert numbers.tolist() == pytest.approx([30.0, math.sqrt(squares)])


def train(tmp_path: Path, root: str, *overrides: str, **how: Any) -> tuple[dict[str, Any], Watch]:
    one = small(tmp_path, *SPARSE, *overrides)
    watch = go(one, tmp_path / root, opened(one, tmp_path / "none"), **how)
    return outcome(one, tmp_path / root), watch


def reading(patch: pytest.MonkeyPatch) -> list[int]:
    """The steps at which numbers are read from here on."""
    steps: list[int] = []
    plain = Updates.read

    def read(self: Updates, *args: Any) -> float:
        steps.append(self.progress.step)
        return plain(self, *args)

    patch.setattr(Updates, "read", read)
    return steps


@pytest.fixture(scope="module")
def read_late(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[int]]:
    """What a whole run comes to whose numbers are read late, and the steps at which they were."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "late", lambda *_: True)
        steps = reading(patch)
        return train(tmp_path_factory.mktemp("late"), "whole")[0], steps


def test_reading_late_changes_no_bit(
    tmp_path: Path, late: Callable[[bool], None], read_late: tuple[dict[str, Any], list[int]]
) -> None:
    late(False)
    assert difference(train(tmp_path, "at once")[0], read_late[0]) == ""


def test_numbers_are_read_at_rows_of_the_log_alone(
    tmp_path: Path,
    late: Callable[[bool], None],
    read_late: tuple[dict[str, Any], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_late[1] == [4, 6, 8, 12]
    late(True)
    steps = reading(monkeypatch)
    train(tmp_path, "signal", at=3)  # a checkpoint must not be ahead of the accounts
    assert steps == [3]


def test_a_bad_step_changes_nothing_and_is_told_when_it_is_read(
    tmp_path: Path, late: Callable[[bool], None], poison: Poison
) -> None:
    found: list[dict[str, Any]] = []
    for yes in (False, True):
        late(yes)
        poison(1, 6, 7)
        done, watch = train(tmp_path, f"runs-{yes}", 'training.non_finite="skip"')
        assert [text.partition(":")[0] for text in watch.said if "changed no weight" in text] == [
            f"step {step} changed no weight" for step in (1, 6, 7)
        ]
        assert done["rows"][-1]["unchanged_steps"] == 3
        found.append(done)
    assert [found[1][name] for name in ("model", "optimizer")] == [
        found[0][name] for name in ("model", "optimizer")
    ]
    rows = [sorted(map(str, one["rows"])) for one in found]  # what is told late stands later in the file
    assert rows[0] == rows[1]


def test_a_run_that_stops_at_a_bad_step_names_it_however_late(
    tmp_path: Path, late: Callable[[bool], None], poison: Poison
) -> None:
    for yes in (False, True):
        late(yes)
        poison(2)
        with pytest.raises(FvlmError, match="the loss is not finite at step 2; no weight was changed by it"):
            train(tmp_path, f"runs-{yes}")


def test_a_run_that_read_late_resumes_bit_exactly(
    tmp_path: Path, late: Callable[[bool], None], read_late: tuple[dict[str, Any], list[int]]
) -> None:
    late(True)
    train(tmp_path, "cut", at=3)
    train(tmp_path, "cut", die=9)
    assert difference(read_late[0], train(tmp_path, "cut")[0]) == ""
