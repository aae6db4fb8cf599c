"""Building: exact sizes, determinism, weights from folders, transformers' own numbers, errors that help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fvlm_dinov2.blocks import Dinov2
from fvlm_dinov2.config import DINOv2
from fvlm_foveated.config import Foveated
from fvlm_foveated.model import build as build_foveated
from fvlm_smollm2.blocks import Llama
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.model import LlamaBackend
from small import SIDE, VOCABULARY, batch, encoder, llm, model
from transformers import Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM, LlamaModel

from fvlm_core.model import vlm as composed
from fvlm_core.model.vlm import VLM
from fvlm_core.utils.errors import MissingWeights, UsageError
from fvlm_registry import registry

CLIPS = batch([3, 0, 2], [6, 8, 4])


def preset(kind: Any, name: str, **changes: Any) -> tuple[Any, Any]:
    """A registered component's build function and its config with the preset's values."""
    found = registry()
    component = found.find(kind, name).component
    return found.load(component.target), found.load(component.config)(**{**component.preset, **changes})


def published(size: str, **changes: Any) -> VLM:
    """DINOv2-small + SmolLM2 of a size, on the meta device."""
    with torch.device("meta"):
        build_encoder, encoder_config = preset("encoder", "dinov2-small")
        build_llm, llm_config = preset("llm", f"smollm2-{size}")
        eye, speaker = build_encoder(encoder_config), build_llm(llm_config, 49_152)
        return VLM(eye, build_foveated(Foveated(**changes), eye.spec, speaker.spec), speaker)


def count(parameters: dict[str, torch.nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())


@pytest.mark.parametrize(
    ("size", "total", "new", "language"),
    [
        ("135m", 157_310_976, 739_392, 134_515_008),
        ("360m", 384_912_384, 1_034_688, 361_821_120),
        ("1.7b", 1_735_304_320, 1_871_360, 1_711_376_384),
    ],
)
def test_parameters_are_the_published_ones_to_the_last(
    size: str, total: int, new: int, language: int
) -> None:
    vlm = published(size)
    groups = {name: count(parameters) for name, parameters in vlm.parameter_groups().items()}
    assert groups == {"connector": new, "encoder": 22_056_576, "llm": language}
    assert sum(parameter.numel() for parameter in vlm.parameters()) == total
    assert all(parameter.requires_grad for parameter in vlm.parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    [("small", 22.056576), ("base", 86.580480), ("large", 304.368640), ("giant", 1136.480768)],
)
def test_every_published_encoder_builds(name: str, millions: float) -> None:
    with torch.device("meta"):
        build, config = preset("encoder", f"dinov2-{name}")
        assert sum(parameter.numel() for parameter in build(config).parameters()) == round(millions * 1e6)


def test_every_new_projection_is_the_connectors() -> None:
    names = set(model().parameter_groups()["connector"])
    projections = ("query_input_proj", "output_proj", "dino_to_llm", "llm_to_query")
    expected = {f"connector.{name}.{part}" for name in projections for part in ("weight", "bias")}
    expected |= {"connector.q_static", "connector.q_init"}
    assert names == expected - {"connector.query_input_proj.bias"}
    assert set(model(query_bias=True).parameter_groups()["connector"]) == expected


def test_weights_are_a_function_of_the_seed() -> None:
    one, same, other = (model(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert not torch.equal(one["llm.model.embed_tokens.weight"], other["llm.model.embed_tokens.weight"])


def test_seeded_linear_maps_have_unit_gain_and_embeddings_the_size_of_visual_tokens() -> None:
    torch.manual_seed(0)
    eye = encoder(width=256, depth=1, heads=4)
    speaker = llm(width=256, mlp=512, depth=1)
    connector = build_foveated(Foveated(query_dim=256), eye.spec, speaker.spec)
    for part in (eye, speaker, connector):
        for module in part.modules():
            if isinstance(module, torch.nn.Linear):
                assert module.weight.std().item() * module.in_features**0.5 == pytest.approx(1, abs=0.02)
                assert module.bias is None or not module.bias.any()
    assert speaker.model.embed_tokens.weight.std().item() == pytest.approx(0.14, abs=0.005)


def test_components_weights_stay_float32_under_autocast() -> None:
    vlm = model()
    streams: set[torch.dtype] = set()
    vlm.llm.get_submodule("model.layers.1.mlp").register_forward_pre_hook(
        lambda _, given: streams.add(given[0].dtype)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = vlm(CLIPS)
    assert streams == {torch.float32}
    losses.loss.backward()
    exact = vlm(CLIPS)
    assert {parameter.dtype for parameter in vlm.parameters()} == {torch.float32}
    assert {parameter.grad.dtype for parameter in vlm.parameters() if parameter.grad is not None} == {
        torch.float32
    }
    assert losses.loss.dtype == torch.float32
    torch.testing.assert_close(losses.loss, exact.loss, rtol=0.05, atol=0)


def eager(folder: Path, kind: Any, config: Any) -> Any:
    """A model of transformers with weights far from their defaults, saved in `folder`."""
    torch.manual_seed(1)
    made = kind(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    made.save_pretrained(folder)
    return made


DINO: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 14}


@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("position_size", [SIDE, 98])
def test_the_encoder_is_transformers_with_weights_from_a_folder(
    tmp_path: Path, swiglu: bool, position_size: int
) -> None:
    config = Dinov2Config(**DINO, image_size=position_size, use_swiglu_ffn=swiglu, mlp_ratio=2)
    theirs = eager(tmp_path, Dinov2Model, config)
    torch.manual_seed(0)
    build, ours_config = preset("encoder", "dinov2", weights=str(tmp_path), image_size=SIDE)
    ours = build(ours_config)
    ours.load_weights()
    frames = torch.randn(3, 3, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(frames).tokens, theirs(frames).last_hidden_state)
    assert (ours.spec.width, ours.spec.depth, ours.spec.heads, ours.spec.patch_grid) == (24, 2, 3, (3, 3))


@pytest.mark.parametrize("tied", [False, True])
def test_the_language_model_is_transformers_with_weights_from_a_folder(tmp_path: Path, tied: bool) -> None:
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied, rope_parameters={"rope_type": "default", "rope_theta": 5e4},
    )  # fmt: skip
    theirs = eager(tmp_path, LlamaForCausalLM, config)
    build, ours_config = preset("llm", "smollm2", weights=str(tmp_path))
    assert ours_config.spec().vocabulary == 40
    ours = build(ours_config, 40)
    ours.load_weights()
    ids = torch.randint(0, 40, (2, 9))
    with torch.no_grad():
        expected = theirs(ids).logits
        torch.testing.assert_close(ours.logits(ours.hidden(ours.embed(ids))), expected)
        cache = ours.new_cache()
        parts = [
            ours.logits(ours.hidden(ours.embed(part), cache=cache)) for part in ids.split((4, 1, 3, 1), 1)
        ]
        torch.testing.assert_close(torch.cat(parts, 1), expected)


@pytest.mark.parametrize(
    "changes", [{}, {"use_swiglu_ffn": True}, {"qkv_bias": False, "use_mask_token": False}], ids=str
)
def test_an_encoder_s_first_weights_are_those_that_transformers_draws(changes: dict[str, Any]) -> None:
    """What is drawn after them is drawn with the numbers that come next: a seed means what it meant."""
    sizes: dict[str, Any] = {**DINO, "image_size": SIDE, "mlp_ratio": 2, **changes}
    same_draws(lambda: Dinov2(sizes), lambda: Dinov2Model(Dinov2Config(**sizes)))


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True, "mlp_bias": True, "head_dim": 6}], ids=str)
def test_a_language_model_s_first_weights_are_those_that_transformers_draws(changes: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, **changes,
    }  # fmt: skip
    same_draws(lambda: Llama(sizes), lambda: LlamaModel(LlamaConfig(**sizes)))


def same_draws(ours: Callable[[], torch.nn.Module], theirs: Callable[[], torch.nn.Module]) -> None:
    torch.manual_seed(5)
    expected, then = dict(theirs().named_parameters()), torch.rand(1)
    torch.manual_seed(5)
    found, after = dict(ours().named_parameters()), torch.rand(1)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert torch.equal(after, then)


def test_a_seeded_model_is_made_and_run_without_transformers() -> None:
    """Whose import takes longer than planning a grid."""
    program = (
        "import sys, small\n"
        "small.model()(small.batch([2, 1], [5, 4])).loss.backward()\n"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_losses_are_in_float32_whatever_the_precision_of_the_head() -> None:
    vlm = model().bfloat16()
    with torch.no_grad():
        losses, logits = vlm(CLIPS), vlm.logits(CLIPS)
    assert losses.fine.dtype == losses.per_sample.dtype == torch.float32
    assert logits[0].dtype == torch.bfloat16
    for number, (rows, nats) in enumerate(zip(logits, losses.per_sample.tolist(), strict=True)):
        length, wanted = int(CLIPS.lengths[number]), CLIPS.supervised[number]
        text, ids = rows[int(CLIPS.counts[number]) :].double(), CLIPS.ids[number, :length]
        each = torch.nn.functional.cross_entropy(text[:-1], ids[1:], reduction="none")
        assert nats == pytest.approx(float(each[wanted[1:length]].sum()), rel=1e-4)


def test_a_sequence_longer_than_the_models_positions_is_refused() -> None:
    speaker = llm(positions=70)
    assert speaker.hidden(torch.zeros(1, 70, 16)).shape == (1, 70, 16)
    with pytest.raises(UsageError, match="71 positions: the language model was made for 70"):
        speaker.hidden(torch.zeros(1, 71, 16))


def test_the_encoders_last_layer_is_skipped_with_equal_numbers() -> None:
    eye, frames = encoder(), torch.randn(4, 3, SIDE, SIDE)
    calls: list[int] = []
    eye.dino.encoder.layer[-1].get_submodule("mlp").register_forward_hook(lambda *_: calls.append(1))
    short = eye.encode(frames, tokens=False)
    assert short.tokens is None
    assert not calls
    whole = eye.encode(frames)
    assert calls
    for ours, theirs in zip(short.layers, whole.layers, strict=True):
        assert torch.equal(ours.key, theirs.key)
        assert torch.equal(ours.value, theirs.value)
    assert eye.encode(frames, layers=False).layers == ()


@pytest.mark.parametrize(("depth", "projections"), [("deep", 3), ("shallow", 4)])
def test_keys_and_values_are_projected_once(depth: str, projections: int) -> None:
    vlm = model(depth=depth, fine_iterations=3)
    calls: list[int] = []
    for block in vlm.encoder.get_submodule("dino.encoder.layer").children():
        block.get_submodule("attention.k_proj").register_forward_hook(lambda *_: calls.append(1))
    vlm(CLIPS)
    assert len(calls) == projections  # a layer each; shallow adds those of the final features


def test_activation_checkpointing_changes_no_number() -> None:
    changes = {"checkpoint_activations": True}
    plain, saving = model(), model(encoder_changes=changes, llm_changes=changes)
    for vlm in (plain, saving):
        vlm(CLIPS).loss.backward()
    for ours, theirs in zip(saving.parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None and theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_head_in_chunks_gives_the_same_loss_and_gradients_and_never_all_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[int] = []
    logits = LlamaBackend.logits

    def watched(self: LlamaBackend, hidden: torch.Tensor) -> torch.Tensor:
        rows.append(len(hidden))
        return logits(self, hidden)

    monkeypatch.setattr(LlamaBackend, "logits", watched)
    whole, chunked = model(lambda_coarse=0.5), model(lambda_coarse=0.5)
    expected = whole(CLIPS)
    expected.loss.backward()
    assert rows == [expected.tokens] * 2
    rows.clear()
    monkeypatch.setattr(composed, "LOGITS_AT_ONCE", 3 * VOCABULARY)
    losses = chunked(CLIPS)
    losses.loss.backward()
    assert max(rows) == 3
    torch.testing.assert_close(losses.loss, expected.loss)
    for ours, theirs in zip(chunked.parameters(), whole.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)


MISSING = """\
weights: facebook/dinov2-small is not on this machine (looked in {cache}). Fetch it with
  hf download facebook/dinov2-small
