"""Preference training: the loss is DPO's, a mean over pairs; the reference is where the run started; pairs are pairs.

Two ranks: `test_ranks.py`.
"""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import small
import torch
from attrs import evolve
from compositions import CONNECTORS, SMALL_CONNECTORS, SMALL_ENCODER, SMALL_LLM, composed
from tiny import RECIPE, run_cli
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from trainer import difference, go, opened, outcome
from trainer import small as recipe

from fvlm_core.data.batch import Batch
from fvlm_core.data.collate import Preparer, collate
from fvlm_core.data.lengths import first_samples
from fvlm_core.data.mixture_counts import Realised, count_batch
from fvlm_core.data.sources import open_sources
from fvlm_core.interfaces.data import Sample, Turn
from fvlm_core.interfaces.objective import Preference
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.model.build import compose, make_chat
from fvlm_core.model.vlm import VLM
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.flops import ledger
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.runs.per_sample_loss import read_scored
from fvlm_core.training.preference import PreferenceLoss
from fvlm_core.utils.errors import FvlmError, Problems, UsageError

PAIRS = (
    *(
        "data.sources.shapes.pairs=true",
        "training.preference.beta=0.5",
        "training.lr=0.01",
        "training.steps=6",
    ),
    *("model.connector.coarse_share=0.0", "model.connector.mode_choice=batch", "eval.every=3"),
)


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path_factory.getbasetemp() / "clips"))


def paired(counts: list[int], lengths: list[int], worse: list[int]) -> Batch:
    """Random pairs that show the same frames."""
    batch, other = small.batch(counts, lengths), small.batch([0] * len(counts), worse, seed=1)
    ids = tuple(f"a/{number}" for number in range(len(counts)))
    return evolve(batch, sample_ids=ids, rejected=evolve(other, counts=batch.counts, sample_ids=ids))


def log_probabilities(model: VLM, batch: Batch) -> torch.Tensor:
    """Of each sample's labels, from the logits of every position: another way than the model's own."""
    k = model.connector.spec.tokens_per_frame
    sums: list[torch.Tensor] = []
    for number, logits in enumerate(model.logits(batch)):
        seen, length = int(batch.counts[number]) * k, int(batch.lengths[number])
        spoken = logits.log_softmax(-1)[seen : seen + length - 1]
        labels = batch.ids[number, 1:length]
        sums.append((spoken.gather(1, labels[:, None])[:, 0] * batch.supervised[number, 1:length]).sum())
    return torch.stack(sums)


def moved(model: VLM, by: float = 0.05) -> VLM:
    """The model after some training."""
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return model


