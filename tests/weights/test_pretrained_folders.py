"""A folder of weights is what its config.json says: logits are transformers' own, or an error names the key."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from fvlm_dinov2.config import DINOv2
from fvlm_dinov2.model import build as build_eye
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.model import build as build_llm
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
)

from fvlm_core.utils.errors import FvlmError, MissingWeights, UsageError
from fvlm_core.utils.pretrained import known_architectures
from fvlm_core.weights.matching import read_foreign
from fvlm_registry import registry

LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 61,
    "max_position_embeddings": 96,
    "tie_word_embeddings": True,
    "initializer_range": 0.3,  # so that every key below changes the logits
}
DINO: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 42,
    "patch_size": 14,
    "initializer_range": 0.3,
}
_llama3 = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
LLAMAS: dict[str, dict[str, Any]] = {
    "theta 10,000": {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}},
    "theta 130,000": {"rope_parameters": {"rope_type": "default", "rope_theta": 130_000.0}},
    "linear scaling": {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}},
    "llama3 scaling": {"rope_parameters": _llama3},
    "yarn scaling": {
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 32
        }
    },
    "norm eps": {"rms_norm_eps": 0.3},
    "no grouped heads": {"num_key_value_heads": 4},
    "one key head": {"num_key_value_heads": 1},
    "head width": {"head_dim": 12},
    "untied": {"tie_word_embeddings": False},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "gelu": {"hidden_act": "gelu"},
    "an activation with weights": {"hidden_act": "prelu"},
    "three layers": {"num_hidden_layers": 3},
}  # fmt: skip
DINOS: dict[str, dict[str, Any]] = {
    "norm eps": {"layer_norm_eps": 0.3},
    "no bias": {"qkv_bias": False},
    "swiglu": {"use_swiglu_ffn": True},
    "mlp ratio": {"mlp_ratio": 2},
    "relu": {"hidden_act": "relu"},
    "an activation with weights": {"hidden_act": "prelu"},
    "positions of another size": {"image_size": 70},
    "small patches": {"patch_size": 7},
    "no mask token": {"use_mask_token": False},
    "layer scale": {"layerscale_value": 0.3},
}


def llama(folder: Path, **changes: Any) -> LlamaForCausalLM:
    """A random Llama as transformers writes it; every weight, biases too, is drawn."""
    torch.manual_seed(1)
    made = LlamaForCausalLM(LlamaConfig(**{**LLAMA, **changes})).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-0.5, 0.5).add_(0.7)
    made.save_pretrained(folder)
    return made


def dino(folder: Path, **changes: Any) -> Dinov2Model:
    """A random DINOv2 as transformers writes it."""
    torch.manual_seed(1)
    made = Dinov2Model(Dinov2Config(**{**DINO, **changes})).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-0.5, 0.5).add_(0.7)
    made.save_pretrained(folder)
    return made


def preset(kind: Any, name: str, **changes: Any) -> tuple[Any, Any]:
    """A registered component's build function and its config with the preset's values."""
    found = registry()
    component = found.find(kind, name).component
    return found.load(component.target), found.load(component.config)(**{**component.preset, **changes})


def edit(folder: Path, **changes: Any) -> None:
    """Change `config.json` alone."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def old_rope(folder: Path) -> None:
    """`config.json` as transformers 4 wrote it."""
    rope = json.loads((folder / "config.json").read_text())["rope_parameters"]
    theta, kind = rope.pop("rope_theta"), rope["rope_type"]
    scaling = None if kind == "default" else {**rope, "type": kind}
    edit(folder, rope_parameters=..., rope_theta=theta, rope_scaling=scaling)


def logits(config: SmolLM2) -> torch.Tensor:
    module = build_llm(config, config.spec().vocabulary or 0)
    module.load_weights()
    with torch.no_grad():
        return module.eval().logits(module.hidden(module.embed(IDS)))


IDS = torch.arange(80)[None] % 61


