"""Our numbers are the founding system's, where it is right; where it is wrong, the difference is asserted."""

from __future__ import annotations

import math
import os
from typing import Any

import golden
import pytest
import torch
from golden import Case
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.model.gaze import attention_entropy
from fvlm_core.model.vlm import VLM

_CASES = golden.cases()
_NONE = f"{golden.folder()} holds no golden tensors (FVLM_PARITY_DIR says where they are)"


def test_parity_cases_are_there() -> None:
    if not _CASES:
        if os.environ.get("FVLM_REQUIRE_SHARED") == "1":
            pytest.fail(_NONE)
        pytest.skip(_NONE)


@pytest.mark.parametrize("case", _CASES, ids=str)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_parity(case: Case) -> None:
    if case.name == "attn_frame0":
        _attention(case)
    elif case.name == "dpo":
        _preferences(case)
    elif case.name.startswith("multi_token"):
        _multi_token(case)
    elif _padded(case):
        _padding(case)
    elif case.about["mode"] == "autoregressive" and not case.about["deep_query"]:
        _shallow_autoregressive(case)
    else:
        _modes(case)


def _modes(case: Case) -> None:
    """Every number of a case without padded frames."""
    vlm, batch = _model(case), _batch(case)
    recorded, mode = case.recorded(), case.about["mode"]
    _same_outputs(vlm, batch, case, recorded)
    losses = vlm(batch, mode)
    weight = case.about["lambda_coarse"] if mode == "coarse_fine" else 0
    assert float(losses.loss) / losses.tokens == pytest.approx(case.about["loss"], abs=golden.LOSS)
    if weight:
        assert float(losses.fine) / losses.tokens == pytest.approx(case.about["fine_loss"], abs=golden.LOSS)
        assert float(losses.auxiliary["coarse"]) / losses.tokens == pytest.approx(
            case.about["coarse_loss"], abs=golden.LOSS
        )
    if case.about["grad_norms"] is not None:
        _same_gradients(vlm, losses.loss / losses.tokens, case.about["grad_norms"], recorded)


def _padding(case: Case) -> None:
    """Ours: the numbers of each sample alone and unpadded. There: padded frames move what follows them."""
    vlm, mode = _model(case), case.about["mode"]
    mask = golden.inputs(case.tag)[case.about["frame_mask"].removeprefix("inputs:")].bool()
    recorded, together = case.recorded()["logits"], _batch(case, frame_mask=mask)
    for precision, tolerance in ((torch.float32, golden.PADDING), (torch.float64, golden.EXACT)):
        vlm = vlm.to(precision)
        with torch.no_grad():
            logits, losses = vlm.logits(together, mode), vlm(together, mode)
            for sample, row in enumerate(mask):
                alone = _batch(case, frame_mask=mask, only=sample)
                apart, expected = vlm(alone, mode), vlm.logits(alone, mode)[0]
                _close(logits[sample], expected, tolerance * float(expected.abs().max()))
                mean = float(losses.per_sample[sample]) / int(losses.per_sample_tokens[sample])
                assert mean == pytest.approx(float(apart.fine) / apart.tokens, abs=tolerance)
                _differs(logits[sample], recorded[sample], int(alone.lengths), not row.all())


def _shallow_autoregressive(case: Case) -> None:
    """There, autoregressive ignores `shallow`. Ours honours it: equal to as many fine passes as there are frames."""
    recorded, batch = case.recorded(), _batch(case)
    _same_outputs(_model(case, depth="deep"), batch, case, recorded)
    shallow = _model(case)
    ours = shallow.see(batch, "autoregressive").diagnostics["z_fine"]
    assert (ours - recorded["z_fine"].flatten(0, 1)).abs().max() > 100 * golden.VALUES
    settled = _model(case, fine_iterations=int(batch.counts.max()))
    _close(ours, settled.see(batch, "coarse_fine").diagnostics["z_fine"], golden.VALUES)