def test_the_loss_is_equation_7_of_dpo() -> None:
    start = small.model()
    objective = PreferenceLoss(Preference(beta=0.3), start)
    model, batch = moved(deepcopy(start)), paired([2, 1, 3], [7, 5, 6], [4, 9, 5])
    assert batch.rejected is not None
    worse = evolve(batch.rejected, frames=batch.frames)
    better = log_probabilities(model, batch) - log_probabilities(start, batch)
    margin = 0.3 * (better - (log_probabilities(model, worse) - log_probabilities(start, worse)))
    expected = torch.log1p(torch.exp(-margin))  # -log sigmoid, written otherwise
    found = objective.contribution(model, batch)
    assert (found.count, found.tokens) == (3, int(model.plan(batch).tokens + model.plan(worse).tokens))
    torch.testing.assert_close(found.loss, expected.sum(), rtol=1e-4, atol=1e-4)
    sums = dict(zip(objective.names, found.sums, strict=True))
    torch.testing.assert_close(sums["margin"], margin.sum(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sums["reward_chosen"], 0.3 * better.sum(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        sums["logp_chosen"], log_probabilities(model, batch).sum(), rtol=1e-4, atol=1e-4
    )
    assert sums["accuracy"] == (margin > 0).sum()
    torch.testing.assert_close(
        sums["margin"], sums["reward_chosen"] - sums["reward_rejected"], rtol=1e-3, atol=1e-4
    )


def test_the_reference_stays_and_gets_no_gradient() -> None:
    model = small.model()
    objective = PreferenceLoss(Preference(), model)
    batch = paired([2, 1], [7, 5], [4, 9])
    first = objective.contribution(model, batch)
    assert first.loss.item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert first.sums[objective.names.index("margin")] == 0
    first.loss.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    reference = objective._reference  # pyright: ignore[reportPrivateUsage]
    before = {name: parameter.clone() for name, parameter in reference.named_parameters()}
    assert all(p.grad is None and not p.requires_grad for p in reference.parameters())
    moved(model)
    assert objective.contribution(model, batch).sums[objective.names.index("margin")] != 0
    assert all(torch.equal(before[name], parameter) for name, parameter in reference.named_parameters())


def test_pairs_apart_are_pairs_together() -> None:
    model = small.model()
    objective = PreferenceLoss(Preference(beta=0.3), model)
    moved(model)
    batch = paired([2, 1, 3], [7, 5, 6], [4, 9, 5])
    whole = objective.contribution(model, batch)
    parts = [objective.contribution(model, part) for _, part in batch.cut(3)]
    assert [part.count for part in parts] == [1, 1, 1]
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)
    measured = objective.measure(model, batch, None)
    assert sum(sample.loss for sample in measured.samples) == pytest.approx(whole.loss.item(), rel=1e-5)


@pytest.mark.parametrize("connector", ["foveated", "pooled 16", "shallow coarse only", "coarse loss"])
def test_ledger_of_a_pair_is_what_is_counted(connector: str) -> None:
    model = compose(composed(SMALL_ENCODER, SMALL_CONNECTORS[connector], SMALL_LLM), 500, 0)
    llm = model.llm.spec
    with sdpa_kernel(SDPBackend.MATH):  # fused kernels do the scores again in the backward pass
        for frames, text, worse, frozen in ((5, 20, 13, ()), (1, 9, 12, ("encoder", "llm"))):
            for component, parameters in model.parameter_groups().items():
                for parameter in parameters.values():
                    parameter.requires_grad_(component not in frozen)
            answers = [
                Batch(
                    frames=torch.zeros(frames, 3, 56, 56, dtype=torch.uint8),
                    counts=torch.tensor([frames]),
                    ids=torch.zeros(1, length, dtype=torch.int64),
                    lengths=torch.tensor([length]),
                    supervised=torch.ones(1, length, dtype=torch.bool),
                    content=torch.ones(1, length, dtype=torch.bool),
                )
                for length in (text, worse)
            ]
            objective = PreferenceLoss(Preference(), model)
            with FlopCounterMode(display=False) as counter:
                loss = objective.contribution(model, evolve(answers[0], rejected=answers[1])).loss
                forward = counter.get_total_flops()
                loss.backward()
            tracer = Tracer(model.encoder.spec, model.connector, llm)
            connector_trace = tracer.trace(frames, frozen, auxiliary=False)
            answer = {"rejected": (worse, worse - 1), "reference": True}
            cost = ledger(tracer.encoder, connector_trace, llm, text=text, **answer)
            assert cost.forward == pytest.approx(forward, rel=1e-9)
            assert cost.total == pytest.approx(counter.get_total_flops(), rel=1e-9)


def test_a_pair_costs_less_than_two_samples_and_the_reference_is_booked_apart() -> None:
    model = composed({"name": "dinov2-small"}, CONNECTORS["foveated"], {"name": "smollm2-135m"})
    tracer = Tracer.of(model, 0)
    sizes = (tracer.encoder, tracer.trace(8), tracer.llm)
    one = ledger(*sizes, text=128)
    pair = ledger(*sizes, text=128, rejected=(128, 127), reference=True)
    policy = [row for row in pair.rows if not row.stage.startswith("reference ")]
    reference = [row for row in pair.rows if row.stage.startswith("reference ")]
    assert sum(row.forward for row in policy) == sum(row.forward for row in reference)
    assert not any(row.backward for row in reference)
    assert one.total < sum(row.forward + row.backward for row in policy) < 2 * one.total


def texts(clips: int = 40) -> Any:
    """The source of pairs of the small recipe, and its preparer."""
    run = recipe(Path.cwd() / "texts", *PAIRS, f"data.sources.shapes.clips={clips}").runs[0]
    sources = open_sources(run.config.data)
    chat = make_chat(run.config.model, sources.texts)
    return sources.train[0], Preparer(chat, small.SIDE, "answer", 64, pairs=True), run


def chat_of(*answers: str) -> tuple[tuple[Turn, ...], ...]:
    return tuple((Turn("user", "Describe the clip."), Turn("assistant", answer)) for answer in answers)


@pytest.mark.parametrize("level", ["easy", "gaze"])
def test_shapes_gives_pairs_that_differ_in_one_word(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = recipe(
        tmp_path, *PAIRS, f"data.sources.shapes.level={level}", "data.sources.shapes.clips=200"
    ).runs[0]
    for source in (*open_sources(run.config.data).train, *open_sources(run.config.data).validation):
        again = open_sources(run.config.data).train[0] if "train" in source[0].id else None
        for index in range(len(source)):
            sample = source[index]
            words, worse = (turns[-1].content.split() for turns in (sample.turns, sample.rejected))
            changed = [pair for pair in zip(words, worse, strict=True) if pair[0] != pair[1]]
            articles = [pair for pair in changed if set(pair) == {"a", "an"}]
            assert len(changed) - len(articles) == 1, (sample.turns, sample.rejected)
            assert sample.rejected[:-1] == sample.turns[:-1]
            assert again is None or again[index].rejected == sample.rejected
    plain = recipe(tmp_path, "data.sources.shapes.clips=200").runs[0]
    assert not open_sources(plain.config.data).train[0][0].rejected


def test_other_worse_answers_are_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, _, _ = texts()
    before, corpus = source.fingerprint(), list(source.texts())
    assert any(sample.rejected[-1].content in corpus for sample in [source[0]])
    monkeypatch.setattr("fvlm_shapes.source.worse", lambda scene, random: "a blue ring")
    assert source.fingerprint() != before


def test_a_pair_is_prepared_as_one_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, preparer, run = texts()
    source.prepare(lambda what, done, total: None)
    batch = collate([preparer.example(source[index]) for index in range(3)])
    worse = batch.rejected
    assert worse is not None
    assert worse.counts.tolist() == batch.counts.tolist() == [2, 2, 2]
    assert len(worse.frames) == 0, "frames are those of the chosen answer"
    assert worse.sample_ids == batch.sample_ids
    assert not torch.equal(worse.ids, batch.ids)
    for side in (batch, worse):  # the answer is scored and the question is not
        assert side.supervised.any(1).all()
        assert not side.supervised[:, :5].any()
    counts: Realised = {}
    count_batch(counts, batch)
    assert counts["shapes"] == {
        "samples": 3,
        "frames": 6,
        "tokens": int((batch.lengths + worse.lengths).sum()),
    }
    lengths = first_samples(run.config, open_sources(run.config.data), preparer.chat).lengths
    assert all(sample.rejected and sample.rejected[0] > 0 for sample in lengths)


def test_what_is_no_pair_is_a_bad_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, preparer, _ = texts()
    good, other = chat_of("a red ring", "a blue ring")
    assert preparer.example(Sample("x", "x", good, rejected=other)).rejected is not None
    with pytest.raises(BadSample, match="has no rejected answer"):
        preparer.example(Sample("x", "x", good))
    with pytest.raises(BadSample, match="are the same"):
        preparer.example(Sample("x", "x", good, rejected=good))
    long = chat_of("a red ring " * 30 + "red", "a red ring " * 30 + "blue")
    with pytest.raises(BadSample, match="are the same, as far as kept"):
        preparer.example(Sample("x", "x", long[0], rejected=long[1]))


def rows(root: Path, name: str, event: str = "train") -> list[dict[str, Any]]:
    return [row for row in read_metrics(root / name / name / "metrics.jsonl") if row["event_type"] == event]


def test_reward_accuracy_rises(tmp_path: Path) -> None:
    read = recipe(tmp_path, *PAIRS, "training.steps=18", "eval.every=9", "training.batch_size=8")
    go(read, tmp_path / "runs", opened(read, tmp_path))
    train, held_out = rows(tmp_path / "runs", "small"), rows(tmp_path / "runs", "small", "eval")
    assert train[0]["train_loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert train[0]["reward_margin"] == pytest.approx(0, abs=1e-6)
    last = train[-8:]
    assert sum(row["reward_accuracy"] for row in last) / len(last) > 0.8
    assert all(row["reward_margin"] > 0.1 and row["train_loss"] < 0.65 for row in last)
    for row in train:
        assert row["reward_margin"] == pytest.approx(row["reward_chosen"] - row["reward_rejected"], abs=1e-4)
        assert row["logp_chosen"] < 0
        assert row["samples_seen"] == 8 * row["step"]
        assert "loss_fine" not in row
    for row in held_out:
        assert row["val_pairs"] == 6
        assert 0 <= row["val_reward_accuracy"] <= 1
        assert row["val_loss_by_source"] == {"shapes": pytest.approx(row["val_loss"])}
        assert row["attention_entropy"] > 0
    scored = read_scored(tmp_path / "runs/small/small", held_out[-1]["step"])
    assert scored is not None
    assert [sample.tokens for sample in scored] == [1] * 6
    assert sum(sample.loss for sample in scored) / 6 == pytest.approx(held_out[-1]["val_loss"])


def test_the_loss_is_a_mean_over_the_pairs_of_a_step_however_it_is_cut(tmp_path: Path) -> None:
    found: list[list[dict[str, Any]]] = []
    for micro in (4, 1):
        read = recipe(tmp_path, *PAIRS, f"training.micro_batch_size={micro}")
        go(read, tmp_path / str(micro), opened(read, tmp_path))
        found.append(rows(tmp_path / str(micro), "small"))
    for whole, cut in zip(*found, strict=True):
        for column in ("train_loss", "grad_norm", "reward_margin", "reward_accuracy", "logp_rejected"):
            assert cut[column] == pytest.approx(whole[column], rel=1e-4, abs=1e-5), column


@pytest.mark.parametrize(
    "start", ["a run", pytest.param("a file", marks=pytest.mark.soak), "its own weights"]
)
def test_resume_is_bit_exact_with_the_reference_the_run_began_with(start: str, tmp_path: Path) -> None:
    keys = [*PAIRS]
    if start != "its own weights":
        first = recipe(
            tmp_path, "name=start", *PAIRS[3:], "training.steps=3", "data.sources.shapes.pairs=true"
        )
        go(first, tmp_path / "whole", opened(first, tmp_path))
        copytree(tmp_path / "whole", tmp_path / "cut")
        keys.append("training.init_from=start/start")
    if start == "a file":
        best = sorted((tmp_path / "whole/start/start/checkpoints").glob("step-*"))[-1] / "model.safetensors"
        (tmp_path / "w.safetensors").write_bytes(best.read_bytes())
        keys[-1] = f"training.init_from={tmp_path / 'w.safetensors'}"
    read = recipe(tmp_path, *keys)
    data = opened(read, tmp_path / ("whole" if start == "a run" else "none"))
    go(read, tmp_path / "whole", data)
    go(read, tmp_path / "cut", data, at=2)
    assert outcome(read, tmp_path / "cut")["checkpoint"] == "step-00000002"
    go(read, tmp_path / "cut", data, die=4)
    go(read, tmp_path / "cut", data)
    assert not difference(outcome(read, tmp_path / "cut"), outcome(read, tmp_path / "whole"))
    saved = {path.name for path in (tmp_path / "cut/small/small/checkpoints").glob("*/*")}
    assert saved == {"model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


def test_another_reference_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    first = recipe(tmp_path, "name=start", *PAIRS[3:], "training.steps=3", "data.sources.shapes.pairs=true")
    go(first, tmp_path / "runs", opened(first, tmp_path))
    best = sorted((tmp_path / "runs/start/start/checkpoints").glob("step-*"))[-1] / "model.safetensors"
    file = tmp_path / "w.safetensors"
    file.write_bytes(best.read_bytes())
    read = recipe(tmp_path, *PAIRS, f"training.init_from={file}")
    data = opened(read, tmp_path / "runs")
    go(read, tmp_path / "runs", data, at=2)
    save_file({name: tensor + 0.01 for name, tensor in load_file(file).items()}, file)
    with pytest.raises(UsageError, match="not the weights that this run started from"):
        go(read, tmp_path / "runs", data)
    file.unlink()
    with pytest.raises(UsageError, match=r"no such file.*w\.safetensors|w\.safetensors.*no such file"):
        opened(read, tmp_path / "runs")


def test_a_source_without_pairs_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    keys = ["-o", "training.preference.beta=0.1"]
    code, _, said = run_cli(["run", "tiny.toml", *keys], monkeypatch, capsys)
    assert code == 2
    assert said.count("training.preference: expected pairs of answers, and shapes has none") == 1
    assert "fvlm plugins list" in said
    assert not list(tmp_path.glob("runs/**/metrics.jsonl"))
    code, said, _ = run_cli(["run", "tiny.toml", *keys, "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert "expected pairs of answers" in said


def test_wrong_settings_are_explained(tmp_path: Path) -> None:
    for override, said in (
        ("training.preference.beta=0.0", r"training\.preference\.beta: must be > 0, got 0"),
        ("training.preference.betta=0.1", 'did you mean "beta"'),
        ("training.preference=true", "expected a table"),
    ):
        with pytest.raises(Problems, match=said):
            recipe(tmp_path, *PAIRS[:1], *PAIRS[2:], override)
    with pytest.raises(FvlmError, match="pairs are not planned from lengths"):
        recipe(tmp_path, *PAIRS, "training.micro_batch_frames=16", "training.micro_batch_tokens=512")