@pytest.mark.parametrize("saved", ["now", "as transformers 4 did"])
@pytest.mark.parametrize("changes", LLAMAS.values(), ids=list(LLAMAS))
def test_logits_of_a_llama_folder_are_transformers_own(
    tmp_path: Path, changes: dict[str, Any], saved: str
) -> None:
    reference = llama(tmp_path, **changes)
    if saved != "now":
        old_rope(tmp_path)
        reference = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = reference(IDS).logits
        plain = llama(tmp_path / "plain", rope_parameters={"rope_type": "default", "rope_theta": 777.0})
        assert changes.keys() <= {"num_key_value_heads"} or not torch.allclose(
            plain(IDS).logits, expected, atol=1e-3
        )
    torch.testing.assert_close(logits(SmolLM2(weights=str(tmp_path))), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changes", DINOS.values(), ids=list(DINOS))
def test_tokens_of_a_dinov2_folder_are_transformers_own(tmp_path: Path, changes: dict[str, Any]) -> None:
    reference = dino(tmp_path, **changes)
    frames = torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(1))
    config = DINOv2(weights=str(tmp_path), image_size=42, patch_size=changes.get("patch_size", 14))
    eye = build_eye(config)
    eye.load_weights()
    with torch.no_grad():
        expected = reference(frames).last_hidden_state
        tokens = eye.eval().encode(frames).tokens
    assert tokens is not None
    torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-5)
    assert config.spec().width == 24
    assert config.spec().tokens == expected.shape[1]


PREPROCESSORS: dict[str, dict[str, Any]] = {
    "as published": {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "halves": {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.4, 0.3]},
    "not normalised": {"do_normalize": False, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    "bytes": {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 50.0, 40.0]},
    "from -1 to 1": {"rescale_factor": 2 / 255, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]},
}


@pytest.mark.parametrize("said", PREPROCESSORS.values(), ids=list(PREPROCESSORS))
def test_frames_are_normalised_as_the_folder_says(tmp_path: Path, said: dict[str, Any]) -> None:
    """Against transformers' own image processor, which scales and crops nothing here."""
    dino(tmp_path)
    processor = BitImageProcessor(do_resize=False, do_center_crop=False, do_convert_rgb=True, **said)
    processor.save_pretrained(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (42, 42, 3), np.uint8)
    expected = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    known: dict[str, dict[str, Any]] = {}
    config = DINOv2(weights=str(tmp_path), image_size=42)
    with known_architectures(known):
        spec = config.spec()
    mean, std = (np.array(one, np.float64)[:, None, None] for one in (spec.mean, spec.std))
    np.testing.assert_allclose((pixels.transpose(2, 0, 1) / 255 - mean) / std, expected, rtol=1e-5, atol=1e-5)
    # What a run and its export keep describes the encoder where the folder is gone.
    shutil.rmtree(tmp_path)
    with known_architectures(json.loads(json.dumps(known))):
        assert config.spec() == spec


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("image_mean", value) for value in (0.5, [0.5], "imagenet", [0.5, 0.5, None])),
        *(("image_std", value) for value in ([0.5, 0.0, 0.5], [1, 1, 1, 1], [-1.0, 1.0, 1.0])),
        *(("rescale_factor", value) for value in (0, -1.0, "1/255")),
        *(("do_normalize", "no"), ("do_rescale", 0), ("resample", 2), ("resample", "bilinear")),
    ],
)
def test_a_preprocessor_that_cannot_be_followed_names_its_key(
    tmp_path: Path, key: str, value: object
) -> None:
    dino(tmp_path)
    said = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3, key: value}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(
        UsageError, match=rf"^{key}: preprocessor_config\.json of {tmp_path} says .*, expected "
    ):
        DINOv2(weights=str(tmp_path), image_size=42).spec()


def test_a_preprocessor_that_scales_without_a_mean_names_it(tmp_path: Path) -> None:
    dino(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"do_rescale": false}')
    with pytest.raises(UsageError, match=r"^image_mean: missing in preprocessor_config\.json"):
        DINOv2(weights=str(tmp_path), image_size=42).spec()


