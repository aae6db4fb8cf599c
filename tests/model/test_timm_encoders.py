"""timm's vision transformers: the numbers of transformers and of timm itself, and a query that walks their blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fvlm_dinov2.config import DINOv2
from fvlm_dinov2.model import DINOv2Encoder
from fvlm_dinov2.model import build as build_dinov2
from fvlm_foveated.config import Foveated
from fvlm_foveated.model import build as build_foveated
from fvlm_timm.config import Timm
from fvlm_timm.model import TimmEncoder, build
from safetensors.torch import save_file
from small import SIDE, batch, llm
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fvlm_core.interfaces.encoder import Depth
from fvlm_core.model.vlm import VLM
from fvlm_core.utils.errors import MissingWeights, UsageError

DINO, SIGLIP, DINOV3 = "vit_small_patch14_dinov2", "vit_base_patch16_siglip_224", "vit_small_patch16_dinov3"
FAMILIES = (
    DINO,
    SIGLIP,
    DINOV3,
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch16_clip_224",
    "deit3_small_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch16_36x1_224",
    "eva02_tiny_patch14_224",
    "eva_giant_patch14_224",
    "eva02_base_patch16_clip_224",
    "eva02_enormous_patch14_clip_224",
    "vit_base_patch16_rpn_224",
    "vit_small_patch16_rope_mixed_ape_224",
    "vit_intern300m_patch14_448",
)
POSITIONS = 98
"""Side of the frames a position table is for: to `SIDE` as 518 px is to 224."""


def eye(model: str, **changes: Any) -> TimmEncoder:
    """Three layers of width 48 over 3 x 3 patches of 14 pixels, every weight random."""
    settings = {
        "weights": "seeded", "width": 48, "depth": 3, "heads": 4, "patch_size": 14, "image_size": SIDE
    }  # fmt: skip
    torch.manual_seed(0)
    encoder = build(Timm(**{"model": model, **settings, **changes}))
    shake(encoder)
    return encoder


def shake(encoder: torch.nn.Module) -> None:
    """Move every weight away from the ones and zeros that hide mistakes."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def frames(count: int = 2) -> Tensor:
    """Random frames."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def timm_names(dino: DINOv2Encoder) -> dict[str, Tensor]:
    """transformers' DINOv2 weights under timm's names."""
    renamed: dict[str, Tensor] = {}
    replacements = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "encoder.layer": "blocks",
        "attention.o_proj": "attn.proj",
        "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma",
        "mlp.gate_proj": "mlp.fc1",
        "mlp.down_proj": "mlp.fc2",
        "layernorm": "norm",
    }
    state = dino.dino.state_dict()
    for name, tensor in state.items():
        if name.endswith("mask_token") or any(part in name for part in ("k_proj", "v_proj", "up_proj")):
            continue
        if "q_proj" in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            name, tensor = name.replace("attention.q_proj", "attn.qkv"), torch.cat(parts)
        if "gate_proj" in name:
            tensor = torch.cat([tensor, state[name.replace("gate_proj", "up_proj")]])
        for there, here in replacements.items():
            name = name.replace(there, here)
        renamed[name] = tensor.contiguous()
    return renamed


@pytest.mark.parametrize("swiglu", [False, True])
def test_the_same_dinov2_weights_give_the_same_numbers_through_both_libraries(
    swiglu: bool, tmp_path: Path
) -> None:
    sizes = {"width": 48, "depth": 3, "heads": 4, "image_size": SIDE, "position_size": POSITIONS}
    torch.manual_seed(0)
    theirs = build_dinov2(DINOv2(weights="seeded", swiglu=swiglu, **sizes))
    shake(theirs)
    save_file(timm_names(theirs), tmp_path / "model.safetensors")
    model = "vit_giant_patch14_dinov2" if swiglu else DINO
    ours = build(Timm(model=model, weights=str(tmp_path), **sizes))
    ours.load_weights()
    assert ours.spec == theirs.spec
    seen, expected = ours.encode(frames()), theirs.encode(frames())
    assert seen.tokens is not None
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(seen.tokens, expected.tokens, **close)
    for own, other in zip(seen.layers, expected.layers, strict=True):
        torch.testing.assert_close(own, other, **close)
    query = torch.randn(2, 48)
    depths: tuple[Depth, ...] = ("deep", "shallow")
    for depth in depths:
        own_weights: list[Tensor] = []
        other_weights: list[Tensor] = []
        own = ours.attend(query, seen, depth=depth, weights=own_weights)
        other = theirs.attend(query, expected, depth=depth, weights=other_weights)
        torch.testing.assert_close(own, other, **close)
        torch.testing.assert_close(own_weights, other_weights, **close)
        torch.testing.assert_close(ours.attend(query, seen, depth=depth), own, **close)
        assert [tuple(share.shape) for share in own_weights] == [(2, 4, 10)] * (3 if depth == "deep" else 1)


@pytest.mark.parametrize("model", FAMILIES)
def test_tokens_are_those_of_timm_itself(model: str) -> None:
    encoder = eye(model)
    expected = encoder.vit.forward_features(frames())
    torch.testing.assert_close(encoder.encode(frames()).tokens, expected, rtol=0, atol=1e-5)
    assert expected.shape == (2, encoder.spec.tokens, encoder.spec.width)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_deep_query_is_one_more_prefix_token_that_no_other_token_sees(model: str) -> None:
    """timm's own blocks are given the query as a token, behind a mask; rotary models count it as a prefix token."""
    encoder = eye(model)
    features = encoder.encode(frames(), tokens=False)
    query = torch.randn(2, 48)
    answer = encoder.attend(query, features)
    tokens = encoder._embed(frames())
    place, count = encoder.spec.prefix_tokens, encoder.spec.tokens + 1
    visible = torch.ones(count, count, dtype=torch.bool)
    visible[:, place] = False
    hidden = torch.cat([tokens[:, :place], query[:, None], tokens[:, place:]], 1)
    for block, rotary in zip(encoder.vit.blocks, encoder._rotary(), strict=True):
        turned = {}
        if rotary is not None:
            turned = {"rope": rotary}
            block.attn.num_prefix_tokens += 1
        hidden = block(hidden, attn_mask=visible, **turned)
    torch.testing.assert_close(answer, encoder.vit.norm(hidden)[:, place], rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", [DINO, DINOV3])
def test_skipping_the_last_patch_update_changes_no_number(model: str) -> None:
    encoder = eye(model)
    blocks: list[int] = []
    mlp = encoder.vit.blocks[-1].mlp
    mlp.register_forward_hook(lambda *_: blocks.append(1))
    whole = encoder.encode(frames())
    assert blocks == [1]
    short = encoder.encode(frames(), tokens=False)
    assert blocks == [1]
    assert short.tokens is None
    for own, other in zip(short.layers, whole.layers, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-6)
    query = torch.randn(2, 48)
    torch.testing.assert_close(encoder.attend(query, short), encoder.attend(query, whole), rtol=0, atol=1e-5)


def test_recomputed_layers_give_the_same_gradients() -> None:
    grads: list[Tensor] = []
    for recompute in (False, True):
        encoder = eye(DINOV3, checkpoint_activations=recompute)
        encoder.attend(torch.ones(2, 48), encoder.encode(frames(), tokens=False)).square().sum().backward()
        grads.append(encoder.vit.patch_embed.proj.weight.grad)
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("model", [SIGLIP, DINOV3])
@pytest.mark.parametrize("depth", ["deep", "shallow"])
def test_a_small_seeded_model_trains(model: str, depth: Depth) -> None:
    torch.manual_seed(0)
    settings = {"width": 32, "depth": 2, "heads": 4, "patch_size": 14, "image_size": SIDE}
    encoder, speaker = build(Timm(model=model, weights="seeded", **settings)), llm()
    connector = build_foveated(Foveated(query_dim=12, depth=depth), encoder.spec, speaker.spec)
    vlm = VLM(encoder, connector, speaker)
    clips = batch([2, 3], [9, 7])
    optimizer = torch.optim.AdamW(vlm.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = vlm(clips).loss
        loss.backward()
        losses.append(float(loss.detach()))
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_the_class_of_an_encoder_says_what_its_frames_look_like() -> None:
    siglip = Timm(model=SIGLIP).spec()
    assert (siglip.mean, siglip.std, siglip.prefix_tokens) == ((0.5,) * 3, (0.5,) * 3, 0)
    dino = Timm(model="vit_giant_patch14_dinov2.lvd142m").spec()
    assert dino == DINOv2(weights="seeded", width=1536, depth=40, heads=24, swiglu=True).spec()
    third = Timm(model=f"{DINOV3}.lvd1689m", image_size=256).spec()
    assert (third.prefix_tokens, third.patch_grid, third.tokens) == (5, (16, 16), 261)


@pytest.mark.parametrize("model", [DINO, DINOV3])
def test_published_sizes_are_built_without_memory(model: str) -> None:
    with torch.device("meta"):
        encoder = build(Timm(model=model))
        features = encoder.encode(torch.zeros(2, 3, 224, 224), tokens=False)
        seen = encoder.attend(torch.zeros(2, 384), features)
    assert seen.is_meta
    assert len(features.layers) == 12
    # transformers' DINOv2-small holds 22,056,576: 384 more, a mask token that nothing uses
    assert sum(p.numel() for p in encoder.parameters()) == {DINO: 22_056_192, DINOV3: 21_586_944}[model]


@pytest.mark.parametrize("model", ["eva02_tiny_patch14_224", DINOV3, SIGLIP])
def test_the_sizes_for_the_ledger_are_those_of_the_matrices(model: str) -> None:
    """Patch embedding, then two linear maps of attention, its products and the MLP, in every layer."""
    encoder = eye(model)
    spec = encoder.spec
    # torch 2.14's counter does not know the fused attention of CPUs, and counts it as nothing.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder.encode(frames(1))
    assert spec.mlp is not None
    mlp = (3 if spec.gated else 2) * spec.width * spec.mlp
    layer = spec.tokens * (4 * spec.width**2 + mlp) + 2 * spec.tokens**2 * spec.width
    products = spec.patches * spec.width * 3 * 14**2 + spec.depth * layer
    assert counter.get_total_flops() == 2 * products


MISSING = """\
weights: timm/vit_small_patch16_dinov3.lvd1689m is not on this machine (looked in {cache}). Fetch it with
  hf download timm/vit_small_patch16_dinov3.lvd1689m
or give weights = "FOLDER" that holds it, or weights = "seeded" to start from random weights."""


def test_missing_weights_name_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with torch.device("meta"):
        encoder = build(Timm(model=DINOV3))
    with pytest.raises(MissingWeights) as error:
        encoder.load_weights()
    assert str(error.value) == MISSING.format(cache=tmp_path)
    with pytest.raises(MissingWeights, match="nowhere does not exist"):
        Timm(model=DINOV3, weights=str(tmp_path / "nowhere")).weights_file()


def test_weights_survive_a_file_and_those_of_another_model_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    saved = eye(DINOV3)
    save_file({**saved.vit.state_dict(), "head.weight": torch.zeros(3, 48)}, file)
    read = eye(DINOV3, weights=str(file))
    read.load_weights()
    torch.testing.assert_close(read.encode(frames()).tokens, saved.encode(frames()).tokens)
    other = eye(SIGLIP, weights=str(file))
    with pytest.raises(UsageError) as error:
        other.load_weights()
    assert str(error.value) == (
        f'weights: {file} does not hold the weights of "{SIGLIP}": '
        "missing: blocks.0.attn.qkv.bias, blocks.1.attn.qkv.bias, blocks.2.attn.qkv.bias and 1 more; "
        "unknown: blocks.0.gamma_1, blocks.0.gamma_2, blocks.1.gamma_1 and 5 more"
    )


UNUSUAL = ". Expected a VisionTransformer or Eva of timm whose blocks are self-attention and an MLP: vit_*, deit*, eva*"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "resnet50"},
            'model: "resnet50" cannot be an encoder here: it is not one of timm\'s plain vision transformers'
            + UNUSUAL,
        ),
        (
            {"model": "vit_base_patch16_xp_224"},
            'model: "vit_base_patch16_xp_224" cannot be an encoder here: its blocks are ParallelScalingBlock'
            + UNUSUAL,
        ),
        (
            {"model": f"{DINO}.lvd142"},
            f'model: "{DINO}" has no weights tagged "lvd142"; its tags: lvd142m',
        ),
        (
            {"model": SIGLIP, "image_size": 225},
            f'image_size: expected a multiple of 16, the patch size of "{SIGLIP}", got 225; nearest: 224',
        ),
    ],
)
def test_models_that_cannot_be_encoders_are_refused_with_the_reason(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        Timm(**settings).spec()
    assert str(error.value) == message


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r'no model called "vit_small_patch14_dino2"; did you mean') as error:
        Timm(model="vit_small_patch14_dino2.lvd142m").spec()
    assert DINO in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 48}, 'width: pretrained weights have the sizes of "vit_small_patch14_dinov2"'),
        ({"weights": "seeded", "width": 48, "heads": 5}, "width: expected a multiple of heads = 5, got 48"),
    ],
)
def test_sizes_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Timm(model=DINO, **settings)


def test_listing_and_configuring_import_no_timm() -> None:
    code = (
        "import sys; from fvlm_registry import registry; offer = registry().find('encoder', 'timm')\n"
        "registry().load(offer.component.config)(model='vit_small_patch16_dinov3')\n"
        "print([name for name in ('torch', 'timm', 'numpy') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
