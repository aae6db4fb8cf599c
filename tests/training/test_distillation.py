"""Distillation: the loss is its formula, the teacher stays as it is, and what it costs is counted."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from fvlm_training_objectives.config import Distillation
from fvlm_training_objectives.distillation import DistillationLoss, build
from safetensors.torch import load_file, save_file
from small import batch, model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from trainer import TEXT, Watch, go, opened, outcome, small

from fvlm_core.execution.jobs import earlier_runs
from fvlm_core.execution.sequential import run_all, run_folder
from fvlm_core.model import vlm as vlm_module
from fvlm_core.recipes.read import read_recipe
from fvlm_core.runs.attempts import read_attempts
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.training.signals import StopRequest
from fvlm_core.utils.errors import UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield opened(small(tmp_path_factory.mktemp("recipe")), tmp_path_factory.mktemp("none"))


@pytest.mark.parametrize("chunk", [1 << 24, 60])
def test_the_loss_and_its_gradients_are_the_formula_s(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hinton et al. (2015), section 2, from whole probabilities, label by label; all of it in float64. A chunk of 60
    logits is one label at a time."""
    monkeypatch.setattr(vlm_module, "LOGITS_AT_ONCE", chunk)
    student, teacher = model(seed=1).double(), model(seed=2).double().eval().requires_grad_(False)
    settings = Distillation(teacher="none", weight=0.3, temperature=2.0)
    objective = DistillationLoss(
        settings, student.connector.spec.auxiliary, teacher.predicting, teacher.llm.logits
    )
    given = batch([2, 0, 1], [9, 5, 7])
    made = objective.contribution(student, given)
    made.loss.backward()
    grads = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()

    (hidden, places), (taught, _) = student.predicting(given), teacher.predicting(given)
    labels = given.ids.flatten()[places]
    logits, theirs = student.llm.logits(hidden), teacher.llm.logits(taught)
    q, p = ((each / 2).exp() / (each / 2).exp().sum(-1, keepdim=True) for each in (logits, theirs))
    apart = (p * (p / q).log()).sum(-1)
    right = (logits.exp() / logits.exp().sum(-1, keepdim=True))[torch.arange(len(labels)), labels]
    wanted = (0.3 * 4 * apart - 0.7 * right.log()).sum()
    fine, divergence = made.sums[0], made.sums[1]
    assert fine.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert divergence.item() == pytest.approx(apart.sum().item(), rel=1e-12)
    assert made.count == made.tokens == len(labels)
    wanted.backward()
    assert {name for name, each in student.named_parameters() if each.grad is not None} == set(grads)
    for name, found in grads.items():
        torch.testing.assert_close(found, student.get_parameter(name).grad, rtol=1e-6, atol=1e-12, msg=name)


def test_a_run_teaches_another_which_resumes_to_the_bit(data: Any, tmp_path: Path) -> None:
    teacher = small(tmp_path / "teacher", "training.steps=4", "eval.every=2", "model.llm.width=32")
    go(teacher, tmp_path / "teacher", data)
    folder = run_folder(tmp_path / "teacher", teacher, teacher.runs[0])
    before = load_file(next((folder / "checkpoints").glob("step-*")) / "model.safetensors")
    objective = f"training.objective={{ name = 'distillation', teacher = '{folder}' }}"
    recipe = small(tmp_path, "training.steps=6", "eval.every=3", objective)
    watch = go(recipe, tmp_path / "whole", data)
    go(recipe, tmp_path / "cut", data, at=2)
    go(recipe, tmp_path / "cut", data, die=5)
    go(recipe, tmp_path / "cut", data)
    assert outcome(recipe, tmp_path / "cut") == outcome(recipe, tmp_path / "whole")
    assert all(row["loss_teacher"] > 0 for row in watch.rows)
    after = load_file(next((folder / "checkpoints").glob("step-*")) / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_language_model_of_hugging_face_teaches_the_text(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(3)
    theirs = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes)).eval()
    theirs.save_pretrained(tmp_path / "llm")
    student, given = model(seed=1), batch([2, 0, 1], [9, 5, 7])
    objective = build(Distillation(teacher=str(tmp_path / "llm"), weight=1.0), student)
    divergence = objective.contribution(student, given).sums[1]
    hidden, places = student.predicting(given)
    own = student.llm.logits(hidden).log_softmax(-1)
    wanted = 0.0
    for at, place in enumerate(places.tolist()):
        row, column = divmod(place, given.ids.shape[1])
        if column:
            seen = theirs(given.ids[row : row + 1, :column]).logits[0, -1].log_softmax(-1)
            wanted += (seen.exp() * (seen - own[at])).sum().item()
    assert divergence.item() == pytest.approx(wanted, rel=1e-4)
    small_vocabulary = LlamaForCausalLM(LlamaConfig(vocab_size=49, **sizes))
    small_vocabulary.save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="its vocabulary is 49 and the student's 50"):
        build(Distillation(teacher=str(tmp_path / "other")), student)


