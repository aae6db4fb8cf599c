"""Maximal update parametrisation: rates and logits by width, from a base that the recipe states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import widths
from small import batch
from trainer import go, opened, outcome, small
from transformers import AutoModel
from widths import BASE, ELSEWHERE, LOGITS, MUP, checked, drawn, final_loss, recipe, sizes

from fvlm_core.execution.begun import run_folder
from fvlm_core.hf.export import release
from fvlm_core.model.build import compose
from fvlm_core.model.mup import parametrise, rate_factors
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.parametrisation import MuP
from fvlm_core.recipes.resolved import flat, resolved
from fvlm_core.runs.store import open_run
from fvlm_core.training.optimizer import GROUPS, current_rates, make_optimizer
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_core.weights.init_from import check_parametrisation, find_initial
from fvlm_core.weights.restore import restore

BASE_OF_SMALL = (
    "training.parametrisation=mup",
    "training.mup.encoder={ width = 8, heads = 1 }",
    "training.mup.llm={ width = 8, mlp = 16, heads = 1 }",
)


def model_of(width: int) -> VLM:
    return compose(recipe(width), widths.VOCABULARY, 0)


def test_rates_are_those_of_the_paper_s_table() -> None:
    """Table 8 for Adam: hidden weights 1 / fan-in; input weights, biases, norms and embeddings 1; the head 1 / fan-in
    on its output."""
    model = model_of(96)
    factors = rate_factors(model, recipe(96), MUP)
    parametrise(model, recipe(96), MUP)
    assert model.logit_scale == pytest.approx(1 / 3)
    assert set(factors.values()) == {32 / 96}
    layer = "llm.model.layers.0"
    attention = {f"{layer}.self_attn.{name}_proj.weight" for name in "qkvo"}
    gated = {f"{layer}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    connector = {"query_input_proj", "output_proj", "dino_to_llm", "llm_to_query"}
    assert attention | gated | {f"connector.{name}.weight" for name in connector} <= set(factors)
    assert "encoder.dino.encoder.layer.1.mlp.fc2.weight" in factors
    still = {
        "llm.model.embed_tokens.weight",
        "llm.lm_head.weight",
        "llm.model.norm.weight",
        "encoder.dino.embeddings.patch_embeddings.projection.weight",
        "encoder.dino.embeddings.position_embeddings",
        "encoder.dino.encoder.layer.0.mlp.fc1.bias",
        "connector.q_static",
    }
    assert not still & set(factors)
    assert still <= set(dict(model.named_parameters()))


def test_only_what_has_grown_learns_more_slowly() -> None:
    only_llm = MuP(llm=MUP.llm)
    factors = rate_factors(model_of(96), recipe(96), only_llm)
    assert {name.partition(".")[0] for name in factors} == {"llm", "connector"}
    assert {name for name in factors if name.startswith("connector")} == {"connector.llm_to_query.weight"}


@pytest.mark.parametrize("tied", [True, False])
def test_a_matrix_with_as_many_rows_as_there_are_tokens_is_no_head(tied: bool) -> None:
    """At width 64 with 64 tokens: queries, outputs of attention, and of the MLP."""
    model = compose(recipe(64, tied), widths.VOCABULARY, 0)
    factors = rate_factors(model, recipe(64, tied), MUP)
    layer = "llm.model.layers.1"
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj", "mlp.up_proj"):
        assert factors[f"{layer}.{name}.weight"] == 0.5
    assert not {"llm.lm_head.weight", "llm.model.embed_tokens.weight"} & set(factors)


def test_at_the_base_width_only_the_head_begins_as_another() -> None:
    """A head that is the embedding begins as ever; one of its own at zero (appendix D.2), all else as without."""
    for tied in (True, False):
        plain = compose(recipe(BASE, tied), widths.VOCABULARY, 0)
        model = compose(recipe(BASE, tied), widths.VOCABULARY, 0, zero_head=True)
        parametrise(model, recipe(BASE, tied), MUP)
        assert rate_factors(model, recipe(BASE, tied), MUP) == {}
        before = dict(plain.named_parameters())
        other = {n for n, weight in model.named_parameters() if not torch.equal(weight, before[n])}
        assert other == (set() if tied else {"llm.lm_head.weight"})
        if not tied:
            assert not any(logits.any() for logits in model.logits(drawn(1)))
            assert plain.llm.lm_head.weight.std().item() == pytest.approx(BASE**-0.5, rel=0.05)


def test_the_optimizer_decays_as_at_the_base_and_tells_the_base_s_rates() -> None:
    model = model_of(64)
    factors = rate_factors(model, recipe(64), MUP)
    optimizer = make_optimizer(
        model.parameter_groups(),
        dict.fromkeys(GROUPS, 1e-3),
        (0.9, 0.98),
        0.1,
        model.decayed(),
        factors,
    )
    for group in optimizer.param_groups:
        group["lr"] = 0.5 * group["peak"]
        (expected,) = {factors.get(name, 1.0) for name in group["names"]}
        assert group["peak"] == pytest.approx(1e-3 * expected)
        if group["weight_decay"]:
            assert group["peak"] * group["weight_decay"] == pytest.approx(1e-4)
    assert current_rates(optimizer) == pytest.approx(dict.fromkeys((f"lr_{name}" for name in GROUPS), 5e-4))
    names = [name for group in optimizer.param_groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (
            MuP(llm={"width": 32, "mlp": 96, "heads": 8}),
            "the llm's heads have 4 channels at the base width and 8 in",
        ),
        (
            MuP(encoder={"width": 32, "heads": 4, "depth": 1}),
            "the base differs in more than width: encoder.dino",
        ),
        (MuP(llm={"widht": 32}), 'did you mean "width"?'),
        (MuP(llm={"width": 31}), "expected a multiple of 2 x heads"),
    ],
)
def test_a_base_that_is_none_is_told(base: MuP, said: str) -> None:
    with pytest.raises(UsageError) as error:
        rate_factors(model_of(64), recipe(64), base)
    assert said in str(error.value)
    assert "training.mup" in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.parametrisation=mup"], "go together"),
        (["training.mup.llm={ width = 8 }"], "go together"),
        ([*BASE_OF_SMALL, "training.mup.llm=8"], "expected a table"),
        ([*BASE_OF_SMALL, "training.mup.speaker={ width = 8 }"], "unknown key"),
        ([*BASE_OF_SMALL, "training.lora.rank=2"], "expected no mup"),
        (["training.parametrisation=mupp"], 'expected "mup"'),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_recipe(
    overrides: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(Problems) as error:
        small(tmp_path, *overrides)
    assert said in str(error.value)


def test_records_of_other_runs_know_nothing_of_it(tmp_path: Path) -> None:
    keys = flat(resolved(small(tmp_path).runs[0].config))
    assert not [key for key in keys if ".mup" in key or "lora" in key or "parametrisation" in key]


@pytest.mark.parametrize("at", [1, 10])
def test_activations_are_as_large_at_every_width(at: int, tables: Any) -> None:
    for kind in (*widths.LAYERS, LOGITS, ELSEWHERE):
        values = [tables[True][width][at][kind] for width in WIDTHS]
        assert max(values) < 2 * min(values), (kind, values)


def test_they_are_not_under_the_standard_parametrisation(tables: Any) -> None:
    grown = {kind: tables[False][WIDTHS[-1]][10][kind] / tables[False][BASE][10][kind] for kind in LATE}
    assert all(ratio > 2 for ratio in grown.values()), grown


WIDTHS = (32, 128)
LATE = ("encoder MLP", "visual tokens")


@pytest.fixture(scope="module")
def tables() -> Any:
    """Coordinates by parametrisation, width, step and kind of layer."""
    return {mup: {width: checked(width, 5e-3, mup, (1, 10)) for width in WIDTHS} for mup in (True, False)}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_activations_are_as_large_from_width_32_to_512() -> None:
    tables = {width: checked(width, 5e-3, True, (1, 10), seeds=3) for width in (32, 64, 128, 256, 512)}
    for at in (1, 10):
        for kind in (*widths.LAYERS, LOGITS, ELSEWHERE):
            values = [table[at][kind] for table in tables.values()]
            assert max(values) < 2 * min(values), (at, kind, values)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_best_rate_of_a_sweep_stays_and_moves_without() -> None:
    rates = [0.01 * 2.0**k for k in range(-4, 3)]

    def best(width: int, mup: bool) -> float:
        return min(rates, key=lambda rate: sum(final_loss(width, rate, mup, 120, seed) for seed in range(3)))

    base = best(BASE, True)
    assert [best(width, True) for width in (64, 128)] == [base, base]
    assert best(128, False) < base / 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Recipe, data, root and outcome of a run twice as wide as its base."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = small(tmp_path_factory.mktemp("recipe"), *BASE_OF_SMALL, "training.steps=10")
        data = opened(made, tmp_path_factory.mktemp("none"))
        root = tmp_path_factory.mktemp("root")
        go(made, root, data)
        yield made, data, root, outcome(made, root)


def test_a_run_resumes_bit_for_bit(trained: Any, tmp_path: Path) -> None:
    made, data, _, undisturbed = trained
    go(made, tmp_path, data, at=3)
    go(made, tmp_path, data)
    assert outcome(made, tmp_path) == undisturbed


def test_weights_come_back_and_go_out_with_their_scale(trained: Any, tmp_path: Path) -> None:
    made, _, root, _ = trained
    run = open_run(run_folder(root, made, made.runs[0]))
    restored = restore(run).model
    assert restored.logit_scale == 0.5
    release(run, tmp_path / "out")
    exported = AutoModel.from_pretrained(tmp_path / "out").vlm
    shown = batch([2, 1], [7, 5])
    for ours, theirs in zip(exported.logits(shown), restored.logits(shown), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["logit_scale"] == 0.5


def test_a_run_s_own_head_begins_at_zero(trained: Any, tmp_path: Path) -> None:
    """After one step of AdamW no weight of it is further from there than the rate. Without the table it is drawn."""
    data = trained[1]
    for overrides, still in ((BASE_OF_SMALL, True), ((), False)):
        made = small(tmp_path, *overrides, "model.llm.tied=false", "training.steps=1", "training.warmup=0")
        go(made, tmp_path / str(still), data)
        model = restore(open_run(run_folder(tmp_path / str(still), made, made.runs[0]))).model
        rate = made.runs[0].config.training.lr
        assert (model.llm.lm_head.weight.abs().max() <= 1.01 * rate) == still


def test_weights_of_a_run_go_on_under_its_own_scale_alone(trained: Any) -> None:
    made, _, root, _ = trained
    initial = find_initial("small/small", root)
    check_parametrisation(initial, made.runs[0].config.training.mup)
    with pytest.raises(UsageError, match="expected the same here, got None"):
        check_parametrisation(initial, None)


def test_sizes_of_the_family_keep_their_heads() -> None:
    assert {sizes(width)["llm"]["heads"] * widths.HEAD for width in (32, 512)} == {32, 512}
