"""The memory of a plan: what it says a step needs against what tiny models are seen to hold, and what follows."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import CONNECTORS, batch, connected, model
from tiny import RECIPE, run_cli, trained
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fvlm_core.hardware.gpus import find_gpu, recognise
from fvlm_core.model.lora import adapt
from fvlm_core.model.vlm import LOGITS_AT_ONCE, VLM
from fvlm_core.planning.activation_memory import LargestMicroBatch
from fvlm_core.planning.compute import count_parameters
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.memory import GIB, Memory, Trained, training_memory
from fvlm_core.planning.memory_fit import Capacity
from fvlm_core.planning.plan import PlannedDevice, plan
from fvlm_core.recipes.parametrisation import LoRA
from fvlm_core.recipes.parent import parentage
from fvlm_core.recipes.read import read_recipe

SAMPLES, FRAMES, TEXT = 4, 4, 24
EYE = {"width": 48, "depth": 3, "heads": 4}
SPEAKER = {"width": 64, "mlp": 160, "depth": 3, "heads": 4, "kv_heads": 2}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small tensors gain nothing from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Living(TorchDispatchMode):
    """Counts the bytes of the tensors that live, those of `known` left out, and the most there ever were.

    A storage keeps its Python object while it lives, so that a weak reference says when it is freed.
    """

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known = known
        self.living: dict[int, weakref.ref[Any]] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _note(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self.living or storage.data_ptr() in self.known:
            return

        def freed(_: Any) -> None:
            del self.living[key]
            self.now -= size

        self.living[key] = weakref.ref(storage, freed)
        self.now += size


def held(vlm: VLM, bf16: bool) -> tuple[int, int, int]:
    """Bytes after the forward pass, and at the peak of both passes; supervised tokens. Gradients were there."""
    data = batch([FRAMES] * SAMPLES, [TEXT] * SAMPLES)
    vlm(data).loss.backward()
    known = {p.untyped_storage().data_ptr() for p in vlm.parameters()}
    known |= {p.grad.untyped_storage().data_ptr() for p in vlm.parameters() if p.grad is not None}
    with Living(known) as living:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = vlm(data)
        kept = living.now
        losses.loss.backward()
    return kept, living.peak, losses.tokens


def predicted(
    vlm: VLM,
    bf16: bool,
    labels: int,
    frozen: tuple[str, ...] = (),
    chunk: int = LOGITS_AT_ONCE,
    plain: int | None = None,
    adapted: tuple[str, ...] = (),
) -> Memory:
    counts, groups = count_parameters(vlm).components, count_parameters(vlm).groups
    factors = {name: groups[name] for name in adapted}
    shown = vlm.connector.spec.shown(FRAMES)
    positions = SAMPLES * (shown * vlm.connector.spec.tokens_per_frame + TEXT)
    frames, followed = SAMPLES * shown, SAMPLES * (shown - 1)
    micro = LargestMicroBatch(
        samples=SAMPLES, frames=frames, followed=followed, positions=positions, labels=labels
    )
    eye, speaker = vlm.encoder.spec, vlm.llm.spec
    connector = Tracer(eye, vlm.connector, speaker).trace(FRAMES)
    return training_memory(
        eye, connector, speaker, Trained(parameters=counts, frozen=frozen, factors=factors), micro, micro,
        autocast=bf16, chunk=chunk, plain=plain, device="cpu",
    )  # fmt: skip


def dynamic(memory: Memory) -> float:
    """The peak without what is there before a micro-batch begins."""
    return memory.training - memory.weights - memory.optimizer - memory.runtime - memory.gradients


KINDS: dict[str, dict[str, Any]] = {
    "deep": {},
    "shallow": {"depth": "shallow"},
    "coarse_only": {"mode": "coarse_only"},
    "pooled": {"pooled": 3},
    "coarse loss": {"lambda_coarse": 0.5},
}


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_plan_says_what_a_forward_pass_keeps(kind: str, bf16: bool) -> None:
    vlm = model(encoder_changes=EYE, llm_changes=SPEAKER, **KINDS[kind])
    kept, peak, labels = held(vlm, bf16)
    memory = predicted(vlm, bf16, labels)
    assert memory.kept == pytest.approx(kept, rel=0.05)
    assert dynamic(memory) == pytest.approx(peak, rel=0.1)


def test_plan_knows_that_the_last_frame_of_a_sample_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SAMPLES", 12), ("FRAMES", 1), ("TEXT", 3)):
        monkeypatch.setitem(globals(), name, value)
    vlm = model(encoder_changes={**EYE, "depth": 1}, llm_changes={**SPEAKER, "depth": 12})
    kept, _, labels = held(vlm, bf16=False)
    assert predicted(vlm, False, labels).kept == pytest.approx(
        kept, rel=0.05
    )  # a visual pass would be a fifth


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("kind", ["deep", "shallow", "pooled"])
def test_plan_says_the_peak_where_activations_are_made_again(kind: str, bf16: bool) -> None:
    again = {"checkpoint_activations": True}
    vlm = model(encoder_changes=EYE | again, llm_changes=SPEAKER | again, **KINDS[kind])
    _, peak, labels = held(vlm, bf16)
    memory = predicted(vlm, bf16, labels)
    assert dynamic(memory) == pytest.approx(peak, rel=0.25)
    plain = predicted(model(encoder_changes=EYE, llm_changes=SPEAKER, **KINDS[kind]), bf16, labels)
    assert dynamic(memory) < 0.7 * dynamic(plain)


@pytest.mark.parametrize(
    ("frozen", "wide"), [(("encoder",), 1), (("llm",), 2), (("encoder", "llm"), 1)], ids=str
)
def test_frozen_parts_keep_less(frozen: tuple[str, ...], wide: int) -> None:
    eye, speaker = EYE | {"width": 48 * wide}, SPEAKER | {"width": 64 * wide, "mlp": 160 * wide}
    vlm = model(encoder_changes=eye, llm_changes=speaker)
    for component in frozen:
        for parameter in vlm.parameter_groups()[component].values():
            parameter.requires_grad_(False)
    kept, _, labels = held(vlm, True)
    assert predicted(vlm, True, labels, frozen).kept == pytest.approx(kept, rel=0.15)


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("adapted", [("llm",), ("encoder", "llm")], ids=str)
def test_parts_with_low_rank_factors_need_no_more_than_planned(adapted: Any, bf16: bool) -> None:
    vlm = model(encoder_changes=EYE, llm_changes=SPEAKER)
    adapt(vlm, LoRA(components=adapted, rank=2, targets=("*",)), 0)
    kept, peak, labels = held(vlm, bf16)
    memory = predicted(vlm, bf16, labels, adapted=adapted)
    assert kept <= memory.kept < 1.3 * kept
    assert peak <= dynamic(memory) < 1.3 * peak
    trained = count_parameters(vlm).trainable
    assert (memory.optimizer, memory.gradients) == (8 * trained, 4 * trained)


@pytest.mark.parametrize("frozen", [(), ("encoder",)], ids=str)
def test_plan_knows_the_gradients_of_a_tied_embedding(
    frozen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is most of the model, and few labels: its gradient of the text, that of the head, and their sum."""
    monkeypatch.setattr("small.VOCABULARY", 20_000)
    for name, value in (("SAMPLES", 2), ("FRAMES", 2), ("TEXT", 5)):
        monkeypatch.setitem(globals(), name, value)
    vlm = model(encoder_changes=EYE, llm_changes={**SPEAKER, "depth": 12})
    for component in frozen:
        for parameter in vlm.parameter_groups()[component].values():
            parameter.requires_grad_(False)
    _, peak, labels = held(vlm, bf16=False)
    assert dynamic(predicted(vlm, False, labels, frozen)) == pytest.approx(peak, rel=0.05)