def _attention(case: Case) -> None:
    """What the encoder keeps of the first frame, where both learned queries look, and what they are answered."""
    recorded = case.recorded()
    first = torch.zeros(golden.inputs(case.tag)["frames"].shape[:2], dtype=torch.bool)
    first[:, 0] = True
    vlm = golden.build(case.tag)
    features = vlm.encoder.encode(golden.batch(case.tag, frame_mask=first).frames)
    _close(features.tokens, recorded["patch_features_frame0"], golden.VALUES)
    joined = lambda states: states.transpose(1, 2).flatten(2)
    _close(joined(features.layers[0].key), recorded["k_layer0_frame0"], golden.VALUES)
    _close(joined(features.layers[-1].value), recorded["v_last_frame0"], golden.VALUES)
    for name in ("q_static", "q_init"):
        query = getattr(vlm.connector, name).expand(int(first.sum()), -1)
        weights: list[Tensor] = []
        _close(
            vlm.connector.look(query, features, vlm.encoder, weights),
            recorded[f"z_frame0_{name}"],
            golden.VALUES,
        )
        _close(torch.stack(weights), recorded[f"attn_frame0_{name}"], golden.ATTENTION)
        with torch.no_grad():
            vlm.connector.q_static.copy_(getattr(vlm.connector, name))
        entropy = attention_entropy(vlm, golden.batch(case.tag, frame_mask=first))["coarse"].mean()
        assert float(entropy) == pytest.approx(case.about[f"entropy_{name}"], abs=1e-5)
    shallow = golden.build(case.tag, depth="shallow")
    query = shallow.connector.q_static.expand(int(first.sum()), -1)
    seen = shallow.connector.look(query, features, shallow.encoder)
    _close(seen, recorded["z_frame0_q_static_shallow"], golden.VALUES)


def _preferences(case: Case) -> None:
    """Sequence log-probabilities, rewards, loss and gradients of direct preference optimisation."""
    recorded, given = case.recorded(), golden.inputs(case.tag)
    vlm = golden.build(case.tag)
    said: dict[str, Tensor] = {}
    for kind, ids in (("chosen", given["input_ids"]), ("rejected", given["input_ids_rejected"])):
        batch = golden.batch(case.tag, ids=ids, supervised=given[f"loss_mask_{kind}"].bool())
        said[kind] = -vlm(batch).per_sample
        _close(said[kind], recorded[f"{kind}_logps"], golden.VALUES)
        logits = torch.stack([rows[-ids.shape[1] :] for rows in vlm.logits(batch)])
        _close(logits, recorded[f"{kind}_logits"], golden.VALUES)
    beta = case.about["beta"]
    reward = {kind: beta * (said[kind] - recorded[f"ref_{kind}_logps"]) for kind in said}
    for kind, values in reward.items():
        assert values.tolist() == pytest.approx(case.about[f"{kind}_reward"], abs=beta * golden.VALUES)
    loss = -torch.nn.functional.logsigmoid(reward["chosen"] - reward["rejected"]).mean()
    assert float(loss) == pytest.approx(case.about["loss"], abs=golden.LOSS)
    _same_gradients(vlm, loss, case.about["grad_norms"], {})


def _multi_token(case: Case) -> None:
    """Average-pooled tokens. There, end-of-turn labels (pad = end of turn) are left out of the loss; ours scores them
    as everywhere."""
    given, recorded = golden.inputs(case.tag), case.recorded()
    grid = math.isqrt(case.about["tokens_per_frame"])
    vlm = golden.build(case.tag, pooled_grid=grid, first=True)
    pad = golden.setting(case.tag)["llm_config"]["pad_token_id"]
    mask = given["loss_mask"].bool()
    scored_there = mask & (given["input_ids"] != pad)
    if case.about["frame_mask"] is None:
        batch = golden.batch(case.tag, supervised=scored_there)
        _close(vlm.see(batch).tokens.reshape_as(recorded["visual"]), recorded["visual"], golden.VALUES)
        _close(torch.stack(vlm.logits(batch)), recorded["logits"], golden.VALUES)
        losses = vlm(batch)
        assert float(losses.loss) / losses.tokens == pytest.approx(case.about["loss"], abs=golden.LOSS)
        _same_gradients(vlm, losses.loss / losses.tokens, case.about["grad_norms"], recorded)
        ended = torch.where(torch.arange(mask.shape[1]) == mask.shape[1] - 1, pad, given["input_ids"])
        assert vlm(golden.batch(case.tag, ids=ended, supervised=mask)).tokens == int(mask.sum())
        return
    frames = given[case.about["frame_mask"].removeprefix("inputs:")].bool()
    for precision, tolerance in ((torch.float32, golden.PADDING), (torch.float64, golden.EXACT)):
        vlm = vlm.to(precision)
        together = vlm.logits(golden.batch(case.tag, supervised=mask, frame_mask=frames))
        for sample, row in enumerate(frames):
            alone = vlm.logits(golden.batch(case.tag, supervised=mask, frame_mask=frames, only=sample))[0]
            _close(together[sample], alone, tolerance * float(alone.detach().abs().max()))
            _differs(alone, recorded["logits"][sample], mask.shape[1], not row.all())