SMALLEST = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49_152, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize("theta", [10_000.0, 100_000.0, 130_000.0])
def test_a_named_size_takes_what_its_folder_says(tmp_path: Path, theta: float) -> None:
    LlamaConfig(**SMALLEST, rope_parameters={"rope_type": "default", "rope_theta": theta}).save_pretrained(
        tmp_path
    )
    _, config = preset("llm", "smollm2-135m", weights=str(tmp_path))
    assert config.sizes()["rope_parameters"]["rope_theta"] == theta
    edit(tmp_path, rms_norm_eps=1e-6, max_position_embeddings=2048, tie_word_embeddings=False)
    assert config.sizes()["rms_norm_eps"] == 1e-6
    assert (config.spec().positions, config.spec().tied) == (2048, False)


@pytest.mark.parametrize(
    ("component", "key", "value", "said"),
    [
        ("smollm2-135m", "hidden_size", 960, "hidden_size: the recipe says 576, .* says 960"),
        ("smollm2-135m", "intermediate_size", 64, "intermediate_size: the recipe says 1536, .* says 64"),
        ("smollm2-135m", "num_hidden_layers", 32, "num_hidden_layers: the recipe says 30, .* says 32"),
        ("smollm2-135m", "num_attention_heads", 18, "num_attention_heads: the recipe says 9, .* says 18"),
        ("smollm2-135m", "num_key_value_heads", 9, "num_key_value_heads: the recipe says 3, .* says 9"),
        ("smollm2-135m", "vocab_size", 49_280, "vocab_size: the recipe says 49152, .* says 49280"),
        ("smollm2-135m", "model_type", "mistral", 'model_type: expected "llama", got "mistral"'),
        ("smollm2-135m", "attention_dropout", 0.1, "attention_dropout: .* says 0.1, expected 0.0"),
        ("smollm2-135m", "quantization_config", {"bits": 4}, r"quantization_config: .* says \{"),
        ("dinov2-small", "hidden_size", 768, "hidden_size: the recipe says 384, .* says 768"),
        ("dinov2-small", "num_hidden_layers", 24, "num_hidden_layers: the recipe says 12, .* says 24"),
        ("dinov2-small", "num_attention_heads", 12, "num_attention_heads: the recipe says 6, .* says 12"),
        ("dinov2-small", "image_size", 224, "image_size: the recipe says 518, .* says 224"),
        ("dinov2-small", "patch_size", 7, "patch_size: the recipe says 14, .* says 7"),
        ("dinov2-small", "model_type", "dinov2_with_registers", 'expected "dinov2", got "dinov2_with_registers"'),
        ("dinov2-small", "num_channels", 4, "num_channels: .* says 4, expected 3"),
        ("dinov2-small", "drop_path_rate", 0.2, "drop_path_rate: .* says 0.2, expected 0.0"),
        ("dinov2-small", "hidden_dropout_prob", 0.2, "hidden_dropout_prob: .* says 0.2, expected 0.0"),
        ("dinov2-giant", "use_swiglu_ffn", False, "use_swiglu_ffn: the recipe says true, .* says false"),
    ],
)  # fmt: skip
def test_a_named_size_that_its_folder_contradicts_names_the_key(
    tmp_path: Path, component: str, key: str, value: Any, said: str
) -> None:
    kind: Any = "llm" if component.startswith("smollm2") else "encoder"
    right = {
        "smollm2-135m": LlamaConfig(**SMALLEST),
        "dinov2-small": Dinov2Config(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518
        ),
        "dinov2-giant": Dinov2Config(
            hidden_size=1536,
            num_hidden_layers=40,
            num_attention_heads=24,
            image_size=518,
            use_swiglu_ffn=True,
        ),
    }[component]
    right.save_pretrained(tmp_path)
    _, config = preset(kind, component, weights=str(tmp_path))
    config.spec()
    edit(tmp_path, **{key: value})
    with pytest.raises(UsageError, match=said):
        config.spec()