def test_a_teacher_that_is_not_there_is_named_before_anything_trains(data: Any, tmp_path: Path) -> None:
    recipe = small(tmp_path, "training.objective={ name = 'distillation', teacher = 'nowhere/96' }")
    with pytest.raises(
        UsageError, match=r'training\.objective: no run folder .* called "nowhere/96".*train that run'
    ):
        opened(recipe, tmp_path)


def test_a_run_of_the_same_recipe_teaches_the_next(data: Any, tmp_path: Path) -> None:
    """By its name in the store, whether it is trained by then or not yet."""
    file = tmp_path / "two.toml"
    taught = 'training.objective = { name = "distillation", teacher = "two/teacher" }\n'
    file.write_text(
        TEXT.replace('name = "small"', 'name = "two"', 1)
        + f'[[runs]]\nid = "teacher"\nmodel.llm.width = 32\n[[runs]]\nid = "student"\n{taught}'
    )
    recipe = read_recipe(str(file), ["training.steps=2", "eval.every=2"])
    by_run = {run.id: data["small"] for run in recipe.runs}
    assert earlier_runs(recipe, recipe.runs[1], tmp_path) == ("teacher",)
    opened(recipe, tmp_path)
    go(recipe, tmp_path, by_run)
    rows = read_metrics(tmp_path / "two" / "student" / "metrics.jsonl")
    assert all(row["loss_teacher"] > 0 for row in rows if row["event_type"] == "train")


def test_the_ledger_counts_the_teacher(data: Any, tmp_path: Path) -> None:
    """Forward FLOPs of a step against torch's counter."""
    from fvlm_core.data.lengths import SampleLengths
    from fvlm_core.planning.compute import _taught
    from fvlm_core.planning.connector_trace import Tracer

    teacher = model(seed=2).eval().requires_grad_(False)
    given = batch([3], [9], supervise=1.0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        hidden, places = teacher.predicting(given)
        teacher.llm.logits(hidden)
    tracer = Tracer(teacher.encoder.spec, teacher.connector, teacher.llm.spec)
    sample = SampleLengths(frames=3, text=9, supervised=len(places))
    assert sum(row.forward for row in _taught(tracer, sample)) == pytest.approx(
        counter.get_total_flops(), rel=1e-9
    )
    assert all(row.backward == 0 for row in _taught(tracer, sample))


def test_another_teacher_than_the_one_a_run_began_with_is_refused(data: Any, tmp_path: Path) -> None:
    teacher = small(tmp_path / "teacher", "training.steps=2", "eval.every=2")
    go(teacher, tmp_path / "teacher", data)
    folder = run_folder(tmp_path / "teacher", teacher, teacher.runs[0])
    objective = f"training.objective={{ name = 'distillation', teacher = '{folder}' }}"
    recipe = small(tmp_path, "training.steps=4", "eval.every=2", objective)
    go(recipe, tmp_path, data, at=2)
    [weights] = folder.glob("checkpoints/step-*/model.safetensors")
    tensors = load_file(weights)
    save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, weights)
    manifest = weights.with_name("manifest.json")
    told = json.loads(manifest.read_text())
    told["sha256"]["model.safetensors"] = sha256(weights.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(told))
    with pytest.raises(UsageError, match="reads other weights than when the run began"):
        go(recipe, tmp_path, data)


def test_another_teacher_is_an_accepted_change_or_none(data: Any, tmp_path: Path) -> None:
    objectives: list[str] = []
    for name in ("first", "second"):
        teacher = small(tmp_path / name, "training.steps=2", "eval.every=2", f"training.seed={len(name)}")
        go(teacher, tmp_path / name, data)
        folder = run_folder(tmp_path / name, teacher, teacher.runs[0])
        objectives.append(f"training.objective={{ name = 'distillation', teacher = '{folder}' }}")
    length = ("training.steps=4", "eval.every=2")
    begun, other = (small(tmp_path, *length, objective) for objective in objectives)
    go(begun, tmp_path, data, at=2)
    folder = run_folder(tmp_path, begun, begun.runs[0])
    before = json.loads((folder / "recipe.json").read_text())["reads"]
    with pytest.raises(UsageError, match=r"--allow-drift training\.objective\.teacher"):
        go(other, tmp_path, data)
    assert json.loads((folder / "recipe.json").read_text())["reads"] == before
    assert read_metrics(folder / "metrics.jsonl")[-1]["step"] == 2

    stop = StopRequest()
    run_all(other, tmp_path, data, Watch(stop), stop, ("training.objective",), None)
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if row["event_type"] == "train"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert json.loads((folder / "recipe.json").read_text())["reads"] != before
    assert [change["key"] for change in read_attempts(folder)[-1]["drift"]] == ["training.objective.teacher"]
    go(other, tmp_path, data)  # complete, under the teacher that was accepted
