"""LoRA: low-rank factors beside the layers a recipe names, counted, saved by name, merged on export."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import small as tiny_model
import torch
import torch.nn.functional as F
from attrs import evolve
from compositions import SMALL_CONNECTORS, SMALL_ENCODER, SMALL_LLM, composed
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from trainer import go, opened, outcome, small
from transformers import AutoModel

from fvlm_core.data.batch import Batch
from fvlm_core.execution.sequential import run_folder
from fvlm_core.hf.export import release
from fvlm_core.model.build import compose
from fvlm_core.model.lora import LoRALinear, adapt, merge
from fvlm_core.model.vlm import VLM
from fvlm_core.planning.compute import count_parameters
from fvlm_core.planning.connector_trace import Tracer, on_meta
from fvlm_core.planning.disk import disk_need
from fvlm_core.planning.flops import ledger
from fvlm_core.recipes.parametrisation import LoRA
from fvlm_core.runs.store import open_run
from fvlm_core.training.optimizer import GROUPS, make_optimizer, named
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_core.weights.init_from import find_initial, load_initial
from fvlm_core.weights.restore import restore

LORA = LoRA(components=("llm",), rank=3, alpha=6.0)
EVERYWHERE = LoRA(components=("encoder", "connector", "llm"), rank=3, alpha=6.0, targets=("*",))
SETTINGS = (
    "training.lora.components=['encoder', 'llm']",
    "training.lora.rank=2",
    "training.steps=10",
    "training.lr_ratio.llm=2.0",
)


def adapted(settings: LoRA = LORA, *, moved: bool = True, **how: Any) -> VLM:
    """A small model with factors; moved: whether B is as after some training."""
    model = tiny_model.model(**how)
    adapt(model, settings, 7)
    if moved:
        with torch.no_grad():
            for layer in factored(model).values():
                layer.lora_b.weight.normal_(std=0.3)
    return model


def factored(model: nn.Module) -> dict[str, LoRALinear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}


def loss(model: VLM) -> Tensor:
    return model(tiny_model.batch([2, 0, 3], [7, 5, 9])).loss


def test_a_layer_with_factors_is_the_paper_s_formula() -> None:
    """h = W x + alpha / r B A x (Hu et al. 2021, equation 3), and its derivatives by hand, in float64."""
    layer = factored(adapted().double())["llm.model.layers.1.self_attn.q_proj"]
    x, up, own = torch.randn(4, 16).double().requires_grad_(), torch.randn(4, 16).double(), layer.state_dict()
    w, a, b = own["weight"], own["lora_a.weight"], own["lora_b.weight"]
    assert (a.shape, b.shape) == ((3, 16), (16, 3))
    expected = x @ w.T + 6 / 3 * (x @ a.T) @ b.T
    for made in (layer(x), F.linear(x, layer.weight)):
        torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-12)
        layer.zero_grad()
        found = torch.autograd.grad(made, (x, layer.lora_a.weight, layer.lora_b.weight), up)
        wanted = (up @ (w + 2 * b @ a), 2 * b.T @ up.T @ x, 2 * up.T @ (x @ a.T))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12)


def test_training_starts_from_the_model_as_it_was_and_draws_the_factors_from_the_seed_alone() -> None:
    plain, model = tiny_model.model(), adapted(moved=False)
    assert torch.equal(loss(plain), loss(model))
    before = dict(plain.named_parameters())
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)
    torch.rand(5)
    again = tiny_model.model(seed=1)
    adapt(again, LORA, 7)
    for name, layer in factored(model).items():
        assert torch.equal(layer.lora_a.weight, factored(again)[name].lora_a.weight)
        bound = (6 / (2 * 3 * layer.in_features)) ** 0.5  # Kaiming-uniform with a = sqrt(5): 1 / sqrt(in)
        assert 0.5 * bound < layer.lora_a.weight.abs().max() <= bound * 1.0001
        assert not layer.lora_b.weight.any()


def test_only_factors_of_an_adapted_component_train_and_the_others_as_before() -> None:
    model = adapted()
    loss(model).backward()
    optimizer = make_optimizer(
        model.parameter_groups(), dict.fromkeys(GROUPS, 1e-3), (0.9, 0.999), 0.01, model.decayed()
    )
    trained = set(named(optimizer))
    inside = {name for name in trained if name.startswith("llm.")}
    assert inside == {
        f"llm.model.layers.{n}.self_attn.{layer}_proj.lora_{factor}.weight"
        for n in (0, 1)
        for layer in "qv"
        for factor in "ab"
    }
    others = {name for name, _ in model.named_parameters() if not name.startswith("llm.")}
    assert others == trained - inside
    assert all(model.get_parameter(name).grad is not None for name in inside)
    assert inside <= model.decayed()
    names = {name: p.numel() for name, p in model.named_parameters()}
    counted = count_parameters(model, ("encoder",))
    assert counted.total == sum(names.values())
    assert counted.groups == {
        "connector": sum(n for name, n in names.items() if name.startswith("connector.")),
        "llm": sum(names[name] for name in inside),
    }


def test_gradients_are_those_of_the_merged_weight() -> None:
    """dL/dA = s Bᵀ dL/dW and dL/dB = s dL/dW Aᵀ, with dL/dW of an independent plain model, in float64."""
    model = adapted(EVERYWHERE).double()
    plain = adapted(EVERYWHERE).double()
    merge(plain)
    assert not factored(plain)
    plain.requires_grad_(True)
    torch.testing.assert_close(loss(model), loss(plain), rtol=1e-6, atol=1e-12)
    loss(model).backward()
    loss(plain).backward()
    for name, layer in factored(model).items():
        dense = plain.get_submodule(name).weight.grad
        if dense is None:
            assert layer.lora_a.weight.grad is None
            continue
        a, b = layer.lora_a.weight, layer.lora_b.weight
        torch.testing.assert_close(a.grad, 2 * b.T @ dense, rtol=1e-6, atol=1e-10)
        torch.testing.assert_close(b.grad, 2 * dense @ a.T, rtol=1e-6, atol=1e-10)


def test_a_layer_whose_weight_is_read_trains_all_the_same() -> None:
    head = tiny_model.llm()
    attention = nn.MultiheadAttention(16, 2, batch_first=True)  # reads out_proj.weight
    model = VLM(tiny_model.encoder(), tiny_model.model().connector, head)
    model.connector.extra = attention
    adapt(model, LoRA(components=("connector",), rank=2, targets=("*.out_proj",)), 0)
    assert set(factored(model)) == {"connector.extra.out_proj"}
    x = torch.randn(1, 3, 16)
    attention(x, x, x)[0].sum().backward()
    assert attention.out_proj.lora_b.weight.grad is not None


def test_greedy_answers_and_packed_rows_are_those_of_the_merged_model() -> None:
    model = adapted(LoRA(components=("encoder", "llm"), rank=2, targets=("*",)))
    plain = adapted(LoRA(components=("encoder", "llm"), rank=2, targets=("*",)))
    plain.load_state_dict(model.state_dict())
    merge(plain)
    frames = torch.randint(0, 256, (3, 3, 42, 42), dtype=torch.uint8)
    said = [one.eval().generate(frames, [4, 9], limit=8, end=0) for one in (model, plain)]
    assert said[0] == said[1]
    for pack in (False, True):
        model.pack = plain.pack = pack
        torch.testing.assert_close(loss(model), loss(plain), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": ("q", "vv")}, 'like "vv"'),
        ({"targets": ("q_prog",)}, 'did you mean "q_proj"?'),
        ({"components": ("connector", "llm")}, "match no linear layer of the connector"),
        ({"components": ("connector",)}, "query_input_proj, output_proj, dino_to_llm, llm_to_query"),
    ],
)
def test_a_pattern_without_a_layer_is_told_with_the_names_there_are(settings: Any, said: str) -> None:
    with pytest.raises(UsageError) as error:
        adapt(tiny_model.model(), evolve(LORA, **settings), 0)
    assert said in str(error.value)
    assert "dino_to_llm" in str(error.value) or "gate_proj" in str(error.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.lora.components=['llm', 'llm']", "none of them twice"),
        ("training.lora.rank=0", "must be >= 1"),
        ("training.lora.targets=[]", "expected one name or more"),
        ("training.lora.ranks=4", 'did you mean "rank"?'),
        ("training.frozen=['llm']", "both in frozen and in lora.components"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_recipe(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Problems) as error:
        small(tmp_path, "training.lora.alpha=8", override)
    assert said in str(error.value)


def counted(model: VLM, frames: int, text: int, frozen: tuple[str, ...]) -> tuple[float, float]:
    """Forward, and forward + backward FLOPs of a sample, counted while they run."""
    for component in frozen:
        getattr(model, component).requires_grad_(False)
    side = model.encoder.spec.image_size
    every = torch.ones(1, text, dtype=torch.bool)
    batch = Batch(
        frames=torch.zeros(frames, 3, side, side, dtype=torch.uint8),
        counts=torch.tensor([frames]),
        ids=torch.zeros(1, text, dtype=torch.int64),
        lengths=torch.tensor([text]),
        supervised=every,
        content=every,
    )
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        total = model(batch).loss
        forward = counter.get_total_flops()
        if total.requires_grad:
            total.backward()
    return forward, counter.get_total_flops()


CASES = {
    "llm": (LORA, ()),
    "llm, all else frozen": (LORA, ("encoder", "connector")),
    "late layers": (LoRA(components=("llm",), rank=2, targets=("*.1.mlp.*",)), ("encoder", "connector")),
    "encoder": (LoRA(components=("encoder",), rank=2), ()),
    "encoder, late": (LoRA(components=("encoder",), rank=2, targets=("*.1.mlp.fc1",)), ("llm",)),
    "encoder, all else frozen": (LoRA(components=("encoder",), rank=2), ("connector", "llm")),
    "everywhere": (EVERYWHERE, ()),
    "connector": (LoRA(components=("connector",), targets=("*",)), ("encoder", "llm")),
}


KINDS = ("foveated", "shallow", "pooled 16", "coarse loss")
SOME = [
    *zip(("connector", "everywhere", "late layers", "encoder"), KINDS, strict=True),
    ("encoder, all else frozen", "foveated"),
]
"""Each kind once, and a query that no gradient flows to; every case of every kind is soak."""


@pytest.mark.parametrize(("case", "connector"), SOME)
def test_ledger_is_what_is_counted(case: str, connector: str) -> None:
    check(case, connector)


@pytest.mark.soak
@pytest.mark.parametrize(("case", "connector"), [*product(CASES, KINDS)])
def test_ledger_is_what_is_counted_whatever_has_factors(case: str, connector: str) -> None:
    check(case, connector)


def check(case: str, connector: str) -> None:
    """Every pass of a sample with several frames, with one, and of text alone."""
    settings, frozen = CASES[case]
    recipe = composed(SMALL_ENCODER, SMALL_CONNECTORS[connector], {**SMALL_LLM, "depth": 2})
    tracer = Tracer.of(recipe, 500, settings)
    model = compose(recipe, 500, 0)
    adapt(model, settings, 0)
    for frames, text in ((5, 20), (1, 9), (0, 11)):
        forward, both = counted(model, frames, text, frozen)
        cost = ledger(tracer.encoder, tracer.trace(frames, frozen), tracer.llm, text=text)
        assert cost.forward == pytest.approx(forward, rel=1e-9)
        assert cost.total == pytest.approx(both, rel=1e-9)


def test_activations_made_again_are_no_part_of_the_cost() -> None:
    def total(**more: Any) -> tuple[float, float]:
        recipe = composed({**SMALL_ENCODER, **more}, SMALL_CONNECTORS["foveated"], {**SMALL_LLM, **more})
        tracer = Tracer.of(recipe, 500, LoRA(components=("encoder", "llm")))
        cost = ledger(tracer.encoder, tracer.trace(4), tracer.llm, text=20)
        return cost.total, cost.recompute

    plain, again = total(), total(checkpoint_activations=True)
    assert plain == (again[0], 0)
    assert again[1] > 0


def test_meta_model_is_planned_as_it_is_trained(tmp_path: Path) -> None:
    config = small(tmp_path, *SETTINGS).runs[0].config
    model = compose(config.model, 60, 0)
    adapt(model, config.training.lora, 0)
    planned = count_parameters(on_meta(config.model, 60, config.training.lora))
    assert planned == count_parameters(model)
    disk = disk_need(config, planned, 10)
    assert disk.checkpoint == 4 * planned.total + 8 * planned.trainable


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Recipe, data, root and outcome of a run with factors in encoder and language model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        recipe = small(tmp_path_factory.mktemp("recipe"), *SETTINGS)
        data = opened(recipe, tmp_path_factory.mktemp("none"))
        root = tmp_path_factory.mktemp("root")
        go(recipe, root, data)
        yield recipe, data, root, outcome(recipe, root)


def folder_of(trained: Any) -> Path:
    recipe, _, root, _ = trained
    return run_folder(root, recipe, recipe.runs[0])


def newest(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("step-*"))[-1] / "model.safetensors"


def test_a_run_with_factors_resumes_bit_for_bit(trained: Any, tmp_path: Path) -> None:
    recipe, data, _, undisturbed = trained
    go(recipe, tmp_path, data, at=3)
    go(recipe, tmp_path, data, die=8)
    go(recipe, tmp_path, data)
    assert outcome(recipe, tmp_path) == undisturbed


def test_checkpoints_hold_factors_by_name_and_the_weights_they_stand_beside_unmoved(trained: Any) -> None:
    recipe, *_ = trained
    run = recipe.runs[0]
    tensors = load_file(newest(folder_of(trained)))
    record = open_run(folder_of(trained)).record
    fresh = compose(run.config.model, len(tensors["llm.model.embed_tokens.weight"]), run.seed)
    before = dict(fresh.named_parameters())
    still = [n for n in before if n.startswith(("llm.", "encoder."))]
    assert all(torch.equal(tensors[name], before[name]) for name in still)
    assert tensors["llm.model.layers.0.self_attn.v_proj.lora_b.weight"].any()
    assert record["trainable_params"] < record["total_params"] == sum(t.numel() for t in tensors.values())


def test_export_is_plain_and_equal_to_the_unmerged_model(trained: Any, tmp_path: Path) -> None:
    run = open_run(folder_of(trained))
    restored = restore(run).model
    assert factored(restored)
    with torch.no_grad():  # of a few steps the difference would be small enough to hide a wrong scale
        for layer in factored(restored).values():
            assert layer.scaling == 8.0
    release(run, tmp_path / "out")
    names = load_file(tmp_path / "out" / "model.safetensors")
    assert not [name for name in names if "lora" in name]
    exported = AutoModel.from_pretrained(tmp_path / "out").vlm
    assert [name for name, _ in exported.named_parameters()] == [
        name for name, _ in restored.named_parameters() if "lora" not in name
    ]
    batch = tiny_model.batch([2, 1], [7, 5])
    for ours, theirs in zip(exported.logits(batch), restored.logits(batch), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    name = "llm.model.layers.0.self_attn.v_proj"
    moved = exported.get_parameter(f"{name}.weight") - restored.get_submodule(name)._parameters["weight"]
    assert moved.abs().max() > 1e-4


def test_a_run_that_starts_from_one_with_factors_starts_from_the_merged_weights(trained: Any) -> None:
    recipe, _, root, _ = trained
    restored = restore(open_run(folder_of(trained))).model
    vocabulary = restored.llm.spec.vocabulary
    fresh = compose(recipe.runs[0].config.model, vocabulary, 5)
    load_initial(fresh, find_initial("small/small", root))
    merge(restored)
    expected = dict(restored.named_parameters())
    for name, parameter in fresh.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-6, atol=1e-7)
    with pytest.raises(UsageError, match="expected the run itself"):
        load_initial(fresh, find_initial(str(newest(folder_of(trained))), root))