def test_the_cache_of_the_hub_is_read_as_a_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    _, config = preset("llm", "smollm2-135m")
    assert config.sizes()["rope_parameters"]["rope_theta"] == 100_000.0  # not here: what is known of it
    place = tmp_path / "models--HuggingFaceTB--SmolLM2-135M-Instruct"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    LlamaConfig(**SMALLEST, rope_parameters={"rope_type": "default", "rope_theta": 7e4}).save_pretrained(
        place / "snapshots" / "abc"
    )
    assert config.sizes()["rope_parameters"]["rope_theta"] == 7e4
    edit(place / "snapshots" / "abc", hidden_size=960)
    with pytest.raises(
        UsageError, match=r"hidden_size: the recipe says 576, config.json of HuggingFaceTB/.* says 960"
    ):
        config.spec()


@pytest.mark.parametrize(
    "stated", [{"rope_base": 5e5}, {"norm_eps": 1e-3}, {"positions": 50}, {"kv_heads": 4}]
)
def test_what_the_recipe_says_must_agree_with_the_folder(tmp_path: Path, stated: dict[str, Any]) -> None:
    llama(tmp_path)
    with pytest.raises(UsageError, match="the recipe says"):
        SmolLM2(weights=str(tmp_path), **stated).spec()


@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "vocab_size", "num_hidden_layers"])
def test_a_config_without_a_size_is_told(tmp_path: Path, key: str) -> None:
    llama(tmp_path)
    edit(tmp_path, **{key: ...})
    with pytest.raises(UsageError, match=f"{key}: missing in config.json of"):
        SmolLM2(weights=str(tmp_path)).spec()


_linear = {"rope_type": "linear"}
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("hidden_size", {"hidden_size": "32"}, '"32"', "a whole number from 1"),
    ("hidden_size", {"hidden_size": 32.0}, "32.0", "a whole number from 1"),
    ("num_attention_heads", {"num_attention_heads": 0}, "0", "a whole number from 1"),
    ("num_attention_heads", {"num_attention_heads": True}, "true", "a whole number from 1"),
    ("num_hidden_layers", {"num_hidden_layers": -1}, "-1", "a whole number from 1"),
    ("num_attention_heads", {"num_attention_heads": 5}, "5", "a divisor of hidden_size = 32"),
    ("num_key_value_heads", {"num_key_value_heads": 3}, "3", "a divisor of num_attention_heads = 4"),
    ("head_dim", {"head_dim": 9}, "9", "an even number"),
    ("rms_norm_eps", {"rms_norm_eps": "1e-5"}, '"1e-5"', "a number above 0"),
    ("tie_word_embeddings", {"tie_word_embeddings": "yes"}, '"yes"', "true or false"),
    ("hidden_act", {"hidden_act": "foo"}, '"foo"', "an activation"),
    ("hidden_act", {"hidden_act": None}, "null", "an activation"),
    ("rms_norm_eps", {"rms_norm_eps": None}, "null", "a number above 0"),
    ("attention_bias", {"attention_bias": None}, "null", "true or false"),
    ("max_position_embeddings", {"max_position_embeddings": None}, "null", "a whole number from 1"),
    ("rope_theta", {"rope_theta": None}, "null", "a number above 0"),
    ("rope_theta", {"rope_theta": "10000"}, '"10000"', "a number above 0"),
    ("rope_scaling", {"rope_scaling": "linear"}, '"linear"', "a table"),
    ("rope_parameters", {"rope_parameters": [1]}, "[1]", "a table"),
    ("rope_scaling.factor", {"rope_scaling": _linear}, "nothing", "a number above 0"),
    ("rope_parameters.factor", {"rope_parameters": _linear | {"factor": "2"}}, '"2"', "a number above 0"),
    ("rope_parameters.rope_theta", {"rope_parameters": {"rope_theta": "1"}}, '"1"', "a number above 0"),
]