def test_logits_that_are_made_twice_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvlm_core.model.vlm.LOGITS_AT_ONCE", 500)
    vlm = model(encoder_changes=EYE, llm_changes=SPEAKER)
    kept, _, labels = held(vlm, False)
    memory = predicted(vlm, False, labels, chunk=500)
    assert memory.kept == pytest.approx(kept, rel=0.05)
    assert memory.kept < predicted(vlm, False, labels).kept


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("kind", ["deep", "coarse loss"])
def test_plan_knows_the_head_whose_gradients_come_with_its_losses(
    kind: str, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is most of the model, so that the gradient of the head's weight shows."""
    monkeypatch.setattr("small.VOCABULARY", 4_000)
    monkeypatch.setattr("fvlm_core.model.vlm.PLAIN_LOGITS", 0)
    monkeypatch.setattr("fvlm_core.model.head.CHUNK_BYTES", 4 * 50_000)
    monkeypatch.setattr("fvlm_core.model.head._IN_CACHE", 4_000)
    vlm = model(encoder_changes=EYE, llm_changes=SPEAKER, **KINDS[kind])
    kept, peak, labels = held(vlm, bf16)
    memory = predicted(vlm, bf16, labels, chunk=50_000, plain=0)
    assert memory.kept == pytest.approx(kept, rel=0.05)
    assert dynamic(memory) == pytest.approx(peak, rel=0.1)


def test_weights_gradients_and_moments_are_counted_exactly() -> None:
    vlm = model()
    counts = count_parameters(vlm)
    memory = predicted(vlm, False, 10, frozen=("encoder",))
    assert memory.weights == 4 * counts.total
    assert memory.optimizer == 8 * (counts.total - counts.components["encoder"])
    assert memory.gradients == memory.optimizer / 2


def test_published_peaks_of_a_cpu_are_met(root: Path) -> None:
    """`docs/measurements/model_cost.md`: 2 samples of 8 frames and 512 tokens, float32, one micro-batch a step."""
    overrides = ["training.batch_size=2", "training.micro_batch_size=2", "training.precision=float32"]
    overrides += ["data.max_text_tokens=512", "eval.batch_size=2"]
    again = [f"model.{part}.checkpoint_activations=true" for part in ("encoder", "llm")]
    for changes, measured in ((overrides, 5.56), (overrides + again, 3.63)):
        (planned,) = plan(read_recipe(str(root / "recipes" / "phase1b_135m.toml"), changes))
        if "assumed" not in planned.lengths_from or planned.need.capacity.kind != "cpu":
            pytest.skip("the figures are of a CPU and of no data")
        assert planned.need.capped / GIB == pytest.approx(measured, rel=0.1)


@pytest.fixture(scope="module")
def largest(root: Path) -> Any:
    recipe = read_recipe(str(root / "recipes" / "phase1b_1.7b.toml"), ["training.micro_batch_size=8"])
    return plan(recipe, PlannedDevice(find_gpu("RTX 5090"), 0.4))[0]


def test_largest_size_does_not_fit_the_founding_card(largest: Any) -> None:
    need = largest.need
    assert not need.fits
    assert need.memory.total > need.capacity.memory == 32 * GIB
    changes = {alternative.change: alternative for alternative in need.alternatives}
    assert any("fsdp2" in change and alternative.fits for change, alternative in changes.items())
    assert "what would fit" in str(need)


def test_suggestion_needs_what_a_plan_of_it_needs(largest: Any, root: Path) -> None:
    (single,) = [a for a in largest.need.alternatives if a.change == "training.micro_batch_size = 1"]
    recipe = read_recipe(str(root / "recipes" / "phase1b_1.7b.toml"), ["training.micro_batch_size=1"])
    (planned,) = plan(recipe, PlannedDevice(find_gpu("RTX 5090")))
    assert single.memory == planned.need.memory.total
    assert not planned.need.fits


def test_stated_utilisation_gives_the_time(largest: Any) -> None:
    training = largest.flops / (find_gpu("RTX 5090").bf16 * 0.4)
    assert training < largest.seconds < 1.2 * training
    assert "x 0.4" in largest.speed


def test_gpus_are_known_by_any_spelling_and_parts_of_them_are_not() -> None:
    assert find_gpu("nvidia geforce rtx-5090") is find_gpu("RTX 5090")
    assert recognise("NVIDIA H100 80GB HBM3") is find_gpu("H100")
    assert recognise("NVIDIA GeForce RTX 4090 Laptop GPU") is None
    with pytest.raises(Exception, match=r"expected one of .*H100.*RTX 5090"):
        find_gpu("RTX 9999")


@pytest.fixture
def cramped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe on a machine with less memory than Python takes."""
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "fvlm_core.planning.plan.capacity_here", lambda device: Capacity("this machine", "cpu", 0.5 * GIB)
    )
    file = tmp_path / "tiny.toml"
    file.write_text(RECIPE)
    return file


def test_run_that_cannot_fit_is_refused_and_can_be_forced(
    cramped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(cramped), "--runs", str(cramped.parent / "runs"), "-o", "training.steps=1"]
    code, out, _ = run_cli([*arguments, "--dry-run"], monkeypatch, capsys)
    assert (code, "CANNOT FIT" in out) == (0, True)
    code, _, err = run_cli(arguments, monkeypatch, capsys)
    assert code == 1
    assert "tiny needs" in err
    assert "training.micro_batch_size = 1" in err
    assert "--force" in err
    assert not list((cramped.parent / "runs").rglob("recipe.json"))
    code, _, _ = run_cli([*arguments, "--force"], monkeypatch, capsys)
    assert code == 0
    code, out, _ = run_cli(arguments, monkeypatch, capsys)  # what is complete needs no memory
    assert (code, "already complete" in out) == (0, True)


def test_plan_as_json_says_memory_disk_and_what_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(root / "recipes" / "phase1b_360m.toml")
    arguments = ["run", file, "--dry-run", "--json", "--device", "rtx5090", "-o", "eval.every=100"]
    code, out, _ = run_cli(arguments, monkeypatch, capsys)
    shown = json.loads(out)
    assert code == 0
    assert Path(shown["parent"]).name == "_phase1b.toml"
    (run,) = shown["runs"]
    changed = {change["key"]: (change["before"], change["after"]) for change in run["changes"]}
    assert changed["model.llm.name"] == ("smollm2-135m", "smollm2-360m")
    assert changed["eval.every"] == (250, 100)  # what was overridden is a change, too
    memory = run["plan"]["need"]["memory"]
    parts = ("weights", "gradients", "optimizer", "copies", "keys_values", "working", "runtime")
    assert sum(memory[part] for part in parts) + sum(memory["activations"].values()) == memory["training"]
    assert run["plan"]["need"]["fits"] is True
    assert run["plan"]["disk"]["checkpoint"] == 12 * 384_912_384


def test_options_of_a_plan_need_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    code, _, err = run_cli(["run", str(tmp_path / "tiny.toml"), "--mfu", "0.4"], monkeypatch, capsys)
    assert (code, "--mfu goes with --dry-run" in err) == (2, True)


def test_runs_of_a_file_without_a_parent_are_compared_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(RECIPE + "[ablate]\nlonger = { training.steps = 9 }\n")
    family = parentage(read_recipe(str(file)))
    assert family.runs["baseline"] == ()
    assert [str(difference) for difference in family.runs["longer"]] == ["training.steps: 6 -> 9"]


def test_disk_is_what_a_run_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(folder / "cache"))
    (planned,) = plan(read_recipe(str(folder / "tiny.toml")))
    found = sorted((folder / "runs" / "tiny" / "tiny" / "checkpoints").glob("step-*"))
    tensors = sum(file.stat().st_size for file in found[-1].glob("*.safetensors"))
    names = 64 * 1024  # the tensors' names, which are most of so small a file
    assert planned.disk.checkpoint <= tensors <= planned.disk.checkpoint + names
    assert len(found) <= planned.disk.checkpoints


@pytest.mark.parametrize("name", sorted(CONNECTORS))
def test_plan_says_what_any_connector_keeps(name: str) -> None:
    vlm = connected(name, encoder_changes=EYE, llm_changes=SPEAKER)
    kept, peak, labels = held(vlm, bf16=False)
    memory = predicted(vlm, False, labels)
    assert memory.kept == pytest.approx(kept, rel=0.05)
    assert dynamic(memory) == pytest.approx(peak, rel=0.1)