or give weights = "FOLDER" that holds it, or weights = "seeded" to start from random weights."""


def test_missing_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    with torch.device("meta"):
        build, config = preset("encoder", "dinov2-small")
        eye = build(config)
        build, config = preset("llm", "smollm2-360m")
        speaker = build(config, 49_152)
    with pytest.raises(MissingWeights) as error:
        eye.load_weights()
    assert str(error.value) == MISSING.format(cache=cache)
    for missing in (speaker.load_weights, lambda: config.chat(lambda: iter(()))):
        with pytest.raises(MissingWeights, match="hf download HuggingFaceTB/SmolLM2-360M-Instruct"):
            missing()


def test_a_folder_without_weights_or_of_another_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="does not exist"):
        DINOv2(weights=str(tmp_path / "nowhere")).spec()
    eager(tmp_path, Dinov2Model, Dinov2Config(**DINO, image_size=SIDE))
    with pytest.raises(UsageError, match='model_type: expected "llama", got "dinov2"'):
        SmolLM2(weights=str(tmp_path)).spec()
    with pytest.raises(UsageError, match=r"hidden_size: the recipe says 32, config.json .* says 24"):
        DINOv2(weights=str(tmp_path), width=32).spec()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(MissingWeights, match=r"holds no \*.safetensors"):
        preset("encoder", "dinov2", weights=str(tmp_path), image_size=SIDE)[0](
            DINOv2(weights=str(tmp_path), image_size=SIDE)
        ).load_weights()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: DINOv2(weights="seeded"), "width, depth, heads: needed"),
        (lambda: DINOv2(weights="x/y", image_size=224 + 3), "nearest: 224"),
        (lambda: DINOv2(weights="seeded", width=10, depth=1, heads=4), "multiple of heads = 4, got 10"),
        (lambda: SmolLM2(weights="seeded", width=16), "mlp, depth, heads: needed"),
        (lambda: SmolLM2(weights="seeded", width=12, mlp=8, depth=1, heads=4), "multiple of 2 x heads = 8"),
        (
            lambda: SmolLM2(weights="seeded", width=16, mlp=8, depth=1, heads=4, kv_heads=3),
            "divisor of heads = 4",
        ),
        (lambda: SmolLM2(weights="x/y", tokenizer="from-data"), 'needs weights = "seeded"'),
        (lambda: Foveated(mode="coarse_only", lambda_coarse=0.5), "no second loss in coarse_only"),
        (lambda: Foveated(mode="coarse_only", coarse_share=0.5), 'expected mode = "coarse_fine"'),
        (lambda: Foveated(mode_choice="sample"), "nothing is chosen with coarse_share = 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config()


def test_configs_and_plugins_of_the_model_import_nothing_heavy() -> None:
    names = ("dinov2", "foveated", "pooled", "smollm2")
    modules = ", ".join(f"fvlm_{name}.{part}" for name in names for part in ("plugin", "config"))
    heavy = ("torch", "transformers", "timm", "numpy", "tokenizers")
    code = f"import {modules}, sys; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