@pytest.mark.parametrize(("key", "changes", "got", "expected"), WRONG)
def test_a_value_that_no_llama_can_have_is_named(
    tmp_path: Path, key: str, changes: dict[str, Any], got: str, expected: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "model_type": "llama", **changes}))
    said = rf"^{re.escape(key)}: config.json of {re.escape(str(tmp_path))} says {re.escape(got)}.*{expected}"
    with pytest.raises(UsageError, match=said):
        SmolLM2(weights=str(tmp_path)).spec()


@pytest.mark.parametrize("table", [{"rope_type": "dynamic", "factor": 2.0}, {"type": "longrope"}], ids=str)
def test_positions_whose_angles_depend_on_the_sequence_are_refused(
    tmp_path: Path, table: dict[str, Any]
) -> None:
    config = {**LLAMA, "model_type": "llama", "rope_scaling": table}
    (tmp_path / "config.json").write_text(json.dumps(config))
    kind = next(iter(table.values()))
    with pytest.raises(UsageError, match=f'rope_type: expected one of default, .*, got "{kind}"'):
        build_llm(SmolLM2(weights=str(tmp_path)), 61)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("hidden_size", "24"), ("num_attention_heads", 5), ("hidden_act", "foo"), ("mlp_ratio", [4])),
        *(("mlp_ratio", 2.5), ("mlp_ratio", None), ("qkv_bias", None), ("layer_norm_eps", None)),
    ],
)
def test_a_value_that_no_dinov2_can_have_is_named(tmp_path: Path, key: str, value: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**DINO, "model_type": "dinov2", key: value}))
    with pytest.raises(
        UsageError, match=rf"^{key}: config.json of .* says {re.escape(json.dumps(value))}, expected"
    ):
        DINOv2(weights=str(tmp_path)).spec()


def test_a_config_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UsageError, match=rf"{re.escape(str(tmp_path))}/config.json: cannot be read"):
        SmolLM2(weights=str(tmp_path)).spec()


def test_a_folder_of_mistral_is_no_llama(tmp_path: Path) -> None:
    MistralConfig(**SMALLEST).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match='model_type: expected "llama", got "mistral"'):
        preset("llm", "smollm2-135m", weights=str(tmp_path))[1].spec()


def test_a_config_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match=rf"{re.escape(str(tmp_path))}/config.json: not JSON"):
        SmolLM2(weights=str(tmp_path)).spec()


def test_weights_that_are_not_what_config_says_are_named(tmp_path: Path) -> None:
    config = SmolLM2(weights=str(tmp_path))
    llama(tmp_path)
    for changes, said in (
        ({"num_hidden_layers": 3}, r"model.layers.2.\S+: missing"),
        ({"num_hidden_layers": 1}, r"model.layers.1.\S+: unexpected"),
        ({"intermediate_size": 64}, r"gate_proj.weight: expected shape \[64, 32\].* got \[48, 32\]"),
        ({"attention_bias": True}, "q_proj.bias: missing"),
    ):
        edit(tmp_path, **(LLAMA | changes))
        with pytest.raises(UsageError, match=said):
            logits(config)
    edit(tmp_path, **LLAMA, attention_bias=False)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        weights | {"lm_head.weight": weights["model.embed_tokens.weight"] + 1}, tmp_path / "model.safetensors",
        {"format": "pt"},
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"tie_word_embeddings: config.json says true"):
        logits(config)
    save_file(
        weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, tmp_path / "model.safetensors",
        {"format": "pt"},
    )  # fmt: skip
    logits(config)


@pytest.mark.parametrize("left", [0, 4, 100, 5_000])
@pytest.mark.parametrize("kind", ["llama", "dinov2"])
def test_a_cut_weight_file_is_named(tmp_path: Path, kind: str, left: int) -> None:
    module: Any
    if kind == "llama":
        llama(tmp_path)
        module = build_llm(SmolLM2(weights=str(tmp_path)), 61)
    else:
        dino(tmp_path)
        module = build_eye(DINOv2(weights=str(tmp_path), image_size=42))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(
        UsageError, match=rf"{re.escape(str(file))}: not a whole safetensors file \({left:,} bytes\)"
    ):
        module.load_weights()