def _differs(ours: Tensor, theirs: Tensor, text: int, differs: bool) -> None:
    """Whether the logits of the text, the last `text` positions, are those of the founding system."""
    difference = float((ours[-text:] - theirs[-text:]).abs().max())
    assert (difference > 100 * golden.VALUES) == differs
    assert differs or difference < golden.VALUES


def _padded(case: Case) -> bool:
    return str(case.about.get("frame_mask")).startswith("inputs:")


def _model(case: Case, **foveated: Any) -> VLM:
    """The case's model, scoring the first text token in the modes that did."""
    mode = case.about["mode"]
    settings = {"depth": "deep" if case.about["deep_query"] else "shallow", **foveated}
    if mode == "coarse_fine":
        settings["lambda_coarse"] = case.about["lambda_coarse"]
    return golden.build(case.tag, first=mode != "coarse_fine", **settings)


def _batch(case: Case, **changes: Any) -> Batch:
    """The case's inputs."""
    given = golden.inputs(case.tag)
    named = lambda key: given[case.about[key].removeprefix("inputs:")].bool()
    real = named("attention_mask")
    supervised = real if case.about["loss_mask"] is None else named("loss_mask")
    return golden.batch(case.tag, supervised=supervised, lengths=real.sum(1), **changes)


def _same_outputs(vlm: VLM, batch: Batch, case: Case, recorded: dict[str, Tensor]) -> None:
    """Logits at the real positions the case recorded, what the encoder answered, and the queries."""
    mode = case.about["mode"]
    before = {"coarse_fine": 0, "coarse_only": int(batch.counts[0]), "autoregressive": 1}[mode]
    for sample, logits in enumerate(vlm.logits(batch, mode)):
        kept = before + int(batch.lengths[sample])
        _close(logits[-kept:], recorded["logits"][sample, :kept], golden.VALUES)
    seen = vlm.see(batch, mode).diagnostics
    for ours, theirs in (("z_coarse", "z_coarse"), ("z_fine", "z_fine"), ("queries", "fine_queries")):
        if theirs in recorded:
            _close(seen[ours], recorded[theirs].flatten(0, 1), golden.VALUES)


def _same_gradients(vlm: VLM, loss: Tensor, norms: dict[str, float], recorded: dict[str, Tensor]) -> None:
    """Norms of every gradient, and the whole of those recorded; none where there was none."""
    vlm.zero_grad()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in vlm.named_parameters()}
    expected = {golden.our_name(vlm, name): norm for name, norm in norms.items()}
    for name, gradient in gradients.items():
        norm = 0.0 if gradient is None else float(gradient.norm())
        assert norm == pytest.approx(expected.pop(name, 0.0), rel=golden.NORM, abs=golden.NORM_FLOOR), name
    assert not expected
    for name, tensor in recorded.items():
        if name.startswith("grad."):
            gradient = gradients[golden.our_name(vlm, name.removeprefix("grad."))]
            _close(gradient, tensor, golden.NORM * float(tensor.norm()) + golden.NORM_FLOOR)


def _close(ours: Tensor | None, theirs: Tensor, tolerance: float) -> None:
    assert ours is not None
    torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=tolerance)