def test_a_missing_part_of_the_weights_is_named(tmp_path: Path) -> None:
    llama(tmp_path).save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    gone = sorted((tmp_path / "parts").glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(MissingWeights, match=re.escape(gone.name)):
        logits(SmolLM2(weights=str(tmp_path / "parts")))


@pytest.mark.parametrize("given", ["file", "folder", "folder with config"])
def test_weights_for_llama_cpp_say_how_to_convert_them(tmp_path: Path, given: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    if given == "folder with config":
        LlamaConfig(**LLAMA).save_pretrained(tmp_path)
    weights = str(file if given == "file" else tmp_path)
    with pytest.raises(FvlmError, match=r'from_pretrained\(".*", gguf_file="model.gguf"\)'):
        build_llm(SmolLM2(weights=weights), 61).load_weights()


def test_a_classifier_beside_the_encoder_is_passed_over(tmp_path: Path) -> None:
    dino(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    prefixed = {f"dinov2.{name}": tensor for name, tensor in weights.items()}
    save_file(
        {**prefixed, "classifier.weight": torch.zeros(3, 24)},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    build_eye(DINOv2(weights=str(tmp_path), image_size=42)).load_weights()
    save_file(
        {**prefixed, "dinov2.embeddings.register_tokens": torch.zeros(1, 4, 24)}, tmp_path / "model.safetensors",
        {"format": "pt"},
    )  # fmt: skip
    with pytest.raises(UsageError, match="register_tokens: unexpected"):
        build_eye(DINOv2(weights=str(tmp_path), image_size=42)).load_weights()
    shutil.rmtree(tmp_path)


def timm_folder(folder: Path, **changes: Any) -> dict[str, Any]:
    """A random ViT as timm's `save_for_hf` writes it; the settings that name it."""
    folder.mkdir(exist_ok=True)
    sizes = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 32}
    made = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
    save_file(made.state_dict(), folder / "model.safetensors")
    cfg = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    described = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": cfg, "model_args": sizes} | changes
    (folder / "config.json").write_text(json.dumps(described))
    return {
        "model": "vit_tiny_patch16_224", "weights": str(folder), "image_size": 32, "width": 24, "depth": 2,
        "heads": 3, "position_size": 32,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"architecture": "vit_base_patch32_clip_quickgelu_224"}, 'architecture: the recipe says "vit_tiny'),
        ({"pretrained_cfg": {"mean": [0.48, 0.45, 0.4]}}, r"pretrained_cfg.mean: the recipe says \[0.5"),
        ({"pretrained_cfg": {"std": [0.2, 0.2, 0.2]}}, r"pretrained_cfg.std: .* the file says \[0.2"),
        ({"model_args": {"depth": 3}}, "model_args.depth: the recipe says 2, the file says 3"),
        ({"model_args": {"act_layer": "quick_gelu"}}, 'model_args.act_layer: .* the file says "quick_gelu"'),
    ],
)
def test_a_folder_of_timm_is_what_it_says(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    build, config = preset("encoder", "timm", **timm_folder(tmp_path, **changes))
    if not said:
        build(config).load_weights()
        return
    with pytest.raises(UsageError, match=rf"{re.escape(str(tmp_path))}/config.json: {said}"):
        build(config).load_weights()


def test_cut_and_foreign_files_of_timm_and_of_imports_are_named(tmp_path: Path) -> None:
    build, config = preset("encoder", "timm", **timm_folder(tmp_path))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:999])
    for ask in (build(config).load_weights, lambda: read_foreign(file)):
        with pytest.raises(
            UsageError, match=rf"{re.escape(str(file))}: not a whole safetensors file \(999 bytes\)"
        ):
            ask()
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match=r"x.gguf: expected a .safetensors .* gguf_file="):
        read_foreign(tmp_path / "x.gguf")
